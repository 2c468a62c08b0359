"""The table: every stage of the recorder against every fault. Whatever breaks, the call goes as without us."""

import gc
import warnings
from typing import NamedTuple

import pytest

from coldspan.boot.seam import Seam
from coldspan.core import payload as payload_module
from coldspan.core import trigger as trigger_module
from coldspan.drain import claims as claims_module
from coldspan.drain.flush import Drain
from coldspan.hot import byhand
from coldspan.hot.aws_call import AwsCalls
from coldspan.hot.http_client import Steps
from coldspan.hot.journal import Journal
from coldspan.hot.scope import Scope
from support.faults import texts


class Stage(NamedTuple):
    """A step of ours (owner and name), the customer's work during which it runs, and what its failure costs.

    `costs` are the counts of errors that one failing invocation leaves: {step: count}; `junk` the same when the step
    gives an object of no use, None where only our own wrapper takes it; `drops` and `junk_drops` are the reasons
    counted besides. `payloads` is the setting to run with, `journal` whether there is one.
    """

    owner: object
    name: str
    work: str
    costs: dict
    junk: dict = {}  # noqa: RUF012  # a NamedTuple's default, never written to
    drops: dict = {}  # noqa: RUF012
    junk_drops: dict = {}  # noqa: RUF012
    payloads: str = "off"
    journal: bool = False


LOST = {"records_unencodable": 1}
STAGES = {
    "the runtime asks for an event": Stage(Seam, "before_next", "nothing", {"before_next": 1}),
    "an event comes": Stage(Seam, "begin", "nothing", {"begin": 1}),
    "the event is described": Stage(
        trigger_module, "describe", "nothing", {"describe": 1}, {"enter": 1, "_encode": 1}, {}, LOST
    ),
    "the handler is entered": Stage(Seam, "enter", "nothing", {"enter": 1}, {"succeed": 1}),
    "the handler returns": Stage(Seam, "succeed", "nothing", {"succeed": 1}),
    "the handler raises": Stage(Seam, "fail", "failing", {"fail": 1}),
    "the result has been posted": Stage(Seam, "posted", "nothing", {"posted": 1}),
    "the error has been posted": Stage(Seam, "posted", "failing", {"posted": 1}),
    "a call begins": Stage(Scope, "begin", "by_hand", {"_begin": 1}, {"_begin": 1}),
    "a marked function begins": Stage(Scope, "begin", "quote", {"begin": 1}, {"_close": 1}),
    "a call ends": Stage(Scope, "end", "by_hand", {"_finish": 1}),
    "a call fails": Stage(byhand, "_finish", "by_hand_failing", {"_finish": 1}),
    "a marked function ends": Stage(byhand, "_close", "quote", {"_close": 1}),
    "a payload is captured": Stage(
        payload_module, "capture", "quote", {"_close": 1}, {}, {}, {"values_unencodable": 1}, "all"
    ),
    "an AWS payload is captured": Stage(
        payload_module, "capture", "list_tables", {"succeed": 1}, {}, {}, {"values_unencodable": 2}, "all"
    ),
    "an HTTP request leaves": Stage(Steps, "sending", "get", {"sending": 1}, None),
    "an HTTP answer comes": Stage(Steps, "answered", "get", {"answered": 1}),
    "an HTTP answer does not come": Stage(Steps, "answer_failed", "get_reset", {"answer_failed": 1}),
    "an HTTP body ends": Stage(Steps, "ended", "get", {"ended": 1}),
    "an AWS call begins": Stage(AwsCalls, "begin", "list_tables", {"begin": 1}, {"succeed": 1}),
    "an AWS request is made": Stage(AwsCalls, "serialized", "list_tables", {"serialized": 1}),
    "an AWS answer is read": Stage(AwsCalls, "parsed", "list_tables", {"parsed": 1}),
    "an AWS attempt is throttled": Stage(AwsCalls, "attempted", "list_tables_throttled", {"attempted": 2}),
    "an AWS call succeeds": Stage(AwsCalls, "succeed", "list_tables", {"succeed": 1}),
    "an AWS call fails": Stage(AwsCalls, "fail", "put_refused", {"fail": 1}),
    "the drain runs": Stage(Drain, "run", "by_hand", {"run": 1}),
    "a record is encoded": Stage(
        Drain, "_encode", "by_hand", {"_encode": 1}, drops={"records_unencodable": 1, "calls_unencodable": 1}
    ),
    "the init is told": Stage(Drain, "_tell_init", "nothing", {"_tell_init": 1}),
    "a segment is encoded": Stage(Drain, "_encode_xray", "nothing", {"_encode_xray": 1}),
    "dead journals are claimed": Stage(
        claims_module, "claim", "by_hand", {"_open_journal": 1}, {"_open_journal": 1}, journal=True
    ),
    "the journal is opened": Stage(
        Journal, "__init__", "by_hand", {"_open_journal": 1}, {"_open_journal": 1}, journal=True
    ),
    "an invocation is journaled": Stage(Journal, "write_begin", "by_hand", {"write_begin": 1}, journal=True),
    "its end is journaled": Stage(Journal, "write_end", "by_hand", {"write_end": 1}, journal=True),
    "its record is forgotten": Stage(Journal, "write_told", "by_hand", {"write_told": 1}, journal=True),
    "a call is journaled": Stage(Journal, "write_call_begun", "by_hand", {"write_call_begun": 1}, journal=True),
    "a call's end is journaled": Stage(
        Journal, "write_call_ended", "by_hand_failing", {"write_call_ended": 1}, journal=True
    ),
}
RAISING = ("raises", "memory", "recursion")


def rows():
    """Every stage with every fault, and the counts that are expected of it."""
    for title, stage in STAGES.items():
        for fault in (*RAISING, "junk", "hangs"):
            if fault == "junk" and stage.junk is None:
                continue
            errors, drops = {}, {}
            if fault in RAISING:
                errors, drops = stage.costs, stage.drops
            elif fault == "junk":
                errors, drops = stage.junk, stage.junk_drops
            marks = [pytest.mark.expects_errors(*errors)] if errors else []
            marks += [pytest.mark.expects_drops(*drops)] if drops else []
            yield pytest.param(stage, fault, errors, drops, id=f"{title}-{fault}", marks=marks)


def run_bare(trial, function):
    """What the function posts, and its tracebacks, without us."""
    for _ in range(2):
        trial.invoke(function.handler)
    posted, trial.runtime.posted[:] = list(trial.runtime.posted), []
    seen, trial.runtime.raised[:] = texts(trial.runtime.raised), []
    trial.runtime.returned.clear()
    trial.number = 0
    function.runs = 0
    function.given.clear()
    function.seen.clear()
    return posted, seen


@pytest.mark.parametrize(("stage", "fault", "errors", "drops"), list(rows()))
def test_a_step_that_fails_costs_its_counter_and_nothing_else_promise_2(
    trial, works, make_function, settings, capfd, stage, fault, errors, drops
):
    """The handler runs once, its result or exception is the same object, the same bytes leave, the count is told."""
    function = make_function(getattr(works, stage.work))
    bare = run_bare(trial, function)
    settings.payloads = stage.payloads
    if stage.journal:
        trial.keep_journal()
    broken = trial.break_step(stage.owner, stage.name, fault)
    recorder = trial.record()

    trial.invoke(function.handler)
    broken.armed = False
    trial.invoke(function.handler)

    assert broken.hits, "the step never ran: the row tests nothing"
    assert function.runs == 2
    assert list(map(id, trial.runtime.returned)) == list(map(id, function.given))
    assert list(map(id, trial.runtime.raised)) == list(map(id, function.seen))
    assert (trial.runtime.posted, texts(trial.runtime.raised)) == bare
    trial.invoke(make_function(works.nothing).handler)  # what the last drain itself counted
    assert recorder.told == (errors, drops)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("stage", [pytest.param(stage, id=title) for title, stage in STAGES.items()])
def test_a_time_limit_that_strikes_in_a_step_of_ours_reaches_the_customer_promise_2(
    trial, works, make_function, settings, time_limit, stage
):
    """A signal handler of the customer's that raises wants to stop what runs: no shield of ours may stop it instead."""
    settings.payloads = stage.payloads
    if stage.journal:
        trial.keep_journal()
    function = make_function(getattr(works, stage.work))
    broken = trial.break_step(stage.owner, stage.name, "signal")
    trial.record()
    reached = []
    try:
        trial.invoke(function.handler)
    except time_limit as error:
        reached.append(error)
    broken.armed = False
    reached += [error for error in (*trial.runtime.raised, *function.seen) if isinstance(error, time_limit)]
    assert broken.hits == 1
    assert reached
    reached.clear()
    trial.runtime.raised.clear()
    function.seen.clear()
    with warnings.catch_warnings():  # where the limit struck, a response was on its way and nobody could close it
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.expects_errors("write_begin")
def test_a_mapping_closed_under_the_journal_costs_one_count_an_invocation_promise_2(trial, works, make_function):
    """Whatever the function does to what it has not opened: its calls are told as ever."""
    trial.keep_journal()
    recorder = trial.record()
    function = make_function(works.by_hand)
    trial.invoke(function.handler)
    journal = recorder.scope.journal
    for view in (*[cell[0] for cell in (*journal._slots, *journal._ring) if cell], journal._words):
        view.release()
    journal._map.close()
    for _ in range(2):
        trial.invoke(function.handler)
    trial.invoke(function.handler)
    assert list(map(id, trial.runtime.returned)) == list(map(id, function.given))
    assert [record["Calls"] for record in recorder.records] == [1] * 4
    assert recorder.told == ({"write_begin": 3}, {})


@pytest.mark.parametrize("kind", [TimeoutError, ValueError, BaseException])
def test_a_time_limit_is_told_from_an_error_of_ours_by_how_it_came_promise_2(scope, kind):
    """The same class of exception, raised by a step itself, is our fault and stays inside, unless no Exception."""
    import signal

    def handled(*_):
        raise kind("time is up")

    class Object:
        def on_alarm(self, number, frame):
            raise kind("time is up")

    def step():
        signal.raise_signal(signal.SIGALRM)

    before = signal.getsignal(signal.SIGALRM)
    try:
        for handler in (handled, Object().on_alarm, lambda number, frame: handled()):
            signal.signal(signal.SIGALRM, handler)
            with pytest.raises(kind, match="time is up"):
                scope.buffer.shielded(step)()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert scope.buffer.errors == {}


@pytest.mark.expects_errors("step")
def test_an_object_of_the_customers_that_raises_in_our_step_is_counted_promise_2(scope):
    """Its methods are given many things, but never the frame that called them."""

    class Mute(Exception):
        def __str__(self):
            raise ValueError("no text for you")

    def step():
        return str(Mute())

    assert scope.buffer.shielded(step)() is None
    assert scope.buffer.errors == {"step": 1}
