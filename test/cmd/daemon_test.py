"""km-node run: the first KeyMesh's acceptance walk, the handshake table, beginnings and ends."""
import json
import os
import signal
import socket
import stat
import subprocess
import unittest
import unittest.mock
import urllib.request

import daemon_lab
import lab
import vectors
from daemon_lab import until


class Walk(daemon_lab.MeshCase):
    """Two nodes come and go."""

    def test_acceptance_walk(self):
        a, b = self.pair()
        a.start()

        def backing_off():
            peer = a.peer(b)
            return peer if peer["state"] == "waiting" and peer["attempts"] >= 1 else None
        peer = until("back-off", backing_off)
        self.assertFalse(peer["connected"])
        self.assertTrue(peer["last_error"])
        self.assertIsNone(peer["last_hello_ts"])
        self.assertGreater(peer["next_attempt"], 0)
        self.assertEqual(peer["addr"], f"127.0.0.1:{b.port}")
        self.assertEqual(peer["remote_capabilities"], {})

        b.start()
        peer = a.wait_for(b)
        self.assertIsNone(peer["last_error"])
        self.assertEqual((peer["name"], peer["node_id"], peer["attempts"]), ("host-B", "host-B", 0))
        self.assertEqual(peer["allowed_shares"], ["docs"])
        self.assertEqual(peer["remote_capabilities"]["shares"], ["docs"])
        self.assertIn("heartbeat", peer["remote_capabilities"]["features"])
        self.assertRegex(peer["fingerprint"], "^sha256:[0-9a-f]{64}$")
        self.assertGreater(peer["last_hello_ts"], 1.7e9)
        self.assertGreater(peer["last_ack_ts"], 1.7e9)
        self.assertEqual(peer["path"], "direct")
        first = until("a heartbeat", lambda: a.peer(b)["last_heartbeat_ts"])
        until("another", lambda: a.peer(b)["last_heartbeat_ts"] > first)
        until("a round trip", lambda: a.peer(b)["rtt_ms"])
        b.wait_for(a)

        self.assertEqual(b.stop().status, lab.OK)
        peer = a.wait_without(b)
        self.assertTrue(peer["last_error"])
        self.assertEqual(peer["node_id"], "host-B")  # what was known stays

        b.start()
        self.assertIsNone(a.wait_for(b)["last_error"])
        b.daemon.child.kill()  # nobody says goodbye
        b.daemon.wait()
        self.assertTrue(a.wait_without(b)["last_error"])
        b.start()
        a.wait_for(b)
        self.assertEqual(a.stop().status, lab.OK)

    def test_events(self):
        a, b = self.pair()
        a.start()
        b.start()
        a.wait_for(b)
        b.stop()
        a.wait_without(b)
        events = a.stop().events
        self.check_event(events[0], "ready", node_id="host-A", id=a.id, relay=None, ticket=str,
                         direct=lambda d: d == [f"127.0.0.1:{a.port}"],
                         status=lambda s: s.startswith("http://127.0.0.1:"),
                         control=os.path.realpath(a.socket_path))
        told = [e["connected"] for e in events if e["event"] == "peer"]
        self.assertIn(True, told)
        self.assertIn(False, told[told.index(True):])

    def test_people_get_lines(self):
        a, b = self.pair()
        b.start()
        daemon = self.start(lab.Process, "run", "--config", a.dir)
        seen = []
        while not any("host-B" in line and "is connected" in line for line in seen):
            seen.append(daemon.line())
            self.assertIsNotNone(seen[-1], daemon.err)
        self.assertIn(f"id      {a.id}\n", seen)
        self.assertEqual(daemon.stop().status, lab.OK)

    def test_health_and_status(self):
        a, b = self.pair()
        a.start()
        health = a.ask("health")
        self.assertEqual((health["ok"], health["node_id"], health["id"]), (True, "host-A", a.id))
        self.assertGreater(health["time"], 1.7e9)
        status = a.ask("status")
        self.assertEqual(status["pid"], a.daemon.child.pid)
        self.assertEqual(status["security_level"], "secure")
        self.assertEqual(status["direct"], [f"127.0.0.1:{a.port}"])
        shares = {s["name"]: s for s in a.ask("shares")["shares"]}
        self.assertEqual(sorted(shares), ["docs", "private"])
        self.assertEqual(shares["docs"]["others"], "none")
        self.assertEqual(a.ask("stats")["connected"], 0)
        b.start()
        a.wait_for(b)
        self.assertEqual(a.ask("stats")["connected"], 1)
        self.assertEqual(a.ask("why", peer="host-B")["reason"], "direct")
        self.refused("NOT_FOUND", a, "why", peer="ff" * 32)

    def test_status_page(self):
        a = self.node("host-A")
        a.start()
        with urllib.request.urlopen(a.ready["status"] + "health", timeout=lab.LIMIT) as answer:
            self.assertEqual(json.load(answer)["node_id"], "host-A")
        a.stop()
        a.start("--no-status")
        self.assertIsNone(a.ready["status"])


class Once(daemon_lab.MeshCase):
    """--once-handshake"""

    def test_all_succeed(self):
        a, b = self.pair()
        b.start()
        result = a.run("run", "--once-handshake", "--json")
        self.assertEqual(result.status, lab.OK, result.out + result.err)
        self.check_event(result.event("handshake"), "handshake", id=b.id, name="host-B", ok=True,
                         rtt_ms=lambda r: r > 0, path="direct", reason=None)
        self.check_event(result.event("done"), "done", ok=1, failed=0)
        self.assertFalse(os.path.exists(a.socket_path))

    def test_one_fails(self):
        a, b = self.pair()
        gone = self.node("host-C")
        stranger = self.node("host-D")  # does not know us
        a.knows(gone)
        a.knows(stranger)
        b.start()
        stranger.start()
        result = a.run("run", "--once-handshake")
        self.assertEqual(result.status, lab.FAILED, result.out + result.err)
        lines = result.out.splitlines()
        self.assertRegex(lines[0], r"^PEER +RESULT +RTT +PATH +REASON")
        self.assertRegex(lines[1], r"^host-B +ok +[0-9.]+ ms +direct")
        self.assertRegex(lines[2], r"^host-C +failed +- +- +\S.{8}")
        self.assertRegex(lines[3], r"^host-D +failed +- +- +\S.{8}")
        self.assertEqual(lines[4], "1 of 3 handshakes succeeded")
        self.assertEqual(result.err, "")

    def test_with_time_it_is_tried_again(self):
        a, b = self.pair()
        process = self.start(lab.Process, "run", "--config", a.dir, "--once-handshake", "--timeout",
                             str(lab.LIMIT), "--json")
        b.start()
        self.assertTrue(process.event("handshake")["ok"])
        self.assertEqual(process.wait().status, lab.OK)

    def test_time_runs_out(self):
        a, _ = self.pair()
        result = a.run("run", "--once-handshake", "--timeout", "1", "--json")
        self.assertEqual(result.status, lab.FAILED)
        self.assertGreater(len(result.event("handshake")["reason"]), 8)

    def test_nobody_is_configured(self):
        result = self.node("host-A").run("run", "--once-handshake", "--json")
        self.assertEqual(result.status, lab.OK)
        self.assertEqual(result.event("done")["ok"], 0)


class Ends(daemon_lab.MeshCase):
    """Beginnings that fail, and ends."""

    def test_second_run_is_refused(self):
        a = self.node("host-A").start()
        for more in ((), ("--once-handshake",)):
            self.check_sentence(a.run("run", *more), lab.FAILED, "runs on this project already")
        self.assertTrue(a.ask("health")["ok"])

    def test_killed_node_starts_again(self):
        a = self.node("host-A").start()
        a.ask("kv.put", share="docs", key="k", value="kept")
        a.daemon.child.kill()
        a.daemon.wait()
        self.assertTrue(os.path.exists(a.socket_path))
        a.start()
        self.assertEqual(a.value("k"), "kept")

    def test_signals_end_it_well(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            a = self.node(f"host-{number}").start()
            result = a.stop(number)
            self.assertEqual(result.status, lab.OK, result.err)
            self.assertFalse(os.path.exists(a.socket_path))

    def test_systemd_is_told(self):
        path = self.path("notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, \
                unittest.mock.patch.dict(os.environ, NOTIFY_SOCKET=path):
            listener.bind(path)
            listener.settimeout(lab.LIMIT)
            a = self.node("host-A").start()
            self.assertEqual(listener.recv(4096), b"READY=1")
            a.daemon.send(signal.SIGHUP)
            self.assertIn(b"RELOADING=1", listener.recv(4096))
            self.assertEqual(listener.recv(4096), b"READY=1")
            a.stop()
            self.assertEqual(listener.recv(4096), b"STOPPING=1")

    def test_stop_request(self):
        a = self.node("host-A").start()
        self.assertIsNone(a.ask("stop"))
        self.assertEqual(a.daemon.wait().status, lab.OK)

    def test_shell_beside_it(self):
        a = self.node("host-A")
        result = a.run("run", "--interactive", stdin=b"use docs\nadd k hello\nget k\nquit\n")
        self.assertEqual(result.status, lab.OK, result.out + result.err)
        self.assertIn("hello", result.out)
        self.assertEqual(a.start().value("k"), "hello")

    def test_bad_configuration(self):
        a = self.node("host-A")
        self.check_sentence(lab.run("run", "--config", self.path("none.yaml")), lab.USAGE,
                            "none.yaml")
        with open(os.path.join(a.dir, "keymesh.yaml"), "a", encoding="utf-8") as file:
            file.write("sharse: []\n")
        self.check_sentence(a.run("run"), lab.USAGE, "25: sharse", "shares?")
        a.write()
        os.chmod(os.path.join(a.dir, "keys/node.key"), 0o644)
        self.check_sentence(a.run("run"), lab.USAGE, "chmod 600")

    def test_bad_options(self):
        a = self.node("host-A")
        self.check_sentence(a.run("run", "--timeout", "3"), lab.USAGE, "--once-handshake")
        self.check_sentence(a.run("run", "--status-port", "70000"), lab.USAGE, "--status-port")
        self.check_sentence(a.run("run", "--bind-host", "localhost.example"), lab.USAGE,
                            "localhost.example")
        self.check_sentence(a.run("run", "--interactive", "--once-handshake"), lab.USAGE,
                            "--interactive")
        self.assertFalse(os.path.exists(a.socket_path))

    def test_port_in_use(self):
        a, b = self.node("host-A"), self.node("host-B")
        b.port = a.port
        b.write()
        a.start()
        self.check_sentence(b.run("run"), lab.USAGE, str(a.port))

    def test_path_too_long_for_a_socket(self):
        a = self.node("h" * 60)
        long = os.path.join(a.dir, "d" * 60)
        os.rename(a.dir, self.path("short"))
        os.mkdir(a.dir)
        os.rename(self.path("short"), long)
        a.dir = long
        self.check_sentence(a.run("run"), lab.USAGE, "shorter path")

    def test_socket_is_private(self):
        a = self.node("host-A")
        os.rmdir(os.path.join(a.dir, "run"))
        a.start()
        self.assertEqual(stat.S_IMODE(os.stat(a.socket_path).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(a.socket_path)).st_mode), 0o700)

    def test_folder_of_the_socket_keeps_its_mode(self):
        a = self.node("host-A")
        config = os.path.join(a.dir, "keymesh.yaml")
        shared = self.path("shared")
        os.mkdir(shared)
        with open(config, encoding="utf-8") as file:
            text = file.read()
        with open(config, "w", encoding="utf-8") as file:
            file.write(text.replace("  bind_host:", f"  control_socket: {shared}/a.sock\n"
                                                    "  bind_host:"))
        for mode in (0o1777, 0o777, 0o775):  # as /tmp: others could put a socket there
            os.chmod(shared, mode)
            result = a.run("run")
            self.assertEqual(result.status, lab.USAGE, result.err)
            self.assertRegex(result.err, "(?m)^error: others may write to .*node.control_socket")
            self.assertEqual(stat.S_IMODE(os.stat(shared).st_mode), mode)
            result = a.run("check", "--json")
            self.assertEqual(result.status, lab.FAILED)
            self.assertEqual([e["topic"] for e in result.events if e.get("level") == "error"],
                             ["socket"])
        os.chmod(shared, 0o755)  # as /run
        a.start()
        self.assertEqual(stat.S_IMODE(os.stat(shared).st_mode), 0o755)
        self.assertEqual(stat.S_IMODE(os.stat(shared + "/a.sock").st_mode), 0o600)

    def test_nobody_reads_what_it_says(self):
        a = self.node("host-A")
        with subprocess.Popen([lab.BIN, "run", "--config", a.dir, "--json"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              env=lab.environment()) as child:
            self.addCleanup(child.kill)
            until("it listens", lambda: os.path.exists(a.socket_path))
            control = a.control()
            for _ in range(3000):  # an event each: more than a pipe holds
                control.ask("reload")
            self.assertTrue(control.ask("health")[0]["ok"])
            child.terminate()
            # What waited comes, for who reads now.
            events = [json.loads(line)["event"] for line in child.stdout]
            self.assertEqual(events.count("reloaded"), 3000)
            self.assertEqual(child.wait(lab.LIMIT), lab.OK)

    def test_a_stalled_reader_stops_nobody(self):
        """Standard output is a fifo, which holds 64 KiB, and the queue behind it 4 MiB."""
        a, b = self.pair()
        a.start()
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(fifo, os.O_WRONLY)
        child = subprocess.Popen([lab.BIN, "run", "--config", b.dir, "--json"], stdout=writer,
                                 stderr=subprocess.DEVNULL, env=lab.environment())
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        os.close(writer)
        os.set_blocking(reader, True)
        with os.fdopen(reader, "rb") as lines:
            until("it listens", lambda: os.path.exists(b.socket_path))
            a.wait_for(b)
            for _ in range(8):
                a.ask("send", peer=b.id, type="big", body="x" * 1000000)
            until("all have come", lambda: b.ask("stats")["messages_in"] == 8)
            self.assertTrue(b.connected(a))
            self.assertEqual(len(b.rows("messages")), 8)
            seen = []
            while "lost" not in [e["event"] for e in seen]:
                seen.append(json.loads(lines.readline()))
            # Nothing is missing but what is told to be.
            came = [e for e in seen if e["event"] == "message"]
            self.assertIn(len(came), range(3, 6))
            self.assertGreaterEqual(seen[-1]["count"], 8 - len(came))
            b.ask("reload")
            self.assertEqual(json.loads(lines.readline())["event"], "reloaded")
            child.terminate()
            self.assertEqual(child.wait(lab.LIMIT), lab.OK)

    def test_nobody_reads_its_log(self):
        a = self.node("host-A")
        with subprocess.Popen([lab.BIN, "run", "--config", a.dir], stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, env=lab.environment()) as child:
            self.addCleanup(child.kill)
            until("it listens", lambda: os.path.exists(a.socket_path))
            control = a.control()
            for _ in range(1500):  # a line each: more than a pipe holds
                control.ask("reload")
            self.assertTrue(control.ask("health")[0]["ok"])
            child.terminate()
            log = child.stderr.read().decode()
            self.assertEqual(log.count(" reloaded changes=0 "), 1500)
            self.assertIn(" stopping ", log)
            self.assertEqual(child.wait(lab.LIMIT), lab.OK)

    def test_log_file_is_reopened(self):
        a = self.node("host-A", log="logs/node.log").start()
        log = os.path.join(a.dir, "logs/node.log")
        os.rename(log, log + ".1")
        a.daemon.send(signal.SIGHUP)
        until("a new log", lambda: os.path.exists(log))
        result = a.stop()
        self.assertEqual(result.err, "")
        with open(log, encoding="utf-8") as file:
            self.assertIn("stopping", file.read())


def ids(count):
    """Public keys (RFC 8032 section 5.1.3: y for which x is a square root) of nobody."""
    p = 2**255 - 19
    d = -121665 * pow(121666, p - 2, p) % p
    y, found = 2, []
    while len(found) < count:
        y += 1
        u, v = (y * y - 1) % p, (d * y * y + 1) % p
        if pow(u * pow(v, p - 2, p), (p - 1) // 2, p) == 1:
            found.append(y.to_bytes(32, "little").hex())
    return found


class Reload(daemon_lab.MeshCase):
    """keymesh.yaml, changed while the node runs."""

    def test_what_took_effect_in_part_is_made_whole(self):
        """More peers than a mesh can have: the last ones do not fit."""
        first, blocked, *many = ids(4098)
        a = self.node("host-A")
        a.peers = [{"id": first, "dial": False}]
        a.write()
        a.start()
        a.peers = [{"id": peer, "dial": False} for peer in many]
        a.config["security"] = f"  block: [{blocked}]\n  allow: [{first}]"
        a.write()
        result = a.run("reload")
        self.check_sentence(result, lab.FAILED, "in part only", "reload again")
        self.assertEqual([p["id"] for p in a.rows("peer.list", state="blocked")], [blocked])
        a.peers = a.peers[:1]
        a.write()
        self.assertEqual(a.run("reload").status, lab.OK)
        self.assertEqual({p["id"] for p in a.ask("peers")["peers"]}, {first, many[0]})
        self.assertIn("nothing changed", a.run("reload").out)
        a.config["security"] = ""
        a.write()
        self.assertEqual(a.run("reload").status, lab.OK)
        self.assertEqual({p["id"] for p in a.ask("peers")["peers"]}, {many[0]})
        self.assertEqual(a.rows("peer.list", state="blocked"), [])

    def test_a_mistake_in_the_file_locks_nobody_out(self):
        a = self.node("host-A")
        a.start()
        a.config["security"] = "  nonsense: 1"
        a.write()
        for words in ("health",), ("status",), ("peers",), ("kv", "put", "docs", "k", "v"):
            result = a.run(*words)
            self.assertEqual(result.status, lab.OK, result.err)
            self.assertIn("nonsense", result.err)
            self.assertIn("the node runs on with what it read before", result.err)
        self.check_sentence(a.run("peer", "add", "a" * 64), lab.USAGE, "nonsense")
        self.check_sentence(a.run("reload"), lab.USAGE, "nonsense")
        self.assertEqual(a.run("stop").status, lab.OK)
        self.check_sentence(a.run("health"), lab.USAGE, "nonsense")

    def test_peers_come_and_go(self):
        a, b = self.node("host-A"), self.node("host-B")
        b.knows(a)
        a.start()
        b.start()
        until("refused", lambda: b.peer(a)["state"] == "refused")
        self.assertFalse((a.peer(b) or {"configured": False})["configured"])  # it may knock again
        a.knows(b)
        report = a.ask("reload")
        self.assertEqual(report, {"changed": ["peer host-B was added"], "restart": []})
        a.wait_for(b)
        self.assertEqual(a.ask("reload"), {"changed": [], "restart": []})
        self.assertTrue(a.peer(b)["connected"])  # nothing was touched

        a.peers = []
        a.write()
        a.daemon.send(signal.SIGHUP)
        reports = [a.daemon.event("reloaded")["changed"] for _ in range(3)]
        self.assertEqual(reports, [["peer host-B was added"], [], ["peer host-B was removed"]])
        b.wait_without(a)

    def test_grants_change(self):
        a, b = self.pair()
        a.start()
        b.start()
        a.wait_for(b)
        self.assertEqual(a.ask("peer.access", peer="host-B", share="docs")["access"], "rw")
        a.peers[0]["shares_access"][0]["mode"] = "ro"
        a.write()
        self.assertEqual(a.ask("reload")["changed"], ["peer host-B was changed"])
        self.assertEqual(a.ask("peer.access", peer="host-B", share="docs")["access"], "ro")
        self.assertEqual(a.ask("peer.access", peer="host-B", share="private")["access"], "none")

    def test_allow_and_block(self):
        a, b = self.node("host-A"), self.node("host-B")
        b.knows(a)
        a.start()
        b.start()
        until("refused", lambda: b.peer(a)["state"] == "refused")
        a.config["security"] = f"  allow: [{b.id}]"
        a.write()
        a.ask("reload")
        b.ask("peer.dial", peer="host-A")
        b.wait_for(a)
        a.config["security"] = f"  block: [{b.id}]"
        a.write()
        self.assertIn(f"{b.id[:10]} is blocked", a.ask("reload")["changed"])
        b.wait_without(a)
        a.config["security"] = f"  allow: [{b.id}]"
        a.write()
        a.ask("reload")
        b.ask("peer.dial", peer="host-A")
        b.wait_for(a)

    def known(self, a, other):
        """What is known of its trust: state, name, note; None without any."""
        rows = [r for r in a.rows("peer.list") if r["id"] == other]
        return (rows[0]["state"], rows[0]["name"], rows[0]["note"]) if rows else None

    def block(self, a, *ids):
        a.config["security"] = f"  block: [{', '.join(ids)}]"
        a.write()
        return a.ask("reload")["changed"]

    def test_block_of_the_configuration_undoes_no_other(self):
        revoked, by_hand, trusted, unknown = (key["id"] for key in vectors.keys()[:4])
        a = self.node("host-A").start()
        a.ask("peer.revoke", peer=revoked, reason="lost")
        a.ask("peer.block", peer=by_hand, note="a reason")
        a.ask("peer.trust", peer=trusted, name="bob", note="of old", expires=4102444799)
        before = [self.known(a, who) for who in (revoked, by_hand, trusted, unknown)]
        self.assertEqual([row and row[0] for row in before],
                         ["blocked", "blocked", "trusted", None])
        everybody = (revoked, by_hand, trusted, unknown)
        self.assertEqual(len(self.block(a, *everybody)), 4)
        self.assertEqual({self.known(a, who)[0] for who in everybody}, {"blocked"})
        changed = self.block(a)
        self.assertEqual(sum("stays blocked" in text for text in changed), 2, changed)
        self.assertEqual(sum("no longer blocked" in text for text in changed), 2, changed)
        self.assertEqual([self.known(a, who) for who in everybody], before)
        row, = a.rows("peer.list", state="trusted")
        self.assertEqual(row["expires"], 4102444799)
        # Nor does a restart, in between.
        self.block(a, *everybody)
        a.stop()
        a.start()
        self.assertEqual(self.known(a, trusted), ("trusted", "bob", "of old"))  # and blocked
        self.assertEqual(self.known(a, revoked), before[0])
        # A decision of a person in between is the last one.
        self.block(a)
        a.stop()
        a.start()
        self.block(a, unknown)
        a.ask("peer.revoke", peer=unknown, reason="stolen")
        self.block(a)
        self.assertEqual(self.known(a, unknown), ("blocked", "", "stolen"))
        # Also one without a word of his own, or with ours.
        for note in {}, {"note": "security.block of keymesh.yaml; was trusted until 0: x"}:
            self.block(a, trusted)
            a.ask("peer.block", peer=trusted, **note)
            self.block(a)
            a.stop()
            a.start()
            self.assertEqual(self.known(a, trusted)[0], "blocked")
            a.ask("peer.forget", peer=trusted)

    def test_what_needs_a_restart_is_told(self):
        a = self.node("host-A").start()
        a.config["level"] = "strict"
        a.write()
        self.assertEqual(a.ask("reload")["restart"],
                         ["security: level, key, recommendations, revocations or fingerprints"])
        a.config["level"] = "secure"
        a.write()
        self.assertEqual(a.ask("reload")["restart"], [])

    def test_bad_file_changes_nothing(self):
        a, b = self.pair()
        a.start()
        b.start()
        a.wait_for(b)
        path = os.path.join(a.dir, "keymesh.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("peers: [\n")
        self.refused("INVALID", a, "reload")
        a.daemon.send(signal.SIGHUP)
        for _ in range(2):
            self.assertIn("keymesh.yaml", a.daemon.event("reload_failed")["text"])
        self.assertTrue(a.peer(b)["connected"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
