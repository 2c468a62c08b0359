"""docs/store.md: every command is run, every block executed, every setting and option compared with the code."""

import re
import shlex
from pathlib import Path

import click
import pytest

from coldspan_console import cli
from coldspan_console.commands import list as list_command
from coldspan_console.store import Store, adding, counting, notifying, schema
from coldspan_console.store.filter import OUTCOMES
from store_lines import invocation, platform

PAGE = (Path(__file__).parents[2] / "docs" / "store.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines() if line
]
LINES = [invocation("r1", outcome="timeout", Duration=3000.0, calls=[("api", "GET", "error")]), platform("r1")]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLDSPAN_STORE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_the_commands_do_as_they_stand_there(capsys):
    """A user would copy what does not work."""
    with Store.open() as store:
        store.add(LINES)
    assert len(COMMANDS) > 20
    for line in COMMANDS:
        words = shlex.split(line, comments=True)
        assert words[0] == "coldspan"
        assert cli.main(words[1:]) == 0, (line, capsys.readouterr().err)


def test_the_python_block_runs(capsys):
    """Whoever builds on the store begins with it."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(block, "store.md", "exec"), {"lines": LINES})  # noqa: S102  # our own page
    assert capsys.readouterr().out.startswith("2 1 0 0\n")


def test_every_option_of_a_filter_is_in_the_table():
    """An option that nobody can find."""
    rows = re.findall(r"^\| (`--.*?) \|", PAGE, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`(--[\w-]+)`", row)}
    options = {option.opts[-1] for option in list_command.command.params if isinstance(option, click.Option)}
    assert told == options - {"--limit", "--sort", "--group", "--store", "--json"}
    assert re.search(r"that ended so: (.*?) \(see", PAGE)[1] == ", ".join(f"`{outcome}`" for outcome in OUTCOMES)


def test_numbers_on_the_page_are_those_of_the_code():
    """They would go on saying what was true once."""
    assert f"{adding.AT_ONCE:,} lines" in PAGE
    assert f"At most {notifying.PER_MINUTE} a minute" in PAGE
    assert f"up to {counting.EXACTLY:,} rows" in PAGE
    assert schema.MIGRATIONS.keys() == set(range(1, schema.VERSION))
