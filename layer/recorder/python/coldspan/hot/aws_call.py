"""What the hooks of botocore and aiobotocore share: the steps of an AWS call, from its parameters to how it ended."""

from coldspan.core import limits
from coldspan.core.others import others_trace
from coldspan.core.record import AWS, CANCELLED, CONNECTION, ERROR, PARSE, SERIALIZE, TIMEOUT, Call
from coldspan.core.status import CANCELLATION, READS, is_throttling
from coldspan.core.trace import xray_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.core.outcomes import Rule
    from coldspan.core.trace import TraceHeader
    from coldspan.hot.aws_stream import Streams
    from coldspan.hot.scope import Scope

TRACE_HEADER = "X-Amzn-Trace-Id"

# Request parameters worth keeping, by service: (parameter, attribute). They name the resource, never its content.
# Source: OpenTelemetry semantic conventions, "AWS SDK spans", FaaS and GenAI.
_ATTRIBUTES = {
    "bedrock-runtime": (("modelId", "gen_ai.request.model"),),
    "dynamodb": (("TableName", "aws.dynamodb.table_names"), ("RequestItems", "aws.dynamodb.table_names")),
    "kinesis": (("StreamName", "aws.kinesis.stream_name"),),
    "lambda": (("FunctionName", "faas.invoked_name"),),
    "logs": (("logGroupName", "aws.log.group.names"),),
    "s3": (("Bucket", "aws.s3.bucket"),),
    "sns": (("TopicArn", "aws.sns.topic.arn"),),
    "sqs": (("QueueUrl", "aws.sqs.queue.url"),),
    "stepfunctions": (("stateMachineArn", "aws.step_functions.state_machine.arn"),),
}
_LISTS = ("aws.dynamodb.table_names", "aws.log.group.names")
_VALUE_CHARS = 256

# Class names in an exception's line of ancestors, in this order: a ConnectTimeoutError is a ConnectionError too.
_CAUSES = (
    (TIMEOUT, frozenset(("ConnectTimeoutError", "ReadTimeoutError", "TimeoutError"))),
    (CONNECTION, frozenset(("ConnectionError", "HTTPClientError", "HTTPError", "OSError", "IncompleteReadError"))),
)


class Plan:
    """What is known of an operation before its first call ends: made once for each."""

    __slots__ = ("attributes", "rule", "service", "stream")

    def __init__(self, table: bytes, model: "Any", operation: str) -> None:
        self.service = model.service_name
        found = model.operation_model(operation)
        shape = found.output_shape
        stream = None
        if shape is not None:
            payload = shape.serialization.get("payload")
            if payload is not None and shape.members[payload].type_name == "blob":
                stream = payload
            stream = shape.event_stream_name or stream
        self.stream = stream  # the member of the answer that is read later
        self.rule = rule_for(table, self.service, operation)
        known = found.input_shape.members if found.input_shape is not None else ()
        pairs = _ATTRIBUTES.get(self.service, ())
        self.attributes = tuple([(*pair, pair[1] in _LISTS) for pair in pairs if pair[0] in known])


class AwsCalls:
    """The AWS calls of one scope. Its methods are the hooks' steps: the hooks shield them."""

    __slots__ = (
        "_hooks",
        "_made",
        "_opened",
        "capture",
        "clock",
        "current",
        "gives_way",
        "plans",
        "propagate",
        "scope",
        "table",
        "trace_parts",
    )

    def __init__(self, scope: "Scope") -> None:
        self.scope = scope
        self.clock = scope.clock
        self.current = scope.current.get
        self.capture = scope.settings.payloads
        self.propagate = scope.settings.xray != "off"
        self.gives_way = scope.settings.xray == "auto"
        self.plans: "dict[tuple[str, str], Plan]" = {}
        self.table = load()
        # what hooks the classes of streams, once a call answers with the first one
        self._hooks: "list[Callable[[Streams], None]]" = []
        self._made: "dict[str, Streams]" = {}
        self._opened: "Streams | None" = None
        self.trace_parts: "tuple[TraceHeader | None, str, str]" = (
            None,
            "",
            "",
        )  # one tuple, replaced at once: invocations may run side by side

    @property
    def streams(self) -> "Streams":
        """The streams being read; their classes are hooked when it is first asked for, as few functions read any."""
        streams = self._opened
        if streams is None:
            from coldspan.hot.aws_stream import Streams

            # Without a lock, which a fork could leave locked: threads that come here together share one object, and
            # hooking twice does no harm.
            streams = self._made.setdefault("streams", Streams(self.scope))
            for hook in self._hooks:
                hook(streams)
            self._opened = streams
        return streams

    def hook_streams(self, hook: "Callable[[Streams], None]") -> None:
        """Have the classes of streams hooked by `hook` when the first one is answered."""
        self._hooks.append(hook)
        if self._opened is not None:
            hook(self._opened)

    def begin(self, client: "Any", operation: str, params: "dict[str, Any]") -> "tuple[Call, Plan] | None":
        """Open the Call of one API call, as (call, plan); None when the invocation holds too many."""
        model = client._service_model
        plan = self.plans.get((model.service_name, operation))
        if plan is None:
            plan = self.plans[model.service_name, operation] = Plan(self.table, model, operation)
        attributes = {"cloud.region": client._client_config.region_name}
        for parameter, name, listed in plan.attributes:
            value = params.get(parameter)
            if type(value) is str and len(value) <= _VALUE_CHARS:
                attributes[name] = [value] if listed else value
            elif listed and isinstance(value, dict):
                attributes[name] = [str(key)[:_VALUE_CHARS] for key in list(value)[:10]]
        call = self.scope.begin(AWS, plan.service, operation)
        if call is None:
            return None
        call.attributes = attributes
        return call, plan

    def serialized(self, request: "Any", began: int, presigning: bool) -> None:
        """The request is complete and not yet signed: note how long it took, put our span into its trace header."""
        call = self.current()
        if type(call) is not Call or call.kind != AWS or call.end_ns or presigning:
            return
        if call.phases is None:
            call.phases = [0] * 7
        call.phases[SERIALIZE] += self.clock() - began
        trace = call.owner.trace
        if trace is None or not self.propagate:
            return
        headers = request["headers"]
        if TRACE_HEADER not in headers and TRACE_HEADER.lower() not in headers:
            known, head, tail = self.trace_parts
            if known is not trace:  # once an invocation
                # beside another tracer no subsegment of this call is sent: its id as Parent would lead nowhere
                parts = ("", "") if self.gives_way and others_trace() else header_parts(trace)
                known, head, tail = self.trace_parts = (trace, *parts)
            if head:
                headers[TRACE_HEADER] = head + "%016x" % call.span_id + tail

    def parsed(self, began: int) -> None:
        """A response has been parsed."""
        call = self.current()
        if type(call) is Call and call.kind == AWS and not call.end_ns:
            if call.phases is None:
                call.phases = [0] * 7
            call.phases[PARSE] += self.clock() - began

    def attempted(self, attempts: int, response: "Any") -> None:
        """One attempt is over, botocore is about to decide on a retry. `response` is (http, parsed), or None."""
        call = self.current()
        if type(call) is not Call or call.kind != AWS or call.end_ns:
            return
        call.retries = attempts - 1
        if response is None:
            call.http_status = 0
            return
        call.http_status = status = response[0].status_code
        error = response[1].get("Error")
        if status == 429 or (type(error) is dict and is_throttling(error.get("Code") or "")):
            call.throttles += 1

    def succeed(self, begun: "tuple[Call, Plan]", params: "dict[str, Any]", result: "Any") -> None:
        """End a call with its answer, or, when it carries a stream, leave that to the stream."""
        call, plan = begun
        try:
            if isinstance(result, dict):
                metadata = result.get("ResponseMetadata")
                if metadata:
                    note_metadata(call, metadata)
                if plan.rule is not None:
                    from coldspan.core.outcomes import read_outcome  # loaded with the rule

                    read_outcome(call, plan.rule, params, result)
                if self.capture != "off" and (self.capture == "all" or call.error_type or call.items_failed):
                    self.keep_payload(call, params, result, plan.stream)
                if plan.stream is not None and self.streams.follow(result.get(plan.stream), call):
                    self.scope.leave(call)
                    return
        except BaseException:
            self.scope.end(call)
            raise
        self.scope.end(call)

    def fail(self, begun: "tuple[Call, Plan]", params: "dict[str, Any]", error: BaseException) -> None:
        """End a call with an exception."""
        call, plan = begun
        try:
            describe(call, error, self.scope.settings.error_text)
            response = getattr(error, "response", None)
            if isinstance(response, dict):
                note_metadata(call, response.get("ResponseMetadata") or {})
                if not call.throttles and is_throttling(call.error_type):
                    call.throttles = 1  # a stub answers without attempts
            elif call.cause != ERROR:
                call.http_status = 0
            if plan.rule is not None:
                from coldspan.core.outcomes import count_items  # loaded with the rule

                call.items = count_items(plan.rule, params)
            if self.capture != "off":
                self.keep_payload(call, params, response, None)
        finally:
            self.scope.end(call)

    def keep_payload(self, call: "Call", params: "dict[str, Any]", response: "Any", stream: "Any") -> None:
        """Keep masked and bounded copies of what was sent and answered; a stream is named, never read."""
        from coldspan.core.payload import capture  # only where payloads were asked for

        if isinstance(response, dict):
            response = {key: value for key, value in response.items() if key not in ("ResponseMetadata", stream)}
        settings = self.scope.settings
        call.payload = {"request": capture(params, settings), "response": capture(response, settings)}


def load() -> bytes:
    """Give the rules of outcomes.txt as bytes; the loader knows zip files too. As a module they cost six times more."""
    loader: "Any" = __spec__.loader
    return bytes(loader.get_data(__file__.rpartition("hot")[0] + "core/outcomes.txt"))


def rule_for(table: bytes, service: str, operation: str) -> "Rule | None":
    """Give the Rule for an operation of boto3's client `service`, or None. To be asked once for each operation."""
    found = None
    at = table.find(b"\n%s\n " % service.encode()) + len(service) + 2
    while at > len(service) + 1 and table.startswith(b" ", at):
        end = table.index(b"\n", at)
        names, items, failed = table[at:end].decode().split()
        if operation in names.split(","):
            found = (items, failed)
            break
        if names == "*" and not operation.startswith(READS):
            found = (items, failed)
        at = end + 1
    if found is None:
        return None
    from coldspan.core.outcomes import Rule  # most functions call nothing that has one

    return Rule(*found)


def header_parts(trace: "Any") -> "tuple[str, str]":
    """The trace header in front of and behind our span's id; empty when it holds what a header may not."""
    header = xray_header(trace, 0)
    at = header.index("Parent=") + 7
    return (header[:at], header[at + 16 :]) if header.isascii() and header.isprintable() else ("", "")


def note_metadata(call: "Call", metadata: "dict[str, Any]") -> None:
    """Keep what ResponseMetadata says."""
    call.http_status = metadata.get("HTTPStatusCode") or 0
    retries = metadata.get("RetryAttempts")
    if retries:
        call.retries = retries
    request_id = metadata.get("RequestId")
    if request_id and call.attributes is not None:
        call.attributes["aws.request_id"] = request_id


def describe(call: "Call", error: BaseException, with_text: bool) -> None:
    """Write what an exception says of itself into the call; nothing of the exception is kept."""
    # Known before anything is read that may be the customer's and raise: the call has failed whatever that does.
    call.error_type = type(error).__name__
    call.cause = ERROR if isinstance(error, Exception) else CANCELLED
    response = getattr(error, "response", None)
    if isinstance(response, dict) and isinstance(response.get("Error"), dict):
        found = response["Error"]
        call.cause = ERROR
        call.error_type = str(found.get("Code") or type(error).__name__)[:_VALUE_CHARS]
        if with_text:
            call.error_text = str(found.get("Message") or "")[: limits.RAW_TEXT_CHARS]
        reasons = [reason for reason in response.get("CancellationReasons") or () if reason.get("Code") != "None"]
        if reasons and call.attributes is not None:
            call.attributes[CANCELLATION] = str(reasons[0].get("Code"))
            call.items_failed = len(reasons)
        return
    if isinstance(error, Exception):
        names = {kind.__name__ for kind in type(error).__mro__}
        call.cause = next((cause for cause, known in _CAUSES if not known.isdisjoint(names)), ERROR)
    if with_text:
        call.error_text = str(error)[: limits.RAW_TEXT_CHARS]


_last: "AwsCalls | None" = None


def calls_of(scope: "Scope") -> "AwsCalls":
    """The AwsCalls of a scope; botocore's hook and aiobotocore's share one."""
    global _last
    if _last is None or _last.scope is not scope:
        _last = AwsCalls(scope)
    return _last
