"""Tells of what a killed process had not told of: its journal becomes records in this process's drain."""

from coldspan.core.journal import read
from coldspan.core.killed import Evidence, post_mortem
from coldspan.core.others import others_trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.drain.claims import Claimed
    from coldspan.drain.flush import Drain


def tell(drain: "Drain", claimed: "Claimed") -> None:
    """Queue the records of a dead process's invocations. Its journal is deleted once the last of them has left."""
    scope, settings = drain.scope, drain.settings
    dead = read(claimed.data())
    told = post_mortem(dead, Evidence(scope.clock(), scope.wall())) if dead is not None else []
    lines: "list[tuple[Any, bytes]]" = []
    for invocation, results, more in told:
        facts = {**drain.facts, **more, "told_by": "next_init"}
        encoded = drain.emf.invocation_lines(invocation, results, facts)
        if settings.emf:
            lines += [(drain.write, line) for line in encoded]
        if drain.seam.blackbox is not None:
            drain.export(encoded, invocation)
        trace = invocation.trace
        xray = drain.xray_encoder() if trace is not None and trace.sampled else None
        if xray is not None:
            if settings.xray == "auto" and others_trace():
                results = []  # noqa: PLW2901  # its calls are another tracer's
            lines += [(drain.send_datagram, each) for each in xray.datagrams(invocation, results, facts)]
    for index, (send, line) in enumerate(lines, 1):
        drain.queue(send, line, None, claimed.forget if index == len(lines) else None)
    if not lines:
        claimed.forget()
