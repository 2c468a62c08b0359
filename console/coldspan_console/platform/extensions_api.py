"""The Extensions API: registration, events and errors of the processes that live beside the runtime."""

import json
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coldspan_console.platform.function import ACCOUNT
from coldspan_console.platform.runtime_api import GONE_CHECK_S
from coldspan_console.platform.server import Exchange, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from coldspan_console.platform.function import Function
    from coldspan_console.platform.invocation import Invocation

INVOKE = "INVOKE"
SHUTDOWN = "SHUTDOWN"
LARGEST_COUNT = 10  # Lambda developer guide, "Extensions": internal and external ones together
JSON_TYPE = [("Content-Type", "application/json")]


@dataclass(slots=True, eq=False)
class Extension:
    """One that has registered. `waiting`: it asks for an event now; `ended`: its process is no longer there."""

    name: str
    events: tuple[str, ...]
    internal: bool
    identifier: str = field(default_factory=lambda: str(uuid.uuid4()))
    asked_count: int = 0
    waiting: bool = False
    ended: bool = False
    error_type: str = ""  # what it told by init/error or exit/error
    given: "list[dict[str, Any]]" = field(default_factory=list)  # the events that it got
    queue: "deque[dict[str, Any]]" = field(default_factory=deque, repr=False)

    @property
    def idle(self) -> bool:
        """Whether nothing more is to be expected of it until there is another event."""
        return self.ended or (self.waiting and not self.queue)


class ExtensionsApi:
    """Routes under /2020-01-01/extension. What it refuses, and how, is the runtime interface emulator's.

    `expected` are the names of the external extensions, that is the files in /opt/extensions; any other name is one
    inside of the runtime's process. `register_answer` replaces the answer to every registration. `heard` is called,
    with `changed` held, whenever an extension has registered or asks for an event.
    """

    prefix = "/2020-01-01/extension/"

    def __init__(self, function: "Function", changed: "threading.Condition | None" = None) -> None:
        self.changed = changed or threading.Condition()
        self.extensions: list[Extension] = []
        self.expected: set[str] = set()
        self.open = True  # until the runtime asks for its first event
        self.register_answer: Reply | None = None
        self.errors: list[Exchange] = []
        self.heard: Callable[[Extension], None] = lambda _: None
        self._function = function
        self._closed = False

    # what the platform does with it

    def begin(self, expected: "Iterable[str]" = ()) -> None:
        """Forget the extensions of an environment that has ended; these are started for the new one."""
        with self.changed:
            for extension in self.extensions:
                extension.ended = True
            self.extensions = []
            self.expected = set(expected)
            self.open = True
            self.changed.notify_all()

    def named(self, name: str) -> "Extension | None":
        """The extension of that name, when it has registered."""
        return next((one for one in self.extensions if one.name == name), None)

    def are_registered(self) -> bool:
        """Whether every external extension has registered."""
        return self.expected <= {one.name for one in self.extensions}

    def are_idle(self) -> bool:
        """Whether every external extension has registered, and all that have ask for an event."""
        return self.are_registered() and all(one.idle for one in self.extensions)

    def invoke(self, invocation: "Invocation", deadline_ms: int) -> None:
        """Tell those who have registered for it that an invocation begins."""
        event: dict[str, Any] = {
            "eventType": INVOKE,
            "deadlineMs": deadline_ms,
            "requestId": invocation.request_id,
            "invokedFunctionArn": invocation.function_arn,
        }
        if invocation.trace_id is not None:
            event["tracing"] = {"type": "X-Amzn-Trace-Id", "value": invocation.trace_id}
        self.send(event)

    def shutdown(self, reason: str, within_ms: int) -> None:
        """Tell those who have registered for it that the environment ends, and until when they may run."""
        deadline_ms = time.time_ns() // 1_000_000 + within_ms
        self.send({"eventType": SHUTDOWN, "shutdownReason": reason, "deadlineMs": deadline_ms})

    def send(self, event: "dict[str, Any]") -> None:
        """Queue any event for those who have registered for its type."""
        with self.changed:
            for extension in self.extensions:
                if event["eventType"] in extension.events:
                    extension.queue.append(event)
            self.changed.notify_all()

    # the API

    def close(self) -> None:
        """Let go of every request that waits."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    def answered(self, exchange: Exchange) -> None:  # noqa: ARG002 - waiters look at what they wait for themselves
        """Tell those who wait that an answer has gone out."""
        with self.changed:
            self.changed.notify_all()

    def answer(self, exchange: Exchange) -> "Reply | None":
        """Answer one request. None: the platform has ended, or the client has."""
        match exchange.method, exchange.path.removeprefix(self.prefix).split("/"):
            case "POST", ["register"]:
                return self.register_answer or self._register(exchange)
            case "GET", ["event", "next"]:
                return self.known(exchange) or self._next(exchange)
            case "POST", ["init" | "exit", "error"]:
                return self.known(exchange) or self._error(exchange)
            case _:
                return Reply(404, b"404 page not found")

    def sender(self, exchange: Exchange) -> "Extension | None":
        """The extension that a request is from."""
        identifier = exchange.header("Lambda-Extension-Identifier")
        return next((one for one in self.extensions if one.identifier == identifier), None)

    def known(self, exchange: Exchange) -> "Reply | None":
        """The refusal of a request from nobody known."""
        identifier = exchange.header("Lambda-Extension-Identifier")
        if not identifier:
            return refusal("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
        try:
            uuid.UUID(identifier)
        except ValueError:
            return refusal("Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier")
        if self.sender(exchange) is None:
            return refusal("Extension.UnknownExtensionIdentifier", f"Unknown extension {identifier}")
        return None

    def _register(self, exchange: Exchange) -> Reply:
        name = exchange.header("Lambda-Extension-Name")
        if not name:
            return refusal("Extension.InvalidExtensionName", "Empty extension name")
        try:
            events = json.loads(exchange.body).get("events") or ()
        except (ValueError, AttributeError) as error:
            return refusal("Extension.InvalidRequestFormat", str(error))
        with self.changed:
            extension = Extension(name, tuple(events), internal=name not in self.expected)
            refused = self._refused(extension)
            if refused is not None:
                return refused
            self.extensions.append(extension)
            self.heard(extension)
            self.changed.notify_all()
        function = self._function
        told = {"functionName": function.name, "functionVersion": function.version, "handler": function.handler}
        if "accountId" in (exchange.header("Lambda-Extension-Accept-Feature") or ""):
            told["accountId"] = ACCOUNT
        identified = ("Lambda-Extension-Identifier", extension.identifier)
        return Reply(200, json.dumps(told).encode(), [*JSON_TYPE, identified])

    def _refused(self, extension: Extension) -> "Reply | None":
        for event in extension.events:
            if event not in {INVOKE, SHUTDOWN} or (event == INVOKE and self._function.max_concurrency is not None):
                return refusal("Extension.InvalidEventType", f"{event}: ErrorInvalidEventType")
            if event == SHUTDOWN and extension.internal:
                text = f"{event}: ShutdownEventNotSupportedForInternalExtension"
                return refusal("Extension.InvalidEventType", text)
        if extension.internal and not self.open:
            return refusal("Extension.RegistrationClosed", "Extension registration closed already")
        if self.named(extension.name) is not None:
            return refusal("Extension.InvalidExtensionState", "Extension with this name already registered")
        if len(self.extensions) >= LARGEST_COUNT:
            return refusal("Extension.TooManyExtensions", f"Extension limit ({LARGEST_COUNT}) reached")
        return None

    def _next(self, exchange: Exchange) -> "Reply | None":
        with self.changed:
            extension = self.sender(exchange)
            if extension is None or extension.error_type:
                return refusal("Extension.InvalidExtensionState", "State transition to Ready failed")
            extension.asked_count += 1
            extension.waiting = True
            self.heard(extension)
            self.changed.notify_all()
            try:
                while not extension.queue:
                    if self._closed or extension.ended or exchange.is_gone():
                        return None
                    self.changed.wait(GONE_CHECK_S)
                event = extension.queue.popleft()
                extension.given.append(event)
            finally:
                extension.waiting = False
                self.changed.notify_all()
        identified = ("Lambda-Extension-Event-Identifier", str(uuid.uuid4()))
        return Reply(200, json.dumps(event).encode(), [*JSON_TYPE, identified])

    def _error(self, exchange: Exchange) -> Reply:
        error_type = exchange.header("Lambda-Extension-Function-Error-Type")
        if not error_type:
            text = "Lambda-Extension-Function-Error-Type not found"
            return refusal("Extension.MissingHeader", text)
        with self.changed:
            extension = self.sender(exchange)
            if extension is not None:
                extension.error_type = error_type
            self.errors.append(exchange)
            self.changed.notify_all()
        return Reply(202, b'{"status":"OK"}\n', JSON_TYPE)


def refusal(error_type: str, text: str, status: int = 403) -> Reply:
    """An answer that says no."""
    return Reply(status, json.dumps({"errorMessage": text, "errorType": error_type}).encode(), JSON_TYPE)
