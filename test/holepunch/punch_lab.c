#include "punch_lab.h"

void lab_init(lab *l) {
  *l = (lab){0};
  test_env_init(&l->env);
  l->outs = calloc(LAB_OUTS, sizeof *l->outs);
  assert_non_null(l->outs);
  km_probe_budget_init(&l->budget, 0);
  km_punch_config config = {.env = &l->env.env, .budget = &l->budget};
  config.own.bytes[0] = 2;
  config.peer.bytes[0] = 1;
  assert_int_equal(km_punch_new(&l->p, &config, 0), 0);
}

void lab_clear(lab *l) {
  km_punch_del(l->p);
  assert_int_equal(l->env.live, 0);
  free(l->outs);
}

void lab_pull(lab *l) {
  km_punch_out out;
  while (km_punch_next(l->p, &out)) {
    assert_true(l->count < LAB_OUTS);
    lab_out *kept = &l->outs[l->count++];
    *kept = (lab_out){.kind = out.kind, .way = out.way, .count = out.count, .at = l->now};
    if (out.msg != NULL) {
      kept->msg = *out.msg;
    }
  }
}

void lab_forget(lab *l) {
  l->count = 0;
}

void lab_run(lab *l, uint64_t to_ms) {
  lab_pull(l);
  while (km_punch_deadline(l->p) <= MS(to_ms)) {
    km_ts at = km_punch_deadline(l->p);
    l->now = at > l->now ? at : l->now;
    km_punch_timeout(l->p, l->now);
    lab_pull(l);
  }
  l->now = MS(to_ms);
}

km_udp_addr lab_addr(const char *text) {
  km_udp_addr ret;
  assert_int_equal(km_udp_addr_parse(&ret, text, strlen(text), NULL), 0);
  return ret;
}

km_punch_way lab_way(const char *text) {
  return (km_punch_way){.addr = lab_addr(text)};
}

size_t lab_outs(const lab *l, km_punch_out_kind kind) {
  size_t n = 0;
  for (size_t i = 0; i < l->count; i++) {
    n += l->outs[i].kind == kind;
  }
  return n;
}

static bool is_ping_to(const lab_out *out, const km_udp_addr *addr) {
  return out->kind == KM_PUNCH_OUT_PING && out->way.via == 0 &&
         km_udp_addr_equal(&out->way.addr, addr);
}

size_t lab_pings(const lab *l, const char *addr) {
  km_udp_addr to = lab_addr(addr);
  size_t n = 0;
  for (size_t i = 0; i < l->count; i++) {
    n += is_ping_to(&l->outs[i], &to);
  }
  return n;
}

const lab_out *lab_last(const lab *l, km_punch_out_kind kind) {
  for (size_t i = l->count; i-- > 0;) {
    if (l->outs[i].kind == kind) {
      return &l->outs[i];
    }
  }
  fail_msg("no such output");
  return l->outs; /* not reached */
}

const lab_out *lab_last_ping(const lab *l, const char *addr) {
  km_udp_addr to = lab_addr(addr);
  for (size_t i = l->count; i-- > 0;) {
    if (is_ping_to(&l->outs[i], &to)) {
      return &l->outs[i];
    }
  }
  fail_msg("no ping to %s", addr);
  return l->outs; /* not reached */
}

static void at(lab *l, uint64_t ms) {
  l->now = MS(ms);
}

void lab_want(lab *l, uint64_t at_ms) {
  at(l, at_ms);
  km_punch_want(l->p, true, l->now);
  lab_pull(l);
}

void lab_local(lab *l, const char *addr, uint8_t mapping, uint8_t filtering, uint64_t at_ms) {
  at(l, at_ms);
  km_candidate own = {.source = KM_CANDIDATE_INTERFACE, .addr = lab_addr(addr)};
  km_nat_info nat = {.mapping4 = mapping, .filtering4 = filtering};
  km_punch_set_local(l->p, &own, 1, &nat, "https://relay.test./", l->now);
  lab_pull(l);
}

km_disco_message lab_call(uint8_t flags, const char *const *addrs, uint8_t source) {
  km_disco_message msg = {.type = KM_DISCO_CALL_ME_MAYBE, .call.flags = flags};
  for (; *addrs != NULL; addrs++) {
    assert_true(msg.call.count < KM_DISCO_MAX_CANDIDATES);
    msg.call.candidates[msg.call.count++] =
        (km_candidate){.source = source, .addr = lab_addr(*addrs)};
  }
  return msg;
}

void lab_called(lab *l, uint8_t flags, const char *addr, uint64_t at_ms) {
  const char *addrs[] = {addr, NULL};
  km_disco_message msg = lab_call(flags, addrs, KM_CANDIDATE_REFLEXIVE);
  at(l, at_ms);
  assert_true(km_punch_input(l->p, NULL, &msg, l->now));
  lab_pull(l);
}

bool lab_pong(lab *l, const uint8_t tx[KM_DISCO_TX_LEN], const char *from, uint64_t at_ms) {
  km_disco_message msg = {.type = KM_DISCO_PONG, .observed = lab_addr("203.0.113.9:999")};
  km_punch_way way = lab_way(from);
  memcpy(msg.tx, tx, sizeof msg.tx);
  at(l, at_ms);
  bool ours = km_punch_input(l->p, &way, &msg, l->now);
  lab_pull(l);
  return ours;
}

void lab_ping(lab *l, const char *from, uint64_t at_ms) {
  km_disco_message msg = {.type = KM_DISCO_PING};
  km_punch_way way = lab_way(from);
  at(l, at_ms);
  assert_true(km_punch_input(l->p, &way, &msg, l->now));
  lab_pull(l);
}

void lab_open(lab *l, const char *addr) {
  lab_want(l, 0);
  lab_called(l, 0, addr, 0);
  assert_true(lab_pong(l, lab_last_ping(l, addr)->msg.tx, addr, 30));
  assert_int_equal(lab_outs(l, KM_PUNCH_OUT_OPEN), 1);
  lab_run(l, 1000); /* the rounds that were left */
  lab_forget(l);
}

km_punch_way_info lab_info(const lab *l, const char *addr) {
  km_punch_way_info info = {0};
  km_punch_way way = lab_way(addr);
  assert_true(km_punch_find(l->p, &way, &info));
  return info;
}

bool lab_knows(const lab *l, const char *addr) {
  km_punch_way_info info;
  km_punch_way way = lab_way(addr);
  return km_punch_find(l->p, &way, &info);
}

size_t lab_events(const lab *l, km_punch_event_kind kind) {
  km_punch_event events[KM_PUNCH_MAX_EVENTS];
  size_t count = km_punch_events(l->p, events, KM_PUNCH_MAX_EVENTS), n = 0;
  for (size_t i = 0; i < count; i++) {
    n += events[i].kind == kind;
  }
  return n;
}
