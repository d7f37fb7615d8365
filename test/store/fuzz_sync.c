/* First byte: bit 0, who begins. The rest: what the other side sends, with all that can be done
 * done after each byte. No crash, it ends or waits, and what it sends are frames. */
#include <stdlib.h>
#include <string.h>

#include "store/store_impl.h"
#include "store/sync.h"
#include "store/sync_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { INPUTS_A_STORE = 500, SENT_MAX = 1 << 20 };

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static km_wall wall(void *ctx) {
  (void)ctx;
  return (km_wall){.unix_ns = INT64_C(1760000000000000000)};
}

static void no_random(void *ctx, void *buf, size_t len) {
  (void)ctx;
  memset(buf, 7, len);
}

static bool may_read(void *ctx, const char *share) {
  (void)ctx;
  return share[0] == 'd';
}

static bool may_write(void *ctx, const char *share, const km_id *author) {
  (void)ctx;
  (void)share;
  return author->bytes[0] != 0;
}

/* With a few entries; new from time to time, because inputs may write to it. */
static km_store *store_of(const km_env *env, km_id *peer) {
  static km_store *store;
  static unsigned inputs;
  if (store != NULL && ++inputs % INPUTS_A_STORE != 0) {
    return store;
  }
  km_store_options o;
  km_secret_key *key;
  uint8_t seed[KM_SECRET_KEY_BYTES] = {2};
  km_store_close(store);
  km_store_options_default(&o);
  check(km_secret_key_from_bytes(&key, seed) == 0);
  km_secret_key_id(key, peer);
  o.secret_key = key;
  check(km_store_open_with(&store, &o, env, wall, NULL, NULL) == 0);
  km_secret_key_free(key);
  for (char name[] = "k0"; name[1] <= '9'; name[1]++) {
    check(km_kv_put(store, "docs", name, "value", 5, NULL) == 0);
  }
  return store;
}

typedef struct session {
  km_sync *s;
  uint8_t *sent;
  size_t sent_len;
} session;

static void settle(session *x) {
  const uint8_t *bytes;
  bool fin;
  km_errinfo err;
  unsigned slices = 0;
  for (bool more = true; more; check(slices++ < 10000)) {
    more = km_sync_work(x->s, &err);
    for (size_t len; (len = km_sync_output(x->s, &bytes, &fin)) > 0; more = true) {
      check(x->sent_len + len <= SENT_MAX);
      memcpy(x->sent + x->sent_len, bytes, len);
      x->sent_len += len;
      km_sync_sent(x->s, len);
    }
  }
}

static void check_sent(const session *x) {
  size_t at = 0;
  while (at < x->sent_len) {
    km_sync_frame frame;
    check(km_sync_frame_read(&frame, x->sent + at, x->sent_len - at, SENT_MAX, NULL) == 1);
    at += frame.size;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static km_env env;
  static km_id peer; /* of the store's own key: what it signs is believed from the peer too */
  if (len == 0 || len > 20000) {
    return 0;
  }
  env = km_env_system;
  env.random = no_random;
  session x = {.sent = malloc(SENT_MAX)};
  km_store *store = store_of(&env, &peer);
  km_sync_config config = {.env = &env,
                           .store = store,
                           .peer = peer,
                           .initiator = (data[0] & 1) != 0,
                           .share = "docs",
                           .may_read = may_read,
                           .may_write = may_write,
                           .max_buffered = 16384};
  check(x.sent != NULL);
  check(km_sync_new(&x.s, &config) == 0);
  settle(&x);
  for (size_t i = 1; i < len; i++) {
    km_errinfo err = {0};
    int rv = km_sync_receive(x.s, data + i, 1, i + 1 == len, &err);
    check(rv == 0 || err.code == rv);
    settle(&x);
  }
  check(km_sync_get_state(x.s) != KM_SYNC_FAILED || km_sync_error(x.s, NULL) < 0);
  check_sent(&x);
  km_sync_free(x.s);
  free(x.sent);
  return 0;
}
