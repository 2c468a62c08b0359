"""What `sam build` has made of a template, where it is not older than the code."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.output import ConsoleError
from coldspan_console.project import template as reading

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_CODE = {"__pycache__", "node_modules", "venv"}
FILES = 20_000  # looked at; a folder with more is taken to be unchanged


@dataclass(frozen=True, slots=True)
class Built:
    """`folders`: by logical id, what was built. `at_s`: when, as a file's time."""

    folders: "dict[str, Path]" = field(default_factory=dict)
    at_s: float = 0.0

    def is_older(self, source: Path) -> bool:
        """Whether something in a folder has changed since."""
        return any(seconds > self.at_s for seconds in _times(source))


def read(path: Path) -> Built:
    """What was made of this template; nothing where it has changed since, or what was made cannot be read."""
    folder = path.parent / ".aws-sam" / "build"
    made = folder / "template.yaml"
    try:
        at_s = made.stat().st_mtime
        if at_s < path.stat().st_mtime:
            return Built()
        resources = reading.read(made)["Resources"]
    except (OSError, ConsoleError):
        return Built()
    found = {}
    for name, resource in resources.items():
        given = _uri(resource.get("Properties") or {})
        if isinstance(given, str) and (folder / given).is_dir():
            found[name] = (folder / given).resolve()
    return Built(found, at_s)


def _uri(properties: "dict[str, Any]") -> Any:
    return next((properties[key] for key in ("CodeUri", "ContentUri", "Code") if key in properties), None)


def _times(source: Path) -> "Iterator[float]":
    seen = 0
    for root, folders, files in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_CODE]
        for name in files:
            seen += 1
            if seen > FILES:
                return
            try:
                yield (Path(root) / name).lstat().st_mtime
            except OSError:  # gone meanwhile
                continue
