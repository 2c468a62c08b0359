"""A step that may hang, waited for no longer than it was given.

A socket's timeout is that of one operation, and nothing limits the resolver: a destination that sends a byte now and
then, or a name server that is silent, outlasts every timeout. So each step runs on a thread of its own, which is left
behind when its time is over; until it has ended no other is begun.
"""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

_MARGIN_S = 0.02  # of this much less the step's own timeouts are: its own account of what happened is the better one


class OutOfTimeError(Exception):
    """The step had not ended by its deadline, or the one before it still has not."""


class Bounded:
    """Runs one step at a time. For one calling thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._thread: threading.Thread | None = None

    def run(self, step: Callable[[float], Any], timeout_s: float, abort: Callable[[], None]) -> Any:
        """Give what `step(deadline_s)` gives, or raise what it raises; the deadline is one of time.monotonic().

        When its time is over, `abort` is called, which is to make the step end soon (close its socket).
        Errors: OutOfTimeError.
        """
        end_s = time.monotonic() + timeout_s
        if self._thread is not None:
            abort()
            self._thread.join(max(timeout_s, 0))
            if self._thread.is_alive():
                raise OutOfTimeError
        ended: list[tuple[bool, Any]] = []

        def whole() -> None:
            try:
                ended.append((True, step(end_s - min(_MARGIN_S, timeout_s / 10))))
            except Exception as error:  # noqa: BLE001  # handed to the caller, on its own thread
                ended.append((False, error))

        thread = threading.Thread(target=whole, name=self.name, daemon=True)
        thread.start()
        thread.join(max(end_s - time.monotonic(), 0))
        if not ended:
            self._thread = thread
            abort()
            raise OutOfTimeError
        self._thread = None
        succeeded, answer = ended.pop()
        if succeeded:
            return answer
        try:
            raise answer
        finally:
            del answer  # the error holds this frame, and the frame would hold the error


def left_s(deadline_s: float) -> float:
    """Seconds up to a deadline, as a socket's timeout. Errors: TimeoutError when there are none."""
    seconds = deadline_s - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def connect(host: str, port: int, kind: socket.SocketKind, deadline_s: float) -> socket.socket:
    """A connected socket: the first of the host's addresses that answers. Errors: OSError."""
    failure: OSError | None = None
    addresses = socket.getaddrinfo(host, port, type=kind)
    for number, (family, *_, address) in enumerate(addresses):
        opened = socket.socket(family, kind)
        try:
            # one that is silent must leave time for those behind it
            opened.settimeout(left_s(deadline_s) / (len(addresses) - number))
            opened.connect(address)
        except OSError as error:
            opened.close()
            failure = error
            continue
        return opened
    raise failure or OSError("the name has no address")


def shut(opened: socket.socket | None) -> None:
    """Close a socket that another thread may be waiting in: close alone would not wake it."""
    if opened is None:
        return
    with contextlib.suppress(OSError):  # it was not connected
        socket.socket.shutdown(opened, socket.SHUT_RDWR)  # also for TLS, whose own would wait for the lock
    opened.close()


def reason_of(error: BaseException) -> str:
    """A short word for what became of a connection."""
    match error:
        case OutOfTimeError() | TimeoutError():
            return "timeout"
        case socket.gaierror():
            return "dns"
        case ConnectionRefusedError():
            return "connection_refused"
        case ssl.SSLError():
            return "tls"
        case OSError():
            return "connection_lost"
    return "bad_answer"


def host_and_port(text: str, port: int) -> tuple[str, int]:
    """Read `host`, `host:port` or `[::1]:port`. Errors: ValueError."""
    parts = urlsplit("//" + text)
    if not parts.hostname or parts.path or parts.query or parts.username is not None:
        raise ValueError(text)
    return parts.hostname, parts.port or port
