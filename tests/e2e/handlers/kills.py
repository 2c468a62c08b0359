"""Ways in which an invocation is killed, by the word `do` of its event. Each has a call behind it and one open."""

import asyncio
import contextlib
import ctypes
import os
import re
import resource
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import coldspan

MEGABYTE = 1 << 20
PAGE_BYTES = resource.getpagesize()


def say(context):
    """Tell the test which invocation this is, and that it has come so far: what it waits for is near."""
    sys.stdout.write(f"at work: {context.aws_request_id} {os.getpid()}\n")
    sys.stdout.flush()


def get(url):
    """Ask for a URL; its status."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.read()
        return error.code


def sleep(event):
    """Sit in a call of the system's."""
    with coldspan.call("ledger", "write"):
        time.sleep(600)  # noqa: TID251 - what customers write


def dynamodb(event):
    """Wait for an answer of DynamoDB: the first call is answered, the second never."""
    import boto3

    table = boto3.resource("dynamodb", endpoint_url=event["url"]).Table("orders")
    table.put_item(Item={"id": "1"})
    table.get_item(Key={"id": "1"})


def regex(event):
    """Backtrack in C code, which holds the GIL."""
    with coldspan.call("ledger", "write"):
        re.match(r"(a+)+$", "a" * 60 + "b")


def late_regex(event):
    """The same, when some of the time has passed."""
    threading.Event().wait(event["after_s"])
    regex(event)


def loop(event):
    """Wait in an event loop, in a task."""

    async def write():
        with coldspan.call("ledger", "write"):
            await asyncio.Event().wait()

    async def main():
        await asyncio.gather(write(), asyncio.sleep(600))

    asyncio.run(main())


def leave(event):
    """End the process from within."""
    with coldspan.call("ledger", "write"):
        os._exit(1)


def wait(event):
    """Wait to be killed by somebody else."""
    with coldspan.call("ledger", "write"):
        sys.stdout.write("waiting\n")
        sys.stdout.flush()
        threading.Event().wait()


def segfault(event):
    """Read what is not there."""
    with coldspan.call("ledger", "write"):
        ctypes.string_at(0)


def memory_error(event):
    """Ask for more memory than the process may have; what the error leaves behind cannot go on."""
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes(0) + 64 * MEGABYTE, resource.RLIM_INFINITY))
    with contextlib.suppress(MemoryError), coldspan.call("ledger", "write"):
        bytearray(1 << 30)
    os.abort()


def memory(event):
    """Fill the memory to just below the limit, stay there until asked on, and go above it."""
    held = []
    with coldspan.call("ledger", "write"):
        while used_bytes(1) < event["nearly_bytes"]:
            held.append(b"x" * MEGABYTE)
        get(event["url"] + "/on")
        while True:
            held.append(b"x" * MEGABYTE)


def used_bytes(field):
    """Memory of this process: 0, its address space; 1, what is resident. Source: proc(5), statm."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[field]) * PAGE_BYTES


KILLS = {
    "sleep": sleep,
    "dynamodb": dynamodb,
    "regex": regex,
    "late_regex": late_regex,
    "loop": loop,
    "leave": leave,
    "wait": wait,
    "segfault": segfault,
    "memory_error": memory_error,
    "memory": memory,
}


def handler(event, context):
    """Be killed as asked, or answer."""
    do = event.get("do")
    if do == "large":
        return "x" * 7_000_000
    if do is not None:
        with coldspan.call("ledger", "read"):
            pass
        say(context)
        KILLS[do](event)
    if "meet" in event:
        get(event["meet"])
    return {"pid": os.getpid()}
