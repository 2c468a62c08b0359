"""Hands records to the black box: one datagram each with its lines as they stand on stdout, to whoever listens there.

Only where COLDSPAN_EXPORT names an exporter. The first line names the format's version; who does not know it refuses.
"""

from os import getpid

from coldspan.core import limits
from coldspan.drain.daemon import Daemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldspan.core.record import Invocation

FORMAT = b"coldspan/1 "


class BlackBox(Daemon):
    """The black box's socket, in the abstract namespace: named for the Runtime API, it belongs to one environment."""

    __slots__ = ()

    def __init__(self, runtime_api: str) -> None:
        super().__init__("\0coldspan-" + runtime_api, "export")

    def greet(self) -> str:
        """Say that there is a recorder in this process: the black box waits for the ends of its invocations."""
        return self.send(FORMAT + b'hello\n{"pid":%d}' % getpid())

    def send_lines(self, lines: bytes) -> str:
        """Send documents as they stand on stdout, without the last newline."""
        return self.send(FORMAT + b"line\n" + lines.rstrip(b"\n"))

    def end(self, request_id: str) -> str:
        """Say that all of an invocation has been sent."""
        from json import dumps

        return self.send(FORMAT + b'end\n{"request_id":%s,"pid":%d}' % (dumps(request_id).encode(), getpid()))


def placed(lines: "Sequence[bytes]", invocation: "Invocation") -> "list[bytes]":
    """The lines with what only a trace needs in the first: the parent, whether it is sampled, links to the messages."""
    more = b""
    trace = invocation.trace
    if trace is not None:
        more = b',"parent_id":"%s","sampled":%s' % (trace.parent.encode(), b"true" if trace.sampled else b"false")
    if invocation.links:
        from json import dumps

        more += b',"trace_links":' + dumps(invocation.links).encode()
    if not more or not lines:
        return list(lines)
    return [lines[0].rstrip(b"\n")[:-1] + more + b"}\n", *lines[1:]]


def together(lines: "Sequence[bytes]") -> "list[bytes]":
    """The lines joined into as few datagrams as their limit allows; a longer line is one of its own."""
    joined: "list[bytes]" = []
    for line in lines:
        if joined and len(joined[-1]) + len(line) <= limits.EXPORT_DATAGRAM_BYTES:
            joined[-1] += line
        else:
            joined.append(line)
    return joined
