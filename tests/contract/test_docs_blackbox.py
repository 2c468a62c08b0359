"""docs/blackbox.md and docs/exporters.md: the settings and names they give are those of the code."""

import json
import re
from pathlib import Path

import pytest

from coldspan.core import cells
from coldspan_blackbox.lines import UNITS
from coldspan_blackbox.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "blackbox.md").read_text()
EXPORTERS = (ROOT / "docs" / "exporters.md").read_text()
PACKAGE = ROOT / "layer" / "blackbox" / "coldspan-blackbox" / "coldspan_blackbox"


def table(text):
    """Variable -> default, as a table of settings has them."""
    return dict(re.findall(r"^\| `(COLDSPAN_\w+)` \| *`?([^|`]*?)`? *\|", text, re.MULTILINE))


@pytest.mark.parametrize(("variable", "default"), sorted(table(PAGE).items()))
def test_the_default_in_the_table_is_the_default(variable, default):
    """Setting a variable to the default that the page names changes nothing, and is understood."""
    named, bare = Settings({variable.encode(): default.encode()}), Settings({})
    assert named.problems == []
    assert all(getattr(named, slot) == getattr(bare, slot) for slot in Settings.__slots__)


def test_every_variable_of_the_black_box_is_explained():
    """A variable that is read and not explained."""
    readme = (ROOT / "README.md").read_text()
    destinations = (ROOT / "docs" / "destinations.md").read_text()
    read = {
        name for path in PACKAGE.rglob("*.py") for name in re.findall(r'"(COLDSPAN_[A-Z_]+[A-Z])"', path.read_text())
    }
    explained = set(re.findall(r"COLDSPAN_[A-Z_]+[A-Z]", PAGE + EXPORTERS + readme + destinations))
    assert read - explained == set()


def test_the_platforms_metrics_are_those_it_names():
    """An alarm would be set on a name that never comes."""
    assert set(UNITS) <= set(re.findall(r"`(\w+)`", PAGE))
    told = "".join(path.read_text() for path in PACKAGE.glob("*.py"))
    for name in re.findall(r"`([A-Z]\w+(?:Failure|Loop|Init|Limit|Refused|Faults|Dropped))`", PAGE):
        assert f'"{name}"' in told, name


def test_the_words_of_evidence_are_those_of_the_code():
    """A query would look for a sign that is never given."""
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| `evidence`")]
    source = (ROOT / "layer" / "recorder" / "python" / "coldspan" / "core" / "killed.py").read_text()
    for word in set(re.findall(r"`(\w+)`", row)) - {"evidence", "shutdown_timeout", "signal_9"}:
        assert f'"{word}"' in source, word


def test_the_record_shown_is_json_and_the_size_is_right():
    """The first thing a reader sees."""
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert json.loads(text)["outcome"] == "timeout"
    (calls,) = re.findall(r"64 KB hold the last (\d+) calls", (ROOT / "README.md").read_text())
    assert int(calls) == cells.cells_of(65_536)
