"""One invocation of the soak: as many calls as it is told, of which some are slow, and then the end that it is told."""

import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

import coldspan

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def sleep(_):
    """Until the timeout."""
    time.sleep(600)  # noqa: TID251 - what customers write


def spin(_):
    """Until the timeout, in Python."""
    while True:
        pass


def leave(_):
    """End the process at once."""
    os._exit(3)


def fault(_):
    """Read where nothing is."""
    ctypes.string_at(0)


def killed(event):
    """Be killed by a signal, some ms from now, at work with calls."""
    threading.Timer(event["after_ms"] / 1_000, os.kill, (os.getpid(), signal.SIGKILL)).start()
    while True:
        with coldspan.call("again", "get"):
            pass


def throw(_):
    """Fail as a handler does."""
    raise ValueError("the handler's own")


ENDS = {each.__name__: each for each in (sleep, spin, leave, fault, killed, throw)}


def looked():
    """What this process holds: descriptors, threads, resident bytes."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return {"fds": descriptors, "threads": threading.active_count(), "rss": resident}


def handler(event, context):
    """Do as told; say where the slow call is, so that a kill finds it open."""
    for number in range(event["calls"]):
        with coldspan.call(f"tool-{number % 5}", "get"):
            if number in event["slow"]:
                time.sleep(event["slow_ms"] / 1_000)  # noqa: TID251 - a slow answer
    end = event.get("end")
    if end is not None:
        with coldspan.call("last", "get"):
            sys.stdout.flush()
            ENDS[end](event)
    return {"pid": os.getpid(), **looked()}
