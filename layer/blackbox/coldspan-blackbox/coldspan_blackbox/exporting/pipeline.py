"""One destination's pipeline: what waits, on a thread of its own, so that no destination waits for another.

Why no library: tenacity sleeps inside its own loop, and pybreaker reads the wall clock, so neither keeps a deadline
that is set while they wait; the decisions are in retrying.py, 40 lines without a clock.
"""

import random
import threading
import time
from collections.abc import Callable

from coldspan_blackbox.exporting.backlog import Backlog, Limits
from coldspan_blackbox.exporting.exporter import Exporter, Result, Sent
from coldspan_blackbox.exporting.record import Record
from coldspan_blackbox.exporting.retrying import ATTEMPTS, OPEN, Breaker, backoff_s

# Why a record was dropped, besides the reasons that a destination itself gives with a refusal.
QUEUE_FULL = "queue_full"
CIRCUIT_OPEN = "circuit_open"  # the queue was full because the destination had not answered
RETRIES_EXHAUSTED = "retries_exhausted"
DEADLINE = "deadline"  # not sent by the time the environment ended
MEMORY = "memory_limit"
EXPORTER_ERROR = "exporter_error"  # a fault of ours

# Reasons of a refusal that may be that of one record: the halves of the batch are tried.
TOO_LARGE, UNENCODABLE = "too_large", "unencodable"
PAUSE_S = 1.0  # after a fault of ours
# An attempt may outlast a short flush, which does not wait for it: cut off, it would count as a failure.
ATTEMPT_S = 1.0
LEAST_S = 0.05  # an attempt with less time than this is not begun


class Pipeline:
    """Takes records from the reading thread, sends them from its own. Times are seconds of a monotonic clock.

    Something is sent when a flush was asked for, or when a whole batch waits. `received`, `sent` and `dropped` are sums
    since the start; what is neither sent nor dropped waits.
    """

    def __init__(
        self,
        exporter: Exporter,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        settled: Callable[[], None] | None = None,
    ) -> None:
        self.exporter = exporter
        self.limits = limits
        self.clock = clock
        self.chance = chance
        self.settled = settled  # called, on whatever thread, when a flush is over
        self.breaker = Breaker()
        self.received = self.sent = 0
        self.dropped: dict[str, int] = {}
        self._backlog = Backlog(limits)
        self._batch: list[Record] = []  # taken from the backlog, and not yet sent
        self._failed_count = 0  # attempts with this batch
        self._not_before_s = 0.0
        self._until_s: float | None = None  # of the flush that is going on
        self._flushes = 0  # asked for since the start
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    # -- the reading thread's side -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to send."""
        self._thread = threading.Thread(target=self._run, name=f"coldspan-{self.exporter.name}", daemon=True)
        self._thread.start()

    def offer(self, record: Record) -> None:
        """Take a record; what has no room is counted. Waits for nothing."""
        with self._changed:
            self.received += 1
            dropped = self._backlog.add(record)
            if dropped:
                self._drop(CIRCUIT_OPEN if self.breaker.state(self.clock()) == OPEN else QUEUE_FULL, dropped)
            if self._backlog.has_batch():
                self._changed.notify_all()

    def flush(self, until_s: float) -> None:
        """Ask for all that waits to be sent by then."""
        with self._changed:
            self._until_s = until_s
            self._flushes += 1
            self._changed.notify_all()

    def shed(self) -> None:
        """Drop the older half of what waits: the process has too little memory."""
        with self._changed:
            self._drop(MEMORY, self._backlog.shed())

    def close(self) -> None:
        """Count what is left as dropped, and end the thread. One that hangs in its exporter is left to the exit."""
        with self._changed:
            self._closed = True
            self._drop(DEADLINE, self._backlog.clear() + len(self._batch))
            self._batch = []
            self._settle()
            self._changed.notify_all()

    def is_flushing(self) -> bool:
        """Whether a flush that was asked for is still going on."""
        with self._changed:
            return self._until_s is not None

    def figures(self) -> tuple[int, int, dict[str, int], int]:
        """What was received, sent and dropped since the start, and what waits: all at one moment."""
        with self._changed:
            return self.received, self.sent, dict(self.dropped), len(self._backlog) + len(self._batch)

    # -- the pipeline's own thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closed:
            with self._changed:
                seen = self._flushes
            try:
                wait_s = self.turn()
            except Exception:  # noqa: BLE001  # MemoryError above all: the thread must not end before its time
                wait_s = PAUSE_S
                with self._changed:
                    self._drop(EXPORTER_ERROR, len(self._batch))
                    self._batch = []
            with self._changed:
                # Between the turn and here a flush may have been asked for, or a batch have become full.
                told = self._flushes != seen or (wait_s is None and self._backlog.has_batch())
                if not (told or self._closed) and (wait_s is None or wait_s > 0):
                    self._changed.wait(wait_s)
        self.exporter.close()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end after `close`."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def turn(self) -> float | None:
        """Send one batch, if one is due; gives the seconds until there may be more to do, None: until told."""
        with self._changed:
            now_s = self.clock()
            if self._until_s is not None and self._until_s - now_s < LEAST_S:
                self._settle()
            if not self._batch:
                if not len(self._backlog) or (self._until_s is None and not self._backlog.has_batch()):
                    self._settle()
                    return None
                self._batch, self._failed_count = self._backlog.take(), 0
            ready_s = max(self._not_before_s, self.breaker.until_s if self.breaker.state(now_s) == OPEN else 0.0)
            if now_s < ready_s:
                if self._until_s is not None and ready_s + LEAST_S > self._until_s:
                    self._settle()  # nobody is to wait for a destination that will not be asked in time
                return ready_s - now_s
            timeout_s = self.limits.export_timeout_s
            if self._until_s is not None:
                timeout_s = min(timeout_s, max(ATTEMPT_S, self._until_s - now_s))
            batch = self._batch
        try:
            result = self.exporter.export(batch, timeout_s)
        except Exception:  # noqa: BLE001  # a fault of ours in one exporter: its batch is lost, and counted
            result = Result(Sent.REFUSED, EXPORTER_ERROR)
        with self._changed:
            if self._batch is batch:  # else closed meanwhile: already counted
                self._take(result, self.clock())
        return 0.0

    def _take(self, result: Result, now_s: float) -> None:
        """Act on what became of the batch."""
        batch = self._batch
        if result.state is Sent.RETRY:
            self._failed_count += 1
            self.breaker.failed(now_s, self.chance())
            if self._failed_count >= ATTEMPTS:
                self._drop(RETRIES_EXHAUSTED, len(batch))
                self._batch = []
            self._not_before_s = now_s + backoff_s(self._failed_count, self.chance(), result.retry_after_s)
            return
        self.breaker.succeeded()
        self._not_before_s = 0.0
        self._batch = []
        if result.state is Sent.SENT:
            refused = min(result.refused_count, len(batch))
            self.sent += len(batch) - refused
            self._drop(result.reason or "refused", refused)
        elif result.reason in {TOO_LARGE, UNENCODABLE} and len(batch) > 1:
            half = len(batch) // 2
            self._backlog.put_back(batch[half:])
            self._batch, self._failed_count = batch[:half], 0
        else:
            self._drop(result.reason or "refused", len(batch))

    def _settle(self) -> None:
        """The flush is over, whether or not all could be sent."""
        if self._until_s is not None:
            self._until_s = None
            self._changed.notify_all()
            if self.settled is not None:
                self.settled()

    def _drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count
