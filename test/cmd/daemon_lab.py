"""Projects on loopback, their daemons, and the control socket as a script would use it."""
import json
import os
import socket
import time

import lab

CONFIG = """
node:
  id: "{name}"
  bind_host: 127.0.0.1
  listen_port: {port}
security:
  level: {level}
{security}
peers: {peers}
shares:
  - {{name: docs, default_mode: {others}}}
  - {{name: private}}
connectivity:
  heartbeat_sec: 1
  connect_timeout_ms: {patience}
  backoff: [1, 2]
  sync_interval_sec: 2
  relay: "off"
  port_mapping: false
limits: {{rate_per_minute: 0, rate_per_second: 0}}
discovery: {{mdns: false, publish: false}}
status_http: {{port: 0}}
hooks: {{on_message: {hook}}}
logging: {{level: info, file: {log}}}
"""


def free_port():
    """A UDP port of loopback that nobody has now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(what, check):
    """Waits until `check` is true; its value."""
    end = time.monotonic() + lab.LIMIT
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")


class Refused(Exception):
    """The daemon said no."""

    def __init__(self, error):
        super().__init__(f"{error['code']}: {error['text']}")
        self.code, self.text = error["code"], error["text"]


class Control:
    """A connection to a control socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)  # waits while too many are at it
        self.socket.settimeout(lab.LIMIT)
        self.file = self.socket.makefile("rb")
        self.last = 0

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, cmd, **args):
        """Asks; the id of the request."""
        self.last += 1
        line = json.dumps({"id": self.last, "cmd": cmd, "args": args}) + "\n"
        self.socket.sendall(line.encode())
        return self.last

    def answer(self):
        """The next line; None at the end."""
        line = self.file.readline()
        return json.loads(line) if line else None

    def ask(self, cmd, **args):
        """Result and rows of a request to its end."""
        number, rows = self.send(cmd, **args), []
        while True:
            answer = self.answer()
            assert answer is not None and answer["id"] == number, answer
            if "row" in answer:
                rows.append(answer["row"])
            elif answer["ok"]:
                return answer.get("result"), rows
            else:
                raise Refused(answer["error"])


class Node:
    """A project, and its daemon when it runs."""

    def __init__(self, case, name, **config):
        self.case, self.name, self.port = case, name, free_port()
        self.dir = case.path(name)
        made = lab.run("init", self.dir, "--name", name, "--json")
        assert made.status == lab.OK, made.err
        self.id = json.loads(made.out.splitlines()[0])["id"]
        self.config = {"level": "secure", "others": "none", "hook": "", "security": "", "log": "",
                       **config}
        self.peers, self.daemon = [], None
        self.write()

    @property
    def socket_path(self):
        return os.path.join(self.dir, "run/control.sock")

    def knows(self, other, access="rw", dial=True):
        """Puts a peer into the configuration."""
        self.peers.append({"id": other.id, "name": other.name,
                           "addr": f"127.0.0.1:{other.port}", "dial": dial,
                           "shares_access": [{"share": "docs", "mode": access}] if access else []})
        self.write()

    def write(self):
        text = CONFIG.format(name=self.name, port=self.port, peers=json.dumps(self.peers),
                             patience=20000 if lab.sanitized() else 4000, **self.config)
        with open(os.path.join(self.dir, "keymesh.yaml"), "w", encoding="utf-8") as file:
            file.write(text)

    def run(self, *args, **more):
        """km-node with this project's configuration, to its end."""
        return lab.run(*args, "--config", self.dir, **more)

    def begin(self, *args):
        """Starts the daemon, does not wait."""
        self.daemon = self.case.start(lab.Process, "run", "--config", self.dir, "--json", *args)
        return self.daemon

    def start(self, *args):
        """Starts the daemon and waits until it is ready."""
        self.begin(*args)
        self.ready = self.daemon.event("ready")
        assert self.ready["id"] == self.id
        return self

    def stop(self, *args):
        return self.daemon.stop(*args)

    def control(self):
        control = Control(self.socket_path)
        self.case.addCleanup(control.close)
        return control

    def ask(self, cmd, **args):
        """Result of a request."""
        return self.ask_rows(cmd, **args)[0]

    def rows(self, cmd, **args):
        return self.ask_rows(cmd, **args)[1]

    def ask_rows(self, cmd, **args):
        control = Control(self.socket_path)
        try:
            return control.ask(cmd, **args)
        finally:
            control.close()

    def peer(self, other):
        """What it says of a peer; None when it knows none."""
        found = [p for p in self.ask("peers")["peers"] if p["id"] == other.id]
        return found[0] if found else None

    def connected(self, other):
        peer = self.peer(other)
        return peer if peer is not None and peer["connected"] else None

    def wait_for(self, other):
        """Until it is connected to it; the peer."""
        return until(f"{self.name} connected to {other.name}", lambda: self.connected(other))

    def wait_without(self, other):
        def lost():
            peer = self.peer(other) or {"connected": False}  # forgotten altogether
            return None if peer["connected"] else peer
        return until(f"{self.name} without {other.name}", lost)

    def value(self, key, share="docs"):
        """The value of an entry; None without one."""
        try:
            return self.ask("kv.get", share=share, key=key)["value"]
        except Refused as refused:
            assert refused.code == "NOT_FOUND", refused
            return None

    def wait_value(self, key, value, share="docs"):
        until(f"{key}={value} at {self.name}", lambda: self.value(key, share) == value)

    def hash(self, share="docs"):
        return self.rows("kv.hash", share=share)[0]["hash"]


class MeshCase(lab.Case):
    """Tests with nodes."""

    def node(self, name, **config):
        return Node(self, name, **config)

    def pair(self, **config):
        """Two that know each other."""
        a, b = self.node("host-A", **config), self.node("host-B", **config)
        a.knows(b)
        b.knows(a)
        return a, b

    def refused(self, code, node, cmd, **args):
        with self.assertRaises(Refused) as caught:
            node.ask(cmd, **args)
        self.assertEqual(caught.exception.code, code, caught.exception.text)
        return caught.exception.text
