"""STUN, both ends: RFC 8489's binding request, and what RFC 5780 adds to learn how a NAT maps and
filters. The lab trusts no NAT before this has seen it work."""
import ipaddress
import os
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass

from .nat64 import PREFIX

COOKIE = 0x2112A442
REQUEST, SUCCESS = 0x0001, 0x0101
CHANGE_REQUEST, XOR_MAPPED, ORIGIN, OTHER = 0x0003, 0x0020, 0x802b, 0x802c
CHANGE_IP, CHANGE_PORT = 4, 2
PORTS = 3478, 3479


def message(kind, transaction, *attributes):
    body = b"".join(struct.pack("!HH", name, len(value)) + value + bytes(-len(value) % 4)
                    for name, value in attributes)
    return struct.pack("!HHI", kind, len(body), COOKIE) + transaction + body


def parse(data):
    """Kind, transaction, attributes; ValueError for what is no STUN."""
    if len(data) < 20:
        raise ValueError("short")
    kind, length, cookie = struct.unpack_from("!HHI", data)
    if kind & 0xc000 or cookie != COOKIE or length != len(data) - 20:
        raise ValueError("not STUN")
    found, at = {}, 20
    while at + 4 <= len(data):
        name, size = struct.unpack_from("!HH", data, at)
        if at + 4 + size > len(data):
            raise ValueError("an attribute is cut off")
        found.setdefault(name, data[at + 4:at + 4 + size])
        at += 4 + size + -size % 4
    return kind, data[8:20], found


def mask(packed, transaction):
    key = struct.pack("!I", COOKIE) + transaction
    return bytes(a ^ b for a, b in zip(packed, key))


def write_address(address, transaction=None):
    """XORed where there is a transaction."""
    packed, port = ipaddress.ip_address(address[0]).packed, address[1]
    if transaction is not None:
        packed, port = mask(packed, transaction), port ^ (COOKIE >> 16)
    return struct.pack("!xBH", 1 if len(packed) == 4 else 2, port) + packed


def read_address(value, transaction):
    port = struct.unpack_from("!H", value, 2)[0] ^ (COOKIE >> 16)
    return str(ipaddress.ip_address(mask(value[4:], transaction))), port


class StunServer:
    """Answers on two addresses (one of each of two servers), two ports each, of one family.
    .address(i, j) is address i, port j."""

    def __init__(self, first, second, family=socket.AF_INET):
        self.family, self.sockets, self.ended = family, {}, os.pipe()
        self.selector = selectors.DefaultSelector()
        for i, server in enumerate((first, second)):
            for j, port in enumerate(PORTS):
                sock = server.ns.socket(family)
                sock.bind((server.v4 if family == socket.AF_INET else server.v6, port))
                self.sockets[i, j] = sock
                self.selector.register(sock, selectors.EVENT_READ, (i, j))
        self.selector.register(self.ended[0], selectors.EVENT_READ)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def address(self, i=0, j=0):
        return self.sockets[i, j].getsockname()[:2]

    def send(self, data, target, i=0, j=0):
        """Something unasked."""
        self.sockets[i, j].sendto(data, target)

    def _serve(self):
        while True:
            for key, _events in self.selector.select():
                if key.data is None:
                    return
                self._answer(key.fileobj, *key.data)

    def _answer(self, sock, i, j):
        data, source = sock.recvfrom(2048)
        try:
            kind, transaction, attributes = parse(data)
        except ValueError:
            return
        if kind != REQUEST:
            return
        flags = int.from_bytes(attributes.get(CHANGE_REQUEST, b"\0"), "big")
        origin = i ^ bool(flags & CHANGE_IP), j ^ bool(flags & CHANGE_PORT)
        answer = message(SUCCESS, transaction,
                         (XOR_MAPPED, write_address(source, transaction)),
                         (ORIGIN, write_address(self.address(*origin))),
                         (OTHER, write_address(self.address(1 - i, 1 - j))))
        self.sockets[origin].sendto(answer, source)

    def close(self):
        os.write(self.ended[1], b"x")
        self.thread.join()
        for sock in self.sockets.values():
            sock.close()
        self.selector.close()
        for fd in self.ended:
            os.close(fd)


@dataclass
class Verdict:
    mapping: str
    filtering: str
    public: tuple


class StunClient:
    """One socket of a host, and what it learns. A host without IPv4 asks through NAT64."""

    def __init__(self, host, server, patience=5, port=0):
        self.server, self.patience = server, patience
        self.family = server.family if host.v4 else socket.AF_INET6
        self.sock = host.socket(self.family)
        self.sock.bind(("", port))
        self.port = self.sock.getsockname()[1]

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, target, flags=0):
        """Sends a request; its transaction."""
        transaction = os.urandom(12)
        change = [(CHANGE_REQUEST, struct.pack("!I", flags))] if flags else []
        self.send(message(REQUEST, transaction, *change), target)
        return transaction

    def send(self, data, target):
        if self.family == socket.AF_INET6 and ":" not in target[0]:
            target = PREFIX + target[0], target[1]
        self.sock.sendto(data, target)

    def plain(self, source):
        """The IPv4 address that NAT64 hides in one."""
        if self.family != self.server.family and source[0].startswith(PREFIX):
            packed = ipaddress.ip_address(source[0]).packed
            return str(ipaddress.ip_address(packed[12:])), source[1]
        return source

    def receive(self, seconds):
        """The next packet and where it came from; None if there is none."""
        self.sock.settimeout(max(seconds, 0.001))
        try:
            data, source = self.sock.recvfrom(65536)
        except (TimeoutError, BlockingIOError):
            return None
        return data, source[:2]

    def mapped(self, target=None):
        """Where that server (the first, unless said) sees this socket; None without an answer."""
        asked, end = set(), time.monotonic() + self.patience
        while (now := time.monotonic()) < end:
            asked.add(self.ask(target or self.server.address()))
            # RFC 8489, 6.2.1: it is said again when no answer comes.
            while (packet := self.receive(now + 0.5 - time.monotonic())) is not None:
                if packet[0][8:20] in asked:
                    return read_address(parse(packet[0])[2][XOR_MAPPED], packet[0][8:20])
        return None

    def answered(self, seconds, target=None):
        """Whether one request is."""
        transaction, end = self.ask(target or self.server.address()), time.monotonic() + seconds
        while (packet := self.receive(end - time.monotonic())) is not None:
            if packet[0][8:20] == transaction:
                return True
        return False

    def mapping(self):
        """RFC 5780, 4.3; and the address that the first server saw."""
        first, other_port, other_address = (
            self.mapped(self.server.address(i, j)) for i, j in ((0, 0), (0, 1), (1, 0)))
        if first == other_port == other_address:
            return "EIM", first
        return ("ADM" if first == other_port else "APDM"), first

    def comes_through(self, flags):
        """Whether the answer from another address or port arrives. The server sends the plain
        answer after the changed one, so there is nothing to wait for once that one is here; it is
        asked twice, for packets that overtake each other."""
        server = self.server.address()
        changed = self.ask(server, flags)
        plain = [self.ask(server), self.ask(server)]
        seen = []
        while len(set(plain) & set(seen)) < 2:
            packet = self.receive(self.patience)
            if packet is None:
                raise AssertionError("the server does not answer at all")
            seen.append(packet[0][8:20])
        while changed not in seen and (packet := self.receive(0.05)) is not None:
            seen.append(packet[0][8:20])
        return changed in seen

    def filtering(self):
        """RFC 5780, 4.4; on a socket that has not yet sent to the other address."""
        assert self.mapped() is not None
        if self.comes_through(CHANGE_IP | CHANGE_PORT):
            return "EIF"
        return "ADF" if self.comes_through(CHANGE_PORT) else "APDF"


def classify(host, server, patience=5):
    """How a host's NAT maps and filters, and where it is seen; None without UDP."""
    with StunClient(host, server, patience) as client:
        if client.mapped() is None:
            return None
        filtering = client.filtering()
    with StunClient(host, server) as client:
        mapping, public = client.mapping()
        own = host.v4 if server.family == socket.AF_INET else host.v6
        if public == (own, client.port):
            mapping = "none"
    return Verdict(mapping, filtering, public)
