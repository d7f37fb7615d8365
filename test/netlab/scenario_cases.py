"""What users live through in the middle of a transfer, one function each. A Stage has two homes on
long-distance links and a connection between a host of each; `mover` is the side to which it
happens, `sender` the side that sends: each "dial" or "accept"."""
import json
import time
from dataclasses import dataclass, field

from netlab import Lab
from link_wire import Wire
from scenario_peers import CONNECT_SECONDS, Pair

# A round trip of 40 ms between the homes, whichever way: each uplink has 10 ms in each direction.
LINE = {"delay": 10, "rate": 100, "buffer": 500000}
DIRECT_SECONDS = 30  # for a direct path to be there
PAUSE_BOUND = 30  # a pause that is longer is a failure on any machine
# Each exchange takes 10 s: TCP, WebSocket, the relay's handshake, QUIC's, some of them twice.
SATELLITE_SECONDS = 150
CASES = {}


@dataclass
class Case:
    name: str
    says: str
    aim: str  # of the pause
    play: object
    roles: tuple
    beside: bool = False  # it waits more than it works: may run beside others
    kind: str = ""  # of the homes, whatever was asked for
    relays: int = 1  # with two, and STUN at each, a host can tell what its NAT is
    home: dict = field(default_factory=dict)  # options of the mover's site
    known: str = ""  # why it may fail; it is played and told all the same

    @property
    def limit(self):
        """Seconds; None when the aim is not a number of them."""
        return float(self.aim.split()[1]) if self.aim.startswith("<") else None


EITHER = (("dial", "accept"), ("accept", "dial"), ("dial", "dial"), ("accept", "accept"))
SENDERS = (("dial", "dial"), ("accept", "accept"))  # where nobody moves


def case(says, aim, roles=EITHER, **more):
    def add(play):
        name = play.__name__
        CASES[name] = Case(name, says, aim, play, roles, **more)
        return play
    return add


class Missing(AssertionError):
    """The transfer lived, but what should have happened did not."""


class Stage:
    def __init__(self, lab: Lab, kind, size, mover, sender, ticket=False, seconds=6,
                 home=None):
        self.lab, self.kind, self.size, self.mover, self.sender = lab, kind, size, mover, sender
        self.ticket = ticket  # the dialling side knows addresses of the other, not only its relay
        self.rung_seconds = seconds
        self.relays = [lab.relay(server) for server in lab.servers]
        self.lines = {side: Wire(lab, seed, **LINE) for seed, side in enumerate(("dial", "accept"))}
        self.sites = {side: lab.site(kind, name=side, wire=wire,
                                     **(home or {} if side == mover else {}))
                      for side, wire in self.lines.items()}
        self.hosts = {side: site.host for side, site in self.sites.items()}
        self.pair = self.at = None
        self.notes = {}

    @property
    def moving(self):
        return self.sites[self.mover]

    def connect(self, relays=True, seconds=CONNECT_SECONDS):
        self.pair = Pair(self.lab, self.hosts["accept"], self.hosts["dial"],
                         self.relays if relays else [], self.size, self.sender,
                         self.ticket or not relays, seconds=seconds)

    def go_direct(self):
        begin = time.monotonic()
        self.pair.wait_path(DIRECT_SECONDS, "direct")
        self.notes["direct_after"] = time.monotonic() - begin

    def start(self):
        """A direct path, and a quarter of the transfer done."""
        self.connect()
        self.go_direct()
        self.pair.go()
        self.pair.wait_share(0.25)
        self.notes["before"] = self.pair.receiver.path

    def now(self):
        """It happened."""
        self.at = time.monotonic()
        if self.pair.receiver.last("received"):
            raise Missing("all came before it happened: try more bytes")

    def second_uplinks(self, *sides):
        """The hosts of these are in another home as well, which they use when the first is gone."""
        for number, side in enumerate(sides):
            wire = Wire(self.lab, 10 + number, **LINE)
            host = self.hosts[side]
            if self.sites[side].lan is None:
                self.lab.plug(host, "eth1", True, True, wire=wire, metric=200)
                continue
            other = self.lab.site(self.kind, name=f"{side}2", wire=wire, lan=0,
                                  v4_net="192.168.2")
            other.join(host, "eth1", metric=200)

    def mapped_ports(self):
        """The outside ports that the mover's NATs gave out."""
        found = set()
        for router in self.moving.routers:
            listing = json.loads(router.run("nft", "-j", "list", "map", "ip", "router", "in"))
            for thing in listing["nftables"]:
                for key, _value in thing.get("map", {}).get("elem", ()):
                    found.add(key["elem"]["val"] if isinstance(key, dict) else key)
        return found

    def block_direct(self):
        """No UDP between the two homes, somewhere in the middle of the internet."""
        a, b = (self.sites[side] for side in ("dial", "accept"))
        rules = []
        for family, x, y in (("ip", a.public_v4, b.public_v4), ("ip6", a.public_v6, b.public_v6)):
            if x and y:
                rules += [f"{family} saddr {x} {family} daddr {y} meta l4proto udp",
                          f"{family} saddr {y} {family} daddr {x} meta l4proto udp"]
        return self.lab.internet.block(*rules)

    def finish(self, path=None, seconds=30, limit=300):
        """Waits for the transfer, then for the path that both sides should end on."""
        received, sent = self.pair.wait_done(limit)
        self.notes["transfer_seconds"] = received["seconds"]
        if (received["hash"], received["bytes"]) != (sent["hash"], self.size):
            raise AssertionError(f"other bytes came than went: {received} {sent}")
        if path:
            self.pair.wait_path(seconds, path)


@case("relay to direct upgrade", "none visible", SENDERS)
def upgrade(stage):
    # Kept apart until a part came through the relay, and no longer than they go on punching.
    wall = stage.block_direct()
    stage.connect()
    stage.pair.go()
    connected = time.monotonic()
    stage.pair.wait(60, "some came", lambda: stage.pair.bytes >= 0.1 * stage.size or (
        stage.pair.bytes > 0 and time.monotonic() > connected + 1))
    stage.notes["before"] = stage.pair.receiver.path
    wall.lift()
    lifted = time.monotonic()
    stage.pair.wait(60, "both sides use a direct path",
                    lambda: all(peer.path == "direct" for peer in stage.pair.peers)
                    or stage.pair.receiver.last("received"))
    direct = [event["time"] for peer in stage.pair.peers for event in peer.paths
              if event["kind"] == "direct"]
    if not direct:
        raise Missing("all came before a direct path was there: try more bytes")
    stage.at = min(direct)
    stage.notes["direct_after"] = stage.at - lifted
    stage.finish("direct")


@case("direct path cut by a firewall", "< 1 s", SENDERS)
def firewall(stage):
    stage.start()
    wall = stage.block_direct()
    stage.now()
    stage.finish("relay")
    wall.lift()


@case("uplink switch to another interface and address", "< 1 s")
def uplink(stage):
    stage.second_uplinks(stage.mover)
    stage.start()
    stage.hosts[stage.mover].ip("link set eth0 down")
    stage.now()
    stage.finish("direct")


@case("NAT forgets its mappings", "< 1 s")
def rebinding(stage):
    if not stage.moving.nats:
        raise Missing(f"there is no NAT in a home of the kind {stage.kind}")
    stage.start()
    had = stage.mapped_ports()
    # With packets under way a NAT would learn its old mappings again while it forgets them.
    walls = [router.block("meta l4proto udp") for router in stage.moving.routers]
    stage.moving.flush()
    for wall in walls:
        wall.lift()
    stage.now()
    stage.finish("direct")
    if had & stage.mapped_ports():
        raise Missing("the NAT kept its ports")


@case("relay killed while direct", "none visible", SENDERS)
def relay_killed(stage):
    stage.start()
    stage.relays[0].child.kill()
    stage.now()
    stage.finish("direct", 0)


@case("both peers change network at once", "< 5 s", SENDERS)
def both(stage):
    stage.second_uplinks("dial", "accept")
    stage.start()
    for host in stage.hosts.values():
        host.ip("link set eth0 down")
    stage.now()
    stage.finish("direct")


LIFE_SECONDS, LIVES = 20, 5


@case("a NAT that drops each mapping after 20 s", "told below", beside=True,
      relays=2, home={"fixed": LIFE_SECONDS})
def short_lives(stage):
    """Pauses are told for each life: what was learnt shows in the later ones."""
    rate = 4
    stage.lines[stage.mover].set(rate=rate, buffer=30000)
    stage.size = rate * 125000 * LIFE_SECONDS * LIVES
    stage.connect()
    stage.go_direct()
    stage.pair.go()
    stage.now()
    stage.finish()
    stage.notes["lives"] = [stage.pair.pause(begin, begin + LIFE_SECONDS) for begin in (
        stage.at + number * LIFE_SECONDS for number in range(LIVES + 1))]


def connect_by_satellite(stage, relays):
    stage.size = 20000  # that it connects is the point
    stage.lines[stage.mover].set(delay=5000, rate=10)
    begin = time.monotonic()
    stage.connect(relays, seconds=SATELLITE_SECONDS)
    stage.notes["connected_after"] = time.monotonic() - begin
    stage.pair.go()
    stage.finish(limit=SATELLITE_SECONDS)


@case("5 s each way to one of two hosts on the internet", "connects", beside=True, kind="none")
def satellite(stage):
    connect_by_satellite(stage, relays=False)


@case("the same, and the relay is all that they know", "connects", beside=True)
def far_relay(stage):
    connect_by_satellite(stage, relays=True)


# Round trip in ms, share lost in bursts of a few packets, rate in Mbit/s: a good line to a bad
# satellite, and back up.
LADDER = ((16, "0.1%", 200), (40, "0.5%", 100), (80, "1%", 50), (150, "2%", 20), (300, "4%", 10),
          (600, "8%", 5))


@case("down the ladder of bad links, and up again", "told below", SENDERS)
def ladder(stage):
    line = stage.lines["accept"]
    stage.lines["dial"].set(delay=0, rate=0)
    rungs = []
    line.set(delay=LADDER[0][0] / 2, loss=LADDER[0][1], burst=3, rate=LADDER[0][2])
    stage.start()
    stage.now()
    for rtt, loss, rate in LADDER[1:] + LADDER[:1]:
        if stage.pair.receiver.last("received"):
            break
        begin, had = time.monotonic(), stage.pair.bytes
        line.set(delay=rtt / 2, loss=loss, burst=3, rate=rate,
                 buffer=max(30000, int(rate * rtt * 125)))
        if (rtt, loss, rate) == LADDER[0]:
            break
        over = time.monotonic() + stage.rung_seconds
        stage.pair.wait(stage.rung_seconds + 5, "a rung is over",
                        lambda: time.monotonic() >= over or stage.pair.receiver.last("received"))
        rungs.append({"rtt_ms": rtt, "loss": loss, "rate": rate,
                      "mbit": (stage.pair.bytes - had) * 8e-6 / (time.monotonic() - begin),
                      "pause": stage.pair.pause(begin + rtt / 500)})
    stage.notes["rungs"] = rungs
    stage.finish("direct")
