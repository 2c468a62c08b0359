"""A function on the local platform as a caller sees it: as many environments as there are concurrent requests."""

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coldspan_console.platform import postmortem
from coldspan_console.platform.invocation import Invocation
from coldspan_console.platform.lifecycle import error_type_of
from coldspan_console.platform.local import LocalLambda, PlatformTimeoutError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from coldspan_console.platform.function import Function
    from coldspan_console.platform.server import Exchange

# Source: Lambda developer guide, "Init phase": with SnapStart it may take 130 s, or the function's timeout.
SNAPSHOT_S = 130.0


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a function, an extension or the platform wrote. `kind`: "function", "extension" or "platform"."""

    environment: int  # counts from 1 in one fleet
    kind: str
    text: str  # without its newline
    at_ms: int  # epoch ms
    request_id: str = ""  # of the invocation that ran meanwhile; "" in init


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an invocation ended, as the service tells its caller.

    `status` is "success", "error" (the handler raised), "timeout", "failure" (the process died, init failed) or
    "throttled" (no environment was free). `body` is what the caller gets: the response, or the error as JSON.
    `report` has the figures of the REPORT line, where they are known yet: durationMs, billedDurationMs, memorySizeMB,
    maxMemoryUsedMB, initDurationMs; settled() has it in any case.
    """

    request_id: str
    status: str
    body: bytes
    error_type: str = ""
    environment: int = 0
    report: "dict[str, Any]" = field(default_factory=dict)


class Fleet:
    """The environments of one function: made when all are busy, up to `most`, and used again.

    >>> with Fleet(Function(task=folder), heard=print) as fleet:
    ...     fleet.invoke(b'{"n": 1}').body

    invoke() may be called from any thread, and returns when the response has been posted: what the function and its
    extensions do afterwards goes on. `heard` is told every LogLine, from threads of the fleet's own.
    """

    def __init__(
        self, function: "Function", *, most: int = 10, timeout_ms: int = 3_000,
        heard: "Callable[[LogLine], None]" = lambda _: None,
    ) -> None:  # fmt: skip
        self.function = function
        self.most = most
        self.timeout_ms = timeout_ms
        self._heard = heard
        self._changed = threading.Condition()
        self._free: list[LocalLambda] = []
        self._all: list[LocalLambda] = []
        self._told: dict[int, int] = {}
        self._reports: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self.close()

    def invoke(
        self, event: bytes = b"{}", *, request_id: str = "", client_context: "str | None" = None,
        trace_id: "str | None" = None, tenant_id: "str | None" = None,
    ) -> Outcome:  # fmt: skip
        """Invoke the function once and give how it ended."""
        number, platform = self._take()
        invocation = Invocation(
            event, request_id=request_id or str(uuid.uuid4()), deadline_ms=self.timeout_ms,
            client_context=client_context, trace_id=trace_id, tenant_id=tenant_id,
        )  # fmt: skip
        failed_before = len(platform.api.init_errors)
        platform.submit(invocation)
        platform.wait_for(lambda: invocation.posted is not None or bool(invocation.ended) or bool(platform.reason), 900)
        reason, posted = platform.reason, invocation.posted
        init_errors = platform.api.init_errors[failed_before:]
        threading.Thread(target=self._settle, args=(number, platform, invocation), daemon=True).start()
        return self._outcome(number, invocation, posted, reason, init_errors)

    def _outcome(
        self, number: int, invocation: Invocation, posted: "Exchange | None", reason: str, init_errors: "list[Exchange]"
    ) -> Outcome:
        request_id = invocation.request_id
        if posted is not None:
            failed = posted.path.endswith("/error")
            kind = error_type_of(posted) if failed else ""
            return Outcome(request_id, "error" if failed else "success", posted.body, kind, number)
        if init_errors:
            return Outcome(request_id, "failure", init_errors[-1].body, error_type_of(init_errors[-1]), number)
        if reason == "timeout":
            text = f"{request_id} Task timed out after {self.timeout_ms / 1_000:.2f} seconds"
            kind, status = "Sandbox.Timedout", "timeout"
        else:
            text = f"RequestId: {request_id} Error: Runtime exited without providing a reason"
            kind, status = "Runtime.ExitError", "failure"
        body = json.dumps({"errorType": kind, "errorMessage": text}).encode()
        return Outcome(request_id, status, body, kind, number)

    def close(self) -> None:
        """End all environments, with SHUTDOWN for their extensions; what they print meanwhile is still heard."""
        for number, platform in enumerate(self._all, 1):
            platform.spindown()
            self._tell(number, platform)
            platform.close()

    def _take(self) -> "tuple[int, LocalLambda]":
        with self._changed:
            self._changed.wait_for(lambda: self._free or len(self._all) < self.most)
            if self._free:
                platform = self._free.pop()
            else:
                platform = LocalLambda(self.function, enforce_deadline=True)
                self._all.append(platform)
                platform.start()
                self._restore(platform)
            return self._all.index(platform) + 1, platform

    def _restore(self, platform: LocalLambda) -> None:
        """Let a SnapStart function go on from its snapshot, which is when its runtime asks for the restore."""
        if self.function.init_type == "snap-start":
            api = platform.api
            platform.wait_for(lambda: api.restoring_count or api.waiting_count or platform.reason, SNAPSHOT_S)
            api.restore.set()

    def settled(self, timeout_s: float = 20.0) -> "dict[str, dict[str, Any]]":
        """Wait until nothing is at work on any more; the figures of every invocation's REPORT, by request id."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._free) == len(self._all), timeout_s)
            return dict(self._reports)

    def _settle(self, number: int, platform: LocalLambda, invocation: Invocation) -> None:
        if not platform.reason:
            with contextlib.suppress(PlatformTimeoutError):
                platform.wait_idle(self.timeout_ms / 1_000 + 5)
        self._tell(number, platform, invocation.request_id)
        told = {each["requestId"]: each["metrics"] for each in platform.telemetry.records("platform.report")}
        if platform.reason:
            self._autopsy(number, platform, invocation)
            with contextlib.suppress(PlatformTimeoutError):
                platform.restart()
        with self._changed:
            self._reports |= told
            self._free.append(platform)
            self._changed.notify_all()

    def _autopsy(self, number: int, platform: LocalLambda, invocation: Invocation) -> None:
        """Tell of what the environment was killed at, unless its black box has."""
        folder = platform.sandbox.folders.tmp / "coldspan"
        for line in postmortem.tell(self.function, folder, platform.reason, request_id=invocation.request_id):
            text, now_ms = line.decode().rstrip("\n"), time.time_ns() // 1_000_000
            self._heard(LogLine(number, "platform", text, now_ms, invocation.request_id))

    def _tell(self, number: int, platform: LocalLambda, request_id: str = "") -> None:
        lines = platform.ledger.entries("stdout", "stderr", "extension")
        told = self._told.get(number, 0)
        self._told[number] = len(lines)
        for entry in lines[told:]:
            kind = "extension" if entry.kind == "extension" else "function"
            text = entry.item.decode("utf-8", "replace").rstrip("\n")
            self._heard(LogLine(number, kind, text, time.time_ns() // 1_000_000, request_id))


__all__ = ["Fleet", "LogLine", "Outcome"]
