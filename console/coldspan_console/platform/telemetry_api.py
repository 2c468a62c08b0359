"""The Telemetry API: extensions subscribe, and get batches of events by POST to a port of theirs."""

import contextlib
import http.client
import json
import threading
import time
import urllib.parse
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from coldspan_console.platform.extensions_api import JSON_TYPE, refusal
from coldspan_console.platform.server import Exchange, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldspan_console.platform.extensions_api import ExtensionsApi

# Source of names, limits and defaults: Lambda developer guide, "Lambda Telemetry API reference".
SCHEMA_VERSIONS = ("2022-07-01", "2022-12-13", "2025-01-29")
TYPES = ("platform", "function", "extension")
BUFFERING = {  # least, most, default
    "maxItems": (1_000, 10_000, 10_000),
    "maxBytes": (262_144, 1_048_576, 262_144),
    "timeoutMs": (25, 30_000, 1_000),
}
HOSTS = ("sandbox.localdomain", "sandbox")
RESERVED_PORT = 9001
ANSWER_S = 5.0
PAUSE_S = 0.1  # between two tries to deliver
PAST_COUNT = 1_000  # events kept for those who subscribe later in init
# what the emulator says in on-demand mode
NOT_SUPPORTED = refusal("Telemetry.NotSupported", "Telemetry API is not supported", 202)


class TelemetryApi:
    """The route /2022-07-01/telemetry, and what it sends. `scripted` replaces the answer to every subscription.

    The host sandbox.localdomain is this machine's loopback. Events of an environment from before a subscription are
    delivered with it.
    """

    prefix = "/2022-07-01/telemetry"

    def __init__(self, extensions: "ExtensionsApi") -> None:
        self.scripted: Reply | None = None
        self.open = True  # until init has ended
        self.subscriptions: list[Subscription] = []
        self.events: list[dict[str, Any]] = []  # all there ever were, in order
        self.heard: Callable[[dict[str, Any]], None] = lambda _: None  # told of every event; it may not wait
        self._extensions = extensions
        self._past: deque[dict[str, Any]] = deque(maxlen=PAST_COUNT)
        self._lock = threading.RLock()

    def begin(self) -> None:
        """An environment begins: those who have subscribed in the last one are gone."""
        with self._lock:
            gone, self.subscriptions = self.subscriptions, []
            self.open = True
        for subscription in gone:
            subscription.close()

    def emit(self, kind: str, record: "dict[str, Any] | str", at_ns: "int | None" = None) -> None:
        """Send an event to those who have subscribed to what it is. The time is epoch ns, now when none is given."""
        event = {"time": iso(time.time_ns() if at_ns is None else at_ns), "type": kind, "record": record}
        with self._lock:
            self.events.append(event)
            self._past.append(event)
            for subscription in self.subscriptions:
                subscription.put(event)
        self.heard(event)

    def records(self, kind: str) -> "list[Any]":
        """The records of all events of a type."""
        with self._lock:
            return [event["record"] for event in self.events if event["type"] == kind]

    @property
    def delivered(self) -> bool:
        """Whether nothing waits to be sent."""
        with self._lock:
            return not any(subscription.waiting for subscription in self.subscriptions)

    def forget(self) -> None:
        """Keep what there was no longer."""
        with self._lock:
            self.events.clear()

    def end(self) -> None:
        """An environment has ended: what comes now is told to those who subscribe in the next."""
        with self._lock:
            self._past.clear()

    def close(self) -> None:
        """Stop sending."""
        self.begin()

    def answered(self, exchange: Exchange) -> None:
        """Nobody waits for answers of this API."""

    def answer(self, exchange: Exchange) -> "Reply | None":
        """Answer a subscription."""
        if exchange.method != "PUT" or exchange.path != self.prefix:
            return Reply(404, b"404 page not found")
        refused = self._extensions.known(exchange)
        if refused is not None:
            return refused
        if self.scripted is not None:
            return self.scripted
        if not self.open:
            return refusal("Telemetry.SubscriptionClosed", "Telemetry API subscription is closed")
        sender = self._extensions.sender(exchange)
        try:
            subscription = Subscription(sender.name if sender else "", json.loads(exchange.body))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            return refusal("ValidationError", f"{type(error).__name__}: {error}", 400)
        with self._lock:
            for event in self._past:
                subscription.put(event)
            self.subscriptions.append(subscription)
        subscription.start()
        told = {"name": subscription.name, "state": "Subscribed", "types": list(subscription.types)}
        self.emit("platform.telemetrySubscription", told)
        return Reply(200, b'"OK"', JSON_TYPE)


class Subscription:
    """Who wants what, and where to. ValueError, KeyError or TypeError when the request is not a subscription."""

    def __init__(self, name: str, request: "dict[str, Any]") -> None:
        self.name = name
        self.types = tuple(request["types"])
        self.delivered_count = 0
        self.refused_count = 0  # tries that were not answered with 2xx
        if request["schemaVersion"] not in SCHEMA_VERSIONS:
            raise ValueError(f"schemaVersion {request['schemaVersion']!r}")
        if not self.types or set(self.types) - set(TYPES):
            raise ValueError(f"types {self.types}")
        asked = request.get("buffering") or {}
        self.buffering = {key: asked.get(key, default) for key, (_, _, default) in BUFFERING.items()}
        for key, (least, most, _) in BUFFERING.items():
            if not least <= self.buffering[key] <= most:
                raise ValueError(f"buffering.{key} {self.buffering[key]}: not from {least} to {most}")
        destination = request["destination"]
        if destination["protocol"] != "HTTP":
            raise ValueError("destination.protocol: here it is HTTP only")
        address = urllib.parse.urlsplit(destination["URI"])
        if address.scheme != "http" or address.hostname not in HOSTS or address.port in {None, RESERVED_PORT}:
            raise ValueError(f"destination.URI {destination['URI']!r}")
        self._port, self._path = address.port, address.path or "/"
        self._queue: deque[dict[str, Any]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._sending = False
        self._thread = threading.Thread(target=self._deliver, name=f"telemetry {name}", daemon=True)

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def put(self, event: "dict[str, Any]") -> None:
        """Queue an event, when it is one of those asked for."""
        if event["type"].partition(".")[0] in self.types:
            with self._changed:
                self._queue.append(event)
                self._changed.notify_all()

    @property
    def waiting(self) -> bool:
        """Whether something is still to be delivered."""
        with self._changed:
            return self._sending or bool(self._queue)

    def close(self) -> None:
        """Stop; what has not been delivered is not."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _deliver(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._queue)
                # a batch goes when it is full, or so long after its first event
                full = lambda: self._closed or len(self._queue) >= self.buffering["maxItems"]  # noqa: E731 - one line
                self._changed.wait_for(full, self.buffering["timeoutMs"] / 1_000)
                if self._closed:
                    return
                batch, size = [], 0
                self._sending = True
                while self._queue and len(batch) < self.buffering["maxItems"] and size < self.buffering["maxBytes"]:
                    batch.append(self._queue.popleft())
                    size += len(json.dumps(batch[-1]))
            body = json.dumps(batch).encode()
            while not self._posted(body):
                self.refused_count += 1
                with self._changed:
                    if self._changed.wait_for(lambda: self._closed, PAUSE_S):
                        return
            self.delivered_count += len(batch)
            with self._changed:
                self._sending = False

    def _posted(self, body: bytes) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_S)
        with contextlib.closing(connection):
            try:
                connection.request("POST", self._path, body, {"Content-Type": "application/json"})
                return 200 <= connection.getresponse().status < 300
            except (OSError, http.client.HTTPException):
                return False


def iso(at_ns: int) -> str:
    """A time as the platform writes it. Takes epoch ns."""
    moment = datetime.fromtimestamp(at_ns // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ns // 1_000_000 % 1_000:03d}Z"
