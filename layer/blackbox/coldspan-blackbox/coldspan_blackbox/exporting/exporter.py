"""What every destination has in common: how it is told what to send, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from coldspan_blackbox.exporting.record import Record


class ConfigurationError(Exception):
    """An exporter that cannot work as it is set up: the text names the variable and says what to do."""


class Sent(Enum):
    """How a batch ended."""

    SENT = "sent"
    RETRY = "retry"  # the same batch again, later
    REFUSED = "refused"  # never again: it would be refused the same way


@dataclass(frozen=True, slots=True)
class Result:
    """How a batch ended, and why.

    `reason` is a short word for the count of what was dropped ("http_400", "too_large"); `retry_after_s` what the
    destination asked for; `refused_count` how many records of a batch that was SENT the destination did not take.
    """

    state: Sent
    reason: str = ""
    retry_after_s: float | None = None
    refused_count: int = 0


class Exporter(Protocol):
    """One destination. All its methods are called by one thread."""

    name: str

    def export(self, records: Sequence[Record], timeout_s: float) -> Result:
        """Send a batch; may block for as long as `timeout_s`, never longer. Nothing the destination does raises."""

    def close(self) -> None:
        """Let go of connections."""
