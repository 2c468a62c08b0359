"""Vendors the packages that the exporters use: locked with hashes, and without what is never loaded.

    python vendor.py --into DIR [--extra otlp ...] [--platform x86_64|arm64]
    python vendor.py --lock otlp

One folder serves every supported Python, so only pure wheels and those of the stable ABI are taken. An extra is a pair
of files in requirements/: NAME.in, which may have a line `# leave out: ...` for packages that a dependency names and
nothing loads, and NAME.txt, the lock.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

HOME = Path(__file__).resolve().parent
REQUIREMENTS = HOME / "requirements"
OLDEST = "3.11"  # of the Pythons that are supported: what runs there runs on all
PLATFORMS = {
    "x86_64": ("manylinux2014_x86_64", "manylinux_2_17_x86_64"),
    "arm64": ("manylinux2014_aarch64", "manylinux_2_17_aarch64"),
}
LEAVE_OUT = "# leave out:"

# Never loaded by the exporters: tests, byte code of another machine, stubs, scripts, time zones of dateutil's own.
UNUSED = (
    "**/__pycache__",
    "**/tests",
    "**/*.pyi",
    "**/py.typed",
    "bin",
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*.dist-info/direct_url.json",
    "dateutil/zoneinfo/*.tar.gz",
    "google/protobuf/compiler",
    "botocore/data",  # descriptions of services: botocore only signs here
    "botocore/cacert.pem",  # certifi's is there
)


def vendor(into: Path, extras: Sequence[str], platform: str, python: str) -> None:
    """Make `into` the folder of these extras' packages for a platform, with the pip of the interpreter `python`.

    Errors: ValueError for an extra or a platform that is none; CalledProcessError where pip cannot do it.
    """
    if platform not in PLATFORMS:
        raise ValueError(f"{platform}: give one of {', '.join(PLATFORMS)}")
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    if not extras:
        return
    command = [
        *(python, "-m", "pip", "--disable-pip-version-check", "install", "-qq", "--target", str(into)),
        *("--require-hashes", "--no-deps", "--no-compile", "--only-binary=:all:"),
        *("--implementation", "cp", "--python-version", OLDEST, "--abi", "abi3", "--abi", "none"),
        *(part for tag in (*PLATFORMS[platform], "any") for part in ("--platform", tag)),
        *(part for extra in extras for part in ("-r", str(_lock(extra)))),
    ]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    trim(into)


def trim(into: Path) -> None:
    """Take out what is never loaded. Licences and entry points stay."""
    for pattern in UNUSED:
        for path in sorted(into.glob(pattern)):
            _remove(path)


def sizes(into: Path) -> Iterator[tuple[str, int]]:
    """(name, bytes) of each package in the folder, the largest first."""
    found = {
        path.name: sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
        for path in into.iterdir()
        if not path.name.endswith(".dist-info")
    }
    yield from sorted(found.items(), key=lambda pair: -pair[1])


def lock(extra: str) -> None:
    """Write an extra's lock anew, with uv. The versions of otlp.txt hold for all, as all may be in one folder."""
    source = REQUIREMENTS / f"{extra}.in"
    left_out = [
        name
        for line in source.read_text().splitlines()
        if line.startswith(LEAVE_OUT)
        for name in line.removeprefix(LEAVE_OUT).split()
    ]
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder) / "shared.txt"
        base = REQUIREMENTS / "otlp.txt"
        pins = [line.split()[0] for line in base.read_text().splitlines() if "==" in line] if base.exists() else []
        shared.write_text("\n".join(pins if extra != "otlp" else []) + "\n")
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"),
            *("--universal", "--python-version", OLDEST, "--generate-hashes", "--no-emit-index-url"),
            *(part for name in left_out for part in ("--no-emit-package", name)),
            *("--constraint", str(shared), str(source), "--output-file", str(REQUIREMENTS / f"{extra}.txt")),
        ]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def _lock(extra: str) -> Path:
    path = REQUIREMENTS / f"{extra}.txt"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in REQUIREMENTS.glob("*.txt")))
        raise ValueError(f"{extra}: no such extra; there are {known}")
    return path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def main() -> None:
    """Vendor, and say how large what has become."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--into", type=Path, help="the folder; what is in it is replaced")
    options.add_argument("--extra", action="append", default=[], help="otlp, ... (repeatable)")
    options.add_argument("--platform", choices=PLATFORMS, default="x86_64")
    options.add_argument("--lock", metavar="EXTRA", help="write the lock of an extra anew")
    chosen = options.parse_args()
    if chosen.lock:
        lock(chosen.lock)
        return
    if not chosen.into:
        options.error("--into is needed")
    vendor(chosen.into, chosen.extra, chosen.platform, sys.executable)
    total = 0
    for name, size in sizes(chosen.into):
        total += size
        print(f"  {name:24} {size / 1000:8,.0f} KB")
    print(f"{chosen.into}: {total / 1000:,.0f} KB for {', '.join(chosen.extra) or 'nothing'} on {chosen.platform}")


if __name__ == "__main__":
    main()
