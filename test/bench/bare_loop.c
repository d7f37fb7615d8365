/* km-bench-bare: how fast ngtcp2 + wolfSSL can go on this machine when nothing else is in the
 * way.
 *
 * Two processes (a fork), one connection, one bidirectional stream: the client sends for N
 * seconds, the server counts. Raw public keys on both sides, UDP_SEGMENT and UDP_GRO, packets of
 * one size, no pacing, no timers but QUIC's own. It has no API, no paths, no checks of whom it
 * talks to: `km-node perf` is measured against this upper bound.
 *
 * One deliberate limit: the stream window stays below 8,000 packets, because ngtcp2 1.24 gives
 * up a connection whose stream has that many frames to repeat (lib/ngtcp2_strm.c).
 */
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_wolfssl.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ed25519.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define GSO_BYTES_MAX 65000u /* below the 65,507 bytes of one UDP send over IPv4 */
#define GSO_SEGMENTS_MAX 64u /* UDP_MAX_SEGMENTS of older kernels */
#define RX_BYTES 65536u      /* one receive with UDP_GRO */
#define RX_BATCH 16          /* receives before acknowledgements go out; more starves the sender */
#define SOCKET_BUFFER (4 << 20)
#define STREAM_WINDOW (8u << 20)
#define CONN_WINDOW (16u << 20)
#define CHUNK_BYTES 65536u /* offered to ngtcp2 at a time; it takes what fits one packet */
#define CID_LEN 8u
#define GRACE_NS (5 * NGTCP2_SECONDS)

static const uint8_t ALPN[] = "\x08km-bench"; /* with its length byte, as the wire has it */

struct options {
  double seconds;
  size_t payload;
  bool json;
};

/* What the server hands to the client's process through a pipe. */
struct report {
  uint64_t rx_bytes;
  uint64_t elapsed_ns; /* first to last stream byte */
  double cpu_s;        /* over the same time */
};

struct peer {
  const struct options *opt;
  bool server;
  int fd;
  struct sockaddr_in local, remote;
  WOLFSSL_CTX *ctx;
  WOLFSSL *ssl;
  ngtcp2_conn *conn; /* the server's is made by the first Initial */
  ngtcp2_crypto_conn_ref ref;
  uint64_t now;        /* sampled once a turn: ngtcp2 asserts when time goes backwards */
  int64_t stream;      /* client: -1 until the handshake completed */
  uint64_t send_until; /* client: when to end the stream */
  bool fin_sent, done;
  uint64_t rx_bytes, rx_first, rx_last;
  double cpu_first, cpu_last;
  uint8_t *tx, *rx;
  uint8_t *chunk; /* the bytes sent, over and over: ngtcp2 may keep pointing at them */
};

static uint64_t clock_ns(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (uint64_t)t.tv_sec * NGTCP2_SECONDS + (uint64_t)t.tv_nsec;
}

static double cpu_seconds(void) {
  return (double)clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1e9;
}

static int fail(const char *what, const char *why) {
  fprintf(stderr, "km-bench-bare: %s: %s\n", what, why);
  return -1;
}

/* ---- TLS ---- */

static int accept_any_key(int preverify, WOLFSSL_X509_STORE_CTX *store) {
  (void)preverify, (void)store;
  return 1;
}

static int select_alpn(WOLFSSL *ssl, const unsigned char **ret_name, unsigned char *ret_len,
                       const unsigned char *in, unsigned int in_len, void *arg) {
  (void)ssl, (void)arg;
  if (in_len != sizeof ALPN - 1 || memcmp(in, ALPN, in_len) != 0)
    return 2; /* SSL_TLSEXT_ERR_ALERT_FATAL */
  *ret_name = in + 1;
  *ret_len = in[0];
  return 0; /* SSL_TLSEXT_ERR_OK */
}

static int load_new_key(WOLFSSL_CTX *ctx) {
  WC_RNG rng;
  ed25519_key key;
  uint8_t private_der[256], spki[128];
  int private_len, spki_len, ok;

  if (wc_InitRng(&rng) != 0)
    return fail("wc_InitRng", "no randomness");
  wc_ed25519_init(&key);
  wc_ed25519_make_key(&rng, ED25519_KEY_SIZE, &key);
  private_len = wc_Ed25519KeyToDer(&key, private_der, sizeof private_der);
  spki_len = wc_Ed25519PublicKeyToDer(&key, spki, sizeof spki, 1);
  ok = private_len > 0 && spki_len > 0 &&
       wolfSSL_CTX_use_certificate_buffer(ctx, spki, spki_len, WOLFSSL_FILETYPE_ASN1) ==
           WOLFSSL_SUCCESS &&
       wolfSSL_CTX_use_PrivateKey_buffer(ctx, private_der, private_len, WOLFSSL_FILETYPE_ASN1) ==
           WOLFSSL_SUCCESS;
  wc_ed25519_free(&key);
  wc_FreeRng(&rng);
  return ok ? 0 : fail("wolfSSL", "cannot load an Ed25519 raw public key");
}

static int tls_context_new(bool server, WOLFSSL_CTX **ret) {
  static const char raw_public_key[] = {WOLFSSL_CERT_TYPE_RPK};
  WOLFSSL_CTX *ctx =
      wolfSSL_CTX_new(server ? wolfTLSv1_3_server_method() : wolfTLSv1_3_client_method());
  if (ctx == NULL)
    return fail("wolfSSL_CTX_new", "failed");
  *ret = ctx;
  if (server ? ngtcp2_crypto_wolfssl_configure_server_context(ctx)
             : ngtcp2_crypto_wolfssl_configure_client_context(ctx))
    return fail("ngtcp2_crypto_wolfssl", "cannot configure the context");
  if (load_new_key(ctx) != 0)
    return -1;
  wolfSSL_CTX_set_client_cert_type(ctx, raw_public_key, 1);
  wolfSSL_CTX_set_server_cert_type(ctx, raw_public_key, 1);
  wolfSSL_CTX_set_verify(ctx,
                         WOLFSSL_VERIFY_PEER | (server ? WOLFSSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                         accept_any_key);
  wolfSSL_CTX_set_cipher_list(ctx, "TLS13-AES128-GCM-SHA256");
  wolfSSL_CTX_set1_groups_list(ctx, "X25519");
  if (server)
    wolfSSL_CTX_set_alpn_select_cb(ctx, select_alpn, NULL);
  return 0;
}

static ngtcp2_conn *conn_of_tls(ngtcp2_crypto_conn_ref *ref) {
  return ((struct peer *)ref->user_data)->conn;
}

static int tls_session_new(struct peer *p) {
  if (tls_context_new(p->server, &p->ctx) != 0)
    return -1;
  p->ssl = wolfSSL_new(p->ctx);
  if (p->ssl == NULL)
    return fail("wolfSSL_new", "failed");
  p->ref.get_conn = conn_of_tls;
  p->ref.user_data = p;
  wolfSSL_set_app_data(p->ssl, &p->ref);
  wolfSSL_set_quic_transport_version(p->ssl, 0x39);
  if (p->server) {
    wolfSSL_set_accept_state(p->ssl);
  } else {
    wolfSSL_set_connect_state(p->ssl);
    wolfSSL_set_alpn_protos(p->ssl, ALPN, sizeof ALPN - 1);
  }
  return 0;
}

/* ---- QUIC ---- */

static void random_bytes(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx) {
  (void)ctx;
  if (getrandom(dest, len, 0) != (ssize_t)len)
    abort();
}

static ngtcp2_cid random_cid(void) {
  ngtcp2_cid cid = {.datalen = CID_LEN};
  random_bytes(cid.data, CID_LEN, NULL);
  return cid;
}

static int on_new_cid(ngtcp2_conn *conn, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token,
                      size_t len, void *user_data) {
  (void)conn, (void)user_data;
  random_bytes(cid->data, len, NULL);
  cid->datalen = len;
  random_bytes(token->data, sizeof token->data, NULL);
  return 0;
}

static int on_stream_data(ngtcp2_conn *conn, uint32_t flags, int64_t stream, uint64_t offset,
                          const uint8_t *data, size_t len, void *user_data,
                          void *stream_user_data) {
  struct peer *p = user_data;
  (void)offset, (void)data, (void)stream_user_data;
  if (p->rx_first == 0) {
    p->rx_first = p->now;
    p->cpu_first = cpu_seconds();
  }
  p->rx_bytes += len;
  p->rx_last = p->now;
  ngtcp2_conn_extend_max_offset(conn, len);
  ngtcp2_conn_extend_max_stream_offset(conn, stream, len);
  if (flags & NGTCP2_STREAM_DATA_FLAG_FIN) {
    p->cpu_last = cpu_seconds();
    p->done = true;
  }
  return 0;
}

static ngtcp2_callbacks callbacks(void) {
  return (ngtcp2_callbacks){
      .client_initial = ngtcp2_crypto_client_initial_cb,
      .recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
      .recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,
      .encrypt = ngtcp2_crypto_encrypt_cb,
      .decrypt = ngtcp2_crypto_decrypt_cb,
      .hp_mask = ngtcp2_crypto_hp_mask_cb,
      .recv_retry = ngtcp2_crypto_recv_retry_cb,
      .update_key = ngtcp2_crypto_update_key_cb,
      .delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,
      .delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,
      .version_negotiation = ngtcp2_crypto_version_negotiation_cb,
      .get_path_challenge_data2 = ngtcp2_crypto_get_path_challenge_data2_cb,
      .get_new_connection_id2 = on_new_cid,
      .rand = random_bytes,
      .recv_stream_data = on_stream_data,
  };
}

static void connection_settings(const struct peer *p, ngtcp2_settings *ret_settings,
                                ngtcp2_transport_params *ret_params) {
  ngtcp2_settings_default(ret_settings);
  ret_settings->initial_ts = p->now;
  ret_settings->max_tx_udp_payload_size = p->opt->payload;
  ret_settings->no_tx_udp_payload_size_shaping = 1; /* loopback carries it: no discovery */
  ret_settings->cc_algo = NGTCP2_CC_ALGO_CUBIC;

  ngtcp2_transport_params_default(ret_params);
  ret_params->initial_max_streams_bidi = 1;
  ret_params->initial_max_stream_data_bidi_local = STREAM_WINDOW;
  ret_params->initial_max_stream_data_bidi_remote = STREAM_WINDOW;
  ret_params->initial_max_data = CONN_WINDOW;
  ret_params->max_idle_timeout = 10 * NGTCP2_SECONDS;
}

static ngtcp2_path path_of(struct peer *p) {
  return (ngtcp2_path){
      .local = {.addr = (ngtcp2_sockaddr *)&p->local, .addrlen = sizeof p->local},
      .remote = {.addr = (ngtcp2_sockaddr *)&p->remote, .addrlen = sizeof p->remote},
  };
}

static int connection_open(struct peer *p) {
  ngtcp2_callbacks cb = callbacks();
  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  ngtcp2_cid dcid = random_cid(), scid = random_cid();
  ngtcp2_path path = path_of(p);

  connection_settings(p, &settings, &params);
  if (ngtcp2_conn_client_new(&p->conn, &dcid, &scid, &path, NGTCP2_PROTO_VER_V1, &cb, &settings,
                             &params, NULL, p) != 0)
    return fail("ngtcp2_conn_client_new", "failed");
  ngtcp2_conn_set_tls_native_handle(p->conn, p->ssl);
  return 0;
}

/* Makes the server's connection when `pkt` can start one; any other packet is ignored. */
static int connection_accept(struct peer *p, const uint8_t *pkt, size_t len) {
  ngtcp2_callbacks cb = callbacks();
  ngtcp2_settings settings;
  ngtcp2_transport_params params;
  ngtcp2_pkt_hd hd;
  ngtcp2_cid scid = random_cid();
  ngtcp2_path path = path_of(p);

  if (ngtcp2_accept(&hd, pkt, len) != 0)
    return 0;
  connection_settings(p, &settings, &params);
  params.original_dcid = hd.dcid;
  params.original_dcid_present = 1;
  if (ngtcp2_conn_server_new(&p->conn, &hd.scid, &scid, &path, hd.version, &cb, &settings, &params,
                             NULL, p) != 0)
    return fail("ngtcp2_conn_server_new", "failed");
  ngtcp2_conn_set_tls_native_handle(p->conn, p->ssl);
  return 0;
}

/* ---- packets out ---- */

static ngtcp2_ssize write_packet(ngtcp2_conn *conn, ngtcp2_path *path, ngtcp2_pkt_info *pi,
                                 uint8_t *dest, size_t dest_len, ngtcp2_tstamp ts,
                                 void *user_data) {
  struct peer *p = user_data;
  ngtcp2_vec chunk = {.base = p->chunk, .len = CHUNK_BYTES};
  bool ending = p->now >= p->send_until;
  int64_t stream = p->fin_sent ? -1 : p->stream;

  for (;;) {
    ngtcp2_ssize taken = -1;
    uint32_t flags = NGTCP2_WRITE_STREAM_FLAG_NONE;
    if (stream >= 0)
      flags = NGTCP2_WRITE_STREAM_FLAG_PADDING | (ending ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0);
    ngtcp2_ssize n = ngtcp2_conn_writev_stream(conn, path, pi, dest, dest_len, &taken, flags,
                                               stream, &chunk, stream >= 0 && !ending ? 1 : 0, ts);
    if (n == NGTCP2_ERR_STREAM_DATA_BLOCKED) {
      stream = -1; /* what else there is: acknowledgements, probes */
      continue;
    }
    if (n >= 0 && taken >= 0 && ending)
      p->fin_sent = true;
    if (n < 0)
      fail("ngtcp2_conn_writev_stream", ngtcp2_strerror((int)n));
    return n < 0 ? NGTCP2_ERR_CALLBACK_FAILURE : n;
  }
}

static int send_segments(struct peer *p, uint8_t *data, size_t len, size_t segment) {
  union {
    struct cmsghdr align;
    uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
  } control = {0};
  struct iovec iov = {.iov_base = data, .iov_len = len};
  struct msghdr msg = {
      .msg_name = &p->remote, .msg_namelen = sizeof p->remote, .msg_iov = &iov, .msg_iovlen = 1};

  if (len > segment) {
    uint16_t segment16 = (uint16_t)segment;
    msg.msg_control = control.bytes;
    msg.msg_controllen = sizeof control.bytes;
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    cmsg->cmsg_level = SOL_UDP;
    cmsg->cmsg_type = UDP_SEGMENT;
    cmsg->cmsg_len = CMSG_LEN(sizeof segment16);
    memcpy(CMSG_DATA(cmsg), &segment16, sizeof segment16);
  }
  while (sendmsg(p->fd, &msg, 0) < 0) {
    struct pollfd writable = {.fd = p->fd, .events = POLLOUT};
    if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
      return fail("sendmsg", strerror(errno));
    poll(&writable, 1, 10);
  }
  return 0;
}

static int flush(struct peer *p) {
  size_t most = GSO_BYTES_MAX / p->opt->payload;
  if (most > GSO_SEGMENTS_MAX)
    most = GSO_SEGMENTS_MAX;
  for (;;) {
    ngtcp2_path_storage path;
    ngtcp2_pkt_info pi;
    size_t segment = 0;
    ngtcp2_path_storage_zero(&path);
    ngtcp2_ssize n = ngtcp2_conn_write_aggregate_pkt2(
        p->conn, &path.path, &pi, p->tx, GSO_BYTES_MAX, &segment, write_packet, most, p->now);
    if (n < 0)
      return -1; /* write_packet said why */
    if (n == 0)
      return 0;
    if (send_segments(p, p->tx, (size_t)n, segment) != 0)
      return -1;
    if ((size_t)n < segment * most)
      return 0; /* window or data exhausted: wait for acknowledgements */
  }
}

static void send_close(struct peer *p) {
  ngtcp2_ccerr cc;
  ngtcp2_path_storage path;
  ngtcp2_pkt_info pi;
  ngtcp2_ccerr_default(&cc);
  ngtcp2_path_storage_zero(&path);
  ngtcp2_ssize n = ngtcp2_conn_write_connection_close(p->conn, &path.path, &pi, p->tx,
                                                      p->opt->payload, &cc, p->now);
  if (n > 0)
    (void)send_segments(p, p->tx, (size_t)n, (size_t)n); /* said why; the client has a deadline */
}

/* ---- packets in ---- */

static int read_datagram(struct peer *p, const uint8_t *pkt, size_t len) {
  ngtcp2_path path = path_of(p);
  ngtcp2_pkt_info pi = {0};

  if (p->conn == NULL && connection_accept(p, pkt, len) != 0)
    return -1;
  if (p->conn == NULL)
    return 0;
  int rv = ngtcp2_conn_read_pkt(p->conn, &path, &pi, pkt, len, p->now);
  if (rv == NGTCP2_ERR_DRAINING && p->fin_sent) {
    p->done = true; /* the server has everything and said good-bye */
    return 0;
  }
  return rv == 0 ? 0 : fail("ngtcp2_conn_read_pkt", ngtcp2_strerror(rv));
}

static size_t gro_segment(struct msghdr *msg, size_t len) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
    if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
      int segment;
      memcpy(&segment, CMSG_DATA(c), sizeof segment);
      return (size_t)segment;
    }
  }
  return len;
}

static int read_socket(struct peer *p) {
  for (int i = 0; i < RX_BATCH && !p->done; i++) {
    union {
      struct cmsghdr align;
      uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = p->rx, .iov_len = RX_BYTES};
    struct msghdr msg = {.msg_name = &p->remote,
                         .msg_namelen = sizeof p->remote,
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    ssize_t n = recvmsg(p->fd, &msg, MSG_DONTWAIT);
    if (n < 0)
      return errno == EAGAIN || errno == EINTR ? 0 : fail("recvmsg", strerror(errno));
    size_t len = (size_t)n, segment = gro_segment(&msg, len);
    for (size_t at = 0; at < len && !p->done; at += segment) {
      if (read_datagram(p, p->rx + at, len - at < segment ? len - at : segment) != 0)
        return -1;
    }
  }
  return 0;
}

/* ---- the loop ---- */

static void wait_for_input(const struct peer *p, uint64_t deadline) {
  struct pollfd readable = {.fd = p->fd, .events = POLLIN};
  uint64_t until = deadline;
  if (p->conn != NULL) {
    uint64_t expiry = ngtcp2_conn_get_expiry2(p->conn);
    until = expiry < until ? expiry : until;
  }
  if (!p->fin_sent && p->send_until < until)
    until = p->send_until;
  uint64_t ns = until > p->now ? until - p->now : 0;
  struct timespec timeout = {.tv_sec = (time_t)(ns / NGTCP2_SECONDS),
                             .tv_nsec = (long)(ns % NGTCP2_SECONDS)};
  ppoll(&readable, 1, &timeout, NULL);
}

static int start_sending(struct peer *p) {
  if (p->server || p->stream >= 0 || !ngtcp2_conn_get_handshake_completed2(p->conn))
    return 0;
  if (ngtcp2_conn_open_bidi_stream(p->conn, &p->stream, NULL) != 0)
    return fail("ngtcp2_conn_open_bidi_stream", "failed");
  p->send_until = p->now + (uint64_t)(p->opt->seconds * 1e9);
  p->cpu_first = cpu_seconds();
  return 0;
}

static int run_loop(struct peer *p) {
  p->now = clock_ns(CLOCK_MONOTONIC);
  uint64_t deadline = p->now + (uint64_t)(p->opt->seconds * 1e9) + GRACE_NS;
  if (tls_session_new(p) != 0 || (!p->server && (connection_open(p) != 0 || flush(p) != 0)))
    return -1;
  while (!p->done) {
    wait_for_input(p, deadline);
    p->now = clock_ns(CLOCK_MONOTONIC);
    if (p->now >= deadline)
      return fail(p->server ? "server" : "client", "not finished in time");
    if (read_socket(p) != 0)
      return -1;
    if (p->conn == NULL || p->done)
      continue;
    if (ngtcp2_conn_get_expiry2(p->conn) <= p->now) {
      int rv = ngtcp2_conn_handle_expiry(p->conn, p->now);
      if (rv != 0)
        return fail("ngtcp2_conn_handle_expiry", ngtcp2_strerror(rv));
    }
    if (start_sending(p) != 0 || flush(p) != 0)
      return -1;
  }
  if (p->server)
    send_close(p);
  else
    p->cpu_last = cpu_seconds();
  return 0;
}

static int run_peer(struct peer *p) {
  p->stream = -1;
  p->send_until = UINT64_MAX;
  p->tx = malloc(GSO_BYTES_MAX);
  p->rx = malloc(RX_BYTES);
  p->chunk = calloc(1, CHUNK_BYTES);
  int rv = -1;
  if (p->tx != NULL && p->rx != NULL && p->chunk != NULL && wolfSSL_Init() == WOLFSSL_SUCCESS)
    rv = run_loop(p);
  ngtcp2_conn_del(p->conn);
  wolfSSL_free(p->ssl);
  wolfSSL_CTX_free(p->ctx);
  wolfSSL_Cleanup();
  free(p->chunk);
  free(p->rx);
  free(p->tx);
  close(p->fd);
  return rv;
}

static int socket_open(struct peer *p) {
  int one = 1, size = SOCKET_BUFFER;
  socklen_t len = sizeof p->local;
  p->local = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  p->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (p->fd < 0 || bind(p->fd, (struct sockaddr *)&p->local, sizeof p->local) != 0 ||
      getsockname(p->fd, (struct sockaddr *)&p->local, &len) != 0)
    return fail("socket", strerror(errno));
  if (setsockopt(p->fd, SOL_UDP, UDP_GRO, &one, sizeof one) != 0)
    return fail("UDP_GRO", strerror(errno));
  (void)setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &size,
                   sizeof size); /* the system may allow less */
  (void)setsockopt(p->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
  return 0;
}

/* ---- the program ---- */

static int run_server(struct peer *server, int report_fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlive the program that was started */
  if (run_peer(server) != 0)
    return 1;
  struct report report = {.rx_bytes = server->rx_bytes,
                          .elapsed_ns = server->rx_last - server->rx_first,
                          .cpu_s = server->cpu_last - server->cpu_first};
  return write(report_fd, &report, sizeof report) == (ssize_t)sizeof report ? 0 : 1;
}

static int print_result(const struct options *opt, const struct peer *client,
                        const struct report *r) {
  double gb = (double)r->rx_bytes / 1e9, seconds = (double)r->elapsed_ns / 1e9;
  if (r->rx_bytes == 0 || r->elapsed_ns == 0)
    return fail("result", "nothing arrived");
  double sender = (client->cpu_last - client->cpu_first) / gb, receiver = r->cpu_s / gb;
  if (opt->json)
    printf("{\"event\":\"perf\",\"mode\":\"up\",\"goodput_gbps\":%.3f,\"cpu_s_per_gb_client\":%.3f,"
           "\"cpu_s_per_gb_server\":%.3f,\"bytes\":%.0f,\"seconds\":%.3f,\"payload\":%zu}\n",
           gb * 8 / seconds, sender, receiver, gb * 1e9, seconds, opt->payload);
  else
    printf("goodput %.3f Gbit/s, sender %.3f and receiver %.3f CPU s/GB (payload %zu bytes)\n",
           gb * 8 / seconds, sender, receiver, opt->payload);
  return 0;
}

static int run(const struct options *opt) {
  struct peer server = {.opt = opt, .server = true}, client = {.opt = opt};
  int report_pipe[2];
  struct report report = {0};

  if (socket_open(&server) != 0 || socket_open(&client) != 0)
    return 1;
  client.remote = server.local;
  if (pipe(report_pipe) != 0)
    return fail("pipe", strerror(errno)), 1;
  pid_t pid = fork();
  if (pid < 0)
    return fail("fork", strerror(errno)), 1;
  if (pid == 0) {
    close(client.fd);
    close(report_pipe[0]);
    _exit(run_server(&server, report_pipe[1]));
  }
  close(server.fd);
  close(report_pipe[1]);
  int status = 0, rv = run_peer(&client);
  if (rv != 0)
    kill(pid, SIGKILL);
  bool reported = read(report_pipe[0], &report, sizeof report) == (ssize_t)sizeof report;
  close(report_pipe[0]);
  waitpid(pid, &status, 0);
  if (rv != 0 || !reported || status != 0)
    return 1;
  return print_result(opt, &client, &report) == 0 ? 0 : 1;
}

static int usage(FILE *to, int status) {
  fputs("usage: km-bench-bare [--seconds N] [--payload BYTES] [--json]\n"
        "Sends over one bare ngtcp2 + wolfSSL connection on loopback and prints goodput and CPU "
        "s/GB.\n"
        "  --seconds N      how long to send, 0.1 to 3600 (default 5)\n"
        "  --payload BYTES  UDP payload of every packet, 1200 to 1452 (default 1444)\n",
        to);
  return status;
}

int main(int argc, char **argv) {
  struct options opt = {.seconds = 5, .payload = 1444};
  for (int i = 1; i < argc; i++) {
    char *end = NULL;
    if (strcmp(argv[i], "--json") == 0) {
      opt.json = true;
    } else if (strcmp(argv[i], "--help") == 0) {
      return usage(stdout, 0);
    } else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
      opt.seconds = strtod(argv[++i], &end);
      if (*end != '\0' || !(opt.seconds >= 0.1 && opt.seconds <= 3600))
        return usage(stderr, 2);
    } else if (strcmp(argv[i], "--payload") == 0 && i + 1 < argc) {
      opt.payload = strtoul(argv[++i], &end, 10);
      if (*end != '\0' || opt.payload < NGTCP2_MAX_UDP_PAYLOAD_SIZE || opt.payload > 1452)
        return usage(stderr, 2);
    } else {
      return usage(stderr, 2);
    }
  }
  return run(&opt);
}
