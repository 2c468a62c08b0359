"""When what was recorded is sent on: at the end of the invocation, every so often, or while the function works.

After an invocation the environment is frozen as soon as every extension has asked for the next event. A flush that is
waited for before that is billed; one that is not waited for may be frozen in the middle and goes on with the next
invocation, which may come in a second or never. What is right follows from how the invocations are spaced. The
registered process of the extension imports this module: nothing is imported here.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

AT_END = "end"
PERIODIC = "periodic"
CONTINUOUS = "continuous"
MODES = (AT_END, PERIODIC, CONTINUOUS)

REMEMBERED = 16  # invocations that are looked back on
LEARNED = 4  # gaps that are needed before anything is concluded from them
SPARSE_MS = 30_000  # further apart than this, what waits for the next invocation is late, or is never sent
INTERVAL_MS = 10_000  # between two flushes when they are not at each end
BUSY = 0.5  # share of the time in which the function works, from which on a flush finds it awake
LONG_MS = 500  # a shorter invocation is over before a request to a destination has been answered


class Flush:
    """What to do now. `now`: start a flush; `hold`: wait for it before asking for the next event (it is billed)."""

    __slots__ = ("hold", "mode", "now")

    def __init__(self, mode: str, now: bool, hold: bool) -> None:
        self.mode = mode
        self.now = now
        self.hold = hold

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flush) and (self.mode, self.now, self.hold) == (other.mode, other.now, other.hold)

    def __hash__(self) -> int:
        return hash((self.mode, self.now, self.hold))

    def __repr__(self) -> str:
        return f"Flush({self.mode!r}, now={self.now}, hold={self.hold})"


class Pace:
    """Remembers when the last invocations began and how long they took.

    Times are ms of a clock that goes on while the environment is frozen (CLOCK_BOOTTIME). With more than one invocation
    at a time only starts count: the length is that of the last to end.
    """

    __slots__ = ("lengths_ms", "starts_ms")

    def __init__(self) -> None:
        self.starts_ms: "list[float]" = []
        self.lengths_ms: "list[float]" = []

    def began(self, now_ms: float) -> None:
        """An invocation has begun."""
        self.starts_ms.append(now_ms)
        del self.starts_ms[:-REMEMBERED]

    def ended(self, now_ms: float) -> None:
        """The invocation that began last has ended."""
        if self.starts_ms:
            self.lengths_ms.append(now_ms - self.starts_ms[-1])
            del self.lengths_ms[:-REMEMBERED]


def mode_of(starts_ms: "Sequence[float]", lengths_ms: "Sequence[float]") -> str:
    """Learn from the last invocations how to flush: AT_END, PERIODIC or CONTINUOUS."""
    pairs = zip(starts_ms, starts_ms[1:], strict=False)  # noqa: RUF007  # pairwise is an import
    gaps = [later - earlier for earlier, later in pairs if later >= earlier]
    if len(gaps) < LEARNED:
        return AT_END
    # The middle one tells the rule; the last one tells at once that traffic has stopped.
    gap = max(_middle(gaps), gaps[-1])
    if gap > SPARSE_MS:
        return AT_END
    length = _middle([each for each in lengths_ms if each >= 0])
    if length >= LONG_MS and length >= BUSY * gap:
        return CONTINUOUS
    return PERIODIC


def decide(
    starts_ms: "Sequence[float]",
    lengths_ms: "Sequence[float]",
    now_ms: float,
    flushed_ms: float,
    waiting_count: int,
    at_end: bool,
    forced: str = "",
) -> Flush:
    """Say whether to flush now.

    Takes:  the Pace's two lists; `flushed_ms`, when the last flush began (0: never); `waiting_count`, records not yet
            sent; `at_end`: an invocation has just been recorded in full, else it is a look in between (an invocation
            has begun, or a while has passed); `forced`: one of MODES.
    Gives:  a Flush. A flush in between never holds anything up: the function is at work meanwhile.
    """
    mode = forced if forced in MODES else mode_of(starts_ms, lengths_ms)
    if not waiting_count:
        return Flush(mode, now=False, hold=False)
    since_ms = now_ms - flushed_ms
    is_due = since_ms >= INTERVAL_MS or since_ms < 0  # a clock that went back says nothing
    if not at_end:
        # Also AT_END: an invocation of minutes is not to keep to itself what it has recorded.
        return Flush(mode, now=is_due, hold=False)
    if mode == AT_END:
        return Flush(mode, now=True, hold=True)
    return Flush(mode, now=is_due, hold=is_due and mode == PERIODIC)


def _middle(values: "list[float]") -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
