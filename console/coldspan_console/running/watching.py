"""Running again on change."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from coldspan_console.output import DONE, ConsoleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchfiles import Change

    from coldspan_console.output import Output

OURS = (".coldspan", ".aws-sam", ".venv", "__pycache__", ".git", "node_modules")


def watch(places: "Iterable[Path]", run: "Callable[[], int]", output: "Output") -> int:
    """Run, and run again whenever something in these places changes, until interrupted."""
    from watchfiles import DefaultFilter
    from watchfiles import watch as changes

    watched = {place.resolve() for place in places if place.exists()}
    ignored = DefaultFilter(ignore_dirs=OURS)

    def is_meant(change: "Change", path: str) -> bool:
        return ignored(change, path) and any(Path(path).is_relative_to(place) for place in watched)

    # a file's folder is watched: editors put a new file in its place, which is another to the system
    folders = {place if place.is_dir() else place.parent for place in watched}
    first = True
    for found in changes(
        *sorted(folders), watch_filter=is_meant, raise_interrupt=False, rust_timeout=200, yield_on_timeout=True
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
