"""Where coldspan's own layers come from, and how a template's layers are built for a run on this machine."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from coldspan_console.output import MISSING, ConsoleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldspan_console.project import Layer

CHECKOUT = Path(__file__).parents[2]
PACKAGED = Path(__file__).parent / "layers"  # in an installed wheel
RECORDER, BLACK_BOX = "recorder", "blackbox"
BUILD_S = 300


def cache_folder() -> Path:
    """Where what is built or installed for local runs is kept: COLDSPAN_CACHE, or below XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("COLDSPAN_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(base) if base else Path.home() / ".cache") / "coldspan"


def source_of(name: str) -> "Path | None":
    """The source of a layer of ours: in the checkout, or in the package."""
    return next((root / name for root in (CHECKOUT / "layer", PACKAGED) if (root / name / "build.py").is_file()), None)


def ours(name: str) -> Path:
    """The folder of one of our layers, built, as it is mounted at /opt. Errors: ConsoleError."""
    source = source_of(name)
    if source is None:
        todo = "reinstall coldspan, or leave it out by --no-layer"
        raise ConsoleError(f"the source of the {name} layer is not there", todo=todo, exit_code=MISSING)
    summed = digest(source) if name == RECORDER else digest(source, source.parent / RECORDER)  # the second has a copy
    target = cache_folder() / "layers" / f"{name}-{summed}-{sys.implementation.cache_tag}"
    if not target.is_dir():
        making = target.with_name(f"{target.name}.{os.getpid()}")
        extra = ["--extra", "otlp"] if name == BLACK_BOX and os.environ.get("COLDSPAN_OTLP_LAYER") else []
        command = [sys.executable, str(source / "build.py"), "--into", str(making), *extra]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_S)
            if done.returncode:
                text = f"the {name} layer could not be built: {last_line(done.stderr)}"
                raise ConsoleError(text, where=str(source))
            keep(making, target)
        except subprocess.TimeoutExpired as error:
            raise ConsoleError(f"the {name} layer could not be built: {error}", where=str(source)) from None
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return target


def local(layer: "Layer", runtime: str, install: "Callable[[Path, list[str]], None]") -> "Path | None":
    """The folder of a template's layer as it is mounted at /opt; None where it is not on this machine.

    A layer with a BuildMethod that has not been built by `sam build` is built here, once for each content: `makefile`
    by its make target, a Python one by `install(target, words)` of its requirements.txt. Errors: ConsoleError.
    """
    source = layer.folder
    if source is None:
        return None
    mine = next((name for name in (RECORDER, BLACK_BOX) if source == source_of(name)), None)
    if mine is not None:
        return ours(mine)
    if source.is_dir() and not layer.build_method:
        return source
    target = cache_folder() / "layers" / f"{layer.name}-{digest(source)}-{runtime}"
    if not target.is_dir():
        making = target.with_name(f"{target.name}.{os.getpid()}")
        making.mkdir(parents=True)
        try:
            _build(layer, source, making, install)
            keep(making, target)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return target


def _build(layer: "Layer", source: Path, into: Path, install: "Callable[[Path, list[str]], None]") -> None:
    if source.is_file():
        unpack(source, into)
    elif layer.build_method == "makefile":
        _make(layer.name, source, into)
    else:
        shutil.copytree(source, into / "python", dirs_exist_ok=True)
        requirements = source / "requirements.txt"
        if requirements.is_file():
            install(into / "python", ["-r", str(requirements)])


def _make(name: str, source: Path, into: Path) -> None:
    command = ["make", f"build-{name}", f"ARTIFACTS_DIR={into}"]
    variables = {**os.environ, "ARTIFACTS_DIR": str(into)}
    try:
        done = subprocess.run(
            command, cwd=source, env=variables, capture_output=True, text=True, check=False, timeout=BUILD_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        text = f"layer {name} could not be built: {error}"
        raise ConsoleError(text, where=str(source), exit_code=MISSING) from None
    if done.returncode:
        todo = f"see what `make build-{name}` says there, or run `sam build`"
        raise ConsoleError(f"layer {name} could not be built: {last_line(done.stderr)}", where=str(source), todo=todo)


def unpack(archive: Path, into: Path) -> None:
    """The files of a .zip. Errors: ConsoleError."""
    try:
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(into)
    except (OSError, zipfile.BadZipFile) as error:
        raise ConsoleError(f"cannot be read: {error}", where=str(archive)) from None


def is_ours(folder: Path) -> bool:
    """Whether a layer has the recorder."""
    return (folder / "python" / "coldspan" / "boot" / "start.py").is_file()


def digest(*folders: Path) -> str:
    """A short name of folders' content: paths and bytes of their files, without what builds leave behind."""
    summed = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            if path.is_file() and "__pycache__" not in path.parts:
                summed.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return summed.hexdigest()[:16]


def keep(making: Path, target: Path) -> None:
    """Give a finished folder its name; when another process was first, its folder stays."""
    try:
        making.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(making, ignore_errors=True)


def last_line(text: str) -> str:
    """The last line of what a program said, which is the one that says why."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
