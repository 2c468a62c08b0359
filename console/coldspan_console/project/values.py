"""Values of a template's parameters: those of samconfig.toml, and over them those of the command line."""

import difflib
import shlex
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.output import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

COMMANDS = ("global", "build", "deploy", "local_invoke")  # the later go first


def of_samconfig(root: Path) -> "dict[str, str]":
    """`parameter_overrides` in samconfig.toml's default environment: `Name=Value` words, or a table.

    Errors: ConsoleError.
    """
    file = root / "samconfig.toml"
    if not file.is_file():
        return {}
    try:
        default = tomllib.loads(file.read_text("utf-8")).get("default", {})
        found: dict[str, str] = {}
        for command in COMMANDS:
            found |= _values(default.get(command, {}).get("parameters", {}).get("parameter_overrides", ()))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError, AttributeError) as error:
        raise ConsoleError(f"cannot be read: {error}", where=str(file)) from None
    return found


def check(given: "Mapping[str, str]", parameters: "Mapping[str, Any]", path: Path) -> None:
    """Refuse what the template does not have, and values that it does not allow. Errors: ConsoleError."""
    for name, value in given.items():
        told = parameters.get(name)
        if not isinstance(told, dict):
            near = difflib.get_close_matches(name, list(parameters), 1)
            todo = f"did you mean {near[0]}? " if near else ""
            todo += f"it has {', '.join(parameters)}" if parameters else "it has none"
            raise ConsoleError(f"the template has no parameter {name}", where=str(path), todo=todo)
        allowed = told.get("AllowedValues")
        if isinstance(allowed, list) and value not in map(str, allowed):
            todo = f"allowed is {', '.join(map(str, allowed))}"
            raise ConsoleError(f"parameter {name} may not be {value!r}", where=str(path), todo=todo)


def missing(given: "Mapping[str, str]", parameters: "Mapping[str, Any]") -> "tuple[str, ...]":
    """Parameters without a value: they have no default, and nobody gave one."""
    return tuple(
        name
        for name, told in parameters.items()
        if name not in given and isinstance(told, dict) and "Default" not in told
    )


def _values(given: Any) -> "dict[str, str]":
    if isinstance(given, dict):
        return {name: str(value) for name, value in given.items()}
    found = {}
    for word in _words(given):
        name, equals, value = word.partition("=")
        if name == "ParameterKey" and ",ParameterValue=" in value:  # the long form
            name, _, value = value.partition(",ParameterValue=")
        if equals:
            found[name] = value.strip("\"'")
    return found


def _words(given: Any) -> "Iterable[str]":
    return shlex.split(given) if isinstance(given, str) else map(str, given)
