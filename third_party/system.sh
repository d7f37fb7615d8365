# shellcheck shell=bash
# Installs what the machine lacks. Sourced by demo.sh, test.sh and .ci/run, with their folder as
# working directory. Calls no package manager when everything is there.

build_packages=(gcc libc6-dev make cmake ninja-build pkg-config autoconf automake libtool
  patch xz-utils ca-certificates libsodium-dev libuv1-dev libcjson-dev librust-blake3-dev
  libminiupnpc-dev libsqlite3-dev libqrencode-dev libyaml-dev libedit-dev)
test_packages=(libcmocka-dev valgrind python3 procps openssl iproute2 nftables conntrack)
# Programs of others that tests talk to where they are there. They may bring a service, which is why
# only the gate installs them.
peer_packages=(coturn tayga tcpdump miniupnpd-nftables bind9)
peer_packages+=(bind9-dnsutils knot-dnsutils knot dnsperf) # of the discovery server and its bench
peer_packages+=(avahi-daemon avahi-utils dbus python3-zeroconf) # of multicast DNS
peer_packages+=(zbar-tools) # of QR codes
peer_packages+=(chromium)   # of the status page
peer_packages+=(systemd libpam-systemd openssl curl) # of the services' units
lint_packages=(clang libclang-rt-dev clang-format clang-tidy g++ binutils file dpkg-dev)

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo > /dev/null; then
    sudo "$@"
  else
    printf 'Installing packages needs root or sudo. As root, run:\n  %s\n' "$*" >&2
    return 1
  fi
}

install_packages() { # package...
  local missing=() package
  if ! command -v apt-get > /dev/null; then
    printf '== no apt-get here: make sure that you have what Debian calls %s\n' "$*"
    return 0
  fi
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} = 0 ]; then
    printf '== all packages are there\n'
    return 0
  fi
  printf '== installing: %s\n' "${missing[*]}"
  as_root apt-get -q update
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -q install -y --no-install-recommends "${missing[@]}"
}

# The interop tests need node and npm; any recent ones will do, and without them they are skipped.
install_node() {
  # node brings its own list of certificate authorities; a machine behind a company's proxy has more.
  local authorities=/etc/ssl/certs/ca-certificates.crt
  [ ! -r $authorities ] || export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-$authorities}"
  command -v node > /dev/null && command -v npm > /dev/null && return 0
  install_packages nodejs npm ||
    printf '!! no nodejs and npm: the tests against real iroh will be skipped\n'
}
