/* DNS messages as multicast DNS uses them (RFC 1035 section 4, RFC 6762 section 18). Pure. */
#ifndef KM_DISCOVERY_MDNS_PACKET_H
#define KM_DISCOVERY_MDNS_PACKET_H

#include <keymesh/addr.h>

#define KM_MDNS_NAME_MAX 255    /* bytes of a name as it is sent, with its final zero */
#define KM_MDNS_LABEL_MAX 63    /* bytes of one label */
#define KM_MDNS_RECORDS_MAX 128 /* questions and records that are read of one message */

enum {
  KM_MDNS_A = 1,
  KM_MDNS_PTR = 12,
  KM_MDNS_TXT = 16,
  KM_MDNS_AAAA = 28,
  KM_MDNS_SRV = 33,
  KM_MDNS_ANY = 255
};

enum { KM_MDNS_CLASS_IN = 1, KM_MDNS_CLASS_ANY = 255 };

/* A name as it is sent: labels with their lengths, without compression, letters in lower case. */
typedef struct km_mdns_name {
  uint8_t len; /* 1: the root */
  uint8_t bytes[KM_MDNS_NAME_MAX];
} km_mdns_name;

/* Labels between dots, no final dot, no escapes. False: it is none, or too long. */
bool km_mdns_name_set(km_mdns_name *ret, const char *text);
/* The same with one label of any bytes before it. */
bool km_mdns_name_prefix(km_mdns_name *ret, const char *label, size_t len,
                         const km_mdns_name *rest);
bool km_mdns_name_equal(const km_mdns_name *a, const km_mdns_name *b);
/* The first label; true when `rest` is all that follows it. */
bool km_mdns_name_under(const km_mdns_name *name, const km_mdns_name *rest, const char **label,
                        size_t *len);

typedef enum km_mdns_section {
  KM_MDNS_QUESTIONS,
  KM_MDNS_ANSWERS,
  KM_MDNS_AUTHORITIES,
  KM_MDNS_ADDITIONALS
} km_mdns_section;

/* --- reading --- */

typedef struct km_mdns_reader {
  const uint8_t *bytes;
  size_t len, at;
  uint16_t id;
  bool response, truncated;
  uint16_t left[4]; /* of each section */
  unsigned count;   /* items read */
  bool damaged;     /* what comes after the last item cannot be read */
} km_mdns_reader;

typedef struct km_mdns_item {
  km_mdns_section section;
  km_mdns_name name;
  uint16_t type;
  uint16_t class; /* without its top bit */
  bool flag;      /* the top bit: "unicast answer welcome" in questions, "flush" in records */
  uint32_t ttl;
  const uint8_t *data; /* of a record */
  uint16_t len;
} km_mdns_item;

/* False: no message, or one with an opcode or response code that is to be ignored (RFC 6762
 * sections 18.3 and 18.11). */
bool km_mdns_open(km_mdns_reader *ret, const uint8_t *bytes, size_t len);
bool km_mdns_next_item(km_mdns_reader *r, km_mdns_item *ret);
/* What a record's data says. False: it is not of that form. */
bool km_mdns_read_ptr(const km_mdns_reader *r, const km_mdns_item *item, km_mdns_name *ret);
bool km_mdns_read_srv(const km_mdns_reader *r, const km_mdns_item *item, uint16_t *port,
                      km_mdns_name *target);
/* A and AAAA; port 0. */
bool km_mdns_read_ip(const km_mdns_item *item, km_udp_addr *ret);
/* The strings of a TXT record one after the other; `at` begins at 0. */
bool km_mdns_read_txt(const km_mdns_item *item, size_t *at, const char **text, size_t *len);

/* --- writing --- */

typedef struct km_mdns_writer {
  uint8_t *bytes;
  size_t cap, len;
  size_t data_at;       /* of the record that is being written, 0: none */
  uint16_t labels[128]; /* where names and their ends are, for compression */
  size_t label_count;
  size_t start; /* of the item that is being written */
  bool failed;  /* the last item did not fit; it is taken back */
} km_mdns_writer;

void km_mdns_writer_init(km_mdns_writer *ret, uint8_t *bytes, size_t cap, uint16_t id,
                         bool response);
void km_mdns_set_truncated(km_mdns_writer *w);
/* Items go section by section, in the order of the sections. False: it does not fit; what was
 * written before stays. */
bool km_mdns_write_question(km_mdns_writer *w, const km_mdns_name *name, uint16_t type);
bool km_mdns_write_ptr(km_mdns_writer *w, km_mdns_section section, const km_mdns_name *name,
                       uint32_t ttl, const km_mdns_name *target);
bool km_mdns_write_srv(km_mdns_writer *w, km_mdns_section section, const km_mdns_name *name,
                       uint32_t ttl, uint16_t port, const km_mdns_name *target);
bool km_mdns_write_ip(km_mdns_writer *w, km_mdns_section section, const km_mdns_name *name,
                      uint32_t ttl, const km_udp_addr *addr);
/* `data`: strings with their lengths before them. */
bool km_mdns_write_txt(km_mdns_writer *w, km_mdns_section section, const km_mdns_name *name,
                       uint32_t ttl, const uint8_t *data, size_t len);

#endif /* KM_DISCOVERY_MDNS_PACKET_H */
