#include "discovery/mdns_packet.h"

#include <string.h>

#define HEADER 12
#define FLAG_RESPONSE 0x8000U
#define FLAG_AUTHORITATIVE 0x0400U
#define FLAG_TRUNCATED 0x0200U
#define OPCODE_AND_RCODE 0x780fU
#define TOP_BIT 0x8000U
#define POINTER 0xc0U
#define POINTER_MAX 0x3fffU
#define HOPS_MAX 8 /* pointers of one name: what compresses names needs a few */

static uint8_t lower(uint8_t c) {
  return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static uint16_t get16(const uint8_t *p) {
  return (uint16_t)((p[0] << 8) | p[1]);
}

static uint32_t get32(const uint8_t *p) {
  return ((uint32_t)get16(p) << 16) | get16(p + 2);
}

static void put16(uint8_t *p, uint16_t value) {
  p[0] = (uint8_t)(value >> 8);
  p[1] = (uint8_t)value;
}

/* --- names --- */

static bool append_label(km_mdns_name *name, const uint8_t *label, size_t len) {
  if (len == 0 || len > KM_MDNS_LABEL_MAX || name->len + 1 + len > KM_MDNS_NAME_MAX - 1) {
    return false;
  }
  name->bytes[name->len] = (uint8_t)len;
  for (size_t i = 0; i < len; i++) {
    name->bytes[name->len + 1 + i] = lower(label[i]);
  }
  name->len = (uint8_t)(name->len + 1 + len);
  return true;
}

static void end_name(km_mdns_name *name) {
  name->bytes[name->len++] = 0;
}

bool km_mdns_name_set(km_mdns_name *ret, const char *text) {
  ret->len = 0;
  while (*text != '\0') {
    size_t len = strcspn(text, ".");
    if (!append_label(ret, (const uint8_t *)text, len)) {
      return false;
    }
    text += len + (text[len] == '.' ? 1 : 0);
  }
  end_name(ret);
  return true;
}

bool km_mdns_name_prefix(km_mdns_name *ret, const char *label, size_t len,
                         const km_mdns_name *rest) {
  km_mdns_name name = {0};
  if (!append_label(&name, (const uint8_t *)label, len) ||
      name.len + rest->len > KM_MDNS_NAME_MAX) {
    return false;
  }
  memcpy(name.bytes + name.len, rest->bytes, rest->len);
  name.len = (uint8_t)(name.len + rest->len);
  *ret = name;
  return true;
}

bool km_mdns_name_equal(const km_mdns_name *a, const km_mdns_name *b) {
  return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

bool km_mdns_name_under(const km_mdns_name *name, const km_mdns_name *rest, const char **label,
                        size_t *len) {
  size_t first = (size_t)name->bytes[0] + 1;
  if (name->bytes[0] == 0 || name->len != first + rest->len ||
      memcmp(name->bytes + first, rest->bytes, rest->len) != 0) {
    return false;
  }
  *label = (const char *)name->bytes + 1;
  *len = name->bytes[0];
  return true;
}

/* Reads the name at `at`; the position behind it, 0 when it is none. A pointer leads to before
 * where its part of the name began, so that no chain of them comes back. */
static size_t read_name(const uint8_t *bytes, size_t len, size_t at, km_mdns_name *ret) {
  size_t after = 0, start = at, hops = 0;
  ret->len = 0;
  while (at < len) {
    uint8_t c = bytes[at];
    if (c == 0) {
      end_name(ret);
      return after != 0 ? after : at + 1;
    }
    if ((c & POINTER) == POINTER) {
      if (at + 1 >= len || hops++ == HOPS_MAX) {
        return 0;
      }
      size_t to = get16(bytes + at) & POINTER_MAX;
      if (to >= start || to < HEADER) {
        return 0;
      }
      after = after != 0 ? after : at + 2;
      start = at = to;
      continue;
    }
    if ((c & POINTER) != 0 || at + 1 + c > len || !append_label(ret, bytes + at + 1, c)) {
      return 0;
    }
    at += 1 + (size_t)c;
  }
  return 0;
}

/* --- reading --- */

bool km_mdns_open(km_mdns_reader *ret, const uint8_t *bytes, size_t len) {
  *ret = (km_mdns_reader){.bytes = bytes, .len = len, .at = HEADER};
  if (len < HEADER) {
    return false;
  }
  uint16_t flags = get16(bytes + 2);
  ret->id = get16(bytes);
  ret->response = (flags & FLAG_RESPONSE) != 0;
  ret->truncated = (flags & FLAG_TRUNCATED) != 0;
  for (size_t i = 0; i < 4; i++) {
    ret->left[i] = get16(bytes + 4 + 2 * i);
  }
  return (flags & OPCODE_AND_RCODE) == 0;
}

static bool next_section(km_mdns_reader *r, km_mdns_section *ret) {
  for (size_t i = 0; i < 4; i++) {
    if (r->left[i] > 0) {
      r->left[i]--;
      *ret = (km_mdns_section)i;
      return true;
    }
  }
  return false;
}

static bool read_item(km_mdns_reader *r, km_mdns_item *ret) {
  size_t at = read_name(r->bytes, r->len, r->at, &ret->name);
  bool question = ret->section == KM_MDNS_QUESTIONS;
  if (at == 0 || r->len - at < (question ? 4 : 10)) {
    return false;
  }
  ret->type = get16(r->bytes + at);
  ret->flag = (get16(r->bytes + at + 2) & TOP_BIT) != 0;
  ret->class = (uint16_t)(get16(r->bytes + at + 2) & ~TOP_BIT);
  if (question) {
    r->at = at + 4;
    return true;
  }
  ret->ttl = get32(r->bytes + at + 4);
  ret->len = get16(r->bytes + at + 8);
  ret->data = r->bytes + at + 10;
  if (r->len - at - 10 < ret->len) {
    return false;
  }
  r->at = at + 10 + ret->len;
  return true;
}

bool km_mdns_next_item(km_mdns_reader *r, km_mdns_item *ret) {
  *ret = (km_mdns_item){0};
  if (r->damaged || !next_section(r, &ret->section)) {
    return false;
  }
  if (r->count++ >= KM_MDNS_RECORDS_MAX || !read_item(r, ret)) {
    r->damaged = true;
    return false;
  }
  return true;
}

/* A name that fills the rest of a record's data. */
static bool data_name(const km_mdns_reader *r, const km_mdns_item *item, size_t skip,
                      km_mdns_name *ret) {
  size_t at = (size_t)(item->data - r->bytes);
  size_t end = at + item->len;
  return item->len > skip && read_name(r->bytes, end, at + skip, ret) == end;
}

bool km_mdns_read_ptr(const km_mdns_reader *r, const km_mdns_item *item, km_mdns_name *ret) {
  return item->type == KM_MDNS_PTR && data_name(r, item, 0, ret);
}

bool km_mdns_read_srv(const km_mdns_reader *r, const km_mdns_item *item, uint16_t *port,
                      km_mdns_name *target) {
  if (item->type != KM_MDNS_SRV || !data_name(r, item, 6, target)) {
    return false;
  }
  *port = get16(item->data + 4);
  return true;
}

bool km_mdns_read_ip(const km_mdns_item *item, km_udp_addr *ret) {
  *ret = (km_udp_addr){0};
  if (item->type == KM_MDNS_A && item->len == 4) {
    ret->family = 4;
  } else if (item->type == KM_MDNS_AAAA && item->len == 16) {
    ret->family = 6;
  } else {
    return false;
  }
  memcpy(ret->ip, item->data, item->len);
  return true;
}

bool km_mdns_read_txt(const km_mdns_item *item, size_t *at, const char **text, size_t *len) {
  if (item->type != KM_MDNS_TXT || *at >= item->len ||
      (size_t)item->data[*at] + 1 > item->len - *at) {
    return false;
  }
  *text = (const char *)item->data + *at + 1;
  *len = item->data[*at];
  *at += *len + 1;
  return true;
}

/* --- writing --- */

void km_mdns_writer_init(km_mdns_writer *ret, uint8_t *bytes, size_t cap, uint16_t id,
                         bool response) {
  *ret = (km_mdns_writer){.bytes = bytes, .cap = cap, .len = HEADER, .failed = cap < HEADER};
  if (!ret->failed) {
    memset(bytes, 0, HEADER);
    put16(bytes, id);
    put16(bytes + 2, response ? FLAG_RESPONSE | FLAG_AUTHORITATIVE : 0);
  }
}

void km_mdns_set_truncated(km_mdns_writer *w) {
  if (w->cap >= HEADER) {
    w->bytes[2] |= (uint8_t)(FLAG_TRUNCATED >> 8);
  }
}

static void write_bytes(km_mdns_writer *w, const uint8_t *bytes, size_t len) {
  if (w->failed || w->cap - w->len < len) {
    w->failed = true;
    return;
  }
  memcpy(w->bytes + w->len, bytes, len);
  w->len += len;
}

static void write16(km_mdns_writer *w, uint16_t value) {
  uint8_t b[2];
  put16(b, value);
  write_bytes(w, b, sizeof b);
}

static void write32(km_mdns_writer *w, uint32_t value) {
  write16(w, (uint16_t)(value >> 16));
  write16(w, (uint16_t)value);
}

/* Where the end `rest` of a name was written already; 0: nowhere. */
static size_t find_written(const km_mdns_writer *w, const uint8_t *rest, size_t len) {
  for (size_t i = 0; i < w->label_count; i++) {
    km_mdns_name name;
    if (read_name(w->bytes, w->len, w->labels[i], &name) != 0 && name.len == len &&
        memcmp(name.bytes, rest, len) == 0) {
      return w->labels[i];
    }
  }
  return 0;
}

static void remember_label(km_mdns_writer *w, size_t at) {
  if (w->label_count < sizeof w->labels / sizeof w->labels[0] && at <= POINTER_MAX) {
    w->labels[w->label_count++] = (uint16_t)at;
  }
}

static void write_name(km_mdns_writer *w, const km_mdns_name *name) {
  size_t known = w->label_count; /* labels of this name cannot be its own ends */
  size_t at = 0;
  while (name->bytes[at] != 0) {
    size_t written = find_written(w, name->bytes + at, name->len - at);
    if (written != 0) {
      write16(w, (uint16_t)(POINTER << 8 | written));
      return;
    }
    remember_label(w, w->len);
    write_bytes(w, name->bytes + at, (size_t)name->bytes[at] + 1);
    at += (size_t)name->bytes[at] + 1;
  }
  write_bytes(w, name->bytes + at, 1);
  if (w->failed) {
    w->label_count = known;
  }
}

static void begin(km_mdns_writer *w, const km_mdns_name *name, uint16_t type) {
  w->start = w->len;
  w->data_at = 0;
  w->failed = w->cap < HEADER;
  write_name(w, name);
  write16(w, type);
  write16(w, KM_MDNS_CLASS_IN);
}

static void begin_record(km_mdns_writer *w, const km_mdns_name *name, uint16_t type, uint32_t ttl) {
  begin(w, name, type);
  write32(w, ttl);
  write16(w, 0);
  w->data_at = w->len;
}

/* Counts the item, or takes it back. */
static bool end(km_mdns_writer *w, km_mdns_section section) {
  if (w->failed) {
    w->len = w->start;
    while (w->label_count > 0 && w->labels[w->label_count - 1] >= w->start) {
      w->label_count--;
    }
    return false;
  }
  if (w->data_at != 0) {
    put16(w->bytes + w->data_at - 2, (uint16_t)(w->len - w->data_at));
  }
  uint8_t *count = w->bytes + 4 + 2 * (size_t)section;
  put16(count, (uint16_t)(get16(count) + 1));
  return true;
}

bool km_mdns_write_question(km_mdns_writer *w, const km_mdns_name *name, uint16_t type) {
  begin(w, name, type);
  return end(w, KM_MDNS_QUESTIONS);
}

bool km_mdns_write_ptr(km_mdns_writer *w, km_mdns_section section, const km_mdns_name *name,
                       uint32_t ttl, const km_mdns_name *target) {
  begin_record(w, name, KM_MDNS_PTR, ttl);
  write_name(w, target);
  return end(w, section);
}

bool km_mdns_write_srv(km_mdns_writer *w, km_mdns_section section, const km_mdns_name *name,
                       uint32_t ttl, uint16_t port, const km_mdns_name *target) {
  begin_record(w, name, KM_MDNS_SRV, ttl);
  write32(w, 0); /* priority and weight */
  write16(w, port);
  write_name(w, target);
  return end(w, section);
}

bool km_mdns_write_ip(km_mdns_writer *w, km_mdns_section section, const km_mdns_name *name,
                      uint32_t ttl, const km_udp_addr *addr) {
  begin_record(w, name, addr->family == 4 ? KM_MDNS_A : KM_MDNS_AAAA, ttl);
  write_bytes(w, addr->ip, addr->family == 4 ? 4 : 16);
  return end(w, section);
}

bool km_mdns_write_txt(km_mdns_writer *w, km_mdns_section section, const km_mdns_name *name,
                       uint32_t ttl, const uint8_t *data, size_t len) {
  begin_record(w, name, KM_MDNS_TXT, ttl);
  if (len == 0) {
    write_bytes(w, (const uint8_t *)"", 1); /* RFC 6763 section 6.1: one empty string */
  }
  write_bytes(w, data, len);
  return end(w, section);
}
