"""Who imports what first, and where each module lives: one more cold start, with a finder that writes it down."""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.blame.coldstart import InitFailedError, start_cold

if TYPE_CHECKING:
    from coldspan_console.blame.subject import Subject

COMPOSED = "/opt/python/"  # layers laid over one another, where they could not be mounted
PROBE = Path(__file__).parent / "probe"
OWN, PACKAGES, LAYER, COLDSPAN, RUNTIME, STANDARD = "yours", "packages", "layers", "coldspan", "runtime", "python"


@dataclass(frozen=True, slots=True)
class Importer:
    """The first import of a module. `file` is relative to the function's folder where it is in it."""

    file: str
    line: int
    at_top: bool  # at the top of a module, not within a function
    is_own: bool  # in the function's own code
    origin: str

    @property
    def place(self) -> str:
        """`app.py:3`."""
        return f"{self.file}:{self.line}" if self.file else ""


class Importers:
    """All of a cold start's, by module."""

    def __init__(self, subject: "Subject", found: "dict[str, Importer]") -> None:
        self._subject = subject
        self._found = found
        self._installed = subject.installed

    def of(self, module: str) -> "Importer | None":
        """Who imported it first; None of what was there before the function's turn."""
        return self._found.get(module)

    def where(self, module: str) -> str:
        """Whose it is: yours, packages (in the function's folder), layers, coldspan, runtime or python.

        `packages` are those that an installer put there: they have a dist-info folder that names them.
        """
        top = module.partition(".")[0]
        if top == "coldspan" or top.startswith("coldspan_blame"):
            return COLDSPAN
        known = self._found.get(top) or self._found.get(module)
        origin = known.origin if known is not None else ""
        if inside(origin, self._subject.roots) is not None:
            return PACKAGES if top in self._installed else OWN
        if inside(origin, self._subject.layer_roots) is not None or COMPOSED in origin:
            return LAYER
        return STANDARD if top in sys.stdlib_module_names else RUNTIME


def find_importers(subject: "Subject") -> Importers:
    """Start the function once with the finder. Errors: as of start_cold; the log then ends with the traceback."""
    with tempfile.TemporaryDirectory(prefix="coldspan-blame-") as folder:
        file = Path(folder) / "imports"
        try:
            start_cold(subject, layers=(PROBE,), more={"COLDSPAN_BLAME_FILE": str(file)})
        except InitFailedError as error:
            tracebacks = [line["traceback"] for line in _lines(file) if isinstance(line, dict)]
            error.log += _without_ours(tracebacks[0]) if tracebacks else []
            raise
        lines = _lines(file)
    found: dict[str, Importer] = {}
    for line in lines:
        if isinstance(line, dict):  # an import_module of the function's own that failed, and was caught
            continue
        name, path, number, at_top, origin = line
        own = inside(path, subject.roots)
        is_own = own is not None and own.parts[0].removesuffix(".py") not in subject.installed
        found.setdefault(name, Importer(_short(path, own), number, at_top, is_own, origin or ""))
    return Importers(subject, found)


def _lines(file: Path) -> "list[Any]":
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def _without_ours(traceback: "list[str]") -> "list[str]":
    """A traceback without the frames of the import system and of the finder."""
    kept, hidden = [], False
    for line in traceback:
        if line.startswith("  File "):
            hidden = any(part in line for part in ("<frozen ", "importlib/__init__.py", "coldspan_blame_probe.py"))
        elif not line.startswith("    "):
            hidden = False
        if not hidden:
            kept.append(line)
    return kept


def inside(path: str, roots: "tuple[str, ...]") -> "Path | None":
    """A path relative to the first of the roots that holds it; None where none does."""
    for root in roots:
        if path.startswith(root.rstrip("/") + "/"):
            return Path(path[len(root.rstrip("/")) + 1 :])
    return None


def _short(path: str, own: "Path | None") -> str:
    if own is not None:
        return own.as_posix()
    for mark in ("/site-packages/", "/opt/python/"):
        if mark in path:
            return path.partition(mark)[2]
    return "/".join(path.split("/")[-2:])


__all__ = ["COLDSPAN", "LAYER", "OWN", "PACKAGES", "RUNTIME", "STANDARD", "Importer", "Importers", "find_importers"]
