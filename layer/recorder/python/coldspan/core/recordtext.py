"""The record of one call, as a dict and as JSON text. A drain spends most on the text: constant parts are kept."""

from json.encoder import encode_basestring_ascii as quote

from coldspan.core.record import CallToolResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CLOSE = "}"
_EMPTY = '""'
_KEPT = 256  # constant parts of each sort; beyond it they are made anew

_heads: "dict[tuple[str, str, str], str]" = {}
_phases: "dict[tuple[str, ...], str]" = {}


def as_record(result: "CallToolResult") -> "dict[str, Any]":
    """Give a CallToolResult as the dict that leaves; payload, throttles and late only where there is something."""
    if type(result) is not CallToolResult:
        raise TypeError(type(result).__name__)
    record = {
        "tool": result.tool,
        "operation": result.operation,
        "status": result.status,
        "success": result.status == "ok",
        "message": result.message,
        "duration_ms": result.duration_ms,
        "timestamp": result.timestamp,
        "trace_id": result.trace_id,
        "span_id": result.span_id,
        "parent_id": result.parent_id,
        "attempts": result.attempts,
        "items": result.items,
        "items_failed": result.items_failed,
        "phases": result.phases or {},
        "attributes": result.attributes or {},
    }
    if result.throttles:
        record["throttles"] = result.throttles
    if result.payload is not None:
        record["payload"] = result.payload
    if result.late:
        record["late"] = True
        record["request_id"] = result.request_id
    return record


def record_text(
    result: "CallToolResult", drops: "dict[str, int]", to_json: "Callable[[Any, dict[str, int]], str]"
) -> str:
    """Give the same as JSON text, or raise TypeError or ValueError where a value is not of the type it should have.

    `to_json` encodes what may be any value. Half surrogates are left for the caller to find in the whole text.
    """
    status, span_id, parent_id, trace_id = result.status, result.span_id, result.parent_id, result.trace_id
    ids = f"{span_id}{parent_id}{trace_id}"
    if len(quote(ids)) != len(ids) + 2:  # something in them had to be escaped
        raise ValueError(ids)
    pair = result.tool, result.operation, status
    head = _heads.get(pair)
    if head is None:
        head = '{"tool":%s,"operation":%s,"status":%s,"success":%s,"message":' % (
            quote(result.tool), quote(result.operation), quote(status), "true" if status == "ok" else "false",
        )  # fmt: skip
        if len(_heads) < _KEPT:
            _heads[pair] = head
    message, phases, attributes = result.message, result.phases, result.attributes
    duration, timestamp = result.duration_ms, result.timestamp
    known = duration + timestamp
    phase_text = ""
    if phases:
        names = tuple(phases)
        template = _phases.get(names)
        if template is None:
            template = ",".join([quote(name).replace("%", "%%") + ":%.3f" for name in names])
            if len(_phases) < _KEPT:
                _phases[names] = template
        values = tuple(phases.values())
        known += sum(values)
        phase_text = template % values
    if not -1e15 < known < 1e15:  # NaN and infinities too
        raise ValueError(known)
    rest = ""
    if result.throttles or result.late or result.payload is not None:
        rest = _rest(result, drops, to_json)
    return (
        f'{head}{quote(message) if message else _EMPTY},"duration_ms":{duration:.3f},"timestamp":{timestamp}'
        f',"trace_id":"{trace_id}","span_id":"{span_id}","parent_id":"{parent_id}",{_counts(result)},"phases":{{{phase_text}}},"attributes":{{'
        f"{to_json(attributes, drops)[1:] if attributes else _CLOSE}{rest}}}"
    )


def _counts(result: "CallToolResult") -> str:
    attempts, items, failed = result.attempts, result.items, result.items_failed
    if attempts == 1 and items is None and failed is None:
        return '"attempts":1,"items":null,"items_failed":null'
    return '"attempts":%d,"items":%s,"items_failed":%s' % (
        attempts, "null" if items is None else "%d" % items, "null" if failed is None else "%d" % failed,
    )  # fmt: skip


def _rest(result: "CallToolResult", drops: "dict[str, int]", to_json: "Callable[[Any, dict[str, int]], str]") -> str:
    """What most records do not have."""
    rest = ""
    if result.throttles:
        rest = ',"throttles":%d' % result.throttles
    if result.payload is not None:
        rest += ',"payload":' + to_json(result.payload, drops)
    if result.late:
        rest += ',"late":true,"request_id":' + quote(result.request_id)
    return rest
