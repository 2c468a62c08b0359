"""Every way in which a handler may raise that leaves the runtime alive."""
# ruff: noqa: B904, D106, F821, PLW0108, S102, TRY201, TRY203 - what customers write

import asyncio
import concurrent.futures
import contextlib
import functools
import json
import subprocess
import traceback


class Own(Exception):
    pass


class Numbered(Exception):
    def __init__(self, code, *, detail):
        super().__init__(code, detail)
        self.code = code

    def __str__(self):
        return f"code {self.code}"


class Slots(Exception):
    __slots__ = ("extra",)


class Nested:
    class Inner(Exception):
        pass


CACHED = ValueError("raised again and again")


def one(depth):
    if not depth:
        raise ValueError("at the bottom")
    one(depth - 1)


def cause():
    try:
        {}["missing"]
    except KeyError as error:
        raise RuntimeError("because of a key") from error


def context():
    try:
        {}["missing"]
    except KeyError:
        raise RuntimeError("while handling a key")


def from_none():
    try:
        {}["missing"]
    except KeyError:
        raise RuntimeError("alone") from None


def group():
    errors = []
    for kind in (ValueError, TypeError):
        try:
            raise kind("in a group")
        except kind as error:
            errors.append(error)
    raise ExceptionGroup("two failed", errors)


def noted():
    error = ValueError("with notes")
    error.add_note("first note")
    raise error


def cached():
    raise CACHED


def untraced():
    raise ValueError("without a trace").with_traceback(None)


def borrowed_trace():
    try:
        one(1)
    except ValueError as error:
        raise TypeError("with a trace of another").with_traceback(error.__traceback__)


def finally_raises():
    try:
        one(1)
    finally:
        raise TypeError("from finally")


def in_generator():
    def numbers():
        yield 1
        raise ValueError("in a generator")

    return list(numbers())


def stop_iteration():
    return next(iter(()))


def in_thread():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(one, 2).result()


def in_loop():
    async def task():
        await asyncio.sleep(0)
        one(1)

    async def main():
        await asyncio.gather(task())

    asyncio.run(main())


def in_exec():
    exec(compile("def f():\n    raise ValueError('no source')\nf()", "<made>", "exec"), {})


def in_context_manager():
    @contextlib.contextmanager
    def manager():
        try:
            yield
        except ValueError as error:
            raise Own("changed on the way") from error

    with manager():
        one(0)


def unparsable():
    json.loads("{not json")


def process():
    subprocess.run(["false"], check=True)


def long_text():
    raise ValueError("x" * 100_000)


def larger_than_a_header():
    raise ValueError("y" * (1024 * 1024 + 1))


def many_frames():
    one(60)


def reraised():
    try:
        one(0)
    except ValueError:
        raise


def reraised_by_name():
    try:
        one(0)
    except ValueError as error:
        raise error


def formats_itself():
    try:
        one(1)
    except ValueError:
        raise Own(traceback.format_exc())


def tells_its_own_trace():
    """The customer looks at the frames above its own: ours may be there, under the runtime's file name alone."""
    files = [frame.filename.rsplit("/", 1)[1] for frame in traceback.extract_stack()]
    raise Own(",".join(sorted(set(files))))


CASES = {
    "plain": lambda: one(0),
    "nested": lambda: one(3),
    "empty": lambda: (_ for _ in ()).throw(ValueError()),
    "none": lambda: (_ for _ in ()).throw(ValueError(None)),
    "text": lambda: (_ for _ in ()).throw(ValueError('line\nline\r\n\ttab \0 é 漢 😀 "quoted"')),
    "arguments": lambda: (_ for _ in ()).throw(OSError(2, "No such file", "name")),
    "key": lambda: {}["missing"],
    "zero": lambda: 1 / 0,
    "attribute": lambda: None.missing,
    "name": lambda: missing,
    "own": lambda: (_ for _ in ()).throw(Own("mine")),
    "numbered": lambda: (_ for _ in ()).throw(Numbered(5, detail="x")),
    "slots": lambda: (_ for _ in ()).throw(Slots("x")),
    "inner class": lambda: (_ for _ in ()).throw(Nested.Inner("x")),
    "partial": functools.partial(one, 1),
    "cause": cause,
    "context": context,
    "from none": from_none,
    "group": group,
    "notes": noted,
    "cached": cached,
    "cached again": cached,
    "cached a third time": cached,
    "untraced": untraced,
    "borrowed trace": borrowed_trace,
    "finally": finally_raises,
    "generator": in_generator,
    "stop iteration": stop_iteration,
    "thread": in_thread,
    "loop": in_loop,
    "exec": in_exec,
    "context manager": in_context_manager,
    "json": unparsable,
    "process": process,
    "long": long_text,
    "larger than a header": larger_than_a_header,
    "many frames": many_frames,
    "reraised": reraised,
    "reraised by name": reraised_by_name,
    "formats itself": formats_itself,
    "stack": tells_its_own_trace,
    "async stop": lambda: (_ for _ in ()).throw(StopAsyncIteration("x")),
    "timeout": lambda: (_ for _ in ()).throw(TimeoutError("timed out")),
    "memory": lambda: (_ for _ in ()).throw(MemoryError()),
    "not implemented": lambda: (_ for _ in ()).throw(NotImplementedError),
    "unicode": lambda: b"\xff".decode(),
    "warning": lambda: (_ for _ in ()).throw(UserWarning("as an error")),
}


def handler(event, context):
    """Raise as the event says."""
    return CASES[event["case"]]()


def endless(event, context):
    """Never come back."""
    endless(event, context)
