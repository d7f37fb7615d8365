"""Real iroh's mDNS lookup (the crate iroh-mdns-address-lookup) and ours on one network: they find
each other, notice when one goes, and nobody is taken for gone who is there."""
import os
import sys
import time
import unittest

from mdns_lan import HERE, NODE, Lan

from netlab import enter
from netlab.sandbox import skip, why_not

sys.path.insert(0, os.path.join(HERE, "../interop"))
from rust_peer_build import PEER, PEER_TTL0, build_or_end  # noqa: E402

if not os.access(NODE, os.X_OK):
    skip(f"{NODE} is not built")
if why_not():
    skip(why_not())
TODAY, TTL0 = build_or_end(PEER, PEER_TTL0)
enter()


def iroh(kind, host, data, mdns="--mdns"):
    program = host.run(kind, mdns, "--user-data", data, name=f"iroh on {host.number}")
    program.id = program.wait(r"id (\w+)", 20).group(1)
    return program


class Cases:
    """With one kind of iroh's nodes."""

    kinds = (TODAY,)

    def find_each_other(self, v4, v6):
        lan = Lan(self)
        a, b = lan.host(v4, v6), lan.host(v4, v6)
        theirs = iroh(self.kinds[0], a, "theirs")
        ours = b.node("--watch")
        b.publish(ours, relay="https://relay.test/", data="ours")
        said = theirs.wait(rf"found {ours.id} (\S+) (\S+)", 10)
        self.assertEqual(said.group(1), f"{b.v4}:4433,[{b.v6}]:4433")
        self.assertEqual(said.group(2), "ours")
        found = ours.wait(rf"found {theirs.id} (\S+) - theirs unproven", 10)
        self.assertIn(a.v4 if v4 else a.v6, found.group(1))
        late = b.node()
        late.say(f"resolve {theirs.id}")
        took = late.wait(rf"answer {theirs.id} \S+ - theirs unproven (\d+)", 5).group(1)
        self.assertLess(int(took), 2000)
        # What changes is heard.
        b.publish(ours, port=5544, data="moved")
        theirs.wait(rf"found {ours.id} {b.v4}:5544\S* moved", 10)

    def test_both_families(self):
        self.find_each_other(True, True)

    def test_ipv6_only(self):
        self.find_each_other(False, True)

    def test_going(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        theirs = iroh(self.kinds[0], a, "theirs")
        quiet = iroh(self.kinds[0], a, "quiet", "--mdns-quiet")
        ours, other = b.node("--watch"), b.node()
        b.publish(other)
        ours.wait(rf"found {theirs.id} ", 10)
        for one in theirs, quiet:
            one.wait(rf"found {other.id} ", 10)
        self.assertEqual(ours.count(f"found {quiet.id}"), 0)
        other.say("withdraw")
        for one in theirs, quiet:
            one.wait(rf"lost {other.id}", 20)
        theirs.kill()
        ours.wait(rf"lost {theirs.id} mdns", 20)

    def test_nobody_is_lost(self):
        lan = Lan(self)
        hosts = [lan.host() for _ in range(6)]
        theirs = [iroh(self.kinds[n % len(self.kinds)], host, f"iroh{host.number}")
                  for n, host in enumerate(hosts[:3])]
        ours = [host.node("--watch") for host in hosts[3:]]
        for host, node in zip(hosts[3:], ours):
            host.publish(node)
        for one in theirs + ours:
            for other in theirs + ours:
                if one is not other:
                    one.wait(rf"found {other.id} ", 15)
        marks = [(one, len(one.lines)) for one in theirs + ours]
        time.sleep(20)
        lost = [(one.id, line) for one, mark in marks for line in one.lines[mark:]
                if line.startswith("lost")]
        # Among themselves iroh's nodes draw lots for who answers, and forget who was not drawn for
        # three turns: a busy machine is enough (swarm-discovery, src/updater.rs).
        self.assertEqual([(who, line) for who, line in lost
                          if not {who, line.split()[1]} <= {one.id for one in theirs}], [])

    def test_signed_does_not_believe_it(self):
        lan = Lan(self)
        a, b = lan.host(), lan.host()
        theirs = iroh(self.kinds[0], a, "theirs")
        careful = b.node("--signed", "--watch")
        b.publish(careful)
        theirs.wait(rf"found {careful.id} ", 10)  # iroh's nodes pass over what they do not know
        time.sleep(3)
        self.assertEqual(careful.count(f"found {theirs.id}"), 0)


class Today(Cases, unittest.TestCase):
    """PTR records and TTLs: swarm-discovery 0.6.5."""


class Ttl0(Cases, unittest.TestCase):
    """No PTR, and TTL 0 on everything: swarm-discovery 0.6.0."""

    kinds = (TTL0,)


class Mixed(Cases, unittest.TestCase):
    kinds = (TTL0, TODAY)


if __name__ == "__main__":
    unittest.main(verbosity=2)
