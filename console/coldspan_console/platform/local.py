"""A function on the local platform: started, invoked, watched and ended."""

import os
import threading
from typing import TYPE_CHECKING, Any

from coldspan_console.platform import datagrams, output
from coldspan_console.platform.invocation import Invocation
from coldspan_console.platform.ledger import Ledger
from coldspan_console.platform.runtime_api import RuntimeApi
from coldspan_console.platform.sandbox import Sandbox
from coldspan_console.platform.server import Exchange, Server

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from coldspan_console.platform.function import Function

START_S = 20.0


class PlatformTimeoutError(AssertionError):
    """The function did not do what was waited for. The text carries what it printed."""


class LocalLambda:
    """One execution environment of a function, from init to its end.

    >>> with LocalLambda(Function(task=folder)) as platform:
    ...     done = platform.invoke(b'{"n": 1}')
    ...     done.posted.body, platform.documents  # what the function posted, the EMF documents it printed
    """

    def __init__(
        self, function: "Function", *, xray: bool = True, framed: bool = False, mounting: "str | None" = None
    ) -> None:
        """`xray`: there is a daemon. `framed`: the runtime's own log goes into a pipe of its own, as on Lambda."""
        self.function = function
        self.framed = framed
        self.ledger = Ledger()
        self.api = RuntimeApi()
        self.server = Server(self.ledger, [self.api])
        self.daemon = datagrams.Daemon() if xray else None
        self.sandbox = Sandbox(function, mounting=mounting)
        self.exit_code: int | None = None
        self._watcher: threading.Thread | None = None
        self.stdout: output.Lines | None = None
        self._closed = False

    def __enter__(self) -> "Self":
        self.start()
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the process; init goes on while this returns."""
        if self.daemon is not None:
            self.ledger.watch(self.daemon)
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        self.stdout = output.Lines("stdout", out_read)
        self.ledger.watch(self.stdout)
        self.ledger.watch(output.Lines("stderr", err_read))
        variables = self.function.variables(self.server.address, self.daemon and self.daemon.address)
        # /tmp is the machine's own: the journals of other environments are not this one's to tell of
        variables.setdefault("COLDSPAN_JOURNAL_DIR", str(self.sandbox.stage / "journal"))
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
        self._watcher = threading.Thread(target=self._watch, args=(process,), name="exit", daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """Kill the process, let go of all requests, read what is left. A second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self.sandbox.close()
        if self._watcher is not None:
            self._watcher.join()
        self.server.close()
        self.ledger.close()
        if self._watcher is None and self.daemon is not None:
            self.daemon.close()

    # what to do with it

    def submit(self, event: "bytes | Invocation" = b"{}", **fields: Any) -> Invocation:
        """Queue an event, given as its bytes or as an Invocation."""
        invocation = event if isinstance(event, Invocation) else Invocation(event, **fields)
        return self.api.submit(invocation)

    def invoke(self, event: "bytes | Invocation" = b"{}", **fields: Any) -> Invocation:
        """Queue an event and wait until the function is idle again, or has ended."""
        invocation = self.submit(event, **fields)
        self.wait_idle()
        return invocation

    def wait_idle(self, timeout_s: float = START_S) -> None:
        """Wait until every worker asks for the next event and there is none, or the process has ended."""
        workers = self.function.max_concurrency or 1
        self.wait_until(lambda: not self.api.queued_count and self.api.waiting_count >= workers, timeout_s)

    def wait_exit(self, timeout_s: float = START_S) -> int:
        """Wait until the process has ended by itself; its exit code."""
        self.wait_until(lambda: False, timeout_s)
        return self.exit_code  # type: ignore[return-value]

    def wait_until(self, condition: Any, timeout_s: float = START_S) -> None:
        """Wait for a condition on what the API has seen, or for the end of the process. Else PlatformTimeoutError."""
        if not self.api.wait_until(lambda: self.exit_code is not None or condition(), timeout_s):
            raise PlatformTimeoutError(f"nothing after {timeout_s} s\n{self.text}")

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
        return b"".join(entry.item for entry in self.ledger.entries("stdout", "stderr")).decode("utf-8", "replace")

    @property
    def documents(self) -> "list[dict[str, Any]]":
        """The EMF documents on stdout."""
        return output.documents(self.lines)

    @property
    def segments(self) -> "list[dict[str, Any]]":
        """The documents sent to the X-Ray daemon."""
        return datagrams.segments([entry.item for entry in self.ledger.entries("datagram")])

    def _watch(self, process: Any) -> None:
        code = process.wait()
        with self.api.changed:
            self.exit_code = code
            self.api.changed.notify_all()
