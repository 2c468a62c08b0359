"""Records are found among whatever other output there is, and nothing else is taken for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldspan_console.pulling.lines import Reader, time_in, without_prefix
from store_lines import AT_MS, invocation, tool

RECORD = invocation("6f1c2a90-7b3d-4e55-9a10-000000000001", calls=[("dynamodb", "PutItem", "ok")])
TEXT = json.dumps(RECORD)
STREAM = "2026/11/26/[$LATEST]0123456789abcdef0123456789abcdef"
AT = "2026-11-26T10:00:00.123"
SHAPES = {
    "as printed": TEXT,
    "with CR": TEXT + "\r\n",
    "in colours": f"\x1b[32m{TEXT}\x1b[0m",
    "docker logs -t": f"{AT}456789Z {TEXT}",
    "docker compose": f"orders-1  | {TEXT}",
    "aws logs tail": f"{AT}000+00:00 {STREAM} {TEXT}",
    "sam logs": f"{STREAM} {AT}000 {TEXT}",
    "an export": f"{AT}Z {TEXT}",
    "the JSON log format, as text": json.dumps({"timestamp": AT + "Z", "level": "INFO", "message": TEXT}),
    "the JSON log format, as an object": json.dumps({"timestamp": AT + "Z", "level": "INFO", "message": RECORD}),
    "docker's json-file": json.dumps({"log": TEXT + "\n", "stream": "stdout", "time": AT + "Z"}),
    "aws logs filter-log-events": json.dumps({"events": [{"timestamp": AT_MS, "message": TEXT + "\n"}]}),
    "a line of it, indented": '            "message": ' + json.dumps(TEXT) + ",",
    "a subscription": json.dumps({"messageType": "DATA_MESSAGE", "logEvents": [{"id": "1", "message": TEXT}]}),
    "an Insights result": json.dumps({"results": [[{"field": "@message", "value": TEXT}]]}),
    "a CSV field": '2026-11-26 10:00:00.123,"' + TEXT.replace('"', '""') + '"',
    "behind a log line without newline": f"loading ... {TEXT}",
    "before another word": f"{TEXT} done",
}


@pytest.mark.parametrize("line", SHAPES.values(), ids=SHAPES)
def test_a_record_is_found_whatever_stands_around_it(line):
    """Each tool that shows a log has a shape of its own."""
    assert Reader().read(line) == [RECORD]
    assert Reader().read(line.encode()) == [RECORD]


def test_several_records_on_a_line_are_all_found():
    """Firehose writes no newline between them."""
    other = tool(RECORD["request_id"], "dynamodb", "PutItem")
    assert Reader().read(TEXT + json.dumps(other)) == [RECORD, other]


@pytest.mark.parametrize(
    "line",
    [
        '{"_aws": {"Timestamp": 1, "CloudWatchMetrics": []}, "service": "x", "Latency": 3}',  # another library's
        '{"request_id": "1", "message": "no record"}',
        "REPORT of the year: 3",
        "{" * 5_000 + '"_aws"',
        "[" * 5_000,
        '{"message": ' * 50 + TEXT + "}" * 50,  # deeper than anyone nests
        "",
        "\x00\xff",
    ],
)
def test_other_lines_are_no_records(line):
    """The store would fill with what is not an invocation."""
    assert Reader().read(line) == []


def test_a_torn_record_is_counted():
    """The user is to know that something was there."""
    reader = Reader()
    assert reader.read(TEXT[: len(TEXT) // 2]) == []
    assert reader.torn == 1


@given(
    st.lists(
        st.one_of(st.text(), st.sampled_from([TEXT, TEXT[:200], TEXT[40:], "{", '"_aws"', '{"message": "'])), max_size=8
    )
)
def test_nothing_is_raised_whatever_comes(parts):
    """A log holds anything."""
    reader = Reader()
    found = reader.read("".join(parts))
    assert all(document["request_id"] for document in found)
    assert reader.lines == 1


@given(st.text(alphabet=st.characters(exclude_characters='{"\\[\n\r\x1b'), max_size=60), st.text(max_size=20))
def test_a_prefix_without_braces_never_hides_a_record(prefix, suffix):
    """Whoever puts something before the line must not cost the record."""
    assert RECORD in Reader().read(prefix + TEXT + suffix)


@given(st.binary(max_size=400))
def test_binary_data_is_read_over(data):
    """`coldspan pull` may be given the wrong file."""
    assert Reader().read(data) == []


def test_log_lines_belong_to_the_invocation_that_runs_in_their_stream():
    """A failing function's own words are what one looks for first."""
    reader = Reader()
    first, second = RECORD["request_id"], "6f1c2a90-7b3d-4e55-9a10-000000000002"
    other = STREAM.replace("0123", "fedc")
    for line in (
        "before all",
        f"{AT}Z {STREAM} START RequestId: {first} Version: $LATEST",
        f"{AT}Z {other} START RequestId: {second} Version: $LATEST",
        f"{AT}Z {STREAM} of the first",
        f"{AT}Z {other} of the second",
        f"{AT}Z {STREAM} {TEXT}",
        f"{AT}Z {STREAM} END RequestId: {first}",
        f"{AT}Z {STREAM} between",
        f"{AT}Z {other} of the second, too",
    ):
        reader.read(line)
    assert [line["text"] for line in reader.logs[first]] == ["of the first"]
    assert [line["text"] for line in reader.logs[second]] == ["of the second", "of the second, too"]
    assert reader.logs[first][0]["at_ms"] == time_in(AT + "Z") == 1_795_687_200_123


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        (
            ("REPORT RequestId: 6f1c2a90-7b3d-4e55-9a10-000000000001\tDuration: 3000.00 ms\tBilled Duration: 3120 ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 41 MB\tInit Duration: 119.80 ms\t\n"
            "XRAY TraceId: 1-5fb7b1f8-0123456789abcdef01234567\tSegmentId: 1234\tSampled: true\t\nStatus: timeout"),
            {
                "duration_ms": 3000.0, "BilledDuration": 3120.0, "MemorySize": 128.0, "MaxMemoryUsed": 41.0,
                "PlatformInitDuration": 119.8, "trace_id": "5fb7b1f80123456789abcdef01234567", "status": "timeout",
            },
        ),
        (
            ('{"time":"2026-11-26T10:00:00.123Z","type":"platform.report","record":{"requestId":'
            '"6f1c2a90-7b3d-4e55-9a10-000000000001","status":"error","errorType":"Runtime.ExitError","metrics":'
            '{"durationMs":5.1,"billedDurationMs":6,"memorySizeMB":128,"maxMemoryUsedMB":40,"restoreDurationMs":300.5}}}'),
            {
                "duration_ms": 5.1, "BilledDuration": 6, "MemorySize": 128, "MaxMemoryUsed": 40,
                "RestoreDuration": 300.5, "status": "error", "error_type": "Runtime.ExitError",
            },
        ),
    ],
)  # fmt: skip
def test_the_platforms_report_becomes_the_platforms_facts(line, facts):
    """Without the black box only these lines have what was billed."""
    (document,) = Reader("orders").read(line, AT_MS)
    assert document["platform"] is True
    assert document["request_id"] == RECORD["request_id"]
    assert {name: document[name] for name in facts} == facts


def test_the_emulators_invented_figures_are_left_out():
    """It tells the memory size as what was used, and an init of a moment."""
    line = (
        "REPORT RequestId: 6f1c2a90-7b3d-4e55-9a10-000000000001\tInit Duration: 0.05 ms\tDuration: 12.00 ms\t"
        "Billed Duration: 12 ms\tMemory Size: 128 MB\tMax Memory Used: 128 MB\t"
    )
    (document,) = Reader(emulated=True).read(line)
    assert document["BilledDuration"] == 12
    assert not {"MaxMemoryUsed", "PlatformInitDuration"} & set(document)
    assert Reader().read(line)[0]["MaxMemoryUsed"] == 128


def test_prefixes_are_taken_from_log_lines():
    """The log of an invocation is to read as the function printed it."""
    for prefix in (f"{AT}Z {STREAM} ", f"{STREAM} {AT}000 ", "orders-1  | ", ""):
        assert without_prefix(prefix + "hello 2026") == "hello 2026"
