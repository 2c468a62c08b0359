"""The artefact of `make layer`: what is in it, and that Python loads its byte code as it is."""

import importlib.util
import json
import marshal
import os
import py_compile
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from types import CodeType

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "layer" / "recorder"
TARGET_BYTES = 750_000  # zipped, with byte code for three Pythons: docs/decisions/0007-the-size-of-the-layer.md


def copy_of_source(folder):
    """The layer's folder as it is now, somewhere else: a build of it does not change while somebody edits."""
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def build(source, into, *arguments):
    """What build.py prints when it builds into a folder."""
    command = [sys.executable, str(source / "build.py"), "--into", str(into), "--python", sys.executable, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, umask=0o077).stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A built layer: (tree, zip, what was printed). Beside the tree stands the source it was built from."""
    folder = tmp_path_factory.mktemp("layer")
    printed = build(copy_of_source(folder / "source"), folder / "tree", "--zip", str(folder / "layer.zip"))
    return folder / "tree", folder / "layer.zip", printed


@pytest.fixture(scope="module")
def modules(built):
    """Every module of the built tree."""
    return sorted((built[0] / "python").rglob("*.py"))


def code_of(path):
    """The code object of a module's byte code for the running Python."""
    return marshal.loads(byte_code(path)[16:])  # noqa: S302  # built a moment ago


def byte_code(path):
    """The bytes of the file that `import` loads for this module on the running Python."""
    return Path(importlib.util.cache_from_source(str(path), optimization="")).read_bytes()


def every_code(code):
    """The code object and all within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from every_code(constant)


def test_every_module_has_byte_code_that_is_loaded_without_a_look_at_the_source(modules):
    """Lambda would compile the module at every cold start, because /opt is read-only."""
    assert modules
    for path in modules:
        data = byte_code(path)
        assert data[:4] == importlib.util.MAGIC_NUMBER, path
        assert int.from_bytes(data[4:8], "little") == 0b01, f"{path}: not unchecked-hash"
        assert data[8:16] == importlib.util.source_hash(path.read_bytes()), path


def test_the_byte_code_carries_the_name_under_which_lambda_loads_it(modules, built):
    """Every code object would be made anew at each import, with the path corrected."""
    for path in modules:
        name = f"/opt/{path.relative_to(built[0]).as_posix()}"
        assert {code.co_filename for code in every_code(code_of(path))} == {name}


def test_the_byte_code_holds_no_docstrings_and_no_annotations(modules):
    """What nobody reads at run time would be paid for at every cold start."""
    for path in modules:
        for code in every_code(code_of(path)):
            assert "__annotations__" not in code.co_names, f"{path}: {code.co_qualname}"
            assert "__annotate__" not in code.co_names, f"{path}: {code.co_qualname}"
            assert "__doc__" not in code.co_names, f"{path}: {code.co_qualname}"


def test_each_function_has_the_line_of_its_def_and_no_other(modules):
    """Line tables were a tenth of the zip; a frame without any line breaks those who format frames."""
    for path in modules:
        for code in every_code(code_of(path)):
            lines = {line for _, _, line in code.co_lines()}
            assert lines <= {code.co_firstlineno}, f"{path}: {code.co_qualname}"


def test_the_built_package_is_loaded_from_its_byte_code(built):
    """The artefact would be as slow as the source."""
    code = "import coldspan.boot.start as m; print(m.__cached__, m.start.__doc__)"
    run = [sys.executable, "-S", "-B", "-c", f"import sys; sys.path.insert(0, {str(built[0] / 'python')!r}); {code}"]
    done = subprocess.run(run, check=True, capture_output=True, text=True, timeout=60)
    cached, documentation = done.stdout.split()
    assert Path(cached).is_relative_to(built[0])
    assert documentation == "None", "the source was compiled"


def test_the_source_tree_stays_without_the_artefacts_byte_code(built, tmp_path):
    """A stale unchecked-hash file beside the source would hide every later change of it."""
    assert built
    for path in (SOURCE / "python").rglob("*.pyc"):
        flags = int.from_bytes(path.read_bytes()[4:8], "little")
        assert flags != 0b01, path


def test_stale_files_of_an_earlier_build_are_gone(tmp_path):
    """A module that was removed would stay in the layer."""
    stale = tmp_path / "tree" / "python" / "coldspan" / "removed.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    (tmp_path / "tree" / "extensions").mkdir()
    build(SOURCE, tmp_path / "tree")
    assert not stale.exists()
    assert (tmp_path / "tree" / "extensions").is_dir(), "what belongs to another layer was removed"


def test_every_file_is_readable_by_every_user(built):
    """Managed Instances run the function as a user of their own, whatever umask the layer was built with."""
    tree, archive, _ = built
    for path in [tree, *tree.rglob("*")]:
        wanted = 0o755 if path.is_dir() or path == tree / "coldspan" else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    with zipfile.ZipFile(archive) as opened:
        modes = {entry.filename: stat.S_IMODE(entry.external_attr >> 16) for entry in opened.infolist()}
    assert modes.pop("coldspan") == 0o755, "the exec wrapper could not be run"
    assert set(modes.values()) == {0o644}


def test_the_zip_holds_what_lambda_mounts_and_nothing_else(built):
    """The build's own files, or somebody's, would be deployed."""
    tree, archive, _ = built
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
    assert names == sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file())
    assert {name.split("/")[0] for name in names} == {"coldspan", "python"}
    assert {name.split("/")[1] for name in names if "/" in name} == {"coldspan", "coldspan.pth", "coldspan.start"}


def test_the_same_source_gives_the_same_zip(built, tmp_path):
    """Every deployment would publish a new layer version although nothing has changed."""
    build(built[0].parent / "source", tmp_path / "tree", "--zip", str(tmp_path / "again.zip"))
    with zipfile.ZipFile(built[1]) as first, zipfile.ZipFile(tmp_path / "again.zip") as second:
        differing = [name for name in first.namelist() if first.read(name) != second.read(name)]
        assert differing == []
    assert built[1].read_bytes() == (tmp_path / "again.zip").read_bytes()


def test_the_zip_is_no_larger_than_promised(built):
    """The layer would use up the customer's 250 MB, and the download time of a cold start."""
    assert built[1].stat().st_size <= TARGET_BYTES


def test_the_build_says_for_which_pythons_byte_code_is_missing(built):
    """A layer that is slow on one Python would be found out in production."""
    lines = {line.split(":")[0].split()[-1]: line for line in built[2].splitlines() if line.startswith("  Python ")}
    assert set(lines) == {"3.11", "3.12", "3.13", "3.14"}
    own = "%d.%d" % sys.version_info[:2]
    assert "byte code" in lines[own]
    for version, line in lines.items():
        tag = f"cpython-{version.replace('.', '')}"
        assert any((built[0] / "python").rglob(f"*.{tag}.pyc")) == ("no interpreter found" not in line)


def test_sam_can_build_the_layer_from_a_copy_of_its_folder(tmp_path):
    """`sam build` copies the folder elsewhere and calls make there: what stands outside of it would be missing."""
    if shutil.which("make") is None:
        pytest.fail("make is needed")
    copy = copy_of_source(tmp_path / "copy")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for name in ("MAKEFLAGS", "MAKELEVEL", "PYTHON"):
        environment.pop(name, None)
    subprocess.run(
        [
            "make",
            "--makefile",
            str(copy / "Makefile"),
            "build-RecorderLayer",
            f"ARTIFACTS_DIR={tmp_path / 'artefacts'}",
        ],
        cwd=copy,
        env=environment,
        check=True,
        capture_output=True,
        timeout=300,
    )
    assert sorted(path.name for path in (tmp_path / "artefacts").iterdir()) == ["coldspan", "python"]


def test_a_module_that_python_compiles_itself_does_the_same_as_the_built_one(built, tmp_path):
    """Taking annotations off would have changed what the code does: both give the same names and constants."""
    for path in sorted((built[0] / "python" / "coldspan" / "core").glob("*.py")):
        plain = tmp_path / "plain.pyc"
        py_compile.compile(str(path), cfile=str(plain), optimize=2, doraise=True)
        compiled = marshal.loads(plain.read_bytes()[16:])  # noqa: S302  # as above
        bare = [code.co_qualname for code in every_code(code_of(path))]
        whole = [code.co_qualname for code in every_code(compiled) if code.co_name != "__annotate__"]
        # Before 3.12 two equal comprehensions of a line are one constant where their columns are not kept.
        assert list(dict.fromkeys(bare)) == list(dict.fromkeys(whole))


def test_the_byte_code_holds_nothing_that_only_a_type_checker_reads(modules):
    """Every module would set, load and test a name at each cold start, and keep the imports it never runs."""
    for path in modules:
        assert "TYPE_CHECKING" not in code_of(path).co_names, path
        assert "typing" not in code_of(path).co_names, path


@pytest.mark.timeout(120)
def test_the_wheel_brings_the_recorder_and_the_console_and_no_other_name_promise_5(tmp_path):
    """`pip install coldspan` would start the recorder by itself, or shadow a package of the customer's."""
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    tree = tmp_path / "tree"
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        tree.mkdir(exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes() if (ROOT / name).exists() else b"")
    for name in ("layer/recorder", "layer/blackbox", "console"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = "import hatchling.build as b, json, sys; print(json.dumps(b.build_wheel(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tree, check=True, capture_output=True, text=True, timeout=100
    )
    with zipfile.ZipFile(tmp_path / json.loads(done.stdout.splitlines()[-1])) as wheel:
        names = {name.split("/")[0] for name in wheel.namelist()}
        metadata = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("/METADATA"))
    assert {name for name in names if not name.endswith(".dist-info")} == {"coldspan", "coldspan_console"}
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert all("extra ==" in line for line in required), "the recorder would bring packages along"
