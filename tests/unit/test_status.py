"""How a call really ended, from every kind of fact that can be known of it."""

import botocore.retries.standard
import pytest

from coldspan.core.record import AWS, CANCELLED, CONNECTION, ERROR, HTTP, TIMEOUT, USER, Call
from coldspan.core.status import CANCELLATION, THROTTLING, is_throttling, status_of


def ended(kind=AWS, operation="PutItem", **facts):
    """A call that has ended, with these facts."""
    call = Call(None, None, kind, "tool", operation, 1, 0)
    call.start_ns, call.end_ns = 1, 2
    for name, value in facts.items():
        setattr(call, name, value)
    return call


AWS_ENDINGS = [
    ("PutItem", {"http_status": 200}, "ok"),
    ("PutItem", {"http_status": 200, "items": 2, "items_failed": 0}, "ok"),
    ("BatchWriteItem", {"http_status": 200, "items": 2, "items_failed": 1}, "partial"),
    ("BatchWriteItem", {"http_status": 200, "items": 2, "items_failed": 2, "error_type": "SlowDown"}, "partial"),
    ("Invoke", {"http_status": 200, "cause": ERROR, "error_type": "Unhandled"}, "error"),
    ("StartSyncExecution", {"http_status": 200, "cause": TIMEOUT, "error_type": "TIMED_OUT"}, "timeout"),
    ("PutItem", {"http_status": 400, "error_type": "ConditionalCheckFailedException"}, "rejected"),
    ("PutObject", {"http_status": 412, "error_type": "PreconditionFailed"}, "rejected"),
    ("PutObject", {"http_status": 409, "error_type": "ConditionalRequestConflict"}, "rejected"),
    ("HeadObject", {"http_status": 304, "error_type": "304"}, "rejected"),
    ("GetItem", {"http_status": 400, "error_type": "ResourceNotFoundException"}, "rejected"),
    ("PutItem", {"http_status": 400, "error_type": "ResourceNotFoundException"}, "error"),
    ("GetObject", {"http_status": 404, "error_type": "NoSuchKey"}, "rejected"),
    ("PutObject", {"http_status": 404, "error_type": "NoSuchBucket"}, "error"),
    ("HeadObject", {"http_status": 404, "error_type": "404"}, "rejected"),
    ("GetParameter", {"http_status": 400, "error_type": "ParameterNotFound"}, "rejected"),
    ("SendMessage", {"http_status": 400, "error_type": "AWS.SimpleQueueService.NonExistentQueue"}, "error"),
    ("PutItem", {"http_status": 400, "error_type": "ProvisionedThroughputExceededException"}, "throttled"),
    ("PutObject", {"http_status": 503, "error_type": "SlowDown"}, "throttled"),
    ("Invoke", {"http_status": 429, "error_type": "TooManyRequestsException"}, "throttled"),
    ("Invoke", {"http_status": 429, "error_type": "SomethingNew"}, "throttled"),
    ("ConverseStream", {"http_status": 200, "error_type": "throttlingException"}, "throttled"),
    ("ConverseStream", {"http_status": 200, "error_type": "modelTimeoutException"}, "timeout"),
    ("ConverseStream", {"http_status": 200, "error_type": "internalServerException"}, "error"),
    ("PutItem", {"http_status": 400, "error_type": "AccessDeniedException"}, "error"),
    ("GetObject", {"http_status": 403, "error_type": "AccessDenied"}, "error"),
    ("PutItem", {"http_status": 400, "error_type": "ValidationException"}, "error"),
    ("PutItem", {"http_status": 500, "error_type": "InternalServerError"}, "error"),
    ("PutItem", {"http_status": 504, "error_type": "SomethingNew"}, "timeout"),
    ("PutObject", {"http_status": 400, "error_type": "RequestTimeout"}, "timeout"),
    ("PutItem", {"cause": TIMEOUT, "error_type": "ReadTimeoutError"}, "timeout"),
    ("PutItem", {"cause": CONNECTION, "error_type": "EndpointConnectionError"}, "error"),
    ("GetObject", {"http_status": 200, "cause": CONNECTION, "error_type": "IncompleteReadError"}, "error"),
    ("GetItem", {"cause": ERROR, "error_type": "ParamValidationError"}, "error"),
    ("GetItem", {"cause": CANCELLED, "error_type": "CancelledError"}, "cancelled"),
]


@pytest.mark.parametrize(("operation", "facts", "wanted"), AWS_ENDINGS)
def test_aws_call_has_the_status_that_its_code_and_answer_say(operation, facts, wanted):
    """An AWS error code decides before the HTTP status does, and a 200 does not mean ok."""
    if "error_type" in facts and "items_failed" not in facts:
        facts = {"cause": ERROR, **facts}
    assert status_of(ended(operation=operation, **facts)) == wanted


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        ("ConditionalCheckFailed", "rejected"),
        ("ThrottlingError", "throttled"),
        ("ProvisionedThroughputExceeded", "throttled"),
        ("TransactionConflict", "error"),
        (None, "error"),
    ],
)
def test_cancelled_transaction_has_the_status_of_its_first_reason(reason, wanted):
    """A condition that did not hold is rejected, in a transaction too."""
    facts = {"cause": ERROR, "error_type": "TransactionCanceledException", "http_status": 400}
    attributes = {CANCELLATION: reason} if reason else None
    assert status_of(ended(operation="TransactWriteItems", attributes=attributes, **facts)) == wanted


HTTP_ENDINGS = [
    ("GET", {"http_status": 200}, "ok"),
    ("GET", {"http_status": 302}, "ok"),
    ("GET", {"http_status": 304}, "ok"),
    ("POST", {"http_status": 400}, "error"),
    ("POST", {"http_status": 401}, "error"),
    ("GET", {"http_status": 403}, "error"),
    ("GET", {"http_status": 404}, "rejected"),
    ("HEAD", {"http_status": 404}, "rejected"),
    ("POST", {"http_status": 404}, "error"),
    ("DELETE", {"http_status": 404}, "error"),
    ("GET", {"http_status": 408}, "timeout"),
    ("PUT", {"http_status": 409}, "rejected"),
    ("GET", {"http_status": 410}, "error"),
    ("PUT", {"http_status": 412}, "rejected"),
    ("GET", {"http_status": 429}, "throttled"),
    ("GET", {"http_status": 500}, "error"),
    ("GET", {"http_status": 503}, "error"),
    ("GET", {"http_status": 504}, "timeout"),
    ("GET", {"http_status": 429, "cause": ERROR, "error_type": "HTTPError"}, "throttled"),
    ("GET", {"http_status": 200, "cause": CONNECTION, "error_type": "IncompleteRead"}, "error"),
    ("GET", {"cause": TIMEOUT, "error_type": "ConnectTimeout"}, "timeout"),
    ("GET", {"cause": CANCELLED, "error_type": "CancelledError"}, "cancelled"),
    ("GET", {"cause": CONNECTION, "error_type": "gaierror"}, "error"),
]


@pytest.mark.parametrize(("method", "facts", "wanted"), HTTP_ENDINGS)
def test_http_call_has_the_status_that_its_code_and_cause_say(method, facts, wanted):
    """A 404 is an answer to GET and HEAD, and a fault to anything else."""
    assert status_of(ended(HTTP, method, **facts)) == wanted


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        ({}, "ok"),
        ({"cause": ERROR, "error_type": "ValueError"}, "error"),
        ({"cause": TIMEOUT, "error_type": "TimeoutError"}, "timeout"),
        ({"cause": CANCELLED, "error_type": "CancelledError"}, "cancelled"),
        ({"cause": ERROR, "error_type": "tool_error"}, "error"),
        ({"cause": ERROR, "error_type": "ThrottlingException"}, "error"),
    ],
)
def test_call_by_hand_has_the_status_of_its_exception(facts, wanted):
    """What a customer's own exception is called is not taken for an AWS code."""
    assert status_of(ended(USER, "quote", **facts)) == wanted


@pytest.mark.parametrize("facts", [{}, {"http_status": 500}, {"cause": TIMEOUT}])
def test_call_that_has_not_ended_is_in_flight(facts):
    """Only a killed invocation leaves such a record, and it must not say ok."""
    assert status_of(ended(end_ns=0, **facts)) == "in_flight"


def test_throttling_codes_are_those_of_the_installed_botocore():
    """A code that botocore learns to retry as throttling is counted as throttling here."""
    known = botocore.retries.standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES
    assert set(known) <= THROTTLING
    assert all(is_throttling(code[0].lower() + code[1:]) for code in known)
