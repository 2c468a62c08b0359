"""What `coldspan run` shows: a tree of each invocation with its log beneath, and a summary of many."""

import json
import statistics
from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.text import Text

from coldspan_console.running.runs import Ran, answer_of
from coldspan_console.tree import MARKS, invocation_tree, milliseconds, plain

if TYPE_CHECKING:
    from rich.console import Console

ANSWER_CHARS = 200
LOG_LINES = 40  # of one invocation; the store has them all
UNHANDLED = "LAMBDA_WARNING: Unhandled exception."  # 600 characters of the runtime's, before what was raised
TREES = 3  # of many invocations: the others are in the store


def show(console: "Console", ran: Ran, title: str, reason: str = "") -> None:
    """One invocation. `reason`: why there is no record, where that is known."""
    if ran.record is None:
        console.print(Text(f"{title}  {ran.outcome.status}", "bold red" if ran.failed else "bold"))
        why = f"{reason} (`coldspan doctor` knows more)" if reason else "`coldspan doctor` finds out why"
        console.print(Text(f"  no record came: {why}", "yellow"))
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
    lines = [line.text for line in ran.logs if line.kind == "function" and UNHANDLED not in line.text]
    answer = answer_of(ran.outcome.body)
    if isinstance(answer, dict) and answer.get("stackTrace") and ran.failed:
        lines = [line for line in lines if not _is_error_line(line)]
        if not any("Traceback" in line for line in lines):
            lines += _traceback(answer)
    for line in lines[:LOG_LINES]:
        for part in plain(line.replace("\r", "\n")).split("\n"):
            console.print(Text(f"  │ {part}", "dim"), soft_wrap=True)
    if len(lines) > LOG_LINES:
        console.print(Text(f"  │ … {len(lines) - LOG_LINES} lines more: coldspan show {ran.outcome.request_id}", "dim"))


def _is_error_line(line: str) -> bool:
    """Whether it is the runtime's own line about the error, in JSON: the traceback is told in a readable form."""
    try:
        told = json.loads(line)
    except ValueError:
        return False
    return isinstance(told, dict) and "stackTrace" in told and "errorType" in told


def _traceback(answer: "dict[str, Any]") -> "list[str]":
    parts = [part for each in answer["stackTrace"] for part in str(each).rstrip("\n").split("\n")]
    return ["Traceback (most recent call last):", *parts, f"{answer.get('errorType')}: {answer.get('errorMessage')}"]


def summary(ran: "list[Ran]") -> "dict[str, Any]":
    """Many invocations in figures: outcomes, starts, percentiles (ms), calls by status, our own overhead (µs)."""
    records = [each.record for each in ran if each.record is not None]
    durations = sorted(float(record["Duration"]) for record in records if _is_number(record.get("Duration")))
    calls = Counter(
        str(call.get("status")) for record in records for call in record.get("calls") or () if isinstance(call, dict)
    )
    warm = [record.get("Overhead") for record in records if record.get("start") == "warm"]
    overheads = [each for each in warm if isinstance(each, (int, float))]
    return {
        "invocations": len(ran),
        "failed": sum(each.failed for each in ran),
        "without_record": len(ran) - len(records),
        "outcomes": dict(Counter(str(record.get("outcome")) for record in records)),
        "starts": dict(Counter(str(record.get("start")) for record in records)),
        "duration_ms": {f"p{share}": percentile(durations, share) for share in (50, 95, 99)} if durations else {},
        "calls": dict(calls),
        "overhead_us": round(statistics.median(overheads)) if overheads else None,
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


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
