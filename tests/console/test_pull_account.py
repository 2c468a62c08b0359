"""`coldspan pull --function`: against moto's real server by real boto3; what it has not is told in each docstring."""

import json
import threading
import time

import boto3
import moto.xray  # noqa: F401  # it opens a socket for good: before the first test looks
import pytest
from botocore.stub import ANY, Stubber
from moto.server import ThreadedMotoServer

from coldspan_console import cli
from coldspan_console.output import ConsoleError
from coldspan_console.pulling import insights, queries
from coldspan_console.pulling.account import Account
from coldspan_console.pulling.insights import Insights, RefusedError
from coldspan_console.pulling.puller import Puller, Wanted
from coldspan_console.store import Store
from store_lines import invocation, platform, tool

GROUP = "/aws/lambda/orders"
STREAM = "2026/11/26/[$LATEST]0123456789abcdef0123456789abcdef"
SECRET = "wJalrXUtnFEMIsecret"


@pytest.fixture(scope="module")
def server():
    """Moto's server, as it is started for the CLI."""
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    yield "http://{}:{}".format(*started.get_host_and_port())
    started.stop()


@pytest.fixture
def aws(server, monkeypatch, tmp_path):
    """An empty account."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("COLDSPAN_STORE", str(tmp_path / "store.db"))
    session = boto3.Session()
    import urllib.request

    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).read()
    return session


@pytest.fixture
def logged(aws):
    """Put messages into the function's log: (ms ago, text) each."""
    logs = aws.client("logs")
    logs.create_log_group(logGroupName=GROUP)
    logs.create_log_stream(logGroupName=GROUP, logStreamName=STREAM)

    def put(*messages):
        now_ms = time.time_ns() // 1_000_000
        events = [{"timestamp": now_ms - ago_ms, "message": text} for ago_ms, text in messages]
        events.sort(key=lambda event: event["timestamp"])
        logs.put_log_events(logGroupName=GROUP, logStreamName=STREAM, logEvents=events)
        return now_ms

    return put


@pytest.fixture
def pull(capsys):
    """Run the command; give its exit code, its JSON or text, and what it said on stderr."""

    def run(*words):
        capsys.readouterr()
        code = cli.main(["pull", *words])
        out, err = capsys.readouterr()
        assert SECRET not in out + err
        return code, json.loads(out) if out.startswith("{") else out, err

    return run


def request(number):
    return f"6f1c2a90-7b3d-4e55-9a10-{number:012d}"


def record(number, ago_ms=1_000, **more):
    """(how long ago, the text) of an invocation's record."""
    at_ms = time.time_ns() // 1_000_000 - ago_ms
    return ago_ms, json.dumps(invocation(request(number), at_ms=at_ms, **more)) + "\n"


def stored(wanted=None):
    with Store.open() as store:
        return {one["request_id"]: one for one in store.find(limit=None)}


@pytest.mark.parametrize("engine", ["filter", "insights", "auto"])
def test_the_records_of_a_function_are_in_the_store_once(logged, pull, engine):
    """The same console against the real account; a second pull adds nothing."""
    at_ms = logged(
        record(1, 3_000, calls=[("dynamodb", "PutItem", "ok")]),
        (2_990, json.dumps(tool(request(1), "dynamodb", "PutItem"))),
        (2_980, (f"REPORT RequestId: {request(1)}\tDuration: 12.50 ms\tBilled Duration: 13 ms\tMemory Size: 128 MB\t"
                "Max Memory Used: 41 MB\t\n")),
        (2_970, "the function's own words\n"),
        record(2, 2_000, outcome="error"),
    )  # fmt: skip
    code, told, _ = pull("--function", "orders", "--engine", engine, "--json")
    assert code == 0
    assert told["invocations"] == 2
    assert set(told["request_ids"]) == {request(1), request(2)}
    found = stored()
    assert found[request(1)]["source"] == "pull"
    assert found[request(1)]["region"] == "eu-west-1"
    assert found[request(1)]["account"] == "123456789012"
    assert found[request(1)]["max_memory_mb"] == 41
    assert abs(found[request(1)]["time_ms"] - (at_ms - 3_000)) < 2_000
    code, told, _ = pull("--function", "orders", "--engine", engine, "--json")
    assert (code, told["added"], told["invocations"]) == (0, 0, 0)
    assert len(told["request_ids"]) == 2


@pytest.mark.parametrize("engine", ["filter", "insights"])
def test_only_what_is_asked_for_comes(logged, pull, engine):
    """Moto passes over the filter: what it gives beyond is left out here, as it would be by AWS."""
    logged(
        record(1, 5_000), record(2, 4_000, outcome="timeout"), record(3, 3_000, outcome="error"),
        record(4, 2_000, calls=[("events", "PutEvents", "partial")]), (3_900, json.dumps(platform(request(2)))),
        (6_500, json.dumps(platform(request(1)))),
    )  # fmt: skip
    _, told, _ = pull("--function", "orders", "--engine", engine, "--outcome", "timeout", "--json")
    assert told["request_ids"] == [request(2)]
    with Store.open() as store:
        assert store.get(request(2))[0]["platform"]
        assert store.count() == 1
    _, told, _ = pull("--function", "orders", "--engine", engine, "--errors-only", "--json")
    assert set(told["request_ids"]) == {request(2), request(3), request(4)}
    _, told, _ = pull("--function", "orders", "--engine", engine, "--limit", "1", "--json")
    assert told["request_ids"] == [request(4)]


def test_more_than_a_query_gives_comes_by_further_ones(logged, pull, monkeypatch):
    """10,000 rows are a query's limit; here five are, and a second holds more than that."""
    for module in (queries, insights):
        monkeypatch.setattr(module, "LIMIT", 5)
    crowded = [record(100 + number, 2_500) for number in range(8)]
    logged(*crowded, *(record(number, 60_000 - 4_000 * number) for number in range(12)))
    _, told, _ = pull("--function", "orders", "--engine", "insights", "--json")
    assert told["invocations"] == 20
    assert told["queries"] > 3


def test_the_log_lines_of_what_failed_come_too(logged, pull):
    """The function's own words are what one looks for first."""
    logged(
        (3_010, f"START RequestId: {request(1)} Version: $LATEST\n"), (3_005, "about to fail\n"),
        record(1, 3_000, outcome="error"), (2_000, "of another one\n"),
    )  # fmt: skip
    _, told, _ = pull("--function", "orders", "--json")
    assert told["log_lines"] == 1
    with Store.open() as store:
        assert [line["text"] for line in store.log_lines(request(1))] == ["about to fail"]


def test_traces_are_merged_into_what_the_platform_said(aws, logged, pull):
    """What the service itself measured is in X-Ray alone."""
    began = time.time_ns() / 1e9 - 3
    trace = f"1-{int(began):08x}-0123456789abcdef01234567"
    segment = {
        "id": "0123456789abcdef", "name": "orders", "trace_id": trace, "start_time": began, "end_time": began + 0.3,
        "origin": "AWS::Lambda::Function", "subsegments": [
            {"id": "1123456789abcdef", "name": "Initialization", "start_time": began, "end_time": began + 0.12},
            {"id": "2123456789abcdef", "name": "Overhead", "start_time": began + 0.25, "end_time": began + 0.3},
        ],
    }  # fmt: skip
    aws.client("xray").put_trace_segments(TraceSegmentDocuments=[json.dumps(segment)])
    logged(record(1, 2_000, trace_id=trace.replace("-", "")[1:]))
    _, told, _ = pull("--function", "orders", "--xray", "--json")
    assert told["traces"] == 1
    with Store.open() as store:
        (document,) = store.get(request(1))
    said = document["platform"]["xray"]
    assert said["initialization_ms"] == pytest.approx(120, abs=0.1)
    assert said["overhead_ms"] == pytest.approx(50, abs=0.1)
    assert said["segments"][0]["id"] == "0123456789abcdef"
    _, told, _ = pull("--function", "orders", "--xray", "--json")
    assert told["added"] == 0


def test_what_comes_is_followed(aws, logged):
    """A terminal beside the deployment."""
    logged(record(1, 500))
    stop, seen = threading.Event(), []

    def came(told):
        seen.append(told["request_id"])
        if len(seen) == 1:
            logged(record(2, 0))
        else:
            stop.set()

    with Store.open() as store:
        wanted = Wanted("orders", GROUP, time.time_ns() // 1_000_000 - 10_000, 0)
        puller = Puller(Account(None, None), store, wanted)
        follower = threading.Thread(target=puller.follow, args=(stop, came))
        follower.start()
        try:
            assert stop.wait(40)
        finally:
            stop.set()
            follower.join(30)
        assert seen == [request(1), request(2)]
        assert store.count() == 2


def test_an_init_that_failed_is_followed_too(logged, pull, monkeypatch):
    """It has no request id; the command ended at it."""
    at_ms, text = record(1, 500, outcome="init_error", span="1f2e3d4c5b6a7988")
    logged((at_ms, json.dumps({name: value for name, value in json.loads(text).items() if name != "request_id"})))
    follow = Puller.follow

    def interrupted(self, stop, came):
        def first(told):
            came(told)
            stop.set()

        follow(self, stop, first)
        raise KeyboardInterrupt

    monkeypatch.setattr(Puller, "follow", interrupted)
    code, shown, err = pull("--function", "orders", "--follow", "--since", "1m")
    assert (code, "init_error" in shown) == (0, True), err
    assert "1 new invocation\n" in err


def test_the_picture_says_what_came_and_what_it_cost(logged, pull):
    """Moto scans nothing: the size is tested below."""
    logged(record(1, 3_000))
    code, text, _ = pull("--function", "orders", "--engine", "insights")
    assert code == 0
    assert f"1 new invocation, from {GROUP}" in text
    assert "scanned in 1 query" in text
    _, text, err = pull("--function", "orders", "--since", "30m", "--until", "20m")
    assert "0 new invocations" in text
    assert "coldspan doctor" in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--function", "order"], 3, "did you mean /aws/lambda/orders?"),
        (["--function", "orders", "--since", "soon"], 2, "soon"),
        (["--function", "orders", "--since", "1h", "--until", "2h"], 2, "ends before it begins"),
        (["--function", "orders", "--max-scan", "much"], 2, "500MB"),
        (["--function", "orders", "--profile", "nobody"], 2, "nobody"),
        (["--function", "orders", "--query", "a = 1 | limit 3"], 2, "without |"),
        (["--function", "orders", "--query", "a = 1", "--engine", "filter"], 2, "Logs Insights"),
        (["--function", "orders", "--follow", "--query", "a = 1"], 2, "--follow"),
        (["--function", "orders", "--aggregate", "--by", "colour"], 2, "outcome"),
    ],
)
def test_bad_input_says_what_to_do(logged, pull, words, code, said):
    """No traceback, no secret, and the exit code of its kind."""
    got, _, err = pull(*words)
    assert got == code, err
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "no AWS credentials"),
        (("AWS_REGION", "AWS_DEFAULT_REGION"), "which region"),
    ],
)
def test_without_credentials_or_region_that_is_what_it_says(logged, pull, monkeypatch, gone, said):
    """The commonest failures of all."""
    for name in gone:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    code, _, err = pull("--function", "orders")
    assert code in {2, 4}
    assert said in err


def test_an_account_that_cannot_be_reached_is_told(aws, pull, monkeypatch):
    """Not as a traceback of urllib3's."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(
        "coldspan_console.pulling.account.RETRIES", {"mode": "standard", "max_attempts": 1}
    )  # it would wait, rightly
    code, _, err = pull("--function", "orders")
    assert code == 4
    assert "cannot be reached" in err


# -- what moto's server has not: answers as the API reference has them, by botocore's Stubber


@pytest.fixture
def stubbed():
    """A real client whose answers are given, and are checked against the service's model."""
    client = boto3.client("logs", region_name="eu-west-1", aws_access_key_id="testing", aws_secret_access_key="testing")
    with Stubber(client) as stub:
        yield client, stub


def started(stub, query=ANY):
    asked = {"logGroupName": GROUP, "startTime": ANY, "endTime": ANY, "queryString": query, "limit": 10_000}
    stub.add_response("start_query", {"queryId": "q1"}, asked)


def test_aggregates_are_counted_where_the_data_is(stubbed):
    """Moto has no `stats`: the answer is one as AWS gives it."""
    client, stub = stubbed
    row = [{"field": "outcome", "value": "ok"}, {"field": "invocations", "value": "12"}]
    started(stub, queries.statistics("outcome"))
    stub.add_response("get_query_results", {"status": "Running", "results": [], "statistics": {"bytesScanned": 5e8}})
    stub.add_response(
        "get_query_results", {"status": "Complete", "results": [row], "statistics": {"bytesScanned": 2e9}}
    )
    asked = Insights(client, GROUP)
    asked._wait = lambda _: None
    assert asked.rows(queries.statistics("outcome"), 0, 60_000) == [{"outcome": "ok", "invocations": "12"}]
    assert asked.scanned_bytes == 2_000_000_000
    assert asked.dollars == pytest.approx(0.01)


def test_a_query_that_scans_too_much_is_stopped(stubbed):
    """Moto scans nothing. An account must not be billed for a slip of --since."""
    client, stub = stubbed
    started(stub)
    stub.add_response("get_query_results", {"status": "Running", "results": [], "statistics": {"bytesScanned": 2e9}})
    stub.add_response("stop_query", {"success": True}, {"queryId": "q1"})
    asked = Insights(client, GROUP, 1_000_000_000)
    with pytest.raises(ConsoleError, match="more than 1 GB"):
        asked.rows(queries.records(), 0, 60_000)
    stub.assert_no_pending_responses()


def test_a_query_that_fails_is_told(stubbed):
    """Moto's queries all succeed."""
    client, stub = stubbed
    started(stub)
    stub.add_response("get_query_results", {"status": "Timeout", "results": []})
    stub.add_response("stop_query", {"success": False})
    with pytest.raises(ConsoleError, match="ended as Timeout"):
        Insights(client, GROUP).rows(queries.records(), 0, 60_000)


@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        ("AccessDeniedException", RefusedError, "AccessDenied"),
        ("MalformedQueryException", ConsoleError, "does not understand"),
        ("ResourceNotFoundException", ConsoleError, "not there"),
        ("ExpiredTokenException", ConsoleError, "refuses the credentials"),
        ("LimitExceededException", ConsoleError, "LimitExceeded"),
    ],
)
def test_refusals_are_told_apart(stubbed, code, error, said):
    """Moto permits everything. Where Insights alone is refused, the log is read itself."""
    client, stub = stubbed
    stub.add_client_error("start_query", code, "because")
    with pytest.raises(error, match=said):
        Insights(client, GROUP).rows("fields @message", 0, 60_000)


def test_where_insights_is_refused_the_log_is_read_itself(logged, pull, monkeypatch):
    """Moto permits everything: the refusal is put in its place."""

    def refused(*_):
        raise RefusedError("AccessDeniedException")

    monkeypatch.setattr(Insights, "rows", refused)
    logged(record(1, 3_000))
    code, told, err = pull("--function", "orders", "--since", "2h", "--json")
    assert (code, told["engine"], told["invocations"]) == (0, "filter", 1)
    assert "refused" in err
    code, _, err = pull("--function", "orders", "--query", "Duration > 1")
    assert code == 3
    assert "logs:StartQuery" in err
