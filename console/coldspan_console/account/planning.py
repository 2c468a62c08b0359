"""What attach and detach would do to each function, and what speaks against it."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coldspan_console.account import notes, vendors
from coldspan_console.account.layers import MOST_BYTES, MOST_LAYERS, RUNTIMES, LayerVersion, Size, kind_of, layer_of
from coldspan_console.account.notes import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from coldspan_console.account.functions import Function

ADD, UPDATE, NOTHING, REFUSE, REMOVE, FORGET = "add", "update", "nothing", "refuse", "remove", "forget"
# What --allow can overrule: it is known to go wrong in most functions, and a person may know better.
OVERRULED = ("vendor", "pythonpath", "size")
STACK = "aws:cloudformation:stack-name"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is refused: of a kind, in words, and what to do about it."""

    kind: str
    text: str
    todo: str = ""


@dataclass(slots=True)
class Step:
    """What is to be done to one function. `before` and `after` are its layer lists; `tags` is what will be noted."""

    function: "Function"
    action: str
    before: "list[str]"
    after: "list[str]"
    notes: "list[Note]" = field(default_factory=list)
    reasons: "list[Reason]" = field(default_factory=list)
    warnings: "list[str]" = field(default_factory=list)
    exact: bool = True
    outcome: str = ""
    error: str = ""

    @property
    def changes(self) -> bool:
        """Whether anything is to be done."""
        return self.action in {ADD, UPDATE, REMOVE, FORGET}

    def as_json(self) -> "dict[str, Any]":
        """All of it, for --json."""
        return {
            "function": self.function.name, "action": self.action, "before": self.before, "after": self.after,
            "refused": [{"kind": one.kind, "text": one.text, "todo": one.todo} for one in self.reasons],
            "warnings": self.warnings, "restores_exactly": self.exact, "outcome": self.outcome, "error": self.error,
        }  # fmt: skip


def attach(
    function: "Function", wanted: "dict[str, LayerVersion]",
    sizes: "Callable[[Function, list[LayerVersion]], list[Size]]",
    allowed: "Iterable[str]" = (),
) -> Step:  # fmt: skip
    """Plan the layers (by kind: `recorder`, `black box`) for one function. `sizes` gives those of code and layers."""
    before = function.layers
    after, known = list(before), {note.kind: note for note in notes.read(function.tags, function.arn)}
    noted = {kind: note for kind, note in known.items() if note.layer in map(layer_of, before)}
    updates = False
    for kind, version in wanted.items():
        place = next((i for i, arn in enumerate(after) if _same(arn, version.arn, kind)), None)
        if place is None:
            after.append(version.arn)
            noted[kind] = Note(kind, version.arn, "", "")
        elif after[place] != version.arn:
            old = noted.get(kind)
            noted[kind] = Note(kind, version.arn, old.was if old is not None else after[place], "")
            after[place] = version.arn
            updates = True
    former = notes.digest(notes.without(after, noted.values()))
    found = [Note(note.kind, note.arn, note.was, former) for note in noted.values()]
    if after == before:
        return Step(function, NOTHING, before, after, found)
    step = Step(function, UPDATE if updates and len(after) == len(before) else ADD, before, after, found)
    step.reasons, step.warnings = _against(function, step, wanted, sizes)
    over = [reason for reason in step.reasons if reason.kind in set(allowed)]
    step.warnings += [f"allowed: {reason.text}" for reason in over]
    step.reasons = [reason for reason in step.reasons if reason not in over]
    if step.reasons:
        step.action, step.after = REFUSE, before
    return step


def detach(function: "Function", *, force: bool = False) -> Step:
    """Plan what gives a function back what attach changed; with `force` also layers of ours that are not noted."""
    before = function.layers
    found = notes.read(function.tags, function.arn)
    ours = [arn for arn in before if kind_of(arn) and layer_of(arn) not in {note.layer for note in found}]
    if force:
        found = [*found, *(Note(kind_of(arn), arn, "", "") for arn in ours)]
    there = set(map(layer_of, before))
    after = notes.without(before, found)
    if not found:
        if not ours:
            return Step(function, NOTHING, before, before)
        todo = "take it out of the template that brings it, or say --force"
        reason = Reason("not noted", f"{', '.join(map(_name, ours))}: not added by `coldspan attach`", todo)
        return Step(function, REFUSE, before, before, reasons=[reason])
    gone = [note for note in found if note.layer not in there]
    exact = all(note.digest in {"", notes.digest(after)} for note in found)
    step = Step(function, FORGET if len(gone) == len(found) else REMOVE, before, after, found, exact=exact)
    if gone:
        step.warnings.append(f"{', '.join(_name(note.arn) for note in gone)}: somebody has taken it away already")
    elif not exact:
        step.warnings.append("others have changed the layers since: only ours are taken away")
    if not force and ours:
        step.warnings.append(f"{', '.join(map(_name, ours))} stays: not added by `coldspan attach`")
    _warn_of_stack(function, step.warnings, "has the layers of its template")
    return step


def _against(
    function: "Function", step: Step, wanted: "dict[str, LayerVersion]",
    sizes: "Callable[[Function, list[LayerVersion]], list[Size]]",
) -> "tuple[list[Reason], list[str]]":  # fmt: skip
    reasons: list[Reason] = []
    warnings: list[str] = []
    if function.is_image:
        todo = "copy the layer's files into the image, and set its Handler by COLDSPAN_HANDLER (README, Four ways in)"
        return [Reason("image", "a container image: it takes no layers", todo)], []
    if function.config.get("State") == "Failed":
        reasons.append(Reason("state", f"the function is in state Failed: {function.config.get('StateReason', '')}"))
    if function.runtime not in RUNTIMES:
        told = function.runtime or "not given"
        reasons.append(Reason("runtime", f"runtime {told}: the layer is for {RUNTIMES[0]} to {RUNTIMES[-1]}"))
    for version in wanted.values():
        if version.runtimes and function.runtime in RUNTIMES and function.runtime not in version.runtimes:
            text = f"{_name(version.arn)} is for {', '.join(version.runtimes)}, the function is {function.runtime}"
            reasons.append(Reason("runtime", text))
        if version.architectures and function.architecture not in version.architectures:
            fits = ", ".join(version.architectures)
            text = f"{_name(version.arn)} is for {fits}, the function is {function.architecture}"
            reasons.append(Reason("architecture", text, "publish the layer for that architecture, too"))
    if len(step.after) > MOST_LAYERS:
        todo = "put two of its layers into one"
        reasons.append(Reason("layers", f"it would have {len(step.after)} layers; {MOST_LAYERS} are the most", todo))
    reasons += _ways_in(function)
    if not reasons:
        _weigh(function, wanted, sizes, reasons, warnings)
    for vendor, arn in vendors.by_layers(function.layers):
        warnings.append(
            f"{_name(arn)}: {vendor.name} is attached, too; where it traces, call subsegments are left to it"
        )
    _warn_of_stack(function, warnings, "takes the layer away again (--template shows what to add there)")
    if (function.config.get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions":
        warnings.append("SnapStart works on published versions: publish a new one")
    return reasons, warnings


def _ways_in(function: "Function") -> "list[Reason]":
    """What stands between the layer and the handler."""
    environment = function.environment
    found = []
    path = environment.get("AWS_LAMBDA_EXEC_WRAPPER", "")
    wrapper = vendors.by_wrapper(path)
    if wrapper is not None and environment.get("COLDSPAN_NEXT_WRAPPER") != path:
        todo = f"set AWS_LAMBDA_EXEC_WRAPPER={vendors.OURS} and COLDSPAN_NEXT_WRAPPER={path}, or --allow vendor"
        if wrapper.replaces_runtime:
            todo = "it does not run the Python runtime client; @coldspan.instrument records what is called by hand"
        who = "another exec wrapper" if wrapper.name == path else f"{wrapper.name}'s exec wrapper"
        found.append(Reason("vendor", f"{who} ({path})", todo))
    redirect = vendors.by_handler(function.handler)
    if redirect is not None:
        todo = "they work beside each other, in this order; --allow vendor attaches it"
        found.append(Reason("vendor", f"the handler is {redirect.name}'s ({function.handler})", todo))
    if vendors.skips_pth(environment):
        todo = f"set AWS_LAMBDA_EXEC_WRAPPER={vendors.OURS} first, or take PYTHONPATH away"
        found.append(Reason("pythonpath", "PYTHONPATH is set: the runtime would skip the layer's .pth file", todo))
    return found


def _weigh(
    function: "Function", wanted: "dict[str, LayerVersion]",
    sizes: "Callable[[Function, list[LayerVersion]], list[Size]]", reasons: "list[Reason]", warnings: "list[str]",
) -> None:  # fmt: skip
    found = sizes(function, list(wanted.values()))
    total, exact = sum(size.bytes for size in found), all(size.exact for size in found)
    zipped = sum(size.zipped for size in found)
    most = f"{MOST_BYTES / 2**20:.0f} MB"
    if (exact and total > MOST_BYTES) or zipped > MOST_BYTES:
        text = f"code and layers would be {max(total, zipped) / 2**20:.0f} MB unzipped; {most} are the most"
        reasons.append(Reason("size", text))
    elif total > MOST_BYTES:
        warnings.append(
            f"code and layers may be over {most} unzipped (about {total / 2**20:.0f} MB, estimated from"
            f" {zipped / 2**20:.0f} MB zipped); Lambda refuses the update then, and nothing is changed"
        )


def _same(arn: str, wanted: str, kind: str) -> bool:
    return layer_of(arn) == layer_of(wanted) or kind_of(arn) == kind


def _name(arn: str) -> str:
    parts = arn.split(":")
    return f"{parts[6]}:{parts[7]}" if len(parts) > 7 else arn


def _warn_of_stack(function: "Function", warnings: "list[str]", what: str) -> None:
    if stack := function.tags.get(STACK):
        warnings.append(f"stack {stack} owns it: its next deployment {what}")
