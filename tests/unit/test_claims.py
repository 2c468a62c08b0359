"""Whose journals are a dead process's: each is claimed once, a live one never, and nothing else is touched."""

import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest

from coldspan.drain import claims
from coldspan.drain.claims import claim, thin

BOOT_ID = "0c4e1f6a-7d7d-4a51-9c8d-2f0c6f1f9b11"
HEAD = "coldspan-journal/1\t{}\t{}\torders\t512\t1\t65536\n"


@pytest.fixture
def folder(tmp_path):
    """A folder of journals; what a test claims is closed after it."""
    return tmp_path


@pytest.fixture
def claimed(folder):
    """Claim in the folder; `claimed(...)` gives the list, which is let go of after the test."""
    held = []

    def run(boot_id=BOOT_ID, **fields):
        found = claim(str(folder), boot_id, **fields)
        held.extend(found)
        return found

    yield run
    for one in held:
        one.close()


def leave(folder, name="17-0000cafe.journal", *, pid=17, boot_id=BOOT_ID, age_s=0, text=None):
    """A dead process's journal, last written `age_s` ago."""
    path = folder / name
    path.write_bytes((HEAD.format(boot_id, pid) if text is None else text).encode() + bytes(100))
    moment = path.stat().st_mtime_ns - age_s * 1_000_000_000
    os.utime(path, ns=(moment, moment))
    return path


def names(folder):
    """What is in the folder."""
    return sorted(path.name for path in folder.iterdir())


def test_a_dead_process_journal_is_claimed_once(folder, claimed):
    """It would be told twice, by the next init and by the black box."""
    content = leave(folder).read_bytes()
    (one,) = claimed()
    assert (one.pid, one.data(), one.path) == (17, content, str(folder / "17-0000cafe.journal.claimed"))
    assert claimed() == []
    assert names(folder) == ["17-0000cafe.journal.claimed"]
    one.forget()
    assert names(folder) == []
    assert claimed() == []


def test_a_live_process_journal_is_left_alone(folder, claimed):
    """A healthy process would be told as dead."""
    path = leave(folder)
    owner = os.open(path, os.O_RDWR)
    fcntl.flock(owner, fcntl.LOCK_EX)
    assert claimed() == []
    assert names(folder) == ["17-0000cafe.journal"]
    os.close(owner)
    assert [one.pid for one in claimed()] == [17]


def test_what_its_claimer_did_not_tell_is_claimed_by_the_next(folder, claimed):
    """A claimer that is killed too would take the journal with it."""
    leave(folder)
    (first,) = claimed()
    first.close()
    (second,) = claimed()
    assert second.data().startswith(b"coldspan-journal/1\t")
    second.forget()
    assert names(folder) == []


def test_the_oldest_come_first_and_no_more_than_the_limit(folder, claimed):
    """A crash loop would be told in no order, or take all of the first drain's budget."""
    for number in range(20):
        leave(folder, f"{number}-aa.journal", pid=number, age_s=100 - number)
    assert [one.pid for one in claimed(limit=3)] == [0, 1, 2]
    assert [one.pid for one in claimed()] == list(range(3, 19))
    assert [one.pid for one in claimed()] == [19]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0" * 512,
        HEAD.format("another-boot", 17),
        HEAD.replace("/1", "/0").format(BOOT_ID, 17),
        HEAD.replace("/1", "/2").format(BOOT_ID, 17),
        HEAD.format(BOOT_ID, "x"),
        HEAD.format(BOOT_ID, ""),
        f"coldspan-journal/1\t{BOOT_ID}\n",
        f"coldspan-journal/1\t{BOOT_ID}",
        "coldspan-journal/1",
        "{}",
    ],
    ids=repr,
)
def test_what_is_no_journal_of_this_boot_is_deleted_and_never_told(folder, claimed, text):
    """Times of another boot mean nothing here, and a file that nobody can read would stay for ever."""
    leave(folder, text=text)
    leave(folder, "18-bb.journal", pid=18)
    assert [one.pid for one in claimed()] == [18]
    assert names(folder) == ["18-bb.journal.claimed"]


def test_what_is_no_file_of_ours_is_left_and_holds_nobody_up(folder, claimed):
    """Init would hang on a pipe, follow a link out of the folder, or fail on a folder."""
    os.mkfifo(folder / "1-a.journal")
    (folder / "2-b.journal").mkdir()
    elsewhere = leave(folder, "elsewhere.txt")
    (folder / "3-c.journal").symlink_to(elsewhere)
    (folder / "4-d.journal").symlink_to(folder / "nowhere")
    leave(folder, "5-e.txt")
    leave(folder, "6-f.journal", pid=6)
    before = set(names(folder))
    assert [one.pid for one in claimed()] == [6]
    assert set(names(folder)) == before - {"6-f.journal"} | {"6-f.journal.claimed"}
    assert thin(str(folder), 0) == 0


def test_a_folder_that_is_none_has_no_journals(folder, claimed):
    """Init would fail on it."""
    assert claim(str(folder / "nowhere"), BOOT_ID) == []
    assert claim(str(leave(folder)), BOOT_ID) == []


@pytest.mark.parametrize("step", ["open", "stat", "pread", "rename", "unlink", "flock"])
def test_a_journal_that_cannot_be_had_is_left_and_keeps_nothing_open(folder, claimed, monkeypatch, step):
    """Every step may meet a file that another process has just taken."""
    leave(folder, text="foreign" if step == "unlink" else None)
    leave(folder, "18-bb.journal", pid=18, text="foreign" if step == "unlink" else None)
    before = set(Path("/proc/self/fd").iterdir())

    def fail(*args):
        raise FileNotFoundError(2, "gone")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl if step == "flock" else os, step, fail)
        assert claimed() == []
    assert set(Path("/proc/self/fd").iterdir()) == before
    assert names(folder) == ["17-0000cafe.journal", "18-bb.journal"]


def test_a_journal_replaced_between_its_opening_and_its_lock_is_not_claimed(folder, claimed, monkeypatch):
    """What is locked would not be what has the name."""
    path = leave(folder)
    flock = fcntl.flock

    def replaced(descriptor, operation):
        path.unlink()
        leave(folder, pid=99)
        flock(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", replaced)
        assert claimed() == []
    assert [one.pid for one in claimed()] == [99]


def test_what_a_process_was_killed_over_making_is_deleted_after_a_minute(folder, claimed):
    """It has no lock and no name that anybody looks for: /tmp would fill with them."""
    leave(folder, "1-a.journal.new", age_s=61)
    leave(folder, "2-b.journal.new", age_s=50)
    assert claimed() == []
    assert names(folder) == ["2-b.journal.new"]


def test_files_of_the_functions_own_are_never_deleted_promise_2(folder, claimed):
    """COLDSPAN_JOURNAL_DIR may name a folder that it uses too."""
    theirs = [
        "ledger.journal",
        "orders-7.journal",
        "state.new",
        "7-state.new",
        "a.claimed",
        "1-b.journal.old",
        "1-.journal",
    ]
    for name in theirs:
        leave(folder, name, age_s=1_000, text="theirs")
    assert claimed() == []
    assert thin(str(folder), 0) == 0
    assert names(folder) == sorted(theirs)


def test_the_oldest_beyond_the_most_are_deleted_and_counted(folder, claimed):
    """Where every process is killed before it can tell, their journals would fill the function's /tmp."""
    for number in range(30):
        leave(folder, f"{number:02}-a.journal", pid=number, age_s=100 - number)
    held = claimed(limit=4)
    assert thin(str(folder), 40) == 0
    assert thin(str(folder), 20) == 6
    assert [int(name[:2]) for name in names(folder)] == [0, 1, 2, 3, *range(10, 30)]
    assert all(one.data() for one in held)


def test_a_descriptor_that_the_function_has_closed_is_not_closed_again(folder, claimed):
    """Under its number there may be a file of the customer's by now."""
    leave(folder)
    (one,) = claimed()
    theirs = os.open(folder / "theirs", os.O_RDWR | os.O_CREAT)
    os.write(theirs, b"theirs")
    os.dup2(theirs, one.fd)
    number = one.fd
    assert one.data() == b""
    one.close()
    assert os.fstat(number).st_ino == os.fstat(theirs).st_ino
    os.close(number)
    one.fd = number
    assert one.data() == b""
    one.forget()
    one.forget()
    os.close(theirs)
    assert names(folder) == ["theirs"]


def test_many_who_claim_at_once_share_the_journals(folder):
    """Two would tell the same one, or none would."""
    for turn in range(30):
        for number in range(8):
            leave(folder, f"{turn}-{number}.journal", pid=number)
        found, start = [], threading.Barrier(4)

        def work(found=found, start=start):
            start.wait()
            found.extend(claim(str(folder), BOOT_ID))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found += claim(str(folder), BOOT_ID)  # one that two looked at the same moment is left to the next
        assert sorted(one.pid for one in found) == list(range(8))
        for one in found:
            one.forget()
    assert names(folder) == []


@pytest.mark.parametrize("step", ["listdir", "stat", "open", "flock", "fstat", "pread", "rename", "unlink"])
def test_a_time_limit_of_the_customers_is_not_taken_for_a_missing_file(folder, claimed, monkeypatch, step):
    """TimeoutError is an OSError: the customer's alarm would be lost in our code."""
    leave(folder, text="foreign" if step == "unlink" else None)
    owner = fcntl if step == "flock" else os
    original = getattr(owner, step)

    def on_alarm(number, frame):
        raise TimeoutError("time is up")

    def struck(*args, **kwargs):
        signal.raise_signal(signal.SIGALRM)
        return original(*args, **kwargs)

    before = signal.signal(signal.SIGALRM, on_alarm)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, struck)
            with pytest.raises(TimeoutError, match="time is up"):
                claimed()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(claimed()) == (step != "unlink")


def test_the_boot_is_known_or_nameless(monkeypatch, tmp_path):
    """Without /proc init would fail."""
    assert len(claims.current_boot_id()) == 36
    monkeypatch.setattr(claims, "BOOT_ID", str(tmp_path / "none"))
    assert claims.current_boot_id() == ""
