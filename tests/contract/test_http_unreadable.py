"""Exceptions and answers that cannot be read: the call ends, the next one is recorded, and it costs one count."""

import asyncio
import contextlib
import http.client
import urllib.request

import aiohttp
import httpx
import pytest
import requests
import urllib3

from coldspan.core.result import to_result
from support.http_clients import CLIENTS, hooked, httpx2
from support.http_server import HttpServer, answer


class WithoutText(Exception):
    """Its text cannot be read."""

    def __str__(self):
        raise RuntimeError("no text")


class WithoutParts(Exception):
    """None of what a client's exceptions tell can be read."""

    def refuse(self):
        raise RuntimeError("no part")

    response = reason = status = property(refuse)


UNREADABLE = {"text": WithoutText, "parts": WithoutParts}


def body_of(error):
    """A body that raises `error` when it is sent."""
    yield b"begun"
    raise error


def by_http_client(url, error):
    with contextlib.closing(http.client.HTTPConnection(url.split("/")[2])) as connection:
        connection.request("POST", "/x", body=body_of(error), encode_chunked=True)


def by_urllib(url, error):
    urllib.request.urlopen(urllib.request.Request(url, data=body_of(error)))


def by_urllib3(url, error):
    with urllib3.PoolManager(retries=False) as manager:
        manager.request("POST", url, body=body_of(error))


def by_requests(url, error):
    with requests.Session() as session:
        session.trust_env = False
        session.post(url, data=body_of(error))


def by_httpx(url, error, module=httpx):
    def hook(response):
        raise error

    with module.Client(trust_env=False, event_hooks={"response": [hook]}) as client:
        client.get(url)


def by_httpx_async(url, error, module=httpx):
    async def hook(response):
        raise error

    async def main():
        async with module.AsyncClient(trust_env=False, event_hooks={"response": [hook]}) as client:
            await client.get(url)

    asyncio.run(main())


def by_aiohttp(url, error):
    async def hook(response):
        raise error

    async def main():
        async with aiohttp.ClientSession(raise_for_status=hook) as session:
            await session.get(url)

    asyncio.run(main())


FAILING = {
    "http_client": by_http_client,
    "urllib": by_urllib,
    "urllib3": by_urllib3,
    "requests": by_requests,
    "httpx": by_httpx,
    "httpx_async": by_httpx_async,
    "aiohttp": by_aiohttp,
}
if httpx2 is not None:
    FAILING["httpx2"] = lambda url, error: by_httpx(url, error, httpx2)
    FAILING["httpx2_async"] = lambda url, error: by_httpx_async(url, error, httpx2)


@pytest.fixture
def server():
    """A server that answers /x."""
    with HttpServer() as running:
        running.script["/x"] = answer(200, b"fine")
        yield running


@pytest.mark.expects_errors
@pytest.mark.parametrize("unreadable", UNREADABLE)
@pytest.mark.parametrize("client", sorted(FAILING))
def test_an_exception_that_cannot_be_read_ends_its_call_promise_2(client, unreadable, server, scope):
    """One exception of the customer's leaves its call open, and hides every call after it."""
    error = UNREADABLE[unreadable]()
    with hooked(scope) as live:
        with pytest.raises(UNREADABLE[unreadable]) as caught:
            FAILING[client](server.url("/x"), error)
        assert not live.open
        assert scope.position() is live
        CLIENTS[client](server.url("/x"))
    failed, after = [to_result(call) for call in live.calls]
    assert caught.value is error
    assert (failed.status, failed.attributes["error.type"]) == ("error", type(error).__name__)
    assert (after.status, after.parent_id) == ("ok", f"{live.span_id:016x}")
    assert sum(scope.buffer.errors.values()) == 1


@pytest.mark.parametrize("client", sorted(FAILING))
def test_the_text_of_an_exception_is_not_asked_for_when_it_is_off_promise_6(client, server, scope, settings):
    """With COLDSPAN_ERROR_TEXT=off the customer's `__str__` runs all the same."""
    settings.error_text = False
    with hooked(scope) as live, pytest.raises(WithoutText):
        FAILING[client](server.url("/x"), WithoutText())
    assert [(call.error_type, call.error_text) for call in live.calls] == [("WithoutText", "")]
    assert scope.buffer.errors == {}


@pytest.mark.expects_errors("answered")
@pytest.mark.parametrize("client", ["urllib3", "urllib3_stream", "requests", "httpx", "httpx_async", "aiohttp"])
def test_a_fault_while_an_answer_is_noted_ends_the_call_promise_2(client, server, scope, settings, monkeypatch):
    """A call stays open, and the position, because its answer could not be read."""
    settings.payloads = "all"
    monkeypatch.setattr("coldspan.hot.http_call.HttpCalls.payload", lambda *_: 1 / 0)
    with hooked(scope) as live:
        assert CLIENTS[client](server.url("/x")).body == b"fine"
        assert scope.position() is live
    assert (len(live.calls), live.open) == (1, {})
    assert scope.buffer.errors == {"answered": 1}


@pytest.mark.expects_errors("answered")
@pytest.mark.parametrize("client", ["http_client", "urllib"])
def test_a_fault_between_headers_and_body_ends_the_call_promise_2(client, server, scope, monkeypatch):
    """A call of http.client's stays open because its answer could not be read."""
    monkeypatch.setattr("coldspan.hot.http_client.Track", lambda *_: 1 / 0)
    with hooked(scope) as live:
        assert CLIENTS[client](server.url("/x")).body == b"fine"
    assert (len(live.calls), live.open) == (1, {})
    assert scope.buffer.errors == {"answered": 1}


@pytest.mark.expects_errors("closed")
def test_an_exception_that_cannot_be_read_while_a_response_is_closed_ends_its_call_promise_2(server, scope):
    """A streamed call stays open because of what its reader raised."""

    class WithoutRequest(Exception):
        @property
        def _request(self):
            raise RuntimeError("no request")

    with hooked(scope) as live, httpx.Client(trust_env=False) as client:  # noqa: SIM117  # one block, one reason
        with pytest.raises(WithoutRequest), client.stream("GET", server.url("/x")):
            raise WithoutRequest
    assert [to_result(call).status for call in live.calls] == ["ok"]
    assert live.open == {}
    assert scope.buffer.errors == {"closed": 1}


def test_an_exception_with_somebody_elses_response_is_no_fault_of_ours(server, scope):
    """An error of boto3's, raised in a hook of httpx, holds a dict where httpx holds a response."""
    error = ValueError("theirs")
    error.response = {"Error": {}}
    with hooked(scope) as live, pytest.raises(ValueError, match="theirs"):
        by_httpx(server.url("/x"), error)
    assert [call.error_type for call in live.calls] == ["ValueError"]


def test_a_body_that_has_no_truth_is_left_alone(server, scope, settings):
    """A body of the customer's own class, as numpy's arrays are, is asked whether it is true."""

    class Untold:
        def __bool__(self):
            raise ValueError("neither")

    async def main():
        async with aiohttp.ClientSession(json_serialize=lambda _: "[1]") as session:
            response = await session.post(server.url("/x"), json=Untold())
            return await response.read()

    settings.payloads = "all"
    with hooked(scope) as live:
        assert asyncio.run(main()) == b"fine"
    assert live.calls[0].payload is None
