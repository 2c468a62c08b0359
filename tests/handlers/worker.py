"""One of several workers."""
# ruff: noqa: PTH115, PTH208 - what customers write

import os

count = 0


def handler(event, context):
    """Tell which process this is, and what its parent is doing."""
    global count
    count += 1
    parent = os.getppid()
    sockets = 0
    for number in os.listdir(f"/proc/{parent}/fd"):
        sockets += os.readlink(f"/proc/{parent}/fd/{number}").startswith("socket:")
    return {
        "pid": os.getpid(),
        "count": count,
        "parent": parent,
        "parent_threads": len(os.listdir(f"/proc/{parent}/task")),
        "parent_sockets": sockets,
        "text": "x" * event.get("bytes", 0),
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
    }
