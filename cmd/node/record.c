/* km-node record: key name records, made, shown and looked up. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/env.h"
#include "cmd/node/node.h"
#include "cmd/node/record.h"
#include "cmd/node/record_file_io.h"
#include "cmd/node/resolve.h"

/* --- what the record says --------------------------------------------------------------------- */

static bool copy(char *ret, size_t cap, const char *text, size_t len) {
  if (len >= cap) {
    return false;
  }
  memcpy(ret, text, len);
  ret[len] = '\0';
  return true;
}

/* "ID" or "ID=NAME" */
static int add_device(km_record *r, const char *text, km_errinfo *err) {
  const char *name = strchr(text, '=');
  size_t len = name == NULL ? strlen(text) : (size_t)(name - text);
  if (r->device_count == KM_RECORD_MAX_DEVICES) {
    return km_fail(err, KM_ERR_INVALID, "--device was given too often: %s is one too many", text);
  }
  km_record_device *device = &r->devices[r->device_count];
  int rv = km_id_parse(&device->id, text, len, err);
  if (rv != 0) {
    return rv;
  }
  name = name == NULL ? "" : name + 1;
  if (!copy(device->name, sizeof device->name, name, strlen(name))) {
    return km_fail(err, KM_ERR_INVALID, "the name of --device %.60s... is too long", text);
  }
  r->device_count++;
  return 0;
}

/* "NAME=ADDRESS" */
static int add_service(km_record *r, const char *text, km_errinfo *err) {
  const char *address = strchr(text, '=');
  if (address == NULL || address == text || address[1] == '\0') {
    return km_fail(err, KM_ERR_INVALID, "--service is NAME=ADDRESS, not '%.60s'", text);
  }
  if (r->service_count == KM_RECORD_MAX_SERVICES) {
    return km_fail(err, KM_ERR_INVALID, "--service was given too often: %.60s is one too many",
                   text);
  }
  km_record_service *service = &r->services[r->service_count];
  if (!copy(service->name, sizeof service->name, text, (size_t)(address - text)) ||
      !copy(service->address, sizeof service->address, address + 1, strlen(address + 1))) {
    return km_fail(err, KM_ERR_INVALID, "name or address of --service %.60s... is too long", text);
  }
  r->service_count++;
  return 0;
}

static int fill(km_record *r, const char *name, const cli_list *devices, const cli_list *services,
                km_errinfo *err) {
  int rv = copy(r->name, sizeof r->name, name, strlen(name))
               ? 0
               : km_fail(err, KM_ERR_INVALID, "--name %.60s... is too long", name);
  for (size_t i = 0; rv == 0 && i < devices->count; i++) {
    rv = add_device(r, devices->at[i], err);
  }
  for (size_t i = 0; rv == 0 && i < services->count; i++) {
    rv = add_service(r, services->at[i], err);
  }
  return rv;
}

void record_fail(recorder *r, km_errinfo *err, int code) {
  err->code = code;
  finder_finish(&r->f, cli_error(&r->f.out, cli_status_of(code), err));
}

/* --- show and resolve ------------------------------------------------------------------------- */

static int print_record(const cli_output *out, const km_id *id, const uint8_t *bytes, size_t len,
                        const char *source) {
  char text[KM_ID_TEXT_CAP];
  km_record record = {.size = sizeof record};
  km_errinfo err;
  int rv = km_record_read(&record, id, bytes, len, (int64_t)time(NULL), &err);
  if (rv != 0) {
    return cli_error(out, CLI_EXIT_FAILED, &err);
  }
  (void)km_id_format(id, KM_ID_HEX, text, sizeof text);
  cJSON *event = cli_event(out, "record");
  cli_add_text(event, "id", text);
  cli_add_text(event, "source", source);
  discovery_add_record(event, &record);
  cli_emit(event);
  cli_say(out, "%s  by %s", text, source);
  discovery_say_record(out, &record);
  return CLI_EXIT_OK;
}

static int run_show(const cli_output *out, const char *path) {
  uint8_t bytes[KM_RECORD_BYTES_MAX];
  km_errinfo err = {0};
  km_id id;
  int len = record_file_read(path, bytes, &err);
  if (len < 0) {
    return cli_error(out, cli_status_of(len), &err);
  }
  /* After the version (docs/protocol-record.md): it says itself whose it is. */
  if (len < 1 + KM_ID_BYTES || km_id_from_bytes(&id, bytes + 1) != 0) {
    err = (km_errinfo){.code = KM_ERR_BAD_RECORD};
    return cli_error(out, CLI_EXIT_FAILED, &err);
  }
  return print_record(out, &id, bytes, (size_t)len, path);
}

static void on_found(void *ctx, km_lookup *lookup, const km_found *found) {
  recorder *r = ctx;
  (void)lookup;
  if (found->record == NULL) {
    return;
  }
  r->seen++;
  r->refused += print_record(&r->f.out, km_addr_id(found->addr), found->record, found->record_len,
                             found->source) != CLI_EXIT_OK;
}

static void on_done(void *ctx, km_lookup *lookup, size_t found, const km_errinfo *why) {
  recorder *r = ctx;
  (void)lookup;
  r->lookup = NULL;
  if (r->seen > 0) {
    finder_finish(&r->f, r->refused == r->seen ? CLI_EXIT_FAILED : CLI_EXIT_OK);
    return;
  }
  km_errinfo err = {.code = KM_ERR_NOT_FOUND, .text = "the key is known, but has no record"};
  finder_finish(&r->f, cli_error(&r->f.out, CLI_EXIT_UNREACHABLE, found > 0 ? &err : why));
}

static int run_resolve(recorder *r, const finder_options *o, const char *text) {
  static const km_lookup_callbacks callbacks = {
      .size = sizeof callbacks, .on_found = on_found, .on_done = on_done};
  const discovery_setup setup = {.no_mdns = true, .no_publish = true}; /* mDNS carries none */
  km_id id;
  km_errinfo err = {0};
  int status = resolve_parse_id(&r->f.out, text, &id);
  status = status != CLI_EXIT_OK ? status : finder_open(&r->f, o, &setup);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  int rv = km_discovery_lookup(r->f.discovery, &r->lookup, &id, &callbacks, r, &err);
  if (rv != 0) {
    record_fail(r, &err, rv);
  }
  return finder_run(&r->f);
}

static int run(recorder *r, finder_options *o, const cli_words *words) {
  const char *word = words->at[0];
  if (strcmp(word, "publish") == 0 && words->count == 1) {
    return record_publish(r, o);
  }
  if (strcmp(word, "show") == 0 && words->count == 2) {
    return run_show(&r->f.out, words->at[1]);
  }
  if (strcmp(word, "resolve") == 0 && words->count == 2) {
    return run_resolve(r, o, words->at[1]);
  }
  km_errinfo err;
  (void)km_fail(&err, KM_ERR_INVALID,
                "say 'publish', 'show' and a file, or 'resolve' and an id: see km-node record "
                "--help");
  return cli_error(&r->f.out, CLI_EXIT_USAGE, &err);
}

int cmd_record(int argc, char **argv) {
  finder_options o = {0};
  recorder r = {.life_s = KM_RECORD_DEFAULT_LIFE_S, .record = {.size = sizeof(km_record)}};
  cli_list devices = {0}, services = {0};
  const char *name = "";
  cli_option options[FINDER_OPTIONS_MAX] = {
      {"--name", CLI_TEXT, &name, "NAME", "what the owner of the key calls itself", 0, 0},
      {"--device", CLI_LIST, &devices, "ID[=NAME]", "a device of the owner's (8 at most)", 0, 0},
      {"--service", CLI_LIST, &services, "NAME=ADDRESS", "a service (8 at most)", 0, 0},
      {"--provider", CLI_FLAG, &r.record.provider, NULL, "the owner serves others", 0, 0},
      {"--life", CLI_NUMBER, &r.life_s, "SECONDS", "until it expires (300)", 1,
       KM_RECORD_MAX_LIFE_S},
      {"--out", CLI_TEXT, &r.file, "FILE", "write it here too; for node1 --record", 0, 0},
      {"--keep", CLI_FLAG, &r.keep, NULL, "go on: sign and publish it again before it expires", 0,
       0},
  };
  finder_add_options(options, &o, true);
  const cli_command command = {
      .name = "km-node record",
      .usage = "km-node record publish --key-file PATH --pkarr URL [--name NAME] [--device ID]...\n"
               "       km-node record show FILE\n"
               "       km-node record resolve ID [--pkarr URL]... [--dns-origin DOMAIN]...",
      .about =
          "Key name records: which devices and services stand behind a key, signed by it, for\n"
          "a short time. What else is published for the key stays. One that is expired or\n"
          "badly signed is refused, with the reason (exit status 1).",
      .example =
          "  km-node record publish --key-file node.key --pkarr https://dns.example.org/pkarr "
          "\\\n    --name alice --service http=https://example.org/ --keep",
      .options = options,
      .min_words = 1,
      .max_words = 2,
  };
  km_errinfo err;
  cli_words words;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&r.f.out, o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&r.f.out, CLI_EXIT_USAGE, &err);
  }
  if (fill(&r.record, name, &devices, &services, &err) != 0) {
    return cli_error(&r.f.out, CLI_EXIT_USAGE, &err);
  }
  return run(&r, &o, &words);
}
