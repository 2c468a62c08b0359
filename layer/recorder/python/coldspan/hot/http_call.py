"""What the HTTP hooks share: when a request is a call of its own, what is kept of it, and how its failure reads."""

from weakref import ref

from coldspan.core import limits
from coldspan.core.record import CANCELLED, CONNECTION, ERROR, HTTP, TIMEOUT, USER, Call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.boot.settings import Settings
    from coldspan.hot.scope import Scope

# Source: OpenTelemetry semantic conventions, http.request.method: RFC 9110, PATCH, QUERY; anything else is `_OTHER`.
METHODS = frozenset(("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "QUERY", "CONNECT", "TRACE"))
PORTS = {"http": 80, "https": 443}
_HOSTS = 256

# Names in an exception's line of classes, in this order: urllib3 1.x derives NewConnectionError from its timeout.
_CAUSES = (
    (CANCELLED, frozenset(("CancelledError", "Cancelled", "GeneratorExit", "KeyboardInterrupt", "SystemExit"))),
    (CONNECTION, frozenset(("NewConnectionError", "NameResolutionError"))),
    (TIMEOUT, frozenset(("TimeoutError", "TimeoutException"))),
    (
        CONNECTION,
        frozenset(
            (
                "OSError",
                "IncompleteRead",
                "SSLError",
                "ProtocolError",
                "NetworkError",
                "RemoteProtocolError",
                "ClientConnectionError",
                "ClientPayloadError",
            )
        ),
    ),
)
# Raised only because of a status code, which tells more than they do.
_STATUS_ERRORS = frozenset(("ClientResponseError", "HTTPStatusError", "ResponseError"))
# Their text is the URL.
_URL_ERRORS = frozenset(("InvalidURL", "LocationValueError", "UnsupportedProtocol"))


class Track:
    """A call by what it waits for: own tells that it ends there, mark_ns is where the running phase began.

    For what always tells when it goes: a connection below urllib3 is closed on every error, a response of http.client
    by its finalizer.
    """

    __slots__ = ("call", "mark_ns", "own")

    def __init__(self, call: "Call", own: bool, mark_ns: int) -> None:
        self.call = call
        self.own = own
        self.mark_ns = mark_ns


class Tie(ref):  # type: ignore[type-arg]  # subscripted it would be made at run time
    """The same for what may just go: a weak reference to a connection or a response, with the call."""

    __slots__ = ("call", "key", "mark_ns", "own")

    call: "Call"
    key: int
    mark_ns: int
    own: bool


class Ties(dict):  # type: ignore[type-arg]  # as above
    """Tracks and Ties by the id of their object. Nothing is written on that object, and it is not kept alive."""

    __slots__ = ("_gone",)

    def __init__(self, gone: "Callable[[Tie], None]") -> None:
        self._gone = gone

    def tie(self, owner: "Any", call: "Call", own: bool, now: int) -> "Tie":
        """Remember that `call` ends (own), or has its phases, with `owner`; `now` is when its phase began."""
        tie = Tie(owner, self._gone)
        tie.key = key = id(owner)
        tie.call = call
        tie.own = own
        tie.mark_ns = now
        self[key] = tie
        return tie


class HttpCalls:
    """The HTTP calls of one scope. Its methods are the hooks' steps: the hooks shield them."""

    __slots__ = ("capture", "current", "hidden", "named", "scope", "sent", "tools", "unread", "with_text")

    def __init__(self, scope: "Scope") -> None:
        settings = scope.settings
        self.scope = scope
        self.current = scope.current
        self.hidden = _hidden(settings)
        self.named = _matcher(settings)
        self.tools: "dict[str, str]" = {}  # by host
        self.capture = settings.payloads
        self.with_text = settings.error_text
        self.sent = Ties(scope.buffer.shielded(self.connection_gone))
        self.unread = Ties(scope.buffer.shielded(self.response_gone))

    def enclosing(self) -> "Call | None":
        """The open AWS or HTTP Call at the running position, or None: what happens below it is part of it."""
        node = self.current.get()
        while type(node) is Call:
            if not node.end_ns:
                return None if node.kind == USER or node.owner.closed else node
            node = node.parent
        return None

    def begin(self, method: str, scheme: str, host: str, port: "int | None") -> "Call | None":
        """Open a Call; None for the runtime's own traffic, and when the invocation holds too many."""
        if port is None:
            port = PORTS.get(scheme, 0)
        if (host, port) in self.hidden:
            return None
        tool = self.tools.get(host)
        if tool is None:
            tool = self.tool_of(host)
        call = self.scope.begin(HTTP, tool, method if method in METHODS else "_OTHER")
        if call is not None:
            call.attributes = {"server.address": host, "server.port": port, "url.scheme": scheme}
        return call

    def tool_of(self, host: str) -> str:
        """The tool name of a host, kept: a function calls few hosts, each many times."""
        from coldspan.core.hosts import normalise  # with the first request

        if len(self.tools) >= _HOSTS:
            self.tools.clear()
        tool = self.tools[host] = normalise(host)
        return tool

    def fail(self, call: "Call", error: "BaseException", request: "Any" = None) -> None:
        """End a call with an exception, of which only names and text are kept; `request` is what was sent.

        The exception may be the customer's and raise when it is read: the call has failed and ends all the same.
        """
        try:
            if not call.end_ns:
                describe(call, error, self.with_text)
            if request is not None:
                self.payload(call, request)
        except BaseException:
            if not call.error_type and call.http_status < 400:
                call.error_type, call.cause = type(error).__name__, ERROR
            raise
        finally:
            self.scope.end(call)

    def connection_gone(self, tie: "Tie") -> None:
        """A connection was dropped between its request and its response."""
        if self.sent.get(tie.key) is tie:
            del self.sent[tie.key]
            self.abandon(tie)

    def response_gone(self, tie: "Tie") -> None:
        """A response was dropped unread."""
        if self.unread.get(tie.key) is tie:
            del self.unread[tie.key]
            if tie.own:
                self.scope.end(tie.call)

    def abandon(self, tie: "Track | Tie") -> None:
        """End a call whose response nobody waited for."""
        if tie.own and not tie.call.end_ns:
            tie.call.cause = CANCELLED
            self.scope.end(tie.call)

    def payload(self, call: "Call", request: "Any", response: "Any" = None) -> None:
        """Capture what was sent and received, if that was asked for. Streams and files are left alone."""
        if self.capture == "off" or (self.capture == "errors" and call.http_status < 400 and not call.error_type):
            return
        from coldspan.core.payload import capture  # only where payloads were asked for

        pair = {"request": request, "response": response}
        call.payload = {
            name: capture(body, self.scope.settings)
            for name, body in pair.items()
            if isinstance(body, (bytes, bytearray, str, dict, list)) and body
        } or None


_last: "HttpCalls | None" = None


def calls_of(scope: "Scope") -> "HttpCalls":
    """The HttpCalls of a scope; the hooks of all libraries share one, because one library stands on another."""
    global _last
    if _last is None or _last.scope is not scope:
        _last = HttpCalls(scope)
    return _last


def add(call: "Call", index: int, ns: int) -> None:
    """Add time to a phase of a call that is still open."""
    if not call.end_ns:
        phases = call.phases
        if phases is None:
            phases = call.phases = [0] * 7
        phases[index] += ns


def resent(call: "Call", count: int) -> None:
    """Note how many requests followed the first one of a call, redirects and retries alike."""
    if count > 0 and call.attributes is not None:
        call.attributes["http.request.resend_count"] = count


def describe(call: "Call", error: "BaseException", with_text: bool) -> None:
    """Write what an exception says of itself into the call: the class name of its root, its text, its cause."""
    error = _root(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    if call.http_status >= 400 and not names.isdisjoint(_STATUS_ERRORS):
        return
    call.error_type = type(error).__name__
    call.cause = next((cause for cause, known in _CAUSES if not known.isdisjoint(names)), ERROR)
    if with_text and names.isdisjoint(_URL_ERRORS):
        call.error_text = _without_urls(str(error))[: limits.RAW_TEXT_CHARS]


def raised_in(error: "BaseException", *owners: object) -> bool:
    """Whether a method of one of these objects is on the way an exception has come."""
    trace = error.__traceback__
    while trace is not None:
        self = trace.tb_frame.f_locals.get("self")
        if self is not None and any(self is owner for owner in owners):
            return True
        trace = trace.tb_next
    return False


def _root(error: "BaseException") -> "BaseException":
    """What lies under urllib3's wrappers: `MaxRetryError.reason`, and the second argument of a ProtocolError."""
    for _ in range(4):
        inner = getattr(error, "reason", None)
        if type(error).__name__ == "ProtocolError" and len(error.args) > 1:
            inner = error.args[1]
        if not isinstance(inner, BaseException):
            return error
        error = inner
    return error


def _without_urls(text: str) -> str:
    """Cut URLs down to scheme and host: path and query may hold secrets."""
    words = text.split("://")
    for index in range(1, len(words)):
        word = words[index]
        end = next((at for at, char in enumerate(word) if char in " '\"<>),;"), len(word))
        words[index] = word[:end].partition("/")[0].partition("?")[0].rpartition("@")[2] + word[end:]
    return "://".join(words).partition("with url: ")[0]


def _matcher(settings: "Settings") -> "Callable[[str], bool] | None":
    if not settings.propagate:
        return None
    from coldspan.hot.propagate import matcher  # only where it was asked for

    return matcher(settings.propagate)


def _hidden(settings: "Settings") -> "frozenset[tuple[str, int]]":
    """(host, port) of the Runtime, Extensions and Telemetry APIs (one address) and of the X-Ray daemon."""
    found: "set[tuple[str, int]]" = set()
    for address in (settings.runtime_api + " " + settings.xray_address).split():
        host, _, port = address.removeprefix("udp:").removeprefix("tcp:").rpartition(":")
        if port.isdigit():
            found.add((host, int(port)))
    return frozenset(found)
