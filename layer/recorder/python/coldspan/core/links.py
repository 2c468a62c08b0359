"""Where an invocation hangs in traces: the traces that its messages come from, and what an exporter is told of both."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from coldspan.core.record import Invocation

LINKS = 64  # of one invocation; a batch may have 10,000 messages
LOOKED_AT = 256  # before the handler runs: 0.7 µs each
HEADER_CHARS = 512  # who sends a message may write anything there
_TRACEPARENT_CHARS = 55


def links_of(event: "Any") -> "list[str]":
    """Give the trace headers of an event's first records, each once, at most 64.

    Source: SQS developer guide, "Message system attributes" (`AWSTraceHeader`); message attributes named `traceparent`
    of SQS and SNS, as OpenTelemetry's instrumentations send them (W3C Trace Context).
    """
    records = event.get("Records") if type(event) is dict else None
    found: "dict[str, None]" = {}
    for record in records[:LOOKED_AT] if type(records) is list else ():
        if type(record) is dict:
            header = _of_message(record) or _of_topic(record.get("Sns"))
            if header:
                found[header] = None
                if len(found) == LINKS:
                    break
    return list(found)


def _of_message(record: "dict[str, Any]") -> str:
    system = record.get("attributes")
    header = system.get("AWSTraceHeader") if type(system) is dict else None
    if type(header) is str and "Root=" in header and len(header) <= HEADER_CHARS:
        return header
    return _of_attributes(record.get("messageAttributes"), "stringValue")


def _of_topic(message: "Any") -> str:
    return _of_attributes(message.get("MessageAttributes"), "Value") if type(message) is dict else ""


def _of_attributes(attributes: "Any", member: str) -> str:
    attribute = attributes.get("traceparent") if type(attributes) is dict else None
    text = attribute.get(member) if type(attribute) is dict else None
    if type(text) is not str or len(text) != _TRACEPARENT_CHARS:
        return ""
    _, trace_id, parent, flags = [*text.split("-"), "", "", ""][:4]
    return f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={parent};Sampled={'1' if flags[-1:] in '13579bdf' else '0'}"


def placed(lines: "Sequence[bytes]", invocation: "Invocation") -> "list[bytes]":
    """The lines with what only a trace needs in the first: the parent, whether it is sampled, links to the messages."""
    more = b""
    trace = invocation.trace
    if trace is not None:
        more = b',"parent_id":"%s","sampled":%s' % (trace.parent.encode(), b"true" if trace.sampled else b"false")
    if invocation.links:
        from json import dumps

        more += b',"trace_links":' + dumps(invocation.links).encode()
    if not more or not lines:
        return list(lines)
    return [lines[0].rstrip(b"\n")[:-1] + more + b"}\n", *lines[1:]]
