"""A NAT that drops every mapping after a fixed time, used or not: after it was seen to do so a few
times, the next mapping is punched before the old one dies, and the connection stays direct."""
import os
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from netlab import Lab, enter, until  # noqa: E402
from netlab.nodes import missing_programs  # noqa: E402
from netlab.sandbox import SKIP  # noqa: E402

LIFE = 20  # seconds; carriers are seen with 50 to 75
LEARNT = 240  # seconds: a few lives, and each is noticed late
PROOF = 3 * LIFE  # then it has to stay direct so long
LOG = "info,punch=debug"


class Life(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        self.relays = [self.lab.relay(server) for server in self.lab.servers]

    def urls(self):
        return [word for relay in self.relays for word in ("--relay", relay.url)]

    def ticket(self, ready):
        words = [os.path.join(os.environ["KM_BIN_DIR"], "km-node"), "ticket", ready["id"],
                 *self.urls()]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        return done.stdout.split()[1]

    def connected(self, forgetful):
        """A connection at rest; the node behind the NAT that forgets, and the other one."""
        sites = [self.lab.site("port_restricted", fixed=LIFE if name == forgetful else None)
                 for name in ("server", "client")]
        server = self.lab.node(sites[0].host, "perf", "server", "--json", "--log", LOG,
                               *self.urls())
        client = self.lab.node(sites[1].host, "perf", "client",
                               self.ticket(server.expect("ready")), "--mode", "idle",
                               "--time", str(LEARNT + PROOF), "--wait-direct", "20", "--json",
                               "--log", LOG)
        nodes = {"server": server, "client": client}
        return nodes[forgetful], client

    def renewals(self, node):
        return node.log().count("mapping-renewed")

    def stays_direct(self, forgetful):
        node, client = self.connected(forgetful)
        until(LEARNT, "two renewals", lambda: self.renewals(node) >= 2)
        changes = client.log().count(" selected changes=")
        relayed = client.log().count("path=relay")
        end = time.monotonic() + PROOF
        until(PROOF + 30, "three more lives", lambda: time.monotonic() >= end)
        log = client.log()
        self.assertGreater(log.count(" selected changes="), changes, log)
        self.assertEqual(log.count("path=relay"), relayed, log)
        self.assertGreaterEqual(self.renewals(node), 4, node.log())

    def test_of_the_side_that_accepts(self):
        self.stays_direct("server")

    def test_of_the_side_that_dials(self):
        self.stays_direct("client")


if __name__ == "__main__":
    if missing_programs():
        print(f"skipped: {missing_programs()}")
        sys.exit(SKIP)
    enter()
    unittest.main()
