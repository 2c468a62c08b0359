"""The customer's own hooks around every call: they see everything, change nothing and break nothing."""

import asyncio
import threading

import pytest

import coldspan
from coldspan.core.record import AWS, Invocation
from coldspan.core.result import to_result
from coldspan.hot import listeners
from coldspan.hot import scope as scope_module


@pytest.fixture(autouse=True)
def no_hooks(monkeypatch):
    """Each test registers its own."""
    monkeypatch.setattr(listeners, "_hooks", {"before": (), "after": ()})


@pytest.fixture
def invocation(scope, monkeypatch):
    """A live invocation in a recorder that runs."""
    monkeypatch.setattr(scope_module, "active", scope)
    invocation = Invocation("invocation", "1", scope.new_id(), scope.clock(), scope.wall())
    scope.current.set(invocation)
    return invocation


def aws_call(scope):
    """What a library's hook does."""
    call = scope.begin(AWS, "sqs", "SendMessage")
    call.http_status = 200
    call.attributes = {"server.address": "sqs"}
    scope.end(call)
    return call


def test_hooks_see_every_call_before_and_after(scope, invocation, fake_clock):
    """Any call, by hand or by a library's hook, must be told."""
    seen = []
    assert coldspan.before_call(seen.append) == seen.append

    @coldspan.after_call
    def after(record):
        seen.append(record)

    with coldspan.call("pricing", "quote", payload={"a": 1}):
        fake_clock.advance(ms=3)
    aws_call(scope)
    told = [(record.tool, record.operation, record.status, record.duration_ms) for record in seen]
    assert told == [
        ("pricing", "quote", "in_flight", 0.0),
        ("pricing", "quote", "ok", 3.0),
        ("sqs", "SendMessage", "in_flight", 0.0),
        ("sqs", "SendMessage", "ok", 0.0),
    ]
    assert seen[1].payload == {"a": 1}
    assert seen[0].span_id == seen[1].span_id


def test_hook_changes_nothing_promise_1(scope, invocation):
    """Promise 1: what a hook does to its copy stays in its copy, and the position stays where it was."""
    with coldspan.call("pricing", "quote", payload={"a": [1]}) as call:
        call.attributes["kept"] = 1
    expected = to_result(invocation.calls[0])

    @coldspan.before_call
    @coldspan.after_call
    def vandal(record):
        record.tool = "other"
        record.attributes.clear()
        record.attributes["server.address"] = "evil"
        if record.payload:
            record.payload["a"].append(2)
        scope.current.set(None)

    with coldspan.call("pricing", "quote", payload={"a": [1]}) as call:
        call.attributes["kept"] = 1
        assert scope.position() is not None
    changed = to_result(invocation.calls[1])
    for name in ("tool", "operation", "status", "attributes", "payload", "parent_id"):
        assert getattr(changed, name) == getattr(expected, name)
    assert scope.current.get() is invocation


@pytest.mark.expects_errors("before_call", "after_call")
@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, RecursionError])
def test_hook_that_raises_breaks_nothing_promise_2(scope, invocation, error):
    """Promise 2: a hook that fails costs one count; the call, and the next hook, go on."""
    told = []

    def fail(_record):
        raise error

    coldspan.before_call(fail)
    coldspan.before_call(told.append)
    coldspan.after_call(fail)
    coldspan.after_call(told.append)
    with coldspan.call("pricing", "quote"):
        pass
    assert len(told) == 2
    assert scope.buffer.errors == {"before_call": 1, "after_call": 1}
    assert [to_result(call).status for call in invocation.calls] == ["ok"]


@pytest.mark.expects_errors("async_hook")
def test_hook_that_is_async_is_counted_and_not_left_waiting(scope, invocation):
    """Nobody can await it: it must be counted, without a warning in the customer's log."""

    @coldspan.after_call
    async def later(_record):
        raise AssertionError

    aws_call(scope)
    assert scope.buffer.errors == {"async_hook": 1}


def test_calls_that_a_hook_makes_are_recorded_and_not_told(scope, invocation):
    """A hook that writes to a table must not start an endless loop."""
    told = []

    @coldspan.before_call
    @coldspan.after_call
    def audit(record):
        told.append(record.tool)
        with coldspan.call("audit", "write"):
            pass

    aws_call(scope)
    assert told == ["sqs", "sqs"]
    assert sorted(call.tool for call in invocation.calls) == ["audit", "audit", "sqs"]


def test_hooks_on_two_threads_do_not_silence_each_other(scope, invocation):
    """The guard against re-entry belongs to the thread that is inside."""
    inside, go_on = threading.Event(), threading.Event()
    told = []

    @coldspan.before_call
    def slow(record):
        told.append(record.tool)
        if record.tool == "first":
            inside.set()
            assert go_on.wait(10)

    def first():
        with coldspan.call("first", "x"):
            pass

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    with coldspan.call("second", "x"):
        pass
    go_on.set()
    thread.join()
    assert sorted(told) == ["first", "second"]
    scope.buffer.strays.clear()


@pytest.mark.expects_drops("arguments_refused")
def test_hook_that_cannot_be_called_is_counted(scope, invocation):
    """A wrong argument must be seen, and must not raise."""
    assert coldspan.before_call(None) is None
    assert coldspan.after_call("x") == "x"
    assert scope.buffer.drops == {"arguments_refused": 2}
    aws_call(scope)


def test_hook_registered_before_the_recorder_starts_is_attached_when_it_does(scope, monkeypatch):
    """From pip, the hook can be registered before the handler is instrumented."""
    told = []
    coldspan.after_call(told.append)
    monkeypatch.setattr(scope_module, "active", scope)
    listeners.attach(scope)
    aws_call(scope)
    scope.buffer.strays.clear()
    assert len(told) == 1


def test_without_hooks_a_scope_has_no_listeners(scope, invocation):
    """Who has no hooks must not pay for them."""
    aws_call(scope)
    listeners.attach(scope)
    assert scope.listeners is None
