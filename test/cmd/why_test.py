"""km-node why, and what node1 and node2 do about paths: policies, --wait-direct."""
import os
import pty
import signal
import subprocess

from lab import (BIN, LIMIT, LOST, OK, UNREACHABLE, WRAPPER, Process, Server, environment, main,
                 run)
from relay_lab import RelayCase

RELAYED = 7
REASONS = {"connecting", "direct", "trying", "policy", "relay-trouble", "move-refused",
           "move-failed", "direct-lost", "not-tried", "peer-silent", "peer-hidden",
           "udp-blocked-here", "udp-blocked-there", "same-network", "both-hard",
           "hard-and-restricted", "no-answer"}
LOOPBACK = ("--bind", "127.0.0.1:0", "--no-port-mapping")
DEAD = "127.0.0.1:9"  # nobody answers there


def is_count(value):
    return type(value) is int and value >= 0


def is_number(value):
    return type(value) in (int, float) and value >= 0


def is_time(value):
    return value is None or is_count(value)


class WhyCase(RelayCase):
    def server(self, *args):
        self.relay_ = self.relay()
        return self.start(Server, "--relay", self.relay_.url, "--stun", self.relay_.stun,
                          "--no-port-mapping", *args)

    def args(self, server, *args):
        return ("why", server.id, "--relay", self.relay_.url, "--stun", self.relay_.stun, *LOOPBACK,
                *args)

    def why(self, server, *args):
        return run(*self.args(server, *args))

    def check_side(self, side):
        self.assertEqual(set(side), {"nat", "mapping4", "filtering4", "mapping6", "filtering6",
                                     "port_step", "addresses"})
        for address in side["addresses"]:
            self.assertEqual(set(address), {"addr", "from"})
            self.assertTrue(address["from"])

    def check_explanation(self, result, server):
        """Steps, then the explanation and nothing else; what is in it."""
        *steps, event = result.events
        for before, step in zip([None, *steps], steps):
            self.check_event(step, "step", at_ms=int, kind=str, times=is_count, text=str,
                             addr=lambda a: a is None or ":" in a)
            self.assertTrue(before is None or before["at_ms"] <= step["at_ms"], result.out)
            self.assertTrue(step["text"])
        self.check_event(event, "explanation", remote=server.id, reason=lambda r: r in REASONS,
                         why=lambda w: w.endswith("."), advice=str,
                         kind=lambda k: k in ("direct", "relay"), path=event["kind"], addr=str,
                         rtt_ms=is_number, here=dict, there=lambda t: t is None or isinstance(t, dict),
                         ways=list, connected_ms=is_count, relayed_ms=is_time, direct_ms=is_time,
                         **dict.fromkeys(("age_ms", "attempts", "successes", "pings_sent",
                                          "pings_received", "pongs_received", "guesses", "put_off",
                                          "time_to_direct_us", "moves_tried", "moves_failed"),
                                         is_count))
        self.check_side(event["here"])
        if event["there"] is not None:
            self.check_side(event["there"])
        for way in event["ways"]:
            self.assertEqual(set(way), {"kind", "addr", "state", "rtt_us", "loss_permille", "pings",
                                        "pongs", "tx_bytes", "rx_bytes", "from", "we_are_seen_as"})
        self.assertEqual([way["state"] == "in use" for way in event["ways"]].index(True), 0)
        return steps, event


class Direct(WhyCase):
    def test_for_machines(self):
        server = self.server()
        result = self.why(server, "--wait", 60, "--json")
        self.assertEqual(result.status, OK, result.out + result.err)
        steps, event = self.check_explanation(result, server)
        self.assertEqual((event["reason"], event["kind"], event["addr"], event["advice"]),
                         ("direct", "direct", server.addr, ""))
        self.assertIn(server.addr, event["why"])
        kinds = [step["kind"] for step in steps]
        order = [kinds.index(kind) for kind in ("connected", "call-sent", "open", "path")]
        self.assertEqual(order, sorted(order), kinds)
        self.assertIn(self.relay_.url, steps[kinds.index("connected")]["text"])
        way = event["ways"][0]
        self.assertEqual((way["kind"], way["addr"]), ("direct", server.addr))
        self.assertIn("interface", way["from"])
        self.assertGreaterEqual(way["pings"], way["pongs"])
        self.assertGreater(way["pongs"], 0)
        self.assertIn(("relay", self.relay_.url), [(w["kind"], w["addr"]) for w in event["ways"]])
        self.assertIn(server.addr, [a["addr"] for a in event["there"]["addresses"]])
        self.assertGreater(event["time_to_direct_us"], 0)
        self.assertLessEqual(event["relayed_ms"], event["direct_ms"])

    def test_for_people(self):
        server = self.server()
        result = self.why(server, "--wait", 60)
        self.assertEqual((result.status, result.err), (OK, ""), result.out)
        self.assertTrue(result.out.startswith("verdict  Direct: "), result.out)
        for words in ("our NAT", "peer's NAT", "Ways to the peer", "in use", "What happened",
                      f"connected over the relay {self.relay_.url}", f"packets take {server.addr}"):
            self.assertIn(words, result.out)
        self.assertNotIn("to do", result.out)

    def test_a_ticket_that_is_direct_at_once(self):
        server = self.server()
        result = run("why", server.ticket, *LOOPBACK, "--json")
        self.assertEqual(result.status, OK, result.out + result.err)
        _steps, event = self.check_explanation(result, server)
        self.assertEqual(event["reason"], "direct")
        self.assertIn("given", event["ways"][0]["from"])


class Relayed(WhyCase):
    def test_the_peer_takes_no_part(self):
        server = self.server("--policy", "any")
        result = self.why(server, "--addr", DEAD, "--wait", 7, "--json")
        self.assertEqual(result.status, RELAYED, result.out + result.err)
        steps, event = self.check_explanation(result, server)
        self.assertEqual((event["reason"], event["kind"], event["addr"]),
                         ("peer-silent", "relay", self.relay_.url))
        self.assertIn("Of the 1 address that was dialled none answers", event["why"])
        self.assertTrue(event["advice"])
        self.assertIsNone(event["there"])
        self.assertIsNone(event["direct_ms"])
        dead = [way for way in event["ways"] if way["addr"] == DEAD]
        self.assertEqual([(w["state"], w["pongs"], w["from"]) for w in dead],
                         [("no answer", 0, ["given"])])
        self.assertIn("ping-sent", [step["kind"] for step in steps])

    def test_the_policy_forbids_it(self):
        server = self.server()
        for policy in "relay-only", "any":
            result = self.why(server, "--policy", policy, "--wait", 1, "--json")
            self.assertEqual(result.status, RELAYED, result.out + result.err)
            _steps, event = self.check_explanation(result, server)
            self.assertEqual((event["reason"], event["attempts"]), ("policy", 0))
            self.assertIn(policy, event["why"])
            self.assertEqual([way["kind"] for way in event["ways"]], ["relay"])

    def test_for_people(self):
        server = self.server("--policy", "any")
        result = self.why(server, "--wait", 7)
        self.assertEqual((result.status, result.err), (RELAYED, ""), result.out)
        self.assertTrue(result.out.startswith("verdict  The peer takes no part"), result.out)
        self.assertIn("\nto do    ", result.out)
        self.assertIn("peer's NAT not known", result.out)
        self.assertTrue(all(len(line) <= 120 for line in result.out.splitlines()))

    def test_the_policy_ends_it(self):
        server = self.server("--policy", "any")
        result = self.why(server, "--policy", "direct:1", "--json")
        self.assertEqual(result.status, UNREACHABLE, result.out + result.err)
        error = result.event("error")
        self.assertEqual(error["name"], "NO_DIRECT_PATH")
        self.assertIn("no direct path within 1000 ms: ", error["message"])
        self.assertEqual(result.event("explanation")["reason"], "trying")
        self.assertEqual([e["event"] for e in result.events][-2:], ["explanation", "error"])


class Fails(WhyCase):
    def test_nobody_is_there(self):
        absent = run("key", "new", "--json").event("key")["id"]
        result = run("why", absent, "--addr", DEAD, "--timeout", 1)
        self.check_sentence(result, UNREACHABLE, DEAD)
        self.assertEqual(result.out, "")
        self.check_sentence(run("why", absent, "--no-discovery"), UNREACHABLE, "--addr")

    def test_other_protocols_and_keys(self):
        server = self.server()
        self.assertEqual(run("why", server.ticket, "--alpn", "other/1").status, 5)
        absent = run("key", "new", "--json").event("key")["id"]
        self.assertEqual(run("why", absent, "--addr", server.addr).status, 4)

    def test_a_peer_that_goes(self):
        server = self.server("--policy", "any")
        why = self.start(Process, *self.args(server, "--wait", 60))
        server.event("connected")
        server.stop()
        result = why.wait()
        self.check_sentence(result, LOST, "closed")
        self.assertIn("verdict  ", result.out)  # what was known by then

    def test_an_interrupt(self):
        server = self.server("--policy", "any")
        why = self.start(Process, *self.args(server, "--wait", 60))
        server.event("connected")
        result = why.stop(signal.SIGINT)
        self.assertEqual((result.status, result.out), (130, ""))


class Progress(WhyCase):
    def test_only_on_a_terminal(self):
        server = self.server("--policy", "any")
        master, slave = pty.openpty()
        done = subprocess.run([*WRAPPER, BIN, *map(str, self.args(server, "--wait", 1))],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave,
                              timeout=LIMIT, env=environment(), check=False)
        os.close(slave)
        shown = os.read(master, 65536).decode()
        os.close(master)
        self.assertEqual(done.returncode, RELAYED)
        self.assertIn("\rrelayed, looking for a direct path, ", shown)
        self.assertTrue(shown.endswith(" \r"), repr(shown[-40:]))  # and is wiped out
        self.assertNotIn(b"looking for a direct path, ", done.stdout)


class Node2(WhyCase):
    def dial(self, server, *args):
        return run("node2", server.id, "--relay", self.relay_.url, *LOOPBACK, "--send", "hello",
                   "--json", *args)

    def test_waits_for_a_direct_path(self):
        server = self.server()
        result = self.dial(server, "--wait-direct", 60)
        self.assertEqual(result.status, OK, result.out + result.err)
        names = [e["event"] for e in result.events]
        paths = [e for e in result.events if e["event"] == "path"]
        self.assertEqual([p["kind"] for p in paths], ["relay", "direct"])
        relayed, direct = paths
        self.check_event(relayed, "path", remote=server.id, kind="relay", path="relay",
                         addr=self.relay_.url, relay=self.relay_.url, rtt_ms=is_number,
                         rtt_us=is_count, since_connect_ms=0)
        self.check_event(direct, "path", remote=server.id, kind="direct", path="direct",
                         addr=server.addr, rtt_ms=is_number, rtt_us=is_count,
                         since_connect_ms=is_count)
        self.assertGreater(direct["rtt_us"], 0)
        self.assertEqual(names[:2], ["connected", "path"])
        self.assertGreater(names.index("stream"), result.events.index(direct))
        seen = [server.event("path") for _ in paths]
        self.assertEqual([p["kind"] for p in seen], ["relay", "direct"])

    def test_a_direct_path_needs_no_wait(self):
        server = self.server()
        result = run("node2", server.ticket, *LOOPBACK, "--wait-direct", 600, "--json")
        self.assertEqual(result.status, OK, result.out + result.err)

    def test_goes_on_without_one(self):
        server = self.server("--policy", "any")
        result = self.dial(server, "--wait-direct", 1)
        self.assertEqual(result.status, OK, result.out + result.err)
        self.assertEqual(result.event("path")["kind"], "relay")
        result = run("node2", server.id, "--relay", self.relay_.url, *LOOPBACK, "--wait-direct", 1)
        self.assertEqual(result.status, OK, result.err)
        self.assertIn("not direct after 1 s", result.out)

    def test_the_timeout_begins_behind_the_wait(self):
        server = self.server("--policy", "any")
        result = self.dial(server, "--wait-direct", 3, "--timeout", 1)
        self.assertEqual(result.status, OK, result.out + result.err)

    def test_direct_or_not_at_all(self):
        server = self.server("--policy", "any")
        result = self.dial(server, "--policy", "direct:1", "--wait-direct", 60)
        self.assertEqual(result.status, UNREACHABLE, result.out + result.err)
        self.assertEqual(result.event("error")["name"], "NO_DIRECT_PATH")
        self.assertEqual(result.event("closed")["name"], "NO_DIRECT_PATH")
        direct = self.server()
        result = self.dial(direct, "--policy", "direct:60", "--wait-direct", 60)
        self.assertEqual(result.status, OK, result.out + result.err)

    def test_relay_only_stays_there(self):
        server = self.server()
        result = self.dial(server, "--policy", "relay-only", "--addr", server.addr, "--wait-direct",
                           1)
        self.assertEqual(result.status, OK, result.out + result.err)
        self.assertEqual(result.event("path")["kind"], "relay")
        self.check_sentence(run("node2", server.id, "--addr", server.addr, *LOOPBACK, "--policy",
                                "relay-only"), UNREACHABLE, "relay")

    def test_an_interrupt_ends_the_wait(self):
        server = self.server("--policy", "any")
        node2 = self.start(Process, "node2", server.id, "--relay", self.relay_.url, *LOOPBACK,
                           "--wait-direct", 600, "--json")
        node2.event("path")
        self.assertEqual(node2.stop(signal.SIGINT).status, 130)


if __name__ == "__main__":
    main()
