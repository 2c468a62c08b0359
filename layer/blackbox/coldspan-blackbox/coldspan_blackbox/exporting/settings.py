"""The variables that the exporters' process reads, in one place. Each exporter reads its own besides."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from coldspan_blackbox.exporting.backlog import Limits

LITTLE_MEMORY_MB = 256  # of the function: at and below, its own code is more likely to need what the exporters take


@dataclass(frozen=True, slots=True)
class Settings:
    """What was set, and `refusal`: why nothing can be exported, "" when it can."""

    exporters: tuple[str, ...] = ()
    share: float = 1.0
    slow_ms: float = 1_000.0
    limits: Limits = field(default_factory=Limits)
    memory_bytes: int = 128_000_000
    refusal: str = ""
    problems: tuple[str, ...] = ()


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read them; what cannot be read counts as not set and is named in `problems`."""
    problems: list[str] = []

    def number(name: str, default: float, least: float, most: float) -> float:
        text = environ.get(name, "").strip()
        try:
            value = float(text or default)
        except ValueError:
            value = float("nan")
        if least <= value <= most:
            return value
        problems.append(name)
        return default

    names = tuple(
        dict.fromkeys(name for part in environ.get("COLDSPAN_EXPORT", "").split(",") if (name := part.strip().lower()))
    )
    memory_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    forced = environ.get("COLDSPAN_EXPORT_FORCE", "").strip().lower() in {"1", "true", "yes", "on"}
    refusal = ""
    if not names:
        refusal = "none_configured"
    elif memory_mb.isdecimal() and int(memory_mb) <= LITTLE_MEMORY_MB and not forced:
        refusal = "little_memory"
    return Settings(
        exporters=names,
        share=number("COLDSPAN_EXPORT_SHARE", 1.0, 0.0, 1.0),
        slow_ms=number("COLDSPAN_SLOW_MS", 1_000.0, 0.0, 900_000.0),
        limits=Limits(
            queue_bytes=int(number("COLDSPAN_EXPORT_QUEUE_KB", 2_048, 64, 65_536) * 1_000),
            export_timeout_s=number("COLDSPAN_EXPORT_TIMEOUT_MS", 5_000, 100, 60_000) / 1_000,
        ),
        memory_bytes=int(number("COLDSPAN_EXPORT_MEMORY_MB", 128, 32, 4_096) * 1_000_000),
        refusal=refusal,
        problems=tuple(problems),
    )
