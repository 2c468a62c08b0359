"""How documents are kept: each once, and the invocations of their requests joined anew."""

import json
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

from coldspan_console.store import database
from coldspan_console.store.documents import Kind, Line, lines_of, number_of, pack, text_of, unpack
from coldspan_console.store.joining import Kept, join
from coldspan_console.store.payload_index import values_of
from coldspan_console.store.rows import CALL_COLUMNS, COLUMNS, OF_CALLS, WITH_PAYLOADS, call_rows, invocation_row

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

AT_ONCE = 2_000  # documents in a transaction: another console gets its turn in between
LOG_LINES, LOG_CHARS = 10_000, 8_192  # of one request, of one line
_IN = 500  # parameters of one query


class Added(int):
    """How many documents were new, as a number; with more about them."""

    invocations: int  # that are new
    known: int  # documents that had been kept before
    refused: int  # what looked like a document of coldspan's and was none: torn, too large
    others: int  # anything else
    touched: "tuple[int, ...]"  # ids of the invocations that are new or have become more


class Adding:
    """What one add() has done so far. `put` batches, then take `result`."""

    def __init__(self, origin: "tuple[str, str, str]") -> None:
        self._origin = origin  # source, account, region
        self._counts: Counter[str] = Counter()
        self._touched: dict[int, None] = {}

    def put(self, connection: "sqlite3.Connection", batch: "list[Any]", now_ms: int) -> "list[int]":
        """Keep a batch in one transaction, whole or not at all; the ids of the invocations that it touched."""
        counts: Counter[str] = Counter()
        lines = list(_lines(batch, counts))
        touched: list[int] = []
        with database.writing(connection):
            words = Words(connection)
            fresh = _keep(connection, lines, self._origin, words, now_ms, counts)
            for some in _chunks(list(fresh)):
                touched += _join(connection, {number: fresh[number] for number in some}, words, counts)
        self._counts += counts
        self._touched.update(dict.fromkeys(touched))
        return touched

    def result(self) -> Added:
        """How much was new."""
        counts = self._counts
        added = Added(counts["new"])
        added.invocations, added.known = counts["invocations"], counts["known"]
        added.refused, added.others = counts["refused"], counts["others"]
        added.touched = tuple(self._touched)
        return added


def batches(documents: "Iterable[Any]") -> "Iterator[list[Any]]":
    """Documents by as many as one transaction takes."""
    given = iter(documents)
    while batch := list(islice(given, AT_ONCE)):
        yield batch


def _lines(batch: "Iterable[Any]", counts: "Counter[str]") -> "Iterator[Line]":
    for given in batch:
        try:
            lines = list(lines_of(given))
        except ValueError:
            counts["refused"] += 1
            continue
        counts["others"] += not lines
        yield from lines


class Words:
    """Texts as numbers, the same for all that use the store."""

    def __init__(self, connection: "sqlite3.Connection") -> None:
        self._connection = connection
        self._known: dict[str, int] = {"": 0}

    def __call__(self, text: str) -> int:
        """The number of a text, given one where it has none."""
        number = self._known.get(text)
        if number is None:
            found = self._connection.execute("SELECT id FROM word WHERE text = ?", (text,)).fetchone()
            if found is None:
                number = self._connection.execute("INSERT INTO word (text) VALUES (?)", (text,)).lastrowid
            else:
                number = found[0]
            self._known[text] = number
        return number


def _keep(
    connection: "sqlite3.Connection", lines: "list[Line]", origin: "tuple[str, str, str]", words: Words, now_ms: int,
    counts: "Counter[str]",
) -> "dict[int, list[Kept] | None]":  # fmt: skip
    """Write the documents that are new. The numbers of their requests, with all of its documents where it is new."""
    numbers: dict[str, int] = {}
    changed: dict[int, list[Kept] | None] = {}
    made: dict[int, list[Kept]] = {}
    origin_words = [words(text) for text in origin]
    for line in lines:
        number = numbers.get(line.request_id)
        if number is None:
            number, is_new = request_number(connection, line.request_id)
            numbers[line.request_id] = number
            if is_new:
                made[number] = []
        seen_ms = now_ms if line.kind is Kind.NEAR else 0
        done = connection.execute(
            "INSERT OR IGNORE INTO document (request, hash, kind, source, account, region, seen_ms, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (number, line.hash, line.kind, *origin_words, seen_ms, line.body),
        )
        if not done.rowcount:
            counts["known"] += 1
            continue
        counts["new"] += 1
        if number in made:
            made[number].append(Kept(line.kind, line.hash, line.document, *origin, seen_ms))
        if line.kind is not Kind.ENVIRONMENT:
            changed[number] = made.get(number)
    return changed


def request_number(connection: "sqlite3.Connection", request_id: str) -> "tuple[int, bool]":
    """The number of a request id, and whether it was given it now."""
    found = connection.execute("SELECT id FROM request WHERE request_id = ?", (request_id,)).fetchone()
    if found is not None:
        return found[0], False
    return connection.execute("INSERT INTO request (request_id) VALUES (?)", (request_id,)).lastrowid or 0, True


def kept_of(connection: "sqlite3.Connection", requests: "list[int]") -> "dict[int, list[Kept]]":
    """The documents of requests, by the requests' numbers."""
    marks = ",".join("?" * len(requests))
    rows = connection.execute(
        "SELECT request, kind, hash, body, s.text, a.text, r.text, seen_ms FROM document"
        " JOIN word s ON s.id = source JOIN word a ON a.id = account JOIN word r ON r.id = region"
        f" WHERE request IN ({marks})", requests,
    )  # fmt: skip
    kept: dict[int, list[Kept]] = {number: [] for number in requests}
    for number, kind, digest, body, *origin in rows:
        kept[number].append(Kept(Kind(kind), digest, unpack(body), *origin))
    return kept


def _join(
    connection: "sqlite3.Connection", requests: "dict[int, list[Kept] | None]", words: Words, counts: "Counter[str]"
) -> "list[int]":
    """Make the invocations of requests anew, from their documents where they are at hand; the ids of theirs."""
    kept = {number: documents for number, documents in requests.items() if documents is not None}
    known: dict[tuple[int, str], int] = {}
    if before := [number for number in requests if number not in kept]:
        kept.update(kept_of(connection, before))
        marks = ",".join("?" * len(before))
        rows = connection.execute(f"SELECT id, request, span_id FROM invocation WHERE request IN ({marks})", before)
        known = {(request, span_id): number for number, request, span_id in rows}
    change = changes(connection)
    calls: list[tuple[Any, ...]] = []
    payloads: list[tuple[int, int]] = []
    touched = []
    for request, documents in kept.items():
        for invocation in join(documents):
            row = invocation_row(invocation, words)
            number = known.pop((request, invocation.span_id), None)
            if number is None:  # what only the platform had told of is now told by its record
                number = known.pop((request, ""), None)
            counts["invocations"] += number is None
            change += 1
            values = [request, row["span_id"], change, *[row[name] for name in COLUMNS[3:]]]
            if number is None:
                number = connection.execute(_INSERT, values).lastrowid or 0
            else:
                connection.execute(_REPLACE, [*values, number])
                connection.execute("DELETE FROM call WHERE invocation = ?", (number,))
            of_calls = [row[name] for name in OF_CALLS]
            calls += [(number, *of_calls, *call) for call in call_rows(invocation, words)]
            if row["flags"] & WITH_PAYLOADS:
                payloads += [(each, number) for each in values_of(invocation.document)]
            touched.append(number)
    connection.executemany(_INSERT_CALL, calls)
    connection.executemany(_INSERT_PAYLOAD, payloads)
    connection.execute(
        "INSERT INTO counter VALUES ('change', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (change,)
    )
    for number in known.values():
        connection.execute("DELETE FROM call WHERE invocation = ?", (number,))
        connection.execute("DELETE FROM invocation WHERE id = ?", (number,))
    return touched


def index_payloads(connection: "sqlite3.Connection") -> None:
    """Index what the payloads of all invocations hold."""
    rows = connection.execute(
        "SELECT request, span_id, id FROM invocation WHERE flags & ?", (WITH_PAYLOADS,)
    ).fetchall()
    known = {(request, span_id): number for request, span_id, number in rows}
    for some in _chunks(list(dict.fromkeys(request for request, _ in known))):
        for request, documents in kept_of(connection, some).items():
            for invocation in join(documents):
                number = known.get((request, invocation.span_id))
                if number is not None:
                    values = [(each, number) for each in values_of(invocation.document)]
                    connection.executemany(_INSERT_PAYLOAD, values)


def changes(connection: "sqlite3.Connection") -> int:
    """How often an invocation has been new or has become more."""
    found = connection.execute("SELECT value FROM counter WHERE name = 'change'").fetchone()
    return found[0] if found is not None else 0


_INSERT = f"INSERT INTO invocation ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
_REPLACE = f"UPDATE invocation SET {', '.join(name + ' = ?' for name in COLUMNS)} WHERE id = ?"
_INSERT_PAYLOAD = "INSERT OR IGNORE INTO payload_value VALUES (?, ?)"
_INSERT_CALL = f"INSERT INTO call ({', '.join(CALL_COLUMNS)}) VALUES ({', '.join('?' * len(CALL_COLUMNS))})"


def add_logs(connection: "sqlite3.Connection", request_id: str, lines: "Iterable[Any]") -> int:
    """Keep log lines; see Store.logs(). A line is known again by its time, kind and text."""
    given = [_log_line(line) for line in lines]
    with database.writing(connection):
        request, _ = request_number(connection, text_of(request_id))
        found = connection.execute("SELECT body FROM log WHERE request = ?", (request,)).fetchone()
        known: list[list[Any]] = unpack(found[0]) if found is not None else []
        left = Counter(tuple(line) for line in known)
        new = []
        for line in given:
            if left[tuple(line)] > 0:
                left[tuple(line)] -= 1
            elif len(known) + len(new) < LOG_LINES:
                new.append(line)
        if new:
            merged = sorted([*known, *new], key=lambda line: line[0])  # lines without a time stay in their order
            connection.execute(
                "INSERT INTO log VALUES (?, ?) ON CONFLICT (request) DO UPDATE SET body = excluded.body",
                (request, pack(json.dumps(merged).encode())),
            )
    return len(new)


def _log_line(line: Any) -> "list[Any]":
    """at_ms (0 when not known), kind, text."""
    if isinstance(line, dict):
        at_ms, kind, text = line.get("at_ms"), line.get("kind"), line.get("text")
    else:
        at_ms, kind, text = getattr(line, "at_ms", 0), getattr(line, "kind", "function"), getattr(line, "text", line)
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    text = str(text).rstrip("\n")
    text = text if len(text) <= LOG_CHARS else text[:LOG_CHARS] + "…"
    return [int(number_of(at_ms) or 0), text_of(kind) or "function", text.encode("utf-8", "replace").decode()]


def _chunks(numbers: "list[int]") -> "Iterator[list[int]]":
    for first in range(0, len(numbers), _IN):
        yield numbers[first : first + _IN]
