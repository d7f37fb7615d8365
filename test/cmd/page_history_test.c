/* The latencies that a status page remembers. */
#include "cmd/node/page/page_history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cJSON.h>
#include <cmocka.h>

static km_peer_status peer(int number, int64_t beat_ms, uint64_t rtt_us) {
  km_peer_status p = {.size = sizeof p,
                      .state = beat_ms == 0 ? KM_PEER_WAITING : KM_PEER_CONNECTED,
                      .last_heartbeat_ms = beat_ms,
                      .rtt_us = rtt_us};
  p.id.bytes[0] = (uint8_t)number;
  p.id.bytes[1] = (uint8_t)(number >> 8);
  return p;
}

static void round_of(page_history *h, const km_peer_status *peers, size_t count) {
  page_history_begin(h);
  for (size_t i = 0; i < count; i++) {
    page_history_add(h, &peers[i]);
  }
  page_history_end(h);
}

/* "BEAT: sample sample" of a peer, "" without one. */
static const char *told(const page_history *h, int number) {
  static char line[1024];
  char name[KM_ID_TEXT_CAP];
  km_peer_status p = peer(number, 0, 0);
  (void)km_id_format(&p.id, KM_ID_HEX, name, sizeof name);
  char *text = page_history_text(h);
  assert_non_null(text);
  cJSON *all = cJSON_Parse(text);
  assert_non_null(all);
  const cJSON *trace = cJSON_GetObjectItemCaseSensitive(all, name), *sample;
  line[0] = '\0';
  if (trace != NULL) {
    int len =
        snprintf(line, sizeof line,
                 "%.3f:", cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(trace, "beat")));
    cJSON_ArrayForEach(sample, cJSON_GetObjectItemCaseSensitive(trace, "us")) {
      len += snprintf(line + len, sizeof line - (size_t)len, " %.0f", cJSON_GetNumberValue(sample));
    }
  }
  cJSON_Delete(all);
  km_env_free(h->env, text);
  return line;
}

static void a_heartbeat_is_a_sample(void **state) {
  (void)state;
  page_history h;
  page_history_init(&h, &km_env_system);
  assert_string_equal(told(&h, 1), "");
  km_peer_status now = peer(1, 0, 0);
  round_of(&h, &now, 1);
  assert_string_equal(told(&h, 1), "");
  now = peer(1, 5000, 0); /* not measured */
  round_of(&h, &now, 1);
  assert_string_equal(told(&h, 1), "");
  now = peer(1, 5007, 300);
  round_of(&h, &now, 1);
  round_of(&h, &now, 1);
  assert_string_equal(told(&h, 1), "5.007: 300");
  now = peer(1, 6000, UINT64_MAX);
  round_of(&h, &now, 1);
  assert_string_equal(told(&h, 1), "6.000: 300 4294967295");
  /* However long it is away, that is one gap. */
  now = peer(1, 0, 0);
  round_of(&h, &now, 1);
  round_of(&h, &now, 1);
  assert_string_equal(told(&h, 1), "0.000: 300 4294967295 0");
  now = peer(1, 6000, 7); /* the same heartbeat, but a connection again */
  round_of(&h, &now, 1);
  assert_string_equal(told(&h, 1), "6.000: 300 4294967295 0 7");
  page_history_clear(&h);
}

static void the_oldest_goes(void **state) {
  (void)state;
  page_history h;
  page_history_init(&h, &km_env_system);
  for (int i = 1; i <= PAGE_SAMPLES + 5; i++) {
    km_peer_status now = peer(1, i, UINT32_MAX - (uint32_t)i);
    round_of(&h, &now, 1);
  }
  const char *line = told(&h, 1);
  char begin[64], end[64];
  (void)snprintf(begin, sizeof begin, "0.065: %u ", (unsigned)(UINT32_MAX - 6));
  (void)snprintf(end, sizeof end, " %u", (unsigned)(UINT32_MAX - 65));
  assert_memory_equal(line, begin, strlen(begin));
  assert_string_equal(line + strlen(line) - strlen(end), end);
  size_t samples = 0;
  for (const char *at = line; (at = strchr(at, ' ')) != NULL; at++) {
    samples++;
  }
  assert_int_equal(samples, PAGE_SAMPLES);
  page_history_clear(&h);
}

/* More than there is room for at first, in another order, some gone, some new. */
static void many_come_and_go(void **state) {
  (void)state;
  enum { COUNT = 100 };
  page_history h;
  km_peer_status peers[COUNT];
  page_history_init(&h, &km_env_system);
  for (int i = 0; i < COUNT; i++) {
    peers[i] = peer(i + 1, 1000, (uint64_t)(i + 1));
  }
  round_of(&h, peers, COUNT);
  for (int i = 0; i < COUNT; i++) {
    peers[i] = peer(2 * (COUNT - i), 2000, (uint64_t)(1000 + i));
  }
  round_of(&h, peers, COUNT);
  assert_int_equal(h.count, COUNT);
  for (int number = 1; number <= 2 * COUNT; number++) {
    char wanted[64] = "";
    int at = COUNT - number / 2;
    if (number % 2 == 0 && number <= COUNT) {
      (void)snprintf(wanted, sizeof wanted, "2.000: %d %d", number, 1000 + at);
    } else if (number % 2 == 0) {
      (void)snprintf(wanted, sizeof wanted, "2.000: %d", 1000 + at);
    }
    assert_string_equal(told(&h, number), wanted);
  }
  round_of(&h, NULL, 0);
  assert_int_equal(h.count, 0);
  char *text = page_history_text(&h);
  assert_string_equal(text, "{}");
  km_env_free(h.env, text);
  page_history_clear(&h);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_heartbeat_is_a_sample),
      cmocka_unit_test(the_oldest_goes),
      cmocka_unit_test(many_come_and_go),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
