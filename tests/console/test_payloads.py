"""Captured payloads in one form, and the query on them."""

import base64
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldspan_console.output import ConsoleError
from coldspan_console.payloads import TEXT_CHARS, normalise, payload_query

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
NAMES = st.from_regex(r"[a-z]{1,6}", fullmatch=True)


@pytest.mark.parametrize(
    ("payload", "kind", "value"),
    [
        (None, "none", None),
        ({"a": 1}, "json", {"a": 1}),
        ('{"a": [1, null]}', "json", {"a": [1, None]}),
        (b"\xef\xbb\xbf[1]", "json", [1]),
        ({"body": '{"order": {"id": 17}}'}, "json", {"body": {"order": {"id": 17}}}),
        ({"body": "<order><id>17</id></order>"}, "json", {"body": {"order": {"id": "17"}}}),
        ("<a/>", "xml", {"a": ""}),
        ('<a x="1">t<b>2</b><b>3</b></a>', "xml", {"a": {"@x": "1", "b": ["2", "3"], "#text": "t"}}),
        ('<s:a xmlns:s="urn:x" s:y="1"><s:b>2</s:b></s:a>', "xml", {"a": {"@y": "1", "b": "2"}}),
        ("<a><!-- c --><?p i?><b><![CDATA[<x>]]></b></a>", "xml", {"a": {"b": "<x>"}}),
        ('<?xml version="1.0" encoding="nonsense"?><a>é</a>', "xml", {"a": "é"}),  # it is text already
        ("a=1&b=two%20words&a=3&c=", "form", {"a": ["1", "3"], "b": "two words", "c": ""}),
        (base64.b64encode(b'{"order": {"id": 17}}').decode(), "base64", {"order": {"id": 17}}),
        ("just words = nothing", "text", "just words = nothing"),
        ("1234567890abcdef", "text", "1234567890abcdef"),
        ("", "text", ""),
        ("{torn", "text", "{torn"),
        ("<torn", "text", "<torn"),
        ("< 5 and > 3", "text", "< 5 and > 3"),
    ],
)  # fmt: skip
def test_a_payload_is_recognised(payload, kind, value):
    """One query would not work on all of them."""
    assert normalise(payload) == (kind, value)


HOSTILE = {
    "billion laughs": '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]><l>&c;</l>',
    "quadratic": f'<!DOCTYPE l [<!ENTITY a "{"x" * 1000}">]><l>{"&a;" * 1000}</l>',
    "external": '<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><l>&x;</l>',
    "parameter": '<!DOCTYPE l [<!ENTITY % p SYSTEM "http://127.0.0.1:9/x">%p;]><l/>',
    "document type": '<!DOCTYPE l SYSTEM "http://127.0.0.1:9/l.dtd"><l/>',
    "deep": "<a>" * 20_000 + "</a>" * 20_000,
    "wide": "<a>" + "<b/>" * 30_000 + "</a>",
    "deep JSON": "[" * 100_000,
    "deep nested JSON": "[" * 900 + "]" * 900,
    "large": "<a>" + "x" * TEXT_CHARS + "</a>",
    "NUL": "<a>\x00</a>",
    "huge number": "1" * 50_000,
    "huge number in JSON": '{"n": ' + "1" * 50_000 + "}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_stays_a_text(name):
    """A captured payload would fetch, grow, or end the console."""
    kind, value = normalise(HOSTILE[name])
    assert kind in ("text", "json")
    assert "root:" not in json.dumps(value)
    assert len(json.dumps(value)) <= 2 * len(HOSTILE[name]) + 100


@settings(max_examples=200, deadline=None)
@given(JSON | st.text() | st.binary())
def test_normalising_is_deterministic_and_gives_json(payload):
    """A query would find something one time and not the next."""
    before = repr(payload)
    first = normalise(payload)
    assert first == normalise(payload)
    assert repr(payload) == before
    json.dumps(first[1])


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAMES, st.integers(0, 999), min_size=1, max_size=5), NAMES)
def test_one_query_finds_the_same_in_json_xml_and_text(members, root):
    """What is asked would depend on what the other side happens to speak."""
    name, value = next(iter(members.items()))
    inner = "".join(f"<{key}>{number}</{key}>" for key, number in members.items())
    forms = [
        {root: members},
        json.dumps({root: members}),
        f"<{root}>{inner}</{root}>",
        base64.b64encode(json.dumps({root: members}).encode()).decode(),
        {"request": {"body": json.dumps({root: members})}},
    ]
    for form in forms:
        assert payload_query(f"{root}.{name}={value}").matches(form)
        assert not payload_query(f"{root}.{name}={value + 1}").matches(form)
    assert payload_query(f"{name}={value}").matches("&".join(f"{key}={number}" for key, number in members.items()))


@pytest.mark.parametrize(
    ("query", "payload", "holds"),
    [
        ("order.id=17", {"order": {"id": 17}}, True),
        ("order.id=17", {"order": {"id": "17"}}, True),
        ("order.id=17", {"a": [{"order": {"id": 17.0}}]}, True),
        ("order.id=17", {"order": {"id": 170}}, False),
        ("$.order.id = '17'", {"order": {"id": 17}}, True),
        ("order.id", {"order": {"id": None}}, True),
        ("order.id", {"order": {}}, False),
        ("items.sku=B", {"items": [{"sku": "A"}, {"sku": "B"}]}, True),
        ("items[0].sku=B", {"items": [{"sku": "A"}, {"sku": "B"}]}, False),
        ("items[1].sku=B", {"items": [{"sku": "A"}, {"sku": "B"}]}, True),
        ("items[*].sku=B", {"items": [{"sku": "A"}, {"sku": "B"}]}, True),
        ("item[0].sku=A", "<o><item><sku>A</sku></item></o>", True),
        ("a.@x=1", '<a x="1"/>', True),
        ("total>=100", {"total": 100}, True),
        ("total>100", {"total": 100}, False),
        ("total<1e3", {"total": "999"}, True),
        ("total>5", {"total": "much"}, False),
        ("state!=done", {"state": "open"}, True),
        ("state!=done", {"state": "done"}, False),
        ("name~LAMP", {"name": "a lamp"}, True),
        ("~refused", {"a": ["it was Refused"]}, True),
        ("~refused", "it was refused", True),
        ("=17", {"a": [1, {"b": 17}]}, True),
        ("ok=true", {"ok": True}, True),
        ("a=", {"a": ""}, True),
        ("a=x=y", {"a": "x=y"}, True),
    ],
)  # fmt: skip
def test_a_query_means_what_it_says(query, payload, holds):
    """The wrong invocations would be looked at."""
    assert payload_query(query).matches(payload) is holds


@pytest.mark.parametrize("query", ["", "  ", "$", ".", "a[", "a[x]=1", "a]b=1"])
def test_what_is_no_query_is_refused(query):
    """It would find nothing, and nobody would know why."""
    with pytest.raises(ConsoleError, match="no question about payloads"):
        payload_query(query)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), JSON)
def test_any_text_is_a_query_or_is_refused(text, payload):
    """A traceback for a slip of the finger."""
    try:
        query = payload_query(text)
    except ConsoleError:
        return
    assert query.matches(payload) in (True, False)


def test_defusedxml_is_loaded_for_xml_alone():
    """Every command that lists would load an XML parser."""
    import subprocess

    code = (
        "import sys; from coldspan_console import payloads; payloads.normalise({'a': 'b=1'});"
        " print('defusedxml' in sys.modules); payloads.normalise('<a/>'); print('defusedxml' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True"]
