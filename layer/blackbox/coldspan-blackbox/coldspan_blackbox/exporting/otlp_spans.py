"""Documents as spans: the invocation, its calls, the start of its environment.

What has no name in the semantic conventions is called `coldspan.*`. Nothing is raised for what a document lacks or has
of the wrong type: a span less is told from a batch less.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from coldspan.core.trace import parse as parse_header
from coldspan_blackbox.exporting import semconv
from coldspan_blackbox.exporting.record import request_of

SCOPE = InstrumentationScope("coldspan")
TEXT_CHARS = 32_768  # of one attribute; X-Ray's endpoint takes 200 KB a span
LINKS = 128  # the specification's default limit
_UNSET = Status(StatusCode.UNSET)
_MS = 1_000_000

# Property of an invocation's document -> attribute.
_FACTS = {
    "request_id": "faas.invocation_id",
    "start": "coldspan.start",
    "outcome": "coldspan.outcome",
    "handler_ms": "coldspan.handler_ms",
    "cpu_ms": "coldspan.cpu_ms",
    "calls_open": "coldspan.calls_open",
    "flush": "coldspan.flush",
    "replay": "coldspan.replay",
    "tenant_id": "coldspan.tenant_id",
    "batch_item_failures": "coldspan.batch_item_failures",
    "records": "messaging.batch.message_count",
    "QueueTime": "coldspan.queue_ms",
    "ResponseBytes": "coldspan.response_bytes",
    "Overhead": "coldspan.overhead_us",
    # of a record that somebody else has told: see core/killed.py, and deaths.py
    "pid": "process.pid",
    "told_by": "coldspan.told_by",
    "recovered": "coldspan.recovered",
    "rss_mb": "coldspan.rss_mb",
    "calls_overwritten": "coldspan.calls_overwritten",
    "shutdown_reason": "coldspan.shutdown_reason",
    "failures_in_a_row": "coldspan.failures_in_a_row",
}


def spans_of(document: Mapping[str, Any], resource: Resource) -> list[ReadableSpan]:
    """Give the spans of one document: of an invocation, of a further part of one, or of calls that ended late."""
    maker = _Maker(document, resource)
    spans = [maker.call(call, maker.span_id) for call in _dicts(document.get("calls"))]
    if isinstance(document.get("outcome"), str) and maker.span_id:
        invocation = maker.invocation()
        spans = [invocation, *maker.init(invocation), *spans]
    return [span for span in spans if span is not None]


class _Maker:
    """What the spans of one document have in common."""

    def __init__(self, document: Mapping[str, Any], resource: Resource) -> None:
        self.document = document
        self.resource = resource
        self.function = str(document.get("function_name", "unknown"))
        self.trace_id = _hex(document.get("trace_id"), 32)
        self.span_id = _hex(document.get("span_id"), 16)

    def invocation(self) -> ReadableSpan:
        document = self.document
        outcome, trigger = document["outcome"], document.get("trigger")
        end = _ms_to_ns(_member(document.get("_aws"), "Timestamp"))
        attributes = {name: document[key] for key, name in _FACTS.items() if _is_plain(document.get(key))}
        attributes["faas.trigger"] = semconv.faas_trigger(trigger)
        attributes["faas.coldstart"] = document.get("start") == "cold"
        if isinstance(trigger, str) and trigger:
            attributes["coldspan.trigger"] = trigger
        kind = SpanKind.SERVER
        if attributes["faas.trigger"] == "pubsub":
            kind = SpanKind.CONSUMER
            attributes |= {"messaging.operation.type": "process", "messaging.operation.name": "process"}
            if trigger in semconv.MESSAGING_SYSTEMS:
                attributes["messaging.system"] = semconv.MESSAGING_SYSTEMS[trigger]
        else:
            attributes.pop("messaging.batch.message_count", None)
        attributes |= {key: value for key, value in document.items() if "." in key and _is_plain(value)}
        platform = document.get("platform")
        for fact, value in platform.items() if isinstance(platform, dict) else ():
            if _is_plain(value):
                attributes[f"coldspan.platform.{fact}"] = value
        evidence = document.get("evidence")
        killed = _is_list(evidence)
        if killed:
            attributes["coldspan.evidence"] = evidence
        self._annotate(attributes)
        status, events = _UNSET, _stacks(document.get("stacks"), end)
        if outcome in semconv.FAILED:
            kind_of_error, message = document.get("error_type") or outcome, document.get("error_message") or ""
            attributes["error.type"] = str(kind_of_error)
            status = Status(StatusCode.ERROR, str(message) or str(kind_of_error))
            if killed:  # nothing was raised
                events.append(Event("coldspan.killed", {"error.type": str(kind_of_error)}, end))
            elif document.get("error_type"):
                told = {"exception.type": str(kind_of_error), "exception.message": str(message)[:TEXT_CHARS]}
                events.append(Event("exception", told, end))
        return self._span(
            self.function,
            self.span_id,
            _hex(document.get("parent_id"), 16),
            kind,
            attributes,
            end - _ms_to_ns(document.get("Duration")),
            end,
            status,
            events,
            list(self._links()),
        )

    def _annotate(self, attributes: dict[str, Any]) -> None:
        """The user's annotations under their own names; X-Ray indexes those that `aws.xray.annotations` lists."""
        annotations = self.document.get("annotations")
        if isinstance(annotations, dict):
            own = {key: value for key, value in annotations.items() if _is_plain(value) and key not in attributes}
            if own:
                attributes |= own
                attributes["aws.xray.annotations"] = list(own)

    def _links(self) -> Iterator[Link]:
        headers = self.document.get("trace_links")
        for header in headers[:LINKS] if isinstance(headers, list) else ():
            found = parse_header(header) if isinstance(header, str) else None
            if found is not None and found.parent:
                yield Link(_context(int(found.trace_id, 16), int(found.parent, 16), found.sampled))

    def init(self, invocation: ReadableSpan) -> Iterator[ReadableSpan | None]:
        """The start of the environment, as a span that ends where its first invocation begins, and its calls."""
        init = self.document.get("init")
        if not isinstance(init, dict) or not _is_number(init.get("ms")) or self.document.get("start") == "provisioned":
            return
        calls = _dicts(init.get("calls"))
        # Of the environment's own record only the id is told, as the parent of its calls.
        own = {call.get("span_id") for call in calls}
        parents = [call.get("parent_id") for call in calls if call.get("parent_id") not in own]
        span_id = (_hex(parents[0], 16) if parents else 0) or _derived(f"init {self.span_id:x}", 8)
        end = invocation.start_time or 0
        attributes = {
            f"coldspan.init.{key}": init[key]
            for key in ("import_ms", "modules", "coldspan_ms", "after_restore_ms")
            if _is_number(init.get(key))
        }
        parent_id = _hex(self.document.get("parent_id"), 16)
        begin = end - _ms_to_ns(init["ms"])
        yield self._span(f"{self.function} init", span_id, parent_id, SpanKind.INTERNAL, attributes, begin, end)
        for call in calls:
            yield self.call(call, span_id)

    def call(self, call: Mapping[str, Any], parent_id: int) -> ReadableSpan | None:
        """One downstream call; None when it has no id or no time."""
        span_id, timestamp = _hex(call.get("span_id"), 16), call.get("timestamp")
        if not span_id or not _is_number(timestamp):
            return None
        tool, operation, state = (str(call.get(key) or "") for key in ("tool", "operation", "status"))
        told = call.get("attributes")
        attributes = dict(told) if isinstance(told, dict) else {}
        attributes |= {"coldspan.tool": tool, "coldspan.operation": operation, "coldspan.status": state}
        name = f"{tool} {operation}".strip() or "call"
        if "rpc.method" in attributes:
            attributes["rpc.system.name"] = "aws-api"
            name = semconv.aws_span_name(tool, operation)
        elif "server.address" in attributes or "url.scheme" in attributes:
            attributes["http.request.method"] = operation
            name = operation if operation != "_OTHER" else "HTTP"
        elif "mcp.method.name" in attributes:
            name = f"{attributes['mcp.method.name']} {operation}".strip()
        for key in ("attempts", "items", "items_failed", "throttles"):
            if _is_number(call.get(key)) and call[key] != (1 if key == "attempts" else 0):
                attributes[f"coldspan.{key}"] = call[key]
        phases = call.get("phases")
        for phase, spent_ms in phases.items() if isinstance(phases, dict) else ():
            attributes[f"coldspan.phase.{phase}_ms"] = spent_ms
        if call.get("payload") is not None:
            attributes["coldspan.payload"] = _text(call["payload"])
        if call.get("late"):
            attributes["coldspan.late"] = True
        status = _UNSET
        if state in semconv.FAILED_STATUSES:
            attributes.setdefault("error.type", state)
            status = Status(StatusCode.ERROR, str(call.get("message") or state))
        begin = _ms_to_ns(timestamp)
        return self._span(
            name,
            span_id,
            _hex(call.get("parent_id"), 16) or parent_id,
            SpanKind.CLIENT,
            {key: value for key, value in attributes.items() if _is_plain(value) or _is_list(value)},
            begin,
            begin + _ms_to_ns(call.get("duration_ms")),
            status,
            trace_id=_hex(call.get("trace_id"), 32) or self._trace(call.get("request_id")),
        )

    def _trace(self, request_id: Any = None) -> int:
        """The trace's id; where there is no trace, one that follows from the request, the same in all its parts."""
        return self.trace_id or _derived(str(request_id or request_of(self.document)), 16)

    def _span(
        self,
        name: str,
        span_id: int,
        parent_id: int,
        kind: SpanKind,
        attributes: dict[str, Any],
        start_ns: int,
        end_ns: int,
        status: Status = _UNSET,
        events: Sequence[Event] = (),
        links: Sequence[Link] = (),
        trace_id: int = 0,
    ) -> ReadableSpan:
        trace_id = trace_id or self._trace()
        return ReadableSpan(
            name,
            context=_context(trace_id, span_id),
            parent=_context(trace_id, parent_id) if parent_id else None,
            resource=self.resource,
            attributes=attributes,
            events=events,
            links=links,
            kind=kind,
            status=status,
            start_time=max(0, start_ns),
            end_time=max(0, end_ns),
            instrumentation_scope=SCOPE,
        )


def _context(trace_id: int, span_id: int, sampled: bool = True) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(int(sampled)))


def _stacks(stacks: Any, time_ns: int) -> list[Event]:
    """What each thread was at when the invocation was killed."""
    return [
        Event(
            "coldspan.stack",
            {
                "thread.name": str(stack.get("thread", "")),
                "code.stacktrace": "\n".join(str(frame) for frame in stack.get("frames") or ())[:TEXT_CHARS],
            },
            time_ns,
        )
        for stack in _dicts(stacks)
    ]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value[:TEXT_CHARS]
    import json

    return json.dumps(value, ensure_ascii=False)[:TEXT_CHARS]


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_plain(value: Any) -> bool:
    if isinstance(value, int):
        return -(2**63) <= value < 2**63  # OTLP has no other
    return isinstance(value, str | float) and value != ""


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)


def _ms_to_ns(value: Any) -> int:
    return int(value * _MS) if _is_number(value) and 0 <= value < 1e13 else 0


def _hex(value: Any, digits: int) -> int:
    """The number that so many hex digits stand for; 0 when they are none."""
    if isinstance(value, str) and len(value) == digits and value.isalnum() and value.isascii():
        try:
            return int(value, 16)
        except ValueError:
            return 0
    return 0


def _derived(text: str, size_bytes: int) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:size_bytes], "big") or 1
