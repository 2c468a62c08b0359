"""Killed processes and those that come after them: each dead invocation is told once, and no live one ever."""

import json
import os
import re
import signal
import subprocess
import textwrap
import threading

import pytest

from coldspan_console.platform import Invocation
from support.running import invocation_documents

KILLED = """
number = {number}
def handler(event, context):
    with coldspan.call("pricing", "quote"):
        pass
    with coldspan.call("stuck", "forever"):
        {death}
invoke(handler{left})
"""
GOOD = """
number = 100
for _ in range(2):
    invoke(lambda event, context: "fine")
print(*[body for _, _, body in runtime.posted])
"""
TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
SIGKILLED = "os.kill(os.getpid(), 9)"


@pytest.fixture
def folder(tmp_path):
    """Where the programs' journals are."""
    return tmp_path / "journal"


def kill(program, number, death=SIGKILLED, left="", code=-signal.SIGKILL, **variables):
    """Run a process that dies in an invocation named for the next number."""
    run = program(KILLED.format(number=number, death=death, left=left), **variables)
    assert run.code == code, run.err
    return run


def dead_ones(run):
    """{request id: outcome} of what was told of other processes; each only once."""
    told = [record for record in run.records if "told_by" in record]
    found = {record["request_id"]: record["outcome"] for record in told}
    assert len(found) == len(told), "told twice"
    assert {record["told_by"] for record in told} <= {"next_init"}
    return found


def faults(run):
    """What the records tell of our own errors and drops."""
    counts = {}
    for record in run.records:
        for name, count in {**record.get("errors", {}), **record.get("dropped", {})}.items():
            counts[name] = counts.get(name, 0) + count
    return counts


def fine(run, number=100):
    """The process did its own work as without us."""
    assert (run.code, run.lines) == (0, ['"fine" "fine"']), run.err
    own = [record for record in run.records if "told_by" not in record]
    assert [(record["request_id"], record["outcome"]) for record in own] == [
        (f"r{number + 1}", "ok"), (f"r{number + 2}", "ok"),
    ]  # fmt: skip
    return run


# --- told once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("death", "code"),
    [
        (SIGKILLED, -9),
        ("os._exit(3)", 3),
        ("os.abort()", -6),
        ("__import__('ctypes').string_at(0)", -11),
        ("os.kill(os.getpid(), 15)", -15),
        ("os.execv('/bin/true', ['true'])", 0),
    ],
    ids=["killed", "left", "aborted", "segfault", "terminated", "replaced"],
)
def test_the_next_process_tells_of_one_that_died_in_an_invocation(program, folder, death, code):
    """Whatever ends a process, nobody would know what it was doing."""
    kill(program, 0, death, code=code)
    assert len(list(folder.iterdir())) == 1
    run = fine(program(GOOD))
    assert dead_ones(run) == {"r1": "crash"}
    record = run.records[0]
    assert (record["calls_open"], record["start"], record["evidence"]) == (1, "cold", ["replaced_before_deadline"])
    assert [(call["tool"], call["status"]) for call in record["calls"]] == [("pricing", "ok"), ("stuck", "in_flight")]
    assert (record["trace_id"], record["flush"]) == ("5759e988bd862e3fe1be46a994272793", "journal")
    assert 0 < record["Duration"] < 30_000
    assert (faults(run), run.err) == ({}, "")
    assert dead_ones(fine(program(GOOD))) == {}
    assert len(list(folder.iterdir())) == 1  # the last one's own


def test_a_crash_loop_is_told_by_the_first_that_comes_to_tell(program, folder):
    """Each process claims what those before it left, and is killed before it can tell."""
    for number in range(3):
        kill(program, number)
    assert sorted(path.suffix for path in folder.iterdir()) == [".claimed", ".claimed", ".journal"]
    run = fine(program(GOOD))
    assert dead_ones(run) == {"r1": "crash", "r2": "crash", "r3": "crash"}
    assert [record["request_id"] for record in run.records][:3] == ["r1", "r2", "r3"]
    assert faults(run) == {}
    assert dead_ones(fine(program(GOOD))) == {}


def test_a_loop_of_more_crashes_than_are_claimed_at_once_is_told_in_the_end(program, folder):
    """The rest would stay in /tmp for ever."""
    text = """
    def handler(event, context):
        os._exit(7)
    for number in range(40):
        child = os.fork()
        if not child:
            invoke(handler)
        assert os.waitpid(child, 0)[1] == 7 << 8
    """
    assert program(text).code == 0
    told = []
    for _ in range(4):
        told += [name for name in dead_ones(fine(program(GOOD))) if name not in ("r101", "r102")]
    assert sorted(told) == sorted(f"r{number}" for number in range(1, 41))


def test_processes_that_start_at_once_share_the_dead_among_them(program):
    """Two would tell the same one: claimed by a rename, under a lock."""
    text = """
    def dying(event, context):
        os._exit(7)
    go = [os.pipe() for _ in range(3)]
    for turn in range(12):
        for number in range(turn * 10, turn * 10 + 4):
            child = os.fork()
            if not child:
                invoke(dying)
            os.waitpid(child, 0)
        children = []
        for read, write in go:
            child = os.fork()
            if not child:
                os.read(read, 1)
                number = 1000
                invoke(lambda event, context: 1)
                os._exit(0)
            children.append(child)
        for read, write in go:
            os.write(write, b"x")
        for child in children:
            os.waitpid(child, 0)
    number = 2000
    invoke(lambda event, context: 1)
    """
    run = program(text)
    assert (run.code, run.err) == (0, "")
    assert set(dead_ones(run)) == {f"r{turn * 10 + number}" for turn in range(12) for number in range(1, 5)}
    assert faults(run) == {}


def test_a_live_process_is_never_told_of(program):
    """Workers of a Managed Instance share /tmp: the others' journals are of healthy invocations."""
    text = """
    def handler(event, context):
        global number
        with coldspan.call("outer", "op"):
            for first in (50, 60):
                child = os.fork()
                if not child:
                    number = first
                    invoke(lambda event, context: 1)
                    os._exit(0)
                os.waitpid(child, 0)
        return 1
    invoke(handler)
    """
    run = program(text)
    assert dead_ones(run) == {}
    assert [record["request_id"] for record in run.records] == ["r51", "r61", "r1"]
    assert faults(run) == {}


def test_what_was_told_is_not_told_again_after_a_kill(program):
    """A healthy invocation would be a crash too when its idle environment is taken down."""
    kill(program, 0)
    run = program("number = 10\ninvoke(lambda event, context: 1)\ninvoke(lambda event, context: 1)\n" + SIGKILLED)
    assert (run.code, dead_ones(run)) == (-9, {"r1": "crash"})
    assert dead_ones(fine(program(GOOD))) == {}


def test_an_invocation_that_had_ended_and_waited_is_told_as_it_ended(program):
    """Its response was posted: it was no crash, only its record was lost."""
    text = """
    def failing(event, context):
        with coldspan.call("pricing", "quote"):
            raise KeyError("no such order")
    invoke(lambda event, context: "x" * 100, left_ms=90)  # less than a first drain may take
    invoke(failing, left_ms=90)
    os.kill(os.getpid(), 9)
    """
    run = program(text, COLDSPAN_DEADLINE_MS="0")  # else the last words of the second tell of the first
    assert (run.code, run.records) == (-9, [])
    run = fine(program(GOOD))
    assert dead_ones(run) == {"r1": "ok", "r2": "error"}
    first, second = run.records[:2]
    assert (first["recovered"], first["ResponseBytes"], first["start"], first["Error"]) == (True, 102, "cold", 0)
    assert (second["recovered"], second["error_type"], second["start"]) == (True, "KeyError", "warm")
    assert [(call["tool"], call["status"]) for call in second["calls"]] == [("pricing", "error")]
    assert "evidence" not in first


def test_a_process_that_leaves_by_itself_has_nothing_to_tell(program, folder):
    """sys.exit() in a handler is told by the drain, an idle end by nobody."""
    run = program("invoke(lambda event, context: sys.exit(4))")
    assert (run.code, [record["outcome"] for record in run.records]) == (4, ["error"])
    assert len(list(folder.iterdir())) == 1
    assert dead_ones(fine(program(GOOD))) == {}


def test_without_emf_nothing_is_printed_of_the_dead_either(program, folder):
    """COLDSPAN_EMF=false promises an empty log."""
    kill(program, 0, COLDSPAN_EMF="false")
    run = program(GOOD, COLDSPAN_EMF="false")
    assert (run.code, run.documents, run.lines) == (0, [], ['"fine" "fine"'])
    assert len(list(folder.iterdir())) == 1  # its own: the dead one's has been deleted
    assert dead_ones(fine(program(GOOD))) == {}


# --- the deadline ---------------------------------------------------------------------------------------------------

AT_DEADLINE = """
        import threading, time
        end = time.monotonic() + {seconds}
        while time.monotonic() < end:
            {wait}
        os.kill(os.getpid(), 9)
"""


def test_one_killed_at_its_deadline_is_told_as_a_timeout_with_its_stacks(program):
    """What it was stuck on, down to the line, is what everybody asks."""
    kill(program, 0, AT_DEADLINE.format(seconds=1.5, wait="threading.Event().wait(0.01)").strip(), ", left_ms=1500")
    run = fine(program(GOOD))
    assert dead_ones(run) == {"r1": "timeout"}
    record = run.records[0]
    assert record["evidence"] == ["stacks_taken_at_deadline", "alive_at_deadline"]
    assert 1_000 < record["Duration"] < 2_500  # the kill came when it did, on a machine under load
    assert (record["Timeout"], record["Error"], record["error_type"]) == (1, 1, "Sandbox.Timedout")
    assert any(" handler" in frame for stack in record["stacks"] for frame in stack["frames"])
    assert record["calls"][1]["status"] == "in_flight"
    call = record["calls"][1]
    assert call["timestamp"] + call["duration_ms"] == pytest.approx(record["_aws"]["Timestamp"], abs=2)
    assert 0 < record["rss_mb"] < 500


def test_one_that_held_the_gil_until_its_deadline_is_told_by_faulthandler(program):
    """No thread of ours runs while C code holds the GIL, and no heartbeat comes."""
    death = "import ctypes, signal; signal.setitimer(signal.ITIMER_REAL, 1.5); ctypes.PyDLL(None).sleep(30)"
    kill(program, 0, death, ", left_ms=1500", code=-signal.SIGALRM)
    run = fine(program(GOOD))
    assert dead_ones(run) == {"r1": "timeout"}
    record = run.records[0]
    assert "stacks_by_faulthandler" in record["evidence"]
    assert any(" handler" in frame for stack in record["stacks"] for frame in stack["frames"])
    assert 1_000 < record["Duration"] < 1_600


def test_where_every_invocation_times_out_each_is_told_by_the_next_before_its_own_end(program):
    """No drain ever comes in such an environment: the worst outage would be the one that nobody sees."""
    death = AT_DEADLINE.format(seconds=1.5, wait="threading.Event().wait(0.01)").strip()
    told = [dead_ones(kill(program, number, death, ", left_ms=1500")) for number in range(3)]
    assert told == [{}, {"r1": "timeout"}, {"r2": "timeout"}]


# --- forks ----------------------------------------------------------------------------------------------------------


def test_a_child_of_the_handler_leaves_the_parents_journal_alone(program, folder):
    """Its calls would be told as the parent's, and its end as the parent's death."""
    text = """
    def handler(event, context):
        with coldspan.call("outer", "op"):
            child = os.fork()
            if not child:
                with coldspan.call("childs", "op"):
                    pass
                os._exit(0 if start.seam.scope.journal is None else 1)
            print(os.waitpid(child, 0)[1], len(os.listdir(os.environ["COLDSPAN_JOURNAL_DIR"])), flush=True)
            os.kill(os.getpid(), 9)
    invoke(handler)
    """
    run = program(text)
    assert (run.code, run.lines, run.records) == (-9, ["0 1"], [])
    run = fine(program(GOOD))
    assert dead_ones(run) == {"r1": "crash"}
    assert [(call["tool"], call["status"]) for call in run.records[0]["calls"]] == [("outer", "in_flight")]


def test_a_child_that_lives_on_does_not_keep_its_dead_parent_from_being_told(program):
    """It was born with the parent's lock."""
    text = """
    import signal
    def handler(event, context):
        child = os.fork()
        if not child:
            os.close(1)
            os.close(2)
            signal.alarm(60)
            signal.pause()
        print(child, flush=True)
        os.kill(os.getpid(), 9)
    invoke(handler)
    """
    run = program(text)
    assert run.code == -9
    child = int(run.lines[0])
    try:
        assert dead_ones(fine(program(GOOD))) == {"r1": "crash"}
        os.kill(child, 0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_program_that_the_handler_started_does_not_keep_its_dead_parent_from_being_told(program):
    """A helper process outlives the function's: it must not have got our descriptors."""
    death = """import subprocess
        nowhere = subprocess.DEVNULL
        helper = subprocess.Popen(["sleep", "60"], stdout=nowhere, stderr=nowhere, close_fds=False)
        print(helper.pid, flush=True)
        os.kill(os.getpid(), 9)"""
    run = kill(program, 0, death)
    try:
        assert dead_ones(fine(program(GOOD))) == {"r1": "crash"}
    finally:
        os.kill(int(run.lines[0]), signal.SIGKILL)


def test_a_child_that_serves_events_has_a_journal_of_its_own_from_its_first(program, folder):
    """What it records would be lost with it."""
    text = """
    def dying(event, context):
        os._exit(7)
    def handler(event, context):
        global number
        child = os.fork()
        if not child:
            number = 50
            invoke(dying)
        assert os.waitpid(child, 0)[1] == 7 << 8
        return 1
    invoke(handler)
    """
    run = program(text)
    assert (run.code, [record["request_id"] for record in run.records]) == (0, ["r1"])
    assert len(list(folder.iterdir())) == 2
    run = fine(program(GOOD))
    assert dead_ones(run) == {"r51": "crash"}


# --- where there can be none ----------------------------------------------------------------------------------------

MANY_CALLS = """
def handler(event, context):
    for _ in range(200):
        with coldspan.call("pricing", "quote"):
            pass
    return "fine"
for _ in range(2):
    invoke(handler)
print(*[body for _, _, body in runtime.posted])
"""


def mounted(options, folder, then=""):
    """The command that runs a program with a tmpfs on the folder, in a mount namespace of its own."""
    folder.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o {options} coldspan "$0" && {then or "true"} && exec "$@"'
    under = ("unshare", "-m", "sh", "-c", script, str(folder))
    try:
        allowed = subprocess.run([*under, "true"], capture_output=True, check=False, timeout=20).returncode == 0
    except FileNotFoundError:
        allowed = False
    if not allowed:
        pytest.skip("mounting is not allowed here")
    return under


@pytest.mark.parametrize("size", ["16k", "60k", "64k"])
def test_a_full_tmp_costs_the_journal_and_never_the_process(program, tmp_path, size):
    """A page that the file system cannot give would kill the process with SIGBUS."""
    under = mounted(f"size={size},mode=1777", tmp_path / "small")
    run = program(MANY_CALLS, under=under, COLDSPAN_JOURNAL_DIR=str(tmp_path / "small" / "journal"))
    assert (run.code, run.lines, run.err) == (0, ['"fine" "fine"'], "")
    assert [record["Calls"] for record in run.records] == [200, 200]
    assert faults(run) == ({} if size == "64k" else {"journal_unavailable": 1})


def test_a_tmp_that_is_filled_later_harms_nobody(program, tmp_path):
    """The journal's blocks are its own from the start."""
    under = mounted("size=1m,mode=1777", tmp_path / "small")
    text = """
    def filling(event, context):
        with open(os.environ["COLDSPAN_JOURNAL_DIR"] + "/../rest", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError as error:
                assert error.errno == 28
    invoke(filling)
    """
    run = program(
        textwrap.dedent(text) + MANY_CALLS, under=under, COLDSPAN_JOURNAL_DIR=str(tmp_path / "small" / "journal")
    )
    assert (run.code, run.err) == (0, "")
    assert [record["Calls"] for record in run.records] == [0, 200, 200]
    assert faults(run) == {}


@pytest.mark.parametrize("there", [False, True], ids=["to be made", "there already"])
def test_a_read_only_tmp_costs_the_journal_and_nothing_else(program, tmp_path, there):
    """Some environments have no place to write at all."""
    folder = tmp_path / "small"
    under = mounted(
        "size=1m,mode=700", folder, f"{'mkdir -m 700' if there else 'echo'} {folder}/journal >&2; "
        f"mount -o remount,ro {folder}",
    )  # fmt: skip
    run = program(MANY_CALLS, under=under, COLDSPAN_JOURNAL_DIR=str(folder / "journal"))
    assert (run.code, run.lines) == (0, ['"fine" "fine"'])
    assert faults(run) == {"journal_unavailable": 1}


@pytest.mark.parametrize("place", ["/proc/coldspan", "/dev/null/journal", "/nowhere/at/all", "/proc/\udcff\n"])
def test_a_folder_that_cannot_be_made_costs_the_journal_and_nothing_else(program, place):
    """The setting may name anything."""
    run = program(MANY_CALLS, COLDSPAN_JOURNAL_DIR=place)
    assert (run.code, run.lines) == (0, ['"fine" "fine"'])
    assert faults(run) == {"journal_unavailable": 1}


def make_link(folder):
    (folder.parent / "elsewhere").mkdir()
    folder.symlink_to(folder.parent / "elsewhere")


def make_writable(mode):
    def make(folder):
        folder.mkdir()
        folder.chmod(mode)

    return make


def make_foreign(folder):
    if os.geteuid():
        pytest.skip("only root can give a folder away")
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)


REFUSED = {
    "a link": make_link,
    "a file": lambda folder: folder.write_text("theirs"),
    "writable by the group": make_writable(0o770),
    "writable by all": make_writable(0o1777),
    "somebody else's": make_foreign,
}


@pytest.mark.parametrize("title", REFUSED)
def test_a_folder_in_which_others_may_write_is_refused(program, folder, title):
    """Who may write there may tell lies of our dead, or have us delete and rename where a link leads."""
    REFUSED[title](folder)
    elsewhere = folder.parent / "elsewhere"
    before = sorted(elsewhere.iterdir()) if elsewhere.exists() else None
    run = program(MANY_CALLS)
    assert (run.code, run.lines) == (0, ['"fine" "fine"'])
    assert faults(run) == {"journal_folder_refused": 1}
    assert before is None or sorted(elsewhere.iterdir()) == before
    assert not folder.is_dir() or list(folder.iterdir()) == []


@pytest.mark.parametrize("module", ["mmap", "fcntl"])
def test_a_python_without_the_module_goes_on_without_a_journal(program, folder, module):
    """Some builds leave out what they think nobody needs."""
    run = program(f"sys.modules[{module!r}] = None\n" + MANY_CALLS)
    assert (run.code, run.lines, run.err) == (0, ['"fine" "fine"'], "")
    assert faults(run) == {"journal_unavailable": 1}
    assert not folder.exists()


def test_a_function_that_empties_tmp_loses_what_it_deleted_and_no_more(program, folder):
    """A journal without a name is nobody's: the next invocation has a new one, and its kill is told."""
    text = """
    import shutil, threading
    def emptying(event, context):
        with coldspan.call("around", "op"):
            shutil.rmtree(os.environ["COLDSPAN_JOURNAL_DIR"])
        with coldspan.call("after", "op"):
            pass
        for _ in range(1000):
            if start.seam.scope.journal.lost:
                break
            threading.Event().wait(0.01)
        return "fine"
    def dying(event, context):
        with coldspan.call("last", "op"):
            os.kill(os.getpid(), 9)
    invoke(emptying)
    invoke(dying)
    """
    run = program(text)
    assert run.code == -9
    assert [(record["request_id"], record["outcome"], record["Calls"]) for record in run.records] == [("r1", "ok", 2)]
    assert faults(run) == {"journal_deleted": 1}
    run = fine(program(GOOD))
    assert dead_ones(run) == {"r2": "crash"}
    assert [call["tool"] for call in run.records[0]["calls"]] == ["last"]


def test_a_function_that_empties_tmp_is_told_of_when_it_is_killed_in_the_same_invocation(program):
    """Many empty /tmp first of all, in each invocation: none of theirs had a journal when it was killed."""
    text = """
    import shutil, threading
    def handler(event, context):
        for _ in range(40):
            with coldspan.call("before", "op"):
                pass
        with coldspan.call("around", "op"):
            shutil.rmtree(os.environ["COLDSPAN_JOURNAL_DIR"])
            for _ in range(2000):
                journal = start.seam.scope.journal
                if journal is not None and not journal.lost and os.path.exists(journal.path):
                    break
                threading.Event().wait(0.01)
            threading.Event().wait(0.1)
            with coldspan.call("after", "op"):
                pass
            with coldspan.call("last", "op"):
                os.kill(os.getpid(), 9)
    invoke(lambda event, context: "fine")
    invoke(handler, left_ms=60000)
    """
    run = program(text)
    assert run.code == -9
    run = fine(program(GOOD))
    assert dead_ones(run) == {"r2": "crash"}
    (record,) = [record for record in run.records if record["outcome"] == "crash"]
    told = {(call["tool"], call["status"]) for call in record["calls"]}
    assert told == {("before", "ok"), ("around", "in_flight"), ("after", "ok"), ("last", "in_flight")}
    assert (record["Calls"], record["calls_overwritten"]) == (35, 8)


def test_what_is_open_is_kept_however_many_calls_come_after_it(program):
    """The one call that explains the kill was the first to be overwritten."""
    text = """
    def handler(event, context):
        with coldspan.call("stuck", "op"):
            for _ in range(500):
                with coldspan.call("later", "op"):
                    pass
            os.kill(os.getpid(), 9)
    invoke(handler)
    """
    assert program(text).code == -9
    run = fine(program(GOOD))
    (record,) = [record for record in run.records if record["outcome"] == "crash"]
    (stuck,) = [call for call in record["calls"] if call["status"] == "in_flight"]
    assert stuck["tool"] == "stuck"
    assert {call["parent_id"] for call in record["calls"] if call["tool"] == "later"} == {stuck["span_id"]}
    assert record["Calls"] + record["calls_overwritten"] == 501


def test_a_function_that_closes_every_descriptor_keeps_its_own_files(program, folder):
    """What it opens next has our descriptors' numbers: nothing of ours may write there, nor close it."""
    text = """
    import threading
    def closing(event, context):
        os.closerange(3, 200)
        global theirs
        theirs = [open(os.environ["COLDSPAN_JOURNAL_DIR"] + "/../theirs%d" % each, "w+b", 0) for each in range(12)]
        for _ in range(1000):
            if start.seam.scope.journal.lost:
                break
            threading.Event().wait(0.01)
        return "fine"
    def after(event, context):
        child = os.fork()
        if not child:
            os._exit(sum(os.fstat(file.fileno()).st_size for file in theirs))
        assert os.waitpid(child, 0)[1] == 0
        return "fine"
    invoke(closing, left_ms=9000)
    invoke(after)
    start.stop()
    for file in theirs:
        file.write(b"x")
        file.close()
    print(*[body for _, _, body in runtime.posted])
    """
    run = program(text)
    assert (run.code, run.lines, run.err) == (0, ['"fine" "fine"'], "")
    assert faults(run) == {"journal_deleted": 1}
    assert {path.read_bytes() for path in folder.parent.glob("theirs*")} == {b"x"}
    assert dead_ones(fine(program(GOOD))) == {}


# --- the file -------------------------------------------------------------------------------------------------------


def test_a_recorder_without_a_journal_leaves_no_file(program, folder):
    """COLDSPAN_JOURNAL=false means: nothing in /tmp."""
    run = fine(program(GOOD, COLDSPAN_JOURNAL="false"))
    assert not folder.exists()
    kill(program, 0, COLDSPAN_JOURNAL="false")
    assert not folder.exists()
    assert faults(run) == {}
    kill(program, 10)
    assert dead_ones(fine(program(GOOD, COLDSPAN_JOURNAL="false"))) == {}


def test_a_recorder_that_is_stopped_leaves_no_file(program, folder):
    """Whoever switches it off in a test would find files of ours."""
    run = program(GOOD + "start.stop()\nprint(os.listdir(os.environ['COLDSPAN_JOURNAL_DIR']))")
    assert (run.code, run.lines[-1]) == (0, "[]")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("umask", ["0", "0o22", "0o77", "0o277", "0o777"])
def test_folder_and_file_are_for_their_owner_alone_whatever_the_umask(program, folder, umask):
    """Others would read request ids, or the next process could not read what was left for it."""
    kill(program, 0, f"os.kill(os.getpid(), 9)\nos.umask({umask})\ninvoke(handler)\n#")
    (path,) = folder.iterdir()
    assert (folder.stat().st_mode & 0o7777, path.stat().st_mode & 0o7777) == (0o700, 0o600)
    assert dead_ones(fine(program(f"os.umask({umask})\n" + GOOD))) == {"r1": "crash"}


def test_a_journal_of_another_boot_is_deleted_and_not_told(program, folder):
    """Its times mean nothing on this clock."""
    kill(program, 0)
    (path,) = folder.iterdir()
    data = path.read_bytes()
    boot_id = re.search(rb"\t([0-9a-f-]{36})\t", data)[1]
    path.write_bytes(data.replace(boot_id, b"0" * 36, 1))
    run = fine(program(GOOD))
    assert (dead_ones(run), faults(run)) == ({}, {})
    assert not path.exists()
    assert len(list(folder.iterdir())) == 1


def test_no_descriptor_is_left_after_the_dead_have_been_told(program):
    """Sixteen for each crash loop would be the customer's limit one day."""
    for number in range(2):
        kill(program, number)
    text = """
    counts = []
    def handler(event, context):
        counts.append(len(os.listdir("/proc/self/fd")))
    for _ in range(3):
        invoke(handler)
    print(counts[0] - counts[1], counts[1] - counts[2])
    """
    run = program(text)
    assert run.lines == ["2 0"]


# --- the platform ---------------------------------------------------------------------------------------------------

ENVIRONMENT = """
import json, os, threading
def handler(event, context):
    if event.get("hang"):
        os.write(1, b"hanging\\n")
        threading.Event().wait(60)
    return sorted(os.listdir(os.environ["COLDSPAN_JOURNAL_DIR"]))
"""


def test_a_snapshot_holds_no_journal_and_each_restored_environment_begins_its_own(local, tmp_path):
    """Environments of one snapshot would write into the same mapping, or find each other dead."""
    folder = tmp_path / "journal"
    platform = local(ENVIRONMENT, init_type="snap-start", environment={"COLDSPAN_JOURNAL_DIR": str(folder)})
    platform.wait_until(lambda: platform.api.restoring_count == 1)
    assert not folder.exists()
    platform.api.restore.set()
    platform.wait_idle()
    (name,) = json.loads(platform.invoke().posted.body)
    assert name.endswith(".journal")
    assert [record["start"] for record in invocation_documents(platform)] == ["restored"]


def test_an_environment_that_is_reset_tells_of_the_invocation_it_was_reset_in(local, tmp_path):
    """Lambda keeps /tmp and starts the runtime anew: that is where the next init finds it."""
    platform = local(ENVIRONMENT, environment={"COLDSPAN_JOURNAL_DIR": str(tmp_path / "journal")})
    platform.invoke(request_id="r1")
    platform.submit(Invocation(b'{"hang": true}', request_id="r2", trace_id=TRACE))
    wait_for_line(platform, b"hanging\n")
    platform.kill()
    platform.restart()
    platform.invoke(request_id="r3")
    platform.invoke(request_id="r4")
    told = [(record["request_id"], record["outcome"]) for record in invocation_documents(platform)]
    assert told == [("r1", "ok"), ("r2", "crash"), ("r3", "ok"), ("r4", "ok")]
    assert [record.get("errors", record.get("dropped")) for record in invocation_documents(platform)] == [None] * 4
    named = {segment["metadata"]["coldspan"]["request_id"]: segment.get("fault") for segment in platform.segments}
    assert named == {"r2": True}


def test_a_worker_that_dies_beside_others_is_told_by_whoever_starts_next(local, tmp_path):
    """Workers of a Managed Instance share the folder: the living stay untouched, the dead one is told once."""
    platform = local(
        ENVIRONMENT.replace('"hanging\\n"', '"hanging %d\\n" % os.getpid()'),
        init_type="lambda-managed-instances", max_concurrency=2,
        environment={"COLDSPAN_JOURNAL_DIR": str(tmp_path / "journal")},
    )  # fmt: skip
    platform.wait_idle()
    assert len(list((tmp_path / "journal").iterdir())) == 2
    platform.submit(Invocation(b'{"hang": true}', request_id="r1"))
    worker = int(wait_for_line(platform, b"hanging").split()[1])
    os.kill(worker, signal.SIGKILL)
    platform.submit(Invocation(request_id="r2"))
    platform.wait_until(lambda: any(record["request_id"] == "r2" for record in invocation_documents(platform)))
    assert [record["request_id"] for record in invocation_documents(platform)] == ["r2"]
    platform.kill("spindown")
    platform.restart()
    platform.wait_idle()
    platform.submit(Invocation(request_id="r3"))
    platform.submit(Invocation(request_id="r4"))
    platform.wait_idle()
    told = [record["request_id"] for record in invocation_documents(platform)]
    assert sorted(told) == ["r1", "r2", "r3", "r4"]


def wait_for_line(platform, start):
    """Wait until the function has printed a line that begins so; gives the line."""
    arrived = threading.Event()
    while True:
        for line in platform.lines:
            if line.startswith(start):
                return line
        arrived.wait(0.01)
        assert platform.exit_code is None, platform.text
