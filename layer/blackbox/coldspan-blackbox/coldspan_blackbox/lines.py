"""Lines of embedded metric format on the extension's own stdout, which is the function's log group.

What the recorder's encoder makes of an invocation is not made here a second time: these lines are the extension's own,
a few metrics and facts each, and worth no import of 40 M instructions.
"""

import posix
from select import POLLOUT, poll
from time import time_ns

from coldspan_blackbox.jsontext import dumps, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan_blackbox.counts import Counts

STDOUT = 1
STDERR = 2
WAIT_MS = 100  # for a reader that does not read; then the line is lost, and counted
PIPE_BYTES = 4_096  # PIPE_BUF, pipe(7): so much room has a pipe that poll calls ready
FIONREAD = 0x541B  # ioctl_pipe(2), which has the module termios to itself
UNITS = {  # every metric of these lines
    "BilledDuration": "Milliseconds",
    "MaxMemoryUsed": "Megabytes",
    "MemorySize": "Megabytes",
    "PlatformInitDuration": "Milliseconds",
    "RestoreDuration": "Milliseconds",
    "ResponseLatency": "Milliseconds",
    "RuntimeOverhead": "Milliseconds",
    "ExtensionOverhead": "Milliseconds",
    "InitFailure": "Count",
    "CrashLoop": "Count",
    "UnusedInit": "Count",
    "MemoryNearLimit": "Count",
    "BlackBoxRefused": "Count",
    "BlackBoxFaults": "Count",
    "ExportersRefused": "Count",
    "ExportDropped": "Count",
}
NOT_EXPORTED = ("BlackBoxRefused", "BlackBoxFaults", "ExportersRefused", "ExportDropped")  # of the exporting itself


class Stdout:
    """Writes whole lines, and waits for no reader longer than an invocation may wait for us.

    The descriptor stays as it is: others may write to what it describes.
    """

    __slots__ = ("_blocked", "_to", "_torn", "_waiting")

    def __init__(self, descriptor: int = STDOUT) -> None:
        self._to = descriptor
        self._blocked = self._torn = False
        self._waiting = poll()
        self._waiting.register(descriptor, POLLOUT)

    def __call__(self, line: bytes) -> bool:
        """Write a line, by one call where the pipe takes it. False when not all of it could be written in time."""
        data = b"\n" + line if self._torn else line
        sent = 0
        try:
            while sent < len(data) and self._waiting.poll(0 if self._blocked else WAIT_MS):
                sent += posix.write(self._to, data[sent : sent + self._room(len(data) - sent)])
                self._blocked = False
        except OSError:
            pass
        self._blocked = sent < len(data)  # the next line does not wait
        self._torn = self._blocked and (self._torn or sent > 0)
        return not self._blocked

    def _room(self, wanted: int) -> int:
        """How much can be written to a pipe that is ready, without waiting."""
        if wanted <= PIPE_BYTES:
            return wanted
        from fcntl import F_GETPIPE_SZ, fcntl, ioctl

        try:
            unread = any(ioctl(self._to, FIONREAD, bytes(4)))
            return PIPE_BYTES if unread else max(PIPE_BYTES, fcntl(self._to, F_GETPIPE_SZ))
        except OSError:
            return wanted  # no pipe


def printer(local: str) -> "Callable[[bytes], bool]":
    """What writes a line as COLDSPAN_LOCAL wants it: `emf`, or under `sam local` its `tree`, or nothing (`off`)."""
    if local == "emf":
        return Stdout()
    if local == "off":
        return lambda _line: True
    from coldspan.core.tree import tree

    write = Stdout(STDERR)

    def write_tree(line: bytes) -> bool:
        text = tree(line)
        return not text or write(text)

    return write_tree


class Lines:
    """Makes and writes the lines of one function."""

    __slots__ = ("_head", "_write", "counts", "enabled", "export")

    def __init__(
        self, namespace: str, function: str, enabled: bool, sink: "Callable[[bytes], bool] | None" = None
    ) -> None:
        name = "".join([c for c in namespace if " " <= c <= "~"])[:1024].lstrip(": ").rstrip()
        self._head = quote(name or "coldspan"), quote(dimension(function))
        self._write = sink or Stdout()
        self.enabled = enabled
        self.counts: "Counts | None" = None  # of what could not be written
        self.export: "Callable[[bytes], None] | None" = None  # exporters get every line, too

    def tell(self, metrics: "dict[str, float]", properties: "dict[str, Any]", timestamp_ms: int = 0) -> None:
        """One line. timestamp_ms: epoch ms, 0 for now."""
        self.put(self.encode(metrics, properties, timestamp_ms or time_ns() // 1_000_000))

    def put(self, line: bytes, exported: bytes = b"", again: bool = False) -> bool:
        """Write a line that is encoded, newline included, and hand it to the exporters, or what they are to have.

        Gives whether it could be written; the exporters then have it all the same, unless it is to be tried `again`.
        """
        written = not self.enabled or self._write(line)
        if not written and self.counts is not None:
            self.counts.refuse("line_late" if again else "line_unwritten")
        if self.export is not None and (written or not again):
            self.export(exported or line)
        return written

    def encode(self, metrics: "dict[str, float]", properties: "dict[str, Any]", timestamp_ms: int) -> bytes:
        """The line's bytes. Source: CloudWatch EMF specification; at most 100 metrics, which none of ours nears."""
        namespace, function = self._head
        named = ",".join(['{"Name":"%s","Unit":"%s"}' % (name, UNITS.get(name, "Count")) for name in metrics])
        rest = dumps({**metrics, **properties})[1:]
        return (
            f'{{"_aws":{{"Timestamp":{timestamp_ms},"CloudWatchMetrics":[{{"Namespace":{namespace},'
            f'"Dimensions":[["function_name"]],"Metrics":[{named}]}}]}},"function_name":{function},{rest}\n'
        ).encode()


def dimension(text: str) -> str:
    """A legal dimension value: printable ASCII, not blank, at most 1024 characters."""
    return "".join([c if " " <= c <= "~" else "?" for c in text[:1024]]).strip() or "unknown"
