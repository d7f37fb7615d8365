"""The programs that are measured. All print the members of docs/protocol-perf.md."""
import json
import os
import subprocess

import cargo_build
from cargo_build import Skip

NAMES = ["km", "bare", "iroh", "quinn"]
MODES = ("upload", "download", "latency", "handshake", "memory")
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
    """A fresh server process a measurement: nothing of an earlier one is in its memory."""

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


def client_options(mode, time, conns, streams, size, parallel):
    every = {"upload": ["--streams", streams], "download": ["--streams", streams],
             "latency": ["--size", size], "handshake": ["--parallel", parallel],
             "memory": ["--conns", conns]}
    return list(map(str, ["--mode", mode, "--time", time, *every[mode]]))


class Pair:
    """A server process and a client process."""

    def __init__(self, name, about, server, client, modes=MODES):
        self.name, self.about, self.modes = name, about, modes
        self.server, self.client = server, client

    def measure(self, mode, time, conns, streams=1, size=64, parallel=1):
        with Server(self.server) as ticket:
            options = client_options(mode, time, conns, streams, size, parallel)
            return result_of([*self.client, ticket, *options], time)


class Bare:
    """Both processes in one program; it knows nothing but one stream up."""
    name, about, modes = "bare", "ngtcp2 + wolfSSL alone", ("upload",)
    members = {"goodput_gbps": "gbit_s", "cpu_s_per_gb_client": "cpu_client_s_per_gb",
               "cpu_s_per_gb_server": "cpu_server_s_per_gb"}  # its names, and the contract's

    def __init__(self, program):
        self.program = program

    def measure(self, mode, time, _conns, **_more):
        command = [self.program, "--seconds", str(time), "--json", "--payload", str(PAYLOAD)]
        result = result_of(command, time)
        return {**{self.members.get(k, k): v for k, v in result.items()}, "mode": mode}


def built(bin_dir, name):
    path = os.path.join(bin_dir, name)
    if not os.path.exists(path):
        raise Skip(f"there is no {path}; build it first: cmake --preset release, "
                   f"cmake --build --preset release")
    return path


def keymesh(bin_dir):
    node = [built(bin_dir, "km-node"), "perf"]
    local = ["--bind", "127.0.0.1:0", "--json"]
    return Pair("km", "km-node perf", [*node, "server", *local], [*node, "client", *local])


def make_load(stack):
    program = cargo_build.LOAD.build()
    about = f"the crate {stack} {cargo_build.LOAD.version(stack)}"
    return Pair(stack, about, [program, "server", "--stack", stack],
                [program, "client", "--stack", stack])


def make(name, bin_dir):
    """The peer of that name; Skip says why it cannot be had here."""
    if name == "km":
        return keymesh(bin_dir)
    if name == "bare":
        return Bare(built(bin_dir, "km-bench-bare"))
    return make_load(name)
