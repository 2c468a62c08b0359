"""Stacks as text: what is written comes back, whatever was torn, and nothing of it is ever a value."""

import asyncio
import gc
import sys
import threading
import weakref

import pytest

from coldspan import hot
from coldspan.core import limits, stacks
from coldspan.hot import stacks as hot_stacks
from coldspan.hot.stacks import take


def parsed(own=0):
    """What `take` gives of this process, by thread or task."""
    return {stack["thread"]: stack["frames"] for stack in stacks.parse(take(own))}


def test_what_is_written_comes_back():
    """The extension and the next init read what the watcher wrote."""
    text = stacks.write([("MainThread", ["/var/task/app.py:3 handler", "/a b/c.py:12 f.<locals>.g"]), ("idle", [])])
    assert stacks.parse(text) == [
        {"thread": "MainThread", "frames": ["/var/task/app.py:3 handler", "/a b/c.py:12 f.<locals>.g"]},
        {"thread": "idle", "frames": []},
    ]


@pytest.mark.parametrize("cut", range(60))
def test_a_torn_text_gives_whole_frames_only(cut):
    """A process may be killed in the middle of a write."""
    whole = stacks.write([("main", ["/var/task/app.py:3 handler", "/var/task/lib.py:44 wait"]), ("x", ["/a.py:1 f"])])
    frames = {frame for stack in stacks.parse(whole) for frame in stack["frames"]}
    for torn in (whole[:cut], whole[:cut] + b"\0" * 20 + whole[cut:]):
        assert {frame for stack in stacks.parse(torn) for frame in stack["frames"]} <= frames


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0", b"\xff\xfe\n\n", b"nothing\n# \n", b"a.py:1 f\n", b"# x\na.py:one f\n:\n"]
)
def test_what_is_no_stack_gives_no_frame(data):
    """A foreign or overwritten region must not be read as truth."""
    assert [stack["frames"] for stack in stacks.parse(data) if stack["frames"]] == []


def test_names_and_paths_of_any_kind_stay_on_their_line():
    """A thread's name is the customer's text: it must not look like a frame, nor a path like a name."""
    frames = [stacks.frame_text("# odd\n.py", 1, "f"), stacks.frame_text("/x" * 500 + "/end.py", None, "g" * 500)]
    [stack] = stacks.parse(stacks.write([("a\nb\0c\udc80" + "n" * 500, frames)]))
    assert stack["thread"].startswith("a?b?c")
    assert len(stack["thread"]) == limits.STACK_NAME_CHARS
    assert stack["frames"][0] == "? odd?.py:1 f"
    assert stack["frames"][1].startswith("...x/x")
    assert "/end.py:0 ggg" in stack["frames"][1]


def test_the_text_is_bounded():
    """It has a fixed place in the journal."""
    many = [(f"t{number}", [f"/file{line}.py:1 f" for line in range(50)]) for number in range(100)]
    text = stacks.write(many)
    assert limits.STACK_BYTES - 100 < len(text) <= limits.STACK_BYTES
    assert text.endswith(b"\n")


FAULT = b"""Timeout (0:00:01.950000)!
Thread 0x00007f01 (most recent call first):
  File "/opt/python/coldspan/hot/watcher.py", line 120 in _run
  File "/opt/python/coldspan/core/buffer.py", line 70 in guarded

Thread 0x00007f02 (most recent call first):
  File "/usr/lib/threading.py", line 331 in wait
  File "/var/task/a, line 5 in b.py", line 982 in run
  ...

Thread 0x00007f03 (most recent call first):
  Garbage-collecting
  File "/var/task/re/_parser.py", line ??? in match
  File "/opt/python/coldspan/hot/bootstrap.py", line 47 in wrapped
  File "/var/task/app.py", line 6 in <module>
"""


def test_a_dump_of_faulthandler_has_the_same_shape():
    """Python 3.11 to 3.13; threads are numbers to it."""
    assert stacks.parse_fault(FAULT + b"\0" * 50, {0x7F03: "MainThread"}) == [
        {
            "thread": "0x00007f02",
            "frames": ["/usr/lib/threading.py:331 wait", "/var/task/a, line 5 in b.py:982 run", "..."],
        },
        {
            "thread": "MainThread",
            "frames": ["Garbage-collecting", "/var/task/re/_parser.py:0 match", "/var/task/app.py:6 <module>"],
        },
    ]


def test_a_dump_of_python_3_14_gives_the_systems_names():
    """It writes the name between the number and the words, and a stack of C behind the current thread's."""
    dump = (
        b"Timeout (0:00:02)!\n"
        b"Thread 0x00007f02 [worker [1]] (most recent call first):\n"
        b'  File "/var/task/app.py", line 6 in wait\n\n'
        b"Thread 0x00007f03 [] (most recent call first):\n  <no Python frame>\n"
        b"Current thread's C stack trace (most recent call first):\n"
        b'  Binary file "/usr/bin/python3", at _Py_DumpStack+0x31 [0x5]\n'
    )
    assert stacks.parse_fault(dump) == [
        {"thread": "worker [1]", "frames": ["/var/task/app.py:6 wait"]},
        {"thread": "0x00007f03", "frames": []},
    ]


@pytest.mark.parametrize("cut", range(0, len(FAULT), 7))
def test_a_torn_dump_gives_whole_frames_only(cut):
    """The kill may come while it is being written."""
    whole = {frame for stack in stacks.parse_fault(FAULT) for frame in stack["frames"]}
    torn = {frame for stack in stacks.parse_fault(FAULT[:cut]) for frame in stack["frames"]}
    assert torn <= whole


def test_threads_are_told_innermost_first_the_main_thread_before_all():
    """What the invocation is stuck on is the first line."""
    ready, go_on = threading.Event(), threading.Event()

    def inner():
        ready.set()
        go_on.wait(20)

    thread = threading.Thread(target=inner, name="worker 7")
    thread.start()
    ready.wait(20)
    told = parsed()
    go_on.set()
    thread.join()
    assert next(iter(told)) == "MainThread"
    assert any(frame.endswith("inner") and __file__[-30:] in frame for frame in told["worker 7"])
    assert told["worker 7"][-1].endswith("Thread._bootstrap")
    assert told["MainThread"][0].endswith("take") or "stacks.py" in told["MainThread"][0]


def test_deep_stacks_and_many_threads_are_bounded():
    """A recursion without end is what an invocation may be stuck in."""

    def deep(left):
        return parsed() if not left else deep(left - 1)

    assert len(deep(200)["MainThread"]) == limits.STACK_FRAMES + 1
    assert deep(200)["MainThread"][-1] == "..."
    go_on = threading.Event()
    threads = [threading.Thread(target=go_on.wait, args=(20,), name=f"t{number}") for number in range(30)]
    for thread in threads:
        thread.start()
    told = parsed()
    go_on.set()
    for thread in threads:
        thread.join()
    assert sum(name.startswith("t") for name in told) <= limits.STACK_THREADS
    assert any(name.endswith("more threads") for name in told)


def test_a_class_of_threads_of_the_customers_is_asked_nothing_promise_2():
    """Their properties run their code, in our thread."""

    class Odd(threading.Thread):
        asked = 0

        def __getattribute__(self, name):
            if threading.current_thread() is threading.main_thread() and looking:
                type(self).asked += 1
            return super().__getattribute__(name)

    looking, go_on = [], threading.Event()
    thread = Odd(target=go_on.wait, args=(20,), name="odd")
    thread.start()
    looking.append(1)
    told = parsed()
    looking.clear()
    go_on.set()
    thread.join()
    assert "odd" in told
    assert Odd.asked == 0


def test_a_class_that_stands_in_for_the_interpreters_threads_hides_no_stacks(monkeypatch):
    """Gevent puts a subclass without a dict of its own there: nothing would be told in its functions."""

    class Green(threading.Thread):
        pass

    monkeypatch.setattr(threading, "Thread", Green)
    monkeypatch.setattr(hot, "stacks", hot_stacks)  # the import sets it, too: both are put back
    monkeypatch.delitem(sys.modules, "coldspan.hot.stacks")
    from coldspan.hot.stacks import take as take_anew

    assert stacks.parse(take_anew(0))[0]["thread"] == "MainThread"


def test_no_frame_and_no_value_is_kept():
    """A frame holds all that its variables hold."""

    class Held:
        pass

    def handler():
        secret = Held()
        text = take(0)
        return weakref.ref(secret), text

    gc.disable()
    try:
        ref, text = handler()
        assert ref() is None
    finally:
        gc.enable()
    assert b"Held" not in text


def test_suspended_tasks_are_told_with_what_they_await():
    """In an asyncio loop the thread's own stack shows only the selector."""

    async def fetch(gate):
        await gate.wait()

    async def rows(gate):
        await fetch(gate)
        yield 1

    async def outer(gate):
        return [row async for row in rows(gate)]

    async def main():
        gate = asyncio.Event()
        first = asyncio.create_task(fetch(gate), name="first")
        second = asyncio.create_task(outer(gate), name="second")
        done = asyncio.create_task(asyncio.sleep(0), name="done")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        told = parsed()
        gate.set()
        await asyncio.gather(first, second, done)
        return told

    told = asyncio.run(main())
    names = [frame.rpartition(" ")[2] for frame in told["task first"]]
    assert names[0] == "Event.wait"
    assert names[-1].endswith("fetch")
    assert told["task second"][-1].endswith("outer")
    assert "task done" not in told
    running = [name for name in told if name.startswith("task Task")]
    assert running == []  # it is in its thread's stack


def test_a_task_class_of_the_customers_is_asked_nothing_promise_2():
    """get_coro, done and get_name may be theirs."""

    class Odd(asyncio.Task):
        def get_coro(self):
            raise AssertionError

        def get_name(self):
            raise AssertionError

        def done(self):
            if sys._getframe(1).f_code.co_filename.endswith("hot/stacks.py"):
                raise AssertionError
            return super().done()

    async def sleeping(gate):
        await gate.wait()

    async def main():
        gate = asyncio.Event()
        task = Odd(sleeping(gate), loop=asyncio.get_running_loop(), name="odd")
        await asyncio.sleep(0)
        told = parsed()
        gate.set()
        await task
        return told

    assert "task odd" in asyncio.run(main())
