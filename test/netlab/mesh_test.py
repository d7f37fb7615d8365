"""Nodes of a mesh across NATs, and one that is not let in any more."""
import json
import os
import shutil
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from netlab import SKIP, Lab, enter, until  # noqa: E402
from netlab.mesh_nodes import LIMIT, MeshNode  # noqa: E402
from netlab.nodes import cmd, missing_programs  # noqa: E402


class MeshCase(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="km-mesh-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.lab = Lab()
        self.addCleanup(self.lab.close)

    def node(self, host, name, **settings):
        return MeshNode(self.lab, host, self.folder, name, **settings)


class Walk(MeshCase):
    """The first KeyMesh's acceptance walk, by ids alone: two NATs, a km-relay and a km-dns."""

    def setUp(self):
        super().setUp()
        self.relay = self.lab.relay(self.lab.servers[0])
        self.dns = self.lab.dns_server(self.lab.servers[1])
        self.sites = [self.lab.site("port_restricted", name=name) for name in ("here", "there")]
        self.a, self.b = (self.node(site.host, name, relay="custom", relay_urls=[self.relay.url],
                                    pkarr=[self.dns.pkarr], heartbeat_sec=1, backoff=[1, 2])
                          for site, name in zip(self.sites, ("host-A", "host-B")))
        self.a.knows(self.b)
        self.b.knows(self.a)

    def peers_as_people_ask(self, node):
        """`km-node peers --json`."""
        done = node.run("peers", "--json")
        self.assertEqual(done.status, cmd.OK, done.err)
        return [json.loads(line) for line in done.out.splitlines()]

    def backs_off(self):
        def waiting():
            peer = self.a.peer(self.b)
            return peer["state"] == "waiting" and peer["attempts"] >= 2 and peer
        until(LIMIT, "back-off", waiting, 0.05)
        peer, = self.peers_as_people_ask(self.a)
        self.assertEqual((peer["id"], peer["connected"]), (self.b.id, False))
        self.assertTrue(peer["last_error"])
        self.assertIsNone(peer["last_hello_ts"])
        print(f"alone: {peer['last_error']}", flush=True)

    def shows_it(self):
        """The page of B, asked at B; nobody else can."""
        status, text = self.b.page("/peers")
        self.assertEqual(status, 200)
        peer, = json.loads(text)["peers"]
        self.assertEqual((peer["id"], peer["connected"], peer["last_error"]),
                         (self.a.id, True, None))
        self.assertEqual(peer["allowed_shares"], ["common"])
        status, text = self.b.page("/health")
        self.assertEqual((status, json.loads(text)["node_id"]), (200, "host-B"))
        self.assertEqual(self.b.page("/")[0], 200)
        self.assertEqual(self.b.page("/metrics")[0], 200)

    def connects(self, what, begin):
        peer = self.a.wait_for(self.b)
        took = time.monotonic() - begin
        self.assertIsNone(peer["last_error"])
        peer = self.a.wait_for(self.b, path="direct")
        print(f"{what}: connected after {took:.1f} s, direct after "
              f"{time.monotonic() - begin:.1f} s at {peer['addr']}", flush=True)
        self.b.wait_for(self.a)
        return peer

    def test_acceptance_walk(self):
        self.a.start()
        self.backs_off()
        begin = time.monotonic()
        self.b.start()
        peer = self.connects("B came", begin)
        self.assertIn(self.sites[1].public_v4, peer["addr"])
        self.assertEqual(peer["node_id"], "host-B")
        self.assertGreater(min(self.lab.passed(*self.sites)), 0)
        until(LIMIT, "a heartbeat", lambda: self.a.peer(self.b)["rtt_ms"])
        self.shows_it()
        self.a.put("walk", "from A")
        self.b.wait_value("walk", "from A")
        self.b.put("back", "from B")
        self.a.wait_value("back", "from B")

        self.assertEqual(self.b.stop(), cmd.OK)
        peer = self.a.wait_without(self.b)
        self.assertTrue(peer["last_error"])
        self.assertEqual(peer["node_id"], "host-B")
        print(f"B was stopped: {peer['last_error']}", flush=True)
        self.a.put("walk", "while B was away")
        begin = time.monotonic()
        self.b.start()
        self.connects("B is back", begin)
        self.b.wait_value("walk", "while B was away")

        self.b.kill()  # it says no goodbye
        peer = self.a.wait_without(self.b)
        self.assertTrue(peer["last_error"])
        print(f"B was killed: {peer['last_error']}", flush=True)
        begin = time.monotonic()
        self.b.start()
        self.connects("B is back again", begin)
        self.assertEqual(self.b.value("back"), "from B")
        self.assertEqual(self.a.stop(), cmd.OK)

    def test_another_way_to_the_internet(self):
        """B's host leaves its LAN for another: the connection stays, or comes back by itself."""
        self.a.start()
        self.b.start()
        self.connects("both", time.monotonic())
        other = self.lab.site("port_restricted", name="other", v4_net="192.168.7")
        begin, host = time.monotonic(), self.sites[1].host
        self.sites[1].uplink.down()
        host.ip("link set eth0 down")
        other.join(host, "eth1", 50)
        until(LIMIT, "B at its new address", lambda: (
            (peer := self.a.connected(self.b)) and other.public_v4 in peer["addr"]), 0.05)
        print(f"another LAN: direct again after {time.monotonic() - begin:.1f} s", flush=True)
        self.a.put("moved", "yes")
        self.b.wait_value("moved", "yes")


class Trust(MeshCase):
    """Three on a network of their own, each with a connection to the others."""

    def setUp(self):
        super().setUp()
        segment = self.lab.segment(v6=False)
        accepts = {"B": {"accept_revocations": True}}
        self.nodes = self.a, self.b, self.c = [
            self.node(segment.add_host(), f"host-{x}", heartbeat_sec=1, backoff=[1],
                      sync_interval_sec=1, publish=False, relay="off", default_mode="rw",
                      **accepts.get(x, {})) for x in "ABC"]
        for one, other in (self.a, self.b), (self.b, self.a), (self.a, self.c), (self.c, self.a), (
                self.c, self.b):
            one.knows(other, other.addr)  # C is not in B's file: that would count more

    def test_a_revoked_peer_gets_nothing_more(self):
        for node in self.nodes:
            node.start()
        self.b.ask("peer.trust", peer=self.c.id, name="carol")
        self.c.ask("request-access")
        for one, other in (self.a, self.b), (self.a, self.c), (self.b, self.c):
            one.wait_for(other)
        self.a.put("before", "for all")
        for node in self.b, self.c:
            node.wait_value("before", "for all")

        self.a.ask("peer.revoke", peer=self.c.id, reason="stolen")
        known, = until(LIMIT, "B has heard", lambda: self.b.rows("peer.list", state="blocked"))
        self.assertEqual((known["id"], known["origin"]), (self.c.id, "revocation"))
        self.a.put("after", "from A")  # before anybody had time to close anything
        self.b.put("after B", "from B")
        self.b.wait_value("after", "from A")
        for node in self.a, self.b:
            node.wait_without(self.c)
        # It tries, is refused by both, and again after it was started anew.
        for turn in range(2):
            for node in self.a, self.b:
                self.c.ask("peer.dial", peer=node.id)
                peer = until(LIMIT, "refused", lambda n=node: (
                    (p := self.c.peer(n))["state"] == "refused" and p), 0.05)
                self.assertTrue(peer["last_error"])
            self.a.put(f"turn {turn}", "x")
            self.b.wait_value(f"turn {turn}", "x")
            self.c.put(f"C's {turn}", "x")
            self.c.stop()
            self.c.start()
        print(f"C is told: {peer['last_error']}", flush=True)
        self.assertEqual([key for key in self.c.entries() if "C's" not in key], ["before"])
        for node in self.a, self.b:
            self.assertEqual([key for key in node.entries() if "C's" in key], [])
            self.assertEqual(node.ask("kv.get", share="common", key="before")["value"], "for all")

    def test_a_deserter_cannot_come_by_another_way(self):
        """Its later entries do not come in through one who has not heard of the revocation, nor is
        that one to blame for passing them on."""
        self.b.settings["accept_revocations"] = False
        self.b.write()
        for node in self.nodes:
            node.start()
        self.b.ask("peer.trust", peer=self.c.id, name="carol")
        self.c.ask("request-access")
        self.b.wait_for(self.c)
        self.a.wait_for(self.b)
        self.a.ask("peer.revoke", peer=self.c.id, reason="stolen")
        self.a.wait_without(self.c)
        for n in range(40):
            self.c.put(f"late {n}", "forged plans")
        self.b.wait_value("late 39", "forged plans")
        self.b.put("honest", "yes")
        self.a.wait_value("honest", "yes")
        syncs = self.a.ask("stats")["syncs"]
        until(LIMIT, "syncs", lambda: self.a.ask("stats")["syncs"] >= syncs + 6, 0.05)
        self.assertEqual(sorted(self.a.entries()), ["honest"])
        peer = self.a.peer(self.b)
        self.assertEqual((peer["connected"], peer["faults"]["cut"]), (True, 0), peer["last_error"])
        self.assertGreater(peer["faults"]["forbidden"], 0)  # but it is told


class Strangers(MeshCase):
    """A chain: the ends do not know each other, and a new project lets no stranger write."""

    def test_what_only_the_middle_takes(self):
        segment = self.lab.segment(v6=False)
        a, b, c = nodes = [
            self.node(segment.add_host(), f"host-{x}", heartbeat_sec=1, backoff=[1],
                      sync_interval_sec=1, publish=False, relay="off") for x in "ABC"]
        for one, other in (a, b), (b, a), (b, c), (c, b):
            one.knows(other, other.addr)
        for node in nodes:
            node.start()
        a.wait_for(b)
        c.wait_for(b)
        for n in range(40):
            c.put(f"c{n}", "from C")
        b.wait_value("c39", "from C")
        b.put("b", "from B")
        for node in a, c:
            node.wait_value("b", "from B")
        syncs = a.ask("stats")["syncs"]
        until(LIMIT, "syncs", lambda: a.ask("stats")["syncs"] >= syncs + 6, 0.05)
        self.assertEqual(sorted(a.entries()), ["b"])
        peer = a.peer(b)
        self.assertEqual((peer["connected"], peer["faults"]["cut"]), (True, 0), peer["last_error"])


if __name__ == "__main__":
    missing = missing_programs("km-dns")
    if missing:
        print(f"skipped: {missing}")
        sys.exit(SKIP)
    enter()
    unittest.main(verbosity=2)
