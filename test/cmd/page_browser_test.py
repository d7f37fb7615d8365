"""The status page in a real browser: first a real node's, then the same page before data that shows
every state there is, names that strangers chose among them. Screenshots go to the build folder."""
import hashlib
import http.server
import json
import os
import sys
import threading
import time
import unittest

import browser
from page_lab import Node, Watcher

SOURCE = os.environ.get("KM_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.environ.get("KM_BUILD_DIR", "build/dev")
SHOTS = os.path.join(BUILD, "screenshots")
EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>'\"&amp;"
RTL = "\u202egnp.exe\u202c \u05e9\u05dc\u05d5\u05dd"

# Contrast of each text, labels that CSS makes and placeholders among them, with what is behind it
# (WCAG 2.2, success criterion 1.4.3), and of the edges of what can be used (1.4.11).
CONTRAST = """(() => {
  const rgba = text => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v =>
    v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const over = (top, under) => {
    const a = top.length < 4 ? 1 : top[3];
    return [0, 1, 2].map(i => top[i] * a + under[i] * (1 - a));
  };
  const behind = node => node === null ? [255, 255, 255]
    : over(rgba(getComputedStyle(node).backgroundColor), behind(node.parentElement));
  const chain = node => node === null ? [] : [node, ...chain(node.parentElement)];
  // As it is seen, after the opacity and the filters of what it stands in.
  const seen = (color, node, under) => {
    let now = over(color, under);
    for (const at of chain(node)) {
      const style = getComputedStyle(at);
      now = over([...now, Number(style.opacity)], behind(at.parentElement));
      if (style.filter === "grayscale(1)") {
        const gray = now[0] * .2126 + now[1] * .7152 + now[2] * .0722;
        now = [gray, gray, gray];
      } else if (style.filter !== "none") throw new Error(style.filter);
    }
    return now;
  };
  const bad = [];
  const check = (what, color, node, under, least) => {
    const a = light(seen(rgba(color), node, under)), b = light(seen(under, node, under));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < least) bad.push(what.slice(0, 30) + " " + ratio.toFixed(2));
  };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const at = walk.currentNode.parentElement, text = walk.currentNode.data.trim();
    if (text === "" || !at.checkVisibility() || at.closest("script, style, noscript, .hidden"))
      continue;
    check(text, getComputedStyle(at).color, at, behind(at), 4.5);
  }
  for (const at of document.querySelectorAll("td, input, button")) {
    if (!at.checkVisibility()) continue;
    for (const part of ["::before", "::placeholder"]) {
      const style = getComputedStyle(at, part);
      if (part === "::placeholder" ? at.placeholder : style.content !== "none")
        check(at.className + part, style.color, at, behind(at), 4.5);
    }
    if (at.tagName === "TD") continue;
    const edge = getComputedStyle(at);
    if (edge.borderTopWidth !== "0px")
      check(at.tagName + " edge", edge.borderTopColor, at.parentElement,
        behind(at.parentElement), 3);
  }
  return bad;
})()"""

# What sticks out to the right.
WIDE = """[...document.querySelectorAll("body *")].filter(e => !e.closest(".hidden, thead, svg") &&
  e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + "." + e.className)"""


def row(name):
    """The row of a peer, as an expression."""
    return ("[...document.querySelectorAll('#peers tbody tr')].find(r => "
            f"r.querySelector('.name').textContent.includes({json.dumps(name)}))")


class Case(unittest.TestCase):
    def setUp(self):
        self.browser = browser.Browser()
        self.addCleanup(self.browser.close)

    def shot(self, name):
        os.makedirs(SHOTS, exist_ok=True)
        path = os.path.join(SHOTS, name + ".png")
        self.browser.screenshot(path)
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).digest()

    def check_clean(self, origin):
        """Nothing was complained about, nothing was asked of anybody else."""
        self.assertEqual(self.browser.log, [])
        for url in self.browser.requests:
            self.assertTrue(url.startswith(origin + "/") or url.startswith("data:image/svg+xml"),
                            url)


class Live(Case):
    def node(self, *args):
        node = Node(*args)
        self.addCleanup(lambda: self.assertEqual(node.close(), 0))
        return node

    def test_a_peer_comes_and_goes(self):
        b, node = self.browser, self.node("--name", "living-room", "--friend", EVIL[:60])
        b.open(node.url)
        friend, ghost = row("<img"), row("ghost")
        b.until(f"{friend}?.innerText.includes('Idle')")
        self.assertEqual(b.evaluate("document.querySelector('h1').innerText"), "living-room")
        self.assertEqual(b.evaluate("document.getElementById('id').textContent"), node.id[:10])
        self.assertIn("Healthy", b.until("document.getElementById('health').innerText"))
        # From here on nothing loads the page anew.
        b.evaluate("window.same = 1")
        node.say("join")
        b.until(f"{friend}.innerText.includes('Connected')")
        b.until(f"{friend}.innerText.includes('Direct')")
        b.until(f"/[0-9.]+ ms/.test({friend}.innerText)")
        b.until(f"{friend}.querySelectorAll('.spark path').length === 2")
        b.until("document.getElementById('sum-peers').innerText.startsWith('1')")
        b.until("document.title === 'living-room: 1 of 2 connected'")
        node.say("fill notes 1500")
        b.until("document.querySelector('#shares tbody tr').innerText.includes('1,500')")
        self.shot("live")
        node.say("leave")
        b.until(f"{friend}.innerText.includes('Idle')")
        self.assertTrue(b.evaluate(f"{friend}.classList.contains('off')"))
        # It was dialled in vain, and the wait is counted down.
        b.until(f"{ghost}.innerText.includes('Next attempt in')")
        self.assertEqual(b.evaluate("window.same"), 1)
        self.assertNotIn("owned", b.evaluate("document.title"))
        self.check_clean(node.url)

    def test_the_connection_is_lost_and_found(self):
        b, node = self.browser, self.node()
        b.open(node.url)
        b.until("document.querySelectorAll('#peers tbody tr').length === 2")
        self.assertTrue(b.evaluate("document.getElementById('lost').hidden"))
        b.evaluate("window.same = 1")
        node.say("join")
        b.until("/for [0-9]+ s/.test(document.querySelector('main').innerText)")
        self.assertEqual(node.close(), 0)
        b.until("document.getElementById('lost').innerText.includes('Connection lost')")
        self.assertIn("Unknown", b.evaluate("document.getElementById('health').innerText"))
        self.assertEqual(b.evaluate("document.title"), "Connection lost: page-node")
        # Nothing goes on as if it were known.
        text = "document.querySelector('main').innerText"
        age = "parseInt(document.getElementById('lost-age').innerText.match(/[0-9]+ s old/)[0])"
        before, then = b.evaluate(text), b.evaluate(age)
        b.until(f"{age} >= {then + 2}")
        self.assertEqual(b.evaluate(text), before)
        self.assertEqual(b.evaluate(CONTRAST), [])
        self.shot("lost")
        again = self.node("--port", str(node.port), "--name", "back-again")
        b.until("document.getElementById('lost').hidden")
        b.until("document.querySelector('h1').innerText === 'back-again'")
        b.until("document.title === 'back-again: 0 of 2 connected'")
        self.assertEqual(b.evaluate("window.same"), 1)
        self.assertEqual(again.id != node.id, True)

    def test_too_many_pages(self):
        b, node = self.browser, self.node()
        watchers = [Watcher(node) for _ in range(16)]
        b.open(node.url)
        b.until("document.getElementById('lost').innerText.includes('Close one')")
        for watcher in watchers:
            watcher.close()
        b.until("document.getElementById('lost').hidden")
        b.until("document.querySelectorAll('#peers tbody tr').length === 2")

    def test_empty(self):
        b, node = self.browser, self.node("--alone")
        b.open(node.url)
        b.until("document.body.innerText.includes('No peers yet')")
        self.assertIn("keymesh.yaml", b.evaluate("document.body.innerText"))
        self.assertTrue(b.evaluate("document.body.innerText.includes('No shares yet')"))
        self.assertEqual(b.evaluate(CONTRAST), [])
        self.shot("empty")
        self.check_clean(node.url)

    def test_the_token_is_asked_for_once(self):
        b, node = self.browser, self.node("--token", "open sesame & more")
        b.open(node.url)
        b.until("document.getElementById('token') !== null")
        self.assertEqual(b.evaluate(CONTRAST), [])
        self.shot("token")
        b.evaluate("document.getElementById('token').value = 'open sesame & more';"
                   "document.querySelector('form').requestSubmit()")
        b.until("document.querySelectorAll('#peers tbody tr').length === 2")
        self.assertEqual(b.evaluate("location.href"), node.url + "/")
        self.assertEqual(b.evaluate("document.cookie"), "")
        # What the address bar had is in no later request.
        b.open(node.url)
        b.until("document.querySelectorAll('#peers tbody tr').length === 2")
        self.assertEqual([u for u in b.requests if "sesame" in u], [u for u in b.requests
                                                                    if "token=" in u])
        self.assertEqual(len([u for u in b.requests if "token=" in u]), 1)

    def test_scripts_of_others_do_not_run(self):
        b, node = self.browser, self.node()
        b.open(node.url)
        b.until("document.querySelectorAll('#peers tbody tr').length === 2")
        b.evaluate("""(() => {
          const script = document.createElement("script");
          try { script.textContent = "window.ran = 1"; } catch (error) { window.threw = 1; }
          document.body.append(script);
          document.body.append(Object.assign(document.createElement("img"), {src: "/x.png"}));
          fetch("http://127.0.0.1:1/").catch(() => {});
        })()""")
        b.until("window.threw === 1")
        self.assertIsNone(b.evaluate("window.ran"))
        asked = [u for u in b.statuses if not u.startswith("data:")]
        self.assertEqual([u for u in asked if u.endswith("x.png") or ":1/" in u], [])
        self.assertTrue(any("Content Security Policy" in line for line in b.log), b.log)


# --- every state there is -------------------------------------------------------------------------

def peer(number, name, state, **more):
    now = time.time()
    up = state == "connected"
    return {"id": f"{number:02x}" * 32, "addr": f"192.0.2.{number}:4433", "connected": up,
            "last_error": None, "last_hello_ts": now - 99, "last_ack_ts": now - 99,
            "last_heartbeat_ts": now - 3 if up else None, "allowed_shares": ["notes"],
            "fingerprint": "sha256:" + "ab" * 32,
            "remote_capabilities": {"shares": ["notes"], "features": ["kv"]},
            "name": name, "node_id": None, "configured": True, "state": state, "dialled": True,
            "version": "1.0", "path": "direct" if up else "none", "rtt_ms": 4.2 if up else None,
            "jitter_ms": .3 if up else None, "connected_since": now - 4000 if up else None,
            "next_attempt": None, "attempts": 0, "syncing": False,
            "last_sync_ts": now - 30 if up else None, "entries_in": 1204, "entries_out": 88,
            "messages_in": 4, "messages_out": 9, "waiting_messages": 0,
            "faults": dict.fromkeys(("forged", "future", "forbidden", "malformed", "flooded",
                                     "cut"), 0), **more}


def world():
    now = time.time()
    return {"health": {"ok": True, "node_id": RTL, "id": "7f" * 32, "version": "1.2.3"},
            "started": now - 200000,
            "peers": [
                peer(1, "office-nas", "connected"),
                peer(2, "laptop", "connected", path="relay", rtt_ms=87.5,
                     addr="https://relay.example.org/", syncing=True),
                peer(3, "studio", "waiting", next_attempt=now + 50, attempts=4, waiting_messages=3,
                     last_error="the peer did not answer on 192.0.2.3:4433"),
                peer(4, "garden-pi", "refused", next_attempt=now + 90, attempts=2,
                     last_error="the peer refused this node: it is not trusted there"),
                peer(5, EVIL, "connected", faults={"forged": 3, "forbidden": 12, "cut": 1}),
                peer(6, RTL, "handshake"),
                peer(7, "x" * 5000, "dialling", addr="y" * 5000, last_error="z" * 5000),
                peer(8, "", "idle"),
                # Members of the seed alone, and of the wrong type.
                {"id": "09" * 32, "addr": None, "connected": False, "last_error": None},
                {"id": "0a" * 32, "name": {"a": 1}, "connected": "yes", "faults": None,
                 "rtt_ms": "fast", "allowed_shares": "all", "state": "constructor"}],
            "shares": [{"name": "notes", "path": "/srv/notes", "others": "rw", "entries": 18234,
                        "deleted": 120, "bytes": 38123456},
                       {"name": "photos", "path": None, "others": "none", "entries": 0}]}


class Server:
    """page.html over data of our own, with the node's way of telling."""

    def __init__(self):
        with open(os.path.join(SOURCE, "cmd/node/page/page.html"), "rb") as file:
            document = file.read()
        self.state, self.changed, self.ended = world(), threading.Condition(), False
        self.past = {}
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream" if self.path == "/events"
                                 else "text/html; charset=utf-8")
                self.end_headers()
                if self.path == "/events":
                    server.stream(self.wfile)
                else:
                    self.wfile.write(document)

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stream(self, out):
        sent = None
        try:
            out.write(f":\nevent: time\ndata: {time.time():.3f}\n\nevent: latency\n"
                      f"data: {json.dumps(self.past)}\n\n".encode())
            while not self.ended:
                text = json.dumps(self.state)
                if text != sent:
                    out.write(f"event: state\ndata: {text}\n\n".encode())
                    out.flush()
                    sent = text
                with self.changed:
                    self.changed.wait(.2)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def tell(self, state):
        self.state = state
        with self.changed:
            self.changed.notify_all()

    def close(self):
        self.ended = True
        self.http.shutdown()
        self.http.server_close()


class States(Case):
    def setUp(self):
        super().setUp()
        self.server = Server()
        self.addCleanup(self.server.close)
        self.browser.open(self.server.url)
        self.browser.until("document.querySelectorAll('#peers tbody tr').length === 10")

    def text(self, name):
        return self.browser.evaluate(row(name) + ".innerText")

    def test_each_state_is_told(self):
        for name, words in (("office-nas", ["Connected", "Direct", "4.2 ms", "for 1 h"]),
                            ("laptop", ["Connected", "Relay", "87.5 ms", "Synchronizing"]),
                            ("studio", ["Waiting", "did not answer", "Next attempt in", "4 failed",
                                        "Messages waiting: 3"]),
                            ("garden-pi", ["Refused", "not trusted"]),
                            ("<img", ["forged 3", "forbidden 12", "cut off 1"]),
                            # States and types that there are not.
                            ("0a0a0a", ["Waiting"])):
            for word in words:
                self.assertIn(word, self.text(name))
        shares = self.browser.evaluate("document.getElementById('shares').innerText")
        for word in ("18,234", "120 deleted", "36.4 MiB", "may write", "no access"):
            self.assertIn(word, shares)
        self.assertIn("up 2 d 7 h", self.browser.evaluate("document.body.innerText"))
        self.check_clean(self.server.url)

    def test_a_countdown_counts(self):
        first = self.text("studio")
        self.browser.until(f"{row('studio')}.innerText !== {json.dumps(first)}")

    def test_what_strangers_write_is_text(self):
        b = self.browser
        self.assertEqual(b.evaluate("document.querySelectorAll('#peers img, #peers script').length"),
                         0)
        self.assertEqual(b.evaluate(row("<img") + ".querySelector('.name').textContent"), EVIL)
        self.assertNotIn("owned", b.evaluate("document.title"))
        # What turns the direction of writing is shown as what it is; Hebrew stays.
        name = b.evaluate(row("gnp.exe") + ".querySelector('.name').textContent")
        self.assertEqual(name, RTL.replace("\u202e", "\ufffd").replace("\u202c", "\ufffd"))
        self.assertEqual(b.evaluate(f"getComputedStyle({row('gnp.exe')}.querySelector('.name'))"
                                    ".unicodeBidi"), "isolate")
        self.assertLess(b.evaluate(row("xxxx") + ".innerText.length"), 1500)

    def test_phones(self):
        for dark in ("light", "dark"):
            self.browser.prefer(prefers_color_scheme=dark)
            self.browser.size(360, 800, phone=True)
            self.assertEqual(self.browser.evaluate("innerWidth"), 360)
            self.assertEqual(self.browser.evaluate("document.documentElement.scrollWidth"), 360)
            self.assertEqual(self.browser.evaluate(WIDE), [])
            self.browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            self.assertEqual(self.browser.evaluate(WIDE), [])
            self.browser.evaluate("document.querySelectorAll('details').forEach(d => d.open = false)")
            self.shot("phone-" + dark)

    def test_no_width_needs_scrolling(self):
        for width in (320, 561, 700, 861, 1024, 1600):
            self.browser.size(width, 800, phone=True)
            self.assertEqual(self.browser.evaluate("document.documentElement.scrollWidth"), width)
            self.assertEqual(self.browser.evaluate(WIDE), [], width)

    def test_dark_and_light(self):
        back = "getComputedStyle(document.body).backgroundColor"
        seen = {}
        for scheme in ("light", "dark"):
            self.browser.prefer(prefers_color_scheme=scheme)
            seen[scheme] = self.browser.evaluate(back)
            self.browser.until("!document.getAnimations().some(a => a instanceof CSSTransition)")
            self.assertEqual(self.browser.evaluate(CONTRAST), [])
            self.shot("states-" + scheme)
        self.assertNotEqual(seen["light"], seen["dark"])

    def test_motion_can_be_done_without(self):
        dot = "getComputedStyle(document.querySelector('#health .dot')).animationName"
        self.assertEqual(self.browser.evaluate(dot), "beat")
        self.browser.prefer(prefers_reduced_motion="reduce")
        self.assertEqual(self.browser.evaluate(dot), "none")

    def test_readers_of_the_screen(self):
        nodes = self.browser.call("Accessibility.getFullAXTree")["nodes"]
        roles = [n["role"]["value"] for n in nodes if not n.get("ignored")]
        for role, least in (("heading", 3), ("table", 2), ("row", 13), ("columnheader", 11),
                            ("cell", 60), ("main", 1)):
            self.assertGreaterEqual(roles.count(role), least, role)
        unnamed = [n["role"]["value"] for n in nodes if not n.get("ignored")
                   and n["role"]["value"] in ("button", "link", "image", "searchbox", "table")
                   and not n.get("name", {}).get("value")]
        self.assertEqual(unnamed, [])
        # On a phone it is still a table.
        self.browser.size(360, 800, phone=True)
        nodes = self.browser.call("Accessibility.getFullAXTree")["nodes"]
        roles = [n["role"]["value"] for n in nodes if not n.get("ignored")]
        self.assertEqual(roles.count("table"), 2)
        self.assertGreaterEqual(roles.count("row"), 12)
        # Those that say nothing are left out.
        self.assertGreaterEqual(roles.count("cell"), 40)

    def test_changes_are_said(self):
        state = world()
        state["peers"][0].update(connected=False, state="waiting")
        self.server.tell(state)
        self.browser.until("document.getElementById('news').textContent.includes("
                           "'office-nas: Waiting')")

        # Each attempt of one that stays away is not.
        for kind in ("dialling", "handshake", "waiting") * 3:
            state["peers"][2].update(state=kind)
            self.server.tell(state)
            word = {"handshake": "Shaking"}.get(kind, kind.capitalize())
            self.browser.until(f"{row('studio')}.innerText.includes('{word}')")
        self.assertNotIn("studio", self.browser.evaluate(
            "document.getElementById('news').textContent"))

    def test_what_the_node_remembers_is_drawn(self):
        b, key = self.browser, "01" * 32
        self.server.past = {key: {"beat": 5, "us": [4000, 5000, 0, 6000]}, "constructor": {}}
        state = world()
        state["peers"][0].update(last_heartbeat_ts=5, rtt_ms=6)
        self.server.tell(state)
        b.open(self.server.url)
        label = f"{row('office-nas')}.querySelector('.spark')?.getAttribute('aria-label')"
        b.until(f"{label} === 'Latency, 3 samples: 4.0 ms to 6.0 ms'")
        # A gap is no line.
        d = b.evaluate(row("office-nas") + ".querySelector('.spark path:not(.area)')"
                       ".getAttribute('d')")
        self.assertEqual(d.count("M"), 2)
        state["peers"][0].update(last_heartbeat_ts=6, rtt_ms=7)
        self.server.tell(state)
        b.until(f"{label} === 'Latency, 4 samples: 4.0 ms to 7.0 ms'")

    def test_every_control_is_reached_by_keys(self):
        b = self.browser
        state = world()
        state["peers"] += [peer(i, f"more-{i}", "idle") for i in range(20, 30)]
        self.server.tell(state)
        b.until("!document.getElementById('filter').hidden")
        b.call("Page.bringToFront")
        seen = []
        for _ in range(100):
            b.key("Tab")
            # What has the focus, and the line around it against what is behind it.
            name, width, style, offset = b.evaluate("""(() => {
              const at = document.activeElement, style = getComputedStyle(at);
              return [at.tagName + (at.id || at.getAttribute("href") || ""),
                parseFloat(style.outlineWidth), style.outlineStyle, at.getBoundingClientRect().top];
            })()""")
            if name == "BODY":
                break
            seen.append(name)
            self.assertEqual((width, style), (3, "solid"), name)
            self.assertTrue(0 <= offset <= 900, name)
        self.assertEqual(seen, ["BUTTONcopy", "INPUTfilter"] + ["SUMMARY"] * 20 +
                         ["A/health", "A/peers", "A/shares", "A/metrics"])

    def test_another_program_brings_its_own_page(self):
        b, state = self.browser, world()
        b.evaluate("window.same = 1")
        state["health"]["version"] = "1.2.4"
        self.server.tell(state)
        b.until("window.same === undefined && document.readyState === 'complete'")
        b.until("document.getElementById('version').innerText === 'KeyMesh 1.2.4'")
        b.evaluate("window.same = 2")
        self.server.tell(world() | {"health": state["health"]})
        b.until("window.same === 2 && document.querySelectorAll('#peers tbody tr').length === 10")

    def test_the_id_is_copied(self):
        b = self.browser
        b.call("Browser.grantPermissions", permissions=["clipboardReadWrite",
                                                        "clipboardSanitizedWrite"])
        b.call("Page.bringToFront")
        b.evaluate("document.getElementById('copy').focus()")
        b.key("Enter", 13, "\r")
        b.until("document.getElementById('copy').textContent === 'Copied'")
        self.assertEqual(b.evaluate("navigator.clipboard.readText()"), "7f" * 32)

    def test_latency_is_drawn_and_forgotten(self):
        for i in range(80):
            state = world()
            state["peers"][0].update(rtt_ms=3 + i % 7, last_heartbeat_ts=1000 + i)
            self.server.tell(state)
            self.browser.until(f"{row('office-nas')}.innerText.includes('{3 + i % 7}.0 ms')")
        label = self.browser.evaluate(row("office-nas") + ".querySelector('.spark')"
                                      ".getAttribute('aria-label')")
        self.assertEqual(label, "Latency, 60 samples: 3.0 ms to 9.0 ms")
        self.shot("latency")

    def test_many_peers(self):
        state = world()
        state["peers"] = [peer(i % 256, f"peer-{i}", "connected", id=f"{i:064x}")
                          for i in range(1000)]
        self.server.tell(state)
        b = self.browser
        b.until("document.querySelectorAll('#peers tbody tr').length === 300")
        self.assertIn("700 more", b.evaluate("document.body.innerText"))
        b.evaluate("""(() => { const f = document.getElementById("filter"); f.value = "peer-999";
          f.dispatchEvent(new Event("input")); })()""")
        b.until("document.querySelectorAll('#peers tbody tr').length === 1")
        b.evaluate("""(() => { const f = document.getElementById("filter"); f.value = "nobody";
          f.dispatchEvent(new Event("input")); })()""")
        b.until("document.body.innerText.includes('No peer has that')")


if __name__ == "__main__":
    if browser.find() is None:
        print("SKIPPED: there is no Chromium here (apt-get install chromium), so that nobody has "
              "seen whether the status page works", file=sys.stderr)
        sys.exit(77)
    unittest.main()
