"""JSON, both ways, without the json package: its import costs 34 M instructions, most of them for `re`."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _refuse(word: str) -> float:
    raise ValueError(word)  # NaN and the infinities are no JSON


class _Rules:
    """What the C scanner asks of its caller."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse)
    memo: "dict[str, str]" = {}  # noqa: RUF012  # of the scanner's own


def _loader() -> "Any":
    try:
        from _json import make_scanner  # CPython's own, as json.decoder uses it

        scan: "Any" = make_scanner(_Rules)  # type: ignore[arg-type]  # any object with these members will do
        if scan('{"a":[1,0.5,"x"]}', 0) != ({"a": [1, 0.5, "x"]}, 17):
            scan = None
    except (ImportError, TypeError, AttributeError):
        scan = None
    if scan is None:
        from json import loads as whole  # another interpreter

        return whole

    def load(text: str) -> "Any":
        text = text.strip(" \t\r\n")
        try:
            value, end = scan(text, 0)
        except StopIteration:
            raise ValueError("no JSON") from None
        if end != len(text):
            raise ValueError("more than one value")
        return value

    return load


_load = _loader()


def loads(data: bytes) -> "Any":
    """The value of a JSON text. Errors: ValueError, whatever is wrong with it."""
    try:
        return _load(data.decode())
    except (RecursionError, UnicodeDecodeError, TypeError) as error:
        raise ValueError("no JSON") from error


def dumps(value: "Any") -> str:
    """JSON text of dicts, lists, strings, finite numbers, booleans and None, in ASCII."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, int):
        return "%d" % value
    if isinstance(value, float):
        return ("%.3f" % value).rstrip("0").rstrip(".") if value - value == 0 else "null"
    if isinstance(value, dict):
        return "{%s}" % ",".join([quote(str(key)) + ":" + dumps(item) for key, item in value.items()])
    return "[%s]" % ",".join([dumps(item) for item in value])


def quote(text: str) -> str:
    """A string as JSON; half surrogates, which strict readers refuse, become question marks."""
    from _json import encode_basestring_ascii

    return encode_basestring_ascii(text.encode("utf-8", "replace").decode())
