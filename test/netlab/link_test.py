"""km-netlab-link in a laboratory: what it is told is what packets meet."""
import socket
import time
import unittest

from netlab import Namespace, enter, until

enter()

from link_wire import Link  # noqa: E402: after enter(), as all that starts something

MS = 0.001


class Pair:
    """Two namespaces and a socket in each, with a link between them."""

    def __init__(self, number, **settings):
        self.a, self.b = Namespace(f"a{number}"), Namespace(f"b{number}")
        self.link = Link(self.a, "wan", self.b, "wan", **settings)
        self.a.ip("addr add 10.9.0.1/24 dev wan", "addr add fd09::1/64 dev wan")
        self.b.ip("addr add 10.9.0.2/24 dev wan", "addr add fd09::2/64 dev wan")
        self.near, self.far = self.a.socket(), self.b.socket()
        for sock, address in (self.near, "10.9.0.1"), (self.far, "10.9.0.2"):
            sock.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
            sock.bind((address, 0))
            sock.settimeout(20)
        self.near.connect(self.far.getsockname())
        self.far.connect(self.near.getsockname())

    def round_trip(self, text=b"there"):
        begin = time.monotonic()
        self.near.send(text)
        self.far.send(self.far.recv(2000))
        assert self.near.recv(2000) == text
        return time.monotonic() - begin

    def end(self):
        self.near.close()
        self.far.close()
        self.link.end()


class LinkTest(unittest.TestCase):
    numbers = iter(range(100))

    def pair(self, **settings):
        pair = Pair(next(self.numbers), **settings)
        self.addCleanup(pair.end)
        return pair

    def test_a_delay_is_met_both_ways_and_can_change(self):
        pair = self.pair(delay=40)
        self.assertGreaterEqual(pair.round_trip(), 80 * MS)
        pair.link.set("ab", delay=0)
        self.assertGreaterEqual(pair.round_trip(), 40 * MS)
        pair.link.set(delay=0)
        # No proof that it is fast, but that it is not 40 ms: the best of many.
        self.assertLess(min(pair.round_trip() for _ in range(50)), 40 * MS)

    def test_who_has_an_address_is_answered_before_a_satellite_could(self):
        pair = self.pair(delay=1500)
        self.assertGreaterEqual(pair.round_trip(), 3)
        with pair.a.socket(socket.AF_INET6) as near, pair.b.socket(socket.AF_INET6) as far:
            far.bind(("fd09::2", 0))
            far.settimeout(20)
            near.sendto(b"six", far.getsockname())
            self.assertEqual(far.recv(100), b"six")

    def test_packets_are_lost_as_often_as_was_said(self):
        pair = self.pair(loss="10%", burst=5)
        for number in range(5000):
            pair.near.send(b"%d" % number)
        stats = until(20, "each is lost or delivered", lambda: self.settled(pair, 5000))
        self.assertTrue(350 <= stats["ab"]["lost"] <= 650, stats["ab"])

    @staticmethod
    def done(pair, count):
        stats = pair.link.stats()
        return stats if stats["ab"]["sent"] >= count else None

    def settled(self, pair, count):
        stats = self.done(pair, count)
        out = stats and stats["ab"]["lost"] + stats["ab"]["delivered"]
        return stats if stats and out == stats["ab"]["sent"] else None

    def test_a_cut_link_carries_nothing_and_a_mended_one_does_again(self):
        pair = self.pair()
        pair.round_trip()
        pair.link.cut()
        pair.near.send(b"into the void")
        until(20, "it is swallowed", lambda: pair.link.stats()["ab"]["cut"] >= 1)
        pair.link.mend()
        pair.round_trip(b"again")  # and what was swallowed does not come first

    def test_no_more_passes_than_the_rate(self):
        pair = self.pair(rate=8)  # 1,000 bytes a ms
        begin = time.monotonic()
        for _ in range(200):
            pair.near.send(bytes(1000))
        for _ in range(200):
            pair.far.recv(2000)
        self.assertGreaterEqual(time.monotonic() - begin, 199 * MS)

    def test_a_buffer_that_is_full_drops(self):
        pair = self.pair(rate=1, buffer=10000)
        for _ in range(100):
            pair.near.send(bytes(1000))
        stats = until(20, "all went in", lambda: self.done(pair, 100))
        self.assertGreaterEqual(stats["ab"]["overflowed"], 80)

    def test_long_packets_vanish_or_are_refused(self):
        pair = self.pair(max=1000)
        pair.round_trip(bytes(900))
        pair.near.send(bytes(1000))  # and 28 of headers
        until(20, "it vanishes", lambda: pair.link.stats()["ab"]["too_long"] == 1)
        narrow = self.pair(mtu=1280)
        narrow.near.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: do not fragment
        with self.assertRaises(OSError):
            narrow.near.send(bytes(1300))
        narrow.round_trip(bytes(1252))

    def test_a_bad_word_is_answered_and_harms_nothing(self):
        pair = self.pair()
        with self.assertRaises(OSError):
            pair.link.set(colour="red")
        pair.round_trip()

    def test_it_ends_with_its_input_and_takes_its_interfaces_along(self):
        pair = self.pair()
        pair.link.end()
        self.assertEqual(pair.link.child.returncode, 0)
        self.assertNotIn("wan", pair.a.interfaces + pair.b.interfaces)


if __name__ == "__main__":
    unittest.main()
