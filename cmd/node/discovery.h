/* Where commands look for peers, and tell of themselves: options, and how answers are printed. */
#ifndef KM_CMD_NODE_DISCOVERY_H
#define KM_CMD_NODE_DISCOVERY_H

#include <keymesh/discovery.h>
#include <keymesh/endpoint.h>
#include <keymesh/record.h>

#include "cmd/cli/options.h"
#include "cmd/cli/output.h"

typedef struct discovery_options {
  cli_list pkarr, dns_origin, dns_server, trust;
  const char *mdns, *peers, *state, *user_data, *record;
  bool none, publish_direct, no_publish;
} discovery_options;

/* Appends rows to a table of `cap` rows that ends with a NULL name; `publishes`: also those for
 * telling of oneself. */
void discovery_add_options(cli_option *table, size_t cap, discovery_options *o, bool publishes);

typedef struct discovery_setup {
  km_loop *loop;
  const km_secret_key *key; /* NULL: nothing is signed */
  km_relay_mode relay_mode; /* with iroh's public relays go its public servers */
  km_log_fn log;
  const km_log_filter *log_filter;
  bool lan;        /* mDNS and nothing else; it has to work */
  bool no_mdns;    /* whatever the options say */
  bool no_publish; /* the same */
} discovery_setup;

/* NULL in `ret` when the options say that there is to be none. 0, or an error with a sentence. A
 * mDNS that does not work is a warning, unless it was asked for. */
int discovery_open(km_discovery **ret, const discovery_options *o, const discovery_setup *setup,
                   km_errinfo *err);

/* One answer: the event `name`, or lines for people. */
void discovery_print_found(const cli_output *out, const char *name, const km_found *found);
/* A record that was checked, as an object of JSON, and as lines. */
void discovery_add_record(cJSON *event, const km_record *record);
void discovery_say_record(const cli_output *out, const km_record *record);

#endif /* KM_CMD_NODE_DISCOVERY_H */
