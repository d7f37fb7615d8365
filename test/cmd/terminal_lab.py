"""km-node on a terminal, as a person has it."""
import fcntl
import os
import pty
import select
import subprocess
import termios
import time

import lab


class Terminal:
    """A km-node on a terminal of its own, of 80 columns; what it shows comes as text."""

    def __init__(self, case, *args, env=None):
        self.master, slave = pty.openpty()
        self.shown = ""
        fcntl.ioctl(slave, termios.TIOCSWINSZ, b"\x18\x00\x50\x00\0\0\0\0")

        def take_terminal():
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        more = {"TERM": "xterm", "LC_ALL": "C.UTF-8", **(env or {})}
        self.child = subprocess.Popen([*lab.WRAPPER, lab.BIN, *args], stdin=slave, stdout=slave,
                                      stderr=slave, env=lab.environment(more),
                                      preexec_fn=take_terminal)
        os.close(slave)
        case.addCleanup(self.end)

    def end(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        self.hang_up()

    def hang_up(self):
        """The terminal goes away."""
        if self.master is not None:
            os.close(self.master)
            self.master = None

    def read(self, wait):
        """More of what it shows; False at the end, or when nothing came."""
        if not select.select([self.master], [], [], wait)[0]:
            return False
        try:
            part = os.read(self.master, 65536)
        except OSError:  # EIO: nobody has the other end any more
            part = b""
        self.shown += part.decode(errors="replace")
        return part != b""

    def until(self, text):
        """Waits until it shows that; what it showed up to there, which is then forgotten."""
        end = time.monotonic() + lab.LIMIT
        while text not in self.shown:
            if not self.read(1) and (self.child.poll() is not None or time.monotonic() > end):
                raise AssertionError(f"never {text!r}: {self.shown!r}")
        at = self.shown.index(text) + len(text)
        seen, self.shown = self.shown[:at], self.shown[at:]
        return seen

    def type(self, text):
        os.write(self.master, text.encode())

    def say(self, text, answer):
        """Types, and waits for what that shows."""
        self.type(text)
        return self.until(answer)

    def rest(self):
        """All that it shows until its end."""
        while self.read(lab.LIMIT):
            pass
        self.child.wait(lab.LIMIT)
        return self.shown

    def attributes(self):
        """The terminal's settings now."""
        return termios.tcgetattr(self.master)
