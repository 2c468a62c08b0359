"""Where a function runs: /opt, /var/task and /var/runtime are the given folders, as Lambda mounts them."""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldspan_console.platform.function import Function

MOUNTED = "mounted"
BY_VARIABLES = "by variables"
MOUNT_SCRIPT = Path(__file__).parent / "mount.sh"


@functools.cache
def unshare_command() -> "tuple[str, ...] | None":
    """The command that gives a private mount namespace here, or None where that is not allowed."""
    tool = shutil.which("unshare")
    if tool is None:
        return None
    command = (tool, "-m" if os.geteuid() == 0 else "-rm", "--propagation", "private")
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run(
            [*command, "mount", "--bind", folder, folder], capture_output=True, check=False, timeout=20
        )
    return command if tried.returncode == 0 else None


@functools.cache
def version_of(python: Path) -> str:
    """The version of an interpreter as Lambda names it: "3.13"."""
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-ISc", asked], capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.strip()


class Sandbox:
    """One function's process. `mounting` says how its folders got their names: MOUNTED, or BY_VARIABLES.

    BY_VARIABLES is the nearest thing where mount namespaces are not allowed: the same start script and the same search
    path, but the folders keep their own names.
    """

    def __init__(self, function: "Function", *, mounting: "str | None" = None) -> None:
        self.function = function
        self.mounting = mounting or (MOUNTED if self._can_mount() else BY_VARIABLES)
        self.stage = Path(tempfile.mkdtemp(prefix="coldspan-sandbox-"))
        self._layer = function.layer or self.stage / "no-layer"
        if function.layer is None:
            self._layer.mkdir()
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self, variables: "Mapping[str, str]", stdout: int, stderr: int, *others: int
    ) -> "subprocess.Popen[bytes]":
        """Start the runtime's start script. The variables are its whole environment; it keeps the `others`, too."""
        function, environment = self.function, dict(variables)
        environment["COLDSPAN_LOCAL_PYTHON"] = str(function.python)
        environment["COLDSPAN_LOCAL_VERSION"] = version_of(function.python)
        if self.mounting == MOUNTED:
            folders = [self._layer, function.task, function.runtime, self.stage / "mounts"]
            (self.stage / "mounts").mkdir()
            command = [*(unshare_command() or ()), "bash", MOUNT_SCRIPT, *folders, "/var/runtime/bootstrap"]
            directory = None
        else:
            environment["COLDSPAN_LOCAL_OPT"] = str(self._layer)
            environment["LAMBDA_TASK_ROOT"] = str(function.task)
            environment["LAMBDA_RUNTIME_DIR"] = str(function.runtime)
            if (wrapper := environment.get("AWS_LAMBDA_EXEC_WRAPPER", "")).startswith("/opt/"):
                environment["AWS_LAMBDA_EXEC_WRAPPER"] = str(self._layer / wrapper.removeprefix("/opt/"))
            command, directory = [function.runtime / "bootstrap"], function.task
        self.process = subprocess.Popen(
            [str(part) for part in command], env=environment, cwd=directory, stdin=subprocess.DEVNULL,
            stdout=stdout, stderr=stderr, start_new_session=True, pass_fds=others,
        )  # fmt: skip
        return self.process

    def kill(self) -> None:
        """End the process and those it has forked."""
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Kill what runs and take the folders away."""
        self.kill()
        shutil.rmtree(self.stage, ignore_errors=True)

    def _can_mount(self) -> bool:
        # an interpreter that lives where we mount would be hidden by the mount
        places = {self.function.python.absolute(), self.function.python.resolve()}
        hidden = any(place.is_relative_to(root) for place in places for root in ("/opt", "/var/task", "/var/runtime"))
        return not hidden and unshare_command() is not None
