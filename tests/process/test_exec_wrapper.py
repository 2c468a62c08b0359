"""The exec wrapper and the .pth file, on the real awslambdaric, each in a fresh interpreter."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LAYER = Path(__file__).parents[2] / "layer" / "recorder"

# What the managed runtime's start script does: its search path, its .pth processing.
BOOTSTRAP = """
import os
import site
import sys

import awslambdaric.__main__ as runtime

layer = os.environ["TEST_LAYER"] + "/python"
if "PYTHONPATH" not in os.environ:
    sys.path.insert(0, layer)
sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
site.addsitedir(os.environ["LAMBDA_TASK_ROOT"])
if "PYTHONPATH" not in os.environ:
    site.addsitedir(layer)
    os.environ["PYTHONPATH"] = os.path.dirname(__file__)
if "TEST_RAISE" in os.environ:
    raise ValueError("from the runtime's script")
runtime.main([os.environ["LAMBDA_TASK_ROOT"], os.environ["_HANDLER"]])
"""

# A handler module that tells what it sees while it is imported, and leaves before the runtime asks for an event.
APP = """
import json
import os
import sys
import traceback

start = sys.modules.get("coldspan.boot.start")
main = sys.modules["__main__"]
seen = {
    "path": sys.path,
    "argv": sys.argv,
    "orig_argv": sys.orig_argv,
    "main": {name: str(value) for name, value in vars(main).items()
             if name not in ("__builtins__", "__loader__", "runtime", "site", "os", "sys")},
    "loader": [type(main.__loader__).__name__, main.__loader__.name, main.__loader__.path],
    "environ": {name: value for name, value in os.environ.items() if name not in ("_", "PWD", "OLDPWD", "SHLVL")},
    "flags": [sys.flags.optimize, sys.flags.isolated, "importtime" in sys._xoptions],
    "runtime_from": sys.modules["awslambdaric"].__file__,
}
ours = {
    "started": bool(getattr(start, "seam", None)),
    "importable": "coldspan" in sys.modules,
    "loaded": sorted(name for name in sys.modules if name.startswith("coldspan")),
    "finders": [type(finder).__module__ for finder in sys.meta_path if type(finder).__module__.startswith("coldspan")],
    "stack": [frame.filename for frame in traceback.extract_stack()],
}
print(json.dumps([seen, ours]), flush=True)
os._exit(0)
"""


class Function:
    """A function's folders: the runtime's script and the handler, with the layer mounted at `layer`."""

    def __init__(self, folder) -> None:
        self.script = folder / "runtime" / "bootstrap.py"
        self.task = folder / "task"
        self.layer = LAYER
        self.folder = folder
        for path, text in ((self.script, BOOTSTRAP), (self.task / "app.py", APP)):
            path.parent.mkdir()
            path.write_text(text)

    @property
    def wrapper(self):
        """What AWS_LAMBDA_EXEC_WRAPPER names."""
        return str(self.layer / "coldspan")

    def next_wrapper(self, body, *, mode=0o755):
        """Another vendor's wrapper, whose text is `body`."""
        path = self.folder / "other wrapper"
        path.write_text("#!/bin/bash\n" + body)
        path.chmod(mode)
        return str(path)

    def run(self, *command, **variables):
        """The finished process of `command` PYTHON SCRIPT, in the environment of a function and `variables`."""
        environment = {
            "PATH": os.environ["PATH"],
            "AWS_LAMBDA_FUNCTION_NAME": "orders",
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",  # nobody listens: app.py leaves before the first event
            "LAMBDA_TASK_ROOT": str(self.task),
            "_HANDLER": "app.handler",
            "TEST_LAYER": str(self.layer),
            **variables,
        }
        if "LD_LIBRARY_PATH" in os.environ:
            environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
        return subprocess.run(
            [*command, sys.executable, str(self.script)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=self.task,
        )

    def look(self, *command, **variables):
        """What the handler's module saw, in two parts: what any code may look at, and what is ours."""
        done = self.run(*command, **variables)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        seen, ours = json.loads(done.stdout)
        return seen, ours


@pytest.fixture
def function(tmp_path):
    """A Function in a folder of its own."""
    return Function(tmp_path)


@pytest.fixture
def broken(function, tmp_path):
    """A Function whose layer is broken in the way the test asks for."""

    def with_layer(text, where="boot/start.py"):
        function.layer = tmp_path / "layer"
        shutil.copytree(LAYER, function.layer, ignore=shutil.ignore_patterns("__pycache__"))
        (function.layer / "python" / "coldspan" / where).write_text(text)
        return function

    return with_layer


def test_the_layer_alone_starts_the_recorder_before_the_handler_is_imported(function):
    """Attaching the layer would record nothing."""
    _, ours = function.look()
    assert ours["started"]


def test_the_layer_alone_starts_nothing_when_pythonpath_is_set(function):
    """The exec wrapper would have no reason to be: the premise of every test below."""
    _, ours = function.look(PYTHONPATH="/nonexistent")
    assert ours["loaded"] == []


def test_the_exec_wrapper_starts_the_recorder_when_pythonpath_is_set(function):
    """A function with PYTHONPATH set could not be recorded without a change of its code."""
    _, ours = function.look(function.wrapper, PYTHONPATH="/nonexistent")
    assert ours["started"]
    assert len(ours["finders"]) == 1


@pytest.mark.parametrize("variables", [{}, {"PYTHONPATH": "/nonexistent"}], ids=["pth", "pythonpath"])
def test_the_exec_wrapper_leaves_path_arguments_main_and_environment_as_they_were(function, variables):
    """Code that looks around would behave differently under the wrapper."""
    bare, _ = function.look(**variables)
    wrapped, ours = function.look(function.wrapper, **variables)
    assert ours["started"]
    assert wrapped == bare


def test_the_exec_wrapper_leaves_one_frame_whose_file_is_called_bootstrap(function):
    """The runtime would not cut our frame off the stack traces it posts."""
    _, by_pth = function.look()
    _, wrapped = function.look(function.wrapper, PYTHONPATH="/nonexistent")
    assert wrapped["stack"][1:] == by_pth["stack"]
    assert wrapped["stack"][0].endswith("/bootstrap.py")


def test_an_error_of_the_runtime_script_prints_the_same_traceback_under_the_exec_wrapper(function):
    """Frames of ours would stand in the customer's log."""
    bare = function.run(TEST_RAISE="1", PYTHONPATH="/nonexistent")
    wrapped = function.run(function.wrapper, TEST_RAISE="1", PYTHONPATH="/nonexistent")
    assert "from the runtime's script" in bare.stderr
    assert (wrapped.returncode, wrapped.stdout, wrapped.stderr) == (bare.returncode, bare.stdout, bare.stderr)


def test_a_runtime_script_that_is_missing_fails_the_same_under_the_exec_wrapper(function):
    """The platform would be told something else than what is wrong."""
    function.script.unlink()
    bare, wrapped = function.run(), function.run(function.wrapper)
    assert bare.returncode == 2
    assert (wrapped.returncode, wrapped.stderr) == (bare.returncode, bare.stderr)


OPTIONS = {
    "before the last argument": 'exec "${@:1:$#-1}" -O "${@: -1}"',  # as the wrapper in the AWS documentation does
    "after the interpreter": 'exec "$1" -O "${@:2}"',
    "nothing": 'exec "$@"',
}


@pytest.mark.parametrize("place", OPTIONS)
def test_another_wrapper_is_called_in_between_and_may_add_options(function, place):
    """Attaching us would switch off, or break, the wrapper that was there before."""
    other = function.next_wrapper("export PYTHONPATH=/set/by/the/other FROM_OTHER=yes\n" + OPTIONS[place])
    seen, ours = function.look(function.wrapper, COLDSPAN_NEXT_WRAPPER=other)
    assert ours["started"]
    assert seen["environ"]["FROM_OTHER"] == "yes"
    assert seen["path"].count("/set/by/the/other") == 1
    assert seen["flags"][0] == (0 if place == "nothing" else 1)
    assert seen["argv"] == [str(function.script)]


def test_a_next_wrapper_that_cannot_be_run_ends_as_the_platform_would_end_it(function):
    """A misspelt wrapper would be ignored in silence."""
    assert function.run(function.wrapper, COLDSPAN_NEXT_WRAPPER="/nonexistent").returncode == 127
    closed = function.next_wrapper("", mode=0o644)
    assert function.run(function.wrapper, COLDSPAN_NEXT_WRAPPER=closed).returncode == 126


def test_the_exec_wrapper_named_as_its_own_next_does_not_call_itself_for_ever(function):
    """A copied setting would hang the init."""
    _, ours = function.look(function.wrapper, COLDSPAN_NEXT_WRAPPER=function.wrapper)
    assert ours["started"]


@pytest.mark.parametrize("way", ["pth", "wrapper"])
def test_nothing_is_started_when_switched_off_promise_7(function, way):
    """COLDSPAN_ENABLED=false would leave something behind."""
    variables = {} if way == "pth" else {"PYTHONPATH": "/nonexistent"}
    bare, _ = function.look(**variables, COLDSPAN_ENABLED="false")
    seen, ours = function.look(*[function.wrapper] * (way == "wrapper"), **variables, COLDSPAN_ENABLED="false")
    assert (ours["started"], ours["finders"]) == (False, [])
    assert ours["importable"], "a function that uses the decorator must still find the package"
    assert seen == bare


@pytest.mark.parametrize("way", ["pth", "wrapper"])
@pytest.mark.parametrize(
    "fault", ["def start(: pass", "import nonexistent", "raise SystemExit(3)", "def start(): 1 / 0"]
)
def test_a_recorder_that_cannot_start_leaves_the_runtime_as_it_was_promise_2(broken, fault, way):
    """A broken layer would break, or print into, every function it is attached to."""
    function = broken(fault)
    variables = {} if way == "pth" else {"PYTHONPATH": "/nonexistent"}
    bare, _ = function.look(**variables)
    seen, ours = function.look(*[function.wrapper] * (way == "wrapper"), **variables)
    assert seen == bare
    assert not ours["started"]


def test_a_package_root_that_cannot_be_imported_leaves_the_search_path_as_it_was_promise_2(broken):
    """The layer's folder would stay on the search path."""
    function = broken("raise RuntimeError", "__init__.py")
    bare, _ = function.look(PYTHONPATH="/nonexistent")
    seen, _ = function.look(function.wrapper, PYTHONPATH="/nonexistent")
    assert seen == bare


def test_what_is_not_python_passes_through_the_exec_wrapper_unchanged(function):
    """Attached to a function in another language, the wrapper would break it."""
    done = subprocess.run(
        [function.wrapper, "/bin/echo", "two  spaces", "*", "", "end"],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    assert done.stdout == "two  spaces *  end\n"


def test_the_exec_wrapper_without_its_start_script_passes_through(function, tmp_path):
    """A layer that was unpacked in part would break the function."""
    alone = tmp_path / "coldspan"
    shutil.copy(LAYER / "coldspan", alone)
    _, ours = function.look(str(alone), PYTHONPATH="/nonexistent")
    assert ours["loaded"] == []
