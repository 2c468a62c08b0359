"""Medians, noise, budgets, comparisons and the tree, on plain numbers."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldspan_console.blame.budget import advice, judge, parse
from coldspan_console.blame.comparing import compare
from coldspan_console.blame.picture import packages_below
from coldspan_console.blame.spread import Spread, noise, spread
from coldspan_console.output import ConsoleError


def module(name, depth, total, own, where="yours"):
    return {"name": name, "where": where, "depth": depth, "total_ms": total, "self_ms": own, "imported_at": "app.py:1"}


def package(name, own, total, modules=1, **more):
    return {
        "name": name, "where": "runtime", "self_ms": own, "total_ms": total, "deviation_ms": 1.0, "modules": modules,
        "imported_at": "app.py:1", "at_top": True, "own_import": True, **more,
    }  # fmt: skip


PROFILE = {
    "schema": "coldspan.blame/1", "function": "orders", "label": "", "machine": "x86_64", "python": "python3.13",
    "runs": 5, "init": spread([200, 202, 204, 206, 208]).as_json(),
    "imports": spread([100, 101, 102, 103, 104]).as_json(),
    "instructions": None, "yardstick_ms": 100.0, "module_count": 3, "what_if": [],
    "packages": [package("boto3", 60.0, 90.0, 2), package("app", 1.0, 91.0, own_import=False)],
    "modules": [module("app", 0, 91.0, 1.0), module("boto3", 1, 90.0, 50.0), module("boto3.x", 2, 10.0, 10.0)],
}  # fmt: skip


def profile(**changes):
    return {**copy.deepcopy(PROFILE), **changes}


@given(st.lists(st.floats(1, 1e4), min_size=1, max_size=9))
def test_one_outlier_does_not_move_the_median_beyond_the_others(values):
    """A busy moment is no slower function."""
    found = spread([*values, *values, 1e9])
    assert min(values) <= found.middle <= max(values)
    assert found.deviation >= 0


def test_a_difference_within_the_noise_is_none():
    """The diff would be full of what is not there."""
    before, after = spread([100, 110, 90, 105, 95]), spread([104, 112, 94, 106, 99])
    assert after.middle - before.middle < noise(before, after)
    assert (
        spread([200, 201, 199, 200, 202]).middle - spread([100, 101, 99, 100, 102]).middle
        > 50 * noise(spread([100, 100, 100]), spread([200, 200, 200])) / 100
    )


def test_fewer_runs_make_more_noise():
    """Two cold starts prove little."""
    many, few = spread([100, 102, 104] * 5), spread([100, 104])
    assert noise(few, few) > noise(many, many)


def test_a_saved_spread_comes_back():
    """A baseline is compared as if it were measured now."""
    found = spread([1.5, 2.5, 9.0])
    assert Spread.of_json(found.as_json()) == Spread(2.5, pytest.approx(found.deviation, abs=1e-3), 3, (1.5, 2.5, 9.0))


@pytest.mark.parametrize(
    ("text", "limit", "unit", "package"),
    [
        ("300ms", 300, "ms", ""), ("1.5s", 1500, "ms", ""), ("800M", 8e8, "instructions", ""),
        ("400modules", 400, "modules", ""), ("1module", 1, "modules", ""), ("1.2x", 1.2, "x", ""),
        ("boto3=150ms", 150, "ms", "boto3"), (" boto3 = 2 modules ", 2, "modules", "boto3"),
    ],
)  # fmt: skip
def test_budgets_are_read(text, limit, unit, package):
    """300ms is no 300s."""
    found = parse(text)
    assert (found.limit, found.unit, found.package) == (limit, unit, package)


@pytest.mark.parametrize(
    "text", ["", "300", "ms", "-1ms", "3 apples", "boto3=", "boto3=2x", "boto3=2M", "a=b=3ms", "1e3ms"]
)
def test_what_is_no_budget_is_refused(text):
    """A typing error must not pass as a budget that is kept."""
    with pytest.raises(ConsoleError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "over"),
    [
        ("205ms", False), ("203ms", True), ("boto3=90ms", False), ("boto3=89ms", True), ("boto3=1modules", True),
        ("absent=0ms", False), ("3modules", False), ("2modules", True), ("1.5x", False), ("1.4x", True),
    ],
)  # fmt: skip
def test_a_budget_is_over_only_above_it(text, over):
    """The exit code of a CI hangs on it."""
    told = judge(parse(text), profile(), {"ratio": 1.5})
    assert told["over"] is over
    assert ("is over" in told["words"]) is over


def test_a_verdict_within_the_noise_says_so():
    """The next run may be another."""
    assert "within the noise" in judge(parse("203ms"), profile(), None)["words"]
    assert "within the noise" not in judge(parse("150ms"), profile(), None)["words"]


def test_the_advice_is_what_was_measured_else_what_costs_most():
    """What to do is more than what is wrong."""
    lazily = {"package": "boto3", "is_saving": True, "saved_ms": 80.0,
              "moved": [{"imported_at": "app.py:1", "into": ["handler"]}]}  # fmt: skip
    assert "import boto3 where it is used: measured, it takes 80 ms" in advice(profile(what_if=[lazily]))[0]
    assert advice(profile())[0].startswith("boto3 takes 90 ms with what it brings (app.py:1)")
    assert "runtime's" in advice(profile(packages=[]))[0]


def test_a_comparison_tells_what_came_went_and_is_slower():
    """Two versions side by side."""
    after = profile(
        packages=[package("boto3", 80.0, 120.0, 2), package("csv", 2.0, 2.0)], init=spread([300] * 5).as_json(),
        modules=[*PROFILE["modules"][1:], module("csv", 0, 2.0, 2.0)],
    )  # fmt: skip
    told = compare(profile(), after, side_by_side=True)
    assert [one["name"] for one in told["added"]] == ["csv"]
    assert [one["name"] for one in told["removed"]] == ["app"]
    assert told["added_modules"] == ["csv"]
    assert told["removed_modules"] == ["app"]
    assert [(one["name"], one["change_ms"]) for one in told["packages"]] == [("boto3", 20.0)]
    assert told["init"]["counts"]
    assert not told["imports"]["counts"]
    assert told["ratio"] == pytest.approx(300 / 204, abs=1e-3)


def test_a_slower_machine_alone_is_no_higher_ratio():
    """A CI's machine of today is not that of yesterday."""
    slower = profile(init=spread([408] * 5).as_json(), yardstick_ms=200.0, machine="another")
    told = compare(profile(), slower, side_by_side=False)
    assert told["ratio"] == pytest.approx(1.0)
    assert not told["same_machine"]
    counted = compare(profile(instructions=100), profile(instructions=150), side_by_side=False)
    assert (counted["ratio"], counted["ratio_of"]) == (1.5, "instructions")


def test_a_package_is_one_node_where_it_was_imported():
    """A tree of 327 modules shows nothing."""
    root = packages_below([
        module("app", 0, 100, 1), module("a", 1, 90, 5), module("a.x", 2, 50, 10), module("b", 3, 40, 40),
        module("a.y", 4, 5, 5), module("b", 2, 0, 0), module("c", 1, 9, 9), module("other", 0, 3, 3),
    ])  # fmt: skip
    assert list(root.below) == ["app", "other"]
    app = root.below["app"]
    assert list(app.below) == ["a", "c"]
    assert app.below["a"].total == 90
    assert list(app.below["a"].below) == ["b"]
    assert app.below["a"].below["b"].total == 40
    assert app.below["a"].below["b"].below == {}
