"""Where coldspan's own layers come from, and how a template's layers are built for a run on this machine."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from coldspan_console.output import MISSING, ConsoleError

if TYPE_CHECKING:
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
        todo = "reinstall coldspan, or name a built layer by --layer"
        raise ConsoleError(f"the source of the {name} layer is not there", todo=todo, exit_code=MISSING)
    target = cache_folder() / "layers" / f"{name}-{digest(source)}-{sys.implementation.cache_tag}"
    if not target.is_dir():
        making = target.with_name(f"{target.name}.{os.getpid()}")
        extra = ["--extra", "otlp"] if name == BLACK_BOX and os.environ.get("COLDSPAN_OTLP_LAYER") else []
        command = [sys.executable, str(source / "build.py"), "--into", str(making), *extra]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BUILD_S)
        if done.returncode:
            shutil.rmtree(making, ignore_errors=True)
            raise ConsoleError(f"the {name} layer could not be built: {last_line(done.stderr)}", where=str(source))
        keep(making, target)
    return target


def local(layer: "Layer") -> "Path | None":
    """The folder of a template's layer as it is mounted at /opt; None where it is not on this machine.

    A layer with a BuildMethod that has not been built by `sam build` is built here, once for each content: `makefile`
    by its make target, a Python one by installing its requirements.txt. Errors: ConsoleError.
    """
    if layer.folder is None or not layer.build_method:
        return layer.folder
    target = cache_folder() / "layers" / f"{layer.name}-{digest(layer.folder)}"
    if target.is_dir():
        return target
    making = target.with_name(f"{target.name}.{os.getpid()}")
    making.mkdir(parents=True)
    if layer.build_method == "makefile":
        command = ["make", f"build-{layer.name}", f"ARTIFACTS_DIR={making}"]
    else:
        shutil.copytree(layer.folder, making / "python", dirs_exist_ok=True)
        requirements = layer.folder / "requirements.txt"
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--target",
            str(making / "python"),
            "-r",
            str(requirements),
        ]
        command = command if requirements.is_file() else ["true"]
    try:
        done = subprocess.run(
            command, cwd=layer.folder, capture_output=True, text=True, check=False, timeout=BUILD_S,
            env={**os.environ, "ARTIFACTS_DIR": str(making)},
        )  # fmt: skip
    except OSError as error:
        raise ConsoleError(f"{command[0]}: {error.strerror}", where=f"layer {layer.name}", exit_code=MISSING) from None
    if done.returncode:
        shutil.rmtree(making, ignore_errors=True)
        todo = f"see what `{' '.join(command[:2])}` says in {layer.folder}, or run `sam build`"
        raise ConsoleError(f"layer {layer.name} could not be built: {last_line(done.stderr)}", todo=todo)
    keep(making, target)
    return target


def is_ours(folder: Path) -> bool:
    """Whether a layer has the recorder."""
    return (folder / "python" / "coldspan" / "boot" / "start.py").is_file()


def digest(folder: Path) -> str:
    """A short name of a folder's content: paths, sizes and bytes of its files, without what builds leave behind."""
    summed = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
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
