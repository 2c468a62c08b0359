"""Makes calls by the standard library."""

import sys
import threading
import urllib.request


def get(url):
    with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310
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


def in_background(event, context):
    """Leave a thread behind that calls after the response, upon the next invocation."""
    if event.get("begin"):
        threading.Thread(target=lambda: (released.wait(20), get(event["url"])), daemon=True).start()
        return "left"
    released.set()
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread() and isinstance(thread, threading.Thread):
            thread.join(10)
    return "joined"


released = threading.Event()
