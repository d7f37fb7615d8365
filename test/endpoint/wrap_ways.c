#include "test/endpoint/wrap_ways.h"

#include <string.h>

#include "base/udp_addr.h"
#include "endpoint/cid_table.h"
#include "holepunch/disco_box.h"
#include "holepunch/mapping_life.h"
#include "magicsock/magicsock_impl.h"

enum { MAX_BOXES = 16 };

static struct {
  ways_lost_fn lost;
  void *lost_ctx;
  ways_disco_fn watch;
  void *watch_ctx;
  bool expire;
  unsigned expired;
  unsigned mixed;
} ways;

/* Whose box it is; a box may come to lie where an older one was. */
static struct {
  const km_disco_box *box;
  km_id id;
} boxes[MAX_BOXES];
static size_t box_count;

/* --- datagrams ------------------------------------------------------------------------------- */

void __real_km_socket_send(km_socket *s, const km_udp_tx *tx, km_path *path);
void __wrap_km_socket_send(km_socket *s, const km_udp_tx *tx, km_path *path);

void ways_lose(ways_lost_fn lost, void *ctx) {
  ways.lost = lost;
  ways.lost_ctx = ctx;
}

void __wrap_km_socket_send(km_socket *s, const km_udp_tx *tx, km_path *path) {
  km_udp_addr to;
  if (ways.lost == NULL || !km_udp_addr_from_sockaddr(&to, &tx->to->sa, tx->to_len)) {
    __real_km_socket_send(s, tx, path);
    return;
  }
  for (size_t at = 0; at < tx->len; at += tx->segment) {
    km_udp_tx one = *tx;
    one.data += at;
    one.len = tx->len - at < tx->segment ? tx->len - at : tx->segment;
    one.segment = one.len;
    if (!ways.lost(ways.lost_ctx, &to, one.data, one.len)) {
      __real_km_socket_send(s, &one, path);
    }
  }
}

/* --- batches --------------------------------------------------------------------------------- */

void __real_km_magicsock_send(km_magicsock *ms, km_path *path, const uint8_t *data, size_t len,
                              size_t segment, uint8_t ecn);
void __wrap_km_magicsock_send(km_magicsock *ms, km_path *path, const uint8_t *data, size_t len,
                              size_t segment, uint8_t ecn);

unsigned ways_mixed(void) {
  unsigned mixed = ways.mixed;
  ways.mixed = 0;
  return mixed;
}

void __wrap_km_magicsock_send(km_magicsock *ms, km_path *path, const uint8_t *data, size_t len,
                              size_t segment, uint8_t ecn) {
  const uint8_t long_header = 0x80;
  for (size_t at = segment; (*data & long_header) == 0 && at < len; at += segment) {
    if (memcmp(data + 1, data + at + 1, KM_CID_LEN) != 0) {
      ways.mixed++;
      break;
    }
  }
  __real_km_magicsock_send(ms, path, data, len, segment, ecn);
}

/* --- disco ----------------------------------------------------------------------------------- */

int __real_km_disco_box_new(km_disco_box **ret, const km_env *env, const km_secret_key *key);
int __wrap_km_disco_box_new(km_disco_box **ret, const km_env *env, const km_secret_key *key);
int __real_km_disco_box_seal(km_disco_box *box, const km_id *peer, const km_disco_message *msg,
                             km_wall wall, uint8_t *ret, size_t cap);
int __wrap_km_disco_box_seal(km_disco_box *box, const km_id *peer, const km_disco_message *msg,
                             km_wall wall, uint8_t *ret, size_t cap);

void ways_watch_disco(ways_disco_fn watch, void *ctx) {
  ways.watch = watch;
  ways.watch_ctx = ctx;
}

int __wrap_km_disco_box_new(km_disco_box **ret, const km_env *env, const km_secret_key *key) {
  int rv = __real_km_disco_box_new(ret, env, key);
  if (rv == 0) {
    boxes[box_count % MAX_BOXES].box = *ret;
    km_secret_key_id(key, &boxes[box_count % MAX_BOXES].id);
    box_count++;
  }
  return rv;
}

static const km_id *owner_of(const km_disco_box *box) {
  for (size_t i = box_count; i-- > 0 && i + MAX_BOXES >= box_count;) {
    if (boxes[i % MAX_BOXES].box == box) {
      return &boxes[i % MAX_BOXES].id;
    }
  }
  fail_msg("a box that nobody made");
  return NULL;
}

int __wrap_km_disco_box_seal(km_disco_box *box, const km_id *peer, const km_disco_message *msg,
                             km_wall wall, uint8_t *ret, size_t cap) {
  km_disco_message changed = *msg;
  if (ways.watch != NULL) {
    ways.watch(ways.watch_ctx, owner_of(box), peer, &changed);
  }
  return __real_km_disco_box_seal(box, peer, &changed, wall, ret, cap);
}

/* --- mappings -------------------------------------------------------------------------------- */

km_ts __real_km_mapping_life_renew_at(const km_mapping_life *m);
km_ts __wrap_km_mapping_life_renew_at(const km_mapping_life *m);

void ways_expire(bool on) {
  ways.expire = on;
  ways.expired = 0;
}

unsigned ways_expired(void) {
  return ways.expired;
}

km_ts __wrap_km_mapping_life_renew_at(const km_mapping_life *m) {
  if (!ways.expire) {
    return __real_km_mapping_life_renew_at(m);
  }
  ways.expired++;
  return 1;
}
