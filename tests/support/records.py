"""Makes invocations and calls for the tests of the encoders, as the hot path would have left them."""

from coldspan.core.record import AWS, Call, Invocation
from coldspan.core.result import to_result
from coldspan.core.trace import parse

EPOCH_NS = 1_795_397_120_187_654_321  # 2026-11-23
NOW_MS = EPOCH_NS // 1_000_000
HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
MS = 1_000_000


def invocation(**changes):
    """A warm, successful invocation of 25 ms; `changes` are attributes."""
    made = Invocation("invocation", "8476a536-e9f4-11e8-9739-2dfe598c3fcd", 0x1234567890ABCDEF, 7_000_000_000, EPOCH_NS)
    made.end_ns = made.start_ns + 25 * MS
    made.handler_ns, made.cpu_ns, made.overhead_ns = 24 * MS, 5 * MS, 33_000
    made.outcome, made.trigger = "ok", "sqs"
    made.deadline_ms = NOW_MS + 3_000
    made.trace = parse(HEADER)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def call(owner, tool="dynamodb", operation="PutItem", *, parent=None, at_ms=1, ms=5, kind=AWS, **changes):
    """A finished call that began `at_ms` after the invocation and took `ms`; it is added to the invocation."""
    number = len(owner.calls) + 1
    made = Call(owner, parent or owner, kind, tool, operation, 0xAAAA000000000000 + number, owner.epoch_ns + at_ms * MS)
    made.start_ns = owner.start_ns + at_ms * MS
    made.end_ns = made.start_ns + ms * MS
    made.http_status = 200
    for name, value in changes.items():
        setattr(made, name, value)
    owner.calls.append(made)
    return made


def results(owner):
    """The records of the invocation's calls."""
    return [to_result(one) for one in owner.calls]
