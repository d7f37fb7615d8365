"""A peer that is let in by a mesh node and does what no honest peer does, from a host of its own:
it is refused, counted, and disconnected when it goes on, and the others notice nothing of it."""
import json
import os
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from netlab import SKIP, enter, until  # noqa: E402
from netlab.mesh_nodes import LIMIT, Refused  # noqa: E402
from netlab.nodes import cmd, missing_programs  # noqa: E402

from mesh_mallory import BROKEN, MAX_FAULTS, MeshCase, PROGRAM  # noqa: E402

DAY_MS = 86_400_000
SYNC = 0x53
LENGTH_MAX = "ffffffff0f"  # the longest that a varint of 32 bits can say
BEAT = b'{"type":"HEARTBEAT","ts":1}'


def control_frame(body):
    return (len(body).to_bytes(4, "big") + body).hex()


class Asker:
    """Asks a node how it is, again and again, while something happens."""

    def __init__(self, node):
        self.node, self.over, self.answers, self.error = node, threading.Event(), 0, None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def _run(self):
        try:
            while not self.over.wait(0.02):
                assert self.node.ask("health")["ok"]
                self.answers += 1
        except BaseException as error:  # pylint: disable=broad-except
            self.error = error

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(2 * LIMIT)
        if self.error:
            raise self.error


class Lies(MeshCase):
    """What it pushes is not what it should be."""

    def test_entries_in_the_name_of_another(self):
        mallory = self.mallory()
        mallory.come("common")
        mallory.do("entry", 5, "common", "forged", 1, 0, self.c.id)
        self.wait_faults(mallory, forged=5, cut=0)
        self.marker(mallory)
        self.assertTrue(mallory.is_alive())
        mallory.do("entry", MAX_FAULTS - 5, "common", "more", 1, 0, self.c.id)
        self.wait_cut(mallory)
        self.assertEqual(self.a.faults(mallory)["forged"], MAX_FAULTS)
        self.assertEqual([key for node in self.nodes for key in node.entries()
                          if key.startswith(("forged", "more"))], [])
        self.shown_to_people(mallory)
        self.check_well()

    def shown_to_people(self, mallory):
        """`km-node peers`, `status`, and the status page's metrics."""
        done = self.a.run("peers", "--json")
        self.assertEqual(done.status, cmd.OK, done.err)
        peer, = [row for row in map(json.loads, done.out.splitlines()) if row["id"] == mallory.id]
        self.assertEqual((peer["connected"], peer["faults"]["forged"], peer["faults"]["cut"]),
                         (False, MAX_FAULTS, 1))
        self.assertTrue(peer["last_error"])
        print(f"cut off: {peer['last_error']}", flush=True)
        done = self.a.run("status", "--json")
        self.assertEqual(done.status, cmd.OK, done.err)
        self.assertEqual(json.loads(done.out.splitlines()[0])["connected"], 2)
        for kind, least in ("forged", MAX_FAULTS), ("cut", 1):
            self.assertGreaterEqual(self.a.metric(f'km_mesh_faults_total{{kind="{kind}"}}'), least)

    def test_entries_of_its_own_with_wrong_signatures(self):
        mallory = self.mallory()
        mallory.come("common")
        mallory.do("entry", 4, "common", "unsigned", 1, 0, "own", "spoilt")
        self.wait_faults(mallory, forged=4, cut=0)
        self.marker(mallory)
        until(LIMIT, "they are gone", lambda: not any(
            key.startswith("unsigned") for key in self.a.entries()))
        for node in self.b, self.c:
            self.assertEqual([key for key in node.entries() if key.startswith("unsigned")], [])
        self.assertTrue(mallory.is_alive())
        mallory.do("entry", MAX_FAULTS, "common", "unsigned", 1, 0, "own", "spoilt")
        self.wait_cut(mallory)
        self.check_well()

    def test_entries_of_others_again(self):
        """What C signed, later changed and deleted, does not come back."""
        mallory = self.mallory()
        mallory.come("common")
        self.marker(mallory)
        key = self.unique("replayed")
        for value in "old", "new":
            self.c.put(key, value)
            mallory.expect("recorded")
        self.a.wait_value(key, "new")
        mallory.do("replay", 50)
        self.marker(mallory)
        self.assertEqual({node.value(key) for node in self.nodes}, {"new"})
        self.c.ask("kv.delete", share="common", key=key)
        mallory.expect("recorded")
        mallory.do("replay", 50)
        self.marker(mallory)
        self.assertEqual({node.value(key) for node in self.nodes}, {None})
        peer = self.a.peer(mallory)
        self.assertEqual((peer["connected"], peer["entries_in"]), (True, 3))  # the markers
        self.assertEqual({kind for kind, n in peer["faults"].items() if n} - {"flooded"}, set())
        self.check_well()

    def test_entries_from_the_future(self):
        mallory = self.mallory()
        mallory.come("common")
        mallory.do("entry", 40, "common", "tomorrow", 1, DAY_MS, "own")
        self.wait_faults(mallory, future=40, cut=0)
        soon = self.unique("soon")
        mallory.do("entry", 1, "common", soon, 1, 20_000, "own")  # within the skew that may be
        for node in self.nodes:
            node.wait_value(soon, "v")
            self.assertEqual([key for key in node.entries() if key.startswith("tomorrow")], [])
        self.c.put(soon, "the last word")  # it is C's, which has seen that clock
        for node in self.nodes:
            node.wait_value(soon, "the last word")
        self.assertEqual(self.wait_faults(mallory, future=40)["cut"], 0)
        self.assertTrue(mallory.is_alive())
        self.check_well()

    def test_oversized_batches(self):
        mallory = self.mallory()
        mallory.come("common")
        mallory.do("entry", 20, "common", "large", 200_000, 0, "own")  # of other limits: no fault
        self.wait_faults(mallory, forbidden=20, malformed=0)
        self.marker(mallory)
        mallory.do("stream", "bidi", f"{SYNC:02x}{LENGTH_MAX}01")
        self.wait_faults(mallory, malformed=1)
        mallory.do("push", f"{LENGTH_MAX}01")
        self.wait_faults(mallory, malformed=2, cut=0)
        self.assertTrue(mallory.is_alive())
        self.assertEqual([key for key in self.a.entries() if key.startswith("large")], [])
        for n in range(3, MAX_FAULTS):  # another push stream, which there may not be
            until(LIMIT, "stopped", lambda k=n: mallory.report()["stops"] >= k - 1)
            mallory.do("push", f"{LENGTH_MAX}01")
            self.wait_faults(mallory, malformed=n, cut=0)
        mallory.do("stream", "bidi", f"{SYNC:02x}{LENGTH_MAX}01")
        self.wait_cut(mallory)
        self.check_well()

    def test_oversized_control_frames(self):
        mallory = self.mallory()
        mallory.come("common")
        for n in range(1, MAX_FAULTS):
            mallory.do("control", "ffffffff")
            self.assertEqual(mallory.expect("closed", LIMIT)["code"], BROKEN)
            self.wait_faults(mallory, malformed=n)
            self.assertTrue(mallory.come_again("common")["ok"])
        mallory.do("control", "ffffffff")
        self.wait_cut(mallory)
        self.check_well()


class Prying(MeshCase):
    """It asks for what it may not have, or without end."""

    def test_a_share_that_it_may_not_see(self):
        secret = "for-A-alone-" * 3
        mallory = self.mallory()
        mallory.do("secret", secret)
        for node in self.nodes:
            node.ask("kv.put", share="private", key="plans", value=f"{secret}{node.name}")
        ack = mallory.come("common", "private", "unheard-of")
        self.assertEqual(ack["capabilities"]["shares"], ["common"])
        answers = []
        for count, share in enumerate(("private", "unheard-of"), 1):
            mallory.do("sync", share)
            refused = mallory.expect("sync_refused", LIMIT)
            answers.append((refused["code"], refused["text"].replace(share, "...")))
            self.wait_faults(mallory, forbidden=count, cut=0)
        self.assertEqual(answers[0], answers[1])  # it does not even learn that there is one
        mallory.do("entry", 1, "private", "plans", 1, 0, "own")
        self.wait_faults(mallory, forbidden=3, cut=0)
        self.assertTrue(mallory.is_alive())
        self.marker(mallory)
        for count in range(4, MAX_FAULTS):
            mallory.do("sync", "private")
            mallory.expect("sync_refused", LIMIT)
            self.wait_faults(mallory, forbidden=count, cut=0)
        mallory.do("sync", "private")
        self.wait_cut(mallory)
        self.assertFalse(mallory.report()["saw_secret"])
        for node in self.nodes:
            row, = node.rows("kv.list", share="private")
            self.assertEqual(row["value"], f"{secret}{node.name}")
        self.check_well()

    def test_reconciliations_without_end(self):
        for n in range(100):
            self.a.put(f"item/{n}", "x")
        mallory = self.mallory()
        mallory.come("common")
        failed = self.a.ask("stats")["syncs_failed"]
        with Asker(self.a) as asker:
            mallory.do("endless", "common", 3)
            mallory.expect("endless_over", LIMIT)
        report = mallory.report()
        self.assertEqual((report["sessions"], report["refusals"], report["alive"]), (3, 3, 1))
        self.assertLessEqual(report["rounds"], 3 * 512)
        self.assertGreaterEqual(self.a.ask("stats")["syncs_failed"], failed + 3)
        self.wait_faults(mallory, malformed=3, cut=0)
        print(f"{report['rounds']} questions in 3 sessions, {asker.answers} answers of A beside "
              "them", flush=True)
        self.check_honest()
        mallory.do("endless", "common", MAX_FAULTS)
        self.wait_cut(mallory)
        self.check_well()


class Floods(MeshCase):
    """It sends what it may, and far too much of it."""

    def test_entries(self):
        mallory = self.mallory()
        mallory.come("common")
        with Asker(self.a) as asker:
            mallory.do_often(40, "entry", 500, "common", "flood/", 1000, 0, "own")
            until(LIMIT, "it is made to wait", lambda: self.a.faults(mallory)["flooded"])
            self.check_honest_values()
        report = mallory.report()
        self.assertEqual(report["alive"], 1)
        self.assertGreater(report["unsent"], 10 << 20)  # it is held back, not buffered
        self.assertEqual(self.a.faults(mallory)["cut"], 0)
        taken = self.a.peer(mallory)["entries_in"]
        print(f"{taken} of 20000 entries taken, {asker.answers} answers of A beside them",
              flush=True)
        self.assertLess(taken, 10_000)
        mallory.end()
        self.a.wait_without(mallory)
        self.check_well()

    def check_honest_values(self):
        """What B and C write gets through while it goes on."""
        for writer, reader in (self.b, self.a), (self.c, self.a), (self.a, self.b):
            key = self.unique("beside")
            writer.put(key, "honest")
            reader.wait_value(key, "honest")

    def test_questions(self):
        """Requests for statements, two thousand at once."""
        mallory = self.mallory()
        mallory.come("common")
        mallory.do("push", "0105", 2000)
        until(LIMIT, "it is made to wait", lambda: self.a.faults(mallory)["flooded"] >= 1000)
        self.check_honest_values()
        self.assertEqual(self.a.faults(mallory)["cut"], 0)
        mallory.end()
        self.check_well()

    def test_messages(self):
        """Each is signed, checked and stored alone."""
        mallory = self.mallory()
        mallory.come("common")
        with Asker(self.a) as asker:
            mallory.do_often(60, "message", 500)
            until(LIMIT, "it is made to wait", lambda: self.a.faults(mallory)["flooded"])
            self.check_honest_values()
        report, peer = mallory.report(), self.a.peer(mallory)
        self.assertEqual((report["alive"], peer["faults"]["cut"]), (1, 0))
        self.assertGreater(report["unsent"], 0)
        print(f"{peer['messages_in']} of 30000 messages taken, {asker.answers} answers of A beside "
              "them", flush=True)
        mallory.end()
        self.a.wait_without(mallory)
        self.check_well()

    def test_heartbeats(self):
        mallory = self.mallory()
        mallory.come("common")
        mallory.do("control", control_frame(BEAT), 1200)
        self.assertEqual(mallory.expect("closed", LIMIT)["code"], BROKEN)
        self.wait_faults(mallory, malformed=1)
        self.check_well()

    def test_streams(self):
        """Hundreds of no meaning: reset, and no fault, as they may mean something one day. Those
        that are to be a synchronization, and are none, are counted."""
        mallory = self.mallory()
        mallory.come("common")
        for kind in "uni", "bidi":
            mallory.do("stream", kind, "7f", 300)
        until(LIMIT, "they are reset", lambda: mallory.report()["stops"] >= 100, 0.05)
        self.marker(mallory)
        self.assertEqual(self.a.faults(mallory)["malformed"], 0)
        for n in range(1, MAX_FAULTS):
            mallory.do("stream", "bidi", f"{SYNC:02x}052a01020304")
            self.wait_faults(mallory, malformed=n, cut=0)
        mallory.do("stream", "bidi", f"{SYNC:02x}052a01020304")
        self.wait_cut(mallory)
        self.check_well()

    def test_junk(self):
        """Confirmations of nothing; it goes on, and is cut off."""
        mallory = self.mallory()
        mallory.come("common")
        mallory.do("push", "1103" + 16 * "00", MAX_FAULTS - 1)
        self.wait_faults(mallory, malformed=MAX_FAULTS - 1, cut=0)
        mallory.do("push", "1103" + 16 * "00")
        self.wait_cut(mallory)
        self.check_well()


if __name__ == "__main__":
    missing = missing_programs(PROGRAM)
    if missing:
        print(f"skipped: {missing}")
        sys.exit(SKIP)
    enter()
    unittest.main(verbosity=2)
