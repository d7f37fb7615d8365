"""The status page as programs see it: who may ask, what is answered, how much is put up with."""
import base64
import hashlib
import json
import re
import socket
import subprocess
import time
import unittest
from urllib.parse import quote

from page_lab import BIN, LIMIT, Connection, Node, Watcher

PATHS = ("/", "/health", "/peers", "/shares", "/metrics")
TOKEN = "correct horse+battery=staple&%"


def can_v6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


class Case(unittest.TestCase):
    args = ()

    def setUp(self):
        self.node = Node(*self.args)
        self.addCleanup(self.end)

    def end(self):
        self.assertEqual(self.node.close(), 0)

    def eventually(self, ask):
        """Asks until the answer is true; the answer."""
        end = time.monotonic() + LIMIT
        while not (answer := ask()):
            self.assertLess(time.monotonic(), end)
            time.sleep(.05)
        return answer

    def check_guarded(self, answer):
        """What a browser is told about every answer."""
        fields = answer.fields
        self.assertEqual(fields["cache-control"], "no-store")
        self.assertEqual(fields["x-content-type-options"], "nosniff")
        self.assertEqual(fields["referrer-policy"], "no-referrer")
        self.assertEqual(fields["x-frame-options"], "DENY")
        self.assertEqual(fields["cross-origin-resource-policy"], "same-origin")
        policy = fields["content-security-policy"]
        self.assertTrue(policy.startswith("default-src 'none'; "), policy)
        self.assertIn("frame-ancestors 'none'", policy)
        self.assertNotIn("unsafe", policy)
        self.assertEqual([n for n in fields if n.startswith("access-control")], [])


class Answers(Case):
    def test_health_has_the_seeds_members(self):
        health = self.node.json("/health")
        self.assertIs(health["ok"], True)
        self.assertEqual(health["node_id"], "page-node")
        self.assertIsInstance(health["time"], int)
        self.assertLess(abs(health["time"] - time.time()), LIMIT)

    def test_peers_have_the_seeds_members(self):
        friend, ghost = self.node.json("/peers")["peers"]
        for peer in (friend, ghost):
            self.assertLessEqual(
                {"id", "addr", "connected", "last_error", "last_hello_ts", "last_ack_ts",
                 "last_heartbeat_ts", "allowed_shares", "fingerprint", "remote_capabilities"},
                set(peer))
        self.assertEqual(friend["id"], self.node.friend)
        self.assertIs(friend["connected"], False)
        self.assertIsNone(friend["last_heartbeat_ts"])
        self.node.say("join")
        friend = self.eventually(
            lambda: next((p for p in self.node.json("/peers")["peers"]
                          if p["connected"] and p["last_heartbeat_ts"]), None))
        self.assertEqual(friend["id"], self.node.friend)
        self.assertEqual(friend["remote_capabilities"]["shares"], ["notes"])
        self.assertEqual(friend["path"], "direct")
        self.node.say("leave")
        self.eventually(lambda: not self.node.json("/peers")["peers"][0]["connected"])

    def test_shares_have_the_seeds_members(self):
        self.node.say("put notes a one")
        notes, photos = self.node.json("/shares")["shares"]
        self.assertEqual((notes["name"], notes["path"], notes["delete_propagation"]),
                         ("notes", None, False))
        self.assertEqual(notes["entries"], 1)
        self.assertEqual((photos["name"], photos["path"]), ("photos", "/srv/photos"))

    def test_types(self):
        self.assertEqual(self.node.ask("/").fields["content-type"], "text/html; charset=utf-8")
        self.assertEqual(self.node.ask("/peers").fields["content-type"], "application/json")
        self.assertTrue(self.node.ask("/metrics").fields["content-type"]
                        .startswith("application/openmetrics-text; version=1.0.0"))

    def test_head_is_get_without_a_body(self):
        with Connection(self.node) as connection:
            for path in PATHS:
                get, head = connection.ask(path), connection.ask(path, "HEAD")
                self.assertEqual(head.status, 200)
                self.assertEqual(head.body, b"")
                if path in ("/", "/shares"):
                    self.assertEqual(head.fields, get.fields)

    def test_only_these_paths(self):
        for path in ("/nothing", "/peers/", "/health.json", "/../etc/passwd", "/events/x", "//peers/",
                     "/index.html", "/favicon.ico"):
            answer = self.node.ask(path)
            self.assertEqual(answer.status, 404, path)
            self.check_guarded(answer)
            self.assertIn("/peers", answer.error)

    def test_read_only(self):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            for path in PATHS + ("/events", "/nothing"):
                answer = self.node.ask(path, method)
                self.assertEqual(answer.status, 405, method)
                self.assertEqual(answer.fields["allow"], "GET, HEAD")
                self.check_guarded(answer)

    def test_no_upgrade_and_no_tunnel(self):
        for lines in (f"CONNECT {self.node.host} HTTP/1.1\r\nHost: {self.node.host}\r\n\r\n",
                      f"GET /events HTTP/1.1\r\nHost: {self.node.host}\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                      "Sec-WebSocket-Version: 13\r\n\r\n"):
            with Connection(self.node) as connection:
                connection.send(lines.encode())
                self.assertNotIn(b" 101 ", connection.closed())
        self.node.json("/health")

    def test_metrics_are_openmetrics(self):
        self.node.say("join")
        self.eventually(lambda: "peer_rtt_seconds{" in self.node.ask("/metrics").text)
        text = self.node.ask("/metrics").text
        self.assertIn("\nkm_mesh_connected 1\n", text)
        self.assertTrue(text.endswith("# EOF\n"))
        families, seen = {}, set()
        for line in text.split("\n")[:-2]:
            if match := re.fullmatch(r"# TYPE (\w+) (counter|gauge)", line):
                self.assertNotIn(match[1], families)
                families[match[1]] = match[2]
            elif not line.startswith("#"):
                match = re.fullmatch(r'(\w+)(?:\{(\w+="[^"\\]*")\})? (-?[0-9.]+)', line)
                self.assertIsNotNone(match, line)
                name = match[1]
                if name not in families:
                    self.assertTrue(name.endswith("_total"), line)
                    name = name[:-6]
                    self.assertEqual(families[name], "counter", line)
                self.assertNotIn((name, match[2]), seen)
                seen.add((name, match[2]))
        self.assertIn(("km_mesh_peer_connected", f'id="{self.node.friend}"'), seen)
        self.assertIn(("km_mesh_peer_rtt_seconds", f'id="{self.node.friend}"'), seen)
        self.node.say("leave")
        self.eventually(lambda: "\nkm_mesh_connected 0\n" in self.node.ask("/metrics").text)
        self.assertNotIn("peer_rtt_seconds{", self.node.ask("/metrics").text)
        self.assertLessEqual({"km_mesh_handshakes", "km_mesh_faults", "km_mesh_syncs",
                              "km_status_requests", "process_open_fds"}, set(families))


class Documents(Case):
    def hashes(self, text, tag):
        found = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        self.assertEqual(len(found), 1)
        digest = hashlib.sha256(found[0].encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"

    def test_only_its_own_style_and_script_run(self):
        answer = self.node.ask("/")
        self.check_guarded(answer)
        policy = answer.fields["content-security-policy"]
        self.assertIn(f"style-src {self.hashes(answer.text, 'style')};", policy)
        self.assertIn(f"script-src {self.hashes(answer.text, 'script')};", policy)
        self.assertIn("require-trusted-types-for 'script'", policy)

    def test_nothing_comes_from_elsewhere(self):
        text = self.node.ask("/").text
        addresses = set(re.findall(r"https?://[\w./-]+", text))
        self.assertEqual(addresses, {"http://www.w3.org/2000/svg"})
        self.assertEqual(re.findall(r'(?:src|href)="(?!data:image/svg|/)[^"]*', text), [])
        for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                     "@import", "url("):
            self.assertNotIn(sink, text)


class Sources(Case):
    """Whoever owns a name can point it here while a page of his is open in a browser."""

    def test_names_that_are_ours(self):
        port = self.node.port
        for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}",
                     f"[::1]:{port}", f"127.0.0.5:{port}"):
            for path in PATHS:
                self.assertEqual(self.node.ask(path, Host=host).status, 200, host)

    def test_names_of_others(self):
        port = self.node.port
        for host in (f"evil.example:{port}", "evil.example", "localhost", f"127.0.0.1:{port + 1}",
                     f"127.0.0.1.evil.example:{port}", f"192.0.2.1:{port}", f"127.0.0.1:{port},x",
                     f"localhost:{port}\r\nHost: evil.example:{port}", "", None,
                     "a" * 2000 + f":{port}"):
            for path in PATHS + ("/events",):
                answer = self.node.ask(path, Host=host)
                self.assertEqual(answer.status, 421, host)
                self.assertIn("localhost", answer.error)
                self.check_guarded(answer)

    def test_a_request_that_names_its_url_whole(self):
        answer = self.node.ask(f"http://evil.example:{self.node.port}/peers")
        self.assertIn(answer.status, (400, 403, 404, 421))
        self.assertNotIn(b"peers", answer.body)

    def test_other_pages_may_not_ask(self):
        port = self.node.port
        for origin in ("http://evil.example", f"http://evil.example:{port}", "null", "",
                       f"https://127.0.0.1:{port}", f"http://localhost:{port}",
                       "http://127.0.0.1:3000", "http://" + "a" * 2000):
            for path in ("/events", "/peers", "/"):
                # An empty field says nothing, and lws does not tell it from none.
                wanted = 200 if origin == "" else 403
                answer = self.node.ask(path, "HEAD", Origin=origin)
                self.assertEqual(answer.status, wanted, origin)
                self.check_guarded(answer)
        self.assertEqual(self.node.ask("/peers", Origin=f"http://127.0.0.1:{port}").status, 200)

    def test_other_pages_may_not_embed(self):
        for site in ("cross-site", "same-site"):
            for path in ("/events", "/peers", "/metrics"):
                self.assertEqual(self.node.ask(path, "HEAD", Sec_Fetch_Site=site).status, 403)
            # But a link may lead here; an image may not.
            self.assertEqual(self.node.ask("/", Sec_Fetch_Site=site,
                                           Sec_Fetch_Mode="navigate").status, 200)
            for mode in ("no-cors", "cors", "", None, "navigate" * 9):
                answer = self.node.ask("/", Sec_Fetch_Site=site, Sec_Fetch_Mode=mode)
                self.assertEqual(answer.status, 403, mode)
                self.check_guarded(answer)
        self.assertEqual(self.node.ask("/peers", Sec_Fetch_Site="none" * 20).status, 403)
        for site in ("same-origin", "none"):
            self.assertEqual(self.node.ask("/peers", Sec_Fetch_Site=site).status, 200)


class Limits(Case):
    def test_long_paths(self):
        self.assertEqual(self.node.ask("/" + "a" * 300).status, 414)
        self.assertEqual(self.node.ask("/peers?" + "a" * 300).status, 200)

    def test_long_heads(self):
        for path, fields in (("/" + "a" * 30000, {}), ("/peers", {"X": "a" * 30000}),
                             ("/peers", {f"X{i}": "a" * 100 for i in range(400)}),
                             ("/peers?" + "&".join(["a=b"] * 3000), {})):
            with Connection(self.node) as connection:
                try:
                    answer = connection.ask(path, **fields)
                except (ConnectionResetError, BrokenPipeError):
                    answer = None
                self.assertTrue(answer is None or answer.status >= 400)
        self.node.json("/health")

    def test_heads_of_a_browser_with_many_cookies(self):
        self.assertEqual(self.node.ask("/peers", Cookie="a=" + "b" * 9000).status, 200)

    def test_bodies(self):
        self.assertEqual(self.node.ask("/peers", Content_Length="0").status, 200)
        for field in ({"Content_Length": "5"}, {"Content_Length": "00000"}, {"Transfer_Encoding": "chunked"},
                      {"Content_Length": "999999999999"}):
            with Connection(self.node) as connection:
                answer = connection.ask("/peers", **field)
                self.assertEqual(answer.status, 400)
                self.assertEqual(answer.fields["connection"], "close")
                self.assertEqual(connection.closed(), b"")

    def test_what_is_no_http(self):
        for data in (b"\0" * 100, b"GET /peers\r\n\r\n", b"GET /peers%0aHost:x HTTP/1.1\r\n\r\n",
                     b"GET /pe\0ers HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                     b"hello\r\n\r\n", b"GET /%zz HTTP/1.1\r\n\r\n"):
            with Connection(self.node) as connection:
                connection.send(data)
                connection.socket.shutdown(socket.SHUT_WR)
                self.assertNotIn(b" 200 ", connection.closed(), data)
        self.node.json("/health")

    def test_requests_follow_each_other(self):
        with Connection(self.node) as connection:
            for path in PATHS * 3:
                self.assertEqual(connection.ask(path).status, 200)
            # And after long answers a stream begins at its beginning.
            self.assertEqual(connection.ask("/events").status, 200)
            self.assertEqual([n for n, _ in zip((name for name, _ in connection.events()), range(3))],
                             [None, "time", "latency"])

    def test_requests_that_come_together(self):
        for path in PATHS:
            with Connection(self.node) as connection:
                connection.send(f"GET {path} HTTP/1.1\r\nHost: {self.node.host}\r\n\r\n".encode() * 9)
                for _ in range(9):
                    answer = connection.answer()
                    self.assertEqual(answer.status, 200)
                    self.assertEqual(len(answer.body), int(answer.fields["content-length"]))

    def try_health(self, connection):
        try:
            answer = connection.ask("/health")
        except (ConnectionResetError, BrokenPipeError):
            answer = None
        return answer is not None and answer.status == 200

    def hold(self, count):
        held = []
        self.addCleanup(lambda: [c.close() for c in held])
        for _ in range(count):
            held.append(Connection(self.node))
            self.try_health(held[-1])
        return held

    def test_connections_are_bounded(self):
        held = self.hold(120)
        self.assertLessEqual([self.try_health(c) for c in held].count(True), 64)

    def test_who_holds_connections_keeps_nobody_out(self):
        idle, *busy = self.hold(64)
        last = time.monotonic()

        def somebody_new():
            nonlocal last
            # Often enough not to be closed for its silence.
            if time.monotonic() - last > 3:
                self.try_health(idle)
                last = time.monotonic()
            self.assertTrue(all([self.try_health(c) for c in busy]))
            with Connection(self.node) as new:
                return self.try_health(new)
        self.eventually(somebody_new)
        self.assertEqual(idle.closed(), b"")
        self.assertTrue(all([self.try_health(c) for c in busy]))

    def test_who_does_not_read_is_cut_off(self):
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.connect(("127.0.0.1", self.node.port))
            deaf.setblocking(False)
            ask = f"GET / HTTP/1.1\r\nHost: {self.node.host}\r\n\r\n".encode() * 500
            try:
                while ask:
                    ask = ask[deaf.send(ask):]
            except BlockingIOError:
                pass

            def alone():
                text = self.node.ask("/metrics").text  # others are not kept waiting
                return "\nkm_status_connections 1\n" in text
            self.assertFalse(alone())
            self.eventually(alone)

    def test_a_request_that_does_not_end(self):
        begun = time.monotonic()
        with Connection(self.node) as silent, Connection(self.node) as half:
            half.send(b"GET /peers HTTP/1.1\r\nHost: ")
            self.assertEqual(half.closed(), b"")
            self.assertEqual(silent.closed(), b"")
        self.assertGreater(time.monotonic() - begun, 5)


class Events(Case):
    def test_what_changed_is_told(self):
        with Watcher(self.node) as watcher:
            self.assertEqual(watcher.first.status, 200)
            self.assertEqual(watcher.first.fields["content-type"], "text/event-stream")
            self.check_guarded(watcher.first)
            state = watcher.state()
            self.assertEqual(state["health"]["node_id"], "page-node")
            self.assertEqual(len(state["peers"]), 2)
            self.assertEqual(state["shares"][0]["entries"], 0)
            self.node.say("put notes a one")
            watcher.state(lambda s: s["shares"][0]["entries"] == 1)
            self.node.say("join")
            watcher.state(lambda s: s["peers"][0]["connected"])
            self.node.say("leave")
            watcher.state(lambda s: not s["peers"][0]["connected"])

    def test_several_see_the_same(self):
        with Watcher(self.node) as one, Watcher(self.node) as two:
            self.node.say("put notes a one")
            for watcher in (one, two):
                watcher.state(lambda s: s["shares"][0]["entries"] == 1)

    def test_at_most_four_a_second(self):
        with Watcher(self.node) as watcher:
            watcher.state()
            begun = time.monotonic()
            for i in range(200):
                self.node.say(f"put notes key{i} value")
                time.sleep(.01)
            count = 1
            while watcher.state()["shares"][0]["entries"] < 200:
                count += 1
            self.assertGreater(count, 1)
            self.assertLessEqual(count, (time.monotonic() - begun) * 4 + 1)

    def test_watchers_are_bounded_and_come_back(self):
        watchers = [Watcher(self.node) for _ in range(16)]
        for watcher in watchers:
            watcher.state()
        beyond = self.node.ask("/events")
        self.assertEqual(beyond.status, 503)
        self.assertIn("close one", beyond.error)
        self.assertEqual(self.node.ask("/peers").status, 200)
        self.assertEqual(self.node.ask("/events", "HEAD").status, 503)
        for watcher in watchers[:2]:
            watcher.close()
        with Watcher(self.node) as again:
            self.eventually(lambda: again.first.status == 200 or again.__init__(self.node))
            again.state()
        for watcher in watchers[2:]:
            watcher.close()

    def test_head_ends(self):
        self.assertEqual(self.node.ask("/events", "HEAD").status, 200)

    def test_open_pages_do_not_keep_the_node(self):
        with Watcher(self.node) as watcher:
            watcher.state()
            self.assertEqual(self.node.close(), 0)
            watcher.closed()


    def test_latencies_of_the_past_are_told_at_once(self):
        self.node.say("join")

        def past():
            with Watcher(self.node) as watcher:
                name, data = next(e for e in watcher.stream if e[0] not in (None, "time"))
                self.assertEqual(name, "latency")
                self.assertLessEqual(set(data), {self.node.friend})
                return data.get(self.node.friend)
        told = self.eventually(past)
        self.assertGreater(told["us"][0], 0)
        self.assertLess(abs(told["beat"] - time.time()), LIMIT)
        # One more with each look at a heartbeat, a gap when it is gone.
        self.eventually(lambda: len(past()["us"]) > len(told["us"]))
        self.node.say("leave")
        gone = self.eventually(lambda: (p := past())["us"][-1] == 0 and p)
        self.assertEqual(gone["beat"], 0)


class Quiet(Case):
    args = ("--alone",)

    def test_silence_is_broken_and_no_news_are_no_events(self):
        with Watcher(self.node) as watcher:
            first = [next(watcher.stream) for _ in range(4)]
            self.assertEqual([name for name, _ in first], [None, "time", "latency", "state"])
            self.assertEqual(first[2][1], {})
            self.assertEqual(first[3][1]["peers"], [])
            for _ in range(3):
                self.node.say("changed")
            self.assertEqual(next(watcher.stream)[0], None)
            name, at = next(watcher.stream)
            self.assertEqual(name, "time")
            self.assertGreater(at, first[1][1] + 10)


class Tokens(Case):
    args = ("--host", "0.0.0.0", "--token", TOKEN)

    def cookie(self, path="/"):
        answer = self.node.ask(path + "?token=" + quote(TOKEN, safe=""))
        self.assertEqual(answer.status, 303)
        self.assertEqual(answer.fields["location"], path)
        self.check_guarded(answer)
        value, *attributes = answer.fields["set-cookie"].split("; ")
        self.assertLessEqual({"HttpOnly", "SameSite=Strict", "Path=/"}, set(attributes))
        self.assertNotIn(TOKEN, value)
        return value

    def test_nothing_without_it(self):
        for path in PATHS + ("/events", "/nothing"):
            for fields in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "km_status=x"},
                           {"Authorization": "Basic " + base64.b64encode(TOKEN.encode()).decode()}):
                answer = self.node.ask(path, "HEAD", **fields)
                if answer.status != 429:
                    self.assertEqual(answer.status, 401, (path, fields))
                    self.check_guarded(answer)

    def test_people_are_asked_for_it(self):
        answer = self.node.ask("/")
        self.assertEqual(answer.status, 401)
        self.assertIn('<input id="token" name="token"', answer.text)
        self.assertIn("form-action 'self'", answer.fields["content-security-policy"])
        self.assertNotIn("www-authenticate", answer.fields)

    def test_programs_give_it(self):
        for word in ("Bearer", "bearer"):
            answer = self.node.ask("/peers", Authorization=f"{word} {TOKEN}")
            self.assertEqual(answer.status, 200)
        for almost in (TOKEN[:-1], TOKEN + "x", ""):
            self.assertEqual(self.node.ask("/peers", Authorization=f"Bearer {almost}").status, 401)

    def test_a_browser_gets_a_cookie_for_it(self):
        cookie = self.cookie()
        for path in PATHS:
            self.assertEqual(self.node.ask(path, Cookie=cookie).status, 200)
            self.assertEqual(self.node.ask(path, Cookie=f"a=b; {cookie}; c=d").status, 200)
        with Watcher(self.node, Cookie=cookie) as watcher:
            watcher.state()
        self.cookie("/peers")
        name = cookie.split("=")[0]
        for value in (TOKEN, cookie[:-1].split("=")[1], cookie.split("=")[1] + "0", ""):
            self.assertEqual(self.node.ask("/peers", Cookie=f"{name}={value}").status, 401, value)

    def test_a_cookie_outlives_a_restart(self):
        cookie = self.cookie()
        again = Node("--token", TOKEN, "--port", str(self.node.port), "--host", "127.0.0.1") \
            if self.node.close() == 0 else None
        self.node = again
        self.assertEqual(again.ask("/peers", Cookie=cookie).status, 200)

    def test_the_path_of_a_redirect_is_one_of_ours(self):
        for path in ("/nothing", "//evil.example", "/\\evil.example", "/%0d%0aX:y"):
            answer = self.node.ask(path + "?token=" + quote(TOKEN, safe=""))
            self.assertNotIn("location", answer.fields)
            self.assertNotIn("x", answer.fields)

    def test_guessing_ends(self):
        cookie = self.cookie()
        statuses = [self.node.ask("/peers", Authorization=f"Bearer {i}").status
                    for i in range(30)]
        self.assertEqual(statuses[:10], [401] * 10)
        self.assertIn(429, statuses)
        # Then the right one is not looked at either; who is in stays in.
        end = time.monotonic() + LIMIT
        while (answer := self.node.ask("/?token=again")).status != 429:
            self.assertLess(time.monotonic(), end)
        self.assertIn("retry-after", answer.fields)
        self.assertEqual(self.node.ask("/peers", Cookie=cookie).status, 200)
        self.eventually(lambda: self.node.ask("/peers",
                                              Authorization=f"Bearer {TOKEN}").status == 200)

    def test_other_pages_do_not_use_up_the_guesses(self):
        for _ in range(30):
            answer = self.node.ask("/?token=wrong", Sec_Fetch_Site="cross-site",
                                   Sec_Fetch_Mode="navigate")
            self.assertEqual(answer.status, 401)
            self.assertIn("<form", answer.text)
        # Nor do they get in with one they know.
        answer = self.node.ask("/?token=" + quote(TOKEN, safe=""), Sec_Fetch_Site="cross-site",
                               Sec_Fetch_Mode="navigate")
        self.assertNotIn("set-cookie", answer.fields)
        self.cookie()

    def test_names_are_checked_here_too(self):
        self.assertEqual(self.node.ask("/peers", Host=f"evil.example:{self.node.port}",
                                       Authorization=f"Bearer {TOKEN}").status, 421)


class Binding(unittest.TestCase):
    def refused(self, *args):
        done = subprocess.run([BIN, *args], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=LIMIT, text=True)
        self.assertEqual(done.returncode, 1)
        return done.stderr

    def test_beyond_loopback_only_with_a_token(self):
        for host in ("0.0.0.0", "::", "192.0.2.1"):
            self.assertIn("status_http.token", self.refused("--host", host))
            self.assertIn("status_http.token", self.refused("--host", host, "--token", ""))

    def test_addresses_only(self):
        self.assertIn("IP address", self.refused("--host", "example.org"))

    def test_a_port_that_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.assertIn("cannot serve the status page on",
                          self.refused("--port", str(taken.getsockname()[1])))

    @unittest.skipUnless(can_v6(), "no IPv6 here")
    def test_v6_loopback(self):
        node = Node("--host", "::1")
        with Connection(node, "::1") as connection:
            self.assertEqual(connection.ask("/health", Host=f"[::1]:{node.port}").status, 200)
            self.assertEqual(connection.ask("/health", Host=f"localhost:{node.port}").status, 200)
            self.assertEqual(connection.ask("/health", Host=f"[::2]:{node.port}").status, 421)
        self.assertEqual(node.close(), 0)


if __name__ == "__main__":
    unittest.main()
