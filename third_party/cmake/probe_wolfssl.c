/* Compiles only against a wolfSSL that has everything KeyMesh needs. */
#include <wolfssl/options.h>
#include <wolfssl/quic.h>
#include <wolfssl/ssl.h>

#ifndef WOLFSSL_QUIC
#error "wolfssl lacks WOLFSSL_QUIC"
#endif
#ifndef HAVE_RPK
#error "wolfssl lacks HAVE_RPK"
#endif
#ifndef HAVE_ED25519
#error "wolfssl lacks HAVE_ED25519"
#endif
#ifndef HAVE_CURVE25519
#error "wolfssl lacks HAVE_CURVE25519"
#endif
#ifndef WOLFSSL_HAVE_MLKEM
#error "wolfssl lacks WOLFSSL_HAVE_MLKEM"
#endif
#ifndef HAVE_SESSION_TICKET
#error "wolfssl lacks HAVE_SESSION_TICKET"
#endif
#ifndef WOLFSSL_TICKET_NONCE_MALLOC
#error "wolfssl lacks WOLFSSL_TICKET_NONCE_MALLOC"
#endif
#ifndef WOLFSSL_EARLY_DATA
#error "wolfssl lacks WOLFSSL_EARLY_DATA"
#endif
#ifndef HAVE_KEYING_MATERIAL
#error "wolfssl lacks HAVE_KEYING_MATERIAL"
#endif
#ifndef HAVE_ALPN
#error "wolfssl lacks HAVE_ALPN"
#endif
#ifndef HAVE_SNI
#error "wolfssl lacks HAVE_SNI"
#endif
#if !defined(OPENSSL_ALL) && !defined(WOLFSSL_NGINX) && !defined(WOLFSSL_HAPROXY)
#error "wolfssl lacks OPENSSL_ALL, so it would ignore the ALPN callback"
#endif
#ifndef HAVE_EX_DATA
#error "wolfssl lacks HAVE_EX_DATA"
#endif
#ifndef KEEP_PEER_CERT
#error "wolfssl lacks KEEP_PEER_CERT"
#endif
#ifndef WOLFSSL_ALWAYS_VERIFY_CB
#error "wolfssl lacks WOLFSSL_ALWAYS_VERIFY_CB"
#endif
#ifndef HAVE_SECRET_CALLBACK
#error "wolfssl lacks HAVE_SECRET_CALLBACK"
#endif
#if defined(NO_RSA) || !defined(WC_RSA_PSS)
#error "wolfssl lacks WC_RSA_PSS, so it would not accept most web certificates"
#endif
#if !defined(HAVE_ECC) || !defined(HAVE_ECC384)
#error "wolfssl lacks HAVE_ECC384, so it would not accept many web certificates"
#endif
#ifndef WOLFSSL_IP_ALT_NAME
#error "wolfssl lacks WOLFSSL_IP_ALT_NAME, so it would accept no certificate for an address"
#endif
#if defined(WOLFSSL_SSLKEYLOGFILE)
#error "wolfssl lacks restraint: it writes every secret to ./sslkeylog.log"
#endif

int main(void) {
  return wolfSSL_Init() == WOLFSSL_SUCCESS ? 0 : 1;
}
