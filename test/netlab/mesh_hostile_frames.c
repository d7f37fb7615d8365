#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "store/hlc.h"
#include "store/message.h"
#include "test/netlab/mesh_hostile.h"

enum {
  ENTRY_MORE = 512,       /* of an entry, beside key and value */
  EVERYTHING = 62 * 4 + 1 /* a range without end, as a fingerprint */
};

void hostile_frame(hostile_bytes *to, uint8_t type, const void *body, size_t len) {
  uint8_t head[KM_PUSH_HEAD_MAX];
  km_wr wr = km_wr_init(head, sizeof head);
  km_push_head(&wr, type, len);
  hostile_add(to, head, (size_t)(wr.at - head));
  hostile_add(to, body, len);
}

void hostile_entry_frame(hostile_peer *p, hostile_bytes *to, const hostile_entry *given) {
  size_t cap = strlen(given->key) + given->value_len + ENTRY_MORE;
  uint8_t sig[KM_SIGNATURE_BYTES], *value = malloc(given->value_len + 1), *body = malloc(cap);
  if (value == NULL || body == NULL) {
    hostile_die("out of memory");
  }
  memset(value, 'v', given->value_len);
  km_entry e = {.share = given->share,
                .key = given->key,
                .value = value,
                .share_len = (uint32_t)strlen(given->share),
                .key_len = (uint32_t)strlen(given->key),
                .value_len = (uint32_t)given->value_len,
                .sig = sig};
  e.clock = km_hlc_from_wall(km_clock_wall()) + p->owner->entry_number++ % 1024;
  e.clock += (uint64_t)(given->ahead_ms * (INT64_C(1) << KM_HLC_COUNTER_BITS));
  km_secret_key_id(p->key, &e.author);
  e.author = given->author != NULL ? *given->author : e.author;
  km_entry_sign(&e, p->key, sig);
  sig[7] ^= given->spoil;
  km_wr wr = km_wr_init(body, cap);
  km_wr_u8(&wr, (uint8_t)e.share_len);
  km_wr_bytes(&wr, e.share, e.share_len);
  km_entry_encode(&e, &wr);
  hostile_frame(to, KM_PUSH_ENTRY, body, (size_t)(wr.at - body));
  free(value);
  free(body);
}

void hostile_message_frame(hostile_peer *p, hostile_bytes *to) {
  uint8_t body[1024];
  int64_t now = km_clock_wall().unix_ns / (int64_t)KM_NS_PER_MS;
  km_message m = {.to = *km_addr_id(p->owner->victim),
                  .type = "flood",
                  .body = "1",
                  .body_len = 1,
                  .sent_ms = now,
                  .expires_ms = now + 60000};
  km_wr wr = km_wr_init(body, sizeof body);
  km_secret_key_id(p->key, &m.sender);
  randombytes_buf(m.id, sizeof m.id);
  if (km_message_encode(&m, p->key, &wr, NULL) != 0) {
    hostile_die("no message");
  }
  hostile_frame(to, KM_PUSH_MESSAGE, body, (size_t)(wr.at - body));
}

static void put_question(km_wr *wr) {
  uint8_t fingerprint[8];
  randombytes_buf(fingerprint, sizeof fingerprint);
  km_wr_u8(wr, EVERYTHING);
  km_wr_bytes(wr, fingerprint, sizeof fingerprint);
}

void hostile_sync_open(hostile_bytes *to, const char *share) {
  uint8_t body[256], key[KM_RECONCILE_KEY_BYTES], kind = KM_STREAM_SYNC;
  km_wr wr = km_wr_init(body, sizeof body);
  randombytes_buf(key, sizeof key);
  km_wr_u8(&wr, KM_SYNC_VERSION);
  km_wr_u8(&wr, (uint8_t)strlen(share));
  km_wr_bytes(&wr, share, strlen(share));
  km_wr_bytes(&wr, key, sizeof key);
  put_question(&wr);
  hostile_add(to, &kind, 1);
  hostile_frame(to, KM_SYNC_OPEN, body, (size_t)(wr.at - body));
}

void hostile_sync_again(hostile_bytes *to) {
  uint8_t body[16];
  km_wr wr = km_wr_init(body, sizeof body);
  put_question(&wr);
  hostile_frame(to, KM_SYNC_RECONCILE, body, (size_t)(wr.at - body));
}
