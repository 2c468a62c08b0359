"""The trace header: what Lambda sends, what goes on, what is refused."""

import pytest

from coldspan.core.record import Invocation
from coldspan.core.trace import parse, traceparent, xray_header

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
PARENT = "53995c3f42cd8ad8"


def test_a_header_is_taken_apart():
    """The three parts that Lambda always sends."""
    trace = parse(f"Root={ROOT};Parent={PARENT};Sampled=1")
    assert (trace.root, trace.parent, trace.sampled, trace.rest) == (ROOT, PARENT, True, [])
    assert trace.trace_id == "5759e988bd862e3fe1be46a994272793"


@pytest.mark.parametrize("parent", [PARENT.upper(), "g" * 16, "5_995c3f42cd8ad8", "+3995c3f42cd8ad8", "\u0665" * 16])
def test_a_parent_that_is_no_id_is_no_parent(parent):
    """It would make our subsegment hang on nothing, and X-Ray would drop it."""
    expected = PARENT if parent.lower() == PARENT else ""
    assert parse(f"Root={ROOT};Parent={parent};Sampled=1").parent == expected


@pytest.mark.parametrize("flag", ["Sampled=0", "Sampled=?", "Sampled=", "", "Sampled=true"])
def test_anything_but_sampled_1_is_not_sampled(flag):
    """A missing or `?` value leaves the decision to somebody else: not to us."""
    assert parse(f"Root={ROOT};Parent={PARENT};{flag}").sampled is False


def test_unknown_parts_go_on_and_self_does_not():
    """Lineage is Lambda's loop detection; Self belongs to the hop it was written on."""
    trace = parse(f"Self=1-x;Root={ROOT};Parent={PARENT};Sampled=0;Lineage=a87bd80c:1|68fd508a:5;Extra=1")
    ours = "Parent=0000000000000abc"
    assert xray_header(trace, 0xABC) == f"Root={ROOT};{ours};Sampled=0;Lineage=a87bd80c:1|68fd508a:5;Extra=1"


def test_a_header_without_decision_goes_on_without_one():
    """We do not decide for those who come after."""
    assert xray_header(parse(f"Root={ROOT}"), 1) == f"Root={ROOT};Parent=0000000000000001"


@pytest.mark.parametrize(
    "text", [None, "", "junk", "Root=1-zz-00", f"Root=2{ROOT[1:]}", "Root=" + ROOT[:-1], "Root=1-" + "é" * 32]
)
def test_what_is_no_header_is_no_trace(text):
    """A malformed header must not become a malformed one downstream."""
    assert parse(text) is None


def test_traceparent_has_the_same_position():
    """W3C Trace Context: version, 32 digits, 16 digits, flags."""
    sampled = traceparent(parse(f"Root={ROOT};Sampled=1"), 0xABC)
    assert sampled == "00-5759e988bd862e3fe1be46a994272793-0000000000000abc-01"
    assert traceparent(parse(f"Root={ROOT};Sampled=0"), 0xABC).endswith("-00")


def test_an_invocation_takes_its_header_apart_when_asked():
    """Most invocations never need it before the drain."""
    invocation = Invocation("invocation", "r", 1, 0, 0)
    assert invocation.trace is None
    invocation.trace_text = f"Root={ROOT};Parent={PARENT};Sampled=1"
    assert invocation.trace.parent == PARENT
    assert invocation.trace is invocation.trace
