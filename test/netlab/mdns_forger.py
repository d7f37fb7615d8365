"""One on the local network who says of others where they are: unsigned as iroh's nodes do, with
signatures of its own, or with somebody's real words changed (docs/protocol-mdns.md)."""
import os
import socket
import struct
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../cmd"))
from pkarr import Key, encode_name  # noqa: E402,F401

SERVICE = "_irohv1._udp.local"
GROUP = ("224.0.0.251", 5353)
CONTEXT = b"keymesh mdns announcement 1\0"
BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
PTR, TXT, SRV, A, ANY = 12, 16, 33, 1, 255


def base32(data):
    """RFC 4648 in lower case, without padding."""
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 5)
    return "".join(BASE32[int(bits[i:i + 5], 2)] for i in range(0, len(bits), 5))


def record(owner, kind, data, ttl):
    return encode_name(owner) + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def response(*records):
    return struct.pack("!6H", 0, 0x8400, 0, len(records), 0, 0) + b"".join(records)


def announcement(public, ip, port, ttl=0, texts=()):
    """That the key `public` is there; TTL 0 is what iroh's nodes send."""
    instance, host = f"{base32(public)}.{SERVICE}", f"{base32(public)}-{port}.local"
    records = [record(instance, SRV, struct.pack("!3H", 0, 0, port) + encode_name(host), ttl),
               record(host, A, socket.inet_aton(ip), ttl)]
    if texts:
        data = b"".join(bytes([len(text)]) + text.encode() for text in texts)
        records.append(record(instance, TXT, data, ttl))
    return response(*records)


def goodbye(public):
    return response(record(SERVICE, PTR, encode_name(f"{base32(public)}.{SERVICE}"), 0))


def signed(key, public, ip, port, ttl=120):
    """The same signed by `key`, whoever it is about."""
    now = time.time_ns() // 1_000_000
    message = (CONTEXT + public + struct.pack(">QBB", now, 1, 4) + socket.inet_aton(ip) +
               struct.pack(">HBB", port, 0, 0))
    return announcement(public, ip, port, ttl, (f"km-time={now}",
                                                f"km-sig={base32(key.sign(message))}"))


def question():
    """As swarm-discovery, iroh's mDNS library, asks every 0.7 s."""
    return (struct.pack("!6H", 0, 0, 1, 0, 0, 0) + encode_name(SERVICE) +
            struct.pack("!2H", PTR, 1))


class Forger:
    """A socket on a host for all that; `.say(packet)` once, `.keep(packet, seconds)` again and
    again until `.close()`. `.heard(public)` waits for a real announcement of a key."""

    def __init__(self, host):
        self.stop, self.threads = threading.Event(), []
        self.sock = host.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
        self.sock.bind(("", GROUP[1]))
        me = socket.inet_aton(host.v4)
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, me)
        self.sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                             socket.inet_aton(GROUP[0]) + me)

    def say(self, *packets):
        for packet in packets:
            self.sock.sendto(packet, GROUP)

    def keep(self, packet, seconds):
        def run():
            while not self.stop.is_set():
                self.say(packet)
                self.stop.wait(seconds)
        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def heard(self, public, seconds=10):
        """The packet in which that key said with a signature where it is."""
        label, deadline = base32(public).encode(), time.monotonic() + seconds
        self.say(question())
        while time.monotonic() < deadline:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.01))
            packet = self.sock.recv(9000)
            if label in packet and b"km-sig=" in packet:
                return packet
        raise AssertionError("it did not announce itself")

    def close(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.sock.close()
