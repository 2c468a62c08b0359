"""What the fault tests share."""

import contextlib
import http.client
import signal
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError

import coldspan
from support.faults import Aws, Function, TimeLimit, Trial
from support.servers import Stub


@pytest.fixture(scope="session")
def aws():
    """An Aws; made before any hook is installed."""
    return Aws()


@pytest.fixture(scope="session")
def stub():
    """What the function calls over HTTP."""
    with Stub() as server:
        yield server


@pytest.fixture
def trial(scope, settings, fake_clock, monkeypatch, tmp_path):
    """A Trial; the trace is sampled and there is an X-Ray daemon."""
    settings.xray_address = "127.0.0.1:2000"
    settings.journal_dir = str(tmp_path / "journal")
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))  # between attempts
    trial = Trial(scope, fake_clock, monkeypatch)
    yield trial
    trial.stop()


@pytest.fixture
def make_function():
    """Make the customer's function out of its work."""
    return Function


@pytest.fixture
def time_limit():
    """SIGALRM raises a TimeLimit in whatever runs, as time-limit decorators let it."""

    def on_alarm(number, frame):
        raise TimeLimit("time is up")

    before = signal.signal(signal.SIGALRM, on_alarm)
    yield TimeLimit
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def works(stub, aws, trial):
    """What a handler may do, by name."""

    def by_hand():
        with coldspan.call("pricing", "quote", items=2, payload={"n": 1}):
            return "quoted"

    def by_hand_failing():
        with coldspan.call("pricing", "quote"):
            raise ValueError("no price")

    @coldspan.tool("pricing")
    def quote():
        return "quoted"

    def get():
        connection = http.client.HTTPConnection(stub.url.removeprefix("http://"), timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/200")
            with connection.getresponse() as response:
                return response.read().decode()

    def get_reset():
        connection = http.client.HTTPConnection(stub.url.removeprefix("http://"), timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/reset")
            connection.getresponse()

    def list_tables():
        return aws.client.list_tables()["TableNames"]

    def list_tables_throttled():
        aws.answers[:] = [(400, b'{"__type": "ThrottlingException"}')]
        return aws.client.list_tables()["TableNames"]

    def put_refused():
        aws.answers[:] = [(400, b'{"__type": "ConditionalCheckFailedException", "message": "no"}')]
        try:
            aws.client.put_item(TableName="orders", Item={"id": {"S": "1"}})
        except ClientError as error:
            return str(error)

    def nothing():
        return "nothing"

    def failing():
        raise ValueError("the customer's own")

    names = (
        by_hand, by_hand_failing, quote, get, get_reset, list_tables, list_tables_throttled, put_refused, nothing,
        failing,
    )  # fmt: skip
    return SimpleNamespace(**{work.__name__: work for work in names})
