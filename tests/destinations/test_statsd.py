"""A real StatsD daemon by UDP and TCP, which is also killed, hung, and gone in the middle."""

import itertools

import pytest

from coldspan_blackbox.exporting import statsd as exporting
from coldspan_blackbox.exporting.exporter import Result, Sent
from support import receivers
from support.destinations import call_record, within

pytestmark = pytest.mark.timeout(120)
NUMBER = itertools.count()


@pytest.fixture(scope="module")
def one_statsd(tmp_path_factory):
    """The StatsD daemon of npm."""
    with receivers.running(receivers.statsd(tmp_path_factory.mktemp("statsd"))) as running:
        yield running


@pytest.fixture
def statsd(one_statsd):
    """The same, running."""
    return one_statsd.alive()


@pytest.fixture
def function():
    """A function's name that no other test has used."""
    return f"orders-{next(NUMBER)}"


@pytest.fixture
def make(statsd):
    """Make an exporter to it."""
    made = []

    def make(scheme, **variables):
        address = f"{scheme}://127.0.0.1:{statsd.port}"
        made.append(exporting.create({"COLDSPAN_STATSD_ADDRESS": address, **variables}, str))
        return made[-1]

    yield make
    for exporter in made:
        exporter.close()


@pytest.fixture(params=["udp", "tcp"])
def exporter(make, request):
    """An exporter of each kind."""
    return make(request.param)


def failures(statsd, function):
    """What the daemon has counted for it."""
    return statsd.ask("counters").get(f"coldspan.{function}.dynamodb.PutItem.call_failures", 0)


def counted(statsd, function, expected):
    """Wait until it has counted as many; more would not stay unseen."""
    receivers.eventually(lambda: failures(statsd, function) >= expected)
    assert failures(statsd, function) == expected


def one(function, failed=1):
    """A record with so many failures."""
    return call_record(12.5, function_name=function, failures=failed)


def test_what_was_exported_is_found(statsd, exporter, function):
    """Dashboards would show nothing, or something else."""
    bad_lines = statsd.ask("counters")["statsd.bad_lines_seen"]
    for _ in range(3):
        assert exporter.export([one(function), one(function, 2)], 5) == Result(Sent.SENT)
    counted(statsd, function, 9)
    name = f"coldspan.{function}.dynamodb.PutItem.call_duration"
    assert receivers.eventually(lambda: statsd.ask("timers").get(name)) == [12.5] * 6
    assert statsd.ask("counters")["statsd.bad_lines_seen"] == bad_lines


def test_tags_are_understood(statsd, make, function):
    """A daemon that knows tags would get names with `|#` in them."""
    exporter = make("tcp", COLDSPAN_STATSD_TAGS="dogstatsd", COLDSPAN_STATSD_PREFIX="acme")
    assert exporter.export([one(function)], 5).state is Sent.SENT
    name = f"acme.call_failures;function_name={function};operation=PutItem;tool=dynamodb"
    assert receivers.eventually(lambda: statsd.ask("counters").get(name)) == 1


def test_a_large_batch_arrives_whole(statsd, exporter, function):
    """A packet over the frame's size, or a cut line, would be lost."""
    bad_lines = statsd.ask("counters")["statsd.bad_lines_seen"]
    for _ in range(5):
        assert exporter.export([one(function)] * 200, 5) == Result(Sent.SENT)
        receivers.eventually(lambda: failures(statsd, function) % 200 == 0)
    counted(statsd, function, 1_000)
    assert statsd.ask("counters")["statsd.bad_lines_seen"] == bad_lines


def test_a_kill_in_the_middle_is_noticed_and_it_goes_on(statsd, exporter, function):
    """What nobody took would be told as sent, and be in no count."""
    for _ in range(3):
        assert exporter.export([one(function)], 5).state is Sent.SENT
    counted(statsd, function, 3)
    statsd.kill()
    batch = [one(function, 2)]
    for _ in range(2):
        with within(1):
            assert exporter.export(batch, 2) == Result(Sent.RETRY, "connection_refused")
    statsd.start()
    assert exporter.export(batch, 5).state is Sent.SENT
    assert exporter.export([one(function)], 5).state is Sent.SENT
    counted(statsd, function, 3)  # the daemon begins at 0


def test_a_hung_one_gets_all_when_it_wakes(statsd, exporter, function):
    """A short stop of the agent would cost metrics."""
    with statsd.hung():
        for _ in range(20):
            with within(1):
                assert exporter.export([one(function)], 1).state is Sent.SENT  # the machine's buffers take it
    counted(statsd, function, 20)


def test_a_stream_that_fills_up_is_given_up_in_time_and_doubles_nothing(statsd, make, function):
    """A hung daemon would hold the invocation, or count twice what it had."""
    bad_lines = statsd.ask("counters")["statsd.bad_lines_seen"]
    exporter = make("tcp")
    assert exporter.export([one(function)], 5).state is Sent.SENT
    long = call_record(*range(100), function_name=function, failures=1, tool="x" * 64, operation="y" * 64)
    batch = [*[long] * 1_000, one(function)]
    with statsd.hung():
        for _ in range(3):
            with within(2.2):
                assert exporter.export(batch, 2) == Result(Sent.RETRY, "timeout")
    assert exporter.export(batch, 20) == Result(Sent.SENT)
    counted(statsd, function, 2)
    name = f"coldspan.{function}.{'x' * 64}.{'y' * 64}.call_failures"
    assert receivers.eventually(lambda: statsd.ask("counters").get(name, 0)) == 1_000
    assert statsd.ask("counters")["statsd.bad_lines_seen"] == bad_lines


def test_a_kill_in_a_full_stream_goes_on_with_what_had_not_arrived(statsd, make, function):
    """A batch would be counted twice by the next daemon, or its rest be lost."""
    exporter = make("tcp")
    batch = [call_record(*range(100), function_name=function, failures=1, tool="x" * 64) for _ in range(1_000)]
    with statsd.hung():
        assert exporter.export(batch, 2) == Result(Sent.RETRY, "timeout")
        statsd.kill()
        statsd.start()
    arrived = exporter._delivery.data[: exporter._delivery.at].count(b"call_failures")
    assert exporter.export(batch, 20) == Result(Sent.SENT)
    name = f"coldspan.{function}.{'x' * 64}.PutItem.call_failures"
    assert receivers.eventually(lambda: statsd.ask("counters").get(name)) == 1_000 - arrived
    assert 0 < arrived < 1_000
