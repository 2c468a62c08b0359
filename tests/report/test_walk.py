"""The pages of docs/walk.md in a real browser: they show what the walk says, and its pictures are made of them."""

import os

import pytest

from coldspan_console.store import Filter, Store
from support.walking import PAGE, ROOT, rewritten, walk

IMAGES = ROOT / "docs" / "images"
WANTED = os.environ.get("COLDSPAN_SCREENSHOTS")
MOST_BYTES = 150_000
WIDTH, MARGIN = 1_100, 10
KILLED, LOST = 5, 4  # of the first run's six, in order
# picture -> the page (before or after the fix), the view, the first and last element of it
PICTURES = {
    "overview": (0, "#/", "header.bar", ".panel:has(#time)"),
    "kill": (0, KILLED, ".headline", ".panel:has(.waterfall)"),
    "stack": (0, KILLED, ".panel:has(.stack)", ".panel:has(.stack)"),
    "failures": (0, "#/failures", "header.bar", ".panel:has(.failures)"),
    "partial": (0, LOST, ".headline", ".panel:has(.waterfall)"),
    "fixed": (1, "#/list", "header.bar", ".panel:has(.list)"),
}

pytestmark = pytest.mark.timeout(240)  # three runs of a function, one of which waits for its kill


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The walk, done once. With COLDSPAN_SCREENSHOTS its texts are written into the page: they are of the same run."""
    made = walk(tmp_path_factory.mktemp("walk"), tmp_path_factory.mktemp("cache"))
    if WANTED:
        PAGE.write_text(rewritten(PAGE.read_text("utf-8"), made.steps), "utf-8")
    return made


@pytest.fixture
def opened(done, open_page):
    """Give what opens one of the walk's pages at a view, or at an invocation of the first run by its number."""
    with Store.open(done.store, write=False) as store:
        ids = [record["request_id"] for record in store.documents(Filter())][::-1]

    def at(number, view, **options):
        fragment = f"#/invocation/{ids[view]}" if isinstance(view, int) else view
        options.setdefault("viewport", {"width": WIDTH, "height": 800})
        return open_page(url=done.pages[number].as_uri(), fragment=fragment, **options)

    return at


def test_the_overview_counts_what_the_walk_says(opened):
    """Six invocations, one killed, and one call of fifteen that failed in silence."""
    shown = dict(
        zip(
            *[opened(0, "#/").locator(f".figure {part}").all_inner_texts() for part in (".label", "strong")],
            strict=True,
        )
    )
    assert (shown["invocations"], shown["errors"], shown["killed"], shown["calls"]) == ("6", "0", "1", "15")


def test_what_failed_has_three_rows(opened):
    """The kill, its call in flight, and what came before them."""
    rows = opened(0, "#/failures").locator(".failures tr").all_inner_texts()
    words = [
        ("PickupFunction invocation", "timeout"),
        ("sqs ReceiveMessage", "in_flight"),
        ("sns PublishBatch", "partial"),
    ]
    assert len(rows) == len(words)
    for what, status in words:
        assert sum(what in row and status in row for row in rows) == 1


def test_the_killed_invocation_shows_its_call_in_flight_and_the_line_it_waited_in(opened):
    """A bar from the start of the call to the kill, on a scale of seconds, and the function's two frames."""
    page = opened(0, KILLED)
    assert page.locator(".scale span").all_inner_texts()[:3] == ["0 ms", "1 s", "2 s"]
    (flight,) = page.locator(".wbars > i.s-in_flight").all()
    assert flight.bounding_box()["width"] > 0.9 * page.locator(".wbars > i.handler").bounding_box()["width"]
    assert page.locator(".stack .own").all_inner_texts() == ["app.py:26 print_slips", "app.py:35 handler"]


def test_no_frame_shows_a_folder_of_this_machine(opened):
    """It would be in the picture."""
    assert not [
        frame for frame in opened(0, KILLED).locator(".stack pre div").all_inner_texts() if frame.startswith("/")
    ]


def test_the_invocation_before_shows_the_message_that_was_refused(opened):
    """An invocation that was ok, with the cause in it."""
    page = opened(0, LOST)
    assert "✓ ok" in page.inner_text(".headline h1")
    assert "1 of 4 failed" in page.inner_text(".waterfall")
    assert page.inner_text(".waterfall .wmessage") == "InvalidParameter: Message is not valid JSON."


def test_the_mended_runs_rows_are_all_well(opened):
    """The last six of both runs; below them those that were not."""
    rows = opened(1, "#/list").locator(".rows .row")
    wrong = [row.locator(".message").inner_text() for row in rows.all()]
    assert wrong[:6] == [""] * 6
    assert wrong[6:] == ["sns PublishBatch partial", "Sandbox.Timedout", "sns PublishBatch partial", "", "", "", ""]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_the_walk_is_made(opened, tmp_path, name, scheme):
    """From one element to another, whole; with COLDSPAN_SCREENSHOTS the files in docs/images are made anew."""
    number, view, first, last = PICTURES[name]
    page = opened(number, view, color_scheme=scheme, viewport={"width": WIDTH, "height": 1_000})
    page.wait_for_timeout(300)
    top, end = page.locator(first).bounding_box(), page.locator(last).bounding_box()
    above = max(0, top["y"] - MARGIN)
    clip = {"x": 0, "y": above, "width": WIDTH, "height": end["y"] + end["height"] + MARGIN - above}
    file = f"walk-{name}{'-dark' if scheme == 'dark' else ''}.png"
    target = (IMAGES if WANTED else tmp_path) / file
    page.screenshot(path=target, clip=clip, full_page=True)
    assert 10_000 < target.stat().st_size < MOST_BYTES
    assert (IMAGES / file).is_file()
