"""A SnapStart function: hooks that look at the recorder, and fail when told."""
# ruff: noqa: PTH115, PTH208 - what customers write

import os
import socket

from snapshot_restore_py import register_after_restore, register_before_snapshot

seen = []
at_init = None


def scope():
    try:
        from coldspan.hot import scope as module
    except ImportError:
        return None
    return module.active


@register_before_snapshot
def before():
    global at_init
    at_init = scope() and scope().random
    seen.append("before")
    if os.environ.get("FAIL") == "before":
        raise ValueError("before the snapshot")
    if os.environ.get("FAIL") == "exit":
        raise SystemExit(9)


@register_after_restore
def after():
    seen.append("after")
    if scope():
        seen.append("renewed" if scope().random is not at_init else "same")
    if os.environ.get("FAIL") == "after":
        raise ValueError("after the restore")


def sockets():
    """Descriptors of sockets, which a snapshot would carry into every environment."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
        except OSError:
            continue
    return found


register_before_snapshot(lambda: seen.append(f"sockets {sockets()}"))
_ = socket


def handler(event, context):
    """Tell what the hooks saw."""
    return seen
