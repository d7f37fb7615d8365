"""The measurement of heartbeats still works: a small one, its numbers make sense."""
import json
import os
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


class Smoke(unittest.TestCase):
    def test_few_peers(self):
        done = subprocess.run([sys.executable, "-B", os.path.join(HERE, "run"), "--bin-dir",
                               os.environ["KM_BIN_DIR"], "--peers", "5", "--heartbeat-ms", "100",
                               "--seconds", "2", "--rounds", "1", "--json"],
                              capture_output=True, text=True, timeout=200)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        runs = {row["run"]: row for row in rows if "run" in row}
        self.assertEqual(runs["none"]["heartbeats"], 0)
        # Five peers, ten a second each way for two seconds, on a machine that may be busy.
        self.assertGreater(runs["beating"]["heartbeats"], 50)
        self.assertGreater(rows[-1]["summary"]["bytes_a_heartbeat"], 30)


if __name__ == "__main__":
    unittest.main(verbosity=2)
