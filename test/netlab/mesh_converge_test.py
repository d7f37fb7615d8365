"""Stores converge whatever happens: partitions, restarts and kill -9 at random moments, while all
nodes write. The same again with $KM_SEED; $KM_CHAOS_SECONDS and $KM_NODES make it longer and
larger."""
import collections
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from netlab import SKIP, Lab, enter, until  # noqa: E402
from netlab.mesh_nodes import LIMIT, MeshNode, Refused  # noqa: E402
from netlab.nodes import cmd, missing_programs  # noqa: E402

SECONDS = float(os.environ.get("KM_CHAOS_SECONDS", "25"))
KEYS = 40  # few: writers meet
NO_LIMITS = {"rate_per_minute": 0, "rate_per_second": 0}

# A write: who made it, what it was to leave (None: a deletion), and (clock, author) once it was
# acknowledged.
Write = collections.namedtuple("Write", "author value stamp")


def edges(rand, count):
    """A ring, and chords: each knows two or three others."""
    found = {tuple(sorted((i, (i + 1) % count))) for i in range(count)}
    degree = [2] * count
    for _ in range(count // 3):
        i, j = sorted(rand.sample(range(count), 2))
        if (i, j) not in found and max(degree[i], degree[j]) < 3:
            found.add((i, j))
            degree[i] += 1
            degree[j] += 1
    return sorted(found)


class Writer(threading.Thread):
    """Writes at one node as long as it may, and notes what was acknowledged."""

    def __init__(self, node, seed):
        super().__init__(daemon=True)
        self.node, self.rand, self.over = node, random.Random(seed), threading.Event()
        self.writes = collections.defaultdict(list)  # by key
        self.batches = []  # (keys and values, acknowledged)
        self.count, self.lost, self.error = 0, 0, None

    def run(self):
        control = None
        try:
            while not self.over.is_set():
                try:
                    control = control or self.node.control()
                    self.write(control)
                except OSError:
                    control = self.close(control)  # it is down
                self.over.wait(self.rand.choice((0, 0.002, 0.03, 0.1)))
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error
        finally:
            self.close(control)

    @staticmethod
    def close(control):
        """None, for what it was."""
        if control:
            control.close()

    def ask(self, control, command, **args):
        """Like Control.ask; OSError when the node ends before it answers."""
        number = control.send(command, share="common", **args)
        answer = control.answer()
        if answer is None:
            raise ConnectionError
        assert answer["id"] == number, answer
        if not answer["ok"]:
            raise Refused(answer["error"])
        return answer["result"]

    def write(self, control):
        self.count += 1
        if self.rand.random() < 0.05:
            self.write_batch(control)
            return
        key = f"key{self.rand.randrange(KEYS)}"
        deletes = self.rand.random() < 0.15
        value = None if deletes else f"{self.node.name} {self.count} " + "." * self.rand.choice(
            (0, 30, 3000))
        stamp = None
        try:
            if deletes:
                done = self.ask(control, "kv.delete", key=key)
            else:
                done = self.ask(control, "kv.put", key=key, value=value)
            stamp = int(done["clock"]), self.node.id
        except Refused as refused:
            assert deletes and refused.code == "NOT_FOUND", refused
            return
        finally:
            if stamp is None:
                self.lost += 1
            self.writes[key].append(Write(self.node.id, value, stamp))

    def write_batch(self, control):
        batch = {f"{self.node.name}/{self.count}/{n}": f"{n}" for n in range(20)}
        done = None
        try:
            done = self.ask(control, "kv.import", entries=[
                {"key": key, "value": value} for key, value in batch.items()])
            assert done["put"] == len(batch), done
        finally:
            self.batches.append((batch, done is not None))

    def finish(self):
        self.over.set()
        self.join(LIMIT)
        if self.error:
            raise self.error


class Weather:
    """What happens to nodes and cables."""

    def __init__(self, case, nodes, rand):
        self.case, self.nodes, self.rand, self.blocks = case, nodes, rand, []
        self.down = {}  # node -> when it comes back
        self.told = collections.Counter()

    def part(self, ones, others):
        """Nobody of these hears anybody of those."""
        for one in ones:
            self.blocks.append(one.host.block(*(f"ip {end} {other.host.v4}" for other in others
                                                for end in ("saddr", "daddr"))))

    def split(self):
        nodes = self.rand.sample(self.nodes, len(self.nodes))
        half = self.rand.randrange(1, len(nodes))
        self.part(nodes[:half], nodes[half:])

    def cut_pair(self):
        one, other = self.rand.sample(self.nodes, 2)
        self.part([one], [other])

    def heal(self):
        for block in self.blocks:
            block.lift()
        self.blocks = []

    def end(self, node, how):
        """The node goes: by a signal, and it may be starting just now."""
        self.case.assertIsNone(node.daemon.child.poll(), f"{node.name} ended by itself: "
                               f"{node.daemon.log()}")
        if how == "kill" or not node.is_ready:
            node.kill()
        else:
            self.case.assertEqual(node.stop(), cmd.OK)
        self.down[node] = time.monotonic() + self.rand.choice((0, 0.1, 1, 3))

    def begin(self, node):
        node.begin()
        node.is_ready = False
        del self.down[node]

    def look(self):
        """Starts those whose time has come, and hears what the others say."""
        for node, when in list(self.down.items()):
            if time.monotonic() >= when:
                self.begin(node)
        for node in self.nodes:
            if node not in self.down and not node.daemon.lines.empty():
                event = node.daemon.next_event(time.monotonic() + 1)
                if event is None:
                    status = node.daemon.child.wait(LIMIT)
                    self.case.fail(f"{node.name} ended by itself, with {status}: "
                                   f"{node.daemon.log()}")
                node.is_ready = node.is_ready or event["event"] == "ready"

    def happen(self):
        what = self.rand.choices(("kill", "stop", "cut pair", "split", "heal"), (4, 1, 2, 2, 3))[0]
        up = [node for node in self.nodes if node not in self.down]
        if what in ("kill", "stop"):
            if not up:
                return
            self.end(self.rand.choice(up), what)
        else:
            {"cut pair": self.cut_pair, "split": self.split, "heal": self.heal}[what]()
        self.told[what] += 1

    def rage(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.happen()
            calm = time.monotonic() + self.rand.uniform(0.05, 1)
            while time.monotonic() < calm:
                self.look()
                time.sleep(0.01)

    def clear(self):
        """All is well again, all are up."""
        self.heal()
        for node in list(self.down):
            self.begin(node)
        for node in self.nodes:
            if not node.is_ready:
                node.daemon.expect("ready")
                node.is_ready = True


class Converge(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="km-mesh-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.lab = Lab(servers=())
        self.addCleanup(self.lab.close)
        self.seed = int(os.environ.get("KM_SEED", random.SystemRandom().randrange(1 << 32)))
        self.rand = random.Random(self.seed)
        print(f"KM_SEED={self.seed}", flush=True)

    def mesh(self, count, links, **settings):
        segment = self.lab.segment(v6=False)
        self.nodes = [MeshNode(self.lab, segment.add_host(), self.folder, f"n{i}", relay="off",
                               publish=False, heartbeat_sec=1, backoff=[1, 2], default_mode="rw",
                               connect_timeout_ms=2000, sync_interval_sec=2,
                               durability=self.rand.choice(("power", "process")), **settings)
                      for i in range(count)]
        for i, j in links:
            self.nodes[i].knows(self.nodes[j], self.nodes[j].addr)
            self.nodes[j].knows(self.nodes[i], self.nodes[i].addr)
        for node in self.nodes:
            node.start()
            node.is_ready = True

    def converged(self):
        return len({node.hash() for node in self.nodes}) == 1

    def wait_converged(self):
        begin = time.monotonic()
        try:
            until(LIMIT, "all stores are the same", self.converged, 0.1)
        except AssertionError:
            for node in self.nodes:
                print(node.name, node.hash(), len(node.entries()), [
                    (p["name"], p["state"], p["last_error"], p["syncing"], p["faults"])
                    for p in node.ask("peers")["peers"]], flush=True)
            raise
        return time.monotonic() - begin

    # --- what has to be true in the end ------------------------------------------------------

    def check_key(self, key, writes, entry):
        """What is there was written there, and nothing that was acknowledged is later."""
        acknowledged = [write for write in writes if write.stamp]
        if entry is None:
            self.assertEqual(acknowledged, [], f"{key}: lost")
            return
        value, stamp = entry.get("value"), (int(entry["clock"]), entry["author"])
        last = max(acknowledged, key=lambda write: write.stamp, default=None)
        if last and stamp <= last.stamp:
            self.assertEqual((stamp, value), (last.stamp, last.value), f"{key}: lost {last}")
        else:  # its writer heard nothing of it before the node ended
            self.assertIn(Write(entry["author"], value, None), writes, key)

    def check_batch(self, batch, acknowledged, entries):
        """All of it or nothing."""
        there = {key: entries[key]["value"] for key in batch if key in entries}
        if acknowledged or there:
            self.assertEqual(there, batch, f"acknowledged: {acknowledged}")

    def check_all(self, writers):
        entries, writes = self.nodes[0].entries(), collections.defaultdict(list)
        for writer in writers:
            for key, some in writer.writes.items():
                writes[key] += some
            for batch, acknowledged in writer.batches:
                self.check_batch(batch, acknowledged, entries)
        for key, some in writes.items():
            self.check_key(key, some, entries.get(key))
        batches = {key for writer in writers for batch, _ in writer.batches for key in batch}
        self.assertLessEqual(set(entries), set(writes) | batches)

    def check_nodes(self):
        for node in self.nodes:
            self.assertEqual(node.ask("kv.verify", share="common")["checked"],
                             len(node.entries()))
            for peer in node.ask("peers")["peers"]:
                faults = {name: n for name, n in peer["faults"].items() if n and name != "flooded"}
                self.assertEqual(faults, {}, f"{node.name} of {peer['name']}")
        for node in self.nodes:
            self.assertEqual(node.stop(), cmd.OK)
            checked = node.run("check")
            self.assertEqual(checked.status, cmd.OK, checked.out + checked.err)

    def test_in_any_weather(self):
        count = int(os.environ.get("KM_NODES", self.rand.randint(3, 6)))
        links = edges(self.rand, count)
        self.mesh(count, links, **self.rand.choice(({}, NO_LIMITS)))
        writers = [Writer(node, self.rand.random()) for node in self.nodes]
        for writer in writers:
            writer.start()
        weather = Weather(self, self.nodes, self.rand)
        try:
            weather.rage(SECONDS)
        finally:
            for writer in writers:
                writer.finish()
        weather.clear()
        took = self.wait_converged()
        writes = [write for writer in writers for some in writer.writes.values()
                  for write in some]
        known = sum(write.stamp is not None for write in writes)
        limits = "limits" if self.nodes[0].settings.get("rate_per_second") is None else "no limits"
        print(f"{count} nodes, {len(links)} links, {limits}, {dict(weather.told)}: {known} writes "
              f"acknowledged, {len(writes) - known} not, "
              f"{sum(len(writer.batches) for writer in writers)} batches; "
              f"the same {took:.1f} s after the end", flush=True)
        self.assertGreater(known, 100)
        self.check_all(writers)
        self.check_nodes()

    def test_a_burst_within_honest_limits(self):
        """With the limits of a new project: who writes much is made to wait, and not cut off."""
        self.mesh(3, [(0, 1), (1, 2)])
        for node, other in (0, 1), (1, 2):
            self.nodes[node].wait_for(self.nodes[other])
        control = self.nodes[0].control()
        for n in range(1500):
            control.ask("kv.put", share="common", key=f"k{n}", value=str(n))
        control.close()
        took = self.wait_converged()
        print(f"1500 puts at once: the same {took:.1f} s after the last", flush=True)
        self.assertEqual(len(self.nodes[2].entries()), 1500)
        self.check_nodes()


if __name__ == "__main__":
    if missing_programs():
        print(f"skipped: {missing_programs()}")
        sys.exit(SKIP)
    enter()
    unittest.main(verbosity=2)
