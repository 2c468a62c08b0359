"""A strict reader of X-Ray datagrams: it rejects what the daemon or the service would silently drop or never show.

Written from the published rules, not from our encoder: X-Ray developer guide, "AWS X-Ray segment documents" (fields,
limits, characters) and "Sending segment documents to the X-Ray daemon" (header line); API reference of
PutTraceSegments; RFC 768 (datagram size).
"""

import json
import re

DATAGRAM_BYTES = 65_507
DOCUMENT_BYTES = 64_000
ID = re.compile(r"[0-9a-f]{16}\Z")
TRACE_ID = re.compile(r"1-[0-9a-f]{8}-[0-9a-f]{24}\Z")
KEY = re.compile(r"[A-Za-z0-9_]+\Z")
MEMBERS = {
    "name", "id", "start_time", "end_time", "in_progress", "trace_id", "parent_id", "type", "namespace", "http", "aws",
    "error", "throttle", "fault", "cause", "annotations", "metadata", "subsegments", "precursor_ids", "sql",
}  # fmt: skip
AWS_STRINGS = {"operation", "account_id", "region", "request_id", "queue_url", "table_name"}
ANNOTATIONS = 50


class SegmentRejected(Exception):
    """The datagram breaks the rule that `rule` names."""

    def __init__(self, rule, detail=""):
        super().__init__(f"{rule}: {detail!r:.200}")
        self.rule = rule


def validate_segment(datagram):
    """Give the document of a datagram (an independent subsegment), or raise SegmentRejected."""
    _must(isinstance(datagram, bytes), "bytes", type(datagram))
    _must(len(datagram) <= DATAGRAM_BYTES, "datagram size", len(datagram))
    header, newline, body = datagram.partition(b"\n")
    _must(newline == b"\n", "header line", datagram[:40])
    _must(_json(header) == {"format": "json", "version": 1}, "header", header)
    _must(len(body) <= DOCUMENT_BYTES, "document size", len(body))
    document = _json(body)
    _must(isinstance(document, dict), "one document", document)
    _must(document.get("type") == "subsegment", "type of an independent subsegment", document.get("type"))
    _must(_matches(TRACE_ID, document.get("trace_id")), "trace id", document.get("trace_id"))
    _must(_matches(ID, document.get("parent_id")), "parent id", document.get("parent_id"))
    ids, annotations = [], []
    _subsegment(document, ids, annotations)
    _must(len(set(ids)) == len(ids), "id used twice", ids)
    _must(document["parent_id"] not in ids, "its own parent", document["parent_id"])
    _must(len(annotations) <= ANNOTATIONS, "annotations in a trace", len(annotations))
    return document


def _subsegment(node, ids, annotations):
    _must(isinstance(node, dict), "subsegment", node)
    _must(set(node) <= MEMBERS, "members", set(node) - MEMBERS)
    _must(_matches(ID, node.get("id")), "id", node.get("id"))
    ids.append(node["id"])
    name = node.get("name")
    _must(isinstance(name, str) and 1 <= len(name) <= 200, "name length", name)
    _must(all(c.isalnum() or c == " " or c in "_.:/%&#=+\\-@" for c in name), "name characters", name)
    _times(node)
    _must(node.get("namespace", "aws") in ("aws", "remote"), "namespace", node.get("namespace"))
    for flag in ("error", "throttle", "fault"):
        _must(type(node.get(flag, True)) is bool, "flag", node.get(flag))
    _http(node.get("http", {}))
    _aws(node.get("aws", {}))
    _cause(node.get("cause", {"exceptions": []}))
    _annotations(node.get("annotations", {}), annotations)
    _metadata(node.get("metadata", {}))
    children = node.get("subsegments", [])
    _must(isinstance(children, list), "subsegments", children)
    for child in children:
        _subsegment(child, ids, annotations)


def _times(node):
    start = node.get("start_time")
    _must(type(start) in (int, float), "start time", start)
    _must(946_684_800 < start < 4_133_980_800, "start time in seconds", start)
    _must(("end_time" in node) != ("in_progress" in node), "either end time or in progress", sorted(node))
    if "in_progress" in node:
        _must(node["in_progress"] is True, "in progress", node["in_progress"])
    else:
        end = node["end_time"]
        _must(type(end) in (int, float), "end time", end)
        _must(start <= end < 4_133_980_800, "ends after it starts", (start, end))


def _http(http):
    _must(isinstance(http, dict) and set(http) <= {"request", "response"}, "http", http)
    request = http.get("request", {})
    _must(
        isinstance(request, dict) and set(request) <= {"method", "url", "user_agent", "client_ip", "traced"},
        "http request",
        request,
    )
    for name, value in request.items():
        _must(type(value) is bool if name == "traced" else _short(value), "http request value", value)
    response = http.get("response", {})
    _must(isinstance(response, dict) and set(response) <= {"status", "content_length"}, "http response", response)
    _must(all(type(value) is int for value in response.values()), "http response value", response)


def _aws(aws):
    _must(isinstance(aws, dict) and set(aws) <= AWS_STRINGS | {"retries", "resource_names"}, "aws", aws)
    for name, value in aws.items():
        if name in AWS_STRINGS:
            _must(_short(value), "aws value", value)
    _must(type(aws.get("retries", 0)) is int, "aws retries", aws)


def _cause(cause):
    if isinstance(cause, str):
        _must(_matches(ID, cause), "cause id", cause)
        return
    _must(isinstance(cause, dict) and set(cause) <= {"working_directory", "paths", "exceptions"}, "cause", cause)
    exceptions = cause.get("exceptions")
    _must(isinstance(exceptions, list), "exceptions", exceptions)
    for exception in exceptions:
        _must(isinstance(exception, dict), "exception", exception)
        _must(
            set(exception) <= {"id", "message", "type", "remote", "truncated", "skipped", "cause", "stack"},
            "exception",
            exception,
        )
        _must(_matches(ID, exception.get("id")), "exception id", exception)
        _must(_short(exception.get("message", "")) and _short(exception.get("type", "")), "exception text", exception)
        _must(type(exception.get("remote", True)) is bool, "exception remote", exception)


def _annotations(annotations, known):
    _must(isinstance(annotations, dict), "annotations", annotations)
    for key, value in annotations.items():
        _must(_matches(KEY, key), "annotation key", key)
        _must(type(value) in (str, int, float, bool), "annotation value", value)
        _must(not isinstance(value, str) or _short(value), "annotation length", value)
        known.append(key)


def _metadata(metadata):
    _must(isinstance(metadata, dict), "metadata", metadata)
    for namespace, members in metadata.items():
        _must(not namespace.startswith("AWS."), "metadata namespace", namespace)
        _must(isinstance(members, dict), "metadata of a namespace", members)


def _json(data):
    try:
        value = json.loads(data.decode(), parse_constant=_no_constant, object_pairs_hook=_unique)
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # a half surrogate is a ValueError of encode
        raise SegmentRejected("json", str(error)) from error
    return value


def _unique(pairs):
    members = dict(pairs)
    _must(len(members) == len(pairs), "member named twice", [name for name, _ in pairs])
    return members


def _no_constant(word):
    raise SegmentRejected("json", word)


def _matches(pattern, value):
    return isinstance(value, str) and pattern.match(value) is not None


def _short(value):
    return isinstance(value, str) and len(value) <= 250


def _must(holds, rule, detail=""):
    if not holds:
        raise SegmentRejected(rule, detail)
