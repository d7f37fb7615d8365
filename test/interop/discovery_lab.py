"""Discovery servers of both kinds, real iroh endpoints, and what test/cmd's laboratory has, in a
network of their own: one interface with addresses that iroh takes for a network's."""
import os
import re
import socket
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in "../cmd", "../netlab":
    sys.path.insert(0, os.path.join(HERE, folder))
from dns_lab import Dns, DnsCase, NO_LIMITS, split  # noqa: E402
from lab import LIMIT, OK, Process  # noqa: E402
from netlab.sandbox import enter as enter_namespaces  # noqa: E402
from pkarr import z32  # noqa: E402
from relay_lab import ADDRESSES, Relay  # noqa: E402

ORIGIN = "dns.example.org"
HOST, HOST6 = "198.51.100.7", "2001:db8:7::7"

# The same for both: what they say beside the packets is compared too.
KM_DNS = f"""origins = ["{ORIGIN}", "."]
records = ["@ 900 A 192.0.2.7", "@ 900 NS ns1.{ORIGIN}.", "ns1.{ORIGIN} 900 A 192.0.2.7"]
dns.bind = "127.0.0.1:0"
dns.soa_mname = "ns1.{ORIGIN}"
dns.soa_rname = "hostmaster.{ORIGIN}"
http.bind = "127.0.0.1:0"
metrics.bind = "127.0.0.1:0"
"""
IROH_DNS = """pkarr_put_rate_limit = "disabled"
data_dir = "{folder}"
[http]
port = {http}
bind_addr = "127.0.0.1"
[dns]
port = {dns}
bind_addr = "127.0.0.1"
default_soa = "ns1.{origin} hostmaster.{origin} 0 10800 3600 604800 3600"
default_ttl = 900
origins = ["{origin}.", "."]
rr_a = "{addr}"
rr_ns = "ns1.{origin}."
[metrics]
disabled = true
[mainline]
enabled = false
"""


def crate(name):
    """The path of a program of iroh's, or the end."""
    made = subprocess.run([os.path.join(HERE, "crate.sh"), name], stdout=subprocess.PIPE,
                          text=True, check=False)
    if made.returncode != 0:
        sys.exit(made.returncode)
    return made.stdout.strip()


def enter():
    """Into namespaces where nothing else is."""
    enter_namespaces()
    lines = ("link set lo up", "link add net0 type veth peer net1", f"addr add {HOST}/24 dev net0",
             f"addr add {HOST6}/64 dev net0 nodad", "link set net0 up", "link set net1 up",
             "route add default dev net0", "-6 route add default dev net0")
    for line in lines:
        subprocess.run(["ip", *line.split()], check=True)


def free_port():
    """That neither UDP nor TCP has; nobody else is in these namespaces."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def until(what, condition):
    """What the condition returns once it is true."""
    end = time.monotonic() + LIMIT
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not in {LIMIT} s: {what}")
        time.sleep(0.05)


class IrohDns(Dns):
    """A real iroh-dns-server that is ready, with the same members."""
    program = None

    def __init__(self, folder, origin=ORIGIN, addr="192.0.2.7", dns=None, more=""):
        http, dns = free_port(), dns or free_port()
        path = os.path.join(folder, "iroh-dns.toml")
        with open(path, "w", encoding="ascii") as file:
            file.write(IROH_DNS.format(folder=folder, http=http, dns=dns, origin=origin,
                                       addr=addr) + more)
        Process.__init__(self, "RUST_LOG=info", self.program, "--config", path,
                         program="/usr/bin/env")
        self.http, self.dns = f"127.0.0.1:{http}", f"127.0.0.1:{dns}"
        try:
            while "DNS server listening" not in (self.line() or self.ended()):
                pass
        except BaseException:
            self.end()
            raise

    def ended(self):
        raise AssertionError(f"iroh-dns-server ended: {self.seen} {self.err}")


class IrohPeer(Process):
    """A real iroh endpoint (rust_peer/): `id`; its words are those of rust_peer/src/options.rs."""
    program = None

    def __init__(self, *words, program=None):
        super().__init__(*words, program=program or self.program, stdin=subprocess.PIPE)
        try:
            self.id = self.expect(r"id (\w+)").group(1)
        except BaseException:
            self.end()
            raise
        self.z32 = z32(bytes.fromhex(self.id))

    def expect(self, pattern):
        """Reads on to the next line that is like this, all of it."""
        while (line := self.line()) is not None:
            found = re.fullmatch(pattern, line.rstrip("\n"))
            if found:
                return found
        raise AssertionError(f"ended without {pattern}: {self.seen} {self.err}")

    def say(self, *words):
        self.child.stdin.write((" ".join(words) + "\n").encode())
        self.child.stdin.flush()

    def echo(self, peer_id, text):
        """Dials by id alone, and has a text echoed."""
        self.say("echo", peer_id, text)
        line = self.expect(rf"(echoed {peer_id} {re.escape(text)}|failed .*)").group(0)
        assert line.startswith("echoed"), line

    def resolve(self, peer_id):
        """All that its lookups know: a dictionary by source, and the errors."""
        self.say("resolve", peer_id)
        answers, errors = {}, []
        while True:
            line = self.expect(r"(answer|error|resolved) .*").group(0)
            words = line.split(" ", 5)
            if words[0] == "resolved":
                return answers, errors
            if words[0] == "error":
                errors.append(line)
                continue
            _, found, source, addrs, relays, data = words
            assert found == peer_id, line
            answers[source] = {"addrs": [] if addrs == "-" else addrs.split(","),
                               "relays": [] if relays == "-" else relays.split(","),
                               "data": None if data == "-" else data}

    def end(self):
        if not self.child.stdin.closed:
            self.child.stdin.close()
        super().end()


class Discovery(DnsCase):
    """A test with servers and endpoints of both kinds. Ours have to end well."""

    def start(self, cls, *args, **more):
        process = super().start(cls, *args, **more)
        if not issubclass(cls, (IrohDns, IrohPeer)):
            self.addCleanup(self.check_end, process)
        return process

    def check_end(self, process):
        result = process.stop()
        self.assertEqual(result.status, OK, result.err)

    def km_dns(self):
        return self.dns("[store]\nmemory = true\n" + NO_LIMITS, plain=KM_DNS)

    def iroh_dns(self):
        return self.start(IrohDns, self.folder)

    def relay(self):
        config = self.file("relay.toml", ADDRESSES.encode())
        return self.start(Relay, "--dev", "--config", config)

    def published(self, server, id_z32, *wanted):
        """Waits until the DNS says so: a record for each pattern."""
        def there():
            answer = server.lookup(f"_iroh.{id_z32}.{ORIGIN}")
            return all(any(re.fullmatch(p, text) for text in answer.texts()) for p in wanted)
        until(f"{wanted} published", there)


def pkarr_url(server):
    return f"http://{server.http}/pkarr"


def dns_port(server):
    return split(server.dns)[1]
