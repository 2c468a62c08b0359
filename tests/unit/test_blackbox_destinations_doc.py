"""docs/destinations.md and docs/exporters.md say what the code does."""

import re
from pathlib import Path

import pytest

from coldspan.core.emf import CALL_METRICS, METRICS
from coldspan_blackbox.exporting import kafka, prometheus, statsd
from coldspan_blackbox.exporting.names import OURS
from coldspan_blackbox.exporting.statsdlines import PACKET_BYTES
from coldspan_blackbox.exporting.totals import SERIES, TIME_BUCKETS, Totals
from coldspan_blackbox.lines import UNITS
from support.destinations import AT_MS, record

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "destinations.md").read_text()
PACKAGE = ROOT / "layer" / "blackbox" / "coldspan-blackbox" / "coldspan_blackbox"


def variables(text):
    """The names of variables in a text."""
    return set(re.findall(r"COLDSPAN_(?:STATSD|PROMETHEUS|KAFKA)_[A-Z_]*[A-Z]", text))


def test_the_page_names_the_variables_that_the_code_reads():
    """A variable would be set that nobody reads, or one be there that nobody finds."""
    read = {
        name
        for module in (kafka, prometheus, statsd)
        for name in re.findall(r'environ\.get\("(COLDSPAN_[A-Z_]+)"', Path(module.__file__).read_text())
    }
    assert variables(PAGE) == read


def test_the_page_of_all_exporters_names_the_variables_that_both_processes_read():
    """What is billed could not be bounded by somebody who does not know how."""
    read = {
        name
        for path in (PACKAGE / "settings.py", PACKAGE / "exporting" / "settings.py")
        for name in re.findall(r"COLDSPAN_EXPORT\w*", path.read_text())
    }
    page = (ROOT / "docs" / "exporters.md").read_text()
    assert set(re.findall(r"^\| `(COLDSPAN_EXPORT\w*)`", page, re.MULTILINE)) == read


def test_the_page_names_our_metrics():
    """A query would ask for a name that is not there."""
    rows = re.findall(r"^\| (`.*?) \| (`.*?) \| \w+ \|$", PAGE, re.MULTILINE)
    told = {}
    for ours, words in rows:
        pairs = zip(re.findall(r"`(\w+)`", ours), re.findall(r"`(\w+)`", words), strict=True)
        told.update({name: word for name, word in pairs if name[0].isupper()})
    assert told == OURS


@pytest.mark.parametrize(
    "text",
    [
        f"at most {PACKET_BYTES:,} bytes",
        f"at most {SERIES:,}",
        f"{len(TIME_BUCKETS)} buckets from 5 ms to 15 minutes",
        f"over {kafka.MESSAGE_BYTES:,} bytes",
    ],
)
def test_the_pages_numbers_are_the_codes(text):
    """A limit would be looked for in the wrong place."""
    assert text in PAGE


def test_the_number_of_series_is_as_the_page_says():
    """What they cost would be reckoned wrongly."""
    counts = []
    platform = {name: (unit,) for name, unit in UNITS.items() if unit != "Count"}
    pair = {"tool": "dynamodb", "operation": "PutItem"}
    for metrics, members in ((METRICS, {}), (platform, {}), (CALL_METRICS, pair)):
        one = record({name: (unit, 1) for name, (unit, *_) in metrics.items()}, function_name="orders", **members)
        counts.append(len(Totals({}).stage([one], AT_MS).samples))
    own, more, of_pair = counts
    told = f"about {own} series, {more} more of what the Telemetry API tells, and {of_pair} more for each (tool"
    assert told in PAGE
