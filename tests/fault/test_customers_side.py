"""Faults on the customer's side of our steps: hooks of theirs, exceptions of theirs, a stack of theirs that is full."""

import signal
import sys
import threading
import traceback

import pytest

import coldspan
from coldspan.core.buffer import Buffer
from coldspan.hot import listeners
from coldspan.hot import scope as scope_module
from coldspan.hot import threads as threads_hook


class Odd(BaseException):
    """Neither an Exception nor known to anybody."""


@pytest.fixture
def hooks(monkeypatch, scope):
    """The customer's hooks, none at first, and taken away again."""
    monkeypatch.setattr(listeners, "_hooks", {"before": (), "after": ()})
    scope_module.active = scope
    yield {"before": coldspan.before_call, "after": coldspan.after_call}
    scope_module.active = None


def raising(error):
    """A hook that raises."""

    def hook(record):
        raise error

    return hook


def scribbling(record):
    """A hook that writes all over what it is given."""
    for name in type(record).__slots__:
        setattr(record, name, object())


def deep(record):
    """A hook that never comes back."""
    return deep(record)


COUNTED = {
    "raises": raising(ValueError("of the hook")),
    "memory": raising(MemoryError()),
    "recursion": deep,
    "exits": raising(SystemExit(1)),
    "interrupts": raising(KeyboardInterrupt()),
    "is odd": raising(Odd()),
    "stops": raising(StopIteration()),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", COUNTED)
@pytest.mark.expects_errors
def test_a_user_hook_that_fails_changes_nothing_but_its_counter_promise_2(
    trial, works, make_function, hooks, when, fault
):
    """Hooks can change nothing and break nothing, whatever they raise."""
    hooks[when](COUNTED[fault])
    recorder = trial.record()
    function = make_function(works.quote)
    trial.invoke(function.handler)
    assert trial.runtime.posted == [("response", "r1", '{"done": "quoted"}')]
    assert recorder.told == ({f"{when}_call": 1}, {})
    assert [call["status"] for call in recorder.records[0]["calls"]] == ["ok"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_user_hook_that_writes_on_its_record_changes_nothing_promise_2(trial, works, make_function, hooks, when):
    """What a hook gets is a copy."""
    hooks[when](scribbling)
    recorder = trial.record()
    trial.invoke(make_function(works.quote).handler)
    assert [call["status"] for call in recorder.records[0]["calls"]] == ["ok"]
    assert recorder.told == ({}, {})


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_slow_user_hook_is_not_counted_into_the_call_promise_2(trial, works, make_function, hooks, when):
    """Its time is the customer's own."""
    hooks[when](lambda record: trial.clock.advance(ms=500))
    recorder = trial.record()
    trial.invoke(make_function(works.quote).handler)
    assert recorder.records[0]["calls"][0]["duration_ms"] == 0
    assert recorder.records[0]["Duration"] == 500


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_time_limit_that_strikes_in_a_user_hook_reaches_the_customer_promise_2(
    trial, works, make_function, hooks, time_limit, when
):
    """The limit was set around the work, and a hook is part of it."""
    hooks[when](lambda record: signal.raise_signal(signal.SIGALRM))
    trial.record()
    function = make_function(works.quote)
    trial.invoke(function.handler)
    assert [type(error) for error in function.seen] == [time_limit]


# --- exceptions of the customer's that are hard to read -------------------------------------------------------------


class Mute(Exception):
    def __str__(self):
        raise ValueError("no text for you")


class Junk(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307  # the fault


class Locked(Exception):
    __traceback__ = property(lambda self: None, lambda self, trace: 1 / 0)


class Endless(Exception):
    def __str__(self):
        return str(self)


def work_that_raises(kind):
    """A marked function that raises, and a handler that tells what it caught."""

    @coldspan.tool("odd")
    def call():
        raise kind

    def work():
        try:
            call()
        except Exception as error:
            frames = traceback.extract_tb(BaseException.__dict__["__traceback__"].__get__(error))
            return [frame.name for frame in frames]

    return work


@pytest.mark.parametrize(
    ("kind", "errors"),
    [
        pytest.param(Mute, {"_close": 1}, marks=pytest.mark.expects_errors("_close")),
        pytest.param(Junk, {"_close": 1}, marks=pytest.mark.expects_errors("_close")),
        pytest.param(Endless, {"_close": 1}, marks=pytest.mark.expects_errors("_close")),
        pytest.param(Locked, {}),
    ],
)
def test_an_exception_that_cannot_be_read_passes_and_its_call_ends_promise_2(trial, make_function, kind, errors):
    """What its methods do is its own affair; the call has ended all the same."""
    recorder = trial.record()
    trial.invoke(make_function(work_that_raises(kind)).handler)
    trial.invoke(make_function(lambda: 1).handler)
    assert trial.runtime.posted[0] == ("response", "r1", '{"done": ["work", "call"]}')
    assert recorder.told == (errors, {})
    assert recorder.records[0]["calls_open"] == 0


# --- a thread of the customer's that cannot be started ---------------------------------------------------------------


@pytest.mark.parametrize("inside", [True, False], ids=["inside an invocation", "outside"])
def test_a_thread_that_cannot_start_keeps_what_the_customer_set_on_it_promise_2(trial, inside):
    """A second start is refused; the `run` that the customer gave the object is still there, and ours is not."""
    recorder = trial.record()
    recorder.hook(threading, threads_hook.install)
    ran = []
    own, plain = threading.Thread(), threading.Thread(target=ran.append, args=(1,))
    own.run = work = lambda: ran.append(2)

    def twice():
        for thread in (own, plain):
            thread.start()
            thread.join(10)
            with pytest.raises(RuntimeError, match="once"):
                thread.start()

    if inside:
        trial.invoke(lambda event, context: twice())
    else:
        twice()
    assert sorted(ran) == [1, 2]
    assert vars(own)["run"] is work
    assert "run" not in vars(plain)


# --- a stack that is full ---------------------------------------------------------------------------------------------


def at_depth(depth, function):
    """Call a function with so many frames below it; "too deep" when the stack does not hold them."""
    try:
        return function() if depth == 0 else at_depth(depth - 1, function)
    except RecursionError:
        return "too deep"


def test_at_the_limit_of_the_stack_a_call_is_made_or_raises_recursion_error_promise_2(trial, works, make_function):
    """Near the end of the stack our steps fail first: only RecursionError may be seen, each lost step is counted."""
    recorder = trial.record()
    # The plain dict, as outside of tests: the one that watches would need a frame more.
    vars(Buffer)["errors"].fget.__self__.__set__(recorder.scope.buffer, {})
    results = []

    def room():
        frame, count = sys._getframe(), 0
        while frame is not None:
            frame, count = frame.f_back, count + 1
        return sys.getrecursionlimit() - count

    def work():
        free = room()
        for margin in range(1, 60):
            for call in (works.quote, works.by_hand, works.list_tables):
                results.append(at_depth(free - margin, call))  # noqa: PERF401  # a comprehension is a frame more
        return "done"

    trial.invoke(make_function(work).handler)
    trial.invoke(make_function(works.quote).handler)
    steps = {"begin", "end", "_begin", "_finish", "_close", "succeed", "fail", "serialized", "parsed", "attempted"}
    assert {str(result) for result in results} == {"too deep", "quoted", "[]"}
    errors, drops = recorder.told
    assert set() < errors.keys() <= steps
    assert drops == {}
    assert [call["status"] for call in recorder.records[-1]["calls"]] == ["ok"]
