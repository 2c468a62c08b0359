"""Real receivers, one of each for the session: started on free ports of loopback, ended with the session."""

import pytest

from support import receivers


@pytest.fixture(scope="session")
def one_prometheus(tmp_path_factory):
    """Debian's Prometheus, with its remote write receiver."""
    with receivers.running(receivers.prometheus(tmp_path_factory.mktemp("prometheus"))) as running:
        yield running


@pytest.fixture(scope="session")
def one_statsd(tmp_path_factory):
    """The StatsD daemon of npm."""
    with receivers.running(receivers.statsd(tmp_path_factory.mktemp("statsd"))) as running:
        yield running


@pytest.fixture(scope="session")
def one_broker(tmp_path_factory):
    """A broker that speaks Kafka."""
    with receivers.running(receivers.broker(tmp_path_factory.mktemp("broker"))) as running:
        yield running


@pytest.fixture
def prometheus(one_prometheus):
    """The session's Prometheus, running."""
    return one_prometheus.alive()


@pytest.fixture
def statsd(one_statsd):
    """The session's StatsD daemon, running."""
    return one_statsd.alive()


@pytest.fixture
def broker(one_broker):
    """The session's broker, running."""
    return one_broker.alive()
