"""Commands that ask a node, on a project whose node does not run: the store alone answers."""
import json
import os
import re
import unittest

import daemon_lab
import vectors
from lab import FAILED, OK, SOURCE, UNREACHABLE, USAGE, Case, main, run
from terminal_lab import Terminal

BOB, CAROL = (key["id"] for key in vectors.keys()[:2])
HOSTILE = b"\x1b[2J\x9b31m\x07\xc2\x9b"


def is_id(text):
    return re.fullmatch("[0-9a-f]{64}", text) is not None


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def digits(text):
    return isinstance(text, str) and text.isdigit()


class Project(Case):
    """A project of the test's own."""

    def setUp(self):
        super().setUp()
        self.node = daemon_lab.Node(self, "alice")

    def ok(self, *args, **more):
        """What a command says, which must work."""
        result = self.node.run(*args, **more)
        self.assertEqual((result.status, result.err), (OK, ""), args)
        return result

    def events(self, *args, **more):
        return self.ok(*args, "--json", **more).events

    def refused(self, status, *args, words=(), **more):
        """Fails with a sentence, and in JSON with an event."""
        self.check_sentence(self.node.run(*args, **more), status, *words)
        result = self.node.run(*args, "--json", **more)
        self.assertEqual((result.status, result.err), (status, ""))
        event = result.event("error")
        self.check_event(event, "error", code=lambda n: n < 0, name=str, message=str)


class Kv(Project):
    def test_put_and_get(self):
        self.assertIn("written", self.ok("kv", "put", "docs", "a/b", "hello world").out)
        self.assertEqual(self.ok("kv", "get", "docs", "a/b").out, "hello world")
        event, = self.events("kv", "put", "docs", "a/b", "again")
        self.check_event(event, "written", share="docs", key="a/b", clock=digits)
        event, = self.events("kv", "get", "docs", "a/b")
        self.check_event(event, "entry", share="docs", key="a/b", value="again", deleted=False,
                         author=self.node.id, own=True, clock=digits, time=is_number)

    def test_values_come_from_anywhere_and_go_anywhere(self):
        for value in b"", b"line\n", bytes(range(256)), os.urandom(65536), "ä€😀".encode():
            with self.subTest(size=len(value)):
                path, out = self.file("in", value), self.path("out")
                self.ok("kv", "put", "docs", "file", "--file", path)
                self.ok("kv", "put", "docs", "stdin", "-", stdin=value)
                for key in "file", "stdin":
                    self.ok("kv", "get", "docs", key, "--out", out)
                    with open(out, "rb") as file:
                        self.assertEqual(file.read(), value)

    def test_bytes_are_base64_in_json(self):
        self.ok("kv", "put", "docs", "raw", "-", stdin=b"\x00\xff")
        event, = self.events("kv", "get", "docs", "raw")
        self.assertEqual(event["value_b64"], "AP8=")
        self.assertNotIn("value", event)

    def test_a_terminal_is_not_steered(self):
        self.ok("kv", "put", "docs", "evil", "-", stdin=HOSTILE)
        terminal = Terminal(self, "kv", "get", "docs", "evil", "--config", self.node.dir)
        self.assertEqual(terminal.rest().count("\x1b"), 0)
        self.ok("kv", "put", "docs", "text", "\x1b[2Jhello")
        for args in ["list", "docs"], ["get", "docs", "text"]:
            terminal = Terminal(self, "kv", *args, "--config", self.node.dir)
            self.assertNotIn("\x1b[2J", terminal.rest())

    def test_list(self):
        for key in "b", "a/2", "a/1", "c":
            self.ok("kv", "put", "docs", key, "value " + key)
        self.ok("kv", "delete", "docs", "c")
        keys = [line.split()[0] for line in self.ok("kv", "list", "docs").out.splitlines()]
        self.assertEqual(keys, ["KEY", "a/1", "a/2", "b"])
        self.assertEqual([e["key"] for e in self.events("kv", "list", "docs", "--prefix", "a/")],
                         ["a/1", "a/2"])
        self.assertEqual([e["key"] for e in self.events("kv", "list", "docs", "--limit", "2")],
                         ["a/1", "a/2"])
        last = self.events("kv", "list", "docs", "--deleted")[-1]
        self.check_event(last, "entry", share="docs", key="c", deleted=True, author=is_id,
                         own=True, clock=digits, time=is_number)
        self.assertIn("this node", self.ok("kv", "list", "docs").out)
        self.assertIn(self.node.id, self.ok("kv", "list", "docs", "--long").out)
        self.assertEqual(self.events("kv", "list", "private"), [])
        self.assertIn("nothing", self.ok("kv", "list", "private").out)

    def test_columns_stand_below_each_other(self):
        self.ok("kv", "put", "docs", "ä", "kurz")
        self.ok("kv", "put", "docs", "a-long-key", "x" * 200)
        lines = self.ok("kv", "list", "docs").out.splitlines()
        at = lines[0].index("BY")
        for line in lines[1:]:
            self.assertEqual(line[at - 2:at + 9], "  this node", line)
        self.assertNotIn("x" * 100, "\n".join(lines))
        self.assertIn("x" * 200, self.ok("kv", "list", "docs", "--long").out)

    def test_delete(self):
        self.ok("kv", "put", "docs", "a", "1")
        event, = self.events("kv", "delete", "docs", "a")
        self.check_event(event, "deleted", share="docs", key="a", clock=digits)
        self.refused(FAILED, "kv", "get", "docs", "a", words=["docs", "a"])
        self.refused(FAILED, "kv", "delete", "docs", "a", words=["docs", "a"])

    def test_hash_and_verify(self):
        self.ok("kv", "put", "docs", "a", "1")
        event, = self.events("kv", "hash", "docs")
        self.check_event(event, "hash", share="docs", hash=is_id)
        self.assertIn(event["hash"], self.ok("kv", "hash").out)
        self.ok("kv", "put", "docs", "b", "2")
        self.assertNotEqual(self.events("kv", "hash", "docs"), [event])
        self.assertIn("good", self.ok("kv", "verify", "docs", "a").out)
        verified, = self.events("kv", "verify", "docs")
        self.check_event(verified, "verified", checked=2)
        self.refused(FAILED, "kv", "verify", "docs", "nothing", words=["nothing"])
        self.refused(USAGE, "kv", "verify", "nosuch", words=["nosuch", "docs"])

    def test_a_share_that_there_is_not(self):
        for words in (["put", "dosc", "k", "v"], ["list", "dosc"], ["hash", "dosc"],
                      ["export", "dosc"]):
            self.refused(USAGE, "kv", *words, words=["dosc", "which has: docs"])

    def test_a_share_that_was_there(self):
        self.ok("kv", "put", "private", "k", "v")
        config = os.path.join(self.node.dir, "keymesh.yaml")
        with open(config, encoding="utf-8") as file:
            text = file.read().replace("name: private", "name: other")
        with open(config, "w", encoding="utf-8") as file:
            file.write(text)
        self.assertEqual(self.ok("kv", "get", "private", "k").out, "v")
        self.assertEqual(len(self.events("kv", "list", "private")), 1)
        self.refused(USAGE, "kv", "put", "private", "k", "w", words=["private"])
        self.ok("kv", "delete", "private", "k")

    def test_what_is_refused(self):
        for key in "..", "/a", "a//b", "a/./b", "", "k" * 257, "a\nb":
            self.refused(USAGE, "kv", "put", "docs", key, "x")
        for share in "", "Ä", "a/b", ".docs", "s" * 65:
            self.refused(USAGE, "kv", "put", share, "key", "x")
        self.refused(USAGE, "kv", "put", "docs", "big", "-", stdin=bytes(65537), words=["65536"])

    def test_bad_lines(self):
        for words, hint in ((["putt"], "put"), ([], "missing"), (["put", "docs"], "missing"),
                            (["put", "docs", "a"], "value"),
                            (["put", "docs", "a", "b", "c"], "too many"),
                            (["put", "docs", "a", "b", "--file", "c"], "not both"),
                            (["get", "docs", "a", "--limit", "3"], "--limit"),
                            (["list", "docs", "--limit", "0"], "--limit"),
                            (["hash", "a", "b"], "too many"), (["verify"], "missing")):
            self.refused(USAGE, "kv", *words, words=[hint])
        self.refused(USAGE, "kv", "put", "docs", "a", "--file", self.path("none"), words=["none"])
        self.ok("kv", "put", "docs", "a", "1")
        self.refused(USAGE, "kv", "get", "docs", "a", "--out", self.path("no/such/folder"))


class Transfer(Project):
    def lines(self, *objects):
        return "".join(o if isinstance(o, str) else json.dumps(o) + "\n" for o in objects).encode()

    def test_there_and_back(self):
        values = {"text": "hällo\n\"quoted\" \x01".encode(), "empty": b"", "bytes": bytes(range(256)),
                  "control": b"\x01" * 3000, "deep/key with blanks": b"x"}
        for key, value in values.items():
            self.ok("kv", "put", "docs", key, "-", stdin=value)
        self.ok("kv", "put", "docs", "gone", "x")
        self.ok("kv", "delete", "docs", "gone")
        export = self.ok("kv", "export").out
        self.assertEqual(len(export.splitlines()), len(values) + 1)
        self.assertEqual(self.ok("kv", "export", "docs").out, export)

        other = daemon_lab.Node(self, "bob")
        result = other.run("kv", "import", stdin=export.encode())
        self.assertEqual((result.status, result.err), (OK, ""))
        self.assertIn(f"{len(values)} entries", result.out)
        for key, value in values.items():
            path = self.path("out")
            self.assertEqual(other.run("kv", "get", "docs", key, "--out", path).status, OK)
            with open(path, "rb") as file:
                self.assertEqual(file.read(), value, key)
        self.assertEqual(other.run("kv", "get", "docs", "gone").status, FAILED)
        # They are of who imported them.
        entry, = other.run("kv", "list", "docs", "--prefix", "text", "--json").events
        self.assertEqual((entry["author"], entry["own"]), (other.id, True))
        # A name takes the place of theirs; a deletion is one here too.
        self.assertEqual(other.run("kv", "put", "private", "gone", "still").status, OK)
        result = other.run("kv", "import", "private", "--json", stdin=export.encode())
        self.check_event(result.event("imported"), "imported", put=len(values), deleted=1)
        self.assertEqual(other.run("kv", "get", "private", "text").out, values["text"].decode())

    def test_many(self):
        count = 5000
        text = self.lines(*({"key": f"n/{i}", "value": f"value {i}"} for i in range(count)))
        self.assertIn(f"{count} entries", self.ok("kv", "import", "docs", stdin=text).out)
        keys = [json.loads(line)["key"] for line in self.ok("kv", "export", "docs").out.splitlines()]
        self.assertEqual(keys, sorted(f"n/{i}" for i in range(count)))

    def test_a_bad_line_is_named(self):
        good = {"key": "a", "value": "1"}
        for bad, words in (("{\n", "no JSON"), ("[]\n", "no JSON object"), ("7\n", "object"),
                           ({"value": "x"}, "key"), ({"key": 7, "value": "x"}, "key"),
                           ({"key": "b"}, "value"), ({"key": "b", "value": 7}, "string"),
                           ({"key": "b", "value": None}, "string"),
                           ({"key": "b", "value": "x", "value_b64": "eA=="}, "one of"),
                           ({"key": "b", "value_b64": "x"}, "base64"),
                           ({"key": "b", "share": 7, "value": "x"}, "share"),
                           ({"key": "../b", "value": "x"}, "key"),
                           ({"key": "b", "value": "x" * 65537}, "65536")):
            with self.subTest(bad=str(bad)[:40]):
                text = self.lines(good, "\n", {"key": "k", "value": "2"}, bad,
                                  {"key": "behind", "value": "3"})
                result = self.node.run("kv", "import", "docs", stdin=text)
                self.check_sentence(result, USAGE, "line 4:", words)
                # What stands before it is kept, what stands behind is not looked at.
                self.assertIn("2 entries", result.out)
                keys = [e["key"] for e in self.events("kv", "list", "docs")]
                self.assertEqual(keys, ["a", "k"])

    def test_nul_is_not_the_end_of_a_text(self):
        for bad in (b'{"key":"k\\u0000b","value":"x"}', b'{"key":"k","value":"x\\u0000y"}',
                    b'{"key":"k","value":"x"}\0rubbish', b'\0', b'{"key":"k","value":"\xff"}'):
            with self.subTest(bad=bad):
                result = self.node.run("kv", "import", "docs", stdin=bad + b"\n")
                self.check_sentence(result, USAGE, "line 1:", "value_b64")
                self.assertEqual(self.events("kv", "list", "docs"), [])

    def test_share_is_needed_somewhere(self):
        text = self.lines({"key": "a", "value": "1"})
        self.check_sentence(self.node.run("kv", "import", stdin=text), USAGE, "line 1:", "share")

    def test_nothing(self):
        self.assertIn("0 entries", self.ok("kv", "import", "docs").out)
        self.assertEqual(self.ok("kv", "export").out, "")


class Trust(Project):
    def test_trust_list_forget(self):
        self.assertIn("no peer", self.ok("peer", "list").out)
        event, = self.events("peer", "trust", BOB, "--name", "bob", "--note", "a friend",
                             "--expires", "24h")
        self.check_event(event, "trust", id=BOB, state="trusted", origin="by hand", name="bob",
                         note="a friend", since=is_number, expires=is_number, last_seen=None,
                         recommended_by=0, configured=False)
        del event["configured"]  # which a list does not say
        self.assertAlmostEqual(event["expires"] - event["since"], 86400, delta=60)
        self.assertEqual(self.events("peer", "list"), [event])
        self.assertIn("bob", self.ok("peer", "list").out)
        self.assertRegex(self.ok("peer", "list").out, "  in (23 h|1 d)  ")
        self.assertNotIn(BOB, self.ok("peer", "list").out)
        self.assertIn(BOB, self.ok("peer", "list", "--long").out)
        self.ok("peer", "forget", "bob")
        self.assertEqual(self.events("peer", "list"), [])
        self.refused(FAILED, "peer", "forget", BOB)

    def test_by_name_and_by_first_digits(self):
        self.ok("peer", "trust", BOB, "--name", "bob")
        self.ok("peer", "trust", CAROL, "--name", "carol", "--expires", "2099-12-31")
        self.assertEqual(self.events("peer", "block", "bob", "--note", "why")[0]["state"], "blocked")
        self.assertEqual(self.events("peer", "trust", BOB[:12])[0]["id"], BOB)
        carol, = (p for p in self.events("peer", "list") if p["id"] == CAROL)
        self.assertEqual(carol["expires"], 4102444799)
        self.ok("peer", "revoke", "carol", "--note", "left us")
        self.assertEqual([p["id"] for p in self.events("peer", "list", "--state", "blocked")],
                         [CAROL])
        self.refused(FAILED, "peer", "block", "nobody", words=["nobody"])

    def test_names_that_read_as_others(self):
        name = "b\u202eo\u2069b\u200bc"
        self.assertEqual(self.events("peer", "trust", BOB, "--name", name)[0]["name"], name)
        self.assertIn("b???o???b???c", self.ok("peer", "list").out)
        family = "\U0001f469\u200d\U0001f467 \u0646\u0645\u06cc\u200c\u062e"  # joined, as it should be
        self.events("peer", "trust", BOB, "--name", family)
        self.assertIn(family, self.ok("peer", "list").out)

    def test_recommend_and_requests(self):
        self.ok("peer", "recommend", BOB, "--name", "bob", "--expires", "30d")
        self.assertEqual(self.events("peer", "requests"), [])
        self.assertIn("nobody", self.ok("peer", "requests").out)
        self.refused(FAILED, "peer", "approve", BOB)
        self.refused(FAILED, "peer", "deny", BOB)
        self.refused(USAGE, "peer", "recommend", self.node.id)
        self.assertIn("not recommended any more", self.ok("peer", "withdraw", BOB).out)
        self.ok("peer", "withdraw", BOB)  # once more does no harm
        self.refused(USAGE, "peer", "trust", self.node.id)

    def test_bad_lines(self):
        for words, hint in ((["trust"], "whom"), (["trusts", BOB], "trust"), ([], "missing"),
                            (["trust", BOB, "x"], "too many"), (["list", "x"], "too many"),
                            (["trust", BOB, "--expires", "yesterday"], "yesterday"),
                            (["trust", BOB, "--expires", "2020-01-01"], "past"),
                            (["list", "--expires", "1h"], "--expires"),
                            (["list", "--state", "odd"], "odd"),
                            (["trust", BOB, "--name", "x" * 65], "64"),
                            (["access", BOB], "SHARE")):
            self.refused(USAGE, "peer", *words, words=[hint])


class Messages(Project):
    def test_the_outbox(self):
        self.ok("peer", "trust", BOB, "--name", "bob")
        sent, = self.events("send", "bob", "note", '{"text": "hi", "n": 12345678901234567890}')
        self.check_event(sent, "sent", message=lambda m: re.fullmatch("[0-9a-f]{32}", m))
        self.ok("send", BOB, "note", "-", "--ttl", "1h", stdin=b'["from", "stdin"]')
        self.ok("broadcast", "alarm", "2")
        waiting = self.events("messages", "--outbox")
        self.assertEqual([m["type"] for m in waiting], ["note", "note", "alarm"])
        self.check_event(waiting[0], "message", message=sent["message"], sender=self.node.id,
                         sender_name=str, broadcast=False, to=BOB, type="note",
                         body={"text": "hi", "n": 12345678901234567890}, sent=is_number,
                         expires=is_number)
        self.assertAlmostEqual(waiting[1]["expires"] - waiting[1]["sent"], 3600, delta=1)
        self.assertEqual((waiting[2]["to"], waiting[2]["broadcast"]), (None, True))
        self.assertIn(sent["message"], self.ok("messages", "--outbox").out)
        self.ok("messages", "--cancel", sent["message"])
        self.assertEqual(len(self.events("messages", "--outbox")), 2)
        self.refused(FAILED, "messages", "--cancel", sent["message"])
        self.assertEqual(self.events("messages"), [])
        self.assertIn("no messages", self.ok("messages").out)

    def test_bad_lines(self):
        for words, hint in ((["send", BOB, "note"], "missing"), (["send", BOB, "note", "hi"], "JSON"),
                            (["send", BOB, "note", "{"], "JSON"),
                            (["send", BOB, "b ad", "1"], "type"),
                            (["send", BOB, "note", "1", "--ttl", "x"], "span"),
                            (["send", BOB, "note", "1", "--ttl", "99d"], "ttl"),
                            (["broadcast", "note"], "missing"),
                            (["messages", "--limit", "0"], "--limit"),
                            (["messages", "--outbox", "--limit", "1"], "together"),
                            (["messages", "--cancel", "xyz"], "hex"), (["messages", "x"], "too many")):
            self.refused(USAGE, *words, words=[hint])
        self.refused(FAILED, "send", "nobody", "note", "1", words=["nobody"])


class Nobody(Project):
    def test_what_needs_a_node_says_so(self):
        for words in (["peers"], ["health"], ["kv", "watch"], ["peer", "dial", BOB],
                      ["peer", "access", BOB, "docs"]):
            self.refused(FAILED, *words, words=["km-node run"])

    def test_status_says_what_the_store_has(self):
        self.ok("kv", "put", "docs", "a", "1")
        result = self.node.run("status", "--json")
        self.assertEqual(result.status, FAILED)
        self.assertEqual([e["event"] for e in result.events], ["share", "share", "error"])
        self.assertEqual([e.get("entries") for e in result.events], [1, 0, None])
        self.check_sentence(self.node.run("status"), FAILED, "km-node run")

    def test_nobody_serves_a_page(self):
        for command in "peers", "health":
            result = self.node.run(command, "--port", "1")
            self.check_sentence(result, UNREACHABLE if command == "peers" else FAILED, "nobody")

    def test_no_project(self):
        for words in ["kv", "list", "docs"], ["peers"], ["status"], ["health"], ["shell"]:
            result = run(*words, cwd=self.folder)
            self.check_sentence(result, USAGE, "keymesh.yaml")
            self.assertEqual(run(*words, "--config", self.path("none")).status, USAGE)

    def test_the_project_may_stand_in_the_environment(self):
        self.ok("kv", "put", "docs", "a", "1")
        result = run("kv", "get", "docs", "a", cwd="/", env={"KM_PROJECT": self.node.dir})
        self.assertEqual((result.status, result.out), (OK, "1"))
        self.assertEqual(run("kv", "get", "docs", "a", cwd=self.node.dir).out, "1")

    def test_a_sealed_key_wants_its_passphrase(self):
        folder = self.path("sealed")
        words = {"KM_PASSPHRASE": "open sesame"}
        made = run("init", folder, "--sealed", env=words)
        self.assertEqual(made.status, OK, made.err)
        self.assertEqual(run("kv", "put", "common", "a", "1", cwd=folder, env=words).status, OK)
        self.assertEqual(run("kv", "get", "common", "a", cwd=folder, env=words).out, "1")
        wrong = run("kv", "get", "common", "a", cwd=folder, env={"KM_PASSPHRASE": "wrong"})
        self.check_sentence(wrong, wrong.status or OK, "passphrase")
        self.assertNotEqual(wrong.status, OK)
        for words in ["kv", "get", "common", "a"], ["run"]:
            none = run(*words, cwd=folder, start_new_session=True)
            self.check_sentence(none, USAGE, "security.passphrase_file")


class Pages(unittest.TestCase):
    def test_the_shell_of_the_page_is_that_of_the_program(self):
        with open(os.path.join(SOURCE, "cmd/node/ctl/shell_commands.c"), encoding="utf-8") as file:
            names = re.findall(r'^    \{"([a-z-]+)",', file.read(), re.M)
        with open(os.path.join(SOURCE, "docs/man/km-node-shell.1"), encoding="utf-8") as file:
            listed = re.findall(r"^\.BR? ([a-z-]+)(?: |$)", file.read().replace("\\-", "-"), re.M)
        self.assertGreater(len(names), 30)
        self.assertEqual(set(names) - set(listed), set())


if __name__ == "__main__":
    main()
