"""A km-relay of a test's own, and certificates for it."""
import os
import shutil
import subprocess

from lab import BIN_DIR, LIMIT, OK, WRAPPER, Case, Process, Result, environment, run

RELAY = os.path.join(BIN_DIR, "km-relay")
ANY = "127.0.0.1:0"
# Every port is one that the system chooses.
ADDRESSES = f'http_bind_addr = "{ANY}"\nstun_bind_addr = "{ANY}"\nmetrics_bind_addr = "{ANY}"\n'


def run_relay(*args, env=None, **more):
    """Runs km-relay to its end."""
    done = subprocess.run([*WRAPPER, RELAY, *map(str, args)], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=LIMIT, env=environment(env), check=False,
                          **more)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


class Relay(Process):
    """A km-relay that is ready: `http`, `https`, `stun`, `metrics` (addresses), `url`."""

    def __init__(self, *args, env=None):
        words = [f"{name}={value}" for name, value in (env or {}).items()]
        super().__init__(*words, RELAY, *args, "--json", program="/usr/bin/env")
        try:
            self.ready = self.event("ready")
        except BaseException:
            self.end()
            raise
        self.http, self.https, self.stun = ((self.ready[name] or [None])[0]
                                            for name in ("http", "https", "stun"))
        self.metrics = self.ready["metrics"]
        self.url = f"https://{self.https}/" if self.https else f"http://{self.http}/"

    def log(self, word):
        """The lines of its log so far that have this word in them."""
        return [line for line in self.err if word in line]


class RelayCase(Case):
    def config(self, text, addresses=ADDRESSES, name="relay.toml", mode=0o600):
        return self.file(name, (addresses + text).encode(), mode)

    def relay(self, text="", *args, addresses=ADDRESSES, env=None):
        """One that runs with this configuration."""
        return self.start(Relay, "--config", self.config(text, addresses), *args, env=env)

    def key(self, name):
        """A key file and its id."""
        path = self.path(name)
        return path, run("key", "new", "--out", path, "--json").event("key")["id"]

    def let_in(self, url, *args):
        """Asks for the way in, with a fresh key; None, or what the relay said against it."""
        result = run("relay", "ping", url, "--count", 1, "--json", *args)
        if result.status == OK:
            result.event("login")
            return None
        return result.event("error")["message"]


def have_openssl():
    return shutil.which("openssl") is not None


def make_certificate(folder, name, authority=None):
    """NAME.crt and NAME.key, for 127.0.0.1 and localhost; an authority when there is none."""
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True)

    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", name + ".key")
    if authority is None:
        openssl("req", "-x509", "-new", "-key", name + ".key", "-subj", "/CN=" + name, "-days", "9",
                "-out", name + ".crt", "-addext", "basicConstraints=critical,CA:TRUE",
                "-addext", "keyUsage=critical,keyCertSign")
        return
    openssl("req", "-new", "-key", name + ".key", "-subj", "/CN=" + name, "-out", name + ".csr")
    with open(os.path.join(folder, "extensions"), "w", encoding="ascii") as file:
        file.write("subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", name + ".csr", "-CA", authority + ".crt", "-CAkey",
            authority + ".key", "-CAcreateserial", "-days", "9", "-sha256", "-extfile",
            "extensions", "-out", name + ".crt")
