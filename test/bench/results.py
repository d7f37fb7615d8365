"""Medians, ratios, the table."""
import os
import platform
import statistics

# mode: [(member, heading, unit's factor, True when more is better)]; the first is the mode's own.
METRICS = {
    "upload": [("gbit_s", "Gbit/s", 1, True),
               ("cpu_client_s_per_gb", "client CPU s/GB", 1, False),
               ("cpu_server_s_per_gb", "server CPU s/GB", 1, False)],
    "download": [("gbit_s", "Gbit/s", 1, True),
                 ("cpu_client_s_per_gb", "client CPU s/GB", 1, False),
                 ("cpu_server_s_per_gb", "server CPU s/GB", 1, False)],
    "latency": [("p50_us", "p50 us", 1, False), ("p99_us", "p99 us", 1, False)],
    "handshake": [("per_second", "a second", 1, True), ("p50_us", "p50 us", 1, False)],
    "memory": [("client_bytes_per_conn", "client KiB", 1024, False),
               ("server_bytes_per_conn", "server KiB", 1024, False)],
    # relay/run
    "forward": [("packets_s", "packets/s", 1, True), ("gbit_s", "Gbit/s", 1, True),
                ("packets_cpu_s", "packets/CPU s", 1, True)],
    "delay": [("p50_us", "p50 us", 1, False), ("p99_us", "p99 us", 1, False)],
    "connect": [("per_second", "a second", 1, True), ("per_cpu_second", "a CPU s", 1, True)],
    "idle": [("bytes_per_client", "KiB a client", 1024, False)],
    # dns/run
    **{mode: [("queries_s", "queries/s", 1, True), ("queries_cpu_s", "queries/CPU s", 1, True),
              ("delay_us", "delay us", 1, False)] for mode in ("dns", "dns_absent", "dns_tcp")},
    "publish": [("per_second", "a second", 1, True), ("per_cpu_second", "a CPU s", 1, True)],
    "records": [("bytes_per_record", "bytes in memory", 1, False),
                ("disk_bytes_per_record", "bytes on disk", 1, False)],
    # kv/run
    **{mode: [("per_second", "a second", 1, True), ("per_cpu_second", "a CPU s", 1, True),
              ("disk_bytes_per_put", "bytes on disk", 1, False)]
       for mode in ("durable", "batched")},
    # sync/run
    **{mode: [("per_second", "a second", 1, True), ("per_cpu_second", "a CPU s", 1, True),
              ("receiver_per_second", "receiver, a s", 1, True),
              ("bytes_per_entry", "bytes sent", 1, False)]
       for mode in ("initial", "initial_others")},
    **{mode: [("per_second", "a second", 1, True), ("per_cpu_second", "a CPU s", 1, True)]
       for mode in ("network", "network_others")},
    **{f"{kind}_{count}": [("times", "x the bound", 1, False), ("bytes", "bytes sent", 1, False)]
       for kind in ("new", "missing", "updates") for count in (1, 100, 10000)},
}
OURS = "km"
# (mode, member, peer or None for a bound in the member's own unit, the least ratio or the bound)
AIMS = [("upload", "gbit_s", "bare", 0.9), ("download", "gbit_s", "bare", 0.9),
        ("upload", "gbit_s", "iroh", 1.2), ("download", "gbit_s", "iroh", 1.2),
        ("latency", "p50_us", "iroh", 1), ("handshake", "per_second", "iroh", 1),
        ("memory", "client_bytes_per_conn", None, 40 * 1024),
        ("memory", "server_bytes_per_conn", None, 40 * 1024),
        ("upload", "gbit_s", "plain", 0.95), ("download", "gbit_s", "plain", 0.95),  # punch/run
        ("forward", "packets_s", "plain", 0.8), ("forward", "packets_cpu_s", "iroh", 1),
        ("delay", "p99_us", None, 1000), ("idle", "bytes_per_client", None, 20 * 1024),
        *[(mode, "queries_cpu_s", "knot", 1) for mode in ("dns", "dns_absent", "dns_tcp")],
        ("durable", "per_second", "raw", 0.8), ("batched", "per_second", "raw", 0.8),
        ("initial", "per_second", "raw", 0.7),
        *[(f"{kind}_{count}", "times", None, 3)
          for kind in ("new", "missing", "updates") for count in (1, 100, 10000)]]
BUSY = 0.5  # load average a core, before the first measurement, from which a warning is due


def cpu_model():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def machine():
    """What it runs on, and how busy that is before the first measurement."""
    return {"cpu": cpu_model(), "cores": os.cpu_count(), "kernel": platform.release(),
            "load_before": os.getloadavg()[0]}


def summary(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values),
            "rounds": len(values)}


def by_round(samples, mode, peer, member):
    return {s["round"]: s[member] for s in samples
            if s["mode"] == mode and s["peer"] == peer and member in s}


def advantage(ours, theirs, more_is_better):
    """How many times as good ours is; None where there is nothing to divide by."""
    over, under = (ours, theirs) if more_is_better else (theirs, ours)
    return over / under if under > 0 else None


def ratio(samples, mode, member, peer, more_is_better):
    """The median of the rounds' own ratios."""
    ours = by_round(samples, mode, OURS, member)
    theirs = by_round(samples, mode, peer, member)
    pairs = [advantage(ours[i], theirs[i], more_is_better) for i in ours if i in theirs]
    pairs = [value for value in pairs if value is not None]
    return statistics.median(pairs) if pairs else None


def summaries(samples):
    """{mode: {peer: {member: {median, min, max, rounds, ratio}}}}"""
    modes = {}
    for mode, metrics in METRICS.items():
        peers = dict.fromkeys(s["peer"] for s in samples if s["mode"] == mode)
        for peer in sorted(peers, key=lambda name: name != OURS):
            for member, _, _, more in metrics:
                values = by_round(samples, mode, peer, member)
                if values:
                    entry = summary(values.values())
                    entry["ratio"] = ratio(samples, mode, member, peer, more)
                    modes.setdefault(mode, {}).setdefault(peer, {})[member] = entry
    return modes


def aims(modes):
    """The aims that this run says something about."""
    for mode, member, peer, bound in AIMS:
        entry = modes.get(mode, {}).get(peer or OURS, {}).get(member)
        if entry is None or (peer and entry["ratio"] is None):
            continue
        value = entry["ratio"] if peer else entry["median"]
        met = value >= bound if peer else value < bound
        yield {"mode": mode, "member": member, "peer": peer, "bound": bound, "value": value,
               "met": met}


def document(samples, machine_before, settings, skipped, peers):
    modes = summaries(samples)
    return {"machine": {**machine_before, "load_after": os.getloadavg()[0]},
            "settings": settings, "peers": peers, "skipped": skipped, "modes": modes,
            "aims": list(aims(modes)), "samples": samples}


# --- for people ------------------------------------------------------------------------------

CELL = 26  # characters of a column


def digits(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def cell(entry, factor):
    spread = f"{digits(entry['min'] / factor)}..{digits(entry['max'] / factor)}"
    return f" {digits(entry['median'] / factor):>7} {spread:>17}"


def show_mode(mode, peers, out):
    metrics = METRICS[mode]
    heads = [f"{heading:>{CELL}}" for _, heading, _, _ in metrics]
    out.write(f"\n{mode:<10}{''.join(heads)}   {OURS} is\n")
    for peer, members in peers.items():
        cells = [cell(members[m], f) if m in members else " " * CELL for m, _, f, _ in metrics]
        times = [members[m]["ratio"] for m, _, _, _ in metrics if m in members]
        words = ["?" if x is None else f"{x:.2f}" for x in times]
        verdict = "" if peer == OURS else " / ".join(words) + " times as good"
        out.write(f"{peer:<10}{''.join(cells)}   {verdict}\n")


def show_aim(aim, out):
    what = f"{aim['mode']} {aim['member']}"
    if aim["peer"]:
        words = f"{aim['value']:.2f} times as good as {aim['peer']}, aim {aim['bound']:.2f}"
    else:
        units = {"us": (1, "us"), "times": (1, "times the bound")}
        factor, unit = units.get(aim["member"].rsplit("_", 1)[-1], (1024, "KiB"))
        words = f"{aim['value'] / factor:.1f} {unit}, aim below {aim['bound'] / factor:.0f}"
    out.write(f"{'met   ' if aim['met'] else 'MISSED'} {what}: {words}\n")


def show(doc, out):
    """Medians of the rounds with their span; ratios above 1 speak for KeyMesh."""
    m = doc["machine"]
    out.write(f"{m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; "
              f"load {m['load_before']:.2f} before, {m['load_after']:.2f} after\n")
    if m["load_before"] > BUSY * m["cores"]:
        out.write("!! the machine was busy before the first measurement: trust ratios at most\n")
    out.write(", ".join(f"{k} {v}" for k, v in doc["settings"].items()) + "\n")
    for name, about in doc["peers"].items():
        out.write(f"  {name}: {about}\n")
    for mode, peers in doc["modes"].items():
        show_mode(mode, peers, out)
    if doc["aims"]:
        out.write("\n")
    for aim in doc["aims"]:
        show_aim(aim, out)
    for name, why in doc["skipped"].items():
        out.write(f"!! {name} was skipped: {why}\n")
