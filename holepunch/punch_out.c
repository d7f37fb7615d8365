/* What the hole-punching core wants done, pulled by the shell one by one. */
#include <string.h>

#include "holepunch/punch_impl.h"

/* What the shell knows of a way and what is so are compared, so that nothing has to be queued. */
static bool next_change(km_punch *p, km_punch_out *ret) {
  for (size_t i = 0; i < p->count; i++) {
    km_punch_rec *rec = &p->ways[i];
    bool open = km_punch_is_open(rec) && !rec->gone;
    bool told = rec->told_open;
    if (open != told) {
      *ret = (km_punch_out){.kind = open ? KM_PUNCH_OUT_OPEN : KM_PUNCH_OUT_DEAD, .way = rec->way};
      rec->told_open = open;
    }
    if (rec->gone) {
      km_punch_ways_remove(p, i--);
    }
    if (open != told) {
      return true;
    }
  }
  return false;
}

static bool next_call(km_punch *p, km_punch_out *ret) {
  if (!p->call_send) {
    return false;
  }
  p->call_send = false;
  memset(&p->out, 0, sizeof p->out);
  p->out.type = KM_DISCO_CALL_ME_MAYBE;
  p->out.call.flags = p->call_flags;
  p->out.call.nat = p->nat;
  p->out.call.count = p->own_count;
  memcpy(p->out.call.candidates, p->own, p->own_count * sizeof p->own[0]);
  memcpy(p->out.call.relay_url, p->relay_url, sizeof p->relay_url);
  *ret = (km_punch_out){.kind = KM_PUNCH_OUT_CALL, .msg = &p->out};
  return true;
}

static void ping(km_punch *p, km_punch_out *ret, const km_punch_way *way,
                 const uint8_t tx[KM_DISCO_TX_LEN]) {
  memset(&p->out, 0, sizeof p->out);
  p->out.type = KM_DISCO_PING;
  memcpy(p->out.tx, tx, KM_DISCO_TX_LEN);
  p->stats.pings_sent++;
  *ret = (km_punch_out){.kind = KM_PUNCH_OUT_PING, .way = *way, .msg = &p->out};
}

static bool next_ping(km_punch *p, km_punch_out *ret) {
  for (size_t i = 0; i < p->count; i++) {
    km_punch_rec *rec = &p->ways[i];
    if (rec->send) {
      rec->send = false;
      const km_punch_ping *sent = km_punch_way_ping(p, rec);
      if (!rec->logged && !km_punch_is_open(rec)) {
        rec->logged = true;
        km_punch_log(p, KM_PUNCH_EVENT_PING_SENT, &rec->way, p->round);
      }
      ping(p, ret, &rec->way, sent->tx);
      return true;
    }
  }
  km_punch_way way;
  uint8_t tx[KM_DISCO_TX_LEN];
  if (km_punch_guess_next(p, &way, tx)) {
    ping(p, ret, &way, tx);
    return true;
  }
  return false;
}

static bool next_spray(km_punch *p, km_punch_out *ret) {
  if (p->spray_ask) {
    p->spray_ask = false;
    *ret = (km_punch_out){
        .kind = KM_PUNCH_OUT_SPRAY, .way.addr = p->spray_addr, .count = KM_PUNCH_SPRAY_SOCKETS};
    return true;
  }
  if (p->spray_end) {
    p->spray_end = false;
    *ret = (km_punch_out){.kind = KM_PUNCH_OUT_SPRAY_END};
    return true;
  }
  return false;
}

bool km_punch_next(km_punch *p, km_punch_out *ret) {
  return next_change(p, ret) || next_call(p, ret) || next_ping(p, ret) || next_spray(p, ret);
}
