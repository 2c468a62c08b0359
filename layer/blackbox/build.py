"""Builds the black box layer: the tree Lambda mounts at /opt, with byte code for every Python found, and its zip.

    python build.py --into DIR [--zip FILE] [--python PATH ...] [--extra NAME ...]

How byte code is made, and why: ../recorder/build.py. The extension carries its own copy of what it shares with the
recorder, because nothing of the function's side is on its search path. An extra brings the packages of an exporter.
"""

import argparse
import importlib.util
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent
RECORDER = HOME.parent / "recorder"
PROGRAM = "extensions/coldspan-blackbox"
OWN = "coldspan-blackbox"
SOURCES = (PROGRAM, f"{OWN}/start.py", f"{OWN}/coldspan_blackbox")
MACHINES = {"aarch64": "arm64", "arm64": "arm64"}
SHARED = ("__init__.py", "core", "drain/__init__.py", "drain/claims.py")  # of the recorder's package


def load(path):
    """A module by its path: the two builds are no package."""
    spec = importlib.util.spec_from_file_location(path.parent.name + "_" + path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(recorder, into, interpreters, extras, architecture):
    """Make the layer's tree in `into`, with byte code by each of the interpreters."""
    for folder in (into / OWN, into / "extensions"):
        shutil.rmtree(folder, ignore_errors=True)
    recorder.copy_sources(into, HOME, SOURCES)
    recorder.copy_sources(into / OWN / "coldspan", RECORDER / "python" / "coldspan", SHARED)
    recorder.compile_with(interpreters, into, (into / OWN / "coldspan_blackbox" / "exporting",))
    shutil.rmtree(into / OWN / "__pycache__", ignore_errors=True)  # a script is compiled each time all the same
    if extras:
        vendored = into / OWN / "vendor"
        load(HOME / "vendor.py").vendor(vendored, extras, architecture, sys.executable)
        for interpreter in interpreters.values():  # as they are: what they do with annotations is theirs
            checked = ("-qq", "--invalidation-mode", "unchecked-hash", "-s", into, "-p", "/opt")
            subprocess.run([interpreter, "-m", "compileall", *checked, vendored], check=True, stdin=subprocess.DEVNULL)
    recorder.set_modes(into, (PROGRAM,))


def main():
    """Build, and say what was built, for which Pythons, and how big it is."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--into", type=Path, required=True, help="folder for the tree (its own folders are replaced)")
    options.add_argument("--zip", type=Path, help="also write this zip")
    options.add_argument("--python", action="append", default=[], help="an interpreter to compile with (repeatable)")
    options.add_argument("--extra", action="append", default=[], help="packages of an exporter to bring (repeatable)")
    options.add_argument("--platform", default=MACHINES.get(platform.machine(), "x86_64"), help="x86_64 or arm64")
    chosen = options.parse_args()
    recorder = load(RECORDER / "build.py")
    interpreters = recorder.find_interpreters(chosen.python)
    build(recorder, chosen.into, interpreters, chosen.extra, chosen.platform)
    recorder.finish(chosen.into, chosen.into / OWN, interpreters, chosen.zip)


if __name__ == "__main__":
    main()
