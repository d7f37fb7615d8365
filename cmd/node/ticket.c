/* km-node ticket: takes tickets apart and makes them. */
#include <string.h>

#include "cmd/node/node.h"
#include "cmd/node/qr.h"

static void show(const cli_output *out, const km_addr *addr, const char *ticket) {
  char text[KM_ID_TEXT_CAP];
  cJSON *event = cli_event(out, "ticket");
  (void)km_id_format(km_addr_id(addr), KM_ID_HEX, text, sizeof text);
  cli_add_text(event, "id", text);
  cli_add_text(event, "ticket", ticket);
  cJSON *direct = event == NULL ? NULL : cJSON_AddArrayToObject(event, "direct");
  cJSON *relays = event == NULL ? NULL : cJSON_AddArrayToObject(event, "relays");
  cli_say(out, "ticket  %s\nid      %s", ticket, text);
  for (size_t i = 0; i < km_addr_relay_count(addr); i++) {
    if (relays != NULL) {
      (void)cJSON_AddItemToArray(relays, cJSON_CreateString(km_addr_relay_at(addr, i)));
    }
    cli_say(out, "relay   %s", km_addr_relay_at(addr, i));
  }
  for (size_t i = 0; i < km_addr_udp_count(addr); i++) {
    char udp[KM_UDP_ADDR_TEXT_CAP];
    (void)km_udp_addr_format(km_addr_udp_at(addr, i), udp, sizeof udp);
    if (direct != NULL) {
      (void)cJSON_AddItemToArray(direct, cJSON_CreateString(udp));
    }
    cli_say(out, "direct  %s", udp);
  }
  cli_emit(event);
}

static int print(const cli_output *out, const km_addr *addr, bool qr, km_errinfo *err) {
  static char ticket[KM_TICKET_MAX];
  err->code = km_ticket_format(addr, ticket, sizeof ticket, NULL);
  if (err->code == 0) {
    show(out, addr, ticket);
    err->code = qr ? qr_print(ticket, err) : 0;
  }
  return err->code;
}

static int add_ways(km_addr *addr, const cli_list *addrs, const cli_list *relays, km_errinfo *err) {
  int rv = 0;
  for (size_t i = 0; rv == 0 && i < addrs->count; i++) {
    km_udp_addr udp;
    rv = km_udp_addr_parse(&udp, addrs->at[i], strlen(addrs->at[i]), err);
    if (rv == 0) {
      rv = km_addr_add_udp(addr, &udp);
      err->code = rv;
    }
  }
  for (size_t i = 0; rv == 0 && i < relays->count; i++) {
    rv = km_addr_add_relay(addr, relays->at[i], strlen(relays->at[i]), err);
  }
  return rv;
}

int cmd_ticket(int argc, char **argv) {
  bool json = false, qr = false;
  cli_list addrs = {0}, relays = {0};
  const cli_option options[] = {
      {"--addr", CLI_LIST, &addrs, "IP:PORT", "add a direct address (again for more)", 0, 0},
      {"--relay", CLI_LIST, &relays, "URL", "add a relay url (again for more)", 0, 0},
      {"--qr", CLI_FLAG, &qr, NULL, "print it as a QR code too", 0, 0},
      {"--json", CLI_FLAG, &json, NULL, "one JSON object", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node ticket",
      .usage = "km-node ticket TICKET|ID [--addr IP:PORT]... [--relay URL]...",
      .about = "Takes a ticket apart, or makes one from an id, addresses and relays.",
      .example = "  km-node ticket 3b6a27bcceb6... --addr 192.0.2.1:4433",
      .options = options,
      .min_words = 1,
      .max_words = 1,
  };
  cli_output out;
  cli_words words;
  km_errinfo err;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&out, json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&out, CLI_EXIT_USAGE, &err);
  }
  km_addr *addr;
  const cli_list none = {0};
  int status = node_parse_peer(&out, &addr, words.at[0], &none, NULL);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  if (add_ways(addr, &addrs, &relays, &err) != 0 || print(&out, addr, qr && !json, &err) != 0) {
    status = cli_error(&out, CLI_EXIT_USAGE, &err);
  }
  km_addr_free(addr);
  return status;
}
