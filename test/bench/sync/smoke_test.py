"""The bench of synchronizations works, to its end. Nothing here looks at how fast."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "results.json")
        subprocess.run([os.path.join(HERE, "run"), "--rounds", "1", "--count", "2000", "--batch",
                        "300", "--folder", folder, "--json", file, "--modes",
                        "initial,initial_others,network,network_others,new_1,missing_100,updates_100"], check=True)
        with open(file, encoding="utf-8") as text:
            document = json.load(text)
    for mode in "initial", "initial_others", "network", "network_others":
        assert document["modes"][mode]["raw"]["per_second"]["ratio"] > 0, mode
    assert document["modes"]["initial"]["km"]["bytes_per_entry"]["median"] > 100
    for mode in "new_1", "missing_100", "updates_100":
        assert document["modes"][mode]["km"]["times"]["median"] >= 1, mode
    assert len(document["aims"]) == 4


if __name__ == "__main__":
    sys.exit(main())
