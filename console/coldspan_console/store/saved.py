"""Filters with a name, and whom to tell when something new is so.

They are the user's, not the store's: a store that comes from somebody else must not bring commands that run here. The
file is filters.json in $XDG_CONFIG_HOME/coldspan, by default ~/.config/coldspan.
"""

import fcntl
import json
import os
import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.output import WRONG_USE, ConsoleError
from coldspan_console.store.filter import Filter

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME = re.compile(r"[A-Za-z0-9][\w.\-]{0,63}")
_TOPIC = re.compile(r"arn:aws[\w-]*:sns:([a-z0-9-]+):\d{12}:[\w.\-]{1,256}")


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A filter of one store, by name; `command` and `topic` are "" where nobody is to be told so."""

    name: str
    store: str  # the absolute path of the store it watches
    wanted: Filter
    command: str = ""
    topic: str = ""

    def to_json(self) -> "dict[str, Any]":
        """As it stands in the file."""
        return {**asdict(self), "wanted": self.wanted.to_json()}

    @property
    def region(self) -> str:
        """The topic's region."""
        match = _TOPIC.fullmatch(self.topic)
        return match[1] if match is not None else ""


def place() -> Path:
    """Where the file is."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "coldspan" / "filters.json"


def saved_filters(store: Path) -> "list[SavedFilter]":
    """Those that watch a store, by name. Errors: ConsoleError for a file that cannot be read."""
    return [each for each in _read(place()) if each.store == _absolute(store)]


def save(name: str, store: Path, wanted: Filter, *, command: str = "", topic: str = "") -> SavedFilter:
    """Save a filter, in place of one of the same name. Errors: ConsoleError."""
    if not _NAME.fullmatch(name):
        raise ConsoleError(
            f"no filter can be called {name!r}", todo="use letters, digits, - . and _", exit_code=WRONG_USE
        )
    if topic and not _TOPIC.fullmatch(topic):
        raise ConsoleError(
            f"{topic!r} is not the ARN of an SNS topic", exit_code=WRONG_USE,
            todo="write arn:aws:sns:REGION:ACCOUNT:NAME",
        )  # fmt: skip
    made = SavedFilter(name, _absolute(store), wanted, command, topic)
    with _changing() as known:
        known[:] = [each for each in known if (each.name, each.store) != (name, made.store)] + [made]
    return made


def remove(name: str, store: Path) -> None:
    """Remove a filter. Errors: ConsoleError when there is none."""
    with _changing() as known:
        left = [each for each in known if (each.name, each.store) != (name, _absolute(store))]
        if len(left) == len(known):
            raise no_such(name)
        known[:] = left


def get(name: str, store: Path) -> SavedFilter:
    """The filter of a name. Errors: ConsoleError when there is none."""
    for each in saved_filters(store):
        if each.name == name:
            return each
    raise no_such(name)


def no_such(name: str) -> ConsoleError:
    """There is no filter of that name."""
    return ConsoleError(f"no filter is called {name!r}", todo="`coldspan filter list` has those of this store")


def _absolute(store: Path) -> str:
    return str(store.absolute())


def _read(file: Path) -> "list[SavedFilter]":
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        return [SavedFilter(**{**each, "wanted": Filter.from_json(each["wanted"])}) for each in told]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConsoleError(
            f"the saved filters cannot be read: {error}", where=str(file), todo="mend the file, or move it away"
        ) from None


@contextmanager
def _changing() -> "Iterator[list[SavedFilter]]":
    """The filters, to be changed; written when the block ends well, whole or not at all."""
    file = place()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (file.parent / "filters.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = _read(file)
            yield known
            known.sort(key=lambda each: (each.store, each.name))
            made = file.with_name(f"filters.{os.getpid()}.new")
            made.write_text(json.dumps([each.to_json() for each in known], indent=2) + "\n", encoding="utf-8")
            made.replace(file)
    except OSError as error:
        raise ConsoleError(f"the filter cannot be saved: {error.strerror}", where=str(file)) from error
