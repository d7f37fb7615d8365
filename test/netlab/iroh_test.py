"""Real iroh (its node binding) and KeyMesh in a laboratory of NATs, through km-relay: they connect
wherever a relay can be reached, and what dials an address that can be reached gets a direct path.
Prints who goes direct, and what stays relayed: iroh's own hole punching is inside QUIC multipath,
which KeyMesh does not speak, and KeyMesh's disco is not spoken by iroh.

Both peers are those of test/interop, driven in the words of its PROTOCOL.md."""
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from netlab import SKIP, Lab, enter, until
from netlab.nodes import Program, cmd
from netlab.sandbox import why_not
from scenario_peers import end_with_parent

INTEROP = os.path.join(cmd.SOURCE, "test/interop")
KM_PEER = os.path.join(os.path.dirname(cmd.BIN_DIR), "test/km_interop_peer")
ALPN = "km/netlab-iroh/1"
SETTLE = 6  # seconds in which a direct path would be found
ANSWER = 60


def prepare():
    """Where the binding is; ends with the status of setup.sh if it cannot be had."""
    done = subprocess.run([os.path.join(INTEROP, "setup.sh")], stdout=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    if not os.access(KM_PEER, os.X_OK):
        print(f"skipped: {KM_PEER} is not built", file=sys.stderr)
        sys.exit(SKIP)
    return done.stdout.strip()


class Peer(Program):
    """One that is told what to do in JSON."""

    def __init__(self, host, kind, binding):
        self.host, self.events, self.kind, self.asked = host, [], kind, 0
        words = [KM_PEER] if kind == "km" else [
            "env", f"KM_INTEROP_IROH={binding}", "node", os.path.join(INTEROP, "iroh_peer.mjs")]
        command = host.command(*words)
        cmd.Process.__init__(self, *command[1:], program=command[0], stdin=subprocess.PIPE)

    def next_event(self, deadline):
        # Answers have no "event"; the other helpers of Program want one.
        event = super().next_event(deadline)
        if event is not None:
            event.setdefault("event", "answer")
        return event

    def request(self, op, **members):
        self.asked += 1
        text = cmd.json.dumps({"id": self.asked, "op": op, **members})
        self.child.stdin.write(text.encode() + b"\n")
        self.child.stdin.flush()
        return self.asked

    def answer(self, number, seconds=ANSWER):
        found = until(seconds, f"{self.kind} answers", lambda: self._seen("answer", id=number))
        if not found["ok"]:
            raise AssertionError(f"{self.kind}: {found['error']}: {found['text']}")
        return found

    def ask(self, op, seconds=ANSWER, **members):
        return self.answer(self.request(op, **members), seconds)

    def _seen(self, name, **members):
        while not self.lines.empty() and self.next_event(time.monotonic()):
            pass
        for event in self.events:
            if event["event"] == name and members.items() <= event.items():
                return event
        return None

    def event(self, name, seconds=ANSWER, **members):
        return until(seconds, f"{self.kind} says {name}", lambda: self._seen(name, **members))

    def open(self, relay):
        answer = self.ask("open", bind=["0.0.0.0:0"], alpns=[ALPN], relays=[relay])
        self.remote = answer["remote"]
        self.port = answer["addrs"][0].rsplit(":", 1)[1]
        return self

    def selected(self, conn):
        """Where its packets go, as it says."""
        for path in self.ask("stats", conn=conn)["paths"]:
            if path["selected"]:
                return path["remote"]
        return "none"


def is_direct(remote):
    """An address of the lab, and no relay's url and no name for one."""
    return remote.startswith(("44.128.", "192.168."))


class Case:
    """`sites`: how to build where "km" and "iroh" are; `direct`: whether a direct path has to come
    of it, by who dials and whether it knows addresses; None: it is only told."""

    def __init__(self, says, sites, direct):
        self.says, self.sites, self.direct = says, sites, direct


def apart(km, iroh):
    def build(lab):
        return {"km": lab.site(km, name="km").host, "iroh": lab.site(iroh, name="iroh").host}
    return build


def one_lan(kind):
    def build(lab):
        site = lab.site(kind, lan=2)
        return {"km": site.hosts[0], "iroh": site.hosts[1]}
    return build


# A dialling side that knows an address at which the other can be reached goes there.
REACHABLE = {("km", True), ("iroh", True)}
CASES = (
    Case("both on the internet", apart("none", "none"), REACHABLE),
    Case("iroh on the internet, KeyMesh behind a NAT", apart("port_restricted", "none"),
         {("km", True)}),
    Case("KeyMesh on the internet, iroh behind a NAT", apart("none", "port_restricted"),
         {("iroh", True)}),
    Case("iroh on the internet, KeyMesh behind a symmetric NAT", apart("symmetric", "none"),
         {("km", True)}),
    Case("both behind one NAT", one_lan("port_restricted"), REACHABLE),
    Case("each behind a NAT of its own", apart("port_restricted", "port_restricted"), set()),
    Case("iroh where UDP is blocked", apart("none", "no_udp"), set()),
)


def play(case, dialler, addresses, binding):
    """One connection: (the path as KeyMesh sees it, as iroh sees it, seconds to connect)."""
    other = {"km": "iroh", "iroh": "km"}[dialler]
    with Lab(servers=("relay1",)) as lab:
        relay = lab.relay(lab.servers[0])
        url = f"http://{lab.servers[0].v4}:{relay.port}/"
        hosts = case.sites(lab)
        peers = {kind: lab.own(Peer(host, kind, binding)).open(url)
                 for kind, host in hosts.items()}
        near, far = peers[dialler], peers[other]
        addrs = [f"{hosts[other].v4}:{far.port}"] if addresses else []
        begin = time.monotonic()
        conns = {dialler: near.ask("dial", remote=far.remote, addrs=addrs, relays=[url],
                                   alpn=ALPN)["conn"]}
        took = time.monotonic() - begin
        conns[other] = far.event("connected")["conn"]
        echo(near, conns[dialler])
        settle(peers, conns)
        echo(near, conns[dialler])  # whatever it moved to carries bytes
        echo(far, conns[other])
        return {kind: peers[kind].selected(conns[kind]) for kind in peers}, took


def echo(peer, conn):
    for flow in peer.ask("transfer", conn=conn, bidi=True, count=1, bytes=100000,
                         hold=False)["flows"]:
        assert flow["received"] == 100000 and flow["sent_sha256"] == flow["received_sha256"], flow


def settle(peers, conns):
    """Until both say that it is direct, or the time for that is over."""
    over = time.monotonic() + SETTLE
    while time.monotonic() < over:
        if all(is_direct(peers[kind].selected(conns[kind])) for kind in peers):
            return
        time.sleep(0.2)


def verdict(case, dialler, addresses, paths):
    """What to print, and whether it is what it has to be."""
    direct = is_direct(paths["km"])
    needed = (dialler, addresses) in case.direct
    word = "direct" if direct else "relay"
    if direct != is_direct(paths["iroh"]):
        word += f" (iroh says {paths['iroh']})"
    return word, direct or not needed


ROW = "{:<54} {:<6} {:<10} {:>8}  {}"
AT_ONCE = 4  # they mostly wait


def play_one(number, dialler, addresses):
    """In a process of its own, with a sandbox of its own. Prints its row."""
    binding = os.environ["KM_INTEROP_IROH"]
    end_with_parent()
    enter()
    case, knowing = CASES[number], "address" if addresses else "relay only"
    try:
        paths, took = play(case, dialler, addresses, binding)
    except Exception as error:  # noqa: BLE001: a row like the others
        print(ROW.format(case.says, dialler, knowing, "-", f"FAILED: {error}"))
        return 1
    word, good = verdict(case, dialler, addresses, paths)
    note = "" if good else "  FAILED: this has to be direct"
    print(ROW.format(case.says, dialler, knowing, f"{took * 1000:.0f} ms", word + note))
    return 0 if good else 1


def run_one(job):
    return subprocess.run([sys.executable, "-B", os.path.abspath(__file__), *map(str, job)],
                          stdout=subprocess.PIPE, text=True, check=False)


def main(argv):
    if argv:
        return play_one(int(argv[0]), argv[1], argv[2] == "1")
    why = why_not()
    if why:
        print(f"skipped: {why}", file=sys.stderr)
        return SKIP
    os.environ["KM_INTEROP_IROH"] = prepare()
    print(ROW.format("where", "dials", "knowing", "connect", "path"), flush=True)
    failed = 0
    jobs = [(number, dialler, addresses) for number in range(len(CASES))
            for dialler in ("km", "iroh") for addresses in (1, 0)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in pool.map(run_one, jobs):
            print(done.stdout, end="", flush=True)
            failed += done.returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
