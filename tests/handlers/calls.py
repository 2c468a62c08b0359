"""Makes calls by the standard library."""

import os
import sys
import urllib.request


def get(url):
    with urllib.request.urlopen(url, timeout=5) as response:
        return response.read()


def handler(event, context):
    """Call `url` as often as `calls` says, then end as `end` says."""
    for _ in range(event.get("calls", 1)):
        get(event["url"])
    end = event.get("end")
    if end == "raise":
        raise ValueError("after the calls")
    if end == "exit":
        sys.exit(3)
    if end == "unserialisable":
        return object()
    if end == "interrupt":
        raise KeyboardInterrupt
    return "done"


def after_filling(event, context):
    """Call `url`, then leave so many bytes of room in the pipe."""
    get(event["url"])
    if "room" in event:
        os.write(1, b"x" * (65_536 - event["room"] - 1) + b"\n")
    return "done"
