"""Emulated long-distance links for a lab: km-netlab-link where a veth pair would be.

    wan = Wire(lab, delay=20, loss="1%", burst=4, rate=50)  # link_settings.h says what there is
    home = lab.site("port_restricted", wire=wan)       # its uplink is one
    wan.link.set(delay=300)                            # both ways, in mid-transfer
    wan.link.set("ab", loss=0)                         # from the site to the internet
    wan.link.cut(), wan.link.mend()
    wan.link.stats()["ba"]["lost"]
"""
import json
import os
import subprocess

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
BIN_DIR = os.environ.get("KM_BIN_DIR", os.path.join(SOURCE, "build/dev/bin"))
PROGRAM = os.path.join(BIN_DIR, "km-netlab-link")


def words(settings):
    return [f"{name}={value}" for name, value in settings.items()]


class Link:
    """One that exists, with interfaces that are up. The first namespace is `a`."""

    def __init__(self, ns_a, if_a, ns_b, if_b, mtu=1500, seed=1, **settings):
        self.child = subprocess.Popen(
            [PROGRAM, f"{ns_a.path}:{if_a}", f"{ns_b.path}:{if_b}", "--mtu", str(mtu),
             "--seed", str(seed), *words(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self._answer("ready")
        except BaseException:
            self.end()
            raise

    def _answer(self, expected=None):
        line = self.child.stdout.readline().rstrip("\n")
        if expected is not None and line != expected:
            raise OSError(f"km-netlab-link said {line!r}, not {expected!r}")
        return line

    def say(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def set(self, direction="both", **settings):
        """Is done when this returns."""
        self.say(" ".join([direction, *words(settings)]))
        self._answer("ok")

    def cut(self, direction="both"):
        self.set(direction, cut="on")

    def mend(self, direction="both"):
        self.set(direction, cut="off")

    def stats(self):
        self.say("stats")
        return json.loads(self._answer())

    def cpu_seconds(self):
        with open(f"/proc/{self.child.pid}/stat", encoding="ascii") as file:
            user, system = file.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def end(self):
        """The interfaces are gone, too."""
        if not self.child.stdin.closed:
            try:
                self.child.stdin.close()
            except BrokenPipeError:
                pass
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self.child.stdout.close()


class Wire:
    """Makes links of one kind; goes where a lab takes a `wire`. Each has another seed."""

    def __init__(self, lab, seed=1, **settings):
        self.lab, self.seed, self.settings, self.links = lab, seed, settings, []

    def __call__(self, ns_a, if_a, ns_b, if_b, mtu):
        seed = self.seed * 1000 + len(self.links)
        link = Link(ns_a, if_a, ns_b, if_b, mtu, seed, **self.settings)
        self.links.append(self.lab.own(link))

    @property
    def link(self):
        """The one that was made last."""
        return self.links[-1]

    def set(self, **settings):
        for link in self.links:
            link.set(**settings)
