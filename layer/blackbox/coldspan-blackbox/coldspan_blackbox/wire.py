"""HTTP/1.1 messages that arrive in pieces: the platform's answers, and what is posted to the telemetry port.

Written by hand because http.client costs 25 M instructions at start. Source: RFC 9112.
"""

HEAD_BYTES = 16_384


class Message:
    """One message. `feed` it what arrives until `done`, or `fault` says why it is none.

    `line` is the first line, `headers` has lower-case names. A body without a length ends with the connection where the
    message is an answer (`until_closed`), else there is none.
    """

    __slots__ = ("_chunked", "_data", "_left", "_most", "_until_closed", "body", "done", "fault", "headers", "line")

    def __init__(self, most_bytes: int, *, until_closed: bool = False) -> None:
        self.line = b""
        self.headers: "dict[bytes, bytes]" = {}
        self.body = b""
        self.done = False
        self.fault = ""
        self._data = b""
        self._most = most_bytes
        self._until_closed = until_closed
        self._left = -1  # bytes of the body; unknown
        self._chunked = False

    @property
    def status(self) -> int:
        """The status code of an answer; 0 when it is none."""
        parts = self.line.split(None, 2)
        return int(parts[1]) if len(parts) > 1 and len(parts[1]) == 3 and parts[1].isdigit() else 0

    @property
    def begun(self) -> bool:
        """Whether something of it has arrived."""
        return bool(self._data or self.line)

    def feed(self, data: bytes) -> None:
        """Take what arrived; b"" is the end of the connection."""
        if self.done or self.fault:
            return
        self._data += data
        if not self.line and not self._head():
            if not data and not self.fault:
                self.fault = "cut_off"
            return
        if self.done or self.fault:
            return
        if self._chunked:
            self._chunks()
        elif self._left < 0:
            self.done = not data
        else:
            self.done = len(self._data) >= self._left
        if len(self._data) > self._most + HEAD_BYTES:
            self.fault, self.done = "too_large", False
        elif self.done and not self._chunked:
            self.body = self._data[: self._left] if self._left >= 0 else self._data
        elif not data and not self.done:
            self.fault = "cut_off"

    def _head(self) -> bool:
        """Take the head off what has arrived; whether it was all there."""
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if len(head) > HEAD_BYTES:
            self.fault = "head_too_large"
        if not end or self.fault:
            return False
        self.line, *lines = head.split(b"\r\n")
        if b"HTTP/1." not in self.line:
            self.fault = "not_http"
            return False
        for line in lines:
            name, _, value = line.partition(b":")
            self.headers[name.strip().lower()] = value.strip()
        self._data = rest
        length = self.headers.get(b"content-length", b"")
        if b"chunked" in self.headers.get(b"transfer-encoding", b"").lower():
            self._chunked = True
        elif length:
            if not length.isdigit() or len(length) > 12:
                self.fault = "bad_length"
            elif int(length) > self._most:
                self.fault = "too_large"
            else:
                self._left = int(length)
        elif not self._until_closed:
            self._left = 0
        return not self.fault

    def _chunks(self) -> None:
        """Join the chunks that have arrived whole. What has arrived is copied once, however small they are."""
        data, at, parts = self._data, 0, []
        left = self._most - len(self.body)
        while (end := data.find(b"\r\n", at)) >= 0:
            begin = end + 2
            try:
                length = int(data[at:end].partition(b";")[0].strip(), 16)
            except ValueError:
                length = -1
            if length < 0:
                self.fault = "bad_chunk"
            elif length > left:
                self.fault = "too_large"
            elif not length:
                self.done = data.startswith(b"\r\n", begin) or data.find(b"\r\n\r\n", begin) >= 0
            elif len(data) >= begin + length + 2:
                parts.append(data[begin : begin + length])
                left -= length
                at = begin + length + 2
                continue
            break
        else:
            if len(data) - at > HEAD_BYTES:
                self.fault = "bad_chunk"
        self.body += b"".join(parts)
        self._data = data[at:]


def request(method: str, path: str, host: str, headers: "dict[str, str]", body: bytes = b"") -> bytes:
    """The bytes of a request whose connection ends with the answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: " + host, "Connection: close"]
    lines += [name + ": " + value for name, value in headers.items()]
    if body or method != "GET":
        lines.append("Content-Length: %d" % len(body))
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
