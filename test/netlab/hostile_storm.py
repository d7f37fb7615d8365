"""Somebody who sees the packets of two peers in the middle of the internet, and sends what he likes
under any address."""
import os
import random
import socket
import struct
import threading
import time

ETH_P_ALL, OUTGOING = 3, 4
UDP = 17
MAGIC, DISCO_MIN, PING_LEN = 1, 81, 115  # docs/protocol-disco.md


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def datagram(source, target, payload):
    """An IPv4 packet; UDP without a checksum, which IPv4 allows."""
    udp = struct.pack("!HHHH", source[1], target[1], 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), random.getrandbits(16), 0, 64, UDP,
                       0, socket.inet_aton(source[0]), socket.inet_aton(target[0]))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp


class Watcher:
    """Collects the disco packets that pass through a router: (source, target, payload)."""

    def __init__(self, ns):
        with ns.inside():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.sock.settimeout(0.2)
        self.seen, self.over = [], False
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while not self.over:
            try:
                frame, sender = self.sock.recvfrom(2048)
            except socket.timeout:
                continue
            if sender[2] != OUTGOING and sender[1] == 0x0800 and frame[23] == UDP:
                self._keep(frame[14:])

    def _keep(self, packet):
        start = (packet[0] & 15) * 4
        source_port, target_port = struct.unpack("!HH", packet[start:start + 4])
        payload = packet[start + 8:]
        if len(payload) >= DISCO_MIN and payload[0] == MAGIC:
            self.seen.append(((socket.inet_ntoa(packet[12:16]), source_port),
                              (socket.inet_ntoa(packet[16:20]), target_port), payload))

    def end(self):
        self.over = True
        self.thread.join()
        self.sock.close()


class Spoofer:
    """Sends under any address. Counts what it sent under each, in packets and bytes of UDP."""

    def __init__(self, ns):
        with ns.inside():
            self.sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self.packets, self.bytes = {}, {}

    def send(self, source, target, payload):
        self.packets[source[0]] = self.packets.get(source[0], 0) + 1
        self.bytes[source[0]] = self.bytes.get(source[0], 0) + len(payload) + 28
        try:
            self.sock.sendto(datagram(source, target, payload), target)
        except OSError:
            pass  # its own queue is full: less of a storm

    def end(self):
        self.sock.close()


def garbage(ids):
    """Looks like disco as far as can be seen from outside, or not even that."""
    kind = random.randrange(5)
    if kind == 0:  # no QUIC: that has answers of its own
        return bytes([random.getrandbits(6)]) + os.urandom(random.randrange(1, 1400))
    if kind == 1:
        return bytes([MAGIC]) + os.urandom(random.randrange(0, 1231))
    if kind == 2:  # in the name of a peer
        return bytes([MAGIC]) + random.choice(ids) + os.urandom(PING_LEN - 33)
    if kind == 3:  # a time of the far future, which must not make genuine packets old
        return bytes([MAGIC]) + random.choice(ids) + b"\x7f" * 8 + os.urandom(PING_LEN - 41)
    return bytes([MAGIC]) + random.choice(ids) + os.urandom(random.randrange(0, 60))


def bend(payload):
    """The same but for one bit."""
    at = random.randrange(len(payload))
    return payload[:at] + bytes([payload[at] ^ 1 << random.randrange(8)]) + payload[at + 1:]


def storm(spoofer, seen, own, victim, seconds, per_second=2000):
    """Replayed, reflected, bent and made-up packets, under the addresses of the peers, of a third
    party and of his own. Returns how many."""
    ids = sorted({payload[1:33] for _source, _target, payload in seen})
    begin, count = time.monotonic(), 0
    while (passed := time.monotonic() - begin) < seconds:
        if count > passed * per_second:
            time.sleep(0.002)
            continue
        source, target, payload = random.choice(seen)
        false = random.choice((source, (victim, source[1]), (own, 4000),
                               (source[0], random.randrange(1024, 65536))))
        spoofer.send(false, target, random.choice((payload, bend(payload), garbage(ids))))
        spoofer.send(target, source, payload)  # turned round: to who sent it, from who got it
        spoofer.send((victim, target[1]), source, payload)
        count += 3
    return count
