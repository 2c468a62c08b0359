"""Two versions of a function side by side: what came, what went, and what is slower by more than the noise."""

from typing import TYPE_CHECKING, Any

from coldspan_console.blame.spread import Spread, noise

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 200  # modules listed


def compare(before: "Mapping[str, Any]", after: "Mapping[str, Any]", *, side_by_side: bool) -> "dict[str, Any]":
    """Compare two profiles.

    Gives: label; side_by_side (measured in turns, on this machine, just now); same_machine; init, imports, and each of
    `packages` that changed: {before_ms, after_ms, change_ms, noise_ms, counts}; instructions {before, after, change};
    added and removed: packages with their ms; added_modules, removed_modules; ratio: of instructions where both were
    counted, else of the init times, each measured by the init of an empty function where they were not measured
    side by side; `ratio_of` says which.
    """
    ratio, of = _ratio(before, after, side_by_side=side_by_side)
    old, new = _packages(before), _packages(after)
    names_before = {module["name"] for module in before["modules"]}
    names_after = {module["name"] for module in after["modules"]}
    changed = [
        {"name": name, "where": new[name]["where"], "imported_at": new[name]["imported_at"],
         **_difference(_spread(old[name], before), _spread(new[name], after))}
        for name in new
        if name in old
    ]  # fmt: skip
    return {
        "label": before["label"] or before["function"],
        "side_by_side": side_by_side,
        "same_machine": before["machine"] == after["machine"] and before["python"] == after["python"],
        "machine": before["machine"],
        "python": before["python"],
        "init": _difference(Spread.of_json(before["init"]), Spread.of_json(after["init"])),
        "imports": _difference(Spread.of_json(before["imports"]), Spread.of_json(after["imports"])),
        "instructions": _instructions(before, after),
        "packages": sorted((one for one in changed if one["counts"]), key=lambda one: -abs(one["change_ms"])),
        "added": [_told(new[name]) for name in new if name not in old],
        "removed": [_told(old[name]) for name in old if name not in new],
        "added_modules": sorted(names_after - names_before)[:MOST],
        "removed_modules": sorted(names_before - names_after)[:MOST],
        "ratio": round(ratio, 4),
        "ratio_of": of,
    }


def _packages(found: "Mapping[str, Any]") -> "dict[str, dict[str, Any]]":
    return {package["name"]: package for package in found["packages"]}


def _spread(package: "Mapping[str, Any]", of: "Mapping[str, Any]") -> Spread:
    return Spread(float(package["self_ms"]), float(package["deviation_ms"]), int(of["runs"]))


def _told(package: "Mapping[str, Any]") -> "dict[str, Any]":
    return {name: package[name] for name in ("name", "where", "self_ms", "total_ms", "modules", "imported_at")}


def _difference(before: Spread, after: Spread) -> "dict[str, Any]":
    change, apart = after.middle - before.middle, noise(before, after)
    return {
        "before_ms": round(before.middle, 3), "after_ms": round(after.middle, 3), "change_ms": round(change, 3),
        "noise_ms": round(apart, 3), "counts": abs(change) > apart,
    }  # fmt: skip


def _instructions(before: "Mapping[str, Any]", after: "Mapping[str, Any]") -> "dict[str, Any] | None":
    if not before["instructions"] or not after["instructions"]:
        return None
    change = after["instructions"] - before["instructions"]
    return {"before": before["instructions"], "after": after["instructions"], "change": change}


def _ratio(before: "Mapping[str, Any]", after: "Mapping[str, Any]", *, side_by_side: bool) -> "tuple[float, str]":
    if before["instructions"] and after["instructions"]:
        return after["instructions"] / before["instructions"], "instructions"
    old, new = float(before["init"]["ms"]), float(after["init"]["ms"])
    if side_by_side:
        return (new / old if old else 1.0), "init times, side by side"
    bare_before, bare_after = float(before.get("yardstick_ms") or 0), float(after.get("yardstick_ms") or 0)
    if bare_before and bare_after and old:
        return (new / bare_after) / (old / bare_before), "init times, each by that of an empty function"
    return (new / old if old else 1.0), "init times"


__all__ = ["compare"]
