#include "holepunch/nat_probe.h"

#include <string.h>

#include "holepunch/nat_rules.h"

/* After the first answer the others get so long, or four of its round trips. */
#define OTHERS_NS KM_NS_PER_S
/* Where silence is an answer, it is taken for one after four requests. */
enum { TEST_RC = 4, TEST_RM = 4 };

/* RFC 5780's names: the server is at address 1 and port 1, OTHER-ADDRESS is address 2 and port 2.
 */
typedef enum alternate { ALT_IP, ALT_IP_PORT, ALT_PORT, ALTERNATES } alternate;

/* Transactions: what they are for, in the upper half of the tag, and of whom. */
typedef enum purpose {
  ASK_SERVER,    /* index of the server */
  ASK_ALTERNATE, /* family, alternate */
  ASK_SECOND,    /* family: the second socket's own address */
  ASK_FILTER_BOTH,
  ASK_FILTER_PORT,
  ASK_HAIRPIN_OUT, /* main to second */
  ASK_HAIRPIN_IN   /* second to main */
} purpose;

typedef struct observation {
  km_udp_addr addr, mapped, other;
  uint64_t rtt_ns;
  km_ts at;       /* of its last answer; 0: never */
  uint32_t order; /* of the mapping toward it; 0: none */
  bool answered;  /* in this run */
} observation;

typedef enum stage { RESTING, ASKING, TESTING } stage;

typedef struct family_state {
  uint8_t family;
  stage stage;
  km_nat_depth depth;
  km_ts give_up;                 /* of asking */
  observation alt[ALTERNATES];   /* addr.family 0: not asked */
  int discovery;                 /* the server that can do RFC 5780; -1: none */
  km_udp_addr second_server;     /* whom the second socket asks */
  km_udp_addr second;            /* its address, as that server sees it */
  bool filter_both, filter_port; /* something came */
  bool filter_void;              /* the server does not do what it should */
  bool hairpin;
  km_nat_family result;
} family_state;

struct km_nat_probe {
  const km_env *env;
  km_stun_client client;
  km_udp_addr own[KM_NAT_MAX_OWN];
  size_t own_count;
  observation servers[KM_NAT_MAX_SERVERS];
  size_t server_count;
  family_state families[2];
  uint32_t order; /* counts mappings */
  uint32_t changes;
  km_ts answered;
  uint64_t patience_ns;
};

int km_nat_probe_new(km_nat_probe **ret, const km_env *env) {
  km_nat_probe *p = km_env_zalloc(env, 1, sizeof *p);
  if (p == NULL) {
    return KM_ERR_NOMEM;
  }
  p->env = env;
  km_stun_client_init(&p->client, env);
  for (size_t i = 0; i < 2; i++) {
    p->families[i].family = i == 0 ? 4 : 6;
    p->families[i].discovery = -1;
  }
  *ret = p;
  return 0;
}

void km_nat_probe_del(km_nat_probe *p) {
  if (p != NULL) {
    km_env_free(p->env, p);
  }
}

/* --- what is asked about ---------------------------------------------------------------------- */

static uint32_t tag_of(purpose what, size_t whom) {
  return (uint32_t)what << 16 | (uint32_t)whom;
}

static size_t index_of(const km_nat_probe *p, const family_state *f) {
  return (size_t)(f - p->families);
}

void km_nat_probe_set_own(km_nat_probe *p, const km_udp_addr *own, size_t count) {
  p->own_count = count < KM_NAT_MAX_OWN ? count : KM_NAT_MAX_OWN;
  for (size_t i = 0; i < p->own_count; i++) {
    p->own[i] = own[i];
  }
}

static const observation *find_server(const observation *in, size_t count,
                                      const km_udp_addr *addr) {
  for (size_t i = 0; i < count; i++) {
    if (km_udp_addr_equal(&in[i].addr, addr)) {
      return &in[i];
    }
  }
  return NULL;
}

static void cancel_tests(km_nat_probe *p, const family_state *f) {
  for (purpose what = ASK_SECOND; what <= ASK_HAIRPIN_IN; what++) {
    km_stun_client_cancel(&p->client, tag_of(what, index_of(p, f)));
  }
  for (size_t i = 0; i < ALTERNATES; i++) {
    km_stun_client_cancel(&p->client, tag_of(ASK_ALTERNATE, index_of(p, f) * ALTERNATES + i));
  }
}

static void cancel_all(km_nat_probe *p) {
  for (size_t i = 0; i < p->server_count; i++) {
    km_stun_client_cancel(&p->client, tag_of(ASK_SERVER, i));
  }
  for (size_t i = 0; i < 2; i++) {
    cancel_tests(p, &p->families[i]);
    p->families[i].stage = RESTING;
    p->families[i].discovery = -1;
  }
}

static bool same_servers(const km_nat_probe *p, const observation *fresh, size_t count) {
  bool same = count == p->server_count;
  for (size_t i = 0; same && i < count; i++) {
    same = km_udp_addr_equal(&fresh[i].addr, &p->servers[i].addr);
  }
  return same;
}

bool km_nat_probe_set_servers(km_nat_probe *p, const km_udp_addr *servers, size_t count) {
  observation fresh[KM_NAT_MAX_SERVERS];
  size_t kept = 0;
  for (size_t i = 0; i < count && kept < KM_NAT_MAX_SERVERS; i++) {
    if ((servers[i].family != 4 && servers[i].family != 6) || servers[i].port == 0 ||
        find_server(fresh, kept, &servers[i]) != NULL) {
      continue;
    }
    const observation *known = find_server(p->servers, p->server_count, &servers[i]);
    fresh[kept++] = known != NULL ? *known : (observation){.addr = servers[i]};
  }
  if (same_servers(p, fresh, kept)) {
    return false;
  }
  cancel_all(p);
  memcpy(p->servers, fresh, kept * sizeof *fresh);
  p->server_count = kept;
  return true;
}

void km_nat_probe_forget(km_nat_probe *p) {
  cancel_all(p);
  for (size_t i = 0; i < p->server_count; i++) {
    p->servers[i] = (observation){.addr = p->servers[i].addr};
  }
  for (size_t i = 0; i < 2; i++) {
    p->families[i] = (family_state){.family = p->families[i].family, .discovery = -1};
  }
  p->answered = 0;
  p->changes++;
}

/* --- conclusions ------------------------------------------------------------------------------ */

static void add_seen(km_nat_seen *seen, size_t *count, const observation *o) {
  if (o->answered) {
    seen[(*count)++] = (km_nat_seen){.server = o->addr, .mapped = o->mapped, .order = o->order};
  }
}

static size_t collect(const km_nat_probe *p, const family_state *f,
                      km_nat_seen seen[KM_NAT_MAX_SERVERS + ALTERNATES]) {
  size_t count = 0;
  for (size_t i = 0; i < p->server_count; i++) {
    if (p->servers[i].addr.family == f->family) {
      add_seen(seen, &count, &p->servers[i]);
    }
  }
  for (size_t i = 0; i < ALTERNATES; i++) {
    add_seen(seen, &count, &f->alt[i]);
  }
  return count;
}

/* One answer tells whether there is a NAT; less than two do not unsay what was known. */
static void conclude_mapping(km_nat_probe *p, family_state *f) {
  km_nat_seen seen[KM_NAT_MAX_SERVERS + ALTERNATES];
  size_t count = collect(p, f, seen);
  if (count == 0) {
    return;
  }
  km_nat_mapping mapping = km_nat_mapping_of(seen, count, p->own, p->own_count);
  if (mapping != KM_NAT_MAPPING_UNKNOWN) {
    f->result.mapping = mapping;
    f->result.port_step =
        mapping >= KM_NAT_MAPPING_ADDRESS_DEPENDENT ? km_nat_port_step_of(seen, count) : 0;
  }
  f->result.works = true;
  f->result.mapped = seen[0].mapped;
}

static void conclude_tests(km_nat_probe *p, family_state *f) {
  if (f->second.family == 0) {
    return;
  }
  const km_nat_filter_tests tests = {.from_both = f->filter_both, .from_port = f->filter_port};
  /* Silence means something only of a server that is known to speak from there. */
  bool proven = f->alt[ALT_IP_PORT].answered && f->alt[ALT_PORT].answered;
  if (f->discovery >= 0 && !f->filter_void && (f->filter_both || proven)) {
    f->result.filtering = km_nat_filtering_of(f->result.mapping, &tests);
    p->changes++;
  }
  if (f->result.mapping != KM_NAT_MAPPING_NONE) {
    f->result.hairpin = f->hairpin ? KM_NET_YES : KM_NET_NO;
  }
}

/* --- asking ----------------------------------------------------------------------------------- */

/* There is room, as the numbers of servers and tests are bounded and each is asked once at a time;
 * if there was none, it would be as if the answer was lost. */
static void ask(km_nat_probe *p, const km_stun_ask *what, km_ts now) {
  if (km_stun_client_ask(&p->client, what, now) != 0) {
    return;
  }
}

_Static_assert(KM_NAT_MAX_SERVERS + 2 * (ALTERNATES + 5) <= KM_STUN_CLIENT_MAX,
               "all that can be asked at once");

/* A mapping that is alive keeps its place in the order. */
static void note_order(km_nat_probe *p, observation *o, km_ts now) {
  if (o->order == 0 || now - o->at > KM_NAT_FRESH) {
    o->order = ++p->order;
  }
}

static void ask_server(km_nat_probe *p, size_t i, uint8_t rc, km_ts now) {
  observation *o = &p->servers[i];
  o->answered = false;
  if (km_stun_client_waits(&p->client, tag_of(ASK_SERVER, i))) {
    return;
  }
  note_order(p, o, now);
  const km_stun_ask what = {.server = o->addr, .tag = tag_of(ASK_SERVER, i), .rc = rc};
  ask(p, &what, now);
}

static void ask_alternate(km_nat_probe *p, family_state *f, alternate which, km_ts now) {
  const observation *server = &p->servers[f->discovery];
  observation *o = &f->alt[which];
  km_udp_addr to = which == ALT_PORT ? server->addr : server->other;
  to.port = which == ALT_IP ? server->addr.port : server->other.port;
  if (!km_udp_addr_equal(&o->addr, &to)) {
    *o = (observation){.addr = to};
  }
  note_order(p, o, now);
  o->answered = false;
  const km_stun_ask what = {.server = to,
                            .tag = tag_of(ASK_ALTERNATE, index_of(p, f) * ALTERNATES + which),
                            .rc = TEST_RC + 1,
                            .rm = TEST_RM};
  ask(p, &what, now);
}

/* From the second socket, which only ever sends to `server`. */
static void ask_second(km_nat_probe *p, family_state *f, const km_udp_addr *server, km_ts now) {
  const km_stun_ask what = {.server = *server,
                            .tag = tag_of(ASK_SECOND, index_of(p, f)),
                            .socket = KM_NAT_SECOND,
                            .rc = TEST_RC + 1,
                            .rm = TEST_RM};
  f->second_server = *server;
  f->second = (km_udp_addr){0};
  f->filter_both = f->filter_port = f->filter_void = f->hairpin = false;
  ask(p, &what, now);
}

static void ask_filter(km_nat_probe *p, family_state *f, purpose which, km_ts now) {
  const observation *server = &p->servers[f->discovery];
  bool both = which == ASK_FILTER_BOTH;
  km_stun_ask what = {.server = server->addr,
                      .expect = both ? server->other : server->addr,
                      .tag = tag_of(which, index_of(p, f)),
                      .socket = KM_NAT_SECOND,
                      .change_ip = both,
                      .change_port = true,
                      .rc = TEST_RC,
                      .rm = TEST_RM};
  what.expect.port = server->other.port;
  ask(p, &what, now);
}

/* Both send, as two endpoints would that punch: each opens its own filter for the other. */
static void ask_hairpin(km_nat_probe *p, family_state *f, km_ts now) {
  const km_stun_ask out = {.server = f->second,
                           .tag = tag_of(ASK_HAIRPIN_OUT, index_of(p, f)),
                           .socket = KM_NAT_MAIN,
                           .loops = true,
                           .rc = TEST_RC,
                           .rm = TEST_RM};
  const km_stun_ask in = {.server = f->result.mapped,
                          .tag = tag_of(ASK_HAIRPIN_IN, index_of(p, f)),
                          .socket = KM_NAT_SECOND,
                          .loops = true,
                          .rc = TEST_RC,
                          .rm = TEST_RM};
  ask(p, &out, now);
  ask(p, &in, now);
}

/* --- a run ------------------------------------------------------------------------------------ */

/* The server that answered last is asked again: its mapping is kept alive. -1: none did. */
static int latest_server(const km_nat_probe *p, uint8_t family) {
  int best = -1;
  for (size_t i = 0; i < p->server_count; i++) {
    const observation *o = &p->servers[i];
    if (o->addr.family == family && o->mapped.family != 0 &&
        (best < 0 || o->at > p->servers[best].at)) {
      best = (int)i;
    }
  }
  return best;
}

static void begin(km_nat_probe *p, family_state *f, km_nat_depth depth, km_ts now) {
  int one = depth == KM_NAT_REFRESH ? latest_server(p, f->family) : -1;
  f->depth = one >= 0 ? KM_NAT_REFRESH : depth == KM_NAT_REFRESH ? KM_NAT_QUICK : depth;
  f->stage = ASKING;
  f->give_up = now + p->patience_ns;
  for (size_t i = 0; i < ALTERNATES; i++) {
    f->alt[i].answered = false;
  }
  for (size_t i = 0; i < p->server_count; i++) {
    if (p->servers[i].addr.family != f->family) {
      continue;
    }
    p->servers[i].answered = false;
    if (one < 0 || (size_t)one == i) {
      ask_server(p, i, f->depth == KM_NAT_REFRESH ? TEST_RC : 0, now);
    }
  }
}

static int find_discovery(const km_nat_probe *p, const family_state *f) {
  for (size_t i = 0; i < p->server_count; i++) {
    const observation *o = &p->servers[i];
    if (o->addr.family == f->family && o->answered && o->other.family != 0) {
      return (int)i;
    }
  }
  return -1;
}

static const observation *any_answered(const km_nat_probe *p, const family_state *f) {
  for (size_t i = 0; i < p->server_count; i++) {
    if (p->servers[i].addr.family == f->family && p->servers[i].answered) {
      return &p->servers[i];
    }
  }
  return NULL;
}

static bool asking_waits(const km_nat_probe *p, const family_state *f) {
  for (size_t i = 0; i < p->server_count; i++) {
    if (p->servers[i].addr.family == f->family &&
        km_stun_client_waits(&p->client, tag_of(ASK_SERVER, i))) {
      return true;
    }
  }
  return false;
}

static bool tests_wait(const km_nat_probe *p, const family_state *f) {
  for (purpose what = ASK_SECOND; what <= ASK_HAIRPIN_IN; what++) {
    if (km_stun_client_waits(&p->client, tag_of(what, index_of(p, f)))) {
      return true;
    }
  }
  for (size_t i = 0; i < ALTERNATES; i++) {
    if (km_stun_client_waits(&p->client, tag_of(ASK_ALTERNATE, index_of(p, f) * ALTERNATES + i))) {
      return true;
    }
  }
  return false;
}

static void nothing_answered(km_nat_probe *p, family_state *f) {
  bool knew = f->result.works;
  f->result = (km_nat_family){0};
  p->changes += knew;
}

static void begin_tests(km_nat_probe *p, family_state *f, km_ts now) {
  const observation *server = any_answered(p, f);
  bool full = f->depth == KM_NAT_FULL;
  f->discovery = find_discovery(p, f);
  f->stage = TESTING;
  if (f->discovery >= 0 && (full || f->result.mapping == KM_NAT_MAPPING_UNKNOWN)) {
    ask_alternate(p, f, ALT_IP, now);
    ask_alternate(p, f, ALT_IP_PORT, now);
    ask_alternate(p, f, ALT_PORT, now);
  }
  if (full) {
    ask_second(p, f, f->discovery >= 0 ? &p->servers[f->discovery].addr : &server->addr, now);
  }
}

static void end_asking(km_nat_probe *p, family_state *f, km_ts now) {
  if (any_answered(p, f) == NULL && f->depth == KM_NAT_REFRESH) {
    begin(p, f, KM_NAT_QUICK, now);
    return;
  }
  if (any_answered(p, f) == NULL) {
    nothing_answered(p, f);
    f->stage = RESTING;
  } else if (f->depth == KM_NAT_REFRESH) {
    f->stage = RESTING;
  } else {
    begin_tests(p, f, now);
  }
}

static void advance(km_nat_probe *p, family_state *f, km_ts now) {
  if (f->stage == ASKING && (now >= f->give_up || !asking_waits(p, f))) {
    end_asking(p, f, now);
  }
  if (f->stage == TESTING && !tests_wait(p, f)) {
    conclude_mapping(p, f);
    if (f->depth == KM_NAT_FULL) {
      conclude_tests(p, f);
    }
    f->stage = RESTING;
  }
}

/* Deepening asks all again: what was asked moments ago is under way, and is not asked twice. */
void km_nat_probe_start(km_nat_probe *p, km_nat_depth depth, uint64_t patience_ns, km_ts now) {
  p->patience_ns = patience_ns;
  for (size_t i = 0; i < 2; i++) {
    family_state *f = &p->families[i];
    if (f->stage == RESTING || depth > f->depth) {
      cancel_tests(p, f);
      begin(p, f, depth, now);
      advance(p, f, now);
    }
  }
}

bool km_nat_probe_busy(const km_nat_probe *p) {
  return p->families[0].stage != RESTING || p->families[1].stage != RESTING;
}

/* --- events ----------------------------------------------------------------------------------- */

static void on_server(km_nat_probe *p, size_t i, const km_stun_done *d, km_ts now) {
  observation *o = &p->servers[i];
  family_state *f = &p->families[o->addr.family == 4 ? 0 : 1];
  if (d->code != 0 || !km_nat_answer_plausible(&o->addr, &d->mapped, p->own, p->own_count)) {
    o->mapped = o->other = (km_udp_addr){0};
    return;
  }
  bool news = !km_udp_addr_equal(&o->mapped, &d->mapped);
  bool first = any_answered(p, f) == NULL;
  o->mapped = d->mapped;
  o->other = (km_udp_addr){0};
  if (d->other.family != 0 && km_nat_other_plausible(&o->addr, &d->other)) {
    o->other = d->other;
  }
  o->rtt_ns = d->rtt_ns;
  o->at = p->answered = now;
  o->answered = true;
  if (first && f->stage == ASKING) {
    uint64_t more = 4 * d->rtt_ns > OTHERS_NS ? 4 * d->rtt_ns : OTHERS_NS;
    f->give_up = now + more;
  }
  p->changes += news;
  km_nat_mapping was = f->result.mapping;
  conclude_mapping(p, f);
  p->changes += was != f->result.mapping;
  if (news && f->stage == ASKING && f->depth == KM_NAT_REFRESH) {
    f->result.mapping = KM_NAT_MAPPING_UNKNOWN;
    f->result.filtering = KM_NAT_FILTERING_UNKNOWN;
    f->result.hairpin = KM_NET_UNKNOWN;
    begin(p, f, KM_NAT_QUICK, now);
  }
}

static void on_alternate(km_nat_probe *p, family_state *f, observation *o, const km_stun_done *d,
                         km_ts now) {
  if (d->code == 0 && km_nat_answer_plausible(&o->addr, &d->mapped, p->own, p->own_count)) {
    o->mapped = d->mapped;
    o->at = now;
    o->answered = true;
    km_nat_mapping was = f->result.mapping;
    conclude_mapping(p, f);
    p->changes += was != f->result.mapping;
  }
}

static void on_second(km_nat_probe *p, family_state *f, const km_stun_done *d, km_ts now) {
  if (d->code != 0 ||
      !km_nat_answer_plausible(&f->second_server, &d->mapped, p->own, p->own_count)) {
    return;
  }
  f->second = d->mapped;
  if (f->discovery >= 0) {
    ask_filter(p, f, ASK_FILTER_BOTH, now);
    ask_filter(p, f, ASK_FILTER_PORT, now);
  }
  if (f->result.mapping != KM_NAT_MAPPING_NONE && f->second.family == f->family &&
      f->result.mapped.family == f->family) {
    ask_hairpin(p, f, now);
  }
}

static void on_test(km_nat_probe *p, family_state *f, purpose what, const km_stun_done *d,
                    km_ts now) {
  switch (what) {
  case ASK_SECOND:
    on_second(p, f, d, now);
    break;
  case ASK_FILTER_BOTH:
  case ASK_FILTER_PORT:
    f->filter_void = f->filter_void || (d->code != 0 && d->code != KM_ERR_TIMEOUT);
    f->filter_both = f->filter_both || (what == ASK_FILTER_BOTH && d->code == 0);
    f->filter_port = f->filter_port || (what == ASK_FILTER_PORT && d->code == 0);
    break;
  case ASK_HAIRPIN_OUT:
  case ASK_HAIRPIN_IN:
    f->hairpin = f->hairpin || d->code == 0;
    break;
  case ASK_SERVER:
  case ASK_ALTERNATE:
    break;
  }
}

static void settle(km_nat_probe *p, km_ts now) {
  km_stun_done d;
  while (km_stun_client_take(&p->client, &d)) {
    purpose what = (purpose)(d.tag >> 16);
    size_t whom = d.tag & 0xffff;
    if (what == ASK_SERVER) {
      on_server(p, whom, &d, now);
    } else if (what == ASK_ALTERNATE) {
      family_state *f = &p->families[whom / ALTERNATES];
      on_alternate(p, f, &f->alt[whom % ALTERNATES], &d, now);
    } else {
      on_test(p, &p->families[whom], what, &d, now);
    }
  }
  advance(p, &p->families[0], now);
  advance(p, &p->families[1], now);
}

bool km_nat_probe_pull(km_nat_probe *p, km_ts now, km_stun_out *ret) {
  for (;;) {
    if (km_stun_client_pull(&p->client, now, ret)) {
      return true;
    }
    /* Giving a server up may end a stage, and the next one has something to send. */
    settle(p, now);
    if (km_stun_client_deadline(&p->client) > now) {
      return false;
    }
  }
}

bool km_nat_probe_receive(km_nat_probe *p, km_ts now, uint8_t socket, const km_udp_addr *from,
                          const uint8_t *data, size_t len) {
  if (!km_stun_client_receive(&p->client, now, socket, from, data, len)) {
    return false;
  }
  settle(p, now);
  return true;
}

km_ts km_nat_probe_deadline(const km_nat_probe *p) {
  km_ts next = km_stun_client_deadline(&p->client);
  for (size_t i = 0; i < 2; i++) {
    const family_state *f = &p->families[i];
    next = f->stage == ASKING && f->give_up < next ? f->give_up : next;
  }
  return next;
}

/* --- answers ---------------------------------------------------------------------------------- */

uint32_t km_nat_probe_changes(const km_nat_probe *p) {
  return p->changes;
}

km_ts km_nat_probe_answered(const km_nat_probe *p) {
  return p->answered;
}

size_t km_nat_probe_reflexive(const km_nat_probe *p, km_ts now, km_udp_addr *ret, size_t cap) {
  size_t count = 0;
  cap = cap < KM_NAT_MAX_REFLEXIVE ? cap : KM_NAT_MAX_REFLEXIVE;
  for (size_t i = 0; i < p->server_count && count < cap; i++) {
    const observation *o = &p->servers[i];
    bool known = o->mapped.family == 0 || now - o->at > KM_NAT_FRESH;
    for (size_t k = 0; !known && k < count; k++) {
      known = km_udp_addr_equal(&ret[k], &o->mapped);
    }
    if (!known) {
      ret[count++] = o->mapped;
    }
  }
  return count;
}

void km_nat_probe_info(const km_nat_probe *p, km_nat_info *ret) {
  const km_nat_family *four = &p->families[0].result, *six = &p->families[1].result;
  *ret = (km_nat_info){.mapping4 = (uint8_t)four->mapping,
                       .mapping6 = (uint8_t)six->mapping,
                       .filtering4 = (uint8_t)four->filtering,
                       .filtering6 = (uint8_t)six->filtering,
                       .port_step = four->port_step};
}

const km_nat_family *km_nat_probe_family(const km_nat_probe *p, uint8_t family) {
  return &p->families[family == 4 ? 0 : 1].result;
}

size_t km_nat_probe_servers(const km_nat_probe *p, km_nat_server *ret, size_t cap) {
  size_t count = p->server_count < cap ? p->server_count : cap;
  for (size_t i = 0; i < count; i++) {
    const observation *o = &p->servers[i];
    ret[i] = (km_nat_server){.addr = o->addr, .mapped = o->mapped, .rtt_ns = o->rtt_ns};
  }
  return count;
}
