#!/usr/bin/env bash
# run.sh PEER: signed packets of KeyMesh read by the npm package pkarr, and the other way round.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
KM_INTEROP_PKARR=$("$here/setup.sh") || exit $?
export KM_INTEROP_PKARR
exec node "$here/run.mjs" "$1"
