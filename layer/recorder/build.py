"""Builds the recorder layer: the tree Lambda mounts at /opt, with byte code for every Python found, and its zip.

    python build.py --into DIR [--zip FILE] [--python PATH ...]

/opt is read-only, so Lambda compiles what has no byte code at every cold start. The byte code is unchecked-hash: it is
loaded without a look at the source, whatever the file times are. It leaves out annotations, docstrings and the lines
within a function, which cost instructions, memory and bytes and are read by nobody at run time (figures:
docs/decisions/0001-byte-code-in-the-layer.md).
"""

import argparse
import ast
import importlib.util
import marshal
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import CodeType

HOME = Path(__file__).resolve().parent
MOUNTED_AT = "/opt"
VERSIONS = ("3.11", "3.12", "3.13", "3.14")  # what the recorder supports
SOURCES = ("coldspan", "python")  # of this folder, what belongs into the layer
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can hold: the same tree is the same zip
UNCHECKED_HASH = (0b01).to_bytes(4, "little")  # PEP 552


class Lean(ast.NodeTransformer):
    """Takes off what only a type checker reads; docstrings and asserts fall to optimize=2."""

    def visit_Module(self, node):
        """The guard `TYPE_CHECKING = False` goes with the imports that stand under it."""
        self.generic_visit(node)
        node.body = [part for part in node.body if not self._is_for_checkers(part)]
        return node

    def _is_for_checkers(self, node):
        """Whether a statement sets or asks TYPE_CHECKING. One with an `else` has something to do at run time too."""
        name = node.test if isinstance(node, ast.If) and not node.orelse else None
        if isinstance(node, ast.Assign):
            name = node.targets[0]
        return isinstance(name, ast.Name) and name.id == "TYPE_CHECKING"

    def visit_FunctionDef(self, node):
        """A def loses what stands behind its colons and its arrow."""
        self.generic_visit(node)
        node.returns = None
        known = node.args
        for argument in (*known.posonlyargs, *known.args, *known.kwonlyargs, known.vararg, known.kwarg):
            if argument is not None:
                argument.annotation = None
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815  # the name ast.NodeVisitor looks for

    def visit_AnnAssign(self, node):
        """`name: type = value` becomes `name = value`."""
        self.generic_visit(node)
        made = ast.Pass() if node.value is None else ast.Assign(targets=[node.target], value=node.value)
        return ast.copy_location(made, node)


def with_one_line(code):
    """The code object with one line number for all of a function, that of its `def`: the tables are a tenth of the zip.

    Source: CPython, Objects/locations.md: an entry of kind 13 (no columns) with a line delta of 0 covers up to 8 units.
    """
    units = len(code.co_code) // 2
    table = b"".join(bytes((0b1_1101_000 | min(8, units - first) - 1, 0)) for first in range(0, units, 8))
    constants = tuple(with_one_line(each) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_linetable=table, co_consts=constants)


def compile_tree(root, plain=()):
    """Write byte code of the running interpreter beside every module under `root`, which will be mounted at /opt.

    What is under one of the `plain` folders keeps its annotations and lines: a dataclass is made from them.
    """
    for source in sorted(Path(root).rglob("*.py")):
        text = source.read_bytes()
        mounted = f"{MOUNTED_AT}/{source.relative_to(root).as_posix()}"  # as it is loaded: no correction
        tree, lean = ast.parse(text, mounted), not any(source.is_relative_to(folder) for folder in plain)
        if lean:
            tree = ast.fix_missing_locations(Lean().visit(tree))
        code = compile(tree, mounted, "exec", dont_inherit=True, optimize=2)
        target = Path(importlib.util.cache_from_source(str(source), optimization=""))
        target.parent.mkdir(exist_ok=True)
        header = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(text)
        target.write_bytes(header + marshal.dumps(with_one_line(code) if lean else code))


def ask(interpreter):
    """A CPython's (version, path of its executable), or (None, None): a shim without its version, a name not there."""
    question = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.executable)"
    try:
        done = subprocess.run(
            [interpreter, "-I", "-c", question],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None, None
    name, version, path = [*done.stdout.strip().split(" ", 2), "", "", ""][:3]
    return (version, path) if done.returncode == 0 and name == "cpython" else (None, None)


def candidates(version):
    """Where a Python of this version may be, likeliest first."""
    name = f"python{version}"
    if sys.version_info[:2] == tuple(int(part) for part in version.split(".")):
        yield sys.executable
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        found = shutil.which(name, path=folder) if folder else None
        if found:
            yield found
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or Path.home() / ".local/share/uv/python")
    for home, pattern in ((pyenv / "versions", f"{version}.*"), (uv, f"cpython-{version}.*")):
        for folder in sorted(home.glob(pattern), reverse=True):
            yield str(folder / "bin" / name)
    for folder in ("/usr/local/bin", "/opt/homebrew/bin", f"/opt/python/{version}/bin", "/var/lang/bin"):
        yield f"{folder}/{name}"


def find_interpreters(named=()):
    """A mapping of version to interpreter: those named, then for the other versions the first one that starts."""
    found = {}
    for interpreter in named:
        version, path = ask(interpreter)
        if version not in VERSIONS:
            sys.exit(f"{interpreter}: not a CPython of {', '.join(VERSIONS)}")
        found[version] = path
    for version in VERSIONS:
        if version not in found:
            answers = (ask(candidate) for candidate in dict.fromkeys(candidates(version)))
            path = next((path for answered, path in answers if answered == version), None)
            if path:
                found[version] = path
    return found


def copy_sources(into, home=HOME, names=SOURCES):
    """Copy what belongs into the layer, and make it readable for every user: Managed Instances do not run as root."""
    for name in names:
        source, target = home / name, into / name
        if target.is_dir():
            shutil.rmtree(target)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc", ".*"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def set_modes(root, programs=("coldspan",)):
    """0755 for folders and programs, 0644 for all else, whatever the umask was."""
    executable = {root / name for name in programs}
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path in executable else 0o644)


def write_zip(root, target):
    """Write a zip whose bytes depend on the tree alone: names in order, one date, fixed modes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted((path for path in root.rglob("*") if path.is_file()), key=Path.as_posix):
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), ZIP_TIME)
            entry.create_system = 3  # Unix: the upper half of external_attr is the mode
            entry.external_attr = (0o100000 | path.stat().st_mode & 0o777) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def build(into, interpreters):
    """Make the layer's tree in `into`, with byte code by each of the interpreters."""
    copy_sources(into)
    compile_with(interpreters, into)
    set_modes(into)


def compile_with(interpreters, into, plain=()):
    """Write the byte code of each interpreter beside every module under `into`; for `plain` see compile_tree."""
    told = [argument for folder in plain for argument in ("--plain", str(folder))]
    for interpreter in interpreters.values():
        environment = {**os.environ, "PYTHONHASHSEED": "0"}  # the order of a set in a code object
        subprocess.run(
            [interpreter, "-X", "no_debug_ranges", "-S", "-B", __file__, "--compile", str(into), *told],
            check=True,
            env=environment,
            stdin=subprocess.DEVNULL,
        )


def size_of(paths):
    """Their bytes, as text in KB."""
    return f"{sum(path.stat().st_size for path in paths) / 1000:,.0f} KB"


def finish(into, modules_in, interpreters, target):
    """Say what was built, and write the zip where one is wanted."""
    modules = sorted(modules_in.rglob("*.py"))
    print(f"{into}: {len(modules)} modules, {size_of(modules)} of source")
    for version in VERSIONS:
        if version in interpreters:
            compiled = modules_in.rglob(f"*.cpython-{version.replace('.', '')}.pyc")
            print(f"  Python {version}: byte code, {size_of(compiled)} ({interpreters[version]})")
        else:
            print(f"  Python {version}: no interpreter found; on it Lambda compiles the source at every cold start")
    print(f"  unzipped: {size_of(path for path in into.rglob('*') if path.is_file())}")
    if target:
        write_zip(into, target)
        print(f"{target}: {size_of([target])}")


def main():
    """Build, and say what was built, for which Pythons, and how big it is."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--into", type=Path, help="folder for the tree (its python/ and coldspan are replaced)")
    options.add_argument("--zip", type=Path, help="also write this zip")
    options.add_argument("--python", action="append", default=[], help="an interpreter to compile with (repeatable)")
    options.add_argument("--compile", type=Path, help=argparse.SUPPRESS)  # one interpreter's share of the work
    options.add_argument("--plain", type=Path, action="append", default=[], help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.compile:
        compile_tree(chosen.compile, chosen.plain)
        return
    if not chosen.into:
        options.error("--into is needed")
    interpreters = find_interpreters(chosen.python)
    build(chosen.into, interpreters)
    finish(chosen.into, chosen.into / "python", interpreters, chosen.zip)


if __name__ == "__main__":
    main()
