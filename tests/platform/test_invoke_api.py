"""The Lambda API by the real boto3, asynchronous invocations, and queues of moto's server."""

import base64
import concurrent.futures
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from coldspan_console.demo import Moto
from coldspan_console.platform.asynchronous import Asynchronous
from coldspan_console.platform.invoke_api import InvokeApi, Tails
from coldspan_console.platform.sources import SqsSource

ROOT = Path(__file__).parents[2]
LARGE = b'"' + b"x" * 6_300_000 + b'"'
CREDENTIALS = {"region_name": "eu-west-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}


def client_of(address, service="lambda"):
    """boto3's client for it, with room for many at once and no retries."""
    config = Config(retries={"total_max_attempts": 1}, max_pool_connections=250, read_timeout=60)
    return boto3.client(service, endpoint_url=address, config=config, **CREDENTIALS)


@pytest.fixture
def served(fleet, tmp_path):
    """A fleet behind the API: `.client`, `.fleet`, `.letters`."""

    class Served:
        pass

    tails = Tails()
    one = Served()
    one.fleet = fleet(most=4, name="Echo", timeout_ms=5_000)
    one.fleet._heard = lambda line: (one.fleet.lines.append(line), tails.hear(line))
    one.letters = tmp_path / "letters"
    one.later = Asynchronous(one.letters, retry_s=0.05)
    api = InvokeApi({"Echo": one.fleet}, one.later, tails)
    one.client = client_of(api.address)
    yield one
    api.close()
    one.later.close(0)


def test_a_synchronous_invocation_gives_what_the_function_gave(served):
    """Payload, status, version, request id."""
    done = served.client.invoke(FunctionName="Echo", Payload=b'{"n": 1}')
    assert (done["StatusCode"], done["ExecutedVersion"]) == (200, "$LATEST")
    assert "FunctionError" not in done
    assert json.load(done["Payload"])["event"] == {"n": 1}


def test_every_way_to_name_a_function(served):
    """Name, partial ARN, ARN, with a qualifier."""
    for name in (
        "Echo",
        "123456789012:function:Echo",
        "arn:aws:lambda:eu-west-1:123456789012:function:Echo",
        "Echo:$LATEST",
    ):
        assert served.client.invoke(FunctionName=name)["StatusCode"] == 200


def test_a_function_that_raises_is_an_unhandled_error(served):
    """With the runtime's own body."""
    done = served.client.invoke(FunctionName="Echo", Payload=b'{"do": "raise"}')
    assert (done["StatusCode"], done["FunctionError"]) == (200, "Unhandled")
    assert json.load(done["Payload"])["errorType"] == "ValueError"


def test_the_tail_of_the_log_comes_when_asked_for(served):
    """Base64, with START, the function's lines and REPORT."""
    done = served.client.invoke(FunctionName="Echo", Payload=b'{"do": "print", "n": 5}', LogType="Tail")
    text = base64.b64decode(done["LogResult"]).decode()
    assert "START RequestId: " in text
    assert "a line 5" in text
    assert "REPORT RequestId: " in text


def test_client_context_and_tenant_reach_the_function(served):
    """As boto3 sends them."""
    context = base64.b64encode(b'{"custom": {"a": "b"}}').decode()
    done = served.client.invoke(FunctionName="Echo", ClientContext=context, TenantId="blue")
    assert json.load(done["Payload"])["tenant"] == "blue"


@pytest.mark.parametrize(
    ("call", "code", "status"),
    [
        (lambda client: client.invoke(FunctionName="Nobody"), "ResourceNotFoundException", 404),
        (lambda client: client.invoke(FunctionName="Echo", Payload=b"{"), "InvalidRequestContentException", 400),
        (lambda client: client.invoke(FunctionName="Echo", Payload=LARGE), "RequestTooLargeException", 413),
        (lambda client: client.invoke(FunctionName="Echo", InvocationType="Event", Payload=LARGE[-1_100_000:]),
         "RequestTooLargeException", 413),
        (lambda client: client.get_function(FunctionName="Nobody"), "ResourceNotFoundException", 404),
        (lambda client: client.invoke(FunctionName="Echo", Payload=b"[NaN]"), "InvalidRequestContentException", 400),
        (lambda client: client.invoke(FunctionName="Echo", ClientContext="W10="),
         "InvalidRequestContentException", 400),
    ],
    ids=["unknown", "no json", "too large", "too large for later", "unknown to get", "no number", "no object"],
)  # fmt: skip
def test_errors_have_the_services_shapes(served, call, code, status):
    """boto3 makes its own exceptions of them."""
    with pytest.raises(ClientError) as caught:
        call(served.client)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_what_is_not_served_is_said_in_the_services_shape(served):
    """A page of HTML would be boto3's "501"."""
    for call in (served.client.delete_function, served.client.list_versions_by_function):
        with pytest.raises(ClientError) as caught:
            call(FunctionName="Echo")
        assert caught.value.response["Error"]["Code"] == "UnknownOperationException"
        assert "is not served here" in str(caught.value)


def test_functions_are_listed_and_a_dry_run_runs_nothing(served):
    """What consoles and scripts ask first."""
    assert [each["FunctionName"] for each in served.client.list_functions()["Functions"]] == ["Echo"]
    assert served.client.get_function(FunctionName="Echo")["Configuration"]["Handler"] == "app.handler"
    assert served.client.invoke(FunctionName="Echo", InvocationType="DryRun")["StatusCode"] == 204
    assert served.fleet.environments == 0


def test_more_requests_than_environments_are_throttled(served):
    """429, as TooManyRequestsException, with the limit that was met: the function's own, or that of all."""
    with concurrent.futures.ThreadPoolExecutor(12) as pool:

        def one(_):
            try:
                return served.client.invoke(FunctionName="Echo", Payload=b'{"do": "sleep", "s": 1}')["StatusCode"]
            except ClientError as error:
                reasons.add(error.response["Reason"])
                return error.response["Error"]["Code"]

        reasons = set()
        found = list(pool.map(one, range(12)))
        assert reasons == {"ConcurrentInvocationLimitExceeded"}
        served.fleet.reserved = True
        list(pool.map(one, range(12)))
        assert reasons == {"ConcurrentInvocationLimitExceeded", "ReservedFunctionConcurrentInvocationLimitExceeded"}
    assert set(found) == {200, "TooManyRequestsException"}
    assert found.count(200) >= 4


def test_a_web_page_cannot_invoke_a_function(served):
    """A browser says where a request comes from; no SDK does."""
    import urllib.error
    import urllib.request

    url = f"{served.client.meta.endpoint_url}/2015-03-31/functions/Echo/invocations"
    request = urllib.request.Request(url, b"{}", {"Origin": "https://example.com"}, method="POST")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    assert caught.value.code == 403
    caught.value.close()
    assert served.fleet.environments == 0


def test_an_asynchronous_invocation_is_answered_at_once_and_runs(served):
    """202, and the event arrives."""
    done = served.client.invoke(FunctionName="Echo", InvocationType="Event", Payload=b'{"do": "print", "n": 9}')
    assert done["StatusCode"] == 202
    assert served.later.wait(10)
    served.fleet.settled()
    assert "a line 9" in [line.text for line in served.fleet.lines]


def test_an_asynchronous_invocation_that_fails_is_tried_three_times_and_becomes_a_dead_letter(served):
    """With the same request id, and in the shape of a failure destination's record."""
    done = served.client.invoke(FunctionName="Echo", InvocationType="Event", Payload=b'{"do": "raise"}')
    assert served.later.wait(20)
    request_id = done["ResponseMetadata"]["RequestId"]
    (file,) = served.letters.rglob("*.json")
    letter = json.loads(file.read_text())
    assert file.stem == request_id == letter["requestContext"]["requestId"]
    assert (letter["requestContext"]["condition"], letter["requestContext"]["approximateInvokeCount"]) == (
        "RetriesExhausted",
        3,
    )
    assert (letter["requestPayload"], letter["responsePayload"]["errorType"]) == ({"do": "raise"}, "ValueError")
    assert list(served.letters.rglob("*.part")) == []


def test_a_function_that_is_not_to_be_tried_again_is_not(served, tmp_path):
    """MaximumRetryAttempts: 0."""
    later = Asynchronous(tmp_path / "other", retry_s=0.05, retries={"Echo": 0})
    later.submit(served.fleet, b'{"do": "raise"}', {})
    assert later.wait(20)
    (file,) = (tmp_path / "other").rglob("*.json")
    assert json.loads(file.read_text())["requestContext"]["approximateInvokeCount"] == 1
    later.close(0)


def test_events_that_wait_for_a_retry_hold_up_no_other(served, tmp_path):
    """As many failing ones as there are workers, and a long delay."""
    later = Asynchronous(tmp_path / "other", retry_s=600)
    for _ in range(20):
        later.submit(served.fleet, b'{"do": "raise"}', {})
    later.submit(served.fleet, b'{"do": "print", "n": 77}', {})
    waited = threading.Event()
    for _ in range(400):
        if any(line.text == "a line 77" for line in served.fleet.lines):
            break
        waited.wait(0.05)
    assert any(line.text == "a line 77" for line in served.fleet.lines)
    assert later.close(0) == 20


def test_what_has_not_ended_when_the_platform_does_becomes_a_dead_letter(served):
    """No event is lost without a word."""
    served.client.invoke(FunctionName="Echo", InvocationType="Event", Payload=b'{"do": "sleep", "s": 3}')
    assert served.later.close(0.1) == 1
    (file,) = served.letters.rglob("*.json")
    assert json.loads(file.read_text())["requestContext"]["condition"] == "EventAgeExceeded"


@pytest.mark.parametrize(
    ("body", "stay"),
    [
        ('{"batchItemFailures": [{"itemIdentifier": "a"}]}', {"a"}),
        ('{"batchItemFailures": []}', set()),
        ("null", set()),
        ('{"batchItemFailures": [{"itemIdentifier": "x"}]}', {"a", "b"}),
        ('{"batchItemFailures": [{"itemIdentifier": "a"}, {"itemIdentifier": "x"}]}', {"a", "b"}),
        ('{"batchItemFailures": [{"itemIdentifier": ""}]}', {"a", "b"}),
        ('{"batchItemFailures": [{"itemIdentifier": null}]}', {"a", "b"}),
        ('{"batchItemFailures": [{}]}', {"a", "b"}),
        ("no json", {"a", "b"}),
    ],
)
def test_a_partial_response_that_names_nobody_known_fails_the_whole_batch(body, stay):
    """As the service does: else messages would be deleted that nobody has worked on."""
    source = SqsSource.__new__(SqsSource)
    source._partial = True
    assert source._failures(body.encode(), {"a", "b"}) == stay


def test_a_binary_attribute_of_a_message_is_base64():
    """Bytes are no JSON: the batch would come again for ever."""
    source = SqsSource.__new__(SqsSource)
    source._arn = "arn:aws:sqs:eu-west-1:123456789012:jobs"
    attributes = {
        "raw": {"DataType": "Binary", "BinaryValue": b"\xff\x00"},
        "word": {"DataType": "String", "StringValue": "w"},
    }
    message = {"MessageId": "m", "ReceiptHandle": "r", "Body": "b", "MessageAttributes": attributes}
    found = json.loads(json.dumps(source._record(message)))["messageAttributes"]
    assert found["raw"]["binaryValue"] == "/wA="
    assert "stringValue" not in found["raw"]
    assert found["word"]["stringValue"] == "w"


@pytest.mark.parametrize("headers", ["Content-Length: abc", "Content-Length: -1", "Transfer-Encoding: chunked"])
def test_a_request_whose_length_is_not_told_is_refused(served, headers):
    """Never an empty event in its place."""
    import socket

    host, port = served.client.meta.endpoint_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        head = f"POST /2015-03-31/functions/Echo/invocations HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 400 " in connection.recv(4096)
    assert served.fleet.environments == 0


def test_a_queue_of_moto_is_polled_and_partial_failures_stay_in_it(fleet, task):
    """Real messages through the real boto3: what succeeded is deleted, what failed comes again."""
    (task / "app.py").write_text(
        "SEEN = []\n"
        "def handler(event, context):\n"
        "    bad = [r for r in event['Records'] if r['body'] == 'bad']\n"
        "    for r in event['Records']:\n"
        "        print(r['body'], r['eventSourceARN'], r['attributes']['ApproximateReceiveCount'], flush=True)\n"
        "    return {'batchItemFailures': [{'itemIdentifier': r['messageId']} for r in bad]}\n"
    )
    one = fleet(most=1)
    with Moto() as moto:
        client = client_of(moto.url, "sqs")
        url = client.create_queue(QueueName="jobs", Attributes={"VisibilityTimeout": "1"})["QueueUrl"]
        arn = "arn:aws:sqs:eu-west-1:123456789012:jobs"
        for body in ("good", "bad", "fine"):
            client.send_message(QueueUrl=url, MessageBody=body)
        source = SqsSource(
            one, url, arn, {"BatchSize": 10, "FunctionResponseTypes": ["ReportBatchItemFailures"]}, client
        )
        waited = threading.Event()
        for _ in range(200):
            printed = [line.text for line in one.lines if line.kind == "function"]
            if sum(line.startswith("bad") for line in printed) >= 2:
                break
            waited.wait(0.05)
        source.close()
    assert sorted(line.split()[0] for line in printed).count("good") == 1
    assert f"bad {arn} 2" in printed


def commands(folder):
    """The command lines of processes that name a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        found += [text] if str(folder).encode() in text else []
    return found


TEMPLATE = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Echo:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: task, Handler: app.handler, Runtime: python3.13, Timeout: 5}
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_command_serves_keeps_what_was_recorded_and_ends(task, tmp_path, number):
    """`coldspan local` from a template: boto3 against it, the record in the store, no process left; killed, too."""
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    code = "import sys; from coldspan_console.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "local", "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            listening = json.loads(process.stdout.readline())
            done = client_of(listening["address"]).invoke(FunctionName="Echo", Payload=b'{"n": 1}')
            pid = json.load(done["Payload"])["pid"]
            for line in process.stdout:
                if json.loads(line)["event"] == "record":
                    break
        finally:
            process.send_signal(number)
            code = process.wait(30)
            process.stdout.read()
    assert code == (0 if number != signal.SIGKILL else -9)
    assert pid > 0
    waited = threading.Event()
    for _ in range(200):
        if not commands(tmp_path):
            break
        waited.wait(0.05)
    assert commands(tmp_path) == []
    if number != signal.SIGKILL:
        shown = subprocess.run(
            [*command[:3], "list", "--json"],
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        (one,) = json.loads(shown.stdout)["invocations"]
        assert (one["source"], one["outcome"], one["max_memory_mb"] > 5) == ("local", "ok", True)


VARIABLES = """\
Transform: AWS::Serverless-2016-10-31
Parameters: {Stage: {Type: String}}
Resources:
  Told:
    Type: AWS::Serverless::Function
    Properties:
      InlineCode: |
        import os
        def handler(event, context): return [os.environ.get(n) for n in 'ABC'] + os.listdir('/opt')
      Handler: index.handler
      Runtime: python3.13
      Environment: {Variables: {A: !Ref Stage, B: template, C: template}}
"""


def test_the_command_takes_parameters_and_variables_as_run_does(tmp_path):
    """A template whose stage has no default could not be served at all."""
    (tmp_path / "template.yaml").write_text(VARIABLES)
    (tmp_path / "vars.json").write_text('{"Told": {"B": "file", "C": "file"}}')
    code = "import sys; from coldspan_console.cli import main; sys.exit(main())"
    words = ["-P", "Stage=prod", "--env-vars", "vars.json", "--env", "C=line", "--black-box"]
    command = [sys.executable, "-c", code, "local", "--port", "0", "--json", *words]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            listening = json.loads(process.stdout.readline())
            done = client_of(listening["address"]).invoke(FunctionName="Told", Payload=b"{}")
            told = json.load(done["Payload"])
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert told[:3] == ["prod", "file", "line"]
    assert "coldspan-blackbox" in told
