# shellcheck shell=bash
# How ngtcp2 and its wolfSSL crypto helper are configured. Sourced by third_party/provide.sh.
# $KM_WOLFSSL_PREFIX says which wolfSSL; it is part of the cache key.
recipe_seconds=15
recipe_tools='cmake make patch'
recipe_provides=lib/libngtcp2_crypto_wolfssl.a
recipe_patches='ngtcp2-go-back.patch ngtcp2-moved-path.patch'

recipe_build() { # $1: source folder, $2: prefix; the working directory is empty and ours
  local wolfssl=()
  if [ -n "${KM_WOLFSSL_PREFIX:-}" ]; then
    wolfssl=("-DCMAKE_PREFIX_PATH=$KM_WOLFSSL_PREFIX"
      "-DWOLFSSL_INCLUDE_DIR=$KM_WOLFSSL_PREFIX/include"
      "-DWOLFSSL_LIBRARY=$KM_WOLFSSL_PREFIX/lib/libwolfssl.a")
  fi
  step configure
  cmake -G 'Unix Makefiles' -S "$1" -B . -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER="$CC" \
    -DCMAKE_C_FLAGS_RELEASE="-O3 -g -DNDEBUG -ffile-prefix-map=$(dirname "$1")=/ngtcp2" \
    -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
    -DENABLE_WOLFSSL=ON -DENABLE_OPENSSL=OFF -DENABLE_GNUTLS=OFF -DENABLE_LIB_ONLY=ON \
    -DENABLE_SHARED_LIB=OFF -DENABLE_STATIC_LIB=ON -DBUILD_TESTING=OFF \
    -DCMAKE_INSTALL_PREFIX="$2" -DCMAKE_INSTALL_LIBDIR=lib "${wolfssl[@]}"
  step compile
  make -j"$KM_JOBS"
  step install
  make install
}
