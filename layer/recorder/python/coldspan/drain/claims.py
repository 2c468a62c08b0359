"""Finds the journals of dead processes and claims them, each once. Used at init and by the black box."""

import fcntl
import os
from stat import S_ISREG
from time import time_ns

from coldspan.core.buffer import raised_by_signal
from coldspan.core.cells import CLAIMED, HEADER_BYTES, MAGIC, NEW, SLOT_BYTES, SLOTS, SLOTS_AT, SUFFIX, WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

BOOT_ID = "/proc/sys/kernel/random/boot_id"
LARGEST_BYTES = 4 << 20
AT_ONCE = 16
CLOSELY = "closely"
MOST = 64  # journals of processes that were all killed before any could tell: 4 MB
NEW_NS = 60_000_000_000  # one that has not got its name by then never will


class Claimed:
    """A dead process's journal that is ours to tell of. Held by a lock: if we are killed, another may claim it."""

    __slots__ = ("fd", "inode", "path", "pid")

    def __init__(self, path: str, fd: int, pid: int) -> None:
        self.path = path
        self.fd = fd
        self.pid = pid
        self.inode = os.fstat(fd).st_ino

    def data(self) -> bytes:
        """The whole file; b"" when somebody has closed it."""
        return os.pread(self.fd, LARGEST_BYTES, 0) if self._is_open() else b""

    def told(self, serial: int) -> None:
        """One of its invocations has been told: whoever claims the rest does not find it."""
        if self._is_open():
            os.pwrite(self.fd, bytes(WORD), SLOTS_AT + serial % SLOTS * SLOT_BYTES)

    def forget(self) -> None:
        """All of it has been told: delete it."""
        _unlink(self.path)
        self.close()

    def close(self) -> None:
        """Let go of it as it is."""
        if self._is_open():
            os.close(self.fd)
        self.fd = -1

    def _is_open(self) -> bool:
        """Whether the descriptor is still ours: a function may close what it has not opened, and have its own there."""
        try:
            return os.fstat(self.fd).st_ino == self.inode
        except OSError as error:
            if raised_by_signal(error):
                raise
            return False


# A time limit of the customer's, raised by a signal handler while our code runs, may be an OSError too: it goes on.


def current_boot_id() -> str:
    """Which boot of the machine this is; "" where nobody says so."""
    try:
        with open(BOOT_ID, "rb") as file:
            return file.read().decode().strip()
    except OSError as error:
        if raised_by_signal(error):
            raise
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
        try:
            claimed = _claimed(folder + "/" + name, boot_id)
        except OSError as error:
            if raised_by_signal(error):
                raise
            continue
        if claimed is not None:
            found.append(claimed)
    return found


def thin(folder: str, most: int = MOST) -> int:
    """Delete the oldest journals beyond `most` that nobody holds; gives how many they were.

    They take the function's room in /tmp, and grow in number where every process is killed before it can tell.
    """
    deleted = 0
    names = list(_by_age(folder))
    for name in names[: max(0, len(names) - most)]:
        try:
            fd = _lock(folder + "/" + name)
        except OSError as error:
            if raised_by_signal(error):
                raise
            continue
        if fd >= 0:
            deleted += _unlink(folder + "/" + name)
            os.close(fd)
    return deleted


def _claimed(path: str, boot_id: str) -> "Claimed | None":
    """The journal under its new name, which tells whoever comes second that there is none; None when it is none."""
    fd = _lock(path)
    if fd < 0:
        return None
    try:
        fields = os.pread(fd, HEADER_BYTES, 0).partition(b"\n")[0].decode("utf-8", "replace").split("\t")
        if fields[:2] == [MAGIC, boot_id] and len(fields) > 2 and fields[2].isdecimal():
            target = path if path.endswith(CLAIMED) else path + CLAIMED
            if target != path:
                os.rename(path, target)
            return Claimed(target, fd, int(fields[2]))
        os.unlink(path)
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _by_age(folder: str) -> "Iterable[str]":
    """The names of the folder's journals, the oldest first. What a process was killed over making is deleted."""
    try:
        names = os.listdir(folder)
    except OSError as error:
        if raised_by_signal(error):
            raise
        return ()
    aged = []
    for name in names:
        kind = _kind(name)
        try:
            if kind in (SUFFIX, SUFFIX + CLAIMED):
                aged.append((os.stat(folder + "/" + name).st_mtime_ns, name))
            elif kind == SUFFIX + NEW and time_ns() - os.stat(folder + "/" + name).st_mtime_ns > NEW_NS:
                os.unlink(folder + "/" + name)
        except OSError as error:  # one that is gone by now
            if raised_by_signal(error):
                raise
    return [name for _, name in sorted(aged)]


def _kind(name: str) -> str:
    """How the name of a journal ends; "" for all other names: the folder may be one that the function uses too."""
    pid, _, rest = name.partition("-")
    number, dot, end = rest.partition(".")
    return dot + end if pid.isdecimal() and number and not number.strip("0123456789abcdef") else ""


def _lock(path: str) -> int:
    """A descriptor that holds the file's lock, or -1 when it is no file, or no longer this one.

    OSError when its owner lives, or it is gone.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would hold us up
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(fd)
        if S_ISREG(status.st_mode) and status.st_nlink and os.stat(path).st_ino == status.st_ino:
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return -1


def _unlink(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError as error:
        if raised_by_signal(error):
            raise
        return False
    return True
