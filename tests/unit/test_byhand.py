"""Calls recorded by hand: `coldspan.call`, `coldspan.annotate`, `coldspan.metric`."""

import asyncio
import contextvars
import subprocess
import sys
import threading
import traceback
from decimal import Decimal
from pathlib import Path

import pytest

import coldspan
from coldspan.core import limits
from coldspan.core.record import AWS, Invocation
from coldspan.core.result import to_result
from coldspan.hot import scope as scope_module

RECORDER = Path(coldspan.__file__).parents[1]


@pytest.fixture
def invocation(scope, monkeypatch):
    """A live invocation in a recorder that runs."""
    monkeypatch.setattr(scope_module, "active", scope)
    return begun(scope, "1")


def begun(scope, request_id):
    invocation = Invocation("invocation", request_id, scope.new_id(), scope.clock(), scope.wall())
    scope.current.set(invocation)
    return invocation


def only(invocation):
    """The record of the only call."""
    (call,) = invocation.calls
    return to_result(call)


def test_call_records_tool_operation_time_and_parent(scope, invocation, fake_clock):
    """A block by hand must come out as any other call does."""
    with coldspan.call("pricing", "quote", region="eu", items=3):
        fake_clock.advance(ms=12)
    record = only(invocation)
    assert (record.tool, record.operation, record.status, record.duration_ms) == ("pricing", "quote", "ok", 12.0)
    assert record.attributes == {"region": "eu"}
    assert record.items == 3
    assert record.parent_id == "%016x" % invocation.span_id
    assert scope.current.get() is invocation
    assert invocation.open == {}


def test_call_nested_in_a_call_is_its_child(scope, invocation):
    """The tree must show what ran inside of what."""
    with coldspan.call("a", "outer"):
        outer = scope.position()
        with coldspan.call("b", "inner"):
            pass
        scope.end(scope.begin(AWS, "sqs", "SendMessage"))
    inner, send, last = invocation.calls
    assert last is outer
    assert inner.parent is outer
    assert send.parent is outer


def test_call_lets_the_block_say_how_it_went(invocation):
    """Only the customer knows what an answer of his own service means."""
    with coldspan.call("pricing", "quote") as call:
        call.items = 10
        call.items_failed = 2
        call.attributes["order.id"] = 7
        call.payload = {"password": "hunter2", "order": 7}
        assert call.payload == {"password": "***", "order": 7}
    record = only(invocation)
    assert (record.status, record.items, record.items_failed) == ("partial", 10, 2)
    assert record.attributes["order.id"] == 7
    assert record.payload == {"password": "***", "order": 7}


def test_call_payload_is_a_copy_made_when_it_was_given(invocation):
    """What the customer changes later must not change the record, and the other way round."""
    sent = {"items": [1]}
    with coldspan.call("pricing", "quote", payload=sent):
        sent["items"].append(2)
    assert only(invocation).payload == {"items": [1]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no such price", "NotFound"), "NotFound: no such price"),
        ((), "Error"),
        ((ValueError("bad"),), "ValueError: bad"),
    ],
)
def test_call_that_is_told_to_fail_is_an_error(invocation, arguments, message):
    """A failure without an exception must count as one."""
    with coldspan.call("pricing", "quote") as call:
        call.fail(*arguments)
    record = only(invocation)
    assert (record.status, record.message) == ("error", message)


class ReadTimeoutError(Exception):
    """As botocore and urllib3 name theirs."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("x"), "error"),
        (TimeoutError("x"), "timeout"),
        (ReadTimeoutError("x"), "timeout"),
        (ConnectionResetError("x"), "error"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (SystemExit(3), "cancelled"),
    ],
)
def test_exception_leaves_a_call_as_it_was_promise_1(scope, invocation, error, status):
    """Promise 1: the exception is the same object with the same traceback."""

    def fail():
        raise error

    def bare():
        fail()

    def recorded():
        with coldspan.call("pricing", "quote"):
            fail()

    frames = []
    for run in (bare, recorded):
        error.__traceback__ = None
        with pytest.raises(type(error)) as caught:
            run()
        assert caught.value is error
        frames.append([frame.name for frame in traceback.extract_tb(error.__traceback__)])
    assert frames[1] == [name.replace("bare", "recorded") for name in frames[0]]
    record = only(invocation)
    assert record.status == status
    assert record.attributes["error.type"] == type(error).__name__
    assert scope.current.get() is invocation


def test_error_text_of_a_call_stays_when_it_is_off_promise_6(scope, invocation, settings):
    """Promise 6: COLDSPAN_ERROR_TEXT=off keeps the text where it is."""
    settings.error_text = False
    with pytest.raises(ValueError, match="secret"), coldspan.call("pricing", "quote"):
        raise ValueError("secret")
    assert invocation.calls[0].error_text == ""
    assert to_result(invocation.calls[0], error_text=False).message == "ValueError"


def test_text_of_an_exception_given_to_fail_is_not_asked_for_when_it_is_off_promise_6(invocation, settings):
    """Promise 6: with COLDSPAN_ERROR_TEXT=off the customer's `__str__` does not run for us."""

    class Unreadable(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    settings.error_text = False
    for message in (Unreadable(), "secret"):
        with coldspan.call("pricing", "quote") as call:
            call.fail(message)
    assert [(call.error_type, call.error_text) for call in invocation.calls] == [("Unreadable", ""), ("Error", "")]


def test_async_call_of_gathered_tasks_do_not_mix(scope, invocation):
    """Each task has its own position: siblings must not become each other's children."""

    async def one(number):
        async with coldspan.call("pricing", f"outer{number}"):
            outer = scope.position()
            await asyncio.sleep(0)
            with coldspan.call("pricing", f"inner{number}"):
                await asyncio.sleep(0)
            assert scope.position() is outer

    async def handler():
        await asyncio.gather(*(one(number) for number in range(20)))

    asyncio.run(handler())
    by_name = {call.operation: call for call in invocation.calls}
    assert len(by_name) == 40
    for number in range(20):
        assert by_name[f"inner{number}"].parent is by_name[f"outer{number}"]
        assert by_name[f"outer{number}"].parent is invocation


def test_two_invocations_on_two_threads_do_not_mix(scope, monkeypatch):
    """Managed Instances may run several at once: each call and annotation belongs to its own."""
    monkeypatch.setattr(scope_module, "active", scope)
    barrier = threading.Barrier(2)
    seen = {}

    def invoke(number):
        invocation = seen[number] = begun(scope, str(number))
        for step in range(50):
            barrier.wait(5)
            with coldspan.call("pricing", f"{number}-{step}"):
                barrier.wait(5)
                coldspan.annotate(number=number)
        coldspan.metric("Steps", 50, "Count")
        assert scope.current.get() is invocation

    threads = [threading.Thread(target=contextvars.Context().run, args=(invoke, number)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in (1, 2):
        assert [call.operation for call in seen[number].calls] == [f"{number}-{step}" for step in range(50)]
        assert seen[number].annotations == {"number": number}
        assert seen[number].metrics == [("Steps", 50, "Count")]


@pytest.mark.expects_drops("arguments_refused", "attributes_refused")
@pytest.mark.parametrize(
    "make",
    [
        lambda: coldspan.call(None, 7),
        lambda: coldspan.call("a", "b", "c", "d"),
        lambda: coldspan.call("a", "b", items="many"),
        lambda: coldspan.call("a", "b", items=-1),
    ],
)
def test_call_with_arguments_that_cannot_be_used_counts_them_promise_4(invocation, make):
    """Promise 4: what is left out is counted; the block runs and is recorded."""
    ran = False
    with make() as call:
        call.attributes["object"] = object()
        call.attributes[7] = 8
        call.attributes["nan"] = float("nan")
        call.attributes["kept"] = "x"
        ran = True
    assert ran
    assert only(invocation).attributes == {"kept": "x"}


def test_call_takes_its_names_as_keywords(invocation):
    """Both spellings are natural; neither may raise."""
    with coldspan.call(tool="pricing", operation="quote"):
        pass
    assert (only(invocation).tool, only(invocation).operation) == ("pricing", "quote")


@pytest.mark.expects_errors("_finish")
def test_fault_of_ours_in_a_call_costs_one_count_promise_2(scope, invocation):
    """Promise 2: an attribute bag that raises is the customer's, the fault is ours, the block goes on."""

    class Bag(dict):
        def items(self):
            raise RuntimeError

    with coldspan.call("pricing", "quote") as call:
        call.attributes = Bag(a=1)
    assert scope.buffer.errors == {"_finish": 1}
    assert only(invocation).status == "ok"


@pytest.mark.expects_drops("calls_limit")
def test_call_beyond_the_limit_runs_unrecorded(scope, invocation):
    """A runaway loop must not fill the memory, and must run on."""
    ran = 0
    for _ in range(limits.CALLS_PER_INVOCATION + 5):
        with coldspan.call("pricing", "quote") as call:
            call.payload = "x"
            ran += 1
    assert ran == limits.CALLS_PER_INVOCATION + 5
    assert scope.buffer.drops == {"calls_limit": 5}


def test_everything_by_hand_outside_of_lambda_does_nothing_promise_7():
    """Promise 7: off means off; the same code must run on a laptop, in tests and with COLDSPAN_ENABLED=false."""
    assert scope_module.active is None
    with coldspan.call("pricing", "quote", payload=object()) as call:
        call.items = 1
        call.attributes["x"] = object()
        call.payload = object()
        call.fail("x")
    with coldspan.call(), pytest.raises(ZeroDivisionError):
        1 / 0  # noqa: B018
    coldspan.annotate("a", object())
    coldspan.annotate(1, 2, 3)
    coldspan.metric()
    coldspan.metric("a", "b", "c", "d")
    assert coldspan.before_call(7) == 7
    assert coldspan.tool("x")(7) == 7


# --- annotate and metric --------------------------------------------------------------------------------------------


def test_annotate_keeps_plain_values_of_the_running_invocation(invocation):
    """An annotation belongs to the invocation, wherever in it it is made."""
    coldspan.annotate(order=7, vip=True)
    with coldspan.call("pricing", "quote"):
        coldspan.annotate("order.total", 9.5)
        coldspan.annotate(order="x" * 5_000)
    assert invocation.annotations == {"order": "x" * limits.RAW_TEXT_CHARS, "vip": True, "order.total": 9.5}


@pytest.mark.expects_drops("annotations_refused")
def test_annotate_refuses_and_counts_what_cannot_leave_promise_4(scope, invocation):
    """Promise 4: every annotation that is left out is counted."""
    coldspan.annotate(a=object(), b=None, c=float("inf"), d=1 << 70, e=[1])
    coldspan.annotate("x", 1, 2)
    coldspan.annotate(7, 1)
    coldspan.annotate("", 1)
    for number in range(limits.ANNOTATIONS_PER_INVOCATION + 3):
        coldspan.annotate("n%d" % number, number)
    assert scope.buffer.drops == {"annotations_refused": 11}
    assert len(invocation.annotations) == limits.ANNOTATIONS_PER_INVOCATION


@pytest.mark.expects_drops("annotations_refused", "metrics_refused")
def test_annotate_and_metric_outside_of_an_invocation_are_counted(scope, monkeypatch):
    """There is no record they could be in."""
    monkeypatch.setattr(scope_module, "active", scope)
    coldspan.annotate(version="1")
    coldspan.metric("Orders", 1)
    assert scope.buffer.drops == {"annotations_refused": 1, "metrics_refused": 1}
    assert scope.outside.annotations is None


def test_metric_keeps_numbers_in_their_order(invocation):
    """A metric of the customer's leaves as he gave it."""
    coldspan.metric("Orders", 1, "Count")
    coldspan.metric("Total", Decimal("9.5"))
    coldspan.metric(name="Vip", value=True, unit="None")
    assert invocation.metrics == [("Orders", 1, "Count"), ("Total", 9.5, "None"), ("Vip", True, "None")]


@pytest.mark.expects_drops("metrics_refused")
def test_metric_refuses_and_counts_what_is_none_promise_4(scope, invocation):
    """Promise 4: every metric that is left out is counted."""
    coldspan.metric("a", "7")
    coldspan.metric("a")
    coldspan.metric(7, 7)
    coldspan.metric("", 7)
    coldspan.metric("a", 7, 8)
    coldspan.metric("a" * 2_000, 7)
    assert scope.buffer.drops == {"metrics_refused": 6}
    for number in range(limits.METRICS_PER_INVOCATION + 4):
        coldspan.metric("a", number)
    assert scope.buffer.drops == {"metrics_refused": 10}
    assert len(invocation.metrics) == limits.METRICS_PER_INVOCATION


def test_public_names_load_only_what_they_need():
    """`import coldspan` in a handler must not cost its cold start what it does not use."""
    code = (
        "import sys; import coldspan; a = {m for m in sys.modules if m.startswith('coldspan.')};"
        "coldspan.call; b = {m for m in sys.modules if m.startswith('coldspan.')} - a;"
        "print(sorted(a), 'coldspan.hot.tool' in b, 'coldspan.core.payload' in b,"
        "[m for m in ('inspect', 'typing', 'dataclasses', 'asyncio', 'datetime') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(RECORDER)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "[] False False []"
