"""A folder with one function, for tests that run it."""

import pytest

APP = """\
import json, sys, time

def handler(event, context):
    print("got", json.dumps(event))
    if event.get("boom"):
        raise ValueError("boom")
    if event.get("exit"):
        import os
        os._exit(3)
    while event.get("forever"):
        time.sleep(0.05)
    return {"n": event.get("n"), "secret": sys.modules.get("click") is not None, "tenant": context.tenant_id,
            "variables": __import__("os").environ.get("GREETING")}
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One folder of made layers and runtimes for all tests, as a user's cache is."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def place(tmp_path, monkeypatch, cache):
    """An empty folder with one function, and nothing of this shell that would be taken for the user's."""
    for name in ("VIRTUAL_ENV", "AWS_ENDPOINT_URL", "COLDSPAN_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLDSPAN_CACHE", str(cache))
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    return tmp_path
