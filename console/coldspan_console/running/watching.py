"""Running again on change."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from coldspan_console.output import DONE, ConsoleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from coldspan_console.output import Output

OURS = (".coldspan", ".aws-sam", ".venv", "__pycache__", ".git", "node_modules")


def watch(places: "Iterable[Path]", run: "Callable[[], int]", output: "Output") -> int:
    """Run, and run again whenever something in these places changes, until interrupted."""
    from watchfiles import DefaultFilter
    from watchfiles import watch as changes

    watched = sorted({place.resolve() for place in places if place.exists()})
    first = True
    ignoring = DefaultFilter(ignore_dirs=OURS)
    for found in changes(
        *watched, watch_filter=ignoring, raise_interrupt=False, rust_timeout=200, yield_on_timeout=True
    ):
        if first:  # from here on no change is missed, not even one during the run
            first = False
            _attempt(run)
            output.note("watching; Ctrl-C ends it")
        elif found:
            names = ", ".join(sorted({Path(path).name for _, path in found})[:3])
            output.note(f"{time.strftime('%H:%M:%S')} {names} changed")
            _attempt(run)
    return DONE


def _attempt(run: "Callable[[], int]") -> None:
    try:
        run()
    except ConsoleError as error:  # half a file was saved: the next change may mend it
        error.show()
