"""How much a store holds, and how it is made to hold less."""

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from coldspan_console.store import database, schema

if TYPE_CHECKING:
    from pathlib import Path

OF_NO_INVOCATION = 1_000  # documents of environments that stay, the latest


def prune(connection: sqlite3.Connection, keep: "int | None", since_ms: "int | None") -> int:
    """See Store.prune()."""
    with database.writing(connection):
        (before,) = connection.execute("SELECT count(*) FROM invocation").fetchone()
        if since_ms is not None:
            connection.execute("DELETE FROM invocation WHERE time_ms < ?", (since_ms,))
        if keep is not None:
            connection.execute(
                "DELETE FROM invocation WHERE id NOT IN"
                " (SELECT id FROM invocation ORDER BY time_ms DESC, id DESC LIMIT ?)", (max(0, keep),),
            )  # fmt: skip
        (after,) = connection.execute("SELECT count(*) FROM invocation").fetchone()
        if after < before:
            _sweep(connection)
    if after < before:
        with suppress(sqlite3.OperationalError):  # somebody reads: what is free is used again, and given back next time
            connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    return before - after


def _sweep(connection: sqlite3.Connection) -> None:
    """Remove what belonged to what has gone. Lines that wait for a record younger than any that is left stay."""
    connection.execute("DELETE FROM call WHERE invocation NOT IN (SELECT id FROM invocation)")
    (oldest,) = connection.execute("SELECT coalesce(min(request), 1 << 62) FROM invocation").fetchone()
    gone = (
        "SELECT id FROM request WHERE request_id != '' AND id NOT IN (SELECT request FROM invocation)"
        " AND (id < ? OR id IN (SELECT request FROM document WHERE kind = 1))"
    )
    for table in ("log", "notified", "document"):
        connection.execute(f"DELETE FROM {table} WHERE request IN ({gone})", (oldest,))
    connection.execute(
        "DELETE FROM request WHERE request_id != '' AND id NOT IN (SELECT request FROM document)"
        " AND id NOT IN (SELECT request FROM log)"
    )
    connection.execute(
        "DELETE FROM document WHERE request IN (SELECT id FROM request WHERE request_id = '') AND id NOT IN"
        " (SELECT id FROM document WHERE request IN (SELECT id FROM request WHERE request_id = '')"
        "  ORDER BY id DESC LIMIT ?)", (OF_NO_INVOCATION,),
    )  # fmt: skip


def info(connection: sqlite3.Connection, path: "Path", *, exists: bool) -> "dict[str, Any]":
    """See Store.info()."""
    first_ms, last_ms = connection.execute("SELECT min(time_ms), max(time_ms) FROM invocation").fetchone()
    rows = connection.execute(
        "SELECT text, count(*) FROM invocation JOIN word ON word.id = function GROUP BY function ORDER BY 2 DESC"
    )
    files = [path, path.with_name(path.name + "-wal")]
    return {
        "path": str(path.absolute()),
        "exists": exists,
        "format": schema.VERSION,
        "bytes": sum(file.stat().st_size for file in files if exists and file.exists()),
        "invocations": connection.execute("SELECT count(*) FROM invocation").fetchone()[0],
        "calls": connection.execute("SELECT count(*) FROM call").fetchone()[0],
        "documents": connection.execute("SELECT count(*) FROM document").fetchone()[0],
        "first_ms": first_ms,
        "last_ms": last_ms,
        "functions": dict(rows.fetchall()),
    }
