/* km-node id: an endpoint id in every form. */
#include <string.h>

#include "cmd/node/node.h"

static const struct {
  const char *name;
  km_id_form form;
} forms[] = {
    {"hex", KM_ID_HEX}, {"short", KM_ID_SHORT},       {"base32", KM_ID_BASE32},
    {"z32", KM_ID_Z32}, {"tls_name", KM_ID_TLS_NAME}, {"fingerprint", KM_ID_FINGERPRINT},
};

/* An id, or the id inside a ticket. */
static int read_id(const char *text, km_id *ret, km_errinfo *err) {
  if (strncmp(text, "endpoint", strlen("endpoint")) != 0) {
    return km_id_parse(ret, text, strlen(text), err);
  }
  km_addr *addr;
  int rv = km_ticket_parse(&addr, text, strlen(text), err);
  if (rv == 0) {
    *ret = *km_addr_id(addr);
    km_addr_free(addr);
  }
  return rv;
}

int cmd_id(int argc, char **argv) {
  bool json = false;
  const cli_option options[] = {
      {"--json", CLI_FLAG, &json, NULL, "one JSON object", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node id",
      .usage = "km-node id ID|TICKET",
      .about = "Shows an endpoint id in every form that KeyMesh and iroh print.",
      .example = "  km-node id 3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29",
      .options = options,
      .min_words = 1,
      .max_words = 1,
  };
  cli_output out;
  cli_words words;
  km_errinfo err;
  km_id id;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&out, json);
  if (result == CLI_HELPED) {
    return CLI_EXIT_OK;
  }
  if (result == CLI_BAD || read_id(words.at[0], &id, &err) != 0) {
    return cli_error(&out, CLI_EXIT_USAGE, &err);
  }
  cJSON *event = cli_event(&out, "id");
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
    char text[KM_ID_TEXT_CAP];
    (void)km_id_format(&id, forms[i].form, text, sizeof text);
    cli_add_text(event, forms[i].name, text);
    cli_say(&out, "%-12s %s", forms[i].name, text);
  }
  cli_emit(event);
  return CLI_EXIT_OK;
}
