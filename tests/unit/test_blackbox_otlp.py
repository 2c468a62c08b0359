"""The OTLP exporter against a server of the test's own: what it sends, and what it makes of each answer."""

import re
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from coldspan.core.emf import EmfEncoder
from coldspan_blackbox.exporting import otlp
from coldspan_blackbox.exporting.exporter import ConfigurationError, Sent
from coldspan_blackbox.exporting.record import Point, Record, parse
from support.collector import CLOSE, DRIBBLE, HANG, Collector, attributes
from support.http_server import certificate, server_context
from support.records import call, invocation, results

FUNCTION = {"AWS_LAMBDA_FUNCTION_NAME": "orders", "AWS_REGION": "eu-west-1"}


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    """The SDK looks at the process's own environment too."""
    import os

    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector():
    with Collector() as made:
        yield made


def batch(count=1):
    """The records of some invocations with a call each."""
    made = []
    for _ in range(count):
        owner = invocation()
        call(owner)
        made += [parse(line) for line in EmfEncoder("coldspan", "orders").invocation_lines(owner, results(owner), {})]
    return made


def exporter(url, **variables):
    return otlp.create({**FUNCTION, "OTEL_EXPORTER_OTLP_ENDPOINT": url, **variables}, str)


def traces_only(url, **variables):
    return exporter(url, OTEL_METRICS_EXPORTER="none", **variables)


def sent(made, records=None, timeout_s=10.0):
    result = made.export(records or batch(), timeout_s)
    made.close()
    return result


def test_spans_and_metrics_leave_by_the_standard_variables(collector):
    """A collector that any other program can send to would get nothing from us."""
    result = sent(exporter(collector.url + "/", OTEL_EXPORTER_OTLP_HEADERS="api-key=a%20b,x-team=till"), batch(2))
    assert result.state is Sent.SENT
    assert [span.name for span in collector.spans()] == ["orders", "DynamoDB.PutItem"] * 2
    assert collector.metrics()["faas.invocations"].sum.data_points[0].as_int == 2
    (resource,) = [group.resource for group in collector.messages("/v1/traces")[0].resource_spans]
    assert attributes(resource)["faas.name"] == "orders"
    for request in collector.requests:
        assert (request.headers["api-key"], request.headers["x-team"]) == ("a b", "till")
        assert request.headers["content-type"] == "application/x-protobuf"
        assert request.headers["content-encoding"] == "gzip"


def test_log_records_leave_only_where_they_are_wanted(collector):
    """Each line would be paid for twice, in CloudWatch and elsewhere."""
    sent(exporter(collector.url))
    assert collector.messages("/v1/logs") == []
    sent(exporter("", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=collector.url + "/v1/logs"))
    (message,) = collector.messages("/v1/logs")
    logs = message.resource_logs[0].scope_logs[0].log_records
    assert len(logs) == 2
    assert '"request_id":"8476a536' in logs[0].body.string_value


@pytest.mark.parametrize(("word", "header"), [("gzip", "gzip"), ("deflate", "deflate"), ("none", None)])
def test_compression_is_as_the_variable_says(collector, word, header):
    """A collector that cannot unpack would refuse all."""
    sent(traces_only(collector.url, OTEL_EXPORTER_OTLP_TRACES_COMPRESSION=word))
    assert collector.requests[0].headers.get("content-encoding") == header
    assert len(collector.spans()) == 2


ANSWERS = {
    "taken": (200, Sent.SENT, "", None),
    "taken, another 2xx": (202, Sent.SENT, "", None),
    "throttled": ((429, {"Retry-After": "7"}, b""), Sent.RETRY, "http_429", 7.0),
    "unavailable": (503, Sent.RETRY, "http_503", None),
    "a gateway": (502, Sent.RETRY, "http_502", None),
    "junk in Retry-After": ((503, {"Retry-After": "soon"}, b""), Sent.RETRY, "http_503", None),
    "a date in the past": ((503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, b""), Sent.RETRY, "http_503", 0.0),
    "not allowed": (403, Sent.REFUSED, "http_403", None),
    "malformed": (400, Sent.REFUSED, "http_400", None),
    "an error of its own": (500, Sent.REFUSED, "http_500", None),
    "too large": (413, Sent.REFUSED, "too_large", None),
    "elsewhere": ((307, {"Location": "http://127.0.0.1:1/"}, b""), Sent.REFUSED, "http_307", None),
}


@pytest.mark.parametrize(("answer", "state", "reason", "retry_after"), ANSWERS.values(), ids=ANSWERS)
def test_what_an_answer_means(collector, answer, state, reason, retry_after):
    """Records would be sent for ever, or be lost although they could be sent again; and each is one request."""
    collector.answers = [answer]
    result = sent(traces_only(collector.url))
    assert (result.state, result.reason, result.retry_after_s) == (state, reason, retry_after)
    assert len(collector.requests) == 1


def test_a_partial_success_is_counted(collector):
    """Spans that the destination rejects inside a 200 would count as sent."""
    answer = ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    kind = {"Content-Type": "application/x-protobuf"}
    collector.answers = [(200, kind, answer.SerializeToString()), (200, kind, b"OK, thank you")]
    made = traces_only(collector.url)
    assert made.export(batch(2), 10.0).refused_count == 2  # of 4 records with 4 spans
    assert made.export(batch(), 10.0).refused_count == 0
    made.close()


def test_one_signal_that_is_away_does_not_send_the_other_twice(collector):
    """Each retry for the sake of the metrics would send the spans again."""
    collector.answers = [200, 503, 503]
    made, records = exporter(collector.url), batch()
    states = [made.export(records, 10.0).state for _ in range(3)]
    made.close()
    assert states == [Sent.RETRY, Sent.RETRY, Sent.SENT]
    assert [request.path for request in collector.requests] == ["/v1/traces", *["/v1/metrics"] * 3]


def test_one_signal_that_is_refused_does_not_cost_the_other(collector):
    """A collector without a pipeline for metrics would get no spans either."""
    collector.answers = [200, 404]
    result = sent(exporter(collector.url))
    assert (result.state, result.reason, result.refused_count) == (Sent.SENT, "metrics_http_404", 2)


@pytest.mark.parametrize("fault", [HANG, DRIBBLE])
def test_a_server_that_does_not_come_to_an_end_is_left_in_time(collector, fault):
    """A hung collector would hold up the environment, or one that sends a byte now and then for ever."""
    collector.answers = [fault]
    began = time.monotonic()
    result = sent(traces_only(collector.url), timeout_s=0.4)
    assert result.state is Sent.RETRY
    assert time.monotonic() - began < 5


def test_a_connection_that_was_closed_meanwhile_is_no_failure(collector):
    """After each freeze the first batch would count as a failure of the destination."""
    made = traces_only(collector.url)
    collector.answers = [200, CLOSE]
    assert [made.export(batch(), 10.0).state for _ in range(2)] == [Sent.SENT, Sent.SENT]
    made.close()
    assert len(collector.spans()) == 6  # the second batch was asked for twice
    ports = [request.port for request in collector.requests]
    assert ports[0] == ports[1] != ports[2]


def test_a_collector_that_closes_each_connection_is_a_failure(collector):
    """It would be asked without end."""
    collector.answers = [CLOSE] * 10
    result = sent(traces_only(collector.url))
    assert result.state is Sent.RETRY
    assert len(collector.requests) == 1


def test_nobody_there_is_a_failure_at_once():
    """The environment would wait for the time-out."""
    result = sent(traces_only("http://127.0.0.1:1"))
    assert (result.state, result.reason) == (Sent.RETRY, "new_connection")


def test_a_batch_that_cannot_be_encoded_is_refused_by_halves(collector):
    """One record would cost the batch, or be tried for ever."""
    bad = Record({**batch()[0].document, "function_name": "\ud800"}, (), is_invocation=True, size_bytes=1)
    made = traces_only(collector.url)
    assert made.export([bad, *batch()], 10.0).reason == "unencodable"
    assert (sent(made, [bad]).state, collector.requests) == (Sent.REFUSED, [])


def test_more_data_points_than_a_request_may_have_are_several_requests(collector):
    """CloudWatch refuses more than 1,000, all of them."""
    points = tuple(
        Point(f"m{number}", "None", "distribution", (1.0,), {}, 1_795_397_120_187) for number in range(2_500)
    )
    records = [Record({}, points, is_invocation=False, size_bytes=1)]
    collector.answers = [200, 503]
    made = exporter(collector.url)
    assert [made.export(records, 10.0).state for _ in range(2)] == [Sent.RETRY, Sent.SENT]
    made.close()
    counts = [
        len(message.resource_metrics[0].scope_metrics[0].metrics) for message in collector.messages("/v1/metrics")
    ]
    assert counts == [1_000, 1_000, 1_000, 500]


def test_a_signal_that_has_a_batch_does_not_get_its_halves_because_another_was_too_large(collector):
    """A delta that is sent twice counts twice: 20 invocations would be told as 181."""
    made = exporter(collector.url, OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=collector.url + "/v1/logs")
    collector.answers = [400, 200, 413]
    records = batch(2)
    assert made.export(records, 10.0).reason == "too_large"
    first = made.export(records[:2], 10.0)
    assert (first.state, first.reason, first.refused_count) == (Sent.SENT, "traces_http_400", 2)
    more = [*records[2:], *batch()]  # the pipeline fills the second half up
    second = made.export(more, 10.0)
    assert (second.state, second.reason, second.refused_count) == (Sent.SENT, "traces_http_400", 2)
    assert [request.path.rpartition("/")[2] for request in collector.requests] == [
        "traces", "metrics", "logs", "logs", "traces", "metrics", "logs",
    ]  # fmt: skip
    counted = [
        point.as_int
        for message in collector.messages("/v1/metrics")
        for metric in message.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == "faas.invocations"
        for point in metric.sum.data_points
    ]
    assert counted == [2, 1]
    assert sent(made).state is Sent.SENT


def test_metrics_that_are_too_large_are_sent_in_smaller_requests(collector):
    """What one request has brought must not be brought again by those of half the batch."""
    points = tuple(Point(f"m{number}", "None", "distribution", (1.0,), {}, 1_795_397_120_187) for number in range(8))
    records = [Record({}, points, is_invocation=False, size_bytes=1)] * 2
    collector.answers = [413, 200]
    made = exporter(collector.url)
    assert sent(made, records).state is Sent.SENT
    names = [
        [metric.name for metric in message.resource_metrics[0].scope_metrics[0].metrics]
        for message in collector.messages("/v1/metrics")
    ]
    assert names[1:] == [["m4", "m5", "m6", "m7"], ["m0", "m1", "m2", "m3"]]


ENDPOINTS = {
    "none": ({}, {"traces": "http://localhost:4318/v1/traces", "metrics": "http://localhost:4318/v1/metrics"}),
    "the general one": (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/otlp/"},
        {"traces": "https://c/otlp/v1/traces", "metrics": "https://c/otlp/v1/metrics"},
    ),
    "one of its own": ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://x/t"}, {"traces": "https://x/t"}),
    "both": (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "https://m/m"},
        {"traces": "https://c/v1/traces", "metrics": "https://m/m"},
    ),
    "one switched off": (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_TRACES_EXPORTER": "none"},
        {"metrics": "https://c/v1/metrics"},
    ),
}


@pytest.mark.parametrize(("environ", "expected"), ENDPOINTS.values(), ids=ENDPOINTS)
def test_where_each_signal_goes(environ, expected):
    """Metrics would go to a default that nobody listens at, because only traces were set up."""
    assert otlp.endpoints(environ) == expected


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"},
        {"OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"},
        {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    ],
)
def test_what_cannot_work_is_said_by_the_variables_name(variables):
    """Nothing would arrive, and nobody would know why."""
    with pytest.raises(ConfigurationError, match=re.escape(next(iter(variables)))):
        otlp.create({**FUNCTION, **variables}, str)


def test_a_header_may_be_kept_elsewhere(collector):
    """A key would have to stand in the function's configuration."""
    variables = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=ssm:/otlp/key,x-team=till"}
    environ = {**FUNCTION, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **variables}
    made = otlp.create(environ, lambda value: "s3cret" if value == "ssm:/otlp/key" else value)
    sent(made)
    assert {request.headers["api-key"] for request in collector.requests} == {"s3cret"}
    assert {request.headers["x-team"] for request in collector.requests} == {"till"}


def test_tls_trusts_the_certificate_that_is_named(tmp_path):
    """A collector with a certificate of its own could not be used; or any certificate would do."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text(certificate()[0])
    with Collector(server_context()) as collector:
        assert sent(traces_only(collector.url, OTEL_EXPORTER_OTLP_CERTIFICATE=str(bundle))).state is Sent.SENT
        assert len(collector.spans()) == 2
        refused = sent(traces_only(collector.url))
        assert (refused.state, refused.reason, len(collector.requests)) == (Sent.RETRY, "ssl", 1)


@pytest.mark.parametrize("fault", [HANG, DRIBBLE])
def test_a_server_that_hangs_behind_tls_is_left_in_time(tmp_path, fault):
    """The watch would not reach the socket below."""
    bundle = tmp_path / "ca.pem"
    bundle.write_text(certificate()[0])
    with Collector(server_context()) as collector:
        collector.answers = [fault]
        began = time.monotonic()
        made = traces_only(collector.url, OTEL_EXPORTER_OTLP_CERTIFICATE=str(bundle))
        assert sent(made, timeout_s=0.6).state is Sent.RETRY
        assert time.monotonic() - began < 5


def test_without_a_thread_for_the_watch_it_is_tried_again(collector, monkeypatch):
    """A process that is short of memory would drop the batch as one that cannot be encoded."""

    class NoThread:
        def __init__(self, *_):
            pass

        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr("coldspan_blackbox.exporting.otlp_http.threading.Timer", NoThread)
    result = sent(traces_only(collector.url))
    assert (result.state, result.reason, collector.requests) == (Sent.RETRY, "fault", [])
