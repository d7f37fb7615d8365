#include "test/holepunch/nat_world.h"

#include "test/base/test_env.h"

km_udp_addr world_addr(const char *text) {
  km_udp_addr ret;
  assert_int_equal(km_udp_addr_parse(&ret, text, strlen(text), NULL), 0);
  return ret;
}

void world_init(world *w, const km_env *env) {
  *w = (world){.now = 1000 * KM_NS_PER_S,
               .mapping = WORLD_NO_NAT,
               .filtering = KM_NAT_FILTERING_NONE,
               .next_port = 20000};
  w->sockets[0] = world_addr("10.0.0.2:4000");
  w->sockets[1] = world_addr("10.0.0.2:4001");
  assert_int_equal(km_nat_probe_new(&w->probe, env), 0);
}

void world_free(world *w) {
  km_nat_probe_del(w->probe);
}

world_server *world_add(world *w, const char *addr) {
  assert_true(w->server_count < WORLD_MAX_SERVERS);
  world_server *s = &w->servers[w->server_count++];
  *s = (world_server){.addr = world_addr(addr), .delay_ns = 10 * KM_NS_PER_MS};
  return s;
}

world_server *world_add_discovery(world *w, const char *ip1, uint16_t port1, const char *ip2,
                                  uint16_t port2) {
  const char *ips[2] = {ip1, ip2};
  const uint16_t ports[2] = {port1, port2};
  world_server *first = NULL;
  for (size_t i = 0; i < 4; i++) {
    char text[64];
    (void)snprintf(text, sizeof text, "%s:%u", ips[i / 2], (unsigned)ports[i % 2]);
    world_server *s = world_add(w, text);
    (void)snprintf(text, sizeof text, "%s:%u", ips[1 - i / 2], (unsigned)ports[1 - i % 2]);
    s->other = world_addr(text);
    s->discovers = true;
    first = i == 0 ? s : first;
  }
  return first;
}

void world_tell(world *w, size_t count) {
  km_udp_addr list[WORLD_MAX_SERVERS];
  for (size_t i = 0; i < count; i++) {
    list[i] = w->servers[i].addr;
  }
  km_nat_probe_set_own(w->probe, w->sockets, 1);
  (void)km_nat_probe_set_servers(w->probe, list, count);
}

/* --- the NAT ---------------------------------------------------------------------------------- */

static bool same_ip(const km_udp_addr *a, const km_udp_addr *b) {
  return a->family == b->family && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

static bool mapping_fits(const world *w, const world_mapping *m, uint8_t socket,
                         const km_udp_addr *to) {
  if (m->socket != socket) {
    return false;
  }
  switch (w->mapping) {
  case WORLD_ADM:
    return same_ip(&m->to, to);
  case WORLD_APDM:
    return km_udp_addr_equal(&m->to, to);
  case WORLD_EIM:
  case WORLD_NO_NAT:
    break;
  }
  return true;
}

static world_mapping *map_out(world *w, uint8_t socket, const km_udp_addr *to) {
  world_mapping *m = NULL;
  for (size_t i = 0; m == NULL && i < w->mapping_count; i++) {
    m = mapping_fits(w, &w->mappings[i], socket, to) ? &w->mappings[i] : NULL;
  }
  if (m == NULL) {
    assert_true(w->mapping_count < WORLD_MAX_MAPPINGS);
    m = &w->mappings[w->mapping_count++];
    *m = (world_mapping){.socket = socket, .to = *to};
    m->out = w->mapping == WORLD_NO_NAT ? w->sockets[socket] : world_addr("198.51.100.7:1");
    if (w->mapping != WORLD_NO_NAT) {
      w->next_port = (uint16_t)(w->step != 0 ? w->next_port + w->step : w->next_port * 31 + 977);
      m->out.port = w->next_port;
    }
  }
  for (size_t i = 0; i < m->sent_count; i++) {
    if (km_udp_addr_equal(&m->sent[i], to)) {
      return m;
    }
  }
  assert_true(m->sent_count < 16);
  m->sent[m->sent_count++] = *to;
  return m;
}

/* The mapping that a packet from outside is let in by; NULL: none. */
static const world_mapping *map_in(const world *w, const km_udp_addr *out,
                                   const km_udp_addr *from) {
  for (size_t i = 0; i < w->mapping_count; i++) {
    const world_mapping *m = &w->mappings[i];
    if (!km_udp_addr_equal(&m->out, out)) {
      continue;
    }
    bool open = w->filtering <= KM_NAT_FILTERING_ENDPOINT_INDEPENDENT;
    for (size_t k = 0; !open && k < m->sent_count; k++) {
      open = w->filtering == KM_NAT_FILTERING_ADDRESS_DEPENDENT
                 ? same_ip(&m->sent[k], from)
                 : km_udp_addr_equal(&m->sent[k], from);
    }
    return open ? m : NULL;
  }
  return NULL;
}

/* --- packets ---------------------------------------------------------------------------------- */

static void arrive(world *w, const km_udp_addr *from, const km_udp_addr *out, uint64_t delay_ns,
                   const uint8_t *bytes, size_t len) {
  const world_mapping *m = map_in(w, out, from);
  if (m == NULL || len == 0 || (m->socket == KM_NAT_SECOND && w->second_mute)) {
    return;
  }
  assert_true(w->flight_count < WORLD_MAX_FLIGHTS);
  world_flight *f = &w->flights[w->flight_count++];
  *f = (world_flight){.at = w->now + delay_ns, .socket = m->socket, .from = *from, .len = len};
  memcpy(f->bytes, bytes, len);
}

static const world_server *server_at(const world *w, const km_udp_addr *addr) {
  for (size_t i = 0; i < w->server_count; i++) {
    if (km_udp_addr_equal(&w->servers[i].addr, addr)) {
      return w->servers[i].dead ? NULL : &w->servers[i];
    }
  }
  return NULL;
}

static void serve(world *w, const world_server *s, const km_udp_addr *client,
                  const km_stun_out *out) {
  km_stun_message request;
  uint8_t answer[KM_STUN_MAX_LONG_ANSWER];
  km_udp_addr from = s->addr;
  bool lies = s->lie.family != 0 && (!s->lies_to_second || out->socket == KM_NAT_SECOND);
  const km_udp_addr *told = lies ? &s->lie : client;
  assert_true(km_stun_read(&request, out->bytes, out->len));
  if (!s->discovers || (s->refuses && (request.change_ip || request.change_port))) {
    size_t len = km_stun_answer(answer, &request, told);
    arrive(w, &from, client, 2 * s->delay_ns, answer, len);
    return;
  }
  km_stun_allow_change(&request);
  if (request.change_ip) {
    memcpy(from.ip, s->other.ip, sizeof from.ip);
  }
  from.port = request.change_port ? s->other.port : from.port;
  if (s->mute_alternate && (request.change_ip || request.change_port)) {
    return;
  }
  size_t len = km_stun_answer_long(answer, &request, told, &from, &s->other);
  arrive(w, &from, client, 2 * s->delay_ns, answer, len);
}

static void send_out(world *w, const km_stun_out *out) {
  w->packets++;
  if (w->blocked || (w->lose > 0 && w->packets % w->lose == 0) ||
      (out->socket == KM_NAT_SECOND && w->second_mute)) {
    return;
  }
  const km_udp_addr client = map_out(w, out->socket, &out->to)->out;
  const world_server *s = server_at(w, &out->to);
  if (s != NULL) {
    serve(w, s, &client, out);
  } else if (w->hairpin || w->mapping == WORLD_NO_NAT) {
    arrive(w, &client, &out->to, KM_NS_PER_MS, out->bytes, out->len);
  }
}

static km_ts next_event(const world *w) {
  km_ts next = km_nat_probe_deadline(w->probe);
  for (size_t i = 0; i < w->flight_count; i++) {
    next = w->flights[i].at < next ? w->flights[i].at : next;
  }
  return next;
}

static void deliver(world *w) {
  for (size_t i = 0; i < w->flight_count;) {
    world_flight f = w->flights[i];
    if (f.at > w->now) {
      i++;
      continue;
    }
    w->flights[i] = w->flights[--w->flight_count];
    (void)km_nat_probe_receive(w->probe, w->now, f.socket, &f.from, f.bytes, f.len);
  }
}

uint64_t world_run(world *w, uint64_t limit_ns) {
  km_ts began = w->now;
  for (;;) {
    km_stun_out out;
    while (km_nat_probe_pull(w->probe, w->now, &out)) {
      send_out(w, &out);
    }
    km_ts next = next_event(w);
    if ((!km_nat_probe_busy(w->probe) && w->flight_count == 0) || next - began > limit_ns) {
      return w->now - began;
    }
    assert_true(next != KM_TS_NEVER); /* busy, and nothing to wait for */
    w->now = next > w->now ? next : w->now;
    deliver(w);
  }
}
