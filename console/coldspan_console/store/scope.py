"""A store that shows one tenant only: enforced by SQLite, not by every query's good will."""

import sqlite3

# What a view of the same name shows instead of the table. Names without a schema mean the view from then on.
_OF_TENANT = "SELECT * FROM main.invocation WHERE tenant = {tenant}"
_REQUESTS = "(SELECT request FROM main.invocation WHERE tenant = {tenant})"
_VIEWS = {
    "invocation": _OF_TENANT,
    "call": "SELECT * FROM main.call WHERE tenant = {tenant}",
    "payload_value": (
        "SELECT * FROM main.payload_value WHERE invocation IN (SELECT id FROM main.invocation WHERE tenant = {tenant})"
    ),
    "request": f"SELECT * FROM main.request WHERE id IN {_REQUESTS}",
    "document": f"SELECT * FROM main.document WHERE request IN {_REQUESTS}",
    "log": f"SELECT * FROM main.log WHERE request IN {_REQUESTS}",
}
# words are looked up by number, and a number that is not seen gives nothing away; the counter says that there was
# something; json_each() is a list that the query itself brings
_FREE = frozenset(("word", "counter", "json_each"))
_READS = frozenset(
    (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_TRANSACTION, sqlite3.SQLITE_RECURSIVE)
)


def restrict(connection: sqlite3.Connection, tenant: str) -> None:
    """Let this connection see one tenant's invocations and what belongs to them, and change nothing.

    Views stand before the tables, and an authorizer refuses whatever reads a table past its view.
    """
    connection.execute("PRAGMA query_only = OFF")  # the views are temporary, and writes all the same
    found = connection.execute("SELECT id FROM word WHERE text = ? AND text != ''", (tenant,)).fetchone()
    number = found[0] if found is not None else -1
    for name, query in _VIEWS.items():
        connection.execute(f"CREATE TEMP VIEW {name} AS {query.format(tenant=number)}")
    connection.execute("PRAGMA query_only = ON")
    connection.set_authorizer(_allow)


def _allow(action: int, table: "str | None", _column: "str | None", schema: "str | None", view: "str | None") -> int:
    if action in _READS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_READ and (schema == "temp" or table in _FREE or view in _VIEWS):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY
