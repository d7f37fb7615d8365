#!/usr/bin/env bash
# What no file of the repository may contain, and limits on what it may look like.
. "$(dirname "$0")/lib.sh"
export LC_ALL=C.UTF-8 # columns are characters, not bytes

# Written with brackets so that this file does not find itself.
machine_path='(^|[^A-Za-z0-9_.:/-])[/](work|farm|root)/'
registry='deb[.]debian[.]org|registry[.]npmj[s]|crates[.]i[o]|pypi[.]or[g]|proxy[.]golan[g]'
unfinished='\b(TOD[O]|FIXM[E]|XX[X])\b'

forbid() { # $1: pattern, $2: why, then files
  local pattern=$1 why=$2 line
  shift 2
  while IFS= read -r line; do
    finding "$line: $why"
  done < <(grep -nHIE -- "$pattern" "$@" | cut -c1-120)
}

mapfile -t files < <(tree_files | grep -v '/corpus/')
mapfile -t text < <(printf '%s\n' "${files[@]}" |
  grep -E '(\.(c|h|def|sh|cmake|md|txt|py|mjs|js|json|yml|rs|toml|map|in|1)|/run|CMakeLists\.txt)$')
mapfile -t code < <(own_c_files)

forbid "$machine_path" "a path of one machine" "${files[@]}"
forbid "$registry" "the host of a package registry" "${files[@]}"
forbid "$unfinished" "unfinished work" "${text[@]}"
forbid '[[:space:]]$' "blank at the end of the line" "${text[@]}"
forbid $'\t' "tab" "${code[@]}"
forbid $'\r' "carriage return" "${text[@]}"
mapfile -t laid_out < <(printf '%s\n' "${code[@]}" | grep -v '/vectors[^/]*\.h$')
forbid '^.{101,}' "more than 100 columns" "${laid_out[@]}"
forbid '\b(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|strtok|alloca)\(' "banned call" "${code[@]}"

for file in "${code[@]}"; do
  lines=$(wc -l < "$file")
  [ "$lines" -le 800 ] || finding "$file: $lines lines, more than 800"
done
finish
