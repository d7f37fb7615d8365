"""km-node stop and reload."""
import os
import signal

import daemon_lab
import vectors
from lab import FAILED, OK, USAGE, Process, main
from terminal_lab import Terminal

BOB = vectors.keys()[0]["id"]


class Stop(daemon_lab.MeshCase):
    def test_it_is_gone_when_it_returns(self):
        a = self.node("host-A").start()
        result = a.run("stop")
        self.assertEqual((result.status, result.err), (OK, ""))
        self.assertIsNotNone(a.daemon.child.poll())
        self.assertIn(str(a.daemon.child.pid), result.out)
        self.assertEqual(a.daemon.wait().status, OK)
        self.assertEqual(a.run("kv", "put", "docs", "k", "1").status, OK)

    def test_as_json(self):
        a = self.node("host-A").start()
        event = a.run("stop", "--json").event("stopped")
        self.check_event(event, "stopped", pid=a.daemon.child.pid, took_s=lambda n: 0 <= n < 90)

    def test_nobody_runs(self):
        a = self.node("host-A")
        self.check_sentence(a.run("stop"), FAILED, "no node runs", a.dir)
        self.assertEqual(a.run("stop", "--json").event("error")["name"], "STATE")
        a.start().run("stop")
        self.check_sentence(a.run("stop"), FAILED, "no node runs")

    def test_one_that_does_not_end(self):
        a = self.node("host-A").start()
        a.daemon.send(signal.SIGSTOP)
        result = a.run("stop", "--timeout", "1")
        a.daemon.send(signal.SIGCONT)
        self.check_sentence(result, FAILED, "still runs", str(a.daemon.child.pid))
        self.assertEqual(a.daemon.wait().status, OK)

    def test_progress_is_for_who_watches(self):
        a = self.node("host-A").start()
        a.daemon.send(signal.SIGSTOP)
        terminal = Terminal(self, "stop", "--config", a.dir, "--timeout", "1")
        text = terminal.rest()
        a.daemon.send(signal.SIGCONT)
        self.assertIn("still runs", text)
        self.assertEqual(a.daemon.wait().status, OK)

    def test_two_at_once(self):
        a = self.node("host-A").start()
        both = [self.start(Process, "stop", "--config", a.dir) for _ in range(2)]
        found = [p.wait() for p in both]
        self.assertIn(OK, [r.status for r in found])
        for result in found:
            if result.status != OK:
                self.check_sentence(result, FAILED, "no node runs")
        self.assertEqual(a.daemon.wait().status, OK)

    def test_bad_lines(self):
        a = self.node("host-A")
        for words in ["now"], ["--timeout", "0"], ["--tmeout", "1"]:
            self.check_sentence(a.run("stop", *words), USAGE)


class Reload(daemon_lab.MeshCase):
    def test_what_changed_is_told(self):
        a = self.node("host-A").start()
        self.assertIn("nothing changed", a.run("reload").out)
        a.peers.append({"id": BOB, "name": "bob", "dial": False})
        a.config["level"] = "strict"
        a.write()
        result = a.run("reload")
        self.assertEqual((result.status, result.err), (OK, ""))
        self.assertIn("peer bob was added", result.out)
        self.assertIn("needs a restart: security", result.out)
        event = a.run("reload", "--json").event("reloaded")
        self.assertEqual(event["changed"], [])
        self.assertEqual(len(event["restart"]), 1)

    def test_a_bad_file(self):
        a = self.node("host-A").start()
        with open(os.path.join(a.dir, "keymesh.yaml"), "a", encoding="utf-8") as file:
            file.write("sharse: []\n")
        self.check_sentence(a.run("reload"), USAGE, "sharse")
        a.write()
        self.assertEqual(a.run("reload").status, OK)

    def test_nobody_runs(self):
        a = self.node("host-A")
        self.check_sentence(a.run("reload"), FAILED, "no node runs", "km-node run")


if __name__ == "__main__":
    main()
