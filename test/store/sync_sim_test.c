/* Whatever happens on the way, stores end equal and keep what was acknowledged.
 * KM_SIM_SEEDS: how many schedules; KM_SIM_SEED: only this one. */
#include "test/store/kv_fixture.h"
#include "test/store/sim_mesh.h"
#include "test/store/sim_pair.h"

enum { SEEDS = 2000, DISK_EACH = 20, RUNS_A_MESH = 100 };

static uint64_t number_of(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void add_totals(sim_totals *sum, const sim_totals *t) {
  sum->writes += t->writes;
  sum->deletes += t->deletes;
  sum->batches += t->batches;
  sum->undone += t->undone;
  sum->syncs += t->syncs;
  sum->cuts += t->cuts;
  sum->pushes += t->pushes;
  sum->crashes += t->crashes;
  sum->collected += t->collected;
  sum->future += t->future;
}

/* Seeds from, from + step, ... below end. */
static void run_seeds(const char *dir, uint64_t from, uint64_t end, uint64_t step,
                      sim_totals *sum) {
  for (uint64_t seed = from; seed < end;) {
    sim_mesh *m = sim_mesh_new(dir);
    for (unsigned i = 0; i < RUNS_A_MESH && seed < end; i++, seed += step) {
      const char *failure = sim_mesh_run(m, seed);
      if (failure != NULL) {
        fail_msg("seed %llu%s: %s", (unsigned long long)seed, dir != NULL ? " on disk" : "",
                 failure);
      }
    }
    add_totals(sum, sim_mesh_totals(m));
    sim_mesh_free(m);
  }
}

/* The schedules do try what they are for. */
static void assert_tried(const sim_totals *t, uint64_t seeds) {
  print_message(
      "%llu schedules: %llu writes (%llu deletions), %llu batches (%llu undone), "
      "%llu syncs (%llu cut), %llu pushes, %llu crashes, %llu deletions forgotten, "
      "%llu entries refused for their clocks\n",
      (unsigned long long)seeds, (unsigned long long)t->writes, (unsigned long long)t->deletes,
      (unsigned long long)t->batches, (unsigned long long)t->undone, (unsigned long long)t->syncs,
      (unsigned long long)t->cuts, (unsigned long long)t->pushes, (unsigned long long)t->crashes,
      (unsigned long long)t->collected, (unsigned long long)t->future);
  if (seeds >= 100) {
    assert_true(t->writes > seeds && t->deletes > 0 && t->batches > 0 && t->undone > 0);
    assert_true(t->syncs > seeds && t->cuts > 0 && t->pushes > 0 && t->crashes > 0);
    assert_true(t->collected > 0 && t->future > 0);
  }
}

static void test_schedules_in_memory(void **state) {
  (void)state;
  sim_totals sum = {0};
  uint64_t seeds = number_of("KM_SIM_SEEDS", SEEDS);
  uint64_t only = number_of("KM_SIM_SEED", UINT64_MAX);
  if (only != UINT64_MAX) {
    run_seeds(NULL, only, only + 1, 1, &sum);
    return;
  }
  run_seeds(NULL, 0, seeds, 1, &sum);
  assert_tried(&sum, seeds);
}

static void test_schedules_on_disk(void **state) {
  const kv_fixture *f = *state;
  sim_totals sum = {0};
  uint64_t seeds = number_of("KM_SIM_SEEDS", SEEDS);
  uint64_t only = number_of("KM_SIM_SEED", UINT64_MAX);
  if (only != UINT64_MAX) {
    run_seeds(f->dir, only, only + 1, 1, &sum);
    return;
  }
  run_seeds(f->dir, 0, seeds, DISK_EACH, &sum);
  assert_tried(&sum, seeds / DISK_EACH);
}

/* --- What merging is --- */

enum { ENTRIES = 24, STORES = 4 };

static uint64_t chance;

static unsigned draw(unsigned bound) {
  chance = chance * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
  return (unsigned)(chance >> 33) % bound;
}

typedef struct stamped {
  char key[8], value[24];
  bool deleted;
  uint64_t clock;
  unsigned author;
} stamped;

/* Few keys, clocks and authors, so that all ties come up. */
static void draw_entries(const kv_fixture *f, stamped *list) {
  for (unsigned i = 0; i < ENTRIES; i++) {
    stamped *s = &list[i];
    (void)snprintf(s->key, sizeof s->key, "k%u", draw(3));
    (void)snprintf(s->value, sizeof s->value, "value %u", draw(4));
    s->deleted = draw(4) == 0;
    s->clock = kv_clock(f, -1000) + draw(5);
    s->author = draw(3);
  }
}

static void apply(kv_fixture *f, km_store *store, const stamped *s) {
  const km_entry *e =
      kv_signed(f, s->author, "docs", s->key, s->deleted ? NULL : s->value, s->clock);
  int verdict = km_kv_apply(store, e, &f->ids[draw(4)], &f->err);
  assert_true(verdict == KM_KV_NEW || verdict == KM_KV_KNOWN || verdict == KM_KV_OLD);
}

static void apply_in_any_order(kv_fixture *f, km_store *store, const stamped *list) {
  unsigned order[ENTRIES];
  for (unsigned i = 0; i < ENTRIES; i++) {
    order[i] = i;
  }
  for (unsigned i = ENTRIES; i-- > 1;) {
    unsigned j = draw(i + 1), other = order[i];
    order[i] = order[j];
    order[j] = other;
  }
  for (unsigned i = 0; i < ENTRIES; i++) {
    apply(f, store, &list[order[i]]);
    if (draw(3) == 0) {
      apply(f, store, &list[order[draw(i + 1)]]); /* once more */
    }
  }
}

static void hash_of(kv_fixture *f, km_store *store, uint8_t ret[KM_KV_HASH_BYTES]) {
  KV_OK(f, km_kv_hash(store, "docs", ret, &f->err));
}

static void sync_stores(km_store *a, km_store *b) {
  sim_pair pair;
  sim_pair_init(&pair, a, b);
  sim_pair_begin(&pair, "docs");
  sim_pair_run(&pair, 100000);
  assert_true(sim_pair_done(&pair));
  sim_pair_free(&pair);
}

/* Commutative and idempotent: any order, any repeats. Associative: parts are merged first, then the
 * results with each other. */
static void check_merging(kv_fixture *f) {
  km_store *stores[STORES];
  stamped list[ENTRIES];
  uint8_t all[KM_KV_HASH_BYTES], other[KM_KV_HASH_BYTES];
  draw_entries(f, list);
  for (unsigned i = 0; i < STORES; i++) {
    KV_OK(f, kv_open_store(f, i, NULL, &stores[i]));
  }
  apply_in_any_order(f, stores[0], list);
  apply_in_any_order(f, stores[1], list);
  for (unsigned i = 0; i < ENTRIES; i++) {
    apply(f, stores[2 + draw(2)], &list[i]);
  }
  sync_stores(stores[2], stores[3]);
  hash_of(f, stores[0], all);
  for (unsigned i = 1; i < STORES; i++) {
    hash_of(f, stores[i], other);
    assert_memory_equal(all, other, sizeof all);
  }
  for (unsigned i = 0; i < STORES; i++) {
    km_store_close(stores[i]);
  }
}

static void test_merging(void **state) {
  kv_fixture *f = *state;
  for (uint64_t seed = 0; seed < 60; seed++) {
    chance = seed;
    check_merging(f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_merging, kv_set_up, kv_tear_down),
      cmocka_unit_test(test_schedules_in_memory),
      cmocka_unit_test_setup_teardown(test_schedules_on_disk, kv_set_up, kv_tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
