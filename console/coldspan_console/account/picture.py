"""Plans and states of functions, as tables."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from coldspan_console.account.planning import ADD, FORGET, NOTHING, REFUSE, REMOVE, UPDATE, Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from coldspan_console.output import ConsoleError

MARKS = {
    ADD: ("+", "green"), UPDATE: ("~", "yellow"), REMOVE: ("-", "yellow"), FORGET: ("-", "dim"),
    NOTHING: ("=", "dim"), REFUSE: ("✗", "red"),
}  # fmt: skip


def plan(console: "Console", steps: "Sequence[Step]", failed: "Sequence[tuple[str, ConsoleError]]" = ()) -> None:
    """What will be done, or was, and what is refused and why."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for title in ("", "function", "layers", "why, and what to know"):
        table.add_column(title, overflow="fold")
    for step in steps:
        mark, style = MARKS[step.action]
        if step.outcome == "failed":
            mark, style = "✗", "red"
        said = Text(step.error, "red") if step.error else Text()
        for reason in step.reasons:
            said.append(("\n" if said else "") + f"{reason.text}", "red")
            if reason.todo:
                said.append(f"\n  {reason.todo}", "dim")
        for warning in step.warnings:
            said.append(("\n" if said else "") + warning, "yellow")
        if step.action == NOTHING:
            said.append(("\n" if said else "") + "nothing to do", "dim")
        if step.action == REMOVE and step.exact:
            said.append(("\n" if said else "") + "exactly as it was before", "dim")
        table.add_row(Text(mark, style), step.function.name, _change(step), said)
    for name, error in failed:
        text = error.message + (f"\n  {error.todo}" if error.todo else "")
        table.add_row(Text("✗", "red"), name, "", Text(text, "red"))
    console.print(table)


def status(
    console: "Console", rows: "Sequence[dict[str, Any]]", failed: "Sequence[tuple[str, ConsoleError]]" = ()
) -> None:
    """Which functions have which version."""
    table = Table(box=None, pad_edge=False, show_edge=False)
    for title in ("function", "runtime", "recorder", "black box", "by", "drift"):
        table.add_column(title, overflow="fold")
    for row in rows:
        cells = [_version(row, kind) for kind in ("recorder", "black box")]
        drift = Text("; ".join(row["drift"]), "yellow")
        table.add_row(row["function"], row["runtime"], *cells, row["by"], drift)
    for name, error in failed:
        table.add_row(Text(name, "red"), "", "", "", "", Text(f"{error.message}  {error.todo}", "red"))
    console.print(table)


def _change(step: Step) -> Text:
    text = Text()
    for arn in step.after:
        if arn not in step.before:
            text.append(f"+ {_short(arn)}\n", "green")
    for arn in step.before:
        if arn not in step.after:
            text.append(f"- {_short(arn)}\n", "yellow")
    text.rstrip()
    return text


def _version(row: "dict[str, Any]", kind: str) -> Text:
    found = [each for each in row["layers"] if each["kind"] == kind]
    if not found:
        return Text("-", "dim")
    text = Text()
    for each in found:
        text.append(f"{each['version']}")
        if each["newest"] and each["newest"] > each["version"]:
            text.append(f" → {each['newest']}", "yellow")
    return text


def _short(arn: str) -> str:
    return ":".join(arn.split(":")[6:8])
