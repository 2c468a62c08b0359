"""What went wrong and what was dropped, by name; and the broad `except` of the extension."""

from time import monotonic_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TOLD_EVERY_NS = 60_000_000_000


class Counts:
    """Faults by step and drops by reason, until somebody tells them."""

    __slots__ = ("_told_ns", "drops", "fault", "faults", "refusals")

    def __init__(self) -> None:
        self.faults: "dict[str, int]" = {}
        self.drops: "dict[str, int]" = {}  # what an exporter should have had
        self.refusals: "dict[str, int]" = {}  # what came in and could not be read
        self.fault = ""  # the first one: type and line, never its text
        self._told_ns = -TOLD_EVERY_NS

    def attempt(self, step: str, function: "Callable[..., Any]", *arguments: "Any") -> "Any":
        """What the function returns, or None when it raised: an extension that ends spoils the handler's answer."""
        try:
            return function(*arguments)
        except BaseException as error:  # noqa: BLE001  # SystemExit too, until the platform says SHUTDOWN
            self.failed(step, error)
            return None

    def failed(self, step: str, error: BaseException) -> None:
        """Count a fault of ours."""
        self.faults[step] = self.faults.get(step, 0) + 1
        if not self.fault:
            trace = error.__traceback__
            while trace is not None and trace.tb_next is not None:
                trace = trace.tb_next
            line = trace.tb_lineno if trace is not None else 0
            name = trace.tb_frame.f_code.co_name if trace is not None else ""
            self.fault = "%s: %s in %s:%d" % (step, type(error).__name__, name, line)

    def drop(self, reason: str, count: int = 1) -> None:
        """Count what no exporter will get."""
        self.drops[reason] = self.drops.get(reason, 0) + count

    def refuse(self, reason: str) -> None:
        """Count what arrived at a door of ours and is not what belongs there."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def due(self, now_ns: int) -> bool:
        """Whether there is something to tell and the last time is long enough ago."""
        return bool(self.faults or self.drops or self.refusals) and now_ns - self._told_ns >= TOLD_EVERY_NS

    def take(self, now_ns: "int | None" = None) -> "tuple[dict[str, float], dict[str, Any]]":
        """Metrics (name -> count) and properties to be told; everything is at zero afterwards."""
        metrics: "dict[str, float]" = {}
        properties: "dict[str, Any]" = {}
        if self.drops:
            metrics["ExportDropped"] = sum(self.drops.values())
            properties["export_dropped"] = self.drops
        if self.faults:
            metrics["BlackBoxFaults"] = sum(self.faults.values())
            properties["faults"] = self.faults
            properties["first_fault"] = self.fault
        if self.refusals:
            metrics["BlackBoxRefused"] = sum(self.refusals.values())
            properties["refused"] = self.refusals
        self.faults, self.drops, self.refusals, self.fault = {}, {}, {}, ""
        self._told_ns = monotonic_ns() if now_ns is None else now_ns
        return metrics, properties
