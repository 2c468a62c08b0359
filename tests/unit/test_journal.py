"""The journal: what is written is read back, and nothing that was not written ever is."""

import dis
import os
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from coldspan.core import cells
from coldspan.core.record import AWS, HTTP, USER
from coldspan.hot.journal import Journal
from support.journals import BOOT_ID, SIZE, Recording, facts
from support.runtime_loop import TRACE

THOROUGH = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
ROOM = cells.cells_of(SIZE)
WORD_LIMIT = 1 << 64
DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def recording(scope, tmp_path):
    """A Recording with a fresh journal; the clock ticks, so that no two times are the same."""
    made = Recording(scope, tmp_path)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def ticking(fake_clock):
    fake_clock.tick_ns = 1_000


# --- round trips ----------------------------------------------------------------------------------------------------


def test_a_process_is_told_by_its_journal(recording):
    """The record would name the wrong process, memory size or boot."""
    recording.journal.alive(77)
    recording.journal.sample_rss(33 << 20)
    dead = recording.read()
    assert (dead.boot_id, dead.pid, dead.function, dead.memory_mb) == (BOOT_ID, 17, "orders", 512)
    assert (dead.created_ns, dead.last_alive_ns, dead.rss_bytes, dead.size) == (123456789, 77, 33 << 20, SIZE)
    assert (dead.invocations, dead.stacks, dead.stacks_of) == ([], [], 0)


def test_every_field_of_an_invocation_is_read_back(recording):
    """What a dead invocation is told by would be wrong or missing."""
    begun = recording.begin("8476a536-e9f4-11e8-9739-2dfe598c3fcd", tenant_id="blue", start="cold")
    recording.journal.describe(begun, "apigateway")
    (told,) = recording.read().invocations
    found = told.invocation
    names = ("kind", "request_id", "span_id", "start_ns", "epoch_ns", "deadline_ms", "tenant_id")
    for name in (*names, "trace_text", "start", "serial", "outcome", "error_type", "end_ns", "response_bytes"):
        assert getattr(found, name) == getattr(begun, name), name
    assert found.trace.root == "1-5759e988-bd862e3fe1be46a994272793"
    assert (told.trigger, found.flush, told.overwritten) == ("apigateway", "journal", 0)
    assert (found.calls, found.open) == ([], {})


@pytest.mark.parametrize("size", [None, 0, 1, 6_291_556])
def test_the_end_of_an_invocation_is_read_back(recording, size):
    """An invocation that had ended would be told as killed."""
    begun = recording.begin()
    recording.end(begun, "error", error_type="KeyError", response_bytes=size)
    (told,) = recording.read().invocations
    found = told.invocation
    assert (found.outcome, found.error_type, found.end_ns, found.response_bytes) == (
        "error", "KeyError", begun.end_ns, size,
    )  # fmt: skip


def test_every_field_of_calls_is_read_back(recording):
    """A killed invocation's calls would be told with other counts, times or places in the tree."""
    begun = recording.begin()
    outer = recording.scope.begin(USER, "outer", "op")
    recording.call("dynamodb", "BatchWriteItem", AWS, http_status=200, retries=3, throttles=2, items=25, items_failed=0)
    recording.call("s3", "GetObject", AWS, http_status=404, cause="error", error_type="NoSuchKey", items=0)
    recording.call("api.example.com", "GET", HTTP, cause="timeout", error_type="ReadTimeoutError")
    recording.call("sqs", "SendMessageBatch", AWS, http_status=200, items=10, items_failed=4)
    inner = recording.scope.begin(HTTP, "inner", "POST")
    innermost = recording.scope.begin(USER, "innermost", "op")
    (told,) = recording.read().invocations
    found = told.invocation
    assert [facts(call) for call in found.calls] == [facts(call) for call in begun.calls]
    assert {span_id: facts(call) for span_id, call in found.open.items()} == {
        call.span_id: facts(call) for call in (outer, inner, innermost)
    }
    assert outer.start_ns - 2_000 <= found.open[outer.span_id].start_ns <= outer.start_ns
    assert found.open[innermost.span_id].parent is found.open[inner.span_id]
    assert found.open[inner.span_id].parent is found.open[outer.span_id]
    assert found.open[outer.span_id].parent is found
    for mine, theirs in zip(found.calls, begun.calls, strict=True):
        assert theirs.start_ns - 5_000 <= mine.start_ns <= theirs.start_ns  # without a reading of the clock of its own
        assert mine.epoch_ns - begun.epoch_ns == mine.start_ns - begun.start_ns
    assert told.overwritten == 0


def test_calls_outside_of_an_invocation_are_not_written(recording):
    """Init and background calls have no record to go with, and would push out what has."""
    recording.call()
    begun = recording.begin()
    recording.end(begun)
    recording.call()
    (told,) = recording.read().invocations
    assert (told.invocation.calls, told.invocation.open) == ([], {})
    assert recording.data[cells.RING_AT : cells.RING_AT + ROOM * cells.CELL_BYTES].count(b"\0") == (
        ROOM * cells.CELL_BYTES
    )


def test_a_record_that_has_been_sent_is_forgotten(recording):
    """It would be told a second time."""
    first, second = recording.begin("r1"), recording.begin("r2")
    recording.call()
    recording.end(second)
    recording.journal.forget(second.serial)
    assert [told.invocation.request_id for told in recording.read().invocations] == ["r1"]
    recording.journal.forget(first.serial)
    assert recording.read().invocations == []


def test_of_more_than_eight_live_invocations_the_newest_eight_are_kept(recording):
    """One that has lost its slot must not write its end, or its oblivion, over the one that has it now."""
    begun = [recording.begin(f"r{number}") for number in range(1, 12)]
    for old in begun[:3]:
        recording.journal.describe(old, "sqs")
        recording.end(old, "error")
        recording.journal.forget(old.serial)
    found = recording.read().invocations
    assert [told.invocation.request_id for told in found] == [f"r{number}" for number in range(4, 12)]
    assert {(told.invocation.outcome, told.trigger) for told in found} == {("", "")}


# --- the ring comes round -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [1, ROOM - 1, ROOM, ROOM + 1, 3 * ROOM + 7])
@pytest.mark.parametrize("ended", [False, True])
def test_calls_that_have_no_room_are_counted_exactly(recording, calls, ended):
    """Who reads the record would take the calls that are left for all there were."""
    begun = recording.begin()
    made = [recording.call(f"tool{number % 7}") for number in range(calls)]
    if ended:
        recording.end(begun)
    (told,) = recording.read().invocations
    assert told.overwritten == max(0, calls - ROOM)
    assert [call.span_id for call in told.invocation.calls] == [call.span_id for call in made[-ROOM:]]


@pytest.mark.parametrize("changes", [{"http_status": 200}, {"cause": "error", "error_type": "Broken", "items": 3}])
def test_a_call_that_is_open_keeps_its_cell(recording, changes):
    """The call around everything is the one that explains the invocation, and was the first to be overwritten."""
    begun = recording.begin()
    outer = recording.scope.begin(USER, "outer", "op")
    for _ in range(2 * ROOM):
        recording.call()
    (told,) = recording.read().invocations
    assert (outer.span_id in told.invocation.open, told.overwritten) == (True, ROOM + 1)
    for name, value in changes.items():
        setattr(outer, name, value)
    recording.scope.end(outer)
    (told,) = recording.read().invocations
    (found,) = [call for call in told.invocation.calls if call.span_id == outer.span_id]
    assert facts(found) == facts(outer)
    assert told.overwritten == 2 * ROOM + 1 - ROOM
    recording.end(begun)
    later = recording.begin("later")
    for _ in range(ROOM + 5):
        recording.call()
    assert [told.overwritten for told in recording.read().invocations] == [2 * ROOM + 1, 5]
    recording.end(later, "error")
    assert [told.overwritten for told in recording.read().invocations] == [2 * ROOM + 1, 5]


def test_a_call_that_an_invocation_left_open_is_in_nobodys_way(recording):
    """A stream that is never read to its end would take a cell for good."""
    for each in range(ROOM):
        begun = recording.begin(f"r{each}")
        recording.scope.begin(USER, "left", "open")
        recording.end(begun)
    recording.begin("last")
    made = [recording.call() for _ in range(ROOM)]
    told = recording.read().invocations[-1]
    assert [call.span_id for call in told.invocation.calls] == [call.span_id for call in made]
    assert told.overwritten == 0


@pytest.mark.parametrize("changes", [{"http_status": 200}, {"cause": "error", "error_type": "Broken", "items": 3}])
def test_a_call_that_ends_after_its_cell_was_taken_has_a_new_one(recording, changes):
    """So very many are open at once that the oldest have to go."""
    recording.begin()
    outer = recording.scope.begin(USER, "outer", "op")
    beside = []
    for _ in range(3 * ROOM):
        beside.append(recording.scope.begin(USER, "beside", "op"))
        recording.scope.current.set(outer)
    (told,) = recording.read().invocations
    assert outer.span_id not in told.invocation.open
    assert told.overwritten == 3 * ROOM + 1 - len(told.invocation.open)
    for name, value in changes.items():
        setattr(outer, name, value)
    recording.scope.end(outer)
    (told,) = recording.read().invocations
    (found,) = [call for call in told.invocation.calls if call.span_id == outer.span_id]
    assert facts(found) == facts(outer)
    assert told.overwritten == 3 * ROOM + 1 - len(told.invocation.open) - 1


def test_a_cell_keeps_nothing_of_the_call_that_had_it_before(recording):
    """A good call would be told with the failure or the counts of another."""
    recording.begin()
    for _ in range(ROOM):
        recording.call(cause="error", error_type="Broken", items=9, items_failed=3, retries=2, throttles=1)
    made = [recording.call(http_status=200) for _ in range(ROOM)]
    (told,) = recording.read().invocations
    assert [facts(call) for call in told.invocation.calls] == [facts(call) for call in made]


def test_the_names_that_are_kept_are_bounded(recording):
    """A function that calls a host for each customer would grow without end."""
    recording.begin()
    for number in range(700):
        recording.call(f"host{number}", f"op{number % 3}")
    names = recording.journal._names
    assert sum(len(operations) for tools in names.values() for operations in tools.values()) <= 256
    assert [call.tool for call in recording.read().invocations[0].invocation.calls][-1] == "host699"


def test_calls_are_counted_for_the_invocation_that_made_them(recording):
    """A later invocation's calls push out an earlier one's, and are not the earlier one's."""
    early = recording.begin("early")
    for _ in range(3):
        recording.call()
    recording.end(early)
    recording.begin("late")
    for _ in range(ROOM - 1):
        recording.call()
    first, second = recording.read().invocations
    assert (first.overwritten, len(first.invocation.calls)) == (2, 1)
    assert (second.overwritten, len(second.invocation.calls)) == (0, ROOM - 1)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.sampled_from(["cold", "warm", "restored"])),
        st.tuples(st.just("end"), st.integers(0, 9), st.sampled_from(["ok", "error", "too_large", "pending"])),
        st.tuples(st.just("forget"), st.integers(0, 9)),
        st.tuples(st.just("call"), st.integers(0, 9), st.sampled_from([AWS, HTTP, USER]), st.text("ab", max_size=2)),
        st.tuples(st.just("call ends"), st.integers(0, 9), st.integers(0, 599), st.none() | st.integers(0, 50)),
        st.tuples(st.just("calls"), st.integers(1, ROOM + 3)),
    ),
    max_size=40,
)


@THOROUGH
@given(steps=STEPS)
def test_any_sequence_is_read_back_as_a_model_has_it(scope, tmp_path_factory, steps):
    """Some order of beginnings and ends would lose a call, or give it to another invocation."""
    recording = Recording(scope, tmp_path_factory.mktemp("journal"))
    slots, ring, made, calls_open, count, alone = {}, {}, [], [], Counter(), {}

    def keep(call):
        ring[call.serial % ROOM] = call

    for step, *given_ in steps:
        if step == "begin":
            begun = recording.begin(f"r{len(made)}", start=given_[0])
            slots[begun.serial % 8] = begun
            made.append(begun)
            alone[begun.serial] = [count.total()]
        elif step in ("end", "forget", "call") and made:
            some = made[-1 - given_[0] % len(made)]
            if step == "end" and not some.closed:
                recording.end(some, given_[1])
                alone[some.serial].append(count.total())
            elif step == "forget":
                recording.journal.forget(some.serial)
                if slots.get(some.serial % 8) is some:
                    del slots[some.serial % 8]
            elif step == "call" and not some.closed:
                scope.current.set(some)
                calls_open.append(scope.begin(given_[1], "tool" + given_[2], "op"))
                count[some.serial] += 1
                keep(calls_open[-1])
        elif step == "call ends" and calls_open:
            call = calls_open.pop(given_[0] % len(calls_open))
            call.http_status, call.items = given_[1:]
            scope.end(call)
            if not call.owner.closed:
                keep(call)
            else:
                call.end_ns = 0  # late: it has a record of its own
        elif step == "calls" and made and not made[-1].closed:
            scope.current.set(made[-1])
            for _ in range(given_[0]):
                call = scope.begin(USER, "tool", "op")
                if call is not None:
                    scope.end(call)
                    count[made[-1].serial] += 1
                    keep(call)
    scope.buffer.drops.clear()
    found = recording.read().invocations
    recording.close()

    assert [told.invocation.serial for told in found] == sorted(begun.serial for begun in slots.values())
    for told in found:
        begun = slots[told.invocation.serial % 8]
        kept = [call for call in ring.values() if call.owner is begun]
        seen = [*told.invocation.calls, *told.invocation.open.values()]
        by_id = {call.span_id: facts(call) for call in kept}
        assert {call.span_id: facts(call) | {"parent": by_id[call.span_id]["parent"]} for call in seen} == by_id
        assert (told.invocation.outcome, told.invocation.end_ns) == (begun.outcome, begun.end_ns)
        first, last = (*alone[begun.serial], count.total())[:2]
        if last - first == count[begun.serial]:  # no other invocation made calls meanwhile, as on Lambda
            assert told.overwritten == count[begun.serial] - len(kept)


# --- names and numbers that nobody expects --------------------------------------------------------------------------

STRANGE = ["a\tb", "a\nb", "\0", "\x7f", "ünïcode", "한국", "\ud800", "😀" * 50, "x" * 10_000, " ", "\\", '"', "%s"]


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_a_name_of_any_kind_is_kept_as_far_as_a_cell_can(recording, name):
    """A tab in a name would move every field behind it; a long one would run into the next cell."""
    begun = recording.begin(name)
    recording.journal.describe(begun, "sqs")
    call = recording.call(name, name, cause="error", error_type=name)
    after = recording.call("after")
    recording.end(begun, "error", error_type=name)
    (told,) = recording.read().invocations
    found = told.invocation
    assert (found.outcome, len(found.calls), told.trigger) == ("error", 2, "sqs")
    assert facts(found.calls[1]) == facts(after) | {"owner": found.request_id}
    for text in (found.error_type, found.calls[0].tool, found.calls[0].operation, found.calls[0].error_type):
        assert text.isascii()
        assert text.isprintable()
        assert len(text) == min(len(name), 64)
        assert all(mine in (theirs, "?") for mine, theirs in zip(text, name, strict=False))
    assert found.request_id == name or (len(found.request_id) == 180 and name == "x" * 10_000) or name == "\ud800"
    assert (found.tenant_id, found.trace_text) == ("", TRACE)
    assert (call.tool, call.error_type) == (name, name)  # the record itself is untouched


@pytest.mark.parametrize("length", [100, 250, 600, 751, 752, 753, 1_000, 100_000])
def test_ids_that_are_too_long_are_cut_and_touch_nothing_else(recording, length):
    """An id that runs over its slot's end would destroy the next invocation."""
    first = recording.begin("first", trace_text=TRACE)
    long = recording.begin("i" * length, tenant_id="t" * length)
    third = recording.begin("third")
    found = [told.invocation for told in recording.read().invocations]
    assert [one.serial for one in found] == [first.serial, long.serial, third.serial]
    assert (found[0].request_id, found[2].request_id) == ("first", "third")
    assert "i" * length if length < 140 else found[1].request_id == "i" * len(found[1].request_id)
    assert found[1].trace_text == TRACE


NUMBERS = [-1, 1 << 64, -(1 << 70), "200", 3.5, None, float("nan"), object(), [], True]


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
@pytest.mark.parametrize("name", ["http_status", "retries", "throttles", "items", "items_failed"])
def test_a_number_that_no_word_holds_is_left_out_and_the_call_still_told(recording, name, value):
    """A library's stand-in may answer with anything; what is known of the call besides would be lost with it."""
    begun = recording.begin()
    call = recording.call("s3", "GetObject", AWS, **{"http_status": 200, "items": 7, name: value})
    assert (begun.calls, begun.open, recording.scope.current.get()) == ([call], {}, begun)
    assert getattr(call, name) is value
    (told,) = recording.read().invocations
    (found,) = told.invocation.calls
    kept = getattr(found, name)
    nothing = None if name in ("items", "items_failed") else 0
    assert kept == nothing or (value is True and kept == 1)
    assert (found.end_ns, found.tool) == (call.end_ns, "s3")
    if name != "items":
        assert found.items == 7


@pytest.mark.parametrize("value", [-1, 1 << 64, "soon", None])
@pytest.mark.parametrize("name", ["epoch_ns", "deadline_ms"])
def test_a_clock_that_no_word_holds_costs_the_invocation_nothing_else(recording, name, value):
    """A guest that believes it is 1969 would have no journal."""
    recording.begin("r1", **{name: value})
    (told,) = recording.read().invocations
    assert (told.invocation.request_id, getattr(told.invocation, name)) == ("r1", 0)


class Shouting(str):
    """A str whose own methods all fail."""

    __slots__ = ()

    def __getitem__(self, key):
        raise LookupError("mine")

    def __format__(self, spec):
        raise LookupError("mine")

    isascii = isprintable = encode = __getitem__


def test_a_text_with_methods_of_its_own_is_read_without_them(recording):
    """An exception class may have any name: what is the customer's own code must not run here."""
    begun = recording.begin()
    recording.call("tool", "op", cause="error", error_type=Shouting("Loud"))
    recording.end(begun, "error", error_type=Shouting("Louder"))
    (told,) = recording.read().invocations
    assert (told.invocation.error_type, told.invocation.calls[0].error_type) == ("Louder", "Loud")


@pytest.mark.expects_errors("write_call_begun", "write_call_ended")
def test_a_fault_in_the_journal_costs_a_count_and_never_the_call(recording, counted):
    """The record that leaves would lose a call because of the one that is only kept for a kill."""
    begun = recording.begin()
    scope = recording.scope
    ring = recording.journal._ring
    recording.journal._ring = None
    call = scope.begin(USER, "tool", "op")
    assert (call.serial, begun.open, scope.current.get()) == (0, {call.span_id: call}, call)
    scope.end(call)
    assert (begun.calls, begun.open, scope.current.get()) == ([call], {}, begun)
    assert scope.buffer.errors == {"write_call_begun": 1}
    recording.journal._ring = ring
    other = scope.begin(USER, "tool", "op")
    recording.journal._ring = None
    scope.end(other)
    assert (begun.calls, begun.open, scope.current.get()) == ([call, other], {}, begun)
    assert scope.buffer.errors == {"write_call_begun": 1, "write_call_ended": 1}
    recording.journal._ring = ring
    (told,) = recording.read().invocations
    assert list(told.invocation.open) == [other.span_id]


# --- threads --------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_calls_of_eight_threads_at_once_give_no_mixed_cell(recording):
    """A call would be told with another's numbers: the ring comes round while a thread waits for its turn."""
    begun = recording.begin()
    scope = recording.scope
    switch = sys.getswitchinterval()
    made, problems = {}, []
    start = threading.Barrier(9)

    def work(number):
        scope.current.set(begun)
        start.wait()
        for turn in range(400):
            call = scope.begin(USER, f"tool{number}", f"op{turn % 5}")
            if call is None:
                continue
            made[call.span_id] = call
            call.http_status, call.retries, call.items = 1000 + number, number, call.start_ns
            if turn % 3 == 0:
                call.cause, call.error_type = "error", f"Error{number}"
            scope.end(call)
            if len(begun.calls) > 500:
                del begun.calls[:]  # more than one invocation may hold

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        start.wait()
        while any(thread.is_alive() for thread in threads):
            problems += mixed(recording, made)
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    problems += mixed(recording, made)
    assert problems == []
    (told,) = recording.read().invocations
    assert len(told.invocation.calls) == ROOM


@pytest.mark.parametrize(
    "step", ["write_begin", "write_trigger", "write_end", "write_call_begun", "write_call_ended", "_write_more"]
)
def test_nothing_is_called_between_the_writes_of_a_step(step):
    """The interpreter changes threads, and runs signal handlers, at calls: there a cell would be half of two calls."""
    code, handling = [], False
    for each in dis.get_instructions(getattr(Journal, step)):  # without what an exception leads to
        handling |= each.opname == "PUSH_EXC_INFO"
        if not handling:
            code.append(each)
        handling &= not (each.opname == "RERAISE" and each.arg == 1)
    writes = [place for place, each in enumerate(code) if each.opname in {"STORE_SUBSCR", "STORE_SLICE"}]
    between = [each.opname for each in code[writes[0] : writes[-1]]]
    assert len(writes) >= 2
    assert [name for name in between if name.startswith(("CALL", "JUMP_BACKWARD", "FOR_ITER"))] == []


def mixed(recording, made):
    """Cells that say what no one call was."""
    found = []
    dead = recording.read()
    for told in dead.invocations:
        for call in told.invocation.calls:
            truth = made.get(call.span_id)
            if truth is None or not truth.end_ns or facts(call) != facts(truth) | {"parent": call.parent.span_id}:
                found.append((facts(call), truth and facts(truth)))
    return found


# --- the file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777])
def test_the_file_is_for_its_owner_alone_whatever_the_umask(scope, tmp_path, umask):
    """Another user could read request ids, or the next process of the same user could not."""
    before = os.umask(umask)
    try:
        recording = Recording(scope, tmp_path)
    finally:
        os.umask(before)
    assert recording.path.stat().st_mode & 0o7777 == 0o600
    recording.close()


def test_a_journal_that_cannot_be_made_leaves_no_file(scope, tmp_path, monkeypatch):
    """Half a journal would fill /tmp, or keep descriptors of the customer's."""
    for step, owner in (("posix_fallocate", os), ("rename", os), ("fchmod", os)):
        descriptors = set(DESCRIPTORS.iterdir())
        with monkeypatch.context() as patch:

            def fail(*args):
                raise OSError(28, "No space left on device")

            patch.setattr(owner, step, fail)
            with pytest.raises(OSError, match="space"):
                Journal(str(tmp_path / "1-a.journal"), SIZE, ("b", "1", "f", "1", "1"), scope.buffer.shielded)
        assert list(tmp_path.iterdir()) == []
        assert set(DESCRIPTORS.iterdir()) == descriptors


def test_a_journal_that_has_been_dropped_is_written_no_more(recording):
    """What still holds a serial, as a line that waits to be sent, would raise or write into another's file."""
    begun = recording.begin()
    call = recording.scope.begin(USER, "tool", "op")
    journal, recording.scope.journal = recording.journal, None
    before = recording.data
    journal.drop()
    journal.call_ended(call)
    journal.describe(begun, "sqs")
    journal.end(begun)
    journal.forget(begun.serial)
    assert recording.data == before
    recording.journal = Journal(  # for the fixture to close
        str(recording.path) + "2", SIZE, (BOOT_ID, "1", "f", "1", "1"), recording.scope.buffer.shielded, journal.serial
    )
    assert recording.journal.serial == begun.serial


def test_a_descriptor_that_is_no_longer_ours_is_left_alone(recording, tmp_path):
    """A function that closes all descriptors has its own files under our numbers: they must stay open, and clean."""
    journal = recording.journal
    numbers = [int(entry.name) for entry in DESCRIPTORS.iterdir() if points_to(entry, recording.path)]
    assert journal.fd in numbers
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
    for number in numbers:
        os.dup2(theirs, number)
    assert journal.is_unlinked()
    assert journal.fault_fd() == -1
    journal.fault_reset()
    recording.begin()
    recording.scope.journal = None
    recording.scope.current.set(None)
    journal.drop()
    assert all(points_to(DESCRIPTORS / str(number), tmp_path / "theirs") for number in numbers)
    assert os.fstat(theirs).st_size == 0
    for number in (*numbers, theirs):
        os.close(number)
    recording.journal = Journal(
        str(recording.path) + "2", SIZE, (BOOT_ID, "1", "f", "1", "1"), recording.scope.buffer.shielded
    )


def points_to(entry, path):
    """Whether a descriptor of this process is open on a file."""
    try:
        return entry.readlink() == path
    except OSError:
        return False


def test_what_faulthandler_wrote_over_the_end_is_forgotten_with_the_rest(recording):
    """The end of an earlier dump would be read as the end of a later one."""
    journal = recording.journal
    os.write(journal.fault_fd(), b"Thread 0x01 (most recent call first):\n" + b'  File "a.py", line 1 in old\n' * 1_000)
    assert recording.path.stat().st_size > SIZE
    assert journal.fault_fd() == journal.fd
    assert recording.path.stat().st_size == SIZE
    os.write(journal.fd, b'Thread 0x01 (most recent call first):\n  File "b.py", line 2 in new\n')
    assert recording.read().stacks == [{"thread": "0x01", "frames": ["b.py:2 new"]}]


def test_stacks_that_the_watcher_took_are_read_with_the_invocation_they_are_of(recording):
    """They would be shown beside another invocation."""
    begun = recording.begin()
    recording.journal.take_stacks(begun.serial, b"# MainThread\napp.py:7 handler\n" + b"x" * 40_000)
    dead = recording.read()
    assert dead.stacks_of == begun.serial
    assert dead.stacks == [{"thread": "MainThread", "frames": ["app.py:7 handler"]}]
    recording.journal.take_stacks(0, b"")
    assert (recording.read().stacks, recording.read().stacks_of) == ([], 0)
