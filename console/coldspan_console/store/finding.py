"""How invocations are found: summaries from the columns, documents from the lines that were kept."""

import json
from typing import TYPE_CHECKING, Any

from coldspan_console.output import WRONG_USE, ConsoleError
from coldspan_console.payloads import payload_query
from coldspan_console.store.adding import kept_of
from coldspan_console.store.documents import request_of, unpack
from coldspan_console.store.filter import SORTS, Filter
from coldspan_console.store.joining import join
from coldspan_console.store.payload_index import LOOK, row_of
from coldspan_console.store.rows import DETAILED, RETRIED, WITH_PAYLOADS, WITH_STACKS, WORDS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from coldspan_console.store.joining import Invocation

AT_ONCE = 200  # documents that are in memory at a time
_PLAIN = (
    "id", "span_id", "time_ms", "attempt", "calls", "failures", "retries", "overhead_us", "dropped", "response_bytes",
    "memory_mb", "max_memory_mb", "billed_ms", "error",
)  # fmt: skip
_TIMES = {"duration_us": "duration_ms", "init_us": "init_ms", "call_us": "call_ms", "queue_us": "queue_ms"}
_SELECTED = (*_PLAIN, *_TIMES, "flags")


def summaries(
    connection: "sqlite3.Connection", wanted: Filter, limit: "int | None", offset: int, sort: str
) -> "list[dict[str, Any]]":
    """See Store.find()."""
    return summaries_of(connection, ids(connection, wanted, limit, sort, offset))


def summaries_of(connection: "sqlite3.Connection", chosen: "list[int]") -> "list[dict[str, Any]]":
    """The summaries of invocations by their ids, in that order."""
    columns = ", ".join(f"invocation.{name}" for name in (*_SELECTED, *WORDS))
    found = {}
    texts: dict[int, str] = {}
    for some in _chunks(chosen):
        marks = ",".join("?" * len(some))
        rows = connection.execute(
            f"SELECT request.request_id, {columns} FROM invocation JOIN request ON request.id = invocation.request"
            f" WHERE invocation.id IN ({marks})", some,
        )  # fmt: skip
        for request_id, *values in rows:
            row = dict(zip((*_SELECTED, *WORDS), values, strict=True))
            for name in WORDS:
                row[name] = text_of_word(connection, row[name], texts)
            found[row["id"]] = {"request_id": request_id, **_told(row)}
    return [found[number] for number in chosen if number in found]


def _told(row: "dict[str, Any]") -> "dict[str, Any]":
    flags = row["flags"]
    return {
        **{name: row[name] for name in (*_PLAIN, *WORDS)},
        **{name: row[column] / 1_000 if row[column] is not None else None for column, name in _TIMES.items()},
        "error": row["error"] or "",
        "detailed": bool(flags & DETAILED),
        "payloads": bool(flags & WITH_PAYLOADS),
        "stacks": bool(flags & WITH_STACKS),
        "retried": bool(flags & RETRIED),
    }


def text_of_word(connection: "sqlite3.Connection", number: int, known: "dict[int, str]") -> str:
    """The text of a word; `known` is what has been looked up already."""
    if number not in known:
        found = connection.execute("SELECT text FROM word WHERE id = ?", (number,)).fetchone()
        known[number] = found[0] if found is not None else ""
    return known[number]


def meant(connection: "sqlite3.Connection", wanted: Filter) -> "tuple[str, list[Any]]":
    """A condition on `invocation` and its parameters, payloads and all."""
    condition, values = wanted.where()
    if not wanted.payload:
        return condition, values
    queries = [payload_query(text) for text in wanted.payload]
    for row in map(row_of, queries):
        if row is not None:
            condition += " AND invocation.id IN (SELECT invocation FROM payload_value WHERE hash IN (?, ?))"
            values += [row, LOOK]
    chosen = [number for (number,) in connection.execute(f"SELECT id FROM invocation WHERE {condition}", values)]
    found = []
    for some in _chunks(chosen):
        found += [
            document["store"]["id"]
            for document in documents(connection, some)
            if all(query.holds(document) for query in queries)
        ]
    return "invocation.id IN (SELECT value FROM json_each(?))", [json.dumps(found)]


def ids(
    connection: "sqlite3.Connection", wanted: Filter, limit: "int | None", sort: str = "newest", offset: int = 0
) -> "list[int]":
    """The ids of the invocations that are meant, in order."""
    if sort not in SORTS:
        raise ConsoleError(f"no order is called {sort!r}", todo=f"one of {', '.join(SORTS)}", exit_code=WRONG_USE)
    condition, values = meant(connection, wanted)
    window = "" if limit is None and not offset else " LIMIT ? OFFSET ?"
    bounds = [-1 if limit is None else limit, offset] if window else []
    order = SORTS[sort]
    if wanted.changed_after is not None:  # few, by the index of changes: not all, in the order of time
        order = order.replace("time_ms", "+time_ms")
    query = f"SELECT id FROM invocation WHERE {condition} ORDER BY {order}{window}"
    return [number for (number,) in connection.execute(query, [*values, *bounds])]


def count(connection: "sqlite3.Connection", wanted: Filter) -> int:
    """See Store.count()."""
    condition, values = meant(connection, wanted)
    return connection.execute(f"SELECT count(*) FROM invocation WHERE {condition}", values).fetchone()[0]


def documents(connection: "sqlite3.Connection", chosen: "list[int]") -> "list[dict[str, Any]]":
    """The documents of invocations by their ids, in that order."""
    marks = ",".join("?" * len(chosen))
    rows = connection.execute(f"SELECT request, span_id, id FROM invocation WHERE id IN ({marks})", chosen)
    known = {(request, span_id): number for request, span_id, number in rows}
    requests = list(dict.fromkeys(request for request, _ in known))
    made = {}
    for request, kept in kept_of(connection, requests).items():
        for invocation in join(kept):
            number = known.get((request, invocation.span_id))
            if number is not None:
                made[number] = _document(invocation, number)
    return [made[number] for number in chosen if number in made]


def _document(invocation: "Invocation", number: int) -> "dict[str, Any]":
    told = invocation.told
    document = invocation.document
    if document.get("outcome") == "init_error":  # which was for no request
        document = {**document, "request_id": request_of(document)}
    return {
        **document,
        "store": {
            "id": number, "source": told.source, "account": told.account, "region": told.region,
            "attempt": invocation.attempt, "attempts": invocation.attempts,
        },
    }  # fmt: skip


def of_request(connection: "sqlite3.Connection", request_id: str) -> "list[dict[str, Any]]":
    """See Store.get()."""
    rows = connection.execute(
        "SELECT invocation.id FROM invocation JOIN request ON request.id = invocation.request"
        " WHERE request.request_id = ? ORDER BY attempt", (request_id,),
    )  # fmt: skip
    return documents(connection, [number for (number,) in rows])


def lines(connection: "sqlite3.Connection", request_id: str) -> "list[dict[str, Any]]":
    """See Store.lines()."""
    rows = connection.execute(
        "SELECT document.body FROM document JOIN request ON request.id = document.request"
        " WHERE request.request_id = ? ORDER BY document.kind, document.id", (request_id,),
    )  # fmt: skip
    return [unpack(body) for (body,) in rows]


def log_lines(connection: "sqlite3.Connection", request_id: str) -> "list[dict[str, Any]]":
    """See Store.log_lines()."""
    found = connection.execute(
        "SELECT log.body FROM log JOIN request ON request.id = log.request WHERE request.request_id = ?", (request_id,)
    ).fetchone()
    kept = unpack(found[0]) if found is not None else ()
    return [{"at_ms": at_ms, "kind": kind, "text": text} for at_ms, kind, text in kept]


def _chunks(numbers: "list[int]") -> "Iterable[list[int]]":
    for first in range(0, len(numbers), 500):
        yield numbers[first : first + 500]
