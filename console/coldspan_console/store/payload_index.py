"""An index of what captured payloads hold: `order.id=17` is answered without looking into every payload.

A row is the hash of a name and the value that stands under it. What it finds is looked at again, so a hash that two
values share, or a row of a payload that has changed, costs a look and no wrong answer.
"""

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from coldspan_console.payloads import DEPTH, canonical, normalise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldspan_console.payloads import PayloadQuery

VALUES = 500  # of one invocation; with more it is always looked at
LOOK = 0  # the row that says so


def values_of(document: "dict[str, Any]") -> "set[int]":
    """The rows of an invocation's payloads."""
    found: set[int] = set()
    init = document.get("init")
    own = init.get("calls") if isinstance(init, dict) else None
    for calls in (document.get("calls"), own):
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict) and call.get("payload") is not None:
                for name, value in _leaves(normalise(call["payload"])[1], "", DEPTH + 1):
                    if len(found) >= VALUES:
                        return found | {LOOK}
                    found.add(_hash(name, value))
    return found


def row_of(query: "PayloadQuery") -> "int | None":
    """The row that whatever a query asks for must have; None where it may have any."""
    names = [step for step in query.path if not step.startswith("[")]
    return _hash(names[-1], query.value) if names and query.does == "=" else None


def _leaves(value: Any, name: str, depth: int) -> "Iterator[tuple[str, str]]":
    """Each value that is no list and no object, with the name it stands under."""
    if isinstance(value, dict):
        for key, each in value.items() if depth else ():
            yield from _leaves(each, key, depth - 1)
            if key == "#text":  # an element with attributes: its text is asked for by the element's name
                yield from _leaves(each, name, depth - 1)
    elif isinstance(value, list):
        for each in value if depth else ():
            yield from _leaves(each, name, depth - 1)
    else:
        yield name, canonical(value)


def _hash(name: str, value: str) -> int:
    text = f"{name}\0{canonical(value)}".encode("utf-8", "replace")
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "big", signed=True) or 1
