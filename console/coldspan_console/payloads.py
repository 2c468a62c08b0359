"""Captured payloads in one form, whatever they were: JSON, XML, a form, base64 or plain text; and the query on them.

The recorder keeps JSON as JSON and other text as text. Here text is looked at again, also inside JSON (the body of a
message is often JSON or XML in a string), and becomes plain JSON:

| text | becomes |
|---|---|
| JSON object or array | itself |
| XML | `{"tag": ...}`; attributes are `@name`, text `#text` or, alone, the value; what comes twice is a list |
| form (`a=1&b=2`) | an object of texts; a name that comes twice has a list |
| base64 of one of these, or of text | that |
| anything else | the text |

XML is read by defusedxml: a document type, an entity or an external reference makes it plain text. Nothing is fetched,
nothing grows: what is larger or deeper than the bounds stays as it is.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from coldspan_console.output import WRONG_USE, ConsoleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from xml.etree.ElementTree import Element

TEXT_CHARS = 262_144  # the recorder keeps 4 KB of a payload; a store may hold what others wrote
DEPTH = 32
NODES = 20_000
_NESTED = 4  # JSON in a string in JSON ...
_FORM = re.compile(r"[\w.\-\[\]%+~*]+=[^\s=&<>{}\"]*(&[\w.\-\[\]%+~*]+=[^\s=&<>{}\"]*)*")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")


def normalise(payload: Any) -> "tuple[str, Any]":
    """What a payload was and what it is as JSON: ("json" | "xml" | "form" | "base64" | "text" | "none", value).

    The same value always gives the same; no error is raised, and the payload is not changed. "base64" says that the
    value was so encoded, whatever was inside.
    """
    if payload is None:
        return "none", None
    budget = [NODES]
    if isinstance(payload, (bytes, bytearray)):
        payload = bytes(payload).decode("utf-8", "replace")
    if isinstance(payload, str):
        return _text(payload, _NESTED, 0, budget)
    return "json", _inside(payload, _NESTED, 0, budget)


def _inside(value: Any, nested: int, depth: int, budget: "list[int]") -> Any:
    """JSON with what its texts hold."""
    budget[0] -= 1
    if depth >= DEPTH or budget[0] <= 0:
        return value
    if isinstance(value, dict):
        return {str(name): _inside(each, nested, depth + 1, budget) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_inside(each, nested, depth + 1, budget) for each in value]
    if isinstance(value, str) and nested:
        kind, inner = _text(value, nested - 1, depth, budget)
        return inner if kind in ("json", "xml", "base64") else value  # `a=b` inside JSON is more often just a text
    return value


def _text(text: str, nested: int, depth: int, budget: "list[int]") -> "tuple[str, Any]":
    if len(text) > TEXT_CHARS:
        return "text", text
    stripped = text.strip().removeprefix("\ufeff")
    if stripped[:1] in ("{", "["):
        try:
            value = json.loads(stripped)
        except (ValueError, RecursionError):
            return "text", text
        return "json", _inside(value, nested, depth, budget)
    if stripped[:1] == "<":
        value = _xml(stripped, budget)
        return ("text", text) if value is None else ("xml", value)
    if len(stripped) % 4 == 0 and _BASE64.fullmatch(stripped):
        decoded = _decoded(stripped)
        if decoded is not None:
            return "base64", _text(decoded, nested - 1, depth, budget)[1] if nested else decoded
    if _FORM.fullmatch(stripped):
        return "form", _form(stripped)
    return "text", text


def _decoded(text: str) -> "str | None":
    """The text that base64 holds; None for bytes that are none, which a word of the right length often is."""
    try:
        decoded = base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return decoded if all(character.isprintable() or character in "\r\n\t" for character in decoded) else None


def _form(text: str) -> "dict[str, Any]":
    form: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        _add(form, name, value)
    return form


def _xml(text: str, budget: "list[int]") -> "dict[str, Any] | None":
    from defusedxml.common import DefusedXmlException  # only where there is XML
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root = fromstring(text, forbid_dtd=True, forbid_entities=True, forbid_external=True)
        return {_name(root.tag): _element(root, 0, budget)}
    except (DefusedXmlException, ParseError, ValueError, LookupError, RecursionError):
        return None


def _element(element: "Element", depth: int, budget: "list[int]") -> Any:
    budget[0] -= 1
    if depth >= DEPTH or budget[0] <= 0:
        raise ValueError("too deep or too much")
    value: dict[str, Any] = {f"@{_name(name)}": text for name, text in element.attrib.items()}
    texts = [element.text or ""]
    for child in element:
        _add(value, _name(child.tag), _element(child, depth + 1, budget))
        texts.append(child.tail or "")
    text = " ".join(" ".join(texts).split())
    if not value:
        return text
    if text:
        value["#text"] = text
    return value


def _name(tag: Any) -> str:
    """A tag or an attribute without its namespace."""
    return str(tag).rpartition("}")[2]


def _add(value: "dict[str, Any]", name: str, each: Any) -> None:
    """Put a member in, as a list where the name comes more than once."""
    if name not in value:
        value[name] = each
    elif isinstance(value[name], list):
        value[name].append(each)
    else:
        value[name] = [value[name], each]


# -- queries -----------------------------------------------------------------------------------------------------

_QUERY = re.compile(r"\s*\$?\.?(?P<path>[^=!<>~]*?)\s*(?:(?P<does>!=|>=|<=|=|~|<|>)(?P<value>.*))?", re.DOTALL)
_STEP = re.compile(r"([^.\[\]]+)|\[(\d{1,9}|\*)\]")


@dataclass(frozen=True, slots=True)
class PayloadQuery:
    """What is asked of captured payloads: a path that may begin at any depth, and what stands there.

    `order.id=17` an `id` in an `order` is 17, as a number or as text; lists are looked through, `items[0].sku=A` asks
    of the first. `!=`, `<`, `<=`, `>`, `>=` compare, `~` looks for a text in any case; `order.id` alone: it is there.
    `~refused` and `=17` ask of any value at all.
    """

    path: "tuple[str, ...]"
    does: str
    value: str

    def holds(self, document: "dict[str, Any]") -> bool:
        """Whether a payload of any of an invocation's calls is so."""
        calls = document.get("calls")
        init = document.get("init")
        own = init.get("calls") if isinstance(init, dict) else None
        return any(
            self.matches(call["payload"])
            for some in (calls, own)
            if isinstance(some, list)
            for call in some
            if isinstance(call, dict) and call.get("payload") is not None
        )

    def matches(self, payload: Any) -> bool:
        """Whether a payload is so, as it was captured."""
        return any(self._compare(value) for value in self._found(normalise(payload)[1]))

    def _found(self, value: Any) -> "Iterator[Any]":
        if self.path:
            for start in _everything(value, DEPTH):
                yield from _at(start, self.path)
        else:
            for each in _everything(value, DEPTH):
                if not isinstance(each, (dict, list)):
                    yield each

    def _compare(self, value: Any) -> bool:
        if not self.does:
            return True
        if isinstance(value, dict):
            value = value.get("#text", value)  # an element with attributes
        if isinstance(value, (dict, list)):
            return False
        text = value if isinstance(value, str) else json.dumps(value)
        if self.does == "~":
            return self.value.casefold() in text.casefold()
        mine, theirs = _number(self.value), _number(text)
        numbers = mine is not None and theirs is not None
        if self.does in ("=", "!="):
            same = mine == theirs if numbers else text == self.value
            return same if self.does == "=" else not same
        if not numbers:
            return False
        return {"<": theirs < mine, "<=": theirs <= mine, ">": theirs > mine, ">=": theirs >= mine}[self.does]


def payload_query(text: str) -> PayloadQuery:
    """Read a query such as `order.id=17`. Errors: ConsoleError."""
    match = _QUERY.fullmatch(text)
    path = match["path"].strip() if match is not None else ""
    steps = tuple(name or f"[{number}]" for name, number in _STEP.findall(path))
    does = (match["does"] or "") if match is not None else ""
    if match is None or (not steps and not does) or _STEP.sub("", path).replace(".", ""):
        raise ConsoleError(
            f"no question about payloads is {text!r}", exit_code=WRONG_USE,
            todo="write order.id=17, items[0].sku~lamp, total>=100, order.id, or ~refused for any value",
        )  # fmt: skip
    value = (match["value"] or "").strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    return PayloadQuery(steps, does, value)


def _everything(value: Any, depth: int) -> "Iterator[Any]":
    yield value
    if depth and isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _everything(each, depth - 1)


def _at(value: Any, path: "tuple[str, ...]") -> "Iterator[Any]":
    """What stands at a path from here; lists are looked through where the path names no place in them."""
    if not path:
        if isinstance(value, list):
            for each in value:
                yield from _at(each, ())
        else:
            yield value
        return
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        if step.startswith("["):
            number = step[1:-1]
            chosen = value if number == "*" else value[int(number) : int(number) + 1]
            for each in chosen:
                yield from _at(each, rest)
        else:
            for each in value:
                yield from _at(each, path)
    elif step in ("[0]", "[*]"):  # one element of a name is no list in XML
        yield from _at(value, rest)
    elif isinstance(value, dict) and step in value:
        yield from _at(value[step], rest)


def _number(text: str) -> "float | None":
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number - number == 0 else None
