"""What the drain decides, as functions of numbers."""

FIRST_DRAIN_MS = 50  # what the first drain is taken to last: it loads its modules, at a small function's speed
NEAR_DEADLINE_MS = 20  # a drain that overruns the deadline turns a success into a timeout
LONGEST_TICK_MS, SHORTEST_TICK_MS = 500, 20

LONGEST_MS = 6_000_000  # 90 minutes and a margin: no invocation lasts longer, so a clock that says so is wrong


def left_ms(deadline_ms: int, epoch_ns: int, elapsed_ns: int) -> "float | None":
    """How many ms an invocation has left; None when it has no deadline or one that cannot be true.

    Takes the wall clock at its beginning and the monotonic time since: a wall clock that is corrected in between, as
    after a thaw, must not make a deadline near or far.
    """
    whole_ms = deadline_ms - epoch_ns / 1e6
    return whole_ms - elapsed_ns / 1e6 if 0 < whole_ms < LONGEST_MS else None


def may_start(left_ms: "float | None", last_drain_ms: float) -> bool:
    """Whether there is time for a drain before the deadline; `left_ms` None when there is no deadline."""
    return left_ms is None or left_ms > max(NEAR_DEADLINE_MS, 2 * last_drain_ms)


def margin_ms(whole_ms: float, setting_ms: float) -> float:
    """How long before its deadline an invocation's stacks are taken; 0: never. `whole_ms` is all the time it has.

    At most a tenth of its time: a function with a short timeout must not be looked at while it is healthy.
    """
    return min(setting_ms, whole_ms / 10)


def in_detail(failed: bool, start: str, duration_ms: float, slow_ms: float, share: float, draw: float) -> bool:
    """Whether an invocation's calls are written in full: failed, slow and first ones always, of the others a share.

    `draw` is a random number in [0, 1), `share` in [0, 1].
    """
    return failed or start != "warm" or duration_ms >= slow_ms or draw < share


def tick_ns(whole_ms: float) -> int:
    """How long the watcher sleeps between two looks, for invocations that have so many ms: an eighth, up to 0.5 s."""
    return int(min(LONGEST_TICK_MS, max(SHORTEST_TICK_MS, whole_ms / 8)) * 1_000_000)
