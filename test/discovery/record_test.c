#include <keymesh/record.h>
#include <string.h>

#include "discovery/details.h"
#include "test/relay/hex.h"

#define SECRET "0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
#define OTHER "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
#define DEVICE "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
#define NOW INT64_C(1700000000) /* 2023-11-14 22:13:20 UTC */
#define CONTEXT "KeyMesh key name record 1"

static km_secret_key *make_key(const char *hex) {
  km_secret_key *key;
  assert_int_equal(km_secret_key_parse(&key, hex, strlen(hex), NULL), 0);
  return key;
}

static km_id id_of(const km_secret_key *key) {
  km_id id;
  km_secret_key_id(key, &id);
  return id;
}

static void device(km_record *r, const char *hex, const char *name) {
  km_record_device *d = &r->devices[r->device_count++];
  (void)from_hex(d->id.bytes, sizeof d->id.bytes, hex);
  (void)snprintf(d->name, sizeof d->name, "%s", name);
}

static void service(km_record *r, const char *name, const char *address) {
  km_record_service *s = &r->services[r->service_count++];
  (void)snprintf(s->name, sizeof s->name, "%s", name);
  (void)snprintf(s->address, sizeof s->address, "%s", address);
}

/* The example of docs/protocol-record.md. */
static km_record sample(void) {
  km_record r = {.size = sizeof r, .name = "Ada", .provider = true, .issued_s = NOW};
  r.expires_s = NOW + KM_RECORD_DEFAULT_LIFE_S;
  device(&r, DEVICE, "laptop");
  service(&r, "http", "https://ada.example/");
  return r;
}

static bool same(const km_record *a, const km_record *b) {
  bool is = km_id_equal(&a->id, &b->id) && strcmp(a->name, b->name) == 0 &&
            a->provider == b->provider && a->issued_s == b->issued_s &&
            a->expires_s == b->expires_s && a->device_count == b->device_count &&
            a->service_count == b->service_count;
  for (size_t i = 0; is && i < a->device_count; i++) {
    is = km_id_equal(&a->devices[i].id, &b->devices[i].id) &&
         strcmp(a->devices[i].name, b->devices[i].name) == 0;
  }
  for (size_t i = 0; is && i < a->service_count; i++) {
    is = strcmp(a->services[i].name, b->services[i].name) == 0 &&
         strcmp(a->services[i].address, b->services[i].address) == 0;
  }
  return is;
}

/* --- the example of the document ---------------------------------------------------------------*/

/* The text between the fences that stand behind a line with `mark`. */
static void from_document(char *ret, size_t cap, const char *mark) {
  FILE *file = fopen(KM_RECORD_DOCUMENT, "r");
  char line[4096];
  int fences = -1;
  ret[0] = '\0';
  assert_non_null(file);
  while (fences < 2 && fgets(line, sizeof line, file) != NULL) {
    if (fences < 0) {
      fences = strstr(line, mark) != NULL ? 0 : -1;
    } else if (strncmp(line, "```", 3) == 0) {
      fences++;
    } else if (fences == 1) {
      line[strcspn(line, "\r\n")] = '\0';
      assert_true(strlen(ret) + strlen(line) < cap);
      memcpy(ret + strlen(ret), line, strlen(line) + 1);
    }
  }
  assert_int_equal(fclose(file), 0);
  assert_int_equal(fences, 2);
}

static void test_document(void **state) {
  (void)state;
  km_secret_key *key = make_key(SECRET);
  km_id id = id_of(key);
  km_record r = sample(), read = {.size = sizeof read};
  char text[2 * KM_RECORD_BYTES_MAX + 1], attribute[KM_RECORD_ATTRIBUTE_CAP];
  uint8_t bytes[KM_RECORD_BYTES_MAX], wanted[KM_RECORD_BYTES_MAX];
  int len = km_record_sign(&r, key, bytes, NULL);
  assert_true(len > 0);
  from_document(text, sizeof text, "As bytes");
  assert_int_equal(from_hex(wanted, sizeof wanted, text), len);
  assert_memory_equal(bytes, wanted, (size_t)len);
  from_document(text, sizeof text, "As the attribute");
  (void)km_record_attribute(attribute, bytes, (size_t)len);
  assert_string_equal(attribute, text);

  assert_int_equal(km_record_read(&read, &id, wanted, (size_t)len, NOW, NULL), 0);
  r.id = id;
  assert_true(same(&read, &r));
  km_secret_key_free(key);
}

/* --- signing -----------------------------------------------------------------------------------*/

static void refuse_sign(const km_record *r, int code, const char *why) {
  km_secret_key *key = make_key(SECRET);
  uint8_t bytes[KM_RECORD_BYTES_MAX];
  km_errinfo err = {0};
  int rv = km_record_sign(r, key, bytes, &err);
  if (rv != code || err.code != code || strstr(err.text, why) == NULL) {
    fail_msg("%d, '%s' does not say '%s'", rv, err.text, why);
  }
  km_secret_key_free(key);
}

static void test_refused_to_sign(void **state) {
  (void)state;
  km_record r = sample();
  r.size = 0;
  refuse_sign(&r, KM_ERR_INVALID, "size");
  r = sample();
  r.issued_s = -1;
  refuse_sign(&r, KM_ERR_INVALID, "time of issue");
  r.issued_s = INT64_MAX;
  r.expires_s = INT64_MAX;
  refuse_sign(&r, KM_ERR_INVALID, "time of issue");
  static const int64_t lives[] = {0, -1, -NOW, KM_RECORD_MAX_LIFE_S + 1, INT64_MAX - NOW};
  for (size_t i = 0; i < COUNT_OF(lives); i++) {
    r = sample();
    r.expires_s = NOW + lives[i];
    refuse_sign(&r, KM_ERR_INVALID, "expires 1 to 86400 seconds after");
  }
  static const char *const bad_texts[] = {"a\nb", "\x1b[2J", "\x7f", "\xc2\x9b", "\xff", "\xc3"};
  for (size_t i = 0; i < COUNT_OF(bad_texts); i++) {
    r = sample();
    (void)snprintf(r.name, sizeof r.name, "%s", bad_texts[i]);
    refuse_sign(&r, KM_ERR_INVALID, "the record's name");
    r = sample();
    (void)snprintf(r.devices[0].name, sizeof r.devices[0].name, "%s", bad_texts[i]);
    refuse_sign(&r, KM_ERR_INVALID, "the name of device d75a980182");
    r = sample();
    service(&r, bad_texts[i], "x");
    refuse_sign(&r, KM_ERR_INVALID, "service 2 needs");
    r = sample();
    service(&r, "x", bad_texts[i]);
    refuse_sign(&r, KM_ERR_INVALID, "service 2 needs");
  }
  r = sample();
  memset(r.name, 'x', sizeof r.name); /* no NUL */
  refuse_sign(&r, KM_ERR_INVALID, "the record's name");
  r = sample();
  service(&r, "", "x");
  refuse_sign(&r, KM_ERR_INVALID, "service 2 needs");
  r = sample();
  service(&r, "x", "");
  refuse_sign(&r, KM_ERR_INVALID, "service 2 needs");
  r = sample();
  device(&r, SECRET, "");
  device(&r, DEVICE, "other name"); /* the first and the third, then the second and the third */
  refuse_sign(&r, KM_ERR_INVALID, "device d75a980182 twice");
  km_record_device first = r.devices[0];
  r.devices[0] = r.devices[1];
  r.devices[1] = first;
  refuse_sign(&r, KM_ERR_INVALID, "device d75a980182 twice");
  r = sample();
  r.device_count = KM_RECORD_MAX_DEVICES + 1;
  refuse_sign(&r, KM_ERR_INVALID, "at most 8 devices");
  r = sample();
  r.service_count = SIZE_MAX;
  refuse_sign(&r, KM_ERR_INVALID, "at most 8 services");
}

/* Up to the limit, to the byte. */
static void test_sizes(void **state) {
  (void)state;
  km_secret_key *key = make_key(SECRET);
  km_id id = id_of(key);
  uint8_t bytes[KM_RECORD_BYTES_MAX];
  km_record r = {.size = sizeof r, .issued_s = NOW, .expires_s = NOW + 1},
            read = {.size = sizeof r};
  int smallest = km_record_sign(&r, key, bytes, NULL);
  assert_int_equal(smallest, 113);
  assert_int_equal(km_record_read(&read, &id, bytes, (size_t)smallest, NOW, NULL), 0);
  char address[KM_RECORD_ADDRESS_MAX + 1];
  memset(address, 'a', sizeof address);
  address[KM_RECORD_ADDRESS_MAX] = '\0';
  for (int i = 0; i < 3; i++) {
    service(&r, "s", address); /* 131 bytes each */
  }
  int room = KM_RECORD_BYTES_MAX - smallest - 3 * 131 - 3;
  address[room + 1] = '\0';
  service(&r, "s", address);
  refuse_sign(&r, KM_ERR_LIMIT, "at most 600 bytes");
  r.services[3].address[room] = '\0';
  assert_int_equal(km_record_sign(&r, key, bytes, NULL), KM_RECORD_BYTES_MAX);
  assert_int_equal(km_record_read(&read, &id, bytes, KM_RECORD_BYTES_MAX, NOW, NULL), 0);
  assert_int_equal(read.service_count, 4);
  km_secret_key_free(key);
}

/* --- reading -----------------------------------------------------------------------------------*/

static void refuse(const km_id *id, const uint8_t *bytes, size_t len, int64_t now_s, int code,
                   const char *why) {
  km_errinfo err = {0};
  km_record r, before;
  uint8_t *exact = malloc(len > 0 ? len : 1);
  memcpy(exact, bytes, len);
  memset(&r, 0xa5, sizeof r);
  r.size = sizeof r;
  memcpy(&before, &r, sizeof r);
  int rv = km_record_read(&r, id, exact, len, now_s, &err);
  if (rv != code || err.code != code || strstr(err.text, why) == NULL) {
    fail_msg("%d, '%s' does not say '%s'", rv, err.text, why);
  }
  assert_memory_equal(&r, &before, sizeof r);
  free(exact);
}

typedef struct signed_sample {
  km_id id;
  size_t len;
  uint8_t bytes[KM_RECORD_BYTES_MAX + 1];
} signed_sample;

static signed_sample sign_sample(void) {
  km_secret_key *key = make_key(SECRET);
  km_record r = sample();
  signed_sample s = {.id = id_of(key)};
  int len = km_record_sign(&r, key, s.bytes, NULL);
  assert_true(len > 0);
  s.len = (size_t)len;
  km_secret_key_free(key);
  return s;
}

static void test_truncated(void **state) {
  (void)state;
  signed_sample s = sign_sample();
  for (size_t cut = 0; cut < s.len; cut++) {
    refuse(&s.id, s.bytes, cut, NOW, KM_ERR_BAD_RECORD,
           cut < 113 ? "113 to 600 bytes" : "signature is wrong");
  }
  refuse(&s.id, s.bytes, s.len + 1, NOW, KM_ERR_BAD_RECORD, "signature is wrong");
  refuse(&s.id, s.bytes, KM_RECORD_BYTES_MAX, NOW, KM_ERR_BAD_RECORD, "signature is wrong");
  refuse(&s.id, s.bytes, KM_RECORD_BYTES_MAX + 1, NOW, KM_ERR_BAD_RECORD, "not 601");
}

static void test_each_bit(void **state) {
  (void)state;
  signed_sample s = sign_sample();
  for (size_t bit = 0; bit < 8 * s.len; bit++) {
    s.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    refuse(&s.id, s.bytes, s.len, 0, KM_ERR_BAD_RECORD,
           bit < 8        ? "this program reads format 1"
           : bit < 8 * 33 ? "not of 79b5562e8f"
                          : "signature is wrong");
    s.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
  }
}

static void test_wrong_key(void **state) {
  (void)state;
  signed_sample s = sign_sample();
  km_secret_key *other = make_key(OTHER);
  km_id id = id_of(other);
  refuse(&id, s.bytes, s.len, NOW, KM_ERR_BAD_RECORD, "is of 79b5562e8f, not of d75a980182");
  /* Said to be the other one's, still signed by the first. */
  memcpy(s.bytes + 1, id.bytes, sizeof id.bytes);
  refuse(&id, s.bytes, s.len, NOW, KM_ERR_BAD_RECORD, "signature is wrong");
  km_secret_key_free(other);
}

/* Signs any body as the format says, or with another context. */
static size_t sign_body(uint8_t *bytes, size_t len, const char *context, size_t context_len) {
  uint8_t text[1024];
  km_secret_key *key = make_key(SECRET);
  memcpy(text, context, context_len);
  memcpy(text + context_len, bytes, len);
  km_secret_key_sign(key, text, context_len + len, bytes + len);
  km_secret_key_free(key);
  return len + KM_SIGNATURE_BYTES;
}

static void test_context(void **state) {
  (void)state;
  signed_sample s = sign_sample();
  km_record r = {.size = sizeof r};
  size_t body = s.len - KM_SIGNATURE_BYTES;
  assert_int_equal(sign_body(s.bytes, body, CONTEXT, sizeof CONTEXT), s.len);
  assert_int_equal(km_record_read(&r, &s.id, s.bytes, s.len, NOW, NULL), 0);
  (void)sign_body(s.bytes, body, "", 0);
  refuse(&s.id, s.bytes, s.len, NOW, KM_ERR_BAD_RECORD, "signature is wrong");
  (void)sign_body(s.bytes, body, CONTEXT, sizeof CONTEXT - 1);
  refuse(&s.id, s.bytes, s.len, NOW, KM_ERR_BAD_RECORD, "signature is wrong");
}

/* Well signed, but not as the format says. */
static void test_signed_nonsense(void **state) {
  (void)state;
  static const struct {
    const char *issued, *life, *rest;
  } cases[] = {
      {"0000003afff35e81", "00000001", "00000000"}, /* in the year 10000 */
      {"ffffffffffffffff", "00000001", "00000000"},
      {"000000006553f100", "00000000", "00000000"}, /* no life */
      {"000000006553f100", "00015181", "00000000"}, /* a second too long */
      {"000000006553f100", "ffffffff", "00000000"},
      {"000000006553f100", "0000012c", "02000000"}, /* unknown flags */
      {"000000006553f100", "0000012c", "81000000"},
      {"000000006553f100", "0000012c", "0000000000"}, /* a byte behind the end */
      {"000000006553f100", "0000012c", "00010a0000"}, /* a name with a control character */
      {"000000006553f100", "0000012c", "0001ff0000"}, /* one that is no UTF-8 */
      {"000000006553f100", "0000012c", "0001000000"}, /* a NUL */
      {"000000006553f100", "0000012c", "00016100"},   /* no number of services */
      {"000000006553f100", "0000012c", "00040000"},   /* a name beyond the end */
      {"000000006553f100", "0000012c", "00000900"},   /* nine devices */
      {"000000006553f100", "0000012c", "00000100"},   /* a device that is not there */
      {"000000006553f100", "0000012c", "0000ff00"},
      {"000000006553f100", "0000012c", "00000009"},         /* nine services */
      {"000000006553f100", "0000012c", "00000001"},         /* a service that is not there */
      {"000000006553f100", "0000012c", "00000001000161"},   /* without a name */
      {"000000006553f100", "0000012c", "00000001016100"},   /* without an address */
      {"000000006553f100", "0000012c", "000000010161019b"}, /* an address that is no UTF-8 */
      {"000000006553f100", "0000012c",                      /* the same device twice */
       "000002" DEVICE "00" DEVICE "00"
       "00"},
      {"000000006553f100", "0000012c",
       "000001" DEVICE "01"
       "07"
       "00"},
  };
  signed_sample s = sign_sample();
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    size_t at = 33;
    at += from_hex(s.bytes + at, 8, cases[i].issued);
    at += from_hex(s.bytes + at, 4, cases[i].life);
    at += from_hex(s.bytes + at, 200, cases[i].rest);
    size_t len = sign_body(s.bytes, at, CONTEXT, sizeof CONTEXT);
    refuse(&s.id, s.bytes, len, 0, KM_ERR_BAD_RECORD, "does not keep to the format");
  }
}

/* Names that are a byte too long, where a length byte could say so. */
static void test_long_texts(void **state) {
  (void)state;
  signed_sample s = sign_sample();
  km_record r = {.size = sizeof r};
  for (size_t name = 63; name <= 64; name++) {
    for (size_t address = 128; address <= 129; address++) {
      size_t at = 46;
      s.bytes[at++] = (uint8_t)name;
      memset(s.bytes + at, 'n', name);
      at += name;
      s.bytes[at++] = 0;
      s.bytes[at++] = 1;
      s.bytes[at++] = 1;
      s.bytes[at++] = 's';
      s.bytes[at++] = (uint8_t)address;
      memset(s.bytes + at, 'a', address);
      at += address;
      size_t len = sign_body(s.bytes, at, CONTEXT, sizeof CONTEXT);
      if (name == 63 && address == 128) {
        assert_int_equal(km_record_read(&r, &s.id, s.bytes, len, NOW, NULL), 0);
        assert_int_equal(strlen(r.name), 63);
        assert_int_equal(strlen(r.services[0].address), 128);
      } else {
        refuse(&s.id, s.bytes, len, NOW, KM_ERR_BAD_RECORD, "does not keep to the format");
      }
    }
  }
}

static void test_time(void **state) {
  (void)state;
  signed_sample s = sign_sample();
  static const struct {
    int64_t now_s;
    int code;
    const char *why;
  } cases[] = {
      {0, 0, ""}, /* the time is not looked at */
      {NOW, 0, ""},
      {NOW + 299, 0, ""},
      {NOW + 300, KM_ERR_RECORD_EXPIRED, "expired since 2023-11-14 22:18:20 UTC"},
      {INT64_MAX, KM_ERR_RECORD_EXPIRED, "expired since 2023-11-14 22:18:20 UTC"},
      {NOW - 1, 0, ""},
      {NOW - 300, 0, ""},
      {NOW - 301, KM_ERR_RECORD_EXPIRED, "in the future, at 2023-11-14 22:13:20 UTC"},
      {1, KM_ERR_RECORD_EXPIRED, "in the future"},
      {-1, KM_ERR_RECORD_EXPIRED, "in the future"},
      {INT64_MIN, KM_ERR_RECORD_EXPIRED, "in the future"},
  };
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_record r = {.size = sizeof r};
    if (cases[i].code != 0) {
      refuse(&s.id, s.bytes, s.len, cases[i].now_s, cases[i].code, cases[i].why);
    } else {
      assert_int_equal(km_record_read(&r, &s.id, s.bytes, s.len, cases[i].now_s, NULL), 0);
      assert_int_equal(r.issued_s, NOW);
      assert_int_equal(r.expires_s, NOW + 300);
    }
  }
}

/* The first and the last times that can be written. */
static void test_far_times(void **state) {
  (void)state;
  km_secret_key *key = make_key(SECRET);
  km_id id = id_of(key);
  static const struct {
    int64_t issued_s;
    const char *expired;
  } cases[] = {{0, "1970-01-02 00:00:00 UTC"}, {INT64_C(253402128000), "9999-12-31 00:00:00 UTC"}};
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    km_record r = {.size = sizeof r, .issued_s = cases[i].issued_s};
    uint8_t bytes[KM_RECORD_BYTES_MAX];
    r.expires_s = r.issued_s + KM_RECORD_MAX_LIFE_S;
    int len = km_record_sign(&r, key, bytes, NULL);
    assert_true(len > 0);
    assert_int_equal(km_record_read(&r, &id, bytes, (size_t)len, r.issued_s + 1, NULL), 0);
    refuse(&id, bytes, (size_t)len, INT64_MAX, KM_ERR_RECORD_EXPIRED, cases[i].expired);
  }
  km_record r = {.size = sizeof r, .issued_s = INT64_C(253402128001), .expires_s = 253402128002};
  refuse_sign(&r, KM_ERR_INVALID, "time of issue");
  km_secret_key_free(key);
}

/* A program that knows a shorter struct gets no byte more. */
static void test_struct_size(void **state) {
  (void)state;
  signed_sample s = sign_sample();
  km_record r;
  km_errinfo err = {0};
  memset(&r, 0xa5, sizeof r);
  r.size = offsetof(km_record, devices);
  assert_int_equal(km_record_read(&r, &s.id, s.bytes, s.len, NOW, NULL), 0);
  assert_int_equal(r.size, offsetof(km_record, devices));
  assert_int_equal(r.expires_s, NOW + 300);
  assert_int_equal(r.devices[0].id.bytes[0], 0xa5);
  r.size = 0;
  assert_int_equal(km_record_read(&r, &s.id, s.bytes, s.len, NOW, &err), KM_ERR_INVALID);
  assert_int_equal(err.code, KM_ERR_INVALID);
  /* And one that knows a longer one signs what is known here. */
  km_secret_key *key = make_key(SECRET);
  km_record again = sample();
  uint8_t bytes[KM_RECORD_BYTES_MAX];
  again.size = sizeof again + 100;
  assert_int_equal(km_record_sign(&again, key, bytes, NULL), s.len);
  assert_memory_equal(bytes, s.bytes, s.len);
  km_secret_key_free(key);
}

/* --- any record --------------------------------------------------------------------------------*/

static uint32_t next_random(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

static void random_text(char *ret, size_t min, size_t max, uint32_t *seed) {
  static const char *const letters[] = {
      "a", "Z", " ", "~", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x90\x9f"};
  size_t len = min + next_random(seed) % (max - min + 1), at = 0;
  while (at < len) {
    const char *letter = letters[next_random(seed) % COUNT_OF(letters)];
    if (at + strlen(letter) > len) {
      letter = "x";
    }
    memcpy(ret + at, letter, strlen(letter));
    at += strlen(letter);
  }
  ret[at] = '\0';
}

static km_record random_record(uint32_t *seed) {
  km_record r = {.size = sizeof r, .provider = next_random(seed) % 2 == 0};
  size_t longest = next_random(seed) % 2 == 0 ? 4 : KM_RECORD_NAME_MAX;
  r.issued_s = next_random(seed);
  r.expires_s = r.issued_s + 1 + next_random(seed) % KM_RECORD_MAX_LIFE_S;
  random_text(r.name, 0, longest, seed);
  r.device_count = next_random(seed) % (KM_RECORD_MAX_DEVICES + 1);
  r.service_count = next_random(seed) % (KM_RECORD_MAX_SERVICES + 1);
  for (size_t i = 0; i < r.device_count; i++) {
    for (size_t n = 0; n < KM_ID_BYTES; n++) {
      r.devices[i].id.bytes[n] = (uint8_t)next_random(seed);
    }
    random_text(r.devices[i].name, 0, longest, seed);
  }
  for (size_t i = 0; i < r.service_count; i++) {
    random_text(r.services[i].name, 1, longest, seed);
    random_text(r.services[i].address, 1, 2 * longest, seed);
  }
  return r;
}

static void test_any_record(void **state) {
  (void)state;
  uint32_t seed = 7;
  size_t fit = 0;
  km_secret_key *key = make_key(SECRET);
  km_id id = id_of(key);
  for (int i = 0; i < 1000; i++) {
    km_record r = random_record(&seed), read = {.size = sizeof read};
    uint8_t bytes[KM_RECORD_BYTES_MAX], again[KM_RECORD_BYTES_MAX];
    int len = km_record_sign(&r, key, bytes, NULL);
    if (len == KM_ERR_LIMIT) {
      continue;
    }
    assert_true(len > 0 && len <= KM_RECORD_BYTES_MAX);
    fit++;
    r.id = id;
    assert_int_equal(km_record_read(&read, &id, bytes, (size_t)len, r.issued_s, NULL), 0);
    assert_true(same(&r, &read));
    assert_int_equal(km_record_sign(&read, key, again, NULL), len);
    assert_memory_equal(again, bytes, (size_t)len);
  }
  assert_true(fit > 300 && fit < 1000);
  km_secret_key_free(key);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_document),   cmocka_unit_test(test_refused_to_sign),
      cmocka_unit_test(test_sizes),      cmocka_unit_test(test_truncated),
      cmocka_unit_test(test_each_bit),   cmocka_unit_test(test_wrong_key),
      cmocka_unit_test(test_context),    cmocka_unit_test(test_signed_nonsense),
      cmocka_unit_test(test_long_texts), cmocka_unit_test(test_time),
      cmocka_unit_test(test_far_times),  cmocka_unit_test(test_struct_size),
      cmocka_unit_test(test_any_record),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
