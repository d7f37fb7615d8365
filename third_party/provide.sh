#!/usr/bin/env bash
# Makes one pinned dependency available: provide.sh NAME RESULT_FILE
#
# Builds it at most once for a given lock line, recipe, patches and compiler, into a cache outside the
# tree, and writes the prefix to RESULT_FILE. Environment:
#   KM_CACHE_DIR           where built packages live (default: $XDG_CACHE_HOME/keymesh)
#   KM_THIRD_PARTY_CACHE   a folder of tarballs to look into first
#   KM_JOBS, CC            parallel jobs, C compiler
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=third_party/lib.sh
. "$here/lib.sh"

[ $# -eq 2 ] || die "usage: provide.sh NAME RESULT_FILE"
name=$1
result=$2
lock_read "$name"
[ "$lock_version" != - ] || die "$name is only taken from the system: install $lock_debian"
recipe=$KM_RECIPES/$name.sh
[ -r "$recipe" ] || die "no recipe for $name at $recipe"
recipe_patches=''
# shellcheck source=/dev/null
. "$recipe"
patches=()
for patch in $recipe_patches; do
  patches+=("$KM_PATCHES/$patch")
  [ -r "$KM_PATCHES/$patch" ] || die "$name: no patch $KM_PATCHES/$patch"
done

CC=$(command -v "${CC:-cc}") || die "no C compiler ${CC:-cc}: install gcc"
KM_JOBS=${KM_JOBS:-$(nproc)}
export CC KM_JOBS

key=$({
  lock_line "$name"
  cat "$recipe" ${patches[@]+"${patches[@]}"}
  "$CC" --version | head -n 1
  "$CC" -dumpmachine
  printf '%s\n' "${KM_WOLFSSL_PREFIX:-}" "${KM_WOLFSSL_INCLUDE:-}" "${KM_WOLFSSL_LINK:-}"
} | sha256sum | cut -c1-16)

# The version in the folder's name is the pinned one, or a newer one where the pin was not to be had.
finish_if_built() {
  local prefix
  for prefix in "$KM_CACHE_DIR/$name-$lock_version-$key" "$KM_CACHE_DIR/$name"-*-"$key"; do
    if [ -e "$prefix/.complete" ]; then
      printf '%s\n' "$prefix" > "$result"
      exit 0
    fi
  done
}
finish_if_built

mkdir -p "$KM_CACHE_DIR"
# One builder at a time; whoever waited finds the work done.
exec 9> "$KM_CACHE_DIR/.$name.lock"
flock -n 9 || { say "$name: another build is under way, waiting for it"; flock 9; }
finish_if_built

for tool in $recipe_tools; do
  command -v "$tool" > /dev/null || die "building $name needs '$tool': install $(tool_package "$tool")"
done

work=$(mktemp -d "$KM_CACHE_DIR/.$name.XXXXXX")
log=$KM_CACHE_DIR/$name.log
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

find_tarball "$name" "$work/download"
prefix=$KM_CACHE_DIR/$name-$found_version-$key
mkdir -p "$work/src" "$work/build"
tar -xf "$found_file" -C "$work/src" --strip-components=1 ||
  die "$name: cannot unpack $found_file"

for patch in ${patches[@]+"${patches[@]}"}; do
  patch -s -d "$work/src" -p1 --no-backup-if-mismatch < "$patch" >&2 ||
    die "$name $found_version: ${patch##*/} does not apply to this version"
done

step() { say "$name $found_version: $1"; }
say "$name $found_version: building (about $recipe_seconds s on two cores), log in $log"
# Not in a condition, which would turn `set -e` off inside the recipe.
set +e
(
  set -e
  cd "$work/build"
  # Steps report on the real stderr while the tools' output goes to the log.
  exec 8>&2 > "$log" 2>&1
  say() { printf -- '-- %s\n' "$*" >&8; }
  DESTDIR=$work/stage recipe_build "$work/src" "$prefix" 9>&-
)
status=$?
set -e
if [ $status -ne 0 ]; then
  tail -n 30 "$log" >&2
  die "$name $found_version: the build failed, whole log in $log"
fi
[ -e "$work/stage$prefix/$recipe_provides" ] ||
  die "$name: the build did not produce $recipe_provides, log in $log"

printf '%s %s\n' "$found_version" "$found_sha256" > "$work/stage$prefix/.complete"
rm -rf "$prefix"
mv "$work/stage$prefix" "$prefix"
say "$name $found_version: ready"
finish_if_built
