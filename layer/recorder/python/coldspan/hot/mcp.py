"""Records the tool calls of the Model Context Protocol's client, `ClientSession.call_tool` of the SDK 1.x and 2.x."""

from coldspan.core import limits
from coldspan.core.record import ERROR, TIMEOUT, USER
from coldspan.hot.byhand import describe
from coldspan.hot.patch import drop_own_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.core.record import Call
    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope

_REQUEST_TIMEOUTS = (408, -32001)  # McpError of the SDK 1.x and 2.x when a request's read timeout has passed


def install(module: "Any", scope: "Scope", patches: "Patches") -> None:
    """Patch the client session of `mcp.client.session`."""
    shielded = scope.buffer.shielded

    def begin_tool(session: "Any", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "Call | None":
        name = args[0] if args else kwargs.get("name")
        name = name[: limits.XRAY_NAME_CHARS] if type(name) is str and name else "unknown"
        call = scope.begin(USER, _server(session), name)
        if call is not None:
            # Source: OpenTelemetry semantic conventions, Model Context Protocol. Arguments and content are never kept.
            call.attributes = {
                "mcp.method.name": "tools/call",
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": name,
            }
        return call

    def fail_tool(call: "Call", error: "BaseException") -> None:
        try:
            describe(call, error, scope.settings.error_text)
            code = getattr(getattr(error, "error", None), "code", None)
            if type(code) is int:
                call.error_type = str(code)
                call.cause = TIMEOUT if code in _REQUEST_TIMEOUTS else ERROR
        finally:
            scope.end(call)

    def succeed_tool(call: "Call", result: "Any", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> None:
        try:
            # 2.x, 1.x, and a raw dict; only a literal true counts.
            failed = result.get("isError") if type(result) is dict else getattr(result, "is_error", None)
            if failed is True or getattr(result, "isError", None) is True:
                call.cause = ERROR
                call.error_type = "tool_error"
            payloads = scope.settings.payloads
            if payloads == "all" or (payloads == "errors" and call.error_type):
                capture_tool(call, result, args, kwargs)
        finally:
            scope.end(call)

    def capture_tool(call: "Call", result: "Any", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> None:
        from coldspan.core.payload import capture  # only where payloads were asked for

        arguments = args[1] if len(args) > 1 else kwargs.get("arguments")
        if hasattr(result, "model_dump"):
            result = result.model_dump(mode="python", exclude_none=True)
        call.payload = capture({"request": arguments, "response": result}, scope.settings)

    begin, fail, succeed = shielded(begin_tool), shielded(fail_tool), shielded(succeed_tool)

    def make(original: "Any") -> "Any":
        async def call_tool(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            call = begin(self, args, kwargs)
            try:
                result = await original(self, *args, **kwargs)
            except BaseException as error:
                if call is not None:
                    fail(call, error)
                drop_own_frame(error)
                raise
            if call is not None:
                succeed(call, result, args, kwargs)
            return result

        return call_tool

    replace(module.ClientSession, "call_tool", make, patches)


def _server(session: "Any") -> str:
    """The name by which the server introduced itself, where the SDK keeps it (2.x); else `mcp`."""
    name = getattr(getattr(session, "server_info", None), "name", None)
    return name[: limits.XRAY_NAME_CHARS] if type(name) is str and name else "mcp"
