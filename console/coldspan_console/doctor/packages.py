"""Which modules a folder of a search path gives, and of which distributions in which versions. Pure."""

import email.parser
import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from coldspan_console.doctor.contents import Contents

CODE = re.compile(r"(?P<module>[^.]+)(\.py|\.pyc|(\.[\w-]+)*\.so)")
METADATA = re.compile(r"[^/]+\.(dist-info/METADATA|egg-info/PKG-INFO)")
PINNED = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)\s*(\[[^]]*\])?\s*(==\s*(?P<version>[\w.!+-]+))?")


@dataclass(frozen=True, slots=True)
class Distribution:
    """What brought a module. An empty version is one that is not known."""

    name: str
    version: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


@dataclass(frozen=True, slots=True)
class Packages:
    """By dotted name: the modules and packages that one folder of the search path gives.

    A folder without __init__.py counts by the modules in it (`google.protobuf`): Python merges such folders.
    """

    modules: "dict[str, Distribution]"

    def over(self, name: str) -> "str | None":
        """The package or module among these of which a dotted name is a part; None when there is none."""
        parts = name.split(".")
        return next(
            (above for end in range(1, len(parts)) if (above := ".".join(parts[:end])) in self.modules),
            None,
        )


def of(contents: "Contents", root: str = "") -> Packages:
    """The modules below a folder of the contents ("python/"); with the distributions that their metadata name."""
    names = {name[len(root) :] for name in contents.names if name.startswith(root)}
    modules = set(_modules(names))
    known: dict[str, Distribution] = {}
    for name in sorted(names):
        if METADATA.fullmatch(name):
            folder = name.rpartition("/")[0]
            told = email.parser.BytesParser().parsebytes(contents.head(root + name), headersonly=True)
            found = Distribution(str(told["Name"] or folder.partition("-")[0]), str(told["Version"] or ""))
            for module in _of_distribution(contents, root, folder, found.name, names) & modules:
                known[module] = found
    return Packages({module: known.get(module, Distribution(module)) for module in modules})


def with_requirements(packages: Packages, text: str, others: "Iterable[Packages]") -> Packages:
    """The same with what requirements.txt will install, by what others have of the same distributions."""
    wanted = {normal(name): Distribution(name, version) for name, version in _pinned(text)}
    found = {
        module: wanted[normal(told.name)]
        for other in others
        for module, told in other.modules.items()
        if normal(told.name) in wanted
    }
    return Packages({**found, **packages.modules})


def names_in(text: str) -> "set[str]":
    """The names of distributions in a requirements.txt, as the index compares them."""
    return {normal(name) for name, _ in _pinned(text)}


def normal(name: str) -> str:
    """A distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _modules(names: "set[str]") -> "Iterator[str]":
    packages = {
        name.rpartition("/")[0] for name in names if "/" in name and re.search(r"/__init__(\.py|\.pyc|\..*so)$", name)
    }
    for name in names:
        *folders, file = name.split("/")
        if "__pycache__" in folders:
            continue
        found = CODE.fullmatch(file)
        outer = next((end for end in range(1, len(folders) + 1) if "/".join(folders[:end]) in packages), None)
        parts = folders[:outer] if outer else [*folders, found["module"] if found else ""]
        if (outer or (found and found["module"] != "__init__")) and all(map(_is_name, parts)):
            yield ".".join(parts)


def _is_name(part: str) -> bool:
    return part.isidentifier() and not keyword.iskeyword(part)


def _of_distribution(contents: "Contents", root: str, folder: str, name: str, names: "set[str]") -> "set[str]":
    """Its modules: by RECORD, else by top_level.txt, else by its name."""
    if f"{folder}/RECORD" in names:
        lines = contents.head(f"{root}{folder}/RECORD").decode("utf-8", "replace").splitlines()
        return set(_modules({line.split(",")[0] for line in lines} & names))
    if f"{folder}/top_level.txt" in names:
        return set(contents.head(f"{root}{folder}/top_level.txt").decode("utf-8", "replace").split())
    return {normal(name).replace("-", "_")}


def _pinned(text: str) -> "Iterator[tuple[str, str]]":
    for line in text.splitlines():
        found = PINNED.match(line.partition("#")[0].strip())
        if found:
            yield found["name"], found["version"] or ""
