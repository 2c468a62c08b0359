"""The record that a call becomes."""

import pytest

from coldspan.core import trace
from coldspan.core.record import AWS, CONNECT, ERROR, HTTP, PARSE, PHASES, USER, WAIT, Call, CallToolResult, Invocation
from coldspan.core.result import to_result

HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.fixture
def invocation():
    found = Invocation("invocation", "3da1f2dc-222b-475e-9205-e2e6c6318895", 0xAB, 0, 0)
    found.trace = trace.parse(HEADER)
    return found


def ended(owner, kind=AWS, tool="dynamodb", operation="PutItem", parent=None, **facts):
    """A call of 12.3456789 ms that began at a known time."""
    call = Call(owner, parent or owner, kind, tool, operation, 0xC0FFEE, 1_795_397_120_187_654_321)
    call.start_ns, call.end_ns = 1_000, 1_000 + 12_345_678
    for name, value in facts.items():
        setattr(call, name, value)
    return call


def test_record_of_a_call_that_ended_well_has_every_field(invocation):
    """No slot of the record is ever left unset, which would break the drain."""
    call = ended(invocation, http_status=200, attributes={"aws.request_id": "r"}, items=3, items_failed=0)
    result = to_result(call)
    assert {name: getattr(result, name) for name in CallToolResult.__slots__} == {
        "attempts": 1,
        "attributes": {"aws.request_id": "r", "http.response.status_code": 200, "rpc.method": "PutItem"},
        "duration_ms": 12.346,
        "items": 3,
        "items_failed": 0,
        "kind": "aws",
        "late": False,
        "message": "",
        "operation": "PutItem",
        "parent_id": "00000000000000ab",
        "payload": None,
        "phases": {},
        "request_id": "3da1f2dc-222b-475e-9205-e2e6c6318895",
        "span_id": "0000000000c0ffee",
        "status": "ok",
        "throttles": 0,
        "timestamp": 1_795_397_120_187,
        "tool": "dynamodb",
        "trace_id": "5759e988bd862e3fe1be46a994272793",
    }
    assert result.success


def test_record_shares_nothing_with_the_call(invocation):
    """What is written into a record later does not change the call."""
    call = ended(invocation, attributes={"a": "b"})
    to_result(call).attributes["c"] = "d"
    assert call.attributes == {"a": "b"}


def test_parent_is_the_enclosing_call_when_there_is_one(invocation):
    """A call inside a call is its child in the trace."""
    outer = ended(invocation)
    outer.span_id = 0xFF
    assert to_result(ended(invocation, parent=outer)).parent_id == "00000000000000ff"


def test_call_without_trace_has_no_trace_id(invocation):
    """A call during init belongs to no trace, and none is made up."""
    invocation.trace = None
    assert to_result(ended(invocation)).trace_id == ""


def test_attempts_count_the_first_one_and_the_retries(invocation):
    """Three retries are four attempts, of one call."""
    result = to_result(ended(invocation, retries=3, throttles=2))
    assert (result.attempts, result.throttles) == (4, 2)


def test_phases_that_are_not_known_are_left_out(invocation):
    """A phase of 0 ms was not seen, it did not take no time."""
    phases = [0] * len(PHASES)
    phases[CONNECT], phases[WAIT], phases[PARSE] = 1_500_000, 2_000_400, 1
    assert to_result(ended(invocation, phases=phases)).phases == {"connect": 1.5, "wait": 2.0, "parse": 0.0}


@pytest.mark.parametrize(
    ("facts", "error_type", "message"),
    [
        (
            {"cause": ERROR, "error_type": "AccessDenied", "error_text": "no", "http_status": 403},
            "AccessDenied",
            "AccessDenied: no",
        ),
        ({"cause": ERROR, "error_type": "Unhandled", "http_status": 200}, "Unhandled", "Unhandled"),
        ({"kind": HTTP, "operation": "GET", "http_status": 503}, "503", "HTTP 503"),
        ({"kind": HTTP, "operation": "GET", "http_status": 404}, "404", "HTTP 404"),
        ({"items": 5, "items_failed": 2, "http_status": 200}, "partial", "2 of 5 items failed"),
        ({"items_failed": 2, "error_type": "Failed", "http_status": 200}, "Failed", "Failed: 2 of ? items failed"),
        ({"kind": USER, "cause": ERROR, "error_type": "ValueError", "error_text": ""}, "ValueError", "ValueError"),
    ],
)
def test_failed_call_says_what_and_why(invocation, facts, error_type, message):
    """The message is `ErrorType: text`, and never empty when the call failed."""
    result = to_result(ended(invocation, **facts))
    assert not result.success
    assert (result.attributes["error.type"], result.message) == (error_type, message)


def test_error_text_switched_off_leaves_the_type_only_promise_6(invocation):
    """COLDSPAN_ERROR_TEXT=off keeps every text of an error inside the function."""
    call = ended(invocation, cause=ERROR, error_type="ValueError", error_text="password is hunter2")
    assert to_result(call, error_text=False).message == "ValueError"


def test_message_is_masked_and_bounded_promise_6(invocation):
    """An error's text leaves masked and with at most 256 characters."""
    text = "mail jane.doe@example.com failed " + "x " * 900
    message = to_result(ended(invocation, cause=ERROR, error_type="ValueError", error_text=text)).message
    assert message.startswith("ValueError: mail ")
    assert "jane.doe@example.com" not in message
    assert len(message) <= 256


def test_open_call_has_no_duration_of_its_own(invocation):
    """Whoever knows when the invocation was killed fills it in."""
    result = to_result(ended(invocation, end_ns=0))
    assert (result.status, result.duration_ms, result.message) == ("in_flight", 0.0, "")
