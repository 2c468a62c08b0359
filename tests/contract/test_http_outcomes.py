"""Every client against the same scripted answers and faults: one call, one record, and how it really ended."""

import asyncio
import gc
import re
import traceback
import warnings

import aiohttp
import pytest

from coldspan.core.record import CANCELLED, CONNECTION, PHASES, TIMEOUT
from coldspan.core.result import to_result
from support.http_clients import CLIENTS, hooked
from support.http_server import (
    HttpServer,
    answer,
    chunked,
    full_backlog,
    redirect,
    refused_port,
    reset,
    silent,
    stalled,
    truncated,
    trusting_context,
    until_close,
)

HTTPX = {"httpx", "httpx_async", "httpx2", "httpx2_async"}


@pytest.fixture
def server():
    """A scripted server."""
    with HttpServer() as running:
        yield running


@pytest.fixture(params=sorted(CLIENTS))
def client(request):
    """The name of a client."""
    return request.param


@pytest.fixture
def fetch(client):
    """The client's fetch."""
    return CLIENTS[client]


@pytest.fixture
def live(scope, fake_clock):
    """A live invocation with all hooks in place, on a clock that moves by 1 µs at each look."""
    fake_clock.tick_ns = 1000
    with hooked(scope) as invocation:
        yield invocation
        assert scope.position() is invocation, "a call was left as the position"


def only(live):
    """The record of the one call there was."""
    assert not live.open
    assert len(live.calls) == 1
    return to_result(live.calls[0])


def error_of(fetch, url, **options):
    """The exception that a fetch ends with."""
    with pytest.raises(Exception) as caught:
        fetch(url, **options)
    return caught.value


BROKEN_OFF = {"IncompleteRead", "RemoteProtocolError", "ClientPayloadError", "ProtocolError"}
STATUSES = {
    200: "ok",
    204: "ok",
    304: "ok",
    400: "error",
    401: "error",
    403: "error",
    404: "rejected",
    408: "timeout",
    409: "rejected",
    412: "rejected",
    429: "throttled",
    500: "error",
    503: "error",
    504: "timeout",
}


@pytest.mark.parametrize("status", STATUSES)
def test_an_answer_becomes_one_call_with_the_status_it_means(fetch, server, live, status):
    """An answer is recorded twice, not at all, or as something else than it was."""
    server.script["/things"] = answer(status, b"some words")
    given = fetch(server.url("/things", "localhost"))
    record = only(live)
    assert given.status == status
    assert given.body == (b"" if status in {204, 304} else b"some words")
    assert (record.tool, record.operation, record.status) == ("localhost", "GET", STATUSES[status])
    assert record.attributes["http.response.status_code"] == status
    assert record.attributes["server.port"] == server.port
    assert record.attributes["server.address"] == "localhost"
    assert record.attributes["url.scheme"] == "http"
    assert record.parent_id == f"{live.span_id:016x}"
    assert record.attempts == 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_a_known_method_is_the_operation(fetch, server, live, method):
    """A method is lost."""
    server.script["/m"] = answer(200)
    body = b"x=1" if method in {"POST", "PUT", "PATCH"} else None
    assert fetch(server.url("/m"), method=method, body=body).status == 200
    assert only(live).operation == method
    assert [request.method for request in server.seen] == [method]


def test_an_unknown_method_is_other(fetch, server, live):
    """A made-up method becomes a dimension."""
    server.script["/m"] = answer(200)
    fetch(server.url("/m"), method="BREW")
    assert only(live).operation == "_OTHER"


def test_a_query_and_a_path_never_reach_the_record(fetch, server, live):
    """A token in a URL leaves the function."""
    server.script["/bot12345:secret/send"] = answer(500)
    fetch(server.url("/bot12345:secret/send?token=hidden"))
    record = only(live)
    text = repr([getattr(record, name) for name in record.__slots__])
    assert "secret" not in text
    assert "hidden" not in text


@pytest.mark.parametrize(
    "script",
    [chunked(b"one", b"two"), chunked(), until_close(b"onetwo"), answer(200, b"")],
    ids=["chunked", "chunked, empty", "until close", "empty"],
)
def test_a_body_is_read_to_its_end_however_it_ends(fetch, server, live, script):
    """A way of ending a body leaves the call open, or changes what the customer reads."""
    server.script["/b"] = script
    body = fetch(server.url("/b")).body
    assert body in {b"", b"onetwo"}
    assert only(live).status == "ok"


@pytest.mark.parametrize(
    "script", [truncated(100, b"only this"), chunked(b"only this", end=False)], ids=["length", "chunk"]
)
def test_a_truncated_body_is_an_error_of_the_call(fetch, server, live, script):
    """Half an answer is recorded as a success."""
    server.script["/half"] = script
    error_of(fetch, server.url("/half"))
    record = only(live)
    assert record.status == "error"
    assert record.attributes["http.response.status_code"] == 200
    assert record.attributes["error.type"] in BROKEN_OFF
    assert live.calls[0].cause == CONNECTION


def test_a_body_that_stalls_is_a_timeout_of_the_call(fetch, server, live):
    """A read timeout in the middle of a body is recorded as a success."""
    server.script["/slow"] = stalled(100, b"only this")
    error_of(fetch, server.url("/slow"), timeout=0.2)
    record = only(live)
    assert record.status == "timeout"
    assert record.attributes["http.response.status_code"] == 200


def test_a_server_that_says_nothing_is_a_timeout(fetch, server, live):
    """A read timeout is recorded as something else."""
    server.script["/silent"] = silent
    error_of(fetch, server.url("/silent"), timeout=0.2)
    record = only(live)
    assert record.status == "timeout"
    assert "http.response.status_code" not in record.attributes
    assert live.calls[0].cause == TIMEOUT


def test_a_reset_is_an_error_and_no_timeout(fetch, server, live):
    """A reset connection is taken for something else, or its retry for a second call."""
    server.script["/reset"] = reset
    error_of(fetch, server.url("/reset"))
    record = only(live)
    assert record.status == "error"
    assert record.message
    assert live.calls[0].cause == CONNECTION


def test_a_refused_connection_is_an_error(fetch, live):
    """A refused connection is not recorded."""
    with refused_port() as port:
        error_of(fetch, f"http://localhost:{port}/")
    record = only(live)
    assert (record.tool, record.status) == ("localhost", "error")
    assert live.calls[0].cause == CONNECTION


def test_a_connection_that_is_not_accepted_is_a_timeout_spent_connecting(client, fetch, live):
    """A connect timeout is not told from other failures, or its time is shown nowhere."""
    with full_backlog() as port:
        error_of(fetch, f"http://127.0.0.1:{port}/", timeout=0.2)
    record = only(live)
    assert record.status == "timeout"
    assert set(record.phases) <= {"connect", "send"}
    assert record.phases["connect"] > 0


def test_a_name_that_does_not_resolve_is_an_error_that_says_so(fetch, live):
    """A DNS failure is not recorded, or not recognisable."""
    error_of(fetch, "http://nothing.invalid/")
    record = only(live)
    assert (record.tool, record.status) == ("nothing.invalid", "error")
    assert re.search(r"resol|Name or service|name|gaierror|ClientConnectorDNSError", record.message)
    assert live.calls[0].cause == CONNECTION


def test_a_certificate_that_is_not_trusted_is_an_error_that_says_so(fetch, live):
    """A TLS failure is not recorded, or not recognisable."""
    with HttpServer(tls=True) as server:
        server.script["/"] = answer()
        error_of(fetch, server.url("/", "localhost"))
    record = only(live)
    assert record.status == "error"
    assert re.search(r"certificate|SSL|TLS", record.message, re.IGNORECASE)
    assert live.calls[0].cause == CONNECTION


def test_a_call_over_tls_has_its_phases(client, fetch, live):
    """The time of a handshake is lost or counted elsewhere."""
    with HttpServer(tls=True) as server:
        server.script["/"] = answer()
        assert fetch(server.url("/", "localhost"), context=trusting_context()).body == b"ok"
    record = only(live)
    assert record.attributes["url.scheme"] == "https"
    wanted = {"connect", "tls", "send", "wait"}
    if client == "aiohttp":
        wanted -= {"tls"}  # one step with connect there
    assert wanted <= set(record.phases) <= set(PHASES)
    assert sum(record.phases.values()) <= record.duration_ms + 0.01


def test_phases_of_a_call_add_up_to_no_more_than_the_call(fetch, server, live):
    """Time is counted in two phases."""
    server.script["/b"] = chunked(b"one", b"two")
    fetch(server.url("/b"), method="POST", body=b"sent")
    record = only(live)
    assert {"connect", "send", "wait"} <= set(record.phases)
    assert sum(record.phases.values()) <= record.duration_ms + 0.01


def test_runtime_api_and_daemon_are_never_recorded(fetch, server, fake_clock, scope):
    """The runtime's own traffic shows up as downstream calls."""
    scope.settings.runtime_api = f"127.0.0.1:{server.port}"
    server.script["/2018-06-01/runtime/invocation/next"] = answer()
    with hooked(scope) as invocation:
        assert fetch(server.url("/2018-06-01/runtime/invocation/next")).body == b"ok"
        assert not invocation.calls
        assert not invocation.open
    assert not scope.buffer.strays


def test_a_call_outside_of_any_invocation_belongs_to_the_environment(fetch, server, scope):
    """A call made during init is lost."""
    server.script["/secret"] = answer()
    with hooked(scope, invocation=False):
        fetch(server.url("/secret"))
    assert [call.owner.kind for call in scope.buffer.strays] == ["init"]


@pytest.mark.parametrize(
    "url", ["", "nonsense", "http://", "http:///x", "http://[::1", "ftp://localhost/", "http://a b/"]
)
def test_a_url_that_is_none_is_the_customers_error_and_no_fault_of_ours(fetch, scope, url):
    """A mistake of the customer's counts as a fault of ours, ends otherwise than without us, or leaves a call open."""
    bare = type(error_of(fetch, url, timeout=0.2))
    with hooked(scope) as invocation:
        assert type(error_of(fetch, url, timeout=0.2)) is bare
        assert not invocation.open


def test_an_aiohttp_session_with_a_base_url_is_recorded_under_it(server, live):
    """A relative URL has no tool."""
    server.script["/base"] = answer(200)

    async def main():
        async with aiohttp.ClientSession(server.url("/", "localhost")) as session, session.get("/base") as response:
            return await response.read()

    assert asyncio.run(main()) == b"ok"
    assert only(live).tool == "localhost"


FAULTS = {
    "reset": reset,
    "silent": silent,
    "truncated": truncated(100, b"only this"),
    "chunk": chunked(b"only this", end=False),
    "stalled": stalled(100, b"only this"),
}


def formatted(fetch, url):
    """The whole traceback of a failing fetch, free of addresses and of the lines of other runs."""
    try:
        fetch(url, timeout=0.2)
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        types = type(error), type(error.__context__), type(error.__cause__)
        return re.sub(r"0x[0-9a-f]+|(?<=scope )[0-9a-f]+", "0x", text), types
    raise AssertionError("no error")


@pytest.mark.parametrize("fault", [*FAULTS, "refused", "unknown name"])
def test_a_traceback_is_the_same_with_and_without_us_promise_1(fetch, server, scope, fault):
    """Frames of ours show in the customer's stack traces, or the exception is another one."""
    with refused_port() as port:
        if fault in FAULTS:
            server.script["/fault"] = FAULTS[fault]
            url = server.url("/fault")
        else:
            url = f"http://127.0.0.1:{port}/" if fault == "refused" else "http://nothing.invalid/"
        bare = formatted(fetch, url)
        with hooked(scope) as live:
            ours = formatted(fetch, url)
            assert len(live.calls) == 1
    assert ours == bare


def test_resource_warnings_are_the_same_with_and_without_us(fetch, server, scope):
    """Sockets left open warn less, or more, than without us."""
    server.script["/w"] = answer()

    def warned():
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            fetch(server.url("/w"))
            gc.collect()
        return sorted(str(warning.category) for warning in seen)

    bare = warned()
    with hooked(scope):
        ours = warned()
    assert ours == bare


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("client", sorted({"urllib", "requests", "aiohttp", *HTTPX} & set(CLIENTS)))
def test_a_redirect_is_followed_and_nothing_is_lost(client, server, live, status):
    """A hop is lost, or recorded twice."""
    fetch = CLIENTS[client]
    server.script["/from"] = redirect("/to", status)
    server.script["/to"] = answer(200, b"there")
    assert fetch(server.url("/from")).body == b"there"
    assert not live.open
    records = [to_result(call) for call in live.calls]
    if client in {"urllib", "requests"}:
        assert [record.attributes["http.response.status_code"] for record in records] == [status, 200]
    else:
        assert [record.attributes["http.response.status_code"] for record in records] == [200]
        assert records[0].attributes["http.request.resend_count"] == 1
    assert {record.status for record in records} == {"ok"}


@pytest.mark.expects_errors
def test_a_broken_step_of_ours_never_reaches_the_customer_promise_2(fetch, server, scope, monkeypatch):
    """A fault of ours is raised in the customer's code."""
    server.script["/x"] = answer(200, b"fine")

    def broken(*args):
        raise RuntimeError("ours")

    monkeypatch.setattr(scope.__class__, "begin", broken)
    with hooked(scope):
        assert fetch(server.url("/x")).body == b"fine"
    assert scope.buffer.errors


def test_nothing_of_the_customers_is_kept_after_the_call(fetch, server, live, scope):
    """A response, a request or a connection stays alive because of us."""
    from coldspan.hot.http_call import calls_of

    server.script["/x"] = answer(200, b"fine")
    fetch(server.url("/x"))
    gc.collect()
    http = calls_of(scope)
    assert not http.sent
    assert not http.unread
    assert live.calls[0].cause != CANCELLED
