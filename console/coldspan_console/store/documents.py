"""What a line is, and what identifies it: every line of the recorder and of the black box, and nothing else's."""

import json
import zlib
from enum import IntEnum
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT_BYTES = 8_000_000  # of one line: CloudWatch Logs takes 1 MB, a black box's local stdout any length
TEXT_CHARS = 1_024
_MOST = 2**53  # what a double holds exactly; larger is no length, size or count of ours


class Kind(IntEnum):
    """What a line says. The numbers stand in stores."""

    INVOCATION = 1
    PART = 2  # more calls of an invocation that did not fit into one line
    TOOL = 3  # the metrics of one (tool, operation) in one invocation
    LATE = 4  # calls that ended after their invocation had been told
    PLATFORM = 5  # what the platform said of an invocation
    METRICS = 6  # the function's own metrics
    NEAR = 7  # the last words shortly before a deadline
    ENVIRONMENT = 8  # of no invocation: an init that failed, an environment that was never used, what was dropped


class Line(NamedTuple):
    """A document, ready to be kept: of which request it is, by what it is known again, and its bytes."""

    request_id: str  # "" for ENVIRONMENT
    hash: int
    kind: Kind
    document: "dict[str, Any]"
    body: bytes


def lines_of(given: Any) -> "Iterator[Line]":
    """Take a document, or a line of text that holds one, apart; nothing where it is not one of ours.

    Late calls of several invocations may share a line: each invocation gets its own. Errors: ValueError for what looks
    like a document and cannot be kept (too large, too deep, no JSON).
    """
    document = parsed(given)
    if document is None:
        return
    for kind, request_id, part in _placed(document):
        try:
            canonical, text = _canonical(part), _compact(part)
        except (TypeError, RecursionError) as error:
            raise ValueError(str(error)) from None
        if len(text) > DOCUMENT_BYTES:
            raise ValueError("too large")
        digest = blake2b(canonical.encode(), digest_size=8).digest()
        yield Line(request_id, int.from_bytes(digest, "big", signed=True), kind, part, pack(text.encode()))


# made once: json.dumps() makes an encoder at each call that has arguments
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_compact = json.JSONEncoder(separators=(",", ":")).encode


def parsed(given: Any) -> "dict[str, Any] | None":
    """The document of a dict, of a text or of bytes; None for what is none. Errors: ValueError, see lines_of()."""
    if isinstance(given, dict):
        return given
    if isinstance(given, (bytes, bytearray)):
        given = bytes(given).decode("utf-8", "replace")
    if not isinstance(given, str):
        return None
    text = given.strip()
    if not text.startswith("{"):
        return None
    ours = '"_aws"' in text or '"request_id"' in text
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        if ours:  # a torn line of ours; another one's is a log line
            raise ValueError(str(error)) from None
        return None
    return document if isinstance(document, dict) else None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def kind_of(document: "dict[str, Any]") -> "Kind | None":
    """What kind of line a document is; None when it is not one of ours."""
    request_id = document.get("request_id")
    has_request = isinstance(request_id, str) and request_id != ""
    calls = document.get("calls")
    if document.get("coldspan") == "deadline_near":
        return Kind.NEAR if has_request else None
    if "part" in document and "_aws" not in document:
        return Kind.PART if has_request and isinstance(calls, list) else None
    if not isinstance(document.get("function_name"), str) or not isinstance(document.get("_aws"), dict):
        return None
    if isinstance(document.get("outcome"), str) and "Duration" in document:
        return Kind.INVOCATION if request_of(document) else None
    if "CallDuration" in document and isinstance(document.get("tool"), str):
        if isinstance(calls, list):
            return Kind.LATE
        return Kind.TOOL if has_request else None
    if document.get("platform") is True:
        return Kind.PLATFORM if has_request else Kind.ENVIRONMENT
    if has_request:
        return Kind.PLATFORM if "MemoryNearLimit" in document else Kind.METRICS
    return Kind.ENVIRONMENT if any(name in document for name in _OF_ENVIRONMENT) else None


_OF_ENVIRONMENT = frozenset(
    ("InitFailure", "UnusedInit", "MemoryNearLimit", "BlackBoxRefused", "BlackBoxFaults", "ExportersRefused",
     "ExportDropped")
)  # fmt: skip


def request_of(document: "dict[str, Any]") -> str:
    """The request that an invocation's record is of. An init that failed was for none: it is known by its span."""
    request_id = text_of(document.get("request_id"))
    if not request_id and document.get("outcome") == "init_error" and text_of(document.get("span_id")):
        return f"init-{text_of(document['span_id'])}"
    return request_id


def _placed(document: "dict[str, Any]") -> "Iterator[tuple[Kind, str, dict[str, Any]]]":
    kind = kind_of(document)
    if kind is None:
        return
    if kind is Kind.LATE:
        by_request: dict[str, list[Any]] = {}
        for call in document["calls"]:
            if isinstance(call, dict):
                by_request.setdefault(text_of(call.get("request_id")), []).append(call)
        for request_id, calls in by_request.items():
            yield (Kind.LATE if request_id else Kind.ENVIRONMENT), request_id, {**document, "calls": calls}
        return
    requests = document.get("request_ids")
    if kind is Kind.ENVIRONMENT and "MemoryNearLimit" in document and isinstance(requests, list) and requests:
        for request_id in requests:
            if text_of(request_id):
                yield Kind.PLATFORM, text_of(request_id), document
        return
    yield kind, request_of(document) if kind is not Kind.ENVIRONMENT else "", document


def text_of(value: Any) -> str:
    """A text, bounded, without half surrogates, which no database takes; "" for what is none."""
    if not isinstance(value, str):
        return ""
    text = value[:TEXT_CHARS]
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def number_of(value: Any) -> "float | None":
    """A number that can be a length, a size or a count of ours, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if -_MOST < value < _MOST else None  # false for NaN


def time_of(document: "dict[str, Any]") -> int:
    """The document's own time in epoch ms; 0 when it has none."""
    header = document.get("_aws")
    time_ms = number_of(header.get("Timestamp")) if isinstance(header, dict) else None
    return int(time_ms) if time_ms is not None and time_ms > 0 else 0


# -- bytes -------------------------------------------------------------------------------------------------------

# What lines have in common; zlib then needs to write only what differs. A store keeps documents made with it: a change
# of one byte is a new version of the format.
_DICTIONARY = (
    b'"frames":["/var/task/app.py:awslambdaric/bootstrap.py: handle_event_request"],"evidence":["alive_at_deadline",'
    b'"told_by":"black_box","platform":true,"status":"success","duration_ms":,"produced_bytes":,"response_duration_ms":'
    b'"phases":{"connect":,"tls":,"send":,"wait":,"receive":,"serialize":,"parse":},"attributes":{"rpc.method":"",'
    b'"aws.request_id":"","http.response.status_code":200,"server.address":"","error.type":"","http.request.method":"'
    b'"payload":{"request":{"args":[],"kwargs":{}},"response":"init":{"import_ms":,"modules":,"split":{"runtime":,"layer":'
    b',"application":},"packages":[["coldspan.hot."tree_us":"coldspan_ms":'
    b'"throttled""timeout""rejected""error""partial""cancelled""in_flight""provisioned""restored""cold"'
    b'{"Name":"CallDuration","Unit":"Milliseconds"},{"Name":"CallFailure","Unit":"Count"},{"Name":"CallRetry","Unit":'
    b'"Count"},{"Name":"CallThrottle","Unit":"Count"}]}]},"function_name":"","tool":"","operation":"","CallDuration":[],'
    b'"CallFailure":0,"CallRetry":0,"CallThrottle":0,"request_id":"'
    b'{"_aws":{"Timestamp":17,"CloudWatchMetrics":[{"Namespace":"coldspan","Dimensions":[["function_name"]],"Metrics":['
    b'{"Name":"ResponseLatency","Unit":"Milliseconds"},{"Name":"RuntimeOverhead","Unit":"Milliseconds"},'
    b'{"Name":"PlatformInitDuration","Unit":"Milliseconds"},{"Name":"BilledDuration","Unit":"Milliseconds"},'
    b'{"Name":"MaxMemoryUsed","Unit":"Megabytes"},{"Name":"MemorySize","Unit":"Megabytes"}]}]},"function_name":"'
    b'{"_aws":{"Timestamp":17,"CloudWatchMetrics":[{"Namespace":"coldspan","Dimensions":[["function_name"]],"Metrics":['
    b'{"Name":"Duration","Unit":"Milliseconds"},{"Name":"InitDuration","Unit":"Milliseconds"},{"Name":"ColdStart","Unit":'
    b'"Count"},{"Name":"Error","Unit":"Count"},{"Name":"Timeout","Unit":"Count"},{"Name":"Calls","Unit":"Count"},'
    b'{"Name":"CallFailures","Unit":"Count"},{"Name":"CallRetries","Unit":"Count"},{"Name":"CallTime","Unit":'
    b'"Milliseconds"},{"Name":"QueueTime","Unit":"Milliseconds"},{"Name":"ResponseBytes","Unit":"Bytes"},{"Name":'
    b'"Overhead","Unit":"Microseconds"}]}]},"function_name":"","Duration":,"CallTime":,"Overhead":,"InitDuration":,'
    b'"ResponseBytes":,"ColdStart":0,"Error":0,"Timeout":0,"Calls":2,"CallFailures":0,"CallRetries":0,"start":"warm",'
    b'"outcome":"ok","flush":"after_response","request_id":"-","span_id":"","handler_ms":,"cpu_ms":,"calls_open":0,'
    b'"trace_id":"","function_version":"$LATEST","memory_mb":128,"calls":[{"tool":"dynamodb","operation":"PutItem",'
    b'"status":"ok","success":true,"message":"","duration_ms":,"timestamp":17,"trace_id":"","span_id":"","parent_id":"",'
    b'"attempts":1,"items":null,"items_failed":null,"phases":{},"attributes":{}}]}'
)


def pack(data: bytes) -> bytes:
    """Compress a document or a log."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, zdict=_DICTIONARY)
    return packer.compress(data) + packer.flush()


def unpack(body: bytes) -> Any:
    """The JSON value of packed bytes."""
    return json.loads(zlib.decompressobj(-15, zdict=_DICTIONARY).decompress(body))
