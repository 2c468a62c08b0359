"""Finds the journals of dead processes and claims them, each once. Used at init and by the black box."""

import fcntl
import os

from coldspan.core.cells import CLAIMED, HEADER_BYTES, MAGIC, SLOT_BYTES, SLOTS, SLOTS_AT, SUFFIX, WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

BOOT_ID = "/proc/sys/kernel/random/boot_id"
LARGEST_BYTES = 4 << 20
AT_ONCE = 16
CLOSELY = "closely"


class Claimed:
    """A dead process's journal that is ours to tell of. Held by a lock: if we are killed, another may claim it."""

    __slots__ = ("fd", "path", "pid")

    def __init__(self, path: str, fd: int, pid: int) -> None:
        self.path = path
        self.fd = fd
        self.pid = pid

    def data(self) -> bytes:
        """The whole file."""
        return os.pread(self.fd, LARGEST_BYTES, 0)

    def told(self, serial: int) -> None:
        """One of its invocations has been told: whoever claims the rest does not find it."""
        os.pwrite(self.fd, bytes(WORD), SLOTS_AT + serial % SLOTS * SLOT_BYTES)

    def forget(self) -> None:
        """All of it has been told: delete it."""
        try:
            os.unlink(self.path)
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        """Let go of it as it is."""
        os.close(self.fd)


def current_boot_id() -> str:
    """Which boot of the machine this is; "" where nobody says so."""
    try:
        with open(BOOT_ID, "rb") as file:
            return file.read().decode().strip()
    except OSError:
        return ""


def watch_closely(folder: str) -> None:
    """Have the function's next processes arm faulthandler for every invocation; the mark lasts as long as /tmp."""
    try:
        os.close(os.open(folder + "/" + CLOSELY, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError:
        pass


def is_watched_closely(folder: str) -> bool:
    """Whether a process of this environment was lost without a trace."""
    return os.access(folder + "/" + CLOSELY, os.F_OK)


def claim(folder: str, boot_id: str, limit: int = AT_ONCE) -> "list[Claimed]":
    """Claim every dead process's journal of this boot, the oldest first, at most `limit`; [] where there is none.

    Dead is a process whose lock on its file is free. What is no journal of this boot and version is deleted when its
    owner is dead. Never raises; a file that cannot be had is left.
    """
    found: "list[Claimed]" = []
    for name in _by_age(folder):
        if len(found) == limit:
            break
        path = folder + "/" + name
        fd = _lock(path)
        if fd < 0:
            continue
        target = path if name.endswith(CLAIMED) else path + CLAIMED
        fields = os.pread(fd, HEADER_BYTES, 0).partition(b"\n")[0].decode("utf-8", "replace").split("\t")
        try:
            if fields[:2] != [MAGIC, boot_id] or not fields[2].isdecimal():
                os.unlink(path)
                raise OSError  # noqa: TRY301  # closed below
            if target != path:
                os.rename(path, target)  # whoever comes second finds no file of the old name
        except (OSError, IndexError):
            os.close(fd)
            continue
        found.append(Claimed(target, fd, int(fields[2])))
    return found


def _by_age(folder: str) -> "Iterable[str]":
    try:
        names = [name for name in os.listdir(folder) if name.endswith((SUFFIX, CLAIMED))]
    except OSError:
        return ()
    if len(names) < 2:
        return names
    aged = []
    for name in names:
        try:
            aged.append((os.stat(folder + "/" + name).st_mtime_ns, name))
        except OSError:
            continue
    return [name for _, name in sorted(aged)]


def _lock(path: str) -> int:
    """A descriptor that holds the file's lock, or -1: its owner lives, or it is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink and os.stat(path).st_ino == os.fstat(fd).st_ino:
            return fd
    except OSError:
        pass
    os.close(fd)
    return -1
