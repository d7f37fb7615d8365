/* km-node record publish: a record goes out beside what is published for its key. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/node/key_option.h"
#include "cmd/node/record.h"
#include "cmd/node/record_file_io.h"

#define OWN_LOOKUP_MS 5000

/* The length, or an error. */
static int sign(recorder *r, uint8_t ret[KM_RECORD_BYTES_MAX], km_errinfo *err) {
  r->record.issued_s = (int64_t)time(NULL);
  r->record.expires_s = r->record.issued_s + (int64_t)r->life_s;
  return km_record_sign(&r->record, r->f.key, ret, err);
}

static void publish(recorder *r);

static void on_renewal(void *ctx) {
  recorder *r = ctx;
  r->f.renewal = NULL;
  publish(r);
}

static int tell(recorder *r, km_errinfo *err) {
  uint8_t record[KM_RECORD_BYTES_MAX];
  int len = sign(r, record, err);
  if (len < 0) {
    return len;
  }
  int rv = r->file == NULL ? 0 : record_file_write(r->file, record, (size_t)len, err);
  rv = rv != 0 ? rv : km_discovery_set_record(r->f.discovery, record, (size_t)len);
  const km_peer_info info = {.size = sizeof info,
                             .addr = r->addr,
                             .user_data = r->new_user_data || r->user_data[0] == '\0'
                                              ? NULL /* or what the option says */
                                              : r->user_data};
  return rv != 0 ? rv : km_discovery_publish(r->f.discovery, &info, err);
}

static void publish(recorder *r) {
  km_errinfo err = {0};
  int rv = tell(r, &err);
  if (rv == 0 && r->keep) {
    rv = km_timer_start(&r->f.renewal, r->f.loop, r->life_s * 500, on_renewal, r);
  }
  if (rv != 0) {
    record_fail(r, &err, rv);
  } else if (!r->published) {
    r->published = true;
    discovery_say_record(&r->f.out, &r->record);
    announce_start(&r->announcer);
  }
}

static void copy_addr(km_addr *to, const km_addr *from) {
  for (size_t i = 0; i < km_addr_udp_count(from); i++) {
    if (km_addr_add_udp(to, km_addr_udp_at(from, i)) != 0) {
      break;
    }
  }
  for (size_t i = 0; i < km_addr_relay_count(from); i++) {
    const char *url = km_addr_relay_at(from, i);
    if (km_addr_add_relay(to, url, strlen(url), NULL) != 0) {
      break;
    }
  }
}

/* What is published already stays: a packet replaces all of the one before. The newest counts. */
static void on_own(void *ctx, km_lookup *lookup, const km_found *found) {
  recorder *r = ctx;
  km_addr *addr;
  (void)lookup;
  if (!found->proven || found->published_ms < r->published_ms ||
      km_addr_new(&addr, km_addr_id(found->addr)) != 0) {
    return;
  }
  copy_addr(addr, found->addr);
  km_addr_free(r->addr);
  r->addr = addr;
  r->published_ms = found->published_ms;
  (void)snprintf(r->user_data, sizeof r->user_data, "%s",
                 found->user_data == NULL ? "" : found->user_data);
}

/* Publishing now could wipe out what could not be read. */
static void end_unread(recorder *r, int code, const char *why) {
  km_errinfo err = {.code = code};
  (void)snprintf(err.text, sizeof err.text,
                 "what is published now cannot be read, and would be wiped out: %.120s", why);
  finder_finish(&r->f, cli_error(&r->f.out, CLI_EXIT_FAILED, &err));
}

static void on_own_done(void *ctx, km_lookup *lookup, size_t found, const km_errinfo *err) {
  recorder *r = ctx;
  (void)lookup;
  (void)found;
  r->lookup = NULL;
  km_timer_cancel(r->f.timer);
  r->f.timer = NULL;
  if (r->published_ms == 0 && err->code != 0 && err->code != KM_ERR_NOT_FOUND) {
    end_unread(r, err->code, err->text);
    return;
  }
  publish(r);
}

static void on_own_late(void *ctx) {
  recorder *r = ctx;
  r->f.timer = NULL;
  km_lookup_cancel(r->lookup);
  r->lookup = NULL;
  if (r->published_ms == 0) {
    end_unread(r, KM_ERR_TIMEOUT, "no answer in time");
    return;
  }
  publish(r);
}

static int begin(recorder *r, km_errinfo *err) {
  static const km_lookup_callbacks callbacks = {
      .size = sizeof callbacks, .on_found = on_own, .on_done = on_own_done};
  km_id id;
  km_secret_key_id(r->f.key, &id);
  int rv = km_addr_new(&r->addr, &id);
  rv = rv != 0 ? rv : km_discovery_lookup(r->f.discovery, &r->lookup, &id, &callbacks, r, err);
  return rv != 0 ? rv : km_timer_start(&r->f.timer, r->f.loop, OWN_LOOKUP_MS, on_own_late, r);
}

/* Only into a file. */
static int write_only(recorder *r) {
  uint8_t record[KM_RECORD_BYTES_MAX];
  km_errinfo err = {0};
  int len = sign(r, record, &err);
  int rv = len < 0 ? len : record_file_write(r->file, record, (size_t)len, &err);
  if (rv != 0) {
    err.code = rv;
    return cli_error(&r->f.out, cli_status_of(rv), &err);
  }
  cJSON *event = cli_event(&r->f.out, "record");
  cli_add_text(event, "file", r->file);
  discovery_add_record(event, &r->record);
  cli_emit(event);
  discovery_say_record(&r->f.out, &r->record);
  return CLI_EXIT_OK;
}

static int write_with_key(recorder *r, const finder_options *o) {
  km_errinfo err = {0};
  int rv = key_option_load(o->secret_key, o->key_file, &r->f.key, &err);
  if (rv != 0) {
    err.code = rv;
    return cli_error(&r->f.out, CLI_EXIT_USAGE, &err);
  }
  int status = write_only(r);
  km_secret_key_free(r->f.key);
  return status;
}

static int refuse(const recorder *r, const char *text) {
  km_errinfo err = {.code = KM_ERR_INVALID};
  (void)snprintf(err.text, sizeof err.text, "%s", text);
  return cli_error(&r->f.out, CLI_EXIT_USAGE, &err);
}

int record_publish(recorder *r, finder_options *o) {
  const discovery_setup setup = {.no_mdns = true};
  km_errinfo err = {0};
  if (o->key_file == NULL && o->secret_key == NULL) {
    return refuse(r, "whose? Give --key-file PATH");
  }
  if (o->discovery.no_publish) {
    return refuse(r, "--no-publish leaves nothing to do");
  }
  if (o->discovery.pkarr.count == 0 && r->file != NULL && !r->keep) {
    return write_with_key(r, o);
  }
  o->discovery.publish_direct = true; /* what was published stays, addresses too */
  r->new_user_data = o->discovery.user_data != NULL;
  int status = finder_open(&r->f, o, &setup);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  r->announcer = (announcer){.f = &r->f,
                             .keep = r->keep,
                             .timeout_ms = 15000,
                             .nowhere = "give --pkarr URL, or --out FILE without --keep"};
  int rv = begin(r, &err);
  if (rv != 0) {
    record_fail(r, &err, rv);
  }
  status = finder_run(&r->f);
  km_addr_free(r->addr);
  return status;
}
