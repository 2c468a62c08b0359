"""Kafka: every record's document is a message, as JSON.

The client is `kafka-python`, which keeps what it was given and sends it from a thread of its own, with its own retries.
A record that it still holds when the time of a batch is over is not given to it again when the batch is: it is waited
for once more. So what ends SENT was acknowledged, and is stored once.
"""

import contextlib
import json
import logging
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coldspan_blackbox.exporting.bounded import Bounded, OutOfTimeError, connect, host_and_port, left_s, reason_of
from coldspan_blackbox.exporting.exporter import ConfigurationError, Result, Sent
from coldspan_blackbox.exporting.record import Record

try:
    from kafka import KafkaProducer, errors
    from kafka.net.compat import KafkaNetClient
except ImportError as error:  # the layer was built without the extra
    _MISSING: "ImportError | None" = error
else:
    _MISSING = None

    class _Producer(KafkaProducer):  # type: ignore[misc]  # the package has no types
        """Ends when it is told to: by itself it would wait at the exit, and print what it could not send."""

        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self._unregister_cleanup()

        def __del__(self) -> None:
            pass

    _REFUSALS = (
        errors.AuthorizationError,
        errors.InvalidRecordError,
        errors.InvalidTopicError,
        errors.PolicyViolationError,
        errors.SaslAuthenticationFailedError,
        errors.UnsupportedCompressionTypeError,
        errors.UnsupportedForMessageFormatError,
        errors.UnsupportedSaslMechanismError,
        errors.UnsupportedVersionError,
    )

PORT = 9092
CLOSE_S = 0.5
MESSAGE_BYTES = 1_040_000  # what a broker takes unless told otherwise (message.max.bytes), less the envelope
KEY_CHARS = 256
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_ACKS = {"": "all", "all": "all", "-1": "all", "1": 1, "0": 0}


class KafkaExporter:
    """A destination of the pipeline."""

    name = "kafka"

    def __init__(self, topic: str, settings: Mapping[str, Any]) -> None:
        self.topic = topic
        self.settings = {
            # A message may be tried again for as long; then it is ours to try.
            "request_timeout_ms": 5_000,
            "delivery_timeout_ms": 20_000,
            "reconnect_backoff_ms": 50,
            "reconnect_backoff_max_ms": 1_000,
            "metadata_max_age_ms": 60_000,
            "max_request_size": MESSAGE_BYTES,
            "metrics_enabled": False,
            "client_id": "coldspan",
            **settings,
        }
        self._bounded = Bounded("coldspan-kafka-io")
        self._producer: Any = None
        self._troubled = False
        self._waiting: dict[int, tuple[Record, Any]] = {}  # by id: given to the client, and not yet acknowledged
        self._done: dict[int, tuple[Record, str]] = {}  # by id: settled in an attempt of this batch, and how

    def export(self, records: Sequence[Record], timeout_s: float) -> Result:
        """See Exporter."""
        try:
            result: Result = self._bounded.run(lambda deadline_s: self._send(records, deadline_s), timeout_s, _nothing)
        except OutOfTimeError:
            return Result(Sent.RETRY, "timeout")
        return result

    def close(self) -> None:
        """Let go of the client. Takes at most CLOSE_S."""
        with contextlib.suppress(OutOfTimeError):
            self._bounded.run(lambda _deadline_s: self._discard(), CLOSE_S, _nothing)

    # -- on the thread that may be left behind -----------------------------------------------------------------------

    def _send(self, records: Sequence[Record], deadline_s: float) -> Result:
        ids = {id(record) for record in records}
        self._done = {key: done for key, done in self._done.items() if key in ids}
        if any(key not in ids for key in self._waiting):
            self._discard()  # of a batch that was given up: what was counted as dropped is not to arrive
        if self._troubled:
            try:
                self._probe(deadline_s)
            except OSError as error:  # what the client holds has to wait, and nobody for it
                return Result(Sent.RETRY, reason_of(error))
        trouble = self._give(records, deadline_s)
        trouble = self._await(deadline_s) or trouble
        self._troubled = bool(trouble)
        if trouble:
            return Result(Sent.RETRY, trouble)
        refused = [reason for _, reason in self._done.values() if reason]
        self._done = {}
        if refused and len(refused) == len(records):
            return Result(Sent.REFUSED, refused[0])
        return Result(Sent.SENT, refused[0] if refused else "", refused_count=len(refused))

    def _give(self, records: Sequence[Record], deadline_s: float) -> str:
        """Give the client what it does not have; the reason why some was not given, or ""."""
        for record in records:
            if id(record) in self._done or id(record) in self._waiting:
                continue
            try:
                producer = self._connected(deadline_s)
                producer.config["max_block_ms"] = left_s(deadline_s) * 1000
                self._waiting[id(record)] = record, producer.send(self.topic, _value(record), _key(record))
            except Exception as error:  # noqa: BLE001  # whatever the client makes of what the broker does
                trouble = self._failed(record, error)
                if trouble:
                    return trouble
        return ""

    def _await(self, deadline_s: float) -> str:
        """Wait for what the client has; the reason why some of it is to be tried again, or ""."""
        trouble = ""
        for key, (record, future) in list(self._waiting.items()):
            try:
                future.get(timeout=max(deadline_s - time.monotonic(), 0))
            except Exception as error:  # noqa: BLE001  # see _give
                if not future.is_done:
                    trouble = "timeout"
                    continue
                self._waiting.pop(key, None)
                trouble = self._failed(record, error) or trouble
            else:
                self._waiting.pop(key, None)
                self._done[key] = record, ""
        return trouble

    def _connected(self, deadline_s: float) -> Any:
        if self._producer is None:
            if not self._troubled:  # else _send has
                self._probe(deadline_s)
            clients: list[Any] = []

            def client(**settings: Any) -> Any:
                clients.append(KafkaNetClient(**settings))
                return clients[0]

            try:
                self._producer = _Producer(
                    **self.settings, kafka_client=client, bootstrap_timeout_ms=left_s(deadline_s) * 1000
                )
            except BaseException:
                for each in clients:  # which the client itself would leave open
                    each.close()
                raise
        return self._producer

    def _probe(self, deadline_s: float) -> None:
        """Raise at once what the client would try to get over until the time is up. Errors: OSError."""
        brokers = self.settings["bootstrap_servers"]
        for number, broker in enumerate(brokers):
            try:
                connect(*host_and_port(broker, PORT), socket.SOCK_STREAM, deadline_s).close()
            except OSError:
                if number + 1 == len(brokers):
                    raise
            else:
                return

    def _failed(self, record: Record, error: Exception) -> str:
        """Settle a record that is refused; gives the reason of one that is to be tried again."""
        if isinstance(error, (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)):
            self._done[id(record)] = record, "too_large"
            return ""
        if isinstance(error, _REFUSALS):
            self._done[id(record)] = record, _word(error)
            return ""
        if isinstance(error, OSError):
            return reason_of(error)
        if not getattr(error, "retriable", False):
            self._discard()  # it may be in a state in which it fails everything
        return _word(error)

    def _discard(self) -> None:
        """End the client, and forget what it holds."""
        producer, self._producer = self._producer, None
        self._waiting = {}
        if producer is None:
            return
        # Its own close waits for what it holds, and leaves its thread running when that takes too long.
        producer._sender.force_close()
        producer._sender.join(CLOSE_S / 2)
        with contextlib.suppress(errors.KafkaError):
            producer.close(timeout=0)


def _nothing() -> None:
    """A client's sockets are its own: it ends by the timeouts it was given."""


def _word(error: Exception) -> str:
    """NotLeaderForPartitionError: not_leader_for_partition."""
    if isinstance(error, errors.KafkaTimeoutError):
        return "timeout"
    name = type(error).__name__.removesuffix("Error").removesuffix("Exception")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() or "error"


def _value(record: Record) -> bytes:
    return json.dumps(record.document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def _key(record: Record) -> bytes:
    """The trace, so that what belongs together is in one partition and in order; else the function."""
    for name in ("trace_id", "function_name"):
        value = record.document.get(name)
        if isinstance(value, str) and value:
            return value[:KEY_CHARS].encode("utf-8", "replace")
    return b"unknown"


def create(environ: Mapping[str, str], secrets: Callable[[str], str]) -> KafkaExporter:
    """Read the variables. Errors: ConfigurationError."""
    if _MISSING is not None:
        raise ConfigurationError(
            f"COLDSPAN_EXPORT names kafka, and the layer cannot load it ({_MISSING}): build the layer with the extra"
            " kafka"
        )
    brokers = [text.strip() for text in environ.get("COLDSPAN_KAFKA_BROKERS", "").split(",") if text.strip()]
    try:
        servers = [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in map(_address, brokers)]
    except ValueError:
        servers = []
    if not servers:
        raise ConfigurationError("COLDSPAN_KAFKA_BROKERS: give host:port,host:port")
    topic = environ.get("COLDSPAN_KAFKA_TOPIC", "").strip() or "coldspan"
    if not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", topic) or topic in {".", ".."}:
        raise ConfigurationError("COLDSPAN_KAFKA_TOPIC: give at most 249 letters, digits, '.', '_' and '-'")
    acks = environ.get("COLDSPAN_KAFKA_ACKS", "").strip().lower()
    if acks not in _ACKS:
        raise ConfigurationError(f"COLDSPAN_KAFKA_ACKS is {acks[:200]!r}: give all, 1 or 0")
    compression = environ.get("COLDSPAN_KAFKA_COMPRESSION", "").strip().lower() or "gzip"
    if compression not in {"gzip", "none"}:
        raise ConfigurationError(f"COLDSPAN_KAFKA_COMPRESSION is {compression[:200]!r}: give gzip or none")
    settings = {
        "bootstrap_servers": servers,
        "acks": _ACKS[acks],
        "enable_idempotence": _ACKS[acks] == "all",
        "compression_type": None if compression == "none" else compression,
        **_security(environ, secrets),
    }
    # What it has to say is in the results; its warnings would be lines in the function's log.
    log = logging.getLogger("kafka")
    log.addHandler(logging.NullHandler())
    log.propagate = False
    log.setLevel(logging.CRITICAL)
    return KafkaExporter(topic, settings)


def _address(text: str) -> tuple[str, int]:
    return host_and_port(text, PORT)


def _security(environ: Mapping[str, str], secrets: Callable[[str], str]) -> dict[str, Any]:
    mechanism = environ.get("COLDSPAN_KAFKA_SASL_MECHANISM", "").strip().upper()
    user = environ.get("COLDSPAN_KAFKA_USERNAME", "")
    if user and not mechanism:
        mechanism = "PLAIN"
    if mechanism and mechanism not in _MECHANISMS:
        raise ConfigurationError(
            f"COLDSPAN_KAFKA_SASL_MECHANISM is {mechanism[:200]!r}: give one of {', '.join(_MECHANISMS)}"
        )
    if mechanism and not user:
        raise ConfigurationError("COLDSPAN_KAFKA_SASL_MECHANISM is set: give COLDSPAN_KAFKA_USERNAME and _PASSWORD too")
    tls = environ.get("COLDSPAN_KAFKA_TLS", "").strip().lower()
    if tls not in {"", "true", "false"}:
        raise ConfigurationError(f"COLDSPAN_KAFKA_TLS is {tls[:200]!r}: give true or false")
    settings: dict[str, Any] = {}
    # A password does not go over the network in the clear unless that was asked for.
    if tls == "true" or (mechanism and tls != "false"):
        authorities = environ.get("COLDSPAN_KAFKA_CA_FILE", "").strip()
        try:
            settings["ssl_context"] = ssl.create_default_context(cafile=authorities or None)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"COLDSPAN_KAFKA_CA_FILE cannot be read ({error})") from error
        settings["security_protocol"] = "SASL_SSL" if mechanism else "SSL"
    else:
        settings["security_protocol"] = "SASL_PLAINTEXT" if mechanism else "PLAINTEXT"
    if mechanism:
        settings["sasl_mechanism"] = mechanism
        settings["sasl_plain_username"] = secrets(user)
        settings["sasl_plain_password"] = secrets(environ.get("COLDSPAN_KAFKA_PASSWORD", ""))
    return settings
