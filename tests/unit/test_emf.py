"""Embedded metric format: what CloudWatch stores of an invocation, and what a person reads in the line."""

import json
from decimal import Decimal

import pytest

from coldspan.core import limits
from coldspan.core.emf import EmfEncoder
from coldspan.core.record import HTTP, USER, Invocation
from coldspan.core.trace import parse
from coldspan_console.store import Store
from support.emf_validator import validate_emf, validate_log_line
from support.records import EPOCH_NS, MS, NOW_MS, call, invocation, results

SEPARATE = ("error", "unserialisable", "too_large", "timeout", "crash", "out_of_memory", "init_error")


@pytest.fixture
def encoder():
    """An encoder for the function `orders`."""
    return EmfEncoder("coldspan", "orders")


def lines_of(encoder, owner, facts=None, *, detail=True):
    """Encode, and hold every line against the published rules."""
    lines = encoder.invocation_lines(owner, results(owner), facts or {}, detail)
    for line in lines:
        assert len(line) <= limits.EMF_EVENT_BYTES
        if b'"_aws"' in line:
            validate_emf(line, now_ms=NOW_MS)
        else:
            validate_log_line(line)
    return lines


def metrics_of(line):
    """Name -> the values CloudWatch would store (one value alone, several as a list)."""
    return {
        fact.name: fact.values[0] if len(fact.values) == 1 else list(fact.values)
        for fact in validate_emf(line, now_ms=NOW_MS)
    }


def test_invocation_line_has_the_metrics_of_a_warm_success(encoder):
    """The numbers an alarm is built on."""
    owner = invocation(queue_ms=12.5, response_bytes=123)
    call(owner, at_ms=1, ms=5)
    call(owner, "sqs", "SendMessage", at_ms=8, ms=4, retries=2, throttles=1)
    assert metrics_of(lines_of(encoder, owner)[0]) == {
        "Duration": 25, "ColdStart": 0, "Error": 0, "Timeout": 0, "Calls": 2, "CallFailures": 0, "CallRetries": 2,
        "CallTime": 9, "QueueTime": 12.5, "ResponseBytes": 123, "Overhead": 33,
    }  # fmt: skip


def test_metrics_that_are_not_known_are_absent(encoder):
    """A zero that nobody measured would be read as a measurement."""
    assert set(metrics_of(lines_of(encoder, invocation())[0])) == {
        "Duration", "ColdStart", "Error", "Timeout", "Calls", "CallFailures", "CallRetries", "CallTime", "Overhead",
    }  # fmt: skip


def test_dimension_set_of_the_invocation_is_the_function_alone(encoder):
    """Every further dimension is a custom metric on the bill."""
    facts = validate_emf(lines_of(encoder, invocation())[0])
    assert {fact.dimensions for fact in facts} == {(("function_name", "orders"),)}
    assert {fact.namespace for fact in facts} == {"coldspan"}
    assert {fact.name: fact.unit for fact in facts}["Overhead"] == "Microseconds"


def test_facts_stand_beside_the_metrics(encoder):
    """The line answers: which request, how it started, how it ended, in which trace."""
    owner = invocation(tenant_id="blue", batch_failures=2, annotations={"basket": 3}, replay=True)
    line = json.loads(lines_of(encoder, owner, {"function_version": "7", "memory_mb": 512})[0])
    expected = {
        "request_id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd", "trace_id": "5759e988bd862e3fe1be46a994272793",
        "span_id": "1234567890abcdef", "start": "warm", "outcome": "ok", "trigger": "sqs", "tenant_id": "blue",
        "function_version": "7", "memory_mb": 512, "handler_ms": 24, "cpu_ms": 5, "calls_open": 0,
        "flush": "after_response", "batch_item_failures": 2, "replay": True, "annotations": {"basket": 3}, "calls": [],
    }  # fmt: skip
    assert {name: line[name] for name in expected} == expected


def test_a_cold_start_tells_its_init(encoder):
    """InitDuration only where there was an init, with what it spent its time on."""
    init = {"ms": 210.5, "modules": [["boto3", 120.1, 3.2]], "calls": []}
    line = lines_of(encoder, invocation(start="cold"), {"init_ms": 210.5, "init": init})[0]
    assert metrics_of(line)["InitDuration"] == 210.5
    assert metrics_of(line)["ColdStart"] == 1
    assert json.loads(line)["init"] == init
    assert "init_ms" not in json.loads(line)


@pytest.mark.parametrize("start", ["provisioned", "restored", "warm"])
def test_only_a_cold_start_counts_as_one(encoder, start):
    """Provisioned concurrency and SnapStart are paid for so that there is none."""
    assert metrics_of(lines_of(encoder, invocation(start=start))[0])["ColdStart"] == 0


@pytest.mark.parametrize("outcome", SEPARATE)
def test_a_failed_outcome_counts_as_an_error(encoder, outcome):
    """An alarm on Error sees results that could not be posted and kills, too."""
    metrics = metrics_of(lines_of(encoder, invocation(outcome=outcome))[0])
    assert (metrics["Error"], metrics["Timeout"]) == (1, int(outcome == "timeout"))


@pytest.mark.parametrize("outcome", ["ok", "pending", ""])
def test_success_and_pending_are_no_errors(encoder, outcome):
    """A durable function that waits has not failed."""
    assert metrics_of(lines_of(encoder, invocation(outcome=outcome))[0])["Error"] == 0


def test_error_text_is_masked_in_the_line_promise_6(encoder):
    """Promise 6: a secret in an exception's text does not reach the log, even if the caller forgot to mask it."""
    owner = invocation(outcome="error", error_type="ValueError", error_text="password=hunter2 refused")
    line = lines_of(encoder, owner)[0]
    assert json.loads(line)["error_type"] == "ValueError"
    assert "refused" in json.loads(line)["error_message"]
    assert b"hunter2" not in line


def test_dropped_counts_are_in_the_record_promise_4(encoder):
    """Promise 4: what was dropped is in the next record, by reason and as a metric."""
    owner = invocation(dropped={"calls_limit": 3})
    line = lines_of(encoder, owner, {"dropped": {"calls_limit": 1, "lines_lost": 2}})[0]
    assert metrics_of(line)["Dropped"] == 6
    assert json.loads(line)["dropped"] == {"calls_limit": 4, "lines_lost": 2}


def test_calls_are_told_as_records(encoder):
    """Each call with its outcome, phases and attributes, as the README shows it."""
    owner = invocation()
    call(
        owner, phases=[0, 0, 120_000, 3 * MS, 0, 0, 0], attributes={"cloud.region": "eu-west-1", "n": 1, "list": ["a"]}
    )
    fields = {
        "http_status": 0,
        "error_type": "Boom",
        "error_text": "no",
        "cause": "error",
        "items": 3,
        "items_failed": 1,
    }
    call(owner, "prices", "quote", kind=USER, at_ms=7, payload={"a": [1]}, **fields)
    first, second = json.loads(lines_of(encoder, owner)[0])["calls"]
    assert first == {
        "tool": "dynamodb", "operation": "PutItem", "status": "ok", "success": True, "message": "", "duration_ms": 5,
        "timestamp": NOW_MS + 1, "trace_id": "5759e988bd862e3fe1be46a994272793", "span_id": "aaaa000000000001",
        "parent_id": "1234567890abcdef", "attempts": 1, "items": None, "items_failed": None,
        "phases": {"send": 0.12, "wait": 3},
        "attributes": {
            "cloud.region": "eu-west-1", "n": 1, "list": ["a"], "http.response.status_code": 200,
            "rpc.method": "PutItem",
        },
    }  # fmt: skip
    assert (second["status"], second["success"], second["message"]) == ("error", False, "Boom: no")
    assert (second["items"], second["items_failed"], second["payload"]) == (3, 1, {"a": [1]})


@pytest.mark.parametrize(
    ("changes", "told"),
    [({}, False), ({"start": "cold"}, True), ({"outcome": "error"}, True), ({"outcome": "pending"}, False)],
)
def test_without_detail_only_the_unusual_invocation_tells_its_calls(encoder, changes, told):
    """COLDSPAN_DETAIL saves bytes where there is nothing to see; metrics always leave."""
    owner = invocation(**changes)
    call(owner)
    lines = lines_of(encoder, owner, detail=False)
    assert ("calls" in json.loads(lines[0])) is told
    assert metrics_of(lines[0])["Calls"] == 1
    assert metrics_of(lines[1])["CallDuration"] == 5


def test_without_detail_a_failed_call_or_a_slow_invocation_is_told(encoder):
    """The calls of the invocation one looks for are there."""
    owner = invocation()
    call(owner, http_status=500)
    assert "calls" in json.loads(lines_of(encoder, owner, detail=False)[0])
    assert "calls" in json.loads(lines_of(encoder, invocation(), {"slow": True}, detail=False)[0])


def test_each_tool_and_operation_has_its_own_line(encoder):
    """Durations as values, so that percentiles are right; failures, retries and throttled attempts as counts."""
    owner = invocation()
    for at_ms, changes in enumerate(
        ({}, {"http_status": 500}, {"retries": 2, "throttles": 2}, {"items": 5, "items_failed": 2})
    ):
        call(owner, at_ms=at_ms, ms=at_ms + 1, **changes)
    call(owner, "api.stripe.com", "POST", kind=HTTP, at_ms=9)
    lines = lines_of(encoder, owner)
    assert len(lines) == 3
    assert metrics_of(lines[1]) == {"CallDuration": [1, 2, 3, 4], "CallFailure": 2, "CallRetry": 2, "CallThrottle": 2}
    assert {fact.dimensions for fact in validate_emf(lines[1])} == {
        (("function_name", "orders"), ("tool", "dynamodb"), ("operation", "PutItem"))
    }
    assert metrics_of(lines[2])["CallDuration"] == 5


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"http_status": 500}, 1),
        ({"http_status": 429}, 1),
        ({"http_status": 408}, 1),
        ({"items": 5, "items_failed": 1}, 1),
        ({"http_status": 409}, 0),
        ({"cause": "cancelled"}, 0),
    ],
)
def test_call_failures_are_partial_throttled_timeout_and_error(encoder, fields, counts):
    """A condition that did not hold, or a cancelled call, is no failure of the tool."""
    owner = invocation()
    call(owner, "api.stripe.com", "POST", kind=HTTP, **fields)
    first, second = lines_of(encoder, owner)
    assert metrics_of(first)["CallFailures"] == metrics_of(second)["CallFailure"] == counts


def test_call_time_is_the_time_during_which_a_call_was_open(encoder):
    """Calls side by side count once, gaps do not count, and nothing counts beyond the invocation."""
    owner = invocation()
    call(owner, at_ms=1, ms=4)
    call(owner, at_ms=3, ms=4)
    call(owner, at_ms=10, ms=5)
    call(owner, at_ms=11, ms=2)
    assert metrics_of(lines_of(encoder, owner)[0])["CallTime"] == 11
    still_open = call(owner, at_ms=20, ms=100)
    owner.calls.remove(still_open)
    owner.open[1] = still_open
    line = lines_of(encoder, owner)[0]
    assert metrics_of(line)["CallTime"] == 16
    assert json.loads(line)["calls_open"] == 1


def test_call_time_is_known_from_the_records_alone(encoder):
    """After a kill only the journal's records are left."""
    owner = invocation()
    call(owner, at_ms=1, ms=4)
    call(owner, at_ms=3, ms=4)
    told = results(owner)
    owner.calls = []
    line = encoder.invocation_lines(owner, told, {})[0]
    assert metrics_of(line)["CallTime"] == pytest.approx(6, abs=0.7)  # records have whole milliseconds


def test_more_than_a_hundred_calls_of_one_kind_take_several_lines(encoder):
    """CloudWatch drops a metric with more than 100 values."""
    owner = invocation()
    for number in range(250):
        call(owner, at_ms=number, ms=1)
    lines = lines_of(encoder, owner)
    assert [len(validate_emf(line)[0].values) for line in lines[1:]] == [100, 100, 50]


def test_pairs_beyond_the_limit_share_one_name(encoder):
    """A function that calls a new host each time must not make a new custom metric each time."""
    owner = invocation()
    for number in range(limits.TOOLS_AS_DIMENSIONS + 3):
        call(owner, f"host{number}.example.com", "GET", kind=HTTP)
    lines = lines_of(encoder, owner)
    told = {dict(block.dimensions)["tool"]: len(block.values) for line in lines[1:] for block in validate_emf(line)[:1]}
    assert len(lines[1:]) == len(told) == limits.TOOLS_AS_DIMENSIONS + 1
    assert told["other"] == 3
    assert encoder.drops == {"tools_other": 3}
    assert {one["tool"] for one in json.loads(lines[0])["calls"]} > {"host22.example.com"}


def test_pinned_tools_alone_become_dimensions():
    """A list bounds the bill of a fleet; `tool` and `tool.operation` both name."""
    encoder = EmfEncoder("coldspan", "orders", tools=("dynamodb", "sqs.SendMessage"))
    owner = invocation()
    for pair in (("dynamodb", "PutItem"), ("dynamodb", "Query"), ("sqs", "SendMessage"), ("sqs", "ReceiveMessage")):
        call(owner, *pair)
    pairs = [validate_emf(line)[0].dimensions[1:] for line in lines_of(encoder, owner)[1:]]
    assert pairs == [
        (("tool", "dynamodb"), ("operation", "PutItem")),
        (("tool", "dynamodb"), ("operation", "Query")),
        (("tool", "sqs"), ("operation", "SendMessage")),
        (("tool", "other"), ("operation", "other")),
    ]
    assert encoder.drops == {}


@pytest.mark.parametrize("name", ["", " ", "größe", "a\nb", "t" * 2000, "\ud800", "\x00"])
def test_dimension_values_are_printable_ascii_and_not_empty(name):
    """A dimension value CloudWatch refuses takes all metrics of its line with it."""
    encoder = EmfEncoder(name, name)
    owner = invocation()
    call(owner, name, name)
    for line in encoder.invocation_lines(owner, results(owner), {}):
        validate_emf(line, now_ms=NOW_MS)


def test_percent_signs_and_quotes_in_names_stay():
    """Names stand in templates: what formats text must not format them."""
    encoder = EmfEncoder('100%s "x"', "50%d")
    owner = invocation()
    call(owner, "a%sb", '"%d"')
    lines = encoder.invocation_lines(owner, results(owner), {})
    facts = validate_emf(lines[1])
    assert facts[0].namespace == '100%s "x"'
    assert facts[0].dimensions == (("function_name", "50%d"), ("tool", "a%sb"), ("operation", '"%d"'))


# --- the user's metrics -------------------------------------------------------------------------------------------


def user_metrics(encoder, *metrics):
    """What CloudWatch would store of the user's metrics: name -> (unit, values), over all lines."""
    owner = invocation(metrics=list(metrics))
    stored = {}
    for line in lines_of(encoder, owner)[1:]:
        for fact in validate_emf(line):
            unit, values = stored.setdefault(fact.name, (fact.unit, []))
            assert unit == fact.unit
            values += fact.values
    return stored


def test_user_metrics_have_a_line_of_their_own(encoder):
    """They share the function's dimension and never meet our names."""
    stored = user_metrics(
        encoder, ("basket", 3, "Count"), ("basket", 5, "Count"), ("size", 1.5, ""), ("price", Decimal("2.5"), None)
    )
    assert stored == {"basket": ("Count", [3, 5]), "size": ("None", [1.5]), "price": ("None", [2.5])}
    assert encoder.drops == {}


@pytest.mark.parametrize(
    "refused",
    [
        ("ratio", float("nan"), "None"),
        ("ratio", float("inf"), "None"),
        ("ratio", Decimal("NaN"), "None"),
        ("ratio", 2**361, "None"),
        ("ratio", "3", "None"),
        ("ratio", None, "None"),
        ("ratio", 1, "Minutes"),
        ("ratio", 1, "count"),
        ("", 1, "Count"),
        ("  ", 1, "Count"),
        ("größe", 1, "Count"),
        ("a\nb", 1, "Count"),
        ("m" * 1025, 1, "Count"),
        (7, 1, "Count"),
        *[
            (name, 1, "Count")
            for name in ("Duration", "Error", "CallDuration", "_aws", "function_name", "tool", "request_id", "level")
        ],
    ],
)
def test_a_user_metric_that_would_be_dropped_is_refused_and_counted_promise_4(encoder, refused):
    """Promise 4: one bad metric costs itself and is counted; the good one beside it leaves."""
    assert user_metrics(encoder, refused, ("good", 1, "Count")) == {"good": ("Count", [1])}
    assert encoder.drops == {"metrics_refused": 1}


def test_values_of_different_units_are_not_merged(encoder):
    """1 Milliseconds and 2 Seconds are not two values of one series."""
    assert user_metrics(encoder, ("t", 1, "Milliseconds"), ("t", 2, "Seconds"), ("t", 3, "Milliseconds")) == {
        "t": ("Milliseconds", [1, 3])
    }
    assert encoder.drops == {"metrics_refused": 1}


def test_many_names_and_many_values_take_several_lines(encoder):
    """CloudWatch takes 100 metrics a directive and 100 values a metric; nothing beyond is lost."""
    stored = user_metrics(
        encoder, *[(f"m{n}", n, "Count") for n in range(250)], *[("m7", n, "Count") for n in range(250)]
    )
    assert len(stored) == 250
    assert stored["m7"] == ("Count", [7, *range(250)])


# --- time, levels -------------------------------------------------------------------------------------------------


def timestamp_of(line):
    """The time under which CloudWatch stores the metrics."""
    return json.loads(line)["_aws"]["Timestamp"]


def test_timestamp_is_the_end_of_the_invocation(encoder):
    """A killed invocation's line carries the time of the kill."""
    assert timestamp_of(lines_of(encoder, invocation())[0]) == NOW_MS + 25


@pytest.mark.parametrize("epoch_ns", [0, -5, EPOCH_NS - 20 * 86_400 * 10**9, EPOCH_NS + 20 * 86_400 * 10**9, 10**30])
def test_an_absurd_clock_is_replaced_by_the_deadline_and_counted(encoder, epoch_ns):
    """CloudWatch silently drops what is older than 14 days or more than 2 hours ahead."""
    line = lines_of(encoder, invocation(epoch_ns=epoch_ns))[0]
    assert timestamp_of(line) == NOW_MS + 3_000
    assert encoder.drops == {"clock_replaced": 1}


def test_an_absurd_deadline_does_not_replace_a_clock_that_the_trace_confirms(encoder):
    """The emulator's Managed Instances have 115 days left: their records were dated so far ahead that none was seen."""
    root = f"1-{NOW_MS // 1000:08x}-bd862e3fe1be46a994272793"
    trace = parse(f"Root={root};Parent=53995c3f42cd8ad8;Sampled=1")
    owner = invocation(deadline_ms=NOW_MS + 10_000_000_000, trace=trace)
    assert timestamp_of(lines_of(encoder, owner)[0]) == NOW_MS + 25
    assert encoder.drops == {}


def test_an_absurd_clock_that_an_absurd_trace_confirms_is_replaced_by_the_deadline(encoder):
    """Two that are wrong together would date the record into 1970."""
    trace = parse("Root=1-00000000-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")
    line = lines_of(encoder, invocation(epoch_ns=5, trace=trace))[0]
    assert timestamp_of(line) == NOW_MS + 3_000
    assert encoder.drops == {"clock_replaced": 1}


def test_an_absurd_clock_without_a_deadline_is_replaced_by_the_trace(encoder):
    """The root of a trace names the second in which it began."""
    line = encoder.invocation_lines(invocation(epoch_ns=0, deadline_ms=0), [], {})[0]
    assert timestamp_of(line) == max(0x5759E988 * 1000, 1_577_836_800_000) + 25
    assert encoder.drops == {"clock_replaced": 1}


def test_a_clock_that_ran_backwards_gives_no_negative_duration(encoder):
    """A negative Duration would spoil every average."""
    owner = invocation()
    owner.end_ns = owner.start_ns - 10**18
    assert metrics_of(lines_of(encoder, owner)[0])["Duration"] == 0
    assert encoder.drops == {"clock_replaced": 1}


def test_every_line_carries_level_and_timestamp_when_asked():
    """With JSON logs and a level above INFO a line without them would be filtered away."""
    encoder = EmfEncoder("coldspan", "orders", level="WARN")
    owner = invocation(metrics=[("basket", 1, "Count")])
    call(owner)
    lines = lines_of(encoder, owner) + encoder.stray_lines(results(owner), NOW_MS)
    assert len(lines) == 4
    for line in lines:
        root = json.loads(line)
        assert root["level"] == "WARN"
        assert root["timestamp"].startswith("2026-11-23T")
        assert root["timestamp"].endswith("Z")
    assert json.loads(lines[0])["timestamp"] == "2026-11-23T" + "01:25:20.212Z"


def test_no_level_is_added_unasked(encoder):
    """Two members that say nothing would be on every line of every bill."""
    assert not {"level", "timestamp"} & set(json.loads(lines_of(encoder, invocation())[0]))


# --- calls outside an invocation ----------------------------------------------------------------------------------


def test_stray_calls_carry_their_records(encoder):
    """A call that ended late is told once, with the request it belongs to."""
    owner = invocation()
    call(owner, late=True)
    call(owner, "sqs", "SendMessage", late=True)
    outside = Invocation("background", "", 9, 1, EPOCH_NS)
    call(outside, "ssm", "GetParameter")
    told = [*results(owner), *results(outside)]
    lines = encoder.stray_lines(told, NOW_MS)
    assert [metrics_of(line)["CallDuration"] for line in lines] == [5, 5, 5]
    records = [json.loads(line)["calls"][0] for line in lines]
    assert [record["tool"] for record in records] == ["dynamodb", "sqs", "ssm"]
    assert [record.get("late", False) for record in records] == [True, True, False]
    assert records[0]["request_id"] == owner.request_id
    assert timestamp_of(lines[0]) == NOW_MS


def test_many_stray_calls_are_split(encoder):
    """100 values a metric, 1 MB an event."""
    owner = invocation()
    for _ in range(230):
        call(owner, payload="p" * 20_000, late=True)
    lines = encoder.stray_lines(results(owner), NOW_MS)
    assert sum(len(validate_emf(line)[0].values) for line in lines) == 230
    assert sum(len(json.loads(line)["calls"]) for line in lines) == 230
    assert all(len(line) <= limits.EMF_EVENT_BYTES for line in lines)
    assert encoder.drops == {}


# --- size ---------------------------------------------------------------------------------------------------------


def test_calls_that_do_not_fit_go_on_in_further_lines(encoder):
    """An event over the limit would be cut and lose all its metrics."""
    owner = invocation()
    for number in range(900):
        call(owner, at_ms=number, payload="p" * 3_000)
    lines = lines_of(encoder, owner)
    parts = [json.loads(line) for line in lines if b'"_aws"' not in line]
    assert len(parts) >= 2
    assert [part["part"] for part in parts] == list(range(1, len(parts) + 1))
    assert {part["request_id"] for part in parts} == {owner.request_id}
    told = [one["span_id"] for line in lines for one in json.loads(line).get("calls", [])]
    assert told == [one.span_id for one in results(owner)]
    assert metrics_of(lines[0])["Calls"] == 900
    assert encoder.drops == {}


def test_the_further_lines_of_an_init_that_failed_find_it_in_the_store(encoder, tmp_path):
    """It is for no request; what did not fit into its first line was nobody's."""
    owner = invocation(request_id="", outcome="init_error")
    for number in range(900):
        call(owner, at_ms=number, payload="p" * 3_000)
    lines = lines_of(encoder, owner)
    assert len([line for line in lines if b'"part"' in line]) >= 2
    with Store.open(tmp_path / "store.db") as store:
        store.add(lines)
        (told,) = store.get(f"init-{owner.span_id:016x}")
    assert len(told["calls"]) == 900


def test_a_call_that_fits_no_line_is_trimmed_and_counted_promise_4(encoder):
    """Promise 4: the payload goes first, the call itself stays, the loss is counted."""
    owner = invocation()
    call(owner, payload="p" * 2_000_000, attributes={"a": "b"})
    lines = lines_of(encoder, owner)
    (told,) = [one for line in lines for one in json.loads(line).get("calls", [])]
    assert told["trimmed"] is True
    assert "payload" not in told
    assert told["attributes"]["a"] == "b"
    assert encoder.drops == {"calls_trimmed": 1}


def test_facts_that_fit_no_line_are_dropped_largest_first_and_counted_promise_4(encoder):
    """Promise 4: the metrics leave whatever else is in the way."""
    owner = invocation(annotations={"a": "x" * 1_200_000})
    call(owner)
    lines = lines_of(encoder, owner, {"init": {"ms": 5}, "memory_mb": 512})
    line = json.loads(lines[0])
    assert "annotations" not in line
    assert (line["memory_mb"], line["init"]) == (512, {"ms": 5})
    assert metrics_of(lines[0])["Calls"] == 1
    assert encoder.drops == {"facts_trimmed": 1}


def test_calls_of_an_init_too_large_for_its_line_are_not_lost(encoder):
    """Calls made during init stand in `init`; they go on in further lines like the others."""
    owner = invocation(start="cold")
    for _ in range(400):
        call(owner, payload="p" * 4_000)
    told = results(owner)
    owner.calls = []
    lines = encoder.invocation_lines(owner, [], {"init": {"ms": 5, "calls": told}})
    spans = [one["span_id"] for line in lines for one in json.loads(line).get("calls", [])]
    assert spans == [one.span_id for one in told]
    assert json.loads(lines[0])["init"] == {"ms": 5}
    assert encoder.drops == {}


# --- hostile values -----------------------------------------------------------------------------------------------


class Untouchable:
    """An object of the customer's: nothing of it may be asked."""

    def __getattribute__(self, name):
        raise AssertionError(name)

    def __repr__(self) -> str:
        raise AssertionError


def test_values_that_json_cannot_hold_are_named_and_counted_promise_2(encoder):
    """Promise 2: a value we cannot encode costs a count; no method of it runs, nothing is raised."""
    circle = {}
    circle["self"] = circle
    owner = invocation()
    call(
        owner,
        payload={"object": Untouchable(), (1, 2): float("nan"), "circle": circle, "set": {1}, 3: b"x", "big": 10**5000},
    )
    lines = lines_of(encoder, owner)
    payload = json.loads(lines[0])["calls"][0]["payload"]
    assert payload["object"] == "<Untouchable>"
    assert payload["<tuple>"] == "<float>"
    assert payload["set"] == [1]
    assert payload["3"] == "<bytes>"
    assert encoder.drops["values_unencodable"] >= 5


def test_half_surrogates_become_replacement_characters(encoder):
    """A half surrogate is legal in a Python str and in no strict reader's JSON; an emoji stays what it is."""
    owner = invocation(annotations={"half\udc00": "\ud83d", "whole": "\U0001f600", "korean": "한국"})
    annotations = json.loads(lines_of(encoder, owner)[0])["annotations"]
    assert annotations == {"half\ufffd": "\ufffd", "whole": "\U0001f600", "korean": "한국"}
    assert encoder.drops == {"values_unencodable": 2}


def test_numbers_of_a_broken_clock_are_refused_and_counted(encoder):
    """NaN in a line makes it no JSON, and all its metrics are lost."""
    owner = invocation(queue_ms=float("nan"), response_bytes=-1)
    call(owner, phases=[0, 0, 10**30, 0, 0, 0, 0])
    told = results(owner)
    told[0].duration_ms = float("inf")
    for line in encoder.invocation_lines(owner, told, {"init_ms": float("inf")}):
        validate_emf(line, now_ms=NOW_MS)
    assert encoder.drops["metrics_refused"] == 3
    assert encoder.drops["clock_replaced"] == 1


def test_facts_cannot_take_the_place_of_a_metric(encoder):
    """A member named twice makes a line that readers understand differently."""
    line = lines_of(
        encoder, invocation(), {"Duration": 7, "calls": "x", "function_name": "y", "request_id": "z", "own": 1}
    )[0]
    assert metrics_of(line)["Duration"] == 25
    assert json.loads(line)["own"] == 1


def test_encoding_leaves_the_facts_and_records_as_they_were(encoder):
    """The drain uses them again."""
    owner = invocation(dropped={"a": 1})
    call(owner, attributes={"k": "v"})
    facts = {"dropped": {"a": 1}, "init": {"calls": []}}
    told = results(owner)
    before = json.dumps([facts, told[0].attributes, told[0].phases, owner.dropped])
    encoder.invocation_lines(owner, told, facts)
    assert json.dumps([facts, told[0].attributes, told[0].phases, owner.dropped]) == before
