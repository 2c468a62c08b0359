"""What is sent of an invocation shortly before its deadline, because afterwards there may be nobody to send it.

A line on stdout that is no metric, so nothing is counted twice; its subsegment as in progress, which the finished one
completes; and what earlier invocations had left to be sent. Runs in the watcher's thread beside the handler, which may
leave it little of the interpreter: each file that is opened may cost 5 ms, so the line needs next to no module.
"""

from json import dumps
from time import gmtime, strftime

from coldspan.core import limits, policy
from coldspan.core.stacks import parse
from coldspan.core.status import status_of
from coldspan.drain import stdout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.boot.seam import Seam
    from coldspan.core.record import Call, CallToolResult, Invocation
    from coldspan.drain.daemon import Daemon
    from coldspan.drain.flush import Drain


class LastWords:
    """Sends beside the drain, which `load_drain` gives, and whose settings hold: nothing with a flush budget of 0."""

    def __init__(
        self,
        seam: "Seam",
        load_drain: "Callable[[], Drain]",
        write: "Callable[[bytes], bool] | None" = None,
        daemon: "Daemon | None" = None,
    ) -> None:
        self.seam = seam
        self.scope = seam.scope
        self.buffer = seam.buffer
        self.settings = seam.settings
        self.load_drain = load_drain
        self.write = write or stdout.writer(seam.settings)
        self.daemon = daemon
        shielded = seam.buffer.shielded
        self.line, self.subsegment, self.earlier = (
            shielded(step) for step in (self.send_line, self.send_subsegment, self.send_earlier)
        )

    def tell(self, invocation: "Invocation", stacks: bytes) -> None:
        """Send what there is time for, while the invocation runs."""
        if not self.settings.flush_ns:
            return
        self.line(invocation, stacks)
        for step in (self.subsegment, self.earlier):
            if invocation.closed or self.left_ms(invocation) <= 0:
                return
            step(invocation)

    def left_ms(self, invocation: "Invocation") -> float:
        """How long the invocation may still run."""
        elapsed_ns = self.scope.clock() - invocation.start_ns
        return policy.left_ms(invocation.deadline_ms, invocation.epoch_ns, elapsed_ns) or 0.0

    def send_line(self, invocation: "Invocation", stacks: bytes) -> None:
        """Write what is known now as one line of JSON to the function's log."""
        if not self.settings.emf or self.seam.stdout not in (None, self.seam.stdout_now()):
            return
        line = dumps(self.document(invocation, stacks), separators=(",", ":")) + "\n"
        if not self.write(line.encode()):
            self.buffer.drop("last_words_unsendable")

    def document(self, invocation: "Invocation", stacks: bytes) -> "dict[str, Any]":
        """What the line says. Times in ms; of the finished calls the latest."""
        now = self.scope.clock()
        trace = invocation.trace
        calls = list(invocation.calls)
        open_calls = sorted(invocation.open.values(), key=_start)
        document: "dict[str, Any]" = {"coldspan": "deadline_near", "request_id": _clean(invocation.request_id)}
        level = stdout.level(self.settings)
        if level:
            wall_ms = self.scope.wall() // 1_000_000
            document["level"] = level
            document["timestamp"] = "%s.%03dZ" % (
                strftime("%Y-%m-%dT%H:%M:%S", gmtime(wall_ms // 1000)),
                wall_ms % 1000,
            )
        document["trace_id"] = trace.trace_id if trace is not None else ""
        document["function_name"] = self.settings.function
        document["running_ms"] = _ms(now - invocation.start_ns)
        document["left_ms"] = round(self.left_ms(invocation), 3)
        document["calls_open"] = [
            {**_named(call), "since_ms": _ms(now - call.start_ns)}
            for call in open_calls[: limits.LAST_CALLS]
            if call.start_ns
        ]
        document["calls_ended"] = len(calls)
        document["calls"] = [
            {**_named(call), "status": status_of(call), "duration_ms": _ms(call.end_ns - call.start_ns)}
            for call in calls[-limits.LAST_CALLS :]
        ]
        document["stacks"] = parse(stacks)
        return document

    def send_subsegment(self, invocation: "Invocation") -> None:
        """Send the invocation's subsegment as in progress, with its calls, when it is sampled and there is a daemon."""
        settings = self.settings
        if settings.xray == "off" or not settings.xray_address:
            return
        trace = invocation.trace
        if trace is None or not trace.sampled or not trace.parent:
            return
        from coldspan.core.others import others_trace
        from coldspan.core.result import to_result
        from coldspan.core.xray import XRayEncoder
        from coldspan.drain.daemon import Daemon, parse_address

        daemon = self.daemon
        if daemon is None:
            address = parse_address(settings.xray_address)
            if address is None:
                return
            daemon = Daemon(address)
        results: "list[CallToolResult]" = []
        if settings.xray == "on" or not others_trace():
            calls = [*list(invocation.calls), *[call for call in list(invocation.open.values()) if call.start_ns]]
            results = [to_result(call, settings.error_text) for call in calls]
        xray = XRayEncoder(settings.function)
        try:
            for datagram in xray.datagrams(_as_it_is(invocation), results, {}):
                reason = daemon.send(datagram)
                if reason:
                    self.buffer.drop(reason)
        finally:
            daemon.close()
        for reason, count in xray.drops.items():
            self.buffer.drop(reason, count)

    def send_earlier(self, invocation: "Invocation") -> None:
        """Let the drain send what earlier invocations have left, unless it is at work."""
        made = list(self.seam.drains.values())
        if self.buffer.waiting or self.seam.dead or any([drain.pending or drain.exports for drain in made]):
            self.load_drain().run(self.seam, invocation)


def _as_it_is(invocation: "Invocation") -> "Invocation":
    """A copy for the encoder: the invocation itself belongs to the thread that runs it."""
    copy = type(invocation)(
        "invocation", invocation.request_id, invocation.span_id, invocation.start_ns, invocation.epoch_ns
    )
    copy.trace = invocation.trace
    copy.deadline_ms = invocation.deadline_ms
    copy.start = invocation.start
    copy.tenant_id = invocation.tenant_id
    copy.annotations = dict(invocation.annotations) if invocation.annotations else None
    copy.open = dict(invocation.open)
    if invocation.trigger:  # not "", which it is once it has been drained
        copy.trigger = invocation.trigger[0]
    return copy


def _named(call: "Call") -> "dict[str, Any]":
    return {"tool": _clean(call.tool), "operation": _clean(call.operation)}


def _clean(text: str) -> str:
    """The text, bounded, without half surrogates, for which a strict reader would refuse the line."""
    return text[: limits.MESSAGE_CHARS].encode("utf-8", "replace").decode()


def _start(call: "Call") -> int:
    return call.start_ns


def _ms(ns: int) -> float:
    return ns // 1_000 / 1_000
