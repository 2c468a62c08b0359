"""What the black box makes of a dead process's journal and of the platform's word: told, exported, marked as told."""

import json

import pytest

from coldspan.core.journal import read
from coldspan.drain.claims import current_boot_id
from coldspan_blackbox.counts import Counts
from coldspan_blackbox.deaths import Deaths
from coldspan_blackbox.lines import Lines
from coldspan_blackbox.platformfacts import PlatformFacts
from coldspan_blackbox.settings import Settings
from coldspan_blackbox.telemetry import Event
from support.journals import Recording


class Watching:
    """A Deaths over a folder; `records` are the invocations told, `exported` what the exporters were handed."""

    def __init__(self, folder):
        self.folder = folder
        self.settings = Settings(
            {b"COLDSPAN_JOURNAL_DIR": str(folder).encode(), b"AWS_LAMBDA_FUNCTION_NAME": b"orders"}
        )
        self.counts, self.platform = Counts(), PlatformFacts()
        self.written, self.exported = [], []
        self.journals = []  # what whoever claims next would find, at each line
        lines = Lines("coldspan", "orders", True, self._write)
        lines.export = lambda line: self.exported.append(json.loads(line))
        self.deaths = Deaths(self.settings, lines, self.platform, self.counts)

    def _write(self, line):
        self.written.append(json.loads(line))
        for path in self.folder.glob("*.claimed"):
            self.journals.append([each.invocation.request_id for each in read(path.read_bytes()).invocations])
        return True

    def heard(self, kind, **record):
        """The platform has said something."""
        self.platform.take(Event(kind, 0, record))

    def tell(self, **fields):
        """Tell; the records of invocations."""
        self.deaths.tell(**fields)
        assert (self.counts.faults, self.counts.refusals) == ({}, {})
        return [line for line in self.written if "Duration" in line]


@pytest.fixture
def process(scope, tmp_path):
    """A process with a journal of this boot in the folder."""
    made = Recording(scope, tmp_path, boot_id=current_boot_id())
    yield made
    if scope.journal is not None:
        made.close()


@pytest.fixture
def watching(tmp_path):
    return Watching(tmp_path)


def test_an_invocation_that_the_platform_calls_a_success_is_no_crash(process, watching, fake_clock):
    """The process died between its response and its record: an alarm would ring for a customer who was served."""
    process.begin("r1")
    fake_clock.advance(ms=90)
    process.call()
    process.close()
    watching.heard("runtimeDone", requestId="r1", status="success", metrics={"durationMs": 80.5})
    (record,) = watching.tell()
    assert (record["outcome"], record["Error"], record["Duration"]) == ("ok", 0, 80.5)
    assert record["recovered"] is True
    assert record["told_by"] == "black_box"
    assert "evidence" not in record
    assert "error_type" not in record


@pytest.mark.parametrize("status", ["failure", "error", "timeout", None])
def test_only_a_success_is_believed_to_have_ended_well(process, watching, status):
    """A kill would be told as a success, or one of another request hide it."""
    process.begin("r1")
    process.close()
    if status is not None:
        watching.heard("runtimeDone", requestId="r1", status=status)
    watching.heard("runtimeDone", requestId="r2", status="success")
    (record,) = watching.tell()
    assert record["outcome"] == ("timeout" if status == "timeout" else "crash")
    assert record["Error"] == 1


def test_what_the_journal_says_of_the_end_is_not_overruled(process, watching):
    """The function's own error would become a success, because Lambda calls an error that was answered one."""
    invocation = process.begin("r1")
    process.end(invocation, "error", error_type="ValueError")
    process.close()
    watching.heard("runtimeDone", requestId="r1", status="success", metrics={"durationMs": 5})
    (record,) = watching.tell()
    assert (record["outcome"], record["error_type"]) == ("error", "ValueError")


def test_each_invocation_is_marked_as_told_right_after_its_own_line(process, watching):
    """If the extension is killed while it tells, the next init would tell the same ones again."""
    for number in (1, 2):
        invocation = process.begin(f"r{number}")
        process.call()
        if number == 1:
            process.end(invocation)
    process.close()
    records = watching.tell()
    assert [record["request_id"] for record in records] == ["r1", "r2"]
    assert [line["request_id"] for line in watching.written] == ["r1", "r1", "r2", "r2"]
    # before its own line it is there, before the line of its calls it is not
    assert watching.journals == [["r1", "r2"], ["r2"], ["r2"], []]
    assert list(watching.folder.glob("*.claimed")) == []


def test_a_kill_is_exported_with_its_place_in_the_trace(process, watching):
    """The span of the invocation that matters most would be a trace of its own."""
    process.begin("r1")
    process.call()
    process.close()
    watching.tell()
    first, of_call = watching.exported
    assert (first.pop("parent_id"), first.pop("sampled")) == ("53995c3f42cd8ad8", True)
    assert [first, of_call] == watching.written  # and the log has no more than ever


def test_without_a_trace_a_kill_is_exported_as_it_stands_in_the_log(process, watching):
    """On the emulator there is no header."""
    process.begin("r1", trace_text="")
    process.close()
    watching.tell()
    assert watching.exported == watching.written


def test_a_kill_has_the_facts_of_the_function_as_every_record_has_promise_4(process, watching):
    """A query by version would miss the invocations that were killed."""
    watching.settings.version, watching.settings.memory_mb = "7", 512
    process.begin("r1")
    process.close()
    (record,) = watching.tell()
    assert (record["function_version"], record["memory_mb"]) == ("7", 512)


def test_what_nobody_has_read_is_told_again_by_whoever_claims_it_next(process, watching):
    """A log that is not read for 100 ms lost the record for good: it was counted, and the journal deleted."""
    process.begin("r1")
    process.close()
    write = watching.deaths._lines._write
    watching.deaths._lines._write = lambda _: False
    watching.deaths._lines.counts = watching.counts
    assert watching.deaths.tell() == 0
    assert (watching.exported, watching.counts.refusals) == ([], {"line_late": 1})
    watching.counts.refusals.clear()
    watching.deaths._lines._write = write
    (record,) = watching.tell()
    assert (record["request_id"], record["outcome"]) == ("r1", "crash")
    assert [line["request_id"] for line in watching.exported] == ["r1"]
    assert [path.name for path in watching.folder.iterdir() if "-" in path.name] == []


# --- without a journal ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error_type", "outcome", "timeout"),
    [
        ("timeout", None, "timeout", 1),
        ("timeout", "Sandbox.Timedout", "timeout", 1),
        ("error", "Runtime.ExitError", "crash", 0),
        ("failure", "Runtime.OutOfMemory", "out_of_memory", 0),
    ],
)
def test_a_kill_that_no_journal_knows_is_told_by_the_platforms_word(watching, status, error_type, outcome, timeout):
    """Killed before the recorder had seen the event, or with /tmp full: an alarm on Timeout would never ring."""
    more = {"errorType": error_type} if error_type else {}
    watching.heard("runtimeDone", requestId="r1", status=status, metrics={"durationMs": 2_000.5}, **more)
    assert watching.tell() == []
    for told in (1, 0):
        assert watching.deaths.tell_unrecorded({"shutdown_reason": "failure"}) == told
    (record,) = watching.written
    assert (record["request_id"], record["outcome"], record["Timeout"]) == ("r1", outcome, timeout)
    assert (record["Error"], record["Duration"], record["told_by"]) == (1, 2_000.5, "black_box")
    assert (record["evidence"], record["shutdown_reason"]) == (["platform", "no_journal"], "failure")
    assert record["platform"]["status"] == status
    assert watching.exported == watching.written


def test_what_a_journal_knows_or_the_process_has_told_itself_is_not_told_again(process, watching):
    """An invocation that was killed after its record had left would be there twice."""
    process.begin("r1")
    told = process.begin("r2")
    process.end(told)
    process.journal.write_told(told.serial)
    process.close()
    for request_id in ("r1", "r2"):
        watching.heard("runtimeDone", requestId=request_id, status="timeout", metrics={"durationMs": 100})
    assert [record["request_id"] for record in watching.tell()] == ["r1"]
    assert watching.deaths.tell_unrecorded() == 0


@pytest.mark.parametrize(
    "said",
    [
        {"status": "success"},
        {"status": "error", "errorType": "Runtime.ImportModuleError"},
        {"status": "error", "errorType": "ValueError"},
        {"status": "timeout", "spans": [{"name": "responseLatency", "durationMs": 5, "start": "2026-11-26T00:00:00Z"}]},
    ],
    ids=str,
)
def test_what_has_answered_or_failed_by_itself_is_told_by_the_recorder(watching, said):
    """A failed init and a handler's error have records; so has what was killed after its response."""
    watching.heard("runtimeDone", requestId="r1", **said)
    assert watching.deaths.tell_unrecorded() == 0


def test_the_platforms_word_that_comes_after_the_record_adds_none(process, watching):
    """On Managed Instances the death of a worker is seen before its caller's time is over."""
    process.begin("r1")
    process.close()
    assert [record["outcome"] for record in watching.tell()] == ["crash"]
    watching.heard("report", requestId="r1", status="timeout", metrics={"durationMs": 3_000})
    assert watching.deaths.tell_unrecorded() == 0
