"""Threads and pools carry our token, never more, and two invocations never mix."""

import concurrent.futures.thread
import contextvars
import gc
import sys
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from coldspan.core.record import USER, Invocation
from coldspan.hot import threads
from coldspan.hot.patch import restore


@pytest.fixture
def carried(scope):
    """A Scope with threads and pools patched."""
    patches = []
    threads.install(threading, scope, patches)
    threads.install(concurrent.futures.thread, scope, patches)
    yield scope
    restore(patches)


def live(scope, name="r1"):
    invocation = Invocation("invocation", name, scope.new_id(), scope.clock(), scope.wall())
    scope.current.set(invocation)
    return invocation


def make_call(scope, tool="t"):
    call = scope.begin(USER, tool, "op")
    scope.end(call)
    return call


def test_a_thread_keeps_the_invocation_and_the_parent_call(carried):
    """A call made on a thread that the handler started belongs to the handler's invocation."""
    invocation = live(carried)
    parent = carried.begin(USER, "outer", "op")
    found = []
    thread = threading.Thread(target=lambda: found.append(make_call(carried)))
    thread.start()
    thread.join()
    carried.end(parent)
    assert found[0].owner is invocation
    assert found[0].parent is parent
    carried.current.set(None)


def test_a_subclass_that_overrides_run_keeps_the_invocation(carried):
    """Half of the world's threads are subclasses."""
    invocation = live(carried)
    found = []

    class Worker(threading.Thread):
        def run(self):
            found.append(make_call(carried).owner)

    worker = Worker()
    worker.start()
    worker.join()
    assert found == [invocation]
    assert "run" not in vars(worker)
    carried.current.set(None)


def test_a_pool_made_before_the_invocation_keeps_it_for_each_task(carried):
    """Pools live across invocations; each task belongs to the invocation that submitted it."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        owners = []
        for name in ("r1", "r2"):
            invocation = live(carried, name)
            owners.append((invocation, pool.submit(make_call, carried).result().owner))
            invocation.closed = True
            carried.current.set(None)
        stray = pool.submit(make_call, carried).result()
    assert all(expected is found for expected, found in owners)
    assert stray.owner is carried.outside


def test_a_task_of_a_pool_leaves_no_position_behind(carried):
    """The worker goes on to somebody else's task."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        live(carried)
        pool.submit(make_call, carried).result()
        carried.current.set(None)
        assert pool.submit(carried.current.get).result() is None


def test_two_invocations_on_two_threads_never_mix(carried):
    """Managed Instances and thread-mode runtimes run several invocations in one process."""
    barrier = threading.Barrier(2, timeout=10)
    result = {}

    def serve(name):
        invocation = live(carried, name)
        for number in range(200):
            if number % 50 == 0:
                barrier.wait()
            call = carried.begin(USER, name, str(number))
            inner = threading.Thread(target=make_call, args=(carried, name))
            if number % 50 == 0:
                inner.start()
                inner.join()
            carried.end(call)
        result[name] = invocation

    servers = [threading.Thread(target=serve, args=(name,)) for name in ("a", "b")]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    for name, invocation in result.items():
        assert {call.tool for call in invocation.calls} == {name}
        assert {call.owner for call in invocation.calls} == {invocation}
        assert len(invocation.calls) == 204
        assert not invocation.open


def test_the_customers_context_is_not_carried_promise_5(carried):
    """Only our token: a context variable of the customer's in a new thread would change what the code sees."""
    live(carried)
    variable = contextvars.ContextVar("customer", default="unset")
    variable.set("set")
    seen = []
    thread = threading.Thread(target=lambda: seen.append(variable.get()))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        seen.append(pool.submit(variable.get).result())
    carried.current.set(None)
    expected = "set" if getattr(sys.flags, "thread_inherit_context", 0) else "unset"
    assert seen == [expected, expected]


def test_an_exception_in_a_task_has_the_traceback_it_has_without_us_promise_1(scope):
    """future.result() shows the customer's frames and the pool's own."""

    def broken():
        return 1 // 0

    def trace():
        with ThreadPoolExecutor(1) as pool:
            try:
                pool.submit(broken).result()
            except ZeroDivisionError as error:
                return traceback.format_exception(error)
        return None

    without = trace()
    patches = []
    threads.install(concurrent.futures.thread, scope, patches)
    live(scope)
    try:
        assert trace() == without
    finally:
        restore(patches)
        scope.current.set(None)


def test_an_exception_in_a_thread_reaches_excepthook_without_our_frame_promise_1(carried, monkeypatch):
    """What is printed for a thread that died names the customer's code only."""
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(traceback.extract_tb(args.exc_traceback)))
    live(carried)

    def broken():
        return 1 // 0

    thread = threading.Thread(target=broken)
    thread.start()
    thread.join()
    carried.current.set(None)
    assert [frame.name for frame in seen[0]][-2:] == ["run", "broken"]
    assert not [frame for frame in seen[0] if "coldspan/hot" in frame.filename]


def test_a_thread_started_twice_raises_what_it_raises_without_us_promise_1(carried):
    """The customer's mistake stays the customer's error."""
    live(carried)
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    with pytest.raises(RuntimeError, match="once"):
        thread.start()
    assert "run" not in vars(thread)
    carried.current.set(None)


def test_a_finished_thread_is_not_held_by_us(carried):
    """An attribute that refers to its own thread would keep it and all it holds until the collector runs."""
    live(carried)
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    watched = weakref.ref(thread)
    gc.disable()
    try:
        del thread
        assert watched() is None
    finally:
        gc.enable()
    carried.current.set(None)


def test_a_pool_of_interpreters_gets_its_tasks_as_they_are_promise_2(carried):
    """Python 3.14's InterpreterPoolExecutor pickles its tasks, and our closure cannot be. A stand-in by name."""

    class InterpreterPoolExecutor(ThreadPoolExecutor):
        pass

    found = {}
    for kind in (ThreadPoolExecutor, InterpreterPoolExecutor):
        with kind(1) as pool:
            pool.submit(int).result()
            invocation = live(carried)
            found[kind] = pool.submit(carried.current.get).result() is invocation
            carried.current.set(None)
    assert found == {ThreadPoolExecutor: True, InterpreterPoolExecutor: False}


@pytest.mark.parametrize("where", ["callback", "pool"])
def test_what_a_callback_or_a_mapped_task_raises_has_no_frame_of_ours_promise_1(carried, caplog, where):
    """Both are logged or raised with their traceback."""
    import multiprocessing.pool

    def broken(*ignored):
        return 1 // 0

    live(carried)
    if where == "callback":
        with ThreadPoolExecutor(1) as pool:
            pool.submit(int).add_done_callback(broken)
        text = caplog.text
    else:
        patches = []
        threads.install(multiprocessing.pool, carried, patches)
        with multiprocessing.pool.ThreadPool(1) as pool, pytest.raises(ZeroDivisionError) as raised:
            pool.map(broken, [1])
        restore(patches)
        text = "".join(traceback.format_exception(raised.value))
    carried.current.set(None)
    assert "ZeroDivisionError" in text
    assert "coldspan/hot" not in text


def test_a_done_callback_keeps_the_invocation(carried):
    """A callback runs on the worker's thread after the task's position has been taken away."""
    invocation = live(carried)
    owners = []
    release = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(release.wait)
        future.add_done_callback(lambda done: owners.append(make_call(carried).owner))
        release.set()
    assert owners == [invocation]
    carried.current.set(None)


@pytest.mark.parametrize("method", ["apply", "apply_async", "map", "starmap", "imap", "imap_unordered"])
def test_a_pool_of_threads_keeps_the_invocation(scope, method):
    """multiprocessing.pool.ThreadPool is the thread pool of older code."""
    import multiprocessing.pool

    patches = []
    with multiprocessing.pool.ThreadPool(2) as pool:
        threads.install(multiprocessing.pool, scope, patches)
        invocation = live(scope)
        task = lambda *ignored: make_call(scope)  # noqa: E731
        if method.startswith("apply"):
            result = getattr(pool, method)(task, (1,))
            calls = [result.get() if method == "apply_async" else result]
        else:
            calls = list(getattr(pool, method)(task, [(1,), (2,)] if method == "starmap" else [1, 2]))
    restore(patches)
    scope.current.set(None)
    assert {call.owner for call in calls} == {invocation}


def test_keywords_and_mistakes_of_submit_are_the_customers(carried):
    """submit() passes any keyword on, also those that our own function could have used."""
    live(carried)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(dict, node=1, function=2, self=3).result() == {"node": 1, "function": 2, "self": 3}
        with pytest.raises(TypeError):
            pool.submit()
    carried.current.set(None)
