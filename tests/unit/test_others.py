"""When another instrument counts as sending a span for each call."""

import sys
from types import SimpleNamespace

import pytest

from coldspan.core.others import others_trace

WATCHED = ("aws_xray_sdk.core.patcher", "opentelemetry.trace", "ddtrace.trace")


class NoOpTracerProvider:
    pass


def patcher(*names):
    return {"aws_xray_sdk.core.patcher": SimpleNamespace(_PATCHED_MODULES=set(names))}


def provider(found):
    return {"opentelemetry.trace": SimpleNamespace(_TRACER_PROVIDER=found)}


def sdk(*processors, disabled=False):
    multi = SimpleNamespace(_span_processors=processors)
    return provider(SimpleNamespace(_active_span_processor=multi, _disabled=disabled))


def tracer(**attributes):
    return {"ddtrace.trace": SimpleNamespace(tracer=SimpleNamespace(**attributes))}


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        pytest.param({}, False, id="none"),
        pytest.param(patcher(), False, id="X-Ray SDK that patched nothing"),
        pytest.param(patcher("sqlite3", "pymysql"), False, id="X-Ray SDK on databases alone"),
        pytest.param(patcher("sqlite3", "botocore"), True, id="X-Ray SDK on botocore"),
        pytest.param(patcher("httpx"), True, id="X-Ray SDK on httpx"),
        pytest.param(provider(None), False, id="OpenTelemetry's API alone"),
        pytest.param(provider(NoOpTracerProvider()), False, id="OpenTelemetry's provider of nothing"),
        pytest.param(sdk(), False, id="OpenTelemetry's SDK that sends nowhere"),
        pytest.param(sdk("exporter", disabled=True), False, id="OpenTelemetry's SDK turned off"),
        pytest.param(sdk("exporter"), True, id="OpenTelemetry's SDK"),
        pytest.param(provider(object()), True, id="somebody's own provider"),
        pytest.param(tracer(enabled=False), False, id="ddtrace turned off"),
        pytest.param(tracer(enabled=True), True, id="ddtrace"),
        pytest.param({"ddtrace.trace": SimpleNamespace()}, False, id="ddtrace half imported"),
    ],
)
def test_another_instrument_counts_only_when_it_sends(monkeypatch, modules, expected):
    """What is merely installed or imported must not take our calls out of the trace; what sends must not be doubled."""
    for name in WATCHED:
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert others_trace() is expected


def test_the_names_looked_at_are_those_of_the_opentelemetry_sdk(monkeypatch):
    """The detection reads private names: where a release changes them, this says so (tests/e2e for the others)."""
    import opentelemetry.trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    for name in WATCHED[::2]:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(opentelemetry.trace, "_TRACER_PROVIDER", TracerProvider(shutdown_on_exit=False))
    assert not others_trace()
    opentelemetry.trace._TRACER_PROVIDER.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    assert others_trace()
