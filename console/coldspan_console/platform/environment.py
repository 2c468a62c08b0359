"""One execution environment as the service drives it: init, invocations, freeze and thaw, and every way to end."""

import contextlib
import json
import signal
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coldspan_console.platform import platformlog, postmortem, processes
from coldspan_console.platform.lifecycle import error_type_of
from coldspan_console.platform.local import LOGGED, LocalLambda, PlatformTimeoutError
from coldspan_console.platform.runtime_api import LARGEST_RESPONSE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldspan_console.platform.function import Function
    from coldspan_console.platform.invocation import Invocation
    from coldspan_console.platform.ledger import Entry
    from coldspan_console.platform.processes import Reaper
    from coldspan_console.platform.server import Exchange

# Source: Lambda developer guide, "Lambda execution environment lifecycle", "Init phase" and "Restore phase".
INIT_S, LONG_INIT_S = 10.0, 130.0  # on demand; provisioned, SnapStart and Managed Instances
LOOK_S = 0.05  # between two looks at the memory
MEGABYTE = 1 << 20
DELIVERY_S = 2.0  # for telemetry before the freeze


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a function, an extension or the platform wrote. `kind`: "function", "extension" or "platform"."""

    environment: int  # its number in the fleet
    kind: str
    text: str  # without its newline
    at_ms: int  # epoch ms
    request_id: str = ""  # of the invocation that ran meanwhile; "" in init, and where several ran


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an invocation ended, as the service tells its caller.

    `status` is "success", "error" (the handler raised), "timeout", "failure" (the process died, init failed) or
    "throttled" (no environment was free). `body` is what the caller gets: the response, or the error as JSON.
    The figures of its REPORT line are known later: Fleet.settled() has them.
    """

    request_id: str
    status: str
    body: bytes
    error_type: str = ""
    environment: int = 0


class Environment:
    """Environments of one slot, one after the other: when one has been reset, the next has its /tmp.

    start() once; then run() for each invocation and, in its own time, settle(); close() at the end. On demand one
    invocation runs at a time; a Managed Instance takes as many as it has workers, and is never frozen.
    """

    def __init__(
        self, number: int, function: "Function", timeout_ms: int, heard: "Callable[[LogLine], None]", reaper: "Reaper",
        *, freeze: bool = True,
    ) -> None:  # fmt: skip
        self.number = number
        self.function = function
        self.timeout_ms = timeout_ms
        self.managed = function.max_concurrency is not None
        self.workers = function.max_concurrency or 1
        self.tenant_id: str | None = None
        self.answered = False  # the response has come, and it will soon be free
        self.idle_since_ns = 0
        self.frozen = False
        self.running: dict[str, Invocation] = {}
        self._heard = heard
        self._freeze = freeze and not self.managed
        self._reports: dict[str, dict[str, Any]] = {}
        self._segments: list[Entry] = []
        self._restore_ms = 0.0
        self._out_of_memory = False
        self.platform = LocalLambda(function, enforce_deadline=not self.managed)
        self.platform.heard = self._entry
        self.platform.telemetry.heard = self._event
        self.platform.started, self.platform.ended = reaper.watch, reaper.forget
        reaper.remove(self.platform.sandbox.stage)
        self._restarting = threading.Lock()
        self._watching = threading.Event()
        self._closed = threading.Event()
        self._memory = threading.Thread(target=self._watch_memory, name=f"memory {number}", daemon=True)

    # its life

    def start(self) -> None:
        """Start it and wait for its init, as long as the service waits. What failed is tried again by run()."""
        self._memory.start()
        self._watching.set()
        with contextlib.suppress(PlatformTimeoutError):
            self.platform.start()
        self._await_init()
        if self.function.init_type == "snap-start" and not self.platform.reason:
            self._restore()

    def run(self, invocation: "Invocation") -> Outcome:
        """Hand out one invocation; give how it ended, when its response has come or nothing more can."""
        platform, api = self.platform, self.platform.api
        self.thaw()
        api.forget()
        self._restart()
        if self.managed:  # whose init is not counted into the function's time
            platform.wait_for(lambda: platform.lifecycle.may_give() or bool(platform.reason), LONG_INIT_S)
        self.running[invocation.request_id] = invocation
        self._watching.set()
        platform.submit(invocation)
        within_s = self.timeout_ms / 1_000
        given = lambda: invocation.given is not None or bool(platform.reason)  # noqa: E731
        if not platform.wait_for(given, within_s) and not self.managed:
            platform.kill("timeout")  # the suppressed init took the whole of the function's time
        _ = platform.lifecycle.memory_mb  # an invocation may be shorter than the time between two looks
        done = lambda: invocation.posted is not None or bool(invocation.ended) or bool(platform.reason)  # noqa: E731
        if self.managed:
            if invocation.given is None or not platform.wait_for(done, within_s):
                platform.give_up(invocation)
        else:
            while not platform.wait_for(done, 60):  # the deadline ends it
                pass
        self.answered = True
        return self._outcome(invocation)

    def settle(self, invocation: "Invocation") -> None:
        """Wait until nobody is at work on it any more, tell what was seen, and freeze or reset the environment."""
        platform = self.platform
        if not platform.reason:
            with contextlib.suppress(PlatformTimeoutError):
                if self.managed:  # its worker asks for the next one, when it has sent what it has recorded
                    asked = lambda: bool(invocation.ended) and self._workers_seen() >= self.workers  # noqa: E731
                    platform.wait_until(asked, self.timeout_ms / 1_000 + 20)
                else:
                    platform.wait_idle(self.timeout_ms / 1_000 + 20)
        platform.ledger.entries()  # all that was printed until now has been heard
        if platform.reason:
            platform.wait_for(lambda: platform.exit_code is not None, 5)
            self._autopsy(invocation.request_id)
            self._out_of_memory = False
        self.running.pop(invocation.request_id, None)
        if not self.running:
            self._watching.clear()
            self._keep(platform.forget())
            self.freeze()
        self.idle_since_ns, self.answered = time.monotonic_ns(), False

    def freeze(self) -> None:
        """Stop all its processes, when what the platform has told its extensions has arrived."""
        platform = self.platform
        if not self._freeze or self.frozen or platform.reason or not platform.pids:
            return
        until_ns = time.monotonic_ns() + int(DELIVERY_S * 1e9)
        while not platform.telemetry.delivered and time.monotonic_ns() < until_ns:
            self._closed.wait(0.005)
        processes.stop(platform.pids)
        self.frozen = True

    def thaw(self) -> None:
        """Let them go on."""
        if self.frozen:
            self.frozen = False
            processes.proceed(self.platform.pids)

    def close(self) -> None:
        """End it: SIGTERM and SHUTDOWN where there are extensions. What is printed meanwhile is still heard."""
        self.thaw()
        platform = self.platform
        platform.spindown()
        platform.ledger.entries()
        self._closed.set()
        self._watching.set()
        if self._memory.ident is not None:
            self._memory.join()
        platform.close()
        self._keep(platform.ledger.forget())

    def take_reports(self) -> "dict[str, dict[str, Any]]":
        """The figures of each REPORT, by request id, once."""
        taken, self._reports = self._reports, {}
        return taken

    def take_segments(self) -> "list[Entry]":
        """The datagrams for the X-Ray daemon, once."""
        taken, self._segments = self._segments, []
        return taken

    # what it does inside

    def _await_init(self) -> None:
        platform, function = self.platform, self.function
        api, lifecycle = platform.api, platform.lifecycle
        most_s = INIT_S if function.init_type == "on-demand" else LONG_INIT_S
        ready = lambda: lifecycle.may_give() or bool(api.restoring_count) or bool(platform.reason)  # noqa: E731
        if not platform.wait_for(ready, most_s):
            platform.kill("timeout")

    def _restart(self) -> None:
        """Begin anew where its init has failed, or it has been reset: within the function's own time."""
        with self._restarting, contextlib.suppress(PlatformTimeoutError):
            if self.platform.reason:  # the workers of a Managed Instance may all see it at once
                self.platform.restart()

    def _restore(self) -> None:
        """A real pause at the snapshot, then the runtime goes on; how long it took until it was ready."""
        platform = self.platform
        processes.stop(platform.pids)
        processes.proceed(platform.pids)
        began_ns = time.monotonic_ns()
        platform.api.restore.set()
        platform.wait_for(lambda: bool(platform.api.waiting_count) or bool(platform.reason), INIT_S)
        self._restore_ms = (time.monotonic_ns() - began_ns) / 1e6
        platform.telemetry.emit(
            "platform.restoreReport", {"status": "success", "metrics": {"durationMs": round(self._restore_ms, 3)}}
        )

    def _workers_seen(self) -> int:
        """How many workers of a Managed Instance wait, are at work, or may never be heard of again."""
        api = self.platform.api
        return api.waiting_count + len(self.platform.lifecycle.running) + len(api.late)

    def _outcome(self, invocation: "Invocation") -> Outcome:
        platform, request_id, posted = self.platform, invocation.request_id, invocation.posted
        if posted is not None and not (self.managed and invocation.ended == "timeout"):  # nobody waits for it then
            return self._answered(request_id, posted)
        if platform.reason:
            platform.wait_for(lambda: platform.exit_code is not None, 5)
        errors = platform.api.init_errors
        if errors:
            return Outcome(request_id, "failure", errors[-1].body, error_type_of(errors[-1]), self.number)
        if "timeout" in (platform.reason, invocation.ended):
            text = f"RequestId: {request_id} Error: Task timed out after {self.timeout_ms / 1_000:.2f} seconds"
            return self._failed(request_id, "timeout", "Sandbox.Timedout", text)
        if self._out_of_memory:
            text = f"RequestId: {request_id} Error: Runtime exited with error: signal: killed"
            return self._failed(request_id, "failure", "Runtime.OutOfMemory", text)
        how = exit_words(platform.exit_code)
        return self._failed(request_id, "failure", "Runtime.ExitError", f"RequestId: {request_id} Error: {how}")

    def _answered(self, request_id: str, posted: "Exchange") -> Outcome:
        if posted.path.endswith("/error"):
            return Outcome(request_id, "error", posted.body, error_type_of(posted), self.number)
        if len(posted.body) > LARGEST_RESPONSE_BYTES:
            text = f"Response payload size exceeded maximum allowed payload size ({LARGEST_RESPONSE_BYTES} bytes)."
            return self._failed(request_id, "error", "Function.ResponseSizeTooLarge", text)
        return Outcome(request_id, "success", posted.body, "", self.number)

    def _failed(self, request_id: str, status: str, error_type: str, text: str) -> Outcome:
        body = json.dumps({"errorType": error_type, "errorMessage": text}).encode()
        return Outcome(request_id, status, body, error_type, self.number)

    def _autopsy(self, request_id: str) -> None:
        """Tell of what it was killed at, unless its black box has."""
        kind = "Runtime.OutOfMemory" if self._out_of_memory else ""
        folder = self.platform.sandbox.folders.tmp / "coldspan"
        for line in postmortem.tell(self.function, folder, self.platform.reason, kind, request_id):
            self._say("platform", line.decode().rstrip("\n"), request_id)

    def _watch_memory(self) -> None:
        limit = self.function.memory_mb * MEGABYTE
        while not self._closed.is_set():
            self._watching.wait()
            process = self.platform.sandbox.process
            _ = self.platform.lifecycle.memory_mb
            if process is not None and process.returncode is None and processes.memory_bytes(process.pid) > limit:
                self._out_of_memory = True
                self.platform.lifecycle.used_up()
                self.platform.kill("failure", signal.SIGKILL, error_type="Runtime.OutOfMemory")
            self._closed.wait(LOOK_S)

    def _keep(self, entries: "list[Entry]") -> None:
        self._segments += [entry for entry in entries if entry.kind == "datagram"]

    # what it tells

    def _entry(self, entry: "Entry") -> None:
        if entry.kind in LOGGED:
            text = entry.item.decode("utf-8", "replace").rstrip("\r\n")
            running = list(self.running)
            self._say(LOGGED[entry.kind], text, running[0] if len(running) == 1 else "")

    def _event(self, event: "dict[str, Any]") -> None:
        record = event["record"]
        if event["type"] == "platform.report":
            if self._restore_ms:
                record["metrics"]["restoreDurationMs"] = round(self._restore_ms, 2)
                self._restore_ms = 0.0
            self._reports[record["requestId"]] = record["metrics"]
        as_json = self.function.environment.get("AWS_LAMBDA_LOG_FORMAT", "").lower() == "json" or self.managed
        for line in platformlog.line_of(event, as_json=as_json, version=self.function.version):
            self._say("platform", line, record.get("requestId", "") if isinstance(record, dict) else "")

    def _say(self, kind: str, text: str, request_id: str) -> None:
        self._heard(LogLine(self.number, kind, text, time.time_ns() // 1_000_000, request_id))


def exit_words(code: "int | None") -> str:
    """How a process has ended, in the service's words."""
    if code is None or code == 0:
        return "Runtime exited without providing a reason"
    if code < 0:
        name = signal.strsignal(-code) or str(-code)
        return f"Runtime exited with error: signal: {name.lower()}"
    return f"Runtime exited with error: exit status {code}"
