"""The lines that a SAM template needs for the layer, put where they belong; everything else stays byte for byte."""

import difflib
from typing import TYPE_CHECKING

import yaml

from coldspan_console.output import ConsoleError

if TYPE_CHECKING:
    from pathlib import Path

STEP = 2  # columns


def patched(path: "Path", layers: "list[str]") -> "tuple[str, str]":
    """(the template's text, the same with the layers in its Globals). Errors: ConsoleError where it cannot be read."""
    try:
        text = path.read_text("utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
    except OSError as error:
        raise ConsoleError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConsoleError(f"is no YAML: {error}".replace("\n", " "), where=str(path)) from None
    if path.suffix == ".json" or not isinstance(root, yaml.MappingNode) or root.flow_style:
        todo = f"add to Globals.Function.Layers by hand: {', '.join(layers)}"
        raise ConsoleError("only templates in YAML are edited", where=str(path), todo=todo)
    if _child(root, "Resources") is None:
        raise ConsoleError("no Resources: is it a template?", where=str(path))
    wanted = [arn for arn in layers if arn not in text]
    return text, _insert(text, root, wanted) if wanted else text


def diff(path: "Path", before: str, after: str) -> str:
    """The change as `patch -p0` takes it."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), str(path), str(path)
    )
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def _insert(text: str, root: "yaml.MappingNode", layers: "list[str]") -> str:
    lines = text.splitlines(keepends=True)
    outer = _child(root, "Globals")
    if outer is None:
        at = next(key for key, _ in root.value if key.value == "Resources").start_mark.line
        block = ["Globals:\n", "  Function:\n", "    Layers:\n", *(f"      - {arn}\n" for arn in layers), "\n"]
        return "".join(lines[:at] + block + lines[at:])
    function = _child(outer, "Function")
    if function is None:
        return _first(
            lines, outer, ["Function:", " " * STEP + "Layers:", *(" " * 2 * STEP + f"- {arn}" for arn in layers)]
        )
    named = _child(function, "Layers")
    if named is None:
        return _first(lines, function, ["Layers:", *(" " * STEP + f"- {arn}" for arn in layers)])
    if not isinstance(named, yaml.SequenceNode):
        raise ConsoleError("Globals.Function.Layers is no list", todo=f"add by hand: {', '.join(layers)}")
    if named.flow_style:
        at = named.end_mark.index - 1
        return text[:at] + (", " if named.value else "") + ", ".join(layers) + text[at:]
    last = named.value[-1]
    row = last.end_mark.line + (1 if last.end_mark.column else 0)
    indent = " " * named.start_mark.column
    return "".join(lines[:row] + [f"{indent}- {arn}\n" for arn in layers] + lines[row:])


def _first(lines: "list[str]", mapping: "yaml.Node", block: "list[str]") -> str:
    """The lines with a block as the first member of a mapping."""
    if not isinstance(mapping, yaml.MappingNode) or mapping.flow_style or not mapping.value:
        raise ConsoleError(
            "its Globals are written in one line", todo="add the layer by hand, or write them in a block"
        )
    mark = mapping.value[0][0].start_mark
    return "".join([*lines[: mark.line], *(" " * mark.column + line + "\n" for line in block), *lines[mark.line :]])


def _child(node: "yaml.Node", name: str) -> "yaml.Node | None":
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == name), None)
