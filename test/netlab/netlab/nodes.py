"""km-relay, km-dns and km-node in a lab: the processes of test/cmd/lab.py, in a host's namespace,
with a deadline for each wait and the time at which each event came."""
import contextlib
import functools
import json
import os
import queue
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../cmd"))
import lab as cmd  # noqa: E402  (test/cmd/lab.py)

from .clock import Late

READY_SECONDS = 30


class Program(cmd.Process):
    """A program at a host. `events` has all that it said on stdout so far, each with the time
    (time.monotonic) at which it came as "at"."""

    def __init__(self, host, program, *args):
        self.host, self.events = host, []
        command = host.command(os.path.join(cmd.BIN_DIR, program), *args)
        super().__init__(*command[1:], program=command[0])

    def _read_out(self):
        for line in self.child.stdout:
            self.lines.put((time.monotonic(), line.decode()))
        self.lines.put(None)

    def _read_err(self):
        for line in self.child.stderr:  # one by one: tests look at what it logs while it runs
            self.err.append(line.decode())

    def next_event(self, deadline):
        """The next event, None at the end of stdout; Late at that time (time.monotonic)."""
        try:
            item = self.lines.get(timeout=max(deadline - time.monotonic(), 0))
        except queue.Empty:
            raise Late(f"nothing more in time from {self.child.args}: {self.seen}"
                       f" {self.err}") from None
        if item is None:
            self.lines.put(None)
            return None
        self.seen.append(item[1])
        event = json.loads(item[1])
        event["at"] = item[0]
        self.events.append(event)
        return event

    def line(self):
        event = self.next_event(time.monotonic() + cmd.LIMIT)
        return None if event is None else self.seen[-1]

    def expect(self, name, seconds=READY_SECONDS, **members):
        """Reads on to the next event of that name with these members."""
        deadline = time.monotonic() + seconds
        while (event := self.next_event(deadline)) is not None:
            if event["event"] == name and members.items() <= event.items():
                return event
        self.child.wait()
        raise AssertionError(f"ended without {name}: {self.seen} {self.err}")

    def finish(self, seconds):
        """Reads all events to the end; its exit status."""
        deadline = time.monotonic() + seconds
        while self.next_event(deadline) is not None:
            pass
        try:
            return self.child.wait(max(deadline - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            raise Late(f"{self.child.args} does not end") from None

    def log(self):
        """All that it said, for people."""
        return "".join([" ".join(map(str, self.child.args)), "\n", *self.seen, *self.err])


class Node(Program):
    def __init__(self, host, *args):
        super().__init__(host, "km-node", *args)
        self.ready = self.id = None

    def become_ready(self):
        self.ready = self.expect("ready")
        self.id = self.ready["id"]

    def paths(self):
        """(at, kind, event) for the path at the start and each change of it."""
        return [(event["at"], event.get("kind") or event.get("path"), event)
                for event in self.events if event["event"] in ("connected", "path")]


CONFIG = """http_bind_addr = "[::]:{port}"
stun_bind_addr = "[::]:3478"
enable_metrics = false
"""


class Relay(Program):
    """A km-relay on plain HTTP. Its name is in the hosts file of every host."""

    def __init__(self, server, port=443, config=""):
        self.server, self.port = server, port
        path = f"/run/netlab/{server.name}.{port}.toml"
        with open(path, "w", encoding="ascii") as file:
            file.write(CONFIG.format(port=port) + config)
        super().__init__(server.ns, "km-relay", "--config", path, "--json")
        try:
            self.ready = self.expect("ready")
        except BaseException:
            self.end()
            raise
        self.url = f"http://{server.name}.test:{port}/"


DNS_CONFIG = """origins = ["{origin}"]
dns.bind = "[::]:{port}"
http.bind = "[::]:{http_port}"
metrics.bind = "127.0.0.1:9117"
[store]
path = "{store}"
"""


class DnsServer(Program):
    """A km-dns with plain HTTP. What it has on disk outlives it, until the lab ends."""

    def __init__(self, server, port=53, http_port=80, origin="dns.test", config=""):
        self.server, self.port, self.origin = server, port, origin
        store = f"/run/netlab/{server.name}.{port}.db"
        path = f"/run/netlab/{server.name}.{port}.dns.toml"
        with open(path, "w", encoding="ascii") as file:
            file.write(DNS_CONFIG.format(origin=origin, port=port, http_port=http_port,
                                         store=store) + config)
        super().__init__(server.ns, "km-dns", "--config", path, "--json")
        try:
            self.ready = self.expect("ready")
        except BaseException:
            self.end()
            raise
        self.pkarr = f"http://{server.name}.test:{http_port}/pkarr"
        self.dns = f"{server.v4}:{port}"

    def count(self, name):
        """A number of its metrics page."""
        with self.host.socket(kind=socket.SOCK_STREAM) as sock:
            sock.settimeout(READY_SECONDS)
            sock.connect(("127.0.0.1", 9117))
            sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            page = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        return sum(float(line.split()[1]) for line in page.splitlines()
                   if line.split(" ")[0].split("{")[0] == name)


@functools.lru_cache(maxsize=None)
def node_has(option, command="node2"):
    """Whether km-node knows an option, by what its help says."""
    done = subprocess.run([os.path.join(cmd.BIN_DIR, "km-node"), command, "--help"],
                          capture_output=True, text=True, check=False)
    return option in done.stdout


def missing_programs(*more):
    return [name for name in ("km-node", "km-relay", *more)
            if not os.access(os.path.join(cmd.BIN_DIR, name), os.X_OK)]


@contextlib.contextmanager
def ended(*programs):
    """They are over when the block is."""
    try:
        yield
    finally:
        for program in programs:
            program.end()
