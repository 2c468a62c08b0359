"""The Prometheus exporter: series, sums that only grow, and what becomes of a batch that was not taken."""

import contextlib
import math

import cramjam
import pytest

from coldspan_blackbox.exporting import prometheus
from coldspan_blackbox.exporting.exporter import ConfigurationError, Sent
from coldspan_blackbox.exporting.remotewrite import WriteRequest, encode, snappy
from coldspan_blackbox.exporting.totals import LATE_MS, SERIES, Totals, labels_of
from support.destinations import AT_MS, Peer, call_record, free_port, record, slow_resolver, within

COMMON = {"job": "coldspan", "instance": "i"}
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def answer(status, *headers, body=b""):
    """An HTTP answer."""
    return b"\r\n".join([b"HTTP/1.1 %d Word" % status, *headers, b"Content-Length: %d" % len(body), b"", body])


@contextlib.contextmanager
def exporter_to(port, **variables):
    """An exporter to a port of loopback, on a clock that stands."""
    exporter = prometheus.create({"COLDSPAN_PROMETHEUS_URL": f"http://127.0.0.1:{port}/api/v1/write", **variables}, str)
    exporter._clock_ms = lambda: AT_MS
    try:
        yield exporter
    finally:
        exporter.close()


def told(request):
    """What a request says: {(name, other labels as text): [(time, value)]}."""
    body = request.partition(b"\r\n\r\n")[2]
    message = WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(body)))
    series = {}
    for one in message.timeseries:
        labels = {label.name: label.value for label in one.labels}
        assert list(labels) == sorted(labels), "labels in order"
        assert labels.pop("job") == "coldspan"
        assert len(labels.pop("instance")) == 16
        name = labels.pop("__name__")
        key = name, ",".join(f"{key}={value}" for key, value in labels.items())
        assert key not in series, "one series twice"
        series[key] = [(sample.timestamp, sample.value) for sample in one.samples]
    return series


def numbers(totals, *records, now_ms=AT_MS):
    """Stage, keep, and give {name and labels as text: newest value}."""
    staged = totals.stage(records, now_ms)
    totals.keep(staged)
    return {
        " ".join(f"{name}={value}" for name, value in labels if name not in COMMON): samples[-1][1]
        for labels, samples in staged.samples
    }


def test_a_call_becomes_a_histogram_and_counters():
    """Dashboards would find no series under the documented names."""
    series = numbers(Totals(COMMON), call_record(4, 30, 30, failures=2))
    where = "function_name=orders operation=PutItem tool=dynamodb"
    assert series[f"__name__=coldspan_call_failures_total {where}"] == 2
    assert series[f"__name__=coldspan_call_duration_seconds_count {where}"] == 3
    assert series[f"__name__=coldspan_call_duration_seconds_sum {where}"] == pytest.approx(0.064)
    buckets = {key.split("le=")[1].split(" ")[0]: value for key, value in series.items() if "le=" in key}
    assert (buckets["0.005"], buckets["0.025"], buckets["0.05"], buckets["900.0"], buckets["+Inf"]) == (1, 1, 3, 3, 3)
    assert len(buckets) == 16


def test_sums_grow_over_batches():
    """rate() would see a reset with every batch."""
    totals = Totals(COMMON)
    for expected in (2, 4, 6):
        series = numbers(totals, call_record(1, failures=2))
        assert next(value for key, value in series.items() if "failures_total" in key) == expected


def test_a_counter_begins_at_zero():
    """increase() would not see what an environment counted first, and short-lived ones count nothing else."""
    staged = Totals(COMMON).stage([call_record(1, failures=3)], AT_MS)
    samples = next(
        samples for labels, samples in staged.samples if ("__name__", "coldspan_call_failures_total") in labels
    )
    assert samples == [(AT_MS - 1, 0.0), (AT_MS, 3.0)]


def test_the_time_of_a_series_always_grows():
    """One sample out of order, and the whole request is refused."""
    totals = Totals(COMMON)
    times = []
    for at_ms in (AT_MS, AT_MS - 5_000, AT_MS, AT_MS + 1):
        staged = totals.stage([call_record(1, at_ms=at_ms)], AT_MS)
        totals.keep(staged)
        times += [time_ms for time_ms, _ in staged.samples[0][1]]
    assert times == sorted(set(times))


@pytest.mark.parametrize("off_ms", [-86_400_000, 86_400_000])
def test_a_time_that_a_receiver_would_refuse_is_moved(off_ms):
    """The record of a kill that is told a day later would take a whole batch with it."""
    staged = Totals(COMMON).stage([call_record(1, at_ms=AT_MS + off_ms)], AT_MS)
    assert staged.samples[0][1][-1][0] == AT_MS + int(math.copysign(LATE_MS, off_ms))


def test_a_name_of_the_users_cannot_write_a_series_of_ours():
    """Two series of one name in a request: the receiver refuses it, or mixes them."""
    clash = record({"InvocationDurationSecondsCount": ("None", 5), "CallFailuresTotal": ("None", 1)}, function_name="f")
    staged = Totals(COMMON).stage([clash], AT_MS)
    assert (staged.refused_count, staged.reason, staged.samples) == (1, "name_taken", [])


def test_a_family_has_one_kind():
    """A histogram's _count and a metric of that name would be the same series."""
    totals = Totals(COMMON)
    totals.keep(totals.stage([record({"Depth": ("None", 5)}, function_name="f")], AT_MS))
    staged = totals.stage([record({"DepthCount": ("None", 5)}, function_name="f")], AT_MS)
    assert (staged.refused_count, staged.reason, staged.samples) == (1, "name_taken", [])


def test_a_gauge_holds_its_newest_value():
    """A gauge would be added up."""
    totals = Totals(COMMON)
    for value in (5, 3):
        gauge = record({"Depth": ("None", value)}, function_name="f")
        object.__setattr__(gauge.points[0], "kind", "gauge")
        assert numbers(totals, gauge) == {"__name__=coldspan_depth function_name=f": value}


def test_labels_are_legal_and_none_is_lost():
    """A receiver drops a series with a label it cannot name."""
    labels = dict(
        labels_of({"a.b": "1", "__x": "2", "9": "3", "le": "4", "instance": "5", "empty": "", "é": "6"}, COMMON)
    )
    assert labels == {
        "job": "coldspan", "instance": "i", "a_b": "1", "_x": "2", "_9": "3", "exported_le": "4",
        "exported_instance": "5", "_": "6",
    }  # fmt: skip


def test_a_runaway_label_costs_a_count():
    """An environment would eat its memory, and the receiver's."""
    totals = Totals(COMMON)
    records = [call_record(1, tool=f"host-{number}") for number in range(400)]
    staged = totals.stage(records, AT_MS)
    totals.keep(staged)
    assert len(staged.samples) <= SERIES
    assert staged.refused_count > 0
    assert staged.reason == "series_limit"
    assert totals.stage(records[:1], AT_MS).refused_count == 0  # those that are known go on


def test_what_is_staged_and_not_kept_leaves_no_trace():
    """A batch that was counted as dropped would be in the sums as well."""
    totals = Totals(COMMON)
    totals.stage([call_record(1, failures=5)], AT_MS)
    assert (
        numbers(totals, call_record(1, failures=1))[
            "__name__=coldspan_call_failures_total function_name=orders operation=PutItem tool=dynamodb"
        ]
        == 1
    )


def test_memory_has_buckets_of_the_sizes_that_functions_have():
    """All of it would be in one bucket, and no quantile say anything."""
    made = record({"MaxMemoryUsed": ("Megabytes", 84)}, function_name="orders")
    found = numbers(Totals(COMMON), made)
    name = "coldspan_max_memory_used_bytes"
    told = {key: value for key, value in found.items() if f"__name__={name}_bucket" in key}
    assert sorted(told.values()) == [0, *[1] * 8]  # 64 MB, then 128 MB to 10,240 MB and +Inf
    assert next(value for key, value in found.items() if f"{name}_sum" in key) == 84 * 1024 * 1024


def test_a_request_is_as_the_specification_says():
    """A receiver would answer 415 or 400."""
    with Peer(OK) as peer, exporter_to(peer.port, COLDSPAN_PROMETHEUS_HEADERS="X-Scope-OrgID=a%20b") as exporter:
        assert exporter.export([call_record(1, failures=1)], 1).state is Sent.SENT
        head = peer.requests[0].partition(b"\r\n\r\n")[0].decode().lower().split("\r\n")
    assert head[0] == "post /api/v1/write http/1.1"
    assert {
        "content-encoding: snappy", "content-type: application/x-protobuf",
        "x-prometheus-remote-write-version: 0.1.0", "x-scope-orgid: a b", f"host: 127.0.0.1:{peer.port}",
    } <= set(head)  # fmt: skip
    assert told(peer.requests[0])[
        "coldspan_call_failures_total", "function_name=orders,operation=PutItem,tool=dynamodb"
    ]


def test_the_series_end_with_the_environment():
    """A dead environment's gauges would stand for five minutes."""
    with Peer(OK) as peer:
        with exporter_to(peer.port) as exporter:
            exporter.export([call_record(1)], 1)
        first, last = (told(request) for request in peer.requests)
    assert first.keys() == last.keys()
    assert all(math.isnan(samples[0][1]) and samples[0][0] > first[key][-1][0] for key, samples in last.items())


def test_two_environments_do_not_share_a_series():
    """Their sums would overwrite each other."""
    with Peer(OK) as peer:
        for _ in range(2):
            with exporter_to(peer.port) as exporter:
                exporter.export([call_record(1)], 1)
        instances = set()
        for request in peer.requests:
            message = WriteRequest.FromString(bytes(cramjam.snappy.decompress_raw(request.partition(b"\r\n\r\n")[2])))
            instances |= {label.value for one in message.timeseries for label in one.labels if label.name == "instance"}
    assert len(instances) == 2


@pytest.mark.parametrize(
    ("status", "header", "state", "reason", "after_s"),
    [
        (200, b"X: y", Sent.SENT, "", None),
        (429, b"Retry-After: 7", Sent.RETRY, "http_429", 7.0),
        (503, b"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT", Sent.RETRY, "http_503", 0.0),
        (500, b"Retry-After: soon", Sent.RETRY, "http_500", None),
        (400, b"X: y", Sent.REFUSED, "http_400", None),
        (401, b"X: y", Sent.REFUSED, "http_401", None),
        (302, b"Location: http://127.0.0.1:1/", Sent.REFUSED, "http_302", None),
    ],
)
def test_a_status_is_understood(status, header, state, reason, after_s):
    """A refusal would be tried for ever, or a full receiver lose a batch."""
    with Peer(answer(status, header, body=b"text")) as peer, exporter_to(peer.port) as exporter:
        result = exporter.export([call_record(1)], 1)
        peer.then = OK
    assert (result.state, result.reason, result.retry_after_s) == (state, reason, after_s)


def test_an_uncertain_batch_is_sent_again_unchanged():
    """What a receiver stored before its answer was lost would be counted twice."""
    batch = [call_record(1, failures=2)]
    with Peer("silent") as hung, exporter_to(hung.port) as exporter:
        with within(0.4):
            assert exporter.export(batch, 0.3).reason == "timeout"
        with Peer(answer(500)) as peer:
            exporter._poster.port = peer.port
            assert exporter.export(batch, 1).reason == "http_500"
            peer.then = OK
            assert exporter.export(batch, 1).state is Sent.SENT
            assert exporter.export([call_record(1, failures=1)], 1).state is Sent.SENT
            exporter.close()
    requests = [told(request) for request in peer.requests]
    key = "coldspan_call_failures_total", "function_name=orders,operation=PutItem,tool=dynamodb"
    assert requests[0] == requests[1]
    assert requests[1][key][-1][1] == 2
    assert requests[2][key] == [(AT_MS + 1, 3.0)]


def test_a_batch_that_may_have_arrived_stays_in_the_sums():
    """The sum would fall when the batch was given up, which is a reset to rate()."""
    with Peer(answer(500)) as peer, exporter_to(peer.port) as exporter:
        assert exporter.export([call_record(1, failures=2)], 1).state is Sent.RETRY
        peer.then = OK
        assert exporter.export([call_record(1, failures=1)], 1).state is Sent.SENT
        key = "coldspan_call_failures_total", "function_name=orders,operation=PutItem,tool=dynamodb"
        assert told(peer.requests[-1])[key][-1][1] == 3


def test_a_batch_that_had_arrived_is_taken_without_the_zeros():
    """A receiver refuses the 0 before what it has, and the batch would be counted as dropped."""
    with Peer(answer(500)) as peer, exporter_to(peer.port) as exporter:
        batch = [call_record(1, failures=2)]
        assert exporter.export(batch, 1).state is Sent.RETRY
        peer.then = answer(400)
        assert exporter.export(batch, 1).reason == "http_400"
        zeros, newest = (told(request) for request in peer.requests[1:])
        peer.then = OK
    assert {len(samples) for samples in zeros.values()} == {2}
    assert newest == {key: samples[-1:] for key, samples in zeros.items()}


@pytest.mark.parametrize("status", [429, 400])
def test_a_batch_that_was_not_taken_is_not_in_the_sums(status):
    """It would be counted as dropped and told as well."""
    with Peer(answer(status)) as peer, exporter_to(peer.port) as exporter:
        exporter.export([call_record(1, failures=2)], 1)
        peer.then = OK
        assert exporter.export([call_record(1, failures=1)], 1).state is Sent.SENT
        key = "coldspan_call_failures_total", "function_name=orders,operation=PutItem,tool=dynamodb"
        assert told(peer.requests[-1])[key][-1][1] == 1


def test_a_large_batch_is_split_and_a_giant_record_refused(monkeypatch):
    """A receiver refuses the whole body."""
    monkeypatch.setattr(prometheus, "BODY_BYTES", 20_000)
    many = [call_record(1, tool=f"tool-{number}") for number in range(30)]
    giant = record({f"Metric{number}": ("None", 1) for number in range(100)}, function_name="f" * 200)
    with Peer(OK) as peer, exporter_to(peer.port) as exporter:
        result = exporter.export([*many, giant], 5)
        assert (result.state, result.refused_count, result.reason) == (Sent.SENT, 1, "too_large")
        assert exporter.export([giant], 1).state is Sent.REFUSED
        requests = list(peer.requests)
    assert len(requests) > 3
    names = [key for request in requests for key in told(request)]
    assert len(names) == len(set(names)) == 30 * 19


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        ("silent", "timeout"),
        ("drip", "timeout"),
        ("reset", "connection_lost"),
        (b"junk\r\n\r\n", "bad_answer"),
        ((b"",), "connection_lost"),
        (b"HTTP/1.1 20", "timeout"),
        ((b"HTTP/1.1 200",), "bad_answer"),
    ],
)
def test_a_destination_that_misbehaves_is_given_up_in_time(then, reason):
    """A hung receiver would hold the invocation, or the exporter would raise."""
    with Peer(then) as peer, exporter_to(peer.port) as exporter:
        with within(0.45):
            result = exporter.export([call_record(1)], 0.4)
        if isinstance(then, tuple) and then[0]:
            assert result.state in {Sent.SENT, Sent.RETRY}
        else:
            assert (result.state, result.reason) == (Sent.RETRY, reason)
        with within(0.7):
            exporter.close()


def test_half_an_answer_with_a_good_status_is_taken():
    """What was stored would be sent again because its answer's text broke off."""
    with Peer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") as peer, exporter_to(peer.port) as exporter:
        assert exporter.export([call_record(1)], 1).state is Sent.SENT
        peer.then = OK


def test_a_connection_that_was_closed_is_made_again():
    """The first batch after a thaw would fail."""
    with Peer((OK,)) as peer, exporter_to(peer.port) as exporter:
        for _ in range(3):
            assert exporter.export([call_record(1)], 1).state is Sent.SENT


def test_nobody_listening_is_a_retry_at_once():
    """What nobody took would be counted as sent."""
    with exporter_to(free_port()) as exporter, within(0.3):
        assert exporter.export([call_record(1)], 1).reason == "connection_refused"


def test_a_silent_name_server_is_given_up_in_time(monkeypatch):
    """A resolver waits 10 s and more, whatever the time limit of a socket."""
    answered = slow_resolver(monkeypatch)
    with exporter_to(1) as exporter:
        batch = [call_record(1)]
        for _ in range(2):
            with within(0.4):
                assert exporter.export(batch, 0.2).reason == "timeout"
        answered.set()
        assert exporter.export(batch, 2).reason == "dns"


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({"COLDSPAN_PROMETHEUS_TOKEN": "ssm:t"}, b"Authorization: Bearer s3cret"),
        (
            {"COLDSPAN_PROMETHEUS_USERNAME": "u", "COLDSPAN_PROMETHEUS_PASSWORD": "ssm:p"},
            b"Authorization: Basic czNjcmV0OnMzY3JldA==",
        ),
        ({"COLDSPAN_PROMETHEUS_HEADERS": "h"}, b"X-Key: s3cret"),
    ],
)
def test_secrets_are_looked_up_and_sent(variables, header):
    """A reference would be sent in place of the secret."""

    def secret(text):
        return "X-Key=s3cret" if text == "h" else "" if not text else text if text.startswith("http") else "s3cret"

    with Peer(OK) as peer:
        url = f"http://127.0.0.1:{peer.port}/"
        exporter = prometheus.create({"COLDSPAN_PROMETHEUS_URL": url, **variables}, secret)
        exporter.export([call_record(1)], 1)
        exporter.close()
        assert header in peer.requests[0].split(b"\r\n")


@pytest.mark.parametrize(
    "variables",
    [
        {"COLDSPAN_PROMETHEUS_URL": ""},
        {"COLDSPAN_PROMETHEUS_URL": "prometheus:9090"},
        {"COLDSPAN_PROMETHEUS_URL": "http://user:hunter2@host/"},
        {"COLDSPAN_PROMETHEUS_URL": "http://host:port/"},
        {"COLDSPAN_PROMETHEUS_URL": "http://host/", "COLDSPAN_PROMETHEUS_HEADERS": "hunter2"},
        {"COLDSPAN_PROMETHEUS_URL": "http://host/", "COLDSPAN_PROMETHEUS_TOKEN": "hunter2\nX: y"},
    ],
)
def test_what_cannot_work_is_said_with_its_variable_and_without_the_secret(variables):
    """The user would search for the reason, or find a key in the log."""
    with pytest.raises(ConfigurationError, match=list(variables)[-1]) as caught:
        prometheus.create(variables, str)
    assert "hunter2" not in str(caught.value)


def test_a_stale_marker_has_its_own_bits():
    """Prometheus takes no other NaN as the end of a series."""
    body = encode([((("__name__", "a"),), [(1, math.nan)])])
    assert b"\x02\x00\x00\x00\x00\x00\xf0\x7f" in bytes(cramjam.snappy.decompress_raw(body))


@pytest.mark.parametrize("size", [0, 1, 59, 60, 127, 128, 65_535, 65_536, 65_537, 300_000])
def test_snappy_is_snappy(size):
    """A receiver could not read the request."""
    plain = bytes(number % 251 for number in range(size))
    assert bytes(cramjam.snappy.decompress_raw(snappy(plain))) == plain
