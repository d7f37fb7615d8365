/* TXT records of name servers, asked by c-ares on our loop. c-ares connects its UDP sockets, so
 * that the kernel drops what comes from elsewhere, and looks at id, question and cookie (RFC 7873)
 * of what is left; letters of mixed case in questions would add to that, but not all servers repeat
 * them. What is forged all the same is a hint like any other: the peer has to prove its key. */
#include "discovery/dns_source_io.h"

#include <ares.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "base/list.h"
#include "discovery/discovery_impl.h"
#include "discovery/dns_answer.h"
#include "discovery/dns_cache.h"
#include "discovery/dns_retry.h"
#include "discovery/txt.h"

enum {
  ORIGINS_MAX = 8,
  SERVERS_MAX = 8,
  TIMEOUT_MS = 10000,
  SERVER_MS = 1000, /* until another server is asked; c-ares learns how fast they are */
  SERVER_MAX_MS = 3000,
  ROUNDS = 2,
  PER_SOCKET = 16, /* fresh ports are harder to guess */
  UDP_BYTES = 1232 /* EDNS; DNS flag day 2020 */
};
#define RECORD_GRACE KM_NS_PER_S /* how long a look-up waits for nothing but a key name record */
#define RESOLV_CONF "/etc/resolv.conf"

typedef struct answer {
  uint8_t *bytes; /* a DNS message; NULL: none */
  size_t len;
  uint32_t age_s;
} answer;

/* A look-up under one origin. */
typedef struct part {
  km_dns_retry retry;
  bool begun;
  bool over; /* of the attributes */
  bool found;
  bool record_asked, record_over;
  bool told_record;
  km_ts over_at;
  answer main, record;
  km_errinfo why;
} part;

struct dns_source;

typedef struct lookup {
  struct dns_source *s;
  km_list node;
  km_list attempts;
  km_query *query;
  km_id id;
  part parts[ORIGINS_MAX];
} lookup;

/* A question that c-ares has, or its answer. */
typedef struct attempt {
  struct dns_source *s;
  lookup *l;       /* NULL: nobody waits for it any more */
  km_list node;    /* of the look-up's attempts */
  km_list pending; /* of the source's answered ones */
  km_id id;
  size_t origin;
  bool record;
  char name[KM_TXT_NAME_CAP];
  ares_status_t status;
  answer answer;
} attempt;

typedef struct sock {
  struct dns_source *s;
  struct sock *next;
  ares_socket_t fd;
  km_poll *poll;
} sock;

typedef struct dns_source {
  const km_env *env;
  km_loop *loop;
  char origins[ORIGINS_MAX][KM_TXT_NAME_CAP];
  size_t origin_count;
  uint64_t timeout_ns;
  ares_channel_t *channel;
  char *resolv_conf; /* NULL: the servers were given */
  struct stat read;  /* the file when it was read last */
  sock *socks;
  km_deadline *timer;
  km_defer *later;
  km_list lookups;
  km_list answered;
  unsigned in_flight;
  km_dns_cache cache;
} dns_source;

/* --- c-ares on the loop ---------------------------------------------------------------------- */

static void on_ready(void *ctx, int events) {
  sock *k = ctx;
  dns_source *s = k->s;
  ares_socket_t fd = k->fd;
  km_defer_run(s->later);
  ares_process_fd(s->channel, (events & KM_POLL_READ) != 0 ? fd : ARES_SOCKET_BAD,
                  (events & KM_POLL_WRITE) != 0 ? fd : ARES_SOCKET_BAD);
}

static void close_sock(dns_source *s, sock **at) {
  sock *k = *at;
  *at = k->next;
  km_poll_free(k->poll);
  km_env_free(s->env, k);
}

static sock **find_sock(dns_source *s, ares_socket_t fd) {
  sock **at = &s->socks;
  while (*at != NULL && (*at)->fd != fd) {
    at = &(*at)->next;
  }
  return at;
}

/* A socket that cannot be watched stays silent; what was sent on it is repeated. */
static void on_sock_state(void *ctx, ares_socket_t fd, int readable, int writable) {
  dns_source *s = ctx;
  sock **at = find_sock(s, fd);
  int events = (readable ? KM_POLL_READ : 0) | (writable ? KM_POLL_WRITE : 0);
  if (*at == NULL && events != 0) {
    sock *k = km_env_zalloc(s->env, 1, sizeof *k);
    if (k == NULL) {
      return;
    }
    k->s = s;
    k->fd = fd;
    if (km_poll_new(&k->poll, s->loop, fd, on_ready, k) != 0) {
      km_env_free(s->env, k);
      return;
    }
    *at = k;
  }
  if (*at != NULL && (events == 0 || km_poll_set((*at)->poll, events) != 0)) {
    close_sock(s, at);
  }
}

/* --- servers --------------------------------------------------------------------------------- */

static int open_channel(ares_channel_t **ret, dns_source *s) {
  struct ares_options options = {
      .flags = ARES_FLAG_EDNS | ARES_FLAG_NOALIASES,
      .timeout = SERVER_MS,
      .maxtimeout = SERVER_MAX_MS,
      .tries = ROUNDS,
      .udp_max_queries = PER_SOCKET,
      .ednspsz = UDP_BYTES,
      .qcache_max_ttl = 0, /* ours forgets sooner that there was nothing */
      .sock_state_cb = on_sock_state,
      .sock_state_cb_data = s,
      .resolvconf_path = s->resolv_conf,
  };
  int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_MAXTIMEOUTMS | ARES_OPT_TRIES |
             ARES_OPT_UDP_MAX_QUERIES | ARES_OPT_EDNSPSZ | ARES_OPT_QUERY_CACHE |
             ARES_OPT_SOCK_STATE_CB | (s->resolv_conf != NULL ? ARES_OPT_RESOLVCONF : 0);
  return ares_init_options(ret, &options, mask);
}

/* c-ares' own way to read its configuration again takes a thread, which would call us. */
static void follow_resolv_conf(dns_source *s) {
  struct stat now = {0};
  ares_channel_t *fresh = NULL;
  if (s->resolv_conf == NULL || stat(s->resolv_conf, &now) != 0 ||
      (now.st_mtim.tv_sec == s->read.st_mtim.tv_sec &&
       now.st_mtim.tv_nsec == s->read.st_mtim.tv_nsec && now.st_ino == s->read.st_ino &&
       now.st_size == s->read.st_size)) {
    return;
  }
  if (open_channel(&fresh, s) != ARES_SUCCESS) {
    return; /* with the next look-up */
  }
  char *servers = ares_get_servers_csv(fresh);
  if (servers != NULL && ares_set_servers_ports_csv(s->channel, servers) == ARES_SUCCESS) {
    s->read = now;
    km_dns_cache_clear(&s->cache); /* another network may have other names */
    KM_LOG(&s->env->logger, KM_LOG_INFO, KM_LOGC_DISCOVERY, NULL, NULL, "dns-servers", "servers=%s",
           servers);
  }
  ares_free_string(servers);
  ares_destroy(fresh);
}

/* --- questions ------------------------------------------------------------------------------- */

static void free_attempt(attempt *a) {
  km_list_remove(&a->node);
  km_list_remove(&a->pending);
  km_env_free(a->s->env, a->answer.bytes);
  km_env_free(a->s->env, a);
}

static bool is_absent(ares_status_t status) {
  return status == ARES_ENOTFOUND || status == ARES_ENODATA;
}

/* Copies what came, and remembers it if it is of use. */
static void keep(attempt *a, const ares_dns_record_t *record) {
  dns_source *s = a->s;
  km_ts now = km_loop_now(s->loop);
  unsigned char *bytes = NULL;
  size_t len = 0;
  if (is_absent(a->status) && record != NULL) {
    km_dns_cache_put(&s->cache, a->name, NULL, 0, km_dns_answer_ttl(record, true), now);
  } else if (a->status == ARES_SUCCESS) {
    a->status = ares_dns_write(record, &bytes, &len);
    a->answer.bytes = a->status == ARES_SUCCESS ? km_env_alloc(s->env, len) : NULL;
    if (a->answer.bytes != NULL) {
      memcpy(a->answer.bytes, bytes, len);
      a->answer.len = len;
      bool says = km_dns_answer_says(s->env, &a->id, bytes, len, s->origins[a->origin]);
      km_dns_cache_put(&s->cache, a->name, says ? bytes : NULL, says ? len : 0,
                       km_dns_answer_ttl(record, false), now); /* useless: as if it was not there */
    } else if (a->status == ARES_SUCCESS) {
      a->status = ARES_ENOMEM;
    }
    ares_free_string(bytes);
  }
}

/* Also from inside of ares_query_dnsrec, hence the detour. */
static void on_answer(void *ctx, ares_status_t status, size_t timeouts,
                      const ares_dns_record_t *record) {
  (void)timeouts;
  attempt *a = ctx;
  dns_source *s = a->s;
  a->status = status;
  s->in_flight--;
  if (status == ARES_EDESTRUCTION) {
    free_attempt(a);
    return;
  }
  keep(a, record);
  km_list_append(&s->answered, &a->pending);
  km_defer_run(s->later);
}

static const char *origin_text(const dns_source *s, size_t origin) {
  return s->origins[origin][0] != '\0' ? s->origins[origin] : ".";
}

/* False: no memory. */
static bool ask(lookup *l, size_t origin, bool record) {
  dns_source *s = l->s;
  attempt *a = km_env_zalloc(s->env, 1, sizeof *a);
  if (a == NULL) {
    return false;
  }
  a->s = s;
  a->l = l;
  a->id = l->id;
  a->origin = origin;
  a->record = record;
  km_list_init(&a->node);
  km_list_init(&a->pending);
  /* The origin was tried when it was given to us. */
  (void)!km_txt_name(a->name, record ? KM_RECORD_TXT_NAME : KM_TXT_NAME, &l->id,
                     s->origins[origin]);
  km_list_append(&l->attempts, &a->node);
  s->in_flight++;
  (void)ares_query_dnsrec(s->channel, a->name, ARES_CLASS_IN, ARES_REC_TYPE_TXT, on_answer, a,
                          NULL); /* what fails is said to on_answer */
  return true;
}

/* --- answers --------------------------------------------------------------------------------- */

static void end_part(part *p, km_ts now) {
  p->over = true;
  p->over_at = now;
}

/* What both answers say together, each being the truth of its own name. */
static int tell(lookup *l, size_t origin, bool *ret_any, km_errinfo *err) {
  dns_source *s = l->s;
  part *p = &l->parts[origin];
  km_details details;
  km_found found;
  *ret_any = false;
  if (km_details_init(&details, s->env, &l->id) != 0) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rv = 0;
  if (p->main.bytes != NULL) {
    rv = km_txt_read(&details, p->main.bytes, p->main.len, s->origins[origin], err);
  }
  if (rv == 0 && p->record.bytes != NULL) {
    rv = km_txt_read(&details, p->record.bytes, p->record.len, s->origins[origin], err);
  }
  if (rv == 0 && (details.any || details.record_len > 0)) {
    uint32_t age = p->main.age_s > p->record.age_s ? p->main.age_s : p->record.age_s;
    km_details_found(&details, &found);
    found.valid_s = details.ttl_s > age ? details.ttl_s - age : details.ttl_s > 0;
    found.age_s = age;
    *ret_any = true;
    p->found = true;
    km_query_found(l->query, &found);
  }
  km_details_clear(&details);
  return rv;
}

static void take(answer *to, answer *from) {
  *to = *from;
  *from = (answer){0};
}

static void drop_answer(dns_source *s, answer *a) {
  km_env_free(s->env, a->bytes);
  *a = (answer){0};
}

static void not_there(lookup *l, size_t origin, km_ts now) {
  part *p = &l->parts[origin];
  (void)km_fail(&p->why, KM_ERR_NOT_FOUND, "%.100s has no record of it", origin_text(l->s, origin));
  end_part(p, now);
}

/* The attributes came. False: they are of no use, and other attempts may do better. */
static bool take_main(lookup *l, size_t origin, answer *from, km_ts now) {
  part *p = &l->parts[origin];
  bool any = false;
  take(&p->main, from);
  if (tell(l, origin, &any, &p->why) != 0) {
    drop_answer(l->s, &p->main);
    return false;
  }
  if (any) {
    end_part(p, now);
  } else {
    not_there(l, origin, now);
  }
  return true;
}

static void on_main(attempt *a, km_ts now) {
  lookup *l = a->l;
  part *p = &l->parts[a->origin];
  if (p->over) {
    return;
  }
  if (is_absent(a->status)) {
    not_there(l, a->origin, now);
    return;
  }
  if (a->status == ARES_SUCCESS && take_main(l, a->origin, &a->answer, now)) {
    return;
  }
  if (a->status != ARES_SUCCESS) {
    (void)km_fail(&p->why, a->status == ARES_ETIMEOUT ? KM_ERR_TIMEOUT : KM_ERR_DNS,
                  "no answer about %.80s: %s", origin_text(l->s, a->origin),
                  ares_strerror((int)a->status));
  }
  km_dns_retry_failed(&p->retry);
}

/* It is told along with the attributes, or, where they were told already, together with them once
 * more. */
static void tell_record(lookup *l, size_t origin) {
  part *p = &l->parts[origin];
  bool any;
  km_errinfo err;
  if (p->over && p->record.bytes != NULL && !p->told_record) {
    p->told_record = true;
    (void)tell(l, origin, &any, &err); /* an extra: its failure is none */
  }
}

static void on_record(attempt *a) {
  part *p = &a->l->parts[a->origin];
  p->record_over = true;
  if (a->status == ARES_SUCCESS) {
    take(&p->record, &a->answer);
    tell_record(a->l, a->origin);
  }
}

static void absorb(dns_source *s, km_ts now) {
  while (!km_list_empty(&s->answered)) {
    attempt *a = KM_LIST_ITEM(s->answered.next, attempt, pending);
    km_list_remove(&a->pending);
    if (a->l != NULL && a->record) {
      on_record(a);
    } else if (a->l != NULL) {
      on_main(a, now);
    }
    free_attempt(a);
  }
}

/* --- look-ups -------------------------------------------------------------------------------- */

static void free_lookup(lookup *l) {
  dns_source *s = l->s;
  for (km_list *n = l->attempts.next, *next; n != &l->attempts; n = next) {
    next = n->next;
    KM_LIST_ITEM(n, attempt, node)->l = NULL;
    km_list_remove(n);
  }
  km_list_remove(&l->node);
  for (size_t i = 0; i < s->origin_count; i++) {
    drop_answer(s, &l->parts[i].main);
    drop_answer(s, &l->parts[i].record);
  }
  km_env_free(s->env, l);
}

static bool copy_cached(dns_source *s, answer *ret, const km_dns_cached *e, km_ts now) {
  ret->bytes = km_env_alloc(s->env, e->len);
  if (ret->bytes == NULL) {
    return false;
  }
  memcpy(ret->bytes, e->bytes, e->len);
  ret->len = e->len;
  ret->age_s = (uint32_t)((now - e->since) / KM_NS_PER_S);
  return true;
}

/* What is known already of both names. */
static void try_cache(lookup *l, size_t origin, km_ts now) {
  dns_source *s = l->s;
  part *p = &l->parts[origin];
  char name[KM_TXT_NAME_CAP];
  answer main = {0};
  const km_dns_cached *e = NULL;
  if (km_txt_name(name, KM_RECORD_TXT_NAME, &l->id, s->origins[origin]) == 0 &&
      (e = km_dns_cache_get(&s->cache, name, now)) != NULL) {
    p->record_asked = p->record_over = e->bytes == NULL || copy_cached(s, &p->record, e, now);
  }
  if (km_txt_name(name, KM_TXT_NAME, &l->id, s->origins[origin]) != 0 ||
      (e = km_dns_cache_get(&s->cache, name, now)) == NULL) {
    return;
  }
  if (e->bytes == NULL) {
    not_there(l, origin, now);
  } else if (copy_cached(s, &main, e, now)) {
    p->told_record = p->record.bytes != NULL;
    (void)take_main(l, origin, &main, now);
    drop_answer(s, &main);
  }
}

static void time_out(lookup *l, size_t origin, km_ts now) {
  part *p = &l->parts[origin];
  if (p->why.code == 0) {
    (void)km_fail(&p->why, KM_ERR_TIMEOUT, "the name servers gave no answer about %.80s in time",
                  origin_text(l->s, origin));
  }
  end_part(p, now);
}

static bool has_room(const dns_source *s) {
  return s->in_flight < KM_DNS_IN_FLIGHT;
}

/* Key name records are an extra, which must not keep others from asking at all. */
static bool has_much_room(const dns_source *s) {
  return s->in_flight < KM_DNS_IN_FLIGHT / 2;
}

/* Begins the attempts that are due. Where there is no room a repetition is left out; the first one
 * waits. */
static void ask_main(lookup *l, size_t origin, km_ts now) {
  part *p = &l->parts[origin];
  km_dns_retry_step step;
  while ((step = km_dns_retry_next(&p->retry, now)) == KM_DNS_RETRY_BEGIN) {
    bool room = has_room(l->s);
    if (!room && p->retry.begun == p->retry.failed) {
      return;
    }
    km_dns_retry_begun(&p->retry);
    if (!room) {
      km_dns_retry_failed(&p->retry);
    } else if (!ask(l, origin, false)) {
      (void)km_fail(&p->why, KM_ERR_NOMEM, NULL);
      km_dns_retry_failed(&p->retry);
    }
  }
  if (step == KM_DNS_RETRY_FAILED || step == KM_DNS_RETRY_TIMEOUT) {
    time_out(l, origin, now);
  }
}

static void step_part(lookup *l, size_t origin, km_ts now) {
  part *p = &l->parts[origin];
  if (!p->begun) {
    p->begun = true;
    try_cache(l, origin, now);
  }
  if (!p->over) {
    ask_main(l, origin, now);
  }
  if (!p->record_asked && has_much_room(l->s) && (p->retry.begun > 0 || p->found)) {
    p->record_asked = true;
    p->record_over = !ask(l, origin, true);
  }
  tell_record(l, origin);
}

/* When the part has to be looked at again; `now`: it is over. */
static km_ts wake_of(const part *p, km_ts now) {
  if (!p->over) {
    km_ts at = km_dns_retry_at(&p->retry);
    return at > now ? at : p->retry.ends; /* no room: somebody else's end is awaited */
  }
  if (!p->record_asked || p->record_over || now >= p->over_at + RECORD_GRACE) {
    return now;
  }
  return p->over_at + RECORD_GRACE;
}

/* What says most: that something went wrong rather than that nothing is there. */
static void end_lookup(lookup *l) {
  const km_errinfo *why = NULL;
  bool found = false;
  for (size_t i = 0; i < l->s->origin_count; i++) {
    const part *p = &l->parts[i];
    found = found || p->found;
    if (why == NULL || why->code == KM_ERR_NOT_FOUND) {
      why = &p->why;
    }
  }
  km_errinfo err = found || why == NULL ? (km_errinfo){0} : *why;
  km_query *query = l->query;
  free_lookup(l);
  km_query_done(query, found ? NULL : &err);
}

/* Returns when to look again. */
static km_ts step(lookup *l, km_ts now) {
  km_ts wake = KM_TS_NEVER;
  bool over = true;
  for (size_t i = 0; i < l->s->origin_count; i++) {
    step_part(l, i, now);
    km_ts at = wake_of(&l->parts[i], now);
    over = over && at == now;
    wake = at != now && at < wake ? at : wake;
  }
  if (over) {
    end_lookup(l);
  }
  return wake;
}

static km_ts ares_wake(dns_source *s, km_ts now) {
  struct timeval tv;
  if (ares_timeout(s->channel, NULL, &tv) == NULL) {
    return KM_TS_NEVER;
  }
  return now + (km_ts)tv.tv_sec * KM_NS_PER_S + (km_ts)tv.tv_usec * 1000 + KM_NS_PER_MS;
}

static void on_later(void *ctx) {
  dns_source *s = ctx;
  km_ts now = km_loop_now(s->loop);
  km_ts wake = KM_TS_NEVER;
  absorb(s, now);
  for (km_list *n = s->lookups.next, *next; n != &s->lookups; n = next) {
    next = n->next;
    km_ts at = step(KM_LIST_ITEM(n, lookup, node), now);
    wake = at < wake ? at : wake;
  }
  km_ts of_ares = ares_wake(s, now);
  km_deadline_set(s->timer, of_ares < wake ? of_ares : wake);
}

static void on_timer(void *ctx) {
  dns_source *s = ctx;
  ares_process_fd(s->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  km_defer_run(s->later);
}

/* --- the source ------------------------------------------------------------------------------ */

static void resolve(void *ctx, km_query *query, const km_id *id) {
  dns_source *s = ctx;
  lookup *l = km_env_zalloc(s->env, 1, sizeof *l);
  if (l == NULL) {
    km_errinfo err;
    (void)km_fail(&err, KM_ERR_NOMEM, NULL);
    km_query_done(query, &err);
    return;
  }
  follow_resolv_conf(s);
  km_ts now = km_loop_now(s->loop);
  l->s = s;
  l->query = query;
  l->id = *id;
  km_list_init(&l->node);
  km_list_init(&l->attempts);
  for (size_t i = 0; i < s->origin_count; i++) {
    km_dns_retry_init(&l->parts[i].retry, s->env, now, s->timeout_ns);
  }
  km_query_set_data(query, l);
  km_list_append(&s->lookups, &l->node);
  km_defer_run(s->later);
}

static void cancel(void *ctx, km_query *query) {
  dns_source *s = ctx;
  free_lookup(km_query_data(query));
  km_defer_run(s->later);
}

static void close_source(void *ctx) {
  dns_source *s = ctx;
  while (!km_list_empty(&s->lookups)) {
    free_lookup(KM_LIST_ITEM(s->lookups.next, lookup, node));
  }
  ares_destroy(s->channel); /* ends all questions */
  while (!km_list_empty(&s->answered)) {
    free_attempt(KM_LIST_ITEM(s->answered.next, attempt, pending));
  }
  while (s->socks != NULL) {
    close_sock(s, &s->socks);
  }
  km_dns_cache_clear(&s->cache);
  km_defer_free(s->later);
  km_deadline_free(s->timer);
  km_env_free(s->env, s->resolv_conf);
  km_env_free(s->env, s);
}

static const km_source_ops ops = {
    .size = sizeof ops, .name = "dns", .resolve = resolve, .cancel = cancel, .close = close_source};

/* --- options --------------------------------------------------------------------------------- */

static int take_origin(dns_source *s, const char *text, km_errinfo *err) {
  const km_id nobody = {{0}};
  char name[KM_TXT_NAME_CAP];
  size_t len = text != NULL ? strlen(text) : 0;
  if (len == 0 || strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "-_.") != len) {
    return km_fail(err, KM_ERR_INVALID, "not a domain to ask under: \"%.100s\"",
                   text != NULL ? text : "");
  }
  len -= text[len - 1] == '.';
  char *origin = s->origins[s->origin_count];
  if (len >= sizeof s->origins[0]) {
    return km_fail(err, KM_ERR_INVALID, "the domain %.100s... is too long", text);
  }
  memcpy(origin, text, len);
  origin[len] = '\0';
  if (km_txt_name(name, KM_RECORD_TXT_NAME, &nobody, origin) != 0) {
    return km_fail(err, KM_ERR_INVALID, "names below %.100s are not possible", text);
  }
  s->origin_count++;
  return 0;
}

static int take_origins(dns_source *s, const km_dns_options *o, km_errinfo *err) {
  if (o->origin_count > ORIGINS_MAX) {
    return km_fail(err, KM_ERR_LIMIT, "at most %d domains to ask under", ORIGINS_MAX);
  }
  if (o->origin_count == 0) {
    return take_origin(s, KM_DNS_ORIGIN_IROH, err);
  }
  int rv = 0;
  for (size_t i = 0; i < o->origin_count && rv == 0; i++) {
    rv = take_origin(s, o->origins[i], err);
  }
  return rv;
}

static bool read_form(km_udp_addr *ret, const char *before, const char *text, const char *after) {
  char whole[KM_UDP_ADDR_TEXT_CAP];
  int len = snprintf(whole, sizeof whole, "%s%s%s", before, text, after);
  return (size_t)len < sizeof whole && km_udp_addr_parse(ret, whole, (size_t)len, NULL) == 0 &&
         ret->port != 0;
}

static int read_server(km_udp_addr *ret, const char *text, km_errinfo *err) {
  if (text != NULL && (read_form(ret, "", text, "") || read_form(ret, "", text, ":53") ||
                       read_form(ret, "[", text, "]:53"))) {
    return 0;
  }
  return km_fail(err, KM_ERR_INVALID, "not the address of a name server: \"%.60s\"",
                 text != NULL ? text : "");
}

/* c-ares wants "[fe80::1]:53%eth0". */
static size_t write_server(char *ret, size_t cap, const km_udp_addr *server) {
  char text[KM_UDP_ADDR_TEXT_CAP], interface[IF_NAMESIZE] = "";
  km_udp_addr plain = *server;
  plain.scope_id = 0;
  (void)km_udp_addr_format(&plain, text, sizeof text);
  bool scoped = server->scope_id != 0 && if_indextoname(server->scope_id, interface) != NULL;
  return (size_t)snprintf(ret, cap, "%s%s%s", text, scoped ? "%" : "", interface);
}

static int take_servers(dns_source *s, const km_dns_options *o, km_errinfo *err) {
  char csv[SERVERS_MAX * (KM_UDP_ADDR_TEXT_CAP + IF_NAMESIZE + 2)] = "";
  size_t len = 0;
  if (o->server_count > SERVERS_MAX) {
    return km_fail(err, KM_ERR_LIMIT, "at most %d name servers", SERVERS_MAX);
  }
  for (size_t i = 0; i < o->server_count; i++) {
    km_udp_addr server = {.family = 0};
    int rv = read_server(&server, o->servers[i], err);
    if (rv != 0) {
      return rv;
    }
    if (i > 0) {
      csv[len++] = ',';
    }
    len += write_server(csv + len, sizeof csv - len, &server);
  }
  int rv = o->server_count > 0 ? ares_set_servers_ports_csv(s->channel, csv) : ARES_SUCCESS;
  if (rv != ARES_SUCCESS) {
    return km_fail(err, KM_ERR_INVALID, "name servers %.100s: %s", csv, ares_strerror(rv));
  }
  return 0;
}

static int set_up(dns_source *s, const km_dns_options *o, const char *resolv_conf,
                  km_errinfo *err) {
  s->timeout_ns = (o->timeout_ms != 0 ? o->timeout_ms : TIMEOUT_MS) * KM_NS_PER_MS;
  if (o->server_count == 0) {
    s->resolv_conf = km_env_strdup(s->env, resolv_conf != NULL ? resolv_conf : RESOLV_CONF);
    if (s->resolv_conf == NULL) {
      return km_fail(err, KM_ERR_NOMEM, NULL);
    }
    (void)stat(s->resolv_conf, &s->read); /* without one c-ares asks this machine */
  }
  int rv = km_deadline_new(&s->timer, s->loop, on_timer, s);
  rv = rv == 0 ? km_defer_new(&s->later, s->loop, on_later, s) : rv;
  if (rv != 0) {
    return km_fail(err, rv, NULL);
  }
  int status = open_channel(&s->channel, s);
  if (status != ARES_SUCCESS) {
    s->channel = NULL;
    return status == ARES_ENOMEM ? km_fail(err, KM_ERR_NOMEM, NULL)
                                 : km_fail(err, KM_ERR_SYSTEM, "c-ares: %s", ares_strerror(status));
  }
  rv = take_origins(s, o, err);
  return rv == 0 ? take_servers(s, o, err) : rv;
}

int km_dns_source_add(km_discovery *d, const km_dns_options *options, const char *resolv_conf,
                      km_errinfo *err) {
  km_dns_options o = {.size = sizeof o};
  if (d == NULL) {
    return km_fail(err, KM_ERR_INVALID, "a km_discovery is needed");
  }
  if (options != NULL) {
    if (options->size < sizeof options->size) {
      return km_fail(err, KM_ERR_INVALID, "km_dns_options.size is not set");
    }
    memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
  }
  const km_env *env = km_discovery_env(d);
  dns_source *s = km_env_zalloc(env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->env = env;
  s->loop = km_discovery_loop(d);
  km_list_init(&s->lookups);
  km_list_init(&s->answered);
  km_dns_cache_init(&s->cache, env);
  int rv = set_up(s, &o, resolv_conf, err);
  rv = rv == 0 ? km_discovery_add(d, NULL, &ops, s, err) : rv;
  if (rv != 0) {
    close_source(s);
  }
  return rv;
}

int km_discovery_add_dns(km_discovery *d, const km_dns_options *options, km_errinfo *err) {
  return km_dns_source_add(d, options, NULL, err);
}
