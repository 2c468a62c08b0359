"""Invocations that are killed, on the real emulator: each is told once, as it was, with the layer alone and with both.

What kills them: the function's timeout in five places, the process itself, a signal, the memory limit, the response.
"""

import contextlib
import os
import re
import signal
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from coldspan_console.demo import Moto
from coldspan_console.platform.function import Function
from coldspan_console.platform.sandbox import unshare_command
from support import cgroup, readable
from support.emulating import Running, body_of, emulator_missing
from support.http_server import HttpServer, answer

ROOT = (
    f"1-{time.time_ns() // 10**9:08x}-bd862e3fe1be46a994272793"  # begun now: the emulator's deadline is 115 days away
)
TRACE = f"Root={ROOT};Parent=53995c3f42cd8ad8;Sampled=0"
HANDLERS = Path(__file__).parent / "handlers"
TIMEOUT_S = 3
WORKERS = 2
AT_WORK = re.compile(rb"at work: (\S+) (\d+)")
READ = ("ledger", "read", "ok")
WRITE = ("ledger", "write", "in_flight")

pytestmark = [
    pytest.mark.skipif(emulator_missing() is not None, reason=f"no emulator: {emulator_missing()}"),
    pytest.mark.skipif(unshare_command() is None, reason="without mount namespaces the function's /tmp is not its own"),
]


@pytest.fixture(params=["recorder", "both"])
def layers(request, layer):
    """The recorder alone, or with the black box."""
    more = (request.getfixturevalue("black_box"),) if request.param == "both" else ()
    return {"layer": layer, "more_layers": more}


@pytest.fixture
def start(layers):
    """Start the function on the emulator: `start(memory_mb=..., environment=...)`."""
    running = []

    def starter(*, environment=(), timeout_s=TIMEOUT_S, **fields):
        variables = {"COLDSPAN_FLUSH_MS": "10000", **dict(environment)}
        fields = {"task": HANDLERS, "handler": "kills.handler", "memory_mb": 512, **layers, **fields}
        running.append(Killed.start(Function(environment=variables, **fields), timeout_s))
        return running[-1]

    yield starter
    for one in running:
        one.close()
    assert [lost for one in running for lost in one.losses()] == []


class Killed(Running):
    """A function of which an invocation is killed."""

    @property
    def has_extension(self):
        """Whether the black box is attached."""
        return bool(self.emulator.function.more_layers)

    def at_work(self, before=0):
        """Wait until an invocation has said that it is at work; (request id, pid)."""
        assert self.emulator.wait_for(lambda _: len(self.seen_at_work()) > before, 15), self.emulator.text
        return self.seen_at_work()[-1]

    def waiting(self):
        """Wait until an invocation has said that its last call is open; (request id, pid)."""
        assert self.emulator.wait_for(lambda lines: any(b"waiting" in line.text for line in lines), 15)
        return self.at_work()

    def seen_at_work(self):
        """(request id, pid) of all that have said so."""
        found = [AT_WORK.search(line.text) for line in self.emulator.lines]
        return [(match[1].decode(), int(match[2])) for match in found if match]

    def ask_after_reset(self):
        """Invoke anew. The emulator at times refuses the first one after a reset and starts nothing for it."""
        answered = self.ask()
        return self.ask() if answered.status == 502 and "ErrGateCanceled" in self.emulator.text else answered

    def the_record(self, request_id):
        """The one record of an invocation; with the black box it is there before anything else is asked for."""

        def of_it():
            return [record for record in self.records() if record["request_id"] == request_id]

        if self.has_extension:
            assert self.emulator.wait_for(lambda _: of_it(), 10), self.emulator.text
        answered, again = self.ask_after_reset(), self.ask()
        assert (answered.status, again.status) == (200, 200), self.emulator.text
        assert self.emulator.wait_for(lambda _: len(self.records()) >= 4, 10), self.emulator.text
        after = [record for record in self.records() if record["request_id"] != request_id][-2:]
        assert [(record["start"], record["outcome"]) for record in after] == [("cold", "ok"), ("warm", "ok")]
        assert len(self.records()) == 4, self.emulator.text  # the first, this one, and the two after it
        (record,) = of_it()
        return record


def told_calls(record):
    """(tool, operation, status) of each call."""
    return [(call["tool"], call["operation"], call["status"]) for call in record["calls"]]


def told_by(function, record):
    """Whoever is there first: the black box at once, or the next init."""
    assert (record.get("told_by") == "black_box") == function.has_extension


def metrics(record):
    """Values of the metrics that count."""
    return {name: record[name] for name in ("Error", "Timeout", "Calls")}


def near(record, when_ns, within_ms=1_000):
    """Whether the record has the time of the kill: CloudWatch puts it there."""
    return abs(record["_aws"]["Timestamp"] - when_ns / 1e6) <= within_ms


def frames(record):
    """All frames of all stacks."""
    return [frame for stack in record["stacks"] for frame in stack["frames"]]


# --- timeouts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("do", "frame"), [("sleep", "sleep"), ("late_regex", "regex"), ("loop", "loop")])
def test_a_timeout_is_told_with_what_was_open_and_where_the_code_was(start, do, frame):
    """In a call of the system's, in C code that holds the GIL, in an event loop: the stack names the function."""
    function = start()
    function.invoke()
    answered = function.ask(do=do, after_s=1.5)
    assert (answered.status, answered.body) == (200, b"Task timed out after %d.00 seconds" % TIMEOUT_S)
    request_id, pid = function.at_work()
    record = function.the_record(request_id)
    assert (record["outcome"], record["error_type"]) == ("timeout", "Sandbox.Timedout")
    assert told_calls(record) == [READ, WRITE]
    is_timed_out(record, answered)
    assert any(re.search(rf"kills\.py:\d+ {frame}$", text) for text in frames(record)), record["stacks"]
    assert (record["start"], record["pid"]) == ("warm", pid)
    told_by(function, record)


def test_a_timeout_in_c_code_from_the_first_moment_on_is_told_without_a_stack(start):
    """The GIL is never given up, so nothing of ours could run: the journal alone tells, and the platform's word."""
    function = start()
    function.invoke()
    answered = function.ask(do="regex")
    request_id, _ = function.at_work()
    record = function.the_record(request_id)
    assert told_calls(record) == [READ, WRITE]
    if function.has_extension:
        assert (record["outcome"], record["error_type"]) == ("timeout", "Sandbox.Timedout")
        is_timed_out(record, answered)
    else:  # it might as well have crashed there, and the next init have come later
        assert record["outcome"] in {"timeout", "crash"}
    told_by(function, record)


def is_timed_out(record, answered):
    """Figures of a timeout: metrics, the time of the kill, how long it ran and since when its last call was open."""
    assert metrics(record) == {"Error": 1, "Timeout": 1, "Calls": 2}
    assert near(record, answered.sent_ns + TIMEOUT_S * 10**9)
    assert abs(record["Duration"] - TIMEOUT_S * 1_000) < 500
    open_call = record["calls"][-1]
    assert answered.sent_ns / 1e6 - 1 <= open_call["timestamp"] <= answered.sent_ns / 1e6 + 2_000
    assert 0 < record["Duration"] - open_call["duration_ms"] < 2_000


@pytest.fixture(scope="module")
def slow_dynamodb():
    """The DynamoDB of moto with a table, behind a proxy that passes on what is written and never answers a GetItem."""
    with Moto() as moto, HttpServer() as proxy:

        def pass_on(exchange):
            request = exchange.request
            headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
            if headers.get("x-amz-target", headers.get("X-Amz-Target", "")).endswith(".GetItem"):
                exchange.server.release.wait()
                return None
            passed = urllib.request.Request(moto.url, request.body, headers)
            with urllib.request.urlopen(passed, timeout=10) as answered:
                body = answered.read()
            return answer(200, body, content_type="application/x-amz-json-1.0")(exchange)

        proxy.script = {"/": pass_on}
        make_table(moto.url)
        yield proxy.url("/").rstrip("/")


def make_table(url):
    """The table that the handler writes to."""
    import boto3

    keys = {"KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}], "BillingMode": "PAY_PER_REQUEST"}
    keys["AttributeDefinitions"] = [{"AttributeName": "id", "AttributeType": "S"}]
    names = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "eu-west-1"}
    client = boto3.client("dynamodb", endpoint_url=url, **names)
    client.create_table(TableName="orders", **keys)
    client.close()


def test_a_timeout_in_a_dynamodb_call_names_the_call_and_the_one_before_it(start, slow_dynamodb):
    """What the function was waiting for is what one wants to know; what had been answered is told as ever."""
    function = start(timeout_s=TIMEOUT_S + 2)
    function.invoke()
    answered = function.ask(do="dynamodb", url=slow_dynamodb)
    request_id, _ = function.at_work()
    record = function.the_record(request_id)
    assert (record["outcome"], record["error_type"]) == ("timeout", "Sandbox.Timedout")
    expected = [READ, ("dynamodb", "PutItem", "ok"), ("dynamodb", "GetItem", "in_flight")]
    assert told_calls(record) == expected
    assert metrics(record) == {"Error": 1, "Timeout": 1, "Calls": 3}
    assert near(record, answered.sent_ns + (TIMEOUT_S + 2) * 10**9)
    assert 0 < record["calls"][-1]["duration_ms"] < record["Duration"]
    assert any(re.search(r"kills\.py:\d+ dynamodb$", text) for text in frames(record))
    told_by(function, record)


# --- ends of the process ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("do", ["leave", "segfault"])
def test_a_process_that_ends_itself_is_a_crash(start, do):
    """os._exit and a segmentation fault: no handler of ours could have run."""
    function = start()
    function.invoke()
    answered = function.ask(do=do)
    assert (answered.status, body_of(answered)["errorType"]) == (502, "Runtime.ExitError")
    request_id, _ = function.at_work()
    record = function.the_record(request_id)
    is_crashed(function, record, answered)


def is_crashed(function, record, answered):
    """The record of a crash."""
    assert (record["outcome"], record["error_type"]) == ("crash", "Runtime.ExitError")
    assert told_calls(record) == [READ, WRITE]
    assert metrics(record) == {"Error": 1, "Timeout": 0, "Calls": 2}
    assert near(record, answered.answered_ns)
    assert answered.sent_ns / 1e6 - 1 <= record["calls"][-1]["timestamp"] <= answered.answered_ns / 1e6 + 1
    told_by(function, record)


def test_a_runtime_killed_by_signal_9_is_a_crash(start):
    """Nobody asks a process before SIGKILL."""
    function = start()
    function.invoke()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(function.ask(do="wait")))
    asking.start()
    request_id, pid = function.waiting()
    assert function.emulator.runtimes() == [pid]
    os.kill(pid, signal.SIGKILL)
    killed_ns = time.time_ns()
    asking.join(20)
    assert body_of(answers[0])["errorType"] == "Runtime.ExitError"
    record = function.the_record(request_id)
    is_crashed(function, record, answers[0])
    assert near(record, killed_ns)


# --- memory -------------------------------------------------------------------------------------------------------


def test_a_memory_error_that_ends_the_process_is_out_of_memory(start):
    """By RLIMIT_AS: Python's own error was seen before the end."""
    function = start()
    function.invoke()
    answered = function.ask(do="memory_error")
    assert body_of(answered)["errorType"] == "Runtime.ExitError"
    request_id, _ = function.at_work()
    record = function.the_record(request_id)
    assert (record["outcome"], record["error_type"]) == ("out_of_memory", "Runtime.OutOfMemory")
    assert told_calls(record) == [READ, ("ledger", "write", "error")]
    assert metrics(record) == {"Error": 1, "Timeout": 0, "Calls": 2}
    assert near(record, answered.answered_ns)
    told_by(function, record)


@pytest.mark.skipif(cgroup.obstacle() is not None, reason=f"no memory limit can be set here: {cgroup.obstacle()}")
def test_the_kernels_kill_at_the_memory_limit_is_out_of_memory(start):
    """By a cgroup, as on Lambda: SIGKILL with the memory used up."""
    memory_mb = 256
    function = start(memory_mb=memory_mb, timeout_s=20)
    function.invoke()
    (runtime,) = function.emulator.runtimes()
    with contextlib.ExitStack() as stack, HttpServer() as server:
        server.script = {"/on": answer(200)}
        on = threading.Event()

        def hold(exchange):
            on.wait(10)
            return answer(200)(exchange)

        server.script["/on"] = hold
        stack.enter_context(cgroup.limited(runtime, memory_mb << 20))
        answers = []
        event = {"do": "memory", "nearly_bytes": int((memory_mb << 20) * 0.97), "url": server.url("").rstrip("/")}
        asking = threading.Thread(target=lambda: answers.append(function.ask(**event)))
        asking.start()
        request_id, _ = function.at_work()
        on.wait(2.5)  # the watcher looks once a second at least
        on.set()
        asking.join(20)
    assert body_of(answers[0])["errorType"] == "Runtime.ExitError"
    record = function.the_record(request_id)
    assert (record["outcome"], record["error_type"]) == ("out_of_memory", "Runtime.OutOfMemory")
    assert WRITE in told_calls(record)
    assert record["rss_mb"] >= memory_mb * 0.95
    assert near(record, answers[0].answered_ns, within_ms=3_000)
    told_by(function, record)


def test_a_response_too_large_is_told_by_the_recorder_itself(start):
    """The runtime ends upon it, but not before the drain: nothing is told twice."""
    function = start()
    function.invoke()
    answered = function.ask(do="large")
    assert body_of(answered)["errorType"] == "Function.ResponseSizeTooLarge"
    assert function.emulator.wait_for(lambda _: len(function.records()) == 2, 10), function.emulator.text
    record = function.records()[1]
    assert function.the_record(record["request_id"]) == record
    assert (record["outcome"], record["Error"], record["Timeout"], record["flush"]) == (
        "too_large",
        1,
        0,
        "after_response",
    )
    assert "told_by" not in record


# --- the extension's part -----------------------------------------------------------------------------------------


def test_an_environment_that_never_comes_back_is_told_of(start):
    """With the black box nobody has to invoke the function again; without it nobody can tell."""
    function = start()
    function.invoke()
    function.ask(do="sleep")
    request_id, _ = function.at_work()
    function.emulator.shutdown()
    told = [record["outcome"] for record in function.records() if record["request_id"] == request_id]
    assert told == (["timeout"] if function.has_extension else [])


def test_an_end_in_the_middle_of_an_invocation_is_told_of(start):
    """The emulator is ended by SIGTERM while the function runs: SHUTDOWN, and the invocation did not end well."""
    function = start(timeout_s=30)
    function.invoke()
    asking = threading.Thread(target=quietly(function.ask), kwargs={"do": "wait"})
    asking.start()
    request_id, _ = function.waiting()
    function.emulator.shutdown()
    asking.join(20)
    told = [record["outcome"] for record in function.records() if record["request_id"] == request_id]
    assert told == (["crash"] if function.has_extension else [])


def quietly(action):
    """The same, where the emulator's end in the middle of an answer is expected."""

    def acted(**fields):
        with contextlib.suppress(OSError, ValueError):
            action(**fields)

    return acted


# --- Managed Instances --------------------------------------------------------------------------------------------

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="the emulator's Managed Instances mode changes its user")


@pytest.fixture(scope="module")
def managed_fields(tmp_path_factory):
    """An interpreter and a runtime that the emulator's own user can read."""
    folder = tmp_path_factory.mktemp("managed")
    python, variables = readable.interpreter(folder / "lang")
    fields = {"python": python, "runtime": readable.runtime(folder / "runtime")}
    return {**fields, "init_type": "lambda-managed-instances", "max_concurrency": WORKERS}, variables


@pytest.fixture
def meeting():
    """The address of a server that answers when every worker has asked."""
    barrier = threading.Barrier(WORKERS, timeout=30)

    def meet(exchange):
        barrier.wait()
        return answer(200)(exchange)

    with HttpServer() as server:
        server.script = {"/meet": meet}
        yield server.url("/meet")


@needs_root
def test_managed_platform_facts_are_told_for_each_invocation_of_every_worker(start, managed_fields, meeting):
    """The emulator's Telemetry API is real in this mode: with the black box its figures are told by request id."""
    fields, variables = managed_fields
    function = start(environment=variables, timeout_s=40, **fields)
    answers = []
    asking = [
        threading.Thread(target=lambda: answers.append(function.ask(TRACE, meet=meeting))) for _ in range(WORKERS)
    ]
    for one in asking:
        one.start()
    for one in asking:
        one.join(60)
    records = function.new_records(WORKERS)
    assert len({body_of(answered)["pid"] for answered in answers}) == len(records) == WORKERS
    wanted = sorted(record["request_id"] for record in records)

    def told():
        return [found for found in function.documents() if found.get("platform") and "request_id" in found]

    if not function.has_extension:
        assert told() == []
        return
    assert function.emulator.wait_for(lambda _: len(told()) >= WORKERS, 15), function.emulator.text
    assert sorted(line["request_id"] for line in told()) == wanted
    for line in told():
        assert line["status"] == "success"
        assert 0 < line["ResponseLatency"] <= line["duration_ms"] < 40_000


@needs_root
def test_managed_a_worker_that_dies_is_told_of_and_the_other_lives_on(start, managed_fields):
    """The emulator starts no new worker, and its telemetry says nothing: the journal does, at the latest at the end."""
    fields, variables = managed_fields
    function = start(environment=variables, timeout_s=5, **fields)
    function.invoke(TRACE)
    function.ask(TRACE, do="leave")
    request_id, _ = function.at_work()
    assert function.ask(TRACE).status == 200

    def of_it():
        return [found for found in function.records() if found["request_id"] == request_id]

    if not function.has_extension:
        assert len(of_it()) <= 1  # told by the other worker, if it had still to begin
        return
    assert function.emulator.wait_for(lambda _: of_it(), 15), function.emulator.text
    assert function.ask(TRACE).status == 200  # the only worker left has told all that it had to tell
    function.emulator.shutdown()
    found = of_it()
    assert [(record["outcome"], told_calls(record)) for record in found] == [("crash", [READ, WRITE])], found
