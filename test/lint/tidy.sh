#!/usr/bin/env bash
# clang-tidy over our own code: tidy.sh BUILD_DIR [FILE...], with the compile commands of BUILD_DIR.
. "$(dirname "$0")/lib.sh"
build=$1
shift
tool=$(command -v clang-tidy-14 || command -v clang-tidy) || {
  echo "no clang-tidy here: apt-get install clang-tidy" >&2
  exit 1
}
[ -e "$build/compile_commands.json" ] || {
  echo "no $build/compile_commands.json: configure a preset first" >&2
  exit 1
}
if [ $# = 0 ]; then
  mapfile -t files < <(own_c_files | grep -E '^(base|holepunch|relay|store|discovery|magicsock|endpoint|cmd)/.*\.c$' |
    while read -r file; do
      ! grep -q "/$file\"" "$build/compile_commands.json" || printf '%s\n' "$file"
    done)
else
  files=("$@")
fi
echo "${#files[@]} files"
printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "${KM_JOBS:-$(nproc)}" timeout 300 "$tool" -p "$build" --quiet 2> /dev/null
