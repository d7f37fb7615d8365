"""Multicast DNS on one network in namespaces: our nodes among themselves, with avahi-daemon and its
tools, with python-zeroconf, and with those who mean no good. mdns_iroh_test.py has real iroh."""
import contextlib
import os
import re
import resource
import shutil
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from mdns_lan import HERE, NODE, SERVICE, Lan, base32

from netlab import enter
from netlab.sandbox import skip

AVAHI = all(shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
            for name in ("avahi-daemon", "avahi-browse", "avahi-publish", "dbus-daemon"))
PYTHON = next((python for python in (sys.executable, "/usr/bin/python3") if subprocess.run(
    [python, "-c", "import zeroconf"], capture_output=True, check=False).returncode == 0), None)

# The public key of the secret 01...20 (in hex), and nobody's in a test.
STRANGER = "79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664"

if not os.access(NODE, os.X_OK):
    skip(f"{NODE} is not built")
enter()


def missing(what, package):
    if os.environ.get("KM_MDNS_PEERS_REQUIRED") == "1":
        raise AssertionError(f"{what} is missing (Debian: {package})")
    return f"{what} is missing (Debian: {package})"


class Ours(unittest.TestCase):
    """Nodes of ours, and no server anywhere."""

    def find_each_other(self, v4, v6):
        lan = Lan(self)
        a, b = lan.host(v4, v6), lan.host(v4, v6)
        one, two = a.node(), b.node()
        a.publish(one, data="one")
        b.publish(two, relay="https://relay.test/", data="two")
        one.say(f"resolve {two.id}")
        two.say(f"resolve {one.id}")
        for me, other, host, data in (one, two, b, "two"), (two, one, a, "one"):
            found = me.wait(rf"answer {other.id} (\S+) (\S+) (\S+) (\w+) (\d+)")
            addrs, relay, said, proof, took = found.groups()
            self.assertEqual(addrs, f"{host.v4}:4433,[{host.v6}]:4433")
            self.assertEqual(relay, "https://relay.test/" if me is one else "-")
            self.assertEqual((said, proof), (data, "proven"))
            self.assertLess(int(took), 2000)
            me.wait(rf"done {other.id} 1 \d+")

    def test_both_families(self):
        self.find_each_other(True, True)

    def test_ipv4_only(self):
        self.find_each_other(True, False)

    def test_ipv6_only(self):
        self.find_each_other(False, True)

    def test_come_change_go(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        watcher = a.node("--watch")
        peer = b.node()
        b.publish(peer, data="first")
        watcher.wait(rf"found {peer.id} \S+ - first proven", 2)
        b.publish(peer, port=5544, data="second")
        watcher.wait(rf"found {peer.id} {b.v4}:5544\S+ - second proven", 3)
        peer.say("state")
        peer.wait("state mdns wanted done")
        peer.say("withdraw")
        watcher.wait(rf"lost {peer.id} mdns", 5)
        after = len(watcher.lines)
        b.publish(peer, data="third")
        watcher.wait(rf"found {peer.id} \S+ - third proven", 3, after)
        self.assertEqual(peer.end(), 0)
        watcher.wait(rf"lost {peer.id} mdns", 5, after)
        late = a.node("--watch")  # who is gone is told to nobody
        time.sleep(1.5)
        self.assertEqual(late.count(f"found {peer.id}"), 0)

    def test_many_hosts(self):
        lan = Lan(self)
        hosts = [lan.host() for _ in range(8)]
        nodes = [host.node("--watch") for host in hosts]
        for host, node in zip(hosts, nodes):
            host.publish(node)
        for node in nodes:
            for other in nodes:
                if other is not node:
                    node.wait(rf"found {other.id} ", 5)
        self.assertEqual(sum(node.count("lost ") for node in nodes), 0)

    def test_two_on_one_host(self):
        lan = Lan(self)
        a = lan.host()
        one, two = a.node("--watch"), a.node("--watch")
        a.publish(one, port=1001)
        a.publish(two, port=1002)
        one.wait(rf"found {two.id} {a.v4}:1002", 3)
        two.wait(rf"found {one.id} {a.v4}:1001", 3)

    def test_interface_that_comes_and_goes(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        b.ns.ip("link set eth0 down")
        watcher, peer = a.node("--watch"), b.node()
        b.publish(peer)
        time.sleep(1)
        self.assertEqual(watcher.count(f"found {peer.id}"), 0)
        b.ns.ip("link set eth0 up", "route add default dev eth0")
        watcher.wait(rf"found {peer.id} ", 5)
        # A second network, later.
        c = lan.host()
        other = c.node("--watch", "--on", "eth1")
        time.sleep(1)
        self.assertEqual(other.count("found "), 0)
        lan.lab.wire(c.ns, "eth1", lan.switch, "port99", 1500)
        lan.switch.ip("link set port99 master br0")
        c.ns.ip("addr add 192.168.9.99/24 dev eth1")
        other.wait(rf"found {peer.id} ", 5)

    def test_no_descriptors_left(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        watcher, peer = a.node("--watch"), b.node()
        a.publish(watcher)
        b.publish(peer)
        watcher.wait(rf"found {peer.id} ", 3)
        before = len(os.listdir(f"/proc/{watcher.child.pid}/fd"))
        limits = resource.prlimit(watcher.child.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(watcher.child.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        a.ns.ip("addr add 192.168.9.77/24 dev eth0")  # interfaces are to be looked at
        time.sleep(2)
        self.assertEqual(len(os.listdir(f"/proc/{watcher.child.pid}/fd")), before)
        peer.say(f"resolve {watcher.id}")
        peer.wait(rf"answer {watcher.id} ", 3)
        resource.prlimit(watcher.child.pid, resource.RLIMIT_NOFILE, limits)

    def test_times_go_on_where_they_were(self):
        """A clock that was an hour ahead was set right, and the node begun anew."""
        lan = Lan(self)
        a, b = lan.host(True, False), lan.host(True, False)
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        state = os.path.join(folder, "state.db")
        listener = b.ns.socket()
        listener.settimeout(5)
        self.addCleanup(listener.close)
        listener.bind(("", 5353))
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                            socket.inet_aton("224.0.0.251") + socket.inet_aton(b.v4))

        def heard():
            while True:
                found = re.search(rb"km-time=(\d+)", listener.recv(9000))
                if found:
                    return int(found.group(1))

        node = a.node("--state", state, key="07" * 32)
        a.publish(node)
        first = heard()
        self.assertLess(abs(first - time.time() * 1000), 60000)
        node.kill()
        with contextlib.closing(sqlite3.connect(state)) as db, db:
            self.assertEqual(db.execute("SELECT count(*) FROM stamp").fetchone(), (1,))
            db.execute("UPDATE stamp SET last = last + 3600000000")
        node = a.node("--state", state, key="07" * 32)
        a.publish(node)
        while heard() < first + 3600000:  # the first one's may come late
            pass

    def test_networks_stay_apart(self):
        lan = Lan(self)
        a, b, c = lan.host(), lan.host(), lan.host()
        for host, bridge in ((b, "br1"), (c, "br1")):
            if host is b:
                lan.switch.ip(f"link add {bridge} type bridge mcast_snooping 0",
                              f"link set {bridge} up")
            lan.switch.ip(f"link set port{host.number} master {bridge}")
        # b is on both, and says nothing of one to the other.
        lan.lab.wire(b.ns, "eth1", lan.switch, "port98", 1500)
        lan.switch.ip("link set port98 master br0")
        b.ns.ip("addr add 192.168.9.98/24 dev eth1")
        nodes = {host: host.node("--watch") for host in (a, b, c)}
        for host, node in nodes.items():
            host.publish(node)
        for host in a, c:
            nodes[host].wait(rf"found {nodes[b].id} ", 5)
            nodes[b].wait(rf"found {nodes[host].id} ", 5)
        time.sleep(2)
        self.assertEqual(nodes[a].count(f"found {nodes[c].id}"), 0)
        self.assertEqual(nodes[c].count(f"found {nodes[a].id}"), 0)

    def test_look_ups_end(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        one = a.node()
        one.say(f"resolve {STRANGER}")
        took = one.wait(rf"done {STRANGER} 0 (\d+)", 15).group(1)
        self.assertTrue(9900 <= int(took) <= 12000, took)
        # Who does not prove itself may be contradicted: all ten seconds are waited.
        one.say(f"resolve {STRANGER}")
        liar = b.ns.socket()
        liar.bind(("", 5353))
        liar.sendto(announcement(STRANGER, b.v4, 666), ("224.0.0.251", 5353))
        liar.close()
        one.wait(rf"answer {STRANGER} {b.v4}:666 ", 3)
        took = one.wait(rf"done {STRANGER} 1 (\d+)", 15).group(1)
        self.assertTrue(9900 <= int(took) <= 12000, took)

    def test_loopback_when_it_is_named(self):
        lan = Lan(self)
        a = lan.host(False, False)
        one, two = a.node("--watch", "--on", "lo"), a.node("--on", "lo")
        two.say("publish 127.0.0.1:7000 - -")
        one.wait(rf"found {two.id} 127.0.0.1:7000 ", 3)

    def test_port_that_another_holds(self):
        lan = Lan(self)
        a = lan.host()
        holder = a.ns.socket()
        holder.bind(("", 5353))
        self.addCleanup(holder.close)
        node = a.run(NODE, "07" * 32)
        self.assertEqual(node.child.wait(10), 1)
        node.threads[1].join()
        self.assertIn("mDNS cannot have UDP port 5353", node.errors[-1])

    def test_no_publish(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        watcher, quiet = a.node("--watch"), b.node("--no-publish", "--watch")
        a.publish(watcher)
        b.publish(quiet)
        quiet.wait(rf"found {watcher.id} ", 3)
        time.sleep(2)
        self.assertEqual(watcher.count(f"found {quiet.id}"), 0)


class Trust(unittest.TestCase):
    def test_signed(self):
        lan = Lan(self)
        a, b, c = lan.host(), lan.host(), lan.host()
        careful, open_one = a.node("--signed", "--watch"), b.node("--watch")
        a.publish(careful)
        b.publish(open_one)
        careful.wait(rf"found {open_one.id} \S+ \S+ \S+ proven", 3)
        open_one.wait(rf"found {careful.id} ", 3)
        # The same without a signature, in iroh's form, by somebody else.
        liar = c.ns.socket()
        liar.bind(("", 5353))
        for one in (open_one.id, STRANGER):
            liar.sendto(announcement(one, "192.168.9.66", 666), ("224.0.0.251", 5353))
        liar.close()
        open_one.wait(rf"found {STRANGER} 192.168.9.66:666 ", 3)  # it believes everybody
        time.sleep(0.5)
        self.assertEqual(careful.count(r"found \w+ 192.168.9.66"), 0)
        self.assertEqual(open_one.count(rf"found {open_one.id}"), 0)
        self.assertTrue([line for line in careful.errors if "not signed" in line])

    def test_trusted(self):
        lan = Lan(self)
        a, b, c = lan.host(), lan.host(), lan.host()
        known = {n: f"{n:064x}" for n in (501, 502)}
        ids = {}
        for n, key in known.items():
            probe = a.node(key=key)
            ids[n] = probe.id
            probe.end()
        one = a.node("--trusted", ids[502], key=known[501])
        a.publish(one)
        watcher = c.node("--watch")
        c.publish(watcher)
        time.sleep(2.5)
        self.assertEqual(watcher.count(f"found {one.id}"), 0)  # a stranger hears nothing
        watcher.say(f"resolve {one.id}")
        two = b.node("--trusted", ids[501], "--watch", key=known[502])
        b.publish(two)
        two.wait(rf"found {one.id} \S+ \S+ \S+ proven", 3)
        one.say(f"resolve {two.id}")
        one.wait(rf"answer {two.id} \S+ \S+ \S+ proven", 3)
        self.assertEqual(two.count(f"found {watcher.id}"), 0)


def name(text):
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".")) + b"\0"


def record(owner, kind, data, ttl=0):
    return name(owner) + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def announcement(id_hex, ip, port):
    """As iroh's nodes make it, of anybody."""
    instance = f"{base32(id_hex)}.{SERVICE}.local"
    host = f"{base32(id_hex)}-{port}.local"
    return (struct.pack("!6H", 0, 0x8400, 0, 1, 0, 1)
            + record(instance, 33, struct.pack("!3H", 0, 0, port) + name(host))
            + record(host, 1, bytes(map(int, ip.split(".")))))


class Hostile(unittest.TestCase):
    def test_noise_and_floods(self):
        lan = Lan(self)
        a, b, c = lan.host(), lan.host(), lan.host()
        watcher, peer = a.node("--watch"), b.node()
        sock = c.ns.socket()
        sock.bind(("", 5353))
        group = ("224.0.0.251", 5353)
        query = struct.pack("!6H", 0, 0, 1, 0, 0, 0) + name(f"{SERVICE}.local") + b"\0\x0c\0\x01"
        good = announcement(STRANGER, "192.168.9.66", 666)
        loops = [struct.pack("!6H", 0, 0x8400, 0, 1, 0, 0) + b"\xc0\x0c" + bytes(10),
                 struct.pack("!6H", 0, 0x8400, 0, 1, 0, 0) + b"\x01a\xc0\x0c" + bytes(10),
                 struct.pack("!6H", 0, 0, 65535, 65535, 65535, 65535), b"", b"\0" * 11]
        for packet in loops + [good[:n] for n in range(len(good))]:
            sock.sendto(packet, group)
        deadline = time.monotonic() + 3
        sent = 0
        while time.monotonic() < deadline:
            for _ in range(50):
                sock.sendto(query, group)
                sent += 1
            time.sleep(0.005)
        counter = b.ns.capture("/run/netlab/flood.pcap")
        b.publish(peer)
        watcher.wait(rf"found {peer.id} ", 5)
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            sock.sendto(query, group)
            time.sleep(0.001)
        if counter is not None:
            counter.terminate()
            counter.communicate()
            said = subprocess.run(
                ["tcpdump", "-n", "-r", "/run/netlab/flood.pcap", "src", b.v4, "and", "udp", "port",
                 "5353"], capture_output=True, text=True, check=True).stdout.splitlines()
            self.assertGreaterEqual(len(said), 1)
            self.assertLess(len(said), 20)  # one a second, and its announcements
        self.assertGreater(sent, 1000)
        sock.close()

    def test_many_names_of_one_host(self):
        lan = Lan(self)
        a, b, c = lan.host(), lan.host(), lan.host()
        watcher, peer = a.node("--watch"), b.node()
        sock = c.ns.socket()
        sock.bind(("", 5353))
        for n in range(4000):
            packet = announcement(f"{n:04x}" + "11" * 29 + "00", "192.168.9.66", 666)
            sock.sendto(packet, ("224.0.0.251", 5353))
            if n % 50 == 0:
                time.sleep(0.05)
        sock.close()
        # Every second one of these is a key, and each new one makes another of that host's go.
        time.sleep(1)
        found = watcher.count(r"found \w+ 192.168.9.66")
        self.assertGreaterEqual(found, 256)
        self.assertEqual(found - watcher.count(r"lost "), 256)
        b.publish(peer)
        watcher.wait(rf"found {peer.id} ", 3)


@unittest.skipUnless(AVAHI, "avahi or dbus is missing (Debian: avahi-daemon avahi-utils dbus)")
class Avahi(unittest.TestCase):
    def browse(self, host, env, *words):
        done = subprocess.run(host.ns.command("avahi-browse", "-tp", *words), text=True,
                              capture_output=True, check=False, env={**os.environ, **env},
                              stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()

    def test_it_sees_us(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        env = a.avahi()
        peer = b.node()
        b.publish(peer, relay="https://relay.test/", data="hello")
        beside = a.node()  # on the same host as the daemon: they share the port
        a.publish(beside, port=7777)
        time.sleep(1.5)
        lines = self.browse(a, env, "-r", SERVICE)
        resolved = [line for line in lines if line.startswith("=")]
        ours = [line for line in resolved if base32(peer.id) in line]
        self.assertTrue(ours, lines)
        for line in ours:
            fields = line.split(";")
            self.assertIn(fields[7], (b.v4, b.v6), line)
            self.assertEqual(fields[8], "4433")
            self.assertIn('"relay=https://relay.test/"', fields[9])
            self.assertIn('"user-data=hello"', fields[9])
            self.assertEqual(fields[6], f"{base32(peer.id)}-4433.local")
        self.assertTrue([line for line in resolved if base32(beside.id) in line], lines)
        kinds = self.browse(a, env, "-a")
        self.assertTrue([line for line in kinds if f";{SERVICE};" in line], kinds)
        self.assertEqual(peer.end(), 0)  # and goodbye
        time.sleep(2)
        self.assertFalse([line for line in self.browse(a, env, SERVICE)
                          if base32(peer.id) in line])

    def test_browser_that_stays(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        env = a.avahi()
        browser = a.run("avahi-browse", "-rp", SERVICE, env=env)
        peer = b.node()
        b.publish(peer)
        label = base32(peer.id)
        browser.wait(rf"=;eth0;IPv\d;{label};.*;4433;", 10)
        b.publish(peer, port=5544)
        time.sleep(2)
        resolved = [line for line in self.browse(a, env, "-r", SERVICE) if line.startswith("=")]
        self.assertTrue(resolved)
        for line in resolved:  # the port that was withdrawn is forgotten
            self.assertEqual(line.split(";")[8], "5544", line)
        peer.say("withdraw")
        browser.wait(rf"-;eth0;IPv\d;{label};", 10)

    def test_we_see_it(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        env = a.avahi()
        watcher = b.node("--watch")
        probe = b.node()
        other = probe.id  # a valid id that is somebody else's
        probe.end()
        after = len(watcher.lines)
        publisher = a.run("avahi-publish", "-s", base32(other), SERVICE, "9876",
                          "relay=https://relay.test/", "user-data=by-avahi", env=env)
        found = watcher.wait(rf"found {other} (\S+) (\S+) (\S+) unproven", 10, after)
        self.assertIn(f"{a.v4}:9876", found.group(1))
        self.assertEqual(found.group(2, 3), ("https://relay.test/", "by-avahi"))
        late = b.node()  # asks for what is there already
        late.say(f"resolve {other}")
        late.wait(rf"answer {other} \S*{a.v4}:9876", 3)
        publisher.child.terminate()
        watcher.wait(rf"lost {other} mdns", 10, after)


ZEROCONF_BROWSE = """
import sys, zeroconf
class Listener(zeroconf.ServiceListener):
    def add_service(self, zc, kind, name):
        info = zc.get_service_info(kind, name, 5000)
        print("add", name, info and sorted(info.parsed_addresses()), info and info.port,
              info and {k.decode(): (v or b"").decode() for k, v in info.properties.items()},
              flush=True)
    def update_service(self, zc, kind, name):
        print("update", name, flush=True)
    def remove_service(self, zc, kind, name):
        print("remove", name, flush=True)
zc = zeroconf.Zeroconf(ip_version=zeroconf.IPVersion.All)
zeroconf.ServiceBrowser(zc, "_irohv1._udp.local.", Listener())
print("types", zeroconf.ZeroconfServiceTypes.find(timeout=3), flush=True)
sys.stdin.read()
"""
ZEROCONF_REGISTER = """
import socket, sys, zeroconf
label, ip = sys.argv[1:]
zc = zeroconf.Zeroconf(interfaces=[ip])
info = zeroconf.ServiceInfo("_irohv1._udp.local.", label + "._irohv1._udp.local.", port=6543,
    addresses=[socket.inet_aton(ip)], properties={"user-data": "by-zeroconf"},
    server="zero.local.")
zc.register_service(info)
print("registered", flush=True)
sys.stdin.read()
zc.unregister_service(info)
zc.close()
"""


@unittest.skipUnless(PYTHON, "python-zeroconf is missing (Debian: python3-zeroconf)")
class Zeroconf(unittest.TestCase):
    def test_it_sees_us(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        browser = a.run(PYTHON, "-c", ZEROCONF_BROWSE)
        peer = b.node()
        b.publish(peer, data="hello")
        found = browser.wait(rf"add {base32(peer.id)}\.\S+ (\[.*?\]) (\d+) (.*)", 15)
        self.assertIn(b.v4, found.group(1))
        self.assertEqual(found.group(2), "4433")
        self.assertIn("'user-data': 'hello'", found.group(3))
        browser.wait(rf"types .*{SERVICE}\.local\.", 15)
        peer.end()
        browser.wait(rf"remove {base32(peer.id)}", 15)

    def test_we_see_it(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        watcher, probe = b.node("--watch"), b.node()
        other = probe.id
        probe.end()
        service = a.run(PYTHON, "-c", ZEROCONF_REGISTER, base32(other), a.v4)
        watcher.wait(rf"found {other} {a.v4}:6543 - by-zeroconf unproven", 20)
        service.child.stdin.close()
        watcher.wait(rf"lost {other} mdns", 15)


if __name__ == "__main__":
    if not AVAHI:
        missing("avahi", "avahi-daemon avahi-utils dbus")
    if PYTHON is None:
        missing("python-zeroconf", "python3-zeroconf")
    unittest.main(verbosity=2)
