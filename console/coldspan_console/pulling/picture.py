"""What came, as a person reads it."""

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from coldspan_console.pulling.insights import size
from coldspan_console.store.picture import notes, title
from coldspan_console.tree import invocation_tree, milliseconds, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from coldspan_console.store import Store

TREES = 3  # shown on a terminal; `coldspan list` and `coldspan show` have all of them


def show_streamed(console: "Console", store: "Store", told: "dict[str, Any]") -> None:
    """The trees of the latest, on a terminal; the counts."""
    show_trees(console, store, told["request_ids"])
    console.print(_sentence(told["invocations"], told["records"], f"{_count(told['lines'], 'line')} read"))
    _troubles(console, told)


def show_pulled(console: "Console", store: "Store", told: "dict[str, Any]", group: str) -> None:
    """The same of an account, with what it cost."""
    show_trees(console, store, told["request_ids"])
    cost = ""
    if told["queries"]:
        cost = f", {size(told['scanned_bytes'])} scanned in {_count(told['queries'], 'query')}"
        cost += f" (about ${told['dollars']:.4f})" if told["scanned_bytes"] else ""
    console.print(_sentence(told["invocations"], len(told["request_ids"]), f"from {plain(group)}{cost}"))
    more = [f"{told[name]} {words}" for name, words in (("log_lines", "log lines"), ("traces", "traces")) if told[name]]
    if more:
        console.print(Text(f"with {' and '.join(more)}", "dim"))
    _troubles(console, told)


def show_trees(console: "Console", store: "Store", request_ids: "Sequence[str]") -> None:
    """The trees of the last few."""
    if not console.is_terminal:
        return
    for request_id in request_ids[-TREES:]:
        for document in store.get(request_id)[-1:]:
            console.print(invocation_tree(document, title(document), notes(document)))
    if len(request_ids) > TREES:
        console.print(Text(f"and {len(request_ids) - TREES} more: coldspan list", "dim"))


def show_statistics(console: "Console", rows: "Sequence[dict[str, Any]]", by: "Sequence[str]") -> None:
    """The table of --aggregate."""
    if not rows:
        console.print("no record in that time")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = [name for name in rows[0] if any(row.get(name) not in {None, ""} for row in rows)]
    for name in names:
        table.add_column(name.removesuffix("_ms").replace("_", " "), justify="left" if name in by else "right")
    for row in rows:
        table.add_row(*(_cell(name, row.get(name)) for name in names))
    console.print(table)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, (int, float)):
        return milliseconds(value) if name.endswith("_ms") else f"{value:g}"
    return plain(str(value if value is not None else ""))


def _sentence(new: int, met: int, source: str) -> Text:
    text = Text(f"{_count(new, 'new invocation')}", "bold" if new else "")
    if met > new:
        text.append(f", {met - new} known before", "dim")
    return text.append(f", {source}", "dim")


def _troubles(console: "Console", told: "dict[str, Any]") -> None:
    torn = told["torn"] + told["refused"]
    if torn:
        console.print(Text(f"{_count(torn, 'line')} looked like a record and could not be read", "yellow"))


def _count(number: int, what: str) -> str:
    plural = what[:-1] + "ies" if what.endswith("y") else what + "s"
    return f"{number:,} {what if number == 1 else plural}"


__all__ = ["show_pulled", "show_statistics", "show_streamed", "show_trees"]
