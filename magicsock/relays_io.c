/* The relays: connected to when they are wanted, left when they are not, one of them home. */
#include "magicsock/relays.h"

#include <assert.h>
#include <errno.h>
#include <sodium/crypto_shorthash.h>
#include <string.h>

#include "magicsock/home_relay.h"
#include "magicsock/interfaces_io.h"
#include "magicsock/mapped_addr.h"
#include "magicsock/packet_kind.h"
#include "relay/client.h"
#include "relay/ping.h"
#include "relay/url.h"

/* Packets for a relay that is not there yet: as iroh, or four round trips of one that is far. */
#define WAITING_NS (3 * KM_NS_PER_S)
#define WAITING_TRIPS 4
#define WAITING_MAX_NS (60 * KM_NS_PER_S)
#define IDLE_NS (60 * KM_NS_PER_S) /* without sending: a relay of others is left; as iroh */
/* Home, and any relay that owes an answer to what we sent, is pinged when it was silent for a
 * while, and is lost when it does not answer within three round trips, ANSWER at least: the standby
 * takes over in less than 3 s. A standby at rest has its client's pings. */
#define CHECK_DEFAULT_NS KM_NS_PER_S
#define ANSWER_NS (3 * KM_NS_PER_S / 2)
_Static_assert(CHECK_DEFAULT_NS + ANSWER_NS < 3 * KM_NS_PER_S, "a home that hangs is told late");
/* Latencies are measured at the start, when the network changed, and now and then. The first home
 * is chosen when all relays answered, or a moment after the first did. Of a relay that is connected
 * the round trip is known: TCP, TLS and the request are three. */
#define PROBE_TIMEOUT_NS (3 * KM_NS_PER_S)
#define PROBE_TRIPS 5
#define PROBE_MAX_NS (50 * KM_NS_PER_S)
#define PROBE_EVERY_NS (60 * KM_NS_PER_S)
#define FIRST_CHOICE_NS (100 * KM_NS_PER_MS)
#define STEADY_NS (30 * KM_NS_PER_S) /* after its last failure a relay is trusted again */
#define AGAIN_NS KM_NS_PER_S         /* until a relay that could not even be dialled is again */
enum { LATENCIES = 4 }; /* the lowest of so many counts: one answer is late for many reasons */

typedef struct waiting_packets {
  struct waiting_packets *next;
  km_ts since;
  km_id peer;
  uint8_t ecn;
  size_t len, segment;
  uint8_t data[];
} waiting_packets;

typedef struct relay {
  km_relays *all;
  char *url; /* owned; NULL: the place is free */
  uint16_t index;
  bool configured;         /* may become home */
  bool stranger;           /* nobody vouches for it */
  km_relay_client *client; /* NULL: not wanted now */
  bool up, down;           /* connected; the last attempt or connection failed */
  km_ts steady_at;         /* STEADY after the last failure of a connection or an attempt */
  bool elsewhere;          /* what is for us goes to another endpoint with our key */
  bool full;               /* a send found the client's queue full */
  uint32_t paths;
  km_ts last_tx;
  waiting_packets *waiting, **waiting_end;
  size_t waiting_count, waiting_bytes;
  km_relay_probe *probe;
  uint64_t latencies[LATENCIES]; /* the newest first, 0: none */
  km_errinfo trouble;            /* why it is down; code 0 when it is not */
} relay;

struct km_relays {
  km_relays_config config; /* `relay` is not kept */
  km_magicsock_relay_config relay;
  km_relay_clients *clients; /* NULL until a relay is wanted */
  char *ca_file, *token;
  relay at[KM_RELAYS_MAX];
  size_t count;      /* places used so far */
  size_t configured; /* they come first */
  int home, standby; /* indices, or KM_HOME_NONE */
  km_ts choose_at;   /* KM_TS_NEVER: homes are being kept already */
  km_ts probe_at;
  bool plan_due;
  km_deadline *timer;
  km_ts wake_at; /* when it fires */
  uint8_t hash_key[crypto_shorthash_KEYBYTES];
};

static km_ts now_of(const km_relays *r) {
  return km_loop_now(r->config.loop);
}

static void wake(km_relays *r, km_ts at) {
  if (at < r->wake_at) {
    r->wake_at = at;
    km_deadline_set(r->timer, at);
  }
}

/* Makes the plan again in the next turn. */
static void replan(km_relays *r) {
  r->plan_due = true;
  wake(r, 0);
}

/* --- packets that wait for their relay ------------------------------------------------------- */

static void waiting_pop(relay *e) {
  waiting_packets *p = e->waiting;
  e->waiting = p->next;
  if (e->waiting == NULL) {
    e->waiting_end = &e->waiting;
  }
  e->waiting_count--;
  e->waiting_bytes -= p->len;
  km_env_free(e->all->config.env, p);
}

static void waiting_clear(relay *e) {
  while (e->waiting != NULL) {
    waiting_pop(e);
  }
}

/* The oldest make room: QUIC has most use for what it sent last. */
static int waiting_push(relay *e, const km_path_key *to, const uint8_t *data, size_t len,
                        size_t segment, uint8_t ecn) {
  if (len > KM_RELAY_WAITING_BYTES) {
    return EMSGSIZE;
  }
  while (e->waiting_count >= KM_RELAY_WAITING_PACKETS ||
         e->waiting_bytes + len > KM_RELAY_WAITING_BYTES) {
    waiting_pop(e);
  }
  waiting_packets *p = km_env_alloc(e->all->config.env, sizeof *p + len);
  if (p == NULL) {
    return ENOMEM;
  }
  *p = (waiting_packets){
      .since = now_of(e->all), .peer = to->peer, .ecn = ecn, .len = len, .segment = segment};
  memcpy(p->data, data, len);
  *e->waiting_end = p;
  e->waiting_end = &p->next;
  e->waiting_count++;
  e->waiting_bytes += len;
  return 0;
}

static int send_now(relay *e, const km_id *peer, const uint8_t *data, size_t len, size_t segment,
                    uint8_t ecn) {
  size_t most = segment < KM_RELAY_MAX_PAYLOAD ? KM_RELAY_MAX_PAYLOAD / segment * segment : 0;
  if (most == 0) {
    return EMSGSIZE;
  }
  for (size_t at = 0; at < len; at += most) {
    size_t part = len - at < most ? len - at : most;
    if (km_relay_client_send(e->client, peer, ecn, data + at, part, segment) != 0) {
      e->full = true;
      return ENOBUFS;
    }
  }
  return 0;
}

static uint64_t round_trip(const relay *e) {
  return e->client != NULL ? km_relay_client_round_trip(e->client) : 0;
}

static void waiting_send(relay *e) {
  uint64_t most = km_relay_patience(WAITING_NS, WAITING_TRIPS, round_trip(e), WAITING_MAX_NS);
  while (e->waiting != NULL) {
    const waiting_packets *p = e->waiting;
    if (now_of(e->all) - p->since < most) {
      (void)send_now(e, &p->peer, p->data, p->len, p->segment, p->ecn); /* lost, if it is full */
    }
    waiting_pop(e);
  }
}

/* --- connections to relays ------------------------------------------------------------------- */

static void on_state(void *ctx, km_relay_client *c, km_relay_client_state state,
                     const km_errinfo *why) {
  (void)c;
  relay *e = ctx;
  km_relays *r = e->all;
  bool was_up = e->up;
  e->up = state == KM_RELAY_CLIENT_CONNECTED;
  e->down = state == KM_RELAY_CLIENT_WAITING || (e->down && !e->up);
  e->full = e->elsewhere = false;
  e->steady_at = e->down || was_up ? now_of(r) + STEADY_NS : e->steady_at;
  if (why != NULL) {
    e->trouble = *why;
  }
  if (e->up) {
    e->trouble.code = 0;
    waiting_send(e);
    r->config.on_writable(r->config.rx_ctx);
  } else if (was_up && r->relay.on_lost != NULL) {
    r->relay.on_lost(r->config.rx_ctx, e->index);
  }
  replan(r);
}

static void on_datagrams(void *ctx, km_relay_client *c, const km_id *peer, uint8_t ecn,
                         const uint8_t *data, size_t len, size_t segment);

static void on_gone(void *ctx, km_relay_client *c, const km_id *peer) {
  (void)c;
  const relay *e = ctx;
  if (e->all->relay.on_gone != NULL) {
    e->all->relay.on_gone(e->all->config.rx_ctx, e->index, peer);
  }
}

/* Somebody else uses our key, or an older self of ours was not forgotten yet. */
static void on_same_id(void *ctx, km_relay_client *c, bool elsewhere) {
  (void)c;
  relay *e = ctx;
  e->elsewhere = elsewhere;
  replan(e->all);
  KM_LOG(&e->all->config.env->logger, elsewhere ? KM_LOG_WARN : KM_LOG_INFO, KM_LOGC_RELAY, NULL,
         e->url, elsewhere ? "same-id" : "same-id-over", "%s",
         elsewhere ? "another endpoint with our key is connected and receives what is for us" : "");
}

static void on_client_writable(void *ctx, km_relay_client *c) {
  (void)c;
  relay *e = ctx;
  e->full = false;
  e->all->config.on_writable(e->all->config.rx_ctx);
}

static int need_clients(km_relays *r, km_errinfo *err) {
  if (r->clients != NULL) {
    return 0;
  }
  const km_relay_clients_config config = {.env = r->config.env,
                                          .loop = r->config.loop,
                                          .key = r->relay.key,
                                          .ca_file = r->ca_file,
                                          .user_agent = "keymesh"};
  return km_relay_clients_new(&r->clients, &config, err);
}

static int connect_to(relay *e) {
  km_relays *r = e->all;
  if (e->client != NULL) {
    return 0;
  }
  km_errinfo err;
  const km_relay_client_callbacks cb = {.on_state = on_state,
                                        .on_datagrams = on_datagrams,
                                        .on_gone = on_gone,
                                        .on_same_id = on_same_id,
                                        .on_writable = on_client_writable,
                                        .ctx = e};
  int rv = need_clients(r, &err);
  if (rv == 0) {
    rv = km_relay_client_new(&e->client, r->clients, e->url, &cb, &err);
  }
  if (rv == 0 && e->configured && r->token != NULL) {
    rv = km_relay_client_set_token(e->client, r->token, &err);
  }
  if (rv != 0) {
    km_relay_client_free(e->client);
    e->client = NULL;
    e->down = true;
    if (e->trouble.code != err.code) { /* told once, and tried again */
      KM_LOG(&r->config.env->logger, KM_LOG_WARN, KM_LOGC_RELAY, NULL, e->url, "no-client", "%s",
             err.text);
    }
    e->trouble = err;
  }
  return rv;
}

static void leave(relay *e) {
  km_relay_client_free(e->client);
  e->client = NULL;
  e->up = e->full = e->elsewhere = false;
  waiting_clear(e);
}

static void forget(relay *e) {
  leave(e);
  km_relay_probe_free(e->probe);
  km_env_free(e->all->config.env, e->url);
  km_relays *r = e->all;
  uint16_t index = e->index;
  *e = (relay){.all = r, .index = index, .waiting_end = &e->waiting};
}

/* --- the table ------------------------------------------------------------------------------- */

/* Whether a relay of ours is meant, however it is written and whatever token others have for it: a
 * second connection of ours at one server would push the first one out. */
static bool is_meant(const relay *e, const km_relay_url *wanted) {
  km_relay_url known;
  return km_relay_url_read(&known, e->url, NULL) == 0 && known.tls == wanted->tls &&
         known.port == wanted->port && strcmp(known.host, wanted->host) == 0 &&
         (e->configured || strcmp(known.path, wanted->path) == 0);
}

static relay *find(km_relays *r, const char *url) {
  km_relay_url wanted;
  bool readable = km_relay_url_read(&wanted, url, NULL) == 0;
  for (size_t i = 0; i < r->count; i++) {
    relay *e = &r->at[i];
    if (e->url != NULL && (strcmp(e->url, url) == 0 || (readable && is_meant(e, &wanted)))) {
      return e;
    }
  }
  return NULL;
}

static int add(km_relays *r, const char *url, relay **ret) {
  size_t i = 0;
  while (i < r->count && r->at[i].url != NULL) {
    i++;
  }
  if (i == KM_RELAYS_MAX) {
    return KM_ERR_LIMIT;
  }
  char *copy = km_env_strdup(r->config.env, url);
  if (copy == NULL) {
    return KM_ERR_NOMEM;
  }
  relay *e = &r->at[i];
  *e = (relay){.all = r, .url = copy, .index = (uint16_t)i, .waiting_end = &e->waiting};
  r->count = i == r->count ? i + 1 : r->count;
  *ret = e;
  return 0;
}

static const relay *at_index(const km_relays *r, uint16_t index) {
  return r != NULL && index < r->count && r->at[index].url != NULL ? &r->at[index] : NULL;
}

/* The mapped address of a peer behind a relay: the same one whenever it is met, and not to be
 * foreseen by anybody, since budgets are counted by it. */
static void fill_key(const km_relays *r, uint16_t index, const km_id *peer, km_path_key *ret) {
  uint8_t who[sizeof peer->bytes + 2], hash[crypto_shorthash_BYTES];
  uint64_t number;
  _Static_assert(sizeof hash == sizeof number, "SipHash-2-4 gives 64 bits");
  memcpy(who, peer->bytes, sizeof peer->bytes);
  who[sizeof peer->bytes] = (uint8_t)(index >> 8);
  who[sizeof peer->bytes + 1] = (uint8_t)index;
  crypto_shorthash(hash, who, sizeof who, r->hash_key);
  memcpy(&number, hash, sizeof number);
  memset(ret, 0, sizeof *ret);
  ret->way = KM_WAY_RELAY;
  ret->relay = index;
  ret->peer = *peer;
  ret->remote = km_mapped_udp_addr(KM_MAPPED_RELAY, number);
}

/* Those that were asked for and not taken go. */
static bool has_room_for_stranger(km_relays *r) {
  size_t count = 0;
  for (size_t i = 0; i < r->count; i++) {
    if (r->at[i].stranger && r->at[i].paths == 0) {
      forget(&r->at[i]);
    }
    count += r->at[i].stranger;
  }
  return count < KM_RELAYS_MAX_STRANGERS;
}

int km_relays_key(km_relays *r, const char *url, const km_id *peer, bool stranger,
                  km_path_key *ret) {
  relay *e = find(r, url);
  if (e == NULL) {
    int rv = stranger && !has_room_for_stranger(r) ? KM_ERR_LIMIT : add(r, url, &e);
    if (rv != 0) {
      return rv;
    }
    e->last_tx = now_of(r);
    e->stranger = stranger;
    replan(r); /* which forgets it again when no path comes of this */
  }
  e->stranger = e->stranger && stranger;
  fill_key(r, e->index, peer, ret);
  return 0;
}

size_t km_relays_configured(const km_relays *r, const char **ret, size_t cap) {
  size_t count = r->configured < cap ? r->configured : cap;
  for (size_t i = 0; i < count; i++) {
    ret[i] = r->at[i].url;
  }
  return count;
}

int km_relays_clients(km_relays *r, km_relay_clients **ret, km_errinfo *err) {
  int rv = need_clients(r, err);
  if (rv == 0) {
    *ret = r->clients;
  }
  return rv;
}

bool km_relays_knows(km_relays *r, const char *url) {
  return find(r, url) != NULL;
}

void km_relays_ref(km_relays *r, uint16_t index) {
  r->at[index].paths++;
}

void km_relays_unref(km_relays *r, uint16_t index) {
  assert(r->at[index].paths > 0);
  if (--r->at[index].paths == 0 && !r->at[index].configured) {
    replan(r);
  }
}

const char *km_relays_url(const km_relays *r, uint16_t index) {
  const relay *e = at_index(r, index);
  return e == NULL ? NULL : e->url;
}

bool km_relays_is_up(const km_relays *r, uint16_t index) {
  const relay *e = at_index(r, index);
  return e != NULL && e->up;
}

const char *km_relays_trouble(const km_relays *r, uint16_t index) {
  const relay *e = at_index(r, index);
  return e == NULL || e->trouble.code == 0 ? NULL : e->trouble.text;
}

/* --- packets --------------------------------------------------------------------------------- */

static void on_datagrams(void *ctx, km_relay_client *c, const km_id *peer, uint8_t ecn,
                         const uint8_t *data, size_t len, size_t segment) {
  (void)c;
  const relay *e = ctx;
  km_relays *r = e->all;
  km_rx_batch batch = {.segment = segment == 0 || segment > len ? len : segment, .ecn = ecn};
  fill_key(r, e->index, peer, &batch.from);
  for (size_t at = 0; at < len; at += batch.len) {
    size_t begin = at;
    batch.len = km_packet_run(data, len, batch.segment, &at, r->config.rx_not_quic);
    if (r->config.on_side != NULL && at > begin) {
      r->config.on_side(r->config.ctx, &batch.from, data + begin, at - begin, batch.segment);
    }
    if (batch.len > 0) {
      batch.data = data + at;
      r->config.on_rx(r->config.rx_ctx, &batch);
    }
  }
  r->config.on_rx_done(r->config.rx_ctx);
}

uint64_t km_relays_round_trip(const km_relays *r, uint16_t index) {
  return at_index(r, index) == NULL ? 0 : round_trip(&r->at[index]);
}

/* A relay that is not connected takes what it can, for a moment; the rest is lost as on any path
 * that is down. */
bool km_relays_can_send(const km_relays *r, uint16_t index) {
  const relay *e = at_index(r, index);
  return e == NULL || !e->up || !e->full;
}

int km_relays_send(km_relays *r, const km_path_key *to, const uint8_t *data, size_t len,
                   size_t segment, uint8_t ecn) {
  if (at_index(r, to->relay) == NULL) {
    return ENETUNREACH;
  }
  relay *e = &r->at[to->relay];
  e->last_tx = now_of(r);
  wake(r, e->last_tx + r->relay.check_ns);
  if (connect_to(e) != 0) {
    return ENETUNREACH;
  }
  return e->up ? send_now(e, &to->peer, data, len, segment, ecn)
               : waiting_push(e, to, data, len, segment, ecn);
}

/* --- latency --------------------------------------------------------------------------------- */

static bool probing(const km_relays *r) {
  for (size_t i = 0; i < r->configured; i++) {
    if (r->at[i].probe != NULL) {
      return true;
    }
  }
  return false;
}

static void add_latency(relay *e, uint64_t ns) {
  memmove(e->latencies + 1, e->latencies, (LATENCIES - 1) * sizeof e->latencies[0]);
  e->latencies[0] = ns > 0 ? ns : 1;
}

static void forget_latencies(relay *e) {
  memset(e->latencies, 0, sizeof e->latencies);
}

/* 0: unknown. */
static uint64_t latency_of(const relay *e) {
  uint64_t lowest = e->latencies[0];
  for (size_t i = 1; i < LATENCIES && e->latencies[i] != 0; i++) {
    lowest = e->latencies[i] < lowest ? e->latencies[i] : lowest;
  }
  return lowest;
}

static void on_probed(void *ctx, const km_relay_probe_result *result) {
  relay *e = ctx;
  km_relays *r = e->all;
  e->probe = NULL;
  if (result->err.code == 0) {
    add_latency(e, result->rtt_ns);
    e->down = e->down && e->client != NULL; /* its client knows better, if there is one */
    KM_LOG(&r->config.env->logger, KM_LOG_DEBUG, KM_LOGC_RELAY, NULL, e->url, "latency", "us=%llu",
           (unsigned long long)(result->rtt_ns / 1000));
  } else {
    forget_latencies(e);
    e->down = !e->up;
    KM_LOG(&r->config.env->logger, KM_LOG_DEBUG, KM_LOGC_RELAY, NULL, e->url, "no-latency", "%s",
           result->err.text);
  }
  if (r->choose_at != KM_TS_NEVER) {
    km_ts soon = now_of(r) + (probing(r) ? FIRST_CHOICE_NS : 0);
    r->choose_at = result->err.code == 0 || !probing(r)
                       ? (soon < r->choose_at ? soon : r->choose_at)
                       : r->choose_at;
  }
  replan(r);
}

static void probe_all(km_relays *r) {
  km_ts now = now_of(r);
  r->probe_at = now + PROBE_EVERY_NS + km_env_random_below(r->config.env, PROBE_EVERY_NS / 4);
  if (r->configured < 2 || need_clients(r, NULL) != 0) {
    return; /* one relay is the best of its kind */
  }
  for (size_t i = 0; i < r->configured; i++) {
    relay *e = &r->at[i];
    uint64_t timeout =
        km_relay_patience(PROBE_TIMEOUT_NS, PROBE_TRIPS, round_trip(e), PROBE_MAX_NS);
    if (e->probe == NULL &&
        km_relay_probe_new(&e->probe, r->clients, e->url, timeout, on_probed, e, NULL) != 0) {
      e->probe = NULL;
    }
  }
}

/* --- home ------------------------------------------------------------------------------------ */

static void set_home(km_relays *r, int home, int standby) {
  if (home == r->home && standby == r->standby) {
    return;
  }
  if (home != r->home) {
    KM_LOG(&r->config.env->logger, KM_LOG_INFO, KM_LOGC_RELAY, NULL,
           home == KM_HOME_NONE ? NULL : r->at[home].url, home == KM_HOME_NONE ? "no-home" : "home",
           "%s", "");
  }
  r->home = home;
  r->standby = standby;
  if (r->relay.on_home != NULL) {
    r->relay.on_home(r->config.rx_ctx);
  }
}

static bool is_reachable(const relay *e) {
  return e->up && !e->elsewhere;
}

/* Returns when to look again. */
static km_ts keep_homes(km_relays *r, km_ts now, bool keep[KM_RELAYS_MAX]) {
  km_ts next = KM_TS_NEVER;
  km_home_relay seen[KM_ADDR_MAX_RELAYS];
  km_home_plan plan;
  for (size_t i = 0; i < r->configured; i++) {
    const relay *e = &r->at[i];
    seen[i] = (km_home_relay){.state = is_reachable(e)           ? KM_HOME_UP
                                       : e->down || e->elsewhere ? KM_HOME_DOWN
                                                                 : KM_HOME_UNTRIED,
                              .latency_ns = latency_of(e),
                              .shaky = now < e->steady_at};
    next = now < e->steady_at && e->steady_at < next ? e->steady_at : next;
  }
  km_home_plan_make(&plan, seen, r->configured, r->home, r->standby);
  for (size_t i = 0; i < r->configured; i++) {
    keep[i] = plan.keep[i];
    if (keep[i] && connect_to(&r->at[i]) != 0) { /* descriptors or memory: these come back */
      next = now + AGAIN_NS < next ? now + AGAIN_NS : next;
    }
  }
  set_home(r, plan.home, plan.standby);
  return next;
}

static bool is_watched(const km_relays *r, const relay *e) {
  return e->up &&
         (e->index == r->home || (e->paths > 0 && e->last_tx > km_relay_client_last_rx(e->client)));
}

/* Pings relays that were silent. Returns when to look again. */
static km_ts check_silent(km_relays *r, km_ts now) {
  km_ts next = KM_TS_NEVER;
  for (size_t i = 0; i < r->count; i++) {
    const relay *e = &r->at[i];
    if (!is_watched(r, e)) {
      continue;
    }
    km_ts at = km_relay_client_last_rx(e->client) + r->relay.check_ns;
    if (at <= now) {
      km_relay_client_check(e->client, km_relay_patience(ANSWER_NS, KM_RELAY_TRIPS, round_trip(e),
                                                         KM_RELAY_PONG_MAX));
      at = now + r->relay.check_ns;
    }
    next = at < next ? at : next;
  }
  return next;
}

/* Leaves relays that nobody needs, and forgets those that only an address named. */
static km_ts leave_idle(km_relays *r, km_ts now, const bool keep[KM_RELAYS_MAX]) {
  km_ts next = KM_TS_NEVER;
  for (size_t i = 0; i < r->count; i++) {
    relay *e = &r->at[i];
    if (e->url == NULL || keep[i]) {
      continue;
    }
    km_ts at = e->last_tx + IDLE_NS;
    if (e->client != NULL && at > now && (e->paths > 0 || !e->stranger)) {
      next = at < next ? at : next;
      continue;
    }
    if (e->paths == 0 && !e->configured) {
      forget(e);
    } else if (e->client != NULL) {
      leave(e);
    }
  }
  return next;
}

static void on_timer(void *ctx) {
  km_relays *r = ctx;
  km_ts now = now_of(r);
  bool keep[KM_RELAYS_MAX] = {false};
  r->plan_due = false;
  r->wake_at = KM_TS_NEVER;
  if (r->configured > 0 && r->probe_at <= now) {
    probe_all(r);
  }
  if (r->choose_at <= now || (r->choose_at != KM_TS_NEVER && !probing(r))) {
    r->choose_at = KM_TS_NEVER;
  }
  km_ts next = r->choose_at;
  if (r->choose_at == KM_TS_NEVER && r->configured > 0) {
    km_ts again = keep_homes(r, now, keep);
    next = again < next ? again : next;
  }
  km_ts check = check_silent(r, now), idle = leave_idle(r, now, keep);
  next = check < next ? check : next;
  next = idle < next ? idle : next;
  next = r->configured > 1 && r->probe_at < next ? r->probe_at : next;
  wake(r, r->plan_due ? 0 : next);
}

size_t km_relays_home(const km_relays *r, const char **ret, size_t cap) {
  size_t count = 0;
  const int homes[] = {r->home, r->standby};
  for (size_t i = 0; i < 2 && count < cap; i++) {
    if (homes[i] != KM_HOME_NONE && is_reachable(&r->at[homes[i]])) {
      ret[count++] = r->at[homes[i]].url;
    }
  }
  return count;
}

typedef struct address_search {
  const km_udp_addr *wanted;
  bool found, any;
} address_search;

static void compare_address(void *ctx, const km_udp_addr *addr, bool loopback) {
  (void)loopback;
  address_search *search = ctx;
  search->any = true;
  search->found = search->found || (addr->family == search->wanted->family &&
                                    memcmp(addr->ip, search->wanted->ip, sizeof addr->ip) == 0);
}

/* Of an interface that is up. Link-local addresses are not listed: they are believed, and so is all
 * where the system does not tell. */
static bool is_ours(void *ctx, const km_udp_addr *addr) {
  (void)ctx;
  address_search search = {.wanted = addr};
  km_interface_each(compare_address, &search);
  return search.found || !search.any || addr->scope_id != 0 || km_udp_addr_is_loopback(addr);
}

void km_relays_network_changed(km_relays *r) {
  for (size_t i = 0; i < r->count; i++) {
    forget_latencies(&r->at[i]);
    km_relay_probe_free(r->at[i].probe); /* its way may be none any more */
    r->at[i].probe = NULL;
    if (r->at[i].client != NULL) {
      km_relay_client_network_changed(r->at[i].client, is_ours, NULL);
    }
  }
  r->probe_at = now_of(r);
  replan(r);
}

/* --- life ------------------------------------------------------------------------------------ */

static int add_configured(km_relays *r, km_errinfo *err) {
  for (size_t i = 0; i < r->relay.url_count; i++) {
    relay *e;
    if (find(r, r->relay.urls[i]) != NULL) {
      continue; /* named twice */
    }
    int rv = add(r, r->relay.urls[i], &e);
    if (rv != 0) {
      return km_fail(err, rv, NULL);
    }
    e->configured = true;
    r->configured++;
  }
  return 0;
}

static int copy_text(const km_relays *r, char **ret, const char *text) {
  if (text == NULL) {
    return 0;
  }
  *ret = km_env_strdup(r->config.env, text);
  return *ret != NULL ? 0 : KM_ERR_NOMEM;
}

static int make_parts(km_relays *r, const km_relays_config *config, km_errinfo *err) {
  int rv = km_deadline_new(&r->timer, config->loop, on_timer, r);
  if (rv == 0) {
    rv = copy_text(r, &r->ca_file, config->relay->ca_file);
  }
  if (rv == 0) {
    rv = copy_text(r, &r->token, config->relay->token);
  }
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  rv = add_configured(r, err);
  if (rv == 0 && (r->configured > 0 || r->ca_file != NULL)) {
    rv = need_clients(r, err); /* a bad CA file is told at once */
  }
  return rv;
}

int km_relays_new(km_relays **ret, const km_relays_config *config, km_errinfo *err) {
  km_relays *r = km_env_zalloc(config->env, 1, sizeof *r);
  if (r == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  r->config = *config;
  r->relay = *config->relay;
  r->relay.check_ns = r->relay.check_ns > 0 ? r->relay.check_ns : CHECK_DEFAULT_NS;
  r->config.relay = NULL;
  r->home = r->standby = KM_HOME_NONE;
  r->probe_at = now_of(r);
  r->wake_at = KM_TS_NEVER;
  km_env_random(config->env, r->hash_key, sizeof r->hash_key);
  int rv = make_parts(r, config, err);
  r->relay.urls = NULL;
  r->relay.ca_file = r->relay.token = NULL;
  if (rv != 0) {
    km_relays_free(r);
    return rv;
  }
  r->choose_at = r->configured > 1 ? now_of(r) + PROBE_TIMEOUT_NS : KM_TS_NEVER;
  if (r->configured > 0) {
    wake(r, 0);
  }
  *ret = r;
  return 0;
}

void km_relays_free(km_relays *r) {
  if (r == NULL) {
    return;
  }
  for (size_t i = 0; i < r->count; i++) {
    if (r->at[i].url != NULL) {
      forget(&r->at[i]);
    }
  }
  km_relay_clients_free(r->clients);
  if (r->timer != NULL) {
    km_deadline_free(r->timer);
  }
  km_env_free(r->config.env, r->ca_file);
  km_env_free(r->config.env, r->token);
  km_env_free(r->config.env, r);
}
