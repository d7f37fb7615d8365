"""A NAT that drops every mapping after a fixed time, used or not: after it was seen to do so a few
times, the next mapping is punched before the old one dies, and the connection stays direct."""
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from netlab import Lab, enter  # noqa: E402
from netlab.nodes import cmd, missing_programs  # noqa: E402
from netlab.sandbox import SKIP  # noqa: E402

BIN_DIR = cmd.BIN_DIR
LIFE = 20  # seconds; carriers are seen with 50 to 75
WATCHED = 200  # seconds: some lives to learn from, each of which is noticed late, and some to prove it
SETTLED = 4  # moves in a row from one mapping to the next, without the relay
LOG = "info,punch=debug"


class Life(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        self.relays = [self.lab.relay(server) for server in self.lab.servers]

    def urls(self):
        return [word for relay in self.relays for word in ("--relay", relay.url)]

    def ticket(self, ready):
        words = [os.path.join(BIN_DIR, "km-node"), "ticket", ready["id"], *self.urls()]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return done.stdout.split()[1]

    def begin(self, forgetful):
        """A connection at rest: the node behind the NAT that forgets, and the one that dials."""
        sites = [self.lab.site("port_restricted", name=f"{forgetful}-{name}",
                               fixed=LIFE if name == forgetful else None)
                 for name in ("server", "client")]
        server = self.lab.node(sites[0].host, "perf", "server", "--json", "--log", LOG,
                               *self.urls())
        client = self.lab.node(sites[1].host, "perf", "client",
                               self.ticket(server.expect("ready")), "--mode", "idle",
                               "--time", str(WATCHED), "--wait-direct", "20", "--json",
                               "--log", LOG)
        return server if forgetful == "server" else client, client, server

    def check(self, node, client, server):
        self.assertEqual(client.finish(WATCHED + 60), 0, client.log())
        server.end()
        log, dialled = node.log(), client.log()
        renewed = [line.split()[0] for line in log.splitlines() if "mapping-renewed" in line]
        self.assertGreaterEqual(len(renewed), 3, log)
        moves = [line for line in dialled.splitlines() if " selected changes=" in line]
        learnt = moves[-SETTLED:]  # what came before was learning: two lives, more where it is busy
        self.assertEqual(len(learnt), SETTLED, dialled)
        self.assertEqual([line for line in learnt if "path=relay" in line], [], dialled)

    def test_a_connection_stays_direct_whichever_side_it_is(self):
        for begun in [self.begin(side) for side in ("server", "client")]:
            self.check(*begun)


if __name__ == "__main__":
    if missing_programs():
        print(f"skipped: {missing_programs()}")
        sys.exit(SKIP)
    enter()
    unittest.main()
