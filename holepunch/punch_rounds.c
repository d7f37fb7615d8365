/* Attempts, their rounds, and the calls that begin them. */
#include <string.h>

#include "holepunch/punch_impl.h"

#define ROUNDS 6        /* of an attempt: at 0, 100, 300, 700, 1,500 and 3,100 ms */
#define ROUNDS_CALLED 3 /* when the peer calls though a way is open */
#define ROUNDS_TRIAL 2
#define ROUNDS_ALONE 2 /* without anything found, before ports are guessed */
#define GAP_MIN KM_PUNCH_MS(100)
#define GAP_MAX KM_PUNCH_MS(2500)
#define LINGER_MIN KM_PUNCH_S(1)
#define LINGER_MAX KM_PUNCH_S(20)

#define WAIT_FIRST KM_PUNCH_S(15)
#define WAIT_LAST KM_PUNCH_S(300)

#define CALL_GAP KM_PUNCH_MS(500)
#define NEWS_GAP KM_PUNCH_MS(100) /* when there is something new to say */
#define RECALLS 2
#define RECALL_GAP_MIN KM_PUNCH_S(1)

/* Calls of the peer's that begin rounds, or are answered: so many at once, and one in 5 s. */
#define CALL_TOKENS 6
#define CALL_TOKEN_GAP KM_PUNCH_S(5)

static uint64_t clamp(uint64_t value, uint64_t least, uint64_t most) {
  return value < least ? least : value > most ? most : value;
}

/* --- calls ------------------------------------------------------------------------------------ */

static void call_after(km_punch *p, bool ask, uint64_t gap) {
  km_ts at = p->now;
  if (p->called_at != KM_TS_NEVER && km_punch_after(p->called_at, gap) > at) {
    at = km_punch_after(p->called_at, gap);
  }
  p->call_at = p->call_due ? km_punch_min(p->call_at, at) : at;
  p->call_ask = (p->call_due && p->call_ask) || ask;
  p->call_due = true;
}

void km_punch_call(km_punch *p, bool ask) {
  call_after(p, ask, CALL_GAP);
}

void km_punch_call_news(km_punch *p, bool ask) {
  call_after(p, ask, NEWS_GAP);
}

static void recall(km_punch *p) {
  if (p->recall_at > p->now) {
    return;
  }
  if (p->peer_answered || p->recalls == 0) {
    p->recall_at = KM_TS_NEVER;
    return;
  }
  p->recalls--;
  p->recall_gap *= 2;
  p->recall_at = km_punch_after(p->now, p->recall_gap);
  km_punch_call(p, true);
}

static bool take_token(km_punch *p) {
  uint64_t grown = km_punch_since(p->now, p->call_token_at) / CALL_TOKEN_GAP;
  if (p->call_tokens + grown >= CALL_TOKENS) {
    p->call_tokens = CALL_TOKENS;
    p->call_token_at = p->now;
  } else {
    p->call_tokens += (uint32_t)grown;
    p->call_token_at += grown * CALL_TOKEN_GAP;
  }
  if (p->call_tokens == 0) {
    return false;
  }
  p->call_tokens--;
  return true;
}

/* The peer may be calling because it hears nothing on what we believe to be open. */
static void ping_open(km_punch *p, bool unused_only) {
  for (size_t i = 0; i < p->count; i++) {
    km_punch_rec *rec = &p->ways[i];
    if (km_punch_is_open(rec) && !rec->gone && !(unused_only && rec->users > 0)) {
      rec->send = true;
    }
  }
}

static void answer(km_punch *p, const km_call_me_maybe *call) {
  bool told = p->called_at != KM_TS_NEVER && km_punch_since(p->now, p->called_at) < CALL_GAP;
  if ((call->flags & KM_CALL_ANSWER) != 0 && !told && !p->call_due) {
    km_punch_call(p, false);
  }
}

void km_punch_call_came(km_punch *p, const km_call_me_maybe *call) {
  p->stats.calls_received++;
  p->peer = *call;
  p->peer.relay_url[KM_DISCO_MAX_URL] = '\0';
  p->called = true;
  km_punch_log(p, KM_PUNCH_EVENT_CALL_CAME, NULL, call->count);
  km_punch_ways_from_call(p, call);
  if (!p->wanted || !take_token(p)) {
    return;
  }
  answer(p, call);
  switch (p->state) {
  case KM_PUNCH_OPEN:
    ping_open(p, false);
    km_punch_rounds_begin(p, ROUNDS_CALLED);
    break;
  case KM_PUNCH_WAITING:
    km_punch_attempt_begin(p, true);
    break;
  default:
    km_punch_rounds_begin(p, ROUNDS);
  }
}

/* --- attempts --------------------------------------------------------------------------------- */

void km_punch_attempt_begin(km_punch *p, bool called) {
  p->stats.attempts++;
  p->attempts += !called || p->attempts == 0;
  p->attempt_at = p->now;
  p->guessed = p->budget_logged = false;
  p->wait_at = p->trial_at = KM_TS_NEVER;
  km_punch_guess_end(p);
  km_punch_ways_forget_stale(p);
  for (size_t i = 0; i < p->count; i++) {
    p->ways[i].logged = false;
  }
  km_punch_set_state(p, KM_PUNCH_ROUNDS);
  p->peer_answered = called;
  p->recall_at = KM_TS_NEVER;
  if (!called) {
    km_punch_call(p, true);
    p->recalls = p->attempts == 1 ? RECALLS : 0;
    p->recall_gap = clamp(3 * p->relay_rtt, RECALL_GAP_MIN, LINGER_MAX);
    p->recall_at = km_punch_after(p->now, p->recall_gap);
  }
  km_punch_rounds_begin(p, ROUNDS);
}

/* A few more rounds are left: a better way may be about to open. */
void km_punch_attempt_end(km_punch *p) {
  p->stats.successes++;
  p->stats.time_to_direct_ns = km_punch_since(p->now, p->attempt_at);
  p->attempts = 0;
  p->rounds_left = p->rounds_left < ROUNDS_TRIAL ? p->rounds_left : ROUNDS_TRIAL;
  p->recall_at = p->wait_at = KM_TS_NEVER;
  p->trial_at = km_punch_after(p->now, KM_PUNCH_TRIAL);
  km_punch_guess_end(p);
  km_punch_set_state(p, KM_PUNCH_OPEN);
}

static void give_up(km_punch *p) {
  uint64_t gap = WAIT_FIRST;
  for (uint32_t i = 1; i < p->attempts && gap < WAIT_LAST; i++) {
    gap *= 2;
  }
  p->wait_at = km_punch_after(p->now, clamp(gap, WAIT_FIRST, WAIT_LAST));
  km_punch_guess_end(p);
  km_punch_set_state(p, KM_PUNCH_WAITING);
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void run(km_punch *p) {
  p->round++;
  p->rounds_left--;
  for (size_t i = 0; i < p->count; i++) {
    km_punch_rec *rec = &p->ways[i];
    if (!rec->gone && !km_punch_is_open(rec)) {
      rec->due = true;
    }
  }
  uint64_t linger = clamp(2 * p->relay_rtt, LINGER_MIN, LINGER_MAX);
  p->round_at = km_punch_after(p->now, p->rounds_left > 0 ? p->round_gap : linger);
  p->round_gap *= 2;
}

void km_punch_rounds_begin(km_punch *p, uint32_t rounds) {
  p->round = 0;
  p->rounds_left = rounds;
  p->round_gap = clamp(p->relay_rtt / 2, GAP_MIN, GAP_MAX);
  run(p);
}

void km_punch_rounds_again(km_punch *p) {
  km_punch_rounds_begin(p, ROUNDS);
}

static void try_guessing(km_punch *p) {
  if (p->state == KM_PUNCH_ROUNDS && !p->guessed && p->round >= ROUNDS_ALONE &&
      km_punch_guess_begin(p)) {
    p->guessed = true;
    km_punch_set_state(p, KM_PUNCH_GUESSING);
  }
}

static void next_round(km_punch *p) {
  if (p->round_at > p->now) {
    return;
  }
  try_guessing(p);
  if (p->rounds_left > 0) {
    run(p);
  } else {
    p->round_at = KM_TS_NEVER;
  }
}

/* Other candidates are tried, and open ways that nobody uses show whether they still are. One side
 * calls the other, so that both punch at the same time. */
static void trial(km_punch *p) {
  p->trial_at = km_punch_after(p->now, KM_PUNCH_TRIAL);
  ping_open(p, true);
  for (size_t i = 0; i < p->count; i++) {
    if (!km_punch_is_open(&p->ways[i]) && !p->ways[i].gone) {
      if (memcmp(p->own_id.bytes, p->peer_id.bytes, sizeof p->own_id.bytes) > 0) {
        km_punch_call(p, false);
      }
      km_punch_rounds_begin(p, ROUNDS_TRIAL);
      return;
    }
  }
}

void km_punch_rounds_timeout(km_punch *p) {
  if (!p->wanted) {
    return;
  }
  recall(p);
  next_round(p);
  bool trying = p->state == KM_PUNCH_ROUNDS || p->state == KM_PUNCH_GUESSING;
  if (trying && p->round_at == KM_TS_NEVER && !km_punch_guess_running(p)) {
    give_up(p);
  } else if (p->state == KM_PUNCH_WAITING && p->wait_at <= p->now) {
    km_punch_attempt_begin(p, false);
  } else if (p->state == KM_PUNCH_OPEN && p->trial_at <= p->now) {
    trial(p);
  }
}

km_ts km_punch_rounds_deadline(const km_punch *p) {
  km_ts at =
      km_punch_min(km_punch_min(p->round_at, p->recall_at), km_punch_min(p->wait_at, p->trial_at));
  return p->call_due ? km_punch_min(at, p->call_at) : at;
}

void km_punch_rounds_rest(km_punch *p) {
  p->round_at = p->recall_at = p->wait_at = p->trial_at = p->budget_at = KM_TS_NEVER;
  p->rounds_left = 0;
  p->call_due = p->call_send = false;
  p->attempts = 0;
  for (size_t i = 0; i < p->count; i++) {
    km_punch_rec *rec = &p->ways[i];
    rec->due = rec->send = false;
    rec->quick_left = 0;
    rec->quick_at = KM_TS_NEVER;
  }
}
