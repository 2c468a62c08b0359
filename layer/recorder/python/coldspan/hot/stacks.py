"""Takes the stacks of all threads and of suspended asyncio tasks: files, lines and names, never a value.

Runs in the watcher's thread while the others go on, and calls nothing of the customer's: what a class of theirs may
define is asked of the base class's own descriptor. No frame is kept, because a frame keeps all that its variables hold.
"""

import sys
import threading
from types import AsyncGeneratorType, BuiltinFunctionType, CoroutineType, GeneratorType

from coldspan.core import limits
from coldspan.core.stacks import LEFT_OUT, frame_text, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.core.stacks import Stack

_OURS = __file__.rpartition("hot/")[0]  # a wrapper of ours is not what a thread is in
# The interpreter's own class: gevent, and others, have one of theirs in its place.
_Thread: "Any" = next(each for each in type(threading.main_thread()).__mro__ if "__dict__" in vars(each))
_attributes: "Any" = vars(_Thread)["__dict__"].__get__
# How each kind of suspended code names its frame and what it waits for.
_SUSPENDED = {
    CoroutineType: ("cr_frame", "cr_await", "cr_running"),
    GeneratorType: ("gi_frame", "gi_yieldfrom", "gi_running"),
    AsyncGeneratorType: ("ag_frame", "ag_await", "ag_running"),
}


def take(own: int) -> bytes:
    """Give the stacks as `core.stacks` writes them: the main thread first, the thread with the ident `own` left out."""
    if _has_interpreters():
        return b""
    loops: "list[Any]" = []
    stacks = _threads(own, loops)
    stacks += _tasks(loops)
    return write(stacks)


def _has_interpreters() -> bool:
    """Whether the customer has made subinterpreters: their frames, which come with ours, change without our GIL.

    Measured: three out of four processes crash on Python 3.12 and 3.13.
    """
    for name in ("_interpreters", "_xxsubinterpreters"):  # of 3.13 and of earlier ones; a public module loads them
        listed = getattr(sys.modules.get(name), "list_all", None)
        if listed is not None:
            return len(listed()) > 1
    return False


def _threads(own: int, loops: "list[Any]") -> "list[Stack]":
    known = dict(threading._active)  # type: ignore[attr-defined]  # its lock may be held for ever by who is stuck
    main = getattr(threading.main_thread(), "ident", None)
    run_forever = _code_of_loops()
    stacks = []
    frames = sys._current_frames()
    frames.pop(own, None)
    order = sorted(frames, key=lambda ident: ident != main)
    for ident in order[: limits.STACK_THREADS]:
        texts: "list[str]" = []
        frame: "Any" = frames.pop(ident)
        while frame is not None:
            code = frame.f_code
            if code is run_forever:
                loops.append(frame.f_locals.get("self"))
            if len(texts) < limits.STACK_FRAMES and not code.co_filename.startswith(_OURS):
                texts.append(frame_text(code.co_filename, frame.f_lineno, code.co_qualname))
            frame = frame.f_back
            if frame is not None and len(texts) == limits.STACK_FRAMES:
                texts.append(LEFT_OUT)
        stacks.append((_name(known.get(ident), ident), texts))
    frames.clear()
    if len(order) > limits.STACK_THREADS:
        stacks.append(("%d more threads" % (len(order) - limits.STACK_THREADS), []))
    return stacks


def _name(thread: "Any", ident: int) -> str:
    """A thread's name without asking its class, which may be the customer's."""
    name = None
    if issubclass(type(thread), _Thread):
        name = _attributes(thread).get("_name")
    return name if type(name) is str and name else "0x%x" % ident


def _code_of_loops() -> "Any":
    """The code object in whose frame a running event loop is found, where tasks are kept out of sight (Python 3.14)."""
    tasks, events = sys.modules.get("asyncio.tasks"), sys.modules.get("asyncio.base_events")
    if type(getattr(tasks, "all_tasks", None)) is not BuiltinFunctionType:
        return None
    loop = getattr(events, "BaseEventLoop", None)
    return getattr(getattr(loop, "run_forever", None), "__code__", None)


def _tasks(loops: "list[Any]") -> "list[Stack]":
    module = sys.modules.get("asyncio.tasks")
    kind: "Any" = getattr(module, "Task", None)
    if kind is None:
        return []
    found: "list[Any]" = []
    for name in ("_all_tasks", "_scheduled_tasks"):  # WeakSets, of 3.11 and of later ones
        refs = getattr(getattr(module, name, None), "data", None)
        if type(refs) is set:
            found += [ref() for ref in list(refs)]
    eager = getattr(module, "_eager_tasks", None)
    if type(eager) is set:
        found += list(eager)
    all_tasks: "Any" = getattr(module, "all_tasks", None)
    if type(all_tasks) is BuiltinFunctionType:  # the one in Python asks the tasks
        for loop in loops:
            found += all_tasks(loop)
    stacks: "list[Stack]" = []
    for task in found:
        if len(stacks) >= limits.STACK_TASKS:
            stacks.append((LEFT_OUT + " more tasks", []))
            break
        if issubclass(type(task), kind) and not kind.done(task):
            texts = _suspended(kind.get_coro(task))
            if texts:
                stacks.append(("task " + _task_name(kind, task), texts))
    return stacks


def _task_name(kind: "Any", task: "Any") -> str:
    name = kind.get_name(task)
    return name if type(name) is str else "?"


def _suspended(awaited: "Any") -> "list[str]":
    """The frames of a suspended coroutine and of what it awaits, innermost first; [] for one that is running."""
    texts: "list[str]" = []
    while len(texts) < limits.STACK_FRAMES:
        names = _SUSPENDED.get(type(awaited))
        if names is None:
            break
        frame_name, next_name, running_name = names
        frame = getattr(awaited, frame_name)
        if frame is None or getattr(awaited, running_name):
            break
        code = frame.f_code
        texts.append(frame_text(code.co_filename, frame.f_lineno, code.co_qualname))
        del frame
        awaited = getattr(awaited, next_name)
    texts.reverse()
    return texts
