"""The bench of punched paths works, to its end. Nothing here looks at how fast."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SKIP = 77
IDLE = 12  # seconds: two keep-alives of QUIC are in it


def run(file):
    done = subprocess.run([os.path.join(HERE, "run"), "--rounds", "1", "--time", "1", "--idle",
                           str(IDLE), "--cases", "alone,home,plain,relayed,punched", "--json",
                           file], check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    with open(file, encoding="utf-8") as text:
        return json.load(text)


def check_goodput(document):
    for mode, members in (("upload", ("gbit_s", "cpu_client_s_per_gb", "cpu_server_s_per_gb")),
                          ("download", ("gbit_s",)), ("latency", ("p50_us",))):
        for peer in "km", "plain", "relayed":
            for member in members:
                assert document["modes"][mode][peer][member]["median"] > 0, (mode, peer, member)
        assert document["modes"][mode]["plain"][members[0]]["ratio"] > 0, mode


def check_idle(idle):
    def sent(case, kind):
        return idle[case]["packets"]["out"][kind] + idle[case]["packets"]["in"][kind]

    for name, case in idle.items():
        assert case["seconds"] >= IDLE and case["near"]["cpu_ms"] >= 0, (name, case)
    # Each connection is kept alive where it is, and nowhere else.
    for name, kinds in (("alone", set()), ("home", {"relay"}), ("plain", {"quic"}),
                        ("relayed", {"relay"}), ("punched", {"quic", "relay"})):
        for kind in "quic", "relay":
            assert (sent(name, kind) > 0) == (kind in kinds), (name, kind, idle[name])
    assert idle["punched"]["far"]["cpu_ms"] > 0 and idle["home"]["far"] is None


def main():
    with tempfile.TemporaryDirectory() as folder:
        document = run(os.path.join(folder, "results.json"))
    check_goodput(document)
    check_idle(document["idle"])


if __name__ == "__main__":
    main()
