# shellcheck shell=bash
# Tarballs of Debian source packages, by way of this machine's own apt configuration: its mirrors,
# proxies and keys. Nothing below /etc or /var is written; suites other than the configured ones
# are asked for with a private configuration. No mirror is named here.

# The mirrors that apt uses for a "main" component, those of a distribution first. Without
# --no-release-info apt would name nothing before its first update.
debian_sites() {
  command -v apt-get > /dev/null || return 0
  apt-get indextargets --no-release-info --format '$(COMPONENT)|$(REPO_URI)' 2> /dev/null |
    awk -F '|' '$1 == "main" && !seen[$2]++ { print ($2 ~ /(debian|ubuntu)\/$/ ? 0 : 1), $2 }' |
    sort -s -k 1,1 | cut -d ' ' -f 2-
}

debian_releases() {
  apt-get indextargets --no-release-info --format '$(RELEASE)' 2> /dev/null | sort -u
}

# Fetches a URL the way apt does; false when it is not there.
apt_download() { # $1: url, $2: file
  local url=$1 helper=/usr/lib/apt/apt-helper
  rm -f "$2"
  if copy_local "$url" "$2"; then
    return 0
  fi
  [ -x "$helper" ] || return 1
  "$helper" -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 -o Acquire::Retries=2 \
    download-file "$url" "$2" > "$2.log" 2>&1 && [ -s "$2" ]
}

debian_pool_folder() { # $1: source package
  case $1 in
    lib?*) echo "pool/main/${1:0:4}/$1" ;;
    *) echo "pool/main/${1:0:1}/$1" ;;
  esac
}

# The pinned tarball stays in the pool of a mirror as long as any suite uses it.
debian_pinned() { # $1: name, $2: folder for downloads
  local site file=$2/$lock_file
  say "$1: asking the Debian archive of this machine for $lock_file"
  while read -r site; do
    if apt_download "${site%/}/$(debian_pool_folder "$lock_debian")/$lock_file" "$file"; then
      take_pinned "$1" "$file" "Debian source package, $lock_file"
      return 0
    fi
  done < <(debian_sites)
  return 1
}

# Prints "version sha256 path" of the newest upstream tarball that one suite has.
debian_newest() { # $1: apt configuration, $2: source package
  apt-cache -c "$1" showsrc "$2" 2> /dev/null | awk '
    /^Version:/ { version = $2; sub(/^[0-9]+:/, "", version); sub(/-[^-]*$/, "", version) }
    /^Directory:/ { folder = $2 }
    /^[A-Za-z0-9-]+:/ { sums = ($1 == "Checksums-Sha256:") }
    sums && $3 ~ /\.orig\.tar\.[a-z0-9]+$/ { sha = $1; file = $3 }
    /^$/ { if (file != "") print version, sha, folder "/" file; file = "" }
    END { if (file != "") print version, sha, folder "/" file }' | sort -V -k 1,1 | tail -n 1
}

debian_private_apt() { # $1: folder, $2: site, $3: suite; prints the configuration's path
  local dir=$1 options='' keys
  for keys in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
    case $2 in
      */debian/ | */debian) [ -r "$keys" ] && options="[signed-by=$keys] " ;;
    esac
  done
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial" "$dir/empty"
  printf 'deb-src %s%s %s main\n' "$options" "$2" "$3" > "$dir/sources.list"
  cat > "$dir/apt.conf" << CONF
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "$dir/empty";
Dir::State::lists "$dir/lists";
Dir::Cache "$dir/cache";
APT::Sandbox::User "";
Acquire::http::Timeout "30";
CONF
  echo "$dir/apt.conf"
}

# No place has the pinned version any more: the archive's own current one, whose checksum apt
# verified through the signed index, if it is not older than the minimum.
debian_newer() { # $1: name, $2: folder for downloads
  local site suite conf version sha256 path dir
  while read -r site; do
    for suite in sid devel $(debian_releases); do
      dir=$2/apt-$suite
      conf=$(debian_private_apt "$dir" "$site" "$suite")
      say "$1: reading the source index of '$suite'"
      apt-get -c "$conf" update > "$dir/update.log" 2>&1 || continue
      read -r version sha256 path < <(debian_newest "$conf" "$lock_debian") || continue
      dpkg --compare-versions "$version" ge "$lock_min" || continue
      apt_download "${site%/}/$path" "$2/${path##*/}" || continue
      [ "$(sha256_of "$2/${path##*/}")" = "$sha256" ] ||
        die "$1: ${path##*/} does not have the SHA-256 that the index of '$suite' gives it"
      warn "$1 $lock_version, the pinned version, is nowhere to be had. Building $version from the \
Debian archive instead: nobody tested KeyMesh with it. Please update third_party/lock."
      # shellcheck disable=SC2034 # the caller uses these
      found_file=$2/${path##*/} found_version=$version found_sha256=$sha256
      return 0
    done
  done < <(debian_sites)
  return 1
}
