"""What the platform said of each invocation and of the environment, joined by request id. Pure.

A report may come long after its invocation, at the next thaw: the table keeps what is known until then, and is bounded.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan_blackbox.telemetry import Event

REQUESTS = 64  # a Managed Instance serves up to as many at once
FAILED = frozenset(("timeout", "error", "failure"))
DEATHS = ("Runtime.ExitError", "Runtime.OutOfMemory", "Sandbox.", "Extension.")  # of its process
# member of `metrics` or name of a span -> the fact, and the metric of its line ("" for none)
METRICS = {
    "billedDurationMs": ("billed_duration_ms", "BilledDuration"),
    "durationMs": ("duration_ms", ""),
    "maxMemoryUsedMB": ("max_memory_used_mb", "MaxMemoryUsed"),
    "memorySizeMB": ("memory_size_mb", "MemorySize"),
    "initDurationMs": ("init_duration_ms", "PlatformInitDuration"),
    "restoreDurationMs": ("restore_duration_ms", "RestoreDuration"),
    "billedRestoreDurationMs": ("billed_restore_duration_ms", ""),
    "producedBytes": ("produced_bytes", ""),
}
SPANS = {
    "responseLatency": ("response_latency_ms", "ResponseLatency"),
    "responseDuration": ("response_duration_ms", ""),
    "runtimeOverhead": ("runtime_overhead_ms", "RuntimeOverhead"),
    "extensionOverhead": ("extension_overhead_ms", "ExtensionOverhead"),
}
AS_METRICS = {fact: metric for fact, metric in (*METRICS.values(), *SPANS.values()) if metric}


class Request:
    """One invocation, as far as the platform has told of it."""

    __slots__ = ("died", "ended", "facts", "recorded", "reported", "request_id", "signal", "time_ms", "told")

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.facts: "dict[str, Any]" = {}  # as they stand in a record
        self.ended = self.reported = self.told = False
        self.died = False  # before it had answered
        self.recorded = False  # there is a record of it, by its journal or otherwise
        self.signal = 0
        self.time_ms = 0

    @property
    def failed(self) -> bool:
        """Whether the platform itself calls it a failure."""
        return self.facts.get("status") in FAILED

    @property
    def killed(self) -> bool:
        """Whether its process has died with it, or is about to: a handler's own error has a type of the handler's."""
        if self.facts.get("status") in ("timeout", "failure"):
            return True
        return self.failed and str(self.facts.get("error_type", "")).startswith(("Runtime.", "Sandbox.", "Extension."))

    def end(self) -> None:
        """It has ended, and `died` says how."""
        self.ended = True
        facts = self.facts
        died = str(facts.get("error_type", "")).startswith(DEATHS)
        self.died = "response_latency_ms" not in facts and (facts.get("status") == "timeout" or died)

    def line(self) -> "tuple[dict[str, Any], dict[str, Any]]":
        """Metrics and properties of its line."""
        metrics = {AS_METRICS[fact]: value for fact, value in self.facts.items() if fact in AS_METRICS}
        others = {fact: value for fact, value in self.facts.items() if fact not in AS_METRICS}
        return metrics, {"request_id": self.request_id, "platform": True, **others}


class Init:
    """How one init of the environment went."""

    __slots__ = ("facts", "failed", "finished")

    def __init__(self) -> None:
        self.facts: "dict[str, Any]" = {}
        self.failed = self.finished = False


class PlatformFacts:
    """The table. `take` events; then see which requests have `ended`, which are `reportable`, how the init went."""

    def __init__(self) -> None:
        self.requests: "dict[str, Request]" = {}
        self.ended: "list[Request]" = []  # since they were last taken
        self.reportable: "list[Request]" = []
        self.inits: "list[Init]" = []
        self.started_count = 0
        self.logs_dropped = 0
        self._init: "Init | None" = None
        self._environment: "dict[str, Any]" = {}  # facts that join the next request's: init and restore

    def take(self, event: "Event") -> bool:
        """Note an event; whether it is one that is known."""
        known = getattr(self, "_" + event.kind, None) if event.kind in KNOWN else None
        if known is None:
            return event.kind in UNUSED
        known(event)
        return True

    def open_requests(self) -> "list[Request]":
        """Those that began and of which no report has come."""
        return [request for request in self.requests.values() if not request.reported]

    def leftover(self) -> "list[Request]":
        """Those that ended without a report, for the last line before SHUTDOWN; each once."""
        left = [request for request in self.requests.values() if request.ended and not request.told]
        for request in left:
            request.told = True
        return left

    def unfinished_init(self) -> "Init | None":
        """An init that failed and of which no report has come; once."""
        init, self._init = self._init, None
        return init if init is not None and init.failed and not init.finished else None

    def _request(self, event: "Event") -> "Request | None":
        request_id = event.text("requestId")
        if not request_id:
            return None
        request = self.requests.get(request_id)
        if request is None:
            while len(self.requests) >= REQUESTS:
                del self.requests[next(iter(self.requests))]
            request = self.requests[request_id] = Request(request_id)
        trace_id = event.trace_id()
        if trace_id:
            request.facts["trace_id"] = trace_id
        return request

    def _join(self, request: Request, event: "Event") -> None:
        facts = request.facts
        request.time_ms = event.time_ms or request.time_ms
        for name in ("status", "errorType"):
            text = event.text(name)
            if text:
                facts["status" if name == "status" else "error_type"] = text
        for name, (fact, _) in METRICS.items():
            value = event.metric(name)
            if value is not None:
                facts[fact] = value
        spans = event.spans()
        for name, (fact, _) in SPANS.items():
            if name in spans:
                facts[fact] = spans[name]
        request.signal = _signal(event.record) or request.signal

    def _start(self, event: "Event") -> None:
        if self._request(event) is not None:
            self.started_count += 1

    def _runtimeDone(self, event: "Event") -> None:  # noqa: N802  # the platform's word
        request = self._request(event)
        if request is not None:
            self._join(request, event)
            request.end()
            self.ended.append(request)

    def _report(self, event: "Event") -> None:
        request = self._request(event)
        if request is None or request.reported:
            return
        for name, value in self._environment.items():
            request.facts.setdefault(name, value)
        self._environment = {}
        self._join(request, event)
        if not request.ended:  # Managed Instances have no runtimeDone
            request.end()
            self.ended.append(request)
        request.reported = True
        if not request.told:
            request.told = True
            self.reportable.append(request)

    def _initStart(self, event: "Event") -> None:  # noqa: N802  # the platform's word
        self._init = Init()
        for name in ("phase", "initializationType", "runtimeVersion"):
            text = event.text(name)
            if text:
                self._init.facts[INIT_FACTS[name]] = text

    def _initRuntimeDone(self, event: "Event") -> None:  # noqa: N802  # the platform's word
        self._init = self._init or Init()
        self._note_init(self._init, event)

    def _initReport(self, event: "Event") -> None:  # noqa: N802  # the platform's word
        init = self._init or Init()
        self._init = None
        self._note_init(init, event)
        duration = event.metric("durationMs")
        if duration is not None:
            init.facts["init_duration_ms"] = duration
            if not init.failed:
                self._environment["init_duration_ms"] = duration
        init.finished = True
        self.inits.append(init)

    def _restoreReport(self, event: "Event") -> None:  # noqa: N802  # the platform's word
        duration = event.metric("durationMs")
        if duration is not None:
            self._environment["restore_duration_ms"] = duration
        if event.text("status") in FAILED:
            init = Init()
            init.failed = init.finished = True
            init.facts = {"phase": "restore", "status": event.text("status"), "error_type": event.text("errorType")}
            self.inits.append(init)

    def _note_init(self, init: Init, event: "Event") -> None:
        for name, fact in INIT_FACTS.items():
            text = event.text(name)
            if text:
                init.facts[fact] = text
        if event.text("status") in FAILED:
            init.failed = True

    def _logsDropped(self, event: "Event") -> None:  # noqa: N802  # the platform's word
        count = event.record.get("droppedRecords")
        self.logs_dropped += count if isinstance(count, int) and 0 < count < 1_000_000 else 1


INIT_FACTS = {
    "phase": "phase",
    "initializationType": "initialization_type",
    "runtimeVersion": "runtime_version",
    "status": "status",
    "errorType": "error_type",
}
KNOWN = frozenset(
    ("start", "runtimeDone", "report", "initStart", "initRuntimeDone", "initReport", "restoreReport", "logsDropped")
)
UNUSED = frozenset(("restoreStart", "restoreRuntimeDone", "extension", "telemetrySubscription", "fault"))


def _signal(record: "dict[str, Any]") -> int:
    """The signal that a text of the platform names ("signal: killed"), or 0."""
    for name in ("errorMessage", "errorType", "error", "reason"):
        text = record.get(name)
        if isinstance(text, str):
            for words, number in (("signal: killed", 9), ("signal 9", 9), ("segmentation fault", 11), ("aborted", 6)):
                if words in text[:1024].lower():
                    return number
    return 0
