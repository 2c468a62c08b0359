"""docs/pull.md: its commands are understood, and its tables say what is there."""

import re
import shlex
from pathlib import Path

import click
import pytest

from coldspan_console import cli
from coldspan_console.commands.pull import command
from coldspan_console.pulling import filtering, insights, puller, queries

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "pull.md").read_text()
LINES = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
WORDS = [shlex.split(line.rpartition("coldspan pull")[2]) for line in LINES]
OPTIONS = {name: parameter for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_every_command_is_understood(words):
    """The account's part of them is run in test_pull_account.py, the stream's in test_pull_stream.py."""
    with click.Context(command) as context:
        command.parse_args(context, list(words))
    if "--query" in words:
        queries.wanted([], expression=words[words.index("--query") + 1])


def test_files_and_folders_are_read_as_the_page_says(tmp_path, monkeypatch, capsys):
    """The first block, without sam."""
    from store_lines import invocation

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLDSPAN_STORE", str(tmp_path / "store.db"))
    (tmp_path / "export").mkdir()
    import json

    for number, name in enumerate(("log.txt", "export/000000")):
        text = json.dumps(invocation(f"6f1c2a90-7b3d-4e55-9a10-00000000000{number}"))
        (tmp_path / name).write_text(text + "\n")
    for words in (["log.txt"], ["export"]):
        assert words in WORDS
        assert cli.main(["pull", *words]) == 0
        assert "1 new invocation" in capsys.readouterr().out


def test_every_option_of_the_page_is_there_and_the_defaults_are_as_it_says():
    """An option that was renamed."""
    assert set(re.findall(r"`(--[\w-]+)", PAGE)) <= set(OPTIONS)
    assert OPTIONS["--max-scan"].default == "1GB"
    assert OPTIONS["--logs"].default == "failed"
    assert set(OPTIONS["--engine"].type.choices) == {"auto", "insights", "filter"}


def test_the_figures_of_the_page_are_those_of_the_code():
    """Fifteen minutes, 10,000 rows, two seconds."""
    assert puller.SHORT_MS == 15 * 60_000
    assert "15 minutes" in PAGE
    assert queries.LIMIT == insights.LIMIT == 10_000
    assert "10,000 rows" in PAGE
    assert puller.FOLLOW_S == 2.0
    assert "every two seconds" in PAGE


def test_every_group_of_aggregate_is_named():
    """The reader would not find it."""
    told = PAGE.partition("percentiles by ")[2].partition(", made by")[0]
    assert set(re.findall(r"`(\w+)`", told)) == set(queries.GROUPS)


def test_the_permissions_are_those_of_the_calls():
    """A role made after the page would be refused."""
    source = "".join(Path(module.__file__).read_text() for module in (filtering, insights))
    source += "".join(file.read_text() for file in (ROOT / "console/coldspan_console/pulling").glob("*.py"))
    named = set(re.findall(r"`(?:logs|xray|lambda):(\w+)`", PAGE))
    calls = {"describe_log_groups", "filter_log_events", "start_query", "get_query_results", "stop_query",
             "batch_get_traces", "get_function_configuration"}  # fmt: skip
    assert {"".join(part.title() for part in call.split("_")) for call in calls} == named
    assert all(call in source for call in calls)
