"""km-relay as its operators use it: command line, configuration, pages, metrics, signals."""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
import unittest
import urllib.error
import urllib.request

from lab import LIMIT, OK, SOURCE, USAGE, Process, Server, main, run
from man_lab import ManPage
from relay_lab import ANY, RELAY, RelayCase, run_relay

SAMPLE = os.path.join(SOURCE, "cmd/relay/km-relay.toml")


def get(url, **headers):
    """Status, headers and body, whatever the status is."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=LIMIT) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.headers, answer.read()


class Words(ManPage, RelayCase):
    NAME, RUN = "relay", staticmethod(run_relay)

    def test_help(self):
        for flag in "--help", "-h":
            result = run_relay(flag)
            self.assertEqual((result.status, result.err), (OK, ""))
            self.assertIn("usage: km-relay [--config FILE] [--dev]", result.out)
            self.assertLessEqual(max(map(len, result.out.splitlines())), 100)

    def test_version(self):
        result = run_relay("--version")
        self.assertEqual(result.status, OK)
        self.assertRegex(result.out, r"^km-relay [0-9]+\.[0-9]+\.[0-9]+ \(.*wolfSSL.*\)\n$")

    def test_bad_words(self):
        for args, word in ((["--devv"], "did you mean --dev?"), (["start"], "one word too many"),
                           (["--config"], "needs a value"), (["--log", "loud"], "loud"),
                           (["--dev=yes"], "takes no value")):
            self.check_sentence(run_relay(*args), USAGE, word)
            result = run_relay(*args, "--json") if args != ["--config"] else None
            if result is not None:
                self.assertEqual((result.status, result.err), (USAGE, ""))
                self.assertIn(word, result.event("error")["message"])


ID = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"

# What a file says, what the sentence has in it; the line is the last of the file.
BAD = [
    ("enable_relai = true", "did you mean enable_relay?"),
    ("colour = 1", "no key of this name"),
    ("[limit]", "no table of this name"),
    ("[limits]\nconnections = 5", "no key of this name"),
    ("http_bind_addr = 80", "an address in quotes"),
    ('http_bind_addr = "localhost:80"', "'localhost:80' is no address with a port"),
    ('http_bind_addr = "127.0.0.1"', "no address with a port"),
    ("http_bind_addr = []", "an address in quotes"),
    ('http_bind_addr = ["127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1", "127.0.0.4:1", "[::1]:1"]',
     "more than 4"),
    ('metrics_bind_addr = ["127.0.0.1:1", "127.0.0.2:1"]', "one address for metrics"),
    ("enable_metrics = 1", "true or false"),
    ('enable_stun = "yes"', "true or false"),
    ("enable_stun = false\nenable_relay = false", "nothing is left to do"),
    ('stun_alt_addr = "127.0.0.2:3479"', "it goes with a stun_bind_addr"),
    ('stun_bind_addr = "[::]:3478"\nstun_alt_addr = "[::1]:3479"', "each named in full"),
    ('stun_bind_addr = "127.0.0.1:3478"\nstun_alt_addr = "127.0.0.2:3478"', "different ports"),
    ('stun_bind_addr = "127.0.0.1:3478"\nstun_alt_addr = "127.0.0.1:3479"', "two addresses"),
    ('stun_bind_addr = "127.0.0.1:3478"\nstun_alt_addr = "0.0.0.0:3479"', "each named in full"),
    ('stun_bind_addr = "127.0.0.1:3478"\nstun_alt_addr = ["127.0.0.2:3479", "127.0.0.3:3480"]',
     "one alternate address a family"),
    ('stun_alt_addr = "x"', "no address with a port"),
    ("enable_quic_addr_discovery = true", "no QUIC address discovery"),
    ('tls = "on"', "a table"),
    ('[tls]\ncert_mode = "LetsEncrypt"', "certbot"),
    ('[tls]\ncert_mode = "manual"', '"Manual" or "Reloading"'),
    ("[tls]\ndangerous_http_only = true", "--dev"),
    ('[tls]\nmanual_cert_path = ""', "must not be empty"),
    ("[limits]\nmax_connections = 0", "from 1 to 1000000"),
    ("[limits]\nmax_connections = -1", "from 1 to 1000000"),
    ("[limits]\nmax_connections = 1.5", "a whole number"),
    ("[limits]\naccept_conn_limit = -0.5", "from 0 to 1000000"),
    ('[limits]\naccept_conn_limit = "x"', "a number"),
    ("[limits]\nestablish_timeout_ms = 5", "from 100 to"),
    ("[limits.client.rx]\nbytes_per_second = 0", "from 1 to"),
    ("[limits.client.rx]\nbytes_per_second = 99999999999", "to 4294967295"),
    ("[limits.client.rx]\nmax_burst_bytes = 5", "needs bytes_per_second"),
    ('access = "nobody"', '"everyone"'),
    ("access = true", '"everyone"'),
    ("[access]", "say \"everyone\""),
    ('access.alowlist = ["x"]', "did you mean access.allowlist?"),
    ('access.allowlist = ["x"]', "'x' is no endpoint id"),
    (f'access.allowlist = "{ID}"', "a list of texts"),
    ('access.allowlist = ["' + ID + '"]\naccess.shared_token = ["t"]', "one of them decides"),
    ("access.shared_token = []", "there is no token"),
    ('access.shared_token = [""]', "an empty one would let everybody in"),
    ('access.shared_token = ["two words"]', "without blanks"),
    ("access.http = {}", "whom should km-relay ask?"),
    ('access.http.bearer_token = "t"', "whom should km-relay ask?"),
    ('access.http = { url = "https://example.org", colour = "red" }', "no key of this name"),
    ('access.http = { url = "https://example.org", timeout_ms = 1 }', "from 100 to"),
    ("enable_stun = true\nenable_stun = true", "given before, in line 1"),
    ('access = "everyone"\naccess.http.url = "http://x/"', "given before, in line 1"),
    ("enable_stun = tru", "was expected"),
    ("enable_stun = true false", "something stands behind the value"),
    ("enable_stun = 0x10", "decimal number"),
    ('stun_bind_addr = "no end', "has no end"),
    ('stun_bind_addr = """x"""', "several lines"),
    ("enable_stun", "= was expected"),
    ("[[access]]", "lists of tables"),
    ("= 1", "a key was expected"),
]


class Config(RelayCase):
    def test_bad_files(self):
        for number, (text, words) in enumerate(BAD):
            with self.subTest(text=text):
                path = self.file(f"{number}.toml", text.encode())
                result = run_relay("--config", path)
                self.check_sentence(result, USAGE, words)
                line = len(text.splitlines())
                self.assertRegex(result.err, rf"{number}\.toml(:{line})?: ", result.err)
                self.assertEqual(result.out, "")

    def test_the_line_is_named(self):
        path = self.file("c.toml", b"# one\n\n[limits]\n# four\nmax_connections = 'x'\n\n")
        self.check_sentence(run_relay("--config", path), USAGE, "c.toml:5: limits.max_connections:")

    def test_files_that_cannot_be_read(self):
        self.check_sentence(run_relay("--config", self.path("none")), USAGE, "none",
                            "no such file")
        self.check_sentence(run_relay("--config", self.folder), USAGE, "a folder")
        self.check_sentence(run_relay("--config", self.file("b", b"\0")), USAGE, "b:1:")
        long = self.file("long", b"#" * ((8 << 20) + 1))
        self.check_sentence(run_relay("--config", long), USAGE, "longer than 8 MiB")

    def test_what_a_configuration_names_must_be_there(self):
        for text in ('access.allowlist_file = "{}"', 'access.denylist_file = "{}"',
                     'access.shared_token_file = "{}"',
                     'access.http = {{ url = "http://x/", bearer_token_file = "{}" }}',
                     'access.http = {{ url = "https://x/", ca_file = "{}" }}',
                     '[tls]\nmanual_cert_path = "{}"'):
            with self.subTest(text=text):
                path = self.config(text.format(self.path("absent")))
                self.check_sentence(run_relay("--config", path), USAGE, "absent")
                self.check_sentence(run_relay("--config", path, "--check"), USAGE, "absent")

    def test_entries_of_files_are_named_with_their_line(self):
        listed = self.file("ids", f"# people\n{ID}  # somebody\n\nnobody\n".encode())
        path = self.config(f'access.allowlist_file = "{listed}"')
        self.check_sentence(run_relay("--config", path), USAGE, "ids:4: 'nobody'")

    def test_check(self):
        path = self.config('access = "everyone"')
        result = run_relay("--config", path, "--check")
        self.assertEqual((result.status, result.out), (OK, f"{path} is good\n"), result.err)
        result = run_relay("--config", path, "--check", "--json")
        self.check_event(result.event("checked"), "checked", access="everyone")

    def test_the_sample_is_good(self):
        result = run_relay("--config", SAMPLE, "--check", "--dev")
        self.assertEqual(result.status, OK, result.err)

    def test_every_line_of_the_sample_is_good(self):
        """Also those that are commented out, each with its table, as people will take them in."""
        with open(SAMPLE, encoding="utf-8") as file:
            lines = file.read().splitlines()
        table, tried = "", 0
        for line in lines:
            header = re.fullmatch(r"#?(\[[a-z.]+\])", line)
            pair = re.fullmatch(r"#?([a-z._]+ = .*)", line)
            if header:
                table = header.group(1)
            if not pair or "_file" in line or table == "[access.http]":
                continue
            tried += 1
            text = pair.group(1) + "\n"
            if "max_burst_bytes" in text:
                text += "bytes_per_second = 1\n"
            path = self.file("line.toml", f"{table}\n{text}".encode())
            result = run_relay("--config", path, "--check", "--dev")
            self.assertEqual(result.status, OK, f"{line}: {result.err}")
        self.assertGreater(tried, 25)

    def test_a_configuration_of_iroh_relay(self):
        """Keys that mean nothing here do no harm."""
        path = self.config("""
key_cache_capacity = 1024
enable_quic_addr_discovery = false
[tls]
hostname = ["relay.example.org"]
cert_mode = "LetsEncrypt"
contact = "me@example.org"
prod_tls = true
cert_dir = "/nowhere"
quic_bind_addr = "[::]:7842"
dangerous_http_only = false
[limits]
accept_conn_limit = 1000.0
accept_conn_burst = 2000
[limits.client.rx]
bytes_per_second = 400_000
max_burst_bytes = 800_000
""")
        self.assertEqual(run_relay("--config-path", path, "--dev", "--check").status, OK)

    def test_a_world_readable_file_with_tokens_is_warned_of(self):
        for text, where in (('access.shared_token = ["t"]', "relay.toml"),
                            ('access.http = { url = "http://x/", bearer_token = "t" }',
                             "relay.toml"),
                            ('access.shared_token_file = "{}"', "tokens")):
            for mode in 0o644, 0o640:
                text = text.replace("{}", self.file("tokens", b"t\n", mode))
                path = self.config(text, mode=mode)
                result = run_relay("--config", path, "--check")
                self.assertEqual(result.status, OK)
                warned = "can be read by everybody" in result.err
                self.assertEqual(warned, mode == 0o644, result.err)
                self.assertEqual(warned, f"{where} " in result.err)
        path = self.config('access = "everyone"', mode=0o644)
        self.assertEqual(run_relay("--config", path, "--check").err, "")


class Ready(RelayCase):
    def test_machines(self):
        relay = self.relay('[limits]\nmax_connections = 100\n')
        port = r"127\.0\.0\.1:[1-9][0-9]*"
        self.check_event(relay.ready, "ready", version=str, dev=False, https=[], access="everyone",
                         http=lambda v: len(v) == 1 and re.fullmatch(port, v[0]),
                         stun=lambda v: len(v) == 1 and re.fullmatch(port, v[0]),
                         metrics=lambda v: re.fullmatch(port, v))
        self.assertEqual("".join(relay.err), "")

    def test_people(self):
        relay = self.start(Process, "--config", self.config(""), "--dev", program=RELAY)
        self.assertIn("development mode", relay.line())
        self.assertIn("km-node node1 --relay http://", relay.line())
        ready = relay.line()
        self.assertRegex(ready, r"^ready: relay http://127\.0\.0\.1:[0-9]+, stun 127\.0\.0\.1:"
                                r"[0-9]+, metrics http://127\.0\.0\.1:[0-9]+/metrics, "
                                r"access everyone\n$")
        self.assertEqual(relay.stop().status, OK)

    def test_several_addresses(self):
        addresses = f'http_bind_addr = ["{ANY}", "[::1]:0"]\n' \
                    f'stun_bind_addr = ["{ANY}", "[::1]:0"]\nmetrics_bind_addr = "[::1]:0"\n'
        relay = self.relay(addresses=addresses)
        for address in relay.ready["http"]:
            self.assertEqual(get(f"http://{address}/ping")[0], 200)
        self.assertEqual(len(relay.ready["stun"]), 2)
        self.assertEqual(get(f"http://{relay.metrics}/metrics")[0], 200)

    def test_what_is_off_is_not_there(self):
        relay = self.relay("enable_stun = false\nenable_metrics = false\n")
        self.assertEqual((relay.ready["stun"], relay.metrics), ([], None))
        relay = self.relay("enable_relay = false\n")
        self.assertEqual((relay.ready["http"], relay.ready["https"]), ([], []))
        page = get(f"http://{relay.metrics}/metrics")[2].decode()
        self.assertNotIn("relayserver_accepts", page)
        self.assertIn("stun_requests_total", page)
        self.assertEqual(relay.stop().status, OK)

    def busy(self, kind=socket.SOCK_STREAM):
        taken = socket.socket(type=kind)
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        return "127.0.0.1:%d" % taken.getsockname()[1]

    def test_busy_ports(self):
        tcp, udp = self.busy(), self.busy(socket.SOCK_DGRAM)
        for name, port in (("http", tcp), ("metrics", tcp), ("stun", udp)):
            lines = {n: ANY for n in ("http", "stun", "metrics")}
            lines[name] = port
            text = "".join(f'{n}_bind_addr = "{a}"\n' for n, a in lines.items())
            path = self.config("", text)
            result = run_relay("--config", path)
            self.check_sentence(result, USAGE, port, "in use")
            self.assertEqual(result.out, "")
            if name == "http":
                self.check_sentence(run_relay("--config", path, "--dev"), USAGE, port)
            else:
                relay = self.start(Process, "--config", path, "--dev", "--json", program=RELAY)
                self.assertFalse(relay.event("ready")[name])
                result = relay.stop()
                self.assertEqual(result.status, OK)
                self.assertRegex(result.err, rf"(?s)warn.*{port}.*going on without it")

    def test_the_system_is_told(self):
        path = self.path("notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(LIMIT)
            relay = self.relay(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
            seen = [notify.recv(200).decode() for _ in range(4)]
            self.assertEqual(seen.count("READY=1"), 1)
            self.assertEqual(seen.count("WATCHDOG=1"), 3)

            def wait_for(start):
                while not (text := notify.recv(200).decode()).startswith(start):
                    self.assertEqual(text, "WATCHDOG=1")
                return text

            relay.send(signal.SIGHUP)
            self.assertRegex(wait_for("RELOADING=1"), r"^RELOADING=1\nMONOTONIC_USEC=[0-9]+$")
            wait_for("READY=1")
            relay.send(signal.SIGTERM)
            wait_for("STOPPING=1")
            self.assertEqual(relay.wait().status, OK)

    @unittest.skipUnless(hasattr(socket, "AF_UNIX") and os.path.isdir("/proc/self"), "no Linux")
    def test_an_abstract_notify_socket(self):
        name = f"km-relay-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind("\0" + name)
            notify.settimeout(LIMIT)
            self.relay(env={"NOTIFY_SOCKET": "@" + name})
            self.assertEqual(notify.recv(200), b"READY=1")

    def test_few_descriptors(self):
        path = self.config("[limits]\nmax_connections = 5000\n")
        relay = self.start(Process, "-c", f"ulimit -n 400; exec {RELAY} --json --config {path}",
                           program="bash")
        relay.event("ready")
        relay.send(signal.SIGHUP)
        relay.event("reloaded")
        result = relay.stop()
        self.assertEqual(result.status, OK)
        self.assertIn("272 connections instead of 5000", result.err)
        self.assertNotIn("restart-needed", result.err)  # the configuration is the same

    def test_the_soft_limit_of_descriptors_is_raised(self):
        path = self.config("[limits]\nmax_connections = 600\n")
        relay = self.start(Process, "-c", f"ulimit -Hn 4000; ulimit -Sn 100; "
                           f"exec {RELAY} --json --config {path}", program="bash")
        metrics = relay.event("ready")["metrics"]
        page = get(f"http://{metrics}/metrics")[2].decode()
        self.assertGreaterEqual(int(re.search(r"(?m)^process_max_fds ([0-9]+)$", page)[1]), 600)


class Pages(RelayCase):
    def test_pages(self):
        relay = self.relay()
        base = f"http://{relay.http}"
        status, headers, body = get(base + "/")
        self.assertEqual((status, headers.get_content_type()), (200, "text/html"))
        self.assertIn(b"relay", body)
        self.assertEqual(get(base + "/ping")[0], 200)
        status, headers, body = get(base + "/healthz")
        self.assertEqual((status, headers.get_content_type()), (200, "application/json"))
        health = json.loads(body)
        self.assertEqual((health["status"], health["version"]), ("ok", relay.ready["version"]))
        status, headers, body = get(base + "/generate_204", **{"X-Iroh-Challenge": "ts_abc.1"})
        self.assertEqual((status, body), (204, b""))
        self.assertEqual(headers["X-Iroh-Response"], "response ts_abc.1")
        self.assertIsNone(get(base + "/generate_204")[1]["X-Iroh-Response"])
        self.assertEqual(get(base + "/nothing")[0], 404)
        self.assertEqual(get(base + "/metrics")[0], 404)

    def test_one_connection_takes_several_requests(self):
        relay = self.relay()
        client = http.client.HTTPConnection(relay.http, timeout=LIMIT)
        self.addCleanup(client.close)
        for _ in range(3):
            client.request("GET", "/healthz")
            answer = client.getresponse()
            self.assertEqual((answer.status, json.loads(answer.read())["status"]), (200, "ok"))

    def test_dev_needs_no_configuration(self):
        """The ports are fixed, so that they may be taken on this machine: both is told."""
        relay = self.start(Process, "--dev", "--json", program=RELAY)
        event = json.loads(relay.line())
        if event["event"] == "error":
            self.assertIn("[::]:3340", event["message"])
            self.assertEqual(relay.wait().status, USAGE)
            return
        self.assertTrue(event["dev"])
        self.assertEqual(event["http"], ["[::]:3340"])
        self.assertIn(event["stun"], ([], ["[::]:3478"]))
        self.assertIn(event["metrics"], (None, "127.0.0.1:9090"))
        for host in "127.0.0.1", "[::1]":
            self.assertEqual(get(f"http://{host}:3340/ping")[0], 200)
        self.assertEqual(relay.stop().status, OK)


def parse_metrics(text):
    """OpenMetrics 1.0 as far as counters, gauges and info go: values by name; strict."""
    values, types = {}, {}
    lines = text.split("\n")
    assert lines[-2:] == ["# EOF", ""], lines[-3:]
    for line in lines[:-2]:
        if match := re.fullmatch(r"# HELP ([a-z_0-9]+) (\S.*)", line):
            assert match[1] not in types, line
        elif match := re.fullmatch(r"# TYPE ([a-z_0-9]+) (counter|gauge|info)", line):
            assert match[1] not in types, line
            types[match[1]] = match[2]
        else:
            match = re.fullmatch(r'([a-z_0-9]+)(?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})? '
                                 r"([0-9]+(?:\.[0-9]+)?)", line)
            assert match is not None, line
            suffix = {"counter": "_total", "gauge": "", "info": "_info"}
            family = list(types)[-1]
            assert match[1] == family + suffix[types[family]], line
            values[match[1]] = float(match[2])
    return values


# What iroh-relay 1.4.1 has, and km-relay counts as well.
IROH_NAMES = """bytes_sent bytes_recv send_packets_sent send_packets_recv send_packets_dropped
other_packets_sent other_packets_recv other_packets_dropped got_ping sent_pong unknown_frames accepts
disconnects clients_inactive_added clients_inactive_removed http_connections
http_connections_closed""".split()


class Metrics(RelayCase):
    def values(self, relay):
        status, headers, body = get(f"http://{relay.metrics}/metrics")
        self.assertEqual(status, 200)
        self.assertEqual(headers["Content-Type"],
                         "application/openmetrics-text; version=1.0.0; charset=utf-8")
        return parse_metrics(body.decode())

    def test_names(self):
        values = self.values(self.relay())
        for name in IROH_NAMES:
            self.assertEqual(values[f"relayserver_{name}_total"], 0, name)
        self.assertEqual(values["relayserver_build_info"], 1)
        self.assertGreater(values["process_resident_memory_bytes"], 1 << 20)
        self.assertGreater(values["process_open_fds"], 3)
        self.assertGreater(values["process_start_time_seconds"], 1.7e9)
        self.assertNotIn("relayserver_access_asked_total", values)

    def test_the_manual_names_what_is_there(self):
        judged = 'access.http.url = "http://127.0.0.1:1/"'
        values = self.values(self.relay(judged))
        with open(os.path.join(SOURCE, "docs/operations.md"), encoding="utf-8") as file:
            named = set(re.findall(r"\b(?:relayserver|stun|process)_[a-z_]+[a-z]\b", file.read()))
        named -= {"stun_per_second", "stun_bind_addr", "stun_alt_addr"}  # of the configuration
        self.assertGreater(len(named), 20)
        self.assertEqual(named - set(values), set())

    def test_clients_are_counted(self):
        relay = self.relay()
        node = self.start(Server, "--relay", relay.url)
        self.assertEqual(node.ready["relay"], relay.url)
        values = self.values(relay)
        self.assertEqual(values["relayserver_clients"], 1)
        self.assertEqual(values["relayserver_ids"], 1)
        self.assertEqual(values["relayserver_logins_challenge_total"], 1)
        self.assertEqual(values["relayserver_upgrades_v2_total"], 1)
        self.assertEqual(run("node2", node.id, "--relay", relay.url).status, OK)
        get(f"http://{relay.http}/nothing")
        after = self.values(relay)
        self.assertEqual(after["relayserver_accepts_total"], 2)
        for name in "send_packets_sent", "bytes_sent", "bytes_recv", "http_requests":
            self.assertGreater(after[f"relayserver_{name}_total"],
                               values[f"relayserver_{name}_total"], name)
        for name, value in values.items():
            if name.endswith("_total"):
                self.assertGreaterEqual(after[name], value, name)

    def test_stun_is_counted(self):
        relay = self.relay()
        host, port = relay.stun.split(":")
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.settimeout(LIMIT)
            client.connect((host, int(port)))
            request = struct.pack("!HHI12s", 1, 0, 0x2112A442, b"transaction1")
            client.send(request)
            answer = client.recv(200)
            self.assertEqual(answer[:2] + answer[4:20], b"\x01\x01" + request[4:])
            kind, size, _, family, xport, xip = struct.unpack("!HHBBHI", answer[20:])
            self.assertEqual((kind, size, family), (0x0020, 8, 1))
            self.assertEqual(xport ^ 0x2112, client.getsockname()[1])
            self.assertEqual(xip ^ 0x2112A442, 0x7F000001)
            client.send(b"nonsense")
            client.send(request)
            client.recv(200)
        values = self.values(relay)
        self.assertEqual((values["stun_requests_total"], values["stun_success_total"],
                          values["stun_bad_requests_total"]), (3, 2, 1))

    def test_other_requests(self):
        relay = self.relay()
        self.assertEqual(get(f"http://{relay.metrics}/")[0], 404)
        client = http.client.HTTPConnection(relay.metrics, timeout=LIMIT)
        self.addCleanup(client.close)
        client.request("POST", "/metrics", body=b"x")
        self.assertEqual(client.getresponse().status, 405)
        self.assertEqual(self.values(relay)["relayserver_accepts_total"], 0)

    def test_many_scrapers(self):
        """More connections than are served: the later ones are refused, none is stuck."""
        relay = self.relay()
        host, port = relay.metrics.split(":")
        held = [socket.create_connection((host, int(port)), timeout=LIMIT) for _ in range(40)]
        for client in held:
            client.close()
        self.values(relay)

    @unittest.skipUnless(shutil.which("turnutils_stunclient"), "no turnutils_stunclient here")
    def test_stun_with_a_client_of_others(self):
        relay = self.relay(addresses=f'http_bind_addr = "{ANY}"\nmetrics_bind_addr = "{ANY}"\n'
                                     f'stun_bind_addr = ["{ANY}", "[::1]:0"]\n')
        for address in relay.ready["stun"]:
            host, port = address.rsplit(":", 1)
            done = subprocess.run(["turnutils_stunclient", "-p", port, host.strip("[]")],
                                  capture_output=True, text=True, timeout=LIMIT, check=False)
            ip = host.strip("[]")
            self.assertRegex(done.stdout, rf"UDP reflexive addr: \[?{re.escape(ip)}\]?:[0-9]+")
        self.assertGreaterEqual(self.values(relay)["stun_success_total"], 2)

    @unittest.skipUnless(shutil.which("turnutils_natdiscovery"), "no turnutils_natdiscovery here")
    def test_rfc_5780_with_a_client_of_others(self):
        relay = self.relay(addresses=f'http_bind_addr = "{ANY}"\nmetrics_bind_addr = "{ANY}"\n'
                                     f'stun_bind_addr = "{ANY}"\nstun_alt_addr = "127.0.0.2:0"\n')
        port, other = relay.stun.rsplit(":", 1)[1], relay.ready["stun_alt"][0]
        done = subprocess.run(["turnutils_natdiscovery", "-m", "-f", "-L", "127.0.0.1", "-p", port,
                               "127.0.0.1"], capture_output=True, text=True, timeout=LIMIT,
                              check=False)
        self.assertIn(f"Other addr: : {other}", done.stdout)
        self.assertIn(f"Response origin: : {other}", done.stdout)  # CHANGE-REQUEST
        self.assertIn("No NAT! (Endpoint Independent Mapping)", done.stdout)
        self.assertIn("NAT with Endpoint Independent Filtering!", done.stdout)


class Limits(RelayCase):
    """Each key reaches the limit that it names; the limits themselves have tests of their own."""

    def value(self, relay, name):
        return parse_metrics(get(f"http://{relay.metrics}/metrics")[2].decode())[name]

    def wait_for(self, relay, name, least):
        until = time.monotonic() + LIMIT
        while (value := self.value(relay, name)) < least:
            self.assertLess(time.monotonic(), until, f"{name} is {value}")
            time.sleep(0.05)
        return value

    def connect(self, relay):
        host, port = relay.http.split(":")
        client = socket.create_connection((host, int(port)), timeout=LIMIT)
        self.addCleanup(client.close)
        return client

    def is_closed(self, client):
        try:
            return client.recv(1) == b""
        except ConnectionResetError:
            return True

    def check_connections(self, text, count):
        """So many get in, the next one does not."""
        relay = self.relay(f"[limits]\n{text}\n")
        clients = [self.connect(relay) for _ in range(count)]
        self.wait_for(relay, "relayserver_connections", count)
        self.assertTrue(self.is_closed(self.connect(relay)))
        self.assertEqual(self.value(relay, "relayserver_refused_limit_total"), 1)
        for client in clients:
            client.send(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(client.recv(12), b"HTTP/1.1 200")

    def test_connections(self):
        self.check_connections("max_connections = 3", 3)
        self.check_connections("max_connections_per_addr = 2", 2)

    def test_accept_rate(self):
        """Below one a second is one a second: what comes at once is refused beyond the burst."""
        relay = self.relay("[limits]\naccept_conn_limit = 0.01\naccept_conn_burst = 4\n")
        started = time.monotonic()
        for _ in range(100):
            self.connect(relay)
        let_in = 4 + time.monotonic() - started + 1
        refused = self.wait_for(relay, "relayserver_refused_limit_total", 100 - let_in)
        self.assertLessEqual(refused, 96)

    def test_no_limit(self):
        relay = self.relay("[limits]\nmax_connections_per_addr = 0\naccept_conn_limit = 0\n")
        clients = [self.connect(relay) for _ in range(50)]
        self.wait_for(relay, "relayserver_connections", len(clients))
        self.assertEqual(self.value(relay, "relayserver_refused_limit_total"), 0)

    def test_establish_timeout(self):
        relay = self.relay("[limits]\nestablish_timeout_ms = 200\n")
        self.assertTrue(self.is_closed(self.connect(relay)))
        self.assertEqual(self.value(relay, "relayserver_timeouts_establish_total"), 1)

    def test_bytes_of_a_client(self):
        relay = self.relay("[limits.client.rx]\nbytes_per_second = 1_000_000\n"
                           "max_burst_bytes = 20000\n")
        node = self.start(Server, "--relay", relay.url)
        path = self.file("big", os.urandom(1_000_000))
        started = time.monotonic()
        result = run("node2", node.id, "--relay", relay.url, "--file", path, "--policy",
                     "relay-only")
        self.assertEqual(result.status, OK, result.err)
        self.assertGreater(time.monotonic() - started, 0.9)
        self.assertGreater(self.value(relay, "relayserver_rx_ratelimited_total"), 0)

    def test_stun(self):
        relay = self.relay("[limits]\nstun_per_second = 10\n")
        host, port = relay.stun.split(":")
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            for _ in range(100):
                client.sendto(struct.pack("!HHI12s", 1, 0, 0x2112A442, bytes(12)),
                              (host, int(port)))
        self.wait_for(relay, "stun_requests_total", 100)
        self.assertGreater(self.value(relay, "stun_over_rate_total"), 50)

    def test_grace(self):
        """With none, clients are not waited for; they are told all the same."""
        relay = self.relay("[limits]\nshutdown_grace_ms = 0\n")
        self.start(Server, "--relay", relay.url)
        self.assertEqual(relay.stop().status, OK)


class Signals(RelayCase):
    def test_term_and_int(self):
        for number in signal.SIGTERM, signal.SIGINT:
            relay = self.relay()
            result = relay.stop(number)
            self.assertEqual(result.status, OK)
            self.assertEqual([e["event"] for e in result.events], ["ready", "stopping"])

    def test_clients_are_told_and_come_back(self):
        relay = self.relay()
        node = self.start(Server, "--relay", relay.url, "--log", "relay=debug")
        self.assertEqual(node.ready["relay"], relay.url)
        self.assertEqual(relay.stop().status, OK)
        self.assertIsNone(node.event("relay")["home"])
        address = relay.http
        again = self.start(type(relay), "--config", self.config(
            "", f'http_bind_addr = "{address}"\nenable_stun = false\nenable_metrics = false\n'))
        self.assertEqual(node.event("relay")["home"], again.url)

    def test_a_second_signal_ends_it_at_once(self):
        relay = self.relay("[limits]\nshutdown_grace_ms = 3600000\n")
        self.assertEqual(self.start(Server, "--relay", relay.url).ready["relay"], relay.url)
        for number in signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGCONT:
            relay.send(number)  # when it goes on it finds both at once
        self.assertIn(relay.wait().status, (128 + signal.SIGTERM, 128 + signal.SIGINT))

    def test_hangup_without_a_configuration_that_is_good(self):
        relay = self.relay('access.allowlist = []')
        self.config("nonsense")
        relay.send(signal.SIGHUP)
        self.check_event(relay.event("reloaded"), "reloaded", configuration=False,
                         certificate=False)
        self.assertIn("authorized", self.let_in(relay.url))
        self.config("")
        relay.send(signal.SIGHUP)
        self.check_event(relay.event("reloaded"), "reloaded", configuration=True,
                         certificate=False)
        self.assertIsNone(self.let_in(relay.url))
        result = relay.stop()
        self.assertRegex(result.err, "error relay .*relay.toml:4: .*the old configuration stays")

    def test_what_only_a_restart_changes_is_told(self):
        relay = self.relay()
        self.config("[limits]\nmax_connections = 7\n")
        relay.send(signal.SIGHUP)
        relay.event("reloaded")
        self.assertIn("limits has changed, which a restart alone", relay.stop().err)


class Unit(RelayCase):
    unit = os.path.join(SOURCE, "cmd/relay/km-relay.service")

    @unittest.skipUnless(shutil.which("systemd-analyze"), "no systemd-analyze here")
    def test_systemd_likes_it(self):
        with open(self.unit, encoding="utf-8") as file:
            unit = file.read().replace("ExecStart=km-relay", f"ExecStart={RELAY}")
        copy = self.file("km-relay.service", unit.encode(), 0o644)
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", copy], capture_output=True,
                              text=True, timeout=LIMIT, check=False)
        said = [line for line in done.stderr.splitlines() if "km-relay" in line]
        self.assertEqual((done.returncode, said), (0, []), done.stderr)

    def test_it_starts_what_is_there(self):
        with open(self.unit, encoding="utf-8") as file:
            command = re.search(r"(?m)^ExecStart=km-relay (.*)$", file.read())[1].split()
        self.assertEqual(command[0], "--config")
        self.assertEqual(run_relay("--config", SAMPLE, "--check", "--dev", *command[2:]).status, OK)


if __name__ == "__main__":
    main()
