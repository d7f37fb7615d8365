"""What is true of a site, in the terms of RFC 4787, and what two sites can hope for."""
from dataclasses import dataclass
from typing import Optional

# From kind to unkind. "none": no translation; no filter. "kept": endpoint-independent until a packet
# from outside has taken the port towards where it came from.
MAPPINGS = "none", "EIM", "kept", "ADM", "APDM"
FILTERS = "none", "EIF", "ADF", "APDF"


@dataclass(frozen=True)
class Translation:
    """What one address family meets between the host and the internet."""
    mapping: str = "none"
    filtering: str = "none"
    hairpin: bool = False

    def behind(self, outer):
        """This one behind another: the unkinder of each. Hairpin is that of the outer one, whose
        address it is that the internet sees."""
        worse = [max(pair, key=order.index) for pair, order in (
            ((self.mapping, outer.mapping), MAPPINGS),
            ((self.filtering, outer.filtering), FILTERS))]
        return Translation(*worse, outer.hairpin)


@dataclass(frozen=True)
class Traits:
    """None for a family that does not reach the internet."""
    v4: Optional[Translation] = None
    v6: Optional[Translation] = None
    udp: bool = True
    tcp_ports: Optional[tuple] = None  # None: all
    nat64: bool = False  # v4 is reached through it


def can_punch(a, b):
    """"direct": a packet of each side gets through once both sent to what STUN saw of the other.
    "counted": it takes luck to hit the port that a symmetric NAT chose."""
    if a is None or b is None:
        return "relay"
    moving = [one.mapping in ("kept", "ADM", "APDM") for one in (a, b)]
    if all(moving):
        return "counted" if "kept" in (a.mapping, b.mapping) else "relay"
    if any(moving):
        # What the moving side sends comes from a port that the other one has never sent to.
        still = b if moving[0] else a
        return "counted" if still.filtering == "APDF" else "direct"
    return "direct"


def expected(a, b):
    """The path that two sites should get: "direct", "relay", or "counted" where luck decides."""
    if not a.udp or not b.udp:
        return "relay"
    found = {can_punch(a.v6, b.v6), can_punch(a.v4, b.v4)}
    return next(word for word in ("direct", "counted", "relay") if word in found)
