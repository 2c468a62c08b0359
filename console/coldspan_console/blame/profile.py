"""What several cold starts of one version say together: medians, whose time it is, and where it was imported from."""

import platform
from typing import TYPE_CHECKING, Any

from coldspan_console import VERSION
from coldspan_console.blame.importers import COLDSPAN, LAYER, OWN, PACKAGES, RUNTIME, STANDARD
from coldspan_console.blame.spread import spread

if TYPE_CHECKING:
    from coldspan_console.blame.coldstart import ColdStart
    from coldspan_console.blame.importers import Importers
    from coldspan_console.blame.subject import Subject

SCHEMA = "coldspan.blame/1"
START = "start"  # the interpreter and the runtime client, before and between what the tree has
PARTS = (START, RUNTIME, STANDARD, LAYER, PACKAGES, OWN, COLDSPAN)


def profile(subject: "Subject", starts: "list[ColdStart]", importers: "Importers", python: str) -> "dict[str, Any]":
    """Sum up cold starts of one version of a function.

    Gives a dict that is the command's JSON, and a baseline when it is saved:
    schema, function, label, handler, python, machine, runs;
    init and imports: {ms, deviation_ms, runs_ms}; first: {ms, outcome, error}: the first invocation;
    parts_ms: where the init went, by PARTS, in ms; instructions: a number or None;
    packages: {name, where, self_ms, total_ms, deviation_ms, modules, imported_at, at_top, own_import}, the costliest
    first; modules: {name, where, depth, self_ms, total_ms, imported_at} in the order of imports.
    """
    trees = [_times(start.init["tree_us"]) for start in starts]
    modules = [
        {
            "name": name,
            "where": importers.where(name),
            "depth": depth,
            "self_ms": _median([tree[name][1] for tree in trees if name in tree]),
            "total_ms": _median([tree[name][0] for tree in trees if name in tree]),
            "imported_at": importer.place if (importer := importers.of(name)) else "",
        }
        for name, depth, *_ in starts[0].init["tree_us"]
    ]
    return {
        "schema": SCHEMA,
        "coldspan": VERSION,
        "function": subject.function.name,
        "label": subject.label,
        "handler": subject.function.handler,
        "python": python,
        "machine": f"{platform.machine()} {platform.system()} {_processor()}".strip(),
        "runs": len(starts),
        "init": spread([start.init_ms for start in starts]).as_json(),
        "imports": spread([start.import_ms for start in starts]).as_json(),
        "first": {
            "ms": _median([start.first_ms for start in starts]),
            "outcome": starts[-1].outcome,
            "error": starts[-1].error,
        },
        "parts_ms": _parts(starts, modules),
        "instructions": None,
        "module_count": len(modules),
        "packages": _packages(starts, modules, importers),
        "modules": modules,
    }


def _times(tree: "list[list[Any]]") -> "dict[str, tuple[float, float]]":
    """Module -> total and self in ms. A module may be imported twice, after a failure: the sum."""
    found: dict[str, tuple[float, float]] = {}
    for name, _, total, own in tree:
        before = found.get(name, (0.0, 0.0))
        found[name] = (before[0] + total / 1_000, before[1] + own / 1_000)
    return found


def _parts(starts: "list[ColdStart]", modules: "list[dict[str, Any]]") -> "dict[str, float]":
    parts = dict.fromkeys(PARTS, 0.0)
    for module in modules:
        parts[module["where"]] += module["self_ms"]
    boot = _median([float(start.init.get("coldspan_ms", 0.0)) for start in starts])
    parts[COLDSPAN] += boot
    init = _median([start.init_ms for start in starts])
    parts[START] = max(init - sum(parts.values()), 0.0)
    return {name: round(value, 3) for name, value in parts.items()}


def _packages(
    starts: "list[ColdStart]", modules: "list[dict[str, Any]]", importers: "Importers"
) -> "list[dict[str, Any]]":
    sums = [_by_package(start.init["tree_us"]) for start in starts]
    found = []
    for name in dict.fromkeys(module["name"].partition(".")[0] for module in modules):
        own = spread([each[name][0] for each in sums if name in each])
        importer = importers.of(name)
        found.append({
            "name": name,
            "where": importers.where(name),
            "self_ms": round(own.middle, 3),
            "deviation_ms": round(own.deviation, 3),
            "total_ms": _median([each[name][1] for each in sums if name in each]),
            "modules": sum(module["name"].partition(".")[0] == name for module in modules),
            "imported_at": importer.place if importer else "",
            "at_top": importer.at_top if importer else False,
            "own_import": importer.is_own if importer else False,
        })  # fmt: skip
    return sorted(found, key=lambda package: -package["self_ms"])


def _by_package(tree: "list[list[Any]]") -> "dict[str, tuple[float, float]]":
    """Package -> self ms of its modules; total ms of its outermost imports, with all that they brought."""
    found: dict[str, list[float]] = {}
    open_: list[str] = []
    for name, depth, total, own in tree:
        del open_[depth:]
        top = name.partition(".")[0]
        sums = found.setdefault(top, [0.0, 0.0])
        sums[0] += own / 1_000
        if top not in open_:
            sums[1] += total / 1_000
        open_.append(top)
    return {name: (own, total) for name, (own, total) in found.items()}


def _median(values: "list[float]") -> float:
    return round(spread(values).middle, 3)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a file of the kernel's
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


__all__ = ["PARTS", "SCHEMA", "START", "profile"]
