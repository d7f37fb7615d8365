"""Packets on an interface, counted by what they are."""
import collections
import socket
import struct
import threading

# As the columns of a table: what carries the connection, what watches its path, what asks where we
# may be reached, and the connection to the relay.
KINDS = ("quic", "disco", "address", "relay", "other")

ETH_P_ALL, PACKET_OUTGOING = 3, 4
IPV4, UDP, TCP = 0x0800, 17, 6
STUN_PORT, QAD_PORT, COOKIE = 3478, 7842, 0x2112A442
PORT_MAPPING = {1900, 5350, 5351}  # UPnP, PCP and NAT-PMP
DISCO_LEAST = 1 + 32 + 8 + 24 + 16  # docs/protocol-disco.md


def kind_of_udp(ports, data):
    """By the port where a server has one of its own, else by RFC 9443's rules."""
    stun = len(data) >= 20 and data[0] < 4 and struct.unpack_from("!I", data, 4)[0] == COOKIE
    if stun or ports & {STUN_PORT, QAD_PORT} or ports & PORT_MAPPING:
        return "address"
    if len(data) >= DISCO_LEAST and data[0] == 1:
        return "disco"
    return "quic" if data and data[0] & 0x40 else "other"


def kind_of(frame, relay_port):
    """Of an Ethernet frame. ARP and all that is not IPv4 is "other"."""
    if len(frame) < 42 or struct.unpack_from("!H", frame, 12)[0] != IPV4:
        return "other"
    protocol, at = frame[23], 14 + 4 * (frame[14] & 15)
    if protocol not in (UDP, TCP):
        return "other"
    ports = set(struct.unpack_from("!HH", frame, at))
    if protocol == TCP:
        return "relay" if relay_port in ports else "other"
    length = struct.unpack_from("!H", frame, at + 4)[0]  # frames are padded
    return kind_of_udp(ports, frame[at + 8:at + length])


class Counter:
    """Counts until it is stopped: counts["in"] and counts["out"], kind by kind."""

    def __init__(self, ns, ifname, relay_port):
        self.relay_port = relay_port
        self.counts = {way: collections.Counter() for way in ("in", "out")}
        self.running = True
        with ns.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.bind((ifname, ETH_P_ALL))
        self.sock.settimeout(0.2)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while self.running:
            try:
                frame, address = self.sock.recvfrom(2048)
            except TimeoutError:
                continue
            way = "out" if address[2] == PACKET_OUTGOING else "in"
            self.counts[way][kind_of(frame, self.relay_port)] += 1

    def stop(self):
        self.running = False
        self.thread.join()
        self.sock.close()
        return {way: {kind: self.counts[way][kind] for kind in KINDS} for way in self.counts}
