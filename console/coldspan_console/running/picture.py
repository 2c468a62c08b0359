"""What `coldspan run` shows: a tree of each invocation with its log beneath, and a summary of many."""

import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.text import Text

from coldspan_console.running.runs import Ran, answer_of
from coldspan_console.tree import MARKS, invocation_tree, milliseconds

if TYPE_CHECKING:
    from rich.console import Console

ANSWER_CHARS = 200
LOG_LINES = 40  # of one invocation; the store has them all
TREES = 3  # of many invocations: the others are in the store


def show(console: "Console", ran: Ran, title: str) -> None:
    """One invocation."""
    if ran.record is None:
        console.print(Text(f"{title}  {ran.outcome.status}", "bold red" if ran.failed else "bold"))
        console.print(Text("  no record came: `coldspan doctor` finds out why", "yellow"))
        console.print(Text(f"  {_answer(ran)}", "dim"))
    else:
        console.print(invocation_tree(ran.record, title, _notes(ran)))
    _log(console, ran)
    console.print()


def _notes(ran: Ran) -> "list[str]":
    notes = [_answer(ran)]
    report = ran.report
    if report:
        told = []
        if "billedDurationMs" in report:
            told.append(f"billed {milliseconds(report['billedDurationMs'])}")
        if "maxMemoryUsedMB" in report:
            told.append(f"memory {report['maxMemoryUsedMB']} of {report.get('memorySizeMB', '?')} MB")
        if "initDurationMs" in report:
            told.append(f"init {milliseconds(report['initDurationMs'])}")
        notes.append(
            " · ".join([*told, f"coldspan's own {milliseconds((ran.record or {}).get('Overhead', 0) / 1000)}"])
        )
    return notes


def _answer(ran: Ran) -> str:
    text = ran.outcome.body.decode("utf-8", "replace")
    text = text if len(text) <= ANSWER_CHARS else text[: ANSWER_CHARS - 1] + "…"
    return f"{'answer' if not ran.failed else ran.outcome.status} {text}"


def _log(console: "Console", ran: Ran) -> None:
    lines = [line.text for line in ran.logs if line.kind == "function"]
    answer = answer_of(ran.outcome.body)
    traceback = answer.get("stackTrace") if isinstance(answer, dict) and ran.outcome.status == "error" else None
    if traceback and not any("Traceback" in line for line in lines):
        lines += ["Traceback (most recent call last):"]
        lines += [part for each in traceback for part in str(each).rstrip("\n").split("\n")]
        lines += [f"{answer.get('errorType')}: {answer.get('errorMessage')}"]
    for line in lines[:LOG_LINES]:
        for part in line.split("\r"):
            console.print(Text(f"  │ {part}", "dim"))
    if len(lines) > LOG_LINES:
        console.print(Text(f"  │ … {len(lines) - LOG_LINES} lines more: coldspan show {ran.outcome.request_id}", "dim"))


def summary(ran: "list[Ran]") -> "dict[str, Any]":
    """Many invocations in figures: outcomes, starts, percentiles (ms), calls by status, our own overhead (µs)."""
    records = [each.record for each in ran if each.record is not None]
    durations = sorted(float(record["Duration"]) for record in records)
    calls = Counter(call["status"] for record in records for call in record.get("calls", ()))
    overheads = [record["Overhead"] for record in records if record["start"] == "warm"]
    return {
        "invocations": len(ran),
        "without_record": len(ran) - len(records),
        "outcomes": dict(Counter(record["outcome"] for record in records)),
        "starts": dict(Counter(record["start"] for record in records)),
        "duration_ms": {f"p{share}": percentile(durations, share) for share in (50, 95, 99)} if durations else {},
        "calls": dict(calls),
        "overhead_us": round(statistics.median(overheads)) if overheads else None,
    }


def percentile(ordered: "list[float]", share: int) -> float:
    """The value that so many percent of an ordered list do not pass."""
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * share // 100) - 1))]


def show_summary(console: "Console", figures: "dict[str, Any]") -> None:
    """The figures of many."""
    console.print(Text(f"{figures['invocations']} invocations", "bold"))
    outcomes = " · ".join(f"{name} {count}" for name, count in sorted(figures["outcomes"].items()))
    starts = " · ".join(f"{name} {count}" for name, count in sorted(figures["starts"].items()))
    console.print(f"  outcomes  {outcomes or '-'}", highlight=False)
    console.print(f"  starts    {starts or '-'}", highlight=False)
    if figures["duration_ms"]:
        spread = " · ".join(f"{name} {milliseconds(value)}" for name, value in figures["duration_ms"].items())
        console.print(f"  duration  {spread}", highlight=False)
    if figures["calls"]:
        calls = " · ".join(
            f"{MARKS[name][0]} {name} {figures['calls'][name]}" for name in MARKS if name in figures["calls"]
        )
        console.print(f"  calls     {calls}", highlight=False)
    if figures["overhead_us"] is not None:
        console.print(
            f"  coldspan  {milliseconds(figures['overhead_us'] / 1000)} of its own, a warm invocation (median)",
            highlight=False,
        )
    if figures["without_record"]:
        console.print(Text(f"  {figures['without_record']} left no record: `coldspan doctor` finds out why", "yellow"))
