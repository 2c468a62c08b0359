"""What the layers of a function and its own package hide of each other, and what layers hide of the runtime. Pure.

The managed runtime's search path, by its bootstrap.py: /var/task, /opt/python/lib/pythonX.Y/site-packages, /opt/python,
then the runtime's own folders and the standard library. With PYTHONPATH set, the two of /opt are not put on it.
Layers are laid over each other in /opt, in their order: of two files of one name the later layer's is there.
Source: Lambda developer guide, "Working with layers for Python Lambda functions", and the runtime's bootstrap.py.
"""

import sys
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from coldspan_console.doctor.findings import ERROR, NOTE, OURS, WARNING, Finding
from coldspan_console.doctor.packages import Distribution, Packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What the managed runtime brings so that boto3 works; awslambdaric and its own are imported before any layer counts.
SDK = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
LOOSE = {"boto3", "s3transfer", "urllib3"}  # which are made for certain versions of botocore
MANY = 6  # names of one finding


@dataclass(frozen=True, slots=True)
class Place:
    """What one folder of the search path has, and of which layer it is; `layer` is "" for the function's own."""

    layer: str
    folder: str
    packages: Packages


def folders(runtime: str, variables: "Mapping[str, str]") -> "list[str]":
    """The folders of a layer that are on the search path, in its order: paths in the layer, with / at the end."""
    both = [f"python/lib/{runtime}/site-packages/", "python/"]
    if "PYTHONPATH" not in variables or variables.get("AWS_LAMBDA_EXEC_WRAPPER") == OURS:
        return both
    named = [part.rstrip("/") + "/" for part in variables["PYTHONPATH"].split(":")]
    return [part.removeprefix("/opt/") for part in named if part.removeprefix("/opt/") in both]


def examine(where: str, own: Packages, layers: "list[Place]") -> "Iterator[Finding]":
    """What is hidden by what.

    Takes: the function's package; the layers' folders in the order of the search path, in each that of the layers.
    """
    for place in layers:
        yield from _both(where, own, place)
        yield from _folders(where, own, place)
        yield from _of_runtime(where, own, place)
    yield from _among(where, layers)


def _both(where: str, own: Packages, place: Place) -> "Iterator[Finding]":
    differ: dict[tuple[Distribution, Distribution], list[str]] = {}
    same = []
    for module in sorted(own.modules.keys() & place.packages.modules.keys()):
        mine, theirs = own.modules[module], place.packages.modules[module]
        if mine.version and theirs.version and mine.version != theirs.version:
            differ.setdefault((mine, theirs), []).append(module)
        else:
            same.append(f"{module} {mine.version}".strip())
    for (mine, theirs), modules in differ.items():
        yield Finding(
            "CS310", WARNING,
            f"{mine} is in the function's package and {theirs} in layer {place.layer}: the function's is imported"
            f" (/var/task comes first), also by what the layer brings ({_named(modules)})",
            where, "bring one version, in one place",
        )  # fmt: skip
    if same:
        yield Finding(
            "CS311", NOTE,
            f"in the function's package and in layer {place.layer}: {_named(same)}; the function's are imported",
            where, "leave them out of one of the two",
        )  # fmt: skip


def _folders(where: str, own: Packages, place: Place) -> "Iterator[Finding]":
    """Folders without __init__.py: a package of the same name hides all of them, wherever it stands on the path."""
    hidden: dict[str, list[str]] = {}
    for module in sorted(own.modules):
        if above := place.packages.over(module):
            hidden.setdefault(above, []).append(module)
    for above, modules in hidden.items():
        yield Finding(
            "CS312", WARNING,
            f"{above} of layer {place.layer} hides the function's own {_named(modules)}: a folder without __init__.py"
            " gives way to a package",
            where, f"put an __init__.py into the function's {above.replace('.', '/')}, or rename it",
        )  # fmt: skip
    hidden = {}
    for module in sorted(place.packages.modules):
        if above := own.over(module):
            hidden.setdefault(above, []).append(module)
    for above, modules in hidden.items():
        yield Finding(
            "CS313", WARNING,
            f"the function's own {above} hides {_named(modules)} of layer {place.layer}",
            where, f"rename the function's {above}, or bring all of it in one place",
        )  # fmt: skip


def _of_runtime(where: str, own: Packages, place: Place) -> "Iterator[Finding]":
    modules = place.packages.modules
    if standard := sorted(name for name in modules if name in sys.stdlib_module_names):
        yield Finding(
            "CS314", WARNING,
            f"layer {place.layer} hides modules of the standard library: {_named(standard)}",
            where, "take them out of the layer: backports for old Pythons, or names that are taken",
        )  # fmt: skip
    brought = [name for name in SDK if name in modules and name not in own.modules]
    told = _named([str(modules[name]) for name in brought])
    if brought and "botocore" in modules:
        todo = "nothing, if that is meant"
        yield Finding("CS316", NOTE, f"layer {place.layer} replaces the runtime's {told}", where, todo)
    elif set(brought) & LOOSE and "botocore" not in own.modules:
        yield Finding(
            "CS315", WARNING,
            f"layer {place.layer} replaces a part of the runtime's SDK: the runtime's botocore then works with {told}",
            where, "bring boto3 and botocore in the layer, too, or leave it out",
        )  # fmt: skip


def _among(where: str, layers: "list[Place]") -> "Iterator[Finding]":
    differ: dict[tuple[str, str, Distribution, Distribution], list[str]] = {}
    for first, second in combinations(layers, 2):
        if first.layer == second.layer:
            continue
        # in one folder of /opt the later layer's files are there; of two folders the first on the path decides
        wins, loses = (second, first) if first.folder == second.folder else (first, second)
        for module in sorted(wins.packages.modules.keys() & loses.packages.modules.keys()):
            taken, left = wins.packages.modules[module], loses.packages.modules[module]
            if taken.version and left.version and taken.version != left.version:
                differ.setdefault((wins.layer, loses.layer, taken, left), []).append(module)
    for (winner, loser, taken, left), modules in differ.items():
        yield Finding(
            "CS317", WARNING,
            f"{taken} of layer {winner} lies over {left} of layer {loser} ({_named(modules)})",
            where, "bring it in one of the layers",
        )  # fmt: skip


def own_coldspan(where: str, names: "frozenset[str]") -> "Iterator[Finding]":
    """A module of the function's own that is called as the recorder's package. `names`: files of the function."""
    if "coldspan/boot/start.py" not in names and any(
        name == "coldspan.py" or name.startswith("coldspan/__init__.") for name in names
    ):
        yield Finding(
            "CS318", ERROR,
            "the function has a module called coldspan, which is imported in the place of the layer's: nothing is recorded",
            where, "rename it",
        )  # fmt: skip


def _named(names: "list[str]") -> str:
    return ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")
