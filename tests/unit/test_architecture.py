"""The rules a reader of one file cannot see: who imports whom, what is loaded, what things are called."""

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / "layer" / "recorder" / "python"
RECORDER = PYTHON / "coldspan"
OURS = ("layer", "console", "functions", "tests", "bench", ".ci", "docs", "events", "requirements")

MODULES = sorted(RECORDER.rglob("*.py"))
MAY = {"core": set(), "hot": {"core"}, "drain": {"core"}, "boot": {"core", "hot", "drain"}}
# What annotations may name from anywhere, under `if TYPE_CHECKING`: it is made in boot and given to the others.
TYPES = {"coldspan.boot.seam.Seam", "coldspan.boot.settings.Settings"}

# What awslambdaric has loaded when we start, on every supported Python; what we may add; what we may add on need.
LOADED = {
    *(
        "_frozen_importlib",
        "_frozen_importlib_external",
        "_thread",
        "_weakref",
        "_weakrefset",
        "abc",
        "codecs",
        "collections",
        "copyreg",
        "decimal",
        "enum",
        "functools",
    ),
    *("importlib", "io", "itertools", "json", "keyword", "linecache", "logging", "math", "numbers", "operator", "os"),
    *(
        "posix",
        "re",
        "reprlib",
        "stat",
        "string",
        "sys",
        "threading",
        "time",
        "traceback",
        "types",
        "warnings",
        "weakref",
    ),
}
EXTRA = {"_contextvars", "_random", "_socket", "contextvars", "faulthandler", "fcntl", "mmap"}
LATER = {"binascii"}  # payload capture
FORBIDDEN = ("importlib.metadata", "importlib.util", "importlib.resources", "logging.handlers", "logging.config")
MODULES_AT_BOOT = 18


def guarded(tree):
    """(line, dotted name) of what stands under `if TYPE_CHECKING`, for type checkers alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            for part in node.body:
                yield from imports(part, deep=True)


def imports(tree, *, deep):
    """(line, dotted name) of every import; with deep=False only of those that run when the module is imported."""
    for node in ast.walk(tree) if deep else at_import(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def at_import(tree):
    """The statements of a module that run when it is imported: not the bodies of functions, nor `if TYPE_CHECKING`."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt | ast.ExceptHandler)]


def parsed(path):
    """The syntax tree of a file."""
    return ast.parse(path.read_bytes(), str(path))


def fresh(code, **variables):
    """What a fresh interpreter prints as JSON; only the recorder and the installed packages are on its path."""
    purelib = sysconfig.get_path("purelib")
    prelude = f"import sys; sys.path += [{str(PYTHON)!r}, {purelib!r}]\n"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("COLDSPAN", "AWS", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-S", "-B", "-c", prelude + code],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return json.loads(done.stdout)


def test_imports_point_one_way():
    """Hot and drain would know of each other, and core of the outside."""
    bad = set()
    for home, others in MAY.items():
        for path in sorted((RECORDER / home).rglob("*.py")):
            allowed = {(line, name) for line, name in guarded(parsed(path)) if name in TYPES}
            for line, name in set(imports(parsed(path), deep=True)) - allowed:
                parts = name.split(".")
                if parts[0] == "coldspan" and parts[1:] and parts[1] not in {*others, home}:
                    bad.add(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert bad == set()


def test_the_recorder_has_only_the_folders_that_say_when_code_runs():
    """A reader could not tell what a line may cost."""
    assert {path.name for path in RECORDER.iterdir() if path.name != "__pycache__"} == {*MAY, "__init__.py"} | {
        path.name for path in RECORDER.glob("py.typed")
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(RECORDER)))
def test_a_module_imports_nothing_at_its_top_that_the_runtime_has_not_loaded_promise_5(path):
    """An import of ours would cost the cold start, or load a package of the customer's."""
    bad = [
        f"line {line}: {name}"
        for line, name in imports(parsed(path), deep=False)
        if not name.startswith("coldspan.")
        and name != "coldspan"
        and (name.split(".")[0] not in LOADED | EXTRA | LATER or name.startswith(FORBIDDEN))
    ]
    assert bad == []


def test_importing_the_package_loads_nothing_else():
    """A function that only uses the decorator would pay for the whole recorder at its import line."""
    new = fresh(
        "import json; before = set(sys.modules); import coldspan; print(json.dumps([*set(sys.modules) - before]))"
    )
    assert new == ["coldspan"]


STARTED = """
import awslambdaric.__main__, awslambdaric.bootstrap, json
before = set(sys.modules)
import coldspan.boot.start
coldspan.boot.start.start()
assert coldspan.boot.start.seam is not None, "the recorder did not start"
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_starting_loads_only_what_is_on_the_list():
    """Each further module costs about 0.6 million instructions at every cold start, typing 14, dataclasses 42."""
    new = fresh(STARTED, AWS_LAMBDA_FUNCTION_NAME="orders", AWS_LAMBDA_RUNTIME_API="127.0.0.1:9")
    ours = [name for name in new if name.split(".")[0] == "coldspan"]
    assert set(new) - set(ours) <= EXTRA
    assert len(ours) <= MODULES_AT_BOOT, ours


def test_what_the_modules_may_import_is_loaded_by_the_runtime():
    """The list above would allow what costs."""
    loaded = fresh("import awslambdaric.__main__, json; print(json.dumps(sorted(sys.modules)))")
    assert set(loaded) >= LOADED


# Where an exception may be caught whole and not raised again, and what becomes of it.
SWALLOWED = {
    "core/buffer.py": "counted: this is `shielded`",
    "boot/bootstrap.py": "the runtime starts without us; there is no buffer yet",
    "hot/listeners.py": "counted: a hook of the customer's may also call sys.exit()",
    "hot/tool.py": "raised into the customer's generator, which decides",
}


def test_a_broad_except_that_swallows_stands_only_where_the_contract_is_kept_promise_2():
    """A fault of ours, or of the customer's, would vanish without being counted."""
    bad = []
    for path in MODULES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None
                or any(getattr(name, "id", "") in {"Exception", "BaseException"} for name in ast.walk(node.type))
            ):
                raises = any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
                where = path.relative_to(RECORDER).as_posix()
                if not raises and where not in SWALLOWED:
                    bad.append(f"{where}:{node.lineno}")
    assert bad == []


def test_the_layer_brings_one_importable_name_promise_5():
    """A module of ours would shadow one of the customer's."""
    assert sorted(path.name for path in PYTHON.iterdir()) == ["coldspan", "coldspan.pth", "coldspan.start"]


def test_no_module_is_named_for_nothing():
    """What is in utils, helpers or common can only be found by opening it."""
    vague = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}
    assert [path for path in files("*") if path.stem.lower() in vague] == []


def test_no_module_of_the_recorder_is_longer_than_400_lines():
    """It would no longer be read as a whole."""
    lengths = {path.relative_to(RECORDER).as_posix(): path.read_bytes().count(b"\n") for path in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def test_no_file_names_a_path_of_somebodys_machine():
    """It would be true in one place only."""
    machine = re.compile(rb"(?<![\w.])/(work|root|home/\w+|Users/\w+|tmp/v)/")
    bad = [
        f"{path.relative_to(ROOT)}: {line.strip()[:100]!r}"
        for path in files("*")
        if path != Path(__file__)
        for line in path.read_bytes().splitlines()
        if machine.search(line)
    ]
    assert bad == []


def test_every_test_says_what_would_be_broken():
    """A failing test would not tell whom it hurts."""
    bad = []
    for path in files("test_*.py"):
        for node in ast.walk(parsed(path)):
            test = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
            if test and not ast.get_docstring(node):
                bad.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert bad == []


def files(pattern):
    """The repository's own files, as far as they are written by hand."""
    found = [path for path in ROOT.glob(pattern) if path.is_file()]
    for folder in OURS:
        found += [path for path in (ROOT / folder).rglob(pattern) if path.is_file()]
    made = {"__pycache__", ".aws-sam", ".coldspan"}
    return sorted(path for path in found if not made & set(path.parts) and path.suffix != ".pyc")


def test_the_console_reads_core_and_the_settings_and_nothing_else_of_the_recorder():
    """What runs inside the customer's process is free to change."""
    bad = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted((ROOT / "console").rglob("*.py"))
        if "probe" not in path.parts
        for line, name in set(imports(parsed(path), deep=True))
        if name.startswith("coldspan.") and not name.startswith(("coldspan.core.", "coldspan.boot.settings."))
    ]
    assert bad == []
