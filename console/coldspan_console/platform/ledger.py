"""What was seen from outside, in the order in which the function did it."""

import selectors
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing seen. `order` counts from 0 in one ledger; `at_ns` is monotonic."""

    order: int
    at_ns: int
    kind: str
    item: Any


class Source(Protocol):
    """A pipe or socket that the function writes to."""

    kind: str
    paused: bool

    def fileno(self) -> int:
        """The descriptor to wait on."""

    def pump(self) -> "Iterator[Any]":
        """Give what is there now, without blocking."""

    @property
    def ended(self) -> bool:
        """Whether nothing more can come."""

    def close(self) -> None:
        """Release the descriptor."""


class Ledger:
    """The order of events as the other side of the sockets sees it, exact for a function with one thread.

    A request and a line of output reach us through different descriptors, so the moment at which a reader thread wakes
    says nothing about which came first. Therefore every note first empties all sources: what the function wrote before
    it sent a request is in the pipe when the request is here, and is entered before it. Between two sources that were
    emptied at the same moment the order is not known.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entries: list[Entry] = []
        self._forgotten = 0
        self._sources: list[Source] = []
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._closed = False
        self.heard: Callable[[Entry], None] = lambda _: None  # told of every entry; it may not wait
        self._thread = threading.Thread(target=self._read, name="ledger", daemon=True)
        self._thread.start()

    def watch(self, source: Source) -> None:
        """Enter everything that `source` gives, from now on."""
        with self._lock:
            self._sources.append(source)
            self._selector.register(source, selectors.EVENT_READ)
        self._wake.send(b"w")

    def note(self, kind: str, item: object) -> Entry:
        """Enter `item`, after all that has been written before now."""
        with self._lock:
            self._pump()
            return self._enter(kind, item)

    def entries(self, *kinds: str) -> list[Entry]:
        """Everything entered until now, of these kinds (of all, when none is named)."""
        with self._lock:
            self._pump()
            return [entry for entry in self._entries if not kinds or entry.kind in kinds]

    def forget(self) -> list[Entry]:
        """Give everything entered until now, and keep it no longer: an environment may run for days."""
        with self._lock:
            self._pump()
            entries, self._entries = self._entries, []
            self._forgotten += len(entries)
            return entries

    def pause(self, source: Source) -> None:
        """Stop reading `source`, so that its writer will block when the pipe is full."""
        with self._lock:
            source.paused = True
            self._selector.unregister(source)

    def resume(self, source: Source) -> None:
        """Read `source` again."""
        with self._lock:
            source.paused = False
            self._selector.register(source, selectors.EVENT_READ)
        self._wake.send(b"w")

    def close(self) -> None:
        """Read what is left, stop the thread and close the sources."""
        with self._lock:
            self._pump()
            self._closed = True
        self._wake.send(b"w")
        self._thread.join()
        self._selector.close()
        self._wake.close()
        self._woken.close()
        for source in self._sources:
            source.close()
        self._sources.clear()

    def _enter(self, kind: str, item: object) -> Entry:
        entry = Entry(self._forgotten + len(self._entries), time.monotonic_ns(), kind, item)
        self._entries.append(entry)
        self.heard(entry)
        return entry

    def _pump(self) -> None:
        for source in list(self._sources):
            if source.paused:
                continue
            for item in source.pump():
                self._enter(source.kind, item)
            if source.ended:
                self._selector.unregister(source)
                self._sources.remove(source)
                source.close()

    def _read(self) -> None:
        while True:
            ready = self._selector.select()
            with self._lock:
                if self._closed:
                    return
                if any(key.fileobj is self._woken for key, _ in ready):
                    self._woken.recv(4096)
                self._pump()
