"""Builds what the measurements need: interpreter, managed runtime, functions and layers, all with byte code."""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from bench.setups import SETUPS, Setup

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "bench"


class UnavailableError(Exception):
    """A setup cannot be built here; the text says why."""


@dataclass
class Workshop:
    """The folders of one Python version, under build/bench/X.Y."""

    python: str  # the interpreter that everything is built for and run with
    version: str = ""
    base: Path = field(default_factory=Path)
    recorder: Path = field(default_factory=Path)  # the copy of our own layer that this run measures

    def __post_init__(self) -> None:
        script = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys._base_executable)"
        self.version, self.python = run([self.python, "-c", script]).split()
        self.base = ROOT / "build" / "bench" / self.version

    @property
    def lang(self) -> Path:
        """An environment without packages: /var/lang."""
        return self.base / "lang"

    @property
    def interpreter(self) -> Path:
        """The interpreter that runs the functions."""
        return self.lang / "bin" / "python3"

    @property
    def runtime(self) -> Path:
        """The runtime client and the AWS SDK: /var/runtime."""
        return self.base / "runtime"

    def task(self, setup: Setup) -> Path:
        """The function's own files: /var/task."""
        return self.base / f"task-{setup.functions}"

    def layer(self, setup: Setup) -> Path:
        """The layer's files: /opt."""
        return self.recorder if setup.name == "coldspan" else self.base / f"layer-{setup.name}"


def run(command: list[str], **options: object) -> str:
    """Run a command; its standard output. Errors: UnavailableError with the last lines it wrote."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        tail = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise UnavailableError(f"`{' '.join(map(str, command[:6]))}` failed: {tail}")
    return done.stdout


def fresh(folder: Path, *inputs: str) -> bool:
    """Whether `folder` was built from just these inputs."""
    stamp = folder / ".built-from"
    return stamp.exists() and stamp.read_text() == digest(*inputs)


def stamp(folder: Path, *inputs: str) -> None:
    """Note what `folder` was built from."""
    (folder / ".built-from").write_text(digest(*inputs))


def digest(*inputs: str) -> str:
    """A name for these inputs."""
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()


def text_of(folder: Path) -> str:
    """Every file of a small folder, as one text."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return "\0".join(f"{path.relative_to(folder)}\0{path.read_text(errors='replace')}" for path in files)


def install(workshop: Workshop, requirements: str | Path, target: Path) -> None:
    """Install a requirements file (a name in requirements/) into a folder, by uv where there is one, else by pip."""
    listed = str(ROOT / "requirements" / requirements)
    beside = Path(sys.executable).parent / "uv"
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv:
        run([uv, "pip", "install", "--quiet", "--python", workshop.python, "--target", str(target), "-r", listed])
        return
    tools = workshop.base / "tools"
    if not (tools / "bin" / "pip").exists():
        run([workshop.python, "-m", "venv", str(tools)])
    quiet = ["--quiet", "--disable-pip-version-check"]
    run([str(tools / "bin" / "pip"), "install", *quiet, "--target", str(target), "-r", listed])


def compile_bytes(workshop: Workshop, folder: Path) -> None:
    """Write byte code that is never checked against its source, as a layer on a read-only mount wants it.

    Every setup gets it, whether its own layer ships it or not: a cold start without byte code costs several times more.
    """
    options = ["-q", "-q", "-j", "2", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([str(workshop.interpreter), "-m", "compileall", *options, str(folder)], check=False)


def build_base(workshop: Workshop) -> None:
    """Make interpreter, runtime and task folders."""
    workshop.base.mkdir(parents=True, exist_ok=True)
    if not workshop.interpreter.exists():
        run([workshop.python, "-m", "venv", "--without-pip", "--symlinks", str(workshop.lang)])
    wanted = (ROOT / "requirements" / "peers-runtime.txt").read_text()
    if not fresh(workshop.runtime, wanted):
        shutil.rmtree(workshop.runtime, ignore_errors=True)
        install(workshop, "peers-runtime.txt", workshop.runtime)
        compile_bytes(workshop, workshop.runtime)
        stamp(workshop.runtime, wanted)
    for name in ("bootstrap.py", "probe.py"):  # the same on all sides, so the script itself need not be compiled
        shutil.copyfile(HERE / name, workshop.runtime / name)


def build_task(workshop: Workshop, setup: Setup) -> None:
    """Make the function's folder: its code beside what it depends on."""
    target = workshop.task(setup)
    wanted = (ROOT / "requirements" / "peers-function.txt").read_text()
    source = HERE / "functions" / setup.functions
    if fresh(target, wanted, text_of(source)):
        return
    shutil.rmtree(target, ignore_errors=True)
    install(workshop, "peers-function.txt", target)
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    compile_bytes(workshop, target)
    stamp(target, wanted, text_of(source))


def build_layer(workshop: Workshop, setup: Setup) -> str:
    """Make the setup's layer; says where it came from. Errors: UnavailableError with the reason."""
    if setup.name == "coldspan":
        return build_coldspan(workshop)
    target = workshop.layer(setup)
    packages = (ROOT / "requirements" / setup.requirements).read_text() if setup.requirements else ""
    files = HERE / "layers" / setup.layer if setup.layer else None
    inputs = (packages, text_of(files) if files else "", str(setup.extension))
    if not fresh(target, *inputs):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        if setup.requirements:
            install(workshop, setup.requirements, target / "python")
            drop_what_the_runtime_has(workshop, target / "python")
        if files:
            shutil.copytree(files, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        if setup.extension:  # the library only asks whether the file is there
            (target / "extensions").mkdir()
            (target / "extensions" / "datadog-agent").touch()
        compile_bytes(workshop, target / "python")
        stamp(target, *inputs)
    return setup.requirements or "none"


def drop_what_the_runtime_has(workshop: Workshop, python: Path) -> None:
    """Leave out packages that the managed runtime brings, as the published layers do."""
    for path in python.iterdir():
        name = path.name.split("-")[0]
        if (workshop.runtime / name).exists() and name not in {"bin", "__pycache__"}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def build_coldspan(workshop: Workshop) -> str:
    """Take the artefact of `make layer`; where that is not to be had, the source with byte code.

    Each state of it gets a folder of its own, so that a run measures one state from its beginning to its end.
    """
    source, origin = ROOT / "build" / "recorder", "make layer"
    try:
        run(["make", "layer"], cwd=ROOT)
    except (UnavailableError, FileNotFoundError) as error:
        source, origin = ROOT / "layer" / "recorder", f"layer/recorder, compiled by the bench, because {error}"
    part = workshop.base / f"layer-coldspan.{os.getpid()}"
    shutil.copytree(source, part, symlinks=True)
    if origin != "make layer":
        compile_bytes(workshop, part / "python")
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(part.rglob("*")) if path.is_file()))
    workshop.recorder = workshop.base / f"layer-coldspan-{state.hexdigest()[:12]}"
    if workshop.recorder.exists():
        shutil.rmtree(part)
    else:
        part.rename(workshop.recorder)
    tags = {path.stem.rpartition("-3")[2] for path in workshop.recorder.rglob("*.pyc")}
    return f"{origin}, byte code for Python {', '.join(f'3.{minor}' for minor in sorted(tags))}"


def zipped_bytes(folder: Path, target: Path, *, with_byte_code: bool) -> int:
    """Size of the folder as a layer's zip file (deflate, level 9)."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(folder.rglob("*")):
            skip = path.name == ".built-from" or (path.suffix == ".pyc" and not with_byte_code)
            if path.is_file() and not skip:
                archive.write(path, path.relative_to(folder))
    size = target.stat().st_size
    target.unlink()
    return size


def build_drawing(workshop: Workshop) -> Path:
    """A folder with what picture.py imports. Errors: UnavailableError."""
    target = workshop.base / "drawing"
    wanted = (HERE / "requirements.txt").read_text()
    if not fresh(target, wanted):
        shutil.rmtree(target, ignore_errors=True)
        install(workshop, HERE / "requirements.txt", target)
        stamp(target, wanted)
    return target


def versions_of(folder: Path) -> dict[str, str]:
    """Installed distributions by name."""
    found = {}
    for info in sorted(folder.glob("*.dist-info")):
        name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
        found[name] = version
    return found


def build(workshop: Workshop, names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Build everything for these setups; gives origin by name, and reason by name for what cannot be built."""
    build_base(workshop)
    origins, reasons = {}, {}
    for name in names:
        try:
            build_task(workshop, SETUPS[name])
            origins[name] = build_layer(workshop, SETUPS[name])
        except UnavailableError as error:
            reasons[name] = str(error)
    return origins, reasons
