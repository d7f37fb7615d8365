/* Questions of others, and our answers and announcements. */
#include <string.h>

#include "discovery/mdns_impl.h"

#define GAP KM_NS_PER_S           /* between two answers to all: RFC 6762 section 6 */
#define GAP_SWARM KM_MDNS_MS(600) /* swarm-discovery asks each 700 ms, and gives up after 2.1 s */
#define GAP_PROBE KM_MDNS_MS(250) /* RFC 6762 section 6, last paragraph */
#define SWARM_DELAY KM_MDNS_MS(100)
#define PLAIN_WINDOW KM_MDNS_MS(5000)
#define PLAIN_MANY 4 /* in a window; a browser asks at 0, 1, 3 and 7 s */
#define SWARM_LASTS KM_MDNS_MS(15000)
#define QUESTIONS_MAX 4 /* that are repeated to resolvers that speak plain DNS */
#define ANNOUNCES 3

typedef struct asked {
  unsigned say, known;
  unsigned questions, records;
  unsigned ours;    /* questions that we have answers to */
  unsigned unicast; /* of these, who would like an answer for themselves */
  bool probe;       /* somebody is about to use our name */
  bool has_who;
  km_mdns_details who;
  size_t kept_count;
  struct {
    km_mdns_name name;
    uint16_t type;
  } kept[QUESTIONS_MAX];
} asked;

static bool is_type(const km_mdns_item *item, uint16_t a, uint16_t b) {
  return item->type == a || item->type == b || item->type == KM_MDNS_ANY;
}

static bool is_host(const km_mdns *m, const km_mdns_name *name) {
  for (size_t i = 0; i < m->own.port_count; i++) {
    km_mdns_name host;
    km_mdns_host_name(m, m->own.ports[i], &host);
    if (km_mdns_name_equal(name, &host)) {
      return true;
    }
  }
  return false;
}

static unsigned what_is_asked(const km_mdns *m, const km_mdns_item *q) {
  if (q->class != KM_MDNS_CLASS_IN && q->class != KM_MDNS_CLASS_ANY) {
    return 0;
  }
  if (km_mdns_name_equal(&q->name, &m->service)) {
    return is_type(q, KM_MDNS_PTR, KM_MDNS_PTR) ? KM_MDNS_SAY_INSTANCE : 0;
  }
  if (km_mdns_name_equal(&q->name, &m->types)) {
    return is_type(q, KM_MDNS_PTR, KM_MDNS_PTR) ? KM_MDNS_SAY_TYPE : 0;
  }
  if (!m->own.on) {
    return 0;
  }
  if (km_mdns_name_equal(&q->name, &m->instance)) {
    return is_type(q, KM_MDNS_SRV, KM_MDNS_TXT) ? KM_MDNS_SAY_DETAILS : 0;
  }
  return is_type(q, KM_MDNS_A, KM_MDNS_AAAA) && is_host(m, &q->name) ? KM_MDNS_SAY_HOSTS : 0;
}

static void read_question(const km_mdns *m, const km_mdns_item *q, asked *ret) {
  unsigned say = what_is_asked(m, q);
  ret->questions++;
  if (say == 0) {
    return;
  }
  ret->say |= say;
  ret->ours++;
  ret->unicast += q->flag ? 1 : 0;
  if (ret->kept_count < QUESTIONS_MAX) {
    ret->kept[ret->kept_count].name = q->name;
    ret->kept[ret->kept_count++].type = q->type;
  }
}

/* What the asker knows already (RFC 6762 section 7.1). */
static void read_known(const km_mdns *m, const km_mdns_reader *r, const km_mdns_item *item,
                       asked *ret) {
  km_mdns_name target;
  if (item->ttl < KM_MDNS_TTL_S / 2 || !km_mdns_read_ptr(r, item, &target)) {
    return;
  }
  if (km_mdns_name_equal(&item->name, &m->service) && km_mdns_name_equal(&target, &m->instance)) {
    ret->known |= KM_MDNS_SAY_INSTANCE;
  }
  if (km_mdns_name_equal(&item->name, &m->types) && km_mdns_name_equal(&target, &m->service)) {
    ret->known |= KM_MDNS_SAY_TYPE;
  }
}

static void read_query(const km_mdns *m, km_mdns_reader *r, asked *ret) {
  km_mdns_item item;
  while (km_mdns_next_item(r, &item)) {
    if (item.section == KM_MDNS_QUESTIONS) {
      read_question(m, &item, ret);
      continue;
    }
    ret->records++;
    if (item.class != KM_MDNS_CLASS_IN) {
      continue;
    }
    if (item.section == KM_MDNS_ANSWERS) {
      read_known(m, r, &item, ret);
    } else if (item.section == KM_MDNS_AUTHORITIES) {
      ret->probe = ret->probe || (m->own.on && km_mdns_name_equal(&item.name, &m->instance));
    } else if (item.type == KM_MDNS_TXT && !ret->has_who &&
               km_mdns_instance_id(m, &item.name, &ret->who.id)) {
      ret->has_who = true;
      km_mdns_read_attributes(&ret->who, &item);
    }
  }
}

/* --- whom we answer --- */

/* In trusted mode: a question that one of them signed, and none that was heard before. */
static bool is_from_trusted(km_mdns *m, const km_mdns_arrival *a, const asked *q, km_ts now,
                            km_wall wall) {
  km_mdns_trusted *t = q->has_who ? km_mdns_find_trusted(m, &q->who.id) : NULL;
  if (t == NULL || !q->who.has_time || !km_mdns_is_recent(q->who.time_ms, wall)) {
    return false; /* recorded elsewhere, or the clocks differ */
  }
  if (t->query_ms > q->who.time_ms && !km_mdns_is_recent(t->query_ms, wall)) {
    t->query_ms = 0; /* a clock was set back since */
  }
  if (q->who.time_ms <= t->query_ms || !km_mdns_may_check(m, &a->from, true, now)) {
    return false;
  }
  if (!km_mdns_verify_query(&q->who)) {
    km_mdns_lied(m, &a->from, now);
    return false;
  }
  t->query_ms = q->who.time_ms;
  const km_mdns_peer *peer = km_mdns_peers_find(&m->peers, &q->who.id);
  if ((peer == NULL || !peer->live) && (m->watched || km_mdns_is_wanted_id(m, &q->who.id))) {
    km_mdns_plan_query(m, false, now); /* it shows itself to us by asking */
  }
  return true;
}

/* --- answers to one --- */

static void answer_one(km_mdns *m, km_mdns_on_link *l, const km_mdns_arrival *a, uint16_t id,
                       const asked *q, bool legacy, km_ts now, km_wall wall) {
  uint8_t bytes[KM_MDNS_SEND_MAX];
  km_mdns_writer w;
  if (!km_mdns_on_net(l, &a->from) || !km_mdns_may_unicast(m, &a->from, now)) {
    return;
  }
  km_mdns_own_sign(m, now, wall);
  km_mdns_writer_init(&w, bytes, sizeof bytes, legacy ? id : 0, true);
  for (size_t i = 0; legacy && i < q->kept_count; i++) {
    (void)km_mdns_write_question(&w, &q->kept[i].name, q->kept[i].type);
  }
  if (!km_mdns_own_write(m, &w, q->say, legacy ? KM_MDNS_LEGACY_TTL_S : KM_MDNS_TTL_S)) {
    km_mdns_set_truncated(&w);
  }
  km_mdns_send(m, l, &a->from, &w);
}

/* --- answers to all --- */

static bool is_plain(const asked *q) {
  return q->say == KM_MDNS_SAY_INSTANCE && q->questions == 1 && q->records == 0 && q->unicast == 0;
}

/* swarm-discovery asks over and over at the same rate; others ask ever more seldom. */
static void note_plain(km_mdns *m, km_mdns_on_link *l, km_ts now) {
  if (l->plain == 0 || now - l->plain_since > PLAIN_WINDOW) {
    l->plain = 0;
    l->plain_since = now;
  }
  if (++l->plain >= PLAIN_MANY) {
    if (now >= l->swarm_until) {
      km_mdns_doubt_all(m, now);
    }
    l->swarm_until = now + SWARM_LASTS;
  }
}

/* swarm-discovery's measures, so that its nodes and ours share the air: the more there are, the
 * longer we wait, and who answered the last time lets others go first (its src/sender.rs). */
static km_ts swarm_delay(km_mdns *m, km_mdns_on_link *l) {
  km_ts size = (km_ts)m->peers.live + 1;
  if (l->answered_last) {
    km_ts shares = size / KM_MDNS_YIELD_TO;
    l->extra_delay = SWARM_DELAY * (shares < 10 ? shares : 10);
  } else {
    l->extra_delay -= l->extra_delay < SWARM_DELAY ? l->extra_delay : SWARM_DELAY;
  }
  l->answered_last = false;
  return l->extra_delay + km_env_random_below(m->env, SWARM_DELAY * size / KM_MDNS_YIELD_TO + 1);
}

static km_ts delay_of(km_mdns *m, km_mdns_on_link *l, unsigned say, bool yields, bool truncated) {
  if (truncated) { /* more that is known may follow: RFC 6762 section 7.2 */
    return km_mdns_jitter(m, 400, 500);
  }
  if (yields) {
    return swarm_delay(m, l);
  }
  bool shared = (say & (KM_MDNS_SAY_INSTANCE | KM_MDNS_SAY_TYPE)) != 0;
  return shared ? km_mdns_jitter(m, 20, 120) : km_mdns_jitter(m, 0, 10);
}

static km_ts earliest(const km_mdns *m, const km_mdns_on_link *l, unsigned say, bool probe,
                      km_ts now) {
  if (say == KM_MDNS_SAY_TYPE) {
    return l->said_type == 0 ? 0 : l->said_type + GAP;
  }
  km_ts gap = probe ? GAP_PROBE : km_mdns_is_swarm(m, l, now) ? GAP_SWARM : GAP;
  return l->said == 0 ? 0 : l->said + gap;
}

/* Others' answers make ours needless for as long as we are not missed: whoever answers in our stead
 * may have made itself up. */
static bool is_heard_of(const km_mdns *m, const km_mdns_on_link *l, km_ts now) {
  return l->silent_since == 0 || now - l->silent_since < 3 * km_mdns_turn(m) / 2;
}

static void plan_answer(km_mdns *m, km_mdns_on_link *l, const km_mdns_arrival *a, const asked *q,
                        bool truncated, km_ts now) {
  unsigned say = q->say & ~q->known, due = l->due | l->due_asker;
  bool yields = !truncated && is_plain(q) && km_mdns_is_swarm(m, l, now) && is_heard_of(m, l, now);
  if (say == 0 || (yields && due != 0)) {
    return;
  }
  km_ts at = now + delay_of(m, l, say, yields, truncated);
  km_ts first = earliest(m, l, say, q->probe, now);
  at = at > first ? at : first;
  l->yields = yields && (due == 0 || l->yields);
  l->heard = due == 0 ? 0 : l->heard;
  l->due_at = due != 0 && l->due_at < at ? l->due_at : at;
  if (!truncated) {
    l->due |= say;
    return;
  }
  if (!km_udp_addr_equal(&l->asker, &a->from)) { /* the one before is owed what it asked for */
    l->due |= l->due_asker;
    l->due_asker = 0;
  }
  l->asker = a->from;
  l->due_asker |= say;
}

/* The rest of what an asker knows. */
static bool is_continued(km_mdns_on_link *l, const km_mdns_arrival *a, const asked *q) {
  if (q->questions != 0 || l->due_asker == 0 || !km_udp_addr_equal(&l->asker, &a->from)) {
    return false;
  }
  l->due_asker &= ~q->known;
  return true;
}

void km_mdns_hear_query(km_mdns *m, km_mdns_on_link *l, const km_mdns_arrival *a, km_mdns_reader *r,
                        km_ts now, km_wall wall) {
  asked q = {0};
  bool same_host = km_mdns_same_host(m, &a->from);
  bool legacy = a->from.port != KM_MDNS_PORT;
  read_query(m, r, &q);
  if (same_host && km_mdns_is_own_query(m, r->bytes, r->len)) {
    return;
  }
  if (!legacy && is_plain(&q)) {
    note_plain(m, l, now);
  }
  if (!same_host && !legacy && (q.say & KM_MDNS_SAY_INSTANCE) != 0) {
    l->asked = now;
  }
  bool answered = m->mode != KM_MDNS_TRUSTED || is_from_trusted(m, a, &q, now, wall);
  if (!answered || !m->own.on || is_continued(l, a, &q)) {
    return;
  }
  if (q.probe) {
    q.say |= KM_MDNS_SAY_DETAILS; /* it is ours: RFC 6762 section 8.1 */
  }
  if (q.say == 0) {
    return;
  }
  bool recent = l->said != 0 && now - l->said < (km_ts)KM_MDNS_TTL_S * KM_NS_PER_S / 4;
  if (legacy || (q.unicast == q.ours && recent && !q.probe)) {
    answer_one(m, l, a, r->id, &q, legacy, now, wall);
    return;
  }
  plan_answer(m, l, a, &q, r->truncated, now);
}

/* Sends to all what is due; false: too much was sent of late. */
static bool say_to_all(km_mdns *m, km_mdns_on_link *l, unsigned say, km_ts now, km_wall wall) {
  uint8_t bytes[KM_MDNS_SEND_MAX];
  km_mdns_writer w;
  if (!km_token_bucket_take(&l->sends, now)) {
    return false;
  }
  km_mdns_own_sign(m, now, wall);
  km_mdns_writer_init(&w, bytes, sizeof bytes, 0, true);
  (void)km_mdns_own_write(m, &w, say, KM_MDNS_TTL_S); /* it was trimmed to fit */
  km_mdns_send(m, l, NULL, &w);
  l->said = (say & ~(unsigned)KM_MDNS_SAY_TYPE) != 0 ? now : l->said;
  l->said_type = (say & KM_MDNS_SAY_TYPE) != 0 ? now : l->said_type;
  m->own.announced = true;
  return true;
}

void km_mdns_answer(km_mdns *m, km_mdns_on_link *l, km_ts now, km_wall wall) {
  unsigned due = l->due | l->due_asker;
  if (due == 0 || now < l->due_at) {
    return;
  }
  if (!m->own.on) {
    l->due = l->due_asker = 0;
    return;
  }
  if (!say_to_all(m, l, due, now, wall)) {
    l->due_at = now + KM_MDNS_MS(100);
    return;
  }
  l->answered_last = l->yields;
  l->silent_since = 0;
  l->due = l->due_asker = 0;
}

void km_mdns_plan_announce(km_mdns *m, km_mdns_on_link *l, km_ts now) {
  km_ts first = l->said == 0 ? 0 : l->said + GAP;
  km_ts at = now + km_mdns_jitter(m, 20, 120);
  l->announces = ANNOUNCES;
  l->announce_at = at > first ? at : first;
}

void km_mdns_announce(km_mdns *m, km_mdns_on_link *l, km_ts now, km_wall wall) {
  if (l->announces == 0 || now < l->announce_at) {
    return;
  }
  if (!m->own.on) {
    l->announces = 0;
    return;
  }
  if (!say_to_all(m, l, KM_MDNS_SAY_INSTANCE, now, wall)) {
    l->announce_at = now + KM_MDNS_MS(100);
    return;
  }
  l->announces--;
  l->announce_at = now + (l->announces == ANNOUNCES - 1 ? GAP : 2 * GAP); /* section 8.3 */
}
