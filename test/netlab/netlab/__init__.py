"""A laboratory of NATs: hosts, routers and an "internet" in Linux network namespaces.

    from netlab import Lab, enter
    enter()                                   # first thing in a program; skips with 77 if it cannot
    lab = Lab()                               # an internet with two servers, relay1 and relay2
    a = lab.site("port_restricted")           # a home: a.host behind a.routers[0]
    b = lab.site("symmetric")
    relay = lab.relay(lab.servers[0])         # km-relay; relay.url works at every site
    lab.start_node1(a.host, relays=[relay])   # km-node, driven as in test/cmd/lab.py
    lab.close()                               # ends what was started; also a context manager

enter() (sandbox.py) moves the process into a network, mount and process namespace of its own. All
that a lab makes lives there and ends with it, however it ends; no name outlives it, nothing has to
be swept, and any number of labs run side by side. Call it before a thread is started.

Namespace (namespace.py), a host or a router:
    .name, .interfaces                        its name, for `ip -n NAME`
    .run(*words)                              runs a command there to its end; its output
    .command(*words)                          the same as a list of words for subprocess.Popen
    .ip(*lines)                               lines for `ip -batch`
    .nft(text)                                loads nftables rules
    .sysctl(name, value)
    .await_interface(ifname)                  until packets go through it
    .socket(family, type), .inside()          a socket of this process there; any code there
    .resolve(name, *addresses)                an entry of its /etc/hosts
    .block(*rules) -> Block                   drops what matches (nftables words), whatever way it
                                              goes; .lift() ends that. Twice is fine.
    .capture(path)                            tcpdump on all interfaces, if it is there

Lab (lab.py):
    .internet                                 the router in the middle
    .servers                                  two Servers: .ns, .name, .v4, .v6
    .server(name)                             one more
    .site(kind, **options) -> Site            builds one of KINDS (sites.py); also
                                              lan=N hosts; mtu; hairpin; v4_net ("192.168.7");
                                              idle, fixed: seconds that mappings last (nat.py)
    .segment(v4=True, v6=True) -> Segment     a switch and no router: .add_host(), .plug(ns, if)
    .namespace(name)                          a bare one
    .wire(ns_a, if_a, ns_b, if_b, mtu)        what links are made by: veth. Put another function
                                              there (Lab(wire=f)), or hand one to site(wire=f) for
                                              its uplink, to have an emulated link: it must leave
                                              interfaces of these names, up, with that MTU
    .relay(server, ...) -> Relay              a km-relay on plain HTTP, TCP 443, and STUN, UDP 3478
    .dns_server(server, ...) -> DnsServer     a km-dns: .pkarr (url), .dns (address), .origin
    .node(host, *args) -> Node                km-node with these arguments, .start_node1(...),
    .start_node2(...)                         and the two usual ones (nodes.py)
    .release(node or relay)                   ends it before the lab does
    .passed(a, b)                             packets from site a to site b and back, so far
    .home(carrier, kind)                      a site behind another one, as a carrier's subscriber

Site (sites.py):
    .kind, .name, .traits                     traits.py: what is true of it in RFC 4787's terms
    .host, .hosts                             the host, or all on its LAN
    .routers                                  from the inside out; [] for a host on the internet
    .public_v4, .public_v6                    the addresses that the internet sees; None without
    .add_host()                               one more on the same LAN
    .join(ns, ifname, metric)                 a host of another site joins this LAN too
    .part(ns, ifname)                         and leaves it
    .flush()                                  every mapping of its NATs is forgotten, now
    .uplink                                   the cable to the internet: .down(), .up(), .port (its
                                              name at lab.internet), .ns and .ifname (inside)

expected(a, b) (traits.py) says "direct", "relay" or "counted" for two Traits.
MeshNode (mesh_nodes.py): a project of `km-node init` and its daemon at a host.
StunServer, StunClient (stun.py): RFC 8489 with RFC 5780's tests of mapping and filtering.
until(seconds, what, condition) (clock.py): waits for an event with a deadline.
"""
from .clock import Late, until
from .lab import Lab, Server
from .namespace import Block, Namespace
from .nodes import DnsServer, Node, Relay
from .sandbox import SKIP, enter
from .segment import Segment
from .sites import KINDS, Site, kind_of
from .stun import StunClient, StunServer
from .traits import Traits, expected

__all__ = ["Block", "DnsServer", "KINDS", "Lab", "Late", "Namespace", "Node", "Relay", "SKIP",
           "Segment", "Server", "Site", "StunClient", "StunServer", "Traits", "enter", "expected",
           "kind_of", "until"]
