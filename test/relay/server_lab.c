#include "test/relay/server_lab.h"

#include <libwebsockets.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

bool lab_many_files(void) {
  enum { WANTED = 4096 };
  struct rlimit files;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
  if (files.rlim_cur < WANTED && files.rlim_max >= WANTED) {
    files.rlim_cur = WANTED;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
  }
  return files.rlim_cur >= WANTED;
}

/* --- memory ---------------------------------------------------------------------------------- */

typedef struct header {
  _Alignas(16) size_t size;
} header;

static bool may(lab_memory *m) {
  if (m->fail_after > 0) {
    m->fail_after--;
  }
  return m->fail_after != 0;
}

static void count(lab_memory *m, size_t more, size_t less) {
  m->bytes += more;
  m->bytes -= less;
  m->peak = m->bytes > m->peak ? m->bytes : m->peak;
}

static void *lab_realloc(void *ctx, void *ptr, size_t size) {
  lab_memory *m = ctx;
  header *old = ptr == NULL ? NULL : (header *)ptr - 1;
  if (!may(m)) {
    return NULL;
  }
  size_t former = old == NULL ? 0 : old->size;
  header *h = realloc(old, sizeof *h + size);
  assert_non_null(h);
  h->size = size;
  m->live += ptr == NULL;
  count(m, size, former);
  return h + 1;
}

static void *lab_alloc(void *ctx, size_t size) {
  return lab_realloc(ctx, NULL, size);
}

static void lab_free(void *ctx, void *ptr) {
  lab_memory *m = ctx;
  if (ptr != NULL) {
    header *h = (header *)ptr - 1;
    m->live--;
    count(m, 0, h->size);
    free(h);
  }
}

/* --- the server ------------------------------------------------------------------------------ */

void lab_server_init(lab_server *l) {
  static const km_udp_addr any_port = {.family = 4, .ip = {127, 0, 0, 1}};
  *l = (lab_server){.memory = {.fail_after = -1}};
  l->memory.env = km_env_system;
  l->memory.env.ctx = &l->memory;
  l->memory.env.alloc = lab_alloc;
  l->memory.env.realloc = lab_realloc;
  l->memory.env.free = lab_free;
  l->config = (km_relay_server_config){.env = &l->memory.env,
                                       .loop = lab_loop,
                                       .http = &any_port,
                                       .http_count = 1,
                                       .relay_over_http = true,
                                       .version = "1.2.3",
                                       .ctx = l};
  km_relay_server_limits_default(&l->config.limits);
  l->config.limits.accepts_per_second = 0;
}

void lab_server_open(lab_server *l) {
  km_errinfo err;
  km_udp_addr bound[2];
  if (km_relay_server_new(&l->s, &l->config, &err) != 0) {
    fail_msg("%s", err.text);
  }
  size_t n = l->config.http_count + l->config.https_count;
  assert_int_equal(km_relay_server_bound(l->s, bound, 2), n);
  l->port = l->config.http_count > 0 ? bound[0].port : 0;
  l->tls_port = l->config.https_count > 0 ? bound[l->config.http_count].port : 0;
}

void lab_server_close(lab_server *l) {
  km_relay_server_free(l->s);
  l->s = NULL;
  assert_int_equal(l->memory.live, 0);
}

static void on_stopped(void *ctx) {
  lab_server *l = ctx;
  assert_false(l->stopped);
  l->stopped = true;
}

void lab_server_stop(lab_server *l, uint32_t grace_ms) {
  km_relay_server_shutdown(l->s, grace_ms, on_stopped, l);
}

km_relay_server_stats lab_stats(const lab_server *l) {
  km_relay_server_stats stats;
  km_relay_server_get_stats(l->s, &stats);
  return stats;
}

/* --- the socket ------------------------------------------------------------------------------ */

/* Room at the end of the buffer. */
static void make_room(lab_raw *r) {
  if (r->rx_len > 0) {
    memmove(r->buffer, r->rx, r->rx_len);
  }
  if (r->cap - r->rx_len < 16384) {
    r->cap = r->cap == 0 ? 65536 : r->cap * 2;
    r->buffer = realloc(r->buffer, r->cap);
    assert_non_null(r->buffer);
  }
  r->rx = r->buffer;
}

static void read_all(lab_raw *r) {
  for (;;) {
    if (r->buffer == NULL || (size_t)(r->buffer + r->cap - r->rx) - r->rx_len < 16384) {
      make_room(r);
    }
    size_t room = (size_t)(r->buffer + r->cap - r->rx) - r->rx_len;
    ssize_t n = r->ssl != NULL ? wolfSSL_read(r->ssl, r->rx + r->rx_len, (int)room)
                               : recv(r->fd, r->rx + r->rx_len, room, 0);
    if (n > 0) {
      r->rx_len += (size_t)n;
      continue;
    }
    bool wait = r->ssl != NULL ? wolfSSL_get_error(r->ssl, (int)n) == WOLFSSL_ERROR_WANT_READ
                               : n < 0 && errno == EAGAIN;
    if (!wait) {
      r->ended = true;
      assert_int_equal(km_poll_set(r->poll, 0), 0);
    }
    return;
  }
}

static void on_readable(void *ctx, int events) {
  lab_raw *r = ctx;
  (void)events;
  if (!r->deaf && !r->ended) {
    read_all(r);
  }
}

void lab_raw_open(lab_raw *r, uint16_t port, int from) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)}, self = to;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int one = 1;
  r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_true(r->fd >= 0);
  if (from != 0) {
    self.sin_port = 0;
    self.sin_addr.s_addr = htonl(0x7f000000u + (unsigned)from);
    assert_int_equal(bind(r->fd, (struct sockaddr *)&self, sizeof self), 0);
  }
  assert_int_equal(connect(r->fd, (struct sockaddr *)&to, sizeof to), 0);
  assert_int_equal(fcntl(r->fd, F_SETFL, O_NONBLOCK), 0);
  assert_int_equal(setsockopt(r->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
  assert_int_equal(km_poll_new(&r->poll, lab_loop, r->fd, on_readable, r), 0);
  assert_int_equal(km_poll_set(r->poll, KM_POLL_READ), 0);
}

void lab_raw_tls(lab_raw *r) {
  int rv;
  assert_int_equal(km_poll_set(r->poll, 0), 0);
  r->tls = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
  wolfSSL_CTX_set_verify(r->tls, WOLFSSL_VERIFY_NONE, NULL);
  r->ssl = wolfSSL_new(r->tls);
  assert_non_null(r->ssl);
  wolfSSL_KeepArrays(r->ssl);
  assert_int_equal(wolfSSL_set_fd(r->ssl, r->fd), WOLFSSL_SUCCESS);
  wolfSSL_SetIOWriteFlags(r->ssl, MSG_NOSIGNAL);
  km_ts end = km_clock_now() + 30 * KM_NS_PER_S;
  while ((rv = wolfSSL_connect(r->ssl)) != WOLFSSL_SUCCESS) {
    assert_int_equal(wolfSSL_get_error(r->ssl, rv), WOLFSSL_ERROR_WANT_READ);
    assert_true(km_clock_now() < end);
    km_loop_run_once(lab_loop, 5);
  }
  assert_int_equal(km_poll_set(r->poll, KM_POLL_READ), 0);
  on_readable(r, 0); /* what came with the handshake */
}

void lab_raw_close(lab_raw *r) {
  if (r->poll != NULL) {
    if (r->ssl != NULL) {
      wolfSSL_free(r->ssl);
      wolfSSL_CTX_free(r->tls);
    }
    km_poll_free(r->poll);
    close(r->fd);
  }
  free(r->buffer);
  km_secret_key_free(r->key);
  *r = (lab_raw){.fd = -1};
}

void lab_raw_reset(lab_raw *r) {
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  assert_int_equal(setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
  lab_raw_close(r);
}

void lab_raw_deaf(lab_raw *r) {
  r->deaf = true;
  assert_int_equal(km_poll_set(r->poll, 0), 0);
}

void lab_raw_key(lab_raw *r, const lab_raw *like) {
  assert_int_equal(
      like == NULL ? km_secret_key_generate(&r->key) : km_secret_key_copy(&r->key, like->key), 0);
  km_secret_key_id(r->key, &r->id);
}

bool lab_raw_put(lab_raw *r, const void *bytes, size_t len) {
  const uint8_t *at = bytes;
  km_ts end = km_clock_now() + 30 * KM_NS_PER_S;
  while (len > 0) {
    assert_true(km_clock_now() < end);
    ssize_t n =
        r->ssl != NULL ? wolfSSL_write(r->ssl, at, (int)len) : send(r->fd, at, len, MSG_NOSIGNAL);
    if (n > 0) {
      at += n;
      len -= (size_t)n;
      continue;
    }
    bool wait = r->ssl != NULL ? wolfSSL_get_error(r->ssl, (int)n) == WOLFSSL_ERROR_WANT_WRITE
                               : errno == EAGAIN;
    if (!wait || r->ended) {
      return false;
    }
    km_loop_run_once(lab_loop, 5);
  }
  return true;
}

bool lab_raw_text(lab_raw *r, const char *text) {
  return lab_raw_put(r, text, strlen(text));
}

/* --- HTTP ------------------------------------------------------------------------------------ */

static void drop_bytes(lab_raw *r, size_t len) {
  assert_true(len <= r->rx_len);
  if (len == 0) {
    return;
  }
  r->rx_len -= len;
  r->rx += len;
}

static char last_head[8192];

const char *lab_raw_head(lab_raw *r) {
  uint8_t *end = NULL;
  LAB_WAIT_FOR((r->rx_len > 0 && (end = memmem(r->rx, r->rx_len, "\r\n\r\n", 4)) != NULL) ||
               r->ended);
  last_head[0] = '\0';
  if (end != NULL) {
    size_t len = (size_t)(end - r->rx) + 4;
    assert_true(len < sizeof last_head);
    memcpy(last_head, r->rx, len);
    last_head[len] = '\0';
    drop_bytes(r, len);
  }
  return last_head;
}

int lab_raw_status(lab_raw *r) {
  int status;
  const char *head = lab_raw_head(r);
  if (sscanf(head, "HTTP/1.%*d %d", &status) != 1) {
    return 0;
  }
  const char *at = strcasestr(head, "\r\ncontent-length:");
  size_t len = at == NULL ? 0 : strtoul(at + 17, NULL, 10);
  LAB_WAIT_FOR(r->rx_len >= len);
  drop_bytes(r, len);
  return status;
}

void lab_raw_await_end(lab_raw *r) {
  LAB_WAIT_FOR(r->ended);
}

/* --- WebSocket ------------------------------------------------------------------------------- */

bool lab_raw_frame(lab_raw *r, unsigned first_byte, const void *payload, size_t len) {
  static const uint8_t mask[4] = {0x11, 0x82, 0x43, 0x00};
  uint8_t *out = malloc(len + 14);
  size_t at = 2;
  assert_non_null(out);
  out[0] = (uint8_t)first_byte;
  out[1] = (uint8_t)(0x80 | (len < 126 ? len : len < 65536 ? 126 : 127));
  for (int shift = len < 126 ? -8 : len < 65536 ? 8 : 56; shift >= 0; shift -= 8) {
    out[at++] = (uint8_t)((uint64_t)len >> shift);
  }
  memcpy(out + at, mask, 4);
  at += 4;
  for (size_t i = 0; i < len; i++) {
    out[at++] = ((const uint8_t *)payload)[i] ^ mask[i % 4];
  }
  bool rv = lab_raw_put(r, out, at);
  free(out);
  return rv;
}

/* The length of the first frame, with its header; 0: it is not all there. */
static size_t whole_frame(const lab_raw *r, size_t *ret_header) {
  if (r->rx_len < 2) {
    return 0;
  }
  size_t len = r->rx[1], header_len = len < 126 ? 2 : len == 126 ? 4 : 10;
  assert_true(len < 128); /* a server does not mask */
  if (r->rx_len < header_len) {
    return 0;
  }
  for (size_t i = 2; i < header_len; i++) {
    len = (i == 2 ? 0 : len << 8) | r->rx[i];
  }
  *ret_header = header_len;
  return r->rx_len >= header_len + len ? header_len + len : 0;
}

bool lab_raw_next(lab_raw *r, unsigned *opcode, const uint8_t **payload, size_t *len) {
  static uint8_t kept[70000];
  size_t header_len = 0, all;
  LAB_WAIT_FOR((all = whole_frame(r, &header_len)) > 0 || r->ended);
  if (all == 0) {
    return false;
  }
  assert_int_equal(r->rx[0] & 0xf0, 0x80); /* whole messages, nothing reserved */
  *opcode = r->rx[0] & 15;
  *len = all - header_len;
  assert_true(*len <= sizeof kept);
  memcpy(kept, r->rx + header_len, *len);
  *payload = kept;
  drop_bytes(r, all);
  return true;
}

/* --- the relay protocol ---------------------------------------------------------------------- */

int lab_raw_upgrade(lab_raw *r, const char *protocols, const char *more) {
  char request[4096], chosen[64];
  int n = snprintf(request, sizeof request,
                   "GET /relay HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: %s\r\n%s\r\n",
                   protocols, more);
  assert_in_range(n, 1, sizeof request - 1);
  (void)lab_raw_put(r, request, (size_t)n);
  int status = lab_raw_status(r);
  if (status == 101) {
    const char *at = strcasestr(last_head, "\r\nSec-WebSocket-Protocol: ");
    assert_non_null(at);
    assert_int_equal(sscanf(at + 26, "%63[^\r]", chosen), 1);
    assert_null(strcasestr(at + 26, "Sec-WebSocket-Protocol:")); /* exactly one */
    r->version = strcmp(chosen, KM_RELAY_PROTOCOL_V2) == 0 ? KM_RELAY_V2 : KM_RELAY_V1;
    assert_string_equal(chosen,
                        r->version == KM_RELAY_V2 ? KM_RELAY_PROTOCOL_V2 : KM_RELAY_PROTOCOL_V1);
    /* Of the key above, as any WebSocket library has it. */
    assert_non_null(
        strcasestr(last_head, "\r\nSec-WebSocket-Accept: Bz3qJYTGdOe8gUSpLosEdiLKDrk="));
    assert_non_null(strcasestr(last_head, "\r\nUpgrade: websocket\r\n"));
  }
  return status;
}

void lab_raw_await_challenge(lab_raw *r) {
  unsigned opcode;
  const uint8_t *msg;
  size_t len;
  km_relay_frame f;
  assert_true(lab_raw_next(r, &opcode, &msg, &len));
  assert_int_equal(opcode, 2);
  assert_int_equal(km_relay_frame_read_handshake(&f, KM_RELAY_READ_CLIENT, msg, len, NULL), 0);
  assert_int_equal(f.type, KM_RELAY_SERVER_CHALLENGE);
  memcpy(r->challenge, f.data, sizeof r->challenge);
}

bool lab_raw_send(lab_raw *r, km_relay_frame frame) {
  static uint8_t msg[KM_RELAY_MAX_MESSAGE];
  int len = km_relay_frame_write(msg, sizeof msg, &frame);
  assert_true(len > 0);
  return lab_raw_frame(r, 0x82, msg, (size_t)len);
}

void lab_raw_prove(lab_raw *r) {
  uint8_t signature[KM_RELAY_SIGNATURE_LEN];
  km_relay_challenge_sign(signature, r->key, r->challenge);
  (void)lab_raw_send(r, (km_relay_frame){.type = KM_RELAY_CLIENT_AUTH,
                                         .peer = r->id,
                                         .data = signature,
                                         .len = sizeof signature});
}

void lab_raw_await_confirmation(lab_raw *r) {
  unsigned opcode;
  const uint8_t *msg;
  size_t len;
  km_relay_frame f;
  assert_true(lab_raw_next(r, &opcode, &msg, &len));
  assert_int_equal(km_relay_frame_read_handshake(&f, KM_RELAY_READ_CLIENT, msg, len, NULL), 0);
  assert_int_equal(f.type, KM_RELAY_SERVER_CONFIRMS);
}

void lab_raw_login(lab_raw *r, uint16_t port, km_relay_version version) {
  if (r->poll == NULL) {
    lab_raw_open(r, port, 0);
  }
  if (r->key == NULL) {
    lab_raw_key(r, NULL);
  }
  const char *protocols = version == KM_RELAY_V2 ? "iroh-relay-v2, iroh-relay-v1" : "iroh-relay-v1";
  assert_int_equal(lab_raw_upgrade(r, protocols, ""), 101);
  assert_int_equal(r->version, version);
  lab_raw_await_challenge(r);
  lab_raw_prove(r);
  lab_raw_await_confirmation(r);
}

bool lab_raw_send_to(lab_raw *r, const km_id *to, const char *text) {
  return lab_raw_send(r, (km_relay_frame){.type = KM_RELAY_TO_RELAY,
                                          .peer = *to,
                                          .data = (const uint8_t *)text,
                                          .len = strlen(text)});
}

km_relay_frame lab_raw_expect(lab_raw *r, km_relay_type type) {
  unsigned opcode;
  const uint8_t *msg;
  size_t len;
  km_relay_frame f;
  for (;;) {
    if (!lab_raw_next(r, &opcode, &msg, &len)) {
      fail_msg("the server closed before frame %d came", (int)type);
    }
    assert_int_equal(opcode, 2);
    assert_int_equal(km_relay_frame_read(&f, KM_RELAY_READ_CLIENT, r->version, msg, len, NULL), 0);
    if (f.type != KM_RELAY_PING || type == KM_RELAY_PING) {
      break;
    }
    f.type = KM_RELAY_PONG;
    (void)lab_raw_send(r, f);
  }
  assert_int_equal(f.type, type);
  return f;
}

void lab_raw_expect_text(lab_raw *r, const km_id *from, const char *text) {
  km_relay_frame f = lab_raw_expect(r, KM_RELAY_TO_CLIENT);
  assert_true(km_id_equal(&f.peer, from));
  assert_int_equal(f.len, strlen(text));
  assert_memory_equal(f.data, text, f.len);
}

void lab_raw_exchange(lab_raw *a, lab_raw *b) {
  assert_true(lab_raw_send_to(a, &b->id, "are you there?"));
  lab_raw_expect_text(b, &a->id, "are you there?");
  assert_true(lab_raw_send_to(b, &a->id, "I am"));
  lab_raw_expect_text(a, &b->id, "I am");
}
