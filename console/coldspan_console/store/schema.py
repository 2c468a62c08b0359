"""The store's tables, its format's number, and how an older format becomes this one."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

APPLICATION = 0x434F4C44  # "COLD": what tells a store from any other SQLite file, at offset 68
VERSION = 4

# Texts that many rows share are words: a row then is 60 bytes, and a million of them are looked through in a fifth of a
# second. `document` has every line as it came, once; the other tables are made from it, and can be made anew.
# `bucket` is the duration on a logarithmic scale (histogram.py): percentiles of a million are read off an index by it.
# The indexes `_counted` have all that is counted and all that filters ask for, so that no row has to be looked at; the
# texts of errors are few, and have indexes of their own, which are looked through.
TABLES = """
CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE request (id INTEGER PRIMARY KEY, request_id TEXT NOT NULL UNIQUE);
CREATE TABLE document (
    id INTEGER PRIMARY KEY, request INTEGER NOT NULL, hash INTEGER NOT NULL, kind INTEGER NOT NULL,
    source INTEGER NOT NULL, account INTEGER NOT NULL, region INTEGER NOT NULL, seen_ms INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE UNIQUE INDEX document_once ON document (request, hash);
CREATE TABLE log (request INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE invocation (
    id INTEGER PRIMARY KEY, request INTEGER NOT NULL, span_id TEXT NOT NULL, change INTEGER NOT NULL,
    time_ms INTEGER NOT NULL, function INTEGER NOT NULL, version INTEGER NOT NULL, outcome INTEGER NOT NULL,
    start INTEGER NOT NULL, source INTEGER NOT NULL, account INTEGER NOT NULL, region INTEGER NOT NULL,
    tenant INTEGER NOT NULL, trigger INTEGER NOT NULL, told_by INTEGER NOT NULL, error_type INTEGER NOT NULL,
    attempt INTEGER NOT NULL, duration_us INTEGER NOT NULL, bucket INTEGER NOT NULL, init_us INTEGER,
    calls INTEGER NOT NULL, failures INTEGER NOT NULL, retries INTEGER NOT NULL, call_us INTEGER NOT NULL,
    queue_us INTEGER, response_bytes INTEGER, overhead_us INTEGER NOT NULL, dropped INTEGER NOT NULL,
    memory_mb INTEGER, max_memory_mb INTEGER, billed_ms INTEGER, flags INTEGER NOT NULL, error TEXT
);
CREATE INDEX invocation_of_request ON invocation (request);
CREATE INDEX invocation_by_time ON invocation (time_ms, id);
CREATE INDEX invocation_by_function ON invocation (function, time_ms, id);
CREATE INDEX invocation_by_outcome ON invocation (outcome, time_ms, id);
CREATE INDEX invocation_by_change ON invocation (change);
CREATE INDEX invocation_counted ON invocation (
    function, outcome, start, bucket, time_ms, duration_us, failures, source, version, tenant, account, region, trigger,
    told_by, error_type
);
CREATE INDEX invocation_error ON invocation (error) WHERE error IS NOT NULL;
CREATE TABLE call (
    id INTEGER PRIMARY KEY, invocation INTEGER NOT NULL, function INTEGER NOT NULL, tool INTEGER NOT NULL,
    operation INTEGER NOT NULL, status INTEGER NOT NULL, bucket INTEGER NOT NULL, time_ms INTEGER NOT NULL,
    duration_us INTEGER NOT NULL, attempts INTEGER NOT NULL, source INTEGER NOT NULL, version INTEGER NOT NULL,
    tenant INTEGER NOT NULL, outcome INTEGER NOT NULL, start INTEGER NOT NULL, message TEXT
);
CREATE INDEX call_of_invocation ON call (invocation);
CREATE INDEX call_counted ON call (
    function, tool, operation, status, bucket, time_ms, source, version, tenant, outcome, start
);
CREATE INDEX call_message ON call (message, invocation) WHERE message IS NOT NULL;
CREATE TABLE payload_value (
    hash INTEGER NOT NULL, invocation INTEGER NOT NULL, PRIMARY KEY (hash, invocation)
) WITHOUT ROWID;
CREATE TABLE notified (
    filter TEXT NOT NULL, request INTEGER NOT NULL, span_id TEXT NOT NULL, sent_ms INTEGER NOT NULL,
    PRIMARY KEY (filter, request, span_id)
) WITHOUT ROWID;
CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


def _saved_filters_leave(connection: "sqlite3.Connection") -> None:
    """Format 2: saved filters are the user's, a notification has its time, a call has that of its invocation."""
    connection.execute(
        "UPDATE call SET time_ms = (SELECT time_ms FROM invocation WHERE invocation.id = call.invocation)"
    )
    connection.execute("DROP TABLE saved_filter")
    connection.execute("ALTER TABLE notified RENAME TO notified_1")
    connection.execute(
        "CREATE TABLE notified (filter TEXT NOT NULL, request INTEGER NOT NULL, span_id TEXT NOT NULL,"
        " sent_ms INTEGER NOT NULL, PRIMARY KEY (filter, request, span_id)) WITHOUT ROWID"
    )
    connection.execute("INSERT INTO notified SELECT filter, request, span_id, 0 FROM notified_1")
    connection.execute("DROP TABLE notified_1")


def _payloads_are_found(connection: "sqlite3.Connection") -> None:
    """Format 3: what payloads hold has an index."""
    from coldspan_console.store import adding  # which is made of these tables

    connection.execute(
        "CREATE TABLE payload_value (hash INTEGER NOT NULL, invocation INTEGER NOT NULL,"
        " PRIMARY KEY (hash, invocation)) WITHOUT ROWID"
    )
    adding.index_payloads(connection)


def _filters_are_in_the_indexes(connection: "sqlite3.Connection") -> None:
    """Format 4: what is asked of nearly all invocations, or of the texts of errors, is answered by indexes."""
    made = [statement for statement in TABLES.split(";\n") if statement.startswith("CREATE TABLE call ")]
    connection.execute(made[0].replace("TABLE call", "TABLE call_4"))
    old = "invocation, function, tool, operation, status, bucket, time_ms, duration_us, attempts, message"
    columns = ", ".join(f"call.{name}" for name in old.split(", "))
    of_calls = "source, version, tenant, outcome, start"  # of their invocation
    connection.execute(
        f"INSERT INTO call_4 (id, {old}, {of_calls}) SELECT call.id, {columns}, {of_calls}"
        " FROM call JOIN invocation ON invocation.id = call.invocation"
    )
    connection.execute("DROP TABLE call")
    connection.execute("ALTER TABLE call_4 RENAME TO call")
    connection.execute("DROP INDEX invocation_counted")
    known = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}
    for statement in TABLES.split(";\n"):
        if statement.startswith("CREATE INDEX ") and statement.split()[2] not in known:
            connection.execute(statement)


# version -> what makes it one version newer, inside one transaction
MIGRATIONS: "dict[int, Callable[[sqlite3.Connection], None]]" = {
    1: _saved_filters_leave,
    2: _payloads_are_found,
    3: _filters_are_in_the_indexes,
}


def create(connection: "sqlite3.Connection") -> None:
    """Make the tables in an empty database, inside the caller's transaction."""
    for statement in TABLES.split(";\n"):
        if statement.strip():
            connection.execute(statement)
    connection.execute("INSERT INTO word VALUES (0, '')")
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def migrate(connection: "sqlite3.Connection", version: int) -> None:
    """Bring a store of an older version to this one, inside the caller's transaction."""
    while version < VERSION:
        MIGRATIONS[version](connection)
        version += 1
    connection.execute(f"PRAGMA user_version = {VERSION}")
