"""The watcher in real processes: stacks at the deadline, and nothing of it anywhere else."""

import json
import threading

import pytest

from coldspan.core import journal
from support.running import complained, invocation_documents, printed

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"

STUCK = """
import asyncio, re, time, coldspan

def in_c(event):
    time.sleep(event.get("first_s", 0))
    re.match("(a+)+$", "a" * 60 + "b")

def busy(event):
    while True:
        pass

def asleep(event):
    with coldspan.call("pricing", "quote"):
        time.sleep(event["s"])

async def waiting(event):
    await asyncio.sleep(event["s"])

async def gathering(event):
    with coldspan.call("warehouse", "reserve"):
        await asyncio.gather(waiting(event), asyncio.create_task(waiting(event), name="prices"))

def handler(event, context):
    with coldspan.call("stock", "read"):
        pass
    how = event.get("how")
    if how == "c":
        in_c(event)
    elif how == "busy":
        busy(event)
    elif how == "asleep":
        asleep(event)
    elif how == "asyncio":
        asyncio.run(gathering(event))
    return how
"""


def journals(folder):
    """What the journals of a folder say; their owners are dead."""
    return [journal.read(path.read_bytes()) for path in folder.glob("*.journal")]


def last_words(lines):
    """The lines of invocations near their deadline."""
    found = []
    for line in lines:
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if isinstance(document, dict) and document.get("coldspan") == "deadline_near":
            found.append(document)
    return found


def wait_for(condition, platform):
    """Wait until something is so."""
    pause = threading.Event()
    for _ in range(2_000):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail(platform.text)


def functions(told, thread):
    """The names of the functions in a thread's stack, innermost first."""
    return [frame.rpartition(" ")[2] for stack in told if stack["thread"] == thread for frame in stack["frames"]]


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_an_invocation_that_is_killed_in_a_sleep_has_told_what_it_was_in(local, start):
    """The environment never comes back, nobody is attached, and the log has it."""
    platform = local(STUCK)
    if start == "warm":
        platform.invoke(deadline_ms=2_000)
    platform.submit(b'{"how": "asleep", "s": 60}', request_id="stuck", deadline_ms=2_000, trace_id=TRACE)
    wait_for(lambda: last_words(platform.lines) and platform.segments, platform)
    platform.close()
    [said] = last_words(platform.lines)
    assert said["request_id"] == "stuck"
    assert said["function_name"] == "coldspan-test"
    assert 0 < said["left_ms"] <= 100
    assert 1_850 < said["running_ms"] < 2_000  # the deadline was set before the event was handed out
    [call] = said["calls_open"]
    assert (call["tool"], call["operation"]) == ("pricing", "quote")
    assert 1_700 < call["since_ms"] < 2_000
    assert [(call["tool"], call["status"]) for call in said["calls"]] == [("stock", "ok")]
    assert functions(said["stacks"], "MainThread")[:2] == ["asleep", "handler"]
    assert "_aws" not in said
    assert [document["request_id"] for document in invocation_documents(platform)] != ["stuck"]
    [segment] = platform.segments
    assert segment["in_progress"] is True
    assert segment["parent_id"] == "53995c3f42cd8ad8"
    assert [(call["name"], call.get("in_progress")) for call in segment["subsegments"]] == [
        ("stock", None),
        ("pricing", True),
    ]
    assert complained(platform) == []


def test_a_loop_in_python_is_told_too(local):
    """It holds the GIL as long as it may, and lets it go when asked."""
    platform = local(STUCK)
    platform.submit(b'{"how": "busy"}', request_id="stuck", deadline_ms=1_500)
    wait_for(lambda: last_words(platform.lines), platform)
    platform.close()
    [said] = last_words(platform.lines)
    assert functions(said["stacks"], "MainThread")[:2] == ["busy", "handler"]


def test_one_that_ends_after_all_has_its_normal_record_with_the_fact_promise_4(local):
    """Nothing is counted twice; the trace's open subsegments are completed by those of the same ids."""
    platform = local(STUCK)
    platform.invoke(b'{"how": "asleep", "s": 1.97}', request_id="late", deadline_ms=2_000, trace_id=TRACE)
    platform.invoke(request_id="next", deadline_ms=2_000)
    [said] = last_words(platform.lines)
    assert said["request_id"] == "late"
    late, following = sorted(invocation_documents(platform), key=lambda document: document["request_id"] != "late")
    assert late["deadline_near"] is True
    assert late["outcome"] == "ok"
    assert late["Calls"] == 2
    assert "deadline_near" not in following
    opened, ended = [segment for segment in platform.segments if segment["name"] == "coldspan-test handler"][:2]
    assert opened["id"] == ended["id"]
    assert [call["id"] for call in opened["subsegments"]] == [call["id"] for call in ended["subsegments"]]
    assert "in_progress" not in ended
    assert [document.get("errors") for document in (late, following)] == [None, None]


@pytest.mark.parametrize("start", ["cold", "warm"])
def test_a_main_thread_in_c_code_that_holds_the_gil_is_told_by_faulthandler(local, tmp_path, start):
    """No other thread of Python can run."""
    folder = tmp_path / "journal"
    platform = local(STUCK, environment={"COLDSPAN_JOURNAL_DIR": str(folder)})
    event = b'{"how": "c"}'
    if start == "warm":
        platform.invoke(deadline_ms=1_000)
        event = b'{"how": "c", "first_s": 0.4}'
    platform.submit(event, request_id="stuck", deadline_ms=1_000)
    wait_for(lambda: any(dead.stacks for dead in journals(folder)), platform)
    assert last_words(platform.lines) == []
    platform.close()
    [dead] = journals(folder)
    assert dead.stacks_of == 0
    told = dead.stacks
    [main] = [stack["frames"] for stack in told if any("app.py" in frame for frame in stack["frames"])]
    assert main[0].endswith("/re/__init__.py:%s match" % main[0].rpartition(":")[2].partition(" ")[0])
    assert [frame.rpartition(" ")[2] for frame in main[1:3]] == ["in_c", "handler"]
    assert not [stack for stack in told if "watcher.py" in str(stack)]


def test_a_dump_of_faulthandler_comes_only_where_it_was_armed_for(local, tmp_path):
    """Short invocations and long pauses between them: what was armed is cancelled when its invocation has ended."""
    folder = tmp_path / "journal"
    platform = local(STUCK, environment={"COLDSPAN_JOURNAL_DIR": str(folder)})
    for number in range(3):
        platform.invoke(b'{"how": "asleep", "s": 0.3}', request_id=f"r{number}", deadline_ms=600)
        threading.Event().wait(0.5)
    assert [dead.stacks for dead in journals(folder)] == [[]]
    assert last_words(platform.lines) == []
    assert [document.get("errors") for document in invocation_documents(platform)] == [None] * 3


def test_tasks_of_an_asyncio_loop_are_told(local):
    """The thread's own stack shows only the loop."""
    platform = local(STUCK)
    platform.submit(b'{"how": "asyncio", "s": 60}', request_id="stuck", deadline_ms=1_500)
    wait_for(lambda: last_words(platform.lines), platform)
    platform.close()
    [said] = last_words(platform.lines)
    assert "_run_once" in " ".join(functions(said["stacks"], "MainThread"))
    assert functions(said["stacks"], "task prices") == ["sleep", "waiting"]
    assert "gathering" in functions(said["stacks"], "task Task-1")
    assert [call["tool"] for call in said["calls_open"]] == ["warehouse"]


def test_freezes_and_short_deadlines_print_nothing(local):
    """Frozen for longer than the deadline between two invocations, which are both far from theirs."""
    import os
    import signal

    platform = local(STUCK)
    pid = None
    for number in range(3):
        platform.invoke(request_id=f"r{number}", deadline_ms=400)
        pid = platform.sandbox.process.pid
        os.kill(pid, signal.SIGSTOP)
        threading.Event().wait(0.5)
        os.kill(pid, signal.SIGCONT)
    platform.invoke(b'{"how": "asleep", "s": 0.1}', request_id="last", deadline_ms=3_000)
    assert printed(platform) == []
    assert len(invocation_documents(platform)) == 4
    assert not [document for document in invocation_documents(platform) if "deadline_near" in document]


def test_each_new_deadline_is_watched_and_none_of_an_earlier_one(local):
    """Short, long, short: the second is over before it matters, the third has a deadline of its own."""
    platform = local(STUCK)
    platform.invoke(b'{"how": "asleep", "s": 0.95}', request_id="a", deadline_ms=1_000)
    platform.invoke(b'{"how": "asleep", "s": 1.2}', request_id="b", deadline_ms=20_000)
    platform.invoke(b'{"how": "asleep", "s": 0.57}', request_id="c", deadline_ms=600)
    assert [said["request_id"] for said in last_words(platform.lines)] == ["a", "c"]


@pytest.mark.parametrize(
    ("variables", "lines"),
    [({"COLDSPAN_DEADLINE_MS": "0"}, 0), ({"COLDSPAN_FLUSH_MS": "0"}, 0), ({"COLDSPAN_EMF": "false"}, 0), ({}, 1)],
)
def test_what_is_switched_off_says_nothing_promise_7(local, variables, lines):
    """No stacks, no budget, or no lines in the log."""
    platform = local(STUCK, environment=variables)
    platform.invoke(b'{"how": "asleep", "s": 0.95}', request_id="a", deadline_ms=1_000)
    assert len(last_words(platform.lines)) == lines


FORKS = """
def tasks():
    return len(os.listdir("/proc/self/task"))

def forking(event, context):
    before = tasks()
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(tasks())
        print(before, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), tasks())
        before = tasks()
    return 1

invoke(forking)
invoke(forking)
print(start.seam.watcher.is_started, start.seam.buffer.errors)
"""


def test_a_fork_finds_no_thread_of_ours_and_warns_of_none_promise_2(program):
    """From Python 3.12 on, a fork beside threads is a DeprecationWarning; the next invocation has a watcher again."""
    for journaled in ("false", "true"):
        run = program(FORKS, "-W", "error", COLDSPAN_JOURNAL=journaled)
        assert (run.err, run.code) == ("", 0)
        # the watcher's thread, and faulthandler's: armed for at once in the first invocation only
        first = "3 1 1" if journaled == "true" else "2 1 1"
        assert run.lines == [first, "1 1 1", "1 1 1", "2 1 1", "1 1 1", "1 1 1", "True {}"]


def test_a_child_that_serves_invocations_has_a_watcher_of_its_own(program):
    """As the workers of Managed Instances, which are forked before any invocation."""
    run = program(
        """
        import time
        child = os.fork()
        invoke(lambda event, context: time.sleep(0.95), left_ms=1000)
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        """,
        "-W",
        "error",
    )
    assert (run.err, run.code) == ("", 0)
    assert len(last_words(run.lines)) == 2


def test_subprocesses_meet_no_hook_of_ours(program):
    """They are made by vfork: nothing is stopped for them, and nothing waits."""
    run = program(
        """
        import subprocess
        def handler(event, context):
            watcher = start.seam.watcher
            subprocess.run(["true"], check=True)
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
            print(watcher is start.seam.watcher, watcher.is_stopping)
        invoke(handler)
        """,
        "-W",
        "error",
    )
    assert (run.err, run.code, run.lines) == ("", 0, ["True False"])


def test_the_recorder_that_is_stopped_leaves_no_thread_and_no_patch_promise_7(program):
    """What was patched is as it was."""
    run = program(
        """
import faulthandler
invoke(lambda event, context: print(len(os.listdir("/proc/self/task"))))
armed = type(faulthandler.dump_traceback_later).__name__
start.stop()
print(len(os.listdir("/proc/self/task")), armed, type(faulthandler.dump_traceback_later).__name__)
"""
    )
    assert (run.err, run.code) == ("", 0)
    assert run.lines == ["3", "1 function builtin_function_or_method"]


CUSTOMERS = """
import faulthandler, tempfile, time
folder = tempfile.mkdtemp()
theirs = os.open(os.path.join(folder, "theirs"), os.O_RDWR | os.O_CREAT)

def arming(event, context):
    faulthandler.dump_traceback_later(0.6, file=theirs)
    time.sleep(0.3)

def late(event, context):
    time.sleep(0.7)

def cancelling(event, context):
    faulthandler.cancel_dump_traceback_later()
    try:
        faulthandler.dump_traceback_later(timeout=-1)
    except ValueError as error:
        print(error)
    time.sleep(0.3)

invoke(arming, left_ms=500)
invoke(late, left_ms=2000)
print(b"Timeout" in os.pread(theirs, 1000, 0))
invoke(cancelling, left_ms=600)
if start.seam is not None:
    ours = start.seam.scope.journal
    print(ours._map[ours._fault_at], start.seam.buffer.errors, file=sys.stderr)
"""


def test_a_customers_faulthandler_is_left_alone_promise_2(program):
    """Their timer runs across invocations, and its dump is theirs."""
    recorded = program(CUSTOMERS)
    bare = program(CUSTOMERS, COLDSPAN_ENABLED="false")
    assert recorded.lines == bare.lines == ["True", "timeout must be greater than 0"]
    assert (recorded.err, bare.err, recorded.code) == ("0 {}\n", "", 0)


def test_signals_go_on_as_without_us_promise_2(program):
    """No handler is set, none is touched, and one that is blocked and waited for is not delivered to our thread."""
    text = """
    import signal, time
    before = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
    def handler(event, context):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
        os.kill(os.getpid(), signal.SIGUSR1)
        print(signal.sigwait([signal.SIGUSR1]).name)
        signal.signal(signal.SIGALRM, lambda number, frame: print("alarm"))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        time.sleep(0.95)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    invoke(handler, left_ms=1000)
    print(before == [signal.getsignal(number) for number in sorted(signal.valid_signals())])
    """
    recorded, bare = program(text), program(text, COLDSPAN_ENABLED="false")
    assert len(last_words(recorded.lines)) == 1
    assert (
        [line for line in recorded.lines if "deadline_near" not in line] == bare.lines == ["SIGUSR1", "alarm", "True"]
    )
    assert (recorded.err, recorded.code) == ("", 0)


def test_the_interpreter_ends_quietly_while_the_watcher_looks_on_promise_2(program):
    """sys.exit in the handler, near the deadline."""
    for how in ("sys.exit(3)", "os._exit(3)"):
        run = program(
            f"""
            import time
            def handler(event, context):
                time.sleep(0.95)
                {how}
            invoke(handler, left_ms=1000)
            """,
            "-X",
            "dev",
        )
        assert (run.err, run.code) == ("", 3)
        assert len(last_words(run.lines)) == 1


def test_with_json_logs_above_info_the_line_carries_level_and_timestamp(local):
    """Else the platform drops it."""
    environment = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "ERROR"}
    platform = local(STUCK, environment=environment)
    platform.invoke(b'{"how": "asleep", "s": 0.95}', request_id="a", deadline_ms=1_000)
    [said] = last_words(platform.lines)
    assert said["level"] == "ERROR"
    assert said["timestamp"].endswith("Z")


def test_the_first_invocation_does_not_wait_for_what_is_loaded_late(program):
    """Of the watcher, only what watches is loaded with the first invocation."""
    run = program(
        """
        def handler(event, context):
            print(sorted(name for name in sys.modules if name.startswith("coldspan.") and ("watch" in name
                  or "stacks" in name or "lastwords" in name or "faulthandler" in name)))
        invoke(handler)
        """
    )
    assert run.lines == ["['coldspan.hot.faulthandler', 'coldspan.hot.watcher']"]
