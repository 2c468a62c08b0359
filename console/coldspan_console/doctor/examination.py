"""A function looked at as a whole: what is declared, its package and layers, its role and its log group."""

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coldspan_console.account.layers import kind_of
from coldspan_console.doctor import compiled, contents, findings, packages, permissions, shadowing
from coldspan_console.doctor.contents import Contents
from coldspan_console.doctor.findings import ERROR, NOTE, WARNING, Finding, short
from coldspan_console.output import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coldspan_console.project import Declared, Layer

RECORDER = "python/coldspan/boot/start.py"
# Distributions that print embedded metrics without a level, and their modules.
PRINTERS = {"aws-lambda-powertools": "aws_lambda_powertools", "aws-embedded-metrics": "aws_embedded_metrics"}
# Source: CloudWatch Logs user guide, "Log classes": metrics are extracted in the Standard class only.
CLASSES = {"INFREQUENT_ACCESS": "Infrequent Access", "DELIVERY": "Delivery"}
IN_ACCOUNT = "its content is in an account, and not on this machine"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a function, as far as it is known. `role` is "" where SAM makes the function's role itself.

    `documents` is None where the role's policies are not known, and then `why` says why.
    """

    role: str = ""
    documents: "list[dict[str, Any]] | None" = None
    boundary: "dict[str, Any] | None" = None
    why: str = ""
    group: str = ""
    group_arn: str = ""
    group_class: str = ""


def examine(
    declared: "Declared", around: Surroundings, code: "Path | None", *, without: str = IN_ACCOUNT
) -> "Iterator[Finding]":
    """Everything that can be told of a function.

    `code`: its package, where that is on this machine. `without`: why a layer's content is not; "" says nothing of it.
    """
    if declared.problem:
        yield from findings.examine(declared, has_recorder=False)
        return
    with contextlib.ExitStack() as stack:
        yield from _examine(declared, around, code, without, stack)


def _examine(
    declared: "Declared", around: Surroundings, code: "Path | None", without: str, stack: contextlib.ExitStack
) -> "Iterator[Finding]":
    where, there, why = declared.logical_id, {}, {}
    for layer in declared.layers:
        try:
            if layer.folder is not None:
                there[layer] = contents.of(layer.folder)
                stack.callback(there[layer].close)
        except ConsoleError as error:
            why[layer] = error.message
    recorders = [layer for layer in declared.layers if is_recorder(layer, there.get(layer))]
    own, unread = None, ""
    try:
        own = _own(declared, code)
    except ConsoleError as error:
        unread = f"the function's package could not be looked at: {error.message}"
    brings_it = own is not None and RECORDER.removeprefix("python/") in own.names  # for @coldspan.instrument
    yield from findings.examine(declared, has_recorder=bool(recorders) or brings_it)
    yield from _surroundings(declared, around)
    if unread:
        yield Finding("CS301", NOTE, unread, where, "see that it is a .zip")
    if own is not None:
        stack.callback(own.close)
        yield from compiled.examine(where, "the function's package", own, declared.architecture, declared.runtime)
        if recorders:
            yield from shadowing.own_coldspan(where, own.names)
    for layer in declared.layers:
        whose = f"layer {short(layer.name)}"
        if layer in there:
            yield from compiled.examine(where, whose, there[layer], declared.architecture, declared.runtime)
        elif (layer in why or without) and not kind_of(layer.name):
            todo = "coldspan doctor NAME --account --contents looks into it"
            text = why.get(layer) or layer.problem or without
            yield Finding("CS301", NOTE, f"{whose} could not be looked at: {text}", where, todo)
    source = code is not None and code.is_dir() and not declared.built and not declared.inline_code
    yield from _packages(declared, own, there, source=source)


def is_recorder(layer: "Layer", there: "Contents | None") -> bool:
    """Whether a layer is the recorder's, by its name or by what is in it."""
    return kind_of(layer.name) == "recorder" or layer.name == "RecorderLayer" or (
        "coldspan-recorder" in layer.name.lower() or (there is not None and RECORDER in there.names)
    )  # fmt: skip


def _own(declared: "Declared", code: "Path | None") -> "Contents | None":
    """The function's package, where it is here. Errors: ConsoleError."""
    if declared.inline_code:
        return Contents(frozenset({"index.py"}), lambda *_: declared.inline_code.encode())
    return contents.of(code) if code is not None else None


def _packages(
    declared: "Declared", own: "Contents | None", layers: "dict[Layer, Contents]", *, source: bool
) -> "Iterator[Finding]":
    """What is hidden by what, and what prints metrics that the level filter drops.

    `source`: the package is a folder as it stands before `sam build`, which installs its requirements.txt.
    """
    roots = shadowing.folders(declared.runtime, declared.environment)
    places = [
        shadowing.Place(short(layer.name), root, found)
        for root in roots
        for layer, there in layers.items()
        if (found := _of_layer(layer, there, root)).modules
    ]
    mine = packages.of(own) if own is not None else packages.Packages({})
    text = ""
    if own is not None and source and "requirements.txt" in own.names:
        text = own.head("requirements.txt").decode("utf-8", "replace")
        mine = packages.with_requirements(mine, text, [place.packages for place in places])
    yield from shadowing.examine(declared.logical_id, mine, places)
    known = {module for each in (mine, *(place.packages for place in places)) for module in each.modules}
    named = packages.names_in(text)
    yield from _dropped(declared, sorted(
        name for name, module in PRINTERS.items() if module in known or name in named
    ))  # fmt: skip


def _of_layer(layer: "Layer", there: Contents, root: str) -> packages.Packages:
    if layer.build_method.startswith("python"):  # as it stands in the source: `sam build` puts it under python/
        return packages.of(there) if root == "python/" else packages.Packages({})
    found = packages.of(there, root)
    if root == "python/":  # its folder lib is no package that anybody imports
        return packages.Packages({name: each for name, each in found.modules.items() if not name.startswith("lib.")})
    return found


def _dropped(declared: "Declared", printers: "list[str]") -> "Iterator[Finding]":
    level = declared.log_level.upper()
    if printers and declared.log_format.upper() == "JSON" and level in findings.QUIET_LEVELS:
        yield Finding(
            "CS112",
            WARNING,
            f"ApplicationLogLevel is {level}: a line without a level counts as INFO and is dropped, so the embedded"
            f" metrics that {', '.join(printers)} prints do not arrive (coldspan's carry the level)",
            declared.logical_id,
            "set ApplicationLogLevel to INFO, and the logger's own level by POWERTOOLS_LOG_LEVEL or logging",
        )


def _surroundings(declared: "Declared", around: Surroundings) -> "Iterator[Finding]":
    where = declared.logical_id
    if around.group_class in CLASSES:
        yield Finding(
            "CS116",
            ERROR,
            f"log group {around.group} is of class {CLASSES[around.group_class]}: CloudWatch extracts no metrics there",
            where,
            "log to a group of the Standard class: the class of a group cannot be changed",
        )
    wanted = declared.environment.get("COLDSPAN_XRAY", "").strip().lower() != "off"
    tracing = declared.tracing if declared.tracing == "Active" and wanted else ""
    if around.documents is not None:
        yield from permissions.examine(where, around.role, around.documents, around.boundary, around.group_arn, tracing)
    elif around.role and around.why:
        yield permissions.unknown(where, around.role, around.why, tracing)
