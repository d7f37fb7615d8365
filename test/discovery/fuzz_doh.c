/* First byte: what the rest is. A query string's parameters: what is taken is a question, of the
 * length it says. An answer: it becomes JSON that a parser takes, or it is damaged. A date. */
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "discovery/dns_message.h"
#include "discovery/server/doh.h"
#include "discovery/server/http_date.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(int holds) {
  if (!holds) {
    abort();
  }
}

/* strndup may look one byte past what it copies, as ASan's strict string checks say. */
static char *text_of(const char *bytes, size_t len) {
  char *copy = malloc(len + 1);
  check(copy != NULL);
  memcpy(copy, bytes, len);
  copy[len] = '\0';
  return copy;
}

/* One of them a line, and the header last. */
static void read_request(const char *text, size_t len) {
  km_doh_request r;
  km_errinfo err = {0};
  km_doh_begin(&r);
  const char *end = text + len;
  for (const char *nl; (nl = memchr(text, '\n', (size_t)(end - text))) != NULL; text = nl + 1) {
    int rv = km_doh_param(&r, text, (size_t)(nl - text), &err);
    check(rv == 0 || (err.code == rv && err.text[0] != '\0'));
    if (rv != 0) {
      return;
    }
  }
  char *accept = text_of(text, (size_t)(end - text));
  bool accepted = km_doh_accept(&r, accept);
  free(accept);
  bool message = r.len > 0;
  if (km_doh_finish(&r, &err) != 0) {
    check(!message && !r.has_name);
    return;
  }
  check(r.len > 0 && r.len <= KM_DOH_QUERY_MAX);
  check(r.form == KM_DOH_MESSAGE || r.form == KM_DOH_JSON || !accepted);
  km_dnsmsg m;
  km_dnsmsg_rr rr;
  if (!message) { /* then it is ours */
    check(km_dnsmsg_open(&m, r.query, r.len) == 0 && km_dnsmsg_next(&m, &rr) == 1);
    check(rr.section == KM_DNSMSG_QUESTION && rr.type == r.type);
    check(rr.owner.len == r.name_len);
    int more = km_dnsmsg_next(&m, &rr);
    check(r.dnssec ? more == 1 && km_dnsmsg_next(&m, &rr) == 0 : more == 0);
  }
}

static void check_utf8(const char *text, size_t len) {
  while (len > 0) {
    size_t n = km_utf8_sequence(text, len);
    check(n > 0);
    text += n;
    len -= n;
  }
}

static void read_answer(const uint8_t *bytes, size_t len) {
  static char json[1 << 19];
  int n = km_doh_json(json, sizeof json, bytes, len);
  (void)km_doh_least_ttl(bytes, len);
  if (n < 0) {
    check(n == KM_ERR_BAD_PACKET || n == KM_ERR_BUFFER);
    return;
  }
  check(strlen(json) == (size_t)n);
  check_utf8(json, (size_t)n);
  cJSON *parsed = cJSON_ParseWithOpts(json, NULL, 1);
  check(parsed != NULL);
  check(cJSON_IsNumber(cJSON_GetObjectItem(parsed, "Status")));
  cJSON_Delete(parsed);
}

static void read_date(const char *bytes, size_t len) {
  char text[KM_HTTP_DATE_CAP];
  char *copy = text_of(bytes, len);
  int64_t at;
  if (km_http_date_read(&at, copy)) {
    check(km_http_date_write(text, at) || at == INT64_C(253402300800)); /* a leap second */
  }
  free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
  if (len == 0) {
    return 0;
  }
  if (data[0] == 'q') {
    read_request((const char *)data + 1, len - 1);
  } else if (data[0] == 'd') {
    read_date((const char *)data + 1, len - 1);
  } else {
    read_answer(data + 1, len - 1);
  }
  return 0;
}
