"""Whatever is typed or found: a sentence, the right status, never a crash."""
import json
import os
import socket
import unittest

import vectors
from lab import ALPN, FAILED, OK, UNREACHABLE, USAGE, WRONG_KEY, Case, Server, can, main, run

ID = vectors.keys()[0]["id"]
TICKET = next(t for t in vectors.tickets() if t["name"] == "ipv4_only")["ticket"]
DEAD = "127.0.0.1:9"
# One system call takes no longer word than this (MAX_ARG_STRLEN).
HUGE = 128 * 1024 - 1

NOT_IDS = {
    "empty": "", "blank": " ", "truncated": ID[:-1], "too long": ID + "0", "upper": ID.upper(),
    "wrong alphabet": "g" + ID[1:], "not a point": "02" + "00" * 31, "huge": "a" * HUGE,
    "binary": "\x01\x02\x1b[31m", "not UTF-8": b"\xff\xfe\x80", "base32 tail": "a" * 51 + "z",
    "newline": ID + "\n", "spaces": " " + ID}
NOT_TICKETS = {
    "prefix": "endpoint", "truncated": TICKET[:-1], "half": TICKET[:40], "tail": TICKET + "!",
    "wrong alphabet": TICKET[:20] + "1" + TICKET[21:], "upper prefix": TICKET.upper(),
    "huge": "endpoint" + "a" * (HUGE - 8), "newline": TICKET + "\n", "other kind": "blob" + TICKET}
NOT_ADDRS = {
    "empty": "", "no port": "127.0.0.1", "port too large": "127.0.0.1:65536", "name": "localhost:1",
    "bare IPv6": "::1:80", "half bracket": "[::1:80", "octet": "256.0.0.1:1",
    "sign": "127.0.0.1:+1",
    "huge": "1" * HUGE, "leading zero": "127.0.0.01:1", "binary": "\x1b[2J:1"}


class Words(Case):
    def test_ids_and_tickets(self):
        for name, word in {**NOT_IDS, **NOT_TICKETS}.items():
            for command in (["id"], ["ticket"], ["node2"], ["why"], ["perf", "client"]):
                with self.subTest(command=command, word=name):
                    args = [os.fsencode(part) if isinstance(word, bytes) else part
                            for part in (*command, "--")]
                    self.check_sentence(raw(*args, word), USAGE)

    def test_addresses(self):
        for name, addr in NOT_ADDRS.items():
            with self.subTest(addr=name):
                self.check_sentence(run("node1", "--bind", addr), USAGE)
                self.check_sentence(run("node2", ID, "--addr", addr), USAGE)
        self.check_sentence(run("node2", ID, "--addr", "127.0.0.1:0"), USAGE, "port")

    def test_secret_keys(self):
        for name, key in {**NOT_IDS, "pem": "-----BEGIN PRIVATE KEY-----"}.items():
            if name in ("not a point", "binary") or isinstance(key, bytes):
                continue  # every 32 bytes are a key
            with self.subTest(key=name):
                self.check_sentence(run("node1", "--secret-key", key), USAGE)
                self.check_sentence(run("key", "new", "--import", key), USAGE)

    def test_commands(self):
        self.check_sentence(run("nood1"), USAGE, "did you mean node1?")
        self.check_sentence(run("x" * 1000), USAGE, "--help")
        self.check_sentence(run(""), USAGE, "--help")
        self.check_sentence(run("--bogus"), USAGE, "--help")
        for args in ([], ["perf"], ["perf", "bogus"], ["perf", ""]):
            result = run(*args)
            self.assertEqual(result.status, USAGE)
            self.assertEqual(result.out, "", "help that was not asked for goes to stderr")
            self.assertIn("usage: km-node", result.err)

    def test_options(self):
        for args, words in (
                (["node1", "--bindd", "x"], ["did you mean --bind?"]),
                (["node1", "--zzzzzzzz"], ["km-node node1 --help"]),
                (["node1", "--bind"], ["--bind needs a value"]),
                (["node1", "--json=yes"], ["--json takes no value"]),
                (["node1", "extra"], ["'extra'"]),
                (["node1", "--bind", "127.0.0.1:0", *["--bind", "127.0.0.1:0"] * 8], ["--bind"]),
                (["node1", *["--bind", "127.0.0.1:0"] * 50], ["--bind"]),
                (["node1", "--congestion", "fast"], ["cubic"]),
                (["node1", "--congestion", ""], ["cubic"]),
                (["node1", "--relay", "nonsense"], ["relay"]),
                (["node1", "--relay", ""], ["relay"]),
                (["node1", "--log", "bogus"], ["bogus"]),
                (["node1", "--alpn", ""], ["ALPN"]),
                (["node1", "--alpn", "a" * 256], ["255"]),
                (["node1", "--secret-key", "00" * 32, "--key-file", "x"], ["not both"]),
                (["node1", "--policy", "fast"], ["--policy", "prefer-direct", "fast"]),
                (["node1", "--policy", ""], ["--policy"]),
                (["node1", "--policy", "direct"], ["direct:SECONDS"]),
                (["node2", ID, "--policy", "direct:"], ["direct:SECONDS"]),
                (["node2", ID, "--policy", "direct:0"], ["1 to 600"]),
                (["node2", ID, "--policy", "direct:601"], ["1 to 600"]),
                (["node2", ID, "--policy", "direct:99999999999999999999"], ["1 to 600"]),
                (["node2", ID, "--policy", "direct:1x"], ["direct:1x"]),
                (["node2", ID, "--policy", "direct: 1"], ["direct:SECONDS"]),
                (["why", ID, "--policy", "direct:-1"], ["direct:SECONDS"]),
                (["node1", "--no-port-mapping=1"], ["--no-port-mapping takes no value"]),
                (["node1", "--stun"], ["--stun needs a value"]),
                (["node1", "--stun", ""], ["STUN"]),
                (["node1", "--stun", "host:0"], ["host:0"]),
                (["node2", ID, "--addr", DEAD, *["--stun", "127.0.0.1"] * 17], ["--stun"]),
                (["why"], ["km-node why"]),
                (["why", "nonsense"], ["id"]),
                (["why", TICKET, TICKET], ["one word too many"]),
                (["why", ID, "--alpn", "", "--addr", DEAD], ["ALPN"]),
                (["why", ID, "--send", "x"], ["--send"]),
                (["node2", ID, "--addr", DEAD, "--alpn", ""], ["ALPN"]),
                (["node2", ID, "--addr", DEAD, "--alpn", "a" * 256], ["255"]),
                (["node2", ID, "--send", "x", "--file", "y"], ["not both"]),
                (["node2", ID, *["--addr", DEAD] * 50], ["--addr"]),
                (["node2", TICKET, TICKET], ["one word too many"]),
                (["node2"], ["km-node node2"]),
                (["id"], ["km-node id"]), (["ticket"], ["km-node ticket"]),
                (["key"], ["km-node key"]), (["key", "bogus"], ["new"]),
                (["key", "new", "extra"], ["new"]), (["key", "show"], ["show"]),
                (["key", "show", "x", "--import", "00" * 32], ["--import"]),
                (["key", "show", "x", "--out", "y"], ["--out"]),
                (["perf", "client", TICKET, "--mode", "bogus"], ["upload"]),
                (["perf", "client", TICKET, "--mode", ""], ["upload"]),
                (["perf", "server", "extra"], ["'extra'"])):
            with self.subTest(args=args[:4]):
                self.check_sentence(run(*args), USAGE, *words)

    def test_messages_are_text(self):
        """Cut within a character or not UTF-8 at all: JSON has a sentence, not its bytes in hex."""
        for word in ("--" + "\u00e9" * 40, "--x" + "\u00e9" * 40, b"--\xff\xfe"):
            with self.subTest(word=word):
                result = raw("id", word, "--json")
                self.assertEqual(result.status, USAGE)
                event = json.loads(result.out)
                self.assertIn("unknown option", event["message"])
                self.assertNotIn("\x1b", event["message"])

    def test_numbers(self):
        for command, option, least, most in (
                ("node2", "--count", 1, 1000000), ("node2", "--timeout", 1, 600),
                ("node2", "--wait-direct", 1, 600), ("why", "--wait", 1, 600),
                ("why", "--timeout", 1, 600)):
            for value in ("", "x", "-1", "+1", "1.5", " 1", "1 ", "0x10", str(least - 1),
                          str(most + 1), "9" * 30, "9" * 18, "1e3"):
                with self.subTest(option=option, value=value):
                    self.check_sentence(run(command, ID, option, value), USAGE, option,
                                        str(least), str(most))
        for option in "--streams", "--time", "--size", "--conns", "--parallel":
            self.check_sentence(run("perf", "client", TICKET, option, "x"), USAGE, option)

    def test_dialling_oneself(self):
        self.check_sentence(run("node2", ID, "--addr", DEAD, "--secret-key", "00" * 32), USAGE,
                            "itself")


def raw(*args):
    """run, for words that are no text."""
    if any(isinstance(arg, bytes) for arg in args):
        args = [os.fsdecode(arg) for arg in args]
    return run(*args)


class Files(Case):
    def check_key_file(self, path, *words, status=USAGE):
        self.check_sentence(run("node1", "--key-file", path), status, *words)
        self.check_sentence(run("node2", ID, "--addr", DEAD, "--key-file", path), status, *words)
        self.check_sentence(run("key", "show", path), status, *words)

    def test_key_files(self):
        pem = run("key", "new", "--format", "pem").out.split("\n", 1)[1].encode()
        self.assertEqual(run("key", "show", self.file("good", pem)).status, OK)
        self.check_key_file(self.file("world", pem, 0o644), "chmod 600")
        self.check_key_file(self.file("group", pem, 0o640), "chmod 600")
        self.check_key_file(self.path("missing"), "missing")
        self.check_key_file(self.path("no/folder"), "no/folder")
        self.check_key_file(self.folder, self.folder)
        self.check_key_file("")
        self.check_key_file("x" * 5000)
        self.check_key_file(self.file("empty"))
        self.check_key_file(self.file("truncated", pem[:-20]))
        self.check_key_file(self.file("garbage", os.urandom(300)))
        self.check_key_file(self.file("zeros", bytes(64)))
        self.check_key_file(self.file("huge", b"a" * (8 << 20)))
        os.mkfifo(self.path("fifo"), 0o600)
        self.check_key_file(self.path("fifo"))  # nobody writes: it must not wait
        self.check_key_file("/dev/zero")

    @unittest.skipUnless(os.geteuid() == 0, "only root can become somebody else")
    def test_a_key_file_of_somebody_else(self):
        path = self.file("root.key", b"x", 0o600)
        os.chmod(self.folder, 0o755)
        try:
            nobody = {"user": 65534, "group": 65534, "extra_groups": []}
            if run("--version", **nobody).status != OK:
                self.skipTest("others cannot run km-node here")
        except PermissionError:
            self.skipTest("others cannot run km-node here")
        self.check_sentence(run("node1", "--key-file", path, **nobody), USAGE, path)
        self.check_sentence(run("key", "show", path, **nobody), USAGE, path)
        self.check_sentence(run("key", "new", "--out", self.path("new"), **nobody), FAILED,
                            self.path("new"))

    def test_files_to_send(self):
        for name, path in (("folder", self.folder), ("missing", self.path("missing")),
                           ("device", "/dev/zero"), ("empty", ""), ("long", "x" * 5000)):
            with self.subTest(file=name):
                self.check_sentence(run("node2", ID, "--addr", DEAD, "--file", path), USAGE)
        os.mkfifo(self.path("fifo"))
        self.check_sentence(run("node2", ID, "--addr", DEAD, "--file", self.path("fifo")), USAGE,
                            "-")

    @unittest.skipUnless(os.path.isdir("/sys/kernel"), "no sysfs here")
    def test_where_nobody_may_write(self):
        for words in (["key", "new", "--out", "/sys/kernel/node.key"],
                      ["init", "/sys/kernel/project"]):
            result = run(*words)
            self.check_sentence(result, FAILED, "/sys/kernel/")
            self.assertNotIn("port", result.err)

    def test_qlog_and_keylog(self):
        for option in "--qlog", "--keylog":
            self.check_sentence(run("node1", "--bind", "127.0.0.1:0", option,
                                    self.path("missing/x")), USAGE, "missing/x")

    @unittest.skipUnless(can("unshare", "-rm", "mount", "-t", "tmpfs", "none", "/tmp"),
                         "no mount namespaces here")
    def test_a_full_disk(self):
        disk = self.path("disk")
        os.mkdir(disk)
        script = ('mount -t tmpfs -o size=4k none "$0" && head -c 4096 /dev/zero > "$0/full" && '
                  '"$@"; status=$?; ls -A "$0"; exit $status')
        result = run("key", "new", "--out", disk + "/node.key",
                     prefix=["unshare", "-rm", "sh", "-c", script, disk])
        self.check_sentence(result, FAILED, disk + "/node.key", "no space left")
        self.assertEqual(result.out.split(), ["full"], "no half of a key is left")


class Network(Case):
    def test_port_in_use(self):
        server = self.start(Server)
        for args in (["node1"], ["node2", ID, "--addr", DEAD], ["perf", "server"]):
            self.check_sentence(run(*args, "--bind", server.addr), USAGE, server.addr, "in use")

    def test_addresses_of_others(self):
        self.check_sentence(run("node1", "--bind", "192.0.2.1:0"), USAGE, "192.0.2.1")

    def test_nobody_there(self):
        result = run("node2", ID, "--addr", DEAD, "--timeout", 1)
        self.check_sentence(result, UNREACHABLE, DEAD)
        self.assertEqual(result.out, "")

    def test_somebody_who_says_nothing(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            addr = f"127.0.0.1:{silent.getsockname()[1]}"
            self.check_sentence(run("node2", ID, "--addr", addr, "--timeout", 1), UNREACHABLE,
                                addr)

    def test_somebody_else(self):
        server = self.start(Server)
        result = run("node2", ID, "--addr", server.addr)
        self.check_sentence(result, WRONG_KEY, "key", "ticket")
        self.assertEqual(result.out, "")

    def test_another_protocol(self):
        server = self.start(Server)
        result = run("node2", server.ticket, "--alpn", "other/1")
        self.check_sentence(result, ALPN, "other/1")
        self.assertEqual(result.out, "")

    def test_no_address(self):
        self.check_sentence(run("node2", ID, "--no-discovery"), UNREACHABLE, "--addr")
        self.check_sentence(run("node2", ID), UNREACHABLE, "nobody knows")
        relay_only = next(t for t in vectors.tickets() if t["name"] == "relay_only")
        self.check_sentence(run("node2", relay_only["ticket"], "--timeout", 1), UNREACHABLE, "relay")

    @unittest.skipUnless(can("unshare", "-rn", "true"), "no network namespaces here")
    def test_no_network(self):
        for addr in "192.0.2.1:1", DEAD, "[2001:db8::1]:1":
            self.check_sentence(run("node2", ID, "--addr", addr, "--timeout", 2,
                                    prefix=["unshare", "-rn"]), UNREACHABLE, addr)


if __name__ == "__main__":
    main()
