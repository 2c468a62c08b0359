"""How a call really ended, decided from its raw facts."""

from coldspan.core.record import AWS, CANCELLED, CONNECTION, TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coldspan.core.record import Call

# Source: botocore.retries.standard.ThrottledRetryableChecker and botocore/data/_retry.json, 1.44.5.
THROTTLING = frozenset(
    (
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    )
)
# Codes by which a service says that a condition the caller had set did not hold; other services answer 409 or 412.
CONDITION_FAILED = frozenset(
    ("ConditionalCheckFailed", "ConditionalCheckFailedException", "PreconditionFailed", "PreconditionFailedException")
)
# Why DynamoDB cancelled a transaction, where it says so; the hook writes the first reason there.
CANCELLATION = "aws.dynamodb.cancellation_reason"
_CANCELLATION_STATUS = {
    "ConditionalCheckFailed": "rejected",
    "ProvisionedThroughputExceeded": "throttled",
    "ThrottlingError": "throttled",
}
READS = (
    "Get", "Head", "List", "Describe", "Query", "Scan", "BatchGet", "TransactGet", "Search", "Lookup", "View", "Select",
)  # fmt: skip
_BY_HTTP = {408: "timeout", 409: "rejected", 412: "rejected", 429: "throttled", 504: "timeout"}


def status_of(call: "Call") -> str:
    """Give ok, partial, throttled, timeout, rejected, error, cancelled or in_flight (the call has not ended)."""
    cause = call.cause
    if not cause and call.http_status < 300 and not call.error_type and not call.items_failed and call.end_ns:
        return "ok"
    if not call.end_ns:
        return "in_flight"
    if cause in (CANCELLED, TIMEOUT):
        return cause
    if cause == CONNECTION:
        return "error"
    if call.kind == AWS and call.error_type and (cause or call.http_status >= 300):
        status = _status_of_code(call)
        if status:
            return status
    http_status = call.http_status
    if http_status >= 400:
        if http_status == 404:
            return "rejected" if is_read(call) else "error"
        return _BY_HTTP.get(http_status, "error")
    if http_status == 304 and call.kind == AWS:
        return "rejected"  # botocore raises it when If-None-Match or If-Modified-Since does its work
    if cause:
        return "error"
    if call.items_failed:
        return "partial"
    return "error" if call.error_type or (http_status >= 300 and call.kind == AWS) else "ok"


def is_throttling(code: str) -> bool:
    """Whether an AWS error code is one that botocore takes for throttling; event streams write it in camelCase."""
    return code in THROTTLING or code[:1].upper() + code[1:] in THROTTLING


def is_read(call: "Call") -> bool:
    """Whether the call only asked for something, so that its absence is an answer and not a fault."""
    operation = call.operation
    if call.kind == AWS:
        return operation.startswith(READS)
    return operation in ("GET", "HEAD")


def _status_of_code(call: "Call") -> "str | None":
    """The status that an AWS error code decides by itself, or None: then the HTTP status does."""
    code = call.error_type
    if is_throttling(code):
        return "throttled"
    if code in CONDITION_FAILED:
        return "rejected"
    if code == "TransactionCanceledException":
        return _CANCELLATION_STATUS.get((call.attributes or {}).get(CANCELLATION, ""))
    if "NotFound" in code or "NoSuch" in code or "DoesNotExist" in code or "NonExistent" in code:
        return "rejected" if is_read(call) else "error"
    if code.endswith(("Timeout", "TimeoutException", "TimedOut", "TimedOutException")):
        return "timeout"
    return None
