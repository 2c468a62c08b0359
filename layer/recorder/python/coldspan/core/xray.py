"""Invocations and calls as X-Ray subsegment documents, each with the daemon's header, ready for UDP.

Source: X-Ray developer guide, "Segment documents" and "Sending segment documents to the X-Ray daemon"; limits in
core/limits.py. Lambda's own segment (`AWS::Lambda::Function`) cannot be written to: everything of ours hangs below the
`Parent` of the trace header. A call's whole record stands in its metadata, as the text that EMF already wrote.
"""

from coldspan.core import limits
from coldspan.core.emf import FAILED, masked
from coldspan.core.record import AWS, HTTP
from coldspan.core.text import began_ns, call_text, count, elapsed_ns, has_halves, plain, quote, sane_ms, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from coldspan.core.record import Call, CallToolResult, Invocation
    from coldspan.core.trace import TraceHeader

    # [text without its closing brace, span id, nodes below it, the same text without metadata], see `_node`
    Node = list[Any]

HEADER = '{"format":"json","version":1}\n'
_ROOM = limits.XRAY_DATAGRAM_BYTES - len(HEADER)
_DEPTH = 12  # calls nested deeper go as documents of their own: no reader of JSON has to follow us further
_SYMBOLS = frozenset(" _.:/%&#=+\\-@")
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_KEPT = 256  # constant parts of each sort
_CHARS = limits.XRAY_STRING_CHARS
# Attribute -> member of `aws`. Names: OpenTelemetry semantic conventions, AWS SDK.
_AWS_MEMBERS = {
    "cloud.region": ',"region":',
    "aws.request_id": ',"request_id":',
    "aws.sqs.queue.url": ',"queue_url":',
    "aws.dynamodb.table_names": ',"table_name":',
}
_DAY_MS = 86_400_000
_STATUSES = 1_000
_STATUS = "http.response.status_code"


def clean_name(text: str) -> str:
    r"""A legal name: letters, digits, spaces and `_.:/%&#=+\-@`, at most 200 characters, never empty."""
    kept = [c if c.isalnum() or c in _SYMBOLS else "_" for c in text[: limits.XRAY_NAME_CHARS]]
    return "".join(kept).strip() or "unknown"


def annotation_key(text: str) -> str:
    """A key that filter expressions can name: A-Z, a-z, 0-9 and underscore."""
    return "".join([c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in text[:_CHARS]])


class XRayEncoder:
    """Makes the datagrams of one environment. `drops` maps a reason to a count: the caller takes it and clears it."""

    __slots__ = ("_heads", "_name", "_starts", "drops")

    def __init__(self, function_name: str) -> None:
        self.drops: "dict[str, int]" = {}
        self._heads: "dict[tuple[str, str, str], str]" = {}
        self._starts: "dict[tuple[str, str, Any], str]" = {}
        # Not "Invocation": Lambda draws subsegments of its own by that name, and two would be told apart by nobody.
        self._name = quote(clean_name(function_name[: limits.XRAY_NAME_CHARS - 8] + " handler"))

    def datagrams(
        self,
        invocation: "Invocation",
        results: "list[CallToolResult]",
        facts: "dict[str, Any]",
        texts: "Sequence[str]" = (),
    ) -> "list[bytes]":
        """Encode an invocation with its calls nested; [] when its trace is absent, unsampled or has no parent.

        One that has not ended is told as in progress; the same ids told again, when it has, complete it.

        Takes:  results in the order of invocation.calls; texts: their records as EmfEncoder.texts has them, else they
                are made again. facts: `init_calls` (results of calls made during a cold start's init), with
                `init_epoch_ms` and `init_ms` when known, become an `Initialization` subsegment beside the invocation's.
        Gives:  whole datagrams. What does not fit below its parent goes as a document of its own; none is lost.
        """
        trace = invocation.trace
        if trace is None or not trace.sampled or not trace.parent:
            return []
        drops = self.drops
        elapsed = elapsed_ns(invocation, drops)
        began = began_ns(invocation, elapsed, drops)
        span_id = "%016x" % invocation.span_id
        place = f',"type":"subsegment","trace_id":"{trace.root}","parent_id":"{trace.parent}"'
        head = (
            f'{{"name":{self._name},"id":"{span_id}","start_time":{_seconds(began)}'
            f",{_ending(invocation, began + elapsed)}"
            f"{self._start(invocation)}"
        )
        measured = "" if invocation.flush == "journal" else ',"handler_ms":%.3f' % (invocation.handler_ns / 1e6)
        tail = ',"metadata":{"coldspan":{"request_id":%s,"calls_open":%d%s}}' % (
            quote(invocation.request_id[:_CHARS]), len(invocation.open), measured,
        )  # fmt: skip
        datagrams: "list[bytes]" = []
        nodes = []
        if results:
            if len(texts) != len(results):
                texts = [call_text(result, drops) for result in results]
            calls = invocation.calls
            if len(calls) == len(results):
                offset = began - invocation.start_ns
                nodes = [
                    self._node(result, call.start_ns + offset, call.end_ns + offset, text)
                    for result, call, text in zip(results, calls, texts, strict=True)
                ]
            else:  # told by the journal: only the records are there
                nodes = [self._node(result, *_times(result), text) for result, text in zip(results, texts, strict=True)]
        self._write(
            datagrams, [head + tail, span_id, nodes and _nested(nodes, results, span_id), head], place, trace.root
        )
        if invocation.start == "cold" and facts.get("init_calls"):
            self._init(datagrams, facts, trace)
        return datagrams

    def stray_datagrams(self, calls: "Sequence[Call]", results: "list[CallToolResult]") -> "list[bytes]":
        """Encode late calls: each below its own invocation, when that was sampled. Same order in both lists."""
        datagrams: "list[bytes]" = []
        for call, result in zip(calls, results, strict=False):
            owner = call.owner
            trace = owner.trace
            if trace is not None and trace.sampled and trace.parent:
                offset = began_ns(owner, 0, self.drops) - owner.start_ns
                node = self._node(result, call.start_ns + offset, call.end_ns + offset, call_text(result, self.drops))
                place = ',"type":"subsegment","trace_id":"%s","parent_id":"%016x"' % (trace.root, owner.span_id)
                self._write(datagrams, node, place, trace.root)
        return datagrams

    def _init(self, datagrams: "list[bytes]", facts: "dict[str, Any]", trace: "TraceHeader") -> None:
        results = facts["init_calls"]
        times = [_times(result) for result in results]
        began, ended = min(first for first, _ in times), max(last for _, last in times)
        if "init_epoch_ms" in facts and "init_ms" in facts:
            first = sane_ms(int(facts["init_epoch_ms"])) * 1_000_000
            began, ended = min(began, first), max(ended, first + int(facts["init_ms"] * 1e6))
        known = {result.span_id for result in results}
        top = next((result.parent_id for result in results if result.parent_id and result.parent_id not in known), "")
        span_id = top or _complement(results[0].span_id)
        times_text = f'"start_time":{_seconds(began)},"end_time":{_seconds(ended)}'
        head = f'{{"name":"Initialization","id":{quote(span_id)},{times_text}'
        nodes = [
            self._node(result, *time, call_text(result, self.drops))
            for result, time in zip(results, times, strict=True)
        ]
        place = f',"type":"subsegment","trace_id":"{trace.root}","parent_id":"{trace.parent}"'
        self._write(datagrams, [head, span_id, _nested(nodes, results, span_id), head], place, trace.root)

    def _start(self, invocation: "Invocation") -> str:
        """Flags and annotations of an invocation, as text: the same in most."""
        if invocation.annotations or invocation.tenant_id or invocation.outcome in FAILED:
            return self._unlike_others(invocation)
        key = invocation.start, invocation.outcome, invocation.trigger
        text = self._starts.get(key)
        if text is None:
            text = self._unlike_others(invocation)
            if len(self._starts) < _KEPT:
                self._starts[key] = text
        return text

    def _unlike_others(self, invocation: "Invocation") -> str:
        text = ""
        outcome = invocation.outcome
        if outcome in FAILED:
            span_id = "%016x" % invocation.span_id
            kind = invocation.error_type
            cause = _cause(
                span_id, kind if type(kind) is str and kind else outcome, masked(invocation.error_text), remote=False
            )
            text = ',"fault":true,"cause":' + to_json(cause, self.drops)
        return text + ',"annotations":' + to_json(self._annotations(invocation), self.drops)

    def _annotations(self, invocation: "Invocation") -> "dict[str, Any]":
        annotations = {"start": invocation.start, "cold_start": invocation.start == "cold"}
        for key, value in (
            ("outcome", invocation.outcome),
            ("trigger", invocation.trigger),
            ("tenant_id", invocation.tenant_id),
        ):
            if value and type(value) is str:
                annotations[key] = value[:_CHARS]
        for key, value in (invocation.annotations or {}).items():
            name = annotation_key(key) if type(key) is str else ""
            if not name or name in annotations or len(annotations) >= limits.XRAY_ANNOTATIONS:
                count(self.drops, "annotations_refused")
                continue
            plain_value = plain(value, self.drops)
            if type(plain_value) not in (bool, int, float, str):
                plain_value = to_json(plain_value, self.drops)
            annotations[name] = plain_value[:_CHARS] if type(plain_value) is str else plain_value
        return annotations

    def _node(self, result: "CallToolResult", began: int, ended: int, record: str) -> "Node":
        """A call as [text without its closing brace, span id, nodes below it, the same text without metadata]."""
        kind, status = result.kind, result.status
        key = result.tool, result.operation, kind
        head = self._heads.get(key)
        if head is None:
            head = ',"name":' + quote(clean_name(result.tool))
            if kind == AWS:
                head += ',"namespace":"aws","aws":{"operation":' + quote(result.operation[:_CHARS])
            else:
                head += ',"namespace":"remote","http":{'
                if kind == HTTP:
                    head += '"request":{"method":' + quote(result.operation[:_CHARS])
            if len(self._heads) < _KEPT:
                self._heads[key] = head
        attributes = result.attributes or {}
        http_status = attributes.get(_STATUS)
        if type(http_status) is not int or not 0 <= http_status < _STATUSES:
            http_status = 0
        response = '"response":{"status":%d}}' % http_status if http_status else "}"
        if kind == AWS:
            head += self._resource(attributes, result) + (',"http":{' + response if http_status else "")
        elif kind == HTTP:
            url = attributes.get("url.full")
            if type(url) is str:
                head += ',"url":' + quote(url[:_CHARS])
            head += "}," + response if http_status else "}}"
        else:
            head += response
        span_id = result.span_id
        ending = f'"end_time":{_seconds(max(began, ended))}'
        if status != "ok":
            if status == "in_flight":
                ending = '"in_progress":true'
            else:
                head += self._flags(result, http_status)
        text = f'{{"id":{quote(span_id)},"start_time":{_seconds(began)},{ending}{head}'
        return [f'{text},"metadata":{{"coldspan":{record}}}', span_id, (), text]

    def _resource(self, attributes: "dict[str, Any]", result: "CallToolResult") -> str:
        """What X-Ray draws as the resource, and the retries, as text that closes `aws`."""
        text = ""
        for attribute in attributes:
            if attribute in _AWS_MEMBERS:
                value = attributes[attribute]
                if type(value) is not str:
                    value = value[0] if value and type(value) in (list, tuple) else None
                if type(value) is str:
                    text += _AWS_MEMBERS[attribute] + quote(value[:_CHARS])
        return f'{text},"retries":{result.attempts - 1}}}'

    def _flags(self, result: "CallToolResult", http_status: int) -> str:
        """X-Ray's flags for a status: 4xx is `error`, throttling is also `throttle`, the rest that failed `fault`."""
        status = result.status
        if status == "cancelled":
            return ""
        if status == "throttled":
            text = ',"throttle":true,"error":true'
        elif status in ("partial", "rejected") or (status == "error" and 400 <= http_status < 500):
            text = ',"error":true'
        else:
            text = ',"fault":true'
        kind, _, message = result.message.partition(": ")
        cause = _cause(result.span_id, kind, message or kind, remote=http_status >= 400)
        return text + ',"cause":' + to_json(cause, self.drops)

    def _write(self, datagrams: "list[bytes]", node: "Node", place: str, root: str) -> None:
        """Append a node as a document; of what is below it, what does not fit follows as documents of its own."""
        waiting = [(node, place)]
        while waiting:
            (text, span_id, below, bare), place = waiting.pop(0)
            if len(text) + len(place) + 1 > _ROOM:
                count(self.drops, "documents_trimmed")
                text = bare
            room = _ROOM - len(text) - len(place) - 20  # the name of the list, and what closes it
            kept = []
            for child in below:
                if not child[2] and len(child[0]) < room:  # the common case: nothing below it, and room for it
                    kept.append(child[0] + "}")
                    room -= len(child[0]) + 2
                    continue
                part = _whole(child, room, 1)
                if part:
                    kept.append(part)
                    room -= len(part) + 1
                else:
                    waiting.append((child, f',"type":"subsegment","trace_id":"{root}","parent_id":{quote(span_id)}'))
            text = f'{text},"subsegments":[{",".join(kept)}]{place}}}' if kept else f"{text}{place}}}"
            if "\\" in text and has_halves(text):
                from json import loads  # seldom needed

                text = to_json(plain(loads(text), self.drops), {})
            datagrams.append(f"{HEADER}{text}".encode())


def _whole(node: "Node", room: int, depth: int) -> str:
    """A node with all that is below it as text, or "" when that is more than `room` characters or too deep."""
    text, _, below, _ = node
    if below:
        if depth >= _DEPTH:
            return ""
        parts = [_whole(child, room, depth + 1) for child in below]
        if not all(parts):
            return ""
        text = f'{text},"subsegments":[{",".join(parts)}]'
    return text + "}" if len(text) < room else ""


def _nested(nodes: "list[Node]", results: "list[CallToolResult]", top: str) -> "list[Node]":
    """Hang each node below its parent; gives those without a parent here, and those of a circle."""
    tops = []
    by_id = None
    for node, result in zip(nodes, results, strict=True):
        parent_id = result.parent_id
        if parent_id == top:
            tops.append(node)
            continue
        if by_id is None:
            by_id = {some[1]: some for some in nodes}
            parents = {some.span_id: some.parent_id for some in results}
        parent = by_id.get(parent_id)
        if parent is None or _is_above(result.span_id, parent_id, parents):
            tops.append(node)
        else:
            if not parent[2]:
                parent[2] = []
            parent[2].append(node)
    return tops


def _is_above(span_id: str, from_id: str, parents: "dict[str, str]") -> bool:
    """Whether going up from `from_id` leads to `span_id`: then it cannot hang below it."""
    for _ in parents:
        if from_id == span_id:
            return True
        if from_id not in parents:
            return False
        from_id = parents[from_id]
    return True


def _times(result: "CallToolResult") -> "tuple[int, int]":
    began = sane_ms(result.timestamp) * 1_000_000
    return began, began + (int(result.duration_ms * 1e6) if 0 <= result.duration_ms < _DAY_MS else 0)


def _ending(invocation: "Invocation", ended_ns: int) -> str:
    return f'"end_time":{_seconds(ended_ns)}' if invocation.end_ns else '"in_progress":true'


def _seconds(epoch_ns: int) -> str:
    """Epoch seconds with six decimals, as text: in the form with an exponent, which the specification shows too.

    It needs no division and no padding, which makes it the cheapest.
    """
    return f"{epoch_ns // 1000}E-6"


def _complement(span_id: str) -> str:
    """An id unique in the trace that needs no random source: the complement of a span's."""
    try:
        return "%016x" % ((int(span_id, 16) ^ _MASK) & _MASK)
    except ValueError:
        return "f" * 16


def _cause(span_id: str, kind: str, message: str, *, remote: bool) -> "dict[str, Any]":
    exception = {"id": _complement(span_id), "type": kind[:_CHARS], "message": message[:_CHARS], "remote": remote}
    return {"exceptions": [exception]}
