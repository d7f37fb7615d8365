#include "cmd/dns/report.h"

#include <stdio.h>
#include <string.h>

#include <keymesh/keymesh.h>

#define LINE_CAP 1024

static const char *text_of(char buf[KM_UDP_ADDR_TEXT_CAP], const km_udp_addr *addr) {
  if (km_udp_addr_format(addr, buf, KM_UDP_ADDR_TEXT_CAP) < 0) {
    buf[0] = '\0';
  }
  return buf;
}

/* --- people ---------------------------------------------------------------------------------- */

/* ", WHAT SCHEME://ADDR" for each. */
static void put(char line[LINE_CAP], const char *what, const char *before,
                const config_binds *binds, const char *after) {
  for (size_t i = 0; i < binds->count; i++) {
    char addr[KM_UDP_ADDR_TEXT_CAP];
    size_t used = strlen(line);
    (void)snprintf(line + used, LINE_CAP - used, "%s%s %s%s%s", used == 0 ? "" : ", ", what, before,
                   text_of(addr, &binds->at[i]), after);
  }
}

/* What a person can do with it now. */
static void say_dev(const cli_output *out, const report_ready_info *r) {
  const dns_config *c = r->config;
  char addr[KM_UDP_ADDR_TEXT_CAP];
  const char *origin = c->origin_count > 0 ? c->origins[0] : ".";
  cli_say(out, "development mode: plain HTTP without limits, not for the open internet");
  if (r->http.count > 0) {
    (void)text_of(addr, &r->http.at[0]);
    cli_say(out, "publish to it:    km-node node1 --pkarr http://%s/pkarr --publish-direct", addr);
    cli_say(out, "dial by id:       km-node node2 <id> --pkarr http://%s/pkarr", addr);
    cli_say(out, "look up by HTTP:  curl 'http://%s/dns-query?name=_iroh.<z32 id>.&type=TXT'",
            addr);
  }
  if (r->dns.count > 0) {
    cli_say(out, "look up by DNS:   dig @127.0.0.1 -p %u _iroh.<z32 id>%s%s TXT", r->dns.at[0].port,
            strcmp(origin, ".") == 0 ? "" : ".", origin);
  }
}

static void say_ready(const cli_output *out, const report_ready_info *r) {
  char line[LINE_CAP] = "";
  put(line, "pkarr and DoH", "https://", &r->https, "");
  put(line, "pkarr and DoH", "http://", &r->http, "");
  put(line, "dns", "", &r->dns, "");
  put(line, "metrics", "http://", &r->metrics, "/metrics");
  cli_say(out, "ready: %s, store %s", line,
          r->config->store_path == NULL ? "in memory" : r->config->store_path);
}

/* --- machines -------------------------------------------------------------------------------- */

static void add_text_item(cJSON *list, const char *text) {
  cJSON *item = list == NULL ? NULL : cJSON_CreateString(text);
  if (item != NULL) {
    (void)cJSON_AddItemToArray(list, item);
  }
}

static void add_list(cJSON *event, const char *name, const config_binds *binds) {
  cJSON *list = event == NULL ? NULL : cJSON_AddArrayToObject(event, name);
  char addr[KM_UDP_ADDR_TEXT_CAP];
  for (size_t i = 0; i < binds->count; i++) {
    add_text_item(list, text_of(addr, &binds->at[i]));
  }
}

static void add_bool(cJSON *event, const char *name, bool value) {
  if (event != NULL) {
    (void)cJSON_AddBoolToObject(event, name, value);
  }
}

static void emit_ready(const cli_output *out, const report_ready_info *r) {
  const dns_config *c = r->config;
  cJSON *event = cli_event(out, "ready");
  char addr[KM_UDP_ADDR_TEXT_CAP];
  cli_add_text(event, "version", km_version());
  add_bool(event, "dev", c->dev);
  add_list(event, "http", &r->http);
  add_list(event, "https", &r->https);
  add_list(event, "dns", &r->dns);
  if (r->metrics.count > 0) {
    cli_add_text(event, "metrics", text_of(addr, &r->metrics.at[0]));
  } else {
    cli_add_null(event, "metrics");
  }
  cJSON *origins = event == NULL ? NULL : cJSON_AddArrayToObject(event, "origins");
  for (size_t i = 0; i < c->origin_count; i++) {
    add_text_item(origins, c->origins[i]);
  }
  if (c->store_path != NULL) {
    cli_add_text(event, "store", c->store_path);
  } else {
    cli_add_null(event, "store");
  }
  cli_emit(event);
}

void report_ready(const cli_output *out, const report_ready_info *r) {
  say_ready(out, r);
  if (r->config->dev) {
    say_dev(out, r);
  }
  emit_ready(out, r);
}

void report_reloaded(const cli_output *out, bool certificate) {
  cJSON *event = cli_event(out, "reloaded");
  add_bool(event, "certificate", certificate);
  cli_emit(event);
  cli_say(out, "reloaded: certificate %s", certificate ? "new" : "as before");
}

void report_stopping(const cli_output *out) {
  cli_emit(cli_event(out, "stopping"));
  cli_say(out, "stopping");
}
