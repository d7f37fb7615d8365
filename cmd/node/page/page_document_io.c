/* The documents of a status page, and the policies that let only their own style and script run
 * (Content Security Policy Level 3, section 2.3.1). */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "cmd/node/page/page_html.h"
#include "cmd/node/page/page_impl_io.h"

#define HASH_CAP 64 /* of 32 bytes in base64 */

static bool hash_between(char ret[HASH_CAP], const char *html, const char *begin, const char *end) {
  uint8_t hash[crypto_hash_sha256_BYTES];
  const char *from = strstr(html, begin);
  const char *to = from == NULL ? NULL : strstr(from, end);
  if (to == NULL) {
    return false;
  }
  from += strlen(begin);
  (void)crypto_hash_sha256(hash, (const uint8_t *)from, (size_t)(to - from));
  (void)sodium_bin2base64(ret, HASH_CAP, hash, sizeof hash, sodium_base64_VARIANT_ORIGINAL);
  return true;
}

/* A document without a script is a form. */
static void write_policy(char ret[PAGE_POLICY_MAX], const char *html) {
  char style[HASH_CAP] = "", script[HASH_CAP] = "";
  (void)hash_between(style, html, "<style>", "</style>");
  bool runs = hash_between(script, html, "<script>", "</script>");
  int len = snprintf(ret, PAGE_POLICY_MAX,
                     "default-src 'none'; style-src 'sha256-%s'; img-src data:; base-uri 'none'; "
                     "frame-ancestors 'none'; ",
                     style);
  char *at = ret + len;
  size_t room = PAGE_POLICY_MAX - (size_t)len;
  if (runs) {
    (void)snprintf(at, room,
                   "script-src 'sha256-%s'; connect-src 'self'; form-action 'none'; "
                   "require-trusted-types-for 'script'; trusted-types 'none'",
                   script);
  } else {
    (void)snprintf(at, room, "form-action 'self'");
  }
}

static int document_init(status_page *s, page_document *d, const char *html) {
  write_policy(d->policy, html);
  d->body = page_body_new(s->env, html, strlen(html));
  return d->body == NULL ? KM_ERR_NOMEM : 0;
}

int page_documents_init(status_page *s) {
  int rv = document_init(s, &s->page, page_html);
  return rv != 0 ? rv : document_init(s, &s->login, login_html);
}
