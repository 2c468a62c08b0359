"""What a filter means and what is counted, against the documents themselves; and that a million would be quick."""

import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldspan_console.output import WRONG_USE, ConsoleError
from coldspan_console.payloads import payload_query
from coldspan_console.store import Filter, Store, counting, moments
from coldspan_console.store.filter import FAILED_OUTCOMES, SORTS
from coldspan_console.store.histogram import bucket_of, exact_percentiles, middle_us, percentiles
from coldspan_console.store.joining import FAILED_CALL
from store_lines import AT_MS, invocation, platform

MANY = 20_000
TOOLS = [("dynamodb", "PutItem"), ("dynamodb", "GetItem"), ("sqs", "SendMessage"), ("api", "GET")]
STATUSES = ["ok", "ok", "ok", "error", "throttled", "rejected", "timeout"]


def lines(count, seed=7):
    """Invocations of every sort, the same each time."""
    chance = random.Random(seed)  # noqa: S311  # the same each time
    for number in range(count):
        outcome = chance.choice(["ok"] * 8 + ["error", "timeout", "pending"])
        calls = [(*chance.choice(TOOLS), chance.choice(STATUSES)) for _ in range(chance.randrange(4))]
        line = invocation(
            f"{number:08x}-{seed}", calls=calls, outcome=outcome, at_ms=AT_MS + number * 1_000,
            start=chance.choice(["warm", "warm", "cold", "restored"]), Duration=round(chance.lognormvariate(3, 1), 3),
            function_version=chance.choice(["1", "2"]), Overhead=chance.randrange(100, 300),
        )  # fmt: skip
        line["function_name"] = chance.choice(["orders", "prices", "mail"])
        if outcome != "ok":
            line |= {"error_type": "ValueError", "error_message": chance.choice(["100%_sure\\", "no such thing"])}
        if number % 3 == 0:
            line["tenant_id"] = chance.choice(["a", "b"])
        if number % 5 == 0 and line["calls"]:
            line["calls"][0]["payload"] = {"request": {"order": {"id": number % 7}}}
        yield line


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("few") / "store.db") as store:
        store.add(lines(300))
        store.add([platform("00000007-7", at_ms=AT_MS + 7_001)])
        yield store


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("many") / "store.db") as store:
        store.add(lines(MANY))
        yield store


def calls(line):
    return line.get("calls", ())


# filter -> the same as a person would say it of a document
ASKED = {
    "function": (Filter(function="orders"), lambda it: it["function_name"] == "orders"),
    "functions": (Filter(function=("orders", "mail")), lambda it: it["function_name"] != "prices"),
    "outcome": (Filter(outcome=["timeout", "error"]), lambda it: it["outcome"] in ("timeout", "error")),
    "start": (Filter(start="cold"), lambda it: it["start"] == "cold"),
    "version": (Filter(version="2"), lambda it: it["function_version"] == "2"),
    "tool": (Filter(tool="sqs"), lambda it: any(c["tool"] == "sqs" for c in calls(it))),
    "one call is all of it": (
        Filter(tool="dynamodb", operation="GetItem", status="error"),
        lambda it: any((c["tool"], c["operation"], c["status"]) == ("dynamodb", "GetItem", "error") for c in calls(it)),
    ),
    "failed": (
        Filter(failed=True),
        lambda it: it["outcome"] in FAILED_OUTCOMES or any(c["status"] in FAILED_CALL for c in calls(it)),
    ),
    "slower": (Filter(slower_ms=40), lambda it: it["Duration"] >= 40),
    "since": (Filter(since_ms=AT_MS + 100_000), lambda it: it["_aws"]["Timestamp"] >= AT_MS + 100_000),
    "until": (Filter(until_ms=AT_MS + 100_000), lambda it: it["_aws"]["Timestamp"] < AT_MS + 100_000),
    "tenant": (Filter(tenant="a"), lambda it: it.get("tenant_id") == "a"),
    "no tenant": (Filter(tenant=""), lambda it: it.get("tenant_id") is None),
    "request": (Filter(request_id="0000001"), lambda it: it["request_id"].startswith("0000001")),
    "text": (Filter(text="SUCH THING"), lambda it: it.get("error_message") == "no such thing"),
    "text of a call": (
        Filter(text="throttlederror"),
        lambda it: any(c["status"] == "throttled" for c in calls(it)),
    ),
    "text with signs": (Filter(text="100%_sure\\"), lambda it: it.get("error_message") == "100%_sure\\"),
    "text of signs alone": (Filter(text="%"), lambda it: it.get("error_message") == "100%_sure\\"),
    "payload": (
        Filter(payload="order.id=3"),
        lambda it: any(c.get("payload") == {"request": {"order": {"id": 3}}} for c in calls(it)),
    ),
    "together": (
        Filter(function="orders", outcome="error", start="cold", slower_ms=5),
        lambda it: (it["function_name"], it["outcome"], it["start"]) == ("orders", "error", "cold")
        and it["Duration"] >= 5,
    ),
    "source": (Filter(source="pull"), lambda it: False),
    "nothing": (Filter(), lambda it: True),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_a_filter_means_what_it_says(few, name):
    """A user would look at the wrong invocations, or miss the right one."""
    wanted, means = ASKED[name]
    expected = [line["request_id"] for line in lines(300) if means(line)][::-1]
    assert [summary["request_id"] for summary in few.find(wanted, limit=None)] == expected
    assert few.count(wanted) == len(expected)
    assert [document["request_id"] for document in few.documents(wanted)] == expected
    assert few.totals(wanted)["count"] == len(expected)


@pytest.mark.parametrize("name", ASKED)
def test_a_filter_is_the_same_after_it_was_saved(name):
    """A saved filter would mean something else."""
    import json

    wanted, _ = ASKED[name]
    assert Filter.from_json(json.loads(json.dumps(wanted.to_json()))) == wanted


@pytest.mark.parametrize("name", ASKED)
def test_counts_agree_with_the_documents(few, name):
    """The report's numbers would not be those of the list."""
    wanted, _ = ASKED[name]
    documents = list(few.documents(wanted))
    groups = few.invocations_by(wanted)
    assert {group["function"]: group["count"] for group in groups} == Counter(it["function_name"] for it in documents)
    for group in groups:
        own = [it for it in documents if it["function_name"] == group["function"]]
        assert group["outcomes"] == Counter(it["outcome"] for it in own)
        assert group["failed"] == sum(it["outcome"] in FAILED_OUTCOMES for it in own)
        assert group["cold"] == sum(it["start"] != "warm" for it in own)
        durations = sorted(it["Duration"] for it in own)
        assert group["p50_ms"] == durations[(len(own) + 1) // 2 - 1]
        assert group["max_ms"] == durations[-1]
    timeline = few.timeline(wanted, 60_000)
    assert sum(bucket["count"] for bucket in timeline) == len(documents)
    assert few.overhead(wanted)["count"] == len(documents)
    assert few.overhead(wanted)["max_us"] == max((it["Overhead"] for it in documents), default=0)


def test_calls_and_edges_agree_with_the_documents(few):
    """The service map would show traffic that never was."""
    for wanted in (Filter(), Filter(function="orders"), Filter(version="1"), Filter(outcome="error")):
        documents = list(few.documents(wanted))
        told = Counter((it["function_name"], c["tool"]) for it in documents for c in calls(it))
        edges = few.edges(wanted)
        assert {(edge["function"], edge["tool"]): edge["count"] for edge in edges} == told
        statuses = Counter(c["status"] for it in documents for c in calls(it))
        assert {group["status"]: group["count"] for group in few.calls_by(wanted, ("status",))} == statuses
        failed = Counter(c["tool"] for it in documents for c in calls(it) if c["status"] in FAILED_CALL)
        assert {
            group["tool"]: group["failed"] for group in few.calls_by(wanted, ("tool",)) if group["failed"]
        } == failed


def test_only_the_calls_that_are_meant_are_counted(few):
    """`--tool sqs --group tool` would count the other calls of the same invocations."""
    assert {group["tool"] for group in few.calls_by(Filter(tool="sqs"))} == {"sqs"}
    assert {group["tool"] for group in few.calls_by(Filter(tool="sqs", version="1"))} == {"sqs"}


def test_errors_are_grouped_by_tool_operation_and_message(few):
    """A user would read the same failure three hundred times."""
    documents = list(few.documents())
    told = Counter(
        (c["tool"], c["operation"], c["status"], c["message"])
        for it in documents for c in calls(it) if c["status"] in FAILED_CALL
    )  # fmt: skip
    ended = Counter(it["outcome"] for it in documents if it["outcome"] in FAILED_OUTCOMES)
    errors = few.errors()
    of_calls = {
        (e["tool"], e["operation"], e["status"], e["message"]): e["count"] for e in errors if e["kind"] == "call"
    }
    assert of_calls == told
    by_outcome = Counter()
    for each in errors:
        if each["kind"] == "invocation":
            by_outcome[each["status"]] += each["count"]
            assert few.get(each["request_id"])[0]["outcome"] == each["status"]
    assert by_outcome == ended
    assert [each["count"] for each in errors] == sorted((each["count"] for each in errors), reverse=True)


@pytest.mark.parametrize("sort", SORTS)
def test_pages_follow_one_another(few, sort):
    """The second page would repeat or skip what is on the first."""
    whole = few.find(limit=None, sort=sort)
    assert len(whole) == 300
    paged = [summary for first in range(0, 300, 45) for summary in few.find(limit=45, offset=first, sort=sort)]
    assert paged == whole


def test_percentiles_of_many_are_within_one_percent(many):
    """A user would compare two versions by rounding errors."""
    durations = sorted(round(line["Duration"] * 1_000) for line in lines(MANY))
    totals = many.totals()
    assert totals["exact"] is True
    group = counting.EXACTLY
    try:
        counting.EXACTLY = 100
        roughly = many.totals()
    finally:
        counting.EXACTLY = group
    assert roughly["exact"] is False
    for percent in counting.PERCENTS:
        exact = exact_percentiles(durations, [percent])[0]
        assert totals[f"p{percent}_ms"] == exact
        assert roughly[f"p{percent}_ms"] == pytest.approx(exact, rel=0.0101)
    for name in ("count", "failed", "cold", "outcomes", "starts", "first_ms", "last_ms"):
        assert roughly[name] == totals[name]


@pytest.mark.parametrize("duration_us", [0, 1, 2, 99, 1_000, 12_345, 3_000_000, 900_000_000, 10**15])
def test_a_bucket_stands_for_its_durations(duration_us):
    """Percentiles would be of another function."""
    bucket = bucket_of(duration_us)
    assert middle_us(bucket) == pytest.approx(min(duration_us, 10**12), rel=0.0101, abs=0.5)
    assert percentiles({bucket: 3}, [50]) == [pytest.approx(min(duration_us, 10**12) / 1_000, rel=0.011, abs=0.001)]


VALUES = st.sampled_from([17, "17", 17.0, "x", "", None, True, "true", [17, "x"], {"#text": "17", "@a": "x"}])
PAYLOADS = st.recursive(
    VALUES, lambda inner: st.dictionaries(st.sampled_from(["id", "order", "items"]), inner, max_size=2), max_leaves=5
)
QUERIES = st.sampled_from(
    ["id=17", "order.id=17", "items[0]=17", "items=x", "order=", "id=true", "id=null", "=17", "order.items.id=17",
     "#text=17", "@a=x", "id!=17", "id", "id~1", "[0]=17", "id=17.0", "id='x'"]
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(PAYLOADS, min_size=1, max_size=6), st.lists(QUERIES, min_size=1, max_size=2))
def test_the_index_of_payloads_finds_what_looking_finds(tmp_path_factory, payloads, queries):
    """A value that is there would not be found."""
    documents = []
    for number, payload in enumerate(payloads):
        document = invocation(f"r{number}", calls=[("api", "GET", "ok")])
        document["calls"][0]["payload"] = payload
        documents.append(document)
    with Store.open(tmp_path_factory.mktemp("p") / "store.db") as store:
        store.add(documents)
        expected = {
            document["request_id"]
            for document in documents
            if all(payload_query(text).holds(document) for text in queries)
        }
        assert {summary["request_id"] for summary in store.find(Filter(payload=queries))} == expected


def test_a_payload_with_more_values_than_the_index_takes_is_found(tmp_path):
    """The last of a long list would be missing."""
    document = invocation("r1", calls=[("api", "GET", "ok")])
    document["calls"][0]["payload"] = {"items": list(range(5_000))}
    with Store.open(tmp_path / "store.db") as store:
        store.add([document])
        assert store.count(Filter(payload="items=4999")) == 1
        assert store.count(Filter(payload="items=5000")) == 0


# -- plans: what makes the difference between a tenth of a second and a minute, at a million ------------------------

PLANS = {
    "the latest": (lambda s: s.find(limit=20), "USING COVERING INDEX invocation_by_time"),
    "of a function": (lambda s: s.find(Filter(function="orders"), limit=20), "INDEX invocation_by_function"),
    "of an outcome": (lambda s: s.find(Filter(outcome="timeout"), limit=20), "INDEX invocation_by_outcome"),
    "of both": (lambda s: s.find(Filter(outcome="error", function="mail"), limit=20), "INDEX invocation_by_"),
    "since": (lambda s: s.count(Filter(since_ms=AT_MS)), "USING COVERING INDEX invocation_by_time"),
    "one request": (lambda s: s.get("00000007-7"), "USING COVERING INDEX sqlite_autoindex_request_1"),
    "a prefix": (lambda s: s.find(Filter(request_id="0000")), "sqlite_autoindex_request_1 (request_id>"),
    "a value in a payload": (
        lambda s: s.find(Filter(payload="order.id=3")),
        "payload_value USING PRIMARY KEY (hash=?)",
    ),
    "what is new": (lambda s: s.find(Filter(changed_after=9)), "USING INDEX invocation_by_change"),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_question_is_answered_by_its_index(many, name):
    """A million invocations would be looked through one by one."""
    question, index = PLANS[name]
    asked = []
    many.connection.set_trace_callback(asked.append)
    try:
        question(many)
    finally:
        many.connection.set_trace_callback(None)
    plans = [
        row[3]
        for query in asked
        if query.startswith("SELECT")
        for row in many.connection.execute(f"EXPLAIN QUERY PLAN {query}")
    ]
    assert any(index in plan for plan in plans), plans
    if name.startswith(("the ", "of ")):  # the others are few, and may be sorted
        assert not [plan for plan in plans if "TEMP B-TREE" in plan], plans
    assert not [plan for plan in plans if plan.startswith("SCAN") and "INDEX" not in plan and "word" not in plan], plans


COUNTED = {
    "percentiles by function": lambda s: s.invocations_by(),
    "calls by tool": lambda s: s.calls_by(),
    "service map of a function": lambda s: s.edges(Filter(function="orders", since_ms=AT_MS)),
    "of a source": lambda s: s.totals(Filter(source="run")),
    "of all versions but one": lambda s: s.invocations_by(Filter(version=("1", "2"))),
    "of a tenant": lambda s: s.totals(Filter(tenant="")),
    "what failed": lambda s: s.totals(Filter(failed=True)),
    "what was slow": lambda s: s.invocations_by(Filter(slower_ms=0.001)),
    "calls of a source": lambda s: s.calls_by(Filter(source="run")),
    "calls of a version": lambda s: s.edges(Filter(version="2")),
    "calls of a tenant": lambda s: s.calls_by(Filter(tenant="")),
    "calls of an outcome": lambda s: s.calls_by(Filter(outcome="ok", start=("warm", "cold"))),
}


def test_texts_of_errors_are_looked_for_among_themselves(many):
    """They are one row in fifty; all rows would be looked through for them."""
    asked = []
    many.connection.set_trace_callback(asked.append)
    try:
        many.count(Filter(text="nothing like this"))
    finally:
        many.connection.set_trace_callback(None)
    plans = [row[3] for query in asked for row in many.connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    for index in ("invocation_error", "call_message"):
        assert any(f"USING COVERING INDEX {index} " in plan for plan in plans), plans
    assert not [plan for plan in plans if plan.startswith("SCAN")], plans


@pytest.mark.parametrize("name", COUNTED)
def test_counting_reads_an_index_in_its_order(many, name, monkeypatch):
    """Grouping a million rows would need a sort of a million rows, which is ten times as slow."""
    monkeypatch.setattr(counting, "EXACTLY", 100)
    asked = []
    many.connection.set_trace_callback(asked.append)
    try:
        COUNTED[name](many)
    finally:
        many.connection.set_trace_callback(None)
    grouped = [query for query in asked if "GROUP BY" in query]
    plans = [row[3] for query in grouped for row in many.connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert any("COVERING INDEX" in plan and "_counted" in plan for plan in plans), plans
    assert not [plan for plan in plans if "TEMP B-TREE" in plan], plans


# -- times, as they are written -------------------------------------------------------------------------------------

NOW = AT_MS


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1h", NOW - 3_600_000), ("1h30m", NOW - 5_400_000), ("90 min ago", NOW - 5_400_000), ("1.5s", NOW - 1_500),
     ("now", NOW), ("2026-11-26T09:51:41.158Z", NOW), ("2026-11-26T10:51:41.158+01:00", NOW),
     ("1795686701", 1795686701000),
     ("1795686701158", NOW), ("7d", NOW - 7 * 86_400_000)],
)  # fmt: skip
def test_a_moment_is_understood(text, expected):
    """`--since` would mean another hour."""
    assert moments.moment_ms(text, NOW) == expected


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_a_day_is_the_users_own(monkeypatch, zone):
    """What ended "yesterday" would be London's."""
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        midnight = moments.moment_ms("today", NOW)
        assert time.strftime("%H:%M:%S", time.localtime(midnight / 1_000)) == "00:00:00"
        assert 0 <= NOW - midnight < 86_400_000
        assert 82_800_000 <= midnight - moments.moment_ms("yesterday", NOW) <= 90_000_000
        assert moments.moment_ms("2026-11-26T10:00", NOW) == moments.moment_ms(
            "10:00", moments.moment_ms("2026-11-26T23:00", NOW)
        )
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["", "foo", "1x", "2026-13-01", "-1h", "99999999999d", "1h1", "h"])
def test_what_is_no_moment_is_refused(text):
    """A slip of the finger would be a traceback, or everything."""
    with pytest.raises(ConsoleError) as told:
        moments.moment_ms(text, NOW)
    assert told.value.exit_code == WRONG_USE


@pytest.mark.parametrize("wrong", [{"outcome": "good"}, {"start": "hot"}, {"status": "bad"}])
def test_a_word_that_does_not_exist_is_refused(wrong):
    """A typing error would say that nothing was so."""
    with pytest.raises(ConsoleError, match="is called"):
        Filter(**wrong)
