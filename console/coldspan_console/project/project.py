"""The functions of a template, as the local platform and the doctor need them."""

import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.output import ConsoleError
from coldspan_console.project import template as reading
from coldspan_console.project.intrinsics import REGION, is_unresolved

if TYPE_CHECKING:
    from collections.abc import Mapping

# Source: Lambda developer guide, "Configure Lambda function timeout" and "memory": what a function has by default.
TIMEOUT_S, MEMORY_MB = 3, 128
PYTHONS = ("python3.11", "python3.12", "python3.13", "python3.14")
LAYERS = ("AWS::Serverless::LayerVersion", "AWS::Lambda::LayerVersion")


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that a function names. `folder` is None where it is an ARN, which is not on this machine."""

    name: str
    folder: "Path | None" = None
    build_method: str = ""


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

    def __init__(self, path: Path, resources: "dict[str, Any]", functions: "list[Declared]") -> None:
        self.path = path
        self.root = path.parent
        self.resources = resources
        self.functions = {function.logical_id: function for function in functions}

    @classmethod
    def load(
        cls, path: "Path | None" = None, *, parameters: "Mapping[str, str] | None" = None, region: str = REGION
    ) -> "Project":
        """Read the template at a path (file or folder; by default here or above). Errors: ConsoleError."""
        found = reading.find(path)
        if found is None:
            todo = "name one by --template, or a folder with a handler: coldspan run FOLDER --handler app.handler"
            raise ConsoleError(f"no {reading.NAMES[0]}", where=f"{path or Path.cwd()} and above", todo=todo)
        given = {**_overrides(found.parent), **(parameters or {})}
        document = reading.load(found, given, region)
        resources = {name: each for name, each in document["Resources"].items() if isinstance(each, dict)}
        built = _built(found)
        functions = [
            _declared(name, resource, resources, found, built)
            for name, resource in resources.items()
            if resource.get("Type") in reading.FUNCTIONS
        ]
        return cls(found, resources, functions)

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
                raise ConsoleError("no Python function in the template", where=str(self.path), todo=why)
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


def _declared(
    name: str, resource: "dict[str, Any]", resources: "dict[str, Any]", path: Path, built: "dict[str, Path]"
) -> Declared:
    properties = resource.get("Properties") or {}
    variables = (properties.get("Environment") or {}).get("Variables") or {}
    logging = properties.get("LoggingConfig") or {}
    tracing = properties.get("Tracing") or (properties.get("TracingConfig") or {}).get("Mode") or "PassThrough"
    code, problem = _code(name, resource, path, built)
    runtime, handler = str(properties.get("Runtime") or ""), str(properties.get("Handler") or "")
    if properties.get("PackageType") == "Image":
        problem = "it is a container image; only functions from .zip archives run here"
    elif not problem and runtime not in PYTHONS:
        problem = f"its runtime is {runtime or 'not given'}; {', '.join(PYTHONS)} run here"
    elif not problem and not handler:
        problem = "it has no Handler"
    init_type = "on-demand"
    if (properties.get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions":
        init_type = "snap-start"
    elif properties.get("ProvisionedConcurrencyConfig"):
        init_type = "provisioned-concurrency"
    managed = properties.get("CapacityProviderConfig") or {}
    workers = None
    if managed:
        init_type = "lambda-managed-instances"
        nested = managed.get("LambdaManagedInstancesCapacityProviderConfig") or managed
        workers = _number(nested.get("PerExecutionEnvironmentMaxConcurrency"), 2)
    return Declared(
        logical_id=name,
        name=str(_plain(properties.get("FunctionName"), name)),
        handler=handler,
        runtime=runtime,
        code=code,
        template=path,
        memory_mb=_number(properties.get("MemorySize"), MEMORY_MB),
        timeout_s=_number(properties.get("Timeout"), TIMEOUT_S),
        environment={key: _text(value) for key, value in variables.items() if not isinstance(value, (dict, list))},
        layers=tuple(_layers(properties.get("Layers") or [], resources, path.parent, built)),
        architecture=str((properties.get("Architectures") or ["x86_64"])[0]),
        init_type=init_type,
        max_concurrency=workers,
        reserved_concurrency=properties.get("ReservedConcurrentExecutions"),
        tracing=str(_plain(tracing, "PassThrough")),
        log_format=str(_plain(logging.get("LogFormat"), "Text")),
        log_level=str(_plain(logging.get("ApplicationLogLevel"), "")),
        inline_code=properties.get("InlineCode") or _zip_file(properties),
        built=name in built,
        events=properties.get("Events") or {},
        invoke_config=properties.get("EventInvokeConfig") or {},
        properties=properties,
        unresolved=tuple(key for key, value in variables.items() if isinstance(value, (dict, list))),
        problem=problem,
    )


def _code(name: str, resource: "dict[str, Any]", path: Path, built: "dict[str, Path]") -> "tuple[Path, str]":
    """(folder of the code, why there is none)."""
    properties, root = resource.get("Properties") or {}, path.parent
    if properties.get("InlineCode") or _zip_file(properties):
        return root, ""
    if name in built:
        return built[name], ""
    given = properties.get("CodeUri", properties.get("Code", "."))
    asset = (resource.get("Metadata") or {}).get("aws:asset:path")  # as the CDK writes it
    if asset and (not isinstance(given, str) or given.startswith("s3:")):
        given = asset
    if not isinstance(given, str) or given.startswith(("s3:", "https:")):
        return root, "its code is in S3, and not on this machine"
    folder = (root / given).resolve()
    if not folder.exists():
        return folder, f"its code is missing: {folder}"
    if not folder.is_dir() and folder.suffix not in {".zip", ".jar"}:
        return folder, f"its code is no folder: {folder}"
    return folder, ""


def _zip_file(properties: "dict[str, Any]") -> str:
    code = properties.get("Code")
    return str(code["ZipFile"]) if isinstance(code, dict) and "ZipFile" in code else ""


def _layers(named: "list[Any]", resources: "dict[str, Any]", root: Path, built: "dict[str, Path]") -> "list[Layer]":
    found = []
    for each in named:
        reference = next(iter(each.values())) if isinstance(each, dict) and len(each) == 1 else each
        logical = reference if isinstance(reference, str) else str(reference)
        resource = resources.get(logical) or next(
            (one for key, one in resources.items() if one.get("Type") in LAYERS and _layer_name(key, one) == logical),
            None,
        )
        if resource is None or resource.get("Type") not in LAYERS:
            found.append(Layer(logical))
            continue
        key = next(key for key, one in resources.items() if one is resource)
        content = (resource.get("Properties") or {}).get("ContentUri")
        method = str((resource.get("Metadata") or {}).get("BuildMethod") or "")
        if key in built:
            found.append(Layer(key, built[key]))
        elif isinstance(content, str) and (root / content).exists():
            found.append(Layer(key, (root / content).resolve(), method))
        else:
            found.append(Layer(key))
    return found


def _layer_name(key: str, resource: "dict[str, Any]") -> str:
    return str((resource.get("Properties") or {}).get("LayerName") or key)


def _built(path: Path) -> "dict[str, Path]":
    """What `sam build` has made of this template, by logical id, where it is newer than the template and the code."""
    folder = path.parent / ".aws-sam" / "build"
    made = folder / "template.yaml"
    if not made.is_file() or made.stat().st_mtime < path.stat().st_mtime:
        return {}
    found = {}
    for name, resource in reading.read(made)["Resources"].items():
        properties = resource.get("Properties") or {}
        given = properties.get("CodeUri", properties.get("ContentUri"))
        if isinstance(given, str) and (folder / given).is_dir():
            found[name] = (folder / given).resolve()
    return found


def _overrides(root: Path) -> "dict[str, str]":
    """Parameter values of samconfig.toml: `Name=Value` words, or a table."""
    file = root / "samconfig.toml"
    if not file.is_file():
        return {}
    try:
        default = tomllib.loads(file.read_text("utf-8")).get("default", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConsoleError(f"cannot be read: {error}", where=str(file)) from None
    found: dict[str, str] = {}
    for command in ("global", "build", "deploy", "local_invoke"):
        given = default.get(command, {}).get("parameters", {}).get("parameter_overrides", ())
        words = given.split() if isinstance(given, str) else given
        if isinstance(words, dict):
            found |= {name: str(value) for name, value in words.items()}
            continue
        for word in words:
            name, equals, value = str(word).partition("=")
            if equals:
                found[name] = value.strip("\"'")
    return found


def _plain(value: Any, default: Any) -> Any:
    return default if value is None or is_unresolved(value) else value


def _number(value: Any, default: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return default


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
