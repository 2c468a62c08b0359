"""aiohttp's client: one `_request` of a session, with its redirects, is one call. It ends when the body has arrived."""

import sys

from coldspan.core.record import CANCELLED, CONNECT, HTTP, RECEIVE, SEND, WAIT
from coldspan.hot.http_call import add, calls_of, raised_in, resent
from coldspan.hot.patch import drop_own_frame, replace
from coldspan.hot.propagate import headers_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.core.record import Call
    from coldspan.hot.http_call import Tie
    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope


def install(module: "Any", scope: "Scope", patches: "Patches") -> None:
    """Hook aiohttp.client's session, request and response; the connectors for the time of a connection."""
    shielded = scope.buffer.shielded
    steps = AiohttpSteps(scope)
    clock = scope.clock
    enclosing, began, answered = shielded(steps.http.enclosing), shielded(steps.began), shielded(steps.answered)
    failed, closed, inject = shielded(steps.failed), shielded(steps.closed), shielded(steps.inject)
    unread = steps.http.unread

    def make_request(original: "Any") -> "Any":
        async def _request(self: "Any", method: str, str_or_url: "Any", **kwargs: "Any") -> "Any":
            call = began(self, method, str_or_url)
            try:
                response = await original(self, method, str_or_url, **kwargs)
            except BaseException as error:
                if call is not None:
                    failed(call, kwargs, error)
                drop_own_frame(error)
                raise
            if call is not None:
                answered(call, kwargs, response)
            return response

        return _request

    def timed(index: int, before: "Callable[[Any, Call], None] | None" = None) -> "Callable[[Any], Any]":
        """Give the `make` of a wrapper that adds the time of a coroutine method to a phase of the call it works for."""

        def make(original: "Any") -> "Any":
            async def step(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
                call = enclosing()
                if call is not None and before is not None:
                    before(self, call)
                start = clock()
                try:
                    result = await original(self, *args, **kwargs)
                except BaseException as error:
                    if call is not None:
                        add(call, index, clock() - start)
                    drop_own_frame(error)
                    raise
                if call is not None:
                    add(call, index, clock() - start)
                return result

            return step

        return make

    def make_close(original: "Any") -> "Any":
        def close(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            if id(self) in unread:
                closed(self, sys.exc_info()[1])
            try:
                return original(self, *args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise

        return close

    replace(module.ClientSession, "_request", make_request, patches)
    replace(module.ClientRequest, "send", timed(SEND, inject), patches)
    replace(module.ClientResponse, "start", timed(WAIT), patches)
    for connector in (module.TCPConnector, getattr(module, "UnixConnector", None)):
        if connector is not None:
            replace(connector, "_create_connection", timed(CONNECT), patches)  # TLS included: they are one step there
    replace(module.ClientResponse, "close", make_close, patches)
    replace(module.ClientResponse, "release", make_close, patches)


class AiohttpSteps:
    """What is done around a session's request and the end of its response."""

    __slots__ = ("ended", "http")

    def __init__(self, scope: "Scope") -> None:
        self.http = calls_of(scope)
        self.ended = scope.buffer.shielded(self.note_end)

    def began(self, session: "Any", method: str, url: "Any") -> "Call | None":
        """Begin a call, unless one is open."""
        http = self.http
        if http.enclosing() is not None:
            return None
        if type(url) is str:
            try:
                url = sys.modules["yarl"].URL(url)
            except ValueError:  # aiohttp says so itself
                return None
        if not url.host:
            url = getattr(session, "_base_url", None)
        return http.begin(method.upper(), url.scheme, url.host, url.port) if url is not None and url.host else None

    def inject(self, request: "Any", call: "Call") -> None:
        """Add the trace headers to aiohttp's own request, made anew for each hop."""
        named = self.http.named
        if named is not None and call.kind == HTTP and named(request.url.host or ""):
            for name, value in headers_for(call):
                if name not in request.headers:
                    request.headers[name] = value

    def answered(self, call: "Call", arguments: "dict[str, Any]", response: "Any") -> None:
        """Status and headers have come; the body may have, too."""
        http = self.http
        try:
            call.http_status = response.status
            resent(call, len(response.history))
            if http.capture != "off":
                http.payload(call, _body(arguments))
            content = response.content
            if response.status != 101 and content is not None and not response.closed:
                tie = http.unread.tie(response, call, True, http.scope.clock())
                http.scope.leave(call)
                key = tie.key
                ended = self.ended
                content.on_eof(lambda: ended(key, tie))
                return
        except BaseException:
            http.scope.end(call)
            raise
        http.scope.end(call)

    def note_end(self, key: int, tie: "Tie") -> None:
        """The last byte of a body has arrived."""
        if self.http.unread.get(key) is tie:
            del self.http.unread[key]
            add(tie.call, RECEIVE, self.http.scope.clock() - tie.mark_ns)
            self.http.scope.end(tie.call)

    def failed(self, call: "Call", arguments: "dict[str, Any]", error: "BaseException") -> None:
        """No response came, or not one that the customer gets."""
        try:
            status = getattr(error, "status", 0)
            if type(status) is int:
                call.http_status = status
        finally:
            self.http.fail(call, error, _body(arguments))

    def closed(self, response: "Any", error: "BaseException | None") -> None:
        """The response is being closed before its body has come: by choice, or because it broke off."""
        tie = self.http.unread.pop(id(response), None)
        if tie is None:
            return
        call = tie.call
        add(call, RECEIVE, self.http.scope.clock() - tie.mark_ns)
        broken = None
        try:
            broken = response.content.exception()
            if broken is None and error is not None:
                if type(error).__name__ == "CancelledError":
                    call.cause = CANCELLED
                    call.error_type = "CancelledError"
                elif raised_in(error, response, response.content):
                    broken = error
        finally:
            if broken is None:
                self.http.scope.end(call)
            else:
                self.http.fail(call, broken)


def _body(arguments: "dict[str, Any]") -> "Any":
    """What is sent, as it was given to aiohttp: only one of the two may be."""
    given = arguments.get("json")
    return given if given is not None else arguments.get("data")
