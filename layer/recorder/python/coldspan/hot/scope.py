"""Which invocation and which call the running code belongs to; begins and ends calls."""

from _random import Random
from contextvars import ContextVar
from os import urandom
from time import monotonic_ns, time_ns

from coldspan.core import limits
from coldspan.core.record import Call, Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coldspan.boot.settings import Settings
    from coldspan.core.buffer import Buffer
    from coldspan.hot.journal import Journal

# The Scope of this process once the recorder has started; what is called by hand finds it here.
active: "Scope | None" = None


class Scope:
    """The running position, one per process. The position is a context variable, so it belongs to the thread or task.

    `current` holds the innermost open Call or the Invocation; None means: outside of any invocation. Calls begun there
    belong to `outside` (kind "init" until the first invocation, then "background").
    """

    __slots__ = ("buffer", "clock", "current", "journal", "listeners", "outside", "random", "settings", "wall")

    def __init__(
        self,
        buffer: "Buffer",
        settings: "Settings",
        clock: "Callable[[], int]" = monotonic_ns,
        wall: "Callable[[], int]" = time_ns,
    ) -> None:
        self.buffer = buffer
        self.settings = settings
        self.clock = clock
        self.wall = wall
        self.current: "ContextVar[Call | Invocation | None]" = ContextVar("coldspan", default=None)
        self.journal: "Journal | None" = None  # opened when the environment has started
        # the customer's hooks around calls: set by hot.byhand
        self.listeners: "Callable[[Call, str], None] | None" = None
        self.reseed()
        self.outside = Invocation("init", "", self.new_id(), clock(), wall())

    def reseed(self) -> None:
        """Start a new sequence of ids: after a fork and after a restore two environments would share one."""
        self.random = Random(int.from_bytes(urandom(16), "big"))

    def new_id(self) -> int:
        """A random 64 bit id, never 0."""
        return self.random.getrandbits(64) or 1

    def position(self) -> "Call | Invocation | None":
        """The innermost Call still open, else the live Invocation, else None. What has ended is climbed over."""
        node = self.current.get()
        while type(node) is Call and node.end_ns:
            node = node.parent
        # type() is cheaper than isinstance(), and mypy narrows by it in one branch only
        if node is None or (node.owner if type(node) is Call else node).closed:  # type: ignore[union-attr]  # see above
            return None
        return node

    def begin(self, kind: str, tool: str, operation: str) -> "Call | None":
        """Open a Call at the running position and make it the position. None when the invocation holds too many."""
        entered = self.clock()
        node = self.current.get()
        while type(node) is Call and node.end_ns:
            node = node.parent
        if node is None:
            node = owner = self.outside
        else:
            owner = node.owner if type(node) is Call else node  # type: ignore[assignment]  # see `position`
            if owner.closed:
                node = owner = self.outside
        if len(owner.calls) + len(owner.open) >= limits.CALLS_PER_INVOCATION:
            self.buffer.drop("calls_limit")
            return None
        call = Call(owner, node, kind, tool, operation, self.random.getrandbits(64) or 1, self.wall())
        owner.open[call.span_id] = call
        self.current.set(call)
        if self.listeners is not None:
            self.listeners(call, "before")
        if owner.serial and self.journal is not None:
            call.start_ns = entered  # for a reading of the clock costs as much as two words
            self.journal.call_begun(call)
        call.start_ns = now = self.clock()
        owner.overhead_ns += now - entered
        return call

    def leave(self, call: "Call") -> None:
        """Make the call's parent the position again, while the call goes on (a stream that is read later)."""
        if self.current.get() is call:
            self.current.set(call.parent)

    def end(self, call: "Call") -> None:
        """Close the call, once. It goes to its invocation, or, when that has been drained, to the strays as late."""
        now = self.clock()
        if call.end_ns:
            return
        call.end_ns = now
        if self.current.get() is call:
            self.current.set(call.parent)
        owner = call.owner
        owner.open.pop(call.span_id, None)
        if owner.closed or owner.kind != "invocation":
            call.late = owner.closed
            self.buffer.add_stray(call)
        else:
            owner.calls.append(call)
            if call.serial and self.journal is not None:
                self.journal.call_ended(call)
        if self.listeners is not None:
            self.listeners(call, "after")
        owner.overhead_ns += self.clock() - now
