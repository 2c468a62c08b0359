"""docs/console.md says what is so."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from coldspan_console import cli, output

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "console.md").read_text()


def test_the_table_has_every_command_in_the_words_of_its_help():
    """A command that nobody reads about."""
    told = dict(re.findall(r"^\| `coldspan (\w+)` \| (.+?) \|", PAGE, re.MULTILINE))
    assert told == cli.COMMANDS


def test_every_page_that_is_named_is_there():
    """A dead link."""
    missing = [page for page in re.findall(r"\]\(([\w./-]+\.md)", PAGE) if not (ROOT / "docs" / page).exists()]
    assert missing == []


def test_the_exit_codes_are_those_of_the_command():
    """A script would wait for another."""
    told = [int(code) for code in re.findall(r"^  \| (\d+) \|", PAGE, re.MULTILINE)]
    known = [output.DONE, output.ANSWER_IS_NO, output.WRONG_USE, output.BAD_INPUT, output.MISSING, output.INTERRUPTED]
    assert told == known
    said = [int(code) for code in re.findall(r"(?:^|[;:\n] ?)(\d+) ", cli.EPILOG.partition("Exit codes")[2])]
    assert said == known


def test_the_failure_that_is_shown_is_how_failures_look():
    """The three lines come from ConsoleError."""
    code = (
        "from coldspan_console.output import ConsoleError; ConsoleError('no function called OrderFunction', "
        "where='template.yaml', todo='choose one of: OrdersFunction, PaymentsFunction').show()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    shown = re.search(r"```text\n(.+?)```", PAGE, re.DOTALL).group(1)
    assert [line.strip() for line in shown.strip().splitlines()] == done.stderr.splitlines()


LINES = [
    pytest.param(line.strip(), id=f"{path.name}: {line.strip()}"[:80])
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for block in re.findall(r"```console\n(.+?)```", path.read_text(), re.DOTALL)
    for line in re.findall(r"(?:^|\| ?|\$ )coldspan (.+)$", block, re.MULTILINE)
]


@pytest.mark.parametrize("line", LINES)
def test_every_line_of_a_page_is_one_that_the_command_takes(line):
    """Its command is there, and has each of the options."""
    words = shlex.split(line, comments=True)
    words = words[: next((place for place, word in enumerate(words) if word in {"|", ">", ">>"}), len(words))]
    command = cli.command
    while words and isinstance(command, click.Group):
        command = command.get_command(None, words.pop(0))
    known = {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
    assert [word for word in words if word.startswith("-") and word != "-" and word not in known] == []


def test_the_readmes_three_commands_lead_a_newcomer_to_a_page(tmp_path, monkeypatch):
    """In an empty folder with what `sam init` makes: run, then report, word for word but for the browser; then list."""
    templates = ROOT / "tests" / "data" / "templates"
    shutil.copy(templates / "hello-world.yaml", tmp_path / "template.yaml")
    shutil.copytree(templates / "hello_world", tmp_path / "hello_world")
    monkeypatch.delenv("COLDSPAN_STORE", raising=False)
    monkeypatch.setenv("COLDSPAN_CACHE", str(tmp_path / "cache"))
    said = {}
    for words in ("run", "report", "list"):
        line = re.search(rf"^\$ coldspan {words}\b", (ROOT / "README.md").read_text(), re.MULTILINE)
        assert line or words == "list"
        code = "import sys; from coldspan_console.cli import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, words], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        said[words] = done.stdout
    assert "HelloWorldFunction ← {}  cold  ok" in said["run"]
    assert "1 invocation," in said["report"]
    assert "HelloWorldFunction" in said["list"]
    page = (tmp_path / "coldspan-report.html").read_text()
    assert page.startswith("<!doctype html>")
