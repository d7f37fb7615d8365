"""km-dns beside the real iroh-dns-server: the same requests, and the same status, bodies and
records back. Where km-dns answers otherwise, what both say is written down here."""
import base64
import json
import shutil
import socket
import struct
import subprocess
import unittest

import discovery_lab as lab
from discovery_lab import LIMIT, ORIGIN, Discovery, IrohDns, split
from pkarr import TYPES, Answer, Key, encode_name, now_us, query

TYPES.update({"MX": 15, "ANY": 255, "AXFR": 252})
NXDOMAIN, REFUSED = 3, 5
AFTER_NAME = 12 + len("_iroh") + 1  # of the key's label in a message that begins with _iroh.<z32>


def rdata(kind, ttl, data):
    return struct.pack(">HHIH", TYPES[kind], 1, ttl, len(data)) + data


def text(*strings):
    return b"".join(bytes([len(s)]) + s.encode() for s in strings)


def message(*records, flags=0x8000, count=None):
    """Records: with their names."""
    count = len(records) if count is None else count
    return struct.pack(">HHHHHH", 0, flags, 0, count, 0, 0) + b"".join(records)


def below(key):
    """Records of a key's zone, the first one's name written out and the others pointing at it."""
    def name(prefix):
        labels = [label for label in prefix.split(".") if label]
        return b"".join(text(label) for label in labels) + struct.pack(">H", 0xC000 | AFTER_NAME)
    return [encode_name(f"_iroh.{key.z32}") + rdata("TXT", 30, text("relay=https://a.example/")),
            name("_iroh") + rdata("TXT", 45, text("addr=192.0.2.1:4")),
            name("") + rdata("A", 60, bytes([192, 0, 2, 9])),
            name("") + rdata("NS", 60, encode_name("ns.example")),
            name("v6") + rdata("AAAA", 60, bytes(15) + b"\1"),
            name("mx") + rdata("MX", 60, b"\0\5" + encode_name("mail.example")),
            name("www") + rdata("CNAME", 60, encode_name("target.example")),
            name("alias") + rdata("CNAME", 60, struct.pack(">H", 0xC00C)),
            name("*.wild") + rdata("TXT", 60, text("no wildcard")),
            name("zero") + rdata("TXT", 0, text("not for keeping")),
            name("two") + rdata("TXT", 60, text("a", "b")),
            encode_name("other.example") + rdata("TXT", 60, text("of somebody else"))]


def of_size(key, size):
    """A payload whose DNS message has so many bytes."""
    name = encode_name(f"_iroh.{key.z32}")
    room, records = size - 12, []
    while room > 0:
        length = 250 if room > 500 else room if room <= 250 else room // 2
        records.append(name + rdata("TXT", 30, text("x" * (length - len(name) - 11))))
        room -= length
    made = message(*records)
    assert len(made) == size, (len(made), size)
    return key.payload(made)


class Both(Discovery):
    def setUp(self):
        super().setUp()
        self.km, self.iroh = self.km_dns(), self.iroh_dns()
        self.servers = self.km, self.iroh
        self.key = Key(b"one")
        self.path = f"/pkarr/{self.key.z32}"

    def ask(self, *args, **headers):
        """Both replies."""
        return [server.ask(*args, **headers) for server in self.servers]

    def check(self, what, status, *args, theirs=None, **headers):
        """Both say this status, unless theirs is another one."""
        ours, other = self.ask(*args, **headers)
        self.assertEqual((ours.status, other.status), (status, theirs or status),
                         f"{what}: {ours} {other}")
        return ours, other


class Packets(Both):
    def put(self, what, status, body, key=None, theirs=None):
        path = f"/pkarr/{(key or self.key).z32}"
        return self.check(what, status, "PUT", path, body, theirs=theirs)

    def stored(self, body, path=None):
        ours, theirs = self.check("get", 200, "GET", path or self.path)
        self.assertEqual((ours.body, theirs.body), (body, body))
        return ours, theirs

    def test_the_newest_stays(self):
        time = now_us()
        good = self.key.packet("relay=https://a.example/", "user-data=x", timestamp_us=time)
        self.check("nothing yet", 404, "GET", self.path)
        self.put("good", 204, good)
        self.put("the same again", 204, good)
        for reply in self.stored(good):
            self.assertEqual(reply.headers["content-type"], "application/x-pkarr-signed-packet")
            self.assertEqual(reply.headers["access-control-allow-origin"], "*")
        ours, theirs = self.check("head", 200, "HEAD", self.path)
        self.assertEqual(ours.headers["content-length"], theirs.headers["content-length"])
        # We say what became of it, as the reference relay of pkarr does; neither takes it.
        older = self.key.packet("relay=https://b.example/", timestamp_us=time - 1)
        self.put("older", 409, older, theirs=204)
        self.stored(good)
        newer = self.key.packet("relay=https://c.example/", timestamp_us=time + 1)
        self.put("newer", 204, newer)
        self.stored(newer)

    def test_two_of_one_time(self):
        """The larger bytes count: all servers come to hold the same one."""
        time = now_us()
        both = sorted((self.key.packet(f"relay=https://{c}.example/", timestamp_us=time)
                       for c in "ab"), key=lambda payload: payload[72:])
        self.put("smaller", 204, both[0])
        self.put("larger", 204, both[1])
        self.stored(both[1])
        self.put("smaller again", 409, both[0], theirs=204)
        self.stored(both[1])

    def test_what_is_not_signed(self):
        good = self.key.packet("relay=https://a.example/")
        for at in 0, 63, 64, 71, 72, len(good) - 1:
            self.put(f"byte {at}", 400, good[:at] + bytes([good[at] ^ 1]) + good[at + 1:])
        for length in 0, 1, 63, 64, 71, 72, 80, 84, len(good) - 1:
            self.put(f"cut at {length}", 400, good[:length])
        self.put("more", 400, good + b"\0")
        self.put("of another key", 400, good, key=Key(b"two"))
        self.check("nothing was stored", 404, "GET", self.path)

    def test_sizes(self):
        for size in 600, 999, 1000:
            key = Key(b"%d" % size)
            payload = of_size(key, size)
            self.put(f"{size}", 204, payload, key=key)
            self.stored(payload, f"/pkarr/{key.z32}")
        for size in 1001, 1072, 1500, 100000:
            key = Key(b"%d" % size)
            self.put(f"{size}", 413, of_size(key, size), key=key, theirs=400)
            self.check(f"{size} was stored", 404, "GET", f"/pkarr/{key.z32}")

    def test_what_was_signed(self):
        good = encode_name("_iroh.x") + rdata("TXT", 30, text("x"))
        loop = b"\xc0\x0c" + rdata("TXT", 30, text("x"))
        for what, status, dns in (
                ("no message", 400, b"hello"), ("nothing", 400, b""),
                ("a count that is a lie", 400, message(good, count=2)),
                ("a name without end", 400, message(loop)),
                ("a name ahead", 400, message(b"\xc0\x20" + rdata("TXT", 30, text("x")))),
                ("a record cut off", 400, message(good[:-1])),
                ("no records", 204, message()), ("zeros", 204, bytes(12)),
                ("bytes after it", 204, message(good) + b"more")):
            key = Key(what.encode())
            payload = key.payload(dns)
            self.put(what, status, payload, key=key)
            if status == 204:
                self.stored(payload, f"/pkarr/{key.z32}")

    def test_times(self):
        for time in 0, 1, now_us() + 365 * 86400 * 10**6, 2**63, 2**64 - 1:
            key = Key(b"%d" % time)
            payload = key.packet("relay=https://a.example/", timestamp_us=time)
            self.put(f"time {time}", 204, payload, key=key)
            self.stored(payload, f"/pkarr/{key.z32}")

    def test_paths_and_methods(self):
        payload, z = self.key.packet("relay=https://a.example/"), self.key.z32
        for name in "x", z[:-1], z + "y", z.upper(), "l" * 52, "%20":
            self.check(name, 400, "PUT", f"/pkarr/{name}", payload)
            self.check(name, 400, "GET", f"/pkarr/{name}")
        for method in "DELETE", "POST", "PATCH":
            ours, theirs = self.check(method, 405, method, self.path)
            for reply in ours, theirs:
                self.assertIn("PUT", reply.headers["allow"])
        for path in "/", "/healthcheck", "/healthz":
            self.check(path, 200, "GET", path)
        self.check("nowhere", 404, "GET", "/nowhere")
        # What pkarr's own relay has, and iroh's does not.
        self.check("without a prefix", 204, "PUT", f"/{z}", payload, theirs=404)
        self.check("without a prefix", 200, "GET", f"/{z}", theirs=404)
        self.check("before a web page asks", 204, "OPTIONS", self.path, theirs=200)


class Questions(Both):
    def setUp(self):
        super().setUp()
        self.check("all", 204, "PUT", self.path, self.key.payload(
            message(*below(self.key))))

    # --- every way to ask one server; each an Answer

    @staticmethod
    def udp(server, question):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(LIMIT)
            sock.connect(split(server.dns))
            sock.send(question)
            return Answer(sock.recv(65535))

    @staticmethod
    def tcp(server, question):
        with socket.create_connection(split(server.dns), timeout=LIMIT) as sock:
            sock.sendall(struct.pack(">H", len(question)) + question)
            stream = sock.makefile("rb")
            return Answer(stream.read(struct.unpack(">H", stream.read(2))[0]))

    @staticmethod
    def doh_get(server, question):
        text_of = base64.urlsafe_b64encode(question).rstrip(b"=").decode()
        reply = server.ask("GET", f"/dns-query?dns={text_of}", Accept="application/dns-message")
        return Questions.doh(reply)

    @staticmethod
    def doh_post(server, question):
        return Questions.doh(server.ask("POST", "/dns-query", question,
                                        Content_Type="application/dns-message",
                                        Accept="application/dns-message"))

    @staticmethod
    def doh(reply):
        assert (reply.status, reply.headers["content-type"]) == (200, "application/dns-message")
        return Answer(reply.body)

    @staticmethod
    def json(server, name, kind):
        reply = server.ask("GET", f"/dns-query?name={name}&type={kind}",
                           Accept="application/dns-json")
        assert (reply.status, reply.headers["content-type"]) == (200, "application/dns-json")
        return json.loads(reply.body)

    def everywhere(self, server, name, kind):
        """The answer, which is the same on all ways; with it what JSON makes of it."""
        question = query(name, kind, 77)
        answers = [way(server, question) for way in (self.udp, self.tcp, self.doh_get,
                                                     self.doh_post)]
        for answer in answers[1:]:
            self.assertEqual((answer.flags, answer.answers),
                             (answers[0].flags, answers[0].answers))
        said = self.json(server, name, kind)
        self.assertEqual(said["Status"], answers[0].rcode)
        self.assertEqual([(a["name"], a["type"], a["TTL"]) for a in said.get("Answer", [])],
                         [a[:3] for a in answers[0].answers])
        return answers[0], said

    def names(self, *prefixes):
        for below_what in ORIGIN + ".", "":
            for prefix in prefixes:
                yield f"{prefix}.{self.key.z32}.{below_what}".lstrip(".")

    def test_the_same_records(self):
        for kind, *prefixes in (("TXT", "_iroh", "zero", "two", "nothing", "x.wild", "a.b.c"),
                                ("A", ""), ("AAAA", "v6"), ("MX", "mx"), ("CNAME", "www")):
            for name in self.names(*prefixes):
                (ours, our_json), (theirs, their_json) = (self.everywhere(server, name, kind)
                                                          for server in self.servers)
                self.assertEqual((ours.flags, ours.answers), (theirs.flags, theirs.answers), name)
                for member in "Status", "TC", "RD", "RA", "AD", "CD", "Question", "Answer":
                    self.assertEqual(our_json.get(member), their_json.get(member), name)
        for name in self.names("_iroh"):
            self.assertEqual(sorted(self.udp(self.km, query(name)).texts()),
                             ["addr=192.0.2.1:4", "relay=https://a.example/"])

    def test_the_same_errors(self):
        stranger = Key(b"stranger").z32
        for name, kind in ((f"_iroh.{stranger}.{ORIGIN}", "TXT"), (f"_iroh.{stranger}", "TXT"),
                           (f"_iroh.nokey.{ORIGIN}", "TXT"), (f"x.{ORIGIN}", "A")):
            ours, theirs = (self.udp(server, query(name, kind)) for server in self.servers)
            self.assertEqual((ours.flags, ours.answers), (theirs.flags, theirs.answers), name)
            self.assertEqual(ours.rcode, NXDOMAIN)

    def test_the_same_domain(self):
        for kind in "A", "NS", "AAAA", "TXT":
            ours, theirs = (self.udp(server, query(ORIGIN, kind)) for server in self.servers)
            self.assertEqual(ours.flags, theirs.flags, kind)
            self.assertEqual([a[:2] for a in ours.answers], [a[:2] for a in theirs.answers], kind)

    def test_with_what_resolvers_add(self):
        question = query(f"_iroh.{self.key.z32}.{ORIGIN}")
        option = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
        edns = question[:10] + b"\0\1" + question[12:] + option
        for asked in edns, question[:2] + bytes(2) + question[4:]:
            ours, theirs = (self.udp(server, asked) for server in self.servers)
            self.assertEqual((ours.flags, ours.answers), (theirs.flags, theirs.answers))
            self.assertEqual(len(ours.answers), 2)
        # The name comes back as it was asked (0x20 randomisation); theirs as it is stored.
        mixed = f"_IrOh.{self.key.z32}.{ORIGIN}."
        ours, theirs = (self.udp(server, query(mixed)) for server in self.servers)
        self.assertEqual({a[0] for a in ours.answers}, {mixed})
        self.assertEqual({a[0] for a in theirs.answers}, {mixed.lower()})
        self.assertEqual([a[1:] for a in ours.answers], [a[1:] for a in theirs.answers])

    def test_where_we_say_more(self):
        """RFC 1034: no such type is no error, and an alias is an answer. No SOA of another name's,
        and nothing for zones that are not ours, but for those of keys under the root."""
        z = f"{self.key.z32}.{ORIGIN}"
        for name, kind, our_rcode, our_count, their_rcode, their_count in (
                (f"_iroh.{z}", "A", 0, 0, NXDOMAIN, 0), (z, "TXT", 0, 0, NXDOMAIN, 0),
                (z, "NS", 0, 0, NXDOMAIN, 0), (f"www.{z}", "A", 0, 1, NXDOMAIN, 0),
                (f"alias.{z}", "TXT", 0, 3, NXDOMAIN, 0), (z, "SOA", 0, 0, 0, 1),
                ("example.com", "A", REFUSED, 0, NXDOMAIN, 0),
                ("_iroh.nokey", "TXT", REFUSED, 0, NXDOMAIN, 0)):
            ours, theirs = (self.udp(server, query(name, kind)) for server in self.servers)
            self.assertEqual((ours.rcode, len(ours.answers), theirs.rcode, len(theirs.answers)),
                             (our_rcode, our_count, their_rcode, their_count), (name, kind))

    def test_https_forms(self):
        name = f"_iroh.{self.key.z32}.{ORIGIN}"
        question = base64.urlsafe_b64encode(query(name)).rstrip(b"=").decode()
        for what, status, args, headers in (
                ("no Accept", 200, ("GET", f"/dns-query?dns={question}"), {}),
                ("JSON by another name", 200, ("GET", f"/dns-query?name={name}&type=16"),
                 {"Accept": "application/x-javascript"}),
                ("another form", 406, ("GET", f"/dns-query?dns={question}"),
                 {"Accept": "text/html"}),
                ("no base64", 400, ("GET", "/dns-query?dns=!!"), {}),
                ("no question", 400, ("GET", "/dns-query"), {}),
                ("no message", 400, ("POST", "/dns-query", b"x"), {}),
                ("no such type", 400, ("GET", f"/dns-query?name={name}&type=WHAT"),
                 {"Accept": "application/dns-json"})):
            self.check(what, status, *args, **headers)
        # For how long it may be kept: the least TTL of the answers.
        for name, least in (name, 30), (f"zero.{self.key.z32}.{ORIGIN}", 0):
            for reply in self.check(name, 200, "GET", f"/dns-query?name={name}&type=TXT",
                                    Accept="application/dns-json"):
                self.assertRegex(reply.headers["cache-control"], rf"(^|[ -])max-?age={least}$")

    def shown(self, tool, *words):
        """What dig or kdig prints of each server's answer."""
        said = []
        for server in self.servers:
            host, port = split(server.dns)
            done = subprocess.run([tool, f"@{host}", "-p", str(port), *words], timeout=LIMIT,
                                  capture_output=True, text=True, check=True)
            said.append(sorted(line for line in done.stdout.splitlines()
                               if line and not line.startswith(";")))
        return said

    def test_dig_and_kdig(self):
        tools = [tool for tool in ("dig", "kdig") if shutil.which(tool)]
        if not tools:
            self.skipTest("neither dig nor kdig is here")
        for tool in tools:
            for name in self.names("_iroh"):
                for way in "+notcp", "+tcp":
                    ours, theirs = self.shown(tool, way, "+noall", "+answer", name, "TXT")
                    self.assertEqual(ours, theirs)
                    self.assertEqual(len(ours), 2, ours)
                    self.assertIn('"relay=https://a.example/"', "".join(ours))


if __name__ == "__main__":
    IrohDns.program = lab.crate("iroh-dns-server")
    lab.enter()
    unittest.main(verbosity=2)
