"""The drain and the journal: what has been told is forgotten, what a dead process has left is told once."""

import os
import sys
from pathlib import Path

import pytest

from coldspan.boot import start
from coldspan.core.buffer import Buffer
from coldspan.core.cells import SUFFIX
from coldspan.core.journal import read
from coldspan.core.record import USER
from coldspan.drain import dead as dead_module
from coldspan.drain.claims import claim, current_boot_id
from coldspan.drain.lastwords import LastWords
from coldspan.hot.scope import Scope
from support.journals import Recording
from support.runtime_loop import TRACE, Recorder, Runtime, request


class Function:
    """A function under a recorder with a journal; `refuse` makes stdout refuse so many lines."""

    def __init__(self, scope, clock, folder, patch):
        self.scope, self.clock, self.folder = scope, clock, folder
        self.runtime = Runtime(patch)
        self.refuse = 0
        self.recorder = Recorder(scope, write=self.write)
        self.number = 0

    def write(self, line):
        if self.refuse:
            self.refuse -= 1
            return False
        return self.recorder._write(line)

    def invoke(self, handler=lambda: None, *, left_ms=30_000, trace=TRACE):
        """One invocation, named r1, r2, ..."""
        self.number += 1

        def named(event, context):
            self.clock.advance(ms=5)
            return handler()

        deadline_ms = self.clock.wall_ns // 1_000_000 + left_ms
        self.runtime.invoke(self.recorder.wrap(named), request(f"r{self.number}", deadline_ms=deadline_ms, trace=trace))

    @property
    def kept(self):
        """(request id, outcome) of what the journal would tell now."""
        (path,) = self.folder.glob("*" + SUFFIX)
        return [(told.invocation.request_id, told.invocation.outcome) for told in read(path.read_bytes()).invocations]

    @property
    def told(self):
        """(request id, outcome, whether another process tells it) of every record."""
        return [(one["request_id"], one["outcome"], "told_by" in one) for one in self.recorder.records]

    def close(self):
        """Take the recorder away."""
        self.recorder.stop()
        if self.scope.journal is not None:
            self.scope.journal.remove()
            self.scope.journal = None
        for claimed in self.recorder.seam.dead:
            claimed.close()


@pytest.fixture
def folder(settings, tmp_path):
    """The journals' folder."""
    settings.journal_bytes, settings.journal_dir = 65_536, str(tmp_path / "journals")
    return tmp_path / "journals"


@pytest.fixture
def function(scope, fake_clock, folder, monkeypatch):
    """A Function; it opens its journal with its first invocation."""
    made = Function(scope, fake_clock, folder, monkeypatch)
    yield made
    made.close()


def leave_dead(fake_clock, settings, folder, number=1, calls=1):
    """A killed process's journal with one invocation, `d<number>`, that had a call in flight."""
    folder.mkdir(mode=0o700, exist_ok=True)
    scope = Scope(Buffer(), settings, fake_clock.monotonic, fake_clock.wall)
    recording = Recording(scope, folder, boot_id=current_boot_id(), name=f"{number}-dead")
    recording.begin(f"d{number}", deadline_ms=fake_clock.wall_ns // 1_000_000 + 900_000)
    for _ in range(calls):
        recording.call()
    scope.begin(USER, "stuck", "forever")
    recording.close()
    os.utime(recording.path, ns=(number * 10**9, number * 10**9))
    return recording.path


# --- our own journal ------------------------------------------------------------------------------------------------


def test_the_journal_keeps_what_runs_and_what_waits_and_forgets_what_has_been_sent(function):
    """A record would be told twice, or not at all, after a kill at any of these moments."""
    seen = []
    function.invoke(lambda: seen.append(function.kept))
    assert (seen, function.kept) == ([[("r1", "")]], [])
    function.invoke(left_ms=15)  # no time for a drain
    assert function.kept == [("r2", "ok")]
    function.invoke(lambda: seen.append(function.kept))
    assert seen[1] == [("r2", "ok"), ("r3", "")]
    assert function.kept == []
    assert [name for name, *_ in function.told] == ["r1", "r2", "r3"]


def test_what_stdout_has_refused_is_kept_until_it_has_been_written(function):
    """The only copy would be the one in memory that the kill takes."""
    function.refuse = 1
    function.invoke()
    assert function.kept == [("r1", "ok")]
    function.invoke()
    assert function.kept == []


@pytest.mark.expects_errors("_encode")
@pytest.mark.expects_drops("records_unencodable")
def test_a_record_counted_as_lost_is_not_told_after_a_kill_too(function, monkeypatch):
    """One invocation would be accounted for twice."""
    function.invoke()
    drain = function.recorder.drain
    with monkeypatch.context() as patch:
        patch.setattr(type(drain.emf), "invocation_lines", None)
        function.invoke()
    assert function.kept == []
    function.invoke()
    assert function.recorder.told == ({"_encode": 1}, {"records_unencodable": 1})


@pytest.mark.expects_drops("lines_buffer_full")
def test_a_line_that_had_to_make_room_is_not_told_after_a_kill_too(function, monkeypatch):
    """It has been counted as lost."""
    monkeypatch.setattr("coldspan.core.limits.LINES_WAITING", 1)
    function.refuse = 3
    function.invoke()
    function.invoke()
    assert function.kept == [("r2", "ok")]
    function.invoke()


@pytest.mark.expects_drops("journal_deleted")
def test_a_journal_that_was_deleted_is_replaced_and_nothing_is_told_twice(function, scope):
    """What waits holds numbers of the old journal, which must mean nothing in the new one."""
    function.refuse = 1
    function.invoke()
    function.invoke(left_ms=15)
    old = scope.journal
    Path(old.path).unlink()
    assert old.is_unlinked()
    scope.journal.lost = True  # as the watcher says
    scope.buffer.drop("journal_deleted")
    function.invoke()
    assert scope.journal is not old
    assert function.kept == []
    assert [name for name, *_ in function.told] == ["r1", "r2", "r3"]
    assert (scope.journal.serial, function.recorder.told[0]) == (3, {})


@pytest.mark.expects_drops("journal_deleted")
def test_a_journal_whose_descriptor_was_closed_is_not_taken_for_a_dead_ones(function, scope):
    """Its lock is gone with the descriptor: its own process would tell of its death."""
    function.invoke(left_ms=15)
    journal = scope.journal
    for entry in list(Path("/proc/self/fd").iterdir()):
        if str(entry.resolve()) == journal.path:
            os.close(int(entry.name))
    assert journal.is_unlinked()
    journal.lost = True
    scope.buffer.drop("journal_deleted")
    function.invoke()
    assert [entry[2] for entry in function.told] == [False, False]


@pytest.mark.parametrize("missing", ["mmap", "fcntl"])
@pytest.mark.expects_drops("journal_unavailable")
def test_a_python_without_mmap_goes_on_without_a_journal(function, monkeypatch, missing):
    """Its import would be a fault in every environment."""
    for name in ("coldspan.hot.journal", "coldspan.drain.claims"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    function.invoke()
    function.invoke()
    assert function.recorder.told == ({}, {"journal_unavailable": 1})
    assert [entry["Calls"] for entry in function.recorder.records] == [0, 0]


@pytest.mark.expects_errors("begin_again")
def test_a_child_never_writes_into_its_parents_journal_whatever_fails(function, scope, monkeypatch):
    """The parent's records would be mixed with the child's."""
    function.invoke()
    journal = scope.journal

    def fail(self):
        raise BufferError("still in use")

    with monkeypatch.context() as patch:
        patch.setattr(type(journal), "drop", fail)
        scope.buffer.shielded(function.recorder.seam.begin_again)()
    assert scope.journal is None
    scope.journal = journal


# --- a dead process's journal ---------------------------------------------------------------------------------------


def test_the_first_drain_tells_of_a_dead_process_and_deletes_its_journal(function, fake_clock, settings, folder):
    """A killed invocation would be lost, or told by every process to come."""
    settings.xray_address = "127.0.0.1:2000"
    path = leave_dead(fake_clock, settings, folder)
    fake_clock.advance(s=5)
    seen = []
    function.invoke(lambda: seen.append(sorted(entry.name for entry in folder.iterdir())))
    assert seen[0][0] == path.name + ".claimed"
    assert function.told == [("d1", "crash", True), ("r1", "ok", False)]
    assert not list(folder.glob("1-dead*"))
    dead = function.recorder.records[0]
    assert (dead["told_by"], dead["pid"], dead["flush"], dead["calls_open"]) == ("next_init", 17, "journal", 1)
    assert [(call["tool"], call["status"]) for call in dead["calls"]] == [("pricing", "ok"), ("stuck", "in_flight")]
    documents = [datagram for datagram in function.recorder.datagrams if b'"d1"' in datagram]
    assert len(documents) == 1


def test_a_dead_process_is_told_again_when_its_lines_did_not_all_leave(function, fake_clock, settings, folder):
    """Its journal would be deleted before it has been told."""
    leave_dead(fake_clock, settings, folder)
    function.refuse = 1
    function.invoke()
    assert list(folder.glob("1-dead*"))
    function.invoke()
    assert list(folder.glob("1-dead*")) == []
    assert [entry[0] for entry in function.told] == ["d1", "r1", "r2"]


def test_more_dead_processes_than_a_budget_has_time_for_are_told_by_later_drains(
    function, fake_clock, settings, folder, monkeypatch
):
    """A crash loop's first good invocation would be held up by all that went before."""
    for number in range(1, 6):
        leave_dead(fake_clock, settings, folder, number, calls=60)
    tell = dead_module.tell

    def slow(*args):
        fake_clock.advance(ms=15)
        tell(*args)

    monkeypatch.setattr(dead_module, "tell", slow)
    function.invoke()
    assert len(list(folder.glob("*-dead*"))) == 3
    function.invoke()
    function.invoke()
    assert list(folder.glob("*-dead*")) == []
    assert [entry[0] for entry in function.told if entry[2]] == [f"d{number}" for number in range(1, 6)]
    assert [entry[0] for entry in function.told if not entry[2]] == ["r1", "r2", "r3"]


@pytest.mark.expects_errors("_tell_dead")
@pytest.mark.expects_drops("journals_unreadable")
def test_a_journal_that_cannot_be_told_is_counted_once_and_not_tried_for_ever(
    function, fake_clock, settings, folder, monkeypatch
):
    """Every init to come would fail over it again."""
    leave_dead(fake_clock, settings, folder, 1)
    leave_dead(fake_clock, settings, folder, 2)
    tell = dead_module.tell

    def broken(drain, claimed):
        if "1-dead" in claimed.path:
            raise LookupError("a fault of the recorder's own")
        tell(drain, claimed)

    monkeypatch.setattr(dead_module, "tell", broken)
    function.invoke()
    assert list(folder.glob("*-dead*")) == []
    assert function.told == [("d2", "crash", True), ("r1", "ok", False)]
    function.invoke()
    assert function.recorder.told == ({"_tell_dead": 1}, {"journals_unreadable": 1})


def test_a_dead_process_that_had_told_everything_is_deleted_without_a_word(function, fake_clock, settings, folder):
    """An idle environment's end is no news."""
    path = leave_dead(fake_clock, settings, folder)
    data = bytearray(path.read_bytes())
    data[1_024:9_216] = bytes(8_192)
    path.write_bytes(bytes(data))
    function.invoke()
    assert function.told == [("r1", "ok", False)]
    assert list(folder.glob("*-dead*")) == []


def test_without_emf_a_dead_process_is_told_to_the_xray_daemon_alone(function, fake_clock, settings, folder):
    """COLDSPAN_EMF=false means no line, also of the dead."""
    settings.emf, settings.xray_address = False, "127.0.0.1:2000"
    leave_dead(fake_clock, settings, folder)
    function.invoke()
    assert function.recorder.lines == []
    assert sum(b'"request_id":"d1"' in datagram for datagram in function.recorder.datagrams) == 1
    assert list(folder.glob("*-dead*")) == []
    assert function.kept == []


def test_shortly_before_a_deadline_the_dead_are_told_where_no_invocation_ever_ends(
    function, fake_clock, settings, folder, monkeypatch
):
    """A function that always times out would never tell of it: no drain of its own ever comes."""
    leave_dead(fake_clock, settings, folder)

    def stuck():
        recorder = function.recorder
        words = LastWords(recorder.seam, lambda: recorder.drain, write=lambda line: True)
        (running,) = function.recorder.seam.live_by_id.values()
        words.tell(running, b"")
        seen.extend((function.told, list(folder.glob("*-dead*"))))

    seen = []
    function.invoke(stuck)
    assert seen == [[("d1", "crash", True)], []]
    assert function.recorder.told == ({}, {})


def test_stopping_lets_go_of_the_journals_of_others(fake_clock, settings, folder, monkeypatch, scope):
    """Nobody could claim them while this process lives."""
    path = leave_dead(fake_clock, settings, folder)
    function = Function(scope, fake_clock, folder, monkeypatch)
    function.recorder.seam.before_next()
    assert len(function.recorder.seam.dead) == 1
    monkeypatch.setattr(start, "seam", function.recorder.seam)
    start.stop()
    assert [entry.name for entry in folder.iterdir()] == [path.name + ".claimed"]
    (claimed,) = claim(str(folder), current_boot_id())
    claimed.forget()
    function.close()
