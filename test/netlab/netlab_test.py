"""The lab tests itself: each NAT is what it says, seen with nothing but sockets of this test."""
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from netlab import KINDS, Lab, StunClient, StunServer, enter, expected, until  # noqa: E402
from netlab.nat64 import available as have_nat64  # noqa: E402
from netlab.stun import classify  # noqa: E402

V4, V6 = socket.AF_INET, socket.AF_INET6
# Nothing here is late because a machine is slow: these end a test that hangs.
LIMIT = 60


def kinds():
    return [kind for kind in KINDS.values() if not kind.nat64 or have_nat64()]


class LabCase(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        self.stun = {}

    def server(self, family=V4):
        if family not in self.stun:
            self.stun[family] = StunServer(*self.lab.servers, family=family)
            self.addCleanup(self.stun[family].close)
        return self.stun[family]

    def client(self, host, family=V4):
        client = StunClient(host, self.server(family))
        self.addCleanup(client.close)
        return client


def families(traits):
    return [family for family, there in ((V4, traits.v4), (V6, traits.v6)) if there]


class Behaviours(LabCase):
    """RFC 4787's terms, by RFC 5780's tests."""

    def check(self, site, family):
        wanted = site.traits.v4 if family == V4 else site.traits.v6
        found = classify(site.host, self.server(family))
        self.assertIsNotNone(found, "no answer")
        self.assertEqual(found.mapping, wanted.mapping.replace("kept", "EIM"))
        self.assertEqual(found.filtering, wanted.filtering.replace("none", "EIF"))
        self.assertEqual(found.public[0], site.public_v4 if family == V4 else site.public_v6)

    def test_mapping_and_filtering(self):
        for kind in kinds():
            if kind.udp:
                site = self.lab.site(kind)
                for family in families(kind.traits):
                    with self.subTest(kind=kind.name, family=family.name):
                        self.check(site, family)

    def test_a_family_that_a_site_does_not_have_goes_nowhere(self):
        for kind, family in ("ipv6_only", V4), ("port_restricted", V6), ("nat64", V4):
            if kind == "nat64" and not have_nat64():
                continue
            host = self.lab.site(kind).host
            server = self.lab.servers[0]
            with host.socket(family) as sock, self.assertRaises(OSError, msg=kind):
                sock.connect((server.v4 if family == V4 else server.v6, 443))

    def listeners(self, *ports):
        for server, port in itertools.product(self.lab.servers, ports):
            listener = server.ns.socket(V6, socket.SOCK_STREAM)
            self.addCleanup(listener.close)
            listener.bind(("::", port))
            listener.listen(100)

    def reaches(self, host, port, seconds):
        """By TCP, by the name that relays go by."""
        done = subprocess.run(host.command(
            sys.executable, "-B", "-c", "import socket, sys; socket.create_connection((sys.argv[1],"
            " int(sys.argv[2])), float(sys.argv[3]))", "relay1.test", port, seconds),
            capture_output=True, text=True, check=False)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return done.returncode == 0

    def test_tcp(self):
        self.listeners(80, 443)
        for kind in kinds():
            with self.subTest(kind=kind.name):
                host = self.lab.site(kind).host
                self.assertTrue(self.reaches(host, 443, LIMIT))
                if kind.tcp_ports is None:
                    self.assertTrue(self.reaches(host, 80, LIMIT))
                else:
                    self.assertFalse(self.reaches(host, 80, 0.5))

    def test_udp_that_is_dropped(self):
        self.listeners(443)
        for kind in kinds():
            if not kind.udp:
                with self.subTest(kind=kind.name):
                    site = self.lab.site(kind)
                    client = self.client(site.host)
                    client.ask(self.server().address())
                    # What was sent before has had its time when this is there and back.
                    self.assertTrue(self.reaches(site.host, 443, LIMIT))
                    self.assertIsNone(client.receive(0.1))

    def test_the_mtu_of_a_link(self):
        site = self.lab.site("mtu1280")
        client = self.client(site.host)
        ip_mtu_discover, do, ip_mtu = 10, 2, 14
        client.sock.setsockopt(socket.IPPROTO_IP, ip_mtu_discover, do)
        client.sock.connect(self.server().address())

        def too_big():
            try:
                client.sock.send(bytes(1300))
            except OSError:
                pass  # EMSGSIZE, once the router has said so
            return client.sock.getsockopt(socket.IPPROTO_IP, ip_mtu) == 1280

        until(LIMIT, "the host learns the MTU", too_big)

        def fits():
            try:
                return client.sock.send(bytes(1252))
            except OSError:
                return None  # the router's last word about those before

        until(LIMIT, "what fits is sent", fits)

    def test_a_link_may_have_another_mtu(self):
        site = self.lab.site("port_restricted", mtu=1400)
        self.assertIn("mtu 1400", site.routers[0].run("ip", "link", "show", "wan"))


class TwoHosts(LabCase):
    """On one LAN."""

    def pair(self, kind, **options):
        """Two clients on different hosts that use the same port."""
        site = self.lab.site(kind, lan=2, **options)
        first, second = (StunClient(host, self.server(), port=40000) for host in site.hosts)
        self.addCleanup(first.close)
        self.addCleanup(second.close)
        return site, first, second

    def test_the_same_port_inside(self):
        for kind in "full_cone", "address_restricted", "port_restricted", "hairpin", "cgnat":
            with self.subTest(kind=kind):
                _site, first, second = self.pair(kind)
                one, other = first.mapping(), second.mapping()
                self.assertEqual((one[0], other[0]), ("EIM", "EIM"))
                self.assertNotEqual(one[1][1], other[1][1])
                self.assertEqual(first.mapping(), one)

    def test_linux_keeps_a_port_while_it_is_free(self):
        site, first, second = self.pair("linux")
        self.assertEqual(first.mapping(), ("EIM", (site.public_v4, 40000)))
        # Who comes second gets another one, and keeps that.
        mapping, public = second.mapping()
        self.assertEqual(mapping, "EIM")
        self.assertNotEqual(public[1], 40000)

    def through_hairpin(self, site, first, second):
        """What the first gets of a packet from the second to its outside address."""
        outside, own = first.mapped(), second.mapped()
        second.send(b"round the bend", outside)
        second.mapped()
        self.assertIsNotNone(first.ask(self.server().address()))
        while (packet := first.receive(LIMIT)) is not None:
            if packet[0] == b"round the bend":
                self.assertEqual(packet[1], own, "RFC 4787, REQ-9: it comes from outside")
                return True
            if packet[1] == self.server().address():
                return False
        raise AssertionError(f"nothing at all at {site.name}")

    def test_hairpin(self):
        for kind, options, wanted in (("hairpin", {}, True), ("full_cone", {}, False),
                                      ("full_cone", {"hairpin": True}, True),
                                      ("port_restricted", {}, False), ("symmetric", {}, False),
                                      ("linux", {}, False), ("cgnat", {"hairpin": True}, False)):
            with self.subTest(kind=kind, **options):
                self.assertEqual(self.through_hairpin(*self.pair(kind, **options)), wanted)

    def test_two_homes_of_one_carrier(self):
        """Only its hairpin joins them by their public addresses."""
        for hairpin in False, True:
            with self.subTest(hairpin=hairpin):
                carrier = self.lab.site("full_cone", v4_net="100.64.0", hairpin=hairpin)
                homes = [self.lab.home(carrier, "full_cone") for _ in range(2)]
                first, second = (self.client(home.host) for home in homes)
                self.assertEqual(first.mapped()[0], carrier.public_v4)
                self.assertEqual(self.through_hairpin(carrier, first, second), hairpin)


class Lifetime(LabCase):
    """How long mappings last. Times are minima that the NAT must keep, never how fast we are."""

    def test_an_idle_mapping_goes(self):
        for kind in "port_restricted", "symmetric", "full_cone", "address_restricted":
            with self.subTest(kind=kind):
                site = self.lab.site(kind, idle=1)
                client = self.client(site.host)
                before = client.mapped()
                sent = time.monotonic()
                until(LIMIT, "the mapping goes", lambda site=site: not site.nats[0].flows(), 0.1)
                self.assertGreater(time.monotonic() - sent, 0.9)
                self.assertNotEqual(client.mapped(), before)

    def check_stays(self, client, use, idle):
        """Used all the time, a mapping outlives its idle time. A gap of ours starts it afresh."""
        end, began = time.monotonic() + LIMIT, None
        while began is None or last - began < 1.5 * idle:
            self.assertLess(time.monotonic(), end, "this machine is too busy")
            if began is None:
                began = last = time.monotonic()
                before = client.mapped()
            use(before)
            now = time.monotonic()
            began, last = (None if now - last > 0.7 * idle else began), now
            client.receive(0.2)
        self.assertEqual(client.mapped(), before)

    def test_a_mapping_in_use_stays(self):
        client = self.client(self.lab.site("port_restricted", idle=2).host)
        self.check_stays(client, lambda _before: client.mapped(), 2)

    def test_what_arrives_keeps_it_too(self):
        client = self.client(self.lab.site("full_cone", idle=2).host)

        def use(before):
            self.server().send(b"hello", before, 1, 1)
            client.receive(1)

        self.check_stays(client, use, 2)

    @unittest.skipUnless(shutil.which("conntrack"), "no conntrack here")
    def test_a_fixed_lifetime(self):
        for kind in "port_restricted", "symmetric", "full_cone", "cgnat":
            with self.subTest(kind=kind):
                site = self.lab.site(kind, fixed=1)
                client = self.client(site.host)
                client.patience = 0.2  # what arrives in the very moment is lost
                began = time.monotonic()
                before = client.mapped()
                until(LIMIT, "a new mapping, though the old one is in use",
                      lambda client=client, before=before: client.mapped() != before)
                self.assertGreater(time.monotonic() - began, 0.9)

    @unittest.skipUnless(shutil.which("conntrack"), "no conntrack here")
    def test_flush(self):
        for kind in "full_cone", "port_restricted", "symmetric", "cgnat":
            with self.subTest(kind=kind):
                site = self.lab.site(kind)
                client = self.client(site.host)
                before = client.mapped()
                site.flush()
                self.server().send(b"too late", before)
                self.assertNotEqual(client.mapped(), before)
                self.assertIsNone(client.receive(0.05))


class Punching(LabCase):
    """What expected() says is what plain sockets get."""

    def send_and_take(self, clients, targets):
        """Each sends to all it knows of the other, then takes what came. The answer of a server
        that was asked afterwards says that there is no more."""
        for me, client in enumerate(clients):
            for target in targets[me]:
                client.send(b"punch", target)
        got = [False, False]
        for me, client in enumerate(clients):
            transaction = client.ask(client.server.address())
            while (packet := client.receive(LIMIT))[0][8:20] != transaction:
                if packet[0] == b"punch":
                    got[me] = True
                    targets[me].add(client.plain(packet[1]))
        return got

    def punch(self, one, other, family):
        with StunClient(one.host, self.server(family)) as first, \
                StunClient(other.host, self.server(family)) as second:
            clients = first, second
            targets = [{second.mapped()}, {first.mapped()}]
            for _ in range(4):
                if all(self.send_and_take(clients, targets)):
                    return True
        return False

    def test_every_pair(self):
        able = [kind for kind in kinds() if kind.udp]
        sites = [(self.lab.site(kind), self.lab.site(kind)) for kind in able]
        tally = {"direct": 0, "relay": 0, "counted": 0}
        for (one, _), (_, other) in itertools.product(sites, sites):
            wanted = expected(one.traits, other.traits)
            common = [family for family in families(one.traits)
                      if family in families(other.traits)]
            direct = any([self.punch(one, other, family) for family in common])
            with self.subTest(one=one.name, other=other.name):
                if wanted != "counted":
                    self.assertEqual("direct" if direct else "relay", wanted)
            tally[wanted] += 1
            if direct:
                self.assertGreater(min(self.lab.passed(one, other)), 0)
        self.assertGreater(min(tally.values()), 0, tally)

    def test_an_early_packet_takes_no_port(self):
        """One that was dropped leaves no connection behind that ours would have to avoid."""
        for kind in "port_restricted", "linux", "address_restricted":
            with self.subTest(kind=kind):
                client = self.client(self.lab.site(kind).host)
                before = client.mapped()
                self.server().send(b"early", before, 1, 1)
                self.assertEqual(client.mapped(self.server().address(1, 1)), before)
                self.assertIsNone(client.receive(0.05))

    def test_an_early_packet_takes_a_port(self):
        """Where a Linux router has no firewall: it remembers the packet that it did not want."""
        client = self.client(self.lab.site("linux_open").host)
        before = client.mapped()
        self.assertEqual(client.mapped(self.server().address(1, 0)), before)
        self.server().send(b"early", before, 1, 1)
        self.assertNotEqual(client.mapped(self.server().address(1, 1)), before)
        self.assertEqual(client.mapped(), before)


class Faults(LabCase):
    def test_block_and_lift(self):
        site = self.lab.site("port_restricted")
        client = self.client(site.host)
        for where in site.routers[0], site.host, self.lab.internet:
            self.assertIsNotNone(client.mapped())
            with where.block("udp sport 3478", "udp dport 3478"):
                try:
                    self.assertFalse(client.answered(0.1))
                except PermissionError:
                    self.assertIs(where, site.host)  # which is what a firewall there does
                # Other ports are not concerned.
                self.assertIsNotNone(client.mapped(self.server().address(0, 1)))
            self.assertIsNotNone(client.mapped())

    def test_the_uplink(self):
        for kind in "none", "port_restricted", "ipv6_only":
            with self.subTest(kind=kind):
                site = self.lab.site(kind)
                family = families(site.traits)[-1]
                client = self.client(site.host, family)
                self.assertIsNotNone(client.mapped())
                site.uplink.down()
                try:
                    self.assertFalse(client.answered(0.1))
                except OSError:
                    pass  # a host on the internet sees it at once
                site.uplink.up()
                self.assertIsNotNone(client.mapped())

    def test_two_networks(self):
        first, second = self.lab.site("port_restricted"), self.lab.site("symmetric")
        second.join(first.host, "eth1", metric=200)
        client = self.client(first.host)
        self.assertEqual(client.mapped()[0], first.public_v4)
        first.part(first.host, "eth0")
        self.assertEqual(client.mapped()[0], second.public_v4)


LIVES = """
import sys, time
sys.path.insert(0, sys.argv[1])
from netlab import Lab, enter
enter()
lab = Lab()
site = lab.site("cgnat")
import subprocess
children = [subprocess.Popen(site.host.command("sleep", 1000)),
            subprocess.Popen(lab.internet.command("sleep", 1000), start_new_session=True)]
print("there", flush=True)
time.sleep(1000)
"""


class CleanUp(unittest.TestCase):
    """However a lab ends, it is gone: its processes held the pipe, and the names were its own."""

    def start(self):
        process = subprocess.Popen([sys.executable, "-B", "-c", LIVES, HERE],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stdout.readline(), "there\n")
        return process

    def outside(self):
        names = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
        with open("/proc/self/mountinfo", encoding="ascii") as file:
            mounts = [line.split()[4] for line in file]
        return sorted(names), sorted(mounts), socket.if_nameindex()

    def test_whatever_ends_it(self):
        for number in signal.SIGKILL, signal.SIGINT, signal.SIGTERM:
            with self.subTest(signal=number.name):
                before = self.outside()
                process = self.start()
                self.assertEqual(self.outside(), before)
                process.send_signal(number)
                self.assertEqual(process.stdout.read(), "")  # its end: the last process is gone
                self.assertNotEqual(process.wait(LIMIT), 0)
                self.assertEqual(self.outside(), before)

    def test_several_at_once(self):
        processes = [self.start() for _ in range(3)]
        for process in processes:
            process.kill()
        for process in processes:
            self.assertEqual(process.stdout.read(), "")


if __name__ == "__main__":
    enter()
    unittest.main(verbosity=2)
