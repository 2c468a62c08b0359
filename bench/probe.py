"""What a function's process tells the harness when asked; not loaded where time, memory or totals are measured.

BENCH_PROBE_FILE names the file to answer in. SIGUSR2 writes the names of the loaded modules; SIGUSR1 starts a profile,
and the next SIGUSR1 ends it and writes it. BENCH_PROBE_MARKS (a folder with the two pipes `marks` and `go`) makes every
import of a new module stop twice, before and after, until the harness has read the instruction counter.
"""

import _signal
import os
import sys


def install() -> None:
    """Answer from now on."""
    path = os.environ.pop("BENCH_PROBE_FILE")
    profiles = []

    def modules(*_: object) -> None:
        with open(path + ".part", "w") as file:  # noqa: PTH123  pathlib would be one module more
            file.write("\n".join(name for name in sorted(sys.modules) if name != "probe"))
        os.rename(path + ".part", path)  # noqa: PTH104

    def profile(*_: object) -> None:
        if profiles:
            profiles[0].disable()
            profiles.pop().dump_stats(path)
            return
        import cProfile

        profiles.append(cProfile.Profile())
        profiles[0].enable()

    _signal.signal(_signal.SIGUSR2, modules)
    _signal.signal(_signal.SIGUSR1, profile)
    if "BENCH_PROBE_MARKS" in os.environ:
        mark_imports(os.environ.pop("BENCH_PROBE_MARKS"), tuple(os.environ.pop("BENCH_PROBE_PREFIX").split(",")))


def mark_imports(folder: str, prefixes: tuple[str, ...]) -> None:
    """Mark begin and end of each import of a module whose name starts so, and of each import inside such a one."""
    marks = os.open(f"{folder}/marks", os.O_WRONLY)
    go = os.open(f"{folder}/go", os.O_RDONLY)
    importlib = sys.modules["_frozen_importlib"]
    load = importlib._find_and_load
    depth = [0]

    def mark(sign: str, name: str) -> None:
        os.write(marks, f"{sign}{name}\n".encode())
        os.read(go, 1)

    def marked(name: str, import_: object) -> object:
        if not depth[0] and not name.startswith(prefixes):
            return load(name, import_)
        depth[0] += 1
        mark("+", name)
        try:
            return load(name, import_)
        finally:
            mark("-", name)
            depth[0] -= 1

    for _ in range(3):  # what a mark itself costs
        mark("+", "(nothing)")
        mark("-", "(nothing)")
    importlib._find_and_load = marked
