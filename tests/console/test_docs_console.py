"""docs/console.md says what is so."""

import re
import subprocess
import sys
from pathlib import Path

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
