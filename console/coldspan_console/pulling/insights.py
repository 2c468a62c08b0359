"""Logs Insights: queries run where the data is; what they scan is counted, and bounded."""

import contextlib
import datetime as dt
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coldspan_console.output import ANSWER_IS_NO, ConsoleError
from coldspan_console.pulling.account import code_of, told_clearly
from coldspan_console.pulling.queries import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

POLL_S = 0.5
DOLLARS_PER_GB = 0.005  # what most regions charge. Source: CloudWatch pricing, "Logs Insights"
# with these Insights is not to be had, and FilterLogEvents may be
REFUSALS = ("AccessDeniedException", "AccessDenied", "InvalidOperationException", "UnknownOperationException")


class RefusedError(Exception):
    """Logs Insights is refused here; why."""


@dataclass(frozen=True, slots=True)
class Event:
    """A log event: its text, its time in epoch ms, its stream."""

    message: str
    at_ms: int
    stream: str
    pointer: str = ""


class Insights:
    """Runs queries on one log group. `scanned_bytes` is what they cost so far."""

    def __init__(
        self, logs: Any, group: str, most_bytes: "int | None" = None,
        advance: "Callable[[int], object]" = lambda _: None,
    ) -> None:  # fmt: skip
        self._logs, self._group, self._most_bytes, self._advance = logs, group, most_bytes, advance
        self._wait = threading.Event().wait
        self.scanned_bytes = 0
        self.query_count = 0

    @property
    def dollars(self) -> float:
        """About what the queries cost."""
        return self.scanned_bytes / 1e9 * DOLLARS_PER_GB

    def rows(self, query: str, since_ms: int, until_ms: int) -> "list[dict[str, str]]":
        """Run one query, and give its rows. Times are whole seconds, both inclusive. Errors: as of events()."""
        from botocore.exceptions import ClientError

        with told_clearly("StartQuery"):
            try:
                started = self._logs.start_query(
                    logGroupName=self._group, startTime=since_ms // 1_000, endTime=max(until_ms, since_ms) // 1_000,
                    queryString=query, limit=LIMIT,
                )  # fmt: skip
            except ClientError as error:
                if code_of(error) in REFUSALS:
                    raise RefusedError(code_of(error)) from None
                if code_of(error) == "MalformedQueryException":
                    text = error.response["Error"].get("Message", "")
                    raise ConsoleError(f"Logs Insights does not understand the query: {text}", where=query) from None
                raise
            self.query_count += 1
            return self._results(started["queryId"])

    def _results(self, query_id: str) -> "list[dict[str, str]]":
        before = self.scanned_bytes
        try:
            while True:
                told = self._logs.get_query_results(queryId=query_id)
                self.scanned_bytes = before + int((told.get("statistics") or {}).get("bytesScanned", 0))
                status = told["status"]
                if status == "Complete":
                    return [{cell["field"]: cell.get("value", "") for cell in row} for row in told["results"]]
                self._guard(status)
                self._wait(POLL_S)
        except BaseException:  # interrupted, too: it would go on, and cost
            self._stop(query_id)
            raise

    def _guard(self, status: str = "Running") -> None:
        if status not in {"Scheduled", "Running", "Unknown"}:
            todo = "ask for a shorter time: --since, --until"
            raise ConsoleError(f"the query ended as {status}", where=self._group, todo=todo)
        if self._most_bytes is not None and self.scanned_bytes > self._most_bytes:
            raise ConsoleError(
                f"more than {size(self._most_bytes)} would be scanned (about ${self.dollars:.3f} so far)",
                where=self._group, todo="shorten the time (--since, --until), or allow more by --max-scan",
                exit_code=ANSWER_IS_NO,
            )  # fmt: skip

    def _stop(self, query_id: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        with contextlib.suppress(BotoCoreError, ClientError):
            self._logs.stop_query(queryId=query_id)

    def events(self, query: str, since_ms: int, until_ms: int) -> "Iterator[Event]":
        """All events of a query that is sorted by time, oldest first: beyond a query's limit by further ones.

        The next query begins in the second of the last row; what is met twice is left out. More than the limit within
        one second cannot be had by Insights. Errors: ConsoleError; RefusedError; SplitError with that second.
        """
        seen: set[str] = set()
        while True:
            self._guard()
            rows = self.rows(query, since_ms, until_ms)
            fresh = 0
            last_ms = since_ms
            for row in rows:
                event = event_of(row)
                last_ms = max(last_ms, event.at_ms)
                key = event.pointer or f"{event.at_ms} {event.stream} {event.message}"
                if key not in seen:
                    seen.add(key)
                    fresh += 1
                    yield event
            self._advance(fresh)
            if len(rows) < LIMIT:
                return
            if last_ms // 1_000 * 1_000 <= since_ms // 1_000 * 1_000:
                raise SplitError(last_ms // 1_000 * 1_000)
            since_ms = last_ms // 1_000 * 1_000


class SplitError(Exception):
    """A second has more events than a query gives; `second_ms` is its begin. What follows it was not looked at."""

    def __init__(self, second_ms: int) -> None:
        super().__init__(f"more than {LIMIT} events in one second")
        self.second_ms = second_ms


def event_of(row: "dict[str, str]") -> Event:
    """A row as an event. Its time is `2026-11-26 10:00:00.123` in UTC; moto's server gives epoch ms."""
    told = row.get("@timestamp", "")
    if told.isdigit():
        at_ms = int(told)
    else:
        try:
            at_ms = round(dt.datetime.fromisoformat(told).replace(tzinfo=dt.UTC).timestamp() * 1_000)
        except ValueError:
            at_ms = 0
    return Event(row.get("@message", ""), at_ms, row.get("@logStream", ""), row.get("@ptr", ""))


def size(count: float) -> str:
    """`512 B`, `12.3 MB`, `1.20 GB`."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.3g} {unit}"
    return f"{count:.0f} B"


__all__ = ["Event", "Insights", "RefusedError", "SplitError", "event_of", "size"]
