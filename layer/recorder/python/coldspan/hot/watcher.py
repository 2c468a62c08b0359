"""The watcher: one thread an environment, which sees when an invocation comes near its deadline.

It is told of no invocation. It wakes every so often, looks at those that are live, and sleeps until the next moment
that matters; what it sees of an invocation is in `journal`, in what `tell` sends, and in `Invocation.deadline_near`.
"""

import os
from _thread import get_ident, get_native_id

from coldspan.core import policy
from coldspan.core.buffer import raised_by_signal
from coldspan.hot.faulthandler import block_signals, restore_signals, timer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable
    from typing import Any, Protocol

    from coldspan.core.record import Invocation
    from coldspan.hot.scope import Scope

    Tell = Callable[[Invocation, bytes], None]

    class Journal(Protocol):
        """What the watcher asks of a journal."""

        def alive(self, now_ns: int) -> None:
            """Note that the process still ran at this time (monotonic)."""

        def sample_rss(self, rss_bytes: int) -> None:
            """Note how much memory the process holds."""

        lost: bool  # somebody has deleted the file

        def drop(self) -> None:
            """Let go of it."""

        def take_stacks(self, serial: int, text: bytes) -> None:
            """Keep the stacks, in the format of core.stacks; b"" when the invocation has ended after all."""

        def fault_fd(self) -> int:
            """A descriptor placed where faulthandler may write, or -1."""

        def fault_reset(self) -> None:
            """Forget what faulthandler has written."""

        def is_unlinked(self) -> bool:
            """Whether somebody has deleted the file."""


SHORTEST_WAIT_NS = 1_000_000
JOIN_NS = 100_000_000  # it takes less than one, unless the machine or the handler keeps the thread waiting
PAUSE_S = 0.0001
TASKS = "/proc/self/task"


class Watcher:
    """`start` it in one invocation, `stop` it before a fork; for the next one there is a new one.

    `live` gives the invocations that have begun and not ended. `load` gives the function that sends what can be sent
    shortly before a deadline; it is called when one has used half of its time. `start_thread` and `new_lock` are the
    interpreter's own, taken before the customer's code could replace them.
    """

    __slots__ = (
        "again", "armed_ns", "at_once", "clock", "done", "drop", "ended", "holds_for", "ident", "is_started",
        "is_stopping", "journal", "live", "load", "loaded", "look_ns", "new_lock", "period_ns", "replaced", "seen",
        "setting_ms", "start_thread", "steps", "task", "tell", "wait_ns", "wake",
    )  # fmt: skip

    def __init__(
        self,
        scope: "Scope",
        live: "Callable[[], list[Invocation]]",
        journal: "Journal | None",
        load: "Callable[[], Tell | None]",
        start_thread: "Callable[..., Any]",
        new_lock: "Callable[[], LockType]",
    ) -> None:
        self.clock = scope.clock
        self.setting_ms = scope.settings.deadline_ms
        self.drop = scope.buffer.drop
        self.live = live
        self.journal = journal
        self.replaced: "Journal | None" = None  # a lost one, in which another thread may yet be writing
        shielded = scope.buffer.shielded
        self.at_once, self.ended = shielded(self._at_once), shielded(self._ended)
        self.load = shielded(load)
        self.again: "Callable[[], None] | None" = None  # opens another journal, where that is safe
        self.steps = shielded(self._run), shielded(self._tick), shielded(self._stacks), shielded(self._arm)
        self.start_thread = start_thread
        self.new_lock = new_lock
        self.wake, self.done = self._taken_lock(), self._taken_lock()
        self.is_started = self.is_stopping = self.loaded = False
        self.holds_for = 0  # the span id of the invocation at whose end there is something to undo
        self.armed_ns = 0  # when faulthandler writes
        self.seen: "set[int]" = set()
        self.tell: "Tell | None" = None
        self.period_ns = self.wait_ns = policy.LONGEST_TICK_MS * 1_000_000
        self.ident = self.look_ns = 0
        self.task = ""

    def _taken_lock(self) -> "LockType":
        lock = self.new_lock()
        lock.acquire()
        return lock

    # -- its life ----------------------------------------------------------------------------------------------------

    def start(self, invocation: "Invocation", first: bool) -> None:
        """Start the thread. An environment's first invocation is armed for at once: no tick may come to see it."""
        whole_ms = policy.left_ms(invocation.deadline_ms, invocation.epoch_ns, 0)
        if whole_ms is not None:
            self._keep_up(whole_ms)
            if first:
                self.at_once(None, invocation)
        self.is_started = True
        before = block_signals()
        try:
            self.ident = self.start_thread(self.steps[0], ())  # gevent's get_ident() would give another
        except RuntimeError:  # the customer is at a limit of threads or memory
            self.is_started = False
            self.ended()  # nobody is there to stand in for what was armed
            self.drop("watcher_not_started")
        finally:
            restore_signals(before)

    def _at_once(self, _seam: "Any", invocation: "Invocation") -> None:
        """Arm for an invocation that has just begun: 60 µs, for environments that lost one without a trace."""
        whole_ms = policy.left_ms(invocation.deadline_ms, invocation.epoch_ns, 0)
        if whole_ms is not None:
            margin_ns = int(policy.margin_ms(whole_ms, self.setting_ms) * 1e6)
            if margin_ns:
                self.steps[3](invocation, invocation.start_ns + int(whole_ms * 1e6) - margin_ns // 2)

    def _keep_up(self, whole_ms: float) -> None:
        self.period_ns = min(self.period_ns, policy.tick_ns(whole_ms))
        self.wait_ns = self.period_ns

    def _run(self) -> None:
        self.task = str(get_native_id())
        try:
            tick = self.steps[1]
            while not self.wake.acquire(True, self.wait_ns / 1e9):
                self.wait_ns = self.period_ns
                tick()
        finally:
            self.done.release()

    def stop(self) -> None:
        """End the thread and faulthandler's, and wait until the system has forgotten both. Bounded; may come twice."""
        until = self.clock() + JOIN_NS
        before = _tasks()
        leaving = 0
        if timer.armed:
            timer.cancel()
            self.armed_ns = 0
            leaving += 1
        self._drop_replaced()
        if self.is_started and self.ident != get_ident():
            if not self.is_stopping:
                self.is_stopping = True
                self.wake.release()
            if self.done.acquire(True, JOIN_NS / 1e9):
                self.done.release()
                leaving += self.task in before
        pause: "LockType | None" = None
        # The interpreter counts the system's threads when it warns of a fork, and those end after their last word.
        while leaving and self.clock() < until:
            now = _tasks()
            if len(now) <= 1 or len(before - now) >= leaving:
                break
            pause = pause or self._taken_lock()
            pause.acquire(True, PAUSE_S)

    # -- what it sees ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = self.clock()
        if self.journal is not None:
            self.journal.alive(now)
        seen, self.seen = self.seen, set()
        nearest: "tuple[int, int, int, Invocation] | None" = None
        for invocation in self.live():
            if invocation.closed or invocation.deadline_near:
                continue
            self.seen.add(invocation.span_id)
            whole_ms = policy.left_ms(invocation.deadline_ms, invocation.epoch_ns, 0)
            if whole_ms is None:
                continue
            self._keep_up(whole_ms)
            whole_ns = int(whole_ms * 1e6)
            deadline_ns = invocation.start_ns + whole_ns
            margin_ns = int(policy.margin_ms(whole_ms, self.setting_ms) * 1e6)
            # Past its deadline: the platform has not killed it, so it is a debugger's, or was frozen half-way.
            if margin_ns and now < deadline_ns and (nearest is None or deadline_ns < nearest[0]):
                nearest = deadline_ns, margin_ns, whole_ns, invocation
        if nearest is not None:
            self._attend(*nearest, nearest[3].span_id in seen)
        self._look()

    def _look(self) -> None:
        """Look at what is not urgent, unless something urgent would wait for it.

        Four calls of the system, at each of which every busy thread of the handler may keep the interpreter for 5 ms.
        """
        journal, began = self.journal, self.clock()
        self._drop_replaced()
        if journal is None:
            if self.again is not None:
                self.again()
            return
        if self.wait_ns < 2 * self.look_ns:
            self.look_ns //= 2
            return
        if journal.is_unlinked():
            self._disarm()  # what has the descriptor's number now may be a file of the customer's
            self.journal = None
            self.drop("journal_deleted")
            journal.lost = True  # at last: whoever sees it opens another, after this invocation or at a later look
        else:
            journal.sample_rss(rss_bytes())
        self.look_ns = self.clock() - began
        self.wait_ns = max(SHORTEST_WAIT_NS, self.wait_ns - self.look_ns)

    def _drop_replaced(self) -> None:
        replaced, self.replaced = self.replaced, None
        if replaced is not None:
            replaced.drop()

    def _attend(
        self, deadline_ns: int, margin_ns: int, whole_ns: int, invocation: "Invocation", was_seen: bool
    ) -> None:
        moment_ns = deadline_ns - margin_ns
        if self.clock() >= moment_ns:
            self._near(invocation)
            return
        # A dump beside threads that run Python kills one process in ten. So, once it has the interpreter two looks
        # before the moment, this thread stands in for faulthandler: busy threads do not keep it waiting for so long.
        relief_ns = moment_ns - 2 * policy.tick_ns(whole_ns // 1_000_000)
        if self.clock() >= relief_ns:
            self._disarm()
            relief_ns = moment_ns
        elif was_seen:  # a short invocation never pays for arming
            self.steps[3](invocation, deadline_ns - margin_ns // 2)
        loading_ns = deadline_ns - whole_ns // 2
        if self.clock() >= loading_ns:
            self._load()
            loading_ns = moment_ns
            if self.clock() >= moment_ns:  # the handler left us little of the interpreter
                self._near(invocation)
                return
        next_ns = min(relief_ns, loading_ns, moment_ns)
        self.wait_ns = max(SHORTEST_WAIT_NS, min(self.period_ns, next_ns - self.clock()))

    def _load(self) -> None:
        """Load what is needed at the moment itself, while there is time."""
        if not self.loaded:
            self.loaded = True
            self.tell = self.load()
            from coldspan.hot import stacks  # noqa: F401

    def _near(self, invocation: "Invocation") -> None:
        invocation.deadline_near = True
        self.holds_for = invocation.span_id
        self._disarm()
        text = self.steps[2]() or b""
        if self.journal is not None:
            self.journal.take_stacks(invocation.serial, text)
        if invocation.closed:
            self.ended()
            return
        self._load()
        if self.tell is not None:
            self.tell(invocation, text)

    def _stacks(self) -> bytes:
        from coldspan.hot.stacks import take

        return take(self.ident)

    # -- faulthandler ------------------------------------------------------------------------------------------------

    def _arm(self, invocation: "Invocation", at_ns: int) -> None:
        if self.journal is None or timer.theirs or (timer.armed and at_ns == self.armed_ns):
            return
        descriptor = self.journal.fault_fd()
        after_ns = at_ns - self.clock()
        if descriptor < 0 or after_ns <= 0:
            return
        self.holds_for = invocation.span_id
        if timer.arm(after_ns, descriptor):
            self.armed_ns = at_ns
        if invocation.closed:  # it has ended meanwhile, and its end saw nothing to undo
            self.ended()

    def _disarm(self) -> None:
        timer.cancel()
        self.armed_ns = 0

    def _ended(self) -> None:
        """Undo what was done for the invocation that `holds_for` names: it has ended after all."""
        self.holds_for = 0
        self._disarm()
        if self.journal is not None:
            self.journal.fault_reset()
            self.journal.take_stacks(0, b"")


def rss_bytes() -> int:
    """The memory this process holds. Source: proc(5), statm, second field, in pages.

    Opened anew each time: a descriptor that is kept may be closed by the customer's code, and become a file of theirs.
    """
    descriptor = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(descriptor, 200).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    finally:
        os.close(descriptor)


def _tasks() -> "set[str]":
    try:
        return set(os.listdir(TASKS))
    except OSError as error:
        if raised_by_signal(error):  # a time limit of the customer's, in a fork of theirs
            raise
        return set()
