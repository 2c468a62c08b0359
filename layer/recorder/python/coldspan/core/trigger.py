"""What started an invocation, since when it had been waiting, and what the shape of its answer says.

`describe` runs inside the invocation: it looks at keys and keeps the event's own time stamp; `queue_ms` reads it later.
"""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # (trigger, since, count, facts), see `describe`
    Described = tuple[str, Any, int, dict[str, Any] | None]

_RECORDS = 100  # of a larger batch only these are searched for the oldest
_BODY = 16_384  # a larger body is not searched for a tool call

# `eventSource` of the first record -> trigger. Source: Lambda developer guide, one page a service.
_SOURCES = {
    "aws:sqs": "sqs",
    "aws:sns": "sns",
    "aws:s3": "s3",
    "aws:dynamodb": "dynamodb",
    "aws:kinesis": "kinesis",
    "aws:ses": "ses",
    "aws:codecommit": "codecommit",
    "aws:kafka": "kafka",
    "aws:SelfManagedKafka": "kafka",
    "SelfManagedKafka": "kafka",
    "aws:docdb": "documentdb",
    "aws:amq": "mq",
    "aws:mq": "mq",
    "aws:rmq": "mq",
}
# A key that only this trigger's events have at their top level -> trigger. What the customer shapes (Step Functions,
# IoT rules, a direct invocation) has no key of its own and stays unknown.
_KEYS = {
    "awslogs": "logs",
    "CodePipeline.job": "codepipeline",
    "configRuleId": "config",
    "deliveryStreamArn": "firehose",
    "invocationSchemaVersion": "s3batch",
    "xAmzRequestId": "s3object",
    "triggerSource": "cognito",
    "datasetRecords": "cognito",
    "ResourceProperties": "cloudformation",
    "actionGroup": "bedrock",
    "sessionState": "lex",
    "currentIntent": "lex",
    "alarmData": "cloudwatch",
    "ClientRequestToken": "secretsmanager",
    "parentTypeName": "appsync",
    "typeName": "appsync",
    "Details": "connect",
}


def describe(event: "Any", context: "Any" = None) -> "Described | None":
    """Say what kind of event this is; None when its shape is unknown.

    Gives (trigger, since, count, facts): `since` is the time stamp of the oldest record as it stands in the event, for
    `queue_ms`, or None; `count` the records of the batch; `facts` None or a dict (`replay` of a durable function,
    `mcp.method.name` and `gen_ai.tool.name` of a call to a tool). Given the context, a tool call by way of Bedrock
    AgentCore Gateway, which only the context tells, is known too.
    """
    if type(event) is dict:
        records = event.get("Records")
        if records:
            found = _of_records(records)
            if found is not None:
                return found
        request = event.get("requestContext")
        if type(request) is dict:
            return _of_request(event, request)
        if "detail-type" in event:
            return _of_rule(event)
        if "DurableExecutionArn" in event:
            return _of_durable(event)
        source = event.get("eventSource")
        if source.__class__ is str and source in _SOURCES:
            return _of_groups(event, _SOURCES[source])
        kind = event.get("type")
        if kind in ("TOKEN", "REQUEST") and ("methodArn" in event or "routeArn" in event):
            return "authorizer", None, 1, None
        if "info" in event and _is_appsync(event["info"]):
            return "appsync", None, 1, None
        for key in event if len(event) < len(_KEYS) else _KEYS:
            if key in _KEYS and key in event:
                return _of_key(event, _KEYS[key])
    elif type(event) is list and event:
        return _of_records(event)  # EventBridge Pipes, and AppSync in batches
    return _of_context(context) if context is not None else None


def _of_records(records: "Any") -> "Described | None":
    first = records[0] if type(records) is list else None
    if type(first) is not dict:
        return None
    source = first.get("eventSource") or first.get("EventSource")
    if source.__class__ is not str or source not in _SOURCES:
        if "cf" in first:
            return "cloudfront", None, len(records), None
        return ("appsync", None, len(records), None) if _is_appsync(first.get("info")) else None
    try:
        since = _since(source, first, records)
    except (KeyError, TypeError, AttributeError):  # an event made by hand, with less in it than the service sends
        since = None
    return _SOURCES[source], since, len(records), None


def _since(source: str, first: "dict[str, Any]", records: "Any") -> "Any":
    if source == "aws:sqs":
        # Messages come in no order. The stamps are ms in 13 digits, so text compares as numbers do.
        return min([record["attributes"]["SentTimestamp"] for record in records[:_RECORDS]])
    if source == "aws:dynamodb":
        return first["dynamodb"]["ApproximateCreationDateTime"]
    if source == "aws:kinesis":
        return first.get("kinesis", first)["approximateArrivalTimestamp"]  # Pipes put it one level up
    if source == "aws:sns":
        return first["Sns"]["Timestamp"]
    if source == "aws:ses":
        return first["ses"]["mail"]["timestamp"]
    return first.get("eventTime") or first.get("timestamp")


def _is_appsync(info: "Any") -> bool:
    return type(info) is dict and ("fieldName" in info or "channel" in info)


def _of_request(event: "dict[str, Any]", request: "dict[str, Any]") -> "Described | None":
    since = None
    if "elb" in request:
        trigger = "alb"
    elif "http" in request:
        since = request.get("timeEpoch")
        trigger = "url" if ".lambda-url." in str(request.get("domainName")) else "apigateway"
    elif "connectionId" in request:
        trigger, since = "websocket", request.get("requestTimeEpoch")
    elif "serviceNetworkArn" in request:
        trigger, since = "lattice", request.get("timeEpoch")
    elif "httpMethod" in event or "requestTimeEpoch" in request:
        trigger, since = "apigateway", request.get("requestTimeEpoch")
    elif "authorizationToken" in event:
        return "authorizer", None, 1, None  # AppSync's
    else:
        return None
    if event.get("type") == "REQUEST" and ("methodArn" in event or "routeArn" in event):
        trigger = "authorizer"
    return trigger, since, 1, _tool_call(event)


def _of_rule(event: "dict[str, Any]") -> "Described":
    scheduled = event["detail-type"] == "Scheduled Event" or event.get("source") == "aws.scheduler"
    return "schedule" if scheduled else "eventbridge", event.get("time"), 1, None


def _of_durable(event: "dict[str, Any]") -> "Described":
    """Each pass over a durable execution is an invocation; all but the first replay what is already done."""
    state = event.get("InitialExecutionState")
    if type(state) is not dict:
        state = {}
    operations = state.get("Operations")
    # The first operation is the execution itself.
    replay = type(operations) is list and (len(operations) > 1 or bool(state.get("NextMarker")))
    since = None
    if not replay and operations and type(operations[0]) is dict:
        since = operations[0].get("StartTimestamp")
    return "durable", since, 1, {"replay": replay}


def _of_groups(event: "dict[str, Any]", trigger: str) -> "Described":
    """Kafka, MQ and DocumentDB: lists by topic and partition, or one list."""
    groups = event.get("records") or event.get("rmqMessagesByQueue") or event.get("messages") or event.get("events")
    found = list(groups.values()) if type(groups) is dict else [groups]
    lists = [some for some in found if type(some) is list and some]
    stamps = [some[0].get("timestamp") for some in lists if type(some[0]) is dict]
    return trigger, min([stamp for stamp in stamps if type(stamp) is int], default=None), sum(map(len, lists)), None


def _of_key(event: "dict[str, Any]", trigger: str) -> "Described | None":
    if trigger == "connect" and event.get("Name") != "ContactFlowEvent":
        return None
    since = event.get("time")  # CloudWatch alarms have it
    records = event.get("records") or event.get("tasks")
    count = len(records) if type(records) is list else 1
    if trigger == "firehose" and type(records) is list and records and type(records[0]) is dict:
        since = records[0].get("approximateArrivalTimestamp")
    return trigger, since, count, None


def _of_context(context: "Any") -> "Described | None":
    custom = getattr(getattr(context, "client_context", None), "custom", None)
    name = custom.get("bedrockAgentCoreToolName") if type(custom) is dict else None
    if type(name) is not str:
        return None
    return "agentcore", None, 1, _tool_facts(name.partition("___")[2] or name)


def _tool_facts(name: str) -> "dict[str, Any]":
    return {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": name[:128],
    }


def _tool_call(event: "dict[str, Any]") -> "dict[str, Any] | None":
    """The facts of a Model Context Protocol request `tools/call` in the body of an HTTP event; None for any other."""
    body = event.get("body")
    if type(body) is not str or len(body) > _BODY:
        return None
    if event.get("isBase64Encoded") is True:
        from binascii import a2b_base64  # a file of its own in some builds: not for every function

        try:
            body = a2b_base64(body).decode()
        except ValueError:
            return None
    if '"tools/call"' not in body and '"tools\\/call"' not in body:
        return None
    request = _json(body)
    if type(request) is not dict or request.get("method") != "tools/call":
        return None
    parameters = request.get("params")
    name = parameters.get("name") if type(parameters) is dict else None
    return _tool_facts(name) if type(name) is str else None


def _json(text: str) -> "Any":
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# --- what the answer says -------------------------------------------------------------------------------------------


def batch_failures(result: "Any") -> "int | None":
    """How many records of its batch the handler gave back as failed; None when it gave no such list."""
    failures = result.get("batchItemFailures") if type(result) is dict else None
    return len(failures) if type(failures) is list else None


def durable_outcome(described: "Described | None", result: "Any") -> str:
    """`pending` or `error` as a durable function's own status says; "" when it says neither, and for all others."""
    if described is None or described[0] != "durable" or type(result) is not dict:
        return ""
    status = result.get("Status")
    return "pending" if status == "PENDING" else "error" if status == "FAILED" else ""


def tool_error(described: "Described | None", result: "Any") -> str:
    """Why the tool call that this invocation answered has failed: `tool_error`, a JSON-RPC error code, or "".

    Source: OpenTelemetry semantic conventions, Model Context Protocol; only a literal true counts as isError.
    """
    if described is None or described[3] is None or "mcp.method.name" not in described[3] or type(result) is not dict:
        return ""
    answer = result
    body = result.get("body")
    if type(body) is str:
        if len(body) > _BODY or ('"isError"' not in body and '"error"' not in body):
            return ""
        answer = _json(body)
        if type(answer) is not dict:
            return ""
    error = answer.get("error")
    if type(error) is dict and type(error.get("code")) is int:
        return str(error["code"])
    inner = answer.get("result")
    failed = inner.get("isError") if type(inner) is dict else answer.get("isError")
    return "tool_error" if failed is True else ""


# --- time -----------------------------------------------------------------------------------------------------------


def queue_ms(since: "Any", at_ms: float) -> "int | None":
    """How many ms before `at_ms` (epoch ms) a time stamp of an event lies: 0 when it lies after, None when it is none.

    Takes epoch seconds, ms or µs as a number or as digits, or ISO 8601 text with a zone.
    """
    kind = type(since)
    epoch_ms: "float | None"
    if kind is str and not since.isdecimal():
        epoch_ms = _epoch_ms(since)
    else:
        epoch_ms = _in_ms(float(since)) if kind is str or kind is float or (kind is int and since < 10**17) else None
    return None if epoch_ms is None or epoch_ms <= 0 else max(0, int(at_ms - epoch_ms))


def _in_ms(number: float) -> "float | None":
    """Epoch seconds, ms or µs in ms: until the year 5138 each has a range of its own."""
    if 0 < number < 1e11:
        return number * 1_000
    if number < 1e14:
        return number
    return number / 1_000 if number < 1e17 else None


def _epoch_ms(text: str) -> "int | None":
    """`2026-11-23T08:54:36.123Z`, also with another fraction or an offset, as epoch ms; None for anything else."""
    if not 20 <= len(text) <= 35 or text[4] + text[7] + text[10] + text[13] + text[16] != "--T::":
        return None
    try:
        year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
        seconds = int(text[11:13]) * 3_600 + int(text[14:16]) * 60 + int(text[17:19])
        rest = text[19:]
        if rest[-1:] in ("Z", "z"):
            rest = rest[:-1]
        else:
            sign = max(rest.rfind("+"), rest.rfind("-"))
            offset = rest[sign + 1 :].replace(":", "")
            if sign < 0 or len(offset) != 4:
                return None
            minutes = int(offset[:2]) * 60 + int(offset[2:])
            seconds += minutes * 60 if rest[sign] == "-" else minutes * -60
            rest = rest[:sign]
        millis = int(rest[1:4].ljust(3, "0")) if rest else 0
    except ValueError:
        return None
    # Days since 1970-03-01 in a calendar whose year begins in March, so that the leap day is its last.
    year -= month < 3
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * ((month + 9) % 12) + 2) // 5 + day - 719_469
    return (days * 86_400 + seconds) * 1_000 + millis
