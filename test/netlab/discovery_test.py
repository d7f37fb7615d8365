"""Found by id alone across the internet, through a km-dns and a km-relay that anyone can host:
behind NATs, while the server is down, after it was killed, after the peer moved, and while others
flood it."""
import http.client
import os
import signal
import socket
import struct
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "../cmd"))

from netlab import SKIP, Lab, enter, until  # noqa: E402
from netlab.nodes import Program, cmd, missing_programs  # noqa: E402
from pkarr import Answer, Key, query  # noqa: E402

OK, UNREACHABLE = 0, 3
LIMIT = 60
LOG = "warn,discovery=debug"
NO_LIMITS = "[limits]\nput_per_minute = 0\nhttp_per_second = 0\n"


class InternetCase(unittest.TestCase):
    """relay1 has the km-relay, relay2 the km-dns; two homes behind NATs of their own."""

    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        self.relay = self.lab.relay(self.lab.servers[0])
        self.dns = self.lab.dns_server(self.lab.servers[1])
        self.here, self.there = (self.lab.site("port_restricted", name=name)
                                 for name in ("here", "there"))

    def by_pkarr(self):
        return "--pkarr", self.dns.pkarr

    def by_dns(self):
        return "--dns-origin", self.dns.origin, "--dns-server", self.dns.dns

    def start_peer(self, *args, relays=None):
        """At `there`, told to km-dns, and stored by it."""
        peer = self.lab.start_node1(self.there.host, *self.by_pkarr(), *args,
                                    relays=relays or [self.relay])
        self.stored(peer.id)
        return peer

    def packet(self, peer_id):
        """What km-dns has, or None."""
        key = z32_of(peer_id)
        with self.lab.servers[0].ns.inside():
            conn = http.client.HTTPConnection(self.dns.server.v4, 80, timeout=LIMIT)
            conn.connect()
        conn.request("GET", f"/pkarr/{key}")
        reply = conn.getresponse()
        body = reply.read()
        conn.close()
        return body if reply.status == 200 else None

    def attributes(self, peer_id):
        packet = self.packet(peer_id)
        return Answer(packet[72:]).texts() if packet else []

    def stored(self, peer_id, *wanted):
        """Until km-dns has what it publishes, with these attributes."""
        wanted = set(wanted)
        return until(LIMIT, f"km-dns has {wanted or 'a packet'}", lambda: (
            (found := self.attributes(peer_id)) and wanted <= set(found) and found))

    def dial(self, peer_id, *args, host=None):
        """node2, at `here` by default: (seconds until it was connected, node2)."""
        begin = time.monotonic()
        node2 = self.lab.node(host or self.here.host, "node2", peer_id, "--json", "--log", LOG,
                              *args)
        connected = node2.expect("connected", LIMIT)
        self.assertEqual(connected["remote"], peer_id)
        return connected["at"] - begin, node2

    def resolve(self, peer_id, *args, host=None):
        done = self.lab.node(host or self.here.host, "resolve", peer_id, "--json", "--log", LOG,
                             "--mdns", "off", *args)
        done.status = done.finish(LIMIT)
        done.found = [event for event in done.events if event["event"] == "found"]
        return done


def z32_of(id_hex):
    from pkarr import z32
    return z32(bytes.fromhex(id_hex))


class Apart(InternetCase):
    """Two NATs; by id alone, over the relay at first, then directly."""

    def check(self, what, *source):
        peer = self.start_peer()
        took, node2 = self.dial(peer.id, *source, "--wait-direct", "30")
        first = next(event for event in node2.events if event["event"] == "connected")
        self.assertEqual(first["path"], "relay", node2.log())
        self.assertEqual(node2.finish(LIMIT), OK, node2.log())
        kinds = [(at, kind) for at, kind, _ in node2.paths()]
        self.assertEqual(kinds[-1][1], "direct", node2.log())
        direct = next(event for _, kind, event in node2.paths() if kind == "direct")
        self.assertIn(self.there.public_v4, direct["addr"])
        print(f"{what}: connected in {took * 1000:.0f} ms, direct after "
              f"{(direct['at'] - first['at']) * 1000:.0f} ms more", flush=True)
        stream = next(event for event in node2.events if event["event"] == "stream")
        self.assertGreaterEqual(stream["at"], direct["at"])

    def test_by_pkarr(self):
        self.check("by PKARR", *self.by_pkarr())

    def test_by_dns(self):
        self.check("by DNS", *self.by_dns())

    def test_ipv6_only(self):
        here, there = (self.lab.site("ipv6_only", name=name) for name in ("here6", "there6"))
        peer = self.lab.start_node1(there.host, *self.by_pkarr(), relays=[self.relay])
        self.stored(peer.id)
        for source in self.by_pkarr(), ("--dns-origin", self.dns.origin, "--dns-server",
                                        f"[{self.dns.server.v6}]:53"):
            _, node2 = self.dial(peer.id, *source, "--wait-direct", "30", host=here.host)
            self.assertEqual(node2.finish(LIMIT), OK, node2.log())
            self.assertEqual(node2.paths()[-1][1], "direct", node2.log())

    def test_the_name_server_of_the_system(self):
        """Without --dns-server the system's is asked: here km-dns, by a resolv.conf of its own."""
        peer, path = self.start_peer(), "/run/netlab/resolv.conf"
        with open(path, "w", encoding="ascii") as file:
            file.write(f"nameserver {self.dns.server.v4}\n")
        found = self.lab.own(Program(
            self.here.host, "/bin/sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"',
            path, cmd.BIN, "resolve", peer.id, "--json", "--mdns", "off", "--dns-origin",
            self.dns.origin)).expect("found", LIMIT)
        self.assertEqual((found["source"], found["relays"]), ("dns", [self.relay.url]))

    def test_only_relays_are_told(self):
        """Where somebody is can be read by everybody: addresses are told when that is asked for."""
        peer = self.start_peer("--user-data", "hello")
        self.assertEqual(set(self.attributes(peer.id)),
                         {f"relay={self.relay.url}", "user-data=hello"})
        for source in self.by_pkarr(), self.by_dns():
            found = self.resolve(peer.id, *source).found
            self.assertEqual([(one["relays"], one["direct"], one["user_data"]) for one in found],
                             [([self.relay.url], [], "hello")])
        self.assertEqual([one["proven"] for one in found], [False])  # by DNS: nobody signs that


class Down(InternetCase):
    def test_what_is_remembered_is_dialled(self):
        peer = self.start_peer()
        state = "--state", "/run/netlab/node2.db"
        for source in self.by_pkarr(), self.by_dns():
            took, node2 = self.dial(peer.id, *source, *state)
            self.assertEqual(node2.finish(LIMIT), OK, node2.log())
        self.lab.release(self.dns)
        for what, source in ("PKARR", self.by_pkarr()), ("DNS", self.by_dns()):
            again, node2 = self.dial(peer.id, *source, *state)
            self.assertEqual(node2.finish(LIMIT), OK, node2.log())
            print(f"{what} is down: connected in {again * 1000:.0f} ms out of what is remembered"
                  f" ({took * 1000:.0f} ms before)", flush=True)
            self.assertIn("found source=cache", "".join(node2.err))
            self.assertLess(again, 3)
        # The machine of the server is gone too: nobody even refuses.
        with self.lab.internet.block(f"ip daddr {self.dns.server.v4}"):
            again, node2 = self.dial(peer.id, *self.by_pkarr(), *self.by_dns(), *state)
            self.assertEqual(node2.finish(LIMIT), OK, node2.log())
            self.assertLess(again, 3)

    def test_nothing_is_remembered(self):
        self.lab.release(self.dns)
        for source, words in ((self.by_pkarr(), ("pkarr:", "relay2.test")),
                              (self.by_dns(), ("dns:", self.dns.origin))):
            node2 = self.lab.node(self.here.host, "node2", "12" * 31 + "00", "--json", *source)
            error = node2.expect("error", LIMIT)
            self.assertEqual(node2.finish(LIMIT), UNREACHABLE, node2.log())
            self.assertIn("nobody knows it", error["message"])
            for word in words:
                self.assertIn(word, error["message"])
            print(f"nothing is remembered: {error['message']}", flush=True)


    def test_the_server_comes_late(self):
        """A node that could not tell anybody goes on trying."""
        self.lab.release(self.dns)
        peer = self.lab.start_node1(self.there.host, *self.by_pkarr(), relays=[self.relay])
        time.sleep(3)
        self.assertIsNone(peer.child.poll())
        begin = time.monotonic()
        self.dns = self.lab.dns_server(self.lab.servers[1])
        self.stored(peer.id, f"relay={self.relay.url}")
        self.assertLess(time.monotonic() - begin, 15)


class Killed(InternetCase):
    def setUp(self):
        super().setUp()
        self.lab.release(self.dns)
        self.dns = self.lab.dns_server(self.lab.servers[1], config=NO_LIMITS)

    def publish_all(self, keys, acknowledged, enough):
        """One after another until the server is gone."""
        with self.lab.servers[0].ns.inside():
            conn = http.client.HTTPConnection(self.dns.server.v4, 80, timeout=LIMIT)
            conn.connect()
        try:
            for number, key in enumerate(keys):
                conn.request("PUT", f"/pkarr/{key.z32}", key.packet(f"user-data={number}"))
                reply = conn.getresponse()
                reply.read()
                if reply.status != 204:
                    return
                acknowledged.append(number)
                if len(acknowledged) == 20:
                    enough.set()
        except (OSError, http.client.HTTPException):
            pass
        finally:
            enough.set()
            conn.close()

    def test_what_was_acknowledged_is_there(self):
        keys = [Key(struct.pack('<H', n) * 16) for n in range(400)]
        acknowledged, enough = [], threading.Event()
        writer = threading.Thread(target=self.publish_all, args=(keys, acknowledged, enough))
        writer.start()
        enough.wait(LIMIT)
        time.sleep(0.05)
        self.dns.end()  # kill -9
        writer.join()
        self.assertGreaterEqual(len(acknowledged), 20)
        self.lab.release(self.dns)
        self.dns = self.lab.dns_server(self.lab.servers[1], config=NO_LIMITS)
        print(f"killed after {len(acknowledged)} were acknowledged", flush=True)
        for number in acknowledged:
            packet = self.packet(keys[number].public.hex())
            self.assertIsNotNone(packet, f"{number} of {len(acknowledged)} is lost")
            self.assertEqual(Answer(packet[72:]).texts(), [f"user-data={number}"])
        last = self.resolve(keys[acknowledged[-1]].public.hex(), *self.by_dns())
        self.assertEqual(last.found[0]["user_data"], str(acknowledged[-1]), last.log())


class Moves(InternetCase):
    def test_another_relay(self):
        """Its relay dies: the standby becomes home, and is what others find."""
        second = self.lab.relay(self.lab.servers[1], port=444, config="")
        urls = {relay.url: relay for relay in (self.relay, second)}
        peer = self.start_peer(relays=[self.relay, second])
        first = urls[next(text for text in self.attributes(peer.id)
                          if text.startswith("relay="))[6:]]
        other = next(relay for relay in urls.values() if relay is not first)
        begin = time.monotonic()
        self.lab.release(first)
        until(LIMIT, "only the other one is told",
              lambda: self.attributes(peer.id) == [f"relay={other.url}"])
        print(f"another relay: told after {time.monotonic() - begin:.1f} s", flush=True)
        for source in self.by_pkarr(), self.by_dns():
            self.assertEqual(self.resolve(peer.id, *source).found[0]["relays"], [other.url])
        took, node2 = self.dial(peer.id, *self.by_pkarr())
        self.assertEqual(node2.finish(LIMIT), OK, node2.log())

    def test_what_is_remembered_is_old(self):
        """It is somewhere else than it was: what is remembered is tried, and holds nothing up."""
        state, key = ("--state", "/run/netlab/node2.db"), ("--secret-key", "17" * 32)
        peer = self.start_peer(*key)
        _, node2 = self.dial(peer.id, *self.by_pkarr(), *state, "--wait-direct", "30")
        self.assertEqual(node2.finish(LIMIT), OK, node2.log())
        self.lab.release(peer)
        elsewhere = self.lab.site("port_restricted", name="elsewhere")
        second = self.lab.relay(self.lab.servers[1], port=444)
        peer = self.lab.start_node1(elsewhere.host, *key, *self.by_pkarr(), relays=[second])
        self.stored(peer.id, f"relay={second.url}")
        took, node2 = self.dial(peer.id, *self.by_pkarr(), *state, "--wait-direct", "30")
        self.assertEqual(node2.finish(LIMIT), OK, node2.log())
        self.assertIn("found source=cache", "".join(node2.err))
        self.assertIn(elsewhere.public_v4, node2.paths()[-1][2]["addr"])
        print(f"moved since it was remembered: connected in {took * 1000:.0f} ms", flush=True)
        self.assertLess(took, 3)

    def test_another_address(self):
        peer = self.start_peer("--publish-direct")
        host = self.there.host
        told = self.stored(peer.id, f"relay={self.relay.url}")
        port = next(text for text in told if f"={host.v4}:" in text).rsplit(":", 1)[1]
        begin = time.monotonic()
        host.ip("addr add 192.168.1.99/24 dev eth0")
        until(LIMIT, "the new address is told", lambda: any(
            f"192.168.1.99:{port}" in text for text in self.attributes(peer.id)))
        took = time.monotonic() - begin
        print(f"another address: told after {took:.1f} s", flush=True)
        self.assertLess(took, 10)
        found = self.resolve(peer.id, *self.by_pkarr()).found
        self.assertIn(f"192.168.1.99:{port}", found[0]["direct"])
        host.ip("addr del 192.168.1.99/24 dev eth0")
        until(LIMIT, "the old address is not told", lambda: not any(
            "192.168.1.99" in text for text in self.attributes(peer.id)))


class Flooded(InternetCase):
    """One source asks, publishes and connects as fast as it can; others are served."""

    def setUp(self):
        super().setUp()
        self.flood = self.lab.site("none", name="flood").host
        self.over = threading.Event()
        self.addCleanup(self.over.set)
        self.peer = self.start_peer()

    def others_are_served(self):
        for source in self.by_dns(), self.by_pkarr():
            begin = time.monotonic()
            found = self.resolve(self.peer.id, *source, "--first")
            took = time.monotonic() - begin
            self.assertEqual([one["relays"] for one in found.found], [[self.relay.url]],
                             found.log())
            self.assertLess(took, 3)
        return took

    def check_memory(self, grown):
        if not cmd.sanitized():
            self.assertLess(grown, 16 << 20)

    def test_questions(self):
        sock = self.flood.socket()
        sock.connect((self.dns.server.v4, 53))
        sock.settimeout(0.5)
        counts = {"sent": 0, "full": 0, "cut": 0}

        def ask():
            message = query(f"_iroh.{z32_of(self.peer.id)}.{self.dns.origin}")
            while not self.over.is_set():
                for _ in range(20):
                    sock.send(message)
                counts["sent"] += 20
                time.sleep(0.001)

        def read():
            while True:
                try:
                    flags = struct.unpack_from("!H", sock.recv(4096), 2)[0]
                except OSError:
                    return
                counts["cut" if flags & 0x0200 else "full"] += 1

        before, begin = self.dns.memory(), time.monotonic()
        threads = [threading.Thread(target=target, daemon=True) for target in (ask, read)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        self.others_are_served()
        self.over.set()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - begin
        sock.close()
        grown = self.dns.memory() - before
        print(f"questions: {counts} in {seconds:.1f} s, memory grew by {grown >> 10} KiB",
              flush=True)
        self.assertGreater(counts["sent"], 2000)
        self.assertGreaterEqual(counts["full"], 200)
        # 400 at once, 200 a second from then on; the rest is cut or not answered at all.
        self.assertLessEqual(counts["full"], 400 + 200 * seconds * 1.1)
        self.assertLess(counts["cut"], counts["sent"] / 2 + 1)
        self.assertGreater(self.dns.count("kmdns_dns_limited_total"), 0)
        self.check_memory(grown)

    def test_forged_sources(self):
        """Each question seems to come from somebody else."""
        with self.flood.inside():
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        message = query(f"_iroh.{z32_of(self.peer.id)}.{self.dns.origin}")
        target = socket.inet_aton(self.dns.server.v4)
        before = self.dns.memory()
        for number in range(30000):
            source = struct.pack(">I", 0x50000000 + number * 977)
            datagram = struct.pack(">4H", 1024 + number % 60000, 53, 8 + len(message), 0) + message
            raw.sendto(struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(datagram), 0, 0, 64, 17, 0,
                                   source, target) + datagram, (self.dns.server.v4, 0))
            if number == 20000:
                self.others_are_served()
        raw.close()
        grown = self.dns.memory() - before
        asked = self.dns.count("kmdns_udp_queries_total")
        print(f"forged sources: {asked:.0f} questions, memory grew by {grown >> 10} KiB",
              flush=True)
        self.assertGreater(asked, 10000)
        self.check_memory(grown)

    def connect(self):
        with self.flood.inside():
            conn = http.client.HTTPConnection(self.dns.server.v4, 80, timeout=LIMIT)
            conn.connect()
        return conn

    def test_publishes(self):
        """Sixty at once and one each two seconds, of one source, whatever the keys."""
        statuses = []
        for number in range(150):
            key, conn = Key(struct.pack(">I", number) * 8), self.connect()
            conn.request("PUT", f"/pkarr/{key.z32}", key.packet("user-data=x"))
            statuses.append(conn.getresponse().status)
            conn.close()
        self.assertEqual(set(statuses), {204, 429})
        self.assertGreaterEqual(statuses.count(204), 60)
        self.assertLess(statuses.count(204), 90)
        mine = Key()
        relay = f"relay={self.relay.url}"
        self.others_are_served()
        with self.lab.servers[0].ns.inside():
            other = http.client.HTTPConnection(self.dns.server.v4, 80, timeout=LIMIT)
            other.connect()
        other.request("PUT", f"/pkarr/{mine.z32}", mine.packet(relay))
        self.assertEqual(other.getresponse().status, 204)
        self.assertEqual(self.attributes(mine.public.hex()), [relay])
        other.close()

    def test_connections(self):
        """It opens what it can and says nothing, or a byte now and then."""
        before, socks, refused = self.dns.memory(), [], 0
        for _ in range(400):
            sock = self.flood.socket(kind=socket.SOCK_STREAM)
            sock.settimeout(5)
            try:
                sock.connect((self.dns.server.v4, 80))
                sock.send(b"G")
                socks.append(sock)
            except OSError:
                refused += 1
                sock.close()
        self.others_are_served()
        closed = 0
        for sock in socks:
            sock.settimeout(0.001)
            try:
                closed += sock.recv(1) == b""
            except TimeoutError:
                pass
            except OSError:
                closed += 1
        for sock in socks:
            sock.close()
        print(f"connections: {closed + refused} of 400 refused", flush=True)
        self.assertGreaterEqual(closed + refused, 400 - 256)
        self.check_memory(self.dns.memory() - before)


if __name__ == "__main__":
    missing = missing_programs("km-dns")
    if missing:
        print(f"skipped: {missing}")
        sys.exit(SKIP)
    enter()
    unittest.main(verbosity=2)
