/* What we say of ourselves: one announcement that iroh's nodes and every DNS-SD browser read.
 *
 * iroh's read SRV and TXT from the answers and A and AAAA from the additional records, all of one
 * packet; they skip over PTR, look at no TTL, and do not know the cache-flush bit (a class with it
 * is none to them). DNS-SD needs the PTR and real TTLs; swarm-discovery sends them too of late. */
#include <stdio.h>
#include <string.h>

#include "discovery/mdns_impl.h"

#define SIGN_AGAIN (60 * KM_NS_PER_S)

void km_mdns_host_name(const km_mdns *m, uint16_t port, km_mdns_name *ret) {
  char text[KM_ID_TEXT_CAP + 16];
  char id[KM_ID_TEXT_CAP];
  (void)km_id_format(&m->id, KM_ID_BASE32, id, sizeof id); /* it fits */
  (void)snprintf(text, sizeof text, "%s-%u.local", id, (unsigned)port);
  (void)km_mdns_name_set(ret, text); /* a label of at most 58 bytes */
}

static bool write_addrs(km_mdns *m, km_mdns_writer *w, km_mdns_section section, uint16_t port,
                        uint32_t ttl) {
  km_mdns_name host;
  km_mdns_host_name(m, port, &host);
  for (size_t i = 0; i < m->own.details.addr_count; i++) {
    const km_udp_addr *a = &m->own.details.addrs[i];
    if (a->port == port && !km_mdns_write_ip(w, section, &host, ttl, a)) {
      return false;
    }
  }
  return true;
}

static bool write_all_addrs(km_mdns *m, km_mdns_writer *w, km_mdns_section section, uint32_t ttl) {
  for (size_t i = 0; i < m->own.port_count; i++) {
    if (!write_addrs(m, w, section, m->own.ports[i], ttl)) {
      return false;
    }
  }
  return true;
}

static bool write_details(km_mdns *m, km_mdns_writer *w, uint32_t ttl) {
  uint8_t txt[KM_MDNS_TXT_MAX];
  for (size_t i = 0; i < m->own.port_count; i++) {
    km_mdns_name host;
    km_mdns_host_name(m, m->own.ports[i], &host);
    if (!km_mdns_write_srv(w, KM_MDNS_ANSWERS, &m->instance, ttl, m->own.ports[i], &host)) {
      return false;
    }
  }
  return km_mdns_write_txt(w, KM_MDNS_ANSWERS, &m->instance, ttl, txt,
                           km_mdns_write_attributes(&m->own.details, txt));
}

bool km_mdns_own_write(km_mdns *m, km_mdns_writer *w, unsigned say, uint32_t ttl) {
  bool fits = true;
  bool details = (say & (KM_MDNS_SAY_INSTANCE | KM_MDNS_SAY_DETAILS)) != 0;
  if ((say & KM_MDNS_SAY_TYPE) != 0) {
    fits = km_mdns_write_ptr(w, KM_MDNS_ANSWERS, &m->types, ttl, &m->service);
  }
  if (fits && (say & KM_MDNS_SAY_INSTANCE) != 0) {
    fits = km_mdns_write_ptr(w, KM_MDNS_ANSWERS, &m->service, ttl, &m->instance);
  }
  if (fits && details) {
    fits = write_details(m, w, ttl);
  }
  if (fits && ttl != 0 && (details || (say & KM_MDNS_SAY_HOSTS) != 0)) {
    /* Addresses that were asked for are the answer. */
    fits = write_all_addrs(m, w, details ? KM_MDNS_ADDITIONALS : KM_MDNS_ANSWERS, ttl);
  }
  return fits;
}

/* --- taking over --- */

static void set_ports(km_mdns_own *own) {
  km_mdns_details *d = &own->details;
  size_t kept = 0;
  own->port_count = 0;
  for (size_t i = 0; i < d->addr_count; i++) {
    size_t p = 0;
    while (p < own->port_count && own->ports[p] != d->addrs[i].port) {
      p++;
    }
    if (p == KM_MDNS_PORTS_MAX) {
      continue;
    }
    if (p == own->port_count) {
      own->ports[own->port_count++] = d->addrs[i].port;
    }
    d->addrs[kept++] = d->addrs[i];
  }
  d->addr_count = kept;
}

static void set_addrs(km_mdns_own *own, const km_addr *addr, km_mdns_addr_kind wanted) {
  for (size_t i = 0; i < km_addr_udp_count(addr); i++) {
    const km_udp_addr *a = km_addr_udp_at(addr, i);
    if (km_mdns_kind_of(a) == wanted) {
      km_mdns_add_addr(&own->details, a);
    }
  }
}

static void set_texts(km_mdns_own *own, const km_peer_info *info) {
  km_mdns_details *d = &own->details;
  for (size_t i = 0; i < km_addr_relay_count(info->addr); i++) {
    const char *url = km_addr_relay_at(info->addr, i);
    size_t len = strlen(url);
    if (d->relay_count < KM_MDNS_RELAYS_MAX && len <= KM_MDNS_RELAY_URL_MAX) {
      char *copy = own->relays[d->relay_count];
      memcpy(copy, url, len + 1);
      d->relays[d->relay_count++] = (km_mdns_text){copy, len};
    }
  }
  if (info->user_data != NULL && strlen(info->user_data) <= KM_USER_DATA_MAX) {
    memcpy(own->user_data, info->user_data, strlen(info->user_data) + 1);
    d->user_data = (km_mdns_text){own->user_data, strlen(info->user_data)};
  }
}

/* Addresses beyond what one packet takes are left out, the last ones first. */
static void trim(km_mdns *m) {
  uint8_t bytes[KM_MDNS_SEND_MAX];
  km_mdns_own *own = &m->own;
  own->details.has_time = own->details.has_signature = true; /* at its greatest length */
  own->details.time_ms = UINT64_C(9999999999999999);
  for (;;) {
    km_mdns_writer w;
    set_ports(own);
    km_mdns_writer_init(&w, bytes, sizeof bytes, 0, true);
    if (own->details.addr_count == 0 ||
        km_mdns_own_write(m, &w, KM_MDNS_SAY_TYPE | KM_MDNS_SAY_INSTANCE, KM_MDNS_TTL_S)) {
      break;
    }
    own->details.addr_count--;
  }
  own->details.has_time = own->details.has_signature = false;
}

static bool same_text(const km_mdns_text *a, const km_mdns_text *b) {
  return a->len == b->len && (a->at == NULL) == (b->at == NULL) &&
         (a->at == NULL || b->at == NULL || memcmp(a->at, b->at, a->len) == 0);
}

static bool same(const km_mdns_own *a, const km_mdns_own *b) {
  const km_mdns_details *x = &a->details, *y = &b->details;
  if (a->on != b->on || x->addr_count != y->addr_count || x->relay_count != y->relay_count ||
      !same_text(&x->user_data, &y->user_data)) {
    return false;
  }
  for (size_t i = 0; i < x->addr_count; i++) {
    if (!km_udp_addr_equal(&x->addrs[i], &y->addrs[i])) {
      return false;
    }
  }
  for (size_t i = 0; i < x->relay_count; i++) {
    if (!same_text(&x->relays[i], &y->relays[i])) {
      return false;
    }
  }
  return true;
}

bool km_mdns_own_set(km_mdns *m, const km_peer_info *info) {
  km_mdns_own old = m->own; /* its texts are the old ones only in the copy's own fields */
  for (size_t i = 0; i < old.details.relay_count; i++) {
    old.details.relays[i].at = old.relays[i];
  }
  old.details.user_data.at = old.details.user_data.at != NULL ? old.user_data : NULL;
  m->own = (km_mdns_own){.announced = old.announced, .last_time_ms = old.last_time_ms};
  m->own.details.id = m->id;
  if (info != NULL && info->addr != NULL) {
    set_addrs(&m->own, info->addr, KM_MDNS_ADDR_ANY);
    if (m->own.details.addr_count == 0) { /* nobody but this machine can reach us */
      set_addrs(&m->own, info->addr, KM_MDNS_ADDR_LOOPBACK);
    }
    set_texts(&m->own, info);
    trim(m);
    m->own.on = m->own.details.addr_count > 0; /* iroh's nodes take nobody without an address */
  }
  if (!same(&m->own, &old)) {
    return true;
  }
  m->own.signed_at = old.signed_at;
  memcpy(m->own.details.signature, old.details.signature, sizeof old.details.signature);
  m->own.details.time_ms = old.details.time_ms;
  m->own.details.has_time = old.details.has_time;
  m->own.details.has_signature = old.details.has_signature;
  return false;
}

/* Those who heard the last one take none that looks older: our clock may have been set back. */
uint64_t km_mdns_own_time(km_mdns *m, km_wall wall) {
  km_mdns_own *own = &m->own;
  uint64_t time_ms = m->ops->time_ms != NULL ? m->ops->time_ms(m->ctx, wall) : km_mdns_time(wall);
  own->last_time_ms = time_ms > own->last_time_ms ? time_ms : own->last_time_ms + 1;
  return own->last_time_ms;
}

void km_mdns_own_sign(km_mdns *m, km_ts now, km_wall wall) {
  km_mdns_own *own = &m->own;
  if (own->details.has_signature && now - own->signed_at < SIGN_AGAIN) {
    return;
  }
  km_mdns_sign(&own->details, m->key, km_mdns_own_time(m, wall));
  own->signed_at = now;
}

/* --- taking back --- */

static bool has_port(const km_mdns_own *own, uint16_t port) {
  for (size_t i = 0; i < own->port_count; i++) {
    if (own->ports[i] == port) {
      return true;
    }
  }
  return false;
}

static bool has_addr(const km_mdns_own *own, const km_udp_addr *addr) {
  for (size_t i = 0; i < own->details.addr_count; i++) {
    if (km_udp_addr_equal(&own->details.addrs[i], addr)) {
      return true;
    }
  }
  return false;
}

size_t km_mdns_own_withdraw(km_mdns *m, const km_mdns_own *old, uint8_t *ret, size_t cap) {
  km_mdns_writer w;
  km_mdns_name host;
  size_t empty;
  km_mdns_writer_init(&w, ret, cap, 0, true);
  empty = w.len;
  for (size_t i = 0; i < old->port_count; i++) {
    if (!has_port(&m->own, old->ports[i])) {
      km_mdns_host_name(m, old->ports[i], &host);
      (void)km_mdns_write_srv(&w, KM_MDNS_ANSWERS, &m->instance, 0, old->ports[i], &host);
    }
  }
  for (size_t i = 0; i < old->details.addr_count; i++) {
    const km_udp_addr *a = &old->details.addrs[i];
    if (has_port(&m->own, a->port) && !has_addr(&m->own, a)) {
      km_mdns_host_name(m, a->port, &host);
      (void)km_mdns_write_ip(&w, KM_MDNS_ANSWERS, &host, 0, a);
    }
  }
  return w.len > empty ? w.len : 0;
}
