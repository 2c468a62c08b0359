from types import SimpleNamespace

import pytest

from coldspan.core.trace import parse
from coldspan.hot.propagate import headers_for, matcher


@pytest.mark.parametrize(
    ("patterns", "host", "named"),
    [
        (("api.example.com",), "api.example.com", True),
        (("api.example.com",), "API.Example.com", True),
        (("API.example.com ",), "api.example.com.", True),
        (("api.example.com",), "xapi.example.com", False),
        (("api.example.com",), "api.example.com.evil.net", False),
        (("*.internal",), "a.b.internal", True),
        (("*.internal",), "internal", False),
        (("*.internal",), "evil-internal", False),
        (("api.*.example.com",), "api.eu.example.com", True),
        (("api.*.example.com",), "api.example.com", False),
        (("ab*ba",), "aba", False),
        (("*",), "anything", True),
        (("one.net", "two.net"), "two.net", True),
    ],
)
def test_a_host_is_named_by_a_pattern_and_by_no_likeness_of_it(patterns, host, named):
    """The trace goes to a host nobody named, or not to one that was."""
    assert matcher(patterns)(host) is named


@pytest.mark.parametrize("patterns", [(), ("",), (" ",)])
def test_no_patterns_mean_no_matcher(patterns):
    """Every request pays for a feature that is off."""
    assert matcher(patterns) is None


def test_headers_carry_the_calls_span_and_unknown_parts():
    """The trace goes on under the wrong parent, or loses what it carried."""
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a:1"
    call = SimpleNamespace(owner=SimpleNamespace(trace=parse(header)), span_id=0xABC)
    assert dict(headers_for(call)) == {
        "traceparent": "00-5759e988bd862e3fe1be46a994272793-0000000000000abc-00",
        "X-Amzn-Trace-Id": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=0000000000000abc;Sampled=0;Lineage=a:1",
    }


def test_without_a_trace_there_are_no_headers():
    """A trace is invented."""
    assert not headers_for(SimpleNamespace(owner=SimpleNamespace(trace=None), span_id=1))
