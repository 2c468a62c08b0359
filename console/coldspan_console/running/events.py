"""Events: from files, folders, stdin, a text or the name of one."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from coldspan_console.output import ConsoleError

EMPTY = "{}"
STDIN = "-"


@dataclass(frozen=True, slots=True)
class Event:
    """What a function is invoked with. `name` is what a person calls it."""

    name: str
    body: bytes


def read(words: "tuple[str, ...]", payload: "str | None", root: Path, names: "tuple[str, ...]") -> "list[Event]":
    """The events that are named, in order; an empty one when none is. Errors: ConsoleError.

    A word that is no file is looked for in events/NAME/ and events/, by what the function is called (`names`).
    """
    found = [] if payload is None else [_event("--payload", payload)]
    for word in words:
        if word == STDIN:
            found.append(_event("stdin", sys.stdin.read()))
            continue
        found += [_file(path) for path in _paths(word, root, names)]
    return found or [Event("{}", EMPTY.encode())]


def advice(events: "list[Event]", root: Path) -> str:
    """What could be sent instead of an event that nobody chose; "" where one was chosen."""
    if any(event.name != EMPTY for event in events):
        return ""
    places = [*sorted((root / "events").rglob("*.json")), *sorted(root.glob("*event*.json"))]
    if places:
        return f"the event was {{}}; the project has others: -e {os.path.relpath(places[0])}"
    return (
        "the event was {}: -e FILE gives another, or --payload TEXT; `sam local generate-event` has some to begin with"
    )


def _paths(word: str, root: Path, names: "tuple[str, ...]") -> "list[Path]":
    place = Path(word)
    if place.is_file():
        return [place]
    if place.is_dir():
        files = sorted(place.glob("*.json"))
        if not files:
            raise ConsoleError("no event in it (*.json)", where=word)
        return files
    folder = root / "events"
    stems = [stem for name in names for stem in (name, name.removesuffix("Function").lower())]
    for place in (*(folder / stem for stem in stems), folder):
        if (place / f"{word}.json").is_file():
            return [place / f"{word}.json"]
    known = sorted(str(file.relative_to(root)) for file in folder.rglob("*.json")) if folder.is_dir() else []
    close = [file for file in known if any(each.lower() in file.lower() for each in (word, *stems))]
    near = close or known
    todo = (
        f"there is {', '.join(near[:6])}"
        if near
        else "give a file with JSON, a folder of them, - for stdin, or --payload"
    )
    raise ConsoleError(f"no event {word}", where=str(Path.cwd()), todo=todo)


def _file(path: Path) -> Event:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConsoleError(f"event cannot be read: {error}", where=str(path)) from None
    return _event(str(path), text)


def _event(name: str, text: str) -> Event:
    try:
        json.loads(text)
    except ValueError as error:
        where = f"{name}:{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else name
        raise ConsoleError(f"event is no JSON: {getattr(error, 'msg', error)}", where=where) from None
    return Event(name, text.encode("utf-8"))
