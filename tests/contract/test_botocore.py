"""What a customer sees of botocore is the same with and without the hook; streams, nesting, pages and trace headers."""

import contextlib
import gc
import traceback
from types import SimpleNamespace

import boto3
import botocore.client
import botocore.exceptions
import pytest
from botocore.exceptions import IncompleteReadError, ResponseStreamingError
from botocore.response import StreamingBody

from coldspan.core.record import CONNECTION, ERROR, TIMEOUT, Invocation
from coldspan.core.result import to_result
from coldspan.hot import botocore as botocore_hook
from coldspan.hot.patch import restore
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
from support.http_clients import hooked as http_hooked
from support.http_server import answer, chunked, refused_port, reset, silent, stalled, truncated

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # dropped streams


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Retries without their pauses, and no connection left open."""
    without_waiting(monkeypatch)
    yield
    close_clients()


@pytest.fixture
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


def only(live):
    """The one call there was, and its record."""
    (call,) = live.calls
    return call, to_result(call)


# --- the customer's side --------------------------------------------------------------------------------------------


def test_result_is_the_very_object_botocore_made_promise_1(scope, monkeypatch):
    """The customer gets botocore's object, not a copy."""
    made = {"ResponseMetadata": {"HTTPStatusCode": 200, "RetryAttempts": 0}, "UnprocessedItems": {}}
    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", lambda self, operation_name, api_params: made)
    before = repr(made)
    with hooked(scope) as live:
        got = make_client("dynamodb", "http://127.0.0.1:1").batch_write_item(RequestItems={})
    assert got is made
    assert repr(made) == before
    assert len(live.calls) == 1


FAILURES = {
    "error code": (error("dynamodb", 400, "ConditionalCheckFailedException"), SERVICES["dynamodb"].params),
    "server error": (error("dynamodb", 500, "InternalServerError"), SERVICES["dynamodb"].params),
    "throttled": (error("dynamodb", 400, "ThrottlingException"), SERVICES["dynamodb"].params),
    "read timeout": (silent, SERVICES["dynamodb"].params),
    "reset": (reset, SERVICES["dynamodb"].params),
    "wrong parameters": (fine("dynamodb"), {"TableName": 1}),
}


@pytest.mark.parametrize("mode", ["legacy", "standard"])
@pytest.mark.parametrize("failure", FAILURES)
def test_exception_has_the_same_text_and_traceback_as_without_us_promise_1(scope, server, failure, mode):
    """No line of a stack trace, in a log or in what the runtime posts, names a file of ours."""
    script, params = FAILURES[failure]
    server.play(script)
    retries = {"mode": mode, "total_max_attempts": 2}

    def failing():
        client = make_client("dynamodb", server, read_timeout=0.05, retries=retries)
        try:
            client.put_item(**params)
        except Exception as raised:
            return "".join(traceback.format_exception(raised)), type(raised), raised.args
        return None

    without = failing()
    with hooked(scope) as live:
        observed = failing()
    assert without is not None
    assert observed == without
    assert len(live.calls) == 1


def test_answer_that_cannot_be_parsed_has_the_same_traceback_as_without_us_promise_1(scope, server):
    """A parser that fails is seen as botocore's, and the call as failed."""
    server.play(answer(body=b"<PublishResponse><broken"))

    def failing():
        try:
            make_client("sns", server).publish(**SERVICES["sns"].params)
        except Exception as raised:
            return "".join(traceback.format_exception(raised))
        return None

    without = failing()
    with hooked(scope) as live:
        assert failing() == without
    assert "ResponseParserError" in without
    assert only(live)[1].status == "error"


def test_exception_is_the_very_object_that_was_raised_promise_1(scope, monkeypatch):
    """The customer catches what botocore raised."""
    raised = KeyError("theirs")

    def failing(self, operation_name, api_params):
        raise raised

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", failing)
    with hooked(scope), pytest.raises(KeyError) as caught:
        make_client("dynamodb", "http://127.0.0.1:1").put_item()
    assert caught.value is raised


@pytest.mark.expects_errors("begin")
def test_fault_of_ours_costs_one_count_and_not_the_call_promise_2(scope, server, monkeypatch):
    """A recorder that breaks leaves the call alone."""
    server.play(fine("dynamodb"))
    with hooked(scope) as live:
        monkeypatch.setattr(type(scope), "begin", lambda *_: 1 / 0)
        make_client("dynamodb", server).put_item(**SERVICES["dynamodb"].params)
    assert live.calls == []
    assert scope.buffer.errors == {"begin": 1}


@pytest.mark.expects_errors("succeed")
def test_fault_while_reading_the_answer_ends_the_call_promise_2(scope, server, monkeypatch):
    """A call never stays open because an answer could not be read."""
    server.play(fine("dynamodb"))
    with hooked(scope) as live:
        monkeypatch.setattr("coldspan.core.outcomes.read_outcome", lambda *_: 1 / 0)
        make_client("dynamodb", server).batch_write_item(**SERVICES["dynamodb"].partial.params)
    assert len(live.calls) == 1
    assert live.open == {}


class Unreadable(Exception):
    """Its text cannot be read."""

    def __str__(self):
        raise RuntimeError("no text")


class WithoutResponse(Exception):
    """What botocore's own exceptions tell cannot be read."""

    @property
    def response(self):
        raise RuntimeError("no response")


def failing_with(raised, server):
    """A client whose customer raises before anything is sent."""

    def refuse(**_):
        raise raised

    client = make_client("dynamodb", server)
    client.meta.events.register("before-send", refuse)
    return client


@pytest.mark.expects_errors("fail")
@pytest.mark.parametrize("kind", [Unreadable, WithoutResponse])
def test_exception_that_cannot_be_read_fails_its_call_promise_2(scope, server, kind):
    """A call that failed is told as one that went well, because its exception could not be read."""
    with hooked(scope) as live:
        with pytest.raises(kind):
            failing_with(kind(), server).put_item(**SERVICES["dynamodb"].params)
        assert scope.position() is live
    assert only(live)[1].status == "error"
    assert live.calls[0].error_type == kind.__name__
    assert scope.buffer.errors == {"fail": 1}


def test_text_of_an_exception_is_not_asked_for_when_it_is_off_promise_6(scope, settings, server):
    """With COLDSPAN_ERROR_TEXT=off neither the customer's `__str__` runs nor is a service's message kept."""
    settings.error_text = False
    server.play(error("dynamodb", 400, "ValidationException"))
    with hooked(scope) as live:
        with pytest.raises(Unreadable):
            failing_with(Unreadable(), server).put_item(**SERVICES["dynamodb"].params)
        with pytest.raises(botocore.exceptions.ClientError):
            make_client("dynamodb", server).put_item(**SERVICES["dynamodb"].params)
    told = [(call.error_type, call.error_text) for call in live.calls]
    assert told == [("Unreadable", ""), ("ValidationException", "")]


def test_hook_taken_away_leaves_botocore_as_it_was_promise_7(scope):
    """Off means off."""
    owners = [botocore.client.BaseClient, StreamingBody]
    before = [dict(vars(owner)) for owner in owners]
    patches = []
    botocore_hook.install(botocore.client, scope, patches)
    assert [dict(vars(owner)) for owner in owners] != before
    restore(patches)
    assert [dict(vars(owner)) for owner in owners] == before


def test_nothing_of_the_call_is_kept_after_it(live, server):
    """The customer's request and answer are freed when the customer lets go of them."""
    server.play(answer(body=b"hello"))
    client = make_client("s3", server)
    answered = client.get_object(Bucket="bucket", Key="key")
    body = answered["Body"]
    body.read()
    gc.collect()
    holders = [held for held in gc.get_referrers(body) if held is not answered]
    assert not [held for held in holders if "coldspan" in str(type(held).__module__)]
    assert len(live.calls) == 1


# --- streams --------------------------------------------------------------------------------------------------------


def get_object(server, **config):
    """Start to get an object of S3."""
    return make_client("s3", server, **config).get_object(Bucket="bucket", Key="key")["Body"]


ENDINGS = {
    "read": lambda body: body.read(),
    "read to the length": lambda body: body.read(5),
    "read to the empty end": lambda body: [body.read(3), body.read(3), body.read(3)],
    "readinto": lambda body: body.readinto(bytearray(5)),
    "chunks": lambda body: list(body.iter_chunks(2)),
    "lines": lambda body: list(body.iter_lines()),
    "iterated": list,
    "readlines": lambda body: body.readlines(),
    "closed": lambda body: body.close(),
    "with": lambda body: body.__exit__(None, None, None),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_body_that_has_come_to_its_end_ends_the_call(live, server, scope, fake_clock, ending):
    """The time a body takes to arrive belongs to the call."""
    server.play(answer(body=b"hello"))
    body = get_object(server)
    assert len(live.open) == 1
    assert scope.position() is live
    fake_clock.advance(ms=5)
    ENDINGS[ending](body)
    assert live.open == {}
    _, result = only(live)
    assert result.status == "ok"
    assert result.duration_ms >= 5


def test_body_dropped_unread_ends_the_call(live, server):
    """A body nobody reads does not leave a call open for ever."""
    server.play(answer(body=b"hello"))
    body = get_object(server)
    assert len(live.open) == 1
    del body
    assert live.open == {}
    assert only(live)[1].status == "ok"


def test_body_half_read_keeps_the_call_open(live, server):
    """The call goes on while the body is read."""
    server.play(answer(body=b"hello"))
    body = get_object(server)
    assert body.read(2) == b"he"
    assert len(live.open) == 1
    assert body.read() == b"llo"
    assert live.open == {}
    assert only(live)[1].phases["receive"] > 0


def test_empty_body_does_not_keep_the_call_open(live, server):
    """An answer without content, as of an asynchronous Invoke, has ended when it is there."""
    server.play(answer(202, b""))
    answered = make_client("lambda", server).invoke(FunctionName="f", InvocationType="Event")
    assert live.open == {}
    assert answered["Payload"].read() == b""
    assert len(live.calls) == 1


def test_body_broken_off_is_error_of_the_connection(live, server):
    """A truncated object is a failed call although it began with 200."""
    server.play(truncated(100, b"only this"))
    body = get_object(server)
    with pytest.raises((IncompleteReadError, ResponseStreamingError)) as caught:
        body.read()
    call, result = only(live)
    assert (result.status, call.cause, call.error_type) == ("error", CONNECTION, type(caught.value).__name__)
    assert result.attributes["http.response.status_code"] == 200


def test_body_that_stalls_is_timeout(live, server):
    """A read timeout in the middle of a body counts as one."""
    server.play(stalled(100, b"only this"))
    body = get_object(server, read_timeout=0.1)
    with pytest.raises(Exception, match=r"[Tt]imed? ?out"):
        body.read()
    call, result = only(live)
    assert (result.status, call.cause) == ("timeout", TIMEOUT)


def test_body_with_a_wrong_checksum_is_error(live, server):
    """The check that comes after the last byte still belongs to the call."""
    server.play(answer(body=b"hello", x_amz_checksum_crc32="AAAAAA=="))
    body = get_object(server)
    assert body.read(5) == b"hello"
    with pytest.raises(Exception, match="checksum"):
        body.read(5)
    call, _ = only(live)
    assert (call.cause, call.error_type) == (ERROR, "FlexibleChecksumError")


def test_traceback_from_a_body_is_the_same_as_without_us_promise_1(scope, server):
    """Reading a broken body shows no frame of ours."""
    server.play(truncated(100, b"only this"))

    def failing():
        try:
            list(get_object(server).iter_lines())
        except Exception as raised:
            return "".join(traceback.format_exception(raised))
        return None

    without = failing()
    with hooked(scope):
        assert failing() == without


STREAM_PARAMS = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "hello"}]}]}
EVENTS = [event("messageStart", {"role": "assistant"}), event("messageStop", {"stopReason": "end_turn"})]


def converse_stream(server, *messages):
    """Start a stream of events; give it as the customer gets it."""
    server.play(chunked(event_stream(*messages)))
    return make_client("bedrock-runtime", server).converse_stream(**STREAM_PARAMS)["stream"]


def test_event_stream_ends_the_call_with_its_last_event(live, server, scope, fake_clock):
    """The time a model takes to write belongs to the call."""
    stream = converse_stream(server, *EVENTS)
    assert len(live.open) == 1
    seen = []
    for found in stream:
        assert scope.position() is live
        fake_clock.advance(ms=10)
        seen.append(next(iter(found)))
    assert seen == ["messageStart", "messageStop"]
    call, result = only(live)
    assert result.status == "ok"
    assert result.duration_ms >= 20
    assert call.attributes["gen_ai.request.model"] == "m"


def test_event_stream_that_throttles_is_throttled(live, server):
    """An exception inside a stream that began with 200 is how the call ended."""
    stream = converse_stream(server, EVENTS[0], exception("throttlingException", "slow down please"))
    with pytest.raises(Exception, match="slow down"):
        list(stream)
    _, result = only(live)
    assert (result.status, result.message) == ("throttled", "throttlingException: slow down please")


def test_event_stream_closed_or_dropped_ends_the_call(live, server):
    """A stream that nobody reads on does not leave a call open."""
    converse_stream(server, *EVENTS).close()
    assert len(live.calls) == 1
    stream = converse_stream(server, *EVENTS)
    assert next(iter(stream)) is not None
    del stream
    gc.collect()
    assert len(live.calls) == 2
    assert live.open == {}


def test_traceback_from_an_event_stream_is_the_same_as_without_us_promise_1(scope, server):
    """Iterating over a stream that fails shows no frame of ours."""

    def failing():
        try:
            list(converse_stream(server, EVENTS[0], exception("throttlingException", "slow down")))
        except Exception as raised:
            return "".join(traceback.format_exception(raised))
        return None

    without = failing()
    with hooked(scope):
        assert failing() == without


def test_function_that_fails_while_it_streams_is_error(live, server):
    """Lambda tells of a failure in the last event of a stream."""
    data = event_stream(
        ({":message-type": "event", ":event-type": "PayloadChunk"}, b"half"),
        event("InvokeComplete", {"ErrorCode": "Runtime.ExitError", "ErrorDetails": "it died"}),
    )
    server.play(answer(body=data, content_type="application/vnd.amazon.eventstream"))
    list(make_client("lambda", server).invoke_with_response_stream(FunctionName="f")["EventStream"])
    _, result = only(live)
    assert (result.status, result.message) == ("error", "Runtime.ExitError: it died")


# --- what is a call, and whose ---------------------------------------------------------------------------------------


def test_each_page_is_a_call(live, server):
    """A paginator's calls are told one by one."""
    server.play(answer(body=b'{"Items": [], "LastEvaluatedKey": {"id": {"S": "1"}}, "Count": 0}'), fine("dynamodb"))
    pages = list(make_client("dynamodb", server).get_paginator("scan").paginate(TableName="t"))
    assert len(pages) == 2
    assert [(call.operation, to_result(call).status) for call in live.calls] == [("Scan", "ok")] * 2


def test_each_look_of_a_waiter_is_a_call(live, server, monkeypatch):
    """A waiter's calls are told one by one."""
    monkeypatch.setattr("botocore.waiter.time", SimpleNamespace(sleep=lambda seconds: None))
    active = answer(body=b'{"Table": {"TableStatus": "ACTIVE"}}')
    server.play(error("dynamodb", 400, "ResourceNotFoundException"), active)
    make_client("dynamodb", server).get_waiter("table_exists").wait(TableName="t")
    assert [to_result(call).status for call in live.calls] == ["rejected", "ok"]


def test_presigned_url_is_no_call(live):
    """Nothing is sent, nothing is recorded, and the URL carries no header of ours."""
    client = make_client("s3", "http://127.0.0.1:1")
    url = client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
    post = client.generate_presigned_post("b", "k")
    assert "trace" not in (url + str(post)).lower()
    assert live.calls == []


def test_call_for_credentials_is_a_child_of_the_call_that_needed_them(live, server):
    """A role that is assumed on the way shows as what it is."""
    credentials = (
        b"<AssumeRoleResponse><AssumeRoleResult><Credentials>"
        b"<AccessKeyId>A</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
        b"<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>"
        b"</AssumeRoleResponse>"
    )
    server.play(answer(body=credentials), fine("dynamodb"))
    inner = make_client("sts", server)
    client = make_client("dynamodb", server)

    def assume(**_):
        inner.assume_role(RoleArn="arn:aws:iam::1:role/some-role-name", RoleSessionName="session")

    client.meta.events.register("before-call.dynamodb.PutItem", assume)
    client.put_item(**SERVICES["dynamodb"].params)
    child, parent = live.calls
    assert (child.tool, child.operation, child.parent) == ("sts", "AssumeRole", parent)
    assert (parent.tool, parent.parent) == ("dynamodb", live)


def test_resource_and_its_batch_writer_are_recorded(live, server):
    """boto3's resources are clients underneath."""
    server.play(answer(body=b'{"UnprocessedItems": {}}'))
    table = boto3.resource(
        "dynamodb",
        endpoint_url=server.url(""),
        region_name="eu-west-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    ).Table("orders")
    with table.batch_writer() as batch:
        for number in range(3):
            batch.put_item({"id": str(number)})
    call, _ = only(live)
    assert (call.operation, call.items, call.items_failed) == ("BatchWriteItem", 3, 0)
    assert call.attributes["aws.dynamodb.table_names"] == ["orders"]


@pytest.mark.expects_drops("calls_limit")
def test_calls_beyond_the_limit_go_through_unrecorded(scope, server, monkeypatch):
    """A runaway loop costs a counter, not memory."""
    server.play(fine("dynamodb"))
    client = make_client("dynamodb", server)
    monkeypatch.setattr("coldspan.core.limits.CALLS_PER_INVOCATION", 1)
    with hooked(scope) as live:
        client.put_item(**SERVICES["dynamodb"].params)
        client.put_item(**SERVICES["dynamodb"].params)
    assert len(live.calls) == 1
    assert scope.buffer.drops == {"calls_limit": 1}


@pytest.mark.parametrize(
    ("service", "method", "params", "name", "value"),
    [
        ("dynamodb", "get_item", {"TableName": "t", "Key": {"id": {"S": "1"}}}, "aws.dynamodb.table_names", ["t"]),
        ("sqs", "send_message", SERVICES["sqs"].params, "aws.sqs.queue.url", SERVICES["sqs"].params["QueueUrl"]),
        ("sns", "publish", SERVICES["sns"].params, "aws.sns.topic.arn", "arn:aws:sns:eu-west-1:1:t"),
        ("s3", "delete_object", {"Bucket": "b", "Key": "k"}, "aws.s3.bucket", "b"),
        ("kinesis", "put_record", SERVICES["kinesis"].params, "aws.kinesis.stream_name", "s"),
        ("lambda", "get_function", {"FunctionName": "f"}, "faas.invoked_name", "f"),
        ("logs", "create_log_stream", SERVICES["logs"].params, "aws.log.group.names", ["g"]),
        (
            "stepfunctions",
            "start_execution",
            SERVICES["stepfunctions"].params,
            "aws.step_functions.state_machine.arn",
            SERVICES["stepfunctions"].params["stateMachineArn"],
        ),
    ],
)
def test_resource_that_was_called_is_an_attribute(live, server, service, method, params, name, value):
    """The record says which table, queue or bucket, under OpenTelemetry's name."""
    server.play(fine(service))
    getattr(make_client(service, server), method)(**params)
    assert only(live)[0].attributes[name] == value


def test_http_below_a_call_is_its_phases_and_no_call_of_its_own(scope, server, fake_clock):
    """One call, one record: what urllib3 and http.client do for botocore is where its time went."""
    fake_clock.tick_ns = 1000
    server.play(answer(body=b"hello"))
    with http_hooked(scope), hooked(scope) as live:
        assert get_object(server).read() == b"hello"
    _, result = only(live)
    assert {"connect", "send", "wait", "serialize", "parse", "receive"} <= set(result.phases)


def test_http_of_a_failed_attempt_is_not_told_as_the_last_one(scope, server):
    """The HTTP status is that of the answer the customer got."""
    server.play(error("dynamodb", 503, "ServiceUnavailable"), fine("dynamodb"))
    with http_hooked(scope), hooked(scope) as live:
        make_client("dynamodb", server).put_item(**SERVICES["dynamodb"].params)
    _, result = only(live)
    assert (result.status, result.attempts) == ("ok", 2)
    assert result.attributes["http.response.status_code"] == 200


# --- the trace goes on ----------------------------------------------------------------------------------------------


def sent_header(server):
    """The trace header of the last request, and how many there were."""
    return server.seen[-1].headers.get("x-amzn-trace-id")


def test_trace_header_carries_our_span_as_parent(live, server):
    """What is called downstream hangs under the call, unknown parts of the header kept."""
    server.play(fine("dynamodb"))
    make_client("dynamodb", server).put_item(**SERVICES["dynamodb"].params)
    call, result = only(live)
    assert sent_header(server) == (
        f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent={result.span_id};Sampled=1;Lineage=a:1|b:2"
    )
    assert "x-amzn-trace-id" not in server.seen[-1].headers["authorization"].lower(), "it must stay unsigned"
    assert call.span_id


def test_trace_header_replaces_the_one_botocore_would_add_in_lambda(live, server, monkeypatch):
    """In Lambda botocore sends the function's own parent; ours takes its place, once."""
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "orders")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")
    server.play(error("dynamodb", 500, "InternalServerError"), fine("dynamodb"))
    make_client("dynamodb", server).put_item(**SERVICES["dynamodb"].params)
    assert {request.headers["x-amzn-trace-id"].split(";")[1] for request in server.seen} == {
        "Parent=" + only(live)[1].span_id
    }
    assert len(server.seen) == 2


@pytest.mark.parametrize("name", ["X-Amzn-Trace-Id", "x-amzn-trace-id"])
def test_trace_header_that_the_customer_set_stays(live, server, name):
    """What the customer set goes out unchanged."""
    server.play(fine("dynamodb"))
    client = make_client("dynamodb", server)
    client.meta.events.register("before-call.dynamodb.PutItem", lambda params, **_: params["headers"].update(theirs))
    theirs = {"X-Amzn-Trace-Id": "Root=1-00000000-000000000000000000000000"}
    client.put_item(**SERVICES["dynamodb"].params)
    assert sent_header(server) == theirs["X-Amzn-Trace-Id"]
    assert len(live.calls) == 1


def test_trace_header_given_as_a_parameter_stays(live, server):
    """An operation that has the header as a parameter sends what the customer gave."""
    server.play(answer(body=b"{}"))
    arn = "arn:aws:bedrock-agentcore:eu-west-1:1:runtime/r"
    client = make_client("bedrock-agentcore", server)
    client.invoke_agent_runtime(agentRuntimeArn=arn, payload=b"{}", traceId="theirs")
    assert sent_header(server) == "theirs"
    assert len(live.calls) == 1


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0", ";Sampled=0"),
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=?", ";Sampled=?"),
        ("Root=1-5759e988-bd862e3fe1be46a994272793", ""),
    ],
)
def test_trace_header_goes_out_unsampled_too(live, server, header, wanted):
    """The decision that was made upstream is passed on, not changed."""
    from coldspan.core.trace import parse

    live.trace = parse(header)
    server.play(fine("dynamodb"))
    make_client("dynamodb", server).put_item(**SERVICES["dynamodb"].params)
    span = only(live)[1].span_id
    assert sent_header(server) == f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent={span}{wanted}"


def test_no_trace_header_without_a_trace(live, server):
    """No trace is made up."""
    live.trace = None
    server.play(fine("dynamodb"))
    make_client("dynamodb", server).put_item(**SERVICES["dynamodb"].params)
    assert sent_header(server) is None
    assert len(live.calls) == 1


def test_no_trace_header_of_ours_when_xray_is_off(scope, server):
    """A span that is never sent is nobody's parent."""
    scope.settings.xray = "off"
    server.play(fine("dynamodb"))
    with hooked(scope) as live:
        make_client("dynamodb", server).put_item(**SERVICES["dynamodb"].params)
    assert sent_header(server) is None
    assert len(live.calls) == 1


def test_trace_header_follows_the_invocation(scope, server):
    """Two invocations on one client send each their own trace."""
    from coldspan.core.trace import parse

    server.play(fine("dynamodb"))
    client = make_client("dynamodb", server)
    with hooked(scope) as first:
        second = Invocation("invocation", "request-2", 2, 0, 0)
        second.trace = parse("Root=1-00000001-000000000000000000000001;Sampled=1")
        roots = []
        for live in (first, second, first):
            scope.current.set(live)
            client.put_item(**SERVICES["dynamodb"].params)
            roots.append(sent_header(server).split(";")[0][5:])
    assert roots == [first.trace.root, second.trace.root, first.trace.root]


# --- payloads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payloads", "script", "captured"),
    [
        ("off", error("dynamodb", 400, "ValidationException"), False),
        ("errors", fine("dynamodb"), False),
        ("errors", error("dynamodb", 400, "ValidationException"), True),
        ("all", fine("dynamodb"), True),
    ],
)
def test_payload_is_captured_only_when_asked_for_promise_6(scope, server, payloads, script, captured):
    """No payload leaves unless asked."""
    scope.settings.payloads = payloads
    server.play(script)
    with hooked(scope) as live, contextlib.suppress(botocore.exceptions.ClientError):
        make_client("dynamodb", server).put_item(TableName="t", Item={"password": {"S": "hunter2"}})
    (call,) = live.calls
    assert (call.payload is not None) == captured
    if captured:
        assert call.payload["request"]["TableName"] == "t"
        assert "hunter2" not in str(call.payload)


def test_payload_of_a_partial_failure_is_captured_as_an_error_promise_6(scope, server):
    """With COLDSPAN_PAYLOADS=errors a 200 that hides a failure counts as one."""
    scope.settings.payloads = "errors"
    partial = SERVICES["sqs"].partial
    server.play(answer(body=partial.body))
    with hooked(scope) as live:
        make_client("sqs", server).send_message_batch(**partial.params)
    assert live.calls[0].payload["response"]["Failed"]


def test_stream_is_never_read_for_a_payload_promise_6(scope, server):
    """What the customer reads is all there."""
    scope.settings.payloads = "all"
    server.play(answer(body=b"hello"))
    with hooked(scope) as live:
        assert get_object(server).read() == b"hello"
    assert "Body" not in live.calls[0].payload["response"]


def test_refused_connection_leaves_no_payload_of_an_answer(scope):
    """A call without an answer has a request only."""
    scope.settings.payloads = "all"
    with refused_port() as port, hooked(scope) as live, pytest.raises(Exception, match="connect"):
        make_client("dynamodb", f"http://127.0.0.1:{port}").put_item(**SERVICES["dynamodb"].params)
    assert live.calls[0].payload["response"] is None
