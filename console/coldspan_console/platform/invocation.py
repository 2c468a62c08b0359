"""An event to hand out, and the answers to give for it."""

import contextlib
import itertools
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coldspan_console.platform.server import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from coldspan_console.platform.server import Exchange

_numbers = itertools.count(1)
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:coldspan-test"
# what the service says to a response above 6 MB; source: runtime interface emulator, rapi/handler/invocationresponse.go
TOO_LARGE = (
    b'{"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}'
)
SERVICE_FAULT = b'{"errorMessage":"internal error","errorType":"InternalServerError"}'


@dataclass(slots=True)
class Answer:
    """How the platform answers what the function posts for an invocation.

    `hold` makes it wait until the event is set; `reset` breaks the connection instead of answering.
    """

    status: int = 202
    body: bytes = b'{"status":"OK"}\n'
    hold: "threading.Event | None" = None
    reset: bool = False

    @classmethod
    def too_large(cls) -> "Answer":
        """413, as for a response of more than 6 MB."""
        return cls(413, TOO_LARGE)

    @classmethod
    def container_error(cls) -> "Answer":
        """500: the runtime is to exit promptly."""
        return cls(500, SERVICE_FAULT)

    @contextlib.contextmanager
    def held(self) -> "Iterator[Callable[[], None]]":
        """Hold the answer back until what is given has been called, or the block is left."""
        self.hold = threading.Event()
        try:
            yield self.hold.set
        finally:
            self.hold.set()

    def reply(self) -> Reply:
        """The answer as HTTP."""
        return Reply(self.status, self.body, [("Content-Type", "application/json")], reset=self.reset)


@dataclass(slots=True, eq=False)
class Invocation:
    """One event. A header whose value is None is not sent; `deadline_ms` counts from the moment of handing out."""

    event: bytes = b"{}"
    content_type: "str | None" = "application/json"
    request_id: str = ""
    deadline_ms: int = 30_000
    trace_id: "str | None" = None
    tenant_id: "str | None" = None
    client_context: "str | None" = None
    cognito_identity: "str | None" = None
    invocation_id: "str | None" = None
    function_arn: str = ARN
    headers: "Sequence[tuple[str, str]]" = ()
    answer: Answer = field(default_factory=Answer)
    # filled in as it runs
    given: "Exchange | None" = field(default=None, init=False, repr=False)  # the request for next that got it
    posted: "Exchange | None" = field(default=None, init=False, repr=False)  # what the function posted for it
    given_deadline_ms: int = field(default=0, init=False, repr=False)  # epoch ms
    ended: str = field(default="", init=False)  # "success", "error", "failure" or "timeout", as Telemetry has it

    def __post_init__(self) -> None:
        """Number it, when it has no id."""
        if not self.request_id:
            self.request_id = f"00000000-0000-4000-8000-{next(_numbers):012d}"

    def reply(self) -> Reply:
        """The event as the answer to `next`. Source: Lambda developer guide, "Runtime API", "Next invocation"."""
        self.given_deadline_ms = time.time_ns() // 1_000_000 + self.deadline_ms
        named = [
            ("Content-Type", self.content_type),
            ("Lambda-Runtime-Aws-Request-Id", self.request_id),
            ("Lambda-Runtime-Deadline-Ms", str(self.given_deadline_ms)),
            ("Lambda-Runtime-Invoked-Function-Arn", self.function_arn),
            ("Lambda-Runtime-Trace-Id", self.trace_id),
            ("Lambda-Runtime-Client-Context", self.client_context),
            ("Lambda-Runtime-Cognito-Identity", self.cognito_identity),
            ("Lambda-Runtime-Aws-Tenant-Id", self.tenant_id),
            ("Lambda-Runtime-Invocation-Id", self.invocation_id),
            *self.headers,
        ]
        return Reply(200, self.event, [(name, value) for name, value in named if value is not None])
