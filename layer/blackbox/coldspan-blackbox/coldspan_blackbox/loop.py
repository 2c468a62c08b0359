"""One thread, one poll: the next event, telemetry, datagrams, the exporters, and a look around once a second."""

import posix
from select import POLLIN, poll
from time import monotonic_ns, time_ns

from coldspan_blackbox.deaths import Deaths
from coldspan_blackbox.jsontext import loads
from coldspan_blackbox.lines import Lines, printer
from coldspan_blackbox.memory import Threshold, Usage
from coldspan_blackbox.platformfacts import PlatformFacts
from coldspan_blackbox.restarts import LOOP, Restarts
from coldspan_blackbox.telemetry import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan_blackbox.extension import Extension

MS = 1_000_000
TICK_NS = 1_000 * MS
RETRY_NS = 50 * MS
HUNTS_NS = tuple([ms * MS for ms in (0, 20, 40, 80, 160, 320, 640)])  # after a word of a death: until its lock is free
FAULTS = 100  # of one door within a minute, before it is closed; not that of the events, which is the platform's


class Loop:
    """The process between its first event and its last."""

    def __init__(self, extension: "Extension") -> None:
        self.extension = extension
        self.settings = settings = extension.settings
        self.counts = counts = extension.counts
        self.lines = Lines(settings.namespace, extension.function, settings.emf, printer(settings.local))
        self.lines.counts = counts
        self.platform = PlatformFacts()
        settings.function = extension.function
        self.deaths = Deaths(settings, self.lines, self.platform, counts)
        self.restarts = Restarts(settings.journal_folder)
        self.threshold = Threshold(settings.memory_warning_percent, settings.memory_mb)
        self._usage = Usage(self.threshold.limit_bytes)
        self._pid = posix.getpid()
        self.invocations_count = 0
        self.over = False
        self.invoking: "Any" = None  # see coldspan_blackbox.invoking; only with exporters
        self._poll = poll()
        self._doors: "dict[int, tuple[str, Callable[..., None]]]" = {}
        self._tick_ns = monotonic_ns() + TICK_NS
        self._retry_ns = self._tick_ns - TICK_NS  # when to ask for the next event, where that did not go well; else 0
        self._hunts: "list[int]" = []
        self._died_ns = 0  # when the process died that is hunted for, where that was seen
        self._gone: "set[int]" = set()
        self._gone_ns = 0  # when they were first missed
        if extension.next is not None:
            self._retry_ns = 0
            self.watch(extension.next.fileno(), "event", self._on_event)
        if extension.listener is not None:
            self.watch(extension.listener.socket.fileno(), "accept", self._on_connection)
        if settings.problems:
            self.lines.tell({"BlackBoxRefused": len(settings.problems)}, {"settings_refused": settings.problems})
        if settings.exporting:  # from here on, lines are exported, too
            self.invoking = counts.attempt("invoking_start", self._invoking)

    def _invoking(self) -> "Any":
        from coldspan_blackbox.invoking import Invoking  # only with exporters

        return Invoking(self)

    # --- the loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until SHUTDOWN."""
        attempt = self.counts.attempt
        while not self.over:
            attempt("serve", self.serve, self._wait_ms(monotonic_ns()))
            if self.extension.next is None and self.invoking_is_done() and not self.over:
                self._ask_next()
            if not self.over and self.extension.next is None and self.extension.orphaned():
                break
        if self.extension.exporter is not None:
            attempt("exporter_close", self.extension.exporter.close)

    def serve(self, timeout_ms: int) -> None:
        """Wait for something to happen, at most so long, and do what is to be done."""
        ready = self._poll.poll(timeout_ms)
        for descriptor, _ in ready:
            step, door = self._doors.get(descriptor, ("", None))
            if door is not None:
                self.counts.attempt(step, door, descriptor)
                if self.counts.faults.get(step, 0) >= FAULTS and step != "event":
                    self.forget(descriptor)  # one that fails each time would keep the processor busy for ever
        now_ns = monotonic_ns()
        if self._hunts and now_ns >= self._hunts[0]:
            self.counts.attempt("hunt", self._hunt, now_ns)
        if now_ns >= self._tick_ns:
            self._tick_ns = now_ns + TICK_NS  # a freeze is not made up for
            self.counts.attempt("look", self.look, now_ns)

    def watch(self, descriptor: int, step: str, door: "Callable[..., None]") -> None:
        """Call `door` with the descriptor when there is something to read."""
        self._doors[descriptor] = step, door
        self._poll.register(descriptor, POLLIN)

    def forget(self, descriptor: int) -> None:
        """Watch it no longer."""
        if self._doors.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def invoking_is_done(self) -> bool:
        """Whether the next event may be asked for."""
        return (
            self.invoking is None or self.counts.attempt("invoking", self.invoking.is_done, monotonic_ns()) is not False
        )

    def _wait_ms(self, now_ns: int) -> int:
        until = self._tick_ns
        if self._hunts:
            until = min(until, self._hunts[0])
        if self._retry_ns:
            until = min(until, self._retry_ns)
        if self.invoking is not None:
            until = min(until, self.invoking.until_ns())
        return max(0, (until - now_ns + MS - 1) // MS)

    def _ask_next(self) -> None:
        now_ns = monotonic_ns()
        if now_ns < self._retry_ns:
            return
        self.counts.attempt("next", self.extension.ask_next)
        if self.extension.next is None:
            self._retry_ns = now_ns + RETRY_NS
        else:
            self._retry_ns = 0
            self.watch(self.extension.next.fileno(), "event", self._on_event)

    # --- events -------------------------------------------------------------------------------------------------

    def _on_event(self, descriptor: int) -> None:
        exchange = self.extension.next
        if exchange is None or not exchange.receive():
            return
        self.forget(descriptor)
        self.extension.next = None
        message = exchange.message
        exchange.close()
        self._retry_ns = monotonic_ns() + RETRY_NS  # after what cannot be understood, not at once
        if message.status != 200:
            self.counts.refuse("event_status_%d" % message.status)
            return
        event = loads(message.body)
        kind = event.get("eventType")
        self._retry_ns = 0
        if kind == "SHUTDOWN":
            self.over = True
            from coldspan_blackbox.shutdown import shut_down

            self.counts.attempt("shutdown", shut_down, self, event)
        elif kind == "INVOKE":
            self.invocations_count += 1
            if self.invoking is not None:
                self.invoking.begin(event)
        else:
            self.counts.refuse("event_unknown")

    def _on_connection(self, _: int) -> None:
        listener = self.extension.listener
        if listener is None:
            return
        descriptor, given_up = listener.accept()
        for each in given_up:
            self.forget(each)
        if descriptor >= 0:
            self.watch(descriptor, "telemetry", self._on_telemetry)

    def _on_telemetry(self, descriptor: int) -> None:
        listener = self.extension.listener
        if listener is None or descriptor not in listener.connections:
            self.forget(descriptor)
            return
        body, closed = listener.receive(descriptor)
        if closed:
            self.forget(descriptor)
        if body is not None:
            self.take_telemetry(body)

    def take_telemetry(self, body: bytes) -> None:
        """A batch of the Telemetry API: facts are joined, what is complete is told, a death is looked into."""
        try:
            events, foreign = parse(body)
        except ValueError:
            self.counts.refuse("telemetry_unreadable")
            return
        known = sum([bool(self.counts.attempt("telemetry_event", self.platform.take, event)) for event in events])
        for _ in range(foreign + len(events) - known):
            self.counts.refuse("telemetry_unknown")
        self._tell_platform()

    def _tell_platform(self) -> None:
        platform = self.platform
        ended, platform.ended = platform.ended, []
        for request in ended:
            if request.killed:
                self.hunt()
            else:
                self.restarts.succeed()
            if self.invoking is not None:
                self.invoking.ended(request.request_id)
        reportable, platform.reportable = platform.reportable, []
        for request in reportable:
            self.tell_request(request)
        inits, platform.inits = platform.inits, []
        for init in inits:
            if init.failed:
                self.tell_init_failure(init)

    def tell_request(self, request: "Any") -> None:
        """The line of a request's platform facts."""
        metrics, properties = request.line()
        if metrics:
            self.lines.tell(metrics, properties, _near(request.time_ms))

    def tell_init_failure(self, init: "Any") -> None:
        """The line of an init that failed."""
        in_a_row = self.restarts.fail()
        metrics: "dict[str, float]" = {"InitFailure": 1, **({"CrashLoop": 1} if in_a_row >= LOOP else {})}
        self.lines.tell(metrics, {"platform": True, "failures_in_a_row": in_a_row, **init.facts})

    # --- deaths -------------------------------------------------------------------------------------------------

    def hunt(self) -> None:
        """A process has died or is about to: look for its journal soon, until its lock is free."""
        now_ns, self._hunts = monotonic_ns(), []
        for after_ns in HUNTS_NS:
            now_ns += after_ns
            self._hunts.append(now_ns)

    def hunt_later(self, died_ns: int) -> None:
        """A process has just died, unannounced: the platform is given time for its own word about it."""
        if not self._hunts:
            self._died_ns = died_ns
            self._hunts.append(monotonic_ns() + TICK_NS)

    def _hunt(self, now_ns: int) -> None:
        while self._hunts and self._hunts[0] <= now_ns:
            del self._hunts[0]
        if self.deaths.tell(self._died_ns or now_ns):
            self._hunts = []
        if not self._hunts:
            self._died_ns = 0
            self.deaths.tell_unrecorded()

    # --- once a second ------------------------------------------------------------------------------------------

    def look(self, now_ns: int) -> None:
        """Whether a process is gone, memory is short, somebody is slow, or something is to be told."""
        pids = self.deaths.pids()
        exporter = self.extension.exporter
        ours = [self._pid] if exporter is None or not exporter.pid else [self._pid, exporter.pid]
        gone, function, own = self._usage.look(pids, ours)
        if gone & self._gone:  # a second ago, too: the platform's own word would have come by now
            self.deaths.tell(self._gone_ns)
        self._gone, self._gone_ns = gone, now_ns
        if pids and self.threshold.watched and self.threshold.crossed(function + own):
            self._tell_memory(pids, function, own)
        listener = self.extension.listener
        if listener is not None and listener.connections:
            for descriptor in listener.slow(now_ns):
                self.forget(descriptor)
        if self.invoking is not None:
            self.invoking.look(now_ns)
        if self.counts.due(now_ns) or (exporter is not None and (exporter.problems or exporter.settings_refused)):
            self.tell_counts()

    def _tell_memory(self, pids: "list[int]", function: int, own: int) -> None:
        limit = self.threshold.limit_bytes
        properties = {
            "memory_mb": limit >> 20,
            "used_percent": round((function + own) * 100 / limit, 1),
            "function_mb": round(function / (1 << 20), 1),
            "black_box_mb": round(own / (1 << 20), 1),
            "pids": pids[:16],
        }
        running = [request.request_id for request in self.platform.requests.values() if not request.ended]
        if self.invoking is not None and self.invoking.request_id:
            running = [self.invoking.request_id]
        if len(running) == 1:
            properties["request_id"] = running[0]
        elif running:
            properties["request_ids"] = running
        self.lines.tell({"MemoryNearLimit": 1}, properties)

    def tell_counts(self) -> None:
        """The line of what was dropped, refused, and went wrong here."""
        metrics, properties = self.counts.take()
        exporter = self.extension.exporter
        if exporter is not None and exporter.problems:
            metrics["ExportersRefused"] = len(exporter.problems)
            properties["exporters_refused"], exporter.problems = exporter.problems, {}
        if exporter is not None and exporter.settings_refused:
            metrics["BlackBoxRefused"] = metrics.get("BlackBoxRefused", 0) + len(exporter.settings_refused)
            properties["settings_refused"], exporter.settings_refused = exporter.settings_refused, []
        if metrics:
            export, self.lines.export = self.lines.export, None  # what an exporter drops is not told through it
            self.lines.tell(metrics, properties)
            self.lines.export = export


def _near(time_ms: int) -> int:
    """An event's own time, as long as CloudWatch would take it; else now."""
    now_ms = time_ns() // MS
    return time_ms if now_ms - 7 * 86_400_000 < time_ms < now_ms + 3_600_000 else now_ms
