"""Servers in km-dns's place that answer with lies, rubbish or nothing: each is refused with its
reason, nothing crashes, and a good server beside it answers at once. The bad ones are those of
test/discovery, at addresses of the laboratory."""
import http.client
import os
import struct
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "../cmd"))

from netlab import SKIP, Lab, enter  # noqa: E402
from netlab.nodes import cmd, missing_programs  # noqa: E402
from pkarr import Key, encode_name, now_us  # noqa: E402

OK, UNREACHABLE = 0, 3
LIMIT = 60
AT_ONCE = 2  # seconds, for a good source that is not held up by a bad one
GOOD = "https://good.test/"
SERVERS = os.path.join(HERE, "../discovery")


class Hostile:
    """One of the hostile servers: .port; ends with its standard input."""

    def __init__(self, server, program):
        self.addr = server.v4
        self.child = subprocess.Popen(
            server.ns.command(sys.executable, "-B", os.path.join(SERVERS, program), "--bind",
                              server.v4), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        word, port = self.child.stdout.readline().split()
        assert word == "port"
        self.port = int(port)

    def end(self):
        self.child.kill()
        self.child.wait()
        self.child.stdin.close()
        self.child.stdout.close()


class HostileCase(unittest.TestCase):
    program = None

    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        self.good, self.bad = self.lab.servers
        self.dns = self.lab.dns_server(self.good)
        self.host = self.lab.site("port_restricted").host
        self.hostile = self.lab.own(Hostile(self.bad, self.program))
        self.key = Key()
        self.put(self.good.v4, 80, "pkarr", self.key.packet(f"relay={GOOD}", "user-data=good"))

    def put(self, addr, port, place, packet, key=None):
        with self.host.inside():
            conn = http.client.HTTPConnection(addr, port, timeout=LIMIT)
            conn.connect()
        conn.request("PUT", f"/{place}/{(key or self.key).z32}", packet)
        self.assertEqual(conn.getresponse().status, 204)
        conn.close()

    def start(self, *args):
        node = self.lab.node(self.host, "resolve", self.key.public.hex(), "--json", "--mdns", "off",
                             "--log", "warn,discovery=debug", "--timeout", "20", *args)
        node.begin = time.monotonic()
        return node

    def end(self, node):
        """Its status, what it found, and its error's sentence."""
        status = node.finish(LIMIT)
        self.assertIn(status, (OK, UNREACHABLE), node.log())
        errors = [event["message"] for event in node.events if event["event"] == "error"]
        return status, [event for event in node.events if event["event"] == "found"], (
            errors[0] if errors else "")

    def check_beside_good(self, what, good, *bad):
        """The good source is not held up by the bad one."""
        node = self.start("--first", *good, *bad)
        status, found, _ = self.end(node)
        self.assertEqual(status, OK, f"{what}: {node.log()}")
        self.assertEqual(found[-1]["relays"], [GOOD], f"{what}: {found}")
        took = found[-1]["at"] - node.begin
        self.assertLess(took, AT_ONCE, what)
        return took

    def check_all(self, cases, good, args_of):
        """Each alone, all at once; then those that are of no use beside a good one."""
        alone = {what: self.start(*args_of(what)) for what in cases}
        for what, expected in cases.items():
            status, found, sentence = self.end(alone[what])
            print(f"  {what}: {sentence or [one.get('user_data') for one in found]}", flush=True)
            with self.subTest(what):
                self.judge(what, expected, status, found, sentence)
        worst = max(self.check_beside_good(what, good, *args_of(what))
                    for what, expected in cases.items() if expected)
        print(f"  a good server beside any of them: at most {worst * 1000:.0f} ms", flush=True)

    def judge(self, what, expected, status, found, sentence):
        self.assertNotIn("forged", [one.get("user_data") for one in found])
        if expected is None:
            self.assertEqual(status, OK, sentence)
            self.assertEqual({one["user_data"] for one in found}, {what})
        else:
            self.assertEqual((status, found), (UNREACHABLE, []), sentence)
            self.assertIn(expected, sentence)


class Dns(HostileCase):
    program = "hostile_dns.py"

    # None: lies and then the truth, which is what is believed.
    CASES = {
        "wrong-id": None,
        "wrong-question": None,
        "wrong-type": None,
        "wrong-source": None,
        "flood": None,
        "drop": None,
        "garbage": None,
        "tc": None,
        "no-question": "Misformatted",
        "loop": "Misformatted",
        "too-many": "Misformatted",
        "cut": "Misformatted",
        "wrong-owner": "has no record of it",
        "circle": "has no record of it",
        "nxdomain": "has no record of it",
        "tc-cut": "Could not contact",
        "tc-closed": "Could not contact",
        "tc-drip": "Timeout",
        "silent": "Timeout",
        "servfail": "general failure",
    }

    def args_of(self, what):
        return ("--dns-origin", f"{what}.test", "--dns-server",
                f"{self.hostile.addr}:{self.hostile.port}")

    def test_answers(self):
        self.check_all(self.CASES, ("--pkarr", self.dns.pkarr), self.args_of)

    def test_cut_and_no_tcp(self):
        """What does not fit is asked for by TCP; where that is dropped on the way there is a
        reason."""
        with self.bad.ns.block(f"tcp dport {self.hostile.port}"):
            node = self.start(*self.args_of("tc"))
            took = self.check_beside_good("tc", ("--pkarr", self.dns.pkarr), *self.args_of("tc"))
            self.judge("tc", "no answer", *self.end(node))
        self.assertLess(took, AT_ONCE)


class Http(HostileCase):
    program = "hostile_http.py"

    CASES = {
        "one-more": "more than was asked for",
        "huge": "more than was asked for",
        "huge-length": "hung up in the middle",
        "cut": "hung up in the middle",
        "chunked-overflow": "hung up in the middle",
        "junk": "instead of answering",
        "hang-up": "instead of answering",
        "headers": "not answer as an HTTP server does",
        "chunked-endless": "did not answer in time",
        "slow": "did not answer in time",
        "silent": "did not answer in time",
        "redirect": "HTTP 301",
        "busy": "HTTP 429",
        "not-found": "has no packet of it",
        "plain": "72 to 1072 bytes, not 5",
        "store-nothing": "72 to 1072 bytes, not 0",
        "store-signature": "signature is wrong",
        "store-other": "signature is wrong",
        "store-later": "signature is wrong",
        "store-loop": "no DNS message",
    }

    def setUp(self):
        super().setUp()
        good = self.key.packet(f"relay={GOOD}", "user-data=forged")
        dns = good[72:]
        loop = (dns[:12] + encode_name(f"_iroh.{self.key.z32}")[:-1] + b"\xc0\x0c" +
                struct.pack(">HHIH", 16, 1, 30, 5) + b"\x04abcd")
        for place, packet in (
                ("store-signature", good[:20] + bytes([good[20] ^ 1]) + good[21:]),
                ("store-other", Key().packet("user-data=forged")),
                ("store-later", good[:64] + struct.pack(">Q", now_us() + 10**9) + dns),
                ("store-loop", self.key.payload(loop)),
                ("store-nothing", b"")):
            self.put(self.hostile.addr, self.hostile.port, place, packet)

    def args_of(self, what):
        return "--pkarr", f"http://{self.hostile.addr}:{self.hostile.port}/{what}"

    def test_answers(self):
        self.check_all(self.CASES, ("--dns-origin", self.dns.origin, "--dns-server", self.dns.dns),
                       self.args_of)
        # Beside another PKARR relay as well, which is the same source.
        for what in "silent", "slow", "store-signature":
            self.check_beside_good(what, ("--pkarr", self.dns.pkarr), *self.args_of(what))

    def test_older_than_known(self):
        """A relay that keeps what was replaced: it comes after the newer one, and counts for
        nothing."""
        old = self.key.packet("relay=https://old.test/", "user-data=forged",
                              timestamp_us=now_us() - 3600 * 10**6)
        self.put(self.hostile.addr, self.hostile.port, "late-old", old)
        self.put(self.hostile.addr, self.hostile.port, "store-old", old)
        node = self.start("--pkarr", self.dns.pkarr, *self.args_of("late-old"))
        status, found, _ = self.end(node)
        self.assertEqual((status, [one["relays"] for one in found]), (OK, [[GOOD]]), node.log())
        # The other way round the newer one comes last, and is the last word.
        newer = self.key.packet("relay=https://newer.test/", timestamp_us=now_us() + 10**6)
        self.put(self.hostile.addr, self.hostile.port, "late-newer", newer)
        _, found, _ = self.end(self.start(*self.args_of("store-old"), *self.args_of("late-newer")))
        self.assertEqual([one["relays"] for one in found],
                         [["https://old.test/"], ["https://newer.test/"]])
        # And at km-dns itself nobody can put the old one back.
        with self.host.inside():
            conn = http.client.HTTPConnection(self.good.v4, 80, timeout=LIMIT)
            conn.connect()
        conn.request("PUT", f"/pkarr/{self.key.z32}", old)
        self.assertEqual(conn.getresponse().status, 409)
        conn.close()


if __name__ == "__main__":
    missing = missing_programs("km-dns")
    if missing:
        print(f"skipped: {missing}")
        sys.exit(SKIP)
    enter()
    unittest.main(verbosity=2)
