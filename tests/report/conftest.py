"""A real browser, and pages of the report in files of their own."""

import os
import shutil
from pathlib import Path

import pytest

from coldspan_console.report.data import page_data
from coldspan_console.report.page import render

CHROMIUM = os.environ.get("COLDSPAN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def pytest_collection_modifyitems(items):
    """Without a browser there is nothing to test here."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason="no chromium on PATH: .ci/browser installs it"))


@pytest.fixture(scope="session")
def browser():
    """Chromium, once for all tests."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Give what opens documents as a page, at a fragment such as #/list. Pages may say nothing and ask for nothing."""
    pages, said, asked = [], [], []

    def opened(documents=None, fragment="", *, url=None, logs=None, **options):
        page = browser.new_page(viewport=options.pop("viewport", {"width": 1280, "height": 860}), **options)
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.on("request", lambda request: asked.append(request.url))
        if url is None:
            file = tmp_path / f"report-{len(pages)}.html"
            file.write_text(render(page_data(documents, title="coldspan report", logs=logs)), "utf-8")
            url = file.as_uri()
        page.goto(url + fragment)
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "http://127.0.0.1:"))] == []
