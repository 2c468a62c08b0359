"""The Lambda API over fleets, as boto3 and the AWS CLI speak it: Invoke, ListFunctions, GetFunction.

Names and shapes: botocore's service model of Lambda, 2015-03-31.
"""

import base64
import contextlib
import http.server
import json
import re
import socket
import socketserver
import threading
import urllib.parse
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any

from coldspan_console.output import MISSING, ConsoleError

if TYPE_CHECKING:
    from coldspan_console.platform.asynchronous import Asynchronous
    from coldspan_console.platform.environment import LogLine, Outcome
    from coldspan_console.platform.fleet import Fleet

PREFIX = "/2015-03-31/functions"
INVOKE = re.compile(r"^/2015-03-31/functions/(?P<name>[^/]+)/invocations/?$")
ONE = re.compile(r"^/2015-03-31/functions/(?P<name>[^/]+)(?P<configuration>/configuration)?/?$")
# Source: Lambda quotas: 6 MB for synchronous, 1 MB for asynchronous invocations.
SYNC_BYTES, ASYNC_BYTES = 6 << 20, 1 << 20
TAIL_BYTES = 4_096
TAIL_S = 5.0  # for what the function prints after its response
TAILS = 1_000  # requests whose log is kept for X-Amz-Log-Type: Tail


class Tails:
    """The last lines of each request's log; hear() is for Fleet's `heard`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, deque[str]] = {}

    def hear(self, line: "LogLine") -> None:
        """Keep a line of a request."""
        if not line.request_id:
            return
        with self._lock:
            self._lines.setdefault(line.request_id, deque(maxlen=200)).append(line.text)
            while len(self._lines) > TAILS:
                del self._lines[next(iter(self._lines))]

    def take(self, request_id: str) -> bytes:
        """The last 4 KB, as base64."""
        with self._lock:
            text = "\n".join(self._lines.pop(request_id, ())) + "\n"
        return base64.b64encode(text.encode()[-TAIL_BYTES:])


class RefusedError(Exception):
    """An error in the service's own shape."""

    def __init__(self, status: int, code: str, text: str, **members: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code
        self.members = {"message": text, "Message": text, "Type": "User", **members}


class InvokeApi:
    """A server for fleets by name. `address` is its endpoint URL; close() ends it, not the fleets."""

    def __init__(
        self, fleets: "dict[str, Fleet]", later: "Asynchronous", tails: Tails, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.fleets = fleets
        self._later = later
        self._tails = tails
        try:
            self._server = _Server((host, port), _handler_of(self))
        except OSError as error:
            todo = "choose another by --port; 0 takes a free one"
            text = f"port {port} of {host} cannot be had: {error.strerror}"
            raise ConsoleError(text, todo=todo, exit_code=MISSING) from None
        self.address = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="invoke api", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more requests."""
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()

    def answer(
        self, method: str, target: str, headers: "dict[str, str]", body: bytes
    ) -> "tuple[int, dict[str, str], bytes]":
        """Status, headers and body for a request. Header names in lower case. Errors: RefusedError."""
        if "origin" in headers:  # a web page of somebody's, in the browser of whoever runs this
            raise RefusedError(403, "AccessDeniedException", "requests of web pages are not served")
        path = urllib.parse.urlsplit(target).path
        if method == "POST" and (match := INVOKE.match(path)):
            return self._invoke(self._fleet(match["name"]), headers, body)
        if method == "GET" and path.rstrip("/") == PREFIX:
            return 200, {}, json.dumps({"Functions": [configuration(each) for each in self.fleets.values()]}).encode()
        if method == "GET" and (match := ONE.match(path)):
            told = configuration(self._fleet(match["name"]))
            if not match["configuration"]:
                told = {"Configuration": told, "Code": {"RepositoryType": "S3"}, "Tags": {}}
            return 200, {}, json.dumps(told).encode()
        raise RefusedError(404, "UnknownOperationException", f"{method} {path} is not served here")

    def _fleet(self, word: str) -> "Fleet":
        """By name, partial ARN or ARN, with or without a qualifier."""
        name = urllib.parse.unquote(word)
        parts = name.split(":")
        name = parts[parts.index("function") + 1] if "function" in parts else parts[0]
        if name not in self.fleets:
            raise RefusedError(404, "ResourceNotFoundException", f"Function not found: {name}")
        return self.fleets[name]

    def _invoke(self, fleet: "Fleet", headers: "dict[str, str]", body: bytes) -> "tuple[int, dict[str, str], bytes]":
        kind = headers.get("x-amz-invocation-type", "RequestResponse")
        event = body or b"{}"
        most = ASYNC_BYTES if kind == "Event" else SYNC_BYTES
        if len(event) > most:
            text = f"{len(event)} byte payload is too large for the {kind} invocation type (limit {most} bytes)"
            raise RefusedError(413, "RequestTooLargeException", text)
        try:
            json.loads(event, parse_constant=_no_constant)
        except ValueError as error:
            text = f"Could not parse request body into json: {error}"
            raise RefusedError(400, "InvalidRequestContentException", text) from None
        context = _client_context(headers.get("x-amz-client-context"))
        options = {"trace_id": headers.get("x-amzn-trace-id"), "tenant_id": headers.get("x-amz-tenant-id")}
        if kind == "DryRun":
            return 204, {}, b""
        if kind == "Event":
            return 202, {"x-amzn-RequestId": self._later.submit(fleet, event, options)}, b""
        if kind != "RequestResponse":
            raise RefusedError(400, "InvalidParameterValueException", f"InvocationType {kind}")
        outcome = fleet.invoke(event, request_id=str(uuid.uuid4()), wait=False, client_context=context, **options)
        return self._told(fleet, outcome, tail=headers.get("x-amz-log-type") == "Tail")

    def _told(self, fleet: "Fleet", outcome: "Outcome", *, tail: bool) -> "tuple[int, dict[str, str], bytes]":
        if outcome.status == "throttled":
            reason = ("ReservedFunction" if fleet.reserved else "") + "ConcurrentInvocationLimitExceeded"
            raise RefusedError(429, "TooManyRequestsException", "Rate Exceeded.", Reason=reason)
        headers = {"x-amzn-RequestId": outcome.request_id, "X-Amz-Executed-Version": fleet.function.version}
        if outcome.status != "success":
            headers["X-Amz-Function-Error"] = "Unhandled"
        if tail:
            fleet.settled_one(outcome.request_id, TAIL_S)
            headers["X-Amz-Log-Result"] = self._tails.take(outcome.request_id).decode()
        return 200, headers, outcome.body


def configuration(fleet: "Fleet") -> "dict[str, Any]":
    """What ListFunctions tells of one."""
    function = fleet.function
    return {
        "FunctionName": function.name,
        "FunctionArn": function.arn,
        "Handler": function.handler,
        "MemorySize": function.memory_mb,
        "Timeout": max(1, fleet.timeout_ms // 1_000),
        "Version": function.version,
        "PackageType": "Zip",
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "Environment": {"Variables": dict(function.environment)},
    }


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _client_context(value: "str | None") -> "str | None":
    """The header's base64 as the JSON text that the runtime is given. Errors: RefusedError."""
    if not value:
        return None
    try:
        text = base64.b64decode(value, validate=True).decode("utf-8")
        if isinstance(json.loads(text), dict):
            return text
    except ValueError:
        pass
    text = "Client context must be a valid Base64-encoded JSON object."
    raise RefusedError(400, "InvalidRequestContentException", text)


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = False  # server_close() waits for them
    request_queue_size = 256

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def get_request(self) -> "tuple[socket.socket, Any]":
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that has gone is no fault of ours, and the terminal is the command's."""

    def hang_up(self) -> None:
        """End connections that are kept open and ask for nothing; one that is being answered is answered."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)


def _handler_of(api: InvokeApi) -> "type[http.server.BaseHTTPRequestHandler]":
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                body = self._body(headers)
                status, more, answer = api.answer(self.command, self.path, headers, body)
            except RefusedError as error:
                status, more = error.status, {"x-amzn-ErrorType": error.code, "x-amzn-RequestId": str(uuid.uuid4())}
                answer = json.dumps(error.members).encode()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **more}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def _body(self, headers: "dict[str, str]") -> bytes:
            length = headers.get("content-length", "0")
            if "chunked" in headers.get("transfer-encoding", "").lower() or not length.isdecimal():
                self.close_connection = True  # where the next request begins is not known
                raise RefusedError(400, "InvalidRequestContentException", "the request needs a Content-Length")
            return self.rfile.read(int(length))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - http.server's names

        def log_message(self, *_: Any) -> None:
            """Nothing: the terminal is the command's."""

    return Handler
