"""Starts km-node processes and reads what they say. $KM_BIN_DIR says where km-node is;
$KM_CMD_WRAPPER, a command such as valgrind, is put before it."""
import ctypes
import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
BIN_DIR = os.environ.get("KM_BIN_DIR", os.path.join(SOURCE, "build/dev/bin"))
BIN = os.path.join(BIN_DIR, "km-node")
WRAPPER = shlex.split(os.environ.get("KM_CMD_WRAPPER", ""))
# Nothing here is late because a machine is slow: these end a test that hangs.
LIMIT = 240 if WRAPPER else 90

# Numbers that are no error of the program but of those who use it.
OK, FAILED, USAGE, UNREACHABLE, WRONG_KEY, ALPN, LOST = range(7)


def sanitized():
    """True for a program whose memory says nothing: with a sanitizer, or under valgrind."""
    with open(BIN, "rb") as file:
        return bool(WRAPPER) or b"__asan_init" in file.read()


class Result:
    """A process that ended."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def events(self):
        return [json.loads(line) for line in self.out.split("\n") if line != ""]

    def event(self, name):
        """The only event of that name."""
        found = [e for e in self.events if e["event"] == name]
        assert len(found) == 1, f"{len(found)} {name} events in {self.out!r}"
        return found[0]


def environment(extra=None):
    env = {k: v for k, v in os.environ.items() if k not in ("KM_LOG", "NO_COLOR")}
    env.update(extra or {})
    return env


def off_the_network(args):
    """Nothing is to leave this machine: no mDNS, unless a test asks for it."""
    words = [str(arg) for arg in args]
    looks = {"node1", "node2", "why", "resolve", "discover", "publish"} & set(words[:1])
    help_only = "--help" in words or "--mdns" in words or "--no-discovery" in words
    return [words[0], "--mdns", "off", *words[1:]] if looks and not help_only else words


def run(*args, prefix=(), stdin=b"", env=None, **more):
    """Runs km-node to its end; its Result."""
    done = subprocess.run([*prefix, *WRAPPER, BIN, *off_the_network(args)], input=stdin,
                          capture_output=True, timeout=LIMIT, env=environment(env), **more)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


class Process:
    """A km-node that runs beside the test; its stdout comes line by line."""

    def __init__(self, *args, program=BIN, stdin=subprocess.DEVNULL,
                 stdout=subprocess.PIPE, **more):
        self.child = subprocess.Popen([*WRAPPER, program, *off_the_network(args)], stdin=stdin,
                                      stdout=stdout, stderr=subprocess.PIPE,
                                      env=environment(), **more)
        self.lines, self.seen, self.err = queue.Queue(), [], []
        self.readers = [threading.Thread(target=self._read_out, daemon=True),
                        threading.Thread(target=self._read_err, daemon=True)]
        for reader in self.readers:
            reader.start()

    def _read_out(self):
        for line in self.child.stdout or ():
            self.lines.put(line.decode())
        self.lines.put(None)

    def _read_err(self):
        self.err += [line.decode() for line in self.child.stderr]

    def line(self):
        """The next line of stdout; None at its end."""
        line = self.lines.get(timeout=LIMIT)
        if line is not None:
            self.seen.append(line)
        return line

    def event(self, name):
        """Reads on to the next event of that name."""
        while (line := self.line()) is not None:
            event = json.loads(line)
            if event["event"] == name:
                return event
        raise AssertionError(f"ended without {name}: {self.seen} {self.err}")

    def send(self, number):
        self.child.send_signal(number)

    def wait(self):
        """Waits for its end; a Result with all that it said."""
        status = self.child.wait(LIMIT)
        for reader in self.readers:
            reader.join(LIMIT)
        while self.line() is not None:
            pass
        return Result(status, "".join(self.seen), "".join(self.err))

    def stop(self, number=signal.SIGTERM):
        self.send(number)
        return self.wait()

    def memory(self):
        """The most memory it ever had, in bytes."""
        with open(f"/proc/{self.child.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024

    def end(self):
        """Leaves nothing behind, whatever state it is in."""
        if self.child.poll() is None:
            self.send(signal.SIGCONT)
            self.child.kill()
        self.child.wait()
        for reader in self.readers:
            reader.join(LIMIT)
        if self.child.stdout is not None:
            self.child.stdout.close()
        self.child.stderr.close()


class Server(Process):
    """A km-node that accepts, and is ready: `ticket`, `id` and `addr` are there."""

    def __init__(self, *args, command=("node1",), bind="127.0.0.1:0"):
        super().__init__(*command, "--bind", bind, "--json", *args)
        try:
            self.ready = self.event("ready")
        except BaseException:
            self.end()
            raise
        self.ticket, self.id, self.addr = (self.ready["ticket"], self.ready["id"],
                                           self.ready["direct"][0])


class Case(unittest.TestCase):
    """A test with a folder of its own."""
    maxDiff = None

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="km-cmd-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def file(self, name, content=b"", mode=0o600):
        path = self.path(name)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
        return path

    def start(self, cls, *args, **more):
        """A Process or Server that ends with the test."""
        process = cls(*args, **more)
        self.addCleanup(process.end)
        return process

    def check_sentence(self, result, status, *words):
        """Ended with `status` and a sentence on stderr that has these words; no crash."""
        self.assertEqual(result.status, status, result.out + result.err)
        self.assertTrue(result.err.startswith("error: "), result.err)
        self.assertGreater(len(result.err.splitlines()[0]), len("error: ") + 8, result.err)
        for word in words:
            self.assertIn(word, result.err)
        self.assertNotIn("Sanitizer", result.err)
        # A terminal or a log never gets what a person typed or a peer sent uncleaned.
        self.assertTrue(all(c >= " " or c == "\n" for c in result.err), repr(result.err))

    def check_event(self, event, name, /, **members):
        """Exactly these members: each a type, a value, or a function that says yes."""
        self.assertEqual(event.get("event"), name, event)
        self.assertEqual(set(event), {"event", *members}, event)
        for member, wanted in members.items():
            value = event[member]
            if isinstance(wanted, type):
                self.assertIs(type(value), wanted, f"{member} of {event}")
            elif callable(wanted):
                self.assertTrue(wanted(value), f"{member} of {event}")
            else:
                self.assertEqual(value, wanted, f"{member} of {event}")


def can(*command):
    """True when this machine lets us do that."""
    return shutil.which(command[0]) is not None and subprocess.run(
        command, capture_output=True, check=False).returncode == 0


CLONE_NEWNET = 0x40000000


def own_ports():
    """For who looks whether ports are free: a network of its own, where root may have one."""
    if (sys.platform.startswith("linux") and can("ip", "-Version")
            and ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def main():
    unittest.main(verbosity=2)
