"""Every sample function, run with each of its events against moto's server and the provider's stand-in."""

import contextlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.request import Request, urlopen

import boto3
import pytest
from botocore.exceptions import ClientError

from coldspan_console import demo_events, demo_provider, demo_resources

ROOT = Path(__file__).parents[2]
EVENTS = ROOT / "events"
SAMPLES = sorted(folder.name for folder in (ROOT / "functions").iterdir() if (folder / "app.py").exists())
FILES = sorted(str(file.relative_to(EVENTS)) for name in SAMPLES for file in (EVENTS / name).glob("*.json"))
MALFORMED = sorted(file.name for file in (EVENTS / "malformed").iterdir())

MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""

SERVICES = ("dynamodb", "sqs", "s3", "events")


@pytest.fixture(scope="module")
def moto_url():
    """The address of a moto server in a process of its own, which ends when we close its standard input."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()


@pytest.fixture(scope="module")
def provider_url():
    """The address of the stand-in for the payment provider and the exchange rates; slow is 10 ms here."""
    with demo_provider.ProviderServer(slow_seconds=0.01) as provider:
        yield provider.url


@pytest.fixture(scope="module")
def session():
    """One session for all clients: reading the service models is most of a client's cost."""
    return boto3.Session("demo", "demo", region_name=demo_resources.REGION)


@pytest.fixture
def world(moto_url, provider_url, session, monkeypatch):
    """Fresh resources: `.environment` of each sample, `.run(file)`, and clients by service name to look afterwards."""
    with urlopen(Request(moto_url + "/moto-api/reset", method="POST")):
        pass
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", session)
    environment = demo_resources.create(moto_url, provider_url)
    clients = {service: session.client(service, endpoint_url=moto_url) for service in SERVICES}

    def load(name):
        for variable, value in environment[name].items():
            monkeypatch.setenv(variable, "0.3" if variable.endswith("_TIMEOUT_SECONDS") else value)
        spec = importlib.util.spec_from_file_location(f"sample_{name}", ROOT / "functions" / name / "app.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def run(file):
        module = load(Path(file).parent.name)
        return module.handler(json.loads((EVENTS / file).read_text()), context())

    yield SimpleNamespace(environment=environment, load=load, run=run, **clients)
    for client in clients.values():
        client.close()


def context(client_context=None):
    """What the runtime would pass as context."""
    return SimpleNamespace(
        function_name="sample",
        function_version="$LATEST",
        memory_limit_in_mb=512,
        invoked_function_arn="arn:aws:lambda:eu-west-1:123456789012:function:sample",
        aws_request_id="0f3c9b1e-9d55-4a9c-8d7d-6a8c1f7a2b11",
        client_context=client_context,
        get_remaining_time_in_millis=lambda: 10_000,
    )


def stock_of(world, sku):
    return int(world.dynamodb.get_item(TableName="StockTable", Key={"sku": {"S": sku}})["Item"]["available"]["N"])


def payment_of(world, order):
    item = world.dynamodb.get_item(TableName="OrdersTable", Key={"id": {"S": order}})["Item"]
    return item["payment"]["S"]


def orders_in(world):
    return {item["id"]["S"] for item in world.dynamodb.scan(TableName="OrdersTable")["Items"]}


def messages_in(world, name):
    url = world.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    return [m["Body"] for m in world.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])]


def waiting_in(world, name):
    """How many messages a queue holds, those whose delay has not passed included."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed"]
    url = world.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    counts = world.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(count) for count in counts.values())


def objects_in(world, prefix):
    return [each["Key"] for each in world.s3.list_objects_v2(Bucket="reportsbucket", Prefix=prefix).get("Contents", [])]


def message_id(file, index):
    return json.loads((EVENTS / file).read_text())["Records"][index]["messageId"]


def sequence_number(file, index):
    return json.loads((EVENTS / file).read_text())["Records"][index]["dynamodb"]["SequenceNumber"]


def result_of(answer):
    """The result in an MCP server's HTTP answer."""
    assert answer["statusCode"] == 200
    return json.loads(answer["body"])["result"]


# What each event must lead to: an exception's type, or a check on what the handler returned.
OUTCOMES = {
    "orders/ok.json": lambda answer: answer["statusCode"] == 201,
    "orders/read.json": lambda answer: json.loads(answer["body"])["id"] == "order-1001",
    "orders/degraded.json": lambda answer: answer["statusCode"] == 201,
    "orders/unknown_sku.json": lambda answer: answer["statusCode"] == 409,
    "orders/failing.json": KeyError,
    "payments/ok.json": lambda answer: answer == {"batchItemFailures": []},
    "payments/slow.json": lambda answer: answer == {"batchItemFailures": []},
    "payments/degraded.json": lambda answer: len(answer["batchItemFailures"]) == 3,
    "payments/throttled.json": lambda answer: len(answer["batchItemFailures"]) == 1,
    "payments/failing.json": "BatchProcessingError",
    "stream/ok.json": lambda answer: answer == {"batchItemFailures": []},
    "stream/degraded.json": lambda answer: len(answer["batchItemFailures"]) == 1,
    "stream/poison.json": lambda answer: len(answer["batchItemFailures"]) == 1,
    "stream/failing.json": KeyError,
    "report/ok.json": lambda answer: answer == {"rates": 5, "missing": 0},
    "report/degraded.json": lambda answer: answer == {"rates": 3, "missing": 2},
    "report/failing.json": RuntimeError,
    "mcp_server/initialize.json": lambda answer: result_of(answer)["protocolVersion"] == "2025-11-25",
    "mcp_server/notification.json": lambda answer: answer == {"statusCode": 202},
    "mcp_server/list.json": lambda answer: (
        [tool["name"] for tool in result_of(answer)["tools"]] == ["get_order", "refund_order"]
    ),
    "mcp_server/ok.json": lambda answer: result_of(answer)["isError"] is False,
    "mcp_server/degraded.json": lambda answer: result_of(answer)["isError"] is True,
    "mcp_server/refund_declined.json": lambda answer: "402" in result_of(answer)["content"][0]["text"],
    "mcp_server/unknown_method.json": lambda answer: json.loads(answer["body"])["error"]["code"] == -32601,
    "mcp_server/failing.json": json.JSONDecodeError,
    "agentcore/ok.json": lambda answer: answer["isError"] is False,
    "agentcore/degraded.json": lambda answer: answer["isError"] is True,
    "agentcore/failing.json": ClientError,
}


def test_every_event_of_a_sample_has_an_expected_outcome():
    """An event that nobody runs is a claim, not a sample; each sample works, fails and degrades."""
    assert sorted(OUTCOMES) == FILES
    for name in SAMPLES:
        assert {f"{name}/{kind}.json" for kind in ("ok", "failing", "degraded")} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_sample_with_its_event_ends_as_the_table_says(world, file):
    """A sample must do what its event's name promises: work, fail or degrade."""
    expected = OUTCOMES[file]
    if isinstance(expected, str | type):
        with pytest.raises(Exception) as caught:
            world.run(file)
        assert expected in {type(caught.value), type(caught.value).__name__}
    else:
        answer = world.run(file)
        assert expected(answer), answer
        assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_with_a_malformed_event_fails_or_refuses_and_writes_nothing(world, name):
    """What is not an order may not become one, and a sample may not hang on it."""
    handler, before = world.load(name).handler, (orders_in(world), stock_of(world, "LAMP-07"))
    taken = []
    for file in MALFORMED:
        try:
            event = json.loads((EVENTS / "malformed" / file).read_bytes())
        except (ValueError, RecursionError):
            continue  # the runtime cannot decode it either: the handler never sees it
        try:
            answer = handler(event, context())
        except Exception as error:
            answer = error
        if not isinstance(answer, Exception) and answer.get("statusCode", 0) < 400:
            taken.append((file, answer))
    assert taken == []
    assert (orders_in(world), stock_of(world, "LAMP-07")) == before
    assert objects_in(world, "") == []


@pytest.mark.parametrize("name", SAMPLES)
def test_policy_of_a_sample_allows_what_its_events_make_it_call_and_no_more(world, name):
    """Least privilege, measured: an action that no event needs may not be granted, one that is needed must be."""
    called = set()
    boto3.setup_default_session()  # of its own, so that nothing is left behind; `world` restores the shared one
    boto3.DEFAULT_SESSION.events.register(
        "before-call", lambda model, **_: called.add(f"{model.service_model.signing_name}:{model.name}")
    )
    handler = world.load(name).handler
    events = [json.loads((EVENTS / file).read_text()) for file in FILES if file.startswith(f"{name}/")]
    for event in events:
        with contextlib.suppress(Exception):
            handler(event, context())
    resources = [each.get("Properties", {}) for each in demo_resources.load()["Resources"].values()]
    (policies,) = [each["Policies"] for each in resources if Path(each.get("CodeUri", "")).name == name]
    granted = [each["Action"] for policy in policies for each in policy["Statement"]]
    allowed = {action for each in granted for action in (each if isinstance(each, list) else [each])}
    assert {"sqs:SendMessage" if each == "sqs:SendMessageBatch" else each for each in called} == allowed


def test_malformed_events_hold_each_kind_of_damage():
    """Whoever reads an event must have met what is no JSON, JSON that is no object, and objects of a wrong shape."""
    kinds = {}
    for name in MALFORMED:
        try:
            kinds[name] = type(json.loads((EVENTS / "malformed" / name).read_bytes())).__name__
        except UnicodeDecodeError:
            kinds[name] = "not text"
        except RecursionError:
            kinds[name] = "too deep"
        except ValueError:
            kinds[name] = "not JSON"
    assert {"not text", "not JSON", "NoneType", "list", "str", "int", "dict"} <= set(kinds.values())


def test_orders_when_all_is_well_writes_to_four_services(world):
    """The first sample shows four kinds of call, so all of them must be made."""
    order = json.loads(world.run("orders/ok.json")["body"])["id"]
    assert stock_of(world, "LAMP-07") == demo_resources.STOCK["LAMP-07"] - 2
    assert payment_of(world, order) == "open"
    (message,) = messages_in(world, "PaymentsQueue")
    assert json.loads(message) == {"order_id": order, "card": "tok_visa", "amount_cents": 5980}


def test_orders_with_an_unknown_sku_is_rejected_by_the_condition_and_writes_nothing(world):
    """The record shows a conditional check that failed: the order must not go on."""
    before = orders_in(world)
    world.run("orders/unknown_sku.json")
    assert orders_in(world) == before
    assert messages_in(world, "PaymentsQueue") == []


def test_orders_with_a_bad_campaign_is_placed_although_one_of_two_entries_was_refused(world):
    """The sample of a failure inside an HTTP 200: the caller sees 201, EventBridge took one entry of two."""
    module, answers = world.load("orders"), []
    module.bus.meta.events.register("after-call.events.PutEvents", lambda parsed, **_: answers.append(parsed))
    assert module.handler(json.loads((EVENTS / "orders/degraded.json").read_text()), context())["statusCode"] == 201
    (answer,) = answers
    assert answer["FailedEntryCount"] == 1
    assert [entry.get("ErrorCode") for entry in answer["Entries"]] == [None, "MalformedDetail"]


def test_orders_without_a_card_fails_after_the_stock_was_taken(world):
    """The sample of an exception with two calls behind it: the record must have something to show."""
    with pytest.raises(KeyError, match="card"):
        world.run("orders/failing.json")
    assert stock_of(world, "LAMP-07") == demo_resources.STOCK["LAMP-07"] - 2
    assert messages_in(world, "PaymentsQueue") == []


def test_orders_read_of_an_unknown_order_is_404(world):
    """A missing order is an answer of the API, not an error of the function."""
    event = json.loads((EVENTS / "orders/read.json").read_text())
    event["path"], event["pathParameters"] = "/orders/order-9999", {"order_id": "order-9999"}
    assert world.load("orders").handler(event, context())["statusCode"] == 404


def test_payments_batch_returns_the_timeout_the_poison_and_the_unknown_order_only(world):
    """Partial batch failure: what was charged must not come back, what was not must."""
    answer = world.run("payments/degraded.json")
    failed = [each["itemIdentifier"] for each in answer["batchItemFailures"]]
    assert failed == [message_id("payments/degraded.json", index) for index in (2, 3, 4)]
    assert payment_of(world, "order-1001") == "paid"
    assert payment_of(world, "order-1002") == "declined"
    assert payment_of(world, "order-1003") == "open"


def test_payments_slow_provider_is_still_paid(world):
    """Slow is not failed."""
    world.run("payments/slow.json")
    assert payment_of(world, "order-1001") == "paid"


def test_payments_throttled_charge_comes_back_and_the_other_is_paid(world):
    """A 429 leaves its message in the queue."""
    answer = world.run("payments/throttled.json")
    assert answer == {"batchItemFailures": [{"itemIdentifier": message_id("payments/throttled.json", 0)}]}
    assert payment_of(world, "order-1001") == "open"
    assert payment_of(world, "order-1002") == "paid"


def test_stream_archives_all_changes_and_reminds_of_the_unpaid(world):
    """One object with a line a change, one reminder."""
    world.run("stream/ok.json")
    (key,) = objects_in(world, "orders/")
    with world.s3.get_object(Bucket="reportsbucket", Key=key)["Body"] as body:
        rows = [json.loads(line) for line in body.read().splitlines()]
    assert [(row["change"], row["id"]) for row in rows] == [
        ("INSERT", "order-1001"),
        ("MODIFY", "order-1002"),
        ("REMOVE", "order-1003"),
    ]
    assert waiting_in(world, "RemindersQueue") == 1


def test_stream_resumes_at_the_first_reminder_that_was_refused(world):
    """A delay of a day is refused inside an HTTP 200; the two others are sent."""
    answer = world.run("stream/degraded.json")
    assert answer == {"batchItemFailures": [{"itemIdentifier": sequence_number("stream/degraded.json", 1)}]}
    assert waiting_in(world, "RemindersQueue") == 2


def test_stream_resumes_at_the_poison_record_and_keeps_what_stood_before_it(world):
    """A stream goes on from the first failure: what came before it must be archived, what follows must not."""
    answer = world.run("stream/poison.json")
    assert answer == {"batchItemFailures": [{"itemIdentifier": sequence_number("stream/poison.json", 1)}]}
    (key,) = objects_in(world, "orders/")
    with world.s3.get_object(Bucket="reportsbucket", Key=key)["Body"] as body:
        assert [json.loads(line)["id"] for line in body.read().splitlines()] == ["order-1001"]


def test_report_keeps_the_rates_that_came(world):
    """Of a fan-out with an unknown currency and one that never answers, three rates are kept."""
    world.run("report/degraded.json")
    with world.s3.get_object(Bucket="reportsbucket", Key="rates/2026-11-23.json")["Body"] as body:
        assert sorted(json.loads(body.read())) == ["CHF", "GBP", "USD"]


def test_report_without_any_rate_writes_nothing(world):
    """A report that failed may not replace yesterday's."""
    with pytest.raises(RuntimeError):
        world.run("report/failing.json")
    assert objects_in(world, "rates/") == []


def test_report_asks_for_all_rates_at_once(world):
    """The fan-out is the point of the sample: two silent rates must not take two timeouts."""
    module, running, most = world.load("report"), [], []
    original = module.httpx.AsyncClient.get

    async def get(client, path):
        running.append(path)
        most.append(len(running))
        try:
            return await original(client, path)
        finally:
            running.remove(path)

    module.httpx.AsyncClient.get = get
    try:
        module.handler(json.loads((EVENTS / "report/ok.json").read_text()), context())
    finally:
        module.httpx.AsyncClient.get = original
    assert max(most) == 5


def test_mcp_server_refund_reaches_the_provider(world):
    """A tool call with a downstream call of its own."""
    event = json.loads((EVENTS / "mcp_server/refund_declined.json").read_text())
    event["body"] = event["body"].replace("order-1003", "order-1001")
    result = result_of(world.load("mcp_server").handler(event, context()))
    assert json.loads(result["content"][0]["text"])["id"].startswith("re_")


def test_agentcore_takes_the_tool_from_the_client_context(world):
    """AgentCore Gateway names the tool beside the event, as target___tool."""
    custom = json.loads((EVENTS / "client_context.json").read_text())["custom"]
    handler = world.load("agentcore").handler
    order = handler({"id": "order-1001"}, context(SimpleNamespace(custom=custom)))
    custom = {**custom, "bedrockAgentCoreToolName": "shop___check_stock"}
    stock = handler({"sku": "LAMP-07"}, context(SimpleNamespace(custom=custom)))
    assert order["content"][0]["text"].startswith("check_order: ")
    assert str(demo_resources.STOCK["LAMP-07"]) in stock["content"][0]["text"]


@pytest.mark.parametrize(
    ("card", "status"),
    [("tok_visa", 200), ("tok_declined", 402), ("tok_limited", 429), ("tok_error", 500)],
)
def test_provider_answers_as_the_card_says(provider_url, card, status):
    """The stand-in's table is what the events rely on."""
    import requests

    answer = requests.post(provider_url + "/charges", json={"card": card, "amount_cents": 1}, timeout=5)
    assert answer.status_code == status
    assert answer.headers.get("Retry-After") == ("1" if status == 429 else None)


def test_provider_breaks_the_connection_in_three_ways(provider_url):
    """A reset, a cut body and silence are three different failures, and must look so to the client."""
    import requests

    def charge(card):
        with pytest.raises(requests.RequestException) as caught:
            requests.post(provider_url + "/charges", json={"card": card}, timeout=0.3)
        return type(caught.value)

    assert charge("tok_reset") is requests.exceptions.ConnectionError
    assert charge("tok_cut") is requests.exceptions.ChunkedEncodingError
    assert charge("tok_timeout") is requests.exceptions.ReadTimeout


def test_provider_refuses_what_it_does_not_know(provider_url):
    """A request that is not a charge is a 400, not an exception of the stand-in."""
    import requests

    assert requests.post(provider_url + "/charges", data="card=tok_visa", timeout=5).status_code == 400
    assert requests.post(provider_url + "/elsewhere", json={"card": "tok_visa"}, timeout=5).status_code == 400
    assert requests.get(provider_url + "/rates/ABC", timeout=5).status_code == 404


@pytest.mark.parametrize("file", FILES)
def test_event_sent_now_differs_from_its_file_in_times_only(file):
    """An event of last November would seem to have waited a year; nothing else of it may change."""
    event, now_ms = json.loads((EVENTS / file).read_text()), 1_900_000_000_000
    changed = dict(differences(event, demo_events.sent_at(event, now_ms)))
    assert bool(changed) == (not file.startswith("agentcore/"))
    for name, value in changed.items():
        assert name in {
            "requestTimeEpoch",
            "requestTime",
            "timeEpoch",
            "time",
            "SentTimestamp",
            "ApproximateFirstReceiveTimestamp",
            "ApproximateCreationDateTime",
        }
        assert str(value) in {
            "1900000000000",
            "1900000000",
            "17/Mar/2030:17:46:40 +0000",
            "2030-03-17T17:46:40Z",
        }


def differences(one, other, name=""):
    """(innermost key, value in `other`) of what differs between two documents of one shape."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            yield from differences(one[key], other[key], key)
    elif isinstance(one, list):
        for left, right in zip(one, other, strict=True):
            yield from differences(left, right, name)
    elif one != other:
        yield name, other
