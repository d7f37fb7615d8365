#include "discovery/server/zone_records.h"

#include <string.h>
#include <strings.h>

#include "base/ip_text.h"
#include "base/wire.h"
#include "discovery/server/dns_reply.h"
#include "discovery/server/zone.h"

#define DATA_MAX 4096 /* bytes of one record: more than any TXT in use has */

/* --- values ----------------------------------------------------------------------------------- */

/* Words of a value: apart by blanks, or in quotation marks. */
typedef struct words {
  const char *at;
} words;

/* What follows a backslash, RFC 1035 section 5.1: three digits, or the character itself. 0: it is
 * damaged. */
static uint8_t unescape(words *w) {
  const char *d = w->at;
  if (d[0] < '0' || d[0] > '9') {
    w->at += d[0] != '\0';
    return (uint8_t)d[0];
  }
  if (d[1] < '0' || d[1] > '9' || d[2] < '0' || d[2] > '9') {
    return 0;
  }
  int c = (d[0] - '0') * 100 + (d[1] - '0') * 10 + (d[2] - '0');
  w->at += 3;
  return c <= 255 ? (uint8_t)c : 0;
}

/* The next word with its escapes undone. Its length, -1: there is none, -2: it is damaged or longer
 * than `cap`. */
static int next_word(words *w, uint8_t *ret, size_t cap) {
  while (*w->at == ' ' || *w->at == '\t') {
    w->at++;
  }
  if (*w->at == '\0') {
    return -1;
  }
  bool quoted = *w->at == '"';
  w->at += quoted;
  size_t len = 0;
  while (*w->at != '\0' && (quoted ? *w->at != '"' : *w->at != ' ' && *w->at != '\t')) {
    uint8_t c = (uint8_t)*w->at++;
    c = c == '\\' ? unescape(w) : c;
    if (c == 0) {
      return -2;
    }
    if (len == cap) {
      return -2;
    }
    ret[len++] = c;
  }
  if (quoted) {
    if (*w->at != '"') {
      return -2;
    }
    w->at++;
  }
  return (int)len;
}

/* A word as it stands, for names and addresses: their escapes are read later. */
static size_t raw_word(words *w, const char **ret) {
  w->at += strspn(w->at, " \t");
  *ret = w->at;
  size_t len = strcspn(w->at, " \t");
  w->at += len;
  return len;
}

static bool put_number(words *w, km_wr *out, unsigned bytes) {
  const char *text;
  size_t len = raw_word(w, &text);
  uint32_t value = 0;
  if (len == 0 || len > 5) {
    return false;
  }
  for (size_t i = 0; i < len; i++) {
    if (text[i] < '0' || text[i] > '9') {
      return false;
    }
    value = value * 10 + (uint32_t)(text[i] - '0');
  }
  km_wr_be(out, value, bytes);
  return value >> (8 * bytes) == 0;
}

static bool put_name(words *w, km_wr *out) {
  const char *text;
  size_t len = raw_word(w, &text);
  km_dns_name name;
  if (!km_dns_name_parse(&name, text, len)) {
    return false;
  }
  km_wr_bytes(out, name.bytes, name.len);
  return true;
}

static bool read_a(words *w, km_wr *out) {
  const char *text;
  size_t len = raw_word(w, &text);
  uint8_t ip[4];
  if (!km_ip4_parse(ip, text, len)) {
    return false;
  }
  km_wr_bytes(out, ip, sizeof ip);
  return true;
}

static bool read_aaaa(words *w, km_wr *out) {
  const char *text;
  size_t len = raw_word(w, &text);
  uint8_t ip[16];
  if (!km_ip6_parse(ip, text, len)) {
    return false;
  }
  km_wr_bytes(out, ip, sizeof ip);
  return true;
}

static bool read_mx(words *w, km_wr *out) {
  return put_number(w, out, 2) && put_name(w, out);
}

/* Priority, weight, port, target. */
static bool read_srv(words *w, km_wr *out) {
  for (int i = 0; i < 3; i++) {
    if (!put_number(w, out, 2)) {
      return false;
    }
  }
  return put_name(w, out);
}

static bool read_txt(words *w, km_wr *out) {
  uint8_t text[255];
  int len = next_word(w, text, sizeof text);
  if (len < 0) {
    return false;
  }
  for (; len >= 0; len = next_word(w, text, sizeof text)) {
    km_wr_u8(out, (uint8_t)len);
    km_wr_bytes(out, text, (size_t)len);
  }
  return len == -1;
}

/* RFC 8659 section 4.1: flags, tag, and the value that fills the rest. */
static bool read_caa(words *w, km_wr *out) {
  uint8_t tag[15], value[1024];
  if (!put_number(w, out, 1)) {
    return false;
  }
  int tag_len = next_word(w, tag, sizeof tag);
  int len = next_word(w, value, sizeof value);
  if (tag_len <= 0 || len < 0) {
    return false;
  }
  for (int i = 0; i < tag_len; i++) {
    bool letter = (tag[i] | 0x20) >= 'a' && (tag[i] | 0x20) <= 'z';
    if (!letter && (tag[i] < '0' || tag[i] > '9')) {
      return false;
    }
  }
  km_wr_u8(out, (uint8_t)tag_len);
  km_wr_bytes(out, tag, (size_t)tag_len);
  km_wr_bytes(out, value, (size_t)len);
  return true;
}

static const struct kind {
  const char *name;
  uint16_t type;
  bool (*read)(words *w, km_wr *out);
  const char *form;
} kinds[] = {
    {"A", KM_DNS_A, read_a, "an IPv4 address"},
    {"AAAA", KM_DNS_AAAA, read_aaaa, "an IPv6 address"},
    {"NS", KM_DNS_NS, put_name, "a name"},
    {"CNAME", KM_DNS_CNAME, put_name, "a name"},
    {"TXT", KM_DNS_TXT, read_txt, "strings of at most 255 bytes, in quotation marks"},
    {"MX", KM_DNS_MX, read_mx, "a preference and a name"},
    {"SRV", KM_DNS_SRV, read_srv, "priority, weight, port and a name"},
    {"CAA", KM_DNS_CAA, read_caa, "flags, a tag and a value in quotation marks"},
};

static const struct kind *find_kind(const char *type) {
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (strcasecmp(type, kinds[i].name) == 0) {
      return &kinds[i];
    }
  }
  return NULL;
}

/* --- the list --------------------------------------------------------------------------------- */

/* Labels from the root on, so that what is below a name begins with the name's key. */
static uint8_t make_key(uint8_t *ret, const km_dns_name *owner) {
  km_dns_name lower = *owner;
  km_dns_name_lower(&lower);
  size_t end = (size_t)owner->len - 1; /* without the root's byte */
  size_t to = end;
  for (size_t at = 0; at < end;) {
    size_t n = lower.bytes[at] + 1u;
    to -= n;
    memcpy(ret + to, lower.bytes + at, n);
    at += n;
  }
  return (uint8_t)end;
}

static int compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len) {
  size_t least = a_len < b_len ? a_len : b_len;
  int order = least > 0 ? memcmp(a, b, least) : 0;
  return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

/* The first that is not before `key`. */
static size_t lower_bound(const km_zone_records *r, const uint8_t *key, size_t key_len) {
  size_t low = 0, high = r->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (compare(r->list[middle]->key, r->list[middle]->key_len, key, key_len) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static bool has_key(const km_zone_record *record, const uint8_t *key, size_t key_len) {
  return record->key_len == key_len && (key_len == 0 || memcmp(record->key, key, key_len) == 0);
}

size_t km_zone_records_find(const km_zone_records *r, const km_dns_name *owner, size_t *ret_first,
                            bool *ret_exists) {
  uint8_t key[KM_DNS_NAME_MAX];
  size_t key_len = make_key(key, owner);
  size_t first = lower_bound(r, key, key_len), end = first;
  while (end < r->count && has_key(r->list[end], key, key_len)) {
    end++;
  }
  *ret_first = first;
  *ret_exists = first < r->count && r->list[first]->key_len >= key_len &&
                (key_len == 0 || memcmp(r->list[first]->key, key, key_len) == 0);
  return end - first;
}

void km_zone_records_clear(km_zone_records *r) {
  for (size_t i = 0; i < r->count; i++) {
    km_env_free(r->env, r->list[i]);
  }
  km_env_free(r->env, r->list);
  r->list = NULL;
  r->count = r->cap = 0;
}

static int grow(km_zone_records *r) {
  if (r->count < r->cap) {
    return 0;
  }
  if (r->count >= KM_ZONE_MAX_RECORDS) {
    return KM_ERR_LIMIT;
  }
  size_t cap = r->cap == 0 ? 16 : r->cap * 2;
  km_zone_record **list = km_env_realloc(r->env, r->list, cap, sizeof(km_zone_record *));
  if (list == NULL) {
    return KM_ERR_NOMEM;
  }
  r->list = list;
  r->cap = cap;
  return 0;
}

/* RFC 1034 section 3.6.2: where a CNAME is, nothing else is. The same record twice is one. */
static int check_neighbours(const km_zone_records *r, const km_zone_record *record, size_t at,
                            bool *ret_same, km_errinfo *err) {
  *ret_same = false;
  for (; at < r->count && has_key(r->list[at], record->key, record->key_len); at++) {
    const km_zone_record *other = r->list[at];
    if (other->type == record->type && other->data_len == record->data_len &&
        memcmp(other->data, record->data, record->data_len) == 0) {
      *ret_same = true;
      return 0;
    }
    if (other->type == record->type && other->ttl_s != record->ttl_s) { /* RFC 2181 section 5.2 */
      return km_fail(err, KM_ERR_INVALID,
                     "records of one name and type have one TTL: %u here, %u before",
                     (unsigned)record->ttl_s, (unsigned)other->ttl_s);
    }
    if (other->type == KM_DNS_CNAME || record->type == KM_DNS_CNAME) {
      return km_fail(err, KM_ERR_INVALID, "a CNAME stands alone: its owner has other records");
    }
  }
  return 0;
}

static int insert(km_zone_records *r, km_zone_record *record, km_errinfo *err) {
  size_t at = lower_bound(r, record->key, record->key_len);
  bool same;
  int rv = check_neighbours(r, record, at, &same, err);
  if (rv != 0) {
    return rv;
  }
  if (same) {
    km_env_free(r->env, record);
    return 0;
  }
  rv = grow(r);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  memmove(&r->list[at + 1], &r->list[at], (r->count - at) * sizeof r->list[0]);
  r->list[at] = record;
  r->count++;
  return 0;
}

int km_zone_records_add(km_zone_records *r, const km_dns_name *owner, const char *type,
                        const char *value, uint32_t ttl_s, km_errinfo *err) {
  const struct kind *kind = find_kind(type);
  if (kind == NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "'%.16s' is not a type that a static record can have: A, AAAA, NS, CNAME, TXT, "
                   "MX, SRV or CAA",
                   type);
  }
  uint8_t data[DATA_MAX];
  km_wr out = km_wr_init(data, sizeof data);
  words w = {value};
  if (!kind->read(&w, &out) || out.failed || w.at[strspn(w.at, " \t")] != '\0') {
    return km_fail(err, KM_ERR_INVALID, "'%.48s' is no %s record: write %s", value, kind->name,
                   kind->form);
  }
  size_t len = (size_t)(out.at - data);
  km_zone_record *record = km_env_zalloc(r->env, 1, sizeof *record + len);
  if (record == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  record->key_len = make_key(record->key, owner);
  record->type = kind->type;
  record->ttl_s = ttl_s;
  record->data_len = (uint32_t)len;
  memcpy(record->data, data, len);
  int rv = insert(r, record, err);
  if (rv != 0) {
    km_env_free(r->env, record);
  }
  return rv;
}
