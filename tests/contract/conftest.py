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
# Where the order is tested, not the budget: a machine under load takes more than 50 ms for a first drain.
PATIENT = {"COLDSPAN_FLUSH_MS": "10000"}


@pytest.fixture(scope="session")
def layers(tmp_path_factory):
    """Give the built recorder layer for an interpreter; one folder for all, byte code is kept apart by version."""
    folder = tmp_path_factory.mktemp("built") / "layer"
    shutil.copytree(ROOT / "layer" / "recorder", folder, ignore=shutil.ignore_patterns("__pycache__"))
    compile_all = ["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(folder / "python")]
    done = set()

    def layer(python=sys.executable):
        if python not in done:
            subprocess.run([python, *compile_all], check=True, timeout=60)
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


@pytest.fixture(scope="session")
def task_with_package(tmp_path_factory, task, layer):
    """The same code with coldspan beside it, as `pip install coldspan -t` leaves it: no layer is needed."""
    folder = tmp_path_factory.mktemp("packaged") / "task"
    shutil.copytree(task, folder)
    shutil.copytree(layer / "python" / "coldspan", folder / "coldspan")
    return folder


@pytest.fixture
def start(task, layer):
    """Start a function and give its LocalLambda: `start("app.handler", layer=None, environment={...})`.

    The layer is attached unless told otherwise. All functions are ended with the test; then no record may tell of an
    error of ours or of a drop, but for those named in `faults` (steps) and `loses` (reasons).
    """
    problems = []
    with contextlib.ExitStack() as stack:

        def starter(handler="app.handler", *, faults=(), loses=(), xray=True, framed=False, mounting=None, **fields):
            fields = {"task": task, "layer": layer, **fields}
            fields["environment"] = {**PATIENT, **fields.get("environment", {})}
            platform = LocalLambda(Function(handler=handler, **fields), xray=xray, framed=framed, mounting=mounting)
            stack.callback(lambda: problems.extend(losses(platform, set(faults), set(loses))))
            return stack.enter_context(platform)

        yield starter
    assert problems == []


def losses(platform, faults, loses):
    """What the records of a function tell of our errors and drops, and is not expected."""
    for document in platform.documents:
        yield from (f"error of ours in {step}" for step in document.get("errors", {}) if step not in faults)
        yield from (f"dropped: {reason}" for reason in document.get("dropped", {}) if reason not in loses)
