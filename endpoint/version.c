#include <keymesh/version.h>

#include <ngtcp2/version.h>
#include <sodium/version.h>
#include <wolfssl/version.h>

const char *km_version(void) {
  return KM_VERSION;
}

const char *km_version_details(void) {
  return "ngtcp2/" NGTCP2_VERSION " wolfSSL/" LIBWOLFSSL_VERSION_STRING
         " libsodium/" SODIUM_VERSION_STRING;
}
