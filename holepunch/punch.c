/* The hole-punching core: its life, what it is told, its states. */
#include "holepunch/punch.h"

#include <stdio.h>
#include <string.h>

#include "holepunch/punch_impl.h"

#define RIPOSTE_GAP KM_PUNCH_MS(50) /* between two answers of ours to pings of the peer's */
#define BUDGET_GAP KM_PUNCH_MS(20)
#define OVERSLEPT KM_PUNCH_S(10)

int km_punch_new(km_punch **ret, const km_punch_config *config, km_ts now) {
  km_punch *p = km_env_zalloc(config->env, 1, sizeof *p);
  if (p == NULL) {
    return km_fail(NULL, KM_ERR_NOMEM, NULL);
  }
  p->env = config->env;
  p->shared = config->budget;
  p->own_id = config->own;
  p->peer_id = config->peer;
  p->now = p->call_token_at = now;
  p->alone = (km_probe_budget){.left = KM_PROBE_BURST / 2, .refilled = now};
  p->call_tokens = UINT8_MAX; /* cut to what is allowed when first used */
  p->call_at = p->called_at = KM_TS_NEVER;
  km_punch_rounds_rest(p);
  *ret = p;
  return 0;
}

void km_punch_del(km_punch *p) {
  if (p == NULL) {
    return;
  }
  km_punch_guess_del(p);
  km_env_free(p->env, p->ways);
  km_env_free(p->env, p->events);
  km_env_free(p->env, p);
}

/* --- states ----------------------------------------------------------------------------------- */

static const char *state_name(km_punch_state state) {
  static const char *const names[] = {"resting", "rounds", "guessing", "open", "waiting"};
  return names[state];
}

void km_punch_set_state(km_punch *p, km_punch_state state) {
  if (p->state == state) {
    return;
  }
  KM_LOG(&p->env->logger, KM_LOG_DEBUG, KM_LOGC_PUNCH, &p->peer_id, NULL, "punch_state",
         "from=%s to=%s", state_name(p->state), state_name(state));
  p->state = state;
  km_punch_log(p, KM_PUNCH_EVENT_STATE, NULL, (uint64_t)state);
}

static void put_off(km_punch *p, km_punch_rec *rec) {
  p->budget_at = km_punch_after(p->now, BUDGET_GAP);
  if (rec->put_off) {
    return;
  }
  rec->put_off = true;
  p->stats.put_off++;
  if (!p->budget_logged) {
    p->budget_logged = true;
    km_punch_log(p, KM_PUNCH_EVENT_BUDGET, NULL, 0);
  }
}

static void pay_pings(km_punch *p) {
  p->budget_at = KM_TS_NEVER;
  for (size_t i = 0; i < p->count; i++) {
    km_punch_rec *rec = &p->ways[i];
    if (!rec->due) {
      continue;
    }
    if (km_punch_is_open(rec) || km_punch_pay(p)) {
      rec->due = rec->put_off = false;
      rec->send = true;
    } else {
      put_off(p, rec);
    }
  }
}

static void send_call(km_punch *p) {
  if (!p->call_due || p->call_at > p->now) {
    return;
  }
  p->call_due = false;
  p->call_send = true;
  p->call_flags = p->call_ask ? KM_CALL_ANSWER : 0;
  p->called_at = p->now;
  p->stats.calls_sent++;
  km_punch_log(p, KM_PUNCH_EVENT_CALL_SENT, NULL, p->own_count);
}

void km_punch_settle(km_punch *p) {
  if (!p->wanted) {
    return;
  }
  bool open = km_punch_ways_any_open(p);
  if (open && p->state != KM_PUNCH_OPEN) {
    km_punch_attempt_end(p);
  } else if (!open && p->state == KM_PUNCH_OPEN) {
    km_punch_attempt_begin(p, false);
  }
  send_call(p);
  pay_pings(p);
}

/* --- what the shell tells it ------------------------------------------------------------------ */

/* What was open when it was last looked after may be so no more. */
static void doubt_old(km_punch *p) {
  for (size_t i = 0; i < p->count; i++) {
    km_punch_rec *rec = &p->ways[i];
    if (!km_punch_is_open(rec)) {
      continue;
    }
    if (km_punch_since(p->now, rec->heard_at) > KM_PUNCH_FRESH) {
      km_punch_way_dead(p, rec);
    } else {
      rec->state = KM_PUNCH_WAY_OPEN;
    }
  }
}

static void rest(km_punch *p) {
  km_punch_guess_end(p);
  km_punch_guess_del(p);
  km_punch_rounds_rest(p);
  p->spray_ask = false;
  km_punch_set_state(p, KM_PUNCH_RESTING);
}

void km_punch_want(km_punch *p, bool wanted, km_ts now) {
  p->now = now;
  if (wanted == p->wanted) {
    return;
  }
  p->wanted = wanted;
  if (wanted) {
    doubt_old(p);
    km_punch_attempt_begin(p, false);
  } else {
    rest(p);
  }
  km_punch_settle(p);
}

static bool same_local(const km_punch *p, const km_candidate *own, size_t count,
                       const km_nat_info *nat, const char *relay_url) {
  bool same = count == p->own_count && strcmp(relay_url, p->relay_url) == 0 &&
              nat->mapping4 == p->nat.mapping4 && nat->mapping6 == p->nat.mapping6 &&
              nat->filtering4 == p->nat.filtering4 && nat->filtering6 == p->nat.filtering6 &&
              nat->port_step == p->nat.port_step;
  for (size_t i = 0; same && i < count; i++) {
    same = own[i].source == p->own[i].source && km_udp_addr_equal(&own[i].addr, &p->own[i].addr);
  }
  return same;
}

static void tell_local(km_punch *p) {
  p->attempts = 0;
  switch (p->state) {
  case KM_PUNCH_OPEN:
    km_punch_call_news(p, false);
    break;
  case KM_PUNCH_WAITING:
    km_punch_attempt_begin(p, false);
    break;
  default:
    p->attempts = 1; /* it goes on */
    km_punch_call_news(p, true);
    km_punch_rounds_again(p);
  }
}

void km_punch_set_local(km_punch *p, const km_candidate *own, size_t count, const km_nat_info *nat,
                        const char *relay_url, km_ts now) {
  p->now = now;
  const char *url = relay_url == NULL || strlen(relay_url) > KM_DISCO_MAX_URL ? "" : relay_url;
  count = count < KM_DISCO_MAX_CANDIDATES ? count : KM_DISCO_MAX_CANDIDATES;
  if (same_local(p, own, count, nat, url)) {
    return;
  }
  for (size_t i = 0; i < count; i++) {
    p->own[i] = own[i];
  }
  p->own_count = count;
  p->nat = *nat;
  (void)snprintf(p->relay_url, sizeof p->relay_url, "%s", url); /* fits, as was looked at */
  km_punch_log(p, KM_PUNCH_EVENT_LOCAL, NULL, count);
  km_punch_ways_forget_own(p);
  if (p->wanted) {
    tell_local(p);
  }
  km_punch_settle(p);
}

void km_punch_add(km_punch *p, const km_udp_addr *addr, uint8_t source, km_ts now) {
  p->now = now;
  km_punch_way way = {.addr = *addr};
  if (!km_punch_ways_allowed(p, addr)) {
    return;
  }
  km_punch_rec *rec = km_punch_ways_add(p, &way, source);
  if (rec != NULL && p->wanted && rec->state == KM_PUNCH_WAY_UNTRIED) {
    rec->due = true;
  }
  km_punch_settle(p);
}

/* What comes in from there shows that the peer's hole is open now. */
static void riposte(km_punch *p, km_punch_rec *rec) {
  bool just =
      rec->riposte_at != KM_TS_NEVER && km_punch_since(p->now, rec->riposte_at) < RIPOSTE_GAP;
  if (p->wanted && !km_punch_is_open(rec) && !just) {
    rec->due = true;
    rec->riposte_at = p->now;
  }
}

static void ping_came(km_punch *p, const km_punch_way *from) {
  p->stats.pings_received++;
  if (from == NULL) {
    return;
  }
  km_punch_rec *rec = km_punch_ways_find(p, from);
  if (rec == NULL && km_punch_ways_allowed(p, &from->addr)) {
    rec = km_punch_ways_add(p, from, KM_CANDIDATE_PEER_REFLEXIVE);
  }
  if (rec == NULL) {
    return;
  }
  if (!rec->ping_came) {
    rec->ping_came = true;
    km_punch_log(p, KM_PUNCH_EVENT_PING_CAME, &rec->way, 0);
  }
  riposte(p, rec);
}

static bool pong_came(km_punch *p, const km_punch_way *from, const km_disco_message *msg) {
  p->stats.pongs_received++;
  km_punch_rec *rec = from != NULL ? km_punch_ways_find(p, from) : NULL;
  bool ours = rec != NULL && km_punch_way_pong(p, rec, msg);
  if (!ours && from != NULL) {
    ours = km_punch_guess_pong(p, from, msg);
  }
  p->stats.pongs_stray += !ours;
  return ours;
}

bool km_punch_input(km_punch *p, const km_punch_way *from, const km_disco_message *msg, km_ts now) {
  p->now = now;
  p->peer_answered = true;
  bool known = true;
  switch (msg->type) {
  case KM_DISCO_PING:
    ping_came(p, from);
    break;
  case KM_DISCO_PONG:
    known = pong_came(p, from, msg);
    break;
  case KM_DISCO_CALL_ME_MAYBE:
    km_punch_call_came(p, &msg->call);
    break;
  default:
    break;
  }
  km_punch_settle(p);
  return known;
}

void km_punch_relay_rtt(km_punch *p, uint64_t rtt_ns) {
  p->relay_rtt = rtt_ns < KM_PUNCH_S(60) ? rtt_ns : KM_PUNCH_S(60);
}

void km_punch_use(km_punch *p, const km_punch_way *way, bool used, km_ts now) {
  p->now = now;
  km_punch_rec *rec = km_punch_ways_find(p, way);
  if (rec == NULL && used &&
      km_punch_ways_allowed(p, &way->addr)) { /* QUIC found it first: it is counted all the same */
    rec = km_punch_ways_add(p, way, KM_CANDIDATE_PEER_REFLEXIVE);
  }
  if (rec != NULL && used) {
    rec->users++;
  } else if (rec != NULL && rec->users > 0) {
    rec->users--;
  }
}

void km_punch_heard(km_punch *p, const km_punch_way *way, km_ts now) {
  p->now = now;
  km_punch_rec *rec = km_punch_ways_find(p, way);
  if (rec == NULL) {
    return;
  }
  if (km_punch_is_open(rec)) {
    km_punch_way_heard(p, rec);
  } else if (p->called || rec->ping_came) { /* else it speaks no disco */
    riposte(p, rec);
    km_punch_settle(p);
  }
}

void km_punch_suspect(km_punch *p, const km_punch_way *way, km_ts now) {
  p->now = now;
  km_punch_rec *rec = km_punch_ways_find(p, way);
  if (rec != NULL && p->wanted) {
    km_punch_way_suspect(p, rec);
  }
}

static void doubt_all(km_punch *p) {
  for (size_t i = 0; i < p->count; i++) {
    km_punch_rec *rec = &p->ways[i];
    if (!km_punch_is_open(rec)) {
      continue;
    }
    if (p->wanted) {
      rec->rtt_doubted = true;
      rec->state = KM_PUNCH_WAY_OPEN;
      km_punch_way_suspect(p, rec);
    } else {
      km_punch_way_dead(p, rec);
    }
  }
}

void km_punch_network_changed(km_punch *p, km_ts now) {
  p->now = now;
  km_punch_log(p, KM_PUNCH_EVENT_NETWORK, NULL, 0);
  doubt_all(p);
  if (!p->wanted) {
    return;
  }
  p->attempts = 0;
  if (p->state == KM_PUNCH_OPEN) {
    km_punch_call(p, true);
    km_punch_rounds_again(p);
  } else {
    km_punch_attempt_begin(p, false);
  }
  km_punch_settle(p);
}

void km_punch_via_gone(km_punch *p, km_via via) {
  if (via == 0) {
    return;
  }
  for (size_t i = p->count; i-- > 0;) {
    if (p->ways[i].way.via != via) {
      continue;
    }
    if (km_punch_is_open(&p->ways[i])) {
      km_punch_way_dead(p, &p->ways[i]);
    }
    p->ways[i].gone = true;
    p->ways[i].due = p->ways[i].send = false;
  }
  km_punch_guess_via_gone(p, via);
  km_punch_settle(p);
}

void km_punch_spray_ready(km_punch *p, const km_via *vias, size_t count, km_ts now) {
  p->now = now;
  km_punch_guess_sprayed(p, vias, count);
}

/* --- time ------------------------------------------------------------------------------------- */

void km_punch_timeout(km_punch *p, km_ts now) {
  km_ts deadline = km_punch_deadline(p);
  p->now = now;
  if (!p->wanted) {
    return;
  }
  bool overslept = deadline != KM_TS_NEVER && km_punch_since(now, deadline) > OVERSLEPT;
  for (size_t i = 0; i < p->count; i++) {
    if (overslept) {
      km_punch_way_overslept(p, &p->ways[i]);
    } else {
      km_punch_way_timeout(p, &p->ways[i]);
    }
  }
  km_punch_settle(p); /* before the rounds: without a way they are other ones */
  km_punch_guess_timeout(p);
  km_punch_rounds_timeout(p); /* the last of all to end gives up */
  km_punch_settle(p);
}

km_ts km_punch_deadline(const km_punch *p) {
  if (!p->wanted) {
    return KM_TS_NEVER;
  }
  km_ts at = km_punch_min(km_punch_rounds_deadline(p), km_punch_guess_deadline(p));
  at = km_punch_min(at, p->budget_at);
  for (size_t i = 0; i < p->count; i++) {
    at = km_punch_min(at, km_punch_way_deadline(p, &p->ways[i]));
  }
  return at;
}

/* --- what is known ---------------------------------------------------------------------------- */

km_punch_state km_punch_get_state(const km_punch *p) {
  return p->state;
}

size_t km_punch_ways(const km_punch *p, km_punch_way_info *ret, size_t cap) {
  size_t n = 0;
  for (size_t i = 0; i < p->count && n < cap; i++) {
    if (!p->ways[i].gone) {
      km_punch_way_info_of(&p->ways[i], &ret[n++]);
    }
  }
  return n;
}

bool km_punch_find(const km_punch *p, const km_punch_way *way, km_punch_way_info *ret) {
  const km_punch_rec *rec = km_punch_ways_find(p, way);
  if (rec != NULL) {
    km_punch_way_info_of(rec, ret);
  }
  return rec != NULL;
}

const km_call_me_maybe *km_punch_peer(const km_punch *p) {
  return p->called ? &p->peer : NULL;
}
