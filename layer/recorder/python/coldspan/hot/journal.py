"""The journal: what would be lost with the process is written ahead into a mapped file, without a system call a record.

Kept for the next init or the black box, which read it with `core.journal` when this process has been killed.
"""

import fcntl
import os
from itertools import count
from mmap import mmap

from coldspan.core import cells
from coldspan.core.buffer import raised_by_signal
from coldspan.core.cells import CELL_BYTES, LENGTH_BITS, RING_AT, SLOT_BYTES, SLOTS, SLOTS_AT, WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.core.record import Call, Invocation

_NAMES_KEPT = 256
_abandoned: "list[mmap]" = []


class Journal:
    """One process's journal. Numbers ("serials") of invocations and calls count from 1; 0 is an invocation without one.

    `begin`, `describe`, `end`, `forget`, `call_begun` and `call_ended` are its steps, each guarded: a fault in one
    costs a count, and never the record that is being made. `lost` says that the file has been deleted, as functions do
    that empty /tmp.
    """

    __slots__ = (
        "_cells", "_fault_at", "_file", "_map", "_names", "_numbers", "_stacks_at", "_words",
        "begin", "call_begun", "call_ended", "describe", "end", "fd", "forget", "lost", "path", "serial",
    )  # fmt: skip

    def __init__(
        self, path: str, size: int, head: "tuple[str, ...]", shielded: "Callable[..., Any]", serial: int = 0
    ) -> None:
        """Make the file, reserve its blocks and map it. OSError or ValueError where that cannot be.

        Reserved before it is mapped, because a page that a full file system cannot give kills the process (SIGBUS).
        `serial` is the last one of the journal before, where there was one.
        """
        self.path = path
        new = path + cells.NEW  # no name that another may claim, until it is locked and has its header
        self.fd = fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(fd, 0o600)  # whatever the umask: the next process must be able to read it
            os.posix_fallocate(fd, 0, size)
            self._map = mmap(fd, size)
            self._words = memoryview(self._map).cast("Q")
            line = "\t".join([cells.MAGIC, *[_clean(part, 128) for part in head], str(size)]).encode()
            self._map[: len(line) + 1] = line + b"\n"
            self._file = _identity(fd)
            os.rename(new, path)
        except BaseException:
            os.close(fd)
            _unlink(new)
            raise
        self._cells = cells.cells_of(size)
        self._fault_at = size - cells.FAULT_BYTES
        self._stacks_at = self._fault_at - cells.STACKS_BYTES
        self._numbers = count(1)
        self._names: "dict[tuple[str, str, str], bytes]" = {}
        self.serial = serial
        self.lost = False
        self.begin, self.describe = shielded(self.write_begin), shielded(self.write_trigger)
        self.end, self.forget = shielded(self.write_end), shielded(self.write_told)
        self.call_begun, self.call_ended = shielded(self.write_call_begun), shielded(self.write_call_ended)

    # In each step nothing is called between the first and the last word that it writes: no other thread and no signal
    # handler comes between, so no cell is ever half of one and half of another.

    # -- the invocation ----------------------------------------------------------------------------------------------

    def write_begin(self, invocation: "Invocation") -> None:
        """An invocation has begun. The oldest slot is taken when all are in use: its invocation's record waits long."""
        text = (
            f"{invocation.start}\t{invocation.request_id}\t{invocation.function_arn}\t{invocation.tenant_id}"
            f"\t{invocation.trace_text}\n"
        )
        if not text.isascii() or len(text) > _SLOT_ROOM or text.count("\t") != cells.SLOT_FIELDS - 1:
            text = _cleaned_slot(invocation)
        data, length = text.encode(), len(text)
        serial = self.serial = self.serial + 1
        at = SLOTS_AT + serial % SLOTS * SLOT_BYTES
        words, word = self._words, at >> 3
        words[word] = 0
        self._map[at + cells.TRIGGER : at + cells.ENDED + WORD] = _NO_TRIGGER
        try:
            words[word + 1] = invocation.epoch_ns
            words[word + 2] = invocation.start_ns
            words[word + 3] = invocation.deadline_ms
            words[word + 4] = invocation.span_id
        except (TypeError, ValueError):  # a clock before 1970, a deadline that is none
            numbers = (invocation.epoch_ns, invocation.start_ns, invocation.deadline_ms, invocation.span_id)
            self._write_sane(word + 1, numbers)
        at += cells.SLOT_TEXT
        self._map[at : at + length] = data
        words[word] = serial << LENGTH_BITS | length
        invocation.serial = serial

    def write_trigger(self, invocation: "Invocation", trigger: str) -> None:
        """What has started the invocation."""
        serial = invocation.serial
        if serial > self.serial - SLOTS:
            at = SLOTS_AT + serial % SLOTS * SLOT_BYTES + cells.TRIGGER
            data = trigger.encode()[: cells.TRIGGER_BYTES - 1]
            self._map[at : at + len(data)] = data

    def write_end(self, invocation: "Invocation") -> None:
        """The invocation has ended; its record has not been sent."""
        serial = invocation.serial
        if serial <= self.serial - SLOTS:
            return
        error_type = invocation.error_type and _clean(invocation.error_type, cells.NAME_CHARS)
        data = f"{invocation.outcome}\t{error_type}\n".encode()
        size = 0 if invocation.response_bytes is None else invocation.response_bytes + 1
        calls, length = len(invocation.calls) + len(invocation.open), len(data)
        at = SLOTS_AT + serial % SLOTS * SLOT_BYTES + cells.ENDED
        words, word = self._words, at >> 3
        words[word + 1] = invocation.end_ns
        words[word + 2] = size
        words[word + 3] = calls
        at += cells.ENDED_TEXT
        self._map[at : at + length] = data
        words[word] = serial << LENGTH_BITS | length

    def write_told(self, serial: int) -> None:
        """The invocation's record has been sent, or counted as lost: there is nothing to tell any more."""
        if serial > self.serial - SLOTS:
            self._words[(SLOTS_AT + serial % SLOTS * SLOT_BYTES) >> 3] = 0

    # -- calls -------------------------------------------------------------------------------------------------------

    def write_call_begun(self, call: "Call") -> None:
        """A call of a live invocation has begun."""
        names = self._names.get((call.kind, call.tool, call.operation)) or self._name(call)
        owner, length = call.owner, len(names)
        owned = owner.serial << LENGTH_BITS | len(owner.calls) + len(owner.open)
        number = next(self._numbers)  # threads must not share a cell
        at = RING_AT + number % self._cells * CELL_BYTES
        words, word = self._words, at >> 3
        words[word] = 0
        words[word + 1] = owned
        words[word + 2] = call.span_id
        words[word + 3] = call.parent.span_id
        words[word + 4] = call.start_ns
        words[word + 5] = 0
        at += cells.CELL_TEXT
        self._map[at : at + length] = names
        words[word] = number << LENGTH_BITS | length
        call.serial = number

    def write_call_ended(self, call: "Call") -> None:
        """The call has ended: told in the place of its beginning, or in a new one when that has been taken."""
        failed = _failed(call) if call.cause or call.error_type else b""
        number, length = call.serial, len(failed)
        at = RING_AT + number % self._cells * CELL_BYTES
        words, word = self._words, at >> 3
        if words[word] >> LENGTH_BITS != number:
            self.write_call_begun(call)
            at = RING_AT + call.serial % self._cells * CELL_BYTES
            word = at >> 3
        words[word + 4] = call.start_ns  # without the time that its beginning took here
        try:
            words[word + 6] = call.http_status
            words[word + 7] = call.retries
            words[word + 8] = call.throttles
            words[word + 9] = 0 if call.items is None else call.items + 1
            words[word + 10] = 0 if call.items_failed is None else call.items_failed + 1
        except (TypeError, ValueError):  # a stand-in of the customer's for a library's answer
            counts = [_sane(n) + 1 if _sane(n, -1) >= 0 else 0 for n in (call.items, call.items_failed)]
            self._write_sane(word + 6, (call.http_status, call.retries, call.throttles, *counts))
        if length:
            at += cells.FAILED
            self._map[at : at + length] = failed
        words[word + 11] = length
        words[word + 5] = call.end_ns

    def _write_sane(self, word: int, numbers: "tuple[Any, ...]") -> None:
        """Write numbers from this word on, those that no word can hold as 0."""
        for place, number in enumerate(numbers, word):
            self._words[place] = _sane(number)

    def _name(self, call: "Call") -> bytes:
        """The call's kind, tool and operation as they stand in a cell: a few, made once each."""
        if len(self._names) >= _NAMES_KEPT:
            self._names.clear()
        parts = [_clean(part, cells.NAME_CHARS) for part in (call.kind, call.tool, call.operation)]
        data = self._names[call.kind, call.tool, call.operation] = ("\t".join(parts) + "\n").encode()
        return data

    # -- the watcher -------------------------------------------------------------------------------------------------

    def alive(self, now_ns: int) -> None:
        """The process was alive at this time of CLOCK_MONOTONIC."""
        self._words[cells.ALIVE >> 3] = now_ns

    def sample_rss(self, size: int) -> None:
        """The process's resident memory in bytes."""
        self._words[cells.RSS >> 3] = size

    def take_stacks(self, serial: int, text: bytes) -> None:
        """The stacks of all threads (`core.stacks`), taken for one invocation."""
        at, data = self._stacks_at, text[: cells.STACKS_BYTES - WORD]
        self._words[at >> 3] = 0
        self._map[at + WORD : at + WORD + len(data)] = data
        self._words[at >> 3] = serial << LENGTH_BITS | len(data)

    def fault_fd(self) -> int:
        """Clear the place where faulthandler may write; give the file's descriptor, standing there. -1: it is lost."""
        if self.is_unlinked():
            return -1
        self.fault_reset()
        os.lseek(self.fd, self._fault_at, os.SEEK_SET)
        return self.fd

    def fault_reset(self) -> None:
        """Forget what faulthandler has written."""
        if self._map[self._fault_at]:
            self._map[self._fault_at :] = bytes(cells.FAULT_BYTES)
            if not self.is_unlinked():
                os.ftruncate(self.fd, self._fault_at + cells.FAULT_BYTES)  # it may have written over the end

    def is_unlinked(self) -> bool:
        """Whether the file has lost its name, or we have lost the file.

        A function may empty /tmp, or close descriptors that it has not opened and have files of its own in their place.
        """
        try:
            status = os.fstat(self.fd)
        except OSError:
            return True
        return not status.st_nlink or (status.st_dev, status.st_ino) != self._file

    # -- its end -----------------------------------------------------------------------------------------------------

    def drop(self) -> None:
        """Let go of the file as it is: it belongs to the process we were forked from."""
        self.begin = self.describe = self.end = self.forget = self.call_begun = self.call_ended = _nothing
        self._words.release()
        try:
            is_ours = _identity(self.fd) == self._file
        except OSError as error:
            if raised_by_signal(error):  # a time limit of the customer's, which may be an OSError too
                raise
            is_ours = False
        if is_ours:
            self._map.close()
            os.close(self.fd)
        else:  # its descriptors have been closed, and what has their numbers now must stay open: so does the mapping
            _abandoned.append(self._map)

    def remove(self) -> None:
        """Let go of the file and delete it: this process goes on without."""
        _unlink(self.path)  # first, for one that is unlocked may be claimed
        self.drop()


_SLOT_ROOM = cells.TRIGGER - cells.SLOT_TEXT
_NO_TRIGGER = bytes(cells.ENDED + WORD - cells.TRIGGER)
_WORD_BITS = 64


def _nothing(*_: "Any") -> None:
    pass


def _identity(fd: int) -> "tuple[int, int]":
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError as error:
        if raised_by_signal(error):
            raise


def _sane(number: "Any", instead: int = 0) -> int:
    """The number when a word can hold it."""
    return number if type(number) is int and number >= 0 and number.bit_length() < _WORD_BITS else instead


def _failed(call: "Call") -> bytes:
    return f"{call.cause}\t{_clean(call.error_type, cells.NAME_CHARS)}\n".encode()


def _cleaned_slot(invocation: "Invocation") -> str:
    """The text of a slot where an id is longer than any that Lambda gives, or holds what a cell may not."""
    parts = (
        invocation.start, invocation.request_id, invocation.function_arn, invocation.tenant_id, invocation.trace_text,
    )  # fmt: skip
    return "\t".join([_clean(part, 140) for part in parts]) + "\n"


def _clean(given: "Any", chars: int) -> str:
    """The text as it may stand in a cell: printable ASCII, no tab, not longer than that."""
    text: str = given if type(given) is str else str.__str__(given) if isinstance(given, str) else "?"
    text = text[:chars]
    if text.isascii() and text.isprintable():
        return text
    return "".join([c if " " <= c <= "~" else "?" for c in text])
