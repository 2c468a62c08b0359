"""What is measured: a function, the event of its first invocation, and what is known of its folder."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coldspan_console.platform.function import Function

TASK, OPT = "/var/task", "/opt"
INFO = re.compile(r"(?P<name>.+)-[^-]+\.dist-info")


@dataclass(frozen=True)
class Subject:
    """A function with the recorder in it. `event` is what its first invocation gets."""

    function: "Function"
    event: bytes = b"{}"
    timeout_ms: int = 30_000
    label: str = ""  # of a version: a git ref, a folder

    @property
    def task(self) -> Path:
        """The function's folder."""
        return self.function.task

    @property
    def roots(self) -> "tuple[str, ...]":
        """Where the folder is while the function runs, and here (when nothing could be mounted)."""
        return (TASK, str(self.task))

    @property
    def layer_roots(self) -> "tuple[str, ...]":
        """The same of its layers."""
        return (OPT, *(str(layer) for layer in self.function.layers))

    @cached_property
    def installed(self) -> "frozenset[str]":
        """Top-level names in the folder that an installer put there, by the RECORD of each dist-info folder."""
        names: set[str] = set()
        for info in self.task.glob("*.dist-info"):
            record = info / "RECORD"
            lines = record.read_text(encoding="utf-8", errors="replace").splitlines() if record.is_file() else []
            for line in lines:
                top = line.partition(",")[0].strip('"').partition("/")[0]
                if not top.startswith("..") and not top.endswith(".dist-info"):
                    names.add(top.partition(".")[0])
            if not lines and (named := INFO.fullmatch(info.name)):
                names.add(named["name"].lower().replace("-", "_"))
        return frozenset(names)

    @property
    def own_files(self) -> "list[Path]":
        """The function's own source files, relative to its folder: those that no installer put there."""
        found = []
        for file in sorted(self.task.rglob("*.py")):
            relative = file.relative_to(self.task)
            top = relative.parts[0]
            if top.startswith(".") or top in {"node_modules", "tests"} or top.removesuffix(".py") in self.installed:
                continue
            found.append(relative)
        return found


__all__ = ["Subject"]
