"""A function on the local platform as a caller sees it: as many environments as there are concurrent requests."""

import itertools
import os
import threading
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING, Any

from coldspan_console.platform import datagrams
from coldspan_console.platform.environment import Environment, LogLine, Outcome
from coldspan_console.platform.invocation import Invocation
from coldspan_console.platform.processes import Reaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from coldspan_console.platform.function import Function

SEGMENTS = 10_000  # kept for those who ask
REPORTS = 100_000
SOON_NS = 100_000_000


class FleetClosedError(RuntimeError):
    """The fleet has been closed: there are no environments any more."""


class Fleet:
    """The environments of one function: made when all are busy, up to `most`, and used again, the latest first.

    >>> with Fleet(Function(task=folder), heard=print) as fleet:
    ...     fleet.invoke(b'{"n": 1}').body

    invoke() may be called from any thread, and returns when the response has been posted: what the function and its
    extensions do afterwards goes on. `heard` is told every LogLine, from threads of the fleet's own. `provisioned`
    environments are started at once; one that has been idle for `idle_s` is ended. An environment serves one tenant.
    `numbers` are what the environments are called by, where those of several fleets are to differ.
    """

    def __init__(
        self, function: "Function", *, most: int = 10, timeout_ms: int = 3_000,
        heard: "Callable[[LogLine], None]" = lambda _: None, provisioned: int = 0, idle_s: "float | None" = None,
        freeze: bool = True, reserved: bool = False, numbers: "Iterator[int] | None" = None,
    ) -> None:  # fmt: skip
        self.function = function
        self.reserved = reserved  # `most` is the function's own reserved concurrency
        self.most = 1 if function.max_concurrency is not None else most
        self.timeout_ms = timeout_ms
        self._heard = heard
        self._freeze = freeze
        self._idle_s = idle_s
        self._slots = function.max_concurrency or 1
        self._changed = threading.Condition()
        self._numbers = numbers if numbers is not None else itertools.count(1)
        self._all: list[Environment] = []
        self._busy: dict[Environment, int] = {}
        self._starting = 0
        self._settling: set[str] = set()  # request ids
        self._reports: dict[str, dict[str, Any]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._segments: deque[Any] = deque(maxlen=SEGMENTS)
        self._reaper = Reaper()
        self._closed = False
        self._ender: threading.Thread | None = None
        if provisioned:
            self._provision(min(provisioned, self.most))
        if idle_s is not None:
            self._ender = threading.Thread(target=self._end_idle, name="idle", daemon=True)
            self._ender.start()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self.close()

    def invoke(
        self, event: bytes = b"{}", *, request_id: str = "", client_context: "str | None" = None,
        trace_id: "str | None" = None, tenant_id: "str | None" = None, wait: bool = True,
    ) -> Outcome:  # fmt: skip
        """Invoke the function once and give how it ended.

        With wait=False it is throttled when every environment is busy and no more may be made; else it waits.
        `client_context` is JSON text; a trace header is made where none is given, sampled if tracing is Active.
        """
        invocation = Invocation(
            event, request_id=request_id or str(uuid.uuid4()), deadline_ms=self.timeout_ms,
            client_context=client_context, trace_id=trace_id or self.trace_header(), tenant_id=tenant_id,
            function_arn=self.function.arn,
        )  # fmt: skip
        environment = self._take(tenant_id, wait=wait)
        if environment is None:
            body = b'{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","message":"Rate Exceeded."}'
            return Outcome(invocation.request_id, "throttled", body, "TooManyRequestsException")
        with self._changed:
            self._settling.add(invocation.request_id)
        try:
            outcome = environment.run(invocation)
        finally:
            threading.Thread(target=self._settle, args=(environment, invocation), name="settle", daemon=True).start()
        with self._changed:
            self._outcomes[outcome.request_id] = outcome
            while len(self._outcomes) > REPORTS:
                del self._outcomes[next(iter(self._outcomes))]
        return outcome

    def settled(self, timeout_s: float = 30.0) -> "dict[str, dict[str, Any]]":
        """Wait until nothing is at work on any more; the figures of every invocation's REPORT, by request id."""
        with self._changed:
            self._changed.wait_for(lambda: not self._settling and not self._busy, timeout_s)
            return dict(self._reports)

    def settled_one(self, request_id: str, timeout_s: float) -> bool:
        """Wait until nothing is at work on one invocation any more; whether that came to be."""
        with self._changed:
            return self._changed.wait_for(lambda: request_id not in self._settling, timeout_s)

    def take_ended(self) -> "list[tuple[Outcome, dict[str, Any]]]":
        """Outcomes with their figures, of what has ended since the last call; they are not kept any longer."""
        with self._changed:
            ended = [name for name in self._outcomes if name in self._reports]
            return [(self._outcomes.pop(name), self._reports.pop(name)) for name in ended]

    def close(self) -> None:
        """End all environments, with SHUTDOWN for their extensions; what they print meanwhile is still heard."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        self.settled(5.0)
        closing = [threading.Thread(target=environment.close) for environment in self._all]
        for each in closing:
            each.start()
        for each in closing:
            each.join()
        for environment in self._all:
            self._collect(environment)
        if self._ender is not None:
            self._ender.join()
        self._reaper.close()

    @property
    def environments(self) -> int:
        """How many there are now."""
        return len(self._all)

    @property
    def segments(self) -> "list[dict[str, Any]]":
        """The documents that were sent to the X-Ray daemon, the latest of them."""
        with self._changed:
            return datagrams.segments([entry.item for entry in self._segments])

    def trace_header(self) -> str:
        """A trace header as the service makes it. Source: AWS X-Ray developer guide, "Tracing header"."""
        sampled = int(self.function.tracing == "Active")
        root = f"1-{time.time_ns() // 1_000_000_000:08x}-{os.urandom(12).hex()}"
        return f"Root={root};Parent={os.urandom(8).hex()};Sampled={sampled}"

    def _take(self, tenant_id: "str | None", *, wait: bool) -> "Environment | None":
        patient_until_ns = time.monotonic_ns() + SOON_NS
        with self._changed:
            while True:
                if self._closed:
                    raise FleetClosedError
                if (found := self._free(tenant_id)) is not None:
                    self._busy[found] = self._busy.get(found, 0) + 1
                    return found
                if self._soon_free(tenant_id) and (left_ns := patient_until_ns - time.monotonic_ns()) > 0:
                    self._changed.wait(left_ns / 1e9)
                    continue
                if len(self._all) + self._starting < self.most:
                    self._starting += 1
                    break
                if (other := self._of_another_tenant(tenant_id)) is not None:
                    self._all.remove(other)
                    self._starting += 1
                    threading.Thread(target=self._end, args=(other,), daemon=True).start()
                    break
                if not wait:
                    return None
                self._changed.wait()
        return self._start(tenant_id)

    def _start(self, tenant_id: "str | None") -> Environment:
        made = Environment(
            next(self._numbers), self.function, self.timeout_ms, self._heard, self._reaper, freeze=self._freeze
        )
        made.tenant_id = tenant_id
        try:
            made.start()
        finally:
            with self._changed:
                self._starting -= 1
                self._all.append(made)
                self._busy[made] = 1
                self._changed.notify_all()
        return made

    def _free(self, tenant_id: "str | None") -> "Environment | None":
        free = [each for each in self._all if self._busy.get(each, 0) < self._slots and each.tenant_id == tenant_id]
        return max(free, key=lambda each: each.idle_since_ns, default=None)

    def _soon_free(self, tenant_id: "str | None") -> bool:
        """Whether one has answered, and only sends what it has recorded: the service, too, would use it again."""
        return any(each.answered and each.tenant_id == tenant_id for each in self._busy)

    def _of_another_tenant(self, tenant_id: "str | None") -> "Environment | None":
        idle = [each for each in self._all if not self._busy.get(each) and each.tenant_id != tenant_id]
        return min(idle, key=lambda each: each.idle_since_ns, default=None)

    def _settle(self, environment: Environment, invocation: Invocation) -> None:
        try:
            environment.settle(invocation)
        finally:
            with self._changed:
                self._collect(environment)
                self._settling.discard(invocation.request_id)
                self._busy[environment] -= 1
                if not self._busy[environment]:
                    del self._busy[environment]
                self._changed.notify_all()

    def _collect(self, environment: Environment) -> None:
        self._reports |= environment.take_reports()
        while len(self._reports) > REPORTS:
            del self._reports[next(iter(self._reports))]
        self._segments.extend(environment.take_segments())

    def _provision(self, count: int) -> None:
        self._starting += count
        starting = [threading.Thread(target=self._start, args=(None,)) for _ in range(count)]
        for each in starting:
            each.start()
        for each in starting:
            each.join()
        with self._changed:
            for environment in self._all:
                environment.idle_since_ns = time.monotonic_ns()
                environment.freeze()
            self._busy.clear()

    def _end_idle(self) -> None:
        idle_ns = int((self._idle_s or 0) * 1e9)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed, max(0.05, (self._idle_s or 0) / 4))
                if self._closed:
                    return
                now_ns = time.monotonic_ns()
                old = [each for each in self._all if not self._busy.get(each) and now_ns - each.idle_since_ns > idle_ns]
                for environment in old:
                    self._all.remove(environment)
            for environment in old:
                self._end(environment)

    def _end(self, environment: Environment) -> None:
        environment.close()
        with self._changed:
            self._collect(environment)


__all__ = ["Fleet", "FleetClosedError", "LogLine", "Outcome"]
