"""Two hosts and the one cable between them. A relay, if there is to be one, is at the far one."""
import itertools
import json
import os
import subprocess
import types

from netlab import Namespace, Relay
from netlab.lab import veth
from netlab.nodes import Node, cmd

WIRE = "eth0"
NEAR, FAR = "198.51.100.1", "198.51.100.2"
NUMBERS = itertools.count(1)
NO_RELAY = ("--relay", "disabled")
CONNECT = 30


class Place:
    """What was started here ends with it."""

    def __init__(self):
        number = next(NUMBERS)
        self.near, self.far = Namespace(f"near{number}"), Namespace(f"far{number}")
        self.programs, self.relay = [], None
        veth(self.near, WIRE, self.far, WIRE, 1500)
        for host, address in (self.near, NEAR), (self.far, FAR):
            host.ip(f"addr add {address}/24 dev {WIRE}", f"route add default dev {WIRE}")

    def start_relay(self):
        self.relay = self.own(Relay(types.SimpleNamespace(name=self.far.name, ns=self.far)))
        self.relay_url = f"http://{FAR}:{self.relay.port}/"

    def own(self, program):
        self.programs.append(program)
        return program

    def node(self, host, *args):
        return self.own(Node(host, *args, "--json"))

    def ready(self, host, *args):
        """One that accepts. With a relay: one that can be reached there."""
        node = self.node(host, *args, *self.home())
        node.become_ready()
        return node

    def home(self):
        return ("--relay", self.relay_url) if self.relay else NO_RELAY

    def perf_pair(self, *args):
        """A perf server far away and a client near by, which knows the server's address, or where
        there is a relay nothing but its id and that relay."""
        server = self.ready(self.far, "perf", "server")
        ticket = relay_ticket(server.id, self.relay_url) if self.relay else server.ready["ticket"]
        client = self.node(self.near, "perf", "client", ticket, *self.home(), *args)
        return server, client

    def close(self):
        for program in reversed(self.programs):
            program.end()
        self.near.close()
        self.far.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def relay_ticket(node_id, url):
    done = subprocess.run([os.path.join(cmd.BIN_DIR, "km-node"), "ticket", node_id, "--relay", url,
                           "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["ticket"]
