"""Found by id alone on networks that have no relay, no server and no way out, also where somebody
says what is not so."""
import os
import statistics
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import mdns_forger as forger  # noqa: E402
from netlab import SKIP, Lab, enter, until  # noqa: E402
from netlab.nodes import cmd, missing_programs  # noqa: E402

OK, UNREACHABLE, WRONG_KEY = 0, 3, 4
LIMIT = 60
SOON = 2  # seconds in which a peer on the same network is found
TRIES = 3
SEED = bytes(range(1, 33))
LOG = "warn,discovery=debug"


class LanCase(unittest.TestCase):
    def setUp(self):
        self.lab = Lab(servers=())
        self.addCleanup(self.lab.close)

    def hosts(self, count, **families):
        segment = self.lab.segment(**families)
        return [segment.add_host() for _ in range(count)]

    def forger(self, host):
        found = forger.Forger(host)
        self.addCleanup(found.close)
        return found

    def dial(self, host, peer_id, *args):
        """node2 with nothing but an id: (seconds until it was connected, where, node2)."""
        begin = time.monotonic()
        node2 = self.lab.node(host, "node2", peer_id, "--json", "--log", LOG, *args)
        connected = node2.expect("connected", LIMIT)
        self.assertEqual(node2.finish(LIMIT), OK, node2.log())
        self.assertEqual(connected["remote"], peer_id)
        stream = [event for event in node2.events if event["event"] == "stream"]
        self.assertEqual(len(stream), 1)
        self.assertGreater(stream[0]["rx_bytes"], 0)
        return connected["at"] - begin, connected["addr"], node2

    def found_soon(self, what, host, peer_id):
        """Each of some dials finds it; the machine may be too busy for some of them to be quick."""
        tries = [self.dial(host, peer_id) for _ in range(TRIES)]
        seconds = sorted(took for took, _, _ in tries)
        print(f"{what}: found, dialled and proven in {statistics.median(seconds) * 1000:.0f} ms"
              f" (the middle of {TRIES}; {seconds[0] * 1000:.0f} to {seconds[-1] * 1000:.0f})",
              flush=True)
        self.assertLess(seconds[0], SOON)
        return tries[0][1]

    def watch(self, host, *args, log=LOG):
        return self.lab.node(host, "discover", "--lan", "--watch", "--json", "--log", log, *args)

    def stays_unseen(self, watcher, seconds, **members):
        """No such found event comes in that time."""
        time.sleep(seconds)
        while not watcher.lines.empty() and watcher.next_event(time.monotonic()):
            pass
        self.assertEqual([event for event in watcher.events
                          if event["event"] == "found" and members.items() <= event.items()], [])


class Nobody(LanCase):
    """Two nodes, a switch, and nothing else: no route to anywhere."""

    def check(self, what, **families):
        a, b = self.hosts(2, **families)
        for host in a, b:
            self.assertNotIn("default", host.run("ip", "route") + host.run("ip", "-6", "route"))
        peer = self.lab.start_node1(a)
        addr = self.found_soon(what, b, peer.id)
        self.assertIn(addr, peer.ready["direct"])
        return addr

    def test_both_families(self):
        self.check("IPv4 and IPv6")

    def test_ipv4_only(self):
        self.assertIn("10.77.", self.check("IPv4 only", v6=False))

    def test_ipv6_only(self):
        self.assertIn("[fd77:", self.check("IPv6 only", v4=False))

    def test_two_interfaces(self):
        """A host on two networks, one of IPv4 and one of IPv6, is found on both and finds there."""
        one, two = self.lab.segment(v6=False), self.lab.segment(v4=False)
        a, b, both = one.add_host(), two.add_host(), one.add_host()
        _, both.v6 = two.plug(both, "eth1")
        middle = self.lab.start_node1(both)
        self.assertIn(both.v4, self.dial(a, middle.id)[1])
        self.assertIn(both.v6, self.dial(b, middle.id)[1])
        for host in a, b:
            peer = self.lab.start_node1(host)
            self.assertIn(self.dial(both, peer.id)[1], peer.ready["direct"])

    def test_nobody_of_that_id(self):
        a, b = self.hosts(2)
        self.lab.start_node1(a)
        nobody = forger.Key(SEED).public.hex()
        node2 = self.lab.node(b, "node2", nobody, "--json", "--timeout", "20")
        error = node2.expect("error", LIMIT)
        self.assertEqual(node2.finish(LIMIT), UNREACHABLE, node2.log())
        self.assertIn("nobody knows it", error["message"])


class ComeAndGo(LanCase):
    def test_goodbye(self):
        a, b = self.hosts(2)
        watcher = self.watch(b)
        peer = self.lab.start_node1(a)
        self.assertTrue(watcher.expect("found", id=peer.id, proven=True)["direct"])
        begin = time.monotonic()
        self.assertEqual(peer.stop().status, OK)
        lost = watcher.expect("lost", LIMIT, id=peer.id)
        self.assertEqual(lost["source"], "mdns")
        print(f"goodbye: lost after {lost['at'] - begin:.1f} s", flush=True)
        self.assertLess(lost["at"] - begin, 2.5)  # one second by RFC 6762, section 10.1

    def test_goodbye_of_one_that_does_not_sign(self):
        a, b = self.hosts(2, v6=False)
        watcher, other, key = self.watch(b), self.forger(a), forger.Key(SEED)
        until(10, "it listens", lambda: (other.say(forger.announcement(key.public, a.v4, 7, 120)),
                                         not watcher.lines.empty())[1], 0.2)
        watcher.expect("found", id=key.public.hex(), proven=False)
        begin = time.monotonic()
        other.say(forger.goodbye(key.public))
        self.assertLess(watcher.expect("lost", LIMIT, id=key.public.hex())["at"] - begin, 2.5)

    def test_killed(self):
        """Among nodes that ask all the time, as iroh's do, silence is noticed long before the TTL
        of two minutes is over."""
        a, b, c = self.hosts(3, v6=False)
        watcher, other = self.watch(b), self.forger(c)
        other.keep(forger.question(), 0.35)  # two of them, each every 0.7 s
        peer, stays = self.lab.start_node1(a), self.lab.start_node1(c)
        both = {peer.id, stays.id}
        until(LIMIT, "both are found", lambda: both == {
            event["id"] for event in watcher.events if event["event"] == "found"}
            or watcher.next_event(time.monotonic() + LIMIT) is None)
        time.sleep(3)  # by then it is known who asks here
        peer.end()  # kill -9
        begin = time.monotonic()
        lost = watcher.expect("lost", LIMIT)
        self.assertEqual(lost["id"], peer.id)
        print(f"killed: lost after {lost['at'] - begin:.1f} s", flush=True)
        self.assertLess(lost["at"] - begin, 30)


class Forged(LanCase):
    def setUp(self):
        super().setUp()
        self.a, self.b, self.c = self.hosts(3, v6=False)
        self.bad = self.forger(self.c)
        self.key = forger.Key(SEED)

    def peer(self, *args):
        """The real one, at a."""
        return self.lab.start_node1(self.a, "--secret-key", SEED.hex(), *args)

    def refused(self, watcher, why):
        until(20, why, lambda: any("mdns refused" in line and why in line for line in watcher.err))

    def say(self, packet, watcher, why):
        """Again and again until it was heard and refused."""
        until(20, why, lambda: (self.bad.say(packet),
                                any("mdns refused" in line and why in line
                                    for line in watcher.err))[1], 0.3)

    def test_open_believes_until_dialled(self):
        watcher = self.watch(self.b)
        self.bad.keep(forger.announcement(self.key.public, self.c.v4, 666), 0.3)
        found = watcher.expect("found", id=self.key.public.hex())
        self.assertEqual((found["direct"], found["proven"]), ([f"{self.c.v4}:666"], False))

    def test_signed_refuses_what_is_not(self):
        watcher = self.watch(self.b, "--mdns", "signed")
        self.say(forger.announcement(self.key.public, self.c.v4, 666), watcher, "it is not signed")
        self.say(forger.signed(forger.Key(), self.key.public, self.c.v4, 666), watcher,
                 "its signature is wrong")
        peer = self.peer()
        found = watcher.expect("found", id=peer.id)
        self.assertEqual((found["direct"], found["proven"]), (peer.ready["direct"], True))
        # What it really said, with another address in it.
        said = self.bad.heard(self.key.public)
        self.bad.say(said.replace(bytes(map(int, self.a.v4.split("."))),
                                  bytes(map(int, self.c.v4.split(".")))))
        self.refused(watcher, "was heard already")
        self.stays_unseen(watcher, 0.5, direct=[f"{self.c.v4}:666"])
        self.assertEqual({addr for event in watcher.events for addr in event.get("direct", ())},
                         set(peer.ready["direct"]))
        # One that signs is believed, whoever it is: this is no list of friends.
        other = forger.Key()
        until(10, "it is believed", lambda: (self.bad.say(forger.signed(
            other, other.public, self.c.v4, 667)), not watcher.lines.empty())[1], 0.3)
        watcher.expect("found", id=other.public.hex(), proven=True)

    def test_goodbye_of_somebody_else(self):
        """Of one who signs it is asked whether that is so; it is there, and stays."""
        watcher, peer = self.watch(self.b), self.peer()
        watcher.expect("found", id=peer.id, proven=True)
        for _ in range(8):
            self.bad.say(forger.goodbye(self.key.public))
            self.stays_unseen(watcher, 0.6, proven=False)
        self.assertNotIn("lost", [event["event"] for event in watcher.events], watcher.log())
        self.dial(self.b, peer.id)

    def test_open_prefers_what_is_signed(self):
        watcher, peer = self.watch(self.b), self.peer()
        watcher.expect("found", id=peer.id, proven=True)
        self.say(forger.announcement(self.key.public, self.c.v4, 666, 120), watcher,
                 "but this key signs")
        self.bad.say(forger.announcement(self.key.public, self.c.v4, 666))  # in iroh's way
        self.stays_unseen(watcher, 0.2, proven=False)

    def test_trusted(self):
        me = bytes(range(2, 34))
        friend = forger.Key(me).public.hex()
        other = forger.Key()
        peer = self.peer("--mdns", "trusted", "--trust", friend)
        stranger = self.watch(self.c)
        self.stays_unseen(stranger, 1.5)  # though it asks: it is nobody's friend
        mine = ("--secret-key", me.hex(), "--mdns", "trusted", "--trust", peer.id)
        self.bad.keep(forger.signed(other, other.public, self.c.v4, 666), 0.3)
        took, addr, _ = self.dial(self.b, peer.id, *mine)
        print(f"trusted: found, dialled and proven in {took * 1000:.0f} ms", flush=True)
        self.assertIn(addr, peer.ready["direct"])
        node2 = self.lab.node(self.b, "node2", other.public.hex(), "--json", *mine, "--log", LOG)
        self.assertIn("nobody knows it", node2.expect("error", LIMIT)["message"])
        self.assertEqual(node2.finish(LIMIT), UNREACHABLE, node2.log())
        stranger.expect("found", id=other.public.hex())

    def test_dialled_to_the_forger(self):
        """Another key answers at the address that was told. The dial goes on for as long as it
        asks, and takes the peer's own word when that comes."""
        trap = self.lab.start_node1(self.c, "--mdns", "off")
        port = int(trap.ready["direct"][0].rsplit(":", 1)[1])
        self.bad.keep(forger.announcement(self.key.public, self.c.v4, port), 0.05)
        words = ("node2", self.key.public.hex(), "--json", "--log", "info")
        node2 = self.lab.node(self.b, *words, "--timeout", "15")
        self.assertIn("a different key", node2.expect("error", LIMIT)["message"])
        self.assertEqual(node2.finish(LIMIT), WRONG_KEY, node2.log())
        with self.a.block("udp dport 5353"):  # it is there, and not heard yet
            peer = self.peer()
            node2 = self.lab.node(self.b, *words)
            until(LIMIT, "the forger's address is dropped",
                  lambda: any("candidate-dropped" in line for line in node2.err))
        self.assertIn(node2.expect("connected", LIMIT)["addr"], peer.ready["direct"])
        self.assertEqual(node2.finish(LIMIT), OK, node2.log())


class Flooded(LanCase):
    """Thousands of keys that nobody has, said by sixteen addresses."""
    SOURCES = 16
    SECONDS = 6

    def say_all(self, sock, ip):
        while not self.over.is_set():
            for _ in range(20):
                sock.sendto(forger.announcement(os.urandom(32), ip, 666, 120), forger.GROUP)
                self.sent += 1
            self.over.wait(0.1)

    def flood(self, host):
        self.sent, self.over = 0, threading.Event()
        threads = []
        for n in range(self.SOURCES):
            ip = f"10.77.1.{100 + n}"
            host.ip(f"addr add {ip}/24 dev eth0")
            sock = host.socket()
            sock.bind((ip, forger.GROUP[1]))
            self.addCleanup(sock.close)
            threads.append(threading.Thread(target=self.say_all, args=(sock, ip), daemon=True))

        def stop():
            self.over.set()
            for thread in threads:
                if thread.is_alive():
                    thread.join()
        self.addCleanup(stop)
        for thread in threads:
            thread.start()

    def test_announcements(self):
        a, b, c = self.hosts(3, v6=False)
        watcher, peer = self.watch(b, log="warn"), self.lab.start_node1(a)
        watcher.expect("found", id=peer.id)
        before, begin = (watcher.memory(), peer.memory()), time.monotonic()
        self.flood(c)
        time.sleep(self.SECONDS / 2)
        took, _, _ = self.dial(b, peer.id)
        late = self.lab.start_node1(b)
        watcher.expect("found", id=late.id, proven=True)
        time.sleep(self.SECONDS / 2)
        seconds = time.monotonic() - begin
        grown = [node.memory() - was for node, was in zip((watcher, peer), before)]
        found = {event["id"] for event in watcher.events if event["event"] == "found"}
        print(f"announcements: {self.sent} in {seconds:.1f} s, {len(found)} believed, memory grew"
              f" by {grown[0] >> 10} and {grown[1] >> 10} KiB; another found in {took * 1000:.0f}"
              " ms", flush=True)
        self.assertGreater(self.sent, 3000)
        self.assertLessEqual(len(found), min(1000 + 500 * seconds, self.SOURCES * 256 + 3))
        if not cmd.sanitized():
            self.assertLess(max(grown), 16 << 20)
        self.assertNotIn("lost", {event["event"] for event in watcher.events
                                  if event.get("id") in (peer.id, late.id)})


if __name__ == "__main__":
    missing = missing_programs()
    if missing:
        print(f"skipped: {missing}")
        sys.exit(SKIP)
    enter()
    unittest.main(verbosity=2)
