"""The documents through a daemon into X-Ray (moto's) and back: what BatchGetTraces returns is the tree that ran."""

import json
import socket
import threading

import boto3
import moto.xray  # noqa: F401  # it imports aws_xray_sdk, which opens a socket for good: before the first test looks
import pytest
from moto import mock_aws

from coldspan.core.record import HTTP, USER, Invocation
from coldspan.core.trace import parse
from coldspan.core.xray import XRayEncoder
from support.records import EPOCH_NS, HEADER, call, invocation, results
from support.xray_validator import validate_segment

TRACE_ID = "1-5759e988-bd862e3fe1be46a994272793"
LAMBDAS_OWN = "53995c3f42cd8ad8"


class Relay:
    """A daemon of a few lines: each datagram's document goes to PutTraceSegments; what the service refuses is kept."""

    def __init__(self, client) -> None:
        self.client = client
        self.refused = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(10)
        self.address = self.socket.getsockname()

    def forward(self, count):
        """Take `count` datagrams and pass them on."""
        for _ in range(count):
            header, _, document = self.socket.recv(65_536).partition(b"\n")
            assert json.loads(header) == {"format": "json", "version": 1}
            answer = self.client.put_trace_segments(TraceSegmentDocuments=[document.decode()])
            self.refused += answer["UnprocessedTraceSegments"]


@pytest.fixture
def client(monkeypatch):
    """An X-Ray client whose service is moto."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        yield boto3.client("xray", region_name="eu-west-1")


@pytest.fixture
def relay(client):
    """A relay to moto, closed afterwards."""
    made = Relay(client)
    yield made
    made.socket.close()


def sent(relay, datagrams):
    """Send the datagrams over UDP while the relay forwards them."""
    forwarding = threading.Thread(target=relay.forward, args=(len(datagrams),))
    forwarding.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for datagram in datagrams:
            validate_segment(datagram)
            out.sendto(datagram, relay.address)
    forwarding.join(30)
    assert not forwarding.is_alive()


def stored_tree(client):
    """Span id -> parent id of everything the service gives back for the trace, nested or sent alone."""
    (trace,) = client.batch_get_traces(TraceIds=[TRACE_ID])["Traces"]
    parents = {}
    waiting = []
    for segment in trace["Segments"]:
        document = json.loads(segment["Document"])
        waiting.append((document, document["parent_id"]))
    while waiting:
        node, parent_id = waiting.pop()
        assert node["id"] not in parents
        parents[node["id"]] = parent_id
        waiting += [(child, node["id"]) for child in node.get("subsegments", [])]
    return parents


def ran(owner):
    """Span id -> parent id as the recorder saw it run."""
    return {one.span_id: one.parent_id for one in results(owner)}


def test_traces_come_back_as_the_tree_that_ran(client, relay):
    """Calls within calls, failed and good, stand below the invocation, and that below Lambda's segment."""
    owner = invocation(start="cold", trace=parse(HEADER))
    outer = call(owner, "pricing", "quote", kind=USER, ms=12, http_status=0)
    middle = call(owner, "api.stripe.com", "POST", kind=HTTP, parent=outer, at_ms=2, ms=8, http_status=500)
    call(owner, "sts", "AssumeRole", parent=middle, at_ms=3, ms=2)
    call(owner, at_ms=14, ms=3, items=5, items_failed=2)
    outside = Invocation("init", "", 0xBBBB000000000001, 1, EPOCH_NS - 10**9)
    secret = call(outside, "ssm", "GetParameter", at_ms=100, ms=200)
    secret.span_id = 0xBBBB000000000002
    sent(relay, XRayEncoder("orders").datagrams(owner, results(owner), {"init_calls": results(outside)}))
    assert relay.refused == []
    assert stored_tree(client) == {
        "1234567890abcdef": LAMBDAS_OWN, "bbbb000000000001": LAMBDAS_OWN, **ran(owner), **ran(outside),
    }  # fmt: skip


def test_a_trace_too_large_for_a_datagram_comes_back_whole(client, relay):
    """Splitting loses no call and moves none below another parent."""
    owner = invocation(trace=parse(HEADER))
    for number in range(120):
        outer = call(owner, at_ms=number, attributes={"note": "n" * 400})
        call(owner, "sts", "AssumeRole", parent=outer, at_ms=number, ms=1)
    datagrams = XRayEncoder("orders").datagrams(owner, results(owner), {})
    assert len(datagrams) > 2
    for first in range(0, len(datagrams), 2):  # a UDP socket holds few datagrams of 64 KB at once
        sent(relay, datagrams[first : first + 2])
    assert relay.refused == []
    assert stored_tree(client) == {"1234567890abcdef": LAMBDAS_OWN, **ran(owner)}


def test_late_calls_come_back_below_their_invocation(client, relay):
    """A call that ended after its invocation had been sent joins the same tree."""
    owner = invocation(trace=parse(HEADER))
    call(owner)
    encoder = XRayEncoder("orders")
    sent(relay, encoder.datagrams(owner, results(owner), {}))
    late = call(owner, "sqs", "SendMessage", late=True)
    sent(relay, encoder.stray_datagrams([late], results(owner)[1:]))
    assert relay.refused == []
    assert stored_tree(client) == {"1234567890abcdef": LAMBDAS_OWN, **ran(owner)}


def test_moto_refuses_a_document_without_an_end(client, relay):
    """The service behind these tests does look at what it is given."""
    owner = invocation(trace=parse(HEADER))
    (datagram,) = XRayEncoder("orders").datagrams(owner, [], {})
    broken = json.loads(datagram.partition(b"\n")[2])
    del broken["end_time"]
    answer = client.put_trace_segments(TraceSegmentDocuments=[json.dumps(broken)])
    assert [one["Id"] for one in answer["UnprocessedTraceSegments"]] != []
