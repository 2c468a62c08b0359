"""A record as a short tree that a person understands at once."""

from typing import TYPE_CHECKING, Any

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
STACKS, FRAMES = 4, 3  # shown of a killed invocation; its record has more
OUTCOME_STYLES = {"ok": "bold green", "pending": "bold cyan"}


def invocation_tree(record: "dict[str, Any]", title: str, notes: "Iterable[str]" = ()) -> Tree:
    """The tree of one invocation: how it started and ended, its calls under their parents, then the notes.

    Takes the EMF document of the invocation as the function printed it; a record without `calls` (not told in detail)
    says how many there were.
    """
    tree = Tree(_head(record, title), guide_style="dim")
    if "init" in record:
        tree.add(_init(record))
    calls = record.get("calls")
    if calls is None and record.get("Calls"):
        tree.add(Text(f"{record['Calls']} calls, not told in detail", "dim"))
    nodes = {record.get("span_id"): tree}
    for call in sorted(calls or (), key=lambda call: (call["timestamp"], call["span_id"])):
        nodes[call["span_id"]] = Tree(_call(call), guide_style="dim")
    for call in sorted(calls or (), key=lambda call: (call["timestamp"], call["span_id"])):
        nodes.get(call["parent_id"], tree).children.append(nodes[call["span_id"]])
    for stack in record.get("stacks", ())[:STACKS]:
        tree.add(_stack(stack))
    for note in notes:
        tree.add(Text(note, "dim"))
    return tree


def _stack(stack: "dict[str, Any]") -> Text:
    """What a thread was in shortly before the deadline: the innermost frame, then those of the function."""
    frames = stack["frames"]
    own = [frame for frame in frames[1:] if frame.startswith("/var/task/")][:FRAMES]
    text = Text(f"{stack['thread']} was in ", "red")
    text.append(" ← ".join(_short(frame) for frame in [*frames[:1], *own]))
    return text


def _short(frame: str) -> str:
    """`/var/task/app.py:30 handler` as `app.py:30 handler`; of a package its last two folders."""
    place, _, name = frame.rpartition(" ")
    return "/".join(place.removeprefix("/var/task/").split("/")[-2:]) + f" {name}"


def _head(record: "dict[str, Any]", title: str) -> Text:
    outcome = record["outcome"]
    text = Text()
    text.append(title, "bold")
    text.append(f"  {record['start']}", "magenta" if record["start"] != "warm" else "dim")
    text.append(f"  {outcome}", OUTCOME_STYLES.get(outcome, "bold red"))
    text.append(f"  {milliseconds(record['Duration'])}")
    facts = []
    if record.get("trigger"):
        facts.append(record["trigger"])
    if "QueueTime" in record:
        facts.append(f"waited {duration(record['QueueTime'])}")
    if record.get("batch_item_failures") is not None:
        facts.append(f"{record['batch_item_failures']} of {record.get('records', 1)} records given back")
    if facts:
        text.append("  " + " · ".join(facts), "dim")
    if record.get("error_type"):
        message = record.get("error_message") or ""
        text.append(f"\n{record['error_type']}" + (f": {message}" if message else ""), "red")
    return text


def _init(record: "dict[str, Any]") -> Tree:
    init = record["init"]
    split = " · ".join(f"{where} {milliseconds(ms)}" for where, ms in init.get("split", {}).items() if ms)
    text = Text(f"init {milliseconds(init['ms'])}" if "ms" in init else "init")
    text.append(f"  imports {milliseconds(init.get('import_ms', 0))} ({split})", "dim")
    tree = Tree(text, guide_style="dim")
    costly = [package for package in init.get("packages", ()) if package[2] >= 5][:3]
    if costly:
        names = ", ".join(f"{name} {milliseconds(ms)}" for name, _, ms, _ in costly)
        tree.add(Text(f"costliest packages by their own time: {names}", "dim"))
    for call in init.get("calls", ()):
        tree.add(_call(call))
    return tree


def _call(call: "dict[str, Any]") -> Text:
    mark, style = MARKS.get(call["status"], ("?", "red"))
    text = Text()
    text.append(f"{mark} ", style)
    text.append(f"{call['tool']} {call['operation']}")
    text.append(f"  {call['status']}", style)
    text.append(f"  {milliseconds(call['duration_ms'])}")
    if call.get("attempts", 1) > 1:
        text.append(f"  {call['attempts']} attempts", "yellow")
    if call.get("items") is not None:
        items = f"{call['items']} item{'s' * (call['items'] != 1)}"
        failed = call.get("items_failed")
        text.append(f"  {failed} of {items} failed" if failed else f"  {items}", style)
    phases = call.get("phases") or {}
    if phases:
        longest = sorted(phases.items(), key=lambda phase: -phase[1])[:2]
        text.append("  " + " · ".join(f"{name} {milliseconds(ms)}" for name, ms in longest), "dim")
    if call.get("message"):
        text.append(f"\n{call['message']}", style)
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


__all__ = ["MARKS", "duration", "invocation_tree", "milliseconds"]
