"""The built layer on the real runtime interface emulator, in both of its modes, with the real runtime client."""

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from coldspan_console.platform import datagrams
from coldspan_console.platform.function import Function
from coldspan_console.platform.sandbox import MOUNTED, unshare_command
from support import readable
from support.emulating import Running, body_of, emulator_missing
from support.http_server import HttpServer, answer

HANDLERS = Path(__file__).parent / "handlers"
ROOT = f"1-{time.time_ns() // 10**9:08x}-bd862e3fe1be46a994272793"  # begun now, as X-Ray's are
TRACE = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=1"
WORKERS = 2


pytestmark = pytest.mark.skipif(emulator_missing() is not None, reason=f"no emulator: {emulator_missing()}")

needs_mounts = pytest.mark.skipif(
    unshare_command() is None or os.geteuid() != 0,
    reason="the emulator's Managed Instances mode looks in /var/runtime and changes its user: it needs root and mounts",
)


@pytest.fixture(scope="module")
def stub():
    """What the functions call."""
    with HttpServer() as server:
        server.script = {"/ok": answer(200), "/gone": answer(404), "/broken": answer(500)}
        yield server


@pytest.fixture
def start(layer):
    """Start a function on the emulator: `start("emulated.handler", timeout_s=2, **fields of Function)`."""
    running = []

    def starter(handler="emulated.handler", *, timeout_s=10, environment=(), **fields):
        variables = {"COLDSPAN_FLUSH_MS": "10000", **dict(environment)}
        fields = {"task": HANDLERS, "layer": layer, "memory_mb": 512, **fields}
        running.append(Running.start(Function(handler=handler, environment=variables, **fields), timeout_s))
        return running[-1]

    yield starter
    for one in running:
        one.close()
    assert [lost for one in running for lost in one.losses()] == []


# --- on demand ----------------------------------------------------------------------------------------------------


def test_on_demand_the_first_invocation_is_cold_and_the_next_are_warm(start):
    """Cold start, init and import tree belong to the first record alone."""
    function = start()
    (cold,) = function.invoke()[2]
    (warm,) = function.invoke()[2]
    assert (cold["start"], cold["ColdStart"]) == ("cold", 1)
    assert (warm["start"], warm["ColdStart"]) == ("warm", 0)
    assert 0 < cold["InitDuration"] < 20_000
    assert "emulated" in {package for package, *_ in cold["init"]["packages"]}
    assert "InitDuration" not in warm
    assert "init" not in warm


def test_on_demand_the_layer_is_where_lambda_mounts_it(start):
    """What is tested is the built artefact at /opt, read-only, found by its .pth file alone."""
    function = start()
    if function.emulator.mounting != MOUNTED:
        pytest.skip("no mount namespaces here: the layer's folder is named by a variable")
    (cold,) = function.invoke()[2]
    assert cold["init"]["split"]["layer"] > 0
    assert (cold["flush"], cold["outcome"]) == ("after_response", "ok")


def test_on_demand_calls_are_told_with_how_they_ended(start, stub):
    """The record's heart, on the real runtime."""
    function = start()
    url = stub.url("", host="localhost").rstrip("/")
    status, body, (record,) = function.invoke(do="calls", url=url, paths=["/ok", "/gone", "/broken"])
    assert (status, body["statuses"]) == (200, [200, 404, 500])
    told = [(call["tool"], call["operation"], call["status"]) for call in record["calls"]]
    assert told == [("localhost", "GET", "ok"), ("localhost", "GET", "rejected"), ("localhost", "GET", "error")]
    assert (record["Calls"], record["CallFailures"]) == (3, 1)
    assert 0 < record["CallTime"] <= record["Duration"]


@pytest.mark.parametrize(
    ("do", "status", "kind", "outcome", "flush", "then"),
    [
        ("raise", 200, "ValueError", "error", "after_response", "warm"),
        ("object", 200, "Runtime.MarshalError", "unserialisable", "after_response", "warm"),
        ("exit", 502, "Runtime.ExitError", "error", "before_response", "cold"),
        ("large", 502, "Function.ResponseSizeTooLarge", "too_large", "after_response", "cold"),
    ],
)
def test_on_demand_a_failure_is_answered_as_ever_promise_1(start, do, status, kind, outcome, flush, then):
    """What the caller gets is the runtime's own; the record tells what it was, and whether the environment lived on."""
    layered, bare = start(), start(layer=None)
    assert layered.invoke()[2][0]["start"] == "cold"
    bare.emulator.invoke()
    answered, body, (record,) = layered.invoke(do=do)
    without = bare.emulator.invoke(json.dumps({"do": do}).encode())
    assert (answered, body["errorType"]) == (without.status, body_of(without)["errorType"]) == (status, kind)
    assert body.get("stackTrace") == body_of(without).get("stackTrace")
    assert (record["outcome"], record["flush"], record["start"], record["Error"]) == (outcome, flush, "warm", 1)
    assert layered.invoke()[2][0]["start"] == then
    assert "coldspan/" not in layered.emulator.text


def test_on_demand_an_import_error_leaves_one_record_for_each_init_promise_1(start):
    """The emulator tries the init again for every invocation; the caller gets the runtime's own error."""
    layered, bare = start("library_missing.handler"), start("library_missing.handler", layer=None)
    without = bare.emulator.invoke()
    for _ in range(2):
        status, body, (record,) = layered.invoke()
        assert (status, body) == (without.status, body_of(without))
        assert body["errorType"] == "Runtime.ImportModuleError"
        assert (record["outcome"], record["error_type"]) == ("init_error", "Runtime.ImportModuleError")
        assert (record["ColdStart"], record["Error"]) == (1, 1)
    assert len(layered.records()) == 2


def test_on_demand_a_timeout_ends_as_ever_and_the_next_environment_starts_cold(start):
    """What the caller gets is the runtime's own; the killed invocation is told by the next init (test_kills.py)."""
    function = start(timeout_s=1)
    function.invoke()
    answered = function.emulator.invoke(b'{"do": "hang"}')
    assert (answered.status, answered.body) == (200, b"Task timed out after 1.00 seconds")
    function.ask()
    records = {record["outcome"]: record["start"] for record in function.new_records(2)}
    assert records == {"timeout": "warm", "ok": "cold"}


def test_on_demand_off_means_off_promise_7(start, stub):
    """With COLDSPAN_ENABLED=false the same function prints no record and answers the same."""
    function = start(environment={"COLDSPAN_ENABLED": "false"})
    answered = function.ask(do="calls", url=stub.url("").rstrip("/"), paths=["/ok"])
    assert body_of(answered)["statuses"] == [200]
    assert function.emulator.wait_for(lambda lines: any(line.text.startswith(b"REPORT ") for line in lines), 5)
    assert "_aws" not in function.emulator.text


def test_on_demand_the_exec_wrapper_is_a_second_way_in(start):
    """A function with a PYTHONPATH of its own skips the .pth file; AWS_LAMBDA_EXEC_WRAPPER=/opt/coldspan does not."""
    variables = {"PYTHONPATH": "/var/task", "AWS_LAMBDA_EXEC_WRAPPER": "/opt/coldspan"}
    function = start(environment=variables)
    if function.emulator.mounting != MOUNTED:
        pytest.skip("no mount namespaces here: there is no /opt/coldspan")
    assert [record["start"] for record in (*function.invoke()[2], *function.invoke()[2])] == ["cold", "warm"]


# --- Managed Instances ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def managed_fields(tmp_path_factory):
    """An interpreter and a runtime that the emulator's own user can read."""
    folder = tmp_path_factory.mktemp("managed")
    python, variables = readable.interpreter(folder / "lang")
    return {
        "python": python,
        "runtime": readable.runtime(folder / "runtime"),
        "init_type": "lambda-managed-instances",
        "max_concurrency": WORKERS,
    }, variables


@pytest.fixture
def managed(start, managed_fields):
    """Start a function on the emulator as a Managed Instance with WORKERS workers."""
    fields, variables = managed_fields

    def starter(handler="emulated.handler", *, environment=(), **more):
        return start(handler, environment={**variables, **dict(environment)}, **{**fields, **more})

    return starter


def together(function, url):
    """Invoke as many at once as there are workers: the stub answers none of their calls before it has had all."""
    answers = []
    event = {"do": "calls", "url": url, "paths": ["/meet"]}
    threads = [threading.Thread(target=lambda: answers.append(function.ask(TRACE, **event))) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return answers


@pytest.fixture
def meeting(stub):
    """The address of a stub whose /meet answers when all workers have asked, or with 504 when they do not come."""
    barrier = threading.Barrier(WORKERS, timeout=20)

    def meet(exchange):
        try:
            barrier.wait()
        except threading.BrokenBarrierError:
            return answer(504)(exchange)
        return answer(200)(exchange)

    stub.script["/meet"] = meet
    return stub.url("", host="localhost").rstrip("/")


@needs_mounts
def test_managed_workers_count_each_its_own_cold_start(managed, meeting):
    """A worker is a process: two workers, two cold starts, then warm ones, and no record for another's invocation."""
    function = managed()
    first = together(function, meeting)
    cold = function.new_records(WORKERS)
    second = together(function, meeting)
    warm = function.new_records(WORKERS)
    assert [found.status for found in first + second] == [200] * 2 * WORKERS, function.emulator.text
    assert len({body_of(found)["pid"] for found in first}) == WORKERS
    assert [record["start"] for record in cold] == ["cold"] * WORKERS
    assert [record["start"] for record in warm] == ["warm"] * WORKERS
    assert [record["Calls"] for record in cold + warm] == [1] * 2 * WORKERS
    assert len({record["request_id"] for record in cold + warm}) == 2 * WORKERS


@needs_mounts
def test_managed_invocations_are_sent_to_the_daemon_under_the_trace_they_came_with(managed, meeting):
    """The emulator passes the trace header on in this mode only: the tree hangs under its parent, calls and all."""
    daemon = datagrams.Daemon()
    try:
        function = managed(environment={"AWS_XRAY_DAEMON_ADDRESS": daemon.address})
        together(function, meeting)
        function.new_records(WORKERS)
        sent, until = [], time.monotonic() + 5
        while len(sent) < WORKERS and time.monotonic() < until:
            sent += datagrams.segments(list(daemon.pump()))
    finally:
        daemon.close()
    assert len(sent) == WORKERS
    for segment in sent:
        assert segment["trace_id"] == ROOT
        assert segment["parent_id"] == "53995c3f42cd8ad8"
        assert [call["name"] for call in segment["subsegments"]] == ["localhost"]
    assert len({segment["id"] for segment in sent}) == WORKERS


@needs_mounts
def test_managed_the_client_has_its_answer_while_the_drain_is_still_writing_promise_3(managed, meeting):
    """A drain that cannot get its lines out holds the next event back, never the answer: by the client's own clock."""
    # without the calls' records: this mode's log reader gives up at a line of 64 KB
    function = managed(environment={"COLDSPAN_DETAIL": "0", "COLDSPAN_FLUSH_MS": "10000", "GATED": "1"})
    together(function, meeting)  # what a cold start tells is always in full
    function.new_records(WORKERS)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answered = function.ask(TRACE, do="hold back", port=listener.getsockname()[1])
        released_ns = time.time_ns()
        held, _ = listener.accept()
        with held:
            held.send(b"x")
    assert answered.status == 200
    (record,) = function.new_records()
    assert (record["Calls"], record["flush"]) == (990, "after_response")
    own = record["request_id"].encode()
    written = [line.read_ns for line in function.emulator.lines if b'{"_aws"' in line.text and own in line.text]
    assert answered.answered_ns < released_ns < min(written)


@needs_mounts
def test_managed_failures_are_told_and_the_workers_live_on(managed):
    """An error, a result that cannot be written and one that is too large: the last is swallowed by the client."""
    function = managed()
    told = [(do, function.invoke(TRACE, do=do)[2][0]) for do in ("raise", "object", "large", "")]
    outcomes = {do: record["outcome"] for do, record in told}
    assert outcomes == {"raise": "error", "object": "unserialisable", "large": "too_large", "": "ok"}
    assert {record["flush"] for _, record in told} == {"after_response"}
