/* km-bench-dns: what test/bench/dns/run drives. Packets look as iroh's do: one relay, one address.
 *
 *   names COUNT            the keys' labels, one a line
 *   serve COUNT            the DNS server in front of COUNT packets in memory; ends with its input
 *   publish COUNT FILE [full]  signed packets, checked and put; told once they are on disk
 *   records COUNT FILE     memory and disk that a packet takes
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/wire.h"
#include "discovery/server/dns_io.h"
#include "discovery/server/packet_store_io.h"

enum { IN_FLIGHT = 4096, TTL_S = 30 };
static const char relay[] = "relay=https://euw1-1.relay.example.org./";
static const char addr[] = "addr=203.0.113.77:49152";

static void check(int rv, const km_errinfo *err) {
  if (rv != 0) {
    (void)fprintf(stderr, "km-bench-dns: %s\n",
                  err != NULL && err->text[0] != '\0' ? err->text : km_strerror(rv));
    exit(1);
  }
}

/* Any 32 bytes will do where nobody checks. */
static km_id id_of(uint64_t number) {
  km_id id;
  uint64_t x = number;
  for (size_t i = 0; i < sizeof id.bytes; i += 8) {
    x += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    uint64_t z = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    memcpy(id.bytes + i, &z, 8);
  }
  return id;
}

static void write_txt(km_wr *wr, const char *text) {
  km_wr_be(wr, 16, 2);
  km_wr_be(wr, 1, 2);
  km_wr_be(wr, TTL_S, 4);
  km_wr_be(wr, strlen(text) + 1, 2);
  km_wr_u8(wr, (uint8_t)strlen(text));
  km_wr_bytes(wr, text, strlen(text));
}

static size_t write_message(uint8_t ret[KM_PKARR_DNS_MAX], const km_id *id) {
  static const uint8_t header[] = {0, 0, 0x80, 0, 0, 0, 0, 2, 0, 0, 0, 0};
  char z32[KM_ID_TEXT_CAP];
  (void)km_id_format(id, KM_ID_Z32, z32, sizeof z32);
  km_wr wr = km_wr_init(ret, KM_PKARR_DNS_MAX);
  km_wr_bytes(&wr, header, sizeof header);
  km_wr_u8(&wr, 5);
  km_wr_bytes(&wr, "_iroh", 5);
  km_wr_u8(&wr, KM_ID_BASE32_LEN);
  km_wr_bytes(&wr, z32, KM_ID_BASE32_LEN);
  km_wr_u8(&wr, 0);
  write_txt(&wr, relay);
  km_wr_be(&wr, 0xc00c, 2);
  write_txt(&wr, addr);
  return (size_t)(wr.at - ret);
}

static void unsigned_packet(km_pkarr *ret, uint64_t number) {
  ret->id = id_of(number);
  memset(ret->signature, (int)(number & 0xff), sizeof ret->signature);
  ret->timestamp_us = 1 + number;
  ret->dns_len = (uint16_t)write_message(ret->dns, &ret->id);
}

/* --- the store -------------------------------------------------------------------------------- */

typedef struct bench {
  km_loop *loop;
  km_packet_store *store;
  size_t told;
} bench;

static void on_put(void *ctx, km_packet_put result, const km_errinfo *err) {
  bench *b = ctx;
  check(result == KM_PACKET_NEW ? 0 : KM_ERR_STORE, err);
  b->told++;
}

static void open_store(bench *b, size_t count, const char *path, bool full_sync) {
  km_errinfo err = {0};
  km_packet_store_config config = {.env = &km_env_system,
                                   .loop = b->loop,
                                   .path = path,
                                   .max_packets = path == NULL ? count : 0,
                                   .cache_bytes = (size_t)1 << 32,
                                   .full_sync = full_sync};
  if (path != NULL) {
    config.cache_bytes = count * 512; /* room for all of them */
  }
  check(km_packet_store_open(&b->store, &config, &err), &err);
}

static void put(bench *b, const km_pkarr *packet, size_t number) {
  km_errinfo err = {0};
  while (number - b->told >= IN_FLIGHT) {
    (void)km_loop_run_once(b->loop, 1000);
  }
  check(km_packet_store_put(b->store, packet, on_put, b, &err), &err);
}

static void wait_told(bench *b, size_t count) {
  while (b->told < count) {
    (void)km_loop_run_once(b->loop, 1000);
  }
}

static double cpu_s(void) {
  struct rusage usage;
  (void)getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static long resident(void) {
  long pages = 0, resident_pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  if (f == NULL || fscanf(f, "%ld %ld", &pages, &resident_pages) != 2) {
    resident_pages = 0;
  }
  if (f != NULL) {
    (void)fclose(f); /* only read from */
  }
  return resident_pages * sysconf(_SC_PAGESIZE);
}

/* --- modes ------------------------------------------------------------------------------------ */

static void names(size_t count) {
  for (size_t i = 0; i < count; i++) {
    char z32[KM_ID_TEXT_CAP];
    km_id id = id_of(i);
    (void)km_id_format(&id, KM_ID_Z32, z32, sizeof z32);
    (void)puts(z32);
  }
}

/* Payloads as relays get them, made before the clock runs. */
static uint8_t *sign_all(size_t count, km_id *ids, uint16_t *lengths) {
  uint8_t *payloads = malloc(count * KM_PKARR_PAYLOAD_MAX);
  check(payloads != NULL ? 0 : KM_ERR_NOMEM, NULL);
  for (size_t i = 0; i < count; i++) {
    km_id seed = id_of(i);
    km_secret_key *key;
    km_pkarr packet;
    uint8_t message[KM_PKARR_DNS_MAX];
    check(km_secret_key_from_bytes(&key, seed.bytes), NULL);
    km_secret_key_id(key, &ids[i]);
    size_t len = write_message(message, &ids[i]);
    check(km_pkarr_sign(&packet, key, 1 + i, message, len), NULL);
    lengths[i] = (uint16_t)km_pkarr_write(&packet, payloads + i * KM_PKARR_PAYLOAD_MAX);
    km_secret_key_free(key);
  }
  return payloads;
}

static void publish(bench *b, size_t count, const char *path, bool full_sync) {
  km_id *ids = calloc(count, sizeof *ids);
  uint16_t *lengths = calloc(count, sizeof *lengths);
  check(ids != NULL && lengths != NULL ? 0 : KM_ERR_NOMEM, NULL);
  uint8_t *payloads = sign_all(count, ids, lengths);
  open_store(b, count, path, full_sync);
  km_ts start = km_clock_now();
  double cpu = cpu_s();
  for (size_t i = 0; i < count; i++) {
    km_pkarr packet;
    km_errinfo err = {0};
    check(km_pkarr_read(&packet, &ids[i], payloads + i * KM_PKARR_PAYLOAD_MAX, lengths[i], &err),
          &err);
    put(b, &packet, i);
  }
  wait_told(b, count);
  double seconds = (double)(km_clock_now() - start) / 1e9;
  cpu = cpu_s() - cpu;
  km_packet_store_stats stats;
  km_packet_store_get_stats(b->store, &stats);
  (void)printf("{\"per_second\":%.0f,\"per_cpu_second\":%.0f,\"commits\":%llu}\n",
               (double)count / seconds, (double)count / cpu, (unsigned long long)stats.commits);
  free(payloads);
  free(ids);
  free(lengths);
}

/* Memory that a packet takes. What the first ones bring with them is not counted. */
static double fill(bench *b, size_t count, const char *path) {
  open_store(b, count, path, false);
  km_pkarr packet;
  long before = 0;
  b->told = 0;
  for (size_t i = 0; i < count; i++) {
    if (i == 1000) {
      wait_told(b, i);
      before = resident();
    }
    unsigned_packet(&packet, i);
    put(b, &packet, i);
  }
  wait_told(b, count);
  double each = (double)(resident() - before) / (double)(count - 1000);
  km_packet_store_close(b->store);
  b->store = NULL;
  return each;
}

/* All in memory only; then with a file, where SQLite's memory of fixed size comes on top. */
static void records(bench *b, size_t count, const char *path) {
  double memory = fill(b, count, NULL), with_file = fill(b, count, path);
  struct stat st = {0};
  (void)stat(path, &st); /* 0 bytes tell that it is not there */
  (void)printf("{\"bytes_per_record\":%.1f,\"with_file_bytes\":%.1f,"
               "\"disk_bytes_per_record\":%.1f}\n",
               memory, with_file, (double)st.st_size / (double)count);
}

static int find_packet(void *ctx, const km_id *id, km_pkarr *ret, int64_t *stored) {
  return km_packet_store_get(ctx, id, ret, stored);
}

static void on_input(void *ctx, int events) {
  char byte;
  (void)events;
  if (read(STDIN_FILENO, &byte, 1) <= 0) {
    km_loop_stop(ctx);
  }
}

static void serve(bench *b, size_t count) {
  static const char *const origins[] = {"dns.test"};
  open_store(b, count, NULL, false);
  km_pkarr packet;
  for (size_t i = 0; i < count; i++) {
    unsigned_packet(&packet, i);
    put(b, &packet, i);
  }
  wait_told(b, count);
  km_zone_config zone_config = {.env = &km_env_system,
                                .origins = origins,
                                .origin_count = 1,
                                .negative_ttl_s = 60,
                                .packet = find_packet,
                                .ctx = b->store};
  km_zone *zone;
  km_rate_limit *limit;
  km_dns_io *dns;
  km_poll *input;
  km_udp_addr bind = {.family = 4, .ip = {127, 0, 0, 1}};
  km_errinfo err = {0};
  check(km_zone_new(&zone, &zone_config, &err), &err);
  /* There to be paid for, too high to be met. */
  check(km_rate_limit_new(&limit, &km_env_system, 100000000, 100000000), NULL);
  km_dns_io_config config = {.env = &km_env_system,
                             .loop = b->loop,
                             .zone = zone,
                             .bind = &bind,
                             .bind_count = 1,
                             .max_tcp = 1000,
                             .max_tcp_per_addr = 1000,
                             .tcp_idle_ms = 10000,
                             .limit = limit};
  check(km_dns_io_new(&dns, &config, &err), &err);
  (void)km_dns_io_bound(dns, &bind, 1); /* there is one */
  check(km_poll_new(&input, b->loop, STDIN_FILENO, on_input, b->loop), NULL);
  check(km_poll_set(input, KM_POLL_READ), NULL);
  (void)printf("{\"port\":%u}\n", bind.port);
  (void)fflush(stdout); /* if nobody reads it, nobody asks */
  (void)km_loop_run(b->loop);
  km_poll_free(input);
  km_dns_io_free(dns);
  km_rate_limit_free(limit);
  km_zone_free(zone);
}

int main(int argc, char **argv) {
  bench b = {0};
  size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
  const char *mode = argc > 1 ? argv[1] : "", *path = argc > 3 ? argv[3] : NULL;
  check(km_loop_new(&b.loop), NULL);
  if (strcmp(mode, "names") == 0 && count > 0) {
    names(count);
  } else if (strcmp(mode, "serve") == 0 && count > 0) {
    serve(&b, count);
  } else if (strcmp(mode, "publish") == 0 && count > 0 && path != NULL) {
    publish(&b, count, path, argc > 4 && strcmp(argv[4], "full") == 0);
  } else if (strcmp(mode, "records") == 0 && count > 1000 && path != NULL) {
    records(&b, count, path);
  } else {
    (void)fprintf(stderr, "km-bench-dns names|serve COUNT, or publish|records COUNT FILE [full]\n");
    return 2;
  }
  km_packet_store_close(b.store);
  (void)km_loop_run_nowait(b.loop);
  return km_loop_free(b.loop) == 0 ? 0 : 1;
}
