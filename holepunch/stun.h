/* STUN's Binding (RFC 8489): which address does a packet of mine come from? Both halves, with what
 * RFC 5780 adds to find out how a NAT behaves. Pure.
 *
 * A server answers Binding requests and nothing else; authentication attributes are read over, as
 * the answer is no secret. Clients of RFC 3489 (no magic cookie) are not answered. */
#ifndef KM_HOLEPUNCH_STUN_H
#define KM_HOLEPUNCH_STUN_H

#include <keymesh/addr.h>

#define KM_STUN_PORT 3478
#define KM_STUN_HEADER_LEN 20
#define KM_STUN_ID_LEN 12
#define KM_STUN_MAX_UNKNOWN 6 /* unknown attributes that are kept, and told */
/* Bytes of our request, and of the longest answer. No answer makes an IP packet more than 1.4 times
 * as long as what it answers, so that reflecting off us gains an attacker next to nothing. */
#define KM_STUN_REQUEST_LEN 28
#define KM_STUN_MAX_ANSWER 60
/* The same with CHANGE-REQUEST, and with the three addresses that RFC 5780 wants in every answer:
 * whoever runs such a server has packets made up to 2.1 times as long. */
#define KM_STUN_MAX_REQUEST 36
#define KM_STUN_MAX_LONG_ANSWER 100

typedef enum km_stun_class {
  KM_STUN_REQUEST = 0,
  KM_STUN_INDICATION = 1,
  KM_STUN_SUCCESS = 2,
  KM_STUN_ERROR = 3
} km_stun_class;

#define KM_STUN_BINDING 1 /* the method */

typedef struct km_stun_message {
  km_stun_class cls;
  uint16_t method;
  uint8_t id[KM_STUN_ID_LEN]; /* of the transaction */
  bool fingerprint;           /* it has one, and it is right */
  km_udp_addr mapped;         /* XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS; family 0: none */
  km_udp_addr origin;         /* RESPONSE-ORIGIN: the server's that it comes from; family 0: none */
  km_udp_addr other;          /* OTHER-ADDRESS: what CHANGE-REQUEST leads to; family 0: none */
  bool change_ip, change_port; /* CHANGE-REQUEST: answer from another address, from another port */
  uint16_t error;              /* ERROR-CODE, 300 to 699; 0: none */
  const uint8_t *software;     /* points into the message; NULL: not said */
  size_t software_len;
  uint16_t unknown[KM_STUN_MAX_UNKNOWN]; /* attributes that have to be understood and are not */
  size_t unknown_count;
} km_stun_message;

/* False: this is no STUN message (anything else on the port, or one that is damaged). */
bool km_stun_read(km_stun_message *ret, const uint8_t *bytes, size_t len);

/* The answer to a Binding request that came from `from`: its address, or error 420 for unknown
 * attributes. Has a FINGERPRINT if the request had one. Returns its length; 0: no answer is due. */
size_t km_stun_answer(uint8_t ret[KM_STUN_MAX_ANSWER], const km_stun_message *request,
                      const km_udp_addr *from);

/* --- as RFC 5780 has it ---------------------------------------------------------------------- */

/* A server that can do what CHANGE-REQUEST asks for says so with this, before it answers: to others
 * it is one more attribute that they do not know. */
void km_stun_allow_change(km_stun_message *request);
/* km_stun_answer with the address that the answer leaves from, and the one that differs from where
 * the request came to in both address and port. */
size_t km_stun_answer_long(uint8_t ret[KM_STUN_MAX_LONG_ANSWER], const km_stun_message *request,
                           const km_udp_addr *from, const km_udp_addr *origin,
                           const km_udp_addr *other);
/* A request with CHANGE-REQUEST. Returns its length. */
size_t km_stun_request_change(uint8_t ret[KM_STUN_MAX_REQUEST], const uint8_t id[KM_STUN_ID_LEN],
                              bool change_ip, bool change_port);

/* --- the client's half ----------------------------------------------------------------------- */

/* A Binding request. `id`: fresh random bytes; who can guess them can forge the answer. */
void km_stun_request(uint8_t ret[KM_STUN_REQUEST_LEN], const uint8_t id[KM_STUN_ID_LEN]);
/* The address in the answer to it. 0; KM_ERR_INVALID: this is something else, keep waiting;
 * KM_ERR_REFUSED: the server answered with an error (err->peer_code); KM_ERR_UNSUPPORTED: the
 * answer needs something that we do not know. The last two end the transaction. */
KM_NODISCARD int km_stun_response_read(km_udp_addr *ret, const uint8_t id[KM_STUN_ID_LEN],
                                       const uint8_t *bytes, size_t len, km_errinfo *err);
/* The same for a message that was read already: 0 means that it has an address. */
KM_NODISCARD int km_stun_response_check(const km_stun_message *msg,
                                        const uint8_t id[KM_STUN_ID_LEN], km_errinfo *err);

#endif /* KM_HOLEPUNCH_STUN_H */
