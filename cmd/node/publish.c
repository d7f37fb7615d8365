/* km-node publish: tells the world where a key is, without an endpoint. */
#include <stdio.h>
#include <string.h>

#include "cmd/node/announce.h"
#include "cmd/node/finder.h"
#include "cmd/node/node.h"

static int own_addr(const finder *f, const cli_list *addrs, const cli_list *relays, km_addr **ret) {
  km_id id;
  char text[KM_ID_TEXT_CAP];
  km_secret_key_id(f->key, &id);
  (void)km_id_format(&id, KM_ID_HEX, text, sizeof text);
  return node_parse_peer(&f->out, ret, text, addrs, relays);
}

static int begin(finder *f, const cli_list *addrs, const cli_list *relays) {
  km_addr *addr;
  km_errinfo err = {0};
  int status = own_addr(f, addrs, relays, &addr);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  const km_peer_info info = {.size = sizeof info, .addr = addr};
  int rv = km_discovery_publish(f->discovery, &info, &err);
  km_addr_free(addr);
  err.code = rv;
  return rv == 0 ? CLI_EXIT_OK : cli_error(&f->out, cli_status_of(rv), &err);
}

static int run(const finder_options *o, const cli_list *addrs, const cli_list *relays, bool keep,
               uint64_t timeout_s) {
  finder f = {0};
  announcer a = {.f = &f,
                 .keep = keep,
                 .timeout_ms = timeout_s * 1000,
                 .nowhere = "give --pkarr URL, or --keep for the local network"};
  const discovery_setup setup = {.no_mdns = !keep};
  int status = finder_open(&f, o, &setup);
  if (status != CLI_EXIT_OK) {
    return status;
  }
  status = begin(&f, addrs, relays);
  if (status != CLI_EXIT_OK) {
    finder_finish(&f, status);
  } else {
    announce_start(&a);
  }
  return finder_run(&f);
}

/* NULL, or what is wrong with the command line. */
static const char *objection(const finder_options *o, const cli_list *addrs, const cli_list *relays,
                             bool keep) {
  const discovery_options *d = &o->discovery;
  if (o->key_file == NULL && o->secret_key == NULL) {
    return "whose? Give --key-file PATH";
  }
  if (d->no_publish) {
    return "--no-publish leaves nothing to do";
  }
  if (addrs->count + relays->count == 0 && d->user_data == NULL && d->record == NULL) {
    return "there is nothing to publish: give --relay URL or --addr IP:PORT";
  }
  if (addrs->count > 0 && !d->publish_direct && !keep) {
    return "IP addresses go to PKARR relays with --publish-direct only: add it, or leave --addr "
           "out";
  }
  return NULL;
}

int cmd_publish(int argc, char **argv) {
  finder_options o = {0};
  cli_list addrs = {0}, relays = {0};
  bool keep = false;
  uint64_t timeout_s = 15;
  cli_option options[FINDER_OPTIONS_MAX] = {
      {"--addr", CLI_LIST, &addrs, "IP:PORT", "an address of the node (again for more)", 0, 0},
      {"--relay", CLI_LIST, &relays, "URL", "a relay of the node (again for more)", 0, 0},
      {"--keep", CLI_FLAG, &keep, NULL, "go on: publish again every five minutes, and by mDNS", 0,
       0},
      {"--timeout", CLI_NUMBER, &timeout_s, "SECONDS", "give up after so long (15)", 1, 600},
      {0},
  };
  finder_add_options(options, &o, true);
  const cli_command command = {
      .name = "km-node publish",
      .usage = "km-node publish --key-file PATH --pkarr URL [--relay URL]... [--addr IP:PORT]...",
      .about =
          "Publishes where the node with this key is, for nodes that cannot do so themselves;\n"
          "a running node1 publishes by itself. Replaces what was published for the key. IP\n"
          "addresses go to PKARR relays with --publish-direct only.",
      .example = "  km-node publish --key-file node.key --pkarr https://dns.example.org/pkarr \\\n"
                 "    --relay https://relay.example.org",
      .options = options,
  };
  km_errinfo err;
  cli_words words;
  cli_output out;
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&out, o.json);
  if (result != CLI_RUN) {
    return result == CLI_HELPED ? CLI_EXIT_OK : cli_error(&out, CLI_EXIT_USAGE, &err);
  }
  const char *wrong = objection(&o, &addrs, &relays, keep);
  if (wrong != NULL) {
    err = (km_errinfo){.code = KM_ERR_INVALID};
    (void)snprintf(err.text, sizeof err.text, "%s", wrong);
    return cli_error(&out, CLI_EXIT_USAGE, &err);
  }
  return run(&o, &addrs, &relays, keep, timeout_s);
}
