#include "cmd/node/project/x509_io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "base/enc.h"
#include "base/env.h"
#include "base/text.h"
#include "cmd/cli/file_io.h"

/* RFC 8410 section 4: what stands before the 32 bytes of an Ed25519 key. */
static const uint8_t ed25519_head[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                       0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};

#define NOT_A_CERTIFICATE "%.80s holds no certificate in PEM form"

static void fingerprint(char ret[KM_ID_TEXT_CAP], const uint8_t *bytes, size_t len) {
  uint8_t hash[crypto_hash_sha256_BYTES];
  (void)crypto_hash_sha256(hash, bytes, len);
  memcpy(ret, "sha256:", 7);
  km_hex_encode(ret + 7, hash, sizeof hash);
}

/* --- the authority --------------------------------------------------------------------------- */

static int explain(int code, const char *file, const char *ca_file, km_errinfo *err) {
  switch (code) {
  case ASN_AFTER_DATE_E:
    return km_fail(err, KM_ERR_STATE, "the certificate %.60s, or its authority, has expired", file);
  case ASN_BEFORE_DATE_E:
    return km_fail(err, KM_ERR_STATE,
                   "the certificate %.60s is not valid yet; is this machine's clock right?", file);
  case ASN_NO_SIGNER_E:
  case ASN_SIG_CONFIRM_E:
    return km_fail(err, KM_ERR_CRYPTO, "%.70s was not signed by the authority in %.70s", file,
                   ca_file);
  default:
    return km_fail(err, KM_ERR_CRYPTO, "%.70s does not pass the check against %.60s: %.40s", file,
                   ca_file, wc_GetErrorString(code));
  }
}

/* The certificate manager takes whatever it is given for an authority: a certificate of a host,
 * whose key could then sign others, must not get there (RFC 5280 sections 4.2.1.9, 4.2.1.3). */
static int check_authority(const file_text *ca, const char *ca_file, km_errinfo *err) {
  static const char begin[] = "-----BEGIN ";
  const char *first = strstr(ca->bytes, begin);
  if (first != NULL && strstr(first + sizeof begin - 1, begin) != NULL) {
    return km_fail(err, KM_ERR_INVALID, "%.80s has to hold one certificate: the authority's alone",
                   ca_file);
  }
  WOLFSSL_X509 *x = wolfSSL_X509_load_certificate_buffer((const unsigned char *)ca->bytes,
                                                         (int)ca->len, WOLFSSL_FILETYPE_PEM);
  if (x == NULL) {
    return km_fail(err, KM_ERR_INVALID, "%.80s holds no authority's certificate in PEM form",
                   ca_file);
  }
  unsigned usage = wolfSSL_X509_get_keyUsage(x);
  bool may_sign =
      wolfSSL_X509_get_isCA(x) == 1 && (usage == 0 || (usage & KEYUSE_KEY_CERT_SIGN) != 0);
  wolfSSL_X509_free(x);
  return may_sign ? 0
                  : km_fail(err, KM_ERR_INVALID,
                            "the certificate in %.80s is no authority's: it may not sign others",
                            ca_file);
}

static int load_authority(WOLFSSL_CERT_MANAGER *cm, const char *ca_file, km_errinfo *err) {
  file_text ca;
  int rv = file_read(&ca, ca_file, "authority's certificate", err);
  if (rv != 0) {
    return rv;
  }
  rv = check_authority(&ca, ca_file, err);
  if (rv != 0) {
    file_free(&ca);
    return rv;
  }
  int code = wolfSSL_CertManagerLoadCABuffer(cm, (const unsigned char *)ca.bytes, (long)ca.len,
                                             WOLFSSL_FILETYPE_PEM);
  file_free(&ca);
  if (code == WOLFSSL_SUCCESS) {
    return 0;
  }
  return code == ASN_AFTER_DATE_E || code == ASN_BEFORE_DATE_E
             ? km_fail(err, KM_ERR_STATE, "the authority in %.90s has expired, or is not valid yet",
                       ca_file)
             : km_fail(err, KM_ERR_INVALID, "%.80s holds no authority's certificate in PEM form",
                       ca_file);
}

static int verify(const file_text *pem, const char *file, const char *ca_file, km_errinfo *err) {
  WOLFSSL_CERT_MANAGER *cm = wolfSSL_CertManagerNew();
  if (cm == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rv = load_authority(cm, ca_file, err);
  if (rv == 0) {
    int code = wolfSSL_CertManagerVerifyBuffer(cm, (const unsigned char *)pem->bytes,
                                               (long)pem->len, WOLFSSL_FILETYPE_PEM);
    rv = code == WOLFSSL_SUCCESS ? 0 : explain(code, file, ca_file, err);
  }
  wolfSSL_CertManagerFree(cm);
  return rv;
}

/* --- what it says ---------------------------------------------------------------------------- */

static int take_name(x509_cert *ret, WOLFSSL_X509 *x, const char *file, km_errinfo *err) {
  const char *name = wolfSSL_X509_get_subjectCN(x);
  size_t len = name == NULL ? 0 : strlen(name);
  char whole[KM_PEER_NAME_MAX + 2];
  int size = wolfSSL_X509_NAME_get_text_by_NID(wolfSSL_X509_get_subject_name(x), WC_NID_commonName,
                                               whole, (int)sizeof whole);
  if (len == 0) {
    return km_fail(err, KM_ERR_INVALID, "the certificate %.80s has no common name (CN)", file);
  }
  (void)snprintf(ret->name, sizeof ret->name, "%s", name);
  km_text_clean(ret->name);
  bool has_nul = size < 0 || (size_t)size != len; /* the name is what stands before it */
  if (len > KM_PEER_NAME_MAX || has_nul || strcmp(ret->name, name) != 0 ||
      strpbrk(name, "\"\\") != NULL) {
    return km_fail(err, KM_ERR_INVALID,
                   "the common name of %.60s cannot be a peer's name: up to %d bytes, no quotes, "
                   "backslashes or control characters",
                   file, KM_PEER_NAME_MAX);
  }
  return 0;
}

/* RFC 5280 section 4.1.2.5: UTCTime YYMMDDhhmmssZ or GeneralizedTime YYYYMMDDhhmmssZ, with type and
 * length before it. */
static void take_date(x509_cert *ret, WOLFSSL_X509 *x) {
  const unsigned char *date = wolfSSL_X509_notAfter(x);
  char text[16] = "";
  size_t len = date == NULL ? 0 : date[1];
  if (len != 13 && len != 15) {
    return;
  }
  memcpy(text, date + 2, len);
  const char *rest = text + len - 11;
  bool later = len == 15 || text[0] < '5'; /* two digits: 1950 to 2049 */
  (void)snprintf(ret->not_after, sizeof ret->not_after, "%s%.*s-%.2s-%.2sT%.2s:%.2s:%.2sZ",
                 len == 15 ? ""
                 : later   ? "20"
                           : "19",
                 (int)(len - 11), text, rest, rest + 2, rest + 4, rest + 6, rest + 8);
}

static int take_key(x509_cert *ret, const uint8_t *der, size_t len, const char *file,
                    km_errinfo *err) {
  word32 size = (word32)len;
  uint8_t *spki = malloc(len); /* it is a part of the certificate */
  if (spki == NULL) {
    return km_fail(err, KM_ERR_NOMEM, NULL);
  }
  int rv = 0;
  if (wc_GetSubjectPubKeyInfoDerFromCert(der, (word32)len, spki, &size) != 0) {
    rv = km_fail(err, KM_ERR_INVALID, "the public key of %.80s cannot be read", file);
  } else {
    fingerprint(ret->spki_fingerprint, spki, size);
    ret->has_id = size == sizeof ed25519_head + KM_ID_BYTES &&
                  memcmp(spki, ed25519_head, sizeof ed25519_head) == 0 &&
                  km_id_from_bytes(&ret->id, spki + sizeof ed25519_head) == 0;
  }
  free(spki);
  return rv;
}

static int take_all(x509_cert *ret, const file_text *pem, const char *file, km_errinfo *err) {
  int len = 0;
  WOLFSSL_X509 *x = wolfSSL_X509_load_certificate_buffer((const unsigned char *)pem->bytes,
                                                         (int)pem->len, WOLFSSL_FILETYPE_PEM);
  const uint8_t *der = x == NULL ? NULL : wolfSSL_X509_get_der(x, &len);
  if (der == NULL || len <= 0) {
    wolfSSL_X509_free(x);
    return km_fail(err, KM_ERR_INVALID, NOT_A_CERTIFICATE, file);
  }
  fingerprint(ret->cert_fingerprint, der, (size_t)len);
  take_date(ret, x);
  int rv = take_name(ret, x, file, err);
  rv = rv != 0 ? rv : take_key(ret, der, (size_t)len, file, err);
  wolfSSL_X509_free(x);
  return rv;
}

int x509_read(x509_cert *ret, const char *file, const char *ca_file, km_errinfo *err) {
  file_text pem;
  *ret = (x509_cert){0};
  int rv = file_read(&pem, file, "certificate", err);
  if (rv != 0) {
    return rv;
  }
  if (wolfSSL_Init() != WOLFSSL_SUCCESS) {
    rv = km_fail(err, KM_ERR_CRYPTO, "wolfSSL cannot be started");
  }
  rv = rv != 0 ? rv : take_all(ret, &pem, file, err);
  rv = rv != 0 ? rv : verify(&pem, file, ca_file, err);
  (void)wolfSSL_Cleanup();
  file_free(&pem);
  return rv;
}
