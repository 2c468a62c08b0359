"""The import hook against every fault: the customer's import goes as without us."""

import importlib
import signal
import sys
import time

import pytest

from coldspan.boot.imports import Finder

MODULE = "value = 1\nname = __name__\n"


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library of the customer's to import: its name; nothing of it is left afterwards."""
    (tmp_path / "customers_library.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield "customers_library"
    sys.modules.pop("customers_library", None)


@pytest.fixture
def install(scope):
    """Put a Finder with one hook in front of the others; taken away again."""
    finders = []

    def put(name, hook, clock=time.monotonic_ns):
        finder = Finder({name: hook}, scope.buffer.shielded, clock=clock)
        finders.append(finder)
        sys.meta_path.insert(0, finder)
        return finder

    yield put
    for finder in finders:
        sys.meta_path.remove(finder)


def raising(error):
    """A hook that raises."""

    def hook(module):
        raise error

    return hook


def deep(module):
    """A hook that never comes back."""
    return deep(module)


def scribbling(module):
    """A hook that reads what is not there."""
    return module.no_such_name


FAULTS = {
    "raises": raising(LookupError("a fault of the recorder's own")),
    "memory": raising(MemoryError()),
    "recursion": deep,
    "import error": raising(ImportError("not there")),
    "another version of the library": scribbling,
}


@pytest.mark.expects_errors("_run_hook")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_hook_that_fails_costs_its_counter_and_the_import_succeeds_promise_2(scope, library, install, fault):
    """The customer gets the module, whole; we get a count."""
    install(library, FAULTS[fault])
    module = importlib.import_module(library)
    assert (module.value, module.name) == (1, library)
    assert type(module.__spec__).__name__ == "ModuleSpec"
    assert scope.buffer.errors == {"_run_hook": 1}


@pytest.mark.parametrize("step", ["_watch", "_done"])
@pytest.mark.parametrize("fault", ["raises", "memory"])
def test_a_finder_that_fails_costs_its_counter_and_the_import_succeeds_promise_2(
    request, scope, library, install, monkeypatch, step, fault
):
    """The other finders have found the module: that is enough for the import."""
    request.node.add_marker(pytest.mark.expects_errors(step))

    def broken(*_):
        raise {"raises": LookupError("a fault of the recorder's own"), "memory": MemoryError()}[fault]

    broken.__name__ = step
    monkeypatch.setattr(Finder, step, broken)
    install(library, lambda module: None)
    module = importlib.import_module(library)
    assert (module.value, module.name) == (1, library)
    assert scope.buffer.errors == {step: 1}


def test_a_time_limit_that_strikes_in_a_hook_reaches_the_customer_promise_2(scope, library, install, time_limit):
    """An import under a time limit ends when the limit says so."""
    install(library, lambda module: signal.raise_signal(signal.SIGALRM))
    with pytest.raises(time_limit):
        importlib.import_module(library)
    assert scope.buffer.errors == {}


def test_an_import_that_fails_by_itself_fails_as_without_us_promise_2(scope, library, install, tmp_path):
    """A hook for a module that cannot be executed does not run, and adds nothing to the error."""
    hooked = []
    install(library, hooked.append)
    (tmp_path / "customers_library.py").write_text("raise ValueError('of the library')\n")
    with pytest.raises(ValueError, match="of the library"):
        importlib.import_module(library)
    assert hooked == []
    assert library not in sys.modules
    assert scope.buffer.errors == {}
