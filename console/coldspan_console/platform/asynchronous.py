"""Asynchronous invocations: queued, tried three times, and then put into a folder of dead letters."""

import json
import os
import queue
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.platform.fleet import FleetClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coldspan_console.platform.environment import Outcome
    from coldspan_console.platform.fleet import Fleet

# Source: Lambda developer guide, "Asynchronous invocation", "Error handling": two retries, after one and two minutes.
RETRIES = 2
DELAYS = (1, 2)  # times the delay that was asked for: 60 s in the service
WORKERS = 16


@dataclass(slots=True)
class Waiting:
    """An event on its way. The request id is the same for all its tries."""

    fleet: "Fleet"
    event: bytes
    options: "dict[str, Any]"
    request_id: str
    tries: int = 0
    timer: "threading.Timer | None" = None  # until the next try


class Asynchronous:
    """The queue of asynchronous invocations. `done` is told of every try: the event, the outcome.

    `retries`: how often a function that fails is tried again, by its name, where it is not twice.
    """

    def __init__(
        self, folder: Path, *, retry_s: float = 1.0, done: "Callable[[Waiting, Outcome], None]" = lambda *_: None,
        retries: "Mapping[str, int] | None" = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self._retry_s = retry_s
        self._done = done
        self._retries = retries or {}
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._burying = 0
        self._changed = threading.Condition()
        self._waiting: dict[str, Waiting] = {}
        self._workers = [threading.Thread(target=self._work, name="asynchronous", daemon=True) for _ in range(WORKERS)]
        for worker in self._workers:
            worker.start()

    def submit(self, fleet: "Fleet", event: bytes, options: "dict[str, Any]") -> str:
        """Queue an event; its request id."""
        one = Waiting(fleet, event, options, str(uuid.uuid4()))
        with self._changed:
            self._waiting[one.request_id] = one
        self._queue.put(one)
        return one.request_id

    def wait(self, timeout_s: float) -> bool:
        """Wait until nothing is on its way; whether that came to be."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._burying, timeout_s)

    def close(self, grace_s: float = 5.0) -> int:
        """Let what runs end within the grace time; what has not ended becomes a dead letter. How many did."""
        self.wait(grace_s)
        self._closed.set()
        for _ in self._workers:
            self._queue.put(None)
        with self._changed:
            left, self._waiting = list(self._waiting.values()), {}
        for one in left:
            if one.timer is not None:
                one.timer.cancel()
            self._bury(one, "EventAgeExceeded", None)
        return len(left)

    def _work(self) -> None:
        while (one := self._queue.get()) is not None and not self._closed.is_set():
            try:
                outcome = one.fleet.invoke(one.event, request_id=one.request_id, **one.options)
            except FleetClosedError:
                return  # close() has made a dead letter of it
            one.tries += 1
            self._done(one, outcome)
            if outcome.status == "success":
                self._end(one)
            elif one.tries > self._retries.get(one.fleet.function.name, RETRIES):
                self._bury_once(one, outcome)
            else:  # the next one does not wait for it
                self._later(one)

    def _later(self, one: Waiting) -> None:
        timer = threading.Timer(self._retry_s * DELAYS[one.tries - 1], self._queue.put, (one,))
        timer.daemon = True
        with self._changed:
            if one.request_id in self._waiting:  # close() has not made a dead letter of it
                one.timer = timer
                timer.start()

    def _end(self, one: Waiting) -> None:
        with self._changed:
            self._waiting.pop(one.request_id, None)
            self._changed.notify_all()

    def _bury_once(self, one: Waiting, outcome: "Outcome") -> None:
        """Unless close() has done so; who waits, waits until it is written."""
        with self._changed:
            mine = self._waiting.pop(one.request_id, None) is not None
            self._burying += mine
        if mine:
            try:
                self._bury(one, "RetriesExhausted", outcome)
            finally:
                with self._changed:
                    self._burying -= 1
                    self._changed.notify_all()

    def _bury(self, one: Waiting, condition: str, outcome: "Outcome | None") -> None:
        """Write the record that a failure destination gets; whole, or not at all."""
        function = one.fleet.function
        context = {
            "requestId": one.request_id,
            "functionArn": f"{function.arn}:{function.version}",
            "condition": condition,
            "approximateInvokeCount": one.tries,
        }
        letter: dict[str, Any] = {
            "version": "1.0",
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
            "requestContext": context,
            "requestPayload": json.loads(one.event),
        }
        if outcome is not None:
            letter["responseContext"] = {
                "statusCode": 200,
                "executedVersion": function.version,
                "functionError": "Unhandled",
            }
            letter["responsePayload"] = _json(outcome.body)
        place = self.folder / function.name
        place.mkdir(parents=True, exist_ok=True)
        making = place / f".{one.request_id}.part"
        with making.open("w", encoding="utf-8") as file:
            json.dump(letter, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        making.rename(place / f"{one.request_id}.json")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
