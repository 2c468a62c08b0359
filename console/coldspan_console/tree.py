"""A record as a short tree that a person understands at once."""

import re
from typing import TYPE_CHECKING, Any
from unicodedata import category

from rich.text import Text
from rich.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable

# status -> mark and style. Each has a mark of its own: colour alone is not for everyone.
MARKS = {
    "ok": ("✓", "green"),
    "partial": ("◐", "yellow"),
    "throttled": ("⧖", "yellow"),
    "timeout": ("⌛", "red"),
    "rejected": ("⊘", "cyan"),
    "error": ("✗", "red"),
    "cancelled": ("-", "dim"),
    "in_flight": ("…", "magenta"),
}
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")  # ECMA-48, SGR
STACKS, FRAMES = 4, 3  # shown of a killed invocation; its record has more
OUTCOME_STYLES = {"ok": "bold green", "pending": "bold cyan"}


def invocation_tree(record: "dict[str, Any]", title: str, notes: "Iterable[str]" = ()) -> Tree:
    """The tree of one invocation: how it started and ended, its calls under their parents, then the notes.

    Takes the EMF document of the invocation as the function printed it; a record without `calls` (not told in detail)
    says how many there were. Fields that are missing, or are not what they should be, are left out.
    """
    tree = Tree(_head(record, title), guide_style="dim")
    if isinstance(record.get("init"), dict):
        tree.add(_init(record))
    calls = record.get("calls")
    if calls is None and record.get("Calls"):
        count = record["Calls"]
        tree.add(Text(f"{count} call{'s' * (count != 1)}, not told in detail", "dim"))
    told = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    ordered = sorted(told, key=lambda call: _number(call.get("timestamp")))
    nodes = {call.get("span_id"): Tree(_call(call), guide_style="dim") for call in ordered}
    parents = {call.get("span_id"): call.get("parent_id") for call in ordered}
    for span_id, node in nodes.items():
        nodes_parent = tree if _is_own_ancestor(span_id, parents) else nodes.get(parents[span_id], tree)
        nodes_parent.children.append(node)
    for stack in list(record.get("stacks") or ())[:STACKS]:
        if isinstance(stack, dict):
            tree.add(_stack(stack))
    for note in notes:
        tree.add(Text(note, "dim"))
    return tree


def _is_own_ancestor(span_id: Any, parents: "dict[Any, Any]") -> bool:
    """Whether following a call's parents comes back to it: a record is what somebody printed."""
    seen = set()
    above = parents.get(span_id)
    while above is not None and above not in seen:
        if above == span_id:
            return True
        seen.add(above)
        above = parents.get(above)
    return False


def plain(text: Any) -> str:
    """A text as a terminal may be given it: without colours, and with other control characters marked.

    They could move the cursor, rename the window, or turn round what follows. Spaces of other kinds, with which the
    runtime indents its tracebacks, are spaces.
    """
    return "".join(
        one if one.isprintable() or one in "\n\t" else " " if category(one) == "Zs" else "\ufffd"
        for one in _COLOURS.sub("", str(text))
    )


def _number(value: Any) -> float:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and value - value == 0 else 0.0


def _stack(stack: "dict[str, Any]") -> Text:
    """What a thread was in shortly before the deadline: the innermost frame, then those of the function."""
    frames = [plain(frame) for frame in stack.get("frames") or ()]
    own = [frame for frame in frames[1:] if frame.startswith("/var/task/")][:FRAMES]
    text = Text(f"{plain(stack.get('thread', 'a thread'))} was in ", "red")
    text.append(" ← ".join(_short(frame) for frame in [*frames[:1], *own]))
    return text


def _short(frame: str) -> str:
    """`/var/task/app.py:30 handler` as `app.py:30 handler`; of a package its last two folders."""
    place, _, name = frame.rpartition(" ")
    return "/".join(place.removeprefix("/var/task/").split("/")[-2:]) + f" {name}"


def _head(record: "dict[str, Any]", title: str) -> Text:
    outcome, start = plain(record.get("outcome", "unknown")), plain(record.get("start") or "")
    text = Text()
    text.append(plain(title), "bold")
    text.append(f"  {start}" if start else "", "magenta" if start != "warm" else "dim")
    text.append(f"  {outcome}", OUTCOME_STYLES.get(outcome, "bold red"))
    text.append(f"  {milliseconds(_number(record.get('Duration')))}")
    facts = []
    if record.get("trigger"):
        facts.append(plain(record["trigger"]))
    if "QueueTime" in record:
        facts.append(f"waited {duration(_number(record['QueueTime']))}")
    if record.get("batch_item_failures") is not None:
        facts.append(f"{record['batch_item_failures']} of {record.get('records', 1)} records given back")
    if facts:
        text.append("  " + " · ".join(facts), "dim")
    if record.get("error_type"):
        message = plain(record.get("error_message") or "")
        text.append(f"\n{plain(record['error_type'])}" + (f": {message}" if message else ""), "red")
    return text


def _init(record: "dict[str, Any]") -> Tree:
    init = record["init"]
    split = init.get("split") if isinstance(init.get("split"), dict) else {}
    parts = " · ".join(f"{where} {milliseconds(_number(ms))}" for where, ms in split.items() if ms)
    text = Text(f"init {milliseconds(_number(init['ms']))}" if "ms" in init else "init")
    text.append(f"  imports {milliseconds(_number(init.get('import_ms')))} ({plain(parts)})", "dim")
    tree = Tree(text, guide_style="dim")
    packages = [package for package in init.get("packages") or () if isinstance(package, list) and len(package) > 2]
    costly = [package for package in packages if _number(package[2]) >= 5][:3]
    if costly:
        names = ", ".join(f"{name} {milliseconds(ms)}" for name, _, ms, *_ in costly)
        tree.add(Text(f"costliest packages by their own time: {plain(names)}", "dim"))
    for call in init.get("calls") or ():
        if isinstance(call, dict):
            tree.add(_call(call))
    return tree


def _call(call: "dict[str, Any]") -> Text:
    status = plain(call.get("status", "unknown"))
    mark, style = MARKS.get(status, ("?", "red"))
    text = Text()
    text.append(f"{mark} ", style)
    text.append(plain(f"{call.get('tool', '?')} {call.get('operation', '?')}"))
    text.append(f"  {status}", style)
    text.append(f"  {milliseconds(_number(call.get('duration_ms')))}")
    if call.get("late") is True:
        text.append("  ended after the invocation", "dim")
    if _number(call.get("attempts")) > 1:
        text.append(f"  {call['attempts']} attempts", "yellow")
    if call.get("items") is not None:
        items = f"{call['items']} item{'s' * (call['items'] != 1)}"
        failed = call.get("items_failed")
        text.append(f"  {failed} of {items} failed" if failed else f"  {items}", style)
    phases = call.get("phases")
    if phases and isinstance(phases, dict):
        longest = sorted(phases.items(), key=lambda phase: -_number(phase[1]))[:2]
        text.append("  " + " · ".join(f"{plain(name)} {milliseconds(_number(ms))}" for name, ms in longest), "dim")
    if call.get("message"):
        text.append(f"\n{plain(call['message'])}", style)
    return text


def milliseconds(value: float) -> str:
    """`0.4 ms`, `12 ms`, `1.20 s`: as many digits as a reader needs."""
    if value >= 1_000:
        return f"{value / 1_000:.2f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def duration(value_ms: float) -> str:
    """A time that may be long: `35 ms`, `4.2 s`, `3 min`, `5 h`, `12 d`."""
    for limit, unit, divisor in ((60_000, "", 0), (3_600_000, "min", 60_000), (86_400_000, "h", 3_600_000)):
        if value_ms < limit:
            return f"{value_ms / divisor:.0f} {unit}" if unit else milliseconds(value_ms)
    return f"{value_ms / 86_400_000:.0f} d"


__all__ = ["MARKS", "duration", "invocation_tree", "milliseconds", "plain"]
