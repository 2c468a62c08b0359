"""From an account into the store: which way is taken, what is kept, and what it cost."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coldspan_console.output import WRONG_USE, ConsoleError
from coldspan_console.pulling import queries, traces
from coldspan_console.pulling.filtering import filter_events
from coldspan_console.pulling.insights import Event, Insights, RefusedError, SplitError
from coldspan_console.pulling.lines import Reader
from coldspan_console.store.documents import Kind, kind_of, request_of
from coldspan_console.store.joining import began_ms

if TYPE_CHECKING:
    from coldspan_console.pulling.account import Account
    from coldspan_console.store import Store

SHORT_MS = 15 * 60_000  # up to here FilterLogEvents, which costs nothing, is fast enough
LATE_MS = 15 * 60_000  # how much later than its record the platform's report may come
LOGS = 200  # invocations whose log lines are asked for: a request each
FOLLOW_S = 2.0
OVERLAP_MS = 30_000  # events become visible late, and not in their order
GOOD = ("ok", "pending")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to bring. Times in epoch ms. `engine`: auto, insights or filter. `logs`: failed, all or none."""

    function: str
    group: str
    since_ms: int
    until_ms: int
    outcomes: "tuple[str, ...]" = ()
    errors_only: bool = False
    expression: str = ""
    limit: "int | None" = None
    engine: str = "auto"
    logs: str = "failed"
    xray: bool = False
    most_bytes: "int | None" = None

    @property
    def is_selective(self) -> bool:
        """Whether not every invocation is meant."""
        return bool(self.outcomes or self.errors_only or self.expression or self.limit)

    def means(self, record: "dict[str, Any]") -> bool:
        """Whether an invocation's record is asked for, as far as this can be told without Insights."""
        if self.outcomes and record.get("outcome") not in self.outcomes:
            return False
        failures = record.get("CallFailures")
        failed = record.get("outcome") not in GOOD or (isinstance(failures, (int, float)) and failures > 0)
        return failed or not self.errors_only


@dataclass(slots=True)
class Pulled:
    """What came. `records`: the invocations that were met, new or not; `at`: where their log is."""

    engine: str = ""
    events: int = 0
    added: int = 0
    invocations: int = 0
    known: int = 0
    refused: int = 0
    torn: int = 0
    log_lines: int = 0
    traces: int = 0
    scanned_bytes: int = 0
    dollars: float = 0.0
    queries: int = 0
    records: "dict[str, dict[str, Any]]" = field(default_factory=dict)
    at: "dict[str, tuple[str, int]]" = field(default_factory=dict)  # request id -> stream, time

    def as_json(self) -> "dict[str, Any]":
        """The figures, and the request ids."""
        names = ("engine", "events", "added", "invocations", "known", "refused", "torn", "log_lines", "traces",
                 "scanned_bytes", "queries")  # fmt: skip
        return {
            **{name: getattr(self, name) for name in names}, "dollars": round(self.dollars, 6),
            "request_ids": list(self.records),
        }  # fmt: skip


class Puller:
    """Brings what is wanted. `note` is told what a person should know; `advance` of progress, in events."""

    def __init__(
        self, account: "Account", store: "Store", wanted: Wanted, note: "Callable[[str], object]" = lambda _: None,
        advance: "Callable[[int], object]" = lambda _: None,
    ) -> None:  # fmt: skip
        self._account, self._store, self._wanted = account, store, wanted
        self._note, self._advance = note, advance
        self._logs = account.client("logs")
        self._number = account.number
        self._reader = Reader(wanted.function)
        self.insights = Insights(self._logs, wanted.group, wanted.most_bytes, advance)
        self.pulled = Pulled()

    def pull(self) -> Pulled:
        """Bring it, once. Errors: ConsoleError."""
        wanted, pulled = self._wanted, self.pulled
        try:
            pulled.engine = self._engine()
            try:
                self._add(self._documents(pulled.engine))
            except RefusedError as error:
                if wanted.engine == "insights" or wanted.expression:
                    todo = "allow logs:StartQuery and logs:GetQueryResults, or use --engine filter without --query"
                    raise ConsoleError(f"Logs Insights is refused: {error}", where=wanted.group, todo=todo) from None
                self._note(f"Logs Insights is refused ({error}): reading the log itself")
                pulled.engine = "filter"
                self._add(self._documents("filter"))
            self._add_logs()
            if wanted.xray and pulled.records:
                self._add(self._count_traces(traces.fetch(self._account.client("xray"), pulled.records.values())))
        finally:
            pulled.scanned_bytes, pulled.dollars = self.insights.scanned_bytes, self.insights.dollars
            pulled.queries = self.insights.query_count
        return pulled

    def follow(self, stop: "threading.Event", came: "Callable[[dict[str, Any]], object]") -> Pulled:
        """Bring what comes, every two seconds, until `stop` is set; `came` is told each new record.

        By FilterLogEvents: a live tail would be charged by the minute, and begins anew after three hours.
        """
        wanted, pulled = self._wanted, self.pulled
        pulled.engine = "filter"
        since_ms, told = wanted.since_ms, set(pulled.records)
        while True:
            now_ms = time.time_ns() // 1_000_000
            events = filter_events(self._logs, wanted.group, since_ms, now_ms + 1)
            self._add(self._chosen(events))
            for request_id, record in pulled.records.items():
                if request_id not in told:
                    told.add(request_id)
                    came(record)
            since_ms = max(wanted.since_ms, now_ms - OVERLAP_MS)
            if stop.wait(FOLLOW_S):
                return pulled

    # -- which way ---------------------------------------------------------------------------------------------------

    def _engine(self) -> str:
        wanted = self._wanted
        if wanted.engine == "filter" and wanted.expression:
            raise ConsoleError(
                "--query is answered by Logs Insights", where="--engine filter", exit_code=WRONG_USE,
                todo="leave one of the two out",
            )  # fmt: skip
        if wanted.engine != "auto":
            return wanted.engine
        short = wanted.until_ms - wanted.since_ms <= SHORT_MS
        return "filter" if short and not wanted.expression else "insights"

    def _documents(self, engine: str) -> "Iterator[dict[str, Any]]":
        wanted = self._wanted
        if engine == "filter":
            events = filter_events(self._logs, wanted.group, wanted.since_ms, wanted.until_ms, advance=self._advance)
            return self._chosen(events) if wanted.is_selective else self._read(events)
        if not wanted.is_selective:
            return self._read(self._by_insights(queries.records(), wanted.since_ms, wanted.until_ms))
        return self._selected()

    def _by_insights(self, query: str, since_ms: int, until_ms: int) -> "Iterator[Event]":
        """All events of a query, also where a second has more than one gives: these come by FilterLogEvents."""
        while True:
            try:
                yield from self.insights.events(query, since_ms, until_ms)
                return
            except SplitError as error:
                after_ms = error.second_ms + 1_000
                yield from filter_events(self._logs, self._wanted.group, error.second_ms, after_ms)
                if after_ms > until_ms:
                    return
                since_ms = after_ms

    def _selected(self) -> "Iterator[dict[str, Any]]":
        """The records that meet the conditions, found by Insights; then what else there is of their requests."""
        wanted = self._wanted
        conditions = queries.wanted(wanted.outcomes, errors_only=wanted.errors_only, expression=wanted.expression)
        query = queries.records(conditions, wanted.limit)
        if wanted.limit:
            found: Iterable[Event] = map_events(self.insights.rows(query, wanted.since_ms, wanted.until_ms))
        else:
            found = self._by_insights(query, wanted.since_ms, wanted.until_ms)
        yield from self._read(found, only_meant=True)
        ids = list(self.pulled.records)
        for first in range(0, len(ids), queries.IDS):
            some = ids[first : first + queries.IDS]
            records = [self.pulled.records[one] for one in some]
            since_ms = int(min(began_ms(record) for record in records)) - 1_000
            until_ms = max(self.pulled.at[one][1] for one in some) + LATE_MS
            for document in self._read(self._by_insights(queries.of_requests(some), since_ms, until_ms), note=False):
                if _request_of(document) in self.pulled.records:
                    yield document

    def _chosen(self, events: "Iterable[Event]") -> "Iterator[dict[str, Any]]":
        """Of all documents those whose invocation is meant, the newest when there is a limit."""
        wanted = self._wanted
        found = list(self._read(events, note=False, places=True))
        records = [one for one in found if kind_of(one) is Kind.INVOCATION and wanted.means(one)]
        records.sort(key=lambda one: -one["_aws"].get("Timestamp", 0))
        for record in records[: wanted.limit]:
            self.pulled.records.setdefault(request_of(record), record)
        for document in found:
            if not wanted.is_selective or _request_of(document) in self.pulled.records:
                yield document

    # -- what is in it -----------------------------------------------------------------------------------------------

    def _read(
        self, events: "Iterable[Event]", *, note: bool = True, only_meant: bool = False, places: bool = False
    ) -> "Iterator[dict[str, Any]]":
        """The documents in events. `note`: their records are what is pulled; `only_meant`: others are left out."""
        pulled = self.pulled
        for event in events:
            pulled.events += 1
            for document in self._reader.read(event.message, event.at_ms, event.stream):
                is_record = kind_of(document) is Kind.INVOCATION
                if is_record and (note or places):
                    if only_meant and not self._wanted.means(document):
                        continue
                    pulled.at[request_of(document)] = event.stream, event.at_ms
                    if note and (len(pulled.records) < (self._wanted.limit or len(pulled.records) + 1)):
                        pulled.records.setdefault(request_of(document), document)
                if not only_meant or is_record:
                    yield document
        pulled.torn = self._reader.torn

    def _add(self, documents: "Iterable[dict[str, Any]]") -> None:
        added = self._store.add(documents, "pull", account=self._number, region=self._account.region or "")
        pulled = self.pulled
        pulled.added += int(added)
        pulled.invocations += added.invocations
        pulled.known += added.known
        pulled.refused += added.refused

    def _count_traces(self, lines: "Iterable[dict[str, Any]]") -> "Iterator[dict[str, Any]]":
        for line in lines:
            self.pulled.traces += 1
            yield line

    def _add_logs(self) -> None:
        """The log lines of invocations: what their stream holds while they ran. An environment runs one at a time."""
        wanted, pulled = self._wanted, self.pulled
        if wanted.logs == "none":
            return
        asked = [
            one
            for one, record in pulled.records.items()
            if wanted.logs == "all" or record.get("outcome") not in GOOD
        ]  # fmt: skip
        if len(asked) > LOGS:
            self._note(f"the log lines of the latest {LOGS} of {len(asked)} invocations are kept")
        for request_id in sorted(asked, key=lambda one: -pulled.at[one][1])[:LOGS]:
            record, (stream, at_ms) = pulled.records[request_id], pulled.at[request_id]
            if not stream:
                continue
            since_ms, until_ms = int(began_ms(record)) - 1, at_ms + 2
            events = filter_events(
                self._logs, wanted.group, since_ms, until_ms, pattern="", streams=(stream,), advance=self._advance
            )
            lines = [
                {"text": event.message.rstrip("\n"), "at_ms": event.at_ms, "kind": "function"}
                for event in events
                if not _is_platforms(event.message) and not Reader().read(event.message)
            ]
            with contextlib.suppress(ConsoleError):
                pulled.log_lines += self._store.logs(request_id, lines)


def map_events(rows: "Iterable[dict[str, str]]") -> "Iterator[Event]":
    """Rows of a query as events."""
    from coldspan_console.pulling.insights import event_of

    return (event_of(row) for row in rows)


def _is_platforms(text: str) -> bool:
    starts = ("START RequestId:", "END RequestId:", "REPORT RequestId:", "INIT_START ", "INIT_REPORT ", "EXTENSION\t")
    return text.startswith(starts) or (text.startswith('{"time":') and '"type":"platform.' in text)


def _request_of(document: "dict[str, Any]") -> str:
    """The request of a document; of a late call's line that of its first call."""
    if told := request_of(document):
        return told
    calls = document.get("calls")
    first = calls[0] if isinstance(calls, list) and calls else None
    return str(first.get("request_id") or "") if isinstance(first, dict) else ""


__all__ = ["Pulled", "Puller", "Wanted"]
