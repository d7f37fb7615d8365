/* Our questions: for who is there, and for those somebody waits for. */
#include <string.h>

#include "discovery/mdns_impl.h"

#define INTERVAL KM_NS_PER_S                  /* doubled from one question to the next */
#define NAME_FIRST KM_MDNS_MS(250)            /* those asked by name have so long */
#define INTERVAL_MAX_WANTED (4 * KM_NS_PER_S) /* while somebody waits for an id */
#define INTERVAL_MAX (60 * KM_NS_PER_S)
#define DIRECT_MAX 8 /* peers that are asked for by name at once */
#define WHO_ROOM 256 /* kept free for what write_who adds */
#define KNOWN_MAX 12 /* peers that are named as known */

bool km_mdns_is_wanted_id(const km_mdns *m, const km_id *id) {
  for (size_t i = 0; i < m->want_count; i++) {
    if (km_id_equal(&m->wants[i].id, id)) {
      return true;
    }
  }
  return false;
}

void km_mdns_plan_query(km_mdns *m, bool urgent, km_ts now) {
  km_ts at = now + km_mdns_jitter(m, 20, 120); /* RFC 6762 section 5.2 */
  if (!urgent && m->asked != 0 && at < m->asked + INTERVAL) {
    at = m->asked + INTERVAL;
  }
  m->ask_at = at < m->ask_at ? at : m->ask_at;
  m->ask_interval = INTERVAL;
}

void km_mdns_plan_names(km_mdns *m, bool urgent, km_ts now) {
  km_ts at = now + km_mdns_jitter(m, 20, 120);
  if (!urgent && m->asked != 0 && at < m->asked + INTERVAL) {
    at = m->asked + INTERVAL;
  }
  m->name_at = at < m->name_at ? at : m->name_at;
}

void km_mdns_plan_lookup(km_mdns *m, km_ts now) {
  km_mdns_plan_names(m, true, now);
  km_ts at = m->name_at + NAME_FIRST;
  m->ask_at = at < m->ask_at ? at : m->ask_at;
  m->ask_interval = INTERVAL;
}

static bool instance_name(const km_mdns *m, const km_id *id, km_mdns_name *ret) {
  char label[KM_ID_TEXT_CAP];
  int len = km_id_format(id, KM_ID_BASE32, label, sizeof label);
  return len > 0 && km_mdns_name_prefix(ret, label, (size_t)len, &m->service);
}

static void ask_for(const km_mdns *m, km_mdns_writer *w, const km_id *id) {
  km_mdns_name name;
  if (instance_name(m, id, &name)) {
    (void)km_mdns_write_question(w, &name, KM_MDNS_ANY); /* no room: the next time */
  }
}

static size_t ask_for_wanted(km_mdns *m, km_mdns_writer *w) {
  size_t n = m->want_count < DIRECT_MAX ? m->want_count : DIRECT_MAX;
  for (size_t i = 0; i < n; i++) {
    m->want_next = (m->want_next + 1) % m->want_count;
    ask_for(m, w, &m->wants[m->want_next].id);
  }
  return n;
}

static size_t ask_for_partials(km_mdns *m, km_mdns_writer *w) {
  size_t n = 0;
  for (size_t i = 0; i < KM_MDNS_PARTIALS_MAX && n < DIRECT_MAX; i++) {
    km_mdns_partial *p = &m->partials[i];
    if (!p->used) {
      continue;
    }
    n++;
    if (p->port_count == 0) {
      ask_for(m, w, &p->id);
    }
    for (size_t k = 0; k < p->port_count; k++) {
      (void)km_mdns_write_question(w, &p->hosts[k], KM_MDNS_ANY);
    }
  }
  return n;
}

/* Those that are about to be forgotten. */
static size_t ask_for_old(km_mdns *m, km_mdns_writer *w) {
  size_t n = 0;
  for (km_list *at = m->peers.used.next; at != &m->peers.used && n < DIRECT_MAX; at = at->next) {
    km_mdns_peer *peer = KM_LIST_ITEM(at, km_mdns_peer, used);
    if (peer->live && peer->asking) {
      ask_for(m, w, &peer->id);
      peer->asking = false;
      n++;
    }
  }
  return n;
}

static void name_known(const km_mdns *m, km_mdns_writer *w, const km_id *id, uint32_t ttl) {
  km_mdns_name name;
  if (instance_name(m, id, &name)) {
    (void)km_mdns_write_ptr(w, KM_MDNS_ANSWERS, &m->service, ttl, &name);
  }
}

/* Those who need not answer (RFC 6762 section 7.1), ourselves first. Whom we trust is nobody's
 * concern: in that mode nobody else is named. */
static void write_known(const km_mdns *m, km_mdns_writer *w, km_ts now) {
  size_t n = 0;
  if (m->own.on) {
    name_known(m, w, &m->id, KM_MDNS_TTL_S);
  }
  const km_list *at = m->peers.used.prev;
  for (; m->mode != KM_MDNS_TRUSTED && at != &m->peers.used && n < KNOWN_MAX; at = at->prev) {
    const km_mdns_peer *peer = KM_LIST_ITEM(at, km_mdns_peer, used);
    if (!peer->live || peer->ttl_s == 0 || peer->expires <= now ||
        km_mdns_is_wanted_id(m, &peer->id)) {
      continue;
    }
    km_ts left = (peer->expires - now) / KM_NS_PER_S;
    if (left > peer->ttl_s / 2) {
      name_known(m, w, &peer->id, (uint32_t)left);
      n++;
    }
  }
}

/* Who asks, for those who answer only some. Who says nothing of itself does not say it here
 * either, but where nobody would answer otherwise. */
static void write_who(const km_mdns *m, km_mdns_writer *w, km_wall wall, uint64_t *last) {
  km_mdns_details who = {.id = m->id};
  uint8_t txt[KM_MDNS_TXT_MAX];
  if (m->key == NULL || (!m->own.on && m->mode != KM_MDNS_TRUSTED)) {
    return;
  }
  uint64_t time_ms = km_mdns_time(wall);
  if (*last > time_ms && !km_mdns_is_recent(*last, wall)) {
    *last = 0; /* our clock was set back; who heard that time did not take it for ours */
  }
  *last = time_ms > *last ? time_ms : *last + 1;
  km_mdns_sign_query(&who, m->key, *last);
  (void)km_mdns_write_txt(w, KM_MDNS_ADDITIONALS, &m->instance, 0, txt,
                          km_mdns_write_attributes(&who, txt));
}

static void plan_next(km_mdns *m, km_ts now) {
  km_ts most = m->want_count > 0 ? INTERVAL_MAX_WANTED : INTERVAL_MAX;
  bool partial = false;
  for (size_t i = 0; i < KM_MDNS_PARTIALS_MAX; i++) {
    km_mdns_partial *p = &m->partials[i];
    p->used = p->used && now - p->since <= KM_MDNS_PARTIAL_LIFE;
    partial = partial || p->used;
  }
  m->hellos -= m->hellos > 0 ? 1 : 0;
  m->ask_at = KM_TS_NEVER;
  if (partial || m->hellos > 0) {
    m->ask_interval = INTERVAL;
  }
  if (partial || m->hellos > 0 || m->want_count > 0 || m->watched) {
    m->ask_at = now + m->ask_interval;
    m->ask_interval = 2 * m->ask_interval < most ? 2 * m->ask_interval : most;
  }
}

/* Somebody else just asked the same (RFC 6762 section 7.3). Those who answer only whom they trust
 * did not answer that: now and then it is ourselves who ask. */
static bool is_needless(const km_mdns *m, const km_mdns_on_link *l, km_ts now) {
  return m->mode != KM_MDNS_TRUSTED && m->hellos == 0 && l->asked != 0 &&
         now - l->asked < INTERVAL && l->asked_self != 0 && now - l->asked_self < INTERVAL_MAX;
}

static uint64_t hash_of(const uint8_t *bytes, size_t len) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < len; i++) {
    hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
  }
  return hash;
}

bool km_mdns_is_own_query(const km_mdns *m, const uint8_t *bytes, size_t len) {
  return len == m->query_len && hash_of(bytes, len) == m->query_hash;
}

static void send_query(km_mdns *m, const km_mdns_writer *w, bool service, size_t direct,
                       km_ts now) {
  m->query_len = w->len;
  m->query_hash = hash_of(w->bytes, w->len);
  for (size_t i = 0; i < m->link_count; i++) {
    km_mdns_on_link *l = &m->links[i];
    if ((direct > 0 || !is_needless(m, l, now)) && km_token_bucket_take(&l->sends, now)) {
      km_mdns_send(m, l, NULL, w);
      l->asked_self = service ? now : l->asked_self;
    }
  }
}

/* False: the next one is put off. */
static bool may_ask(km_mdns *m, km_ts now) {
  km_ts later = now + KM_MDNS_MS(200);
  if (km_token_bucket_take(&m->questions, now)) {
    return true;
  }
  m->ask_at = m->ask_at < later ? later : m->ask_at;
  m->name_at = m->name_at < later ? later : m->name_at;
  return false;
}

void km_mdns_query(km_mdns *m, km_ts now, km_wall wall) {
  uint8_t bytes[KM_MDNS_SEND_MAX];
  km_mdns_writer w;
  bool service = now >= m->ask_at;
  if ((!service && now < m->name_at) || !may_ask(m, now)) {
    return;
  }
  m->name_at = KM_TS_NEVER;
  km_mdns_writer_init(&w, bytes, sizeof bytes - WHO_ROOM, 0, false);
  if (service) {
    (void)km_mdns_write_question(&w, &m->service, KM_MDNS_PTR);
  }
  size_t direct = ask_for_wanted(m, &w) + ask_for_partials(m, &w) + ask_for_old(m, &w);
  if (service) {
    write_known(m, &w, now);
  }
  w.cap = sizeof bytes;
  write_who(m, &w, wall, &m->query_time_ms);
  if (service || direct > 0) {
    send_query(m, &w, service, direct, now);
    m->asked = now;
  }
  if (service) {
    plan_next(m, now);
  }
}
