"""The interpreter's one `faulthandler` timer: ours while the customer has no use for it.

Its dump needs no GIL, so it tells of a main thread that sits in C code. There is one timer in a process, the
customer's functions go on as they are, and once they have armed it, it is theirs until they cancel it.
"""

import _frozen_importlib
import sys
from _frozen_importlib import ModuleSpec

from coldspan.hot.patch import MARK, drop_own_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope


class Timer:
    """Whose the timer is: `theirs`, or `armed` by us.

    No lock, which a signal handler could meet taken: the C functions keep the GIL from the check to the end, and what
    is about to happen is written down before it does.
    """

    __slots__ = ("arm_it", "armed", "cancel_it", "theirs")

    def __init__(self) -> None:
        self.theirs = self.armed = False
        self.arm_it: "Callable[..., None] | None" = None
        self.cancel_it: "Callable[[], None] | None" = None

    def arm(self, after_ns: int, descriptor: int) -> bool:
        """Have all stacks written to a descriptor in `after_ns`, once. False when the timer is not ours to take."""
        if "faulthandler" not in sys.modules:
            _load()
        arm, after_s = self.arm_it, max(after_ns, 1_000) / 1e9
        if arm is None or self.theirs:
            return False
        before = block_signals()
        try:
            self.armed = True
            if not self.theirs:
                arm(after_s, False, descriptor)
        finally:
            restore_signals(before)
        return self.armed

    def cancel(self) -> None:
        """Cancel what we have armed."""
        if self.armed:
            cancel = self.cancel_it
            if cancel is not None and self.armed:
                cancel()
            self.armed = False


timer = Timer()


def _load() -> None:
    """Load `faulthandler` and run our hook on it, past all finders and loaders.

    Another tracer times what these do, and would tell it as an import of the function's own.
    """
    loading: "Any" = _frozen_importlib
    builtin: "Any" = loading.BuiltinImporter
    spec = ModuleSpec("faulthandler", builtin, origin="built-in")
    module = loading._imp.create_builtin(spec)
    loading._init_module_attrs(spec, module)
    loading._imp.exec_builtin(module)
    sys.modules["faulthandler"] = module
    for finder in sys.meta_path:
        if hasattr(finder, MARK):
            finder.run_hook("faulthandler", module)  # type: ignore[attr-defined]  # ours


# Raised by the code that runs, and never by another process: to block these would make them deadly.
_OWN_SIGNALS = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL")


def block_signals() -> "Any":
    """Block signals for a thread that is about to start, which inherits it; gives what `restore_signals` takes.

    Before it starts, and not in it: a signal that the customer blocks and waits for could come in between, and to a
    thread that has not blocked it the signal is deadly.
    """
    import _signal  # type: ignore[import-not-found]  # what the module `signal` wraps, without its enums

    numbers = set(range(1, _signal.NSIG)) - {getattr(_signal, name, 0) for name in _OWN_SIGNALS}
    return _signal.pthread_sigmask(_signal.SIG_BLOCK, numbers & set(_signal.valid_signals()))


def restore_signals(before: "Any") -> None:
    """Go back to the signals that were blocked before."""
    import _signal

    _signal.pthread_sigmask(_signal.SIG_SETMASK, before)


def install(module: "Any", scope: "Scope", patches: "Patches") -> None:  # noqa: ARG001  # as every hook
    """Patch `faulthandler`, so that the customer's use of its timer is known and goes first."""
    timer.theirs = timer.armed = False

    def make_arm(original: "Any") -> "Any":
        timer.arm_it = original

        def dump_traceback_later(*args: "Any", **kwargs: "Any") -> "Any":
            before = timer.theirs, timer.armed
            timer.theirs, timer.armed = True, False
            try:
                return original(*args, **kwargs)
            except BaseException as error:
                timer.theirs, timer.armed = before
                drop_own_frame(error)
                raise

        return dump_traceback_later

    def make_cancel(original: "Any") -> "Any":
        timer.cancel_it = original

        def cancel_dump_traceback_later(*args: "Any", **kwargs: "Any") -> "Any":
            timer.armed = False  # first: what we arm in between stays marked
            try:
                answer = original(*args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise
            timer.theirs = False
            return answer

        return cancel_dump_traceback_later

    replace(module, "dump_traceback_later", make_arm, patches)
    replace(module, "cancel_dump_traceback_later", make_cancel, patches)
