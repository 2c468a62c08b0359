"""Positions: which call is whose child, and where calls go that begin or end outside an invocation."""

import asyncio

import pytest

from coldspan.core import limits
from coldspan.core.record import HTTP, USER, Invocation


def live(scope, name="r1"):
    invocation = Invocation("invocation", name, scope.new_id(), scope.clock(), scope.wall())
    scope.current.set(invocation)
    return invocation


@pytest.fixture(autouse=True)
def clear_position(scope):
    yield
    scope.current.set(None)


def test_a_call_inside_a_call_is_its_child(scope):
    """The tree of an invocation is told by parents."""
    invocation = live(scope)
    outer = scope.begin(USER, "outer", "op")
    inner = scope.begin(HTTP, "inner", "GET")
    scope.end(inner)
    scope.end(outer)
    after = scope.begin(USER, "after", "op")
    scope.end(after)
    assert (outer.parent, inner.parent, after.parent) == (invocation, outer, invocation)
    assert invocation.calls == [inner, outer, after]


def test_calls_that_end_out_of_order_leave_a_true_position(scope):
    """A stream may end after the call that was begun while it was open."""
    invocation = live(scope)
    first = scope.begin(HTTP, "first", "GET")
    second = scope.begin(HTTP, "second", "GET")
    scope.end(first)
    third = scope.begin(HTTP, "third", "GET")
    scope.end(second)
    scope.end(third)
    fourth = scope.begin(HTTP, "fourth", "GET")
    assert third.parent is second
    assert fourth.parent is invocation


def test_leave_makes_later_calls_siblings_while_the_call_goes_on(scope):
    """A response body that is read later must not become the parent of everything."""
    invocation = live(scope)
    stream = scope.begin(HTTP, "stream", "GET")
    scope.leave(stream)
    sibling = scope.begin(HTTP, "sibling", "GET")
    assert sibling.parent is invocation
    assert stream.end_ns == 0


def test_a_call_ends_once(scope, fake_clock):
    """close() after read() must not make the call longer, nor tell it twice."""
    invocation = live(scope)
    call = scope.begin(HTTP, "api", "GET")
    fake_clock.advance(ms=5)
    scope.end(call)
    fake_clock.advance(ms=5)
    scope.end(call)
    assert call.end_ns - call.start_ns == 5_000_000
    assert invocation.calls == [call]


def test_tasks_of_a_gather_are_children_of_the_call_that_made_them(scope):
    """The event loop copies the position into each task; what a task does stays in it."""
    invocation = live(scope)

    async def task(name):
        call = scope.begin(HTTP, name, "GET")
        await asyncio.sleep(0)
        inner = scope.begin(HTTP, name + "-inner", "GET")
        await asyncio.sleep(0)
        scope.end(inner)
        scope.end(call)

    async def main():
        outer = scope.begin(USER, "outer", "op")
        await asyncio.gather(*(task(name) for name in "abc"))
        scope.end(outer)
        return outer

    outer = asyncio.run(main())
    by_name = {call.tool: call for call in invocation.calls}
    assert len(by_name) == 7
    for name in "abc":
        assert by_name[name].parent is outer
        assert by_name[name + "-inner"].parent is by_name[name]


def test_a_call_begun_after_its_invocation_belongs_to_the_environment(scope):
    """A thread that outlives the invocation works for nobody in particular."""
    invocation = live(scope)
    invocation.closed = True
    call = scope.begin(HTTP, "api", "GET")
    assert call.owner is scope.outside
    assert scope.position() is call
    scope.end(call)
    assert scope.buffer.strays == [call]
    assert call.late is False


def test_a_call_that_ends_after_its_invocation_is_late(scope):
    """It keeps its request id, and goes with the next drain."""
    invocation = live(scope)
    call = scope.begin(HTTP, "api", "GET")
    invocation.closed = True
    scope.end(call)
    assert call.late is True
    assert call.owner is invocation
    assert scope.buffer.strays == [call]


@pytest.mark.expects_drops("calls_limit")
def test_calls_above_the_limit_are_counted_and_cost_no_memory_promise_4(scope, monkeypatch):
    """A loop of a million calls must not fill the function's memory."""
    monkeypatch.setattr(limits, "CALLS_PER_INVOCATION", 3)
    invocation = live(scope)
    for _ in range(5):
        call = scope.begin(HTTP, "api", "GET")
        if call is not None:
            scope.end(call)
    assert len(invocation.calls) == 3
    assert scope.buffer.drops == {"calls_limit": 2}


def test_ids_are_new_after_a_reseed_and_never_zero(scope):
    """Two forks of one process, or two restores of one snapshot, must not share ids."""
    state = scope.random.getstate()
    first = [scope.new_id() for _ in range(3)]
    scope.random.setstate(state)
    scope.reseed()
    assert [scope.new_id() for _ in range(3)] != first
    assert all(first)


def test_listeners_hear_of_each_call_before_and_after(scope):
    """User hooks stand around any call."""
    heard = []
    scope.listeners = lambda call, when: heard.append((call.tool, when))
    scope.end(scope.begin(HTTP, "api", "GET"))
    assert heard == [("api", "before"), ("api", "after")]
