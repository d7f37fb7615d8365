"""iroh as it comes, with nothing but its own preset: it asks for dns.iroh.link and publishes there.
Here that is km-dns or the real iroh-dns-server, with that name and a certificate of it, and the
system's name server too. The same for KeyMesh with "default" in place of servers.

    discovery_n0_test.py km|iroh
"""
import os
import shutil
import subprocess
import sys
import unittest

import discovery_lab as lab
from discovery_lab import HERE, HOST, NO_LIMITS, Discovery, IrohDns, IrohPeer, until
from lab import OK, UNREACHABLE, Server, run
from netlab.sandbox import MS_BIND, mount
from pkarr import z32
from rust_peer_build import PEER, build_or_end

ORIGIN = "dns.iroh.link"
FOLDER = "/run/netlab"
CA = f"{FOLDER}/ca"
SERVER = "km"
KM_DNS = f"""origins = ["{ORIGIN}"]
records = ["@ A 127.0.0.1"]
dns.bind = "127.0.0.1:53"
http.bind = "127.0.0.1:0"
metrics.bind = "127.0.0.1:0"
[https]
bind = "127.0.0.1:443"
cert_file = "{FOLDER}/server.crt"
key_file = "{FOLDER}/server.key"
[store]
memory = true
{NO_LIMITS}"""
IROH_DNS = f"""[https]
port = 443
bind_addr = "127.0.0.1"
domains = ["{ORIGIN}"]
cert_mode = "manual"
"""
BY_DEFAULT = "--pkarr", "default", "--dns-origin", "default"


def make_certificates():
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=FOLDER, check=True, capture_output=True)

    for name in "ca", "stranger", "server":
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")
    for name in "ca", "stranger":
        openssl("req", "-x509", "-new", "-key", f"{name}.key", "-subj", "/CN=km test", "-days", "2",
                "-out", f"{name}.crt", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign")
    openssl("x509", "-in", "ca.crt", "-outform", "der", "-out", "ca.der")
    openssl("req", "-new", "-key", "server.key", "-subj", f"/CN={ORIGIN}", "-out", "server.csr")
    with open(f"{FOLDER}/extensions", "w", encoding="ascii") as file:
        file.write(f"subjectAltName=DNS:{ORIGIN}\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-sha256", "-extfile", "extensions", "-out",
            "server.crt")


def furnish():
    """The system's name server is km-dns, and its only authority is ours."""
    make_certificates()
    for path, text in (("/etc/resolv.conf", "nameserver 127.0.0.1\n"),
                       ("/etc/nsswitch.conf", "hosts: files dns\n")):
        own = f"{FOLDER}/{os.path.basename(path)}.n0"
        with open(own, "w", encoding="ascii") as file:
            file.write(text)
        mount(own, path, None, MS_BIND)
    authorities = "/etc/ssl/certs/ca-certificates.crt"
    if os.path.exists(authorities):
        mount(f"{CA}.crt", authorities, None, MS_BIND)
    os.environ["SSL_CERT_FILE"] = f"{CA}.crt"


class Binding(IrohPeer):
    """npm's binding, in the same words."""

    def __init__(self, *words):
        super().__init__(os.path.join(HERE, "discovery_peer.mjs"), *words,
                         program=shutil.which("node"))


class N0(Discovery):
    def setUp(self):
        super().setUp()
        if SERVER == "km":
            self.server = self.dns("", plain=KM_DNS)
            return
        os.mkdir(self.path("cert_cache"))
        for kind in "crt", "key":
            shutil.copy(f"{FOLDER}/server.{kind}", self.path(f"cert_cache/{ORIGIN}.{kind}"))
        self.server = self.start(IrohDns, self.folder, ORIGIN, "127.0.0.1", 53, IROH_DNS)

    def ours(self, *words):
        node = self.start(Server, *BY_DEFAULT, *words, bind=f"{HOST}:0")
        self.published_id(node.id)
        return node

    def published_id(self, peer_id):
        path = f"/pkarr/{z32(bytes.fromhex(peer_id))}"
        until("published", lambda: self.server.ask("GET", path).status == 200)

    def dial(self, peer, *words):
        result = run("node2", peer.id, "--send", "hello", "--no-publish", "--json", *BY_DEFAULT,
                     *words)
        self.assertEqual(result.status, OK, result.out + result.err)
        peer.expect(r"accepted \w+")

    def test_ours_with_ours(self):
        """All through names: PKARR over HTTPS, and DNS by the system's name server."""
        node = self.ours("--publish-direct")
        result = run("resolve", node.id, "--json", *BY_DEFAULT)
        found = [e for e in result.events if e["event"] == "found"]
        self.assertEqual(sorted((e["source"], e["direct"]) for e in found),
                         [("dns", [node.addr]), ("pkarr", [node.addr])])

    def test_a_certificate_of_somebody_else(self):
        node = self.ours("--publish-direct")
        result = run("resolve", node.id, "--pkarr", "default", "--json",
                     env={"SSL_CERT_FILE": f"{FOLDER}/stranger.crt"})
        self.assertEqual(result.status, UNREACHABLE, result.out + result.err)
        self.assertIn("certificate", result.out)

    def test_crate(self):
        """The crate, which trusts our authority: both ways."""
        relay = self.relay()
        peer = self.start(IrohPeer, "--n0", "--ca", f"{CA}.der", "--relay", relay.url)
        self.published_id(peer.id)
        self.dial(peer, "--relay", relay.url)
        node = self.ours("--relay", relay.url)
        answers, errors = peer.resolve(node.id)
        self.assertEqual(errors, [])
        self.assertEqual({source: a["relays"] for source, a in answers.items()},
                         {"pkarr": [relay.url], "dns": [relay.url]})
        peer.echo(node.id, "found by the crate")

    def test_binding(self):
        """npm's binding finds us by DNS. The authorities that it trusts are built in: neither the
        system's nor SSL_CERT_FILE's count (it ends handshakes with unknown_ca), so that it neither
        asks nor tells over HTTPS here."""
        for words in ("--publish-direct",), ("--relay", self.relay().url):
            node = self.ours(*words)
            peer = self.start(Binding, *words[1:])
            peer.echo(node.id, "found by the binding")
            self.assertEqual(node.event("connected")["remote"], peer.id)


if __name__ == "__main__":
    if sys.argv[1:2] not in (["km"], ["iroh"]):
        sys.exit("discovery_n0_test.py km|iroh")
    SERVER = sys.argv.pop(1)
    if SERVER == "iroh":
        IrohDns.program = lab.crate("iroh-dns-server")
    made = subprocess.run([os.path.join(HERE, "setup.sh")], stdout=subprocess.PIPE, text=True,
                          check=False)
    if made.returncode != 0:
        sys.exit(made.returncode)
    os.environ["KM_INTEROP_IROH"] = made.stdout.strip()
    IrohPeer.program, = build_or_end(PEER)
    lab.enter()
    furnish()
    unittest.main(verbosity=2)
