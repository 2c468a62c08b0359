"""What happened to a process that was killed: its journal and the evidence become records, with the time of the kill.

Pure: numbers and words in, records out. The words of `error_type` are Lambda's own.
"""

from coldspan.core import policy
from coldspan.core.result import to_result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.core.journal import Dead, DeadInvocation
    from coldspan.core.record import CallToolResult, Invocation

    Told = tuple[Invocation, list[CallToolResult], dict[str, Any]]

TIMEOUT, CRASH, OUT_OF_MEMORY, TOO_LARGE = "timeout", "crash", "out_of_memory", "too_large"
ERROR_TYPES = {
    TIMEOUT: "Sandbox.Timedout",
    CRASH: "Runtime.ExitError",
    OUT_OF_MEMORY: "Runtime.OutOfMemory",
    TOO_LARGE: "Function.ResponseSizeTooLarge",
}
# A part of the platform's word, in lower case -> what it means; any other word means a crash.
_SAID = {
    "outofmemory": OUT_OF_MEMORY,
    "timedout": TIMEOUT,
    "timeout": TIMEOUT,
    "responsesizetoolarge": TOO_LARGE,
}
NEAR_LIMIT = 0.95  # of the memory size: what the kernel counts beside resident pages reaches the limit first
MEGABYTE = 1 << 20
SPINDOWN = "spindown"
SIGKILL, SIGABRT = 9, 6
# How a lack of memory ends a process: the kernel kills it, or its own allocator gives up. 0: not known.
_MEMORY_SIGNALS = (0, SIGKILL, SIGABRT)
MEMORY_ERROR = "MemoryError"
BEFORE_DEADLINE = "last_seen_before_deadline"
LINGERS_NS = 3_000_000_000  # how long after its deadline a process may still be seen: shutdown takes up to 2 s


class Evidence:
    """What the one who reports a dead process knows of its end; everything may be unknown.

    `now_ns` is this moment by CLOCK_MONOTONIC, or that of the death. All else is about the invocation `request_id` (""
    means about whichever was running), and nothing of it is taken for any other: `at_once` says that the process died
    just now, `reason` is the shutdown's ("timeout", "failure", "spindown" or ""), `error_type`, `signal` and
    `max_memory_mb` are the platform's words.
    """

    __slots__ = ("at_once", "error_type", "max_memory_mb", "now_ns", "reason", "request_id", "signal")

    def __init__(
        self,
        now_ns: int,
        *,
        at_once: bool = False,
        reason: str = "",
        error_type: str = "",
        signal: int = 0,
        max_memory_mb: int = 0,
        request_id: str = "",
    ) -> None:
        self.now_ns = now_ns
        self.at_once = at_once
        self.reason = reason
        self.error_type = error_type
        self.signal = signal
        self.max_memory_mb = max_memory_mb
        self.request_id = request_id


def post_mortem(dead: "Dead", evidence: Evidence) -> "list[Told]":
    """Give what a dead process had not told: an invocation, the records of its calls and its facts, one of each.

    Gives: for `EmfEncoder.invocation_lines` and `XRayEncoder.datagrams`. `invocation.calls` is empty, because the times
    of the records are all there is; a call that had not ended has status `in_flight`, and as `duration_ms` how long it
    had been open when the process died.
    """
    last = max([each.invocation.serial for each in dead.invocations], default=0)
    return [_tell(dead, each, evidence, each.invocation.serial == last) for each in dead.invocations]


def meaning_of(error_type: str) -> str:
    """The outcome that the platform's word for a death means."""
    said = error_type.lower()
    return next((meaning for part, meaning in _SAID.items() if part in said), CRASH)


def is_without_trace(outcome: str, facts: "dict[str, Any]") -> bool:
    """Whether an invocation was lost and nobody saw where: C code may have held the interpreter's lock all along."""
    signs = facts.get("evidence", ())
    return "stacks" not in facts and bool(signs) and (outcome == TIMEOUT or BEFORE_DEADLINE in signs)


def _tell(dead: "Dead", each: "DeadInvocation", evidence: Evidence, is_last: bool) -> "Told":
    invocation = each.invocation
    about_this = evidence.request_id in ("", invocation.request_id)
    known = evidence if about_this else Evidence(evidence.now_ns)
    facts: "dict[str, Any]" = {"pid": dead.pid}
    if not invocation.outcome:
        outcome, died_ns, signs = _cause(dead, each, known)
        invocation.outcome = outcome
        invocation.end_ns = max(died_ns, invocation.start_ns)
        invocation.error_type = known.error_type or ERROR_TYPES[outcome]
        facts["evidence"] = signs
        if dead.stacks and dead.stacks_of in (0, invocation.serial):
            facts["stacks"] = dead.stacks
    else:
        facts["recovered"] = True  # it had ended by itself; only its record was lost
        if is_last and invocation.outcome == "error" and invocation.error_type == MEMORY_ERROR:
            invocation.outcome = OUT_OF_MEMORY  # and the process with it
    if dead.rss_bytes:
        facts["rss_mb"] = round(dead.rss_bytes / MEGABYTE, 1)
    if each.overwritten:
        facts["calls_overwritten"] = each.overwritten
    calls = sorted([*invocation.calls, *invocation.open.values()], key=lambda call: call.start_ns)
    results = [to_result(call) for call in calls]
    for call, result in zip(calls, results, strict=True):
        if not call.end_ns:
            result.duration_ms = max(0, invocation.end_ns - call.start_ns) // 1000 / 1000
    invocation.calls = []
    invocation.trigger = each.trigger
    return invocation, results, facts


def _cause(dead: "Dead", each: "DeadInvocation", evidence: Evidence) -> "tuple[str, int, list[str]]":
    """(outcome, when it died by CLOCK_MONOTONIC, the signs that say so).

    The platform's word decides, then the shutdown's reason. Without them: a process that lived until its deadline and
    not much longer was stopped there, however much memory it had; one that ended otherwise, with its memory used up,
    ran out of it; any other crashed.
    """
    invocation = each.invocation
    said, reason = evidence.error_type.lower(), evidence.reason.lower()
    last_ns = min(_last_seen_ns(dead, invocation), evidence.now_ns)
    left_ms = policy.left_ms(invocation.deadline_ms, invocation.epoch_ns, 0)
    deadline_ns = 0 if left_ms is None else invocation.start_ns + int(left_ms * 1e6)
    signs = ["platform"] if said else []
    if reason in ("timeout", "failure"):
        signs.append("shutdown_" + reason)
    if said:
        outcome = meaning_of(said)
    elif reason in ("timeout", "failure"):
        outcome = TIMEOUT if reason == "timeout" else CRASH
    else:
        at_deadline = _deadline_signs(dead, invocation, last_ns, deadline_ns, evidence)
        outcome = TIMEOUT if at_deadline else CRASH
        signs += at_deadline or [_why_no_timeout(last_ns, deadline_ns, evidence)]
    memory = _memory_signs(dead, each, evidence)
    if outcome == CRASH and memory and evidence.signal in _MEMORY_SIGNALS:
        outcome = OUT_OF_MEMORY
    if outcome == TIMEOUT and deadline_ns:
        died_ns = max(min(deadline_ns, evidence.now_ns), last_ns)
    else:
        died_ns = evidence.now_ns if evidence.at_once else last_ns
    return outcome, died_ns, signs + memory


def _last_seen_ns(dead: "Dead", invocation: "Invocation") -> int:
    """The last moment at which the process is known to have lived."""
    moments = [invocation.start_ns, dead.last_alive_ns]
    for call in (*invocation.calls, *invocation.open.values()):
        moments += (call.start_ns, call.end_ns)
    return max(moments)


def _memory_signs(dead: "Dead", each: "DeadInvocation", evidence: Evidence) -> "list[str]":
    """What speaks for a lack of memory."""
    signs = []
    if any([call.error_type == MEMORY_ERROR for call in each.invocation.calls]):
        signs.append("memory_error")
    limit = dead.memory_mb
    if limit:
        nearly = min(NEAR_LIMIT * limit, limit - 1)
        if evidence.max_memory_mb >= nearly:
            signs.append("max_memory_near_limit")
        if dead.rss_bytes >= nearly * MEGABYTE:
            signs.append("rss_near_limit")
    if signs and evidence.signal == SIGKILL:
        signs.append("signal_9")
    return signs


def _deadline_signs(
    dead: "Dead", invocation: "Invocation", last_ns: int, deadline_ns: int, evidence: Evidence
) -> "list[str]":
    """What says that it lived until its deadline, when nobody else says so."""
    taken = dead.stacks and dead.stacks_of == invocation.serial
    # SAM ends a container by a clock of its own, which may be a little ahead: nothing else spins down what is at work
    reached = evidence.now_ns >= deadline_ns or (taken and evidence.reason.lower() == SPINDOWN)
    if not deadline_ns or not reached or last_ns - deadline_ns > LINGERS_NS:
        return []
    signs = []
    if taken:
        signs.append("stacks_taken_at_deadline")
    elif dead.stacks and not dead.stacks_of:
        signs.append("stacks_by_faulthandler")
    if deadline_ns - last_ns <= policy.tick_ns((deadline_ns - invocation.start_ns) // 1_000_000) * 2:
        signs.append("alive_at_deadline")
    return signs


def _why_no_timeout(last_ns: int, deadline_ns: int, evidence: Evidence) -> str:
    if not deadline_ns:
        return "no_deadline"
    if evidence.now_ns < deadline_ns:
        return "died_before_deadline" if evidence.at_once else "replaced_before_deadline"
    return BEFORE_DEADLINE if last_ns < deadline_ns else "lived_past_deadline"
