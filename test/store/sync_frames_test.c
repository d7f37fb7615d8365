/* A side that does not keep to the protocol: frame after frame from a script. */
#include "test/store/kv_fixture.h"

#include "store/sync.h"
#include "store/sync_wire.h"

typedef struct rig {
  kv_fixture *f; /* its store is who is tested, the peer has the second key */
  km_sync *s;
  uint8_t sent[400000]; /* what the session sent */
  size_t sent_len;
  bool full; /* nothing can be sent now */
} rig;

static bool everybody_reads(void *ctx, const char *share) {
  (void)ctx;
  (void)share;
  return true;
}

static bool everybody_writes(void *ctx, const char *share, const km_id *author) {
  (void)ctx;
  (void)share;
  (void)author;
  return true;
}

static int set_up(void **state) {
  rig *r = calloc(1, sizeof *r);
  void *f;
  assert_non_null(r);
  assert_int_equal(kv_set_up_open(&f), 0);
  r->f = f;
  kv_put(r->f, "docs", "k1", "v1");
  kv_put(r->f, "docs", "k2", "v2");
  *state = r;
  return 0;
}

static int tear_down(void **state) {
  rig *r = *state;
  void *f = r->f;
  km_sync_free(r->s);
  free(r);
  return kv_tear_down(&f);
}

static void begin_with(rig *r, bool initiator, size_t max_items, size_t max_needs) {
  km_sync_config config = {.env = &km_env_system,
                           .store = r->f->store,
                           .peer = r->f->ids[1],
                           .initiator = initiator,
                           .share = initiator ? "docs" : NULL,
                           .may_read = everybody_reads,
                           .may_write = everybody_writes,
                           .max_items = max_items,
                           .max_needs = max_needs};
  km_sync_free(r->s);
  r->sent_len = 0;
  assert_int_equal(km_sync_new(&r->s, &config), 0);
}

static void begin(rig *r, bool initiator) {
  begin_with(r, initiator, 0, 0);
}

/* Everything that can be done is done. */
static void settle(rig *r) {
  const uint8_t *bytes;
  bool fin;
  km_errinfo err;
  unsigned turns = 0;
  for (bool more = true; more;) {
    assert_true(++turns < 10000);
    more = km_sync_work(r->s, &err);
    for (size_t len; !r->full && (len = km_sync_output(r->s, &bytes, &fin)) > 0; more = true) {
      assert_true(r->sent_len + len <= sizeof r->sent);
      memcpy(r->sent + r->sent_len, bytes, len);
      r->sent_len += len;
      km_sync_sent(r->s, len);
    }
  }
}

static int feed(rig *r, const uint8_t *bytes, size_t len, bool fin) {
  uint8_t *copy = malloc(len + 1);
  km_errinfo err;
  assert_non_null(copy);
  if (len > 0) {
    memcpy(copy, bytes, len);
  }
  int rv = km_sync_receive(r->s, copy, len, fin, &err);
  assert_int_equal(rv, km_sync_error(r->s, NULL));
  free(copy);
  settle(r);
  return km_sync_error(r->s, NULL);
}

static int feed_frame(rig *r, km_sync_type type, const void *body, size_t len) {
  uint8_t frame[KM_SYNC_FRAME_HEAD_MAX + 4096];
  uint8_t *at = frame + KM_SYNC_FRAME_HEAD_MAX;
  assert_true(len <= 4096);
  if (len > 0) {
    memcpy(at, body, len);
  }
  size_t head = km_sync_frame_put_head(at, len, type);
  return feed(r, at - head, head + len, false);
}

static int feed_open_with(rig *r, uint8_t version, const uint8_t *message, size_t len) {
  uint8_t body[128];
  km_sync_open open = {.version = version,
                       .share = "docs",
                       .key = {1, 2, 3},
                       .message = message,
                       .message_len = len};
  km_wr wr = km_wr_init(body, sizeof body);
  km_sync_open_write(&wr, &open);
  assert_false(wr.failed);
  return feed_frame(r, KM_SYNC_OPEN, body, (size_t)(wr.at - body));
}

/* OPEN of a peer that has nothing. */
static int feed_open(rig *r, uint8_t version) {
  const uint8_t nothing[] = {62 << 2 | 2, 0};
  return feed_open_with(r, version, nothing, sizeof nothing);
}

/* "I want nothing, and have nothing newer than this." */
static int feed_want(rig *r, uint64_t floor) {
  uint8_t body[16] = {0};
  km_wr wr = km_wr_init(body + 1, sizeof body - 1);
  km_wr_varint(&wr, floor);
  return feed_frame(r, KM_SYNC_WANT, body, (size_t)(wr.at - body));
}

static int feed_entry(rig *r, const km_entry *e, uint64_t floor) {
  uint8_t body[1024];
  km_wr wr = km_wr_init(body, sizeof body);
  km_wr_varint(&wr, floor);
  km_entry_encode(e, &wr);
  assert_false(wr.failed);
  return feed_frame(r, KM_SYNC_ENTRIES, body, (size_t)(wr.at - body));
}

static int feed_number(rig *r, km_sync_type type, uint8_t number) {
  return feed_frame(r, type, &number, 1);
}

/* The last frame that the session sent. */
static km_sync_frame last_frame(const rig *r) {
  km_sync_frame frame = {0};
  size_t at = 0;
  while (at < r->sent_len) {
    assert_int_equal(
        km_sync_frame_read(&frame, r->sent + at, r->sent_len - at, sizeof r->sent, NULL), 1);
    at += frame.size;
  }
  return frame;
}

static void assert_failed(rig *r, int code, const char *words) {
  km_errinfo err = {0};
  assert_int_equal(km_sync_get_state(r->s), KM_SYNC_FAILED);
  if (km_sync_error(r->s, &err) != code || strstr(err.text, words) == NULL) {
    fail_msg("%d, \"%s\" instead of %d, \"%s\"", err.code, err.text, code, words);
  }
  /* Whatever comes now changes nothing. */
  assert_int_equal(feed_number(r, KM_SYNC_DONE_SENDING, 0), code);
}

static void assert_refused(rig *r, int code, const char *words) {
  assert_failed(r, code, words);
  km_sync_frame frame = last_frame(r);
  assert_int_equal(frame.type, KM_SYNC_REFUSE);
  assert_int_equal(km_rd_u8(&frame.body), km_sync_refusal_of(code));
}

/* --- A whole session by hand --- */

static void test_a_session_by_hand(void **state) {
  rig *r = *state;
  km_sync_stats stats;
  begin(r, false);
  assert_null(km_sync_share(r->s));
  assert_int_equal(feed_open(r, KM_SYNC_VERSION), 0);
  assert_string_equal(km_sync_share(r->s), "docs");
  assert_int_equal(last_frame(r).type, KM_SYNC_WANT);
  uint64_t clock = kv_clock(r->f, 0) + 5;
  assert_int_equal(feed_want(r, clock), 0);
  const km_entry *e = kv_signed(r->f, 2, "docs", "k3", "v3", clock);
  assert_int_equal(feed_entry(r, e, 0), 0);
  assert_int_equal(feed_number(r, KM_SYNC_DONE_SENDING, 1), 0);
  assert_int_equal(last_frame(r).type, KM_SYNC_END);
  assert_int_equal(km_sync_get_state(r->s), KM_SYNC_RUNNING);
  assert_int_equal(feed_number(r, KM_SYNC_END, 1), 0);
  assert_int_equal(km_sync_get_state(r->s), KM_SYNC_DONE);
  km_sync_get_stats(r->s, &stats);
  assert_int_equal(stats.entries_sent, 2);
  assert_int_equal(stats.entries_new, 1);
  kv_expect(r->f, "docs", "k3", "v3");
  /* behind the end */
  assert_int_equal(feed_number(r, KM_SYNC_END, 1), KM_ERR_BAD_PACKET);
}

/* A peer that reads slowly does not make us busy: there is no work while a frame waits to go. */
static void test_a_frame_waits(void **state) {
  enum { COUNT = 1500 }; /* more than are looked up for one frame */
  rig *r = *state;
  const uint8_t *bytes;
  bool fin;
  km_errinfo err;
  km_sync_stats stats;
  for (int i = 0; i < COUNT; i++) {
    char key[32];
    (void)snprintf(key, sizeof key, "many/%d", i);
    kv_put(r->f, "docs", key, "v");
  }
  begin(r, false);
  assert_int_equal(feed_open(r, KM_SYNC_VERSION), 0);
  r->full = true;
  assert_int_equal(feed_want(r, UINT64_MAX / 2), 0);
  size_t len = km_sync_output(r->s, &bytes, &fin);
  assert_true(len > 1000);
  km_sync_get_stats(r->s, &stats);
  assert_in_range(stats.entries_sent, 1, COUNT - 1);
  assert_false(km_sync_work(r->s, &err));
  km_sync_sent(r->s, len - 1);
  assert_false(km_sync_work(r->s, &err));
  km_sync_sent(r->s, 1);
  assert_true(km_sync_work(r->s, &err)); /* the next one can be made */
  r->full = false;
  settle(r);
  km_sync_get_stats(r->s, &stats);
  assert_int_equal(stats.entries_sent, COUNT + 2);
}

/* --- Entries that are not what they seem --- */

static void exchange(rig *r) {
  begin(r, false);
  assert_int_equal(feed_open(r, KM_SYNC_VERSION), 0);
  assert_int_equal(feed_want(r, UINT64_MAX / 2), 0);
}

static void test_forged_entries(void **state) {
  rig *r = *state;
  km_sync_stats stats;
  uint64_t clock = kv_clock(r->f, 0) + 5;
  exchange(r);
  km_entry e = *kv_signed(r->f, 2, "docs", "k3", "v3", clock);
  uint8_t sig[KM_SIGNATURE_BYTES];
  memcpy(sig, e.sig, sizeof sig);
  sig[9] ^= 1;
  e.sig = sig;
  assert_int_equal(feed_entry(r, &e, clock), 0);
  /* of another share, whose name is signed */
  assert_int_equal(feed_entry(r, kv_signed(r->f, 2, "other", "k4", "v4", clock), clock - 1), 0);
  /* in another's name */
  e = *kv_signed(r->f, 2, "docs", "k5", "v5", clock);
  e.author = r->f->ids[3];
  assert_int_equal(feed_entry(r, &e, clock - 2), 0);
  km_sync_get_stats(r->s, &stats);
  assert_int_equal(stats.entries_forged, 3);
  assert_int_equal(stats.entries_new, 0);
  kv_expect(r->f, "docs", "k3", NULL);
  assert_int_equal(feed_number(r, KM_SYNC_DONE_SENDING, 3), 0);
  km_sync_frame end = last_frame(r);
  assert_int_equal(end.type, KM_SYNC_END);
  assert_int_equal(km_rd_u8(&end.body), 0); /* not all was taken */
}

static void test_replayed_entries(void **state) {
  rig *r = *state;
  km_sync_stats stats;
  uint64_t clock = kv_clock(r->f, 0) + 5;
  exchange(r);
  for (uint64_t i = 0; i < 3; i++) {
    const km_entry *e = kv_signed(r->f, 2, "docs", "k3", "v3", clock);
    assert_int_equal(feed_entry(r, e, clock - i), 0);
  }
  km_sync_get_stats(r->s, &stats);
  assert_int_equal(stats.entries_new, 1);
  assert_int_equal(stats.entries_old, 2);
}

static void test_malformed_entries(void **state) {
  rig *r = *state;
  exchange(r);
  km_entry e = *kv_signed(r->f, 2, "docs", "../k", "v", 5);
  assert_int_equal(feed_entry(r, &e, 4), KM_ERR_BAD_PACKET);
  exchange(r);
  uint8_t half[100] = {0};
  assert_int_equal(feed_frame(r, KM_SYNC_ENTRIES, half, 60), KM_ERR_BAD_PACKET);
  assert_refused(r, KM_ERR_BAD_PACKET, "cut short");
}

/* Other nodes may allow more: who passes that on is honest, and what comes with it is taken. */
static void test_larger_than_our_limits(void **state) {
  rig *r = *state;
  km_sync_stats stats;
  char key[258];
  uint64_t clock = kv_clock(r->f, 0) + 5;
  memset(key, 'k', sizeof key - 1);
  key[257] = '\0';
  exchange(r);
  assert_int_equal(feed_entry(r, kv_signed(r->f, 2, "docs", key, "v", clock + 1), clock + 1), 0);
  assert_int_equal(feed_entry(r, kv_signed(r->f, 2, "docs", "k3", "v3", clock), clock), 0);
  km_sync_get_stats(r->s, &stats);
  assert_int_equal(stats.entries_forbidden, 1);
  assert_int_equal(stats.entries_new, 1);
  kv_expect(r->f, "docs", "k3", "v3");
  assert_int_equal(feed_number(r, KM_SYNC_DONE_SENDING, 2), 0);
  km_sync_frame end = last_frame(r);
  assert_int_equal(end.type, KM_SYNC_END);
  assert_int_equal(km_rd_u8(&end.body), 0); /* not all was taken */
}

/* What came before a broken entry was good and is kept. */
static void test_a_broken_entry_behind_a_good_one(void **state) {
  rig *r = *state;
  uint8_t body[1024];
  km_wr wr = km_wr_init(body, sizeof body);
  exchange(r);
  km_wr_varint(&wr, 0);
  km_entry_encode(kv_signed(r->f, 2, "docs", "k3", "v3", kv_clock(r->f, 0) + 5), &wr);
  km_wr_u8(&wr, 0xff);
  assert_int_equal(feed_frame(r, KM_SYNC_ENTRIES, body, (size_t)(wr.at - body)), KM_ERR_BAD_PACKET);
  kv_expect(r->f, "docs", "k3", "v3");
}

/* --- Frames --- */

static void test_other_versions(void **state) {
  rig *r = *state;
  begin(r, false);
  assert_int_equal(feed_open(r, 2), KM_ERR_UNSUPPORTED);
  assert_refused(r, KM_ERR_UNSUPPORTED, "version 2");
}

typedef struct broken {
  const char *what;
  uint8_t bytes[40];
  size_t len;
  int code;
  const char *words;
} broken;

static const broken broken_openings[] = {
    {"empty frame", {0}, 1, KM_ERR_BAD_PACKET, "empty"},
    {"type 0", {1, 0}, 2, KM_ERR_BAD_PACKET, "unknown type 0"},
    {"type 8", {1, 8}, 2, KM_ERR_BAD_PACKET, "unknown type 8"},
    {"long length", {0xff, 0xff, 0xff, 0xff, 0xff, 1}, 6, KM_ERR_BAD_PACKET, "malformed"},
    {"a byte too long", {0x81, 0x80, 0x44}, 3, KM_ERR_BAD_PACKET, "1114112 are allowed"},
    {"huge frame", {0xff, 0xff, 0xff, 0xff, 0x0f}, 5, KM_ERR_BAD_PACKET, "are allowed"},
    {"open without version", {1, KM_SYNC_OPEN}, 2, KM_ERR_BAD_PACKET, "share's name"},
    {"open without share", {2, KM_SYNC_OPEN, 1}, 3, KM_ERR_BAD_PACKET, "share's name"},
    {"share of no letters",
     {19, KM_SYNC_OPEN, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
     20,
     KM_ERR_BAD_PACKET,
     "share's name"},
    {"share that climbs",
     {21, KM_SYNC_OPEN, 1, 2, '.', '.', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
     22,
     KM_ERR_BAD_PACKET,
     "share's name"},
    {"half a key", {6, KM_SYNC_OPEN, 1, 1, 'd', 1, 2}, 7, KM_ERR_BAD_PACKET, "share's name"},
    {"broken message",
     {21, KM_SYNC_OPEN, 1, 1, 'd', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0xff},
     22,
     KM_ERR_BAD_PACKET,
     "unknown kind"},
    {"reconcile first", {1, KM_SYNC_RECONCILE}, 2, KM_ERR_BAD_PACKET, "RECONCILE out of turn"},
    {"want first", {3, KM_SYNC_WANT, 0, 0}, 4, KM_ERR_BAD_PACKET, "WANT out of turn"},
    {"entries first", {2, KM_SYNC_ENTRIES, 0}, 3, KM_ERR_BAD_PACKET, "ENTRIES out of turn"},
    {"done first", {2, KM_SYNC_DONE_SENDING, 0}, 3, KM_ERR_BAD_PACKET, "DONE out of turn"},
    {"end first", {2, KM_SYNC_END, 1}, 3, KM_ERR_BAD_PACKET, "END out of turn"},
};

static void test_broken_openings(void **state) {
  rig *r = *state;
  for (size_t i = 0; i < COUNT_OF(broken_openings); i++) {
    const broken *b = &broken_openings[i];
    begin(r, false);
    if (feed(r, b->bytes, b->len, false) != b->code) {
      fail_msg("%s", b->what);
    }
    assert_refused(r, b->code, b->words);
  }
}

/* With a peer that has said OPEN, and is at the place that the number names. */
enum { AFTER_OPEN, AFTER_WANT, AFTER_DONE };

typedef struct misplaced {
  const char *what;
  int where;
  km_sync_type type;
  uint8_t body[16];
  size_t len;
  const char *words;
} misplaced;

static const misplaced misplaced_frames[] = {
    {"open twice", AFTER_OPEN, KM_SYNC_OPEN, {1}, 1, "OPEN out of turn"},
    {"a message after the end", AFTER_OPEN, KM_SYNC_RECONCILE, {0}, 0, "RECONCILE out of turn"},
    {"want cut short", AFTER_OPEN, KM_SYNC_WANT, {0}, 1, "malformed"},
    {"want of half a name", AFTER_OPEN, KM_SYNC_WANT, {0, 0, 1, 2, 3}, 5, "malformed"},
    {"want with another flag", AFTER_OPEN, KM_SYNC_WANT, {2, 0}, 2, "malformed"},
    {"endless wants", AFTER_OPEN, KM_SYNC_WANT, {1, 0}, 2, "malformed"},
    {"entries before want", AFTER_OPEN, KM_SYNC_ENTRIES, {0, 1}, 2, "ENTRIES out of turn"},
    {"done before want", AFTER_OPEN, KM_SYNC_DONE_SENDING, {0}, 1, "DONE out of turn"},
    {"want twice", AFTER_WANT, KM_SYNC_WANT, {0, 0}, 2, "WANT out of turn"},
    {"no floor", AFTER_WANT, KM_SYNC_ENTRIES, {0}, 0, "malformed"},
    {"a floor that rises", AFTER_WANT, KM_SYNC_ENTRIES, {0x90, 0x4e}, 2, "brings nothing"},
    {"a floor that stays", AFTER_WANT, KM_SYNC_ENTRIES, {100}, 1, "brings nothing"},
    {"a miscount", AFTER_WANT, KM_SYNC_DONE_SENDING, {1}, 1, "miscounted"},
    {"done cut short", AFTER_WANT, KM_SYNC_DONE_SENDING, {0}, 0, "miscounted"},
    {"done too long", AFTER_WANT, KM_SYNC_DONE_SENDING, {0, 0}, 2, "miscounted"},
    {"end before done", AFTER_WANT, KM_SYNC_END, {1}, 1, "END out of turn"},
    {"done twice", AFTER_DONE, KM_SYNC_DONE_SENDING, {0}, 1, "DONE out of turn"},
    {"entries after done", AFTER_DONE, KM_SYNC_ENTRIES, {0, 1}, 2, "ENTRIES out of turn"},
    {"want after done", AFTER_DONE, KM_SYNC_WANT, {0, 0}, 2, "WANT out of turn"},
    {"an end of another kind", AFTER_DONE, KM_SYNC_END, {2}, 1, "malformed"},
    {"an end without a body", AFTER_DONE, KM_SYNC_END, {0}, 0, "malformed"},
};

static void test_misplaced_frames(void **state) {
  rig *r = *state;
  for (size_t i = 0; i < COUNT_OF(misplaced_frames); i++) {
    const misplaced *m = &misplaced_frames[i];
    begin(r, false);
    assert_int_equal(feed_open(r, KM_SYNC_VERSION), 0);
    if (m->where >= AFTER_WANT) {
      assert_int_equal(feed_want(r, 100), 0);
    }
    if (m->where >= AFTER_DONE) {
      assert_int_equal(feed_number(r, KM_SYNC_DONE_SENDING, 0), 0);
    }
    if (feed_frame(r, m->type, m->body, m->len) != KM_ERR_BAD_PACKET) {
      fail_msg("%s", m->what);
    }
    assert_failed(r, KM_ERR_BAD_PACKET, m->words);
  }
}

static void test_frames_to_who_begins(void **state) {
  rig *r = *state;
  begin(r, true);
  assert_int_equal(feed_open(r, KM_SYNC_VERSION), KM_ERR_BAD_PACKET); /* both cannot begin */
  assert_refused(r, KM_ERR_BAD_PACKET, "OPEN out of turn");
  begin(r, true);
  settle(r);
  assert_int_equal(last_frame(r).type, KM_SYNC_OPEN);
  assert_int_equal(feed_number(r, KM_SYNC_DONE_SENDING, 0), KM_ERR_BAD_PACKET);
}

static void test_refusals(void **state) {
  static const struct {
    uint8_t code;
    int error;
  } refusals[] = {{KM_SYNC_NOT_ALLOWED, KM_ERR_PERMISSION},
                  {KM_SYNC_OTHER_VERSION, KM_ERR_UNSUPPORTED},
                  {KM_SYNC_TOO_MUCH, KM_ERR_LIMIT},
                  {KM_SYNC_BROKEN, KM_ERR_CLOSED_BY_PEER},
                  {KM_SYNC_TROUBLE, KM_ERR_CLOSED_BY_PEER},
                  {99, KM_ERR_CLOSED_BY_PEER},
                  {0, KM_ERR_CLOSED_BY_PEER}};
  rig *r = *state;
  for (size_t i = 0; i < COUNT_OF(refusals); i++) {
    const uint8_t body[] = {refusals[i].code, 'n', 'o', '\n'};
    begin(r, true);
    settle(r);
    assert_int_equal(feed_frame(r, KM_SYNC_REFUSE, body, sizeof body), refusals[i].error);
    assert_failed(r, refusals[i].error, "refuses the synchronization: no");
    assert_int_equal(last_frame(r).type, KM_SYNC_OPEN); /* no refusal of a refusal */
  }
  begin(r, true);
  assert_int_equal(feed_frame(r, KM_SYNC_REFUSE, NULL, 0), KM_ERR_CLOSED_BY_PEER);
}

static void test_the_stream_ends_early(void **state) {
  rig *r = *state;
  begin(r, false);
  assert_int_equal(feed(r, NULL, 0, true), KM_ERR_BAD_PACKET);
  assert_refused(r, KM_ERR_BAD_PACKET, "too early");
  exchange(r);
  assert_int_equal(feed(r, (const uint8_t[]){5, KM_SYNC_ENTRIES}, 2, true), KM_ERR_BAD_PACKET);
  assert_refused(r, KM_ERR_BAD_PACKET, "too early");
}

/* --- Floods --- */

static const uint8_t ask[] = {62 << 2 | 1, 9, 9, 9, 9, 9, 9, 9, 9};

/* Questions until no answer comes any more, but a WANT. */
static void ask_to_the_end(rig *r) {
  begin(r, false);
  assert_int_equal(feed_open_with(r, KM_SYNC_VERSION, ask, sizeof ask), 0);
  for (unsigned rounds = 1; rounds < 512; rounds++) {
    assert_int_equal(last_frame(r).type, KM_SYNC_RECONCILE);
    r->sent_len = 0;
    assert_int_equal(feed_frame(r, KM_SYNC_RECONCILE, ask, sizeof ask), 0);
  }
  assert_int_equal(last_frame(r).type, KM_SYNC_WANT);
}

static void test_endless_reconciliation(void **state) {
  rig *r = *state;
  ask_to_the_end(r);
  assert_int_equal(feed_frame(r, KM_SYNC_RECONCILE, ask, sizeof ask), KM_ERR_BAD_PACKET);
  assert_refused(r, KM_ERR_BAD_PACKET, "out of turn");
}

/* What was not compared is not known to be there: deletions are kept for the peer. */
static void test_a_reconciliation_that_is_cut_short(void **state) {
  rig *r = *state;
  kv_fixture *f = r->f;
  KV_OK(f, km_kv_set_readers(f->store, "docs", &f->ids[1], 1, &f->err));
  KV_OK(f, km_kv_delete(f->store, "docs", "k1", &f->err));
  for (unsigned whole = 0; whole < 2; whole++) {
    if (whole == 0) {
      ask_to_the_end(r);
    } else {
      begin(r, false);
      assert_int_equal(feed_open(r, KM_SYNC_VERSION), 0);
    }
    assert_int_equal(feed_want(r, 0), 0);
    assert_int_equal(feed_number(r, KM_SYNC_DONE_SENDING, 0), 0);
    km_sync_frame end = last_frame(r);
    assert_int_equal(end.type, KM_SYNC_END);
    assert_int_equal(km_rd_u8(&end.body), whole);
    assert_int_equal(feed_number(r, KM_SYNC_END, 1), 0);
    assert_int_equal(km_sync_get_state(r->s), KM_SYNC_DONE);
    kv_pass_ms(f, 2 * KV_DAY_MS);
    assert_int_equal(km_kv_collect(f->store, &f->err), whole);
  }
}

/* Names nobody has are passed over, but not more of them than twice what we have. */
static void test_wants_for_nothing(void **state) {
  rig *r = *state;
  const uint8_t body[2 + KM_SHORT_NAME_BYTES] = {1, 0, 1, 2, 3};
  for (unsigned more = 0; more < 2; more++) {
    begin(r, false);
    assert_int_equal(feed_open(r, KM_SYNC_VERSION), 0);
    assert_int_equal(feed_frame(r, KM_SYNC_WANT, body, sizeof body), 0);
    assert_int_equal(feed_frame(r, KM_SYNC_WANT, body, sizeof body), 0);
    if (more == 0) {
      assert_int_equal(feed_want(r, 0), 0);
      assert_int_equal(last_frame(r).type, KM_SYNC_DONE_SENDING);
    }
  }
  for (unsigned i = 2; i < 4; i++) {
    assert_int_equal(feed_frame(r, KM_SYNC_WANT, body, sizeof body), 0);
  }
  assert_int_equal(feed_frame(r, KM_SYNC_WANT, body, sizeof body), KM_ERR_BAD_PACKET);
  assert_refused(r, KM_ERR_BAD_PACKET, "more entries than there are");
}

/* The same entry again and again: known ones count too. */
static void test_endless_entries(void **state) {
  rig *r = *state;
  uint64_t clock = kv_clock(r->f, 0) + 50;
  const km_entry *e = kv_signed(r->f, 2, "docs", "k3", "v3", clock);
  begin_with(r, false, 5, 0);
  assert_int_equal(feed_open(r, KM_SYNC_VERSION), 0);
  assert_int_equal(feed_want(r, UINT64_MAX / 2), 0);
  for (unsigned i = 0; i < 5; i++) {
    assert_int_equal(feed_entry(r, e, clock - i), 0);
  }
  assert_int_equal(feed_entry(r, e, clock - 5), KM_ERR_LIMIT);
  assert_refused(r, KM_ERR_LIMIT, "more than 5 entries");
}

/* What we lack beyond a bound is left for another session, and the peer is told that not all was
 * taken. */
static void test_more_is_lacking_than_is_kept(void **state) {
  rig *r = *state;
  const uint8_t three[2 + 3 * KM_SHORT_NAME_BYTES] = {62 << 2 | 2, 3, 0, 0, 0, 0, 0, 1, 0, 0,
                                                      0,           0, 0, 2, 0, 0, 0, 0, 0, 3};
  for (size_t max = 2; max <= 3; max++) {
    begin_with(r, false, 0, max);
    assert_int_equal(feed_open_with(r, KM_SYNC_VERSION, three, sizeof three), 0);
    km_sync_frame want = last_frame(r);
    assert_int_equal(want.type, KM_SYNC_WANT);
    assert_int_equal(km_rd_u8(&want.body), 0);
    (void)km_rd_varint(&want.body, 64);
    assert_int_equal(km_rd_left(&want.body), max * KM_SHORT_NAME_BYTES);
    assert_int_equal(feed_want(r, 0), 0);
    assert_int_equal(feed_number(r, KM_SYNC_DONE_SENDING, 0), 0);
    km_sync_frame end = last_frame(r);
    assert_int_equal(end.type, KM_SYNC_END);
    assert_int_equal(km_rd_u8(&end.body), max == 3);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_a_session_by_hand, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_frame_waits, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_forged_entries, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_replayed_entries, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_malformed_entries, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_broken_entry_behind_a_good_one, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_larger_than_our_limits, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_other_versions, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_broken_openings, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_misplaced_frames, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_frames_to_who_begins, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_the_stream_ends_early, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_endless_reconciliation, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_a_reconciliation_that_is_cut_short, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_wants_for_nothing, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_endless_entries, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_more_is_lacking_than_is_kept, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
