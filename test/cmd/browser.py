"""A headless Chromium, driven by its DevTools protocol. $KM_CHROMIUM names another program."""
import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time

LIMIT = 120


def find():
    """The program, or None."""
    named = os.environ.get("KM_CHROMIUM")
    if named is not None:
        return named or None
    names = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


class Socket:
    """The client's end of a WebSocket (RFC 6455), of text messages."""

    def __init__(self, host, port, path):
        self.socket = socket.create_connection((host, port), LIMIT)
        self.file = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
                            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                            "Sec-WebSocket-Version: 13\r\n\r\n".encode())
        assert b" 101 " in self.file.readline()
        while self.file.readline().strip():
            pass

    def send(self, text):
        data, mask = text.encode(), os.urandom(4)
        size = (bytes([0x80 | len(data)]) if len(data) < 126 else
                b"\xfe" + struct.pack("!H", len(data)) if len(data) < 65536 else
                b"\xff" + struct.pack("!Q", len(data)))
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        self.socket.sendall(b"\x81" + size + mask + masked)

    def receive(self):
        text = b""
        while True:
            first, size = self.file.read(2)
            if size == 126:
                size, = struct.unpack("!H", self.file.read(2))
            elif size == 127:
                size, = struct.unpack("!Q", self.file.read(8))
            text += self.file.read(size)
            if first & 0x80:
                return text.decode()

    def close(self):
        self.file.close()
        self.socket.close()


class Gone(Exception):
    """The page that was asked is no longer there."""


class Browser:
    """One tab. `log` has what went to its console, `requests` what it asked for."""

    def __init__(self, width=1200, height=900):
        self.dir = tempfile.mkdtemp(prefix="km-chromium-")
        self.child = subprocess.Popen(
            [find(), "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--disable-background-networking", "--disable-sync",
             "--disable-component-update", "--disable-default-apps", "--mute-audio",
             "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
             "--remote-debugging-port=0", f"--user-data-dir={self.dir}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            port, path = self._port()
            self.socket = Socket("127.0.0.1", port, path)
            self.number, self.session = 0, None
            self.log, self.requests, self.statuses = [], [], {}
            self._attach()
        except BaseException:
            self.close()
            raise
        self.size(width, height)

    def _port(self):
        file = os.path.join(self.dir, "DevToolsActivePort")
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and self.child.poll() is None:
            if os.path.exists(file):
                with open(file, encoding="ascii") as found:
                    lines = found.read().split("\n")
                if len(lines) == 2:
                    return int(lines[0]), lines[1]
            time.sleep(.05)
        raise AssertionError(f"Chromium did not start: {self.child.poll()}")

    def _attach(self):
        pages = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        self.session = self.call("Target.attachToTarget", targetId=pages[0]["targetId"],
                                 flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    def _event(self, message):
        params = message.get("params", {})
        name = message.get("method")
        if name == "Runtime.exceptionThrown":
            self.log.append(json.dumps(params["exceptionDetails"]))
        elif name == "Runtime.consoleAPICalled":
            self.log.append(json.dumps(params["args"]))
        elif name == "Log.entryAdded":
            self.log.append(f"{params['entry']['level']}: {params['entry']['text']} "
                            f"{params['entry'].get('url', '')}")
        elif name == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif name == "Network.responseReceived":
            self.statuses[params["response"]["url"]] = params["response"]["status"]

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.receive())
            if answer.get("id") == self.number:
                if "navigated" in answer.get("error", {}).get("message", ""):
                    raise Gone
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._event(answer)

    def open(self, url):
        return self.call("Page.navigate", url=url)

    def evaluate(self, script):
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                           awaitPromise=True)
        assert "exceptionDetails" not in answer, (script, answer["exceptionDetails"])
        return answer["result"].get("value")

    def _try(self, script):
        """The same, None while one page makes way for another."""
        try:
            return self.evaluate(script)
        except Gone:
            return None

    def until(self, script):
        """Waits until an expression is true; its value. One that throws is not true yet."""
        end = time.monotonic() + LIMIT
        while not (value := self._try(f"(() => {{ try {{ return {script}; }} catch (error) "
                                      "{ return null; } })()")):
            text = self._try("document.body?.innerText")
            assert time.monotonic() < end, f"never true: {script}\n{text}\n{self.log}"
            time.sleep(.1)
        return value

    def key(self, name, code=9, text=""):
        """Presses a key; 9 is Tab's code."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                      windowsVirtualKeyCode=code, text=text if kind == "keyDown" else "")

    def size(self, width, height=900, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=phone)

    def prefer(self, **features):
        """prefer(prefers_color_scheme="dark")"""
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()])

    def screenshot(self, path):
        """Of the whole page, however long."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def close(self):
        self.child.kill()
        self.child.wait()
        # Its helpers end when it is gone, and may write until then.
        for _ in range(50):
            shutil.rmtree(self.dir, ignore_errors=True)
            if not os.path.exists(self.dir):
                break
            time.sleep(.1)
        if hasattr(self, "socket"):
            self.socket.close()
