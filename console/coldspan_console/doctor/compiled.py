"""Compiled files that the function's machine or Python cannot load, told by their ELF headers and names. Pure."""

import re
from typing import TYPE_CHECKING

from coldspan_console.doctor.findings import ERROR, WARNING, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldspan_console.doctor.contents import Contents

# Source: System V ABI, "ELF header": e_ident[EI_DATA] at 5, e_machine at 18, two bytes.
MACHINES = {0x03: "i386", 0x28: "arm (32 bits)", 0x3E: "x86_64", 0xB7: "arm64", 0xF3: "riscv"}
HEADER_BYTES = 20
WORDS = re.compile(r"x86[_-]64|amd64|x64|aarch64|arm64")
TAG = re.compile(r"\.cpython-(\d)(\d+)-?[\w-]*\.so$")


def examine(where: str, whose: str, contents: "Contents", architecture: str, runtime: str) -> "Iterator[Finding]":
    """What is compiled for another machine or Python. `whose`: "the function's package", or a layer in words."""
    compiled = [name for name in sorted(contents.names) if _may_be(name)]
    machines = {name: found for name in compiled if (found := machine(contents.head(name, HEADER_BYTES)))}
    fitting = {WORDS.sub("", name) for name, found in machines.items() if found == architecture}
    # packages that bring a file for each machine name it in the path
    wrong = {name: found for name, found in machines.items() if found != architecture}
    wrong = {name: found for name, found in wrong.items() if WORDS.sub("", name) not in fitting}
    if wrong:
        yield Finding(
            "CS123", ERROR,
            f"compiled for {', '.join(sorted(set(wrong.values())))}, and the function is {architecture}:"
            f" {_some(list(wrong))} of {whose}",
            where, f"build it for {architecture} (sam build --use-container, or pip's --platform)",
        )  # fmt: skip
    other = _of_other_pythons(compiled, runtime)
    if other:
        yield Finding(
            "CS124", WARNING, f"compiled for another Python than {runtime}: {_some(other)} of {whose}",
            where, f"build it with {runtime}",
        )  # fmt: skip


def machine(head: bytes) -> str:
    """The machine of an ELF file by its first bytes; "" for what is none."""
    if len(head) < HEADER_BYTES or not head.startswith(b"\x7fELF"):
        return ""
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return MACHINES.get(number, f"machine {number}")


def _may_be(name: str) -> bool:
    return name.endswith(".so") or ".so." in name or name.startswith("extensions/")


def _of_other_pythons(compiled: "list[str]", runtime: str) -> "list[str]":
    """Modules that are there for other Pythons only."""
    mine = runtime.removeprefix("python").replace(".", "")
    tagged = {name: "".join(found.groups()) for name in compiled if (found := TAG.search(name))}
    fitting = {TAG.sub("", name) for name, tag in tagged.items() if tag == mine}
    fitting |= {name.removesuffix(".so").removesuffix(".abi3") for name in compiled if name not in tagged}
    return [
        name
        for name, tag in tagged.items()
        if tag != mine and TAG.sub("", name) not in fitting and not re.match(r"python/lib/python3\.\d+/", name)
    ]


def _some(names: "list[str]") -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
