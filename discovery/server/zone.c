#include "discovery/server/zone.h"

#include <string.h>
#include <strings.h>

#include "base/enc.h"
#include "discovery/server/zone_packet.h"
#include "discovery/server/zone_records.h"

/* The origin "." is the authority for what it has only: names below keys, static records, and the
 * root itself. Saying NXDOMAIN to everything else would take the whole DNS from whoever asks us. */

#define MAX_CHAIN 8 /* CNAMEs that are followed */
#define APEX_TTL_S 3600
#define ANY_TTL_S 3600

enum { SOA_SERIAL = 1, SOA_REFRESH_S = 3600, SOA_RETRY_S = 600, SOA_EXPIRE_S = 604800 };

typedef struct origin {
  km_dns_name name, mname, rname;
  bool has_ns;
} origin;

struct km_zone {
  const km_env *env;
  int (*packet)(void *ctx, const km_id *id, km_pkarr *ret, int64_t *stored);
  void *ctx;
  uint32_t negative_ttl_s;
  size_t origin_count;
  origin origins[KM_ZONE_MAX_ORIGINS];
  km_zone_records records;
  km_zone_stats stats;
};

/* --- making one ------------------------------------------------------------------------------- */

static bool make_name(km_dns_name *ret, const char *text, const char *label,
                      const km_dns_name *origin_name) {
  km_dns_name first;
  if (text != NULL) {
    return km_dns_name_parse(ret, text, strlen(text));
  }
  return km_dns_name_parse(&first, label, strlen(label)) &&
         km_dns_name_join(ret, &first, first.len - 1u, origin_name);
}

static int add_origin(km_zone *z, const km_zone_config *config, const char *text, km_errinfo *err) {
  origin *o = &z->origins[z->origin_count];
  if (!km_dns_name_parse(&o->name, text, strlen(text))) {
    return km_fail(err, KM_ERR_INVALID, "'%.64s' is not a domain name", text);
  }
  for (size_t i = 0; i < z->origin_count; i++) {
    if (km_dns_name_equal(&z->origins[i].name, &o->name)) {
      return km_fail(err, KM_ERR_INVALID, "the origin '%.64s' is there twice", text);
    }
  }
  if (!make_name(&o->mname, config->soa_mname, "ns", &o->name) ||
      !make_name(&o->rname, config->soa_rname, "hostmaster", &o->name)) {
    return km_fail(err, KM_ERR_INVALID,
                   "the names in the SOA record of '%.64s' are no domain names, or too long", text);
  }
  z->origin_count++;
  return 0;
}

int km_zone_new(km_zone **ret, const km_zone_config *config, km_errinfo *err) {
  if (config->origin_count == 0 || config->origin_count > KM_ZONE_MAX_ORIGINS) {
    return km_fail(err, KM_ERR_INVALID, "a zone has 1 to %d origins", KM_ZONE_MAX_ORIGINS);
  }
  km_zone *z = km_env_zalloc(config->env, 1, sizeof *z);
  if (z == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  z->env = z->records.env = config->env;
  z->packet = config->packet;
  z->ctx = config->ctx;
  z->negative_ttl_s = config->negative_ttl_s;
  for (size_t i = 0; i < config->origin_count; i++) {
    int rv = add_origin(z, config, config->origins[i], err);
    if (rv != 0) {
      km_zone_free(z);
      return rv;
    }
  }
  *ret = z;
  return 0;
}

void km_zone_free(km_zone *z) {
  if (z != NULL) {
    km_zone_records_clear(&z->records);
    km_env_free(z->env, z);
  }
}

/* --- whose a name is -------------------------------------------------------------------------- */

/* The nearest origin above `name`, and where it begins in it. NULL: we are not the authority. */
static origin *find_origin(km_zone *z, const km_dns_name *name, size_t *ret_at) {
  origin *found = NULL;
  for (size_t i = 0; i < z->origin_count; i++) {
    int at = km_dns_name_under(name, &z->origins[i].name);
    if (at >= 0 && (found == NULL || (size_t)at < *ret_at)) {
      found = &z->origins[i];
      *ret_at = (size_t)at;
    }
  }
  return found;
}

/* The label that ends at `end`: where it begins. */
static size_t last_label(const km_dns_name *name, size_t end) {
  size_t at = 0, next = 0;
  while (next < end) {
    at = next;
    next += name->bytes[at] + 1u;
  }
  return at;
}

/* Whether the label before `end` is a key. */
static bool read_key(const km_dns_name *name, size_t end, km_id *ret) {
  if (end == 0) {
    return false;
  }
  size_t at = last_label(name, end);
  if (name->bytes[at] != KM_ID_BASE32_LEN) {
    return false;
  }
  char text[KM_ID_BASE32_LEN];
  for (size_t i = 0; i < sizeof text; i++) {
    uint8_t c = name->bytes[at + 1 + i];
    text[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
  }
  return km_base32_decode(KM_BASE32_Z, ret->bytes, text, sizeof text);
}

static const km_dns_name root = {.len = 1};

/* RFC 4592: it would answer for other names. */
static bool has_wildcard(const km_dns_name *name) {
  for (size_t at = 0; name->bytes[at] != 0; at += name->bytes[at] + 1u) {
    if (name->bytes[at] == 1 && name->bytes[at + 1] == '*') {
      return true;
    }
  }
  return false;
}

int km_zone_add(km_zone *z, const char *owner, const char *type, const char *value, uint32_t ttl_s,
                km_errinfo *err) {
  km_dns_name name;
  if (!km_dns_name_parse(&name, owner, strlen(owner))) {
    return km_fail(err, KM_ERR_INVALID, "'%.64s' is not a domain name", owner);
  }
  size_t at;
  origin *o = find_origin(z, &name, &at);
  if (o == NULL) {
    return km_fail(err, KM_ERR_INVALID, "'%.64s' is below none of the origins", owner);
  }
  km_id id;
  if (read_key(&name, at, &id)) {
    return km_fail(err, KM_ERR_INVALID, "'%.64s' is below a key: it answers for itself", owner);
  }
  if (has_wildcard(&name)) {
    return km_fail(err, KM_ERR_INVALID,
                   "'%.64s' is a wildcard, which is not answered here: write each name", owner);
  }
  bool ns = strcasecmp(type, "NS") == 0;
  bool cname = strcasecmp(type, "CNAME") == 0;
  if ((ns && at != 0) || (cname && at == 0)) {
    return km_fail(err, KM_ERR_INVALID,
                   ns ? "'%.64s' cannot be delegated: NS records belong to an origin"
                      : "'%.64s' is an origin: it cannot be a CNAME",
                   owner);
  }
  int rv = km_zone_records_add(&z->records, &name, type, value, ttl_s, err);
  o->has_ns |= rv == 0 && ns;
  return rv;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Whether others can find out where a name server of ours is; it is not our business elsewhere. */
static bool has_address(const km_zone *z, const km_dns_name *name) {
  bool ours = false;
  for (size_t i = 0; i < z->origin_count; i++) { /* the root is everybody's */
    ours |= z->origins[i].name.len > 1 && km_dns_name_under(name, &z->origins[i].name) >= 0;
  }
  size_t first;
  bool exists;
  size_t count = km_zone_records_find(&z->records, name, &first, &exists);
  for (size_t i = first; i < first + count; i++) {
    uint16_t type = z->records.list[i]->type;
    if (type == KM_DNS_A || type == KM_DNS_AAAA) {
      return true;
    }
  }
  return !ours;
}

static const char *text_of(char ret[KM_DNS_NAME_MAX], const uint8_t *bytes) {
  size_t len = 0;
  for (size_t at = 0; bytes[at] != 0; at += bytes[at] + 1u) {
    memcpy(ret + len, bytes + at + 1, bytes[at]);
    len += bytes[at];
    ret[len++] = '.';
  }
  ret[len] = '\0';
  return ret;
}

int km_zone_check(const km_zone *z, km_errinfo *err) {
  char text[KM_DNS_NAME_MAX], server[KM_DNS_NAME_MAX];
  for (size_t i = 0; i < z->records.count; i++) {
    const km_zone_record *r = z->records.list[i];
    km_dns_name name = {.len = (uint8_t)r->data_len};
    if (r->type == KM_DNS_NS) {
      memcpy(name.bytes, r->data, r->data_len);
      if (!has_address(z, &name)) {
        return km_fail(err, KM_ERR_INVALID,
                       "the name server %.64s is below an origin and has neither A nor AAAA: add "
                       "\"%.64s 3600 A <address>\"",
                       text_of(text, name.bytes), text);
      }
    }
  }
  for (size_t i = 0; i < z->origin_count; i++) {
    const origin *o = &z->origins[i];
    if (o->name.len > 1 && !o->has_ns && !has_address(z, &o->mname)) {
      return km_fail(err, KM_ERR_STATE,
                     "%.64s has no NS in records, and %.64s, which is said to be its name server, "
                     "no address: a delegation needs NS, and A or AAAA of it",
                     text_of(text, o->name.bytes), text_of(server, o->mname.bytes));
    }
  }
  return 0;
}

/* --- answering -------------------------------------------------------------------------------- */

/* One question on its way; names change when CNAMEs are followed. */
typedef struct walk {
  km_zone *z;
  const km_dns_query *query;
  km_dns_reply *reply;
  origin *origin;
  size_t origin_at; /* in `name` */
  km_dns_name name;
  const km_dns_name *owner; /* of records written: NULL while it is the question's */
  bool loaded;              /* `packet` is there */
  km_pkarr packet;
} walk;

/* What looking at one name gave. */
typedef struct step {
  bool exists;
  size_t count; /* records written */
  bool has_target;
  km_dns_name target;
  uint32_t target_ttl;
  bool failed;  /* the data is damaged, or cannot be read */
  bool outside; /* nothing of ours */
} step;

static void write_soa(walk *w, km_dns_section section, uint32_t ttl_s) {
  const origin *o = w->origin;
  size_t at = km_dns_reply_record(w->reply, section, &o->name, KM_DNS_SOA, ttl_s);
  km_dns_reply_name(w->reply, &o->mname, true);
  km_dns_reply_name(w->reply, &o->rname, true);
  const uint32_t numbers[] = {SOA_SERIAL, SOA_REFRESH_S, SOA_RETRY_S, SOA_EXPIRE_S,
                              w->z->negative_ttl_s};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    const uint8_t bytes[] = {(uint8_t)(numbers[i] >> 24), (uint8_t)(numbers[i] >> 16),
                             (uint8_t)(numbers[i] >> 8), (uint8_t)numbers[i]};
    km_dns_reply_bytes(w->reply, bytes, sizeof bytes);
  }
  km_dns_reply_record_end(w->reply, at);
}

/* An origin's own records: SOA, and NS where none is configured. */
static size_t write_apex(walk *w) {
  if (w->query->type == KM_DNS_SOA) {
    write_soa(w, KM_DNS_ANSWER, APEX_TTL_S);
    return 1;
  }
  if (w->query->type == KM_DNS_NS && !w->origin->has_ns) {
    size_t at =
        km_dns_reply_record(w->reply, KM_DNS_ANSWER, &w->origin->name, KM_DNS_NS, APEX_TTL_S);
    km_dns_reply_name(w->reply, &w->origin->mname, true);
    km_dns_reply_record_end(w->reply, at);
    return 1;
  }
  return 0;
}

static void look_in_records(walk *w, step *ret) {
  size_t first;
  size_t count = km_zone_records_find(&w->z->records, &w->name, &first, &ret->exists);
  for (size_t i = first; i < first + count; i++) {
    const km_zone_record *record = w->z->records.list[i];
    if (record->type == w->query->type) {
      size_t at =
          km_dns_reply_record(w->reply, KM_DNS_ANSWER, w->owner, record->type, record->ttl_s);
      km_dns_reply_bytes(w->reply, record->data, record->data_len);
      km_dns_reply_record_end(w->reply, at);
      ret->count++;
    } else if (record->type == KM_DNS_CNAME) {
      memcpy(ret->target.bytes, record->data, record->data_len);
      ret->target.len = (uint8_t)record->data_len;
      ret->target_ttl = record->ttl_s;
      ret->has_target = true;
    }
  }
  if (w->origin_at == 0) {
    ret->exists = true;
    ret->count += write_apex(w);
  } else if (!ret->exists && w->origin->name.len == 1) {
    ret->outside = true;
  }
}

/* Of the name of a CNAME in a packet: what is below the packet's key is below our origin. */
static void move_target(const walk *w, const km_id *id, km_dns_name *target) {
  km_id other;
  if (read_key(target, target->len - 1u, &other) && km_id_equal(&other, id)) {
    km_dns_name whole = *target;
    if (km_dns_name_join(&whole, target, target->len - 1u, &w->origin->name)) {
      *target = whole;
    }
  }
}

static void look_in_packet(walk *w, const km_id *id, step *ret) {
  if (w->loaded && !km_id_equal(&w->packet.id, id)) {
    ret->outside = true; /* one packet a question: whoever asks can go on by itself */
    return;
  }
  int there = w->loaded ? 1 : w->z->packet(w->z->ctx, id, &w->packet, NULL);
  if (there <= 0) {
    ret->failed = there < 0;
    return;
  }
  w->loaded = true;
  km_dns_name inner;
  if (!km_dns_name_join(&inner, &w->name, w->origin_at, &root)) {
    return; /* cannot be: it is shorter than the name itself */
  }
  km_zone_packet_found found;
  km_zone_packet_find(&found, &w->packet, &inner, w->query->type, w->reply, w->owner);
  bool apex = last_label(&w->name, w->origin_at) == 0;
  ret->exists = found.exists || apex;
  ret->count = found.count;
  ret->failed = found.damaged;
  ret->has_target = found.has_target;
  if (found.has_target) {
    ret->target = found.target;
    ret->target_ttl = found.target_ttl;
    move_target(w, id, &ret->target);
  }
}

static void look(walk *w, step *ret) {
  memset(ret, 0, sizeof *ret);
  w->origin = find_origin(w->z, &w->name, &w->origin_at);
  km_id id;
  if (w->origin == NULL) {
    ret->outside = true;
  } else if (read_key(&w->name, w->origin_at, &id)) {
    look_in_packet(w, &id, ret);
  } else {
    look_in_records(w, ret);
  }
}

/* RFC 8482 section 4.2: to ANY one record that is of no use to anybody. */
static void write_any(walk *w) {
  static const uint8_t hinfo[] = "\x07RFC8482";
  size_t at = km_dns_reply_record(w->reply, KM_DNS_ANSWER, w->owner, KM_DNS_HINFO, ANY_TTL_S);
  km_dns_reply_bytes(w->reply, hinfo, sizeof hinfo); /* its NUL is the second, empty string */
  km_dns_reply_record_end(w->reply, at);
}

static void write_cname(walk *w, const step *s) {
  size_t at = km_dns_reply_record(w->reply, KM_DNS_ANSWER, w->owner, KM_DNS_CNAME, s->target_ttl);
  km_dns_reply_name(w->reply, &s->target, true);
  km_dns_reply_record_end(w->reply, at);
}

/* Nothing of the type, or nothing at all: the SOA says for how long that holds (RFC 2308). */
static km_dns_rcode say_no(walk *w, bool exists) {
  uint32_t ttl = w->z->negative_ttl_s < APEX_TTL_S ? w->z->negative_ttl_s : APEX_TTL_S;
  write_soa(w, KM_DNS_AUTHORITY, ttl);
  return exists ? KM_DNS_NOERROR : KM_DNS_NXDOMAIN;
}

static bool was_there(const km_dns_name *list, unsigned count, const km_dns_name *name) {
  for (unsigned i = 0; i < count; i++) {
    if (km_dns_name_equal(&list[i], name)) {
      return true;
    }
  }
  return false;
}

/* The code is that of the last name (RFC 6604). */
static km_dns_rcode answer_question(walk *w) {
  km_dns_name chain[MAX_CHAIN]; /* names that led to CNAMEs */
  for (unsigned hop = 0;; hop++) {
    step s;
    look(w, &s);
    if (s.failed) {
      return KM_DNS_SERVFAIL;
    }
    if (s.outside) {
      return hop == 0 ? KM_DNS_REFUSED : KM_DNS_NOERROR;
    }
    if (s.count > 0) {
      return KM_DNS_NOERROR;
    }
    if (s.exists && w->query->type == KM_DNS_ANY) {
      write_any(w);
      return KM_DNS_NOERROR;
    }
    if (!s.has_target) {
      return say_no(w, s.exists);
    }
    write_cname(w, &s);
    chain[hop] = w->name;
    if (hop + 1 == MAX_CHAIN || was_there(chain, hop + 1, &s.target)) {
      return KM_DNS_NOERROR; /* a loop: what is said so far is true */
    }
    w->name = s.target;
    w->owner = &w->name;
  }
}

/* What kind of question it is, before its name is looked at. */
static km_dns_rcode check_kind(const km_dns_query *q) {
  if (q->edns && q->version != 0) {
    return KM_DNS_BADVERS;
  }
  if (q->type == 0 || q->type == KM_DNS_OPT) {
    return KM_DNS_FORMERR;
  }
  if (q->qclass != KM_DNS_IN || q->type == KM_DNS_AXFR || q->type == KM_DNS_IXFR) {
    return KM_DNS_REFUSED;
  }
  if (q->type >= 128 && q->type < KM_DNS_ANY) {
    return KM_DNS_NOTIMP;
  }
  return KM_DNS_NOERROR;
}

static void count(km_zone_stats *stats, km_dns_rcode rcode, bool any_answer) {
  switch (rcode) {
  case KM_DNS_NOERROR:
    stats->answered += any_answer;
    stats->nodata += !any_answer;
    break;
  case KM_DNS_NXDOMAIN:
    stats->nxdomain++;
    break;
  case KM_DNS_REFUSED:
    stats->refused++;
    break;
  case KM_DNS_FORMERR:
    stats->formerr++;
    break;
  case KM_DNS_SERVFAIL:
    stats->servfail++;
    break;
  case KM_DNS_NOTIMP:
  case KM_DNS_BADVERS:
  default:
    stats->notimp++;
    break;
  }
}

static size_t limit_of(const km_dns_query *q, km_zone_transport transport) {
  if (transport != KM_ZONE_UDP) {
    return KM_ZONE_ANSWER_MAX;
  }
  return q->payload < KM_DNS_UDP_MAX ? q->payload : KM_DNS_UDP_MAX;
}

size_t km_zone_answer(km_zone *z, const uint8_t *query, size_t len, km_zone_transport transport,
                      uint8_t *ret, uint32_t *ret_ttl_s) {
  km_dns_query q;
  km_dns_rcode rcode;
  if (ret_ttl_s != NULL) {
    *ret_ttl_s = 0;
  }
  if (!km_dns_query_read(&q, &rcode, query, len)) {
    return 0;
  }
  z->stats.queries++;
  km_dns_reply reply;
  km_dns_reply_begin(&reply, ret, KM_ZONE_ANSWER_MAX, &q);
  if (rcode == KM_DNS_NOERROR) {
    rcode = check_kind(&q);
  }
  bool authoritative = false;
  if (rcode == KM_DNS_NOERROR) {
    walk w; /* its packet is large, and clearing it costs as much as the answer */
    w.z = z;
    w.query = &q;
    w.reply = &reply;
    w.name = q.name;
    w.owner = NULL;
    w.loaded = false;
    rcode = answer_question(&w);
    authoritative = rcode == KM_DNS_NOERROR || rcode == KM_DNS_NXDOMAIN;
  }
  if (rcode == KM_DNS_SERVFAIL || (reply.full && transport != KM_ZONE_UDP)) {
    rcode = KM_DNS_SERVFAIL;
    authoritative = false;
    km_dns_reply_clear(&reply);
  }
  bool truncated, any_answer = reply.counts[KM_DNS_ANSWER] > 0;
  if (ret_ttl_s != NULL && reply.least_ttl != UINT32_MAX) {
    *ret_ttl_s = reply.least_ttl;
  }
  size_t n = km_dns_reply_end(&reply, rcode, authoritative, limit_of(&q, transport), &truncated);
  count(&z->stats, rcode, any_answer);
  z->stats.truncated += truncated;
  return n;
}

void km_zone_get_stats(const km_zone *z, km_zone_stats *ret) {
  *ret = z->stats;
}
