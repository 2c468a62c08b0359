"""What the platform makes of what its APIs see: when init and invocations begin and end, and the events of it."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.platform.runtime_api import LARGEST_RESPONSE_BYTES, Observer
from coldspan_console.platform.telemetry_api import iso

if TYPE_CHECKING:
    from coldspan_console.platform.extensions_api import Extension, ExtensionsApi
    from coldspan_console.platform.function import Function
    from coldspan_console.platform.invocation import Invocation
    from coldspan_console.platform.server import Exchange
    from coldspan_console.platform.telemetry_api import TelemetryApi

NS_PER_MS = 1_000_000


@dataclass(slots=True, eq=False)
class Running:
    """An invocation on its way. Times are monotonic ns; 0 while it has not come to that."""

    invocation: "Invocation"
    begun_ns: int
    posted_ns: int = 0
    done_ns: int = 0  # the runtime asked for the next one, or was ended
    status: str = "success"
    error_type: str = ""


class Lifecycle(Observer):
    """One environment after the other: begin(), then what the Runtime and Extensions API see, then ended().

    All is called with the condition `changed` of the APIs held. `process_id` is where the memory figure is read.
    """

    def __init__(self, function: "Function", extensions: "ExtensionsApi", telemetry: "TelemetryApi") -> None:
        self.function = function
        self.extensions = extensions
        self.telemetry = telemetry
        self.process_id = 0
        self.running: dict[str, Running] = {}
        self._phase = "init"
        self._init_ended = False
        self._runtime_ready = False
        self._init_error = ""
        self._init_ms = 0.0
        self._began_ns = 0
        self._memory_mb = 0
        self._told_ready: set[str] = set()
        extensions.heard = self._heard

    @property
    def managed(self) -> bool:
        """Whether this is a Managed Instance."""
        return self.function.max_concurrency is not None

    def begin(self, phase: str) -> None:
        """An environment begins, by itself ("init") or after one that has failed ("invoke")."""
        self._phase, self._began_ns = phase, time.monotonic_ns()
        self._init_ended = self._runtime_ready = False
        self._init_error, self._init_ms = "", 0.0
        self._told_ready.clear()
        function = self.function
        self._emit(
            "initStart", initializationType=function.init_type, phase=phase, functionName=function.name,
            functionVersion=function.version, instanceMaxMemory=function.memory_mb << 20,
        )  # fmt: skip

    def ended(self, status: str, error_type: str, *, report_late: bool = False) -> "list[Running]":
        """The runtime's process has ended: tell it of the invocations that it had.

        With `report_late` their platform.report is left for report(), which takes what this gives.
        """
        if not self._init_ended and not self.running:
            self._init_error = self._init_error or error_type
            self._end_init(status)
        self._init_ended = True
        left = list(self.running.values())
        self.running.clear()
        for one in left:
            if not one.done_ns:
                one.done_ns = time.monotonic_ns()
                one.status, one.error_type = status, one.error_type or error_type
                self._tell_done(one)
            elif status == "timeout":  # the extensions' part of it has lasted too long
                one.status = status
            if not report_late:
                self.report(one)
        return left

    # Observer: what the Runtime API sees

    def may_give(self) -> bool:
        """Not before init has ended, and on demand one at a time."""
        return self._init_ended and (self.managed or not self.running)

    def asked(self) -> None:
        """Init, or the runtime's part of an invocation, is over."""
        self.extensions.open = False
        if not self._runtime_ready:
            self._runtime_ready = True
            self._emit("initRuntimeDone", **self._of_init("success"))
        for one in self.running.values():
            if one.posted_ns and not one.done_ns:
                one.done_ns = time.monotonic_ns()
                self._tell_done(one)
        self._settle()

    def given(self, invocation: "Invocation") -> None:
        """An invocation begins, for the runtime and for the extensions that want to know."""
        self.running[invocation.request_id] = Running(invocation, time.monotonic_ns())
        told = {"requestId": invocation.request_id, "version": self.function.version}
        if self.managed:
            told["functionArn"] = invocation.function_arn
        self._emit("start", **told, **tracing(invocation))
        if not self.managed:
            self.extensions.invoke(invocation, invocation.given_deadline_ms)

    def posted(self, invocation: "Invocation") -> None:
        """The response or error has come."""
        one = self.running.get(invocation.request_id)
        if one is None or invocation.posted is None:
            return
        one.posted_ns = time.monotonic_ns()
        if invocation.posted.path.endswith("/error"):
            one.status, one.error_type = "error", error_type_of(invocation.posted)
        elif len(invocation.posted.body) > LARGEST_RESPONSE_BYTES:
            one.status, one.error_type = "error", "Function.ResponseSizeTooLarge"
        if self.managed:
            one.done_ns = one.posted_ns
            del self.running[invocation.request_id]
            self.report(one)

    def too_long(self, invocation: "Invocation") -> None:
        """Its caller waits no longer, and its code runs on: so a Managed Instance keeps to a function's timeout."""
        invocation.ended = "timeout"
        one = self.running.pop(invocation.request_id, None)
        if one is not None:
            one.done_ns, one.status, one.error_type = time.monotonic_ns(), "timeout", "Sandbox.Timedout"
            self.report(one)

    def failed(self, exchange: "Exchange") -> None:
        """The runtime says that its init failed."""
        self._init_error = error_type_of(exchange)

    # what it tells

    def report(self, one: Running) -> None:
        """Tell the invocation's figures: the last event of it."""
        invocation = one.invocation
        invocation.ended = one.status
        ended_ns = time.monotonic_ns() if one.done_ns and one.posted_ns and not self.managed else one.done_ns
        duration_ms = (ended_ns - one.begun_ns) / NS_PER_MS
        metrics: dict[str, Any] = {"durationMs": round(duration_ms, 3)}
        if not self.managed:
            first_ms, self._init_ms = self._init_ms, 0.0
            metrics |= {
                "billedDurationMs": math.ceil(duration_ms + first_ms),  # init is billed, too
                "memorySizeMB": self.function.memory_mb,
                "maxMemoryUsedMB": self.memory_mb,
            }
            if first_ms and self._phase == "init":
                metrics["initDurationMs"] = round(first_ms, 2)
        told: dict[str, Any] = {"requestId": invocation.request_id, "status": one.status, "metrics": metrics}
        if self.managed and one.posted_ns:
            told["spans"] = spans(one)
        elif one.posted_ns and any("INVOKE" in other.events for other in self.extensions.extensions):
            told["spans"] = [span("extensionOverhead", one.done_ns, ended_ns)]
        if one.error_type:
            told["errorType"] = one.error_type
        self._emit("report", **told, **tracing(invocation))

    @property
    def memory_mb(self) -> int:
        """The most that the runtime's process has used; what it was when last asked if it has gone."""
        try:
            status = Path(f"/proc/{self.process_id}/status").read_text("ascii", "replace")
            (most,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
            self._memory_mb = int(most.split()[1]) >> 10
        except (OSError, ValueError):
            pass
        return self._memory_mb

    def used_up(self) -> None:
        """It has used all the memory there is: what it had before it was killed says less."""
        self._memory_mb, self.process_id = self.function.memory_mb, 0

    def _tell_done(self, one: Running) -> None:
        if self.managed:
            return
        posted = one.invocation.posted
        metrics: dict[str, Any] = {"durationMs": round((one.done_ns - one.begun_ns) / NS_PER_MS, 3)}
        metrics["producedBytes"] = len(posted.body) if posted is not None else 0
        told: dict[str, Any] = {"requestId": one.invocation.request_id, "status": one.status, "metrics": metrics}
        if one.posted_ns:
            told["spans"] = [*spans(one), span("runtimeOverhead", one.posted_ns, one.done_ns)]
        if one.error_type:
            told["errorType"] = one.error_type
        _ = self.memory_mb  # while the process is there
        self._emit("runtimeDone", **told, **tracing(one.invocation))

    def _heard(self, extension: "Extension") -> None:
        if extension.asked_count == 1 and extension.identifier not in self._told_ready:
            self._told_ready.add(extension.identifier)
            self._emit("extension", name=extension.name, state="Ready", events=list(extension.events))
        self._settle()

    def _settle(self) -> None:
        """End what nobody is at work on any more."""
        if not self.extensions.are_idle():
            return
        if self._runtime_ready and not self._init_ended:
            self._end_init("success")
        for request_id, one in list(self.running.items()):
            if one.done_ns:
                del self.running[request_id]
                self.report(one)

    def _end_init(self, status: str) -> None:
        self._init_ended = True
        self.telemetry.open = False
        self._init_ms = (time.monotonic_ns() - self._began_ns) / NS_PER_MS
        if self._init_error:
            self._emit("initRuntimeDone", **self._of_init(status))
        self._emit("initReport", metrics={"durationMs": round(self._init_ms, 3)}, **self._of_init(status))

    def _of_init(self, status: str) -> "dict[str, Any]":
        told = {"initializationType": self.function.init_type, "phase": self._phase, "status": status}
        return {**told, "errorType": self._init_error} if self._init_error else told

    def _emit(self, kind: str, **record: Any) -> None:
        self.telemetry.emit(f"platform.{kind}", record)


def tracing(invocation: "Invocation") -> "dict[str, Any]":
    """The `tracing` member, when there is a trace header."""
    if invocation.trace_id is None:
        return {}
    return {"tracing": {"type": "X-Amzn-Trace-Id", "value": invocation.trace_id}}


def span(name: str, from_ns: int, until_ns: int) -> "dict[str, Any]":
    """A span between two monotonic moments."""
    start_ns = time.time_ns() - (time.monotonic_ns() - from_ns)
    return {"name": name, "start": iso(start_ns), "durationMs": round((until_ns - from_ns) / NS_PER_MS, 3)}


def spans(one: Running) -> "list[dict[str, Any]]":
    """How long until the response came, and how long it took to come: here it is whole at once."""
    return [
        span("responseLatency", one.begun_ns, one.posted_ns),
        span("responseDuration", one.posted_ns, one.posted_ns),
    ]


def error_type_of(exchange: "Exchange") -> str:
    """What kind of error a request tells of."""
    named = exchange.header("Lambda-Runtime-Function-Error-Type")
    try:
        return named or str(json.loads(exchange.body)["errorType"])
    except (ValueError, KeyError, TypeError):
        return "Runtime.Unknown"
