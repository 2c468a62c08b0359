"""What the drain decides, as functions of numbers."""

NEAR_DEADLINE_MS = 20  # a drain that overruns the deadline turns a success into a timeout


def may_start(left_ms, last_drain_ms) -> bool:
    """Whether there is time for a drain before the deadline; `left_ms` None when there is no deadline."""
    return left_ms is None or left_ms > max(NEAR_DEADLINE_MS, 2 * last_drain_ms)


def in_detail(failed, start, duration_ms, slow_ms, share, draw) -> bool:
    """Whether an invocation's calls are written in full: failed, slow and first ones always, of the others a share.

    `draw` is a random number in [0, 1), `share` in [0, 1].
    """
    return failed or start != "warm" or duration_ms >= slow_ms or draw < share
