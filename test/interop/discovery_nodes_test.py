"""Real iroh and KeyMesh find and dial each other by id alone, through a discovery server: km-dns,
or the real iroh-dns-server.

    discovery_nodes_test.py km|iroh
"""
import re
import sys
import unittest

import discovery_lab as lab
from discovery_lab import HOST, HOST6, ORIGIN, Discovery, IrohDns, IrohPeer, dns_port, pkarr_url
from lab import OK, UNREACHABLE, Server, run
from pkarr import Key, now_us, z32
from rust_peer_build import PEER, build_or_end

SERVER = "km"
DIRECT = rf"addr=({re.escape(HOST)}|\[{HOST6}\]):[0-9]+"


class Nodes(Discovery):
    def setUp(self):
        super().setUp()
        self.server = self.iroh_dns() if SERVER == "iroh" else self.km_dns()
        self.by_pkarr = "--pkarr", pkarr_url(self.server)
        self.by_dns = "--dns-origin", ORIGIN, "--dns-server", self.server.dns

    # --- ours dials theirs

    def iroh(self, *words):
        return self.start(IrohPeer, "--publish", pkarr_url(self.server), *words)

    def dial(self, peer, words, *more):
        result = run("node2", peer.id, "--send", "hello", "--no-publish", "--json", *words, *more)
        self.assertEqual(result.status, OK, result.out + result.err)
        peer.expect(r"accepted \w+")
        return result

    def resolve(self, peer, words):
        """What each source says."""
        result = run("resolve", peer.id, "--json", *words)
        self.assertEqual(result.status, OK, result.out + result.err)
        return [e for e in result.events if e["event"] == "found"]

    def test_ours_dials_theirs_at_addresses(self):
        data = "häuser = houses:" + "ß" * 114  # 245 bytes with the ä, as many as there may be
        peer = self.iroh("--publish-direct", "--user-data", data)
        self.published(self.server, peer.z32, DIRECT, "user-data=.*")
        for words, source in (self.by_pkarr, "pkarr"), (self.by_dns, "dns"):
            found = self.resolve(peer, words)
            self.assertEqual([e["source"] for e in found], [source])
            self.assertEqual(found[0]["relays"], [])
            self.assertIn(HOST, [addr.rsplit(":", 1)[0] for addr in found[0]["direct"]])
            self.assertEqual(found[0]["user_data"], data)
            self.assertIs(found[0]["proven"], source == "pkarr")
            self.dial(peer, words)

    def test_ours_dials_theirs_through_a_relay(self):
        relay = self.relay()
        peer = self.iroh("--relay", relay.url)
        self.published(self.server, peer.z32, f"relay={re.escape(relay.url)}")
        for words in self.by_pkarr, self.by_dns:
            found = self.resolve(peer, words)
            self.assertEqual([(e["relays"], e["direct"]) for e in found], [([relay.url], [])])
            self.dial(peer, words, "--relay", relay.url, "--policy", "relay-only")
            self.dial(peer, words, "--relay", relay.url)

    def test_both_sources_at_once(self):
        peer = self.iroh("--publish-direct")
        self.published(self.server, peer.z32, DIRECT)
        found = self.resolve(peer, (*self.by_pkarr, *self.by_dns))
        self.assertEqual(sorted(e["source"] for e in found), ["dns", "pkarr"])
        self.dial(peer, (*self.by_pkarr, *self.by_dns))

    # --- theirs dials ours

    def ours(self, *words):
        node = self.start(Server, *self.by_pkarr, *words, bind=f"{HOST}:0")
        node.z32 = z32(bytes.fromhex(node.id))
        return node

    def lookups(self):
        return (("--pkarr", pkarr_url(self.server)), "pkarr"), (
            ("--dns", ORIGIN, f"127.0.0.1:{dns_port(self.server)}"), "dns")

    def test_theirs_dials_ours_at_addresses(self):
        node = self.ours("--publish-direct", "--user-data", "häuser")
        self.published(self.server, node.z32, f"addr={re.escape(node.addr)}", "user-data=.*")
        for words, source in self.lookups():
            peer = self.start(IrohPeer, *words)
            self.assertEqual(peer.resolve(node.id), (
                {source: {"addrs": [node.addr], "relays": [], "data": "häuser"}}, []))
            peer.echo(node.id, f"by {source}")
            self.assertEqual(node.event("connected")["remote"], peer.id)

    def test_theirs_dials_ours_through_a_relay(self):
        relay = self.relay()
        node = self.ours("--relay", relay.url)
        self.published(self.server, node.z32, f"relay={re.escape(relay.url)}")
        for words, source in self.lookups():
            peer = self.start(IrohPeer, "--relay", relay.url, *words)
            self.assertEqual(peer.resolve(node.id), (
                {source: {"addrs": [], "relays": [relay.url], "data": None}}, []))
            peer.echo(node.id, f"by {source}")
            self.assertEqual(node.event("connected")["remote"], peer.id)

    def test_ours_over_ipv6_and_with_everything(self):
        """As much as a packet holds, beside which iroh passes over the key name record."""
        key = self.file("node.key", b"08" * 32)
        made = run("record", "publish", "--key-file", key, *self.by_pkarr, "--name", "alice",
                   "--service", "http=https://example.org/", "--out", self.path("record"), "--json")
        self.assertEqual(made.status, OK, made.out + made.err)
        data = "ü" * 122 + "x"  # 245 bytes, as many as there may be
        node = self.ours("--publish-direct", "--user-data", data, "--key-file", key, "--record",
                         self.path("record"), "--bind", f"[{HOST6}]:0")
        self.assertEqual(len(node.ready["direct"]), 2, node.ready)
        self.published(self.server, node.z32, "addr=.*", "user-data=.*")
        for words, source in self.lookups():
            peer = self.start(IrohPeer, "--bind", f"[{HOST6}]:0", *words)
            answers, errors = peer.resolve(node.id)
            self.assertEqual((list(answers), errors), ([source], []))
            self.assertEqual(sorted(answers[source]["addrs"]), sorted(node.ready["direct"]))
            self.assertEqual(answers[source]["data"], data)
            peer.echo(node.id, f"by {source}")
        for words in self.by_pkarr, self.by_dns:
            result = run("record", "resolve", node.id, "--json", *words)
            self.assertEqual(result.status, OK, result.out + result.err)
            self.assertEqual(result.event("record")["record"]["name"], "alice")

    # --- what is not there, and what changes

    def test_nobody_knows(self):
        stranger = self.start(IrohPeer)
        for words in self.by_pkarr, self.by_dns:
            result = run("resolve", stranger.id, "--json", *words)
            self.assertEqual(result.status, UNREACHABLE, result.out + result.err)
            result = run("node2", stranger.id, "--send", "hello", "--no-publish", "--json", *words)
            self.assertEqual(result.status, UNREACHABLE, result.out + result.err)
        for words, _ in self.lookups():
            answers, errors = self.start(IrohPeer, *words).resolve(stranger.id)
            self.assertEqual(answers, {})
            self.assertTrue(errors)

    def test_the_newest_counts(self):
        """The same key at another place: a later start of theirs, then one of ours."""
        secret = "07" * 32
        first = self.iroh("--publish-direct", "--key", secret)
        self.published(self.server, first.z32, DIRECT)
        first.end()
        old = self.resolve(first, self.by_pkarr)[0]["direct"]
        key = self.file("node.key", secret.encode())
        node = self.ours("--publish-direct", "--key-file", key)
        self.assertEqual(node.id, first.id)
        self.published(self.server, node.z32, f"addr={re.escape(node.addr)}")
        self.assertEqual(self.resolve(node, self.by_pkarr)[0]["direct"], [node.addr])
        self.assertNotEqual(old, [node.addr])
        peer = self.start(IrohPeer, "--pkarr", pkarr_url(self.server))
        peer.echo(node.id, "still here")

    def test_a_clock_was_ahead(self):
        """What the server has is from tomorrow; iroh-dns-server says that it took an older one."""
        seed = bytes(31) + b"\x09"
        theirs = Key(seed)
        packet = theirs.packet("addr=192.0.2.9:9", timestamp_us=now_us() + 86400 * 10**6)
        self.assertEqual(self.server.ask("PUT", f"/pkarr/{theirs.z32}", packet).status, 204)
        key = self.file("node.key", seed.hex().encode())
        node = self.ours("--publish-direct", "--key-file", key)
        self.assertEqual(node.z32, theirs.z32)
        self.published(self.server, node.z32, f"addr={re.escape(node.addr)}")
        peer = self.start(IrohPeer, "--pkarr", pkarr_url(self.server))
        peer.echo(node.id, "newer than tomorrow")


if __name__ == "__main__":
    if sys.argv[1:2] not in (["km"], ["iroh"]):
        sys.exit("discovery_nodes_test.py km|iroh")
    SERVER = sys.argv.pop(1)
    if SERVER == "iroh":
        IrohDns.program = lab.crate("iroh-dns-server")
    IrohPeer.program, = build_or_end(PEER)
    lab.enter()
    unittest.main(verbosity=2)
