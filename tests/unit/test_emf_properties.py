"""Whatever names, values and sizes come: every line and datagram is one the services take, and no call is lost."""

import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from coldspan.core import limits
from coldspan.core.emf import EmfEncoder
from coldspan.core.record import AWS, HTTP, USER, Call, CallToolResult, Invocation
from coldspan.core.trace import TraceHeader
from coldspan.core.xray import XRayEncoder
from support.emf_validator import validate_emf, validate_log_line
from support.records import EPOCH_NS, HEADER, MS, NOW_MS, invocation
from support.xray_validator import validate_segment

# No shrinking: a failing example is printed as it was found, within the time a test may take.
THOROUGH = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
pytestmark = pytest.mark.timeout(120)
ROOT = HEADER.split(";")[0].split("=")[1]

# Everything a Python str can hold: half surrogates, control characters, other scripts; and what templates trip over.
TEXTS = st.one_of(
    st.text(st.characters(categories=None), max_size=40),
    st.sampled_from(
        [
            "",
            " ",
            "%s%d%",
            '"',
            "\\",
            "\\ud800",
            "\x00",
            "\n",
            "\x7f",
            "\u2028",
            "\ud83d",
            "\U0001f600",
            "한국",
            ":",
            "_aws",
        ]
    ),
    st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=4), st.integers(1, 3_000)),
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.sampled_from([10**400, -(10**4000), 2**361, float("nan"), float("inf"), 1e308]),
)
VALUES = st.recursive(
    st.one_of(st.none(), NUMBERS, TEXTS, st.binary(max_size=8), st.builds(object), st.dates(), st.decimals()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(TEXTS, st.integers(), st.none(), st.tuples(st.integers())), inner, max_size=4),
        st.frozensets(st.integers(), max_size=3),
    ),
    max_leaves=12,
)
CLOCKS = st.one_of(
    st.just(EPOCH_NS),
    st.integers(-(10**30), 10**30),
    st.integers(EPOCH_NS - 10 * 86_400 * 10**9, EPOCH_NS + 10 * 86_400 * 10**9),
)
STATUSES = ("ok", "partial", "throttled", "timeout", "rejected", "error", "cancelled", "in_flight")


@st.composite
def records(draw):
    """A CallToolResult with whatever values; its id is set by the caller."""
    result = CallToolResult()
    result.tool, result.operation, result.message = draw(TEXTS), draw(TEXTS), draw(TEXTS)
    result.status = draw(st.sampled_from(STATUSES))
    result.kind = draw(st.sampled_from([AWS, HTTP, USER]))
    result.duration_ms = draw(
        st.one_of(st.just(5.0), st.floats(0, 1e6), st.sampled_from([0, -1.0, float("nan"), float("inf")]))
    )
    result.timestamp = draw(st.one_of(st.just(NOW_MS), st.integers(-(10**18), 10**18)))
    result.trace_id = draw(st.sampled_from(["", ROOT[2:10] + ROOT[11:]]))
    result.attempts, result.throttles = draw(st.integers(1, 5)), draw(st.integers(0, 5))
    result.items = draw(st.one_of(st.none(), st.integers(0, 10)))
    result.items_failed = draw(st.one_of(st.none(), st.integers(0, 10)))
    result.phases = draw(
        st.dictionaries(st.sampled_from(["connect", "wait", "50%"]), st.floats(0, 1e5) | NUMBERS, max_size=3)
    )
    names = st.sampled_from(
        ["aws.request_id", "cloud.region", "aws.sqs.queue.url", "url.full", "http.response.status_code"]
    )
    result.attributes = draw(st.dictionaries(names | TEXTS, VALUES, max_size=4))
    result.payload = draw(st.one_of(st.none(), VALUES))
    result.late, result.request_id = draw(st.booleans()), draw(TEXTS)
    return result


@st.composite
def invocations(draw):
    """An Invocation and the results of its calls, some within others, with the Calls they came from or without."""
    owner = invocation(
        epoch_ns=draw(CLOCKS),
        start=draw(st.sampled_from(["cold", "warm", "restored", "provisioned"])),
        outcome=draw(st.sampled_from(["ok", "error", "timeout", "pending", ""])),
        error_type=draw(TEXTS),
        error_text=draw(TEXTS),
        trigger=draw(TEXTS),
        tenant_id=draw(TEXTS),
        request_id=draw(TEXTS),
        annotations=draw(st.none() | st.dictionaries(TEXTS, VALUES, max_size=5)),
        queue_ms=draw(st.none() | st.floats()),
        response_bytes=draw(st.none() | st.integers(-5, 10**9)),
        batch_failures=draw(st.none() | st.integers(0, 9)),
        dropped=draw(st.none() | st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 9))),
        metrics=draw(
            st.none()
            | st.lists(st.tuples(TEXTS, VALUES, st.sampled_from(["Count", "Seconds", "x", "", None])), max_size=8)
        ),
        deadline_ms=draw(st.sampled_from([NOW_MS + 3_000, 0])),
    )
    owner.end_ns = draw(st.sampled_from([owner.end_ns, 0, owner.start_ns - 5, owner.start_ns + 10**20]))
    told = draw(st.lists(records(), max_size=6))
    spans = ["%016x" % owner.span_id, *["%016x" % (0xAAAA << 48 | number) for number in range(len(told))]]
    for span_id, result in zip(spans[1:], told, strict=True):
        result.span_id = span_id
        result.parent_id = draw(st.sampled_from([spans[0], *spans, "cccc000000000001"]))
        if draw(st.booleans()):
            made = Call(owner, owner, AWS, "t", "o", 1, EPOCH_NS)
            made.start_ns, made.end_ns = owner.start_ns + draw(st.integers(-(10**9), 10**9)), owner.start_ns + 5 * MS
            owner.calls.append(made)
    return owner, told


def told_calls(line):
    """The ids of the calls in a line, those of its init included."""
    root = json.loads(line)
    init = root.get("init")
    more = init.get("calls", []) if isinstance(init, dict) else []
    return [one["span_id"] for one in [*root.get("calls", []), *more]]


def validated(lines, owner):
    """Hold each line against the rules; the time only where there was one to be right."""
    known = abs(owner.epoch_ns - EPOCH_NS) < 10**9 or owner.deadline_ms
    for line in lines:
        assert len(line) <= limits.EMF_EVENT_BYTES
        if b'"_aws"' in line[:8]:
            validate_emf(line, now_ms=NOW_MS if known else None)
        else:
            validate_log_line(line)
    return lines


@THOROUGH
@given(invocations(), st.dictionaries(TEXTS, VALUES, max_size=4), TEXTS, TEXTS, st.sampled_from(["", "WARN"]))
def test_every_line_of_any_invocation_is_one_cloudwatch_takes(made, facts, namespace, function, level):
    """A line that is refused takes its metrics with it, and nobody is told."""
    owner, told = made
    encoder = EmfEncoder(namespace, function, level=level)
    lines = validated(encoder.invocation_lines(owner, told, facts), owner)
    assert Counter(span for line in lines for span in told_calls(line)) == Counter(one.span_id for one in told)
    counted = [
        fact
        for line in lines[1:]
        if b'"_aws"' in line[:8]
        for fact in validate_emf(line)
        if fact.name == "CallDuration"
    ]
    assert sum(len(fact.values) for fact in counted) == len(told)


@THOROUGH
@given(st.lists(records(), max_size=8), st.one_of(st.just(NOW_MS), st.integers(-(10**20), 10**20)))
def test_every_line_of_any_stray_calls_is_one_cloudwatch_takes(told, timestamp_ms):
    """The same for calls outside an invocation."""
    for number, result in enumerate(told):
        result.span_id, result.parent_id = "%016x" % (number + 1), "cccc000000000001"
    lines = EmfEncoder("coldspan", "orders").stray_lines(told, timestamp_ms)
    for line in lines:
        validate_emf(line)
    assert Counter(span for line in lines for span in told_calls(line)) == Counter(one.span_id for one in told)


@THOROUGH
@given(invocations(), st.booleans(), TEXTS)
def test_every_datagram_of_any_invocation_is_one_x_ray_takes(made, shared, function):
    """A document that is refused leaves a hole in the trace; every call is in some document, once."""
    owner, told = made
    owner.trace = TraceHeader(ROOT, "53995c3f42cd8ad8", "1", [])
    texts = ()
    if shared:
        emf = EmfEncoder("coldspan", function)
        emf.invocation_lines(owner, told, {})
        texts = emf.texts
    encoder = XRayEncoder(function)
    spans = []

    def walk(node):
        spans.append(node["id"])
        for child in node.get("subsegments", []):
            walk(child)

    for datagram in encoder.datagrams(owner, told, {}, texts):
        assert len(datagram) <= limits.XRAY_DATAGRAM_BYTES
        walk(validate_segment(datagram))
    assert Counter(spans) == Counter(["%016x" % owner.span_id, *[one.span_id for one in told]])


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(2_000, 10_000), st.integers(0, 900), st.integers(1, 40))
def test_ten_thousand_calls_are_all_told(count, payload, tools):
    """However many calls: each is in a line, in a value, and in a document."""
    owner = Invocation("invocation", "r", 0x1234567890ABCDEF, 1, EPOCH_NS)
    owner.end_ns = 10**9
    owner.trace = TraceHeader(ROOT, "53995c3f42cd8ad8", "1", [])
    told = []
    for number in range(count):
        result = CallToolResult()
        result.tool, result.operation, result.status, result.kind = f"t{number % tools}", "o", "ok", AWS
        result.message, result.duration_ms, result.timestamp, result.trace_id = "", 1.0, NOW_MS, ""
        result.span_id, result.parent_id, result.attempts, result.throttles = (
            "%016x" % (number + 1),
            "1234567890abcdef",
            1,
            0,
        )
        result.items = result.items_failed = None
        result.phases, result.attributes, result.payload = {}, {}, "p" * payload
        result.late, result.request_id = False, "r"
        told.append(result)
    encoder = EmfEncoder("coldspan", "orders")
    lines = validated(encoder.invocation_lines(owner, told, {}), owner)
    assert Counter(span for line in lines for span in told_calls(line)) == Counter(one.span_id for one in told)
    values = [
        len(fact.values)
        for line in lines
        if b'"_aws"' in line[:8]
        for fact in validate_emf(line)
        if fact.name == "CallDuration"
    ]
    assert sum(values) == count
    assert encoder.drops == (
        {"tools_other": sum(1 for number in range(count) if number % tools >= 20)} if tools > 20 else {}
    )
    seen = 0
    for datagram in XRayEncoder("orders").datagrams(owner, told, {}, encoder.texts):
        seen += datagram.count(b'"namespace":"aws"')
    assert seen == count
