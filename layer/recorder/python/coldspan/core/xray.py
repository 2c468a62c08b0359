"""Invocations and calls as X-Ray subsegment documents, each with the daemon's header, ready for UDP.

Source: X-Ray developer guide, "Segment documents" and "Sending segment documents to the X-Ray daemon"; limits in
core/limits.py. Lambda's own segment (`AWS::Lambda::Function`) cannot be written to: everything of ours hangs below the
`Parent` of the trace header.
"""

from coldspan.core import limits
from coldspan.core.emf import FAILED, masked
from coldspan.core.record import AWS, HTTP, USER
from coldspan.core.text import began_ns, count, elapsed_ns, sane_ms, to_json

HEADER = '{"format":"json","version":1}\n'
_ROOM = limits.XRAY_DATAGRAM_BYTES - len(HEADER)
_DEPTH = 12  # calls nested deeper go as documents of their own: no reader of JSON has to follow us further
_SYMBOLS = frozenset(" _.:/%&#=+\\-@")
_MASK = 0xFFFF_FFFF_FFFF_FFFF
_NAMES_KEPT = 256
_TRIM_ORDER = ("metadata", "http", "cause", "aws", "annotations")
# Attribute -> member of `aws`. Names: OpenTelemetry semantic conventions, AWS SDK.
_AWS_MEMBERS = (
    ("cloud.region", "region"),
    ("aws.request_id", "request_id"),
    ("aws.sqs.queue.url", "queue_url"),
    ("aws.dynamodb.table_names", "table_name"),
)


def clean_name(text):
    """A legal name: letters, digits, spaces and `_.:/%&#=+\\-@`, at most 200 characters, never empty."""
    kept = [c if c.isalnum() or c in _SYMBOLS else "_" for c in text[: limits.XRAY_NAME_CHARS]]
    return "".join(kept).strip() or "unknown"


def annotation_key(text):
    """A key that filter expressions can name: A-Z, a-z, 0-9 and underscore."""
    return "".join([c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in text[: limits.XRAY_STRING_CHARS]])


class XRayEncoder:
    """Makes the datagrams of one environment. `drops` maps a reason to a count: the caller takes it and clears it."""

    __slots__ = ("_name", "_names", "drops")

    def __init__(self, function_name) -> None:
        self.drops = {}
        self._names = {}
        # Not "Invocation": Lambda draws subsegments of its own by that name, and two would be told apart by nobody.
        self._name = clean_name(function_name[: limits.XRAY_NAME_CHARS - 8] + " handler")

    def datagrams(self, invocation, results, facts):
        """Encode an invocation with its calls nested; [] when its trace is absent, unsampled or has no parent.

        Takes:  results in the order of invocation.calls; facts: `init_calls` (results of calls made during a cold start's
                init) with `init_epoch_ms` and `init_ms` become an `Initialization` subsegment beside it.
        Gives:  whole datagrams. What does not fit below its parent goes as a document of its own, none is lost.
        """
        trace = invocation.trace
        if trace is None or not trace.sampled or not trace.parent:
            return []
        drops = self.drops
        elapsed = elapsed_ns(invocation, drops)
        began = began_ns(invocation, elapsed, drops)
        root = {
            "name": self._name,
            "id": "%016x" % invocation.span_id,
            "start_time": began / 1e9,
            "end_time": (began + elapsed) / 1e9,
        }
        outcome = invocation.outcome
        if outcome in FAILED:
            root["fault"] = True
            root["cause"] = _cause(root["id"], invocation.error_type or outcome, masked(invocation.error_text), remote=False)
        root["annotations"] = self._annotations(invocation)
        root["metadata"] = {
            "coldspan": {
                "request_id": invocation.request_id,
                "flush": invocation.flush,
                "handler_ms": invocation.handler_ns // 1000 / 1000,
                "cpu_ms": invocation.cpu_ns // 1000 / 1000,
                "calls_open": len(invocation.open),
                "response_bytes": invocation.response_bytes,
            }
        }
        documents = []
        if results:
            calls = invocation.calls
            if len(calls) == len(results):
                offset = began - invocation.start_ns
                times = [((call.start_ns + offset) / 1e9, (call.end_ns + offset) / 1e9) for call in calls]
            else:
                times = [_times(result) for result in results]
            self._nest(root, results, times, documents)
        datagrams = []
        self._write(datagrams, root, trace.root, trace.parent)
        for node, parent_id in documents:
            self._write(datagrams, node, trace.root, parent_id)
        if facts.get("init_calls") and invocation.start == "cold":
            self._init(datagrams, facts, trace)
        return datagrams

    def stray_datagrams(self, calls, results):
        """Encode late calls: each below the invocation it belongs to, when that was sampled. Same order in both lists."""
        datagrams = []
        for call, result in zip(calls, results, strict=False):
            owner = call.owner
            trace = owner.trace
            if trace is None or not trace.sampled or not trace.parent:
                continue
            offset = began_ns(owner, 0, self.drops) - owner.start_ns
            node = self._call(result, (call.start_ns + offset) / 1e9, (call.end_ns + offset) / 1e9)
            self._write(datagrams, node, trace.root, "%016x" % owner.span_id)
        return datagrams

    def _init(self, datagrams, facts, trace) -> None:
        results = facts["init_calls"]
        times = [_times(result) for result in results]
        began, ended = min(first for first, _ in times), max(last for _, last in times)
        if "init_epoch_ms" in facts and "init_ms" in facts:
            first = sane_ms(facts["init_epoch_ms"])
            began, ended = min(began, first / 1e3), max(ended, (first + facts["init_ms"]) / 1e3)
        known = {result.span_id for result in results}
        top = next((result.parent_id for result in results if result.parent_id and result.parent_id not in known), "")
        span_id = top or "%016x" % (int(results[0].span_id, 16) ^ _MASK)
        root = {"name": "Initialization", "id": span_id, "start_time": began, "end_time": ended}
        documents = []
        self._nest(root, results, times, documents)
        self._write(datagrams, root, trace.root, trace.parent)
        for node, parent_id in documents:
            self._write(datagrams, node, trace.root, parent_id)

    def _annotations(self, invocation):
        annotations = {"start": invocation.start, "cold_start": invocation.start == "cold"}
        if invocation.outcome:
            annotations["outcome"] = invocation.outcome
        if invocation.trigger:
            annotations["trigger"] = invocation.trigger
        if invocation.tenant_id:
            annotations["tenant_id"] = invocation.tenant_id[: limits.XRAY_STRING_CHARS]
        for key, value in (invocation.annotations or {}).items():
            name = annotation_key(key) if type(key) is str else ""
            if not name or name in annotations or len(annotations) >= limits.XRAY_ANNOTATIONS:
                count(self.drops, "annotations_refused")
                continue
            if type(value) is str:
                value = value[: limits.XRAY_STRING_CHARS]  # noqa: PLW2901  # the same value, cut
            elif type(value) not in (bool, int, float):
                value = to_json(value, self.drops)[: limits.XRAY_STRING_CHARS]  # noqa: PLW2901
            annotations[name] = value
        return annotations

    def _nest(self, root, results, times, documents) -> None:
        """Hang each call below the call it was made in; one whose parent is not told here hangs below the root."""
        below = {}
        for result, (began, ended) in zip(results, times, strict=True):
            node = self._call(result, began, ended)
            below.setdefault(result.parent_id, []).append(node)
        tops = below.pop(root["id"], [])
        if not below:  # no call within a call: the common case
            root["subsegments"] = tops
            return
        known = {result.span_id for result in results}
        for parent_id in [parent_id for parent_id in below if parent_id not in known]:
            tops += below.pop(parent_id)
        root["subsegments"] = tops
        level = tops
        depth = 1
        while below:
            if not level:  # what is left are the members of a circle: open it
                _, level = below.popitem()
                tops += level
            next_level = []
            for node in level:
                children = below.pop(node["id"], ())
                if children:
                    node.pop("namespace", None)  # it holds calls: code of the customer's, no node of the service map
                    if depth >= _DEPTH:
                        documents += [(child, node["id"]) for child in children]
                    else:
                        node["subsegments"] = children
                    next_level += children
            level = next_level
            depth = depth + 1 if depth < _DEPTH else 1

    def _call(self, result, began, ended):
        tool = result.tool
        name = self._names.get(tool)
        if name is None:
            name = clean_name(tool)
            if len(self._names) < _NAMES_KEPT:
                self._names[tool] = name
        status = result.status
        kind = result.kind
        node = {"name": name, "id": result.span_id, "start_time": began, "end_time": ended}
        node["namespace"] = "aws" if kind == AWS else "remote"
        if ended < began:
            node["end_time"] = began
        attributes = result.attributes or {}
        http_status = attributes.get("http.response.status_code", 0)
        if kind == AWS:
            node["aws"] = aws = {"operation": result.operation, "retries": result.attempts - 1}
            for attribute, member in _AWS_MEMBERS:
                if attribute in attributes:
                    value = attributes[attribute]
                    if type(value) in (list, tuple):
                        value = value[0] if value else ""
                    if type(value) is str and value:
                        aws[member] = value[: limits.XRAY_STRING_CHARS]
        http = {"response": {"status": http_status}} if http_status else {}
        if kind == HTTP:
            http["request"] = request = {"method": result.operation}
            if type(attributes.get("url.full")) is str:
                request["url"] = attributes["url.full"][: limits.XRAY_STRING_CHARS]
        if http:
            node["http"] = http
        facts = {"status": status}
        if kind == USER:
            facts["operation"] = result.operation
        if status != "ok":
            self._flag(node, result, http_status)
            facts["message"] = result.message
        if result.items is not None:
            facts["items"] = result.items
            facts["items_failed"] = result.items_failed
        if result.phases:
            facts["phases"] = result.phases
        if result.payload is not None:
            facts["payload"] = result.payload
        node["metadata"] = {"coldspan": facts}
        return node

    def _flag(self, node, result, http_status) -> None:
        """The flags of X-Ray for a status: 4xx is `error`, throttling is also `throttle`, the rest that failed is `fault`."""
        status = result.status
        if status == "in_flight":
            del node["end_time"]
            node["in_progress"] = True
            return
        if status == "cancelled":
            return
        if status == "throttled":
            node["throttle"] = node["error"] = True
        elif status in ("partial", "rejected") or (status == "error" and 400 <= http_status < 500):
            node["error"] = True
        else:
            node["fault"] = True
        kind, _, text = result.message.partition(": ")
        node["cause"] = _cause(result.span_id, kind, text or kind, remote=http_status >= 400)

    def _write(self, datagrams, node, trace_id, parent_id) -> None:
        """Append the document; when it is too large its subsegments that do not fit go as documents of their own."""
        waiting = [(node, parent_id)]
        while waiting:
            node, parent_id = waiting.pop(0)
            node.update(type="subsegment", trace_id=trace_id, parent_id=parent_id)
            text = to_json(node, self.drops)
            if len(text) > _ROOM:
                children = node.pop("subsegments", ())
                text = to_json(node, {})
                if len(text) > _ROOM:
                    text = self._trimmed(node)
                room = _ROOM - len(text) - len(',"subsegments":[]')
                kept = []
                for child in children:
                    part = to_json(child, {})
                    if len(part) < room:
                        kept.append(part)
                        room -= len(part) + 1
                    else:
                        waiting.append((child, node["id"]))
                if kept:
                    text = text[:-1] + ',"subsegments":[' + ",".join(kept) + "]}"
            datagrams.append((HEADER + text).encode())

    def _trimmed(self, node):
        count(self.drops, "documents_trimmed")
        for member in _TRIM_ORDER:
            if node.pop(member, None) is not None:
                text = to_json(node, {})
                if len(text) <= _ROOM:
                    break
        return text


def _times(result):
    began = sane_ms(result.timestamp) / 1e3
    return began, began + result.duration_ms / 1e3


def _cause(span_id, kind, message, *, remote):
    # The exception's id has to be unique in the trace: the complement of its span's is, and needs no random source.
    exception = {
        "id": "%016x" % (int(span_id, 16) ^ _MASK),
        "type": kind[: limits.XRAY_STRING_CHARS],
        "message": message[: limits.XRAY_STRING_CHARS],
        "remote": remote,
    }
    return {"exceptions": [exception]}
