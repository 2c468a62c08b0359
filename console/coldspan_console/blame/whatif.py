"""What would save time, measured: the function run again with an import moved to its use, or with byte code."""

import dataclasses
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.blame.coldstart import InitFailedError, start_cold
from coldspan_console.blame.deferring import NotMovableError, copy_folder, defer_in
from coldspan_console.blame.importers import COLDSPAN, OWN, PACKAGES
from coldspan_console.blame.spread import noise, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldspan_console.blame.coldstart import ColdStart
    from coldspan_console.blame.deferring import Change
    from coldspan_console.blame.subject import Subject

LAZY, COMPILED = "lazy", "compiled"
BYTE_CODE = "byte code"  # as it is named beside packages
COMPILED_SHARE = 0.05
CANDIDATES = 3
LEAST_SHARE = 0.02  # of the imports, for a package to be worth a try without being asked for


def candidates(found: "dict[str, Any]") -> "list[str]":
    """The packages to try: the costliest, with what they bring, that the function's own code imports at a top."""
    worth = LEAST_SHARE * found["imports"]["ms"]
    tried = [
        package
        for package in found["packages"]
        if package["own_import"] and package["at_top"] and package["total_ms"] >= worth
        and package["where"] not in {OWN, COLDSPAN}
    ]  # fmt: skip
    return [package["name"] for package in sorted(tried, key=lambda package: -package["total_ms"])[:CANDIDATES]]


def try_lazily(
    subject: "Subject", package: str, before: "list[ColdStart]", runs: int, advance: "Callable[[int], object]"
) -> "dict[str, Any]":
    """Move a package's imports, run that, side by side with what is, and say what it saves.

    Gives: package, kind ("lazy"), works, why (when not), saved_ms, noise_ms, is_saving, still_loaded, moved_ms (what
    the first invocation then pays more), first_use ("first invocation" or "not with this event"), moved: places and
    functions, diff: the change as measured.
    """
    told: dict[str, Any] = {"package": package, "kind": LAZY, "works": False, "why": "", "moved": [], "diff": ""}
    with tempfile.TemporaryDirectory(prefix="coldspan-lazy-") as folder:
        task = Path(folder) / "task"
        try:
            changes = defer_in(subject.task, subject.own_files, package, task)
        except NotMovableError as error:
            advance(2 * runs)
            return {**told, "why": str(error)}
        told["moved"] = _moved(changes)
        told["diff"] = "".join(change.diff for change in changes)
        return {**told, **_side_by_side(subject, task, package, before, runs, advance)}


def try_compiled(
    subject: "Subject", before: "list[ColdStart]", runs: int, advance: "Callable[[int], object]"
) -> "dict[str, Any]":
    """Put byte code beside the function's sources, and run that: Lambda compiles what has none at every cold start.

    Gives the same as try_lazily, of kind "compiled".
    """
    told: dict[str, Any] = {
        "package": BYTE_CODE, "kind": COMPILED, "works": False, "why": "", "moved": [], "diff": "",
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="coldspan-compiled-") as folder:
        task = Path(folder) / "task"
        copy_folder(subject.task, task)
        command = [str(subject.function.python), "-m", "compileall", "-q", "-f", "--invalidation-mode"]
        done = subprocess.run(
            [*command, "unchecked-hash", "-s", str(task), "-p", "/var/task", str(task)],
            capture_output=True, check=False, timeout=600,
        )  # fmt: skip
        if not list(task.rglob("*.pyc")):
            advance(2 * runs)
            return {**told, "why": f"it cannot be compiled: {done.stderr.decode('utf-8', 'replace')[:200]}"}
        return {**told, **_side_by_side(subject, task, "", before, runs, advance)}


def is_worth_compiling(subject: "Subject", found: "dict[str, Any]") -> bool:
    """Whether what the function's folder holds costs something, and has no byte code."""
    share = found["parts_ms"][OWN] + found["parts_ms"][PACKAGES]
    return share >= COMPILED_SHARE * found["imports"]["ms"] and not any(subject.task.rglob("__pycache__/*.pyc"))


def _side_by_side(
    subject: "Subject", task: Path, package: str, before: "list[ColdStart]", runs: int,
    advance: "Callable[[int], object]",
) -> "dict[str, Any]":  # fmt: skip
    """Run what is and what would be in turns: what else the machine does meets both."""
    other = dataclasses.replace(subject, function=dataclasses.replace(subject.function, task=task))
    now: list[ColdStart] = []
    then: list[ColdStart] = []
    for _ in range(runs):
        now.append(start_cold(subject))
        advance(1)
        try:
            then.append(start_cold(other))
        except InitFailedError as error:
            return {"why": f"the function does not start then: {error.told}"}
        advance(1)
    if why := _differs([*before, *now], then):
        return {"why": why}
    return {"works": True, **_compared(package, now, then)}


def _compared(package: str, now: "list[ColdStart]", then: "list[ColdStart]") -> "dict[str, Any]":
    """The imports' own clock is exact; of a process's start the kernel tells steps of 10 ms."""
    before, after = spread([one.import_ms for one in now]), spread([one.import_ms for one in then])
    first_before, first_after = spread([one.first_ms for one in now]), spread([one.first_ms for one in then])
    apart = noise(before, after)
    still = any(entry[0] == package for entry in then[-1].init["tree_us"])
    moved = first_after.middle - first_before.middle
    used = moved > noise(first_before, first_after)
    return {
        "saved_ms": round(before.middle - after.middle, 3),
        "noise_ms": round(apart, 3),
        "is_saving": before.middle - after.middle > apart,
        "still_loaded": still,
        "moved_ms": round(moved, 3),
        "first_use": "first invocation" if used else "not with this event",
    }


def _differs(before: "list[ColdStart]", then: "list[ColdStart]") -> str:
    """Why it does not work lazily, "" when it does: another outcome, or another answer where there was one answer."""
    outcomes = {start.outcome for start in before}
    for start in then:
        if start.outcome not in outcomes:
            return f"the first invocation ends differently: {start.error or start.outcome}"
    errors = {start.error for start in before}
    if len(errors) == 1 and {start.error for start in then} != errors:
        return f"the first invocation fails differently: {then[-1].error}"
    answers = {start.body for start in before}
    if len(answers) == 1 and before[0].outcome == "ok" and {start.body for start in then} != answers:
        return "the answer is another one"
    return ""


def _moved(changes: "list[Change]") -> "list[dict[str, Any]]":
    return [
        {"imported_at": f"{change.path.as_posix()}:{line}", "into": functions}
        for change in changes
        for line, functions in change.moved
    ]


__all__ = ["BYTE_CODE", "COMPILED", "candidates", "is_worth_compiling", "try_compiled", "try_lazily"]
