"""Hostile hosts in the laboratory: what they send moves no path, has nobody else flooded, and wrong
clocks do not matter. Counted on the wire."""
import json
import os
import re
import time
import unittest

from netlab import Lab, enter, until
from netlab.nodes import Program, cmd

enter()

from hostile_storm import PING_LEN, Spoofer, Watcher, storm  # noqa: E402: after enter()
from link_wire import Wire  # noqa: E402
from scenario_peers import Pair, Peer  # noqa: E402

MIB = 1 << 20
THIRD_PARTIES = "44.200"
DIRECT_SECONDS = 30


def limit(name):
    """A number of holepunch/punch.h."""
    with open(os.path.join(cmd.SOURCE, "holepunch/punch.h"), encoding="utf-8") as file:
        return int(re.search(rf"#define {name} (\d+)", file.read()).group(1))


class Counter:
    """Counts what passes through a router, in packets and bytes (of IP)."""
    numbers = iter(range(1000))

    def __init__(self, ns, match, verdict=""):
        self.ns, self.name = ns, f"count{next(self.numbers)}"
        ns.nft(f"""table inet {self.name} {{ chain c {{
          type filter hook prerouting priority -450;
          {match} counter {verdict}
        }}
        }}""")

    def read(self):
        listing = json.loads(self.ns.run("nft", "-j", "list", "table", "inet", self.name))
        for thing in listing["nftables"]:
            for word in thing.get("rule", {}).get("expr", ()):
                if "counter" in word:
                    return word["counter"]["packets"], word["counter"]["bytes"]
        raise AssertionError(f"no counter in {listing}")


class HostileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab(servers=("relay1", "mallory", "victim"))
        cls.addClassCleanup(cls.lab.close)
        cls.relay = cls.lab.relay(cls.lab.servers[0])
        cls.mallory, cls.victim = cls.lab.servers[1:]

    def own(self, thing):
        self.addCleanup(thing.end)
        return thing

    def sites(self, kind, **line):
        wires = [Wire(self.lab, seed, **line) if line else None for seed in (1, 2)]
        names = f"{self.id().rsplit('_', 1)[1]}_{kind}"
        return [self.lab.site(kind, name=f"{names}{number}", wire=wire)
                for number, wire in enumerate(wires)]

    def under_a_storm(self, kind):
        a, b = self.sites(kind, delay=5, rate=50)
        watcher = self.own(Watcher(self.lab.internet))
        pair = Pair(self.lab, a.host, b.host, [self.relay], 32 * MIB, "dial")
        pair.wait_path(DIRECT_SECONDS, "direct")
        pings = until(DIRECT_SECONDS, "Pings were seen", lambda: [
            one for one in watcher.seen if len(one[2]) == PING_LEN
            and one[0][0] in (a.public_v4, b.public_v4)])
        watcher.end()
        paths = [len(peer.paths) for peer in pair.peers]
        answers = {name: Counter(self.lab.internet, f"ip daddr {address} meta l4proto udp")
                   for name, address in (("victim", self.victim.v4), ("mallory", self.mallory.v4))}
        spoofer = self.own(Spoofer(self.mallory.ns))
        pair.go()
        sent = storm(spoofer, pings, self.mallory.v4, self.victim.v4, seconds=5)
        received, confirmed = pair.wait_done(120)
        self.assertEqual(received["hash"], confirmed["hash"])
        self.assertGreater(sent, 1000)
        self.assertEqual([len(peer.paths) for peer in pair.peers], paths, "a path moved")
        self.assertEqual([peer.path for peer in pair.peers], ["direct", "direct"])
        for name, address in ("victim", self.victim.v4), ("mallory", self.mallory.v4):
            packets, size = answers[name].read()
            print(f"# {kind}: {spoofer.packets[address]} packets in the name of {name}, "
                  f"{packets} answers")
            # A packet that was recorded is answered once at the most, and by no more bytes.
            self.assertLessEqual(packets, len(pings))
            self.assertLessEqual(size, spoofer.bytes[address])
        for peer in pair.peers:
            peer.end()

    def test_a_storm_moves_no_path_between_hosts_that_anybody_reaches(self):
        self.under_a_storm("none")

    def test_a_storm_moves_no_path_between_homes(self):
        self.under_a_storm("port_restricted")

    def test_peers_that_name_third_parties_get_no_more_than_the_budget_sent_there(self):
        a, b = self.sites("none")
        honest = self.own(Peer(a.host, "accept", "--relay", self.relay.url))
        until(30, "the honest one is ready", lambda: any(
            event["home"] for event in honest.all("ready")))
        # They are heard and hear nothing, so that no way to them ever works.
        Counter(b.host, "meta l4proto udp", "drop")
        per_second, burst = limit("KM_PROBE_PER_SECOND"), limit("KM_PROBE_BURST")
        # One alone gets half of the budget.
        self.third_parties(honest, b.host, 1, per_second / 2, burst / 2)
        self.third_parties(honest, b.host, 6, per_second, burst)

    def third_parties(self, honest, host, peers, per_second, burst, seconds=8):
        wire = Counter(self.lab.internet, f"ip daddr {THIRD_PARTIES}.0.0/16 meta l4proto udp",
                       "drop")
        begin = time.monotonic()
        hostile = [self.own(Program(host, "km-netlab-hostile-peer", honest.last("ready")["ticket"],
                                    f"{THIRD_PARTIES}.0.0", 100, seconds)) for _ in range(peers)]
        samples = [(0, 0)]
        for peer in hostile:
            peer.expect("connected")

        def over():
            samples.append((time.monotonic() - begin, wire.read()[0]))
            return samples[-1][0] > seconds + 2
        until(seconds + 60, "they are done", over, pause=0.1)
        done = [peer.expect("done") for peer in hostile]
        named = sum(event["calls"] for event in done) * 32
        print(f"# {peers} name {named} addresses in {seconds} s: {samples[-1][1]} packets sent "
              f"there, {max_rate(samples):.0f} in the worst second; {per_second:.0f} a second "
              "may be")
        self.assertGreater(named, 2000)
        self.assertTrue(all(event["alive"] for event in done), "lost, which proves nothing")
        self.assertGreater(samples[-1][1], 0, "nobody was probed: it proves nothing")
        for at, count in samples:
            self.assertLessEqual(count, burst + per_second * at + 1)

    def test_clocks_that_are_hours_wrong_do_not_matter(self):
        a, b = self.sites("port_restricted")
        for number, (ahead, behind) in enumerate(((5 * 3600, -9 * 3600), (-70 * 3600, 40 * 3600))):
            with self.subTest(ahead=ahead, behind=behind):
                pair = Pair(self.lab, a.host, b.host, [self.relay], MIB, "dial",
                            clocks={"accept": ahead, "dial": behind})
                pair.wait_path(DIRECT_SECONDS, "direct")
                pair.go()
                received, sent = pair.wait_done(60)
                self.assertEqual(received["hash"], sent["hash"])
                for peer in pair.peers:
                    peer.end()


def max_rate(samples):
    """The most in about a second."""
    return max((later - count for at, count in samples for moment, later in samples
                if 0 <= moment - at <= 1), default=0)


if __name__ == "__main__":
    unittest.main()
