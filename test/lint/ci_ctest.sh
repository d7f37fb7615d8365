#!/usr/bin/env bash
# What .ci/ctest tries once more, and what it does not: on small projects of two or more tests.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > CMakePresets.json << 'END'
{"version": 6,
 "configurePresets": [{"name": "small", "binaryDir": "${sourceDir}/build/${presetName}"}],
 "testPresets": [{"name": "small", "configurePreset": "small",
                  "output": {"outputOnFailure": true}}]}
END

# Counts its calls in a file; as many as it is told end with failure, the first says something.
cat > run.sh << 'END'
#!/bin/sh
echo call >> "$1"
[ "$(wc -l < "$1")" -gt "$2" ] || { echo "$3"; exit 1; }
END
chmod +x run.sh

project() { # each argument: NAME FAILURES LABELS [SAYS]
  rm -rf build count.*
  {
    printf 'cmake_minimum_required(VERSION 3.25)\nproject(small NONE)\nenable_testing()\n'
    local name failures labels says
    for test in "good 0 unit" "$@"; do
      read -r name failures labels says <<< "$test"
      printf 'add_test(NAME %s COMMAND "%s/run.sh" "%s/count.%s" %s "%s")\n' \
        "$name" "$work" "$work" "$name" "$failures" "$says"
      printf 'set_tests_properties(%s PROPERTIES LABELS "%s")\n' "$name" "$labels"
    done
  } > CMakeLists.txt
  cmake --preset small > /dev/null
}

failed=0
check() { # $1: "passes" or "fails", $2: what is tested, $3: NAME=CALLS...; .ci/ctest ran here
  local how=fails
  "$KM_SOURCE_DIR/.ci/ctest" small > said.txt 2>&1 && how=passes
  for want in "$1" "${@:3}"; do
    local got=$how
    [ "$want" = "$1" ] || got=${want%=*}=$(wc -l < "count.${want%=*}")
    if [ "$got" != "$want" ]; then
      printf '%s: %s, not %s\n' "$2" "$got" "$want"
      cat said.txt
      failed=1
    fi
  done
}

project
check passes "nothing failed" good=1
project "real 1 cmd"
check passes "it passed when it was alone" good=1 real=2
project "both 1 netlab;interop"
check passes "two labels" good=1 both=2
project "a 1 cmd" "b 1 net" "c 1 slow"
check passes "three" good=1 a=2 b=2 c=2
project "real 2 cmd"
check fails "it failed twice" real=2
project "unit 1 unit"
check fails "a unit test" unit=1
project "real 1 cmd" "unit 1 unit"
check fails "a unit test beside another" real=1 unit=1
project "a 1 cmd" "b 1 net" "c 1 slow" "d 1 interop"
check fails "too many" a=1 b=1 c=1 d=1
project "real 1 cmd ==7==ERROR: AddressSanitizer: heap-use-after-free"
check fails "memory misused" real=1
project "real 1 cmd x.c:3:1: runtime error: shift exponent 70 is too large"
check fails "undefined behaviour" real=1
exit "$failed"
