"""A machine of systemd's own: process 1 of namespaces, over this machine's root folder, or that of
$KM_SYSTEMD_ROOT. What it writes goes to memory, and with the machine."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SKIP = 77
LIMIT = 60  # ends a test that hangs
ROOT = os.environ.get("KM_SYSTEMD_ROOT", "/")
NEEDED = "bash", "cmake", "mount", "nsenter", "setpriv", "unshare"
OF_ROOT = ("lib/systemd/systemd", "lib/systemd/systemd-logind", "usr/bin/dbus-daemon",
           "usr/bin/systemctl", "usr/bin/pgrep", "usr/bin/curl", "usr/bin/openssl",
           "usr/sbin/runuser", "usr/sbin/useradd")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
UNSHARE = "unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", \
    "--kill-child"


def skip(reason):
    """Where a gate demands the machine, a skip is a failure."""
    required = os.environ.get("KM_SYSTEMD_REQUIRED") == "1"
    print(f"{'error' if required else 'skipped'}: {reason}", file=sys.stderr, flush=True)
    sys.exit(1 if required else SKIP)


def cgroup_here():
    """The folder of this process in the unified hierarchy; None where there is none."""
    with open("/proc/self/cgroup", encoding="ascii") as file:
        own = [line.rstrip("\n")[3:] for line in file if line.startswith("0::")]
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        rows = [line.split(" - ") for line in file]
    places = [left.split()[4] for left, right in rows if right.startswith("cgroup2 ")]
    return os.path.join(places[0], own[0].lstrip("/")) if own and places else None


def why_not():
    """Why no machine can be here; None if one can, as far as one sees."""
    missing = [word for word in NEEDED if shutil.which(word) is None]
    absent = [path for path in OF_ROOT if not os.path.exists(os.path.join(ROOT, path))]
    if not sys.platform.startswith("linux"):
        return "systemd is Linux's"
    if os.geteuid() != 0:
        return "it takes root to make namespaces"
    if missing:
        return f"not installed: {' '.join(missing)} (Debian: cmake, util-linux)"
    if absent:
        return (f"not below {ROOT}: {' '.join(absent)} (Debian: systemd, dbus, "
                "libpam-systemd, procps, curl, openssl)")
    if cgroup_here() is None:
        return "the unified hierarchy of cgroups (cgroup2) is not mounted"
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False)
    return f"this machine does not let us: {done.stderr.strip()}" if done.returncode else None


class Done:
    """A process that ended."""

    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f"status {self.status}\n{self.out}{self.err}"


def until(what, check):
    """Waits until `check` is true; its value."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        value = check()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError(f"never: {what}")


class Machine:
    """Boots at once, with the build's programs below /usr/local as cmake --install puts them there,
    unless `install` says otherwise. Ends the test as skipped where the kernel does not let us."""

    def __init__(self, install=None):
        reason = why_not()
        if reason:
            skip(reason)
        self.child = self.init = None
        self.folder = tempfile.mkdtemp(prefix="km-systemd-")
        self.cgroup = os.path.join(cgroup_here(), f"km-test-{os.getpid()}")
        try:
            self.boot(install or ["cmake", "--install", os.environ["KM_BUILD_DIR"],
                                  "--prefix", "/usr/local"])
        except BaseException:
            self.close()
            raise

    def boot(self, install):
        try:
            os.mkdir(self.cgroup)
        except OSError as error:
            skip(f"this machine does not let us make a cgroup: {error}")
        # The log's folder is covered by the machine's memory, for the machine alone.
        with open(os.path.join(self.folder, "log"), "wb") as log:
            self.child = subprocess.Popen(
                ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', self.cgroup, *UNSHARE,
                 os.path.join(HERE, "boot"), self.folder, ROOT, *install],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until("systemd is up", self.is_booted)

    def is_booted(self):
        if self.child.poll() is not None:
            with open(os.path.join(self.folder, "log"), encoding="utf-8", errors="replace") as log:
                text = log.read()
            if self.child.returncode == SKIP:
                skip(f"this machine does not let us boot: {text.strip()}")
            raise AssertionError(f"no machine: status {self.child.returncode}\n{text}")
        path = f"/proc/{self.child.pid}/task/{self.child.pid}/children"
        with open(path, encoding="ascii") as file:
            self.init = file.read().strip()
        if not self.init:
            return False
        with open(f"/proc/{self.init}/comm", encoding="ascii") as file:
            if file.read() != "systemd\n":  # still bash
                return False
        return self.run("systemctl", "is-system-running").out in ("running\n", "degraded\n")

    def close(self):
        """Who is process 1 takes all others along."""
        if self.child is not None:
            self.child.kill()
            self.child.wait(LIMIT)
        shutil.rmtree(self.folder, ignore_errors=True)
        until("the cgroups are empty", self.remove_cgroups)

    def remove_cgroups(self):
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                return False  # its processes are still ending
        return True

    # --- what goes on in it ------------------------------------------------------------------

    def run(self, *words, user=None, login=True, stdin=""):
        """Runs a command as root, or as `user`, who logs in for it (or does not, as with cron)."""
        if user and login:
            words = ["runuser", "--login", user, "--command", 'exec "$@"', "--", "sh", *words]
        elif user:
            words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "env",
                     f"--chdir=/home/{user}", f"HOME=/home/{user}", *words]
        done = subprocess.run(
            ["nsenter", "--target", self.init, "--mount", "--pid", "--net", "--uts", "--ipc",
             "--cgroup", "--root", "--wd", "env", "-i", f"PATH={PATH}", "LC_ALL=C.UTF-8",
             "HOME=/root", *words],
            input=stdin, capture_output=True, text=True, timeout=LIMIT, check=False)
        return Done(done)

    def path(self, path):
        """Where a file of the machine is for us."""
        return f"/proc/{self.init}/root{path}"

    def read(self, path):
        with open(self.path(path), encoding="utf-8") as file:
            return file.read()

    def write(self, path, text):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w", encoding="utf-8") as file:
            file.write(text)


class Unit:
    """A service of the machine, or of `user`."""

    def __init__(self, machine, name, user=None):
        self.machine, self.name, self.user = machine, name, user

    def ctl(self, *words):
        scope = ["--user"] if self.user else []
        return self.machine.run("systemctl", *scope, *words, user=self.user)

    def do(self, verb):
        """`systemctl verb name`, which has to work."""
        done = self.ctl(verb, self.name)
        assert done.status == 0, f"{verb} {self.name}: {done}\n{self.journal()}"

    def get(self, key):
        return self.ctl("show", self.name, "--property", key, "--value").out.strip()

    @property
    def state(self):
        return f"{self.get('ActiveState')} {self.get('SubState')}"

    @property
    def pid(self):
        return int(self.get("MainPID"))

    @property
    def restarts(self):
        return int(self.get("NRestarts"))

    def journal(self):
        unit = "--user-unit" if self.user else "--unit"
        return self.machine.run("journalctl", unit, self.name, "--no-pager", "--quiet",
                                user=self.user).out

    def said(self, text):
        """Waits for it in the journal, which comes a moment later."""
        return until(f"{text!r} in the journal of {self.name}", lambda: text in self.journal())

    def settle(self, text):
        """Settings of one's own, as `systemctl edit` makes them; counts from the next start on."""
        home = f"/home/{self.user}/.config/systemd/user" if self.user else "/etc/systemd/system"
        self.machine.write(f"{home}/{self.name}.service.d/override.conf", f"[Service]\n{text}\n")
        self.ctl("daemon-reload")

    def unsettle(self):
        home = f"/home/{self.user}/.config/systemd/user" if self.user else "/etc/systemd/system"
        shutil.rmtree(self.machine.path(f"{home}/{self.name}.service.d"), ignore_errors=True)
        self.ctl("daemon-reload")

    def shield(self):
        """What the kernel grants its process: NoNewPrivs, Seccomp, CapEff, CapBnd."""
        rows = [line.split(":\t") for line in
                self.machine.read(f"/proc/{self.pid}/status").splitlines() if ":\t" in line]
        row = dict(rows)
        return row["NoNewPrivs"], row["Seccomp"], int(row["CapEff"], 16), int(row["CapBnd"], 16)
