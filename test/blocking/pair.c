#include "pair.h"

#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const km_udp_addr loopback = {.family = 4, .ip = {127, 0, 0, 1}};

void pair_options(km_endpoint_options *ret) {
  km_endpoint_options_default(ret);
  ret->bind = &loopback;
  ret->bind_count = 1;
}

static km_blocking *open_one(const km_endpoint_options *options) {
  km_endpoint_options opt;
  km_blocking *b = NULL;
  km_errinfo err = {0};
  pair_options(&opt);
  if (km_blocking_open(&b, options != NULL ? options : &opt, &err) != 0) {
    fail_msg("km_blocking_open: %s", err.text);
  }
  return b;
}

void pair_open(pair *p, const km_endpoint_options *client, const km_endpoint_options *server) {
  *p = (pair){.client = open_one(client), .server = open_one(server)};
  km_errinfo err;
  assert_int_equal(km_blocking_listen(p->server, PAIR_ALPN, &err), 0);
  assert_int_equal(km_blocking_addr(p->server, &p->addr), 0);
}

void pair_connect(pair *p, const km_endpoint_options *client, const km_endpoint_options *server) {
  pair_open(p, client, server);
  km_errinfo err = {0};
  if (km_blocking_dial(p->client, &p->at_client, p->addr, PAIR_ALPN, PATIENCE_MS, &err) != 0) {
    fail_msg("km_blocking_dial: %s", err.text);
  }
  assert_int_equal(km_blocking_accept(p->server, &p->at_server, PATIENCE_MS, &err), 0);
}

void pair_stream(pair *p, km_bstream **at_client, km_bstream **at_server) {
  uint8_t byte = 0;
  size_t n = 0;
  km_errinfo err;
  assert_int_equal(km_bconn_open(p->at_client, at_client, true, PATIENCE_MS, &err), 0);
  assert_int_equal(km_bstream_write(*at_client, "x", 1, false, PATIENCE_MS, &err), 0);
  assert_int_equal(km_bconn_accept(p->at_server, at_server, PATIENCE_MS, &err), 0);
  assert_int_equal(km_bstream_read(*at_server, &byte, 1, &n, PATIENCE_MS, &err), 0);
  assert_int_equal(n, 1);
  assert_int_equal(byte, 'x');
}

void pair_close(pair *p) {
  km_bconn_free(p->at_client);
  km_bconn_free(p->at_server);
  km_blocking_close(p->client);
  km_blocking_close(p->server);
  km_addr_free(p->addr);
}

/* --- threads --------------------------------------------------------------------------------- */

static void *task_main(void *arg) {
  task *t = arg;
  atomic_store(&t->tid, (int)syscall(SYS_gettid));
  t->rv = t->run(t->arg);
  return NULL;
}

void task_start(task *t, int (*run)(void *arg), void *arg) {
  t->run = run;
  t->arg = arg;
  atomic_store(&t->tid, 0);
  assert_int_equal(pthread_create(&t->thread, NULL, task_main, t), 0);
}

int task_join(task *t) {
  assert_int_equal(pthread_join(t->thread, NULL), 0);
  return t->rv;
}

static bool is_asleep(int tid) {
  char path[64], line[512];
  (void)snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
  FILE *f = fopen(path, "r");
  if (f == NULL) {
    fail_msg("%s: the thread is gone", path);
  }
  bool read = fgets(line, sizeof line, f) != NULL;
  (void)fclose(f);
  const char *state = read ? strrchr(line, ')') : NULL;
  return state != NULL && state[1] == ' ' && state[2] == 'S';
}

void task_wait_asleep(task *t) {
  WAIT_FOR(atomic_load(&t->tid) != 0);
  for (unsigned in_a_row = 0; in_a_row < 5;) {
    in_a_row = is_asleep(atomic_load(&t->tid)) ? in_a_row + 1 : 0;
    sleep_ms(4);
  }
}

/* --- bytes ----------------------------------------------------------------------------------- */

uint8_t pattern_at(uint64_t at) {
  uint64_t x = (at / 8 + 1) * UINT64_C(0x9e3779b97f4a7c15);
  x ^= x >> 29;
  return (uint8_t)(x >> (8 * (at % 8)));
}

void pattern_fill(uint8_t *buf, size_t len, uint64_t at) {
  for (size_t i = 0; i < len; i++) {
    buf[i] = pattern_at(at + i);
  }
}

int pattern_write(km_bstream *s, uint64_t len) {
  uint8_t buf[50000]; /* no multiple of anything */
  uint64_t at = 0;
  int rv = 0;
  do {
    size_t n = len - at < sizeof buf ? (size_t)(len - at) : sizeof buf;
    pattern_fill(buf, n, at);
    at += n;
    rv = km_bstream_write(s, buf, n, at == len, PATIENCE_MS, NULL);
  } while (rv == 0 && at < len);
  return rv;
}

int pattern_read(km_bstream *s, uint64_t len) {
  uint8_t got[70000], want[70000];
  uint64_t at = 0;
  size_t n = 0;
  int rv;
  while ((rv = km_bstream_read(s, got, sizeof got, &n, PATIENCE_MS, NULL)) == 0 && n > 0) {
    pattern_fill(want, n, at);
    at += n;
    if (at > len || memcmp(got, want, n) != 0) {
      return -1000;
    }
  }
  return rv != 0 ? rv : at == len ? 0 : -1000;
}

int echo_stream(km_bstream *s) {
  uint8_t buf[32768];
  size_t n = 0;
  int rv;
  do {
    rv = km_bstream_read(s, buf, sizeof buf, &n, PATIENCE_MS, NULL);
    if (rv == 0) {
      rv = km_bstream_write(s, buf, n, n == 0, PATIENCE_MS, NULL);
    }
  } while (rv == 0 && n > 0);
  return rv;
}

uint64_t now_ms(void) {
  struct timespec ts;
  (void)clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

void sleep_ms(unsigned ms) {
  struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};
  (void)nanosleep(&ts, NULL);
}
