"""What to compare with: a saved result, a folder, or a git ref of the function's own repository."""

import contextlib
import dataclasses
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from coldspan_console.blame.profile import SCHEMA
from coldspan_console.output import BAD_INPUT, ConsoleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldspan_console.project import Declared

NEEDED = ("function", "label", "machine", "python", "runs", "init", "imports", "packages", "modules", "instructions")


def saved(path: Path) -> "dict[str, Any]":
    """A result that --save or --json has written. Errors: ConsoleError for what is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConsoleError(f"the baseline cannot be read: {error}", where=str(path)) from None
    except ValueError as error:
        raise ConsoleError(f"the baseline is no JSON: {error}", where=str(path), todo=_todo()) from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA or any(name not in found for name in NEEDED):
        told = f"its schema is {schema}" if schema else "it has no schema"
        raise ConsoleError(f"the baseline is not of {SCHEMA}: {told}", where=str(path), todo=_todo())
    if not found["label"]:
        found["label"] = path.name
    return found


def _todo() -> str:
    return "save one by `coldspan blame --save FILE`, or name a git ref or a folder"


@contextlib.contextmanager
def version(declared: "Declared", word: str) -> "Iterator[Declared]":
    """The function as it is in a folder, or as it was at a git ref (written into a folder that goes at the end)."""
    place = Path(word)
    if place.is_dir():
        yield _in_folder(declared, place.resolve())
        return
    root, commit = _commit(declared, word)
    with tempfile.TemporaryDirectory(prefix="coldspan-ref-") as made:
        tree = Path(made) / "tree"
        _export(root, commit, tree)
        yield _at_ref(declared, root, tree, word)


def _in_folder(declared: "Declared", folder: Path) -> "Declared":
    """A folder with a template that has the function; or its code."""
    from coldspan_console.project import Project
    from coldspan_console.project.template import NAMES

    if any((folder / name).is_file() for name in NAMES):
        return Project.load(folder).function(declared.logical_id)
    return dataclasses.replace(declared, code=folder, built=False)


def _at_ref(declared: "Declared", root: Path, tree: Path, ref: str) -> "Declared":
    from coldspan_console.project import Project

    template = declared.template.resolve()
    if template.is_file() and template.is_relative_to(root):
        there = tree / template.relative_to(root)
        if not there.is_file():
            raise ConsoleError(f"{template.name} is not there at {ref}", where=str(root), todo="name a later ref")
        found = Project.load(there).function(declared.logical_id)
        if not declared.built and declared.code.is_relative_to(root) and found.code.is_relative_to(tree):
            _lay_untracked(declared.code, found.code, root)
        return found
    code = declared.code.resolve()
    there = tree / code.relative_to(root)
    if not there.is_dir():
        raise ConsoleError(f"{code.relative_to(root)} is not there at {ref}", where=str(root), todo="name a later ref")
    _lay_untracked(code, there, root)
    return dataclasses.replace(declared, code=there)


def _lay_untracked(code: Path, there: Path, root: Path) -> None:
    """What git does not track, as packages that were installed into the folder, is taken to be the same."""
    listed = _git(root, "ls-files", "--others", "--directory", "--no-empty-directory", "-z", "--", str(code))
    for name in listed.split("\0"):
        source = root / name
        if not name or not source.is_relative_to(code) or "__pycache__" in name:
            continue
        target = there / source.relative_to(code)
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
        elif source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def _commit(declared: "Declared", word: str) -> "tuple[Path, str]":
    start = declared.template.parent if declared.template.is_file() else declared.code
    with contextlib.suppress(ConsoleError):
        root = Path(_git(start, "rev-parse", "--show-toplevel").strip()).resolve()
        return root, _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{word}^{{commit}}").strip()
    raise ConsoleError(
        f"no baseline {word}: it is no file, no folder and no git ref", where=str(start), exit_code=BAD_INPUT,
        todo=_todo(),
    )  # fmt: skip


def _export(root: Path, commit: str, into: Path) -> None:
    """Write a commit's files into a folder: nothing is left in the repository, and no hook of it runs."""
    with tempfile.TemporaryFile() as file:
        _run(["git", "-C", str(root), "archive", "--format=tar", commit], root, file)
        file.seek(0)
        with tarfile.open(fileobj=file) as archive:
            archive.extractall(into, filter="data")


def _git(folder: Path, *words: str) -> str:
    with tempfile.TemporaryFile() as file:
        _run(["git", "-C", str(folder), *words], folder, file)
        file.seek(0)
        return file.read().decode("utf-8", "surrogateescape")


def _run(command: "list[str]", folder: Path, into: "IO[bytes]") -> None:
    try:
        done = subprocess.run(command, stdout=into, stderr=subprocess.PIPE, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConsoleError(f"git cannot be run: {error}") from None
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip() or str(done.returncode)
        raise ConsoleError(f"git {command[3]}: {told}", where=str(folder))


__all__ = ["saved", "version"]
