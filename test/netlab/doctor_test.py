"""km-node doctor behind every NAT of the lab: what it says is what the NAT is."""
import os
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from netlab import KINDS, Lab, enter, until  # noqa: E402
from netlab.nat64 import available as have_nat64  # noqa: E402
from netlab.nodes import Program  # noqa: E402

# "kept" is endpoint-independent until a packet comes unasked.
MAPPINGS = {"none": "none", "EIM": "endpoint-independent", "kept": "endpoint-independent",
            "ADM": "address-dependent", "APDM": "address-and-port-dependent"}
FILTERS = {"none": "none", "EIF": "endpoint-independent", "ADF": "address-dependent",
           "APDF": "address-and-port-dependent"}
LIMIT = 90

# A relay whose STUN server is one as of RFC 5780, with a second address of the same machine.
CONFIG = """http_bind_addr = "[::]:443"
stun_bind_addr = ["{v4}:3478", "[{v6}]:3478"]
stun_alt_addr = ["{v4}1:3479", "[{v6}1]:3479"]
enable_metrics = false
"""


def verdict_of(traits):
    if not traits.udp:
        return "UDP blocked"
    one = traits.v4 or traits.v6
    if one.mapping in ("ADM", "APDM"):
        return "hard NAT"
    return "open" if (one.mapping, one.filtering) == ("none", "none") else "easy NAT"


class DoctorCase(unittest.TestCase):
    def setUp(self):
        self.lab = Lab()
        self.addCleanup(self.lab.close)
        first, second = self.lab.servers
        first.ns.ip(f"addr add {first.v4}1/24 dev eth0", f"addr add {first.v6}1/64 dev eth0 nodad")
        path = f"/run/netlab/{first.name}.doctor.toml"
        with open(path, "w", encoding="ascii") as file:
            file.write(CONFIG.format(v4=first.v4, v6=first.v6))
        self.lab.own(Program(first.ns, "km-relay", "--config", path, "--json")).expect("ready")
        self.urls = [f"http://{first.name}.test:443/", self.lab.relay(second).url]

    def ask(self, host, *args):
        return self.lab.own(Program(host, "km-node", "doctor", *args, "--json"))

    def ask_relays(self, host, urls=None):
        return self.ask(host, *[word for url in urls or self.urls for word in ("--relay", url)])

    def report(self, program, status=0):
        found = program.expect("report", LIMIT)
        self.assertEqual(program.finish(LIMIT), status, program.log())
        return found

    def check_family(self, found, wanted, address, hairpin=False):
        self.assertTrue(found["works"])
        self.assertEqual(found["mapping"], MAPPINGS[wanted.mapping])
        self.assertEqual(found["filtering"], FILTERS[wanted.filtering])
        self.assertEqual(found["public_addr"].rpartition(":")[0].strip("[]"), address)
        if wanted.mapping == "EIM":
            self.assertEqual(found["hairpin"], hairpin)


class EveryKind(DoctorCase):
    def test_mapping_filtering_and_verdict(self):
        kinds = [kind for kind in KINDS.values() if not kind.nat64 or have_nat64()]
        sites = [self.lab.site(kind) for kind in kinds]
        asked = [(site, self.ask_relays(site.host)) for site in sites]
        for site, program in asked:
            with self.subTest(kind=site.kind.name):
                found = self.report(program)
                traits = site.traits
                self.assertEqual(found["verdict"], verdict_of(traits), program.log())
                self.assertEqual(found["udp6"]["works"],
                                 traits.udp and (traits.v6 is not None or traits.nat64))
                if not traits.udp:
                    self.assertFalse(found["udp4"]["works"])
                    self.assertTrue(any("UDP" in line for line in found["advice"]))
                elif traits.nat64:
                    self.assertEqual(found["udp6"]["mapping"], MAPPINGS[traits.v4.mapping])
                    self.assertEqual(found["udp6"]["public_addr"].split(":")[0], site.public_v4)
                else:
                    for name, wanted, address in (("udp4", traits.v4, site.public_v4),
                                                  ("udp6", traits.v6, site.public_v6)):
                        if wanted is not None:
                            self.check_family(found[name], wanted, address,
                                              site.kind.name == "hairpin")
                self.assertEqual([relay["error"] for relay in found["relays"]], [None, None])
                self.assertEqual([relay["home"] for relay in found["relays"]].count(True), 1)
                self.assertIs(found["captive_portal"], False)

    def test_two_plain_servers_tell_an_easy_nat_from_a_hard_one(self):
        third = self.lab.relay(self.lab.server("relay3"))
        sites = [self.lab.site(kind) for kind in ("port_restricted", "symmetric")]
        asked = [self.ask_relays(site.host, [self.urls[1], third.url]) for site in sites]
        for program, verdict in zip(asked, ("easy NAT", "hard NAT")):
            found = self.report(program)
            self.assertEqual(found["verdict"], verdict)
            self.assertEqual(found["udp4"]["filtering"], "unknown")

    def test_one_plain_server_does_not(self):
        found = self.report(self.ask_relays(self.lab.site("symmetric").host, [self.urls[1]]))
        self.assertEqual(found["verdict"], "unknown")
        self.assertTrue(found["udp4"]["works"])
        self.assertTrue(any("second" in line for line in found["advice"]))


class Places(DoctorCase):
    def test_nothing_reaches_anybody(self):
        site = self.lab.site("port_restricted")
        site.uplink.down()
        found = self.report(self.ask(site.host, "--relay", self.urls[0], "--stun",
                                     self.lab.servers[0].v4), status=3)
        self.assertEqual(found["verdict"], "unknown")
        self.assertTrue(any("online" in line for line in found["advice"]))

    def test_two_hosts_of_a_home_see_the_same(self):
        site = self.lab.site("port_restricted", lan=2, hairpin=True)
        asked = [self.ask_relays(host) for host in site.hosts]
        for program in asked:
            found = self.report(program)
            self.assertEqual(found["verdict"], "easy NAT")
            self.assertIs(found["udp4"]["hairpin"], True)

    @unittest.skipUnless(shutil.which("turnserver"), "no turnserver (coturn) here")
    def test_with_coturn(self):
        first = self.lab.servers[0]
        command = first.ns.command(
            "turnserver", "-n", "-z", "--no-tls", "--no-dtls", "--no-cli", "-p", "5478",
            "--alt-listening-port", "5479", "-L", first.v4, "-L", first.v4 + "1",
            "--log-file", "/dev/null", "--pidfile", "/run/netlab/turnserver.pid",
            "-b", "/run/netlab/turndb")
        turn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        self.addCleanup(turn.wait)
        self.addCleanup(turn.kill)
        with first.ns.socket() as probe:
            probe.settimeout(0.2)

            def answers():
                try:
                    probe.sendto(bytes.fromhex("000100002112a442") + bytes(12), (first.v4, 5478))
                    return probe.recv(2000)
                except OSError:
                    return None

            until(LIMIT, "coturn answers", answers)
        kinds = "none", "full_cone", "address_restricted", "port_restricted", "symmetric"
        sites = [self.lab.site(kind) for kind in kinds]
        asked = [(site, self.ask(site.host, "--stun", f"{first.v4}:5478")) for site in sites]
        for site, program in asked:
            with self.subTest(kind=site.kind.name):
                found = self.report(program)
                self.assertEqual(found["verdict"], verdict_of(site.traits))
                self.check_family(found["udp4"], site.traits.v4, site.public_v4)


if __name__ == "__main__":
    enter()
    unittest.main(verbosity=2)
