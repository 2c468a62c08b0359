"""What the doctor finds in a function's declaration. Each finding has an id, which docs/doctor.md explains. Pure."""

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coldspan.boot.settings import Settings
from coldspan_console.account import vendors
from coldspan_console.project.project import PYTHONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldspan_console.project import Declared

ERROR, WARNING, NOTE = "error", "warning", "note"
OURS = vendors.OURS
# The recorder's variables; the README has them in a table, and a test holds them together.
VARIABLES = (
    "COLDSPAN_ASYNC_HANDLER", "COLDSPAN_DEADLINE_MS", "COLDSPAN_DETAIL", "COLDSPAN_EMF", "COLDSPAN_ENABLED",
    "COLDSPAN_ERROR_TEXT", "COLDSPAN_EXPORT", "COLDSPAN_FLUSH_MS", "COLDSPAN_HANDLER", "COLDSPAN_JOURNAL",
    "COLDSPAN_JOURNAL_DIR", "COLDSPAN_JOURNAL_KB", "COLDSPAN_LOCAL", "COLDSPAN_MASK_KEYS", "COLDSPAN_NAMESPACE", "COLDSPAN_NEXT_WRAPPER",
    "COLDSPAN_PAYLOADS", "COLDSPAN_PROPAGATE", "COLDSPAN_SLOW_MS", "COLDSPAN_TOOLS", "COLDSPAN_XRAY",
)  # fmt: skip
EXPORTERS = ("otlp", "prometheus", "statsd", "kafka")
# The black box's, by their beginning: docs/exporters.md and docs/destinations.md.
OTHERS = ("COLDSPAN_EXPORT_", "COLDSPAN_PROMETHEUS_", "COLDSPAN_STATSD_", "COLDSPAN_KAFKA_", "COLDSPAN_OTLP_")
NAMESPACE = re.compile(r"[A-Za-z0-9_./#:-]{1,255}")  # CloudWatch API reference, "PutMetricData", Namespace
MOST_LAYERS = 5
# Application levels above INFO, which a line without a level is taken to have. Source: Lambda developer guide,
# "Log-level filtering"; the recorder's own lines carry the level that lets them through.
QUIET_LEVELS = ("WARN", "ERROR", "FATAL")
EXPORT_MB = 256  # the black box refuses its exporters at this size and below: docs/exporters.md


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing: its id (CS and a number), how bad it is, what it is, where, and what to do."""

    id: str
    severity: str
    what: str
    where: str
    todo: str


def examine(declared: "Declared", *, has_recorder: bool) -> "Iterator[Finding]":
    """Everything that the declaration of a function tells. `has_recorder`: whether one of its layers is ours."""
    where, variables = declared.logical_id, declared.environment
    if declared.problem:
        other = declared.runtime.startswith("python") and declared.runtime not in PYTHONS
        todo = f"set Runtime to one of {', '.join(PYTHONS)}" if other else "nothing, if it is no Python function"
        yield Finding("CS100", NOTE, f"not examined: {declared.problem}", where, todo)
        return
    if not has_recorder:
        todo = "add the layer, or coldspan attach; `coldspan run` adds it by itself"
        yield Finding("CS101", WARNING, "the recorder's layer is not attached", where, todo)
    wrapper = variables.get("AWS_LAMBDA_EXEC_WRAPPER", "")
    if "PYTHONPATH" in variables and wrapper != OURS:
        todo = f"remove it, or set AWS_LAMBDA_EXEC_WRAPPER={OURS}"
        yield Finding(
            "CS102",
            ERROR,
            "PYTHONPATH is set, so the runtime skips the layer's .pth file: nothing is recorded",
            where,
            todo,
        )
    if declared.handler == "coldspan.handler" and "COLDSPAN_HANDLER" not in variables:
        yield Finding(
            "CS104",
            ERROR,
            "the handler is coldspan.handler, and COLDSPAN_HANDLER is not set: every init fails",
            where,
            "set it to the function's own handler, as in app.handler",
        )
    yield from _settings(dict(variables), where)
    yield from _vendors(declared)
    yield from _tracing(declared)
    yield from _logging(declared)
    yield from _architectures(declared)
    if len(declared.layers) > MOST_LAYERS:
        yield Finding("CS120", ERROR, f"{len(declared.layers)} layers; Lambda takes {MOST_LAYERS}", where, "merge some")
    if variables.get("COLDSPAN_EXPORT") and declared.memory_mb <= EXPORT_MB:
        yield Finding(
            "CS121",
            WARNING,
            f"{declared.memory_mb} MB of memory: the black box starts no exporter at {EXPORT_MB} MB or less",
            where,
            "raise MemorySize, or set COLDSPAN_EXPORT_FORCE=true",
        )


def _settings(variables: "dict[str, str]", where: str) -> "Iterator[Finding]":
    for name in sorted(variables):
        if not name.startswith("COLDSPAN_") or name in VARIABLES or name.startswith(OTHERS):
            continue
        near = difflib.get_close_matches(name, VARIABLES, 1)
        todo = f"did you mean {near[0]}?" if near else "remove it: README.md, “Settings”, has the names"
        yield Finding("CS105", WARNING, f"{name} is no setting", where, todo)
    settings = Settings(dict(variables))
    for refused in settings.problems:
        yield Finding(
            "CS106", ERROR, f"refused, and the default taken: {refused}", where, "README.md, “Settings”, has the values"
        )
    if not settings.enabled:
        yield Finding("CS107", WARNING, "COLDSPAN_ENABLED is off: nothing is recorded", where, "remove it")
    unknown = [
        word for word in re.split(r"[,\s]+", variables.get("COLDSPAN_EXPORT", "")) if word and word not in EXPORTERS
    ]
    if unknown:
        yield Finding(
            "CS108",
            ERROR,
            f"COLDSPAN_EXPORT names {', '.join(unknown)}, which is no exporter",
            where,
            f"there are {', '.join(EXPORTERS)}",
        )
    namespace = variables.get("COLDSPAN_NAMESPACE", "")
    if namespace and (not NAMESPACE.fullmatch(namespace) or namespace.startswith("AWS/")):
        yield Finding(
            "CS109",
            ERROR,
            f"COLDSPAN_NAMESPACE {namespace!r}: CloudWatch takes no metrics of it",
            where,
            "letters, digits and . - _ / # :, at most 255, and not AWS/",
        )


def _vendors(declared: "Declared") -> "Iterator[Finding]":
    where, path = declared.logical_id, declared.environment.get("AWS_LAMBDA_EXEC_WRAPPER", "")
    wrapper = vendors.by_wrapper(path)
    if wrapper is not None:
        named = path if wrapper.name == path else f"{path} ({wrapper.name}'s)"
        does = "if it sets PYTHONPATH, nothing is recorded"
        todo = f"set AWS_LAMBDA_EXEC_WRAPPER={OURS} and COLDSPAN_NEXT_WRAPPER={path} if both are to run"
        if wrapper.sets_pythonpath:
            does = "it sets PYTHONPATH: nothing is recorded"
        elif wrapper.replaces_runtime:
            does = "it does not run the Python runtime client: nothing is recorded"
            todo = "record by hand, with @coldspan.instrument"
        yield Finding("CS103", WARNING, f"another wrapper starts the runtime: {named}; {does}", where, todo)
    redirect = vendors.by_handler(declared.handler)
    if redirect is not None:
        yield Finding(
            "CS114", NOTE, f"the handler is {redirect.name}'s ({declared.handler}), which calls the function's own",
            where, "nothing: both record",
        )  # fmt: skip
    for vendor, layer in vendors.by_layers(layer.name for layer in declared.layers):
        yield Finding(
            "CS115", NOTE,
            f"{vendor.name} is attached, too (layer {short(layer)}); where it traces, call subsegments are left to it",
            where, "nothing, if both are wanted",
        )  # fmt: skip


def _tracing(declared: "Declared") -> "Iterator[Finding]":
    where = declared.logical_id
    if declared.tracing == "PassThrough":
        yield Finding(
            "CS110",
            NOTE,
            "X-Ray tracing is PassThrough: only requests that are sampled upstream leave a trace",
            where,
            "set Tracing: Active for one request a second and 5 % of the others",
        )
    elif declared.tracing == "Active":
        yield Finding(
            "CS111",
            NOTE,
            "X-Ray samples the first request of each second and 5 % of the others, unless a caller has decided: the"
            " others leave metrics and no trace",
            where,
            "nothing: Lambda's rate cannot be set",
        )


def _logging(declared: "Declared") -> "Iterator[Finding]":
    # Source: Lambda developer guide, "Log-level filtering", with its table of system log events.
    system = (declared.properties.get("LoggingConfig") or {}).get("SystemLogLevel")
    if declared.log_format.upper() == "JSON" and system == "WARN":
        yield Finding(
            "CS113",
            NOTE,
            "SystemLogLevel is WARN: the platform's report of an invocation that succeeded is not logged",
            declared.logical_id,
            "set it to INFO, if coldspan pull is to bring billed time and memory",
        )


def _architectures(declared: "Declared") -> "Iterator[Finding]":
    for layer in declared.layers:
        if layer.architectures and declared.architecture not in layer.architectures:
            yield Finding(
                "CS122",
                WARNING,
                f"layer {short(layer.name)} is for {', '.join(layer.architectures)}; the function is {declared.architecture}",
                declared.logical_id,
                f"take the layer's version for {declared.architecture}",
            )


def short(name: str) -> str:
    """A layer's name, of an ARN its name and number."""
    return ":".join(name.split(":")[6:8]) if name.count(":") >= 7 else name
