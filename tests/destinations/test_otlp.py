"""OTLP to real receivers: what arrives is read back; each is killed, hung and made to refuse in the middle."""

import threading
import time

import pytest

from support.collector import Collector, attributes
from support.exporting import ChildProcess, lines
from support.otlp_receivers import Oteltap, Rotel


@pytest.fixture
def behind():
    with Collector() as made:
        yield made


@pytest.fixture(params=["oteltap", "rotel"])
def tap(request, receiver, behind):
    """Each of the receivers."""
    return Oteltap(receiver) if request.param == "oteltap" else Rotel(receiver, behind)


def child(url, tap, **variables):
    return ChildProcess(
        COLDSPAN_EXPORT="otlp",
        OTEL_EXPORTER_OTLP_ENDPOINT=url,
        OTEL_EXPORTER_OTLP_COMPRESSION=tap.compression,
        **variables,
    )


def arrived(tap, name, count, within_s=30.0):
    """Wait until a span or metric has arrived so often; gives how often it has."""
    waited = threading.Event()
    for _ in range(int(within_s / 0.1)):
        if tap.names().count(name) >= count:
            break
        waited.wait(0.1)
    return tap.names().count(name)


def test_what_was_recorded_arrives(tap):
    """Spans or metrics would be malformed, and a real receiver refuse them."""
    with child(tap.receiver.url, tap) as exporters:
        assert exporters.ready == ("ready", {"exporters": ["otlp"], "refused": {}, "problems": []})
        for _ in range(5):
            exporters.tell(*lines(metrics=[("Orders", 2, "Count"), ("Basket", 12.5, "Bytes")]))
        assert exporters.settled() == (15, {})
        assert exporters.shutdown()["waiting"] == 0
        assert exporters.process.wait(20) == 0
    assert arrived(tap, "orders", 5) == 5
    assert arrived(tap, "DynamoDB.PutItem", 5) == 5
    for name in ("faas.invoke_duration", "faas.invocations", "coldspan.call.duration", "Orders", "Basket"):
        assert arrived(tap, name, 1) >= 1


def test_a_receiver_that_is_killed_costs_nothing_when_it_comes_back(tap):
    """What was recorded while a collector was restarted would be lost."""
    with child(tap.receiver.url, tap) as exporters:
        exporters.tell(*lines())
        assert exporters.settled() == (2, {})
        assert arrived(tap, "orders", 1) == 1
        tap.receiver.kill()
        for _ in range(3):
            exporters.tell(*lines())
        assert exporters.flush(2.0)["waiting"] == 6
        tap.receiver.start()
        assert exporters.settled() == (8, {})
    assert arrived(tap, "orders", 4) == 4


def test_a_receiver_that_hangs_holds_up_no_flush_beyond_its_time(tap):
    """The environment would be kept awake, and billed, for a collector that does not answer."""
    with child(tap.receiver.url, tap) as exporters:
        exporters.tell(*lines())
        exporters.settled()
        tap.receiver.hang()
        exporters.tell(*lines())
        began = time.monotonic()
        told = exporters.flush(1.0)
        assert time.monotonic() - began < 2.0
        assert told["waiting"] == 2
        tap.receiver.go_on()
        assert exporters.settled() == (4, {})
    assert arrived(tap, "orders", 2) >= 2  # what was not answered may have been taken: at least once, not once


def test_what_a_hung_receiver_has_not_taken_at_the_shutdown_is_counted(tap):
    """It would be missing, and nobody know."""
    with child(tap.receiver.url, tap) as exporters:
        tap.receiver.hang()
        exporters.tell(*lines())
        began = time.monotonic()
        exporters.shutdown(1.0)
        assert exporters.process.wait(20) == 0
        assert time.monotonic() - began < 5.0
        assert (exporters.sent, exporters.dropped) == (0, {"otlp_deadline": 2})


@pytest.mark.parametrize(("status", "dropped"), [(503, 0), (429, 0), (400, 2), (401, 2)])
def test_a_refusal_in_the_middle_is_tried_again_or_counted(tap, gatekeeper, status, dropped):
    """A refusal would cost what could be sent again, or hold up for ever what cannot."""
    gate = gatekeeper(tap.receiver.url)
    with child(gate.url, tap) as exporters:
        exporters.tell(*lines())
        exporters.settled()
        gate.status = status
        exporters.tell(*lines())
        exporters.flush(2.0)
        gate.status = 0
        exporters.tell(*lines())
        sent, counts = exporters.settled()
        assert (sent, counts) == (6 - dropped, {f"otlp_http_{status}": dropped} if dropped else {})
    expected = 3 if not dropped else 2
    assert arrived(tap, "orders", expected) == expected


def test_a_receiver_that_is_never_there_costs_memory_no_more_than_the_queue(tap):
    """A collector that is down for a day would end in a kill for lack of memory."""
    tap.receiver.kill()
    with child(tap.receiver.url, tap, COLDSPAN_EXPORT_QUEUE_KB="256") as exporters:
        before = exporters.rss_bytes()
        line = lines()[0]
        for _ in range(40):
            exporters.tell(*[line] * 100)
            exporters.flush(0.2)
        told = exporters.flush(0.2)
        assert exporters.rss_bytes() - before < 24_000_000
        assert 0 < told["waiting"] < 400
        assert told["waiting"] + sum(exporters.dropped.values()) == 4_000
        assert set(exporters.dropped) <= {"otlp_queue_full", "otlp_circuit_open", "otlp_retries_exhausted"}
        exporters.shutdown(1.0)
        assert sum(exporters.dropped.values()) == 4_000


def test_the_resource_names_the_function(receiver, behind):
    """Back ends group by it."""
    tap = Rotel(receiver, behind)
    with child(tap.receiver.url, tap, OTEL_SERVICE_NAME="till") as exporters:
        exporters.tell(*lines())
        exporters.settled()
    assert arrived(tap, "orders", 1) == 1
    told = attributes(behind.messages("/v1/traces")[0].resource_spans[0].resource)
    assert (told["service.name"], told["faas.name"], told["cloud.region"]) == ("till", "orders", "eu-west-1")
