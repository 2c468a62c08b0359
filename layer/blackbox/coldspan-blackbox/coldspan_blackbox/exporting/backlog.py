"""What waits for one destination: bounded by records and by bytes; the oldest goes first when there is no room."""

from collections import deque
from dataclasses import dataclass

from coldspan_blackbox.exporting.record import Record


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait, and how much goes into one batch. Bytes are those of the documents, as JSON."""

    queue_records: int = 8_192
    queue_bytes: int = 2_048_000
    batch_records: int = 512
    batch_bytes: int = 512_000
    export_timeout_s: float = 5.0


class Backlog:
    """Records in the order in which they came. Not for several threads at once."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.size_bytes = 0
        self._records: deque[Record] = deque()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> int:
        """Take a record in; gives how many were dropped for it: the oldest, or the record itself if it is too large."""
        limits = self.limits
        if record.size_bytes > limits.queue_bytes:
            return 1
        self._records.append(record)
        self.size_bytes += record.size_bytes
        dropped = 0
        while self.size_bytes > limits.queue_bytes or len(self._records) > limits.queue_records:
            self._first()
            dropped += 1
        return dropped

    def put_back(self, records: list[Record]) -> None:
        """Records of a batch go back to the front."""
        self._records.extendleft(reversed(records))
        self.size_bytes += sum(record.size_bytes for record in records)

    def has_batch(self) -> bool:
        """Whether a whole batch waits."""
        return len(self._records) >= self.limits.batch_records or self.size_bytes >= self.limits.batch_bytes

    def take(self) -> list[Record]:
        """The next batch: within its limits, but at least one record when there is one."""
        batch: list[Record] = []
        size = 0
        while self._records and len(batch) < self.limits.batch_records:
            size += self._records[0].size_bytes
            if batch and size > self.limits.batch_bytes:
                break
            batch.append(self._first())
        return batch

    def shed(self) -> int:
        """Drop the older half; gives how many that were."""
        dropped = (len(self._records) + 1) // 2
        for _ in range(dropped):
            self._first()
        return dropped

    def clear(self) -> int:
        """Drop all; gives how many that were."""
        dropped = len(self._records)
        self._records.clear()
        self.size_bytes = 0
        return dropped

    def _first(self) -> Record:
        record = self._records.popleft()
        self.size_bytes -= record.size_bytes
        return record
