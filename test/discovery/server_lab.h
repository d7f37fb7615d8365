/* Packets, questions and answers for the tests of the discovery server. */
#ifndef KM_TEST_DISCOVERY_SERVER_LAB_H
#define KM_TEST_DISCOVERY_SERVER_LAB_H

#include "discovery/pkarr.h"

#define LAB_TEXT_CAP 8192

typedef struct lab_key {
  km_secret_key *key;
  km_id id;
  char z32[KM_ID_TEXT_CAP];
} lab_key;

/* The key whose seed is `seed` in every byte. */
void lab_key_init(lab_key *ret, uint8_t seed);
void lab_key_clear(lab_key *k);

/* A signed packet of records, one a line: "<owner> <type> <ttl> <value>". "@" is the key's label.
 * Types: A, AAAA, TXT, CNAME, NS, MX, PTR, SRV, HTTPS, SOA, OPT. */
void lab_packet(km_pkarr *ret, const lab_key *k, uint64_t timestamp_us, const char *records);

/* A question: id 0x1234, RD. `edns`: payload size, 0: no OPT. Returns the length. */
size_t lab_query(uint8_t *ret, const char *name, uint16_t type, uint16_t edns);
uint16_t lab_type(const char *name);

/* What c-ares reads out of an answer: "NOERROR aa rd | <owner> <ttl> <type> <value> | auth ..."
 * with the key's label as "@". Fails the test if it is no DNS message. */
void lab_render(char ret[LAB_TEXT_CAP], const uint8_t *answer, size_t len, const lab_key *k);

#endif /* KM_TEST_DISCOVERY_SERVER_LAB_H */
