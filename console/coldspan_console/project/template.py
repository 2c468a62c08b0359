"""A template's file: found, read, and told where it is wrong."""

import json
from pathlib import Path
from typing import Any

import yaml
from samtranslator.model.exceptions import ExceptionWithMessage, InvalidDocumentException
from samtranslator.plugins.globals.globals import Globals
from samtranslator.yaml_helper import yaml_parse

from coldspan_console.output import ConsoleError
from coldspan_console.project.intrinsics import REGION, CircularError, resolve

NAMES = ("template.yaml", "template.yml", "template.json")
FUNCTIONS = ("AWS::Serverless::Function", "AWS::Lambda::Function")


def find(start: "Path | None" = None) -> "Path | None":
    """The template in a folder (the current one) or the nearest folder above that has one; a file is itself."""
    place = (start or Path.cwd()).absolute()
    if place.is_file():
        return place
    for folder in (place, *place.parents):
        for name in NAMES:
            if (folder / name).is_file():
                return folder / name
    return None


def load(path: Path, parameters: "dict[str, Any] | None" = None, region: str = REGION) -> "dict[str, Any]":
    """The template with Globals merged and intrinsic functions resolved. Errors: ConsoleError."""
    template = read(path)
    try:
        resolved = resolve(template, parameters or {}, region)
        _merge_globals(resolved)
    except CircularError as error:
        raise ConsoleError(str(error), where=str(path), todo="look at its Ref, Fn::Sub and Condition") from None
    except (InvalidDocumentException, ExceptionWithMessage) as error:
        causes = getattr(error, "causes", None) or [error]
        raise ConsoleError("; ".join(cause.message for cause in causes), where=str(path)) from None
    return resolved


def read(path: Path) -> "dict[str, Any]":
    """The template as it stands, with long forms of its intrinsic functions. Errors: ConsoleError."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConsoleError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConsoleError(f"is no UTF-8 text (byte {error.start})", where=str(path)) from None
    try:
        found = json.loads(text) if path.suffix == ".json" else yaml_parse(text)
    except json.JSONDecodeError as error:
        raise ConsoleError(f"is no JSON: {error.msg}", where=f"{path}:{error.lineno}:{error.colno}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConsoleError(f"is no YAML: {error.problem}", where=place) from None
    except yaml.YAMLError as error:
        raise ConsoleError(f"is no YAML: {error}", where=str(path)) from None
    resources = found.get("Resources") if isinstance(found, dict) else None
    if not isinstance(resources, dict):
        todo = "a SAM template has a member Resources, with functions in it"
        raise ConsoleError("is no template: it has no Resources", where=str(path), todo=todo)
    for name, resource in resources.items():
        if name.startswith("Fn::"):
            continue
        if not isinstance(resource, dict) or not isinstance(resource.get("Properties") or {}, dict):
            raise ConsoleError(f"resource {name} is no resource: it has no Type or Properties", where=str(path))
    return found


def _merge_globals(template: "dict[str, Any]") -> None:
    merging = Globals(template)
    for name, resource in template["Resources"].items():
        if isinstance(resource, dict) and resource.get("Type") == FUNCTIONS[0]:
            properties = resource.get("Properties") or {}
            resource["Properties"] = merging.merge(FUNCTIONS[0], properties, name, resource.get("IgnoreGlobals"))
