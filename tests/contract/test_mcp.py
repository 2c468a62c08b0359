"""Tool calls of the Model Context Protocol's own SDK, against a server in memory. Works with the SDK 1.x and 2.x."""

import asyncio
import contextlib
import datetime as dt
import traceback

import pytest

from coldspan.core.record import Invocation
from coldspan.core.result import to_result
from coldspan.hot import mcp as hook
from coldspan.hot.patch import restore

pytest.importorskip("mcp", reason="the MCP SDK is not installed")

from mcp.client import session as session_module

try:
    from mcp.client import Client  # 2.x
    from mcp.server import MCPServer
except ImportError:
    from mcp.server.fastmcp import FastMCP as MCPServer
    from mcp.shared.memory import create_connected_server_and_client_session

    def connected(server):
        """A client of the SDK 1.x."""
        return create_connected_server_and_client_session(server._mcp_server)

    SERVER = "mcp"
else:

    def connected(server):
        """A client of the SDK 2.x."""
        return Client(server)

    SERVER = "shop"

BARE = session_module.ClientSession.call_tool


@pytest.fixture
def server():
    """A server with a tool for each way to end."""
    server = MCPServer("shop")

    @server.tool()
    def price(order: int) -> int:
        return order * 2

    @server.tool()
    def refund(order: int) -> int:
        message = f"order {order} has no payment"
        raise ValueError(message)

    @server.tool()
    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    return server


@pytest.fixture
def invocation(scope):
    """A live invocation with the hook in place."""
    patches = []
    hook.install(session_module, scope, patches)
    assert len(patches) == 1
    invocation = Invocation("invocation", "1", scope.new_id(), scope.clock(), scope.wall())
    scope.current.set(invocation)
    yield invocation
    restore(patches)
    assert session_module.ClientSession.call_tool is BARE


def ask(server, *args, **kwargs):
    """Call one tool; gives its result, or raises what the SDK raises."""

    async def conversation():
        async with connected(server) as client:
            try:
                return await client.call_tool(*args, **kwargs), None
            except Exception as error:  # outside of the SDK's task groups it would be wrapped
                return None, error

    result, error = asyncio.run(conversation())
    if error is not None:
        raise error
    return result


def only(invocation):
    """The record of the only call."""
    (call,) = invocation.calls
    return to_result(call)


def test_tool_call_is_recorded_by_its_name(server, scope, invocation):
    """The tool must be named as the semantic conventions say, and its arguments and content left alone."""
    result = ask(server, "price", {"order": 21})
    assert "42" in str(result.content)
    record = only(invocation)
    assert (record.tool, record.operation, record.status) == (SERVER, "price", "ok")
    assert record.attributes == {
        "mcp.method.name": "tools/call",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "price",
    }
    assert record.payload is None
    assert record.parent_id == "%016x" % invocation.span_id
    assert scope.current.get() is invocation


def test_tool_that_answers_with_an_error_has_failed(server, invocation):
    """A failure inside a successful answer must not be counted as a success."""
    result = ask(server, "refund", {"order": 7})
    assert getattr(result, "is_error", None) is True or getattr(result, "isError", None) is True
    record = only(invocation)
    assert record.status == "error"
    assert record.attributes["error.type"] == "tool_error"
    assert "payment" not in record.message


def test_tool_call_that_takes_too_long_is_a_timeout(server, invocation):
    """A server that does not answer must show as a timeout, with the protocol's code."""
    seconds = 0.05 if SERVER == "shop" else dt.timedelta(seconds=0.05)
    with pytest.raises(Exception, match=r"(?i)timed out"):
        ask(server, "hang", {}, read_timeout_seconds=seconds)
    record = only(invocation)
    assert record.status == "timeout"
    assert record.attributes["error.type"] in ("408", "-32001")


def test_protocol_error_is_recorded_by_its_code(invocation, monkeypatch):
    """Unknown tools and bad parameters come as JSON-RPC errors: error.type is their code."""
    error = Exception("Unknown tool: nothing")
    error.error = type("ErrorData", (), {"code": -32602})()

    async def refuse(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(session_module.ClientSession, "send_request", refuse)
    session = session_module.ClientSession.__new__(session_module.ClientSession)
    session._call_tool_adapter = None
    with pytest.raises(Exception, match="Unknown tool"):
        asyncio.run(session.call_tool("nothing", {}))
    record = only(invocation)
    assert record.status == "error"
    assert record.message == "-32602: Unknown tool: nothing"


def test_unknown_tool_of_the_real_server_is_an_error(server, invocation):
    """Whichever way the SDK's server says it, a tool that is not there has failed."""
    with contextlib.suppress(Exception):  # 2.x raises, 1.x answers with isError
        ask(server, "nothing", {})
    record = only(invocation)
    assert record.status == "error"
    assert record.attributes["error.type"] in ("tool_error", "-32602", "-32600", "-32603")


def test_exception_leaves_a_tool_call_as_it_was_promise_1(server, invocation):
    """Promise 1: the customer sees the same traceback as without us."""
    frames = []
    for call_tool in (BARE, session_module.ClientSession.call_tool):
        session = session_module.ClientSession.__new__(session_module.ClientSession)
        with pytest.raises(AttributeError) as caught:
            asyncio.run(call_tool(session, "price"))
        frames.append([(frame.name, frame.lineno) for frame in traceback.extract_tb(caught.value.__traceback__)])
    assert frames[0] == frames[1]
    assert only(invocation).status == "error"


def test_tool_calls_of_gathered_tasks_do_not_mix(server, scope, invocation):
    """Agents call tools side by side: each is a sibling."""

    async def conversation():
        async with connected(server) as client:
            await asyncio.gather(*(client.call_tool("price", {"order": number}) for number in range(5)))

    asyncio.run(conversation())
    assert len(invocation.calls) == 5
    assert {call.parent for call in invocation.calls} == {invocation}
    assert scope.current.get() is invocation


def test_tool_payload_is_kept_only_when_asked_and_masked_promise_6(server, settings, invocation):
    """Promise 6: arguments and content leave only when asked for, masked."""
    settings.payloads = "all"
    ask(server, "price", {"order": 21, "api_key": "hunter2"})
    payload = only(invocation).payload
    assert payload["request"] == {"order": 21, "api_key": "***"}
    assert "42" in str(payload["response"])
