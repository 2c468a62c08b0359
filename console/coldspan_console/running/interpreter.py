"""Which Python runs a function here, and the runtime's own packages for it."""

import contextlib
import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from coldspan_console.layers import cache_folder, digest, keep, last_line
from coldspan_console.output import BAD_INPUT, MISSING, ConsoleError
from coldspan_console.platform.function import START_SCRIPTS

# What a managed Python runtime has: the runtime client and boto3. Lambda developer guide, "Python runtimes".
RUNTIME_PACKAGES = ("awslambdaric", "boto3")
INSTALL_S = 600
ASK = """
import importlib.metadata, json, sys
names = {}
for found in importlib.metadata.distributions():
    if found.name:
        names.setdefault(found.name.lower().replace("_", "-").replace(".", "-"), found.version)
print(json.dumps({"version": "%d.%d" % sys.version_info[:2], "names": names}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python. `origin` says in words why it was taken; `packages` are its distributions, by normal name."""

    path: Path
    version: str
    origin: str
    packages: "dict[str, str]"

    @property
    def runtime(self) -> str:
        """Lambda's name of its version."""
        return f"python{self.version}"


def choose(runtime: str, root: Path, named: "str | None" = None) -> Interpreter:
    """The Python for a function.

    The named one, else the environment of the shell or the project, else the runtime's version where it is installed,
    else this command's own. Errors: ConsoleError for one that does not run.
    """
    if named:
        found = shutil.which(named) or named
        return _ask(Path(found), "--python")
    environment = os.environ.get("VIRTUAL_ENV")
    places = [(Path(environment), "VIRTUAL_ENV")] if environment else []
    places += [(root / name, f"{name} beside the template") for name in (".venv", "venv")]
    for folder, origin in places:
        python = folder / "bin" / "python"
        if python.exists():
            return _ask(python, origin)
    wanted = runtime.removeprefix("python")
    if wanted == own_version():
        return _ask(base(), "this command's own")
    for found in _installed(wanted):
        with contextlib.suppress(ConsoleError):  # a shim of pyenv's is there for versions that are not chosen, too
            python = _ask(found, f"{runtime} of this machine")
            if python.version == wanted:
                return python
    return _ask(base(), f"this command's own: there is no {runtime} here")


def runtime_folder(python: Interpreter) -> Path:
    """A folder that becomes /var/runtime: the start scripts, the runtime client and boto3 for that Python.

    Made once and kept. From this command's own environment where the versions are the same, else from the package
    index. Errors: ConsoleError when neither has it.
    """
    versions = _own_versions() if python.version == own_version() else {}
    own = len(versions) == len(RUNTIME_PACKAGES)
    key = "-".join([digest(START_SCRIPTS), *(versions.values() if own else ())])
    target = cache_folder() / "runtime" / f"{python.version}-{key}"
    if target.is_dir():
        return target
    making = target.with_name(f"{target.name}.{os.getpid()}")
    making.mkdir(parents=True, exist_ok=True)
    for script in START_SCRIPTS.iterdir():
        if script.is_file():
            shutil.copy2(script, making)
    if own:
        for name in closure(RUNTIME_PACKAGES):
            _copy(name, making)
    else:
        install(python, making, RUNTIME_PACKAGES)
    keep(making, target)
    return target


def packages_of(runtime: Path) -> "dict[str, str]":
    """The distributions in a runtime folder."""
    return {
        normal(each.name): each.version for each in importlib.metadata.distributions(path=[str(runtime)]) if each.name
    }


def install(
    python: Interpreter, target: Path, words: "tuple[str, ...] | list[str]", beside: "Path | None" = None
) -> None:
    """Install into a folder for that Python, by uv where there is one, else by pip.

    `beside`: what relative paths in the words, and in what they name, are relative to. Errors: ConsoleError.
    """
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv:
        command = [uv, "pip", "install", "-q", "--python", str(python.path), "--target", str(target), *words]
    else:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        command += ["--python-version", python.version, "--only-binary=:all:", "--target", str(target), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_S, cwd=beside)
        why = last_line(done.stderr) if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if why:
        shutil.rmtree(target, ignore_errors=True)
        todo = "look at the package index's address, or name an interpreter that has the packages by --python"
        text = f"packages could not be installed: {why}"
        raise ConsoleError(text, where=" ".join(map(str, words)), todo=todo, exit_code=MISSING)


def closure(names: "tuple[str, ...]") -> "list[str]":
    """Distributions of this command's own environment with all that they require."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = normal(waiting.pop())
        if name in found:
            continue
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found[name] = None
        waiting += [re.match(r"[\w.-]+", each).group() for each in required if "extra ==" not in each]  # type: ignore[union-attr]
    return list(found)


def normal(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _own_versions() -> "dict[str, str]":
    """Those of the runtime's packages that this command's own environment has."""
    found = {}
    for name in RUNTIME_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@functools.cache
def own_version() -> str:
    """This command's own Python, as in "3.13"."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def base() -> Path:
    """This command's interpreter without its environment: a function is not to see the console's packages."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable)


def _ask(python: Path, origin: str) -> Interpreter:
    import json

    try:
        done = subprocess.run([str(python), "-c", ASK], capture_output=True, text=True, check=False, timeout=60)
        told = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ConsoleError(f"no Python: {error}", where=f"{python} ({origin})", exit_code=BAD_INPUT) from None
    return Interpreter(python, told["version"], origin, told["names"])


def _installed(version: str) -> "list[Path]":
    """Where a Python of that version may be: on PATH, of uv, of pyenv; the newest first."""
    found = shutil.which(f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv" / "python")
    below = [*sorted(uv.glob(f"cpython-{version}.*/bin/python{version}"))]
    below += sorted(pyenv.glob(f"{version}.*/bin/python"), key=_patch)
    return [*([Path(found)] if found else []), *reversed(below)]


def _patch(python: Path) -> int:
    """The 12 of 3.13.12: as text 3.13.9 would be the newer."""
    number = re.match(r"\d+\.\d+\.(\d+)", python.parts[-3])
    return int(number[1]) if number else -1


def _copy(name: str, target: Path) -> None:
    for file in importlib.metadata.files(name) or ():
        source = Path(str(file.locate()))
        if ".." in file.parts or "__pycache__" in file.parts or not source.is_file():
            continue
        place = target / file
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, place)
        except OSError:
            shutil.copy2(source, place)
