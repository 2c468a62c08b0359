"""A function on the local platform: started, invoked, watched, ended and started again."""

import contextlib
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

from coldspan_console.platform import datagrams, output, sandbox
from coldspan_console.platform.extensions_api import SHUTDOWN, ExtensionsApi
from coldspan_console.platform.invocation import Invocation
from coldspan_console.platform.ledger import Entry, Ledger
from coldspan_console.platform.lifecycle import Lifecycle, Running
from coldspan_console.platform.runtime_api import RuntimeApi
from coldspan_console.platform.sandbox import Sandbox
from coldspan_console.platform.server import Exchange, Server
from coldspan_console.platform.telemetry_api import TelemetryApi

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from coldspan_console.platform.function import Function

START_S = 20.0
# Source: Lambda developer guide, "Shutdown phase": 2 s with an external extension, up to 300 ms of it the runtime's.
SHUTDOWN_MS = 2_000
RUNTIME_GRACE_S = 0.3
# why an environment ends: the status and error type of its invocation's last events
ENDS = {
    "timeout": ("timeout", ""),
    "failure": ("error", "Runtime.ExitError"),
    "spindown": ("success", ""),
}
LOGGED = {"stdout": "function", "stderr": "function", "extension": "extension"}


class PlatformTimeoutError(AssertionError):
    """The function did not do what was waited for. The text carries what it printed."""


class LocalLambda:
    """The execution environments of a function, one after the other, from init to the end.

    >>> with LocalLambda(Function(task=folder)) as platform:
    ...     done = platform.invoke(b'{"n": 1}')
    ...     done.posted.body, platform.documents  # what the function posted, the EMF documents it printed

    The files in extensions/ of the layers are started as external extensions. An environment is ended by kill() or
    spindown(), with `enforce_deadline` also by an invocation's deadline, or by a process that ends itself; restart()
    begins the next, with new processes and the same /tmp.
    """

    def __init__(
        self, function: "Function", *, xray: bool = True, framed: bool = False, mounting: "str | None" = None,
        extensions: bool = True, enforce_deadline: bool = False,
    ) -> None:  # fmt: skip
        """`xray`: there is a daemon. `framed`: the runtime's own log goes into a pipe of its own, as on Lambda."""
        self.function = function
        self.framed = framed
        self.enforce_deadline = enforce_deadline
        self.ledger = Ledger()
        self.api = RuntimeApi()
        self.extensions_api = ExtensionsApi(function, self.api.changed)
        self.telemetry = TelemetryApi(self.extensions_api)
        self.lifecycle = (
            _Enforced(self) if enforce_deadline else Lifecycle(function, self.extensions_api, self.telemetry)
        )
        self.api.observer = self.lifecycle
        self.ledger.heard = self._log
        self.server = Server(self.ledger, [self.api, self.extensions_api, self.telemetry])
        self.daemon = datagrams.Daemon() if xray else None
        self.sandbox = Sandbox(function, mounting=mounting)
        self.exit_code: int | None = None
        self.reason = ""  # why the last environment ended: "timeout", "failure" or "spindown"
        self.late_reports: list[Running] = []
        self.heard: Callable[[Entry], None] = lambda _: None  # told of every entry of the ledger; it may not wait
        self.started: Callable[[int], None] = lambda _: None  # told of every process that is started
        self.ended: Callable[[int], None] = lambda _: None  # and of its end: its number may become another's
        self.stdout: output.Lines | None = None
        self._extensions = extensions
        self._watchers: list[threading.Thread] = []
        self._ending = threading.Lock()  # an environment ends once, whoever ends it
        self._ended = True
        self._closed = False

    def __enter__(self) -> "Self":
        self.start()
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self.close()

    # its life

    def start(self) -> None:
        """Start the processes; the runtime's when every extension has registered. Init goes on while this returns."""
        if self.daemon is not None:
            self.ledger.watch(self.daemon)
        self._start("init")

    def restart(self) -> None:
        """After an end: new processes, the same /tmp."""
        with self._ending:
            assert self._ended, "kill() or spindown() it first"  # noqa: S101 - a mistake of the caller's
        self.wait_for(lambda: not self.api.waiting_count)
        self.api.late.clear()
        self._start("invoke")
        with self.api.changed:
            late, self.late_reports = self.late_reports, []
            for one in late:
                self.lifecycle.report(one)

    def kill(
        self, reason: str = "failure", number: int = signal.SIGKILL, *,
        error_type: "str | None" = None, report_late: bool = False,
    ) -> None:  # fmt: skip
        """End the environment as the platform does: the runtime by a signal, then the extensions after SHUTDOWN.

        `error_type` is what the events tell, by itself what fits the reason. With `report_late` platform.report of the
        killed invocation comes only in the next environment.
        """
        with self._ending:
            if not self._ended:
                self._end(reason, number, error_type, report_late=report_late)

    def spindown(self) -> None:
        """End an environment that is no longer needed. The runtime gets SIGTERM only if there is an extension."""
        self.kill("spindown", signal.SIGTERM if self.extensions_api.extensions else signal.SIGKILL)

    def close(self) -> None:
        """Kill the processes, let go of all requests, read what is left. A second time does nothing."""
        if self._closed:
            return
        self._closed = True
        with self._ending:
            self._ended = True
        started = bool(self._watchers)
        self.sandbox.close()
        for watcher in self._watchers:
            watcher.join()
        self.server.close()
        self.ledger.close()
        if not started and self.daemon is not None:
            self.daemon.close()

    def _start(self, phase: str) -> None:
        with self._ending:
            self.exit_code, self.reason, self.sandbox.process = None, "", None
            self._ended = False
        files = self.sandbox.extension_files() if self._extensions else []
        with self.api.changed:
            self.extensions_api.begin(file.name for file in files)
            self.telemetry.begin()
            self.lifecycle.begin(phase)
        for file in files:
            self._start_extension(file)
        self.wait_for(lambda: self._ended or self.extensions_api.are_registered())
        if not self.extensions_api.are_registered():
            raise PlatformTimeoutError(f"not every extension has registered\n{self.text}")
        out_write, err_write = self._pipe("stdout"), self._pipe("stderr")
        variables = self.function.variables(self.server.address, self.daemon and self.daemon.address)
        written = [out_write, err_write]
        if self.framed:
            log_read, log_write = os.pipe()
            self.ledger.watch(output.Frames("frame", log_read))
            variables["_LAMBDA_TELEMETRY_LOG_FD"] = str(log_write)
            written.append(log_write)
        try:
            process = self.sandbox.start(variables, *written)
        finally:
            for descriptor in written:
                os.close(descriptor)
        self.lifecycle.process_id = process.pid
        self.started(process.pid)
        self._watch(self._runtime_ended, process)

    def _start_extension(self, file: "Path") -> None:
        written = self._pipe("extension")
        try:
            variables = self.function.extension_variables(self.server.address)
            process = self.sandbox.start_extension(file, variables, written, written)
        finally:
            os.close(written)
        self.started(process.pid)
        self._watch(self._extension_ended, process, file.name)

    def _pipe(self, kind: str) -> int:
        read, write = os.pipe()
        lines = output.Lines(kind, read)
        if kind == "stdout":
            self.stdout = lines
        self.ledger.watch(lines)
        return write

    def _end(self, reason: str, number: int, error_type: "str | None", *, report_late: bool = False) -> None:
        """End what runs; `_ending` is held."""
        self._ended, self.reason = True, reason
        process = self.sandbox.process
        _ = self.lifecycle.memory_mb  # while the process is there
        if process is not None:
            sandbox.end(process, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(RUNTIME_GRACE_S)
            sandbox.end(process)
        with self.api.changed:
            status, kind = ENDS.get(reason, ("failure", ""))
            late = self.lifecycle.ended(status, kind if error_type is None else error_type, report_late=report_late)
            self.late_reports += late if report_late else []
            self.extensions_api.shutdown(reason, SHUTDOWN_MS)
        self._end_extensions()
        self.telemetry.end()
        with self.api.changed:
            self.exit_code = process.returncode if process is not None else None
            self.api.changed.notify_all()

    def _end_extensions(self) -> None:
        for name, process in self.sandbox.extensions.items():
            found = self.extensions_api.named(name)
            if found is None or SHUTDOWN not in found.events:
                sandbox.end(process)
        external = [one for one in self.extensions_api.extensions if not one.internal]
        self.wait_for(lambda: all(one.ended for one in external), SHUTDOWN_MS / 1_000)
        for process in self.sandbox.extensions.values():
            sandbox.end(process)
        self.sandbox.extensions.clear()

    def _watch(self, then: Any, process: "subprocess.Popen[bytes]", *arguments: Any) -> None:
        def watch() -> None:
            process.wait()
            self.ended(process.pid)
            then(process, *arguments)

        self._watchers.append(threading.Thread(target=watch, name="exit", daemon=True))
        self._watchers[-1].start()

    def _runtime_ended(self, process: "subprocess.Popen[bytes]") -> None:
        with self._ending:
            if self._ended or process is not self.sandbox.process:
                return
            self._end("failure", signal.SIGKILL, None)

    def _extension_ended(self, process: "subprocess.Popen[bytes]", name: str) -> None:
        with self.api.changed:
            found = self.extensions_api.named(name)
            if found is not None and self.sandbox.extensions.get(name) is process:
                found.ended = True
            self.api.changed.notify_all()
        with self._ending:
            if not self._ended and self.sandbox.extensions.get(name) is process:
                # the service fails the environment of an extension that has ended, and the invocation that it had
                self._end("failure", signal.SIGKILL, "Extension.Crash")

    def forget(self) -> list[Entry]:
        """Keep what was seen no longer, and give it: for an environment that runs for long."""
        self.api.forget()
        self.server.forget()
        self.telemetry.forget()
        with self.api.changed:
            for extension in self.extensions_api.extensions:
                extension.given.clear()
        return self.ledger.forget()

    @property
    def pids(self) -> list[int]:
        """The processes that were started for the environment and have not ended."""
        process = self.sandbox.process
        started = [*([process] if process is not None else ()), *self.sandbox.extensions.values()]
        return [each.pid for each in started if each.returncode is None]

    def _log(self, entry: Entry) -> None:
        self.heard(entry)
        if entry.kind in LOGGED:
            self.telemetry.emit(LOGGED[entry.kind], entry.item.decode("utf-8", "replace"))

    # what to do with it

    def submit(self, event: "bytes | Invocation" = b"{}", **fields: Any) -> Invocation:
        """Queue an event, given as its bytes or as an Invocation."""
        invocation = event if isinstance(event, Invocation) else Invocation(event, **fields)
        return self.api.submit(invocation)

    def give_up(self, invocation: Invocation) -> None:
        """Let nobody wait for it any longer, while a worker may still be at work on it. For Managed Instances."""
        with self.api.changed:
            if invocation.posted is None and not invocation.ended:
                self.api.give_up(invocation)
                self.lifecycle.too_long(invocation)
            self.api.changed.notify_all()

    def invoke(self, event: "bytes | Invocation" = b"{}", **fields: Any) -> Invocation:
        """Queue an event and wait until the function is idle again, or has ended."""
        invocation = self.submit(event, **fields)
        self.wait_idle()
        return invocation

    def wait_idle(self, timeout_s: float = START_S) -> None:
        """Wait until every worker and extension asks for the next event and there is none, or the process has ended."""
        workers = self.function.max_concurrency or 1

        def idle() -> bool:
            waiting = not self.api.queued_count and self.api.waiting_count >= workers
            return waiting and self.extensions_api.are_idle() and not self.lifecycle.running

        self.wait_until(idle, timeout_s)

    def wait_exit(self, timeout_s: float = START_S) -> int:
        """Wait until the process has ended by itself; its exit code."""
        self.wait_until(lambda: False, timeout_s)
        return self.exit_code  # type: ignore[return-value]

    def wait_until(self, condition: Any, timeout_s: float = START_S) -> None:
        """Wait for a condition on what the API has seen, or for the end of the process. Else PlatformTimeoutError."""
        if not self.wait_for(lambda: self.exit_code is not None or condition(), timeout_s):
            raise PlatformTimeoutError(f"nothing after {timeout_s} s\n{self.text}")

    def wait_for(self, condition: Any, timeout_s: float = START_S) -> bool:
        """Wait for a condition on what the APIs have seen; whether it came to be in time."""
        return self.api.wait_until(condition, timeout_s)

    # what was seen

    @property
    def exchanges(self) -> list[Exchange]:
        """Every request up to now."""
        return self.server.exchanges

    @property
    def posts(self) -> list[Exchange]:
        """The requests that tell something: all but those for the next event."""
        return [exchange for exchange in self.exchanges if exchange.method != "GET"]

    @property
    def lines(self) -> list[bytes]:
        """Every line on stdout."""
        return [entry.item for entry in self.ledger.entries("stdout")]

    @property
    def text(self) -> str:
        """All that was printed, for messages and for reading."""
        return b"".join(entry.item for entry in self.ledger.entries(*LOGGED)).decode("utf-8", "replace")

    @property
    def documents(self) -> "list[dict[str, Any]]":
        """The EMF documents in the log, of the function and of extensions."""
        return output.documents([entry.item for entry in self.ledger.entries("stdout", "extension")])

    @property
    def segments(self) -> "list[dict[str, Any]]":
        """The documents sent to the X-Ray daemon."""
        return datagrams.segments([entry.item for entry in self.ledger.entries("datagram")])


class _Enforced(Lifecycle):
    """A lifecycle that ends the environment when an invocation's deadline passes."""

    def __init__(self, platform: LocalLambda) -> None:
        super().__init__(platform.function, platform.extensions_api, platform.telemetry)
        self._platform = platform
        self._timers: dict[str, threading.Timer] = {}

    def given(self, invocation: Invocation) -> None:
        """Begin to watch its deadline."""
        super().given(invocation)
        timer = threading.Timer(invocation.deadline_ms / 1_000, self._passed, (invocation,))
        timer.daemon = True
        self._timers[invocation.request_id] = timer
        timer.start()

    def report(self, one: Running) -> None:
        """Its deadline does not matter any more."""
        super().report(one)
        if (timer := self._timers.pop(one.invocation.request_id, None)) is not None:
            timer.cancel()

    def _passed(self, invocation: Invocation) -> None:
        if invocation.request_id in self.running:
            has_extension = bool(self.extensions.extensions)
            self._platform.kill("timeout", signal.SIGTERM if has_extension else signal.SIGKILL)
