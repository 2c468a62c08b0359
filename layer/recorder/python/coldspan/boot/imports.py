"""The import hook: runs a hook right after its library has been executed, and times imports while all starts.

No frame of ours is on the stack while a module is executed, so import errors keep their tracebacks: the finder gives
the spec that the other finders found, but of a class on which the import system's own `spec._initializing = False` (set
when a module is done or has failed) is a property. Reloads and lazy loaders do not set it; for these two, and only for
modules in the table, the loader's `exec_module` is wrapped.
"""

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


class Finder:
    """The one entry of ours in sys.meta_path.

    `table` maps a module's name to the function to call with the module; `tree` lists [name, depth, total ns, self ns,
    origin] in the order in which imports began, only those of the thread that starts the environment, until
    `stop_timing`.
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
        self.thread: "int | None" = get_ident()
        self.tree: "list[list[Any]]" = []
        self.open: "list[list[Any]]" = []
        self.busy: "set[str]" = set()
        setattr(self, MARK, True)

    def stop_timing(self) -> None:
        """End the import tree: the environment has started."""
        self.thread = None
        self.open = []

    def find_spec(self, name: str, path: "Sequence[str] | None" = None, target: "Any" = None) -> "ModuleSpec | None":
        """Find through the other finders; None when the module is neither in the table nor to be timed."""
        timed = self.thread is not None and get_ident() == self.thread
        if not timed and name not in self.table:
            return None
        if name in self.busy:  # another finder that asks everyone, as we do
            return None
        started = self.clock()
        self.busy.add(name)
        try:
            for finder in sys.meta_path:
                if finder is not self and hasattr(finder, "find_spec"):
                    spec = finder.find_spec(name, path, target)
                    if spec is not None:
                        self.watch(spec, started if timed else 0, target)
                        return spec
        finally:
            self.busy.discard(name)
        return None

    def _watch(self, spec: "Any", started: int, target: "Any") -> None:
        if target is not None:
            if spec.name in self.table:
                self._wrap_loader(spec.loader)
        elif type(spec) is ModuleSpec and spec.loader is not None:
            spec.__dict__["_coldspan"] = self
            spec.__class__ = Watched
            if started:
                open_ = self.open
                entry = [spec.name, len(open_), started, 0, spec.origin]
                self.tree.append(entry)
                open_.append(entry)
        elif spec.name in self.table:
            self._wrap_loader(spec.loader)

    def _done(self, spec: "Any") -> None:
        name = spec.name
        open_ = self.open
        if open_ and get_ident() == self.thread:
            entry = open_.pop()
            while entry[0] != name and open_:  # imports that failed before they were executed
                entry[2] = 0
                entry = open_.pop()
            total = self.clock() - entry[2]
            entry[2] = total
            entry[3] += total
            if open_:
                open_[-1][3] -= total
        if name in self.table:
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
                self.watch(spec, 0, None)
            elif type(module).__name__ == "_LazyModule":
                self._wrap_loader(object.__getattribute__(module, "__spec__").loader)
            else:
                self.run_hook(name, module)
