"""How near the function is to its memory limit, from /proc. Shared pages are counted once: with the function itself."""

from posix import O_RDONLY, listdir, sysconf
from posix import close as posix_close
from posix import open as posix_open
from posix import read as posix_read

PAGE_BYTES = sysconf("SC_PAGESIZE")
FALLEN_BY = 10  # percentage points below the threshold, before a crossing is told again
DESCENDANTS = 64
LOOK_EVERY = 8


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


class Usage:
    """What the function's processes and ours have in memory.

    To find a descendant costs a read for each thread (10 µs), so they are looked for every few times only, and each
    time when memory may be short.
    """

    __slots__ = ("_descendants", "_looks", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._descendants: "list[int]" = []
        self._looks = 0

    def look(self, pids: "list[int]", others: "list[int]") -> "tuple[set[int], int, int]":
        """Those of the function's processes that are gone, its bytes (descendants included), and those of the others.

        What is shared (the pages of a fork, the libraries) is counted once: with the first process.
        """
        sizes = [resident(pid) for pid in pids]
        gone = {pid for pid, (whole, _) in zip(pids, sizes, strict=True) if not whole}  # a zombie has none, either
        function = sum([private for _, private in sizes[1:]], sizes[0][0] if sizes else 0)
        extension = sum([resident(pid)[1] for pid in others])
        if self._looks % LOOK_EVERY == 0 or (function + extension) * 2 >= self.limit_bytes:
            self._descendants = descendants([pid for pid in pids if pid not in gone])
        self._looks += 1
        function += sum([resident(pid)[1] for pid in self._descendants])
        return gone, function, extension


def descendants(pids: "list[int]") -> "list[int]":
    """All processes below these, without them; at most DESCENDANTS."""
    found: "list[int]" = []
    waiting = list(pids)
    while waiting and len(found) < DESCENDANTS:
        for child in children(waiting.pop()):
            if child not in found and child not in pids:
                found.append(child)
                waiting.append(child)
    return found
