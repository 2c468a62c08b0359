"""The tree that a person reads: who called what, how it ended, and nothing twice."""

import io

import pytest
from rich.console import Console

from coldspan_console import tree


def record(**changes):
    """A warm, successful invocation as the function prints it."""
    return {
        "start": "warm",
        "outcome": "ok",
        "Duration": 12.34,
        "Calls": 0,
        "span_id": "00000000000000aa",
        "calls": [],
        **changes,
    }


def call(number, parent="00000000000000aa", **changes):
    """A call of it; calls begin in the order of their numbers."""
    return {
        "tool": f"tool{number}",
        "operation": "Do",
        "status": "ok",
        "duration_ms": 1.0 * number,
        "timestamp": 1_795_397_120_000 + number,
        "span_id": f"{number:016x}",
        "parent_id": parent,
        **changes,
    }


def text(found, title="orders", notes=()):
    """The tree as it is printed to a file."""
    console = Console(file=io.StringIO(), width=150, highlight=False)
    console.print(tree.invocation_tree(found, title, notes))
    return console.file.getvalue()


def test_calls_stand_under_their_parents_in_the_order_they_began():
    """A tree in the order in which calls ended would show the innermost first."""
    inner = call(3, parent=f"{2:016x}")
    lines = text(record(calls=[inner, call(2), call(1)], Calls=3)).splitlines()
    assert [line.strip("│├└─ ✓").split(" ")[0] for line in lines] == ["orders", "tool1", "tool2", "tool3"]
    assert lines[3].startswith(("    └", "│   └"))


def test_a_call_whose_parent_is_not_told_stands_under_the_invocation():
    """A call begun under one that was still open at the drain must not vanish."""
    assert "tool1 Do" in text(record(calls=[call(1, parent="00000000000000ff")], Calls=1))


def test_every_status_has_a_mark_of_its_own():
    """Colour alone does not reach everyone, nor a file."""
    marks = [mark for mark, _ in tree.MARKS.values()]
    assert len(set(marks)) == len(marks) == 8
    for status, (mark, _) in tree.MARKS.items():
        assert f"{mark} tool1 Do  {status}" in text(record(calls=[call(1, status=status)], Calls=1))


def test_a_failed_call_says_why_how_often_and_how_much_of_it_failed():
    """The point of the product, on one line and the one below."""
    failed = call(1, status="partial", items=3, items_failed=1, attempts=2, message="Throttled: slow down")
    found = text(record(calls=[failed], Calls=1))
    assert "2 attempts" in found
    assert "1 of 3 items failed" in found
    assert "Throttled: slow down" in found
    assert "  1 item\n" in text(record(calls=[call(1, items=1)], Calls=1))


def test_calls_that_are_not_told_in_detail_are_counted():
    """Warm and fast invocations may carry numbers alone."""
    without = record(Calls=4)
    del without["calls"]
    assert "4 calls, not told in detail" in text(without)


def test_a_cold_start_shows_its_init_and_its_costliest_packages():
    """Where the cold start went is why one looks."""
    init = {
        "ms": 310.4,
        "import_ms": 243.0,
        "split": {"runtime": 145.0, "layer": 2.3, "application": 0},
        "packages": [["app", "application", 96.0, 1], ["small", "runtime", 1.0, 2]],
        "calls": [call(1)],
    }
    found = text(record(start="cold", init=init))
    assert "init 310 ms  imports 243 ms (runtime 145 ms · layer 2.3 ms)" in found
    assert "app 96 ms" in found
    assert "small" not in found
    assert "tool1 Do" in found


def test_an_error_and_a_batch_are_in_the_head():
    """One line says how it ended, and what was given back."""
    found = text(record(outcome="error", error_type="KeyError", error_message="'card'", trigger="sqs", QueueTime=340))
    assert found.startswith("orders  warm  error  12 ms  sqs · waited 340 ms\nKeyError: 'card'\n")
    assert "1 of 3 records given back" in text(record(batch_item_failures=1, records=3))


def test_text_of_the_function_is_never_taken_for_markup():
    """A message with brackets is shown as it is."""
    found = text(record(calls=[call(1, status="error", message="[red]no[/red] [x]")], Calls=1), notes=["[bold]note"])
    assert "[red]no[/red] [x]" in found
    assert "[bold]note" in found


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.04, "0.0 ms"), (9.94, "9.9 ms"), (10.4, "10 ms"), (999.6, "1000 ms"), (1_000, "1.00 s"), (61_500, "61.50 s")],
)
def test_a_time_has_as_many_digits_as_a_reader_needs(value, expected):
    """Twelve digits of a millisecond say no more than two."""
    assert tree.milliseconds(value) == expected


@pytest.mark.parametrize(
    ("value_ms", "expected"),
    [(35, "35 ms"), (4_200, "4.20 s"), (180_000, "3 min"), (5 * 3_600_000, "5 h"), (12 * 86_400_000, "12 d")],
)
def test_a_long_wait_is_told_in_its_own_unit(value_ms, expected):
    """An event from a stream may have waited for days."""
    assert tree.duration(value_ms) == expected


def test_what_a_killed_invocation_was_stuck_in_is_told_by_its_own_lines():
    """A stack of thirty frames of libraries hides the one line that the reader has written."""
    frames = [
        "/var/lang/lib/python3.13/socket.py:719 SocketIO.readinto",
        *[f"/var/lang/lib/python3.13/site-packages/botocore/client.py:{line} call" for line in range(20)],
        "/var/task/app.py:22 place_order",
        "/var/task/shop/web.py:7 route",
        "/var/runtime/bootstrap.py:27 <module>",
    ]
    killed = record(outcome="timeout", stacks=[{"thread": "MainThread", "frames": frames}] * 6)
    lines = [line.strip("├└─│ ") for line in text(killed).splitlines() if "was in" in line]
    assert (
        lines
        == [
            "MainThread was in python3.13/socket.py:719 SocketIO.readinto ← app.py:22 place_order ← shop/web.py:7 route"
        ]
        * tree.STACKS
    )
