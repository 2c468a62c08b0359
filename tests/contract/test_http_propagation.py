"""The trace goes on to the hosts that COLDSPAN_PROPAGATE names, and nothing the customer set or sees is touched."""

import asyncio
import contextlib
import http.client

import httpx
import pytest
import requests

from coldspan.core.record import AWS, CONNECT
from support.http_clients import CLIENTS, hooked
from support.http_server import HttpServer, answer, redirect

OURS = {"traceparent", "x-amzn-trace-id"}


@pytest.fixture
def server():
    """A scripted server."""
    with HttpServer() as running:
        running.script["/t"] = answer()
        yield running


@pytest.fixture(params=sorted(CLIENTS))
def fetch(request):
    """Each client's fetch."""
    return CLIENTS[request.param]


@pytest.fixture
def live(scope):
    """A live invocation with a trace, with all hooks in place, that passes the trace on to localhost."""
    scope.settings.propagate = ("localhost", "*.internal")
    with hooked(scope) as invocation:
        yield invocation


def test_a_named_host_gets_the_call_as_its_parent(fetch, server, live):
    """The trace stops at the function, or goes on under the wrong parent."""
    fetch(server.url("/t", "localhost"), headers={"x-own": "1"})
    sent = server.seen[0].headers
    span = f"{live.calls[0].span_id:016x}"
    assert sent["traceparent"] == f"00-5759e988bd862e3fe1be46a994272793-{span}-01"
    assert sent["x-amzn-trace-id"] == (
        f"Root=1-5759e988-bd862e3fe1be46a994272793;Parent={span};Sampled=1;Lineage=a:1|b:2"
    )
    assert sent["x-own"] == "1"


def test_other_hosts_get_nothing(fetch, server, live):
    """A third party is told the customer's trace ids."""
    fetch(server.url("/t", "127.0.0.1"))
    assert not OURS & set(server.seen[0].headers)


def test_without_a_trace_nothing_is_sent(fetch, server, live):
    """An invented trace goes on."""
    live.trace = None
    fetch(server.url("/t", "localhost"))
    assert not OURS & set(server.seen[0].headers)


@pytest.mark.parametrize("name", ["TraceParent", "x-amzn-trace-id"])
def test_a_header_the_customer_set_stays_and_its_dict_too(fetch, server, live, name):
    """A header of the customer's is overwritten, or its dict written into."""
    headers = {name: "mine"}
    fetch(server.url("/t", "localhost"), headers=headers)
    sent = server.seen[0].headers
    assert sent[name.lower()] == "mine"
    assert set(sent) >= OURS
    assert headers == {name: "mine"}


def test_requests_of_an_open_aws_call_are_left_alone(fetch, server, live, scope):
    """A signed request is sent with headers that were not signed."""
    call = scope.begin(AWS, "s3", "GetObject")
    fetch(server.url("/t", "localhost"))
    scope.end(call)
    assert not OURS & set(server.seen[0].headers)


def test_the_customers_request_objects_look_as_before(server, live):
    """Our headers or listeners show in the customer's request."""
    request = httpx.Request("GET", server.url("/t", "localhost"), headers={"x-own": "1"}, extensions={"own": 1})
    before = list(request.headers.raw), dict(request.extensions)
    with httpx.Client(trust_env=False) as client:
        response = client.send(request)
        built = client.get(server.url("/t", "localhost"))
    assert response.request is request
    assert set(request.extensions) - {"timeout"} == set(before[1])
    assert not OURS & {name.decode().lower() for name, _ in request.headers.raw}
    assert not OURS & set(built.request.headers)
    assert set(server.seen[0].headers) >= OURS
    prepared = requests.Session().prepare_request(requests.Request("GET", server.url("/t", "localhost")))
    shown = dict(prepared.headers)
    with requests.Session() as session:
        session.trust_env = False
        session.send(prepared)
    assert dict(prepared.headers) == shown
    assert set(server.seen[-1].headers) >= OURS


def test_a_trace_listener_of_the_customers_stays(server, live):
    """The trace extension of httpx stops working for the customer."""
    heard = []
    with httpx.Client(trust_env=False) as client:
        client.get(server.url("/t", "localhost"), extensions={"trace": lambda event, info: heard.append(event)})
    assert any("send_request_headers" in event for event in heard)


def spied(module, seen):
    """Transports that are not httpx's own: (transport, URL) of clients; `seen` gets the extensions each is given."""

    def handle(request):
        seen.append(set(request.extensions))
        request.extensions["theirs"] = 1
        return module.Response(200)

    class Custom(module.BaseTransport):
        def handle_request(self, request):
            return handle(request)

    class Around(module.HTTPTransport):
        def handle_request(self, request):
            seen.append(set(request.extensions))
            return super().handle_request(request)

    return {"mock": module.MockTransport(handle), "custom": Custom(), "subclass": Around()}


@pytest.mark.parametrize("name", ["mock", "custom", "subclass"])
@pytest.mark.parametrize("mounted", [False, True])
def test_a_transport_that_is_not_httpxs_own_sees_the_customers_extensions_only_promise_1(server, scope, name, mounted):
    """A test double or a transport of the customer's is given a listener that it never asked for."""
    seen, kept = [], []

    def run():
        transport = spied(httpx, seen)[name]
        options = {"mounts": {"http://": transport}} if mounted else {"transport": transport}
        with httpx.Client(trust_env=False, **options) as client:
            response = client.get(server.url("/t", "localhost"), extensions={"own": 1})
            kept.append(set(response.request.extensions))

    run()
    with hooked(scope) as live:
        run()
    assert seen[0] == seen[1]
    assert kept[0] == kept[1]
    assert "own" in seen[1]
    assert len(live.calls) == 1


def test_an_async_transport_that_is_not_httpxs_own_sees_the_customers_extensions_only_promise_1(server, live):
    """The same for async clients."""
    seen = []

    async def handle(request):
        seen.append(set(request.extensions))
        return httpx.Response(200)

    class Custom(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request):
            return await handle(request)

    async def main():
        for transport in (httpx.MockTransport(handle), Custom()):
            async with httpx.AsyncClient(trust_env=False, transport=transport) as client:
                await client.get(server.url("/t", "localhost"))

    asyncio.run(main())
    assert seen == [{"timeout"}, {"timeout"}]
    assert len(live.calls) == 2


def test_httpxs_own_transport_is_heard_in_a_subclass_that_only_configures_it(server, live, fake_clock):
    """The phases of a call are lost because its transport was given another constructor."""
    fake_clock.tick_ns = 1000

    class Configured(httpx.HTTPTransport):
        def __init__(self):
            super().__init__(retries=1)

    with httpx.Client(trust_env=False, transport=Configured()) as client:
        client.get(server.url("/t", "localhost"))
    phases = live.calls[0].phases
    assert phases is not None
    assert phases[CONNECT]


@pytest.mark.parametrize("client", ["httpx", "httpx_async", "aiohttp"])
def test_a_redirect_to_another_host_takes_no_trace_along(server, live, client):
    """A host that is not named gets the trace because a named one sent us there."""
    server.script["/from"] = redirect(server.url("/t", "127.0.0.1"))
    CLIENTS[client](server.url("/from", "localhost"))
    first, second = (set(request.headers) for request in server.seen)
    assert first >= OURS
    assert not OURS & second


def test_headers_put_by_hand_count_as_the_customers(server, live):
    """A header put with http.client's own methods is sent twice."""
    with contextlib.closing(http.client.HTTPConnection("localhost", server.port)) as connection:
        connection.putrequest("GET", "/t")
        connection.putheader("Traceparent", "mine")
        connection.endheaders()
        connection.getresponse().read()
    assert server.seen[0].headers["traceparent"] == "mine"
