"""Found by id: discover, resolve, publish, record, and dialling a bare id, with a real km-dns."""
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

import vectors
from dns_lab import NO_LIMITS, ORIGIN, DnsCase, split
from lab import (BIN, FAILED, LIMIT, OK, UNREACHABLE, USAGE, Process, Server, can, environment,
                 main, run)
from pkarr import Key, encode_name, now_us

VECTORS = vectors.keys()
ID = VECTORS[0]["id"]
TICKET = next(t for t in vectors.tickets() if t["name"] == "ipv4_only")["ticket"]
RELAY = "https://relay.example./"
CLOSED = "http://127.0.0.1:9"
MEMORY = "[store]\nmemory = true\n" + NO_LIMITS
FOUND = {"id": str, "source": str, "direct": list, "relays": list, "age_s": int, "proven": bool,
         "worked": bool}
NAMESPACES = can("unshare", "-rm", "mount", "-t", "tmpfs", "none", "/tmp")


class FindCase(DnsCase):
    """With a km-dns, and a key of one's own."""

    def setUp(self):
        super().setUp()
        self.server = self.dns(MEMORY)
        self.pkarr = f"http://{self.server.http}/pkarr"
        self.key_file = self.path("node.key")
        self.id = run("key", "new", "--out", self.key_file, "--json").event("key")["id"]
        self.z32 = self.form(self.id, "z32")
        self.by_dns = ["--dns-origin", ORIGIN, "--dns-server", self.server.dns]

    @staticmethod
    def form(node_id, name):
        return run("id", node_id, "--json").event("id")[name]

    def node1(self, *args):
        return self.start(Server, "--key-file", self.key_file, *args)

    def put(self, payload, z32):
        return self.server.ask("PUT", "/pkarr/" + z32, payload).status

    def texts(self):
        return self.server.lookup(f"_iroh.{self.z32}.{ORIGIN}").texts()

    def wait_for(self, condition):
        """What is published is there at some time: LIMIT ends a test that hangs."""
        end = time.monotonic() + LIMIT
        while not (value := condition()):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        return value

    def published(self):
        return self.wait_for(self.texts)

    def publish(self, *args, **more):
        return run("publish", "--key-file", self.key_file, "--pkarr", self.pkarr, *args, **more)

    def resolve(self, *args, peer=None, **more):
        return run("resolve", peer or self.id, *(args or ("--pkarr", self.pkarr)), "--json", **more)


class Dial(FindCase):
    def test_through_a_pkarr_relay_and_through_dns(self):
        node1 = self.node1("--pkarr", self.pkarr, "--publish-direct", "--user-data", "hello you")
        self.assertEqual(sorted(self.published()), [f"addr={node1.addr}", "user-data=hello you"])
        for way in ["--pkarr", self.pkarr], self.by_dns, ["--pkarr", self.pkarr, *self.by_dns]:
            for text in self.id, self.form(self.id, "base32"):
                result = run("node2", text, *way, "--send", "x", "--json")
                self.assertEqual(result.status, OK, result.out + result.err)
                connected = result.event("connected")
                self.assertEqual((connected["remote"], connected["addr"]), (self.id, node1.addr))

    def test_a_ticket_that_is_out_of_date(self):
        """The addresses it has lead nowhere any more, discovery knows the new ones."""
        node1 = self.node1("--pkarr", self.pkarr, "--publish-direct")
        self.published()
        old = run("ticket", self.id, "--addr", "127.0.0.1:9", "--json").event("ticket")["ticket"]
        self.assertEqual(run("node2", old, "--no-discovery", "--timeout", 1).status, UNREACHABLE)
        result = run("node2", old, "--pkarr", self.pkarr, "--json")
        self.assertEqual(result.event("connected")["addr"], node1.addr)

    def test_ip_addresses_are_told_only_if_asked_for(self):
        self.node1("--pkarr", self.pkarr, "--user-data", "here")
        self.assertEqual(self.published(), ["user-data=here"])
        result = run("node2", self.id, "--pkarr", self.pkarr)
        self.check_sentence(result, UNREACHABLE)

    def test_nothing_is_told_with_no_publish(self):
        node1 = self.node1("--pkarr", self.pkarr, "--publish-direct", "--user-data", "x",
                           "--no-publish")
        other = self.path("other.key")
        run("key", "new", "--out", other)
        # It looks others up all the same.
        self.assertEqual(run("node2", node1.ticket, "--pkarr", self.pkarr, "--key-file", other,
                             "--no-publish").status, OK)
        self.assertEqual(node1.stop().status, OK)
        self.assertEqual(self.texts(), [])

    def test_nobody_knows_it(self):
        for args, words in ((["--pkarr", self.pkarr], ["no packet"]),
                            (["--pkarr", CLOSED], ["127.0.0.1:9"]), (self.by_dns, ["dns"])):
            result = run("node2", ID, *args, "--timeout", 5)
            self.check_sentence(result, UNREACHABLE, "nobody knows", *words)
            self.assertEqual(result.out, "")

    def test_a_place_that_is_down_delays_nobody(self):
        """One accepts and never answers, one refuses: the third has it."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            node1 = self.node1("--pkarr", self.pkarr, "--publish-direct")
            self.published()
            result = run("node2", self.id, "--pkarr", CLOSED, "--pkarr", self.pkarr, "--pkarr",
                         "http://127.0.0.1:%d" % silent.getsockname()[1], "--json")
            self.assertEqual(result.event("connected")["addr"], node1.addr)

    def test_another_key_answers_at_the_address(self):
        """What is published is a hint: the key is proven at the dial."""
        stranger = self.start(Server)
        self.assertEqual(self.publish("--addr", stranger.addr, "--publish-direct").status, OK)
        self.check_sentence(run("node2", self.id, "--pkarr", self.pkarr), 4, "key")


class Remembered(FindCase):
    def setUp(self):
        super().setUp()
        self.state = self.path("state.db")

    def test_a_second_dial_needs_no_server(self):
        node1 = self.node1("--pkarr", self.pkarr, "--publish-direct")
        self.published()
        ask = ["node2", self.id, "--state", self.state, "--pkarr", self.pkarr, "--json"]
        self.assertEqual(run(*ask).status, OK)
        self.assertEqual(os.stat(self.state).st_mode & 0o777, 0o600)
        self.assertEqual(self.server.stop().status, OK)
        result = run(*ask, "--log", "discovery=info")
        self.assertEqual(result.status, OK, result.err)
        self.assertEqual(result.event("connected")["addr"], node1.addr)
        self.assertIn("source=cache", result.err)
        for found in self.resolve("--state", self.state).events:  # what worked, and what was said
            self.assertEqual((found["source"], found["direct"]), ("cache", [node1.addr]))
        self.assertEqual(run("node2", self.id, "--pkarr", self.pkarr).status, UNREACHABLE)

    def test_what_worked_is_remembered(self):
        """From a ticket, and nobody else knows the peer."""
        node1 = self.node1("--no-discovery")
        self.assertEqual(run("node2", node1.ticket, "--state", self.state).status, OK)
        self.assertEqual(run("node2", self.id, "--state", self.state).status, OK)
        found = self.resolve("--state", self.state).event("found")
        self.check_event(found, "found", **{**FOUND, "source": "cache", "direct": [node1.addr],
                                            "worked": True})

    def test_two_at_once(self):
        node1 = self.node1("--pkarr", self.pkarr, "--publish-direct", "--state", self.state)
        self.published()
        self.assertEqual(run("node2", self.id, "--pkarr", self.pkarr, "--state", self.state).status,
                         OK)
        self.assertEqual(node1.stop().status, OK)

    def test_a_clock_that_went_back(self):
        """What a key publishes is newer than what it published, whatever its clock says: the state
        file knows, or else the relay is asked."""
        for state in [], ["--state", self.state]:
            seed, ahead = os.urandom(32), now_us() + 3600 * 10**6
            key = Key(seed)
            packet = key.packet(f"relay={RELAY}", timestamp_us=ahead)
            self.assertEqual(self.put(packet, key.z32), 204)
            for text in "one", "two":
                result = run("publish", "--secret-key", seed.hex(), "--pkarr", self.pkarr,
                             "--user-data", text, *state)
                self.assertEqual(result.status, OK, result.err)
                found = self.resolve(peer=key.public.hex()).event("found")
                self.assertEqual(found["user_data"], text)
                self.assertGreaterEqual(found["published_ms"], ahead // 1000)

    def check_state(self, path, *words, **more):
        for command in (["node1"], ["node2", ID], ["resolve", ID], ["discover"], ["publish",
                        "--key-file", self.key_file, "--pkarr", self.pkarr, "--relay", RELAY]):
            with self.subTest(command=command[0], path=path):
                self.check_sentence(run(*command, "--state", path, **more), USAGE, path, *words)

    def test_damaged_files_stay_as_they_are(self):
        for name, content in (("text", b"hello, I am no database\n" * 99), ("zeros", bytes(9999)),
                              ("random", os.urandom(20000))):
            path = self.file(name, content)
            self.check_state(path)
            with open(path, "rb") as file:
                self.assertEqual(file.read(), content)
        self.check_state(self.folder)
        self.check_state(self.path("no/folder"))
        self.check_state("/dev/null")

    def test_a_database_that_was_cut(self):
        self.assertEqual(self.publish("--relay", RELAY, "--state", self.state).status, OK)
        with open(self.state, "r+b") as file:
            file.truncate(os.path.getsize(self.state) // 2 - 100)
        self.check_state(self.state)

    @unittest.skipUnless(NAMESPACES, "no mount namespaces here")
    def test_a_file_that_cannot_be_written(self):
        self.assertEqual(self.publish("--relay", RELAY, "--state", self.state).status, OK)
        script = 'mount -o ro --bind "$0" "$0" && exec "$@"'
        self.check_state(self.state, prefix=["unshare", "-rm", "sh", "-c", script, self.folder])

    @unittest.skipUnless(NAMESPACES, "no mount namespaces here")
    def test_a_full_disk(self):
        disk = self.path("disk")
        os.mkdir(disk)
        script = ('mount -t tmpfs -o size=8k none "$0" && head -c 8192 /dev/zero > "$0/full"; '
                  'exec "$@"')
        self.check_state(disk + "/state.db", prefix=["unshare", "-rm", "sh", "-c", script, disk])


class Peers(FindCase):
    def test_a_file_of_peers(self):
        node1 = self.node1("--no-publish")
        peers = self.file("peers", f"# ours\n\n{self.id} {node1.addr} {RELAY}\n{TICKET}\n".encode())
        dialled = run("node2", self.id, "--peers", peers, "--json")
        self.assertEqual(dialled.event("connected")["addr"], node1.addr)
        self.check_event(self.resolve("--peers", peers).event("found"), "found",
                         **{**FOUND, "id": self.id, "source": "file", "direct": [node1.addr],
                            "relays": [RELAY], "proven": False, "worked": False})
        seen = run("discover", "--peers", peers, "--seconds", 1, "--json")
        self.assertEqual(seen.status, OK)
        self.assertEqual({event["id"] for event in seen.events},
                         {self.id, run("ticket", TICKET, "--json").event("ticket")["id"]})

    def test_lines_that_cannot_be_read(self):
        peers = self.file("peers", b"nonsense\n\xff\xfe\x1b[31m\n" + b"a" * 70000 + b"\n" +
                          f"{self.id} 127.0.0.1:99999\n{self.id} 127.0.0.1:7\n".encode())
        result = self.resolve("--peers", peers, "--log", "discovery=debug")
        self.assertEqual(result.event("found")["direct"], ["127.0.0.1:7"])
        for number in 1, 2, 3, 4:
            self.assertRegex(result.err, rf"line[ =]{number}\b")
        self.assertNotIn("\x1b", result.err)

    def test_files_that_cannot_be_read(self):
        os.mkfifo(self.path("fifo"))
        for path in (self.path("missing"), self.folder, self.path("fifo"), "/dev/zero", ""):
            with self.subTest(path=path):
                self.check_sentence(run("resolve", ID, "--peers", path), USAGE, path)


class Resolve(FindCase):
    def test_every_answer_says_where_it_is_from(self):
        self.assertEqual(self.publish("--relay", RELAY, "--addr", "192.0.2.1:4433", "--addr",
                                      "[2001:db8::1]:4433", "--publish-direct", "--user-data",
                                      "motto").status, OK)
        result = self.resolve("--pkarr", self.pkarr, *self.by_dns)
        self.assertEqual(result.status, OK)
        by_source = {event["source"]: event for event in result.events}
        self.assertEqual(set(by_source), {"dns", "pkarr"})
        wanted = {**FOUND, "id": self.id, "relays": [RELAY], "user_data": "motto",
                  "direct": lambda value: sorted(value) == ["192.0.2.1:4433", "[2001:db8::1]:4433"]}
        self.check_event(by_source["pkarr"], "found", **wanted | {
            "proven": True, "valid_s": 30,
            "published_ms": lambda ms: abs(ms - now_us() / 1000) < 1000 * LIMIT})
        self.check_event(by_source["dns"], "found", **wanted | {
            "proven": False, "valid_s": lambda s: 0 < s <= 30})

    def test_for_people(self):
        self.publish("--relay", RELAY, "--user-data", "motto")
        result = run("resolve", self.id, "--pkarr", self.pkarr)
        self.assertEqual(result.status, OK)
        self.assertRegex(result.out, rf"(?m)^{self.id}  by pkarr, signed$")
        self.assertIn(f"  relay     {RELAY}\n  user data motto\n", result.out)

    def test_the_first_answer_is_enough(self):
        self.publish("--relay", RELAY)
        peers = self.file("peers", f"{self.id} 127.0.0.1:7\n".encode())
        both = ["--peers", peers, "--pkarr", self.pkarr]
        self.assertEqual(len(self.resolve(*both).events), 2)
        result = self.resolve("--first", *both)
        self.assertEqual((result.status, len(result.events)), (OK, 1))

    def test_time_is_limited(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = "http://127.0.0.1:%d" % silent.getsockname()[1]
            self.check_sentence(run("resolve", ID, "--pkarr", url, "--timeout", 1), UNREACHABLE,
                                "within 1 s")

    def test_interrupted(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = "http://127.0.0.1:%d" % silent.getsockname()[1]
            for command in (["resolve", ID], ["record", "resolve", ID], ["discover"],
                            ["publish", "--key-file", self.key_file, "--relay", RELAY],
                            ["record", "publish", "--key-file", self.key_file]):
                with self.subTest(command=command[:2]):
                    process = self.start(Process, *command, "--pkarr", url)
                    if command[0] == "discover":
                        time.sleep(0.5)
                    else:
                        self.addCleanup(silent.accept()[0].close)  # it has begun
                    result = process.stop(signal.SIGINT)
                    self.assertEqual((result.status, result.out), (130, ""), result.err)

    def test_nobody_knows_it(self):
        result = self.resolve("--pkarr", self.pkarr, peer=ID)
        self.assertEqual((result.status, result.err), (UNREACHABLE, ""))
        self.check_event(result.event("error"), "error", code=int, name="NOT_FOUND",
                         message=lambda text: "nobody knows" in text and "pkarr" in text)
        self.check_sentence(run("resolve", ID), UNREACHABLE, "nobody knows")

    def test_hostile_user_data_on_the_terminal(self):
        """It may be any UTF-8: nothing of it steers the terminal or pretends to be our words."""
        key = Key()
        text = "user-data=\x1b[2J\x1b]0;own3d\x07\n  record    trusted\r\x9b31m\u0085\u00e9end"
        self.assertEqual(self.put(key.packet(f"relay={RELAY}", text), key.z32), 204)
        result = run("resolve", key.public.hex(), "--pkarr", self.pkarr)
        self.assertEqual(result.status, OK, result.err)
        line = next(line for line in result.out.split("\n") if "user data" in line)
        self.assertTrue(line.endswith("\u00e9end"), repr(line))
        self.assertNotRegex(result.out, "[\x00-\x09\x0b-\x1f\x7f-\x9f]")
        self.assertNotIn("\n  record", result.out)
        event = self.resolve("--pkarr", self.pkarr, peer=key.public.hex()).event("found")
        self.assertEqual(event["user_data"], text.split("=", 1)[1], "a program gets it as it is")

    def test_long_user_data(self):
        longest = "\u00e9" * 122 + "x"
        self.assertEqual(self.publish("--user-data", longest).status, OK)
        self.assertEqual(self.resolve().event("found")["user_data"], longest)
        for text in longest + "y", "x" * 100000:
            self.check_sentence(self.publish("--user-data", text), USAGE, "245")
        self.check_sentence(self.publish("--user-data", os.fsdecode(b"\xff\xfe")), USAGE, "UTF-8")


class Forged(FindCase):
    """A server that says what it likes: it is not believed, and the reason is told."""

    def serve(self, body, status="200 OK"):
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        reply = (f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n"
                 "Connection: close\r\n\r\n").encode() + body

        def answer():
            while True:
                try:
                    peer = server.accept()[0]
                except OSError:
                    return
                with peer:
                    peer.recv(65536)
                    peer.sendall(reply)

        threading.Thread(target=answer, daemon=True).start()
        return "http://127.0.0.1:%d" % server.getsockname()[1]

    def test_packets(self):
        key, other = Key(), Key()
        good = key.packet(f"relay={RELAY}")
        turned = good[:90] + bytes([good[90] ^ 1]) + good[91:]
        loop = key.payload(struct.pack(">HHHHHH", 0, 0x8000, 0, 1, 0, 0) + b"\xc0\x0c" +
                           struct.pack(">HHIH", 16, 1, 30, 0))
        for name, body in (("another key's", other.packet(f"relay={RELAY}")), ("turned", turned),
                           ("cut", good[:60]), ("empty", b""), ("a loop of names", loop),
                           ("too long", good + bytes(5000))):
            with self.subTest(packet=name):
                self.check_sentence(run("resolve", key.public.hex(), "--pkarr", self.serve(body)),
                                    UNREACHABLE if body in (b"",) else (FAILED, UNREACHABLE))
        self.assertEqual(run("resolve", key.public.hex(), "--pkarr", self.serve(good)).status, OK)

    def check_sentence(self, result, status, *words):
        if isinstance(status, tuple):
            self.assertIn(result.status, status, result.out)
            status = result.status
        super().check_sentence(result, status, "pkarr", *words)


class Publish(FindCase):
    def test_events(self):
        result = self.publish("--relay", RELAY, "--json")
        self.assertEqual((result.status, len(result.events)), (OK, 1))
        self.check_event(result.event("published"), "published", source="pkarr", where=self.pkarr)
        self.assertEqual(self.texts(), [f"relay={RELAY}"])
        self.assertEqual(self.publish("--user-data", "only that").status, OK)
        self.assertEqual(self.texts(), ["user-data=only that"], "it replaces what was there")

    def test_for_people(self):
        self.assertEqual(self.publish("--relay", RELAY).out, f"published  pkarr {self.pkarr}\n")

    def test_one_of_two_places_is_down(self):
        result = self.publish("--relay", RELAY, "--pkarr", CLOSED, "--json")
        self.assertEqual((result.status, len(result.events)), (FAILED, 2))
        self.assertEqual(result.event("published")["where"], self.pkarr)
        self.assertIn("127.0.0.1:9", result.event("error")["message"])
        self.assertEqual(self.texts(), [f"relay={RELAY}"])
        plain = self.publish("--relay", RELAY, "--pkarr", CLOSED)
        self.check_sentence(plain, FAILED, "127.0.0.1:9")
        self.assertIn(f"published  pkarr {self.pkarr}\n", plain.out)

    def test_a_place_that_does_not_answer(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = "http://127.0.0.1:%d" % silent.getsockname()[1]
            result = self.publish("--pkarr", url, "--relay", RELAY, "--timeout", 1)
            self.check_sentence(result, FAILED, url, "in time")
            self.assertEqual(result.out, f"published  pkarr {self.pkarr}\n")

    def test_a_path_that_is_wrong(self):
        url = f"http://{self.server.http}/nothing/here"
        self.check_sentence(run("publish", "--key-file", self.key_file, "--pkarr", url, "--relay",
                                RELAY), FAILED, "HTTP 404", "path")

    def test_keep(self):
        process = self.start(Process, "publish", "--key-file", self.key_file, "--pkarr", self.pkarr,
                             "--relay", RELAY, "--keep", "--json")
        self.assertEqual(process.event("published")["where"], self.pkarr)
        self.assertEqual(process.stop(signal.SIGINT).status, 130)

    def test_what_makes_no_sense(self):
        for args, words in (([], ["nothing to publish", "--relay"]),
                            (["--addr", "192.0.2.1:1"], ["--publish-direct"])):
            self.check_sentence(self.publish(*args), USAGE, *words)
        self.assertEqual(self.texts(), [])
        key = ["publish", "--key-file", self.key_file, "--relay", RELAY]
        self.check_sentence(run(*key), USAGE, "nowhere", "--pkarr URL")
        self.check_sentence(run(*key, "--pkarr", self.pkarr, "--no-publish"), USAGE, "--no-publish")
        self.check_sentence(run(*key, "--no-discovery"), USAGE, "--no-discovery")


class Record(FindCase):
    def record(self, word, *args, **more):
        return run("record", word, *args, **more)

    def make(self, *args):
        return self.record("publish", "--key-file", self.key_file, "--pkarr", self.pkarr, *args)

    RECORD = {"name": "alice", "provider": True, "issued": int, "expires": int,
              "devices": [{"id": ID, "name": "phone"}],
              "services": [{"name": "http", "address": "https://example.org/?a=b"}]}
    WORDS = ["--name", "alice", "--device", f"{ID}=phone", "--provider", "--service",
             "http=https://example.org/?a=b"]

    def check_record(self, event, source):
        self.check_event(event, "record", id=self.id, source=source, record=dict)
        self.check_event({"event": "", **event["record"]}, "", **self.RECORD)
        self.assertEqual(event["record"]["expires"] - event["record"]["issued"], 60)

    def test_published_shown_and_resolved(self):
        path = self.path("a.record")
        result = self.make(*self.WORDS, "--life", 60, "--out", path, "--json")
        self.assertEqual(result.status, OK, result.out)
        self.assertEqual(result.event("published")["where"], self.pkarr)
        self.check_record(self.record("show", path, "--json").event("record"), path)
        for way, source in ((["--pkarr", self.pkarr], "pkarr"), (self.by_dns, "dns")):
            self.check_record(self.record("resolve", self.id, *way, "--json").event("record"),
                              source)
        self.assertIn("alice, provider, for ", self.record("show", path).out)
        found = self.resolve().event("found")
        self.assertEqual(found["record"]["name"], "alice")

    def test_what_is_published_stays(self):
        self.publish("--relay", RELAY, "--addr", "192.0.2.1:7", "--publish-direct", "--user-data",
                     "motto")
        before = sorted(self.texts())
        self.assertEqual(len(before), 3)
        for number in range(2):
            result = self.make("--name", f"name{number}", "--json")
            self.assertEqual(result.status, OK)
            self.assertEqual(sorted(self.texts()), before)
            self.assertEqual(self.resolve().event("found")["record"]["name"], f"name{number}")
        self.assertEqual(self.make("--user-data", "another").status, OK)
        self.assertEqual(sorted(self.texts()), sorted([f"relay={RELAY}", "addr=192.0.2.1:7",
                                                       "user-data=another"]))

    def test_what_cannot_be_read_is_not_wiped_out(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = "http://127.0.0.1:%d" % silent.getsockname()[1]
            for place in url, CLOSED:
                self.check_sentence(self.record("publish", "--key-file", self.key_file, "--pkarr",
                                                place), FAILED, "wiped out")

    def test_one_of_two_places_is_down(self):
        self.publish("--relay", RELAY)
        result = self.make("--pkarr", CLOSED, "--json")
        self.assertEqual(result.status, FAILED)
        self.assertEqual(result.event("published")["where"], self.pkarr)
        self.assertEqual(self.texts(), [f"relay={RELAY}"])

    def test_it_is_renewed(self):
        process = self.start(Process, "record", "publish", "--key-file", self.key_file, "--pkarr",
                             self.pkarr, "--life", 2, "--keep", "--json")
        process.event("published")

        def expires():
            found = self.resolve()
            return found.event("found").get("record", {}).get("expires", 0)

        first = expires()
        self.wait_for(lambda: expires() > first)
        self.assertEqual(process.stop().status, 130)

    def test_expired(self):
        path = self.path("a.record")
        self.assertEqual(self.make("--life", 1, "--out", path).status, OK)
        self.wait_for(lambda: self.record("show", path).status != OK)
        self.check_sentence(self.record("show", path), FAILED, "expired")
        self.check_sentence(self.record("resolve", self.id, "--pkarr", self.pkarr), FAILED,
                            "expired")
        event = self.record("show", path, "--json").event("error")
        self.assertEqual(event["name"], "RECORD_EXPIRED")
        result = self.resolve()
        self.assertEqual(result.status, OK)
        self.assertIn("expired", result.event("found")["record_refused"])
        self.check_sentence(run("node1", "--key-file", self.key_file, "--record", path), USAGE,
                            path, "expired")

    def test_badly_signed(self):
        path = self.path("a.record")
        self.assertEqual(self.make("--name", "alice", "--out", path).status, OK)
        with open(path, "rb") as file:
            good = file.read().strip()
        self.assertEqual(len(good) % 2, 0)
        flip = {ord("0"): b"1"}
        for name, bad in (("name", good.replace(b"alice".hex().encode(), b"alicf".hex().encode())),
                          ("signature", good[:-1] + flip.get(good[-1], b"0")),
                          ("id", good[:2] + VECTORS[1]["id"].encode() + good[66:]),
                          ("version", b"02" + good[2:]), ("cut", good[:-2]),
                          ("longer", good + b"00")):
            with self.subTest(bad=name):
                self.assertNotEqual(bad, good)
                self.check_sentence(self.record("show", self.file("bad", bad)), FAILED)
                self.check_sentence(run("node1", "--key-file", self.key_file, "--record",
                                        self.path("bad")), USAGE, self.path("bad"))

    def test_a_bad_one_in_a_good_packet(self):
        """The owner of the packet's key signed the packet, but not the record."""
        path = self.path("a.record")
        self.assertEqual(self.make("--name", "alice", "--out", path).status, OK)
        texts = self.server.lookup(f"_kmrecord.{self.z32}.{ORIGIN}").texts()
        self.assertEqual(len(texts), 1)
        key = Key()
        name = encode_name(f"_kmrecord.{key.z32}")
        data = b"".join(bytes([len(part)]) + part for part in
                        (texts[0].encode()[at:at + 255] for at in range(0, len(texts[0]), 255)))
        message = (struct.pack(">HHHHHH", 0, 0x8000, 0, 1, 0, 0) + name +
                   struct.pack(">HHIH", 16, 1, 30, len(data)) + data)
        self.assertEqual(self.put(key.payload(message), key.z32), 204)
        self.check_sentence(self.record("resolve", key.public.hex(), "--pkarr", self.pkarr), FAILED,
                            "key")

    def test_files(self):
        os.mkfifo(self.path("fifo"))
        for path in (self.path("missing"), self.folder, self.path("fifo"), self.file("empty"),
                     self.file("text", b"hello"), self.file("long", b"00" * 601), "/dev/zero", ""):
            with self.subTest(path=path):
                result = self.record("show", path)
                self.assertIn(result.status, (FAILED, USAGE))
                self.check_sentence(result, result.status, path)
        for path in self.path("no/folder"), self.folder:
            self.check_sentence(self.record("publish", "--key-file", self.key_file, "--out", path),
                                FAILED if path == self.folder else USAGE, path)

    def test_only_a_file(self):
        path = self.path("a.record")
        result = self.record("publish", "--key-file", self.key_file, "--out", path, "--json")
        self.assertEqual(result.status, OK)
        self.check_event(result.event("record"), "record", file=path, record=dict)
        self.assertEqual(self.texts(), [])
        node1 = self.node1("--pkarr", self.pkarr, "--record", path)
        self.wait_for(lambda: self.resolve().status == OK)
        self.assertEqual(self.resolve().event("found")["record"]["devices"], [])
        node1.stop()

    def test_of_another_key(self):
        path = self.path("a.record")
        self.record("publish", "--key-file", self.key_file, "--out", path)
        self.check_sentence(run("node1", "--record", path), USAGE, path)

    def test_there_is_none(self):
        self.publish("--relay", RELAY)
        self.check_sentence(self.record("resolve", self.id, "--pkarr", self.pkarr), UNREACHABLE,
                            "no record")
        self.check_sentence(self.record("resolve", ID, "--pkarr", self.pkarr), UNREACHABLE,
                            "nobody knows")

    def test_bad_words(self):
        key = ["publish", "--key-file", self.key_file]
        out = ["--out", self.path("x")]
        for args, words in (
                ([], ["km-node record"]), (["bogus"], ["publish"]), (["show"], ["a file"]),
                (["resolve"], ["an id"]), (["show", "a", "b"], ["one word too many"]),
                (["publish"], ["--key-file"]), (["publish", "x"], ["publish"]),
                (["resolve", "nonsense"], ["id"]), (key, ["nowhere", "--pkarr"]),
                ([*key, *out, "--name", "x" * 64], ["--name"]),
                ([*key, *out, "--name", "a\x1bb"], ["name"]),
                ([*key, *out, "--name", "a\nb"], ["name"]),
                ([*key, *out, "--name", os.fsdecode(b"\xff")], ["name"]),
                ([*key, *out, "--device", "nonsense"], ["id"]),
                ([*key, *out, "--device", ID + "=" + "x" * 64], ["--device"]),
                ([*key, *out, "--device", ID, "--device", ID], ["twice"]),
                ([*key, *out, *["--device", ID] * 9], ["--device"]),
                ([*key, *out, "--service", "http"], ["NAME=ADDRESS"]),
                ([*key, *out, "--service", "=x"], ["NAME=ADDRESS"]),
                ([*key, *out, "--service", "x="], ["NAME=ADDRESS"]),
                ([*key, *out, "--service", "x" * 64 + "=y"], ["--service"]),
                ([*key, *out, "--service", "y=" + "x" * 129], ["--service"]),
                ([*key, *out, *["--service", "a=b"] * 9], ["--service"]),
                ([*key, *out, "--life", "0"], ["1", "86400"]),
                ([*key, *out, "--life", "86401"], ["1", "86400"])):
            with self.subTest(args=args):
                self.check_sentence(self.record(*(args or [""])), USAGE, *words)
        self.assertFalse(os.path.exists(self.path("x")))

    def test_too_much_for_a_record(self):
        services = [word for n in range(8) for word in ("--service", f"{n:063}=" + "x" * 128)]
        self.check_sentence(self.record("publish", "--key-file", self.key_file, "--out",
                                        self.path("x"), *services), FAILED, "600")


class BadWords(DnsCase):
    def test_options(self):
        many = [word for n in range(9) for word in ("--pkarr", f"http://127.0.0.1:9/{n}")]
        origins = [word for n in range(9) for word in ("--dns-origin", f"o{n}.example")]
        for options, words in (
                (["--pkarr", "nonsense"], ["PKARR", "nonsense"]),
                (["--pkarr", ""], ["PKARR"]),
                (["--pkarr", "ftp://example.org"], ["https://"]),
                (["--pkarr", "http://user@127.0.0.1/"], ["PKARR"]),
                (["--pkarr", "http://127.0.0.1:99999/"], ["99999"]),
                (["--pkarr", "http://" + "a" * 5000], ["PKARR"]),
                (["--pkarr", "\x1b[2Jx"], ["PKARR"]),
                (many, ["--pkarr", "8"]),
                (["--dns-origin", ""], ["domain"]),
                (["--dns-origin", "a..b"], ["a..b"]),
                (["--dns-origin", "x" * 64 + ".example"], ["xxx"]),
                (["--dns-origin", "a." * 200], ["a.a."]),
                (origins, ["--dns-origin", "8"]),
                (["--dns-server", "127.0.0.1"], ["--dns-origin"]),
                (["--dns-origin", "o.example", "--dns-server", "name.example"], ["name.example"]),
                (["--dns-origin", "o.example", "--dns-server", "127.0.0.1:0"], ["127.0.0.1:0"]),
                (["--dns-origin", "o.example", "--dns-server", "127.0.0.1:65536"], ["65536"]),
                (["--dns-origin", "o.example", "--dns-server", ""], ["server"]),
                (["--mdns", "maybe"], ["open", "signed", "trusted", "off", "maybe"]),
                (["--mdns", ""], ["--mdns"]),
                (["--mdns", "trusted"], ["--trust"]),
                (["--mdns", "open", "--trust", ID], ["--trust"]),
                (["--mdns", "off", "--trust", ID], ["--trust"]),
                (["--mdns", "trusted", "--trust", "nonsense"], ["id"]),
                (["--peers", self.path("missing")], [self.path("missing")]),
                (["--state", self.path("no/state")], [self.path("no/state")]),
                (["--no-discovery=x"], ["takes no value"])):
            options = options if "--mdns" in options else ["--mdns", "off", *options]
            for command in ["node1"], ["node2", ID], ["why", ID], ["resolve", ID], ["discover"]:
                with self.subTest(command=command[0], options=options[-2:]):
                    self.check_sentence(run(*command, *options), USAGE, *words)

    def test_options_of_who_publishes(self):
        for options, words in ((["--user-data", "x" * 246], ["245"]),
                               (["--user-data", os.fsdecode(b"\xc0\x80")], ["UTF-8"]),
                               (["--record", self.path("missing")], [self.path("missing")]),
                               (["--record", self.file("bad", b"x")], [self.path("bad")])):
            for command in ["node1"], ["node2", ID]:
                with self.subTest(command=command[0], options=options):
                    self.check_sentence(run(*command, *options), USAGE, *words)
            self.check_sentence(run("resolve", ID, *options), USAGE, "unknown option")

    def test_numbers(self):
        for command, option, most in ((["resolve", ID], "--timeout", 600),
                                      (["discover"], "--seconds", 3600),
                                      (["publish"], "--timeout", 600)):
            for value in "", "x", "0", "-1", str(most + 1), "9" * 30:
                with self.subTest(option=option, value=value):
                    self.check_sentence(run(*command, option, value), USAGE, option, str(most))

    def test_words(self):
        self.check_sentence(run("resolve"), USAGE, "km-node resolve")
        self.check_sentence(run("resolve", ID, ID), USAGE, "one word too many")
        self.check_sentence(run("discover", "x"), USAGE, "'x'")
        self.check_sentence(run("publish", "x"), USAGE, "'x'")
        self.check_sentence(run("publish", "--relay", RELAY), USAGE, "--key-file")
        self.check_sentence(run("resolve", ID, "--no-discovery"), USAGE, "--no-discovery")
        self.check_sentence(run("discover", "--seconds", 1), UNREACHABLE, "nobody")


@unittest.skipUnless(can("unshare", "-rn", "true"), "no network namespaces here")
class Lan(FindCase):
    """Two nodes on one segment, with no server; everything stays in a namespace."""

    def in_namespace(self, script, *args):
        setup = ("ip link set lo up && ip link add lan0 type veth peer name lan1 && "
                 "ip link set lan0 up && ip link set lan1 up && "
                 "ip addr add 192.0.2.1/24 dev lan0 && ip route add default dev lan0 && ")
        done = subprocess.run(["unshare", "-rn", "sh", "-c", setup + script, BIN, *args],
                              capture_output=True, timeout=LIMIT, env=environment(), check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_found_dialled_and_lost(self):
        key, log = self.key_file, self.path("node1.out")
        watch = self.path("watch")

        def until(word):
            return (f"for i in $(seq 300); do grep -q '\"{word}\".*{self.id}' {watch} && break; "
                    "sleep 0.1; done; ")

        script = (f'"$0" node1 --key-file {key} --user-data motto --json > {log} & node=$!; '
                  f'"$0" discover --lan --watch --json > {watch} & watch=$!; '
                  f'"$0" node2 {self.id} --send x --json > {self.path("node2")}; status=$?; '
                  + until("found") + 'kill $node; wait $node; ' + until("lost") +
                  'kill $watch; wait $watch; exit $status')
        status, out, err = self.in_namespace(script)
        self.assertEqual(status, OK, out + err)

        def events(name):
            with open(self.path(name), encoding="utf-8") as file:
                return [json.loads(line) for line in file]

        connected = [e for e in events("node2") if e["event"] == "connected"]
        self.assertEqual([e["remote"] for e in connected], [self.id])
        seen = events("watch")
        found = next(e for e in seen if e["event"] == "found" and e["id"] == self.id)
        self.assertEqual((found["source"], found["user_data"]), ("mdns", "motto"))
        self.assertTrue(found["direct"])
        lost = next(e for e in seen if e["event"] == "lost" and e["id"] == self.id)
        self.check_event(lost, "lost", id=self.id, source="mdns")

    def test_the_example(self):
        """docs/examples/echo_by_id.c against itself by mDNS, and against km-node by DNS."""
        own, other = self.path("own"), self.path("other")
        script = (f'dir=$(dirname "$0"); "$dir/echo_by_id" > {own} & served=$!; '
                  f'"$dir/km-dns" --dev > {self.path("dns")} & dns=$!; '
                  f'until [ -s {own} ] && grep -q ready {self.path("dns")}; do sleep 0.1; done; '
                  f'"$0" node1 --key-file {self.key_file} --mdns off --publish-direct '
                  f'--pkarr http://127.0.0.1:8080/pkarr > {other} & node=$!; '
                  f'"$dir/echo_by_id" "$(cat {own})" "by mdns;" || exit 1; '
                  f'until "$0" resolve {self.id} --mdns off --pkarr http://127.0.0.1:8080/pkarr '
                  '> /dev/null 2>&1; do sleep 0.1; done; '
                  f'"$dir/echo_by_id" {self.id} "by dns" irohdns.example 127.0.0.1:5300 || exit 2; '
                  'kill $served; kill $node; wait $node || exit 3; kill $dns; wait $dns')
        self.assertEqual(self.in_namespace(script), (OK, "by mdns;by dns", ""))

    def test_published_for_others(self):
        """By a node that is not the one that is published."""
        script = (f'"$0" publish --key-file {self.key_file} --addr 192.0.2.9:7 --keep '
                  f'> {self.path("said")} & pub=$!; '
                  f'"$0" resolve {self.id} --first --json; status=$?; '
                  f'until grep -q ctrl-c {self.path("said")}; do sleep 0.1; done; '
                  'kill $pub; wait $pub; [ $? = 130 ] || exit 9; exit $status')
        status, out, err = self.in_namespace(script)
        self.assertEqual(status, OK, out + err)
        with open(self.path("said"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "published  mdns\nctrl-c ends\n")
        found = json.loads(out)
        self.assertEqual((found["id"], found["direct"]), (self.id, ["192.0.2.9:7"]))

    def test_nobody(self):
        status, _, err = self.in_namespace('"$0" discover --lan --seconds 1')
        self.assertEqual(status, UNREACHABLE, err)
        self.assertIn("nobody answered for 1 s", err)


class Qr(DnsCase):
    """A camera reads what is printed."""

    def read(self, out, dark):
        """The lines of blocks as a picture, read by zbarimg. `dark`: the modules printed are."""
        lines = [line for line in out.splitlines()
                 if line.strip(" ") == "" or set(line) <= set(" \u2580\u2584\u2588")]
        rows = max((line for line in lines), key=len)
        lines = [line.ljust(len(rows)) for line in lines]
        scale, bits = 4, []
        for line in lines:
            for half in "\u2580\u2588", "\u2584\u2588":
                row = [(char in half) == dark for char in line for _ in range(scale)]
                bits += [row] * scale
        width = len(bits[0])
        text = "P1\n%d %d\n" % (width, len(bits)) + "\n".join(
            " ".join("1" if bit else "0" for bit in row) for row in bits) + "\n"
        path = self.file("code.pbm", text.encode())
        done = subprocess.run(["zbarimg", "--quiet", "--raw", path], capture_output=True,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr.decode() + out)
        return done.stdout.decode().strip()

    def setUp(self):
        super().setUp()
        if shutil.which("zbarimg") is None:
            self.skipTest("zbarimg is missing: NO QR CODE IS READ (package zbar-tools)")
        self.qr = run("ticket", ID, "--addr", "127.0.0.1:1", "--qr")
        if "without libqrencode" in self.qr.err:
            self.skipTest("built without libqrencode")

    def test_tickets(self):
        self.assertEqual(self.qr.status, OK)
        for ticket in vectors.tickets():
            with self.subTest(ticket=ticket["name"]):
                result = run("ticket", ticket["ticket"], "--qr")
                self.assertEqual(result.status, OK, result.err)
                self.assertEqual(self.read(result.out, True), result.out.split()[1])

    def test_node1(self):
        process = self.start(Process, "node1", "--bind", "127.0.0.1:0", "--qr")
        out = ""
        while "ctrl-c ends" not in out:
            out += process.line()
        ticket = re.search(r"(?m)^ticket  (\S+)$", out).group(1)
        self.assertEqual(self.read(out, True), ticket)
        process.stop()

    def test_json_stays_json(self):
        self.assertEqual(len(run("ticket", ID, "--qr", "--json").events), 1)

    def test_too_long_for_a_code(self):
        relays = [word for n in range(8) for word in
                  ("--relay", f"https://{n}{n}." + ("x" * 60 + ".") * 4 + "example/" + "y" * 200)]
        result = run("ticket", ID, "--qr", *relays)
        self.check_sentence(result, USAGE, "QR")


if __name__ == "__main__":
    main()
