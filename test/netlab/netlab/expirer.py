"""A NAT that drops each mapping a fixed time after it began, used or not."""
import heapq
import re
import subprocess
import threading
import time

from .clock import until

FIELDS = re.compile(r"(src|dst|sport|dport)=(\S+)")


class Expirer:
    """Follows conntrack's events. A mapping belongs to an inside address and port where the NAT's
    mapping is endpoint-independent, to a flow otherwise."""

    def __init__(self, nat, seconds):
        self.nat, self.seconds = nat, seconds
        self.due, self.known = [], set()
        self.changed, self.ended = threading.Condition(), False
        self.events = subprocess.Popen(
            nat.ns.command("stdbuf", "-oL", "conntrack", "-E", "-e", "NEW", "-p", "udp"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.threads = [threading.Thread(target=work, daemon=True)
                        for work in (self._follow, self._expire)]
        for thread in self.threads:
            thread.start()
        until(10, "conntrack listens", self._listens)

    def _listens(self):
        """A socket of NETLINK_NETFILTER (12) there is in a multicast group."""
        with self.nat.ns.inside(), open("/proc/thread-self/net/netlink", encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
        return any(row[1] == "12" and int(row[3], 16) for row in rows)

    def _follow(self):
        for line in self.events.stdout:
            fields = FIELDS.findall(line)
            original, reply = dict(fields[:4]), dict(fields[4:8])
            if reply.get("dst") == self.nat.public:  # it leaves
                key = original["src"], original["sport"]
                flow = original["dst"], original["dport"]
            else:  # it enters
                key = reply["src"], reply["sport"]
                flow = original["src"], original["sport"]
            outside = (reply if reply.get("dst") == self.nat.public else original)["dport"]
            if not self.nat.has_maps:
                key += flow
            with self.changed:
                if key not in self.known:
                    self.known.add(key)
                    heapq.heappush(self.due, (time.monotonic() + self.seconds, key, outside))
                    self.changed.notify()

    def _expire(self):
        while True:
            with self.changed:
                while not self.ended and (not self.due or self.due[0][0] > time.monotonic()):
                    self.changed.wait(self.due[0][0] - time.monotonic() if self.due else None)
                if self.ended:
                    return
                _at, key, outside = heapq.heappop(self.due)
                self.known.discard(key)
            self._drop(key, outside)

    def _drop(self, key, outside):
        if self.nat.has_maps:
            self._drop_mapping(*key, outside)
        else:
            self._forget("orig", *key)

    def _drop_mapping(self, address, port, outside):
        dying = f"dying {{ {address} . {port} }}", f"dying_ports {{ {outside} }}"
        self._nft(*(f"add element ip router {one}" for one in dying))
        for one in f"out {{ {address} . {port} }}", f"in {{ {outside} }}":
            self._nft(f"delete element ip router {one}")
        self._forget("orig", address, port)
        self._forget("reply", address, port)
        self._nft(*(f"delete element ip router {one}" for one in dying))

    def _forget(self, direction, address, port, *remote):
        words = ["src", address, "port-src", port]
        if remote:
            words += ["dst", remote[0], "port-dst", remote[1]]
        self._try("conntrack", "-D", "-p", "udp", *(
            f"--{direction}-{word}" if i % 2 == 0 else word for i, word in enumerate(words)))

    def _nft(self, *lines):
        self._try("nft", "\n".join(lines))

    def _try(self, *words):
        """It may be gone already."""
        subprocess.run(self.nat.ns.command(*words), capture_output=True, check=False)

    def close(self):
        with self.changed:
            self.ended = True
            self.changed.notify()
        self.events.kill()
        self.events.wait()
        for thread in self.threads:
            thread.join()
        self.events.stdout.close()
        self.events.stderr.close()
