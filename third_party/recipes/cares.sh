# shellcheck shell=bash
# How c-ares is configured. Sourced by third_party/provide.sh.
recipe_seconds=20
recipe_tools='cmake make'
recipe_provides=lib/libcares.a
recipe_patches=''

recipe_build() { # $1: source folder, $2: prefix; the working directory is empty and ours
  step configure
  cmake -G 'Unix Makefiles' -S "$1" -B . -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_COMPILER="$CC" \
    -DCMAKE_C_FLAGS_RELEASE="-O2 -g -DNDEBUG -ffile-prefix-map=$(dirname "$1")=/cares" \
    -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
    -DCARES_STATIC=ON -DCARES_SHARED=OFF -DCARES_STATIC_PIC=ON -DCARES_BUILD_TOOLS=OFF \
    -DCARES_BUILD_TESTS=OFF -DCARES_SYMBOL_HIDING=ON \
    -DCMAKE_INSTALL_PREFIX="$2" -DCMAKE_INSTALL_LIBDIR=lib
  step compile
  make -j"$KM_JOBS"
  step install
  make install
}
