"""The local store: what was run, pulled or piped in, kept, found again and counted."""

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coldspan_console.output import WRONG_USE, ConsoleError
from coldspan_console.store import adding, counting, database, finding, notifying, retention, saved, scope
from coldspan_console.store.filter import Filter

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from coldspan_console.store.adding import Added
    from coldspan_console.store.notifying import Notification
    from coldspan_console.store.saved import SavedFilter

EVERYTHING = Filter()


class Store:
    """Invocations in one file, which several processes may use at once.

    >>> with Store.open() as store:
    ...     store.add(documents, source="run")
    ...     for summary in store.find(Filter(outcome="timeout"), limit=20): print(summary["request_id"])

    Any thread may use it. Every failure is a ConsoleError; what an add() that fails was given is not kept in part of a
    request, and what was there before stays.
    """

    def __init__(self, connection: "sqlite3.Connection", path: Path, *, writable: bool, exists: bool) -> None:
        self.connection = connection
        self.path = path
        self.exists = exists
        self.writable = writable
        self.warn: "Callable[[str], object]" = lambda text: click.echo(text, err=True)
        self._turn = threading.RLock()
        self._notifier = notifying.Notifier(self._say)

    @classmethod
    def open(cls, path: "str | Path | None" = None, *, write: bool = True, tenant: "str | None" = None) -> "Self":
        """Open the store at `path`, by default $COLDSPAN_STORE or .coldspan/store.db in the current folder.

        It is made where there is none; with write=False it is not, and an empty one stands in. With a tenant it is
        opened to read, and whatever is asked of it, SQLite itself shows only that tenant's invocations (scope.py).
        Errors: ConsoleError for what is no store, a newer format, a damaged file, a folder that may not be written.
        """
        place = Path(path) if path is not None else database.default_path()
        if write and tenant is None:
            return cls(database.open_to_write(place), place, writable=True, exists=True)
        connection, exists = database.open_to_read(place)
        if tenant is not None:
            scope.restrict(connection, tenant)
        return cls(connection, place, writable=False, exists=exists)

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self.close()

    def close(self) -> None:
        """Wait for notifications that are on their way, and close the file."""
        self._notifier.close()
        with self._turn:
            self.connection.close()

    # -- keeping -----------------------------------------------------------------------------------------------------

    def add(
        self, documents: "Iterable[Any]", source: str = "run", *, account: str = "", region: str = "",
        advance: "Callable[[int], object]" = lambda _: None,
    ) -> "Added":  # fmt: skip
        """Keep documents, as dicts or as lines of text, in any order; give how many were new.

        What is there already is ignored. The count has `invocations` (those that are new), `known`, `refused` (what
        looked like a document and was none) and `others` (no line of coldspan's). `advance` is told of progress, in
        documents. What was added is committed every few thousand documents, whole requests at a time.
        """
        self._need_writable()
        with self._turn, database.told_clearly(self.path):
            added = adding.add(self.connection, documents, (source, account, region), _now_ms(), advance)
            self._notify(added.touched)
            return added

    def logs(self, request_id: str, lines: "Iterable[Any]") -> int:
        """Keep the log lines of a request: texts, or objects with `text`, `at_ms`, `kind`. Give how many were new."""
        self._need_writable()
        with self._turn, database.told_clearly(self.path):
            return adding.add_logs(self.connection, request_id, lines)

    def prune(self, keep: "int | None" = None, since_ms: "int | None" = None) -> int:
        """Remove all but the latest `keep` invocations, or all that ended before `since_ms`; how many went.

        What belongs to a request of which nothing is left goes with it. The file becomes as much smaller.
        """
        self._need_writable()
        with self._turn, database.told_clearly(self.path):
            return retention.prune(self.connection, keep, since_ms)

    def info(self) -> "dict[str, Any]":
        """path, exists, format, bytes, invocations, documents, first_ms, last_ms, functions."""
        with self._reading():
            return retention.info(self.connection, self.path, exists=self.exists)

    # -- finding -----------------------------------------------------------------------------------------------------

    def find(
        self, wanted: Filter = EVERYTHING, limit: "int | None" = 50, offset: int = 0, sort: str = "newest"
    ) -> "list[dict[str, Any]]":
        """Summaries of the invocations that are meant, newest first unless `sort` (filter.SORTS) says otherwise.

        A summary has: id, request_id, span_id, time_ms (epoch, of the end), function, version, outcome, start, source,
        account, region, tenant, trigger, told_by, error_type, error, attempt, duration_ms, init_ms, call_ms, queue_ms,
        calls, failures, retries, overhead_us, dropped, response_bytes, memory_mb, max_memory_mb, billed_ms, detailed.
        """
        with self._reading():
            return finding.summaries(self.connection, wanted, limit, offset, sort)

    def documents(
        self, wanted: Filter = EVERYTHING, limit: "int | None" = None, sort: str = "newest"
    ) -> "Iterator[dict[str, Any]]":
        """The whole documents of the invocations that are meant.

        As printed, with what the platform said under `platform`, the function's own metrics under `own_metrics`, the
        metrics of calls that were not told one by one under `call_metrics`; and under `store`: id, source, account,
        region, attempt, attempts. Which ones is decided when the iteration begins.
        """
        with self._reading():
            ids = finding.ids(self.connection, wanted, limit, sort)
        for first in range(0, len(ids), finding.AT_ONCE):
            with self._reading():
                found = finding.documents(self.connection, ids[first : first + finding.AT_ONCE])
            yield from found

    def get(self, request_id: str) -> "list[dict[str, Any]]":
        """The documents of a request: one for each attempt, in their order; none when it is not known."""
        with self._reading():
            return finding.of_request(self.connection, request_id)

    def lines(self, request_id: str) -> "list[dict[str, Any]]":
        """All documents of a request as they came."""
        with self._reading():
            return finding.lines(self.connection, request_id)

    def log_lines(self, request_id: str) -> "list[dict[str, Any]]":
        """The log lines of a request: at_ms, kind, text."""
        with self._reading():
            return finding.log_lines(self.connection, request_id)

    def environment(self, limit: int = 100) -> "list[dict[str, Any]]":
        """The latest documents of no invocation: failed inits, environments that were never used, what was dropped."""
        with self._reading():
            return finding.lines(self.connection, "")[-limit:]

    def count(self, wanted: Filter = EVERYTHING) -> int:
        """How many invocations are meant."""
        with self._reading():
            return finding.count(self.connection, wanted)

    def changes(self) -> int:
        """A number that grows whenever an invocation is new or has become more, for Filter.changed_after."""
        with self._reading():
            return adding.changes(self.connection)

    def example(self, each: "SavedFilter") -> "Notification":
        """What a saved filter would tell of the latest invocation that it means."""
        with database.told_clearly(self.path):
            return notifying.example(self.connection, each)

    # -- counting ----------------------------------------------------------------------------------------------------

    def totals(self, wanted: Filter = EVERYTHING) -> "dict[str, Any]":
        """All that are meant in one line; see counting.totals()."""
        with self._reading():
            return counting.totals(self.connection, wanted)

    def invocations_by(
        self, wanted: Filter = EVERYTHING, by: "tuple[str, ...]" = ("function",)
    ) -> "list[dict[str, Any]]":
        """Counts and percentiles by columns; see counting.invocations_by()."""
        with self._reading():
            return counting.invocations_by(self.connection, wanted, by)

    def calls_by(
        self, wanted: Filter = EVERYTHING, by: "tuple[str, ...]" = ("tool", "operation")
    ) -> "list[dict[str, Any]]":
        """Counts and percentiles of calls; see counting.calls_by()."""
        with self._reading():
            return counting.calls_by(self.connection, wanted, by)

    def edges(self, wanted: Filter = EVERYTHING) -> "list[dict[str, Any]]":
        """The service map: calls by function and tool; see counting.calls_by()."""
        return self.calls_by(wanted, ("function", "tool"))

    def errors(self, wanted: Filter = EVERYTHING, limit: int = 100) -> "list[dict[str, Any]]":
        """What failed, by tool, operation and message; see counting.errors()."""
        with self._reading():
            return counting.errors(self.connection, wanted, limit)

    def timeline(self, wanted: Filter = EVERYTHING, width_ms: int = 60_000) -> "list[dict[str, Any]]":
        """Counts by time; see counting.timeline()."""
        with self._reading():
            return counting.timeline(self.connection, wanted, width_ms)

    def overhead(self, wanted: Filter = EVERYTHING) -> "dict[str, Any]":
        """The recorder's own time; see counting.overhead()."""
        with self._reading():
            return counting.overhead(self.connection, wanted)

    # ----------------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self) -> "Iterator[None]":
        """A turn at the connection, all of whose queries see the store at one moment."""
        with self._turn, database.told_clearly(self.path), database.reading(self.connection):
            yield

    def _notify(self, touched: "tuple[int, ...]") -> None:
        """Tell whom saved filters say of what was added."""
        try:
            watching = [each for each in saved.saved_filters(self.path) if each.command or each.topic]
            if not (watching and touched):
                return
            with database.writing(self.connection):
                found = notifying.due(self.connection, watching, touched, _now_ms())
        except ConsoleError as error:  # what was added stays, whoever cannot be told of it
            self.warn(f"no notification was sent: {error.message}")
            return
        self._notifier.send(found)

    def _say(self, text: str) -> None:
        self.warn(text)

    def _need_writable(self) -> None:
        if not self.writable:
            raise ConsoleError("the store was opened to read only", where=str(self.path), exit_code=WRONG_USE)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
