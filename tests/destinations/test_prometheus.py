"""Remote write to a real Prometheus, which is also killed, hung, and made to refuse."""

import itertools
import time

import pytest

from coldspan_blackbox.exporting import prometheus as exporting
from coldspan_blackbox.exporting.exporter import Result, Sent
from support import receivers
from support.destinations import call_record, within

pytestmark = pytest.mark.timeout(120)
NUMBER = itertools.count()


@pytest.fixture(scope="module")
def one_prometheus(tmp_path_factory):
    """Debian's Prometheus, with its remote write receiver."""
    with receivers.running(receivers.prometheus(tmp_path_factory.mktemp("prometheus"))) as running:
        yield running


@pytest.fixture
def prometheus(one_prometheus):
    """The same, running."""
    return one_prometheus.alive()


@pytest.fixture
def function():
    """A function's name that no other test has used."""
    return f"orders-{next(NUMBER)}-{time.time_ns()}"


@pytest.fixture
def make(prometheus):
    """Make an exporter to it, as an environment of its own."""
    made = []

    def make():
        exporter = exporting.create(
            {"COLDSPAN_PROMETHEUS_URL": f"http://127.0.0.1:{prometheus.port}/api/v1/write"}, str
        )
        made.append(exporter)
        return exporter

    yield make
    for exporter in made:
        exporter.close()


def now(function, *durations_ms, **members):
    """A record of this moment."""
    return call_record(*durations_ms, function_name=function, at_ms=time.time_ns() // 1_000_000, **members)


def calls(prometheus, function):
    """How many calls Prometheus knows of, over all environments."""
    found = prometheus.query(f'sum(coldspan_call_duration_seconds_count{{function_name="{function}"}})')
    return found.get("", 0)


def test_what_was_exported_is_found(prometheus, make, function):
    """Dashboards would show nothing, or something else."""
    exporter = make()
    for _ in range(3):
        assert exporter.export([now(function, 4, 30, 30, failures=1)], 5) == Result(Sent.SENT)
    where = f'{{function_name="{function}",tool="dynamodb",operation="PutItem"}}'
    assert calls(prometheus, function) == 9
    assert prometheus.query(f"sum(coldspan_call_failures_total{where})") == {"": 3}
    assert prometheus.query(f"sum(coldspan_call_duration_seconds_sum{where})")[""] == pytest.approx(0.192)
    assert prometheus.query(f'sum(coldspan_call_duration_seconds_bucket{where[:-1]},le="0.005"}})') == {"": 3}
    quantile = prometheus.query(f"histogram_quantile(0.5, sum by (le) (coldspan_call_duration_seconds_bucket{where}))")
    assert 0.025 < quantile[""] <= 0.05
    assert prometheus.query(f"increase(coldspan_call_failures_total{where}[5m]) >= 3"), (
        "the first failure is an increase"
    )


def test_environments_add_up(prometheus, make, function):
    """Two environments would overwrite each other's sums."""
    for _ in range(3):
        assert make().export([now(function, 1, 2)], 5).state is Sent.SENT
    assert calls(prometheus, function) == 6


def test_a_series_ends_with_its_environment(prometheus, make, function):
    """A dead environment would be shown for five more minutes."""
    exporter = make()
    assert exporter.export([now(function, 1)], 5).state is Sent.SENT
    assert calls(prometheus, function) == 1
    exporter.close()
    assert calls(prometheus, function) == 0


def test_a_kill_in_the_middle_loses_and_doubles_nothing(prometheus, make, function):
    """What was told as sent would be lost, or what was sent again counted twice."""
    exporter = make()
    results = []
    for number in range(10):
        if number == 4:
            prometheus.kill()
        batch = [now(function, 1), now(function, 2)]
        with within(1):
            result = exporter.export(batch, 2)
        if result.state is Sent.RETRY:
            prometheus.start()
            results.append(result.reason)
            result = exporter.export(batch, 5)
        assert result.state is Sent.SENT
    assert results == ["connection_refused"]
    assert calls(prometheus, function) == 20


def test_a_hung_one_is_given_up_in_time_and_doubles_nothing(prometheus, make, function):
    """It stores what it is sent when it wakes: the batch that is sent again would be counted twice."""
    exporter = make()
    assert exporter.export([now(function, 1)], 5).state is Sent.SENT
    batch = [now(function, 1, 2)]
    with prometheus.hung():
        for _ in range(3):
            with within(0.7):
                assert exporter.export(batch, 0.6) == Result(Sent.RETRY, "timeout")
    assert exporter.export(batch, 10) == Result(Sent.SENT)
    assert exporter.export([now(function, 1)], 5).state is Sent.SENT
    assert calls(prometheus, function) == 4


def test_the_first_batch_of_an_environment_may_meet_a_hung_one(prometheus, make, function):
    """Its series begin with a 0 which is refused when it is sent again, and everything with it."""
    exporter = make()
    batch = [now(function, 1, 2)]
    with prometheus.hung():
        assert exporter.export(batch, 0.6) == Result(Sent.RETRY, "timeout")
    receivers.eventually(lambda: calls(prometheus, function) == 2)
    assert exporter.export(batch, 10) == Result(Sent.SENT)
    assert exporter.export([now(function, 1)], 5).state is Sent.SENT
    assert calls(prometheus, function) == 3


def test_a_batch_given_up_while_it_hung_does_not_make_a_sum_fall(prometheus, make, function):
    """rate() would take the fall for a restart and add the whole sum again."""
    exporter = make()
    assert exporter.export([now(function, 1)], 5).state is Sent.SENT
    with prometheus.hung():
        assert exporter.export([now(function, 1, 2)], 0.5).state is Sent.RETRY
    assert exporter.export([now(function, 1)], 5).state is Sent.SENT
    assert calls(prometheus, function) == 4
    resets = prometheus.query(f'sum(resets(coldspan_call_duration_seconds_count{{function_name="{function}"}}[5m]))')
    assert resets == {"": 0}


def test_a_refusal_is_counted_and_the_next_batch_is_taken(prometheus, make, function):
    """A receiver that is set up wrongly would be asked for ever, or its refusals be told as sent."""
    exporter = make()
    assert exporter.export([now(function, 1)], 5).state is Sent.SENT
    prometheus.kill()
    prometheus.takes = False
    prometheus.start()
    assert exporter.export([now(function, 1)] * 3, 5) == Result(Sent.REFUSED, "http_404")
    prometheus.kill()
    prometheus.takes = True
    prometheus.start()
    assert exporter.export([now(function, 1)], 5).state is Sent.SENT
    assert calls(prometheus, function) == 2


def test_a_sample_it_refuses_is_counted(prometheus, make, function, monkeypatch):
    """A 400 of the real receiver would be tried for ever."""
    first, second = make(), make()
    monkeypatch.setattr(exporting.os, "urandom", lambda size: b"\1" * size)  # two environments with one identity
    batch = [now(function, 1)]
    assert first.export([now(function, 1), now(function, 1)], 5).state is Sent.SENT
    assert second.export(batch, 5) == Result(Sent.REFUSED, "http_400")
