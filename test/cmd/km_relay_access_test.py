"""Who may use a km-relay, and its certificate: real clients, real reloads."""
import http.server
import os
import re
import shutil
import signal
import socket
import ssl
import threading
import time
import unittest
import urllib.request

from lab import LIMIT, OK, SOURCE, USAGE, Process, Server, main, run
from relay_lab import ANY, Relay, RelayCase, have_openssl, make_certificate, run_relay

NO = "not authorized"
TOKEN, OTHER = "s3cret-Token.1", "another~one"


class AccessCase(RelayCase):
    def node(self, relay, key, *args):
        """A node1 with this key file, whose way in is the relay."""
        return self.start(Server, "--relay", relay.url, "--key-file", key, "--log", "relay=debug",
                          *args)

    def check_in(self, relay, key, *args):
        node = self.node(relay, key, *args)
        self.assertEqual(node.ready["relay"], relay.url)
        return node

    def check_out(self, relay, key, *args):
        node = self.node(relay, key, *args)
        self.assertIsNone(node.ready["relay"])
        self.assertIn(NO, node.stop().err)

    def denied(self, relay):
        with urllib.request.urlopen(f"http://{relay.metrics}/metrics", timeout=LIMIT) as answer:
            page = answer.read().decode()
        return int(re.search(r"(?m)^relayserver_logins_denied_total ([0-9]+)$", page)[1])

    def reload(self, relay, text, **more):
        self.config(text)
        relay.send(signal.SIGHUP)
        event = relay.event("reloaded")
        self.assertEqual(event, {"event": "reloaded", "configuration": True, "certificate": False,
                                 **more})


class Lists(AccessCase):
    def test_everyone(self):
        relay = self.relay('access = "everyone"')
        self.assertIsNone(self.let_in(relay.url))
        self.assertEqual(self.denied(relay), 0)

    def test_allowlist(self):
        (one, one_id), (two, _) = self.key("one"), self.key("two")
        relay = self.relay(f'access.allowlist = ["{one_id}"]')
        self.assertEqual(relay.ready["access"], "allowlist")
        self.check_in(relay, one)
        self.check_out(relay, two)
        self.assertIn(NO, self.let_in(relay.url))
        self.assertGreaterEqual(self.denied(relay), 2)

    def test_denylist(self):
        (one, one_id), (two, _) = self.key("one"), self.key("two")
        relay = self.relay(f'[access]\ndenylist = ["{one_id}"]')
        self.check_out(relay, one)
        self.check_in(relay, two)
        self.assertIsNone(self.let_in(relay.url))

    def test_list_and_file_together(self):
        (one, one_id), (two, two_id), (three, _) = map(self.key, ("one", "two", "three"))
        base32 = run("id", two_id, "--json").event("id")["base32"]
        listed = self.file("ids", f"\r\n# a comment\r\n {base32}  # two\r\n".encode())
        relay = self.relay(f'access = {{ allowlist = ["{one_id}"], allowlist_file = "{listed}" }}')
        self.check_in(relay, one)
        self.check_in(relay, two)
        self.check_out(relay, three)

    def test_an_empty_allowlist_lets_nobody_in(self):
        relay = self.relay("access.allowlist = []")
        self.assertIn(NO, self.let_in(relay.url))

    def test_reload_changes_who_comes_not_who_is_there(self):
        (one, one_id), (two, two_id) = self.key("one"), self.key("two")
        listed = self.file("ids", one_id.encode())
        text = f'access.allowlist_file = "{listed}"'
        relay = self.relay(text)
        node = self.check_in(relay, one)
        self.file("ids", two_id.encode())
        self.reload(relay, text)
        self.check_out(relay, one)
        self.check_in(relay, two)
        # Who was in stays in, and can be reached: through the relay, as nothing else is dialled.
        self.assertEqual(node.child.poll(), None)
        dialler = run("node2", node.id, "--relay", relay.url, "--key-file", two, "--json")
        self.assertEqual(dialler.status, OK, dialler.out + dialler.err)
        self.assertEqual(dialler.event("connected")["path"], "relay")

    def test_a_list_that_got_broken_changes_nothing(self):
        one, one_id = self.key("one")
        listed = self.file("ids", one_id.encode())
        relay = self.relay(f'access.allowlist_file = "{listed}"')
        self.file("ids", b"nonsense")
        relay.send(signal.SIGHUP)
        self.assertFalse(relay.event("reloaded")["configuration"])
        self.check_in(relay, one)
        self.assertIn(NO, self.let_in(relay.url))
        self.assertIn("ids:1: 'nonsense' is no endpoint id", relay.stop().err)

    def test_a_big_list(self):
        one, one_id = self.key("one")
        ids = [os.urandom(0).hex() or one_id]
        for _ in range(40):
            ids.append(run("key", "new", "--out", self.path("k"), "--json").event("key")["id"])
            os.unlink(self.path("k"))
        listed = self.file("ids", ("\n".join(ids[::-1]) + "\n").encode() * 500)
        relay = self.relay(f'access.allowlist_file = "{listed}"')
        self.check_in(relay, one)
        self.assertIn(NO, self.let_in(relay.url))


class Tokens(AccessCase):
    def check_tokens(self, relay, good, bad):
        for token in good:
            self.assertIsNone(self.let_in(f"{relay.url}?token={token}"), token)
            self.assertIsNone(self.let_in(relay.url, "--relay-token", token), token)
        for token in bad:
            said = self.let_in(f"{relay.url}?token={token}")
            self.assertIn(NO, said, token)
            self.assertNotIn(token, said)
            self.assertIn(NO, self.let_in(relay.url, "--relay-token", token), token)
        self.assertIn(NO, self.let_in(relay.url))

    def test_in_the_configuration(self):
        relay = self.relay(f'access.shared_token = ["{TOKEN}", "{OTHER}"]')
        self.assertEqual(relay.ready["access"], "shared_token")
        self.check_tokens(relay, (TOKEN, OTHER), (TOKEN + "x", TOKEN[:-1], TOKEN.upper(), "x"))
        self.assertIn(NO, self.let_in(relay.url + "?token="))
        said = relay.stop()
        self.assertNotIn(TOKEN, said.out + said.err)

    def test_a_node_with_a_token(self):
        relay = self.relay(f'access.shared_token = ["{TOKEN}"]')
        key = self.key("one")[0]
        self.check_in(relay, key, "--relay-token", TOKEN)
        self.check_out(relay, self.key("two")[0], "--relay-token", OTHER)

    def test_in_a_file_and_reloaded(self):
        listed = self.file("tokens", f"{TOKEN}\r\n\n".encode(), 0o640)
        text = f'access.shared_token_file = "{listed}"'
        relay = self.relay(text)
        self.check_tokens(relay, (TOKEN,), (OTHER,))
        self.file("tokens", OTHER.encode(), 0o640)
        self.reload(relay, text)
        self.check_tokens(relay, (OTHER,), (TOKEN,))

    def test_in_the_environment(self):
        relay = self.relay(f'access.shared_token = ["{OTHER}"]',
                           env={"IROH_RELAY_ACCESS_TOKEN": TOKEN})
        self.check_tokens(relay, (TOKEN,), (OTHER,))
        result = run_relay("--config", self.config("access.shared_token = []"), "--check",
                           env={"IROH_RELAY_ACCESS_TOKEN": ""})
        self.check_sentence(result, USAGE, "IROH_RELAY_ACCESS_TOKEN", "let everybody in")

    def test_a_variable_that_opens_nothing_is_warned_of(self):
        result = run_relay("--config", self.config(""), "--check",
                           env={"IROH_RELAY_ACCESS_TOKEN": TOKEN})
        self.assertEqual(result.status, OK)
        self.assertIn("access is everyone and not shared_token", result.err)
        self.assertNotIn(TOKEN, result.err)

    def test_the_kind_can_change(self):
        relay = self.relay(f'access.shared_token = ["{TOKEN}"]')
        self.reload(relay, 'access = "everyone"')
        self.assertIsNone(self.let_in(relay.url))
        self.reload(relay, "access.allowlist = []")
        self.assertIn(NO, self.let_in(relay.url))


class Judge(http.server.ThreadingHTTPServer):
    """A web server that says who may come in, and remembers what it was asked."""
    daemon_threads = True

    def __init__(self, answer, context=None):
        super().__init__(("127.0.0.1", 0), Asked)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.answer, self.seen = answer, []
        self.address = "127.0.0.1:%d" % self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # clients that do not trust us hang up

    def end(self):
        self.shutdown()
        self.server_close()


class Asked(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.seen.append((self.path, self.headers))
        status, body = self.server.answer(self.headers)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


def say(listener, answer, pieces):
    """Takes one request, answers with these bytes, and hangs up."""
    client, _ = listener.accept()
    with client:
        client.settimeout(LIMIT)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seen = b""
        while not seen.endswith(b"\r\n\r\n"):
            seen += client.recv(4096)
        try:
            step = 1 if pieces else len(answer) + 1
            for i in range(0, len(answer), step):
                client.send(answer[i:i + step])
            client.shutdown(socket.SHUT_WR)
            client.recv(1)
        except OSError:
            pass  # it had seen enough


class Asking(AccessCase):
    def judge(self, answer, context=None):
        judge = Judge(answer, context)
        self.addCleanup(judge.end)
        return judge

    def asking(self, judge, more="", scheme="http", **kwargs):
        return self.relay(f'[access.http]\nurl = "{scheme}://{judge.address}/may?who=1"\n{more}',
                          **kwargs)

    def test_yes_and_no_by_id(self):
        (one, one_id), (two, two_id) = self.key("one"), self.key("two")
        judge = self.judge(lambda headers: (200, b"true" if headers["X-Iroh-Endpoint-Id"] == one_id
                                            else b"false"))
        relay = self.asking(judge)
        self.assertEqual(relay.ready["access"], "http")
        self.check_in(relay, one)
        self.check_out(relay, two)
        path, headers = judge.seen[0]
        self.assertEqual((path, headers["Content-Length"]), ("/may?who=1", "0"))
        self.assertEqual((headers["X-Iroh-Endpoint-Id"], headers["X-Iroh-NodeId"]),
                         (one_id, one_id))
        self.assertIsNone(headers["Authorization"])
        self.assertEqual(judge.seen[1][1]["X-Iroh-Endpoint-Id"], two_id)

    def test_what_is_no_yes(self):
        answers = [(200, b"True"), (200, b"true\n"), (200, b" true"), (200, b""), (201, b"true"),
                   (200, b"true" * 5000), (403, b"true"), (302, b"true"), (500, b"true")]
        judge = self.judge(lambda headers: answers[len(judge.seen) - 1])
        relay = self.asking(judge)
        for answer in answers:
            self.assertIn(NO, self.let_in(relay.url), answer[:40])
        answers.append((200, b"true"))
        self.assertIsNone(self.let_in(relay.url))
        self.assertEqual(self.denied(relay), len(answers) - 1)
        with urllib.request.urlopen(f"http://{relay.metrics}/metrics", timeout=LIMIT) as page:
            text = page.read().decode()
        self.assertIn(f"\nrelayserver_access_asked_total {len(answers)}\n", text)
        self.assertIn("\nrelayserver_access_allowed_total 1\n", text)

    def test_every_form_of_an_answer(self):
        ok = b"HTTP/1.1 200 OK\r\n"
        forms = [(ok + b"Content-Length: 4\r\n\r\ntrue", True),
                 (ok + b"Transfer-Encoding: chunked\r\n\r\n4\r\ntrue\r\n0\r\n\r\n", True),
                 (ok + b"Transfer-Encoding: chunked\r\n\r\n2\r\ntr\r\n2\r\nue\r\n0\r\n\r\n", True),
                 (ok + b"Connection: close\r\n\r\ntrue", True),
                 (b"HTTP/1.0 200 OK\r\n\r\ntrue", True),
                 (ok + b"Connection: close\r\n\r\ntrue and more", False),
                 (ok + b"Content-Length: 4\r\n\r\ntr", False),
                 (ok + b"Content-Length: 9\r\n\r\ntrue", False),
                 (ok + b"X: " + b"y" * 20000, False), (ok, False), (b"garbage\r\n\r\n", False),
                 (b"", False), (b"\0" * 100, False)]
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = "127.0.0.1:%d" % listener.getsockname()[1]
            relay = self.relay(f'[access.http]\nurl = "http://{address}/"\n')
            for pieces in False, True:
                for form, allowed in forms:
                    client = threading.Thread(target=say, args=(listener, form, pieces))
                    client.start()
                    said = self.let_in(relay.url)
                    client.join(LIMIT)
                    self.assertEqual(said is None, allowed, (form[:80], pieces, said))
        self.assertEqual(relay.stop().status, OK)

    def test_bearer(self):
        judge = self.judge(lambda headers: (200, b"true" if headers["Authorization"] ==
                                            "Bearer " + TOKEN else b"false"))
        self.assertIsNone(self.let_in(self.asking(judge, f'bearer_token = "{TOKEN}"').url))
        listed = self.file("bearer", f"{TOKEN}\n".encode())
        self.assertIsNone(self.let_in(self.asking(judge, f'bearer_token_file = "{listed}"').url))
        relay = self.asking(judge, f'bearer_token = "{OTHER}"',
                            env={"IROH_RELAY_HTTP_BEARER_TOKEN": TOKEN})
        self.assertIsNone(self.let_in(relay.url))
        self.assertIn(NO, self.let_in(self.asking(judge).url))

    def test_nobody_answers(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            address = "127.0.0.1:%d" % silent.getsockname()[1]
            relay = self.relay(f'[access.http]\nurl = "http://{address}/"\ntimeout_ms = 300\n')
            self.assertIn(NO, self.let_in(relay.url))
        self.assertIn(NO, self.let_in(relay.url))  # nobody listens there any more
        result = relay.stop()
        self.assertEqual(result.status, OK)
        self.assertGreaterEqual(len(re.findall("warn relay .*access-unanswered", result.err)), 2)

    def test_a_reload_while_it_is_asked(self):
        """The one who was asked before the reload still decides on who came before it."""
        asked, go_on = threading.Event(), threading.Event()

        def slowly(headers):
            asked.set()
            go_on.wait(LIMIT)
            return 200, b"true"

        judge = self.judge(slowly)
        relay = self.asking(judge, "timeout_ms = 20000\n")
        result = []
        client = threading.Thread(target=lambda: result.append(self.let_in(relay.url)))
        client.start()
        self.assertTrue(asked.wait(LIMIT))
        self.reload(relay, "access.allowlist = []")
        self.assertIn(NO, self.let_in(relay.url))
        time.sleep(1.3)  # longer than one that has nothing to do any more is kept
        go_on.set()
        client.join(LIMIT)
        self.assertEqual(result, [None])
        self.assertEqual(relay.stop().status, OK)

    def test_it_ends_while_it_asks(self):
        asked, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)
        judge = self.judge(lambda headers: (asked.set(), go_on.wait(LIMIT), (200, b"true"))[2])
        relay = self.asking(judge, "timeout_ms = 20000\n")
        client = self.start(Process, "relay", "ping", relay.url, "--json")
        self.assertTrue(asked.wait(LIMIT))
        self.assertEqual(relay.stop().status, OK)
        self.assertNotEqual(client.wait().status, OK)

    @unittest.skipUnless(have_openssl(), "no openssl here")
    def test_over_tls(self):
        make_certificate(self.folder, "root")
        make_certificate(self.folder, "judge", "root")
        make_certificate(self.folder, "stranger")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("judge.crt"), self.path("judge.key"))
        judge = self.judge(lambda headers: (200, b"true"), context)
        relay = self.asking(judge, f'ca_file = "{self.path("root.crt")}"', "https")
        self.assertIsNone(self.let_in(relay.url))
        relay = self.asking(judge, f'ca_file = "{self.path("stranger.crt")}"', "https")
        self.assertIn(NO, self.let_in(relay.url))
        self.assertEqual(len(judge.seen), 1)

    def test_bad_urls(self):
        for url in "ftp://x/", "x", "http://user@x/", "http://":
            path = self.config(f'access.http.url = "{url}"')
            self.check_sentence(run_relay("--config", path, "--check"), USAGE)


@unittest.skipUnless(have_openssl(), "no openssl here")
class Certificate(AccessCase):
    def setUp(self):
        super().setUp()
        make_certificate(self.folder, "root")
        for name in "one", "two":
            make_certificate(self.folder, name, "root")
        self.install("one")

    def install(self, name):
        for end in "crt", "key":
            shutil.copy(self.path(f"{name}.{end}"), self.path(f"default.{end}"))

    def tls(self, more="", mode="Manual"):
        addresses = f'http_bind_addr = "{ANY}"\nstun_bind_addr = "{ANY}"\n' \
                    f'metrics_bind_addr = "{ANY}"\n{more}\n'
        return self.relay(f'[tls]\nhttps_bind_addr = "{ANY}"\ncert_mode = "{mode}"\n'
                          f'cert_dir = "{self.folder}"\n', addresses=addresses)

    def subject(self, relay):
        """The name in the certificate that it shows, which is verified."""
        host, port = relay.https.split(":")
        context = ssl.create_default_context(cafile=self.path("root.crt"))
        with socket.create_connection((host, int(port)), timeout=LIMIT) as plain, \
                context.wrap_socket(plain, server_hostname=host) as client:
            self.assertEqual(client.version(), "TLSv1.3")
            return dict(pair[0] for pair in client.getpeercert()["subject"])["commonName"]

    def test_the_relay_is_behind_tls_only(self):
        relay = self.tls()
        root = self.path("root.crt")
        self.assertEqual(self.subject(relay), "one")
        self.assertIsNone(self.let_in(relay.url, "--relay-ca", root))
        self.assertIsNotNone(self.let_in(relay.url))
        self.assertIsNotNone(self.let_in(f"http://{relay.http}/"))
        with urllib.request.urlopen(f"http://{relay.http}/generate_204", timeout=LIMIT) as answer:
            self.assertEqual(answer.status, 204)
        with urllib.request.urlopen(f"http://{relay.metrics}/metrics", timeout=LIMIT) as answer:
            self.assertIn("\nrelayserver_logins_header_total 1\n", answer.read().decode())

    def test_tokens_in_the_header_over_tls(self):
        relay = self.tls(f'access.shared_token = ["{TOKEN}"]')
        root = self.path("root.crt")
        self.assertIsNone(self.let_in(relay.url, "--relay-ca", root, "--relay-token", TOKEN))
        self.assertIn(NO, self.let_in(relay.url, "--relay-ca", root, "--relay-token", OTHER))

    def test_reload(self):
        for mode in "Manual", "Reloading":
            self.install("one")
            relay = self.tls(mode=mode)
            key = self.key("key-" + mode)[0]
            node = self.check_in(relay, key, "--relay-ca", self.path("root.crt"))
            self.install("two")
            self.assertEqual(self.subject(relay), "one")
            relay.send(signal.SIGHUP)
            self.assertTrue(relay.event("reloaded")["certificate"])
            self.assertEqual(self.subject(relay), "two")
            # Its connection is the one from before: dialled through it, and never said to be lost.
            result = run("node2", node.id, "--relay", relay.url, "--relay-ca",
                         self.path("root.crt"), "--json")
            self.assertEqual(result.status, OK, result.out + result.err)
            self.assertEqual(result.event("connected")["path"], "relay")
            said = node.stop()
            self.assertEqual([e for e in said.events if e["event"] == "relay"], [])

    def test_a_bad_certificate_changes_nothing(self):
        relay = self.tls()
        for name in "crt", "key":
            for content in b"garbage", None:
                self.install("two")
                if content is None:
                    os.unlink(self.path("default." + name))
                else:
                    self.file("default." + name, content)
                relay.send(signal.SIGHUP)
                self.assertFalse(relay.event("reloaded")["certificate"])
                self.assertEqual(self.subject(relay), "one")
        self.install("two")
        shutil.copy(self.path("one.key"), self.path("default.key"))  # of another certificate
        relay.send(signal.SIGHUP)
        self.assertFalse(relay.event("reloaded")["certificate"])
        self.assertEqual(self.subject(relay), "one")
        self.install("two")
        relay.send(signal.SIGHUP)
        self.assertTrue(relay.event("reloaded")["certificate"])
        self.assertEqual(self.subject(relay), "two")
        result = relay.stop()
        self.assertEqual(len(re.findall("the old certificate stays", result.err)), 5)

    def test_a_certificate_that_is_bad_from_the_start(self):
        def check(*words):
            path = self.config(f'[tls]\ncert_dir = "{self.folder}"\nhttps_bind_addr = "{ANY}"\n')
            for more in [], ["--check"]:
                self.check_sentence(run_relay("--config", path, *more), USAGE, *words)
            self.assertEqual(run_relay("--config", path, "--check", "--dev").status, OK)

        shutil.copy(self.path("two.key"), self.path("default.key"))
        check("default.crt", "does not belong")
        self.file("default.key", b"garbage")
        check("default.key")
        os.unlink(self.path("default.crt"))
        check("default.crt", "no such file")

    def test_a_private_key_that_everybody_can_read_is_warned_of(self):
        path = self.config(f'[tls]\ncert_dir = "{self.folder}"\nhttps_bind_addr = "{ANY}"\n')
        for mode in 0o640, 0o644:
            os.chmod(self.path("default.key"), mode)
            result = run_relay("--config", path, "--check")
            self.assertEqual(result.status, OK, result.err)
            self.assertEqual("default.key can be read by everybody" in result.err, mode == 0o644)

    def test_the_sample_runs(self):
        with open(os.path.join(SOURCE, "cmd/relay/km-relay.toml"), encoding="utf-8") as file:
            text = file.read()
        for old, new in ((":80", ":0"), ("127.0.0.1:9090", ANY), ("[::]:443", ANY),
                         ("[::]:3478", ANY), ("#https", "https"), ("#stun_bind", "stun_bind"),
                         ("/etc/km-relay/tls/fullchain.pem", self.path("default.crt")),
                         ("/etc/km-relay/tls/privkey.pem", self.path("default.key"))):
            self.assertIn(old, text)
            text = text.replace(old, new)
        path = self.config(text, "")
        result = run_relay("--config", path, "--check")
        self.assertEqual((result.status, result.err), (OK, ""))
        relay = self.start(Relay, "--config", path)
        self.assertEqual(self.subject(relay), "one")
        self.assertIsNone(self.let_in(relay.url, "--relay-ca", self.path("root.crt")))

    def test_in_dev_there_is_no_tls(self):
        relay = self.relay(f'[tls]\ncert_dir = "{self.path("none")}"\n', "--dev")
        self.assertEqual(relay.ready["https"], [])
        self.assertIsNone(self.let_in(relay.url))


if __name__ == "__main__":
    main()
