"""What things are called: OpenTelemetry semantic conventions v1.44, and the words that they have no name for.

Source: semantic-conventions, docs/faas/, docs/messaging/, docs/http/, docs/rpc/, docs/cloud-providers/aws-sdk.md.
"""

from collections.abc import Mapping

# trigger of the recorder -> faas.trigger; anything else is "other"
TRIGGERS = {
    **dict.fromkeys(("apigateway", "alb", "url", "websocket", "lattice", "authorizer", "appsync"), "http"),
    **dict.fromkeys(("sqs", "sns", "kinesis", "kafka", "mq", "eventbridge"), "pubsub"),
    **dict.fromkeys(("s3", "dynamodb", "documentdb", "firehose", "s3object", "s3batch"), "datasource"),
    "schedule": "timer",
}
# messaging.system of those triggers that have a registered name
MESSAGING_SYSTEMS = {"sqs": "aws_sqs", "sns": "aws.sns", "kafka": "kafka"}

# tool of the recorder -> the service's name in a span's, where it is not the tool in capitals
_SERVICES = {
    "dynamodb": "DynamoDB",
    "lambda": "Lambda",
    "kinesis": "Kinesis",
    "firehose": "Firehose",
    "events": "EventBridge",
    "eventbridge": "EventBridge",
    "stepfunctions": "SFN",
    "secretsmanager": "SecretsManager",
    "bedrock-runtime": "BedrockRuntime",
}

FAILED = frozenset(("error", "unserialisable", "too_large", "timeout", "crash", "out_of_memory", "init_error"))
FAILED_STATUSES = frozenset(("partial", "throttled", "timeout", "rejected", "error", "cancelled", "in_flight"))


def faas_trigger(trigger: object) -> str:
    """The `faas.trigger` of a trigger's name."""
    return TRIGGERS.get(trigger, "other") if isinstance(trigger, str) else "other"


def aws_span_name(tool: str, operation: str) -> str:
    """`Service.Operation`."""
    return f"{_SERVICES.get(tool) or (tool.upper() if len(tool) <= 3 else tool)}.{operation}"


def resource_attributes(environ: Mapping[str, str]) -> dict[str, str | int | list[str]]:
    """The attributes of the resource: the function, its environment, and what OTEL_RESOURCE_ATTRIBUTES adds."""
    name = environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    found: dict[str, str | int | list[str]] = {
        "service.name": name,
        "cloud.provider": "aws",
        "cloud.platform": "aws_lambda",
        "cloud.region": environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "",
        "cloud.account.id": environ.get("COLDSPAN_ACCOUNT_ID", ""),
        "faas.name": name,
        "faas.version": environ.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
        "faas.instance": environ.get("AWS_LAMBDA_LOG_STREAM_NAME", ""),
        "telemetry.sdk.language": "python",
        "telemetry.distro.name": "coldspan",
    }
    memory_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if memory_mb.isdecimal():
        found["faas.max_memory"] = int(memory_mb) * 1024 * 1024
    group = environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
    if group:
        found["aws.log.group.names"] = [group]
    found |= dict(listed(environ.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    if environ.get("OTEL_SERVICE_NAME"):
        found["service.name"] = environ["OTEL_SERVICE_NAME"]
    found["service.name"] = found["service.name"] or "unknown_service"
    return {key: value for key, value in found.items() if value != ""}


def listed(text: str) -> list[tuple[str, str]]:
    """The pairs of a list `key=value,key=value` in which values are percent-encoded. Source: W3C Baggage."""
    from urllib.parse import unquote

    pairs = []
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if equals and key.strip():
            pairs.append((unquote(key.strip()), unquote(value.strip())))
    return pairs
