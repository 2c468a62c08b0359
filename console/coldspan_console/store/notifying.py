"""Notifications: somebody is told, once, of each new invocation that a saved filter means."""

import json
import os
import queue
import subprocess
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from coldspan_console.store import database, finding
from coldspan_console.tree import milliseconds, plain

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Sequence

    from coldspan_console.store.saved import SavedFilter

PER_MINUTE = 20  # of one filter; what is more is told of by one notification with their number
COMMAND_S = 30
CLOSE_S = 60  # how long a store waits at its end for those that are on their way
WAITING = 1_000
SUBJECT_CHARS = 100  # Amazon SNS API reference, Publish
_MORE = 20  # request ids in a notification of several
_NOT_YET = ("platform", "last_words")  # told_by: the record itself may still come


class Notification(NamedTuple):
    """What somebody is told: of one invocation, or of several at once."""

    saved: "SavedFilter"
    summary: str
    invocations: "list[dict[str, Any]]"  # summaries as of Store.find()
    document: "dict[str, Any] | None"
    count: int  # how many it is about

    def to_json(self) -> "dict[str, Any]":
        """As a command reads it on stdin."""
        return {**self.message(), "document": self.document}

    def message(self) -> "dict[str, Any]":
        """As a topic gets it: without the document, which may hold payloads."""
        return {
            "filter": self.saved.name, "summary": self.summary, "count": self.count,
            "invocations": self.invocations,
        }  # fmt: skip


def due(
    connection: "sqlite3.Connection", saved: "Iterable[SavedFilter]", touched: "Sequence[int]", now_ms: int
) -> "list[Notification]":
    """What is to be told of invocations that were added; noted as told, so that no other console tells it again.

    Inside a transaction that writes. What the platform or last words alone have told of waits for its record.
    """
    given = []
    for each in saved:
        if not (each.command or each.topic):
            continue
        condition, values = finding.meant(connection, each.wanted)
        rows = connection.execute(
            f"SELECT id, request, span_id FROM invocation WHERE {condition}"
            " AND id IN (SELECT value FROM json_each(?))"
            f" AND told_by NOT IN (SELECT id FROM word WHERE text IN ({','.join('?' * len(_NOT_YET))}))"
            " ORDER BY time_ms, id", [*values, json.dumps(list(touched)), *_NOT_YET],
        ).fetchall()  # fmt: skip
        new = [number for number, request, span_id in rows if _note(connection, each.name, request, span_id, now_ms)]
        if not new:
            continue
        (lately,) = connection.execute(
            "SELECT count(*) FROM notified WHERE filter = ? AND sent_ms > ?", (each.name, now_ms - 60_000)
        ).fetchone()
        alone = new[: max(0, PER_MINUTE - (lately - len(new)))]
        documents = finding.documents(connection, alone)
        found = finding.summaries_of(connection, alone)
        given += [
            Notification(each, summary_of(summary), [summary], document, 1)
            for summary, document in zip(found, documents, strict=True)
        ]
        if together := new[len(alone) :]:
            some = finding.summaries_of(connection, together[:_MORE])
            text = f"{len(together)} more invocations: {', '.join(summary['request_id'] for summary in some)}"
            given.append(Notification(each, text, some, None, len(together)))
    return given


def _note(connection: "sqlite3.Connection", name: str, request: int, span_id: str, now_ms: int) -> bool:
    done = connection.execute(
        "INSERT OR IGNORE INTO notified (filter, request, span_id, sent_ms) VALUES (?, ?, ?, ?)",
        (name, request, span_id, now_ms),
    )
    return bool(done.rowcount)


def summary_of(summary: "dict[str, Any]") -> str:
    """`orders timeout after 3.00 s: Sandbox.Timedout (8f14...)` on one line."""
    text = f"{summary['function']} {summary['outcome']} after {milliseconds(summary['duration_ms'])}"
    if summary["failures"]:
        text += f", {summary['failures']} of {summary['calls']} calls failed"
    if summary["error"]:
        text += f": {summary['error']}"
    return " ".join(plain(f"{text} ({summary['request_id']})").split())


class Notifier:
    """Sends notifications from a thread of its own, in their order: adding waits for none of them.

    What fails is told to `warn`, one line each, and not tried again.
    """

    def __init__(self, warn: "Callable[[str], object]") -> None:
        self._warn = warn
        self._queue: "queue.Queue[Notification | None]" = queue.Queue(WAITING)
        self._thread: "threading.Thread | None" = None

    def send(self, notifications: "Iterable[Notification]") -> None:
        """Have them sent."""
        for each in notifications:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="coldspan-notifier", daemon=True)
                self._thread.start()
            try:
                self._queue.put_nowait(each)
            except queue.Full:
                self._warn(f"filter {each.saved.name}: a notification was dropped, {WAITING} are waiting already")

    def close(self) -> None:
        """Wait for those that are on their way."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(CLOSE_S)
            if self._thread.is_alive():
                self._warn(f"notifications took longer than {CLOSE_S} s: the last were not sent")
            self._thread = None

    def _run(self) -> None:
        while (each := self._queue.get()) is not None:
            for failure in deliver(each):
                self._warn(f"filter {each.saved.name}: {failure}")


def deliver(notification: Notification) -> "list[str]":
    """Run the command and publish to the topic; what went wrong, as one line each."""
    failures = []
    if notification.saved.command:
        failures.append(_run_command(notification))
    if notification.saved.topic:
        failures.append(_publish(notification))
    return [failure for failure in failures if failure]


def _run_command(notification: Notification) -> str:
    first = notification.invocations[0] if notification.invocations else {}
    told = {
        "COLDSPAN_FILTER": notification.saved.name,
        "COLDSPAN_SUMMARY": notification.summary,
        "COLDSPAN_COUNT": str(notification.count),
        "COLDSPAN_REQUEST_ID": first.get("request_id", ""),
        "COLDSPAN_FUNCTION": first.get("function", ""),
        "COLDSPAN_OUTCOME": first.get("outcome", ""),
    }
    environment = {**os.environ, **{name: plain(value) for name, value in told.items()}}
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", notification.saved.command],
            input=json.dumps(notification.to_json(), ensure_ascii=True, default=str).encode(),
            env=environment, capture_output=True, check=False, timeout=COMMAND_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"the command did not end within {COMMAND_S} s"
    except OSError as error:
        return f"the command could not be run: {error.strerror}"
    if done.returncode:
        said = plain(done.stderr.decode("utf-8", "replace")).strip().splitlines()
        return f"the command ended with {done.returncode}" + (f": {said[-1]}" if said else "")
    return ""


def _publish(notification: Notification) -> str:
    import boto3  # only where there is a topic
    from botocore.exceptions import BotoCoreError, ClientError

    ascii_only = notification.summary.encode("ascii", "replace").decode()
    try:
        boto3.client("sns", region_name=notification.saved.region).publish(
            TopicArn=notification.saved.topic,
            Subject=f"coldspan {notification.saved.name}: {ascii_only}"[:SUBJECT_CHARS],
            Message=json.dumps(notification.message(), ensure_ascii=True, default=str),
        )
    except (BotoCoreError, ClientError) as error:
        return f"SNS did not take it: {' '.join(str(error).split())}"
    return ""


def example(connection: "sqlite3.Connection", saved: "SavedFilter") -> Notification:
    """What would be told of the latest invocation that is meant; of an invented one where there is none."""
    with database.reading(connection):
        chosen = finding.ids(connection, saved.wanted, 1)
        found = finding.summaries_of(connection, chosen)
        documents = finding.documents(connection, chosen)
    if found:
        return Notification(saved, summary_of(found[0]), found, documents[0], 1)
    invented = {
        "request_id": "00000000-0000-0000-0000-000000000000", "function": "example", "outcome": "error",
        "duration_ms": 12.0, "calls": 2, "failures": 1, "error": "",
    }  # fmt: skip
    return Notification(saved, summary_of(invented), [invented], None, 1)
