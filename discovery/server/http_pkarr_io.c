/* Signed packets over HTTP, as pkarr's relays have them (pubky/pkarr, design/relays.md) and
 * iroh-dns-server (src/http/pkarr.rs). Where they differ, this is a relay of the former: an older
 * packet is a conflict, not a success, so that its sender hears that it changed nothing. */
#include <stdio.h>
#include <string.h>

#include "base/enc.h"
#include "discovery/server/doh.h"
#include "discovery/server/http_date.h"
#include "discovery/server/http_impl.h"

#define US_PER_S 1000000
#define TTL_MAX_S 300

/* --- PUT ------------------------------------------------------------------------------------- */

static void on_put(void *ctx, km_packet_put result, const km_errinfo *err) {
  km_dns_http_conn *c = ctx;
  km_dns_http *s = c->s;
  int rv;
  (void)err; /* the store has logged it */
  if (c->state != KM_DNS_HTTP_WAITING) {
    return;
  }
  switch (result) {
  case KM_PACKET_NEW:
  case KM_PACKET_SAME:
    rv = km_dns_http_reply_send(c, &(km_dns_http_reply){.status = 204});
    break;
  case KM_PACKET_OLDER:
    s->stats.pkarr_stale++;
    rv = km_dns_http_refuse(
        c, 409, "a newer packet of this key is stored, or this one has expired: sign a new one");
    break;
  case KM_PACKET_FAILED:
  default:
    rv = km_dns_http_refuse_rate(c, 503, 5, "it could not be stored");
    break;
  }
  if (rv != 0) {
    km_dns_http_kill(c);
  } else {
    (void)lws_rx_flow_control(c->conn.wsi, 1);
  }
  km_lws_touch(s->lws);
}

/* Nobody's change may be written over by who did not see it. pkarr's 428, for two writers at the
 * same time, has no place here: of two packets one is the newer. */
static bool was_modified(const km_dns_http_conn *c) {
  km_pkarr stored;
  return c->unmodified_since >= 0 && km_packet_store_get(c->s->store, &c->id, &stored, NULL) > 0 &&
         stored.timestamp_us / US_PER_S > (uint64_t)c->unmodified_since;
}

static int on_payload(km_dns_http_conn *c) {
  km_dns_http *s = c->s;
  km_pkarr packet;
  km_errinfo err = {0};
  if (km_pkarr_read(&packet, &c->id, c->body, c->body_len, &err) != 0) {
    s->stats.pkarr_bad++;
    return km_dns_http_refuse(c, 400, err.text[0] != '\0' ? err.text : km_strerror(err.code));
  }
  if (was_modified(c)) {
    return km_dns_http_refuse(c, 412, "the stored packet is newer than If-Unmodified-Since");
  }
  c->state = KM_DNS_HTTP_WAITING;
  int rv = km_packet_store_put(s->store, &packet, on_put, c, &err);
  if (rv != 0) {
    return km_dns_http_refuse_rate(c, 503, rv == KM_ERR_LIMIT ? 1 : 5,
                                   rv == KM_ERR_LIMIT ? "too much is waiting to be stored"
                                                      : "the store does not work");
  }
  return lws_rx_flow_control(c->conn.wsi, 0) < 0 ? -1 : 0; /* one request after the other */
}

static uint32_t put_retry_s(const km_dns_http *s) {
  uint32_t per_minute = s->config.put_per_minute;
  return per_minute == 0 || per_minute >= 60 ? 1 : (60 + per_minute - 1) / per_minute;
}

static int put(km_dns_http_conn *c) {
  km_dns_http *s = c->s;
  char date[64];
  s->stats.pkarr_puts++;
  if (!km_rate_limit_take(s->puts, &c->source, km_dns_http_now(s))) {
    s->stats.pkarr_limited++;
    return km_dns_http_refuse_rate(c, 429, put_retry_s(s), "too many publishes from your address");
  }
  c->unmodified_since = -1;
  if (km_dns_http_header(c, WSI_TOKEN_HTTP_IF_UNMODIFIED_SINCE, date, sizeof date) != NULL) {
    (void)km_http_date_read(&c->unmodified_since, date); /* RFC 9110: no date is no condition */
  }
  return km_dns_http_expect(c, KM_PKARR_PAYLOAD_MAX, on_payload);
}

/* --- GET ------------------------------------------------------------------------------------- */

#define ETAG_BYTES 16

/* Two packets of the same second have the same Last-Modified: only their ETag, which goes first,
 * tells them apart. */
static bool has_current(const km_dns_http_conn *c, const km_pkarr *p, const char *etag) {
  char text[256];
  int64_t since = -1;
  const char *match = km_dns_http_header(c, WSI_TOKEN_HTTP_IF_NONE_MATCH, text, sizeof text);
  if (match != NULL) {
    return strcmp(match, "*") == 0 || strstr(match, etag) != NULL;
  }
  return km_dns_http_header(c, WSI_TOKEN_HTTP_IF_MODIFIED_SINCE, text, sizeof text) != NULL &&
         km_http_date_read(&since, text) && p->timestamp_us / US_PER_S <= (uint64_t)since;
}

static int get(km_dns_http_conn *c) {
  km_dns_http *s = c->s;
  km_pkarr p;
  uint8_t payload[KM_PKARR_PAYLOAD_MAX];
  char etag[2 * ETAG_BYTES + 3], modified[KM_HTTP_DATE_CAP], cache[48];
  s->stats.pkarr_gets++;
  int found = km_packet_store_get(s->store, &c->id, &p, NULL);
  if (found < 0) {
    return km_dns_http_refuse_rate(c, 503, 5, "what is stored of this key cannot be read");
  }
  if (found == 0) {
    s->stats.pkarr_absent++;
    return km_dns_http_refuse(c, 404, "no packet of this key is stored");
  }
  etag[0] = etag[2 * ETAG_BYTES + 1] = '"';
  km_hex_encode(etag + 1, p.signature, ETAG_BYTES);
  etag[2 * ETAG_BYTES + 1] = '"';
  etag[2 * ETAG_BYTES + 2] = '\0';
  uint32_t ttl = km_doh_least_ttl(p.dns, p.dns_len);
  (void)snprintf(cache, sizeof cache, "public, max-age=%u", ttl < TTL_MAX_S ? ttl : TTL_MAX_S);
  bool dated = p.timestamp_us / US_PER_S <= INT64_MAX &&
               km_http_date_write(modified, (int64_t)(p.timestamp_us / US_PER_S));
  km_dns_http_reply r = {.status = 200,
                         .type = "application/x-pkarr-signed-packet",
                         .body = payload,
                         .fields = {{"cache-control:", cache},
                                    {"etag:", etag},
                                    {"last-modified:", dated ? modified : NULL},
                                    {"access-control-expose-headers:", "etag"}}};
  if (has_current(c, &p, etag)) {
    r.status = 304;
    r.type = NULL;
  } else {
    r.len = km_pkarr_write(&p, payload);
  }
  return km_dns_http_reply_send(c, &r);
}

int km_dns_http_pkarr(km_dns_http_conn *c, const char *z32) {
  uint8_t bytes[KM_ID_BYTES];
  size_t len = strlen(z32);
  if (len != KM_ID_BASE32_LEN || !km_base32_decode(KM_BASE32_Z, bytes, z32, len) ||
      km_id_from_bytes(&c->id, bytes) != 0) {
    c->s->stats.pkarr_bad++;
    return km_dns_http_refuse(c, 400, "the path has no key: 52 characters of z-base-32");
  }
  return c->method == KM_DNS_HTTP_PUT ? put(c) : get(c);
}
