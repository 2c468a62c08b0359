"""The texts of queries are of the documented language: no server that runs all of it can be had here."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldspan_console.output import ConsoleError
from coldspan_console.pulling import queries
from coldspan_console.store.filter import OUTCOMES

# Source: CloudWatch Logs user guide, pages of these commands and "Fields that contain special characters"
TOKEN = re.compile(
    r'\s*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<name>`[^`]+`|@?[A-Za-z][A-Za-z0-9.]*)|(?P<number>\d+(?:\.\d+)?[smhd]?)'
    r"|(?P<sign>!=|<=|>=|[=<>()\[\],*]))"
)
ALIAS = re.compile(r" as ([a-z][a-z0-9_]*)")  # of `stats`: the guide's own examples have underscores in them
FUNCTIONS = {"count": 1, "sum": 1, "avg": 1, "max": 1, "min": 1, "pct": 2}
COMPARISONS = {"=", "!=", "<", "<=", ">", ">="}


class Grammar:
    """A recogniser of the part of the language that is used. Any other text is an AssertionError."""

    def __init__(self, text):
        self.aliases = set(ALIAS.findall(text))
        text, self.tokens, at = ALIAS.sub("", text), [], 0
        while at < len(text.rstrip()):
            found = TOKEN.match(text, at)
            assert found, text[at:]
            self.tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()

    def take(self, *expected):
        kind, text = self.tokens.pop(0) if self.tokens else ("end", "")
        assert kind in expected or text in expected, (expected, kind, text)
        return text

    def next(self):
        return self.tokens[0][1] if self.tokens else ""

    def listed(self, one, end=""):
        one()
        while self.next() == ",":
            self.take(",")
            one()
        if end:
            self.take(end)

    def command(self):
        word = self.take("fields", "filter", "stats", "sort", "limit")
        if word == "fields":
            self.listed(lambda: self.take("name"))
        elif word == "filter":
            self.condition()
        elif word == "stats":
            self.listed(self.aggregate)
            self.take("by")
            self.listed(self.key)
        elif word == "sort":
            name = self.take("name")
            assert name.startswith("@") or name in self.aliases | {"invocations"}
            self.take("asc", "desc")
        else:
            assert 1 <= int(self.take("number")) <= 10_000
        assert self.tokens == []

    def condition(self):
        self.term()
        while self.next() in {"and", "or"}:
            self.take("and", "or")
            self.term()

    def term(self):
        if self.next() == "not":
            self.take("not")
        if self.next() == "(":
            self.take("(")
            self.condition()
            self.take(")")
            return
        name = self.take("name")
        if name == "ispresent":
            self.take("(")
            self.take("name")
            self.take(")")
        elif self.next() == "in":
            self.take("in")
            self.take("[")
            self.listed(lambda: self.take("text", "number"), "]")
        else:
            self.take(*COMPARISONS)
            self.take("text", "number")

    def aggregate(self):
        arguments = FUNCTIONS[self.take(*FUNCTIONS)]
        self.take("(")
        self.take("name", "*")
        if arguments == 2:
            self.take(",")
            assert 0 < float(self.take("number")) < 100
        self.take(")")

    def key(self):
        if self.take("name") == "bin":
            self.take("(")
            assert self.take("number")[-1] in "smhd"
            self.take(")")


def recognise(query):
    assert "\n" not in query
    assert len(query) <= 10_000  # StartQuery, queryString
    for command in re.split(r" \| (?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", query):
        Grammar(command).command()


CONDITIONS = [
    queries.wanted([]),
    queries.wanted(OUTCOMES),
    queries.wanted(["timeout"], errors_only=True),
    queries.wanted([], errors_only=True, expression='Duration > 300 and tool = "dynamodb"'),
]


@pytest.mark.parametrize("conditions", CONDITIONS)
def test_record_queries_are_of_the_language(conditions):
    """AWS would refuse the query, where no test here could see it."""
    recognise(queries.records(conditions))
    recognise(queries.records(conditions, 50))


@pytest.mark.parametrize("by", queries.GROUPS)
def test_statistics_are_of_the_language(by):
    """The same of --aggregate."""
    recognise(queries.statistics(by, CONDITIONS[2]))
    recognise(queries.statistics(by))
    assert all(name and "`" not in name for name in queries.names_of(by))


@given(st.lists(st.uuids().map(str), min_size=1, max_size=queries.IDS))
def test_as_many_requests_as_are_asked_for_at_once_fit_into_a_query(ids):
    """A query has at most 10,000 characters."""
    recognise(queries.of_requests(ids))


@pytest.mark.parametrize("text", ["a = 1 | limit 5", "a = 1 # all", "| stats count(*)"])
def test_an_expression_is_no_more_than_a_condition(text):
    """A second command would turn the result into something else."""
    with pytest.raises(ConsoleError, match="condition of one filter"):
        queries.wanted([], expression=text)


@pytest.mark.parametrize("text", ["@message like /a|b/", 'message = "a | b # c"', "Duration > 3"])
def test_signs_within_texts_and_patterns_are_no_commands(text):
    """A regular expression has its own |."""
    assert queries.wanted([], expression=text) == [f"({text})"]


def test_texts_are_quoted():
    """A hostile name ends no string."""
    hostile = 'a"] or outcome in ["ok'
    assert json.dumps(hostile) in queries.wanted([hostile])[0]
    recognise(queries.records(queries.wanted([hostile])))
