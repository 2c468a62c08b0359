"""The exporters' process, as the extension sees it: started, fed, asked to flush, and done without when it dies."""

import posix
import sys
from _socket import AF_UNIX, MSG_DONTWAIT, SO_SNDBUF, SOCK_SEQPACKET, SOL_SOCKET, socketpair
from _socket import socket as Socket  # noqa: N812  # the class is called so in C
from time import monotonic_ns

from coldspan_blackbox.jsontext import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan_blackbox.counts import Counts

RESTARTS = 3
PAUSE_NS = 1_000_000_000  # before the first restart; four times as long before each further one
MESSAGE_BYTES = 262_144
LINE = b"coldspan/1 line\n"
SENDING_BYTES = 4_194_304  # the kernel gives what its limit allows


class Exporter:
    """The process and the socket to it. Nothing here waits."""

    def __init__(self, start: str, counts: "Counts") -> None:
        self._start = start  # path of start.py
        self._counts = counts
        self._socket: "Socket | None" = None
        self._restarts = 0
        self._number = 0
        self.pid = 0
        self.ready = False
        self.refused = ""
        self.problems: "dict[str, str]" = {}  # exporter -> why it cannot work
        self.settings_refused: "list[str]" = []  # what of its variables it could not understand
        self.restart_ns = 0  # when it is to be started again; 0 never
        self.flushed = 0  # number of the last flush that is done
        self.answered = 0  # number of the last one that it has answered itself
        self.waiting = 0  # records that it has not sent
        self.sent = 0
        self._given = 0  # records handed to this process
        self._settled: "dict[str, int]" = {}  # destination -> records of which it has told the end

    @property
    def alive(self) -> bool:
        """Whether there is somebody to send to."""
        return self._socket is not None

    def fileno(self) -> int:
        """The descriptor to wait on; -1 without a process."""
        return self._socket.fileno() if self._socket is not None else -1

    def start(self) -> None:
        """Start the process. Errors: OSError."""
        ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        mine = Socket(AF_UNIX, SOCK_SEQPACKET, 0, ours.detach())
        try:
            mine.setblocking(False)
            mine.setsockopt(SOL_SOCKET, SO_SNDBUF, SENDING_BYTES)
            given = 3 if theirs.fileno() != 3 else 4
            command = [sys.executable, "-I", "-S", "-B", self._start, "--export", str(given)]
            actions = [(posix.POSIX_SPAWN_DUP2, theirs.fileno(), given)]
            self.pid = posix.posix_spawn(sys.executable, command, posix.environ, file_actions=actions)
        except BaseException:
            mine.close()
            raise
        finally:
            theirs.close()
        self._socket, self.ready, self.restart_ns = mine, False, 0
        self._given, self._settled = 0, {}

    def unsettled(self) -> int:
        """How many records it was given of whose end it has not told, for each destination; it may have sent some."""
        return sum([max(0, self._given - settled) for settled in self._settled.values()])

    def send(self, message: bytes) -> None:
        """Hand a message over, or count it."""
        if self._socket is None:
            self._counts.drop("exporter_refused" if self.refused else "exporter_dead")
            return
        try:
            self._socket.send(message, MSG_DONTWAIT)
            self._given += message.startswith(LINE)
        except BlockingIOError:
            self._counts.drop("export_queue_full")
        except OSError as error:  # EMSGSIZE, or a process that has just died: its end is seen by `receive`
            self._counts.drop("exporter_dead" if error.errno in (32, 104, 107) else "records_too_large")

    def ask_flush(self, until_ms: int, word: bytes = b"flush") -> int:
        """Ask for a flush that ends by then (CLOCK_MONOTONIC ms); its number, 0 when there is nobody to ask."""
        if self._socket is None:
            return 0
        self._number += 1
        before = sum(self._counts.drops.values())
        self.send(b'coldspan/1 %b\n{"until_ms":%d,"number":%d}' % (word, until_ms, self._number))
        return self._number if sum(self._counts.drops.values()) == before else 0

    def receive(self) -> bool:
        """Read what it says; False when it has ended."""
        while self._socket is not None:
            try:
                message = self._socket.recv(MESSAGE_BYTES)
            except BlockingIOError:
                return True
            except ConnectionResetError:  # it has not read all; why it has ended may still wait to be read
                continue
            except OSError:
                message = b""
            if not message:
                self._ended()
                return False
            self._counts.attempt("exporter_message", self._take, message)
        return False

    def _take(self, message: bytes) -> None:
        kind, _, body = message.partition(b"\n")
        told: "Any" = loads(body) if body.strip() else {}
        if kind == b"coldspan/1 ready":
            self.ready = True
            self._settled = dict.fromkeys([str(name) for name in told.get("exporters") or ()], 0)
            self._note(told.get("refused"))
            self.settings_refused = [str(name)[:64] for name in (told.get("problems") or ())[:16]]
        elif kind == b"coldspan/1 refused":
            self.refused = str(told.get("reason") or "unknown")[:128]
            self._note(told.get("exporters") or {"all": told.get("fault") or self.refused})
        elif kind == b"coldspan/1 flushed":
            self.waiting, self.sent = int(told.get("waiting") or 0), int(told.get("sent") or 0)
            self.flushed = self.answered = int(told.get("number") or self._number)
            destinations = told.get("destinations")
            for name, each in destinations.items() if isinstance(destinations, dict) else ():
                self._settled[str(name)] = int(each["sent"]) + int(each["dropped"])
            dropped = told.get("dropped")
            for reason, count in dropped.items() if isinstance(dropped, dict) else ():
                self._counts.drop(str(reason)[:128], int(count))
        else:
            self._counts.refuse("exporter_unreadable")

    def _note(self, refused: "Any") -> None:
        """Which exporters cannot work, and what to do about it: told once."""
        if isinstance(refused, dict):
            self.problems = {str(name)[:64]: str(text)[:512] for name, text in list(refused.items())[:8]}

    def _ended(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self.flushed = self._number
        if self.pid:
            try:
                posix.kill(self.pid, 9)  # one that has closed its socket and goes on helps nobody
                posix.waitpid(self.pid, 0)
            except OSError:
                pass
            self.pid = 0
        if self.refused:
            return
        self._counts.drop("exporter_died", max(1, self.unsettled()))
        if self._restarts < RESTARTS:
            self.restart_ns = monotonic_ns() + PAUSE_NS * 4**self._restarts
            self._restarts += 1

    def close(self) -> None:
        """End the process."""
        self.refused = self.refused or "shutdown"
        self._ended()
