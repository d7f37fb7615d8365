"""Signals, peers that vanish, peers that send rubbish, many at once."""
import json
import os
import signal
import socket
import unittest

import vectors
from lab import LIMIT, LOST, OK, WRAPPER, Case, Process, Server, main, run, sanitized

INTERRUPTED = 130
GONE_AFTER = 10 if sanitized() else 3  # seconds; enough to connect on a busy machine
ID = vectors.keys()[0]["id"]


class Ends(Case):
    def test_signals_end_a_server(self):
        for command in ("node1",), ("perf", "server"):
            for number in signal.SIGINT, signal.SIGTERM:
                with self.subTest(command=command, signal=number):
                    result = self.start(Server, command=command).stop(number)
                    self.assertEqual(result.status, OK, result.err)
                    self.assertEqual(result.err, "")

    def test_the_peer_sees_a_graceful_close(self):
        for number in signal.SIGINT, signal.SIGTERM:
            with self.subTest(signal=number):
                server = self.start(Server)
                node2 = self.start(Process, "node2", server.ticket, "--count", 1000000, "--json")
                node2.event("stream")
                self.assertEqual(server.stop(number).status, OK)
                result = node2.wait()
                self.assertEqual(result.status, LOST, result.err)
                closed = result.event("closed")
                self.assertEqual((closed["name"], closed["code"], closed["reason"]),
                                 ("CLOSED_BY_PEER", 0, ""))

    def test_interrupting_node2(self):
        for number in signal.SIGINT, signal.SIGTERM:
            with self.subTest(signal=number):
                server = self.start(Server)
                node2 = self.start(Process, "node2", server.ticket, "--count", 1000000, "--json")
                node2.event("stream")
                result = node2.stop(number)
                self.assertEqual(result.status, INTERRUPTED, result.out[-300:] + result.err)
                self.assertEqual(result.event("closed")["name"], "OK")
                self.assertEqual(server.event("closed")["name"], "CLOSED_BY_PEER")

    def test_interrupting_a_dial(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.settimeout(LIMIT)
            node2 = self.start(Process, "node2", ID, "--addr",
                               f"127.0.0.1:{silent.getsockname()[1]}", "--json")
            first, _ = silent.recvfrom(2000)
            self.assertGreaterEqual(len(first), 1200)  # RFC 9000 section 14.1
            result = node2.stop(signal.SIGINT)
            self.assertEqual(result.status, INTERRUPTED, result.out + result.err)
            self.assertFalse([e for e in result.events if e["event"] == "error"])


class Lost(Case):
    def setUp(self):
        super().setUp()
        self.big = self.file("big")
        os.truncate(self.big, 1 << 36)  # takes longer than any of this

    def under_way(self, server, timeout=60):
        node2 = self.start(Process, "node2", server.ticket, "--file", self.big, "--timeout",
                           timeout, "--json")
        node2.event("connected")
        server.event("connected")
        return node2

    def check_lost(self, node2, name):
        result = node2.wait()
        self.assertEqual(result.status, LOST, result.out + result.err)
        self.assertEqual(result.event("error")["name"], name)

    def test_killed(self):
        server = self.start(Server)
        node2 = self.under_way(server, GONE_AFTER)
        server.send(signal.SIGKILL)
        self.check_lost(node2, "IDLE_TIMEOUT")

    def test_stopped(self):
        server = self.start(Server)
        node2 = self.under_way(server, GONE_AFTER)
        server.send(signal.SIGSTOP)
        self.check_lost(node2, "IDLE_TIMEOUT")
        # When it comes to itself again it still serves others.
        server.send(signal.SIGCONT)
        self.assertEqual(run("node2", server.ticket).status, OK)
        self.assertEqual(server.stop().status, OK)

    def test_restarted(self):
        server = self.start(Server, "--secret-key", "00" * 32)
        node2 = self.start(Process, "node2", server.ticket, "--count", 1000000, "--json")
        # Resets answer short headers only (RFC 9000 section 10.3): the handshake must be over.
        while node2.event("stream")["id"] < 100:
            pass
        server.send(signal.SIGKILL)
        server.child.wait(LIMIT)
        # The same key on the same port knows nothing of the connection, and says so.
        again = self.start(Server, "--secret-key", "00" * 32, bind=server.addr)
        result = node2.wait()
        self.assertEqual(result.status, LOST, result.err)
        self.assertEqual(result.event("error")["name"], "RESET_BY_PEER")
        self.assertEqual(run("node2", again.ticket).status, OK)

    def test_interrupted_in_a_transfer(self):
        server = self.start(Server)
        result = self.under_way(server).stop(signal.SIGINT)
        self.assertEqual(result.status, INTERRUPTED, result.out + result.err)
        self.assertEqual(server.event("closed")["name"], "CLOSED_BY_PEER")

    def test_a_file_that_shrinks(self):
        server = self.start(Server)
        node2 = self.under_way(server)
        os.truncate(self.big, 0)
        result = node2.wait()
        self.assertEqual(result.status, 1, result.out + result.err)
        self.assertIn("changed", result.event("error")["message"])


class Many(Case):
    def test_twenty_at_once(self):
        server = self.start(Server)
        content = self.file("content", os.urandom(300000))
        dialling = [self.start(Process, "node2", server.ticket, "--file", content, "--count", 3,
                               "--json") for _ in range(20)]
        for node2 in dialling:
            result = node2.wait()
            self.assertEqual(result.status, OK, result.out + result.err)
            self.assertEqual([e["rx_bytes"] for e in result.events if e["event"] == "stream"],
                             [300000] * 3)
        closed = {server.event("closed")["remote"] for _ in dialling}
        self.assertEqual(len(closed), 20)
        self.assertEqual(server.stop().status, OK)


class Rubbish(Case):
    def test_datagrams_of_anything(self):
        server = self.start(Server)
        host, port = server.addr.rsplit(":", 1)
        initial = b"\xc3\x00\x00\x00\x01\x08" + bytes(8) + b"\x08" + bytes(8)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for i in range(3000):
                head = (b"", b"\x40", b"\xc0", initial, b"\xc0\x00\x00\x00\x00\xff",
                        b"\x01", b"\xe0\x0a\x0a\x0a\x0a\x14")[i % 7]
                sender.sendto(head + os.urandom((i * 37) % 1440), (host, int(port)))
            sender.sendto(b"", (host, int(port)))
        result = run("node2", server.ticket)
        self.assertEqual(result.status, OK, result.err)
        self.assertEqual(server.stop().status, OK)

    def test_datagrams_of_anything_at_node2(self):
        # A peer that answers a dial with noise is one that does not answer.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
            noise.bind(("127.0.0.1", 0))
            noise.settimeout(LIMIT)
            addr = f"127.0.0.1:{noise.getsockname()[1]}"
            node2 = self.start(Process, "node2", ID, "--addr", addr, "--timeout",
                               1, "--json")
            _, peer = noise.recvfrom(2000)
            for i in range(500):
                noise.sendto(bytes([i & 255]) + os.urandom(i), peer)
            result = node2.wait()
            self.assertEqual(result.status, 3, result.out + result.err)


class Stdout(Case):
    def shell(self, script, *args):
        """km-node under sh: "$@" is its command line."""
        return run(*args, prefix=["sh", "-c", script + "; echo status=$? >&2", "sh"])

    def test_closed(self):
        server = self.start(Server)
        for args in (["node2", server.ticket], ["id", server.id], ["--help"], ["node1", "--help"],
                     ["node2", server.ticket, "--json"], ["--version"]):
            result = self.shell('"$@" >&-', *args)
            self.assertIn("status=0", result.err, args)
            if not WRAPPER:  # valgrind's own files would get the numbers that are free
                result = self.shell('"$@" <&- >&- 2>&-', *args)
                self.assertIn("status=0", result.err, args)
        self.assertIn("status=2", self.shell('"$@" >&- 2>&-', "node2", "nonsense").err)

    def test_a_reader_that_leaves(self):
        server = self.start(Server)
        for args in (["node2", server.ticket, "--count", 50, "--json"], ["--help"],
                     ["id", server.id], ["node2", server.ticket, "--count", 50]):
            result = self.shell('"$@" | head -n 1', *args)
            self.assertEqual(len(result.out.splitlines()), 1, args)
            self.assertEqual(result.err, "status=0\n")

    def test_a_server_serves_on_when_its_reader_leaves(self):
        read_end, write_end = os.pipe()
        server = self.start(Process, "node1", "--bind", "127.0.0.1:0", "--json", stdout=write_end)
        os.close(write_end)
        with os.fdopen(read_end) as reader:
            ticket = json.loads(reader.readline())["ticket"]
        for _ in range(3):
            self.assertEqual(run("node2", ticket).status, OK)
        self.assertEqual(server.stop().status, OK)

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full here")
    def test_a_full_disk(self):
        for args in (["key", "new"], ["id", ID], ["--help"]):
            result = self.shell('"$@" > /dev/full', *args)
            self.assertIn("status=1", result.err, args)
            self.assertIn("disk", result.err)


if __name__ == "__main__":
    main()
