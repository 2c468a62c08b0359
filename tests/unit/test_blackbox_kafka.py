"""The Kafka exporter: its variables, its messages, and brokers that are not there or no brokers at all."""

import json
import threading
from pathlib import Path

import pytest
from kafka import errors

from coldspan_blackbox.exporting import kafka
from coldspan_blackbox.exporting.exporter import ConfigurationError, Sent
from support.destinations import Peer, call_record, free_port, record, slow_resolver, within
from support.receivers import eventually


def make(**variables):
    """An exporter as its variables make it."""
    return kafka.create({"COLDSPAN_KAFKA_BROKERS": f"127.0.0.1:{free_port()}", **variables}, str)


class Future:
    """The client's answer for one message: an error, None for an offset, or "waiting"."""

    def __init__(self, answer) -> None:
        self.answer = answer

    @property
    def is_done(self):
        return self.answer != "waiting"

    def get(self, timeout):
        if not self.is_done:
            raise errors.KafkaTimeoutError
        if self.answer is not None:
            raise self.answer


class Producer:
    """Stands in for the client: answers by what the test has put in `answers`, else takes the message."""

    def __init__(self) -> None:
        self.config = {}
        self.answers = []
        self.messages = []
        self.futures = []
        self.ended = 0
        self._sender = self

    def send(self, topic, value, key):
        answer = self.answers.pop(0) if self.answers else None
        self.messages.append((topic, json.loads(value), key))
        self.futures.append(Future(answer))
        return self.futures[-1]

    def force_close(self):
        self.ended += 1

    def join(self, timeout):
        pass

    def close(self, timeout):
        pass


@pytest.fixture
def producer():
    """A Producer."""
    return Producer()


@pytest.fixture
def exporter(producer, monkeypatch):
    """An exporter with that client."""
    exporter = make()
    monkeypatch.setattr(exporter, "_connected", lambda _deadline_s: producer)
    monkeypatch.setattr(exporter, "_probe", lambda _deadline_s: None)
    exporter._producer = producer
    yield exporter
    exporter.close()


def test_a_document_is_a_message(exporter, producer):
    """A consumer would not find what is on stdout."""
    first, second = call_record(5), record({"Duration": ("Milliseconds", 2)}, function_name="f", trace_id="1-2-3")
    assert exporter.export([first, second], 1).state is Sent.SENT
    assert producer.messages == [
        ("coldspan", first.document, b"orders"),
        ("coldspan", second.document, b"1-2-3"),
    ]


def test_a_message_that_waits_is_not_given_twice(exporter, producer):
    """A slow broker would store a record once for each attempt."""
    batch = [call_record(1), call_record(2), call_record(3)]
    producer.answers = [None, "waiting", errors.NotLeaderForPartitionError()]
    result = exporter.export(batch, 0.3)
    assert (result.state, result.reason) == (Sent.RETRY, "not_leader_for_partition")
    assert [message[1]["CallDuration"] for message in producer.messages] == [[1], [2], [3]]
    producer.futures[1].answer = None
    assert exporter.export(batch, 0.3).state is Sent.SENT
    assert [message[1]["CallDuration"] for message in producer.messages[3:]] == [[3]]


def test_a_batch_that_was_given_up_does_not_arrive_later(exporter, producer):
    """It would be counted as dropped, and be there."""
    producer.answers = ["waiting"]
    assert exporter.export([call_record(1)], 0.2).reason == "timeout"
    assert exporter.export([call_record(2)], 0.2).state is Sent.SENT
    assert producer.ended == 1


def test_what_is_too_large_is_refused_and_the_rest_is_sent(exporter, producer):
    """One large document would hold up all others for ever."""
    batch = [call_record(1), call_record(2)]
    producer.answers = [errors.MessageSizeTooLargeError(), errors.NotEnoughReplicasError()]
    assert exporter.export(batch, 1).state is Sent.RETRY
    result = exporter.export(batch, 1)
    assert (result.state, result.refused_count, result.reason) == (Sent.SENT, 1, "too_large")
    producer.answers = [errors.MessageSizeTooLargeError()]
    assert exporter.export(batch[:1], 1).state is Sent.REFUSED


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (errors.TopicAuthorizationFailedError(), Sent.REFUSED, "topic_authorization_failed"),
        (errors.KafkaConnectionError(), Sent.RETRY, "kafka_connection"),
        (errors.UnknownTopicOrPartitionError(), Sent.RETRY, "unknown_topic_or_partition"),
        (errors.OutOfOrderSequenceNumberError(), Sent.RETRY, "out_of_order_sequence_number"),
        (errors.UnknownError(), Sent.RETRY, "unknown"),
        (ZeroDivisionError(), Sent.RETRY, "zero_division"),
    ],
)
def test_an_error_is_understood(exporter, producer, error, state, reason):
    """What may heal would be dropped, or what cannot be tried for ever."""
    producer.answers = [error]
    result = exporter.export([call_record(1)], 1)
    assert (result.state, result.reason) == (state, reason)
    assert producer.ended == (state is Sent.RETRY and not getattr(error, "retriable", False))


def test_nobody_listening_is_a_retry_at_once():
    """The client itself goes on trying until the time is up, which is billed."""
    exporter = make()
    for _ in range(2):
        with within(0.3):
            result = exporter.export([call_record(1)], 2)
        assert (result.state, result.reason) == (Sent.RETRY, "connection_refused")
    exporter.close()


@pytest.mark.parametrize(
    "then", ["silent", "drip", "reset", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\4", (b"\0\0",)], ids=repr
)
def test_what_is_no_broker_is_given_up_in_time_and_leaves_nothing_open(then):
    """An invocation would be held, or each attempt leave descriptors and threads behind."""
    batch = [call_record(1)]
    with Peer(then) as peer:
        exporter = make(COLDSPAN_KAFKA_BROKERS=f"127.0.0.1:{peer.port}")
        peer._request = lambda opened: opened.recv(100)
        for _ in range(3):
            with within(0.6):
                assert exporter.export(batch, 0.5).state is Sent.RETRY
        with within(0.7):
            exporter.close()
        # A client that was still being made when the time was over ends itself, a moment later.
        eventually(lambda: not mine())


def mine():
    """How many descriptors are open besides those of the Peer, and threads are running."""
    clients = [thread for thread in threading.enumerate() if "kafka" in thread.name]
    epolls = [path for path in Path("/proc/self/fd").iterdir() if "eventpoll" in link(path)]
    return len(clients) + len(epolls)


def link(path):
    """What a descriptor is."""
    try:
        return str(path.readlink())
    except OSError:
        return ""


def test_a_silent_name_server_is_given_up_in_time(monkeypatch):
    """A resolver waits 10 s and more, whatever the time limit of a socket."""
    answered = slow_resolver(monkeypatch)
    exporter = make(COLDSPAN_KAFKA_BROKERS="kafka.example")
    batch = [call_record(1)]
    for _ in range(2):
        with within(0.4):
            assert exporter.export(batch, 0.2).reason == "timeout"
    answered.set()
    assert exporter.export(batch, 2).reason == "dns"
    exporter.close()


def test_security_is_what_the_variables_say():
    """A password would go over the network in the clear."""
    plain = make(COLDSPAN_KAFKA_ACKS="1", COLDSPAN_KAFKA_COMPRESSION="none").settings
    assert plain["security_protocol"] == "PLAINTEXT"
    assert (plain["acks"], plain["enable_idempotence"], plain["compression_type"]) == (1, False, None)
    assert make(COLDSPAN_KAFKA_TLS="true").settings["security_protocol"] == "SSL"
    environ = {"COLDSPAN_KAFKA_BROKERS": "a,[::1]:9", "COLDSPAN_KAFKA_USERNAME": "u", "COLDSPAN_KAFKA_PASSWORD": "p"}
    exporter = kafka.create({**environ, "COLDSPAN_KAFKA_SASL_MECHANISM": "scram-sha-512"}, str.upper)
    assert exporter.settings["bootstrap_servers"] == ["a:9092", "[::1]:9"]
    assert exporter.settings["security_protocol"] == "SASL_SSL"
    assert exporter.settings["ssl_context"].check_hostname
    assert exporter.settings["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (exporter.settings["sasl_plain_username"], exporter.settings["sasl_plain_password"]) == ("U", "P")
    asked = kafka.create({**environ, "COLDSPAN_KAFKA_TLS": "false"}, str).settings
    assert (asked["security_protocol"], asked["sasl_mechanism"]) == ("SASL_PLAINTEXT", "PLAIN")


@pytest.mark.parametrize(
    "variables",
    [
        {"COLDSPAN_KAFKA_BROKERS": ""},
        {"COLDSPAN_KAFKA_BROKERS": "kafka://host"},
        {"COLDSPAN_KAFKA_TOPIC": "a b"},
        {"COLDSPAN_KAFKA_ACKS": "2"},
        {"COLDSPAN_KAFKA_COMPRESSION": "zstd"},
        {"COLDSPAN_KAFKA_TLS": "perhaps"},
        {"COLDSPAN_KAFKA_SASL_MECHANISM": "GSSAPI"},
        {"COLDSPAN_KAFKA_SASL_MECHANISM": "PLAIN"},
        {"COLDSPAN_KAFKA_TLS": "true", "COLDSPAN_KAFKA_CA_FILE": "/nowhere"},
    ],
)
def test_what_cannot_work_is_said_with_its_variable(variables):
    """The user would search for the reason why nothing arrives."""
    with pytest.raises(ConfigurationError, match=list(variables)[-1]):
        make(**variables)
