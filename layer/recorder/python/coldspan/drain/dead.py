"""Tells of what a killed process had not told of: its journal becomes records in this process's drain."""

from functools import partial

from coldspan.core.journal import read
from coldspan.core.killed import Evidence, is_without_trace, post_mortem
from coldspan.core.others import others_trace
from coldspan.drain.claims import watch_closely

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.drain.claims import Claimed
    from coldspan.drain.flush import Drain


def tell(drain: "Drain", claimed: "Claimed") -> None:
    """Queue the records of a dead process's invocations. Its journal is deleted once the last of them has left."""
    scope, settings = drain.scope, drain.settings
    dead = read(claimed.data())
    told = post_mortem(dead, Evidence(scope.clock())) if dead is not None else []
    lines: "list[tuple[Any, bytes, Any]]" = []
    for invocation, results, more in told:
        facts = {**drain.facts, **more, "told_by": "next_init"}
        if is_without_trace(invocation.outcome, more):
            _watch_closely(drain)
        encoded = drain.emf.invocation_lines(invocation, results, facts)
        # the first line is the invocation: with it, it has been told, whatever becomes of the others
        told_one = partial(claimed.told, invocation.serial)
        if settings.emf:
            lines += [(drain.write, line, None if index else told_one) for index, line in enumerate(encoded)]
        if drain.seam.blackbox is not None:
            drain.export(encoded, invocation)
        trace = invocation.trace
        xray = drain.xray_encoder() if trace is not None and trace.sampled else None
        if xray is not None:
            if settings.xray == "auto" and others_trace():
                results = []  # noqa: PLW2901  # its calls are another tracer's
            lines += [(drain.send_datagram, each, None) for each in xray.datagrams(invocation, results, facts)]
    for send, line, then in lines:
        drain.queue(send, line, None, then)
    drain.queue(_nothing, b"", None, claimed.forget)


def _nothing(_line: bytes) -> bool:
    """What stands behind the last line, to delete the journal when all of them have left."""
    return True


def _watch_closely(drain: "Drain") -> None:
    """Arm faulthandler for every invocation from now on: what was lost without a trace may be lost so again."""
    seam = drain.seam
    watch_closely(drain.settings.journal_dir)
    seam.closely = True
    if seam.watcher is not None:
        seam.watch = seam.watcher.at_once
