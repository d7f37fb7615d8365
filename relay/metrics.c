#include "relay/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

typedef struct text {
  char *at, *end;
  bool full;
} text;

static void put(text *t, const char *fmt, ...) KM_PRINTF(2, 3);
static void put(text *t, const char *fmt, ...) {
  va_list args;
  size_t room = (size_t)(t->end - t->at);
  va_start(args, fmt);
  int len = vsnprintf(t->at, room, fmt, args);
  va_end(args);
  t->full |= len < 0 || (size_t)len >= room;
  t->at += t->full ? 0 : len;
}

static void put_head(text *t, const char *name, const char *type, const char *help) {
  put(t, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_counter(text *t, const char *name, uint64_t value, const char *help) {
  put_head(t, name, "counter", help);
  put(t, "%s_total %" PRIu64 "\n", name, value);
}

static void put_gauge(text *t, const char *name, uint64_t value, const char *help) {
  put_head(t, name, "gauge", help);
  put(t, "%s %" PRIu64 "\n", name, value);
}

/* --- the relay ------------------------------------------------------------------------------- */

/* Counters are read one after the other: a difference must not turn around. */
static uint64_t minus(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;
}

#define RELAY "relayserver_"

static void put_packets(text *t, const km_relay_server_stats *s) {
  uint64_t dropped = s->dropped_absent + s->dropped_full;
  uint64_t received = s->datagrams + dropped;
  put_counter(t, RELAY "bytes_sent", s->datagram_bytes, "Bytes of datagrams relayed.");
  put_counter(t, RELAY "bytes_recv", s->bytes_rx, "Bytes of messages received.");
  put_counter(t, RELAY "send_packets_sent", s->datagrams, "Datagram messages relayed.");
  put_counter(t, RELAY "send_packets_recv", received, "Datagram messages received.");
  put_counter(t, RELAY "send_packets_dropped", dropped, "Datagram messages dropped.");
  put_counter(t, RELAY "send_packets_dropped_absent", s->dropped_absent,
              "Of them: nobody of that id was there.");
  put_counter(t, RELAY "send_packets_dropped_full", s->dropped_full,
              "Of them: the receiver's queue was full.");
  put_counter(t, RELAY "other_packets_sent", s->gone_sent + s->pings_tx + s->pings_rx,
              "Messages sent that were no datagrams.");
  put_counter(t, RELAY "other_packets_recv", minus(s->messages_rx, received),
              "Messages received that were no datagrams.");
  put_counter(t, RELAY "other_packets_dropped", s->dropped_others,
              "Messages other than datagrams that found no room.");
  put_counter(t, RELAY "got_ping", s->pings_rx, "Pings of clients.");
  put_counter(t, RELAY "sent_pong", s->pings_rx, "Pongs to clients.");
  put_counter(t, RELAY "sent_ping", s->pings_tx, "Pings to clients.");
  put_counter(t, RELAY "got_pong", s->pongs_rx, "Pongs of clients.");
  put_counter(t, RELAY "unknown_frames", s->bad_messages, "Messages against the protocol.");
  put_counter(t, RELAY "rx_ratelimited", s->rate_limited,
              "Times that reading from a client paused for its rate.");
  put_counter(t, RELAY "conns_rx_ratelimited", s->rate_limited_clients,
              "Clients that reading paused for, once at least.");
  put_counter(t, RELAY "wire_bytes_sent", s->bytes_tx, "Bytes of messages written.");
}

static void put_clients(text *t, const km_relay_server_stats *s) {
  uint64_t inactive = minus(s->clients, s->ids);
  put_counter(t, RELAY "accepts", s->clients + s->disconnects, "Clients that logged in.");
  put_counter(t, RELAY "disconnects", s->disconnects, "Clients that left.");
  put_counter(t, RELAY "clients_inactive_added", s->replaced,
              "Clients that a newer one of the same id took over from.");
  put_counter(t, RELAY "clients_inactive_removed", minus(s->replaced, inactive),
              "Of them, those that left or took over again.");
  put_gauge(t, RELAY "clients", s->clients, "Clients that are logged in.");
  put_gauge(t, RELAY "ids", s->ids, "Different ids among them.");
  put_gauge(t, RELAY "queued_bytes", s->queued_bytes, "Bytes that wait for slow clients.");
  put_gauge(t, RELAY "partial_bytes", s->partial_bytes, "Bytes of messages that came in part.");
  put_counter(t, RELAY "partial_cut", s->partial_cut,
              "Clients cut off in mid-message, as others needed the room.");
  put_counter(t, RELAY "logins_header", s->logins_header, "Ids proven by the request's header.");
  put_counter(t, RELAY "logins_challenge", s->logins_challenge, "Ids proven by the challenge.");
  put_counter(t, RELAY "logins_denied", s->logins_denied, "Clients that access control denied.");
  put_counter(t, RELAY "logins_failed", s->logins_failed, "Clients without a valid proof.");
}

static void put_connections(text *t, const km_relay_server_stats *s) {
  put_counter(t, RELAY "http_connections", s->accepted, "TCP connections accepted.");
  put_counter(t, RELAY "http_connections_closed", minus(s->accepted, s->connections),
              "Of them, those that ended.");
  put_gauge(t, RELAY "connections", s->connections, "TCP connections now.");
  put_counter(t, RELAY "http_requests", s->http_requests, "HTTP requests answered.");
  put_counter(t, RELAY "refused_limit", s->refused_limit, "Connections refused for a limit.");
  put_counter(t, RELAY "bad_upgrades", s->bad_upgrades, "Upgrade requests that were refused.");
  put_counter(t, RELAY "upgrades_v1", s->upgrades_v1, "Upgrades to protocol version 1.");
  put_counter(t, RELAY "upgrades_v2", s->upgrades_v2, "Upgrades to protocol version 2.");
  put_counter(t, RELAY "timeouts_establish", s->timeouts_establish,
              "Connections that did not log in in time.");
  put_counter(t, RELAY "timeouts_write", s->timeouts_write, "Clients that did not read.");
  put_counter(t, RELAY "timeouts_ping", s->timeouts_ping, "Clients that did not answer a ping.");
}

/* --- the rest -------------------------------------------------------------------------------- */

static void put_stun(text *t, const km_stun_server_stats *s) {
  put_counter(t, "stun_requests", s->received, "Packets on the STUN port.");
  put_counter(t, "stun_success", s->answered, "Binding requests answered.");
  put_counter(t, "stun_refused", s->refused, "Requests answered with error 420.");
  put_counter(t, "stun_bad_requests", s->not_stun + s->ignored,
              "Packets that were no Binding request.");
  put_counter(t, "stun_over_rate", s->over_rate, "Requests dropped for the limit of answers.");
  put_counter(t, "stun_failures", s->send_dropped, "Answers that the system did not take.");
}

static void put_asker(text *t, const km_relay_asker_stats *s) {
  put_counter(t, RELAY "access_asked", s->asked, "Questions to the access server.");
  put_counter(t, RELAY "access_allowed", s->allowed, "Of them, those answered with yes.");
  put_counter(t, RELAY "access_denied", s->denied, "Of them, those answered with no.");
  put_counter(t, RELAY "access_failed", s->failed, "Of them, those without a usable answer.");
  put_gauge(t, RELAY "access_waiting", s->in_flight + s->waiting, "Questions that are open now.");
}

static void put_bytes(text *t, const char *name, int64_t value, const char *help) {
  if (value >= 0) {
    put_gauge(t, name, (uint64_t)value, help);
  }
}

static void put_process(text *t, const km_process_stats *p) {
  put_bytes(t, "process_resident_memory_bytes", p->resident_bytes, "Resident memory.");
  put_bytes(t, "process_virtual_memory_bytes", p->virtual_bytes, "Virtual memory.");
  put_bytes(t, "process_open_fds", p->open_fds, "Open file descriptors.");
  put_bytes(t, "process_max_fds", p->max_fds, "The limit on them.");
  if (p->cpu_seconds >= 0) {
    put_head(t, "process_cpu_seconds", "counter", "User and system time.");
    put(t, "process_cpu_seconds_total %.2f\n", p->cpu_seconds);
  }
  if (p->start_time >= 0) {
    put_head(t, "process_start_time_seconds", "gauge", "When it started, in UNIX time.");
    put(t, "process_start_time_seconds %.2f\n", p->start_time);
  }
}

int km_relay_metrics_write(char *ret, size_t cap, const km_relay_metrics *m) {
  text t = {ret, ret + cap, false};
  put_head(&t, RELAY "build", "info", "What runs here.");
  put(&t, RELAY "build_info{program=\"km-relay\",version=\"%s\"} 1\n", m->version);
  if (m->has_relay) {
    put_packets(&t, &m->relay);
    put_clients(&t, &m->relay);
    put_connections(&t, &m->relay);
  }
  if (m->has_asker) {
    put_asker(&t, &m->asker);
  }
  if (m->has_stun) {
    put_stun(&t, &m->stun);
  }
  put_process(&t, &m->process);
  put(&t, "# EOF\n");
  return t.full ? KM_ERR_BUFFER : (int)(t.at - ret);
}
