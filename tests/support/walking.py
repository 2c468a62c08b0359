"""The walk of docs/walk.md: its commands, run in a copy of its folder, beside what the page says that they print."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "walk.md"
FOLDER = ROOT / "docs" / "walk"
STEP = re.compile(r"```console\n(?P<commands>.*?)```(?:\n\n```text\n(?P<told>.*?)```)?", re.DOTALL)
COMMAND = "import sys; from coldspan_console.cli import main; sys.exit(main())"
# what is another in every run, and what stands for it
VARYING = (
    (re.compile(r"  (?:(?:serialize|connect|tls|send|wait|receive|parse) [\d.]+ m?s(?: · )?)+$", re.MULTILINE), ""),
    (re.compile(r"python3\.\d+/socket\.py:\d+ [\w.]+"), "socket"),
    (re.compile(r"own time: .*"), "own time: PACKAGES"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "MOMENT"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:\.[0-9a-f]+)?"), "ID"),
    (re.compile(r"\b(?:[0-9a-f]{32}|[0-9a-f]{8})\b"), "ID"),
    (re.compile(r"(?<!after )\b(?:[\d.]+ (?:ms|min|µs|s|h|d)|now)\b"), "TIME"),
    (re.compile(r"memory \d+ of"), "memory N of"),
    (re.compile(r"[ \t]+"), " "),
    (re.compile(r" $", re.MULTILINE), ""),
)


@dataclass(slots=True)
class Step:
    """Commands that stand together on the page, what it says they print, and what they have printed."""

    commands: "list[str]"
    told: "str | None"
    said: str = ""


@dataclass(slots=True)
class Walk:
    """The walk when it is done. `pages`: the reports that it made, in order."""

    folder: Path
    steps: "list[Step]"
    pages: "list[Path]" = field(default_factory=list)

    @property
    def store(self) -> Path:
        """What the runs have kept."""
        return self.folder / ".coldspan" / "store.db"


def walk(place: Path, cache: Path) -> Walk:
    """Do it in `place`. A report is written to a file, and no browser is opened."""
    shutil.copytree(
        FOLDER, place / "docs" / "walk", ignore=shutil.ignore_patterns(".coldspan", "__pycache__", "*.html")
    )
    done = Walk(
        place, [Step(_lines(each["commands"]), each["told"]) for each in STEP.finditer(PAGE.read_text("utf-8"))]
    )
    for step in done.steps:
        for line in step.commands:
            words = shlex.split(line)
            if words[0] == "cd":
                done.folder /= words[1]
            elif words[0] == "coldspan":
                step.said = _coldspan(done, words[1:], cache)
            else:
                subprocess.run(words, cwd=done.folder, check=True, timeout=30)
    return done


def _lines(block: str) -> "list[str]":
    return [line.removeprefix("$ ") for line in block.splitlines()]


def _coldspan(done: Walk, words: "list[str]", cache: Path) -> str:
    if words == ["report", "--open"]:
        done.pages.append(done.folder / f"report-{len(done.pages)}.html")
        words = ["report", "--out", done.pages[-1].name]
    mine = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COLDSPAN_", "VIRTUAL_ENV"))
    }
    ran = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        cwd=done.folder, env={**mine, "COLDSPAN_CACHE": str(cache)}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return "".join(line.rstrip() + "\n" for line in ran.stdout.strip("\n").splitlines())


def stable(text: str) -> "list[str]":
    """What a command prints in every run, by paragraphs.

    Times, ids and what follows from them are folded. Which invocation that went well was the longest is another one
    each time: it is left out.
    """
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    found = [paragraph.strip() for paragraph in text.strip().split("\n\n")]
    return [each for each in found if not re.match(r"PickupFunction ← \S+ warm ok", each) or len(found) < 3]


def rewritten(page: str, steps: "list[Step]") -> str:
    """The page with what the commands have printed now."""
    said = iter(steps)

    def anew(found: "re.Match[str]") -> str:
        step = next(said)
        return found[0] if found["told"] is None else f"```console\n{found['commands']}```\n\n```text\n{step.said}```"

    return STEP.sub(anew, page)
