/* Echo by id alone: finds peers on the local network and, when a domain is given, in its DNS.
 *
 *   echo_by_id                          serves, prints its id, and can be found
 *   echo_by_id ID TEXT [DOMAIN [IP]]    dials that id, wherever it is; IP: a name server */
#include <stdio.h>
#include <string.h>

#include <keymesh/keymesh.h>

#define ALPN "km/echo/1"

typedef struct app {
  km_loop *loop;
  km_secret_key *key;
  km_discovery *discovery;
  km_endpoint *endpoint;
  int status;
} app;

/* --- both --- */

static void on_endpoint_closed(void *ctx, km_endpoint *endpoint) {
  app *a = ctx;
  (void)endpoint; /* its memory is gone when this returns */
  a->endpoint = NULL;
  km_loop_stop(a->loop);
}

/* Who signs what is published is who is dialled: discovery and endpoint share one key. */
static int open_all(app *a, const char *domain, const char *server, km_errinfo *err) {
  const km_dns_options dns = {.size = sizeof dns,
                              .origins = &domain,
                              .origin_count = 1,
                              .servers = &server,
                              .server_count = server != NULL};
  km_discovery_options options = {.size = sizeof options};
  km_endpoint_options opt;
  int rv = km_loop_new(&a->loop);
  rv = rv != 0 ? rv : km_secret_key_generate(&a->key);
  options.secret_key = a->key;
  rv = rv != 0 ? rv : km_discovery_new(&a->discovery, a->loop, &options, err);
  rv = rv != 0 ? rv : km_discovery_add_mdns(a->discovery, NULL, err);
  rv = rv != 0 || domain == NULL ? rv : km_discovery_add_dns(a->discovery, &dns, err);
  if (rv != 0) {
    return rv;
  }
  km_endpoint_options_default(&opt);
  opt.secret_key = a->key;
  opt.discovery = a->discovery; /* asked by km_endpoint_dial, told where we are */
  opt.callbacks.on_closed = on_endpoint_closed;
  opt.ctx = a;
  return km_endpoint_open(&a->endpoint, a->loop, &opt, err);
}

static int close_all(app *a) {
  km_discovery_free(a->discovery); /* says goodbye; after the endpoint */
  km_secret_key_free(a->key);
  return a->loop != NULL && km_loop_free(a->loop) != 0 ? 1 : a->status;
}

/* --- the one who serves --- */

static void on_request(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  size_t taken = 0;
  (void)ctx;
  if (km_stream_write(s, data, len, fin, &taken, NULL) != 0 || taken < len) {
    km_stream_reset(s, 1); /* more than a buffer: echo_server_loop.c knows how to wait */
  }
}

static void on_stream(void *ctx, km_conn *conn, km_stream *stream) {
  static const km_stream_callbacks callbacks = {.size = sizeof callbacks, .on_data = on_request};
  (void)conn;
  km_stream_set_callbacks(stream, &callbacks, ctx);
}

static int serve(app *a, km_errinfo *err) {
  char id[KM_ID_TEXT_CAP];
  const km_protocol echo = {
      .size = sizeof echo, .alpn = ALPN, .conn = {.on_stream = on_stream}, .ctx = a};
  int rv = km_endpoint_add_protocol(a->endpoint, &echo, err);
  if (rv == 0) {
    (void)km_id_format(km_endpoint_id(a->endpoint), KM_ID_HEX, id, sizeof id);
    printf("%s\n", id);
    rv = fflush(stdout) == 0 ? 0 : KM_ERR_IO;
  }
  return rv;
}

/* --- the one who dials --- */

static void on_answer(void *ctx, km_stream *s, const void *data, size_t len, bool fin) {
  app *a = ctx;
  (void)fwrite(data, 1, len, stdout);
  if (fin) {
    a->status = 0;
    km_conn_close(km_stream_conn(s), 0, NULL, 0);
  }
}

static void on_conn_closed(void *ctx, km_conn *conn, const km_close_info *info) {
  const app *a = ctx;
  if (a->status != 0) { /* nobody knows it, nobody answered, ...: the text says which */
    fprintf(stderr, "echo_by_id: %s. %s\n", info->text, km_error_hint(info->error));
  }
  km_endpoint_close(km_conn_endpoint(conn));
}

static int dial(app *a, const char *text, const char *message, km_errinfo *err) {
  static const km_conn_callbacks conn_callbacks = {.size = sizeof conn_callbacks,
                                                   .on_closed = on_conn_closed};
  static const km_stream_callbacks stream_callbacks = {.size = sizeof stream_callbacks,
                                                       .on_data = on_answer};
  km_id id;
  km_addr *addr = NULL;
  km_conn *conn;
  km_stream *stream;
  size_t taken;
  a->status = 1;
  int rv = km_id_parse(&id, text, strlen(text), err);
  rv = rv != 0 ? rv : km_addr_new(&addr, &id); /* an address without any way in it */
  rv = rv != 0 ? rv
               : km_endpoint_dial(a->endpoint, &conn, addr, ALPN, &conn_callbacks, a, NULL, err);
  rv = rv != 0 ? rv : km_conn_open_stream(conn, &stream, true, &stream_callbacks, a);
  rv = rv != 0 ? rv : km_stream_write(stream, message, strlen(message), true, &taken, err);
  km_addr_free(addr);
  return rv;
}

int main(int argc, char **argv) {
  app a = {.status = 0};
  km_errinfo err = {.text = "give nothing, or ID TEXT [DOMAIN [IP]]"};
  bool fits = argc == 1 || (argc >= 3 && argc <= 5);
  int rv = fits ? 0 : KM_ERR_INVALID;
  rv = rv != 0 ? rv : open_all(&a, argc > 3 ? argv[3] : NULL, argc > 4 ? argv[4] : NULL, &err);
  if (rv == 0) {
    rv = argc == 1 ? serve(&a, &err) : dial(&a, argv[1], argv[2], &err);
  }
  if (rv != 0) {
    fprintf(stderr, "echo_by_id: %s\n", err.text);
    a.status = 2;
    if (a.endpoint != NULL) {
      km_endpoint_close(a.endpoint); /* ends in on_endpoint_closed, as ever */
    }
  }
  while (a.endpoint != NULL) {
    (void)km_loop_run(a.loop);
  }
  return close_all(&a);
}
