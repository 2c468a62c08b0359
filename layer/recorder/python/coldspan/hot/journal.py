"""The journal: what would be lost with the process is written ahead into a mapped file, without a system call a record.

Kept for the next init or the black box, which read it with `core.journal` when this process has been killed.
"""

import fcntl
import os
from mmap import mmap

from coldspan.core import cells
from coldspan.core.buffer import raised_by_signal
from coldspan.core.cells import CELL_BYTES, LENGTH_BITS, RING_AT, SLOT_BYTES, SLOTS, SLOTS_AT, WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.core.record import Call, Invocation

    Slot = tuple[memoryview, int, slice, int]  # its words, and where its texts are
    Cell = tuple[memoryview, slice, int]  # its words, its text and the text of its failure

_NAMES_KEPT = 256
_PASSED_OVER = 16
_abandoned: "list[mmap]" = []


class Journal:
    """One process's journal. Numbers ("serials") of invocations and calls count from 1; 0 is an invocation without one.

    `begin`, `describe`, `end`, `forget`, `call_begun` and `call_ended` are its steps, each guarded: a fault in one
    costs a count, and never the record that is being made. `lost` says that the file has been deleted, as functions do
    that empty /tmp; who then takes what is in `turn` opens another in its place.
    """

    __slots__ = (
        "_again", "_fault_at", "_file", "_map", "_named", "_names", "_ring", "_room", "_slots", "_stacks_at",
        "_triggers", "_words", "begin", "call_begun", "call_ended", "calls", "describe", "end", "fd", "forget", "lost",
        "path", "serial", "turn",
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
            self._words = words_of(self._map)
            if self._words.itemsize != WORD:
                raise ValueError("no machine with words of 64 bits")  # noqa: TRY301  # undone below
            line = "\t".join([cells.MAGIC, *[_clean(part, 128) for part in head], str(size)]).encode()
            self._map[: len(line) + 1] = line + b"\n"
            self._file = _identity(fd)
            os.rename(new, path)
        except BaseException:
            os.close(fd)
            _unlink(new)
            raise
        self._room = room = cells.cells_of(size)
        self._fault_at = size - cells.FAULT_BYTES
        self._stacks_at = self._fault_at - cells.STACKS_BYTES
        # Views of the cells, each made when it is first needed: with small numbers for indexes, which cost half.
        self._slots: "list[Slot | None]" = [None] * SLOTS
        self._ring: "list[Cell | None]" = [None] * room
        self._triggers: "dict[str, bytes]" = {}  # the few that core.trigger knows
        self._names: "dict[str, dict[str, dict[str, bytes]]]" = {}  # by kind, tool and operation: no tuple to be made
        self.serial = serial
        self.calls = self._again = self._named = 0
        self.lost = False
        self.turn = [True]  # one pop() of two threads gets it
        self.begin, self.describe = shielded(self.write_begin), shielded(self.write_trigger)
        self.end, self.forget = shielded(self.write_end), shielded(self.write_told)
        self.call_begun, self.call_ended = shielded(self.write_call_begun), shielded(self.write_call_ended)

    # In each step nothing is called between the first and the last word that it writes: no other thread and no signal
    # handler comes between, so no cell is ever half of one and half of another.

    # -- the invocation ----------------------------------------------------------------------------------------------

    def write_begin(self, invocation: "Invocation") -> None:
        """An invocation has begun. The oldest slot is taken when all are in use: its invocation's record waits long."""
        text = f"{invocation.start}\t{invocation.request_id}\t{invocation.tenant_id}\t{invocation.trace_text}\n"
        try:
            data = text.encode()
            length = len(data)
        except UnicodeEncodeError:
            length = _TOO_LONG
        if length > _SLOT_ROOM:
            data = _cleaned_slot(invocation)
            length = len(data)
        serial = self.serial = self.serial + 1
        words, at, _, _ = self._slots[serial % SLOTS] or self._slot(serial % SLOTS)
        words[0] = 0
        words[1] = self.calls - self._again
        try:
            words[2] = invocation.epoch_ns
            words[3] = invocation.start_ns
            words[4] = invocation.deadline_ms
            words[5] = invocation.span_id
        except (TypeError, ValueError):  # a clock before 1970, a deadline that is none
            numbers = (invocation.epoch_ns, invocation.start_ns, invocation.deadline_ms, invocation.span_id)
            _write_sane(words, 2, numbers)
        self._map[at : at + length] = data
        words[0] = serial << LENGTH_BITS | length
        invocation.serial = serial

    def write_trigger(self, invocation: "Invocation", trigger: str) -> None:
        """What has started the invocation."""
        serial = invocation.serial
        if serial > self.serial - SLOTS:
            words, _, text, _ = self._slots[serial % SLOTS] or self._slot(serial % SLOTS)
            data = self._triggers.get(trigger)
            if data is None:
                size = cells.TRIGGER_BYTES
                data = self._triggers[trigger] = trigger.encode()[:size].ljust(size, b"\0")
            self._map[text] = data
            words[6] = serial

    def write_end(self, invocation: "Invocation") -> None:
        """The invocation has ended; its record has not been sent."""
        serial = invocation.serial
        if serial <= self.serial - SLOTS:
            return
        words, _, _, at = self._slots[serial % SLOTS] or self._slot(serial % SLOTS)
        size = 0 if invocation.response_bytes is None else invocation.response_bytes + 1
        length = 0
        if invocation.outcome != "ok" or invocation.error_type:
            error_type = _clean(invocation.error_type, cells.NAME_CHARS)
            data = f"{invocation.outcome}\t{error_type}\n".encode()
            length = len(data)
            self._map[at : at + length] = data
        words[8] = invocation.end_ns
        words[9] = size
        words[10] = self.calls - self._again
        words[7] = serial << LENGTH_BITS | length

    def write_told(self, serial: int) -> None:
        """The invocation's record has been sent, or counted as lost: there is nothing to tell any more."""
        if serial > self.serial - SLOTS:
            (self._slots[serial % SLOTS] or self._slot(serial % SLOTS))[0][0] = 0

    def _slot(self, index: int) -> "Slot":
        at = SLOTS_AT + index * SLOT_BYTES
        words = self._words[at >> 3 : at + SLOT_BYTES >> 3]
        trigger = slice(at + cells.TRIGGER, at + cells.ENDED)
        slot = self._slots[index] = words, at + cells.SLOT_TEXT, trigger, at + cells.ENDED
        return slot

    # -- calls -------------------------------------------------------------------------------------------------------

    def write_call_begun(self, call: "Call") -> None:
        """A call of a live invocation has begun."""
        try:
            names = self._names[call.kind][call.tool][call.operation]
        except KeyError:
            names = self._name(call)
        number = self.calls = self.calls + 1  # at once, for nothing is called in between: threads share no cell
        words, text, _ = self._ring[number % self._room] or self._cell(number % self._room)
        if words[0] and not words[5] and words[1] == call.owner.serial:
            number, words, text = self._pass_over(call.owner.serial)
        words[0] = 0
        words[1] = call.owner.serial
        words[2] = call.span_id
        words[3] = call.parent.span_id
        words[4] = call.start_ns
        words[5] = 0
        self._map[text] = names
        words[0] = call.serial = number

    def _pass_over(self, serial: int) -> "tuple[int, memoryview, slice]":
        """A cell behind those of calls of an invocation that are still open: they are what a kill is explained by.

        Where very many are open at once the oldest of them goes after all.
        """
        for _ in range(_PASSED_OVER):
            self._again += 1
            self._words[cells.AGAIN >> 3] = self._again
            number = self.calls = self.calls + 1
            words, text, _ = self._ring[number % self._room] or self._cell(number % self._room)
            if not words[0] or words[5] or words[1] != serial:
                break
        return number, words, text

    def write_call_ended(self, call: "Call") -> None:
        """The call has ended: told in the place of its beginning, or in a new one when that has been taken."""
        items = call.items
        if items is not None or call.cause or call.retries or call.error_type or call.throttles or call.items_failed:
            self._write_more(call)
            return
        number = call.serial
        words, _, _ = self._ring[number % self._room] or self._cell(number % self._room)
        if words[0] != number:
            words, _, _ = self._take_another(call)
        try:
            words[6] = call.http_status
        except (TypeError, ValueError):
            words[6] = 0
        words[7] = 0
        words[5] = call.end_ns

    def _write_more(self, call: "Call") -> None:
        """The end of a call that has failed, was tried again or was about several items."""
        failed = b""
        if call.cause or call.error_type:
            failed = f"{call.cause}\t{_clean(call.error_type, cells.NAME_CHARS)}\n".encode()
        number, length = call.serial, len(failed)
        words, _, at = self._ring[number % self._room] or self._cell(number % self._room)
        if words[0] != number:
            words, _, at = self._take_another(call)
        try:
            words[6] = call.http_status
            words[8] = call.retries
            words[9] = call.throttles
            words[10] = 0 if call.items is None else call.items + 1
            words[11] = 0 if call.items_failed is None else call.items_failed + 1
        except (TypeError, ValueError):  # a stand-in of the customer's for a library's answer
            items = [_sane(number, -1) + 1 for number in (call.items, call.items_failed)]
            _write_sane(words, 6, (call.http_status, 0, call.retries, call.throttles, *items))
        if length:
            self._map[at : at + length] = failed
        words[7] = cells.HAS_COUNTS | length
        words[5] = call.end_ns

    def _take_another(self, call: "Call") -> "Cell":
        """A second cell for the call, whose first one is another's by now."""
        self.write_call_begun(call)
        self._again += 1
        self._words[cells.AGAIN >> 3] = self._again
        return self._ring[call.serial % self._room] or self._cell(call.serial % self._room)

    def _cell(self, index: int) -> "Cell":
        at = RING_AT + index * CELL_BYTES
        text = slice(at + cells.CELL_TEXT, at + cells.CELL_TEXT + cells.CELL_TEXT_BYTES)
        cell = self._ring[index] = self._words[at >> 3 : at + CELL_BYTES >> 3], text, at + cells.FAILED
        return cell

    def _name(self, call: "Call") -> bytes:
        """The call's kind, tool and operation as they stand in a cell: a few, made once each."""
        parts = [_clean(part, cells.NAME_CHARS) for part in (call.kind, call.tool, call.operation)]
        data = ("\t".join(parts) + "\n").encode().ljust(cells.CELL_TEXT_BYTES, b"\0")
        self._named += 1
        if self._named > _NAMES_KEPT:
            self._named = 0
            self._names = {}
        self._names.setdefault(call.kind, {}).setdefault(call.tool, {})[call.operation] = data
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
        for cell in (*self._slots, *self._ring):
            if cell is not None:
                cell[0].release()
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
_TOO_LONG = _SLOT_ROOM + 1
_WORD_BITS = 64


def words_of(data: "mmap | bytearray") -> "memoryview[int]":
    """The words of a file. As "N" they cost three quarters of what they cost as "Q", and are the same."""
    return memoryview(data).cast("N")  # type: ignore[call-overload, no-any-return]  # not in the stubs


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


def _write_sane(words: memoryview, word: int, numbers: "tuple[Any, ...]") -> None:
    """Write numbers from this word on, those that no word can hold as 0."""
    for place, number in enumerate(numbers, word):
        words[place] = _sane(number)


def _cleaned_slot(invocation: "Invocation") -> bytes:
    """The text of a slot where an id is longer than any that Lambda gives, or holds what a cell may not."""
    parts = (
        invocation.start, invocation.request_id, invocation.tenant_id, invocation.trace_text,
    )  # fmt: skip
    return ("\t".join([_clean(part, 180) for part in parts]) + "\n").encode()


def _clean(given: "Any", chars: int) -> str:
    """The text as it may stand in a cell: printable ASCII, no tab, not longer than that."""
    text: str = given if type(given) is str else str.__str__(given) if isinstance(given, str) else "?"
    text = text[:chars]
    if text.isascii() and text.isprintable():
        return text
    return "".join([c if " " <= c <= "~" else "?" for c in text])
