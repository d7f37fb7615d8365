/* The thread that writes signed packets: what is handed over while a transaction runs goes into the
 * next one together. It also drops what is too old or too much, a little at a time, and remembers
 * for a while how new that was: who kept a copy of a packet cannot bring it back. */
#ifndef KM_DISCOVERY_SERVER_PACKET_WRITER_IO_H
#define KM_DISCOVERY_SERVER_PACKET_WRITER_IO_H

#include "base/io/loop_io.h"
#include "discovery/pkarr.h"
#include "store/db_io.h"

typedef struct km_packet_writer km_packet_writer;

/* One packet to write. All but `next`, `failed`, `older` belongs to who made it. */
typedef struct km_packet_job {
  struct km_packet_job *next;
  bool write;  /* false: only wait for those before */
  bool failed; /* told with the result */
  bool older;  /* not written: a newer one is there, or it was and has expired */
  uint32_t stored_s;
  km_id id;
  uint64_t timestamp_us;
  uint16_t payload_len;
  const uint8_t *payload;
} km_packet_job;

#define KM_PACKET_EVICTED_MAX 256

/* What the thread did since it was asked last. */
typedef struct km_packet_done {
  km_packet_job *jobs; /* in the order in which they were handed over */
  km_id evicted[KM_PACKET_EVICTED_MAX];
  size_t evicted_count;
  uint64_t evicted_age, evicted_room; /* since the beginning */
  uint64_t packets, commits;
  km_errinfo err;                /* of the last failure */
  bool write_fails, evict_fails; /* the last time */
  km_errinfo evict_err;
} km_packet_done;

typedef struct km_packet_writer_config {
  const km_env *env;
  km_loop *loop;
  km_db *db; /* nobody else uses it until km_packet_writer_stop */
  size_t max_packets;
  uint32_t max_age_s;
  void (*on_done)(void *ctx); /* on the loop: something can be taken */
  void *ctx;
} km_packet_writer_config;

#define KM_PACKET_DB_APPLICATION_ID 0x6b6d7073 /* "kmps" */
/* The schema, for km_db_config. */
const char *const *km_packet_migrations(size_t *ret_count);

KM_NODISCARD int km_packet_writer_start(km_packet_writer **ret,
                                        const km_packet_writer_config *config, km_errinfo *err);
void km_packet_writer_add(km_packet_writer *w, km_packet_job *job);
void km_packet_writer_take(km_packet_writer *w, km_packet_done *ret);
/* Writes what waits, ends the thread, and gives what is done. on_done does not run any more. Frees
 * `w`, not the database. */
void km_packet_writer_stop(km_packet_writer *w, km_packet_done *ret);

#endif /* KM_DISCOVERY_SERVER_PACKET_WRITER_IO_H */
