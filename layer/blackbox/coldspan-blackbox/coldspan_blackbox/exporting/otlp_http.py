"""How OTLP leaves: one request, one attempt, never longer than it may take. Retries are the pipeline's.

The SDK's exporters take a transport. Its classes are private to the SDK, whose version is locked in
requirements/otlp.txt; tests/unit/test_blackbox_otlp.py fails where they have changed.
"""

import re
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol

import urllib3
from opentelemetry.exporter.http.transport._urllib3 import Urllib3HTTPResult, Urllib3HTTPTransport

IDLE_S = 30.0  # a connection unused for longer is not trusted: while an environment is frozen, nobody hears it close
MARGIN_S = 0.1  # by which the watch is behind the socket's own timeout
ANSWER_BYTES = 65_536  # of an answer that are read
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Signer(Protocol):
    """Adds what an endpoint wants to know of the sender."""

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Give the headers to send."""


class Answer:
    """What became of the last request: `status` 0 when there was no answer, then `error` says why."""

    def __init__(self, status: int = 0, headers: Mapping[str, str] | None = None, body: bytes = b"", error: str = ""):
        self.status = status
        self.headers = headers or {}
        self.body = body
        self.error = error


class NotSentError(Exception):
    """Tells the SDK's client that there is nothing to try again."""


class Transport(Urllib3HTTPTransport):
    """Sends by urllib3, signed if need be. `answer` is what the last request got; None when none was made."""

    def __init__(
        self, verify: bool | str = True, cert: str | tuple[str, str] | None = None, sign: Signer | None = None
    ) -> None:
        super().__init__(verify=verify, cert=cert)
        self.until_s = 0.0
        self.answer: Answer | None = None
        self.sign = sign
        self._used_s = 0.0
        self._pool.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        data: bytes | None = None,
    ) -> Urllib3HTTPResult:
        """Send one request, by `until_s` of the monotonic clock; what is no success is not told to the SDK's client.

        Its client would wait and try again, on its own clock.
        """
        self.answer = Answer(error="fault")  # unless there is a better one: a thread may not be had
        left_s = self.until_s - time.monotonic()
        left_s = left_s if timeout is None else min(left_s, timeout)
        if left_s <= 0:
            self.answer = Answer(error="timeout")
            return Urllib3HTTPResult(error=NotSentError())
        body = data or b""
        try:
            sent = dict(headers or {}) if self.sign is None else self.sign(method, url, headers or {}, body)
        except Exception as error:  # noqa: BLE001  # no credentials, or a fault of botocore's
            self.answer = Answer(error=f"unsigned_{type(error).__name__}")
            return Urllib3HTTPResult(error=NotSentError())
        # urllib3's timeout is one of each read: a server that sends a byte now and then is cut off by the watch.
        over = threading.Event()
        watch = threading.Timer(left_s + MARGIN_S, _cut_off, (threading.get_ident(), over))
        watch.daemon = True
        watch.start()
        try:
            if _awake_s() - self._used_s > IDLE_S:
                self._pool.clear()
            self.answer = self._send(method, url, sent, body, left_s)
            left_s = self.until_s - time.monotonic()
            if self.answer.error and left_s > 0 and _was_used(threading.get_ident()):
                self._pool.clear()  # the other side had closed it: that is no failure of the destination
                self.answer = self._send(method, url, sent, body, left_s)
        finally:
            self._used_s = _awake_s()
            watch.cancel()
            _open.pop(threading.get_ident(), None)
        if over.is_set():  # http.client takes headers that were cut off for whole ones
            self.answer = Answer(error="timeout")
        if not 200 <= self.answer.status < 300:
            return Urllib3HTTPResult(error=NotSentError())
        return Urllib3HTTPResult(status_code=self.answer.status)

    def _send(self, method: str, url: str, headers: dict[str, str], body: bytes, timeout_s: float) -> Answer:
        try:
            response = self._pool.request(
                method,
                url,
                headers=headers,
                body=body,
                timeout=urllib3.Timeout(total=timeout_s),
                preload_content=False,
                retries=urllib3.Retry(0, redirect=False, raise_on_redirect=False),
                redirect=False,
            )
            try:
                return Answer(response.status, dict(response.headers), response.read(ANSWER_BYTES))
            finally:
                # A connection with something unread in it is not used again.
                response.release_conn() if response.closed else response.close()
        except (urllib3.exceptions.TimeoutError, urllib3.exceptions.ProtocolError, OSError) as error:
            return Answer(error=_word(error))
        except urllib3.exceptions.HTTPError as error:
            return Answer(error=_word(getattr(error, "reason", None) or error))
        except Exception as error:  # noqa: BLE001  # what a server may provoke in urllib3 and http.client has no end
            return Answer(error=_word(error))


# Thread -> its connection: the one that is cut off when its time is over.
_open: dict[int, Any] = {}


def _awake_s() -> float:
    """Seconds of a clock that goes on while the environment is frozen."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _was_used(thread: int) -> bool:
    connection = _open.get(thread)
    return connection is not None and connection.uses > 1


def _cut_off(thread: int, over: threading.Event) -> None:
    over.set()
    connection = _open.get(thread)
    sock = getattr(connection, "sock", None)
    if sock is not None:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # closed meanwhile
            return


class _Watched:
    """A connection that can be found by the thread that uses it, and knows how many requests it has had."""

    uses = 0

    def request(self, *positional: Any, **named: Any) -> Any:
        self.uses += 1
        _open[threading.get_ident()] = self
        return super().request(*positional, **named)  # type: ignore[misc]  # that of urllib3's connection


class _HTTPConnection(_Watched, urllib3.connection.HTTPConnection):
    pass


class _HTTPSConnection(_Watched, urllib3.connection.HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def _word(error: BaseException) -> str:
    """A short word for a count: "connect_timeout", "new_connection", "reset", ..."""
    return _WORDS.sub("_", type(error).__name__.removesuffix("Error")).lower() or "error"
