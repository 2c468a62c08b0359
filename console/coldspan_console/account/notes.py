"""What attach notes on a function, so that detach knows what was before: one tag for each layer of ours.

`coldspan:recorder = 123456789012:coldspan-recorder:7 was=- before=5f2b1c0a9d3e` says which layer was added, what stood
in its place before (`-`: nothing), and the digest of the layer list as it is without any of ours. A tag's value has at
most 256 characters, less than a list of five ARNs may have; and the list is not needed: attach only adds, so that what
is left when ours are taken away is the former list, in its order. The digest proves it.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coldspan_console.account.layers import layer_of
from coldspan_console.output import ConsoleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TAGS = {"recorder": "coldspan:recorder", "black box": "coldspan:black-box"}
VALUE_CHARS = 256  # of a tag. Source: Lambda developer guide, "Using tags"
NOTE = re.compile(r"(?P<now>\d{12}:[\w-]+:\d+) was=(?P<was>-|\d{12}:[\w-]+:\d+) before=(?P<digest>[0-9a-f]{12})")


@dataclass(frozen=True, slots=True)
class Note:
    """One layer of ours on one function. `layer` has no version; `was` is the ARN that it took the place of, or ""."""

    kind: str
    arn: str
    was: str
    digest: str

    @property
    def layer(self) -> str:
        """The ARN of the layer."""
        return layer_of(self.arn)


def read(tags: "Mapping[str, str]", like: str) -> "list[Note]":
    """The notes among a function's tags; what is no note of ours is left out. `like` is its ARN, for the region."""
    found = []
    for kind, key in TAGS.items():
        note = NOTE.fullmatch(tags.get(key, ""))
        if note is not None:
            was = "" if note["was"] == "-" else _long(note["was"], like)
            found.append(Note(kind, _long(note["now"], like), was, note["digest"]))
    return found


def write(notes: "Iterable[Note]") -> "dict[str, str]":
    """The tags that say it. Errors: ConsoleError where a value would be too long."""
    tags = {}
    for note in notes:
        value = f"{_short(note.arn)} was={_short(note.was) if note.was else '-'} before={note.digest}"
        if len(value) > VALUE_CHARS:
            raise ConsoleError("the layers' names are too long to be noted in a tag", where=note.arn)
        tags[TAGS[note.kind]] = value
    return tags


def digest(layers: "Iterable[str]") -> str:
    """A short name of a list of ARNs, its order included."""
    return hashlib.sha256("\n".join(layers).encode()).hexdigest()[:12]


def without(layers: "Iterable[str]", notes: "Iterable[Note]") -> "list[str]":
    """A layer list with all of ours taken away, and what they replaced back in its place."""
    by_layer = {note.layer: note for note in notes}
    found = []
    for arn in layers:
        note = by_layer.get(layer_of(arn))
        if note is None:
            found.append(arn)
        elif note.was:
            found.append(note.was)
    return found


def _short(arn: str) -> str:
    parts = arn.split(":")
    return f"{parts[4]}:{parts[6]}:{parts[7]}"


def _long(short: str, like: str) -> str:
    account, name, version = short.split(":")
    _, partition, _, region = like.split(":")[:4]
    return f"arn:{partition}:lambda:{region}:{account}:layer:{name}:{version}"
