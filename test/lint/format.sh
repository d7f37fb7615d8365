#!/usr/bin/env bash
# Is every C file as clang-format 14 (Debian 12) lays it out? With --fix: make it so.
. "$(dirname "$0")/lib.sh"
tool=$(command -v clang-format-14 || command -v clang-format) || {
  echo "no clang-format here: skipped"
  exit 77
}
case $("$tool" --version) in
  *"version 14."*) ;;
  *)
    echo "$("$tool" --version) is not the pinned 14, which lays out differently: skipped"
    exit 77
    ;;
esac
mapfile -t files < <(own_c_files)
if [ "${1:-}" = --fix ]; then
  exec "$tool" -i "${files[@]}"
fi
for file in "${files[@]}"; do
  "$tool" --dry-run -Werror "$file" > /dev/null 2>&1 || finding "$file: run test/lint/format.sh --fix"
done
finish
