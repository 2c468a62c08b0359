"""`coldspan.tool`: a function whose every call is recorded."""

from functools import partial, update_wrapper
from types import CoroutineType

from coldspan.core import limits
from coldspan.core.record import USER
from coldspan.hot import scope as hot_scope
from coldspan.hot.byhand import running
from coldspan.hot.patch import drop_own_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator
    from contextvars import ContextVar
    from typing import Any

    from coldspan.core.record import Call, Invocation
    from coldspan.hot.byhand import _Steps as Running

# Bits of a code object's co_flags; `inspect` has names for them and costs 38 M instructions.
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


def tool(name: "Any" = None, operation: "Any" = None, *more: "Any") -> "Any":
    """Record each call of a function: `@coldspan.tool("pricing")`, or bare, `@coldspan.tool`, by the function's name.

    The operation is the function's name unless given. Plain, async, generator and async generator functions stay what
    they are. A generator is one call from its first step to its end; between the steps the caller's position holds. A
    returned dict with a literal `isError: True`, or an MCP CallToolResult that says so, fails the call with error.type
    tool_error.
    """
    if more:
        _refuse()
    if name is None or isinstance(name, str):
        return lambda function: _wrapped(function, name, operation)
    return _wrapped(name, None, operation)


def _refuse() -> None:
    if hot_scope.active is not None:
        hot_scope.active.buffer.drop("arguments_refused")


def _wrapped(function: "Any", name: "Any", operation: "Any") -> "Any":
    kind = type(function)
    if kind is staticmethod or kind is classmethod:
        return kind(_wrapped(function.__func__, name, operation))
    if not callable(function) or issubclass(kind, type):
        _refuse()
        return function
    own = getattr(function, "__name__", None) or kind.__name__
    flags = _flags(function)
    wrap: "Callable[..., Any]"
    if flags & (_COROUTINE | _ITERABLE_COROUTINE):
        wrap = _wrap_async
    elif flags & _ASYNC_GENERATOR:
        wrap = _wrap_async_generator
    elif flags & _GENERATOR:
        wrap = _wrap_generator
    else:
        wrap = _wrap_plain
    return update_wrapper(wrap(function, USER, _text(name or own), _text(operation or own)), function)


def _text(name: "Any") -> str:
    if not isinstance(name, str):
        _refuse()
        return "unknown"
    return str.__getitem__(name, slice(0, limits.XRAY_NAME_CHARS))


def _flags(function: "Any") -> int:
    while type(function) is partial:
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None:  # an object with a __call__
        code = getattr(getattr(type(function), "__call__", None), "__code__", None)  # noqa: B004  # for its code
    return getattr(code, "co_flags", 0)


def _wrap_plain(function: "Any", *names: str) -> "Callable[..., Any]":
    def wrapper(*args: "Any", **kwargs: "Any") -> "Any":
        steps = running()
        call = None if steps is None else steps.open(*names)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            if steps is not None and call is not None:
                steps.close(steps.scope, call, error, None, (args, kwargs))
            drop_own_frame(error)
            raise
        if steps is not None and call is not None:
            if type(result) is CoroutineType:  # an async function in disguise: the call ends when it does
                steps.scope.leave(call)
                return _followed(result, steps, call, (args, kwargs))
            steps.close(steps.scope, call, None, result, (args, kwargs))
        return result

    return wrapper


async def _followed(coroutine: "Any", steps: "Running", call: "Any", arguments: "tuple[Any, Any]") -> "Any":
    current = steps.scope.current
    before = current.get()
    current.set(call)
    try:
        result = await coroutine
    except BaseException as error:
        steps.close(steps.scope, call, error, None, arguments)
        current.set(before)
        drop_own_frame(error)
        raise
    steps.close(steps.scope, call, None, result, arguments)
    current.set(before)
    return result


def _wrap_async(function: "Any", *names: str) -> "Callable[..., Coroutine[Any, Any, Any]]":
    async def wrapper(*args: "Any", **kwargs: "Any") -> "Any":
        steps = running()
        call = None if steps is None else steps.open(*names)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            if steps is not None and call is not None:
                steps.close(steps.scope, call, error, None, (args, kwargs))
            drop_own_frame(error)
            raise
        if steps is not None and call is not None:
            steps.close(steps.scope, call, None, result, (args, kwargs))
        return result

    return wrapper


class _Steps:
    """The call of a generator: it is the position while a step runs, and not between the steps."""

    __slots__ = ("arguments", "before", "call", "current", "steps")

    # There only where a recorder runs, and read only while there is a call.
    current: "ContextVar[Call | Invocation | None]"
    steps: "Running"

    def __init__(self, names: "tuple[str, ...]", arguments: "tuple[Any, Any]") -> None:
        self.arguments: "tuple[Any, Any] | None" = arguments
        self.call: "Call | None" = None
        self.before: "Call | Invocation | None" = None
        steps = running()
        if steps is not None:
            self.steps = steps
            self.current = steps.scope.current
            self.before = self.current.get()
            self.call = steps.open(*names)
            self.leave()

    def enter(self) -> None:
        """A step begins."""
        if self.call is not None:
            self.before = self.current.get()
            self.current.set(self.call)

    def leave(self) -> None:
        """A step has ended: what the caller does now is not ours."""
        if self.call is not None:
            self.current.set(self.before)
            self.before = None

    def close(self, error: "BaseException | None" = None, result: "Any" = None) -> None:
        """The generator has ended."""
        call, self.call = self.call, None
        if call is not None:
            self.steps.close(self.steps.scope, call, error, result, self.arguments)
            self.arguments = None


def _wrap_generator(function: "Any", *names: str) -> "Callable[..., Generator[Any, Any, Any]]":
    def wrapper(*args: "Any", **kwargs: "Any") -> "Generator[Any, Any, Any]":
        steps = None
        sent = None
        try:
            generator = function(*args, **kwargs)
            advance = generator.send
            steps = _Steps(names, (args, kwargs))
            while True:
                steps.enter()
                try:
                    item = advance(sent)
                except StopIteration as stop:
                    result = stop.value
                    break
                finally:
                    sent = None
                    steps.leave()
                try:
                    sent = yield item
                    advance = generator.send
                except GeneratorExit:
                    steps.enter()
                    try:
                        generator.close()
                    finally:
                        steps.leave()
                    steps.close()
                    raise
                except BaseException as error:  # noqa: BLE001  # it goes on into the generator
                    drop_own_frame(error)
                    advance, sent = generator.throw, error
        except BaseException as error:
            if steps is not None:
                steps.close(error)
            drop_own_frame(error)
            raise
        steps.close(None, result)
        return result

    return wrapper


def _wrap_async_generator(function: "Any", *names: str) -> "Callable[..., AsyncIterator[Any]]":
    async def wrapper(*args: "Any", **kwargs: "Any") -> "AsyncIterator[Any]":
        steps = None
        sent = None
        try:
            generator = function(*args, **kwargs)
            advance = generator.asend
            steps = _Steps(names, (args, kwargs))
            while True:
                steps.enter()
                try:
                    item = await advance(sent)
                except StopAsyncIteration:
                    break
                finally:
                    sent = None
                    steps.leave()
                try:
                    sent = yield item
                    advance = generator.asend
                except GeneratorExit:
                    steps.enter()
                    try:
                        await generator.aclose()
                    finally:
                        steps.leave()
                    steps.close()
                    raise
                except BaseException as error:  # noqa: BLE001  # it goes on into the generator
                    drop_own_frame(error)
                    advance, sent = generator.athrow, error
        except BaseException as error:
            if steps is not None:
                steps.close(error)
            drop_own_frame(error)
            raise
        steps.close()

    return wrapper
