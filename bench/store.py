"""Measures the local store, and beside it the same tables in DuckDB: `python bench/store.py --help`.

What a console asks of a million invocations: that they go in, are listed, filtered and counted, by two processes at
once, and that a kill loses nothing that was committed. The figures are in docs/decisions/0008-the-store.md.
"""

import argparse
import csv
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path
from shutil import rmtree

# `bench` is a package: its own folder, first on the path of a script, would shadow the library's modules
ROOT = Path(__file__).resolve().parent.parent
sys.path[0] = str(ROOT)
sys.path.append(str(ROOT / "console"))

from bench.machine import processor  # noqa: E402
from coldspan_console.store import Filter, Store, database, schema  # noqa: E402

DUCKDB = ROOT / "build" / "bench" / "duckdb"
FOLDER = ROOT / "build" / "bench" / "store"
FIRST_MS = 1_795_000_000_000
TOOLS = [("dynamodb", "PutItem"), ("dynamodb", "GetItem"), ("sqs", "SendMessage"), ("s3", "GetObject"),
         ("api.example.com", "GET"), ("api.example.com", "POST"), ("lambda", "Invoke")]  # fmt: skip
STATUSES = ["ok"] * 95 + ["throttled", "timeout", "error", "error", "partial"]
OUTCOMES = ["ok"] * 96 + ["error", "error", "timeout", "crash"]


def documents(count, first=0):
    """Invocations with two calls each, as the recorder prints them: the same each time."""
    chance = random.Random(first)  # noqa: S311  # a benchmark's
    for number in range(first, first + count):
        span, at_ms = f"{number:016x}", FIRST_MS + number * 50
        outcome = chance.choice(OUTCOMES)
        calls = [_call(chance, span, at_ms) for _ in range(2)]
        yield {
            "_aws": {"Timestamp": at_ms, "CloudWatchMetrics": [{"Namespace": "coldspan", "Dimensions": [["function_name"]],
                     "Metrics": [{"Name": "Duration", "Unit": "Milliseconds"}, {"Name": "Calls", "Unit": "Count"}]}]},
            "function_name": f"function-{number % 8}", "Duration": round(chance.lognormvariate(3, 1), 3), "CallTime": 9.5,
            "Overhead": 150 + number % 100, "ColdStart": 0, "Error": int(outcome != "ok"), "Timeout": 0, "Calls": 2,
            "CallFailures": sum(not call["success"] for call in calls), "CallRetries": 0,
            "start": "warm" if number % 40 else "cold", "outcome": outcome, "flush": "after_response",
            "request_id": f"{number:08x}-7a1b-4c2d-9e3f-{number * 7919 % 16**12:012x}", "span_id": span, "handler_ms": 9.0,
            "cpu_ms": 3.1, "calls_open": 0, "function_version": "$LATEST", "memory_mb": 512, "calls": calls,
        }  # fmt: skip


def _call(chance, parent, at_ms):
    tool, operation = chance.choice(TOOLS)
    status = chance.choice(STATUSES)
    return {
        "tool": tool, "operation": operation, "status": status, "success": status == "ok",
        "message": "" if status == "ok" else f"{status.title()}Exception: number {chance.randrange(20)}",
        "duration_ms": round(chance.lognormvariate(2, 1), 3), "timestamp": at_ms - 5, "trace_id": "",
        "span_id": f"{chance.getrandbits(64):016x}", "parent_id": parent, "attempts": 1, "items": None, "items_failed": None,
        "phases": {"connect": 1.25, "wait": 5.5}, "attributes": {"http.response.status_code": 200},
    }  # fmt: skip


def main():
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="invocations, with two calls each")
    parser.add_argument("--duckdb", action="store_true", help="the same tables in DuckDB, installed into build/bench")
    parser.add_argument("--keep", action="store_true", help="use the store that an earlier run has made")
    chosen = parser.parse_args()
    print(
        f"{processor()}, {len(os.sched_getaffinity(0))} cores, Python {sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}"
    )
    print(f"python bench/store.py {' '.join(sys.argv[1:])}")
    path = FOLDER / f"{chosen.rows}.db"
    if not (chosen.keep and path.exists()):
        rmtree(FOLDER, ignore_errors=True)
        fill(path, chosen.rows)
    size(path, chosen.rows)
    ask(path)
    at_once(path)
    killed()
    imported("sqlite3")
    if chosen.duckdb:
        beside(path)


def fill(path, rows):
    """How long it takes to add them, and that adding them again adds nothing."""
    with Store.open(path) as store:
        began = time.monotonic()
        assert store.add(documents(rows)) == rows
        took = time.monotonic() - began
        print(f"add {rows:,}: {took:.0f} s, {rows / took:,.0f} invocations/s, joined and compressed")
        some = min(rows, 20_000)
        began = time.monotonic()
        assert store.add(documents(some)).known == some
        print(f"add {some:,} of them again: {some / (time.monotonic() - began):,.0f} invocations/s")


def size(path, rows):
    """Bytes on disk, by table and index."""
    with Store.open(path) as store:
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        print(f"size: {path.stat().st_size / 1e6:,.0f} MB, {path.stat().st_size / rows:,.0f} bytes an invocation")
        parts = store.connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC LIMIT 9")
        print("  " + ", ".join(f"{name} {size / rows:.0f}" for name, size in parts))


QUESTIONS = {
    "list the latest 20": lambda store: store.find(limit=20),
    "list the latest 20 timeouts of a function": lambda store: store.find(
        Filter(function="function-3", outcome="timeout"), limit=20
    ),
    "list the slowest 20": lambda store: store.find(limit=20, sort="slowest"),
    "list 20 by a text in an error": lambda store: store.find(Filter(text="number 7"), limit=20),
    "list 20 with a throttled call": lambda store: store.find(Filter(tool="sqs", status="throttled"), limit=20),
    "find one by its request id": lambda store: store.find(Filter(request_id="00000fff"), limit=2),
    "its document": lambda store: store.get(store.find(Filter(request_id="00000fff"), limit=1)[0]["request_id"]),
    "totals": lambda store: store.totals(),
    "totals of a function, slower than 50 ms": lambda store: store.totals(Filter(function="function-3", slower_ms=50)),
    "percentiles by function": lambda store: store.invocations_by(),
    "counts by outcome": lambda store: store.invocations_by(by=("outcome",)),
    "calls by tool and operation": lambda store: store.calls_by(),
    "calls by tool, operation, status, last half": lambda store: store.calls_by(
        Filter(since_ms=FIRST_MS + store.count() * 25), ("tool", "operation", "status")
    ),
    "service map": lambda store: store.edges(),
    "errors by tool, operation, message": lambda store: store.errors(),
    "timeline of 100 buckets": lambda store: store.timeline(width_ms=store.count() // 2),
    "overhead": lambda store: store.overhead(),
    "documents of 10,000": lambda store: sum(1 for _ in store.documents(limit=10_000)),
}


def ask(path):
    """Each question, the median of three, of an open store."""
    with Store.open(path, write=False) as store:
        for name, question in QUESTIONS.items():
            print(f"  {name:45} {_median(lambda: question(store)) * 1_000:8,.0f} ms")  # noqa: B023  # called at once


def _median(question, times=3):
    took = []
    for _ in range(times):
        began = time.monotonic()
        question()
        took.append(time.monotonic() - began)
    return statistics.median(took)


WRITER = """
import sys; sys.path[:0] = [{root!r}, {console!r}]
from bench.store import documents
from coldspan_console.store import Store
with Store.open({path!r}) as store:
    for first in range(10**8, 10**9, 50):
        store.add(documents(50, first)); print(first + 50, flush=True)
"""


def _writer(path):
    code = WRITER.format(root=str(ROOT), console=str(ROOT / "console"), path=str(path))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def at_once(path):
    """One process writes while this one reads: how long a question takes meanwhile."""
    with Store.open(path, write=False) as store:
        alone = _median(lambda: store.find(limit=20), 20)
        writer = _writer(path)
        writer.stdout.readline()
        before = store.changes()
        beside = _median(lambda: store.find(limit=20), 200)
        seen = store.changes() - before
        writer.kill()
        writer.wait()
    print(
        f"another process adds: listing takes {beside * 1e3:.1f} ms instead of {alone * 1e3:.1f}; {seen:,} came meanwhile"
    )
    assert seen


def killed(times=20):
    """Kill a writer in the middle, again and again: the store opens and has whatever had been said to be there."""
    path = FOLDER / "killed.db"
    lost = 0
    for _ in range(times):
        path.unlink(missing_ok=True)
        writer = _writer(path)
        said = [writer.stdout.readline() for _ in range(random.randrange(1, 12))]  # noqa: S311  # a moment
        os.kill(writer.pid, signal.SIGKILL)
        said += writer.stdout.readlines()
        writer.wait()
        with Store.open(path) as store:
            lost += store.count() < int(said[-1]) - 10**8
            assert store.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    print(f"killed {times} times while adding: {lost} stores lack what had been committed")
    assert not lost


def imported(name, path=""):
    """What loading the library costs, beyond the interpreter."""
    code = f"import sys, time; sys.path.insert(0, {path!r}); began = time.perf_counter(); import {name}; print(time.perf_counter() - began)"
    took = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(7)]
    print(f"import {name}: {statistics.median(took) * 1e3:.0f} ms")


# -- DuckDB ------------------------------------------------------------------------------------------------------

DUCK_QUESTIONS = {
    "list the latest 20": "SELECT * FROM invocation ORDER BY time_ms DESC LIMIT 20",
    "list the latest 20 timeouts of a function": "SELECT * FROM invocation WHERE function = 3 AND outcome = 9 ORDER BY time_ms DESC LIMIT 20",
    "list the slowest 20": "SELECT * FROM invocation ORDER BY duration_us DESC LIMIT 20",
    "list 20 by a text in an error": "SELECT * FROM invocation WHERE id IN (SELECT invocation FROM call WHERE message ILIKE '%number 7%') ORDER BY time_ms DESC LIMIT 20",
    "find one by its request id": "SELECT * FROM invocation JOIN request ON request.id = request WHERE request_id LIKE '00000fff%'",
    "percentiles by function": "SELECT function, count(*), quantile_cont(duration_us, [0.5, 0.9, 0.95, 0.99]) FROM invocation GROUP BY 1",
    "counts by outcome": "SELECT outcome, count(*) FROM invocation GROUP BY 1",
    "calls by tool and operation": "SELECT tool, operation, status, count(*), quantile_cont(duration_us, [0.5, 0.95]) FROM call GROUP BY 1, 2, 3",
    "service map": "SELECT function, tool, count(*), quantile_cont(duration_us, [0.5, 0.95]) FROM call GROUP BY 1, 2",
    "errors by tool, operation, message": "SELECT tool, operation, message, count(*) FROM call WHERE message IS NOT NULL GROUP BY ALL",
}  # fmt: skip


def beside(path):
    """The same tables, filled from the store's own, and asked the same."""
    if not DUCKDB.exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", str(DUCKDB), "duckdb"], check=True)
    sys.path.insert(0, str(DUCKDB))
    import duckdb

    print(
        f"DuckDB {duckdb.__version__}, {sum(each.stat().st_size for each in DUCKDB.rglob('*') if each.is_file()) / 1e6:.0f} MB installed"
    )
    imported("duckdb", str(DUCKDB))
    place = FOLDER / "duck.db"
    place.unlink(missing_ok=True)
    duck = duckdb.connect(str(place))
    source = database.open_to_read(path)[0]
    for statement in schema.TABLES.split(";\n"):
        if statement.strip().startswith("CREATE TABLE"):
            duck.execute(statement.replace(") WITHOUT ROWID", ")").replace("INTEGER", "BIGINT"))
    began = time.monotonic()
    for table in ("word", "request", "invocation", "call", "document"):
        _copy(source, duck, table)
    duck.execute("CHECKPOINT")
    print(
        f"filled from CSV, which is its fastest way: {time.monotonic() - began:.0f} s; size {place.stat().st_size / 1e6:,.0f} MB"
    )
    for name, query in DUCK_QUESTIONS.items():
        print(f"  {name:45} {_median(lambda: duck.execute(query).fetchall()) * 1_000:8,.0f} ms")  # noqa: B023  # at once
    row = source.execute("SELECT * FROM invocation LIMIT 1").fetchone()
    marks = ",".join("?" * len(row))
    began = time.monotonic()
    for number in range(40):
        duck.begin()
        for each in range(50):
            duck.execute(f"INSERT INTO invocation VALUES ({marks})", [10**9 + number * 50 + each, *row[1:]])  # noqa: S608
        duck.commit()
    print(f"add 2,000 rows, 50 in a transaction, as a run does: {2_000 / (time.monotonic() - began):,.0f} rows/s")
    code = f"import sys; sys.path.insert(0, {str(DUCKDB)!r}); import duckdb; duckdb.connect({str(place)!r}, read_only=True)"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    print("a second process, to read: " + (second.stderr.strip().splitlines() or ["works"])[-1][:160])


def _copy(source, duck, table):
    rows = source.execute(f"SELECT * FROM {table}")  # noqa: S608  # names of this file's
    names = [each[0] for each in rows.description]
    file = FOLDER / f"{table}.csv"
    with file.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(names)
        writer.writerows([_cell(each) for each in row] for row in rows)
    chosen = ", ".join("from_base64(body)" if name == "body" else name for name in names)
    duck.execute(
        f"INSERT INTO {table} SELECT {chosen} FROM read_csv('{file}', header = true, all_varchar = true, nullstr = '-')"
    )  # noqa: S608
    file.unlink()


def _cell(value):
    return b64encode(value).decode() if type(value) is bytes else "-" if value is None else value


if __name__ == "__main__":
    main()
