"""The Debian package where systemd is process 1: installed, upgraded, removed."""
import glob
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from machine import Machine, Unit, skip, why_not  # noqa: E402

CPACK = sys.argv.pop(1)


class Package(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="km-deb-")
        self.addCleanup(folder.cleanup)
        done = subprocess.run([CPACK, "-G", "DEB", "-B", folder.name], capture_output=True,
                              text=True, cwd=os.environ["KM_BUILD_DIR"], check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        deb, = glob.glob(os.path.join(folder.name, "keymesh_*.deb"))
        self.machine = Machine(install=["sh", "-c", 'cp "$0" "$DESTDIR/srv/keymesh.deb"', deb])
        self.addCleanup(self.machine.close)
        self.units = [Unit(self.machine, name) for name in ("km-relay", "km-dns")]

    def dpkg(self, *words):
        done = self.machine.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", *words)
        self.assertEqual(done.status, 0, done)

    def check(self, state, enabled):
        for unit in self.units:
            self.assertEqual((unit.state, unit.ctl("is-enabled", unit.name).out.strip()),
                             (state, enabled), unit.journal())

    def configure(self):
        self.machine.write("/etc/km-relay/km-relay.toml", 'http_bind_addr = "127.0.0.1:80"\n')
        self.machine.write("/etc/km-dns/km-dns.toml", 'origins = ["dns.example.org"]\n'
                           '[http]\nbind = "127.0.0.1:8080"\n')

    def test_life(self):
        self.dpkg("--install", "/srv/keymesh.deb")
        for unit in self.units:
            self.assertEqual(self.machine.run("id", unit.name).status, 0)
        self.check("inactive dead", "disabled")  # each needs a configuration first
        self.configure()
        for unit in self.units:
            self.assertEqual(unit.ctl("enable", "--now", unit.name).status, 0, unit.journal())
        self.check("active running", "enabled")
        had = [unit.pid for unit in self.units]
        self.dpkg("--install", "/srv/keymesh.deb")  # an upgrade: what runs, runs anew
        self.check("active running", "enabled")
        self.assertFalse(set(had) & {unit.pid for unit in self.units})
        self.dpkg("--remove", "keymesh")
        for unit in self.units:
            self.assertEqual((unit.pid, unit.get("LoadState")), (0, "not-found"))
            self.assertEqual(self.machine.run("pgrep", "-x", unit.name).out, "")
        found = self.machine.run("find", "/etc/systemd", "-name", "km-*").out
        self.assertEqual(found, "")
        # What people wrote, and what was stored, stays.
        for path in ("/etc/km-relay/km-relay.toml", "/etc/km-dns/km-dns.toml",
                     "/var/lib/private/km-dns/packets.db"):
            self.assertTrue(os.path.exists(self.machine.path(path)), path)


if __name__ == "__main__":
    if why_not():
        skip(why_not())
    unittest.main()
