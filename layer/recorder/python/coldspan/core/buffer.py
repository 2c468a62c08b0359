"""What waits between the hot path and the drain, what was lost on the way, and the guard around our own steps."""

from coldspan.core import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    from coldspan.core.record import Call, Invocation

    P = ParamSpec("P")
    R = TypeVar("R")

_TAKES_ARGS = 0x04  # inspect.CO_VARARGS
_TAKES_MORE = 0x0C  # and inspect.CO_VARKEYWORDS


class Buffer:
    """Finished invocations and stray calls that wait for a drain, and the counts of what did not fit or went wrong.

    `waiting` holds closed Invocations, oldest first; `strays` holds Calls that ended outside a live invocation (init,
    background, late). `drops` and `errors` map a reason or a step to its count; the drain reports and clears them.
    """

    __slots__ = ("drops", "errors", "strays", "waiting")

    def __init__(self) -> None:
        self.waiting: "list[Invocation]" = []
        self.strays: "list[Call]" = []
        self.drops: "dict[str, int]" = {}
        self.errors: "dict[str, int]" = {}

    def drop(self, reason: str, count: int = 1) -> None:
        """Count something that will never leave."""
        self.drops[reason] = self.drops.get(reason, 0) + count

    def add_invocation(self, invocation: "Invocation") -> None:
        """Queue a finished invocation; the oldest makes room, because the newest is the one being looked for."""
        if len(self.waiting) >= limits.INVOCATIONS_WAITING:
            lost = self.waiting.pop(0)
            self.drop("invocations_buffer_full")
            if lost.calls:
                self.drop("calls_buffer_full", len(lost.calls))
        self.waiting.append(invocation)

    def add_stray(self, call: "Call") -> None:
        """Queue a call that ended outside a live invocation."""
        if len(self.strays) >= limits.CALLS_OUTSIDE:
            self.drop("calls_buffer_full")
        else:
            self.strays.append(call)

    def shielded(self, step: "Callable[P, R]") -> "Callable[P, R | None]":
        """Wrap a step of ours so that its fault costs one count and gives None: the recorder's only broad except."""
        name = step.__name__
        count = _count_of_args(step)
        run: "Any" = step
        guarded: "Any"
        # Calls that name their arguments cost half of those that pass on `*args`; the handler stands in each, because
        # at the limit of the stack a call of ours, to handle a RecursionError, would raise the next one.
        if count == 1:

            def guarded(a: "Any") -> "Any":
                try:
                    return run(a)
                except Exception as error:
                    if type(error) is not RecursionError and raised_by_signal(error):
                        raise
                    errors = self.errors
                    errors[name] = errors[name] + 1 if name in errors else 1
                    return None

        elif count == 2:

            def guarded(a: "Any", b: "Any") -> "Any":
                try:
                    return run(a, b)
                except Exception as error:
                    if type(error) is not RecursionError and raised_by_signal(error):
                        raise
                    errors = self.errors
                    errors[name] = errors[name] + 1 if name in errors else 1
                    return None

        elif count == 3:

            def guarded(a: "Any", b: "Any", c: "Any") -> "Any":
                try:
                    return run(a, b, c)
                except Exception as error:
                    if type(error) is not RecursionError and raised_by_signal(error):
                        raise
                    errors = self.errors
                    errors[name] = errors[name] + 1 if name in errors else 1
                    return None

        else:

            def guarded(*args: "Any", **kwargs: "Any") -> "Any":
                try:
                    return run(*args, **kwargs)
                except Exception as error:  # the contract: a fault of ours is counted, never raised
                    if type(error) is not RecursionError and raised_by_signal(error):
                        raise
                    errors = self.errors
                    errors[name] = errors[name] + 1 if name in errors else 1
                    return None

        return guarded  # type: ignore[no-any-return]  # its arguments depend on the count


def _count_of_args(step: "Any") -> int:
    """How many arguments a step takes, all by position; -1 when that is not fixed."""
    code = getattr(step, "__code__", None)
    if code is None or step.__defaults__ or code.co_kwonlyargcount or code.co_flags & _TAKES_MORE:
        return -1
    return int(code.co_argcount) - hasattr(step, "__self__")


def raised_by_signal(error: "BaseException") -> bool:
    """Whether a signal handler of the customer's raised it while our code ran, as time limits do: not ours to stop.

    It shows by a function on the exception's way that was given the frame below it, as signal handlers are.
    """
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        frame = trace.tb_frame
        trace = trace.tb_next
        code = trace.tb_frame.f_code
        values = trace.tb_frame.f_locals
        for name in code.co_varnames[: code.co_argcount + bool(code.co_flags & _TAKES_ARGS)]:
            value = values.get(name)
            if value is frame or (type(value) is tuple and any([part is frame for part in value[:2]])):
                return True
    return False
