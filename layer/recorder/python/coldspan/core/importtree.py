"""What the environment's start spent on imports, from the import hook's raw list."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODULES = 2_000  # listed at most; the sums always count all


def summarise(tree: "list[list[Any]]", task_root: str, layer_roots: "tuple[str, ...]") -> "dict[str, Any]":
    """Give the import tree as a dict that JSON can carry.

    Takes:  [name, depth, total ns, self ns, origin] in the order in which imports began; folders as prefixes of origin.
    Gives:  `import_ms`, `modules`; `split`: self ms of the runtime, the layers and the application; `packages`:
            [top-level name, where, self ms, modules], the costliest first; `tree`: [name, depth, total ms, self ms], in
            the order of imports.
    """
    split = {"runtime": 0, "layer": 0, "application": 0}
    packages: "dict[tuple[str, str], list[int]]" = {}
    for name, _, _, own, origin in tree:
        where = _where(origin, task_root, layer_roots)
        split[where] += own
        key = (name.partition(".")[0], where)
        sums = packages.get(key)
        if sums is None:
            packages[key] = sums = [0, 0]
        sums[0] += own
        sums[1] += 1
    ranked = sorted(packages.items(), key=lambda item: -item[1][0])
    return {
        "import_ms": _ms(sum(split.values())),
        "modules": len(tree),
        "split": {where: _ms(ns) for where, ns in split.items()},
        "packages": [[name, where, _ms(ns), count] for (name, where), (ns, count) in ranked[:100]],
        "tree": [[name, depth, _ms(total), _ms(own)] for name, depth, total, own, _ in tree[:MODULES]],
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
    return round(ns / 1e6, 3)
