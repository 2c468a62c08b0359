"""Which functions have which version of our layers, what is newer, and what others have changed since."""

from typing import TYPE_CHECKING, Any

from coldspan_console.account import layers, notes
from coldspan_console.account.layers import kind_of, layer_of

if TYPE_CHECKING:
    from coldspan_console.account.functions import Function
    from coldspan_console.account.session import Account


def rows(account: "Account", functions: "list[Function]") -> "list[dict[str, Any]]":
    """One of each function: {function, runtime, layers: [{kind, arn, version, newest}], by, drift: [...]}.

    `by` is `attach` where a note says so, `template` where a layer is there without one, and "" without a layer.
    """
    newest: dict[str, int | None] = {}
    found = []
    for function in functions:
        known = notes.read(function.tags, function.arn)
        noted = {note.layer: note for note in known}
        ours = []
        for arn in function.layers:
            note = noted.get(layer_of(arn))
            kind = note.kind if note is not None else kind_of(arn)
            if not kind:
                continue
            layer = layer_of(arn)
            if layer not in newest:
                newest[layer] = layers.newest(account, layer)
            ours.append({"kind": kind, "arn": arn, "version": int(arn.rsplit(":", 1)[1]), "newest": newest[layer]})
        by = "attach" if any(layer_of(each["arn"]) in noted for each in ours) else ("template" if ours else "")
        found.append(
            {"function": function.name, "runtime": function.runtime or "image", "layers": ours, "by": by,
             "drift": _drift(function, known)}
        )  # fmt: skip
    return found


def _drift(function: "Function", known: "list[notes.Note]") -> "list[str]":
    there = {layer_of(arn): arn for arn in function.layers}
    found = []
    for note in known:
        now = there.get(note.layer)
        if now is None:
            found.append(f"the {note.kind} was attached, and somebody has taken it away")
        elif now != note.arn:
            found.append(f"attached as version {note.arn.rsplit(':', 1)[1]}, changed by others since")
    if known and not found and notes.digest(notes.without(function.layers, known)) != known[0].digest:
        found.append("other layers were changed since")
    return found
