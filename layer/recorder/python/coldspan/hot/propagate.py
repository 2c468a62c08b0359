"""The trace headers for hosts that COLDSPAN_PROPAGATE names."""

from functools import lru_cache

from coldspan.core.others import others_trace
from coldspan.core.trace import traceparent, xray_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from coldspan.core.record import Call

TRACEPARENT = "traceparent"
XRAY = "X-Amzn-Trace-Id"


def matcher(patterns: "Iterable[str]") -> "Callable[[str], bool] | None":
    """Give a function that says whether a host is named by one of the patterns; None when there are none.

    A pattern is a host (`api.example.com`) or has one `*` that stands for anything (`*.internal`); case does not count.
    """
    parts = [pattern.strip().lower().partition("*") for pattern in patterns if pattern.strip()]
    if not parts:
        return None

    @lru_cache(maxsize=256)
    def named(host: str) -> bool:
        host = host.lower().rstrip(".")
        return any(
            len(host) >= len(head) + len(tail) and host.startswith(head) and host.endswith(tail)
            if star
            else host == head
            for head, star, tail in parts
        )

    return named


def headers_for(call: "Call") -> "tuple[tuple[str, str], ...]":
    """The headers that make the call the parent of what it reaches, as (name, value); none without a trace.

    Beside another instrument no subsegment of the call is sent: then the parent is the invocation.
    """
    owner = call.owner
    trace = owner.trace
    if trace is None or not trace.root:
        return ()
    parent = owner.span_id if others_trace() else call.span_id
    return ((TRACEPARENT, traceparent(trace, parent)), (XRAY, xray_header(trace, parent)))
