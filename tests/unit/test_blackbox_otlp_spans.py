"""Invocations and calls as spans: names, ids, kinds, status and attributes by the semantic conventions."""

import json

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import StatusCode

from coldspan.core.emf import EmfEncoder
from coldspan_blackbox.exporting import semconv
from coldspan_blackbox.exporting.otlp_spans import spans_of
from coldspan_blackbox.exporting.record import parse
from support.records import HEADER, NOW_MS, call, invocation, results

RESOURCE = Resource({"service.name": "orders"})
TRACE = int("5759e988bd862e3fe1be46a994272793", 16)


def documents(owner, facts=None, **changes):
    """The documents of an invocation as the recorder writes them; `changes` are members of the first."""
    lines = EmfEncoder("coldspan", "orders").invocation_lines(owner, results(owner), facts or {})
    first = {**json.loads(lines[0]), **changes}
    return [first, *map(json.loads, lines[1:])]


def spans(owner, facts=None, **changes):
    return spans_of(documents(owner, facts, **changes)[0], RESOURCE)


def named(found, name):
    return next(span for span in found if span.name == name)


def test_an_invocation_and_its_calls_are_one_trace():
    """Calls would hang in the air, or the trace differ from X-Ray's."""
    owner = invocation()
    outer = call(owner, at_ms=1, ms=5)
    call(owner, tool="api.stripe.com", operation="GET", parent=outer, at_ms=2, ms=3, attributes={"server.address": "x"})
    top, first, second = spans(owner, parent_id="53995c3f42cd8ad8")
    assert {span.context.trace_id for span in (top, first, second)} == {TRACE}
    assert top.context.span_id == owner.span_id
    assert top.parent.span_id == 0x53995C3F42CD8AD8
    assert first.parent.span_id == owner.span_id
    assert second.parent.span_id == first.context.span_id
    assert (top.end_time - top.start_time, top.end_time // 1_000_000) == (25_000_000, NOW_MS + 25)
    assert (first.end_time - first.start_time, first.start_time // 1_000_000) == (5_000_000, NOW_MS + 1)


def test_an_invocation_has_the_attributes_of_faas_and_messaging():
    """A back end would not know it for a function's invocation."""
    owner = invocation(annotations={"order": "A-1", "start": "mine"}, tenant_id="blue")
    (top,) = spans(owner, {"records": 10, "gen_ai.tool.name": "search"})
    told = dict(top.attributes)
    assert top.kind is SpanKind.CONSUMER
    assert told["faas.invocation_id"] == owner.request_id
    assert (told["faas.trigger"], told["faas.coldstart"]) == ("pubsub", False)
    assert (told["messaging.system"], told["messaging.batch.message_count"]) == ("aws_sqs", 10)
    assert told["gen_ai.tool.name"] == "search"
    assert (told["order"], told["aws.xray.annotations"]) == ("A-1", ["order", "start"])
    assert top.status.status_code is StatusCode.UNSET


def test_an_http_invocation_is_a_server():
    """It would count as a consumer of messages."""
    (top,) = spans(invocation(trigger="apigateway", start="cold"))
    assert top.kind is SpanKind.SERVER
    assert dict(top.attributes)["faas.trigger"] == "http"
    assert dict(top.attributes)["faas.coldstart"] is True
    assert "messaging.operation.type" not in top.attributes


@pytest.mark.parametrize("outcome", sorted(semconv.FAILED))
def test_a_failed_invocation_is_an_error(outcome):
    """A timeout would look like a success."""
    (top,) = spans(invocation(outcome=outcome))
    assert top.status.status_code is StatusCode.ERROR
    assert dict(top.attributes)["error.type"] == outcome


def test_the_handlers_exception_is_told():
    """Only its outcome would be known."""
    (top,) = spans(invocation(outcome="error", error_type="ValueError", error_text="no such order"))
    assert (top.status.description, dict(top.attributes)["error.type"]) == ("no such order", "ValueError")
    (event,) = top.events
    assert dict(event.attributes) == {"exception.type": "ValueError", "exception.message": "no such order"}


STACKS = [{"thread": "MainThread", "frames": ["app.py:7 handler", "socket.py:700 readinto"]}]
KILL = {
    "pid": 17, "evidence": ["platform", "stacks_taken_at_deadline"], "stacks": STACKS, "rss_mb": 480.5,
    "calls_overwritten": 3, "shutdown_reason": "timeout", "failures_in_a_row": 2, "told_by": "black_box",
    "platform": {"billed_duration_ms": 3000, "max_memory_used_mb": 481, "status": "timeout", "odd": [1]},
}  # fmt: skip


def killed(facts):
    """An invocation that was killed after 25 ms with a call open since its 10th, as core/killed.py leaves it."""
    owner = invocation(outcome="timeout", error_type="Sandbox.Timedout", flush="journal")
    call(owner)
    call(owner, operation="GetItem", at_ms=10, ms=0, end_ns=0)
    ended, still_open = results(owner)
    still_open.duration_ms = 15.0
    (line, *_) = EmfEncoder("coldspan", "orders").invocation_lines(owner, [ended, still_open], facts)
    return spans_of(parse(line).document, RESOURCE)


def test_a_killed_invocation_tells_what_killed_it_and_where_its_threads_were():
    """What it was stuck on would be known in CloudWatch alone."""
    top, *_ = killed(KILL)
    assert (top.status.status_code, top.status.description) == (StatusCode.ERROR, "Sandbox.Timedout")
    told = {key: value for key, value in top.attributes.items() if not key.startswith(("faas.", "messaging."))}
    assert told == {
        "error.type": "Sandbox.Timedout", "coldspan.outcome": "timeout", "coldspan.start": "warm",
        "coldspan.flush": "journal", "coldspan.trigger": "sqs", "coldspan.calls_open": 0, "coldspan.overhead_us": 33,
        "coldspan.evidence": ["platform", "stacks_taken_at_deadline"], "coldspan.told_by": "black_box",
        "coldspan.rss_mb": 480.5, "coldspan.calls_overwritten": 3, "coldspan.shutdown_reason": "timeout",
        "coldspan.failures_in_a_row": 2, "process.pid": 17, "coldspan.platform.billed_duration_ms": 3000,
        "coldspan.platform.max_memory_used_mb": 481, "coldspan.platform.status": "timeout",
    }  # fmt: skip
    assert [(event.name, event.timestamp) for event in top.events] == [
        ("coldspan.stack", top.end_time),
        ("coldspan.killed", top.end_time),
    ]
    stack, kill = (dict(event.attributes) for event in top.events)
    assert stack == {"thread.name": "MainThread", "code.stacktrace": "app.py:7 handler\nsocket.py:700 readinto"}
    assert kill == {"error.type": "Sandbox.Timedout"}


def test_a_call_that_was_open_at_the_kill_is_a_span_until_then():
    """What the invocation waited for would be missing, or look as if it had been answered."""
    top, ended, still_open = killed(KILL)
    assert ended.end_time < still_open.end_time == top.end_time
    assert (still_open.name, still_open.parent.span_id) == ("DynamoDB.GetItem", top.context.span_id)
    assert still_open.end_time - still_open.start_time == 15_000_000
    assert still_open.status.status_code is StatusCode.ERROR
    assert dict(still_open.attributes)["coldspan.status"] == "in_flight"
    assert ended.status.status_code is StatusCode.UNSET


def test_an_invocation_of_which_only_the_record_was_lost_is_no_error():
    """It ended well, and its process died before it could say so."""
    (top,) = spans(invocation(flush="journal"), {"pid": 17, "recovered": True, "told_by": "next_init"})
    told = dict(top.attributes)
    assert (told["coldspan.recovered"], told["coldspan.told_by"]) == (True, "next_init")
    assert (top.status.status_code, top.events) == (StatusCode.UNSET, ())


def test_links_lead_to_the_traces_of_the_messages():
    """A batch's producers could not be found."""
    (top,) = spans(invocation(), trace_links=[HEADER, "junk", 7, "Root=1-5759e988-bd862e3fe1be46a994272793"])
    (link,) = top.links
    assert (link.context.trace_id, link.context.span_id) == (TRACE, 0x53995C3F42CD8AD8)


def test_an_aws_call_has_the_names_of_the_sdk_conventions():
    """It would be a nameless request."""
    owner = invocation()
    call(owner, attributes={"cloud.region": "eu-west-1", "aws.dynamodb.table_names": ["orders"]}, retries=2)
    one = spans(owner)[1]
    told = dict(one.attributes)
    assert (one.name, one.kind) == ("DynamoDB.PutItem", SpanKind.CLIENT)
    assert (told["rpc.system.name"], told["rpc.method"], told["coldspan.attempts"]) == ("aws-api", "PutItem", 3)
    assert told["aws.dynamodb.table_names"] == ["orders"]
    assert told["http.response.status_code"] == 200
    assert semconv.aws_span_name("s3", "GetObject") == "S3.GetObject"
    assert semconv.aws_span_name("bedrock-runtime", "Converse") == "BedrockRuntime.Converse"
    assert semconv.aws_span_name("textract", "X") == "textract.X"


def test_an_http_call_is_named_by_its_method():
    """Its name would have as many values as there are hosts."""
    owner = invocation()
    told = {"server.address": "api.stripe.com", "url.scheme": "https"}
    call(owner, tool="api.stripe.com", operation="GET", kind="http", attributes=told, http_status=503)
    one = spans(owner)[1]
    assert (one.name, dict(one.attributes)["http.request.method"]) == ("GET", "GET")
    assert (one.status.status_code, dict(one.attributes)["error.type"]) == (StatusCode.ERROR, "503")


@pytest.mark.parametrize("status", ["partial", "throttled", "timeout", "rejected", "error", "cancelled", "in_flight"])
def test_a_call_that_did_not_end_well_is_an_error(status):
    """A failure inside a 200 would look like a success, as it does everywhere else."""
    document = documents(invocation())[0]
    one = {"tool": "sqs", "operation": "SendMessageBatch", "status": status, "message": "2 of 10 items failed"}
    document["calls"] = [{**one, "duration_ms": 4.5, "timestamp": NOW_MS, "span_id": "aaaa000000000001"}]
    made = spans_of(document, RESOURCE)[1]
    assert (made.status.status_code, made.status.description) == (StatusCode.ERROR, "2 of 10 items failed")
    assert dict(made.attributes)["error.type"] == status
    assert made.parent.span_id == invocation().span_id


def test_the_start_of_the_environment_is_a_span_before_its_first_invocation():
    """A cold start's time would be missing from the trace."""
    init = {"ms": 120.5, "import_ms": 80.0, "modules": 90, "calls": []}
    one = {"tool": "ssm", "operation": "GetParameter", "status": "ok", "duration_ms": 9, "timestamp": NOW_MS - 50}
    init["calls"] = [{**one, "span_id": "bbbb000000000001", "parent_id": "cccc000000000001", "trace_id": ""}]
    found = spans(invocation(start="cold"), init=init)
    start = named(found, "orders init")
    top = named(found, "orders")
    assert start.end_time == top.start_time
    assert start.end_time - start.start_time == 120_500_000
    assert start.context.span_id == 0xCCCC000000000001
    assert dict(start.attributes) == {"coldspan.init.import_ms": 80.0, "coldspan.init.modules": 90}
    inner = named(found, "ssm GetParameter")
    assert (inner.parent.span_id, inner.context.trace_id) == (start.context.span_id, TRACE)
    assert len(spans(invocation(start="provisioned"), init=init)) == 1


def test_without_a_trace_all_parts_of_an_invocation_still_belong_together():
    """Without a trace header, as on the emulator, each span would be a trace of its own, or none would leave."""
    owner = invocation(trace=None)
    call(owner)
    document = documents(owner)[0]
    top, one = spans_of(document, RESOURCE)
    further = {"function_name": "orders", "request_id": owner.request_id, "part": 1, "calls": document["calls"]}
    (again,) = spans_of(further, RESOURCE)
    assert top.context.trace_id == one.context.trace_id == again.context.trace_id != 0


def test_inits_that_failed_are_a_trace_each():
    """They are for no request: all of them, of all environments, were one trace."""
    tops = []
    for span_id in (1, 2):
        owner = invocation(trace=None, request_id="", outcome="init_error", span_id=span_id)
        call(owner, payload="p" * 900_000)
        call(owner, payload="p" * 900_000)
        first, further = documents(owner)[:2]
        (again,) = spans_of(further, RESOURCE)
        tops.append(spans_of(first, RESOURCE)[0].context.trace_id)
        assert again.context.trace_id == tops[-1]
    assert tops[0] != tops[1]


def test_calls_that_ended_late_are_spans_of_their_own_trace():
    """What ended after its invocation had been told would be lost."""
    owner = invocation()
    call(owner, late=True)
    (line,) = EmfEncoder("coldspan", "orders").stray_lines(results(owner), NOW_MS)
    record = parse(line)
    assert record.is_invocation
    (one,) = spans_of(record.document, RESOURCE)
    assert (one.context.trace_id, one.parent.span_id) == (TRACE, owner.span_id)
    assert dict(one.attributes)["coldspan.late"] is True


JUNK = [
    {"calls": 7},
    {"calls": [None, 7, {"span_id": "zz", "timestamp": 1}, {"span_id": "aaaa000000000001"}]},
    {"calls": [{"span_id": "aaaa000000000001", "timestamp": 1e300, "phases": [1], "attributes": [], "payload": {}}]},
    {"calls": [{"span_id": "aaaa000000000001", "timestamp": 1, "attributes": {"n": 2**70, "l": [1], "d": {}}}]},
    {"init": {"ms": "long"}, "stacks": {"thread": 1}, "trace_links": "x", "annotations": [1]},
    {"stacks": [{"frames": [None, 7]}, 5], "_aws": 5, "Duration": None},
    {"trace_id": 7, "parent_id": "\u0663" * 16, "function_name": None},
    {"span_id": "0" * 16},
]


@pytest.mark.parametrize("change", JUNK, ids=range(len(JUNK)))
def test_junk_in_a_document_costs_no_more_than_its_own_span(change):
    """One malformed member would cost the whole batch."""
    document = {**documents(invocation(start="cold"))[0], **change}
    for span in spans_of(document, RESOURCE):
        assert span.context.is_valid
        assert all(not isinstance(value, dict) for value in span.attributes.values())


def test_the_resource_is_the_function():
    """A back end would not know whose spans these are."""
    environ = {
        "AWS_LAMBDA_FUNCTION_NAME": "orders",
        "AWS_LAMBDA_FUNCTION_VERSION": "7",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/23/[7]abc",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/orders",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_REGION": "eu-west-1",
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=shop,deployment.environment.name=te%20st,junk",
    }
    told = semconv.resource_attributes(environ)
    assert (told["faas.name"], told["faas.version"], told["faas.instance"]) == ("orders", "7", "2026/11/23/[7]abc")
    assert (told["faas.max_memory"], told["cloud.region"]) == (536_870_912, "eu-west-1")
    assert (told["service.name"], told["deployment.environment.name"]) == ("shop", "te st")
    assert told["aws.log.group.names"] == ["/aws/lambda/orders"]
    assert "cloud.account.id" not in told
    assert semconv.resource_attributes({**environ, "OTEL_SERVICE_NAME": "till"})["service.name"] == "till"
    assert semconv.resource_attributes({})["service.name"] == "unknown_service"
