"""km-node through km-relay: real processes, no direct address in what is dialled."""
import os
import signal
import socket
import threading
import time
import urllib.request

from lab import BIN_DIR, LIMIT, OK, UNREACHABLE, USAGE, Case, Process, Server, main, run

RELAY = os.path.join(BIN_DIR, "km-relay")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
        """Dials by id and relay; its Result."""
        return run("node2", server.id, "--relay", relay.url, *args, "--json")


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


class OtherWay(RelayCase):
    def test_the_peer_loses_its_relay_and_has_another(self):
        """Only the accepting side notices; the dialling side still has both relays."""
        relays = [self.relay(), self.relay()]
        ways = [self.start(Forwarder, relay.port) for relay in relays]
        server = self.start(Server, "--relay", ways[0].url, "--relay", ways[1].url)
        for relay in relays:  # it is at both
            self.assertEqual(self.dial(server, relay=relay).status, OK)
        path = self.file("big", os.urandom(200_000_000))
        client = self.start(Process, "node2", server.id, "--relay", relays[0].url, "--relay",
                            relays[1].url, "--file", path, "--json")
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
                            self.file("big", os.urandom(100_000_000)), "--json")
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
                            "--json")
        client.event("connected")
        time.sleep(0.3)
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
