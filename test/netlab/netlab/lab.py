"""The internet in the middle, and what is plugged into it."""
import contextlib
import itertools
import json

from .namespace import Namespace
from .nodes import DnsServer, Node, Relay
from .segment import Segment
from .sites import Site, kind_of

# No NAT knows these as its inside: private space, and the space between a carrier and its homes.
UNROUTED = "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"

# Counts what goes from one site to another without a server in between.
WATCH = """table inet watch {
  set passed { type ifname . ifname; flags dynamic; size 65535; counter; }
  chain forward { type filter hook forward priority 0;
    iifname "site*" oifname "site*" update @passed { iifname . oifname }
  }
}
"""


def veth(ns_a, if_a, ns_b, if_b, mtu):
    """A cable. Both ends are up and running."""
    ns_a.ip(f"link add {if_a} mtu {mtu} type veth peer name {if_b} mtu {mtu} netns {ns_b.name}",
            f"link set {if_a} up")
    ns_b.ip(f"link set {if_b} up")
    ns_a.await_interface(if_a)
    ns_b.await_interface(if_b)


def default_routes(ifname, gateways, metric):
    """Lines for ip; `gateways` are addresses of either family."""
    return [f"route add default via {gateway} dev {ifname} metric {metric}"
            for gateway in gateways if gateway]


class Server:
    """A host on the internet, with an address of each family that every site can reach."""

    def __init__(self, lab, name, number):
        self.name, self.ns = name, lab.namespace(name)
        self.v4, self.v6 = f"44.128.{240 + number}.10", f"2001:db8:f{number:03}::10"
        lab.wire(self.ns, "eth0", lab.internet, f"server{number}", 1500)
        gateways = f"44.128.{240 + number}.1", f"2001:db8:f{number:03}::1"
        lab.internet.ip(f"addr add {gateways[0]}/24 dev server{number}",
                        f"addr add {gateways[1]}/64 dev server{number}")
        self.ns.ip(f"addr add {self.v4}/24 dev eth0", f"addr add {self.v6}/64 dev eth0",
                   *default_routes("eth0", gateways, 100))


class Uplink:
    """A cable to the internet. `v4`, `v6`: the addresses at the inner end, None for a family that
    it does not carry; `prefix`: what LANs behind it may use, with "::" and a number behind it."""

    def __init__(self, lab, number, ns, ifname, v4, v6, mtu, wire, metric):
        self.lab, self.ns, self.ifname, self.port = lab, ns, ifname, f"site{number}"
        net4, net6 = f"44.128.{number}", f"2001:db8:{number:x}:"
        self.v4, self.v6 = f"{net4}.2" if v4 else None, f"{net6}:2" if v6 else None
        self.prefix = f"{net6}100" if v6 else None
        wire(ns, ifname, lab.internet, self.port, mtu)
        inner, outer, self.routes = [], [], []
        if v4:
            inner.append(f"addr add {net4}.2/24 dev {ifname}")
            outer.append(f"addr add {net4}.1/24 dev {self.port}")
        if v6:
            inner.append(f"addr add {net6}:2/64 dev {ifname}")
            outer.append(f"addr add {net6}:1/64 dev {self.port}")
            self.routes.append(f"route add {net6}100::/56 via {net6}:2 dev {self.port}")
        lab.internet.ip(*outer, *self.routes)
        ns.ip(*inner, *default_routes(ifname, (v4 and f"{net4}.1", v6 and f"{net6}:1"), metric))

    def down(self):
        """Pulls it out at the far end. Inside nothing is lost but the carrier."""
        self.lab.internet.ip(f"link set {self.port} down")

    def up(self):
        self.lab.internet.ip(f"link set {self.port} up", *self.routes)
        self.lab.internet.await_interface(self.port)
        self.ns.await_interface(self.ifname)


class Lab:
    def __init__(self, servers=("relay1", "relay2"), wire=veth):
        self.wire = wire
        self.numbers, self.segments = itertools.count(1), 0
        self.things = contextlib.ExitStack()
        self.namespaces, self.sites, self.servers, self.programs = {}, [], [], set()
        self.internet = self.namespace("internet")
        self.internet.router()
        self.internet.ip(*(f"route add unreachable {net}" for net in UNROUTED))
        self.internet.nft(WATCH)
        for name in servers:
            self.server(name)

    def namespace(self, name):
        assert name not in self.namespaces, f"two namespaces of the name {name}"
        self.namespaces[name] = Namespace(name)
        self.things.callback(self.namespaces[name].close)
        return self.namespaces[name]

    def server(self, name):
        server = Server(self, name, len(self.servers))
        self.servers.append(server)
        for site in self.sites:
            site.tell(server)
        for other in self.servers:
            other.ns.resolve(f"{name}.test", server.v4, server.v6)
            server.ns.resolve(f"{other.name}.test", other.v4, other.v6)
        return server

    def plug(self, ns, ifname, v4, v6, mtu=1500, wire=None, metric=100):
        """Connects a router or host to the internet by a cable and a subnet of its own."""
        return Uplink(self, next(self.numbers), ns, ifname, v4, v6, mtu, wire or self.wire, metric)

    def site(self, kind, name=None, **options):
        kind = kind_of(kind)
        site = Site(self, kind, name or f"{kind.name}{len(self.sites) + 1}", **options)
        self.sites.append(site)
        self.things.callback(site.close)
        return site

    def segment(self, **families):
        """A network without a router; Segment's options."""
        self.segments += 1
        return Segment(self, self.segments, **families)

    def home(self, carrier, kind, name=None, **options):
        """A site whose uplink is a port of another one's LAN: a subscriber of that carrier. It has
        IPv4 only, and its public address is the carrier's."""
        return self.site(kind, name, carrier=carrier, **options)

    def passed(self, a, b):
        """How many packets the internet has passed on from site a to b, and from b to a."""
        found = {}
        for item in json.loads(self.internet.tool("nft", "-j", "list", "set", "inet", "watch",
                                                  "passed"))["nftables"]:
            for entry in item.get("set", {}).get("elem", []):
                entry = entry["elem"]
                found[tuple(entry["val"]["concat"])] = entry["counter"]["packets"]
        ports = a.uplink.port, b.uplink.port
        return found.get(ports, 0), found.get(ports[::-1], 0)

    def own(self, program):
        """Ends with the lab, if not before."""
        self.programs.add(program)
        return program

    def release(self, program):
        """Ends it now."""
        self.programs.discard(program)
        program.end()

    def relay(self, server, **options):
        return self.own(Relay(server, **options))

    def dns_server(self, server, **options):
        return self.own(DnsServer(server, **options))

    def node(self, host, *args, **options):
        return self.own(Node(host, *args, **options))

    def start_node1(self, host, *args, relays=()):
        """A node that accepts, and is ready: .id, .ready (the event)."""
        node = self.node(host, "node1", *urls(relays), "--json", *args)
        try:
            node.become_ready()
        except BaseException:
            self.release(node)
            raise
        return node

    def start_node2(self, host, peer, *args, relays=()):
        """A node that dials `peer` with nothing but its id and relays."""
        return self.node(host, "node2", peer.id, *urls(relays), "--json", *args)

    def close(self):
        for program in list(self.programs):
            self.release(program)
        self.things.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def urls(relays):
    return [word for relay in relays for word in ("--relay", relay.url)]
