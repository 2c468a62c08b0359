"""Every environment variable of the recorder, read once. What cannot be understood keeps its default, and is named."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Get = Callable[..., str]


class Settings:
    """The settings of one process. Durations in the unit of their name; `problems` names the variables refused."""

    __slots__ = (
        "async_handler",
        "deadline_ms",
        "detail",
        "emf",
        "enabled",
        "error_text",
        "export",
        "flush_ns",
        "function",
        "handler",
        "init_type",
        "journal_bytes",
        "journal_dir",
        "local",
        "log_format",
        "log_level",
        "mask_keys",
        "memory_mb",
        "namespace",
        "payloads",
        "problems",
        "propagate",
        "region",
        "runtime_api",
        "slow_ms",
        "tools",
        "version",
        "xray",
        "xray_address",
    )

    def __init__(self, environ: "Mapping[str, str]") -> None:
        get: "Get" = environ.get
        self.problems: "list[str]" = []
        self.enabled = self._switch(get, "COLDSPAN_ENABLED", default=True)
        self.async_handler = self._switch(get, "COLDSPAN_ASYNC_HANDLER", default=False)
        self.handler = get("COLDSPAN_HANDLER", "")
        self.namespace = get("COLDSPAN_NAMESPACE", "") or "coldspan"
        self.flush_ns = int(self._number(get, "COLDSPAN_FLUSH_MS", 50, 0, 10_000) * 1_000_000)
        self.detail = self._number(get, "COLDSPAN_DETAIL", 1.0, 0, 1)
        self.deadline_ms = self._number(get, "COLDSPAN_DEADLINE_MS", 100, 0, 60_000)
        self.slow_ms = self._number(get, "COLDSPAN_SLOW_MS", 1_000, 0, 900_000)
        self.emf = self._switch(get, "COLDSPAN_EMF", default=True)
        self.error_text = self._switch(get, "COLDSPAN_ERROR_TEXT", default=True)
        self.payloads = self._choice(get, "COLDSPAN_PAYLOADS", ("off", "errors", "all"))
        self.xray = self._choice(get, "COLDSPAN_XRAY", ("auto", "on", "off"))
        journaled = self._switch(get, "COLDSPAN_JOURNAL", default=True)
        self.journal_bytes = int(self._number(get, "COLDSPAN_JOURNAL_KB", 64, 64, 4_096)) * 1_024 if journaled else 0
        self.journal_dir = get("COLDSPAN_JOURNAL_DIR", "") or "/tmp/coldspan"  # noqa: S108  # what the platform keeps over a reset
        self.export = _names(get("COLDSPAN_EXPORT", ""))
        self.tools = _names(get("COLDSPAN_TOOLS", ""))
        self.propagate = _names(get("COLDSPAN_PROPAGATE", ""))
        self.mask_keys = _names(get("COLDSPAN_MASK_KEYS", ""))
        self.function = get("AWS_LAMBDA_FUNCTION_NAME", "")
        self.version = get("AWS_LAMBDA_FUNCTION_VERSION", "")
        self.memory_mb = int(self._number(get, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 0, 0, 1_000_000))
        self.region = get("AWS_REGION", "") or get("AWS_DEFAULT_REGION", "")
        self.init_type = get("AWS_LAMBDA_INITIALIZATION_TYPE", "")
        self.runtime_api = get("AWS_LAMBDA_RUNTIME_API", "")
        self.log_format = get("AWS_LAMBDA_LOG_FORMAT", "")
        self.log_level = get("AWS_LAMBDA_LOG_LEVEL", "")
        local = get("AWS_SAM_LOCAL") == "true"
        self.local = self._choice(get, "COLDSPAN_LOCAL", ("tree", "emf", "off"))
        if not local:
            self.local = "emf"  # a template that was tried out is deployed as it is
        elif self.local == "tree":
            self.detail = 1.0  # a person wants to see the calls
        self.xray_address = "" if local else get("AWS_XRAY_DAEMON_ADDRESS", "")

    def _switch(self, get: "Get", name: str, *, default: bool) -> bool:
        text = get(name, "").strip().lower()
        if text in ("true", "1", "yes", "on"):
            return True
        if text in ("false", "0", "no", "off"):
            return False
        if text:
            self.problems.append(name)
        return default

    def _number(self, get: "Get", name: str, default: float, low: float, high: float) -> float:
        text = get(name, "")
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if low <= value <= high:
            return value
        self.problems.append(name)
        return default

    def _choice(self, get: "Get", name: str, choices: "tuple[str, ...]") -> str:
        text = get(name, "").strip().lower()
        if text and text not in choices:
            self.problems.append(name)
        return text if text in choices else choices[0]


def _names(text: str) -> "tuple[str, ...]":
    """The parts of a comma-separated list, without blanks and empty parts."""
    return tuple([part.strip() for part in text.split(",") if part.strip()]) if text else ()
