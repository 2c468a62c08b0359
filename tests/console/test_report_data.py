"""The page's data and frame, without a browser: whatever a store holds."""

import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldspan_console import cli
from coldspan_console.report.data import page_data
from coldspan_console.report.page import ASSETS, SCRIPTS, compact, render

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(max_size=5), each, max_size=4),
    max_leaves=8,
)
MEMBERS = ("calls", "stacks", "init", "platform", "Duration", "_aws", "request_id", "outcome", "annotations")


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, ANYTHING)), max_size=4))
def test_whatever_documents_hold_the_page_has_json_that_a_browser_reads(documents):
    """Infinite numbers, objects for lists: a record is what somebody printed."""
    documents = [{**each, "_aws": {"Timestamp": 1}} for each in documents]
    json.loads(compact(page_data(documents, title="x")), parse_constant=pytest.fail)


def test_an_infinite_number_is_left_out():
    """1e999 is JSON, and no number of a page."""
    document = {"_aws": {"Timestamp": 1}, "Duration": float("inf"), "annotations": {"a": float("inf"), "b": 1.5}}
    (one,) = page_data([document], title="x")["invocations"]
    assert (one["ms"], one["notes"]) == (0, {"a": None, "b": 1.5})


def test_the_charting_library_is_the_one_that_the_manifest_names():
    """What was shipped is what was built: name, version and hash."""
    manifest = json.loads((ASSETS / "manifest.json").read_text())
    assert hashlib.sha256((ASSETS / "echarts.js").read_bytes()).hexdigest() == manifest["sha256"]
    assert f"echarts={manifest['version']}" in (ASSETS / "build.sh").read_text()
    assert "Apache License" in (ASSETS / "echarts.LICENSE").read_text()


def test_the_page_allows_its_own_scripts_and_nothing_else():
    """Each script of the page has its hash in the policy."""
    page = render(page_data([], title="</title><script>x</script>"))
    policy = re.search(r'Content-Security-Policy" content="(.+?)"', page).group(1).replace("&#39;", "'")
    assert policy.count("'sha256-") == len(SCRIPTS)
    assert "script-src 'unsafe" not in policy
    assert "connect-src 'none'" in policy
    assert "<script>x</script>" not in page
    assert not any("</script" in (ASSETS / name).read_text() for name in SCRIPTS)


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "nothing to report"), (["--out", "no/such/folder/x.html"], "nothing to report"), (["--limit", "0"], "0")],
)
def test_bad_input_is_told(tmp_path, monkeypatch, capsys, words, said):
    """An empty store makes no page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLDSPAN_STORE", raising=False)
    assert cli.main(["report", *words]) in {2, 3}
    assert said in capsys.readouterr().err
