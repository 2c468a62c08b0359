"""What a function printed, and the EMF documents in it."""

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_BYTES = 1 << 16


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

    def pump(self) -> "Iterator[bytes]":
        """Give the lines that are complete now."""
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
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                yield line + b"\n"

    def close(self) -> None:
        """Close our end: a writer gets EPIPE."""
        os.close(self._descriptor)


def documents(lines: "list[bytes]") -> "list[dict[str, Any]]":
    """The EMF documents among printed lines: whole lines that are a JSON object with an `_aws` member.

    Source: CloudWatch EMF specification, "Root node". Lines of any other kind are the function's own and are left out.
    """
    return [found for line in lines if (found := _document(line)) is not None]


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
