"""The pictures of README and docs, made of a page by the browser."""

import os
from pathlib import Path

import pytest

from .documents import documents

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WANTED = os.environ.get("COLDSPAN_SCREENSHOTS")
MOST_BYTES = 300_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["overview", "waterfall", "map", "failures"])
def test_a_picture_is_made(open_page, tmp_path, name, scheme):
    """README shows what a user sees; with COLDSPAN_SCREENSHOTS the files in docs/images are made anew."""
    made = documents(2_000)
    interesting = next(
        one for one in made
        if one["start"] == "cold" and {"partial", "throttled"} & {call["status"] for call in one["calls"]}
    )  # fmt: skip
    fragment = {
        "overview": "#/",
        "waterfall": f"#/invocation/{interesting['request_id']}",
        "map": "#/map",
        "failures": "#/failures",
    }[name]
    page = open_page(made, fragment, viewport={"width": 1280, "height": 800}, color_scheme=scheme)
    page.wait_for_timeout(300)
    file = f"report-{name}{'-dark' if scheme == 'dark' else ''}.png"
    target = (IMAGES if WANTED else tmp_path) / file
    page.screenshot(path=target)
    assert 10_000 < target.stat().st_size < MOST_BYTES
    assert (IMAGES / file).is_file()
