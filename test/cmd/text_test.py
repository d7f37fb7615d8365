"""Help, man pages and plain output."""
import glob
import os
import pty
import re
import shutil
import subprocess
import unittest

import vectors
from lab import BIN, OK, SOURCE, WRAPPER, Case, Server, environment, main, run

ID = vectors.keys()[0]["id"]
COMMANDS = {"": [], "node1": ["node1"], "node2": ["node2"], "id": ["id"], "ticket": ["ticket"],
            "key": ["key"], "discover": ["discover"], "resolve": ["resolve"],
            "publish": ["publish"], "record": ["record"], "relay": ["relay"],
            "doctor": ["doctor"], "why": ["why"],
            **{name: [name] for name in (
                "init", "check", "run", "stop", "reload", "peers", "status", "health",
                "list-shares", "install", "uninstall", "service", "kv", "send", "broadcast", "messages", "shell", "peer",
                "cert", "security")},
            "perf": ["perf"], "perf-server": ["perf", "server"], "perf-client": ["perf", "client"]}


def options(words):
    """What the help of a command lists."""
    return set(re.findall(r"^\s+(--[a-z-]+)", run(*words, "--help").out, re.M))


class Help(Case):
    def test_every_command(self):
        for name, words in COMMANDS.items():
            for flag in "--help", "-h":
                with self.subTest(command=name, flag=flag):
                    result = run(*words, flag)
                    self.assertEqual(result.status, OK)
                    self.assertEqual(result.err, "")
                    self.assertIn(" ".join(["usage: km-node", *words]), result.out)
                    self.assertIn("\nExample:\n", result.out)
                    self.assertIn(" ".join(["  km-node", *words]), result.out)
                    longest = max(result.out.splitlines(), key=len)
                    self.assertLessEqual(len(longest), 100, longest)

    def test_it_wins_over_other_words(self):
        self.assertEqual(run("node2", "--count", "3", "--help").status, OK)

    def test_every_command_is_listed(self):
        out = run("--help").out
        for words in COMMANDS.values():
            if len(words) == 1:
                self.assertRegex(out, rf"(?m)^  {words[0]} ")
        listed = re.findall(r"^  ([a-z0-9-]+)  +[a-z]", out, re.M)
        self.assertEqual({name for name in listed if name in COMMANDS},
                         {name for name in listed if not name.startswith("-")})

    def test_the_examples_are_real_commands(self):
        for name, words in COMMANDS.items():
            example = run(*words, "--help").out.split("\nExample:\n")[1]
            for option in re.findall(r"--[a-z-]+", example):
                known = options(words) | (options(["node2"]) if name == "" else set())
                self.assertIn(option, known, name)

    def test_version(self):
        result = run("--version")
        self.assertEqual(result.status, OK)
        self.assertRegex(result.out, r"^km-node [0-9]+\.[0-9]+\.[0-9]+ \(.*ngtcp2.*wolfSSL.*\)\n$")


class Plain(Case):
    def on_a_terminal(self, *args, env=None):
        """What a person at a terminal sees."""
        master, slave = pty.openpty()
        with subprocess.Popen([*WRAPPER, BIN, *args], stdin=slave, stdout=slave, stderr=slave,
                              env=environment(env)) as child:
            os.close(slave)
            seen = b""
            while True:
                try:
                    part = os.read(master, 65536)
                except OSError:  # EIO: nobody has the other end any more
                    break
                if not part:
                    break
                seen += part
            os.close(master)
            child.wait()
        return seen.decode()

    def test_no_escapes_into_a_pipe(self):
        server = self.start(Server)
        for args in (["--help"], ["id", ID], ["node2", server.ticket], ["node2", "nonsense"],
                     ["node2", server.ticket, "--json"], ["key", "new"]):
            result = run(*args)
            self.assertNotIn("\x1b", result.out + result.err, args)

    def test_no_escapes_with_no_color(self):
        seen = self.on_a_terminal("node2", "nonsense", env={"NO_COLOR": "1"})
        self.assertIn("error:", seen)
        self.assertNotIn("\x1b", seen)
        # Empty counts as not set, and without it a terminal gets a red word.
        for env in {}, {"NO_COLOR": ""}:
            self.assertIn("\x1b[31merror:\x1b[0m ", self.on_a_terminal("node2", "x", env=env))

    def test_nothing_of_a_stranger_reaches_the_terminal(self):
        for word in "\x1b[2J\x1b]0;x\x07", "\x9b31m":
            for args in (["node2", word], ["--", word], [word], ["node1", "--" + word],
                         ["node2", ID, "--addr", word], ["node1", "--key-file", word],
                         ["node2", ID, "--addr", "127.0.0.1:9", "--file", word],
                         ["node1", "--congestion", word], ["node1", "--log", word],
                         ["node1", "--relay", word], ["key", "new", "--out", "/missing/" + word]):
                result = run(*args)
                self.assertNotEqual(result.status, OK)
                self.assertNotRegex(result.out + result.err, "[\x00-\x09\x0b-\x1f\x7f-\x9f]",
                                    args)

    def test_progress_on_a_terminal_only(self):
        server = self.start(Server)
        path = self.file("content", bytes(16 << 20))
        seen = self.on_a_terminal("node2", server.ticket, "--file", path)
        self.assertIn("100 %", seen)
        self.assertNotIn("%", run("node2", server.ticket, "--file", path).err)

    def test_people_get_what_machines_get(self):
        server = self.start(Server)
        result = run("node2", server.ticket, "--send", "abc")
        self.assertEqual(result.status, OK, result.err)
        for part in server.id, server.addr, "direct", "handshake", "rtt", "3 bytes":
            self.assertIn(part, result.out)
        self.assertEqual(result.err, "")


class Man(Case):
    def pages(self):
        return {os.path.basename(path)[:-2]: path
                for path in glob.glob(os.path.join(SOURCE, "docs/man/km-node*.1"))}

    def test_a_page_for_every_command(self):
        wanted = {"-".join(["km-node", *name.split()]) for name in COMMANDS}
        self.assertEqual(set(self.pages()) & wanted, wanted - {"km-node-perf-server",
                                                               "km-node-perf-client"})

    def test_every_option_is_in_the_page(self):
        for name, words in COMMANDS.items():
            page = "-".join(["km-node", *words[:1]])
            with open(self.pages()[page], encoding="utf-8") as file:
                text = file.read().replace("\\-", "-")
            listed = set(re.findall(r"^\.TP\n\.B[IR]? (--[a-z-]+)", text, re.M))
            self.assertEqual(options(words) - listed, set(), f"missing in {page}, {name}")

    def test_no_option_is_in_the_page_only(self):
        for page, path in self.pages().items():
            command = page[len("km-node"):].lstrip("-")
            known = set().union(*(options(words) for words in COMMANDS.values()
                                  if "".join(words[:1]) == command))
            with open(path, encoding="utf-8") as file:
                text = file.read().replace("\\-", "-")
            listed = set(re.findall(r"^\.TP\n\.B[IR]? (--[a-z-]+)", text, re.M))
            self.assertEqual(listed - known, set(), page)

    @unittest.skipUnless(shutil.which("groff"), "no groff here")
    def test_they_are_clean(self):
        for page, path in self.pages().items():
            done = subprocess.run(["groff", "-ww", "-z", "-man", "-Tutf8", path],
                                  capture_output=True, check=False)
            self.assertEqual((done.returncode, done.stderr.decode()), (0, ""), page)


if __name__ == "__main__":
    main()
