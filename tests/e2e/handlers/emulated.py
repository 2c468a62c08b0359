"""What a function does on the emulator, by the word `do` of its event."""

import fcntl
import os
import socket
import sys
import threading
import urllib.error
import urllib.request

import coldspan


def get(url):
    """Ask for a URL; its status."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.read()
        return error.code


gate = threading.Event()


def gate_stdout():
    """Put a pipe that takes 4 KB in the place of stdout while all starts; what passes it waits at the gate."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    stdout = os.dup(1)
    os.dup2(writing, 1)
    os.close(writing)
    gate.set()

    def forward():
        whole = b""
        while data := os.read(reading, 65_536):
            whole += data
            lines, newline, rest = whole.rpartition(b"\n")
            if newline:  # the workers share what is behind stdout: half a line would meet the other's
                gate.wait()
                os.write(stdout, lines + newline)
                whole = rest

    threading.Thread(target=forward, daemon=True).start()


if "GATED" in os.environ:
    gate_stdout()


def hold_back(port):
    """Let nothing through to stdout until a byte comes from that port, and make 990 calls to tell of.

    A socket of our own is no call of the function's: nothing of this is in the record.
    """
    gate.clear()
    held = socket.create_connection(("127.0.0.1", port))

    def release():
        with held:
            held.recv(1)
        gate.set()

    threading.Thread(target=release, daemon=True).start()
    for number in range(990):
        with coldspan.call(f"tool-{number}", "do"):
            pass


def handler(event, context):
    """Do what is asked, and say which process did."""
    do = event.get("do")
    if do == "calls":
        return {"statuses": [get(event["url"] + path) for path in event["paths"]], "pid": os.getpid()}
    if do == "raise":
        raise ValueError("as asked")
    if do == "exit":
        sys.exit(3)
    if do == "object":
        return object()
    if do == "large":
        return "x" * 7_000_000
    if do == "hang":
        threading.Event().wait()
    if do == "hold back":
        hold_back(event["port"])
    return {"pid": os.getpid()}
