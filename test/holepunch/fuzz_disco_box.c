/* A box under a list of operations. Packets are sealed here, so that any body gets through to what
 * reads it, and any time to what guards against replay. No Ping is taken twice and no Call-me-maybe
 * after a later one, unless a Pong proved that the clock was set back, or all was forgotten.
 *
 * An operation: kind (1), then
 *   seal     time (2), length (1), body: sealed and opened
 *   raw      length (1), bytes: opened as they are
 *   proved   time (2)
 *   forget   the peer is dismissed and admitted again
 *   answer   time (2): something is sealed for the peer at that wall time */
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "holepunch/disco_box.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { SEAL, RAW, PROVED, FORGET, ANSWER, KINDS, TIMES = 1 << 16 };
/* The times that operations name lie so far apart: the window has 100 of them. */
#define TICK_NS (KM_DISCO_WINDOW_NS / 100)

typedef struct fuzz {
  km_disco_box *box;
  km_id peer, own;
  uint8_t key[KM_DISCO_KEY_LEN];
  uint64_t last_call, last_sealed;
  unsigned forgotten;
  uint32_t epoch;        /* of what was not forgotten since */
  uint32_t taken[TIMES]; /* in which epoch a packet of this time was, last */
} fuzz;

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static km_secret_key *key_of(uint8_t byte) {
  uint8_t seed[KM_SECRET_KEY_BYTES];
  km_secret_key *key;
  memset(seed, byte, sizeof seed);
  check(km_secret_key_from_bytes(&key, seed) == 0);
  return key;
}

static void forget(fuzz *f) {
  f->last_call = 0;
  f->epoch++;
}

static void begin(fuzz *f) {
  static km_secret_key *own; /* made once: this is where the time would go */
  if (own == NULL) {
    km_secret_key *peer = key_of(1);
    own = key_of(2);
    km_secret_key_id(peer, &f->peer);
    km_secret_key_id(own, &f->own);
    check(km_disco_key(f->key, peer, &f->own) == 0);
    km_secret_key_free(peer);
  }
  check(km_disco_box_new(&f->box, &km_env_system, own) == 0);
  check(km_disco_box_admit(f->box, &f->peer) == 0);
  f->last_sealed = f->forgotten = 0;
  forget(f);
}

static void open_packet(fuzz *f, const uint8_t *packet, size_t len, bool sealed_by_peer) {
  km_id sender;
  uint64_t time;
  km_disco_message msg;
  if (km_disco_box_open(f->box, packet, len, &sender, &time, &msg) != 0) {
    return;
  }
  check(sealed_by_peer && km_id_equal(&sender, &f->peer) && time % TICK_NS == 0);
  if (msg.type == KM_DISCO_PONG) {
    return;
  }
  check(f->taken[time / TICK_NS] != f->epoch);
  f->taken[time / TICK_NS] = f->epoch;
  if (msg.type == KM_DISCO_CALL_ME_MAYBE) {
    check(time > f->last_call);
    f->last_call = time;
  }
}

static void do_seal(fuzz *f, km_rd *rd) {
  uint8_t packet[KM_DISCO_MAX_PACKET];
  km_disco_header header = {.sender = f->peer, .time_ns = km_rd_be(rd, 2) * TICK_NS};
  size_t len = km_rd_u8(rd);
  const uint8_t *body = km_rd_bytes(rd, len);
  if (body != NULL) {
    int n = km_disco_seal(&header, f->key, body, len, packet, sizeof packet);
    check(n > 0);
    open_packet(f, packet, (size_t)n, true);
  }
}

static void do_raw(fuzz *f, km_rd *rd) {
  size_t len = km_rd_u8(rd);
  const uint8_t *packet = km_rd_bytes(rd, len);
  if (packet != NULL) {
    open_packet(f, packet, len, false);
  }
}

static void do_answer(fuzz *f, km_rd *rd) {
  uint8_t packet[KM_DISCO_MAX_PACKET];
  km_disco_message msg = {.type = KM_DISCO_PING};
  km_disco_header header;
  km_wall wall = {(int64_t)(km_rd_be(rd, 2) * TICK_NS)};
  int n = km_disco_box_seal(f->box, &f->peer, &msg, wall, packet, sizeof packet);
  check(n == KM_DISCO_PING_LEN && km_disco_header_read(&header, packet, (size_t)n));
  check(header.time_ns > f->last_sealed && km_id_equal(&header.sender, &f->own));
  f->last_sealed = header.time_ns;
}

static void step(fuzz *f, km_rd *rd) {
  switch (km_rd_u8(rd) % KINDS) {
  case SEAL:
    do_seal(f, rd);
    break;
  case RAW:
    do_raw(f, rd);
    break;
  case PROVED:
    km_disco_box_proved(f->box, &f->peer, km_rd_be(rd, 2) * TICK_NS);
    forget(f); /* it may have gone back */
    break;
  case FORGET:
    if (f->forgotten++ < 4) { /* keys are slow to make */
      km_disco_box_dismiss(f->box, &f->peer);
      check(km_disco_box_admit(f->box, &f->peer) == 0);
      forget(f);
    }
    break;
  default:
    do_answer(f, rd);
    break;
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static fuzz f;
  km_disco_box_stats stats;
  km_rd rd = km_rd_init(data, len);
  begin(&f);
  while (km_rd_left(&rd) > 0) {
    step(&f, &rd);
  }
  km_disco_box_get_stats(f.box, &stats);
  check(stats.forged == 0 || len > KM_DISCO_HEADER_LEN);
  km_disco_box_del(f.box);
  return 0;
}
