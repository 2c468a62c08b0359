"""What the emulator's Managed Instances mode needs: all readable by the unprivileged user it runs functions as."""

import importlib.util
import os
import shutil
import stat
import sys
import sysconfig
from pathlib import Path

from coldspan_console.platform.function import START_SCRIPTS

UNNEEDED = ("site-packages", "test", "tests", "config-*", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3")
CLIENT = ("awslambdaric", "runtime_client", "snapshot_restore_py", "simplejson")


def readable(path):
    """Whether everybody may read a file and pass through all folders above it."""
    path = path.resolve()
    if not path.stat().st_mode & stat.S_IROTH:
        return False
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)


def interpreter(folder):
    """A Python of our version that everybody may run, as (path, variables): ours, or a copy of it in `folder`."""
    base = Path(sys._base_executable).resolve()
    standard = Path(sysconfig.get_path("stdlib"))
    if readable(base) and readable(standard / "os.py"):
        return base, {}
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (folder / "bin").mkdir(parents=True)
    (folder / "lib").mkdir()
    shutil.copy2(base, folder / "bin" / version)
    (folder / "bin" / "python3").symlink_to(version)
    shutil.copytree(standard, folder / "lib" / version, symlinks=True, ignore=shutil.ignore_patterns(*UNNEEDED))
    shared = sysconfig.get_config_var("INSTSONAME")
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and shared:
        shutil.copy2(Path(sysconfig.get_config_var("LIBDIR")) / shared, folder / "lib" / shared)
    let_through(folder)
    return folder / "bin" / version, {"LD_LIBRARY_PATH": str(folder / "lib")}


def let_through(folder):
    """Let everybody pass through a folder of ours, and those above it."""
    for place in (folder, *folder.parents):
        if place.stat().st_uid == os.geteuid() and not place.stat().st_mode & stat.S_IXOTH:
            place.chmod(place.stat().st_mode | stat.S_IXOTH)


def runtime(folder):
    """A folder for /var/runtime: the start scripts and the runtime client that the tests themselves have."""
    shutil.copytree(START_SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in CLIENT:
        found = importlib.util.find_spec(name)
        if found is None:  # not every version of the client has all of them
            continue
        if found.submodule_search_locations:
            shutil.copytree(found.submodule_search_locations[0], folder / name)
        else:
            shutil.copy2(found.origin, folder)
    return folder
