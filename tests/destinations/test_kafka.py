"""A real broker that speaks Kafka, which is also killed, hung, and made to refuse."""

import gc
import itertools
import subprocess
import sys
import threading

import pytest

from coldspan_blackbox.exporting import kafka as exporting
from coldspan_blackbox.exporting.exporter import Result, Sent
from support import receivers
from support.destinations import call_record, within

pytestmark = [
    pytest.mark.timeout(120),
    # The client leaves the socket of a connection that was refused to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
NUMBER = itertools.count()


@pytest.fixture(scope="module")
def one_broker(tmp_path_factory):
    """A broker that speaks Kafka."""
    with receivers.running(receivers.broker(tmp_path_factory.mktemp("broker"))) as running:
        yield running


@pytest.fixture
def broker(one_broker):
    """The same, running."""
    return one_broker.alive()


@pytest.fixture
def topic():
    """A topic that no other test has used."""
    return f"coldspan-{next(NUMBER)}"


@pytest.fixture
def exporter(broker, topic):
    """An exporter to the broker."""
    exporter = exporting.create(
        {"COLDSPAN_KAFKA_BROKERS": f"127.0.0.1:{broker.port}", "COLDSPAN_KAFKA_TOPIC": topic}, str
    )
    yield exporter
    with within(1):
        exporter.close()
    assert [thread.name for thread in threading.enumerate() if "kafka" in thread.name] == []


@pytest.fixture(autouse=True)
def collected():
    """What the client leaves to the garbage collector is collected while that is no error."""
    yield
    gc.collect()


def numbered(numbers, **members):
    """A record for each number."""
    return [call_record(number, function_name="orders", **members) for number in numbers]


def stored(broker, topic):
    """The numbers that the broker has, each as often as it has it."""
    return sorted(document["CallDuration"][0] for _, document in broker.messages(topic))


def test_what_was_exported_is_found(broker, exporter, topic):
    """A consumer would not find what is on stdout."""
    batch = [*numbered(range(3)), *numbered([3], trace_id="1-6565-aa")]
    assert exporter.export(batch, 10) == Result(Sent.SENT)
    found = broker.messages(topic)
    assert sorted(key for key, _ in found) == ["1-6565-aa", "orders", "orders", "orders"]
    assert sorted(document["CallDuration"] for _, document in found) == [[0], [1], [2], [3]]
    assert all(document["_aws"]["CloudWatchMetrics"] for _, document in found)


def test_batches_are_in_order(broker, exporter, topic):
    """The messages of one key would be read in another order than they were written."""
    for first in range(0, 200, 50):
        assert exporter.export(numbered(range(first, first + 50)), 10).state is Sent.SENT
    assert [document["CallDuration"][0] for _, document in broker.messages(topic)] == list(range(200))


def test_a_kill_in_the_middle_is_noticed_and_it_goes_on(broker, exporter, topic):
    """What nobody took would be told as sent, or the client never come back."""
    assert exporter.export(numbered(range(10)), 10).state is Sent.SENT
    assert stored(broker, topic) == list(range(10))
    broker.kill()
    batch = numbered(range(10, 20))
    reasons = []
    for _ in range(4):
        with within(1.2):
            result = exporter.export(batch, 1)
        assert result.state is Sent.RETRY
        reasons.append(result.reason)
    assert reasons[-1] == "connection_refused"
    broker.start()  # with nothing in it
    receivers.eventually(lambda: exporter.export(batch, 5) == Result(Sent.SENT), 30)
    assert exporter.export(numbered([20]), 10).state is Sent.SENT
    assert stored(broker, topic) == list(range(10, 21))


def test_a_hung_one_is_given_up_in_time_and_stores_each_once(broker, exporter, topic):
    """It answers when it wakes: the batch that is sent again would be stored twice."""
    assert exporter.export(numbered(range(5)), 10).state is Sent.SENT
    batch = numbered(range(5, 10))
    with broker.hung():
        for _ in range(3):
            with within(0.7):
                assert exporter.export(batch, 0.6) == Result(Sent.RETRY, "timeout")
    assert exporter.export(batch, 10) == Result(Sent.SENT)
    assert stored(broker, topic) == list(range(10))


def test_one_that_hangs_for_longer_than_the_client_waits_stores_each_once(broker, exporter, topic):
    """The client's own second attempt would be stored as well."""
    exporter.settings["request_timeout_ms"] = 1_000
    assert exporter.export(numbered(range(5)), 10).state is Sent.SENT
    batch = numbered(range(5, 10))
    with broker.hung():
        for _ in range(3):
            assert exporter.export(batch, 1).state is Sent.RETRY
    receivers.eventually(lambda: exporter.export(batch, 5) == Result(Sent.SENT), 30)
    assert stored(broker, topic) == list(range(10))


def test_a_message_that_is_too_large_is_refused_and_counted(broker, exporter, topic):
    """One document would hold up all that come after it."""
    large = call_record(1, text="x" * 2_000_000)
    assert exporter.export([*numbered([0]), large, *numbered([2])], 10) == Result(
        Sent.SENT, "too_large", refused_count=1
    )
    assert exporter.export([large], 10) == Result(Sent.REFUSED, "too_large")
    assert stored(broker, topic) == [0, 2]


def test_the_exit_does_not_wait_for_one_that_hangs(broker):
    """The environment's last two seconds would pass in the client, and its words stand in the function's log."""
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "from coldspan_blackbox.exporting import kafka\n"
        "from support.destinations import call_record\n"
        "exporter = kafka.create({'COLDSPAN_KAFKA_BROKERS': sys.argv[1]}, str)\n"
        "print(exporter.export([call_record(1)], 10).state.value, flush=True)\n"
        "sys.stdin.readline()\n"
        "print(exporter.export([call_record(2)], 0.3).state.value, flush=True)\n"
    )
    command = [sys.executable, "-c", code, f"127.0.0.1:{broker.port}", *sys.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"sent\n"
        with broker.hung():
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"retry\n"
            with within(1):
                assert process.wait(10) == 0
        assert process.stderr.read() == b""


def test_it_is_there_before_its_broker(tmp_path):
    """An environment that starts while the broker is away would never send."""
    own = receivers.broker(tmp_path)
    exporter = exporting.create({"COLDSPAN_KAFKA_BROKERS": f"127.0.0.1:{own.port}"}, str)
    batch = numbered(range(3))
    assert exporter.export(batch, 1) == Result(Sent.RETRY, "connection_refused")
    with receivers.running(own):
        assert exporter.export(batch, 10) == Result(Sent.SENT)
        assert stored(own, "coldspan") == [0, 1, 2]
        exporter.close()


def test_a_connection_by_tls_is_checked(tmp_path):
    """Documents would be given to anybody who answers."""
    own = receivers.broker(tmp_path)
    with receivers.TlsFront(tmp_path, own.port) as front:
        own.advertised_port = front.port
        variables = {"COLDSPAN_KAFKA_BROKERS": f"127.0.0.1:{front.port}", "COLDSPAN_KAFKA_TLS": "true"}
        with receivers.running(own):
            stranger = exporting.create(variables, str)
            with within(2.2):
                assert stranger.export(numbered([1]), 2).state is Sent.RETRY
            stranger.close()
            known = exporting.create({**variables, "COLDSPAN_KAFKA_CA_FILE": str(front.certificate)}, str)
            assert known.export(numbered([1]), 10) == Result(Sent.SENT)
            known.close()
