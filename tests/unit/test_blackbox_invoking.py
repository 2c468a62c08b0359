"""One invocation after the other, with a clock and an exporter of the test's own."""

import json
import os
from types import SimpleNamespace

import pytest

from coldspan_blackbox.counts import Counts
from coldspan_blackbox.invoking import MS, PROCESSES, Invoking
from coldspan_blackbox.lines import Lines
from coldspan_blackbox.settings import Settings


class FakeExporter:
    """Takes messages and is asked for flushes."""

    ready = alive = True
    waiting = restart_ns = flushed = 0

    def __init__(self):
        self.sent = []
        self.asked = []

    def fileno(self):
        return 99

    def send(self, message):
        self.sent.append(message)

    def ask_flush(self, until_ms, word=b"flush"):
        self.asked.append(until_ms)
        return len(self.asked)


@pytest.fixture
def invoking(monkeypatch):
    """Invoking with a FakeExporter, a receiver that is fed by hand, and a clock: `.now_ms`."""
    clock = SimpleNamespace(now_ms=1_000_000)
    monkeypatch.setattr("coldspan_blackbox.invoking.monotonic_ns", lambda: clock.now_ms * MS)
    monkeypatch.setattr("coldspan_blackbox.invoking.time_ns", lambda: clock.now_ms * MS)
    monkeypatch.setattr("coldspan_blackbox.invoking._boottime_ms", lambda: clock.now_ms)
    counts = Counts()
    receiver = SimpleNamespace(
        socket=SimpleNamespace(fileno=lambda: 98), receive=lambda: True, lines=[], pids=[], ended=[]
    )
    loop = SimpleNamespace(
        counts=counts,
        extension=SimpleNamespace(exporter=FakeExporter(), receiver=receiver),
        settings=Settings({b"COLDSPAN_EXPORT": b"otlp", b"COLDSPAN_EXPORT_FLUSH": b"end"}),
        lines=Lines("n", "f", False),
        watch=lambda *_: None,
        forget=lambda *_: None,
        hunts=[],
    )
    loop.hunt_later = loop.hunts.append
    made = Invoking(loop)
    made.clock, made.loop, made.receiver, made.exporter = clock, loop, receiver, loop.extension.exporter
    return made


def begin(invoking, request_id="r1", left_ms=3_000):
    """INVOKE comes."""
    invoking.begin({"requestId": request_id, "deadlineMs": invoking.clock.now_ms + left_ms})


def done(invoking):
    """Whether the next event may be asked for now."""
    return invoking.is_done(invoking.clock.now_ms * MS)


def test_without_a_recorder_the_next_event_is_asked_for_at_once(invoking):
    """Nothing would ever say that the invocation has ended: each would last until its deadline."""
    begin(invoking)
    assert done(invoking)
    assert invoking.exporter.asked == []


def test_the_end_is_waited_for_then_the_flush_and_then_it_is_done(invoking):
    """The environment is frozen with the next event: what was not sent by then waits for the next thaw."""
    invoking.receiver.pids.append(os.getpid())
    begin(invoking)
    assert not done(invoking)
    invoking.receiver.lines.append(b"coldspan/1 line\n{}")
    invoking.receiver.ended.append("r1")
    invoking.receive()
    assert invoking.exporter.sent == [b"coldspan/1 line\n{}"]
    assert invoking.exporter.asked == [invoking.clock.now_ms + 1_000]
    assert not done(invoking)
    invoking.exporter.flushed = 1
    assert done(invoking)


def test_an_end_that_came_before_its_beginning_counts(invoking):
    """The runtime gets the event at the same time, and may be faster."""
    invoking.receiver.ended.append("r1")
    invoking.receiver.lines.append(b"coldspan/1 line\n{}")
    begin(invoking)
    assert len(invoking.exporter.asked) == 1


def test_a_flush_that_is_not_answered_is_waited_for_until_its_time_and_never_past_the_deadline(invoking):
    """A destination that hangs would turn a success into a timeout."""
    invoking.receiver.pids.append(os.getpid())
    begin(invoking, left_ms=500)
    invoking.receiver.lines.append(b"coldspan/1 line\n{}")
    invoking.receiver.ended.append("r1")
    invoking.receive()
    assert invoking.exporter.asked == [invoking.clock.now_ms + 400]
    assert not done(invoking)
    invoking.clock.now_ms += 401
    assert done(invoking)


def test_a_process_of_exporters_that_never_answers_is_waited_for_three_times(invoking):
    """One that is stuck would cost each invocation a second, as long as the environment lives."""
    invoking.receiver.pids.append(os.getpid())
    held = []
    for number in range(1, 8):
        if number == 6:  # it has answered after all
            invoking.exporter.flushed = len(invoking.exporter.asked)
        begin(invoking, f"r{number}")
        invoking.receiver.lines.append(b"coldspan/1 line\n{}")
        invoking.receiver.ended.append(f"r{number}")
        invoking.receive()
        held.append(not done(invoking))
        invoking.clock.now_ms += 1_001
        assert done(invoking)
    assert held == [True, True, True, False, False, True, True]


def test_a_process_that_says_hello_again_and_again_costs_one_descriptor(invoking, monkeypatch):
    """Without descriptors the platform's next event cannot be asked for."""
    invoking.receiver.pids += [os.getpid()] * 50
    invoking.receive()
    assert list(invoking._alive.values()) == [os.getpid()]
    opened = iter(range(1_000, 2_000))
    monkeypatch.setattr("coldspan_blackbox.invoking.posix.pidfd_open", lambda _: next(opened))
    invoking.receiver.pids += range(5_000, 5_300)
    invoking.receive()
    assert len(invoking._alive) == PROCESSES
    for descriptor in [each for each in invoking._alive if each >= 1_000]:
        del invoking._alive[descriptor]


@pytest.mark.parametrize("end", ["deadline", "death", "platform"])
def test_an_invocation_that_does_not_say_its_end_ends_all_the_same(invoking, end):
    """Killed, timed out, or with a recorder that is broken: SHUTDOWN is only heard by one who asks for it."""
    invoking.receiver.pids.append(os.getpid())
    begin(invoking)
    assert not done(invoking)
    if end == "deadline":
        invoking.clock.now_ms += 2_901
    elif end == "death":
        invoking._on_death(next(iter(invoking._alive)))
        assert len(invoking.loop.hunts) == 1
    else:
        invoking.ended("r1")
    assert done(invoking)


def test_exporters_that_cannot_work_hold_nothing_up(invoking):
    """Each invocation would wait for an end that is of no use to anybody."""
    invoking.exporter.alive = False
    invoking.receiver.pids.append(os.getpid())
    begin(invoking)
    assert done(invoking)


def test_the_lines_of_the_extension_itself_go_to_the_exporters(invoking):
    """Kills and platform facts would be missing where the team looks."""
    invoking.loop.lines.tell({"UnusedInit": 1}, {})
    (message,) = invoking.exporter.sent
    head, _, body = message.partition(b"\n")
    assert head == b"coldspan/1 line"
    assert json.loads(body)["UnusedInit"] == 1


@pytest.mark.parametrize(("flush_ms", "lasts_ms"), [(0, 1_000), (100, 1_000), (101, 101), (5_000, 5_000)])
def test_a_flush_that_is_not_waited_for_has_time_to_send_all_the_same(invoking, flush_ms, lasts_ms):
    """With a wait of 0, which is "do not bill me", nothing was sent before the environment's end."""
    invoking._flush_ms = flush_ms
    began_ms = invoking.clock.now_ms
    invoking.receiver.pids = [os.getpid()]
    invoking.begin({"requestId": "r1", "deadlineMs": began_ms + 60_000})
    invoking.receiver.lines = [b"coldspan/1 line\n{}"]
    invoking.receiver.ended = ["r1"]
    invoking.receive()
    assert invoking.exporter.asked == [began_ms + lasts_ms]
    assert invoking.is_done(began_ms * MS) == (flush_ms <= 100)
