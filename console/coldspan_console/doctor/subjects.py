"""What the doctor is to look at: functions of a template, or a folder with a handler and no template."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldspan_console.output import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coldspan_console.project import Declared

SUFFIXES = (".yaml", ".yml", ".json")


def find(words: "Iterable[str]", template: "Path | None") -> "list[tuple[Declared, Mapping[str, Any]]]":
    """The functions that are meant, each with the resources of its template. Errors: ConsoleError.

    A word is a function's logical id or name, a template, or a folder with a template or with a handler. Without words
    it is all functions of the template here.
    """
    from coldspan_console.project import Project
    from coldspan_console.project.template import find as template_in

    words = list(words)
    if not words:
        return _all(Project.load(template))
    project = Project.load(template) if template is not None or template_in() is not None else None
    known = {name for each in (project.functions.values() if project else ()) for name in (each.logical_id, each.name)}
    found: list[tuple[Declared, Mapping[str, Any]]] = []
    for word in words:
        place = Path(word)
        if word in known and project is not None:
            found.append((project.function(word), project.resources))
        elif place.is_file() and place.suffix in SUFFIXES:
            found += _all(Project.load(place))
        elif place.is_dir():
            found += _all(Project.load(place)) if template_in(place) else [(_folder(word), {})]
        elif project is not None:
            found.append((project.function(word), project.resources))  # which says what there is
        else:
            todo = "name a template, a folder, or a function of an account (--account)"
            raise ConsoleError(f"no function, template or folder {word}", where=str(Path.cwd()), todo=todo)
    return found


def _all(project: Any) -> "list[tuple[Declared, Mapping[str, Any]]]":
    return [(declared, project.resources) for declared in project.functions.values()]


def _folder(word: str) -> "Declared":
    from coldspan_console.running.prepared import folder_of

    found = folder_of(word, None)
    if found is None:
        raise ConsoleError("no handler in it", where=word)
    return found
