"""km-node doctor: on this machine's loopback, where nothing is in the way, and where nothing is."""
import http.server
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import unittest

import relay_lab
from lab import BIN, LIMIT, OK, UNREACHABLE, USAGE, FAILED, Case, environment, main, run

ALTERNATE = ('http_bind_addr = "127.0.0.1:0"\nenable_metrics = false\n'
             'stun_bind_addr = "127.0.0.1:0"\nstun_alt_addr = "127.0.0.2:0"\n')


def doctor(*args, **more):
    return run("doctor", *args, **more)


def report(*args, **more):
    result = doctor(*args, "--json", **more)
    assert result.err == "", result.err
    assert len(result.out.splitlines()) == 1, result.out
    return result.status, result.event("report")


class Silent:
    """A UDP port that hears and says nothing."""

    def __enter__(self):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.name = "127.0.0.1:%d" % self.sock.getsockname()[1]
        return self

    def __exit__(self, *_):
        self.sock.close()


class Portal:
    """A web server that answers everything, as captive portals do."""

    def __enter__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(302)
                self.send_header("Location", "http://portal.example/login")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/" % self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Loopback(relay_lab.RelayCase):
    def relay_of_rfc_5780(self):
        path = os.path.join(self.folder, "relay.toml")
        with open(path, "w", encoding="ascii") as file:
            file.write(ALTERNATE)
        return self.start(relay_lab.Relay, "--config", path)

    def test_a_relay_of_ours(self):
        relay = self.relay_of_rfc_5780()
        status, found = report("--relay", relay.url, "--stun", relay.stun, "--bind", "127.0.0.1:0")
        self.assertEqual((status, found["verdict"]), (OK, "open"))
        four = found["udp4"]
        self.assertEqual((four["bound"], four["works"], four["mapping"], four["filtering"]),
                         (True, True, "none", "none"))
        self.assertRegex(four["public_addr"], r"^127\.0\.0\.1:\d+$")
        self.assertIsNone(four["hairpin"])
        self.assertEqual((found["udp6"]["bound"], found["udp6"]["works"]), (False, False))
        self.assertEqual(len(found["relays"]), 1)
        one = found["relays"][0]
        self.assertEqual((one["url"].rstrip("/"), one["home"], one["error"]),
                         (relay.url.rstrip("/"), True, None))
        self.assertGreater(one["latency_ms"], 0)
        self.assertEqual([s["name"] for s in found["stun"]], [relay.stun])
        self.assertEqual(found["stun"][0]["mapped"], four["public_addr"])
        self.assertIs(found["captive_portal"], False)
        self.assertEqual(found["advice"], [])

    def test_people_get_what_machines_get(self):
        relay = self.relay_of_rfc_5780()
        result = doctor("--relay", relay.url, "--stun", relay.stun, "--bind", "127.0.0.1:0")
        self.assertEqual((result.status, result.err), (OK, ""))
        self.assertRegex(result.out, r"^verdict +open: ")
        for part in ("UDP IPv4", "127.0.0.1:", "there is no NAT", relay.url, "home", relay.stun,
                     "portal    none"):
            self.assertIn(part, result.out)
        self.assertNotIn("What to do", result.out)

    def test_names_are_looked_up(self):
        relay = self.relay_of_rfc_5780()
        port = relay.stun.rpartition(":")[2]
        _status, found = report("--stun", f"localhost:{port}", "--stun", "missing.invalid",
                                "--bind", "127.0.0.1:0")
        self.assertTrue(found["udp4"]["works"])
        self.assertEqual([(s["name"], s["addr"] is None) for s in found["stun"]],
                         [(f"localhost:{port}", False), ("missing.invalid", True)])

    def test_a_relay_that_is_not_there(self):
        relay = self.relay_of_rfc_5780()
        with socket.socket() as gone:
            gone.bind(("127.0.0.1", 0))
            url = "http://127.0.0.1:%d/" % gone.getsockname()[1]
            status, found = report("--relay", relay.url, "--relay", url, "--stun", relay.stun,
                                   "--bind", "127.0.0.1:0")
        self.assertEqual((status, found["verdict"]), (OK, "open"))
        self.assertIsNone(found["relays"][0]["error"])
        self.assertTrue(found["relays"][1]["error"])
        self.assertIsNone(found["relays"][1]["latency_ms"])
        self.assertTrue(any("Not every relay" in line for line in found["advice"]))

    def test_udp_that_goes_nowhere(self):
        relay = self.relay_of_rfc_5780()
        with Silent() as silent:
            status, found = report("--relay", relay.url, "--stun", silent.name,
                                   "--bind", "127.0.0.1:0")
        self.assertEqual((status, found["verdict"]), (OK, "UDP blocked"))
        self.assertTrue(any("UDP does not get through" in line for line in found["advice"]))
        self.assertEqual([(s["latency_ms"], s["mapped"]) for s in found["stun"]], [(None, None)])

    def test_nothing_answers(self):
        with Silent() as silent, socket.socket() as gone:
            gone.bind(("127.0.0.1", 0))
            url = "http://127.0.0.1:%d/" % gone.getsockname()[1]
            result = doctor("--relay", url, "--stun", silent.name, "--bind", "127.0.0.1:0")
        self.assertEqual(result.status, UNREACHABLE, result.err)
        self.assertRegex(result.out, r"^verdict +unknown: ")
        self.assertIn("What to do", result.out)
        self.assertIn("online", result.out)

    def test_a_captive_portal(self):
        with Silent() as silent, Portal() as portal:
            status, found = report("--relay", portal.url, "--stun", silent.name,
                                   "--bind", "127.0.0.1:0")
        self.assertIs(found["captive_portal"], True)
        self.assertIn("log in", found["advice"][0])
        self.assertEqual(status, UNREACHABLE)

    def test_a_token_in_an_url_is_not_shown(self):
        relay = self.relay_of_rfc_5780()
        result = doctor("--relay", relay.url + "?token=secret", "--stun", relay.stun, "--json",
                        "--bind", "127.0.0.1:0")
        self.assertNotIn("secret", result.out + result.err)

    @unittest.skipUnless(shutil.which("turnserver"), "no turnserver (coturn) here")
    def test_coturn(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        turn = subprocess.Popen(
            ["turnserver", "-n", "-z", "--no-tls", "--no-dtls", "--no-cli", "-p", str(port),
             "--alt-listening-port", str(port + 1 if port < 65535 else port - 1),
             "-L", "127.0.0.1", "-L", "127.0.0.2", "--log-file", "/dev/null",
             "--pidfile", os.path.join(self.folder, "pid"), "-b", os.path.join(self.folder, "db")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + LIMIT
            found = {"udp4": {"works": False}}
            while not found["udp4"]["works"] and time.monotonic() < until:
                _status, found = report("--stun", f"127.0.0.1:{port}", "--bind", "127.0.0.1:0")
            self.assertEqual((found["verdict"], found["udp4"]["filtering"]), ("open", "none"))
        finally:
            turn.kill()
            turn.wait()


class Usage(Case):
    def check(self, *args, says):
        for words in args, (*args, "--json"):
            result = doctor(*words)
            self.assertEqual(result.status, USAGE, (words, result.out, result.err))
            self.assertIn(says, result.err + result.out)

    def test_somebody_has_to_be_asked(self):
        self.check(says="--relay URL")
        self.check("--bind", "127.0.0.1:0", says="--relay URL")

    def test_bad_input(self):
        for name in "a b", "x:0", "x:65536", "[::1", "user@x", "", "stun:x:1", "\x1b[2J":
            self.check("--stun", name, says="is no STUN server")
        self.check("--relay", "nonsense", says="relay")
        self.check("--relay", "disabled", says="--relay")
        self.check("--stun", "x", "--bind", "nonsense", says="nonsense")
        self.check("--stun", "x", "--bind", "192.0.2.1:0", says="192.0.2.1")
        self.check("--stun", "x", "--timeout", "0", says="--timeout")
        self.check("--stun", "x", "--timeout", "601", says="--timeout")
        self.check("--stun", "x", "word", says="word")
        self.check(*(["--stun", "x"] * 17), says="too often")
        self.check("--relay", "http://127.0.0.1:9/", "--relay-ca", "/missing/ca.pem",
                   says="/missing/ca.pem")

    def test_help(self):
        result = doctor("--help")
        self.assertEqual((result.status, result.err), (OK, ""))
        for part in "--relay", "--stun", "--bind", "--json", "--timeout", "Exit status":
            self.assertIn(part, result.out)

    def test_too_slow(self):
        with Silent() as silent:
            result = doctor("--stun", silent.name, "--bind", "127.0.0.1:0", "--timeout", "1")
        self.assertEqual(result.status, FAILED)
        self.assertIn("--timeout", result.err)
        self.assertEqual(result.out, "")

    @unittest.skipUnless(shutil.which("script"), "no script here")
    def test_progress_is_for_terminals(self):
        with Silent() as silent:
            words = ["--stun", silent.name, "--bind", "127.0.0.1:0", "--timeout", "2"]
            line = " ".join([BIN, "doctor", *words])
            done = subprocess.run(["script", "-qec", line, "/dev/null"],
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT,
                                  env=environment(), check=False)
            self.assertIn(b"measuring this network", done.stdout)
            self.assertNotIn("measuring", doctor(*words).err)


if __name__ == "__main__":
    main()
