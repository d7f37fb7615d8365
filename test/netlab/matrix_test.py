"""What the matrix makes of what two nodes say, with nodes that are real; and its own words."""
import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from netlab import KINDS, SKIP, Lab, Traits, enter, expected, kind_of, matrix  # noqa: E402
from netlab.nodes import missing_programs  # noqa: E402
from netlab.traits import Translation  # noqa: E402

MATRIX = os.path.join(HERE, "matrix")


def run(*words):
    return subprocess.run([sys.executable, "-B", MATRIX, *words], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)


def traits(mapping, filtering, **more):
    return Traits(Translation(mapping, filtering), **more)


class Expectation(unittest.TestCase):
    def check(self, a, b, wanted):
        a, b = (kind_of(one).traits if isinstance(one, str) else one for one in (a, b))
        self.assertEqual(expected(a, b), wanted)
        self.assertEqual(expected(b, a), wanted)

    def test_issue(self):
        """What the product promises, pair by pair."""
        for a, b, wanted in (("PR", "PR", "direct"), ("SYM", "none", "direct"),
                             ("SYM", "FC", "direct"), ("SYM", "AR", "direct"),
                             ("SYM", "PR", "counted"), ("SYM", "SYM", "relay"),
                             ("CGN", "CGN", "direct"), ("CT", "PR", "direct"),
                             ("V6", "PR", "relay"), ("V6", "V6", "direct"), ("V6", "DS", "direct"),
                             ("V6", "none", "direct"), ("N64", "PR", "direct"),
                             ("N64", "V6", "relay"), ("NOUDP", "none", "relay"),
                             ("TCP443", "none", "relay"), ("CGN", "SYM", "counted"),
                             ("LNXO", "AR", "direct"), ("LNXO", "PR", "counted"),
                             ("LNXO", "SYM", "counted"), ("LNXO", "LNXO", "counted")):
            with self.subTest(a=a, b=b):
                self.check(a, b, wanted)

    def test_a_mapping_that_depends_on_the_address_moves_too(self):
        self.check(traits("ADM", "ADF"), "PR", "counted")
        self.check(traits("ADM", "ADF"), "AR", "direct")
        self.check(traits("ADM", "ADF"), "SYM", "relay")

    def test_the_better_family_counts(self):
        both = Traits(Translation("APDM", "APDF"), Translation("none", "APDF"))
        self.check(both, both, "direct")
        self.check(both, "SYM", "relay")

    def test_layers(self):
        home, carrier = Translation("EIM", "APDF"), Translation("APDM", "EIF", True)
        self.assertEqual(home.behind(carrier), Translation("APDM", "APDF", True))
        self.assertEqual(kind_of("cgnat").traits.v4, Translation("EIM", "APDF"))


class Cells(unittest.TestCase):
    def cell(self, wanted, *results):
        return matrix.Cell("a", "b", wanted, [matrix.Run(result, 100.0 * (i + 1) if
                                                         result == "direct" else None)
                                              for i, result in enumerate(results)])

    def test_worse_and_better(self):
        for wanted, results, text, worse in (
                ("direct", ["direct"], "d 100", False), ("direct", ["relay"], "relay!", True),
                ("direct", ["half"], "half!", True), ("relay", ["relay"], "relay", False),
                ("relay", ["direct"], "d 100+", False), ("relay", ["failed"], "failed!", True),
                ("counted", ["relay"], "0/1", False), ("counted", ["failed"], "0/1!", True),
                ("counted", ["direct", "relay", "direct"], "2/3 d200", False),
                ("direct", ["direct", "relay"], "1/2 d100!", True),
                ("direct", ["direct", "direct"], "d 150", False)):
            with self.subTest(wanted=wanted, results=results):
                cell = self.cell(wanted, *results)
                self.assertEqual((cell.text(), cell.is_worse), (text, worse))

    def test_table(self):
        kinds = [kind_of("PR"), kind_of("SYM")]
        cells = [matrix.Cell(a.name, b.name, "relay", [matrix.Run("relay")])
                 for a in kinds for b in kinds]
        cells[1].runs = [matrix.Run("direct", 7.0)]
        self.assertEqual(matrix.table(cells, kinds).splitlines(), [
            "A \\ B            PR     SYM",
            "port_restricted  relay  d 7+",
            "symmetric        relay  relay"])


class Command(unittest.TestCase):
    def test_the_kinds(self):
        done = run("--list")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual([line.split()[0] for line in done.stdout.splitlines()], list(KINDS))

    def test_bad_words(self):
        for words, word in ((["--nat", "PR,FROG"], "'FROG'"), (["--repeat", "PR", "3"], "PR,PR"),
                            (["--repeat", "PR,PR", "many"], "many"),
                            (["--bin-dir", "/nonexistent"], "km-node")):
            with self.subTest(words=words):
                done = run(*words)
                self.assertEqual((done.returncode, done.stdout), (2, ""))
                self.assertIn(word, done.stderr)
                self.assertNotIn("Traceback", done.stderr)

    @unittest.skipIf(missing_programs(), "km-node is not built")
    def test_a_small_one(self):
        done = run("--nat", "none,NOUDP", "--json")
        if done.returncode == SKIP:
            self.skipTest(done.stderr)
        found = json.loads(done.stdout)
        self.assertEqual([cell["result"] for cell in found["cells"]],
                         ["direct", "relay", "relay", "relay"], found)
        self.assertEqual((done.returncode, found["worse"]), (0, []))
        self.assertGreater(found["median_ms"], 0)


@unittest.skipIf(missing_programs(), "km-node is not built")
class Judgement(unittest.TestCase):
    """Real nodes whose path is known: one is told the other's address, or is not."""

    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        self.relay = self.lab.relay(self.lab.servers[0])

    def meet(self, a, b, *words):
        node1 = self.lab.start_node1(a.host, relays=[self.relay])
        if words == ("--addr",):
            words += node1.ready["direct"][0],
        node2 = self.lab.start_node2(b.host, node1, "--send", "hello", *words,
                                     relays=[self.relay])
        self.assertEqual(node2.finish(60), 0, node2.log())
        node1.expect("closed", 60)
        return matrix.judge(node1, node2)

    def test_direct(self):
        sites = [self.lab.site("none") for _ in range(2)]
        run = self.meet(*sites, "--addr")
        self.assertEqual(run.result, "direct", run)
        self.assertGreaterEqual(run.ms, 0)

    def test_relay(self):
        sites = [self.lab.site("no_udp") for _ in range(2)]
        self.assertEqual(self.meet(*sites).result, "relay")
        self.assertEqual(self.lab.passed(*sites), (0, 0))


if __name__ == "__main__":
    enter()
    unittest.main(verbosity=2)
