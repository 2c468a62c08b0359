"""The import hook: runs a hook right after its library has been executed, and times imports while all starts.

No frame of ours stays in a traceback, so import errors look as they do without us. For the libraries in its table the
finder gives the spec that the other finders found, but of a class on which the import system's own
`spec._initializing = False` (set when a module is done or has failed) is a property. Reloads and lazy loaders do not
set it; for these two the loader's `exec_module` is wrapped. Until the environment has started, the import system's
`_find_and_load` is timed: it is called once for each module that is not loaded yet, and put back afterwards.
"""

import _frozen_importlib
import sys
from _frozen_importlib import ModuleSpec
from _thread import get_ident
from time import monotonic_ns

from coldspan.hot.patch import MARK, drop_own_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Step = Callable[..., None]
    Entry = list[Any]


class Watched(ModuleSpec):
    """A spec that tells when its module is done. It becomes a plain ModuleSpec again at that moment."""

    __slots__ = ()

    @property
    def _initializing(self) -> bool:
        return bool(self.__dict__.get("_initializing", False))

    @_initializing.setter
    def _initializing(self, value: bool) -> None:
        self.__dict__["_initializing"] = value
        if not value:
            self.__class__ = ModuleSpec  # type: ignore[assignment]  # back to the class it is made from
            finder = self.__dict__.pop("_coldspan", None)
            if finder is not None:
                finder.done(self)


Watched.__name__ = Watched.__qualname__ = "ModuleSpec"  # what repr() shows of a spec while it is loading


def _failed(tree: "list[Entry]", open_: "list[Entry]", error: BaseException, total: int) -> None:
    """End the innermost entry of the import tree by an error. What was only looked for, and is not there, has none."""
    entry = open_.pop()
    if isinstance(error, ModuleNotFoundError) and error.name == entry[0] and tree[-1] is entry:
        tree.pop()
        return
    entry[2] = total
    entry[3] += total
    if open_:
        open_[-1][3] -= total


class Finder:
    """The one entry of ours in sys.meta_path.

    `table` maps a module's name to the function to call with the module; `tree` lists [name, depth, total ns, self ns]
    in the order in which imports began, those of the thread that called `start_timing`, until `stop_timing`.
    """

    def __init__(
        self,
        table: "Mapping[str, Callable[[Any], None]]",
        shielded: "Callable[[Step], Step]",
        clock: "Callable[[], int]" = monotonic_ns,
    ) -> None:
        self.table = table
        self.clock = clock
        self.done = shielded(self._done)
        self.watch = shielded(self._watch)
        self.run_hook = shielded(self._run_hook)
        self.tree: "list[list[Any]]" = []
        self.timed: "Callable[..., Any] | None" = None
        self.busy: "set[str]" = set()
        setattr(self, MARK, True)

    def start_timing(self) -> None:
        """Begin the import tree."""
        original = getattr(_frozen_importlib, "_find_and_load", None)
        if original is None:
            return
        thread, clock, modules, tree = get_ident(), self.clock, sys.modules, self.tree
        open_: "list[list[Any]]" = []

        def _find_and_load(name: str, import_: "Any") -> "Any":
            if name in modules or get_ident() != thread:
                try:
                    return original(name, import_)
                except BaseException as error:
                    drop_own_frame(error)
                    raise
            entry: "Entry" = [name, len(open_), 0, 0]
            tree.append(entry)
            open_.append(entry)
            began = clock()
            try:
                module = original(name, import_)
            except BaseException as error:
                _failed(tree, open_, error, clock() - began)
                drop_own_frame(error)
                raise
            total = clock() - began
            open_.pop()
            entry[2] = total
            entry[3] += total
            if open_:
                open_[-1][3] -= total
            return module

        # As if it were the import system's: a warning with stacklevel=2 looks for the first frame that is not.
        _find_and_load.__code__ = _find_and_load.__code__.replace(co_filename=original.__code__.co_filename)
        self.timed = _find_and_load
        _find_and_load.__wrapped__ = original  # type: ignore[attr-defined]  # a function takes any attribute
        _frozen_importlib._find_and_load = _find_and_load  # type: ignore[attr-defined]  # private: not in the stubs

    def stop_timing(self) -> None:
        """End the import tree: the environment has started. What somebody else has wrapped since is left alone."""
        timed, self.timed = self.timed, None
        original = getattr(timed, "__wrapped__", None)
        if original is not None and getattr(_frozen_importlib, "_find_and_load", None) is timed:
            _frozen_importlib._find_and_load = original  # type: ignore[attr-defined]  # private: not in the stubs

    def find_spec(self, name: str, path: "Sequence[str] | None" = None, target: "Any" = None) -> "ModuleSpec | None":
        """Find through the other finders; None when the module is not in the table."""
        if name not in self.table or name in self.busy:  # busy: another finder that asks everyone, as we do
            return None
        self.busy.add(name)
        try:
            for finder in sys.meta_path:
                if finder is not self and hasattr(finder, "find_spec"):
                    spec = finder.find_spec(name, path, target)
                    if spec is not None:
                        self.watch(spec, target)
                        return spec
        except BaseException as error:
            drop_own_frame(error)
            raise
        finally:
            self.busy.discard(name)
        return None

    def _watch(self, spec: "Any", target: "Any") -> None:
        if target is None and type(spec) is ModuleSpec and spec.loader is not None:
            spec.__dict__["_coldspan"] = self
            spec.__class__ = Watched
        else:
            self._wrap_loader(spec.loader)

    def _done(self, spec: "ModuleSpec") -> None:
        name = spec.name
        module = sys.modules.get(name)
        if module is None:
            return
        if type(module).__name__ == "_LazyModule":
            self._wrap_loader(object.__getattribute__(module, "__spec__").loader)
        else:
            self.run_hook(name, module)

    def _run_hook(self, name: str, module: "Any") -> None:
        self.table[name](module)

    def _wrap_loader(self, loader: "Any") -> None:
        original = getattr(loader, "exec_module", None)
        if original is None or isinstance(loader, type) or hasattr(original, MARK):
            return  # a namespace has none; one that is a class serves every module of its kind

        def exec_module(module: "Any") -> None:
            try:
                original(module)
            except BaseException as error:
                drop_own_frame(error)
                raise
            self.run_hook(module.__name__, module)

        setattr(exec_module, MARK, True)
        loader.exec_module = exec_module

    def catch_up(self) -> None:
        """Hook what had been imported before us; what is being imported right now tells when it is done."""
        for name in self.table:
            module = sys.modules.get(name)
            if module is None:
                continue
            spec = getattr(module, "__spec__", None)
            if getattr(spec, "_initializing", False):
                self.watch(spec, None)
            elif type(module).__name__ == "_LazyModule":
                self._wrap_loader(object.__getattribute__(module, "__spec__").loader)
            else:
                self.run_hook(name, module)
