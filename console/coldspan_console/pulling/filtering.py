"""FilterLogEvents: for short times, and where Logs Insights is refused. It costs nothing, and takes its time."""

from typing import TYPE_CHECKING, Any

from coldspan_console.pulling.account import told_clearly
from coldspan_console.pulling.insights import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# any of these terms. Source: CloudWatch Logs user guide, "Filter pattern syntax", "Match terms ... OR"
PATTERN = '?"_aws" ?"deadline_near" ?"platform.report" ?"REPORT RequestId"'


def filter_events(
    logs: Any, group: str, since_ms: int, until_ms: int, *, pattern: str = PATTERN, streams: "tuple[str, ...]" = (),
    advance: "Callable[[int], object]" = lambda _: None,
) -> "Iterator[Event]":  # fmt: skip
    """The events from one time to another (epoch ms, the second exclusive) that have one of our terms."""
    asked: dict[str, Any] = {"logGroupName": group, "startTime": since_ms, "endTime": until_ms}
    if pattern:
        asked["filterPattern"] = pattern
    if streams:
        asked["logStreamNames"] = list(streams)
    with told_clearly("FilterLogEvents"):
        for page in logs.get_paginator("filter_log_events").paginate(**asked):
            advance(len(page["events"]))
            for event in page["events"]:
                at_ms = int(event.get("timestamp", 0))
                if since_ms <= at_ms < until_ms:
                    yield Event(
                        event.get("message", ""), at_ms, event.get("logStreamName", ""), event.get("eventId", "")
                    )


__all__ = ["filter_events"]
