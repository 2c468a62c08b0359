"""Signals, freezes and threads on the real runtime: what the platform does to a process, what a function leaves."""

import os
import signal
import threading

import pytest

from coldspan_console.platform import Invocation
from support.running import call_documents, complained, invocation_documents, posted, printed
from support.servers import Stub

BYE = """
import os, signal, sys, threading

def bye(number, frame):
    os.write(1, b"bye\\n")
    sys.exit(7)

def raising(number, frame):
    raise RuntimeError("terminated")

if os.environ.get("TERM") == "exits":
    signal.signal(signal.SIGTERM, bye)
elif os.environ.get("TERM") == "raises":
    signal.signal(signal.SIGTERM, raising)

def handler(event, context):
    if event.get("wait"):
        os.write(1, b"waiting\\n")
        signal.pause()
        return "went on"
    return "idle"
"""


@pytest.mark.parametrize("reaction", ["dies", "exits", "raises"])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "in the handler"])
def test_sigterm_ends_the_process_as_without_us_promise_2(local, reaction, busy):
    """We set no handler of our own, and the customer's runs as it would."""
    seen = []
    for fields in ({"layer": None}, {}):
        platform = local(BYE, environment={"TERM": reaction}, **fields)
        platform.invoke(request_id="r1")
        if busy:
            platform.submit(Invocation(b'{"wait": true}', request_id="r2"))
            wait_for_line(platform, b"waiting\n")
        os.kill(platform.sandbox.process.pid, signal.SIGTERM)
        if busy and reaction == "raises":
            platform.wait_idle()
        else:
            if not busy and reaction != "dies":
                # the runtime's thread that waits for it holds the exit back
                platform.submit(Invocation(request_id="r2"))
            platform.wait_exit()
        code = platform.exit_code
        platform.close()
        # where in the runtime's waiting the signal struck is chance: of its traceback only the end is compared
        seen.append((posted(platform), printed(platform), complained(platform)[-1 if not busy else 0 :], code))
        documents = invocation_documents(platform)
    assert seen[0] == seen[1]
    told = {"r1": "ok"}
    if busy and reaction != "dies":
        told["r2"] = "error"
    assert {document["request_id"]: document["outcome"] for document in documents} == told


def wait_for_line(platform, line):
    """Wait until the function has printed a line."""
    arrived = threading.Event()
    while line not in platform.lines:
        arrived.wait(0.01)
        assert platform.exit_code is None, platform.text


def test_a_freeze_of_the_whole_process_between_invocations_is_in_no_duration_promise_2(local):
    """SIGSTOP and SIGCONT, as the platform's freezer does; nothing runs, and nothing of it is told."""
    platform = local(BYE)
    platform.invoke(request_id="r1")
    pid = platform.sandbox.process.pid
    for number in range(3):
        os.kill(pid, signal.SIGSTOP)
        threading.Event().wait(0.3)
        os.kill(pid, signal.SIGCONT)
        platform.invoke(request_id=f"r{number + 2}")
    documents = invocation_documents(platform)
    assert [document["outcome"] for document in documents] == ["ok"] * 4
    assert all(document["Duration"] < 300 for document in documents[1:])
    assert [document.get("errors") for document in documents] == [None] * 4


def test_a_daemon_thread_that_goes_on_calling_is_told_as_background_and_never_mixed_in(local):
    """Its calls belong to the invocation that started it while that runs, and to none afterwards."""
    text = """
    import threading, urllib.request
    turn, done = threading.Semaphore(0), threading.Semaphore(0)
    def poll(url):
        while True:
            turn.acquire()
            urllib.request.urlopen(url + "/200", timeout=5).read()
            done.release()
    started = []
    def handler(event, context):
        if not started:
            started.append(threading.Thread(target=poll, args=(event["url"],), daemon=True))
            started[0].start()
        turn.release()
        done.acquire()
        return "polled"
    """
    with Stub() as stub:
        platform = local(text)
        for number in range(4):
            platform.invoke(b'{"url": "%s"}' % stub.url.encode(), request_id=f"r{number}")
    records = invocation_documents(platform)
    assert [record["Calls"] for record in records] == [1, 0, 0, 0]
    assert sum(len(document["calls"]) for document in call_documents(platform) if "calls" in document) == 3
    assert [record.get("errors") for record in records] == [None] * 4
