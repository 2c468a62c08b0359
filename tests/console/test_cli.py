"""The command's frame: help, unknown names, failures as text and as JSON."""

import json
import tomllib
from pathlib import Path

import pytest

from coldspan_console import VERSION, cli
from coldspan_console.output import BAD_INPUT, ConsoleError


def test_help_names_every_command_and_loads_none(capsys):
    """A help text that needs boto3 would take a second."""
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "Exit codes" in text


def test_an_unknown_command_is_wrong_use(capsys):
    """Exit code 2, as click has it, and what to do."""
    assert cli.main(["reprot"]) == 2
    assert "reprot" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failure_says_what_where_and_what_to_do(capsys, monkeypatch, as_json):
    """Bad input is no traceback."""
    monkeypatch.setattr("sys.argv", ["coldspan", "--json"] if as_json else ["coldspan"])
    error = ConsoleError("no such function", where="template.yaml", todo="choose another")
    error.show()
    assert error.exit_code == BAD_INPUT
    said = capsys.readouterr().err
    if as_json:
        assert json.loads(said) == {"error": "no such function", "where": "template.yaml", "todo": "choose another"}
    else:
        assert said.splitlines() == ["error: no such function", "where: template.yaml", "to do: choose another"]


def test_the_version_is_that_of_the_package(capsys):
    """A bug report would name another."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == VERSION
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"coldspan {VERSION}\n"
