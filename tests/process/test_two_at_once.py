"""Two invocations in one process, on two threads, through the real seam: they never mix, each is sent once."""

import http.client
import json
import sys
import threading
from collections import Counter

import pytest

import coldspan
from coldspan.core.buffer import Buffer
from coldspan.hot import http_client as http_hook
from coldspan.hot import scope as scope_module
from support.runtime_loop import Recorder, Runtime, request
from support.servers import Stub

ROUNDS = 150


@pytest.fixture
def recorder(settings, monkeypatch):
    """A Recorder on the real clocks, with X-Ray."""
    settings.xray_address = "127.0.0.1:2000"
    settings.flush_ns = 10**10
    scope = scope_module.Scope(Buffer(), settings)
    runtimes = [Runtime(monkeypatch), Runtime(monkeypatch)]
    recorder = Recorder(scope)
    scope_module.active = scope
    recorder.hook(http.client, http_hook.install)
    recorder.runtimes = runtimes
    yield recorder
    recorder.stop()
    scope_module.active = None


@pytest.fixture
def eager():
    """The interpreter changes threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run_both(recorder, work, rounds=ROUNDS):
    """Let two runtimes serve at once, each on a thread of its own; `work(name)` is what a handler does."""
    together = threading.Barrier(2)
    problems = []

    def serve(runtime, name):
        def handler(event, context):
            together.wait(20)
            return work(name, context.aws_request_id)

        try:
            for number in range(rounds):
                runtime.invoke(recorder.wrap(handler), request(f"{name}-{number}"))
        except BaseException as error:
            problems.append(error)
            together.abort()

    threads = [
        threading.Thread(target=serve, args=(runtime, name))
        for runtime, name in zip(recorder.runtimes, "ab", strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    recorder.runtimes[0].invoke(recorder.wrap(lambda event, context: 0), request("last"))


def test_two_invocations_at_once_keep_their_calls_apart_promise_4(recorder, eager):
    """Each record holds the calls of its own invocation, in its own tree; each invocation has one record."""

    def work(name, request_id):
        with coldspan.call(name, "outer", request=request_id):
            for _ in range(3):
                with coldspan.call(name, "inner", request=request_id):
                    pass
        return name

    run_both(recorder, work)
    records = {record["request_id"]: record for record in recorder.records}
    assert Counter(record["request_id"] for record in recorder.records).most_common(1)[0][1] == 1
    assert len(records) == 2 * ROUNDS + 1
    for request_id, record in records.items():
        if request_id != "last":
            calls = record["calls"]
            assert {call["attributes"]["request"] for call in calls} == {request_id}
            outer = next(call for call in calls if call["operation"] == "outer")
            parents = {call["parent_id"] for call in calls if call["operation"] == "inner"}
            assert parents == {outer["span_id"]}
            assert len(calls) == 4
    for runtime, name in zip(recorder.runtimes, "ab", strict=True):
        posted = [(kind, body) for kind, request_id, body in runtime.posted if request_id != "last"]
        assert posted == [("response", json.dumps(name))] * ROUNDS


def test_two_drains_at_once_send_every_line_once_promise_4(recorder, eager):
    """What one thread's drain is sending, the other's does not send again, and nothing falls between the two."""
    run_both(recorder, lambda name, request_id: coldspan.call(name, "x").__enter__().__exit__(None, None, None))
    told = Counter(
        (line["request_id"], line.get("tool")) for line in recorder.lines if "request_id" in line and "tool" not in line
    )
    assert set(told.values()) == {1}
    assert len(told) == 2 * ROUNDS + 1
    documents = [json.loads(datagram.split(b"\n", 1)[1]) for datagram in recorder.datagrams]
    segments = Counter(document["id"] for document in documents)
    assert set(segments.values()) == {1}
    assert recorder.drain.pending == []
    assert recorder.scope.buffer.waiting == []


def test_http_calls_on_two_threads_keep_to_their_invocations_promise_4(recorder, eager):
    """Connections and bodies are told apart by their objects, not by when they are used."""
    with Stub() as stub:
        host = stub.url.removeprefix("http://")

        def work(name, request_id):
            for _ in range(3):
                connection = http.client.HTTPConnection(host, timeout=10)
                connection.request("GET", f"/{name}")
                with connection.getresponse() as response:
                    response.read()
                connection.close()
            return name

        run_both(recorder, work, rounds=30)
    records = [record for record in recorder.records if record["request_id"] != "last"]
    assert {record["Calls"] for record in records} == {3}
    assert {record["calls_open"] for record in records} == {0}


def test_a_call_that_ends_on_the_other_thread_goes_to_the_invocation_it_began_in(recorder):
    """The owner is known to the call, not guessed from the thread that ends it."""
    kept = {}
    begun, ended = threading.Event(), threading.Event()

    def begins(event, context):
        kept["call"] = coldspan.call("handed", "over")
        kept["call"].__enter__()
        begun.set()
        assert ended.wait(20)

    def ends(event, context):
        assert begun.wait(20)
        kept["call"].__exit__(None, None, None)
        ended.set()

    first, second = recorder.runtimes
    thread = threading.Thread(target=first.invoke, args=(recorder.wrap(begins), request("a")))
    thread.start()
    second.invoke(recorder.wrap(ends), request("b"))
    thread.join(20)
    first.invoke(recorder.wrap(lambda event, context: 0), request("last"))
    calls = {record["request_id"]: [call["tool"] for call in record["calls"]] for record in recorder.records}
    assert calls == {"a": ["handed"], "b": [], "last": []}
