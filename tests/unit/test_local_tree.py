"""What `sam local` shows of an invocation: a short tree on stderr instead of lines for CloudWatch."""

import json
import os

import pytest

from coldspan.core.emf import EmfEncoder
from coldspan.core.tree import MARKS, SHOWN, tree
from coldspan.drain import stdout
from coldspan_blackbox.lines import Lines, printer
from coldspan_console.tree import MARKS as CONSOLE_MARKS
from conftest import default_settings
from support.records import call, invocation, results


def shown(owner, facts=None):
    """The trees of an invocation's lines, as text."""
    lines = EmfEncoder("coldspan", "orders").invocation_lines(owner, results(owner), facts or {})
    return "".join(tree(line).decode() for line in lines)


def test_a_tree_has_the_calls_under_their_parents_and_how_they_ended():
    """One line a call; a message only where there is one."""
    owner = invocation(start="cold")
    outer = call(owner, "shop", "refund", ms=12)
    call(owner, "dynamodb", "GetItem", parent=outer, at_ms=2, ms=4, retries=1)
    call(owner, "events", "PutEvents", at_ms=14, items=2, items_failed=1, error_text="it is\nmalformed")
    init = {"ms": 310.4, "import_ms": 250.0, "split": {"runtime": 200.0, "layer": 0, "application": 50.0}}
    assert shown(owner, {"init": init}).splitlines() == [
        "orders  cold  ok  25 ms  sqs",
        "├── init 310 ms  imports 250 ms (runtime 200 ms · application 50 ms)",
        "├── ✓ shop refund  12 ms",
        "│   └── ✓ dynamodb GetItem  4.0 ms  2 attempts",
        "├── ◐ events PutEvents  partial  5.0 ms  1 of 2 items failed",
        "│   it is malformed",
        "└── request 8476a536-e9f4-11e8-9739-2dfe598c3fcd  coldspan's own time 0.0 ms",
    ]


def test_of_many_calls_those_that_did_not_end_well_are_shown_and_the_others_counted():
    """The tree stays short, and what is wrong is in it."""
    owner = invocation()
    for number in range(100):
        call(owner, "dynamodb", f"Get{number}", at_ms=number, http_status=500 if number == 90 else 200)
    rows = [row for row in shown(owner).splitlines() if row[0] in "├└"]
    assert len(rows) == SHOWN + 2
    assert any("✗ dynamodb Get90  error" in row for row in rows)
    assert rows[-2] == f"├── {100 - SHOWN} calls more, {100 - SHOWN} of them ok"


def test_an_error_a_kill_and_what_was_lost_are_told():
    """What a person looks for first."""
    owner = invocation(outcome="timeout", error_type="Sandbox.Timedout", error_text="after 3 s", dropped={"x": 2})
    stacks = [{"thread": "MainThread", "frames": ["/opt/a.py:1 wait", "/var/task/app.py:7 handler"]}]
    text = shown(owner, {"told_by": "next_init", "stacks": stacks})
    assert text.startswith("orders  warm  timeout  25 ms  sqs  told by the next init\nSandbox.Timedout: after 3 s\n")
    assert "├── MainThread was in /opt/a.py:1 wait ← app.py:7 handler\n" in text
    assert "├── coldspan dropped: {'x': 2}\n" in text


def test_last_words_say_what_is_in_flight():
    """A kill may leave nothing else on the terminal."""
    document = {
        "coldspan": "deadline_near", "function_name": "orders", "left_ms": 98.0, "running_ms": 2_902.0,
        "calls_ended": 1, "calls_open": [{"tool": "dynamodb", "operation": "GetItem", "since_ms": 2_800.0}],
        "stacks": [],
    }  # fmt: skip
    assert tree(json.dumps(document).encode()).decode().splitlines() == [
        "orders  98 ms before its deadline, after 2.90 s",
        "├── 1 call had ended",
        "└── … dynamodb GetItem  in flight since 2.80 s",
    ]


def test_metrics_of_the_function_are_shown_and_those_of_a_tool_are_not():
    """The calls are in the tree already."""
    owner = invocation(metrics=[("OrdersPlaced", 3, "Count"), ("Size", 12, "Bytes")])
    call(owner)
    assert shown(owner).splitlines()[-1] == "orders  OrdersPlaced 3 · Size 12 Bytes"
    assert shown(owner).count("dynamodb") == 1


def test_a_terminal_is_given_nothing_that_moves_its_cursor():
    """Names come from the function, texts from anywhere."""
    owner = invocation(outcome="error", error_type="E", error_text="a\x1b[2Jb\nc\u202ed\ud800")
    call(owner, "to\rol", "o\x07p")
    text = shown(owner)
    assert not set(text) & set("\x1b\r\x07\u202e")
    assert "E: a [2Jb c d" in text


def test_every_status_has_the_mark_that_the_console_gives_it():
    """Two trees in one product look alike."""
    assert {status: mark for status, (mark, _) in CONSOLE_MARKS.items()} == MARKS


@pytest.fixture
def descriptors(monkeypatch):
    """What is written to descriptors 1 and 2 by the recorder's writer."""
    written = {1: b"", 2: b""}

    def write(descriptor, data):
        written[descriptor] += data
        return len(data)

    monkeypatch.setattr(stdout, "os_write", write)
    return written


@pytest.mark.parametrize(
    ("local", "to_stdout", "to_stderr"),
    [("emf", b'{"_aws"', b""), ("tree", b"", b"orders  warm"), ("off", b"", b"")],
)
def test_the_setting_decides_where_a_line_goes_and_as_what(descriptors, local, to_stdout, to_stderr):
    """A line for CloudWatch on stdout, or a tree on stderr, or nothing."""
    owner = invocation()
    [line] = EmfEncoder("coldspan", "orders").invocation_lines(owner, [], {})
    assert stdout.writer(default_settings(local=local))(line)
    assert (descriptors[1][:7], descriptors[2][:12]) == (to_stdout, to_stderr)


@pytest.mark.parametrize(
    ("local", "descriptor", "begins"), [("emf", 1, b"{"), ("tree", 2, b"orders  Me"), ("off", 0, b"")]
)
def test_the_black_box_follows_the_setting(capfd, local, descriptor, begins):
    """Its lines would stand between the trees."""
    lines = Lines("coldspan", "orders", True, printer(local))
    lines.tell({"MemoryNearLimit": 1}, {"used_percent": 91.5})
    printed = dict(zip((1, 2), map(os.fsencode, capfd.readouterr()), strict=True))
    assert {number for number, text in printed.items() if text} == {descriptor} - {0}
    assert printed.get(descriptor, b"").startswith(begins)
