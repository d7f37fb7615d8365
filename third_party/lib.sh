# shellcheck shell=bash
# What the scripts in this folder share: the lock file, messages, and the search for a tarball.

KM_LOCK_FILE=${KM_LOCK_FILE:-$here/lock}
KM_RECIPES=${KM_RECIPES:-$here/recipes}
KM_PATCHES=${KM_PATCHES:-$here/patches}
HOME=${HOME:-$(cd ~ && pwd)} # some service managers set none
KM_CACHE_DIR=${KM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/keymesh}

# shellcheck source=third_party/debian.sh
. "$here/debian.sh"
# shellcheck source=third_party/upstream.sh
. "$here/upstream.sh"

say() { printf -- '-- %s\n' "$*" >&2; }
warn() { printf -- '\n!!! %s\n\n' "$*" >&2; }
die() {
  printf 'third_party: %s\n' "$*" >&2
  exit 1
}

lock_line() { awk -v name="$1" '$1 == name' "$KM_LOCK_FILE"; }

# Sets lock_version, lock_min, lock_sha256, lock_file, lock_debian, lock_url.
lock_read() {
  local line
  line=$(lock_line "$1")
  [ -n "$line" ] || die "no line for '$1' in $KM_LOCK_FILE"
  # shellcheck disable=SC2034 # the callers use these
  read -r _ lock_version lock_min lock_sha256 lock_file lock_debian _ lock_url _ <<< "$line"
}

tool_package() {
  case $1 in
    autoreconf) echo autoconf automake ;;
    libtoolize) echo libtool ;;
    *) echo "$1" ;;
  esac
}

sha256_of() { sha256sum "$1" | cut -d ' ' -f 1; }

# A mirror, or an upstream, may be a folder of this machine.
copy_local() { # $1: url, $2: file
  case $1 in
    file:///*) cp "${1#file://}" "$2" 2> /dev/null ;;
    file:/*) cp "${1#file:}" "$2" 2> /dev/null ;;
    *) false ;;
  esac
}

# A file of the pinned name must have the pinned sum, wherever it came from.
check_pinned() { # $1: name, $2: file, $3: where it came from
  local sum
  sum=$(sha256_of "$2")
  [ "$sum" = "$lock_sha256" ] || die "$1: $3 has SHA-256 $sum, but $KM_LOCK_FILE pins $lock_sha256. \
Somebody changed the file, or the lock is wrong: find out which before going on."
}

take_pinned() { # $1: name, $2: file, $3: where it came from
  check_pinned "$1" "$2" "$3"
  found_file=$2 found_version=$lock_version found_sha256=$lock_sha256
  say "$1 $lock_version: $3"
}

# Sets found_file, found_version, found_sha256.
find_tarball() { # $1: name, $2: folder for downloads
  local name=$1 download=$2 dir file
  mkdir -p "$download"
  for dir in "${KM_THIRD_PARTY_CACHE:-}" "$KM_CACHE_DIR/tarballs"; do
    [ -n "$dir" ] || continue
    for file in "$dir/$lock_file" "$dir/$(basename "$lock_url")"; do
      if [ -f "$file" ]; then
        take_pinned "$name" "$file" "$file"
        return
      fi
    done
  done
  if debian_pinned "$name" "$download" || upstream_pinned "$name" "$download"; then
    keep_tarball
    return
  fi
  if debian_newer "$name" "$download"; then
    return
  fi
  die "$name $lock_version: no tarball. Looked into \$KM_THIRD_PARTY_CACHE\
 (${KM_THIRD_PARTY_CACHE:-not set}), the Debian archive of this machine, and $lock_url.\
 Is there a network? A file $lock_file in a folder named by \$KM_THIRD_PARTY_CACHE is enough."
}

keep_tarball() {
  mkdir -p "$KM_CACHE_DIR/tarballs"
  mv "$found_file" "$KM_CACHE_DIR/tarballs/$lock_file"
  found_file=$KM_CACHE_DIR/tarballs/$lock_file
}
