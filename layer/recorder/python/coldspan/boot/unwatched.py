"""An invocation without a runtime client to watch (a runtime of somebody's own): the handler's bounds must do."""

from os import environ

from coldspan.core.record import Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.boot.seam import Seam


def begin_unwatched(seam: "Seam", args: "tuple[Any, ...]", kwargs: "dict[str, Any]", entered: int) -> "Invocation":
    """Give the Invocation of a handler that is about to run; `args` and `kwargs` are the handler's."""
    seam.end_init()
    if not seam.journal_tried:
        seam.open_journal()
    scope = seam.scope
    context = args[1] if len(args) > 1 else kwargs.get("context")
    invocation = Invocation(
        "invocation", getattr(context, "aws_request_id", "") or "", scope.new_id(), entered, scope.wall()
    )
    invocation.trace_text = environ.get("_X_AMZN_TRACE_ID", "")
    invocation.function_arn = getattr(context, "invoked_function_arn", "") or ""
    invocation.tenant_id = getattr(context, "tenant_id", "") or ""
    invocation.flush = "before_response"
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is not None:
        invocation.deadline_ms = scope.wall() // 1_000_000 + int(remaining())
    seam.enter_environment(invocation, entered)
    return invocation
