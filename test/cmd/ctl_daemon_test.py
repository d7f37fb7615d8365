"""Commands that ask a node, while it runs: it answers, with what only it knows."""
import re

import daemon_lab
from lab import FAILED, LOST, OK, UNREACHABLE, USAGE, Case, Process, main, run
from terminal_lab import Terminal


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_time(value):
    return value is None or is_number(value)


class One(Case):
    def setUp(self):
        super().setUp()
        self.node = daemon_lab.Node(self, "alice").start()

    def ok(self, *args, **more):
        result = self.node.run(*args, **more)
        self.assertEqual((result.status, result.err), (OK, ""), args)
        return result

    def test_health(self):
        event, = self.ok("health", "--json").events
        self.check_event(event, "health", ok=True, node_id="alice", time=is_number,
                         id=self.node.id, version=str, uptime_s=is_number, peers=0, connected=0)
        self.assertIn("alice runs for", self.ok("health").out)

    def test_status(self):
        self.ok("kv", "put", "docs", "a", "1")
        events = self.ok("status", "--json").events
        self.assertEqual([e["event"] for e in events], ["status", "share", "share"])
        status = events[0]
        self.assertEqual((status["node_id"], status["id"]), ("alice", self.node.id))
        self.assertEqual((status["store"]["entries"], status["peers"]), (1, 0))
        self.assertEqual(status["direct"], [f"127.0.0.1:{self.node.port}"])
        self.check_event(events[1], "share", name="docs", path=lambda p: p is None or p,
                         delete_propagation=bool, others="none", entries=1, deleted=0, bytes=is_number)
        text = self.ok("status").out
        for part in (self.node.id, "alice", "secure", f"127.0.0.1:{self.node.port}", "docs",
                     "1 entry", "no peers"):
            self.assertIn(part, text)
        self.assertNotIn(status["ticket"], text)
        self.assertIn(status["ticket"], self.ok("status", "--long").out)

    def test_it_answers_instead_of_the_store(self):
        """The store belongs to one process: whoever can read it while the node runs, asked it."""
        self.ok("kv", "put", "docs", "a", "-", stdin=b"\x00bytes")
        self.ok("kv", "get", "docs", "a", "--out", self.path("out"))
        with open(self.path("out"), "rb") as file:
            self.assertEqual(file.read(), b"\x00bytes")
        self.assertEqual(self.node.run("kv", "get", "docs", "b").status, FAILED)
        self.check_sentence(self.node.run("kv", "put", "docs", "..", "x"), USAGE, "key")
        before = self.ok("kv", "hash").out
        self.assertEqual(self.node.stop().status, OK)
        self.assertEqual(self.ok("kv", "hash").out, before)

    def test_export_and_import_through_the_socket(self):
        text = "".join(f'{{"key":"n/{i}","value_b64":"AP8="}}\n' for i in range(3000))
        self.assertIn("3000 entries", self.ok("kv", "import", "docs", stdin=text.encode()).out)
        self.assertEqual(len(self.ok("kv", "export", "docs").out.splitlines()), 3000)
        self.assertEqual(len(self.ok("kv", "list", "docs", "--json").events), 3000)
        big = "x" * 65536
        lines = "".join(f'{{"key":"big/{i}","value":"{big}"}}\n' for i in range(40))
        self.assertIn("40 entries", self.ok("kv", "import", "docs", stdin=lines.encode()).out)

    def test_watch(self):
        watch = self.start(Process, "kv", "watch", "docs", "--prefix", "a/", "--json", "--config",
                           self.node.dir)

        def changed():
            self.ok("kv", "put", "docs", "b", "not watched")
            self.ok("kv", "put", "private", "a/1", "not watched")
            self.ok("kv", "put", "docs", "a/1", "new")
            return not watch.lines.empty()
        daemon_lab.until("a change is seen", changed)
        event = watch.event("entry")
        self.assertEqual((event["share"], event["key"], event["value"]), ("docs", "a/1", "new"))
        self.ok("kv", "delete", "docs", "a/1")
        while not event["deleted"]:
            event = watch.event("entry")
        self.assertEqual((event["share"], event["key"]), ("docs", "a/1"))

    def test_a_watch_ends_with_its_node(self):
        watch = self.start(Process, "kv", "watch", "--config", self.node.dir)
        daemon_lab.until("it watches", lambda: self.ok("kv", "put", "docs", "a", "1") and
                         not watch.lines.empty())
        self.node.stop()
        result = watch.wait()
        self.assertIn(result.status, (FAILED, UNREACHABLE, LOST))
        self.assertTrue(result.err.startswith("error: "), result.err)

    def test_the_status_page_answers_too(self):
        port = re.search(r":([0-9]+)/", self.node.ready["status"]).group(1)
        result = run("health", "--port", port, "--json", cwd="/")
        self.assertEqual(result.status, OK, result.err)
        self.assertEqual(result.event("health")["id"], self.node.id)
        self.assertEqual(run("peers", "--port", port, "--json", cwd="/").status, OK)

    def test_no_escapes_into_a_pipe_and_heads_on_a_terminal(self):
        self.assertNotIn("\x1b", self.ok("status").out)
        self.assertIn("\x1b[1mSHARE", Terminal(self, "status", "--config", self.node.dir).rest())
        plain = Terminal(self, "status", "--config", self.node.dir, env={"NO_COLOR": "1"}).rest()
        self.assertNotIn("\x1b", plain)


class Two(Case):
    def setUp(self):
        super().setUp()
        self.a, self.b = daemon_lab.Node(self, "alice"), daemon_lab.Node(self, "bob")
        self.a.knows(self.b)
        self.b.knows(self.a)
        self.a.start()

    def peers(self, node):
        result = node.run("peers", "--json")
        self.assertEqual(result.status, OK, result.err)
        return result.events

    def connected(self):
        return all(p["connected"] for n in (self.a, self.b) for p in self.peers(n))

    def test_peers_tell_who_is_connected_and_why_not(self):
        peer = daemon_lab.until("it failed once", lambda: [
            p for p in self.peers(self.a) if p["last_error"] is not None])[0]
        self.assertEqual((peer["id"], peer["name"], peer["connected"]), (self.b.id, "bob", False))
        text = self.a.run("peers").out
        self.assertIn("bob", text)
        self.assertIn(self.b.id[:10], text)
        self.assertNotIn(self.b.id, text)
        self.b.start()
        daemon_lab.until("both are connected", self.connected)
        peer, = self.peers(self.a)
        self.check_event(
            {m: peer[m] for m in ("event", "id", "addr", "connected", "last_error", "last_hello_ts",
                                  "last_ack_ts", "last_heartbeat_ts", "allowed_shares",
                                  "fingerprint", "remote_capabilities", "state", "path")},
            "peer", id=self.b.id, addr=f"127.0.0.1:{self.b.port}", connected=True, last_error=None,
            last_hello_ts=is_number, last_ack_ts=is_time, last_heartbeat_ts=is_time,
            allowed_shares=["docs"], fingerprint=lambda f: f.startswith("sha256:"),
            remote_capabilities=dict, state="connected", path="direct")
        self.assertRegex(self.a.run("peers").out, r"bob +connected +direct ")
        self.assertIn("1 of 1 connected", self.a.run("status").out)
        self.assertEqual(self.a.run("shell", stdin=b"why bob\n").status, OK)
        for name in "bob", self.b.id[:10]:
            result = run("why", name, "--config", self.a.dir)
            self.assertEqual((result.status, result.err), (OK, ""))
            self.assertIn("(direct)", result.out)
        event = run("why", "bob", "--json", cwd=self.a.dir).event("why")
        self.assertEqual((event["id"], event["path"]), (self.b.id, "direct"))
        self.b.stop()
        daemon_lab.until("bob is gone", lambda: not self.a.connected(self.b))
        self.check_sentence(run("why", "bob", cwd=self.a.dir), UNREACHABLE, "no connection")
        self.check_sentence(run("why", "carol", cwd=self.a.dir), UNREACHABLE, "no peer 'carol'")
        self.assertEqual(self.a.run("stop").status, OK)
        self.check_sentence(run("why", "bob", cwd=self.a.dir), USAGE, "km-node run")
        self.check_sentence(run("why", "bob", cwd="/"), USAGE, "km-node run")

    def test_entries_messages_and_access(self):
        self.b.start()
        daemon_lab.until("both are connected", self.connected)
        self.assertEqual(self.a.run("kv", "put", "docs", "a", "from alice").status, OK)
        daemon_lab.until("the entry is there", lambda: self.b.run(
            "kv", "get", "docs", "a").out == "from alice")
        entry, = self.b.run("kv", "list", "docs", "--json").events
        self.assertEqual((entry["author"], entry["own"]), (self.a.id, False))
        self.assertIn(self.a.id[:10], self.b.run("kv", "list", "docs").out)
        hashes = {n.run("kv", "hash", "docs").out for n in (self.a, self.b)}
        self.assertEqual(len(hashes), 1)

        self.assertEqual(self.a.run("send", "bob", "note", '{"text": "hi"}').status, OK)
        message = daemon_lab.until("the message is there", lambda: self.b.run(
            "messages", "--json").events)[0]
        self.assertEqual((message["sender"], message["type"], message["body"]),
                         (self.a.id, "note", {"text": "hi"}))
        self.assertIn("alice", self.b.run("messages").out)
        daemon_lab.until("the outbox is empty", lambda: not self.a.run(
            "messages", "--outbox", "--json").events)

        for share, access in ("docs", "rw"), ("private", "none"):
            event = self.a.run("peer", "access", "bob", share, "--json").event("access")
            self.check_event(event, "access", id=self.b.id, share=share, access=access, reason=str)
            self.assertIn(access, self.a.run("peer", "access", "bob", share).out)

    def test_revoking_cuts_at_once(self):
        self.b.start()
        daemon_lab.until("both are connected", self.connected)
        self.assertEqual(self.a.run("peer", "revoke", "bob", "--note", "left").status, OK)
        peer = daemon_lab.until("it is cut", lambda: [
            p for p in self.peers(self.a) if not p["connected"]])[0]
        self.assertEqual(peer["id"], self.b.id)
        blocked = self.a.run("peer", "list", "--state", "blocked", "--json").events
        self.assertEqual([(p["id"], p["name"]) for p in blocked], [(self.b.id, "bob")])


if __name__ == "__main__":
    main()
