#include "endpoint/explain_line.h"

#include <stdio.h>

#include "base/udp_addr.h"

#define TEXT(event, ...) (void)snprintf((event)->text, sizeof(event)->text, __VA_ARGS__)

static int64_t since(km_ts at, km_ts began) {
  return at >= began ? (int64_t)((at - began) / KM_NS_PER_MS)
                     : -(int64_t)((began - at) / KM_NS_PER_MS);
}

static const char *count_noun(uint64_t n, const char *one, const char *many) {
  return n == 1 ? one : many;
}

/* --- the connection --------------------------------------------------------------------------- */

static void place_of(const km_explain_line *line, const km_conn_note *note, char *buf, size_t cap) {
  const char *url = note->relayed ? line->relay_url(line->ctx, note->relay) : NULL;
  if (note->relayed) {
    (void)snprintf(buf, cap, "the relay%s%.160s", url == NULL ? "" : " ", url == NULL ? "" : url);
  } else if (note->addr.family != 0) {
    (void)km_udp_addr_format(&note->addr, buf, cap);
  } else {
    (void)snprintf(buf, cap, "its path");
  }
}

static const char *policy_name(uint32_t policy) {
  switch (policy) {
  case KM_POLICY_ANY:
    return "any";
  case KM_POLICY_RELAY_ONLY:
    return "relay-only";
  case KM_POLICY_REQUIRE_DIRECT:
    return "direct within a time";
  default:
    return "prefer-direct";
  }
}

static void write_note(const km_explain_line *line, const km_conn_note *note,
                       km_explain_event *ret) {
  char place[200];
  place_of(line, note, place, sizeof place);
  *ret = (km_explain_event){.at_ms = since(note->at, line->began),
                            .kind = (km_explain_event_kind)note->kind,
                            .times = note->times,
                            .addr = note->addr};
  switch (ret->kind) {
  case KM_EXPLAIN_EVENT_CONNECTED:
    TEXT(ret, "connected over %s", place);
    break;
  case KM_EXPLAIN_EVENT_PATH:
    TEXT(ret, "packets take %s now", place);
    break;
  case KM_EXPLAIN_EVENT_MOVE_TRIED:
    TEXT(ret, "asked whether QUIC's packets pass on %s", place);
    break;
  case KM_EXPLAIN_EVENT_MOVE_REFUSED:
    TEXT(ret, "may not move to %s", place);
    break;
  case KM_EXPLAIN_EVENT_MOVE_FAILED:
    TEXT(ret, "QUIC's packets do not pass on %s", place);
    break;
  case KM_EXPLAIN_EVENT_LOST:
    TEXT(ret, "nothing comes over %s any more", place);
    break;
  case KM_EXPLAIN_EVENT_REOPENED:
    TEXT(ret, "sending on all %u known ways until one answers", note->value);
    break;
  case KM_EXPLAIN_EVENT_POLICY:
    TEXT(ret, "the policy is %s now", policy_name(note->value));
    break;
  case KM_EXPLAIN_EVENT_ASKED:
    TEXT(ret, "asked where the peer is");
    break;
  case KM_EXPLAIN_EVENT_FOUND:
    TEXT(ret, "%s told %u new way%s to the peer", note->source, note->value,
         note->value == 1 ? "" : "s");
    break;
  case KM_EXPLAIN_EVENT_GAVE_UP:
    TEXT(ret, "not direct within %u ms, as the policy demands: the connection ends", note->value);
    break;
  default:
    break;
  }
}

/* --- the search ------------------------------------------------------------------------------- */

static const char *stage_text(uint64_t state) {
  switch (state) {
  case KM_PUNCH_RESTING:
    return "no direct path is looked for";
  case KM_PUNCH_ROUNDS:
    return "looking for a direct path: pinging all known addresses of the peer";
  case KM_PUNCH_GUESSING:
    return "a NAT is hard: guessing ports";
  case KM_PUNCH_OPEN:
    return "a direct path is there: the search rests";
  default:
    return "nothing answered; the search goes on later";
  }
}

static km_explain_event_kind kind_of(km_punch_event_kind kind) {
  switch (kind) {
  case KM_PUNCH_EVENT_STATE:
    break;
  case KM_PUNCH_EVENT_LOCAL:
    return KM_EXPLAIN_EVENT_OWN_ADDRESSES;
  case KM_PUNCH_EVENT_CALL_SENT:
    return KM_EXPLAIN_EVENT_CALL_SENT;
  case KM_PUNCH_EVENT_CALL_CAME:
    return KM_EXPLAIN_EVENT_CALL_CAME;
  case KM_PUNCH_EVENT_CANDIDATE:
    return KM_EXPLAIN_EVENT_CANDIDATE;
  case KM_PUNCH_EVENT_PING_SENT:
    return KM_EXPLAIN_EVENT_PING_SENT;
  case KM_PUNCH_EVENT_PING_CAME:
    return KM_EXPLAIN_EVENT_PING_CAME;
  case KM_PUNCH_EVENT_OPEN:
    return KM_EXPLAIN_EVENT_OPEN;
  case KM_PUNCH_EVENT_SUSPECT:
    return KM_EXPLAIN_EVENT_SUSPECT;
  case KM_PUNCH_EVENT_DEAD:
    return KM_EXPLAIN_EVENT_DEAD;
  case KM_PUNCH_EVENT_GUESSING:
    return KM_EXPLAIN_EVENT_GUESSED;
  case KM_PUNCH_EVENT_BUDGET:
    return KM_EXPLAIN_EVENT_PUT_OFF;
  case KM_PUNCH_EVENT_NETWORK:
    return KM_EXPLAIN_EVENT_NETWORK;
  }
  return KM_EXPLAIN_EVENT_SEARCH;
}

static void write_way(const km_punch_event *event, km_explain_event *ret) {
  unsigned long long value = event->value;
  char addr[KM_UDP_ADDR_TEXT_CAP], text[128];
  (void)km_udp_addr_format(&event->way.addr, addr, sizeof addr);
  switch (ret->kind) {
  case KM_EXPLAIN_EVENT_CANDIDATE:
    TEXT(ret, "learnt an address of the peer: %s (%s)", addr,
         km_explain_sources((uint32_t)value, text, sizeof text));
    break;
  case KM_EXPLAIN_EVENT_PING_SENT:
    TEXT(ret, "pinged %s", addr);
    break;
  case KM_EXPLAIN_EVENT_PING_CAME:
    TEXT(ret, "the peer pings from %s", addr);
    break;
  case KM_EXPLAIN_EVENT_OPEN:
    TEXT(ret, "%s answered after %llu.%02llu ms: it works in both directions", addr, value / 1000,
         value % 1000 / 10);
    break;
  case KM_EXPLAIN_EVENT_SUSPECT:
    TEXT(ret, "%s is silent: asking again", addr);
    break;
  default:
    TEXT(ret, "%s does not answer any more, after %llu.%llu s", addr, value / 1000,
         value % 1000 / 100);
    break;
  }
}

static void write_punch(const km_explain_line *line, const km_punch_event *event,
                        km_explain_event *ret) {
  unsigned long long value = event->value;
  const char *addresses = count_noun(value, "address", "addresses");
  *ret = (km_explain_event){.at_ms = since(event->at, line->began),
                            .kind = kind_of(event->kind),
                            .times = 1,
                            .addr = event->way.addr};
  switch (ret->kind) {
  case KM_EXPLAIN_EVENT_SEARCH:
    TEXT(ret, "%s", stage_text(value));
    break;
  case KM_EXPLAIN_EVENT_OWN_ADDRESSES:
    TEXT(ret, "we have %llu %s of our own to offer", value, addresses);
    break;
  case KM_EXPLAIN_EVENT_CALL_SENT:
    TEXT(ret, "told the peer our %llu %s", value, addresses);
    break;
  case KM_EXPLAIN_EVENT_CALL_CAME:
    TEXT(ret, "the peer told its %llu %s", value, addresses);
    break;
  case KM_EXPLAIN_EVENT_GUESSED:
    TEXT(ret, "guessing is over: %llu %s tried", value,
         count_noun(value, "port or socket was", "ports or sockets were"));
    break;
  case KM_EXPLAIN_EVENT_PUT_OFF:
    TEXT(ret, "some pings have to wait: only so many unproven addresses are tried a second");
    break;
  case KM_EXPLAIN_EVENT_NETWORK:
    TEXT(ret, "the network of this machine changed: everything is tried again");
    break;
  default:
    write_way(event, ret);
    break;
  }
}

/* Of what happened in one turn of the loop the connection follows the search, but for its begin. */
static bool comes_first(const km_conn_note *note, const km_punch_event *event) {
  return note->at < event->at ||
         (note->at == event->at && note->kind == KM_EXPLAIN_EVENT_CONNECTED);
}

void km_explain_line_write(const km_explain_line *line, km_explain_event *ret) {
  size_t n = 0, p = 0;
  while (n < line->note_count || p < line->punch_count) {
    bool all_punched = p == line->punch_count;
    if (all_punched || (n < line->note_count && comes_first(&line->notes[n], &line->punch[p]))) {
      write_note(line, &line->notes[n++], ret++);
    } else {
      write_punch(line, &line->punch[p++], ret++);
    }
  }
}
