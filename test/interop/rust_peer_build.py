"""Builds km-iroh-peer (rust_peer/): a real iroh endpoint with the address lookups that a test
wants; see test/bench/cargo_build.py.

There are two: with today's swarm-discovery below its mDNS, and with the last one that sends TTL 0
and no PTR.

  KM_IROH_PEER_REQUIRED   1: an impossible build is a failure, not a skip
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../bench"))
from cargo_build import Crate, Skip  # noqa: E402


def swarm_discovery(version, checksum):
    """Its lines in pinned.lock."""
    return f'name = "swarm-discovery"\nversion = "{version}"\nchecksum = "{checksum}"'


FOLDER, PROGRAM = os.path.join(HERE, "rust_peer"), "km-iroh-peer"
PEER = Crate(FOLDER, PROGRAM, "iroh-peer")
PEER_TTL0 = Crate(FOLDER, PROGRAM, "iroh-peer", other=(
    swarm_discovery("0.6.5", "d7e56b7e93eaffb9baba3e64936a5912540847516fc5f26d66ad18044b8d4a14"),
    swarm_discovery("0.6.0", "7a5e3cb18dc0532c89b4fd9f5c9a44cb2db3c15520b6fa37d604b878ba431afb")))


def build_or_end(*crates):
    """The paths of the programs; ends this one, loudly, where they cannot be had."""
    try:
        return [crate.build() for crate in crates]
    except Skip as skip:
        print(f"\n!!!!! SKIPPED: {skip}\n!!!!! Nothing was proven against the real iroh.\n",
              file=sys.stderr)
        sys.exit(1 if os.environ.get("KM_IROH_PEER_REQUIRED") == "1" else 77)


if __name__ == "__main__":
    print("\n".join(build_or_end(PEER, PEER_TTL0)))
