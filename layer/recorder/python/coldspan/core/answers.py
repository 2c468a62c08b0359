"""What a handler's answer or the runtime's error says of an invocation, where it says anything."""

from json import loads

from coldspan.core import limits, trigger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.core.record import Invocation


def read_answer(invocation: "Invocation", result: "Any") -> None:
    """Read what is a success for the platform: records given back, work pending, a failed tool."""
    invocation.batch_failures = trigger.batch_failures(result)
    invocation.outcome = trigger.durable_outcome(invocation.trigger, result)
    if invocation.outcome == "error":
        invocation.error_type = "DurableExecutionFailed"
    failure = trigger.tool_error(invocation.trigger, result)
    if failure:
        invocation.outcome = "error"
        invocation.error_type = failure


def read_error(invocation: "Invocation", body: "Any", with_text: bool) -> None:
    """Read the runtime's error, for one that the handler did not raise: no event, or a result that is none."""
    error = loads(body)
    invocation.error_type = error.get("errorType", "")
    if with_text:
        invocation.error_text = error.get("errorMessage", "")[: limits.RAW_TEXT_CHARS]
