"""docs/blame.md: its function is blamed by its commands, and what it says is what they say."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from coldspan_console import cli
from coldspan_console.blame import deferring, picture, whatif
from coldspan_console.blame.budget import parse
from coldspan_console.blame.profile import PARTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "blame.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    shlex.split(line.removeprefix("$ "))
    for kind, text in BLOCKS
    if kind == "console"
    for line in text.splitlines()
    if line.startswith("$ ")
]
SHOWN = next(text for kind, text in BLOCKS if kind == "text")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each command prints, in their order, with two cold starts each, and the first one as JSON."""
    folder = tmp_path_factory.mktemp("page") / "orders"
    folder.mkdir()
    (folder / "app.py").write_text(next(text for kind, text in BLOCKS if kind == "python"))
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLDSPAN_CACHE", str(ROOT / "build" / "cache"))
        patch.delenv("AWS_ENDPOINT_URL", raising=False)
        for program, *words in [*COMMANDS, [*COMMANDS[0], "--no-what-if", "--json"]]:
            if program == "python":
                done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=60)
                found.append((done.returncode, done.stdout))
                continue
            file = folder / "out"
            with file.open("w") as out:
                patch.setattr("sys.stdout", out)
                code = cli.main([*words, "--runs", "2"])
            found.append((code, file.read_text()))
    return found


def test_every_command_does_what_the_page_says(outputs):
    """A reader types them."""
    assert [code for code, _ in outputs[:5]] == [0] * 5
    assert outputs[5][0] in {0, 1}  # two runs on a busy machine: either is an answer
    assert "times the baseline" in outputs[5][1]
    assert "+    import boto3" in outputs[1][1]
    assert "byte code" in outputs[3][1]


def test_the_output_that_is_shown_is_how_it_looks(outputs):
    """The numbers are another machine's; the words, the lines of code and the packages are not.

    A package of a few ms is a row on one machine, and one of "13 more" on another; two runs on a busy machine may not
    tell what is saved from noise, and say so.
    """
    text = outputs[0][1]
    noisy = "boto3  saves nothing above the noise" in text
    whole = float(re.search(r"init (\d+) ms", SHOWN)[1])
    for line in SHOWN.splitlines():
        row = re.search(r"[├└]── \S+  (\d+) ms  ▇", line)
        if (row is not None and float(row[1]) < whole / 10) or (noisy and ("✓ boto3" in line or "    move " in line)):
            continue
        words = re.findall(r"[a-z_][\w/.]*:\d+|[A-Za-z_]{2,}[\w']*", re.sub(r"\bm?s\b|[\d.,]+ (?:ms|s)\b", "", line))
        missing = [word for word in words if word not in text]
        assert missing == [], line
    assert max(map(len, SHOWN.splitlines())) <= 100


def test_every_member_of_the_json_is_there(outputs):
    """A script is written after the table."""
    found = json.loads(outputs[6][1])
    table = PAGE.partition("as one document:")[2]
    named = {name for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named <= set(found)
    assert set(re.findall(r"`(\w+)`", table.partition("where the init went:")[2].partition("|")[0])) == set(PARTS)
    assert set(picture.WORDS) == set(PARTS)
    of_packages = re.findall(r"`(\w+)`", table.partition("`packages` | each with ")[2].partition("|")[0])
    assert set(of_packages) <= set(found["packages"][0])


def test_every_budget_of_the_table_is_understood():
    """A form that is refused."""
    table = PAGE.partition("| budget | of what |")[2].partition("Clock times")[0]
    forms = [
        form for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for form in re.findall(r"`([^`]+)`", row)
    ]
    assert len(forms) == 7
    for form in forms:
        assert parse(form).text == form


def test_every_reason_of_the_table_is_one_that_is_given():
    """A reader looks for the words that were printed."""
    sources = Path(deferring.__file__).read_text() + Path(whatif.__file__).read_text()
    table = PAGE.partition("| said | meaning |")[2].partition("A package that")[0]
    said = re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE)
    assert len(said) == 6
    assert [text for text in said if text not in sources] == []


def test_every_option_that_is_named_is_there():
    """An option that was renamed."""
    from coldspan_console.commands.blame import command

    known = {name for parameter in command.params for name in parameter.opts}
    assert set(re.findall(r"`(--[\w-]+)", PAGE)) <= known
