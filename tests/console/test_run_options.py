"""`coldspan run`: its options, one by one, and what it says when something is not as it should be."""

import importlib.metadata
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from coldspan_console import cli, layers
from coldspan_console.output import ConsoleError, Output
from coldspan_console.project import Layer, Project
from coldspan_console.running import aws, interpreter
from coldspan_console.running.watching import watch

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "tests" / "data" / "templates"
SHOP = TEMPLATES / "shop"

pytestmark = pytest.mark.usefixtures("place")


def run(capsys, *words):
    """Run it with --json: (exit code, the document, stderr)."""
    code = cli.main(["run", *map(str, words), "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def one(capsys, *words):
    """The only invocation of a run."""
    _, found, _ = run(capsys, *words)
    (invocation,) = found["invocations"]
    return invocation


# --- which function ---------------------------------------------------------------------------------------------------


def test_a_folder_is_a_function_with_the_handler_named(capsys, place):
    """No template, and the code is elsewhere."""
    (place / "code").mkdir()
    (place / "code" / "work.py").write_text("def go(event, context): return context.function_name\n")
    invocation = one(capsys, "code", "--handler", "work.go")
    assert (invocation["status"], invocation["answer"]) == ("success", "code")


def test_a_folder_whose_handler_cannot_be_guessed_is_asked_for(capsys, place):
    """Nothing is invoked by a guess."""
    (place / "code").mkdir()
    (place / "code" / "work.py").write_text("def go(event, context): return 1\n")
    assert cli.main(["run", "code"]) == 3
    assert "--handler" in capsys.readouterr().err


def test_of_many_functions_the_names_are_told(capsys, place):
    """Which one was meant is not to be guessed."""
    shutil.copytree(SHOP, place / "shop")
    assert cli.main(["run", "--template", "shop"]) == 3
    said = capsys.readouterr().err
    assert "OrdersFunction" in said
    assert "NodeFunction" not in said


def test_a_misspelt_function_has_a_suggestion(capsys):
    """The exit code is that of bad input."""
    assert cli.main(["run", "OrderFunction", "--template", str(SHOP)]) == 3
    assert "did you mean OrdersFunction?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words"), [("NodeFunction", "nodejs22.x"), ("ImageFunction", "container"), ("LostFunction", "missing")]
)
def test_a_function_that_cannot_run_here_is_refused_in_words(capsys, name, words):
    """A container image, another language, no code."""
    assert cli.main(["run", name, "--template", str(SHOP)]) == 3
    assert words in capsys.readouterr().err


# --- what the template says -------------------------------------------------------------------------------------------


def test_the_templates_variables_timeout_and_memory_are_the_functions(capsys):
    """Each is what Lambda would give it."""
    invocation = one(capsys, "SnapFunction", "--template", SHOP, "-P", "Stage=prod", "--cold")
    assert invocation["answer"]["stage"] == "prod"
    assert invocation["report"]["memorySizeMB"] == 256
    assert invocation["record"]["start"] == "restored"


def test_parameters_without_a_value_and_variables_that_are_not_known_are_noted(capsys):
    """An empty value is no riddle then."""
    _, _, said = run(capsys, "OrdersFunction", "--template", SHOP)
    assert "Secret (-P NAME=VALUE)" in said
    assert "PASSWORD, TYPO (--env NAME=VALUE)" in said


def test_a_parameter_that_the_template_does_not_have_is_refused(capsys):
    """It would do nothing."""
    assert cli.main(["run", "SnapFunction", "--template", str(SHOP), "-P", "Stgae=prod"]) == 3
    assert "did you mean Stage?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "start"),
    [([], "cold"), (["--provisioned"], "provisioned"), (["--snapstart"], "restored"), (["--managed", "2"], "cold")],
)
def test_how_it_starts_can_be_chosen(capsys, words, start):
    """The template need not be changed to see it."""
    invocation = one(capsys, "app.handler", *words)
    assert (invocation["status"], invocation["record"]["start"]) == ("success", start)


def test_two_ways_to_start_are_wrong_use(capsys):
    """Neither would be the one that was meant."""
    assert cli.main(["run", "app.handler", "--snapstart", "--managed", "2"]) == 2
    assert "--snapstart" in capsys.readouterr().err


def test_cold_means_a_new_environment_each_time(capsys):
    """Three cold starts to compare, and not one."""
    _, found, _ = run(capsys, "app.handler", "-n", "3", "--cold")
    assert found["summary"]["starts"] == {"cold": 3}
    assert all("initDurationMs" in each["report"] for each in found["invocations"])


def test_layers_of_the_template_are_built_and_mounted(capsys):
    """By make, by their requirements, and with a word for the one that is only in an account."""
    _, found, said = run(capsys, "--template", TEMPLATES / "layers")
    assert found["invocations"][0]["answer"] == ["words", "made"]
    assert "layer arn:aws:lambda:" in said
    assert "not on this machine" in said


def test_what_the_cdk_synthesised_runs(capsys):
    """Its table is named as the variable says."""
    assert one(capsys, "--template", TEMPLATES / "cdk" / "Stack.template.json")["status"] == "success"


def test_code_in_an_archive_runs(capsys, place):
    """CodeUri may be a .zip."""
    (place / "packed").mkdir()
    with zipfile.ZipFile(place / "packed" / "code.zip", "w") as archive:
        archive.writestr("app.py", "def handler(event, context): return __file__\n")
    (place / "packed" / "template.yaml").write_text(
        "Resources: {Zipped: {Type: 'AWS::Serverless::Function', Properties: "
        f"{{CodeUri: code.zip, Handler: app.handler, Runtime: python{interpreter.own_version()}}}}}}}\n"
    )
    assert one(capsys, "--template", "packed")["answer"] == "/var/task/app.py"
    (place / "packed" / "code.zip").write_bytes(b"no archive")
    assert cli.main(["run", "--template", "packed"]) == 3
    assert "code.zip" in capsys.readouterr().err


# --- layers -----------------------------------------------------------------------------------------------------------


def test_the_second_layer_can_be_added(capsys):
    """Its line of the platform's figures is the sign that it ran."""
    _, found, _ = run(capsys, "app.handler", "--black-box", "-n", "2")
    assert found["summary"]["outcomes"] == {"ok": 2}


def test_a_layer_that_does_not_build_says_why(place):
    """What make said, and where."""
    (place / "Makefile").write_text("build-Broken:\n\t@echo no such tool >&2; exit 1\n")
    with pytest.raises(ConsoleError) as found:
        layers.local(Layer("Broken", place, "makefile"), "python3.13", lambda *_: None)
    assert (found.value.where, "make build-Broken" in found.value.todo) == (str(place), True)
    assert not list((layers.cache_folder() / "layers").glob("Broken*"))


def test_the_wheel_brings_the_layers(tmp_path):
    """Installed by pip there is no checkout beside it."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = (
        "import sys; sys.path[:] = [sys.argv[1], *(each for each in sys.path if not each.startswith(sys.argv[2]))];"
        "from coldspan_console import layers; print(layers.source_of('recorder'));"
        "print(layers.ours('recorder')); print(layers.ours('blackbox'))"
    )
    # the test's environment finds the checkout by a path of its own
    command = [sys.executable, "-I", "-c", code, str(tmp_path / "installed"), str(ROOT / "console")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    source, recorder, black_box = map(Path, done.stdout.split())
    assert source.is_relative_to(tmp_path / "installed")
    assert layers.is_ours(recorder)
    assert (black_box / "extensions" / "coldspan-blackbox").is_file()


# --- why no record ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--no-layer"], "--no-layer"),
        (["--env", "COLDSPAN_ENABLED=false"], "COLDSPAN_ENABLED is false"),
        (["--env", "COLDSPAN_EMF=off"], "COLDSPAN_EMF is off"),
        (["--env", "PYTHONPATH=/var/task/lib"], "AWS_LAMBDA_EXEC_WRAPPER=/opt/coldspan"),
    ],
)
def test_why_no_record_came_is_said(capsys, words, reason):
    """A silent recorder is the first thing that a user stumbles on."""
    assert cli.main(["run", "app.handler", *words]) == 0
    said = capsys.readouterr().out
    assert reason in said
    assert "coldspan doctor" in said


def test_the_second_way_in_records_where_pythonpath_is_set(capsys):
    """What the advice says works."""
    words = ["--env", "PYTHONPATH=/var/task/lib", "--env", "AWS_LAMBDA_EXEC_WRAPPER=/opt/coldspan"]
    assert one(capsys, "app.handler", *words)["record"]["outcome"] == "ok"


# --- events -----------------------------------------------------------------------------------------------------------


def test_an_event_is_found_by_its_name_below_events(capsys, place):
    """`-e ok` is shorter than a path, and different for each function."""
    shutil.copytree(SHOP, place, dirs_exist_ok=True)
    for folder in ("orders", "snap"):
        (place / "events" / folder).mkdir(parents=True)
        (place / "events" / folder / "ok.json").write_text(json.dumps({"for": folder}))
    assert one(capsys, "SnapFunction", "-e", "ok")["answer"]["event"] == {"for": "snap"}
    assert one(capsys, "OrdersFunction", "-e", "ok")["answer"]["event"] == {"for": "orders"}


def test_an_event_that_is_no_json_is_told_with_its_place(capsys, place):
    """Line and column of the comma too many."""
    (place / "bad.json").write_text('{\n  "a": 1,\n}')
    assert cli.main(["run", "app.handler", "-e", "bad.json"]) == 3
    assert "bad.json:" in capsys.readouterr().err
    assert cli.main(["run", "app.handler", "-e", "app.py"]) == 3
    assert "event is no JSON" in capsys.readouterr().err


def test_an_event_that_is_not_there_names_those_that_are(capsys, place):
    """A misspelt name."""
    (place / "events").mkdir()
    (place / "events" / "order.json").write_text("{}")
    assert cli.main(["run", "app.handler", "-e", "odrer"]) == 3
    assert "events/order.json" in capsys.readouterr().err


def test_a_folder_without_events_is_refused(capsys, place):
    """Nothing would run, and nobody would notice."""
    (place / "none").mkdir()
    assert cli.main(["run", "app.handler", "-e", "none"]) == 3
    assert "*.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "where"), [('{"a": ', "vars.json:1:7"), ('["a"]', "vars.json"), ('{"Parameters": 1}', "vars.json")]
)
def test_a_broken_file_of_variables_is_refused(capsys, place, text, where):
    """Sam's form, and what it is."""
    (place / "vars.json").write_text(text)
    assert cli.main(["run", "app.handler", "--env-vars", "vars.json"]) == 3
    assert where in capsys.readouterr().err


# --- interpreter and packages -----------------------------------------------------------------------------------------


def test_the_projects_own_environment_is_taken(place):
    """Its packages are what the function was written with."""
    (place / ".venv" / "bin").mkdir(parents=True)
    (place / ".venv" / "bin" / "python").symlink_to(interpreter.base())
    assert ".venv" in interpreter.choose("python3.13", place).origin


def test_the_shells_environment_goes_first(place, monkeypatch):
    """`source somewhere/bin/activate` is a wish."""
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    assert interpreter.choose("python3.9", place).origin == "VIRTUAL_ENV"


def test_a_command_that_is_only_called_as_the_version_is_passed_over(place, monkeypatch):
    """There is a shim of pyenv's for each version that was ever installed, and it does not run."""
    shim = place / "bin" / "python3.14"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho 'pyenv: python3.14: command not found' >&2\nexit 127\n")
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:/usr/bin:/bin")
    for name in ("PYENV_ROOT", "UV_PYTHON_INSTALL_DIR"):
        monkeypatch.setenv(name, str(place / "none"))
    wanted = "python3.14" if interpreter.own_version() != "3.14" else "python3.9"
    chosen = interpreter.choose(wanted, place)
    assert (chosen.version, chosen.path) == (interpreter.own_version(), interpreter.base())
    assert wanted in chosen.origin


def test_another_version_than_the_runtime_is_noted(capsys):
    """A function may behave otherwise there."""
    other = "python3.12" if interpreter.own_version() != "3.12" else "python3.11"
    template = Path("template.yaml")
    template.write_text(
        "Resources: {A: {Type: 'AWS::Serverless::Function', Properties: {Handler: app.handler, Runtime: "
        + other
        + "}}}"
    )
    _, _, said = run(capsys, "A", "--python", interpreter.base())
    assert f"{other} in the template" in said


@pytest.mark.parametrize(
    ("requirement", "named"),
    [
        ("greeting @ file://{source}\n", "greeting"),
        ("\ufeffboto3  # the runtime has it\n../greeting  # ours\n", "../greeting"),
        ("--prefer-binary\n{source}\n", "--prefer-binary"),
    ],
)
def test_a_package_is_installed_once_and_the_traceback_names_var_task(capsys, place, requirement, named):
    """As it is on Lambda: packages beside the code, and no path of this machine."""
    source = place / "greeting"
    source.mkdir()
    (source / "greeting.py").write_text("def greet(name): raise LookupError(name)\n")
    (source / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbackend-path = ['.']\nbuild-backend = 'backend'\n"
        "[project]\nname = 'greeting'\nversion = '1'\n"
    )
    (source / "backend.py").write_text(BACKEND)
    function = place / "function"
    function.mkdir()
    (function / "requirements.txt").write_text(requirement.format(source=source))
    (function / "app.py").write_text("import greeting\ndef handler(event, context): greeting.greet('you')\n")
    for noted in (True, False):
        _, found, said = run(capsys, "function")
        invocation = found["invocations"][0]
        assert invocation["answer"]["errorType"] == "LookupError"
        assert all("/var/task/" in frame for frame in invocation["answer"]["stackTrace"])
        assert (re.search(f"installed .*{named}", said) is not None) == noted
    assert sorted(path.name for path in function.iterdir()) == ["app.py", "requirements.txt"]


BACKEND = """
import zipfile

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    name = "greeting-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as wheel:
        wheel.write("greeting.py")
        wheel.writestr("greeting-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: greeting\\nVersion: 1\\n")
        wheel.writestr("greeting-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr("greeting-1.dist-info/RECORD", "")
    return name
"""


def test_an_index_that_cannot_be_reached_is_said(capsys, place, monkeypatch):
    """No traceback of pip, and what to do."""
    for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    (place / "requirements.txt").write_text("a-package-that-is-not-there==1\n")
    assert cli.main(["run", "app.handler"]) == 4
    assert "could not be installed" in capsys.readouterr().err


def test_a_requirement_that_is_none_is_told_with_its_line(capsys, place):
    """A merge left a mark behind."""
    (place / "requirements.txt").write_text("boto3\n<<<<<<< HEAD\n")
    assert cli.main(["run", "app.handler"]) == 3
    assert "requirements.txt:2" in capsys.readouterr().err


def test_the_runtimes_client_comes_from_the_index_where_this_command_has_none(monkeypatch):
    """Installed with few packages, the console is not to fail for want of one."""
    wanted = []

    def no_version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(interpreter.importlib.metadata, "version", no_version)
    monkeypatch.setattr(interpreter, "install", lambda python, target, words: wanted.append(words))
    own = interpreter.Interpreter(interpreter.base(), interpreter.own_version(), "", {})
    folder = interpreter.runtime_folder(own)
    assert wanted == [interpreter.RUNTIME_PACKAGES]
    shutil.rmtree(folder)  # the next test is to have a whole one


# --- AWS --------------------------------------------------------------------------------------------------------------

CALLER = """\
import boto3

def handler(event, context):
    return boto3.client("sqs").list_queues().get("QueueUrls")
"""


def test_moto_has_the_resources_of_the_template_under_the_names_that_variables_have():
    """A function finds its table, queue, topic, bucket and bus."""
    import boto3

    output = Output(as_json=True)
    project = Project.load(SHOP)
    variables = project.function("OrdersFunction").environment
    with aws.endpoint("moto", project, "eu-west-1", output) as url:

        def client(service):
            return boto3.client(
                service, endpoint_url=url, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x",
            )  # fmt: skip

        assert set(client("dynamodb").list_tables()["TableNames"]) == {variables["TABLE"], "Sessions"}
        attributes = client("sqs").get_queue_attributes(QueueUrl=variables["QUEUE"], AttributeNames=["All"])
        assert "RedrivePolicy" in attributes["Attributes"]
        topics = [topic["TopicArn"] for topic in client("sns").list_topics()["Topics"]]
        assert topics == [variables["TOPIC"]]
        assert [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]] == [variables["FILES"]]
        assert variables["BUS"] in {bus["Name"] for bus in client("events").list_event_buses()["EventBuses"]}
        assert client("kinesis").list_streams()["StreamNames"] == ["Stream"]


def test_calls_reach_the_endpoint_that_is_named(capsys, place):
    """By option, and by the variable that boto3 knows; the reply is the record's."""
    (place / "app.py").write_text(CALLER)
    with aws.endpoint("moto", None, "eu-west-1", Output(as_json=True)) as url:
        invocation = one(capsys, "app.handler", "--aws", url, "--timeout", "20")
    assert invocation["status"] == "success"
    assert [(call["tool"], call["status"]) for call in invocation["record"]["calls"]] == [("sqs", "ok")]


def test_a_call_that_finds_no_account_has_advice(capsys, place):
    """The first function that uses AWS fails here, and the way out is one option."""
    (place / "app.py").write_text(CALLER.replace('"sqs")', '"sqs", endpoint_url="http://127.0.0.1:9")'))
    _, found, said = run(capsys, "app.handler", "--timeout", "30")
    assert found["invocations"][0]["answer"]["errorType"] == "EndpointConnectionError"
    assert "--aws moto" in said


def test_the_shells_credentials_are_passed_on_only_when_asked_for(capsys, place, monkeypatch):
    """A function under test is not to reach an account by accident."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASHELL")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (place / "app.py").write_text("import os\ndef handler(event, context): return os.environ['AWS_ACCESS_KEY_ID']\n")
    assert one(capsys, "app.handler")["answer"] == "local"
    assert one(capsys, "app.handler", "--aws", "account")["answer"] == "AKIASHELL"


def test_no_credentials_to_pass_on_is_said(capsys, monkeypatch, place):
    """And how to get some."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(place / "none"))
    assert cli.main(["run", "app.handler", "--aws", "account"]) == 4
    assert "no AWS credentials" in capsys.readouterr().err


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_fifty_at_once_are_counted_and_summed_up(capsys):
    """-n 50 --concurrency 4: the figures of all, the trees of a few."""
    assert cli.main(["run", "app.handler", "-n", "50", "--concurrency", "4", "--payload", '{"n": 1}']) == 0
    said = capsys.readouterr().out
    assert "50 invocations" in said
    assert "outcomes  ok 50" in said
    cold, warm = map(int, re.search(r"starts +cold (\d+) · warm (\d+)", said).groups())
    assert (cold + warm, cold <= 4) == (50, True)
    assert re.search(r"duration  p50 .+ · p95 .+ · p99 ", said)
    assert said.count("← --payload") == 3


def test_of_many_the_failed_are_shown_first(capsys, place):
    """They are what one looks for."""
    (place / "many").mkdir()
    for number in range(6):
        (place / "many" / f"{number}.json").write_text(json.dumps({"n": number, "boom": number == 4}))
    assert cli.main(["run", "app.handler", "-e", "many"]) == 0
    said = capsys.readouterr().out
    assert "many/4.json" in said
    assert "error 1 · ok 5" in said


def test_the_json_log_of_an_error_is_shown_as_a_traceback(capsys, place):
    """A traceback in one line of JSON is for machines."""
    shutil.copytree(TEMPLATES / "hello", place, dirs_exist_ok=True)
    (place / "hello_world" / "requirements.txt").unlink()
    (place / "hello_world" / "app.py").write_text("def lambda_handler(event, context):\n    return event['no']\n")
    assert cli.main(["run"]) == 0
    said = capsys.readouterr().out
    assert '  │   File "/var/task/app.py", line 2, in lambda_handler' in said
    assert "stackTrace" not in said.partition("│ Traceback")[2]


def test_what_a_function_prints_cannot_move_the_cursor(capsys, place):
    """A log is text of others."""
    (place / "app.py").write_text("def handler(event, context): print('\\x1b[2J gone')\n")
    assert cli.main(["run", "app.handler"]) == 0
    said = capsys.readouterr().out
    assert "[2J gone" in said
    assert "\x1b" not in said


def test_a_line_that_only_looks_like_a_record_does_no_harm(capsys, place):
    """Functions print EMF of their own."""
    (place / "app.py").write_text(
        "import json\ndef handler(event, context):\n"
        "    print(json.dumps({'_aws': {}, 'request_id': context.aws_request_id, 'outcome': 7, 'calls': 'x'}))\n"
    )
    assert cli.main(["run", "app.handler", "-n", "2"]) == 0
    assert "Traceback" not in capsys.readouterr().err


def test_piped_it_is_quiet_and_plain(place, cache):
    """As a real process: the result on stdout, one note on stderr, no control characters."""
    command = [sys.executable, "-m", "coldspan_console.cli", "run", "app.handler"]
    environment = {"PATH": "/usr/bin:/bin", "COLDSPAN_CACHE": str(cache), "HOME": str(place)}
    environment["PYTHONPATH"] = str(ROOT / "console")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert re.match(r".* ← {}  cold  ok ", done.stdout)
    assert done.stderr.splitlines() == [f"kept: coldspan show {done.stderr.split()[3]} · coldspan report"]
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", done.stdout + done.stderr)


# --- watching ---------------------------------------------------------------------------------------------------------


def test_a_file_that_an_editor_replaces_is_seen_and_a_broken_one_ends_nothing(place, capsys):
    """Editors write a new file and rename it; half a template is mended by the next save."""
    event = place / "event.json"
    event.write_text("1")
    seen = []

    def work():
        seen.append(event.read_text())
        if len(seen) == 4:
            raise KeyboardInterrupt
        following = place / "event.json.new"
        following.write_text(str(len(seen) + 1))
        following.rename(event)
        if len(seen) == 2:
            raise ConsoleError("half a file", where="event.json")
        return 0

    with pytest.raises(KeyboardInterrupt):
        watch([event], work, Output())
    assert seen == ["1", "2", "3", "4"]
    assert "half a file" in capsys.readouterr().err


def test_stdin_is_no_event_twice(capsys, monkeypatch):
    """An empty stdin is no JSON, and said to be."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert cli.main(["run", "app.handler", "-e", "-"]) == 3
    assert "stdin" in capsys.readouterr().err
