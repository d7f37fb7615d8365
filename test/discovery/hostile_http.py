#!/usr/bin/env python3
"""An HTTP server that does what the first part of the path says, for the tests of the HTTP client
and of PKARR relays. Prints "port N", and what is PUT; ends with its standard input."""

import argparse
import socket
import ssl
import sys
import threading
import time

packets = {}  # by place and id: what was PUT
puts = {}  # the same: how many PUTs came
lock = threading.Lock()


def read_request(conn):
    data = b""
    while b"\r\n\r\n" not in data:
        more = conn.recv(4096)
        if not more:
            return None
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, value = line.split(":", 1)
        headers[name.strip().lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        more = conn.recv(4096)
        if not more:
            break
        body += more
    method, path, _ = lines[0].split(" ")
    return method, path, headers, body


def answer(status, body=b"", extra=()):
    lines = ["HTTP/1.1 %s" % status, "Content-Length: %d" % len(body), *extra]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def timestamp(payload):
    return int.from_bytes(payload[64:72], "big")


def relay(place, method, key, body):
    """A PKARR relay at "/<mode>-<anything>". Modes: store takes anything; newest only what is newer
    than what it has, else 409; limit is too busy once; broken fails twice; late is store, slowly;
    talk is store with a page about it."""
    mode = place.split("-")[0]
    if mode == "late" and method == "GET":
        time.sleep(1)
    slot = place + "/" + key
    with lock:
        known = packets.get(slot)
        if method == "GET":
            if known is None:
                return answer("404 Not Found", b"no such key, and a long story about it" * 100)
            return answer("200 OK", known)
        print("put " + slot, flush=True)
        puts[slot] = count = puts.get(slot, 0) + 1
        if mode == "newest" and known is not None and timestamp(body) <= timestamp(known):
            return answer("409 Conflict")
        if mode == "limit" and count == 1:
            return answer("429 Too Many Requests", extra=["Retry-After: 2"])
        if mode == "broken" and count <= 2:
            return answer("500 Internal Server Error", b"oh no")
        packets[slot] = body
        if mode == "talk":
            return answer("200 OK", b"thank you very much")
        return answer("204 No Content")


def drip(conn, data, pause=0.02):
    for i in range(len(data)):
        conn.sendall(data[i : i + 1])
        time.sleep(pause)


def echo(method, path, headers, body):
    text = "%s %s\n" % (method, path)
    text += "".join("%s: %s\n" % pair for pair in sorted(headers.items()))
    return answer("200 OK", text.encode() + b"\n" + body)


CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FIXED = {
    "plain": answer("200 OK", b"hello"),
    "empty": answer("200 OK"),
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "open": b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    "old": b"HTTP/1.0 200 OK\r\n\r\nolder",
    "chunked": CHUNKS + b"5\r\nhello\r\n6\r\n again\r\n0\r\n\r\n",
    "chunked-cut": CHUNKS + b"5\r\nhello\r\n6\r\n ag",
    "chunked-endless": CHUNKS + b"5\r\nhello\r\n",
    "chunked-negative": CHUNKS + b"ffffffff\r\nhello",
    "chunked-overflow": CHUNKS + b"1000000000000000005\r\nhello\r\n",
    "chunked-junk": CHUNKS + b"zz\r\nhello",
    "gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    "negative": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nshort",
    "huge-length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nx",
    "huge": answer("200 OK", b"x" * 1000000),
    "exact": answer("200 OK", b"x" * 1072),
    "one-more": answer("200 OK", b"x" * 1073),
    "not-found": answer("404 Not Found", b"x" * 100000),
    "busy": answer("429 Too Many Requests", extra=["Retry-After: 17"]),
    "busy-junk": answer("503 Unavailable", extra=["Retry-After: -5"]),
    "redirect": answer("301 Moved", extra=["Location: /plain"]),
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "no-http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no-status": b"HTTP/1.1\r\n\r\n",
    "junk": b"\x16\x03\xff" * 50,
    "headers": b"HTTP/1.1 200 OK\r\n" + b"X-More: and more\r\n" * 5000,
    "hang-up": b"",
}


def serve(conn, tls):
    try:
        if tls is not None:
            conn = tls.wrap_socket(conn, server_side=True)
        request = read_request(conn)
        if request is None:
            return
        method, path, headers, body = request
        parts = path.split("/")
        kind = parts[1]
        if kind.split("-")[0] in ("store", "newest", "limit", "broken", "late", "talk"):
            conn.sendall(relay(kind, method, parts[2], body))
        elif kind == "echo":
            conn.sendall(echo(method, path, headers, body))
        elif kind.startswith("silent"):
            time.sleep(3600)
        elif kind == "drip":
            drip(conn, answer("200 OK", b"slow"), 0.005)
        elif kind == "slow":
            drip(conn, FIXED["headers"], 0.05)
        else:
            conn.sendall(FIXED[kind])
            if kind == "chunked-endless":
                time.sleep(3600)
    except (OSError, ValueError, KeyError):
        pass
    finally:
        try:
            conn.close()
        except OSError:
            pass


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--cert")
    args.add_argument("--key")
    args.add_argument("--old-tls", action="store_true")
    args.add_argument("--bind", default="127.0.0.1", help="the address to serve at")
    args = args.parse_args()
    tls = None
    if args.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(args.cert, args.key)
        if args.old_tls:
            tls.maximum_version = ssl.TLSVersion.TLSv1_2
    listener = socket.create_server((args.bind, 0), backlog=256)
    print("port %d" % listener.getsockname()[1], flush=True)

    def accept():
        while True:
            conn, _ = listener.accept()
            threading.Thread(target=serve, args=(conn, tls), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


main()
