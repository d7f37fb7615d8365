"""km-node through km-relay: real processes, no direct address in what is dialled."""
import base64
import os
import random
import signal
import socket
import threading
import time
import unittest
import urllib.request

import relay_lab
from lab import BIN_DIR, LIMIT, OK, UNREACHABLE, USAGE, Case, Process, Server, main, run

RELAY = os.path.join(BIN_DIR, "km-relay")


def free_port():
    """One that the system gives to no outgoing connection, so that it stays free over a restart."""
    while True:
        port = random.randrange(20000, 32768)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


class Relay(Process):
    """A km-relay in development mode that answers: `url`."""

    def __init__(self, folder, port=0):
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        config = os.path.join(folder, f"relay-{self.port}.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f'http_bind_addr = "127.0.0.1:{self.port}"\nenable_metrics = false\n')
        super().__init__("--dev", "--config", config, program=RELAY)
        try:
            self.wait_for_answer()
        except BaseException:
            self.end()
            raise

    def wait_for_answer(self):
        until = time.monotonic() + LIMIT
        while True:
            try:
                with urllib.request.urlopen(self.url + "healthz", timeout=5) as answer:
                    return answer.read()
            except OSError:
                if self.child.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.05)


class RelayCase(Case):
    def relay(self, port=0):
        return self.start(Relay, self.folder, port)

    def dial(self, server, *args, relay):
        """Dials by id and relay, and stays there; its Result."""
        return run("node2", server.id, "--relay", relay.url, "--policy", "relay-only", *args,
                   "--json")


class Through(RelayCase):
    def test_by_id_and_relay(self):
        relay = self.relay()
        server = self.start(Server, "--relay", relay.url)
        self.assertEqual(server.ready["relay"], relay.url)
        self.assertEqual(run("ticket", server.ticket, "--json").event("ticket")["relays"],
                         [relay.url])
        result = self.dial(server, "--send", "hello", relay=relay)
        self.assertEqual(result.status, OK, result.out + result.err)
        connected = result.event("connected")
        self.assertEqual((connected["path"], connected["addr"]), ("relay", relay.url))
        seen = server.event("connected")
        self.assertEqual((seen["path"], seen["addr"]), ("relay", relay.url))

    def test_people_see_the_relay(self):
        relay = self.relay()
        server = self.start(Server, "--relay", relay.url)
        result = run("node2", server.id, "--relay", relay.url)
        self.assertEqual(result.status, OK, result.err)
        self.assertIn(f"over relay {relay.url}", result.out)

    def test_a_ticket_goes_direct(self):
        relay = self.relay()
        server = self.start(Server, "--relay", relay.url)
        connected = run("node2", server.ticket, "--json").event("connected")
        self.assertEqual(connected["path"], "direct")

    def test_a_big_file(self):
        relay = self.relay()
        server = self.start(Server, "--relay", relay.url)
        path = self.file("big", os.urandom(20_000_000))
        self.assertEqual(self.dial(server, "--file", path, relay=relay).status, OK)

    def test_nobody_of_that_id_is_there(self):
        relay = self.relay()
        absent = run("key", "new", "--json").event("key")["id"]
        result = run("node2", absent, "--relay", relay.url, "--timeout", 2)
        self.check_sentence(result, UNREACHABLE, relay.url)

    def test_no_relay_is_there(self):
        url = f"http://127.0.0.1:{free_port()}/"
        absent = run("key", "new", "--json").event("key")["id"]
        result = run("node2", absent, "--relay", url, "--timeout", 2)
        self.check_sentence(result, UNREACHABLE, url)

    def test_disabled_means_disabled(self):
        relay = self.relay()
        server = self.start(Server, "--relay", relay.url)
        ticket = run("ticket", server.id, "--relay", relay.url, "--json").event("ticket")["ticket"]
        self.assertEqual(run("node2", ticket).status, OK)
        self.check_sentence(run("node2", ticket, "--relay", "disabled"), UNREACHABLE, "relay")


class Homes(RelayCase):
    def test_a_relay_that_is_not_there_is_told(self):
        server = self.start(Server, "--relay", f"http://127.0.0.1:{free_port()}")
        self.assertIsNone(server.ready["relay"])
        self.assertIn("no relay answered", server.stop().err)

    def test_a_relay_that_comes_later_becomes_home(self):
        port = free_port()
        server = self.start(Server, "--relay", f"http://127.0.0.1:{port}")
        self.assertIsNone(server.ready["relay"])
        relay = self.relay(port)
        self.assertEqual(server.event("relay")["home"], relay.url)
        self.assertEqual(self.dial(server, relay=relay).status, OK)

    def with_standby(self):
        """A node with two relays: it, its home, and the other, which is connected to as well."""
        one, two = self.relay(), self.relay()
        server = self.start(Server, "--relay", one.url, "--relay", two.url)
        home, other = (one, two) if server.ready["relay"] == one.url else (two, one)
        self.assertEqual(server.ready["relay"], home.url)
        self.assertEqual(self.dial(server, relay=other).status, OK)
        return server, home, other

    def wait_for_home(self, server, old, new):
        """Reads on to the event that says so. Before it, others may say that the standby changed."""
        while (home := server.event("relay")["home"]) != new.url:
            self.assertEqual(home, old.url)

    def lose_home(self, how):
        """The home relay is lost; the other one takes over, and is the one that is told of."""
        server, home, other = self.with_standby()
        home.send(how)
        lost = time.monotonic()
        self.wait_for_home(server, home, other)
        print(f"standby is home after {time.monotonic() - lost:.2f} s")
        self.assertEqual(self.dial(server, relay=other).status, OK)
        return server, home, other

    def test_home_dies(self):
        self.lose_home(signal.SIGKILL)

    def test_home_hangs(self):
        self.lose_home(signal.SIGSTOP)

    def test_home_is_stopped_in_good_order(self):
        self.lose_home(signal.SIGTERM)


class Forwarder:
    """Carries TCP connections to a relay, until it is cut."""

    def __init__(self, port):
        self.to = ("127.0.0.1", port)
        self.sockets = [socket.create_server(("127.0.0.1", 0))]
        self.url = f"http://127.0.0.1:{self.sockets[0].getsockname()[1]}/"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                ends = [self.sockets[0].accept()[0], socket.create_connection(self.to)]
                self.sockets += ends
                for pair in (ends, ends[::-1]):
                    threading.Thread(target=self.carry, args=pair, daemon=True).start()
        except OSError:
            pass  # cut

    @staticmethod
    def carry(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass  # cut

    def cut(self):
        for end in self.sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # so it is already
            end.close()

    end = cut


class UdpForwarder:
    """Carries the datagrams of one client to a node, unless it is told to drop them."""

    def __init__(self, to):
        self.drop = False
        self.front, self.back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "ab")
        self.front.bind(("127.0.0.1", 0))
        self.back.connect(("127.0.0.1", to))
        self.addr = "127.0.0.1:%d" % self.front.getsockname()[1]
        self.client = None
        for carry in (self.there, self.back_again):
            threading.Thread(target=self.loop, args=[carry], daemon=True).start()

    def loop(self, carry):
        while self.front.fileno() >= 0:
            try:
                carry()
            except OSError:
                time.sleep(0.01)  # nobody listens there, or it has ended

    def there(self):
        data, self.client = self.front.recvfrom(65536)
        if not self.drop:
            self.back.send(data)

    def back_again(self):
        data = self.back.recv(65536)
        if not self.drop and self.client:
            self.front.sendto(data, self.client)

    def end(self):
        for end in (self.front, self.back):
            end.close()


class OtherWay(RelayCase):
    def test_the_direct_way_is_taken_again_when_it_is_back(self):
        relay = self.relay()
        server = self.start(Server, "--relay", relay.url, "--policy", "any")
        direct = self.start(UdpForwarder, int(server.ready["direct"][0].rsplit(":", 1)[1]))
        # The direct way answers first: the relay has to be connected to.
        client = self.start(Process, "node2", server.id, "--relay", relay.url, "--addr",
                            direct.addr, "--file", self.file("big", os.urandom(100_000_000)),
                            "--count", 1000, "--json")
        self.assertEqual(client.event("connected")["addr"], direct.addr)
        self.assertEqual(client.event("path")["addr"], direct.addr)
        time.sleep(0.2)  # no way may change during the handshake
        direct.drop = True
        self.assertEqual(client.event("path")["addr"], relay.url)
        direct.drop = False
        self.assertEqual(client.event("path")["addr"], direct.addr)

    def test_the_peer_loses_its_relay_and_has_another(self):
        """Only the accepting side notices; the dialling side still has both relays."""
        relays = [self.relay(), self.relay()]
        ways = [self.start(Forwarder, relay.port) for relay in relays]
        server = self.start(Server, "--relay", ways[0].url, "--relay", ways[1].url)
        for relay in relays:  # it is at both
            self.assertEqual(self.dial(server, relay=relay).status, OK)
        path = self.file("big", os.urandom(200_000_000))
        client = self.start(Process, "node2", server.id, "--relay", relays[0].url, "--relay",
                            relays[1].url, "--file", path, "--policy", "relay-only", "--json")
        used = [relay.url for relay in relays].index(client.event("connected")["addr"])
        time.sleep(0.2)  # no way may change during the handshake
        ways[used].cut()
        result = client.wait()
        self.assertEqual(result.status, OK, result.out + result.err)
        self.assertIn(relays[1 - used].url, [e["addr"] for e in result.events
                                             if e["event"] == "path"])


class Restart(RelayCase):
    def test_a_connection_survives_ten_seconds_without_its_relay(self):
        relay = self.relay()
        server = self.start(Server, "--relay", relay.url)
        client = self.start(Process, "node2", server.id, "--relay", relay.url, "--file",
                            self.file("big", os.urandom(100_000_000)), "--policy", "relay-only",
                            "--json")
        client.event("connected")
        relay.send(signal.SIGKILL)
        relay.wait()
        time.sleep(10)
        self.relay(relay.port)
        result = client.wait()
        self.assertEqual(result.status, OK, result.out + result.err)

    def test_a_transfer_survives_kill_9_of_the_relay(self):
        relay = self.relay()
        server = self.start(Server, "--relay", relay.url)
        path = self.file("big", os.urandom(100_000_000))
        client = self.start(Process, "node2", server.id, "--relay", relay.url, "--file", path,
                            "--policy", "relay-only", "--json")
        client.event("connected")
        time.sleep(0.3)
        self.assertIsNone(client.child.poll())
        self.assertFalse([line for line in client.lines.queue if "stream" in line])
        relay.send(signal.SIGKILL)
        relay.wait()
        time.sleep(0.5)
        again = self.relay(relay.port)
        result = client.wait()
        self.assertEqual(result.status, OK, result.out + result.err)
        stream = result.event("stream")
        self.assertEqual((stream["rx_bytes"], stream["tx_bytes"]), (100_000_000, 100_000_000))
        self.assertEqual(len([e for e in result.events if e["event"] == "connected"]), 1)
        self.assertEqual(again.stop().status, 0)


@unittest.skipUnless(relay_lab.have_openssl(), "no openssl here to make certificates")
class Tls(relay_lab.RelayCase):
    """Whom a node trusts: --relay-ca, SSL_CERT_FILE, or the system's authorities."""

    def setUp(self):
        super().setUp()
        relay_lab.make_certificate(self.folder, "root")
        relay_lab.make_certificate(self.folder, "stranger")
        relay_lab.make_certificate(self.folder, "leaf", "root")
        self.secure = self.relay(
            f'[tls]\nhttps_bind_addr = "{relay_lab.ANY}"\ncert_mode = "Manual"\n'
            f'manual_cert_path = "{self.path("leaf.crt")}"\n'
            f'manual_key_path = "{self.path("leaf.key")}"\n')
        self.url = f"https://localhost:{self.secure.https.rsplit(':', 1)[1]}/"
        self.trust = ("--relay-ca", self.path("root.crt"))

    def test_nodes_meet(self):
        server = self.start(Server, "--relay", self.url, *self.trust)
        self.assertEqual(server.ready["relay"], self.url)
        result = run("node2", server.id, "--relay", self.url, *self.trust, "--json")
        self.assertEqual(result.status, OK, result.out + result.err)
        self.assertEqual(result.event("connected")["addr"], self.url)

    def test_the_environment_names_the_authorities(self):
        env = {"SSL_CERT_FILE": self.path("root.crt")}
        result = run("relay", "ping", self.url, env=env)
        self.assertEqual(result.status, OK, result.err)

    def test_strangers_are_not_trusted(self):
        for args in ((), ("--relay-ca", self.path("stranger.crt"))):
            result = run("relay", "ping", self.url, *args)
            self.check_sentence(result, UNREACHABLE, "authority", "localhost")
            self.assertIn("certificate", result.err)  # whoever of both is quicker
        server = self.start(Server, "--relay", self.url)
        self.assertIsNone(server.ready["relay"])


class ConnectProxy:
    """An HTTP proxy that knows CONNECT; `asked` has the requests."""

    def __init__(self, user=None):
        self.wanted = user and base64.b64encode(user.encode()).decode()
        self.asked = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                threading.Thread(target=self.serve, args=self.socket.accept()[:1],
                                 daemon=True).start()
        except OSError:
            pass  # ended

    def serve(self, client):
        with client:
            request = client.recv(4096).decode()
            self.asked.append(request)
            if self.wanted and f"Basic {self.wanted}\r\n" not in request:
                client.sendall(b"HTTP/1.1 407 Who are you?\r\n\r\n")
                return
            host, port = request.split()[1].rsplit(":", 1)
            with socket.create_connection((host, int(port))) as target:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = threading.Thread(target=Forwarder.carry, args=(target, client), daemon=True)
                back.start()
                Forwarder.carry(client, target)

    def end(self):
        self.socket.close()


class Proxies(RelayCase):
    def ping(self, relay, **env):
        return run("relay", "ping", relay.url, env=env)

    def test_the_environment_names_a_proxy(self):
        relay = self.relay()
        proxy = self.start(ConnectProxy, "someone:se cret")
        where = f"127.0.0.1:{proxy.port}"
        result = self.ping(relay, http_proxy=f"http://someone:se%20cret@{where}", no_proxy="")
        self.assertEqual(result.status, OK, result.err)
        self.assertIn("answer from behind a proxy", result.out)
        self.assertTrue(proxy.asked[0].startswith(f"CONNECT 127.0.0.1:{relay.port} HTTP/1.1\r\n"))
        result = self.ping(relay, http_proxy=f"http://{where}", no_proxy="")
        self.check_sentence(result, UNREACHABLE, "user and password")
        asked = len(proxy.asked)
        result = self.ping(relay, http_proxy=f"http://{where}", NO_PROXY="127.0.0.1")
        self.assertEqual(result.status, OK, result.err)
        self.assertEqual(len(proxy.asked), asked)

    def test_a_proxy_that_is_not_there(self):
        result = self.ping(self.relay(), http_proxy=f"http://127.0.0.1:{free_port()}", no_proxy="")
        self.check_sentence(result, UNREACHABLE, "127.0.0.1")
        result = self.ping(self.relay(), http_proxy="socks5://127.0.0.1", no_proxy="")
        self.assertNotEqual(result.status, OK)
        self.assertIn("http_proxy", result.err)


class Proxy:
    """Takes down whom a CONNECT proxy is asked for, and refuses."""

    def __init__(self):
        self.asked = set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            while True:
                with self.listener.accept()[0] as client:
                    self.asked.add(client.makefile().readline().split()[1])
                    client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        except OSError:
            pass  # ended

    def end(self):
        self.listener.close()


class Modes(RelayCase):
    """Which hosts the modes mean. No packet leaves: everything goes to the proxy."""
    HOSTS = {
        "default": {"use1-1.relay.n0.iroh.link", "usw1-1.relay.n0.iroh.link",
                    "euc1-1.relay.n0.iroh.link", "aps1-1.relay.n0.iroh.link"},
        "staging": {"use1-1.staging-relay.n0.iroh.link", "euc1-1.staging-relay.n0.iroh.link"},
    }

    def hosts(self, mode):
        proxy = self.start(Proxy)
        self.start(Process, f"https_proxy={proxy.url}", BIN_DIR + "/km-node", "node1", "--relay",
                   mode, "--bind", "127.0.0.1:0", program="/usr/bin/env")
        until = time.monotonic() + LIMIT
        while len(proxy.asked) < len(self.HOSTS[mode]) and time.monotonic() < until:
            time.sleep(0.05)
        return proxy.asked

    def test_default_and_staging(self):
        for mode, hosts in self.HOSTS.items():
            with self.subTest(mode):
                self.assertEqual(self.hosts(mode), {f"{host}:443" for host in hosts})


class Ping(RelayCase):
    def test_a_relay_that_works(self):
        relay = self.relay()
        result = run("relay", "ping", relay.url, "--count", 2, "--json")
        self.assertEqual(result.status, OK, result.out + result.err)
        self.assertEqual([e["event"] for e in result.events], ["ping", "ping", "summary", "login"])
        self.assertEqual(result.events[0]["addr"], f"127.0.0.1:{relay.port}")
        self.assertIn("the relay works", run("relay", "ping", relay.url).out)

    def test_what_does_not(self):
        url = f"http://127.0.0.1:{free_port()}/"
        self.check_sentence(run("relay", "ping", url), UNREACHABLE, f"the relay {url}", "firewall")
        self.check_sentence(run("relay", "pong", "http://127.0.0.1"), USAGE, "ping URL")
        self.check_sentence(run("relay", "ping", "nonsense"), USAGE, "nonsense")
        self.check_sentence(run("relay", "ping", "https://127.0.0.1", "--relay-ca",
                                self.path("none")), USAGE, "none")
        self.check_sentence(run("relay", "ping", "https://127.0.0.1", "--relay-ca",
                                self.file("empty")), USAGE, "empty")


if __name__ == "__main__":
    main()
