"""km-node perf: one line a mode, with the members of docs/protocol-perf.md."""
import os
import re

from lab import LOST, SOURCE, OK, UNREACHABLE, Case, Process, Server, main, run
from relay_test import Relay

MODES = ["upload", "download", "latency", "handshake", "memory"]  # --mode all


def documented():
    """The members of each mode's line: the tables under headings like "### `upload`"."""
    with open(os.path.join(SOURCE, "docs/protocol-perf.md"), encoding="utf-8") as file:
        sections = re.split(r"^### ", file.read(), flags=re.M)[1:]
    found = {}
    for section in sections:
        members = re.findall(r"^\| `([a-z0-9_]+)` \|", section, re.M)
        for mode in re.findall("`([a-z]+)`", section.splitlines()[0]):
            found[mode] = members
    return found


class Perf(Case):
    def measure(self, *args):
        server = self.start(Server, command=("perf", "server"))
        result = run("perf", "client", server.ticket, "--time", 1, "--conns", 20, "--json", *args)
        self.assertEqual(result.status, OK, result.out + result.err)
        for event in result.events:
            self.assertEqual(event["event"], "perf")
            self.assertEqual(list(event), ["event", *documented()[event["mode"]]])
            for member, value in event.items():
                if member not in ("event", "mode"):
                    self.assertIn(type(value), (int, float), member)
                    self.assertGreaterEqual(value, 0, member)
        self.assertEqual(server.stop().status, OK)
        return result.events

    def test_every_mode_is_documented(self):
        self.assertEqual(set(documented()), {*MODES, "idle"})

    def test_all(self):
        self.assertEqual([event["mode"] for event in self.measure()], MODES)

    def test_goodput(self):
        for mode in "upload", "download":
            event, = self.measure("--mode", mode, "--streams", 4)
            self.assertEqual((event["mode"], event["streams"]), (mode, 4))
            self.assertGreater(event["bytes"], 0)
            # gbit_s is bytes over seconds, and seconds at least the time asked for.
            self.assertGreaterEqual(event["seconds"], 1)
            self.assertAlmostEqual(event["gbit_s"], event["bytes"] * 8e-9 / event["seconds"],
                                   places=6)
            self.assertGreater(event["cpu_client_s_per_gb"], 0)
            self.assertGreater(event["cpu_server_s_per_gb"], 0)

    def test_latency(self):
        for size in 0, 64, 5000, 1 << 20:
            event, = self.measure("--mode", "latency", "--size", size)
            self.assertEqual(event["bytes"], size)
            self.assertGreater(event["count"], 0)
            self.assertGreaterEqual(event["p99_us"], event["p50_us"])
            self.assertGreater(event["p50_us"], 0)

    def test_handshakes(self):
        for parallel in 1, 8:
            event, = self.measure("--mode", "handshake", "--parallel", parallel)
            self.assertEqual(event["parallel"], parallel)
            self.assertGreater(event["count"], 0)
            self.assertGreaterEqual(event["p99_us"], event["p50_us"])

    def test_memory(self):
        event, = self.measure("--mode", "memory", "--conns", 100)
        self.assertEqual(event["connections"], 100)
        self.assertGreater(event["server_bytes_per_conn"], 0)
        self.assertGreater(event["client_bytes_per_conn"], 0)

    def test_idle(self):
        event, = self.measure("--mode", "idle")
        self.assertGreaterEqual(event["seconds"], 1)
        self.assertGreater(event["cpu_server_ms_per_min"], 0)  # it answered

    def test_waits_for_a_direct_path(self):
        relay = self.start(Relay, self.folder)
        server = self.start(Server, "--relay", relay.url, command=("perf", "server"))
        ticket = run("ticket", server.id, "--relay", relay.url, "--json").event("ticket")["ticket"]
        client = ("perf", "client", ticket, "--mode", "latency", "--time", 1, "--json",
                  "--wait-direct")
        self.assertEqual(self.kinds(run(*client, 60))[:2], ["relay", "direct"])

        result = run(*client, 1, "--policy", "relay-only")
        self.assertEqual(result.event("error")["name"], "NO_DIRECT_PATH", result.out + result.err)
        self.assertNotEqual(result.status, OK)

        direct = run("ticket", server.id, "--addr", server.addr, "--json").event("ticket")["ticket"]
        self.assertEqual(self.kinds(run(*client[:2], direct, *client[3:], 60)), ["direct"])

    def kinds(self, result):
        """Of the paths that were told before the measurement ended."""
        self.assertEqual(result.status, OK, result.out + result.err)
        self.assertEqual(result.events[-1]["event"], "perf")
        return [event["kind"] for event in result.events if event["event"] == "path"]

    def test_for_people(self):
        server = self.start(Server, command=("perf", "server"))
        result = run("perf", "client", server.ticket, "--time", 1, "--mode", "latency")
        self.assertEqual(result.status, OK, result.err)
        self.assertRegex(result.out, r"^latency +p50 [0-9]+ us, p99 [0-9]+ us")

    def test_ends(self):
        server = self.start(Server, command=("perf", "server"))
        client = self.start(Process, "perf", "client", server.ticket, "--time", 1, "--json")
        client.event("perf")
        self.assertEqual(server.stop().status, OK)
        result = client.wait()
        self.assertEqual(result.status, LOST, result.out + result.err)
        self.assertEqual(result.event("error")["name"], "CLOSED_BY_PEER")

        server = self.start(Server, command=("perf", "server"))
        client = self.start(Process, "perf", "client", server.ticket, "--time", 1, "--json")
        client.event("perf")
        self.assertEqual(client.stop(2).status, 130)

    def test_not_a_perf_server(self):
        server = self.start(Server)
        result = run("perf", "client", server.ticket)
        self.check_sentence(result, 5, "perf server")
        del server

    def test_no_address(self):
        self.check_sentence(run("perf", "client", "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a"
                                "63ac048a18b59da29"), UNREACHABLE, "ticket")


if __name__ == "__main__":
    main()
