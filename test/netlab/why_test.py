"""km-node why in the lab: the verdict is what the networks in between are."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from netlab import Lab, enter  # noqa: E402

OK, UNREACHABLE, RELAYED = 0, 3, 7
LIMIT = 90
WAIT = "10"  # the first attempt is over by then
EASY, HARD = "endpoint-independent", "address-and-port-dependent"


class Verdict(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        self.relays = [self.lab.relay(server) for server in self.lab.servers]

    def ask(self, host, peer):
        """Dials from `host` by id and relays; the exit status and the explanation."""
        peer = self.lab.start_node1(peer, "--no-port-mapping", relays=self.relays)
        urls = [word for relay in self.relays for word in ("--relay", relay.url)]
        why = self.lab.node(host, "why", peer.id, *urls, "--wait", WAIT, "--no-port-mapping",
                            "--json")
        found = why.expect("explanation", LIMIT)
        status = why.finish(LIMIT)
        found["log"] = why.log()
        self.assertIn(status, (OK, RELAYED), found["log"])
        self.assertEqual(status == OK, found["kind"] == "direct", found["log"])
        return found

    def check(self, found, reason, *advice):
        self.assertEqual(found["reason"], reason, found["log"])
        for words in advice:
            self.assertIn(words, found["advice"], found["log"])

    def test_two_easy_nats_are_direct(self):
        a, b = (self.lab.site("port_restricted") for _ in range(2))
        found = self.ask(a.host, b.host)
        self.check(found, "direct")
        self.assertEqual((found["here"]["mapping4"], found["there"]["mapping4"]), (EASY, EASY))
        used = found["ways"][0]
        self.assertEqual(used["addr"].split(":")[0], b.public_v4)
        self.assertEqual(used["we_are_seen_as"].split(":")[0], a.public_v4)
        self.assertLess(found["direct_ms"] - found["relayed_ms"], 2000)

    def test_two_hard_nats(self):
        a, b = (self.lab.site("symmetric") for _ in range(2))
        found = self.ask(a.host, b.host)
        self.check(found, "both-hard", "forward UDP port", "IPv6")
        self.assertEqual((found["here"]["mapping4"], found["there"]["mapping4"]), (HARD, HARD))
        self.assertGreater(found["guesses"], 0)
        self.assertEqual(found["pongs_received"], 0)

    def test_direct_or_not_at_all(self):
        blocked, easy = self.lab.site("no_udp"), self.lab.site("port_restricted")
        peer = self.lab.start_node1(easy.host, "--no-port-mapping", relays=self.relays)
        node2 = self.lab.start_node2(blocked.host, peer, "--policy", "direct:8", "--wait-direct",
                                     "60", "--no-port-mapping", relays=self.relays)
        error = node2.expect("error", LIMIT)
        self.assertEqual(node2.finish(LIMIT), UNREACHABLE, node2.log())
        self.assertEqual(error["name"], "NO_DIRECT_PATH")
        self.assertEqual(error["message"], "no direct path within 8000 ms: UDP seems to be blocked "
                         "on this side: no STUN server answers, and no ping of the peer comes in.")

    def test_no_udp_on_either_side(self):
        blocked, easy = self.lab.site("no_udp"), self.lab.site("port_restricted")
        self.check(self.ask(blocked.host, easy.host), "udp-blocked-here", "Allow outgoing UDP")
        self.check(self.ask(easy.host, blocked.host), "udp-blocked-there", "At the peer")

    def test_a_firewall_between_two_that_could_meet(self):
        a, b = (self.lab.site("port_restricted") for _ in range(2))
        with self.lab.internet.block(f"ip saddr {a.public_v4} ip daddr {b.public_v4}",
                                     f"ip saddr {b.public_v4} ip daddr {a.public_v4}"):
            found = self.ask(a.host, b.host)
        self.check(found, "no-answer", "firewalls of both sides")
        self.assertEqual((found["here"]["mapping4"], found["there"]["mapping4"]), (EASY, EASY))

    def test_one_network_that_keeps_its_hosts_apart(self):
        site = self.lab.site("port_restricted", lan=2)
        a, b = site.hosts
        with a.block("ip saddr 192.168.0.0/16 ip daddr 192.168.0.0/16 meta l4proto udp"):
            found = self.ask(a, b)
        self.check(found, "same-network", "client isolation")


if __name__ == "__main__":
    enter()
    unittest.main(verbosity=2)
