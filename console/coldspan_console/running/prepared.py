"""A declared function made ready for the local platform: its code, packages, interpreter, layers and variables."""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from coldspan_console import layers
from coldspan_console.output import BAD_INPUT, MISSING, ConsoleError
from coldspan_console.platform.function import ACCOUNT, Function
from coldspan_console.platform.sandbox import compose_opt
from coldspan_console.running import interpreter, remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coldspan_console.account.session import Account
    from coldspan_console.output import Output
    from coldspan_console.project import Declared
    from coldspan_console.running.interpreter import Interpreter

# What moto and local stand-ins accept; the shell's own credentials are passed on only when asked for (--aws account).
DUMMY = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_SESSION_TOKEN": "local"}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for, over what the template says."""

    python: "str | None" = None
    layer: bool = True
    black_box: bool = False
    install: bool = True
    environment: "Mapping[str, str]" = field(default_factory=dict)
    handler: "str | None" = None
    memory_mb: "int | None" = None
    timeout_s: "float | None" = None
    init_type: "str | None" = None
    max_concurrency: "int | None" = None
    aws_endpoint: "str | None" = None
    account: "Account | None" = None  # from which layers may be brought
    credentials: "Mapping[str, str]" = field(default_factory=lambda: DUMMY)  # variables
    region: str = "eu-west-1"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A function that can be run, and what a person should know of how."""

    declared: "Declared"
    function: Function
    timeout_ms: int
    python: "Interpreter"
    notes: "tuple[str, ...]" = ()
    has_recorder: bool = True


@contextlib.contextmanager
def prepare(declared: "Declared", wishes: Wishes, output: "Output") -> "Iterator[Prepared]":
    """Make a function ready; what was made for it alone is taken away at the end. Errors: ConsoleError."""
    notes: list[str] = list(declared.notes)
    with tempfile.TemporaryDirectory(prefix="coldspan-task-") as made:
        python = interpreter.choose(declared.runtime, declared.template.parent, wishes.python)
        if python.runtime != declared.runtime:
            notes.append(f"{declared.runtime} in the template; {python.runtime} here ({python.origin})")
        with output.progress("preparing the runtime"):
            runtime = interpreter.runtime_folder(python)
        task = _task(declared, python, runtime, Path(made), wishes, output, notes)
        handler = wishes.handler or declared.handler
        _check_handler(task, handler, declared)
        mounted = _layers(declared, python, wishes, output, notes)
        environment = {
            **declared.environment,
            **wishes.credentials,
            "AWS_ACCOUNT_ID": ACCOUNT,
            **wishes.environment,
        }
        if wishes.aws_endpoint:
            environment.setdefault("AWS_ENDPOINT_URL", wishes.aws_endpoint)
        if declared.log_format == "JSON":
            environment.setdefault("AWS_LAMBDA_LOG_FORMAT", "JSON")
            if declared.log_level:
                environment.setdefault("AWS_LAMBDA_LOG_LEVEL", declared.log_level)
        if declared.unresolved:
            notes.append(
                f"not known without an account, and not set: {', '.join(declared.unresolved)} (--env NAME=VALUE)"
            )
        timeout_ms = round((wishes.timeout_s or declared.timeout_s) * 1_000)
        function = Function(
            task=task,
            handler=handler,
            layer=mounted[0] if mounted else Path(made) / "no-layer",
            more_layers=tuple(mounted[1:]),
            python=python.path,
            runtime=runtime,
            name=declared.name,
            memory_mb=wishes.memory_mb or declared.memory_mb,
            region=wishes.region,
            tracing=declared.tracing,
            init_type=wishes.init_type or declared.init_type,
            max_concurrency=wishes.max_concurrency or declared.max_concurrency,
            environment=environment,
        )
        if not mounted:
            (Path(made) / "no-layer").mkdir()
        has_recorder = any(map(layers.is_ours, mounted))
        yield Prepared(declared, function, timeout_ms, python, tuple(notes), has_recorder)


def _layers(
    declared: "Declared", python: "Interpreter", wishes: Wishes, output: "Output", notes: "list[str]"
) -> "list[Path]":
    def install(target: Path, words: "list[str]") -> None:
        if not wishes.install:
            todo = "let them be installed (without --no-install), or run `sam build`"
            raise ConsoleError("a layer wants packages", where=" ".join(words), todo=todo, exit_code=MISSING)
        interpreter.install(python, target, words)

    found: list[Path] = []
    with output.progress("building layers"):
        for layer in declared.layers:
            folder, note = layers.local(layer, python.runtime, install), ""
            if layer.problem:
                note = f"layer {layer.name} is left out: {layer.problem}"
            elif folder is None:
                folder, note = remote.folder(layer.name, python, wishes.account, install=wishes.install)
            if note:
                notes.append(note)
            if folder is not None:
                found.append(folder)
        if wishes.layer and not any(layers.is_ours(folder) for folder in found):
            found.append(layers.ours(layers.RECORDER))
        if wishes.black_box and not any((folder / "coldspan-blackbox").is_dir() for folder in found):
            found.append(layers.ours(layers.BLACK_BOX))
    if not wishes.layer:
        found = [folder for folder in found if not layers.is_ours(folder)]
    return found


def _task(
    declared: "Declared", python: "Interpreter", runtime: Path, made: Path, wishes: Wishes, output: "Output",
    notes: "list[str]",
) -> Path:  # fmt: skip
    """The folder that becomes /var/task."""
    if declared.inline_code:
        folder = made / "inline"
        folder.mkdir()
        (folder / "index.py").write_text(declared.inline_code, "utf-8")
        shutil.copy(
            Path(__file__).with_name("cfnresponse.py"), folder
        )  # which Lambda adds to inline code, and no other
        return folder
    code = declared.code
    if code.is_file():
        folder = made / "code"
        layers.unpack(code, folder)
        code = folder
    if declared.built:
        return code
    missing = _missing(code, {**python.packages, **interpreter.packages_of(runtime)})
    if not missing:
        return code
    if not wishes.install:
        todo = "let them be installed (without --no-install), run `sam build`, or name an interpreter that has them"
        text = f"requirements.txt wants {', '.join(missing)}, which {python.path} does not have"
        raise ConsoleError(text, where=str(code), todo=todo, exit_code=MISSING)
    requirements = code / "requirements.txt"
    key = hashlib.sha256(requirements.read_bytes() + python.version.encode()).hexdigest()[:16]
    target = layers.cache_folder() / "packages" / key
    if not target.is_dir():
        making = target.with_name(f"{key}.{os.getpid()}")
        making.mkdir(parents=True)
        with output.progress(f"installing {', '.join(missing)}"):
            interpreter.install(python, making, ["-r", str(requirements)], code)
        layers.keep(making, target)
        notes.append(f"installed {', '.join(missing)} for {python.runtime}, into a cache")
    return compose_opt(made / "task", target, code)


def _missing(code: Path, present: "dict[str, str]") -> "list[str]":
    """What requirements.txt names and is not there. Options, addresses and paths are for pip to make sense of."""
    from packaging.requirements import InvalidRequirement, Requirement

    found = []
    file = code / "requirements.txt"
    for number, text in _requirements(file):
        if text.startswith("-") or re.match(r"[^\s@]*[/\\]", text):
            found.append(text)
            continue
        try:
            wanted = Requirement(text)
        except InvalidRequirement as error:
            raise ConsoleError(f"no requirement: {text}", where=f"{file}:{number}", todo=str(error)) from None
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        version = present.get(interpreter.normal(wanted.name))
        if version is None or not wanted.specifier.contains(version, prereleases=True):
            found.append(wanted.name)
    return found


def _requirements(file: Path) -> "Iterator[tuple[int, str]]":
    """The lines that say something by their numbers: whole, without comments and the options of a package (hashes).

    Source: pip documentation, "Requirements File Format".
    """
    if not file.is_file():
        return
    begun, number = "", 0
    for at, line in enumerate(file.read_text("utf-8-sig").splitlines(), 1):
        number = number if begun else at
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        text = re.sub(r"(^|\s)#.*", "", begun + line).strip()
        begun = ""
        if not text.startswith("-"):
            text = re.split(r"\s--?[a-z]", text, maxsplit=1)[0].strip()
        if text:
            yield number, text


def _check_handler(task: Path, handler: str, declared: "Declared") -> None:
    module, dot, name = handler.rpartition(".")
    if not dot or not name.isidentifier():
        raise ConsoleError(
            f"no handler: {handler}", where=declared.logical_id, todo="a handler is FILE.FUNCTION, as in app.handler"
        )
    path = task / module.replace(".", "/") if "/" not in module else task / module
    if handler == "coldspan.handler" or path.with_name(path.name + ".py").is_file() or (path / "__init__.py").is_file():
        return
    there = ", ".join(sorted(file.name for file in task.glob("*.py"))[:8]) or "no Python file"
    text = f"handler {handler}: there is no {path.relative_to(task)}.py"
    raise ConsoleError(text, where=str(declared.code), todo=f"there is: {there}", exit_code=BAD_INPUT)


def folder_of(word: str, handler: "str | None") -> "Declared | None":
    """A function without a template: a folder with a handler, or a handler of the current folder (`app.handler`)."""
    from coldspan_console.project import Declared

    place = Path(word)
    if place.is_dir():
        file = next(
            (
                name
                for name in ("app", "lambda_function", "index", "main", "handler")
                if (place / f"{name}.py").is_file()
            ),
            None,
        )
        named = handler or (_handler_in(place / f"{file}.py") if file else None)
        if named is None:
            raise ConsoleError("which handler?", where=str(place), todo="name it by --handler, as in app.handler")
        code, name = place, place.resolve().name
    else:
        module, dot, _ = word.rpartition(".")
        if not dot or not Path(module.replace(".", "/") + ".py").is_file():
            return None
        code, named, name = Path.cwd(), word, Path.cwd().name
    runtime = f"python{interpreter.own_version()}"
    return Declared(
        logical_id=name,
        name=name,
        handler=named,
        runtime=runtime,
        code=code.resolve(),
        template=code.resolve() / "template.yaml",
    )


def _handler_in(file: Path) -> "str | None":
    """The handler of a file, by the names that are usual."""
    import ast

    with contextlib.suppress(SyntaxError, ValueError, OSError):
        names = {
            node.name
            for node in ast.parse(file.read_bytes()).body
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        }
        for usual in ("handler", "lambda_handler", "main"):
            if usual in names:
                return f"{file.stem}.{usual}"
    return None
