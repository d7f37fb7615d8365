"""Routers that translate and filter, each a set of nftables rules. The table is `ip router`; the
inside interface is `lan`, the outside one `wan`, unless said otherwise.

Kernel NAT decides anew for each flow, which is a symmetric NAT. A mapping that does not depend on
the destination takes a map of live mappings: the first packet of an inside address and port gets a
random port from the kernel, a chain after the translation writes it down, and later flows ask the
map. Each packet renews it, in either direction."""
from dataclasses import dataclass
from typing import Optional

from .expirer import Expirer
from .traits import Translation

IDLE_SECONDS = 300  # RFC 4787, REQ-5: no less than 120


@dataclass(frozen=True)
class Behaviour:
    mapping: str  # "EIM"; "APDM": random ports; "kept": the kernel's default, which keeps the port
    filtering: str  # "EIF", "ADF", "APDF"
    hairpin: bool = False
    outgoing: Optional[str] = None  # which packets may leave, in nftables words; None: all
    guarded: bool = True  # False: the router itself answers, and remembers, what comes unasked

    @property
    def translation(self):
        # The port is kept unless a flow has it already: one of another host, and a site has one
        # host, or one that a packet from outside began.
        mapping = "EIM" if self.mapping == "kept" and self.guarded else self.mapping
        return Translation(mapping, self.filtering, self.hairpin)


MAPS = """
  map out {{ type ipv4_addr . inet_service : ipv4_addr . inet_service
    flags dynamic,timeout; timeout {idle}s; size 65535; }}
  map in {{ type inet_service : ipv4_addr . inet_service
    flags dynamic,timeout; timeout {idle}s; size 65535; }}
  set peers {{ type inet_service . ipv4_addr
    flags dynamic,timeout; timeout {idle}s; size 65535; }}
"""

# What is being forgotten translates nothing any more, or the chain would write it down again.
# After the translation: `udp sport` is the outside port of what leaves, and `ip daddr . udp dport`
# the inside address of what enters. Which of conntrack's two tuples has the rest depends on who
# began the flow.
LEARN = """
  set dying {{ type ipv4_addr . inet_service; }}
  set dying_ports {{ type inet_service; }}
  chain bury {{ type filter hook prerouting priority raw;
    iifname {lan} ip saddr . udp sport @dying drop
    iifname {wan} udp dport @dying_ports drop
  }}
  chain learn {{ type filter hook postrouting priority srcnat + 10;
    iifname {lan} ct direction original goto leaves
    iifname {lan} ct direction reply goto answers
    iifname {wan} ct direction original goto enters
    iifname {wan} ct direction reply goto returns
  }}
  chain leaves {{
    meta l4proto udp update @out {{ ct original ip saddr . ct original proto-src \\
      : ip saddr . udp sport }}
    meta l4proto udp update @in {{ udp sport : ct original ip saddr . ct original proto-src }}
    meta l4proto udp update @peers {{ udp sport . ip daddr }}
  }}
  chain answers {{
    meta l4proto udp update @out {{ ct reply ip saddr . ct reply proto-src \\
      : ip saddr . udp sport }}
    meta l4proto udp update @in {{ udp sport : ct reply ip saddr . ct reply proto-src }}
    meta l4proto udp update @peers {{ udp sport . ip daddr }}
  }}
  chain enters {{
    meta l4proto udp update @out {{ ip daddr . udp dport \\
      : ct original ip daddr . ct original proto-dst }}
    meta l4proto udp update @in {{ ct original proto-dst : ip daddr . udp dport }}
  }}
  chain returns {{
    meta l4proto udp update @out {{ ip daddr . udp dport \\
      : ct reply ip daddr . ct reply proto-dst }}
    meta l4proto udp update @in {{ ct reply proto-dst : ip daddr . udp dport }}
  }}
"""


def source_rules(behaviour, where, public):
    """How what matches `where` gets its outside address and port."""
    if behaviour.mapping == "kept":
        return [f"{where} masquerade"]
    chosen = f"{where} meta l4proto udp snat to {public}:1024-65535 fully-random"
    if behaviour.mapping == "APDM":
        return [chosen]
    return [f"{where} snat ip to ip saddr . udp sport map @out", chosen]


def translate(behaviour, lan, wan, public):
    """The chains of type nat."""
    before, after = [], source_rules(behaviour, f"oifname {wan}", public)
    if behaviour.mapping == "EIM" and behaviour.filtering != "APDF":
        before.append(f"iifname {wan} ip daddr {public} dnat ip to udp dport map @in")
    if behaviour.hairpin:
        before.append(f"iifname {lan} ip daddr {public} dnat ip to udp dport map @in")
        after += source_rules(behaviour, f"iifname {lan} oifname {lan} ct status dnat", public)
    after.append(f"oifname {wan} snat to {public}")
    return ("  chain before { type nat hook prerouting priority dstnat;\n    "
            + "\n    ".join(before) + "\n  }\n"
            "  chain after { type nat hook postrouting priority srcnat;\n    "
            + "\n    ".join(after) + "\n  }\n")


# What comes unasked is dropped without an answer, and without a connection tracking entry, which
# would take its port from a later flow of ours.
FILTER = """
  chain input {{ type filter hook input priority filter; policy {policy};
    iifname lo accept
    ct state established,related accept
    meta l4proto icmp accept
    iifname {lan} ip daddr != {public} accept
  }}
  chain forward {{ type filter hook forward priority filter; policy drop;
    ct state invalid drop
    iifname {lan} oifname {wan} ct direction original goto outgoing
    ct state established,related accept
    iifname {lan} oifname {lan} ct status dnat accept
    iifname {wan} {incoming} accept
  }}
  chain outgoing {{ {outgoing} accept
    drop
  }}
"""
INCOMING = {
  "EIF": "ct status dnat",
  "ADF": "meta l4proto udp ct original proto-dst . ip saddr @peers",
  # Only ports that somebody forwards by rules of his own, as miniupnpd does.
  "APDF": "ct status dnat",
}


def admit(behaviour, lan, wan, public):
    """The chains of type filter."""
    return FILTER.format(lan=lan, wan=wan, public=public, outgoing=behaviour.outgoing or "",
                         policy="drop" if behaviour.guarded else "accept",
                         incoming=INCOMING[behaviour.filtering])


def ruleset(behaviour, lan, wan, public, idle):
    maps = behaviour.mapping == "EIM"
    return ("table ip router {\n" + (MAPS.format(idle=idle) if maps else "")
            + translate(behaviour, lan, wan, public) + admit(behaviour, lan, wan, public)
            + (LEARN.format(lan=lan, wan=wan) if maps else "") + "}\n")


class Nat:
    """A NAT that works. `idle`: seconds without a packet after which a mapping is gone; `fixed`:
    seconds after which it is gone whatever happens, as some carriers have it."""

    def __init__(self, ns, behaviour, public, lan="lan", wan="wan", idle=None, fixed=None):
        self.ns, self.behaviour, self.public = ns, behaviour, public
        ns.router()
        ns.nft(ruleset(behaviour, lan, wan, public, idle or IDLE_SECONDS))
        for name in "nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream":
            ns.sysctl(f"net.netfilter.{name}", idle or IDLE_SECONDS)
        self.expirer = Expirer(self, fixed) if fixed else None

    @property
    def has_maps(self):
        return self.behaviour.mapping == "EIM"

    def flows(self):
        """Its UDP flows, a line each as conntrack(8) has them."""
        with self.ns.inside(), open("/proc/thread-self/net/nf_conntrack",
                                    encoding="ascii") as file:
            return [line for line in file if " udp " in line]

    def flush(self):
        """Forgets every mapping, as a restarted router does."""
        if self.has_maps:
            self.ns.nft("flush map ip router out\nflush map ip router in\n"
                        "flush set ip router peers\n")
        self.ns.forget_connections()

    def close(self):
        if self.expirer:
            self.expirer.close()


# RFC 6092: what comes unasked stays out, what is asked for comes in. Nothing is translated.
FIREWALL6 = """table ip6 router {{
  chain input {{ type filter hook input priority filter; policy drop;
    iifname lo accept
    ct state established,related accept
    meta l4proto ipv6-icmp accept
    iifname {lan} accept
  }}
  chain forward {{ type filter hook forward priority filter; policy drop;
    ct state established,related accept
    meta l4proto ipv6-icmp accept
    iifname {lan} accept
  }}
}}
"""


def firewall6(ns, lan="lan"):
    ns.router()
    ns.nft(FIREWALL6.format(lan=lan))
    return Translation("none", "APDF")
