"""What the environment's start spent on imports, from the import hook's raw list."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

PACKAGES = 100
MODULES = 2_000  # listed at most; the sums always count all


def summarise(
    tree: "list[list[Any]]", origin_of: "Callable[[str], str | None]", task_root: str, layer_roots: "tuple[str, ...]"
) -> "dict[str, Any]":
    """Give the import tree as a dict that JSON can carry.

    Takes:  [name, depth, total ns, self ns] in the order in which imports began; `origin_of(name)`, the file that a
            module was loaded from, asked once a package; folders as prefixes of origins.
    Gives:  `import_ms`, `modules`; `split`: self ms of the runtime, the layers and the application; `packages`:
            [top-level name, where, self ms, modules], the costliest first; `tree_us`: [name, depth, total µs, self µs]
            in the order of imports (whole numbers, because they are written in a third of the time).
    """
    packages: "dict[str, list[Any]]" = {}
    lines = []
    for name, depth, total, own in tree:
        top = name.partition(".")[0]
        sums = packages.get(top)
        if sums is None:
            where = _where(origin_of(top) or origin_of(name), task_root, layer_roots)
            packages[top] = sums = [top, where, 0, 0]
        sums[2] += own
        sums[3] += 1
        lines.append([name, depth, total // 1000, own // 1000])
    split = {"runtime": 0, "layer": 0, "application": 0}
    for _, where, own, _ in packages.values():
        split[where] += own
    ranked = sorted(packages.values(), key=lambda sums: -sums[2])
    return {
        "import_ms": _ms(sum(split.values())),
        "modules": len(tree),
        "split": {where: _ms(ns) for where, ns in split.items()},
        "packages": [[top, where, _ms(own), count] for top, where, own, count in ranked[:PACKAGES]],
        "tree_us": lines[:MODULES],
    }


def _where(origin: "str | None", task_root: str, layer_roots: "tuple[str, ...]") -> str:
    if origin:
        for root in layer_roots:
            if origin.startswith(root):
                return "layer"
        if task_root and origin.startswith(task_root):
            return "application"
    return "runtime"


def _ms(ns: int) -> float:
    return ns // 1000 / 1000
