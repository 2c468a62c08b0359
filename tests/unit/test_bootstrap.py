"""The wrapper around the handler: who is wrapped, and who is not."""

import typing

from coldspan.hot.bootstrap import wrap


class Routes:
    """A handler object that answers every question for an attribute by a KeyError."""

    routes: typing.ClassVar[dict[str, object]] = {}

    def __call__(self, event, context):
        return event

    def __getattr__(self, name):
        return self.routes[name]


class Mirror:
    """A handler object that has every attribute one asks for, as a proxy does."""

    def __call__(self, event, context):
        return event

    def __getattr__(self, name):
        return self


def steps(log):
    """Four steps that only note that they were taken."""
    return (
        lambda wrapper, handler: log.append("describe"),
        lambda args, kwargs: log.append("enter"),
        lambda invocation, result: log.append("succeed"),
        lambda invocation, error: log.append("fail"),
    )


def test_an_object_whose_attributes_raise_is_wrapped_and_runs_promise_2():
    """Looking for our mark must not run the customer's __getattr__, which may raise anything."""
    log = []
    handler = wrap(Routes(), *steps(log))
    assert handler({"n": 1}, None) == {"n": 1}
    assert log == ["describe", "enter"]


def test_an_object_that_has_every_attribute_is_not_taken_for_wrapped_promise_2():
    """A proxy answers the question for our mark with yes."""
    log = []
    mirror = Mirror()
    assert wrap(mirror, *steps(log)) is not mirror


def test_a_wrapped_handler_is_not_wrapped_again_promise_1():
    """Four ways in may meet."""
    log = []
    once = wrap(lambda event, context: event, *steps(log))
    assert wrap(once, *steps(log)) is once


def test_what_cannot_be_called_is_given_back_promise_1():
    """The runtime's own error must be the customer's."""
    assert wrap(5, *steps([])) == 5
