"""urllib3, and so requests: one `urlopen` of a pool, with its retries and redirects, is one call.

What happens on the wire is seen by the http.client hook below, which also ends a call whose body is read later.
requests and urllib follow redirects above their stack, by a new request each: there, each hop is a call of its own.
"""

import sys

from coldspan.core.record import CONNECT, HTTP, TLS
from coldspan.hot.http_call import calls_of, resent
from coldspan.hot.http_client import Steps, timed
from coldspan.hot.patch import drop_own_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.core.record import Call
    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope


def install(module: "Any", scope: "Scope", patches: "Patches") -> None:
    """Hook the pools of urllib3.connectionpool, or the manager of urllib3.poolmanager, which follows redirects."""
    shielded = scope.buffer.shielded
    steps = Urllib3Steps(scope)
    opened, answered, failed = shielded(steps.opened), shielded(steps.answered), shielded(steps.failed)

    def make(original: "Any") -> "Any":
        def urlopen(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            call = opened(self, args, kwargs)
            if call is None:
                try:
                    return original(self, *args, **kwargs)
                except BaseException as error:
                    drop_own_frame(error)
                    raise
            try:
                response = original(self, *args, **kwargs)
            except BaseException as error:
                failed(call, args, kwargs, error)
                drop_own_frame(error)
                raise
            answered(call, (args, kwargs), response)
            return response

        return urlopen

    if hasattr(module, "PoolManager"):
        replace(module.PoolManager, "urlopen", make, patches)
    if hasattr(module, "HTTPConnectionPool") and hasattr(module, "HTTPConnection"):
        replace(module.HTTPConnectionPool, "urlopen", make, patches)
        below = Steps(scope)
        replace(module.HTTPConnection, "_new_conn", timed(below, CONNECT), patches)
        # Without the ssl module this name stands for a class that only raises.
        replace(module.HTTPSConnection, "connect", timed(below, TLS), patches)


class Urllib3Steps:
    """What is done around `urlopen(method, url, body, headers, retries, ...)`."""

    __slots__ = ("http",)

    def __init__(self, scope: "Scope") -> None:
        self.http = calls_of(scope)

    def opened(self, pool: "Any", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "Call | None":
        """Begin a call, unless one is open: then this is an attempt of it."""
        http = self.http
        call = http.enclosing()
        if call is not None:
            if call.kind == HTTP:
                retries = args[4] if len(args) > 4 else kwargs.get("retries")
                _count(call, retries)
                call.http_status = 0  # of the attempt before
            return None
        method = args[0] if args else kwargs.get("method")
        url = args[1] if len(args) > 1 else kwargs.get("url")
        if type(url) is not str or type(method) is not str:
            return None
        if url[:1] == "/":
            return http.begin(method, pool.scheme, pool.host, pool.port)
        place = _place(pool, url)
        return http.begin(method, *place) if place is not None else None

    def answered(self, call: "Call", given: "tuple[tuple[Any, ...], dict[str, Any]]", response: "Any") -> None:
        """A response is there; its body has been read (preloaded) or will end the call."""
        http = self.http
        try:
            call.http_status = response.status
            if response.retries is not None and response.retries.history:
                _count(call, response.retries)
            if http.capture != "off":
                args, kwargs = given
                http.payload(call, args[2] if len(args) > 2 else kwargs.get("body"), getattr(response, "_body", None))
            tie = http.unread.get(id(getattr(response, "_original_response", None)))
            if tie is not None:
                tie.own = True
                http.scope.leave(call)
                return
        except BaseException:
            http.scope.end(call)
            raise
        http.scope.end(call)

    def failed(self, call: "Call", args: "tuple[Any, ...]", kwargs: "dict[str, Any]", error: "BaseException") -> None:
        """No response came, or not one that the customer gets."""
        self.http.fail(call, error, args[2] if len(args) > 2 else kwargs.get("body"))


def _count(call: "Call", retries: "Any") -> None:
    """Write down what urllib3's Retry remembers: attempts, those that were throttled, requests sent again."""
    history = getattr(retries, "history", None)
    if history:
        again = [entry for entry in history if not entry.redirect_location]
        call.retries = len(again)
        call.throttles = len([entry for entry in again if entry.status == 429])
        resent(call, len(history))


def _place(pool: "Any", url: str) -> "tuple[str, str, int | None] | None":
    """(scheme, host, port) that a request is for, or None. A pool to a proxy, and a manager, get the whole URL."""
    if "://" in url:
        try:
            parsed = sys.modules["urllib3.util.url"].parse_url(url)
        except ValueError:
            return None
        return (parsed.scheme or "http", parsed.host.strip("[]"), parsed.port) if parsed.host else None
    return (pool.scheme, pool.host, pool.port) if hasattr(pool, "host") else None
