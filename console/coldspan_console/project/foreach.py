"""Fn::ForEach of AWS::LanguageExtensions, unrolled by cfn-lint, which is loaded only for templates that use it."""

import copy
from typing import TYPE_CHECKING, Any

from coldspan_console.output import MISSING, ConsoleError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FOR_EACH = "Fn::ForEach"


def is_used(node: Any) -> bool:
    """Whether a template has a loop somewhere."""
    if isinstance(node, dict):
        return any(str(name).startswith(FOR_EACH) or is_used(each) for name, each in node.items())
    return isinstance(node, list) and any(map(is_used, node))


def unrolled(path: "Path", template: "dict[str, Any]", given: "Mapping[str, Any]") -> "dict[str, Any]":
    """A template without its loops. `given`: values of parameters, over their defaults. Errors: ConsoleError."""
    try:
        from cfnlint.template import Template
        from cfnlint.template.transforms._language_extensions import language_extension
    except ImportError:
        raise ConsoleError(
            f"{FOR_EACH} needs cfn-lint", where=str(path), todo="pip install cfn-lint", exit_code=MISSING
        ) from None
    template = copy.deepcopy(template)
    for name, parameter in (template.get("Parameters") or {}).items():
        if name in given and isinstance(parameter, dict):
            parameter["Default"] = given[name]
    _refuse_unknown(path, template, template.get("Parameters") or {})
    matches, found = language_extension(Template(str(path), template, ["us-east-1"]))
    if not found:
        raise ConsoleError(f"{FOR_EACH} cannot be unrolled: {matches[0].message}", where=str(path))
    return found


def _refuse_unknown(path: "Path", node: Any, parameters: "dict[str, Any]") -> None:
    """cfn-lint makes values up where a loop goes over a parameter that has none."""
    if isinstance(node, list):
        for each in node:
            _refuse_unknown(path, each, parameters)
    for name, each in node.items() if isinstance(node, dict) else ():
        over = each[1] if str(name).startswith(FOR_EACH) and isinstance(each, list) and len(each) == 3 else None
        if isinstance(over, dict) and set(over) == {"Ref"}:
            parameter = parameters.get(over["Ref"])
            if not isinstance(parameter, dict) or not parameter.get("Default"):
                raise ConsoleError(
                    f"{name} goes over {over['Ref']}, which has no value here", where=str(path),
                    todo=f"give it one: -P {over['Ref']}=One,Two",
                )  # fmt: skip
        _refuse_unknown(path, each, parameters)
