"""The programs that are measured. All speak the members of docs/protocol-perf.md, one JSON a line."""
import json
import os
import shutil
import subprocess

import cargo_build
from cargo_build import Skip

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ["km", "bare", "iroh", "quinn", "npm"]
DEFAULT = ["km", "bare", "iroh", "quinn"]
ALL = ("upload", "download", "latency", "handshake", "memory")
PAYLOAD = 1452  # of UDP; what path MTU discovery ends at for the others on loopback
GRACE = 120  # seconds beyond the measured time before a program counts as hanging


class Failed(Exception):
    """A program that was there failed."""


def lines_of(text, program):
    try:
        return [json.loads(line) for line in text.splitlines()]
    except ValueError as error:
        raise Failed(f"{program} printed no JSON: {text[:200]!r}") from error


def result_of(command, seconds):
    """Runs a client to its end; the only perf event that it printed."""
    program = os.path.basename(command[0])
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE,
                              stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command)} hangs") from error
    if done.returncode != 0:
        said = (done.stderr + done.stdout).strip()
        raise Failed(f"{' '.join(command)} ended with status {done.returncode}: {said}")
    found = [event for event in lines_of(done.stdout, program) if event.get("event") == "perf"]
    if len(found) != 1:
        raise Failed(f"{program} printed {len(found)} results: {done.stdout!r}")
    del found[0]["event"]
    return found[0]


class Server:
    """A server process of its own for one measurement: nothing of an earlier one is in its memory."""

    def __init__(self, command):
        self.command = command

    def __enter__(self):
        self.child = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True,
                                      stdin=subprocess.DEVNULL)
        for line in self.child.stdout:
            event = json.loads(line)
            if event.get("event") == "ready":
                return event["ticket"]
        self.__exit__()
        raise Failed(f"{' '.join(self.command)} ended before it was ready")

    def __exit__(self, *_):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()


def client_options(mode, options):
    every = {"upload": ["--streams", options.streams], "download": ["--streams", options.streams],
             "latency": ["--size", options.size], "handshake": ["--parallel", options.parallel],
             "memory": ["--conns", options.conns]}
    return list(map(str, ["--mode", mode, "--time", options.time, *every[mode]]))


class Pair:
    """A server process and a client process."""

    def __init__(self, name, about, server, client, modes=ALL):
        self.name, self.about, self.modes = name, about, modes
        self.server, self.client = server, client

    def measure(self, mode, options):
        with Server(self.server) as ticket:
            command = [*self.client, ticket, *client_options(mode, options)]
            return result_of(command, options.time)


class Bare:
    """Both processes in one program; it knows no memory mode."""
    name, about = "bare", "ngtcp2 + wolfSSL alone"
    modes = tuple(mode for mode in ALL if mode != "memory")

    def __init__(self, program):
        self.program = program

    def measure(self, mode, options):
        command = [self.program, "--mode", mode, "--time", str(options.time), "--json",
                   "--payload", str(PAYLOAD), "--size", str(options.size)]
        return result_of(command, options.time)


def built(bin_dir, name):
    path = os.path.join(bin_dir, name)
    if not os.path.exists(path):
        raise Skip(f"there is no {path}; build it first: cmake --preset release, "
                   f"cmake --build --preset release")
    return path


def make_km(bin_dir):
    node = [built(bin_dir, "km-node"), "perf"]
    local = ["--bind", "127.0.0.1:0", "--json"]
    return Pair("km", "km-node perf", [*node, "server", *local], [*node, "client", *local])


def make_load(stack):
    program = cargo_build.build()
    about = f"the crate {stack} {cargo_build.pinned_version(stack)}"
    return Pair(stack, about, [program, "server", "--stack", stack],
                [program, "client", "--stack", stack])


def make_npm():
    """The binding: no goodput, for that would measure JavaScript."""
    if shutil.which("node") is None:
        raise Skip("there is no node")
    setup = subprocess.run([os.path.join(HERE, "../interop/setup.sh")], text=True, check=False,
                           stdout=subprocess.PIPE)
    if setup.returncode != 0:
        raise Skip("the binding cannot be installed")
    script = ["node", os.path.join(HERE, "npm_perf.mjs"), setup.stdout.strip()]
    return Pair("npm", "iroh's binding, npm @number0/iroh", [*script, "server"],
                [*script, "client"], ("latency", "handshake"))


def make(name, bin_dir):
    """The peer of that name; Skip says why it cannot be had here."""
    if name == "km":
        return make_km(bin_dir)
    if name == "bare":
        return Bare(built(bin_dir, "km-bench-bare"))
    return make_npm() if name == "npm" else make_load(name)
