"""Forks: the child's ids are its own, it sends nothing of the parent's, and the parent notices nothing."""

import sys

import pytest

CHILD_IN_HANDLER = """
import os
@coldspan.tool("marked")
def marked():
    return start.seam.scope.current.get().span_id

def handler(event, context):
    marked()
    read, write = os.pipe()
    with coldspan.call("open", "around"):
        child = os.fork()
        if child == 0:
            ids = [marked() for _ in range(3)]
            os.write(write, json.dumps(ids).encode())
            os._exit(0)
        os.waitpid(child, 0)
        mine = [marked() for _ in range(3)]
    theirs = json.loads(os.read(read, 1000))
    os.close(read)
    os.close(write)
    print(len(set(mine + theirs)))
    marked()
    return "done"

invoke(handler)
invoke(lambda event, context: marked())
"""


def test_a_child_forked_in_the_handler_has_ids_of_its_own_and_sends_nothing_promise_2(program):
    """The parent's record holds the parent's calls, each once, and the child's leave nowhere."""
    run = program(CHILD_IN_HANDLER, "-W", "error")
    assert (run.err, run.code) == ("", 0)
    assert run.lines == ["6"]
    assert [record["Calls"] for record in run.records] == [6, 1]
    assert [record["start"] for record in run.records] == ["cold", "warm"]


def test_a_child_that_serves_on_tells_its_own_events_and_not_the_parents_promise_4(program):
    """What waits in the parent for its next drain is the parent's to send, also when the child drains first."""
    run = program(
        """
        @coldspan.tool("marked")
        def marked():
            return 1
        def keeping(event, context):
            marked()
            return 1
        def forking(event, context):
            marked()
            global child
            child = os.fork()
            return 1
        child = None
        invoke(keeping)                         # no budget: its lines wait
        assert start.seam.drain is not None
        invoke(forking)
        start.seam.settings.flush_ns = 10**10
        if child:
            os.waitpid(child, 0)
            print("parent", flush=True)
        def last(event, context):
            marked()
            return 1
        last.__name__ = "last"
        number = 10 if child else 20
        invoke(last)
        """,
        "-W",
        "error",
        COLDSPAN_FLUSH_MS="0",
    )
    assert (run.err, run.code) == ("", 0)
    at = run.out.splitlines().index("parent")
    child = [line for line in run.out.splitlines()[:at] if '"r' in line]
    assert [record["request_id"] for record in run.records] == ["r21", "r1", "r2", "r11"]
    assert not [line for line in child if '"r1"' in line or '"r2"' in line]
    assert [record["start"] for record in run.records] == ["cold", "cold", "warm", "warm"]
    assert [record.get("dropped") for record in run.records] == [None] * 4


POOLS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

@coldspan.tool("marked")
def square(number):
    return number * number

def put(queue):
    queue.put(square(7))

def handler(event, context):
    square(1)
    fork = multiprocessing.get_context("fork")
    queue = fork.SimpleQueue()
    process = fork.Process(target=put, args=(queue,))
    process.start()
    results = [queue.get()]
    process.join()
    process.close()
    queue.close()
    square(2)
    return results

def pooled(event, context):
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # Python's own, of threads of the pools
    fork = multiprocessing.get_context("fork")
    with fork.Pool(1) as pool:
        results = pool.map(square, range(4))
        pool.close()
        pool.join()
    with ProcessPoolExecutor(1, mp_context=fork) as pool:
        results += pool.map(square, range(4))
    return results

invoke(handler)
invoke(pooled)
print(*[body for _, _, body in runtime.posted], sep="|")
"""


def test_multiprocessing_in_a_handler_works_as_without_us_promise_2(program):
    """Same results; no thread of ours, so no warning of a fork beside threads; no record of the children's."""
    recorded = program(POOLS, "-W", "error")
    bare = program(POOLS, "-W", "error", COLDSPAN_ENABLED="false")
    assert recorded.lines == bare.lines == ["[49]|[0, 1, 4, 9, 0, 1, 4, 9]"]
    assert (recorded.err, recorded.code) == (bare.err, bare.code) == ("", 0)
    assert [record["Calls"] for record in recorded.records] == [2, 0]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_started_anew_works_as_without_us_promise_2(program, tmp_path, method):
    """A spawned child imports the function's module afresh; there is no runtime in it."""
    (tmp_path / "work_module.py").write_text("def square(number):\n    return number * number\n")
    text = f"""
    import multiprocessing
    sys.path.insert(0, {str(tmp_path)!r})
    from work_module import square
    def handler(event, context):
        with multiprocessing.get_context({method!r}).Pool(1) as pool:
            results = pool.map(square, range(4))
            pool.close()
            pool.join()
        return results
    invoke(handler)
    print(runtime.posted[0][2])
    """
    run = program(text)
    assert (run.lines, run.err, run.code) == (["[0, 1, 4, 9]"], "", 0)
    assert len(run.records) == 1


def test_a_fork_while_another_thread_drains_does_not_stop_the_childs_drains_promise_3(program):
    """The lock of a drain that runs in the parent is held for ever in the child: the child must not wait for it."""
    run = program(
        """
        import threading
        from coldspan.drain import flush
        held, go_on = threading.Event(), threading.Event()
        def slow(line):
            held.set()
            go_on.wait(20)
            return os.write(1, line) > 0
        invoke(lambda event, context: 1)
        def on_thread():
            other.invoke(start.seam.wrap_handler(lambda event, context: 1), request("other"))
        other = Runtime.__new__(Runtime)
        other.__dict__.update(runtime.__dict__)
        drain = next(cell.cell_contents.__self__ for cell in start.seam.drain.__closure__
                     if hasattr(cell.cell_contents, "__self__") and hasattr(cell.cell_contents.__self__, "pending"))
        drain.write = slow
        thread = threading.Thread(target=on_thread)
        thread.start()
        held.wait(20)
        import warnings
        warnings.simplefilter("ignore")
        child = os.fork()
        if child == 0:
            number = 50
            invoke(lambda event, context: 1)
            os._exit(0)
        os.waitpid(child, 0)
        go_on.set()
        thread.join()
        """,
    )
    assert (run.err, run.code) == ("", 0)
    assert sorted(record["request_id"] for record in run.records) == ["other", "r1", "r51"]


def test_an_after_fork_hook_of_ours_that_fails_is_counted_in_the_child_only_promise_2(program):
    """The child runs on, silently, whatever our hook does."""
    run = program(
        """
        def broken(self):
            raise LookupError("a fault of the recorder's own")
        type(start.seam).begin_again = broken
        def handler(event, context):
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                os.write(write, json.dumps(start.seam.buffer.errors).encode())
                os._exit(0)
            os.waitpid(child, 0)
            print(os.read(read, 100).decode())
            return 1
        invoke(handler)
        invoke(handler)
        """,
        "-W",
        "error",
    )
    assert (run.err, run.code) == ("", 0)
    assert run.lines == ['{"_after_fork": 1}'] * 2
    assert [record.get("errors") for record in run.records] == [None, None]


def test_the_interpreters_of_these_tests_fork():
    """A platform without fork would make every test here say nothing."""
    assert hasattr(__import__("os"), "fork"), sys.platform
