"""Lines become invocations: whatever their order, and however often they came. Pure.

All documents of one request id are joined at once, from nothing: what was known before plays no part, so the order in
which lines came cannot.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from coldspan_console.store.documents import Kind, number_of, text_of, time_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KILLED = ("timeout", "crash", "out_of_memory")
UNFINISHED = "unfinished"  # its last words came, shortly before its deadline, and nothing after them
UNTOLD = "untold"  # the status of a call that has a metric and no record, and did not fail
FAILED_CALL = frozenset(("partial", "throttled", "timeout", "error"))
# the platform's word about the end -> ours, where no record says it
_ENDS = {"success": "ok", "error": "error", "timeout": "timeout", "failure": "crash"}
_END_TYPES = {"Runtime.OutOfMemory": "out_of_memory", "Sandbox.Timedout": "timeout"}
# metrics of the black box's lines -> the names they have in a killed invocation's record
PLATFORM_METRICS = {
    "BilledDuration": "billed_duration_ms",
    "MaxMemoryUsed": "max_memory_used_mb",
    "MemorySize": "memory_size_mb",
    "PlatformInitDuration": "init_duration_ms",
    "RestoreDuration": "restore_duration_ms",
    "ResponseLatency": "response_latency_ms",
    "RuntimeOverhead": "runtime_overhead_ms",
    "ExtensionOverhead": "extension_overhead_ms",
}
_NOT_PLATFORM = frozenset(("_aws", "function_name", "request_id", "platform", "level", "timestamp"))
_NOT_METRICS = frozenset(("_aws", "function_name", "request_id", "level", "timestamp"))


class Kept(NamedTuple):
    """A document as the store keeps it. `hash` depends on nothing but the document."""

    kind: Kind
    hash: int
    document: "dict[str, Any]"
    source: str = ""
    account: str = ""
    region: str = ""
    seen_ms: int = 0  # when it came, for last words: they carry no time of their own


@dataclass(slots=True)
class Invocation:
    """One attempt of one request: its record with what others said of it, and the lines that say so."""

    span_id: str  # what it is known by among the attempts of its request; "" where only the platform has told of it
    document: "dict[str, Any]"
    told: Kept  # the line that made it
    attempt: int = 1
    attempts: int = 1
    lines: "list[dict[str, Any]]" = field(default_factory=list)


def join(documents: "Iterable[Kept]") -> "list[Invocation]":
    """Make the invocations of one request id from all its documents, in the order of their attempts.

    Gives new documents: as the recorder printed them, with the calls of continued and late lines among `calls`; without
    any, `call_metrics`; and what other lines say as `platform` and `own_metrics`. What only the platform knows of is an
    invocation too, `told_by: "platform"`; so are last words after which nothing came, `outcome: "unfinished"`.
    """
    ordered = sorted(documents, key=_order)
    told: "dict[Kind, list[Kept]]" = {kind: [] for kind in Kind}
    for kept in ordered:
        told[kept.kind].append(kept)
    attempts = _attempts(told[Kind.INVOCATION]) or _without_record(told)
    for number, attempt in enumerate(attempts, 1):
        attempt.attempt, attempt.attempts = number, len(attempts)
    if attempts:
        _add_calls(attempts, told[Kind.PART] + told[Kind.LATE])
        for kept in told[Kind.TOOL]:
            _add_call_metrics(_at(attempts, time_of(kept.document)), kept.document)
        for kept in told[Kind.METRICS]:
            _add_own_metrics(_at(attempts, time_of(kept.document)), kept.document)
        for kept in told[Kind.PLATFORM]:
            _add_platform(_at(attempts, time_of(kept.document)), kept.document)
        for kept in told[Kind.NEAR]:
            _add_last_words(attempts, kept.document)
    return attempts


def _order(kept: Kept) -> "tuple[Any, ...]":
    """An order that depends on the documents alone."""
    return kept.kind, time_of(kept.document), number_of(kept.document.get("part")) or 0, kept.hash


def _attempts(records: "Sequence[Kept]") -> "list[Invocation]":
    """One for each span id. Of two records of one, that of the process itself goes first, then the black box's."""
    by_span: "dict[str, list[Kept]]" = {}
    for kept in records:
        span_id = text_of(kept.document.get("span_id")) or f"at {time_of(kept.document)}"
        by_span.setdefault(span_id, []).append(kept)
    attempts = []
    for span_id, group in by_span.items():
        best = min(group, key=_rank)
        from_journal = _rank(best)[0] > 0
        document = dict(best.document)
        for other in group:
            if other is best:
                continue
            if not document.get("calls") and isinstance(other.document.get("calls"), list):
                document["calls"] = other.document["calls"]
            if from_journal:  # then so is the other: what one did not know the other may
                document = {**other.document, **document}
        attempt = Invocation(span_id, document, best, lines=[kept.document for kept in group])
        if "calls" in document:
            document["calls"] = calls_of(document)
        attempts.append(attempt)
    attempts.sort(key=lambda each: (began_ms(each.document), each.span_id))
    return attempts


def _rank(kept: Kept) -> "tuple[Any, ...]":
    told_by = kept.document.get("told_by")
    return (0 if told_by is None else 1 if told_by == "black_box" else 2), _order(kept)


def began_ms(document: "dict[str, Any]") -> float:
    """When an invocation began, in epoch ms."""
    return time_of(document) - max(0.0, number_of(document.get("Duration")) or 0.0)


def calls_of(document: "dict[str, Any]") -> "list[dict[str, Any]]":
    """The records of a document's calls that are records."""
    calls = document.get("calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _at(attempts: "Sequence[Invocation]", time_ms: int) -> Invocation:
    """The attempt that ended nearest to a time: an invocation's lines have its own, the platform's a little later."""
    return min(attempts, key=lambda each: (abs(time_of(each.document) - time_ms), each.attempt))


def _add_calls(attempts: "Sequence[Invocation]", lines: "Sequence[Kept]") -> None:
    """Give calls of further lines to the attempt whose span, or whose calls' spans, they have as their parent."""
    owners: "dict[str, Invocation]" = {}
    for attempt in attempts:
        owners[attempt.span_id] = attempt
        for call in attempt.document.get("calls", ()):
            owners.setdefault(text_of(call.get("span_id")), attempt)
    waiting = [(kept, call) for kept in lines for call in calls_of(kept.document)]
    placed = True
    while placed:  # the parent of a call may be in a line that comes after it
        placed = False
        for one in list(waiting):
            owner = owners.get(text_of(one[1].get("parent_id")))
            if owner is not None:
                _add_call(owner, *one)
                owners.setdefault(text_of(one[1].get("span_id")), owner)
                waiting.remove(one)
                placed = True
    for kept, call in waiting:
        begun = number_of(call.get("timestamp")) or 0
        _add_call(
            max(attempts, key=lambda each: (began_ms(each.document) <= begun + 1, began_ms(each.document))), kept, call
        )
    for attempt in attempts:
        if "calls" in attempt.document:
            attempt.document["calls"] = _once(attempt.document["calls"])


def _add_call(attempt: Invocation, kept: Kept, call: "dict[str, Any]") -> None:
    attempt.document["calls"] = [*attempt.document.get("calls", ()), call]
    if kept.document not in attempt.lines:
        attempt.lines.append(kept.document)


def _once(calls: "Sequence[dict[str, Any]]") -> "list[dict[str, Any]]":
    """Each call once: one that has ended instead of the same in flight."""
    by_span: "dict[str, dict[str, Any]]" = {}
    for number, call in enumerate(calls):
        span_id = text_of(call.get("span_id")) or f"call {number}"
        known = by_span.get(span_id)
        if known is None or known.get("status") == "in_flight":
            by_span[span_id] = call
    return list(by_span.values())


def _add_call_metrics(attempt: Invocation, document: "dict[str, Any]") -> None:
    """What the line of a (tool, operation) tells, for a record without calls."""
    attempt.lines.append(document)
    if "calls" in attempt.document:
        return
    durations = document["CallDuration"]
    durations = durations if isinstance(durations, list) else [durations]
    metric = {
        "tool": text_of(document.get("tool")),
        "operation": text_of(document.get("operation")),
        "durations_ms": [value for value in map(number_of, durations) if value is not None and value >= 0],
        "failures": count_of(document.get("CallFailure")),
        "retries": count_of(document.get("CallRetry")),
        "throttles": count_of(document.get("CallThrottle")),
    }
    attempt.document["call_metrics"] = [*attempt.document.get("call_metrics", ()), metric]


def _add_own_metrics(attempt: Invocation, document: "dict[str, Any]") -> None:
    attempt.lines.append(document)
    own = dict(attempt.document.get("own_metrics") or {})
    for name, value in document.items():
        if name in _NOT_METRICS:
            continue
        if isinstance(own.get(name), list) and isinstance(value, list):
            own[name] = own[name] + value
        else:
            own[name] = value
    attempt.document["own_metrics"] = own


def _add_platform(attempt: Invocation, document: "dict[str, Any]") -> None:
    attempt.lines.append(document)
    known = attempt.document.get("platform")
    facts = dict(known) if isinstance(known, dict) else {}
    said = {PLATFORM_METRICS.get(name, name): value for name, value in document.items() if name not in _NOT_PLATFORM}
    if said.pop("MemoryNearLimit", None) is not None:
        said.pop("request_ids", None)
        facts["memory_warnings"] = [*facts.get("memory_warnings", ()), {"timestamp": time_of(document), **said}]
    else:
        facts.update(said)
    attempt.document["platform"] = facts


def _add_last_words(attempts: "Sequence[Invocation]", document: "dict[str, Any]") -> None:
    """Keep them where the record of a kill has no stacks; else they say nothing new."""
    running = text_of(document.get("trace_id"))
    near = [each for each in attempts if each.document.get("deadline_near") or each.document.get("outcome") in KILLED]
    near = [each for each in near if text_of(each.document.get("trace_id")) == running] or near or list(attempts)
    near[-1].lines.append(document)
    if not near[-1].document.get("stacks") and document.get("stacks"):
        near[-1].document["stacks"] = document["stacks"]


def _without_record(told: "dict[Kind, list[Kept]]") -> "list[Invocation]":
    """An invocation of which no record has come, from what the platform or its last words say of it."""
    reports = [kept for kept in told[Kind.PLATFORM] if text_of(kept.document.get("status"))]
    if reports:
        last = reports[-1]
        said = last.document
        error_type = text_of(said.get("error_type"))
        outcome = _END_TYPES.get(error_type) or _ENDS.get(text_of(said.get("status")), UNFINISHED)
        init_ms = number_of(said.get("PlatformInitDuration"))
        document = {
            "_aws": {"Timestamp": time_of(said)},
            "function_name": said.get("function_name"),
            "request_id": said.get("request_id"),
            "Duration": number_of(said.get("duration_ms")) or 0.0,
            "start": "cold" if init_ms is not None else "warm",
            "outcome": outcome,
            "told_by": "platform",
        }
        if init_ms is not None:
            document["InitDuration"] = init_ms
        if error_type:
            document["error_type"] = error_type
        return [Invocation("", document, last)]
    if told[Kind.NEAR]:
        last = told[Kind.NEAR][-1]
        words = last.document
        running_ms = number_of(words.get("running_ms")) or 0.0
        open_calls = [call for call in words.get("calls_open") or () if isinstance(call, dict)]
        times = [time for kept in told[Kind.TOOL] + told[Kind.METRICS] if (time := time_of(kept.document))]
        document = {
            "_aws": {"Timestamp": max(times, default=0) or last.seen_ms},
            "function_name": words.get("function_name"),
            "request_id": words.get("request_id"),
            "trace_id": words.get("trace_id"),
            "Duration": running_ms,
            "start": "warm",
            "outcome": UNFINISHED,
            "told_by": "last_words",
            "calls_open": len(open_calls),
            "last_words": words,
        }
        return [Invocation("", document, last)]
    return []


def count_of(value: Any) -> int:
    """A count, at least 0."""
    number = number_of(value)
    return max(0, int(number)) if number is not None else 0


def statuses_of(document: "dict[str, Any]") -> "Counter[str]":
    """How many calls of an invocation ended how, from its records, else from its metrics."""
    if "calls" in document:
        return Counter(text_of(call.get("status")) for call in document["calls"])
    counts: "Counter[str]" = Counter()
    for metric in document.get("call_metrics", ()):
        failed = min(metric["failures"], len(metric["durations_ms"]))
        counts["error"] += failed
        counts[UNTOLD] += len(metric["durations_ms"]) - failed
    return +counts
