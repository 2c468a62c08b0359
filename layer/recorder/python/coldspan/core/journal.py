"""Reads a dead process's journal: who it was, when it was last seen alive, which invocations it had not told of.

Pure: bytes in, facts out. What is torn, foreign or of another version is not read; see core/cells.py for the layout.
"""

from sys import byteorder

from coldspan.core import cells
from coldspan.core.cells import CELL_BYTES, LENGTH_BITS, RING_AT, SLOT_BYTES, SLOTS, SLOTS_AT, WORD
from coldspan.core.record import Call, Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_KINDS = ("aws", "http", "user")
_HEAD_FIELDS = 7
_LENGTH = (1 << LENGTH_BITS) - 1


class DeadInvocation:
    """An invocation whose record was never sent.

    `invocation` is as far as the journal knows it (`outcome` "" while it was running), with the calls that had ended in
    `calls` and those that had not in `open`; `begun` is how many it had, also those that others have overwritten.
    """

    __slots__ = ("begun", "invocation", "trigger")

    def __init__(self, invocation: "Invocation", trigger: str, begun: int) -> None:
        self.invocation = invocation
        self.trigger = trigger
        self.begun = begun

    @property
    def overwritten(self) -> int:
        """How many of its calls the journal had no room for."""
        return max(0, self.begun - len(self.invocation.calls) - len(self.invocation.open))


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


def _text(data: bytes, at: int, length: int, end: int, fields: int) -> "list[str]":
    """The fields of a text; [] when it is none, or not so many."""
    text = data[at : at + length]
    if at + length > end or not text.endswith(b"\n") or not text.isascii():
        return []
    found = text[:-1].decode().split("\t")
    return found if len(found) == fields else []


def _read_slot(data: bytes, slot: int) -> "DeadInvocation | None":
    at = SLOTS_AT + slot * SLOT_BYTES
    commit, epoch_ns, start_ns, deadline_ms, span_id = _words(data, at, 5)
    serial, length = commit >> LENGTH_BITS, commit & _LENGTH
    fields = _text(data, at + cells.SLOT_TEXT, length, at + cells.TRIGGER, cells.SLOT_FIELDS)
    if not serial or serial % SLOTS != slot or not fields:
        return None
    invocation = Invocation("invocation", fields[1], span_id, start_ns, epoch_ns)
    invocation.serial = serial
    invocation.deadline_ms = deadline_ms
    invocation.start, _, invocation.function_arn, invocation.tenant_id, invocation.trace_text = fields
    invocation.flush = "journal"
    commit, end_ns, size, calls = _words(data, at + cells.ENDED, cells.ENDED_WORDS)
    begun = 0
    if commit >> LENGTH_BITS == serial:
        ended_at = at + cells.ENDED + cells.ENDED_TEXT
        fields = _text(data, ended_at, commit & _LENGTH, at + SLOT_BYTES, cells.ENDED_FIELDS)
        if fields:
            invocation.outcome, invocation.error_type = fields
            invocation.end_ns = end_ns
            invocation.response_bytes = size - 1 if size else None
            begun = calls
    trigger = data[at + cells.TRIGGER : at + cells.TRIGGER + cells.TRIGGER_BYTES].partition(b"\0")[0]
    return DeadInvocation(invocation, trigger.decode() if trigger.isascii() and trigger.isalnum() else "", begun)


def _read_calls(data: bytes, room: int, by_serial: "dict[int, DeadInvocation]") -> None:
    """Give each call of the ring's cells to its invocation."""
    found = []
    for index in range(room):
        at = RING_AT + index * CELL_BYTES
        words = _words(data, at, cells.CELL_WORDS)
        number = words[0] >> LENGTH_BITS
        names = _text(data, at + cells.CELL_TEXT, words[0] & _LENGTH, at + cells.FAILED, cells.CELL_FIELDS)
        if not number or number % room != index or not names or names[0] not in _KINDS:
            continue
        each = by_serial.get(words[1] >> LENGTH_BITS)
        if each is not None:
            each.begun = max(each.begun, words[1] & _LENGTH)
            failed = _text(data, at + cells.FAILED, words[11], at + CELL_BYTES, cells.FAILED_FIELDS)
            found.append((number, words[3], _call(each.invocation, number, words, names, failed)))
    found.sort(key=lambda entry: entry[0])
    nodes: "dict[int, Call | Invocation]" = {each.invocation.span_id: each.invocation for each in by_serial.values()}
    found = [entry for entry in found if nodes.setdefault(entry[2].span_id, entry[2]) is entry[2]]  # an id is one call
    for _, parent_id, call in found:
        call.parent = nodes.get(parent_id, call.owner)
        if call.end_ns:
            call.owner.calls.append(call)
        else:
            call.owner.open[call.span_id] = call


def _call(owner: "Invocation", number: int, words: "list[int]", names: "list[str]", failed: "list[str]") -> "Call":
    _, _, span_id, _, start_ns, end_ns, http_status, retries, throttles, items, items_failed, _ = words
    kind, tool, operation = names
    call = Call(owner, owner, kind, tool, operation, span_id, owner.epoch_ns + start_ns - owner.start_ns)
    call.serial = number
    call.start_ns = start_ns
    if end_ns:
        call.end_ns, call.http_status, call.retries, call.throttles = end_ns, http_status, retries, throttles
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
    length = commit & _LENGTH
    fault = data[fault_at:].partition(b"\0")[0]
    if commit and length <= cells.STACKS_BYTES - WORD:
        from coldspan.core.stacks import parse

        dead.stacks_of = commit >> LENGTH_BITS
        dead.stacks = parse(data[at + WORD : at + WORD + length])
    elif fault:
        from coldspan.core.stacks import parse_fault

        dead.stacks = parse_fault(fault)
