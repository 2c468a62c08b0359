"""`coldspan run`, by the command itself, on functions and templates that are not ours."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from coldspan_console import cli
from support.destinations import Peer, free_port

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "tests" / "data" / "templates"
pytestmark = pytest.mark.usefixtures("place")


def run(capsys, *words):
    """Run it with --json: (exit code, the document, stderr)."""
    code = cli.main(["run", *words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def test_a_handler_of_the_folder_runs_without_any_template(capsys):
    """The shortest way to a tree: one file, one command."""
    code, found, _ = run(capsys, "app.handler", "--payload", '{"n": 7}')
    (one,) = found["invocations"]
    assert (code, one["status"], one["answer"]["n"]) == (0, "success", 7)
    assert (one["record"]["outcome"], one["record"]["start"]) == ("ok", "cold")
    assert one["logs"] == ['got {"n": 7}']
    assert one["report"]["maxMemoryUsedMB"] > 5
    assert one["answer"]["secret"] is False  # the console's packages are not the function's


def test_the_picture_has_the_tree_the_log_and_what_to_do_next(capsys):
    """What a person sees, without escape sequences when piped."""
    assert cli.main(["run", "--payload", '{"n": 1}']) == 0
    said = capsys.readouterr()
    assert re.search(r"← --payload  cold  ok ", said.out)
    assert "│ got" in said.out
    assert "billed" in said.out
    assert "coldspan show" in said.err
    assert "\x1b" not in said.out


def test_what_was_run_is_kept(capsys, place):
    """`coldspan list` finds it, with the platform's figures."""
    _, found, _ = run(capsys, "--payload", "{}")
    assert cli.main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    (one,) = listed["invocations"] if isinstance(listed, dict) else listed
    assert one["request_id"] == found["invocations"][0]["request_id"]
    assert one["max_memory_mb"] > 5
    assert (place / ".coldspan" / "store.db").is_file()


def test_what_was_run_is_found_from_a_folder_below(capsys, place, monkeypatch):
    """A user is in the folder of the code."""
    _, found, _ = run(capsys, "app.handler")
    (place / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(place / "deep" / "er")
    assert cli.main(["list", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["invocations"]
    assert one["request_id"] == found["invocations"][0]["request_id"]


def test_a_function_that_raises_shows_its_traceback_and_fails_only_when_asked(capsys):
    """A run is not a test, unless one says so."""
    assert cli.main(["run", "--payload", '{"boom": 1}']) == 0
    out = capsys.readouterr().out
    assert "ValueError: boom" in out
    assert "/var/task/app.py" in out or "app.py" in out
    assert cli.main(["run", "--payload", '{"boom": 1}', "--fail-on", "error"]) == 1


@pytest.mark.parametrize(
    ("payload", "status", "outcome"), [('{"forever": 1}', "timeout", "timeout"), ('{"exit": 1}', "failure", "crash")]
)
def test_a_killed_invocation_is_told(capsys, payload, status, outcome):
    """By the next start of the environment."""
    _, found, _ = run(capsys, "--payload", payload, "--timeout", "1")
    (one,) = found["invocations"]
    assert one["status"] == status
    assert one["record"]["outcome"] == outcome


def test_last_words_before_a_deadline_are_kept_with_the_record(capsys):
    """The store has what was in flight shortly before the kill, too."""
    _, found, _ = run(capsys, "--payload", '{"forever": 1}', "--timeout", "1")
    assert cli.main(["show", found["invocations"][0]["request_id"], "--raw"]) == 0
    assert '"coldspan": "deadline_near"' in capsys.readouterr().out.replace('"coldspan":"', '"coldspan": "')


def test_many_at_once_share_environments(capsys):
    """No more cold starts than there are environments."""
    _, found, _ = run(capsys, "--payload", "{}", "-n", "20", "--concurrency", "3")
    figures = found["summary"]
    assert (figures["invocations"], figures["without_record"], figures["outcomes"]) == (20, 0, {"ok": 20})
    assert 1 <= figures["starts"]["cold"] <= 3
    assert figures["starts"]["cold"] + figures["starts"]["warm"] == 20


def test_variables_tenant_and_memory_reach_the_function(capsys, place):
    """By option, and by sam's file."""
    (place / "vars.json").write_text('{"Parameters": {"GREETING": "hi"}}')
    _, found, _ = run(capsys, "app.handler", "--env-vars", "vars.json", "--tenant", "blue", "--memory", "256")
    answer = found["invocations"][0]["answer"]
    assert (answer["variables"], answer["tenant"]) == ("hi", "blue")
    assert found["invocations"][0]["report"]["memorySizeMB"] == 256
    _, found, _ = run(capsys, "app.handler", "--env-vars", "vars.json", "--env", "GREETING=ho")
    assert found["invocations"][0]["answer"]["variables"] == "ho"


def test_a_template_of_sam_init_runs_as_it_is(capsys, place):
    """A newcomer's first template, with an event of its folder by name."""
    shutil.copytree(TEMPLATES / "hello_world", place / "hello_world")
    shutil.copy(TEMPLATES / "hello-world.yaml", place / "template.yaml")
    (place / "events").mkdir()
    (place / "events" / "event.json").write_text('{"path": "/hello"}')
    code, found, _ = run(capsys, "-e", "event")
    one = found["invocations"][0]
    assert (code, found["function"], one["answer"]["statusCode"]) == (0, "HelloWorldFunction", 200)
    assert one["record"]["function_name"] == "HelloWorldFunction"


def test_layers_of_the_template_are_mounted(capsys, place):
    """A local one is importable; one that is an ARN is said to be missing."""
    shutil.copytree(TEMPLATES, place, dirs_exist_ok=True)
    (place / "hello_world" / "app.py").write_text(
        "import shared_code\ndef lambda_handler(e, c): return shared_code.NAME\n"
    )
    (place / "several.yaml").rename(place / "template.yaml")
    code, found, said = run(capsys, "Snap", "--provisioned")
    assert (code, found["invocations"][0]["answer"]) == (0, "shared")
    assert found["invocations"][0]["record"]["start"] == "provisioned"
    assert "company-base:7 is not on this machine, and is left out (--aws account brings it)" in said


def test_inline_code_runs(capsys, place):
    """A template of one file."""
    shutil.copy(TEMPLATES / "cdk.json", place / "template.json")
    shutil.copytree(TEMPLATES / "asset.code", place / "asset.code")
    code, found, _ = run(capsys, "Zip")
    assert (code, found["invocations"][0]["answer"]) == (0, 1)


CUSTOM = """\
Resources:
  Custom:
    Type: AWS::Lambda::Function
    Properties:
      Handler: index.handler
      Runtime: python3.13
      Role: arn:aws:iam::123456789012:role/r
      Code:
        ZipFile: |
          import cfnresponse
          def handler(event, context):
              cfnresponse.send(event, context, cfnresponse.SUCCESS, {"Bucket": event["RequestType"]}, "an-id")
"""


def test_inline_code_answers_cloudformation_by_the_module_that_lambda_adds(capsys, place):
    """Every custom resource of a template imports it, and could not be run; the call is recorded."""
    (place / "custom.yaml").write_text(CUSTOM)
    with Peer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as cloudformation:
        event = {
            "RequestType": "Create", "ResponseURL": f"http://127.0.0.1:{cloudformation.port}/stack?X-Amz-Signature=a",
            "StackId": "arn:stack", "RequestId": "r-1", "LogicalResourceId": "Custom",
        }  # fmt: skip
        code, found, _ = run(capsys, "-t", "custom.yaml", "--payload", json.dumps(event))
    (told,) = cloudformation.requests
    answer = json.loads(told.partition(b"\r\n\r\n")[2])
    assert told.startswith(b"PUT /stack?X-Amz-Signature=a ")
    assert b"x-www-form-urlencoded" not in told
    assert (answer["Status"], answer["PhysicalResourceId"], answer["Data"]) == (
        "SUCCESS",
        "an-id",
        {"Bucket": "Create"},
    )
    assert "CloudWatch Log Stream: " in answer["Reason"]
    assert (answer["StackId"], answer["RequestId"], answer["LogicalResourceId"]) == ("arn:stack", "r-1", "Custom")
    (call,) = found["invocations"][0]["record"]["calls"]
    assert (code, call["operation"], call["status"]) == (0, "PUT", "ok")


def test_an_answer_that_cloudformation_does_not_take_is_printed(capsys, place):
    """The stack would wait for an hour, and the log say nothing."""
    (place / "custom.yaml").write_text(CUSTOM)
    known = dict.fromkeys(("StackId", "RequestId", "LogicalResourceId"), "x")
    event = {"RequestType": "Delete", "ResponseURL": f"http://127.0.0.1:{free_port()}/", **known}
    _, found, _ = run(capsys, "-t", "custom.yaml", "--payload", json.dumps(event))
    (one,) = found["invocations"]
    assert one["status"] == "success"
    assert "refused" in one["logs"][-1]


def test_without_the_layer_no_record_comes_and_the_reason_is_pointed_to(capsys):
    """The doctor knows."""
    assert cli.main(["run", "--no-layer"]) == 0
    assert "coldspan doctor" in capsys.readouterr().out


def test_events_come_from_files_folders_and_stdin(capsys, place, monkeypatch):
    """In their order."""
    (place / "many").mkdir()
    for number in (1, 2):
        (place / "many" / f"{number}.json").write_text(json.dumps({"n": number}))
    monkeypatch.setattr("sys.stdin", __import__("io").StringIO('{"n": 3}'))
    _, found, _ = run(capsys, "app.handler", "-e", "many", "-e", "-")
    assert [one["answer"]["n"] for one in found["invocations"]] == [1, 2, 3]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere"], 3, "no function, folder or handler nowhere"),
        (["app.handler", "-e", "none.json"], 3, "no event none.json"),
        (["app.handler", "--payload", "{"], 3, "event is no JSON"),
        (["app.handler", "--python", "/no/such/python"], 3, "no Python"),
        (["app.handler", "--aws", "mars"], 3, "--aws mars"),
        (["app.handler", "--env", "X"], 2, "NAME=VALUE"),
        (["app.handler", "--handler", "other.handler"], 3, "there is no other.py"),
        (["app.handler", "--memory", "64"], 2, "64"),
        (["--template", "none.yaml"], 3, "no template"),
        (["app.handler", "-n", "0"], 2, "0"),
    ],
)
def test_bad_input_is_told_and_nothing_runs(capsys, words, code, said):
    """What, where and what to do, by its exit code."""
    assert cli.main(["run", *words]) == code
    out = capsys.readouterr()
    assert said in out.err
    assert "Traceback" not in out.err


def test_a_module_that_cannot_be_imported_is_told_as_the_runtime_tells_it(capsys, place):
    """Runtime.ImportModuleError, and no hang."""
    (place / "app.py").write_text("import no_such_module\ndef handler(e, c): pass\n")
    _, found, _ = run(capsys, "app.handler")
    one = found["invocations"][0]
    assert (one["status"], one["error_type"]) == ("failure", "Runtime.ImportModuleError")
    assert "no_such_module" in json.dumps(one["answer"])


def test_an_init_that_fails_is_the_record_of_the_request_that_waited_for_it(capsys, place):
    """The runtime tells no request of it; the service begins it again for each, and so each has one of its own."""
    (place / "app.py").write_text("import no_such_module\ndef handler(e, c): pass\n")
    _, found, _ = run(capsys, "app.handler", "-n", "2")
    ids = [one["request_id"] for one in found["invocations"]]
    assert [(one["record"]["outcome"], one["record"]["request_id"]) for one in found["invocations"]] == [
        ("init_error", each) for each in ids
    ]
    assert cli.main(["list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["invocations"]
    assert {one["outcome"] for one in listed} == {"init_error"}
    first = {one["request_id"] for one in listed} - set(ids)
    assert [each[:5] for each in first] == ["init-"]  # the one before any request came
    assert cli.main(["run", "app.handler"]) == 0
    shown = capsys.readouterr().out
    assert "no record came" not in shown
    assert "no_such_module" in shown
    assert "LAMBDA_WARNING" not in shown


@pytest.mark.parametrize("words", [["--cold"], ["--cold", "--concurrency", "2"], []])
def test_each_of_several_inits_that_fail_is_told_of_its_own_request(capsys, place, words):
    """Environments of their own were called by the same number, and the records changed places."""
    (place / "app.py").write_text("import os\nraise ValueError(f'in process {os.getpid()}')\n")
    _, found, _ = run(capsys, "app.handler", "-n", "3", *words)
    answered = [one["answer"]["errorMessage"] for one in found["invocations"]]
    assert len(set(answered)) == 3
    assert [one["record"]["error_message"] for one in found["invocations"]] == answered


def test_a_template_without_a_function_says_what_to_name_instead(capsys, place):
    """Tables alone are a template, too; `-t` is what sam calls it."""
    (place / "tables.yaml").write_text("Resources:\n  Orders: {Type: AWS::DynamoDB::Table, Properties: {}}\n")
    assert cli.main(["run", "-t", "tables.yaml"]) == 3
    said = capsys.readouterr().err
    assert "no Python function in the template" in said
    assert "to do: name another template (-t), or a handler" in said


def test_a_handler_that_nobody_awaits_is_told_what_would(capsys, place):
    """The runtime's own words speak of JSON."""
    (place / "app.py").write_text("async def handler(e, c): return 1\n")
    assert cli.main(["run", "app.handler"]) == 0
    assert "--env COLDSPAN_ASYNC_HANDLER=true" in capsys.readouterr().err
    assert cli.main(["run", "app.handler", "--env", "COLDSPAN_ASYNC_HANDLER=true"]) == 0
    said = capsys.readouterr()
    assert "answer 1" in said.out
    assert "ASYNC" not in said.err


def test_a_traceback_is_indented_with_spaces(capsys, place):
    """The runtime's log has other ones, which a terminal would be shown as unprintable."""
    (place / "app.py").write_text("def handler(e, c): raise ValueError('boom')\n")
    assert cli.main(["run", "app.handler"]) == 0
    shown = capsys.readouterr().out
    assert '│   File "/var/task/app.py", line 1, in handler' in shown
    assert "\ufffd" not in shown


def test_a_function_that_fails_at_an_event_that_nobody_chose_is_offered_the_projects_own(capsys, place):
    """`sam init` makes events/event.json, and most handlers fail at {}."""
    (place / "app.py").write_text("def handler(e, c): return e['httpMethod']\n")
    (place / "events").mkdir()
    (place / "events" / "event.json").write_text('{"httpMethod": "GET"}')
    assert cli.main(["run", "app.handler"]) == 0
    assert "-e events/event.json" in capsys.readouterr().err
    assert cli.main(["run", "app.handler", "-e", "event"]) == 0
    assert "the event was" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "requirements",
    [
        "boto3>=1\n# a comment\n",
        "\ufeff\r\nboto3>=1 \\\r\n    --hash=sha256:00 \\\r\n    --hash=sha256:11\r\n    # via the function\r\n",
        'boto3>=1 ; python_version >= "3"  # with a marker\nnone-such; sys_platform == "win32"\n',
    ],
)
def test_what_requirements_name_is_there_already_is_not_installed(capsys, place, requirements):
    """boto3 is the runtime's; what pip-compile and editors of Windows write is understood."""
    (place / "requirements.txt").write_text(requirements)
    (place / "app.py").write_text("import boto3\ndef handler(e, c): return boto3.__name__\n")
    code, found, _ = run(capsys, "app.handler", "--no-install")
    assert (code, found["invocations"][0]["answer"]) == (0, "boto3")


def test_what_is_missing_and_may_not_be_installed_is_named(capsys, place):
    """And what to do."""
    (place / "requirements.txt").write_text("a-package-that-is-not-there==1\n")
    assert cli.main(["run", "app.handler", "--no-install"]) == 4
    assert "a-package-that-is-not-there" in capsys.readouterr().err


def test_a_change_is_run_again(place, cache):
    """--watch: the second answer is that of the changed code."""
    environment = {**os.environ, "COLDSPAN_CACHE": str(cache), "PYTHONUNBUFFERED": "1"}
    code = "import sys; from coldspan_console.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "run", "app.handler", "--watch", "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            first = json.loads(process.stdout.readline())
            for line in process.stderr:
                if line.startswith("watching"):
                    break
            (place / "app.py").write_text("def handler(e, c): return 'changed'\n")
            second = json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert first["invocations"][0]["answer"]["n"] is None
    assert second["invocations"][0]["answer"] == "changed"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_ended_early_leaves_no_folder(place, cache, tmp_path_factory, number, code):
    """Ctrl-C in the middle of many, and a CI that stops."""
    (place / "app.py").write_text(
        "import time\ndef handler(e, c):\n    print('begun', flush=True)\n    time.sleep(1)\n"
    )
    folder = tmp_path_factory.mktemp("tmp")
    environment = {**os.environ, "COLDSPAN_CACHE": str(cache), "TMPDIR": str(folder)}
    heeded = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # what starts us may ignore it
    program = heeded + "import sys; from coldspan_console.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "run", "app.handler", "-n", "50", "--concurrency", "2"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        waited = threading.Event()
        for _ in range(400):
            if list(folder.glob("coldspan-sandbox-*")):
                break
            waited.wait(0.05)
        waited.wait(1)
        process.send_signal(number)
        process.communicate(timeout=50)
    assert process.returncode == code
    for _ in range(100):
        if not list(folder.glob("coldspan-*")):
            break
        waited.wait(0.05)
    assert list(folder.glob("coldspan-*")) == []
