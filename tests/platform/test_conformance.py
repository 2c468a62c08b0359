"""One suite on this platform and on the real emulator: what both do alike. What differs is a table in docs/local.md."""

import json
import os
import re
import socket
import threading
from pathlib import Path

import pytest

from coldspan_console.platform.emulator import Emulator, EmulatorMissingError, find_emulator
from coldspan_console.platform.fleet import Fleet
from coldspan_console.platform.function import Function
from coldspan_console.platform.sandbox import unshare_command
from support import readable

ROOT = Path(__file__).parents[2]
WORKERS = 2
CODE = """\
import os, socket, sys, time
sys.path.insert(0, "/nowhere")
def handler(event, context):
    do = event.get("do")
    if do == "raise": raise KeyError("sku")
    if do == "sleep": time.sleep(30)
    if do == "exit": os._exit(4)
    if do == "unserialisable": return object()
    if do == "environment": return {name: os.environ.get(name) for name in event["names"]}
    if do == "path": return sys.path
    if do == "meet":  # answered when all have come
        socket.create_connection(("127.0.0.1", event["port"]), 20).recv(1)
        return {"pid": os.getpid(), "environment": os.environ["AWS_LAMBDA_MAX_CONCURRENCY"]}
    if do == "context":
        return [context.function_name, context.memory_limit_in_mb, context.function_version, bool(context.aws_request_id),
                context.client_context.custom if context.client_context else None, context.get_remaining_time_in_millis() > 0]
    return {"event": event, "pid": os.getpid(), "cwd": os.getcwd(), "python": sys.version_info[:2]}
"""


def emulator_obstacle():
    """Why there is no emulator here, or None."""
    try:
        find_emulator()
    except EmulatorMissingError as error:
        return str(error)
    return None


class OnFleet:
    """This platform."""

    def __init__(self, function):
        self.fleet = Fleet(function, most=1, timeout_ms=2_000)

    def invoke(self, event, **options):
        """The caller's body."""
        return self.fleet.invoke(json.dumps(event).encode(), **options).body

    def close(self):
        self.fleet.close()


class OnEmulator:
    """The real emulator; as a Managed Instance it refuses what no worker is waiting for, so the caller asks again."""

    def __init__(self, function):
        self.emulator = Emulator(function, timeout_s=2)
        self.emulator.start()

    def invoke(self, event, client_context=None):
        """The caller's body; the emulator takes the client context as base64."""
        import base64

        encoded = base64.b64encode(client_context.encode()).decode() if client_context else None
        again = threading.Event()
        for _ in range(500):
            body = self.emulator.invoke(json.dumps(event).encode(), client_context=encoded).body
            if b'"Runtime.Unavailable"' not in body:
                break
            again.wait(0.01)
        return body

    def close(self):
        self.emulator.close()


EMULATED = pytest.param(
    OnEmulator, marks=pytest.mark.skipif(emulator_obstacle() is not None, reason=str(emulator_obstacle()))
)


MODES = ("on-demand", "lambda-managed-instances")
PLACES = (("platform", OnFleet, ()), ("emulator", OnEmulator, EMULATED.marks))
needs_mounts = pytest.mark.skipif(
    unshare_command() is None or os.geteuid() != 0,
    reason="the emulator's Managed Instances mode looks in /var/runtime and changes its user: it needs root and mounts",
)
ON_DEMAND, MANAGED = (
    [pytest.param((mode, place), id=f"{name}-{mode}", marks=marks) for name, place, marks in PLACES] for mode in MODES
)
MANAGED[1] = pytest.param(*MANAGED[1].values, id=MANAGED[1].id, marks=[*MANAGED[1].marks, needs_mounts])


def function_in(folder, **fields):
    """The function, with a layer that has nothing in it."""
    task, layer = folder / "task", folder / "layer"
    task.mkdir()
    (layer / "python").mkdir(parents=True)
    (task / "app.py").write_text(CODE)
    environment = {"GREETING": "hi", **fields.pop("environment", {})}
    return Function(task=task, layer=layer, name="conform", memory_mb=256, environment=environment, **fields)


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory):
    """An interpreter and a runtime that the emulator's own user can read, and the variables they need."""
    folder = tmp_path_factory.mktemp("managed")
    python, variables = readable.interpreter(folder / "lang")
    return {"python": python, "runtime": readable.runtime(folder / "runtime")}, variables


@pytest.fixture(params=[*ON_DEMAND, *MANAGED])
def platform(request, tmp_path_factory):
    """The function on one of the two in one of their modes: `platform.invoke({...})`."""
    mode, place = request.param
    fields, environment = {}, {}
    if mode != MODES[0]:
        fields, environment = request.getfixturevalue("interpreter")
        fields = {"init_type": mode, "max_concurrency": WORKERS, **fields}
    folder = tmp_path_factory.mktemp("function")
    readable.let_through(folder)
    made = place(function_in(folder, **fields, environment=environment))
    yield made
    made.close()


def test_an_event_comes_back_as_it_went(platform):
    """And the next ones are served by the same processes."""
    answers = [json.loads(platform.invoke({"n": number, "text": "ä\u2028"})) for number in range(6)]
    assert [answer["event"]["n"] for answer in answers] == list(range(6))
    assert answers[0]["event"]["text"] == "ä\u2028"
    assert len({answer["pid"] for answer in answers}) <= WORKERS


def test_an_exception_is_told_with_type_message_and_trace(platform):
    """In the runtime's own shape."""
    told = json.loads(platform.invoke({"do": "raise"}))
    assert (told["errorType"], told["errorMessage"]) == ("KeyError", "'sku'")
    assert re.search(r"app\.py", "".join(told["stackTrace"]))


def test_a_result_that_is_no_json_is_a_marshal_error(platform):
    """The runtime's word."""
    assert json.loads(platform.invoke({"do": "unserialisable"}))["errorType"] == "Runtime.MarshalError"


@pytest.mark.parametrize("platform", ON_DEMAND, indirect=True)
def test_a_timeout_says_so_and_the_next_invocation_is_served(platform):
    """Task timed out after 2.00 seconds."""
    assert b"Task timed out after 2.00 seconds" in platform.invoke({"do": "sleep"})
    assert json.loads(platform.invoke({"n": 3}))["event"]["n"] == 3


@pytest.mark.parametrize("platform", MANAGED, indirect=True)
def test_workers_serve_at_the_same_time_each_in_a_process_of_its_own(platform):
    """As many at once as there are workers: none is answered before all have come."""
    answers = []
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(20)
        ask = {"do": "meet", "port": door.getsockname()[1]}
        threads = [threading.Thread(target=lambda: answers.append(platform.invoke(ask))) for _ in range(WORKERS)]
        for thread in threads:
            thread.start()
        come = [door.accept()[0] for _ in range(WORKERS)]
        for each in come:
            each.close()
        for thread in threads:
            thread.join(30)
    answers = [json.loads(answer) for answer in answers]
    assert len({answer["pid"] for answer in answers}) == WORKERS
    assert {answer["environment"] for answer in answers} == {str(WORKERS)}


@pytest.mark.parametrize("platform", MANAGED[:1], indirect=True)
def test_what_no_worker_is_free_for_waits_for_one(platform):
    """One more than there are workers: it is answered when one of the others has been."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(20)
        ask = {"do": "meet", "port": door.getsockname()[1]}
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(platform.invoke(ask))) for _ in range(WORKERS + 1)]
        for thread in threads:
            thread.start()
        first, second = (door.accept()[0] for _ in range(WORKERS))
        door.settimeout(0.3)
        with pytest.raises(TimeoutError):
            door.accept()
        door.settimeout(20)
        first.close()
        third = door.accept()[0]
        second.close()
        third.close()
        for thread in threads:
            thread.join(30)
    assert ["pid" in json.loads(answer) for answer in answers] == [True] * (WORKERS + 1)


@pytest.mark.parametrize("platform", MANAGED, indirect=True)
@pytest.mark.parametrize("do", ["sleep", "exit"])
def test_a_worker_that_hangs_or_dies_is_a_timeout_for_its_caller_and_the_other_serves_on(platform, do):
    """No worker is started in its place, and its code is not killed."""
    told = json.loads(platform.invoke({"do": do}))
    assert told["errorType"] == "Sandbox.Timedout"
    assert told["errorMessage"].endswith("Task timed out after 2.00 seconds")
    assert [json.loads(platform.invoke({"n": n}))["event"]["n"] for n in range(4)] == list(range(4))


@pytest.mark.parametrize("platform", ON_DEMAND, indirect=True)
def test_a_process_that_ends_is_an_exit_error_and_the_next_invocation_is_served(platform):
    """Runtime.ExitError, with the status."""
    told = json.loads(platform.invoke({"do": "exit"}))
    assert told["errorType"] == "Runtime.ExitError"
    assert "exit status 4" in told["errorMessage"]
    assert json.loads(platform.invoke({"n": 4}))["event"]["n"] == 4


def test_the_runtimes_variables_are_there(platform):
    """Those that the documentation defines, and the function's own."""
    names = [
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_REGION",
        "LAMBDA_TASK_ROOT",
        "_HANDLER",
        "GREETING",
        "TZ",
    ]
    found = json.loads(platform.invoke({"do": "environment", "names": names}))
    assert {name: value for name, value in found.items() if name in {"AWS_LAMBDA_FUNCTION_NAME", "GREETING", "_HANDLER"}} == {
        "AWS_LAMBDA_FUNCTION_NAME": "conform", "GREETING": "hi", "_HANDLER": "app.handler",
    }  # fmt: skip
    assert found["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert all(found[name] for name in names)


def test_the_search_path_has_the_task_before_the_layer(platform):
    """As the managed runtime has it."""
    path = json.loads(platform.invoke({"do": "path"}))
    task = next(place for place, each in enumerate(path) if each.endswith("/task"))
    layer = next(place for place, each in enumerate(path) if each.endswith(("/opt/python", "/layer/python")))
    assert task < layer


def test_the_context_knows_the_invocation(platform):
    """Name, memory, version, id, the caller's context, time left."""
    told = json.loads(platform.invoke({"do": "context"}, client_context='{"custom": {"a": "b"}}'))
    assert told == ["conform", "256", "$LATEST", True, {"a": "b"}, True]


def test_the_table_of_differences_names_the_tests_that_show_them():
    """A row of docs/local.md without a test would be a claim."""
    page = (ROOT / "docs" / "local.md").read_text()
    rows = re.findall(
        r"^\| (?!\||-)(.+?) \|", page.partition("## Where it differs")[2].partition("## Load")[0], re.MULTILINE
    )
    shown = {
        "the response leaves": "test_the_response_does_not_wait_for_what_comes_after_it",
        "between invocations": "test_nothing_runs_between_two_invocations",
        "Telemetry API": "test_platform_extensions",
        "init": "test_an_init_that_hangs_has_ten_seconds_and_then_the_functions_own_time",
        "REPORT": "test_the_report_has_the_real_figures",
        "memory above the size": "test_every_end_has_the_services_word",
        "two requests at once": "test_requests_at_the_same_time_have_environments_of_their_own",
        "all workers of a Managed Instance at work": "test_what_no_worker_is_free_for_waits_for_one",
        "SnapStart": "test_a_snapshot_is_paused_and_restored",
        "shutdown reasons": "test_platform_extensions",
        "trace header in on-demand mode": "test_a_trace_header_is_made",
    }
    assert [row for row in rows if row.strip()] == list(shown)
    tests = "".join(
        path.read_text() + path.stem
        for path in [*Path(__file__).parent.glob("test_*.py"), *(ROOT / "tests" / "contract").glob("test_platform*.py")]
    )
    assert [name for name in shown.values() if name not in tests] == []
