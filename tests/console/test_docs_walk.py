"""docs/walk.md: its commands do as it says, the function fails as it says, and its fix is one."""

import re
import struct

import pytest

from coldspan_console.store import Filter, Store
from support.walking import FOLDER, PAGE, ROOT, stable, walk

TEXT = PAGE.read_text("utf-8")
IMAGES = ROOT / "docs" / "images"
MOST_BYTES = 150_000
SHELVED = [("sns", "PublishBatch", "ok"), ("dynamodb", "PutItem", "ok")]
PRINTED = [("dynamodb", "GetItem", "ok"), ("sqs", "ReceiveMessage", "ok"), ("sqs", "DeleteMessageBatch", "ok")]
LOST = [("sns", "PublishBatch", "partial"), ("dynamodb", "PutItem", "ok")]
KILLED = [("dynamodb", "GetItem", "ok"), ("sqs", "ReceiveMessage", "ok"), ("sqs", "ReceiveMessage", "in_flight")]

pytestmark = pytest.mark.timeout(240)  # three runs of a function, one of which waits for its kill


@pytest.fixture(scope="module")
def done(tmp_path_factory, cache):
    """The walk, done once."""
    return walk(tmp_path_factory.mktemp("walk"), cache)


@pytest.fixture(scope="module")
def records(done):
    """What was kept of it, the oldest first."""
    with Store.open(done.store, write=False) as store:
        return list(store.documents(Filter()))[::-1]


def calls(record):
    """(tool, operation, status) of each call."""
    return [(call["tool"], call["operation"], call["status"]) for call in record["calls"]]


def test_what_the_commands_print_is_what_the_page_shows(done):
    """Its texts were captured once; a command that prints something else today makes them wrong."""
    told = [step for step in done.steps if step.told is not None]
    assert len(told) == 5
    for step in told:
        assert stable(step.said) == stable(step.told), step.commands


def test_the_run_fails_as_the_page_says(records):
    """All are 200 but the kill; the call that lost a message is in an invocation that was ok."""
    run = records[:6]
    assert [(record["outcome"], calls(record)) for record in run] == [
        *[("ok", SHELVED), ("ok", PRINTED)] * 2, ("ok", LOST), ("timeout", KILLED),
    ]  # fmt: skip
    lost, killed = run[4]["calls"][0], run[5]
    assert (lost["items"], lost["items_failed"], lost["attributes"]["http.response.status_code"]) == (4, 1, 200)
    assert "not valid JSON" in lost["message"]
    assert killed["calls"][2]["duration_ms"] > 2_500
    (stack,) = killed["stacks"]
    frames = [frame for frame in stack["frames"] if frame.startswith("/var/task/")]
    assert [frame.rpartition(" ")[2] for frame in frames] == ["print_slips", "handler"]


def test_the_line_that_the_page_names_is_the_one_that_waits(records):
    """A reader would look at another line."""
    named = int(re.search(r"^Line (\d+) of \[app\.py\]", TEXT, re.MULTILINE)[1])
    assert "WaitTimeSeconds=20" in (FOLDER / "app.py").read_text("utf-8").splitlines()[named - 1]
    assert any(f"/var/task/app.py:{named} " in frame for frame in records[5]["stacks"][0]["frames"])


def test_the_event_that_is_run_alone_shows_both_sides(records, done):
    """The cause without the kill: a 200 that tells of four books, and three messages."""
    assert (records[6]["outcome"], calls(records[6])) == ("ok", LOST)
    (alone,) = [step.said for step in done.steps if "5-history-books" in step.commands[0]]
    assert '{\\"told\\": 4}' in alone
    assert "1 of 4 items failed" in alone


def test_the_mended_function_does_not_fail(records):
    """The fix on the page would be none."""
    mended = records[7:]
    assert [(record["outcome"], calls(record)) for record in mended] == [("ok", SHELVED), ("ok", PRINTED)] * 3


def test_the_diff_on_the_page_is_the_file():
    """One of the two would be changed alone."""
    (diff,) = re.findall(r"```diff\n(.*?)```", TEXT, re.DOTALL)
    assert diff == (FOLDER / "fix.diff").read_text("utf-8")


def test_no_text_of_the_page_is_of_somebodys_machine(done):
    """A path that is true in one place only: of a home, of the run's folder."""
    assert re.findall(r"(?<![\w.}])/(?:root|home|tmp|Users|usr|opt)/", TEXT) == []
    assert str(done.folder) not in "".join(step.said for step in done.steps)


def test_every_picture_and_page_that_is_named_is_there():
    """A hole in the page; and a picture that takes a reader's time."""
    pictures = re.findall(r'(?:srcset|src)="images/(.*?)"', TEXT)
    assert sorted(pictures) == sorted(path.name for path in IMAGES.glob("walk-*.png"))
    for name in pictures:
        head = (IMAGES / name).read_bytes()
        assert len(head) < MOST_BYTES, name
        assert 600 <= struct.unpack(">I", head[16:20])[0] <= 1_280, name  # PNG: the width of IHDR
    links = re.findall(r"\]\(([\w./-]+)\)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_readme_and_the_consoles_page_lead_here():
    """A walk that nobody finds."""
    assert "](docs/walk.md)" in (ROOT / "README.md").read_text("utf-8")
    assert "](walk.md)" in (ROOT / "docs" / "console.md").read_text("utf-8")
