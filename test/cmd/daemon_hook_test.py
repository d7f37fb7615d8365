"""Messages between nodes, and the command that is run for each."""
import json
import os
import unittest

import daemon_lab
import lab
from daemon_lab import until

# A file for each run: what the variables say, and the JSON.
NOTE = ('{ echo "$KM_MESSAGE_ID $KM_MESSAGE_TYPE $KM_MESSAGE_SENDER"; cat; } >part.$$; '
        "mv part.$$ got.$KM_MESSAGE_ID.$$")


class Messages(daemon_lab.MeshCase):
    """Two nodes, one with a hook."""

    def setUp(self):
        super().setUp()
        self.a, self.b = self.node("host-A"), self.node("host-B", hook=json.dumps(NOTE))
        self.a.knows(self.b)
        self.b.knows(self.a)

    def got(self):
        """What the hook of B saw, in the order of its ends: (id, type, sender, JSON) each."""
        runs = []
        for name in os.listdir(self.b.dir):
            if name.startswith("got."):
                path = os.path.join(self.b.dir, name)
                with open(path, encoding="utf-8") as file:
                    head, body = file.read().split("\n", 1)
                runs.append((os.stat(path).st_mtime_ns, *head.split(" "), json.loads(body)))
        return [run[1:] for run in sorted(runs, key=lambda run: run[0])]

    def wait_got(self, count):
        until(f"{count} messages", lambda: len(self.got()) >= count)
        return self.got()

    def test_message_reaches_the_hook(self):
        self.a.start()
        self.b.start()
        self.a.wait_for(self.b)
        sent = self.a.ask("send", peer="host-B", type="note.new", body={"n": [1, "zwei", None]})
        (number, kind, sender, message), = self.wait_got(1)
        self.assertEqual((number, kind, sender), (sent["message"], "note.new", self.a.id))
        self.assertEqual(message["body"], {"n": [1, "zwei", None]})
        self.assertEqual((message["message"], message["sender"], message["sender_name"]),
                         (number, self.a.id, "host-A"))
        self.assertEqual((message["to"], message["broadcast"]), (self.b.id, False))
        event = self.b.daemon.event("message")
        self.assertEqual({k: v for k, v in event.items() if k != "event"}, message)
        rows = self.b.rows("messages")
        self.assertEqual([r["message"] for r in rows], [number])
        until("nothing waits", lambda: not self.a.rows("outbox"))

    def test_offline_peer_gets_each_once(self):
        self.a.start()
        sent = [self.a.ask("send", peer="host-B", type="t", body=n)["message"] for n in range(20)]
        self.assertEqual(len(self.a.rows("outbox")), 20)
        self.a.stop()
        self.a.start()  # it is on the disk
        self.assertEqual([r["message"] for r in self.a.rows("outbox")], sent)
        self.b.start()
        got = self.wait_got(20)
        self.assertEqual(sorted(g[0] for g in got), sorted(sent))
        until("nothing waits", lambda: not self.a.rows("outbox"))
        # Neither a new connection nor a new start brings one again.
        for node in (self.b, self.a):
            node.stop()
            node.start()
            self.a.wait_for(self.b)
        last = self.a.ask("send", peer="host-B", type="t", body="last")["message"]
        until("the last", lambda: any(g[0] == last for g in self.got()))
        self.assertEqual(len(self.got()), 21)

    def test_receiver_is_killed_in_between(self):
        self.a.start()
        self.b.start()
        self.a.wait_for(self.b)
        self.b.daemon.child.kill()
        self.b.daemon.wait()
        sent = self.a.ask("send", peer="host-B", type="t", body=1)["message"]
        self.b.start()
        self.assertEqual([g[0] for g in self.wait_got(1)], [sent])

    def test_handshake_alone_loses_no_message(self):
        self.a.start()
        for _ in range(5):
            self.a.ask("send", peer="host-B", type="t", body=1)
        self.assertEqual(self.b.run("run", "--once-handshake").status, lab.OK)
        self.b.start()
        until("nothing waits", lambda: not self.a.rows("outbox"))
        self.wait_got(5)
        self.assertEqual(len(self.got()), 5)

    def test_handshake_alone_ends_though_messages_come(self):
        self.b.config["hook"] = json.dumps("echo >>ran; sleep 1000")
        self.b.knows(self.node("host-C"))  # who is not there: it waits for it, and gets messages
        self.a.start()
        for _ in range(20):
            self.a.ask("send", peer="host-B", type="t", body=1)
        result = self.b.run("run", "--once-handshake", "--timeout", "5", "--json")
        self.assertEqual(result.status, lab.FAILED, result.out + result.err)
        self.check_event(result.event("done"), "done", ok=1, failed=1)
        self.assertTrue(os.path.exists(os.path.join(self.b.dir, "ran")))

    def test_cancelled_message_is_not_sent(self):
        self.a.start()
        first = self.a.ask("send", peer="host-B", type="t", body=1)["message"]
        self.a.ask("outbox.cancel", message=first)
        second = self.a.ask("send", peer="host-B", type="t", body=2)["message"]
        self.b.start()
        self.assertEqual([g[0] for g in self.wait_got(1)], [second])

    def test_broadcast_reaches_who_is_not_connected_to_us(self):
        c = self.node("host-C")
        c.knows(self.b)
        c.knows(self.a, dial=False)  # whom it trusts, but does not reach
        self.b.knows(c)
        for node in (self.a, self.b, c):
            node.start()
        self.a.wait_for(self.b)
        c.wait_for(self.b)
        self.assertFalse(c.peer(self.a)["connected"])
        sent = self.a.ask("broadcast", type="all", body="hello")["message"]
        until("it at C", lambda: sent in [r["message"] for r in c.rows("messages")])
        row, = c.rows("messages")
        self.assertEqual((row["sender"], row["broadcast"], row["to"]), (self.a.id, True, None))
        until("it at B", lambda: [g[0] for g in self.got()] == [sent])

    def test_hostile_content_stays_content(self):
        self.a.start()
        self.b.start()
        self.a.wait_for(self.b)
        evil = "\"; touch stolen; `touch stolen` $(touch stolen)\n' \u0001 \u2028 \U0001f600"
        self.a.ask("send", peer="host-B", type="t", body={"x": evil})
        self.assertEqual(self.wait_got(1)[0][3]["body"], {"x": evil})
        self.assertFalse(os.path.exists(os.path.join(self.b.dir, "stolen")))
        for kind in ("a b", "$(x)", "", "x" * 65, "a\nb"):
            self.refused("INVALID", self.a, "send", peer="host-B", type=kind, body=1)

    def test_failing_hook_is_told_and_loses_nothing(self):
        self.b.config["hook"] = json.dumps("exit 7")
        self.b.write()
        self.a.start()
        self.b.start()
        self.a.ask("send", peer="host-B", type="t", body=1)
        until("it came", lambda: self.b.rows("messages"))
        # And the hook is changed without a restart.
        self.b.config["hook"] = json.dumps(NOTE)
        self.b.write()
        self.assertEqual(self.b.ask("reload")["changed"], ["hooks.on_message was changed"])
        self.a.ask("send", peer="host-B", type="t", body=2)
        self.assertEqual(self.wait_got(1)[0][3]["body"], 2)
        self.assertIn("hook-failed", self.b.stop().err)

    def test_slow_hook_holds_nothing_up(self):
        self.b.config["hook"] = json.dumps("sleep 1000")
        self.b.write()
        self.a.start()
        self.b.start()
        for n in range(10):
            self.a.ask("send", peer="host-B", type="t", body=n)
        until("all came", lambda: len(self.b.rows("messages")) == 10)
        self.assertTrue(self.b.ask("health")["ok"])
        self.assertEqual(self.b.stop().status, lab.OK)


if __name__ == "__main__":
    unittest.main(verbosity=2)
