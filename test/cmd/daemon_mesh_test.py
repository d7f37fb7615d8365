"""Shares in sync and trust at work, between whole nodes."""
import time
import unittest

import daemon_lab
import lab
import vectors
from daemon_lab import until


class Shares(daemon_lab.MeshCase):
    """Entries between nodes."""

    def test_entries_appear_and_disappear(self):
        a, b = self.pair()
        a.start()
        b.start()
        a.wait_for(b)
        watch = b.control()
        watch.send("kv.watch", share="docs")
        watch.send("health")
        watch.answer()
        a.ask("kv.put", share="docs", key="a/b", value="hello")
        row = watch.answer()["row"]
        self.assertEqual((row["key"], row["value"], row["author"], row["own"]),
                         ("a/b", "hello", a.id, False))
        b.ask("kv.put", share="docs", key="a/b", value="world")
        a.wait_value("a/b", "world")
        a.ask("kv.delete", share="docs", key="a/b")
        b.wait_value("a/b", None)
        self.assertEqual(b.ask("kv.verify", share="docs")["checked"], 1)
        until("equal", lambda: a.hash() == b.hash())

    def test_offline_edits_merge(self):
        a, b = self.pair()
        a.start()
        b.start()
        a.wait_for(b)
        a.ask("kv.put", share="docs", key="both", value="0")
        b.wait_value("both", "0")
        b.stop()
        for n in range(50):
            a.ask("kv.put", share="docs", key=f"a{n}", value="A")
        a.ask("kv.put", share="docs", key="both", value="A")
        a.stop()
        b.start()
        for n in range(50):
            b.ask("kv.put", share="docs", key=f"b{n}", value="B")
        b.ask("kv.put", share="docs", key="both", value="B")  # later
        a.start()
        until("equal", lambda: len(a.rows("kv.list", share="docs")) == 101 and
              a.hash() == b.hash())
        self.assertEqual((a.value("both"), b.value("both")), ("B", "B"))

    def test_killed_nodes_converge(self):
        a, b = self.pair()
        a.start()
        b.start()
        for turn in range(3):
            for node in (a, b):
                for n in range(20):
                    node.ask("kv.put", share="docs", key=f"{node.name}/{turn}/{n}", value="x")
                node.daemon.child.kill()
                node.daemon.wait()
                node.start()
        until("equal", lambda: len(a.rows("kv.list", share="docs")) == 120 and
              a.hash() == b.hash())

    def test_entries_pass_through(self):
        a, b, c = (self.node(f"host-{x}", others="rw") for x in "ABC")
        for one, other in ((a, b), (b, c)):
            one.knows(other)
            other.knows(one)
        for node in (a, b, c):
            node.start()
        a.wait_for(b)
        c.wait_for(b)
        a.ask("kv.put", share="docs", key="k", value="far")
        c.wait_value("k", "far")
        self.assertEqual(c.ask("kv.verify", share="docs", key="k")["author"], a.id)

    def test_what_a_peer_may_not(self):
        a, b = self.node("host-A"), self.node("host-B")
        a.knows(b, access="ro")
        b.knows(a, access="rw")
        a.start()
        b.start()
        a.wait_for(b)
        b.ask("kv.put", share="docs", key="mine", value="no")
        a.ask("kv.put", share="private", key="k", value="secret")
        a.ask("kv.put", share="docs", key="k", value="shown")
        b.wait_value("k", "shown")
        a.ask("sync")
        until("a sync after it", lambda: a.ask("stats")["syncs"] > 1)
        self.assertIsNone(a.value("mine"))
        self.assertIsNone(b.value("k", share="private"))
        self.assertEqual(a.ask("peer.access", peer="host-B", share="docs")["access"], "ro")


class Trust(daemon_lab.MeshCase):
    """Who is let in."""

    def test_stranger_waits_for_approval(self):
        a, b = self.node("host-A", others="ro"), self.node("host-B")
        b.knows(a)
        a.start()
        b.start()
        event = a.daemon.event("request")
        self.assertEqual((event["id"], event["state"]), (b.id, "pending"))
        self.assertEqual([r["id"] for r in a.rows("peer.requests")], [b.id])
        peer = until("refused", lambda: b.peer(a) if b.peer(a)["state"] == "refused" else None)
        self.assertIn("approval", peer["last_error"])
        self.assertEqual(a.ask("peer.approve", peer=b.id)["origin"], "approval")
        b.ask("request-access")
        b.wait_for(a)
        self.assertEqual(a.rows("peer.requests"), [])
        self.assertEqual(a.ask("peer.access", peer=b.id, share="docs")["access"], "ro")

    def test_denied_stranger_stays_out(self):
        a, b = self.node("host-A"), self.node("host-B")
        b.knows(a)
        a.start()
        b.start()
        a.daemon.event("request")
        self.assertEqual(a.ask("peer.deny", peer=b.id)["state"], "blocked")
        b.ask("peer.dial", peer="host-A")
        until("blocked", lambda: "block" in (b.peer(a)["last_error"] or ""))
        self.assertEqual(a.ask("security.status")["blocked"], 1)

    def test_revocation_cuts_at_once(self):
        a, b = self.pair()
        a.start()
        b.start()
        a.wait_for(b)
        self.assertEqual(a.ask("peer.revoke", peer="host-B", reason="lost")["state"], "blocked")
        b.wait_without(a)
        a.ask("kv.put", share="docs", key="after", value="secret")
        b.ask("peer.dial", peer="host-A")
        until("refused", lambda: b.peer(a)["state"] == "refused")
        self.assertIsNone(b.value("after"))
        self.assertEqual(a.ask("peer.trust", peer="host-B")["state"], "trusted")
        b.ask("peer.dial", peer="host-A")
        b.wait_for(a)
        b.wait_value("after", "secret")

    def test_revocation_spreads(self):
        accepts = {"security": "  accept_revocations: true"}
        a, b, c = self.node("host-A"), self.node("host-B", **accepts), self.node("host-C")
        a.knows(b)
        b.knows(a)
        c.knows(b)  # B does not have it in its file: that would count more
        for node in (a, b, c):
            node.start()
        a.wait_for(b)
        b.ask("peer.trust", peer=c.id, name="carol")
        c.ask("request-access")
        c.wait_for(b)
        a.ask("peer.revoke", peer=c.id, reason="stolen")
        c.wait_without(b)
        until("refused", lambda: c.peer(b)["state"] == "refused")
        known, = b.rows("peer.list", state="blocked")
        self.assertEqual((known["id"], known["origin"]), (c.id, "revocation"))

    def test_no_reason_of_a_revocation_makes_trusted(self):
        """Not even the words with which the configuration's own blocks end."""
        accepts = {"security": "  accept_revocations: true"}
        a, b = self.node("host-A"), self.node("host-B", **accepts)
        a.knows(b)
        b.knows(a)
        a.start()
        b.start()
        a.wait_for(b)
        who = vectors.keys()[0]["id"]
        a.ask("peer.revoke", peer=who,
              reason="security.block of keymesh.yaml; was trusted until 0: x")
        until("blocked at B too", lambda: b.rows("peer.list", state="blocked"))
        b.stop()
        b.start()
        known, = b.rows("peer.list")
        self.assertEqual((known["state"], known["origin"]), ("blocked", "revocation"))

    def test_revocation_of_others_does_not_count_without_being_asked(self):
        a, b, c = self.node("host-A"), self.node("host-B"), self.node("host-C")
        a.knows(b)
        b.knows(a)
        c.knows(b)
        for node in (a, b, c):
            node.start()
        a.wait_for(b)
        b.ask("peer.trust", peer=c.id)
        c.ask("request-access")
        c.wait_for(b)
        a.ask("peer.revoke", peer=c.id)
        a.ask("kv.put", share="docs", key="behind it", value="x")
        b.wait_value("behind it", "x")
        self.assertTrue(c.peer(b)["connected"])
        self.assertEqual(b.rows("peer.list", state="blocked"), [])

    def test_recommended_peer_is_let_in(self):
        a = self.node("host-A", security="  recommend_threshold: 1")
        b, c = self.node("host-B"), self.node("host-C")
        for one, other in ((a, b), (b, c)):
            one.knows(other)
            other.knows(one)
        c.knows(a)
        for node in (a, b, c):
            node.start()
        a.wait_for(b)
        until("refused", lambda: c.peer(a)["state"] == "refused")
        b.ask("peer.recommend", peer="host-C", name="carol")

        def let_in():
            c.ask("request-access")
            return c.connected(a)
        until("let in", let_in)
        b.ask("peer.withdraw", peer="host-C")
        c.wait_without(a)
        until("refused again", lambda: c.peer(a)["state"] == "refused")

    def test_announced_name_is_shown(self):
        a, b = self.node("host-A"), self.node("host-B")
        b.knows(a)
        a.start()
        a.ask("peer.trust", peer=b.id)  # before it knocks, which would give it the name it says
        b.start()
        b.wait_for(a)
        b.ask("announce", name="Bob's box")
        until("the name", lambda: a.peer(b)["name"] == "Bob's box")
        self.assertEqual(b.ask("announce"), {"name": "host-B"})

    def test_first_use(self):
        a, b = self.node("host-A", level="signed"), self.node("host-B")
        b.knows(a)
        a.start()
        b.start()
        b.wait_for(a)
        known, = a.rows("peer.list")
        self.assertEqual((known["id"], known["origin"]), (b.id, "first use"))

    def test_dialling_whom_one_does_not_trust(self):
        a, b = self.node("host-A", others="ro"), self.node("host-B", level="signed")
        a.start()
        b.start()
        ticket = b.ready["ticket"]
        self.assertIn("not trusted", self.refused("STATE", a, "peer.dial", peer=ticket))
        a.ask("peer.trust", peer=ticket, name="bob")
        a.ask("peer.dial", peer=ticket)
        self.assertEqual(a.wait_for(b)["name"], "bob")
        self.assertEqual(a.stop().status, lab.OK)

    def test_whom_one_dials_stays_for_as_long_as_it_is_trusted(self):
        a, b = self.node("host-A", others="ro"), self.node("host-B", level="signed")
        a.start()
        b.start()
        ticket = b.ready["ticket"]
        a.ask("peer.trust", peer=ticket)
        a.ask("peer.dial", peer=ticket)  # it has no name
        a.wait_for(b)
        a.ask("peer.forget", peer=b.id)
        until("forgotten", lambda: a.peer(b) is None)
        a.ask("peer.trust", peer=ticket)
        a.ask("peer.dial", peer=ticket)
        a.wait_for(b)
        a.ask("peer.trust", peer=b.id, expires=int(time.time()) + 5)
        a.wait_without(b)
        until("refused", lambda: a.peer(b)["state"] == "refused")


if __name__ == "__main__":
    unittest.main(verbosity=2)
