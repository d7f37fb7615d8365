"""Every JSON event, member by member: other people's scripts rely on them."""
import os
import re
import signal
import unittest

from lab import (ALPN, BIN_DIR, LOST, OK, UNREACHABLE, USAGE, WRONG_KEY, Case, Process, Server,
                 main, run)

PROXY = os.path.join(BIN_DIR, "km-udp-proxy")
DEAD = "127.0.0.1:9"  # nobody answers there


def is_id(text):
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def is_milliseconds(value):
    return type(value) in (int, float) and 0 <= value < 60000


def is_count(value):
    return type(value) is int and value >= 0


def is_loopback(text):
    return re.fullmatch(r"127\.0\.0\.1:[1-9][0-9]*", text) is not None


class Ready(Case):
    def test_members(self):
        server = self.start(Server)
        self.check_event(server.ready, "ready", id=is_id, direct=list, relay=None,
                         ticket=lambda t: re.fullmatch("endpoint[a-z2-7]+", t))
        self.assertEqual(len(server.ready["direct"]), 1)
        self.assertTrue(is_loopback(server.addr))
        taken_apart = run("ticket", server.ticket, "--json").event("ticket")
        self.assertEqual((taken_apart["id"], taken_apart["direct"]), (server.id, [server.addr]))

    def test_the_id_is_that_of_the_key(self):
        server = self.start(Server, "--secret-key", "00" * 32)
        self.assertEqual(server.id,
                         "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")

    def test_several_sockets(self):
        server = self.start(Server, "--bind", "127.0.0.2:0")
        self.assertEqual([a.split(":")[0] for a in server.ready["direct"]],
                         ["127.0.0.1", "127.0.0.2"])


class PathCase(Case):
    def check_path(self, event, remote, addr):
        """A direct one."""
        self.check_event(event, "path", remote=remote, kind="direct", path="direct", addr=addr,
                         rtt_ms=is_milliseconds, rtt_us=is_count, since_connect_ms=is_count)
        self.assertEqual(event["rtt_us"], round(event["rtt_ms"] * 1000))


class Conversation(PathCase):
    def check_connected(self, event, remote, addr):
        self.check_event(event, "connected", remote=remote, alpn="km/echo/1", path="direct",
                         addr=addr, rtt_ms=is_milliseconds, handshake_ms=is_milliseconds)
        self.assertGreater(event["handshake_ms"], 0)
        self.assertGreater(event["rtt_ms"], 0)

    def test_both_sides(self):
        server = self.start(Server)
        result = run("node2", server.ticket, "--send", "abc", "--count", 2, "--json")
        self.assertEqual(result.status, OK, result.out + result.err)
        self.assertEqual([e["event"] for e in result.events],
                         ["connected", "path", "stream", "stream", "closed"])
        connected, path, first, second, closed = result.events
        self.check_path(path, server.id, server.addr)
        self.assertEqual(path["since_connect_ms"], 0)
        self.check_connected(connected, server.id, server.addr)
        for event, number in (first, 0), (second, 4):  # RFC 9000 section 2.1
            self.check_event(event, "stream", remote=server.id, id=number, rx_bytes=3, tx_bytes=3)
        self.check_event(closed, "closed", remote=server.id, code=0, reason="", name="OK",
                         message=str)
        self.assertEqual(result.err, "")

        connected = server.event("connected")
        self.check_connected(connected, is_id, is_loopback)
        client = connected["remote"]
        self.check_path(server.event("path"), client, connected["addr"])
        for number in 0, 4:
            self.check_event(server.event("stream"), "stream", remote=client, id=number,
                             rx_bytes=3, tx_bytes=3)
        self.check_event(server.event("closed"), "closed", remote=client, code=0, reason="",
                         name="CLOSED_BY_PEER", message=str)
        self.assertEqual(server.stop().status, OK)

    def test_the_dialler_is_who_its_key_says(self):
        server = self.start(Server)
        self.assertEqual(run("node2", server.ticket, "--secret-key", "00" * 32).status, OK)
        self.assertEqual(server.event("connected")["remote"],
                         "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")

    def test_by_id_and_address_in_every_form(self):
        server = self.start(Server)
        forms = run("id", server.id, "--json").event("id")
        for form in forms["hex"], forms["base32"], forms["base32"].upper():
            result = run("node2", form, "--addr", DEAD, "--addr", server.addr, "--json")
            self.assertEqual(result.status, OK, result.out + result.err)
            self.check_connected(result.event("connected"), server.id, server.addr)

    def test_post_quantum_and_congestion(self):
        server = self.start(Server, "--congestion", "bbr")
        for options in (["--post-quantum"], ["--congestion", "bbr"], ["--congestion", "reno"]):
            result = run("node2", server.ticket, "--json", *options)
            self.assertEqual(result.status, OK, result.out + result.err)

    def test_ipv6(self):
        try:
            server = self.start(Server, bind="[::1]:0")
        except AssertionError as no_ipv6:
            raise unittest.SkipTest("no IPv6 loopback") from no_ipv6
        result = run("node2", server.ticket, "--json")
        self.assertEqual(result.status, OK, result.out + result.err)
        self.check_connected(result.event("connected"), server.id, server.addr)
        self.assertRegex(server.addr, r"^\[::1\]:[0-9]+$")


class Path(PathCase):
    @unittest.skipUnless(os.access(PROXY, os.X_OK), "km-udp-proxy is not built")
    def test_a_moved_peer_is_reported(self):
        server = self.start(Server)
        # A NAT that loses its table: the server sees node2 come from another port.
        proxy = self.start(Process, "--listen", "127.0.0.1:0", "--to", server.addr, "--json",
                           program=PROXY)
        addr = proxy.event("ready")["listen"]
        node2 = self.start(Process, "node2", server.id, "--addr", addr, "--count", 1000000,
                           "--json")
        before = server.event("connected")
        self.check_path(server.event("path"), before["remote"], before["addr"])
        node2.event("stream")
        proxy.send(signal.SIGUSR2)
        path = server.event("path")
        self.check_path(path, before["remote"], is_loopback)
        self.assertNotEqual(path["addr"], before["addr"])
        while node2.event("stream")["id"] % 100 != 0:
            pass
        self.assertEqual(node2.stop(signal.SIGINT).status, 130)


class Errors(Case):
    """`error` is the last event, its name stands for the exit status."""

    def check_error(self, result, status, name):
        self.assertEqual(result.status, status, result.out + result.err)
        self.assertEqual(result.err, "")
        self.check_event(result.events[-1], "error", name=name,
                         code=lambda c: type(c) is int and c < 0,
                         message=lambda m: len(m) > 8)
        return result.events[-1]

    def test_bad_arguments(self):
        self.check_error(run("node2", "nonsense", "--json"), USAGE, "BAD_ID")
        self.check_error(run("node2", "endpointnonsense", "--json"), USAGE, "BAD_TICKET")
        self.check_error(run("node1", "--bind", "nonsense", "--json"), USAGE, "BAD_ADDR")
        self.check_error(run("node1", "--secret-key", "nonsense", "--json"), USAGE, "BAD_KEY")

    def test_json_is_spoken_whatever_the_order(self):
        for args in (["node1", "--json", "--bogus"], ["node1", "--bogus", "--json"],
                     ["node2", "--count", "x", "--json"], ["key", "--bogus", "--json"],
                     ["perf", "client", "--bogus", "--json"], ["node2", "--json"]):
            self.check_error(run(*args), USAGE, "INVALID")

    def test_port_in_use(self):
        server = self.start(Server)
        event = self.check_error(run("node1", "--bind", server.addr, "--json"), USAGE,
                                 "ADDR_IN_USE")
        self.assertIn(server.addr, event["message"])

    def test_unreachable(self):
        event = self.check_error(run("node2", "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63"
                                     "ac048a18b59da29", "--addr", DEAD, "--timeout", 1, "--json"),
                                 UNREACHABLE, "UNREACHABLE")
        self.assertIn(DEAD, event["message"])

    def test_wrong_key(self):
        server = self.start(Server)
        event = self.check_error(run("node2", "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63"
                                     "ac048a18b59da29", "--addr", server.addr, "--json"),
                                 WRONG_KEY, "WRONG_PEER")
        self.assertIn("key", event["message"])

    def test_wrong_alpn(self):
        server = self.start(Server, "--alpn", "other/1")
        self.check_error(run("node2", server.ticket, "--json"), ALPN, "ALPN_REFUSED")
        result = run("node2", server.ticket, "--alpn", "other/1", "--json")
        self.assertEqual(result.event("connected")["alpn"], "other/1")
        self.assertEqual(server.event("connected")["alpn"], "other/1")

    def test_a_closed_connection(self):
        server = self.start(Server)
        node2 = self.start(Process, "node2", server.ticket, "--count", 1000000, "--json")
        node2.event("stream")
        self.assertEqual(server.stop().status, OK)
        result = node2.wait()
        self.check_error(result, LOST, "CLOSED_BY_PEER")
        self.check_event(result.event("closed"), "closed", remote=server.id, code=0, reason="",
                         name="CLOSED_BY_PEER", message=str)


if __name__ == "__main__":
    main()
