"""How near the function is to its memory limit, from /proc. Shared pages are counted once: with the function itself."""

from posix import O_RDONLY, getpid, listdir, sysconf
from posix import close as posix_close
from posix import open as posix_open
from posix import read as posix_read

PAGE_BYTES = sysconf("SC_PAGESIZE")
FALLEN_BY = 10  # percentage points below the threshold, before a crossing is told again
DESCENDANTS = 64


class Threshold:
    """When to warn: at a crossing, and again only after the use had clearly fallen."""

    __slots__ = ("_armed", "limit_bytes", "percent")

    def __init__(self, percent: int, memory_mb: int) -> None:
        self.percent = percent
        self.limit_bytes = memory_mb << 20
        self._armed = True

    @property
    def watched(self) -> bool:
        """Whether there is anything to warn of."""
        return self.percent > 0 and self.limit_bytes > 0

    def crossed(self, used_bytes: int) -> bool:
        """Whether this use is to be told."""
        share = used_bytes * 100 / self.limit_bytes
        if share >= self.percent:
            armed, self._armed = self._armed, False
            return armed
        if share < self.percent - FALLEN_BY:
            self._armed = True
        return False


def read(path: str, size: int = 4096) -> bytes:
    """A small file of /proc, or b"" when there is none."""
    try:
        descriptor = posix_open(path, O_RDONLY)
    except OSError:
        return b""
    try:
        return posix_read(descriptor, size)
    except OSError:
        return b""
    finally:
        posix_close(descriptor)


def resident(pid: int) -> "tuple[int, int]":
    """Bytes of a process in memory: all, and those it shares with nobody's file."""
    fields = read("/proc/%d/statm" % pid, 256).split()
    if len(fields) < 3:
        return 0, 0
    return int(fields[1]) * PAGE_BYTES, (int(fields[1]) - int(fields[2])) * PAGE_BYTES


def children(pid: int) -> "list[int]":
    """Processes that a process, or a thread of it, has started."""
    found: "list[int]" = []
    try:
        threads = listdir("/proc/%d/task" % pid)
    except OSError:
        return found
    for thread in threads[:DESCENDANTS]:
        found += [int(each) for each in read("/proc/%d/task/%s/children" % (pid, thread)).split()]
    return found


def in_use(pids: "list[int]") -> "tuple[int, int]":
    """Bytes used by the function (its processes and their descendants), and by the extension (with its exporters)."""
    own = getpid()
    function = extension = 0
    waiting = list(pids)
    seen = {own}
    while waiting and len(seen) < DESCENDANTS:
        pid = waiting.pop()
        if pid in seen:
            continue
        seen.add(pid)
        whole, private = resident(pid)
        function += whole if pid in pids[:1] else private
        if whole:
            waiting += children(pid)
    for pid in (own, *children(own)):
        extension += resident(pid)[1]
    return function, extension
