"""What the platform's telemetry becomes: facts joined by request id, lines, and evidence."""

import json
import os
import threading
import time
from types import SimpleNamespace

import pytest

from coldspan_blackbox import jsontext, shutdown
from coldspan_blackbox.counts import Counts
from coldspan_blackbox.lines import Lines, Stdout
from coldspan_blackbox.platformfacts import REQUESTS, PlatformFacts
from coldspan_blackbox.telemetry import epoch_ms, parse
from support.emf_validator import validate_emf

TRACE = "Root=1-62e900b2-710d76f009d6e7785905449a;Parent=0efbd19962d95b05;Sampled=1"
DONE = {
    "requestId": "r1",
    "status": "success",
    "tracing": {"type": "X-Amzn-Trace-Id", "value": TRACE},
    "spans": [
        {"name": "responseLatency", "start": "2022-08-02T12:01:23.521Z", "durationMs": 23.02},
        {"name": "runtimeOverhead", "start": "2022-08-02T12:01:23.521Z", "durationMs": 2},
    ],
    "metrics": {"durationMs": 140.0, "producedBytes": 16},
}
REPORT = {
    "requestId": "r1",
    "status": "success",
    "spans": [{"name": "extensionOverhead", "start": "2022-08-02T12:01:23.521Z", "durationMs": 1.5}],
    "metrics": {
        "billedDurationMs": 694, "durationMs": 693.92, "initDurationMs": 397.68, "maxMemoryUsedMB": 84,
        "memorySizeMB": 128, "restoreDurationMs": 12.5,
    },
}  # fmt: skip


def taken(*events, facts=None):
    """The table after events given as (kind, record)."""
    facts = facts or PlatformFacts()
    batch = [
        {"time": "2022-10-12T00:01:15.000Z", "type": f"platform.{kind}", "record": record} for kind, record in events
    ]
    for event in parse(json.dumps(batch).encode())[0]:
        facts.take(event)
    return facts


def test_a_report_is_joined_with_what_was_said_before_and_told_once():
    """Latency and overhead come with runtimeDone, billing and memory with the report: one line has them all."""
    facts = taken(("start", {"requestId": "r1"}), ("runtimeDone", DONE), ("report", REPORT), ("report", REPORT))
    (request,) = facts.reportable
    metrics, properties = request.line()
    assert metrics == {
        "BilledDuration": 694, "MaxMemoryUsed": 84, "MemorySize": 128, "PlatformInitDuration": 397.68,
        "RestoreDuration": 12.5, "ResponseLatency": 23.02, "RuntimeOverhead": 2, "ExtensionOverhead": 1.5,
    }  # fmt: skip
    assert properties == {
        "request_id": "r1", "platform": True, "status": "success", "duration_ms": 693.92, "produced_bytes": 16,
        "trace_id": "62e900b2710d76f009d6e7785905449a",
    }  # fmt: skip
    assert facts.leftover() == []


def test_a_report_that_comes_late_finds_its_invocation_among_others():
    """It comes after the thaw, when the next invocation already runs."""
    facts = taken(("runtimeDone", DONE), ("start", {"requestId": "r2"}))
    assert facts.reportable == []
    taken(("report", REPORT), facts=facts)
    assert [(request.request_id, request.facts["response_latency_ms"]) for request in facts.reportable] == [
        ("r1", 23.02)
    ]


def test_what_ended_without_a_report_is_told_at_the_end_and_once():
    """At SHUTDOWN the report may never come."""
    facts = taken(("runtimeDone", DONE), ("start", {"requestId": "r2"}))
    assert [request.request_id for request in facts.leftover()] == ["r1"]
    assert facts.leftover() == []


def test_the_table_is_bounded_and_the_oldest_goes():
    """Reports that never come would fill the extension's memory."""
    facts = taken(*[("start", {"requestId": f"r{number}"}) for number in range(REQUESTS + 5)])
    assert len(facts.requests) == REQUESTS
    assert "r4" not in facts.requests
    assert "r5" in facts.requests


def test_a_managed_instance_has_no_runtime_done_and_ends_with_its_report():
    """Its spans come with the report, and nothing else says that it has ended."""
    facts = taken(
        ("start", {"requestId": "r1"}),
        ("report", {"requestId": "r1", "status": "success", "metrics": {"durationMs": 1.049}, "spans": DONE["spans"]}),
    )
    assert [request.request_id for request in facts.ended] == ["r1"]
    assert facts.reportable[0].line()[0]["ResponseLatency"] == 23.02


def test_the_duration_of_an_init_joins_the_next_report_that_has_none():
    """Provisioned environments have no initDurationMs in a report."""
    report = {"requestId": "r1", "status": "success", "metrics": {"billedDurationMs": 5}}
    facts = taken(
        ("initReport", {"status": "success", "phase": "init", "metrics": {"durationMs": 174.1}}),
        ("restoreReport", {"status": "success", "metrics": {"durationMs": 33}}),
        ("report", report),
        ("report", {**report, "requestId": "r2"}),
    )
    first, second = facts.reportable
    assert first.facts["init_duration_ms"] == 174.1
    assert first.facts["restore_duration_ms"] == 33
    assert second.facts.keys() == {"status", "billed_duration_ms"}


@pytest.mark.parametrize(
    ("record", "killed", "signal"),
    [
        ({"status": "timeout"}, True, 0),
        ({"status": "failure"}, True, 0),
        ({"status": "error", "errorType": "Runtime.OutOfMemory"}, True, 0),
        ({"status": "error", "errorType": "Runtime.ExitError", "errorMessage": "signal: killed"}, True, 9),
        ({"status": "error", "errorType": "ValueError"}, False, 0),
        ({"status": "success"}, False, 0),
    ],
)
def test_a_death_is_told_from_a_handlers_own_error(record, killed, signal):
    """A handler that raised would have its living process looked for, and a kill would be told a second later."""
    facts = taken(("runtimeDone", {"requestId": "r1", **record}))
    (request,) = facts.ended
    assert (request.killed, request.signal) == (killed, signal)


def test_an_init_that_fails_is_told_once_with_its_duration():
    """Both initRuntimeDone and initReport tell of the same failure."""
    failed = {
        "status": "error",
        "phase": "init",
        "errorType": "Runtime.ImportModuleError",
        "initializationType": "on-demand",
    }
    facts = taken(("initStart", {"phase": "init"}), ("initRuntimeDone", failed))
    assert facts.inits == []
    taken(("initReport", {**failed, "metrics": {"durationMs": 80}}), facts=facts)
    (init,) = facts.inits
    assert init.failed
    assert init.facts["error_type"] == "Runtime.ImportModuleError"
    assert init.facts["init_duration_ms"] == 80
    assert facts.unfinished_init() is None
    again = taken(("initStart", {"phase": "invoke"}), ("initRuntimeDone", failed))
    assert again.unfinished_init().facts["phase"] == "init"
    assert again.unfinished_init() is None


@pytest.mark.parametrize("body", [b"", b"{}", b"[", b"null", b"\xff", b"[NaN]", b"[" * 100_000, b"[] []", b'"x"'])
def test_a_body_that_is_no_batch_is_a_value_error_and_nothing_else(body):
    """Anything else would end up in the loop's own error count, or in no count at all."""
    with pytest.raises(ValueError, match=r".*"):
        parse(body)


def test_entries_that_are_no_platform_events_are_counted_and_odd_members_left_out():
    """A type that is new, a number that is text: the rest of the batch is still told."""
    odd = [
        1, "x", {}, {"type": 1, "record": {}}, {"type": "function", "record": "text"}, {"type": "platform.start"},
        {"time": 5, "type": "platform.report", "record": {"requestId": 5}},
        {"time": "2022-10-12T00:01:15Z", "type": "platform.report", "record": {
            "requestId": "r1", "status": 7, "spans": [1, {"name": 2}, {"name": "responseLatency", "durationMs": -1}],
            "metrics": {"billedDurationMs": True, "maxMemoryUsedMB": "84", "memorySizeMB": 1e300, "durationMs": 3},
            "tracing": {"value": 5}}},
        {"type": "platform.brandNew", "record": {}},
    ]  # fmt: skip
    events, foreign = parse(json.dumps(odd).encode())
    assert foreign == 6
    facts = PlatformFacts()
    assert [facts.take(event) for event in events] == [True, True, False]
    assert facts.requests["r1"].facts == {"duration_ms": 3}


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T12:00:00.5Z", 951_825_600_500),
        ("2026-11-23T01:22:56.254Z", 1_795_396_976_254),
        ("2024-12-31T23:59:59.999999999Z", 1_735_689_599_999),
        ("2026-11-23", 0),
        ("2026-1x-23T01:22:56.254Z", 0),
        (None, 0),
    ],
)
def test_a_time_is_read_without_datetime(text, epoch):
    """A line would carry the wrong time, and CloudWatch drops what is dated far off."""
    assert epoch_ms(text) == epoch


def test_json_is_read_and_written_as_the_json_package_does():
    """The package is not loaded, so the two must agree."""
    value = {"a": [1, -2, 0.5, True, None, 'é\u2028"\\'], "b": {}, "c": [[]], "d": 12345678901234567890}
    assert jsontext.loads(b" " + json.dumps(value).encode() + b"\n") == value
    assert json.loads(jsontext.dumps(value)) == value
    assert json.loads(jsontext.dumps({"x": float("nan"), "y": "\ud800"})) == {"x": None, "y": "?"}


def test_the_extensions_own_lines_keep_to_the_metric_format():
    """A line that CloudWatch refuses is a metric that is not there."""
    written = []
    lines = Lines("my app", "orders\n", True, written.append)
    (request,) = taken(("runtimeDone", DONE), ("report", REPORT)).reportable
    lines.tell(*request.line(), 1_795_397_120_187)
    lines.tell({"MemoryNearLimit": 1}, {"used_percent": 91.5})
    for line in written:
        assert validate_emf(line)
    first = json.loads(written[0])
    assert first["function_name"] == "orders?"
    assert first["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "my app"
    units = {metric["Name"]: metric["Unit"] for metric in first["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    assert units["MaxMemoryUsed"] == "Megabytes"
    assert units["BilledDuration"] == "Milliseconds"


@pytest.fixture
def pipe():
    """(read end, write end); the read end does not wait."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    yield read, write
    os.close(read)
    os.close(write)


def test_a_reader_that_does_not_read_costs_lines_and_never_the_loop(pipe):
    """The extension would not ask for the next event, and the invocation would run into its limit."""
    read, write = pipe
    counts = Counts()
    lines = Lines("n", "f", True, Stdout(write))
    lines.counts = counts
    for _ in range(50):
        lines.put(b"x" * 2_999 + b"\n")
    lines.put(b"y" * 300_000 + b"\n")
    lost = counts.refusals["line_unwritten"]
    assert 0 < lost < 50
    whole = os.read(read, 1 << 20).split(b"\n")
    lines.put(b"z" * 20_000 + b"\n")
    assert counts.refusals["line_unwritten"] == lost
    assert os.get_blocking(write), "others may write there, too"
    *rest, last, end = os.read(read, 1 << 20).split(b"\n")
    assert (last, end) == (b"z" * 20_000, b"")
    assert len([line for line in (*whole, *rest) if line == b"x" * 2_999]) == 51 - lost


def test_a_line_that_fits_the_pipe_is_one_write_and_a_longer_one_is_whole(pipe):
    """The platform makes a log event of what it reads."""
    read, write = pipe
    put = Stdout(write)
    assert put(b"a" * 50_000 + b"\n")
    assert len(os.read(read, 1 << 20)) == 50_001
    longer, found = b"b" * 250_000 + b"\n", []
    os.set_blocking(read, True)

    def read_all():
        while sum(map(len, found)) < len(longer):
            found.append(os.read(read, 1 << 20))

    reader = threading.Thread(target=read_all)
    reader.start()
    assert put(longer)
    reader.join(20)
    assert b"".join(found) == longer


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("spindown", "spindown"), ("SPINDOWN", "spindown"), ("SandboxTerminated", "spindown"), ("Timeout", "timeout"),
        ("FAILURE", "failure"), ("ReleaseFail", "failure"), ("brand new", "shutdown"), (None, "shutdown"),
        (5, "shutdown"),
    ],
)  # fmt: skip
def test_every_known_word_for_a_shutdown_is_understood_and_an_unknown_one_is_just_that(said, reason):
    """The documents, the service and the emulator use different words for the same thing."""
    assert shutdown.reason_of({"shutdownReason": said}) == reason


@pytest.mark.parametrize(
    ("event", "left_ms"),
    [
        ({"deadlineMs": 10_000 + 2_000}, 1_850),
        ({"deadlineMs": 10_000 + 200}, 100),
        ({"deadlineMs": 10_000 - 5}, 1_850),
        ({"deadlineMs": 10_000 + 9_999_999}, 1_850),
        ({"deadlineMs": "soon"}, 1_850),
        ({}, 1_850),
    ],
)
def test_the_end_leaves_a_margin_before_the_platforms_deadline(event, left_ms):
    """SIGKILL comes with the deadline: what was not told by then is lost."""
    assert shutdown.left_ms_of(event, 10_000) == left_ms


class LastExporter:
    """Answers the last flush at its first turn, and has ended at its third."""

    alive, answered, refused, turns = True, 0, "", 0

    def ask_flush(self, until_ms, word):
        return 1

    def serve(self, timeout_ms):
        self.turns += 1
        self.answered, self.alive = 1, self.turns < 3


def test_the_exporters_process_ends_by_itself_where_there_is_time():
    """Killed with its answer, it could not tell a destination that this was the last."""
    exporter, counts = LastExporter(), Counts()
    loop = SimpleNamespace(extension=SimpleNamespace(exporter=exporter), serve=exporter.serve, counts=counts)
    shutdown._last_flush(loop, time.monotonic_ns() + 10**9)
    assert (exporter.alive, exporter.turns, exporter.refused, counts.drops) == (False, 3, "shutdown", {})
