"""Starts the recorder, once, and never raises: a process without it is better than no process."""

import os
import sys
from _thread import allocate_lock, start_new_thread  # taken before the customer's code can replace them
from time import monotonic_ns

from coldspan.boot import BEGAN_NS
from coldspan.boot.settings import Settings
from coldspan.core.buffer import Buffer
from coldspan.hot import scope as hot_scope
from coldspan.hot.patch import MARK, restore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.boot.imports import Finder
    from coldspan.boot.seam import Seam
    from coldspan.core.record import Invocation
    from coldspan.drain.flush import Drain
    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope

# The module whose execution calls for a hook -> where the hook's `install(module, scope, patches)` is.
HOOKS = {
    "botocore.client": "coldspan.hot.botocore",
    "aiobotocore.client": "coldspan.hot.aiobotocore",
    "http.client": "coldspan.hot.http_client",
    "urllib3.connectionpool": "coldspan.hot.urllib3",
    "urllib3.poolmanager": "coldspan.hot.urllib3",
    "httpx": "coldspan.hot.httpx",
    "httpx2": "coldspan.hot.httpx",
    "aiohttp.client": "coldspan.hot.aiohttp",
    "mcp.client.session": "coldspan.hot.mcp",
    "concurrent.futures.thread": "coldspan.hot.threads",
    "threading": "coldspan.hot.threads",
    "faulthandler": "coldspan.hot.faulthandler",
    "multiprocessing.pool": "coldspan.hot.threads",
}

seam: "Seam | None" = None
finder: "Finder | None" = None
patches: "Patches" = []


def start() -> None:
    """Start recording in this process: patches, import hook, fork and snapshot hooks.

    Does nothing the second time, outside of Lambda, where another copy of us is at work, and where COLDSPAN_ENABLED is
    false.
    """
    if seam is not None or not os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        return
    buffer = Buffer()
    buffer.shielded(_start)(buffer)
    if "_start" in buffer.errors:
        stop()  # half a recorder is worse than none


def _start(buffer: "Buffer") -> None:
    global finder, seam  # one recorder a process is what the platform has

    if any([MARK in getattr(entry, "__dict__", ()) for entry in sys.meta_path]):
        return  # another copy of us is at work
    settings = Settings(os.environ)
    if not settings.enabled:
        if settings.async_handler:
            from coldspan.boot import asynchronous

            asynchronous.install(settings, patches)
        return
    from coldspan.boot.imports import Finder
    from coldspan.boot.seam import Seam

    scope = hot_scope.Scope(buffer, settings)
    table = {name: _hook(scope, where) for name, where in HOOKS.items()}
    table["awslambdaric.bootstrap"] = _hook_runtime
    finder = Finder(table, buffer.shielded)
    seam = Seam(scope, finder, _drain)
    seam.watch = buffer.shielded(_watch)
    hot_scope.active = scope
    sys.meta_path.insert(0, finder)
    finder.start_timing()
    finder.catch_up()
    os.register_at_fork(before=buffer.shielded(_before_fork), after_in_child=buffer.shielded(_after_fork))
    if settings.init_type == "snap-start":
        from coldspan.boot import restored

        restored.install(seam)
    hooks = sys.modules.get("coldspan.hot.listeners")
    if hooks is not None:  # registered before there was a recorder: coldspan among the function's own packages
        hooks.attach(scope)
    seam.boot_ns = monotonic_ns() - BEGAN_NS


def _hook(scope: "Scope", where: str) -> "Callable[[Any], None]":
    def install(module: "Any") -> None:
        __import__(where)
        sys.modules[where].install(module, scope, patches)

    return install


def _hook_runtime(bootstrap: "Any") -> None:
    from coldspan.boot import handlers

    if seam is not None:
        seam.install(bootstrap, patches)
        handlers.install(bootstrap, seam, patches)


def _watch(running: "Seam", invocation: "Invocation") -> None:
    """The first invocation, and the first after a fork, starts the watcher."""
    running.watch = None
    if not running.settings.deadline_ms and running.scope.journal is None:
        return  # nothing to look for, and nowhere to write
    from coldspan.hot.watcher import Watcher

    def live() -> "list[Invocation]":
        return list(running.live_by_id.values())

    def load() -> "Callable[[Invocation, bytes], None]":
        from coldspan.drain.lastwords import LastWords

        return LastWords(running, lambda: _load_drain(running)).tell

    def again() -> None:
        from coldspan.boot import journals

        journals.again(running)

    first = running.watcher is None
    running.watcher = Watcher(running.scope, live, running.scope.journal, load, start_new_thread, allocate_lock)
    running.watcher.again = running.buffer.shielded(again)
    running.watcher.start(invocation, first)
    if running.closely:
        running.watch = running.watcher.at_once


def _before_fork() -> None:
    """A process that forks has no thread of ours: the interpreter warns of a fork beside threads."""
    if seam is not None and seam.watcher is not None and not seam.watcher.is_stopping:
        seam.watcher.stop()
        seam.watch = seam.buffer.shielded(_watch)


def _after_fork() -> None:
    if seam is not None:
        seam.begin_again()
        seam.watch = seam.buffer.shielded(_watch)
        seam.drain = seam.buffer.shielded(_drain)  # the parent's holds what the parent has not sent yet


def _drain(running: "Seam", invocation: "Invocation") -> None:
    """The first drain loads what drains: after the response, not before it."""
    from coldspan.core import policy

    elapsed_ns = running.scope.clock() - invocation.start_ns
    left_ms = policy.left_ms(invocation.deadline_ms, invocation.epoch_ns, elapsed_ns)
    if not policy.may_start(left_ms, policy.FIRST_DRAIN_MS):
        return  # its record goes with the next invocation's
    _load_drain(running)
    running.drain(running, invocation)


def _load_drain(running: "Seam") -> "Drain":
    """The environment's one Drain: made by its first drain, or by the watcher's thread, whichever comes first."""
    from coldspan.drain.flush import Drain

    drain = running.drains.setdefault(Drain.__name__, Drain(running))  # at once: two would tell the init twice
    running.drain = running.buffer.shielded(drain.run)
    return drain


def stop() -> None:
    """Take every patch and the import hook away again."""
    global finder, seam
    if seam is not None and seam.watcher is not None:
        seam.watcher.stop()
    restore(patches)
    if seam is not None:
        journal, seam.scope.journal = seam.scope.journal, None
        if journal is not None:
            journal.remove()
        while seam.dead:
            seam.dead.pop().close()  # for another to tell of
    if finder in sys.meta_path:
        sys.meta_path.remove(finder)
        finder.stop_timing()
    finder = seam = hot_scope.active = None
