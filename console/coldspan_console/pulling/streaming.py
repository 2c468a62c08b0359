"""From a stream or files of log into the store."""

import contextlib
import queue
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coldspan_console.output import ANSWER_IS_NO, ConsoleError
from coldspan_console.pulling.files import STDIN, read_lines
from coldspan_console.pulling.lines import Reader
from coldspan_console.store.documents import Kind, kind_of, request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coldspan_console.store import Store

NEAR = 200  # request ids looked back at: the lines of an invocation come together
AT_ONCE = 2_000  # documents added at once
QUIET_S = 0.5


@dataclass(slots=True)
class Streamed:
    """What came: lines read, records met (new or not), documents and invocations that are new."""

    lines: int = 0
    records: int = 0
    others: int = 0  # documents that are no record, but for what the platform says
    added: int = 0
    invocations: int = 0
    known: int = 0
    refused: int = 0
    torn: int = 0
    trees: int = 0
    log_lines: int = 0
    request_ids: "list[str]" = field(default_factory=list)

    def as_json(self) -> "dict[str, Any]":
        """The figures, and the request ids."""
        names = ("lines", "records", "added", "invocations", "known", "refused", "torn", "log_lines", "request_ids")
        return {name: getattr(self, name) for name in names}


def stream(words: "tuple[str, ...]", store: "Store", advance: "Callable[[int], object]" = lambda _: None) -> Streamed:
    """Read files, folders and stdin, and add every record in them.

    Of stdin, what has come is added as soon as nothing more comes at once: the other end may go on for hours. An
    interrupt ends the reading, and what was read is kept. Errors: ConsoleError when there was no record in all of it.
    """
    told = Streamed()
    reader = Reader(emulated=True)
    source = "stdin" if words == (STDIN,) else "pull"
    waiting: list[dict[str, Any]] = []

    def keep() -> None:
        added = store.add(waiting, source)
        told.added += int(added)
        told.invocations += added.invocations
        told.known += added.known
        told.refused += added.refused
        waiting.clear()

    with contextlib.suppress(KeyboardInterrupt):
        for line in _lines(words):
            found = reader.read(line) if line is not None else []
            if line is not None:
                advance(1)
            for document in found:
                waiting.append(document)
                kind = kind_of(document)
                if kind is Kind.INVOCATION:
                    told.records += 1
                    if (request_id := request_of(document)) not in told.request_ids[-NEAR:]:
                        told.request_ids.append(request_id)
                elif kind is not Kind.PLATFORM:
                    told.others += 1
            if waiting and (line is None or len(waiting) >= AT_ONCE):
                keep()
    if waiting:
        keep()
    told.lines, told.torn, told.trees = reader.lines, reader.torn, reader.trees
    if not told.records and not told.others:
        raise nothing(told, words)
    for request_id in told.request_ids:
        if lines := reader.logs.get(request_id):
            told.log_lines += store.logs(request_id, lines)
    return told


def _lines(words: "tuple[str, ...]") -> "Iterator[bytes | None]":
    """The lines of all of them; of stdin None, too, whenever nothing comes for a moment."""
    for word in words:
        if word != STDIN:
            yield from read_lines(word)
            continue
        came: queue.Queue[bytes | ConsoleError | None] = queue.Queue(AT_ONCE)
        threading.Thread(target=_read_into, args=(came,), name="stdin", daemon=True).start()
        while True:
            try:
                line = came.get(timeout=QUIET_S)
            except queue.Empty:
                yield None
                continue
            if line is None:
                break
            if isinstance(line, ConsoleError):
                raise line
            yield line


def _read_into(came: "queue.Queue[bytes | ConsoleError | None]") -> None:
    try:
        for line in read_lines(STDIN):
            came.put(line)
    except ConsoleError as error:
        came.put(error)
    came.put(None)


def nothing(told: Streamed, words: "tuple[str, ...]") -> ConsoleError:
    """Why there may be no record in what was read."""
    where = f"{told.lines} lines of {', '.join('stdin' if word == STDIN else word for word in words)}"
    if not told.lines:
        todo = "`sam local invoke` writes its log to stderr: sam local invoke ... 2>&1 | coldspan pull -"
        return ConsoleError("nothing was read", where=where, todo=todo, exit_code=ANSWER_IS_NO)
    if told.torn:
        todo = "lines were cut: read the log from its source, without a tool that cuts lines"
        return ConsoleError(f"no record: {told.torn} lines are torn", where=where, todo=todo, exit_code=ANSWER_IS_NO)
    if told.trees:
        todo = (
            "under sam local a function shows trees instead of records: give it COLDSPAN_LOCAL: emf among its variables"
            " in the template"
        )
        what = f"no record, but {told.trees} of the trees that are for people to read"
        return ConsoleError(what, where=where, todo=todo, exit_code=ANSWER_IS_NO)
    todo = (
        "sam local writes the log to stderr: join it to stdout (2>&1); else `coldspan doctor` finds out why a function"
        " does not record"
    )
    return ConsoleError("no record of coldspan in it", where=where, todo=todo, exit_code=ANSWER_IS_NO)


__all__ = ["Streamed", "stream"]
