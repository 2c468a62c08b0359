"""What a captured payload holds, and what it never does."""

import datetime as dt
import io
import json
import sys
import threading
import time
import uuid
from collections import OrderedDict, defaultdict
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldspan.core import limits
from coldspan.core.payload import capture

SETTINGS = SimpleNamespace(mask_keys=("Customer-Name",))


def captured(value):
    """Capture, and check what holds for every capture."""
    copy = capture(value, SETTINGS)
    text = json.dumps(copy, allow_nan=False)
    assert len(text) <= limits.PAYLOAD_BYTES
    assert depth_of(copy) <= limits.PAYLOAD_DEPTH
    text.encode("ascii")
    json.dumps(copy, ensure_ascii=False).encode()
    return copy


def depth_of(value):
    if isinstance(value, dict):
        return 1 + max(map(depth_of, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, value), default=0)
    return 0


@pytest.mark.parametrize(
    ("value", "copy"),
    [
        (None, None),
        (True, True),
        (-7, -7),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (10**5_000, "<int, 16610 bits>"),
        ("text", "text"),
        ("<order><id>7</id></order>", "<order><id>7</id></order>"),
        (b"text", "text"),
        (bytearray(b"text"), "text"),
        (b"\xff\xfe\x00", "<bytes, 3>"),
        ('{"a": [1, {"b": null}]}', {"a": [1, {"b": None}]}),
        (b'[1, "x"]', [1, "x"]),
        ("[INFO] not JSON", "[INFO] not JSON"),
        (Decimal("1.50"), "1.50"),
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ({3}, [3]),
        ((1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[]), {"a": []}),
        (
            {1: "a", None: "b", 2.5: "c", b"d": "d", False: "e"},
            {"1": "a", "None": "b", "2.5": "c", "d": "d", "False": "e"},
        ),
        ({1: "a", "1": "b"}, {"1": "a", "1#2": "b"}),
        ("a\ud800b", "a?b"),
        ({"\ud800": 1}, {"?": 1}),
        (memoryview(b"x"), "<memoryview>"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_capture_of_a_plain_value_gives_its_json(value, copy):
    """JSON stays JSON, text stays text, everything else is described."""
    assert captured(value) == copy


def test_capture_masks_by_key_at_every_depth_promise_6():
    """Promise 6: a payload leaves masked."""
    copy = captured(
        {
            "user": "joe",
            "Password": "hunter2",
            "nested": [{"api-key": {"deep": "hunter2"}, "SESSION_TOKEN": ["hunter2"], "ssn": 1}],
            "customer_name": "Joe",
            "empty": {"token": None},
            "max_tokens": 512,
        }
    )
    assert copy == {
        "user": "joe",
        "Password": "***",
        "nested": [{"api-key": "***", "SESSION_TOKEN": "***", "ssn": "***"}],
        "customer_name": "***",
        "empty": {"token": None},
        "max_tokens": 512,
    }


@pytest.mark.parametrize(
    "value",
    [
        '{"password": "hunter2"}',
        b'{"password": "hunter2"}',
        {"body": '{"inner": "{\\"password\\": \\"hunter2\\"}"}'},
        {"isBase64Encoded": True, "body": "eyJwYXNzd29yZCI6ICJodW50ZXIyIn0="},
        {"isBase64Encoded": True, "body": "cGFzc3dvcmQ9aHVudGVyMg=="},
        {"Name": "/prod/password", "Value": "hunter2"},
        {"Name": "/prod/db", "Type": "SecureString", "Value": "hunter2"},
        {"headers": [("Authorization", "hunter2"), [b"x-api-key", b"hunter2"]]},
        "user=joe&password=hunter2",
        "<login><password>hunter2</password></login>",
        "customer name: hunter2",
        "https://joe:hunter2@example.com",
        '{"password": "hunter2", "rows": [' + "1, " * 40_000 + "1]}",
        '{"rows": "' + "\\" * 40_000,
    ],
    ids=range(14),
)
def test_capture_finds_a_secret_in_any_shape_promise_6(value):
    """Promise 6: neither a text inside a text nor base64 hides a key from masking."""
    assert "hunter2" not in json.dumps(captured(value))


def test_capture_of_numbers_and_keys_masks_card_numbers_and_addresses_promise_6():
    """Promise 6: a card number is one as a number too, and a key can be personal."""
    assert captured({"pay": 4111111111111111, "joe@example.com": 1}) == {"pay": "***", "***": 1}


def test_capture_of_json_too_large_to_read_keeps_its_head_as_json():
    """A large body must still be masked by key, not only where a pattern happens to match."""
    copy = captured(json.dumps([{"id": number, "customerName": "Joe"} for number in range(10_000)]))
    assert copy[0] == {"id": 0, "customerName": "***"}
    assert copy[-1].endswith("+ more>")
    assert "Joe" not in json.dumps(copy)


def test_capture_leaves_the_value_as_it_was():
    """What the customer sees is untouched: the copy shares no container with the original."""
    value = {"a": [1, {"password": "x"}], "b": "y"}
    before = json.dumps(value)
    copy = captured(value)
    copy["a"].append("ours")
    copy["b"] = "ours"
    assert json.dumps(value) == before


def test_capture_reads_no_stream_and_no_generator():
    """A body that can be read once must be left for the customer."""
    stream = io.BytesIO(b"body")
    numbers = (number for number in range(3))
    assert captured({"stream": stream, "numbers": numbers}) == {"stream": "<BytesIO>", "numbers": "<generator>"}
    assert stream.tell() == 0
    assert list(numbers) == [0, 1, 2]


def test_capture_calls_no_method_of_the_customers_classes():
    """An object of the customer's must not run, however its class is built."""

    def loud(*_args, **_kwargs):
        raise SystemExit

    names = "getattribute repr str iter len bool getitem contains index int float"
    hostile = {"__%s__" % name: loud for name in names.split()} | dict.fromkeys(("items", "keys", "get"), loud)
    loud_type = {"__eq__": loud, "__hash__": lambda _: 1, "__getattribute__": loud, "__instancecheck__": loud}
    meta = type("Meta", (type,), loud_type)
    alone = type("Alone", (), hostile)()
    with_meta = type.__call__(meta, "WithMeta", (), {})
    value = [alone, with_meta, object.__new__(with_meta)]
    assert captured(value) == ["<Alone>", "<Meta>", "<WithMeta>"]
    assert captured(type("D", (dict,), hostile)(a=1)) == {"a": 1}
    assert captured(type("L", (list,), hostile)([1, 2])) == [1, 2]
    assert captured(type("S", (str,), hostile)("x")) == "x"
    assert captured(type("B", (bytes,), hostile)(b"x")) == "x"
    assert captured(type("I", (int,), hostile)(7)) == 7
    assert captured(type("F", (float,), hostile)(7.5)) == 7.5


def test_capture_asks_no_time_zone_of_the_customers():
    """A time zone is code too."""

    class Zone(dt.tzinfo):
        def utcoffset(self, _when):
            raise SystemExit

    assert captured(dt.datetime(2026, 1, 2, tzinfo=Zone())) == "2026-01-02T00:00:00"


def test_capture_of_a_cycle_ends():
    """A structure that holds itself must not hang the call."""
    ring = [1]
    ring.append({"again": ring})
    assert captured(ring) == [1, {"again": "<cycle>"}]
    twice = {"x": 1}
    assert captured([twice, twice]) == [{"x": 1}, {"x": 1}]


def test_capture_of_a_deep_structure_stops_at_the_limit():
    """Depth is bounded by the limit and not by the stack."""
    deep = []
    for _ in range(100_000):
        deep = [deep]
    captured(deep)
    captured("[" * 200_000)
    captured("[" * 10_000 + "]" * 10_000)
    nested = "x"
    for _ in range(12):
        nested = json.dumps([nested])
    captured(nested)
    while deep:  # taken apart one by one: deep containers are freed recursively
        deep = deep.pop()


@pytest.mark.parametrize(
    "value",
    [
        "x" * 100_000_000,
        b"x" * 100_000_000,
        "é" * 50_000_000,
        '{"a":' + "1" * 50_000_000,
        '"' + '\\"' * 10_000_000,
        '["' + '\\"' * 10_000_000,
        ["y" * 1_000] * 5_000_000,
        dict.fromkeys(range(1_000_000)),
        set(range(1_000_000)),
    ],
    ids=["str", "bytes", "wide", "number", "quotes", "JSON quotes", "list", "dict", "set"],
)
def test_capture_of_a_huge_value_does_bounded_work(value):
    """What is asked about a call must not cost in proportion to what it carried."""
    started = time.process_time()
    captured(value)
    assert time.process_time() - started < 0.5


def test_capture_of_a_dict_that_another_thread_changes_gives_what_it_saw():
    """A race in the customer's code is not ours to turn into a fault."""
    shared = {}
    stop = threading.Event()

    def change():
        number = 0
        while not stop.is_set():
            number += 1
            shared[number % 50] = number
            shared.pop((number * 7) % 50, None)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(300):
            captured(shared)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)


NUMBERS = st.one_of(st.integers(), st.floats(), st.decimals(), st.booleans())
STRINGS = st.one_of(st.text(), st.binary(), st.text(alphabet="\x00\ud800é😀\\'{[", max_size=3_000))
LEAVES = st.one_of(st.none(), NUMBERS, STRINGS, st.datetimes(), st.dates(), st.uuids())
KEYS = st.one_of(st.text(max_size=300), st.binary(max_size=20), st.integers(), st.none(), st.tuples(st.integers()))
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(KEYS, inner),
        st.tuples(inner, inner),
        st.frozensets(st.one_of(st.text(), st.integers(), st.binary())),
    ),
    max_leaves=60,
)


@given(VALUES)
def test_capture_of_anything_is_bounded_and_json(value):
    """Whatever a call carries, the record stays writable."""
    captured(value)


SECRET = "Zq7hunter2hunter2Zq7"
SECRET_KEYS = ("password", "db_password", "Api-Key", "x-auth-token", "clientSecret", "COOKIE", "customerName", "ssn")


@given(st.data())
def test_capture_never_leaks_a_secret_planted_under_a_secret_key_promise_6(data):
    """Promise 6: wherever in a payload a secret key stands, its value is not in the record."""
    key = data.draw(st.sampled_from(SECRET_KEYS))
    leaf = data.draw(st.sampled_from([SECRET, SECRET.encode(), [SECRET], {"x": SECRET}, SECRET * 500]))
    value = {key: leaf}
    for _ in range(data.draw(st.integers(0, 5))):
        around = data.draw(st.sampled_from(["list", "dict", "json", "bytes", "tuple"]))
        other = data.draw(st.one_of(st.text(max_size=50), st.integers()))
        if around in ("json", "bytes"):
            value = json.dumps(value, default=repr)
            value = value.encode() if around == "bytes" else value
        elif around == "dict":
            value = {"a": other, "b": value}
        else:
            value = [other, value] if around == "list" else (value, other)
    assert "hunter2" not in json.dumps(captured(value))
