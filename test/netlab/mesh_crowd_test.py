"""Mesh nodes and crowds at their door: connections that say nothing, from one address and from
many, first packets under false addresses; and those who have to catch up, or get nothing more."""
import collections
import os
import random
import socket
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from netlab import SKIP, enter, until  # noqa: E402
from netlab.mesh_nodes import LIMIT, PORT  # noqa: E402
from netlab.nodes import cmd, missing_programs  # noqa: E402

from hostile_storm import Spoofer  # noqa: E402
from mesh_mallory import PROGRAM, REFUSED, REVOKED, SILENT, MeshCase  # noqa: E402

CONNS_PER_ADDR = 16
HANDSHAKES_MAX = 64  # of strangers
FALSE_NET = "44.200"
SO_RCVBUFFORCE = 33  # linux/socket.h
HEAL_SECONDS = 180


class Door(MeshCase):
    """The door stays open for a while, so that a slow machine finds all of them there at once."""
    settings = {"connect_timeout_ms": 20_000}

    def closed(self, mallory, count):
        """How many were closed with which code."""
        codes, reasons = collections.Counter(), set()
        for _ in range(count):
            event = mallory.expect("closed", 2 * LIMIT)
            codes[event["code"]] += 1
            reasons.add(event["reason"])
        return codes, reasons

    def comes_in(self, node):
        """A peer that was away, at an address of its own."""
        self.assertEqual(node.stop(), cmd.OK)
        self.a.wait_without(node)
        node.start()
        self.since[node] = self.a.wait_for(node)["connected_since"]
        until(LIMIT, "the connection lasts", lambda: self.settled(node))

    def settled(self, node):
        """Both have dialled, perhaps; one connection is left, the same for a while."""
        now = self.a.wait_for(node)["connected_since"]
        beats = self.a.peer(node)["last_heartbeat_ts"]
        if now == self.since[node] and beats and beats > now + 2:
            return True
        self.since[node] = now
        return False

    def test_many_keys_of_one_address(self):
        refused = self.a.ask("stats")["refused_in"]
        mallory = self.mallory(trusted=False)
        mallory.do("dial", 40)
        codes, reasons = self.closed(mallory, 40 - CONNS_PER_ADDR)
        self.assertEqual((codes, reasons), ({REFUSED: 40 - CONNS_PER_ADDR},
                                            {"too many connections from this address"}))
        self.assertEqual(mallory.report()["alive"], CONNS_PER_ADDR)
        self.assertEqual(self.a.ask("stats")["refused_in"], refused + 40 - CONNS_PER_ADDR)
        mallory.do("control", "000000407b")  # one of them begins a HELLO
        self.comes_in(self.b)
        codes, reasons = self.closed(mallory, CONNS_PER_ADDR)
        self.assertEqual(codes, {SILENT: CONNS_PER_ADDR})
        print(f"those who say nothing: {reasons}", flush=True)
        self.check_well()
        mallory.do("dial", 1)  # and there is room again
        mallory.expect("connected")
        self.assertEqual(mallory.report()["alive"], 1)

    def test_many_addresses_of_one_host(self):
        count = HANDSHAKES_MAX + 12
        addresses = [f"10.77.{self.segment.number}.{100 + n}" for n in range(count)]
        self.host.ip(*(f"addr add {address}/24 dev eth0" for address in addresses))
        mallory = self.mallory(trusted=False)
        for address in addresses:
            mallory.do("from", address)
            mallory.do("dial")
        codes, reasons = self.closed(mallory, count - HANDSHAKES_MAX)
        self.assertEqual((codes, reasons), ({REFUSED: count - HANDSHAKES_MAX},
                                            {"busy, try again later"}))
        self.assertEqual(mallory.report()["alive"], HANDSHAKES_MAX)
        self.comes_in(self.b)
        codes, _reasons = self.closed(mallory, HANDSHAKES_MAX)
        self.assertEqual(codes, {SILENT: HANDSHAKES_MAX})
        self.check_well()

    # --- false addresses -------------------------------------------------------------------------

    def first_packets(self, count):
        """Those of `count` dials of A that nobody answered: a list of datagrams each."""
        sink = self.host.socket()
        self.addCleanup(sink.close)
        sink.bind((self.host.v4, 0))
        sink.settimeout(LIMIT)
        sink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        decoy = collections.namedtuple("Decoy", "id addr")(
            self.a.id, f"{self.host.v4}:{sink.getsockname()[1]}")
        mallory = self.mallory(trusted=False, victim=decoy)
        mallory.do("dial", count)
        dials = collections.defaultdict(dict)
        while len(dials) < count or min(map(len, dials.values())) < 2:
            packet, source = sink.recvfrom(2048)
            if packet[0] & 0xf0 == 0xc0:  # Initial (RFC 9000 section 17.2.2)
                dials[source][packet] = None
        mallory.end()
        return [list(packets)[:2] for packets in dials.values()]

    def test_first_packets_under_false_addresses(self):
        dials = self.first_packets(250)
        # What A answers goes to Mallory's host, which passes nothing on.
        self.a.host.ip(f"route add default via {self.host.v4}")
        self.a.host.nft(f"""table inet answers {{
          counter answered {{ }}
          counter retries {{ }}
          chain c {{ type filter hook output priority 0;
            ip daddr {FALSE_NET}.0.0/16 counter name answered
            ip daddr {FALSE_NET}.0.0/16 udp dport 1024-65535 @th,64,8 & 0xf0 == 0xf0 \
              counter name retries
          }}
        }}""")
        spoofer = Spoofer(self.host)
        self.addCleanup(spoofer.end)
        over = threading.Event()
        storm = threading.Thread(target=self.storm, args=(spoofer, dials, over), daemon=True)
        storm.start()
        try:
            until(LIMIT, "A asks for proofs of addresses", lambda: self.counter("retries")[0] > 100)
            self.comes_in(self.c)  # which has to prove its own, too
            self.check_honest()
            until(LIMIT, "a storm", lambda: sum(spoofer.packets.values()) > 20_000)
        finally:
            over.set()
            storm.join(LIMIT)
        sent, size = sum(spoofer.packets.values()), sum(spoofer.bytes.values())
        answers, answered = self.counter("answered")
        print(f"{sent} packets under {len(spoofer.packets)} addresses; {answers} answers, "
              f"{self.counter('retries')[0]} of them Retry; {answered / size:.2f} bytes for a byte",
              flush=True)
        self.assertGreater(answers, 0)
        self.assertLess(answered, 3 * size)
        self.check_well()

    def counter(self, name):
        """(packets, bytes) of A's."""
        words = self.a.host.tool("nft", "list", "counter", "inet", "answers", name).split()
        return int(words[words.index("packets") + 1]), int(words[words.index("bytes") + 1])

    def storm(self, spoofer, dials, over):
        rand = random.Random(1)
        while not over.wait(0.002):
            for _ in range(10):
                source = (f"{FALSE_NET}.{rand.randrange(256)}.{rand.randrange(1, 255)}",
                          rand.randrange(1024, 65536))
                for packet in rand.choice(dials):
                    spoofer.send(source, (self.a.host.v4, PORT), packet)


class Apart(MeshCase):
    """B hears nobody for a while."""
    settings = {"durability": "process"}
    memory_may_grow = 160 << 20

    def put_many(self, node, prefix, count, errors):
        try:
            control = node.control()
            for n in range(count):
                control.ask("kv.put", share="common", key=f"{prefix}{n}", value=f"{n} of {prefix}")
            control.close()
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    def test_a_burst_while_apart(self):
        block = self.b.host.block(*(f"ip {end} {other.host.v4}" for other in (self.a, self.c)
                                    for end in ("saddr", "daddr")))
        for node in self.a, self.c:
            node.wait_without(self.b)
        self.assertTrue(self.a.connected(self.c))
        errors = []
        writers = [threading.Thread(target=self.put_many, args=(*what, errors), daemon=True)
                   for what in ((self.a, "a", 10_000), (self.c, "c", 10_000), (self.b, "b", 1000))]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        self.assertEqual(errors, [])
        for node in self.nodes:  # the same key everywhere: one of them is the last
            node.put("contended", node.name)
        until(HEAL_SECONDS, "A and C are the same", lambda: self.a.hash() == self.c.hash(), 0.1)
        self.assertNotEqual(self.a.hash(), self.b.hash())
        self.assertIsNone(self.b.value("a1"))
        block.lift()
        until(HEAL_SECONDS, "all are the same", lambda: len({
            node.hash() for node in self.nodes}) == 1, 0.1)
        entries = self.b.entries()
        self.assertEqual(len(entries), 21_001)
        for prefix, count in ("a", 10_000), ("b", 1000), ("c", 10_000):
            for n in 0, 1, count // 2, count - 1:
                self.assertEqual(entries[f"{prefix}{n}"]["value"], f"{n} of {prefix}")
        self.assertEqual(entries["contended"]["value"], self.a.value("contended"))
        for node in self.nodes:
            self.assertEqual(node.ask("kv.verify", share="common")["checked"], 21_001)
            for peer in node.ask("peers")["peers"]:
                self.assertEqual({kind for kind, n in peer["faults"].items() if n}
                                 - {"flooded"}, set(), f"{node.name} of {peer['name']}")
        self.check_memory()


class Revoked(MeshCase):
    """One key, connected to A and to B, when A revokes it."""
    settings = {"accept_revocations": True}

    def test_who_is_revoked_gets_nothing_more(self):
        secret = "not-for-mallory"
        at_a = self.mallory()
        at_b = self.mallory(victim=self.b, seed=at_a.seed)
        self.b.ask("peer.trust", peer=at_a.id, name="mallory")
        for mallory in at_a, at_b:
            mallory.do("secret", secret)
            mallory.come("common")
            mallory.do("sync", "common")  # begun, and never gone on with
        self.marker(at_a)
        key = self.unique("before")
        until(LIMIT, "both are told what is put", lambda: self.both_hear(at_a, at_b, key))

        control = self.a.control()
        control.send("peer.revoke", peer=at_a.id, reason="stolen")
        control.send("kv.put", share="common", key="after", value=secret)  # in the same breath
        for _ in range(2):
            self.assertTrue(control.answer()["ok"])
        control.close()
        for mallory in at_a, at_b:
            closed = mallory.expect("closed", LIMIT)
            self.assertEqual(closed["code"], REVOKED, closed)
        for node in self.nodes:
            node.wait_value("after", secret)
            node.put(f"after {node.name}", secret)
        for mallory in at_a, at_b:
            for turn in range(3):
                ack = mallory.come_again("common")
                self.assertFalse(ack["ok"], ack)
                self.assertEqual(mallory.expect("closed", LIMIT)["code"], REFUSED)
                self.a.put(f"turn {turn}", secret)
                self.b.wait_value(f"turn {turn}", secret)
            self.assertFalse(mallory.report()["saw_secret"])
        print(f"it is told: {ack['reason']}", flush=True)
        known, = self.b.rows("peer.list", state="blocked")
        self.assertEqual((known["id"], known["origin"]), (at_a.id, "revocation"))
        self.check_well()

    def both_hear(self, at_a, at_b, key):
        """Of a change at C, which reaches A and B. Again, until their streams are there."""
        self.c.put(key, self.unique("v"))
        return at_a.report()["entries_in"] and at_b.report()["entries_in"]


if __name__ == "__main__":
    missing = missing_programs(PROGRAM)
    if missing:
        print(f"skipped: {missing}")
        sys.exit(SKIP)
    enter()
    unittest.main(verbosity=2)
