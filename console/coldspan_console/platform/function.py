"""What a function is: its code, its layer, its handler and its variables."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_FOR_EXTENSIONS = (
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
    "_AWS_XRAY_DAEMON_ADDRESS",
    "_AWS_XRAY_DAEMON_PORT",
    "_HANDLER",
)
ACCOUNT = "123456789012"  # of the local platform, and of whatever a template only names
START_SCRIPTS = Path(__file__).parent / "runtime"


@dataclass(frozen=True, slots=True)
class Function:
    """A function as it is configured.

    `task` becomes /var/task, `layer` /opt, `runtime` /var/runtime. `more_layers` are laid over `layer`, in their order.
    The runtime's folder holds the start scripts and may hold an awslambdaric of its own; when it has none, that of
    `python`'s site-packages is used. Paths may be relative: they are taken from the current folder of its making.
    """

    task: Path
    handler: str = "app.handler"
    layer: "Path | None" = None
    more_layers: "tuple[Path, ...]" = ()
    python: Path = Path(sys.executable)
    runtime: Path = START_SCRIPTS
    name: str = "coldspan-test"
    version: str = "$LATEST"
    memory_mb: int = 128
    region: str = "eu-west-1"
    init_type: str = "on-demand"
    max_concurrency: "int | None" = None  # Managed Instances: so many workers
    environment: "Mapping[str, str]" = field(default_factory=dict)
    tracing: str = "PassThrough"  # or "Active": then the platform samples a request that brings no trace header

    def __post_init__(self) -> None:
        """Make its paths absolute: they are read by processes that run in other folders."""
        for name in ("task", "layer", "python", "runtime"):
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, path.absolute())
        object.__setattr__(self, "more_layers", tuple(path.absolute() for path in self.more_layers))

    @property
    def arn(self) -> str:
        """Its ARN, without a version."""
        return f"arn:aws:lambda:{self.region}:{ACCOUNT}:function:{self.name}"

    @property
    def layers(self) -> "tuple[Path, ...]":
        """All layers, in their order."""
        return (*(() if self.layer is None else (self.layer,)), *self.more_layers)

    def variables(self, runtime_api: str, xray_address: "str | None") -> dict[str, str]:
        """The environment of a managed runtime, and the function's own variables over it.

        Source: Lambda developer guide, "Defined runtime environment variables". Nothing of the caller's own environment
        is passed on. PYTHONHASHSEED is ours: the runtime puts a set into its X-Ray cause, and two runs are to be
        comparable.
        """
        named = {
            "_HANDLER": self.handler,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_DEFAULT_REGION": self.region,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory_mb),
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": self.version,
            "AWS_LAMBDA_INITIALIZATION_TYPE": self.init_type,
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0123456789abcdef0123456789abcdef",
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "AWS_REGION": self.region,
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_SESSION_TOKEN": "AQoEXAMPLEH4aoAH0gNCAPy",
            "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "LAMBDA_TASK_ROOT": "/var/task",
            "LANG": "en_US.UTF-8",
            "PATH": "/usr/local/bin:/usr/bin:/bin:/opt/bin",
            "PYTHONHASHSEED": "0",
            "TZ": ":UTC",
        }
        if self.init_type == "snap-start":  # same source: SnapStart functions have neither
            del named["AWS_LAMBDA_LOG_GROUP_NAME"], named["AWS_LAMBDA_LOG_STREAM_NAME"]
        if xray_address is not None:
            named["AWS_XRAY_DAEMON_ADDRESS"] = xray_address
        if self.max_concurrency is not None:
            named["AWS_LAMBDA_MAX_CONCURRENCY"] = str(self.max_concurrency)
        return {**named, **self.environment}

    def extension_variables(self, runtime_api: str) -> dict[str, str]:
        """The environment of an external extension: that of the runtime without what Lambda keeps from it.

        Source: Lambda developer guide, "Extensions API", "Environment variables".
        """
        named = self.variables(runtime_api, None)
        return {name: value for name, value in named.items() if name not in NOT_FOR_EXTENSIONS}
