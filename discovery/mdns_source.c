#include "discovery/mdns_source.h"

#include "base/list.h"
#include "discovery/mdns_sign.h"

#define PATIENCE (10 * KM_NS_PER_S)

/* A look-up, between resolve and its end; the query's data. */
typedef struct looked_for {
  km_list node;
  km_query *query;
  km_id id;
  km_ts end;
} looked_for;

struct km_mdns_source {
  const km_env *env;
  km_mdns *node;
  km_source *source;
  bool watched;
  km_list queries; /* the one that ends first is first */
  void (*send)(void *ctx, uint32_t index, uint8_t family, const km_udp_addr *to,
               const uint8_t *bytes, size_t len);
  uint64_t (*time_ms)(void *ctx, km_wall wall);
  void *ctx;
};

static void forget(km_mdns_source *s, looked_for *q) {
  km_query_set_data(q->query, NULL);
  km_mdns_unwant(s->node, &q->id);
  km_list_remove(&q->node);
  km_env_free(s->env, q);
}

static void end(km_mdns_source *s, looked_for *q) {
  km_query *query = q->query;
  forget(s, q);
  km_query_done(query, NULL);
}

/* --- what the node says --- */

static void on_send(void *ctx, uint32_t index, uint8_t family, const km_udp_addr *to,
                    const uint8_t *bytes, size_t len) {
  const km_mdns_source *s = ctx;
  s->send(s->ctx, index, family, to, bytes, len);
}

static void on_found(void *ctx, const km_found *found, bool changed) {
  km_mdns_source *s = ctx;
  km_list *next;
  for (km_list *at = s->queries.next; at != &s->queries; at = next) {
    looked_for *q = KM_LIST_ITEM(at, looked_for, node);
    next = at->next;
    if (!km_id_equal(&q->id, km_addr_id(found->addr))) {
      continue;
    }
    km_query_found(q->query, found);
    if (found->proven) {
      end(s, q); /* nobody else can say more of it */
    }
  }
  if (changed && s->watched) {
    km_source_found(s->source, found);
  }
}

static void on_lost(void *ctx, const km_id *id) {
  const km_mdns_source *s = ctx;
  if (s->watched) {
    km_source_lost(s->source, id);
  }
}

static uint64_t on_time(void *ctx, km_wall wall) {
  const km_mdns_source *s = ctx;
  return s->time_ms != NULL ? s->time_ms(s->ctx, wall) : km_mdns_time(wall);
}

static const km_mdns_ops ops = {
    .send = on_send, .found = on_found, .lost = on_lost, .time_ms = on_time};

/* --- making and freeing --- */

int km_mdns_source_new(km_mdns_source **ret, const km_mdns_source_config *config, km_ts now,
                       km_errinfo *err) {
  km_mdns_source *s = km_env_zalloc(config->env, 1, sizeof *s);
  if (s == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  s->env = config->env;
  s->send = config->send;
  s->time_ms = config->time_ms;
  s->ctx = config->ctx;
  km_list_init(&s->queries);
  km_mdns_config node = {
      .env = config->env, .key = config->key, .options = config->options, .ops = &ops, .ctx = s};
  int rv = km_mdns_new(&s->node, &node, now, err);
  if (rv != 0) {
    km_env_free(s->env, s);
    return rv;
  }
  *ret = s;
  return 0;
}

void km_mdns_source_free(km_mdns_source *s) {
  if (s == NULL) {
    return;
  }
  km_mdns_free(s->node);
  km_env_free(s->env, s);
}

void km_mdns_source_attach(km_mdns_source *s, km_source *source) {
  s->source = source;
}

km_mdns *km_mdns_source_node(km_mdns_source *s) {
  return s->node;
}

/* --- look-ups --- */

static void refuse(km_query *query, int code) {
  km_errinfo err = {0};
  (void)km_fail(&err, code, NULL);
  km_query_done(query, &err);
}

void km_mdns_source_resolve(km_mdns_source *s, km_query *query, const km_id *id, km_ts now) {
  km_found found;
  looked_for *q = km_env_zalloc(s->env, 1, sizeof *q);
  if (q == NULL || km_mdns_want(s->node, id, now) != 0) {
    km_env_free(s->env, q);
    refuse(query, KM_ERR_NOMEM);
    return;
  }
  *q = (looked_for){.query = query, .id = *id, .end = now + PATIENCE};
  km_list_init(&q->node);
  km_list_append(&s->queries, &q->node);
  km_query_set_data(query, q);
  if (km_mdns_get(s->node, id, now, &found)) {
    km_query_found(query, &found); /* it may have moved: it is asked all the same */
  }
}

void km_mdns_source_cancel(km_mdns_source *s, km_query *query) {
  looked_for *q = km_query_data(query);
  if (q != NULL) {
    forget(s, q);
  }
}

void km_mdns_source_watch(km_mdns_source *s, bool on, km_ts now) {
  s->watched = on;
  km_mdns_watch(s->node, on, now);
  if (on) {
    /* Look-ups are not told: they were when they began. */
    km_mdns_tell_all(s->node, now);
  }
}

int km_mdns_source_publish_state(const km_mdns_source *s, size_t index, km_publish_state *ret) {
  if (index != 0) {
    return KM_ERR_NOT_FOUND;
  }
  *ret = (km_publish_state){.size = ret->size,
                            .source = "mdns",
                            .where = "",
                            .wanted = km_mdns_is_wanted(s->node),
                            .done = km_mdns_is_announced(s->node)};
  return 0;
}

/* --- time --- */

static looked_for *first(const km_mdns_source *s) {
  return km_list_empty(&s->queries) ? NULL : KM_LIST_ITEM(s->queries.next, looked_for, node);
}

void km_mdns_source_step(km_mdns_source *s, km_ts now, km_wall wall) {
  km_mdns_step(s->node, now, wall);
  for (looked_for *q = first(s); q != NULL && q->end <= now; q = first(s)) {
    end(s, q);
  }
}

km_ts km_mdns_source_next(const km_mdns_source *s) {
  const looked_for *q = first(s);
  km_ts next = km_mdns_next(s->node);
  return q != NULL && q->end < next ? q->end : next;
}
