"""A memory limit for a process by a cgroup of its own, of version 1 or 2, where this machine allows it."""

import contextlib
import os
import threading
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
ENDS_S = 5.0


def _place():
    """(folder for our groups, name of the limit's file), or None."""
    if (ROOT / "memory" / "memory.limit_in_bytes").exists():
        return ROOT / "memory", "memory.limit_in_bytes"
    if "memory" in _read(ROOT / "cgroup.subtree_control").split():
        return ROOT, "memory.max"
    return None


def _read(path):
    try:
        return path.read_text("ascii")
    except OSError:
        return ""


def obstacle():
    """Why no limit can be set here, or None."""
    place = _place()
    if place is None:
        return "no memory controller in /sys/fs/cgroup"
    if not os.access(place[0], os.W_OK):
        return f"{place[0]} cannot be written to"
    swap_kb = _read(Path("/proc/meminfo")).partition("SwapTotal:")[2].split()[:1]
    if swap_kb != ["0"]:
        return "the machine has swap: a limit would not kill"
    return None


@contextlib.contextmanager
def limited(pid, limit_bytes):
    """Let a process grow to `limit_bytes` resident, what it has now included; above that the kernel kills it."""
    folder, name = _place()
    group = folder / f"coldspan-{os.getpid()}-{pid}"
    group.mkdir()
    try:
        # what the process has already is not moved with it
        has = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        (group / name).write_text(str(limit_bytes - has))
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        for _ in range(int(ENDS_S / 0.05)):
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            threading.Event().wait(0.05)
