"""`async def` handlers."""

import asyncio
import functools
import sys

from ways import seen

loops = []


async def handler(event, context):
    """Tell whether the loop is the one of the first invocation."""
    loops.append(asyncio.get_running_loop())
    await asyncio.sleep(0)
    if event.get("raise") == "error":
        raise ValueError("in a coroutine")
    if event.get("raise") == "exit":
        sys.exit(3)
    if event.get("task"):
        task = asyncio.get_running_loop().create_task(asyncio.sleep(0, seen("task")))
        return await task
    return {**seen("async"), "same_loop": loops[0] is loops[-1], "invocations": len(loops)}


class Instance:
    """An object whose call is a coroutine function."""

    async def __call__(self, event, context):
        return seen("async instance")


instance = Instance()
partial = functools.partial(handler)


def plain(event, context):
    """A plain handler that has a loop of its own."""
    return asyncio.run(handler(event, context))


def returns_coroutine(event, context):
    """A plain function that gives a coroutine."""
    return handler(event, context)
