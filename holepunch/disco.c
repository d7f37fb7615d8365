#include "holepunch/disco.h"

#include <sodium.h>
#include <string.h>

#include "base/secret_key.h"
#include "base/wire.h"

enum {
  VERSION = 0,
  BODY_HEAD_LEN = 2, /* type, version */
  ADDRESS_LEN = 20,
  ALL_SOURCES = 0x7f /* KM_CANDIDATE_* */
};
_Static_assert(KM_DISCO_PING_LEN == KM_DISCO_HEADER_LEN + BODY_HEAD_LEN + KM_DISCO_TX_LEN +
                                        ADDRESS_LEN + KM_DISCO_TAG_LEN,
               "a Ping is as long as its Pong");
_Static_assert(KM_DISCO_TAG_LEN == crypto_aead_xchacha20poly1305_ietf_ABYTES, "");
_Static_assert(KM_DISCO_KEY_LEN == crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "");
_Static_assert(KM_DISCO_KEY_LEN == crypto_box_BEFORENMBYTES, "");

/* --- addresses -------------------------------------------------------------------------------- */

static bool starts_with(const uint8_t *bytes, const uint8_t *prefix, size_t len) {
  return memcmp(bytes, prefix, len) == 0;
}

static bool may_probe_ip4(const uint8_t ip[4]) {
  static const uint8_t broadcast[4] = {255, 255, 255, 255};
  /* 0.0.0.0/8 is "this network", 224.0.0.0/4 multicast. */
  return ip[0] != 0 && (ip[0] & 0xf0) != 0xe0 && !starts_with(ip, broadcast, sizeof broadcast);
}

static bool may_probe_ip6(const km_udp_addr *addr) {
  static const uint8_t unspecified[16] = {0};
  static const uint8_t mapped_ip4[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  /* Names of paths inside a process, iroh's and ours (iroh/src/socket/mapped_addrs.rs). */
  static const uint8_t mapped_path[6] = {0xfd, 0x15, 0x07, 0x0a, 0x51, 0x0b};
  const uint8_t *ip = addr->ip;
  bool link_local = ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80;
  return ip[0] != 0xff && !(link_local && addr->scope_id == 0) &&
         !starts_with(ip, unspecified, sizeof unspecified) &&
         !starts_with(ip, mapped_ip4, sizeof mapped_ip4) &&
         !starts_with(ip, mapped_path, sizeof mapped_path);
}

bool km_disco_may_probe(const km_udp_addr *addr) {
  if (addr->port == 0) {
    return false;
  }
  switch (addr->family) {
  case 4:
    return may_probe_ip4(addr->ip);
  case 6:
    return may_probe_ip6(addr);
  default:
    return false;
  }
}

static size_t ip_len(uint8_t family) {
  return family == 4 ? 4 : family == 6 ? 16 : 0;
}

static void write_address(km_wr *wr, const km_udp_addr *addr) {
  uint8_t ip[16] = {0};
  size_t len = ip_len(addr->family);
  memcpy(ip, addr->ip, len);
  km_wr_u8(wr, len > 0 ? addr->family : 0);
  km_wr_u8(wr, 0);
  km_wr_be(wr, len > 0 ? addr->port : 0, 2);
  km_wr_bytes(wr, ip, sizeof ip);
}

/* Family 0 for all that is no address to send to. */
static void read_address(km_udp_addr *ret, km_rd *rd) {
  km_udp_addr addr = {.family = km_rd_u8(rd)};
  (void)km_rd_u8(rd); /* reserved */
  addr.port = (uint16_t)km_rd_be(rd, 2);
  const uint8_t *ip = km_rd_bytes(rd, 16);
  *ret = (km_udp_addr){0};
  if (ip != NULL) {
    memcpy(addr.ip, ip, ip_len(addr.family));
    if (km_disco_may_probe(&addr)) {
      *ret = addr;
    }
  }
}

/* --- bodies ----------------------------------------------------------------------------------- */

static void write_call(km_wr *wr, const km_call_me_maybe *call) {
  km_wr_u8(wr, call->flags);
  km_wr_u8(wr, call->nat.mapping4);
  km_wr_u8(wr, call->nat.mapping6);
  km_wr_u8(wr, call->nat.filtering4);
  km_wr_u8(wr, call->nat.filtering6);
  km_wr_be(wr, (uint16_t)call->nat.port_step, 2);
  km_wr_u8(wr, (uint8_t)call->count);
  for (size_t i = 0; i < call->count; i++) {
    km_wr_u8(wr, call->candidates[i].source);
    write_address(wr, &call->candidates[i].addr);
  }
  const char *end = memchr(call->relay_url, '\0', sizeof call->relay_url);
  size_t url_len = end != NULL ? (size_t)(end - call->relay_url) : 0;
  km_wr_be(wr, url_len, 2);
  km_wr_bytes(wr, call->relay_url, url_len);
}

int km_disco_write(const km_disco_message *msg, uint8_t *ret, size_t cap) {
  static const uint8_t padding[ADDRESS_LEN] = {0};
  km_wr wr = km_wr_init(ret, cap);
  km_wr_u8(&wr, (uint8_t)msg->type);
  km_wr_u8(&wr, VERSION);
  switch (msg->type) {
  case KM_DISCO_PING:
    km_wr_bytes(&wr, msg->tx, sizeof msg->tx);
    km_wr_bytes(&wr, padding, sizeof padding);
    break;
  case KM_DISCO_PONG:
    km_wr_bytes(&wr, msg->tx, sizeof msg->tx);
    write_address(&wr, &msg->observed);
    break;
  case KM_DISCO_CALL_ME_MAYBE:
    if (msg->call.count > KM_DISCO_MAX_CANDIDATES) {
      return KM_ERR_INVALID;
    }
    write_call(&wr, &msg->call);
    break;
  default:
    return KM_ERR_INVALID;
  }
  return wr.failed ? KM_ERR_BUFFER : (int)(wr.at - ret);
}

static void read_tx(km_disco_message *ret, km_rd *rd) {
  const uint8_t *tx = km_rd_bytes(rd, KM_DISCO_TX_LEN);
  if (tx != NULL) {
    memcpy(ret->tx, tx, KM_DISCO_TX_LEN);
  }
}

/* A value of the future means as little as "not measured". */
static uint8_t known(uint8_t value, uint8_t last) {
  return value <= last ? value : 0;
}

static void read_nat(km_nat_info *ret, km_rd *rd) {
  ret->mapping4 = known(km_rd_u8(rd), KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT);
  ret->mapping6 = known(km_rd_u8(rd), KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT);
  ret->filtering4 = known(km_rd_u8(rd), KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
  ret->filtering6 = known(km_rd_u8(rd), KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT);
  int32_t step = (int32_t)km_rd_be(rd, 2);
  ret->port_step = (int16_t)(step < 0x8000 ? step : step - 0x10000);
}

/* A url that is too long, or has anything but printable ASCII in it, is passed over. */
static void read_url(char ret[KM_DISCO_MAX_URL + 1], km_rd *rd) {
  size_t len = (size_t)km_rd_be(rd, 2);
  const uint8_t *url = km_rd_bytes(rd, len);
  if (url == NULL || len > KM_DISCO_MAX_URL) {
    return;
  }
  for (size_t i = 0; i < len; i++) {
    if (url[i] <= ' ' || url[i] > '~') {
      return;
    }
  }
  memcpy(ret, url, len);
  ret[len] = '\0';
}

static void read_call(km_call_me_maybe *ret, km_rd *rd) {
  ret->flags = km_rd_u8(rd);
  read_nat(&ret->nat, rd);
  size_t count = km_rd_u8(rd);
  if (count > KM_DISCO_MAX_CANDIDATES) {
    rd->failed = true;
    return;
  }
  for (size_t i = 0; i < count; i++) {
    km_candidate candidate = {.source = km_rd_u8(rd) & ALL_SOURCES};
    read_address(&candidate.addr, rd);
    if (candidate.addr.family != 0) {
      ret->candidates[ret->count++] = candidate;
    }
  }
  read_url(ret->relay_url, rd);
}

int km_disco_read(km_disco_message *ret, const uint8_t *body, size_t len) {
  km_rd rd = km_rd_init(body, len);
  *ret = (km_disco_message){.type = (km_disco_type)km_rd_u8(&rd)};
  (void)km_rd_u8(&rd); /* later versions only append */
  if (rd.failed) {
    return KM_ERR_INVALID;
  }
  switch (ret->type) {
  case KM_DISCO_PING:
    read_tx(ret, &rd);
    (void)km_rd_bytes(&rd, ADDRESS_LEN); /* has to be there: the Pong must not be longer */
    break;
  case KM_DISCO_PONG:
    read_tx(ret, &rd);
    read_address(&ret->observed, &rd);
    break;
  case KM_DISCO_CALL_ME_MAYBE:
    read_call(&ret->call, &rd);
    break;
  default:
    return KM_ERR_UNSUPPORTED;
  }
  return rd.failed ? KM_ERR_INVALID : 0;
}

/* --- packets ---------------------------------------------------------------------------------- */

bool km_disco_header_read(km_disco_header *ret, const uint8_t *packet, size_t len) {
  km_rd rd = km_rd_init(packet, len);
  uint8_t magic = km_rd_u8(&rd);
  const uint8_t *sender = km_rd_bytes(&rd, sizeof ret->sender.bytes);
  uint64_t time_ns = km_rd_be(&rd, 8);
  const uint8_t *nonce = km_rd_bytes(&rd, sizeof ret->nonce);
  (void)km_rd_bytes(&rd, KM_DISCO_TAG_LEN);
  if (rd.failed || magic != KM_DISCO_MAGIC) {
    return false;
  }
  memcpy(ret->sender.bytes, sender, sizeof ret->sender.bytes);
  ret->time_ns = time_ns;
  memcpy(ret->nonce, nonce, sizeof ret->nonce);
  return true;
}

void km_disco_secret(uint8_t ret[KM_DISCO_KEY_LEN], const km_secret_key *own) {
  uint8_t expanded[crypto_sign_ed25519_SECRETKEYBYTES];
  km_id id;
  km_secret_key_id(own, &id);
  memcpy(expanded, km_secret_key_seed(own), KM_SECRET_KEY_BYTES);
  memcpy(expanded + KM_SECRET_KEY_BYTES, id.bytes, sizeof id.bytes);
  (void)crypto_sign_ed25519_sk_to_curve25519(ret, expanded); /* always 0 */
  sodium_memzero(expanded, sizeof expanded);
}

int km_disco_public(uint8_t ret[KM_DISCO_KEY_LEN], const km_id *peer) {
  return crypto_sign_ed25519_pk_to_curve25519(ret, peer->bytes) == 0 ? 0 : KM_ERR_BAD_ID;
}

int km_disco_shared(uint8_t ret[KM_DISCO_KEY_LEN], const uint8_t public[KM_DISCO_KEY_LEN],
                    const uint8_t secret[KM_DISCO_KEY_LEN]) {
  return crypto_box_beforenm(ret, public, secret) == 0 ? 0 : KM_ERR_BAD_ID;
}

int km_disco_key(uint8_t ret[KM_DISCO_KEY_LEN], const km_secret_key *own, const km_id *peer) {
  uint8_t public[KM_DISCO_KEY_LEN], secret[KM_DISCO_KEY_LEN];
  int rv = km_disco_public(public, peer);
  if (rv == 0) {
    km_disco_secret(secret, own);
    rv = km_disco_shared(ret, public, secret);
    sodium_memzero(secret, sizeof secret);
  }
  return rv;
}

int km_disco_seal(const km_disco_header *header, const uint8_t key[KM_DISCO_KEY_LEN],
                  const uint8_t *body, size_t body_len, uint8_t *ret, size_t cap) {
  size_t room = cap < KM_DISCO_MAX_PACKET ? cap : KM_DISCO_MAX_PACKET;
  if (room < KM_DISCO_HEADER_LEN + KM_DISCO_TAG_LEN ||
      body_len > room - KM_DISCO_HEADER_LEN - KM_DISCO_TAG_LEN) {
    return KM_ERR_BUFFER;
  }
  km_wr wr = km_wr_init(ret, KM_DISCO_HEADER_LEN);
  km_wr_u8(&wr, KM_DISCO_MAGIC);
  km_wr_bytes(&wr, header->sender.bytes, sizeof header->sender.bytes);
  km_wr_be(&wr, header->time_ns, 8);
  km_wr_bytes(&wr, header->nonce, sizeof header->nonce);
  (void)crypto_aead_xchacha20poly1305_ietf_encrypt(ret + KM_DISCO_HEADER_LEN, NULL, body, body_len,
                                                   ret, KM_DISCO_HEADER_LEN, NULL, header->nonce,
                                                   key); /* always 0 */
  return (int)(KM_DISCO_HEADER_LEN + body_len + KM_DISCO_TAG_LEN);
}

int km_disco_open(const uint8_t *packet, size_t len, const uint8_t key[KM_DISCO_KEY_LEN],
                  uint8_t *ret, size_t cap) {
  km_disco_header header;
  if (!km_disco_header_read(&header, packet, len)) {
    return KM_ERR_INVALID;
  }
  size_t sealed_len = len - KM_DISCO_HEADER_LEN, body_len = sealed_len - KM_DISCO_TAG_LEN;
  if (body_len > cap) {
    return KM_ERR_BUFFER;
  }
  if (crypto_aead_xchacha20poly1305_ietf_decrypt(ret, NULL, NULL, packet + KM_DISCO_HEADER_LEN,
                                                 sealed_len, packet, KM_DISCO_HEADER_LEN,
                                                 header.nonce, key) != 0) {
    return KM_ERR_INVALID;
  }
  return (int)body_len;
}
