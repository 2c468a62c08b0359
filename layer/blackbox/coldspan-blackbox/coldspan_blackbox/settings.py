"""Every environment variable of the extension, read once. What cannot be understood keeps its default, and is named."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

EXPORTERS = ("otlp", "prometheus", "statsd", "kafka")
SMALL_MEMORY_MB = 256  # an exporter's libraries alone take a quarter of it


class Settings:
    """The settings of the process. `problems` names the variables refused; no secret is among them."""

    __slots__ = (
        "emf",
        "enabled",
        "export",
        "export_flush",
        "export_flush_ms",
        "export_force",
        "function",
        "journal_folder",
        "local",
        "memory_mb",
        "memory_warning_percent",
        "namespace",
        "problems",
        "runtime_api",
        "tools",
        "version",
    )

    def __init__(self, environ: "Mapping[bytes, bytes]") -> None:
        self.problems: "list[str]" = []
        self.enabled = self._switch(environ, "COLDSPAN_ENABLED", default=True)
        self.emf = self._switch(environ, "COLDSPAN_EMF", default=True)
        self.namespace = _text(environ, "COLDSPAN_NAMESPACE") or "coldspan"
        self.journal_folder = _text(environ, "COLDSPAN_JOURNAL_DIR") or "/tmp/coldspan"  # noqa: S108  # the recorder's own, 0700
        self.memory_warning_percent = self._number(environ, "COLDSPAN_MEMORY_WARNING", 90, 0, 100)  # 0: none
        self.export = self._exporters(environ)
        self.export_flush = self._choice(environ, "COLDSPAN_EXPORT_FLUSH", ("auto", "end", "periodic", "continuous"))
        self.export_flush_ms = self._number(environ, "COLDSPAN_EXPORT_FLUSH_MS", 1_000, 0, 60_000)
        self.export_force = self._switch(environ, "COLDSPAN_EXPORT_FORCE", default=False)
        self.tools = _names(_text(environ, "COLDSPAN_TOOLS"))
        self.function = _text(environ, "AWS_LAMBDA_FUNCTION_NAME")
        self.version = _text(environ, "AWS_LAMBDA_FUNCTION_VERSION")
        self.memory_mb = self._number(environ, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 0, 0, 1_000_000)
        self.runtime_api = _text(environ, "AWS_LAMBDA_RUNTIME_API")
        local = self._choice(environ, "COLDSPAN_LOCAL", ("tree", "emf", "off"))
        self.local = local if _text(environ, "AWS_SAM_LOCAL") == "true" else "emf"

    @property
    def export_refused(self) -> bool:
        """Whether exporters are configured and the function is too small for them."""
        return bool(self.export) and not self.export_force and 0 < self.memory_mb <= SMALL_MEMORY_MB

    @property
    def exporting(self) -> bool:
        """Whether exporters are to run."""
        return self.enabled and bool(self.export) and not self.export_refused

    def _switch(self, environ: "Mapping[bytes, bytes]", name: str, *, default: bool) -> bool:
        text = _text(environ, name).lower()
        if text in ("true", "1", "yes", "on"):
            return True
        if text in ("false", "0", "no", "off"):
            return False
        if text:
            self.problems.append(name)
        return default

    def _number(self, environ: "Mapping[bytes, bytes]", name: str, default: int, low: int, high: int) -> int:
        text = _text(environ, name)
        if not text:
            return default
        try:
            value = int(float(text))
        except (ValueError, OverflowError):
            value = -1
        if low <= value <= high:
            return value
        self.problems.append(name)
        return default

    def _choice(self, environ: "Mapping[bytes, bytes]", name: str, choices: "tuple[str, ...]") -> str:
        text = _text(environ, name).lower()
        if text and text not in choices:
            self.problems.append(name)
        return text if text in choices else choices[0]

    def _exporters(self, environ: "Mapping[bytes, bytes]") -> "tuple[str, ...]":
        named = _names(_text(environ, "COLDSPAN_EXPORT").lower())
        if not set(named) <= set(EXPORTERS):
            self.problems.append("COLDSPAN_EXPORT")
        return tuple([name for name in named if name in EXPORTERS])


def _text(environ: "Mapping[bytes, bytes]", name: str) -> str:
    """A variable's value; os.environ, which would decode them all, is not loaded."""
    return environ.get(name.encode(), b"").decode("utf-8", "replace").strip()


def _names(text: str) -> "tuple[str, ...]":
    """The parts of a comma-separated list, without blanks and empty parts."""
    return tuple([part.strip() for part in text.split(",") if part.strip()]) if text else ()
