"""httpx and httpx2, sync and async: one `send` of a client, with its authentication and redirects, is one call."""

import sys

from coldspan.core.record import CONNECT, HTTP, RECEIVE, SEND, TLS, WAIT
from coldspan.hot.http_call import add, calls_of, resent
from coldspan.hot.patch import drop_own_frame, replace
from coldspan.hot.propagate import headers_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.core.record import Call
    from coldspan.hot.http_call import HttpCalls
    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope

    # what `landed` needs: the call, the headers added, the extensions as they were if others were lent
    Kept = tuple[Call, list[tuple[str, str]], Any]

# httpcore's trace events, by what they are named for without their protocol and outcome.
_EVENTS = {
    "connection.connect_tcp": CONNECT,
    "connection.connect_unix_socket": CONNECT,
    "connection.start_tls": TLS,
    "http11.send_request_headers": SEND,
    "http11.send_request_body": SEND,
    "http11.receive_response_headers": WAIT,
    "http11.receive_response_body": RECEIVE,
    "http2.send_request_headers": SEND,
    "http2.send_request_body": SEND,
    "http2.receive_response_headers": WAIT,
    "http2.receive_response_body": RECEIVE,
}


def install(module: "Any", scope: "Scope", patches: "Patches") -> None:
    """Hook the clients and responses of httpx, or of httpx2."""
    shielded = scope.buffer.shielded
    steps = HttpxSteps(scope, module)
    began, answered, failed = shielded(steps.began), shielded(steps.answered), shielded(steps.failed)
    prepare, landed, closed = shielded(steps.prepare), shielded(steps.landed), shielded(steps.closed)
    unread = steps.http.unread

    def make_send(original: "Any") -> "Any":
        def send(self: "Any", request: "Any", **kwargs: "Any") -> "Any":
            call = began(request)
            try:
                response = original(self, request, **kwargs)
            except BaseException as error:
                if call is not None:
                    failed(call, request, error)
                drop_own_frame(error)
                raise
            if call is not None:
                answered(call, request, response)
            return response

        return send

    def make_async_send(original: "Any") -> "Any":
        async def send(self: "Any", request: "Any", **kwargs: "Any") -> "Any":
            call = began(request)
            try:
                response = await original(self, request, **kwargs)
            except BaseException as error:
                if call is not None:
                    failed(call, request, error)
                drop_own_frame(error)
                raise
            if call is not None:
                answered(call, request, response)
            return response

        return send

    def make_single(original: "Any") -> "Any":
        def _send_single_request(self: "Any", request: "Any") -> "Any":
            kept = prepare(self, request, False)
            try:
                response = original(self, request)
            except BaseException as error:
                if kept is not None:
                    landed(request, kept, None)
                drop_own_frame(error)
                raise
            if kept is not None:
                landed(request, kept, response)
            return response

        return _send_single_request

    def make_async_single(original: "Any") -> "Any":
        async def _send_single_request(self: "Any", request: "Any") -> "Any":
            kept = prepare(self, request, True)
            try:
                response = await original(self, request)
            except BaseException as error:
                if kept is not None:
                    landed(request, kept, None)
                drop_own_frame(error)
                raise
            if kept is not None:
                landed(request, kept, response)
            return response

        return _send_single_request

    def make_close(original: "Any") -> "Any":
        def close(self: "Any") -> "Any":
            if id(self) in unread:
                closed(self, sys.exc_info()[1])
            try:
                return original(self)
            except BaseException as error:
                drop_own_frame(error)
                raise

        return close

    def make_async_close(original: "Any") -> "Any":
        async def aclose(self: "Any") -> "Any":
            if id(self) in unread:
                closed(self, sys.exc_info()[1])
            try:
                return await original(self)
            except BaseException as error:
                drop_own_frame(error)
                raise

        return aclose

    replace(module.Client, "send", make_send, patches)
    replace(module.Client, "_send_single_request", make_single, patches)
    replace(module.AsyncClient, "send", make_async_send, patches)
    replace(module.AsyncClient, "_send_single_request", make_async_single, patches)
    replace(module.Response, "close", make_close, patches)
    replace(module.Response, "aclose", make_async_close, patches)


class HttpxSteps:
    """What is done around a client's `send`, each single request in it, and the close of a response."""

    __slots__ = ("http", "transports")

    def __init__(self, scope: "Scope", module: "Any") -> None:
        self.http = calls_of(scope)
        self.transports = module.HTTPTransport, module.AsyncHTTPTransport

    def began(self, request: "Any") -> "Call | None":
        """Begin a call, unless one is open."""
        if self.http.enclosing() is not None:
            return None
        url = request.url
        return self.http.begin(request.method, url.scheme, url.host, url.port) if url.host else None

    def prepare(self, client: "Any", request: "Any", is_async: bool) -> "Kept | None":
        """Lend the request our trace headers and a listener for its phases. Gives what `landed` needs.

        The request is the customer's, so both are taken off again. Its headers are always a copy that httpx made; its
        extensions may be the customer's own dict, so the request gets another one meanwhile.
        """
        call = self.http.enclosing()
        if call is None:
            return None
        if call.kind == HTTP:
            call.http_status = 0  # of the hop before
        added = []
        named = self.http.named
        if named is not None and call.kind == HTTP and named(request.url.host):
            added = [(name, value) for name, value in headers_for(call) if name not in request.headers]
            for name, value in added:
                request.headers[name] = value
        extensions = request.extensions
        if "trace" in extensions or not self.traces(client._transport_for_url(request.url), is_async):
            return call, added, None
        listener = Listener(self.http, call)
        request.extensions = {**extensions, "trace": listener.heard_async if is_async else listener.heard}
        return call, added, extensions

    def traces(self, transport: "Any", is_async: bool) -> bool:
        """Whether a transport hands requests to httpcore by httpx's own method: any other would see our listener."""
        own = self.transports[is_async]
        kind = type(transport)
        if kind is own:
            return True
        handle = "handle_async_request" if is_async else "handle_request"
        return next((base for base in kind.__mro__ if handle in vars(base)), None) is own

    def landed(self, request: "Any", kept: "Kept", response: "Any") -> None:
        """Take off what was lent; note the status, because a body that is read within the same `send` may break off."""
        call, added, extensions = kept
        if extensions is not None:
            request.extensions = extensions
        if response is not None and (call.kind == HTTP or not call.http_status):
            call.http_status = response.status_code
        for name, _ in added:
            request.headers.pop(name, None)

    def answered(self, call: "Call", request: "Any", response: "Any") -> None:
        """A response is there; its body has been read, or will end the call."""
        http = self.http
        try:
            call.http_status = response.status_code
            resent(call, len(response.history))
            if http.capture != "off":
                http.payload(call, getattr(request, "_content", None), getattr(response, "_content", None))
            if not response.is_closed:
                http.unread.tie(response, call, True, 0)
                http.scope.leave(call)
                return
        except BaseException:
            http.scope.end(call)
            raise
        http.scope.end(call)

    def failed(self, call: "Call", request: "Any", error: "BaseException") -> None:
        """No response came, or its body did not."""
        try:
            status = getattr(getattr(error, "response", None), "status_code", None)
            if type(status) is int:
                call.http_status = status
        finally:
            self.http.fail(call, error, getattr(request, "_content", None))

    def closed(self, response: "Any", error: "BaseException | None") -> None:
        """A response is being closed: read to its end, left early, or because of the error that is being handled."""
        tie = self.http.unread.pop(id(response), None)
        if tie is None:
            return
        broken = None
        try:
            if error is not None and getattr(error, "_request", None) is response._request:
                broken = error
        finally:
            if broken is None:
                self.http.scope.end(tie.call)
            else:
                self.http.fail(tie.call, broken)


class Listener:
    """Hears httpcore's trace events for one request: `protocol.step.started`, then `.complete` or `.failed`."""

    __slots__ = ("began_ns", "call", "clock", "http")

    def __init__(self, http: "HttpCalls", call: "Call") -> None:
        self.http = http
        self.call = call
        self.clock = http.scope.clock
        self.began_ns = 0

    def heard(self, event: str, info: "Any") -> None:
        """Add the time of a step to its phase."""
        step, _, outcome = event.rpartition(".")
        if outcome == "started":
            self.began_ns = self.clock()
            if step == "connection.retry" and self.call.kind == HTTP:
                self.call.retries += 1
            return
        index = _EVENTS.get(step)
        if index is not None:
            add(self.call, index, self.clock() - self.began_ns)
            if outcome == "failed" and index == RECEIVE:
                self.broken(info["exception"])

    async def heard_async(self, event: str, info: "Any") -> None:
        """The same for async clients, which await it."""
        self.heard(event, info)

    def broken(self, error: "BaseException") -> None:
        """The body broke off. A reader that stops early is none."""
        if self.call.kind == HTTP and not isinstance(error, GeneratorExit):
            self.http.fail(self.call, error)
