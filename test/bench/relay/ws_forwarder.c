/* km-bench-forwarder: what a relay on libwebsockets can reach at best. Clients tell their 32-byte
 * name in their first message; every later one begins with the name of whom it is for, and arrives
 * there with the sender's name in its place. No authentication, no limits, no pings.
 *
 *   km-bench-forwarder PORT */
#include <libwebsockets.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { NAME = 32, MESSAGE_MAX = 65536, QUEUE_MAX = 512, BUCKETS = 65536 };

typedef struct message {
  struct message *next;
  size_t len;
  uint8_t bytes[]; /* LWS_PRE, then the message */
} message;

typedef struct client {
  struct lws *wsi;
  struct client *next_in_bucket;
  uint8_t name[NAME];
  bool named;
  message *first, **end;
  unsigned queued;
  uint8_t *part; /* of a message that the end of a read cut */
  size_t part_len;
} client;

static client *buckets[BUCKETS];
static volatile sig_atomic_t stopped;

static client **bucket_of(const uint8_t *name) {
  return &buckets[name[0] | name[1] << 8];
}

static client *find(const uint8_t *name) {
  client *c = *bucket_of(name);
  while (c != NULL && memcmp(c->name, name, NAME) != 0) {
    c = c->next_in_bucket;
  }
  return c;
}

static void enter(client *c, const uint8_t *name) {
  memcpy(c->name, name, NAME);
  c->named = true;
  c->next_in_bucket = *bucket_of(name);
  *bucket_of(name) = c;
}

static void leave(client *c) {
  if (c->named) {
    client **link = bucket_of(c->name);
    while (*link != c) {
      link = &(*link)->next_in_bucket;
    }
    *link = c->next_in_bucket;
  }
  while (c->first != NULL) {
    message *m = c->first;
    c->first = m->next;
    free(m);
  }
  free(c->part);
}

static void forward(const client *from, const uint8_t *bytes, size_t len) {
  client *to = find(bytes);
  if (to == NULL || to->queued == QUEUE_MAX) {
    return;
  }
  message *m = malloc(sizeof *m + LWS_PRE + len);
  if (m == NULL) {
    return;
  }
  *m = (message){.len = len};
  memcpy(m->bytes + LWS_PRE, from->name, NAME);
  memcpy(m->bytes + LWS_PRE + NAME, bytes + NAME, len - NAME);
  *to->end = m;
  to->end = &m->next;
  to->queued++;
  lws_callback_on_writable(to->wsi);
}

static void take(client *c, const uint8_t *bytes, size_t len) {
  if (c->named) {
    forward(c, bytes, len);
  } else {
    enter(c, bytes);
  }
}

/* Most messages come whole; the one that a read cut comes in two parts. */
static int receive(client *c, const uint8_t *bytes, size_t len) {
  bool whole = lws_remaining_packet_payload(c->wsi) == 0 && lws_is_final_fragment(c->wsi);
  if (whole && c->part_len == 0) {
    if (len >= NAME) {
      take(c, bytes, len);
    }
    return 0;
  }
  if (c->part == NULL) {
    c->part = malloc(MESSAGE_MAX);
  }
  if (c->part == NULL || c->part_len + len > MESSAGE_MAX) {
    return -1;
  }
  memcpy(c->part + c->part_len, bytes, len);
  c->part_len += len;
  if (whole) {
    take(c, c->part, c->part_len);
    c->part_len = 0;
  }
  return 0;
}

static int write_some(client *c) {
  do {
    message *m = c->first;
    if (m == NULL) {
      return 0;
    }
    int n = lws_write(c->wsi, m->bytes + LWS_PRE, m->len, LWS_WRITE_BINARY);
    c->first = m->next;
    if (c->first == NULL) {
      c->end = &c->first;
    }
    c->queued--;
    free(m);
    if (n < 0) {
      return -1;
    }
  } while (!lws_send_pipe_choked(c->wsi));
  if (c->first != NULL) {
    lws_callback_on_writable(c->wsi);
  }
  return 0;
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len) {
  client *c = user;
  switch (reason) {
  case LWS_CALLBACK_ESTABLISHED:
    *c = (client){.wsi = wsi, .end = &c->first};
    return 0;
  case LWS_CALLBACK_RECEIVE:
    return receive(c, in, len);
  case LWS_CALLBACK_SERVER_WRITEABLE:
    return write_some(c);
  case LWS_CALLBACK_CLOSED:
    leave(c);
    return 0;
  default:
    return lws_callback_http_dummy(wsi, reason, user, in, len);
  }
}

static void on_signal(int number) {
  (void)number;
  stopped = 1;
}

int main(int argc, char **argv) {
  static const struct lws_protocols protocols[] = {
      {"forward", callback, sizeof(client), MESSAGE_MAX, 0, NULL, 0}, LWS_PROTOCOL_LIST_TERM};
  const struct lws_context_creation_info info = {
      .port = argc == 2 ? (int)strtoul(argv[1], NULL, 10) : 0,
      .iface = "127.0.0.1",
      .protocols = protocols,
      .pt_serv_buf_size = MESSAGE_MAX,
      .options = LWS_SERVER_OPTION_VALIDATE_UTF8 & 0,
  };
  if (info.port == 0) {
    return 2;
  }
  (void)signal(SIGTERM, on_signal);
  (void)signal(SIGINT, on_signal);
  lws_set_log_level(LLL_ERR, NULL);
  struct lws_context *context = lws_create_context(&info);
  while (context != NULL && !stopped && lws_service(context, 0) >= 0) {
  }
  lws_context_destroy(context);
  return context == NULL ? 1 : 0;
}
