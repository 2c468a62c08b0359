"""Handlers that carry coldspan's own decorator."""
# ruff: noqa: PLW0108 - what customers write

import functools

from ways import Instance, decorated, seen

import coldspan


@coldspan.instrument
def handler(event, context):
    """Decorated without arguments."""
    return seen("decorator")


@coldspan.instrument()
def called(event, context):
    """Decorated with empty parentheses."""
    return seen("decorator()")


@coldspan.instrument
@coldspan.instrument
def twice(event, context):
    """Decorated twice."""
    return seen("twice")


@decorated
@coldspan.instrument
def inside(event, context):
    """Another decorator is outside ours."""
    return seen("inside")


@coldspan.instrument
@decorated
def outside(event, context):
    """Another decorator is inside ours."""
    return seen("outside")


def careless(function):
    """A decorator that hides what it decorates."""
    return lambda event, context: function(event, context)


@careless
@coldspan.instrument
def hidden(event, context):
    """Our decorator is out of sight."""
    return seen("hidden")


instance = coldspan.instrument(Instance())
partial = coldspan.instrument(functools.partial(lambda kind, event, context: seen(kind), "partial"))


@coldspan.instrument
def raises(event, context):
    """Raise."""
    raise ValueError(seen("raises"))


@coldspan.instrument
async def coroutine(event, context):
    """Driven by the decorator."""
    return seen("coroutine")
