"""HTTP POST to one address over one connection, each request by a deadline. Standard library: a body and a status."""

import http.client
import math
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from coldspan_blackbox.exporting.bounded import connect, left_s, shut

_ANSWER_BYTES = 65_536  # an answer's body is not read any further
_ANSWER_S = 0.2


@dataclass(frozen=True, slots=True)
class Answer:
    """What the destination said."""

    status: int
    retry_after_s: float | None = None


class NoAnswerError(Exception):
    """There was none; its cause says why. `sent`: the request may have arrived all the same."""

    def __init__(self, cause: BaseException, *, sent: bool) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.sent = sent


class Poster:
    """Posts to one URL. Errors of `post`: NoAnswerError."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.port = parts.port or (443 if self.tls else 80)
        self.target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.headers = dict(headers)
        self._connection: http.client.HTTPConnection | None = None
        self._sending = False

    def post(self, body: bytes, deadline_s: float) -> Answer:
        """Send one request and give its answer. `close` from another thread ends it."""
        self._sending = False
        try:
            return self._post(body, deadline_s)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:  # the last: closed meanwhile
            self.close()
            raise NoAnswerError(error, sent=self._sending) from error

    def close(self) -> None:
        """Close the connection; waits for nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            shut(connection.sock)

    def _post(self, body: bytes, deadline_s: float) -> Answer:
        reused = self._connection is not None
        try:
            return self._request(body, deadline_s)
        except (ConnectionError, http.client.RemoteDisconnected):
            self.close()
            if not reused:
                raise
        return self._request(body, deadline_s)  # the other side had closed it while nothing was sent

    def _request(self, body: bytes, deadline_s: float) -> Answer:
        connection = self._connection
        if connection is None:
            opened = connect(self.host, self.port, socket.SOCK_STREAM, deadline_s)
            try:
                opened.settimeout(left_s(deadline_s))
                if self.tls is not None:
                    opened = self.tls.wrap_socket(opened, server_hostname=self.host)
            except BaseException:
                opened.close()
                raise
            connection = http.client.HTTPConnection(self.host, self.port)
            connection.sock = opened
            connection.auto_open = 0
            connection.default_port = 443 if self.tls else 80  # which the Host header leaves out
            self._connection = connection
        opened = connection.sock
        opened.settimeout(left_s(deadline_s))
        self._sending = True
        connection.request("POST", self.target, body, self.headers)
        opened.settimeout(left_s(deadline_s))
        response = connection.getresponse()
        answer = Answer(response.status, _retry_after_s(response.headers.get("Retry-After")))
        try:
            opened.settimeout(min(_ANSWER_S, left_s(deadline_s)))
            response.read(_ANSWER_BYTES)
            whole = response.isclosed()
        except (OSError, http.client.HTTPException, ValueError):
            whole = False
        if not whole or response.will_close:
            self.close()  # the status has been given: what is wrong with the rest costs a connection
        return answer


def _retry_after_s(text: str | None) -> float | None:
    """Source: RFC 9110, section 10.2.3: seconds, or a date."""
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time_ns() / 1e9
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
