"""A mesh of three honest nodes, and km-netlab-mesh-hostile, a peer at a host of its own that means
no good, driven command by command."""
import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import unittest

from netlab import Lab, until
from netlab.mesh_nodes import LIMIT, MeshNode
from netlab.nodes import Program, cmd

PROGRAM = "km-netlab-mesh-hostile"
SETTINGS = {"relay": "off", "publish": False, "heartbeat_sec": 1, "backoff": [1],
            "sync_interval_sec": 1, "default_mode": "rw"}
BROKEN, SILENT, CUT, REFUSED, REVOKED = 3, 4, 5, 1, 6  # codes of docs/protocol-mesh.md
MAX_FAULTS = 16
MIB = 1 << 20
PRIVATE = "  - name: private\n    default_mode: none\n"


class Node(MeshNode):
    """Has a share besides that no peer may see."""

    def write(self):
        super().write()
        with open(self.config_path, encoding="utf-8") as file:
            text = file.read()
        head, tail = text.split("    ignore_file:\n")
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(f"{head}    ignore_file:\n{PRIVATE}{tail}")

    def start(self):
        super().start()
        self.pid = self.ask("status")["pid"]
        return self

    def memory(self):
        """Bytes that it has now."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) * 1024

    def metric(self, name):
        """A number of the status page's /metrics, by its name with labels."""
        status, text = self.page("/metrics")
        assert status == 200, text
        return next(float(line.split(" ")[1]) for line in text.splitlines()
                    if line.startswith(f"{name} "))

    def faults(self, of):
        peer = self.peer(of)
        return peer["faults"] if peer else None


class Mallory(Program):
    """One key, or several: those with the numbers from `seed` on."""
    seeds = itertools.count(1000, 1000)

    def __init__(self, host, victim, seed=None):
        self.host, self.events = host, []
        self.name, self.seed = "mallory", next(self.seeds) if seed is None else seed
        words = host.command(os.path.join(cmd.BIN_DIR, PROGRAM), victim.id, victim.addr, self.seed)
        cmd.Process.__init__(self, *words[1:], program=words[0], stdin=subprocess.PIPE)
        self.expect("ready")
        self.id = self.id_of(0)

    def do(self, *words):
        self.child.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.child.stdin.flush()

    def do_often(self, times, *words):
        """Again and again; its heartbeats go on between."""
        for _ in range(times):
            self.do(*words)
            self.report()

    def id_of(self, index):
        self.do("id", index)
        return self.expect("id")["id"]

    def report(self):
        self.do("report")
        return self.expect("report")

    def greet(self, *shares):
        """HELLO; the ACK."""
        self.do("hello", *shares)
        return self.expect("control")["frame"]

    def come(self, *shares):
        """Connects, and is let in."""
        self.do("dial")
        self.expect("connected")
        ack = self.greet(*shares)
        assert ack["ok"], ack
        return ack

    def come_again(self, *shares):
        """The same with the same key, let in or not; the ACK."""
        self.do("redial")
        self.expect("connected")
        return self.greet(*shares)

    def is_alive(self):
        return self.report()["alive"] > 0

    def end(self):
        """It says goodbye; a fault of its own ends the test."""
        if self.child.stdin.closed:
            return
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        try:
            status = self.finish(LIMIT)
        finally:
            super().end()
        assert status == 0, self.log()


class MeshCase(unittest.TestCase):
    """A, B and C know each other; each test brings its own Mallory, whom A trusts."""
    settings = {}
    memory_may_grow = 64 * MIB
    numbers = itertools.count()

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="km-mesh-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.lab = Lab(servers=())
        cls.addClassCleanup(cls.lab.close)
        cls.segment = cls.lab.segment(v6=False)
        cls.nodes = cls.a, cls.b, cls.c = [
            Node(cls.lab, cls.segment.add_host(), cls.folder, f"host-{x}",
                 **{**SETTINGS, **cls.settings}) for x in "ABC"]
        cls.host = cls.segment.add_host()  # Mallory's
        for one, other in itertools.permutations(cls.nodes, 2):
            one.knows(other, other.addr)
        for node in cls.nodes:
            node.start()
        for one, other in itertools.combinations(cls.nodes, 2):
            one.wait_for(other)
            other.wait_for(one)
        cls.memory_before = cls.a.memory()
        cls.since = {node: cls.a.peer(node)["connected_since"] for node in (cls.b, cls.c)}

    def mallory(self, trusted=True, victim=None, **options):
        mallory = Mallory(self.host, victim or self.a, **options)
        self.addCleanup(self.a.wait_without, mallory)
        self.addCleanup(mallory.end)
        if trusted:
            self.a.ask("peer.trust", peer=mallory.id, name="mallory")
        return mallory

    def unique(self, what):
        return f"{what}/{next(self.numbers)}"

    def wait_faults(self, mallory, **counts):
        """Until A has counted so much of it; the faults."""
        try:
            return until(LIMIT, f"faults {counts}", lambda: (
                (faults := self.a.faults(mallory)) and counts.items() <= faults.items()
                and faults), 0.05)
        except AssertionError:
            print(self.a.peer(mallory), mallory.report(), flush=True)
            raise

    def marker(self, mallory):
        """An honest entry goes through, so that what was sent before it has been looked at."""
        key = self.unique("marker")
        mallory.do("entry", 1, "common", key, 1, 0, "own")
        for node in self.nodes:
            node.wait_value(key, "v")

    def wait_cut(self, mallory):
        """It is disconnected for its faults, and not let in again."""
        closed = mallory.expect("closed", LIMIT)
        self.assertEqual(closed["code"], CUT, closed)
        self.assertEqual(self.a.faults(mallory)["cut"], 1)
        ack = mallory.come_again("common")
        self.assertFalse(ack["ok"])
        self.assertIn("cut off", ack["reason"])
        self.assertEqual(mallory.expect("closed", LIMIT)["code"], REFUSED)
        self.assertFalse(self.a.peer(mallory)["connected"])

    def check_honest(self):
        """B and C noticed nothing: connected all the time, in sync, and not to blame."""
        self.assertTrue(self.a.ask("health")["ok"])
        for node in self.nodes:
            key = self.unique("honest")
            node.put(key, node.name)
            for other in self.nodes:
                other.wait_value(key, node.name)
        until(LIMIT, "all stores are the same", lambda: len({n.hash() for n in self.nodes}) == 1,
              0.05)
        for node in self.b, self.c:
            peer = self.a.peer(node)
            self.assertEqual((peer["connected"], peer["connected_since"]),
                             (True, self.since[node]), self.logs())
            self.assertEqual({kind: n for kind, n in peer["faults"].items()
                              if n and kind != "flooded"}, {})

    def logs(self):
        """The last that each of them logged, for people."""
        return "".join(line for node in self.nodes
                       for line in [f"\n{node.name}:\n", *node.daemon.err[-30:]])

    def check_memory(self):
        grown = self.a.memory() - self.memory_before
        print(f"{self.id().rsplit('.', 1)[1]}: the victim has {self.a.memory() // 1024} KiB, "
              f"{grown // 1024} more than at first", flush=True)
        if not cmd.sanitized():
            self.assertLess(grown, self.memory_may_grow)

    def check_well(self):
        self.check_honest()
        self.check_memory()
