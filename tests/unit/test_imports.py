"""The import hook: exact under every way a module comes to be executed, and invisible when one fails."""

import importlib
import importlib.util
import sys
import textwrap
import traceback
import types
import zipfile

import pytest

from coldspan.boot.imports import Finder
from coldspan.core.buffer import Buffer


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder on the search path whose modules are forgotten after the test."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.fixture
def hooked():
    """Install a Finder for some names; gives it and the list of modules it told of."""
    finders = []

    def install(*names, clock=None):
        seen = []
        finder = Finder(dict.fromkeys(names, seen.append), Buffer().shielded, *([clock] if clock else []))
        sys.meta_path.insert(0, finder)
        finder.start_timing()
        finders.append(finder)
        return finder, seen

    yield install
    for finder in reversed(finders):
        finder.stop_timing()
        sys.meta_path.remove(finder)


def write(folder, name, text=""):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    importlib.invalidate_caches()


def test_a_hook_runs_once_after_its_module_has_been_executed(folder, hooked):
    """A hook that runs before the last line patches classes that do not exist yet."""
    write(folder, "lib_a.py", "late = 1")
    _, seen = hooked("lib_a")
    import lib_a

    assert seen == [lib_a]
    assert seen[0].late == 1


def test_the_spec_of_a_loaded_module_is_a_plain_one_again(folder, hooked):
    """A customer who looks at __spec__ must not find a class of ours."""
    write(folder, "lib_b.py")
    hooked("lib_b")
    import lib_b

    assert type(lib_b.__spec__) is importlib.machinery.ModuleSpec
    assert lib_b.__spec__._initializing is False
    assert not [name for name in vars(lib_b.__spec__) if "coldspan" in name]


def test_a_module_that_fails_runs_no_hook_and_can_be_imported_again(folder, hooked):
    """A half-executed library must not be patched, and its next import is hooked as the first would have been."""
    write(folder, "lib_c.py", "import sys\nif not getattr(sys, 'lib_c_ok', False): raise RuntimeError('not yet')")
    _, seen = hooked("lib_c")
    with pytest.raises(RuntimeError):
        importlib.import_module("lib_c")
    assert seen == []
    sys.lib_c_ok = True
    try:
        importlib.import_module("lib_c")
    finally:
        del sys.lib_c_ok
    assert len(seen) == 1


@pytest.mark.parametrize("how", ["import lib_d", "import importlib; importlib.import_module('lib_d')"])
@pytest.mark.parametrize("body", ["raise ValueError('at import')", "import no_such_module_at_all", "def broken(:"])
def test_a_failing_import_has_the_traceback_it_has_without_us_promise_1(folder, hooked, how, body):
    """The runtime posts this traceback: a frame of ours would change the bytes."""
    write(folder, "lib_d.py", body)

    def trace():
        try:
            exec(how, {})  # noqa: S102
        except Exception as error:
            return "".join(traceback.format_exception(error))
        return ""

    without = trace()
    finder, _ = hooked("lib_d")
    assert trace() == without
    finder.stop_timing()
    assert trace() == without
    assert "Error" in without


def test_a_warning_at_import_names_the_importer_as_it_does_without_us_promise_2(folder, hooked):
    """warnings.warn(..., stacklevel=2) looks for the first frame that is not the import system's: not for ours."""
    import warnings

    write(folder, "lib_w.py", "import warnings\nwarnings.warn('old', UserWarning, stacklevel=2)")
    write(folder, "importer_w.py", "import lib_w")
    hooked("lib_w")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import importer_w  # noqa: F401
    assert [warning.filename.rpartition("/")[2] for warning in caught] == ["importer_w.py"]


def test_a_finder_that_raises_shows_no_frame_of_ours_promise_1(folder, hooked):
    """Another finder may refuse a library by raising; its traceback is the customer's."""

    class Refuses:
        def find_spec(self, name, path=None, target=None):
            if name == "lib_x":
                raise PermissionError(name)

    refuses = Refuses()
    sys.meta_path.insert(0, refuses)
    hooked("lib_x")
    try:
        with pytest.raises(PermissionError) as raised:
            importlib.import_module("lib_x")
    finally:
        sys.meta_path.remove(refuses)
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert not [frame for frame in frames if "coldspan/boot" in frame.filename]


def test_a_reload_is_hooked_again(folder, hooked):
    """After a reload the classes are new: patches on the old ones do nothing."""
    write(folder, "lib_e.py", "class Client: pass")
    _, seen = hooked("lib_e")
    import lib_e

    first = lib_e.Client
    importlib.reload(lib_e)
    assert seen == [lib_e, lib_e]
    assert lib_e.Client is not first


def test_a_lazy_module_is_hooked_when_it_is_executed_and_not_before(folder, hooked):
    """importlib.util.LazyLoader: touching the module to patch it would undo the customer's laziness."""
    write(folder, "lib_f.py", "import sys\nsys.lib_f_ran = True\nvalue = 7")
    hooked("lib_f")
    spec = importlib.util.find_spec("lib_f")
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules["lib_f"] = module
    spec.loader.exec_module(module)
    assert not hasattr(sys, "lib_f_ran")
    try:
        assert module.value == 7
    finally:
        del sys.lib_f_ran


class LazyFinder:
    """Makes one module lazy, as a customer's own finder may."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


def test_a_module_made_lazy_by_another_finder_is_hooked_at_its_first_use(folder, hooked, monkeypatch):
    """The import system says such a module is done long before it is executed."""
    write(folder, "lib_g.py", "value = 8")
    monkeypatch.setattr(sys, "meta_path", [LazyFinder("lib_g"), *sys.meta_path])
    finder, seen = hooked("lib_g")
    import lib_g

    assert seen == []
    assert lib_g.value == 8
    assert [module.__name__ for module in seen] == ["lib_g"]
    sys.meta_path.remove(finder)
    sys.meta_path.insert(0, finder)


def test_a_module_in_a_zip_file_is_hooked(folder, hooked, monkeypatch):
    """Functions may carry their packages zipped."""
    archive = folder / "libs.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("lib_h.py", "value = 9")
    monkeypatch.syspath_prepend(str(archive))
    _, seen = hooked("lib_h")
    import lib_h

    assert seen == [lib_h]


def test_a_module_imported_before_us_is_hooked_by_catch_up(folder, hooked):
    """The managed runtime may have loaded http.client before the layer is seen."""
    write(folder, "lib_i.py")
    import lib_i

    finder, seen = hooked("lib_i")
    finder.catch_up()
    assert seen == [lib_i]


def test_a_module_that_is_being_imported_when_we_start_is_hooked_when_it_is_done(folder, hooked):
    """`@coldspan.instrument` in the middle of somebody's import starts us late."""
    write(folder, "lib_j.py", "import lib_j_starter\nlate = 1")
    seen = []
    write(folder, "lib_j_starter.py", "import sys\nsys.lib_j_start()")

    def begin():
        finder, found = hooked("lib_j")
        finder.catch_up()
        seen.append(found)

    sys.lib_j_start = begin
    try:
        import lib_j
    finally:
        del sys.lib_j_start
    assert seen == [[lib_j]]


def test_two_finders_that_both_ask_everybody_end_the_search(folder, hooked):
    """Other vendors' finders find through the others too: the two must not call each other for ever."""
    write(folder, "lib_k.py")
    _, seen = hooked("lib_k")

    class Other:
        def __init__(self):
            self.busy = set()

        def find_spec(self, name, path=None, target=None):
            if name in self.busy:
                return None
            self.busy.add(name)
            try:
                return importlib.util.find_spec(name)
            finally:
                self.busy.discard(name)

    other = Other()
    sys.meta_path.insert(0, other)
    try:
        import lib_k
    finally:
        sys.meta_path.remove(other)
    assert seen == [lib_k]


@pytest.mark.expects_errors("_run_hook")
def test_a_hook_that_fails_is_counted_and_the_import_succeeds_promise_2(folder):
    """A fault of ours while patching a library must not become the customer's ImportError."""
    write(folder, "lib_l.py", "value = 1")
    buffer = Buffer()

    def hook(module):
        raise TypeError(module)

    finder = Finder({"lib_l": hook}, buffer.shielded)
    sys.meta_path.insert(0, finder)
    try:
        import lib_l
    finally:
        sys.meta_path.remove(finder)
    assert lib_l.value == 1
    assert buffer.errors == {"_run_hook": 1}


def test_the_tree_has_depth_and_self_time_of_each_module(folder, hooked, fake_clock):
    """The import tree is what a cold start is blamed by: self times must add up to the whole."""
    write(folder, "pkg/__init__.py", "import pkg.inner\ntick(5)")
    write(folder, "pkg/inner.py", "tick(3)")
    write(folder, "after.py", "tick(2)")
    finder, _ = hooked(clock=fake_clock.monotonic)
    import builtins

    builtins.tick = lambda ms: fake_clock.advance(ms=ms)
    try:
        import after  # noqa: F401
        import pkg  # noqa: F401
    finally:
        del builtins.tick
    tree = [(name, depth, total // 10**6, own // 10**6) for name, depth, total, own in finder.tree]
    assert tree == [("after", 0, 2, 2), ("pkg", 0, 8, 5), ("pkg.inner", 1, 3, 3)]
    finder.stop_timing()
    write(folder, "later.py")
    import later  # noqa: F401

    assert len(finder.tree) == 3


def test_a_failed_import_inside_a_module_does_not_disturb_the_tree(folder, hooked, fake_clock):
    """`try: import ujson except ImportError` is everywhere; what failed has no time of its own."""
    write(folder, "lib_m.py", "try:\n    import lib_m_fails\nexcept ValueError:\n    pass\ntick(4)")
    write(folder, "lib_m_fails.py", "tick(1)\nraise ValueError")
    finder, _ = hooked(clock=fake_clock.monotonic)
    import builtins

    builtins.tick = lambda ms: fake_clock.advance(ms=ms)
    try:
        import lib_m  # noqa: F401
    finally:
        del builtins.tick
    assert [(name, total // 10**6, own // 10**6) for name, _, total, own in finder.tree] == [
        ("lib_m", 5, 4),
        ("lib_m_fails", 1, 1),
    ]


def test_imports_on_another_thread_are_hooked_and_not_timed(folder, hooked):
    """Two threads in one stack of open imports would give both a wrong time."""
    import threading

    write(folder, "lib_n.py")
    finder, seen = hooked("lib_n")
    thread = threading.Thread(target=importlib.import_module, args=("lib_n",))
    thread.start()
    thread.join()
    assert [module.__name__ for module in seen] == ["lib_n"]
    assert "lib_n" not in [entry[0] for entry in finder.tree]


def test_namespace_packages_builtins_and_extension_modules_import_as_before(folder, hooked):
    """They have loaders of other kinds, or none."""
    (folder / "space").mkdir()
    write(folder, "space/leaf.py", "value = 3")
    hooked("space", "space.leaf")
    import space.leaf

    assert space.leaf.value == 3
    assert isinstance(space, types.ModuleType)
