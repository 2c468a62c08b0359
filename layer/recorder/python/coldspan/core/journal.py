"""Reads a dead process's journal: who it was, when it was last seen alive, which invocations it had not told of.

Pure: bytes in, facts out. What is torn, foreign or of another version is not read; see core/cells.py for the layout.
"""

from sys import byteorder

from coldspan.core import cells
from coldspan.core.cells import CELL_BYTES, LENGTH, LENGTH_BITS, RING_AT, SLOT_BYTES, SLOTS, SLOTS_AT, WORD
from coldspan.core.record import Call, Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KINDS = ("aws", "http", "user")
_HEAD_FIELDS = 7
_NEVER = bytes(WORD)


class DeadInvocation:
    """An invocation whose record was never sent.

    `invocation` is as far as the journal knows it (`outcome` "" while it was running), with the calls that had ended in
    `calls` and those that had not in `open`; `overwritten` is how many calls the journal had no room for. `before` and
    `until` are how many calls the process had begun when the invocation began and when it ended, -1 when it had not.
    """

    __slots__ = ("before", "invocation", "overwritten", "trigger", "until")

    def __init__(self, invocation: "Invocation", trigger: str = "", before: int = 0, until: int = -1) -> None:
        self.invocation = invocation
        self.trigger = trigger
        self.before = before
        self.until = until
        self.overwritten = 0


class Dead:
    """A dead process. Times are ns of CLOCK_MONOTONIC of the boot `boot_id`; 0 where nothing was written.

    `stacks_of` is the serial of the invocation for which the watcher took them, 0 when they are faulthandler's.
    """

    __slots__ = (
        "boot_id",
        "created_ns",
        "function",
        "invocations",
        "last_alive_ns",
        "memory_mb",
        "pid",
        "rss_bytes",
        "size",
        "stacks",
        "stacks_of",
    )

    def __init__(self) -> None:
        self.boot_id = self.function = ""
        self.pid = self.size = self.memory_mb = 0
        self.created_ns = self.last_alive_ns = self.rss_bytes = self.stacks_of = 0
        self.invocations: "list[DeadInvocation]" = []
        self.stacks: "list[dict[str, Any]]" = []


def read(data: bytes) -> "Dead | None":
    """Give what a journal file says, or None when it is none: torn at its start, foreign, or of another version."""
    dead = _read_header(data)
    if dead is None:
        return None
    dead.last_alive_ns, dead.rss_bytes = _words(data, cells.ALIVE, 2)
    found = [_read_slot(data, slot) for slot in range(SLOTS)]
    by_serial = {each.invocation.serial: each for each in found if each is not None}
    if by_serial:
        _read_calls(data, cells.cells_of(dead.size), by_serial)
    dead.invocations = [by_serial[serial] for serial in sorted(by_serial)]
    _read_stacks(data, dead)
    return dead


def _read_header(data: bytes) -> "Dead | None":
    line, newline, _ = data[: cells.HEADER_BYTES].partition(b"\n")
    fields = line.decode("utf-8", "replace").split("\t")
    if not newline or fields[0] != cells.MAGIC or len(fields) != _HEAD_FIELDS:
        return None
    dead = Dead()
    _, dead.boot_id, pid, dead.function, memory_mb, created_ns, size = fields
    if not all([text.isdecimal() for text in (pid, memory_mb, created_ns, size)]):
        return None
    dead.pid, dead.memory_mb, dead.created_ns = int(pid), int(memory_mb), int(created_ns)
    dead.size = int(size)  # faulthandler may have written over the end
    return dead if cells.LEAST_BYTES <= dead.size <= len(data) else None


def _words(data: bytes, at: int, count: int) -> "list[int]":
    return [int.from_bytes(data[first : first + WORD], byteorder) for first in range(at, at + count * WORD, WORD)]


def _text(data: bytes, at: int, length: int, end: int) -> str:
    """A text with its newline; "" when it is none."""
    text = data[at : at + length]
    if at + length > end or not text.endswith(b"\n"):
        return ""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return ""


def _fields(text: str, count: int) -> "list[str]":
    """The fields of a text; [] when they are not so many."""
    found = text[:-1].split("\t")
    return found if len(found) == count else []


def _read_slot(data: bytes, slot: int) -> "DeadInvocation | None":
    at = SLOTS_AT + slot * SLOT_BYTES
    commit, before, epoch_ns, start_ns, deadline_ms, span_id, known, ended, *end = _words(data, at, cells.SLOT_WORDS)
    serial = commit >> LENGTH_BITS
    text = _text(data, at + cells.SLOT_TEXT, commit & LENGTH, at + cells.TRIGGER)
    start, *middle = text[:-1].split("\t")  # an id may have a tab in it, if it is none of Lambda's
    if not serial or serial % SLOTS != slot or len(middle) < cells.SLOT_FIELDS - 1:
        return None
    invocation = Invocation("invocation", "\t".join(middle[:-2]), span_id, start_ns, epoch_ns)
    invocation.serial = serial
    invocation.deadline_ms = deadline_ms
    invocation.start, invocation.tenant_id, invocation.trace_text = start, *middle[-2:]
    invocation.flush = "journal"
    dead = DeadInvocation(invocation, "", before)
    if known == serial:
        trigger = data[at + cells.TRIGGER : at + cells.ENDED].partition(b"\0")[0]
        dead.trigger = trigger.decode() if trigger.isascii() and trigger.isalnum() else ""
    if ended >> LENGTH_BITS == serial:
        text = _text(data, at + cells.ENDED, ended & LENGTH, at + SLOT_BYTES)
        fields = _fields(text, cells.ENDED_FIELDS) if ended & LENGTH else ["ok", ""]
        if fields:
            invocation.outcome, invocation.error_type = fields
            invocation.end_ns, size, dead.until = end
            invocation.response_bytes = size - 1 if size else None
    return dead


def _read_calls(data: bytes, room: int, by_serial: "dict[int, DeadInvocation]") -> None:
    """Give each call of the ring's cells to its invocation; count those that are no longer there."""
    found = []
    owners = []
    for index in range(room):
        at = RING_AT + index * CELL_BYTES
        if data[at : at + WORD] == _NEVER:  # most of a large one
            continue
        words = _words(data, at, cells.CELL_WORDS)
        number = words[0]
        names = data[at + cells.CELL_TEXT : at + cells.CELL_TEXT + cells.CELL_TEXT_BYTES].partition(b"\n")
        fields = names[0].decode("ascii", "replace").split("\t")
        if not number or number % room != index or len(fields) != cells.CELL_FIELDS or fields[0] not in _KINDS:
            continue
        owners.append((number, words[1]))
        each = by_serial.get(words[1])
        if each is not None:
            found.append((number, words[3], _call(each.invocation, words, fields, _read_failure(data, at, words[7]))))
    nodes: "dict[int, Call | Invocation]" = {each.invocation.span_id: each.invocation for each in by_serial.values()}
    found.sort(key=lambda entry: not entry[2].end_ns)  # an id is one call, and one that has ended goes first
    found = [entry for entry in found if nodes.setdefault(entry[2].span_id, entry[2]) is entry[2]]
    found.sort(key=lambda entry: entry[0])
    for _, parent_id, call in found:
        call.parent = nodes.get(parent_id, call.owner)
        if call.end_ns:
            call.owner.calls.append(call)
        else:
            call.owner.open[call.span_id] = call
    (again,) = _words(data, cells.AGAIN, 1)
    last = max(owners, default=(0, 0))[0] - again
    for each in by_serial.values():
        serial = each.invocation.serial
        until = each.until if each.until >= 0 else last
        # of invocations that ran at once, as no runtime of Lambda's has them, those that are still there tell apart
        others = sum([each.before < number <= until and owner != serial for number, owner in owners if not again])
        seen = len(each.invocation.calls) + len(each.invocation.open)
        each.overwritten = max(0, until - each.before - others - seen)


def _read_failure(data: bytes, at: int, more: int) -> "list[str]":
    length = more & LENGTH
    text = _text(data, at + cells.FAILED, length, at + CELL_BYTES) if length else ""
    return _fields(text, cells.FAILED_FIELDS) if text.isascii() else []


def _call(owner: "Invocation", words: "list[int]", names: "list[str]", failed: "list[str]") -> "Call":
    number, _, span_id, _, start_ns, end_ns, http_status, more, retries, throttles, items, items_failed = words
    kind, tool, operation = names
    call = Call(owner, owner, kind, tool, operation, span_id, owner.epoch_ns + start_ns - owner.start_ns)
    call.serial = number
    call.start_ns = start_ns
    if end_ns:
        call.end_ns, call.http_status = end_ns, http_status
        if more & cells.HAS_COUNTS:
            call.retries, call.throttles = retries, throttles
            call.items = items - 1 if items else None
            call.items_failed = items_failed - 1 if items_failed else None
        if failed:
            call.cause, call.error_type = failed
    return call


def _read_stacks(data: bytes, dead: "Dead") -> None:
    """The stacks that the watcher took, else those that faulthandler wrote."""
    fault_at = dead.size - cells.FAULT_BYTES
    at = fault_at - cells.STACKS_BYTES
    commit = _words(data, at, 1)[0]
    length = commit & LENGTH
    fault = data[fault_at:].partition(b"\0")[0]
    if commit and length <= cells.STACKS_BYTES - WORD:
        from coldspan.core.stacks import parse

        dead.stacks_of = commit >> LENGTH_BITS
        dead.stacks = parse(data[at + WORD : at + WORD + length])
    elif fault:
        from coldspan.core.stacks import parse_fault

        dead.stacks = parse_fault(fault)
