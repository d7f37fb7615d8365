"""What one connection carries: punched, dialled at its address, and left on the relay."""
import statistics

from place import CONNECT, Place

MODES = ("upload", "download", "latency")
PEERS = {"km": "relayed at first, then punched: measured on the direct path",
         "plain": "dialled at the same address, no relay",
         "relayed": "left on the relay"}
OPTIONS = {"km": ("--wait-direct", CONNECT), "plain": ("--wait-direct", CONNECT),
           "relayed": ("--policy", "relay-only")}
GRACE = 120  # seconds beyond the measured time before it counts as hanging


def check_paths(peer, kinds):
    """What is to be measured was measured: it began where it had to, and went nowhere else."""
    wanted = {"km": ["relay", "direct"], "plain": ["direct"], "relayed": []}[peer]
    if kinds != wanted:
        raise AssertionError(f"{peer} took {kinds or 'no path that it told'}, not {wanted}")


def measure(peer, mode, options):
    with Place() as place:
        if peer != "plain":
            place.start_relay()
        _server, client = place.perf_pair("--mode", mode, "--time", options.time, "--streams",
                                          options.streams, *OPTIONS[peer])
        found = client.expect("perf", options.time + GRACE)
        paths = [event for event in client.events if event["event"] == "path"]
        if client.finish(GRACE) != 0:
            raise AssertionError(client.log())
    check_paths(peer, [event["kind"] for event in paths])
    sample = {name: value for name, value in found.items() if name not in ("event", "at")}
    if peer == "km":
        sample["direct_after_ms"] = paths[-1]["since_connect_ms"]
    return {**sample, "peer": peer}


def show_direct(samples, out):
    times = [sample["direct_after_ms"] for sample in samples if "direct_after_ms" in sample]
    if times:
        out.write(f"\ndirect {statistics.median(times):.0f} ms after it was connected "
                  f"({min(times):.0f}..{max(times):.0f}, {len(times)} connections)\n")
