"""Writes one line to the function's log."""

from os import write as os_write

from coldspan.core.buffer import raised_by_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from coldspan.boot.settings import Settings

STDOUT = 1
QUIET_LEVELS = ("WARN", "WARNING", "ERROR", "FATAL", "CRITICAL")


def level(settings: "Settings") -> str:
    """The level a line must carry to pass the filter of JSON logs, or "" where it passes without."""
    named = settings.log_level.upper() if settings.log_format.upper() == "JSON" else ""
    return named if named in QUIET_LEVELS else ""


def write(line: bytes) -> bool:
    """Write the whole line (bytes, newline included) to stdout. False when nothing of it could be written.

    By file descriptor, because sys.stdout may be the customer's own; one write a line, because the platform makes one
    log event of each. A line that has begun is finished: half of one would spoil the next.
    """
    try:
        sent = os_write(STDOUT, line)
    except OSError as error:
        if raised_by_signal(error):
            raise
        return False
    while sent < len(line):
        try:
            sent += os_write(STDOUT, line[sent:])
        except BlockingIOError:
            continue
        except OSError as error:
            if raised_by_signal(error):
                raise
            return True
    return True
