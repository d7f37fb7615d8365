/* Tickets of several peers in one ClientHello: nobody may be taken for the peer of a ticket that
 * the handshake does not resume from. wolfSSL's own client is made to offer more than one, by the
 * linker's --wrap and functions that its headers do not show. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "endpoint/conn_impl.h"
#include "test/endpoint/lab.h"

enum { SHA384_MAC = 5, AES_256_GCM_SHA384_FIRST = 0x13, AES_256_GCM_SHA384_SECOND = 0x02 };
enum { TLSX_PRE_SHARED_KEY = 0x29, SESSION_ID = 32, SERVER_SIDE = 0 };

int __real_TLSX_UseALPN(void **extensions, const void *data, unsigned short size,
                        unsigned char options, void *heap);
int __wrap_TLSX_UseALPN(void **extensions, const void *data, unsigned short size,
                        unsigned char options, void *heap);
int __real_TLSX_PopulateExtensions(WOLFSSL *ssl, unsigned char server);
int __wrap_TLSX_PopulateExtensions(WOLFSSL *ssl, unsigned char server);
int TLSX_PreSharedKey_Use(void **extensions, const unsigned char *identity, unsigned short len,
                          unsigned age, unsigned char hmac, unsigned char suite0,
                          unsigned char suite, unsigned char resumption, void **psk, void *heap);
void *TLSX_Find(void *list, int type);
int AddSessionToCache(WOLFSSL_CTX *ctx, WOLFSSL_SESSION *session, const unsigned char *id,
                      unsigned char id_len, int *index, int side, unsigned short use_ticket,
                      void **client_session);

static const km_dial_options early = {.size = sizeof early, .early_data = true};

/* What is put into the next ClientHello of `ssl` beside its own ticket. */
typedef struct offer {
  const WOLFSSL *ssl;
  bool first; /* before its own */
  unsigned char identity[4096];
  unsigned len;
  unsigned char instead[4096]; /* of its own ticket */
  unsigned instead_len;
} offer;

static offer added;
static void **last_extensions;

int __wrap_TLSX_UseALPN(void **extensions, const void *data, unsigned short size,
                        unsigned char options, void *heap) {
  last_extensions = extensions; /* of the ssl that is being made */
  return __real_TLSX_UseALPN(extensions, data, size, options, heap);
}

/* Beginnings of TLSX and PreSharedKey in wolfSSL's internal.h. Of the rest of a PreSharedKey we use
 * that it points to the next one. */
struct psk {
  unsigned short identity_len;
  unsigned char *identity;
  unsigned age;
};

struct tls_extension {
  int type;
  void *data;
};

static struct tls_extension *psk_extension(void) {
  struct tls_extension *x = TLSX_Find(*last_extensions, TLSX_PRE_SHARED_KEY);
  assert_non_null(x);
  return x;
}

/* Two of them, own and added, change places. */
static void swap_offers(void *added_psk) {
  enum { SEARCH_MAX = 32 };
  struct tls_extension *x = psk_extension();
  void **own = x->data;
  size_t next = 0;
  while (next < SEARCH_MAX && own[next] != added_psk) {
    next++;
  }
  assert_true(next < SEARCH_MAX);
  own[next] = NULL;
  ((void **)added_psk)[next] = own;
  x->data = added_psk;
}

int __wrap_TLSX_PopulateExtensions(WOLFSSL *ssl, unsigned char server) {
  int rv = __real_TLSX_PopulateExtensions(ssl, server);
  if (ssl == added.ssl && !server) {
    void *psk = NULL;
    const struct psk *own = psk_extension()->data; /* its age is as good as any */
    assert_int_equal(TLSX_PreSharedKey_Use(last_extensions, added.identity,
                                           (unsigned short)added.len, own->age, SHA384_MAC,
                                           AES_256_GCM_SHA384_FIRST, AES_256_GCM_SHA384_SECOND, 1,
                                           &psk, NULL),
                     0);
    if (added.first) {
      swap_offers(psk);
    }
    if (added.instead_len > 0) {
      assert_int_equal(own->identity_len, added.instead_len);
      memcpy(own->identity, added.instead, added.instead_len);
    }
  }
  return rv;
}

typedef struct fixture {
  lab l;
  lab_endpoint *server, *victim, *mallory;
  km_addr *addr;
} fixture;

static void open_fixture(fixture *f) {
  lab_open(&f->l);
  f->server = lab_server_open(&f->l, NULL, LAB_ECHO);
  f->victim = lab_endpoint_open(&f->l, NULL);
  f->mallory = lab_endpoint_open(&f->l, NULL);
  f->addr = lab_addr(f->server, NULL);
  added = (offer){0};
}

static void close_fixture(fixture *f) {
  added = (offer){0};
  km_addr_free(f->addr);
  lab_close(&f->l);
}

static void leave_ticket(fixture *f, lab_endpoint *client, const char *ciphers) {
  size_t before = f->server->accepted_count;
  lab_conn *c = lab_dial_with(client, f->addr, LAB_ALPN, NULL);
  if (ciphers != NULL) {
    assert_int_equal(wolfSSL_set_cipher_list(c->conn->ssl, ciphers), 1);
  }
  LAB_WAIT(&f->l, c->connected > 0 && f->server->accepted_count > before);
  lab_expect_echo(c, 1000);
  LAB_WAIT(&f->l, c->conn->progress.ticket_received);
  lab_conn_close(c, 0, NULL);
}

/* The ticket of `of`, as the network saw it in a ClientHello that never arrived. */
static WOLFSSL_SESSION *session_of(fixture *f, lab_endpoint *of) {
  km_session_bytes ticket, params;
  assert_true(km_session_cache_take_ticket(of->ep->sessions, km_endpoint_id(f->server->ep),
                                           LAB_ALPN, &ticket, &params));
  const unsigned char *p = ticket.ptr;
  WOLFSSL_SESSION *session = wolfSSL_d2i_SSL_SESSION(NULL, &p, (long)ticket.len);
  assert_non_null(session);
  free(ticket.ptr);
  free(params.ptr);
  return session;
}

/* Into `buf`; returns its length. */
static unsigned ticket_of(fixture *f, lab_endpoint *of, const WOLFSSL *ssl, unsigned char *buf,
                          size_t cap) {
  WOLFSSL_SESSION *session = session_of(f, of);
  WOLFSSL *holder = wolfSSL_new(wolfSSL_get_SSL_CTX(ssl));
  unsigned len = (unsigned)cap;
  assert_int_equal(wolfSSL_set_session(holder, session), 1);
  assert_int_equal(wolfSSL_get_SessionTicket(holder, buf, &len), 1);
  assert_true(len > 0);
  wolfSSL_free(holder);
  wolfSSL_SESSION_free(session);
  return len;
}

/* Whatever becomes of the handshake: who is let in is mallory. */
static void expect_mallory(fixture *f, lab_conn *c, size_t before) {
  LAB_WAIT(&f->l, c->closed > 0 || (c->connected > 0 && f->server->accepted_count > before));
  lab_run_for(&f->l, 50);
  for (size_t i = before; i < f->server->accepted_count; i++) {
    const lab_conn *accepted = f->server->accepted[i];
    assert_int_equal(accepted->closed, 0);
    assert_true(km_id_equal(km_conn_remote_id(accepted->conn), km_endpoint_id(f->mallory->ep)));
  }
}

/* Mallory's ticket is for another cipher suite than the victim's, so that both are opened. */
static lab_conn *dial_with_both(fixture *f, bool victims_first, const km_dial_options *options) {
  leave_ticket(f, f->victim, NULL);
  leave_ticket(f, f->mallory, "TLS13-AES256-GCM-SHA384");
  lab_conn *c = lab_dial_with(f->mallory, f->addr, LAB_ALPN, options);
  added.first = victims_first;
  added.len = ticket_of(f, f->victim, c->conn->ssl, added.identity, sizeof added.identity);
  added.ssl = c->conn->ssl;
  return c;
}

static void the_ticket_of_another_behind_ones_own_is_not_believed(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_conn *c = dial_with_both(&f, false, &early);
  size_t before = f.server->accepted_count;
  lab_stream *s = lab_stream_open(c, true);
  lab_stream_write_text(s, "i am the victim", true);
  expect_mallory(&f, c, before);
  assert_int_equal(f.server->accepted_count, before + 1);
  assert_true(f.server->accepted[before]->conn->progress.resumed);
  close_fixture(&f);
}

static void the_ticket_of_another_before_ones_own_is_not_believed(void **state) {
  (void)state;
  fixture f;
  open_fixture(&f);
  lab_conn *c = dial_with_both(&f, true, &early);
  size_t before = f.server->accepted_count;
  expect_mallory(&f, c, before);
  assert_int_equal(f.server->accepted_count, before + 1);
  close_fixture(&f);
}

/* What mallory offers, as if a server in this process had kept it. */
static void let_process_remember(WOLFSSL *ssl) {
  unsigned char *der = NULL;
  int len = wolfSSL_i2d_SSL_SESSION(wolfSSL_get_session(ssl), &der);
  assert_true(len > 0);
  der[0] = SERVER_SIDE;
  const unsigned char *p = der;
  WOLFSSL_SESSION *session = wolfSSL_d2i_SSL_SESSION(NULL, &p, len);
  assert_non_null(session);
  XFREE(der, NULL, DYNAMIC_TYPE_OPENSSL);
  memset(added.identity, 0x5e, SESSION_ID);
  added.len = SESSION_ID;
  assert_int_equal(AddSessionToCache(wolfSSL_get_SSL_CTX(ssl), session, added.identity, SESSION_ID,
                                     NULL, SERVER_SIDE, 0, NULL),
                   0);
  wolfSSL_SESSION_free(session);
}

/* wolfSSL looks for identities of 32 bytes in a cache that everyone in the process shares, say a
 * web server with sessions of anybody. The handshake would resume from that one, and the ticket
 * that was opened before be the victim's. */
static void a_session_of_the_process_is_not_resumed(void **state) {
  (void)state;
  static const char suite[] = "TLS13-AES256-GCM-SHA384";
  fixture f;
  open_fixture(&f);
  leave_ticket(&f, f.victim, NULL);
  leave_ticket(&f, f.mallory, suite);
  lab_conn *c = lab_dial_with(f.mallory, f.addr, LAB_ALPN, &early);
  WOLFSSL *ssl = c->conn->ssl;
  assert_int_equal(wolfSSL_set_cipher_list(ssl, suite), 1);
  let_process_remember(ssl);
  added.instead_len = ticket_of(&f, f.victim, ssl, added.instead, sizeof added.instead);
  added.ssl = ssl;
  size_t before = f.server->accepted_count;
  expect_mallory(&f, c, before);
  assert_int_equal(f.server->accepted_count, before + 1);
  assert_false(f.server->accepted[before]->conn->progress.resumed);
  close_fixture(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_ticket_of_another_behind_ones_own_is_not_believed),
      cmocka_unit_test(the_ticket_of_another_before_ones_own_is_not_believed),
      cmocka_unit_test(a_session_of_the_process_is_not_resumed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
