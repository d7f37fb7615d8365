# shellcheck shell=bash
# The tarball as the upstream project publishes it.

fetch_url() { # $1: url, $2: file
  if copy_local "$1" "$2"; then
    return 0
  elif command -v curl > /dev/null; then
    curl -fsSL --connect-timeout 15 --retry 2 -o "$2" "$1"
  elif command -v wget > /dev/null; then
    wget -q --connect-timeout=15 --tries=2 -O "$2" "$1"
  elif [ -x /usr/lib/apt/apt-helper ]; then
    apt_download "$1" "$2" # what a bare Debian has
  else
    return 1
  fi
}

upstream_pinned() { # $1: name, $2: folder for downloads
  local file=$2/$lock_file
  say "$1: asking the upstream project, $lock_url"
  fetch_url "$lock_url" "$file" 2> /dev/null && [ -s "$file" ] || return 1
  take_pinned "$1" "$file" "$lock_url"
}
