# What a person can switch, and the compiler flags that follow from it.

option(KM_WERROR "Treat warnings as errors" OFF)
option(KM_TESTS "Build the tests" ${PROJECT_IS_TOP_LEVEL})
option(KM_UPNP "Map ports by UPnP too, where miniupnpc is there" ON)
option(KM_FUZZ "Build fuzz targets with libFuzzer (needs clang)" OFF)
set(KM_SANITIZE "" CACHE STRING "Sanitizers for our own code, as -fsanitize= takes them")
set(KM_DEPS AUTO CACHE STRING
  "wolfSSL, ngtcp2 and BLAKE3: AUTO takes good system packages, SYSTEM nothing else, BUILD always builds")
set_property(CACHE KM_DEPS PROPERTY STRINGS AUTO SYSTEM BUILD)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Debug or Release" FORCE)
endif()
# CMake's own defaults give way; what a person or a parent project chose does not.
if(PROJECT_IS_TOP_LEVEL AND CMAKE_C_FLAGS_DEBUG STREQUAL "-g")
  set(CMAKE_C_FLAGS_DEBUG "-Og -g")
endif()
if(PROJECT_IS_TOP_LEVEL AND CMAKE_C_FLAGS_RELEASE STREQUAL "-O3 -DNDEBUG")
  set(CMAKE_C_FLAGS_RELEASE "-O3 -g -DNDEBUG")
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)

find_package(Threads REQUIRED)

# Everything of ours, tests included, is compiled with these.
add_library(km_flags INTERFACE)
target_compile_definitions(km_flags INTERFACE _GNU_SOURCE)
target_compile_options(km_flags INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Wundef -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -Wformat=2 -Wno-format-nonliteral -Wpointer-arith
  -ffunction-sections -fdata-sections -fstack-protector-strong
  # Absolute paths of the build machine have no place in what we ship.
  -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)
target_link_options(km_flags INTERFACE -Wl,--gc-sections -Wl,-z,relro,-z,now)
if(KM_WERROR)
  target_compile_options(km_flags INTERFACE -Werror)
endif()

if(KM_SANITIZE)
  target_compile_options(km_flags INTERFACE
    -fsanitize=${KM_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(km_flags INTERFACE -fsanitize=${KM_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(km_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()

if(KM_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "KM_FUZZ needs clang: cmake -DCMAKE_C_COMPILER=clang")
  endif()
  target_compile_options(km_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
