/* km-node relay ping: is a relay there, how far away, and does it let us in? */
#include <stdio.h>
#include <string.h>

#include "base/relay_url.h"
#include "cmd/cli/signals_io.h"
#include "cmd/node/node.h"
#include "relay/client.h"
#include "relay/url.h"

#define PROBE_TIMEOUT_S 5u
#define LOGIN_TIMEOUT_MS 12000u

typedef struct pinger {
  cli_output out;
  km_loop *loop;
  km_env env;
  const char *url, *token;
  km_secret_key *key;
  km_relay_clients *clients;
  km_relay_probe *probe;
  km_relay_client *client;
  km_timer *timer;
  uint64_t count, done, answered;
  uint64_t best_ns, worst_ns, sum_ns;
  km_ts started;
  int status;
} pinger;

static double ms(uint64_t ns) {
  return (double)ns / 1e6;
}

static void stop(pinger *p, int status) {
  if (p->status == CLI_EXIT_OK) {
    p->status = status;
  }
  km_loop_stop(p->loop);
}

/* Which relay it was, without a token that its url may have; and why. */
static void fail(pinger *p, const km_errinfo *err) {
  km_errinfo whole = *err;
  int url_len = (int)strcspn(p->url, "?");
  (void)snprintf(whole.text, sizeof whole.text, "the relay %.*s does not work: %.100s",
                 url_len < 64 ? url_len : 64, p->url,
                 err->text[0] != '\0' ? err->text : km_strerror(err->code));
  stop(p, cli_error(&p->out, cli_status_of(err->code), &whole));
}

/* --- the last step: the relay protocol itself ------------------------------------------------ */

static void on_state(void *ctx, km_relay_client *c, km_relay_client_state state,
                     const km_errinfo *why) {
  pinger *p = ctx;
  (void)c;
  if (state == KM_RELAY_CLIENT_CONNECTING) {
    return;
  }
  if (state != KM_RELAY_CLIENT_CONNECTED) {
    fail(p, why);
    return;
  }
  uint64_t took = km_loop_now(p->loop) - p->started;
  cJSON *event = cli_event(&p->out, "login");
  cli_add_number(event, "ms", ms(took));
  cli_emit(event);
  cli_say(&p->out, "logged in with a fresh key in %.2f ms: the relay works", ms(took));
  stop(p, CLI_EXIT_OK);
}

static void on_login_timeout(void *ctx) {
  pinger *p = ctx;
  p->timer = NULL;
  km_errinfo err = {.code = KM_ERR_RELAY_UNREACHABLE};
  (void)snprintf(err.text, sizeof err.text, "it did not finish its handshake within %u s",
                 LOGIN_TIMEOUT_MS / 1000);
  fail(p, &err);
}

static void log_in(pinger *p) {
  const km_relay_client_callbacks callbacks = {.on_state = on_state, .ctx = p};
  km_errinfo err;
  p->started = km_loop_now(p->loop);
  int rv = km_relay_client_new(&p->client, p->clients, p->url, &callbacks, &err);
  if (rv == 0 && p->token != NULL) {
    rv = km_relay_client_set_token(p->client, p->token, &err);
  }
  if (rv != 0) {
    fail(p, &err);
  } else if (km_timer_start(&p->timer, p->loop, LOGIN_TIMEOUT_MS, on_login_timeout, p) != 0) {
    stop(p, CLI_EXIT_FAILED);
  }
}

/* --- pings ----------------------------------------------------------------------------------- */

static void summarise(pinger *p) {
  cJSON *event = cli_event(&p->out, "summary");
  cli_add_number(event, "sent", (double)p->done);
  cli_add_number(event, "answered", (double)p->answered);
  cli_add_number(event, "min_ms", ms(p->best_ns));
  cli_add_number(event, "avg_ms", ms(p->sum_ns / p->answered));
  cli_add_number(event, "max_ms", ms(p->worst_ns));
  cli_emit(event);
  cli_say(&p->out, "%llu of %llu answered, min %.2f avg %.2f max %.2f ms",
          (unsigned long long)p->answered, (unsigned long long)p->done, ms(p->best_ns),
          ms(p->sum_ns / p->answered), ms(p->worst_ns));
}

static void next_ping(void *ctx);

static void record(pinger *p, const km_relay_probe_result *r) {
  char addr[KM_UDP_ADDR_TEXT_CAP] = "behind a proxy";
  bool known = r->remote.family != 0;
  if (known) {
    (void)km_udp_addr_format(&r->remote, addr, sizeof addr);
  }
  cJSON *event = cli_event(&p->out, "ping");
  cli_add_number(event, "rtt_ms", ms(r->rtt_ns));
  cli_add_number(event, "connect_ms", ms(r->connect_ns));
  if (known) {
    cli_add_text(event, "addr", addr);
  } else {
    cli_add_null(event, "addr");
  }
  cli_emit(event);
  cli_say(&p->out, "answer from %s: %.2f ms (connecting took %.2f ms)", addr, ms(r->rtt_ns),
          ms(r->connect_ns));
  p->answered++;
  p->sum_ns += r->rtt_ns;
  p->best_ns = p->answered == 1 || r->rtt_ns < p->best_ns ? r->rtt_ns : p->best_ns;
  p->worst_ns = r->rtt_ns > p->worst_ns ? r->rtt_ns : p->worst_ns;
}

static void on_probed(void *ctx, const km_relay_probe_result *result) {
  pinger *p = ctx;
  p->probe = NULL;
  p->done++;
  if (result->err.code == 0) {
    record(p, result);
  }
  if (p->done == p->count && p->answered == 0) {
    fail(p, &result->err);
  } else if (p->done == p->count) {
    summarise(p);
    log_in(p);
  } else if (km_timer_start(&p->timer, p->loop, 100, next_ping, p) != 0) {
    stop(p, CLI_EXIT_FAILED);
  }
}

static void next_ping(void *ctx) {
  pinger *p = ctx;
  km_errinfo err;
  p->timer = NULL;
  if (km_relay_probe_new(&p->probe, p->clients, p->url, PROBE_TIMEOUT_S * KM_NS_PER_S, on_probed, p,
                         &err) != 0) {
    fail(p, &err);
  }
}

/* --- the command ----------------------------------------------------------------------------- */

static void on_signal(void *ctx) {
  stop(ctx, 130);
}

static int prepare(pinger *p, const char *ca_file, const char *log, km_errinfo *err) {
  memset(err, 0, sizeof *err);
  p->env = km_env_system;
  if (log != NULL) {
    p->env.logger.sink = km_log_to_stderr;
    int rv = km_log_filter_parse(&p->env.logger.filter, log, err);
    if (rv != 0) {
      return rv;
    }
  }
  err->code = km_secret_key_generate(&p->key);
  if (err->code != 0) {
    return err->code;
  }
  const km_relay_clients_config config = {
      .env = &p->env, .loop = p->loop, .key = p->key, .ca_file = ca_file, .user_agent = "km-node"};
  return km_relay_clients_new(&p->clients, &config, err);
}

static int ping(pinger *p, const char *ca_file, const char *log) {
  km_errinfo err = {.code = km_loop_new(&p->loop)};
  if (err.code != 0) {
    return cli_error(&p->out, CLI_EXIT_FAILED, &err);
  }
  if (prepare(p, ca_file, log, &err) != 0) {
    p->status = cli_error(&p->out, CLI_EXIT_USAGE, &err);
  } else if (cli_signals_watch(p->loop, on_signal, p) != 0) {
    p->status = CLI_EXIT_FAILED;
  } else {
    next_ping(p);
    if (p->status == CLI_EXIT_OK) {
      (void)km_loop_run(p->loop);
    }
  }
  cli_signals_stop();
  km_timer_cancel(p->timer);
  km_relay_probe_free(p->probe);
  km_relay_client_free(p->client);
  km_relay_clients_free(p->clients);
  km_secret_key_free(p->key);
  (void)km_loop_free(p->loop);
  return p->status;
}

int cmd_relay(int argc, char **argv) {
  pinger p = {.count = 3};
  bool json = false;
  const char *ca_file = NULL, *log = NULL;
  const cli_option options[] = {
      {"--count", CLI_NUMBER, &p.count, "N", "pings (default 3)", 1, 1000},
      {"--relay-ca", CLI_TEXT, &ca_file, "FILE", "PEM authorities of relays (default system's)", 0,
       0},
      {"--relay-token", CLI_TEXT, &p.token, "TOKEN",
       "what the relay wants to see (default $KM_RELAY_TOKEN)", 0, 0},
      {"--log", CLI_TEXT, &log, "FILTER", "log to stderr: relay=debug", 0, 0},
      {"--json", CLI_FLAG, &json, NULL, "one JSON object a line on stdout", 0, 0},
      {0},
  };
  const cli_command command = {
      .name = "km-node relay",
      .usage = "km-node relay ping URL [--count N]",
      .about = "Asks a relay's /ping, then logs in with a fresh key as an endpoint would. Exit\n"
               "status: 0 it works, 2 bad arguments, 3 it does not.",
      .example = "  km-node relay ping https://relay.example.org",
      .options = options,
      .min_words = 2,
      .max_words = 2,
  };
  cli_words words;
  km_errinfo err;
  char url[KM_RELAY_URL_MAX + 1];
  cli_result result = cli_parse(&command, argc, argv, &words, &err);
  cli_output_init(&p.out, json);
  if (result == CLI_HELPED) {
    return CLI_EXIT_OK;
  }
  if (result == CLI_RUN && strcmp(words.at[0], "ping") != 0) {
    err = (km_errinfo){.code = KM_ERR_INVALID};
    (void)snprintf(err.text, sizeof err.text, "km-node relay can do: ping URL, not '%.40s'",
                   words.at[0]);
    result = CLI_BAD;
  }
  if (result == CLI_BAD ||
      km_relay_url_take(url, sizeof url, words.at[1], strlen(words.at[1]), &err) < 0) {
    return cli_error(&p.out, CLI_EXIT_USAGE, &err);
  }
  p.url = url;
  p.token = node_relay_token(p.token);
  if (p.token != NULL && !km_relay_token_is_valid(p.token)) {
    err = (km_errinfo){.code = KM_ERR_INVALID};
    (void)snprintf(err.text, sizeof err.text, "--relay-token is 1 to %d visible ASCII characters",
                   KM_RELAY_TOKEN_MAX);
    return cli_error(&p.out, CLI_EXIT_USAGE, &err);
  }
  return ping(&p, ca_file, log);
}
