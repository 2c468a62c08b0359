"""Invocations of a prepared function: made, watched, kept in the store and given back as what was seen."""

import concurrent.futures
import itertools
import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coldspan_console.platform.fleet import Fleet, LogLine, Outcome
from coldspan_console.platform.output import record_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coldspan_console.running.events import Event
    from coldspan_console.running.prepared import Prepared
    from coldspan_console.store import Store

# platform.report's metrics -> the names of the black box's lines, which the store joins
FIGURES = {
    "billedDurationMs": "BilledDuration",
    "maxMemoryUsedMB": "MaxMemoryUsed",
    "memorySizeMB": "MemorySize",
    "initDurationMs": "PlatformInitDuration",
    "restoreDurationMs": "RestoreDuration",
}


@dataclass(slots=True)
class Ran:
    """One invocation: what went in, how it ended, what was printed, and its record (None when none came)."""

    event: "Event"
    outcome: Outcome
    record: "dict[str, Any] | None" = None
    logs: "list[LogLine]" = field(default_factory=list)
    report: "dict[str, Any]" = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether the caller got no good answer."""
        return self.outcome.status != "success"

    def as_json(self) -> "dict[str, Any]":
        """All of it, for --json."""
        return {
            "event": self.event.name,
            "request_id": self.outcome.request_id,
            "status": self.outcome.status,
            "error_type": self.outcome.error_type,
            "answer": answer_of(self.outcome.body),
            "record": self.record,
            "report": self.report,
            "logs": [line.text for line in self.logs],
        }


class Runs:
    """A function's invocations, one call of invoke() after the other or many at once."""

    def __init__(self, prepared: "Prepared", *, most: int = 1, cold: bool = False, **options: Any) -> None:
        """`cold`: each invocation in an environment of its own. `options`: of Fleet.invoke."""
        self.prepared = prepared
        self._heard: list[tuple[LogLine, dict[str, Any] | None]] = []
        self._lock = threading.Lock()
        self._options = options
        self._most = 1 if prepared.function.max_concurrency else most
        self._cold = cold
        self._numbers = itertools.count(1)  # of the environments of all its fleets
        self.fleet = self._fleet()

    def invoke(self, events: "Sequence[Event]", concurrency: int, advance: "Callable[[int], object]") -> "list[Ran]":
        """Invoke with each of the events, so many at once, and give what was seen when all is quiet, in order."""
        reports: dict[str, dict[str, Any]] = {}

        def one(event: "Event") -> Ran:
            if self._cold:
                with self._fleet(most=1) as fleet:
                    outcome = fleet.invoke(event.body, request_id=str(uuid.uuid4()), **self._options)
                    reports.update(fleet.settled())
            else:
                outcome = self.fleet.invoke(event.body, request_id=str(uuid.uuid4()), **self._options)
            advance(1)
            return Ran(event, outcome)

        if concurrency == 1:
            ran = [one(event) for event in events]
        else:
            with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
                try:
                    ran = list(pool.map(one, events))
                except BaseException:  # interrupted: what has not begun does not begin
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        reports.update(self.fleet.settled())
        self._assign(ran, reports)
        return ran

    def _fleet(self, most: "int | None" = None) -> Fleet:
        return Fleet(
            self.prepared.function,
            most=most or self._most,
            timeout_ms=self.prepared.timeout_ms,
            heard=self._hear,
            numbers=self._numbers,
        )

    def close(self) -> None:
        """End the environments; what they print meanwhile is heard."""
        self.fleet.close()

    def _hear(self, line: LogLine) -> None:
        record = record_of(line.text)
        with self._lock:
            self._heard.append((line, record))

    def _assign(self, ran: "list[Ran]", reports: "dict[str, dict[str, Any]]") -> None:
        with self._lock:
            heard = list(self._heard)
        by_request = {each.outcome.request_id: each for each in ran}
        _name_inits(heard, ran)
        for line, record in heard:
            one = by_request.get(line.request_id if record is None else str(record.get("request_id")))
            if one is None:
                continue
            if record is None:
                if line.kind != "platform":
                    one.logs.append(line)
            elif "outcome" in record and (one.record is None or "told_by" in record):
                one.record = record
        for each in ran:
            each.report = reports.get(each.outcome.request_id, {})

    def documents(self) -> "list[dict[str, Any]]":
        """Every document that was printed, last words before a deadline included."""
        with self._lock:
            return [record for _, record in self._heard if record is not None]


def _name_inits(heard: "list[tuple[LogLine, dict[str, Any] | None]]", ran: "list[Ran]") -> None:
    """Give the record of an init that failed the request that waited for it; the last ones are of the last ones."""
    inits: dict[int, list[dict[str, Any]]] = {}
    for line, record in heard:
        if record is not None and record.get("outcome") == "init_error" and not record.get("request_id"):
            inits.setdefault(line.environment, []).append(record)
    for each in reversed(ran):
        waiting = inits.get(each.outcome.environment)
        if waiting and each.outcome.error_type == waiting[-1].get("error_type"):
            waiting.pop()["request_id"] = each.outcome.request_id


def keep(store: "Store", runs: Runs, ran: "list[Ran]", source: str = "run") -> int:
    """Keep what was recorded, what the platform said and what the function printed; how many invocations were new."""
    name = runs.prepared.declared.name
    documents = runs.documents()
    documents += [platform_line(name, each.outcome, each.report) for each in ran if each.report]
    added = store.add(documents, source=source)
    for each in ran:
        if each.logs:
            lines = [{"text": line.text, "at_ms": line.at_ms, "kind": line.kind} for line in each.logs]
            store.logs(each.outcome.request_id, lines)
    return int(added.invocations)


def platform_line(name: str, outcome: Outcome, report: "dict[str, Any]") -> "dict[str, Any]":
    """The platform's figures in the form of the black box's lines."""
    figures = {theirs: report[ours] for ours, theirs in FIGURES.items() if ours in report}
    head = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": []}
    status = {"success": "success", "error": "error", "timeout": "timeout"}.get(outcome.status, "failure")
    return {
        "_aws": head, "function_name": name, "request_id": outcome.request_id, "platform": True, "status": status,
        **({"error_type": outcome.error_type} if outcome.error_type else {}), **figures,
    }  # fmt: skip


def answer_of(body: bytes) -> Any:
    """An answer as JSON, or as text where it is none."""
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text
