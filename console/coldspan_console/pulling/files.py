"""Log lines from files and streams, compressed or not, read as they come."""

import gzip
import sys
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

from coldspan_console.output import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Iterator

GZIP = b"\x1f\x8b"
STDIN = "-"
LINE_BYTES = 8_000_000  # a line of 1 MB is what CloudWatch takes; one of binary data may have no end


def read_lines(word: str) -> "Iterator[bytes]":
    """The lines of a file (.gz too), of all files below a folder, or of stdin. Errors: ConsoleError."""
    if word == STDIN:
        yield from _lines(sys.stdin.buffer, "stdin")
        return
    place = Path(word)
    files = sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
    if not files:
        raise ConsoleError("no file in it", where=word)
    for file in files:
        try:
            with file.open("rb") as opened:
                yield from _lines(opened, str(file))
        except OSError as error:
            raise ConsoleError(f"it cannot be read: {error.strerror or error}", where=str(file)) from None


def _lines(stream: "IO[bytes]", where: str) -> "Iterator[bytes]":
    first = stream.readline(LINE_BYTES)
    if first[:2] != GZIP:
        while first:
            yield first
            first = stream.readline(LINE_BYTES)
        return
    try:
        with gzip.GzipFile(fileobj=_Again(first, stream)) as archive:
            yield from archive
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConsoleError(f"its compression is broken: {error}", where=where) from None


class _Again:
    """A stream whose first bytes have been read already: a pipe cannot be sought."""

    def __init__(self, head: bytes, rest: "IO[bytes]") -> None:
        self._head, self._rest = head, rest

    def read(self, size: int = -1) -> bytes:
        """As a file has it."""
        if not self._head:
            return self._rest.read(size)
        if size < 0:
            data, self._head = self._head + self._rest.read(), b""
            return data
        data, self._head = self._head[:size], self._head[size:]
        return data


__all__ = ["STDIN", "read_lines"]
