"""X-Ray documents: the tree that ran, below the Parent of the trace header, within a datagram."""

import json

import pytest

from coldspan.core import limits
from coldspan.core.emf import EmfEncoder
from coldspan.core.record import HTTP, USER, Invocation
from coldspan.core.trace import parse
from coldspan.core.xray import XRayEncoder, annotation_key, clean_name
from support.records import EPOCH_NS, NOW_MS, call, invocation, results
from support.xray_validator import validate_segment


@pytest.fixture
def encoder():
    """An encoder for the function `orders`."""
    return XRayEncoder("orders")


def documents_of(encoder, owner, facts=None):
    """Encode, and hold every datagram against the published rules."""
    datagrams = encoder.datagrams(owner, results(owner), facts or {})
    assert all(len(datagram) <= limits.XRAY_DATAGRAM_BYTES for datagram in datagrams)
    return [validate_segment(datagram) for datagram in datagrams]


def tree(documents):
    """Span id -> parent id, over all documents."""
    parents = {}

    def walk(node, parent_id):
        parents[node["id"]] = parent_id
        for child in node.get("subsegments", []):
            walk(child, node["id"])

    for document in documents:
        walk(document, document["parent_id"])
    return parents


def ids(owner):
    """Span id -> parent id as the recorder knows them."""
    return {one.span_id: one.parent_id for one in results(owner)}


def only_call(encoder, owner):
    """The only call of the only document."""
    (document,) = documents_of(encoder, owner)
    (node,) = document["subsegments"]
    return node


def test_invocation_hangs_below_the_parent_of_the_header(encoder):
    """Lambda's own segment is the parent; it cannot be written to."""
    (document,) = documents_of(encoder, invocation())
    assert document["parent_id"] == "53995c3f42cd8ad8"
    assert document["trace_id"] == "1-5759e988-bd862e3fe1be46a994272793"
    assert document["id"] == "1234567890abcdef"
    assert document["name"] == "orders handler"
    assert document["annotations"] == {"start": "warm", "cold_start": False, "outcome": "ok", "trigger": "sqs"}
    assert document["metadata"]["coldspan"]["request_id"] == "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
    assert "namespace" not in document


@pytest.mark.parametrize(
    "header",
    [
        None,
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=?",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8",
        "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1",
    ],
)
def test_nothing_is_sent_for_a_trace_that_is_absent_unsampled_or_without_a_parent(encoder, header):
    """Spans outside a sampled trace are paid for and shown nowhere."""
    owner = invocation(trace=parse(header))
    call(owner)
    assert encoder.datagrams(owner, results(owner), {}) == []


def test_times_have_microseconds_and_children_lie_within_their_parent(encoder):
    """The monotonic clock places the calls: a wall clock that is set meanwhile does not tear the picture."""
    owner = invocation()
    made = call(owner, at_ms=2, ms=5)
    made.epoch_ns += 10**12
    (document,) = documents_of(encoder, owner)
    node = document["subsegments"][0]
    assert document["start_time"] == 1795397120.187654
    assert document["end_time"] == 1795397120.212654
    assert (node["start_time"], node["end_time"]) == (1795397120.189654, 1795397120.194654)


def test_an_aws_call_names_its_operation_and_resource(encoder):
    """X-Ray draws the table or the queue from these members."""
    owner = invocation()
    call(
        owner, retries=2,
        attributes={
            "cloud.region": "eu-west-1", "aws.request_id": "R1", "aws.dynamodb.table_names": ["orders"],
            "aws.sqs.queue.url": "https://q",
        },
    )  # fmt: skip
    node = only_call(encoder, owner)
    assert node["namespace"] == "aws"
    assert node["aws"] == {
        "operation": "PutItem", "region": "eu-west-1", "request_id": "R1", "table_name": "orders",
        "queue_url": "https://q", "retries": 2,
    }  # fmt: skip
    assert node["http"] == {"response": {"status": 200}}


def test_an_http_call_names_its_method_and_status(encoder):
    """The service map shows the remote host by its name."""
    owner = invocation()
    call(
        owner,
        "api.stripe.com",
        "POST",
        kind=HTTP,
        http_status=201,
        attributes={"url.full": "https://api.stripe.com/v1"},
    )
    node = only_call(encoder, owner)
    assert (node["name"], node["namespace"]) == ("api.stripe.com", "remote")
    assert node["http"] == {
        "request": {"method": "POST", "url": "https://api.stripe.com/v1"},
        "response": {"status": 201},
    }
    assert "aws" not in node


@pytest.mark.parametrize("http_status", [0, 200])
def test_a_call_by_hand_is_remote(encoder, http_status):
    """It is named as the user named it, with or without an HTTP status."""
    owner = invocation()
    call(owner, "pricing", "quote", kind=USER, http_status=http_status)
    node = only_call(encoder, owner)
    assert (node["name"], node["namespace"]) == ("pricing", "remote")
    assert node["metadata"]["coldspan"]["operation"] == "quote"


def test_a_call_carries_its_whole_record(encoder):
    """What EMF tells of a call, the trace tells too."""
    owner = invocation()
    call(owner, items=3, items_failed=1, payload={"a": 1})
    emf = EmfEncoder("coldspan", "orders")
    line = emf.invocation_lines(owner, results(owner), {})[0]
    (document,) = [validate_segment(one) for one in encoder.datagrams(owner, results(owner), {}, emf.texts)]
    assert document["subsegments"][0]["metadata"]["coldspan"] == json.loads(line)["calls"][0]
    assert only_call(encoder, owner) == document["subsegments"][0]


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({}, set()),
        ({"items": 3, "items_failed": 1}, {"error"}),
        ({"http_status": 409}, {"error"}),
        ({"http_status": 403}, {"error"}),
        ({"http_status": 429}, {"error", "throttle"}),
        ({"http_status": 500}, {"fault"}),
        ({"http_status": 504}, {"fault"}),
        ({"http_status": 0, "cause": "timeout", "error_type": "ReadTimeout"}, {"fault"}),
        ({"http_status": 0, "cause": "connection", "error_type": "ConnectionError"}, {"fault"}),
        ({"http_status": 0, "cause": "cancelled", "error_type": "CancelledError"}, set()),
    ],
)
def test_flags_follow_the_status(encoder, fields, flags):
    """Red, yellow and purple on the map mean what X-Ray says they mean."""
    owner = invocation()
    call(owner, "api.stripe.com", "POST", kind=HTTP, **fields)
    node = only_call(encoder, owner)
    assert {flag for flag in ("error", "throttle", "fault") if node.get(flag)} == flags
    assert ("cause" in node) is bool(flags)


def test_a_failed_call_says_why(encoder):
    """The exception's type and text, with an id that no other exception in the trace has."""
    owner = invocation()
    call(
        owner, http_status=400, error_type="ValidationException", error_text="One or more parameter values were invalid"
    )
    call(owner, http_status=500)
    (document,) = documents_of(encoder, owner)
    first, second = [node["cause"]["exceptions"][0] for node in document["subsegments"]]
    assert (first["type"], first["message"]) == ("ValidationException", "One or more parameter values were invalid")
    assert first["remote"] is True
    assert first["id"] != second["id"]


def test_a_call_cut_short_by_a_kill_is_in_progress(encoder):
    """It has no end; X-Ray shows it as pending."""
    owner = invocation(outcome="timeout")
    made = call(owner)
    made.end_ns = 0
    node = only_call(encoder, owner)
    assert node["in_progress"] is True
    assert "end_time" not in node


def test_a_failed_invocation_is_a_fault_with_its_masked_cause_promise_6(encoder):
    """Promise 6: a secret in an exception's text does not reach the trace."""
    owner = invocation(outcome="error", error_type="ValueError", error_text="password=hunter2 refused")
    (document,) = documents_of(encoder, owner)
    assert document["fault"] is True
    exception = document["cause"]["exceptions"][0]
    assert exception["type"] == "ValueError"
    assert "refused" in exception["message"]
    assert "hunter2" not in exception["message"]


def test_calls_within_calls_are_nested_as_they_ran(encoder):
    """A tree, not a list: a credential call below the call that needed it."""
    owner = invocation()
    outer = call(owner, "pricing", "quote", kind=USER, ms=10)
    middle = call(owner, parent=outer, at_ms=2, ms=5)
    call(owner, "sts", "AssumeRole", parent=middle, at_ms=3, ms=2)
    call(owner, "sqs", "SendMessage", at_ms=12)
    documents = documents_of(encoder, owner)
    assert len(documents) == 1
    assert tree(documents) == {"1234567890abcdef": "53995c3f42cd8ad8", **ids(owner)}


def test_a_call_whose_parent_is_not_told_hangs_below_the_invocation(encoder):
    """The parent is still open: its child must not be lost with it."""
    owner = invocation()
    parent = call(owner)
    call(owner, parent=parent)
    owner.calls.remove(parent)
    (document,) = documents_of(encoder, owner)
    assert [node["id"] for node in document["subsegments"]] == ["aaaa000000000002"]


def test_calls_whose_parents_form_a_circle_are_all_told(encoder):
    """It cannot happen; were it to, it must neither hang nor lose a call."""
    owner = invocation()
    first = call(owner)
    second = call(owner, parent=first)
    first.parent = second
    call(owner).parent = owner.calls[-1]
    assert set(tree(documents_of(encoder, owner))) == {"1234567890abcdef", *ids(owner)}


def test_many_calls_are_split_and_keep_their_parents(encoder):
    """What does not fit into a datagram goes as a document of its own, below the right span."""
    owner = invocation()
    for number in range(300):
        outer = call(owner, at_ms=number, attributes={"note": "n" * 300})
        call(owner, "sts", "AssumeRole", parent=outer, at_ms=number, ms=1)
    documents = documents_of(encoder, owner)
    assert len(documents) > 3
    assert tree(documents) == {"1234567890abcdef": "53995c3f42cd8ad8", **ids(owner)}
    assert encoder.drops == {}


def test_calls_nested_deeper_than_a_reader_follows_are_split(encoder):
    """A thousand calls within one another are no reason to recurse a thousand times."""
    owner = invocation()
    parent = None
    for _ in range(500):
        parent = call(owner, parent=parent)
    documents = documents_of(encoder, owner)
    assert len(documents) > 10
    assert tree(documents) == {"1234567890abcdef": "53995c3f42cd8ad8", **ids(owner)}


def test_a_call_that_fits_no_datagram_is_trimmed_and_counted_promise_4(encoder):
    """Promise 4: its payload stays behind, the call does not; the loss is counted."""
    owner = invocation()
    call(owner, payload="p" * 100_000)
    call(owner)
    documents = documents_of(encoder, owner)
    assert tree(documents) == {"1234567890abcdef": "53995c3f42cd8ad8", **ids(owner)}
    assert encoder.drops == {"documents_trimmed": 1}


def test_annotations_of_the_user_are_indexed_as_far_as_x_ray_indexes_promise_4(encoder):
    """Promise 4: 50 annotations a trace, keys that filters can name, long text cut; what is refused is counted."""
    annotations = {
        "basket size": 3,
        "note": "n" * 300,
        "list": [1, 2],
        "ok": True,
        "": 1,
        "größe": 1.5,
        "start": "x",
        7: 1,
    }
    annotations |= {f"a{number}": number for number in range(60)}
    (document,) = documents_of(encoder, invocation(annotations=annotations, tenant_id="blue"))
    told = document["annotations"]
    assert len(told) == 50
    assert (told["basket_size"], told["ok"], told["gr__e"], told["list"], told["tenant_id"]) == (
        3,
        True,
        1.5,
        "[1,2]",
        "blue",
    )
    assert told["note"] == "n" * 250
    assert told["start"] == "warm"
    assert encoder.drops == {"annotations_refused": 60 + 8 + 5 - 50}


def test_init_calls_are_told_beside_the_first_invocation(encoder):
    """Clients and secrets made during init are in the cold start's trace."""
    outside = Invocation("init", "", 0xBBBB000000000001, 1, EPOCH_NS - 10**9)
    call(outside, "ssm", "GetParameter", at_ms=100, ms=200)
    outer = call(outside, at_ms=400, ms=50)
    call(outside, "sts", "AssumeRole", parent=outer, at_ms=410, ms=20)
    facts = {"init_calls": results(outside)}
    first, second = documents_of(encoder, invocation(start="cold"), facts)
    assert first["annotations"]["cold_start"] is True
    assert (second["name"], second["id"], second["parent_id"]) == (
        "Initialization",
        "bbbb000000000001",
        "53995c3f42cd8ad8",
    )
    assert second["end_time"] - second["start_time"] == pytest.approx(0.35, abs=0.002)
    assert tree([second]) == {"bbbb000000000001": "53995c3f42cd8ad8", **ids(outside)}
    facts |= {"init_epoch_ms": NOW_MS - 2_000, "init_ms": 1_500.5}
    _, second = documents_of(encoder, invocation(start="cold"), facts)
    assert (second["start_time"], second["end_time"]) == (pytest.approx(1795397118.187), pytest.approx(1795397119.6875))
    assert len(documents_of(encoder, invocation(start="provisioned"), facts)) == 1


def test_late_calls_hang_below_their_own_invocation(encoder):
    """A call that ended after its invocation had been told goes into that one's trace."""
    owner = invocation()
    late = call(owner, late=True)
    unsampled = invocation(trace=None)
    other = call(unsampled, late=True)
    datagrams = encoder.stray_datagrams([late, other], [*results(owner), *results(unsampled)])
    (document,) = [validate_segment(datagram) for datagram in datagrams]
    assert (document["id"], document["parent_id"]) == ("aaaa000000000001", "1234567890abcdef")


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("*.example.com", "_.example.com"), ("größe 한국", "größe 한국"), ("a\nb\t<c>", "a_b__c_"),
        ("", "unknown"), ("  ", "unknown"),
        ("n" * 300, "n" * 200), ("\ud800", "_"), ("a_b.c:d/e%f&g#h=i+j\\k-l@m", "a_b.c:d/e%f&g#h=i+j\\k-l@m"),
    ],
)  # fmt: skip
def test_names_keep_to_the_characters_of_x_ray(name, clean):
    """A segment with another character in its name is refused."""
    assert clean_name(name) == clean


def test_annotation_keys_can_be_named_in_a_filter():
    """Only letters, digits and underscore can."""
    assert annotation_key("a-b c.ä") == "a_b_c__"


def test_half_surrogates_and_hostile_values_leave_legal_documents(encoder):
    """What CloudWatch refuses in a line, X-Ray refuses in a document."""
    owner = invocation(request_id="\ud800", annotations={"a": "\udfff", "b": float("nan"), "c": 10**400})
    call(
        owner,
        "\ud800",
        "\udc00",
        error_type="\ud800",
        http_status=500,
        attributes={"x": float("inf"), "aws.request_id": "\ud83d"},
    )
    documents = documents_of(encoder, owner)
    assert len(tree(documents)) == 2
    assert encoder.drops["values_unencodable"] > 0
