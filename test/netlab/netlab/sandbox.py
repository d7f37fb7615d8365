"""Where a lab runs: namespaces of its own, which take everything with them when they end."""
import ctypes
import os
import shutil
import signal
import subprocess
import sys

SKIP = 77
NEEDED = "ip", "nft", "nsenter", "unshare", "mount"

CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWPID = 0x00020000, 0x40000000, 0x20000000
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def check(status, what):
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags):
    check(LIBC.unshare(flags), "unshare")


def setns(fd, flags=0):
    check(LIBC.setns(fd, flags), "setns")


def mount(source, target, kind=None, flags=0):
    words = [None if word is None else word.encode() for word in (source, target, kind)]
    check(LIBC.mount(*words, ctypes.c_ulong(flags), None), f"mount {target}")


def umount(target):
    check(LIBC.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def why_not():
    """Why no lab can be here; None if one can."""
    missing = [word for word in NEEDED if shutil.which(word) is None]
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "it takes root to make network namespaces"
    if missing:
        return f"not installed: {' '.join(missing)} (Debian: iproute2, nftables, util-linux)"
    return None


def skip(reason):
    """Where a gate demands the lab, a skip is a failure."""
    required = os.environ.get("KM_NETLAB_REQUIRED") == "1"
    print(f"{'error' if required else 'skipped'}: {reason}", file=sys.stderr, flush=True)
    sys.exit(1 if required else SKIP)


def enter():
    """Returns in a child that is process 1 of its own namespaces. The parent stays outside, hands
    signals on, and ends as the child does; if it dies, the kernel ends all of them."""
    reason = why_not()
    if reason:
        skip(reason)
    try:
        unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID)
    except OSError as error:
        skip(f"this machine does not let us: {error}")
    sys.stdout.flush()
    sys.stderr.flush()
    ready, go = os.pipe()
    child = os.fork()
    if child:
        watch(child, ready, go)
    os.close(ready)
    check(LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    os.write(go, b"1")  # to a parent that is gone: EPIPE, and with it the end
    os.close(go)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    furnish()
    probe()


def watch(child, ready, go):
    """The rest of the parent's life."""
    os.close(go)

    def pass_on(number, _frame):
        try:
            os.kill(child, number)
        except ProcessLookupError:
            pass

    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, pass_on)
    os.read(ready, 1)
    _pid, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status)
             else 128 + os.WTERMSIG(status))


def furnish():
    """Mounts that are this lab's alone: /proc of its processes, and a /run for names."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc")
    mount("tmpfs", "/run", "tmpfs")
    os.mkdir("/run/netns")
    os.mkdir("/run/netlab")
    with open("/run/netlab/nsswitch.conf", "w", encoding="ascii") as file:
        file.write("hosts: files\n")  # nobody is there to ask
    if os.path.exists("/etc/nsswitch.conf"):
        mount("/run/netlab/nsswitch.conf", "/etc/nsswitch.conf", None, MS_BIND)


# One of each thing that a kernel may have been built without.
PROBE = """table ip probe {
  map m { type ipv4_addr . inet_service : ipv4_addr . inet_service; flags dynamic,timeout; size 9; }
  chain a { type nat hook postrouting priority srcnat;
    oifname x snat ip to ip saddr . udp sport map @m
    oifname y meta l4proto udp snat to 192.0.2.1:1024-65535 fully-random
    oifname z masquerade
  }
  chain b { type filter hook postrouting priority 150;
    meta l4proto udp update @m { ct original ip saddr . ct original proto-src \\
      : ip saddr . udp sport }
  }
}
table ip6 probe { chain a { type filter hook forward priority 0; ct state established accept; }
}
"""


def probe():
    for words, text in ((["ip", "-batch", "-"], "link add probe0 type bridge\n"
                         "link add probe1 type veth peer name probe2\nlink delete probe0\n"
                         "link delete probe1\n"),
                        (["nft", "-f", "-"], PROBE + "delete table ip probe\n"
                         "delete table ip6 probe\n")):
        done = subprocess.run(words, input=text, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            skip(f"this kernel or {words[0]} lacks something: {done.stderr.splitlines()[:1]}")
