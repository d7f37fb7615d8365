/* Inside the multicast DNS node. */
#ifndef KM_DISCOVERY_MDNS_IMPL_H
#define KM_DISCOVERY_MDNS_IMPL_H

#include "base/token_bucket.h"
#include "discovery/mdns.h"
#include "discovery/mdns_peers.h"
#include "discovery/mdns_sign.h"

#define KM_MDNS_TTL_S 120       /* of what we announce */
#define KM_MDNS_LEGACY_TTL_S 10 /* RFC 6762 section 6.7 */
#define KM_MDNS_PORTS_MAX 4     /* in one announcement */
#define KM_MDNS_IDS_MAX 8       /* peers that are read of one packet */
#define KM_MDNS_PARTIALS_MAX 16
#define KM_MDNS_PARTIALS_PER_SOURCE 4
#define KM_MDNS_PARTIAL_LIFE (5 * KM_NS_PER_S)
#define KM_MDNS_SOURCES 64 /* places for their rates */
#define KM_MDNS_YIELD_TO 2 /* answers that make ours needless: swarm-discovery's tau * phi, up */
#define KM_MDNS_MS(n) ((km_ts)(n)*KM_NS_PER_MS)

/* A record of the packet that is being read. */
typedef struct km_mdns_record {
  km_mdns_item item;
  size_t about; /* whom: an index; KM_MDNS_IDS_MAX: nobody */
} km_mdns_record;

/* What an answer has in it. */
enum {
  KM_MDNS_SAY_TYPE = 1,     /* that there is this service */
  KM_MDNS_SAY_INSTANCE = 2, /* that we are one of it */
  KM_MDNS_SAY_DETAILS = 4,  /* our ports, attributes and addresses */
  KM_MDNS_SAY_HOSTS = 8     /* our addresses only */
};

/* What we say of ourselves. */
typedef struct km_mdns_own {
  bool on, announced;
  km_mdns_details details; /* its texts are here */
  char relays[KM_MDNS_RELAYS_MAX][KM_MDNS_RELAY_URL_MAX + 1];
  char user_data[KM_USER_DATA_MAX + 1];
  uint16_t ports[KM_MDNS_PORTS_MAX];
  size_t port_count;
  km_ts signed_at;
  uint64_t last_time_ms;
} km_mdns_own;

/* A link, and what is due on it. */
typedef struct km_mdns_on_link {
  km_mdns_link link;
  km_token_bucket sends;
  unsigned due;       /* KM_MDNS_SAY_*; 0: no answer */
  unsigned due_asker; /* the same, for `asker` alone */
  km_ts due_at;
  bool yields;  /* others' answers may make ours needless, as in swarm-discovery */
  size_t heard; /* of those, since the question, each of another peer */
  km_id heard_of[KM_MDNS_YIELD_TO];
  bool answered_last; /* the last such question */
  km_ts silent_since; /* others answered in our stead from then on; 0: we did */
  km_ts extra_delay;
  km_udp_addr asker;     /* whose list of known answers may go on; family 0: nobody's */
  km_ts said, said_type; /* when last to all; 0: never */
  unsigned plain;        /* questions as swarm-discovery asks them, in this window */
  km_ts plain_since;     /* when the window began */
  km_ts swarm_until;     /* such nodes are here */
  km_ts asked;           /* when somebody else asked for the service; 0: never */
  km_ts asked_self;      /* when we did; 0: never */
  unsigned announces;    /* how many times it is to be announced yet */
  km_ts announce_at;
} km_mdns_on_link;

/* A peer of which only a part is known yet. */
typedef struct km_mdns_partial {
  bool used;
  km_id id;
  km_udp_addr source;
  km_ts since;
  uint32_t ttl_s;
  size_t port_count;
  uint16_t ports[KM_MDNS_PORTS_MAX];
  km_mdns_name hosts[KM_MDNS_PORTS_MAX];
  size_t txt_len;
  uint8_t txt[KM_MDNS_TXT_MAX];
} km_mdns_partial;

typedef struct km_mdns_want {
  km_id id;
  size_t count;
} km_mdns_want_entry;

typedef struct km_mdns_trusted {
  km_id id;
  uint64_t query_ms; /* time of its last question */
} km_mdns_trusted;

typedef struct km_mdns_source_rate {
  km_udp_addr ip;
  km_token_bucket packets, checks, unicasts;
  km_ts lied; /* when a signature of its was wrong; 0: never */
} km_mdns_source_rate;

struct km_mdns {
  const km_env *env;
  const km_secret_key *key;
  const km_mdns_ops *ops;
  void *ctx;
  km_mdns_mode mode;
  bool may_publish;
  km_mdns_trusted *trusted; /* ascending */
  size_t trusted_count;
  km_id id; /* ours, when there is a key */
  km_mdns_name types, service, instance;
  km_mdns_own own;
  km_mdns_on_link links[KM_MDNS_LINKS_MAX];
  size_t link_count;
  km_mdns_peers peers;
  km_mdns_partial partials[KM_MDNS_PARTIALS_MAX];
  km_mdns_want_entry *wants;
  size_t want_count, want_cap, want_next;
  bool watched;
  km_ts ask_at, ask_interval, asked; /* for the service; KM_TS_NEVER: no question is due */
  km_ts name_at;                     /* for names alone; the same */
  size_t query_len;                  /* our last question, to know it when it comes back */
  uint64_t query_hash;
  unsigned hellos; /* questions that are asked only to show ourselves to those who trust us */
  km_ts sweep_at;
  uint64_t query_time_ms; /* of the last question */
  km_token_bucket packets, checks, reserve, news, unicasts, questions;
  km_mdns_source_rate sources[KM_MDNS_SOURCES];
  km_ts conflict_logged; /* 0: never */
  size_t record_count;
  km_mdns_record records[KM_MDNS_RECORDS_MAX];
};

/* mdns_own.c: what we say of ourselves */
/* True when something of it changed. */
bool km_mdns_own_set(km_mdns *m, const km_peer_info *info);
/* A time for a signature: later than all before. */
uint64_t km_mdns_own_time(km_mdns *m, km_wall wall);
void km_mdns_own_sign(km_mdns *m, km_ts now, km_wall wall);
void km_mdns_host_name(const km_mdns *m, uint16_t port, km_mdns_name *ret);
/* Writes an answer after the questions; `ttl` 0: a goodbye. False: it did not fit. */
bool km_mdns_own_write(km_mdns *m, km_mdns_writer *w, unsigned say, uint32_t ttl);
/* Takes back what `old` says and our own does not any more; 0 bytes: nothing. */
size_t km_mdns_own_withdraw(km_mdns *m, const km_mdns_own *old, uint8_t *ret, size_t cap);

/* mdns_answer.c: questions of others */
void km_mdns_hear_query(km_mdns *m, km_mdns_on_link *l, const km_mdns_arrival *a, km_mdns_reader *r,
                        km_ts now, km_wall wall);
void km_mdns_answer(km_mdns *m, km_mdns_on_link *l, km_ts now, km_wall wall);
void km_mdns_announce(km_mdns *m, km_mdns_on_link *l, km_ts now, km_wall wall);
void km_mdns_plan_announce(km_mdns *m, km_mdns_on_link *l, km_ts now);

/* mdns_ask.c: our questions */
/* A question soon; `urgent`: even if the last one is less than a second ago. */
void km_mdns_plan_query(km_mdns *m, bool urgent, km_ts now);
/* The same, for those alone whose names are to be asked for: nobody else has to answer. */
void km_mdns_plan_names(km_mdns *m, bool urgent, km_ts now);
/* A look-up: by name first, then for the service, as iroh's nodes know no other question. */
void km_mdns_plan_lookup(km_mdns *m, km_ts now);
void km_mdns_query(km_mdns *m, km_ts now, km_wall wall);
bool km_mdns_is_own_query(const km_mdns *m, const uint8_t *bytes, size_t len);
bool km_mdns_is_wanted_id(const km_mdns *m, const km_id *id);

/* mdns_hear.c: answers of others */
void km_mdns_hear_response(km_mdns *m, km_mdns_on_link *l, const km_mdns_arrival *a,
                           const uint8_t *bytes, size_t len, km_ts now, km_wall wall);
/* swarm-discovery's measure of silence: two of all answer a question, so each one's turn comes
 * every so often. */
km_ts km_mdns_turn(const km_mdns *m);
void km_mdns_sweep(km_mdns *m, km_ts now);
/* From now on silence says something. */
void km_mdns_doubt_all(km_mdns *m, km_ts now);

/* mdns.c */
/* A signature may be checked that came from there; `known`: of somebody who is there, or waited
 * for. */
bool km_mdns_may_check(km_mdns *m, const km_udp_addr *from, bool known, km_ts now);
/* One was wrong. */
void km_mdns_lied(km_mdns *m, const km_udp_addr *from, km_ts now);
/* A packet may be sent there and to nobody else. */
bool km_mdns_may_unicast(km_mdns *m, const km_udp_addr *to, km_ts now);
void km_mdns_send(km_mdns *m, const km_mdns_on_link *l, const km_udp_addr *to,
                  const km_mdns_writer *w);
bool km_mdns_same_host(const km_mdns *m, const km_udp_addr *from);
km_mdns_trusted *km_mdns_find_trusted(km_mdns *m, const km_id *id);
/* Nodes of swarm-discovery are on the link, or on any (NULL). */
bool km_mdns_is_swarm(const km_mdns *m, const km_mdns_on_link *l, km_ts now);
bool km_mdns_on_net(const km_mdns_on_link *l, const km_udp_addr *from);
/* Between `from_ms` and `to_ms`, in nanoseconds. */
km_ts km_mdns_jitter(const km_mdns *m, unsigned from_ms, unsigned to_ms);
/* The id that is the first label of an instance's name; false: it is none. */
bool km_mdns_instance_id(const km_mdns *m, const km_mdns_name *name, km_id *ret);

#endif /* KM_DISCOVERY_MDNS_IMPL_H */
