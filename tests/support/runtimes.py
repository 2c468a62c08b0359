"""Interpreters at hand, and runtimes: folders with an awslambdaric of a given version, installed once."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coldspan_console.platform.function import START_SCRIPTS

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "runtimes"
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
KNOWN = json.loads((Path(__file__).parent / "runtimes.json").read_text())
VERSIONS = KNOWN["versions"]


@functools.cache
def interpreters():
    """Version -> path, of every supported CPython found: our own, those on PATH, those of pyenv and uv."""
    found = {f"{sys.version_info[0]}.{sys.version_info[1]}": Path(sys.executable)}
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    managed = Path.home() / ".local" / "share" / "uv" / "python"
    for version in SUPPORTED:
        places = [
            *sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True),
            *sorted(managed.glob(f"cpython-{version}.*/bin/python{version}"), reverse=True),
            *(Path(folder) / f"python{version}" for folder in os.get_exec_path()),
        ]
        for place in places:
            if version not in found and place.is_file() and _answers(place, version):
                found[version] = place
    return dict(sorted(found.items(), key=lambda pair: SUPPORTED.index(pair[0]) if pair[0] in SUPPORTED else 99))


def absence(python, version):
    """Why awslambdaric `version` cannot be installed for Python `python`, or None when it can."""
    for entry in KNOWN["absent"]:
        if version in entry["versions"] and python in entry["pythons"]:
            return entry["reason"]
    return None


def pairs():
    """Every (Python, awslambdaric) that runs here."""
    return [(python, version) for python in interpreters() for version in VERSIONS if absence(python, version) is None]


def runtime(python, version):
    """The folder to mount at /var/runtime: start scripts and awslambdaric `version` for Python `python`."""
    folder = CACHE / f"{python}-{version}"
    if not (folder / "bootstrap.py").exists():
        _install(python, version, folder)
    for name in ("bootstrap", "bootstrap.py"):  # always of this checkout
        source, target = START_SCRIPTS / name, folder / name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.copy2(source, target)
    return folder


def _install(python, version, folder):
    unfinished = folder.with_name(folder.name + f".{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    wanted = ["--only-binary", ":all:", "--target", str(unfinished), f"awslambdaric=={version}"]
    uv = shutil.which("uv") or shutil.which("uv", path=Path(sys.executable).parent)
    if uv:
        command = [uv, "pip", "install", "--python", str(interpreters()[python]), *wanted]
    else:
        command = [sys.executable, "-m", "pip", "install", "--no-input", "--python-version", python, *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        pytest.skip(f"awslambdaric {version} for Python {python} could not be installed: {last}")
    subprocess.run(
        [interpreters()[python], "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(unfinished)],
        check=False, timeout=60,
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    try:
        unfinished.rename(folder)
    except OSError:  # another run was first
        shutil.rmtree(unfinished)


def _answers(place, version):
    # a pyenv shim stands on PATH for versions that are not selected
    asked = "import sys; print('%d.%d %s' % (*sys.version_info[:2], sys.implementation.name))"
    done = subprocess.run([place, "-ISc", asked], capture_output=True, text=True, check=False, timeout=20)
    return done.stdout.strip() == f"{version} cpython"
