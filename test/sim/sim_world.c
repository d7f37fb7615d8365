#include "sim_world.h"

#include <string.h>

static sim_link any_link(sim_net *net) {
  static const uint64_t delays[] = {SIM_MS(1), SIM_MS(8), SIM_MS(40), SIM_MS(150), SIM_MS(300)};
  sim_link link = {.delay = delays[sim_choose(net, 5)]};
  link.jitter = sim_choose(net, 2) * link.delay / 4;
  link.loss = sim_choose(net, 3) == 0 ? sim_choose(net, 120) : 0;
  link.repeat = sim_choose(net, 4) == 0 ? 50 : 0;
  return link;
}

void sim_world_build(sim_world *w) {
  sim_net *net = &w->net;
  net->direct = any_link(net);
  net->relay = any_link(net);
  w->ip6 = sim_choose(net, 4) == 0;
  w->measured = true;
  for (size_t i = 0; i < 2; i++) {
    w->kinds[i] = (sim_kind)sim_choose(net, SIM_KIND_COUNT_);
    sim_peer *peer = sim_net_peer(net, sim_net_kind(net, w->kinds[i]));
    peer->nat_unknown = sim_choose(net, 8) == 0;
    w->measured = w->measured && !peer->nat_unknown;
    if (w->ip6) {
      sim_peer_give_ip6(peer, sim_choose(net, 2) ? sim_net_kind(net, SIM_KIND_FIREWALL) : NULL);
    }
  }
  for (size_t i = 0; i < 2; i++) {
    sim_peer_gather(&net->peers[i]);
    sim_peer_want(&net->peers[i], true);
  }
}

static km_udp_addr anywhere(sim_net *net) {
  km_udp_addr addr = {.family = 4, .port = (uint16_t)(1 + sim_below(net, 65535))};
  addr.ip[0] = (uint8_t)(11 + sim_below(net, 100));
  addr.ip[1] = (uint8_t)sim_below(net, 256);
  addr.ip[2] = (uint8_t)sim_below(net, 256);
  addr.ip[3] = (uint8_t)sim_below(net, 256);
  return addr;
}

/* What a hostile peer could send: pings from everywhere. */
static void flood(sim_world *w, sim_peer *to) {
  uint32_t n = sim_choose(&w->net, 300);
  for (uint32_t i = 0; i < n; i++) {
    km_disco_message ping = {.type = KM_DISCO_PING};
    km_udp_addr from = anywhere(&w->net);
    ping.tx[0] = (uint8_t)i;
    sim_inject(to, 0, &from, &ping);
  }
}

/* Pongs with numbers that were used, from where nothing was sent to. */
static void forge(sim_world *w, sim_peer *to) {
  size_t known = to->sent_count < SIM_PINGS ? to->sent_count : SIM_PINGS;
  for (size_t i = 0; i < known && i < 50; i++) {
    km_disco_message pong = {.type = KM_DISCO_PONG};
    km_udp_addr from = anywhere(&w->net);
    memcpy(pong.tx, to->sent[sim_below(&w->net, (uint32_t)known)].tx, sizeof pong.tx);
    sim_inject(to, 0, &from, &pong);
  }
}

static void calls(sim_world *w, sim_peer *to) {
  uint32_t n = sim_choose(&w->net, 40);
  for (uint32_t i = 0; i < n; i++) {
    km_disco_message call = {.type = KM_DISCO_CALL_ME_MAYBE, .call.flags = KM_CALL_ANSWER};
    call.call.count = sim_below(&w->net, KM_DISCO_MAX_CANDIDATES + 1);
    for (size_t k = 0; k < call.call.count; k++) {
      call.call.candidates[k] =
          (km_candidate){.source = (uint8_t)sim_below(&w->net, 256), .addr = anywhere(&w->net)};
    }
    call.call.nat.mapping4 = (uint8_t)sim_choose(&w->net, 5);
    call.call.nat.port_step = (int16_t)sim_choose(&w->net, 7);
    sim_inject(to, 0, NULL, &call);
  }
}

static void move(sim_peer *peer) {
  sim_peer_move(peer, peer->behind4);
  km_punch_network_changed(peer->core, peer->net->now);
  sim_peer_pull(peer);
  sim_peer_gather(peer);
}

static void on_an_open_way(sim_world *w, sim_peer *peer) {
  if (peer->open_count == 0) {
    return;
  }
  km_punch_way way = peer->open[sim_choose(&w->net, (uint32_t)peer->open_count)];
  switch (sim_choose(&w->net, 4)) {
  case 0:
    km_punch_use(peer->core, &way, true, w->net.now);
    break;
  case 1:
    km_punch_use(peer->core, &way, false, w->net.now);
    break;
  case 2:
    km_punch_heard(peer->core, &way, w->net.now);
    break;
  default:
    km_punch_suspect(peer->core, &way, w->net.now);
  }
  sim_peer_pull(peer);
}

void sim_world_op(sim_world *w) {
  sim_net *net = &w->net;
  sim_peer *peer = &net->peers[sim_choose(net, 2)];
  switch (sim_choose(net, 14)) {
  case 0:
    net->cut = !net->cut;
    break;
  case 1:
    net->relay_down = !net->relay_down;
    break;
  case 2:
    if (peer->behind4 != NULL) {
      sim_nat_flush(peer->behind4);
    }
    break;
  case 3:
    move(peer);
    break;
  case 4:
    sim_peer_restart(peer);
    break;
  case 5:
    flood(w, peer);
    break;
  case 6:
    forge(w, peer);
    break;
  case 7:
    calls(w, peer);
    break;
  case 8:
    sim_peer_want(peer, !peer->wanted);
    break;
  case 9: { /* it slept */
    net->now += SIM_S(1 + sim_choose(net, 4000));
    break;
  }
  case 10:
    peer->fail_after = peer->fail_after < 0 ? (long)sim_choose(net, 4) : -1;
    break;
  default:
    on_an_open_way(w, peer);
  }
  static const uint64_t spans[] = {SIM_MS(3), SIM_MS(70), SIM_MS(900), SIM_S(9), SIM_S(80)};
  sim_net_run(net, 1 + sim_random(&net->seed) % spans[sim_choose(net, 5)]);
}

void sim_world_heal(sim_world *w) {
  sim_net *net = &w->net;
  net->cut = net->relay_down = false;
  net->direct.loss = net->relay.loss = 0;
  for (size_t i = 0; i < 2; i++) {
    net->peers[i].fail_after = -1;
    if (!net->peers[i].wanted) {
      sim_peer_want(&net->peers[i], true);
    }
    sim_peer_gather(&net->peers[i]);
  }
}
