"""The bench of the key-value store works, to its end. Nothing here looks at how fast."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "results.json")
        subprocess.run([os.path.join(HERE, "run"), "--rounds", "2", "--count", "2000", "--batch",
                        "300", "--durable", "50", "--folder", folder, "--json", file], check=True)
        with open(file, encoding="utf-8") as text:
            document = json.load(text)
    for mode in "durable", "batched":
        for peer in "km", "raw", "plain":
            assert document["modes"][mode][peer]["per_second"]["median"] > 0, (mode, peer)
        assert document["modes"][mode]["raw"]["per_second"]["ratio"] > 0, mode
    assert [aim["mode"] for aim in document["aims"]] == ["durable", "batched"]


if __name__ == "__main__":
    sys.exit(main())
