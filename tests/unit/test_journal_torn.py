"""What a kill, a full disk, another program or another version has left: never read as truth, never an error."""

import contextlib
import struct

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from coldspan.core import cells
from coldspan.core.journal import read
from coldspan.core.record import AWS, USER, Call
from support.journals import SIZE, Recording

THOROUGH = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
ROOM = cells.cells_of(SIZE)
WORD_LIMIT = 1 << 64


@pytest.fixture
def recording(scope, tmp_path):
    """A Recording with a fresh journal."""
    made = Recording(scope, tmp_path)
    yield made
    made.close()


@pytest.fixture
def written(recording):
    """The bytes of a journal with three invocations and calls of each, the last still running; and what they say."""
    for number in range(3):
        begun = recording.begin(f"request-{number}")
        recording.journal.describe(begun, "sqs")
        for count in range(4):
            recording.call(f"tool{count}", http_status=503, cause="error", error_type="ServiceUnavailable")
        recording.scope.begin(USER, "open", "op")
        if number < 2:
            recording.end(begun, "error", error_type="KeyError")
    recording.journal.take_stacks(3, b"# MainThread\napp.py:7 handler\n")
    return recording.data


def told_by(data):
    """What a journal says, as a set of facts that can be compared; None when it is none."""
    dead = read(data)
    if dead is None:
        return None
    facts_of = set()
    for told in dead.invocations:
        found = told.invocation
        facts_of.add((found.request_id, found.outcome, found.error_type, told.trigger))
        for call in found.calls:
            facts_of.add((found.request_id, call.tool, call.http_status, call.error_type))
        for call in found.open.values():
            facts_of.add((found.request_id, call.tool, None, None))
    return facts_of


def test_a_file_that_is_cut_short_is_none(written):
    """A file copied by halves, or cut by a full disk, would be read as if it were whole."""
    whole = told_by(written)
    for length in range(0, len(written), 61):
        assert told_by(written[:length]) is None
    for length in range(200):
        assert told_by(written[:length]) is None
    assert told_by(written[:-1]) is None
    assert told_by(written + b"faulthandler wrote over the end") == whole


class Stop(Exception):
    pass


class Torn:
    """Stands in for the mapping or a view of it; raises Stop before the write after the next `left`."""

    def __init__(self, target, left):
        self.target = target
        self.left = left

    def __getitem__(self, place):
        found = self.target[place]
        return Torn(found, self.left) if type(found) is memoryview else found

    def __setitem__(self, place, value):
        if not self.left:
            raise Stop
        self.left.pop()
        self.target[place] = value


@contextlib.contextmanager
def torn(journal, writes):
    """Stop the journal after so many writes; gives whether it was stopped as the only item of a list."""
    real = journal._words, journal._map, journal._slots, journal._ring
    left, stopped = [None] * writes, [False]
    journal._words, journal._map = Torn(real[0], left), Torn(real[1], left)
    journal._slots, journal._ring = (
        [cell and (Torn(cell[0], left), *cell[1:]) for cell in some] for some in real[2:]
    )  # fmt: skip
    try:
        yield stopped
    except Stop:
        stopped[0] = True
    finally:
        journal._words, journal._map, journal._slots, journal._ring = real


def torn_life(recording, stop_in, writes):
    """Live through an invocation with a call, in slots and cells used before, and be stopped in one of its steps.

    Gives whether it was stopped there.
    """
    journal = recording.journal
    for number in range(9):
        old = recording.begin(f"old{number}", tenant_id="old", start="restored")
        journal.describe(old, "oldtrigger")
        for _ in range(ROOM // 8 + 1):
            recording.call("oldtool", "oldop", AWS, http_status=418, cause="error", error_type="OldError", items=9)
        recording.end(old, "error", error_type="OldOutcome")
        journal.forget(old.serial)
    begun = recording.invocation("new")
    call = Call(begun, begun, USER, "newtool", "newop", 7, 8)
    call.start_ns, call.end_ns, call.http_status = 1, 2, 500
    ending = "call ends"
    if stop_in == "failing call ends":
        call.cause, call.error_type, call.retries, ending = "error", "NewError", 1, stop_in
    begun.outcome, begun.error_type, begun.end_ns = "error", "NewOutcome", 3
    steps = {
        "begin": lambda: journal.write_begin(begun),
        "trigger": lambda: journal.write_trigger(begun, "newtrigger"),
        "call begins": lambda: (begun.open.setdefault(7, call), journal.write_call_begun(call)),
        ending: lambda: journal.write_call_ended(call),
        "end": lambda: (begun.calls.append(begun.open.pop(7)), journal.write_end(begun)),
    }
    for name, step in steps.items():
        if name == stop_in:
            with torn(journal, writes) as stopped:
                step()
            return stopped[0]
        step()
    return False


BEGUN = {("new", "", "", "")}
KNOWN = {("new", "", "", "newtrigger")}
CALLING = KNOWN | {("new", "newtool", None, None)}
CALLED = KNOWN | {("new", "newtool", 500, "")}
FAILED = KNOWN | {("new", "newtool", 500, "NewError")}
ENDED = CALLED - KNOWN | {("new", "error", "NewOutcome", "newtrigger")}


@pytest.mark.parametrize(
    ("step", "least", "before", "after"),
    [
        ("begin", 8, set(), BEGUN),
        ("trigger", 2, BEGUN, KNOWN),
        ("call begins", 8, KNOWN, CALLING),
        ("call ends", 3, CALLING, CALLED),
        ("failing call ends", 8, CALLING, FAILED),
        ("end", 5, CALLED, ENDED),
    ],
)
def test_a_kill_between_any_two_writes_leaves_what_was_true_before_it(scope, tmp_path, step, least, before, after):
    """A torn cell would be read, or what was known before would be lost with it."""
    writes = 0
    while True:
        folder = tmp_path / str(writes)
        folder.mkdir()
        recording = Recording(scope, folder)
        stopped = torn_life(recording, step, writes)
        told = told_by(recording.data)
        recording.close()
        if not stopped:
            break
        assert told == before, writes
        writes += 1
    assert told == after
    assert writes >= least


def test_a_slot_taken_from_an_invocation_that_waits_is_never_half_of_each(scope, tmp_path):
    """One invocation would be told with another's request id."""
    recording = Recording(scope, tmp_path)
    for number in range(9):
        recording.end(recording.begin(f"old{number}", function_arn="old" * 40), "error")
    journal = recording.journal
    serial, writes, stopped = journal.serial, 0, [True]
    new = recording.invocation("new", start="provisioned")
    while stopped[0]:
        journal.serial = serial
        with torn(journal, writes) as stopped:
            journal.write_begin(new)
        if stopped[0] and writes:
            assert {entry[0] for entry in told_by(recording.data)} == {f"old{number}" for number in range(2, 9)}
        writes += 1
    assert {entry[0] for entry in told_by(recording.data)} == {*(f"old{number}" for number in range(2, 9)), "new"}
    recording.close()


def test_a_cell_without_its_commit_word_is_not_read_and_costs_no_other(written):
    """The last thing that a killed process wrote would be taken for true."""
    whole = told_by(written)
    slots = [cells.SLOTS_AT + slot * cells.SLOT_BYTES for slot in range(cells.SLOTS)]
    for at in (*slots, *[cells.RING_AT + cell * cells.CELL_BYTES for cell in range(ROOM)]):
        holed = bytearray(written)
        was_there = any(holed[at : at + 8])
        holed[at : at + 8] = bytes(8)
        found = told_by(bytes(holed))
        assert found <= whole
        assert (found == whole) is not was_there
        if at >= cells.RING_AT:
            assert len(whole) - len(found) <= 1
    for slot in slots[1:4]:
        holed = bytearray(written)
        holed[slot + 56 : slot + 64] = bytes(8)  # of its end
        names = {entry[0] for entry in told_by(bytes(holed))}
        assert names == {entry[0] for entry in whole}


def test_a_cell_in_the_place_of_another_is_not_read(written):
    """What a file system has moved, or somebody has copied, would be told as calls and invocations of their own."""
    for first, size, number in ((cells.SLOTS_AT, cells.SLOT_BYTES, 2), (cells.RING_AT, cells.CELL_BYTES, 3)):
        copied = bytearray(written)
        cell = bytearray(written[first + number * size : first + number * size + size])
        cell[16:24] = b"\x07" * 8  # a call's id, an invocation's time: nothing tells it for a copy but its place
        at = first + (number + 4) * size
        copied[at : at + size] = bytes(size)
        without = ids_by(bytes(copied))
        copied[at : at + size] = cell
        assert ids_by(bytes(copied)) == without


def ids_by(data):
    """Times of invocations and ids of calls."""
    found = [told.invocation for told in read(data).invocations]
    return [(one.epoch_ns, [call.span_id for call in one.calls], list(one.open)) for one in found]


def test_of_two_cells_that_claim_to_be_one_call_the_first_is_read(written):
    """X-Ray refuses a document with an id used twice."""
    whole = [call for told in read(written).invocations for call in told.invocation.calls]
    damaged = bytearray(written)
    first, second, third = (cells.RING_AT + number * cells.CELL_BYTES for number in (1, 2, 3))
    damaged[second + 16 : second + 24] = damaged[first + 16 : first + 24]
    damaged[third + 16 : third + 24] = damaged[third + 24 : third + 32]
    found = [call for told in read(bytes(damaged)).invocations for call in told.invocation.calls]
    assert [call.serial for call in found] == [call.serial for call in whole if call.serial not in (2, 3)]


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\0" * 512,
        b"coldspan-journal/1",
        b"coldspan-journal/0\tb\t17\torders\t512\t1\t65536\n",
        b"coldspan-journal/2\tb\t17\torders\t512\t1\t65536\n",
        b"coldspan-journal/11\tb\t17\torders\t512\t1\t65536\n",
        b"coldspan-journal/1\tb\t17\torders\t512\t65536\n",
        b"coldspan-journal/1\tb\t17\torders\t512\t1\t65536\tmore\n",
        b"coldspan-journal/1\tb\t17\torders\t512\t1\t65536",
        b"coldspan-journal/1\tb\tx\torders\t512\t1\t65536\n",
        b"coldspan-journal/1\tb\t-17\torders\t512\t1\t65536\n",
        b"coldspan-journal/1\tb\t17\torders\t512\t1\t64\n",
        b"coldspan-journal/1\tb\t17\torders\t512\t1\t65537\n",
        b"coldspan-journal/1\tb\t17\torders\t512\t1\t" + b"9" * 400 + b"\n",
        b"coldspan-journal/1\tb\t17\torders\t512\t\xb2\t65536\n",
        b"\xff\xfe\x00\x01" * 128,
    ],
)
def test_a_foreign_or_older_or_newer_file_is_none(written, head):
    """What another program, or another version of us, has left would be read as truth."""
    assert read(head + bytes(512 - len(head)) + written[512:]) is None
    assert read(head) is None


@THOROUGH
@given(
    edits=st.lists(
        st.tuples(st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=24)), min_size=1, max_size=12
    ),
)  # fmt: skip
def test_a_damaged_file_is_read_without_an_error_and_says_nothing_new(written, edits):
    """A reader that raises would count a fault in every init to come; one that believes would invent a death."""
    damaged = bytearray(written)
    touched = set()
    for at, data in edits:
        damaged[at : at + len(data)] = data[: SIZE - at]
        touched |= set(range(at, at + len(data)))
    dead = read(bytes(damaged))
    if dead is None:
        assert min(touched) < cells.HEADER_BYTES
        return
    before = {told.invocation.serial: told for told in read(written).invocations}
    assert len(dead.invocations) <= len(before)
    for told in dead.invocations:
        at = cells.SLOTS_AT + told.invocation.serial % 8 * cells.SLOT_BYTES
        if touched.isdisjoint(range(at, at + cells.SLOT_BYTES)):
            original = before[told.invocation.serial].invocation
            assert (told.invocation.request_id, told.invocation.outcome) == (original.request_id, original.outcome)


@THOROUGH
@given(cell=st.integers(0, ROOM + 7), data=st.binary(min_size=320, max_size=1_024), seed=st.integers(0, 2**32))
def test_random_bytes_in_a_cell_are_no_call_and_no_invocation(written, cell, data, seed):
    """What was in the blocks before, or was written by somebody else, would be told as a customer's call."""
    at = (
        cells.SLOTS_AT + cell * cells.SLOT_BYTES if cell < 8 else cells.RING_AT + (cell - 8) * cells.CELL_BYTES
    )  # fmt: skip
    size = cells.SLOT_BYTES if cell < 8 else cells.CELL_BYTES
    filled = bytearray(written)
    filled[at : at + size] = (data * 4)[:size]
    assert told_by(bytes(filled)) <= told_by(written)


@THOROUGH
@given(
    number=st.integers(0, WORD_LIMIT - 1),
    words=st.lists(st.integers(0, WORD_LIMIT - 1), min_size=11, max_size=11),
    text=st.binary(max_size=224),
    length=st.integers(0, 65_535),
)
def test_a_cell_that_is_almost_right_harms_nobody(written, number, words, text, length):
    """The reader would raise on numbers that no clock gives, or on a length that leads out of the cell."""
    for index, at in ((3, cells.SLOTS_AT + 3 * cells.SLOT_BYTES), (5, cells.RING_AT + 5 * cells.CELL_BYTES)):
        filled = bytearray(written)
        commit = (number % (1 << 44) * ROOM * 8 + index) << 16 | length
        packed = struct.pack("=12Q", commit % WORD_LIMIT, *words) + text
        filled[at : at + len(packed)] = packed
        dead = read(bytes(filled))
        assert len(dead.invocations) <= 3
