#include "mdns_lab.h"

static void draw(void *ctx, void *buf, size_t len) {
  lab *l = (lab *)((char *)ctx - offsetof(lab, t));
  for (size_t i = 0; i < len; i++) {
    l->seed = l->seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    ((uint8_t *)buf)[i] = (uint8_t)(l->seed >> 56);
  }
}

static void on_log(void *ctx, const km_log_entry *entry) {
  lab *l = ctx;
  (void)snprintf(l->log, sizeof l->log, "%s: %s", entry->event, entry->text);
  l->logged_level = entry->level;
  l->logged++;
}

void lab_init(lab *l, uint64_t seed) {
  *l = (lab){.seed = seed, .now = 1000 * S, .wall = {.unix_ns = INT64_C(1700000000) * 1000000000}};
  test_env_init(&l->t);
  l->t.env.random = draw;
  l->t.env.logger = (km_logger){.sink = on_log, .ctx = l};
  memset(&l->t.env.logger.filter, KM_LOG_DEBUG, sizeof l->t.env.logger.filter);
  l->sent = malloc(SENT_MAX * sizeof *l->sent);
  assert_non_null(l->sent);
}

void lab_free(lab *l) {
  for (size_t i = 0; i < l->node_count; i++) {
    km_mdns_free(l->nodes[i].mdns);
    km_secret_key_free(l->nodes[i].key);
  }
  free(l->sent);
  assert_int_equal(l->t.live, 0);
}

static void on_send(void *ctx, uint32_t index, uint8_t family, const km_udp_addr *to,
                    const uint8_t *bytes, size_t len) {
  lab_node *n = ctx;
  lab *l = n->lab;
  assert_int_equal(index, 1);
  assert_true(l->sent_count < SENT_MAX);
  assert_true(len <= 1472);
  lab_sent *s = &l->sent[l->sent_count++];
  *s = (lab_sent){.node = n->index, .at = l->now, .family = family, .multicast = to == NULL};
  s->to = to != NULL ? *to : s->to;
  s->len = len;
  memcpy(s->bytes, bytes, len);
}

static void append(char *list, size_t cap, const char *text) {
  size_t len = strlen(list);
  (void)snprintf(list + len, cap - len, "%s%s", len > 0 ? " " : "", text);
}

static void on_found(void *ctx, const km_found *found, bool changed) {
  lab_node *n = ctx;
  n->found++;
  n->changed += changed ? 1 : 0;
  n->last = *found;
  n->addrs[0] = n->relays[0] = '\0';
  for (size_t i = 0; i < km_addr_udp_count(found->addr); i++) {
    char text[KM_UDP_ADDR_TEXT_CAP];
    (void)km_udp_addr_format(km_addr_udp_at(found->addr, i), text, sizeof text);
    append(n->addrs, sizeof n->addrs, text);
  }
  for (size_t i = 0; i < km_addr_relay_count(found->addr); i++) {
    append(n->relays, sizeof n->relays, km_addr_relay_at(found->addr, i));
  }
  (void)snprintf(n->data, sizeof n->data, "%s", found->user_data != NULL ? found->user_data : "");
}

static void on_lost(void *ctx, const km_id *id) {
  lab_node *n = ctx;
  n->lost++;
  n->last_lost = *id;
}

static const km_mdns_ops ops = {.send = on_send, .found = on_found, .lost = on_lost};

km_secret_key *lab_key(uint8_t n) {
  km_secret_key *key;
  uint8_t seed[KM_SECRET_KEY_BYTES] = {n};
  assert_int_equal(km_secret_key_from_bytes(&key, seed), 0);
  return key;
}

km_id lab_id(uint8_t n) {
  km_secret_key *key = lab_key(n);
  km_id id;
  km_secret_key_id(key, &id);
  km_secret_key_free(key);
  return id;
}

static lab_node *add(lab *l, uint8_t n, const km_mdns_options *options, bool v6) {
  lab_node *node = &l->nodes[l->node_count];
  km_errinfo err = {0};
  *node = (lab_node){.lab = l, .index = l->node_count++, .key = lab_key(n)};
  km_secret_key_id(node->key, &node->id);
  km_mdns_config config = {
      .env = &l->t.env, .key = node->key, .options = options, .ops = &ops, .ctx = node};
  assert_int_equal(km_mdns_new(&node->mdns, &config, l->now, &err), 0);
  km_mdns_link links[2] = {
      {.index = 1,
       .family = 4,
       .net_count = 1,
       .nets = {{.addr = {.family = 4, .ip = {192, 168, 9, n}}, .bits = 24}}},
      {.index = 1,
       .family = 6,
       .net_count = 1,
       .nets = {{.addr = {.family = 6, .ip = {0xfe, 0x80, [15] = n}}, .bits = 64}}}};
  km_mdns_set_links(node->mdns, links, v6 ? 2 : 1, l->now);
  return node;
}

lab_node *lab_add(lab *l, uint8_t n, const km_mdns_options *options) {
  return add(l, n, options, false);
}

lab_node *lab_add_v6(lab *l, uint8_t n, const km_mdns_options *options) {
  return add(l, n, options, true);
}

/* Its address on that link. */
static km_udp_addr own_addr(const lab_node *n, uint8_t family) {
  km_udp_addr addr = n->mdns->links[family == 4 ? 0 : 1].link.nets[0].addr;
  addr.port = KM_MDNS_PORT;
  return addr;
}

static void carry(lab *l, size_t from) {
  for (size_t i = from; i < l->sent_count; i++) {
    lab_sent s = l->sent[i];
    for (size_t k = 0; s.multicast && k < l->node_count; k++) { /* also back to who sent it */
      lab_node *to = &l->nodes[k];
      if (to->mdns == NULL || to->deaf || (s.family == 6 && to->mdns->link_count < 2)) {
        continue;
      }
      km_mdns_arrival a = {
          .index = 1, .from = own_addr(&l->nodes[s.node], s.family), .multicast = true};
      km_mdns_receive(to->mdns, &a, s.bytes, s.len, l->now, l->wall);
    }
  }
}

static void advance(lab *l, km_ts to) {
  l->wall.unix_ns += (int64_t)(to - l->now);
  l->now = to;
}

void lab_run(lab *l, km_ts for_ns) {
  km_ts end = l->now + for_ns;
  for (;;) {
    km_ts next = end;
    for (size_t i = 0; i < l->node_count; i++) {
      km_ts at = l->nodes[i].mdns != NULL ? km_mdns_next(l->nodes[i].mdns) : KM_TS_NEVER;
      next = at < next ? at : next;
    }
    advance(l, next > l->now ? next : l->now);
    size_t from = l->sent_count;
    for (size_t i = 0; i < l->node_count; i++) {
      if (l->nodes[i].mdns != NULL && km_mdns_next(l->nodes[i].mdns) <= l->now) {
        km_mdns_step(l->nodes[i].mdns, l->now, l->wall);
        assert_true(km_mdns_next(l->nodes[i].mdns) > l->now); /* no busy loop */
      }
    }
    carry(l, from);
    if (next >= end) {
      return;
    }
  }
}

void lab_deliver(lab *l, lab_node *to, uint8_t host, uint16_t port, bool multicast,
                 const uint8_t *bytes, size_t len) {
  km_mdns_arrival a = {.index = 1,
                       .from = {.family = 4, .port = port, .ip = {192, 168, 9, host}},
                       .multicast = multicast};
  uint8_t *exact = malloc(len > 0 ? len : 1);
  assert_non_null(exact);
  memcpy(exact, bytes, len);
  km_mdns_receive(to->mdns, &a, exact, len, l->now, l->wall);
  free(exact);
}

void lab_publish(lab_node *n, const char *addrs, const char *relay, const char *data) {
  km_addr *addr;
  char copy[2048], *at;
  assert_int_equal(km_addr_new(&addr, &n->id), 0);
  (void)snprintf(copy, sizeof copy, "%s", addrs);
  for (char *word = strtok_r(copy, " ", &at); word != NULL; word = strtok_r(NULL, " ", &at)) {
    km_udp_addr udp;
    assert_int_equal(km_udp_addr_parse(&udp, word, strlen(word), NULL), 0);
    assert_int_equal(km_addr_add_udp(addr, &udp), 0);
  }
  if (relay != NULL) {
    assert_int_equal(km_addr_add_relay(addr, relay, strlen(relay), NULL), 0);
  }
  km_peer_info info = {.size = sizeof info, .addr = addr, .user_data = data};
  km_mdns_publish(n->mdns, &info, n->lab->now);
  km_addr_free(addr);
}

size_t lab_count(const lab *l, const lab_node *n, size_t from, bool responses) {
  size_t count = 0;
  for (size_t i = from; i < l->sent_count; i++) {
    bool response = (l->sent[i].bytes[2] & 0x80) != 0;
    count += l->sent[i].node == n->index && response == responses ? 1 : 0;
  }
  return count;
}

const lab_sent *lab_last(const lab *l, const lab_node *n, bool response) {
  for (size_t i = l->sent_count; i > 0; i--) {
    const lab_sent *s = &l->sent[i - 1];
    if (s->node == n->index && ((s->bytes[2] & 0x80) != 0) == response) {
      return s;
    }
  }
  return NULL;
}

/* --- packets --- */

void lab_begin(lab_packet *p, bool response) {
  km_mdns_writer_init(&p->w, p->bytes, sizeof p->bytes, 0, response);
}

km_mdns_name lab_service(void) {
  km_mdns_name name;
  assert_true(km_mdns_name_set(&name, KM_MDNS_SERVICE));
  return name;
}

km_mdns_name lab_instance(const km_id *id) {
  char label[KM_ID_TEXT_CAP];
  km_mdns_name name, service = lab_service();
  assert_int_equal(km_id_format(id, KM_ID_BASE32, label, sizeof label), KM_ID_BASE32_LEN);
  assert_true(km_mdns_name_prefix(&name, label, KM_ID_BASE32_LEN, &service));
  return name;
}

km_mdns_name lab_host(const km_id *id, unsigned port) {
  char label[KM_ID_TEXT_CAP], text[128];
  km_mdns_name name;
  (void)km_id_format(id, KM_ID_BASE32, label, sizeof label);
  (void)snprintf(text, sizeof text, "%s-%u.local", label, port);
  assert_true(km_mdns_name_set(&name, text));
  return name;
}

void lab_plain_query(lab_packet *p) {
  km_mdns_name service = lab_service();
  lab_begin(p, false);
  assert_true(km_mdns_write_question(&p->w, &service, KM_MDNS_PTR));
}

static void details(lab_packet *p, const km_id *id, uint8_t host, uint16_t port, uint32_t ttl,
                    const km_secret_key *key, uint64_t time_ms) {
  km_mdns_name instance = lab_instance(id), target = lab_host(id, port);
  km_udp_addr addr = {.family = 4, .port = port, .ip = {192, 168, 9, host}};
  uint8_t txt[KM_MDNS_TXT_MAX];
  km_mdns_details d = {.id = *id, .user_data = {"lab", 3}};
  km_mdns_add_addr(&d, &addr);
  if (key != NULL) {
    km_mdns_sign(&d, key, time_ms);
  }
  size_t len = km_mdns_write_attributes(&d, txt);
  assert_true(km_mdns_write_srv(&p->w, KM_MDNS_ANSWERS, &instance, ttl, port, &target));
  assert_true(km_mdns_write_txt(&p->w, KM_MDNS_ANSWERS, &instance, ttl, txt, len));
  assert_true(km_mdns_write_ip(&p->w, KM_MDNS_ADDITIONALS, &target, ttl, &addr));
}

void lab_iroh(lab_packet *p, const km_id *id, uint8_t host, uint16_t port) {
  lab_begin(p, true);
  details(p, id, host, port, 0, NULL, 0);
}

void lab_sd(lab_packet *p, const km_id *id, uint8_t host, uint16_t port, uint32_t ttl,
            const km_secret_key *key, uint64_t time_ms) {
  km_mdns_name service = lab_service(), instance = lab_instance(id);
  lab_begin(p, true);
  assert_true(km_mdns_write_ptr(&p->w, KM_MDNS_ANSWERS, &service, ttl, &instance));
  details(p, id, host, port, ttl, key, time_ms);
}

void lab_goodbye(lab_packet *p, const km_id *id) {
  km_mdns_name service = lab_service(), instance = lab_instance(id);
  lab_begin(p, true);
  assert_true(km_mdns_write_ptr(&p->w, KM_MDNS_ANSWERS, &service, 0, &instance));
}

unsigned lab_records(const uint8_t *bytes, size_t len, km_mdns_section section, uint16_t type,
                     const km_mdns_name *owner) {
  km_mdns_reader r;
  km_mdns_item item;
  unsigned n = 0;
  assert_true(km_mdns_open(&r, bytes, len));
  while (km_mdns_next_item(&r, &item)) {
    assert_false(item.flag); /* iroh's nodes would not know the class */
    n += item.section == section && item.type == type &&
                 (owner == NULL || km_mdns_name_equal(&item.name, owner))
             ? 1
             : 0;
  }
  assert_false(r.damaged);
  return n;
}

void lab_ttls(const uint8_t *bytes, size_t len, uint32_t *least, uint32_t *most) {
  km_mdns_reader r;
  km_mdns_item item;
  *least = UINT32_MAX;
  *most = 0;
  assert_true(km_mdns_open(&r, bytes, len));
  while (km_mdns_next_item(&r, &item)) {
    if (item.section != KM_MDNS_QUESTIONS) {
      *least = item.ttl < *least ? item.ttl : *least;
      *most = item.ttl > *most ? item.ttl : *most;
    }
  }
}
