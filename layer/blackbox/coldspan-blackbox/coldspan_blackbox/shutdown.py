"""The last event: what nobody else will tell is told now, well before the platform's own deadline."""

from time import monotonic_ns, time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan_blackbox.loop import Loop

MS = 1_000_000
MARGIN_MS = 150  # before the deadline: SIGKILL comes with it
SHUTDOWN_MS = 2_000  # what the platform gives where there is an external extension
LONGEST_MS = 60_000
EXPORT_SHARE = 0.6  # of the time, for the exporters' last flush
HEARD_MS = 300  # how long the platform's word is waited for: three times as long as it collects events
LOOK_MS = 20
RECENT_MS = 3_000  # between the platform's word about a kill and the SHUTDOWN that follows it
# The documents have the first three; the others are the emulator's.
REASONS = {
    "timeout": "timeout",
    "failure": "failure",
    "spindown": "spindown",
    "sandboxterminated": "spindown",
    "releasefail": "failure",
}


def reason_of(event: "dict[str, Any]") -> str:
    """Why, in the documents' words; an unknown reason is "shutdown"."""
    return REASONS.get(str(event.get("shutdownReason") or "").lower(), "shutdown")


def left_ms_of(event: "dict[str, Any]", now_ms: int) -> int:
    """The time that is left for us; a deadline that cannot be right is replaced by what the documents promise."""
    deadline_ms = event.get("deadlineMs")
    left_ms = deadline_ms - now_ms if isinstance(deadline_ms, (int, float)) else SHUTDOWN_MS
    if not 0 < left_ms <= LONGEST_MS:
        left_ms = SHUTDOWN_MS
    return int(max(left_ms - MARGIN_MS, left_ms / 2))


def shut_down(loop: "Loop", event: "dict[str, Any]") -> None:
    """Tell what is left to tell. Returns in time; afterwards the process ends."""
    began_ns = monotonic_ns()
    reason = reason_of(event)
    left_ms = left_ms_of(event, time_ns() // MS)
    until_ns = began_ns + left_ms * MS
    exporter = loop.extension.exporter
    feeding = exporter is not None and exporter.alive
    attempt = loop.counts.attempt
    dead_by_ns = began_ns + int(left_ms * (1 - EXPORT_SHARE if feeding else 1)) * MS
    attempt("await_death", _await_death, loop, reason, min(dead_by_ns, until_ns))
    attempt("last_words", _last_words, loop, reason, began_ns)
    if loop.invoking is not None:
        attempt("datagrams", loop.invoking.receive)
    if exporter is not None and exporter.alive:
        attempt("last_flush", _last_flush, loop, until_ns)
    attempt("counts", loop.tell_counts)


def _await_death(loop: "Loop", reason: str, until_ns: int) -> None:
    """Wait for the function's processes to die and for the platform's word about them, and serve meanwhile."""
    heard_by_ns = min(until_ns, monotonic_ns() + HEARD_MS * MS)
    while (now_ns := monotonic_ns()) < until_ns:
        if (now_ns >= heard_by_ns or _heard(loop, reason)) and not loop.deaths.alive():
            return
        loop.serve(min(LOOK_MS, (until_ns - now_ns) // MS + 1))


def _heard(loop: "Loop", reason: str) -> bool:
    """Whether the platform has said what it is going to say: it collects events before it sends them."""
    if loop.extension.listener is None:
        return True
    if reason in ("timeout", "failure"):
        since_ms = time_ns() // MS - RECENT_MS
        last = [request for request in loop.platform.requests.values() if request.killed and request.reported]
        return loop.restarts.failed_now or any(request.time_ms >= since_ms for request in last)
    return False


def _last_words(loop: "Loop", reason: str, died_ns: int) -> None:
    attempt, platform = loop.counts.attempt, loop.platform
    more: "dict[str, Any]" = {"shutdown_reason": reason}
    subscribed = loop.extension.listener is not None
    if subscribed and reason in ("timeout", "failure"):
        more["failures_in_a_row"] = loop.restarts.fail()
    attempt("deaths", loop.deaths.tell, died_ns, "" if reason == "shutdown" else reason, more)
    attempt("unrecorded", loop.deaths.tell_unrecorded, more)
    for request in platform.leftover():
        attempt("platform", loop.tell_request, request)
    init = platform.unfinished_init()
    if init is not None:
        attempt("platform", loop.tell_init_failure, init)
    can_know = subscribed or loop.extension.told_of_invocations
    unused = can_know and not platform.started_count and not loop.invocations_count and not loop.restarts.failed_now
    if unused and reason == "spindown":
        loop.lines.tell({"UnusedInit": 1}, {"platform": True, "shutdown_reason": reason})


def _last_flush(loop: "Loop", until_ns: int) -> None:
    """The exporters send what they have, and end."""
    exporter = loop.extension.exporter
    if exporter is None:
        return
    number = exporter.ask_flush(until_ns // MS, b"shutdown")
    exporter.refused = exporter.refused or "shutdown"  # its end is no death
    # Not only for the answer: some destinations are told that this was the last, and then the process ends by itself.
    while number and exporter.alive and (now_ns := monotonic_ns()) < until_ns:
        loop.serve(max(1, (until_ns - now_ns) // MS))
    if exporter.answered < number:
        loop.counts.drop("exporter_late" if exporter.alive else "exporter_died", max(1, exporter.unsettled()))
