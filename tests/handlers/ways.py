"""Handlers of every kind that the runtime accepts; each tells what stands above it on the stack."""
# ruff: noqa: E731 - what customers write

import functools
import sys

count = 0


def seen(kind):
    """`kind`, how often any handler here ran, and the files of coldspan's wrappers that are above on the stack."""
    global count
    count += 1
    frame, files = sys._getframe(), []
    while frame is not None:
        if "coldspan" in frame.f_globals.get("__name__", "") and frame.f_code.co_name == "wrapped":
            files.append(frame.f_code.co_filename.rsplit("/", 1)[1])
        frame = frame.f_back
    return {"kind": kind, "count": count, "above": files}


def handler(event, context):
    """A function."""
    return seen("function")


handler.setting = "kept"


def defaults(event, context=None, *more, **named):
    """A function with more parameters than it is given."""
    return seen(f"defaults {len(more)} {len(named)}")


class Instance:
    """A class whose objects are handlers."""

    def __call__(self, event, context):
        return seen("instance")

    def method(self, event, context):
        """A bound method."""
        return seen("method")

    @classmethod
    def of_class(cls, event, context):
        """A class method."""
        return seen("class method")

    @staticmethod
    def static(event, context):
        """A static method."""
        return seen("static method")


class Slotted:
    """An object that takes no attributes."""

    __slots__ = ()

    def __call__(self, event, context):
        return seen("slotted")


class Made(dict):
    """A class that is itself the handler: its object is the result."""

    def __init__(self, event, context):
        super().__init__(seen("class"))


class Secretive:
    """An object that answers every question about itself."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, event, context):
        return seen("secretive")


def decorated(function):
    """A decorator as customers write them."""

    @functools.wraps(function)
    def around(event, context):
        return function(event, context)

    return around


instance = Instance()
method = instance.method
of_class = Instance.of_class
static = Instance.static
slotted = Slotted()
secretive = Secretive()
partial = functools.partial(lambda kind, event, context: seen(kind), "partial")
anonymous = lambda event, context: seen("lambda")
around = decorated(handler)


def raises(event, context):
    """Raise."""
    raise ValueError(seen("raises"))
