"""docs/examples/mesh_node.c: two of them find each other by their tickets and stay in sync."""

import os
import queue
import subprocess
import tempfile
import threading
import time
import unittest

PATIENCE = 60
PROGRAM = os.path.join(os.environ["KM_BIN_DIR"], "mesh_node")
SOURCE = os.path.join(os.environ["KM_SOURCE_DIR"], "docs/examples/mesh_node.c")


class Node:
    """One that runs; its lines are read by a thread."""

    def __init__(self, folder, name, *tickets):
        paths = [os.path.join(folder, name + suffix) for suffix in (".key", ".db")]
        self.process = subprocess.Popen([PROGRAM, *paths, *tickets], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        self.seen = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def wait_for(self, words):
        """The first line that has the words, of all that came."""
        until = time.monotonic() + PATIENCE
        while True:
            found = [line for line in self.seen if words in line]
            if found:
                return found[0]
            try:
                self.seen.append(self.lines.get(timeout=max(0, until - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"no {words!r} in {self.seen}") from None

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ticket(self):
        return self.wait_for("ticket ").split()[1]

    def end(self):
        self.process.stdin.close()
        status = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return status


class MeshNode(unittest.TestCase):
    def test_two_stay_in_sync(self):
        with tempfile.TemporaryDirectory() as folder:
            first = Node(folder, "a")
            first.say("colour blue")
            ticket = first.ticket()
            first.wait_for("wrote colour = blue")
            self.assertEqual(first.end(), 0)
            b = Node(folder, "b", ticket)
            a = Node(folder, "a", b.ticket())  # the same key and store as before
            a.wait_for("connected")
            b.wait_for("connected")
            b.wait_for("got colour = blue")  # written while b was not there
            b.say("shape round")
            a.wait_for("got shape = round")
            a.say("! hello")
            b.wait_for('note "hello"')
            self.assertEqual(a.end(), 0)
            b.wait_for("goodbye")
            self.assertEqual(b.end(), 0)

    def test_bad_arguments_are_told(self):
        for arguments in ([], ["/nowhere/key"], ["/nowhere/key", "/nowhere/db"]):
            done = subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, text=True,
                                  capture_output=True, timeout=PATIENCE, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("mesh_node: ", done.stderr)

    def test_it_is_short(self):
        with open(SOURCE, encoding="utf-8") as source:
            self.assertLess(len(source.readlines()), 200)


if __name__ == "__main__":
    unittest.main()
