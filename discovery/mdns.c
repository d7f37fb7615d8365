#include "discovery/mdns.h"

#include <stdlib.h>
#include <string.h>

#include "discovery/mdns_impl.h"

#define TRUSTED_MAX 1024
/* Packets a second that are looked at: of all, and of one host. */
#define PACKETS 500
#define PACKETS_BURST 1000
#define PACKETS_SOURCE 100
#define PACKETS_SOURCE_BURST 300
/* Signatures a second, 100 microseconds each: of all, of one host, and beyond both of those whose
 * renewal must not fail. */
#define CHECKS 100
#define CHECKS_BURST 200
#define CHECKS_SOURCE 20
#define CHECKS_SOURCE_BURST 40
#define CHECKS_RESERVE 50
#define CHECKS_RESERVE_BURST 100
#define LIED_FOR (10 * KM_NS_PER_S) /* how long the reserve is closed to who sent a wrong one */
#define NEWS 200                    /* peers that were not known, whom nobody waits for */
#define NEWS_BURST 1000
#define UNICASTS 10
#define UNICASTS_BURST 20
#define UNICASTS_SOURCE 5
#define UNICASTS_SOURCE_BURST 10
#define QUESTIONS 4
#define QUESTIONS_BURST 8
#define SENDS 10 /* on one link */
#define SENDS_BURST 20

/* --- making and freeing --- */

static int compare_trusted(const void *a, const void *b) {
  return memcmp(((const km_mdns_trusted *)a)->id.bytes, ((const km_mdns_trusted *)b)->id.bytes,
                KM_ID_BYTES);
}

static int set_trusted(km_mdns *m, const km_mdns_options *o, km_errinfo *err) {
  if (o->mode != KM_MDNS_TRUSTED || o->trusted_count == 0) {
    return 0;
  }
  if (o->trusted_count > TRUSTED_MAX) {
    return km_fail(err, KM_ERR_LIMIT, "mDNS trusts at most %d ids, not %zu", TRUSTED_MAX,
                   o->trusted_count);
  }
  m->trusted = km_env_zalloc(m->env, o->trusted_count, sizeof *m->trusted);
  if (m->trusted == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  m->trusted_count = o->trusted_count;
  for (size_t i = 0; i < o->trusted_count; i++) {
    m->trusted[i].id = o->trusted[i];
  }
  qsort(m->trusted, m->trusted_count, sizeof *m->trusted, compare_trusted);
  return 0;
}

static void set_names(km_mdns *m) {
  char label[KM_ID_TEXT_CAP] = "x"; /* nobody's, without a key: it is never answered for */
  (void)km_mdns_name_set(&m->service, KM_MDNS_SERVICE); /* constants */
  (void)km_mdns_name_set(&m->types, "_services._dns-sd._udp.local");
  if (m->key != NULL) {
    km_secret_key_id(m->key, &m->id);
    (void)km_id_format(&m->id, KM_ID_BASE32, label, sizeof label); /* it fits */
  }
  (void)km_mdns_name_prefix(&m->instance, label, strlen(label), &m->service);
}

static int set_options(km_mdns *m, const km_mdns_options *o, km_errinfo *err) {
  m->may_publish = m->key != NULL;
  if (o == NULL) {
    return 0;
  }
  if ((unsigned)o->mode > KM_MDNS_TRUSTED || (o->trusted_count > 0 && o->trusted == NULL)) {
    return km_fail(err, KM_ERR_INVALID, "mDNS has no such mode, or a list that is not there");
  }
  m->mode = o->mode;
  m->may_publish = m->key != NULL && !o->no_publish;
  return set_trusted(m, o, err);
}

int km_mdns_new(km_mdns **ret, const km_mdns_config *config, km_ts now, km_errinfo *err) {
  km_mdns *m = km_env_zalloc(config->env, 1, sizeof *m);
  if (m == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  m->env = config->env;
  m->key = config->key;
  m->ops = config->ops;
  m->ctx = config->ctx;
  m->ask_at = m->name_at = m->sweep_at = KM_TS_NEVER;
  km_mdns_peers_init(&m->peers, m->env);
  km_token_bucket_init(&m->packets, PACKETS, PACKETS_BURST, now);
  km_token_bucket_init(&m->checks, CHECKS, CHECKS_BURST, now);
  km_token_bucket_init(&m->reserve, CHECKS_RESERVE, CHECKS_RESERVE_BURST, now);
  km_token_bucket_init(&m->news, NEWS, NEWS_BURST, now);
  km_token_bucket_init(&m->unicasts, UNICASTS, UNICASTS_BURST, now);
  km_token_bucket_init(&m->questions, QUESTIONS, QUESTIONS_BURST, now);
  set_names(m);
  int rv = set_options(m, config->options, err);
  if (rv != 0) {
    km_mdns_free(m);
    return rv;
  }
  *ret = m;
  return 0;
}

void km_mdns_free(km_mdns *m) {
  if (m == NULL) {
    return;
  }
  km_mdns_peers_clear(&m->peers);
  km_env_free(m->env, m->wants);
  km_env_free(m->env, m->trusted);
  km_env_free(m->env, m);
}

/* --- what the parts share --- */

void km_mdns_send(km_mdns *m, const km_mdns_on_link *l, const km_udp_addr *to,
                  const km_mdns_writer *w) {
  m->ops->send(m->ctx, l->link.index, l->link.family, to, w->bytes, w->len);
}

static bool same_ip(const km_udp_addr *a, const km_udp_addr *b) {
  return a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

bool km_mdns_same_host(const km_mdns *m, const km_udp_addr *from) {
  for (size_t i = 0; i < m->link_count; i++) {
    const km_mdns_link *l = &m->links[i].link;
    for (size_t n = 0; n < l->net_count; n++) {
      if (same_ip(&l->nets[n].addr, from)) {
        return true;
      }
    }
  }
  return false;
}

bool km_mdns_is_swarm(const km_mdns *m, const km_mdns_on_link *l, km_ts now) {
  bool swarm = m->peers.silent > 0 || (l != NULL && now < l->swarm_until);
  for (size_t i = 0; l == NULL && i < m->link_count; i++) {
    swarm = swarm || now < m->links[i].swarm_until;
  }
  return swarm;
}

static bool in_net(const km_mdns_net *net, const km_udp_addr *addr) {
  size_t whole = net->bits / 8U;
  uint8_t mask = (uint8_t)(0xff00U >> net->bits % 8U);
  return net->addr.family == addr->family && net->bits <= (addr->family == 4 ? 32 : 128) &&
         memcmp(net->addr.ip, addr->ip, whole) == 0 &&
         (mask == 0 || ((net->addr.ip[whole] ^ addr->ip[whole]) & mask) == 0);
}

bool km_mdns_on_net(const km_mdns_on_link *l, const km_udp_addr *from) {
  if (from->family == 6 && from->ip[0] == 0xfe && (from->ip[1] & 0xc0) == 0x80) {
    return true; /* link-local: it cannot be from elsewhere */
  }
  for (size_t i = 0; i < l->link.net_count; i++) {
    if (in_net(&l->link.nets[i], from)) {
      return true;
    }
  }
  return false;
}

km_mdns_trusted *km_mdns_find_trusted(km_mdns *m, const km_id *id) {
  km_mdns_trusted key = {.id = *id};
  if (m->trusted_count == 0) {
    return NULL;
  }
  return bsearch(&key, m->trusted, m->trusted_count, sizeof key, compare_trusted);
}

km_ts km_mdns_jitter(const km_mdns *m, unsigned from_ms, unsigned to_ms) {
  return KM_MDNS_MS(from_ms) + km_env_random_below(m->env, KM_MDNS_MS(to_ms - from_ms) + 1);
}

bool km_mdns_instance_id(const km_mdns *m, const km_mdns_name *name, km_id *ret) {
  const char *label;
  size_t len;
  return km_mdns_name_under(name, &m->service, &label, &len) && len == KM_ID_BASE32_LEN &&
         km_id_parse(ret, label, len, NULL) == 0;
}

/* --- links --- */

static km_mdns_on_link *find_link(km_mdns *m, uint32_t index, uint8_t family) {
  for (size_t i = 0; i < m->link_count; i++) {
    if (m->links[i].link.index == index && m->links[i].link.family == family) {
      return &m->links[i];
    }
  }
  return NULL;
}

static bool is_listed(const km_mdns_link *links, size_t count, const km_mdns_link *l) {
  for (size_t i = 0; i < count; i++) {
    if (links[i].index == l->index && links[i].family == l->family) {
      return true;
    }
  }
  return false;
}

static void show_ourselves(km_mdns *m, km_mdns_on_link *l, km_ts now) {
  if (!m->own.on) {
    return;
  }
  if (m->mode != KM_MDNS_TRUSTED) {
    km_mdns_plan_announce(m, l, now);
    return;
  }
  /* Nothing is said to all: we ask, and those who trust us ask back. */
  m->hellos = 2;
  m->own.announced = true;
  km_mdns_plan_query(m, true, now);
}

static void add_link(km_mdns *m, const km_mdns_link *link, km_ts now) {
  km_mdns_on_link *l = &m->links[m->link_count++];
  *l = (km_mdns_on_link){.link = *link};
  km_token_bucket_init(&l->sends, SENDS, SENDS_BURST, now);
  show_ourselves(m, l, now);
  if (m->watched || m->want_count > 0) {
    km_mdns_plan_query(m, true, now);
  }
}

void km_mdns_set_links(km_mdns *m, const km_mdns_link *links, size_t count, km_ts now) {
  size_t kept = 0;
  for (size_t i = 0; i < m->link_count; i++) {
    if (is_listed(links, count, &m->links[i].link)) {
      m->links[kept++] = m->links[i];
    }
  }
  m->link_count = kept;
  for (size_t i = 0; i < count; i++) {
    km_mdns_on_link *l = find_link(m, links[i].index, links[i].family);
    if (l != NULL) {
      l->link = links[i];
    } else if (m->link_count < KM_MDNS_LINKS_MAX) {
      add_link(m, &links[i], now);
    }
  }
}

/* --- publishing --- */

static void say_goodbye(km_mdns *m, const km_mdns_own *old) {
  uint8_t bytes[KM_MDNS_SEND_MAX];
  km_mdns_writer w;
  km_mdns_own none = m->own;
  m->own = *old;
  m->own.details = (km_mdns_details){.id = m->id};
  if (old->last_time_ms != 0) { /* something was said: what is signed after it ends it */
    km_mdns_sign_goodbye(&m->own.details, m->key, ++none.last_time_ms);
  }
  km_mdns_writer_init(&w, bytes, sizeof bytes, 0, true);
  (void)km_mdns_own_write(m, &w, KM_MDNS_SAY_INSTANCE, 0); /* shorter than what was said */
  m->own = none;
  for (size_t i = 0; i < m->link_count; i++) {
    m->links[i].due = m->links[i].due_asker = m->links[i].announces = 0;
    if (m->links[i].said != 0) {
      km_mdns_send(m, &m->links[i], NULL, &w);
    }
  }
}

static void say_withdrawn(km_mdns *m, const km_mdns_own *old) {
  uint8_t bytes[KM_MDNS_SEND_MAX];
  km_mdns_writer w = {.bytes = bytes};
  w.len = km_mdns_own_withdraw(m, old, bytes, sizeof bytes);
  for (size_t i = 0; w.len > 0 && i < m->link_count; i++) {
    if (m->links[i].said != 0) {
      km_mdns_send(m, &m->links[i], NULL, &w);
    }
  }
}

void km_mdns_publish(km_mdns *m, const km_peer_info *info, km_ts now) {
  if (!m->may_publish) {
    return;
  }
  km_mdns_own old = m->own;
  if (!km_mdns_own_set(m, info)) {
    return;
  }
  m->own.announced = false;
  if (!m->own.on) {
    say_goodbye(m, &old);
    return;
  }
  say_withdrawn(m, &old);
  for (size_t i = 0; i < m->link_count; i++) {
    show_ourselves(m, &m->links[i], now);
  }
}

bool km_mdns_is_wanted(const km_mdns *m) {
  return m->own.on;
}

bool km_mdns_is_announced(const km_mdns *m) {
  return m->own.on && m->own.announced;
}

/* --- who is looked for --- */

int km_mdns_want(km_mdns *m, const km_id *id, km_ts now) {
  km_mdns_plan_lookup(m, now);
  for (size_t i = 0; i < m->want_count; i++) {
    if (km_id_equal(&m->wants[i].id, id)) {
      m->wants[i].count++;
      return 0;
    }
  }
  if (m->want_count == m->want_cap) {
    size_t cap = m->want_cap == 0 ? 8 : 2 * m->want_cap;
    void *grown = km_env_realloc(m->env, m->wants, cap, sizeof *m->wants);
    if (grown == NULL) {
      return KM_ERR_NOMEM;
    }
    m->wants = grown;
    m->want_cap = cap;
  }
  m->wants[m->want_count++] = (km_mdns_want_entry){.id = *id, .count = 1};
  m->want_next = m->want_count - 2 < m->want_count ? m->want_count - 2 : 0; /* it is asked first */
  return 0;
}

void km_mdns_unwant(km_mdns *m, const km_id *id) {
  for (size_t i = 0; i < m->want_count; i++) {
    if (km_id_equal(&m->wants[i].id, id)) {
      if (--m->wants[i].count == 0) {
        m->wants[i] = m->wants[--m->want_count];
      }
      return;
    }
  }
}

void km_mdns_watch(km_mdns *m, bool on, km_ts now) {
  m->watched = on;
  if (on) {
    km_mdns_plan_query(m, true, now);
  }
}

bool km_mdns_get(km_mdns *m, const km_id *id, km_ts now, km_found *ret) {
  const km_mdns_peer *peer = km_mdns_peers_find(&m->peers, id);
  if (peer == NULL || !peer->live || peer->expires <= now) {
    return false;
  }
  km_mdns_peer_found(peer, now, ret);
  return true;
}

void km_mdns_tell_all(km_mdns *m, km_ts now) {
  for (const km_list *at = m->peers.used.next; at != &m->peers.used; at = at->next) {
    const km_mdns_peer *peer = KM_LIST_ITEM(at, km_mdns_peer, used);
    if (peer->live && peer->expires > now) {
      km_found found;
      km_mdns_peer_found(peer, now, &found);
      m->ops->found(m->ctx, &found, true);
    }
  }
}

/* --- packets and time --- */

/* Each host has its share; two that meet in one place renew it for each other, and the sum of all
 * is limited besides. */
static km_mdns_source_rate *source_of(km_mdns *m, const km_udp_addr *from, km_ts now) {
  uint64_t hash = m->peers.salt;
  for (size_t i = 0; i < sizeof from->ip; i++) {
    hash = (hash ^ from->ip[i]) * UINT64_C(0x100000001b3);
  }
  km_mdns_source_rate *s = &m->sources[(hash >> 32) % KM_MDNS_SOURCES];
  if (!same_ip(&s->ip, from)) {
    *s = (km_mdns_source_rate){.ip = *from};
    km_token_bucket_init(&s->packets, PACKETS_SOURCE, PACKETS_SOURCE_BURST, now);
    km_token_bucket_init(&s->checks, CHECKS_SOURCE, CHECKS_SOURCE_BURST, now);
    km_token_bucket_init(&s->unicasts, UNICASTS_SOURCE, UNICASTS_SOURCE_BURST, now);
  }
  return s;
}

static bool is_within_rate(km_mdns *m, const km_udp_addr *from, km_ts now) {
  return km_token_bucket_take(&source_of(m, from, now)->packets, now) &&
         km_token_bucket_take(&m->packets, now);
}

bool km_mdns_may_check(km_mdns *m, const km_udp_addr *from, bool known, km_ts now) {
  km_mdns_source_rate *s = source_of(m, from, now);
  if (km_token_bucket_take(&s->checks, now) && km_token_bucket_take(&m->checks, now)) {
    return true;
  }
  bool honest = s->lied == 0 || now - s->lied >= LIED_FOR;
  return known && honest && km_token_bucket_take(&m->reserve, now);
}

void km_mdns_lied(km_mdns *m, const km_udp_addr *from, km_ts now) {
  source_of(m, from, now)->lied = now;
}

bool km_mdns_may_unicast(km_mdns *m, const km_udp_addr *to, km_ts now) {
  return km_token_bucket_take(&source_of(m, to, now)->unicasts, now) &&
         km_token_bucket_take(&m->unicasts, now);
}

void km_mdns_receive(km_mdns *m, const km_mdns_arrival *a, const uint8_t *bytes, size_t len,
                     km_ts now, km_wall wall) {
  km_mdns_reader r;
  km_mdns_on_link *l = find_link(m, a->index, a->from.family);
  if (l == NULL || !is_within_rate(m, &a->from, now) || !km_mdns_open(&r, bytes, len)) {
    return;
  }
  if (!a->multicast && !km_mdns_on_net(l, &a->from)) {
    return; /* from another network: RFC 6762 section 11 */
  }
  if (!r.response) {
    km_mdns_hear_query(m, l, a, &r, now, wall);
  } else if (a->from.port == KM_MDNS_PORT) { /* RFC 6762 section 6 */
    km_mdns_hear_response(m, l, a, bytes, len, now, wall);
  }
}

void km_mdns_step(km_mdns *m, km_ts now, km_wall wall) {
  for (size_t i = 0; i < m->link_count; i++) {
    km_mdns_answer(m, &m->links[i], now, wall);
    km_mdns_announce(m, &m->links[i], now, wall);
  }
  km_mdns_sweep(m, now);
  km_mdns_query(m, now, wall);
}

km_ts km_mdns_next(const km_mdns *m) {
  km_ts next = m->ask_at < m->sweep_at ? m->ask_at : m->sweep_at;
  next = m->name_at < next ? m->name_at : next;
  for (size_t i = 0; i < m->link_count; i++) {
    const km_mdns_on_link *l = &m->links[i];
    if ((l->due | l->due_asker) != 0 && l->due_at < next) {
      next = l->due_at;
    }
    if (l->announces != 0 && l->announce_at < next) {
      next = l->announce_at;
    }
  }
  return next;
}
