#!/usr/bin/env bash
# How third_party/provide.sh finds, refuses and builds a dependency. Everything is real (apt, its
# index, the compiler), only small: the package is one C file, the mirror is a local folder.
set -euo pipefail
provide=$KM_SOURCE_DIR/third_party/provide.sh
command -v apt-get > /dev/null || {
  echo "no apt here: skipped"
  exit 77
}
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT

fail() {
  printf 'FAILED: %s: %s\n' "$case_name" "$*" >&2
  [ ! -e "$t/out" ] || sed 's/^/  | /' "$t/out" >&2
  exit 1
}

make_tarball() { # $1: version, $2: file
  local dir=$t/make/tiny-$1
  mkdir -p "$dir" "$(dirname "$2")"
  printf 'int tiny_version(void); int tiny_version(void) { return %s; }\n' "${1//./}" > "$dir/tiny.c"
  tar -C "$t/make" -czf "$2" "tiny-$1"
}

write_lock() { # $1: sha256
  printf 'tiny 1.2.0 1.1.0 %s tiny_1.2.0.orig.tar.gz tiny MIT file://%s/upstream/tiny-1.2.0.tar.gz\n' \
    "$1" "$t" > "$t/lock"
}

# A Debian mirror with one source package in suite sid.
make_mirror() { # $1: version, $2: sha256 in the index (default: the true one)
  local mirror=$t/mirror file=tiny_$1.orig.tar.gz pool sources sha
  pool=$mirror/pool/main/t/tiny
  sources=$mirror/dists/sid/main/source
  [ -e "$pool/$file" ] || make_tarball "$1" "$pool/$file"
  sha=${2:-$(sha256sum "$pool/$file" | cut -d ' ' -f 1)}
  mkdir -p "$sources"
  printf '%s\n' "Package: tiny" "Format: 3.0 (quilt)" "Binary: tiny" "Architecture: any" \
    "Version: 1:$1-3" "Directory: pool/main/t/tiny" "Checksums-Sha256:" \
    " $sha $(stat -c %s "$pool/$file") $file" "" > "$sources/Sources"
  printf '%s\n' "Origin: Debian" "Suite: unstable" "Codename: sid" "Components: main" \
    "Architectures: amd64 arm64 source" "Date: $(date -Ru | sed 's/+0000/UTC/')" "SHA256:" \
    " $(sha256sum "$sources/Sources" | cut -d ' ' -f 1) $(stat -c %s "$sources/Sources") main/source/Sources" \
    > "$mirror/dists/sid/Release"
}

run() { # status of provide.sh; its words in $t/out
  local status=0
  APT_CONFIG=$t/apt.conf KM_LOCK_FILE=$t/lock KM_RECIPES=$t/recipes KM_PATCHES=$t/patches \
    KM_CACHE_DIR=$t/cache KM_THIRD_PARTY_CACHE=$t/tarballs "$provide" tiny "$t/result" > "$t/out" 2>&1 || status=$?
  return $status
}

begin() {
  case_name=$1
  t=$top/$1
  mkdir -p "$t/recipes" "$t/patches" "$t/tarballs" "$t/upstream" "$t/mirror" "$t/state"
  cat > "$t/recipes/tiny.sh" << 'RECIPE'
recipe_seconds=1
recipe_tools=cc
recipe_provides=lib/tiny.o
recipe_build() {
  step compile
  [ ! -e "$FAIL_MARK" ]
  echo built >> "$BUILD_COUNT"
  mkdir -p "$DESTDIR$2/lib"
  "$CC" -c -o "$DESTDIR$2/lib/tiny.o" "$1/tiny.c"
}
RECIPE
  export BUILD_COUNT=$t/built FAIL_MARK=$t/fail
  : > "$BUILD_COUNT"
  # The machine's apt, pointed at the local mirror.
  printf 'deb [trusted=yes] file://%s sid main\n' "$t/mirror" > "$t/sources.list"
  printf '%s\n' "Dir::Etc::sourcelist \"$t/sources.list\";" "Dir::Etc::sourceparts \"$t/state\";" \
    "Dir::State::lists \"$t/state\";" "Acquire::AllowInsecureRepositories \"true\";" > "$t/apt.conf"
  make_tarball 1.2.0 "$t/pinned.tar.gz"
  write_lock "$(sha256sum "$t/pinned.tar.gz" | cut -d ' ' -f 1)"
}

builds() { wc -l < "$BUILD_COUNT"; }
said() { grep -q -- "$1" "$t/out" || fail "did not say '$1'"; }

begin tarball_folder_is_taken_and_built_once
cp "$t/pinned.tar.gz" "$t/tarballs/tiny_1.2.0.orig.tar.gz"
run || fail "status $?"
prefix=$(cat "$t/result")
[[ $(nm "$prefix/lib/tiny.o") == *tiny_version* ]] || fail "nothing was built"
run || fail "second run: status $?"
[ "$(builds)" = 1 ] || fail "built $(builds) times"
[ "$(cat "$t/result")" = "$prefix" ] || fail "second run gave another prefix"

begin tarball_under_its_upstream_name_is_taken
cp "$t/pinned.tar.gz" "$t/tarballs/tiny-1.2.0.tar.gz"
run || fail "status $?"
[ "$(builds)" = 1 ] || fail "built $(builds) times"

begin another_recipe_is_another_build
cp "$t/pinned.tar.gz" "$t/tarballs/tiny_1.2.0.orig.tar.gz"
run || fail "status $?"
echo '# another flag' >> "$t/recipes/tiny.sh"
run || fail "status $?"
[ "$(builds)" = 2 ] || fail "built $(builds) times"

write_patch() { # $1: the line that it expects, $2: what it makes of it
  printf '%s\n' '--- a/tiny.c' '+++ b/tiny.c' '@@ -1 +1 @@' "-$1" "+$2" > "$t/patches/tiny.patch"
}

begin patches_are_applied_and_are_part_of_the_build
cp "$t/pinned.tar.gz" "$t/tarballs/tiny_1.2.0.orig.tar.gz"
echo 'recipe_patches=tiny.patch' >> "$t/recipes/tiny.sh"
line='int tiny_version(void); int tiny_version(void) { return 120; }'
write_patch "$line" 'int tiny_patched; '
run || fail "status $?"
[[ $(nm "$(cat "$t/result")/lib/tiny.o") == *tiny_patched* ]] || fail "it was not applied"
write_patch "$line" 'int tiny_again; '
run || fail "status $?"
[[ $(nm "$(cat "$t/result")/lib/tiny.o") == *tiny_again* ]] || fail "another patch, but no other build"
write_patch 'int something_else;' 'int tiny_never;'
run && fail "a patch that does not fit was accepted"
said 'tiny.patch does not apply'
rm "$t/patches/tiny.patch"
run && fail "a missing patch was accepted"
said 'no patch'

begin changed_tarball_stops
make_tarball 6.6.6 "$t/tarballs/tiny_1.2.0.orig.tar.gz"
make_mirror 1.2.0
run && fail "a changed tarball was accepted"
said 'has SHA-256'
[ "$(builds)" = 0 ] || fail "built something"

begin mirror_has_the_pinned_tarball
mkdir -p "$t/mirror/pool/main/t/tiny"
cp "$t/pinned.tar.gz" "$t/mirror/pool/main/t/tiny/tiny_1.2.0.orig.tar.gz"
make_mirror 1.2.0
run || fail "status $?"
said 'Debian source package'
rm -r "$t/mirror" "$t/cache"/tiny-*
run || fail "the tarball was not kept: status $?"

begin mirror_with_a_changed_tarball_stops
make_tarball 6.6.6 "$t/mirror/pool/main/t/tiny/tiny_1.2.0.orig.tar.gz"
make_mirror 1.2.0
run && fail "a changed tarball was accepted"
said 'has SHA-256'

begin upstream_is_asked_when_the_mirror_has_nothing
cp "$t/pinned.tar.gz" "$t/upstream/tiny-1.2.0.tar.gz"
run || fail "status $?"
said 'asking the upstream project'
[ "$(builds)" = 1 ] || fail "built $(builds) times"

begin upstream_with_a_changed_tarball_stops
make_tarball 6.6.6 "$t/upstream/tiny-1.2.0.tar.gz"
make_mirror 1.3.0
run && fail "a changed tarball was accepted"
said 'has SHA-256'

begin newer_in_the_archive_is_built_with_a_warning
make_mirror 1.3.0
run || fail "status $?"
said '!!! tiny 1.2.0, the pinned version, is nowhere to be had. Building 1.3.0'
grep -q '^1.3.0 ' "$(cat "$t/result")/.complete" || fail "the result does not say 1.3.0"
run || fail "second run: status $?"
[ "$(builds)" = 1 ] || fail "built $(builds) times"

begin newer_with_a_wrong_checksum_stops
make_mirror 1.3.0 "$(printf '%064d' 0)"
run && fail "a file that is not the index's was accepted"
said 'does not have the SHA-256'

begin older_than_the_minimum_is_refused
make_mirror 1.0.0
run && fail "too old a version was accepted"
said 'no tarball'
said 'KM_THIRD_PARTY_CACHE'

begin failed_build_leaves_nothing_and_can_be_repeated
cp "$t/pinned.tar.gz" "$t/tarballs/tiny_1.2.0.orig.tar.gz"
touch "$FAIL_MARK"
run && fail "a failed build was taken for a good one"
said 'the build failed'
compgen -G "$t/cache/tiny-*" > /dev/null && fail "it left a prefix"
compgen -G "$t/cache/.tiny.*/" > /dev/null && fail "it left its work folder"
rm "$FAIL_MARK"
run || fail "the repetition: status $?"

begin two_at_once_build_once
cp "$t/pinned.tar.gz" "$t/tarballs/tiny_1.2.0.orig.tar.gz"
(t=$t && run) & one=$!
(t=$t && run) & two=$!
wait $one || fail "the first failed"
wait $two || fail "the second failed"
[ "$(builds)" = 1 ] || fail "built $(builds) times"

begin unknown_name_is_refused
echo '# empty' > "$t/lock"
run && fail "accepted"
said "no line for 'tiny'"

echo 'all good'
