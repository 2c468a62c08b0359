"""Both layers on the real emulator, sending to real receivers: all arrives, and a destination costs no invocation.

The receivers are those of `.venv-destinations` (make test-destinations, .ci/destinations); they are processes of their
own, so this suite needs no more of that environment than their files.
"""

import statistics
import threading
import time
from pathlib import Path

import pytest

from coldspan_console.platform.function import Function
from coldspan_console.platform.sandbox import unshare_command
from support.collector import Collector, attributes
from support.destinations import free_port
from support.emulating import Running, body_of, emulator_missing
from support.otlp_receivers import Oteltap, Rotel, started

HANDLERS = Path(__file__).parent / "handlers"
TIMEOUT_S = 3
HELD_MS = 500
INVOCATIONS = 12
ERROR = 2  # opentelemetry.proto.trace.v1.Status.STATUS_CODE_ERROR

pytestmark = [
    pytest.mark.skipif(emulator_missing() is not None, reason=f"no emulator: {emulator_missing()}"),
    pytest.mark.skipif(unshare_command() is None, reason="without mount namespaces the emulator starts no extension"),
]


@pytest.fixture
def behind():
    with Collector() as made:
        yield made


@pytest.fixture
def receiver(tmp_path):
    """Give a function that starts receivers; they are ended with the test."""
    with started(tmp_path) as start:
        yield start


class Exporting(Running):
    """A function whose telemetry leaves; or the same one without the black box."""

    def timed(self, **event):
        """(status, body, how long it took in ms) of one invocation."""
        began = time.monotonic()
        answered = self.ask(**event)
        return answered.status, body_of(answered), (time.monotonic() - began) * 1_000

    def dropped(self):
        """Counts of what no destination got, by reason, of all lines that tell of them."""
        sums = {}
        for document in self.documents():
            for reason, count in document.get("export_dropped", {}).items():
                sums[reason] = sums.get(reason, 0) + count
        return sums

    def recorded(self):
        """How many records there were to be exported: all lines but those about the exporting."""
        return sum("ExportDropped" not in document for document in self.documents())


@pytest.fixture
def start(layer, black_box):
    """Start the function: `start(url, black_box=False, variables...)` gives an Exporting."""
    made = []

    def starter(url, *, compression="gzip", with_black_box=True, timeout_s=10, **variables):
        environment = {
            "COLDSPAN_EXPORT": "otlp",
            "COLDSPAN_FLUSH_MS": "10000",  # a machine under load takes more than 50 ms for a first drain
            "COLDSPAN_EXPORT_FLUSH_MS": str(HELD_MS),
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
            **variables,
        }
        if not with_black_box:
            del environment["COLDSPAN_EXPORT"]
        fields = {"task": HANDLERS, "handler": "exported.handler", "memory_mb": 512, "layer": layer}
        more = (black_box,) if with_black_box else ()
        made.append(Exporting.start(Function(environment=environment, more_layers=more, **fields), timeout_s))
        return made[-1]

    yield starter
    for one in made:
        one.close()
    assert [found for one in made for found in one.documents() if "BlackBoxFaults" in found] == []


def await_name(names, name, count, within_s=30.0):
    """Wait until a span or metric has arrived so often; gives how often it has."""
    waited = threading.Event()
    for _ in range(int(within_s / 0.1)):
        if names().count(name) >= count:
            break
        waited.wait(0.1)
    return names().count(name)


# --- what arrives -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["oteltap", "rotel"])
def test_what_an_invocation_recorded_arrives_after_its_response(start, receiver, behind, kind):
    """Nothing would be seen where a team looks, or only when the environment ends."""
    tap = Oteltap(receiver) if kind == "oteltap" else Rotel(receiver, behind)
    function = start(tap.receiver.url, compression=tap.compression)
    for number in range(1, 4):
        status, body, _ = function.timed(tools=2, number=number)
        assert (status, body) == (200, {"tools": 2, "number": number})
        assert await_name(tap.names, "coldspan-test", number) == number
        assert await_name(tap.names, "tool-1 get", number) == number
    for metric in ("faas.invoke_duration", "faas.invocations", "coldspan.call.duration"):
        assert await_name(tap.names, metric, 1) >= 1
    function.emulator.shutdown()
    assert function.dropped() == {}
    assert function.losses() == []


def test_forty_tools_in_one_invocation_all_arrive(start, behind):
    """The kernel's queue between the two holds ten lines: more at once would be lost, with the end behind them."""
    function = start(behind.url)
    slowest_ms = 0
    for _ in range(6):
        status, _, took_ms = function.timed(tools=40)
        assert status == 200
        slowest_ms = max(slowest_ms, took_ms)
    assert slowest_ms < function.emulator.timeout_s * 1_000 / 2  # without its end it is held until the deadline
    function.emulator.shutdown()
    assert function.dropped() == {}
    assert [reasons for _, _, dropped in function.losses() for reasons in dropped if reasons != "tools_other"] == []
    assert sum(span.name.startswith("tool-") for span in behind.spans()) == 6 * 40
    assert counted(behind, "coldspan.call.duration") == 6 * 40


def counted(collector, name):
    """How many observations of a distribution have arrived."""
    return sum(
        point.count
        for message in collector.messages("/v1/metrics")
        for group in message.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.histogram.data_points
    )


def test_a_killed_invocation_arrives_with_what_it_was_stuck_on(start, behind):
    """The one trace that everybody looks for would be the one that is missing."""
    function = start(behind.url, timeout_s=TIMEOUT_S)
    function.invoke()
    answered = function.ask(do="sleep")
    assert answered.body.startswith(b"Task timed out")
    assert function.emulator.wait_for(lambda _: len(function.records()) == 2, 15), function.emulator.text
    record = function.records()[1]
    assert await_name(lambda: [span.name for span in behind.spans()], "ledger write", 1) == 1
    top = next(span for span in behind.spans() if attributes(span).get("faas.invocation_id") == record["request_id"])
    # on demand the emulator passes no trace on: all parts of one still belong together
    spans = {span.name: span for span in behind.spans() if span.trace_id == top.trace_id}
    told = attributes(top)
    assert top.status.code == ERROR
    assert (told["coldspan.outcome"], told["error.type"]) == ("timeout", "Sandbox.Timedout")
    assert told["coldspan.told_by"] == "black_box"
    assert told["coldspan.evidence"] == record["evidence"]
    stacks = [attributes(event)["code.stacktrace"] for event in top.events if event.name == "coldspan.stack"]
    assert any("kills.py" in stack and "sleep" in stack for stack in stacks)
    assert [event.name for event in top.events][-1] == "coldspan.killed"
    still_open, ended = spans["ledger write"], spans["ledger read"]
    assert attributes(still_open)["coldspan.status"] == "in_flight"
    assert {still_open.parent_span_id, ended.parent_span_id} == {top.span_id}
    assert abs(still_open.end_time_unix_nano - top.end_time_unix_nano) < 2_000_000
    assert ended.end_time_unix_nano < still_open.end_time_unix_nano


# --- destinations that fail ---------------------------------------------------------------------------------------


def side_by_side(start, url, compression, between=lambda number: None):
    """The same invocations with and without the black box, in turns: (function with it, how long each was held)."""
    function = start(url, compression=compression)
    plain = start(url, with_black_box=False)
    function.timed(), plain.timed()  # the init, which neither is measured by
    took, alone = [], []
    for number in range(INVOCATIONS):
        between(number)
        status, body, took_ms = function.timed(number=number)
        other_status, other_body, other_ms = plain.timed(number=number)
        assert (status, body) == (other_status, other_body) == (200, {"tools": 1, "number": number})
        took.append(took_ms)
        alone.append(other_ms)
    usual_ms = statistics.median(alone)
    held = [each - usual_ms for each in took]
    # the machine's own hiccups show in the other function, too
    assert max(held) < HELD_MS * 1.3 + (max(alone) - usual_ms), held
    return function, held


def is_accounted_for(function, arrived):
    """Whether each record has arrived or is counted as dropped, once the environment has ended."""
    function.emulator.shutdown()
    dropped = function.dropped()
    assert {reason.partition("_")[0] for reason in dropped} == {"otlp"}, dropped
    assert arrived + sum(dropped.values()) == function.recorded(), (arrived, dropped)
    return dropped


def test_a_destination_that_is_not_there_costs_no_invocation_and_is_counted(start):
    """A collector that is down would slow down every function that sends to it."""
    function, held = side_by_side(start, f"http://127.0.0.1:{free_port()}", "gzip")
    # once it is known to be down, nobody waits for it
    assert sum(each > HELD_MS / 2 for each in held) <= 4, held
    is_accounted_for(function, 0)


def test_a_destination_that_hangs_costs_no_more_than_the_documented_time_and_is_counted(start, receiver):
    """It takes the connection and answers nothing: each answer would wait for it until the deadline."""
    tap = Oteltap(receiver)
    tap.receiver.hang()
    function, held = side_by_side(start, tap.receiver.url, tap.compression)
    assert sum(each > HELD_MS / 2 for each in held) <= 6, held
    is_accounted_for(function, 0)


def test_a_destination_that_is_killed_in_the_middle_costs_no_invocation_and_is_counted(start, receiver):
    """What had arrived stays, what had not is counted, and no answer changes."""
    tap = Oteltap(receiver)

    def kill(number):
        if number == INVOCATIONS // 2:
            assert await_name(tap.names, "coldspan-test", 1) >= 1
            tap.receiver.kill()

    function, held = side_by_side(start, tap.receiver.url, tap.compression, kill)
    assert sum(each > HELD_MS / 2 for each in held) <= 4, held
    log = tap.receiver.log.read_text()
    arrived = sum(record["request_id"] in log for record in function.records())
    assert arrived >= 1
    dropped = is_accounted_for(function, 2 * arrived)  # an invocation's line, and that of its one tool
    assert sum(dropped.values()) >= 2
