"""urllib3's retries and redirects, under requests too; payloads; and other instruments that wrap the same methods."""

import http.client
import json
import logging
import urllib.request

import aiohttp
import httpx
import pytest
import requests
import urllib3
import wrapt
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from coldspan.core.result import to_result
from support.http_clients import CLIENTS, hooked
from support.http_server import HttpServer, answer, in_turn, redirect, reset, silent


@pytest.fixture
def server():
    """A scripted server."""
    with HttpServer() as running:
        running.script["/ok"] = answer(200, b'{"id": 7}', content_type="application/json")
        yield running


@pytest.fixture
def live(scope, fake_clock):
    """A live invocation with all hooks in place."""
    fake_clock.tick_ns = 1000
    with hooked(scope) as invocation:
        yield invocation
        assert scope.position() is invocation, "a call was left as the position"


def by_urllib3(url, retry):
    with urllib3.PoolManager(retries=retry, timeout=0.3) as manager:
        return manager.request("GET", url).status


def by_pool(url, retry):
    with urllib3.connection_from_url(url, retries=retry, timeout=0.3) as pool:
        return pool.request("GET", urllib3.util.parse_url(url).path).status


def by_requests(url, retry):
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(max_retries=retry))
        return session.get(url, timeout=0.3).status_code


@pytest.fixture(params=[by_urllib3, by_pool, by_requests])
def fetch(request):
    """A way to urllib3's Retry."""
    return request.param


def only(live):
    """The record of the one call there was."""
    assert not live.open
    assert len(live.calls) == 1
    return to_result(live.calls[0])


@pytest.mark.parametrize(
    ("first", "throttles"),
    [(answer(503, b""), 0), (answer(429, b"", retry_after="0"), 1), (reset, 0)],
    ids=["503", "429", "reset"],
)
def test_a_retry_is_an_attempt_of_one_call_that_healed(fetch, server, live, first, throttles):
    """A retry is a second call, or a healed call is a failure."""
    server.script["/r"] = in_turn(first, answer())
    assert fetch(server.url("/r"), Retry(3, backoff_factor=0, status_forcelist=[503, 429])) == 200
    record = only(live)
    assert (record.status, record.attempts) == ("ok", 2)
    assert record.attributes["http.request.resend_count"] == 1
    assert record.throttles == throttles


def test_a_throttled_attempt_that_a_retry_healed_is_counted(fetch, server, live):
    """Throttling that retries heal is not to be seen."""
    server.script["/r"] = in_turn(answer(429, b"", retry_after="0"), answer(429, b"", retry_after="0"), answer())
    assert fetch(server.url("/r"), Retry(3, backoff_factor=0)) == 200
    record = only(live)
    assert (record.status, record.attempts, record.throttles) == ("ok", 3, 2)


@pytest.mark.parametrize(("status", "means"), [(503, "error"), (429, "throttled")])
def test_retries_that_run_out_end_as_the_last_answer(fetch, server, live, status, means):
    """The reason of the failure is hidden behind the client's own error."""
    server.script["/r"] = answer(status, b"", retry_after="0")
    with pytest.raises((urllib3.exceptions.MaxRetryError, requests.RequestException)):
        fetch(server.url("/r"), Retry(2, backoff_factor=0, status_forcelist=[status]))
    record = only(live)
    assert (record.status, record.attempts) == (means, 3)
    assert record.attributes["http.response.status_code"] == status


def test_an_attempt_without_an_answer_does_not_end_with_the_status_of_the_one_before(fetch, server, live):
    """A reset is recorded with the 503 of an earlier attempt."""
    server.script["/r"] = in_turn(answer(503, b""), reset)
    with pytest.raises((urllib3.exceptions.MaxRetryError, requests.RequestException)):
        fetch(server.url("/r"), Retry(1, backoff_factor=0, status_forcelist=[503]))
    record = only(live)
    assert (record.status, record.attempts) == ("error", 2)
    assert "http.response.status_code" not in record.attributes


def test_retries_that_run_out_on_timeouts_are_one_timeout(fetch, server, live):
    """Three timeouts are three calls, or a connection error."""
    server.script["/r"] = silent
    with pytest.raises((urllib3.exceptions.MaxRetryError, requests.RequestException)):
        fetch(server.url("/r"), Retry(2, backoff_factor=0))
    record = only(live)
    assert (record.status, record.attempts) == ("timeout", 3)
    assert record.attributes["error.type"] == "ReadTimeoutError"


@pytest.mark.parametrize("fetch", [by_urllib3, by_pool])
def test_a_redirect_that_urllib3_follows_is_one_call(fetch, server, live):
    """A redirect counts as a retry, or as another call."""
    server.script["/from"] = redirect("/ok")
    assert fetch(server.url("/from"), Retry(3)) == 200
    record = only(live)
    assert (record.status, record.attempts) == ("ok", 1)
    assert record.attributes["http.request.resend_count"] == 1


def test_redirects_without_end_are_an_error(server, live):
    """A redirect loop is recorded as a success."""
    server.script["/loop"] = redirect("/loop")
    with pytest.raises(urllib3.exceptions.MaxRetryError):
        by_urllib3(server.url("/loop"), Retry(2))
    assert only(live).status == "error"


# --- payloads -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["urllib3", "httpx", "httpx_async"])
def test_payloads_are_captured_when_asked_for(client, server, scope):
    """A payload that was asked for is missing, or a secret in it is not masked."""
    scope.settings.payloads = "all"
    server.script["/p"] = answer(200, b'{"id": 7, "password": "hunter2"}')
    with hooked(scope) as live:
        body = json.dumps({"name": "x", "token": "secret-value"}).encode()
        assert json.loads(CLIENTS[client](server.url("/p"), method="POST", body=body).body)["id"] == 7
    payload = live.calls[0].payload
    assert payload["request"]["name"] == "x"
    assert payload["response"]["id"] == 7
    assert "secret-value" not in repr(payload)
    assert "hunter2" not in repr(payload)


@pytest.mark.parametrize(
    ("payloads", "status", "captured"), [("off", 500, False), ("errors", 200, False), ("errors", 500, True)]
)
def test_payloads_are_captured_only_when_asked_for_promise_6(server, scope, payloads, status, captured):
    """A payload leaves although nobody asked for it."""
    scope.settings.payloads = payloads
    server.script["/p"] = answer(status, b"answered")
    with hooked(scope) as live:
        for client in sorted(CLIENTS):
            CLIENTS[client](server.url("/p"), method="POST", body=b"asked")
    kept = [call.payload for call in live.calls]
    without = {"http_client", "urllib"}  # which give their body to a socket, and to nobody else
    assert [payload is not None for payload in kept] == [
        captured and client not in without for client in sorted(CLIENTS)
    ]


def test_a_stream_is_never_read_for_its_payload(server, scope):
    """A generator or a file of the customer's arrives empty, because we looked at it."""
    scope.settings.payloads = "all"
    server.script["/p"] = answer()
    with hooked(scope) as live:
        requests.post(server.url("/p"), data=iter([b"one", b"two"]), timeout=5)
        urllib3.PoolManager().request("POST", server.url("/p"), body=iter([b"one", b"two"]))
        httpx.post(server.url("/p"), content=iter([b"one", b"two"]), trust_env=False)
    assert [request.body for request in server.seen] == [b"onetwo"] * 3
    assert len(live.calls) == 3


# --- others beside us ---------------------------------------------------------------------------------------------


METHODS = [
    (urllib3.connectionpool.HTTPConnectionPool, "urlopen"),
    (http.client.HTTPConnection, "getresponse"),
    (httpx.Client, "send"),
    (httpx.AsyncClient, "send"),
    (aiohttp.ClientSession, "_request"),
]
LEADS_TO = {"urlopen": "requests", "getresponse": "http_client", "_request": "aiohttp"}


@pytest.mark.parametrize("order", ["theirs first", "ours first"])
@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_another_instrument_on_the_same_method_works_in_either_order(server, scope, monkeypatch, order, owner, name):
    """With another instrument a call is recorded twice or not at all, or theirs loses its instance."""
    seen = []
    client = LEADS_TO.get(name) or ("httpx" if owner is httpx.Client else "httpx_async")

    def wrapper(wrapped, instance, args, kwargs):
        assert isinstance(instance, owner)
        seen.append(1)
        return wrapped(*args, **kwargs)

    def theirs():
        monkeypatch.setattr(owner, name, wrapt.FunctionWrapper(vars(owner)[name], wrapper))

    if order == "theirs first":
        theirs()
    with hooked(scope) as live:
        if order == "ours first":
            theirs()
        assert json.loads(CLIENTS[client](server.url("/ok")).body) == {"id": 7}
        assert len(live.calls) == 1
        if order == "ours first":
            monkeypatch.undo()
    assert len(seen) == 1


def test_log_lines_of_the_libraries_are_the_same(server, scope, caplog):
    """A library's log lines name our files, or say something else than without us."""
    caplog.set_level(logging.DEBUG)

    def logged():
        caplog.clear()
        requests.get(server.url("/ok"), timeout=5)
        httpx.get(server.url("/ok"), trust_env=False)
        return [(record.name, record.pathname, record.lineno, record.levelname) for record in caplog.records]

    bare = logged()
    with hooked(scope):
        ours = logged()
    assert bare
    assert ours == bare


# --- proxies ------------------------------------------------------------------------------------------------------


def by_proxy_manager(proxy, url):
    with urllib3.ProxyManager(proxy) as manager:
        return manager.request("GET", url).data


def by_requests_proxy(proxy, url):
    return requests.get(url, proxies={"http": proxy}, timeout=5).content


def by_urllib_proxy(proxy, url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": proxy}))
    with opener.open(url, timeout=5) as response:
        return response.read()


@pytest.mark.parametrize("through", [by_proxy_manager, by_requests_proxy, by_urllib_proxy])
def test_a_call_through_a_proxy_is_named_for_its_target(server, live, through):
    """Every call becomes a call of the proxy."""
    server.script["http://shop.example:8080/x"] = answer(200, b"bought")
    assert through(server.url(""), "http://shop.example:8080/x") == b"bought"
    record = only(live)
    assert record.tool == "shop.example"
    assert record.attributes["server.port"] == 8080
