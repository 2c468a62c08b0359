"""The services an ordinary function uses: a call that succeeds, one that half fails, and errors in its protocol.

with aws_server() as server:
    server.answers = [error("dynamodb", "ThrottlingException"), answer(body=b"{}")]
    make_client("dynamodb", server).put_item(**SERVICES["dynamodb"].params)
"""

import binascii
import contextlib
import gc
import json
import struct
from dataclasses import dataclass
from types import SimpleNamespace

import boto3
import botocore.client
from botocore.config import Config

from coldspan.core.record import Invocation
from coldspan.core.trace import parse
from coldspan.hot import botocore as botocore_hook
from coldspan.hot.patch import restore
from support.http_server import HttpServer, answer, in_turn

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1|b:2"


@dataclass(frozen=True)
class Partial:
    """A call whose 200 hides a failure, and what the record must say of it."""

    method: str
    params: dict
    body: bytes
    items: int | None
    items_failed: int | None
    error_type: str
    status: str = "partial"
    headers: dict | None = None


@dataclass(frozen=True)
class Service:
    """One service.

    `condition` is its conditional check, or what is nearest: (method, params, HTTP status, code, status).
    """

    protocol: str
    method: str
    params: dict
    partial: Partial
    condition: tuple
    throttling: tuple = (400, "ThrottlingException")
    ok: bytes = b"{}"
    denied: str = "AccessDeniedException"


def js(value):
    """JSON as bytes."""
    return json.dumps(value).encode()


PUT = {"PutRequest": {"Item": {"id": {"S": "1"}}}}
MISSING = "ResourceNotFoundException"
SERVICES = {
    "dynamodb": Service(
        "json",
        "put_item",
        {"TableName": "orders", "Item": {"id": {"S": "1"}}},
        Partial(
            "batch_write_item",
            {"RequestItems": {"orders": [PUT, PUT, PUT]}},
            js({"UnprocessedItems": {"orders": [PUT]}}),
            3,
            1,
            "UnprocessedItems",
        ),
        (
            "put_item",
            {"TableName": "orders", "Item": {"id": {"S": "1"}}, "ConditionExpression": "attribute_not_exists(id)"},
            400,
            "ConditionalCheckFailedException",
            "rejected",
        ),
        (400, "ProvisionedThroughputExceededException"),
    ),
    "sqs": Service(
        "json",
        "send_message",
        {"QueueUrl": "https://sqs.eu-west-1.amazonaws.com/1/q", "MessageBody": "hello"},
        Partial(
            "send_message_batch",
            {
                "QueueUrl": "https://sqs.eu-west-1.amazonaws.com/1/q",
                "Entries": [{"Id": str(number), "MessageBody": "hello"} for number in range(3)],
            },
            js({"Successful": [], "Failed": [{"Id": "1", "SenderFault": True, "Code": "InvalidMessageContents"}] * 2}),
            3,
            2,
            "InvalidMessageContents",
        ),
        (
            "get_queue_url",
            {"QueueName": "q"},
            400,
            "com.amazonaws.sqs#QueueDoesNotExist",
            "rejected",
        ),
    ),
    "sns": Service(
        "query",
        "publish",
        {"TopicArn": "arn:aws:sns:eu-west-1:1:t", "Message": "hello"},
        Partial(
            "publish_batch",
            {
                "TopicArn": "arn:aws:sns:eu-west-1:1:t",
                "PublishBatchRequestEntries": [{"Id": "1", "Message": "a"}, {"Id": "2", "Message": "b"}],
            },
            b"<PublishBatchResponse><PublishBatchResult><Failed><member><Id>2</Id><Code>InternalError</Code>"
            b"<Message>sorry</Message><SenderFault>false</SenderFault></member></Failed></PublishBatchResult>"
            b"<ResponseMetadata><RequestId>id-of-the-answer</RequestId></ResponseMetadata></PublishBatchResponse>",
            2,
            1,
            "InternalError",
        ),
        ("get_topic_attributes", {"TopicArn": "arn:aws:sns:eu-west-1:1:t"}, 404, "NotFound", "rejected"),
        (400, "Throttling"),
        b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult>"
        b"<ResponseMetadata><RequestId>id-of-the-answer</RequestId></ResponseMetadata></PublishResponse>",
        "AuthorizationError",
    ),
    "s3": Service(
        "rest-xml",
        "delete_object",  # put_object would wait for a 100 Continue
        {"Bucket": "bucket", "Key": "key"},
        Partial(
            "delete_objects",
            {"Bucket": "bucket", "Delete": {"Objects": [{"Key": "a"}, {"Key": "b"}, {"Key": "c"}]}},
            b"<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>",
            3,
            1,
            "AccessDenied",
        ),
        (
            "delete_object",
            {"Bucket": "bucket", "Key": "key", "IfMatch": "abc"},
            412,
            "PreconditionFailed",
            "rejected",
        ),
        (503, "SlowDown"),
        b"",
        "AccessDenied",
    ),
    "events": Service(
        "json",
        "put_events",
        {"Entries": [{"Source": "s", "DetailType": "d", "Detail": "{}"}]},
        Partial(
            "put_events",
            {"Entries": [{"Source": "s", "DetailType": "d", "Detail": "{}"}] * 2},
            js({"FailedEntryCount": 1, "Entries": [{"EventId": "1"}, {"ErrorCode": "InternalFailure"}]}),
            2,
            1,
            "InternalFailure",
        ),
        ("describe_rule", {"Name": "r"}, 400, MISSING, "rejected"),
        ok=js({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}),
    ),
    "kinesis": Service(
        "json",
        "put_record",
        {"StreamName": "s", "Data": b"hello", "PartitionKey": "p"},
        Partial(
            "put_records",
            {"StreamName": "s", "Records": [{"Data": b"hello", "PartitionKey": "p"}] * 3},
            js(
                {
                    "FailedRecordCount": 1,
                    "Records": [
                        {"SequenceNumber": "1", "ShardId": "s"},
                        {"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "slow down please"},
                        {"SequenceNumber": "1", "ShardId": "s"},
                    ],
                }
            ),
            3,
            1,
            "ProvisionedThroughputExceededException",
        ),
        ("describe_stream_summary", {"StreamName": "s"}, 400, MISSING, "rejected"),
        (400, "ProvisionedThroughputExceededException"),
        js({"ShardId": "s", "SequenceNumber": "1"}),
    ),
    "firehose": Service(
        "json",
        "put_record",
        {"DeliveryStreamName": "s", "Record": {"Data": b"hello"}},
        Partial(
            "put_record_batch",
            {"DeliveryStreamName": "s", "Records": [{"Data": b"hello"}] * 2},
            js(
                {
                    "FailedPutCount": 1,
                    "RequestResponses": [{"RecordId": "1"}, {"ErrorCode": "ServiceUnavailableException"}],
                }
            ),
            2,
            1,
            "ServiceUnavailableException",
        ),
        ("describe_delivery_stream", {"DeliveryStreamName": "s"}, 400, MISSING, "rejected"),
        ok=js({"RecordId": "1"}),
    ),
    "lambda": Service(
        "rest-json",
        "list_functions",
        {},
        Partial(
            "invoke",
            {"FunctionName": "pricing", "Payload": b"{}"},
            js({"errorMessage": "secret"}),
            None,
            None,
            "Unhandled",
            "error",
            {"x_amz_function_error": "Unhandled"},
        ),
        ("get_function", {"FunctionName": "pricing"}, 404, MISSING, "rejected"),
        (429, "TooManyRequestsException"),
        js({"Functions": []}),
    ),
    "stepfunctions": Service(
        "json",
        "start_execution",
        {"stateMachineArn": "arn:aws:states:eu-west-1:1:stateMachine:m"},
        Partial(
            "start_sync_execution",
            {"stateMachineArn": "arn:aws:states:eu-west-1:1:stateMachine:m"},
            js({"executionArn": "a", "startDate": 1, "status": "FAILED", "error": "Declined", "cause": "no"}),
            None,
            None,
            "Declined",
            "error",
        ),
        (
            "describe_execution",
            {"executionArn": "arn:aws:states:eu-west-1:1:execution:m:1"},
            400,
            "ExecutionDoesNotExist",
            "rejected",
        ),
        ok=js({"executionArn": "a", "startDate": 1}),
    ),
    "ssm": Service(
        "json",
        "put_parameter",
        {"Name": "/a", "Value": "b", "Type": "String"},
        Partial(
            "get_parameters",
            {"Names": ["/a", "/b", "/c"]},
            js({"Parameters": [], "InvalidParameters": ["/b", "/c"]}),
            3,
            2,
            "InvalidParameters",
        ),
        ("get_parameter", {"Name": "/b"}, 400, "ParameterNotFound", "rejected"),
        ok=js({"Version": 1, "Tier": "Standard"}),
    ),
    "secretsmanager": Service(
        "json",
        "put_secret_value",
        {"SecretId": "s", "SecretString": "x"},
        Partial(
            "batch_get_secret_value",
            {"SecretIdList": ["a", "b"]},
            js({"SecretValues": [], "Errors": [{"SecretId": "b", "ErrorCode": MISSING, "Message": "not there"}]}),
            2,
            1,
            MISSING,
        ),
        ("get_secret_value", {"SecretId": "s"}, 400, MISSING, "rejected"),
        ok=js({"ARN": "a", "Name": "s"}),
    ),
    "cloudwatch": Service(
        "json",
        "put_metric_data",
        {"Namespace": "n", "MetricData": [{"MetricName": "m", "Value": 1.0}]},
        Partial(
            "delete_insight_rules",
            {"RuleNames": ["a", "b"]},
            js({"Failures": [{"FailureResource": "b", "FailureCode": "400", "FailureDescription": "not there"}]}),
            2,
            1,
            "400",
        ),
        ("get_dashboard", {"DashboardName": "d"}, 404, "ResourceNotFound", "rejected"),
        (400, "Throttling"),
    ),
    "logs": Service(
        "json",
        "create_log_stream",
        {"logGroupName": "g", "logStreamName": "s"},
        Partial(
            "put_log_events",
            {"logGroupName": "g", "logStreamName": "s", "logEvents": [{"timestamp": 1, "message": "m"}] * 10},
            js({"rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 4}}),
            10,
            4,
            "tooOldLogEventEndIndex",
        ),
        ("describe_metric_filters", {"logGroupName": "g"}, 400, MISSING, "rejected"),
    ),
    "bedrock-runtime": Service(
        "rest-json",
        "converse",
        {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "hello"}]}]},
        Partial(
            "converse_stream",
            {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "hello"}]}]},
            b"",  # see event_stream: the failure is an event
            None,
            None,
            "modelStreamErrorException",
            "error",
            {"content_type": "application/vnd.amazon.eventstream"},
        ),
        (
            "get_async_invoke",
            {"invocationArn": "arn:aws:bedrock:eu-west-1:123456789012:async-invoke/abcdefghijkl"},
            404,
            MISSING,
            "rejected",
        ),
        (429, "ThrottlingException"),
        js({"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn"}),
    ),
}  # fmt: skip

REQUEST_ID = {"x_amzn_requestid": "id-of-the-answer", "x_amz_request_id": "id-of-the-answer"}


def fine(service):
    """The service's answer when all is well."""
    return answer(body=SERVICES[service].ok, **REQUEST_ID)


def error(service, status, code, message="the text of the error", **members):
    """An error in the service's protocol."""
    protocol = SERVICES[service].protocol
    if protocol == "json":
        return answer(status, js({"__type": code, "message": message, **members}), **REQUEST_ID)
    if protocol == "rest-json":
        return answer(status, js({"message": message, **members}), x_amzn_errortype=code, **REQUEST_ID)
    inner = f"<Code>{code}</Code><Message>{message}</Message>"
    if protocol == "query":
        inner = f"<Error><Type>Sender</Type>{inner}</Error><RequestId>id-of-the-answer</RequestId>"
        return answer(status, f"<ErrorResponse>{inner}</ErrorResponse>".encode(), **REQUEST_ID)
    return answer(status, f"<Error>{inner}</Error>".encode(), **REQUEST_ID)


def event_stream(*messages):
    """Encode (headers, payload) as messages of application/vnd.amazon.eventstream."""
    data = b""
    for headers, payload in messages:
        block = b"".join(
            struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value)) + value.encode()
            for name, value in headers.items()
        )
        prelude = struct.pack("!II", 16 + len(block) + len(payload), len(block))
        prelude += struct.pack("!I", binascii.crc32(prelude))
        whole = prelude + block + payload
        data += whole + struct.pack("!I", binascii.crc32(whole))
    return data


def event(name, value):
    """One modelled event."""
    return {":message-type": "event", ":event-type": name, ":content-type": "application/json"}, js(value)


def exception(name, message):
    """One modelled exception inside a stream."""
    headers = {":message-type": "exception", ":exception-type": name, ":content-type": "application/json"}
    return headers, js({"message": message})


_clients = []


class Everywhere(dict):
    """A script for every path, counted together: the scripts in turn, the last one again and again."""

    def __init__(self, *scripts) -> None:
        self.scripts = scripts
        self.count = 0

    def __missing__(self, path):
        self.count += 1
        script = in_turn(*self.scripts)

        def counted(exchange):
            exchange.number = self.count
            return script(exchange)

        return counted


class AwsServer(HttpServer):
    """A server that answers every path with the scripts of `answers` in turn."""

    def play(self, *scripts):
        """Answer with these from now on."""
        self.script = Everywhere(*scripts)
        self.seen.clear()


def make_client(service, server, **config):
    """A real client whose endpoint is the server; three attempts, short timeouts."""
    defaults = {"retries": {"mode": "standard", "total_max_attempts": 3}, "connect_timeout": 5, "read_timeout": 5}
    client = boto3.client(
        service,
        endpoint_url=server if isinstance(server, str) else server.url(""),
        region_name="eu-west-1",
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="invented",
        config=Config(inject_host_prefix=False, s3={"addressing_style": "path"}, **{**defaults, **config}),
    )
    _clients.append(client)
    return client


def close_clients():
    """Close the connections that clients keep for the next call, those of streams that nobody closed too."""
    while _clients:
        _clients.pop().close()
    gc.collect()


@contextlib.contextmanager
def hooked(scope):
    """Install botocore's hook on `scope` inside a live invocation; give the invocation, and take all away again."""
    patches = []
    botocore_hook.install(botocore.client, scope, patches)
    live = Invocation("invocation", "request-1", scope.new_id(), scope.clock(), scope.wall())
    live.trace = parse(TRACE)
    token = scope.current.set(live)
    try:
        yield live
    finally:
        scope.current.reset(token)
        restore(patches)


def without_waiting(monkeypatch):
    """Let retries come at once, in all three modes."""
    import botocore.endpoint
    import botocore.retries.bucket

    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda seconds: None))
    monkeypatch.setattr(botocore.retries.bucket.TokenBucket, "acquire", lambda self, amount=1, block=True: True)
