/* Disco packets: what two KeyMesh endpoints say to each other to find a direct way. Ours, so the
 * layout is here and in docs/protocol-disco.md. Pure.
 *
 *   packet   0x01 | sender id (32) | unix time ns (8) | nonce (24) | sealed body
 *   body     type (1) | version (1) | fields
 *     Ping           1 | 0 | tx id (12) | padding (20)
 *     Pong           2 | 0 | tx id (12) | address (20)
 *     Call-me-maybe  3 | 0 | flags (1) | nat (6) | count (1) | candidate (21) ... |
 *                    url length (2) | home relay url
 *   nat        mapping v4, mapping v6, filtering v4, filtering v6 (1 each) | port step (2, signed)
 *   address    family: 4, 6, or 0 for "through a relay" (1) | reserved 0 (1) | port (2) | ip (16)
 *   candidate  source, KM_CANDIDATE_* bits (1) | address (20)
 *
 * Numbers are big endian. An IPv4 address fills the first 4 bytes, the others are 0. The body is
 * sealed with XChaCha20-Poly1305 under the crypto_box key of the X25519 forms of the two ids; the
 * 65 bytes before it are the associated data. What follows the fields that are known is passed
 * over, a higher version of a known type is read as this one, an unknown type is
 * KM_ERR_UNSUPPORTED. NAT values that are not known are read as "unknown" (0).
 *
 * The time orders the packets of one sender and is compared with nothing else (disco_box.h); it is
 * 1 at least. A Ping is as long as its Pong: nobody gains by having us answer somebody else. */
#ifndef KM_HOLEPUNCH_DISCO_H
#define KM_HOLEPUNCH_DISCO_H

#include <keymesh/addr.h>
#include <keymesh/id.h>

#include "base/env.h"
#include "holepunch/nat.h"

#define KM_DISCO_MAGIC 0x01
#define KM_DISCO_HEADER_LEN (1 + 32 + 8 + 24)
#define KM_DISCO_TAG_LEN 16
#define KM_DISCO_TX_LEN 12
#define KM_DISCO_KEY_LEN 32
#define KM_DISCO_MAX_CANDIDATES 32
#define KM_DISCO_MAX_URL 256     /* longer home relay urls are left out */
#define KM_DISCO_MAX_PACKET 1232 /* fits the smallest path of IPv6 (1,280) in any case */
#define KM_DISCO_PING_LEN (KM_DISCO_HEADER_LEN + 34 + KM_DISCO_TAG_LEN) /* and of a Pong */

typedef enum km_disco_type {
  KM_DISCO_PING = 1,
  KM_DISCO_PONG = 2,
  KM_DISCO_CALL_ME_MAYBE = 3
} km_disco_type;

/* Where a candidate is from. Bits, as one address may be found in several ways. */
enum {
  KM_CANDIDATE_INTERFACE = 1,       /* an interface of the machine */
  KM_CANDIDATE_REFLEXIVE = 2,       /* what a STUN server saw */
  KM_CANDIDATE_MAPPED = 4,          /* a port mapping of the router */
  KM_CANDIDATE_SEEN = 8,            /* what another peer saw */
  KM_CANDIDATE_GIVEN = 16,          /* in the address that was dialled */
  KM_CANDIDATE_PEER_REFLEXIVE = 32, /* a ping came from there */
  KM_CANDIDATE_GUESSED = 64         /* a port that the peer's NAT may use next */
};

typedef struct km_candidate {
  uint8_t source;
  km_udp_addr addr;
} km_candidate;

/* Asks for a Call-me-maybe in return. */
enum { KM_CALL_ANSWER = 1 };

typedef struct km_call_me_maybe {
  uint8_t flags;
  km_nat_info nat;
  size_t count;
  km_candidate candidates[KM_DISCO_MAX_CANDIDATES];
  char relay_url[KM_DISCO_MAX_URL + 1]; /* normalised by who uses it; "": none */
} km_call_me_maybe;

typedef struct km_disco_message {
  km_disco_type type;
  uint8_t tx[KM_DISCO_TX_LEN]; /* Ping, Pong */
  km_udp_addr observed;        /* Pong: where the ping came from; family 0: through a relay, or an
                                  address that may not be probed */
  km_call_me_maybe call;       /* Call-me-maybe */
} km_disco_message;

typedef struct km_disco_header {
  km_id sender;
  uint64_t time_ns;
  uint8_t nonce[24];
} km_disco_header;

/* Writes a body. Returns its length, KM_ERR_BUFFER when `cap` is too small, or KM_ERR_INVALID for
 * an unknown type or too many candidates. */
int km_disco_write(const km_disco_message *msg, uint8_t *ret, size_t cap);
/* Reads an opened body. Candidates that may not be probed (km_disco_may_probe) are left out, so is
 * a url longer than KM_DISCO_MAX_URL or with other bytes than printable ASCII. 0,
 * KM_ERR_UNSUPPORTED (a type of the future) or KM_ERR_INVALID (cut short, a count beyond the
 * limit). */
KM_NODISCARD int km_disco_read(km_disco_message *ret, const uint8_t *body, size_t len);

/* The clear part of a packet. False: too short, or another magic. */
bool km_disco_header_read(km_disco_header *ret, const uint8_t *packet, size_t len);
/* The key that two endpoints share. KM_ERR_BAD_ID when `peer` is no point of the curve's group. */
KM_NODISCARD int km_disco_key(uint8_t ret[KM_DISCO_KEY_LEN], const km_secret_key *own,
                              const km_id *peer);
/* The same in steps, for who keeps what they give: our X25519 secret, the peer's X25519 public key
 * (KM_ERR_BAD_ID as above), the key of both. Wipe what is secret. */
void km_disco_secret(uint8_t ret[KM_DISCO_KEY_LEN], const km_secret_key *own);
KM_NODISCARD int km_disco_public(uint8_t ret[KM_DISCO_KEY_LEN], const km_id *peer);
KM_NODISCARD int km_disco_shared(uint8_t ret[KM_DISCO_KEY_LEN],
                                 const uint8_t public[KM_DISCO_KEY_LEN],
                                 const uint8_t secret[KM_DISCO_KEY_LEN]);
/* Seals a body behind the header; the body may lie in its place already, at ret +
 * KM_DISCO_HEADER_LEN. Returns the packet's length, or KM_ERR_BUFFER when it is longer than `cap`
 * or KM_DISCO_MAX_PACKET. */
int km_disco_seal(const km_disco_header *header, const uint8_t key[KM_DISCO_KEY_LEN],
                  const uint8_t *body, size_t body_len, uint8_t *ret, size_t cap);
/* Opens a packet into `ret` (at least len - header - tag bytes, `cap`). Returns the body's length,
 * KM_ERR_INVALID (not sealed by this key, or damaged) or KM_ERR_BUFFER. */
int km_disco_open(const uint8_t *packet, size_t len, const uint8_t key[KM_DISCO_KEY_LEN],
                  uint8_t *ret, size_t cap);

/* Whether an address may be probed at all because somebody else said so. Not: no family, port 0,
 * unspecified (0.0.0.0/8, ::), multicast, broadcast, IPv4 in IPv6 (::ffff:0:0/96), link-local IPv6
 * without a scope, and the range that iroh and we name paths with inside a process. Private and
 * loopback addresses may: peers on one network or machine meet there. */
bool km_disco_may_probe(const km_udp_addr *addr);

#endif /* KM_HOLEPUNCH_DISCO_H */
