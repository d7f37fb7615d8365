"""The control socket: watches, slow readers, and whoever writes nonsense to it."""
import json
import os
import socket
import struct
import unittest

import daemon_lab
import lab
from daemon_lab import until

LINE_MAX = 4 << 20


class Control(daemon_lab.MeshCase):
    """One node, many clients."""

    def setUp(self):
        super().setUp()
        self.a = self.node("host-A").start()

    def raw(self):
        s = socket.socket(socket.AF_UNIX)
        s.connect(self.a.socket_path)
        s.settimeout(lab.LIMIT)
        self.addCleanup(s.close)
        return s

    def say(self, *pieces):
        """Writes; all that comes until the other side closes."""
        s, got = self.raw(), b""
        try:
            for piece in pieces:
                s.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            while data := s.recv(65536):
                got += data
        except ConnectionResetError:
            pass
        return got

    def alive(self):
        self.assertTrue(self.a.ask("health")["ok"])

    def test_nonsense_is_answered_and_cut_off(self):
        for nonsense in (b"hello\n", b"\x00\xff\x16\x03\x01" * 100 + b"\n", b"[]\n", b"\n",
                         b'{"id":[],"cmd":"health"}\n', b'{"cmd":"health"}\n',
                         b'{"id":1,"cmd":"a\\u0000b"}\n', b"[" * 100000 + b"\n"):
            got = self.say(nonsense)
            answer = json.loads(got)
            self.assertEqual((answer["id"], answer["ok"]), (None, False), nonsense[:20])
            self.assertEqual(answer["error"]["code"], "INVALID")
            self.assertGreater(len(answer["error"]["text"]), 8)
        self.alive()

    def test_line_too_long(self):
        got = self.say(b'{"id":1,"cmd":"', b"x" * LINE_MAX)
        self.assertEqual(json.loads(got)["error"]["code"], "LIMIT")
        self.alive()
        # The longest one is read to its end.
        value = "v" * (LINE_MAX - 100)
        control = self.a.control()
        number = control.send("kv.put", share="docs", key="k", value=value)
        self.assertEqual(control.answer()["id"], number)
        self.alive()

    def test_bad_requests_leave_the_connection(self):
        control = self.a.control()
        for cmd, args in (("nothing", {}), ("kv.get", {}), ("kv.get", {"share": 1, "key": 2}),
                          ("kv.put", {"share": "../", "key": "k", "value": "v"}),
                          ("peer.trust", {"peer": "nobody"})):
            with self.assertRaises(daemon_lab.Refused):
                control.ask(cmd, **args)
        self.assertTrue(control.ask("health")[0]["ok"])

    def test_error_has_code_text_and_hint(self):
        control = self.a.control()
        control.send("kv.gett", share="docs", key="k")
        error = control.answer()["error"]
        self.assertEqual(sorted(error), ["code", "hint", "text"])
        self.assertIn("did you mean kv.get?", error["text"])

    def test_requests_in_pieces_and_in_heaps(self):
        s = self.raw()
        lines = b"".join(b'{"id":%d,"cmd":"health"}\n' % n for n in range(200))
        for at in range(0, len(lines), 7):
            s.sendall(lines[at:at + 7])
        file = s.makefile("rb")
        self.assertEqual([json.loads(file.readline())["id"] for _ in range(200)],
                         list(range(200)))

    def test_watch_and_cancel(self):
        control = self.a.control()
        number = control.send("kv.watch", share="docs", prefix="a/")
        until("the watch runs", lambda: self.watching(control, number))
        self.a.ask("kv.put", share="docs", key="b", value="other")
        self.a.ask("kv.put", share="private", key="a/x", value="other")
        self.a.ask("kv.put", share="docs", key="a/x", value="1")
        self.a.ask("kv.delete", share="docs", key="a/x")
        rows = [control.answer() for _ in range(2)]
        self.assertEqual([r["id"] for r in rows], [number] * 2)
        self.assertEqual([(r["row"]["key"], r["row"]["deleted"]) for r in rows],
                         [("a/x", False), ("a/x", True)])
        # An id that is under way cannot be taken again.
        control.socket.sendall(b'{"id":%d,"cmd":"health"}\n' % number)
        self.assertIn("under way", control.answer()["error"]["text"])
        cancel = control.send("cancel", id=number)
        self.assertEqual(control.answer()["error"]["code"], "CANCELLED")
        self.assertEqual(control.answer(), {"id": cancel, "ok": True})
        self.a.ask("kv.put", share="docs", key="a/x", value="2")
        self.assertTrue(control.ask("health")[0]["ok"])  # and nothing else came
        control.send("cancel", id=number)
        self.assertEqual(control.answer()["error"]["code"], "NOT_FOUND")

    @staticmethod
    def watching(control, number):
        """A request behind it was answered, so it was begun."""
        last = control.send("health")
        answer = control.answer()
        assert answer["id"] == last and number < last, answer
        return True

    def test_client_that_leaves_ends_its_watches(self):
        for _ in range(100):
            control = daemon_lab.Control(self.a.socket_path)
            self.watching(control, control.send("kv.watch"))
            control.close()
        self.a.ask("kv.put", share="docs", key="k", value="v")
        self.alive()

    def test_too_many_clients(self):
        clients = [self.raw() for _ in range(64)]
        for n, client in enumerate(clients):
            client.sendall(b'{"id":1,"cmd":"health"}\n')
            self.assertIn(b'"ok":true', client.recv(65536), n)
        self.assertEqual(json.loads(self.say())["error"]["code"], "LIMIT")
        clients.pop().close()
        until("room again", self.room)

    def room(self):
        try:
            return self.a.ask("health")["ok"]
        except (AssertionError, ConnectionError):
            return False

    def test_too_many_requests(self):
        control = self.a.control()
        watches = [control.send("kv.watch") for _ in range(64)]
        control.send("health")
        self.assertEqual(control.answer()["error"]["code"], "LIMIT")
        control.send("cancel", id=watches[0])
        self.assertEqual(control.answer()["error"]["code"], "CANCELLED")
        control.answer()
        self.assertTrue(control.ask("health")[0]["ok"])

    def fill(self, count, size):
        value = "v" * size
        for at in range(0, count, 50):
            self.a.ask("kv.import", share="docs", entries=[
                {"key": f"k{n:06}", "value": value} for n in range(at, min(at + 50, count))])

    def test_slow_reader_of_a_list_costs_no_memory(self):
        self.fill(1000, 60000)
        before = self.a.daemon.memory()
        controls = [self.a.control() for _ in range(5)]
        for control in controls:
            control.send("kv.export")
        self.alive()  # others are answered meanwhile
        if not lab.sanitized():
            self.assertLess(self.a.daemon.memory() - before, 120 << 20)
        for control in controls:
            rows = 0
            while "row" in (answer := control.answer()):
                self.assertEqual(answer["row"]["key"], f"k{rows:06}")
                rows += 1
            self.assertEqual((rows, answer["result"]["count"]), (1000, 1000))

    def bytes_read(self):
        with open(f"/proc/{self.a.daemon.child.pid}/io", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("rchar:")).split()[1])

    def test_long_messages_wait_for_who_asks_for_them(self):
        for n in range(60):
            self.a.ask("broadcast", type="t", body=[n, "v" * 900000])
        before = self.bytes_read()
        self.assertEqual(self.a.ask("status")["waiting_messages"], 60)
        self.assertLess(self.bytes_read() - before, 4 << 20)  # none of them
        before = self.a.daemon.memory()
        control = self.a.control()
        control.send("outbox")
        self.alive()
        if not lab.sanitized():
            self.assertLess(self.a.daemon.memory() - before, 20 << 20)
        for n in range(60):
            self.assertEqual(control.answer()["row"]["body"][0], n)
        self.assertEqual(control.answer()["result"]["count"], 60)

    def test_slow_reader_of_a_watch_is_told(self):
        control = self.a.control()
        number = control.send("kv.watch")
        self.fill(1000, 60000)
        rows = 0
        while "row" in (answer := control.answer()):
            rows += 1
        self.assertEqual((answer["id"], answer["error"]["code"]), (number, "LIMIT"))
        self.assertLess(rows, 1000)
        self.assertTrue(control.ask("health")[0]["ok"])

    def test_client_that_never_reads(self):
        s = self.raw()
        s.settimeout(1)
        self.fill(50, 60000)
        try:
            for n in range(100000):
                s.sendall(b'{"id":%d,"cmd":"kv.list"}\n' % n)
        except TimeoutError:
            pass  # it is not read from any more
        else:
            self.fail("it was read from for ever")
        self.alive()

    def test_bytes_that_are_no_text(self):
        self.a.ask("kv.put", share="docs", key="k", value_b64="AAH/")
        self.assertEqual(self.a.ask("kv.get", share="docs", key="k")["value_b64"], "AAH/")

    @unittest.skipUnless(hasattr(os, "geteuid") and os.geteuid() == 0, "takes another user")
    def test_other_users_are_sent_away(self):
        # Nobody gets through the folder; who had it opened is stopped by the socket.
        child = os.fork()
        if child == 0:
            status = 9
            try:
                os.chmod(self.folder, 0o755)
                os.chmod(os.path.join(self.a.dir), 0o755)
                os.chmod(os.path.dirname(self.a.socket_path), 0o755)
                os.chmod(self.a.socket_path, 0o666)
                os.setgid(65534)
                os.setuid(65534)
                status = 0 if b'"PERMISSION"' in self.say() else 1
            finally:
                os._exit(status)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.alive()

    def test_client_that_resets(self):
        for _ in range(20):
            s = self.raw()
            s.sendall(b'{"id":1,"cmd":"kv.watch"}\n{"id":2,"cmd":"kv.list"')
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        self.alive()


if __name__ == "__main__":
    unittest.main(verbosity=2)
