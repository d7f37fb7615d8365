/* What KeyMesh relies on in libwebsockets over wolfSSL, tried on connections over loopback that an
 * external poll loop drives: whom a client trusts, the exporter in both roles, new certificates on
 * a running server. lws_wolfssl_test FOLDER; lws_wolfssl_test.sh makes the certificates there. */
#include <libwebsockets.h>

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LABEL "iroh-relay handshake v1"
#define SECRET_LEN 32
#define FDS 32

/* How one dial ended. */
typedef struct {
  bool over, up;
  char error[128];
  unsigned char serial; /* of the server's certificate, its last byte */
  unsigned char client_secret[SECRET_LEN], server_secret[SECRET_LEN];
} outcome;

typedef struct {
  struct lws_context *context;
  struct lws_vhost *server;
  WOLFSSL_CTX *server_tls;
  struct pollfd fds[FDS];
  nfds_t count;
  outcome *dial;
  struct lws *client, *wsi; /* the two ends of it */
  bool closed;
  unsigned echoed;
} bench;

static const char *folder;

static const char *in_folder(const char *name, char buf[512]) {
  assert_in_range(snprintf(buf, 512, "%s/%s", folder, name), 1, 511);
  return buf;
}

static int export_secret(struct lws *wsi, unsigned char *ret) {
  static const unsigned char context[32] = "32 bytes that both sides know..";
  WOLFSSL *ssl = (WOLFSSL *)lws_get_ssl(wsi);
  int ok = wolfSSL_export_keying_material(ssl, ret, SECRET_LEN, LABEL, strlen(LABEL), context,
                                          sizeof context, 1);
  wolfSSL_FreeArrays(ssl);
  return ok;
}

/* -- the external poll loop -- */

static struct pollfd *find_fd(bench *b, int fd) {
  for (nfds_t i = 0; i < b->count; i++) {
    if (b->fds[i].fd == fd) {
      return &b->fds[i];
    }
  }
  return NULL;
}

static int poll_callback(bench *b, enum lws_callback_reasons reason, struct lws_pollargs *args) {
  struct pollfd *found = find_fd(b, args->fd);
  switch (reason) {
  case LWS_CALLBACK_ADD_POLL_FD:
    assert_null(found);
    assert_in_range(b->count, 0, FDS - 1);
    b->fds[b->count++] = (struct pollfd){args->fd, (short)args->events, 0};
    break;
  case LWS_CALLBACK_DEL_POLL_FD:
    assert_non_null(found);
    *found = b->fds[--b->count];
    break;
  default:
    assert_non_null(found);
    found->events = (short)args->events;
    break;
  }
  return 0;
}

static void turn(bench *b) {
  int ms = lws_service_adjust_timeout(b->context, 20, 0);
  if (ms == 0) {
    lws_service_tsi(b->context, -1, 0);
  }
  struct pollfd ready[FDS];
  nfds_t count = b->count;
  memcpy(ready, b->fds, sizeof ready);
  assert_true(poll(ready, count, ms) >= 0);
  for (nfds_t i = 0; i < count; i++) {
    if (ready[i].revents != 0 && find_fd(b, ready[i].fd) != NULL) {
      lws_service_fd(b->context, &ready[i]);
    }
  }
}

/* -- callbacks of both ends -- */

static int server_name(WOLFSSL *ssl, int *alert, void *arg) {
  bench *b = arg;
  (void)alert;
  assert_ptr_equal(wolfSSL_set_SSL_CTX(ssl, b->server_tls), b->server_tls);
  return 0;
}

static void client_up(bench *b, struct lws *wsi) {
  WOLFSSL *ssl = (WOLFSSL *)lws_get_ssl(wsi);
  WOLFSSL_X509 *cert = wolfSSL_get_peer_certificate(ssl);
  unsigned char serial[32];
  int len = sizeof serial;
  assert_non_null(cert);
  assert_int_equal(wolfSSL_X509_get_serial_number(cert, serial, &len), WOLFSSL_SUCCESS);
  wolfSSL_X509_free(cert);
  b->dial->serial = serial[len - 1];
  assert_int_equal(export_secret(wsi, b->dial->client_secret), WOLFSSL_SUCCESS);
}

static int client_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                           size_t len) {
  bench *b = lws_context_user(lws_get_context(wsi));
  (void)user;
  switch (reason) {
  case LWS_CALLBACK_ADD_POLL_FD:
  case LWS_CALLBACK_DEL_POLL_FD:
  case LWS_CALLBACK_CHANGE_MODE_POLL_FD:
    return poll_callback(b, reason, in);
  case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
    client_up(b, wsi); /* the first callback after the TLS handshake */
    return 0;
  case LWS_CALLBACK_CLIENT_ESTABLISHED:
    b->dial->over = b->dial->up = true;
    b->client = wsi;
    return 0;
  case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
    b->dial->over = true;
    snprintf(b->dial->error, sizeof b->dial->error, "%.*s", (int)len, (const char *)in);
    return 0;
  case LWS_CALLBACK_CLIENT_RECEIVE:
    b->echoed++;
    return 0;
  case LWS_CALLBACK_CLIENT_CLOSED:
    b->closed = true;
    return 0;
  default:
    return 0;
  }
}

static int server_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                           size_t len) {
  bench *b = lws_context_user(lws_get_context(wsi));
  unsigned char message[LWS_PRE + 1] = {0};
  (void)len;
  switch (reason) {
  case LWS_CALLBACK_ADD_POLL_FD:
  case LWS_CALLBACK_DEL_POLL_FD:
  case LWS_CALLBACK_CHANGE_MODE_POLL_FD:
    return poll_callback(b, reason, in);
  case LWS_CALLBACK_OPENSSL_LOAD_EXTRA_SERVER_VERIFY_CERTS:
    wolfSSL_CTX_set_servername_callback(user, server_name);
    wolfSSL_CTX_set_servername_arg(user, b);
    return 0;
  case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
    assert_int_equal(export_secret(wsi, b->dial->server_secret), WOLFSSL_SUCCESS);
    return 0;
  case LWS_CALLBACK_ESTABLISHED:
    b->wsi = wsi;
    return 0;
  case LWS_CALLBACK_SERVER_WRITEABLE:
    return lws_write(wsi, message + LWS_PRE, 1, LWS_WRITE_BINARY) < 0;
  default:
    return 0;
  }
}

static const struct lws_protocols client_protocols[] = {
    {"relay", client_callback, 0, 0, 0, NULL, 0}, LWS_PROTOCOL_LIST_TERM};
static const struct lws_protocols server_protocols[] = {
    {"relay", server_callback, 0, 0, 0, NULL, 0}, LWS_PROTOCOL_LIST_TERM};

/* -- setting up -- */

static WOLFSSL_CTX *server_tls(const char *cert, const char *key) {
  char path[512];
  WOLFSSL_CTX *tls = wolfSSL_CTX_new(wolfTLSv1_3_server_method());
  assert_non_null(tls);
  assert_int_equal(wolfSSL_CTX_use_certificate_chain_file(tls, in_folder(cert, path)),
                   WOLFSSL_SUCCESS);
  assert_int_equal(wolfSSL_CTX_use_PrivateKey_file(tls, in_folder(key, path), WOLFSSL_FILETYPE_PEM),
                   WOLFSSL_SUCCESS);
  return tls;
}

static void open_bench(bench *b, const char *cert, const char *key) {
  struct lws_context_creation_info info = {
      .options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
      .user = b,
  };
  char cert_path[512], key_path[512];
  *b = (bench){0};
  lws_set_log_level(0, NULL);
  b->context = lws_create_context(&info);
  assert_non_null(b->context);
  b->server_tls = server_tls(cert, key);
  struct lws_context_creation_info vhost = {
      .options = info.options | LWS_SERVER_OPTION_CREATE_VHOST_SSL_CTX,
      .vhost_name = "server",
      .iface = "127.0.0.1",
      .protocols = server_protocols,
      /* wolfSSL_new() refuses a server without, though server_name() puts others in their place */
      .ssl_cert_filepath = in_folder(cert, cert_path),
      .ssl_private_key_filepath = in_folder(key, key_path),
  };
  b->server = lws_create_vhost(b->context, &vhost);
  assert_non_null(b->server);
  turn(b);
}

static void close_bench(bench *b) {
  outcome last = {0};
  b->dial = &last;
  lws_context_destroy(b->context);
  assert_int_equal(b->count, 0); /* all is closed when it returns */
  wolfSSL_CTX_free(b->server_tls);
}

/* Every dial has a client of its own: it may trust somebody else. */
static outcome dial(bench *b, const char *trust, const char *host) {
  char path[512];
  outcome ret = {0};
  WOLFSSL_CTX *tls = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
  wolfSSL_CTX_set_verify(tls, WOLFSSL_VERIFY_PEER, NULL);
  assert_int_equal(wolfSSL_CTX_load_verify_locations(tls, in_folder(trust, path), NULL),
                   WOLFSSL_SUCCESS);
  struct lws_context_creation_info info = {
      .options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
      .vhost_name = "client",
      .port = CONTEXT_PORT_NO_LISTEN,
      .protocols = client_protocols,
      .provided_client_ssl_ctx = tls,
  };
  struct lws_vhost *client = lws_create_vhost(b->context, &info);
  assert_non_null(client);
  struct lws_client_connect_info to = {
      .context = b->context,
      .vhost = client,
      .address = "127.0.0.1",
      .port = lws_get_vhost_listen_port(b->server),
      .ssl_connection = LCCSCF_USE_SSL,
      .path = "/relay",
      .host = host,
      .protocol = "relay",
  };
  b->dial = &ret;
  b->wsi = NULL;
  lws_client_connect_via_info(&to);
  while (!ret.over || (ret.up && b->wsi == NULL)) {
    turn(b);
  }
  wolfSSL_CTX_free(tls); /* connections hold references of their own */
  return ret;
}

/* -- tests -- */

static void check_up(const outcome *o) {
  static const unsigned char none[SECRET_LEN];
  assert_true(o->up);
  assert_memory_not_equal(o->client_secret, none, SECRET_LEN);
  assert_memory_equal(o->client_secret, o->server_secret, SECRET_LEN);
}

/* lws hands on wolfSSL's number and no words. */
static void check_refused(const outcome *o, int why) {
  char number[16];
  snprintf(number, sizeof number, "%d", why);
  assert_false(o->up);
  assert_non_null(strstr(o->error, number));
}

static void accepts_rsa_chains_and_exports_the_same(void **state) {
  bench b;
  (void)state;
  open_bench(&b, "rsa.pem", "rsa.key");
  outcome first = dial(&b, "root.pem", "relay.test:443");
  check_up(&first);
  outcome second = dial(&b, "root.pem", "relay.test");
  check_up(&second);
  assert_memory_not_equal(first.client_secret, second.client_secret, SECRET_LEN);
  close_bench(&b);
}

static void accepts_ecdsa_on_both_curves(void **state) {
  bench b;
  (void)state;
  open_bench(&b, "p256.pem", "p256.key");
  outcome o = dial(&b, "root.pem", "relay.test");
  check_up(&o);
  close_bench(&b);
  open_bench(&b, "p384.pem", "p384.key");
  o = dial(&b, "root.pem", "relay.test");
  check_up(&o);
  close_bench(&b);
}

static void refuses_another_name(void **state) {
  static const struct {
    const char *name;
    int why;
  } other[] = {
      {"other.test", DOMAIN_NAME_MISMATCH}, {"relay.tes", DOMAIN_NAME_MISMATCH},
      {"relay", DOMAIN_NAME_MISMATCH},      {"a.relay.test", DOMAIN_NAME_MISMATCH},
      {"wild.test", DOMAIN_NAME_MISMATCH},  {"a.b.wild.test", DOMAIN_NAME_MISMATCH},
      {"127.0.0.2", IPADDR_MISMATCH},       {"[::2]:443", IPADDR_MISMATCH},
  };
  bench b;
  (void)state;
  open_bench(&b, "rsa.pem", "rsa.key");
  for (size_t i = 0; i < sizeof other / sizeof other[0]; i++) {
    outcome o = dial(&b, "root.pem", other[i].name);
    check_refused(&o, other[i].why);
  }
  close_bench(&b);
}

static void accepts_the_other_names_of_a_certificate(void **state) {
  static const char *const names[] = {"127.0.0.1", "127.0.0.1:443", "[::1]:443",
                                      "[::1]",     "a.wild.test",   "localhost"};
  bench b;
  (void)state;
  open_bench(&b, "rsa.pem", "rsa.key");
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    outcome o = dial(&b, "root.pem", names[i]);
    check_up(&o);
  }
  close_bench(&b);
}

static void refuses_what_it_does_not_trust(void **state) {
  bench b;
  (void)state;
  open_bench(&b, "rsa.pem", "rsa.key");
  outcome o = dial(&b, "stranger.pem", "relay.test");
  check_refused(&o, ASN_NO_SIGNER_E);
  close_bench(&b);
  open_bench(&b, "expired.pem", "p256.key");
  o = dial(&b, "root.pem", "relay.test");
  check_refused(&o, ASN_AFTER_DATE_E);
  close_bench(&b);
}

static void takes_new_certificates_while_running(void **state) {
  bench b;
  (void)state;
  open_bench(&b, "rsa.pem", "rsa.key");
  outcome before = dial(&b, "root.pem", "relay.test");
  struct lws *kept = b.wsi;
  WOLFSSL_CTX *former = b.server_tls;
  b.server_tls = server_tls("p256.pem", "p256.key");
  wolfSSL_CTX_free(former);
  outcome after = dial(&b, "root.pem", "127.0.0.1"); /* without SNI */
  check_up(&before);
  check_up(&after);
  assert_int_equal(before.serial, 1);
  assert_int_equal(after.serial, 2);
  lws_callback_on_writable(kept); /* who was there before goes on */
  while (b.echoed == 0) {
    turn(&b);
  }
  assert_false(b.closed);
  close_bench(&b);
}

/* A library must not die of a closed connection, nor change what its process does with SIGPIPE. */
static void write_into_the_void(struct lws *wsi) {
  assert_int_equal(shutdown(lws_get_socket_fd(wsi), SHUT_WR), 0);
  assert_true(wolfSSL_write((WOLFSSL *)lws_get_ssl(wsi), "x", 1) <= 0);
}

static void survives_writes_without_ignoring_sigpipe(void **state) {
  struct sigaction now;
  bench b;
  (void)state;
  open_bench(&b, "p256.pem", "p256.key");
  outcome o = dial(&b, "root.pem", "relay.test");
  check_up(&o);
  assert_int_equal(sigaction(SIGPIPE, NULL, &now), 0);
  assert_true(now.sa_handler == SIG_DFL);
  write_into_the_void(b.client);
  write_into_the_void(b.wsi);
  close_bench(&b);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(accepts_rsa_chains_and_exports_the_same),
      cmocka_unit_test(accepts_ecdsa_on_both_curves),
      cmocka_unit_test(refuses_another_name),
      cmocka_unit_test(accepts_the_other_names_of_a_certificate),
      cmocka_unit_test(refuses_what_it_does_not_trust),
      cmocka_unit_test(takes_new_certificates_while_running),
      cmocka_unit_test(survives_writes_without_ignoring_sigpipe),
  };
  if (argc != 2) {
    return 2;
  }
  signal(SIGPIPE, SIG_DFL); /* whatever ctest's parent had */
  folder = argv[1];
  return cmocka_run_group_tests(tests, NULL, NULL);
}
