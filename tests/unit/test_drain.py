"""The drain: what it sends, what it leaves for the next one, and what it counts."""

import gc
import json
import os
import weakref
from types import SimpleNamespace

import pytest

from coldspan.boot.seam import Seam
from coldspan.core import limits
from coldspan.core.record import HTTP, USER, Invocation
from coldspan.drain import stdout
from coldspan.drain.daemon import Daemon, parse_address
from coldspan.drain.flush import Drain, others_trace

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


class Platform:
    """A seam and a drain on the fake clock; what is sent is kept, and sending may take time or fail."""

    def __init__(self, scope, clock):
        self.clock = clock
        self.scope = scope
        self.sent = []
        self.datagrams = []
        self.cost_ms = 0
        self.refuse = 0
        finder = SimpleNamespace(tree=[], stop_timing=lambda: None)
        self.seam = Seam(scope, finder, self.first)
        self.drain = Drain(self.seam, write=self.write, daemon=SimpleNamespace(send=self.send))

    def first(self, *args):
        self.seam.drain = self.scope.buffer.shielded(self.drain.run)
        self.seam.drain(*args)

    def write(self, line):
        if self.refuse:
            self.refuse -= 1
            return False
        self.clock.advance(ms=self.cost_ms)
        self.sent.append(json.loads(line))
        return True

    def send(self, datagram):
        self.datagrams.append(json.loads(datagram.split(b"\n", 1)[1]))
        return ""

    def invoke(self, handler=lambda: None, *, request_id="r1", left_ms=3_000, error=False, trace="", ms=10):
        self.seam.before_next()
        deadline = self.clock.wall_ns // 10**6 + left_ms
        self.seam.begin(
            SimpleNamespace(
                invoke_id=request_id,
                x_amzn_trace_id=trace,
                invoked_function_arn="arn",
                deadline_time_in_ms=str(deadline),
            )
        )
        invocation = self.seam.enter(({},), {})
        handler()
        self.clock.advance(ms=ms)
        if error:
            self.seam.fail(invocation, ValueError("no"))
        else:
            self.seam.succeed(invocation, None)
        self.seam.posted(error, (request_id, "null"), {})
        return invocation

    @property
    def records(self):
        """The invocation lines."""
        return [line for line in self.sent if "Duration" in line]


@pytest.fixture
def platform(scope, fake_clock):
    platform = Platform(scope, fake_clock)
    yield platform
    scope.current.set(None)


def a_call(scope, tool="api"):
    call = scope.begin(HTTP, tool, "GET")
    call.http_status = 200
    scope.end(call)


def test_an_invocation_with_a_call_leaves_as_a_line_of_its_own_and_one_for_the_tool(platform, scope):
    """One line an invocation, one a (tool, operation)."""
    platform.invoke(lambda: a_call(scope))
    assert len(platform.sent) == 2
    record = platform.records[0]
    assert record["start"] == "cold"
    assert record["outcome"] == "ok"
    assert [call["tool"] for call in record["calls"]] == ["api"]
    assert record["Duration"] == 10.0


def test_the_second_invocation_is_warm_and_tells_no_init_again(platform):
    """Init belongs to the cold start's record only."""
    platform.invoke()
    platform.invoke()
    assert [record["start"] for record in platform.records] == ["cold", "warm"]
    assert "init" in platform.records[0]
    assert "init" not in platform.records[1]
    assert "InitDuration" not in platform.records[1]


def test_no_drain_starts_near_the_deadline_and_the_next_one_sends_both_promise_3(platform):
    """A drain that overruns the deadline turns a success into a timeout."""
    platform.invoke(left_ms=25, ms=10, request_id="near")
    assert platform.sent == []
    platform.invoke(request_id="far")
    assert [record["request_id"] for record in platform.records] == ["near", "far"]


def test_a_slow_drain_needs_twice_its_time_before_the_deadline_promise_3(platform):
    """The last drain is the best guess of the next."""
    platform.cost_ms = 40
    platform.invoke(request_id="slow")
    platform.invoke(left_ms=85, ms=10, request_id="kept")
    assert [record["request_id"] for record in platform.records] == ["slow"]


def test_a_drain_over_budget_stops_and_the_rest_goes_with_the_next_promise_3(platform, scope):
    """50 ms by default, checked before each line: the line that is being written is finished."""
    platform.cost_ms = 30
    platform.invoke(lambda: [a_call(scope, name) for name in ("a", "b", "c")], request_id="r1")
    assert len(platform.sent) == 2
    platform.cost_ms = 0
    platform.invoke(request_id="r2")
    assert len(platform.sent) == 5
    assert [line.get("tool") for line in platform.sent] == [None, "a", "b", "c", None]


def test_a_stdout_that_refuses_keeps_the_lines_in_order_for_the_next_drain_promise_4(platform):
    """A non-blocking stdout that is full loses nothing."""
    platform.refuse = 1
    platform.invoke(request_id="r1")
    assert platform.sent == []
    platform.invoke(request_id="r2")
    assert [record["request_id"] for record in platform.records] == ["r1", "r2"]


@pytest.mark.expects_drops("lines_buffer_full", "tools")
def test_lines_that_never_get_out_are_bounded_and_counted_promise_4(platform, scope, monkeypatch):
    """What a dead stdout cannot take must cost counters, not memory; counts of a lost line come back."""
    monkeypatch.setattr(limits, "LINES_WAITING", 3)
    platform.refuse = 10**9
    scope.buffer.drop("tools", 5)
    for number in range(5):
        platform.invoke(request_id=f"r{number}")
    assert len(platform.drain.pending) == 3
    platform.refuse = 0
    platform.invoke(request_id="last")
    counted = {}
    for record in platform.records:
        for reason, count in record.get("dropped", {}).items():
            counted[reason] = counted.get(reason, 0) + count
    platform.invoke(request_id="after")
    for reason, count in platform.records[-1].get("dropped", {}).items():
        counted[reason] = counted.get(reason, 0) + count
    lost = 7 - len(platform.records)
    assert counted == {"lines_buffer_full": lost, "tools": 5}


@pytest.mark.expects_drops("invocations_buffer_full", "calls_buffer_full")
def test_invocations_that_wait_for_a_drain_are_bounded_and_counted_promise_4(platform, scope):
    """Deadlines always near: the newest are kept, the oldest are counted with their calls."""
    count = limits.INVOCATIONS_WAITING + 3
    for number in range(count):
        platform.invoke(lambda: a_call(scope), left_ms=15, request_id=f"r{number}")
    assert platform.sent == []
    platform.invoke(request_id="last")
    assert len(platform.records) == limits.INVOCATIONS_WAITING
    # the drops are told by the first record of the drain
    assert platform.records[0]["dropped"] == {"invocations_buffer_full": 4, "calls_buffer_full": 4}


def test_more_failed_calls_than_a_budget_can_encode_are_all_told_in_the_end_promise_4(
    platform, scope, fake_clock, monkeypatch
):
    """300 failing calls must not silence the environment: the record leaves at once, its last calls with the next."""
    from coldspan.drain import flush

    real = flush.to_result

    def slow(call, *args):
        fake_clock.advance(ms=1)
        return real(call, *args)

    monkeypatch.setattr(flush, "to_result", slow)
    platform.invoke(lambda: [a_call(scope, "api") for _ in range(300)], request_id="many")
    first = platform.records[0]
    assert first["request_id"] == "many"
    assert 0 < first["Calls"] < 300
    assert first["calls_later"] == 300 - first["Calls"]
    for number in range(20):
        platform.invoke(request_id=f"r{number}")
    told = [call["span_id"] for line in platform.sent for call in line.get("calls", ())]
    assert len(told) == len(set(told)) == 300
    assert all("dropped" not in line for line in platform.sent)


def test_records_that_waited_and_find_no_time_wait_again_in_order_promise_4(platform, scope, fake_clock, monkeypatch):
    """A drain that has twenty records to encode encodes some, and keeps the others."""
    from coldspan.drain import flush

    real = flush.to_result

    def slow(call, *args):
        fake_clock.advance(ms=30)
        return real(call, *args)

    for number in range(3):
        platform.invoke(lambda: a_call(scope), left_ms=15, request_id=f"near{number}")
    monkeypatch.setattr(flush, "to_result", slow)
    for number in range(6):
        platform.invoke(request_id=f"far{number}")
    told = [record["request_id"] for record in platform.records]
    assert told == ["near0", "near1", "near2", *(f"far{number}" for number in range(len(told) - 3))]
    assert len(told) >= 8


def test_the_first_drain_is_not_even_loaded_near_the_deadline_promise_3(scope, fake_clock, monkeypatch):
    """Its modules take time too: a tight cold invocation must not become a timeout by our imports."""
    import sys

    from coldspan.boot import start

    monkeypatch.setitem(sys.modules, "coldspan.drain.flush", None)  # importing it would raise
    invocation = Invocation("invocation", "r1", 1, fake_clock.monotonic(), fake_clock.wall())
    invocation.deadline_ms = fake_clock.wall_ns // 10**6 + 90
    start._drain(SimpleNamespace(scope=scope), invocation)
    invocation.deadline_ms += 1_000
    with pytest.raises(ImportError):
        start._drain(SimpleNamespace(scope=scope), invocation)


def test_a_wall_clock_that_jumps_changes_no_duration(platform, fake_clock):
    """After a thaw the wall clock is corrected in the middle of an invocation; durations come from the other clock."""
    platform.invoke()
    platform.invoke(lambda: fake_clock.jump_wall(s=-7200))
    platform.invoke(lambda: fake_clock.jump_wall(s=7200))
    assert [record["Duration"] for record in platform.records] == [10.0, 10.0, 10.0]


def test_a_freeze_between_invocations_is_in_no_duration(platform, fake_clock):
    """The environment sleeps in GET next: an hour there belongs to nobody."""
    platform.invoke()
    fake_clock.advance(s=3600)
    platform.invoke()
    assert platform.records[1]["Duration"] == 10.0
    assert platform.records[1]["Overhead"] < 1_000_000


def test_a_call_still_open_is_counted_and_told_once_when_it_ends(platform, scope):
    """`calls_open` now, `late` with the first invocation's request id when it ends."""
    open_calls = []
    platform.invoke(lambda: open_calls.append(scope.begin(USER, "slow", "job")), request_id="r1")
    assert platform.records[0]["calls_open"] == 1
    assert platform.records[0]["calls"] == []
    scope.end(open_calls[0])
    platform.invoke(request_id="r2")
    late = [line for line in platform.sent if line.get("tool") == "slow"]
    assert len(late) == 1
    assert late[0]["calls"][0]["late"] is True
    assert late[0]["calls"][0]["request_id"] == "r1"
    platform.invoke(request_id="r3")
    assert len([line for line in platform.sent if line.get("tool") == "slow"]) == 1


def test_calls_made_during_init_are_recorded_under_the_init(platform, scope):
    """Clients and secrets are made at import time: these calls are not lost."""
    a_call(scope, "secretsmanager")
    platform.invoke()
    record = platform.records[0]
    assert [call["tool"] for call in record["init"]["calls"]] == ["secretsmanager"]
    assert record["calls"] == []
    assert record["Calls"] == 0


def test_calls_outside_an_invocation_are_background(platform, scope):
    """A thread that goes on after the invocation makes calls that belong to no request."""
    platform.invoke(request_id="r1")
    a_call(scope, "poller")
    platform.invoke(request_id="r2")
    stray = [line for line in platform.sent if line.get("tool") == "poller"]
    assert len(stray) == 1
    assert "late" not in stray[0]["calls"][0]


def test_nothing_of_ours_holds_the_invocation_after_the_drain_promise_5(platform, scope):
    """References: calls of a finished invocation must be free to go."""
    kept = []
    platform.invoke(lambda: kept.append(weakref.ref(type("Marker", (), {})())))
    invocation = platform.invoke(lambda: a_call(scope))
    assert invocation.calls == []
    gc.collect()
    assert kept[0]() is None


@pytest.mark.expects_errors("_encode")
@pytest.mark.expects_drops("records_unencodable")
def test_a_record_that_cannot_be_encoded_is_counted_and_the_others_leave_promise_2(platform, monkeypatch):
    """One bad record must not take the drain down."""
    whole = platform.drain.emf.invocation_lines

    def broken(invocation, *args):
        if invocation.request_id == "bad":
            raise TypeError
        return whole(invocation, *args)

    monkeypatch.setattr(type(platform.drain.emf), "invocation_lines", lambda _, *args: broken(*args))
    platform.invoke(left_ms=15, request_id="bad")
    platform.invoke(request_id="good")
    assert [record["request_id"] for record in platform.records] == ["good"]
    assert platform.records[0]["dropped"] == {"records_unencodable": 1}
    assert platform.records[0]["errors"] == {"_encode": 1}


def test_xray_gets_the_tree_only_when_the_trace_is_sampled(scope, fake_clock):
    """No daemon, no header, not sampled: a quiet no-op."""
    scope.settings.xray_address = "127.0.0.1:2000"
    platform = Platform(scope, fake_clock)
    platform.invoke(lambda: a_call(scope), trace=TRACE)
    platform.invoke(lambda: a_call(scope), trace=TRACE.replace("Sampled=1", "Sampled=0"))
    platform.invoke(lambda: a_call(scope), trace=TRACE.replace("Sampled=1", "Sampled=?"))
    platform.invoke(lambda: a_call(scope), trace="junk")
    platform.invoke(lambda: a_call(scope))
    trees = [document for document in platform.datagrams if document["name"].startswith("orders")]
    assert len(trees) == 1
    assert trees[0]["parent_id"] == "53995c3f42cd8ad8"
    assert [sub["name"] for sub in trees[0]["subsegments"]] == ["api"]


def test_xray_calls_are_off_beside_another_tracer_unless_asked_for(scope, fake_clock, monkeypatch):
    """With aws-xray-sdk patched each call would be shown twice."""
    import sys

    monkeypatch.setitem(sys.modules, "aws_xray_sdk.core.patcher", SimpleNamespace(_PATCHED_MODULES={"botocore"}))
    assert others_trace()
    scope.settings.xray_address = "127.0.0.1:2000"
    for mode, expected in (("auto", 0), ("on", 1)):
        scope.settings.xray = mode
        platform = Platform(scope, fake_clock)
        platform.invoke(lambda: a_call(scope), trace=TRACE)
        assert len(platform.datagrams[-1].get("subsegments", ())) == expected
        assert platform.records[-1]["Calls"] == 1


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("169.254.100.1:2000", ("169.254.100.1", 2000)),
        ("tcp:127.0.0.1:2001 udp:127.0.0.2:2002", ("127.0.0.2", 2002)),
        ("[::1]:2000", ("::1", 2000)),
        ("", None),
        ("nonsense", None),
        ("host:port", None),
    ],
)
def test_the_daemons_address_is_read_in_both_forms(text, address):
    """Source: X-Ray SDK, AWS_XRAY_DAEMON_ADDRESS."""
    assert parse_address(text) == address


def test_a_datagram_to_nobody_is_sent_and_the_socket_is_closed():
    """UDP to a closed port is no error, and nothing stays open."""
    daemon = Daemon(("127.0.0.1", 9))
    assert daemon.send(b"x") == ""
    assert daemon.send(b"x" * 70_000) == "xray_send_failed"
    daemon.close()
    assert daemon.socket is None


def test_stdout_is_written_whole_through_a_small_pipe(monkeypatch):
    """A pipe takes part of a large line: the rest follows, because half a line would spoil the next."""
    sent = []

    def some(descriptor, data):
        sent.append(bytes(data[:10]))
        return len(sent[-1])

    monkeypatch.setattr(stdout, "os_write", some)
    assert stdout.write(b"0123456789abcdefghij\n")
    assert b"".join(sent) == b"0123456789abcdefghij\n"


def test_a_stdout_that_is_full_or_closed_takes_nothing_and_says_so(monkeypatch):
    """A non-blocking or a closed stdout raises; the customer must not see it."""
    for error in (BlockingIOError, BrokenPipeError, OSError(9, "bad descriptor")):

        def refuse(*_, error=error):
            raise error

        monkeypatch.setattr(stdout, "os_write", refuse)
        assert stdout.write(b"x\n") is False


def test_stdout_is_written_by_descriptor():
    """sys.stdout may be the customer's own object."""
    read, write = os.pipe()
    saved = os.dup(1)
    try:
        os.dup2(write, 1)
        assert stdout.write(b"line\n")
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(write)
    assert os.read(read, 100) == b"line\n"
    os.close(read)
