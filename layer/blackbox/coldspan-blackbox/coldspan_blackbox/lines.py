"""Lines of embedded metric format on the extension's own stdout, which is the function's log group.

What the recorder's encoder makes of an invocation is not made here a second time: these lines are the extension's own,
a few metrics and facts each, and worth no import of 40 M instructions.
"""

from posix import write as posix_write
from time import time_ns

from coldspan_blackbox.jsontext import dumps, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

STDOUT = 1
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


def write(line: bytes) -> bool:
    """Write a whole line, by one call where the pipe takes it. False when nothing of it could be written."""
    try:
        sent = posix_write(STDOUT, line)
        while sent < len(line):
            sent += posix_write(STDOUT, line[sent:])
    except OSError:
        return False
    return True


class Lines:
    """Makes and writes the lines of one function."""

    __slots__ = ("_head", "_write", "counts", "enabled", "export")

    def __init__(self, namespace: str, function: str, enabled: bool, sink: "Callable[[bytes], bool]" = write) -> None:
        name = "".join([c for c in namespace if " " <= c <= "~"])[:1024].lstrip(": ").rstrip()
        self._head = quote(name or "coldspan"), quote(dimension(function))
        self._write = sink
        self.enabled = enabled
        self.export: "Callable[[bytes], None] | None" = None  # exporters get every line, too

    def tell(self, metrics: "dict[str, float]", properties: "dict[str, Any]", timestamp_ms: int = 0) -> None:
        """One line. timestamp_ms: epoch ms, 0 for now."""
        self.put(self.encode(metrics, properties, timestamp_ms or time_ns() // 1_000_000))

    def put(self, line: bytes, exported: bytes = b"") -> None:
        """Write a line that is encoded, newline included, and hand it to the exporters, or what they are to have."""
        if self.enabled:
            self._write(line)
        if self.export is not None:
            self.export(exported or line)

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
