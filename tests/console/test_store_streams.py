"""Streams of lines in any order, repeated and torn, against a model that has all of them at once."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldspan_console.store import Store
from coldspan_console.store.joining import UNFINISHED
from store_lines import AT_MS, call, invocation, last_words, late, part, platform, span_of, tool

TOOLS = [("dynamodb", "PutItem"), ("sqs", "SendMessage"), ("api", "GET")]
STATUSES = ["ok", "error", "throttled", "rejected"]
CALLS = st.lists(
    st.tuples(st.sampled_from(TOOLS), st.sampled_from(STATUSES)).map(lambda it: (*it[0], it[1])),
    max_size=3,
    unique=True,
)


@st.composite
def requests(draw):
    """The lines of one request, and what is to be found of it: span id -> (outcome, spans of its calls)."""
    request_id = draw(st.sampled_from(["r1", "r2", "r3", "r-é", "r" * 128]))
    lines, model = [], {}
    for attempt in range(draw(st.integers(0, 2))):
        span, at_ms = span_of(request_id, attempt), AT_MS + attempt * 60_000
        outcome = draw(st.sampled_from(["ok", "error", "timeout"]))
        calls = draw(st.none() | CALLS)
        lines.append(invocation(request_id, span=span, at_ms=at_ms, calls=calls, outcome=outcome))
        spans = {one["span_id"] for one in lines[-1].get("calls", ())}
        if draw(st.booleans()):
            lines.append({**lines[-1], "told_by": "next_init", "outcome": "crash", "evidence": ["x"]})
        if draw(st.booleans()):
            lines.append(part(request_id, 1, [("s3", "GetObject", "ok")], span=span))
            spans |= {one["span_id"] for one in lines[-1]["calls"]}
        if draw(st.booleans()):
            lines.append(late(request_id, ("kms", "Decrypt", "error"), span=span, at_ms=at_ms + 70))
            spans |= {one["span_id"] for one in lines[-1]["calls"]}
        if draw(st.booleans()):
            lines.append(platform(request_id, at_ms=at_ms + 5, BilledDuration=attempt + 1))
        if draw(st.booleans()):
            lines.append(tool(request_id, "sqs", "SendMessage", at_ms=at_ms))
        model[request_id, span] = outcome, spans
    if draw(st.booleans()):
        lines.append(last_words(request_id))
        if not model:
            model[request_id, ""] = UNFINISHED, set()
    return lines, model


@st.composite
def streams(draw):
    """Lines as they arrive: cut into some adds, repeated, some torn; and the model of all."""
    chosen = {}
    for lines, model in draw(st.lists(requests(), min_size=1, max_size=3)):
        if lines:
            chosen[lines[0]["request_id"]] = lines, model
    whole = [line for lines, _ in chosen.values() for line in lines]
    arriving = draw(
        st.permutations([*whole, *draw(st.lists(st.sampled_from(whole), max_size=5) if whole else st.just([]))])
    )
    torn = [json.dumps(line)[: draw(st.integers(30, 60))] for line in arriving[: draw(st.integers(0, 2))]]
    as_text = draw(st.booleans())
    given_lines = [json.dumps(line) if as_text else line for line in arriving] + torn
    cuts = sorted(draw(st.lists(st.integers(0, len(given_lines)), max_size=3)))
    pieces = [given_lines[first:last] for first, last in zip([0, *cuts], [*cuts, len(given_lines)], strict=True)]
    return pieces, {key: told for _, model in chosen.values() for key, told in model.items()}, whole, len(torn)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(streams())
def test_any_order_gives_what_all_at_once_gives(tmp_path_factory, stream):
    """What is looked at would depend on which line was quicker."""
    pieces, model, whole, torn = stream
    folder = tmp_path_factory.mktemp("stream")
    with Store.open(folder / "pieces.db") as store, Store.open(folder / "whole.db") as other:
        added = [store.add(piece) for piece in pieces]
        other.add(whole)
        assert sum(each.refused + each.others for each in added) == torn
        assert sum(added) == len({json.dumps(line, sort_keys=True) for line in whole})
        found = {(summary["request_id"], summary["span_id"]): summary for summary in store.find(limit=None)}
        assert {key: summary["outcome"] for key, summary in found.items()} == {
            key: told[0] for key, told in model.items()
        }
        for request_id in {key[0] for key in model}:
            documents = store.get(request_id)
            for document in documents:
                span = document.get("span_id", "")
                calls = [one["span_id"] for one in document.get("calls", ())]
                assert sorted(calls) == sorted(model[request_id, span][1])
            assert _plain(documents) == _plain(other.get(request_id))
        drop = ("id",)
        assert sorted(_rows(store, drop)) == sorted(_rows(other, drop))
        assert sum(group["count"] for group in store.calls_by()) == sum(group["count"] for group in other.calls_by())


def _plain(documents):
    """Without what differs between two stores: last words have the time at which they came."""
    drop = ("store", "_aws") if documents[0].get("told_by") == "last_words" else ("store",)
    return [{name: value for name, value in document.items() if name not in drop} for document in documents]


def _rows(store, drop):
    for summary in store.find(limit=None):
        yield repr({name: value for name, value in summary.items() if name not in (*drop, "time_ms")})


def test_a_call_that_ended_late_takes_the_place_of_the_same_in_flight(tmp_path):
    """One call would be two, one of them never ended."""
    open_call = call("r1", "api", "GET", "in_flight", parent=span_of("r1"))
    ended = {**open_call, "status": "ok", "success": True, "late": True, "request_id": "r1"}
    line = {**late("r1", ("api", "GET", "ok")), "calls": [ended]}
    with Store.open(tmp_path / "s.db") as store:
        store.add([line, {**invocation("r1"), "calls": [open_call]}])
        (document,) = store.get("r1")
        assert [one["status"] for one in document["calls"]] == ["ok"]


def test_calls_that_end_late_go_to_the_attempt_that_began_them(tmp_path):
    """The first attempt's call would be seen in the second."""
    spans = [span_of("r1", 0), span_of("r1", 1)]
    with Store.open(tmp_path / "s.db") as store:
        store.add([late("r1", ("api", "GET", "ok"), span=spans[0], at_ms=AT_MS + 60_001)])
        store.add([invocation("r1", span=span, at_ms=AT_MS + 60_000 * n) for n, span in enumerate(spans)])
        assert [len(document["calls"]) for document in store.get("r1")] == [1, 0]


def test_late_calls_of_two_requests_in_one_line_part(tmp_path):
    """The drain writes late calls of one tool together, whosever they are."""
    both = late("r1", ("api", "GET", "ok"))
    both["calls"] += late("r2", ("api", "GET", "error"))["calls"]
    with Store.open(tmp_path / "s.db") as store:
        store.add([both, invocation("r1"), invocation("r2")])
        assert [document["calls"][0]["status"] for name in ("r1", "r2") for document in store.get(name)] == [
            "ok",
            "error",
        ]


def test_a_memory_warning_joins_all_that_ran(tmp_path):
    """On Managed Instances several invocations share the memory that is short."""
    warning = {"_aws": {"Timestamp": AT_MS}, "function_name": "orders", "MemoryNearLimit": 1, "used_percent": 93.0,
               "memory_mb": 128, "request_ids": ["r1", "r2"]}  # fmt: skip
    with Store.open(tmp_path / "s.db") as store:
        store.add([warning, invocation("r1"), invocation("r2")])
        for name in ("r1", "r2"):
            assert store.get(name)[0]["platform"]["memory_warnings"][0]["used_percent"] == 93.0


def test_what_belongs_to_no_invocation_is_kept_beside(tmp_path):
    """An init that failed has no request, and is what one looks for."""
    failed = {
        "_aws": {"Timestamp": AT_MS},
        "function_name": "orders",
        "InitFailure": 1,
        "platform": True,
        "status": "error",
    }
    with Store.open(tmp_path / "s.db") as store:
        assert store.add([failed]) == 1
        assert (store.find(), store.environment()) == ([], [failed])


def test_an_init_that_failed_is_an_invocation_though_it_has_no_request(tmp_path):
    """Of all failures the one that nobody may overlook; each attempt is one."""
    with Store.open(tmp_path / "s.db") as store:
        for span in ("1911d31351f377ae", "2a79a694abc4c2ba", "1911d31351f377ae"):
            store.add([invocation("", span=span, outcome="init_error")])
        ids = [summary["request_id"] for summary in store.find(limit=None)]
    assert len(ids) == 2
    assert set(ids) == {"init-1911d31351f377ae", "init-2a79a694abc4c2ba"}
