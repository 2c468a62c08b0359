"""The journal: what would be lost with the process is written ahead into a mapped file, without a system call a record.

Kept for the next init or the black box, which read it with `core.journal` when this process has been killed.
"""

import fcntl
import os
from itertools import count
from mmap import mmap

from coldspan.core import cells
from coldspan.core.cells import CELL_BYTES, LENGTH_BITS, RING_AT, SLOT_BYTES, SLOTS, SLOTS_AT, WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coldspan.core.record import Call, Invocation

_NAMES_KEPT = 256


class Journal:
    """One process's journal. Numbers ("serials") of invocations and calls count from 1; 0 is an invocation without one.

    `lost` says that the file has been deleted, as functions do that empty /tmp.
    """

    __slots__ = (
        "_calls", "_cells", "_fault_at", "_map", "_names", "_numbers", "_serial", "_stacks_at", "_words",
        "fd", "lost", "path",
    )  # fmt: skip

    def __init__(self, path: str, size: int, head: "tuple[str, ...]") -> None:
        """Make the file, reserve its blocks and map it. OSError or ValueError where that cannot be.

        Reserved before it is mapped, because a page that a full file system cannot give kills the process (SIGBUS).
        """
        self.path = path
        new = path + ".new"  # no name that another may claim, until it is locked and has its header
        self.fd = fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(fd, 0, size)
            self._map = mmap(fd, size)
            line = "\t".join([cells.MAGIC, *[_clean(part, 128) for part in head], str(size)]).encode()
            self._map[: len(line) + 1] = line + b"\n"
            os.rename(new, path)
            self._words = memoryview(self._map).cast("Q")
        except BaseException:
            os.close(fd)
            os.unlink(new)
            raise
        self._cells = cells.cells_of(size)
        self._fault_at = size - cells.FAULT_BYTES
        self._stacks_at = self._fault_at - cells.STACKS_BYTES
        self._serial = self._calls = 0
        self._numbers = count(1)
        self._names: "dict[tuple[str, str, str], bytes]" = {}
        self.lost = False

    # -- the invocation ----------------------------------------------------------------------------------------------

    def begin(self, invocation: "Invocation") -> None:
        """An invocation has begun. The oldest slot is taken when all are in use: its invocation's record waits long."""
        serial = self._serial = self._serial + 1
        at = SLOTS_AT + serial % SLOTS * SLOT_BYTES
        data = (
            f"{invocation.start}\t{invocation.request_id}\t{invocation.function_arn}\t{invocation.tenant_id}"
            f"\t{invocation.trace_text}\n"
        ).encode()
        if len(data) > _SLOT_ROOM or data.count(b"\t") != cells.SLOT_FIELDS - 1 or not data.isascii():
            data = _cleaned_slot(invocation)
        words, word = self._words, at >> 3
        words[word] = 0
        self._map[at + cells.TRIGGER : at + cells.ENDED + WORD] = _NO_TRIGGER
        words[word + 1] = self._calls
        words[word + 2] = invocation.epoch_ns
        words[word + 3] = invocation.start_ns
        words[word + 4] = invocation.deadline_ms
        words[word + 5] = invocation.span_id
        at += cells.SLOT_TEXT
        self._map[at : at + len(data)] = data
        words[word] = serial << LENGTH_BITS | len(data)
        invocation.serial = serial

    def describe(self, invocation: "Invocation", trigger: str) -> None:
        """What has started the invocation."""
        serial = invocation.serial
        if serial > self._serial - SLOTS:
            at = SLOTS_AT + serial % SLOTS * SLOT_BYTES + cells.TRIGGER
            data = trigger.encode()[: cells.TRIGGER_BYTES - 1]
            self._map[at : at + len(data)] = data

    def end(self, invocation: "Invocation") -> None:
        """The invocation has ended; its record has not been sent."""
        serial = invocation.serial
        if serial <= self._serial - SLOTS:
            return
        error_type = invocation.error_type and _clean(invocation.error_type, cells.NAME_CHARS)
        data = f"{invocation.outcome}\t{error_type}\n".encode()
        at = SLOTS_AT + serial % SLOTS * SLOT_BYTES + cells.ENDED
        words, word = self._words, at >> 3
        words[word + 1] = invocation.end_ns
        words[word + 2] = 0 if invocation.response_bytes is None else invocation.response_bytes + 1
        at += cells.ENDED_TEXT
        self._map[at : at + len(data)] = data
        words[word] = serial << LENGTH_BITS | len(data)

    def forget(self, serial: int) -> None:
        """The invocation's record has been sent: there is nothing to lose any more."""
        if serial > self._serial - SLOTS:
            self._words[(SLOTS_AT + serial % SLOTS * SLOT_BYTES) >> 3] = 0

    # -- calls -------------------------------------------------------------------------------------------------------

    def call_begun(self, call: "Call") -> None:
        """A call of a live invocation has begun."""
        call.serial = number = self._calls = next(self._numbers)  # threads must not share a cell
        at = RING_AT + number % self._cells * CELL_BYTES
        names = self._names.get((call.kind, call.tool, call.operation)) or self._name(call)
        words, word = self._words, at >> 3
        words[word] = 0
        words[word + 1] = call.owner.serial
        words[word + 2] = call.span_id
        words[word + 3] = call.parent.span_id
        words[word + 4] = call.start_ns
        words[word + 5] = 0
        at += cells.CELL_TEXT
        self._map[at : at + len(names)] = names
        words[word] = number << LENGTH_BITS | len(names)

    def call_ended(self, call: "Call") -> None:
        """The call has ended: told in the place of its beginning, if that still stands."""
        number = call.serial
        if number <= self._calls - self._cells:
            self.call_begun(call)
            number = call.serial
        at = RING_AT + number % self._cells * CELL_BYTES
        words, word = self._words, at >> 3
        commit = words[word]
        words[word] = 0
        words[word + 5] = call.end_ns
        words[word + 6] = call.http_status
        words[word + 7] = call.retries
        words[word + 8] = call.throttles
        words[word + 9] = 0 if call.items is None else call.items + 1
        words[word + 10] = 0 if call.items_failed is None else call.items_failed + 1
        words[word + 11] = self._fail(at, call) if call.cause or call.error_type else 0
        words[word] = commit

    def _fail(self, at: int, call: "Call") -> int:
        data = f"{call.cause}\t{_clean(call.error_type, cells.NAME_CHARS)}\n".encode()
        at += cells.FAILED
        self._map[at : at + len(data)] = data
        return len(data)

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
        """Clear the place where faulthandler may write; give the file's descriptor, standing there."""
        at = self._fault_at
        self.fault_reset()
        os.lseek(self.fd, at, os.SEEK_SET)
        return self.fd

    def fault_reset(self) -> None:
        """Forget what faulthandler has written."""
        if self._map[self._fault_at]:
            self._map[self._fault_at :] = bytes(cells.FAULT_BYTES)

    def is_unlinked(self) -> bool:
        """Whether the file has lost its name: a function may empty /tmp."""
        return not os.fstat(self.fd).st_nlink

    # -- its end -----------------------------------------------------------------------------------------------------

    def drop(self) -> None:
        """Let go of the file as it is: it belongs to the process we were forked from."""
        self._words.release()
        self._map.close()
        os.close(self.fd)

    def remove(self) -> None:
        """Let go of the file and delete it: this process goes on without."""
        self.drop()
        try:
            os.unlink(self.path)
        except OSError:
            pass


_SLOT_ROOM = cells.TRIGGER - cells.SLOT_TEXT
_NO_TRIGGER = bytes(cells.ENDED + WORD - cells.TRIGGER)


def _cleaned_slot(invocation: "Invocation") -> bytes:
    """The text of a slot where an id is longer than any that Lambda gives, or holds what a cell may not."""
    parts = (
        invocation.start, invocation.request_id, invocation.function_arn, invocation.tenant_id, invocation.trace_text,
    )  # fmt: skip
    return ("\t".join([_clean(part, 140) for part in parts]) + "\n").encode()


def _clean(text: str, chars: int) -> str:
    """The text as it may stand in a cell: printable ASCII, no tab, not longer than that."""
    text = text[:chars]
    if text.isascii() and text.isprintable():
        return text
    return "".join([c if " " <= c <= "~" else "?" for c in text])
