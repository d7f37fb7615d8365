/* Names of what an explanation holds. */
#include <stdio.h>

#include <keymesh/explain.h>

#include "holepunch/disco.h"

#define SAME(a, b) ((unsigned)(a) == (unsigned)(b))
_Static_assert(SAME(KM_SOURCE_INTERFACE, KM_CANDIDATE_INTERFACE) &&
                   SAME(KM_SOURCE_STUN, KM_CANDIDATE_REFLEXIVE) &&
                   SAME(KM_SOURCE_MAPPED, KM_CANDIDATE_MAPPED) &&
                   SAME(KM_SOURCE_SEEN, KM_CANDIDATE_SEEN) &&
                   SAME(KM_SOURCE_GIVEN, KM_CANDIDATE_GIVEN) &&
                   SAME(KM_SOURCE_PING, KM_CANDIDATE_PEER_REFLEXIVE) &&
                   SAME(KM_SOURCE_GUESSED, KM_CANDIDATE_GUESSED),
               "the public bits are those of disco.h");

const char *km_explain_reason_name(km_explain_reason reason) {
  static const char *const names[] = {
      [KM_EXPLAIN_CONNECTING] = "connecting",
      [KM_EXPLAIN_DIRECT] = "direct",
      [KM_EXPLAIN_TRYING] = "trying",
      [KM_EXPLAIN_POLICY] = "policy",
      [KM_EXPLAIN_RELAY_TROUBLE] = "relay-trouble",
      [KM_EXPLAIN_MOVE_REFUSED] = "move-refused",
      [KM_EXPLAIN_MOVE_FAILED] = "move-failed",
      [KM_EXPLAIN_DIRECT_LOST] = "direct-lost",
      [KM_EXPLAIN_NOT_TRIED] = "not-tried",
      [KM_EXPLAIN_PEER_SILENT] = "peer-silent",
      [KM_EXPLAIN_PEER_HIDDEN] = "peer-hidden",
      [KM_EXPLAIN_UDP_BLOCKED_HERE] = "udp-blocked-here",
      [KM_EXPLAIN_UDP_BLOCKED_THERE] = "udp-blocked-there",
      [KM_EXPLAIN_SAME_NETWORK] = "same-network",
      [KM_EXPLAIN_BOTH_HARD] = "both-hard",
      [KM_EXPLAIN_HARD_AND_RESTRICTED] = "hard-and-restricted",
      [KM_EXPLAIN_NO_ANSWER] = "no-answer",
  };
  return (size_t)reason < sizeof names / sizeof names[0] ? names[reason] : "unknown";
}

const char *km_explain_event_name(km_explain_event_kind kind) {
  static const char *const names[] = {
      [KM_EXPLAIN_EVENT_CONNECTED] = "connected",
      [KM_EXPLAIN_EVENT_PATH] = "path",
      [KM_EXPLAIN_EVENT_MOVE_TRIED] = "move-tried",
      [KM_EXPLAIN_EVENT_MOVE_REFUSED] = "move-refused",
      [KM_EXPLAIN_EVENT_MOVE_FAILED] = "move-failed",
      [KM_EXPLAIN_EVENT_LOST] = "lost",
      [KM_EXPLAIN_EVENT_REOPENED] = "reopened",
      [KM_EXPLAIN_EVENT_POLICY] = "policy",
      [KM_EXPLAIN_EVENT_GAVE_UP] = "gave-up",
      [KM_EXPLAIN_EVENT_SEARCH] = "search",
      [KM_EXPLAIN_EVENT_OWN_ADDRESSES] = "own-addresses",
      [KM_EXPLAIN_EVENT_CALL_SENT] = "call-sent",
      [KM_EXPLAIN_EVENT_CALL_CAME] = "call-came",
      [KM_EXPLAIN_EVENT_CANDIDATE] = "candidate",
      [KM_EXPLAIN_EVENT_PING_SENT] = "ping-sent",
      [KM_EXPLAIN_EVENT_PING_CAME] = "ping-came",
      [KM_EXPLAIN_EVENT_OPEN] = "open",
      [KM_EXPLAIN_EVENT_SUSPECT] = "suspect",
      [KM_EXPLAIN_EVENT_DEAD] = "dead",
      [KM_EXPLAIN_EVENT_GUESSED] = "guessed",
      [KM_EXPLAIN_EVENT_PUT_OFF] = "put-off",
      [KM_EXPLAIN_EVENT_NETWORK] = "network",
      [KM_EXPLAIN_EVENT_ASKED] = "asked",
      [KM_EXPLAIN_EVENT_FOUND] = "found",
  };
  return (size_t)kind < sizeof names / sizeof names[0] ? names[kind] : "unknown";
}

char *km_explain_sources(uint32_t sources, char *buf, size_t cap) {
  static const struct {
    uint32_t bit;
    const char *name;
  } names[] = {{KM_SOURCE_INTERFACE, "interface"}, {KM_SOURCE_STUN, "STUN"},
               {KM_SOURCE_MAPPED, "port mapping"}, {KM_SOURCE_SEEN, "seen by a peer"},
               {KM_SOURCE_GIVEN, "given"},         {KM_SOURCE_PING, "ping"},
               {KM_SOURCE_GUESSED, "guessed"}};
  size_t used = 0;
  if (cap > 0) {
    buf[0] = '\0';
  }
  for (size_t i = 0; i < sizeof names / sizeof names[0] && used < cap; i++) {
    if ((sources & names[i].bit) != 0) {
      int n = snprintf(buf + used, cap - used, "%s%s", used == 0 ? "" : ", ", names[i].name);
      used += n > 0 ? (size_t)n : 0;
    }
  }
  return buf;
}
