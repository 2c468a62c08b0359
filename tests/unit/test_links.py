"""The traces that messages come from."""

import json
from pathlib import Path

import pytest

from coldspan.core.links import LINKS, LOOKED_AT, links_of

EVENTS = Path(__file__).parents[2] / "events"
HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
TRACEPARENT = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01"


def sqs(**record):
    """A record of an SQS batch."""
    return {"eventSource": "aws:sqs", "messageId": "m", "attributes": {}, "messageAttributes": {}, **record}


def test_a_message_is_linked_by_the_header_that_sqs_keeps():
    """A consumer's span would not lead to the producer's trace."""
    assert links_of({"Records": [sqs(attributes={"AWSTraceHeader": HEADER})]}) == [HEADER]


def test_a_traceparent_among_the_attributes_becomes_the_same_header():
    """Producers with OpenTelemetry would not be linked."""
    attribute = {"traceparent": {"stringValue": TRACEPARENT, "dataType": "String"}}
    assert links_of({"Records": [sqs(messageAttributes=attribute)]}) == [HEADER]
    topic = {"EventSource": "aws:sns", "Sns": {"MessageAttributes": {"traceparent": {"Value": TRACEPARENT}}}}
    assert links_of({"Records": [topic]}) == [HEADER]


def test_each_trace_is_named_once_and_at_most_64():
    """A batch of 10,000 messages would make a span of a megabyte."""
    headers = [HEADER.replace("53995c3f42cd8ad8", f"{number:016x}") for number in range(200)]
    records = [sqs(attributes={"AWSTraceHeader": header}) for header in [*headers, *headers]]
    assert links_of({"Records": records}) == headers[:LINKS]


def test_what_is_no_trace_header_does_not_leave_promise_6():
    """Who sends a message may write anything there, up to 256 KB."""
    texts = ["x" * 100_000, HEADER + ";" + "x" * 10_000, "the customer's own text"]
    assert links_of({"Records": [sqs(attributes={"AWSTraceHeader": text}) for text in texts]}) == []
    attribute = {"traceparent": {"stringValue": TRACEPARENT}}
    record = sqs(attributes={"AWSTraceHeader": "x"}, messageAttributes=attribute)
    assert links_of({"Records": [record]}) == [HEADER]


def test_of_a_large_batch_the_first_messages_are_looked_at():
    """It runs before the handler: all of 10,000 would hold it up for 7 ms."""
    records = [sqs()] * LOOKED_AT + [sqs(attributes={"AWSTraceHeader": HEADER})]
    assert links_of({"Records": records[1:]}) == [HEADER]
    assert links_of({"Records": records}) == []


@pytest.mark.parametrize("path", sorted(EVENTS.rglob("*.json")), ids=lambda path: str(path.relative_to(EVENTS)))
def test_no_event_makes_it_raise(path):
    """An event without messages would cost the links of the invocation and a count."""
    try:
        event = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        event = path.read_bytes()
    assert isinstance(links_of(event), list)


@pytest.mark.parametrize(
    "event",
    [
        {"Records": None},
        {"Records": [None, 3, "x"]},
        {"Records": [{"attributes": None, "messageAttributes": [], "Sns": 3}]},
        {
            "Records": [
                sqs(attributes={"AWSTraceHeader": 7}, messageAttributes={"traceparent": {"stringValue": "x" * 55}})
            ]
        },
    ],
)
def test_messages_of_another_shape_are_no_links_or_malformed_ones(event):
    """What the customer puts in a message is not to be trusted."""
    assert all(isinstance(link, str) for link in links_of(event))
