"""NAT64: tayga maps each IPv6 host to an IPv4 address of its own (RFC 7915), without state for
flows; the router's IPv4 NAT then does what RFC 6146 calls the binding."""
import os
import shutil
import subprocess

PREFIX = "64:ff9b::"  # RFC 6052; "64:ff9b::192.0.2.1" is an address
POOL = "192.168.255"

CONFIG = """tun-device {ifname}
ipv4-addr {pool}.1
ipv6-addr fd64:0:0:2::1
prefix {prefix}/96
dynamic-pool {pool}.0/24
data-dir {folder}
"""


def available():
    return shutil.which("tayga") is not None


class Nat64:
    ifname = "nat64"

    def __init__(self, ns):
        if not available():
            raise OSError("tayga is missing (Debian: tayga)")
        self.folder = folder = f"/run/netlab/{ns.name}.tayga"
        os.mkdir(folder)
        path = os.path.join(folder, "tayga.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(CONFIG.format(ifname=self.ifname, pool=POOL, prefix=PREFIX, folder=folder))
        ns.run("tayga", "--mktun", "-c", path)
        ns.ip(f"link set {self.ifname} up", f"addr add {POOL}.2/32 dev {self.ifname}",
              f"addr add fd64:0:0:2::2/128 dev {self.ifname}",
              f"route add {POOL}.0/24 dev {self.ifname}",
              f"route add fd64:0:0:2::1/128 dev {self.ifname}",
              f"route add {PREFIX}/96 dev {self.ifname}")
        with open(os.path.join(folder, "log"), "wb") as log:
            self.process = subprocess.Popen(ns.command("tayga", "--nodetach", "-c", path),
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ns.await_interface(self.ifname)  # which is when tayga has taken it

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)
