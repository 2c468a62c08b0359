"""A template's file: found, read, and told where it is wrong."""

import difflib
import json
from pathlib import Path
from typing import Any

import yaml
from samtranslator.model.exceptions import ExceptionWithMessage, InvalidDocumentException
from samtranslator.plugins.globals.globals import Globals
from samtranslator.yaml_helper import yaml_parse

from coldspan_console.output import ConsoleError
from coldspan_console.project import foreach
from coldspan_console.project.intrinsics import KNOWN, REGION, resolve, unknown_functions
from coldspan_console.project.names import CircularError

NAMES = ("template.yaml", "template.yml", "template.json")
FUNCTIONS = ("AWS::Serverless::Function", "AWS::Lambda::Function")


def find(start: "Path | None" = None) -> "Path | None":
    """The template: the file that is given, or in the folder that is given, or in the current folder or above."""
    if start is not None:
        return start.absolute() if start.is_file() else _in(start.absolute())
    here = Path.cwd()
    return next((found for folder in (here, *here.parents) if (found := _in(folder)) is not None), None)


def _in(folder: Path) -> "Path | None":
    return next((folder / name for name in NAMES if (folder / name).is_file()), None)


def load(
    path: Path,
    parameters: "dict[str, Any] | None" = None,
    region: str = REGION,
) -> "dict[str, Any]":
    """The template with loops unrolled, Globals merged and intrinsic functions resolved. Errors: ConsoleError."""
    template = read(path)
    given = parameters or {}
    try:
        if unknown := unknown_functions(template):
            place, name = unknown[0]
            near = difflib.get_close_matches(name, sorted(KNOWN), 1)
            todo = f"did you mean {near[0]}?" if near else ""
            raise ConsoleError(f"there is no intrinsic function {name}", where=f"{path}: {place}", todo=todo)
        if foreach.is_used(template):
            template = foreach.unrolled(path, template, given)
        _merge_globals(template)
        return resolve(template, given, region)
    except CircularError as error:
        raise ConsoleError(str(error), where=str(path), todo="look at its Ref, Fn::Sub and Condition") from None
    except RecursionError:
        raise ConsoleError("contains itself, or is nested without an end", where=str(path)) from None
    except (InvalidDocumentException, ExceptionWithMessage) as error:
        causes = getattr(error, "causes", None) or [error]
        raise ConsoleError("; ".join(cause.message for cause in causes), where=str(path)) from None


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
    if not isinstance(found, dict) or not isinstance(found.get("Resources"), dict):
        todo = "a SAM template has a member Resources, with functions in it"
        raise ConsoleError("is no template: it has no Resources", where=str(path), todo=todo)
    for section in ("Parameters", "Mappings", "Conditions", "Globals"):
        if not isinstance(found.get(section) or {}, dict):
            raise ConsoleError(f"its {section} have no names", where=str(path))
    return _checked(found, path)


def _checked(found: "dict[str, Any]", path: Path) -> "dict[str, Any]":
    for name, resource in found["Resources"].items():
        if str(name).startswith("Fn::"):
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
