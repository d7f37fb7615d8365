"""A mesh node whose disk is full, and one whose database is damaged: it says so, and keeps what is
good."""
import os
import shutil
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from netlab import SKIP, Lab, enter, until  # noqa: E402
from netlab.mesh_nodes import LIMIT, MeshNode, Refused  # noqa: E402
from netlab.nodes import cmd, missing_programs  # noqa: E402
from netlab.sandbox import MS_BIND, mount, umount  # noqa: E402

SETTINGS = {"relay": "off", "publish": False, "heartbeat_sec": 1, "backoff": [1],
            "sync_interval_sec": 1, "rate_per_second": 0}


class StoreCase(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="km-mesh-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.lab = Lab(servers=())
        self.segment = self.lab.segment(v6=False)

    def node(self, name):
        return MeshNode(self.lab, self.segment.add_host(), self.folder, name, **SETTINGS)

    def check_sentence(self, result, *words):
        self.assertEqual(result.status, cmd.FAILED, result.out + result.err)
        for word in words:
            self.assertIn(word, result.out + result.err)


class Full(StoreCase):
    """The folder of its data is a disk of its own, of one megabyte."""

    def setUp(self):
        super().setUp()
        self.a, self.b = self.node("host-A"), self.node("host-B")
        self.a.knows(self.b, self.b.addr)
        self.b.knows(self.a, self.a.addr)
        self.disk = os.path.join(self.a.dir, "data")
        mount("tmpfs", self.disk, "tmpfs")
        self.addCleanup(umount, self.disk)
        self.addCleanup(self.lab.close)  # first
        os.chmod(self.disk, 0o700)
        self.ballast = os.path.join(self.disk, "ballast")

    def resize(self, kilobytes):
        status = os.spawnlp(os.P_WAIT, "mount", "mount", "-o", f"remount,size={kilobytes}k",
                            self.disk)
        self.assertEqual(status, 0)

    def fill(self, leave=0):
        """Nothing more goes onto the disk, but for so many bytes."""
        with open(self.ballast, "ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        size = os.path.getsize(self.ballast)
        os.truncate(self.ballast, max(size - leave, 0))

    def put_until_full(self):
        """What was acknowledged before the first refusal."""
        acknowledged = {}
        for number in range(1000):
            key, value = f"k{number}", f"{number}" * 3000
            done = self.a.run("kv", "put", "common", key, value)
            if done.status != cmd.OK:
                self.check_sentence(done, "error: ", "the disk is full", "store.db")
                return acknowledged
            acknowledged[key] = value
        self.fail("it never was full")

    def check_there(self, node, values):
        for key, value in values.items():
            self.assertEqual(node.value(key), value, key)

    def test_puts_are_refused_and_the_node_lives(self):
        self.resize(1024)
        self.a.start()
        self.fill(300_000)
        acknowledged = self.put_until_full()
        self.assertGreater(len(acknowledged), 3)
        print(f"full after {len(acknowledged)} puts", flush=True)
        self.fill()
        for _ in range(3):
            with self.assertRaises(Refused) as caught:
                self.a.put("more", "x" * 5000)
            self.assertEqual(caught.exception.code, "NO_SPACE", caught.exception.text)
        with self.assertRaises(Refused) as caught:
            self.a.ask("kv.import", share="common", entries=[
                {"key": f"batch{n}", "value": "x" * 1000} for n in range(50)])
        self.assertEqual(caught.exception.code, "NO_SPACE", caught.exception.text)
        self.assertTrue(self.a.ask("health")["ok"])
        self.check_there(self.a, acknowledged)
        self.assertEqual(set(self.a.entries()), set(acknowledged))

        os.unlink(self.ballast)
        self.a.put("after", "there is room")
        acknowledged["after"] = "there is room"
        self.check_there(self.a, acknowledged)
        self.assertEqual(self.a.stop(), cmd.OK)
        self.assertEqual(self.a.run("check").status, cmd.OK)
        self.a.start()
        self.check_there(self.a, acknowledged)

    def test_what_others_wrote_comes_when_there_is_room(self):
        self.resize(1024)
        self.a.start()
        self.b.start()
        self.a.wait_for(self.b)
        self.b.put("before", "both")
        self.a.wait_value("before", "both")
        self.fill()
        values = {f"b{n}": f"{n}" * 4000 for n in range(20)}
        for key, value in values.items():
            self.b.put(key, value)
        failed = self.a.ask("stats")["syncs_failed"]
        until(LIMIT, "syncs that fail", lambda: self.a.ask("stats")["syncs_failed"] >= failed + 2,
              0.05)
        self.assertEqual(self.a.value("before"), "both")
        self.assertLess(len(self.a.entries()), len(values) + 1)
        until(LIMIT, "connected", lambda: self.a.connected(self.b))
        for one, other in (self.a, self.b), (self.b, self.a):
            faults = one.peer(other)["faults"]
            self.assertEqual([faults[name] for name in ("malformed", "forged", "cut")], [0, 0, 0])

        os.unlink(self.ballast)
        until(LIMIT, "the same", lambda: self.a.hash() == self.b.hash(), 0.05)
        self.check_there(self.a, values)

    def test_killed_while_it_was_full(self):
        """Nothing that was acknowledged is lost, when there is room again."""
        self.resize(1024)
        self.a.start()
        self.fill(300_000)
        acknowledged = self.put_until_full()
        self.fill()
        self.a.kill()
        done = self.a.begin()
        try:
            done.expect("ready", LIMIT)
            self.check_there(self.a, acknowledged)
            self.a.kill()
        except AssertionError:  # it may say that it cannot
            self.assertEqual(done.child.poll(), cmd.FAILED, done.log())
            self.assertIn("the disk is full", done.log())
        os.unlink(self.ballast)
        self.a.start()
        self.check_there(self.a, acknowledged)
        self.assertEqual(self.a.stop(), cmd.OK)
        self.assertEqual(self.a.run("check").status, cmd.OK)

    def test_started_when_it_was_full(self):
        """Reads go on, puts are refused, and its memory of addresses stops nothing."""
        self.resize(1024)
        self.a.start()
        self.b.start()
        self.a.wait_for(self.b)
        self.a.put("before", "x" * 1000)
        self.assertEqual(self.a.stop(), cmd.OK)
        self.fill()
        for _ in range(2):
            daemon = self.a.begin()
            daemon.expect("ready", LIMIT)
            self.assertEqual(self.a.value("before"), "x" * 1000)
            with self.assertRaises(Refused) as caught:
                self.a.put("more", "y" * 5000)
            self.assertEqual(caught.exception.code, "NO_SPACE", caught.exception.text)
            self.a.wait_for(self.b)
            self.assertEqual(self.a.stop(), cmd.OK)
        os.unlink(self.ballast)
        self.a.start()
        self.a.put("after", "there is room")
        self.b.wait_value("after", "there is room")
        self.assertEqual(self.a.stop(), cmd.OK)
        self.assertEqual(self.a.run("check").status, cmd.OK)


class Cache(StoreCase):
    """What is remembered of addresses cannot be read, or not be written."""

    def starts_without(self, why):
        self.addCleanup(self.lab.close)
        daemon = self.a.begin()
        daemon.expect("ready", LIMIT)
        self.a.put("k", "v")
        self.assertEqual(self.a.value("k"), "v")
        self.assertEqual(self.a.stop(), cmd.OK)
        warned = [line for line in daemon.log().splitlines() if "cache-unusable" in line]
        self.assertEqual(len(warned), 1, daemon.log())
        self.assertIn(self.cache, warned[0])
        self.assertIn(why, warned[0])

    def setUp(self):
        super().setUp()
        self.a = self.node("host-A")
        self.cache = os.path.join(self.a.dir, "data", "discovery.db")

    def test_it_is_damaged(self):
        for content in (b"this is no database" * 1000, bytes(4096)):
            with open(self.cache, "wb") as file:
                file.write(content)
            self.starts_without("damaged")
            with open(self.cache, "rb") as file:
                self.assertEqual(file.read(), content)  # as it was

    def test_it_cannot_be_written(self):
        self.a.start()
        self.assertEqual(self.a.stop(), cmd.OK)
        mount(self.cache, self.cache, None, MS_BIND)
        self.addCleanup(umount, self.cache)
        status = os.spawnlp(os.P_WAIT, "mount", "mount", "-o", "remount,bind,ro", self.cache)
        self.assertEqual(status, 0)
        self.starts_without("cannot be written")


class Damaged(StoreCase):
    """The database was damaged while the node was down."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.lab.close)
        self.a = self.node("host-A")
        self.a.start()
        self.a.ask("kv.import", share="common", entries=[
            {"key": f"k{n}", "value": f"{n}" * 1000} for n in range(200)])
        self.assertEqual(self.a.stop(), cmd.OK)
        with open(self.a.store_path, "rb") as file:
            self.whole = file.read()
        self.assertGreater(len(self.whole), 200_000)

    def content(self):
        with open(self.a.store_path, "rb") as file:
            return file.read()

    def damage(self, content):
        self.assertNotEqual(content, self.whole)
        with open(self.a.store_path, "wb") as file:
            file.write(content)

    def is_refused(self, content):
        """`check`, `run` and the commands say so, and the file stays as it was."""
        self.damage(content)
        self.check_sentence(self.a.run("check"), "store.db")
        self.check_sentence(self.a.run("run"), "error: ", "store.db", "damaged")
        self.check_sentence(self.a.run("kv", "put", "common", "k", "v"), "error: ", "store.db")
        self.assertEqual(self.content(), content)

    def is_found(self, content):
        """`check` finds it, which reads all."""
        self.damage(content)
        checked = self.a.run("check")
        self.check_sentence(checked, "store.db", "damaged", "backup")
        print(next(line for line in checked.out.splitlines() if "damaged" in line), flush=True)
        self.assertEqual(self.content(), content)

    def test_it_is_no_database(self):
        self.is_refused(b"this is no database" * 1000)

    def test_its_beginning_is_lost(self):
        self.is_refused(bytes(4096) + self.whole[4096:])

    def test_its_end_is_lost(self):
        self.is_refused(self.whole[:len(self.whole) // 2 // 4096 * 4096])

    def test_a_value_was_changed(self):
        at = self.whole.index(b"100" * 300) + 300
        self.is_found(self.whole[:at] + b"999" + self.whole[at + 3:])
        self.check_sentence(self.a.run("kv", "verify", "common"), "k100")

    def test_pages_were_overwritten(self):
        at = len(self.whole) // 2 // 4096 * 4096
        self.is_found(self.whole[:at] + os.urandom(8192) + self.whole[at + 8192:])
        self.check_sentence(self.a.run("kv", "export", "common"), "error: ", "store.db", "damaged")

    def test_what_was_kept_aside_works_again(self):
        self.damage(bytes(4096) + self.whole[4096:])
        self.check_sentence(self.a.run("run"), "damaged")
        self.damage_undone()
        self.a.start()
        self.assertEqual(self.a.value("k7"), "7" * 1000)

    def damage_undone(self):
        with open(self.a.store_path, "wb") as file:
            file.write(self.whole)


if __name__ == "__main__":
    if missing_programs():
        print(f"skipped: {missing_programs()}")
        sys.exit(SKIP)
    enter()
    unittest.main(verbosity=2)
