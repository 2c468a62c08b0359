"""When a destination is tried again: back-off with full jitter, and a circuit breaker. No clock, no thread.

Source: Amazon Builders' Library, "Timeouts, retries, and backoff with jitter"; M. Nygard, "Release It!".
"""

FIRST_S = 0.5
LONGEST_S = 60.0
ATTEMPTS = 8  # a batch that failed as often is dropped: it may be the batch that the destination cannot take
RETRY_AFTER_MOST_S = 300.0

FAILURES_TO_OPEN = 3
OPEN_S = 10.0
OPEN_MOST_S = 300.0

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


def backoff_s(failed_count: int, chance: float, retry_after_s: float | None = None) -> float:
    """Seconds until the next attempt, after `failed_count` (1 or more) attempts; `chance` is random in [0, 1).

    What the destination itself asked for is kept to, up to RETRY_AFTER_MOST_S.
    """
    wait_s = chance * min(LONGEST_S, FIRST_S * float(1 << min(failed_count - 1, 16)))
    if retry_after_s is not None and retry_after_s > 0:  # false for NaN
        return max(wait_s, min(retry_after_s, RETRY_AFTER_MOST_S))
    return wait_s


class Breaker:
    """Keeps a destination that does not answer from being asked: each attempt may cost billed time.

    Closed until FAILURES_TO_OPEN attempts have failed one after the other; then open for OPEN_S; then half open: one
    attempt is let through, and its end closes the breaker or opens it for twice as long, at most OPEN_MOST_S.
    Times are seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self.failed_count = 0
        self.open_s = 0.0
        self.until_s = 0.0

    def state(self, now_s: float) -> str:
        """CLOSED, OPEN or HALF_OPEN."""
        if not self.open_s:
            return CLOSED
        return OPEN if now_s < self.until_s else HALF_OPEN

    def succeeded(self) -> None:
        """The destination has answered: also a refusal shows that it is there."""
        self.failed_count = 0
        self.open_s = 0.0

    def failed(self, now_s: float, chance: float) -> None:
        """It has not. The time it stays open is between half of what is due and all of it, by `chance`."""
        self.failed_count += 1
        if self.open_s or self.failed_count >= FAILURES_TO_OPEN:
            self.open_s = min(OPEN_MOST_S, self.open_s * 2 or OPEN_S)
            self.until_s = now_s + self.open_s * (1 + chance) / 2
