#!/usr/bin/env python3
"""A name server over UDP and TCP that does what the label before "test" says, for the tests of the
DNS source: TXT answers say "user-data=<label>", forged ones "user-data=forged". Prints "port N",
then "udp NAME" or "tcp NAME" for each question; ends with its standard input."""

import argparse
import socket
import struct
import sys
import threading
import time

TXT, CNAME, SOA, OPT = 16, 5, 6, 41
asked = {}


def encode_name(name):
    out = b""
    for label in name.split("."):
        if label:
            out += bytes([len(label)]) + label.encode()
    return out + b"\0"


def decode_question(data):
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
        at += 1 + data[at]
    return ".".join(labels), data[12 : at + 5]


def record(owner, kind, ttl, data):
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def txt(text, owner=b"\xc0\x0c", ttl=60):
    data = text.encode()
    strings = [data[i : i + 255] for i in range(0, len(data), 255)]
    return record(owner, TXT, ttl, b"".join(bytes([len(one)]) + one for one in strings))


def about(label, owner=b"\xc0\x0c", ttl=60):
    return [txt("addr=192.0.2.1:1", owner, ttl), txt("user-data=" + label, owner, ttl)]


def message(query_id, question, answers=(), authority=(), rcode=0, flags=0x8400):
    head = struct.pack(
        "!HHHHHH", query_id, flags | rcode, 1, len(answers), len(authority), 0
    )
    return head + question + b"".join(answers) + b"".join(authority)


def soa(minimum):
    names = encode_name("ns.test") + encode_name("root.test")
    return record(
        encode_name("test"), SOA, 3600, names + struct.pack("!IIIII", 1, 2, 3, 4, minimum)
    )


def other_name(question):
    """The same length, another name."""
    return question[:3] + (b"x" if question[3:4] != b"x" else b"y") + question[4:]


def drip(conn, data):
    for i in range(len(data)):
        conn.sendall(data[i : i + 1])
        time.sleep(0.5)


class Server:
    def __init__(self, attribute, addr):
        self.attribute = attribute
        self.tcp = None
        while self.tcp is None:
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind((addr, 0))
            self.port = self.udp.getsockname()[1]
            try:
                self.tcp = socket.create_server((addr, self.port))
            except OSError:  # somebody else has that number
                self.udp.close()
        self.stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.stranger.bind((addr, 0))

    def answers(self, data, name, question, behaviour, over_tcp):
        """What is sent, in order: bytes, or ("stranger", bytes) from another port."""
        qid = struct.unpack("!H", data[:2])[0]
        count = asked[name] = asked.get(name, 0) + 1
        truth = message(qid, question, about(behaviour))
        forged = about("forged")
        if name.lower().startswith("_kmrecord."):
            if behaviour in ("good", "late-record") and self.attribute:
                if behaviour == "late-record":
                    time.sleep(0.2)
                return [message(qid, question, [txt(self.attribute)])]
            return [] if behaviour == "no-record" else [message(qid, question, rcode=3)]
        if behaviour == "wrong-id":
            return [message(qid ^ bit, question, forged) for bit in (1, 256)] + [truth]
        if behaviour == "flood":
            return [message(qid ^ (1 + i), question, forged) for i in range(2000)] + [truth]
        if behaviour == "wrong-question":
            return [message(qid, other_name(question), forged), truth]
        if behaviour == "wrong-type":
            return [message(qid, question[:-4] + b"\0\1\0\1", forged), truth]
        if behaviour == "no-question":
            head = struct.pack("!HHHHHH", qid, 0x8400, 0, 1, 0, 0)
            return [head + about("forged", encode_name(name))[1], truth]
        if behaviour == "wrong-source":
            return [("stranger", message(qid, question, forged)), truth]
        if behaviour == "wrong-owner":
            owner = encode_name("_iroh." + "y" * 52 + ".wrong-owner.test")
            return [message(qid, question, about("forged", owner))]
        if behaviour == "drop":
            return [truth] if count > 3 else []
        if behaviour.startswith("silent"):
            return []
        if behaviour == "garbage":
            return [truth] if count > 1 else [data[:2] + b"\xff" * 40]
        if behaviour == "loop":
            itself = b"\xc0" + bytes([len(question) + 12])
            return [message(qid, question, about("forged", itself))]
        if behaviour == "too-many":
            return [truth[:6] + b"\xff\xff" + truth[8:]]
        if behaviour == "cut":
            return [truth[:-4]]
        if behaviour in ("tc", "tc-cut", "tc-closed", "tc-drip") and not over_tcp:
            return [message(qid, question, flags=0x8600)]
        if behaviour == "tc":
            addrs = [txt("addr=192.0.2.1:%d" % (1 + i)) for i in range(30)]
            junk = [txt("junk=" + "x" * 200)] * 40
            return [message(qid, question, addrs + junk + [txt("user-data=tc")])]
        if behaviour == "servfail":
            return [message(qid, question, rcode=2)]
        if behaviour == "refused":
            return [message(qid, question, rcode=5)]
        if behaviour == "nxdomain":
            return [message(qid, question, authority=[soa(60)], rcode=3)]
        if behaviour == "nodata":
            return [message(qid, question)]
        if behaviour == "short":
            return [message(qid, question, about("short", ttl=1))]
        if behaviour == "policy":  # of a wildcard, at first
            policy = message(qid, question, [txt("v=spf1 -all", ttl=3600)])
            return [truth if count > 1 else policy]
        if behaviour == "zero":
            return [message(qid, question, about("zero", ttl=0))]
        if behaviour == "alias":
            target = encode_name("elsewhere.test")
            alias = record(b"\xc0\x0c", CNAME, 20, target)
            return [message(qid, question, [alias] + about("alias", target))]
        if behaviour == "circle":
            return [message(qid, question, [record(b"\xc0\x0c", CNAME, 20, b"\xc0\x0c")])]
        return [truth]

    def on_udp(self, data, peer):
        name, question = decode_question(data)
        print("udp " + name, flush=True)
        for one in self.answers(data, name, question, name.split(".")[-2].lower(), False):
            if isinstance(one, tuple):
                self.stranger.sendto(one[1], peer)
            else:
                self.udp.sendto(one, peer)

    def on_tcp(self, conn):
        try:
            while True:
                head = conn.recv(2)
                if len(head) < 2:
                    return
                data = conn.recv(struct.unpack("!H", head)[0])
                name, question = decode_question(data)
                behaviour = name.split(".")[-2].lower()
                print("tcp " + name, flush=True)
                if behaviour == "tc-closed":
                    return
                if behaviour == "tc-cut":
                    conn.sendall(struct.pack("!H", 500) + data)
                    return
                if behaviour == "tc-drip":
                    drip(conn, struct.pack("!H", 500) + data)
                    return
                for one in self.answers(data, name, question, behaviour, True):
                    conn.sendall(struct.pack("!H", len(one)) + one)
        except OSError:
            pass  # whoever asked had enough
        finally:
            conn.close()

    def run_udp(self):
        while True:
            data, peer = self.udp.recvfrom(4096)
            threading.Thread(target=self.on_udp, args=(data, peer), daemon=True).start()

    def run_tcp(self):
        while True:
            conn, _ = self.tcp.accept()
            threading.Thread(target=self.on_tcp, args=(conn,), daemon=True).start()


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--record", help="the attribute of a key name record")
    args.add_argument("--bind", default="127.0.0.1", help="the address to serve at")
    options = args.parse_args()
    server = Server(options.record, options.bind)
    print("port %d" % server.port, flush=True)
    threading.Thread(target=server.run_udp, daemon=True).start()
    threading.Thread(target=server.run_tcp, daemon=True).start()
    sys.stdin.read()


main()
