#include "holepunch/stun_client.h"

#include <string.h>

#define RTO_MIN (100 * KM_NS_PER_MS)
#define RTO_MAX (30 * KM_NS_PER_S)
#define RTO_STALE (600 * KM_NS_PER_S) /* RFC 8489 section 6.2.1: ten minutes */

void km_stun_client_init(km_stun_client *c, const km_env *env) {
  memset(c, 0, sizeof *c);
  c->env = env;
}

/* --- round trips: RFC 6298, by address ------------------------------------------------------- */

static bool same_ip(const km_udp_addr *a, const km_udp_addr *b) {
  return a->family == b->family && a->scope_id == b->scope_id &&
         memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

static km_stun_rtt *known(km_stun_client *c, const km_udp_addr *server, km_ts now) {
  for (size_t i = 0; i < KM_STUN_CLIENT_SERVERS; i++) {
    km_stun_rtt *r = &c->rtts[i];
    if (same_ip(&r->server, server)) {
      return now - r->used <= RTO_STALE ? r : NULL;
    }
  }
  return NULL;
}

static uint64_t first_rto(km_stun_client *c, const km_udp_addr *server, km_ts now) {
  const km_stun_rtt *r = known(c, server, now);
  return r == NULL ? KM_STUN_RTO : r->rto_ns;
}

/* A place for the server: its own, else the one that was not used for longest. */
static km_stun_rtt *place_for(km_stun_client *c, const km_udp_addr *server) {
  km_stun_rtt *oldest = &c->rtts[0];
  for (size_t i = 0; i < KM_STUN_CLIENT_SERVERS; i++) {
    km_stun_rtt *r = &c->rtts[i];
    if (same_ip(&r->server, server)) {
      return r;
    }
    if (r->used < oldest->used) {
      oldest = r;
    }
  }
  *oldest = (km_stun_rtt){.server = *server};
  return oldest;
}

static uint64_t clamp(uint64_t ns) {
  return ns < RTO_MIN ? RTO_MIN : ns > RTO_MAX ? RTO_MAX : ns;
}

/* Karn: which of several requests was answered is not known, so that the time says nothing; the
 * patience that led to an answer is kept instead (RFC 6298 section 5). */
static void learn(km_stun_client *c, const km_stun_transaction *t, km_ts now) {
  km_stun_rtt *r = known(c, &t->ask.server, now);
  bool fresh = r == NULL || r->srtt_ns == 0;
  if (r == NULL) {
    r = place_for(c, &t->ask.server);
    *r = (km_stun_rtt){.server = t->ask.server};
    r->server.port = 0;
  }
  uint64_t rtt = now - t->first;
  r->used = now;
  if (t->sent > 1) {
    r->rto_ns = clamp(t->rto_ns << (t->sent - 1));
    return;
  }
  if (fresh) {
    r->srtt_ns = rtt;
    r->var_ns = rtt / 2;
  } else {
    uint64_t off = rtt > r->srtt_ns ? rtt - r->srtt_ns : r->srtt_ns - rtt;
    r->var_ns = (3 * r->var_ns + off) / 4;
    r->srtt_ns = (7 * r->srtt_ns + rtt) / 8;
  }
  r->rto_ns = clamp(r->srtt_ns + 4 * r->var_ns);
}

/* --- asking ----------------------------------------------------------------------------------- */

int km_stun_client_ask(km_stun_client *c, const km_stun_ask *ask, km_ts now) {
  for (size_t i = 0; i < KM_STUN_CLIENT_MAX; i++) {
    km_stun_transaction *t = &c->at[i];
    if (t->state == KM_STUN_FREE) {
      *t = (km_stun_transaction){.state = KM_STUN_WAITING, .ask = *ask, .again = now};
      t->ask.rc = ask->rc > 0 ? ask->rc : KM_STUN_RC;
      t->ask.rm = ask->rm > 0 ? ask->rm : KM_STUN_RM;
      t->rto_ns = first_rto(c, &ask->server, now);
      t->done = (km_stun_done){.tag = ask->tag};
      km_env_random(c->env, t->id, sizeof t->id);
      return 0;
    }
  }
  return KM_ERR_LIMIT;
}

static void write_request(const km_stun_transaction *t, km_stun_out *ret) {
  const km_stun_ask *a = &t->ask;
  *ret = (km_stun_out){.to = a->server, .socket = a->socket, .len = KM_STUN_REQUEST_LEN};
  if (a->change_ip || a->change_port) {
    ret->len = km_stun_request_change(ret->bytes, t->id, a->change_ip, a->change_port);
  } else {
    km_stun_request(ret->bytes, t->id);
  }
}

bool km_stun_client_pull(km_stun_client *c, km_ts now, km_stun_out *ret) {
  for (size_t i = 0; i < KM_STUN_CLIENT_MAX; i++) {
    km_stun_transaction *t = &c->at[i];
    if (t->state != KM_STUN_WAITING || now < t->again) {
      continue;
    }
    if (t->sent == t->ask.rc) {
      t->state = KM_STUN_DONE;
      t->done.code = KM_ERR_TIMEOUT;
      continue;
    }
    t->first = t->sent == 0 ? now : t->first;
    t->sent++;
    t->again = now + (t->sent == t->ask.rc ? t->ask.rm * t->rto_ns : t->rto_ns << (t->sent - 1));
    write_request(t, ret);
    return true;
  }
  return false;
}

km_ts km_stun_client_deadline(const km_stun_client *c) {
  km_ts next = KM_TS_NEVER;
  for (size_t i = 0; i < KM_STUN_CLIENT_MAX; i++) {
    const km_stun_transaction *t = &c->at[i];
    if (t->state == KM_STUN_WAITING && t->again < next) {
      next = t->again;
    }
  }
  return next;
}

/* --- answers ---------------------------------------------------------------------------------- */

static km_stun_transaction *find(km_stun_client *c, const uint8_t id[KM_STUN_ID_LEN]) {
  for (size_t i = 0; i < KM_STUN_CLIENT_MAX; i++) {
    km_stun_transaction *t = &c->at[i];
    if (t->state == KM_STUN_WAITING && t->sent > 0 && memcmp(t->id, id, KM_STUN_ID_LEN) == 0) {
      return t;
    }
  }
  return NULL;
}

/* An answer from elsewhere, or to another socket, is a forgery, or the work of a middlebox that we
 * would draw wrong conclusions from. */
static bool is_from_there(const km_stun_transaction *t, const km_udp_addr *from, bool error) {
  bool moved = t->ask.expect.family != 0 && !error;
  return km_udp_addr_equal(from, moved ? &t->ask.expect : &t->ask.server);
}

static bool receive_own(km_stun_client *c, km_ts now, uint8_t socket, const km_stun_message *msg) {
  km_stun_transaction *t = find(c, msg->id);
  if (t == NULL || !t->ask.loops || t->ask.socket == socket || msg->method != KM_STUN_BINDING) {
    return false;
  }
  t->state = KM_STUN_DONE;
  t->done.rtt_ns = now - t->first;
  return true;
}

bool km_stun_client_receive(km_stun_client *c, km_ts now, uint8_t socket, const km_udp_addr *from,
                            const uint8_t *bytes, size_t len) {
  km_stun_message msg;
  if (!km_stun_read(&msg, bytes, len)) {
    return false;
  }
  if (msg.cls == KM_STUN_REQUEST) {
    return receive_own(c, now, socket, &msg);
  }
  km_stun_transaction *t = find(c, msg.id);
  if (t == NULL || t->ask.loops || t->ask.socket != socket ||
      !is_from_there(t, from, msg.cls == KM_STUN_ERROR)) {
    return false;
  }
  int rv = km_stun_response_check(&msg, t->id, NULL);
  if (rv == KM_ERR_INVALID) {
    return false;
  }
  learn(c, t, now);
  t->state = KM_STUN_DONE;
  t->done = (km_stun_done){.tag = t->ask.tag,
                           .code = rv,
                           .error = msg.error,
                           .mapped = msg.mapped,
                           .origin = msg.origin,
                           .other = msg.other,
                           .rtt_ns = now - t->first};
  return true;
}

bool km_stun_client_take(km_stun_client *c, km_stun_done *ret) {
  for (size_t i = 0; i < KM_STUN_CLIENT_MAX; i++) {
    km_stun_transaction *t = &c->at[i];
    if (t->state == KM_STUN_DONE) {
      *ret = t->done;
      t->state = KM_STUN_FREE;
      return true;
    }
  }
  return false;
}

bool km_stun_client_waits(const km_stun_client *c, uint32_t tag) {
  for (size_t i = 0; i < KM_STUN_CLIENT_MAX; i++) {
    if (c->at[i].state == KM_STUN_WAITING && c->at[i].ask.tag == tag) {
      return true;
    }
  }
  return false;
}

void km_stun_client_cancel(km_stun_client *c, uint32_t tag) {
  for (size_t i = 0; i < KM_STUN_CLIENT_MAX; i++) {
    if (c->at[i].state != KM_STUN_FREE && c->at[i].ask.tag == tag) {
      c->at[i].state = KM_STUN_FREE;
    }
  }
}
