"""http.client: calls of its own (urllib and direct use), phases for what stands on it (urllib3, requests, botocore).

A call begins when its headers leave and ends with its body. It is not the position in between, because the customer's
code runs there.
"""

import sys

from coldspan.core.record import AWS, CONNECT, CONNECTION, RECEIVE, SEND, TLS, WAIT
from coldspan.hot.http_call import Track, add, calls_of
from coldspan.hot.patch import drop_own_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.core.record import Call
    from coldspan.hot.http_call import Tie
    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope


def install(module: "Any", scope: "Scope", patches: "Patches") -> None:
    """Hook http.client's connection and response classes."""
    steps = Steps(scope)
    shielded = scope.buffer.shielded
    connection = module.HTTPConnection
    sent, unread, clock = steps.http.sent, steps.http.unread, scope.clock

    sending, send_failed = shielded(steps.sending), shielded(steps.send_failed)
    answered, answer_failed = shielded(steps.answered), shielded(steps.answer_failed)
    ended, body_failed, closed = shielded(steps.ended), shielded(steps.body_failed), shielded(steps.closed)
    abandoned = shielded(steps.http.abandon)

    def make_endheaders(original: "Any") -> "Any":
        def endheaders(self: "Any", message_body: "Any" = None, *, encode_chunked: "Any" = False) -> "Any":
            track = sending(self)
            try:
                result = original(self, message_body, encode_chunked=encode_chunked)
            except BaseException as error:
                if track is not None:
                    send_failed(self, track, error)
                drop_own_frame(error)
                raise
            if track is not None:
                now = clock()
                add(track.call, SEND, now - track.mark_ns)
                track.mark_ns = now
            return result

        return endheaders

    def make_getresponse(original: "Any") -> "Any":
        def getresponse(self: "Any") -> "Any":
            track = sent.pop(id(self), None)
            began = clock()
            try:
                response = original(self)
            except BaseException as error:
                if track is not None:
                    answer_failed(self, track, began, error)
                drop_own_frame(error)
                raise
            if track is not None:
                answered(track, began, response)
            return response

        return getresponse

    def make_close_connection(original: "Any") -> "Any":
        def close(self: "Any") -> "Any":
            if sent:
                track = sent.pop(id(self), None)
                if track is not None:
                    abandoned(track)
            try:
                return original(self)
            except BaseException as error:
                drop_own_frame(error)
                raise

        return close

    def make_read(original: "Any") -> "Any":
        def read(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            try:
                result = original(self, *args, **kwargs)
            except BaseException as error:
                body_failed(self, error)
                drop_own_frame(error)
                raise
            if self.fp is None:
                track = unread.pop(id(self), None)
                if track is not None:
                    add(track.call, RECEIVE, clock() - track.mark_ns)
                    if track.own:
                        ended(self, track.call)
            return result

        return read

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

    replace(connection, "connect", timed(steps, CONNECT), patches)
    if hasattr(module, "HTTPSConnection"):
        replace(module.HTTPSConnection, "connect", timed(steps, TLS), patches)
    replace(connection, "endheaders", make_endheaders, patches)
    replace(connection, "getresponse", make_getresponse, patches)
    replace(connection, "close", make_close_connection, patches)
    for name in ("read", "readinto", "read1", "readline"):
        replace(module.HTTPResponse, name, make_read, patches)
    replace(module.HTTPResponse, "close", make_close, patches)


def timed(steps: "Steps", index: int) -> "Callable[[Any], Any]":
    """Give the `make` of a wrapper that adds the time of a connection's method to a phase of its call.

    What the method itself adds to CONNECT (the TCP connection under a TLS one) is not counted twice.
    """
    clock = steps.http.scope.clock
    shielded = steps.http.scope.buffer.shielded
    call_of = shielded(steps.call_of)
    note = shielded(steps.secured if index == TLS else steps.connected)

    def make(original: "Any") -> "Any":
        def connect(self: "Any") -> "Any":
            call = call_of(self)
            since = clock()
            if index == TLS and call is not None and call.phases is not None:
                since -= call.phases[CONNECT]  # `secured` takes off what stands there then
            try:
                result = original(self)
            except BaseException as error:
                if call is not None:
                    note(self, call, since)
                drop_own_frame(error)
                raise
            if call is not None:
                note(self, call, since)
            return result

        return connect

    return make


class Steps:
    """What is done around http.client's methods."""

    __slots__ = ("clock", "http")

    def __init__(self, scope: "Scope") -> None:
        self.http = calls_of(scope)
        self.clock = scope.clock

    def call_of(self, connection: "Any") -> "Call | None":
        """The call that a connection works for: urllib3 connects before it sends, and then the position tells."""
        track = self.http.sent.get(id(connection))
        return track.call if track is not None else self.http.enclosing()

    def connected(self, connection: "Any", call: "Call", since: int) -> None:
        """Add the time that a TCP connection took."""
        self.add_apart(connection, call, CONNECT, self.clock() - since)

    def secured(self, connection: "Any", call: "Call", since: int) -> None:
        """Add the time that a TLS connection took, without that of the TCP connection under it."""
        inner = call.phases[CONNECT] if call.phases is not None else 0
        self.add_apart(connection, call, TLS, self.clock() - since - inner)

    def add_apart(self, connection: "Any", call: "Call", index: int, ns: int) -> None:
        """Add time that is no part of the sending that it happened in."""
        add(call, index, ns)
        track = self.http.sent.get(id(connection))
        if track is not None:
            track.mark_ns += ns

    def sending(self, connection: "Any") -> "Track | Tie | None":
        """The headers are about to leave: a call of our own begins, unless one is open above. Gives its track."""
        http = self.http
        if not connection._buffer:
            return None  # no request line: http.client refuses it
        call = http.enclosing()
        track: "Track | Tie"
        if call is None:
            call = http.begin(connection._method, *_target(connection))
            if call is None:
                return None
            http.scope.leave(call)
            track = http.sent.tie(connection, call, True, 0)
        else:
            track = http.sent[id(connection)] = Track(call, False, 0)
        if http.named is not None and call.kind != AWS and http.named(connection._tunnel_host or connection.host):
            from coldspan.hot.propagate import headers_for  # loaded where hosts are named

            there = {line.partition(b":")[0].strip().lower() for line in connection._buffer}
            for name, value in headers_for(call):
                if name.lower().encode("ascii") not in there:
                    connection.putheader(name, value)
        track.mark_ns = self.clock()
        return track

    def send_failed(self, connection: "Any", track: "Track | Tie", error: "BaseException") -> None:
        """Connecting or sending failed."""
        add(track.call, SEND, self.clock() - track.mark_ns)
        if track.own:
            self.http.sent.pop(id(connection), None)
            self.http.fail(track.call, error)

    def answered(self, track: "Track | Tie", began: int, response: "Any") -> None:
        """Status and headers have come; the body follows."""
        now = self.clock()
        call = track.call
        own = track.own
        if not call.end_ns:
            phases = call.phases
            if phases is None:
                phases = call.phases = [0] * 7
            phases[WAIT] += now - began
            if not own:
                phases[SEND] += began - track.mark_ns  # urllib3 sends the body after the headers
        try:
            if not call.http_status or call.kind != AWS:
                call.http_status = response.status
            # An answer that urllib raises keeps its body unread for as long as somebody holds the exception, which the
            # runtime does until after the drain: what such a call has to say is said by its status.
            refused = own and response.status >= 400
            if not (response.fp is None or response.length == 0 or response.status == 101 or refused):
                self.http.unread[id(response)] = Track(call, own, now)
                return
        except BaseException:  # the class of the response may be the customer's
            if own:
                self.http.scope.end(call)
            raise
        if own:
            self.http.scope.end(call)

    def answer_failed(self, connection: "Any", track: "Track | Tie", began: int, error: "BaseException") -> None:
        """No response came."""
        add(track.call, WAIT, self.clock() - began)
        if track.own:
            if type(error).__name__ in ("ResponseNotReady", "CannotSendRequest"):
                self.http.sent[id(connection)] = track  # a mistake in the order of calls, the request is still out
            else:
                self.http.fail(track.call, error)

    def ended(self, response: "Any", call: "Call") -> None:
        """A read has brought the end of the body. http.client says nothing when it came too early."""
        if response.length:
            call.error_type = "IncompleteRead"
            call.error_text = "%d more bytes expected" % response.length
            call.cause = CONNECTION
        self.http.scope.end(call)

    def body_failed(self, response: "Any", error: "BaseException") -> None:
        """A read has raised. A wrong argument is no end of the body."""
        track = self.http.unread.get(id(response))
        if track is not None and not (response.fp is not None and isinstance(error, (AttributeError, TypeError))):
            self._finish(response, track, error)

    def closed(self, response: "Any", error: "BaseException | None") -> None:
        """The response is being closed: by the customer, or by urllib3 because of the error that is being handled."""
        track = self.http.unread.get(id(response))
        if track is not None:
            trace = error.__traceback__ if error is not None else None
            handler = trace.tb_frame.f_code.co_name if trace is not None else ""
            if handler == "_update_chunk_length":  # urllib3 closes first and makes its ProtocolError afterwards
                track.call.error_type, track.call.error_text = "ProtocolError", "no length where a chunk should begin"
                track.call.cause = CONNECTION
            broken = handler == "_error_catcher" and not isinstance(error, GeneratorExit)
            self._finish(response, track, error if broken else None)

    def _finish(self, response: "Any", track: "Track | Tie", error: "BaseException | None") -> None:
        self.http.unread.pop(id(response), None)
        add(track.call, RECEIVE, self.clock() - track.mark_ns)
        if not track.own:
            return
        if error is None:
            self.http.scope.end(track.call)
        else:
            self.http.fail(track.call, error)


def _target(connection: "Any") -> "tuple[str, str, int | None]":
    """(scheme, host, port) of the request that is about to leave. One through a proxy names an absolute URL."""
    scheme = "https" if connection.default_port == 443 else "http"
    if connection._tunnel_host:
        return scheme, connection._tunnel_host, connection._tunnel_port
    url = connection._buffer[0].split(b" ", 2)[1]
    if url[:1] == b"/" or b"://" not in url:
        return scheme, connection.host, connection.port
    scheme, _, rest = url.decode("latin-1").partition("://")
    host, _, port = rest.partition("/")[0].partition("?")[0].rpartition("@")[2].partition(":")
    return scheme, host, int(port) if port.isdigit() else None
