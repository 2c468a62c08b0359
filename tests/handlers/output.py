"""Does things to the process's output and clocks."""
# ruff: noqa: T201 - what customers write

import io
import os
import sys
import time


def fills(event, context):
    """Leave so many bytes of room in the pipe."""
    os.write(1, b"x" * (65_536 - event["room"] - 1) + b"\n")
    return "full"


def replaces(event, context):
    """Put another object at sys.stdout, as tests and log libraries do."""
    sys.stdout = io.StringIO()
    print("lost")
    return "replaced"


def closes(event, context):
    """Close the descriptor, once."""
    if not closed:
        os.close(1)
        closed.append(1)
    return "closed"


closed = []


def fills_without_waiting(event, context):
    """The same with a non-blocking stdout, as event loops leave it."""
    os.set_blocking(1, False)
    return fills(event, context)


def clocks(event, context):
    """Stop the clocks, as freezegun and time-machine do."""
    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "process_time_ns"):
        setattr(time, name, lambda: 5)
    return "stopped"


def environment(event, context):
    """Take every variable away."""
    os.environ.clear()
    return "cleared"


def partial_line(event, context):
    """Leave a line without its end."""
    sys.stdout.write("no newline at the end")
    return "unfinished"


def forks(event, context):
    """Fork a child that ends at once."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return "forked"


def forks_and_exits(event, context):
    """Fork a child that leaves by SystemExit through everything above it."""
    child = os.fork()
    if not child:
        sys.exit(0)
    os.waitpid(child, 0)
    return "forked"


def until(event, context):
    """Work until so many ms are left."""
    while context.get_remaining_time_in_millis() > event.get("left_ms", 30_000):
        pass
    return "done"
