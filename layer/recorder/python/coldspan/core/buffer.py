"""What waits between the hot path and the drain, what was lost on the way, and the guard around our own steps."""

from coldspan.core import limits


class Buffer:
    """Finished invocations and stray calls waiting for a drain, with the counts of what did not fit and what went wrong.

    `waiting` holds closed Invocations, oldest first; `strays` holds Calls that ended outside a live invocation (init,
    background, late). `drops` and `errors` map a reason or a step to its count; the drain reports and clears them.
    """

    __slots__ = ("drops", "errors", "strays", "waiting")

    def __init__(self) -> None:
        self.waiting = []
        self.strays = []
        self.drops = {}
        self.errors = {}

    def drop(self, reason, count=1) -> None:
        """Count something that will never leave."""
        self.drops[reason] = self.drops.get(reason, 0) + count

    def add_invocation(self, invocation) -> None:
        """Queue a finished invocation; the oldest makes room, because the newest is the one being looked for."""
        if len(self.waiting) >= limits.INVOCATIONS_WAITING:
            lost = self.waiting.pop(0)
            self.drop("invocations_buffer_full")
            if lost.calls:
                self.drop("calls_buffer_full", len(lost.calls))
        self.waiting.append(invocation)

    def add_stray(self, call) -> None:
        """Queue a call that ended outside a live invocation."""
        if len(self.strays) >= limits.CALLS_OUTSIDE:
            self.drop("calls_buffer_full")
        else:
            self.strays.append(call)

    def shielded(self, step):
        """Wrap a step of ours so that its fault costs one count and gives None: the only broad except in the recorder."""
        name = step.__name__

        def guarded(*args, **kwargs):
            try:
                return step(*args, **kwargs)
            except Exception:  # noqa: BLE001  # the contract: a fault of ours is counted, never raised
                self.errors[name] = self.errors.get(name, 0) + 1
                return None

        return guarded
