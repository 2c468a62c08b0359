"""`sam local invoke`, for real: the template, the layer as `sam build` makes it, in containers."""

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from coldspan_console import demo_events, demo_provider, demo_resources
from coldspan_console.demo import Moto
from coldspan_console.platform.output import documents

ROOT = Path(__file__).parents[2]
OWN = ROOT / ".venv-sam" / "bin" / "sam"
SAM = str(OWN) if OWN.exists() else shutil.which("sam")
IMAGE = f"public.ecr.aws/lambda/python:3.13-{'arm64' if platform.machine() in {'arm64', 'aarch64'} else 'x86_64'}"
FUNCTIONS = {
    "orders": "OrdersFunction", "payments": "PaymentsFunction", "stream": "StreamFunction", "report": "ReportFunction",
    "mcp_server": "McpFunction", "agentcore": "AgentCoreFunction",
}  # fmt: skip


def docker(*arguments):
    """What docker says; None where there is none, or no engine behind it."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout.strip()


def obstacle():
    """Why containers cannot be run here, or None."""
    if SAM is None:
        return "no AWS SAM CLI in .venv-sam or on PATH (make e2e installs it)"
    if docker("version") is None:
        return "no container engine answers `docker version`"
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    if shutil.which("python3.13", path=folders) is None:
        return "no python3.13 on PATH: sam build needs the template's own"
    return None


pytestmark = pytest.mark.skipif(obstacle() is not None, reason=f"sam local: {obstacle()}")


def sam_environment():
    """This process's without credentials: with them sam would ask AWS who it is."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment |= {
        "AWS_DEFAULT_REGION": demo_resources.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAM_CLI_TELEMETRY": "0",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]]),
    }
    return environment


def sam(*arguments):
    """Run sam in the repository."""
    done = subprocess.run(
        [SAM, *arguments], cwd=ROOT, env=sam_environment(), capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def gateway():
    """The address under which containers reach this machine."""
    found = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    try:
        socket.create_server((found, 0)).close()
    except (OSError, TypeError):
        return "0.0.0.0"  # an engine in a virtual machine: its gateway is not an address of ours
    return found or "0.0.0.0"  # some engines do not say, before the first container has run


@pytest.fixture(scope="module")
def invoke(gateway, tmp_path_factory):
    """Invoke a sample by sam local: `invoke("orders", "ok", variables={...})`.

    Gives its answer, its EMF documents, and all that was said. Without an event it is what samconfig.toml names.
    """
    folder = tmp_path_factory.mktemp("sam")
    sam("build", "--build-dir", str(folder / "build"), "--no-cached", "--parallel")
    present = docker("image", "inspect", IMAGE) is not None
    with demo_provider.ProviderServer(host=gateway) as provider, Moto(gateway) as moto:
        port = provider.url.rpartition(":")[2]
        made = demo_resources.create(moto.url, f"http://host.docker.internal:{port}")
        endpoint = {"AWS_ENDPOINT_URL": f"http://host.docker.internal:{moto.url.rpartition(':')[2]}"}

        def invoker(name, event="", variables=(), *, local="emf"):
            logical, sending = FUNCTIONS[name], ()
            given = {
                **made[name],
                **endpoint,
                "COLDSPAN_LOCAL": "tree" if local == "served" else local,
                **dict(variables),
            }
            (folder / "variables.json").write_text(json.dumps({logical: given}))
            if event:
                sent = demo_events.sent_at(json.loads((ROOT / "events" / name / f"{event}.json").read_text()), now_ms())
                (folder / "event.json").write_text(json.dumps(sent))
                sending = ("--event", str(folder / "event.json"))
            options = (
                "--config-file", str(ROOT / "samconfig.toml"),  # names host.docker.internal
                "--template", str(built_template(folder / "build", variables)),
                "--env-vars", str(folder / "variables.json"),
                *(["--skip-pull-image"] if present else []),
            )  # fmt: skip
            if local == "served":
                return options
            done = sam("local", "invoke", logical, *options, *sending)
            printed = (done.stdout + "\n" + done.stderr).splitlines()
            return done.stdout, documents([line.encode() for line in printed]), done.stdout + done.stderr

        yield invoker


def built_template(folder, variables):
    """The built template, with variables that the original does not declare: sam passes no others on."""
    source = folder / "template.yaml"
    if not variables:
        return source
    lines = source.read_text().splitlines()
    at = next(index for index, line in enumerate(lines) if line.strip() == "Variables:")
    indent = " " * (len(lines[at]) - len(lines[at].lstrip()) + 2)
    changed = folder / "changed.yaml"
    added = [f"{indent}{name}: ''" for name in dict(variables)]
    changed.write_text("\n".join([*lines[: at + 1], *added, *lines[at + 1 :]]) + "\n")
    return changed


def now_ms():
    """Epoch ms."""
    return time.time_ns() // 1_000_000


def the_record(found):
    """The one record of the one invocation."""
    (record,) = [document for document in found if "Duration" in document]
    return record


def test_sam_local_orders_is_answered_and_recorded(invoke):
    """The layer alone, as sam mounts it: the answer, four calls, and nothing else in the function's log."""
    answer, found, said = invoke("orders", "ok")
    assert '"statusCode": 201' in answer, said
    record = the_record(found)
    assert (record["start"], record["outcome"], record["flush"]) == ("cold", "ok", "after_response")
    assert [(call["tool"], call["status"]) for call in record["calls"]] == [
        ("dynamodb", "ok"),
        ("dynamodb", "ok"),
        ("sqs", "ok"),
        ("events", "ok"),
    ]
    assert {document["tool"] for document in found if "tool" in document} == {"dynamodb", "sqs", "events"}
    assert "errors" not in record
    assert "dropped" not in record
    assert "/opt/python/coldspan" not in said  # a frame of ours in somebody's traceback


def test_sam_local_report_degrades_and_the_record_says_how(invoke):
    """Five requests at once, one for a currency that is not there, one never answered: the report has the rest."""
    answer, found, said = invoke("report", "degraded")
    record = the_record(found)
    statuses = sorted(call["status"] for call in record["calls"] if call["tool"] == "host.docker.internal")
    assert "timeout" in statuses, said
    assert "ok" in statuses
    assert ("s3", "ok") in [(call["tool"], call["status"]) for call in record["calls"]]
    assert record["outcome"] == "ok"
    assert "errorMessage" not in answer


def test_sam_local_exec_wrapper_is_a_second_way_in(invoke):
    """With a PYTHONPATH of the function's own the .pth file is skipped; the wrapper is not."""
    ways = {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/coldspan", "PYTHONPATH": "/var/task"}
    answer, found, said = invoke("orders", "read", ways)
    assert '"statusCode": 200' in answer, said
    assert the_record(found)["outcome"] == "ok"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_sam_local_without_options_every_sample_answers_and_shows_a_tree(invoke, name):
    """The event and the host are in samconfig.toml; on stdout is the answer, on stderr no line for CloudWatch."""
    answer, found, said = invoke(name, local="tree")
    assert "errorMessage" not in answer, said
    assert json.loads(answer)
    assert found == []
    assert "coldspan" not in answer
    [head] = [line for line in said.splitlines() if line.startswith(f"{FUNCTIONS[name]}  cold  ok  ")]
    tree = said[said.index(head) :]
    assert tree.splitlines()[1].startswith("├── init ")
    assert "├── ✓ " in tree
    assert "└── request " in tree


@pytest.mark.parametrize("way", ["start-lambda", "start-api"])
def test_sam_local_serving_shows_a_tree_of_each_invocation(invoke, way):
    """Containers that live on: the first is cold, the next is not; both are shown where the log is."""
    options = invoke("orders", local="served")
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    command = [SAM, "local", way, "--port", str(port), "--warm-containers", "LAZY", *options]
    environment = sam_environment()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        said = []
        try:
            for line in process.stdout:
                said.append(line)
                if "CTRL+C to quit" in line:
                    ask(way, port)
                    ask(way, port)
                if "  warm  " in line:
                    break
        finally:
            process.send_signal(signal.SIGINT)
            said.append(process.communicate(timeout=60)[0])
    heads = [line.split()[:3] for line in said if line.startswith("OrdersFunction  ")]
    assert [head[1:] for head in heads] == [["cold", "ok"], ["warm", "ok"]], "".join(said)
    assert '"_aws"' not in "".join(said)


def ask(way, port):
    """Read an order: by the API of the function, or by that of Lambda."""
    base = f"http://127.0.0.1:{port}"
    if way == "start-api":
        request = urllib.request.Request(f"{base}/orders/order-1001")
    else:
        event = (ROOT / "events" / "orders" / "read.json").read_bytes()
        request = urllib.request.Request(f"{base}/2015-03-31/functions/OrdersFunction/invocations", event)
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.status == 200
        answer.read()


# --- both layers, with an end ---------------------------------------------------------------------------------------

BOTH = """\
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Resources:
  RecorderLayer:
    Type: AWS::Serverless::LayerVersion
    Properties: {{ContentUri: {recorder}, CompatibleRuntimes: [python3.13]}}
  BlackBoxLayer:
    Type: AWS::Serverless::LayerVersion
    Properties: {{ContentUri: {black_box}, CompatibleRuntimes: [python3.13]}}
  KillsFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: {task}
      Handler: kills.handler
      Runtime: python3.13
      MemorySize: 512
      Timeout: 5
      Layers: [!Ref RecorderLayer, !Ref BlackBoxLayer]
      Environment: {{Variables: {{COLDSPAN_LOCAL: {local}}}}}
"""


@pytest.fixture(scope="module")
def invoke_both(layer, black_box, tmp_path_factory):
    """Invoke tests/e2e/handlers/kills.py with both layers, and let the environment end: answer, documents, all text."""
    folder = tmp_path_factory.mktemp("both")
    template = folder / "template.yaml"
    task = Path(__file__).parent / "handlers"
    present = docker("image", "inspect", IMAGE) is not None

    def invoker(*, local="emf", **event):
        template.write_text(BOTH.format(recorder=layer, black_box=black_box, task=task, local=local))
        (folder / "event.json").write_text(json.dumps(event))
        done = sam(
            "local", "invoke", "KillsFunction", "--shutdown",
            "--template", str(template),
            "--event", str(folder / "event.json"),
            *(["--skip-pull-image"] if present else []),
        )  # fmt: skip
        printed = (done.stdout + "\n" + done.stderr).splitlines()
        return done.stdout, documents([line.encode() for line in printed]), done.stdout + done.stderr

    return invoker


def test_sam_local_with_both_layers_is_answered_and_ends_in_peace(invoke_both):
    """The black box is started from /opt/extensions, holds nothing up, and has nothing to tell at a good end."""
    answer, found, said = invoke_both()
    assert '"pid"' in answer, said
    record = the_record(found)
    assert (record["start"], record["outcome"]) == ("cold", "ok")
    assert "told_by" not in record
    assert "Extension" not in said  # an extension's error, in the emulator's words


@pytest.mark.parametrize(("do", "outcome"), [("leave", "crash"), ("sleep", "timeout")])
def test_sam_local_with_both_layers_tells_of_a_kill_before_the_container_ends(invoke_both, do, outcome):
    """No next init comes in this container: only the black box can tell."""
    _, found, said = invoke_both(do=do)
    record = the_record(found)
    assert (record["outcome"], record["told_by"]) == (outcome, "black_box"), said
    told = [(call["tool"], call["operation"], call["status"]) for call in record["calls"]]
    assert told == [("ledger", "read", "ok"), ("ledger", "write", "in_flight")]


def test_sam_local_shows_a_kill_as_a_tree_that_the_black_box_tells(invoke_both):
    """Last words from the recorder, then the black box's tree: both on stderr, where the log is."""
    answer, found, said = invoke_both(do="sleep", local="tree")
    assert found == []
    assert "coldspan" not in answer
    near, told = said.split("before its deadline", 1)[1], said.split("told by the black box", 1)[1]
    for text in (near, told):
        assert "… ledger write" in text, said
    assert "✓ ledger read" in told
