/* The server's end of the control socket. */
#include "cmd/node/daemon/control_io.h"

#include <keymesh/uv.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/env.h"
#include "base/list.h"
#include "cmd/node/daemon/control_line.h"
#include "cmd/node/daemon/control_path_io.h"

#define MAX_CLIENTS 64
#define MAX_REQUESTS 64 /* under way, of one client */
#define READ_CHUNK 65536
#define BACKLOG 128

struct control_server {
  node_context *node;
  uv_pipe_t listener;
  km_list clients;
  size_t client_count;
  char chunk[READ_CHUNK];
};

typedef struct client {
  km_list node; /* in the server's clients, until it is closed */
  control_server *server;
  uv_pipe_t pipe;
  km_list pending;
  size_t pending_count;
  char *line; /* bytes of a line whose end is not there yet */
  size_t len, cap;
  bool closing, paused;
} client;

/* A request under way. */
typedef struct pending {
  km_list node; /* in the client's; removed when it is done */
  client *client;
  cJSON *id;
  request *request; /* NULL while request_run runs */
  bool starting, done;
} pending;

/* --- closing ---------------------------------------------------------------------------------- */

static void free_pending(pending *p) {
  km_list_remove(&p->node);
  p->client->pending_count--;
  cJSON_Delete(p->id);
  free(p);
}

static void cancel_all(client *c) {
  for (km_list *node = c->pending.next, *next; node != &c->pending; node = next) {
    pending *p = KM_LIST_ITEM(node, pending, node);
    next = node->next;
    request_cancel(p->request);
    free_pending(p);
  }
}

static void on_client_closed(uv_handle_t *handle) {
  client *c = handle->data;
  cancel_all(c);
  if (c->server != NULL) {
    km_list_remove(&c->node);
    c->server->client_count--;
  }
  free(c->line);
  free(c);
}

/* Its requests end when libuv gives the handle back: this may be called from inside of one. */
static void close_client(client *c) {
  if (!c->closing) {
    c->closing = true;
    uv_close((uv_handle_t *)&c->pipe, on_client_closed);
  }
}

/* --- writing ---------------------------------------------------------------------------------- */

typedef struct line_write {
  uv_write_t req;
  char *text; /* of cJSON */
} line_write;

static size_t backlog(void *ctx) {
  const pending *p = ctx;
  return uv_stream_get_write_queue_size((const uv_stream_t *)&p->client->pipe);
}

static void read_on(client *c);

/* Who reads again gets more of the long lists, and is read from again. */
static void drained(client *c) {
  km_list all;
  km_list_take_all(&all, &c->pending);
  while (!km_list_empty(&all)) {
    pending *p = KM_LIST_ITEM(all.next, pending, node);
    km_list_remove(&p->node);
    km_list_append(&c->pending, &p->node);
    request_resume(p->request);
  }
  read_on(c);
}

static void on_written(uv_write_t *req, int status) {
  line_write *w = (line_write *)req;
  client *c = req->data;
  cJSON_free(w->text);
  free(w);
  if (status < 0) {
    close_client(c);
  } else if (!c->closing &&
             uv_stream_get_write_queue_size((const uv_stream_t *)&c->pipe) < REQUEST_PAUSE / 2) {
    drained(c);
  }
}

/* Takes the answer. */
static void send_line(client *c, cJSON *answer) {
  char *text = answer == NULL || c->closing ? NULL : cJSON_PrintUnformatted(answer);
  line_write *w = text == NULL ? NULL : calloc(1, sizeof *w);
  cJSON_Delete(answer);
  if (w == NULL) {
    cJSON_free(text);
    close_client(c); /* no memory: an answer that is left out would mislead */
    return;
  }
  size_t len = strlen(text);
  text[len] = '\n'; /* in place of the NUL */
  *w = (line_write){.req.data = c, .text = text};
  const uv_buf_t buf = uv_buf_init(text, (unsigned)len + 1);
  if (uv_write(&w->req, (uv_stream_t *)&c->pipe, &buf, 1, on_written) != 0) {
    cJSON_free(text);
    free(w);
    close_client(c);
  }
}

static void send_end(client *c, const cJSON *id, cJSON *result, const km_errinfo *err) {
  cJSON *answer = control_answer(id);
  control_add_end(answer, result, err);
  send_line(c, answer);
}

static void refuse(client *c, const cJSON *id, int code, const char *text) {
  km_errinfo err;
  (void)km_fail(&err, code, "%s", text);
  send_end(c, id, NULL, &err);
}

/* --- requests --------------------------------------------------------------------------------- */

static void on_row(void *ctx, cJSON *row) {
  pending *p = ctx;
  cJSON *answer = control_answer(p->id);
  if (answer == NULL || !cJSON_AddItemToObject(answer, "row", row)) {
    cJSON_Delete(row);
    cJSON_Delete(answer);
    answer = NULL;
  }
  send_line(p->client, answer);
}

static void on_done(void *ctx, cJSON *result, const km_errinfo *err) {
  pending *p = ctx;
  send_end(p->client, p->id, result, err);
  p->request = NULL;
  p->done = true;
  if (!p->starting) {
    free_pending(p);
  }
}

static pending *find_pending(const client *c, const cJSON *id) {
  for (km_list *node = c->pending.next; node != &c->pending; node = node->next) {
    pending *p = KM_LIST_ITEM(node, pending, node);
    if (cJSON_Compare(p->id, id, true)) {
      return p;
    }
  }
  return NULL;
}

static void cancel_one(client *c, const control_request *asked) {
  const cJSON *id = cJSON_GetObjectItemCaseSensitive(asked->args, "id");
  pending *p = id == NULL ? NULL : find_pending(c, id);
  if (p == NULL) {
    refuse(c, asked->id, KM_ERR_NOT_FOUND, "no request of that id is under way");
    return;
  }
  request_cancel(p->request);
  refuse(c, p->id, KM_ERR_CANCELLED, "cancelled");
  free_pending(p);
  send_end(c, asked->id, NULL, NULL);
}

static void start(client *c, const control_request *asked) {
  const request_reply reply = {.row = on_row, .done = on_done, .backlog = backlog};
  pending *p = calloc(1, sizeof *p);
  cJSON *id = cJSON_Duplicate(asked->id, false);
  if (p == NULL || id == NULL) {
    free(p);
    cJSON_Delete(id);
    refuse(c, asked->id, KM_ERR_NOMEM, km_strerror(KM_ERR_NOMEM));
    return;
  }
  *p = (pending){.client = c, .id = id, .starting = true};
  km_list_init(&p->node);
  km_list_append(&c->pending, &p->node);
  c->pending_count++;
  request_reply mine = reply;
  mine.ctx = p;
  request *r;
  request_run(c->server->node, asked->cmd, asked->args, &mine, &r);
  p->starting = false;
  p->request = r;
  if (p->done) {
    free_pending(p);
  }
}

static void run_line(client *c, const char *line, size_t len) {
  control_request asked;
  km_errinfo err;
  if (control_parse(&asked, line, len, &err) != 0) {
    send_end(c, asked.id, NULL, &err);
    if (asked.id == NULL) {
      close_client(c); /* what it speaks is not this protocol */
    }
  } else if (strcmp(asked.cmd, "cancel") == 0) {
    cancel_one(c, &asked);
  } else if (find_pending(c, asked.id) != NULL) {
    refuse(c, asked.id, KM_ERR_INVALID, "a request of this id is under way");
  } else if (c->pending_count >= MAX_REQUESTS) {
    refuse(c, asked.id, KM_ERR_LIMIT, "too many requests under way on this connection");
  } else {
    start(c, &asked);
  }
  cJSON_Delete(asked.json);
}

/* --- reading ---------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  const client *c = handle->data;
  (void)suggested;
  *buf = c->server == NULL ? uv_buf_init(NULL, 0) : uv_buf_init(c->server->chunk, READ_CHUNK);
}

static bool keep(client *c, const char *bytes, size_t len) {
  if (len >= CONTROL_LINE_MAX - c->len) {
    refuse(c, NULL, KM_ERR_LIMIT, "the line is longer than 4 MiB");
    return false;
  }
  if (c->len + len >= c->cap) { /* room for an empty line too: `line` is never NULL then */
    size_t cap = c->cap == 0 ? 4096 : c->cap;
    while (cap <= c->len + len) {
      cap *= 2;
    }
    char *line = realloc(c->line, cap);
    if (line == NULL) {
      return false;
    }
    c->line = line;
    c->cap = cap;
  }
  memcpy(c->line + c->len, bytes, len);
  c->len += len;
  return true;
}

static void take(client *c, const char *bytes, size_t len) {
  while (len > 0 && !c->closing) {
    const char *end = memchr(bytes, '\n', len);
    size_t part = end == NULL ? len : (size_t)(end - bytes);
    if (!keep(c, bytes, part)) {
      close_client(c);
      return;
    }
    if (end != NULL) {
      size_t line_len = c->len;
      c->len = 0;
      run_line(c, c->line, line_len);
    }
    part += end != NULL ? 1 : 0;
    bytes += part;
    len -= part;
  }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  client *c = stream->data;
  if (n < 0) {
    close_client(c);
  } else if (n > 0 && c->server != NULL) {
    take(c, buf->base, (size_t)n);
    /* Who does not read its answers is not read from. */
    if (!c->closing && uv_stream_get_write_queue_size(stream) >= REQUEST_PAUSE) {
      c->paused = true;
      (void)uv_read_stop(stream);
    }
  }
}

static void read_on(client *c) {
  if (c->paused && !c->closing) {
    c->paused = false;
    if (uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0) {
      close_client(c);
    }
  }
}

/* --- clients ---------------------------------------------------------------------------------- */

static void admit(control_server *s, client *c) {
  uv_os_fd_t fd;
  if (uv_fileno((const uv_handle_t *)&c->pipe, &fd) != 0 || !control_peer_allowed(fd)) {
    refuse(c, NULL, KM_ERR_PERMISSION, "this node belongs to another user");
    close_client(c);
  } else if (s->client_count > MAX_CLIENTS) {
    refuse(c, NULL, KM_ERR_LIMIT, "64 programs are connected to this node already");
    close_client(c);
  } else if (uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) != 0) {
    close_client(c);
  }
}

static void on_connection(uv_stream_t *listener, int status) {
  control_server *s = listener->data;
  client *c = status < 0 ? NULL : calloc(1, sizeof *c);
  if (c == NULL) {
    return;
  }
  c->server = s;
  c->pipe.data = c;
  km_list_init(&c->node);
  km_list_init(&c->pending);
  if (uv_pipe_init(km_loop_uv(s->node->loop), &c->pipe, 0) != 0) {
    free(c);
    return;
  }
  km_list_append(&s->clients, &c->node);
  s->client_count++;
  if (uv_accept(listener, (uv_stream_t *)&c->pipe) != 0) {
    close_client(c);
  } else {
    admit(s, c);
  }
}

/* --- the server ------------------------------------------------------------------------------- */

static int listen_at(control_server *s, const char *path, km_errinfo *err) {
  int rv = uv_pipe_bind(&s->listener, path);
  if (rv == 0 && chmod(path, 0600) != 0) {
    rv = UV_EPERM;
  }
  rv = rv != 0 ? rv : uv_listen((uv_stream_t *)&s->listener, BACKLOG, on_connection);
  return rv == 0 ? 0 : km_fail_errno(err, -rv, "cannot listen on %.100s", path);
}

static void on_listener_closed(uv_handle_t *handle) {
  free(handle->data);
}

int control_server_open(control_server **ret, node_context *node, const char *path,
                        km_errinfo *err) {
  int rv = control_path_claim(path, err);
  if (rv != 0) {
    return rv;
  }
  control_server *s = calloc(1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->node = node;
  km_list_init(&s->clients);
  if (uv_pipe_init(km_loop_uv(node->loop), &s->listener, 0) != 0) {
    free(s);
    return km_fail(err, KM_ERR_SYSTEM, "cannot make the control socket");
  }
  s->listener.data = s;
  rv = listen_at(s, path, err);
  if (rv != 0) {
    uv_close((uv_handle_t *)&s->listener, on_listener_closed);
    return rv;
  }
  *ret = s;
  return 0;
}

void control_server_close(control_server *s) {
  if (s == NULL) {
    return;
  }
  while (!km_list_empty(&s->clients)) {
    client *c = KM_LIST_ITEM(s->clients.next, client, node);
    km_list_remove(&c->node);
    c->server = NULL;
    cancel_all(c);
    close_client(c);
  }
  uv_close((uv_handle_t *)&s->listener, on_listener_closed); /* libuv unlinks the socket */
}
