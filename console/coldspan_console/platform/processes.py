"""Processes below one: found, stopped and continued, measured, and ended when their parent has died."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = os.sysconf("SC_PAGE_SIZE")
# Ends what it was told of when its parent dies, by whatever: a frozen process would stay for ever. Reads a pipe whose
# other end only the parent has: lines of `+PID`, `-PID` and `/FOLDER` (to be taken away).
REAPER = """
import os, shutil, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pids, folders = set(), []
def below(pid):
    found = []
    try:
        for task in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/children" % (pid, task)) as file:
                for child in map(int, file.read().split()):
                    found += [child, *below(child)]
    except OSError:
        pass
    return found
for line in sys.stdin:
    word = line.rstrip("\\n")
    if word[:1] == "+":
        pids.add(int(word[1:]))
    elif word[:1] == "-":
        pids.discard(int(word[1:]))
    elif word[:1] == "/":
        folders.append(word)
for pid in pids:
    for end, number in [(os.killpg, pid), *((os.kill, each) for each in [pid, *below(pid)])]:
        try:
            end(number, signal.SIGKILL)
        except OSError:
            pass
for folder in folders:
    shutil.rmtree(folder, ignore_errors=True)
"""


def below(pid: int) -> "set[int]":
    """All processes below one."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for children in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                waiting += (new := {int(number) for number in children.read_text("ascii").split()} - found)
                found |= new
    return found


def tree(pids: "Iterable[int]") -> "set[int]":
    """These processes and all below them."""
    found = set(pids)
    for pid in list(found):
        found |= below(pid)
    return found


def send(pids: "Iterable[int]", number: int) -> None:
    """Send a signal to each of these that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def stop(pids: "Iterable[int]") -> None:
    """Stop processes and all below them; one that forks meanwhile is found by the second look."""
    first = tree(pids)
    send(first, signal.SIGSTOP)
    send(tree(first) - first, signal.SIGSTOP)


def proceed(pids: "Iterable[int]") -> None:
    """Let stopped processes go on, and all below them."""
    send(tree(pids), signal.SIGCONT)


def memory_bytes(pid: int) -> int:
    """Resident memory of a process and all below it; what several share is counted once."""
    below_it = below(pid)
    if not below_it:
        return _resident(pid)
    return sum(_proportional(each) for each in {pid, *below_it})


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * PAGE
    except (OSError, ValueError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return _resident(pid)


class Reaper:
    """A small process that ends others, and takes folders away, when this one has died without doing so."""

    def __init__(self) -> None:
        read, self._write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", REAPER], stdin=read, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(read)
        self._lock = threading.Lock()

    def watch(self, pid: int) -> None:
        """End this process, too."""
        self._say(f"+{pid}")

    def forget(self, pid: int) -> None:
        """It has ended by itself: its number may become another's."""
        self._say(f"-{pid}")

    def remove(self, folder: Path) -> None:
        """Take this folder away, too."""
        self._say(str(folder))

    def close(self) -> None:
        """End; what is still watched is ended now."""
        with self._lock:
            os.close(self._write)
            self._write = -1
        self._process.wait()

    def _say(self, word: str) -> None:
        with self._lock:
            if self._write >= 0:
                with contextlib.suppress(BrokenPipeError):
                    os.write(self._write, f"{word}\n".encode())
