"""Functions on the local platform, with and without the layer."""

import contextlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coldspan_console.platform import Function, LocalLambda
from support import broken

ROOT = Path(__file__).parents[2]
HANDLERS = ROOT / "tests" / "handlers"


def build(recorder, target, python):
    """A copy of the layer with byte code for `python`, as the artefact has it."""
    shutil.copytree(recorder, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    compile_all = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(target / "python")]
    subprocess.run([python, *compile_all], check=True, timeout=60)
    return target


@pytest.fixture(scope="session")
def layers(tmp_path_factory):
    """Give the built recorder layer for an interpreter; one folder for all, byte code is kept apart by version."""
    folder = tmp_path_factory.mktemp("layer")
    done = set()

    def layer(python=sys.executable):
        if python not in done:
            build(ROOT / "layer" / "recorder", folder, python)
            done.add(python)
        return folder

    return layer


@pytest.fixture(scope="session")
def layer(layers):
    """The built recorder layer for the interpreter that runs the tests."""
    return layers()


@pytest.fixture(scope="session")
def task(tmp_path_factory):
    """The handlers as a function's code: tests/handlers, and the modules that cannot be files of this repository."""
    folder = tmp_path_factory.mktemp("task") / "task"
    shutil.copytree(HANDLERS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    broken.write(folder)
    return folder


@pytest.fixture
def start(task, layer):
    """Start a function and give its LocalLambda: `start("app.handler", layer=None, environment={...})`.

    The layer is attached unless told otherwise. All functions are ended with the test.
    """
    with contextlib.ExitStack() as stack:

        def starter(handler="app.handler", *, xray=True, mounting=None, **fields):
            fields = {"task": task, "layer": layer, **fields}
            return stack.enter_context(LocalLambda(Function(handler=handler, **fields), xray=xray, mounting=mounting))

        yield starter
