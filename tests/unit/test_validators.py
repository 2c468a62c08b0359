"""The validators themselves: for every rule a document that only this rule refuses, and documents that pass."""

import ast
import copy
import json
from pathlib import Path

import pytest

from support.emf_validator import EmfRejected, validate_emf
from support.xray_validator import SegmentRejected, validate_segment

NOW_MS = 1_795_397_120_187

EMF = {
    "_aws": {
        "Timestamp": NOW_MS,
        "CloudWatchMetrics": [
            {
                "Namespace": "coldspan",
                "Dimensions": [["function_name"]],
                "Metrics": [{"Name": "Duration", "Unit": "Milliseconds"}, {"Name": "Sizes"}],
            }
        ],
    },
    "function_name": "orders",
    "Duration": 1.5,
    "Sizes": [1, 2.5],
    "request_id": "8476a536",
}


def directive(document):
    """The only directive of the document."""
    return document["_aws"]["CloudWatchMetrics"][0]


def put(container, key, value):
    """Set an item; an expression, for the tables."""
    container[key] = value


def many_dimensions(document, number):
    """A dimension set of that many keys, each with its target."""
    document.update({f"k{i}": "v" for i in range(number)})
    directive(document)["Dimensions"] = [[f"k{i}" for i in range(number)]]


def many_metrics(document, number):
    """That many metrics, each with its target."""
    document.update({f"m{i}": i for i in range(number)})
    directive(document)["Metrics"] = [{"Name": f"m{i}"} for i in range(number)]


EMF_BREAKS = [
    ("metadata", lambda d: d.pop("_aws")),
    ("metadata", lambda d: put(d, "_aws", [])),
    ("metadata members", lambda d: put(d["_aws"], "Extra", 1)),
    ("timestamp type", lambda d: d["_aws"].pop("Timestamp")),
    ("timestamp type", lambda d: put(d["_aws"], "Timestamp", "1795397120187")),
    ("timestamp type", lambda d: put(d["_aws"], "Timestamp", 1795397120187.5)),
    ("timestamp type", lambda d: put(d["_aws"], "Timestamp", True)),
    ("timestamp in milliseconds", lambda d: put(d["_aws"], "Timestamp", 1_795_397_120)),
    ("timestamp in milliseconds", lambda d: put(d["_aws"], "Timestamp", -1)),
    ("timestamp near now", lambda d: put(d["_aws"], "Timestamp", NOW_MS - 15 * 24 * 3_600_000)),
    ("timestamp near now", lambda d: put(d["_aws"], "Timestamp", NOW_MS + 3 * 3_600_000)),
    ("directives", lambda d: d["_aws"].pop("CloudWatchMetrics")),
    ("directives", lambda d: put(d["_aws"], "CloudWatchMetrics", {})),
    ("directive", lambda d: put(d["_aws"]["CloudWatchMetrics"], 0, "Duration")),
    ("directive members", lambda d: directive(d).pop("Namespace")),
    ("directive members", lambda d: directive(d).pop("Dimensions")),
    ("directive members", lambda d: directive(d).pop("Metrics")),
    ("directive members", lambda d: put(directive(d), "Unit", "Count")),
    ("namespace length", lambda d: put(directive(d), "Namespace", "")),
    ("namespace length", lambda d: put(directive(d), "Namespace", "n" * 1025)),
    ("namespace length", lambda d: put(directive(d), "Namespace", 7)),
    ("namespace characters", lambda d: put(directive(d), "Namespace", ":coldspan")),
    ("namespace characters", lambda d: put(directive(d), "Namespace", "kältespanne")),
    ("dimension sets", lambda d: put(directive(d), "Dimensions", [])),
    ("dimension sets", lambda d: put(directive(d), "Dimensions", "function_name")),
    ("dimension set", lambda d: put(directive(d), "Dimensions", ["function_name"])),
    ("dimensions in a set", lambda d: many_dimensions(d, 31)),
    ("dimension key type", lambda d: put(directive(d), "Dimensions", [[1]])),
    ("dimension named twice", lambda d: put(directive(d), "Dimensions", [["function_name", "function_name"]])),
    ("dimension key length", lambda d: (put(d, "k" * 251, "v"), put(directive(d), "Dimensions", [["k" * 251]]))),
    ("dimension key length", lambda d: (put(d, "", "v"), put(directive(d), "Dimensions", [[""]]))),
    ("dimension key characters", lambda d: (put(d, ":k", "v"), put(directive(d), "Dimensions", [[":k"]]))),
    ("dimension key characters", lambda d: (put(d, "ключ", "v"), put(directive(d), "Dimensions", [["ключ"]]))),
    ("dimension target", lambda d: put(directive(d), "Dimensions", [["tool"]])),
    ("dimension target", lambda d: (put(d, "a", {"b": "c"}), put(directive(d), "Dimensions", [["a.b"]]))),
    ("dimension value type", lambda d: put(d, "function_name", 7)),
    ("dimension value length", lambda d: put(d, "function_name", "")),
    ("dimension value length", lambda d: put(d, "function_name", "f" * 1025)),
    ("dimension value characters", lambda d: put(d, "function_name", " ")),
    ("dimension value characters", lambda d: put(d, "function_name", "a\tb")),
    ("dimension value characters", lambda d: put(d, "function_name", "bestellung-ä")),
    ("metrics", lambda d: put(directive(d), "Metrics", {"Name": "Duration"})),
    ("metrics in a directive", lambda d: put(directive(d), "Metrics", [])),
    ("metrics in a directive", lambda d: many_metrics(d, 101)),
    ("metric", lambda d: put(directive(d), "Metrics", ["Duration"])),
    ("metric members", lambda d: put(directive(d)["Metrics"][0], "Value", 1)),
    ("metric name length", lambda d: directive(d)["Metrics"][0].pop("Name")),
    ("metric name length", lambda d: (put(d, "", 1), put(directive(d)["Metrics"][0], "Name", ""))),
    ("metric name length", lambda d: (put(d, "m" * 1025, 1), put(directive(d)["Metrics"][0], "Name", "m" * 1025))),
    ("metric name characters", lambda d: (put(d, "Dauer/µs", 1), put(directive(d)["Metrics"][0], "Name", "Dauer/µs"))),
    ("metric named twice", lambda d: put(directive(d)["Metrics"][1], "Name", "Duration")),
    ("metric is a dimension", lambda d: (put(directive(d), "Dimensions", [["Duration"]]), put(d, "Duration", "1.5"))),
    ("unit", lambda d: put(directive(d)["Metrics"][0], "Unit", "milliseconds")),
    ("unit", lambda d: put(directive(d)["Metrics"][0], "Unit", "Minutes")),
    ("storage resolution", lambda d: put(directive(d)["Metrics"][0], "StorageResolution", 30)),
    ("metric target", lambda d: d.pop("Duration")),
    ("metric target", lambda d: put(d, "nested", {"Duration": d.pop("Duration")})),
    ("metric value type", lambda d: put(d, "Duration", "1.5")),
    ("metric value type", lambda d: put(d, "Duration", True)),
    ("metric value type", lambda d: put(d, "Duration", None)),
    ("metric value type", lambda d: put(d, "Sizes", [1, "2"])),
    ("metric value range", lambda d: put(d, "Duration", 2**361)),
    ("metric value range", lambda d: put(d, "Duration", -(2**361))),
    ("values of a metric", lambda d: put(d, "Sizes", [])),
    ("values of a metric", lambda d: put(d, "Sizes", [1] * 101)),
    ("event size", lambda d: put(d, "payload", "p" * 1_048_576)),
    ("whole characters", lambda d: put(d, "note", "\ud800")),
    ("json", lambda d: put(d, "Duration", float("nan"))),
    ("json", lambda d: put(d, "Duration", float("-inf"))),
]  # fmt: skip

EMF_BREAKS_OF_TEXT = [
    ("bytes", lambda line: line.decode()),
    ("one line", lambda line: line[:-1]),
    ("one line", lambda line: line + b"\n"),
    ("one line", lambda line: line.replace(b", ", b",\n")),
    ("utf-8", lambda line: line.replace(b"8476a536", b"\xff")),
    ("nothing around the object", lambda line: b"2026-11-23T09:00:00Z INFO " + line),
    ("nothing around the object", lambda line: line[:-1] + b" done\n"),
    ("json", lambda line: line.replace(b"1.5", b"1,5")),
    ("json", lambda line: line.replace(b"1.5", b"01.5")),
    ("json", lambda line: line.replace(b"8476a536", b"\t")),
    ("member named twice", lambda line: line.replace(b"request_id", b"Duration")),
]


def line_of(document):
    """The document as a line."""
    return json.dumps(document).encode() + b"\n"


def test_emf_validator_gives_the_metrics_of_a_good_line():
    """A validator that refuses everything would prove nothing."""
    facts = validate_emf(line_of(EMF), now_ms=NOW_MS)
    assert [(fact.name, fact.unit, fact.values) for fact in facts] == [
        ("Duration", "Milliseconds", (1.5,)),
        ("Sizes", "None", (1, 2.5)),
    ]
    assert facts[0].dimensions == (("function_name", "orders"),)


@pytest.mark.parametrize(
    ("rule", "break_it"), EMF_BREAKS, ids=[f"{i}-{rule}" for i, (rule, _) in enumerate(EMF_BREAKS)]
)
def test_emf_validator_refuses_a_document_that_breaks_one_rule(rule, break_it):
    """Each rule has a document it must refuse: a rule that never fires guards nothing."""
    document = copy.deepcopy(EMF)
    break_it(document)
    with pytest.raises(EmfRejected) as caught:
        validate_emf(line_of(document), now_ms=NOW_MS)
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    ("rule", "break_it"), EMF_BREAKS_OF_TEXT, ids=[f"{i}-{rule}" for i, (rule, _) in enumerate(EMF_BREAKS_OF_TEXT)]
)
def test_emf_validator_refuses_a_line_that_breaks_one_rule(rule, break_it):
    """The same for the text around and inside the object."""
    with pytest.raises(EmfRejected) as caught:
        validate_emf(break_it(line_of(EMF)), now_ms=NOW_MS)
    assert caught.value.rule == rule


SEGMENT = {
    "name": "orders handler",
    "id": "1234567890abcdef",
    "trace_id": "1-5759e988-bd862e3fe1be46a994272793",
    "parent_id": "53995c3f42cd8ad8",
    "type": "subsegment",
    "start_time": 1795397120.187,
    "end_time": 1795397120.287,
    "annotations": {"cold_start": True, "start": "cold", "size": 7},
    "metadata": {"coldspan": {"request_id": "8476a536"}},
    "subsegments": [
        {
            "name": "dynamodb",
            "id": "aaaa000000000001",
            "start_time": 1795397120.19,
            "end_time": 1795397120.2,
            "namespace": "aws",
            "aws": {"operation": "PutItem", "region": "eu-west-1", "retries": 0},
            "http": {"request": {"method": "POST", "traced": False}, "response": {"status": 400}},
            "error": True,
            "cause": {"exceptions": [{"id": "bbbb000000000001", "type": "T", "message": "m", "remote": True}]},
        },
        {"name": "sqs", "id": "aaaa000000000002", "start_time": 1795397120.19, "in_progress": True},
    ],
}


def call(document):
    """The first call in the document."""
    return document["subsegments"][0]


SEGMENT_BREAKS = [
    ("type of an independent subsegment", lambda d: d.pop("type")),
    ("type of an independent subsegment", lambda d: put(d, "type", "segment")),
    ("trace id", lambda d: d.pop("trace_id")),
    ("trace id", lambda d: put(d, "trace_id", "5759e988bd862e3fe1be46a994272793")),
    ("trace id", lambda d: put(d, "trace_id", "1-5759e988-bd862e3fe1be46a99427279X")),
    ("parent id", lambda d: d.pop("parent_id")),
    ("parent id", lambda d: put(d, "parent_id", "")),
    ("its own parent", lambda d: put(d, "parent_id", d["id"])),
    ("id", lambda d: d.pop("id")),
    ("id", lambda d: put(call(d), "id", "1234")),
    ("id", lambda d: put(call(d), "id", 0x1234567890ABCDEF)),
    ("id used twice", lambda d: put(call(d), "id", d["id"])),
    ("name length", lambda d: d.pop("name")),
    ("name length", lambda d: put(d, "name", "")),
    ("name length", lambda d: put(call(d), "name", "n" * 201)),
    ("name characters", lambda d: put(call(d), "name", "*.example.com")),
    ("name characters", lambda d: put(call(d), "name", "a\nb")),
    ("start time", lambda d: d.pop("start_time")),
    ("start time", lambda d: put(d, "start_time", "1795397120.187")),
    ("start time", lambda d: put(d, "start_time", True)),
    ("start time in seconds", lambda d: put(d, "start_time", 1795397120187)),
    ("start time in seconds", lambda d: put(d, "start_time", -1.0)),
    ("either end time or in progress", lambda d: d.pop("end_time")),
    ("either end time or in progress", lambda d: put(d, "in_progress", True)),
    ("in progress", lambda d: put(d["subsegments"][1], "in_progress", False)),
    ("end time", lambda d: put(d, "end_time", None)),
    ("ends after it starts", lambda d: put(call(d), "end_time", 1795397120.0)),
    ("namespace", lambda d: put(call(d), "namespace", "http")),
    ("flag", lambda d: put(call(d), "error", 1)),
    ("flag", lambda d: put(call(d), "throttle", "true")),
    ("flag", lambda d: put(d, "fault", None)),
    ("http", lambda d: put(call(d), "http", {"status": 200})),
    ("http request", lambda d: put(call(d)["http"], "request", {"body": "x"})),
    ("http request value", lambda d: put(call(d)["http"]["request"], "url", "u" * 251)),
    ("http response", lambda d: put(call(d)["http"], "response", {"code": 200})),
    ("http response value", lambda d: put(call(d)["http"]["response"], "status", "200")),
    ("aws", lambda d: put(call(d)["aws"], "bucket", "b")),
    ("aws value", lambda d: put(call(d)["aws"], "queue_url", "q" * 251)),
    ("aws value", lambda d: put(call(d)["aws"], "table_name", ["orders"])),
    ("aws retries", lambda d: put(call(d)["aws"], "retries", "0")),
    ("cause id", lambda d: put(call(d), "cause", "boom")),
    ("cause", lambda d: put(call(d), "cause", {"message": "boom"})),
    ("exceptions", lambda d: put(call(d), "cause", {"paths": []})),
    ("exception", lambda d: put(call(d)["cause"], "exceptions", ["boom"])),
    ("exception", lambda d: put(call(d)["cause"]["exceptions"][0], "text", "boom")),
    ("exception id", lambda d: call(d)["cause"]["exceptions"][0].pop("id")),
    ("exception text", lambda d: put(call(d)["cause"]["exceptions"][0], "message", "m" * 251)),
    ("exception remote", lambda d: put(call(d)["cause"]["exceptions"][0], "remote", "yes")),
    ("annotations", lambda d: put(d, "annotations", [])),
    ("annotation key", lambda d: put(d["annotations"], "cold start", True)),
    ("annotation key", lambda d: put(d["annotations"], "größe", 1)),
    ("annotation value", lambda d: put(d["annotations"], "start", ["cold"])),
    ("annotation value", lambda d: put(d["annotations"], "start", None)),
    ("annotation length", lambda d: put(d["annotations"], "start", "s" * 251)),
    ("annotations in a trace", lambda d: put(d, "annotations", {f"a{i}": i for i in range(51)})),
    ("metadata", lambda d: put(d, "metadata", [])),
    ("metadata namespace", lambda d: put(d, "metadata", {"AWS.coldspan": {}})),
    ("metadata of a namespace", lambda d: put(d, "metadata", {"coldspan": 1})),
    ("members", lambda d: put(d, "duration", 1)),
    ("subsegments", lambda d: put(d, "subsegments", {})),
    ("subsegment", lambda d: put(d, "subsegments", ["dynamodb"])),
    ("document size", lambda d: put(d["metadata"]["coldspan"], "payload", "p" * 64_000)),
    ("datagram size", lambda d: put(d["metadata"]["coldspan"], "payload", "p" * 65_500)),
    ("json", lambda d: put(d, "end_time", float("nan"))),
    ("json", lambda d: put(d["metadata"]["coldspan"], "note", "\udfff")),
]

SEGMENT_BREAKS_OF_TEXT = [
    ("bytes", lambda datagram: datagram.decode()),
    ("header line", lambda datagram: datagram.replace(b"\n", b"")),
    ("header", lambda datagram: datagram.replace(b'"version": 1', b'"version": 2')),
    ("header", lambda datagram: datagram.partition(b"\n")[2] + b"\n"),
    ("json", lambda datagram: b"v1\n" + datagram.partition(b"\n")[2]),
    ("json", lambda datagram: datagram + datagram),
    ("one document", lambda datagram: datagram.partition(b"\n")[0] + b"\n[" + datagram.partition(b"\n")[2] + b"]"),
    ("json", lambda datagram: datagram.replace(b"orders handler", b"\xff")),
    ("member named twice", lambda datagram: datagram.replace(b'"trace_id"', b'"id"')),
]


def datagram_of(document):
    """The document as the datagram for the daemon."""
    return b'{"format": "json", "version": 1}\n' + json.dumps(document).encode()


def test_segment_validator_gives_the_document_of_a_good_datagram():
    """A validator that refuses everything would prove nothing."""
    assert validate_segment(datagram_of(SEGMENT)) == SEGMENT


@pytest.mark.parametrize(
    ("rule", "break_it"), SEGMENT_BREAKS, ids=[f"{i}-{rule}" for i, (rule, _) in enumerate(SEGMENT_BREAKS)]
)
def test_segment_validator_refuses_a_document_that_breaks_one_rule(rule, break_it):
    """Each rule has a document it must refuse: a rule that never fires guards nothing."""
    document = copy.deepcopy(SEGMENT)
    break_it(document)
    with pytest.raises(SegmentRejected) as caught:
        validate_segment(datagram_of(document))
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    ("rule", "break_it"),
    SEGMENT_BREAKS_OF_TEXT,
    ids=[f"{i}-{rule}" for i, (rule, _) in enumerate(SEGMENT_BREAKS_OF_TEXT)],
)
def test_segment_validator_refuses_a_datagram_that_breaks_one_rule(rule, break_it):
    """The same for the header line and the text."""
    with pytest.raises(SegmentRejected) as caught:
        validate_segment(break_it(datagram_of(SEGMENT)))
    assert caught.value.rule == rule


@pytest.mark.parametrize("module", ["emf_validator", "xray_validator"])
def test_every_rule_of_a_validator_has_a_document_it_refuses(module):
    """A rule added to a validator without its document would go untested."""
    tree = ast.parse((Path(__file__).parents[1] / "support" / f"{module}.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    rules = {node.args[1].value for node in calls if node.func.id == "_must"}
    rules |= {
        node.args[0].value
        for node in calls
        if node.func.id.endswith("Rejected") and isinstance(node.args[0], ast.Constant)
    }
    assert len(rules) > 20
    tables = (
        (EMF_BREAKS + EMF_BREAKS_OF_TEXT) if module == "emf_validator" else (SEGMENT_BREAKS + SEGMENT_BREAKS_OF_TEXT)
    )
    assert rules - {rule for rule, _ in tables} == set()
