"""Everything that a handler may return."""
# ruff: noqa: PYI024 - what customers write

import collections
import datetime as dt
import decimal
import enum
import io
import math
import types
import uuid


class Colour(enum.IntEnum):
    RED = 1


class Word(str):
    __slots__ = ()


class Keeps(dict):
    """A dict with a say in how it is read."""

    def items(self):
        return [("replaced", True)]


class Callable:
    def __call__(self):
        return 1


Point = collections.namedtuple("Point", "x y")


def circular():
    loop = []
    loop.append(loop)
    return loop


def deep(depth):
    value = leaf = []
    for _ in range(depth):
        leaf.append([])
        leaf = leaf[0]
    return value


CASES = {
    "null": lambda: None,
    "true": lambda: True,
    "zero": lambda: 0,
    "big integer": lambda: 2**200,
    "float": lambda: 0.1 + 0.2,
    "minus zero": lambda: -0.0,
    "nan": lambda: math.nan,
    "infinity": lambda: [math.inf, -math.inf],
    "empty text": lambda: "",
    "text": lambda: 'quote " backslash \\ newline \n null \0 é 漢 😀 \u2028',
    "text subclass": lambda: Word("word"),
    "bytes": lambda: b"\x00\xff{}",
    "empty bytes": lambda: b"",
    "bytearray": lambda: bytearray(b"abc"),
    "nested bytes": lambda: {"a": b"text"},
    "nested bytes not utf-8": lambda: {"a": b"\xff\xfe"},
    "list": lambda: [1, [2, [3]], {}],
    "tuple": lambda: (1, (2,)),
    "named tuple": lambda: Point(1, 2),
    "dict": lambda: {"b": 1, "a": {"c": None}, "": []},
    "key types": lambda: {1: 1, 1.5: 2, False: 3, None: 4},
    "key not a key": lambda: {(1, 2): 3},
    "dict subclass": lambda: Keeps(a=1),
    "ordered": lambda: collections.OrderedDict([("z", 1), ("a", 2)]),
    "default dict": lambda: collections.defaultdict(list, a=[1]),
    "mapping proxy": lambda: types.MappingProxyType({"a": 1}),
    "enum": lambda: {"colour": Colour.RED},
    "decimal": lambda: [decimal.Decimal(text) for text in ("1.10", "1E+3", "NaN", "-0")],
    "decimal infinity": lambda: decimal.Decimal("Infinity"),
    "batch": lambda: {"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "2"}]},
    "batch junk": lambda: {"batchItemFailures": "not a list"},
    "http": lambda: {"statusCode": 500, "headers": {"a": "b"}, "body": "oops", "isBase64Encoded": False},
    "durable pending": lambda: {"Status": "PENDING"},
    "large": lambda: "x" * 1_000_000,
    "set": lambda: {1},
    "object": object,
    "class": lambda: Colour,
    "function": lambda: len,
    "datetime": lambda: {"at": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)},
    "uuid": lambda: uuid.UUID(int=5),
    "generator": lambda: (number for number in range(3)),
    "file": lambda: io.BytesIO(b"x"),
    "exception": lambda: ValueError("returned, not raised"),
    "callable": Callable,
    "circular": circular,
    "deep": lambda: deep(100),
}


def handler(event, context):
    """Return what the event names."""
    return CASES[event["case"]]()
