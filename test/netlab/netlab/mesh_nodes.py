"""Mesh nodes in a lab: projects made by `km-node init`, their daemons at hosts, and requests over
their control sockets, which are files and reach into every network namespace."""
import http.client
import json
import os
import signal
import subprocess

from .clock import until
from .nodes import Program, cmd

# test/cmd is on the path since .nodes
from daemon_lab import Control, Refused  # noqa: E402

LIMIT = 60
PORT = 51888
# What every project here has; the rest is as `init` writes it.
SETTINGS = {"listen_port": PORT, "port_mapping": False, "mdns": False, "file": None}


class Line(Control):
    """A connection to a control socket; OSError when nobody is there."""

    def __init__(self, path):
        try:
            super().__init__(path)
        except OSError:
            self.socket.close()
            raise


class MeshNode:
    """A project, and its daemon at `host` while it runs. `settings` are keys of keymesh.yaml (each
    name stands there once) with other values than those of `init`."""

    def __init__(self, lab, host, folder, name, **settings):
        self.lab, self.host, self.name, self.daemon = lab, host, name, None
        self.dir = os.path.join(folder, name)
        made = self.run("init", self.dir, "--name", name, "--json", config=False)
        assert made.status == cmd.OK, made.err
        self.id = json.loads(made.out.splitlines()[0])["id"]
        with open(self.config_path, encoding="utf-8") as file:
            self.sample = file.read().splitlines()
        self.settings, self.peers = {**SETTINGS, **settings}, []
        self.write()

    @property
    def config_path(self):
        return os.path.join(self.dir, "keymesh.yaml")

    @property
    def store_path(self):
        return os.path.join(self.dir, "data/store.db")

    @property
    def addr(self):
        return f"{self.host.v4}:{PORT}"

    def write(self):
        """keymesh.yaml: the sample, edited line by line as a person would."""
        changes = {**self.settings, "peers": self.peers}
        lines = []
        for line in self.sample:
            key = line.split(":")[0].lstrip(" -")
            if not line.lstrip().startswith("#") and key in changes:
                line = f"{line.split(':')[0]}: {json.dumps(changes.pop(key))}"
            lines.append(line)
        assert not changes, f"not in the sample: {changes}"
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def knows(self, other, addr=None, mode="rw"):
        peer = {"id": other.id, "name": other.name,
                "shares_access": [{"share": "common", "mode": mode}] if mode else []}
        if addr:
            peer["addr"] = addr
        self.peers.append(peer)
        self.write()

    # --- the program -------------------------------------------------------------------------

    def run(self, *args, config=True, stdin=b""):
        """km-node to its end, at the host; its cmd.Result."""
        words = [cmd.BIN, *args, *(("--config", self.dir) if config else ())]
        done = subprocess.run(self.host.command(*words), input=stdin, capture_output=True,
                              timeout=LIMIT, env=cmd.environment(), check=False)
        return cmd.Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    def begin(self):
        """Starts the daemon, does not wait."""
        self.daemon = self.lab.own(Program(self.host, "km-node", "run", "--config", self.dir,
                                           "--json"))
        return self.daemon

    def start(self):
        self.ready = self.begin().expect("ready")
        assert self.ready["id"] == self.id
        return self

    def stop(self):
        """SIGTERM; its exit status."""
        self.daemon.send(signal.SIGTERM)
        status = self.daemon.finish(LIMIT)
        self.lab.release(self.daemon)
        return status

    def kill(self):
        self.lab.release(self.daemon)  # kill -9

    # --- requests ----------------------------------------------------------------------------

    def control(self):
        return Line(os.path.join(self.dir, "run/control.sock"))

    def ask_rows(self, command, **args):
        control = self.control()
        try:
            return control.ask(command, **args)
        finally:
            control.close()

    def ask(self, command, **args):
        return self.ask_rows(command, **args)[0]

    def rows(self, command, **args):
        return self.ask_rows(command, **args)[1]

    def put(self, key, value):
        return self.ask("kv.put", share="common", key=key, value=value)

    def value(self, key):
        """None when there is none."""
        try:
            return self.ask("kv.get", share="common", key=key)["value"]
        except Refused as refused:
            assert refused.code == "NOT_FOUND", refused
            return None

    def entries(self):
        """Deletions too, by key."""
        return {row["key"]: row for row in self.rows("kv.list", share="common", deleted=True)}

    def hash(self):
        return self.rows("kv.hash", share="common")[0]["hash"]

    def peer(self, other):
        found = [p for p in self.ask("peers")["peers"] if p["id"] == other.id]
        return found[0] if found else None

    def connected(self, other):
        peer = self.peer(other)
        return peer if peer and peer["connected"] else None

    def wait_for(self, other, seconds=LIMIT, **members):
        """Until it is connected to it, with these members; the peer."""
        return until(seconds, f"{self.name} connected to {other.name} {members or ''}", lambda: (
            (peer := self.connected(other)) and members.items() <= peer.items() and peer), 0.05)

    def wait_without(self, other, seconds=LIMIT):
        """Until it is not connected to it; the peer, None when it does not know it any more."""
        until(seconds, f"{self.name} without {other.name}", lambda: not self.connected(other),
              0.05)
        return self.peer(other)

    def wait_value(self, key, value, seconds=LIMIT):
        until(seconds, f"{key}={value} at {self.name}", lambda: self.value(key) == value, 0.05)

    # --- the status page ---------------------------------------------------------------------

    def page(self, path):
        """(status, body) of the status page, asked at the host itself."""
        with self.host.inside():
            conn = http.client.HTTPConnection("127.0.0.1", 52180, timeout=LIMIT)
            conn.connect()
        try:
            conn.request("GET", path)
            reply = conn.getresponse()
            return reply.status, reply.read().decode()
        finally:
            conn.close()
