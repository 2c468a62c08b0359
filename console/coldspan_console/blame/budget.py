"""Budgets of a cold start: `300ms`, `800M`, `400modules`, `1.2x`, `boto3=150ms`."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coldspan_console.blame.spread import Spread
from coldspan_console.output import WRONG_USE, ConsoleError
from coldspan_console.tree import milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping

BUDGET = re.compile(r"(?:(?P<package>[A-Za-z_]\w*)\s*=\s*)?(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|M|modules?|x)")
TODO = "write 300ms, 1.5s, 800M (instructions), 400modules, 1.2x (with --against) or PACKAGE=150ms"
MS, INSTRUCTIONS, MODULES, RATIO = "ms", "instructions", "modules", "x"
UNITS = {"ms": (MS, 1.0), "s": (MS, 1_000.0), "M": (INSTRUCTIONS, 1e6), "module": (MODULES, 1.0),
         "modules": (MODULES, 1.0), "x": (RATIO, 1.0)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit in one of the units above, for the whole init or for a package with all that it brings."""

    text: str
    limit: float
    unit: str
    package: str = ""


def parse(text: str) -> Budget:
    """A budget as it is written. Errors: ConsoleError."""
    found = BUDGET.fullmatch(text.strip())
    if found is None:
        raise ConsoleError(f"no budget is {text!r}", where="--budget", todo=TODO, exit_code=WRONG_USE)
    unit, times = UNITS[found["unit"]]
    package = found["package"] or ""
    if package and unit in {INSTRUCTIONS, RATIO}:
        raise ConsoleError(
            f"a package's budget is in ms, s or modules, not {found['unit']}", where="--budget", exit_code=WRONG_USE,
            todo="instructions and ratios are of the whole init",
        )  # fmt: skip
    return Budget(text.strip(), float(found["number"]) * times, unit, package)


def judge(budget: Budget, found: "Mapping[str, Any]", against: "Mapping[str, Any] | None") -> "dict[str, Any]":
    """Hold a profile (and its comparison, for a ratio) against a budget.

    Gives: budget, unit, limit, value, over, words.
    """
    value = _value(budget, found, against)
    over = value > budget.limit
    subject = f"{budget.package}, with what it brings," if budget.package else "the cold start"
    verb = "is over" if over else "keeps to"
    words = f"{subject} {verb} its budget: {_shown(value, budget.unit)} of {_shown(budget.limit, budget.unit)}"
    if budget.unit == MS and not budget.package:
        error = 2 * Spread.of_json(found["init"]).error
        if abs(value - budget.limit) < error:
            words += f", which is within the noise of ± {milliseconds(error)}: give it more --runs"
    return {
        "budget": budget.text, "unit": budget.unit, "limit": budget.limit, "value": round(value, 3), "over": over,
        "words": words,
    }  # fmt: skip


def advice(found: "Mapping[str, Any]") -> "list[str]":
    """What to do about a cold start that is over its budget, from what was measured."""
    told = [
        f"ship byte code with the function: measured, it takes {milliseconds(one['saved_ms'])} from the init"
        for one in found.get("what_if") or ()
        if one.get("is_saving") and one.get("kind") == "compiled"
    ]
    told += [
        f"import {one['package']} where it is used: measured, it takes {milliseconds(one['saved_ms'])} from the init"
        + "".join(f" ({moved['imported_at']} into {', '.join(moved['into'])})" for moved in one["moved"][:1])
        for one in found.get("what_if") or ()
        if one.get("is_saving") and one.get("kind") != "compiled"
    ]
    if told:
        return told
    costly = sorted(
        (package for package in found["packages"] if package["own_import"]), key=lambda package: -package["total_ms"]
    )[:3]
    return [
        f"{package['name']} takes {milliseconds(package['total_ms'])} with what it brings ({package['imported_at']}):"
        " can it be left out, imported later, or replaced?"
        for package in costly
    ] or ["the function's own imports cost little: what is left is the runtime's and the layers'"]


def _value(budget: Budget, found: "Mapping[str, Any]", against: "Mapping[str, Any] | None") -> float:
    if budget.package:
        package = next((one for one in found["packages"] if one["name"] == budget.package), None)
        if package is None:
            return 0.0
        return float(package["modules"] if budget.unit == MODULES else package["total_ms"])
    if budget.unit == MODULES:
        return float(found["module_count"])
    if budget.unit == INSTRUCTIONS:
        return float(found["instructions"] or 0)
    if budget.unit == RATIO:
        if against is None:
            raise ConsoleError(
                f"{budget.text} of what?", where="--budget", todo="name a baseline by --against", exit_code=WRONG_USE
            )
        return float(against["ratio"])
    return float(found["init"]["ms"])


def _shown(value: float, unit: str) -> str:
    if unit == MS:
        return milliseconds(value)
    if unit == INSTRUCTIONS:
        return f"{value / 1e6:,.1f} M instructions"
    return f"{value:.2f} times the baseline" if unit == RATIO else f"{value:.0f} modules"


__all__ = ["INSTRUCTIONS", "RATIO", "Budget", "advice", "judge", "parse"]
