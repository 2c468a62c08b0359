"""The artefact of the black box's layer: what is in it, and that nothing of it is in the function's way."""

import ast
import importlib.util
import marshal
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "layer" / "blackbox"
PACKAGE = SOURCE / "coldspan-blackbox" / "coldspan_blackbox"
TARGET_BYTES = 1_000_000  # zipped, without an exporter's packages

# What the registered process may load before it has asked for its first event, beside what an interpreter has loaded
# by itself: each module of the standard library more is paid in every cold start.
AT_START = {"_socket"}
IN_ALL = AT_START | {
    "select",
    "_json",
    "fcntl",
    "posix",
    "time",
    "_signal",
    "sys",
    "json",
    "coldspan",
    "coldspan_blackbox",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A built layer without extras: (tree, zip)."""
    folder = tmp_path_factory.mktemp("blackbox")
    command = [sys.executable, SOURCE / "build.py", "--into", folder / "tree", "--zip", folder / "layer.zip"]
    subprocess.run([*command, "--python", sys.executable], check=True, capture_output=True, timeout=300, umask=0o077)
    return folder / "tree", folder / "layer.zip"


def test_it_shadows_nothing_of_the_functions_promise_5(built):
    """What stands under python/, lib/ or bin/ of a layer is on the function's own paths."""
    tree, archive = built
    assert sorted(path.name for path in tree.iterdir()) == ["coldspan-blackbox", "extensions"]
    assert [path.name for path in (tree / "extensions").iterdir()] == ["coldspan-blackbox"]
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
    assert names == sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file())
    assert archive.stat().st_size <= TARGET_BYTES


def test_every_file_is_readable_by_every_user_and_the_launcher_can_be_run(built):
    """Managed Instances run it as a user of their own; one that cannot be started fails every invocation."""
    tree, archive = built
    launcher = tree / "extensions" / "coldspan-blackbox"
    for path in [tree, *tree.rglob("*")]:
        wanted = 0o755 if path.is_dir() or path == launcher else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    with zipfile.ZipFile(archive) as opened:
        assert stat.S_IMODE(opened.getinfo("extensions/coldspan-blackbox").external_attr >> 16) == 0o755


def test_its_byte_code_is_loaded_as_it_is_and_dataclasses_keep_their_fields(built):
    """The compiler would run at every cold start; a dataclass without annotations has no fields."""
    modules = [path for path in (built[0] / "coldspan-blackbox").rglob("*.py") if path.name != "start.py"]
    assert len(modules) > 40
    for path in modules:
        data = Path(importlib.util.cache_from_source(str(path), optimization="")).read_bytes()
        assert data[4:8] == (0b01).to_bytes(4, "little"), path
    record = built[0] / "coldspan-blackbox" / "coldspan_blackbox" / "exporting" / "record.py"
    code = marshal.loads(  # noqa: S302  # built a moment ago
        Path(importlib.util.cache_from_source(str(record), optimization="")).read_bytes()[16:]
    )
    names = {name for each in code.co_consts if hasattr(each, "co_names") for name in each.co_names}
    assert "__annotations__" in names or any("annotate" in name for name in names | set(code.co_names))


def test_what_it_shares_with_the_recorder_is_the_same(built):
    """A journal would be written by one version and read by another."""
    recorder = ROOT / "layer" / "recorder" / "python" / "coldspan"
    copies = sorted((built[0] / "coldspan-blackbox" / "coldspan").rglob("*.py"))
    assert recorder / "core" / "journal.py" in {recorder / copy.relative_to(copies[0].parent) for copy in copies}
    for copy in copies:
        original = recorder / copy.relative_to(built[0] / "coldspan-blackbox" / "coldspan")
        assert copy.read_bytes() == original.read_bytes()


def test_the_registered_process_loads_what_an_interpreter_has_and_one_module_more_before_it_has_asked(built):
    """Each module of the standard library costs instructions in every cold start, before the runtime is started."""
    home = built[0] / "coldspan-blackbox"
    code = (
        f"import sys; sys.path.insert(0, {str(home)!r}); before = set(sys.modules)\n"
        "import coldspan_blackbox.extension\n"
        "print(*sorted({name for name in set(sys.modules) - before if not name.startswith('coldspan')}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert set(done.stdout.split()) == AT_START


def test_the_registered_process_imports_nothing_else_of_the_standard_library():
    """The process lives beside the function for as long as that does: what it loads is memory of the customer's."""
    found = {}
    for path in sorted(PACKAGE.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                found[node.module.split(".")[0]] = path.name
            elif isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0]: path.name for alias in node.names}
    assert set(found) - {"collections", "typing"} <= IN_ALL
