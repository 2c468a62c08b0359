"""One cold start on the local platform, as the recorder tells it."""

import dataclasses
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coldspan_console.output import ANSWER_IS_NO, MISSING, ConsoleError
from coldspan_console.platform.fleet import Fleet

if TYPE_CHECKING:
    from pathlib import Path

    from coldspan_console.blame.subject import Subject
    from coldspan_console.platform.fleet import LogLine, Outcome

RECORD_S = 30.0  # the record comes right after the response; a machine may be busy
# What a function may have set, and what would leave nothing to read.
NEEDED = {
    "COLDSPAN_ENABLED": "true",
    "COLDSPAN_EMF": "true",
    "COLDSPAN_FLUSH_MS": "10000",
    "COLDSPAN_JOURNAL": "false",
    "COLDSPAN_XRAY": "off",
    "COLDSPAN_EXPORT": "",
}


@dataclass(slots=True)
class ColdStart:
    """What one cold start and its first invocation did. `init` is the record's: see core/importtree.py."""

    init: "dict[str, Any]"
    outcome: str  # of the record: ok, error, timeout, ...
    first_ms: float  # the first invocation, its init not included
    body: bytes
    error: str = ""  # "Type: message" of the first invocation
    log: "list[str]" = field(default_factory=list)

    @property
    def init_ms(self) -> float:
        """Process start to the first request for an event. The kernel tells a process's start in steps of 10 ms."""
        return float(self.init.get("ms", 0.0))

    @property
    def import_ms(self) -> float:
        """The time of all imports, on a clock of nanoseconds."""
        return float(self.init.get("import_ms", 0.0))


class InitFailedError(Exception):
    """The function did not start: `told` is "Type: message", `log` what it printed."""

    def __init__(self, told: str, log: "list[str]") -> None:
        super().__init__(told)
        self.told = told
        self.log = log


def start_cold(
    subject: "Subject", *, layers: "tuple[Path, ...]" = (), more: "dict[str, str] | None" = None
) -> ColdStart:
    """Start an environment, invoke it once, and end it.

    `layers` are laid over the function's own, `more` are variables for this start.
    Errors: InitFailedError; ConsoleError when no record came.
    """
    function = subject.function
    function = dataclasses.replace(
        function,
        more_layers=(*function.more_layers, *layers),
        environment={**function.environment, **NEEDED, **(more or {})},
    )
    lines: list[LogLine] = []
    came = threading.Event()

    def hear(line: "LogLine") -> None:
        lines.append(line)
        if '"init"' in line.text and '"_aws"' in line.text:
            came.set()

    with Fleet(function, most=1, timeout_ms=subject.timeout_ms, heard=hear) as fleet:
        outcome = fleet.invoke(subject.event)
        if outcome.status in {"success", "error", "timeout"}:
            came.wait(RECORD_S)
    return _read(outcome, lines)


def _read(outcome: "Outcome", lines: "list[LogLine]") -> ColdStart:
    records, log = [], []
    for line in lines:
        document = _document(line.text)
        if document is None:
            log.append(line.text.replace("\r", "\n"))
        elif "outcome" in document:
            records.append(document)
    failed = next((one for one in records if one["outcome"] == "init_error"), None)
    if failed is not None:
        told = ": ".join(part for part in (failed.get("error_type"), failed.get("error_message")) if part)
        raise InitFailedError(told or "the function did not start", log)
    record = next((one for one in records if "init" in one), None)
    if record is None and outcome.status == "failure":
        raise InitFailedError(_told_by(outcome.body) or f"the process ended ({outcome.error_type})", log)
    if record is None:
        raise ConsoleError(
            "the recorder told nothing of this cold start",
            where=f"{len(log)} lines of log, outcome {outcome.status}",
            todo="`coldspan doctor` finds out why a function does not record, as with PYTHONPATH in its variables",
            exit_code=MISSING,
        )
    error = ""
    if record["outcome"] != "ok":
        told = [record.get("error_type") or record["outcome"], record.get("error_message") or ""]
        error = ": ".join(part for part in told if part)
    return ColdStart(record["init"], record["outcome"], float(record.get("Duration", 0.0)), outcome.body, error, log)


def _document(text: str) -> "dict[str, Any] | None":
    if not text.startswith("{"):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "_aws" in value else None


def _told_by(body: bytes) -> str:
    try:
        error = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(error, dict):
        return ""
    return ": ".join(str(error[name]) for name in ("errorType", "errorMessage") if error.get(name))


def not_started(error: InitFailedError, where: str) -> ConsoleError:
    """What a person is told of a function that does not start; its log has been shown before."""
    return ConsoleError(
        f"the function does not start: {error.told}",
        where=where,
        todo="make it start (its log is above), or name another folder, --handler or -e EVENT",
        exit_code=ANSWER_IS_NO,
    )


__all__ = ["ColdStart", "InitFailedError", "not_started", "start_cold"]
