/* One slot of a magicsock: the socket's life, its events, and the batch it keeps while blocked. */
#include <errno.h>
#include <string.h>

#include "magicsock/magicsock_impl.h"
#include "magicsock/mapped_addr.h"
#include "magicsock/packet_kind.h"

/* Bounds of one turn. The bytes are what counts: acknowledgements leave only after the turn, and a
 * sender that waits for them has less than a megabyte of packets under way to wait with. */
enum { RX_ROUNDS = 8, RX_BYTES = 512 * 1024 };

/* Back-off after ENOBUFS: 1, 2, 4, ... 32 ms, then the batch is given up. */
enum { RETRY_MAX = 6 };

static const km_env *env_of(const km_socket *s) {
  return s->ms->config.env;
}

static void addr_text(const km_socket *s, char text[KM_UDP_ADDR_TEXT_CAP]) {
  if (km_udp_addr_format(&s->udp.bound, text, KM_UDP_ADDR_TEXT_CAP) < 0) {
    text[0] = '\0';
  }
}

static void watch(km_socket *s) {
  int events = s->wait == KM_SOCKET_WAIT_WRITABLE ? KM_POLL_READ | KM_POLL_WRITE : KM_POLL_READ;
  if (km_poll_set(s->poll, events) != 0) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    addr_text(s, text);
    KM_LOG(&env_of(s)->logger, KM_LOG_ERROR, KM_LOGC_UDP, NULL, NULL, "socket-unwatched", "addr=%s",
           text);
  }
}

/* Arms the deadline for the socket that is to be tried first. */
static void arm_retry(km_magicsock *ms) {
  km_ts at = ms->wake_writers ? km_loop_now(ms->config.loop) : KM_TS_NEVER;
  for (size_t i = 0; i < km_socket_slots(ms); i++) {
    const km_socket *s = km_socket_at(ms, i);
    if (s->wait == KM_SOCKET_WAIT_RETRY && s->retry_at < at) {
      at = s->retry_at;
    }
  }
  km_deadline_set(ms->retry, at);
}

static void forget_kept(km_socket *s) {
  km_env_free(env_of(s), s->kept.data);
  s->kept = (km_kept_batch){0};
  s->wait = KM_SOCKET_READY;
}

/* Who waited for this socket may have moved to another one by now, and must hear of it; not from
 * here, where the caller may be in the middle of something. */
static void drop_kept(km_socket *s) {
  if (s->wait == KM_SOCKET_READY) {
    return;
  }
  s->ms->stats.tx_errors += (s->kept.len + s->kept.segment - 1) / s->kept.segment;
  forget_kept(s);
  s->ms->wake_writers = true;
  arm_retry(s->ms);
}

static void shut(km_socket *s) {
  drop_kept(s);
  km_poll_free(s->poll);
  s->poll = NULL;
  km_udp_close(&s->udp);
}

void km_socket_close(km_socket *s) {
  if (s->state == KM_SOCKET_FREE) {
    return;
  }
  if (s->poll != NULL) {
    shut(s);
  }
  s->state = KM_SOCKET_FREE;
}

void km_socket_settle(km_socket *s) {
  bool useless = s->state == KM_SOCKET_OLD || s->state == KM_SOCKET_DEAD;
  if (useless && s->refs == 0 && !s->busy) {
    km_socket_close(s);
  }
}

static void die(km_socket *s, int sys_errno) {
  char text[KM_UDP_ADDR_TEXT_CAP];
  addr_text(s, text);
  KM_LOG(&env_of(s)->logger, KM_LOG_ERROR, KM_LOGC_UDP, NULL, NULL, "socket-dead",
         "addr=%s errno=%d", text, sys_errno);
  shut(s);
  s->state = KM_SOCKET_DEAD;
}

km_socket *km_socket_of(const km_magicsock *ms, const km_path_key *key) {
  if (key->way != KM_WAY_DIRECT || key->socket >= km_socket_slots(ms)) {
    return NULL;
  }
  const km_socket *s = km_socket_at(ms, key->socket);
  if (s->state == KM_SOCKET_FREE || s->generation != key->socket_generation ||
      s->udp.bound.family != key->remote.family) {
    return NULL;
  }
  return (km_socket *)km_udp_unconst(s);
}

/* Sending */

static void account(km_socket *s, km_path *path, const km_udp_tx_report *report) {
  km_magicsock_stats *stats = &s->ms->stats;
  stats->tx_packets += report->sent_packets;
  stats->tx_bytes += report->sent_bytes;
  stats->tx_batches += report->calls;
  stats->tx_errors += report->dropped_packets;
  if (report->sent_packets > 0) {
    s->retries = 0;
  }
  if (path == NULL) {
    return;
  }
  path->tx_packets += report->sent_packets;
  path->tx_bytes += report->sent_bytes;
  if (report->last_errno != 0) {
    path->last_errno = report->last_errno;
  } else if (report->sent_packets > 0) {
    path->last_errno = 0;
  }
}

static void drop(km_socket *s, const km_udp_tx *tx, km_path *path, int sys_errno) {
  s->ms->stats.tx_errors += (tx->len + tx->segment - 1) / tx->segment;
  if (path != NULL) {
    path->last_errno = sys_errno;
  }
}

/* One call of the driver, with its books kept. */
static int transmit(km_socket *s, const km_udp_tx *tx, km_path *path, km_udp_tx_report *report) {
  bool gso = s->udp.gso;
  int rv = s->ms->driver->send(&s->udp, tx, report);
  account(s, path, report);
  if (gso && !s->udp.gso) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    addr_text(s, text);
    KM_LOG(&env_of(s)->logger, KM_LOG_INFO, KM_LOGC_UDP, NULL, NULL, "gso-off",
           "addr=%s the kernel refused a batch", text);
  }
  return rv;
}

/* `rv` is what the driver said: KM_ERR_AGAIN or KM_ERR_LIMIT. */
static void wait_for_room(km_socket *s, int rv) {
  km_magicsock *ms = s->ms;
  s->wait = rv == KM_ERR_AGAIN ? KM_SOCKET_WAIT_WRITABLE : KM_SOCKET_WAIT_RETRY;
  if (s->wait == KM_SOCKET_WAIT_RETRY) {
    s->retry_at = km_loop_now(ms->config.loop) + (KM_NS_PER_MS << s->retries);
    s->retries++;
  }
  watch(s);
  arm_retry(ms);
}

static bool keep(km_socket *s, const km_udp_tx *tx, size_t done, const km_path *path) {
  uint8_t *data = km_env_alloc(env_of(s), tx->len - done);
  if (data == NULL) {
    return false;
  }
  memcpy(data, tx->data + done, tx->len - done);
  s->kept = (km_kept_batch){.data = data,
                            .len = tx->len - done,
                            .segment = tx->segment,
                            .ecn = tx->ecn,
                            .has_local_ip = tx->local_ip != NULL,
                            .to = *tx->to,
                            .to_len = tx->to_len,
                            .path = path != NULL ? path->index : 0};
  if (tx->local_ip != NULL) {
    memcpy(s->kept.local_ip, tx->local_ip, sizeof s->kept.local_ip);
  }
  return true;
}

void km_socket_send(km_socket *s, const km_udp_tx *tx, km_path *path) {
  if (!km_socket_is_open(s)) {
    drop(s, tx, path, EBADF);
    return;
  }
  if (s->wait != KM_SOCKET_READY) {
    drop(s, tx, path, EAGAIN); /* to overtake what is kept would only look like reordering */
    return;
  }
  km_udp_tx_report report;
  int rv = transmit(s, tx, path, &report);
  if (rv == KM_ERR_AGAIN || rv == KM_ERR_LIMIT) {
    s->ms->stats.tx_blocked++;
    if (!keep(s, tx, report.done, path)) {
      km_udp_tx rest = *tx;
      rest.len -= report.done;
      drop(s, &rest, path, ENOMEM);
      return;
    }
    wait_for_room(s, rv);
  } else if (rv == KM_ERR_CLOSED) {
    die(s, report.last_errno);
  }
}

/* Sends what was kept. True when the socket is free for more. */
static bool resume(km_socket *s) {
  km_kept_batch *kept = &s->kept;
  km_path *path = kept->path != 0 ? km_path_table_at(s->ms->paths, kept->path) : NULL;
  const km_udp_tx tx = {.to = &kept->to,
                        .to_len = kept->to_len,
                        .local_ip = kept->has_local_ip ? kept->local_ip : NULL,
                        .data = kept->data,
                        .len = kept->len,
                        .segment = kept->segment,
                        .ecn = kept->ecn};
  km_udp_tx_report report;
  int rv = transmit(s, &tx, path, &report);
  if (rv == KM_ERR_LIMIT && s->retries >= RETRY_MAX) {
    km_udp_tx rest = tx;
    rest.len -= report.done;
    drop(s, &rest, path, ENOBUFS);
    s->retries = 0;
    rv = 0;
  }
  if (rv == KM_ERR_AGAIN || rv == KM_ERR_LIMIT) {
    memmove(kept->data, kept->data + report.done, kept->len - report.done);
    kept->len -= report.done;
    wait_for_room(s, rv);
    return false;
  }
  forget_kept(s);
  if (rv == KM_ERR_CLOSED) {
    die(s, report.last_errno);
  } else {
    watch(s);
  }
  arm_retry(s->ms);
  return true;
}

void km_sockets_retry(void *ctx) {
  km_magicsock *ms = ctx;
  km_ts now = km_loop_now(ms->config.loop);
  bool writable = ms->wake_writers;
  ms->wake_writers = false;
  for (size_t i = 0; i < km_socket_slots(ms); i++) {
    km_socket *s = km_socket_at(ms, i);
    if (s->wait == KM_SOCKET_WAIT_RETRY && s->retry_at <= now && resume(s)) {
      writable = true;
      km_socket_settle(s);
    }
  }
  arm_retry(ms);
  if (writable) {
    ms->config.on_writable(ms->config.ctx);
  }
}

/* Receiving */

static void deliver(km_socket *s, const km_udp_rx *rx) {
  km_magicsock *ms = s->ms;
  ms->stats.rx_batches++;
  if (rx->truncated) {
    ms->stats.rx_truncated++;
    return;
  }
  size_t packets = rx->len == 0 ? 1 : (rx->len + rx->segment - 1) / rx->segment;
  bool unanswerable = rx->from.family == 0 || rx->from.port == 0 || km_mapped_addr_is(&rx->from);
  if (rx->len == 0 || unanswerable) {
    ms->stats.rx_not_quic += packets;
    return;
  }
  ms->stats.rx_packets += packets;
  ms->stats.rx_bytes += rx->len;
  km_rx_batch batch = {.segment = rx->segment, .ecn = rx->ecn};
  batch.from.way = KM_WAY_DIRECT;
  batch.from.socket = s->slot;
  batch.from.socket_generation = s->generation;
  batch.from.remote = rx->from;
  memcpy(batch.from.local_ip, rx->local_ip, sizeof batch.from.local_ip);
  for (size_t at = 0; at < rx->len; at += batch.len) {
    size_t begin = at;
    batch.len = km_packet_run(rx->data, rx->len, rx->segment, &at, &ms->stats.rx_not_quic);
    km_magicsock_side(ms, &batch.from, rx->data + begin, at - begin, rx->segment);
    if (batch.len > 0) {
      batch.data = rx->data + at;
      ms->config.on_rx(ms->config.ctx, &batch);
    }
  }
}

static void receive(km_socket *s) {
  km_magicsock *ms = s->ms;
  km_udp_rx rx[KM_UDP_RX_BUFFERS];
  size_t bytes = 0;
  bool any = false;
  for (int round = 0; round < RX_ROUNDS && bytes < RX_BYTES && km_socket_is_open(s); round++) {
    int n = ms->driver->recv(&s->udp, ms->pool, KM_UDP_RX_BUFFERS, rx);
    if (n < 0 && n != KM_ERR_AGAIN) {
      die(s, errno);
      break;
    }
    if (n <= 0 && round == 0) {
      watch(s); /* the loop stops watching a descriptor that it saw an error on */
    }
    if (n == KM_ERR_AGAIN) {
      continue; /* counts as a round: a socket that has nothing but errors cannot hold the loop */
    }
    for (int i = 0; i < n; i++) {
      deliver(s, &rx[i]);
      bytes += rx[i].len;
      any = true;
    }
    if (n < KM_UDP_RX_BUFFERS) {
      break;
    }
  }
  if (any) {
    ms->config.on_rx_done(ms->config.ctx);
  }
}

static void on_events(void *ctx, int events) {
  km_socket *s = ctx;
  km_magicsock *ms = s->ms;
  s->busy = true;
  if ((events & KM_POLL_WRITE) != 0 && s->wait == KM_SOCKET_WAIT_WRITABLE && resume(s)) {
    ms->config.on_writable(ms->config.ctx);
  }
  /* An error without READ beside it is fetched the same way. */
  if ((events & ~KM_POLL_WRITE) != 0 || events == 0) {
    receive(s);
  }
  s->busy = false;
  km_socket_settle(s);
}

int km_socket_open_at(km_magicsock *ms, size_t slot, const km_udp_addr *bind, km_socket_state state,
                      km_errinfo *err) {
  const km_udp_options options = {
      .bind = *bind, .gso = ms->config.gso, .ecn = ms->config.ecn, .calls = ms->calls};
  km_udp udp;
  int rv = km_udp_open(&udp, &options, &ms->config.env->logger, err);
  if (rv != 0) {
    return rv;
  }
  km_socket *s = km_socket_at(ms, slot);
  *s = (km_socket){.ms = ms, .slot = (uint8_t)slot, .generation = ++ms->generation, .udp = udp};
  rv = km_poll_new(&s->poll, ms->config.loop, udp.fd, on_events, s);
  if (rv == 0) {
    rv = km_poll_set(s->poll, KM_POLL_READ);
  }
  if (rv != 0) {
    if (s->poll != NULL) {
      km_poll_free(s->poll);
      s->poll = NULL;
    }
    km_udp_close(&s->udp);
    return km_fail(err, rv, "cannot watch a socket");
  }
  s->state = state;
  return 0;
}

int km_socket_open(km_magicsock *ms, const km_udp_addr *bind, km_socket **ret, km_errinfo *err) {
  for (size_t i = 0; i < KM_MAGICSOCK_MAX_SOCKETS; i++) {
    if (ms->sockets[i].state == KM_SOCKET_FREE) {
      *ret = &ms->sockets[i];
      return km_socket_open_at(ms, i, bind, KM_SOCKET_CURRENT, err);
    }
  }
  return km_fail(err, KM_ERR_LIMIT,
                 "cannot bind another socket: %d are open, old ones until their paths are gone",
                 KM_MAGICSOCK_MAX_SOCKETS);
}
