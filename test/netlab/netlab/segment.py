"""A network of its own: hosts on a switch, no router, nobody to ask, no way out."""


class Segment:
    """`v4`, `v6`: the families that its hosts have addresses of. Multicasts go to all."""

    def __init__(self, lab, number, v4=True, v6=True):
        self.lab, self.number, self.v4, self.v6 = lab, number, v4, v6
        self.switch, self.hosts, self.ports = lab.namespace(f"switch{number}"), [], 0
        self.switch.ip("link add br0 type bridge mcast_snooping 0", "link set br0 up")

    def add_host(self):
        host = self.lab.namespace(f"segment{self.number}.h{len(self.hosts) + 1}")
        host.v4, host.v6 = self.plug(host, "eth0")
        self.hosts.append(host)
        return host

    def plug(self, ns, ifname):
        """Gives a host an interface here, without a default route; its addresses."""
        self.ports += 1
        v4 = f"10.77.{self.number}.{self.ports}" if self.v4 else None
        v6 = f"fd77:{self.number}::{self.ports}" if self.v6 else None
        self.lab.wire(ns, ifname, self.switch, f"port{self.ports}", 1500)
        self.switch.ip(f"link set port{self.ports} master br0")
        self.switch.await_interface("br0")
        if v4:
            ns.ip(f"addr add {v4}/24 dev {ifname}")
        if v6:
            ns.ip(f"addr add {v6}/64 dev {ifname}")
        else:
            ns.sysctl(f"net.ipv6.conf.{ifname}.disable_ipv6", 1)
        return v4, v6
