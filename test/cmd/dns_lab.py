"""A km-dns of a test's own."""
import http.client
import os
import socket
import ssl
import struct
import subprocess
import time

from lab import BIN_DIR, LIMIT, WRAPPER, Case, Process, Result, environment
from pkarr import Answer, query

DNS = os.path.join(BIN_DIR, "km-dns")
ANY = "127.0.0.1:0"
ORIGIN = "dns.example.org"
# Every port is one that the system chooses, and nothing is limited.
PLAIN = f"""origins = ["{ORIGIN}", "."]
records = ["@ 3600 A 192.0.2.7", "local.{ORIGIN} 60 A 127.0.0.1",
  "text.{ORIGIN} 60 TXT \\"a b\\" \\"c\\"", "ns.{ORIGIN} 3600 A 192.0.2.7"]
dns.bind = "{ANY}"
http.bind = "{ANY}"
metrics.bind = "{ANY}"
"""
NO_LIMITS = """[limits]
dns_per_second = 0
http_per_second = 0
put_per_minute = 0
"""


def run_dns(*args, env=None, **more):
    """Runs km-dns to its end."""
    done = subprocess.run([*WRAPPER, DNS, *map(str, args)], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=LIMIT, env=environment(env), check=False,
                          **more)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def split(addr):
    host, port = addr.rsplit(":", 1)
    return host.strip("[]"), int(port)


class Reply:
    def __init__(self, reply):
        self.status, self.headers, self.body = reply.status, reply.headers, reply.read()

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:200]!r}"


def send(connection, method, path, body=None, **headers):
    """One request on an open connection."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, headers)
    return Reply(connection.getresponse())


class Dns(Process):
    """A km-dns that is ready: `http`, `https`, `dns`, `metrics` are addresses."""

    def __init__(self, *args, **more):
        super().__init__(*args, "--json", program=DNS, **more)
        try:
            self.ready = self.event("ready")
        except BaseException:
            self.end()
            raise
        self.http, self.https, self.dns = ((self.ready[name] or [None])[0]
                                           for name in ("http", "https", "dns"))
        self.metrics = self.ready["metrics"]

    def connect(self, addr=None):
        return http.client.HTTPConnection(*split(addr or self.http), timeout=LIMIT)

    def connect_tls(self, ca_file):
        context = ssl.create_default_context(cafile=ca_file)
        return http.client.HTTPSConnection(*split(self.https), timeout=LIMIT, context=context)

    def ask(self, method, path, body=None, **headers):
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            return send(connection, method, path, body, **headers)
        finally:
            connection.close()

    def tcp(self, source="127.0.0.1"):
        return socket.create_connection(split(self.http), timeout=LIMIT,
                                        source_address=(source, 0))

    def lookup(self, name, kind="TXT"):
        """Over UDP."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(LIMIT)
            sock.connect(split(self.dns))
            sock.send(query(name, kind, 77))
            return Answer(sock.recv(65535))

    def lookup_tcp(self, name, kind="TXT"):
        with socket.create_connection(split(self.dns), timeout=LIMIT) as sock:
            message = query(name, kind, 78)
            sock.sendall(struct.pack(">H", len(message)) + message)
            stream = sock.makefile("rb")
            return Answer(stream.read(struct.unpack(">H", stream.read(2))[0]))

    def count(self, name):
        """A number of the metrics page."""
        connection = self.connect(self.metrics)
        page = send(connection, "GET", "/metrics").body.decode()
        connection.close()
        lines = [line.split()[1] for line in page.splitlines() if line.split()[0] == name]
        assert len(lines) == 1, f"{name} in {page}"
        return float(lines[0])


class DnsCase(Case):
    def config(self, text="", plain=PLAIN, name="dns.toml", mode=0o600):
        return self.file(name, (plain + text).encode(), mode)

    def dns(self, text="[store]\nmemory = true\n" + NO_LIMITS, *args, plain=PLAIN):
        """One that runs with this configuration."""
        return self.start(Dns, "--config", self.config(text, plain), *args)

    def wait_for(self, fn):
        until = time.monotonic() + LIMIT
        while not fn():
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)
