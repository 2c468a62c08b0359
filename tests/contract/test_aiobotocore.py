"""aiobotocore: the same record as botocore's, in tasks. It pins an older botocore: see `make test-aiobotocore`."""

import asyncio
import gc
import traceback

import pytest

pytest.importorskip("aiobotocore", reason="aiobotocore has an environment of its own: make test-aiobotocore")

import aiobotocore.client
import aiobotocore.endpoint
import aiobotocore.session
import botocore.client
from aiobotocore.config import AioConfig

from coldspan.core.record import CANCELLED, CONNECTION, TIMEOUT
from coldspan.core.result import to_result
from coldspan.hot import aiobotocore as aiobotocore_hook
from coldspan.hot import botocore as botocore_hook
from coldspan.hot.patch import restore
from support.aws_services import SERVICES, AwsServer, error, event, event_stream, exception, fine, hooked
from support.http_server import answer, chunked, full_backlog, reset, silent, stalled, truncated

pytestmark = pytest.mark.filterwarnings("ignore:.*[Uu]nclosed.*:ResourceWarning")  # streams that are dropped on purpose


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Retries without their pauses."""

    async def at_once(self, seconds):
        pass

    monkeypatch.setattr(aiobotocore.endpoint.AioEndpoint, "_sleep", at_once)


@pytest.fixture
def server():
    with AwsServer() as running:
        yield running


@pytest.fixture
def live(scope, fake_clock):
    """A live invocation with both hooks in place, on a clock that moves by 1 µs at each look."""
    fake_clock.tick_ns = 1000
    with both_hooked(scope) as invocation:
        yield invocation
        assert scope.position() is invocation, "a call was left as the position"
        assert invocation.open == {}, "a call was left open"


class both_hooked:
    """The hooks of botocore and aiobotocore inside a live invocation."""

    def __init__(self, scope) -> None:
        self.scope = scope
        self.botocore = hooked(scope)
        self.patches = []

    def __enter__(self):
        invocation = self.botocore.__enter__()
        aiobotocore_hook.install(aiobotocore.client, self.scope, self.patches)
        return invocation

    def __exit__(self, *raised):
        restore(self.patches)
        return self.botocore.__exit__(*raised)


def run(server, service, use, **config):
    """Run `await use(client)` on a client of the server."""
    defaults = {"retries": {"mode": "standard", "total_max_attempts": 3}, "connect_timeout": 5, "read_timeout": 5}

    async def main():
        making = aiobotocore.session.get_session().create_client(
            service,
            endpoint_url=server if isinstance(server, str) else server.url(""),
            region_name="eu-west-1",
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="invented",
            config=AioConfig(inject_host_prefix=False, s3={"addressing_style": "path"}, **{**defaults, **config}),
        )
        async with making as client:
            return await use(client)

    return asyncio.run(main())


def call_service(service, method=None, params=None):
    """A `use` that makes one call of a service; gives its answer or the error it raised."""

    async def use(client):
        try:
            return await getattr(client, method or SERVICES[service].method)(**params or SERVICES[service].params)
        except Exception as raised:
            return raised

    return use


def only(live):
    """The one call there was, and its record."""
    (call,) = live.calls
    return call, to_result(call)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_success_is_ok(name, server, live):
    """A call that did what it was asked says so, under its boto3 name."""
    server.play(fine(name))
    answered = run(server, name, call_service(name))
    assert isinstance(answered, dict), answered
    _, result = only(live)
    assert (result.tool, result.status, result.attempts, result.throttles) == (name, "ok", 1, 0)
    assert result.attributes["aws.request_id"] == "id-of-the-answer"
    assert result.phases["serialize"] > 0
    assert result.phases["parse"] > 0


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"bedrock-runtime", "lambda"}))
def test_partial_failure_inside_a_200_is_told_with_its_counts(name, server, live):
    """A 200 that hides a failure is not ok."""
    partial = SERVICES[name].partial
    server.play(answer(body=partial.body))
    run(server, name, call_service(name, partial.method, partial.params))
    call, result = only(live)
    assert (result.status, call.items, call.items_failed) == (partial.status, partial.items, partial.items_failed)
    assert result.attributes["error.type"] == partial.error_type


@pytest.mark.parametrize("mode", ["legacy", "standard"])
@pytest.mark.parametrize("healed", [True, False])
def test_throttling_is_counted_whether_healed_or_not(server, live, mode, healed):
    """Each throttled attempt counts, and the status is how it ended."""
    throttled = error("dynamodb", *SERVICES["dynamodb"].throttling)
    server.play(throttled, throttled, fine("dynamodb") if healed else throttled)
    run(server, "dynamodb", call_service("dynamodb"), retries={"mode": mode, "total_max_attempts": 3})
    _, result = only(live)
    wanted = ("ok", 3, 2) if healed else ("throttled", 3, 3)
    assert (result.status, result.attempts, result.throttles) == wanted


FAULTS = [
    (error("dynamodb", 400, "ConditionalCheckFailedException"), "rejected", "ConditionalCheckFailedException"),
    (error("dynamodb", 400, "AccessDeniedException"), "error", "AccessDeniedException"),
    (error("dynamodb", 500, "InternalServerError"), "error", "InternalServerError"),
    (silent, "timeout", "ReadTimeoutError"),
    (reset, "error", None),
]


@pytest.mark.parametrize(("script", "status", "error_type"), FAULTS)
def test_fault_has_its_status(server, live, script, status, error_type):
    """Errors, timeouts and broken connections are told apart."""
    server.play(script)
    assert isinstance(run(server, "dynamodb", call_service("dynamodb"), read_timeout=0.1), Exception)
    call, result = only(live)
    assert result.status == status
    assert error_type in {None, call.error_type}
    if script is reset:
        assert call.cause == CONNECTION


def test_connect_timeout_is_timeout(live):
    """A host that does not take the connection is a timeout."""
    with full_backlog() as port:
        retries = {"mode": "standard", "total_max_attempts": 1}
        run(f"http://127.0.0.1:{port}", "dynamodb", call_service("dynamodb"), connect_timeout=0.1, retries=retries)
    call, result = only(live)
    assert (result.status, call.cause) == ("timeout", TIMEOUT)


def test_call_that_is_cancelled_says_so(server, live):
    """A task that was cancelled is no error of the service."""
    server.play(silent)

    async def use(client):
        task = asyncio.create_task(client.put_item(**SERVICES["dynamodb"].params))
        while not server.seen:  # noqa: ASYNC110  # the server lives on a thread
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(server, "dynamodb", use)
    call, result = only(live)
    assert (result.status, call.cause) == ("cancelled", CANCELLED)


def test_calls_gathered_are_siblings(server, live):
    """Tasks do not take each other for their parent."""
    server.play(fine("dynamodb"))

    async def use(client):
        await asyncio.gather(*(client.put_item(**SERVICES["dynamodb"].params) for _ in range(5)))

    run(server, "dynamodb", use)
    assert [call.parent for call in live.calls] == [live] * 5
    assert len({request.headers["x-amzn-trace-id"] for request in server.seen}) == 5


def test_trace_header_carries_our_span_as_parent(server, live):
    """What is called downstream hangs under the call."""
    server.play(fine("dynamodb"))
    run(server, "dynamodb", call_service("dynamodb"))
    span_id = only(live)[1].span_id
    header = server.seen[-1].headers["x-amzn-trace-id"]
    assert header == f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent={span_id};Sampled=1;Lineage=a:1|b:2"


async def all_chunks(body):
    return [chunk async for chunk in body.iter_chunks(2)]


async def all_lines(body):
    return [line async for line in body.iter_lines()]


async def in_context(body):
    async with body as opened:
        await opened.read(1)


async def closed(body):
    body.close()


ENDINGS = {
    "read": lambda body: body.read(),
    "read to the length": lambda body: body.read(5),
    "chunks": all_chunks,
    "lines": all_lines,
    "closed": closed,
    "with": in_context,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_body_that_has_come_to_its_end_ends_the_call(server, live, scope, ending):
    """The time a body takes to arrive belongs to the call."""
    server.play(answer(body=b"hello"))

    async def use(client):
        body = (await client.get_object(Bucket="bucket", Key="key"))["Body"]
        assert len(live.open) == 1
        assert scope.position() is live
        await ENDINGS[ending](body)
        assert live.open == {}

    run(server, "s3", use)
    assert only(live)[1].status == "ok"


def test_body_dropped_unread_ends_the_call(server, live):
    """A body nobody reads does not leave a call open."""
    server.play(answer(body=b"hello"))

    async def use(client):
        await client.get_object(Bucket="bucket", Key="key")

    run(server, "s3", use)
    gc.collect()
    assert only(live)[1].status == "ok"


@pytest.mark.parametrize(("script", "status"), [(truncated(100, b"half"), "error"), (stalled(100, b"half"), "timeout")])
def test_body_that_breaks_is_told(server, live, script, status):
    """A body that ends too soon, or never, is a failed call although it began with 200."""
    server.play(script)

    async def use(client):
        body = (await client.get_object(Bucket="bucket", Key="key"))["Body"]
        with pytest.raises(Exception, match=r"."):
            await body.read()

    run(server, "s3", use, read_timeout=0.2)
    assert only(live)[1].status == status


STREAM_PARAMS = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "hello"}]}]}


@pytest.mark.parametrize(
    ("last", "status"),
    [(event("messageStop", {"stopReason": "end_turn"}), "ok"), (exception("throttlingException", "slow"), "throttled")],
)
def test_event_stream_ends_the_call_as_it_ends(server, live, last, status):
    """An exception inside a stream that began with 200 is how the call ended."""
    server.play(chunked(event_stream(event("messageStart", {"role": "assistant"}), last)))

    async def use(client):
        stream = (await client.converse_stream(**STREAM_PARAMS))["stream"]
        assert len(live.open) == 1
        try:
            return [found async for found in stream]
        except Exception as raised:
            return raised

    run(server, "bedrock-runtime", use)
    assert only(live)[1].status == status


@pytest.mark.parametrize("script", [error("dynamodb", 400, "ValidationException"), reset, silent])
def test_exception_has_the_same_traceback_as_without_us_promise_1(scope, server, script):
    """No line of a stack trace names a file of ours."""
    server.play(script)

    async def use(client):
        try:
            await client.put_item(**SERVICES["dynamodb"].params)
        except Exception as raised:
            return "".join(traceback.format_exception(raised))

    def observe():
        return run(server, "dynamodb", use, read_timeout=0.1, retries={"mode": "standard", "total_max_attempts": 2})

    without = observe()
    with both_hooked(scope) as live:
        assert without_addresses(observe()) == without_addresses(without)
    assert len(live.calls) == 1


def without_addresses(text):
    """The text without what differs from one object to the next."""
    return text.split(" object at 0x")[0] if text else text


def test_hook_taken_away_leaves_aiobotocore_as_it_was_promise_7(scope):
    """Off means off."""
    owners = [aiobotocore.client.AioBaseClient, aiobotocore.endpoint.AioEndpoint, botocore.client.BaseClient]
    before = [dict(vars(owner)) for owner in owners]
    patches = []
    aiobotocore_hook.install(aiobotocore.client, scope, patches)
    botocore_hook.install(botocore.client, scope, patches)
    assert all(dict(vars(owner)) != kept for owner, kept in zip(owners, before, strict=True))
    restore(patches)
    assert [dict(vars(owner)) for owner in owners] == before
