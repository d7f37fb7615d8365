#!/usr/bin/env bash
# Installs what is missing, builds, and runs the tests. The last lines are ctest's own summary.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=third_party/system.sh
. third_party/system.sh

usage() {
  cat << 'USAGE'
usage: ./test.sh [--quick] [--asan | --release | --valgrind | --all] [CTEST-OPTION...]
  (nothing)   all tests, debug build
  --quick     unit tests, fuzz corpora and lint only
  --asan      with AddressSanitizer and UndefinedBehaviorSanitizer
  --release   optimised build
  --valgrind  the unit tests under valgrind
  --all       valgrind, asan, then everything with the release build
Further options go to ctest, for example: ./test.sh -R ticket
USAGE
}

mode=dev
options=()
while [ $# -gt 0 ]; do
  case $1 in
    --quick) options+=(-L 'unit|fuzz|lint') ;;
    --asan | --release | --valgrind | --all) mode=${1#--} ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) options+=("$1") ;;
  esac
  shift
done

install_packages "${build_packages[@]}" "${test_packages[@]}"
install_node

build() { # $1: preset; the rest goes to cmake
  printf '\n== building into build/%s\n' "$1"
  cmake --preset "$@" -DKM_TESTS=ON
  cmake --build --preset "$1"
}

run_valgrind() {
  build dev -DKM_VALGRIND=ON
  ctest --preset dev -L valgrind "${options[@]}"
}

run() { # $1: preset
  build "$1" -DKM_VALGRIND=OFF
  ctest --preset "$1" "${options[@]}"
}

case $mode in
  all)
    run_valgrind
    run asan
    run release
    ;;
  valgrind) run_valgrind ;;
  *) run "$mode" ;;
esac
