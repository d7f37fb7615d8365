# Defines km_dep::<name> for every line of third_party/lock. What a good system package offers is
# taken from there; the rest is built once into a cache outside the tree (third_party/provide.sh).

find_package(PkgConfig REQUIRED)
set(km_third_party ${PROJECT_SOURCE_DIR}/third_party)

# Sets <name>_version, <name>_min and <name>_debian from the lock file.
function(km_lock_read name)
  file(STRINGS ${km_third_party}/lock line REGEX "^${name}[ \t]")
  if(NOT line)
    message(FATAL_ERROR "third_party/lock has no line for ${name}")
  endif()
  string(REGEX REPLACE "[ \t]+" ";" fields "${line}")
  list(GET fields 1 version)
  list(GET fields 2 min)
  list(GET fields 5 debian)
  set(${name}_version ${version} PARENT_SCOPE)
  set(${name}_min ${min} PARENT_SCOPE)
  set(${name}_debian ${debian} PARENT_SCOPE)
endfunction()

# km_dep_system(name pkg_config_module): a package that only ever comes from the system.
function(km_dep_system name module)
  km_lock_read(${name})
  pkg_check_modules(KM_${name} IMPORTED_TARGET GLOBAL QUIET ${module}>=${${name}_min})
  if(NOT KM_${name}_FOUND)
    message(FATAL_ERROR "${module} >= ${${name}_min} not found. "
      "On Debian and its relatives: apt-get install ${${name}_debian}")
  endif()
  message(STATUS "${module} ${KM_${name}_VERSION}: system package")
  add_library(km_dep::${name} ALIAS PkgConfig::KM_${name})
endfunction()

# km_dep_build(name result_var): builds the pinned package, or finds that it was built before.
function(km_dep_build name result)
  file(GLOB patches ${km_third_party}/patches/${name}-*.patch)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    ${km_third_party}/lock ${km_third_party}/recipes/${name}.sh ${patches})
  set(file ${PROJECT_BINARY_DIR}/third_party-${name}.txt)
  # Sanitizers and fuzzers are for our code: one build with the plain C compiler serves all presets.
  execute_process(COMMAND ${CMAKE_COMMAND} -E env --unset=CC ${ARGN}
      ${km_third_party}/provide.sh ${name} ${file}
    RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "third_party: ${name} could not be made available, the reason stands above")
  endif()
  file(STRINGS ${file} prefix LIMIT_COUNT 1)
  file(STRINGS ${prefix}/.complete made LIMIT_COUNT 1)
  string(REGEX REPLACE " .*" "" version "${made}")
  message(STATUS "${name} ${version}: ${prefix}")
  km_lock_read(${name})
  if(NOT version STREQUAL ${name}_version)
    message(WARNING "${name} ${version} is not the pinned ${${name}_version}: KeyMesh is untested with it")
  endif()
  set(${result} ${prefix} PARENT_SCOPE)
endfunction()

# Is there a wolfSSL in the system that does all we need? Its headers can tell.
function(km_probe_system_wolfssl result)
  set(${result} FALSE PARENT_SCOPE)
  if(KM_DEPS STREQUAL "BUILD")
    return()
  endif()
  km_lock_read(wolfssl)
  pkg_check_modules(KM_WOLFSSL IMPORTED_TARGET GLOBAL QUIET wolfssl>=${wolfssl_min})
  if(NOT KM_WOLFSSL_FOUND)
    return()
  endif()
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY) # the headers know, nothing needs linking
  try_compile(KM_WOLFSSL_GOOD ${PROJECT_BINARY_DIR}/probe
    SOURCES ${km_third_party}/cmake/probe_wolfssl.c
    LINK_LIBRARIES PkgConfig::KM_WOLFSSL
    OUTPUT_VARIABLE output)
  if(KM_WOLFSSL_GOOD)
    set(${result} TRUE PARENT_SCOPE)
    set(KM_WOLFSSL_LINK_LIBRARIES ${KM_WOLFSSL_LINK_LIBRARIES} PARENT_SCOPE)
    return()
  endif()
  string(REGEX MATCHALL "wolfssl lacks [^\n\"]*" missing "${output}")
  list(REMOVE_DUPLICATES missing)
  if(NOT missing)
    set(missing "${output}")
  endif()
  message(STATUS "system wolfssl ${KM_WOLFSSL_VERSION} is not enough: ${missing}")
endfunction()

# Archives that we built go into libkeymesh; packages of the system stay outside and are named in
# keymesh.pc.
set(KM_BUNDLED_ARCHIVES "")
set(KM_PC_REQUIRES "libsodium libuv sqlite3 libcjson")

km_dep_system(sodium libsodium)
km_dep_system(uv libuv)
km_dep_system(cjson libcjson)
km_dep_system(sqlite sqlite3)
km_dep_system(yaml yaml-0.1)
if(KM_TESTS)
  km_dep_system(cmocka cmocka)
endif()

# Without it, ports are mapped by PCP and NAT-PMP alone.
add_library(km_miniupnpc INTERFACE)
add_library(km_dep::miniupnpc ALIAS km_miniupnpc)
set(km_with_miniupnpc OFF)
if(KM_UPNP)
  km_lock_read(miniupnpc)
  pkg_check_modules(KM_MINIUPNPC IMPORTED_TARGET GLOBAL QUIET miniupnpc>=${miniupnpc_min})
  if(KM_MINIUPNPC_FOUND)
    message(STATUS "miniupnpc ${KM_MINIUPNPC_VERSION}: system package")
    set(km_with_miniupnpc ON)
    target_link_libraries(km_miniupnpc INTERFACE PkgConfig::KM_MINIUPNPC)
    string(APPEND KM_PC_REQUIRES " miniupnpc")
  else()
    message(STATUS "miniupnpc >= ${miniupnpc_min} not found: no port mapping by UPnP. "
      "On Debian and its relatives: apt-get install ${miniupnpc_debian}")
  endif()
endif()

# Without it, the shell of km-node has no history and no completion.
add_library(km_libedit INTERFACE)
add_library(km_dep::libedit ALIAS km_libedit)
km_lock_read(libedit)
pkg_check_modules(KM_LIBEDIT IMPORTED_TARGET GLOBAL QUIET libedit>=${libedit_min})
if(KM_LIBEDIT_FOUND)
  message(STATUS "libedit ${KM_LIBEDIT_VERSION}: system package")
  target_link_libraries(km_libedit INTERFACE PkgConfig::KM_LIBEDIT)
  target_compile_definitions(km_libedit INTERFACE KM_WITH_LIBEDIT)
else()
  message(STATUS "libedit >= ${libedit_min} not found: a shell without history and completion. "
    "On Debian and its relatives: apt-get install ${libedit_debian}")
endif()

# Without it, km-node prints no QR codes.
add_library(km_qrencode INTERFACE)
add_library(km_dep::qrencode ALIAS km_qrencode)
km_lock_read(qrencode)
pkg_check_modules(KM_QRENCODE IMPORTED_TARGET GLOBAL QUIET libqrencode>=${qrencode_min})
if(KM_QRENCODE_FOUND)
  message(STATUS "libqrencode ${KM_QRENCODE_VERSION}: system package")
  target_link_libraries(km_qrencode INTERFACE PkgConfig::KM_QRENCODE)
  target_compile_definitions(km_qrencode INTERFACE KM_WITH_QRENCODE)
else()
  message(STATUS "libqrencode >= ${qrencode_min} not found: no QR codes. "
    "On Debian and its relatives: apt-get install ${qrencode_debian}")
endif()

add_library(km_wolfssl INTERFACE)
add_library(km_dep::wolfssl ALIAS km_wolfssl)
km_probe_system_wolfssl(km_wolfssl_system)
if(km_wolfssl_system)
  message(STATUS "wolfssl ${KM_WOLFSSL_VERSION}: system package")
  # What a static libwolfssl needs has to follow it on the command line.
  set_property(TARGET PkgConfig::KM_WOLFSSL APPEND PROPERTY INTERFACE_LINK_LIBRARIES
    Threads::Threads m)
  target_link_libraries(km_wolfssl INTERFACE PkgConfig::KM_WOLFSSL)
  string(APPEND KM_PC_REQUIRES " wolfssl")
elseif(KM_DEPS STREQUAL "SYSTEM")
  message(FATAL_ERROR "KM_DEPS=SYSTEM, but the system has no wolfssl that fits")
else()
  km_dep_build(wolfssl km_wolfssl_prefix)
  list(APPEND KM_BUNDLED_ARCHIVES ${km_wolfssl_prefix}/lib/libwolfssl.a)
  target_include_directories(km_wolfssl SYSTEM INTERFACE ${km_wolfssl_prefix}/include)
  target_link_libraries(km_wolfssl INTERFACE
    ${km_wolfssl_prefix}/lib/libwolfssl.a Threads::Threads m)
endif()

add_library(km_ngtcp2 INTERFACE)
add_library(km_dep::ngtcp2 ALIAS km_ngtcp2)
km_lock_read(ngtcp2)
if(km_wolfssl_system)
  # The helper must have been built against this very wolfSSL, which only the system can know.
  pkg_check_modules(KM_NGTCP2 IMPORTED_TARGET GLOBAL QUIET
    libngtcp2_crypto_wolfssl>=${ngtcp2_min} libngtcp2>=${ngtcp2_min})
endif()
if(KM_NGTCP2_FOUND AND km_wolfssl_system)
  message(STATUS "ngtcp2 ${KM_NGTCP2_libngtcp2_VERSION}: system package")
  target_link_libraries(km_ngtcp2 INTERFACE PkgConfig::KM_NGTCP2 km_wolfssl)
  string(APPEND KM_PC_REQUIRES " libngtcp2_crypto_wolfssl libngtcp2")
elseif(KM_DEPS STREQUAL "SYSTEM")
  message(FATAL_ERROR "KM_DEPS=SYSTEM, but there is no libngtcp2_crypto_wolfssl >= ${ngtcp2_min}")
else()
  km_dep_build(ngtcp2 km_ngtcp2_prefix KM_WOLFSSL_PREFIX=${km_wolfssl_prefix})
  set(km_ngtcp2_archives
    ${km_ngtcp2_prefix}/lib/libngtcp2_crypto_wolfssl.a ${km_ngtcp2_prefix}/lib/libngtcp2.a)
  list(PREPEND KM_BUNDLED_ARCHIVES ${km_ngtcp2_archives})
  target_compile_definitions(km_ngtcp2 INTERFACE NGTCP2_STATICLIB)
  target_include_directories(km_ngtcp2 SYSTEM INTERFACE ${km_ngtcp2_prefix}/include)
  target_link_libraries(km_ngtcp2 INTERFACE ${km_ngtcp2_archives} km_wolfssl)
endif()

# libwebsockets is always ours: distributions have it over OpenSSL, and over wolfSSL its client would
# not check whom a certificate is for without our patch.
add_library(km_lws INTERFACE)
add_library(km_dep::lws ALIAS km_lws)
if(km_wolfssl_system)
  km_dep_build(libwebsockets km_lws_prefix
    "KM_WOLFSSL_INCLUDE=${KM_WOLFSSL_INCLUDEDIR}" "KM_WOLFSSL_LINK=${KM_WOLFSSL_LINK_LIBRARIES}")
else()
  km_dep_build(libwebsockets km_lws_prefix KM_WOLFSSL_INCLUDE=${km_wolfssl_prefix}/include
    KM_WOLFSSL_LINK=${km_wolfssl_prefix}/lib/libwolfssl.a)
endif()
list(PREPEND KM_BUNDLED_ARCHIVES ${km_lws_prefix}/lib/libwebsockets.a)
target_include_directories(km_lws SYSTEM INTERFACE ${km_lws_prefix}/include)
target_link_libraries(km_lws INTERFACE ${km_lws_prefix}/lib/libwebsockets.a km_wolfssl)

# DNS: its resolver, and its codec for packets of our own. Distributions with an older one get ours.
add_library(km_cares INTERFACE)
add_library(km_dep::cares ALIAS km_cares)
km_lock_read(cares)
if(NOT KM_DEPS STREQUAL "BUILD")
  pkg_check_modules(KM_CARES IMPORTED_TARGET GLOBAL QUIET libcares>=${cares_min})
endif()
if(KM_CARES_FOUND)
  message(STATUS "c-ares ${KM_CARES_VERSION}: system package")
  target_link_libraries(km_cares INTERFACE PkgConfig::KM_CARES)
  string(APPEND KM_PC_REQUIRES " libcares")
elseif(KM_DEPS STREQUAL "SYSTEM")
  message(FATAL_ERROR "KM_DEPS=SYSTEM, but there is no libcares >= ${cares_min}")
else()
  km_dep_build(cares km_cares_prefix)
  list(APPEND KM_BUNDLED_ARCHIVES ${km_cares_prefix}/lib/libcares.a)
  target_compile_definitions(km_cares INTERFACE CARES_STATICLIB)
  target_include_directories(km_cares SYSTEM INTERFACE ${km_cares_prefix}/include)
  target_link_libraries(km_cares INTERFACE ${km_cares_prefix}/lib/libcares.a Threads::Threads)
endif()

# BLAKE3: the library where there is one, else its C source, which Debian 12 ships for Rust programs.
# The few hundred bytes that we hash need none of its vector code.
km_lock_read(blake3)
if(NOT KM_DEPS STREQUAL "BUILD")
  pkg_check_modules(KM_BLAKE3 IMPORTED_TARGET GLOBAL QUIET libblake3>=${blake3_min})
endif()
if(KM_BLAKE3_FOUND)
  message(STATUS "libblake3 ${KM_BLAKE3_VERSION}: system package")
  add_library(km_dep::blake3 ALIAS PkgConfig::KM_BLAKE3)
  string(APPEND KM_PC_REQUIRES " libblake3")
else()
  file(GLOB sources LIST_DIRECTORIES true /usr/share/cargo/registry/blake3-*/c)
  find_path(KM_BLAKE3_SOURCE blake3_portable.c HINTS ${sources} NO_DEFAULT_PATH
    DOC "Folder with the C source of BLAKE3")
  if(NOT KM_BLAKE3_SOURCE)
    message(FATAL_ERROR "neither libblake3 nor its C source found. "
      "On Debian and its relatives: apt-get install ${blake3_debian}")
  endif()
  message(STATUS "blake3: ${KM_BLAKE3_SOURCE}")
  add_library(km_blake3 STATIC ${KM_BLAKE3_SOURCE}/blake3.c
    ${KM_BLAKE3_SOURCE}/blake3_dispatch.c ${KM_BLAKE3_SOURCE}/blake3_portable.c)
  add_library(km_dep::blake3 ALIAS km_blake3)
  target_compile_definitions(km_blake3 PRIVATE BLAKE3_NO_SSE2 BLAKE3_NO_SSE41 BLAKE3_NO_AVX2
    BLAKE3_NO_AVX512 BLAKE3_USE_NEON=0)
  target_compile_options(km_blake3 PRIVATE -O2 -w
    -ffile-prefix-map=${KM_BLAKE3_SOURCE}=/blake3)
  target_include_directories(km_blake3 SYSTEM INTERFACE ${KM_BLAKE3_SOURCE})
  list(PREPEND KM_BUNDLED_ARCHIVES $<TARGET_FILE:km_blake3>)
endif()
