#include "endpoint/explain_rules.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/udp_addr.h"

/* --- the reason ------------------------------------------------------------------------------- */

static bool is_hard(const km_nat_info *nat) {
  return nat->mapping4 == KM_NAT_MAPPING_ADDRESS_DEPENDENT ||
         nat->mapping4 == KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT;
}

/* Whoever was pinged may answer from a port that was not: a hard NAT on the other side is no
 * obstacle. */
static bool lets_in(const km_nat_info *nat) {
  return nat->filtering4 == KM_NAT_FILTERING_NONE ||
         nat->filtering4 == KM_NAT_FILTERING_ENDPOINT_INDEPENDENT ||
         nat->filtering4 == KM_NAT_FILTERING_ADDRESS_DEPENDENT;
}

static bool is_measured(const km_nat_info *nat) {
  return nat->mapping4 != KM_NAT_MAPPING_UNKNOWN || nat->mapping6 != KM_NAT_MAPPING_UNKNOWN;
}

/* A way is open that the connection does not use. */
static km_explain_reason why_not_there(const km_explain_facts *f) {
  if (f->moves_refused > 0) {
    return KM_EXPLAIN_MOVE_REFUSED;
  }
  return f->moves_failed > 0 ? KM_EXPLAIN_MOVE_FAILED : KM_EXPLAIN_TRYING;
}

/* The first attempt is not over: nothing can be said yet. */
static bool has_just_begun(const km_explain_facts *f) {
  bool busy = f->state == KM_PUNCH_ROUNDS || f->state == KM_PUNCH_GUESSING;
  return f->attempts <= 1 && busy;
}

static km_explain_reason why_no_way(const km_explain_facts *f) {
  if (!f->peer_spoke && !f->ping_came) {
    return KM_EXPLAIN_PEER_SILENT;
  }
  if (f->stun_asked && !f->stun_answered && !f->ping_came) {
    return KM_EXPLAIN_UDP_BLOCKED_HERE;
  }
  if (f->peer_addresses == 0) {
    return KM_EXPLAIN_PEER_HIDDEN;
  }
  if (f->stun_answered && !f->peer_public && !is_measured(&f->peer_nat) && !f->ping_came) {
    return KM_EXPLAIN_UDP_BLOCKED_THERE;
  }
  if (f->same_public) {
    return KM_EXPLAIN_SAME_NETWORK;
  }
  bool own_hard = is_hard(&f->own_nat), peer_hard = is_hard(&f->peer_nat);
  if (own_hard && peer_hard) {
    return KM_EXPLAIN_BOTH_HARD;
  }
  if ((own_hard && !lets_in(&f->peer_nat)) || (peer_hard && !lets_in(&f->own_nat))) {
    return KM_EXPLAIN_HARD_AND_RESTRICTED;
  }
  return KM_EXPLAIN_NO_ANSWER;
}

km_explain_reason km_explain_decide(const km_explain_facts *f) {
  if (!f->connected) {
    return KM_EXPLAIN_CONNECTING;
  }
  if (f->silent) {
    return KM_EXPLAIN_RELAY_TROUBLE;
  }
  if (f->path == KM_PATH_DIRECT) {
    return KM_EXPLAIN_DIRECT;
  }
  if (f->relay_trouble != NULL) {
    return KM_EXPLAIN_RELAY_TROUBLE;
  }
  if (f->policy == KM_POLICY_RELAY_ONLY || f->policy == KM_POLICY_ANY) {
    return KM_EXPLAIN_POLICY;
  }
  if (f->ways_open > 0) {
    return why_not_there(f);
  }
  if (f->was_direct) {
    return KM_EXPLAIN_DIRECT_LOST;
  }
  if (!f->searches) {
    return KM_EXPLAIN_NOT_TRIED;
  }
  return has_just_begun(f) ? KM_EXPLAIN_TRYING : why_no_way(f);
}

/* --- words ------------------------------------------------------------------------------------ */

typedef struct words {
  char *at;
  size_t used, cap;
} words;

static KM_PRINTF(2, 3) void say(words *w, const char *fmt, ...) {
  if (w->used > 0 && w->used + 1 < w->cap) {
    w->at[w->used++] = ' ';
  }
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(w->at + w->used, w->cap - w->used, fmt, args);
  va_end(args);
  size_t left = w->cap - 1 - w->used;
  w->used += n < 0 ? 0 : (size_t)n < left ? (size_t)n : left;
}

static void say_seconds(words *w, const char *before, uint64_t ms, const char *after) {
  say(w, "%s %llu.%llu s %s", before, (unsigned long long)(ms / 1000),
      (unsigned long long)(ms % 1000 / 100), after);
}

/* What lets everybody in, whatever the NATs are. */
static void say_forward(words *w, const km_explain_facts *f) {
  char external[KM_UDP_ADDR_TEXT_CAP];
  if (f->mapping_asked && f->mapping.external.family != 0 &&
      km_udp_addr_format(&f->mapping.external, external, sizeof external) > 0) {
    if (f->mapping_is_public) {
      say(w, "The router of this side opened %s already: do the same on the peer's side.",
          external);
    } else {
      say(w,
          "The router of this side opened %s, but sits behind another NAT itself: ask the "
          "provider for a public IPv4 address, or for IPv6.",
          external);
    }
    return;
  }
  char port[48] = "the UDP port of km-node (--bind)";
  if (f->own_port != 0) {
    (void)snprintf(port, sizeof port, "UDP port %u", f->own_port);
  }
  if (!f->port_mapping) {
    say(w,
        "Let the router be asked for a port (it is switched off here), or forward %s to this "
        "machine.",
        port);
  } else if (f->mapping_asked && f->mapping.found != 0 && f->mapping.trouble[0] != '\0') {
    say(w, "The router of this side gives no port (%s): forward %s there to this machine.",
        f->mapping.trouble, port);
  } else {
    say(w,
        "Switch on UPnP, NAT-PMP or PCP in the router of this side, or forward %s there to "
        "this machine.",
        port);
  }
}

static void say_either_side(words *w, const km_explain_facts *f) {
  say_forward(w, f);
  say(w, "One side is enough; so is IPv6 on both.");
}

static void say_policy(const km_explain_facts *f, words *why, words *advice) {
  if (f->policy == KM_POLICY_RELAY_ONLY) {
    say(why, "The policy here is relay-only: direct paths are not allowed, and the peer does not "
             "learn our addresses.");
  } else {
    say(why, "The policy here is any: the connection stays on the path that answered first, and "
             "nothing is done for a direct one.");
  }
  say(advice, "Use the policy prefer-direct (km-node: --policy prefer-direct).");
}

static void say_trying(const km_explain_facts *f, words *why, words *advice) {
  if (f->gave_up) {
    say(why, "The search for a direct path was not over when the time that the policy gives was.");
    say(advice, "Give it more time: five seconds at least (km-node: --policy direct:10).");
    return;
  }
  if (f->ways_open > 0) {
    say(why, "Relayed so far. A direct way was just found, %s: %s moves the connection there.",
        f->open_at, f->is_client ? "it" : "the peer, which dialled,");
  } else {
    say(why, "Relayed so far: the search for a direct path has just begun.");
  }
  say(advice, "Wait a few seconds and ask again.");
}

static void say_trouble(const km_explain_facts *f, words *why, words *advice) {
  say(why, "Nothing comes from the peer at the moment, over any path.");
  if (f->relay_trouble != NULL) {
    say(why, "The relay: %s.", f->relay_trouble);
  }
  say(advice, "Look whether both machines are online, and whether the relay answers (km-node "
              "relay ping URL; km-node doctor looks at the whole network).");
}

static void say_moves(km_explain_reason reason, const km_explain_facts *f, words *why,
                      words *advice) {
  if (reason == KM_EXPLAIN_MOVE_REFUSED) {
    say(why,
        "A direct way works, %s, but the peer does not let the connection move there: it "
        "forbids QUIC's migration, or gives no connection ids for it.",
        f->open_at);
    say(advice, "Dial the peer at that address from the start, or let it allow migration.");
  } else {
    say(why, "Probes pass on the direct way %s, but QUIC's packets do not.", f->open_at);
    say(advice, "Look for a firewall or a tunnel on the way that drops UDP packets of 1,200 "
                "bytes, or all but the first of a flow.");
  }
}

static void say_lost(const km_explain_facts *f, words *why, words *advice) {
  say_seconds(why, "It was direct; that path died", f->lost_after_ms,
              "after the connection began, and no other was found since.");
  say(advice, "If nobody changed networks: a router forgets UDP flows early, or a firewall cuts "
              "them off.");
  say_either_side(advice, f);
}

static void say_silent(const km_explain_facts *f, words *why, words *advice) {
  say(why,
      "The peer takes no part in hole punching: it is not KeyMesh (iroh has another way of its "
      "own), or its policy wants no direct path.");
  if (f->is_client && f->given > 0) {
    say(why, "Of the %zu address%s that %s dialled none answers directly.", f->given,
        f->given == 1 ? "" : "es", f->given == 1 ? "was" : "were");
  } else if (f->is_client) {
    say(why, "And no address of it is known but the relay.");
  }
  say(advice,
      "If it is KeyMesh: let it use the policy prefer-direct. If it is iroh: dial it by a "
      "fresh ticket that has its addresses, and open its UDP port in the router or firewall "
      "there.");
}

static void say_blocked(bool here, words *why, words *advice) {
  if (here) {
    say(why,
        "UDP seems to be blocked on this side: no STUN server answers, and no ping of the peer "
        "comes in.");
    say(advice,
        "Allow outgoing UDP in the firewall of this machine and network; guest, company and "
        "hotel networks often block it. Or use another network. km-node doctor tells more; "
        "if UDP works there, name another STUN server (--stun HOST).");
  } else {
    say(why,
        "UDP seems to be blocked on the peer's side: it knows no address of its own that could "
        "be reached from outside, and no ping of it comes in.");
    say(advice, "At the peer: allow outgoing UDP, or use another network. km-node doctor, run "
                "there, tells more; if UDP works, name a STUN server there (--stun HOST).");
  }
}

static void say_same_network(const km_explain_facts *f, words *why, words *advice) {
  say(why, "Both sides have the same public address but do not reach each other: their network "
           "keeps its devices apart, or it is one carrier's NAT for many homes.");
  say(advice,
      "In one Wi-Fi or LAN: leave the guest network, switch off client isolation, and allow "
      "UDP in the firewalls of both machines.");
  say_either_side(advice, f);
}

static void say_guesses(const km_explain_facts *f, words *why) {
  if (f->guesses > 0) {
    say(why, "Ports were guessed %llu times, in vain.", (unsigned long long)f->guesses);
  }
}

static void say_hard(km_explain_reason reason, const km_explain_facts *f, words *why,
                     words *advice) {
  if (reason == KM_EXPLAIN_BOTH_HARD) {
    say(why,
        "The NATs of both sides are hard: they use another port for every destination, so that "
        "neither side can tell where it will be reached.");
  } else {
    bool own = is_hard(&f->own_nat);
    const km_nat_info *other = own ? &f->peer_nat : &f->own_nat;
    say(why,
        "The NAT of %s is hard: it uses another port for every destination. The one of %s %s in "
        "only what comes from a port that was sent to.",
        own ? "this side" : "the peer", own ? "the peer" : "this side",
        other->filtering4 == KM_NAT_FILTERING_UNKNOWN ? "seems to let" : "lets");
  }
  say_guesses(f, why);
  say_either_side(advice, f);
}

static void say_no_answer(const km_explain_facts *f, words *why, words *advice) {
  bool here = is_measured(&f->own_nat), there = is_measured(&f->peer_nat);
  if (f->ping_came) {
    say(why, "Pings of the peer arrive here, but nothing of ours is answered: a firewall lets UDP "
             "through in one direction only.");
  } else {
    say(why,
        "Both sides told their addresses and %zu of the peer's %s pinged, but none answers: a "
        "firewall drops UDP on the way%s.",
        f->ways_pinged, f->ways_pinged == 1 ? "was" : "were",
        here && there ? "" : ", or a NAT is hard");
  }
  if (!f->ping_came && !(here && there)) {
    say(advice,
        "What NAT %s behind is not known, as that takes two STUN servers: name a second relay or "
        "STUN server %s, and ask again.",
        here    ? "the peer is"
        : there ? "this side is"
                : "both sides are",
        here    ? "there"
        : there ? "here"
                : "on both sides");
  }
  if (!f->stun_asked && !f->own_public) {
    say(advice, "No STUN server is known here, so the public address of this side is not known "
                "either: name one (--stun HOST).");
  }
  say(advice, "Allow UDP for this program in the firewalls of both sides.");
  say_either_side(advice, f);
}

static void say_direct(const km_explain_facts *f, words *why) {
  say(why, "Direct: packets go straight to %s, a round trip takes %llu.%02llu ms.", f->path_text,
      (unsigned long long)(f->rtt_us / 1000), (unsigned long long)(f->rtt_us % 1000 / 10));
}

void km_explain_words(km_explain_reason reason, const km_explain_facts *f, km_explanation *ret) {
  words why = {.at = ret->why, .cap = sizeof ret->why};
  words advice = {.at = ret->advice, .cap = sizeof ret->advice};
  ret->why[0] = ret->advice[0] = '\0';
  switch (reason) {
  case KM_EXPLAIN_CONNECTING:
    say(&why, "There is no connection to the peer.");
    break;
  case KM_EXPLAIN_DIRECT:
    say_direct(f, &why);
    break;
  case KM_EXPLAIN_TRYING:
    say_trying(f, &why, &advice);
    break;
  case KM_EXPLAIN_POLICY:
    say_policy(f, &why, &advice);
    break;
  case KM_EXPLAIN_RELAY_TROUBLE:
    say_trouble(f, &why, &advice);
    break;
  case KM_EXPLAIN_MOVE_REFUSED:
  case KM_EXPLAIN_MOVE_FAILED:
    say_moves(reason, f, &why, &advice);
    break;
  case KM_EXPLAIN_DIRECT_LOST:
    say_lost(f, &why, &advice);
    break;
  case KM_EXPLAIN_NOT_TRIED:
    say(&why, "Direct paths to this peer are not looked for: too many peers at once.");
    say(&advice, "Close connections that are not needed.");
    break;
  case KM_EXPLAIN_PEER_SILENT:
    say_silent(f, &why, &advice);
    break;
  case KM_EXPLAIN_PEER_HIDDEN:
    say(&why, "The peer takes part in hole punching but tells no address of its own.");
    say(&advice, "At the peer: let it bind a UDP socket on a network that is up.");
    break;
  case KM_EXPLAIN_UDP_BLOCKED_HERE:
  case KM_EXPLAIN_UDP_BLOCKED_THERE:
    say_blocked(reason == KM_EXPLAIN_UDP_BLOCKED_HERE, &why, &advice);
    break;
  case KM_EXPLAIN_SAME_NETWORK:
    say_same_network(f, &why, &advice);
    break;
  case KM_EXPLAIN_BOTH_HARD:
  case KM_EXPLAIN_HARD_AND_RESTRICTED:
    say_hard(reason, f, &why, &advice);
    break;
  case KM_EXPLAIN_NO_ANSWER:
    say_no_answer(f, &why, &advice);
    break;
  }
}
