"""Where a function runs: /opt, /var/task, /var/runtime, /var/lang and /tmp are given folders, as Lambda mounts them."""

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
CHECKOUT = Path(__file__).parents[3]


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


def compose_opt(into: Path, *folders: Path, without: "tuple[str, ...]" = ()) -> Path:
    """One folder of several, in their order: of two files with one path the later folder's is there.

    The files are hard links where the file system allows, else copies: nobody may write to them. `without`: patterns of
    names that are left out.
    """
    into.mkdir(exist_ok=True)
    ignored = shutil.ignore_patterns(*without)
    for folder in folders:
        shutil.copytree(folder, into, symlinks=True, copy_function=_link, dirs_exist_ok=True, ignore=ignored)
    return into


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)


class Stage:
    """A function's folders on the host, and the command that starts something where they have their names on Lambda.

    `tmp` is what becomes /tmp: it is kept when the environment is reset, and ends with the stage. `mounting` says how
    the folders got their names: MOUNTED, or BY_VARIABLES. The latter is the nearest thing where mount namespaces are
    not allowed: the same start script and the same search path, but the folders keep their own names, and of /tmp only
    the recorder's journals have one of their own.
    """

    def __init__(self, function: "Function", mounting: "str | None", prefix: str) -> None:
        self.function = function
        self.mounting = mounting or (MOUNTED if _can_mount(function) else BY_VARIABLES)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self.tmp = self.path / "tmp"
        self.tmp.mkdir()
        self.tmp.chmod(0o1777)  # a Managed Instance in the emulator is another user
        self.opt = self._opt()
        self._started_count = 0

    def command(self, *program: "str | Path") -> list[str]:
        """The command that runs a program among the mounted folders."""
        self._started_count += 1
        points = self.path / f"mounts-{self._started_count}"
        points.mkdir()
        function, base = self.function, base_of(self.function.python)
        kept = ":".join(str(folder) for folder in self._kept(*program))
        lang = base if (base / "bin" / "python3").exists() else ""
        folders = [self.opt, function.task, function.runtime, points, self.tmp, lang, kept]
        return [str(part) for part in (*(unshare_command() or ()), "bash", MOUNT_SCRIPT, *folders, *program)]

    def variables(self, variables: "Mapping[str, str]") -> dict[str, str]:
        """Environment variables for this stage: the given, and where folders keep their names what tells these."""
        environment = dict(variables)
        if self.mounting == MOUNTED:
            return environment
        environment["COLDSPAN_LOCAL_OPT"] = str(self.opt)
        environment["LAMBDA_TASK_ROOT"] = str(self.function.task)
        environment["LAMBDA_RUNTIME_DIR"] = str(self.function.runtime)
        environment.setdefault("COLDSPAN_JOURNAL_DIR", str(self.tmp / "coldspan"))
        if (wrapper := environment.get("AWS_LAMBDA_EXEC_WRAPPER", "")).startswith("/opt/"):
            environment["AWS_LAMBDA_EXEC_WRAPPER"] = str(self.opt / wrapper.removeprefix("/opt/"))
        binaries = base_of(self.function.python) / "bin"
        if (binaries / "python3").exists():  # an extension takes its interpreter from there
            environment["PATH"] = f"{binaries}:{environment.get('PATH', '')}"
        return environment

    def close(self) -> None:
        """Take the folders away."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _opt(self) -> Path:
        layers = self.function.layers
        if len(layers) == 1:
            return layers[0]
        return compose_opt(self.path / "opt", *layers)

    def _kept(self, *program: "str | Path") -> "set[Path]":
        """Folders that are needed under their own names, and may be below /tmp: interpreter, programs, named ones."""
        python = self.function.python.absolute()
        named = [part for value in self.function.environment.values() for part in value.split(":")]
        kept = {python.parent.parent, base_of(python), CHECKOUT}
        for part in (*map(str, program), *named):
            path = Path(part)
            if part.startswith("/tmp/"):  # noqa: S108 - the one that a mount would hide
                kept.add(path if path.is_dir() else path.parent)
        return {folder for folder in kept if folder != Path("/tmp")}  # noqa: S108 - see above


class Sandbox:
    """One environment's processes: the runtime's, and those of external extensions."""

    def __init__(self, function: "Function", *, mounting: "str | None" = None) -> None:
        self.function = function
        self.folders = Stage(function, mounting, "coldspan-sandbox-")
        self.process: subprocess.Popen[bytes] | None = None
        self.extensions: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def mounting(self) -> str:
        """How its folders got their names."""
        return self.folders.mounting

    @property
    def stage(self) -> Path:
        """The folder that holds all that is made for it."""
        return self.folders.path

    def start(
        self, variables: "Mapping[str, str]", stdout: int, stderr: int, *others: int
    ) -> "subprocess.Popen[bytes]":
        """Start the runtime's start script. The variables are its whole environment; it keeps the `others`, too."""
        function, environment = self.function, self.folders.variables(variables)
        environment["COLDSPAN_LOCAL_PYTHON"] = str(function.python)
        environment["COLDSPAN_LOCAL_VERSION"] = version_of(function.python)
        if self.mounting == MOUNTED:
            command, directory = self.folders.command("/var/runtime/bootstrap"), None
        else:
            command, directory = [str(function.runtime / "bootstrap")], function.task
        self.process = subprocess.Popen(
            command, env=environment, cwd=directory, stdin=subprocess.DEVNULL,
            stdout=stdout, stderr=stderr, start_new_session=True, pass_fds=others,
        )  # fmt: skip
        return self.process

    def extension_files(self) -> list[Path]:
        """The external extensions: the files, not the folders, in extensions/ of the layers."""
        folder = self.folders.opt / "extensions"
        return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []

    def start_extension(
        self, file: Path, variables: "Mapping[str, str]", stdout: int, stderr: int
    ) -> "subprocess.Popen[bytes]":
        """Start one of the extension_files()."""
        environment = self.folders.variables(variables)
        for name in ("COLDSPAN_LOCAL_OPT", "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"):
            environment.pop(name, None)
        command = [str(file)] if self.mounting != MOUNTED else self.folders.command(f"/opt/extensions/{file.name}")
        process = subprocess.Popen(
            command, env=environment, cwd=None if self.mounting == MOUNTED else file.parent,
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True,
        )  # fmt: skip
        self.extensions[file.name] = process
        return process

    def kill(self) -> None:
        """End the runtime's process and those it has forked."""
        if self.process is not None:
            end(self.process)

    def close(self) -> None:
        """Kill what runs and take the folders away."""
        self.kill()
        for process in self.extensions.values():
            end(process)
        self.folders.close()


def end(process: "subprocess.Popen[bytes]", number: int = signal.SIGKILL) -> None:
    """Send a signal to a process and those it has forked; wait for its end when it cannot refuse."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
    if number == signal.SIGKILL:
        process.wait()


def base_of(python: Path) -> Path:
    """The folder that an interpreter was installed into: above its bin/."""
    return python.resolve().parent.parent


def _can_mount(function: "Function") -> bool:
    # an interpreter that lives where we mount would be hidden by the mount
    places = {function.python.absolute(), function.python.resolve()}
    hidden = any(place.is_relative_to(root) for place in places for root in ("/opt", "/var/task", "/var/runtime"))
    return not hidden and unshare_command() is not None
