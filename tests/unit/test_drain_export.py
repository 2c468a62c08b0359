"""Lines for the black box: in their order, behind nobody and in nobody's way, each sent or counted."""

import json
import socket

import pytest

from coldspan.core import limits
from coldspan.core.emf import EmfEncoder
from coldspan.core.record import HTTP, Invocation
from coldspan.drain import blackbox as blackbox_module
from coldspan.drain.blackbox import BlackBox
from support.records import call, invocation, results
from support.runtime_loop import Recorder, Runtime, request

ROOM = 10  # datagrams, as net.unix.max_dgram_qlen has it


@pytest.fixture(autouse=True)
def one_line_a_datagram(monkeypatch):
    """As with records so large that no two lines share one: the queue is then soon full."""
    monkeypatch.setattr(limits, "EXPORT_DATAGRAM_BYTES", 1)


class Box:
    """The black box's end: takes ROOM datagrams, and reads them when it is given the processor, unless it is hung."""

    def __init__(self, clock):
        self.clock = clock
        self.queue, self.got = [], []
        self.hung = False
        self.yields = 0

    def send(self, datagram):
        if len(self.queue) > ROOM:
            return "export_socket_full"
        self.queue.append(datagram)
        return ""

    def read(self):
        """Read all that has come."""
        self.got += self.queue
        self.queue.clear()

    def sched_yield(self):
        self.yields += 1
        self.clock.advance(ms=1)
        if not self.hung:
            self.read()

    @property
    def told(self):
        """(kind, tool or request) of all that was read."""
        found = []
        for datagram in self.got:
            head, _, body = datagram.partition(b"\n")
            document = json.loads(body)
            found.append((head.split(b" ")[1].decode(), document.get("tool") or document["request_id"]))
        return found


class Function:
    """A function under a recorder that exports."""

    def __init__(self, scope, clock, patch):
        self.scope, self.clock = scope, clock
        self.box = Box(clock)
        self.runtime = Runtime(patch)
        self.recorder = Recorder(scope)
        patch.setattr(blackbox_module, "sched_yield", self.box.sched_yield)
        patch.setattr(BlackBox, "send", lambda _, datagram: self.box.send(datagram))
        self.recorder.seam.blackbox = BlackBox("test")
        self.number = 0

    def invoke(self, calls=1):
        """One invocation with calls of so many tools; how many ms it and its drain took: only the box takes time."""
        self.number += 1

        def handler(event, context):
            for number in range(calls):
                call = self.scope.begin(HTTP, f"tool-{number}", "GET")
                call.http_status = 200
                self.scope.end(call)

        deadline_ms = self.clock.wall_ns // 1_000_000 + 30_000
        began_ns = self.scope.clock()
        self.runtime.invoke(self.recorder.wrap(handler), request(f"r{self.number}", deadline_ms=deadline_ms))
        return (self.scope.clock() - began_ns) // 1_000_000

    def close(self):
        """Take the recorder away."""
        self.recorder.stop()


@pytest.fixture
def function(scope, fake_clock, monkeypatch):
    """A Function; afterwards all of it is gone."""
    made = Function(scope, fake_clock, monkeypatch)
    yield made
    made.close()


def lines_of(number, tools):
    """What an invocation sends: (kind, tool or request)."""
    return [("line", f"r{number}"), *(("line", f"tool-{tool}") for tool in range(tools)), ("end", f"r{number}")]


def test_more_lines_than_the_queue_holds_all_arrive_in_their_order(function):
    """An invocation of 20 tools would lose half of its lines where the kernel's queue holds ten."""
    function.invoke(calls=20)
    function.box.read()
    assert function.box.told == lines_of(1, 20)
    assert function.recorder.drain.exports == []
    assert 0 < function.box.yields < 5
    assert "export" not in function.scope.buffer.drops


def test_a_box_that_hangs_is_waited_for_once_within_the_budget_and_stdout_not_at_all_promise_3(function):
    """Each invocation would be held for the whole budget, or its own log lines wait behind the black box."""
    budget_ms = function.scope.settings.flush_ns // 1_000_000
    function.box.hung = True
    assert function.invoke(calls=2) == 0  # hello is not sent here: 4 datagrams
    assert function.invoke(calls=20) == budget_ms
    assert len(function.recorder.lines) == 3 + 21
    assert function.invoke(calls=2) == 0
    assert len(function.recorder.lines) == 3 + 21 + 3
    assert function.box.got == []


def test_what_a_box_has_not_taken_goes_with_later_drains_and_nothing_is_lost_promise_4(function):
    """A black box that is without the processor for a moment would cost records."""
    function.box.hung = True
    for _ in range(3):
        function.invoke(calls=4)
    function.box.hung = False
    function.box.read()
    function.invoke(calls=1)
    function.box.read()
    assert function.box.told == [*lines_of(1, 4), *lines_of(2, 4), *lines_of(3, 4), *lines_of(4, 1)]
    assert function.recorder.told == ({}, {})


def test_the_end_of_an_invocation_is_told_although_lines_are_left_for_later(function, monkeypatch):
    """The black box would wait for it, and the environment be billed, until the deadline."""
    monkeypatch.setattr(
        function.box, "send", lambda datagram: function.clock.advance(ms=20) or Box.send(function.box, datagram)
    )
    function.invoke(calls=4)
    function.box.read()
    assert function.box.told == [("line", "r1"), ("line", "tool-0"), ("line", "tool-1"), ("end", "r1")]
    function.invoke(calls=0)
    function.box.read()
    assert function.box.told[4:7] == [("line", "tool-2"), ("line", "tool-3"), ("line", "r2")]


@pytest.mark.expects_drops("export_buffer_full")
def test_what_a_box_never_takes_is_bounded_and_counted_promise_4(function, monkeypatch):
    """A black box that is gone for good would cost memory."""
    monkeypatch.setattr(limits, "LINES_WAITING", 20)
    function.box.hung = True
    for _ in range(10):
        function.invoke(calls=4)
    waiting = function.recorder.drain.exports
    assert len(waiting) <= 20 + 1  # and the end of an invocation
    lost = (
        10 * 5 - sum(kind == "line" for kind, _ in function.box.told) - sum(b" line" in each[:16] for each in waiting)
    )
    lost -= sum(b" line" in each[:16] for each in function.box.queue)
    told = function.recorder.told[1].get("export_buffer_full", 0)
    assert told + function.scope.buffer.drops["export_buffer_full"] == lost > 0


def test_an_invocation_that_still_runs_is_not_told_as_over(function):
    """Near its deadline what others have left is sent; the black box would not wait for its own record any more."""
    function.box.hung = True
    for _ in range(3):
        function.invoke(calls=4)
    function.box.read()
    function.box.got.clear()
    running = Invocation("invocation", "running", 1, function.clock.monotonic(), function.clock.wall())
    function.box.hung = False
    function.recorder.drain.run(function.recorder.seam, running)
    function.box.read()
    assert function.box.told
    assert ("end", "running") not in function.box.told


@pytest.mark.expects_drops("tools_other")
def test_what_is_encoded_for_the_log_and_for_the_box_is_counted_once_promise_4(function, monkeypatch):
    """With a share of details in the log, the same drop would be told twice."""
    monkeypatch.setattr(limits, "TOOLS_AS_DIMENSIONS", 2)
    function.scope.settings.detail = 0
    for _ in range(3):
        function.invoke(calls=5)
    assert "calls" not in function.recorder.lines[-1]
    told = function.recorder.told[1].get("tools_other", 0)
    assert told + function.scope.buffer.drops["tools_other"] == 3 * 3


def test_without_lines_in_the_log_the_journal_keeps_an_invocation_until_the_box_has_it_promise_4(function):
    """A kill between the drain and the black box would lose it, and nobody would count it."""
    function.scope.settings.emf = False
    function.scope.journal = journal = Forgetful()
    function.box.hung = True
    while len(function.box.queue) <= ROOM:
        function.invoke(calls=4)
    kept = journal.serial - len(journal.forgotten)
    assert kept > 0
    function.box.hung = False
    function.box.read()
    function.invoke()
    function.box.read()
    assert journal.forgotten == list(range(1, journal.serial + 1))
    function.scope.journal = None


class Forgetful:
    """A journal that numbers invocations and notes which of them it may forget."""

    lost = False

    def __init__(self):
        self.serial = 0
        self.forgotten = []

    def begin(self, invocation):
        self.serial = invocation.serial = self.serial + 1

    def forget(self, serial):
        self.forgotten.append(serial)

    def describe(self, invocation, trigger):
        """Not looked at here."""

    def end(self, invocation):
        """Not looked at here."""

    call_begun = call_ended = end


@pytest.mark.parametrize("calls", [300, 1_000])
def test_an_invocation_that_no_datagram_takes_is_sent_in_parts(encoded, calls):
    """The busiest invocation was missing at every destination, with its metrics."""
    line, owner = encoded(calls)
    assert (len(line) > limits.EXPORT_LINE_BYTES) == (calls == 1_000)
    waiting, drops = [], {}
    blackbox_module.add(waiting, [line], lambda reason, count: drops.update({reason: count}))
    got = through_a_socket(waiting)
    documents = [json.loads(text) for datagram in got for text in datagram.partition(b"\n")[2].splitlines()]
    assert drops == {}
    assert next(document for document in documents if "_aws" in document)["Calls"] == calls
    assert sum("_aws" in document for document in documents) == 1
    assert {document["request_id"] for document in documents} == {owner.request_id}
    told = [call["span_id"] for document in documents for call in document["calls"]]
    assert told == [result.span_id for result in results(owner)]


def test_one_call_that_no_datagram_takes_is_trimmed_and_counted_promise_4(encoded):
    """Its payload is on stdout; the call itself arrives."""
    line, _ = encoded(1, payload="p" * 300_000)
    waiting, drops = [], {}
    blackbox_module.add(waiting, [line], lambda reason, count: drops.update({reason: count}))
    (datagram,) = through_a_socket(waiting)
    (call,) = json.loads(datagram.partition(b"\n")[2])["calls"]
    assert (call["trimmed"], drops) == (True, {"export_trimmed": 1})


@pytest.fixture
def encoded():
    """Encode an invocation with so many calls; (its line, the invocation)."""

    def encode(count, **changes):
        owner = invocation()
        for number in range(count):
            call(owner, at_ms=number / 100, **changes)
        return EmfEncoder("coldspan", "orders").invocation_lines(owner, results(owner), {})[0], owner

    return encode


def through_a_socket(datagrams):
    """Send each, as the recorder does, and read it: what is too large raises."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    got = []
    with one, other:
        for datagram in datagrams:
            one.send(datagram)
            got.append(other.recv(1 << 20))
    return got
