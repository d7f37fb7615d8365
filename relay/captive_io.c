#include "relay/captive_io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/connect_io.h"

struct km_captive {
  km_captive_config config; /* relay_url is not kept */
  km_relay_url url;
  char challenge[KM_CAPTIVE_CHALLENGE_CAP];
  km_relay_dial *dial;
  km_deadline *timer; /* the end, of whatever kind */
  int fd;             /* -1: not connected */
  km_poll *poll;
  char text[KM_CAPTIVE_ANSWER_MAX];
  size_t len;
  km_net_answer answer;
};

static void end(km_captive *c, km_net_answer answer) {
  c->answer = answer;
  km_poll_free(c->poll);
  c->poll = NULL;
  km_deadline_set(c->timer, km_loop_now(c->config.loop));
}

static void on_end(void *ctx) {
  km_captive *c = ctx;
  km_captive_config config = c->config;
  km_net_answer answer = c->answer;
  km_captive_free(c);
  config.fn(config.ctx, answer);
}

static void on_readable(void *ctx, int events) {
  km_captive *c = ctx;
  (void)events;
  ssize_t len = recv(c->fd, c->text + c->len, sizeof c->text - c->len, 0);
  if (len < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    return;
  }
  c->len += len > 0 ? (size_t)len : 0;
  km_net_answer answer = km_captive_read(c->text, c->len, len <= 0, c->challenge);
  if (answer != KM_NET_UNKNOWN || len <= 0) {
    end(c, answer);
  }
}

static void on_dialled(void *ctx, int fd, const km_udp_addr *remote, const km_errinfo *err) {
  km_captive *c = ctx;
  char request[KM_CAPTIVE_REQUEST_CAP];
  (void)remote;
  (void)err; /* whoever wants to know asks the relay itself */
  km_relay_dial_free(c->dial);
  c->dial = NULL;
  c->fd = fd;
  size_t len = km_captive_request(request, &c->url, c->challenge);
  if (fd < 0 || len == 0 || send(fd, request, len, MSG_NOSIGNAL) != (ssize_t)len ||
      km_poll_new(&c->poll, c->config.loop, fd, on_readable, c) != 0 ||
      km_poll_set(c->poll, KM_POLL_READ) != 0) {
    end(c, KM_NET_UNKNOWN);
  }
}

static void make_challenge(km_captive *c) {
  static const char digits[] = "0123456789abcdef";
  uint8_t random[KM_CAPTIVE_CHALLENGE_CAP / 2];
  km_env_random(c->config.env, random, sizeof random);
  for (size_t i = 0; i < sizeof random; i++) {
    c->challenge[2 * i] = digits[random[i] >> 4];
    c->challenge[2 * i + 1] = digits[random[i] & 15];
  }
}

static int begin(km_captive *c, const char *relay_url, km_errinfo *err) {
  km_relay_url relay;
  const km_relay_proxy direct = {.used = false}; /* a portal is no proxy's affair */
  int rv = km_relay_url_read(&relay, relay_url, err);
  if (rv != 0) {
    return rv;
  }
  km_captive_url(&c->url, &relay);
  const km_relay_dial_config dial = {
      .env = c->config.env, .loop = c->config.loop, .url = &c->url, .proxy = &direct};
  rv = km_deadline_new(&c->timer, c->config.loop, on_end, c);
  rv = rv != 0 ? rv : km_relay_dial_new(&c->dial, &dial, on_dialled, c);
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  km_deadline_set(c->timer, km_loop_now(c->config.loop) + c->config.timeout_ns);
  return 0;
}

int km_captive_new(km_captive **ret, const km_captive_config *config, km_errinfo *err) {
  km_captive *c = km_env_zalloc(config->env, 1, sizeof *c);
  if (c == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  c->config = *config;
  c->config.relay_url = NULL;
  c->fd = -1;
  make_challenge(c);
  int rv = begin(c, config->relay_url, err);
  if (rv != 0) {
    km_captive_free(c);
    return rv;
  }
  *ret = c;
  return 0;
}

void km_captive_free(km_captive *c) {
  if (c == NULL) {
    return;
  }
  km_relay_dial_free(c->dial);
  km_poll_free(c->poll);
  if (c->fd >= 0) {
    (void)close(c->fd);
  }
  km_deadline_free(c->timer);
  km_env_free(c->config.env, c);
}
