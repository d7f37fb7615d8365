"""Builds programs of ours in Rust with the machine's own cargo, once, into a cache outside the
tree: km-bench-load (load/), and others for whom this is a module.

In such a folder pinned.lock is Cargo.lock without the lines that say where a package comes from:
that is the machine's cargo to know. Versions and checksums are in it, and cargo checks them
(--locked).

  KM_CACHE_DIR   where it is put (default: $XDG_CACHE_HOME/keymesh)
"""
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

OLDEST = (1, 91)  # as the iroh crate says
PROBE = """[package]
name = "probe"
version = "0.0.0"
[lib]
path = "/dev/null"
[dependencies]
libc = "*"
"""


class Skip(Exception):
    """Cannot be built here; says why."""


def cache_dir():
    fallback = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("KM_CACHE_DIR") or os.path.join(fallback, "keymesh")


def cargo(*args, cwd, log):
    """Runs cargo; its status. What it says goes to the log."""
    env = {**os.environ, "CARGO_TERM_COLOR": "never"}
    return subprocess.run(["cargo", *args], cwd=cwd, stdout=log, stderr=log, env=env,
                          stdin=subprocess.DEVNULL, check=False).returncode


def cargo_version():
    if shutil.which("cargo") is None:
        raise Skip("there is no cargo")
    text = subprocess.run(["cargo", "--version"], capture_output=True, text=True,
                          check=False).stdout
    found = re.match(r"cargo (\d+)\.(\d+)", text)
    if not found:
        raise Skip("cargo does not say its version")
    if tuple(map(int, found.groups())) < OLDEST:
        raise Skip(f"{text.strip()} is older than {OLDEST[0]}.{OLDEST[1]}")
    return text.strip()


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def source_of(lock):
    """Where the first package of a lock file comes from, None when it does not say."""
    found = re.search(r'^source = "(.*)"$', lock, re.M)
    return found and found[1]


def with_source(pinned, source):
    """The lock file with the place that all packages but our own come from."""
    return re.sub(r'^(?=checksum = )', f'source = "{source}"\n', pinned, flags=re.M)


def default_source(work, log):
    """What the machine's cargo calls the place that it takes packages from."""
    probe = os.path.join(work, "probe")
    os.makedirs(probe, exist_ok=True)
    with open(os.path.join(probe, "Cargo.toml"), "w", encoding="utf-8") as file:
        file.write(PROBE)
    if cargo("generate-lockfile", cwd=probe, log=log) != 0:
        raise Skip("cargo cannot get packages here")
    return source_of(read(os.path.join(probe, "Cargo.lock")))


class Crate:
    """Cargo.toml, pinned.lock and src/ in a folder make one program. `name`: of what is in the
    cache; `other`: a pair of texts, to have something else in pinned.lock."""

    def __init__(self, folder, program, name, other=None):
        self.folder, self.program, self.name, self.other = folder, program, name, other

    def pinned(self):
        lock = read(os.path.join(self.folder, "pinned.lock"))
        if self.other is None:
            return lock
        if self.other[0] not in lock:
            raise Skip(f"pinned.lock has no {self.other[0]!r}")
        return lock.replace(*self.other)

    def version(self, package):
        """What is pinned of a package."""
        return re.search(rf'^name = "{package}"\nversion = "(.*)"$', self.pinned(), re.M)[1]

    def key(self, version):
        digest = hashlib.sha256(version.encode())
        digest.update(read(os.path.join(self.folder, "Cargo.toml")).encode())
        digest.update(self.pinned().encode())
        for name in sorted(os.listdir(os.path.join(self.folder, "src"))):
            digest.update(read(os.path.join(self.folder, "src", name)).encode())
        return digest.hexdigest()[:12]

    def compile_into(self, program, cache, log):
        """One folder for all builds, so that a change here does not compile 300 crates again."""
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{self.name}.") as work:
            lock = with_source(self.pinned(), default_source(work, log))
            shutil.copytree(self.folder, work, dirs_exist_ok=True)
            with open(os.path.join(work, "Cargo.lock"), "w", encoding="utf-8") as file:
                file.write(lock)
            target = os.path.join(cache, "bench-target")
            print(f"== building {self.program}, minutes the first time", file=sys.stderr)
            if cargo("build", "--release", "--locked", "--target-dir", target, cwd=work,
                     log=log) != 0:
                raise Skip("it does not build")
            os.makedirs(os.path.dirname(program), exist_ok=True)
            shutil.copy2(os.path.join(target, "release", self.program), program + ".new")
            os.replace(program + ".new", program)

    def build(self):
        """The path of the program; Skip where it cannot be had."""
        version, cache = cargo_version(), cache_dir()
        program = os.path.join(cache, f"{self.name}-{self.key(version)}", self.program)
        log_file = os.path.join(cache, f"{self.name}.log")
        try:
            os.makedirs(cache, exist_ok=True)
            # One lock for all of them: they share the folder that cargo builds in.
            with open(os.path.join(cache, ".bench.lock"), "w", encoding="utf-8") as guard, \
                    open(log_file, "a+", encoding="utf-8") as log:
                fcntl.flock(guard, fcntl.LOCK_EX)
                if not os.path.exists(program):
                    log.truncate(0)
                    self.compile_into(program, cache, log)
        except OSError as error:
            raise Skip(f"{error.filename or cache}: {error.strerror}") from error
        except Skip as skip:
            sys.stderr.writelines(read(log_file).splitlines(keepends=True)[-20:])
            raise Skip(f"{skip} (all that cargo said: {log_file})") from skip
        return program


LOAD = Crate(os.path.join(os.path.dirname(os.path.abspath(__file__)), "load"), "km-bench-load",
             "bench")


if __name__ == "__main__":
    try:
        print(LOAD.build())
    except Skip as skip:
        sys.exit(f"{skip}")
