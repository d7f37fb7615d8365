"""Two km-netlab-transfer processes that hold one connection, and what they tell."""
import json
import os
import signal
import subprocess
import sys
import time

from netlab import until
from netlab.nodes import Program, cmd
from netlab.sandbox import LIBC, PR_SET_PDEATHSIG, check

CONNECT_SECONDS = 60
LOG = os.environ.get("KM_LOG") or "info"


def end_with_parent():
    """Before enter(), in a process that plays one of many: it does not outlive who began it."""
    check(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0), "prctl")


def wrong_clock(seconds):
    """Words before a command whose wall clock is to be wrong by so much."""
    if not seconds:
        return []
    library = os.path.join(os.path.dirname(cmd.BIN_DIR), "test/libkm-netlab-clock.so")
    if not os.path.exists(library):
        raise OSError(f"{library} is not built")
    asan = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    return ["env", f"LD_PRELOAD={library}", f"KM_NETLAB_CLOCK={seconds}", f"ASAN_OPTIONS={asan}"]


class Peer(Program):
    """km-netlab-transfer. `said` has its events so far; their "time" is by the clock of
    time.monotonic(), taken where they happened."""

    def __init__(self, host, role, *args, clock=0):
        self.host, self.events, self.role = host, [], role
        program = os.path.join(cmd.BIN_DIR, "km-netlab-transfer")
        words = host.command(*wrong_clock(clock), program, role, *args, "--hold", "--log", LOG)
        cmd.Process.__init__(self, *words[1:], program=words[0], stdin=subprocess.PIPE)

    def say(self, word):
        self.child.stdin.write(f"{word}\n".encode())
        self.child.stdin.flush()

    @property
    def said(self):
        """With all that came meanwhile."""
        while not self.lines.empty() and self.next_event(time.monotonic()):
            pass
        return self.events

    def all(self, name):
        return [event for event in self.said if event["event"] == name]

    def last(self, name):
        return (self.all(name) or [None])[-1]

    @property
    def paths(self):
        """The path at the start and each that was taken after it."""
        return [event for event in self.said if event["event"] in ("connected", "path")]

    @property
    def path(self):
        """Kind of the path that it uses now."""
        return self.paths[-1]["kind"] if self.paths else "none"

    def way(self):
        """relay>direct>relay: the kinds, without changes from one address to another."""
        kinds = []
        for event in self.paths:
            if not kinds or kinds[-1] != event["kind"]:
                kinds.append(event["kind"])
        return ">".join(kinds) or "none"

    @property
    def lost(self):
        """Why the connection is no more; None while it lives."""
        for event in self.said:
            if event["event"] in ("closed", "error"):
                return f"{self.role}: {event.get('error') or ''} {event['text']}"
        if self.child.poll() is not None:
            return f"{self.role}: the process ended with {self.child.returncode}"
        return None

    def end(self):
        if not self.child.stdin.closed:
            try:
                self.child.stdin.close()
            except OSError:
                pass
        try:
            self.child.wait(5)
        except subprocess.TimeoutExpired:
            pass
        super().end()


class Broken(AssertionError):
    """The connection is gone."""


class Pair:
    """A connection between two hosts. `sender` is "dial" or "accept"."""

    def __init__(self, lab, accept_host, dial_host, relays, size, sender, ticket=False, more=(),
                 seconds=CONNECT_SECONDS, clocks=None):
        urls = [word for relay in relays for word in ("--relay", relay.url)]
        sends = {role: ["--send", str(size)] if role == sender else []
                 for role in ("dial", "accept")}
        clocks = clocks or {}
        self.size = size
        self.accept = lab.own(Peer(accept_host, "accept", *urls, *sends["accept"], *more,
                                    clock=clocks.get("accept", 0)))
        until(seconds, "the accepting side is ready", self._ready(bool(relays)))
        ready = self.accept.last("ready")
        self.dial = lab.own(Peer(dial_host, "dial", ready["ticket" if ticket else "id"], *urls,
                                 *sends["dial"], *more, clock=clocks.get("dial", 0)))
        self.peers = self.accept, self.dial
        self.sender, self.receiver = ((self.dial, self.accept) if sender == "dial"
                                      else (self.accept, self.dial))
        self.wait(seconds, "the peers are connected",
                  lambda: all(peer.last("connected") for peer in self.peers))

    def _ready(self, relays):
        return lambda: any(not relays or event["home"] for event in self.accept.all("ready"))

    def wait(self, seconds, what, condition):
        """until(), but a connection that is lost ends it at once."""
        def alive_and(condition):
            for peer in self.peers:
                if peer.lost:
                    raise Broken(f"{what}: {peer.lost}")
            return condition()
        return until(seconds, what, lambda: alive_and(condition))

    def wait_path(self, seconds, kind):
        """Both sides use such a path now."""
        self.wait(seconds, f"both sides use a {kind} path",
                  lambda: all(peer.path == kind for peer in self.peers))

    def go(self):
        self.sender.say("go")

    @property
    def bytes(self):
        event = self.receiver.last("progress")
        return event["bytes"] if event else 0

    def wait_share(self, share, seconds=120):
        """So much of it came."""
        self.wait(seconds, f"{share:.0%} came", lambda: self.receiver.last("received")
                  or self.bytes >= share * self.size)

    def wait_done(self, seconds):
        """The end of the transfer: (received, sent)."""
        self.wait(seconds, "all came", lambda: self.receiver.last("received"))
        self.wait(seconds, "all was acknowledged", lambda: self.sender.last("sent"))
        return self.receiver.last("received"), self.sender.last("sent")

    def gaps(self):
        """Pauses of 20 ms and more, as (begin, seconds)."""
        return [(event["from"], event["ms"] / 1000) for event in self.receiver.all("gap")]

    def pause(self, begin, end=None):
        """The longest pause that touches this time; 0: none was seen."""
        end = time.monotonic() if end is None else end
        return max((length for at, length in self.gaps() if at + length >= begin and at <= end),
                   default=0)

    def save_logs(self, folder):
        """Ends both: what was logged is all there then."""
        os.makedirs(folder, exist_ok=True)
        for peer in self.peers:
            peer.said  # noqa: B018: takes in what came last
            peer.end()
            with open(os.path.join(folder, f"{peer.role}.log"), "w", encoding="utf-8") as file:
                file.write(peer.log())


def show(result):
    """One JSON object on standard output, for who runs us."""
    json.dump(result, sys.stdout)
    print(flush=True)
