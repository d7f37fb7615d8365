"""One network without any server, in namespaces: hosts on a switch, and what runs on them."""
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../netlab"))
from netlab import Lab, until  # noqa: E402

NODE = os.path.join(os.environ.get("KM_BUILD_DIR", ""), "test", "mdns_node")
SERVICE = "_irohv1._udp"
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"

AVAHI_CONF = """[server]
host-name={name}
use-ipv4=yes
use-ipv6=yes
enable-dbus=yes
[publish]
publish-hinfo=no
publish-workstation=no
"""
BUS_CONF = """<busconfig><type>system</type><listen>unix:path={bus}</listen>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/>
<allow send_type="method_return"/><allow send_type="error"/><allow send_type="signal"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/>
<allow receive_type="error"/><allow receive_type="signal"/></policy></busconfig>
"""


def base32(id_hex):
    """An id as it stands in names."""
    bits = "".join(f"{byte:08b}" for byte in bytes.fromhex(id_hex)) + "0000"
    return "".join(BASE32[int(bits[i:i + 5], 2)] for i in range(0, 260, 5))


class Program:
    """What runs on a host: its lines, as they come."""

    def __init__(self, host, *words, name=None, env=None):
        self.name = name or os.path.basename(str(words[0]))
        self.lines, self.times = [], []
        self.child = subprocess.Popen(
            host.ns.command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, bufsize=1, env={**os.environ, **(env or {})})
        self.errors = []
        self.threads = [threading.Thread(target=self._read, daemon=True),
                        threading.Thread(target=self._read_errors, daemon=True)]
        for thread in self.threads:
            thread.start()

    def _read(self):
        for line in self.child.stdout:
            self.times.append(time.monotonic())
            self.lines.append(line.rstrip("\n"))

    def _read_errors(self):
        for line in self.child.stderr:
            self.errors.append(line.rstrip("\n"))

    def say(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def find(self, pattern, after=0):
        for line in self.lines[after:]:
            found = re.match(pattern, line)
            if found:
                return found
        return None

    def wait(self, pattern, seconds=10, after=0):
        try:
            return until(seconds, f"{self.name}: {pattern}", lambda: self.find(pattern, after))
        except AssertionError as late:
            raise AssertionError(f"{late}; it said {self.lines[-20:]} {self.errors[-20:]}") from late

    def count(self, pattern, after=0):
        return sum(1 for line in self.lines[after:] if re.match(pattern, line))

    def kill(self):
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()

    def close(self):
        if self.child.poll() is None:
            self.kill()
        for thread in self.threads:
            thread.join()
        for pipe in self.child.stdin, self.child.stdout, self.child.stderr:
            pipe.close()

    def end(self):
        """Lets it say goodbye; returns its status."""
        self.child.stdin.close()
        try:
            return self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


class Host:
    def __init__(self, lan, number, v4, v6):
        self.lan, self.number = lan, number
        self.ns = lan.lab.namespace(f"host{number}")
        self.v4, self.v6 = f"192.168.9.{number}", f"fd00:9::{number}"
        lan.lab.wire(self.ns, "eth0", lan.switch, f"port{number}", 1500)
        lan.switch.ip(f"link set port{number} master br0")
        if v4:
            self.ns.ip(f"addr add {self.v4}/24 dev eth0", "route add default dev eth0")
        if v6:
            self.ns.ip(f"addr add {self.v6}/64 dev eth0")
        else:
            self.ns.sysctl("net.ipv6.conf.eth0.disable_ipv6", 1)

    def run(self, *words, **options):
        program = Program(self, *words, **options)
        self.lan.programs.append(program)
        return program

    def node(self, *words, key=None):
        """mdns_node; .id is its id."""
        self.lan.keys += 1
        key = key or f"{self.lan.keys:064x}"
        program = self.run(NODE, key, *words, name=f"node on {self.number}")
        program.id = program.wait(r"id (\w+)").group(1)
        return program

    def publish(self, node, port=4433, relay="-", data="-"):
        node.say(f"publish {self.v4}:{port},[{self.v6}]:{port} {relay} {data}")

    def avahi(self):
        """A message bus and the daemon; the environment for its tools."""
        bus = f"/run/netlab/bus{self.number}"
        for name, text in (("bus", BUS_CONF.format(bus=bus)),
                           ("avahi", AVAHI_CONF.format(name=f"lanhost{self.number}"))):
            with open(f"/run/netlab/{name}{self.number}.conf", "w", encoding="ascii") as file:
                file.write(text)
        # Of those that were killed: a number that may be somebody else's by now, and a socket.
        shutil.rmtree("/run/avahi-daemon", ignore_errors=True)
        os.makedirs("/run/avahi-daemon")
        if os.path.exists(bus):
            os.unlink(bus)
        env = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={bus}"}
        daemon = self.run("dbus-daemon", f"--config-file=/run/netlab/bus{self.number}.conf",
                          "--nofork", "--print-address=1")
        daemon.wait(r"unix:path=")
        daemon = self.run("avahi-daemon", "-f", f"/run/netlab/avahi{self.number}.conf",
                          "--no-drop-root", "--no-rlimits", "--no-chroot", "--no-proc-title",
                          env=env)
        try:
            until(20, "avahi-daemon", lambda: any("startup complete" in line
                                                  for line in daemon.errors))
        except AssertionError as late:
            raise AssertionError(f"{late}; it said {daemon.errors}") from late
        return env


class Lan:
    def __init__(self, test=None):
        self.lab = Lab(servers=())
        self.programs, self.hosts, self.keys = [], [], 0
        self.switch = self.lab.namespace("switch")
        self.switch.ip("link add br0 type bridge mcast_snooping 0", "link set br0 up")
        if test is not None:
            test.addCleanup(self.close)

    def host(self, v4=True, v6=True):
        self.hosts.append(Host(self, len(self.hosts) + 1, v4, v6))
        return self.hosts[-1]

    def close(self):
        for program in reversed(self.programs):
            program.close()
        self.lab.close()
