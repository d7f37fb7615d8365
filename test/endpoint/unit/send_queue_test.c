/* endpoint/send_queue.c: bytes between the application and the acknowledgement. */
#include "test_env.h"

#include "endpoint/send_queue.h"

enum { FULL = 65536 };

typedef struct fixture {
  test_env t;
  km_send_pool pool;
  km_send_queue q;
} fixture;

static void open_fixture(fixture *f, uint64_t seed) {
  test_env_init(&f->t, seed);
  km_send_pool_init(&f->pool, &f->t.env);
  km_send_queue_init(&f->q);
}

static void close_fixture(fixture *f) {
  km_send_queue_clear(&f->q, &f->pool);
  km_send_pool_clear(&f->pool);
  assert_int_equal(f->t.live, 0);
}

/* Counts releases and checks that each piece comes back as it was lent. */
typedef struct lent {
  const void *data;
  size_t len;
  int released;
} lent;

static void release(void *ctx, const void *data, size_t len) {
  lent *l = ctx;
  assert_ptr_equal(data, l->data);
  assert_int_equal(len, l->len);
  l->released++;
}

/* Copies all waiting bytes that `cap` pieces hold out of the queue. */
static size_t gather(const km_send_queue *q, uint8_t *out, size_t cap) {
  km_send_vec vec[16];
  size_t n = km_send_queue_peek(q, vec, cap, SIZE_MAX);
  size_t len = 0;
  for (size_t i = 0; i < n; i++) {
    assert_true(vec[i].len > 0);
    memcpy(out + len, vec[i].base, vec[i].len);
    len += vec[i].len;
  }
  return len;
}

static void empty_queue_has_nothing(void **state) {
  (void)state;
  fixture f;
  km_send_vec vec[2];
  open_fixture(&f, 1);
  assert_int_equal(km_send_queue_peek(&f.q, vec, 2, SIZE_MAX), 0);
  assert_int_equal(km_send_queue_buffered(&f.q), 0);
  assert_int_equal(km_send_queue_waiting(&f.q), 0);
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, NULL, 0), 0);
  km_send_queue_sent(&f.q, 0);
  km_send_queue_acked(&f.q, &f.pool, 0);
  assert_int_equal(f.t.live, 0);
  close_fixture(&f);
}

static void small_writes_share_a_block(void **state) {
  (void)state;
  fixture f;
  uint8_t out[64];
  km_send_vec vec[2];
  open_fixture(&f, 1);
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, (const uint8_t *)"hello ", 6), 6);
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, (const uint8_t *)"world", 5), 5);
  assert_int_equal(f.t.live, 1);
  assert_int_equal(km_send_queue_peek(&f.q, vec, 0, SIZE_MAX), 0);
  assert_int_equal(km_send_queue_peek(&f.q, vec, 2, SIZE_MAX), 1);
  assert_int_equal(gather(&f.q, out, 2), 11);
  assert_memory_equal(out, "hello world", 11);
  km_send_queue_sent(&f.q, 8);
  assert_int_equal(gather(&f.q, out, 2), 3);
  assert_memory_equal(out, "rld", 3);
  assert_int_equal(km_send_queue_buffered(&f.q), 11);
  assert_int_equal(km_send_queue_waiting(&f.q), 3);
  km_send_queue_acked(&f.q, &f.pool, 8);
  assert_int_equal(km_send_queue_buffered(&f.q), 3);
  close_fixture(&f);
}

/* ngtcp2 holds pointers to what was sent: later writes must not move it. */
static void sent_bytes_never_move(void **state) {
  (void)state;
  fixture f;
  km_send_vec vec[1];
  uint8_t more[500];
  memset(more, 'm', sizeof more);
  open_fixture(&f, 1);
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, (const uint8_t *)"first", 5), 5);
  assert_int_equal(km_send_queue_peek(&f.q, vec, 1, SIZE_MAX), 1);
  const uint8_t *at = vec[0].base;
  km_send_queue_sent(&f.q, 5);
  for (int i = 0; i < 500; i++) {
    assert_int_equal(km_send_queue_copy(&f.q, &f.pool, more, sizeof more), sizeof more);
    assert_memory_equal(at, "first", 5);
  }
  close_fixture(&f);
}

/* After all was sent, and while it is in flight, the tail block is used further. */
static void tail_is_filled_up_after_all_was_sent(void **state) {
  (void)state;
  fixture f;
  uint8_t out[16];
  open_fixture(&f, 1);
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, (const uint8_t *)"ab", 2), 2);
  km_send_queue_sent(&f.q, 2);
  assert_int_equal(km_send_queue_waiting(&f.q), 0);
  assert_int_equal(gather(&f.q, out, 4), 0);
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, (const uint8_t *)"cd", 2), 2);
  assert_int_equal(f.t.live, 1);
  assert_int_equal(gather(&f.q, out, 4), 2);
  assert_memory_equal(out, "cd", 2);
  km_send_queue_acked(&f.q, &f.pool, 2);
  km_send_queue_sent(&f.q, 2);
  km_send_queue_acked(&f.q, &f.pool, 2);
  assert_int_equal(f.t.live, 0);
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, (const uint8_t *)"ef", 2), 2);
  assert_int_equal(gather(&f.q, out, 4), 2);
  assert_memory_equal(out, "ef", 2);
  close_fixture(&f);
}

static void full_blocks_go_back_to_the_pool(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f, 1);
  const size_t len = (KM_SEND_POOL_BLOCKS + 8) * FULL;
  uint8_t *data = calloc(1, len);
  assert_non_null(data);
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, data, len), len);
  long blocks = f.t.live;
  assert_true(blocks > (long)KM_SEND_POOL_BLOCKS);
  km_send_queue_sent(&f.q, len);
  km_send_queue_acked(&f.q, &f.pool, len);
  assert_int_equal(f.pool.free_count, KM_SEND_POOL_BLOCKS);
  assert_int_equal(f.t.live, KM_SEND_POOL_BLOCKS);
  f.t.fail_after = 0; /* the pool serves without the allocator */
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, data, 60000), 60000);
  assert_int_equal(f.pool.free_count, KM_SEND_POOL_BLOCKS - 1);
  free(data);
  close_fixture(&f);
}

static void copy_is_short_without_memory(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f, 1);
  uint8_t *data = malloc(3 * FULL);
  uint8_t *out = malloc(3 * FULL);
  assert_true(data != NULL && out != NULL);
  for (size_t i = 0; i < 3 * FULL; i++) {
    data[i] = (uint8_t)(i * 31 >> 3);
  }
  f.t.fail_after = 0;
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, data, 10), 0);
  assert_int_equal(km_send_queue_buffered(&f.q), 0);
  f.t.fail_after = 1;
  size_t took = km_send_queue_copy(&f.q, &f.pool, data, 3 * FULL);
  assert_true(took > 0 && took < FULL);
  assert_int_equal(km_send_queue_waiting(&f.q), took);
  f.t.fail_after = -1;
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, data + took, 3 * FULL - took),
                   3 * FULL - took);
  assert_int_equal(gather(&f.q, out, 16), 3 * FULL);
  assert_memory_equal(data, out, 3 * FULL);
  free(data);
  free(out);
  close_fixture(&f);
}

static void lent_bytes_come_back_once(void **state) {
  (void)state;
  fixture f;
  km_send_vec vec[4];
  static const uint8_t a[] = "lent bytes", b[] = "more of them";
  lent la = {a, sizeof a, 0}, lb = {b, sizeof b, 0};
  open_fixture(&f, 1);
  f.t.fail_after = 0;
  assert_int_equal(km_send_queue_lend(&f.q, &f.pool, a, sizeof a, release, &la), KM_ERR_NOMEM);
  assert_int_equal(km_send_queue_buffered(&f.q), 0);
  f.t.fail_after = -1;
  assert_int_equal(km_send_queue_lend(&f.q, &f.pool, a, sizeof a, release, &la), 0);
  assert_int_equal(km_send_queue_copy(&f.q, &f.pool, (const uint8_t *)"-", 1), 1);
  assert_int_equal(km_send_queue_lend(&f.q, &f.pool, b, sizeof b, release, &lb), 0);
  assert_int_equal(km_send_queue_peek(&f.q, vec, 4, SIZE_MAX), 3);
  assert_ptr_equal(vec[0].base, a); /* no copy */
  assert_ptr_equal(vec[2].base, b);
  assert_int_equal(km_send_queue_peek(&f.q, vec, 2, SIZE_MAX), 2);
  assert_int_equal(km_send_queue_peek(&f.q, vec, 4, sizeof a), 1); /* enough for a packet */
  assert_int_equal(km_send_queue_peek(&f.q, vec, 4, sizeof a + 1), 2);
  km_send_queue_sent(&f.q, sizeof a + 1 + sizeof b);
  km_send_queue_acked(&f.q, &f.pool, sizeof a - 1);
  assert_int_equal(la.released, 0);
  km_send_queue_acked(&f.q, &f.pool, 1);
  assert_int_equal(la.released, 1);
  km_send_queue_clear(&f.q, &f.pool); /* the rest comes back at the end */
  assert_int_equal(la.released, 1);
  assert_int_equal(lb.released, 1);
  assert_int_equal(km_send_queue_buffered(&f.q), 0);
  km_send_queue_clear(&f.q, &f.pool);
  assert_int_equal(lb.released, 1);
  close_fixture(&f);
}

/* A release function that writes again, as an application that streams a file would. */
typedef struct refill {
  fixture *f;
  int left;
  uint8_t piece[100];
} refill;

static void release_and_lend_again(void *ctx, const void *data, size_t len) {
  refill *r = ctx;
  assert_ptr_equal(data, r->piece);
  if (r->left > 0) {
    r->left--;
    assert_int_equal(
        km_send_queue_lend(&r->f->q, &r->f->pool, r->piece, len, release_and_lend_again, r), 0);
  }
}

static void release_may_lend_again(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f, 1);
  refill r = {.f = &f, .left = 5};
  assert_int_equal(
      km_send_queue_lend(&f.q, &f.pool, r.piece, sizeof r.piece, release_and_lend_again, &r), 0);
  for (int i = 0; i < 6; i++) {
    assert_int_equal(km_send_queue_waiting(&f.q), sizeof r.piece);
    km_send_queue_sent(&f.q, sizeof r.piece);
    km_send_queue_acked(&f.q, &f.pool, sizeof r.piece);
  }
  assert_int_equal(r.left, 0);
  assert_int_equal(km_send_queue_buffered(&f.q), 0);
  close_fixture(&f);
}

/* The byte at a stream offset; what the model expects everywhere. */
static uint8_t byte_at(uint64_t offset) {
  return (uint8_t)(offset * 2654435761u >> 13);
}

enum { SPAN = 1 << 20, STEPS = 3000, LENT = 4096 };

typedef struct walk {
  fixture f;
  test_rng rng;
  uint64_t acked, sent, end;
  uint8_t *bytes; /* the stream, as a flat array */
  lent lent[LENT];
  size_t lent_count;
} walk;

static void walk_write(walk *w) {
  static const size_t sizes[] = {1, 7, 999, 1000, 1001, 5000, 65000, 65480, 65536, 140000};
  size_t len = sizes[test_rng_below(&w->rng, sizeof sizes / sizeof sizes[0])];
  if (w->end - w->acked + len > SPAN / 2 || w->end + len > 64u * SPAN) {
    return;
  }
  const uint8_t *data = w->bytes + w->end;
  if (test_rng_below(&w->rng, 3) == 0 && w->lent_count < LENT) {
    lent *l = &w->lent[w->lent_count++];
    *l = (lent){data, len, 0};
    assert_int_equal(km_send_queue_lend(&w->f.q, &w->f.pool, data, len, release, l), 0);
  } else {
    assert_int_equal(km_send_queue_copy(&w->f.q, &w->f.pool, data, len), len);
  }
  w->end += len;
}

/* What peek shows must be the bytes from `sent` on. */
static void walk_check(walk *w) {
  km_send_vec vec[5];
  size_t n = km_send_queue_peek(&w->f.q, vec, 5, SIZE_MAX);
  uint64_t at = w->sent;
  for (size_t i = 0; i < n; i++) {
    assert_true(vec[i].len <= w->end - at);
    assert_memory_equal(vec[i].base, w->bytes + at, vec[i].len);
    at += vec[i].len;
  }
  assert_true(n == 5 || at == w->end);
  assert_int_equal(km_send_queue_waiting(&w->f.q), w->end - w->sent);
  assert_int_equal(km_send_queue_buffered(&w->f.q), w->end - w->acked);
}

static void behaves_like_three_numbers(void **state) {
  (void)state;
  walk *w = calloc(1, sizeof *w);
  assert_non_null(w);
  open_fixture(&w->f, 1);
  w->rng.state = 2026;
  w->bytes = malloc(64u * SPAN);
  assert_non_null(w->bytes);
  for (uint64_t i = 0; i < 64u * SPAN; i++) {
    w->bytes[i] = byte_at(i);
  }
  for (int step = 0; step < STEPS; step++) {
    size_t what = test_rng_below(&w->rng, 4);
    if (what < 2) {
      walk_write(w);
    } else if (what == 2 && w->end > w->sent) {
      size_t all = (size_t)(w->end - w->sent);
      size_t n = test_rng_below(&w->rng, 3) == 0 ? all : test_rng_below(&w->rng, all + 1);
      km_send_queue_sent(&w->f.q, n);
      w->sent += n;
    } else if (w->sent > w->acked) {
      size_t all = (size_t)(w->sent - w->acked);
      size_t n = test_rng_below(&w->rng, 3) == 0 ? all : test_rng_below(&w->rng, all + 1);
      km_send_queue_acked(&w->f.q, &w->f.pool, n);
      w->acked += n;
    }
    walk_check(w);
    for (size_t i = 0; i < w->lent_count; i++) {
      const lent *l = &w->lent[i];
      uint64_t end = (uint64_t)((const uint8_t *)l->data - w->bytes) + l->len;
      assert_int_equal(l->released, end <= w->acked);
    }
  }
  assert_true(w->end > 4u * SPAN);
  close_fixture(&w->f);
  for (size_t i = 0; i < w->lent_count; i++) {
    assert_int_equal(w->lent[i].released, 1);
  }
  free(w->bytes);
  free(w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(empty_queue_has_nothing),
      cmocka_unit_test(small_writes_share_a_block),
      cmocka_unit_test(sent_bytes_never_move),
      cmocka_unit_test(tail_is_filled_up_after_all_was_sent),
      cmocka_unit_test(full_blocks_go_back_to_the_pool),
      cmocka_unit_test(copy_is_short_without_memory),
      cmocka_unit_test(lent_bytes_come_back_once),
      cmocka_unit_test(release_may_lend_again),
      cmocka_unit_test(behaves_like_three_numbers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
