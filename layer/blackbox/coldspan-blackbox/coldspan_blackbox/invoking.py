"""One invocation after the other, for the exporters: when it has ended, whether to flush, when to ask for the next.

Loaded only with exporters. On Managed Instances no INVOKE comes, and what is sent is flushed once in a while.
"""

import posix
from time import CLOCK_BOOTTIME, clock_gettime_ns, monotonic_ns, time_ns

from coldspan_blackbox.exporting.flushing import Pace, decide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan_blackbox.loop import Loop

MS = 1_000_000
TOO_SHORT_MS = 100  # for a request to be made and answered: so short a wait would be for nothing
UNHELD_MS = 1_000  # that a flush is given for which nobody waits
MARGIN_MS = 100  # before the deadline: to overrun it would make a timeout of a success
ENDED_IDS = 16  # ends that came before their beginning: the runtime gets the event at the same time as we do
FOREVER_NS = 1 << 62
UNANSWERED = 3  # flushes in a row, after which nobody waits for an exporters' process until it has answered
PROCESSES = 128  # whose death is watched: a descriptor each, and anybody in the sandbox may say hello


class Invoking:
    """The invocation that runs. `is_done` says whether the next event may be asked for."""

    def __init__(self, loop: "Loop") -> None:
        self.request_id = ""
        self._loop = loop
        self._counts = loop.counts
        self._exporter = loop.extension.exporter
        self._receiver = loop.extension.receiver
        self._flush = loop.settings.export_flush
        self._flush_ms = loop.settings.export_flush_ms
        self._pace = Pace()
        self._known = False  # whether a recorder is there
        self._alive: "dict[int, int]" = {}  # pidfd -> pid
        self._ended: "list[str]" = []
        self._deadline_ns = 0
        self._held = 0  # number of the flush that is waited for
        self._held_until_ns = 0
        self._number = 0  # of the last flush
        self._unanswered = 0  # flushes that were waited for in vain, one after the other
        self._flushed_ms = 0.0
        self._unsent = 0  # messages since the last flush
        if self._receiver is not None:
            loop.watch(self._receiver.socket.fileno(), "datagrams", self._on_datagram)
        loop.lines.export = self._send_line
        self._watch_exporter()

    # --- in and out ---------------------------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """To the exporters."""
        if self._exporter is not None:
            self._unsent += 1
            self._exporter.send(message)

    def _send_line(self, line: bytes) -> None:
        self.send(b"coldspan/1 line\n" + line)

    def _watch_exporter(self) -> None:
        if self._exporter is not None and self._exporter.alive:
            self._loop.watch(self._exporter.fileno(), "exporter", self._on_exporter)

    def _on_exporter(self, descriptor: int) -> None:
        if self._exporter is not None and not self._exporter.receive():
            self._loop.forget(descriptor)

    def _on_datagram(self, _: int) -> None:
        self.receive()

    def receive(self) -> None:
        """Pass on what the recorder has sent."""
        receiver = self._receiver
        if receiver is None:
            return
        receiver.receive()
        lines, receiver.lines = receiver.lines, []
        for line in lines:
            self.send(line)
        pids, receiver.pids = receiver.pids, []
        for pid in pids:
            self._counts.attempt("pidfd", self._hello, pid)
        ended, receiver.ended = receiver.ended, []
        for request_id in ended:
            self._known = True
            self.ended(request_id)

    def _hello(self, pid: int) -> None:
        self._known = True
        if pid in self._alive.values() or len(self._alive) >= PROCESSES:
            return
        try:
            descriptor = posix.pidfd_open(pid)
        except OSError:
            return  # gone already, or a system without it: the deadline holds
        self._alive[descriptor] = pid
        self._loop.watch(descriptor, "death", self._on_death)

    def _on_death(self, descriptor: int) -> None:
        self._loop.forget(descriptor)
        self._alive.pop(descriptor, None)
        posix.close(descriptor)
        if not self._alive:
            self._known = False  # until the next process says hello
        self._loop.hunt_later(monotonic_ns())

    # --- the invocation -----------------------------------------------------------------------------------------

    def begin(self, event: "dict[str, Any]") -> None:
        """INVOKE has come."""
        now_ns = monotonic_ns()
        self._pace.began(_boottime_ms())
        self.request_id = str(event.get("requestId") or "")
        deadline_ms = event.get("deadlineMs")
        left_ms = deadline_ms - time_ns() // MS if isinstance(deadline_ms, (int, float)) else 0
        self._deadline_ns = now_ns + int(max(0, left_ms - MARGIN_MS)) * MS
        self.receive()  # a hello may wait here
        exporter = self._exporter
        served = exporter is not None and (exporter.alive or exporter.restart_ns > 0)
        if not served or not self._known or self.request_id in self._ended:
            self._end(at_end=self._known)

    def ended(self, request_id: str) -> None:
        """The recorder or the platform says that an invocation has ended."""
        if request_id == self.request_id:
            self._end(at_end=True)
        else:
            self._ended.append(request_id)
            del self._ended[:-ENDED_IDS]

    def is_done(self, now_ns: int) -> bool:
        """Whether nothing is left to wait for."""
        if self.request_id and (not self._known or now_ns >= self._deadline_ns):  # it has died, or is late
            self._end(at_end=False)
        if self._held:
            exporter = self._exporter
            if exporter is None or exporter.flushed >= self._held:
                self._held = 0
            elif now_ns >= self._held_until_ns:
                self._held = 0
                self._unanswered += 1
        return not self.request_id and not self._held

    def until_ns(self) -> int:
        """When to look again at the latest."""
        until = FOREVER_NS
        if self.request_id:
            until = min(until, self._deadline_ns)
        if self._held:
            until = min(until, self._held_until_ns)
        return until

    def _end(self, *, at_end: bool) -> None:
        self.request_id = ""
        self._pace.ended(_boottime_ms())
        if at_end:
            self._decide(at_end=True)

    def _decide(self, *, at_end: bool) -> None:
        exporter = self._exporter
        if exporter is None or not exporter.ready or not exporter.alive:
            return
        now_ms = _boottime_ms()
        forced = "" if self._flush == "auto" else self._flush
        waiting = self._unsent + exporter.waiting
        flush = decide(
            self._pace.starts_ms, self._pace.lengths_ms, now_ms, self._flushed_ms, waiting, at_end, forced=forced
        )
        if not flush.now:
            return
        now_ns = monotonic_ns()
        if exporter.flushed >= self._number:
            self._unanswered = 0
        hold = flush.hold and self._flush_ms > TOO_SHORT_MS and self._unanswered < UNANSWERED
        until_ns = now_ns + (self._flush_ms if hold else max(self._flush_ms, UNHELD_MS)) * MS
        if hold:
            until_ns = min(until_ns, self._deadline_ns)
        number = exporter.ask_flush(until_ns // MS)
        if not number:
            return
        self._flushed_ms, self._unsent, self._number = now_ms, 0, number
        if hold:
            self._held, self._held_until_ns = number, until_ns

    def look(self, now_ns: int) -> None:
        """Once a second: an exporter to start again, a flush in between."""
        exporter = self._exporter
        if exporter is not None and exporter.restart_ns and now_ns >= exporter.restart_ns:
            exporter.restart_ns = 0
            self._counts.attempt("exporter_start", exporter.start)
            self._watch_exporter()
        self._decide(at_end=False)


def _boottime_ms() -> float:
    """A clock that goes on while the environment is frozen or the machine suspended."""
    return clock_gettime_ns(CLOCK_BOOTTIME) / MS
