"""The Runtime API, scripted: it hands out the invocations it is given and answers as they say."""

import threading
from collections import deque
from typing import TYPE_CHECKING

from coldspan_console.platform.invocation import Answer, Invocation
from coldspan_console.platform.server import Exchange, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

LARGEST_RESPONSE_BYTES = 6_291_556  # Lambda quotas: 6 MB, and 100 bytes that the service allows on top
GONE_CHECK_S = 0.05  # how often a waiting request is checked for a client that has been killed


class Observer:
    """What the rest of the platform has to do with an invocation: here nothing. It is called with `changed` held."""

    def may_give(self) -> bool:
        """Whether an invocation may begin now."""
        return True

    def asked(self) -> None:
        """A worker asks for the next invocation."""

    def given(self, invocation: Invocation) -> None:
        """An invocation is handed out."""

    def posted(self, invocation: Invocation) -> None:
        """Its response or error has come."""

    def failed(self, exchange: Exchange) -> None:
        """The runtime has told that its init failed."""


class RuntimeApi:
    """Routes under /2018-06-01/runtime. Any number of workers may ask for the next invocation at the same time.

    `restore` is SnapStart's pause: `GET /restore/next` is answered when it is set.
    """

    prefix = "/2018-06-01/runtime/"

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.observer = Observer()
        self.restore = threading.Event()
        self.init_answer = Answer()
        self.restore_error_answer = Answer()
        self.asked_count = 0  # requests for next, ever
        self.waiting_count = 0  # requests for next that wait now
        self.restoring_count = 0  # requests for restore/next that wait now
        self.late: set[str] = set()  # given up, and not answered yet: their workers are at work for longer, or dead
        self.init_errors: list[Exchange] = []
        self.restore_errors: list[Exchange] = []
        self._queue: deque[Invocation] = deque()
        self._given: dict[str, Invocation] = {}
        self._closed = False

    def submit(self, invocation: Invocation) -> Invocation:
        """Queue an invocation for the next worker that asks."""
        with self.changed:
            self._queue.append(invocation)
            self.changed.notify_all()
        return invocation

    def give_up(self, invocation: Invocation) -> None:
        """Hand it out no more; if a worker has it, wait no longer for the answer, which may yet come.

        `changed` is held.
        """
        if invocation in self._queue:
            self._queue.remove(invocation)
        else:
            self.late.add(invocation.request_id)

    @property
    def queued_count(self) -> int:
        """How many invocations nobody has asked for."""
        return len(self._queue)

    def forget(self) -> None:
        """Keep invocations that have been answered, and errors of inits, no longer."""
        with self.changed:
            known = self._given.items()
            self._given = {
                name: one for name, one in known if one.posted is None and (not one.ended or name in self.late)
            }
            self.init_errors.clear()

    def wait_until(self, condition: "Callable[[], bool]", timeout_s: float) -> bool:
        """Wait for something that `changed` is notified of; whether it came to be in time."""
        with self.changed:
            return self.changed.wait_for(condition, timeout_s)

    def close(self) -> None:
        """Let go of every request that waits."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()
        self.restore.set()

    def answered(self, exchange: Exchange) -> None:  # noqa: ARG002 - waiters look at what they wait for themselves
        """Tell those who wait that an answer has gone out."""
        with self.changed:
            self.changed.notify_all()

    def answer(self, exchange: Exchange) -> "Reply | None":
        """Answer one request. None: the platform has ended, or the client has."""
        route = exchange.path.removeprefix(self.prefix).split("/")
        match exchange.method, route:
            case "GET", ["invocation", "next"]:
                return self._next(exchange)
            case "POST", ["invocation", request_id, "response" | "error"]:
                return self._post(exchange, request_id)
            case "POST", ["init", "error"]:
                return self._noted(exchange, self.init_errors, self.init_answer)
            case "GET", ["restore", "next"]:
                return self._restore(exchange)
            case "POST", ["restore", "error"]:
                return self._noted(exchange, self.restore_errors, self.restore_error_answer)
            case _:
                return Reply(404, b"404 page not found")

    def _next(self, exchange: Exchange) -> "Reply | None":
        with self.changed:
            self.asked_count += 1
            self.waiting_count += 1
            self.observer.asked()
            self.changed.notify_all()
            try:
                while not self._queue or not self.observer.may_give() or exchange.is_gone():
                    if self._closed or exchange.is_gone():
                        return None
                    self.changed.wait(GONE_CHECK_S)
                invocation = self._queue.popleft()
            finally:
                self.waiting_count -= 1
                self.changed.notify_all()
            invocation.given = exchange
            self._given[invocation.request_id] = invocation
            reply = invocation.reply()
            self.observer.given(invocation)
            return reply

    def _post(self, exchange: Exchange, request_id: str) -> "Reply | None":
        invocation = self._given.get(request_id)
        if invocation is None or invocation.posted is not None:
            return Reply(400, b'{"errorMessage":"Invalid request ID","errorType":"InvalidRequestID"}')
        answer = invocation.answer
        if exchange.path.endswith("/response") and len(exchange.body) > LARGEST_RESPONSE_BYTES:
            answer = Answer.too_large()
        with self.changed:
            invocation.posted = exchange
            self.late.discard(request_id)
            self.observer.posted(invocation)
            self.changed.notify_all()
        return self._held(answer)

    def _restore(self, exchange: Exchange) -> "Reply | None":
        with self.changed:
            self.restoring_count += 1
            self.changed.notify_all()
        self.restore.wait()
        with self.changed:
            self.restoring_count -= 1
            self.changed.notify_all()
        return None if self._closed or exchange.is_gone() else Reply(200)

    def _noted(self, exchange: Exchange, where: "list[Exchange]", answer: Answer) -> "Reply | None":
        with self.changed:
            where.append(exchange)
            if where is self.init_errors:
                self.observer.failed(exchange)
            self.changed.notify_all()
        return self._held(answer)

    def _held(self, answer: Answer) -> "Reply | None":
        while answer.hold is not None and not answer.hold.wait(GONE_CHECK_S):
            if self._closed:
                return None
        return answer.reply()
