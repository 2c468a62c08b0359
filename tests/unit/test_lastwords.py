"""The last words of an invocation near its deadline: what they say, where they go, and when they are not said."""

import json
from types import SimpleNamespace

import pytest

from coldspan.boot.seam import Seam
from coldspan.core import limits, stacks
from coldspan.core.record import AWS, HTTP, Invocation
from coldspan.drain.flush import Drain
from coldspan.drain.lastwords import LastWords

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
STACKS = stacks.write([("MainThread", ["/var/task/app.py:7 handler"])])


class World:
    """A running invocation, and the last words beside a drain, on the fake clock."""

    def __init__(self, scope, clock):
        self.scope, self.clock = scope, clock
        self.lines, self.sent, self.datagrams = [], [], []
        self.closed = 0
        finder = SimpleNamespace(tree=[], stop_timing=lambda: None)
        self.seam = Seam(scope, finder, lambda *args: None)
        daemon = SimpleNamespace(send=self.send, close=self.close)
        self.drain = Drain(self.seam, write=self.write_record, daemon=daemon)
        self.seam.drains["Drain"] = self.drain
        self.words = LastWords(self.seam, lambda: self.drain, write=self.write, daemon=daemon)
        self.invocation = Invocation("invocation", "r1", scope.new_id(), clock.monotonic(), clock.wall())
        self.invocation.deadline_ms = clock.wall_ns // 10**6 + 3_000
        self.invocation.trace_text = TRACE
        scope.current.set(self.invocation)

    def write(self, line):
        self.lines.append(line)
        return True

    def write_record(self, line):
        self.sent.append(json.loads(line))
        return True

    def send(self, datagram):
        self.datagrams.append(json.loads(datagram.split(b"\n", 1)[1]))
        return ""

    def close(self):
        self.closed += 1

    def call(self, tool, kind=HTTP):
        call = self.scope.begin(kind, tool, "GET")
        call.http_status = 200
        self.clock.advance(ms=10)
        return call

    def tell(self, at_ms=2_900):
        self.clock.advance(self.invocation.start_ns + at_ms * 10**6 - self.clock.monotonic_ns)
        self.words.tell(self.invocation, STACKS)
        return [json.loads(line) for line in self.lines]


@pytest.fixture
def world(scope, fake_clock):
    made = World(scope, fake_clock)
    yield made
    scope.current.set(None)


def test_the_line_says_what_is_known(world, scope):
    """It may be all that is ever known of this invocation."""
    scope.end(world.call("stock"))
    outer = world.call("dynamodb", AWS)
    world.call("api.stripe.com")
    [said] = world.tell()
    assert said == {
        "coldspan": "deadline_near",
        "request_id": "r1",
        "trace_id": "5759e988bd862e3fe1be46a994272793",
        "function_name": "orders",
        "running_ms": 2_900.0,
        "left_ms": 100.0,
        "calls_open": [
            {"tool": "dynamodb", "operation": "GET", "since_ms": 2_890.0},
            {"tool": "api.stripe.com", "operation": "GET", "since_ms": 2_880.0},
        ],
        "calls_ended": 1,
        "calls": [{"tool": "stock", "operation": "GET", "status": "ok", "duration_ms": 10.0}],
        "stacks": [{"thread": "MainThread", "frames": ["/var/task/app.py:7 handler"]}],
    }
    assert world.lines[0].endswith(b"}\n")
    assert world.lines[0].count(b"\n") == 1
    assert outer.end_ns == 0


def test_the_line_is_bounded(world, scope):
    """A loop of calls is what an invocation may be stuck in."""
    for _ in range(300):
        scope.end(world.call("api"))
    [said] = world.tell(at_ms=2_999)
    assert said["calls_ended"] == 300
    assert len(said["calls"]) == limits.LAST_CALLS


@pytest.mark.parametrize(
    ("format_", "level", "told"), [("JSON", "ERROR", "ERROR"), ("JSON", "INFO", None), ("Text", "ERROR", None)]
)
def test_a_level_filter_lets_the_line_through(scope, fake_clock, settings, format_, level, told):
    """The same rule as for the records."""
    settings.log_format, settings.log_level = format_, level
    world = World(scope, fake_clock)
    [said] = world.tell()
    assert said.get("level") == told
    assert ("timestamp" in said) == bool(told)
    scope.current.set(None)


@pytest.mark.parametrize("reason", ["emf", "stdout"])
def test_no_line_where_none_is_wanted_or_stdout_is_not_ours_promise_2(world, settings, reason):
    """A handler may have a file of its own in stdout's place."""
    if reason == "emf":
        settings.emf = False
    else:
        world.seam.stdout = (1, 1)
    assert world.tell() == []


def test_with_a_budget_of_0_nothing_leaves(world, settings):
    """Nothing is ever sent means nothing."""
    settings.flush_ns = 0
    settings.xray_address = "127.0.0.1:2000"
    assert world.tell() == []
    assert world.datagrams == []


@pytest.mark.expects_drops("last_words_unsendable")
def test_a_line_that_cannot_be_written_is_counted_promise_4(world, scope):
    """A stdout that is closed."""
    world.words.write = lambda line: False
    world.tell()
    assert scope.buffer.drops == {"last_words_unsendable": 1}


def test_the_subsegment_is_in_progress_and_has_the_ids_of_the_finished_one(world, scope, settings):
    """The complete documents complete it."""
    settings.xray_address = "127.0.0.1:2000"
    scope.end(world.call("stock"))
    call = world.call("dynamodb", AWS)
    invocation = world.invocation
    invocation.trigger = ("sqs", 1, 1, {"records": {}})
    world.tell()
    [opened] = world.datagrams
    assert opened["in_progress"] is True
    assert "end_time" not in opened
    assert opened["annotations"]["trigger"] == "sqs"
    assert [part.get("in_progress") for part in opened["subsegments"]] == [None, True]
    scope.end(call)
    invocation.trigger = None
    invocation.deadline_near = True
    world.seam._close(invocation)
    world.drain.run(world.seam, invocation)
    ended = world.datagrams[-1]
    assert ended["id"] == opened["id"]
    assert ended["parent_id"] == opened["parent_id"]
    assert [part["id"] for part in ended["subsegments"]] == [part["id"] for part in opened["subsegments"]]
    assert "in_progress" not in ended
    assert world.sent[0]["deadline_near"] is True


@pytest.mark.parametrize("reason", ["unsampled", "off", "no daemon", "no trace"])
def test_no_subsegment_where_the_finished_one_would_not_be_sent(world, settings, reason):
    """Sampling is X-Ray's decision."""
    settings.xray_address = "" if reason == "no daemon" else "127.0.0.1:2000"
    settings.xray = "off" if reason == "off" else "auto"
    world.invocation.trace_text = {"unsampled": TRACE[:-1] + "0", "no trace": ""}.get(reason, TRACE)
    world.tell()
    assert world.datagrams == []


def earlier(world):
    """An invocation that has ended and has not been drained."""
    waiting = Invocation("invocation", "r0", world.scope.new_id(), world.clock.monotonic() - 10**9, world.clock.wall())
    waiting.end_ns, waiting.closed, waiting.outcome = world.clock.monotonic(), True, "ok"
    world.scope.buffer.add_invocation(waiting)


def test_what_earlier_invocations_left_goes_along_promise_4(world):
    """If the environment is killed, nobody else will send it."""
    earlier(world)
    world.tell()
    assert [record["request_id"] for record in world.sent] == ["r0"]


def test_a_drain_that_is_at_work_is_left_alone(world):
    """Two would mix their lines."""
    earlier(world)
    with world.drain.running:
        world.tell()
    assert world.sent == []


def test_an_invocation_that_ends_meanwhile_has_no_more_last_words(world, settings):
    """Its own record comes, and its drain is at work."""
    settings.xray_address = "127.0.0.1:2000"
    earlier(world)

    def write(line):
        world.lines.append(line)
        world.invocation.closed = True
        return True

    world.words.write = write
    world.tell()
    assert (len(world.lines), world.datagrams, world.sent) == (1, [], [])


def test_after_the_deadline_nothing_more_is_sent(world, settings):
    """A stdout that blocks takes all the time there is."""
    settings.xray_address = "127.0.0.1:2000"
    earlier(world)

    def write(line):
        world.clock.advance(ms=200)
        return True

    world.words.write = write
    world.tell()
    assert (world.datagrams, world.sent) == ([], [])


@pytest.mark.expects_errors("send_line")
def test_a_fault_in_one_step_does_not_stop_the_next_promise_2(world, settings, scope):
    """Counted, and the trace still gets its document."""
    settings.xray_address = "127.0.0.1:2000"
    world.words.write = None
    world.tell()
    assert scope.buffer.errors == {"send_line": 1}
    assert len(world.datagrams) == 1
    assert world.closed == 1


def test_one_that_is_drained_meanwhile_costs_no_fault(world, settings):
    """It has ended on its own thread, and its trigger is told."""
    settings.xray_address = "127.0.0.1:2000"
    world.invocation.trigger = ""
    world.words.subsegment(world.invocation)
    assert len(world.datagrams) == 1
