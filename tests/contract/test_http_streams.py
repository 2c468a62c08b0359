"""When a call ends whose body is read later, in parts, or never, and who is the parent of what happens meanwhile."""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import http.client
import urllib.request
import weakref

import aiohttp
import httpx
import pytest
import requests
import urllib3

from coldspan.core.record import CANCELLED, USER
from coldspan.core.result import to_result
from support.http_clients import hooked
from support.http_server import HttpServer, answer, chunked, silent, stalled, truncated


@pytest.fixture
def server():
    """A scripted server with a long answer and a short one."""
    with HttpServer() as running:
        running.script["/long"] = answer(200, b"x" * 200_000)
        running.script["/chunks"] = chunked(b"one", b"two", b"three")
        running.script["/short"] = answer(200, b"short")
        running.script["/half"] = truncated(200_000, b"x" * 1000)
        running.script["/stalled"] = stalled(200_000, b"x" * 1000)
        running.script["/silent"] = silent
        yield running


@pytest.fixture
def live(scope, fake_clock):
    """A live invocation with all hooks in place."""
    fake_clock.tick_ns = 1000
    with hooked(scope) as invocation:
        yield invocation
        assert scope.position() is invocation, "a call was left as the position"


@contextlib.contextmanager
def opened_http_client(server, path):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=0.5)
    connection.request("GET", path)
    response = connection.getresponse()
    with contextlib.closing(connection), contextlib.closing(response):
        yield response.read, iter(lambda: response.read(1000), b"")


@contextlib.contextmanager
def opened_urllib(server, path):
    with urllib.request.urlopen(server.url(path), timeout=0.5) as response:
        yield response.read, iter(lambda: response.read(1000), b"")


@contextlib.contextmanager
def opened_urllib3(server, path):
    with urllib3.PoolManager(timeout=0.5, retries=False) as manager:
        response = manager.request("GET", server.url(path), preload_content=False)
        try:
            yield response.read, response.stream(1000)
        finally:
            response.close()


@contextlib.contextmanager
def opened_requests(server, path):
    with requests.get(server.url(path), stream=True, timeout=0.5) as response:
        yield (lambda: response.content), response.iter_content(1000)


@contextlib.contextmanager
def opened_httpx(server, path):
    with httpx.Client(trust_env=False, timeout=0.5) as client, client.stream("GET", server.url(path)) as response:
        yield response.read, response.iter_raw(1000)


OPENED = {
    "http_client": opened_http_client,
    "urllib": opened_urllib,
    "urllib3": opened_urllib3,
    "requests": opened_requests,
    "httpx": opened_httpx,
}


@pytest.fixture(params=sorted(OPENED))
def opened(request):
    """A client that opens a response and reads it later."""
    return OPENED[request.param]


@pytest.mark.parametrize("path", ["/long", "/chunks"])
def test_a_streamed_call_ends_with_its_body_and_not_with_its_headers(opened, server, live, path):
    """The time of a download is not part of its call."""
    with opened(server, path) as (_, chunks):
        first = next(iter(chunks))
        assert first
        if path == "/long":
            assert len(live.open) == 1
            assert not live.calls
        for _chunk in chunks:
            pass
        assert not live.open
    assert [to_result(call).status for call in live.calls] == ["ok"]
    assert to_result(live.calls[0]).phases["receive"] > 0


def test_a_body_read_at_once_ends_the_call_there(opened, server, live):
    """A call ends only when its response is closed."""
    with opened(server, "/long") as (read, _):
        assert len(live.open) == 1
        assert len(read()) == 200_000
        assert not live.open
    assert [to_result(call).status for call in live.calls] == ["ok"]


def test_leaving_a_response_early_ends_its_call_well(opened, server, live):
    """A customer who has seen enough is recorded as a failure, or the call stays open."""
    with opened(server, "/long") as (_, chunks):
        next(iter(chunks))
    assert not live.open
    assert [to_result(call).status for call in live.calls] == ["ok"]


def test_leaving_a_response_by_an_exception_of_the_customers_is_no_failure_of_the_call(opened, server, live):
    """An exception of the customer's own code is taken for one of the call."""

    class OwnError(Exception):
        pass

    with contextlib.suppress(OwnError), opened(server, "/long") as (_, chunks):
        next(iter(chunks))
        raise OwnError
    assert [to_result(call).status for call in live.calls] == ["ok"]


def test_a_response_opened_while_another_error_is_handled_ends_well(opened, server, live):
    """The error that a fallback is for is written into the fallback's call."""
    try:
        raise ConnectionResetError("the first provider")
    except ConnectionResetError:
        with opened(server, "/long") as (_, chunks):
            next(iter(chunks))
    assert [to_result(call).status for call in live.calls] == ["ok"]


@pytest.mark.parametrize(("path", "status"), [("/half", "error"), ("/stalled", "timeout")])
def test_a_stream_that_breaks_off_is_a_failure_of_the_call(opened, server, live, path, status):
    """Half a download is recorded as a success."""
    with contextlib.suppress(Exception), opened(server, path) as (_, chunks):
        for _chunk in chunks:
            pass
    assert not live.open
    assert [to_result(call).status for call in live.calls] == [status]
    assert to_result(live.calls[0]).attributes["http.response.status_code"] == 200


def test_a_call_made_while_a_stream_is_open_is_its_sibling(opened, server, live):
    """What follows a streamed call is recorded as its child, or vanishes into it."""
    with opened(server, "/long") as (read, _):
        for fetch in (
            lambda: urllib.request.urlopen(server.url("/short")).read(),
            lambda: requests.get(server.url("/short"), timeout=5).content,
            lambda: httpx.get(server.url("/short"), trust_env=False).content,
        ):
            assert fetch() == b"short"
        read()
    assert len(live.calls) == 4
    assert {call.parent for call in live.calls} == {live}


@pytest.mark.parametrize("how", ["http_client", "urllib3", "requests", "httpx"])
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_response_that_is_never_read_ends_with_it_and_is_not_kept(server, live, how):
    """An unread response leaves a call open for ever, or is kept alive by us."""
    client = httpx.Client(trust_env=False)
    if how == "http_client":
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", "/long")
        response = connection.getresponse()
    elif how == "urllib3":
        response = urllib3.HTTPConnectionPool("127.0.0.1", server.port).urlopen("GET", "/long", preload_content=False)
    elif how == "requests":
        response = requests.Session().get(server.url("/long"), stream=True)
    else:
        response = client.send(client.build_request("GET", server.url("/long")), stream=True)
    gone = weakref.ref(response)
    assert len(live.open) == 1
    del response
    connection = None
    gc.collect()
    assert gone() is None
    assert not live.open
    assert [to_result(call).status for call in live.calls] == ["ok"]
    client.close()
    del connection


def test_a_request_whose_response_nobody_asks_for_is_cancelled(server, live):
    """A call that was given up stays open, or counts as a success."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/short")
    connection.close()
    other = http.client.HTTPConnection("127.0.0.1", server.port)
    other.request("GET", "/short")
    other.sock.close()
    del other
    gc.collect()
    assert [call.cause for call in live.calls] == [CANCELLED, CANCELLED]
    assert {to_result(call).status for call in live.calls} == {"cancelled"}


def test_connections_used_in_turn_keep_their_calls_apart(server, live):
    """Requests sent before the first response is asked for are mixed up."""
    server.script["/missing"] = answer(404, b"")
    pair = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(2)]
    for connection, path in zip(pair, ("/short", "/missing"), strict=True):
        connection.request("GET", path)
    assert len(live.open) == 2
    for connection in reversed(pair):
        connection.getresponse().read()
        connection.close()
    assert [call.http_status for call in live.calls] == [404, 200]
    assert {call.parent for call in live.calls} == {live}


@pytest.mark.parametrize("how", ["http_client", "urllib3", "requests", "httpx"])
def test_a_connection_that_is_used_again_has_no_connect_phase(server, live, how):
    """The saving of a kept-alive connection is not to be seen."""
    with contextlib.ExitStack() as stack:
        if how == "http_client":
            connection = stack.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)))

            def fetch():
                connection.request("GET", "/short")
                return connection.getresponse().read()

        elif how == "urllib3":
            manager = stack.enter_context(urllib3.PoolManager())

            def fetch():
                return manager.request("GET", server.url("/short")).data

        elif how == "requests":
            session = stack.enter_context(requests.Session())

            def fetch():
                return session.get(server.url("/short")).content

        else:
            client = stack.enter_context(httpx.Client(trust_env=False))

            def fetch():
                return client.get(server.url("/short")).content

        assert [fetch(), fetch()] == [b"short", b"short"]
    assert server.connections == 1
    first, second = [to_result(call).phases for call in live.calls]
    assert "connect" in first
    assert "connect" not in second
    assert {"send", "wait"} <= set(second)


def test_calls_of_a_thread_pool_belong_to_the_position_they_were_given(server, live, scope):
    """Calls of a pool's threads are not recorded under the caller's position."""
    call = scope.begin(USER, "report", "build")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        contexts = [contextvars.copy_context() for _ in range(8)]
        waiting = [pool.submit(context.run, requests.get, server.url("/short")) for context in contexts]
        assert {future.result(10).content for future in waiting} == {b"short"}
    scope.end(call)
    children = [one for one in live.calls if one is not call]
    assert len(children) == 8
    assert {one.parent for one in children} == {call}


def test_a_call_under_one_made_by_hand_is_its_child(server, live, scope):
    """A request inside the customer's own call vanishes into it."""
    call = scope.begin(USER, "pricing", "quote")
    requests.get(server.url("/short"), timeout=5)
    scope.end(call)
    assert [(one.kind, one.parent) for one in live.calls] == [("http", call), (USER, live)]


@pytest.mark.parametrize("kind", ["aws", "http"])
def test_a_stack_below_an_open_call_adds_only_phases(server, live, scope, kind):
    """The HTTP requests of an AWS call, or of a client above, are calls of their own."""
    call = scope.begin(kind, "dynamodb", "GetItem")
    requests.get(server.url("/short"), timeout=5)
    by_hand = http.client.HTTPConnection("127.0.0.1", server.port)
    by_hand.request("GET", "/short")
    by_hand.getresponse().read()
    by_hand.close()
    assert call.http_status == 200
    scope.end(call)
    assert live.calls == [call]
    assert {"connect", "send", "wait", "receive"} <= set(to_result(call).phases)


# --- asyncio ------------------------------------------------------------------------------------------------------


def test_gathered_requests_are_siblings_and_keep_their_own_outcomes(server, live):
    """Requests that run at once are mixed up, or become children of one another."""
    server.script["/missing"] = answer(404, b"")
    paths = ["/short", "/missing", "/chunks", "/long"] * 3

    async def main():
        async with httpx.AsyncClient(trust_env=False) as one, aiohttp.ClientSession() as two:

            async def by_aiohttp(path):
                async with two.get(server.url(path)) as response:
                    await response.read()
                    return response.status

            async def by_httpx(path):
                return (await one.get(server.url(path))).status_code

            return await asyncio.gather(*(fetch(path) for path in paths for fetch in (by_aiohttp, by_httpx)))

    statuses = asyncio.run(main())
    assert sorted(call.http_status for call in live.calls) == sorted(statuses)
    assert len(live.calls) == 24
    assert {call.parent for call in live.calls} == {live}
    assert not live.open


@pytest.mark.parametrize("how", ["httpx", "aiohttp"])
def test_a_cancelled_request_ends_as_cancelled(server, live, how):
    """A task that was cancelled leaves its call open, or as an error; or the cancellation is swallowed."""

    async def main():
        async with httpx.AsyncClient(trust_env=False) as one, aiohttp.ClientSession() as two:
            fetch = one.get if how == "httpx" else two.get

            async def request():
                await fetch(server.url("/silent"))

            task = asyncio.create_task(request())
            while not server.seen:  # noqa: ASYNC110  # the server is a thread
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()

    asyncio.run(main())
    assert [to_result(call).status for call in live.calls] == ["cancelled"]
    assert not live.open


@pytest.mark.parametrize("how", ["httpx", "aiohttp"])
@pytest.mark.parametrize(
    ("path", "leave", "status"),
    [
        ("/long", "read", "ok"),
        ("/chunks", "read", "ok"),
        ("/long", "early", "ok"),
        ("/long", "raise", "ok"),
        ("/half", "read", "error"),
        ("/stalled", "read", "timeout"),
        ("/stalled", "cancel", "cancelled"),
    ],
)
def test_an_async_stream_ends_with_its_body(server, live, how, path, leave, status):
    """An async download ends too early, never, or as something else than it was."""

    async def read(response, chunks):
        assert response
        assert len(live.open) == 1 or path == "/chunks"
        async for _chunk in chunks:
            if leave == "early":
                return
            if leave == "raise":
                raise ZeroDivisionError

    async def main():
        timeout = 0.3 if leave != "cancel" else 30
        if how == "httpx":
            async with (
                httpx.AsyncClient(trust_env=False, timeout=timeout) as client,
                client.stream("GET", server.url(path)) as response,
            ):
                await read(response, response.aiter_bytes(1000))
        else:
            limits = aiohttp.ClientTimeout(sock_read=timeout)
            async with aiohttp.ClientSession(timeout=limits) as session, session.get(server.url(path)) as response:
                await read(response, response.content.iter_chunked(1000))

    async def started():
        task = asyncio.create_task(main())
        if leave == "cancel":
            while not live.open or not next(iter(live.open.values())).http_status:  # noqa: ASYNC110  # as above
                await asyncio.sleep(0)
            for _ in range(10):
                await asyncio.sleep(0)
            task.cancel()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await task

    asyncio.run(started())
    assert not live.open
    assert [to_result(call).status for call in live.calls] == [status]


def test_an_aiohttp_timeout_of_the_whole_request_in_its_body_is_a_timeout(server, live):
    """A total timeout, which cancels from outside, is recorded as a success."""

    async def main(read):
        limits = aiohttp.ClientTimeout(total=0.3)
        async with aiohttp.ClientSession(timeout=limits) as session, session.get(server.url("/stalled")) as response:
            await read(response)

    async def by_chunk(response):
        async for _ in response.content.iter_any():
            pass

    for read in (aiohttp.ClientResponse.read, by_chunk):
        with pytest.raises(TimeoutError):
            asyncio.run(main(read))
    assert [to_result(call).status for call in live.calls] == ["timeout", "timeout"]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_aiohttp_response_that_is_dropped_unread_ends_its_call(server, live):
    """A dropped response leaves its call open for ever, or is kept alive by us."""

    async def main():
        async with aiohttp.ClientSession() as session:  # whose connection keeps the response until it is closed
            response = await session.get(server.url("/stalled"))
            assert len(live.open) == 1
            return weakref.ref(response)

    gone = asyncio.run(main())
    gc.collect()
    assert gone() is None
    assert not live.open
    assert [to_result(call).status for call in live.calls] == ["ok"]


def test_an_async_generator_that_streams_may_be_left_half_way(server, live, scope):
    """A generator of the customer's that is closed early leaves its call open or its position set."""

    async def lines():
        async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", server.url("/long")) as response:
            async for chunk in response.aiter_bytes(10):
                yield chunk

    async def main():
        stream = lines()
        assert await anext(stream) == b"x" * 10
        assert scope.position() is live
        await stream.aclose()

    asyncio.run(main())
    assert not live.open
    assert [to_result(call).status for call in live.calls] == ["ok"]
