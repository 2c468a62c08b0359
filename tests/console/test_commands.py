"""What holds for every command: help with examples, --json, and failures that are no tracebacks."""

import os
import subprocess
import sys

import click
import pytest

from coldspan_console import cli

NAMES = cli.command.list_commands(None)
# Text for a shell, or a server that tells as it goes: there is no result that could be a document.
WITHOUT_JSON = {"completion"}


def leaves(name, group=None):
    """(words, command) of a command, or of all below a group."""
    found = cli.command.get_command(None, name) if group is None else group
    if isinstance(found, click.Group):
        for below in found.commands:
            yield from ((f"{name} {words}", leaf) for words, leaf in leaves(below, found.commands[below]))
    else:
        yield name, found


LEAVES = [pytest.param(*leaf, id=leaf[0]) for name in NAMES for leaf in leaves(name)]


@pytest.mark.parametrize(("words", "command"), LEAVES)
def test_help_has_a_sentence_and_examples(words, command, capsys):
    """A newcomer reads this first."""
    assert cli.main([*words.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert command.help
    assert "Examples:" in text
    assert f"coldspan {words}" in text.partition("Examples:")[2]


@pytest.mark.parametrize(("words", "command"), LEAVES)
def test_every_result_is_to_be_had_as_json(words, command):
    """A script would have to read a picture."""
    options = {name for parameter in command.params for name in parameter.opts}
    assert ("--json" in options) != (words.split()[0] in WITHOUT_JSON)


@pytest.mark.parametrize(("words", "command"), LEAVES)
def test_an_unknown_option_is_wrong_use(words, command, capsys):
    """Exit code 2, with the option's name, and no traceback."""
    assert cli.main([*words.split(), "--no-such-option"]) == 2
    said = capsys.readouterr().err
    assert "--no-such-option" in said


def test_the_help_and_completion_load_no_heavy_library():
    """Each press of the tab key would take a second."""
    code = (
        "import sys; from coldspan_console import cli; cli.main(['--help']); "
        "heavy = 'boto3 moto jinja2 samtranslator yaml watchfiles sqlite3'.split(); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(("shell", "expected"), [("bash", "complete"), ("zsh", "#compdef"), ("fish", "complete")])
def test_completion_prints_what_the_shell_runs(shell, expected, capsys):
    """The lines go into a shell's own file."""
    assert cli.main(["completion", shell]) == 0
    assert expected in capsys.readouterr().out


def test_completion_completes(tmp_path):
    """As bash asks for it."""
    variables = {**os.environ, "_COLDSPAN_COMPLETE": "bash_complete", "COMP_WORDS": "coldspan comp", "COMP_CWORD": "1"}
    code = "import sys; from coldspan_console.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "plain,completion" in done.stdout.split()


def test_every_command_that_is_named_is_there():
    """The help would promise what does not run."""
    assert set(NAMES) == set(cli.COMMANDS)
