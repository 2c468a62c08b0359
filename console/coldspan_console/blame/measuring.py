"""The measurement: cold starts of a function, an empty one, and of another version, in turns."""

import dataclasses
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coldspan_console.blame.coldstart import ColdStart, start_cold
from coldspan_console.blame.comparing import compare
from coldspan_console.blame.importers import find_importers
from coldspan_console.blame.instructions import count_init
from coldspan_console.blame.profile import profile
from coldspan_console.blame.spread import spread
from coldspan_console.blame.subject import Subject
from coldspan_console.blame.whatif import BYTE_CODE, candidates, is_worth_compiling, try_compiled, try_lazily

EMPTY = "def handler(event, context):\n    return None\n"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. `packages`: those to try lazily; None: the costliest; (): none."""

    subject: Subject
    python: str
    runs: int = 5
    packages: "tuple[str, ...] | None" = None
    count: bool = False
    other: "Subject | None" = None  # the version to compare with, measured side by side
    other_python: str = ""
    saved: "dict[str, Any] | None" = None  # or a result of before
    advance: "Callable[[int], object]" = field(default=lambda _: None)

    @property
    def steps(self) -> int:
        """How many cold starts there will be at least."""
        tried = len(self.packages) if self.packages is not None else 0
        return self.runs * (2 + (self.other is not None) + 2 * tried) + 1 + (self.other is not None)


def measure(plan: Plan) -> "dict[str, Any]":
    """Measure, and give the profile with `yardstick_ms`, `what_if` and `against`. Errors: as of start_cold."""
    with tempfile.TemporaryDirectory(prefix="coldspan-empty-") as folder:
        (Path(folder) / "app.py").write_text(EMPTY, encoding="utf-8")
        empty = _empty(plan.subject, Path(folder))
        subjects = [plan.subject, *([plan.other] if plan.other is not None else []), empty]
        importers = []
        for subject in subjects[:-1]:  # first: it also warms the caches of the machine
            importers.append(find_importers(subject))
            plan.advance(1)
        starts: list[list[ColdStart]] = [[] for _ in subjects]
        for _ in range(plan.runs):
            for subject, into in zip(subjects, starts, strict=True):
                into.append(start_cold(subject))
                plan.advance(1)
    yardstick = round(spread([start.init_ms for start in starts[-1]]).middle, 3)
    found = profile(plan.subject, starts[0], importers[0], plan.python)
    found["yardstick_ms"] = yardstick
    if plan.count:
        found["instructions"] = count_init(plan.subject)
    found["against"] = None
    if plan.other is not None:
        before = profile(plan.other, starts[1], importers[1], plan.other_python)
        before["instructions"] = count_init(plan.other) if plan.count else None
        found["against"] = compare(before, found, side_by_side=True)
    elif plan.saved is not None:
        found["against"] = compare(plan.saved, found, side_by_side=False)
    packages = candidates(found) if plan.packages is None else plan.packages
    found["what_if"] = [
        try_lazily(plan.subject, name, starts[0], plan.runs, plan.advance) for name in packages if name != BYTE_CODE
    ]
    if BYTE_CODE in packages or (plan.packages is None and is_worth_compiling(plan.subject, found)):
        found["what_if"].append(try_compiled(plan.subject, starts[0], plan.runs, plan.advance))
    return found


def _empty(subject: Subject, folder: Path) -> Subject:
    function = dataclasses.replace(subject.function, task=folder, handler="app.handler")
    return dataclasses.replace(subject, function=function, event=b"{}")


__all__ = ["Plan", "measure"]
