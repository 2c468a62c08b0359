"""What many invocations have in common: counts, percentiles, calls by tool, errors, time buckets, the service map.

Counts come from indexes that hold a duration's bucket (histogram.py), so a million invocations take no second. Of few
invocations percentiles are exact, of many within 1 %.
"""

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from coldspan_console.output import WRONG_USE, ConsoleError
from coldspan_console.store.filter import FAILED_OUTCOMES, Filter
from coldspan_console.store.finding import meant, text_of_word
from coldspan_console.store.histogram import exact_percentiles, middle_us, percentiles
from coldspan_console.store.joining import FAILED_CALL
from coldspan_console.store.rows import OF_CALLS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

EXACTLY = 20_000  # up to so many invocations or calls, durations are read one by one
PERCENTS = (50, 90, 95, 99)
GROUPS = ("function", "outcome", "start", "version", "source", "account", "region", "tenant", "trigger", "error_type")


def invocations_by(
    connection: "sqlite3.Connection", wanted: Filter, by: "tuple[str, ...]" = ("function",)
) -> "list[dict[str, Any]]":
    """Counts and percentiles of invocations by one or more columns (GROUPS), the largest group first.

    A group has: the columns, count, failed, cold, outcomes and starts (text -> count), p50_ms, p90_ms, p95_ms, p99_ms,
    max_ms, exact (else within 1 %).
    """
    for name in by:
        if name not in GROUPS:
            raise ConsoleError(f"no group is called {name!r}", todo=f"one of {', '.join(GROUPS)}", exit_code=WRONG_USE)
    exact, condition, values = _exactly(connection, wanted, "invocation")
    value = "duration_us" if exact else "bucket"
    # in the order of the index, which then hands the groups out as it is read
    columns = [*by, *(name for name in ("function", "outcome", "start") if name not in by), value]
    columns.sort(key=lambda name: ("function", "outcome", "start", value).index(name) if name in _COUNTED else -1)
    rows = connection.execute(
        f"SELECT {', '.join((*columns, 'count(*)'))} FROM invocation WHERE {condition} GROUP BY {', '.join(columns)}",
        values,
    )
    groups: dict[tuple[int, ...], _Group] = defaultdict(_Group)
    at = {name: columns.index(name) for name in columns}
    for row in rows:
        group = groups[tuple(row[at[name]] for name in by)]
        group.durations[row[at[value]]] += row[-1]
        group.outcomes[row[at["outcome"]]] += row[-1]
        group.starts[row[at["start"]]] += row[-1]
    texts: dict[int, str] = {}
    given = []
    for key, group in groups.items():
        outcomes = _named(connection, group.outcomes, texts)
        starts = _named(connection, group.starts, texts)
        given.append({
            **{name: text_of_word(connection, number, texts) for name, number in zip(by, key, strict=True)},
            "count": sum(outcomes.values()),
            "failed": sum(outcomes.get(name, 0) for name in FAILED_OUTCOMES),
            "cold": sum(count for name, count in starts.items() if name != "warm"),
            "outcomes": outcomes,
            "starts": starts,
            **_times(group.durations, exact=exact),
        })  # fmt: skip
    return sorted(given, key=lambda group: (-group["count"], [group[name] for name in by]))


_COUNTED = ("function", "outcome", "start", "bucket", "duration_us")


class _Group:
    def __init__(self) -> None:
        self.durations: Counter[int] = Counter()
        self.outcomes: Counter[int] = Counter()
        self.starts: Counter[int] = Counter()


def totals(connection: "sqlite3.Connection", wanted: Filter) -> "dict[str, Any]":
    """All that are meant as one group, without its columns; see invocations_by()."""
    exact, condition, values = _exactly(connection, wanted, "invocation")
    value = "duration_us" if exact else "bucket"
    rows = connection.execute(
        f"SELECT function, outcome, start, {value}, count(*), min(time_ms), max(time_ms) FROM invocation"
        f" WHERE {condition} GROUP BY function, outcome, start, {value}", values,
    ).fetchall()  # fmt: skip
    whole = _Group()
    for _, outcome, start, duration, count, _, _ in rows:
        whole.durations[duration] += count
        whole.outcomes[outcome] += count
        whole.starts[start] += count
    texts: dict[int, str] = {}
    outcomes, starts = _named(connection, whole.outcomes, texts), _named(connection, whole.starts, texts)
    return {
        "count": sum(outcomes.values()),
        "failed": sum(outcomes.get(name, 0) for name in FAILED_OUTCOMES),
        "cold": sum(count for name, count in starts.items() if name != "warm"),
        "outcomes": outcomes,
        "starts": starts,
        "functions": len({row[0] for row in rows}),
        "first_ms": min((row[5] for row in rows), default=None),
        "last_ms": max((row[6] for row in rows), default=None),
        **_times(whole.durations, exact=exact),
    }


def calls_by(
    connection: "sqlite3.Connection", wanted: Filter, by: "tuple[str, ...]" = ("tool", "operation")
) -> "list[dict[str, Any]]":
    """Counts and percentiles of calls by function, tool, operation or status, the largest group first.

    A group has: the columns, count, failed, statuses (text -> count), p50_ms, p90_ms, p95_ms, p99_ms, max_ms, exact.
    ("function", "tool") are the edges of the service map.
    """
    known = ("function", "tool", "operation", "status")
    for name in by:
        if name not in known:
            raise ConsoleError(f"no group is called {name!r}", todo=f"one of {', '.join(known)}", exit_code=WRONG_USE)
    exact, condition, values = _exactly(connection, wanted, "call")
    value = "duration_us" if exact else "bucket"
    columns = [*known, value]
    rows = connection.execute(
        f"SELECT {', '.join((*columns, 'count(*)'))} FROM call WHERE {condition} GROUP BY {', '.join(columns)}", values
    )
    groups: dict[tuple[int, ...], _Group] = defaultdict(_Group)
    places = [known.index(name) for name in by]
    for row in rows:
        group = groups[tuple(row[place] for place in places)]
        group.durations[row[4]] += row[5]
        group.outcomes[row[3]] += row[5]
    texts: dict[int, str] = {}
    given = []
    for key, group in groups.items():
        statuses = _named(connection, group.outcomes, texts)
        given.append({
            **{name: text_of_word(connection, number, texts) for name, number in zip(by, key, strict=True)},
            "count": sum(statuses.values()),
            "failed": sum(count for name, count in statuses.items() if name in FAILED_CALL),
            "statuses": statuses,
            **_times(group.durations, exact=exact),
        })  # fmt: skip
    return sorted(given, key=lambda group: (-group["count"], [group[name] for name in by]))


def errors(connection: "sqlite3.Connection", wanted: Filter, limit: int = 100) -> "list[dict[str, Any]]":
    """What failed, by tool, operation and message, the commonest first.

    A group has: kind ("call", or "invocation" where the function itself failed), tool and operation ("" of an
    invocation), status (or outcome), message, count, functions, first_ms, last_ms, request_id (of the latest).
    """
    condition, values = calls_meant(connection, wanted)
    failed = ",".join(f"'{status}'" for status in sorted(FAILED_CALL))
    found = list(connection.execute(
        "SELECT 'call', tool, operation, status, coalesce(message, ''), count(*), min(time_ms), max(time_ms),"
        f" max(invocation), group_concat(DISTINCT function) FROM call WHERE {condition}"
        f" AND status IN (SELECT id FROM word WHERE text IN ({failed})) GROUP BY 2, 3, 4, 5 ORDER BY 6 DESC LIMIT ?",
        [*values, limit],
    ))  # fmt: skip
    condition, values = meant(connection, wanted)
    ended = ",".join(f"'{outcome}'" for outcome in FAILED_OUTCOMES)
    found += connection.execute(
        "SELECT 'invocation', 0, 0, outcome, coalesce(error, ''), count(*), min(time_ms), max(time_ms), max(id),"
        f" group_concat(DISTINCT function) FROM invocation WHERE {condition}"
        f" AND outcome IN (SELECT id FROM word WHERE text IN ({ended})) GROUP BY 4, 5 ORDER BY 6 DESC LIMIT ?",
        [*values, limit],
    )
    texts: dict[int, str] = {}
    given = []
    for kind, tool, operation, status, message, count, first_ms, last_ms, latest, functions in found:
        row = connection.execute(
            "SELECT request.request_id FROM invocation JOIN request ON request.id = invocation.request"
            " WHERE invocation.id = ?", (latest,),
        ).fetchone()  # fmt: skip
        given.append({
            "kind": kind,
            "tool": text_of_word(connection, tool, texts),
            "operation": text_of_word(connection, operation, texts),
            "status": text_of_word(connection, status, texts),
            "message": message,
            "count": count,
            "functions": sorted(text_of_word(connection, int(number), texts) for number in functions.split(",")),
            "first_ms": first_ms,
            "last_ms": last_ms,
            "request_id": row[0] if row is not None else "",
        })  # fmt: skip
    given.sort(key=lambda group: (-group["count"], group["kind"], group["tool"], group["operation"], group["message"]))
    return given[:limit]


def timeline(connection: "sqlite3.Connection", wanted: Filter, width_ms: int) -> "list[dict[str, Any]]":
    """Time buckets of `width_ms` in which something ended: time_ms (their beginning), count, failed, cold, outcomes."""
    condition, values = meant(connection, wanted)
    rows = connection.execute(
        "SELECT outcome, start, time_ms / ? AS at, count(*) FROM invocation"
        f" WHERE {condition} GROUP BY outcome, start, at", [max(1, width_ms), *values],
    )  # fmt: skip
    texts: dict[int, str] = {}
    buckets: dict[int, dict[str, Any]] = {}
    for outcome, start, at, count in rows:
        time_ms = at * max(1, width_ms)
        known = {"time_ms": time_ms, "count": 0, "failed": 0, "cold": 0, "outcomes": Counter()}
        bucket = buckets.setdefault(time_ms, known)
        name = text_of_word(connection, outcome, texts)
        bucket["count"] += count
        bucket["failed"] += count if name in FAILED_OUTCOMES else 0
        bucket["cold"] += count if text_of_word(connection, start, texts) != "warm" else 0
        bucket["outcomes"][name] += count
    return [{**bucket, "outcomes": dict(bucket["outcomes"])} for _, bucket in sorted(buckets.items())]


def overhead(connection: "sqlite3.Connection", wanted: Filter) -> "dict[str, Any]":
    """The recorder's own time in those invocations: count, p50_us, p95_us, max_us, mean_us, and dropped records."""
    condition, values = meant(connection, wanted)
    rows = connection.execute(
        f"SELECT overhead_us, count(*), sum(dropped) FROM invocation WHERE {condition} GROUP BY overhead_us", values
    ).fetchall()
    counts = Counter({overhead_us: count for overhead_us, count, _ in rows})
    ordered = sorted(counts.elements()) if counts.total() <= EXACTLY else sorted(_thinned(counts, EXACTLY))
    p50, p95 = (value * 1_000 for value in exact_percentiles(ordered, (50, 95)))
    total = counts.total()
    return {
        "count": total,
        "p50_us": round(p50),
        "p95_us": round(p95),
        "max_us": max(counts, default=0),
        "mean_us": round(sum(value * count for value, count in counts.items()) / total) if total else 0,
        "dropped": sum(dropped for _, _, dropped in rows),
    }


def _thinned(counts: "Mapping[int, int]", most: int) -> "Iterable[int]":
    """About `most` of the values, evenly over their order."""
    total = sum(counts.values())
    passed = given = 0
    for value in sorted(counts):
        passed += counts[value]
        while given * total < passed * most:
            given += 1
            yield value


def calls_meant(connection: "sqlite3.Connection", wanted: Filter) -> "tuple[str, list[Any]]":
    """A condition on `call`: the calls that are meant, of the invocations that are."""
    condition, values = wanted.call_where()
    if wanted.is_answered_by_calls():
        times, moments = wanted.time_where("call")
        of_invocation, names = wanted.words_where("call", OF_CALLS)
        return " AND ".join([condition, *times, *of_invocation]), [*values, *moments, *names]
    of_invocation, more = meant(connection, wanted)
    return f"{condition} AND call.invocation IN (SELECT id FROM invocation WHERE {of_invocation})", [*values, *more]


def _exactly(connection: "sqlite3.Connection", wanted: Filter, table: str) -> "tuple[bool, str, list[Any]]":
    """Whether so few rows are meant that each may be looked at; with the condition on them."""
    condition, values = (meant if table == "invocation" else calls_meant)(connection, wanted)
    few = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {condition} LIMIT ?)"
    (count,) = connection.execute(few, [*values, EXACTLY + 1]).fetchone()
    return count <= EXACTLY, condition, values


def _times(durations: "Counter[int]", *, exact: bool) -> "dict[str, Any]":
    """durations: µs, or buckets where not exact, -> how many."""
    if exact:
        values = exact_percentiles(sorted(durations.elements()), PERCENTS)
        longest = max(durations, default=0) / 1_000
    else:
        values = percentiles(durations, PERCENTS)
        longest = round(middle_us(max(durations)) / 1_000, 3)
    named = {f"p{percent}_ms": value for percent, value in zip(PERCENTS, values, strict=True)}
    return {**named, "max_ms": longest, "exact": exact}


def _named(connection: "sqlite3.Connection", counts: "Counter[int]", texts: "dict[int, str]") -> "dict[str, int]":
    return {text_of_word(connection, number, texts): count for number, count in counts.most_common()}
