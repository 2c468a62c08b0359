"""Points as OTLP metrics: names, units, sums, buckets and temporality."""

import pytest
from opentelemetry.sdk.metrics.export import AggregationTemporality, ExponentialHistogram, Histogram, Sum
from opentelemetry.sdk.resources import Resource

from coldspan.core.emf import CALL_METRICS, METRICS, EmfEncoder
from coldspan_blackbox.exporting.otlp_metrics import INVOCATIONS, OURS, Metrics
from coldspan_blackbox.exporting.record import GAUGE, Point, Record, parse
from coldspan_blackbox.lines import NOT_EXPORTED, UNITS, Lines
from support.records import NOW_MS, call, invocation, results

BEGAN_NS = NOW_MS * 1_000_000 - 5_000_000_000
DELTA, CUMULATIVE = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE


def records(count=1, **changes):
    """The records of some invocations with a call each."""
    made = []
    for _ in range(count):
        owner = invocation(**changes)
        call(owner)
        lines = EmfEncoder("coldspan", "orders").invocation_lines(owner, results(owner), {})
        made += [parse(line) for line in lines]
    return made


def user(name, unit, kind, *values, **attributes):
    return Record({}, (Point(name, unit, kind, values, attributes, NOW_MS),), is_invocation=False, size_bytes=1)


def made(metrics, batch):
    return {metric.name: metric for metric in metrics.of(batch)}


def maker(**options):
    return Metrics(Resource({}), BEGAN_NS, **options)


def test_every_metric_of_ours_has_a_name():
    """A new one would leave under CloudWatch's name and in its unit."""
    assert set(OURS) == set(METRICS) | set(CALL_METRICS) | (set(UNITS) - set(NOT_EXPORTED))


def test_invocations_are_summed_up():
    """Each invocation would be a data point of its own."""
    found = made(maker(), records(3, outcome="error", start="cold"))
    for name, value in (("faas.errors", 3), ("faas.coldstarts", 3), (INVOCATIONS, 3), ("coldspan.call.failures", 0)):
        assert isinstance(found[name].data, Sum)
        (point,) = found[name].data.data_points
        assert (point.value, found[name].data.aggregation_temporality, found[name].data.is_monotonic) == (
            value,
            DELTA,
            True,
        )
    assert dict(found["faas.errors"].data.data_points[0].attributes) == {"faas.trigger": "pubsub"}


def test_what_the_platform_told_is_told_once_beside_what_the_recorder_measured():
    """Memory and billed time would be known in the log alone, or an init that both have measured count twice."""
    told = {"MaxMemoryUsed": 84, "BilledDuration": 694, "PlatformInitDuration": 397.68, "MemorySize": 128}
    line = Lines("coldspan", "orders", True).encode(told, {"request_id": "r1", "platform": True}, NOW_MS)
    owner = invocation(start="cold", flush="journal", outcome="timeout")
    facts = {"init_ms": 120.5, "platform": {"max_memory_used_mb": 84, "billed_duration_ms": 694}}
    (kill,) = EmfEncoder("coldspan", "orders").invocation_lines(owner, [], facts)
    found = made(maker(), [parse(line), parse(kill)])
    for name, unit, total in (
        ("faas.mem_usage", "By", 84 * 1024 * 1024),
        ("coldspan.memory_size", "By", 128 * 1024 * 1024),
        ("coldspan.billed_duration", "s", 0.694),
        ("coldspan.platform_init_duration", "s", 0.39768),
        ("faas.init_duration", "s", 0.1205),
    ):
        assert (found[name].unit, found[name].data.data_points[0].sum) == (unit, pytest.approx(total))
    points = [point for metric in found.values() for point in metric.data.data_points]
    assert {point.count for point in points if hasattr(point, "count")} == {1}
    assert found["faas.timeouts"].data.data_points[0].value == found[INVOCATIONS].data.data_points[0].value == 1


def test_durations_are_histograms_in_seconds():
    """A duration would be told in another unit than its name promises."""
    found = made(maker(), records(2))
    told = found["faas.invoke_duration"]
    (point,) = told.data.data_points
    assert (told.unit, point.count, point.sum, point.min, point.max) == ("s", 2, 0.05, 0.025, 0.025)
    assert sum(point.bucket_counts) == 2
    assert point.bucket_counts[point.explicit_bounds.index(0.025)] == 2  # a bound belongs to the bucket below it
    assert point.start_time_unix_nano == BEGAN_NS
    assert point.time_unix_nano == (NOW_MS + 25) * 1_000_000
    (inner,) = found["coldspan.call.duration"].data.data_points
    assert dict(inner.attributes) == {"coldspan.tool": "dynamodb", "coldspan.operation": "PutItem"}


def test_the_users_metrics_keep_their_names():
    """They could not be found."""
    batch = [
        user("Basket", "Kilobytes", "distribution", 1.5, colour="blue"),
        user("Queue/s", "Count/Second", GAUGE, 7.0),
    ]
    found = made(maker(), batch)
    assert (found["Basket"].unit, found["Queue/s"].unit) == ("kBy", "1/s")
    assert dict(found["Basket"].data.data_points[0].attributes) == {"colour": "blue"}
    assert found["Queue/s"].data.data_points[0].value == 7


def test_deltas_follow_upon_each_other_once_they_have_arrived():
    """A back end would see time twice, or a hole."""
    metrics = maker()
    first = made(metrics, records())[INVOCATIONS].data.data_points[0]
    again = made(metrics, records())[INVOCATIONS].data.data_points[0]
    metrics.taken()
    second = made(metrics, records())[INVOCATIONS].data.data_points[0]
    assert first.start_time_unix_nano == again.start_time_unix_nano == BEGAN_NS
    assert second.start_time_unix_nano == first.time_unix_nano


def test_cumulative_sums_count_a_batch_once_however_often_it_is_sent():
    """A retry would count twice."""
    metrics = maker(is_cumulative=True)
    for _ in range(3):
        data = made(metrics, records(2))[INVOCATIONS].data
        assert (data.data_points[0].value, data.aggregation_temporality) == (2, CUMULATIVE)
    metrics.taken()
    found = made(metrics, records(2))
    assert found[INVOCATIONS].data.data_points[0].value == 4
    (point,) = found["faas.invoke_duration"].data.data_points
    assert (point.count, sum(point.bucket_counts), point.start_time_unix_nano) == (4, 4, BEGAN_NS)


@pytest.mark.parametrize("values", [(0.001, 0.002, 900.0), (-5.0, 0.0, 5.0, 5.0), (1e-300, 1e300), (1.0,), (0.0,)])
def test_exponential_buckets_hold_every_value(values):
    """Values would be in the wrong bucket, or the message grow with the range."""
    metrics = maker(is_exponential=True)
    data = made(metrics, [user("x", "Seconds", "distribution", *values)])["x"].data
    assert isinstance(data, ExponentialHistogram)
    (point,) = data.data_points
    base = 2.0 ** (2.0**-point.scale)
    assert point.zero_count == values.count(0.0)
    assert max(len(point.positive.bucket_counts), len(point.negative.bucket_counts)) <= 160
    for side, sign in ((point.positive, 1), (point.negative, -1)):
        mine = [value for value in values if value * sign > 0]
        assert sum(side.bucket_counts) == len(mine)
        for value in mine if base < 10 else ():
            holds = [
                count
                for index, count in enumerate(side.bucket_counts)
                if base ** (side.offset + index) < abs(value) * (1 + 1e-9)
                and abs(value) <= base ** (side.offset + index + 1) * (1 + 1e-9)
            ]
            assert any(holds)


def test_explicit_buckets_are_the_default():
    """Many back ends cannot read exponential ones."""
    assert isinstance(made(maker(), records())["faas.invoke_duration"].data, Histogram)
