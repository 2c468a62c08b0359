"""The extension's loop, without a platform: how long it waits, and what it is not stopped by."""

import json
import socket
from types import SimpleNamespace

import pytest

from coldspan_blackbox import extension as process
from coldspan_blackbox import loop as module
from coldspan_blackbox.api import Exchange
from coldspan_blackbox.counts import Counts
from coldspan_blackbox.loop import FAULTS, MS, TICK_NS, Loop
from coldspan_blackbox.settings import Settings


class Platform:
    """An extension that is registered. `.asked` are the platform's ends of its requests for the next event."""

    def __init__(self, **variables):
        self.counts = Counts()
        self.settings = Settings({name.encode(): value.encode() for name, value in variables.items()})
        self.function = "f"
        self.listener = self.receiver = self.exporter = self.next = None
        self.asked = []

    def ask_next(self):
        near, far = socket.socketpair()
        self.asked.append(far)
        self.next = Exchange(near)

    def orphaned(self):
        return False

    def answer(self, body, *, cut=False):
        """Answer the last request, in one piece or in two."""
        text = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        self.asked[-1].sendall(text[:40] if cut else text)
        return text[40:]

    def close(self):
        for far in self.asked:
            far.close()
        if self.next is not None:
            self.next.close()


@pytest.fixture
def platform(monkeypatch):
    """A Platform, and a clock that stands still: `.now_ns`."""
    made = Platform(COLDSPAN_EMF="false")
    made.now_ns = 10**12
    monkeypatch.setattr(module, "monotonic_ns", lambda: made.now_ns)
    made.ask_next()
    yield made
    made.close()


def serve(loop, platform):
    """One turn of the loop, as `run` does it."""
    loop.serve(0)
    if platform.next is None:
        loop._ask_next()


def test_while_an_invocation_runs_it_wakes_for_its_look_around_only(platform):
    """Twenty wakings a second take from a function with little processor what it needs itself."""
    loop = Loop(platform)
    platform.answer(json.dumps({"eventType": "INVOKE", "requestId": "r1"}).encode())
    loop.serve(0)
    loop.invoking = SimpleNamespace(until_ns=lambda: 1 << 62)
    assert platform.next is None
    assert loop._wait_ms(platform.now_ns) == TICK_NS // MS


def test_answers_that_are_no_events_are_not_asked_for_at_once_and_never_close_the_door(platform):
    """The processor would be busy with it; or the platform would wait for ever, and the function run into its limit."""
    loop = Loop(platform)
    for _ in range(FAULTS + 1):
        platform.answer(b"[]")
        asked = len(platform.asked)
        serve(loop, platform)
        assert len(platform.asked) == asked
        platform.now_ns += 51 * MS
        serve(loop, platform)
        assert len(platform.asked) == asked + 1
    rest = platform.answer(b'{"eventType":"INVOKE","requestId":"r1"}', cut=True)
    serve(loop, platform)
    platform.asked[-1].sendall(rest)
    serve(loop, platform)
    assert loop.invocations_count == 1


def test_a_platform_that_could_not_be_reached_at_first_is_asked_again_at_once(platform):
    """Init ends when every extension has asked."""
    platform.next.close()
    platform.next = None
    loop = Loop(platform)
    assert loop._wait_ms(platform.now_ns) == 0
    serve(loop, platform)
    assert len(platform.asked) == 2


@pytest.mark.parametrize(("over", "idled"), [(False, 1), (True, 0)])
def test_a_loop_that_ends_by_a_fault_leaves_a_process_that_still_answers_promise_2(monkeypatch, platform, over, idled):
    """An extension that exits before SHUTDOWN turns the handler's good answer into a 502."""

    def run(loop):
        loop.over = over
        raise MemoryError

    idle = []
    monkeypatch.setattr(Loop, "run", run)
    platform.idle = lambda: idle.append(1)
    process._run(platform)
    assert len(idle) == idled
    assert platform.counts.faults == {"loop": 1}
