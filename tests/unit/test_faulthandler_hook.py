"""The hook on `faulthandler`: whose its timer is."""

from types import SimpleNamespace

import pytest

from coldspan.hot import faulthandler as hook

MS = 1_000_000


@pytest.fixture
def hooked(monkeypatch, scope):
    """A stand-in for the module `faulthandler`, with our hook on it."""
    calls = []

    def dump_traceback_later(timeout, repeat=False, file=None, exit=False):  # noqa: A002  # its own name
        if timeout <= 0:
            raise ValueError("timeout must be greater than 0")
        calls.append(timeout)

    def cancel_dump_traceback_later():
        calls.append("cancel")

    module = SimpleNamespace(
        dump_traceback_later=dump_traceback_later, cancel_dump_traceback_later=cancel_dump_traceback_later, calls=calls
    )
    monkeypatch.setattr(hook, "timer", hook.Timer())
    hook.install(module, scope, [])
    return module


def test_the_customers_functions_do_what_they_did_and_are_known_of(hooked):
    """Their signature, their errors, and who has the timer."""
    timer = hook.timer
    assert timer.arm(5_000 * MS, 7)
    assert (timer.armed, timer.theirs) == (True, False)
    hooked.dump_traceback_later(3, exit=True)
    assert (timer.armed, timer.theirs) == (False, True)
    assert not timer.arm(5_000 * MS, 7)
    timer.cancel()
    hooked.cancel_dump_traceback_later()
    assert (timer.armed, timer.theirs) == (False, False)
    assert hooked.calls == [5.0, 3, "cancel"]
    assert timer.arm(1, 7)
    timer.cancel()
    assert hooked.calls[3:] == [1e-06, "cancel"]


def test_a_call_that_fails_changes_nothing(hooked):
    """The timer stays with who has it."""
    timer = hook.timer
    timer.arm(5_000 * MS, 7)
    with pytest.raises(ValueError) as raised:
        hooked.dump_traceback_later(-1)
    assert raised.traceback[-1].path == raised.traceback[0].path
    assert [entry.name for entry in raised.traceback] == [
        "test_a_call_that_fails_changes_nothing",
        "dump_traceback_later",
    ]
    with pytest.raises(TypeError):
        hooked.cancel_dump_traceback_later(1)
    assert timer.theirs is False
