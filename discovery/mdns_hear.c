/* Answers of others: who is believed, who came, who went. */
#include <string.h>

#include "discovery/mdns_impl.h"

#define TTL_MAX_S 4500
#define DEAF KM_MDNS_MS(2000)
#define SWEEP_GAP KM_MDNS_MS(200)
#define CYCLE KM_MDNS_MS(770) /* of swarm-discovery as iroh sets it: 0.7 s and up to a tenth more */
#define GRACE_MIN KM_MDNS_MS(5000)
#define GRACE_MAX KM_MDNS_MS(300000)
#define DOUBT_ASKS 3 /* in vain: it is gone */
#define DOUBT_STEP KM_MDNS_MS(1200)
#define REPEATED_FOR (2 * (km_ts)KM_MDNS_TTL_S * KM_NS_PER_S) /* one signature is of use so long */
#define SURE_FOR (10 * KM_NS_PER_S)
#define FUTURE_MS 300000 /* a time that is yet to come counts as no later than this from now */
#define CONFLICT_LOG_GAP (60 * KM_NS_PER_S)

/* What one packet says of one peer. */
typedef struct heard {
  km_mdns_details details;
  bool goodbye; /* its PTR is withdrawn */
  bool there;   /* its PTR is there */
  bool has_srv;
  uint32_t ttl_s; /* of its SRV, the least */
  size_t port_count;
  uint16_t ports[KM_MDNS_PORTS_MAX];
  km_mdns_name hosts[KM_MDNS_PORTS_MAX];
  km_mdns_item txt; /* len 0: none */
} heard;

typedef struct packet {
  km_mdns *m;
  km_mdns_on_link *l;
  const km_mdns_arrival *a;
  const uint8_t *bytes;
  size_t len;
  km_ts now;
  km_wall wall;
  km_mdns_reader reader;
  size_t id_count;
  km_id ids[KM_MDNS_IDS_MAX];
} packet;

static bool is_trusted_or_all(km_mdns *m, const km_id *id) {
  return m->mode != KM_MDNS_TRUSTED || km_mdns_find_trusted(m, id) != NULL;
}

static bool is_record(const km_mdns_item *item) {
  return item->section != KM_MDNS_QUESTIONS && item->class == KM_MDNS_CLASS_IN;
}

/* Which peer a record is about: by its owner, or by what our service's PTR names. */
static bool about(const packet *p, const km_mdns_item *item, km_id *ret) {
  km_mdns_name target;
  if (item->type == KM_MDNS_SRV || item->type == KM_MDNS_TXT) {
    return km_mdns_instance_id(p->m, &item->name, ret);
  }
  return km_mdns_name_equal(&item->name, &p->m->service) &&
         km_mdns_read_ptr(&p->reader, item, &target) && km_mdns_instance_id(p->m, &target, ret);
}

/* An index for an id; KM_MDNS_IDS_MAX: there are too many. */
static size_t index_of(packet *p, const km_id *id) {
  size_t i = 0;
  while (i < p->id_count && !km_id_equal(&p->ids[i], id)) {
    i++;
  }
  if (i == p->id_count && i < KM_MDNS_IDS_MAX) {
    p->ids[p->id_count++] = *id;
  }
  return i;
}

/* Each record once, however many peers there are. */
static void read_records(packet *p) {
  km_mdns *m = p->m;
  km_id id;
  m->record_count = 0;
  (void)km_mdns_open(&p->reader, p->bytes, p->len);
  while (m->record_count < KM_MDNS_RECORDS_MAX) {
    km_mdns_record *r = &m->records[m->record_count];
    if (!km_mdns_next_item(&p->reader, &r->item)) {
      return;
    }
    if (is_record(&r->item)) {
      r->about = about(p, &r->item, &id) ? index_of(p, &id) : KM_MDNS_IDS_MAX;
      m->record_count++;
    }
  }
}

static void add_srv(heard *h, const km_mdns_reader *r, const km_mdns_item *item) {
  km_mdns_name host;
  uint16_t port;
  if (h->port_count < KM_MDNS_PORTS_MAX && km_mdns_read_srv(r, item, &port, &host)) {
    h->ttl_s = h->has_srv && h->ttl_s < item->ttl ? h->ttl_s : item->ttl;
    h->has_srv = true;
    h->ports[h->port_count] = port;
    h->hosts[h->port_count++] = host;
  }
}

static void add_record(heard *h, const packet *p, const km_mdns_item *item) {
  if (item->type == KM_MDNS_SRV) {
    add_srv(h, &p->reader, item);
  } else if (item->type == KM_MDNS_TXT) {
    h->txt = h->txt.len == 0 ? *item : h->txt;
    km_mdns_read_attributes(&h->details, item);
  } else {
    h->goodbye = h->goodbye || item->ttl == 0;
    h->there = h->there || item->ttl != 0;
  }
}

/* The addresses of some hosts. */
static void add_addrs(const packet *p, const km_mdns_name *hosts, const uint16_t *ports,
                      size_t count, km_mdns_details *ret) {
  km_udp_addr addr;
  for (size_t r = 0; count > 0 && r < p->m->record_count; r++) {
    const km_mdns_item *item = &p->m->records[r].item;
    if (!km_mdns_read_ip(item, &addr)) {
      continue;
    }
    for (size_t i = 0; i < count; i++) {
      if (km_mdns_name_equal(&item->name, &hosts[i])) {
        addr.port = ports[i];
        km_mdns_add_addr(ret, &addr);
      }
    }
  }
}

static void gather(const packet *p, size_t index, heard *ret) {
  memset(ret, 0, sizeof *ret);
  ret->details.id = p->ids[index];
  for (size_t r = 0; r < p->m->record_count; r++) {
    if (p->m->records[r].about == index) {
      add_record(ret, p, &p->m->records[r].item);
    }
  }
  add_addrs(p, ret->hosts, ret->ports, ret->port_count, &ret->details);
}

/* --- whether it is believed --- */

static void refuse(const packet *p, const km_mdns_details *d, const char *why) {
  KM_LOG(&p->m->env->logger, KM_LOG_DEBUG, KM_LOGC_DISCOVERY, &d->id, NULL, "mdns refused", "%s",
         why);
}

/* Somebody who is there, or whom somebody waits for: others may be put off. */
static bool is_known(const km_mdns *m, const km_id *id, const km_mdns_peer *peer) {
  return (peer != NULL && peer->live && peer->proven) || km_mdns_is_wanted_id(m, id);
}

static bool may_check(const packet *p, const km_mdns_details *d, const km_mdns_peer *known) {
  if (km_mdns_may_check(p->m, &p->a->from, is_known(p->m, &d->id, known), p->now)) {
    return true;
  }
  refuse(p, d, "too many signatures to check; it will say it again");
  return false;
}

/* The same signature once more. While a peer is there it signs anew every minute: what is older is
 * somebody else's, who recorded it. */
static bool is_repeated(const packet *p, const km_mdns_details *d, const km_mdns_peer *known) {
  if (p->now - known->since >= REPEATED_FOR || known->left) {
    refuse(p, d, "this announcement is over: its peer left, or signed anew since");
    return false;
  }
  return true;
}

/* What a signature is worth: false, it is wrong; `proven`: it is right, and of our time. */
static bool check_signature(const packet *p, const km_mdns_details *d, const km_mdns_peer *known,
                            bool *proven) {
  uint8_t digest[KM_MDNS_DIGEST_BYTES];
  bool fresh = km_mdns_is_fresh(d->time_ms, p->wall);
  km_mdns_digest(d, digest);
  if (known != NULL && known->time_ms != 0 && memcmp(digest, known->digest, sizeof digest) == 0) {
    *proven = fresh;
    return is_repeated(p, d, known);
  }
  if (known != NULL && d->time_ms <= known->time_ms) {
    /* Maybe its clock was ahead when it was heard last; then it is as good as one who does not
     * sign. */
    *proven = false;
    if (known->left || p->m->mode != KM_MDNS_OPEN) {
      refuse(p, d, "a newer announcement of this key was heard already");
      return false;
    }
    return true;
  }
  if (!may_check(p, d, known)) {
    return false;
  }
  if (!km_mdns_verify(d)) {
    km_mdns_lied(p->m, &p->a->from, p->now);
    refuse(p, d, "its signature is wrong: it is damaged or forged");
    return false;
  }
  *proven = fresh;
  return true;
}

static bool is_believed(const packet *p, const km_mdns_details *d, const km_mdns_peer *known,
                        bool *proven) {
  bool is_signed = d->has_signature && d->has_time;
  *proven = false;
  if (is_signed && !check_signature(p, d, known, proven)) {
    return false;
  }
  if (!*proven && p->m->mode != KM_MDNS_OPEN) {
    refuse(p, d,
           is_signed ? "its signature is more than a day from our clock: set the clocks"
                     : "it is not signed");
    return false;
  }
  if (!*proven && known != NULL && known->live && known->proven) {
    refuse(p, d, "it is not signed, or long ago, but this key signs");
    return false;
  }
  return true;
}

/* A time keeps older signatures out: that of a clock that is ahead must not keep out those that
 * follow when it was set. */
static uint64_t capped(const packet *p, uint64_t time_ms) {
  uint64_t most = km_mdns_time(p->wall) + FUTURE_MS;
  return time_ms < most ? time_ms : most;
}

/* --- who came --- */

km_ts km_mdns_turn(const km_mdns *m) {
  km_ts size = (km_ts)m->peers.live + 1;
  return CYCLE * (size > 2 ? size : 2) / 2; /* size / 2 cycles */
}

/* Three turns. */
static km_ts grace(const km_mdns *m) {
  km_ts g = 3 * km_mdns_turn(m);
  return g < GRACE_MIN ? GRACE_MIN : g > GRACE_MAX ? GRACE_MAX : g;
}

static void set_times(km_mdns *m, km_mdns_peer *peer, km_ts now) {
  km_ts ttl = (km_ts)peer->ttl_s * KM_NS_PER_S;
  km_ts g = grace(m);
  peer->expires = now + (ttl == 0 ? g + DOUBT_ASKS * DOUBT_STEP : ttl);
  peer->ask_at = now + ttl / 5 * 4; /* RFC 6762 section 5.2 */
  if (ttl == 0 || (km_mdns_is_swarm(m, NULL, now) && g < ttl / 5 * 4)) {
    /* Where questions come all the time, silence says more than a TTL (section 10.5). */
    peer->ask_at = now + g;
  }
  peer->asks = 0;
  if (peer->proven && peer->expires > peer->since + REPEATED_FOR) {
    peer->expires = peer->since + REPEATED_FOR; /* it signs anew before */
  }
  peer->sure_until = peer->leaving ? now + SURE_FOR : peer->sure_until;
  peer->asking = peer->leaving = peer->left = false;
  m->sweep_at = peer->ask_at < m->sweep_at ? peer->ask_at : m->sweep_at;
}

void km_mdns_doubt_all(km_mdns *m, km_ts now) {
  km_ts at = now + grace(m);
  for (km_list *n = m->peers.used.next; n != &m->peers.used; n = n->next) {
    km_mdns_peer *peer = KM_LIST_ITEM(n, km_mdns_peer, used);
    if (peer->live && peer->ask_at > at) {
      peer->ask_at = at;
      m->sweep_at = at < m->sweep_at ? at : m->sweep_at;
    }
  }
}

static void on_evicted(void *ctx, const km_mdns_peer *peer) {
  km_mdns *m = ctx;
  m->ops->lost(m->ctx, &peer->id);
}

static bool is_kept(void *ctx, const km_id *id) {
  return km_mdns_is_wanted_id(ctx, id);
}

static km_mdns_peer *find_or_add(const packet *p, const km_mdns_details *d, bool proven) {
  km_mdns *m = p->m;
  km_udp_addr source = p->a->from;
  const km_mdns_peers_rules rules = {.is_kept = is_kept, .lost = on_evicted, .ctx = m};
  source.port = 0;
  km_mdns_peer *peer = km_mdns_peers_find(&m->peers, &d->id);
  if (peer == NULL && (is_kept(m, &d->id) || km_token_bucket_take(&m->news, p->now))) {
    peer = km_mdns_peers_get(&m->peers, &d->id, &source, proven, &rules);
  }
  if (peer == NULL) {
    refuse(p, d, "its host speaks for too many keys, or there are too many new ones");
    return NULL;
  }
  return peer;
}

static void remember_signature(const packet *p, const km_mdns_details *d, km_mdns_peer *peer) {
  uint8_t digest[KM_MDNS_DIGEST_BYTES];
  km_mdns_digest(d, digest);
  if (peer->time_ms == 0 || memcmp(digest, peer->digest, sizeof digest) != 0) {
    memcpy(peer->digest, digest, sizeof digest);
    peer->time_ms = capped(p, d->time_ms);
    peer->since = p->now;
  }
}

static void accept_peer(const packet *p, const km_mdns_details *d, uint32_t ttl_s) {
  km_mdns *m = p->m;
  km_found found;
  bool proven, changed;
  if (!is_believed(p, d, km_mdns_peers_find(&m->peers, &d->id), &proven)) {
    return;
  }
  km_mdns_peer *peer = find_or_add(p, d, proven);
  if (peer == NULL) {
    return;
  }
  bool was_proven = peer->live && peer->proven;
  if (km_mdns_peers_update(&m->peers, peer, d, km_mdns_same_host(m, &p->a->from), &changed) != 0) {
    if (!peer->live) {
      km_mdns_peers_gone(&m->peers, peer);
    }
    return;
  }
  changed = changed || proven != was_proven;
  peer->proven = proven;
  peer->source = p->a->from;
  peer->source.port = 0;
  if (proven) {
    remember_signature(p, d, peer);
    ttl_s = KM_MDNS_TTL_S; /* TTLs are not signed */
  }
  peer->deaf_until = 0;
  km_mdns_peers_heard(&m->peers, peer, ttl_s < TTL_MAX_S ? ttl_s : TTL_MAX_S, p->now);
  set_times(m, peer, p->now);
  km_mdns_peer_found(peer, p->now, &found);
  m->ops->found(m->ctx, &found, changed);
}

/* --- who went --- */

static bool is_goodbye_signed(const packet *p, const km_mdns_details *d, km_mdns_peer *peer) {
  if (!d->has_signature || !d->has_time || d->time_ms <= peer->time_ms ||
      !km_mdns_is_fresh(d->time_ms, p->wall) || !may_check(p, d, peer)) {
    return false;
  }
  if (!km_mdns_verify_goodbye(d)) {
    km_mdns_lied(p->m, &p->a->from, p->now);
    return false;
  }
  peer->time_ms = capped(p, d->time_ms);
  peer->left = true;
  return true;
}

/* A goodbye takes a second to count (RFC 6762 section 10.1). Of whoever proved itself it has to be
 * signed; else it is asked before, and has three. */
static void hear_goodbye(const packet *p, const km_mdns_details *d) {
  km_mdns *m = p->m;
  km_mdns_peer *peer = km_mdns_peers_find(&m->peers, &d->id);
  if (peer == NULL || !peer->live) {
    return;
  }
  bool sure = !peer->proven || is_goodbye_signed(p, d, peer);
  km_ts end = p->now + (sure ? 1 : 3) * KM_NS_PER_S;
  if (peer->expires <= end || (!sure && p->now < peer->sure_until)) {
    return;
  }
  peer->expires = end;
  peer->leaving = true;
  peer->ask_at = sure ? KM_TS_NEVER : p->now;
  peer->deaf_until = peer->proven ? 0 : p->now + DEAF;
  m->sweep_at = p->now; /* it finds out when it is due */
}

/* --- ourselves, as others say --- */

/* A copy of what we said: repeaters between links do that. */
static bool is_copy(const km_mdns_details *own, const km_mdns_details *said) {
  if (said->has_signature && own->has_signature &&
      memcmp(said->signature, own->signature, sizeof own->signature) == 0) {
    return true;
  }
  if (own->addr_count != said->addr_count) {
    return false;
  }
  for (size_t i = 0; i < own->addr_count; i++) {
    if (!km_udp_addr_equal(&own->addrs[i], &said->addrs[i])) {
      return false;
    }
  }
  return true;
}

static void log_conflict(const packet *p) {
  km_mdns *m = p->m;
  if (m->conflict_logged == 0 || p->now - m->conflict_logged >= CONFLICT_LOG_GAP) {
    m->conflict_logged = p->now;
    KM_LOG(&m->env->logger, KM_LOG_WARN, KM_LOGC_DISCOVERY, NULL, NULL, "mdns conflict", "%s",
           "another host announces our id: is a second copy of this key in use?");
  }
}

/* Our key in somebody else's mouth: what we say of it is said again. */
static void hear_own(const packet *p, const heard *h) {
  km_mdns *m = p->m;
  if (km_mdns_same_host(m, &p->a->from) || !m->own.on) {
    return;
  }
  if (!h->goodbye) {
    if (h->details.addr_count == 0 || is_copy(&m->own.details, &h->details)) {
      return;
    }
    log_conflict(p);
  }
  m->own.details.has_signature = false; /* who believed it may take the last one for a copy */
  if (m->mode != KM_MDNS_TRUSTED && p->l->announces == 0) {
    km_mdns_plan_announce(m, p->l, p->now);
  }
}

/* --- those of whom only a part is known --- */

static km_mdns_partial *find_partial(km_mdns *m, const km_id *id) {
  for (size_t i = 0; i < KM_MDNS_PARTIALS_MAX; i++) {
    if (m->partials[i].used && km_id_equal(&m->partials[i].id, id)) {
      return &m->partials[i];
    }
  }
  return NULL;
}

static km_mdns_partial *new_partial(const packet *p, const km_id *id) {
  km_mdns_partial *room = NULL;
  km_udp_addr source = p->a->from;
  size_t own = 0;
  source.port = 0;
  for (size_t i = 0; i < KM_MDNS_PARTIALS_MAX; i++) {
    km_mdns_partial *at = &p->m->partials[i];
    if (!at->used || p->now - at->since > KM_MDNS_PARTIAL_LIFE) {
      room = at;
    } else {
      own += km_udp_addr_equal(&at->source, &source) ? 1 : 0;
    }
  }
  if (room != NULL && own < KM_MDNS_PARTIALS_PER_SOURCE) {
    *room = (km_mdns_partial){.used = true, .id = *id, .source = source, .since = p->now};
    return room;
  }
  return NULL;
}

static void hear_partial(const packet *p, const heard *h) {
  km_mdns *m = p->m;
  const km_mdns_peer *peer = km_mdns_peers_find(&m->peers, &h->details.id);
  bool live = peer != NULL && peer->live;
  bool wanted = m->watched || km_mdns_is_wanted_id(m, &h->details.id);
  km_mdns_partial *partial = find_partial(m, &h->details.id);
  if (!wanted || (live && !h->has_srv) || (!h->has_srv && partial != NULL)) {
    return;
  }
  partial = partial != NULL ? partial : new_partial(p, &h->details.id);
  if (partial == NULL || h->txt.len > sizeof partial->txt) {
    return;
  }
  partial->ttl_s = h->ttl_s;
  partial->port_count = h->port_count;
  memcpy(partial->ports, h->ports, sizeof partial->ports);
  memcpy(partial->hosts, h->hosts, sizeof partial->hosts);
  if (h->txt.len > 0) {
    memcpy(partial->txt, h->txt.data, h->txt.len);
    partial->txt_len = h->txt.len;
  }
  km_mdns_plan_query(m, partial->since == p->now, p->now);
}

/* Addresses that were missing. */
static void complete_partials(const packet *p) {
  for (size_t i = 0; i < KM_MDNS_PARTIALS_MAX; i++) {
    km_mdns_partial *partial = &p->m->partials[i];
    if (!partial->used || partial->port_count == 0) {
      continue;
    }
    km_mdns_details d = {.id = partial->id};
    add_addrs(p, partial->hosts, partial->ports, partial->port_count, &d);
    if (d.addr_count > 0) {
      km_mdns_item txt = {
          .type = KM_MDNS_TXT, .data = partial->txt, .len = (uint16_t)partial->txt_len};
      km_mdns_read_attributes(&d, &txt);
      partial->used = false;
      accept_peer(p, &d, partial->ttl_s);
    }
  }
}

/* --- all together --- */

/* Nodes with swarm-discovery 0.6.0 send everything with TTL 0, which is a goodbye elsewhere. Theirs
 * come with addresses and without a PTR; a goodbye has a PTR, or is about somebody who gave a TTL
 * before. */
static bool is_part_of_goodbye(const packet *p, const heard *h) {
  const km_mdns_peer *peer = km_mdns_peers_find(&p->m->peers, &h->details.id);
  return h->ttl_s == 0 && peer != NULL &&
         ((peer->live && peer->ttl_s > 0) || peer->deaf_until > p->now);
}

static void hear_peer(const packet *p, const heard *h) {
  km_mdns *m = p->m;
  if (m->key != NULL && km_id_equal(&h->details.id, &m->id)) {
    hear_own(p, h);
  } else if (!is_trusted_or_all(m, &h->details.id)) {
    return;
  } else if (h->goodbye) {
    hear_goodbye(p, &h->details);
  } else if (h->details.addr_count > 0) {
    if (!is_part_of_goodbye(p, h)) {
      km_mdns_partial *partial = find_partial(m, &h->details.id);
      if (partial != NULL) {
        partial->used = false;
      }
      accept_peer(p, &h->details, h->ttl_s);
    }
  } else if (h->has_srv ? h->ttl_s > 0 : h->there) {
    hear_partial(p, h);
  }
}

/* Answers of others who are there may make ours needless. */
static void count_answers(const packet *p, const heard *h) {
  km_mdns_on_link *l = p->l;
  const km_mdns_peer *peer = km_mdns_peers_find(&p->m->peers, &h->details.id);
  if (l->due == 0 || !l->yields || h->details.addr_count == 0 || peer == NULL || !peer->live) {
    return;
  }
  for (size_t i = 0; i < l->heard; i++) {
    if (km_id_equal(&l->heard_of[i], &h->details.id)) {
      return;
    }
  }
  l->heard_of[l->heard++] = h->details.id;
  if (l->heard >= KM_MDNS_YIELD_TO) {
    l->due = 0;
    l->heard = 0;
    l->silent_since = l->silent_since == 0 ? p->now : l->silent_since;
  }
}

void km_mdns_hear_response(km_mdns *m, km_mdns_on_link *l, const km_mdns_arrival *a,
                           const uint8_t *bytes, size_t len, km_ts now, km_wall wall) {
  packet p = {.m = m, .l = l, .a = a, .bytes = bytes, .len = len, .now = now, .wall = wall};
  read_records(&p);
  for (size_t i = 0; i < p.id_count; i++) {
    heard h;
    gather(&p, i, &h);
    hear_peer(&p, &h);
    count_answers(&p, &h);
  }
  if (p.id_count == 0) {
    complete_partials(&p);
  }
}

/* --- time --- */

/* Asked by name again and again, in vain. */
static bool is_silent(const km_mdns *m, const km_mdns_peer *peer, km_ts now) {
  return peer->asks >= DOUBT_ASKS && peer->ask_at <= now && km_mdns_is_swarm(m, NULL, now);
}

static void ask_peer(km_mdns *m, km_mdns_peer *peer, km_ts now) {
  km_ts tenth = (km_ts)peer->ttl_s * KM_NS_PER_S / 10;
  bool swarm = km_mdns_is_swarm(m, NULL, now);
  peer->ask_at = now + (swarm || tenth == 0 || peer->leaving ? DOUBT_STEP : tenth);
  if (m->watched || peer->leaving || km_mdns_is_wanted_id(m, &peer->id)) {
    peer->asks++;
    peer->asking = true;
    if (peer->proven) {
      km_mdns_plan_names(m, false, now);
    } else {
      km_mdns_plan_query(m, false, now); /* iroh's nodes know no questions by name */
    }
  }
}

/* The swarm may have grown since it was heard. */
static void prolong(km_mdns *m, km_mdns_peer *peer) {
  km_ts until = peer->heard + grace(m);
  if (peer->leaving || peer->ask_at >= until || !km_mdns_is_swarm(m, NULL, peer->ask_at)) {
    return;
  }
  peer->ask_at = until;
  if (peer->ttl_s == 0) {
    peer->expires = until + DOUBT_ASKS * DOUBT_STEP;
  }
}

/* Of who never proved itself nothing is kept but that it said goodbye, for a moment. */
static void forget(km_mdns *m, km_mdns_peer *peer, km_ts now) {
  if (peer->deaf_until > now) {
    m->sweep_at = peer->deaf_until < m->sweep_at ? peer->deaf_until : m->sweep_at;
  } else {
    peer->deaf_until = 0;
  }
  if (peer->live || peer->time_ms == 0) {
    km_mdns_peers_gone(&m->peers, peer);
  }
}

static void sweep_peer(km_mdns *m, km_mdns_peer *peer, km_ts now) {
  prolong(m, peer);
  if (peer->expires <= now || is_silent(m, peer, now)) {
    km_id id = peer->id;
    peer->left = peer->left || peer->leaving;
    forget(m, peer, now);
    m->ops->lost(m->ctx, &id);
    return;
  }
  if (peer->ask_at <= now) {
    ask_peer(m, peer, now);
  }
  km_ts next = peer->ask_at < peer->expires ? peer->ask_at : peer->expires;
  m->sweep_at = next < m->sweep_at ? next : m->sweep_at;
}

void km_mdns_sweep(km_mdns *m, km_ts now) {
  if (now < m->sweep_at) {
    return;
  }
  m->sweep_at = KM_TS_NEVER;
  for (km_list *at = m->peers.used.next; at != &m->peers.used;) {
    km_mdns_peer *peer = KM_LIST_ITEM(at, km_mdns_peer, used);
    at = at->next;
    if (peer->live) {
      sweep_peer(m, peer, now);
    } else {
      forget(m, peer, now);
    }
  }
  if (m->sweep_at != KM_TS_NEVER && m->sweep_at < now + SWEEP_GAP) {
    m->sweep_at = now + SWEEP_GAP; /* many at once rather than each by itself */
  }
}
