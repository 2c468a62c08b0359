"""The store by its own interface: what is kept, joined and found again."""

import copy
import itertools

import pytest

from coldspan_console.output import ConsoleError
from coldspan_console.store import Filter, Store
from store_lines import invocation, last_words, late, part, platform, tool

PAST_THE_SCOPE = (
    "SELECT * FROM main.invocation", "SELECT * FROM main.document", "SELECT * FROM main.call",
    "DROP VIEW temp.invocation", "ATTACH 'x' AS y", "PRAGMA query_only = OFF", "SELECT * FROM notified",
    "DELETE FROM main.invocation",
)  # fmt: skip


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "store.db") as opened:
        yield opened


def test_an_invocation_is_found_as_it_was_printed(store):
    """What a user looks at would not be what the function said."""
    printed = invocation("r1", calls=[("dynamodb", "PutItem", "ok")], unknown_field={"of": ["the", "future"]})
    added = store.add([printed])
    assert (added, added.invocations) == (1, 1)
    (document,) = store.get("r1")
    assert {name: document[name] for name in printed} == printed
    (summary,) = store.find()
    assert (summary["outcome"], summary["calls"], summary["duration_ms"]) == ("ok", 1, printed["Duration"])


def test_what_comes_twice_is_kept_once(store):
    """A pull after a run would count every invocation twice."""
    lines = [invocation("r1"), platform("r1"), tool("r1", "sqs", "SendMessage")]
    assert store.add(lines, source="run") == 3
    again = store.add(lines, source="pull")
    assert (again, again.known, again.invocations) == (0, 3, 0)
    assert store.find()[0]["source"] == "run"


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_lines_may_come_in_any_order(store, order):
    """A record would lack what the platform said of it, because that came first."""
    lines = [
        invocation("r1", calls=[("dynamodb", "PutItem", "ok")], Calls=3),
        part("r1", 1, [("sqs", "SendMessage", "ok")]),
        late("r1", ("api", "GET", "error")),
        platform("r1", BilledDuration=7),
    ]
    for position in order:
        store.add([lines[position]])
    (document,) = store.get("r1")
    assert [call["tool"] for call in document["calls"]] == ["dynamodb", "sqs", "api"]
    assert document["platform"]["billed_duration_ms"] == 7
    (summary,) = store.find()
    assert (summary["calls"], summary["failures"], summary["billed_ms"]) == (4, 1, 7)


def test_retries_of_one_request_are_invocations_of_their_own(store):
    """The second attempt would hide the first, which had failed."""
    store.add([
        invocation("r1", span="b" * 16, at_ms=2_000_000_060_000),
        invocation("r1", span="a" * 16, at_ms=2_000_000_000_000, outcome="error"),
        platform("r1", at_ms=2_000_000_000_010, BilledDuration=1),
        platform("r1", at_ms=2_000_000_060_010, BilledDuration=2),
    ])  # fmt: skip
    first, second = store.get("r1")
    assert (first["outcome"], first["store"]["attempt"], first["platform"]["billed_duration_ms"]) == ("error", 1, 1)
    assert (second["outcome"], second["store"]["attempts"], second["platform"]["billed_duration_ms"]) == ("ok", 2, 2)


def test_a_kill_that_two_tell_of_is_one(store):
    """The black box and the function's next start both tell of it: one death, counted twice."""
    told = invocation("r1", outcome="timeout", told_by="next_init", evidence=["alive_at_deadline"], rss_mb=30)
    better = invocation("r1", outcome="timeout", told_by="black_box", evidence=["platform"], stacks=[{"thread": "M"}])
    store.add([told, better])
    (document,) = store.get("r1")
    assert (document["told_by"], document["evidence"], document["rss_mb"]) == ("black_box", ["platform"], 30)
    assert store.count(Filter(outcome="timeout")) == 1


def test_a_record_of_the_process_itself_goes_before_what_a_journal_tells(store):
    """An invocation that had ended well would be a crash, because its process died right afterwards."""
    store.add([invocation("r1", outcome="crash", told_by="next_init"), invocation("r1")])
    assert [document["outcome"] for document in store.get("r1")] == ["ok"]


def test_counters_are_kept_where_calls_are_not_told(store):
    """With COLDSPAN_DETAIL below 1 most records have no calls, and would count none."""
    store.add([invocation("r1", calls=None, Calls=2), tool("r1", "sqs", "SendMessage", durations=[1.5, 2.5])])
    (document,) = store.get("r1")
    assert document["call_metrics"][0]["durations_ms"] == [1.5, 2.5]
    assert store.find()[0]["calls"] == 2
    assert store.count(Filter(tool="sqs")) == 1


def test_lines_of_tools_are_not_counted_beside_the_calls_themselves(store):
    """Every call would be there twice."""
    store.add([invocation("r1", calls=[("sqs", "SendMessage", "ok")]), tool("r1", "sqs", "SendMessage")])
    (document,) = store.get("r1")
    assert "call_metrics" not in document
    assert len(document["calls"]) == 1


def test_last_words_are_an_invocation_until_its_record_comes(store):
    """A function that was killed and never came back would not be there at all."""
    store.add([last_words("r1")])
    assert [summary["outcome"] for summary in store.find()] == ["unfinished"]
    changes = store.changes()
    store.add([invocation("r1", outcome="timeout", told_by="black_box")])
    assert [summary["outcome"] for summary in store.find()] == ["timeout"]
    assert [summary["request_id"] for summary in store.find(Filter(changed_after=changes))] == ["r1"]


def test_what_only_the_platform_knows_of_is_told_as_its(store):
    """A kill that the recorder could not tell of would be missing."""
    store.add([platform("r1", status="timeout", duration_ms=3000.5)])
    (document,) = store.get("r1")
    assert (document["outcome"], document["told_by"], document["Duration"]) == ("timeout", "platform", 3000.5)


@pytest.mark.parametrize(
    "garbage",
    ["", "no JSON", "{", "[]", "null", "12", '{"a": 1}', b"\xff\xfe", 7, None, object(), [], {"_aws": 1}, {1: {2: 3}}],
)
def test_what_is_none_of_ours_is_counted_and_left(store, garbage):
    """A function's log is full of other things."""
    added = store.add([garbage, invocation("r1")])
    assert (added, added.others + added.refused) == (1, 1)


def test_a_torn_line_is_refused_and_counted(store):
    """A line cut in the middle would end the command."""
    added = store.add(['{"_aws":{"Timestamp":1,"Cloud', '{"_aws": {}, "Duration": NaN, "request_id": "r"}'])
    assert (added, added.refused) == (0, 2)


@pytest.mark.parametrize("name", ["Duration", "Calls", "calls", "_aws", "init", "platform", "span_id", "error_message"])
@pytest.mark.parametrize("value", [None, -1, 10**30, "x", "\ud800", [], [[1]], {"a": None}, True, 1e308])
def test_a_hostile_value_costs_no_more_than_itself(store, name, value):
    """One odd record would make the store unusable."""
    hostile = invocation("r1", calls=[("sqs", "SendMessage", "ok")])
    hostile[name] = value
    added = store.add([hostile, invocation("r2")])
    assert added + added.refused + added.others == 2
    found = store.find()
    assert "r2" in [summary["request_id"] for summary in found]
    assert len(list(store.documents())) == len(found)


def test_what_is_given_is_not_changed(store):
    """The caller goes on with its documents."""
    given = [invocation("r1", calls=[("sqs", "SendMessage", "ok")]), late("r1", ("api", "GET", "ok")), platform("r1")]
    before = copy.deepcopy(given)
    store.add(given)
    assert given == before


def test_log_lines_are_kept_once_and_in_order(store):
    """A pull after a run would show every line twice."""
    store.logs("r1", ["one", "two"])
    assert store.logs("r1", ["one", "two", "three"]) == 1
    assert [line["text"] for line in store.log_lines("r1")] == ["one", "two", "three"]
    assert store.log_lines("r2") == []


def test_a_store_of_one_tenant_shows_nothing_else(tmp_path):
    """One customer's data in another one's report."""
    with Store.open(tmp_path / "store.db") as store:
        store.add([invocation("r1", tenant_id="a"), invocation("r2", tenant_id="b"), invocation("r3")])
        store.logs("r2", ["secret"])
    with Store.open(tmp_path / "store.db", tenant="a") as store:
        assert [summary["request_id"] for summary in store.find()] == ["r1"]
        assert [document["request_id"] for document in store.documents()] == ["r1"]
        assert store.find(Filter(tenant="b")) == []
        assert (store.get("r2"), store.lines("r2"), store.log_lines("r2"), store.count()) == ([], [], [], 1)
        with pytest.raises(ConsoleError, match="read only"):
            store.add([invocation("r4")])
        for query in PAST_THE_SCOPE:
            with pytest.raises(Exception, match=r"prohibited|not authorized"):
                store.connection.execute(query).fetchall()


def test_an_unknown_tenant_sees_nothing(tmp_path):
    """A misspelt name would show everything."""
    with Store.open(tmp_path / "store.db") as store:
        store.add([invocation("r1", tenant_id="a"), invocation("r3")])
    for name in ("", "A", "b"):
        with Store.open(tmp_path / "store.db", tenant=name) as store:
            assert store.find() == []
