/* endpoint/explain_*.c: from what is known to a reason, and to words; notes, time line, names. */
#include "test_env.h"

#include <stdio.h>

#include "base/udp_addr.h"
#include "endpoint/explain_line.h"
#include "endpoint/explain_rules.h"

/* --- the reason ------------------------------------------------------------------------------- */

enum {
  UNMEASURED = KM_NAT_MAPPING_UNKNOWN,
  EASY = KM_NAT_MAPPING_ENDPOINT_INDEPENDENT,
  HARD = KM_NAT_MAPPING_ADDRESS_AND_PORT_DEPENDENT,
  HARD_BY_ADDRESS = KM_NAT_MAPPING_ADDRESS_DEPENDENT,
  ANYBODY = KM_NAT_FILTERING_ENDPOINT_INDEPENDENT,
  BY_ADDRESS = KM_NAT_FILTERING_ADDRESS_DEPENDENT,
  BY_PORT = KM_NAT_FILTERING_ADDRESS_AND_PORT_DEPENDENT
};

/* Relayed; both told what they have, everything was tried, nothing answered; nobody knows why. */
static km_explain_facts tried_all(void) {
  return (km_explain_facts){
      .connected = true,
      .is_client = true,
      .path = KM_PATH_RELAY,
      .path_text = "https://relay.example/",
      .policy = KM_POLICY_PREFER_DIRECT,
      .searches = true,
      .state = KM_PUNCH_WAITING,
      .attempts = 1,
      .ways_pinged = 2,
      .open_at = "",
      .own_nat = {.mapping4 = EASY, .filtering4 = BY_PORT},
      .peer_nat = {.mapping4 = EASY, .filtering4 = BY_PORT},
      .own_addresses = 2,
      .peer_addresses = 2,
      .own_public = true,
      .peer_public = true,
      .peer_spoke = true,
      .stun_asked = true,
      .stun_answered = true,
      .port_mapping = true,
      .own_port = 4433,
  };
}

static void assert_reason(const km_explain_facts *f, km_explain_reason want) {
  assert_string_equal(km_explain_reason_name(km_explain_decide(f)), km_explain_reason_name(want));
}

/* Each change alone, from the case above. */
#define EXPECT(want, ...)                                                                          \
  do {                                                                                             \
    km_explain_facts f = tried_all();                                                              \
    __VA_ARGS__;                                                                                   \
    assert_reason(&f, want);                                                                       \
  } while (0)

static void what_the_connection_says_goes_first(void **state) {
  (void)state;
  EXPECT(KM_EXPLAIN_NO_ANSWER, );
  EXPECT(KM_EXPLAIN_CONNECTING, f.connected = false);
  EXPECT(KM_EXPLAIN_DIRECT, f.path = KM_PATH_DIRECT);
  EXPECT(KM_EXPLAIN_DIRECT, f.path = KM_PATH_DIRECT; f.policy = KM_POLICY_ANY);
  EXPECT(KM_EXPLAIN_RELAY_TROUBLE, f.silent = true);
  EXPECT(KM_EXPLAIN_RELAY_TROUBLE, f.silent = true; f.path = KM_PATH_DIRECT);
  EXPECT(KM_EXPLAIN_RELAY_TROUBLE, f.relay_trouble = "cannot connect");
  EXPECT(KM_EXPLAIN_POLICY, f.policy = KM_POLICY_ANY);
  EXPECT(KM_EXPLAIN_POLICY, f.policy = KM_POLICY_RELAY_ONLY; f.ways_open = 1);
  EXPECT(KM_EXPLAIN_NO_ANSWER, f.policy = KM_POLICY_REQUIRE_DIRECT);
}

static void an_open_way_that_is_not_used(void **state) {
  (void)state;
  EXPECT(KM_EXPLAIN_TRYING, f.ways_open = 1);
  EXPECT(KM_EXPLAIN_MOVE_FAILED, f.ways_open = 1; f.moves_failed = 1);
  EXPECT(KM_EXPLAIN_MOVE_REFUSED, f.ways_open = 1; f.moves_failed = f.moves_refused = 1);
  EXPECT(KM_EXPLAIN_NO_ANSWER, f.moves_failed = f.moves_refused = 1);
  EXPECT(KM_EXPLAIN_DIRECT_LOST, f.was_direct = true);
  EXPECT(KM_EXPLAIN_DIRECT_LOST, f.was_direct = true; f.state = KM_PUNCH_ROUNDS);
  EXPECT(KM_EXPLAIN_TRYING, f.was_direct = true; f.ways_open = 1);
}

static void nothing_is_said_before_the_first_attempt_is_over(void **state) {
  (void)state;
  EXPECT(KM_EXPLAIN_TRYING, f.state = KM_PUNCH_ROUNDS);
  EXPECT(KM_EXPLAIN_TRYING, f.state = KM_PUNCH_GUESSING);
  EXPECT(KM_EXPLAIN_TRYING, f.state = KM_PUNCH_ROUNDS; f.attempts = 0);
  EXPECT(KM_EXPLAIN_NO_ANSWER, f.state = KM_PUNCH_ROUNDS; f.attempts = 2);
  EXPECT(KM_EXPLAIN_NO_ANSWER, f.state = KM_PUNCH_RESTING);
  EXPECT(KM_EXPLAIN_NOT_TRIED, f.searches = false);
}

static void who_says_nothing(void **state) {
  (void)state;
  EXPECT(KM_EXPLAIN_PEER_SILENT, f.peer_spoke = false);
  EXPECT(KM_EXPLAIN_NO_ANSWER, f.peer_spoke = false; f.ping_came = true);
  EXPECT(KM_EXPLAIN_PEER_HIDDEN, f.peer_addresses = 0; f.peer_public = false);
  EXPECT(KM_EXPLAIN_UDP_BLOCKED_HERE, f.stun_answered = false);
  EXPECT(KM_EXPLAIN_NO_ANSWER, f.stun_answered = f.stun_asked = false);
  EXPECT(KM_EXPLAIN_NO_ANSWER, f.stun_answered = false; f.ping_came = true);
  EXPECT(KM_EXPLAIN_UDP_BLOCKED_THERE, f.peer_public = false; f.peer_nat = (km_nat_info){0});
  EXPECT(KM_EXPLAIN_NO_ANSWER, f.peer_public = false; f.peer_nat = (km_nat_info){0};
         f.ping_came = true);
  EXPECT(KM_EXPLAIN_NO_ANSWER, f.peer_public = false);
  EXPECT(KM_EXPLAIN_NO_ANSWER, f.peer_public = false;
         f.peer_nat = (km_nat_info){.mapping6 = KM_NAT_MAPPING_NONE});
  EXPECT(KM_EXPLAIN_NO_ANSWER, f.peer_public = false; f.peer_nat = (km_nat_info){0};
         f.stun_asked = f.stun_answered = false);
}

static void pairs_of_nats(void **state) {
  (void)state;
  static const struct {
    uint8_t own, own_filter, peer, peer_filter;
    km_explain_reason want;
  } rows[] = {
      {HARD, BY_PORT, HARD, BY_PORT, KM_EXPLAIN_BOTH_HARD},
      {HARD, BY_PORT, HARD_BY_ADDRESS, ANYBODY, KM_EXPLAIN_BOTH_HARD},
      {HARD_BY_ADDRESS, BY_PORT, HARD, ANYBODY, KM_EXPLAIN_BOTH_HARD},
      {HARD, BY_PORT, EASY, BY_PORT, KM_EXPLAIN_HARD_AND_RESTRICTED},
      {EASY, BY_PORT, HARD, BY_PORT, KM_EXPLAIN_HARD_AND_RESTRICTED},
      {HARD, BY_PORT, EASY, KM_NAT_FILTERING_UNKNOWN, KM_EXPLAIN_HARD_AND_RESTRICTED},
      {UNMEASURED, KM_NAT_FILTERING_UNKNOWN, HARD, BY_PORT, KM_EXPLAIN_HARD_AND_RESTRICTED},
      {HARD, BY_PORT, EASY, BY_ADDRESS, KM_EXPLAIN_NO_ANSWER},
      {HARD, BY_PORT, EASY, ANYBODY, KM_EXPLAIN_NO_ANSWER},
      {HARD, BY_PORT, KM_NAT_MAPPING_NONE, KM_NAT_FILTERING_NONE, KM_EXPLAIN_NO_ANSWER},
      {EASY, BY_ADDRESS, HARD, BY_PORT, KM_EXPLAIN_NO_ANSWER},
      {EASY, ANYBODY, EASY, ANYBODY, KM_EXPLAIN_NO_ANSWER},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    km_explain_facts f = tried_all();
    f.own_nat = (km_nat_info){.mapping4 = rows[i].own, .filtering4 = rows[i].own_filter};
    f.peer_nat = (km_nat_info){.mapping4 = rows[i].peer, .filtering4 = rows[i].peer_filter};
    assert_reason(&f, rows[i].want);
    f.same_public = true; /* whatever NAT it is: it is the same one */
    assert_reason(&f, KM_EXPLAIN_SAME_NETWORK);
  }
}

/* --- words ------------------------------------------------------------------------------------ */

static km_explanation words_of(const km_explain_facts *f) {
  km_explanation ex;
  memset(&ex, 'x', sizeof ex);
  km_explain_words(km_explain_decide(f), f, &ex);
  return ex;
}

static void assert_has(const char *text, const char *part) {
  if (strstr(text, part) == NULL) {
    fail_msg("no '%s' in: %s", part, text);
  }
}

static void assert_lacks(const char *text, const char *part) {
  if (strstr(text, part) != NULL) {
    fail_msg("'%s' in: %s", part, text);
  }
}

#define WORDS(why_part, advice_part, ...)                                                          \
  do {                                                                                             \
    km_explain_facts f = tried_all();                                                              \
    __VA_ARGS__;                                                                                   \
    km_explanation ex = words_of(&f);                                                              \
    assert_has(ex.why, why_part);                                                                  \
    assert_has(ex.advice, advice_part);                                                            \
    assert_int_equal(ex.why[strlen(ex.why) - 1], '.');                                             \
    assert_true(ex.why[0] != ' ' && ex.advice[0] != ' ');                                          \
    assert_lacks(ex.why, "  ");                                                                    \
    assert_lacks(ex.advice, "  ");                                                                 \
  } while (0)

static void every_reason_has_words(void **state) {
  (void)state;
  WORDS("no connection", "", f.connected = false);
  WORDS("straight to 192.0.2.1:4433, a round trip takes 3.25 ms", "", f.path = KM_PATH_DIRECT;
        f.path_text = "192.0.2.1:4433"; f.rtt_us = 3250);
  WORDS("just begun", "Wait", f.state = KM_PUNCH_ROUNDS);
  WORDS("not over when the time", "more time", f.state = KM_PUNCH_ROUNDS; f.gave_up = true);
  WORDS("192.0.2.1:1: it moves", "Wait", f.ways_open = 1; f.open_at = "192.0.2.1:1");
  WORDS("the peer, which dialled, moves", "Wait", f.ways_open = 1; f.is_client = false);
  WORDS("relay-only", "prefer-direct", f.policy = KM_POLICY_RELAY_ONLY);
  WORDS("policy here is any", "prefer-direct", f.policy = KM_POLICY_ANY);
  WORDS("Nothing comes", "relay ping", f.silent = true);
  WORDS("The relay: cannot connect.", "relay ping", f.relay_trouble = "cannot connect");
  WORDS("192.0.2.1:1, but the peer does not let", "allow migration", f.ways_open = 1;
        f.moves_refused = 1; f.open_at = "192.0.2.1:1");
  WORDS("Probes pass on the direct way 192.0.2.1:1", "1,200 bytes", f.ways_open = 1;
        f.moves_failed = 1; f.open_at = "192.0.2.1:1");
  WORDS("died 61.2 s after", "UDP flows", f.was_direct = true; f.lost_after_ms = 61234);
  WORDS("too many peers", "Close", f.searches = false);
  WORDS("tells no address", "bind a UDP socket", f.peer_addresses = 0);
  WORDS("blocked on this side", "Allow outgoing UDP", f.stun_answered = false);
  WORDS("blocked on the peer's side", "At the peer", f.peer_public = false;
        f.peer_nat = (km_nat_info){0});
  WORDS("same public address", "client isolation", f.same_public = true);
}

static void words_about_nats(void **state) {
  (void)state;
  WORDS("both sides are hard", "forward UDP port 4433", f.own_nat.mapping4 = HARD;
        f.peer_nat.mapping4 = HARD);
  WORDS("Ports were guessed 60 times, in vain.", "", f.own_nat.mapping4 = HARD;
        f.peer_nat.mapping4 = HARD; f.guesses = 60);
  WORDS("guessed 1 times", "", f.own_nat.mapping4 = HARD; f.guesses = 1);
  WORDS("The NAT of this side is hard", "", f.own_nat.mapping4 = HARD);
  WORDS("The one of the peer lets in", "", f.own_nat.mapping4 = HARD);
  WORDS("The NAT of the peer is hard", "", f.peer_nat.mapping4 = HARD);
  WORDS("The one of this side seems to let in", "", f.peer_nat.mapping4 = HARD;
        f.own_nat.filtering4 = KM_NAT_FILTERING_UNKNOWN);
  km_explain_facts f = tried_all();
  f.own_nat.mapping4 = HARD;
  assert_lacks(words_of(&f).why, "guessed");
}

static void words_about_silence(void **state) {
  (void)state;
  WORDS("no address of it is known but the relay", "fresh ticket", f.peer_spoke = false);
  WORDS("Of the 1 address that was dialled", "", f.peer_spoke = false; f.given = 1);
  WORDS("Of the 3 addresses that were dialled", "", f.peer_spoke = false; f.given = 3);
  km_explain_facts dialled = tried_all();
  dialled.peer_spoke = dialled.is_client = false;
  assert_lacks(words_of(&dialled).why, "known but the relay"); /* it dialled us */
  WORDS("2 of the peer's were pinged, but none answers: a firewall drops UDP on the way.",
        "firewalls of both sides", );
  WORDS("1 of the peer's was pinged", "", f.ways_pinged = 1);
  WORDS("Pings of the peer arrive here", "", f.ping_came = true);
  WORDS("or a NAT is hard", "What NAT this side is behind", f.own_nat = (km_nat_info){0});
  WORDS("or a NAT is hard", "What NAT the peer is behind", f.peer_nat = (km_nat_info){0});
  WORDS("or a NAT is hard", "What NAT both sides are behind",
        f.own_nat = f.peer_nat = (km_nat_info){0});
  km_explain_facts one_way = tried_all();
  one_way.ping_came = true;
  one_way.own_nat = (km_nat_info){0};
  assert_lacks(words_of(&one_way).advice, "What NAT");
  one_way.own_public = false; /* but a server was asked */
  assert_lacks(words_of(&one_way).advice, "No STUN server");
  WORDS("", "both sides. Switch on", f.stun_asked = f.stun_answered = false);
  WORDS("", "No STUN server is known here", f.stun_asked = f.stun_answered = f.own_public = false);
}

static const km_udp_addr public_addr = {.family = 4, .port = 1024, .ip = {203, 0, 113, 9}};

static void words_about_port_mapping(void **state) {
  (void)state;
  WORDS("", "Switch on UPnP, NAT-PMP or PCP", );
  WORDS("", "forward the UDP port of km-node (--bind)", f.own_port = 0);
  WORDS("", "it is switched off here", f.port_mapping = false);
  WORDS("", "gives no port (not authorised): forward UDP port 4433", f.mapping_asked = true;
        f.mapping.found = 2;
        (void)snprintf(f.mapping.trouble, sizeof f.mapping.trouble, "%s", "not authorised"));
  WORDS("", "Switch on UPnP", f.mapping_asked = true; f.mapping.found = 0;
        (void)snprintf(f.mapping.trouble, sizeof f.mapping.trouble, "%s", "no router answers"));
  WORDS("", "Switch on UPnP", f.mapping_asked = true; f.mapping.found = 2);
  WORDS("", "opened 203.0.113.9:1024 already: do the same on the peer's side",
        f.mapping_asked = true;
        f.mapping.external = public_addr; f.mapping_is_public = true);
  WORDS("", "behind another NAT itself", f.mapping_asked = true; f.mapping.external = public_addr);
}

static void long_words_are_cut(void **state) {
  (void)state;
  char trouble[1000];
  memset(trouble, 'y', sizeof trouble);
  trouble[sizeof trouble - 1] = '\0';
  km_explain_facts f = tried_all();
  f.relay_trouble = trouble;
  km_explanation ex = words_of(&f);
  assert_int_equal(strlen(ex.why), sizeof ex.why - 1);
  assert_has(ex.advice, "online");
  f = tried_all();
  f.mapping_asked = true;
  f.mapping.found = 2;
  f.own_nat = f.peer_nat = (km_nat_info){0};
  f.stun_asked = f.stun_answered = f.own_public = false;
  memset(f.mapping.trouble, 'y', sizeof f.mapping.trouble - 1);
  ex = words_of(&f); /* the longest advice there is */
  assert_has(ex.advice, "y): forward UDP port 4433 there to this machine. One side is enough");
}

/* --- notes ------------------------------------------------------------------------------------ */

static km_path_key direct_key(uint16_t port) {
  return (km_path_key){.way = KM_WAY_DIRECT,
                       .remote = {.family = 4, .port = port, .ip = {192, 0, 2, 1}}};
}

static void note(km_conn_notes *notes, test_env *t, km_explain_event_kind kind, uint16_t port) {
  const km_path_key key = direct_key(port);
  km_conn_notes_add(notes, &t->env, 7, kind, port == 0 ? NULL : &key, port);
}

static void what_repeats_is_counted(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 1);
  km_conn_notes notes = {0};
  note(&notes, &t, KM_EXPLAIN_EVENT_CONNECTED, 1);
  for (int i = 0; i < 50; i++) {
    note(&notes, &t, KM_EXPLAIN_EVENT_MOVE_TRIED, 2);
    note(&notes, &t, KM_EXPLAIN_EVENT_MOVE_FAILED, 2);
  }
  assert_int_equal(notes.count, 3);
  assert_int_equal(notes.at[1].times, 50);
  assert_int_equal(notes.at[2].times, 50);
  note(&notes, &t, KM_EXPLAIN_EVENT_MOVE_TRIED, 3); /* another address */
  assert_int_equal(notes.count, 4);
  note(&notes, &t, KM_EXPLAIN_EVENT_PATH, 3);
  note(&notes, &t, KM_EXPLAIN_EVENT_MOVE_TRIED, 3); /* another chapter */
  assert_int_equal(notes.count, 6);
  assert_int_equal(notes.at[3].times, 1);
  const km_path_key relay = {.way = KM_WAY_RELAY, .relay = 4}, other = {.way = KM_WAY_RELAY};
  km_conn_notes_add(&notes, &t.env, 9, KM_EXPLAIN_EVENT_MOVE_FAILED, &relay, 0);
  km_conn_notes_add(&notes, &t.env, 9, KM_EXPLAIN_EVENT_MOVE_FAILED, &other, 0);
  assert_int_equal(notes.count, 8);
  assert_true(notes.at[6].relayed);
  assert_int_equal(notes.at[6].relay, 4);
  const km_path_key mixed = {.way = KM_WAY_MIXED};
  km_conn_notes_add(&notes, &t.env, 9, KM_EXPLAIN_EVENT_MOVE_FAILED, &mixed, 0);
  assert_int_equal(notes.count, 9);
  assert_int_equal(notes.at[8].addr.family, 0);
  for (uint16_t i = 0; i < 2; i++) { /* too long ago to be the same */
    for (uint16_t port = 1; port <= 5; port++) {
      note(&notes, &t, KM_EXPLAIN_EVENT_MOVE_FAILED, port);
    }
  }
  assert_int_equal(notes.count, 19);
  note(&notes, &t, KM_EXPLAIN_EVENT_MOVE_FAILED, 2); /* just not too long */
  assert_int_equal(notes.count, 19);
  assert_int_equal(notes.at[15].times, 2);
  note(&notes, &t, KM_EXPLAIN_EVENT_LOST, 5);
  note(&notes, &t, KM_EXPLAIN_EVENT_MOVE_FAILED, 5);
  note(&notes, &t, KM_EXPLAIN_EVENT_POLICY, 0);
  note(&notes, &t, KM_EXPLAIN_EVENT_MOVE_FAILED, 5);
  assert_int_equal(notes.count, 23);
  km_conn_notes_clear(&notes, &t.env);
  assert_int_equal(t.live, 0);
}

static void the_first_note_stays_and_the_oldest_goes(void **state) {
  (void)state;
  test_env t;
  test_env_init(&t, 1);
  km_conn_notes notes = {0};
  for (uint16_t i = 1; i <= 100; i++) {
    note(&notes, &t, i == 1 ? KM_EXPLAIN_EVENT_CONNECTED : KM_EXPLAIN_EVENT_PATH, i);
    assert_true(notes.count <= KM_CONN_MAX_NOTES);
  }
  assert_int_equal(notes.count, KM_CONN_MAX_NOTES);
  assert_int_equal(notes.at[0].addr.port, 1);
  for (size_t i = 1; i < notes.count; i++) {
    assert_int_equal(notes.at[i].addr.port, 100 - notes.count + i + 1);
  }
  km_conn_notes_clear(&notes, &t.env);
  assert_int_equal(t.live, 0);
}

static void notes_without_memory(void **state) {
  (void)state;
  for (long after = 0; after < 3; after++) {
    test_env t;
    test_env_init(&t, 1);
    t.fail_after = after;
    km_conn_notes notes = {0};
    for (uint16_t i = 1; i <= 20; i++) {
      note(&notes, &t, KM_EXPLAIN_EVENT_PATH, i);
    }
    assert_int_equal(notes.count, after == 0 ? 0 : after == 1 ? 4 : 8);
    if (after > 0) {
      assert_int_equal(notes.at[0].addr.port, 1);
      assert_int_equal(notes.at[notes.count - 1].addr.port, 20);
    }
    km_conn_notes_clear(&notes, &t.env);
    assert_int_equal(t.live, 0);
  }
}

/* --- the time line ---------------------------------------------------------------------------- */

static const char *url_of(void *ctx, uint16_t relay) {
  assert_string_equal(ctx, "ctx");
  return relay == 1 ? "https://relay.example/" : NULL;
}

enum { BEGAN_S = 100 };

static km_ts at_ms(int ms) {
  return BEGAN_S * KM_NS_PER_S + (km_ts)(ms + 5000) * KM_NS_PER_MS - 5 * KM_NS_PER_S;
}

static void the_line_is_in_order(void **state) {
  (void)state;
  const km_conn_note notes[] = {
      {.at = at_ms(10),
       .kind = KM_EXPLAIN_EVENT_CONNECTED,
       .relayed = true,
       .relay = 1,
       .times = 1},
      {.at = at_ms(20), .kind = KM_EXPLAIN_EVENT_MOVE_TRIED, .times = 3},
      {.at = at_ms(40), .kind = KM_EXPLAIN_EVENT_PATH, .relayed = true, .relay = 2, .times = 1},
  };
  const km_punch_event punch[] = {
      {.at = at_ms(-1500), .kind = KM_PUNCH_EVENT_LOCAL, .value = 2},
      {.at = at_ms(10), .kind = KM_PUNCH_EVENT_CALL_SENT, .value = 1},
      {.at = at_ms(20), .kind = KM_PUNCH_EVENT_CALL_CAME, .value = 3},
      {.at = at_ms(50), .kind = KM_PUNCH_EVENT_NETWORK},
  };
  const km_explain_line line = {.began = at_ms(0),
                                .notes = notes,
                                .note_count = 3,
                                .punch = punch,
                                .punch_count = 4,
                                .relay_url = url_of,
                                .ctx = "ctx"};
  static const struct {
    int64_t at;
    km_explain_event_kind kind;
    uint32_t times;
    const char *text;
  } want[] = {
      {-1500, KM_EXPLAIN_EVENT_OWN_ADDRESSES, 1, "2 addresses of our own"},
      {10, KM_EXPLAIN_EVENT_CONNECTED, 1, "connected over the relay https://relay.example/"},
      {10, KM_EXPLAIN_EVENT_CALL_SENT, 1, "our 1 address"},
      {20, KM_EXPLAIN_EVENT_CALL_CAME, 1, "its 3 addresses"},
      {20, KM_EXPLAIN_EVENT_MOVE_TRIED, 3, "its path"},
      {40, KM_EXPLAIN_EVENT_PATH, 1, "packets take the relay now"},
      {50, KM_EXPLAIN_EVENT_NETWORK, 1, "network of this machine changed"},
  };
  km_explain_event events[7];
  km_explain_line_write(&line, events);
  for (size_t i = 0; i < 7; i++) {
    assert_int_equal(events[i].at_ms, want[i].at);
    assert_int_equal(events[i].kind, want[i].kind);
    assert_int_equal(events[i].times, want[i].times);
    assert_has(events[i].text, want[i].text);
  }
}

static const km_udp_addr peer_addr = {.family = 4, .port = 99, .ip = {192, 0, 2, 7}};

static void every_note_has_a_sentence(void **state) {
  (void)state;
  static const struct {
    km_explain_event_kind kind;
    uint32_t value;
    const char *text;
  } rows[] = {
      {KM_EXPLAIN_EVENT_CONNECTED, 0, "connected over 192.0.2.7:99"},
      {KM_EXPLAIN_EVENT_PATH, 0, "packets take 192.0.2.7:99 now"},
      {KM_EXPLAIN_EVENT_MOVE_TRIED, 0, "asked whether QUIC's packets pass on 192.0.2.7:99"},
      {KM_EXPLAIN_EVENT_MOVE_REFUSED, 0, "may not move to 192.0.2.7:99"},
      {KM_EXPLAIN_EVENT_MOVE_FAILED, 0, "QUIC's packets do not pass on 192.0.2.7:99"},
      {KM_EXPLAIN_EVENT_LOST, 0, "nothing comes over 192.0.2.7:99 any more"},
      {KM_EXPLAIN_EVENT_REOPENED, 5, "all 5 known ways"},
      {KM_EXPLAIN_EVENT_POLICY, KM_POLICY_ANY, "the policy is any now"},
      {KM_EXPLAIN_EVENT_POLICY, KM_POLICY_RELAY_ONLY, "relay-only"},
      {KM_EXPLAIN_EVENT_POLICY, KM_POLICY_REQUIRE_DIRECT, "direct within a time"},
      {KM_EXPLAIN_EVENT_POLICY, KM_POLICY_PREFER_DIRECT, "prefer-direct"},
      {KM_EXPLAIN_EVENT_GAVE_UP, 1500, "within 1500 ms"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const km_conn_note n = {
        .kind = (uint8_t)rows[i].kind, .value = rows[i].value, .addr = peer_addr, .times = 1};
    const km_explain_line line = {.notes = &n, .note_count = 1, .relay_url = url_of};
    km_explain_event event;
    km_explain_line_write(&line, &event);
    assert_has(event.text, rows[i].text);
    assert_true(km_udp_addr_equal(&event.addr, &peer_addr));
  }
}

static void every_step_of_the_search_has_a_sentence(void **state) {
  (void)state;
  static const struct {
    km_punch_event_kind kind;
    uint64_t value;
    km_explain_event_kind as;
    const char *text;
  } rows[] = {
      {KM_PUNCH_EVENT_STATE, KM_PUNCH_RESTING, KM_EXPLAIN_EVENT_SEARCH, "is looked for"},
      {KM_PUNCH_EVENT_STATE, KM_PUNCH_ROUNDS, KM_EXPLAIN_EVENT_SEARCH, "pinging all"},
      {KM_PUNCH_EVENT_STATE, KM_PUNCH_GUESSING, KM_EXPLAIN_EVENT_SEARCH, "guessing ports"},
      {KM_PUNCH_EVENT_STATE, KM_PUNCH_OPEN, KM_EXPLAIN_EVENT_SEARCH, "search rests"},
      {KM_PUNCH_EVENT_STATE, KM_PUNCH_WAITING, KM_EXPLAIN_EVENT_SEARCH, "goes on later"},
      {KM_PUNCH_EVENT_LOCAL, 1, KM_EXPLAIN_EVENT_OWN_ADDRESSES, "1 address of our own"},
      {KM_PUNCH_EVENT_CALL_SENT, 2, KM_EXPLAIN_EVENT_CALL_SENT, "our 2 addresses"},
      {KM_PUNCH_EVENT_CALL_CAME, 0, KM_EXPLAIN_EVENT_CALL_CAME, "its 0 addresses"},
      {KM_PUNCH_EVENT_CANDIDATE, KM_SOURCE_STUN, KM_EXPLAIN_EVENT_CANDIDATE, "192.0.2.7:99 (STUN)"},
      {KM_PUNCH_EVENT_PING_SENT, 1, KM_EXPLAIN_EVENT_PING_SENT, "pinged 192.0.2.7:99"},
      {KM_PUNCH_EVENT_PING_CAME, 0, KM_EXPLAIN_EVENT_PING_CAME, "pings from 192.0.2.7:99"},
      {KM_PUNCH_EVENT_OPEN, 12340, KM_EXPLAIN_EVENT_OPEN, "after 12.34 ms"},
      {KM_PUNCH_EVENT_SUSPECT, 0, KM_EXPLAIN_EVENT_SUSPECT, "192.0.2.7:99 is silent"},
      {KM_PUNCH_EVENT_DEAD, 61250, KM_EXPLAIN_EVENT_DEAD, "any more, after 61.2 s"},
      {KM_PUNCH_EVENT_GUESSING, 1, KM_EXPLAIN_EVENT_GUESSED, "1 port or socket was tried"},
      {KM_PUNCH_EVENT_GUESSING, 1024, KM_EXPLAIN_EVENT_GUESSED, "1024 ports or sockets were"},
      {KM_PUNCH_EVENT_BUDGET, 0, KM_EXPLAIN_EVENT_PUT_OFF, "have to wait"},
      {KM_PUNCH_EVENT_NETWORK, 0, KM_EXPLAIN_EVENT_NETWORK, "network"},
  };
  for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
    const km_punch_event e = {
        .kind = rows[i].kind, .value = rows[i].value, .way = {.addr = peer_addr}};
    const km_explain_line line = {.punch = &e, .punch_count = 1, .relay_url = url_of};
    km_explain_event event;
    km_explain_line_write(&line, &event);
    assert_int_equal(event.kind, rows[i].as);
    assert_has(event.text, rows[i].text);
    assert_true(km_udp_addr_equal(&event.addr, &peer_addr));
  }
}

/* --- names ------------------------------------------------------------------------------------ */

static void every_name_is_there_once(void **state) {
  (void)state;
  for (int i = 0; i <= KM_EXPLAIN_NO_ANSWER; i++) {
    const char *name = km_explain_reason_name((km_explain_reason)i);
    assert_string_not_equal(name, "unknown");
    for (int k = 0; k < i; k++) {
      assert_string_not_equal(name, km_explain_reason_name((km_explain_reason)k));
    }
  }
  for (int i = 0; i <= KM_EXPLAIN_EVENT_FOUND; i++) {
    const char *name = km_explain_event_name((km_explain_event_kind)i);
    assert_string_not_equal(name, "unknown");
    for (int k = 0; k < i; k++) {
      assert_string_not_equal(name, km_explain_event_name((km_explain_event_kind)k));
    }
  }
  assert_string_equal(km_explain_reason_name((km_explain_reason)(KM_EXPLAIN_NO_ANSWER + 1)),
                      "unknown");
  assert_string_equal(km_explain_event_name((km_explain_event_kind)(KM_EXPLAIN_EVENT_FOUND + 1)),
                      "unknown");
}

static void sources_are_listed_and_cut(void **state) {
  (void)state;
  char buf[200];
  assert_string_equal(km_explain_sources(0, buf, sizeof buf), "");
  assert_string_equal(km_explain_sources(KM_SOURCE_PING, buf, sizeof buf), "ping");
  assert_string_equal(km_explain_sources(127, buf, sizeof buf),
                      "interface, STUN, port mapping, seen by a peer, given, ping, guessed");
  assert_string_equal(km_explain_sources(0x80, buf, sizeof buf), "");
  for (size_t cap = 1; cap < 80; cap++) {
    memset(buf, 'x', sizeof buf);
    km_explain_sources(127, buf, cap);
    assert_true(strlen(buf) < cap);
    assert_int_equal(buf[cap], 'x');
  }
  buf[0] = 'x';
  assert_ptr_equal(km_explain_sources(127, buf, 0), buf);
  assert_int_equal(buf[0], 'x');
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_the_connection_says_goes_first),
      cmocka_unit_test(an_open_way_that_is_not_used),
      cmocka_unit_test(nothing_is_said_before_the_first_attempt_is_over),
      cmocka_unit_test(who_says_nothing),
      cmocka_unit_test(pairs_of_nats),
      cmocka_unit_test(every_reason_has_words),
      cmocka_unit_test(words_about_nats),
      cmocka_unit_test(words_about_silence),
      cmocka_unit_test(words_about_port_mapping),
      cmocka_unit_test(long_words_are_cut),
      cmocka_unit_test(what_repeats_is_counted),
      cmocka_unit_test(the_first_note_stays_and_the_oldest_goes),
      cmocka_unit_test(notes_without_memory),
      cmocka_unit_test(the_line_is_in_order),
      cmocka_unit_test(every_note_has_a_sentence),
      cmocka_unit_test(every_step_of_the_search_has_a_sentence),
      cmocka_unit_test(every_name_is_there_once),
      cmocka_unit_test(sources_are_listed_and_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
