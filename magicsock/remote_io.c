#include "magicsock/remote.h"

#include <assert.h>
#include <string.h>

#include "base/relay_url.h"
#include "base/timer_heap.h"

#define MAX_HELD 8 /* open ways through sockets that nobody else keeps */
#define PROOF_NS (2 * KM_NS_PER_S)
#define PROOF_LIVE_NS (30 * KM_NS_PER_S)      /* as long as a Ping of the punch core's */
#define MAPPING_AFTER_NS (400 * KM_NS_PER_MS) /* without a direct way, the router is asked */

struct km_remote {
  km_remotes *all;
  km_list node; /* in all->remotes */
  km_id peer;
  km_punch *punch;
  km_timer_node timer;
  km_list users;
  size_t user_count;
  km_path *relays[KM_REMOTE_MAX_RELAYS];  /* one reference each */
  bool relay_heard[KM_REMOTE_MAX_RELAYS]; /* of the same: something genuine came through it */
  size_t relay_count;
  km_path *held[MAX_HELD]; /* the same, of open ways with a `via` */
  size_t held_count;
  km_ts joined;
  km_ts proof_at;
  uint8_t proof[KM_DISCO_TX_LEN]; /* the Ping that was sent then; see ask_for_proof */
  km_list changed;                /* in all->changed: users are to be told at the end of the turn */
  bool spraying;
};

struct km_remotes {
  km_remotes_config config;
  km_disco_box *box;
  km_gather *gather;
  km_probe_budget budget;
  km_deadline *deadline;
  km_defer *turn_end;
  km_timer_heap timers;
  km_list remotes, changed;
  size_t count;
  uint64_t attempts, successes; /* of peers that are gone */
  km_id own;
  km_ts wake; /* what the deadline is set to */
};

static km_ts now_of(const km_remotes *all) {
  return km_loop_now(all->config.loop);
}

/* --- sending ---------------------------------------------------------------------------------- */

static size_t seal(km_remote *r, const km_disco_message *msg, uint8_t *ret) {
  int len =
      km_disco_box_seal(r->all->box, &r->peer, msg, km_clock_wall(), ret, KM_DISCO_MAX_PACKET);
  return len < 0 ? 0 : (size_t)len;
}

static void send_to(km_remote *r, const km_path_key *to, const km_disco_message *msg) {
  uint8_t packet[KM_DISCO_MAX_PACKET];
  size_t len = seal(r, msg, packet);
  km_magicsock_reply(r->all->config.ms, to, packet, len);
}

static void send_ping(km_remote *r, const km_punch_out *out) {
  km_path_key key;
  int rv = km_magicsock_key_via(r->all->config.ms, &out->way.addr, out->way.via, &key);
  if (rv == 0) {
    send_to(r, &key, out->msg);
  } else if (rv == KM_ERR_CLOSED) {
    km_punch_via_gone(r->punch, out->way.via);
  }
}

static void send_packet_on(km_remote *r, const km_punch_way *way, const uint8_t *packet,
                           size_t len) {
  km_path_key key;
  if (km_magicsock_key_via(r->all->config.ms, &way->addr, way->via, &key) == 0) {
    km_magicsock_reply(r->all->config.ms, &key, packet, len);
  }
}

/* One packet by every way there is: the peer takes the first copy, the others are replays. */
static void send_call(km_remote *r, const km_disco_message *msg) {
  km_magicsock *ms = r->all->config.ms;
  uint8_t packet[KM_DISCO_MAX_PACKET];
  size_t len = seal(r, msg, packet);
  for (size_t i = 0; i < r->relay_count; i++) {
    km_magicsock_reply(ms, &r->relays[i]->key, packet, len);
  }
  km_punch_way_info ways[KM_PUNCH_MAX_WAYS];
  size_t count = km_punch_ways(r->punch, ways, KM_PUNCH_MAX_WAYS);
  for (size_t i = 0; i < count; i++) {
    if (ways[i].state == KM_PUNCH_WAY_OPEN || ways[i].state == KM_PUNCH_WAY_SUSPECT) {
      send_packet_on(r, &ways[i].way, packet, len);
    }
  }
  for (km_list *n = r->users.next; n != &r->users; n = n->next) {
    const km_remote_user *user = KM_LIST_ITEM(n, km_remote_user, node);
    if (user->uses) {
      km_magicsock_reply(ms, &user->used, packet, len);
    }
  }
}

/* --- what a core wants done ------------------------------------------------------------------- */

static void spray(km_remote *r, const km_punch_out *out) {
  uint32_t vias[KM_MAGICSOCK_MAX_SPRAY];
  size_t want = out->count < KM_MAGICSOCK_MAX_SPRAY ? out->count : KM_MAGICSOCK_MAX_SPRAY;
  size_t count = km_magicsock_spray(r->all->config.ms, r, out->way.addr.family, vias, want);
  r->spraying = count > 0;
  km_punch_spray_ready(r->punch, vias, count, now_of(r->all));
}

static void spray_end(km_remote *r) {
  if (r->spraying) {
    r->spraying = false;
    km_magicsock_spray_end(r->all->config.ms, r);
  }
}

static void changed(km_remote *r) {
  km_list_append(&r->all->changed, &r->changed);
  km_defer_run(r->all->turn_end);
}

static void log_way(const km_remote *r, const km_punch_way *way, const char *event) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  if (km_udp_addr_format(&way->addr, text, sizeof text) < 0) {
    text[0] = '\0';
  }
  KM_LOG(&r->all->config.env->logger, KM_LOG_DEBUG, KM_LOGC_PUNCH, &r->peer, text, event, "via=%u",
         way->via);
}

static void seen_at(km_remote *r, const km_punch_way *way) {
  km_punch_way_info info;
  if (way->via == 0 && km_punch_find(r->punch, way, &info) && info.observed.family != 0) {
    km_gather_seen(r->all->gather, &info.observed);
  }
}

/* A socket that is not current lives as long as a path refers to it. */
static void hold(km_remote *r, const km_punch_way *way) {
  km_path_key key;
  km_path *path;
  if (way->via == 0 || r->held_count == MAX_HELD ||
      km_magicsock_key_via(r->all->config.ms, &way->addr, way->via, &key) != 0 ||
      km_magicsock_path(r->all->config.ms, &key, &path) != 0) {
    return;
  }
  r->held[r->held_count++] = path;
}

static bool is_used(const km_remote *r, const km_path_key *key) {
  for (const km_list *n = r->users.next; n != &r->users; n = n->next) {
    const km_remote_user *user = KM_LIST_ITEM(n, km_remote_user, node);
    if (user->uses && km_path_key_matches(&user->used, key)) {
      return true;
    }
  }
  return false;
}

/* The same address is reached through the current socket now. */
static void let_go_of_older(km_remote *r, const km_punch_way *way) {
  for (size_t i = r->held_count; way->via == 0 && i-- > 0;) {
    const km_path_key *key = &r->held[i]->key;
    if (km_udp_addr_equal(&key->remote, &way->addr) && !is_used(r, key)) {
      km_path_unref(r->all->config.ms, r->held[i]);
      r->held[i] = r->held[--r->held_count];
    }
  }
}

static void let_go(km_remote *r, const km_punch_way *way) {
  km_magicsock *ms = r->all->config.ms;
  for (size_t i = 0; i < r->held_count; i++) {
    const km_path_key *key = &r->held[i]->key;
    if (km_udp_addr_equal(&key->remote, &way->addr) && km_magicsock_via(ms, key) == way->via) {
      km_path_unref(ms, r->held[i]);
      r->held[i] = r->held[--r->held_count];
      return;
    }
  }
}

static void mark_users(km_remote *r, const km_punch_way *way, bool lost) {
  for (km_list *n = r->users.next; n != &r->users; n = n->next) {
    km_remote_user *user = KM_LIST_ITEM(n, km_remote_user, node);
    if (user->uses && user->used_way.via == way->via &&
        km_udp_addr_equal(&user->used_way.addr, &way->addr)) {
      user->lost = lost;
    }
  }
  changed(r);
}

static void act(km_remote *r, const km_punch_out *out) {
  switch (out->kind) {
  case KM_PUNCH_OUT_PING:
    send_ping(r, out);
    break;
  case KM_PUNCH_OUT_CALL:
    send_call(r, out->msg);
    km_gather_refresh(r->all->gather);
    break;
  case KM_PUNCH_OUT_OPEN:
    log_way(r, &out->way, "way-open");
    hold(r, &out->way);
    let_go_of_older(r, &out->way);
    mark_users(r, &out->way, false);
    break;
  case KM_PUNCH_OUT_DEAD:
    log_way(r, &out->way, "way-dead");
    let_go(r, &out->way);
    km_gather_refresh(r->all->gather);
    mark_users(r, &out->way, true);
    break;
  case KM_PUNCH_OUT_SPRAY:
    spray(r, out);
    break;
  case KM_PUNCH_OUT_SPRAY_END:
    spray_end(r);
    break;
  }
}

static void arm(km_remotes *all) {
  km_ts next = km_timer_heap_next(&all->timers);
  if (next != all->wake) {
    all->wake = next;
    km_deadline_set(all->deadline, next);
  }
}

static bool has_open_way(const km_remote *r) {
  return km_punch_get_state(r->punch) == KM_PUNCH_OPEN;
}

/* After everything that was told to a core. */
static void pull(km_remote *r) {
  km_punch_out out;
  while (km_punch_next(r->punch, &out)) {
    act(r, &out);
  }
  if (!has_open_way(r) && now_of(r->all) - r->joined >= MAPPING_AFTER_NS) {
    km_gather_want_mapping(r->all->gather);
  }
  km_timer_heap_set(&r->all->timers, &r->timer, km_punch_deadline(r->punch));
  arm(r->all);
}

static void on_timer(km_timer_node *node) {
  km_remote *r = KM_LIST_ITEM(node, km_remote, timer);
  km_punch_timeout(r->punch, now_of(r->all));
  pull(r);
}

static void on_deadline(void *ctx) {
  km_remotes *all = ctx;
  km_ts now = now_of(all);
  km_timer_node *node;
  all->wake = KM_TS_NEVER;
  while ((node = km_timer_heap_pop(&all->timers, now)) != NULL) {
    node->fire(node);
  }
  arm(all);
}

/* --- receiving -------------------------------------------------------------------------------- */

static void answer(km_remote *r, const km_path_key *from, const km_disco_message *ping) {
  km_disco_message pong = {.type = KM_DISCO_PONG};
  memcpy(pong.tx, ping->tx, sizeof pong.tx);
  if (from->way == KM_WAY_DIRECT) {
    pong.observed = from->remote;
  }
  send_to(r, from, &pong);
}

/* What looks like a replay may be fresh: the clock of a peer that restarted was set back. The Pong
 * to this Ping proves its time. A replay makes us send no more than it is long, and seldom. */
static void ask_for_proof(km_remote *r, const km_path_key *from) {
  km_disco_message ping = {.type = KM_DISCO_PING};
  km_ts now = now_of(r->all);
  if (now - r->proof_at < PROOF_NS) {
    return;
  }
  r->proof_at = now;
  km_env_random(r->all->config.env, r->proof, sizeof r->proof);
  memcpy(ping.tx, r->proof, sizeof ping.tx);
  send_to(r, from, &ping);
}

static bool is_proof(km_remote *r, const km_disco_message *msg) {
  bool proof = msg->type == KM_DISCO_PONG && r->proof_at != 0 &&
               now_of(r->all) - r->proof_at < PROOF_LIVE_NS &&
               memcmp(msg->tx, r->proof, sizeof r->proof) == 0;
  r->proof_at = proof ? 0 : r->proof_at; /* it counts once */
  return proof;
}

/* Relays that a peer names are used when we know them anyway: nobody can make us dial hosts. */
static void take_relay(km_remote *r, const km_call_me_maybe *call) {
  char url[KM_RELAY_URL_MAX + 1];
  km_path_key key;
  if (call->relay_url[0] != '\0' &&
      km_relay_url_normalise(url, sizeof url, call->relay_url, strlen(call->relay_url), NULL) > 0 &&
      km_magicsock_knows_relay(r->all->config.ms, url) &&
      km_magicsock_relay_key(r->all->config.ms, url, &r->peer, &key) == 0) {
    km_remote_user any = {.remote = r};
    km_remote_relay(&any, &key, 0);
  }
}

/* Where IPv4 has to be written as IPv6, both are candidates: the peer's packets come from there. */
static void translate(const km_remote *r, km_call_me_maybe *call) {
  size_t count = call->count;
  for (size_t i = 0; i < count && call->count < KM_DISCO_MAX_CANDIDATES; i++) {
    km_candidate *c = &call->candidates[call->count];
    if (km_gather_translate(r->all->gather, &call->candidates[i].addr, &c->addr)) {
      c->source = call->candidates[i].source;
      call->count++;
    }
  }
}

static void on_disco(void *ctx, const km_path_key *from, const uint8_t *data, size_t len) {
  km_remotes *all = ctx;
  km_disco_message msg;
  km_id sender;
  uint64_t time_ns;
  int rv = km_disco_box_open(all->box, data, len, &sender, &time_ns, &msg);
  km_remote *r = rv == 0 || rv == KM_ERR_STATE ? km_disco_box_owner(all->box, &sender) : NULL;
  if (r == NULL || (from->way == KM_WAY_RELAY && !km_id_equal(&from->peer, &sender))) {
    return;
  }
  if (rv == KM_ERR_STATE) {
    ask_for_proof(r, from);
    return;
  }
  km_punch_way way = {.addr = from->remote};
  if (from->way == KM_WAY_DIRECT) {
    way.via = km_magicsock_via(all->config.ms, from);
  }
  if (msg.type == KM_DISCO_PING) {
    answer(r, from, &msg);
  } else if (msg.type == KM_DISCO_CALL_ME_MAYBE) {
    take_relay(r, &msg.call);
    translate(r, &msg.call);
  }
  bool proof = is_proof(r, &msg);
  bool taken = km_punch_input(r->punch, from->way == KM_WAY_RELAY ? NULL : &way, &msg, now_of(all));
  if ((taken || proof) && msg.type == KM_DISCO_PONG) {
    km_disco_box_proved(all->box, &sender, time_ns);
    if (taken && from->way == KM_WAY_DIRECT) {
      seen_at(r, &way);
    }
  }
  pull(r);
}

/* --- telling users ---------------------------------------------------------------------------- */

static km_remote_user *untold(const km_remote *r) {
  for (km_list *n = r->users.next; n != &r->users; n = n->next) {
    km_remote_user *user = KM_LIST_ITEM(n, km_remote_user, node);
    if (!user->told) {
      return user;
    }
  }
  return NULL;
}

/* Users and remotes may go while they are told: looked for anew each time. */
static void on_turn_end(void *ctx) {
  km_remotes *all = ctx;
  while (!km_list_empty(&all->changed)) {
    km_remote *r = KM_LIST_ITEM(all->changed.next, km_remote, changed);
    km_remote_user *user = untold(r);
    if (user != NULL) {
      user->told = true;
      user->on_change(user);
      continue;
    }
    km_list_remove(&r->changed);
    for (km_list *n = r->users.next; n != &r->users; n = n->next) {
      KM_LIST_ITEM(n, km_remote_user, node)->told = false;
    }
  }
}

/* --- where we may be reached ------------------------------------------------------------------ */

static void tell_local(km_remote *r) {
  const km_remotes *all = r->all;
  km_candidate own[KM_DISCO_MAX_CANDIDATES];
  km_nat_info nat;
  const char *home = NULL;
  size_t count = km_gather_candidates(all->gather, own, KM_DISCO_MAX_CANDIDATES);
  km_gather_nat(all->gather, &nat);
  (void)km_magicsock_home(all->config.ms, &home, 1);
  km_punch_set_local(r->punch, own, count, &nat, home, now_of(all));
}

void km_remotes_local_changed(km_remotes *all) {
  for (km_list *n = all->remotes.next; n != &all->remotes; n = n->next) {
    km_remote *r = KM_LIST_ITEM(n, km_remote, node);
    tell_local(r);
    pull(r);
  }
  if (all->config.on_local_change != NULL) {
    all->config.on_local_change(all->config.ctx);
  }
}

static void on_candidates(void *ctx) {
  km_remotes_local_changed(ctx);
}

static void all_in_doubt(km_remotes *all) {
  for (km_list *n = all->remotes.next; n != &all->remotes; n = n->next) {
    km_remote *r = KM_LIST_ITEM(n, km_remote, node);
    tell_local(r);
    km_punch_network_changed(r->punch, now_of(all));
    pull(r);
    changed(r);
  }
  if (all->config.on_local_change != NULL) {
    all->config.on_local_change(all->config.ctx);
  }
}

void km_remotes_rebound(km_remotes *all, uint8_t family) {
  km_gather_rebound(all->gather, family);
  all_in_doubt(all);
}

static void on_renew(void *ctx, uint8_t family) {
  km_remotes *all = ctx;
  const km_udp_addr any = {.family = family};
  km_errinfo err;
  if (!km_magicsock_bound_to_any(all->config.ms)) {
    return; /* others know the port, and may reach us there without a NAT */
  }
  if (km_magicsock_rebind(all->config.ms, &any, &err) != 0) {
    KM_LOG(&all->config.env->logger, KM_LOG_WARN, KM_LOGC_PUNCH, NULL, NULL, "renew-failed", "%s",
           err.text);
    return;
  }
  KM_LOG(&all->config.env->logger, KM_LOG_INFO, KM_LOGC_PUNCH, NULL, NULL, "mapping-renewed",
         "the NAT forgets mappings after a while: a fresh IPv%u socket", family);
  km_remotes_rebound(all, family);
}

void km_remotes_network_changed(km_remotes *all) {
  km_gather_network_changed(all->gather);
  all_in_doubt(all);
}

km_gather *km_remotes_gather(km_remotes *all) {
  return all->gather;
}

void km_remotes_get_stats(const km_remotes *all, km_disco_box_stats *ret) {
  km_disco_box_get_stats(all->box, ret);
}

static void count_attempts(const km_remote *r, uint64_t *attempts, uint64_t *successes) {
  km_punch_stats stats;
  km_punch_get_stats(r->punch, &stats);
  *attempts += stats.attempts;
  *successes += stats.successes;
}

void km_remotes_count_attempts(const km_remotes *all, uint64_t *ret_attempts,
                               uint64_t *ret_successes) {
  *ret_attempts = all->attempts;
  *ret_successes = all->successes;
  for (km_list *n = all->remotes.next; n != &all->remotes; n = n->next) {
    count_attempts(KM_LIST_ITEM(n, km_remote, node), ret_attempts, ret_successes);
  }
}

/* --- life ------------------------------------------------------------------------------------- */

static int make_parts(km_remotes *all, const km_remotes_config *config, km_errinfo *err) {
  const km_gather_config gather = {.env = config->env,
                                   .loop = config->loop,
                                   .ms = config->ms,
                                   .stun_servers = config->stun_servers,
                                   .stun_count = config->stun_count,
                                   .learn_servers = config->learn_servers,
                                   .port_mapping = config->port_mapping,
                                   .on_change = on_candidates,
                                   .on_renew = on_renew,
                                   .ctx = all};
  int rv = km_disco_box_new(&all->box, config->env, config->key);
  if (rv == 0) {
    rv = km_deadline_new(&all->deadline, config->loop, on_deadline, all);
  }
  if (rv == 0) {
    rv = km_defer_new(&all->turn_end, config->loop, on_turn_end, all);
  }
  return rv == 0 ? km_gather_new(&all->gather, &gather, err) : km_fail(err, rv, NULL);
}

int km_remotes_new(km_remotes **ret, const km_remotes_config *config, km_errinfo *err) {
  km_remotes *all = km_env_zalloc(config->env, 1, sizeof *all);
  if (all == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  all->config = *config;
  all->config.stun_servers = NULL;
  all->wake = KM_TS_NEVER;
  km_list_init(&all->remotes);
  km_list_init(&all->changed);
  km_timer_heap_init(&all->timers, config->env);
  km_probe_budget_init(&all->budget, now_of(all));
  km_secret_key_id(config->key, &all->own);
  int rv = make_parts(all, config, err);
  if (rv != 0) {
    km_remotes_free(all);
    return rv;
  }
  km_magicsock_watch_disco(config->ms, on_disco, all);
  *ret = all;
  return 0;
}

void km_remotes_free(km_remotes *all) {
  if (all == NULL) {
    return;
  }
  assert(all->count == 0);
  km_magicsock_watch_disco(all->config.ms, NULL, NULL);
  km_gather_free(all->gather);
  km_disco_box_del(all->box);
  if (all->deadline != NULL) {
    km_deadline_free(all->deadline);
  }
  if (all->turn_end != NULL) {
    km_defer_free(all->turn_end);
  }
  km_timer_heap_clear(&all->timers);
  km_env_free(all->config.env, all);
}

static void forget(km_remote *r) {
  km_remotes *all = r->all;
  count_attempts(r, &all->attempts, &all->successes);
  spray_end(r);
  km_timer_heap_set(&all->timers, &r->timer, KM_TS_NEVER);
  arm(all);
  while (r->relay_count > 0) {
    km_path_unref(all->config.ms, r->relays[--r->relay_count]);
  }
  while (r->held_count > 0) {
    km_path_unref(all->config.ms, r->held[--r->held_count]);
  }
  km_disco_box_dismiss(all->box, &r->peer);
  km_list_remove(&r->node);
  km_list_remove(&r->changed);
  all->count--;
  km_punch_del(r->punch);
  km_env_free(all->config.env, r);
  km_gather_set_active(all->gather, all->count > 0);
}

static int make(km_remotes *all, const km_id *peer, km_remote **ret) {
  km_remote *r = km_env_zalloc(all->config.env, 1, sizeof *r);
  if (r == NULL) {
    return KM_ERR_NOMEM;
  }
  const km_punch_config config = {
      .env = all->config.env, .budget = &all->budget, .own = all->own, .peer = *peer};
  int rv = km_timer_heap_reserve(&all->timers, all->count + 1);
  if (rv == 0) {
    rv = km_punch_new(&r->punch, &config, now_of(all));
  }
  if (rv == 0) {
    rv = km_disco_box_admit(all->box, peer);
  }
  if (rv != 0) {
    km_punch_del(r->punch);
    km_env_free(all->config.env, r);
    return rv;
  }
  km_disco_box_set_owner(all->box, peer, r);
  r->all = all;
  r->peer = *peer;
  r->timer.fire = on_timer;
  r->joined = now_of(all);
  km_list_init(&r->node);
  km_list_init(&r->changed);
  km_list_init(&r->users);
  km_list_append(&all->remotes, &r->node);
  all->count++;
  km_gather_set_active(all->gather, true);
  tell_local(r);
  *ret = r;
  return 0;
}

/* --- users ------------------------------------------------------------------------------------ */

void km_remote_user_init(km_remote_user *user, void (*on_change)(km_remote_user *user)) {
  memset(user, 0, sizeof *user);
  km_list_init(&user->node);
  user->on_change = on_change;
}

int km_remote_join(km_remotes *all, const km_id *peer, km_remote_user *user) {
  if (user->remote != NULL) {
    return 0;
  }
  km_remote *r = km_disco_box_owner(all->box, peer);
  if (r == NULL) {
    int rv = make(all, peer, &r);
    if (rv != 0) {
      return rv;
    }
  }
  user->remote = r;
  km_list_append(&r->users, &user->node);
  r->user_count++;
  return 0;
}

void km_remote_start(km_remote_user *user) {
  km_remote *r = user->remote;
  if (r != NULL) {
    km_punch_want(r->punch, true, now_of(r->all));
    pull(r);
    user->told = false; /* of what others found before */
    changed(r);
  }
}

static bool way_of(const km_remote *r, const km_path_key *key, km_punch_way *ret) {
  if (key == NULL || key->way != KM_WAY_DIRECT) {
    return false;
  }
  *ret = (km_punch_way){km_magicsock_via(r->all->config.ms, key), key->remote};
  return true;
}

void km_remote_leave(km_remote_user *user) {
  km_remote *r = user->remote;
  if (r == NULL) {
    return;
  }
  km_remote_use(user, NULL);
  km_list_remove(&user->node);
  user->remote = NULL;
  if (--r->user_count == 0) {
    forget(r);
  }
}

void km_remote_add(km_remote_user *user, const km_udp_addr *addr) {
  km_remote *r = user->remote;
  km_udp_addr v6;
  if (r == NULL) {
    return;
  }
  km_punch_add(r->punch, addr, KM_CANDIDATE_GIVEN, now_of(r->all));
  if (km_gather_translate(r->all->gather, addr, &v6)) {
    km_punch_add(r->punch, &v6, KM_CANDIDATE_GIVEN, now_of(r->all));
  }
  pull(r);
}

/* Its place; relay_count: it has none. */
static size_t place_of_relay(const km_remote *r, const km_path_key *relay) {
  size_t i = 0;
  while (i < r->relay_count && !km_path_key_matches(&r->relays[i]->key, relay)) {
    i++;
  }
  return i;
}

/* The newest is kept, as peers move from one home relay to another. */
void km_remote_relay(km_remote_user *user, const km_path_key *relay, uint64_t rtt_ns) {
  km_remote *r = user->remote;
  km_path *path;
  if (r == NULL || relay->way != KM_WAY_RELAY) {
    return;
  }
  if (rtt_ns != 0) {
    km_punch_relay_rtt(r->punch, rtt_ns);
  }
  if (place_of_relay(r, relay) < r->relay_count ||
      km_magicsock_path(r->all->config.ms, relay, &path) != 0) {
    return;
  }
  if (r->relay_count == KM_REMOTE_MAX_RELAYS) {
    km_path_unref(r->all->config.ms, r->relays[0]);
    r->relay_count--;
    memmove(&r->relays[0], &r->relays[1], r->relay_count * sizeof r->relays[0]);
    memmove(&r->relay_heard[0], &r->relay_heard[1], r->relay_count * sizeof r->relay_heard[0]);
  }
  r->relay_heard[r->relay_count] = false;
  r->relays[r->relay_count++] = path;
  km_gather_learn_relay(r->all->gather, km_magicsock_relay_url(r->all->config.ms, relay));
}

bool km_remote_relay_at(const km_remote_user *user, size_t index, km_path_key *ret) {
  const km_remote *r = user->remote;
  if (r == NULL || index >= r->relay_count) {
    return false;
  }
  *ret = r->relays[index]->key;
  return true;
}

bool km_remote_relay_was_heard(const km_remote_user *user, const km_path_key *relay) {
  const km_remote *r = user->remote;
  size_t i = r == NULL ? 0 : place_of_relay(r, relay);
  return r != NULL && i < r->relay_count && r->relay_heard[i];
}

/* The way a path is changes when its socket is replaced: it is told by what it was then. */
void km_remote_use(km_remote_user *user, const km_path_key *key) {
  km_remote *r = user->remote;
  km_punch_way way;
  if (r == NULL) {
    return;
  }
  bool direct = key != NULL && key->way == KM_WAY_DIRECT;
  if (user->uses && direct && km_path_key_matches(&user->used, key)) {
    return;
  }
  user->lost = false;
  if (user->uses) {
    user->uses = false;
    km_punch_use(r->punch, &user->used_way, false, now_of(r->all));
  }
  if (way_of(r, key, &way)) {
    user->uses = true;
    user->used = *key;
    user->used_way = way;
    km_punch_use(r->punch, &way, true, now_of(r->all));
  }
  pull(r);
}

void km_remote_heard(km_remote_user *user, const km_path_key *key) {
  km_punch_way way;
  if (user->remote != NULL && key->way == KM_WAY_RELAY) {
    size_t i = place_of_relay(user->remote, key);
    if (i < user->remote->relay_count) {
      user->remote->relay_heard[i] = true;
    }
  } else if (user->remote != NULL && way_of(user->remote, key, &way)) {
    km_punch_heard(user->remote->punch, &way, now_of(user->remote->all));
    pull(user->remote);
  }
}

void km_remote_suspect(km_remote_user *user) {
  km_remote *r = user->remote;
  km_punch_way_info ways[KM_PUNCH_MAX_WAYS];
  size_t count = r == NULL ? 0 : km_punch_ways(r->punch, ways, KM_PUNCH_MAX_WAYS);
  for (size_t i = 0; i < count; i++) {
    if (ways[i].state == KM_PUNCH_WAY_OPEN) {
      km_punch_suspect(r->punch, &ways[i].way, now_of(r->all));
    }
  }
  if (r != NULL) {
    pull(r);
  }
}

const km_punch *km_remote_punch(const km_remote_user *user) {
  return user->remote == NULL ? NULL : user->remote->punch;
}

bool km_remote_find(const km_remote_user *user, const km_path_key *key, km_punch_way_info *ret) {
  km_punch_way way;
  return user->remote != NULL && way_of(user->remote, key, &way) &&
         km_punch_find(user->remote->punch, &way, ret);
}

int km_remote_key(const km_remote_user *user, const km_punch_way *way, km_path_key *ret) {
  return user->remote == NULL
             ? KM_ERR_STATE
             : km_magicsock_key_via(user->remote->all->config.ms, &way->addr, way->via, ret);
}
