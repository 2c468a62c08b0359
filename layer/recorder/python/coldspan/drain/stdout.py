"""Writes one line to the function's log; under `sam local`, what a person may read of it."""

from os import write as os_write

from coldspan.core.buffer import raised_by_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from coldspan.boot.settings import Settings

STDOUT = 1
STDERR = 2
QUIET_LEVELS = ("WARN", "WARNING", "ERROR", "FATAL", "CRITICAL")


def level(settings: "Settings") -> str:
    """The level a line must carry to pass the filter of JSON logs, or "" where it passes without."""
    named = settings.log_level.upper() if settings.log_format.upper() == "JSON" else ""
    return named if named in QUIET_LEVELS else ""


def writer(settings: "Settings") -> "Callable[[bytes], bool]":
    """The function that writes a line as the setting wants it; it gives False when nothing could be written."""
    return {"emf": write, "tree": write_tree, "off": _leave_out}[settings.local]


def write_tree(line: bytes) -> bool:
    """Write the line's tree to stderr, in one piece: what the function prints may not come between."""
    from coldspan.core.tree import tree  # nowhere but here

    text = tree(line)
    return not text or write(text, STDERR)


def _leave_out(_line: bytes) -> bool:
    return True


def write(line: bytes, descriptor: int = STDOUT) -> bool:
    """Write the whole line (bytes, newline included). False when nothing of it could be written.

    By file descriptor, because sys.stdout may be the customer's own; one write a line, because the platform makes one
    log event of each. A line that has begun is finished: half of one would spoil the next.
    """
    try:
        sent = os_write(descriptor, line)
    except OSError as error:
        if raised_by_signal(error):
            raise
        return False
    while sent < len(line):
        try:
            sent += os_write(descriptor, line[sent:])
        except BlockingIOError:
            continue
        except OSError as error:
            if raised_by_signal(error):
                raise
            return True
    return True
