"""The raw facts of a call and of an invocation, and the record a call becomes.

`Call` and `Invocation` are what the hot path writes: numbers and short strings, never a response, an exception, a
traceback or a request. `CallToolResult` is what leaves; `core.result` makes it when the drain runs.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.core.trace import TraceHeader

# Where a call's failure came from, as far as the exception itself says it.
TIMEOUT = "timeout"
CONNECTION = "connection"
CANCELLED = "cancelled"
ERROR = "error"

# The index of each phase in `Call.phases`; names in the order in which they are written.
PHASES = ("connect", "tls", "send", "wait", "receive", "serialize", "parse")
CONNECT, TLS, SEND, WAIT, RECEIVE, SERIALIZE, PARSE = range(7)

# What made the call: the AWS SDK, a plain HTTP client, or the customer by hand.
AWS = "aws"
HTTP = "http"
USER = "user"


class Call:
    """One downstream call. Times are ns (`*_ns` monotonic, `epoch_ns` wall clock); counts are None where unknown."""

    __slots__ = (
        "attributes",  # dict of OpenTelemetry attribute names, or None
        "cause",  # "", TIMEOUT, CONNECTION, CANCELLED or ERROR: what an exception said of itself
        "end_ns",  # 0 while the call is open
        "epoch_ns",
        "error_text",  # raw text of the error, at most RAW_TEXT_CHARS; masked when drained
        "error_type",  # the service's error code, else the exception's class name; "" when there was none
        "http_status",  # 0 when there was no response
        "items",
        "items_failed",
        "kind",  # AWS, HTTP or USER
        "late",  # ended after its invocation had been drained
        "operation",
        "owner",  # the Invocation it belongs to
        "parent",  # the Call or Invocation that was current when it began
        "payload",  # captured and already masked and bounded, or None
        "phases",  # list of ns by the index above, or None
        "retries",  # attempts beyond the first
        "serial",  # its number in the journal, 0 when it is not there
        "span_id",  # int, 64 bit, never 0
        "start_ns",
        "throttles",  # attempts that were throttled, healed ones included
        "tool",
    )

    def __init__(
        self,
        owner: "Invocation",
        parent: "Call | Invocation",
        kind: str,
        tool: str,
        operation: str,
        span_id: int,
        epoch_ns: int,
    ) -> None:
        self.owner = owner
        self.parent = parent
        self.kind = kind
        self.tool = tool
        self.operation = operation
        self.span_id = span_id
        self.epoch_ns = epoch_ns
        self.start_ns = self.end_ns = self.http_status = self.retries = self.throttles = self.serial = 0
        self.error_type = self.error_text = self.cause = ""
        self.items: "int | None" = None
        self.items_failed: "int | None" = None
        self.phases: "list[int] | None" = None
        self.attributes: "dict[str, Any] | None" = None
        self.payload: "Any" = None
        self.late = False


class Invocation:
    """One invocation, or (kind INIT, BACKGROUND) what is outside of any. Times are ns unless named otherwise."""

    __slots__ = (
        "_trace",
        "annotations",  # dict or None
        "batch_failures",  # batchItemFailures the handler returned, or None
        "calls",  # finished calls, in the order in which they ended
        "closed",  # drained: what ends now is late, what begins now is background
        "cpu_ns",
        "deadline_ms",  # epoch ms, 0 when unknown
        "deadline_near",  # was still running shortly before its deadline
        "dropped",  # dict reason -> count, or None
        "end_ns",
        "epoch_ns",
        "error_text",
        "error_type",
        "flush",  # "after_response", "before_response", or "journal": told by another process after a kill
        "function_arn",
        "handler_ns",  # time inside the handler
        "kind",  # "invocation", "init" or "background"
        "links",  # trace headers of the event's messages, or None
        "metrics",  # list of (name, value, unit) or None
        "open",  # span id -> Call, begun and not yet ended; dict operations are atomic, a counter would not be
        "outcome",  # "", ok, error, pending, unserialisable, too_large, timeout, crash, out_of_memory, init_error
        "overhead_ns",
        "posted_ns",
        "queue_ms",  # how long the event had waited, or None
        "replay",  # a durable execution's later pass over the same event
        "request_id",
        "response_bytes",  # None when no response was posted
        "serial",  # its number in the journal, 0 when it is not there
        "span_id",
        "start",  # cold, warm, restored, provisioned
        "start_ns",
        "state",  # how far it got: see hot.bootstrap
        "tenant_id",
        "trace_text",  # the trace header as it came
        "trigger",  # what core.trigger said of the event, or None
    )

    def __init__(self, kind: str, request_id: str, span_id: int, start_ns: int, epoch_ns: int) -> None:
        self.kind = kind
        self.request_id = request_id
        self.span_id = span_id
        self.start_ns = start_ns
        self.epoch_ns = epoch_ns
        self.calls: "list[Call]" = []
        self.open: "dict[int, Call]" = {}
        self.deadline_ms = self.end_ns = self.posted_ns = self.serial = 0
        self.cpu_ns = self.handler_ns = self.overhead_ns = self.state = 0
        self.closed = self.replay = self.deadline_near = False
        self.outcome = self.error_type = self.error_text = self.function_arn = self.tenant_id = self.trace_text = ""
        self.flush = "after_response"
        self.start = "warm"
        self.annotations: "dict[str, Any] | None" = None
        self.metrics: "list[tuple[str, Any, str]] | None" = None
        self.dropped: "dict[str, int] | None" = None
        self.links: "list[str] | None" = None
        self.trigger: "Any" = None
        self._trace: "TraceHeader | None" = None
        self.batch_failures: "int | None" = None
        self.queue_ms: "float | None" = None
        self.response_bytes: "int | None" = None

    @property
    def trace(self) -> "TraceHeader | None":
        """The TraceHeader, or None; taken apart when first asked for."""
        if self._trace is None and self.trace_text:
            from coldspan.core.trace import parse

            self._trace = parse(self.trace_text)
            if self._trace is None:
                self.trace_text = ""
        return self._trace

    @trace.setter
    def trace(self, header: "TraceHeader | None") -> None:
        self._trace = header

    @property
    def calls_open(self) -> int:
        """How many calls had begun and not ended."""
        return len(self.open)


class CallToolResult:
    """One call to anything outside the handler's own code, and how it really ended.

    `duration_ms` and the values of `phases` are ms, `timestamp` is epoch ms at the start. `status` is one of ok,
    partial, throttled, timeout, rejected, error, cancelled, in_flight. `trace_id` is X-Ray's 32 hex digits without
    dashes and version (W3C-compatible), empty when the invocation had no trace.
    """

    __slots__ = (
        "attempts",
        "attributes",
        "duration_ms",
        "items",
        "items_failed",
        "kind",
        "late",
        "message",
        "operation",
        "parent_id",
        "payload",
        "phases",
        "request_id",
        "span_id",
        "status",
        "throttles",
        "timestamp",
        "tool",
        "trace_id",
    )

    tool: str
    operation: str
    status: str
    message: str
    duration_ms: float
    timestamp: int
    trace_id: str
    span_id: str
    parent_id: str
    attempts: int
    items: "int | None"
    items_failed: "int | None"
    phases: "dict[str, float]"
    attributes: "dict[str, Any]"
    payload: "Any"
    kind: str
    late: bool
    request_id: str
    throttles: int

    @property
    def success(self) -> bool:
        """Whether the call did all that it was asked."""
        return self.status == "ok"
