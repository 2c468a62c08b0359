"""Beside Powertools, the X-Ray SDK, OpenTelemetry and Datadog: their records are as they are without us, ours as ever.

Each function runs in a process of its own, in every order of wrapping and patching. What a neighbour told without us is
what it must tell beside us; what we tell of the four calls of tests/e2e/handlers/work.py is the same beside each.
"""

import functools
import json
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldspan_console.platform import Function, LocalLambda
from support.http_server import HttpServer, answer
from support.running import invocation_documents, posted

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "build" / "neighbours"
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
LAMBDA_PARENT = "53995c3f42cd8ad8"
EVENTS = (b"{}", b'{"end": "raise"}', b"{}")

CALLS = [
    ("dynamodb", "PutItem", "ok"),
    ("localhost", "GET", "ok"),
    ("localhost", "GET", "error"),
    ("dynamodb", "DeleteItem", "rejected"),
]

# name -> (is the layer attached, what order.py is told)
WAYS = {
    "by the layer": (True, ""),
    "by the layer, and the decorator outside": (True, "outside"),
    "by the layer, and the decorator inside": (True, "inside"),
    "by the decorator outside, patched before us": (False, "outside"),
    "by the decorator inside, patched before us": (False, "inside"),
    "by the decorator outside, patched after us": (False, "first outside"),
    "by the decorator inside, patched after us": (False, "first inside"),
}
DATADOG = {
    "DD_API_KEY": "0123456789abcdef0123456789abcdef",
    "DD_FLUSH_TO_LOG": "true",
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_MIN_COLD_START_DURATION": "0",  # ms: every import is a span, so that none can be lost in the noise
}
ENVIRONMENTS = {"powertools": {}, "xray": {}, "opentelemetry": {}, "datadog": DATADOG}
NEIGHBOURS = tuple(ENVIRONMENTS)


@dataclass
class Ran:
    """What was seen of one function after EVENTS."""

    posts: list
    records: list
    ours: list  # X-Ray documents of ours
    theirs: list  # and of others
    lines: list  # JSON lines that are no record of ours
    plain: list  # what else was printed
    requests: list  # that reached the stub

    def told(self):
        """What the neighbour told, comparable between runs: in no order but that of its content."""
        spans = [*xray_spans(self.theirs), *opentelemetry_spans(self.lines), *datadog_spans(self.lines)]
        others = [line for line in self.lines if "traces" not in line and "context" not in line]
        return sorted(json.dumps(steady(item), sort_keys=True) for item in [*spans, *others, *self.plain])

    def headers(self):
        """(method, path, names of the trace headers) of every request."""
        return [
            (request.method, request.target, sorted(name for name in request.headers if "trace" in name))
            for request in self.requests
        ]


# --- running ------------------------------------------------------------------------------------------------------


def dynamodb(exchange):
    """Put is fine, delete is refused."""
    kind = {"content_type": "application/x-amz-json-1.0"}
    if not exchange.request.headers["x-amz-target"].endswith("DeleteItem"):
        return answer(200, b"{}", **kind)(exchange)
    name = b"com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
    return answer(400, b'{"__type": "%b", "message": "The conditional request failed"}' % name, **kind)(exchange)


SCRIPT = {
    "/": dynamodb,
    "/prices": answer(200, b'{"price": 3}'),
    "/broken": answer(500, b"oops"),
    "/v1/traces": answer(200, b"", content_type="application/x-protobuf"),
}


@pytest.fixture(scope="module")
def stub():
    """What the functions call; one for all, so that its port is the same in all runs."""
    with HttpServer() as server:
        server.script.update(SCRIPT)
        yield server


@pytest.fixture(scope="module")
def run(stub, layer, tmp_path_factory):
    """Run a neighbour's function over EVENTS, each way once for all: `run("xray", attached, way, **variables)`."""

    @functools.cache
    def task(name):
        """The function's code; its packages go in front of those of the interpreter."""
        if not (PACKAGES / name).is_dir():
            pytest.skip(f"no build/neighbours/{name} (make neighbours installs it)")
        folder = tmp_path_factory.mktemp(name) / "task"
        shutil.copytree(Path(__file__).parent / "handlers", folder, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(layer / "python" / "coldspan", folder / "elsewhere" / "coldspan")
        (folder / "neighbour.pth").write_text(f"import sys; sys.path.insert(0, {str(PACKAGES / name)!r})\n")
        return folder

    @functools.cache
    def ran(name, attached, way, variables=()):
        code = task(name)
        if way and not attached:  # `pip install coldspan`: the package beside the function, no layer
            variables += (("COLDSPAN_BESIDE", "elsewhere"),)
        environment = {
            "STUB_URL": stub.url("", host="localhost").rstrip("/"),
            "WAY": way,
            "COLDSPAN_FLUSH_MS": "10000",
            **ENVIRONMENTS[name],
            **dict(variables),
        }
        handler = environment.pop("HANDLER", f"with_{name}.handler")
        begun = len(stub.seen)
        fields = {"task": code, "layer": layer if attached else None, "environment": environment, "memory_mb": 512}
        with LocalLambda(Function(handler=handler, **fields)) as platform:
            for event in EVENTS:
                # the same id in all runs; it is in what the neighbours tell
                platform.invoke(event, trace_id=TRACE, request_id=f"{EVENTS.index(event)}-{len(platform.exchanges)}")
        return seen(platform, stub.seen[begun:])

    def runner(name, attached=False, way="", **variables):
        return ran(name, attached, way, tuple(sorted(variables.items())))

    return runner


def seen(platform, requests):
    """A Ran of a function that has ended."""
    records = invocation_documents(platform)
    lines, plain = [], []
    for line in platform.lines:
        try:
            value = json.loads(line)
        except ValueError:
            plain.append(line.decode())
            continue
        if not (isinstance(value, dict) and "_aws" in value and namespace(value) == "coldspan"):
            lines.append(value)
    ours = [document for document in platform.segments if "coldspan" in document.get("metadata", {})]
    theirs = [document for document in platform.segments if document not in ours]
    return Ran(posted(platform), records, ours, theirs, lines, plain, requests)


def namespace(document):
    """The CloudWatch namespace of an EMF document."""
    return document["_aws"]["CloudWatchMetrics"][0]["Namespace"]


# --- what the neighbours tell ---------------------------------------------------------------------------------------


def xray_spans(documents):
    """X-Ray subsegments with their parents' names for ids."""
    names = {document["id"]: document["name"] for document in documents}
    for document in documents:
        cause = document.get("cause")  # the exception, or the id of one that was told further down
        told = "told below" if isinstance(cause, str) else cause
        yield {**document, "cause": told, "parent_id": names.get(document["parent_id"], document["parent_id"])}


def opentelemetry_spans(lines):
    """Spans that the console exporter printed, with their parents' names for ids."""
    spans = [line for line in lines if "context" in line]
    names = {span["context"]["span_id"]: span["name"] for span in spans}
    for span in spans:
        yield {**span, "parent_id": names.get(span["parent_id"], span["parent_id"])}


# Imports that Datadog sees only without us, or only beside us: the first three are loaded when it starts to look, the
# last comes from a finder younger than its wrappers, and through our finder it is seen, too.
NOT_COMPARED = {"contextvars", "_contextvars", "_random", "six.moves"}


def datadog_spans(lines):
    """Spans that Datadog printed, with their parents' names for ids; without the imports of ours, which it sees."""
    spans = [span for line in lines for trace in line.get("traces", ()) for span in trace]
    names = {span["span_id"]: span["resource"] for span in spans}
    for span in spans:
        parent = names.get(span["parent_id"], span["parent_id"])
        if span["type"] != "aws.lambda.import":
            yield {**span, "parent_id": parent}
        elif span["resource"] not in NOT_COMPARED and not span["resource"].startswith("coldspan"):
            yield {"import": span["resource"], "within": parent}  # its other tags depend on where a chunk of 300 begins


TIMES = {"start", "duration", "start_time", "end_time", "timestamp", "Timestamp", "e"}
IDS = {"id", "trace_id", "span_id", "context", "service.instance.id", "runtime-id", "_dd.p.tid", "process_id"}
# facts of the process, and which callers stood above the customer's code
SITUATION = {"_dd.py.partial_flush", "_dd.p.dm", "_dd.tags.process", "stack", "exception.stacktrace", "error.stack"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d{3}\S*")


def steady(value):
    """A value without times, ids and what depends on them."""
    if isinstance(value, dict):
        return {key: steady(inner) for key, inner in value.items() if key not in TIMES | IDS | SITUATION}
    if isinstance(value, list):
        return [steady(inner) for inner in value]
    return MOMENT.sub("then", value) if isinstance(value, str) else value


def differences(bare, beside):
    """What a neighbour told only without us, and only beside us."""
    before, after = Counter(bare.told()), Counter(beside.told())
    return list((before - after).elements()), list((after - before).elements())


# --- the tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_neighbour_tells_and_posts_beside_us_what_it_does_without_us_promise_1(run, name, way):
    """Spans, subsegments, metrics, log lines, trace headers and posts are the same: nothing of theirs is broken."""
    bare, beside = run(name), run(name, *WAYS[way])
    assert beside.posts == bare.posts
    assert len(bare.told()) > len(EVENTS)
    assert differences(bare, beside) == ([], [])
    assert beside.headers() == bare.headers()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_beside_a_neighbour_every_call_is_recorded_once(run, name, way):
    """Their wrappers around the same methods double nothing of ours, hide nothing, and break no step of ours."""
    beside = run(name, *WAYS[way])
    assert [record["start"] for record in beside.records] == ["cold", "warm", "warm"]
    assert [record["outcome"] for record in beside.records] == ["ok", "error", "ok"]
    assert {record["flush"] for record in beside.records} == {"after_response"}
    for record in beside.records:
        assert [(call["tool"], call["operation"], call["status"]) for call in record["calls"]] == CALLS
        assert {call["parent_id"] for call in record["calls"]} == {record["span_id"]}
        assert "errors" not in record
        assert "dropped" not in record
    assert beside.records[1]["error_type"] == "ValueError"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NEIGHBOURS)
def test_beside_a_tracer_our_calls_are_not_in_the_trace(run, name, way):
    """Each call would be shown twice; the invocation, which no neighbour shows, is."""
    beside = run(name, *WAYS[way])
    assert [document.get("subsegments") for document in beside.ours] == [None] * len(EVENTS)
    known = {LAMBDA_PARENT, *(document["id"] for document in [*beside.ours, *beside.theirs])}
    known |= {span["context"]["span_id"].removeprefix("0x") for span in beside.lines if "context" in span}
    for request in beside.requests:
        if header := request.headers.get("x-amzn-trace-id"):
            assert re.search("Parent=([0-9a-f]{16})", header)[1] in known, "a parent that nobody sends"


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_beside_a_tracer_our_calls_are_in_the_trace_when_asked_for(run, name):
    """COLDSPAN_XRAY=on: whoever sends their spans elsewhere keeps ours in X-Ray."""
    beside = run(name, True, COLDSPAN_XRAY="on")
    assert [len(document["subsegments"]) for document in beside.ours] == [len(CALLS)] * len(EVENTS)
    assert differences(run(name), beside) == ([], [])


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("powertools", {"POWERTOOLS_TRACE_DISABLED": "true"}),
        ("xray", {"AWS_XRAY_SDK_ENABLED": "false"}),
        ("opentelemetry", {"OTEL_SDK_DISABLED": "true"}),
        ("datadog", {"DD_TRACE_ENABLED": "false"}),
    ],
)
def test_beside_a_tracer_that_is_turned_off_our_calls_are_in_the_trace(run, name, variables):
    """What is there and sends nothing must not take our calls away."""
    beside = run(name, True, **variables)
    assert [len(document["subsegments"]) for document in beside.ours] == [len(CALLS)] * len(EVENTS)
    parents = {call["id"] for document in beside.ours for call in document["subsegments"]}
    for request in beside.requests:
        if request.target == "/":
            assert re.search("Parent=([0-9a-f]{16})", request.headers["x-amzn-trace-id"])[1] in parents


def test_an_exporter_that_sends_inside_the_handler_is_recorded_once(run):
    """OpenTelemetry's flush holds the response back: that time is the invocation's, and the record says so."""
    bare, beside = run("opentelemetry", EXPORT="1"), run("opentelemetry", True, EXPORT="1")
    assert differences(bare, beside) == ([], [])
    assert beside.posts == bare.posts
    for record in beside.records:
        told = [(call["tool"], call["operation"], call["status"]) for call in record["calls"]]
        assert told == [*CALLS, ("localhost", "POST", "ok")]
    assert [request.target for request in beside.requests].count("/v1/traces") == len(EVENTS)


def test_a_neighbour_that_takes_the_handlers_place_is_recorded_as_ever(run):
    """Datadog's own redirect, its usual deployment: their handler finds the function's."""
    redirect = {"HANDLER": "datadog_lambda.handler.handler", "DD_LAMBDA_HANDLER": "work.work"}
    bare, beside = run("datadog", **redirect), run("datadog", True, **redirect)
    assert beside.posts == bare.posts
    assert differences(bare, beside) == ([], [])
    assert [record["outcome"] for record in beside.records] == ["ok", "error", "ok"]
    for record in beside.records:
        assert [(call["tool"], call["operation"], call["status"]) for call in record["calls"]] == CALLS
