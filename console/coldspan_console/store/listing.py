"""Invocations and groups of them as tables."""

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rich.table import Table
from rich.text import Text

from coldspan_console.tree import MARKS, OUTCOME_STYLES, duration, milliseconds, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OUTCOME_MARKS = {
    "ok": "✓", "pending": "◷", "error": "✗", "timeout": "⌛", "crash": "☠", "out_of_memory": "▓", "too_large": "✗",
    "unserialisable": "✗", "init_error": "✗", "unfinished": "…",
}  # fmt: skip
ID_CHARS = 8
MESSAGE_CHARS = 60
STATUSES = 4


def invocations_table(summaries: "Iterable[dict[str, Any]]", now_ms: "int | None" = None) -> Table:
    """One row an invocation: what a person asks first."""
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (
        ("", "left"), ("outcome", "left"), ("age", "right"), ("function", "left"), ("duration", "right"),
        ("start", "left"), ("calls", "right"), ("request", "left"), ("error", "left"),
    ):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=name != "error", overflow="ellipsis")
    for summary in summaries:
        table.add_row(*_row(summary, now_ms))
    return table


def _row(summary: "dict[str, Any]", now_ms: int) -> "list[Text]":
    outcome = summary["outcome"]
    style = OUTCOME_STYLES.get(outcome, "bold red")
    start = Text(plain(summary["start"]), "magenta" if summary["start"] != "warm" else "dim")
    if summary["init_ms"] is not None:
        start.append(f" {milliseconds(summary['init_ms'])}", "dim")
    request = Text(plain(summary["request_id"][:ID_CHARS]), "dim")
    if summary["attempt"] > 1:
        request.append(f" #{summary['attempt']}", "yellow")
    return [
        Text(OUTCOME_MARKS.get(outcome, "?"), style),
        Text(plain(outcome), style),
        Text(age(summary["time_ms"], now_ms), "dim"),
        Text(plain(summary["function"])),
        Text(milliseconds(summary["duration_ms"])),
        start,
        calls_text(summary),
        request,
        Text(plain(shortened(summary["error"], MESSAGE_CHARS)), "red"),
    ]


def calls_text(summary: "dict[str, Any]") -> Text:
    """`3`, `3 ✗1`, `3 ↻2`: calls, those that failed, attempts that were made again."""
    text = Text(str(summary["calls"]))
    if summary["failures"]:
        text.append(f" {MARKS['error'][0]}{summary['failures']}", "red")
    if summary["retries"]:
        text.append(f" ↻{summary['retries']}", "yellow")
    return text


def age(time_ms: int, now_ms: int) -> str:
    """How long ago: `now`, `35 s`, `4 min`, `3 h`, `12 d`."""
    past_ms = now_ms - time_ms
    if past_ms < 1_000:
        return "now" if past_ms > -60_000 else "ahead"
    return f"{past_ms // 1_000} s" if past_ms < 60_000 else duration(past_ms)


def groups_table(groups: "Sequence[dict[str, Any]]", by: str) -> Table:
    """Counts and percentiles of groups of invocations."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(by, overflow="fold")
    for name in ("count", "failed", "cold", "p50", "p95", "p99", "longest"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in groups:
        table.add_row(
            Text(plain(group[by] or "-")),
            str(group["count"]),
            _failed(group),
            str(group["cold"]),
            *(milliseconds(group[name]) for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")),
        )
    return table


def tools_table(groups: "Sequence[dict[str, Any]]") -> Table:
    """Counts and percentiles of calls by tool and operation."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("tool", "operation"):
        table.add_column(name, overflow="fold")
    for name in ("calls", "failed", "p50", "p95", "p99", "longest"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("ended", no_wrap=True)
    for group in groups:
        ended = Text()
        for status, count in list(group["statuses"].items())[:STATUSES]:
            mark, style = MARKS.get(status, ("·", "dim"))
            ended.append(plain(f"{mark} {status} {count}  "), style)
        table.add_row(
            Text(plain(group["tool"])),
            Text(plain(group["operation"])),
            str(group["count"]),
            _failed(group),
            *(milliseconds(group[name]) for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms")),
            ended,
        )
    return table


def errors_table(groups: "Sequence[dict[str, Any]]", now_ms: "int | None" = None) -> Table:
    """What failed, by tool, operation and message."""
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (
        ("count", "right"), ("what", "left"), ("status", "left"), ("last", "right"), ("request", "left"),
        ("message", "left"),
    ):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=name != "message")
    for group in groups:
        mark, style = MARKS.get(group["status"], (OUTCOME_MARKS.get(group["status"], "?"), "red"))
        what = f"{group['tool']} {group['operation']}" if group["kind"] == "call" else ", ".join(group["functions"])
        table.add_row(
            str(group["count"]),
            Text(plain(what)),
            Text(plain(f"{mark} {group['status']}"), style),
            Text(age(group["last_ms"], now_ms), "dim"),
            Text(plain(group["request_id"][:ID_CHARS]), "dim"),
            Text(plain(group["message"])),
        )
    return table


def totals_line(totals: "dict[str, Any]") -> Text:
    """`120 invocations of 2 functions: ✓ ok 110 · ✗ error 10 · 3 cold · p50 12 ms · p95 80 ms`."""
    count = totals["count"]
    text = Text(f"{count:,} invocation{'s' * (count != 1)}", "bold")
    if totals["functions"] > 1:
        text.append(f" of {totals['functions']} functions")
    if count:
        parts = [f"{OUTCOME_MARKS.get(name, '?')} {name} {number:,}" for name, number in totals["outcomes"].items()]
        parts.append(f"{totals['cold']:,} cold")
        parts += [f"p{percent} {milliseconds(totals[f'p{percent}_ms'])}" for percent in (50, 95)]
        text.append("  " + " · ".join(parts), "dim")
    return text


def report_link(document: "dict[str, Any]") -> str:
    """What opens one invocation in the report, whose page takes request id and span id as a hash."""
    key = ".".join(str(document[name]) for name in ("request_id", "span_id") if document.get(name))
    return f"coldspan report --serve, then #/invocation/{quote(key, safe='')}"


def shortened(text: str, most: int) -> str:
    """The text on one line, cut to so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _failed(group: "dict[str, Any]") -> Text:
    if not group["failed"]:
        return Text("0", "dim")
    return Text(f"{group['failed']} ({group['failed'] * 100 / group['count']:.0f} %)", "red")
