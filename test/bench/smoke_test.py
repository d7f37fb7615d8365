"""Every part of the benchmark works. Nothing here looks at how fast."""

import os
import pathlib
import subprocess
import unittest

import peers

BIN = pathlib.Path(os.environ['KM_BIN_DIR'])
MEMBERS = {
    'upload': ('seconds', 'bytes', 'gbit_s', 'cpu_client_s_per_gb', 'cpu_server_s_per_gb'),
    'download': ('seconds', 'bytes', 'gbit_s', 'cpu_client_s_per_gb', 'cpu_server_s_per_gb'),
    'latency': ('count', 'p50_us', 'p99_us'),
    'handshake': ('count', 'per_second', 'p50_us'),
    'memory': ('connections', 'client_bytes_per_conn', 'server_bytes_per_conn'),
}
SOMETHING = {'upload': 'bytes', 'download': 'bytes', 'latency': 'count', 'handshake': 'count',
             'memory': 'connections'}


class Smoke(unittest.TestCase):
    def check(self, mode, line):
        for name in MEMBERS[mode]:
            self.assertIsInstance(line[name], (int, float), name)
        self.assertGreater(line[SOMETHING[mode]], 0)

    def test_keymesh(self):
        for mode in peers.MODES:
            with self.subTest(mode):
                self.check(mode, peers.keymesh(BIN).measure(mode, 1, 20))

    def test_bare_loop(self):
        self.check('upload', peers.Bare(str(BIN / 'km-bench-bare')).measure('upload', 1, 0))

    def test_relay_load(self):
        done = subprocess.run([str(pathlib.Path(__file__).parent / 'relay/run'), '--bin-dir',
                               str(BIN), '--rounds', '1', '--time', '1', '--clients', '50'],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        for mode in 'forward', 'delay', 'connect', 'idle':
            self.assertRegex(done.stdout, rf'(?m)^{mode} .*\nkm +[0-9.]+ ')


if __name__ == '__main__':
    unittest.main()
