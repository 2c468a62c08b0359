"""Functions in folders of their own, and fleets that leave nothing behind."""

import threading

import pytest

from coldspan_console.platform import processes
from coldspan_console.platform.fleet import Fleet
from coldspan_console.platform.function import Function

APP = """\
import json, os, signal, sys, threading, time

COUNT = [0]
STARTED = time.time_ns()

def count():
    while True:
        time.sleep(0.005)
        COUNT[0] += 1

threading.Thread(target=count, daemon=True).start()

def handler(event, context):
    do = event.get("do")
    if do == "raise": raise ValueError("boom")
    if do == "exit": os._exit(event.get("code", 3))
    if do == "signal": os.kill(os.getpid(), event.get("number", signal.SIGSEGV))
    if do == "sleep": time.sleep(event["s"])
    if do == "fill":
        kept = bytearray(event["mb"] << 20)
        kept[::4096] = b"x" * len(kept[::4096])
        time.sleep(5)
    if do == "large": return "x" * (7 << 20)
    if do == "fork":
        if os.fork() == 0:
            time.sleep(600)
    if do == "print": print("a line", event.get("n"), flush=True)
    return {"pid": os.getpid(), "count": COUNT[0], "tenant": context.tenant_id,
            "trace": os.environ.get("_X_AMZN_TRACE_ID"),
            "left_ms": context.get_remaining_time_in_millis(), "arn": context.invoked_function_arn, "event": event,
            "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]}
"""


@pytest.fixture
def task(tmp_path):
    """A folder with the function."""
    folder = tmp_path / "task"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    return folder


@pytest.fixture
def fleet(task, tmp_path):
    """Make fleets: `fleet(most=2, layer=..., memory_mb=256)`; each has `lines`, what was heard."""
    made = []
    bare = tmp_path / "no-layer"
    bare.mkdir()

    def maker(*, most=2, timeout_ms=3_000, provisioned=0, idle_s=None, freeze=True, **function):
        function.setdefault("layer", bare)
        lines = []
        options = {"provisioned": provisioned, "idle_s": idle_s, "freeze": freeze}
        one = Fleet(Function(task=task, **function), most=most, timeout_ms=timeout_ms, heard=lines.append, **options)
        one.lines = lines
        made.append(one)
        return one

    before = {thread for thread in threading.enumerate() if thread.name != "pytest_timeout"}
    yield maker
    pids = [pid for one in made for each in one._all for pid in each.platform.pids]
    everything = processes.tree(pids)
    for one in made:
        one.close()
    assert [pid for pid in everything if processes.memory_bytes(pid)] == []
    for thread in set(threading.enumerate()) - before - {threading.current_thread()}:
        if thread.name != "pytest_timeout":
            thread.join(10)
    left = {thread for thread in threading.enumerate() if thread.is_alive()} - before
    assert left == set()
