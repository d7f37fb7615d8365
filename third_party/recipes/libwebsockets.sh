# shellcheck shell=bash
# How libwebsockets is configured. Sourced by third_party/provide.sh.
# $KM_WOLFSSL_INCLUDE and $KM_WOLFSSL_LINK say which wolfSSL; they are part of the cache key.
recipe_seconds=15
recipe_tools='cmake make patch'
recipe_provides=lib/libwebsockets.a
recipe_patches=libwebsockets-wolfssl.patch

recipe_build() { # $1: source folder, $2: prefix; the working directory is empty and ours
  local off option options=() include=${KM_WOLFSSL_INCLUDE:?} link=${KM_WOLFSSL_LINK:?}
  # HTTP/1.1 and WebSocket, client and server, over our own event loop: all else stays out.
  # Sessions: lws would keep them a vhost, but a resumed session proves nothing new and costs memory.
  off=(SHARED MINIMAL_EXAMPLES HTTP2 LIBUV EVLIB_PLUGINS TLS_SESSIONS LEJP LEJP_CONF LWSAC NETLINK
    CONMON SYS_SMD SYS_STATE DIR CACHE_NSCOOKIEJAR HTTP_BASIC_AUTH UDP FILE_OPS)
  for option in "${off[@]}"; do
    options+=("-DLWS_WITH_$option=OFF")
  done
  step configure
  # The types keep CMake from taking "m", "lib" and the trust store for paths below this folder.
  cmake -G 'Unix Makefiles' -S "$1" -B . -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER="$CC" \
    -DCMAKE_C_FLAGS_RELEASE="-O2 -g -DNDEBUG -ffile-prefix-map=$(dirname "$1")=/libwebsockets" \
    -DCMAKE_INSTALL_PREFIX="$2" -DLWS_INSTALL_LIB_DIR:STRING=lib \
    -DLWS_WITH_WOLFSSL=ON -DLWS_WOLFSSL_INCLUDE_DIRS="$include;$include/wolfssl" \
    -DLWS_WOLFSSL_LIBRARIES:STRING="$link;m;pthread" \
    -DLWS_OPENSSL_CLIENT_CERTS:STRING=/etc/ssl/certs \
    -DLWS_STATIC_PIC=ON -DLWS_WITHOUT_TESTAPPS=ON -DLWS_WITHOUT_EXTENSIONS=ON \
    -DLWS_WITH_EXTERNAL_POLL=ON -DLWS_IPV6=ON -DLWS_MAX_SMP=1 -DLWS_CLIENT_HTTP_PROXYING=ON \
    -DLWS_WITH_CUSTOM_HEADERS=ON -DLWS_UNIX_SOCK=OFF -DLWS_ROLE_RAW_FILE=OFF \
    -DLWS_LOG_TAG_LIFECYCLE=OFF -DLWS_AVOID_SIGPIPE_IGN=ON "${options[@]}"
  step compile
  make -j"$KM_JOBS"
  step install
  make install
}
