"""Hands records to the black box: one datagram each with its lines as they stand on stdout, to whoever listens there.

Only where COLDSPAN_EXPORT names an exporter. The first line names the format's version; who does not know it refuses.
"""

from os import getpid, sched_yield

from coldspan.core import limits
from coldspan.drain.daemon import Daemon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FORMAT = b"coldspan/1 "
LINE = FORMAT + b"line\n"
FULL = "export_socket_full"


class BlackBox(Daemon):
    """The black box's socket, in the abstract namespace: named for the Runtime API, it belongs to one environment."""

    __slots__ = ("is_stuck",)

    def __init__(self, runtime_api: str) -> None:
        super().__init__("\0coldspan-" + runtime_api, "export")
        self.is_stuck = False

    def greet(self) -> str:
        """Say that there is a recorder in this process: the black box waits for the ends of its invocations."""
        return self.send(FORMAT + b'hello\n{"pid":%d}' % getpid())

    def end(self, request_id: str) -> bytes:
        """The message that all of an invocation has been sent."""
        from json import dumps

        return FORMAT + b'end\n{"request_id":%s,"pid":%d}' % (dumps(request_id).encode(), getpid())

    def send_all(
        self, waiting: "list[bytes]", clock: "Callable[[], int]", until: int, drop: "Callable[[str, int], None]"
    ) -> None:
        """Send what waits, in its order, and take it off the list. What does not fit stays, for the next drain.

        The queue holds few datagrams (net.unix.max_dgram_qlen, often 10). A full one has a reader that needs the
        processor, which is yielded meanwhile. One that was waited for in vain is not, until it has taken something.
        """
        sent = 0
        try:
            for message in waiting:
                if sent and clock() >= until:
                    return
                reason = self.send(message)
                while reason == FULL and not self.is_stuck and clock() < until:
                    sched_yield()
                    reason = self.send(message)
                if reason == FULL:
                    self.is_stuck = True
                    return
                sent += 1
                self.is_stuck = False
                if reason and message.startswith(LINE):
                    drop(reason, message.count(b"\n"))  # one for each document
        finally:
            del waiting[:sent]


def _small(lines: "Iterable[bytes]", drop: "Callable[[str, int], None]") -> "Iterable[bytes]":
    """The lines, with those split that no datagram takes: an invocation of a thousand calls has metrics like any."""
    for line in lines:
        if len(line) <= limits.EXPORT_LINE_BYTES:
            yield line
            continue
        from coldspan.core.emfsplit import split_again  # seldom needed

        drops: "dict[str, int]" = {}
        yield from split_again(line, limits.EXPORT_LINE_BYTES, drops)
        if drops:
            drop("export_trimmed", sum(drops.values()))


def add(waiting: "list[bytes]", lines: "Iterable[bytes]", drop: "Callable[[str, int], None]") -> None:
    """Put documents as they stand on stdout behind what waits, joined into as few datagrams as their limit allows."""
    joined: "list[bytes]" = []
    for line in _small(lines, drop):
        document = line.rstrip(b"\n")
        if joined and len(joined[-1]) + len(document) < limits.EXPORT_DATAGRAM_BYTES:
            joined[-1] += b"\n" + document
        else:
            joined.append(LINE + document)
    for message in joined:
        while len(waiting) >= limits.LINES_WAITING:
            lost = waiting.pop(0)
            if lost.startswith(LINE):
                drop("export_buffer_full", lost.count(b"\n"))
        waiting.append(message)
