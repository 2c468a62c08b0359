"""POST response, then the drain, then GET next: by what the other side of the socket saw."""

import json
import signal
import time

import pytest

from coldspan_console.platform import Answer, Invocation
from coldspan_console.platform.output import is_document
from coldspan_console.platform.server import REQUEST
from support import runtimes
from support.own_runtime import OWN_RUNTIME
from support.running import call_documents, invocation_documents, steps
from support.servers import Stub

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.fixture(scope="module")
def stub():
    """What the handlers call."""
    with Stub() as server:
        yield server


def event(**fields):
    """An event as bytes."""
    return json.dumps(fields).encode()


def drained(platform, invocation):
    """The ledger's entries that tell of an invocation: its documents and datagrams."""
    found = []
    for entry in platform.ledger.entries("stdout", "datagram"):
        if entry.kind == "datagram":
            told = json.loads(entry.item.partition(b"\n")[2])["metadata"]["coldspan"]["request_id"]
        else:
            told = json.loads(entry.item).get("request_id") if is_document(entry.item) else None
        if told == invocation.request_id:
            found.append(entry)
    return found


def next_after(platform, order):
    """The first request for the next event that arrived after an entry."""
    return next(
        entry
        for entry in platform.ledger.entries(REQUEST)
        if entry.order > order and entry.item.path.endswith("/invocation/next")
    )


def assert_order(platform, invocation):
    """Arrival of the post, its answer, everything drained, arrival of the request for the next event."""
    posted, answered = invocation.posted.arrived, invocation.posted.answered
    told = drained(platform, invocation)
    following = next_after(platform, posted.order)
    assert {entry.kind for entry in told} == {"stdout", "datagram"}
    orders = [posted.order, answered.order, *(entry.order for entry in told), following.order]
    assert orders == sorted(orders)
    stamps = [posted.at_ns, answered.at_ns, *(entry.at_ns for entry in told), following.at_ns]
    assert stamps == sorted(stamps)


# --- the order ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("python", "version"), runtimes.pairs())
def test_every_runtime_client_posts_then_drains_then_asks_promise_3(start, layers, stub, python, version):
    """On every released runtime client the response has been taken before anything of ours is written."""
    interpreter = runtimes.interpreters()[python]
    where = {"python": interpreter, "layer": layers(interpreter), "runtime": runtimes.runtime(python, version)}
    platform = start("calls.handler", **where)
    done = [
        platform.invoke(event(url=stub.url, calls=2), trace_id=TRACE),
        platform.invoke(event(url=stub.url, end="raise"), trace_id=TRACE),
        platform.invoke(event(url=stub.url, end="unserialisable"), trace_id=TRACE),
        platform.invoke(b"{not json", trace_id=TRACE),
        platform.invoke(event(url=stub.url, calls=0), trace_id=TRACE),
    ]
    for invocation in done:
        assert_order(platform, invocation)
    documents = invocation_documents(platform)
    assert [document["request_id"] for document in documents] == [invocation.request_id for invocation in done]
    assert {document["flush"] for document in documents} == {"after_response"}
    assert [document["outcome"] for document in documents] == ["ok", "error", "unserialisable", "error", "ok"]
    assert [document["Calls"] for document in documents] == [2, 1, 1, 0, 0]


def test_nothing_is_written_while_the_response_is_on_its_way_promise_3(start):
    """As long as the platform has not taken the response, the drain has not begun."""
    platform = start()
    answer = Answer()
    with answer.held() as release:
        invocation = platform.submit(Invocation(answer=answer, trace_id=TRACE))
        platform.wait_until(lambda: invocation.posted is not None)
        assert drained(platform, invocation) == []
        release()
    platform.wait_idle()
    assert_order(platform, invocation)


def test_a_blocked_stdout_does_not_hold_the_response_back_promise_3(start):
    """A drain that cannot write blocks the next event, as the customer's own print would; never this response."""
    platform = start("output.fills")
    platform.wait_idle()
    platform.ledger.pause(platform.stdout)
    invocation = platform.submit(event(room=300))
    platform.wait_until(lambda: invocation.posted is not None and invocation.posted.answered is not None)
    asked = platform.api.asked_count
    assert steps(platform)[-1] in {"accepted", "datagram"}
    platform.ledger.resume(platform.stdout)
    platform.wait_idle()
    assert platform.api.asked_count == asked + 1
    assert [document["request_id"] for document in invocation_documents(platform)] == [invocation.request_id]


def test_the_duration_is_what_the_platform_saw(start, stub):
    """An invocation lasts from the event to the answer to its response: not longer than the platform saw it last."""
    platform = start("calls.handler")
    for _ in range(3):
        invocation = platform.invoke(event(url=stub.url))
        seen_ms = (next_after(platform, invocation.posted.arrived.order).at_ns - invocation.given.answered.at_ns) / 1e6
        document = invocation_documents(platform)[-1]
        assert 0 < document["CallTime"] <= document["handler_ms"] <= document["Duration"] <= seen_ms
        assert document["ResponseBytes"] == len(invocation.posted.body)


# --- ends without a post ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("end", "code", "kind"), [("exit", 3, "SystemExit"), ("interrupt", -2, "KeyboardInterrupt")])
def test_what_ends_the_process_is_drained_before_it_does_promise_3(start, stub, end, code, kind):
    """SystemExit and its like never post: the record leaves before they leave the handler."""
    platform = start("calls.handler")
    platform.invoke(event(url=stub.url, end=end), trace_id=TRACE)
    assert platform.wait_exit() == code
    (document,) = invocation_documents(platform)
    assert (document["outcome"], document["error_type"], document["flush"]) == ("error", kind, "before_response")
    assert document["Calls"] == 1
    assert len(platform.segments) == 1
    assert not platform.posts


def test_an_init_error_is_posted_then_drained_promise_3(start):
    """A function that cannot start says so to the platform first, and leaves one record."""
    platform = start("broken_value.handler")
    assert platform.wait_exit() == 1
    words = [word for word in steps(platform) if word != "line"]
    assert words[:3] == ["init error", "accepted", "document"]
    (document,) = invocation_documents(platform)
    assert (document["outcome"], document["error_type"]) == ("init_error", "ValueError")
    assert (document["Error"], document["ColdStart"]) == (1, 1)
    assert (document["Calls"], document["init"]["calls"]) == (0, [])  # the post itself is the runtime's, not a call


def test_a_runtime_of_somebodys_own_is_drained_at_the_end_of_the_handler(start, task_with_package):
    """Where the runtime client is not there to watch, the record says that it left before the response."""
    platform = start("by_hand.handler", runtime=OWN_RUNTIME, task=task_with_package, layer=None)
    invocation = platform.invoke()
    words = steps(platform)
    assert words.index("document") < words.index("response")
    (document,) = invocation_documents(platform)
    assert (document["flush"], document["request_id"]) == ("before_response", invocation.request_id)
    assert document["Calls"] == 0  # the runtime's own requests are not calls of the function


# --- deadlines, freezes, buffers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("left_ms", [15, 0])
def test_near_the_deadline_no_drain_starts_and_the_next_one_sends_both_promise_3(start, left_ms):
    """A drain that overran the deadline would turn a success into a timeout: the record waits for the next one."""
    platform = start("output.until")
    near = platform.invoke(event(left_ms=left_ms), deadline_ms=300)
    assert drained(platform, near) == []
    far = platform.invoke()
    told = [document["request_id"] for document in invocation_documents(platform)]
    assert sorted(told) == sorted([near.request_id, far.request_id])


def test_records_that_wait_too_long_are_counted_promise_4(start):
    """Thirty invocations with no time for a drain: the newest are kept, the others are counted in the next record."""
    platform = start("output.until", loses=("invocations_buffer_full",))
    for _ in range(30):
        platform.invoke(event(left_ms=15), deadline_ms=100)
    assert platform.documents == []
    platform.invoke()
    documents = invocation_documents(platform)
    lost = sum(document.get("dropped", {}).get("invocations_buffer_full", 0) for document in documents)
    assert len(documents) + lost == 31
    assert lost > 0
    assert sum(document.get("Dropped", 0) for document in documents) == lost


def test_a_freeze_between_two_invocations_is_in_no_duration(start):
    """The environment is stopped while it waits for an event; what passed then belongs to nobody."""
    platform = start()
    platform.invoke()
    process = platform.sandbox.process
    process.send_signal(signal.SIGSTOP)
    invocation = platform.submit()  # its event lies in the frozen process's socket
    platform.wait_until(lambda: invocation.given is not None and invocation.given.answered is not None)
    platform.api.wait_until(lambda: False, 0.3)
    process.send_signal(signal.SIGCONT)
    platform.wait_idle()
    document = invocation_documents(platform)[-1]
    assert document["request_id"] == invocation.request_id
    assert document["Duration"] < 200


@pytest.mark.parametrize("name", ["replaces", "clocks", "environment", "partial_line", "forks", "forks_and_exits"])
def test_what_a_handler_does_to_its_process_does_not_reach_the_record_promise_2(start, name):
    """Another sys.stdout, stopped clocks, no variables, a forked child: the record is the same, and there is one."""
    platform = start(f"output.{name}")
    done = [platform.invoke(trace_id=TRACE), platform.invoke(trace_id=TRACE)]
    text = b"".join(entry.item for entry in platform.ledger.entries("stdout"))
    assert text.count(b'"request_id"') == 2
    for invocation in done:
        assert text.count(invocation.request_id.encode()) == 1
        assert invocation.posted is not None
    for document in invocation_documents(platform):
        assert 0 <= document["Duration"] < 5_000
        assert abs(document["_aws"]["Timestamp"] - time.time_ns() / 1e6) < 60_000


def test_a_closed_stdout_costs_the_record_and_nothing_else_promise_2(start):
    """The function goes on; what could not be written is not raised."""
    platform = start("output.closes")
    first, second = platform.invoke(), platform.invoke()
    assert (first.posted.body, second.posted.body) == (b'"closed"', b'"closed"')
    assert platform.exit_code is None
    assert platform.documents == []


def test_a_non_blocking_stdout_that_is_full_keeps_the_record_for_later_promise_4(start):
    """Event loops make stdout non-blocking: a drain that gets EAGAIN gives way, and nothing is lost."""
    platform = start("output.fills_without_waiting")
    platform.wait_idle()
    platform.ledger.pause(platform.stdout)
    full = platform.invoke(event(room=300))
    platform.ledger.resume(platform.stdout)
    after = platform.invoke(event(room=60_000))
    told = [document["request_id"] for document in invocation_documents(platform)]
    assert sorted(told) == sorted([full.request_id, after.request_id])


def test_a_drain_over_its_budget_ends_and_the_rest_goes_with_the_next_promise_3(start, stub):
    """The line that is being written is finished, however long stdout takes; what is left holds up nothing."""
    platform = start("calls.after_filling", environment={"COLDSPAN_FLUSH_MS": "700"})
    platform.wait_idle()
    platform.ledger.pause(platform.stdout)
    slow = platform.submit(event(url=stub.url, room=300))
    platform.wait_until(lambda: slow.posted is not None and slow.posted.answered is not None)
    platform.api.wait_until(lambda: False, 1.0)  # time that passes, which is what is tested
    platform.ledger.resume(platform.stdout)
    platform.wait_idle()
    assert [document["request_id"] for document in invocation_documents(platform)] == [slow.request_id]
    assert call_documents(platform) == []
    quick = platform.invoke(event(url=stub.url))
    told = [document["request_id"] for document in invocation_documents(platform)]
    assert told == [slow.request_id, quick.request_id]
    assert len(call_documents(platform)) == 2


def test_one_long_drain_does_not_silence_the_environment_promise_4(start):
    """A stdout that stood still for more than half of the function's timeout delays records; it does not end them."""
    platform = start("output.fills")
    platform.wait_idle()
    platform.ledger.pause(platform.stdout)
    held_up = platform.submit(event(room=300), deadline_ms=3_000)
    platform.wait_until(lambda: held_up.posted is not None and held_up.posted.answered is not None)
    platform.api.wait_until(lambda: False, 1.7)  # time that passes, which is what is tested
    platform.ledger.resume(platform.stdout)
    done = [held_up, *(platform.invoke(event(room=60_000), deadline_ms=3_000) for _ in range(4))]
    told = [document["request_id"] for document in invocation_documents(platform)]
    assert sorted(told) == sorted(invocation.request_id for invocation in done)


def test_a_budget_of_nothing_leaves_the_function_as_it_is_promise_3(start):
    """COLDSPAN_FLUSH_MS=0 allows no line at all: every event is answered, and nothing waits."""
    platform = start(environment={"COLDSPAN_FLUSH_MS": "0"})
    done = [platform.invoke() for _ in range(5)]
    assert [json.loads(invocation.posted.body)["count"] for invocation in done] == [1, 2, 3, 4, 5]
    assert platform.documents == []


# --- destinations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "trace"),
    [
        ({}, None),
        ({}, TRACE.replace("Sampled=1", "Sampled=0")),
        ({}, TRACE.replace("Sampled=1", "Sampled=?")),
        ({}, TRACE.partition(";Sampled")[0]),
        ({}, "nonsense"),
        ({"COLDSPAN_XRAY": "off"}, TRACE),
        ({"AWS_SAM_LOCAL": "true", "COLDSPAN_LOCAL": "emf"}, TRACE),
        ({"AWS_XRAY_DAEMON_ADDRESS": ""}, TRACE),
        ({"AWS_XRAY_DAEMON_ADDRESS": "nonsense"}, TRACE),
        ({"AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:1"}, TRACE),
        ({"AWS_XRAY_DAEMON_ADDRESS": "999.1.1.1:2000"}, TRACE),
    ],
)
def test_without_a_sampled_trace_or_a_daemon_no_datagram_leaves_quietly(start, environment, trace):
    """What cannot be traced is still recorded, and nobody is told of a trouble that is none."""
    platform = start(environment=environment, loses=("xray_send_failed",))
    platform.invoke(trace_id=trace)
    platform.invoke(trace_id=trace)
    assert platform.segments == []
    assert len(invocation_documents(platform)) == 2


def test_a_segment_hangs_under_the_parent_of_the_trace_header(start, stub):
    """The tree in X-Ray: the function's segment, under it our invocation, under it its calls."""
    platform = start("calls.handler")
    platform.invoke(event(url=stub.url, calls=2), trace_id=TRACE)
    (segment,) = platform.segments
    assert (segment["parent_id"], segment["trace_id"]) == ("53995c3f42cd8ad8", "1-5759e988-bd862e3fe1be46a994272793")
    assert len(segment["subsegments"]) == 2


@pytest.mark.parametrize("level", ["INFO", "WARN", "ERROR"])
def test_json_logs_keep_the_documents_at_every_level(start, level):
    """With JSON logs Lambda drops lines below the level: a document carries what is asked of it."""
    platform = start(environment={"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": level})
    platform.invoke()
    (document,) = invocation_documents(platform)
    assert ("level" in document, "timestamp" in document) == ((level != "INFO"),) * 2
