"""Kinds of places where a host can be, and how each is built."""
from dataclasses import dataclass, replace
from typing import Optional, Tuple

from .nat import Behaviour, Nat, firewall6
from .nat64 import PREFIX, Nat64
from .traits import Traits, Translation

HOME, CARRIER, CONTAINERS = "192.168.1", "100.64.0", "172.17.0"

PORT_RESTRICTED = Behaviour("EIM", "APDF")


@dataclass(frozen=True)
class Layer:
    """A translating router and the /24 inside it."""
    behaviour: Behaviour
    net: str = HOME


@dataclass(frozen=True)
class Kind:
    name: str
    alias: str
    says: str
    layers: Tuple[Layer, ...] = ()  # from the outside in; none: the host is on the internet
    v6: bool = False
    nat64: bool = False
    mtu: int = 1500
    tcp_ports: Optional[tuple] = None
    udp: bool = True

    @property
    def traits(self):
        v4 = Translation() if not self.v6 else None
        for layer in self.layers:
            inner = layer.behaviour.translation
            v4 = inner if v4 is None else inner.behind(v4)
        # A host on the internet has both families; a home with IPv6 has a firewall and no NAT.
        both = not self.layers and not self.v6
        v6 = Translation() if both else Translation("none", "APDF") if self.v6 else None
        return Traits(v4, None if self.nat64 else v6, self.udp, self.tcp_ports, self.nat64)


def home(name, alias, says, behaviour, **more):
    return Kind(name, alias, says, (Layer(behaviour),), **more)


KINDS = {kind.name: kind for kind in (
    Kind("none", "none", "a host on the internet, both families, no filter"),
    home("full_cone", "FC", "EIM, EIF", Behaviour("EIM", "EIF")),
    home("address_restricted", "AR", "EIM, ADF", Behaviour("EIM", "ADF")),
    home("port_restricted", "PR", "EIM, APDF", PORT_RESTRICTED),
    home("symmetric", "SYM", "APDM with random ports, APDF", Behaviour("APDM", "APDF")),
    home("linux", "LNX", "masquerade as Linux has it: the port is kept where it is free",
         Behaviour("kept", "APDF")),
    home("linux_open", "LNXO", "the same without a firewall before the router itself: what comes"
         " unasked takes the port", Behaviour("kept", "APDF", guarded=False)),
    home("hairpin", "HP", "port_restricted that turns packets to its own address round",
         Behaviour("EIM", "APDF", hairpin=True)),
    Kind("cgnat", "CGN", "a port_restricted home behind an address_restricted carrier",
         (Layer(Behaviour("EIM", "ADF"), CARRIER), Layer(PORT_RESTRICTED))),
    Kind("container", "CT", "a masquerading bridge behind a port_restricted home",
         (Layer(PORT_RESTRICTED), Layer(Behaviour("kept", "APDF"), CONTAINERS))),
    home("mtu1280", "M1280", "port_restricted on a link with an MTU of 1280", PORT_RESTRICTED,
         mtu=1280),
    home("dual_stack", "DS", "port_restricted IPv4, and IPv6 behind a stateful firewall",
         PORT_RESTRICTED, v6=True),
    Kind("ipv6_only", "V6", "IPv6 behind a stateful firewall, no IPv4", v6=True),
    home("nat64", "N64", "IPv6 only, and all of IPv4 through NAT64 (EIM, APDF)", PORT_RESTRICTED,
         v6=True, nat64=True),
    home("no_udp", "NOUDP", "a firewall that drops all UDP",
         replace(PORT_RESTRICTED, outgoing="meta l4proto != udp"), udp=False),
    home("tcp443", "TCP443", "a firewall that lets out TCP to port 443 and nothing else",
         replace(PORT_RESTRICTED, outgoing="tcp dport 443"), udp=False, tcp_ports=(443,)),
)}


def kind_of(word):
    """By name or alias."""
    if isinstance(word, Kind):
        return word
    for kind in KINDS.values():
        if word.lower() in (kind.name, kind.alias.lower()):
            return kind
    raise ValueError(f"{word!r} is no kind of site: {' '.join(KINDS)}")


class Lan:
    """A bridge in a router, and the hosts on it."""

    def __init__(self, lab, router, net4, net6):
        self.lab, self.router, self.net4, self.net6 = lab, router, net4, net6
        self.count = 0
        lines = ["link add lan type bridge", "link set lan up"]
        if net4:
            lines.append(f"addr add {net4}.1/24 dev lan")
        if net6:
            lines.append(f"addr add {net6}::1/64 dev lan")
        router.ip(*lines)

    def plug(self, ns, ifname, metric=100):
        """Gives a host or an inner router an interface; its addresses."""
        self.count += 1
        number, port = 9 + self.count, f"lan{self.count}"
        self.lab.wire(ns, ifname, self.router, port, 1500)
        self.router.ip(f"link set {port} master lan")
        self.router.await_interface("lan")
        v4 = f"{self.net4}.{number}" if self.net4 else None
        v6 = f"{self.net6}::{number}" if self.net6 else None
        lines = []
        if v4:
            lines += [f"addr add {v4}/24 dev {ifname}",
                      f"route add default via {self.net4}.1 dev {ifname} metric {metric}"]
        if v6:
            lines += [f"addr add {v6}/64 dev {ifname}",
                      f"route add default via {self.net6}::1 dev {ifname} metric {metric}"]
        ns.ip(*lines)
        return v4, v6


class Site:
    def __init__(self, lab, kind, name, lan=1, mtu=None, hairpin=None, v4_net=None, idle=None,
                 fixed=None, wire=None, carrier=None):
        self.lab, self.kind, self.name, self.traits = lab, kind, name, kind.traits
        self.routers, self.nats, self.hosts = [], [], []
        self.public_v4 = self.public_v6 = self.prefix = None
        self.lan = self.nat64 = self.uplink = None
        self.mtu, self.uplink_wire, self.carrier = mtu or kind.mtu, wire, carrier
        self.lifetime = {"idle": idle, "fixed": fixed}
        layers = list(kind.layers)
        if layers and hairpin is not None:
            layers[0] = replace(layers[0], behaviour=replace(layers[0].behaviour, hairpin=hairpin))
            self.traits = replace(kind, layers=tuple(layers)).traits
        if carrier:
            self.traits = Traits(self.traits.v4.behind(carrier.traits.v4), None,
                                 self.traits.udp and carrier.traits.udp, self.traits.tcp_ports)
        if layers and v4_net:
            layers[-1] = replace(layers[-1], net=v4_net)
        self._build(layers)
        for _ in range(lan if self.lan else 1):
            self.add_host()

    @property
    def host(self):
        return self.hosts[0]

    def _build(self, layers):
        if not layers and not self.kind.v6:
            return
        if not layers:
            self._outermost(v4=False)
            self.lan = Lan(self.lab, self.routers[0], None, self.prefix)
            firewall6(self.routers[0])
            return
        for number, layer in enumerate(layers):
            public = self._outermost(v4=True) if number == 0 else self._inner(number)
            router = self.routers[0]
            if self.kind.nat64:
                self.lan = Lan(self.lab, router, None, "fd64:0:0:1")
                self.nat64 = Nat64(router)
                inside = self.nat64.ifname
            else:
                self.lan = Lan(self.lab, router, layer.net, self.prefix)
                inside = "lan"
            if self.prefix or self.nat64:
                firewall6(router)
            self.nats.insert(0, Nat(router, layer.behaviour, public, lan=inside, **self.lifetime))

    def _outermost(self, v4):
        router = self.lab.namespace(f"{self.name}.r0")
        self.routers.append(router)
        if self.carrier:
            self.public_v4 = self.carrier.public_v4
            return self.carrier.lan.plug(router, "wan")[0]
        v6 = self.kind.v6 and not self.kind.nat64
        self.uplink = self.lab.plug(router, "wan", v4, v6, self.mtu, self.uplink_wire)
        self.prefix, self.public_v4 = self.uplink.prefix, self.uplink.v4
        return self.public_v4

    def _inner(self, number):
        router = self.lab.namespace(f"{self.name}.r{number}")
        self.routers.insert(0, router)
        return self.lan.plug(router, "wan")[0]

    def add_host(self):
        host = self.lab.namespace(f"{self.name}.h{len(self.hosts) + 1}")
        self.hosts.append(host)
        if self.lan:
            host.v4, host.v6 = self.lan.plug(host, "eth0")
            if self.prefix:
                self.public_v6 = self.public_v6 or host.v6
        else:
            self.uplink = self.lab.plug(host, "eth0", True, True, self.mtu, self.uplink_wire)
            host.v4, host.v6 = self.public_v4, self.public_v6 = self.uplink.v4, self.uplink.v6
        for server in self.lab.servers:
            self._tell(host, server)
        if self.nat64:  # RFC 7050: how a host learns the prefix
            host.resolve("ipv4only.arpa", PREFIX + "192.0.0.170", PREFIX + "192.0.0.171")
        return host

    def tell(self, server):
        for host in self.hosts:
            self._tell(host, server)

    def _tell(self, host, server):
        """What a resolver here answers for a server's name."""
        if self.nat64:
            addresses = [PREFIX + server.v4]
        else:
            addresses = ([server.v4] if self.traits.v4 else []) + (
                [server.v6] if self.traits.v6 else [])
        host.resolve(f"{server.name}.test", *addresses)

    def join(self, ns, ifname, metric=100):
        """A host that is elsewhere as well; its addresses here."""
        return self.lan.plug(ns, ifname, metric)

    def part(self, ns, ifname):
        ns.ip(f"link delete {ifname}")

    def flush(self):
        for nat in self.nats:
            nat.flush()

    def close(self):
        for nat in self.nats:
            nat.close()
        if self.nat64:
            self.nat64.close()
