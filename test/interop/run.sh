#!/usr/bin/env bash
# Runs the interop driver (run.mjs takes the arguments) with the real iroh in place, inside a fresh
# network namespace where the system grants one: nothing but loopback exists there, no port can
# collide, and iroh's search for gateways goes nowhere.
#
#   run.sh [--peer PROGRAM] [--iroh-relay] DRIVER-ARGUMENT...
#
# --iroh-relay: with the real iroh-relay, or a loud skip. km-relay is taken from $KM_BIN_DIR.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ "${1:-}" = --peer ]; then
  export KM_INTEROP_PEER=$2
  shift 2
fi
if [ "${1:-}" = --iroh-relay ]; then
  KM_IROH_RELAY=$("$here/crate.sh" iroh-relay) || exit $?
  export KM_IROH_RELAY
  # The last that spoke version 1 of the protocol only.
  if KM_IROH_RELAY_V1=$("$here/crate.sh" iroh-relay 0.96.1); then
    export KM_IROH_RELAY_V1
  fi
  shift
fi
if [ -x "${KM_BIN_DIR:-}/km-relay" ]; then
  export KM_RELAY=$KM_BIN_DIR/km-relay
fi
KM_INTEROP_IROH=$("$here/setup.sh") || exit $?
export KM_INTEROP_IROH

in_namespace() { # program argument...
  local flags
  for flags in -n -rn; do
    if unshare $flags ip link set lo up 2> /dev/null; then
      # shellcheck disable=SC2016
      exec unshare $flags sh -c 'ip link set lo up && exec "$@"' sh "$@"
    fi
  done
}

in_namespace node "$here/run.mjs" "$@"
printf '# no network namespace to be had: running on this host'"'"'s loopback\n'
exec node "$here/run.mjs" "$@"
