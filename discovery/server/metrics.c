#include "discovery/server/metrics.h"

#define PREFIX "kmdns_"

typedef struct sample {
  const char *name;
  uint64_t value;
  const char *help;
} sample;

static void put_counters(km_metrics_text *t, const sample *samples, size_t count) {
  for (size_t i = 0; i < count; i++) {
    km_metrics_counter(t, samples[i].name, samples[i].value, samples[i].help);
  }
}

#define PUT_COUNTERS(t, samples) put_counters(t, samples, sizeof(samples) / sizeof(samples)[0])

static void put_dns(km_metrics_text *t, const km_zone_stats *z, const km_dns_io_stats *d) {
  const sample samples[] = {
      {PREFIX "queries", z->queries, "DNS questions, by any way."},
      {PREFIX "queries_answered", z->answered, "Of them: with records in the answer."},
      {PREFIX "queries_nodata", z->nodata, "Of them: the name has no such record."},
      {PREFIX "queries_nxdomain", z->nxdomain, "Of them: there is no such name."},
      {PREFIX "queries_refused", z->refused, "Of them: about names that are not ours."},
      {PREFIX "queries_formerr", z->formerr, "Of them: damaged."},
      {PREFIX "queries_notimp", z->notimp, "Of them: of a kind that is not known."},
      {PREFIX "queries_servfail", z->servfail, "Of them: we failed."},
      {PREFIX "answers_truncated", z->truncated, "Answers over UDP that were cut."},
      {PREFIX "udp_queries", d->udp_queries, "Messages over UDP."},
      {PREFIX "tcp_queries", d->tcp_queries, "Messages over TCP."},
      {PREFIX "tcp_accepts", d->tcp_connections, "DNS connections over TCP."},
      {PREFIX "tcp_refused", d->tcp_refused, "Of them, those that were refused for a limit."},
      {PREFIX "dns_limited", d->limited, "Questions beyond the rate of their source."},
      {PREFIX "dns_tx_errors", d->tx_errors, "Answers that the system did not take."},
  };
  PUT_COUNTERS(t, samples);
}

static void put_http(km_metrics_text *t, const km_dns_server_stats *s) {
  const sample samples[] = {
      {PREFIX "http_refused", s->http_refused, "HTTP connections refused, or ended, for a limit."},
      {PREFIX "http_requests", s->http_requests, "HTTP requests."},
      {PREFIX "http_limited", s->http_limited, "Of them: beyond the rate of their source."},
      {PREFIX "http_errors", s->http_bad, "Of them: answered with an error."},
      {PREFIX "pkarr_puts", s->pkarr_puts, "Signed packets that came."},
      {PREFIX "pkarr_bad", s->pkarr_bad, "Keys, signatures and messages that were wrong."},
      {PREFIX "pkarr_stale", s->pkarr_stale, "Signed packets older than the stored one."},
      {PREFIX "pkarr_limited", s->pkarr_limited, "Publishes beyond the rate of their source."},
      {PREFIX "pkarr_gets", s->pkarr_gets, "Signed packets that were asked for."},
      {PREFIX "pkarr_absent", s->pkarr_absent, "Of them: not there."},
      {PREFIX "doh_get", s->doh_get, "DNS over HTTPS by GET."},
      {PREFIX "doh_post", s->doh_post, "DNS over HTTPS by POST."},
      {PREFIX "doh_json", s->doh_json, "Answers as JSON."},
  };
  km_metrics_gauge(t, PREFIX "http_connections", s->http_connections, "HTTP connections now.");
  PUT_COUNTERS(t, samples);
}

static void put_store(km_metrics_text *t, const km_packet_store_stats *s) {
  const sample samples[] = {
      {PREFIX "store_new", s->puts_new, "Packets stored."},
      {PREFIX "store_same", s->puts_same, "Packets that were stored already."},
      {PREFIX "store_older", s->puts_older, "Packets older than the stored one."},
      {PREFIX "store_failed", s->puts_failed, "Packets that the disk refused."},
      {PREFIX "store_gets_memory", s->gets_memory, "Look-ups answered from memory."},
      {PREFIX "store_gets_disk", s->gets_disk, "Look-ups answered from disk."},
      {PREFIX "store_gets_absent", s->gets_absent, "Look-ups of what is not there."},
      {PREFIX "store_gets_failed", s->gets_failed, "Look-ups of what cannot be read."},
      {PREFIX "store_evicted_age", s->evicted_age, "Packets dropped for their age."},
      {PREFIX "store_evicted_room", s->evicted_room, "Packets dropped for want of room."},
      {PREFIX "store_commits", s->commits, "Transactions written."},
  };
  km_metrics_gauge(t, PREFIX "store_packets", s->packets, "Packets stored now.");
  km_metrics_gauge(t, PREFIX "store_failing", s->failing, "1: the disk does not do its part.");
  PUT_COUNTERS(t, samples);
}

int km_dns_metrics_write(char *ret, size_t cap, const km_dns_metrics *m) {
  km_metrics_text t;
  km_metrics_begin(&t, ret, cap);
  km_metrics_head(&t, PREFIX "build", "info", "What runs here.");
  km_metrics_put(&t, PREFIX "build_info{program=\"km-dns\",version=\"%s\"} 1\n", m->version);
  put_dns(&t, &m->server.zone, &m->server.dns);
  put_http(&t, &m->server);
  put_store(&t, &m->server.store);
  km_metrics_process(&t, &m->process);
  return km_metrics_end(&t);
}
