"""The store's file: made, migrated, refused, shared by processes, killed, full, damaged."""

import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coldspan_console.output import BAD_INPUT, MISSING, ConsoleError
from coldspan_console.store import Filter, Store, database, schema
from store_lines import invocation, last_words, tool

STORES = Path(__file__).parent / "stores"
WRITER = """
import sys
sys.path[:0] = {path!r}
from store_lines import invocation
from coldspan_console.store import Store
print("began", flush=True)
with Store.open({store!r}) as store:
    for number in range({first}, {last}, {step}):
        numbers = range(number, number + {step})
        store.add([invocation(f"r{{each}}", calls=[("sqs", "SendMessage", "ok")]) for each in numbers])
        print(number + {step}, flush=True)
"""


def writer(store, first=0, last=1_000_000, step=20):
    """A process that adds, and says how far it has come."""
    code = WRITER.format(path=sys.path, store=str(store), first=first, last=last, step=step)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# -- where and what ------------------------------------------------------------------------------------------------


def test_the_default_place_is_beside_the_template(tmp_path, monkeypatch):
    """Every project has its own, and git does not see it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLDSPAN_STORE", raising=False)
    with Store.open() as store:
        store.add([invocation("r1")])
    assert (tmp_path / ".coldspan" / "store.db").exists()
    assert (tmp_path / ".coldspan" / ".gitignore").read_text() == "*\n"
    monkeypatch.setenv("COLDSPAN_STORE", str(tmp_path / "other.db"))
    with Store.open() as store:
        assert store.find() == []


def test_looking_makes_no_store(tmp_path):
    """`coldspan list` in a foreign folder would leave something behind."""
    with Store.open(tmp_path / "a" / "store.db", write=False) as store:
        assert (store.find(), store.exists, store.totals()["count"]) == ([], False, 0)
    assert list(tmp_path.iterdir()) == []


def from_dump(path, name="format-1.sql"):
    """A store as an older version wrote it."""
    made = sqlite3.connect(path)
    made.executescript((STORES / name).read_text())
    made.close()


def test_an_older_store_is_brought_up_to_date_and_kept_aside(tmp_path):
    """What was recorded before an upgrade would be gone, or be half converted."""
    path = tmp_path / "store.db"
    from_dump(path)
    before = path.read_bytes()
    with Store.open(path, write=False) as store:
        assert [summary["request_id"] for summary in store.find(sort="oldest")] == ["r1", "r2"]
        (document,) = store.get("r1")
        assert (document["platform"]["billed_duration_ms"], document["calls"][1]["status"]) == (13, "error")
        assert [line["text"] for line in store.log_lines("r1")] == ["hello"]
        assert store.find(Filter(account="123456789012"))[0]["tenant"] == "a"
        assert store.count(Filter(tool="sqs", since_ms=document["_aws"]["Timestamp"])) == 1
    with Store.open(path) as store:
        assert store.info()["format"] == schema.VERSION
        assert store.add([invocation("r9")]) == 1
    aside = sqlite3.connect(tmp_path / "store.db.format-1")
    assert aside.execute("SELECT count(*) FROM saved_filter").fetchone() == (0,)
    aside.close()
    assert before != path.read_bytes()


def test_payloads_of_an_older_store_are_found(tmp_path):
    """A question about payloads would find only what came after the upgrade."""
    from_dump(tmp_path / "store.db", "format-2.sql")
    with Store.open(tmp_path / "store.db") as store:
        assert [summary["request_id"] for summary in store.find(Filter(payload="order.id=17"))] == ["r1"]
        assert store.count(Filter(payload="order.id=18")) == 0


def test_calls_of_an_older_store_know_of_whom_they_are(tmp_path):
    """What is asked of calls alone would leave out what came before the upgrade."""
    from_dump(tmp_path / "store.db", "format-3.sql")
    with Store.open(tmp_path / "store.db") as store:
        assert [group["tool"] for group in store.calls_by(Filter(version="7", tenant="a", source="pull"))] == [
            "dynamodb",
            "sqs",
        ]
        assert [group["tool"] for group in store.calls_by(Filter(tenant=""))] == ["api"]
        assert [summary["request_id"] for summary in store.find(Filter(text="NO SHELF"))] == ["r2"]
        assert [line["text"] for line in store.log_lines("r1")] == ["hello"]
        assert store.find(Filter(payload="order.id=17"))[0]["billed_ms"] == 13


def test_who_waits_for_a_migration_is_told(tmp_path, monkeypatch, capsys):
    """A million invocations take 20 s, in which nothing would be seen."""
    monkeypatch.setattr(database, "LARGE_BYTES", 0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    from_dump(tmp_path / "store.db", "format-3.sql")
    for _ in range(2):
        with Store.open(tmp_path / "store.db") as store:
            assert store.count() == 2
    assert capsys.readouterr().err.count(f"to format {schema.VERSION}") == 1


def test_a_migrated_store_is_as_a_new_one(tmp_path):
    """The next version's steps would meet two sorts of stores."""
    with Store.open(tmp_path / "new.db") as store:
        wanted = _tables(store)
    for number in range(1, schema.VERSION):
        from_dump(tmp_path / f"{number}.db", f"format-{number}.sql")
        with Store.open(tmp_path / f"{number}.db") as store:
            assert _tables(store) == wanted


def _tables(store):
    rows = store.connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    return {name: " ".join(sql.replace("(", " ( ").replace(")", " ) ").replace('"', "").split()) for name, sql in rows}


def test_a_migration_that_fails_changes_nothing(tmp_path, monkeypatch):
    """Half a migration is a store that no version understands."""
    path = tmp_path / "store.db"
    from_dump(path)

    def fail(connection):
        connection.execute("DROP TABLE notified")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setitem(schema.MIGRATIONS, 1, fail)
    with pytest.raises(ConsoleError, match="disk is full"):
        Store.open(path)
    monkeypatch.undo()
    with Store.open(path) as store:
        assert store.count() == 2


def test_two_that_migrate_at_once_migrate_once(tmp_path):
    """The second would run the steps of the first again."""
    path = tmp_path / "store.db"
    from_dump(path)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: _count(path), range(8))) == {2}


def _count(path):
    with Store.open(path) as store:
        return store.count()


def newer(path):
    with Store.open(path):
        pass
    _execute(path, "PRAGMA user_version = 99")


def another_program(path):
    _execute(path, "CREATE TABLE mine (x)")


def text(path):
    path.write_text("no database at all\n" * 100)


def damaged(path):
    with Store.open(path) as store:
        store.add([invocation(f"r{number}") for number in range(400)])
    data = bytearray(path.read_bytes())
    data[4096 * 3 :] = b"\xa5" * (len(data) - 4096 * 3)
    path.write_bytes(data)


def folder(path):
    path.mkdir()


def _use(path, write):
    with Store.open(path, write=write) as store:
        store.find()
        store.add([invocation("new")])


def _execute(path, statement):
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("make", "words"),
    [(newer, "of format 99"), (another_program, "another program"), (text, "no store"), (damaged, "damaged"),
     (folder, "a folder")],
)  # fmt: skip
def test_what_is_no_store_of_ours_is_refused_and_left_as_it_is(tmp_path, make, words):
    """A file of somebody else's would be written over, or a traceback shown."""
    path = tmp_path / "store.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for write in (True, False):
        with pytest.raises(ConsoleError, match=words) as told:
            _use(path, write)
        assert told.value.exit_code in (BAD_INPUT, MISSING)
        assert told.value.where
        assert told.value.todo
    if before is not None:
        assert path.read_bytes() == before


WITHOUT_RIGHTS = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root then needs permission as anybody does
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_store_that_may_not_be_written_is_read_and_refuses_to_add(tmp_path, what):
    """A store on a read-only share would be of no use, or a command would end in a traceback."""
    place = tmp_path / "share"
    with Store.open(place / "store.db") as store:
        store.add([invocation("r1")])
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (place / "store.db").chmod(0o444)
    place.chmod(0o555 if what == "folder" else 0o755)
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from coldspan_console.store import Store\nfrom coldspan_console.output import ConsoleError\n"
        "from store_lines import invocation\n"
        "with Store.open('store.db', write=False) as store: print(store.count())\n"
        "try:\n    with Store.open('store.db') as store: store.add([invocation('r2')])\n"
        "except ConsoleError as error: print(error.exit_code, error.message)\n"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_RIGHTS, code],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        place.chmod(0o755)
    assert done.stdout.splitlines()[0] == "1", done.stderr
    assert done.stdout.splitlines()[1].startswith(f"{MISSING} the store may not be written"), done.stdout


def test_a_full_disk_is_said_and_loses_nothing(tmp_path):
    """The store would be damaged, or what was there before would be gone."""
    with Store.open(tmp_path / "store.db") as store:
        store.add([invocation(f"a{number}") for number in range(50)])
        (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
        store.connection.execute(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(ConsoleError, match="disk is full") as told:
            store.add([invocation(f"b{number}") for number in range(2_000)])
        assert told.value.exit_code == MISSING
        assert store.count() == 50
        store.connection.execute("PRAGMA max_page_count = 1000000")
        assert store.add([invocation(f"b{number}") for number in range(2_000)]) == 2_000
        assert store.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_may_not_grow_is_said(tmp_path):
    """A quota is no full disk to SQLite, but it is to the user."""
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "from coldspan_console.store import Store\nfrom coldspan_console.output import ConsoleError\n"
        "from store_lines import invocation\n"
        "try:\n    with Store.open('store.db') as store:\n"
        "        for kept in range(0, 100_000, 100):\n"
        "            store.add([invocation(f'r{number}') for number in range(kept, kept + 100)])\n"
        "except ConsoleError as error: print(kept, error.message)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    kept, _, said = done.stdout.partition(" ")
    assert "disk is full" in said, done.stderr
    assert _count(tmp_path / "store.db") >= int(kept)


# -- several at once -----------------------------------------------------------------------------------------------


def test_two_processes_write_and_one_reads(tmp_path):
    """Two consoles at once: "database is locked" in a user's face."""
    path = tmp_path / "store.db"
    writers = [writer(path, first, first + 600) for first in (0, 10_000, 20_000)]
    seen = []
    with Store.open(path) as store:
        while any(each.poll() is None for each in writers):
            seen.append(store.count())
            assert min(5, seen[-1]) <= len(list(store.documents(limit=5))) <= 5
        said = [each.communicate() for each in writers]
        assert [error for _, error in said] == [""] * 3
        assert store.count() == 1_800
    assert seen == sorted(seen)


def test_two_that_make_the_same_store_at_once_make_one(tmp_path):
    """The second would find half a store."""
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda number: _count(tmp_path / "a" / "store.db"), range(16))) == {0}


def test_threads_may_share_a_store(tmp_path):
    """Several environments of a fleet tell at once."""
    with Store.open(tmp_path / "store.db") as store, ThreadPoolExecutor(8) as pool:
        done = pool.map(lambda number: store.add([invocation(f"r{number}")]) + len(store.find()) * 0, range(200))
        assert sum(done) == 200
        assert store.count() == 200


def test_the_same_document_of_two_consoles_is_one(tmp_path):
    """A run and a pull at the same time would count twice."""
    path = tmp_path / "store.db"
    lines = [invocation(f"r{number}") for number in range(300)]

    def add(_):
        with Store.open(path) as store:
            return sum(store.add(lines[first : first + 30]) for first in range(0, 300, 30))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(add, range(4))) == 300
    assert _count(path) == 300


def test_somebody_who_keeps_the_store_to_himself_is_named_as_the_cause(tmp_path, monkeypatch):
    """After a minute's wait the words of SQLite would say nothing to a user."""
    monkeypatch.setattr(database, "WAIT_S", 0.05)
    with Store.open(tmp_path / "store.db") as other, Store.open(tmp_path / "store.db") as store:
        with database.writing(other.connection), pytest.raises(ConsoleError, match="another process") as told:
            store.add([invocation("r1")])
        assert told.value.exit_code == MISSING
        assert store.add([invocation("r1")]) == 1


@pytest.mark.parametrize("after", [1, 3, 9])
def test_a_kill_in_the_middle_loses_nothing_that_was_kept(tmp_path, after):
    """A store that does not open, or lacks what a run had said it kept."""
    path = tmp_path / "store.db"
    process = writer(path)
    said = [process.stdout.readline() for _ in range(after + 1)]
    process.send_signal(signal.SIGKILL)
    said += process.stdout.readlines()
    process.communicate()
    with Store.open(path) as store:
        assert store.connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        count = store.count()
        assert count >= int(said[-1])
        assert count % 20 == 0
        documents = list(store.documents())
        assert len(documents) == count
        assert all(len(document["calls"]) == 1 for document in documents)


# -- less ----------------------------------------------------------------------------------------------------------


def test_pruning_leaves_the_latest_and_nothing_of_the_others(tmp_path):
    """A store would only ever grow."""
    with Store.open(tmp_path / "store.db") as store:
        for number in range(10):
            store.add(
                [invocation(f"r{number}", at_ms=2_000_000_000_000 + number, calls=[("sqs", "SendMessage", "ok")])]
            )
            store.logs(f"r{number}", ["a line"])
        store.add([last_words("r98"), tool("r99", "api", "GET")])
        assert store.prune(keep=3) == 8
        assert {summary["request_id"] for summary in store.find()} == {"r7", "r8", "r9"} ^ ({"r98"} & _ids(store))
        assert (store.get("r0"), store.log_lines("r0"), store.lines("r0")) == ([], [], [])
        assert store.lines("r99")  # its record may still come
        assert store.prune(since_ms=2_000_000_000_009) == 2
        assert [summary["request_id"] for summary in store.find()] == ["r9"]
        assert store.info()["calls"] == 1
        assert store.add([invocation("r0", at_ms=2_000_000_000_000)]) == 1


def _ids(store):
    return {summary["request_id"] for summary in store.find()}


def test_changes_do_not_come_again_after_pruning(tmp_path):
    """Who follows live would miss what comes next."""
    with Store.open(tmp_path / "store.db") as store:
        store.add([invocation("r1"), invocation("r2")])
        seen = store.changes()
        store.prune(keep=0)
        store.add([invocation("r3")])
        assert [summary["request_id"] for summary in store.find(Filter(changed_after=seen))] == ["r3"]


def test_reading_while_another_thread_prunes_is_no_error(tmp_path):
    """A report that is open would end."""
    with Store.open(tmp_path / "store.db") as store, Store.open(tmp_path / "store.db", write=False) as reader:
        store.add([invocation(f"r{number}") for number in range(2_000)])
        iterating = iter(reader.documents())
        next(iterating)
        pruned = threading.Thread(target=store.prune, args=(10,))
        pruned.start()
        left = sum(1 for _ in iterating)
        pruned.join()
        assert left <= 1_999
        assert reader.count() == 10
