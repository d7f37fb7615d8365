/* Clients of a relay that come, go and send: a few ids, so that they meet. Each step is one byte of
 * what to do, and what that needs. Whatever they send, the sums are right and nothing leaks. */
#include <stdlib.h>
#include <string.h>

#include "relay/assembly.h"
#include "relay/switchboard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CLIENTS 8
#define MAX_QUEUED 300000
#define MAX_PARTS 100000

typedef struct fuzz_client {
  km_switch_client c;
  km_assembly part;
  bool in;
} fuzz_client;

typedef struct input {
  const uint8_t *at, *end;
} input;

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

static uint8_t next(input *in) {
  return in->at < in->end ? *in->at++ : 0;
}

static const uint8_t *take(input *in, size_t *len) {
  const uint8_t *ret = in->at;
  size_t left = (size_t)(in->end - in->at);
  *len = *len < left ? *len : left;
  in->at += *len;
  return ret;
}

static void enter(km_switchboard *sb, fuzz_client *f, uint8_t how, km_ts now) {
  km_id id = {.bytes = {(uint8_t)(how & 3)}};
  *f = (fuzz_client){.in = true};
  km_token_bucket_init(&f->c.rx, (how & 4) != 0 ? 1000 : 0, 500, now);
  check(km_switchboard_enter(sb, &f->c, &id, (how & 8) != 0 ? KM_RELAY_V1 : KM_RELAY_V2, now) == 0);
}

static void leave(km_switchboard *sb, km_assembly_pool *parts, fuzz_client *f) {
  if (f->in) {
    km_switchboard_leave(sb, &f->c);
    km_assembly_reset(&f->part, parts);
    f->in = false;
  }
}

/* Everything in a queue is a message that its client understands. */
static void drain(km_switchboard *sb, fuzz_client *f, bool all) {
  uint8_t *at;
  size_t left;
  while ((at = km_switch_queue_first(&f->c.out, &left)) != NULL) {
    while (left > 0) {
      size_t len = at[1], header = len < 126 ? 2 : len == 126 ? 4 : 10;
      for (size_t i = 2; i < header; i++) {
        len = (i == 2 ? 0 : len << 8) | at[i];
      }
      check(at[0] == 0x82 && header + len <= left);
      km_relay_frame frame;
      check(km_relay_frame_read(&frame, KM_RELAY_READ_CLIENT, f->c.version, at + header, len,
                                NULL) == 0);
      at += header + len;
      left -= header + len;
    }
    km_switch_queue_pop(&f->c.out, &sb->pool);
    if (!all) {
      return;
    }
  }
}

/* As server_relay_io.c does it; what ends a connection ends it. */
static void receive(km_switchboard *sb, km_assembly_pool *parts, fuzz_client *f, input *in,
                    uint8_t how, km_ts now) {
  size_t len = (size_t)next(in) << ((how & 3) * 3);
  const uint8_t *msg = take(in, &len);
  bool last = (how & 4) != 0;
  km_errinfo err = {0};
  (void)km_switchboard_read(sb, &f->c, len, now);
  if (!last || !km_assembly_is_empty(&f->part)) {
    if (km_assembly_add(&f->part, parts, msg, len, KM_RELAY_MAX_MESSAGE) != 0) {
      leave(sb, parts, f);
      return;
    }
    if (!last) {
      return;
    }
    msg = km_assembly_bytes(&f->part);
    len = f->part.len;
  }
  int rv = km_switchboard_receive(sb, &f->c, msg, len, now, &err);
  km_assembly_reset(&f->part, parts);
  check(err.code == rv);
  if (rv != 0) {
    leave(sb, parts, f);
  }
}

static void check_sums(const km_switchboard *sb, const fuzz_client *all) {
  size_t bytes = 0, clients = 0, active = 0;
  for (int i = 0; i < CLIENTS; i++) {
    if (all[i].in) {
      clients++;
      active += all[i].c.active;
      bytes += all[i].c.out.bytes;
      check(all[i].c.out.datagrams <= KM_SWITCH_DATAGRAMS &&
            all[i].c.out.others <= KM_SWITCH_OTHERS);
      check(all[i].c.correspondent_count <= KM_SWITCH_CORRESPONDENTS);
    }
  }
  check(sb->stats.clients == clients && sb->stats.ids == active && sb->ids == active);
  check(sb->pool.bytes == bytes && bytes <= MAX_QUEUED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  static fuzz_client all[CLIENTS];
  km_switchboard sb;
  km_assembly_pool parts;
  input in = {data, data + len};
  km_ts now = KM_NS_PER_S;
  memset(all, 0, sizeof all);
  check(km_switchboard_init(&sb, &km_env_system, MAX_QUEUED) == 0);
  km_assembly_pool_init(&parts, &km_env_system, MAX_PARTS);
  while (in.at < in.end) {
    uint8_t what = next(&in), how = next(&in);
    fuzz_client *f = &all[what & (CLIENTS - 1)];
    now += (km_ts)(how & 0xf0) * 50 * KM_NS_PER_MS;
    if (!f->in) {
      enter(&sb, f, how, now);
    } else if (what < 0xc0) {
      receive(&sb, &parts, f, &in, how, now);
    } else if (what < 0xd0) {
      leave(&sb, &parts, f);
    } else if (what < 0xe0) {
      drain(&sb, f, (how & 1) != 0);
    } else if (what < 0xf8) {
      if (!km_switchboard_tick(&sb, &f->c, now)) {
        leave(&sb, &parts, f);
      }
    } else {
      km_switchboard_restarting(&sb, how, 1);
    }
    while ((what & 1) != 0 && km_switchboard_next_dirty(&sb) != NULL) {
    }
    check_sums(&sb, all);
  }
  for (int i = 0; i < CLIENTS; i++) {
    if (all[i].in) {
      drain(&sb, &all[i], true);
      leave(&sb, &parts, &all[i]);
    }
  }
  check(sb.pool.bytes == 0 && parts.bytes == 0 && parts.oldest == NULL);
  check(km_switchboard_next_dirty(&sb) == NULL);
  km_switchboard_clear(&sb);
  km_assembly_pool_clear(&parts);
  return 0;
}
