"""The README: what it says is run or checked."""

import json
import re
from pathlib import Path

import pytest

from coldspan.boot.settings import Settings
from coldspan.core.record import CallToolResult

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
RECORDER = ROOT / "layer" / "recorder"


def blocks(language):
    """The code blocks of a language."""
    return [text for name, text in BLOCKS if name == language]


def test_every_make_target_that_is_named_exists():
    """A reader's first command must not fail."""
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    commands = "\n".join([*blocks("console"), *re.findall(r"`(make[^`]*)`", prose)])
    named = set(re.findall(r"^(?:\$ )?make ([a-z0-9-]+)", commands, re.MULTILINE))
    assert named
    assert named <= targets


def test_nothing_is_left_to_be_filled_in():
    """A mark for a figure that never came."""
    for path in [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        assert not re.findall(r"@[A-Z]{3,}@|TODO|TBD", path.read_text()), path


def test_every_link_leads_to_a_file():
    """A link into the repository that leads nowhere."""
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_record_shown_has_the_fields_of_the_record():
    """The first thing a reader sees is what is sent."""
    record = json.loads(blocks("json")[0])
    ours = set(CallToolResult.__slots__) - {"kind", "late", "payload", "request_id", "throttles"} | {"success"}
    assert set(record) == ours


def settings_of_the_table():
    """Variable -> default, as the README's table has them."""
    return dict(re.findall(r"^\| `(COLDSPAN_\w+)` \| *`?([^|`]*)`? *\|", README, re.MULTILINE))


def test_the_table_of_settings_is_complete():
    """A variable that is read and not explained, or explained and not read."""
    read = set()
    for path in [RECORDER / "coldspan", *(RECORDER / "python").rglob("*.py")]:
        read |= set(re.findall(r"(?<!_)COLDSPAN_[A-Z_]+[A-Z]", path.read_text()))
    assert set(settings_of_the_table()) == read


@pytest.mark.parametrize(("variable", "default"), sorted(settings_of_the_table().items()))
def test_the_default_in_the_table_is_the_default(variable, default):
    """Setting a variable to the default that the README names changes nothing, and is understood."""
    named = Settings({variable: default.strip()})
    bare = Settings({})
    assert named.problems == []
    for slot in Settings.__slots__:
        assert getattr(named, slot) == getattr(bare, slot), slot


def test_the_python_block_runs_without_a_recorder():
    """By hand: where nothing records, all of it does nothing."""
    names = {}
    (text,) = [text for text in blocks("python") if "coldspan.tool" in text]
    exec(compile(text, "README.md", "exec"), names)  # noqa: S102
    assert names["handler"]({}, None) == {"sku": "LAMP-07", "cents": 2990}


def test_the_local_block_runs_a_function_and_prints_its_records(tmp_path, capsys, monkeypatch):
    """The way to run one's own function without Docker, as it stands there: its paths are relative."""
    (tmp_path / "fn").mkdir()
    (tmp_path / "fn" / "app.py").write_text("def handler(event, context):\n    return event\n")
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "recorder").symlink_to(RECORDER)
    monkeypatch.chdir(tmp_path)
    (text,) = [text for text in blocks("python") if "LocalLambda" in text]
    exec(compile(text, "README.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == "coldspan-test ok\n"


def test_the_yaml_block_is_what_the_template_does():
    """The template in the README has the properties of the real one."""
    yaml = pytest.importorskip("yaml")
    from coldspan_console.demo_resources import TemplateLoader, load

    shown = yaml.load(blocks("yaml")[0], TemplateLoader)["Resources"]
    real = load()["Resources"]
    assert shown["RecorderLayer"]["Properties"]["ContentUri"] == real["RecorderLayer"]["Properties"]["ContentUri"]
    assert shown["RecorderLayer"]["Metadata"]["BuildMethod"] == real["RecorderLayer"]["Metadata"]["BuildMethod"]
    assert shown["OrdersFunction"]["Properties"]["Handler"] == real["OrdersFunction"]["Properties"].get(
        "Handler", load()["Globals"]["Function"].get("Handler")
    )
