"""The platform as a caller sees it: what the service promises, one after the other."""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from coldspan_console.platform import processes

ROOT = Path(__file__).parents[2]


def answer(outcome):
    """The function's own answer."""
    assert outcome.status == "success", outcome
    return json.loads(outcome.body)


def event(**members):
    """An event as bytes."""
    return json.dumps(members).encode()


def platform_lines(fleet):
    """What the platform wrote into the log."""
    return [line.text for line in fleet.lines if line.kind == "platform" and not line.text.startswith('{"_aws"')]


def test_an_environment_is_used_again(fleet):
    """One cold start for many requests in a row."""
    one = fleet()
    pids = {answer(one.invoke())["pid"] for _ in range(10)}
    assert len(pids) == 1
    assert one.environments == 1


def test_requests_at_the_same_time_have_environments_of_their_own(fleet):
    """As many as there are requests, and no more than allowed."""
    one = fleet(most=3)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(lambda _: one.invoke(event(do="sleep", s=0.2)), range(6)))
    assert len({answer(outcome)["pid"] for outcome in outcomes}) == 3
    assert one.environments == 3


def test_a_request_that_may_not_wait_is_throttled(fleet):
    """In the service's words."""
    one = fleet(most=1)
    begun = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: (begun.set(), one.invoke(event(do="sleep", s=1)))[1])
        begun.wait(5)
        while not one.environments:
            begun.wait(0.01)
        second = one.invoke(wait=False)
        assert (second.status, second.error_type) == ("throttled", "TooManyRequestsException")
        assert first.result().status == "success"


def test_the_response_does_not_wait_for_what_comes_after_it(fleet, task):
    """An extension of the runtime's own time, or a slow drain: the caller has the answer at POST."""
    (task / "app.py").write_text(
        "import time\nfrom awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient as C\n"
        "post = C.post_invocation_result\n"
        "def slow(*a, **k):\n    post(*a, **k)\n    time.sleep(1.5)\nC.post_invocation_result = slow\n"
        "def handler(event, context): return time.time()\n"
    )
    one = fleet(most=1)
    first = one.invoke()
    report = one.settled()[first.request_id]
    assert report["durationMs"] >= 1_500  # which is billed
    posted = next(line for line in one.lines if line.text.startswith("REPORT")).at_ms / 1_000
    assert posted - float(first.body) >= 1.4  # the answer had gone long before


def test_nothing_runs_between_two_invocations(fleet):
    """Frozen: a thread of the function's counts only while an invocation runs."""
    one = fleet()
    first = answer(one.invoke())["count"]
    one.settled()
    threading.Event().wait(0.6)
    assert answer(one.invoke())["count"] - first < 40  # 120 in the time that passed


def test_without_freezing_it_does(fleet):
    """The same thread counts on: so the test above can fail."""
    one = fleet(freeze=False)
    first = answer(one.invoke())["count"]
    one.settled()
    threading.Event().wait(0.6)
    assert answer(one.invoke())["count"] - first >= 40


def test_processes_that_the_function_forked_are_frozen_too(fleet):
    """The whole environment stands still."""
    one = fleet()
    pid = answer(one.invoke(event(do="fork")))["pid"]
    one.settled()
    host = next(each for each in one._all[0].platform.pids)
    again = threading.Event()
    for _ in range(100):  # a process on another processor stops when it sees the signal
        paths = [Path(f"/proc/{each}/stat") for each in processes.tree([host])]
        states = [path.read_text().rpartition(")")[2].split()[0] for path in paths]
        if set(states) == {"T"}:
            break
        again.wait(0.02)
    assert states == ["T", "T"], pid


@pytest.mark.parametrize(
    ("members", "status", "error_type", "words"),
    [
        ({"do": "raise"}, "error", "ValueError", "boom"),
        ({"do": "exit"}, "failure", "Runtime.ExitError", "exit status 3"),
        ({"do": "exit", "code": 0}, "failure", "Runtime.ExitError", "without providing a reason"),
        ({"do": "signal"}, "failure", "Runtime.ExitError", "signal: segmentation fault"),
        ({"do": "sleep", "s": 9}, "timeout", "Sandbox.Timedout", "Task timed out after 1.00 seconds"),
        ({"do": "fill", "mb": 400}, "failure", "Runtime.OutOfMemory", "signal: killed"),
        ({"do": "large"}, "error", "Function.ResponseSizeTooLarge", "exceeded maximum allowed payload size"),
    ],
    ids=lambda value: str(value.get("do")) if isinstance(value, dict) else "",
)
def test_every_end_has_the_services_word_and_the_next_invocation_is_normal(fleet, members, status, error_type, words):
    """The error that the caller sees, and a working environment after it."""
    one = fleet(most=1, timeout_ms=1_000)
    answer(one.invoke())
    failed = one.invoke(event(**members))
    assert (failed.status, failed.error_type) == (status, error_type)
    assert words in failed.body.decode()
    assert answer(one.invoke())["event"] == {}
    reports = one.settled()
    assert len(reports) == 3
    if error_type == "Runtime.OutOfMemory":
        assert reports[failed.request_id]["maxMemoryUsedMB"] == 128
    lines = [line for line in platform_lines(one) if failed.request_id in line]
    assert lines[0].startswith("START RequestId: ")
    assert lines[-2:][0] == f"END RequestId: {failed.request_id}"
    assert ("Status: " in lines[-1]) == (status != "success")


def test_the_report_has_the_real_figures(fleet):
    """Init and memory as measured, not as configured."""
    one = fleet(memory_mb=512)
    cold, warm = one.invoke(), one.invoke(event(do="sleep", s=0.25))
    reports = one.settled()
    assert 5 < reports[cold.request_id]["maxMemoryUsedMB"] < 200
    assert reports[cold.request_id]["initDurationMs"] > 10
    assert "initDurationMs" not in reports[warm.request_id]
    assert 250 <= reports[warm.request_id]["durationMs"] < reports[warm.request_id]["billedDurationMs"] + 1
    report = next(line for line in platform_lines(one) if line.startswith("REPORT") and cold.request_id in line)
    assert "\tBilled Duration: " in report
    assert "\tMemory Size: 512 MB\tMax Memory Used: " in report
    assert "\tInit Duration: " in report


def test_with_json_logs_the_platforms_lines_are_json(fleet):
    """LogFormat: JSON."""
    one = fleet(environment={"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    done = one.invoke()
    one.settled()
    kinds = [json.loads(line)["type"] for line in platform_lines(one)]
    assert kinds == ["platform.initReport", "platform.start", "platform.report"]
    assert json.loads(platform_lines(one)[-1])["record"]["requestId"] == done.request_id


def test_an_import_error_is_tried_again_at_the_invocation_and_told(fleet, task):
    """Suppressed init: the error of the second try is the caller's."""
    (task / "app.py").write_text("import no_such_module\n")
    one = fleet()
    done = one.invoke()
    assert (done.status, done.error_type) == ("failure", "Runtime.ImportModuleError")
    assert "no_such_module" in done.body.decode()
    assert sum(line.startswith("INIT_REPORT") for line in platform_lines(one)) == 2


def test_an_init_that_hangs_has_ten_seconds_and_then_the_functions_own_time(fleet, task, monkeypatch):
    """Both run out: a timeout, and no hang; the ten seconds are made one."""
    monkeypatch.setattr("coldspan_console.platform.environment.INIT_S", 1.0)
    (task / "app.py").write_text("import time\ntime.sleep(600)\n")
    one = fleet(timeout_ms=700)
    done = one.invoke()
    assert (done.status, done.error_type) == ("timeout", "Sandbox.Timedout")


def test_an_environment_serves_one_tenant_only(fleet):
    """And makes room for another tenant's when there is no more."""
    one = fleet(most=2)
    red, blue = (answer(one.invoke(tenant_id=name)) for name in ("red", "blue"))
    assert (red["tenant"], blue["tenant"]) == ("red", "blue")
    assert red["pid"] != blue["pid"]
    assert answer(one.invoke(tenant_id="red"))["pid"] == red["pid"]
    one.settled()
    green = answer(one.invoke(tenant_id="green"))
    assert green["pid"] not in {red["pid"], blue["pid"]}
    assert one.environments == 2


@pytest.mark.parametrize(("tracing", "sampled"), [("PassThrough", "0"), ("Active", "1")])
def test_a_trace_header_is_made_and_one_that_is_given_is_passed(fleet, tracing, sampled):
    """As the function's tracing mode says."""
    one = fleet(tracing=tracing)
    made = answer(one.invoke())["trace"]
    assert made.startswith("Root=1-")
    assert made.endswith(f"Sampled={sampled}")
    given = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a:1"
    assert answer(one.invoke(trace_id=given))["trace"] == given


def test_an_idle_environment_is_ended(fleet):
    """With SHUTDOWN, after its time; the next request makes a new one."""
    one = fleet(idle_s=0.2)
    first = answer(one.invoke())["pid"]
    one.settled()
    waited = threading.Event()
    for _ in range(200):
        if not one.environments:
            break
        waited.wait(0.05)
    assert one.environments == 0
    assert answer(one.invoke())["pid"] != first


def test_provisioned_environments_are_there_before_the_first_request(fleet):
    """And know what they are."""
    one = fleet(most=3, provisioned=2, init_type="provisioned-concurrency")
    assert one.environments == 2
    assert answer(one.invoke())["type"] == "provisioned-concurrency"
    assert one.environments == 2


def test_a_snapshot_is_paused_and_restored(fleet, task):
    """Hooks run around a real pause, and the report has the time that the restore took."""
    (task / "app.py").write_text(
        "from snapshot_restore_py import register_before_snapshot, register_after_restore\nSEEN = []\n"
        "register_before_snapshot(lambda: SEEN.append('before'))\n"
        "register_after_restore(lambda: SEEN.append('after'))\n"
        "def handler(event, context): return SEEN\n"
    )
    one = fleet(init_type="snap-start")
    done = one.invoke()
    assert answer(done) == ["before", "after"]
    assert one.settled()[done.request_id]["restoreDurationMs"] > 0
    assert any(line.startswith("RESTORE_REPORT Restore Duration: ") for line in platform_lines(one))


def test_a_managed_instance_runs_as_many_at_once_as_it_has_workers(fleet):
    """In one environment, never frozen."""
    one = fleet(max_concurrency=3, init_type="lambda-managed-instances", memory_mb=2_048, timeout_ms=20_000)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda _: one.invoke(event(do="sleep", s=1)), range(3)))
    assert len({answer(outcome)["pid"] for outcome in outcomes}) == 3
    assert one.environments == 1


def test_a_managed_instances_timeout_ends_the_waiting_and_not_the_code(fleet):
    """The caller is told; the worker goes on with it, and then serves others."""
    one = fleet(max_concurrency=2, init_type="lambda-managed-instances", memory_mb=2_048, timeout_ms=1_000)

    def both(seconds):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda _: one.invoke(event(do="sleep", s=seconds)), range(2)))

    before = {answer(outcome)["pid"] for outcome in both(0.4)}
    assert [outcome.error_type for outcome in both(1.5)] == ["Sandbox.Timedout"] * 2
    told = [outcome for _ in range(5) for outcome in both(0.4) if outcome.status == "success"]
    assert {answer(outcome)["pid"] for outcome in told} == before
    assert len(before) == 2
    assert one.environments == 1


SENDING = """\
import time
from awslambdaric.lambda_runtime_client import BaseLambdaRuntimeClient

wait, unsent = BaseLambdaRuntimeClient.wait_next_invocation, []

def send_and_wait(self):
    while unsent:
        time.sleep(0.3)
        print("sent", unsent.pop(), flush=True)
    return wait(self)

BaseLambdaRuntimeClient.wait_next_invocation = send_and_wait

def handler(event, context):
    time.sleep(event["s"])
    unsent.append(context.aws_request_id)
"""


def test_a_managed_instances_late_worker_is_waited_for_again_once_it_is_back(fleet, task):
    """It stayed counted as lost for good: what was sent after the responses came too late to be read."""
    (task / "app.py").write_text(SENDING)
    one = fleet(max_concurrency=2, init_type="lambda-managed-instances", memory_mb=2_048, timeout_ms=1_000)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        late = list(pool.map(lambda _: one.invoke(event(s=2)), range(2)))
        assert [outcome.error_type for outcome in late] == ["Sandbox.Timedout"] * 2
        assert '"spans"' not in "".join(line for line in platform_lines(one) if '"timeout"' in line)
        one.invoke(event(s=0))  # given when one of them is back, or never
        one.settled()
        for _ in range(4):
            outcomes = list(pool.map(lambda _: one.invoke(event(s=0.1)), range(2)))
            one.settled()
            sent = {line.text for line in one.lines if line.text.startswith("sent ")}
            assert {f"sent {outcome.request_id}" for outcome in outcomes if outcome.status == "success"} <= sent
        assert {outcome.status for outcome in outcomes} == {"success"}


def test_200_requests_at_the_same_time_are_all_answered(fleet):
    """Twenty environments for two hundred callers."""
    one = fleet(most=20, timeout_ms=30_000)
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        outcomes = list(pool.map(lambda number: one.invoke(event(do="print", n=number)), range(200)))
    assert [answer(outcome)["event"]["n"] for outcome in outcomes] == list(range(200))
    one.settled()
    assert one.environments <= 20
    printed = sorted(line.text for line in one.lines if line.kind == "function")
    assert printed == sorted(f"a line {number}" for number in range(200))


def test_thousands_in_a_row_leave_nothing_behind(fleet):
    """Descriptors, threads, processes, and what the platform keeps: flat. COLDSPAN_SOAK says how many."""
    one = fleet(most=1, freeze=True)
    count = int(os.environ.get("COLDSPAN_SOAK", "1000"))

    def held():
        one.settled()
        platform = one._all[0].platform
        kept = len(platform.ledger._entries) + len(platform.exchanges) + len(platform.telemetry.events)
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), kept, len(platform.api._given)

    for _ in range(50):
        answer(one.invoke())

    def steady():
        waited, found, last = threading.Event(), held(), None
        while found != last:  # a thread that has done its work needs a moment to end
            waited.wait(0.1)
            found, last = held(), found
        return found

    before = steady()
    for _ in range(count):
        one.invoke()
    assert steady() == before
    one.lines.clear()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_console_that_is_killed_leaves_no_process(task, tmp_path, number):
    """Not even a frozen one, nor what the function forked; nor the folders that were made for it."""
    code = (
        "import sys, threading\nfrom pathlib import Path\n"
        "from coldspan_console.platform.fleet import Fleet\nfrom coldspan_console.platform.function import Function\n"
        f"fleet = Fleet(Function(task=Path({str(task)!r}), layer=Path({str(tmp_path)!r})))\n"
        'fleet.invoke(b\'{"do": "fork"}\')\nfleet.settled()\n'
        "stage = fleet._all[0].platform.sandbox.stage\n"
        "print(stage, *fleet._all[0].platform.pids, flush=True)\nthreading.Event().wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        stage, *pids = process.stdout.readline().split()
        started = processes.tree(int(pid) for pid in pids)
        process.send_signal(number)
        process.wait(10)
    assert len(started) == 2
    waited = threading.Event()
    for _ in range(200):
        if not any(processes.memory_bytes(pid) for pid in started) and not Path(stage).exists():
            break
        waited.wait(0.05)
    assert [pid for pid in started if processes.memory_bytes(pid)] == []
    assert not Path(stage).exists()


def test_a_process_that_has_ended_is_not_ended_again(fleet):
    """Its number may be another's by then: what was reset is forgotten by the one who ends what is left."""
    one = fleet(most=1, timeout_ms=1_000)
    told = []
    one._reaper.forget = told.append
    answer(one.invoke())
    host = one._all[0].platform.pids[0]
    one.invoke(event(do="exit"))
    one.settled()
    assert told == [host]
