"""What a function printed, and the EMF documents in it."""

import contextlib
import json
import os
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES = 1 << 16
FRAME_HEAD_BYTES = 16


class Lines:
    """The read end of a pipe, given line by line (bytes, newline included, but for a last line that has none)."""

    def __init__(self, kind: str, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self.kind = kind
        self.paused = False
        self.ended = False
        self._descriptor = descriptor
        self._rest = b""

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._descriptor

    def pump(self) -> "Iterator[Any]":
        """Give what is complete now."""
        while not self.ended:
            try:
                data = os.read(self._descriptor, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.ended = True
                if self._rest:
                    yield self._rest
                return
            found, self._rest = self._split(self._rest + data)
            yield from found

    def _split(self, data: bytes) -> "tuple[list[Any], bytes]":
        *lines, rest = data.split(b"\n")
        return [line + b"\n" for line in lines], rest

    def close(self) -> None:
        """Close our end: a writer gets EPIPE."""
        os.close(self._descriptor)


class Frames(Lines):
    """The read end of the pipe for framed logs, given as (frame type, message).

    Source: awslambdaric, FramedTelemetryLogSink: type, length and time in 4, 4 and 8 bytes, big-endian, and the text.
    """

    def _split(self, data: bytes) -> "tuple[list[Any], bytes]":
        found = []
        while len(data) >= FRAME_HEAD_BYTES:
            kind, length, _ = struct.unpack_from(">IIQ", data)
            end = FRAME_HEAD_BYTES + length
            if len(data) < end:
                break
            found.append((kind, data[FRAME_HEAD_BYTES:end]))
            data = data[end:]
        return found, data


def documents(lines: "list[bytes]") -> "list[dict[str, Any]]":
    """The EMF documents among printed lines: whole lines that are a JSON object with an `_aws` member.

    Source: CloudWatch EMF specification, "Root node". Lines of any other kind are the function's own and are left out.
    """
    return [found for line in lines if (found := _document(line)) is not None]


def record_of(line: str) -> "dict[str, Any] | None":
    """What the recorder or the black box says in a line: an EMF document, or the last words before a deadline."""
    if line.startswith('{"coldspan":'):
        with contextlib.suppress(ValueError):
            return json.loads(line)
    return _document(line.encode("utf-8", "replace"))


def is_document(line: bytes) -> bool:
    """Whether a line is an EMF document."""
    return _document(line) is not None


def _document(line: bytes) -> "dict[str, Any] | None":
    if not line.startswith(b"{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and "_aws" in value else None
