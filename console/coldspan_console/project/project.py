"""The functions of a template, as the local platform and the doctor need them."""

import difflib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.output import ConsoleError
from coldspan_console.project import built as building
from coldspan_console.project import layering, values
from coldspan_console.project import template as reading
from coldspan_console.project.intrinsics import REGION, is_unresolved
from coldspan_console.project.layering import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping

# Source: Lambda developer guide, "Configure Lambda function timeout" and "memory": what a function has by default.
TIMEOUT_S, MEMORY_MB = 3, 128
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")


@dataclass(frozen=True, slots=True)
class Declared:
    """A function as a template declares it. `problem` says why it cannot run here; "" when it can."""

    logical_id: str
    name: str
    handler: str
    runtime: str
    code: Path
    template: Path
    memory_mb: int = MEMORY_MB
    timeout_s: int = TIMEOUT_S
    environment: "Mapping[str, str]" = field(default_factory=dict)
    layers: "tuple[Layer, ...]" = ()
    architecture: str = "x86_64"
    init_type: str = "on-demand"
    max_concurrency: "int | None" = None
    reserved_concurrency: "int | None" = None
    tracing: str = "PassThrough"
    log_format: str = "Text"
    log_level: str = ""
    inline_code: str = ""
    built: bool = False  # `code` is what `sam build` has made
    notes: "tuple[str, ...]" = ()  # what a person should know of how it was read
    events: "Mapping[str, Mapping[str, Any]]" = field(default_factory=dict)
    invoke_config: "Mapping[str, Any]" = field(default_factory=dict)
    properties: "Mapping[str, Any]" = field(default_factory=dict)
    unresolved: "tuple[str, ...]" = ()  # variables whose value is not known here
    problem: str = ""


class Project:
    """A template with its functions. `root` is the folder that its paths are relative to.

    >>> project = Project.load()          # the template here or above
    >>> project.function("OrdersFunction").handler
    """

    def __init__(
        self, path: Path, resources: "dict[str, Any]", functions: "list[Declared]", missing: "tuple[str, ...]" = ()
    ) -> None:
        self.path = path
        self.root = path.parent
        self.resources = resources
        self.functions = {function.logical_id: function for function in functions}
        self.missing_parameters = missing  # they have no default, and nobody gave a value

    @classmethod
    def load(
        cls, path: "Path | None" = None, *, parameters: "Mapping[str, str] | None" = None, region: str = REGION
    ) -> "Project":
        """Read the template at a path (file or folder; by default here or above). Errors: ConsoleError.

        `parameters` go over the values that samconfig.toml gives, and those over the template's defaults.
        """
        found = reading.find(path)
        if found is None:
            what = f"no {reading.NAMES[0]}" if path is None or path.exists() else "no such template"
            todo = "name one by --template, or a folder with a handler: coldspan run FOLDER --handler app.handler"
            raise ConsoleError(what, where=str(path or f"{Path.cwd()} and above"), todo=todo)
        declared = reading.read(found).get("Parameters") or {}
        values.check(parameters or {}, declared, found)
        given = {**values.of_samconfig(found.parent), **(parameters or {})}
        document = reading.load(found, given, region)
        resources = {name: each for name, each in document["Resources"].items() if isinstance(each, dict)}
        made = building.read(found)
        functions = [
            _declared(name, resource, resources, found, made)
            for name, resource in resources.items()
            if resource.get("Type") in reading.FUNCTIONS
        ]
        return cls(found, resources, functions, values.missing(given, declared))

    @property
    def runnable(self) -> "list[Declared]":
        """The functions that can run here."""
        return [function for function in self.functions.values() if not function.problem]

    def function(self, name: "str | None" = None) -> Declared:
        """A function by its logical id or name; without one, the only one. Errors: ConsoleError, with the names."""
        known = list(self.functions.values())
        if name is None:
            if len(self.runnable) == 1:
                return self.runnable[0]
            names = ", ".join(function.logical_id for function in self.runnable)
            if not self.runnable:
                why = "; ".join(f"{function.logical_id}: {function.problem}" for function in known)
                others = "name another template (-t), or a handler: coldspan run app.handler"
                raise ConsoleError("no Python function in the template", where=str(self.path), todo=why or others)
            raise ConsoleError("which function?", where=str(self.path), todo=f"name one of: {names}")
        found = next((function for function in known if name in {function.logical_id, function.name}), None)
        if found is None:
            ids = [function.logical_id for function in known]
            near = difflib.get_close_matches(name, ids, 1)
            todo = f"did you mean {near[0]}? " if near else ""
            todo += f"choose one of: {', '.join(ids)}" if ids else "the template declares none"
            raise ConsoleError(f"no function called {name}", where=str(self.path), todo=todo)
        if found.problem:
            raise ConsoleError(f"{found.logical_id} cannot run here: {found.problem}", where=str(self.path))
        return found


def of_properties(
    name: str, properties: "dict[str, Any]", path: Path, layers: "tuple[Layer, ...]" = (),
    code: "tuple[Path, bool, tuple[str, ...], str] | None" = None,
) -> Declared:  # fmt: skip
    """A function by the properties of AWS::Lambda::Function or AWS::Serverless::Function.

    `code`: its folder, whether that is what `sam build` made, notes, and why there is none. Without it nothing is said
    of the code: it is somewhere else.
    """
    variables = _mapping(_mapping(properties.get("Environment")).get("Variables"))
    known = {key: _text(value) for key, value in variables.items() if not isinstance(value, (dict, list))}
    secret = {key for key, value in known.items() if "{{resolve:" in value}
    logging = _mapping(properties.get("LoggingConfig"))
    tracing = properties.get("Tracing") or _mapping(properties.get("TracingConfig")).get("Mode")
    runtime, handler = (str(_plain(properties.get(key), "")) for key in ("Runtime", "Handler"))
    folder, built, notes, problem = code or (path.parent, False, (), "")
    if properties.get("PackageType") == "Image":
        problem = "it is a container image; only functions from .zip archives run here"
    elif runtime not in PYTHONS:
        problem = f"its runtime is {runtime or 'not given'}; {', '.join(PYTHONS)} run here"
    elif not problem and not handler:
        problem = "it has no Handler"
    init_type, workers = _init_type(properties)
    return Declared(
        logical_id=name,
        name=str(_plain(properties.get("FunctionName"), name)),
        handler=handler,
        runtime=runtime,
        code=folder,
        template=path,
        memory_mb=_number(properties.get("MemorySize"), MEMORY_MB),
        timeout_s=_number(properties.get("Timeout"), TIMEOUT_S),
        environment={key: value for key, value in known.items() if key not in secret},
        layers=layers,
        architecture=str(_plain((_listed(properties.get("Architectures")) or ["x86_64"])[0], "x86_64")),
        init_type=init_type,
        max_concurrency=workers,
        reserved_concurrency=_number(properties.get("ReservedConcurrentExecutions"), None),
        tracing=str(_plain(tracing, "PassThrough")),
        log_format=str(_plain(logging.get("LogFormat"), "Text")),
        log_level=str(_plain(logging.get("ApplicationLogLevel"), "")),
        inline_code=str(_plain(properties.get("InlineCode"), "")) or _zip_file(properties),
        built=built,
        notes=notes,
        events=_mapping(properties.get("Events")),
        invoke_config=_mapping(properties.get("EventInvokeConfig")),
        properties=properties,
        unresolved=tuple(key for key in variables if key not in known or key in secret),
        problem=problem,
    )


def _declared(
    name: str, resource: "dict[str, Any]", resources: "dict[str, Any]", path: Path, made: building.Built
) -> Declared:
    properties = _mapping(resource.get("Properties"))
    layers = tuple(layering.layers_of(properties.get("Layers"), resources, path.parent, made))
    return of_properties(name, properties, path, layers, _code(name, resource, path, made))


def _init_type(properties: "dict[str, Any]") -> "tuple[str, int | None]":
    """(type of initialization, workers of a Managed Instance)."""
    if managed := _mapping(properties.get("CapacityProviderConfig")):
        nested = _mapping(managed.get("LambdaManagedInstancesCapacityProviderConfig")) or managed
        return "lambda-managed-instances", _number(nested.get("PerExecutionEnvironmentMaxConcurrency"), 2)
    if _mapping(properties.get("SnapStart")).get("ApplyOn") == "PublishedVersions":
        return "snap-start", None
    return ("provisioned-concurrency" if properties.get("ProvisionedConcurrencyConfig") else "on-demand"), None


def _code(
    name: str, resource: "dict[str, Any]", path: Path, made: building.Built
) -> "tuple[Path, bool, tuple[str, ...], str]":
    """(folder of the code, whether it is what `sam build` made, notes, why there is none)."""
    properties, root = _mapping(resource.get("Properties")), path.parent
    if properties.get("InlineCode") or _zip_file(properties):
        return root, False, (), ""
    given = properties.get("CodeUri", properties.get("Code", "."))
    asset = _mapping(resource.get("Metadata")).get("aws:asset:path")  # as the CDK writes it
    if isinstance(asset, str) and (not isinstance(given, str) or given.startswith("s3:")):
        given = asset
    folder = (root / given).resolve() if isinstance(given, str) else root
    here = isinstance(given, str) and not given.startswith(("s3:", "https:"))
    if name in made.folders:
        if not here or not made.is_older(folder):
            return made.folders[name], True, (f"code as `sam build` made it: {made.folders[name]}",), ""
        notes = ("what `sam build` made is older than the code: the code itself runs",)
    else:
        notes = ()
    if not here:
        return root, False, notes, "its code is in S3, and not on this machine"
    if not folder.exists():
        return folder, False, notes, f"its code is missing: {folder}"
    if not folder.is_dir() and folder.suffix not in {".zip", ".jar"}:
        return folder, False, notes, f"its code is no folder: {folder}"
    return folder, False, notes, ""


def _zip_file(properties: "dict[str, Any]") -> str:
    code = properties.get("Code")
    return code["ZipFile"] if isinstance(code, dict) and isinstance(code.get("ZipFile"), str) else ""


def _plain(value: Any, default: Any) -> Any:
    return default if value is None or is_unresolved(value) else value


def _number(value: Any, default: Any) -> Any:
    try:
        return int(value)
    except (TypeError, ValueError):
        return default


def _mapping(value: Any) -> "dict[str, Any]":
    """A mapping; an empty one where a template has something else, or what could not be resolved."""
    return value if isinstance(value, dict) and not is_unresolved(value) else {}


def _listed(value: Any) -> "list[Any]":
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
