#include "test/relay/client_lab.h"

#include <libwebsockets.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

km_loop *lab_loop;

int lab_setup(void **state) {
  (void)state;
  /* The environment of whoever runs the tests is not part of them. */
  static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                      "ALL_PROXY",  "no_proxy",    "NO_PROXY"};
  for (size_t i = 0; i < COUNT_OF(names); i++) {
    unsetenv(names[i]);
  }
  return km_loop_new(&lab_loop);
}

int lab_teardown(void **state) {
  (void)state;
  return km_loop_free(lab_loop);
}

static void set_nonblocking(int fd) {
  assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
}

static int listen_on(const char *ip, uint16_t port, uint16_t *ret_port) {
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
  bool is_six = strchr(ip, ':') != NULL;
  assert_int_equal(inet_pton(is_six ? AF_INET6 : AF_INET, ip,
                             is_six ? (void *)&six.sin6_addr : (void *)&four.sin_addr),
                   1);
  int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM, 0), one = 1;
  assert_true(fd >= 0);
  assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
  const struct sockaddr *sa =
      is_six ? (const struct sockaddr *)&six : (const struct sockaddr *)&four;
  socklen_t len = is_six ? sizeof six : sizeof four;
  assert_int_equal(bind(fd, sa, len), 0);
  assert_int_equal(listen(fd, 64), 0);
  struct sockaddr_storage bound;
  len = sizeof bound;
  assert_int_equal(getsockname(fd, (struct sockaddr *)&bound, &len), 0);
  *ret_port = ntohs(is_six ? ((struct sockaddr_in6 *)&bound)->sin6_port
                           : ((struct sockaddr_in *)&bound)->sin_port);
  set_nonblocking(fd);
  return fd;
}

uint16_t lab_dead_port(void) {
  uint16_t port;
  close(listen_on("127.0.0.1", 0, &port));
  return port;
}

/* --- the relay ------------------------------------------------------------------------------- */

static void drop(lab_conn *c) {
  if (c->fd < 0) {
    return;
  }
  if (c->ssl != NULL) {
    wolfSSL_free(c->ssl);
    c->ssl = NULL;
  }
  km_poll_free(c->poll);
  km_timer_cancel(c->timer);
  c->timer = NULL;
  struct linger reset = {.l_onoff = 1, .l_linger = 0};
  setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(c->fd);
  free(c->rx);
  c->fd = -1;
}

/* Blocks until the socket has taken all: loopback is fast, and the loop is ours. */
static void put(lab_conn *c, const void *data, size_t len) {
  const uint8_t *at = data;
  km_ts end = km_clock_now() + 5 * KM_NS_PER_S;
  while (len > 0 && km_clock_now() < end) {
    ssize_t n =
        c->ssl != NULL ? wolfSSL_write(c->ssl, at, (int)len) : send(c->fd, at, len, MSG_NOSIGNAL);
    if (n > 0) {
      at += n;
      len -= (size_t)n;
    } else if (c->ssl == NULL && errno != EAGAIN) {
      return;
    }
  }
}

static size_t frame_header(uint8_t ret[10], unsigned opcode, size_t len) {
  ret[0] = (uint8_t)(0x80 | opcode);
  if (len < 126) {
    ret[1] = (uint8_t)len;
    return 2;
  }
  ret[1] = len < 65536 ? 126 : 127;
  size_t bytes = len < 65536 ? 2 : 8;
  for (size_t i = 0; i < bytes; i++) {
    ret[2 + i] = (uint8_t)((uint64_t)len >> (8 * (bytes - 1 - i)));
  }
  return 2 + bytes;
}

static void put_message(lab_conn *c, unsigned opcode, const void *msg, size_t len) {
  uint8_t header[10];
  put(c, header, frame_header(header, opcode, len));
  put(c, msg, len);
}

static void confirm(lab_conn *c) {
  lab_relay *r = c->relay;
  uint8_t out[KM_RELAY_HANDSHAKE_MAX], all[4096];
  size_t len = km_relay_server_handshake_decide(&c->hs, r->deny, out);
  size_t at = frame_header(all, 2, len);
  memcpy(all + at, out, len);
  at += len;
  if (r->with_confirm != NULL) {
    at += frame_header(all + at, 2, r->with_confirm_len);
    memcpy(all + at, r->with_confirm, r->with_confirm_len);
    at += r->with_confirm_len;
  }
  put(c, all, at);
}

static bool proven_by_header(lab_conn *c, km_id *ret) {
  km_relay_auth_header header;
  uint8_t exported[KM_RELAY_EXPORTED_LEN];
  const char *at = strstr(c->relay->request, KM_RELAY_AUTH_HEADER ": ");
  if (at == NULL || c->ssl == NULL) {
    assert_null(at); /* without TLS it has no place */
    return false;
  }
  at += strlen(KM_RELAY_AUTH_HEADER ": ");
  assert_int_equal(km_relay_auth_header_read(&header, at, strcspn(at, "\r")), 0);
  assert_int_equal(
      wolfSSL_export_keying_material(c->ssl, exported, sizeof exported, KM_RELAY_EXPORTER_LABEL,
                                     strlen(KM_RELAY_EXPORTER_LABEL), header.id.bytes, 32, 1),
      WOLFSSL_SUCCESS);
  *ret = header.id;
  return km_relay_auth_header_verify(&header, exported) && !c->relay->ignore_header;
}

static void answer_upgrade(lab_conn *c) {
  lab_relay *r = c->relay;
  char key[64], text[128], hash[20], accept[64], out[512];
  const char *at = strstr(r->request, "Sec-WebSocket-Key: ");
  assert_non_null(at);
  assert_int_equal(sscanf(at, "Sec-WebSocket-Key: %63s", key), 1);
  int n = snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
  lws_SHA1((unsigned char *)text, (size_t)n, (unsigned char *)hash);
  lws_b64_encode_string(hash, 20, accept, sizeof accept);
  const char *protocol = r->protocol != NULL ? r->protocol : KM_RELAY_PROTOCOL_V2;
  n = snprintf(out, sizeof out,
               "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
               "Sec-WebSocket-Accept: %s\r\n%s%s%s\r\n",
               accept, *protocol != '\0' ? "Sec-WebSocket-Protocol: " : "", protocol,
               *protocol != '\0' ? "\r\n" : "");
  put(c, out, (size_t)n);
  c->upgraded = true;
  r->upgrades++;
  km_id id;
  uint8_t challenge[KM_RELAY_CHALLENGE_LEN] = {1, 2, 3}, msg[KM_RELAY_HANDSHAKE_MAX];
  bool proven = proven_by_header(c, &id);
  size_t len = km_relay_server_handshake_init(&c->hs, proven ? &id : NULL, challenge, msg);
  if (proven) {
    r->by_header++;
    confirm(c);
  } else {
    put_message(c, 2, msg, len);
    if (r->same_challenge) {
      put_message(c, 2, msg, len);
    }
  }
}

static void answer_ping(void *ctx) {
  static const char pong[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong";
  lab_conn *c = ctx;
  c->timer = NULL;
  put(c, pong, sizeof pong - 1);
}

static void drip(void *ctx) {
  lab_conn *c = ctx;
  lab_relay *r = c->relay;
  c->timer = NULL;
  put(c, r->raw_answer + c->dripped++ % strlen(r->raw_answer), 1);
  assert_int_equal(km_timer_start(&c->timer, lab_loop, r->drip_ms, drip, c), 0);
}

static void read_request(lab_conn *c) {
  lab_relay *r = c->relay;
  uint8_t *end = c->rx_len >= 4 ? memmem(c->rx, c->rx_len, "\r\n\r\n", 4) : NULL;
  if (end == NULL || r->silent) {
    return;
  }
  size_t len = (size_t)(end - c->rx) + 4;
  assert_true(len < sizeof r->request);
  memcpy(r->request, c->rx, len);
  r->request[len] = '\0';
  c->rx_len -= len;
  memmove(c->rx, c->rx + len, c->rx_len);
  if (r->raw_answer != NULL && r->drip_ms > 0) {
    drip(c);
  } else if (r->raw_answer != NULL) {
    put(c, r->raw_answer, strlen(r->raw_answer));
    if (r->hang_up) {
      c->closing = true;
    }
  } else if (strncmp(r->request, "GET /ping ", 10) == 0) {
    assert_int_equal(km_timer_start(&c->timer, lab_loop, r->ping_ms, answer_ping, c), 0);
  } else {
    answer_upgrade(c);
  }
}

static void take_datagrams(lab_conn *c, const uint8_t *msg, size_t len) {
  lab_relay *r = c->relay;
  km_relay_frame f;
  assert_int_equal(km_relay_frame_read(&f, KM_RELAY_READ_SERVER, KM_RELAY_V2, msg, len, NULL), 0);
  if (f.type == KM_RELAY_PING) {
    r->pings++;
    c->closing = r->evicts;
    f.type = KM_RELAY_PONG;
  } else if (f.type == KM_RELAY_PONG) {
    r->pongs++;
    return;
  } else {
    r->datagrams++;
    r->datagram_bytes += f.len;
    r->last_len = len < sizeof r->last ? len : sizeof r->last;
    memcpy(r->last, msg, r->last_len);
    f.type = KM_RELAY_TO_CLIENT;
    if (!r->echo) {
      return;
    }
  }
  uint8_t *out = malloc(len + 64);
  int n = km_relay_frame_write(out, len + 64, &f);
  assert_true(n > 0);
  if (f.type != KM_RELAY_PONG || !r->no_pong) {
    put_message(c, 2, out, (size_t)n);
  }
  free(out);
}

static void take_message(lab_conn *c, const uint8_t *msg, size_t len) {
  if (c->hs.state == KM_RELAY_HS_DONE) {
    take_datagrams(c, msg, len);
    return;
  }
  uint8_t out[KM_RELAY_HANDSHAKE_MAX];
  size_t out_len;
  assert_int_equal(km_relay_server_handshake_read(&c->hs, msg, len, out, &out_len, NULL), 0);
  c->relay->by_challenge++;
  if (!c->relay->unconfirmed) {
    confirm(c);
  }
}

/* One masked frame of a client. False: not all of it is there. */
static bool read_frame(lab_conn *c) {
  if (c->rx_len < 6) {
    return false;
  }
  size_t len = c->rx[1] & 0x7f, at = 2, bytes = len == 127 ? 8 : len == 126 ? 2 : 0;
  assert_true((c->rx[1] & 0x80) != 0); /* clients mask */
  if (bytes > 0) {
    len = 0;
    for (size_t i = 0; i < bytes; i++) {
      len = len << 8 | c->rx[at++];
    }
  }
  if (c->rx_len < at + 4 + len) {
    return false;
  }
  uint8_t *mask = c->rx + at, *msg = mask + 4;
  for (size_t i = 0; i < len; i++) {
    msg[i] ^= mask[i % 4];
  }
  if ((c->rx[0] & 15) == 8) {
    c->relay->close_code = len >= 2 ? (unsigned)(msg[0] << 8 | msg[1]) : 1005;
    c->closing = true;
  } else if ((c->rx[0] & 15) == 2) {
    take_message(c, msg, len);
  }
  c->rx_len -= at + 4 + len;
  memmove(c->rx, msg + len, c->rx_len);
  return true;
}

static void on_conn(void *ctx, int events) {
  lab_conn *c = ctx;
  (void)events;
  if (c->ssl != NULL && !c->tls_done) {
    if (wolfSSL_accept(c->ssl) != WOLFSSL_SUCCESS) {
      int e = wolfSSL_get_error(c->ssl, -1);
      if (e != WOLFSSL_ERROR_WANT_READ && e != WOLFSSL_ERROR_WANT_WRITE) {
        drop(c);
      }
      return;
    }
    c->tls_done = true;
  }
  if (c->relay->deaf && c->upgraded && c->hs.state == KM_RELAY_HS_DONE) {
    assert_int_equal(km_poll_set(c->poll, 0), 0);
    return;
  }
  for (;;) {
    ssize_t n = c->ssl != NULL ? wolfSSL_read(c->ssl, c->rx + c->rx_len, (int)(LAB_BUF - c->rx_len))
                               : recv(c->fd, c->rx + c->rx_len, LAB_BUF - c->rx_len, 0);
    bool wait = c->ssl != NULL ? wolfSSL_get_error(c->ssl, (int)n) == WOLFSSL_ERROR_WANT_READ
                               : n < 0 && errno == EAGAIN;
    if (n <= 0) {
      if (!wait) {
        drop(c);
      }
      return;
    }
    c->rx_len += (size_t)n;
    if (!c->upgraded) {
      read_request(c);
    }
    while (c->upgraded && !c->closing && read_frame(c)) {
    }
    if (c->closing) {
      drop(c);
      return;
    }
  }
}

static void on_accept(void *ctx, int events) {
  lab_relay *r = ctx;
  (void)events;
  int fd = accept(r->fd, NULL, NULL);
  if (fd < 0) {
    return;
  }
  int one = 1;
  r->accepts++;
  set_nonblocking(fd);
  assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
  lab_conn *c = NULL;
  for (size_t i = 0; i < LAB_CONNS && c == NULL; i++) {
    c = r->conns[i].fd < 0 ? &r->conns[i] : NULL;
  }
  assert_non_null(c);
  *c = (lab_conn){.relay = r, .fd = fd, .rx = malloc(LAB_BUF)};
  if (r->tls != NULL) {
    c->ssl = wolfSSL_new(r->tls);
    assert_non_null(c->ssl);
    wolfSSL_KeepArrays(c->ssl);
    wolfSSL_set_fd(c->ssl, fd);
  }
  assert_int_equal(km_poll_new(&c->poll, lab_loop, fd, on_conn, c), 0);
  assert_int_equal(km_poll_set(c->poll, KM_POLL_READ), 0);
}

void lab_relay_open(lab_relay *r, const char *ip, uint16_t port, const char *cert,
                    const char *key) {
  for (size_t i = 0; i < LAB_CONNS; i++) {
    r->conns[i].fd = -1;
  }
  r->fd = listen_on(ip, port, &r->port);
  if (cert != NULL) {
    r->tls = wolfSSL_CTX_new(wolfTLSv1_3_server_method());
    assert_int_equal(wolfSSL_CTX_use_certificate_chain_file(r->tls, cert), WOLFSSL_SUCCESS);
    assert_int_equal(wolfSSL_CTX_use_PrivateKey_file(r->tls, key, WOLFSSL_FILETYPE_PEM),
                     WOLFSSL_SUCCESS);
  }
  assert_int_equal(km_poll_new(&r->poll, lab_loop, r->fd, on_accept, r), 0);
  assert_int_equal(km_poll_set(r->poll, KM_POLL_READ), 0);
}

void lab_relay_drop(lab_relay *r) {
  for (size_t i = 0; i < LAB_CONNS; i++) {
    drop(&r->conns[i]);
  }
}

void lab_relay_hang(lab_relay *r, bool on) {
  assert_int_equal(km_poll_set(r->poll, on ? 0 : KM_POLL_READ), 0);
  for (size_t i = 0; i < LAB_CONNS; i++) {
    if (r->conns[i].fd >= 0) {
      assert_int_equal(km_poll_set(r->conns[i].poll, on ? 0 : KM_POLL_READ), 0);
    }
  }
}

void lab_relay_close(lab_relay *r) {
  lab_relay_drop(r);
  km_poll_free(r->poll);
  close(r->fd);
  wolfSSL_CTX_free(r->tls);
}

void lab_relay_put(lab_relay *r, const void *data, size_t len) {
  for (size_t i = 0; i < LAB_CONNS; i++) {
    if (r->conns[i].fd >= 0) {
      put(&r->conns[i], data, len);
    }
  }
}

void lab_relay_send(lab_relay *r, unsigned opcode, const void *msg, size_t len) {
  for (size_t i = 0; i < LAB_CONNS; i++) {
    if (r->conns[i].fd >= 0) {
      put_message(&r->conns[i], opcode, msg, len);
    }
  }
}

/* --- the proxy ------------------------------------------------------------------------------- */

static void close_pipe(struct lab_pipe *p) {
  for (int i = 0; i < 2; i++) {
    km_poll_free(p->poll[i]);
    p->poll[i] = NULL;
    if (p->fd[i] >= 0) {
      close(p->fd[i]);
      p->fd[i] = -1;
    }
  }
}

static void pump(struct lab_pipe *p, int from) {
  char buf[16384];
  ssize_t n = recv(p->fd[from], buf, sizeof buf, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) {
    return;
  }
  if (n <= 0 || send(p->fd[1 - from], buf, (size_t)n, MSG_NOSIGNAL) != n) {
    close_pipe(p);
  }
}

static void on_target(void *ctx, int events) {
  (void)events;
  pump(ctx, 1);
}

static void open_tunnel(struct lab_pipe *p) {
  unsigned port = 0;
  assert_int_equal(sscanf(p->proxy->request, "CONNECT %*[^:]:%u", &port), 1);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK); /* every name is this machine */
  p->fd[1] = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(p->fd[1], (struct sockaddr *)&to, sizeof to), 0);
  assert_int_equal(km_poll_new(&p->poll[1], lab_loop, p->fd[1], on_target, p), 0);
  assert_int_equal(km_poll_set(p->poll[1], KM_POLL_READ), 0);
  static const char ok[] = "HTTP/1.1 200 Connection established\r\nVia: lab\r\n\r\n";
  assert_int_equal(send(p->fd[0], ok, sizeof ok - 1, 0), sizeof ok - 1);
}

static void on_proxied(void *ctx, int events) {
  struct lab_pipe *p = ctx;
  lab_proxy *proxy = p->proxy;
  (void)events;
  if (p->fd[1] >= 0) {
    pump(p, 0);
    return;
  }
  ssize_t n = recv(p->fd[0], proxy->request, sizeof proxy->request - 1, MSG_DONTWAIT);
  if (n <= 0) {
    close_pipe(p);
    return;
  }
  proxy->request[n] = '\0';
  assert_non_null(strstr(proxy->request, "\r\n\r\n")); /* it comes in one piece */
  proxy->connects++;
  const char *answer = proxy->answer;
  if (proxy->auth != NULL && strstr(proxy->request, proxy->auth) == NULL) {
    answer = "HTTP/1.1 407 Who are you?\r\n\r\n";
  }
  if (answer != NULL) {
    send(p->fd[0], answer, strlen(answer), MSG_NOSIGNAL);
    close_pipe(p);
  } else {
    open_tunnel(p);
  }
}

static void on_proxy_accept(void *ctx, int events) {
  lab_proxy *proxy = ctx;
  (void)events;
  int fd = accept(proxy->fd, NULL, NULL);
  if (fd < 0) {
    return;
  }
  assert_true(proxy->pipe_count < LAB_CONNS);
  struct lab_pipe *p = &proxy->pipes[proxy->pipe_count++];
  *p = (struct lab_pipe){.proxy = proxy, .fd = {fd, -1}};
  assert_int_equal(km_poll_new(&p->poll[0], lab_loop, fd, on_proxied, p), 0);
  assert_int_equal(km_poll_set(p->poll[0], KM_POLL_READ), 0);
}

void lab_proxy_open(lab_proxy *p) {
  p->fd = listen_on("127.0.0.1", 0, &p->port);
  assert_int_equal(km_poll_new(&p->poll, lab_loop, p->fd, on_proxy_accept, p), 0);
  assert_int_equal(km_poll_set(p->poll, KM_POLL_READ), 0);
}

void lab_proxy_close(lab_proxy *p) {
  for (unsigned i = 0; i < p->pipe_count; i++) {
    close_pipe(&p->pipes[i]);
  }
  km_poll_free(p->poll);
  close(p->fd);
}

/* --- the client ------------------------------------------------------------------------------ */

static void on_state(void *ctx, km_relay_client *c, km_relay_client_state state,
                     const km_errinfo *why) {
  lab_client *l = ctx;
  assert_true(c == l->c);
  l->states[state]++;
  assert_true((why != NULL) == (state == KM_RELAY_CLIENT_WAITING));
  if (why != NULL) {
    l->why = *why;
  }
  if (l->on_state != NULL) {
    l->on_state(l, state); /* may free it */
  }
}

static void on_datagrams(void *ctx, km_relay_client *c, const km_id *peer, uint8_t ecn,
                         const uint8_t *data, size_t len, size_t segment) {
  lab_client *l = ctx;
  assert_true(c == l->c && len > 0 && segment > 0 && segment <= len);
  l->data_before_state = l->data_before_state || l->states[KM_RELAY_CLIENT_CONNECTED] == 0;
  l->batches++;
  l->bytes += len;
  l->segment = segment;
  l->ecn = ecn;
  l->peer = *peer;
  l->first = data[0];
}

static void on_gone(void *ctx, km_relay_client *c, const km_id *peer) {
  lab_client *l = ctx;
  (void)c;
  l->gone++;
  l->peer = *peer;
}

static void on_same_id(void *ctx, km_relay_client *c, bool elsewhere) {
  lab_client *l = ctx;
  (void)c;
  l->elsewhere += elsewhere;
  l->alone += !elsewhere;
}

static void on_writable(void *ctx, km_relay_client *c) {
  lab_client *l = ctx;
  (void)c;
  l->writable++;
}

static void open_client(lab_client *l, const km_env *env, const char *ca_file) {
  const km_relay_clients_config config = {.env = env != NULL ? env : &km_env_system,
                                          .loop = lab_loop,
                                          .key = l->key,
                                          .ca_file = ca_file,
                                          .user_agent = "lab/1"};
  assert_int_equal(km_relay_clients_new(&l->all, &config, NULL), 0);
}

void lab_client_open(lab_client *l, const km_env *env, const char *ca_file) {
  assert_int_equal(km_secret_key_generate(&l->key), 0);
  open_client(l, env, ca_file);
}

void lab_client_open_as(lab_client *l, km_secret_key *key) {
  l->key = key;
  l->key_lent = true;
  open_client(l, NULL, NULL);
}

void lab_client_dial(lab_client *l, const char *url) {
  const km_relay_client_callbacks cb = {.on_state = on_state,
                                        .on_datagrams = on_datagrams,
                                        .on_gone = on_gone,
                                        .on_same_id = on_same_id,
                                        .on_writable = on_writable,
                                        .ctx = l};
  assert_int_equal(km_relay_client_new(&l->c, l->all, url, &cb, NULL), 0);
}

const char *lab_url(char buf[256], const char *scheme, const char *host, uint16_t port) {
  assert_in_range(snprintf(buf, 256, "%s://%s:%u/", scheme, host, (unsigned)port), 1, 255);
  return buf;
}

void lab_client_close(lab_client *l) {
  km_relay_client_free(l->c);
  km_relay_clients_free(l->all);
  if (!l->key_lent) {
    km_secret_key_free(l->key);
  }
}

km_errinfo lab_fail_with(lab_relay *r) {
  lab_client l = {0};
  char url[256];
  lab_relay_open(r, "127.0.0.1", 0, NULL, NULL);
  lab_client_open(&l, NULL, NULL);
  lab_client_dial(&l, lab_url(url, "http", "127.0.0.1", r->port));
  LAB_WAIT_FOR(lab_has_failed(&l));
  assert_false(lab_is_up(&l));
  km_errinfo why = l.why;
  lab_client_close(&l);
  lab_relay_close(r);
  return why;
}

km_id lab_peer(void) {
  km_secret_key *key;
  km_id id;
  assert_int_equal(km_secret_key_generate(&key), 0);
  km_secret_key_id(key, &id);
  km_secret_key_free(key);
  return id;
}

bool lab_is_up(const lab_client *l) {
  return l->states[KM_RELAY_CLIENT_CONNECTED] > 0;
}

bool lab_has_failed(const lab_client *l) {
  return l->states[KM_RELAY_CLIENT_WAITING] > 0;
}

void lab_fill_queue(lab_client *l, size_t *ret_sent) {
  const km_id peer = lab_peer();
  uint8_t data[30000];
  memset(data, 1, sizeof data);
  *ret_sent = 0;
  while (km_relay_client_send(l->c, &peer, 0, data, sizeof data, 1000) == 0) {
    if (++*ret_sent % 16 == 0) {
      km_loop_run_nowait(lab_loop);
    }
    assert_true(*ret_sent < 100000); /* kernel buffers and 4 MiB are less */
  }
}

unsigned lab_count_fds(void) {
  unsigned count = 0;
  DIR *dir = opendir("/proc/self/fd");
  assert_non_null(dir);
  while (readdir(dir) != NULL) {
    count++;
  }
  closedir(dir);
  return count;
}
