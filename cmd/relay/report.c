#include "cmd/relay/report.h"

#include <stdio.h>
#include <string.h>

#include <keymesh/keymesh.h>

#define LINE_CAP 2048

static const char *text_of(char buf[KM_UDP_ADDR_TEXT_CAP], const km_udp_addr *addr) {
  if (km_udp_addr_format(addr, buf, KM_UDP_ADDR_TEXT_CAP) < 0) {
    buf[0] = '\0';
  }
  return buf;
}

/* --- people ---------------------------------------------------------------------------------- */

/* ", WHAT SCHEME://ADDR/PATH" for each. */
static void put(char line[LINE_CAP], const char *what, const char *before, const relay_binds *binds,
                const char *after) {
  for (size_t i = 0; i < binds->count; i++) {
    char addr[KM_UDP_ADDR_TEXT_CAP];
    size_t used = strlen(line);
    (void)snprintf(line + used, LINE_CAP - used, "%s%s %s%s%s", used == 0 ? "" : ", ", what, before,
                   text_of(addr, &binds->at[i]), after);
  }
}

static void say_dev(const cli_output *out, const report_ready_info *r) {
  cli_say(out, "development mode: plain HTTP without TLS, not for the open internet");
  if (r->http.count > 0) {
    cli_say(out, "try it:  km-node node1 --relay http://localhost:%u", r->http.at[0].port);
  }
}

static void say_ready(const cli_output *out, const report_ready_info *r) {
  char line[LINE_CAP] = "";
  bool tls = r->https.count > 0;
  put(line, "relay", "https://", &r->https, "");
  put(line, tls ? "captive portals" : "relay", "http://", &r->http, "");
  put(line, "stun", "", &r->stun, "");
  put(line, "stun alternate", "", &r->stun_alt, "");
  put(line, "metrics", "http://", &r->metrics, "/metrics");
  cli_say(out, "ready: %s, access %s", line, r->access);
}

/* --- machines -------------------------------------------------------------------------------- */

static void add_list(cJSON *event, const char *name, const relay_binds *binds) {
  cJSON *list = event == NULL ? NULL : cJSON_AddArrayToObject(event, name);
  for (size_t i = 0; list != NULL && i < binds->count; i++) {
    char addr[KM_UDP_ADDR_TEXT_CAP];
    (void)cJSON_AddItemToArray(list, cJSON_CreateString(text_of(addr, &binds->at[i])));
  }
}

static void add_bool(cJSON *event, const char *name, bool value) {
  if (event != NULL) {
    (void)cJSON_AddBoolToObject(event, name, value);
  }
}

static void emit_ready(const cli_output *out, const report_ready_info *r) {
  cJSON *event = cli_event(out, "ready");
  char addr[KM_UDP_ADDR_TEXT_CAP];
  cli_add_text(event, "version", km_version());
  add_bool(event, "dev", r->dev);
  add_list(event, "http", &r->http);
  add_list(event, "https", &r->https);
  add_list(event, "stun", &r->stun);
  if (r->stun_alt.count > 0) {
    add_list(event, "stun_alt", &r->stun_alt);
  }
  if (r->metrics.count > 0) {
    cli_add_text(event, "metrics", text_of(addr, &r->metrics.at[0]));
  } else {
    cli_add_null(event, "metrics");
  }
  cli_add_text(event, "access", r->access);
  cli_emit(event);
}

void report_ready(const cli_output *out, const report_ready_info *r) {
  if (r->dev) {
    say_dev(out, r);
  }
  say_ready(out, r);
  emit_ready(out, r);
}

void report_reloaded(const cli_output *out, bool configuration, bool certificate) {
  cJSON *event = cli_event(out, "reloaded");
  add_bool(event, "configuration", configuration);
  add_bool(event, "certificate", certificate);
  cli_emit(event);
  cli_say(out, "reloaded: access %s, certificate %s", configuration ? "new" : "as before",
          certificate ? "new" : "as before");
}

void report_stopping(const cli_output *out) {
  cli_emit(cli_event(out, "stopping"));
  cli_say(out, "stopping: telling clients");
}
