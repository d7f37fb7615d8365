"""Waiting, always for something and never for ever."""
import time


class Late(AssertionError):
    """What was waited for did not come in time."""


def until(seconds, what, condition, pause=0.02):
    """Asks until the condition says something true, which is returned; Late after so long."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Late(f"{what}: not within {seconds} s")
        time.sleep(pause)
