"""Times as a person gives them: 1h, yesterday, 2026-11-26T10:00."""

import datetime as dt
import re
import time

from coldspan_console.output import WRONG_USE, ConsoleError

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)")
_LENGTHS = re.compile(rf"(?:{_LENGTH.pattern}\s*)+")
_MOST_MS = 100 * 365 * 86_400_000


def length_ms(text: str, what: str = "a length of time") -> float:
    """`300ms`, `1.5s`, `2h`, `1h30m`, `7d` in ms. Errors: ConsoleError."""
    told = text.strip().lower()
    if _LENGTHS.fullmatch(told):
        total = sum(float(number) * _UNITS_MS[unit] for number, unit in _LENGTH.findall(told))
        if total <= _MOST_MS:
            return total
    raise ConsoleError(
        f"{what} cannot be {text!r}", todo="write 300ms, 1.5s, 20m, 2h, 1h30m or 7d", exit_code=WRONG_USE
    )


def moment_ms(text: str, now_ms: "int | None" = None) -> int:
    """A moment in epoch ms: so long ago (`1h`), `now`, `today`, `yesterday`, a date or time as in ISO 8601.

    Without a zone it is local time. `now_ms` stands in for the clock. Errors: ConsoleError.
    """
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    told = text.strip()
    word = told.lower().removesuffix(" ago").removesuffix(" later")
    if _LENGTHS.fullmatch(word):
        return now_ms - int(length_ms(word))
    if word == "now":
        return now_ms
    if word in ("today", "yesterday"):
        today = _at(now_ms).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        return _ms(today - dt.timedelta(days=word == "yesterday"))
    if re.fullmatch(r"1\d{9}(\d{3})?", told):
        return int(told) * (1 if len(told) == 13 else 1_000)
    if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2})?", told):
        told = _at(now_ms).strftime("%Y-%m-%dT") + told.rjust(5, "0")
    try:
        return _ms(dt.datetime.fromisoformat(told))
    except (ValueError, OverflowError, OSError):
        raise ConsoleError(
            f"no moment is {text!r}", todo="write 1h, today, yesterday, 10:30, 2026-11-26 or 2026-11-26T10:00Z",
            exit_code=WRONG_USE,
        ) from None  # fmt: skip


def _at(epoch_ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(epoch_ms / 1_000, tz=dt.UTC).astimezone()


def _ms(moment: dt.datetime) -> int:
    """Epoch ms; a moment without a zone is in local time."""
    return round(moment.astimezone(dt.UTC).timestamp() * 1_000)
