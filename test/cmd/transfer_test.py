"""Bytes that come back: long, short, none, from a pipe, many times. Memory stays bounded."""
import os
import subprocess
import unittest

from lab import OK, Case, Process, Server, main, run, sanitized

MIB = 1 << 20


class Transfer(Case):
    def echo(self, server, *args, **more):
        result = run("node2", server.ticket, "--json", *args, **more)
        self.assertEqual(result.status, OK, result.out + result.err)
        return [(e["rx_bytes"], e["tx_bytes"]) for e in result.events if e["event"] == "stream"]

    def test_texts(self):
        server = self.start(Server)
        for text in "", "a", "h\u00e4\u4e16\U0001f600", "x" * 100000, "--json", "-", "%s%n\\n":
            size = len(text.encode())
            self.assertEqual(self.echo(server, "--send=" + text), [(size, size)])

    def test_files(self):
        server = self.start(Server)
        for size in 0, 1, 1199, 65535, 65536, 65537, MIB, 3 * MIB + 1:
            path = self.file("content", os.urandom(size))
            self.assertEqual(self.echo(server, "--file", path), [(size, size)])
        self.assertEqual(self.echo(server, "--file", path, "--count", 3), [(size, size)] * 3)

    def test_many_rounds(self):
        server = self.start(Server)
        self.assertEqual(self.echo(server, "--count", 50, "--send", "abc"), [(3, 3)] * 50)
        # More streams than a peer may have open at once (100).
        self.assertEqual(self.echo(server, "--count", 250, "--send", "abc"), [(3, 3)] * 250)

    def test_from_a_pipe(self):
        server = self.start(Server)
        content = os.urandom(3 * MIB)
        self.assertEqual(self.echo(server, "--file", "-", stdin=content), [(3 * MIB, 3 * MIB)])
        self.assertEqual(self.echo(server, "--file", "-", "--count", 2, stdin=b"ab"), [(2, 2)] * 2)
        self.assertEqual(self.echo(server, "--file", "-", stdin=b""), [(0, 0)])

    def test_from_a_pipe_bit_by_bit(self):
        server = self.start(Server)
        node2 = self.start(Process, "node2", server.ticket, "--file", "-", "--json",
                           stdin=subprocess.PIPE)
        for part in b"a", b"b" * 100000, b"c":
            node2.child.stdin.write(part)
            node2.child.stdin.flush()
        node2.child.stdin.close()
        result = node2.wait()
        self.assertEqual(result.status, OK, result.out + result.err)
        self.assertEqual(result.event("stream")["rx_bytes"], 100002)

    def test_64_mib_in_bounded_memory(self):
        server = self.start(Server)
        path = self.path("content")
        with open(path, "wb") as file:
            for _ in range(64):
                file.write(os.urandom(MIB))
        # The second round keeps node2 alive so that its memory can be read after the first.
        node2 = self.start(Process, "node2", server.ticket, "--file", path, "--count", 2, "--json")
        self.assertEqual(node2.event("stream")["rx_bytes"], 64 * MIB)
        used = {"node2": node2.memory(), "node1": server.memory()}
        result = node2.wait()
        self.assertEqual(result.status, OK, result.out + result.err)
        self.assertEqual([e["rx_bytes"] for e in result.events if e["event"] == "stream"],
                         [64 * MIB] * 2)
        used["node1"] = server.memory()
        if sanitized():
            raise unittest.SkipTest("moved intact; with sanitizers memory says nothing")
        for name, most in used.items():
            self.assertLess(most, 64 * MIB, name)


if __name__ == "__main__":
    main()
