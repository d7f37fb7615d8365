"""Port mapping against real miniupnpd, and a packet from the internet that comes through."""
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from netlab import Lab, enter, until
from netlab.sandbox import skip

TOOL = os.path.join(os.environ.get("KM_BUILD_DIR", ""), "test", "portmap_tool")
DAEMON = shutil.which("miniupnpd", path="/usr/sbin:/usr/bin:/sbin")

enter()

CONF = """ext_ifname=wan
listening_ip=lan
ipv6_disable=yes
enable_natpmp={natpmp}
enable_upnp={upnp}
min_lifetime=2
max_lifetime=86400
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
system_uptime=no
secure_mode=yes
uuid=00000000-0000-4000-8000-000000000001
"""

# What Debian's nft_init.sh sets up, with a masquerading router around it.
RULES = """table inet miniupnpd {
  chain forward { type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname lan accept
    jump miniupnpd
  }
  chain miniupnpd { }
  chain prerouting { type nat hook prerouting priority dstnat; jump prerouting_miniupnpd; }
  chain postrouting { type nat hook postrouting priority srcnat;
    jump postrouting_miniupnpd
    oifname wan masquerade
  }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
}
"""


class Router:
    """A home router with miniupnpd, and a host behind it."""

    def __init__(self, test):
        self.lab = Lab(servers=("server",))
        test.addCleanup(self.lab.close)
        self.server = self.lab.servers[0]
        self.ns, self.host = self.lab.namespace("router"), self.lab.namespace("host")
        self.ns.router()
        self.v4 = self.lab.plug(self.ns, "wan", True, False).v4
        self.lab.wire(self.ns, "lan", self.host, "eth0", 1500)
        self.ns.ip("addr add 192.168.7.1/24 dev lan")
        self.host.ip("addr add 192.168.7.2/24 dev eth0",
                     "route add default via 192.168.7.1 dev eth0")
        self.dir = tempfile.mkdtemp()
        test.addCleanup(shutil.rmtree, self.dir)
        test.addCleanup(self.stop)
        self.daemon = None

    def start(self, natpmp=True, upnp=True):
        conf = os.path.join(self.dir, "miniupnpd.conf")
        with open(conf, "w", encoding="ascii") as file:
            file.write(CONF.format(natpmp="yes" if natpmp else "no", upnp="yes" if upnp else "no"))
        self.ns.nft(RULES)
        self.daemon = subprocess.Popen(
            self.ns.command(DAEMON, "-d", "-f", conf, "-P", os.path.join(self.dir, "pid")),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=self.daemon.stderr.read, daemon=True).start()
        port = ":14e7 " if natpmp else ":076c "  # 5351, 1900
        until(20, "miniupnpd listens", lambda: port in self.ns.run("cat", "/proc/net/udp").lower())

    def stop(self):
        """It loses its memory, and so does the firewall."""
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait()
            self.daemon.stderr.close()
            self.ns.nft("delete table inet miniupnpd")
            self.daemon = None

    def forwards(self):
        """The UDP ports that lead inside: {external: internal}."""
        rules = self.ns.run("nft", "list", "chain", "inet", "miniupnpd", "prerouting_miniupnpd")
        found = re.findall(r"dport (\d+).*dnat.*192\.168\.7\.2:(\d+)", rules)
        return {int(external): int(internal) for external, internal in found}


class Tool:
    def __init__(self, test, router, *args):
        self.process = subprocess.Popen(
            router.host.command(TOOL, *args), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.events, self.log = [], []
        self.changed = threading.Condition()
        self.readers = [threading.Thread(target=self._read_events),
                        threading.Thread(target=self._read_log)]
        for reader in self.readers:
            reader.start()
        test.addCleanup(self.end)

    def _read_events(self):
        for line in self.process.stdout:
            with self.changed:
                self.events.append(json.loads(line))
                self.changed.notify_all()

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line.rstrip())

    def say(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def await_event(self, what, fits, after=0, seconds=40):
        deadline = time.monotonic() + seconds
        with self.changed:
            while True:
                for event in self.events[after:]:
                    if fits(event):
                        return event
                left = deadline - time.monotonic()
                if left <= 0 or not self.changed.wait(left):
                    raise AssertionError(f"no {what}; events {self.events}, log {self.log}")

    def mapped(self, protocol, after=0):
        return self.await_event(f"mapping by {protocol}", lambda event: event["event"] == "status"
                                and event["protocol"] == protocol, after)

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            self.process.wait(30)
        for reader in self.readers:
            reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return self.process.returncode


class PortmapTest(unittest.TestCase):
    def comes_through(self, router, tool, external):
        """A stranger on the internet sends to the external address."""
        ip, port = external.rsplit(":", 1)
        with router.server.ns.socket() as stranger:
            stranger.bind((router.server.v4, 0))
            text = f"from port {stranger.getsockname()[1]}"
            stranger.sendto(text.encode(), (ip, int(port)))
            event = tool.await_event("datagram", lambda event: event.get("text") == text)
            self.assertEqual(event["from"], f"{router.server.v4}:{stranger.getsockname()[1]}")

    def maps(self, protocol, allowed, port, **daemon):
        router = Router(self)
        router.start(**daemon)
        tool = Tool(self, router, allowed)
        tool.say("port", port)
        status = tool.mapped(protocol)
        self.assertEqual(status["external"].split(":")[0], router.v4)
        self.assertIn(protocol, status["found"])
        self.assertEqual(status["trouble"], "")
        self.assertFalse(status["probing"])
        self.comes_through(router, tool, status["external"])
        self.assertEqual(router.forwards(), {int(status["external"].split(":")[1]): port})
        return router, tool, status

    def unmaps_at_the_end(self, router, tool):
        self.assertEqual(tool.end(), 0, tool.log)
        until(10, "the mapping is deleted", lambda: router.forwards() == {})

    def unmaps_by_upnp(self, router, tool):
        """Over TCP by a thread of its own, which does not outlive its process."""
        tool.say("port", 0)
        until(10, "the mapping is deleted", lambda: router.forwards() == {})
        self.assertEqual(tool.end(), 0, tool.log)

    def test_pcp(self):
        router, tool, status = self.maps("PCP", "pcp", 4101)
        self.assertEqual(status["lifetime_s"], 7200)
        self.unmaps_at_the_end(router, tool)

    def test_natpmp(self):
        router, tool, status = self.maps("NAT-PMP", "natpmp", 4102)
        self.assertEqual(status["lifetime_s"], 7200)
        self.unmaps_at_the_end(router, tool)

    def test_upnp(self):
        router, tool, status = self.maps("UPnP", "upnp", 4103, natpmp=False)
        self.assertEqual(status["lifetime_s"], 7200)
        self.unmaps_by_upnp(router, tool)

    def test_all_are_found_and_pcp_is_taken(self):
        router, tool, _status = self.maps("PCP", "pcp,natpmp,upnp", 4104)
        tool.await_event("all three", lambda event: event["event"] == "status"
                         and event["found"] == ["PCP", "NAT-PMP", "UPnP"])
        tool.say("port", 4105)  # the one before is deleted
        tool.await_event("another port", lambda event: event["event"] == "status"
                         and event["external"].endswith(":4105"))
        until(10, "one mapping", lambda: router.forwards() == {4105: 4105})
        before = len(tool.events)
        tool.say("port", 0)
        gone = tool.await_event("no mapping", lambda event: event["event"] == "status"
                                and event["protocol"] == "none", before)
        self.assertEqual((gone["external"], gone["trouble"]), ("", ""))
        until(10, "no mapping at the router", lambda: router.forwards() == {})

    def test_upnp_alone_where_the_others_are_closed(self):
        router, tool, _status = self.maps("UPnP", "pcp,natpmp,upnp", 4106, natpmp=False)
        self.unmaps_by_upnp(router, tool)

    def renews(self, protocol, allowed):
        router = Router(self)
        router.start()
        tool = Tool(self, router, allowed, 12)
        tool.say("port", 4107)
        status = tool.mapped(protocol)
        self.assertEqual(status["lifetime_s"], 12)
        time.sleep(30)  # two lifetimes and a half
        self.comes_through(router, tool, status["external"])
        mappings = [event["protocol"] for event in tool.events if event["event"] == "status"
                    and not event["probing"]]
        self.assertEqual(set(mappings), {protocol})

    def test_pcp_is_renewed_before_a_short_lifetime_ends(self):
        self.renews("PCP", "pcp")

    def test_natpmp_is_renewed_before_a_short_lifetime_ends(self):
        self.renews("NAT-PMP", "natpmp")

    def restarts(self, protocol, allowed):
        """Told by the router to everybody, or seen by its clock."""
        router, tool, status = self.maps(protocol, allowed, 4108)
        time.sleep(3)  # its clock counts seconds
        router.stop()
        router.start()
        until(40, "mapped again", lambda: router.forwards() == {4108: 4108})
        self.comes_through(router, tool, status["external"])

    def test_a_router_that_restarts_is_asked_again_by_pcp(self):
        self.restarts("PCP", "pcp")

    def test_a_router_that_restarts_is_asked_again_by_natpmp(self):
        self.restarts("NAT-PMP", "natpmp")

    def test_a_changed_network_is_looked_at_anew(self):
        router, tool, _status = self.maps("PCP", "pcp,natpmp", 4109)
        before = len(tool.events)
        router.host.ip("route del default")
        tool.say("changed")
        lost = tool.await_event("loss", lambda event: event["event"] == "status"
                                and event["protocol"] == "none" and event["trouble"], before)
        self.assertIn("no default gateway", lost["trouble"])
        before = len(tool.events)
        router.host.ip("route add default via 192.168.7.1 dev eth0")
        tool.say("changed")
        self.comes_through(router, tool, tool.mapped("PCP", before)["external"])

    def test_a_router_without_any(self):
        router = Router(self)
        tool = Tool(self, router)
        tool.say("port", 4110)
        status = tool.await_event("verdict", lambda event: event["event"] == "status"
                                  and event["trouble"] and not event["probing"])
        self.assertEqual((status["protocol"], status["found"]), ("none", []))
        self.assertIn("forward UDP port 4110 by hand", status["trouble"])
        self.assertEqual(tool.end(), 0)

    def test_strangers_on_the_lan_are_not_believed(self):
        """Another host of the LAN answers in the router's place, from its own address."""
        router = Router(self)
        spy = router.host.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(spy.close)
        tool = Tool(self, router, "pcp,natpmp")
        tool.say("port", 4111)
        tool.await_event("probing", lambda event: event["event"] == "status")
        for port in open_udp_ports(router.host):
            spy.sendto(bytes([0, 128, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4]), ("192.168.7.2", port))
        verdict = tool.await_event("verdict", lambda event: event["event"] == "status"
                                   and event["trouble"])
        self.assertEqual(verdict["found"], [])


class FakeIgd:
    """Answers searches for a UPnP gateway from the router's address, with lies."""

    DESCRIPTION = """<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0">{base}<device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>
<controlURL>{control}</controlURL><SCPDURL>/scpd</SCPDURL><eventSubURL>/event</eventSubURL>
</service></serviceList></device></root>"""

    def __init__(self, test, router, location, base="", control="/control", silent=False,
                 endless=False):
        self.location, self.silent, self.endless = location, silent, endless
        self.cut = threading.Event()  # an endless answer was not listened to
        self.body = self.DESCRIPTION.format(base=base and f"<URLBase>{base}</URLBase>",
                                            control=control)
        self.searched, self.requests = threading.Event(), []
        self.ssdp = router.ns.socket()
        self.ssdp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.ssdp.bind(("", 1900))
        self.ssdp.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                             socket.inet_aton("239.255.255.250") + socket.inet_aton("192.168.7.1"))
        self.listeners = []
        self.listen(router.ns, "192.168.7.1", 5000)
        threading.Thread(target=self._answer_searches, daemon=True).start()
        test.addCleanup(self.end)

    def listen(self, ns, ip, port):
        """Notes whoever calls."""
        listener = ns.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ip, port))
        listener.listen()
        self.listeners.append(listener)
        threading.Thread(target=self._serve, args=(listener, f"{ip}:{port}"), daemon=True).start()

    def _answer_searches(self):
        while True:
            try:
                text, searcher = self.ssdp.recvfrom(2000)
            except OSError:
                return
            target = re.search(rb"(?i)^ST: *(.*?)\r$", text, re.M)
            if target:
                self.ssdp.sendto(b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: "
                                 + target[1] + b"\r\nUSN: uuid:1::x\r\nEXT:\r\nLOCATION: "
                                 + self.location.encode() + b"\r\n\r\n", searcher)
                self.searched.set()

    def _serve(self, listener, name):
        while True:
            try:
                conn, _from = listener.accept()
            except OSError:
                return
            with conn:
                request = conn.recv(4000).decode(errors="replace").split("\r\n")[0]
                self.requests.append((name, request))
                if self.silent:
                    time.sleep(60)
                if self.endless:
                    self._never_stop(conn)
                    continue
                conn.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(self.body)}\r\n\r\n"
                             f"{self.body}".encode())

    def _never_stop(self, conn):
        try:
            conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n<root>")
            while True:
                conn.sendall(b"<x></x>" * 10000)
        except OSError:
            self.cut.set()

    def end(self):
        for sock in self.ssdp, *self.listeners:
            try:
                sock.shutdown(socket.SHUT_RDWR)  # wakes its thread
            except OSError:
                pass
            sock.close()


class HostileTest(unittest.TestCase):
    """What a gateway that lies can make us do."""

    def verdict(self, tool):
        return tool.await_event("verdict", lambda event: event["event"] == "status"
                                and event["trouble"] and not event["probing"])

    def lies(self, location, **lies):
        router = Router(self)
        router.ns.nft(RULES)  # the internet can be reached
        igd = FakeIgd(self, router, location, **lies)
        igd.listen(router.server.ns, router.server.v4, 80)
        igd.listen(router.host, "127.0.0.1", 80)
        igd.listen(router.host, "192.168.7.2", 80)
        tool = Tool(self, router, "upnp")
        tool.say("port", 4120)
        self.assertTrue(igd.searched.wait(20), tool.log)
        self.assertEqual(self.verdict(tool)["protocol"], "none")
        until(40, "the end of the search", lambda: any("no PCP" in line for line in tool.log))
        time.sleep(1)
        return igd.requests, router

    def test_a_description_on_the_internet_is_not_fetched(self):
        requests, _router = self.lies("http://44.128.240.10:80/desc.xml")
        self.assertEqual(requests, [])

    def test_nor_one_on_this_machine(self):
        requests, _router = self.lies("http://127.0.0.1:80/desc.xml")
        self.assertEqual(requests, [])

    def test_nor_one_on_an_address_of_this_machine(self):
        requests, _router = self.lies("http://192.168.7.2:80/desc.xml")
        self.assertEqual(requests, [])

    def test_a_control_url_elsewhere_is_not_called(self):
        for base, control in (("http://44.128.240.10:80", "/control"),
                              ("", "http://44.128.240.10:80/control")):
            with self.subTest(base=base, control=control):
                requests, router = self.lies("http://192.168.7.1:5000/desc.xml", base=base,
                                             control=control)
                self.assertIn(("192.168.7.1:5000", "GET /desc.xml HTTP/1.1"), requests)
                self.assertEqual({name for name, _request in requests}, {"192.168.7.1:5000"})
                self.doCleanups()

    def test_an_answer_without_an_end_is_cut(self):
        router = Router(self)
        igd = FakeIgd(self, router, "http://192.168.7.1:5000/desc.xml", endless=True)
        tool = Tool(self, router, "upnp")
        tool.say("port", 4122)
        self.assertTrue(igd.cut.wait(30), tool.log)
        self.assertEqual(self.verdict(tool)["found"], [])

    def test_a_gateway_that_does_not_answer_holds_nobody_up(self):
        router = Router(self)
        igd = FakeIgd(self, router, "http://192.168.7.1:5000/desc.xml", silent=True)
        tool = Tool(self, router, "upnp")
        tool.say("port", 4121)
        until(20, "a request", lambda: igd.requests)
        self.verdict(tool)  # while the thread still waits
        begin = time.monotonic()
        self.assertEqual(tool.end(), 0)
        self.assertLess(time.monotonic() - begin, 20)  # the silence lasts a minute


def open_udp_ports(ns):
    lines = ns.run("cat", "/proc/net/udp").splitlines()[1:]
    return [int(line.split()[1].split(":")[1], 16) for line in lines]


if __name__ == "__main__":
    if DAEMON is None:
        skip("miniupnpd is missing (Debian: miniupnpd-nftables)")
    if not os.access(TOOL, os.X_OK):
        skip("portmap_tool was not built")
    unittest.main(verbosity=2)
