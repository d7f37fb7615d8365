"""Two km-nodes at each pair of sites: is the path direct, and after how long?"""
import concurrent.futures
import contextlib
import itertools
import os
import statistics
import threading
import time
from dataclasses import asdict, dataclass, field

from .clock import Late
from .traits import expected

START_SECONDS = 60
BETTER = {"failed": 0, "relay": 1, "half": 2, "direct": 3}


@dataclass
class Run:
    """`half`: the dialling side is direct and the other one is not."""
    result: str
    ms: float = None  # from connected to direct
    remote: str = None
    why: str = None


@dataclass
class Cell:
    a: str
    b: str
    expected: str
    runs: list = field(default_factory=list)

    @property
    def name(self):
        return f"{self.a} x {self.b}" if self.b else self.a

    @property
    def result(self):
        """The worst of its runs."""
        return min((run.result for run in self.runs), key=BETTER.get)

    @property
    def times(self):
        return [run.ms for run in self.runs if run.ms is not None]

    @property
    def directs(self):
        return sum(run.result == "direct" for run in self.runs)

    @property
    def is_worse(self):
        wanted = "relay" if self.expected == "counted" else self.expected
        return BETTER[self.result] < BETTER[wanted]

    @property
    def is_better(self):
        return self.expected == "relay" and self.result == "direct"

    def text(self):
        if len(self.runs) > 1 and 0 < self.directs < len(self.runs) or self.expected == "counted":
            words = f"{self.directs}/{len(self.runs)}"
            words += f" d{statistics.median(self.times):.0f}" if self.times else ""
        elif self.result == "direct":
            words = f"d {statistics.median(self.times):.0f}"
        else:
            words = self.result
        return words + ("!" if self.is_worse else "+" if self.is_better else "")

    def report(self):
        return {"a": self.a, "b": self.b, "expected": self.expected, "result": self.result,
                "runs": [asdict(run) for run in self.runs]}


@dataclass
class Settings:
    wait: float = 5  # for a direct path, where there should be one
    wait_relay: float = 2  # where there should be none
    jobs: int = 4
    logs: str = None
    wire: object = None  # makes the wire of a site's uplink out of the lab


class Bench:
    """The internet with two relays, and sites that cells take one after the other."""

    def __init__(self, lab, settings):
        self.lab, self.settings = lab, settings
        self.relays = [lab.relay(server) for server in lab.servers]
        self.locks = {}

    def site(self, kind, name=None, **options):
        """With a name that is its own, and an uplink as the settings have it."""
        wire = self.settings.wire and self.settings.wire(self.lab)
        number = len(self.locks)
        site = self.lab.site(kind, f"{number}-{name or kind.name}", wire=wire, **options)
        self.locks[site] = threading.Lock()
        return site

    def run(self, cell, a, b):
        """One run of a cell, with hosts of these sites."""
        with self.locks[a[0]], self.locks[b[0]] if a[0] is not b[0] else contextlib.nullcontext():
            before = self._passed(a[0], b[0])
            run, logs = self._try(cell, a[1], b[1])
            if run.result == "direct" and before is not None:
                self._check(run, before, self._passed(a[0], b[0]))
            cell.runs.append(run)
            if cell.is_worse and self.settings.logs:
                self._keep(cell, a, b, logs)
        return cell

    def _passed(self, a, b):
        """None for two hosts of one site, whose packets do not come by the internet."""
        return None if a is b else self.lab.passed(a, b)

    def _check(self, run, before, after):
        """What the nodes call direct is what the internet saw go from one site to the other."""
        fewest = min(now - then for now, then in zip(after, before))
        if fewest < 2:
            run.result, run.why = "failed", f"called direct, yet {fewest} packets went one way"

    def _try(self, cell, a, b, *words):
        wait = self.settings.wait_relay if cell.expected == "relay" else self.settings.wait
        nodes = []
        try:
            nodes.append(self.lab.start_node1(a, *words, relays=self.relays))
            nodes.append(self.lab.start_node2(b, nodes[0], "--send", "hello", "--wait-direct",
                                              wait, *words, relays=self.relays))
            status = nodes[1].finish(START_SECONDS + wait)
            if status != 0:
                raise AssertionError(f"km-node node2 ended with status {status}")
            nodes[0].expect("closed", START_SECONDS)
            run = judge(*nodes)
        except (AssertionError, Late, OSError) as error:
            run = Run("failed", why=str(error)[:300])
        finally:
            for node in nodes:
                self.lab.release(node)
        return run, [node.log() for node in nodes]

    def _keep(self, cell, a, b, logs):
        """What the cell said, and the same once more with packets and all that km-node logs."""
        name = f"{cell.name} {len(cell.runs)}".replace(",", "").replace(" ", "-")
        folder = os.path.join(self.settings.logs, name)
        os.makedirs(folder, exist_ok=True)
        tracers = [ns.capture(os.path.join(folder, ns.name + ".pcap"))
                   for ns in {*a[0].routers, *b[0].routers, a[1], b[1]}]
        _run, again = self._try(cell, a[1], b[1], "--log", "debug")
        for tracer in filter(None, tracers):
            tracer.terminate()
            tracer.communicate()
        for turn, said in ("first", logs), ("again", again):
            for number, text in enumerate(said):
                path = os.path.join(folder, f"{turn}-node{number + 1}.log")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)


def judge(node1, node2):
    """What two nodes that are over said about their paths."""
    kinds = [[kind for _at, kind, _event in node.paths()] for node in (node1, node2)]
    if not kinds[1]:
        raise AssertionError("km-node node2 told no path")
    if kinds[1][-1] != "direct":
        return Run("relay")
    connected = node2.paths()[0][0]
    at, _kind, event = next(path for path in node2.paths() if path[1] == "direct")
    ms = event.get("since_connect_ms", (at - connected) * 1000)
    result = "direct" if kinds[0] and kinds[0][-1] == "direct" else "half"
    return Run(result, round(ms, 1), event.get("remote_addr") or event.get("addr"))


def run_all(bench, jobs):
    """`jobs`: (cell, a, b), in an order in which neighbours seldom share a site. Yields each cell
    as a run of it is over."""
    with concurrent.futures.ThreadPoolExecutor(bench.settings.jobs) as pool:
        futures = [pool.submit(bench.run, *job) for job in jobs]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def whole(bench, kinds, runs):
    """Every kind against every kind: cells, and what to run."""
    rows = [bench.site(kind) for kind in kinds]
    columns = [bench.site(kind) for kind in kinds]
    cells = {(a.kind.name, b.kind.name): Cell(a.kind.name, b.kind.name,
                                              expected(a.traits, b.traits))
             for a, b in itertools.product(rows, columns)}
    jobs = []
    for _ in range(runs):
        for shift in range(len(kinds)):
            for number, a in enumerate(rows):
                b = columns[(number + shift) % len(kinds)]
                jobs.append((cells[a.kind.name, b.kind.name], (a, a.host), (b, b.host)))
    return list(cells.values()), jobs


def repeated(bench, kind_a, kind_b, runs):
    """One pair, many times; on as many pairs of sites as there are jobs."""
    pairs = [(bench.site(kind_a), bench.site(kind_b))
             for _ in range(min(bench.settings.jobs, runs))]
    cell = Cell(kind_a.name, kind_b.name, expected(pairs[0][0].traits, pairs[0][1].traits))
    jobs = [(cell, (a, a.host), (b, b.host))
            for _number, (a, b) in zip(range(runs), itertools.cycle(pairs))]
    return [cell], jobs


def neighbours(bench):
    """Two hosts behind one NAT. On one LAN they are direct whatever the NAT does; two homes of a
    carrier are if it turns their packets round."""
    cells, jobs = [], []
    for kind in "port_restricted", "hairpin", "symmetric", "dual_stack", "ipv6_only", "container":
        site = bench.site(kind, name=kind, lan=2)
        cells.append(Cell(f"{kind}, one LAN", "", "direct"))
        jobs.append((cells[-1], (site, site.hosts[0]), (site, site.hosts[1])))
    for hairpin in False, True:
        word = "hairpin" if hairpin else "no-hairpin"
        carrier = bench.site("full_cone", name="carrier", v4_net="100.64.0", hairpin=hairpin)
        homes = [bench.lab.home(carrier, "port_restricted", f"home{i}-{word}") for i in (1, 2)]
        for home in homes:
            bench.locks[home] = bench.locks[carrier]
        cells.append(Cell(f"two homes of one carrier, {word}", "",
                          "direct" if hairpin else "relay"))
        jobs.append((cells[-1], (carrier, homes[0].host), (carrier, homes[1].host)))
    return cells, jobs


def table(cells, kinds):
    """Rows: the NAT of A. Columns: the NAT of B."""
    found = {(cell.a, cell.b): cell.text() for cell in cells}
    grid = [["A \\ B", *(kind.alias for kind in kinds)]]
    grid += [[kind.name, *(found[kind.name, other.name] for other in kinds)] for kind in kinds]
    widths = [max(map(len, column)) for column in zip(*grid)]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip()
                     for row in grid)


def summary(cells, seconds):
    runs = [run for cell in cells for run in cell.runs]
    times = sorted(run.ms for run in runs if run.ms is not None)
    median = f"median {statistics.median(times):.0f} ms" if times else "no time to direct"
    worst = f", slowest {times[-1]:.0f} ms" if times else ""
    return (f"{sum(run.result == 'direct' for run in runs)} of {len(runs)} runs direct "
            f"({sum(cell.expected == 'direct' for cell in cells)} of {len(cells)} cells should be)"
            f"; to direct: {median}{worst}; {seconds:.0f} s in all")


def report(cells, began):
    times = [run.ms for cell in cells for run in cell.runs if run.ms is not None]
    return {"cells": [cell.report() for cell in cells],
            "median_ms": statistics.median(times) if times else None,
            "worse": [cell.name for cell in cells if cell.is_worse],
            "seconds": round(time.monotonic() - began, 1)}
