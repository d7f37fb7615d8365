"""The bench of the discovery server works, to its end. Nothing here looks at how fast."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "results.json")
        subprocess.run([os.path.join(HERE, "run"), "--rounds", "1", "--time", "1", "--count",
                        "3000", "--packets", "500", "--folder", folder, "--json", file],
                       check=True)
        with open(file, encoding="utf-8") as text:
            document = json.load(text)
    assert document["modes"]["publish"]["km"]["per_second"]["median"] > 0
    assert document["modes"]["records"]["km"]["bytes_per_record"]["median"] > 100
    if "dns" in document["skipped"]:
        return
    peers = ["km"] if "knot" in document["skipped"] else ["km", "knot"]
    for mode in "dns", "dns_absent", "dns_tcp":
        for peer in peers:
            assert document["modes"][mode][peer]["queries_s"]["median"] > 0, (mode, peer)


if __name__ == "__main__":
    sys.exit(main())
