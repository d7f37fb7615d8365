"""The status page of a node that runs, in a browser: peers that are real, reached directly and by a
relay of the test's own, one that is never there; they stop and come back, and so does the node.
Screenshots go to the build folder."""
import http.client
import json
import os
import signal
import socket
import sys
import unittest

import browser
import daemon_lab
import lab
from daemon_lab import until
from page_browser_test import CONTRAST, SHOTS, WIDE, row
from relay_lab import ADDRESSES, Relay

SEED = {"id": str, "addr": str, "connected": bool, "last_error": (str, type(None)),
        "last_hello_ts": (float, int, type(None)), "last_ack_ts": (float, int, type(None)),
        "last_heartbeat_ts": (float, int, type(None)), "allowed_shares": list, "fingerprint": str,
        "remote_capabilities": dict}


def free_tcp_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def can_v6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


class Node(daemon_lab.Node):
    """A node whose relay is one of the test's own."""

    def __init__(self, case, name, relay, host="127.0.0.1"):
        self.relay, self.host = relay, host
        super().__init__(case, name)

    def write(self):
        super().write()
        path = os.path.join(self.dir, "keymesh.yaml")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for old, new in (("bind_host: 127.0.0.1", f'bind_host: "{self.host}"'),
                         ('relay: "off"', f"relay: custom\n  relay_urls: ['{self.relay}']")):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def knows(self, other, by="addr", dial=True):
        self.peers.append({"id": other.id, "name": other.name, "dial": dial,
                           by: self.relay if by == "relay" else f"127.0.0.1:{other.port}",
                           "shares_access": [{"share": "docs", "mode": "rw"}]})
        self.write()


class Mesh(daemon_lab.MeshCase):
    """home dials laptop directly, garden by the relay alone (they share no IP version), and attic,
    which does not run."""

    def setUp(self):
        super().setUp()
        config = self.file("relay.toml", ADDRESSES.encode())
        self.relay = self.start(Relay, "--config", config)
        self.home, self.laptop, self.attic = (self.member(n) for n in ("home", "laptop", "attic"))
        self.garden = self.member("garden", host="::1") if can_v6() else None
        self.home.knows(self.laptop)
        self.home.knows(self.attic)
        self.laptop.knows(self.home, dial=False)
        if self.garden is not None:
            self.home.knows(self.garden, by="relay")
            self.garden.knows(self.home, by="relay", dial=False)
        self.port = free_tcp_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def member(self, name, **more):
        return Node(self, name, self.relay.url, **more)

    def start_all(self):
        self.run_home()
        for node in (self.laptop, self.garden):
            if node is not None:
                node.start()

    def run_home(self):
        self.home.start("--status-port", str(self.port))

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=lab.LIMIT)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            self.assertEqual(answer.status, 200)
            return json.loads(answer.read())
        finally:
            connection.close()


class Seed(Mesh):
    """What programs that ask the first KeyMesh find here under the same names."""

    def test_its_members(self):
        self.start_all()
        self.home.wait_for(self.laptop)

        def beaten():
            peers = {p["name"]: p for p in self.get("/peers")["peers"]}
            return peers if peers["laptop"]["last_heartbeat_ts"] and peers["attic"]["last_error"] \
                else None
        peers = until("a heartbeat, and an error", beaten)
        for peer in peers.values():
            for name, kind in SEED.items():
                self.assertIsInstance(peer[name], kind, name)
            self.assertEqual(list(peer)[:len(SEED)], list(SEED))
        laptop, attic = peers["laptop"], peers["attic"]
        self.assertEqual((laptop["id"], laptop["addr"], laptop["connected"], laptop["last_error"]),
                         (self.laptop.id, f"127.0.0.1:{self.laptop.port}", True, None))
        self.assertEqual(laptop["allowed_shares"], ["docs"])
        self.assertRegex(laptop["fingerprint"], "^sha256:[0-9a-f]{64}$")
        self.assertIn("docs", laptop["remote_capabilities"]["shares"])
        self.assertLessEqual(laptop["last_hello_ts"], laptop["last_heartbeat_ts"])
        self.assertEqual((attic["connected"], attic["last_hello_ts"], attic["last_ack_ts"],
                          attic["last_heartbeat_ts"], attic["remote_capabilities"]),
                         (False, None, None, None, {}))
        health = self.get("/health")
        self.assertEqual(list(health)[:3], ["ok", "node_id", "time"])
        self.assertEqual((health["ok"], health["node_id"]), (True, "home"))
        self.assertIsInstance(health["time"], int)
        shares = self.get("/shares")
        self.assertEqual(list(shares), ["shares"])
        for share in shares["shares"]:
            self.assertEqual(list(share)[:3], ["name", "path", "delete_propagation"])
        self.assertEqual([s["name"] for s in shares["shares"]], ["docs", "private"])


@unittest.skipIf(browser.find() is None, "there is no Chromium here")
class Browser(Mesh):
    def setUp(self):
        super().setUp()
        self.browser = browser.Browser()
        self.addCleanup(self.browser.close)

    def shows(self, name, *words):
        """Waits until the row of a peer has all these words."""
        for word in words:
            self.browser.until(f"{row(name)}?.innerText.includes({json.dumps(word)})")

    def line(self, name):
        """What its sparkline is drawn of."""
        return self.browser.evaluate(
            f"{row(name)}.querySelector('.spark path:not(.area)')?.getAttribute('d') ?? null")

    def moves(self, name):
        before = self.line(name)
        self.assertIsNotNone(before)
        until(f"the line of {name} moves", lambda: self.line(name) not in (before, None))

    def shots(self, name):
        """Both colors and a phone, and what holds of each."""
        b = self.browser
        os.makedirs(SHOTS, exist_ok=True)
        for scheme in ("light", "dark"):
            b.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
            for width in (1200, 360):
                b.size(width, 800, phone=width < 500)
                b.until("document.getAnimations().length === 0")
                self.assertLessEqual(b.evaluate("document.documentElement.scrollWidth"), width)
                self.assertEqual(b.evaluate(WIDE), [])
                self.assertEqual(b.evaluate(CONTRAST), [])
                b.screenshot(os.path.join(SHOTS, f"{name}-{scheme}-{width}.png"))
        b.size(1200, 900)

    def test_a_mesh_as_it_lives(self):
        b = self.browser
        self.start_all()
        b.open(self.url)
        self.shows("laptop", "Connected", "Direct", " ms")
        if self.garden is not None:
            self.shows("garden", "Connected", "Relay", " ms")
        self.shows("attic", "Next attempt in", "failed")
        self.assertTrue(b.evaluate(f"{row('attic')}.querySelector('.note').checkVisibility()"))
        up = 1 if self.garden is None else 2
        self.assertEqual(b.evaluate("document.title"), f"home: {up} of {up + 1} connected")
        # From here on nothing loads the page anew.
        b.evaluate("window.same = 1")
        for i in range(20):
            self.laptop.ask("kv.put", share="docs", key=f"note/{i}", value="x" * 50)
        b.until("document.querySelector('#shares tbody tr').innerText.includes('In sync')")
        b.until("/^20$/m.test(document.querySelector('#shares tbody tr').innerText)")
        self.shows("laptop", "20 in")
        self.moves("laptop")
        if self.garden is not None:
            self.moves("garden")
            self.shots("mesh")
        # What was drawn is there at once for whoever opens the page later.
        samples = "([...document.querySelectorAll('.spark')].map(s => " \
                  "parseInt((s.getAttribute('aria-label') ?? '0').replace(/\\D*/, ''))))"
        self.home_remembers(samples)
        b.evaluate("window.same = 1")
        self.assertEqual(self.laptop.stop().status, lab.OK)
        b.until(f"{row('laptop')}?.querySelector('.pill').innerText !== 'Connected'")
        b.until(f"document.title === 'home: {up - 1} of {up + 1} connected'")
        self.assertTrue(b.evaluate(f"{row('laptop')}.classList.contains('off')"))
        self.laptop.start()
        self.shows("laptop", "Connected", "Direct")
        self.moves("laptop")
        b.until(f"document.title === 'home: {up} of {up + 1} connected'")
        # So does what a reload of the configuration changes.
        self.home.peers = [p for p in self.home.peers if p["id"] != self.attic.id]
        self.home.peers.append({"id": self.member("cellar").id, "name": "cellar", "dial": False})
        self.home.write()
        self.home.daemon.send(signal.SIGHUP)
        self.shows("cellar", "Idle")
        b.until(f"{row('attic')} === undefined")
        self.assertEqual(b.evaluate("window.same"), 1)
        self.assertEqual(b.log, [])
        for url in b.requests:
            self.assertTrue(url.startswith((self.url + "/", "data:image/svg+xml")), url)

    def home_remembers(self, samples):
        def enough():
            with_ = browser.Browser()
            try:
                with_.open(self.url)
                with_.until(f"{row('laptop')}?.innerText.includes('Connected')")
                return with_.evaluate(f"Math.max(...{samples})") >= 2
            finally:
                with_.close()
        until("two samples in a new page", enough)

    def test_the_node_stops_and_comes_back(self):
        b = self.browser
        self.start_all()
        b.open(self.url)
        self.shows("laptop", "Connected")
        b.evaluate("window.same = 1")
        self.assertEqual(self.home.stop().status, lab.OK)
        b.until("document.getElementById('lost').innerText.includes('Connection lost')")
        self.assertEqual(b.evaluate("document.title"), "Connection lost: home")
        self.assertEqual(b.evaluate("document.getElementById('health').innerText"), "Unknown")
        self.shots("mesh-lost")
        self.run_home()
        b.until("document.getElementById('lost').hidden")
        self.shows("laptop", "Connected", "Direct")
        b.until("document.title.startsWith('home: ')")
        b.until("document.getElementById('health').innerText === 'Healthy'")
        self.assertEqual(b.evaluate("window.same"), 1)


class Port(Mesh):
    def test_one_that_is_taken(self):
        self.home.start("--status-port", str(self.port))
        result = self.laptop.run("run", "--status-port", str(self.port))
        self.assertEqual(result.status, lab.USAGE, result.err)
        error = next(line for line in result.err.split("\n") if line.startswith("error: "))
        for word in (f"127.0.0.1:{self.port}", "status_http.port", "--status-port"):
            self.assertIn(word, error)


if __name__ == "__main__":
    if browser.find() is None:
        print("SKIPPED in part: there is no Chromium here", file=sys.stderr)
    unittest.main()
