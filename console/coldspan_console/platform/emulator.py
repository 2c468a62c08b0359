"""The real runtime interface emulator, out of the aws-sam-cli wheel, with the layers where Lambda mounts them."""

import contextlib
import http.client
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from coldspan_console.platform.processes import send, tree
from coldspan_console.platform.sandbox import BY_VARIABLES, MOUNTED, Stage, unshare_command, version_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from coldspan_console.platform.function import Function

INVOKE_PATH = "/2015-03-31/functions/function/invocations"
SHUTDOWN_S = 10.0  # its extensions have 2 s
ARCHITECTURES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


class EmulatorMissingError(RuntimeError):
    """No emulator for this machine was found; the text says where it was looked for and what to do."""


def find_emulator(near: "Path | None" = None) -> Path:
    """The emulator's file: COLDSPAN_EMULATOR, an aws-sam-cli beside this interpreter, or the checkout's .venv-sam."""
    named = os.environ.get("COLDSPAN_EMULATOR")
    if named:
        return Path(named)
    name = f"aws-lambda-rie-{ARCHITECTURES.get(platform.machine(), platform.machine())}"
    root = near or Path(__file__).parents[3]
    for prefix in (Path(sys.prefix), root / ".venv-sam"):
        for found in prefix.glob(f"lib/python3*/site-packages/samcli/local/rapid/{name}"):
            return found
    raise EmulatorMissingError(f"{name} not found beside {sys.prefix} or in {root}/.venv-sam: run `make venv-sam`")


class Line:
    """A line that the emulator or the function printed, and when it was read (epoch ns)."""

    __slots__ = ("read_ns", "text")

    def __init__(self, text: bytes, read_ns: int) -> None:
        self.text = text
        self.read_ns = read_ns


class Answer:
    """What the emulator answered: HTTP status, body, and when the request was sent and answered (epoch ns)."""

    __slots__ = ("answered_ns", "body", "sent_ns", "status")

    def __init__(self, status: int, body: bytes, sent_ns: int, answered_ns: int) -> None:
        self.status = status
        self.body = body
        self.sent_ns = sent_ns
        self.answered_ns = answered_ns


class Emulator:
    """One function on the emulator, in on-demand mode, or with `function.max_concurrency` as a Managed Instance.

    The emulator dies of two invocations at once in on-demand mode, so they are made one after the other. Extensions are
    started from the layers' `extensions/` folders, but only where these could be mounted at /opt.
    """

    def __init__(self, function: "Function", *, timeout_s: int = 10, mounting: "str | None" = None) -> None:
        self.function = function
        self.timeout_s = timeout_s
        self.folders = Stage(
            function, mounting or (MOUNTED if unshare_command() else BY_VARIABLES), "coldspan-emulator-"
        )
        self.mounting = self.folders.mounting
        self.lines: list[Line] = []
        self.changed = threading.Condition()
        self._one_at_a_time = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._port = 0

    def __enter__(self) -> "Self":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the emulator and wait until it listens; the function itself starts at the first invocation."""
        function = self.function
        self._port, runtime_port = _free_ports(2)
        variables = dict(function.variables(f"127.0.0.1:{runtime_port}", None))
        del variables["AWS_LAMBDA_RUNTIME_API"]  # the emulator sets it
        if function.max_concurrency is None:
            # the emulator's on-demand mode does not set it, and its SnapStart is not to be asked for
            variables.pop("AWS_LAMBDA_INITIALIZATION_TYPE")
        variables |= {
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(self.timeout_s),
            "AWS_LAMBDA_FUNCTION_HANDLER": function.handler,
            "COLDSPAN_LOCAL_PYTHON": str(function.python),
            "COLDSPAN_LOCAL_VERSION": version_of(function.python),
        }
        emulator = [
            str(find_emulator()), "--log-level", "info",
            "--runtime-interface-emulator-address", f"127.0.0.1:{self._port}",
            "--runtime-api-address", f"127.0.0.1:{runtime_port}",
        ]  # fmt: skip
        variables = self.folders.variables(variables)
        if self.mounting == MOUNTED:
            command = self.folders.command(*emulator)
        else:
            command = [*emulator, str(function.runtime / "bootstrap"), function.handler]
        self._process = subprocess.Popen(
            command, env=variables, cwd=function.task, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), name="emulator", daemon=True)
        self._reader.start()
        self._wait_listening()

    def invoke(
        self, event: bytes = b"{}", *, client_context: "str | None" = None, trace: "str | None" = None
    ) -> Answer:
        """Invoke and wait for the answer. Errors: ConnectionError when the emulator has ended."""
        headers = {"Content-Type": "application/json"}
        if client_context:
            headers["X-Amz-Client-Context"] = client_context
        if trace:
            headers["X-Amzn-Trace-Id"] = trace
        if self.function.max_concurrency is not None:
            return self._post(event, headers)
        with self._one_at_a_time:
            return self._post(event, headers)

    def wait_for(self, condition: "Callable[[list[Line]], bool]", timeout_s: float = 5.0) -> bool:
        """Wait until the lines read so far satisfy the condition; whether they did."""
        with self.changed:
            return self.changed.wait_for(lambda: condition(self.lines), timeout_s)

    @property
    def text(self) -> str:
        """All that was printed."""
        return b"".join(line.text for line in self.lines).decode("utf-8", "replace")

    def runtimes(self) -> list[int]:
        """The processes that run the function now, by their ids: workers, too."""
        pids = tree([self._process.pid]) if self._process is not None else set()
        return sorted(pid for pid in pids if b"bootstrap.py" in _command_line(pid))

    def shutdown(self) -> int:
        """End the emulator as a person would, by SIGTERM, so that extensions get their SHUTDOWN; its exit code."""
        process = self._process
        assert process is not None, "it has not been started"  # noqa: S101 - a mistake of the caller's
        started = tree([process.pid]) - {process.pid}
        process.terminate()
        try:
            return process.wait(SHUTDOWN_S)
        finally:
            send(started, signal.SIGKILL)
            self.close()

    def close(self) -> None:
        """End the emulator and all that it has started, and read what is left of its output."""
        process, self._process = self._process, None
        if process is not None:
            send(tree([process.pid]), signal.SIGKILL)
            process.wait()
            if self._reader is not None:
                self._reader.join(5)
            process.stdout.close()
        self.folders.close()

    def _post(self, event: bytes, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=self.timeout_s + 20)
        try:
            sent_ns = time.time_ns()
            connection.request("POST", INVOKE_PATH, event, headers)
            response = connection.getresponse()
            body = response.read()
            return Answer(response.status, body, sent_ns, time.time_ns())
        finally:
            connection.close()

    def _read(self, stream: "subprocess.Popen[bytes]") -> None:
        for text in stream:  # type: ignore[attr-defined]
            with self.changed:
                self.lines.append(Line(text, time.time_ns()))
                self.changed.notify_all()

    def _wait_listening(self, timeout_s: float = 15.0) -> None:
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self._process is not None and self._process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                threading.Event().wait(0.02)
            else:
                return
        text = self.text
        self.close()
        raise EmulatorMissingError(f"the emulator did not start:\n{text}")


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in held]
    for server in held:
        server.close()
    return ports
