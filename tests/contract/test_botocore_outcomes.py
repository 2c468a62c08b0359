"""Every service an ordinary function uses, by a real client: one call, one record, and how it really ended."""

import pytest
from botocore.exceptions import EventStreamError

from coldspan.core.record import CONNECTION, ERROR, TIMEOUT
from coldspan.core.result import to_result
from support.aws_services import (
    SERVICES,
    AwsServer,
    close_clients,
    error,
    event,
    event_stream,
    exception,
    fine,
    hooked,
    make_client,
    without_waiting,
)
from support.http_server import answer, full_backlog, refused_port, reset, silent

MODES = ("legacy", "standard", "adaptive")


pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # dropped streams


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Retries without their pauses, and no connection left open."""
    without_waiting(monkeypatch)
    yield
    close_clients()


@pytest.fixture(scope="module")
def server():
    with AwsServer() as running:
        yield running


@pytest.fixture
def live(scope, fake_clock):
    """A live invocation with the hook in place, on a clock that moves by 1 µs at each look."""
    fake_clock.tick_ns = 1000
    with hooked(scope) as invocation:
        yield invocation
        assert scope.position() is invocation, "a call was left as the position"
        assert invocation.open == {}, "a call was left open"


@pytest.fixture(params=sorted(SERVICES))
def name(request):
    """The name of a service, as boto3 has it."""
    return request.param


def run(client, method, params):
    """Make the call; give the error it raised, or None."""
    try:
        getattr(client, method)(**params)
    except Exception as raised:
        return raised
    return None


def only(live):
    """The record of the one call there was, and its status, cause and attributes."""
    (call,) = live.calls
    return call, to_result(call)


def test_success_is_ok(name, server, live):
    """A call that did what it was asked says so, under its boto3 name."""
    server.play(fine(name))
    client = make_client(name, server)
    assert run(client, SERVICES[name].method, SERVICES[name].params) is None
    call, result = only(live)
    assert (result.tool, result.operation) == (name, client.meta.method_to_api_mapping[SERVICES[name].method])
    assert (result.status, result.attempts, result.throttles, result.message) == ("ok", 1, 0, "")
    assert result.attributes["http.response.status_code"] == 200
    assert result.attributes["aws.request_id"] == "id-of-the-answer"
    assert result.attributes["cloud.region"] == "eu-west-1"
    assert result.phases["serialize"] > 0
    assert result.phases["parse"] > 0
    assert call.items_failed in {None, 0}


def test_partial_failure_inside_a_200_is_told_with_its_counts(name, server, live):
    """A 200 that hides a failure is not ok: items and items_failed are exact."""
    partial = SERVICES[name].partial
    body = partial.body
    if name == "bedrock-runtime":
        start = event("messageStart", {"role": "assistant"})
        body = event_stream(start, exception("modelStreamErrorException", "the model broke"))
    server.play(answer(body=body, **(partial.headers or {})))
    client = make_client(name, server)
    if name == "bedrock-runtime":
        with pytest.raises(EventStreamError, match="the model broke"):
            list(client.converse_stream(**partial.params)["stream"])
    else:
        answered = getattr(client, partial.method)(**partial.params)
        del answered  # Lambda's carries a stream: dropped unread, it ends the call
    call, result = only(live)
    assert (result.status, call.items, call.items_failed) == (partial.status, partial.items, partial.items_failed)
    assert result.attributes["error.type"] == partial.error_type
    assert result.attributes["http.response.status_code"] == 200


@pytest.mark.parametrize("mode", MODES)
def test_throttling_that_a_retry_healed_is_ok_and_counted(name, server, live, mode):
    """A call that was slow because it was throttled twice says so, although it succeeded."""
    throttled = error(name, *SERVICES[name].throttling)
    server.play(throttled, throttled, fine(name))
    client = make_client(name, server, retries={"mode": mode, "total_max_attempts": 3})
    assert run(client, SERVICES[name].method, SERVICES[name].params) is None
    _, result = only(live)
    assert (result.status, result.attempts, result.throttles) == ("ok", 3, 2)


@pytest.mark.parametrize("mode", MODES)
def test_throttling_that_no_retry_healed_is_throttled(name, server, live, mode):
    """What ended throttled says how often, and each attempt is counted."""
    status, code = SERVICES[name].throttling
    server.play(error(name, status, code))
    client = make_client(name, server, retries={"mode": mode, "total_max_attempts": 3})
    assert run(client, SERVICES[name].method, SERVICES[name].params) is not None
    _, result = only(live)
    assert (result.status, result.attempts, result.throttles) == ("throttled", 3, 3)
    assert result.attributes["error.type"] == code
    assert result.attributes["http.response.status_code"] == status


def test_condition_that_did_not_hold_is_rejected(name, server, live):
    """An answer the caller asked for is not a failure: a failed condition, or a look-up of what is not there."""
    method, params, status, code, wanted = SERVICES[name].condition
    server.play(error(name, status, code))
    assert run(make_client(name, server), method, params) is not None
    _, result = only(live)
    assert (result.status, result.attempts) == (wanted, 1)


def test_access_denied_is_error_with_its_code(name, server, live):
    """The commonest fault in Lambda is told by its own name."""
    server.play(error(name, 403, SERVICES[name].denied))
    assert run(make_client(name, server), SERVICES[name].method, SERVICES[name].params) is not None
    _, result = only(live)
    assert (result.status, result.attempts, result.throttles) == ("error", 1, 0)
    assert result.message == f"{SERVICES[name].denied}: the text of the error"
    assert result.attributes["aws.request_id"] == "id-of-the-answer"


@pytest.mark.parametrize("status", [500, 503])
def test_server_error_is_error_with_its_attempts(name, server, live, status):
    """A 5xx is retried by the SDK, and all of it is one call."""
    server.play(error(name, status, "InternalFailure"))
    assert run(make_client(name, server), SERVICES[name].method, SERVICES[name].params) is not None
    _, result = only(live)
    assert (result.status, result.attempts, result.throttles) == ("error", 3, 0)
    assert result.attributes["http.response.status_code"] == status


def test_read_timeout_is_timeout(name, server, live):
    """A service that does not answer in time is told apart from one that answers with an error."""
    server.play(silent)
    retries = {"mode": "standard", "total_max_attempts": 2}
    client = make_client(name, server, read_timeout=0.05, retries=retries)
    assert run(client, SERVICES[name].method, SERVICES[name].params) is not None
    call, result = only(live)
    assert (result.status, result.attempts, call.cause) == ("timeout", 2, TIMEOUT)
    assert result.attributes["error.type"] == "ReadTimeoutError"
    assert "http.response.status_code" not in result.attributes


def test_connect_timeout_is_timeout(name, live):
    """A host that does not take the connection is a timeout, not an error."""
    with full_backlog() as port:
        retries = {"mode": "standard", "total_max_attempts": 1}
        client = make_client(name, f"http://127.0.0.1:{port}", connect_timeout=0.05, retries=retries)
        assert run(client, SERVICES[name].method, SERVICES[name].params) is not None
    call, result = only(live)
    assert (result.status, result.attempts, call.cause) == ("timeout", 1, TIMEOUT)
    assert result.attributes["error.type"] == "ConnectTimeoutError"


def test_connection_reset_is_error(name, server, live):
    """A connection that breaks is an error of the connection."""
    server.play(reset)
    assert run(make_client(name, server), SERVICES[name].method, SERVICES[name].params) is not None
    call, result = only(live)
    assert (result.status, result.attempts, call.cause) == ("error", 3, CONNECTION)
    assert result.attributes["error.type"] == "ConnectionClosedError"


def test_connection_refused_after_an_answer_has_no_http_status(server, live):
    """The status of an earlier attempt is not told as that of the last one."""
    server.play(error("dynamodb", 500, "InternalServerError"), reset, reset)
    assert run(make_client("dynamodb", server), "put_item", SERVICES["dynamodb"].params) is not None
    _, result = only(live)
    assert result.attempts == 3
    assert "http.response.status_code" not in result.attributes


def test_endpoint_that_is_not_there_is_error(live):
    """A refused connection is an error of the connection."""
    with refused_port() as port:
        client = make_client("dynamodb", f"http://127.0.0.1:{port}")
        assert run(client, "put_item", SERVICES["dynamodb"].params) is not None
    call, result = only(live)
    assert (result.status, call.cause, call.error_type) == ("error", CONNECTION, "EndpointConnectionError")


def test_parameters_that_are_wrong_are_an_error_before_sending(server, live):
    """A call that never left the process is a failed call all the same."""
    assert run(make_client("dynamodb", server), "put_item", {"TableName": "t"}) is not None
    call, result = only(live)
    assert (result.status, call.cause, call.error_type) == ("error", ERROR, "ParamValidationError")
    assert "http.response.status_code" not in result.attributes


def test_missing_credentials_are_an_error(server, live, monkeypatch):
    """A function without a role learns why its calls fail."""
    client = make_client("dynamodb", server)
    client._request_signer._credentials = None
    assert run(client, "put_item", SERVICES["dynamodb"].params) is not None
    call, _ = only(live)
    assert (call.cause, call.error_type) == (ERROR, "NoCredentialsError")


@pytest.mark.parametrize(
    ("codes", "status", "failed"),
    [
        (("None", "ConditionalCheckFailed"), "rejected", 1),
        (("ThrottlingError", "ThrottlingError"), "throttled", 2),
        (("None", "TransactionConflict"), "error", 1),
    ],
)
def test_cancelled_transaction_has_its_reason_and_counts(server, live, codes, status, failed):
    """A transaction says which of its items was in the way."""
    reasons = [{"Code": code, "Message": "m"} for code in codes]
    server.play(error("dynamodb", 400, "TransactionCanceledException", CancellationReasons=reasons))
    put = {"Put": {"TableName": "t", "Item": {"id": {"S": "1"}}}}
    client = make_client("dynamodb", server)
    assert run(client, "transact_write_items", {"TransactItems": [put, put]}) is not None
    call, result = only(live)
    assert (result.status, call.items, call.items_failed) == (status, 2, failed)


def test_errors_told_by_a_stub_count_as_one_attempt(live, server):
    """A stubbed client, which makes no attempts, is recorded all the same."""
    from botocore.stub import Stubber

    client = make_client("dynamodb", server)
    with Stubber(client) as stub:
        stub.add_client_error("put_item", "ThrottlingException", http_status_code=400)
        assert run(client, "put_item", SERVICES["dynamodb"].params) is not None
    _, result = only(live)
    assert (result.status, result.attempts, result.throttles) == ("throttled", 1, 1)
