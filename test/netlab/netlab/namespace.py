"""A network namespace: a host or a router."""
import concurrent.futures
import contextlib
import fcntl
import itertools
import os
import shutil
import socket
import struct
import subprocess

from .clock import until
from .sandbox import CLONE_NEWNET, MS_BIND, mount, setns, umount, unshare

SIOCGIFFLAGS, IFF_RUNNING = 0x8913, 0x40
# Resolves names by a file of the host's own, then becomes the command.
OWN_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'


class Namespace:
    def __init__(self, name):
        self.name = name
        self.path = f"/run/netns/{name}"
        self.hosts_file = f"/run/netlab/{name}.hosts"
        self.names = {"localhost": ["127.0.0.1", "::1"]}
        self.blocks = itertools.count()
        # In a thread, so that this one stays where it is.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            self.fd = thread.submit(self._make).result()
        self._write_hosts()
        # Addresses are there at once, and a bridge is a switch and no firewall.
        for scope in "all", "default":
            self.sysctl(f"net.ipv6.conf.{scope}.accept_dad", 0)
            self.sysctl(f"net.ipv6.conf.{scope}.accept_ra", 0)
            self.sysctl(f"net.ipv6.conf.{scope}.keep_addr_on_down", 1)
            self.sysctl(f"net.ipv4.conf.{scope}.rp_filter", 0)
        for family in "", "6":
            self.sysctl(f"net.bridge.bridge-nf-call-ip{family}tables", 0, missing_ok=True)
        self.ip("link set lo up")

    def _make(self):
        unshare(CLONE_NEWNET)
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with open(self.path, "w", encoding="ascii"):
            pass
        mount("/proc/thread-self/ns/net", self.path, None, MS_BIND)
        return fd

    def close(self):
        """It ends with the last process or socket in it."""
        umount(self.path)
        os.unlink(self.path)
        os.close(self.fd)

    @contextlib.contextmanager
    def inside(self):
        """This thread is there. Sockets opened there stay there."""
        back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(self.fd, CLONE_NEWNET)
            try:
                yield self
            finally:
                setns(back, CLONE_NEWNET)
        finally:
            os.close(back)

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_DGRAM):
        with self.inside():
            return socket.socket(family, kind)

    def sysctl(self, name, value, missing_ok=False):
        path = "/proc/sys/" + name.replace(".", "/")
        with self.inside():
            if missing_ok and not os.path.exists(path):
                return
            with open(path, "w", encoding="ascii") as file:
                file.write(str(value))

    def command(self, *words):
        """Words for subprocess.Popen that run these there. No shell looks at them."""
        return ["nsenter", f"--net={self.path}", "unshare", "--mount", "sh", "-c", OWN_HOSTS,
                self.hosts_file, *map(str, words)]

    def run(self, *words, stdin=None, check=True):
        """Runs a command there to its end, and returns what it said."""
        done = subprocess.run(self.command(*words), input=stdin, text=True, capture_output=True,
                              stdin=subprocess.DEVNULL if stdin is None else None, check=False)
        if check and done.returncode != 0:
            raise OSError(f"{self.name}: {' '.join(map(str, words))}: {done.stderr}{done.stdout}")
        return done.stdout

    def tool(self, *words, stdin=None):
        """As run(), for programs that need the network and no hosts file: fewer steps."""
        with self.inside():
            done = subprocess.run(words, input=stdin, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise OSError(f"{self.name}: {' '.join(words)}: {done.stderr}{stdin or ''}")
        return done.stdout

    def ip(self, *lines):
        return self.tool("ip", "-batch", "-", stdin="\n".join(lines) + "\n")

    def nft(self, text):
        return self.tool("nft", "-f", "-", stdin=text)

    def forget_connections(self):
        """Empties the connection tracking table, which is where kernel NAT keeps its mappings."""
        if shutil.which("conntrack") is None:
            raise OSError("conntrack is missing (Debian: conntrack)")
        self.tool("conntrack", "-F")

    @property
    def interfaces(self):
        with self.inside():
            return [name for _number, name in socket.if_nameindex()]

    def await_interface(self, ifname):
        """Until it is running. The kernel gets to that on its own time, and loses what is sent
        before."""
        request = struct.pack("16s16x", ifname.encode())
        with self.socket() as sock:
            # The flag says yes at once, or up to a second too late; the queue knows.
            until(10, f"{ifname} of {self.name} is running", lambda: (
                struct.unpack_from("H", fcntl.ioctl(sock, SIOCGIFFLAGS, request), 16)[0]
                & IFF_RUNNING or "noop" not in self.tool("ip", "link", "show", ifname)), 0.001)

    def router(self):
        self.sysctl("net.ipv4.ip_forward", 1)
        self.sysctl("net.ipv6.conf.all.forwarding", 1)

    def resolve(self, name, *addresses):
        """That name has these addresses here; none takes it away."""
        self.names[name] = list(addresses)
        self._write_hosts()

    def _write_hosts(self):
        with open(self.hosts_file, "w", encoding="ascii") as file:
            for name, addresses in self.names.items():
                file.writelines(f"{address} {name}\n" for address in addresses)

    def block(self, *rules):
        """Drops what matches one of these, coming in, going out or passing through."""
        return Block(self, f"block{next(self.blocks)}", rules)

    def capture(self, path):
        """Records all its packets; the process, or None where there is no tcpdump."""
        if shutil.which("tcpdump") is None:
            return None
        process = subprocess.Popen(
            ["nsenter", f"--net={self.path}", "tcpdump", "-U", "-n", "-i", "any", "-s", "200",
             "-Z", "root", "-w", path], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        # Its first line says that it listens; from then on nothing is missed.
        process.stderr.readline()
        return process

    def __repr__(self):
        return f"<{self.name}>"


class Block:
    """Packets that are dropped until this is lifted."""

    def __init__(self, ns, name, rules):
        self.ns, self.name, self.up = ns, name, True
        text = "\n".join(f"{rule} counter drop" for rule in rules)
        ns.nft(f"""table inet {name} {{
          chain match {{ {text}
          }}
          chain in {{ type filter hook prerouting priority -400; jump match; }}
          chain out {{ type filter hook output priority -400; jump match; }}
        }}""")

    def lift(self):
        if self.up:
            self.ns.nft(f"delete table inet {self.name}")
            self.up = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lift()
