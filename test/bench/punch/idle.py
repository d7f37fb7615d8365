"""What it costs to be there and do nothing: CPU time, wake-ups, packets. All cases are measured
side by side, each at a place of its own."""
import contextlib
import os
import subprocess
import time

import wire
from iroh_test import ALPN, Peer
from netlab import until
from netlab.nodes import cmd
from place import CONNECT, NEAR, WIRE, Place

SETTLE = 8  # seconds until what setting up brings with it is over
LONG = 3600


class Case:
    """`near` is whom it is about; its packets are counted."""

    def __init__(self, place, near, far=None):
        self.place, self.near, self.far = place, near, far

    def begin(self):
        self.before = [usage(program) for program in self._programs()]
        self.counter = wire.Counter(self.place.near, WIRE, self.place.relay.port
                                    if self.place.relay else 0)
        self.began = time.monotonic()

    def end(self):
        seconds = time.monotonic() - self.began
        counts = self.counter.stop()
        spent = [{name: (after - before[name]) * 60 / seconds
                  for name, after in usage(program).items()}
                 for program, before in zip(self._programs(), self.before)]
        if any(program.child.poll() is not None for program in self._programs()):
            raise AssertionError(f"it ended: {self.near.log()}")
        minute = {way: {kind: count * 60 / seconds for kind, count in kinds.items()}
                  for way, kinds in counts.items()}
        return {"seconds": seconds, "packets": minute, "near": spent[0],
                "far": spent[1] if self.far else None}

    def _programs(self):
        return [self.near, self.far] if self.far else [self.near]


def usage(program):
    """CPU time in ms, to the nanosecond, and how often it slept; of all threads."""
    folder = f"/proc/{program.child.pid}/task"
    found = {"cpu_ms": 0.0, "wakeups": 0}
    for thread in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # it ended just now
            with open(f"{folder}/{thread}/schedstat", encoding="ascii") as file:
                found["cpu_ms"] += int(file.read().split()[0]) / 1e6
            with open(f"{folder}/{thread}/status", encoding="ascii") as file:
                found["wakeups"] += next(int(line.split()[1]) for line in file
                                         if line.startswith("voluntary_ctxt_switches"))
    return found


def alone(place):
    return Case(place, place.ready(place.near, "node1"))


def home(place):
    place.start_relay()
    return alone(place)


def connection(place, *args):
    server, client = place.perf_pair("--mode", "idle", "--time", LONG, *args)
    return Case(place, client, server)


def plain(place):
    case = connection(place, "--wait-direct", CONNECT)
    case.near.expect("path", kind="direct")
    return case


def punched(place):
    place.start_relay()
    return plain(place)


def relayed(place):
    place.start_relay()
    return connection(place, "--policy", "relay-only")


class Iroh(Peer):
    def log(self):
        return "".join(self.seen + self.err)


def open_iroh(place, host, binding):
    return place.own(Iroh(host, "iroh", binding)).open(place.relay_url)


def iroh_home(place, binding):
    place.start_relay()
    return Case(place, open_iroh(place, place.near, binding))


def iroh_punched(place, binding):
    place.start_relay()
    far, near = (open_iroh(place, host, binding) for host in (place.far, place.near))
    conn = near.ask("dial", remote=far.remote, addrs=[], relays=[place.relay_url],
                    alpn=ALPN)["conn"]
    until(CONNECT, "iroh goes direct",
          lambda: near.selected(conn).startswith(NEAR.rsplit(".", 1)[0]), 0.5)
    return Case(place, near, far)


# name: (what it is, how it is set up, whether it takes iroh)
CASES = {
    "alone": ("a node without relay or connection", alone, False),
    "home": ("a node with a home relay", home, False),
    "plain": ("a connection dialled at its address, no relay", plain, False),
    "relayed": ("a connection that stays on the relay", relayed, False),
    "punched": ("a punched connection, both with a home relay", punched, False),
    "iroh-home": ("the real iroh with a home relay", iroh_home, True),
    "iroh-punched": ("two of the real iroh, direct, both with a home relay", iroh_punched, True),
}


def find_iroh():
    """Where the binding is; None where it cannot be had."""
    done = subprocess.run([os.path.join(cmd.SOURCE, "test/interop/setup.sh")],
                          stdout=subprocess.PIPE, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def measure(names, seconds, binding, progress):
    """{case: what it did in a minute}"""
    with contextlib.ExitStack() as stack:
        cases = {}
        for name in names:
            progress(f"idle: {name}")
            _about, build, takes_iroh = CASES[name]
            place = stack.enter_context(Place())
            cases[name] = build(place, binding) if takes_iroh else build(place)
        time.sleep(SETTLE)
        progress(f"idle: all of them, for {seconds} s")
        for case in cases.values():
            case.begin()
        time.sleep(seconds)
        return {name: case.end() for name, case in cases.items()}


def show(found, out):
    heads = ["CPU ms", "peer's", "wake-ups", "packets", *wire.KINDS]
    out.write(f"\nidle, a minute   {''.join(f'{head:>9}' for head in heads)}\n")
    for name, case in found.items():
        kinds = [sum(case["packets"][way][kind] for way in ("in", "out")) for kind in wire.KINDS]
        peer = case["far"]["cpu_ms"] if case["far"] else None
        numbers = [case["near"]["cpu_ms"], peer, case["near"]["wakeups"], sum(kinds), *kinds]
        cells = ["-" if number is None else f"{number:.1f}" if i < 2 else f"{number:.0f}"
                 for i, number in enumerate(numbers)]
        out.write(f"{name:<17}{''.join(f'{cell:>9}' for cell in cells)}\n")
    for name in found:
        out.write(f"  {name}: {CASES[name][0]}\n")
