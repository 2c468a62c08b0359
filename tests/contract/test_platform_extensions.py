"""The local platform's Extensions and Telemetry APIs, its kills and restarts: what the black box's tests rely on."""

import http.client
import json
import os
import stat
import threading
import uuid
from pathlib import Path

import pytest

from coldspan_console.platform import Function, Invocation, LocalLambda
from coldspan_console.platform.extensions_api import ExtensionsApi
from coldspan_console.platform.ledger import Ledger
from coldspan_console.platform.sandbox import BY_VARIABLES, MOUNTED, compose_opt, unshare_command
from coldspan_console.platform.server import Server
from coldspan_console.platform.telemetry_api import NOT_SUPPORTED, TelemetryApi
from support.http_server import HttpServer, answer

PROBE = Path(__file__).parents[1] / "support" / "extension" / "probe.py"
LAUNCHER = """#!/bin/sh
python=/var/lang/bin/python3
[ -x "$python" ] || python=python3
exec "$python" -I -S -B -c 'import sys; sys.argv = sys.argv[1:]; exec(open("{probe}").read())' "$0"
"""
EXTENSION = "/2020-01-01/extension"
TELEMETRY = "/2022-07-01/telemetry"


# --- the APIs alone -----------------------------------------------------------------------------------------------


class Apis:
    """Both APIs on a server of their own, and requests to them."""

    def __init__(self, **fields):
        self.ledger = Ledger()
        self.extensions = ExtensionsApi(Function(task=Path("/"), **fields))
        self.telemetry = TelemetryApi(self.extensions)
        self.server = Server(self.ledger, [self.extensions, self.telemetry])

    def ask(self, method, path, body=None, **headers):
        """One request; (status, headers, body as JSON)."""
        connection = http.client.HTTPConnection(self.server.address, timeout=10)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, None if body is None else json.dumps(body), named)
        answered = connection.getresponse()
        data = answered.read()
        connection.close()
        return answered.status, answered.headers, json.loads(data)

    def register(self, name, *events, **headers):
        """Register; (status, identifier or error type)."""
        body = {"events": list(events)}
        status, headers, told = self.ask("POST", f"{EXTENSION}/register", body, Lambda_Extension_Name=name, **headers)
        return status, headers["Lambda-Extension-Identifier"] or told["errorType"]

    def close(self):
        self.telemetry.close()
        self.server.close()
        self.ledger.close()


@pytest.fixture
def apis():
    """Make Apis: `apis(expected=["black"], **fields of Function)`."""
    made = []

    def maker(expected=("black",), **fields):
        made.append(Apis(**fields))
        made[-1].extensions.begin(expected)
        return made[-1]

    yield maker
    for one in made:
        one.close()


def test_a_registration_is_answered_with_an_identifier_and_the_functions_names(apis):
    """What an extension knows of the function it learns here; the account only when it asks for it."""
    api = apis(name="orders", handler="a.b")
    headers = {"Lambda_Extension_Name": "black", "Lambda_Extension_Accept_Feature": "accountId"}
    status, headers, told = api.ask("POST", f"{EXTENSION}/register", {"events": ["SHUTDOWN"]}, **headers)
    assert status == 200
    assert uuid.UUID(headers["Lambda-Extension-Identifier"])
    assert told == {
        "functionName": "orders",
        "functionVersion": "$LATEST",
        "handler": "a.b",
        "accountId": "123456789012",
    }
    assert api.extensions.are_registered()


@pytest.mark.parametrize(
    ("name", "events", "error_type"),
    [
        ("", ["INVOKE"], "Extension.InvalidExtensionName"),
        ("black", ["BOTH"], "Extension.InvalidEventType"),
        ("within", ["INVOKE", "SHUTDOWN"], "Extension.InvalidEventType"),
    ],
)
def test_a_registration_against_the_rules_is_refused_with_the_services_error_type(apis, name, events, error_type):
    """SHUTDOWN is for external extensions alone, and they have the names of their files."""
    assert apis().register(name, *events) == (403, error_type)


def test_a_managed_instance_refuses_invoke(apis):
    """There an extension can only be told of the end."""
    api = apis(max_concurrency=2)
    assert api.register("black", "INVOKE", "SHUTDOWN") == (403, "Extension.InvalidEventType")
    assert api.register("black", "SHUTDOWN")[0] == 200


def test_registrations_end_with_init_and_with_the_tenth_and_have_one_name_each(apis):
    """The emulator's limits and states."""
    api = apis()
    assert api.register("black", "INVOKE")[0] == 200
    assert api.register("black", "INVOKE") == (403, "Extension.InvalidExtensionState")
    for number in range(9):
        assert api.register(f"within-{number}", "INVOKE")[0] == 200
    assert api.register("within-9", "INVOKE") == (403, "Extension.TooManyExtensions")
    other = apis()
    other.extensions.open = False
    assert other.register("within", "INVOKE") == (403, "Extension.RegistrationClosed")
    assert other.register("black", "INVOKE")[0] == 200  # external: the platform waits for it


def test_requests_from_nobody_known_are_refused(apis):
    """By header: missing, no identifier, not ours."""
    api = apis()
    ask, path = api.ask, f"{EXTENSION}/event/next"
    assert ask("GET", path)[2]["errorType"] == "Extension.MissingExtensionIdentifier"
    refused = ask("GET", path, Lambda_Extension_Identifier="x")
    assert refused[2]["errorType"] == "Extension.InvalidExtensionIdentifier"
    refused = ask("PUT", TELEMETRY, {}, Lambda_Extension_Identifier=str(uuid.uuid4()))
    assert (refused[0], refused[2]["errorType"]) == (403, "Extension.UnknownExtensionIdentifier")


def test_next_waits_for_an_event_of_those_registered_for(apis):
    """An extension for SHUTDOWN alone sleeps through the invocations."""
    api = apis()
    _, identifier = api.register("black", "SHUTDOWN")
    got = []
    asking = threading.Thread(
        target=lambda: got.append(api.ask("GET", f"{EXTENSION}/event/next", Lambda_Extension_Identifier=identifier))
    )
    asking.start()
    with api.extensions.changed:
        assert api.extensions.changed.wait_for(api.extensions.are_idle, 10)
    api.extensions.invoke(Invocation(), 1)
    assert api.extensions.are_idle()
    api.extensions.shutdown("spindown", 2_000)
    asking.join(10)
    ((status, headers, event),) = got
    assert (status, event["eventType"], event["shutdownReason"]) == (200, "SHUTDOWN", "spindown")
    assert event["deadlineMs"] > 1_700_000_000_000
    assert headers["Lambda-Extension-Event-Identifier"]


def test_an_error_needs_its_type_and_ends_the_extension(apis):
    """init/error and exit/error: 202, and there is no next event."""
    api = apis()
    _, identifier = api.register("black", "SHUTDOWN")
    path, known = f"{EXTENSION}/init/error", {"Lambda_Extension_Identifier": identifier}
    assert api.ask("POST", path, {}, **known)[2]["errorType"] == "Extension.MissingHeader"
    told = {"Lambda_Extension_Function_Error_Type": "Extension.ConfigInvalid"}
    assert api.ask("POST", path, {}, **known, **told)[0] == 202
    assert api.extensions.named("black").error_type == "Extension.ConfigInvalid"
    assert api.ask("GET", f"{EXTENSION}/event/next", **known)[0] == 403


def subscription(**changes):
    """A request that is accepted, but for the changes."""
    destination = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080"}
    return {"schemaVersion": "2022-12-13", "types": ["platform"], "destination": destination, **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": "2020-08-15"},
        {"types": []},
        {"types": ["everything"]},
        {"buffering": {"timeoutMs": 10}},
        {"buffering": {"maxItems": 20_000}},
        {"destination": {"protocol": "HTTP", "URI": "http://127.0.0.1:8080"}},
        {"destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:9001"}},
        {"destination": {}},
    ],
)
def test_a_subscription_against_the_rules_is_refused(apis, changes):
    """Limits and names are those of the reference."""
    api = apis()
    _, identifier = api.register("black", "SHUTDOWN")
    refused = api.ask("PUT", TELEMETRY, subscription(**changes), Lambda_Extension_Identifier=identifier)
    assert (refused[0], refused[2]["errorType"]) == (400, "ValidationError")


def test_a_subscription_may_be_scripted_or_too_late(apis):
    """The emulator's 202, and the refusal after init."""
    api = apis()
    _, identifier = api.register("black", "SHUTDOWN")
    known = {"Lambda_Extension_Identifier": identifier}
    api.telemetry.scripted = NOT_SUPPORTED
    assert api.ask("PUT", TELEMETRY, subscription(), **known)[0] == 202
    api.telemetry.scripted, api.telemetry.open = None, False
    assert api.ask("PUT", TELEMETRY, subscription(), **known)[0] == 403


def test_events_are_delivered_in_batches_and_again_when_they_were_refused(apis):
    """In order, with those from before the subscription, and only of the types asked for."""
    api = apis()
    _, identifier = api.register("black", "SHUTDOWN")
    with HttpServer() as listener:
        refusals = [500, 200, 200, 200]

        def take(exchange):
            return answer(refusals.pop(0))(exchange)

        listener.script = {"/": take}
        uri = f"http://sandbox.localdomain:{listener.url('').rstrip('/').rpartition(':')[2]}"
        api.telemetry.emit("platform.initStart", {})
        request = subscription(
            destination={"protocol": "HTTP", "URI": uri},
            buffering={"timeoutMs": 25, "maxItems": 1_000, "maxBytes": 262_144},
        )
        status, _, told = api.ask("PUT", TELEMETRY, request, Lambda_Extension_Identifier=identifier)
        assert (status, told) == (200, "OK")
        api.telemetry.emit("function", "a line")
        api.telemetry.emit("platform.start", {"requestId": "1"})
        (one,) = api.telemetry.subscriptions
        until = threading.Event()
        for _ in range(200):
            if one.delivered_count == 3:
                break
            until.wait(0.05)
    assert (one.delivered_count, one.refused_count) == (3, 1)


# --- processes ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    """A layer with one extension, the probe, and something that is none."""
    folder = tmp_path_factory.mktemp("probe") / "layer"
    (folder / "extensions" / "not-one").mkdir(parents=True)
    file = folder / "extensions" / "probe"
    file.write_text(LAUNCHER.format(probe=PROBE))
    file.chmod(0o755)
    return folder


@pytest.fixture
def probed(start, probe):
    """Start a function with the recorder and the probe: `probed("app.handler", environment={"PROBE_DO": ...})`."""

    def starter(*arguments, **fields):
        return start(*arguments, more_layers=(probe,), **fields)

    return starter


@pytest.fixture
def enforced(task, probe):
    """A function with the probe, whose deadlines are enforced."""
    function = Function(task=task, handler="ended.handler", more_layers=(probe,))
    with LocalLambda(function, enforce_deadline=True) as platform:
        yield platform


def seen(platform, key):
    """What the probe has printed under a key."""
    lines = [json.loads(entry.item) for entry in platform.ledger.entries("extension")]
    return [line["probe"][key] for line in lines if key in line.get("probe", {})]


@pytest.mark.parametrize("mounting", [MOUNTED, BY_VARIABLES])
def test_an_extension_runs_beside_the_function_with_an_environment_of_its_own(probed, mounting):
    """Registered before the runtime starts; without the variables that Lambda keeps from it; /tmp is private."""
    if mounting == MOUNTED and unshare_command() is None:
        pytest.skip("no mount namespaces here")
    platform = probed(mounting=mounting)
    platform.invoke()
    (environment,) = seen(platform, "environment")
    assert {"AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "PATH"} <= set(environment)
    assert not {"_HANDLER", "LAMBDA_TASK_ROOT", "AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_GROUP_NAME"} & set(environment)
    asked = [exchange.path.rpartition("/")[2] for exchange in platform.exchanges]
    assert asked[0] == "register"
    if mounting == MOUNTED:
        (tmp,) = seen(platform, "tmp")
        assert {"pytest-of-root"}.isdisjoint(tmp) or os.geteuid() != 0


def test_an_invocation_is_over_when_runtime_and_extension_ask_again(probed):
    """Both get it at the same moment; the next begins only then; platform.report comes only then."""
    platform = probed(environment={"PROBE_DO": "0.2"})
    first = platform.submit(Invocation(b"{}", trace_id="Root=1-5759e988-bd862e3fe1be46a994272793"))
    platform.invoke()
    (given, again) = [event for event in seen(platform, "event") if event["eventType"] == "INVOKE"]
    assert (given["requestId"], given["invokedFunctionArn"]) == (first.request_id, first.function_arn)
    assert given["tracing"]["value"].startswith("Root=1-5759e988")
    assert given["deadlineMs"] == first.given_deadline_ms
    assert again["requestId"] != first.request_id
    kinds = [
        event["type"].removeprefix("platform.") for event in platform.telemetry.events if "platform" in event["type"]
    ]
    assert kinds == [
        "initStart", "initRuntimeDone", "extension", "initReport",
        "start", "runtimeDone", "report", "start", "runtimeDone", "report",
    ] or kinds[1:3] == ["extension", "initRuntimeDone"]  # fmt: skip
    done, report = (
        platform.telemetry.records("platform.runtimeDone")[0],
        platform.telemetry.records("platform.report")[0],
    )
    assert report["metrics"]["durationMs"] >= 200 > done["metrics"]["durationMs"]
    assert report["metrics"]["billedDurationMs"] >= report["metrics"]["durationMs"]
    assert 10 < report["metrics"]["maxMemoryUsedMB"] < 200
    assert report["metrics"]["initDurationMs"] > 0
    assert "initDurationMs" not in platform.telemetry.records("platform.report")[1]["metrics"]
    assert [one["name"] for one in done["spans"]] == ["responseLatency", "responseDuration", "runtimeOverhead"]
    assert [one["name"] for one in report["spans"]] == ["extensionOverhead"]
    assert report["status"] == first.ended == "success"


def test_telemetry_reaches_the_extension(probed):
    """Platform events and the function's lines, those of init included."""
    platform = probed(environment={"PROBE_TELEMETRY": "platform,function"})
    platform.invoke()
    platform.invoke()
    wanted = {
        "platform.initStart",
        "platform.telemetrySubscription",
        "platform.initReport",
        "platform.report",
        "function",
    }

    def types():
        return {event["type"] for batch in seen(platform, "telemetry") for event in batch}

    for _ in range(200):
        if wanted <= types():
            break
        threading.Event().wait(0.05)
    assert wanted <= types()
    assert seen(platform, "subscribed") == [200]


@pytest.mark.parametrize("reason", ["timeout", "failure"])
def test_a_kill_ends_the_runtime_tells_the_extension_and_keeps_tmp(probed, reason):
    """SHUTDOWN with its reason and two seconds; new processes after it; the invocation is told of as it ended."""
    platform = probed("ended.handler")
    invocation = platform.submit(b'{"hang": true}')
    platform.wait_until(lambda: invocation.given is not None)
    (platform.sandbox.folders.tmp / "left").write_text("here")
    first = platform.sandbox.process.pid
    platform.kill(reason)
    (event,) = [event for event in seen(platform, "event") if event["eventType"] == "SHUTDOWN"]
    assert event["shutdownReason"] == reason
    (report,) = platform.telemetry.records("platform.report")
    expected = {"timeout": ("timeout", None), "failure": ("error", "Runtime.ExitError")}[reason]
    assert (report["status"], report.get("errorType")) == expected
    assert invocation.ended == expected[0]
    assert not platform.sandbox.extensions
    platform.restart()
    platform.invoke()
    assert platform.sandbox.process.pid != first
    assert len(seen(platform, "pid")) == 2
    assert (platform.sandbox.folders.tmp / "left").read_text() == "here"
    assert [record["phase"] for record in platform.telemetry.records("platform.initStart")] == ["init", "invoke"]


def test_a_report_may_come_in_the_next_environment(probed):
    """What is produced after the kill reaches those who subscribe then."""
    platform = probed("ended.handler", environment={"PROBE_TELEMETRY": "platform"})
    invocation = platform.submit(b'{"hang": true}')
    platform.wait_until(lambda: invocation.given is not None)
    platform.kill("timeout", report_late=True)
    assert platform.telemetry.records("platform.report") == []
    platform.restart()
    platform.invoke()
    assert platform.telemetry.records("platform.report")[0]["requestId"] == invocation.request_id


def test_a_deadline_is_enforced_when_asked(enforced):
    """The runtime is killed, the reason is a timeout, and the next environment is a new one."""
    platform = enforced
    invocation = platform.invoke(Invocation(b'{"hang": true}', deadline_ms=300))
    assert (invocation.ended, platform.reason) == ("timeout", "timeout")
    (report,) = platform.telemetry.records("platform.report")
    assert 300 <= report["metrics"]["durationMs"] < 3_000
    platform.restart()
    assert platform.invoke(Invocation(b"{}")).posted is not None


def test_a_runtime_that_ends_itself_is_a_failure(probed):
    """The extension gets its SHUTDOWN as after a kill."""
    platform = probed("ended.handler")
    platform.invoke(b'{"exit": 3}')
    assert platform.exit_code == 3
    assert [event["shutdownReason"] for event in seen(platform, "event")[1:]] == ["failure"]
    assert platform.telemetry.records("platform.runtimeDone")[0]["errorType"] == "Runtime.ExitError"


def test_an_extension_that_ends_itself_takes_the_environment_with_it(probed):
    """As on Lambda: this is why an extension must not."""
    platform = probed(environment={"PROBE_DO": "exit"})
    platform.submit()
    platform.wait_exit()
    assert platform.reason == "failure"


def test_a_spindown_is_told(probed):
    """With nothing at work nothing is lost."""
    platform = probed()
    platform.invoke()
    platform.spindown()
    assert [event.get("shutdownReason") for event in seen(platform, "event")] == [None, "spindown"]
    assert len(platform.telemetry.records("platform.report")) == 1


def test_a_managed_instance_tells_no_invoke_and_a_report_without_runtime_done(probed):
    """Workers, and the events that this mode has."""
    platform = probed(max_concurrency=2, init_type="lambda-managed-instances", environment={"PROBE_EVENTS": "SHUTDOWN"})
    platform.invoke()
    assert platform.telemetry.records("platform.runtimeDone") == []
    (report,) = platform.telemetry.records("platform.report")
    assert set(report["metrics"]) == {"durationMs"}
    assert [one["name"] for one in report["spans"]] == ["responseLatency", "responseDuration"]


def test_several_layers_are_one_folder_and_the_later_file_is_there(tmp_path):
    """As Lambda unpacks them; their modes are kept, and no layer is written to."""
    for name in ("one", "two"):
        (tmp_path / name / "extensions").mkdir(parents=True)
        (tmp_path / name / "shared").write_text(name)
        (tmp_path / name / "extensions" / name).write_text("#!/bin/sh\n")
        (tmp_path / name / "extensions" / name).chmod(0o755)
    opt = compose_opt(tmp_path / "opt", tmp_path / "one", tmp_path / "two")
    assert sorted(path.name for path in (opt / "extensions").iterdir()) == ["one", "two"]
    assert (opt / "extensions" / "two").stat().st_mode & stat.S_IXUSR
    assert [(folder / "shared").read_text() for folder in (opt, tmp_path / "one")] == ["two", "one"]
