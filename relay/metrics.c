#include "relay/metrics.h"

/* --- the relay ------------------------------------------------------------------------------- */

/* Counters are read one after the other: a difference must not turn around. */
static uint64_t minus(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;
}

#define RELAY "relayserver_"

static void put_packets(km_metrics_text *t, const km_relay_server_stats *s) {
  uint64_t dropped = s->dropped_absent + s->dropped_full;
  uint64_t received = s->datagrams + dropped;
  km_metrics_counter(t, RELAY "bytes_sent", s->datagram_bytes, "Bytes of datagrams relayed.");
  km_metrics_counter(t, RELAY "bytes_recv", s->bytes_rx, "Bytes of messages received.");
  km_metrics_counter(t, RELAY "send_packets_sent", s->datagrams, "Datagram messages relayed.");
  km_metrics_counter(t, RELAY "send_packets_recv", received, "Datagram messages received.");
  km_metrics_counter(t, RELAY "send_packets_dropped", dropped, "Datagram messages dropped.");
  km_metrics_counter(t, RELAY "send_packets_dropped_absent", s->dropped_absent,
                     "Of them: nobody of that id was there.");
  km_metrics_counter(t, RELAY "send_packets_dropped_full", s->dropped_full,
                     "Of them: the receiver's queue was full.");
  km_metrics_counter(t, RELAY "other_packets_sent", s->gone_sent + s->pings_tx + s->pings_rx,
                     "Messages sent that were no datagrams.");
  km_metrics_counter(t, RELAY "other_packets_recv", minus(s->messages_rx, received),
                     "Messages received that were no datagrams.");
  km_metrics_counter(t, RELAY "other_packets_dropped", s->dropped_others,
                     "Messages other than datagrams that found no room.");
  km_metrics_counter(t, RELAY "got_ping", s->pings_rx, "Pings of clients.");
  km_metrics_counter(t, RELAY "sent_pong", s->pings_rx, "Pongs to clients.");
  km_metrics_counter(t, RELAY "sent_ping", s->pings_tx, "Pings to clients.");
  km_metrics_counter(t, RELAY "got_pong", s->pongs_rx, "Pongs of clients.");
  km_metrics_counter(t, RELAY "unknown_frames", s->bad_messages, "Messages against the protocol.");
  km_metrics_counter(t, RELAY "rx_ratelimited", s->rate_limited,
                     "Times that reading from a client paused for its rate.");
  km_metrics_counter(t, RELAY "conns_rx_ratelimited", s->rate_limited_clients,
                     "Clients that reading paused for, once at least.");
  km_metrics_counter(t, RELAY "wire_bytes_sent", s->bytes_tx, "Bytes of messages written.");
}

static void put_clients(km_metrics_text *t, const km_relay_server_stats *s) {
  uint64_t inactive = minus(s->clients, s->ids);
  km_metrics_counter(t, RELAY "accepts", s->clients + s->disconnects, "Clients that logged in.");
  km_metrics_counter(t, RELAY "disconnects", s->disconnects, "Clients that left.");
  km_metrics_counter(t, RELAY "clients_inactive_added", s->replaced,
                     "Clients that a newer one of the same id took over from.");
  km_metrics_counter(t, RELAY "clients_inactive_removed", minus(s->replaced, inactive),
                     "Of them, those that left or took over again.");
  km_metrics_gauge(t, RELAY "clients", s->clients, "Clients that are logged in.");
  km_metrics_gauge(t, RELAY "ids", s->ids, "Different ids among them.");
  km_metrics_gauge(t, RELAY "queued_bytes", s->queued_bytes, "Bytes that wait for slow clients.");
  km_metrics_gauge(t, RELAY "partial_bytes", s->partial_bytes,
                   "Bytes of messages that came in part.");
  km_metrics_counter(t, RELAY "partial_cut", s->partial_cut,
                     "Clients cut off in mid-message, as others needed the room.");
  km_metrics_counter(t, RELAY "logins_header", s->logins_header,
                     "Ids proven by the request's header.");
  km_metrics_counter(t, RELAY "logins_challenge", s->logins_challenge,
                     "Ids proven by the challenge.");
  km_metrics_counter(t, RELAY "logins_denied", s->logins_denied,
                     "Clients that access control denied.");
  km_metrics_counter(t, RELAY "logins_failed", s->logins_failed, "Clients without a valid proof.");
}

static void put_connections(km_metrics_text *t, const km_relay_server_stats *s) {
  km_metrics_counter(t, RELAY "http_connections", s->accepted, "TCP connections accepted.");
  km_metrics_counter(t, RELAY "http_connections_closed", minus(s->accepted, s->connections),
                     "Of them, those that ended.");
  km_metrics_gauge(t, RELAY "connections", s->connections, "TCP connections now.");
  km_metrics_counter(t, RELAY "http_requests", s->http_requests, "HTTP requests answered.");
  km_metrics_counter(t, RELAY "refused_limit", s->refused_limit,
                     "Connections refused for a limit.");
  km_metrics_counter(t, RELAY "bad_upgrades", s->bad_upgrades,
                     "Upgrade requests that were refused.");
  km_metrics_counter(t, RELAY "upgrades_v1", s->upgrades_v1, "Upgrades to protocol version 1.");
  km_metrics_counter(t, RELAY "upgrades_v2", s->upgrades_v2, "Upgrades to protocol version 2.");
  km_metrics_counter(t, RELAY "timeouts_establish", s->timeouts_establish,
                     "Connections that did not log in in time.");
  km_metrics_counter(t, RELAY "timeouts_write", s->timeouts_write, "Clients that did not read.");
  km_metrics_counter(t, RELAY "timeouts_ping", s->timeouts_ping,
                     "Clients that did not answer a ping.");
}

/* --- the rest -------------------------------------------------------------------------------- */

static void put_stun(km_metrics_text *t, const km_stun_server_stats *s) {
  km_metrics_counter(t, "stun_requests", s->received, "Packets on the STUN port.");
  km_metrics_counter(t, "stun_success", s->answered, "Binding requests answered.");
  km_metrics_counter(t, "stun_refused", s->refused, "Requests answered with error 420.");
  km_metrics_counter(t, "stun_bad_requests", s->not_stun + s->ignored,
                     "Packets that were no Binding request.");
  km_metrics_counter(t, "stun_over_rate", s->over_rate,
                     "Requests dropped for the limit of answers.");
  km_metrics_counter(t, "stun_failures", s->send_dropped, "Answers that the system did not take.");
}

static void put_asker(km_metrics_text *t, const km_relay_asker_stats *s) {
  km_metrics_counter(t, RELAY "access_asked", s->asked, "Questions to the access server.");
  km_metrics_counter(t, RELAY "access_allowed", s->allowed, "Of them, those answered with yes.");
  km_metrics_counter(t, RELAY "access_denied", s->denied, "Of them, those answered with no.");
  km_metrics_counter(t, RELAY "access_failed", s->failed,
                     "Of them, those without a usable answer.");
  km_metrics_gauge(t, RELAY "access_waiting", s->in_flight + s->waiting,
                   "Questions that are open now.");
}

int km_relay_metrics_write(char *ret, size_t cap, const km_relay_metrics *m) {
  km_metrics_text t;
  km_metrics_begin(&t, ret, cap);
  km_metrics_head(&t, RELAY "build", "info", "What runs here.");
  km_metrics_put(&t, RELAY "build_info{program=\"km-relay\",version=\"%s\"} 1\n", m->version);
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
  km_metrics_process(&t, &m->process);
  return km_metrics_end(&t);
}
