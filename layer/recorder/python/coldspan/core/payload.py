"""A copy of what was sent or received that is safe to show: bounded, masked, and never the customer's object itself."""

import json
import re
import sys
from decimal import Decimal
from json.encoder import encode_basestring_ascii

from coldspan.core import limits
from coldspan.core.mask import MARK, is_secret_key, mask_values, normal_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeVar

    from coldspan.boot.settings import Settings

    V = TypeVar("V")

_HEAD = 4 * limits.PAYLOAD_BYTES  # how much of a text is looked at: a larger one is cut before anything reads it
_TEXT = 1_024  # characters of a text inside an object
_KEY = 128
_TAIL = 96  # a cut may go through a secret, see core.mask
_NOTE = 40  # bytes kept back in each open container for its brackets and the note on how much was left out
_ROOM = 160  # no element is begun with less left: the longest one that is not cut to fit takes less

_CONTAINERS = (dict, list, tuple, set, frozenset)
_type_name = type.__dict__["__name__"].__get__  # a metaclass of the customer's may answer to `__name__` itself


def capture(value: "Any", settings: "Settings") -> "Any":
    """Copy a value as JSON types: at most PAYLOAD_BYTES when written as ASCII JSON, PAYLOAD_DEPTH deep, secrets masked.

    Text and bytes that hold JSON become that JSON, other text stays text. An object of a type not known here is named,
    not asked: none of its methods run, and nothing that can be read only once is read. Gives None for None.
    """
    return _Copy(tuple([normal_key(key) for key in settings.mask_keys])).value(value, 0)


class _Copy:
    """One walk over one value; `left` is how many bytes may still be written."""

    __slots__ = ("cut", "keys", "left", "open")

    def __init__(self, keys: "tuple[str, ...]") -> None:
        self.keys = keys
        self.cut = False  # only the head of a JSON text was parsed: what was left out cannot be counted
        self.left = limits.PAYLOAD_BYTES
        self.open: "set[int]" = set()  # ids of the containers being walked

    def value(self, value: "Any", depth: int) -> "Any":
        kind = type(value)
        if value is None or kind is bool:
            return self.spend(value, 5)
        if issubclass(kind, str):
            return self.text(str.__getitem__(value, slice(0, _HEAD)), str.__len__(value), depth)
        if issubclass(kind, int):
            return self.number(int.__int__(value))
        if issubclass(kind, float):
            value = float.__float__(value)
            return self.spend(value, 25) if value - value == 0 else self.note(float.__repr__(value))
        if issubclass(kind, _CONTAINERS):
            return self.container(value, kind, depth)
        if issubclass(kind, (bytes, bytearray)):
            base = bytes if issubclass(kind, bytes) else bytearray
            return self.bytes(bytes(base.__getitem__(value, slice(0, _HEAD))), base.__len__(value), depth)
        return self.other(value, kind)

    def spend(self, value: "V", size: int) -> "V":
        self.left -= size
        return value

    def note(self, text: str) -> str:
        """A remark of ours in place of a value."""
        return self.spend(text, len(text) + 2)

    def number(self, value: int) -> "int | str":
        if value.bit_length() > 256:  # turning a huge int into digits takes quadratic time
            return self.note("<int, %d bits>" % value.bit_length())
        text = int.__repr__(value)
        if len(text) >= 13 and mask_values(text) != text:
            return self.note(MARK)
        return self.spend(value, len(text))

    def other(self, value: "Any", kind: "type") -> "Any":
        if kind is Decimal and sys.getsizeof(value) < 1_024:
            return self.plain(Decimal.__str__(value))
        times = sys.modules.get("datetime")
        if times is not None and (kind is times.datetime or kind is times.date or kind is times.time):
            if kind is not times.date and type(value.tzinfo) is not times.timezone:
                value = value.replace(tzinfo=None)  # a time zone may be the customer's own code
            return self.note(value.isoformat())
        ids = sys.modules.get("uuid")
        if ids is not None and kind is ids.UUID:
            return self.note(str(value))
        name = str.__getitem__(_type_name(kind), slice(0, 64))
        return self.plain("<%s>" % name)

    def text(self, head: str, length: int, depth: int) -> "Any":
        if depth <= limits.PAYLOAD_DEPTH and head.lstrip()[:1] in ("{", "[", '"'):
            found = _parse(head, length > len(head))
            if found is not None:
                self.cut = self.cut or length > len(head)
                return self.value(found, depth + (type(found) is str))
        return self.plain(head, length, limits.PAYLOAD_BYTES if depth == 0 else _TEXT)

    def plain(self, head: str, length: int = 0, limit: int = _TEXT) -> str:
        """Text as text: cut to `limit` and to what is left, masked whatever the cut went through."""
        limit = min(limit, max(self.left - 2, 0))
        window = _encodable(head[: limit + 4 * _TAIL])
        text = mask_values(window, self.keys)
        if length > len(window) or len(head) > len(window):
            text = text[:-_TAIL]
        cut = text[:limit]
        size = len(encode_basestring_ascii(cut))
        while size - 2 > limit:  # characters that are written as six: at most a few rounds
            cut = cut[: len(cut) * limit // size]
            size = len(encode_basestring_ascii(cut))
        if len(cut) < len(text):
            cut = mask_values(cut, self.keys)[:limit]
            size = len(encode_basestring_ascii(cut))
        return self.spend(cut, size)

    def bytes(self, head: bytes, length: int, depth: int) -> "Any":
        try:
            text = head.decode()
        except UnicodeDecodeError as error:
            if length == len(head) or error.start < len(head) - 3:
                return self.note("<bytes, %d>" % length)
            text = head[: error.start].decode()
        if "\0" in text:
            return self.note("<bytes, %d>" % length)
        return self.text(text, length, depth)

    def container(self, value: "Any", kind: "type", depth: int) -> "Any":
        base = next(known for known in _CONTAINERS if issubclass(kind, known))
        size = base.__len__(value)
        if id(value) in self.open:
            return self.note("<cycle>")
        if size and depth >= limits.PAYLOAD_DEPTH:
            return self.note("<%s, %d>" % (base.__name__, size))
        self.open.add(id(value))
        self.left -= _NOTE
        out: "Any" = {} if base is dict else []
        done = 0
        try:
            if base is dict:
                done = self.mapping(value, out, depth + 1)
            else:
                done = self.sequence(base.__iter__(value), out, size == 2, depth + 1)
        except RuntimeError:  # another thread of the customer's changes it while we look
            done = len(out)
        self.open.discard(id(value))
        self.left += _NOTE - 2
        if done < size:
            note = "<%d%s more>" % (size - done, "+" if self.cut else "")
            self.left -= len(note) + 11
            if base is dict:
                out["..."] = note
            else:
                out.append(note)
        return out

    def mapping(self, value: "dict[Any, Any]", out: "dict[str, Any]", depth: int) -> int:
        """Copy items into `out`; gives how many of them there was room for."""
        hidden, in_base64 = _shape(value, self.keys) if dict.__len__(value) <= 32 else ("", False)
        done = 0
        for key, item in dict.items(value):
            if self.left < _ROOM:
                break
            done += 1
            name = self.key(key)
            if name in out:
                name += "#%d" % done
            self.left -= len(encode_basestring_ascii(name)) + 4
            if item is not None and (name == hidden or is_secret_key(name, self.keys)) and not _is_count(name, item):
                out[name] = self.note(MARK)
            elif in_base64 and name == "body" and type(item) is str:
                out[name] = self.base64(item, depth)
            else:
                out[name] = self.value(item, depth)
        return done

    def sequence(self, items: "Iterator[Any]", out: "list[Any]", is_pair: bool, depth: int) -> int:
        """Copy items into `out`; gives how many of them there was room for."""
        for item in items:
            if self.left < _ROOM:
                break
            self.left -= 2
            # A header as a pair: ("authorization", "...").
            if is_pair and out and type(out[0]) is str and is_secret_key(out[0][:_KEY], self.keys):
                out.append(self.note(MARK))
            else:
                out.append(self.value(item, depth))
        return len(out)

    def key(self, key: "Any") -> str:
        kind = type(key)
        if issubclass(kind, bytes):
            name = bytes.__getitem__(key, slice(0, _KEY)).decode("latin-1")
        elif issubclass(kind, str):
            name = _encodable(str.__getitem__(key, slice(0, _KEY)))
        elif key is None or kind is bool or kind is float:
            name = repr(key)
        elif issubclass(kind, int) and int.bit_length(key) <= 256:
            name = int.__repr__(int.__int__(key))
        else:
            name = "<%s>" % str.__getitem__(_type_name(kind), slice(0, 64))
        if len(name) > 4:
            name = mask_values(name, self.keys)
        room = self.left - _ROOM * 3 // 4
        while len(encode_basestring_ascii(name)) > max(room, 40):
            name = name[: len(name) * 3 // 4]
        return name

    def base64(self, text: str, depth: int) -> "Any":
        from binascii import a2b_base64  # a file of its own in some builds: not for every function

        head = text[: _HEAD // 4 * 4]
        try:
            return self.bytes(a2b_base64(head), len(text) * 3 // 4, depth)
        except ValueError:
            return self.plain(head, len(text))


def _encodable(text: str) -> str:
    """The text without lone surrogates, which JSON allows and its readers refuse."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _shape(value: "dict[Any, Any]", keys: "tuple[str, ...]") -> "tuple[str, bool]":
    """What the neighbours say of a value in a small dict: (the key of a secret one or "", whether `body` is base64).

    {"Name": "password", "Value": ...} hides the value; API Gateway and its like say `isBase64Encoded` beside the body.
    """
    names: "dict[str, Any]" = {}
    hidden = ""
    in_base64 = False
    for key, item in dict.items(value):
        if type(key) is str:
            if key == "isBase64Encoded":
                in_base64 = item is True
            elif key == "Value" or key == "value":  # noqa: PLR1714  # no tuple for two
                hidden = key
            elif len(key) <= 4 and (type(item) is str or type(item) is bytes):
                names[key.lower()] = item
    name = names.get("name") or names.get("key") or ""
    if type(name) is bytes:
        name = name[:_KEY].decode("latin-1")
    if hidden and not (names.get("type") == "SecureString" or is_secret_key(name[-_KEY:], keys)):
        hidden = ""
    return hidden, in_base64


def _is_count(name: str, item: "Any") -> bool:
    """`max_tokens: 512` counts tokens and holds none."""
    return (type(item) is int or type(item) is float) and normal_key(name).endswith("tokens")


def _parse(head: str, is_cut: bool) -> "Any":
    """The JSON in a text, of a longer text as much as its head holds; None when it is none."""
    if is_cut:
        head = _closed(head)
    try:
        return json.loads(head)
    except (ValueError, RecursionError):
        return None


def _closed(head: str) -> str:
    """Cut JSON text after its last whole element and close what is open there."""
    stack = []
    keep = 0
    tail = ""
    for match in re.finditer(r'"(?:[^"\\]|\\.)*+"?|[\[\]{},]', head, re.DOTALL):
        char = match.group()
        if char in ("[", "{"):
            stack.append("]" if char == "[" else "}")
        elif char in ("]", "}") and stack:
            stack.pop()
        elif char == ",":
            keep = match.start()
            tail = "".join(reversed(stack))
    return head[:keep] + tail
