"""Watches what becomes of an invocation's objects once it has ended, without the help of the garbage collector."""

import gc
import weakref

gc.disable()
watched = {}


class Kept:
    """An object of the customer's."""


class Result(dict):
    """A result that can be watched."""


class Own(Exception):
    """An error that can be watched."""


def handler(event, context):
    """Say which objects of the invocation before are alive; leave new ones."""
    alive = sorted(name for name, reference in watched.items() if reference() is not None)
    watched.clear()
    local, result = Kept(), Result(alive=alive)
    watched.update(context=weakref.ref(context), local=weakref.ref(local))
    if event.get("raise"):
        error = Own(",".join(alive))
        watched["error"] = weakref.ref(error)
        try:
            raise error
        finally:
            del error
    watched["result"] = weakref.ref(result)
    return result
