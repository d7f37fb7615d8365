#!/usr/bin/env bash
# Makes the real iroh available: the npm package that package-lock.json pins, with its checksums,
# installed once into a cache outside the tree. Prints the directory that holds node_modules.
#
#   KM_CACHE_DIR          where it is put (default: $XDG_CACHE_HOME/keymesh)
#   KM_INTEROP_REQUIRED   1: an impossible installation is a failure, not a skip
#
# Status 77: there is no node or npm, or it is too old, or the package cannot be had here. A package
# that does not match its checksum is an error (1). The package's own "engines" asks for node 20.3;
# the binding was seen to work with Debian 12's 18.20 too.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
oldest_node=18

skip() {
  printf '\n!!!!! INTEROP TESTS SKIPPED: %s\n!!!!! Nothing was proven against the real iroh.\n\n' "$*" >&2
  [ "${KM_INTEROP_REQUIRED:-0}" = 1 ] && exit 1
  exit 77
}

command -v node > /dev/null || skip "there is no node (Debian: apt-get install nodejs npm)"
command -v npm > /dev/null || skip "there is no npm (Debian: apt-get install npm)"
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge $oldest_node ] || skip "node $(node --version) is older than $oldest_node"

cache=${KM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/keymesh}
key=$(cat "$here/package.json" "$here/package-lock.json" | sha256sum | cut -c1-12)
platform=$(node -p '
  const glibc = process.report.getReport().header.glibcVersionRuntime;
  const libc = process.platform === "linux" ? (glibc ? "-gnu" : "-musl") : "";
  process.platform + "-" + process.arch + libc')
dir=$cache/interop-$platform-$key
if [ -e "$dir/.complete" ]; then
  printf '%s\n' "$dir"
  exit 0
fi

lock() { # package field: what the lock file says, or nothing
  node -p '
    const [file, name, field] = process.argv.slice(1);
    require(file).packages["node_modules/" + name]?.[field] ?? ""' "$here/package-lock.json" "$1" "$2"
}

mkdir -p "$cache" 2> /dev/null && [ -w "$cache" ] || skip "$cache cannot be written"
exec 9> "$cache/.interop.lock"
flock 9 # several tests start at once; the first one installs
if [ -e "$dir/.complete" ]; then
  printf '%s\n' "$dir"
  exit 0
fi

work=$(mktemp -d "$cache/.interop.XXXXXX")
trap 'rm -rf "$work"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$work/"
printf '== installing the real iroh from npm into %s\n' "$dir" >&2
fetch() { # package: unpacks it into $work/node_modules after checking it against the lock file
  local package=$1 pinned version file sum
  pinned=$(lock "$package" integrity)
  version=$(lock "$package" version)
  [ -n "$pinned" ] || skip "package-lock.json has no checksum for $package ($(uname -m))"
  file=$(cd "$work" && timeout 300 npm pack --silent --ignore-scripts --fetch-retries=1 \
    --fetch-timeout=60000 "$package@$version" 2> npm.log < /dev/null) || {
    tail -n 20 "$work/npm.log" >&2
    skip "npm cannot get $package $version here"
  }
  sum=sha512-$(node -p 'require("crypto").createHash("sha512")
    .update(require("fs").readFileSync(process.argv[1])).digest("base64")' "$work/$file")
  if [ "$sum" != "$pinned" ]; then
    printf 'interop: %s is %s, package-lock.json pins %s\n' "$file" "$sum" "$pinned" >&2
    exit 1
  fi
  mkdir -p "$work/node_modules/$package"
  tar -xzf "$work/$file" -C "$work/node_modules/$package" --strip-components=1
  rm "$work/$file"
}

# "npm ci" would do, were it not that it wants the bindings of all platforms in the lock file: not
# every archive has all of them. Two packages are needed, the wrapper and this platform's binding.
fetch @number0/iroh
fetch "@number0/iroh-$platform"
if ! (cd "$work" && node -e 'require("./node_modules/@number0/iroh/index.js").SecretKey.generate()') \
  > "$work/load.log" 2>&1; then
  tail -n 5 "$work/load.log" >&2
  skip "iroh's binding does not load on this machine ($(uname -m), node $(node --version))"
fi
chmod 755 "$work"
touch "$work/.complete"
rm -rf "$dir"
mv "$work" "$dir"
trap - EXIT
printf '%s\n' "$dir"
