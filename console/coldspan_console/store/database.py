"""The store's file: where it is, how it is opened, and what is said when it cannot be."""

import contextlib
import os
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from coldspan_console.output import MISSING, ConsoleError
from coldspan_console.store import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLACE = Path(".coldspan") / "store.db"
WAIT_S = 60  # for another console's writing, which takes its turn every few thousand lines
LARGE_BYTES = 50_000_000  # of a store whose migration is waited for
_CACHE_KB = 64_000


def default_path() -> Path:
    """`$COLDSPAN_STORE`, else the nearest `.coldspan/store.db` here or above; where there is none, in this folder."""
    named = os.environ.get("COLDSPAN_STORE")
    if named:
        return Path(named)
    here = Path.cwd()
    return next(
        (folder / PLACE for folder in here.parents if (folder / PLACE).is_file() and not PLACE.is_file()), PLACE
    )


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open a store, made or migrated where need be. Errors: ConsoleError with what to do."""
    with told_clearly(path):
        if path.is_dir():
            raise ConsoleError("this is a folder, no store", where=str(path), todo="name a file in it")
        _make_folder(path)
        connection = _connect(str(path))
        try:
            _ensure(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def _make_folder(path: Path) -> None:
    """Make the store's folder where there is none; Git does not see the one that is made by default."""
    if path.parent.is_dir():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent.name == PLACE.parent.name:
            (path.parent / ".gitignore").write_text("*\n")
    except OSError as error:
        raise ConsoleError(
            f"the store may not be made here: {error.strerror}", where=str(path), todo=_ELSEWHERE, exit_code=MISSING
        ) from error


def open_to_read(path: Path) -> "tuple[sqlite3.Connection, bool]":
    """Open a store for reading; (connection, whether there is one): an empty one in memory stands in for none.

    A store in a folder that may not be written to is read as it lies there. Errors: ConsoleError.
    """
    if not path.exists():
        connection = _connect(":memory:")
        schema.create(connection)
        return connection, False
    with told_clearly(path):
        try:
            connection = open_to_write(path)
        except ConsoleError as error:
            if "may not be written" not in error.message:
                raise
            waiting = path.with_name(path.name + "-wal")
            if waiting.exists() and waiting.stat().st_size:
                raise
            connection = _connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
            if _checked_version(connection, path) != schema.VERSION:
                connection.close()
                raise
        connection.execute("PRAGMA query_only = ON")
        return connection, True


@contextlib.contextmanager
def told_clearly(path: Path) -> "Iterator[None]":
    """What SQLite says against it, as a ConsoleError. What was not committed is as if it had never been done."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        for words, what, todo, code in _WORDS:
            if words in text:
                raise ConsoleError(what, where=str(path), todo=todo, exit_code=code) from error
        raise ConsoleError(f"the store cannot be used: {text}", where=str(path), todo=_ELSEWHERE) from error


_ELSEWHERE = "name another file by --store or COLDSPAN_STORE"
_DAMAGED = "move the file away and start a new store; `sqlite3 FILE .recover` may save what is in it"
_WORDS = (
    ("not a database", "this file is no store of coldspan", _ELSEWHERE, 3),
    ("malformed", "the store is damaged", _DAMAGED, 3),
    ("disk is full", "the disk is full: nothing of this was kept", "make room, or " + _ELSEWHERE, MISSING),
    ("disk I/O", "the store cannot be read or written: the disk is full or at fault", _ELSEWHERE, MISSING),
    ("readonly", "the store may not be written here", "change the permissions, or " + _ELSEWHERE, MISSING),
    ("unable to open", "the store may not be written or made here", _ELSEWHERE, MISSING),
    ("locked", f"another process has kept the store to itself for {WAIT_S} s", "end it, or try again", MISSING),
    ("busy", f"another process has kept the store to itself for {WAIT_S} s", "end it, or try again", MISSING),
)


def writing(connection: sqlite3.Connection) -> "contextlib.AbstractContextManager[None]":
    """A transaction that writes: committed as a whole at the block's end, or not at all."""
    return _transaction(connection, "BEGIN IMMEDIATE")


def reading(connection: sqlite3.Connection) -> "contextlib.AbstractContextManager[None]":
    """A transaction that sees the store as it is at its first query, whatever others write meanwhile."""
    return _transaction(connection, "BEGIN")


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection, begin: str) -> "Iterator[None]":
    if connection.in_transaction:  # inside another one
        yield
        return
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


def _connect(name: str, *, uri: bool = False) -> sqlite3.Connection:
    # threads take turns by the store's own lock
    connection = sqlite3.connect(name, timeout=WAIT_S, isolation_level=None, check_same_thread=False, uri=uri)
    try:
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")  # reads the file, which may be none
        connection.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        connection.close()
        raise
    return connection


def _ensure(connection: sqlite3.Connection, path: Path) -> None:
    """Make what is empty a store, and bring an older one up to date."""
    version = _checked_version(connection, path)
    _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
    # what is committed outlives a kill; the last of it may not outlive a power cut, and what was run can run again
    connection.execute("PRAGMA synchronous = NORMAL")
    if version == schema.VERSION:
        return
    with writing(connection):
        version = _checked_version(connection, path)  # another console may have been quicker
        if version == 0:
            schema.create(connection)
        elif version < schema.VERSION:
            if path.stat().st_size > LARGE_BYTES and sys.stderr.isatty():  # as with all progress: where somebody looks
                print(f"bringing {path} to format {schema.VERSION}: seconds, once", file=sys.stderr)
            _back_up(path, version)
            schema.migrate(connection, version)


def _checked_version(connection: sqlite3.Connection, path: Path) -> int:
    """The format's version, 0 for an empty file. Errors: ConsoleError for another's database, and for a newer store."""
    with reading(connection):  # another console may be making it
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    if not tables and not application:
        return 0
    if application != schema.APPLICATION:
        raise ConsoleError("this file is another program's database", where=str(path), todo=_ELSEWHERE)
    if version > schema.VERSION:
        raise ConsoleError(
            f"the store is of format {version}, and this coldspan knows formats up to {schema.VERSION}",
            where=str(path), todo="use the coldspan that wrote it or a newer one, or " + _ELSEWHERE,
        )  # fmt: skip
    return version


def _back_up(path: Path, version: int) -> None:
    """Keep the older store beside the new one: nothing reads it, it is for the way back. One console at a time does."""
    aside = path.with_name(f"{path.name}.format-{version}")
    made = path.with_name(f"{aside.name}.new")
    made.unlink(missing_ok=True)  # of a console that was killed meanwhile
    # a connection that writes cannot be copied from; another one sees what was committed before
    with contextlib.closing(_connect(str(path))) as source, contextlib.closing(sqlite3.connect(made)) as target:
        source.backup(target)
    made.replace(aside)


def _patiently(step: "Callable[[], object]") -> None:
    """Do what SQLite refuses while another process does the same, instead of waiting as it does elsewhere."""
    until_ns = time.monotonic_ns() + WAIT_S * 1_000_000_000
    pause = threading.Event()
    while True:
        try:
            step()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic_ns() > until_ns:
                raise
            pause.wait(0.01)
        else:
            return
