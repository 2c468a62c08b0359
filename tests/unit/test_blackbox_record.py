"""EMF documents as records and points."""

import json

import pytest

from coldspan.core.emf import EmfEncoder
from coldspan_blackbox.exporting.record import COUNTER, DISTRIBUTION, parse
from support.records import NOW_MS, call, invocation, results


def records(owner, facts=None):
    return [
        parse(line) for line in EmfEncoder("coldspan", "orders").invocation_lines(owner, results(owner), facts or {})
    ]


def points(record):
    return {point.name: point for point in record.points}


def test_an_invocations_metrics_are_points():
    """A metric would be missing, or a duration be summed up."""
    owner = invocation(start="cold", outcome="timeout")
    call(owner)
    record, tool = records(owner, {"init_ms": 120.5})
    found = points(record)
    assert record.is_invocation
    assert (found["Duration"].kind, found["Duration"].values) == (DISTRIBUTION, (25.0,))
    assert (found["InitDuration"].unit, found["InitDuration"].values) == ("Milliseconds", (120.5,))
    assert [found[name].values for name in ("ColdStart", "Error", "Timeout", "Calls")] == [(1,), (1,), (1,), (1,)]
    assert found["Calls"].kind == COUNTER
    assert found["Duration"].time_ms == NOW_MS + 25
    assert dict(found["Duration"].attributes) == {"function_name": "orders"}
    assert not tool.is_invocation
    told = points(tool)["CallDuration"]
    assert (told.values, dict(told.attributes)["tool"], dict(told.attributes)["operation"]) == (
        (5.0,),
        "dynamodb",
        "PutItem",
    )


def test_the_users_counts_are_counters_and_all_else_distributions():
    """Orders would be averaged, or temperatures added."""
    owner = invocation(metrics=[("Orders", 2, "Count"), ("Orders", 3, "Count"), ("Basket", 12.5, "None")])
    found = points(records(owner)[-1])
    assert (found["Orders"].kind, found["Orders"].values) == (COUNTER, (5.0,))
    assert (found["Basket"].kind, found["Basket"].values) == (DISTRIBUTION, (12.5,))


def test_a_further_part_carries_spans_and_no_points():
    """The calls of an invocation too large for one line would be lost, or counted twice."""
    part = parse(b'{"function_name":"orders","request_id":"r","part":1,"calls":[{"tool":"s3"}]}\n')
    assert (part.is_invocation, part.points) == (True, ())


BAD = [
    b"",
    b"7",
    b"[]",
    b"{}",
    b"{",
    b"\xff\xfe",
    b'{"_aws":7}',
    b'{"_aws":{"Timestamp":1}}',
    b'{"_aws":{"Timestamp":1,"CloudWatchMetrics":[7]}}',
    b'{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Dimensions":[],"Metrics":[]}]}}',
    b'{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Dimensions":[["f"]],"Metrics":[]}]}}',
    b'{"_aws":{"Timestamp":Infinity,"CloudWatchMetrics":[]}}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("document", BAD, ids=range(len(BAD)))
def test_what_is_no_document_is_a_value_error(document):
    """Garbage on the socket would end the process, or be sent."""
    with pytest.raises(ValueError):
        parse(document)


def test_a_metric_that_is_no_number_is_left_out():
    """One bad value would cost the document."""
    metrics = [{"Name": name, "Unit": "None"} for name in ("A", "B", "C", "D")]
    directive = {"Dimensions": [["f"]], "Metrics": metrics}
    document = {
        "_aws": {"Timestamp": 1, "CloudWatchMetrics": [directive]},
        "f": "x",
        "A": "1",
        "B": [1, None],
        "D": True,
    }
    assert [(point.name, point.values) for point in parse(json.dumps(document).encode()).points] == [("B", (1.0,))]
