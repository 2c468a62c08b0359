"""Threads and thread pools carry the running position: our own token, never the customer's whole context."""

from coldspan.hot.patch import drop_own_frame, replace


def install(module, scope, patches) -> None:
    """Patch `threading` (Thread.start) or `concurrent.futures.thread` (ThreadPoolExecutor.submit)."""
    if hasattr(module, "ThreadPoolExecutor"):
        _install_pool(module, scope, patches)
    else:
        _install_thread(module, scope, patches)


def _install_thread(module, scope, patches) -> None:
    position, current = scope.position, scope.current

    def carry(thread, node) -> None:
        inner = thread.run

        def run():
            vars(thread).pop("run", None)  # before anything else: the thread's object must not hold itself through us
            current.set(node)
            try:
                return inner()
            except BaseException as error:
                drop_own_frame(error)
                raise

        # An attribute of the instance, because the interpreter calls `self.run` in whatever context it prepares.
        if "run" not in vars(thread):
            thread.run = run

    carry = scope.buffer.shielded(carry)

    def make(original):
        def start(self, *args, **kwargs):
            node = position()
            if node is not None:
                carry(self, node)
            try:
                return original(self, *args, **kwargs)
            except BaseException as error:
                vars(self).pop("run", None)
                drop_own_frame(error)
                raise

        return start

    replace(module.Thread, "start", make, patches)


def _install_pool(module, scope, patches) -> None:
    position, current = scope.position, scope.current

    def carried(node, function, /, *args, **kwargs):
        before = current.get()
        current.set(node)
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            drop_own_frame(error)
            raise
        finally:
            current.set(before)

    def make(original):
        def submit(self, /, *args, **kwargs):
            node = position()
            if node is not None and args:
                args = (carried, node, *args)
            try:
                return original(self, *args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise

        return submit

    replace(module.ThreadPoolExecutor, "submit", make, patches)
