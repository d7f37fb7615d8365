"""Signed packets, made and read without any library: an independent second hand (RFC 8032, BEP 44,
RFC 1035)."""
import hashlib
import os
import struct
import time

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)
Z32 = "ybndrfg8ejkmcpqxot1uwisza345h769"


def _add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def _multiply(scalar, point):
    result = (0, 1, 1, 0)
    while scalar > 0:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _base():
    y = 4 * pow(5, P - 2, P) % P
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P != 0:
        x = x * ROOT % P
    if x & 1:
        x = P - x
    return x, y, 1, x * y % P


BASE = _base()


def _compress(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _number(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % Q


class Key:
    """An Ed25519 key, with the forms of its id."""

    def __init__(self, seed=None):
        digest = hashlib.sha512(seed or os.urandom(32)).digest()
        scalar = int.from_bytes(digest[:32], "little")
        self.scalar = scalar & ((1 << 254) - 8) | 1 << 254
        self.prefix = digest[32:]
        self.public = _compress(_multiply(self.scalar, BASE))
        self.z32 = z32(self.public)

    def sign(self, message):
        r = _number(self.prefix, message)
        point = _compress(_multiply(r, BASE))
        s = (r + _number(point, self.public, message) * self.scalar) % Q
        return point + s.to_bytes(32, "little")

    def payload(self, dns, timestamp_us=None):
        """What is sent to a relay: signature, time, message."""
        timestamp_us = now_us() if timestamp_us is None else timestamp_us
        signed = b"3:seqi%de1:v%d:%s" % (timestamp_us, len(dns), dns)
        return self.sign(signed) + struct.pack(">Q", timestamp_us) + dns

    def packet(self, *texts, timestamp_us=None, ttl=30):
        """A payload with these attributes, "relay=https://..."."""
        name = encode_name(f"_iroh.{self.z32}")
        records = [name + struct.pack(">HHIH", 16, 1, ttl, len(text) + 1) + bytes([len(text)]) +
                   text for text in map(str.encode, texts)]
        dns = struct.pack(">HHHHHH", 0, 0x8000, 0, len(records), 0, 0) + b"".join(records)
        return self.payload(dns, timestamp_us)


def z32(data):
    bits = int.from_bytes(data, "big") << (-len(data) * 8) % 5
    count = (len(data) * 8 + 4) // 5
    return "".join(Z32[bits >> 5 * i & 31] for i in reversed(range(count)))


def now_us():
    return time.time_ns() // 1000


# --- DNS ------------------------------------------------------------------------------------------

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "TXT": 16, "AAAA": 28}


def encode_name(name):
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def query(name, kind="TXT", number=0):
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + encode_name(name) + struct.pack(
        ">HH", TYPES[kind], 1)


def _name_at(message, at):
    labels, end = [], None
    while message[at] != 0:
        if message[at] >= 192:
            end = end or at + 2
            at = struct.unpack_from(">H", message, at)[0] & 0x3FFF
            continue
        labels.append(message[at + 1:at + 1 + message[at]].decode("latin-1"))
        at += 1 + message[at]
    return ".".join(labels) + ".", end or at + 1


class Answer:
    """A DNS answer: `id`, `flags`, `rcode`, `answers` as (name, type, ttl, data)."""

    def __init__(self, message):
        self.id, self.flags, questions, answers, _, _ = struct.unpack_from(">HHHHHH", message)
        self.rcode = self.flags & 15
        at = 12
        for _ in range(questions):
            at = _name_at(message, at)[1] + 4
        self.answers = []
        for _ in range(answers):
            name, at = _name_at(message, at)
            kind, _, ttl, length = struct.unpack_from(">HHIH", message, at)
            self.answers.append((name, kind, ttl, message[at + 10:at + 10 + length]))
            at += 10 + length

    def texts(self):
        """The strings of TXT records, each record's joined."""
        found = []
        for _, kind, _, data in self.answers:
            at, text = 0, b""
            while kind == 16 and at < len(data):
                text += data[at + 1:at + 1 + data[at]]
                at += 1 + data[at]
            found.append(text.decode())
        return found
