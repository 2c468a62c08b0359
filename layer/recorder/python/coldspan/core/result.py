"""Turns the raw facts of a call into the record that leaves. Runs in the drain, for every call."""

from coldspan.core.record import AWS, PHASES, CallToolResult
from coldspan.core.status import status_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coldspan.core.record import Call

# Raw text -> masked text: what fails, fails often, and masking costs more than all the rest of a record.
_masked: "dict[str, str]" = {}
_MASKED = 128
_NOT_FAILED = ("ok", "in_flight")


def to_result(call: "Call", error_text: bool = True) -> "CallToolResult":
    """Give the CallToolResult of a Call.

    Takes:  times in ns; `error_text` False leaves the text of errors out of `message`, their type stays.
    Gives:  ms rounded to µs; ids as 16 hex digits; a new attributes dict, so that nothing of the call's is shared.
    """
    result = CallToolResult()
    status = result.status = status_of(call)
    owner = call.owner
    result.tool = call.tool
    result.operation = call.operation
    result.kind = call.kind
    # Whole µs over a thousand: round() to three places costs ten times as much, and says the same.
    result.duration_ms = (call.end_ns - call.start_ns + 500) // 1000 / 1000 if call.end_ns else 0.0
    result.timestamp = call.epoch_ns // 1_000_000
    trace = owner.trace
    result.trace_id = trace.trace_id if trace is not None else ""
    result.request_id = owner.request_id
    result.span_id = "%016x" % call.span_id
    result.parent_id = "%016x" % call.parent.span_id if call.parent is not None else ""
    result.attempts = 1 + call.retries
    result.throttles = call.throttles
    result.items = call.items
    result.items_failed = call.items_failed
    result.late = call.late
    result.payload = call.payload
    result.phases = _phases(call.phases) if call.phases else {}
    attributes = result.attributes = dict(call.attributes) if call.attributes else {}
    if call.http_status:
        attributes["http.response.status_code"] = call.http_status
    if call.kind == AWS:
        attributes["rpc.method"] = call.operation
    result.message = ""
    if status not in _NOT_FAILED:
        attributes["error.type"] = call.error_type or (str(call.http_status) if call.http_status >= 300 else status)
        result.message = _message(call, status, error_text)
    return result


def _phases(phases: "list[int]") -> "dict[str, float]":
    known = {}
    for name, ns in zip(PHASES, phases):  # noqa: B905  # strict=True costs a fifth of the loop, for a list of our own
        if ns:
            known[name] = (ns + 500) // 1000 / 1000
    return known


def _message(call: "Call", status: str, error_text: bool) -> str:
    """`ErrorType: text`, masked and bounded; without a text, what else is known of the failure."""
    kind = call.error_type
    text = call.error_text if error_text else ""
    if not text:
        if status == "partial":
            text = "%s of %s items failed" % (call.items_failed, "?" if call.items is None else call.items)
        elif call.http_status >= 300 and not kind:
            text = "HTTP %d" % call.http_status
        return kind + ": " + text if kind and text else kind or text or status
    raw = kind + ": " + text if kind else text
    masked = _masked.get(raw)
    if masked is None:
        from coldspan.core.mask import mask_text  # most calls end well and never need it

        if len(_masked) >= _MASKED:
            _masked.clear()
        masked = _masked[raw] = mask_text(raw)
    return masked
