/* Multicast DNS nodes on a network of memory and a clock of ours. */
#ifndef KM_TEST_DISCOVERY_MDNS_LAB_H
#define KM_TEST_DISCOVERY_MDNS_LAB_H

#include "discovery/mdns_impl.h"
#include "test/base/test_env.h"

#define MS KM_NS_PER_MS
#define S KM_NS_PER_S
#define NODES_MAX 40
#define SENT_MAX 4096

typedef struct lab_sent {
  size_t node;
  km_ts at;
  uint8_t family;
  bool multicast;
  km_udp_addr to;
  size_t len;
  uint8_t bytes[KM_MDNS_RECEIVE_MAX];
} lab_sent;

typedef struct lab_node {
  struct lab *lab;
  size_t index;
  km_mdns *mdns;
  km_secret_key *key;
  km_id id;
  bool deaf; /* hears nothing of the others */
  unsigned found, changed, lost;
  km_id last_lost;
  km_found last; /* its pointers: `addrs`, `data` */
  char addrs[512], relays[512], data[256];
} lab_node;

typedef struct lab {
  test_env t;
  uint64_t seed;
  km_ts now;
  km_wall wall;
  lab_node nodes[NODES_MAX];
  size_t node_count;
  lab_sent *sent; /* all that was sent, SENT_MAX */
  size_t sent_count;
  char log[512]; /* the last entry */
  unsigned logged;
  km_log_level logged_level;
} lab;

void lab_init(lab *l, uint64_t seed);
void lab_free(lab *l);
/* A node with the secret key of `n` and the address 192.168.9.n, and fe80::n if `v6`. */
lab_node *lab_add(lab *l, uint8_t n, const km_mdns_options *options);
lab_node *lab_add_v6(lab *l, uint8_t n, const km_mdns_options *options);
/* Runs all nodes for so long; what they send reaches all others. */
void lab_run(lab *l, km_ts for_ns);
/* Runs nobody: a packet from 192.168.9.`host` arrives. */
void lab_deliver(lab *l, lab_node *to, uint8_t host, uint16_t port, bool multicast,
                 const uint8_t *bytes, size_t len);
/* "192.0.2.1:4433 192.0.2.1:4434" */
void lab_publish(lab_node *n, const char *addrs, const char *relay, const char *data);
/* The packets of a node since `from` (an index of l->sent). */
size_t lab_count(const lab *l, const lab_node *n, size_t from, bool responses);
const lab_sent *lab_last(const lab *l, const lab_node *n, bool response);

/* --- packets of our own making --- */

typedef struct lab_packet {
  km_mdns_writer w;
  uint8_t bytes[2048];
} lab_packet;

void lab_begin(lab_packet *p, bool response);
km_mdns_name lab_service(void);
km_mdns_name lab_instance(const km_id *id);
km_mdns_name lab_host(const km_id *id, unsigned port);
/* The question that iroh's nodes ask. */
void lab_plain_query(lab_packet *p);
/* What a node of iroh's with TTL 0 says of 192.168.9.`host`. */
void lab_iroh(lab_packet *p, const km_id *id, uint8_t host, uint16_t port);
/* The same in the form of DNS-SD, with a PTR; of `key`: signed at `time_ms`. */
void lab_sd(lab_packet *p, const km_id *id, uint8_t host, uint16_t port, uint32_t ttl,
            const km_secret_key *key, uint64_t time_ms);
void lab_goodbye(lab_packet *p, const km_id *id);
/* How many records of this section and type a packet has with that owner (NULL: any). */
unsigned lab_records(const uint8_t *bytes, size_t len, km_mdns_section section, uint16_t type,
                     const km_mdns_name *owner);
/* The least and greatest TTL of its records. */
void lab_ttls(const uint8_t *bytes, size_t len, uint32_t *least, uint32_t *most);
km_secret_key *lab_key(uint8_t n);
km_id lab_id(uint8_t n);

#endif /* KM_TEST_DISCOVERY_MDNS_LAB_H */
