"""km-dns as its operators and clients use it: command line, configuration, HTTP, DNS, signals."""
import base64
import concurrent.futures
import email.utils
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import time
import unittest

from dns_lab import ANY, DNS, NO_LIMITS, ORIGIN, PLAIN, Dns, DnsCase, run_dns, send, split
from lab import FAILED, LIMIT, OK, SOURCE, USAGE, can, main
from man_lab import ManPage
from pkarr import Answer, Key, now_us, query, z32
from relay_lab import have_openssl, make_certificate

SAMPLE = os.path.join(SOURCE, "cmd/dns/km-dns.toml")
RELAY = "relay=https://relay.example./"
MEMORY = "[store]\nmemory = true\n"


class Words(ManPage, DnsCase):
    NAME, RUN = "dns", staticmethod(run_dns)

    def test_help(self):
        for flag in "--help", "-h":
            result = run_dns(flag)
            self.assertEqual((result.status, result.err), (OK, ""))
            self.assertIn("usage: km-dns --config FILE | --dev", result.out)
            self.assertLessEqual(max(map(len, result.out.splitlines())), 100)

    def test_version(self):
        result = run_dns("--version")
        self.assertEqual(result.status, OK)
        self.assertRegex(result.out, r"^km-dns [0-9]+\.[0-9]+\.[0-9]+ \(.*wolfSSL.*\)\n$")

    def test_bad_words(self):
        for args, word in (([], "--dev to try it out"), (["--devv"], "did you mean --dev?"),
                           (["start"], "one word too many"), (["--config"], "needs a value"),
                           (["--dev", "--log", "loud"], "loud"), (["--dev=yes"], "takes no value"),
                           (["--config", "/nonexistent/x.toml"], "/nonexistent/x.toml")):
            self.check_sentence(run_dns(*args), USAGE, word)
        result = run_dns("--devv", "--json")
        self.assertEqual((result.status, result.err), (USAGE, ""))
        self.assertIn("--dev?", result.event("error")["message"])


# What a file says, what the sentence has in it; the line is the last of the file.
GOOD = 'origins = ["dns.example.org"]\n'
BAD = [
    ("", "name the domains"),
    ("origins = []", "name the domains"),
    ('origins = "example.org"', "a list of texts"),
    ('origins = ["exa mple"]', "is not a domain name"),
    ('origins = ["a.org", "A.org."]', "is there twice"),
    (GOOD + 'records = ["@"]', "write \"OWNER TTL TYPE VALUE\""),
    (GOOD + 'records = ["@ 60 A"]', "write \"OWNER TTL TYPE VALUE\""),
    (GOOD + 'records = ["@ A 192.0.2.1", "@ 60x A 192.0.2.1"]', "record 2: its TTL"),
    (GOOD + 'records = ["@ 604801 A 192.0.2.1"]', "record 1: its TTL"),
    (GOOD + 'records = ["@ A 192.0.2.256"]', "record 1: "),
    (GOOD + 'records = ["@ FOO bar"]', "record 1: "),
    (GOOD + 'records = ["other.org A 192.0.2.1"]', "below none of the origins"),
    (GOOD + 'records = ["*.a.dns.example.org A 192.0.2.1"]', "is a wildcard"),
    (GOOD + 'records = ["sub.dns.example.org nS a.org."]', "cannot be delegated"),
    (GOOD + 'records = ["@ NS ns1.dns.example.org."]', "has neither A nor AAAA"),
    (GOOD + 'records = ["@ 60 A 192.0.2.1", "@ 61 A 192.0.2.2"]', "have one TTL"),
    (GOOD + "colour = 1", "no key of this name"),
    (GOOD + "[limit]", "no table of this name"),
    (GOOD + "recods = []", "did you mean records?"),
    (GOOD + "[limits]\nput_per_second = 5", "no key of this name"),
    (GOOD + "[limits]\nput_burst = 0", "from 1 to"),
    (GOOD + "[limits]\nmax_http_connections = -1", "from 1 to"),
    (GOOD + "[limits]\nrequest_timeout_ms = 5", "from 100 to"),
    (GOOD + '[limits]\nclient = "me"', '"peer", or "forwarded"'),
    (GOOD + '[dns]\nbind = "localhost:53"', "'localhost:53' is no address with a port"),
    (GOOD + "[dns]\nbind = 53", "an address in quotes"),
    (GOOD + '[dns]\nbind = ["127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1", "127.0.0.4:1", "[::1]:1"]',
     "more than 4"),
    (GOOD + '[dns]\nenable = "no"', "true or false"),
    (GOOD + "[dns]\nnegative_ttl_s = 86401", "from 0 to 86400"),
    (GOOD + '[dns]\nsoa_mname = "x y"', "is not a domain name"),
    (GOOD + '[dns]\nsoa_rname = "me@example.org"', "user.example.org"),
    (GOOD + 'http = "on"', "a table"),
    (GOOD + '[https]\ncert_file = "/nonexistent"', "https.key_file"),
    (GOOD + "[https]", "https.cert_file"),
    (GOOD + '[https]\ncert_file = ""', "must not be empty"),
    (GOOD + '[store]\npath = "/x"\nmemory = true', "either in memory, or at a path"),
    (GOOD + "[store]\ncache_bytes = 1", "from 65536"),
    (GOOD + '[metrics]\nbind = ["127.0.0.1:1", "127.0.0.2:1"]', "one address for metrics"),
    (GOOD + 'log = "loud"', "loud"),
    (GOOD + "log", "= was expected"),
]


class Config(DnsCase):
    def test_bad_files(self):
        for number, (text, words) in enumerate(BAD):
            with self.subTest(text=text):
                path = self.file(f"{number}.toml", text.encode())
                result = run_dns("--config", path)
                self.check_sentence(result, USAGE, words)
                self.assertRegex(result.err, rf"{number}\.toml(:[0-9]+)?: ", result.err)
                self.assertEqual(result.out, "")
                checked = run_dns("--check", "--config", path)
                self.assertEqual((checked.status, checked.err), (USAGE, result.err))

    def test_lines_are_named(self):
        for text, line in ((GOOD + "\n\ncolour = 1", 4), (GOOD + "[limits]\nput_burst = 0", 3),
                           (GOOD + 'records = ["@ FOO bar"]', 2)):
            self.check_sentence(run_dns("--config", self.file("x.toml", text.encode())), USAGE,
                                f"x.toml:{line}: ")

    def test_check(self):
        path = self.config(MEMORY)
        result = run_dns("--check", "--config", path)
        self.assertEqual((result.status, result.out), (OK, f"{path} is good\n"))
        run_dns("--check", "--config", path, "--json").event("checked")
        self.assertEqual(run_dns("--check", "--dev").out, "the built-in configuration is good\n")

    def test_check_leaves_the_store_alone(self):
        store = self.path("packets.db")
        result = run_dns("--check", "--config", self.config(f'[store]\npath = "{store}"\n'))
        self.assertEqual(result.status, OK)
        self.assertFalse(os.path.exists(store))

    @unittest.skipUnless(have_openssl(), "no openssl here")
    def test_the_sample_is_good(self):
        make_certificate(self.folder, "root")
        make_certificate(self.folder, "server", "root")
        with open(SAMPLE, encoding="utf-8") as file:
            text = file.read()
        text = text.replace("/etc/km-dns/tls/fullchain.pem", self.path("server.crt"))
        text = text.replace("/etc/km-dns/tls/privkey.pem", self.path("server.key"))
        result = run_dns("--check", "--config", self.file("sample.toml", text.encode()))
        self.assertEqual((result.status, result.err), (OK, ""))

    def test_the_defaults_of_the_sample_are_the_defaults(self):
        """What is commented out is taken as it is when it is switched on."""
        with open(SAMPLE, encoding="utf-8") as file:
            text = file.read()
        text = re.sub(r"(?m)^#(?=\w+ = |\[)", "", text)
        text = re.sub(r"(?ms)^\[https\].*?(?=^#|\[http\])", "", text, count=1)
        text = re.sub(r"(?m)^(memory|cert_file|key_file) = .*\n", "", text)
        result = run_dns("--check", "--config", self.file("all.toml", text.encode()))
        self.assertEqual((result.status, result.err), (OK, ""))

    def test_a_zone_without_name_servers_is_told(self):
        plain = PLAIN.replace(f', "ns.{ORIGIN} 3600 A 192.0.2.7"', "")
        result = run_dns("--check", "--config", self.config(MEMORY, plain))
        self.assertEqual(result.status, OK)
        self.assertRegex(result.err, rf" no-name-server {ORIGIN}\. has no NS in records")
        server = self.dns(plain=plain)
        self.assertIn(" no-name-server ", server.stop().err)
        off = self.config(MEMORY, plain.replace(f'dns.bind = "{ANY}"', "dns.enable = false"))
        self.assertEqual(run_dns("--check", "--config", off).err, "")

    def test_a_damaged_database_is_not_tried_again(self):
        with open(self.path("packets.db"), "wb") as file:
            file.write(b"this is no database\n" * 1000)
        text = f'[store]\npath = "{self.path("packets.db")}"\n'
        result = run_dns("--config", self.config(text))
        self.assertEqual(result.status, 3)
        self.assertIn("packets.db", result.err)
        with open(os.path.join(SOURCE, "cmd/dns/km-dns.service"), encoding="utf-8") as file:
            self.assertIn("\nRestartPreventExitStatus=3\n", file.read())

    def test_an_address_that_is_taken(self):
        first = self.dns()
        for name, addr in ("http", first.http), ("dns", first.dns), ("metrics", first.metrics):
            text = PLAIN.replace(f'{name}.bind = "{ANY}"', f'{name}.bind = "{addr}"')
            result = run_dns("--config", self.config(MEMORY, text, "second.toml"))
            self.check_sentence(result, USAGE, addr)

    def test_a_store_that_cannot_be_made(self):
        text = '[store]\npath = "/nonexistent/packets.db"\n'
        result = run_dns("--config", self.config(text))
        self.assertIn(result.status, (FAILED, USAGE))
        self.assertIn("/nonexistent", result.err)

    def test_log_of_the_file(self):
        text = 'log = "error"\n' + PLAIN
        quiet = self.dns(MEMORY, plain=text)
        quiet.send(signal.SIGHUP)
        quiet.event("reloaded")
        self.assertEqual(quiet.stop().err, "")


class Dev(DnsCase):
    """Other programs may have the ports of --dev here, so that they are given others."""

    BINDS = f'[dns]\nbind = "{ANY}"\n[http]\nbind = "{ANY}"\n[metrics]\nbind = "{ANY}"\n'

    def test_ready(self):
        server = self.start(Dns, "--dev", "--config", self.file("dev.toml", self.BINDS.encode()))
        self.check_event(server.ready, "ready", version=str, dev=True, http=list, https=[],
                         dns=list, metrics=str, origins=["irohdns.example.", "."], store=None)
        key = Key()
        self.assertEqual(server.ask("PUT", f"/pkarr/{key.z32}", key.packet(RELAY)).status, 204)
        for origin in "irohdns.example.", ".":
            self.assertEqual(server.lookup(f"_iroh.{key.z32}.{origin}").texts(), [RELAY])
        result = server.stop()
        self.assertEqual((result.status, result.event("stopping")), (OK, {"event": "stopping"}))

    def test_sentences_for_people(self):
        path = self.file("dev.toml", self.BINDS.encode())
        child = subprocess.Popen([DNS, "--dev", "--config", path], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)
        lines = [child.stdout.readline().decode() for _ in range(6)]
        child.terminate()
        rest = child.communicate(timeout=LIMIT)[0].decode()
        self.assertEqual((child.returncode, rest), (OK, "stopping\n"))
        self.assertRegex(lines[0], r"^ready: pkarr and DoH http://127\.0\.0\.1:\d+, dns 127\.")
        self.assertIn("not for the open internet", lines[1])
        self.assertIn("node1 --pkarr http://127.0.0.1:", lines[2])
        self.assertIn("node2 <id> --pkarr http://127.0.0.1:", lines[3])
        self.assertIn("/dns-query?name=_iroh.", lines[4])
        self.assertIn("irohdns.example.", lines[5])

    def test_nothing_is_limited(self):
        server = self.start(Dns, "--dev", "--config", self.file("dev.toml", self.BINDS.encode()))
        key = Key()
        connection = server.connect()
        stamp = now_us()
        for i in range(100):
            body = key.packet(RELAY, timestamp_us=stamp + i)
            self.assertEqual(send(connection, "PUT", f"/{key.z32}", body).status, 204)


class Packets(DnsCase):
    """PUT and GET of signed packets."""

    def setUp(self):
        super().setUp()
        self.server = self.dns()
        self.key = Key()
        self.path_ = f"/pkarr/{self.key.z32}"

    def put(self, body, path=None, **headers):
        return self.server.ask("PUT", path or self.path_, body, **headers)

    def get(self, **headers):
        return self.server.ask("GET", self.path_, **headers)

    def check_error(self, reply, status, words=""):
        self.assertEqual(reply.status, status, reply)
        self.assertEqual(reply.headers["content-type"], "application/json")
        self.assertEqual(reply.headers["access-control-allow-origin"], "*")
        error = json.loads(reply.body)
        self.assertEqual(set(error), {"status", "detail"})
        self.assertEqual(error["status"], str(status))
        self.assertIn(words, error["detail"])

    def test_round_trip(self):
        stamp = 1700000000123456
        body = self.key.packet(RELAY, "addr=192.0.2.1:7", timestamp_us=stamp, ttl=17)
        reply = self.put(body)
        self.assertEqual((reply.status, reply.body), (204, b""))
        self.assertEqual(reply.headers["access-control-allow-origin"], "*")
        for path in self.path_, f"/{self.key.z32}":
            reply = self.server.ask("GET", path)
            self.assertEqual((reply.status, reply.body), (200, body))
            self.assertEqual(reply.headers["content-type"], "application/x-pkarr-signed-packet")
            self.assertEqual(reply.headers["cache-control"], "public, max-age=17")
            modified = email.utils.parsedate_to_datetime(reply.headers["last-modified"])
            self.assertEqual(modified.timestamp(), stamp // 1000000)
        head = self.server.ask("HEAD", self.path_)
        self.assertEqual((head.status, head.body, head.headers["content-length"]),
                         (200, b"", str(len(body))))

    def test_both_paths_take_it(self):
        self.assertEqual(self.put(self.key.packet(RELAY), f"/{self.key.z32}").status, 204)
        self.assertEqual(self.get().status, 200)

    def test_nothing_there(self):
        self.check_error(self.get(), 404)
        self.assertEqual(self.server.count("kmdns_pkarr_absent_total"), 1)

    def test_the_newest_wins(self):
        stamp = now_us()
        old, new = (self.key.packet(RELAY, timestamp_us=stamp + i) for i in (0, 1))
        self.assertEqual(self.put(new).status, 204)
        self.assertEqual(self.put(new).status, 204)
        self.check_error(self.put(old), 409, "newer")
        self.assertEqual(self.get().body, new)
        self.assertEqual(self.server.count("kmdns_pkarr_stale_total"), 1)
        newer = self.key.packet("relay=https://other.example./", timestamp_us=stamp + 2)
        self.assertEqual(self.put(newer).status, 204)
        self.assertEqual(self.get().body, newer)

    def test_bad_payloads(self):
        good = self.key.packet(RELAY)
        for body, words in ((good[:-1] + bytes([good[-1] ^ 1]), ""), (good[:71], ""),
                            (bytes([good[0] ^ 1]) + good[1:], ""), (b"x", ""),
                            (Key().packet(RELAY), ""), (self.key.payload(b"no dns message"), "")):
            with self.subTest(body=body[:8]):
                self.check_error(self.put(body), 400, words)
        self.check_error(self.put(b""), 400)
        self.check_error(self.get(), 404)

    def test_too_long(self):
        self.check_error(self.put(bytes(1073)), 413, "1072")
        self.check_error(self.put(bytes(100000)), 413)
        reply = self.put(bytes(200000))
        self.check_error(reply, 413)
        self.assertEqual(reply.headers["connection"], "close")

    def test_a_refused_body_is_read_to_its_end(self):
        """Whoever sends all of it first still hears why it was refused."""
        for path, status in ((self.path_, b"413"), ("/pkarr/x", b"400"), ("/", b"405")):
            with self.server.tcp() as sock:
                sock.sendall(f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n"
                             "\r\n".encode())
                for _ in range(90):
                    sock.sendall(bytes(10000))
                received = b""
                while (piece := sock.recv(65536)) != b"":
                    received += piece
                self.assertTrue(received.startswith(b"HTTP/1.1 " + status), received)
                self.assertEqual(received.count(b"HTTP/1.1"), 1)

    def test_bad_keys(self):
        for key in ("", "x", "l" * 52, self.key.z32[:-1], self.key.z32 + "y",
                    self.key.z32.upper(), self.key.z32[:-1] + "b", z32(b"\2" + bytes(31)),
                    self.key.public.hex()):
            for method, body in ("GET", None), ("PUT", self.key.packet(RELAY)):
                self.check_error(self.server.ask(method, f"/pkarr/{key}", body), 400, "key")

    def test_methods(self):
        for method in "POST", "DELETE", "PATCH":
            reply = self.server.ask(method, self.path_, b"x" if method == "POST" else None)
            if method == "POST":
                self.check_error(reply, 405)
            self.assertEqual(reply.status, 405)
            self.assertEqual(reply.headers["allow"], "GET, HEAD, PUT, OPTIONS")
        reply = self.server.ask("OPTIONS", self.path_, Origin="https://example.org",
                                Access_Control_Request_Method="PUT")
        self.assertEqual(reply.status, 204)
        self.assertEqual(reply.headers["access-control-allow-origin"], "*")
        self.assertIn("PUT", reply.headers["access-control-allow-methods"])

    def test_conditional_get(self):
        stamp = 1700000000 * 1000000
        self.put(self.key.packet(RELAY, timestamp_us=stamp + 5))
        reply = self.get()
        etag, modified = reply.headers["etag"], reply.headers["last-modified"]
        for headers, status in (({"If_None_Match": etag}, 304), ({"If_None_Match": '"x"'}, 200),
                                ({"If_None_Match": f'"x", {etag}'}, 304),
                                ({"If_None_Match": "*"}, 304),
                                ({"If_Modified_Since": modified}, 304),
                                ({"If_Modified_Since": email.utils.formatdate(
                                    1699999999, usegmt=True)}, 200),
                                # The tag goes first: it knows packets of the same second apart.
                                ({"If_Modified_Since": modified, "If_None_Match": '"x"'}, 200),
                                ({"If_Modified_Since": email.utils.formatdate(
                                    1700000001, usegmt=True)}, 304),
                                ({"If_Modified_Since": "yesterday"}, 200)):
            reply = self.get(**headers)
            self.assertEqual(reply.status, status, headers)
            self.assertEqual(reply.body == b"", status == 304)
        self.put(self.key.packet(RELAY, timestamp_us=stamp + 6))
        self.assertEqual(self.get(If_None_Match=etag).status, 200)

    def test_conditional_put(self):
        stamp = 1700000000 * 1000000
        date = email.utils.formatdate(1700000000, usegmt=True)
        before = email.utils.formatdate(1699999999, usegmt=True)
        packets = [self.key.packet(RELAY, timestamp_us=stamp + i) for i in range(3)]
        self.assertEqual(self.put(packets[0], If_Unmodified_Since=before).status, 204)
        self.check_error(self.put(packets[1], If_Unmodified_Since=before), 412)
        self.assertEqual(self.get().body, packets[0])
        self.assertEqual(self.put(packets[1], If_Unmodified_Since=date).status, 204)
        self.assertEqual(self.put(packets[2], If_Unmodified_Since="whenever").status, 204)

    def test_dns_has_it(self):
        self.put(self.key.packet(RELAY, "user-data=hello"))
        for name in f"_iroh.{self.key.z32}.{ORIGIN}.", f"_iroh.{self.key.z32}":
            for lookup in self.server.lookup, self.server.lookup_tcp:
                answer = lookup(name)
                self.assertEqual((answer.rcode, sorted(answer.texts())),
                                 (0, [RELAY, "user-data=hello"]))
        self.assertEqual(self.server.lookup(f"_iroh.{Key().z32}.{ORIGIN}").rcode, 3)


class Http(DnsCase):
    """HTTP itself, and who misuses it."""

    def setUp(self):
        super().setUp()
        self.server = self.dns()

    def raw(self, text, *more):
        """Sends these pieces, one after the other; what comes back until the end."""
        received = b""
        with self.server.tcp() as sock:
            try:
                for piece in (text, *more):
                    sock.sendall(piece)
                sock.shutdown(socket.SHUT_WR)
                while (piece := sock.recv(65536)) != b"":
                    received += piece
            except OSError:
                pass  # it has hung up
        return received

    def test_pages(self):
        index = self.server.ask("GET", "/")
        self.assertEqual((index.status, index.headers.get_content_type()), (200, "text/plain"))
        self.assertIn(b"/pkarr/<key>", index.body)
        health = json.loads(self.server.ask("GET", "/healthz").body)
        self.assertEqual((health["status"], set(health)), ("ok", {"status", "version", "git_hash"}))
        self.assertEqual(health["version"], self.server.ready["version"])
        self.assertEqual(self.server.ask("GET", "/healthcheck").body, b"OK")
        self.assertEqual(self.server.ask("GET", "/favicon.ico").status, 404)
        self.assertEqual(self.server.ask("GET", "/" + "x" * 300).status, 414)
        self.assertEqual(self.server.ask("POST", "/", b"x").status, 405)

    def test_many_requests_on_a_connection(self):
        connection = self.server.connect()
        key = Key()
        stamp = now_us()
        for i in range(50):
            body = key.packet(RELAY, timestamp_us=stamp + i)
            self.assertEqual(send(connection, "PUT", f"/{key.z32}", body).status, 204)
            self.assertEqual(send(connection, "GET", f"/{key.z32}").body, body)
        self.assertEqual(self.server.count("kmdns_http_connections"), 1)

    def test_heads_that_come_in_pieces(self):
        text = b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        pieces = [text[i:i + 1] for i in range(len(text))]
        self.assertTrue(self.raw(*pieces).endswith(b"\r\n\r\nOK"))

    def test_a_body_that_comes_in_pieces(self):
        key = Key()
        body = key.packet(RELAY)
        head = f"PUT /{key.z32} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with self.server.tcp() as sock:
            for piece in (head, *(body[i:i + 7] for i in range(0, len(body), 7))):
                sock.sendall(piece)
            self.assertTrue(sock.recv(65536).startswith(b"HTTP/1.1 204"))

    def test_clients_that_want_no_more(self):
        for version, field in ("1.1", "Connection: close\r\n"), ("1.0", ""):
            key = Key()
            body = key.packet(RELAY)
            head = (f"PUT /{key.z32} HTTP/{version}\r\nHost: x\r\n{field}"
                    f"Content-Length: {len(body)}\r\n\r\n").encode()
            with self.server.tcp() as sock:
                sock.sendall(head + body)
                received = b""
                while (piece := sock.recv(65536)) != b"":
                    received += piece
            self.assertRegex(received, rb"^HTTP/1\.[01] 204 ")
            self.assertEqual(self.server.ask("GET", f"/{key.z32}").body, body)

    def test_pipelined_gets(self):
        one = b"GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        with self.server.tcp() as sock:
            sock.sendall(one * 5 + last)
            received = b""
            while (piece := sock.recv(65536)) != b"":
                received += piece
        self.assertEqual(received.count(b"\r\n\r\nOK"), 6)

    def test_more_than_a_body_ends_the_connection(self):
        key = Key()
        body = key.packet(RELAY)
        head = f"PUT /{key.z32} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with self.server.tcp() as sock:
            sock.sendall(head + body + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while (piece := sock.recv(65536)) != b"":
                received += piece
        self.assertTrue(received.startswith(b"HTTP/1.1 204"), received)
        self.assertIn(b"connection: close", received)
        self.assertEqual(received.count(b"HTTP/1.1 "), 1)
        self.assertEqual(self.server.ask("GET", f"/{key.z32}").body, body)

    def test_expect(self):
        key = Key()
        body = key.packet(RELAY)
        with self.server.tcp() as sock:
            sock.sendall(f"PUT /{key.z32} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n".encode())
            self.assertTrue(sock.recv(65536).startswith(b"HTTP/1.1 100"))
            sock.sendall(body)
            self.assertTrue(sock.recv(65536).startswith(b"HTTP/1.1 204"))
        with self.server.tcp() as sock:
            sock.sendall(f"PUT /{key.z32} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                         "Content-Length: 5000000\r\n\r\n".encode())
            self.assertTrue(sock.recv(65536).startswith(b"HTTP/1.1 413"))

    def test_lengths_that_cannot_be_trusted(self):
        for fields, status in (("Transfer-Encoding: chunked", b"411"),
                               ("Content-Length: 5\r\nTransfer-Encoding: chunked", b"400"),
                               ("Content-Length: 5, 6", b"400"), ("Content-Length: -5", b"400"),
                               ("Content-Length: 5\r\nContent-Length: 6", b"400"),
                               ("Content-Length: 0x5", b"400"), ("", b"411"),
                               ("Content-Length: 99999999999999999999", b"400")):
            with self.subTest(fields=fields):
                head = f"PUT /{Key().z32} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode()
                reply = self.raw(head + (b"\r\n" if fields else b""))
                self.assertTrue(reply.startswith(b"HTTP/1.1 " + status), reply)
                self.assertEqual(reply.count(b"HTTP/1.1 "), 1, reply)

    def test_a_body_where_none_belongs(self):
        reply = self.raw(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /")
        self.assertTrue(reply.startswith(b"HTTP/1.1 400"), reply)

    def test_a_line_that_ends_too_early(self):
        """lws takes a %0a in the url for the line's end, and what follows for a field."""
        for text in (b"GET /healthz%0aX-Forwarded-For:192.0.2.9 HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET /healthz%0dHost:x HTTP/1.1\r\n\r\n", b"GET /healthz\r\n\r\n"):
            with self.subTest(text=text[:20]):
                reply = self.raw(text)
                self.assertNotIn(b" 200 ", reply)
                self.assertLessEqual(reply.count(b"HTTP/1."), 1)
        connection = self.server.connect(self.server.metrics)
        connection.putrequest("GET", "/metrics%0aa:", skip_host=True)
        connection.endheaders()
        with self.assertRaises(OSError):
            connection.getresponse()
        self.assertEqual(self.raw(b"GET /healthcheck HTTP/1.0\r\n\r\n")[-2:], b"OK")

    def test_rubbish(self):
        for text in (b"\0" * 100, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
                     b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 5000 + b"\r\n",
                     b"BREW / HTTP/1.1\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\nhello",
                     b"GET /%zz HTTP/1.1\r\n\r\n", b"GET /%00 HTTP/1.1\r\n\r\n",
                     b"GET /dns-query?dns=%00 HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     b"Sec-WebSocket-Version: 13\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"):
            reply = self.raw(text)
            self.assertNotIn(b" 200 ", reply[:16], text[:30])
            self.assertNotIn(b" 101 ", reply[:16], text[:30])
        self.assertEqual(self.server.ask("GET", "/healthcheck").body, b"OK")

    def test_an_offer_of_http2_is_passed_over(self):
        reply = self.raw(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n"
                         b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__"
                         b"\r\n\r\n")
        self.assertTrue(reply.endswith(b"\r\n\r\nOK"), reply)

    def test_hundreds_at_once(self):
        keys = [Key() for _ in range(40)]
        bodies = {key.z32: key.packet(RELAY) for key in keys}

        def publish(number):
            key = keys[number % len(keys)].z32
            connection = self.server.connect()
            try:
                put = send(connection, "PUT", f"/pkarr/{key}", bodies[key]).status
                return put, send(connection, "GET", f"/pkarr/{key}").body == bodies[key]
            finally:
                connection.close()

        with concurrent.futures.ThreadPoolExecutor(64) as pool:
            self.assertEqual(set(pool.map(publish, range(400))), {(204, True)})
        self.assertEqual(self.server.count("kmdns_store_packets"), len(keys))

    def test_many_idle_connections(self):
        idle = [self.server.tcp() for _ in range(200)]
        self.assertEqual(self.server.ask("GET", "/healthcheck").body, b"OK")
        self.wait_for(lambda: self.server.count("kmdns_http_connections") == 200)
        for sock in idle:
            sock.close()


class Doh(DnsCase):
    """DNS over HTTPS, in plain HTTP."""

    def setUp(self):
        super().setUp()
        self.server = self.dns()
        self.key = Key()
        self.name = f"_iroh.{self.key.z32}.{ORIGIN}."
        self.server.ask("PUT", f"/{self.key.z32}", self.key.packet(RELAY, ttl=33))

    def get(self, text, **headers):
        return self.server.ask("GET", "/dns-query?" + text, **headers)

    def json(self, text, **headers):
        reply = self.get(text, **headers)
        self.assertEqual(reply.status, 200, reply)
        self.assertEqual(reply.headers["content-type"], "application/dns-json")
        return json.loads(reply.body)

    @staticmethod
    def encoded(message):
        return "dns=" + base64.urlsafe_b64encode(message).rstrip(b"=").decode()

    def test_get(self):
        for headers in ({}, {"Accept": "application/dns-message"}, {"Accept": "*/*"},
                        {"Accept": "text/html, application/dns-message;q=0.5"}):
            reply = self.get(self.encoded(query(self.name)), **headers)
            self.assertEqual((reply.status, reply.headers["content-type"]),
                             (200, "application/dns-message"))
            self.assertEqual(reply.headers["cache-control"], "max-age=33")
            answer = Answer(reply.body)
            self.assertEqual((answer.id, answer.rcode, answer.texts()), (0, 0, [RELAY]))

    def test_post(self):
        body = query(self.name, number=4711)
        reply = self.server.ask("POST", "/dns-query", body, Content_Type="application/dns-message")
        self.assertEqual((reply.status, reply.headers["content-type"]),
                         (200, "application/dns-message"))
        answer = Answer(reply.body)
        self.assertEqual((answer.id, answer.texts()), (4711, [RELAY]))

    def test_json(self):
        for headers in ({}, {"Accept": "application/dns-json"}, {"Accept": "application/json"},
                        {"Accept": "application/x-javascript"}):
            answer = self.json(f"name={self.name}&type=TXT", **headers)
            self.assertEqual(answer["Status"], 0)
            self.assertEqual(answer["Question"], [{"name": self.name, "type": 16}])
            self.assertEqual(answer["Answer"],
                             [{"name": self.name, "type": 16, "TTL": 33, "data": RELAY}])
            self.assertEqual([answer[flag] for flag in ("TC", "RD", "CD")], [False, True, False])
        for kind in "txt", "16", "TYPE16":
            self.assertEqual(self.json(f"name={self.name}&type={kind}")["Answer"][0]["data"], RELAY)
        self.assertEqual(self.json(f"name={self.name[:-1]}&type=TXT&cd=1&rd=0&random_padding=x")
                         ["CD"], True)

    def test_json_of_static_records(self):
        self.assertEqual(self.json(f"name={ORIGIN}")["Answer"],
                         [{"name": ORIGIN + ".", "type": 1, "TTL": 3600, "data": "192.0.2.7"}])
        self.assertEqual(self.json(f"name=text.{ORIGIN}&type=TXT")["Answer"][0]["data"], "a bc")
        answer = self.json(f"name=nothing.{ORIGIN}")
        self.assertEqual((answer["Status"], "Answer" in answer), (3, False))
        self.assertEqual([record["type"] for record in answer["Authority"]], [6])
        self.assertEqual(self.json("name=example.com&type=A&do=1")["Status"] in (3, 5), True)

    def test_forms_across(self):
        reply = self.get(self.encoded(query(self.name)), Accept="application/dns-json")
        self.assertEqual(json.loads(reply.body)["Answer"][0]["data"], RELAY)
        reply = self.get(f"name={self.name}&type=TXT&ct=application/dns-message")
        self.assertEqual(Answer(reply.body).texts(), [RELAY])

    def test_head(self):
        reply = self.server.ask("HEAD", "/dns-query?" + self.encoded(query(self.name)))
        self.assertEqual((reply.status, reply.body), (200, b""))
        self.assertGreater(int(reply.headers["content-length"]), 12)

    def test_refused(self):
        message = self.encoded(query(self.name))
        for text, status in (("", 400), ("dns=", 400), ("dns=A", 400), ("dns=AA!A", 400),
                             ("dns=AAAA", 400), (self.encoded(bytes(12)[:5]), 400),
                             ("type=TXT", 400), ("name=", 400), ("name=a..b", 400),
                             ("name=" + "a" * 64, 400), ("name=" + "a." * 128, 400),
                             ("name=a%20b", 400), ("name=a&type=FOO", 400),
                             ("name=a&type=65536", 400), ("name=a&type=0", 400),
                             ("name=a&cd=maybe", 400)):
            with self.subTest(text=text):
                reply = self.get(text)
                self.assertEqual(reply.status, status, reply)
                self.assertEqual(json.loads(reply.body)["status"], str(status))
        self.assertEqual(self.get(message, Accept="text/html").status, 406)
        # An answer is no question.
        self.assertEqual(self.get(self.encoded(b"\0\0\x80" + bytes(9))).status, 400)

    def test_refused_bodies(self):
        def post(body, kind="application/dns-message"):
            return self.server.ask("POST", "/dns-query", body, Content_Type=kind)

        self.assertEqual(post(b"x").status, 400)
        self.assertEqual(post(bytes(4097)).status, 413)
        self.assertEqual(post(query(self.name), "text/plain").status, 415)
        self.assertEqual(post(b"").status, 400)
        reply = self.server.ask("PUT", "/dns-query", query(self.name))
        self.assertEqual((reply.status, reply.headers["allow"]), (405, "GET, HEAD, POST, OPTIONS"))

    @unittest.skipUnless(can("curl", "--version"), "no curl here")
    def test_curl(self):
        done = subprocess.run(["curl", "-s", "--max-time", str(LIMIT), "-G",
                               f"http://{self.server.http}/dns-query", "-d", f"name={self.name}",
                               "-d", "type=TXT"], capture_output=True, check=True)
        self.assertEqual(json.loads(done.stdout)["Answer"][0]["data"], RELAY)

    @unittest.skipUnless(can("kdig", "--version"), "no kdig here")
    def test_kdig(self):
        host, port = split(self.server.dns)
        for words in ["+notcp"], ["+tcp"]:
            done = subprocess.run(["kdig", f"@{host}", "-p", str(port), *words, "+short", self.name,
                                   "TXT"], capture_output=True, check=True, timeout=LIMIT)
            self.assertEqual(done.stdout.decode(), f'"{RELAY}"\n')


class Limits(DnsCase):
    def test_publishes(self):
        server = self.dns(MEMORY + "[limits]\nput_per_minute = 2\nput_burst = 3\n")
        key = Key()
        replies = [server.ask("PUT", f"/{key.z32}", key.packet(RELAY)) for _ in range(8)]
        limited = [reply for reply in replies if reply.status == 429]
        self.assertEqual([reply.status for reply in replies[:3]], [204] * 3)
        self.assertGreaterEqual(len(limited), 3)
        self.assertEqual(limited[0].headers["retry-after"], "30")
        self.assertEqual(server.ask("GET", f"/{key.z32}").status, 200)
        self.assertEqual(server.count("kmdns_pkarr_limited_total"), len(limited))

    def test_requests(self):
        server = self.dns(MEMORY + "[limits]\nhttp_per_second = 1\nhttp_burst = 5\n")
        replies = [server.ask("GET", "/healthcheck").status for _ in range(30)]
        self.assertEqual(replies[:5], [200] * 5)
        self.assertGreater(replies.count(429), 10)

    def test_a_source_behind_a_proxy(self):
        limits = '[limits]\nput_per_minute = 1\nput_burst = 1\nclient = "forwarded"\n'
        server = self.dns(MEMORY + limits)

        def status(forwarded):
            key = Key()
            return server.ask("PUT", f"/{key.z32}", key.packet(RELAY),
                              X_Forwarded_For=forwarded).status

        self.assertEqual([status("192.0.2.1"), status("192.0.2.1")], [204, 429])
        # What a client says of itself stands before what the proxy saw.
        self.assertEqual(status("203.0.113.1, 198.51.100.7, 192.0.2.1"), 429)
        self.assertEqual([status("192.0.2.1, 192.0.2.2"), status("192.0.2.2:4711")], [204, 429])
        self.assertEqual([status("2001:db8::1"), status("[2001:db8::2]:4711")], [204, 429])

    def test_a_source_that_cannot_be_read(self):
        """It must not count as the proxy's own, which all such would share."""
        server = self.dns(MEMORY + '[limits]\nput_per_minute = 1\nput_burst = 1\n'
                          'client = "forwarded"\n')

        def status(forwarded):
            key = Key()
            return server.ask("PUT", f"/{key.z32}", key.packet(RELAY),
                              X_Forwarded_For=forwarded).status

        for forwarded in "unknown", "192.0.2.1, x", "192.0.2.1 y, ", "1" * 600:
            self.assertEqual(status(forwarded), 400, forwarded)
        long = "203.0.113.1, " * 80
        self.assertEqual([status(long + "192.0.2.1"), status(long + "192.0.2.2"),
                          status(long + "192.0.2.1")], [204, 204, 429])

    def test_a_source_is_not_believed_without_a_proxy(self):
        server = self.dns(MEMORY + "[limits]\nput_per_minute = 1\nput_burst = 1\n")
        replies = []
        for i in range(3):
            key = Key()
            replies.append(server.ask("PUT", f"/{key.z32}", key.packet(RELAY),
                                      X_Forwarded_For=f"192.0.2.{i}").status)
        self.assertEqual(replies, [204, 429, 429])

    def test_connections(self):
        server = self.dns(MEMORY + NO_LIMITS + "max_http_connections_per_addr = 5\n")
        open_ = []
        for _ in range(5):
            connection = server.connect()
            self.assertEqual(send(connection, "GET", "/healthcheck").status, 200)
            open_.append(connection)
        with server.tcp() as sock:
            try:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                self.assertEqual(sock.recv(1), b"")
            except (ConnectionResetError, BrokenPipeError):
                pass
        self.assertGreaterEqual(server.count("kmdns_http_refused_total"), 1)
        open_.pop().close()
        self.wait_for(lambda: server.count("kmdns_http_connections") == 4)
        self.assertEqual(server.ask("GET", "/healthcheck").status, 200)

    def test_who_holds_all_connections_keeps_nobody_out(self):
        server = self.dns(MEMORY + NO_LIMITS + "max_http_connections = 8\n"
                          "request_timeout_ms = 3600000\n")
        key = Key()
        head = f"PUT /{key.z32} HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\n".encode()
        held = [server.tcp(f"127.0.0.{2 + i % 3}") for i in range(8)]
        for i, sock in enumerate(held):
            sock.sendall(head if i % 2 == 0 else b"G")
        self.wait_for(lambda: server.count("kmdns_http_connections") == 8)
        answers = []

        def try_it():
            try:
                answers.append(server.ask("GET", "/healthcheck").status)
            except OSError:  # refused as long as all of them are new
                pass
            return len(answers) == 3

        self.wait_for(try_it)
        self.assertEqual(answers, [200] * 3)
        self.assertNotEqual(select.select(held, [], [], LIMIT)[0], [])  # one of them went
        for sock in held:
            sock.close()

    def test_handshakes_count(self):
        if not have_openssl():
            self.skipTest("no openssl here")
        make_certificate(self.folder, "root")
        make_certificate(self.folder, "server", "root")
        tls = (f'[https]\nbind = "{ANY}"\ncert_file = "{self.path("server.crt")}"\n'
               f'key_file = "{self.path("server.key")}"\n')
        server = self.dns(tls + MEMORY + "[limits]\nhttp_per_second = 1\nhttp_burst = 6\n")
        done = 0
        for _ in range(30):
            try:
                server.connect_tls(self.path("root.crt")).connect()
                done += 1
            except (OSError, ssl.SSLError):
                pass
        self.assertGreaterEqual(done, 6)
        self.assertLess(done, 25)
        self.assertEqual(server.count("kmdns_http_limited_total"), 30 - done)

    def check_is_ended(self, sock):
        try:
            while sock.recv(65536) != b"":
                pass
        except ConnectionResetError:
            pass

    def test_slow_clients(self):
        server = self.dns(MEMORY + NO_LIMITS + "request_timeout_ms = 500\n")
        key = Key()
        body = key.packet(RELAY)
        head = f"PUT /{key.z32} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for start in (b"", b"GET / HT", head, head + body[:50],
                      b"GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n"):
            with self.subTest(start=start[:20]), server.tcp() as sock:
                sock.sendall(start)
                self.check_is_ended(sock)
        # A byte now and then does not help.
        with server.tcp() as sock:
            try:
                for byte in b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 100000:
                    sock.sendall(bytes([byte]))
                    time.sleep(0.05)
                self.fail("it was let go on")
            except (BrokenPipeError, ConnectionResetError):
                pass
        self.wait_for(lambda: server.count("kmdns_http_connections") == 0)

    def test_a_client_that_does_not_read(self):
        server = self.dns(MEMORY + NO_LIMITS + "request_timeout_ms = 500\n")
        with server.tcp() as sock:
            sock.setblocking(False)
            request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 1000
            self.wait_for(lambda: not self.try_send(sock, request))
            self.wait_for(lambda: server.count("kmdns_http_connections") == 0)

    @staticmethod
    def try_send(sock, data):
        """False when the other side is gone."""
        try:
            sock.send(data)
        except BlockingIOError:
            time.sleep(0.01)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True


class Life(DnsCase):
    def store(self, more=""):
        path = self.path("packets.db")
        return f'[store]\npath = "{path}"\n{more}{NO_LIMITS}'

    def test_killed_and_back(self):
        keys = [Key() for _ in range(20)]
        stamp = now_us()
        stored = {}
        for round_ in range(3):
            server = self.dns(self.store())
            for key in keys:
                if round_ > 0:
                    self.assertEqual(server.ask("GET", f"/{key.z32}").body, stored[key.z32])
                body = key.packet(RELAY, timestamp_us=stamp + round_)
                self.assertEqual(server.ask("PUT", f"/{key.z32}", body).status, 204)
                stored[key.z32] = body
                old = key.packet(RELAY, timestamp_us=stamp + round_ - 1)
                self.assertEqual(server.ask("PUT", f"/{key.z32}", old).status, 409)
            server.send(signal.SIGKILL)
            self.assertEqual(server.wait().status, -signal.SIGKILL)
        server = self.dns(self.store())
        self.assertEqual(server.lookup(f"_iroh.{keys[0].z32}.{ORIGIN}").texts(), [RELAY])
        self.assertEqual(server.count("kmdns_store_packets"), len(keys))
        self.assertEqual(server.stop().status, OK)

    def test_killed_while_they_publish(self):
        """What was answered with 204 is there afterwards, whatever else."""
        server = self.dns(self.store())
        accepted = {}

        def publish(number):
            key = Key()
            try:
                for i in range(1000):
                    body = key.packet(RELAY, timestamp_us=1700000000000000 + i)
                    if server.ask("PUT", f"/{key.z32}", body).status == 204:
                        accepted[key.z32] = 1700000000000000 + i
                        if number == 0 and i == 30:
                            server.send(signal.SIGKILL)
            except OSError:
                pass
            except Exception as error:  # http.client's, for a reply that is cut off
                self.assertIn("http.client", type(error).__module__)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(publish, range(8)))
        self.assertGreater(len(accepted), 0)
        again = self.dns(self.store())
        for key, stamp in accepted.items():
            body = again.ask("GET", f"/{key}").body
            self.assertGreaterEqual(int.from_bytes(body[64:72], "big"), stamp)

    def test_a_request_while_the_one_before_is_being_stored(self):
        server, key = self.dns(self.store("full_sync = true\n")), Key()
        for i in range(30):
            body = key.packet(RELAY, timestamp_us=1700000000000000 + i)
            with server.tcp() as sock:
                sock.sendall(f"PUT /{key.z32} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
                             "\r\n\r\n".encode() + body)
                sock.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                received = b""
                try:
                    while (piece := sock.recv(65536)) != b"":
                        received += piece
                except ConnectionResetError:
                    pass
            self.assertTrue(received.startswith(b"HTTP/1.1 204"), received)
            # Where both came in one read, the sender is told that the second was not taken.
            self.assertTrue(received.endswith(b"\r\n\r\nOK") or b"connection: close" in received)

    def test_a_disk_that_is_full(self):
        path = self.config(self.store())
        small = self.start(Dns, "--config", path, restore_signals=False,  # SIGXFSZ stays ignored
                           preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                                 (200000, 200000)))
        accepted, failed = {}, 0
        for _ in range(300):
            key = Key()
            body = key.packet(RELAY, "user-data=" + "x" * 240)
            reply = small.ask("PUT", f"/{key.z32}", body)
            if reply.status == 204:
                accepted[key.z32] = body
            else:
                self.assertEqual((reply.status, reply.headers["retry-after"]), (503, "5"))
                failed += 1
        self.assertGreater(len(accepted), 10)
        self.assertGreater(failed, 10)
        self.assertEqual(small.count("kmdns_store_failed_total"), failed)
        self.assertEqual(small.ask("GET", "/healthcheck").body, b"OK")
        if reply.status == 503:
            health = small.ask("GET", "/healthz")
            self.assertEqual((health.status, json.loads(health.body)["status"]), (503, "store"))
            self.assertEqual(small.count("kmdns_store_failing"), 1)
        self.assertIn(" packet-write-failed ", small.stop().err)
        again = self.dns(self.store())
        for key, body in accepted.items():
            self.assertEqual(again.ask("GET", f"/{key}").body, body)

    def test_a_database_that_cannot_be_read(self):
        """What is not known to be there is not said to be absent."""
        keys = [Key() for _ in range(100)]
        stamp = now_us()
        server = self.dns(self.store())
        for key in keys:
            body = key.packet(RELAY, "user-data=" + "x" * 240, timestamp_us=stamp)
            self.assertEqual(server.ask("PUT", f"/{key.z32}", body).status, 204)
        server.stop()
        server = self.dns(self.store("cache_bytes = 65536\n"))
        size = os.path.getsize(self.path("packets.db"))
        with open(self.path("packets.db"), "r+b") as file:
            file.seek(4 * 4096)
            file.write(b"\x77" * (size - 4 * 4096))
        other = Key()
        self.assertEqual(server.ask("PUT", f"/{other.z32}", other.packet(RELAY)).status, 204)
        statuses = {server.ask("GET", f"/{key.z32}").status for key in keys}
        self.assertIn(503, statuses)
        self.assertLessEqual(statuses, {503, 200})
        codes = {server.lookup(f"_iroh.{key.z32}").rcode for key in keys}
        self.assertIn(2, codes)
        self.assertLessEqual(codes, {2, 0})
        older = [key.packet(RELAY, timestamp_us=stamp - 1) for key in keys]
        statuses = {server.ask("PUT", f"/{key.z32}", body).status
                    for key, body in zip(keys, older)}
        self.assertIn(503, statuses)
        self.assertLessEqual(statuses, {503, 409})
        self.assertEqual(server.ask("GET", "/healthz").status, 503)
        self.assertEqual(server.stop().err.count("packet-read-failed"), 1)

    def test_who_kept_a_copy_cannot_keep_it_alive(self):
        server = self.dns("max_age_s = 2\n" + NO_LIMITS, plain=PLAIN + self.store().split("[lim")[0])
        key, stamp = Key(), now_us()
        body = key.packet(RELAY, timestamp_us=stamp)
        old = key.packet(RELAY, timestamp_us=stamp - 365 * 86400 * 1000000)
        self.assertEqual(server.ask("PUT", f"/{key.z32}", body).status, 204)

        def expired():
            status = server.ask("PUT", f"/{key.z32}", body).status
            self.assertIn(status, (204, 409))
            return status == 409

        self.wait_for(expired)
        self.assertEqual(server.ask("GET", f"/{key.z32}").status, 404)
        self.wait_for(lambda: server.count("kmdns_store_evicted_age_total") == 1)
        for copy in body, old:
            self.assertEqual(server.ask("PUT", f"/{key.z32}", copy).status, 409)
            self.assertEqual(server.ask("GET", f"/{key.z32}").status, 404)
        fresh = key.packet(RELAY, timestamp_us=stamp + 1)
        self.assertEqual(server.ask("PUT", f"/{key.z32}", fresh).status, 204)

    def test_stops_gracefully(self):
        server = self.dns(self.store("") + "shutdown_grace_ms = 60000\n")
        key = Key()
        body = key.packet(RELAY)
        idle = server.connect()
        self.assertEqual(send(idle, "GET", "/healthcheck").status, 200)
        with server.tcp() as sock:
            sock.sendall(f"PUT /{key.z32} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
                         "\r\n".encode())
            while server.count("kmdns_pkarr_puts_total") == 0:
                time.sleep(0.01)
            server.send(signal.SIGTERM)
            server.event("stopping")
            self.assertEqual(idle.sock.recv(1), b"")  # nothing was under way there
            sock.sendall(body)
            reply = sock.recv(65536)
            self.assertTrue(reply.startswith(b"HTTP/1.1 204"), reply)
            self.assertIn(b"connection: close", reply)
        self.assertEqual(server.wait().status, OK)
        self.assertEqual(self.dns(self.store()).ask("GET", f"/{key.z32}").body, body)

    def test_grace_ends(self):
        server = self.dns(MEMORY + NO_LIMITS +
                          "shutdown_grace_ms = 200\nrequest_timeout_ms = 3600000\n")
        with server.tcp() as sock:
            sock.sendall(f"PUT /{Key().z32} HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n"
                         "\r\n".encode())
            while server.count("kmdns_pkarr_puts_total") == 0:
                time.sleep(0.01)
            self.assertEqual(server.stop().status, OK)

    def test_two_signals_end_at_once(self):
        server = self.dns(MEMORY + NO_LIMITS + "shutdown_grace_ms = 600000\n")
        with server.tcp() as sock:
            sock.sendall(f"PUT /{Key().z32} HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n"
                         "\r\n".encode())
            while server.count("kmdns_pkarr_puts_total") == 0:
                time.sleep(0.01)
            server.send(signal.SIGTERM)
            server.event("stopping")
            self.assertEqual(server.stop().status, 128 + signal.SIGTERM)

    def test_a_changed_file_is_told_about(self):
        path = self.config(MEMORY)
        server = self.start(Dns, "--config", path)
        server.send(signal.SIGHUP)
        self.assertEqual(server.event("reloaded")["certificate"], False)
        self.config(MEMORY + "[limits]\nput_burst = 7\n")
        server.send(signal.SIGHUP)
        server.event("reloaded")
        self.config("no toml")
        server.send(signal.SIGHUP)
        server.event("reloaded")
        err = server.stop().err
        self.assertEqual(err.count("restart-needed"), 1, err)
        self.assertEqual(err.count("reload-failed"), 1, err)

    def test_a_busy_store(self):
        server = self.dns(self.store())
        result = run_dns("--config", self.config(self.store(), name="second.toml"))
        self.assertNotEqual(result.status, OK)
        self.assertIn("packets.db", result.err)
        self.assertEqual(server.ask("GET", "/healthcheck").status, 200)

    def test_metrics(self):
        server = self.dns()
        key = Key()
        server.ask("PUT", f"/{key.z32}", key.packet(RELAY))
        server.lookup(f"_iroh.{key.z32}")
        server.lookup_tcp(f"_iroh.{key.z32}")
        server.ask("GET", f"/dns-query?name=_iroh.{key.z32}&type=TXT")
        for name, value in (("pkarr_puts_total", 1), ("store_new_total", 1),
                            ("udp_queries_total", 1), ("tcp_queries_total", 1),
                            ("doh_json_total", 1), ("queries_total", 3),
                            ("queries_answered_total", 3), ("store_packets", 1)):
            self.assertEqual(server.count("kmdns_" + name), value, name)
        connection = server.connect(server.metrics)
        reply = send(connection, "GET", "/metrics")
        self.assertTrue(reply.headers["content-type"].startswith("application/openmetrics-text"))
        self.assertTrue(reply.body.endswith(b"# EOF\n"))
        self.assertEqual(server.ask("GET", "/metrics").status, 404)


@unittest.skipUnless(have_openssl(), "no openssl here")
class Certificate(DnsCase):
    def setUp(self):
        super().setUp()
        for authority in "first", "second":
            make_certificate(self.folder, authority)
            make_certificate(self.folder, authority + "-server", authority)
        self.install("first")
        plain = PLAIN.replace(f'http.bind = "{ANY}"\n', "")
        tls = (f'[https]\nbind = "{ANY}"\ncert_file = "{self.path("live.crt")}"\n'
               f'key_file = "{self.path("live.key")}"\n')
        self.server = self.dns(tls + MEMORY + NO_LIMITS, plain=plain)

    def install(self, name):
        for end in "crt", "key":
            shutil.copy(self.path(f"{name}-server.{end}"), self.path(f"live.{end}"))

    def ask(self, authority, *request, **headers):
        connection = self.server.connect_tls(self.path(authority + ".crt"))
        try:
            return send(connection, *request, **headers)
        finally:
            connection.close()

    def test_everything_works_over_tls(self):
        self.assertEqual((self.server.http, self.server.ready["http"]), (None, []))
        key = Key()
        body = key.packet(RELAY)
        self.assertEqual(self.ask("first", "PUT", f"/pkarr/{key.z32}", body).status, 204)
        self.assertEqual(self.ask("first", "GET", f"/pkarr/{key.z32}").body, body)
        reply = self.ask("first", "POST", "/dns-query", query(f"_iroh.{key.z32}"),
                         Content_Type="application/dns-message")
        self.assertEqual(Answer(reply.body).texts(), [RELAY])
        connection = self.server.connect_tls(self.path("first.crt"))
        for _ in range(20):
            self.assertEqual(send(connection, "GET", f"/pkarr/{key.z32}").body, body)
        connection.close()

    def test_reload(self):
        stays = self.server.connect_tls(self.path("first.crt"))
        self.assertEqual(send(stays, "GET", "/healthcheck").body, b"OK")
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.ask("second", "GET", "/healthcheck")
        self.install("second")
        self.server.send(signal.SIGHUP)
        self.assertEqual(self.server.event("reloaded")["certificate"], True)
        self.assertEqual(self.ask("second", "GET", "/healthcheck").body, b"OK")
        with self.assertRaises(ssl.SSLCertVerificationError):
            self.ask("first", "GET", "/healthcheck")
        self.assertEqual(send(stays, "GET", "/healthcheck").body, b"OK")
        stays.close()

    def test_a_reload_that_fails_changes_nothing(self):
        with open(self.path("live.crt"), "w", encoding="ascii") as file:
            file.write("no certificate")
        self.server.send(signal.SIGHUP)
        self.assertEqual(self.server.event("reloaded")["certificate"], False)
        self.assertEqual(self.ask("first", "GET", "/healthcheck").body, b"OK")
        self.assertIn("certificate-failed", self.server.stop().err)

    def test_check(self):
        good = self.config(f'[https]\ncert_file = "{self.path("live.crt")}"\n'
                           f'key_file = "{self.path("live.key")}"\n' + MEMORY, name="good.toml")
        self.assertEqual(run_dns("--check", "--config", good).status, OK)
        bad = self.config(f'[https]\ncert_file = "{self.path("first-server.crt")}"\n'
                          f'key_file = "{self.path("second-server.key")}"\n' + MEMORY,
                          name="bad.toml")
        for words in ["--check"], []:
            self.check_sentence(run_dns(*words, "--config", bad), USAGE, "does not belong")
        missing = self.config('[https]\ncert_file = "/nonexistent/c"\nkey_file = "/nonexistent/k"\n'
                              + MEMORY, name="missing.toml")
        self.check_sentence(run_dns("--check", "--config", missing), USAGE, "/nonexistent/c")

    def test_half_a_handshake(self):
        path = self.config(MEMORY + f'[https]\nbind = "{ANY}"\n'
                           f'cert_file = "{self.path("live.crt")}"\n'
                           f'key_file = "{self.path("live.key")}"\n' + NO_LIMITS +
                           "request_timeout_ms = 500\n", name="hasty.toml")
        server = self.start(Dns, "--config", path)
        for start in b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03":
            with socket.create_connection(split(server.https), timeout=LIMIT) as sock:
                sock.sendall(start)
                try:
                    while sock.recv(65536) != b"":
                        pass
                except ConnectionResetError:
                    pass
        self.wait_for(lambda: server.count("kmdns_http_connections") == 0)

    def test_plain_http_on_the_tls_port(self):
        with socket.create_connection(split(self.server.https), timeout=LIMIT) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                self.assertNotIn(b"HTTP/1.1 200", sock.recv(65536))
            except ConnectionResetError:
                pass
        self.assertEqual(self.ask("first", "GET", "/healthcheck").body, b"OK")

    @unittest.skipUnless(can("curl", "--version"), "no curl here")
    def test_curl_resolves_by_it(self):
        """curl asks by DoH for the address of the metrics page, and fetches that."""
        doh, port = (split(addr)[1] for addr in (self.server.https, self.server.metrics))
        done = subprocess.run(["curl", "-sS", "--max-time", str(LIMIT), "--cacert",
                               self.path("first.crt"), "--doh-url",
                               f"https://127.0.0.1:{doh}/dns-query", "--noproxy", "*",
                               f"http://local.{ORIGIN}:{port}/metrics"], capture_output=True,
                              check=False)
        self.assertEqual(done.stderr.decode(), "")
        self.assertIn(b"# EOF", done.stdout)
        self.assertGreaterEqual(self.server.count("kmdns_doh_post_total"), 1)


if __name__ == "__main__":
    main()
