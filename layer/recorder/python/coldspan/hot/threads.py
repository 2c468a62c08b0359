"""Threads, pools and their callbacks carry the running position: our own token, never the customer's whole context."""

from coldspan.hot.patch import drop_own_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.core.record import Call, Invocation
    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope


def install(module: "Any", scope: "Scope", patches: "Patches") -> None:
    """Patch `threading`, `concurrent.futures.thread` or `multiprocessing.pool`, whichever this is."""
    if module.__name__ == "threading":
        _install_thread(module, scope, patches)
    elif module.__name__ == "multiprocessing.pool":
        _install_thread_pool(module, scope, patches)
    else:
        _install_executor(module, scope, patches)


def _carrier(scope: "Scope") -> "Callable[..., Any]":
    """A function that runs another at a given position and then goes back to the position before."""
    current = scope.current

    def carried(
        node: "Call | Invocation | None", function: "Callable[..., Any]", /, *args: "Any", **kwargs: "Any"
    ) -> "Any":
        before = current.get()
        current.set(node)
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            drop_own_frame(error)
            raise
        finally:
            current.set(before)

    return carried


def _install_thread(module: "Any", scope: "Scope", patches: "Patches") -> None:
    position, current = scope.position, scope.current

    def carry(thread: "Any", node: "Call | Invocation") -> bool:
        inner = thread.run

        def run() -> "Any":
            vars(thread).pop("run", None)  # before anything else: the thread's object must not hold itself through us
            current.set(node)
            try:
                return inner()
            except BaseException as error:
                drop_own_frame(error)
                raise

        # An attribute of the instance, because the interpreter calls `self.run` in whatever context it prepares.
        if "run" in vars(thread):  # the customer's own
            return False
        thread.run = run
        return True

    prepare = scope.buffer.shielded(carry)

    def make(original: "Any") -> "Any":
        def start(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            node = position()
            carries = node is not None and prepare(self, node)
            try:
                return original(self, *args, **kwargs)
            except BaseException as error:
                if carries:
                    vars(self).pop("run", None)
                drop_own_frame(error)
                raise

        return start

    replace(module.Thread, "start", make, patches)


def _install_executor(module: "Any", scope: "Scope", patches: "Patches") -> None:
    position, carried = scope.position, _carrier(scope)

    def make(original: "Any") -> "Any":
        def submit(self: "Any", /, *args: "Any", **kwargs: "Any") -> "Any":
            node = position()
            if node is not None and args and _runs_here(type(self)):
                args = (carried, node, *args)
            try:
                return original(self, *args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise

        return submit

    def make_callback(original: "Any") -> "Any":
        def add_done_callback(self: "Any", fn: "Any") -> "Any":
            node = position()
            if node is None:
                return original(self, fn)

            def carrying(future: "Any") -> "Any":
                try:
                    return carried(node, fn, future)
                except BaseException as error:
                    drop_own_frame(error)
                    raise

            return original(self, carrying)

        return add_done_callback

    replace(module.ThreadPoolExecutor, "submit", make, patches)
    replace(module._base.Future, "add_done_callback", make_callback, patches)


def _runs_here(kind: type) -> bool:
    """Whether an executor runs its tasks in this interpreter; Python 3.14 has one that pickles them for another."""
    return not any([base.__name__ == "InterpreterPoolExecutor" for base in kind.__mro__])


def _install_thread_pool(module: "Any", scope: "Scope", patches: "Patches") -> None:
    position, carried = scope.position, _carrier(scope)

    def make(original: "Any") -> "Any":
        def method(self: "Any", func: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            node = position()
            if node is not None and isinstance(self, module.ThreadPool):  # a pool of processes pickles its tasks
                task = func

                def func(*task_args: "Any", **task_kwargs: "Any") -> "Any":
                    try:
                        return carried(node, task, *task_args, **task_kwargs)
                    except BaseException as error:
                        drop_own_frame(error)
                        raise

            try:
                return original(self, func, *args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise

        return method

    for name in ("apply_async", "_map_async", "imap", "imap_unordered"):
        replace(module.Pool, name, make, patches)
