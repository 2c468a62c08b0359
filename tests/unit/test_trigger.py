"""What is known of an invocation from its event and its answer. Events in the shape their service sends."""

import base64
import datetime as dt
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldspan.core.trigger import batch_failures, describe, durable_outcome, queue_ms, tool_error

EVENTS = Path(__file__).parents[2] / "events"


def sqs(*stamps):
    return {
        "Records": [
            {"eventSource": "aws:sqs", "body": "{}", "attributes": {"SentTimestamp": stamp}} for stamp in stamps
        ]
    }


def http(**more):
    return {
        "httpMethod": "POST",
        "requestContext": {"stage": "prod", "requestTimeEpoch": 1795424400000},
        "body": None,
        **more,
    }


def record(source, **more):
    return {"Records": [{"eventSource": source, **more}]}


SHAPES = {
    "REST API": (http(), ("apigateway", 1795424400000, 1)),
    "HTTP API": (
        {
            "requestContext": {
                "http": {},
                "timeEpoch": 1795424400000,
                "domainName": "x.execute-api.eu-west-1.amazonaws.com",
            }
        },
        ("apigateway", 1795424400000, 1),
    ),
    "function URL": (
        {"requestContext": {"http": {}, "timeEpoch": 1795424400000, "domainName": "abc.lambda-url.eu-west-1.on.aws"}},
        ("url", 1795424400000, 1),
    ),
    "WebSocket": (
        {"requestContext": {"connectionId": "a=", "eventType": "MESSAGE", "requestTimeEpoch": 1795424400000}},
        ("websocket", 1795424400000, 1),
    ),
    "load balancer": ({"requestContext": {"elb": {"targetGroupArn": "arn"}}, "httpMethod": "GET"}, ("alb", None, 1)),
    "VPC Lattice": (
        {"requestContext": {"serviceNetworkArn": "arn", "timeEpoch": "1795424400000000"}},
        ("lattice", "1795424400000000", 1),
    ),
    "SQS": (sqs("1795424400009", "1795424400001", "1795424400005"), ("sqs", "1795424400001", 3)),
    "SQS by Pipes": (sqs("1795424400009")["Records"], ("sqs", "1795424400009", 1)),
    "SNS": (
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Timestamp": "2026-11-23T01:00:00.000Z"}}]},
        ("sns", "2026-11-23T01:00:00.000Z", 1),
    ),
    "S3": (record("aws:s3", eventTime="2026-11-23T01:00:00.000Z"), ("s3", "2026-11-23T01:00:00.000Z", 1)),
    "DynamoDB": (
        record("aws:dynamodb", dynamodb={"ApproximateCreationDateTime": 1795424400.0}),
        ("dynamodb", 1795424400.0, 1),
    ),
    "Kinesis": (
        record("aws:kinesis", kinesis={"approximateArrivalTimestamp": 1795424400.123}),
        ("kinesis", 1795424400.123, 1),
    ),
    "Kinesis by Pipes": (
        [{"eventSource": "aws:kinesis", "approximateArrivalTimestamp": 1795424400.123}],
        ("kinesis", 1795424400.123, 1),
    ),
    "SES": (
        record("aws:ses", ses={"mail": {"timestamp": "2026-11-23T01:00:00.000Z"}}),
        ("ses", "2026-11-23T01:00:00.000Z", 1),
    ),
    "CodeCommit": (
        record("aws:codecommit", eventTime="2026-11-23T01:00:00.000+0000"),
        ("codecommit", "2026-11-23T01:00:00.000+0000", 1),
    ),
    "CloudFront": ({"Records": [{"cf": {"config": {}}}]}, ("cloudfront", None, 1)),
    "Kafka": (
        {
            "eventSource": "aws:kafka",
            "records": {
                "a-0": [{"timestamp": 1795424400005}, {"timestamp": 1795424400009}],
                "a-1": [{"timestamp": 1795424400001}],
            },
        },
        ("kafka", 1795424400001, 3),
    ),
    "ActiveMQ": ({"eventSource": "aws:mq", "messages": [{"timestamp": 1795424400001}]}, ("mq", 1795424400001, 1)),
    "RabbitMQ": ({"eventSource": "aws:rmq", "rmqMessagesByQueue": {"q::/": [{"data": ""}, {}]}}, ("mq", None, 2)),
    "DocumentDB": ({"eventSource": "aws:docdb", "events": [{"event": {}}]}, ("documentdb", None, 1)),
    "EventBridge": (
        {"detail-type": "Order Placed", "source": "shop", "time": "2026-11-23T01:00:00Z", "detail": {}},
        ("eventbridge", "2026-11-23T01:00:00Z", 1),
    ),
    "scheduled rule": (
        {"detail-type": "Scheduled Event", "source": "aws.events", "time": "2026-11-23T01:00:00Z"},
        ("schedule", "2026-11-23T01:00:00Z", 1),
    ),
    "scheduler": (
        {"detail-type": "Scheduled Event", "source": "aws.scheduler", "time": "2026-11-23T01:00:00Z"},
        ("schedule", "2026-11-23T01:00:00Z", 1),
    ),
    "log subscription": ({"awslogs": {"data": "H4sI"}}, ("logs", None, 1)),
    "alarm": (
        {"source": "aws.cloudwatch", "time": "2026-11-23T01:00:00.000+0000", "alarmData": {}},
        ("cloudwatch", "2026-11-23T01:00:00.000+0000", 1),
    ),
    "CodePipeline": ({"CodePipeline.job": {"id": "1"}}, ("codepipeline", None, 1)),
    "Config": ({"configRuleId": "r", "invokingEvent": "{}"}, ("config", None, 1)),
    "Firehose": (
        {"deliveryStreamArn": "arn", "records": [{"approximateArrivalTimestamp": 1795424400001}, {}]},
        ("firehose", 1795424400001, 2),
    ),
    "S3 batch": ({"invocationSchemaVersion": "2.0", "tasks": [{}]}, ("s3batch", None, 1)),
    "S3 Object Lambda": ({"xAmzRequestId": "1", "getObjectContext": {}}, ("s3object", None, 1)),
    "Cognito": ({"triggerSource": "PreSignUp_SignUp", "userPoolId": "p"}, ("cognito", None, 1)),
    "CloudFormation": ({"RequestType": "Create", "ResourceProperties": {}}, ("cloudformation", None, 1)),
    "Bedrock agent": ({"messageVersion": "1.0", "agent": {}, "actionGroup": "g"}, ("bedrock", None, 1)),
    "Lex": ({"messageVersion": "1.0", "sessionState": {}}, ("lex", None, 1)),
    "Connect": ({"Name": "ContactFlowEvent", "Details": {}}, ("connect", None, 1)),
    "Secrets Manager": (
        {"Step": "createSecret", "SecretId": "s", "ClientRequestToken": "t"},
        ("secretsmanager", None, 1),
    ),
    "AppSync": ({"info": {"fieldName": "order", "parentTypeName": "Query"}}, ("appsync", None, 1)),
    "AppSync events": ({"info": {"channel": {"path": "/a"}}, "events": [{}]}, ("appsync", None, 1)),
    "AppSync batch": ([{"info": {"fieldName": "order"}}] * 2, ("appsync", None, 2)),
    "TOKEN authorizer": ({"type": "TOKEN", "methodArn": "arn", "authorizationToken": "t"}, ("authorizer", None, 1)),
    "REQUEST authorizer": (http(type="REQUEST", methodArn="arn"), ("authorizer", 1795424400000, 1)),
    "AppSync authorizer": ({"authorizationToken": "t", "requestContext": {"apiId": "a"}}, ("authorizer", None, 1)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_describe_of_a_services_event_names_it_and_its_oldest_record(name):
    """QueueTime and trigger must be right for every service that invokes functions."""
    event, (trigger, since, count) = SHAPES[name]
    assert describe(event) == (trigger, since, count, None)


@pytest.mark.parametrize(
    "event", [None, 7, "x", [], [1], {}, {"order": 1}, {"Records": []}, {"Records": [{"id": 1}]}, {"Details": {}}]
)
def test_describe_of_an_unknown_event_says_nothing(event):
    """A direct invocation with the customer's own shape must not be given a name it has not."""
    assert describe(event) is None


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=5,
)
KEYS = sorted(
    {
        "Records",
        "requestContext",
        "detail-type",
        "time",
        "type",
        "methodArn",
        "body",
        "isBase64Encoded",
        "eventSource",
        "records",
        "info",
        "messages",
    }
    | {key for event, _ in SHAPES.values() for key in (event if type(event) is dict else event[0])}
)
VALUES = st.one_of(
    JSON, st.sampled_from([value for event, _ in SHAPES.values() if type(event) is dict for value in event.values()])
)
RECORDS = st.lists(
    st.one_of(
        JSON,
        st.dictionaries(st.sampled_from(["eventSource", "EventSource", "attributes", "Sns", "kinesis", "cf"]), VALUES),
    ),
    max_size=3,
)


@given(st.dictionaries(st.sampled_from(KEYS), st.one_of(VALUES, RECORDS), max_size=6))
def test_describe_of_a_malformed_event_never_raises(event):
    """Whatever reaches the handler, our look at it must cost no error count."""
    found = describe(event, SimpleNamespace(client_context=None))
    if found is not None:
        trigger, since, count, _ = found
        assert type(trigger) is str
        assert type(count) is int
        waited = queue_ms(since, 1795424400000)
        assert waited is None or waited >= 0
    batch_failures(event)
    durable_outcome(found, event)
    tool_error(found, event)


@pytest.mark.parametrize("path", sorted(EVENTS.glob("malformed/*.json")), ids=lambda path: path.stem)
def test_describe_of_the_malformed_samples_never_raises(path):
    """The malformed events shipped with the samples must not make the recorder stumble."""
    try:
        event = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        event = path.read_bytes()
    describe(event)


@pytest.mark.parametrize(
    ("folder", "trigger"),
    [
        ("orders", "apigateway"),
        ("payments", "sqs"),
        ("stream", "dynamodb"),
        ("report", "schedule"),
        ("mcp_server", "apigateway"),
    ],
)
def test_describe_of_the_sample_events_knows_their_trigger(folder, trigger):
    """What the samples show must be what their events are."""
    found = [describe(json.loads(path.read_text())) for path in EVENTS.glob(folder + "/*.json")]
    assert found
    for described in found:
        assert described[0] == trigger
        assert queue_ms(described[1], 1795424500000) > 0


def test_describe_of_a_large_batch_counts_all_of_it():
    """A batch of ten thousand must be counted without looking at each."""
    assert describe(sqs(*["1795424400001"] * 10_000))[2] == 10_000


# --- durable functions ----------------------------------------------------------------------------------------------


def durable(*operations):
    return {
        "DurableExecutionArn": "arn:aws:lambda:eu-west-1:123456789012:function:f:1/durable-execution/n/i",
        "CheckpointToken": "t",
        "InitialExecutionState": {"Operations": list(operations), "NextMarker": ""},
    }


EXECUTION = {"Id": "0", "Type": "EXECUTION", "Status": "STARTED", "StartTimestamp": 1795424400.5}
STEP = {"Id": "1", "Type": "STEP", "Status": "SUCCEEDED"}


def test_first_pass_of_a_durable_execution_is_no_replay():
    """The first pass tells how long the execution had waited."""
    assert describe(durable(EXECUTION)) == ("durable", 1795424400.5, 1, {"replay": False})


def test_later_pass_of_a_durable_execution_is_a_replay():
    """A replay is not a second invocation, and has not waited since the execution began."""
    assert describe(durable(EXECUTION, STEP)) == ("durable", None, 1, {"replay": True})


@pytest.mark.parametrize(
    ("event", "result", "outcome"),
    [
        (durable(EXECUTION), {"Status": "PENDING"}, "pending"),
        (durable(EXECUTION), {"Status": "SUCCEEDED", "Result": "1"}, ""),
        (durable(EXECUTION), {"Status": "FAILED", "Error": {}}, "error"),
        (durable(EXECUTION), None, ""),
        (sqs("1795424400001"), {"Status": "PENDING"}, ""),
        ({"id": 1}, {"Status": "FAILED"}, ""),
    ],
)
def test_durable_outcome_is_read_from_durable_functions_only(event, result, outcome):
    """An ordinary function that returns a Status means something of its own by it."""
    assert durable_outcome(describe(event), result) == outcome


# --- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "count"),
    [
        ({"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "2"}]}, 2),
        ({"batchItemFailures": []}, 0),
        ({"batchItemFailures": None}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_batch_failures_counts_what_the_handler_gave_back(result, count):
    """An invocation that returned failed records is not simply ok."""
    assert batch_failures(result) == count


CALL = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_order", "arguments": {"id": 7}}}
)
FACTS = {"mcp.method.name": "tools/call", "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_order"}


@pytest.mark.parametrize(
    ("event", "facts"),
    [
        (http(body=CALL), FACTS),
        (http(body=base64.b64encode(CALL.encode()).decode(), isBase64Encoded=True), FACTS),
        (http(body=CALL.replace("tools/call", "tools\\/call")), FACTS),
        (http(body=CALL.replace("tools/call", "tools/list")), None),
        (http(body=CALL[:-1]), None),
        (http(body="[" + CALL + "]"), None),
        (http(body='{"order": "tools/call"}'), None),
        (http(body=CALL + " " * 20_000), None),
        (http(body="%%%", isBase64Encoded=True), None),
    ],
)
def test_describe_of_a_tool_call_over_http_names_the_tool(event, facts):
    """A tool call by an agent must be told apart from any other request, and never its arguments."""
    assert describe(event)[3] == facts


def test_describe_of_a_tool_call_by_agentcore_names_the_tool():
    """Only the context tells which tool an AgentCore gateway calls."""
    context = SimpleNamespace(client_context=SimpleNamespace(custom={"bedrockAgentCoreToolName": "shop___get_order"}))
    assert describe({"id": 7}, context) == ("agentcore", None, 1, FACTS)
    assert describe({"id": 7}, SimpleNamespace(client_context=None)) is None


@pytest.mark.parametrize(
    ("result", "error"),
    [
        ({"statusCode": 200, "body": '{"result": {"content": [], "isError": true}}'}, "tool_error"),
        ({"statusCode": 200, "body": '{"result": {"content": [], "isError": false}}'}, ""),
        ({"statusCode": 200, "body": '{"result": {"content": [], "isError": "true"}}'}, ""),
        ({"statusCode": 500, "body": '{"error": {"code": -32603, "message": "x"}}'}, "-32603"),
        ({"statusCode": 200, "body": '{"isError"'}, ""),
        ({"isError": True, "content": []}, "tool_error"),
        (None, ""),
    ],
)
def test_tool_error_is_read_from_the_answer(result, error):
    """A tool that failed inside an HTTP 200 must not be counted as a success."""
    assert tool_error(describe(http(body=CALL)), result) == error
    assert tool_error(describe(http(body="{}")), result) == ""


# --- time -----------------------------------------------------------------------------------------------------------

AT = 1795424405123  # 2026-11-23T09:00:05.123Z


@pytest.mark.parametrize(
    ("since", "waited"),
    [
        ("1795424400000", 5123),
        (1795424400000, 5123),
        (1795424400, 5123),
        (1795424400.1, 5023),
        ("1795424400000000", 5123),
        ("2026-11-23T09:00:00Z", 5123),
        ("2026-11-23T09:00:00.100Z", 5023),
        ("2026-11-23T09:00:00.1Z", 5023),
        ("2026-11-23T10:30:00.100456+01:30", 5023),
        ("2026-11-23T04:00:00-0500", 5123),
        ("2026-11-23T09:00:09Z", 0),
        (1795424409000, 0),
        (None, None),
        ("", None),
        ("soon", None),
        ("2026-11-23T09:00:00", None),
        (True, None),
        (0, None),
        (AT - 800 * 86_400_000, 800 * 86_400_000),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        ("9" * 400, None),
        ([], None),
    ],
)
def test_queue_ms_reads_every_kind_of_time_stamp(since, waited):
    """A time that is not understood is unknown, and clocks that disagree give no negative time."""
    assert queue_ms(since, AT) == waited


@given(
    st.datetimes(min_value=dt.datetime(1970, 1, 2), max_value=dt.datetime(2100, 1, 1)),  # noqa: DTZ001  # zone comes below
    st.integers(-14 * 60, 14 * 60),
)
def test_queue_ms_of_any_iso_time_agrees_with_the_standard_library(when, minutes):
    """The calendar is computed by hand, because importing datetime would cost the cold start."""
    when = when.replace(
        tzinfo=dt.timezone(dt.timedelta(minutes=minutes)), microsecond=when.microsecond // 1_000 * 1_000
    )
    epoch_ms = (when - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
    assert queue_ms(when.isoformat(), epoch_ms + 17) == (17 if epoch_ms > 0 else None)


@given(st.text(max_size=40))
def test_queue_ms_of_any_text_never_raises(text):
    """A time stamp is the event's, so it can be anything."""
    queue_ms(text, AT)
