"""http.client: calls of its own (urllib and direct use), phases for what stands on it (urllib3, requests, botocore).

A call begins with the request line and ends with the body. Nothing of ours runs as the position in between, because the
customer's code runs there.
"""

import sys

from coldspan.core.record import AWS, CONNECT, CONNECTION, RECEIVE, SEND, TLS, WAIT
from coldspan.hot.http_call import Track, add, calls_of
from coldspan.hot.patch import drop_own_frame, replace
from coldspan.hot.propagate import headers_for


def install(module, scope, patches) -> None:
    """Hook http.client's connection and response classes."""
    steps = Steps(scope)
    shielded = scope.buffer.shielded
    connection = module.HTTPConnection
    sent, unread, clock = steps.http.sent, steps.http.unread, scope.clock
    injects = steps.http.named is not None

    requested, inject, send_failed = map(shielded, (steps.requested, steps.inject, steps.send_failed))
    answered, answer_failed = shielded(steps.answered), shielded(steps.answer_failed)
    ended, body_failed, closed = map(shielded, (steps.ended, steps.body_failed, steps.closed))
    abandoned = shielded(steps.http.abandon)

    def make_putrequest(original):
        def putrequest(self, *args, **kwargs):
            try:
                result = original(self, *args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise
            requested(self, args[1] if len(args) > 1 else kwargs.get("url"))
            return result

        return putrequest

    def make_endheaders(original):
        def endheaders(self, *args, **kwargs):
            tie = sent.get(id(self))
            if tie is None:
                try:
                    return original(self, *args, **kwargs)
                except BaseException as error:
                    drop_own_frame(error)
                    raise
            if injects:
                inject(self, tie.call)
            tie.mark_ns = clock()
            try:
                result = original(self, *args, **kwargs)
            except BaseException as error:
                send_failed(self, tie, error)
                drop_own_frame(error)
                raise
            now = clock()
            add(tie.call, SEND, now - tie.mark_ns)
            tie.mark_ns = now
            return result

        return endheaders

    def make_getresponse(original):
        def getresponse(self):
            tie = sent.pop(id(self), None)
            began = clock()
            try:
                response = original(self)
            except BaseException as error:
                if tie is not None:
                    answer_failed(self, tie, began, error)
                drop_own_frame(error)
                raise
            if tie is not None:
                answered(tie, began, response)
            return response

        return getresponse

    def make_close_connection(original):
        def close(self):
            if sent:
                tie = sent.pop(id(self), None)
                if tie is not None:
                    abandoned(tie)
            try:
                return original(self)
            except BaseException as error:
                drop_own_frame(error)
                raise

        return close

    def make_read(original):
        def read(self, *args, **kwargs):
            try:
                result = original(self, *args, **kwargs)
            except BaseException as error:
                body_failed(self, error)
                drop_own_frame(error)
                raise
            if self.fp is None:
                tie = unread.pop(id(self), None)
                if tie is not None:
                    ended(self, tie)
            return result

        return read

    def make_close(original):
        def close(self):
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
    replace(connection, "putrequest", make_putrequest, patches)
    replace(connection, "endheaders", make_endheaders, patches)
    replace(connection, "getresponse", make_getresponse, patches)
    replace(connection, "close", make_close_connection, patches)
    for name in ("read", "readinto", "read1", "readline"):
        replace(module.HTTPResponse, name, make_read, patches)
    replace(module.HTTPResponse, "close", make_close, patches)


def timed(steps, index):
    """Give the `make` of a wrapper that adds the time of a connection's method to a phase of its call.

    What the method itself adds to CONNECT (the TCP connection under a TLS one) is not counted twice.
    """
    clock = steps.http.scope.clock
    call_of = steps.http.scope.buffer.shielded(steps.call_of)

    def make(original):
        def connect(self, *args, **kwargs):
            call = call_of(self)
            began = clock()
            inner = call.phases[CONNECT] if call is not None and call.phases is not None else 0
            try:
                result = original(self, *args, **kwargs)
            except BaseException as error:
                if call is not None:
                    steps.connected(self, call, index, clock() - began, inner)
                drop_own_frame(error)
                raise
            if call is not None:
                steps.connected(self, call, index, clock() - began, inner)
            return result

        return connect

    return make


class Steps:
    """What is done around http.client's methods."""

    __slots__ = ("clock", "connected", "http")

    def __init__(self, scope) -> None:
        self.http = calls_of(scope)
        self.clock = scope.clock
        self.connected = scope.buffer.shielded(self.note_connected)

    def call_of(self, connection):
        """The call that a connection works for: urllib3 connects before it sends, and then the position tells."""
        tie = self.http.sent.get(id(connection))
        return tie.call if tie is not None else self.http.enclosing()

    def note_connected(self, connection, call, index, ns, inner) -> None:
        """Add the time a connection took; it is no part of the sending that it happened in."""
        own = ns - ((call.phases[CONNECT] if call.phases is not None else 0) - inner) if index == TLS else ns
        add(call, index, own)
        tie = self.http.sent.get(id(connection))
        if tie is not None:
            tie.mark_ns += own

    def requested(self, connection, url) -> None:
        """The request line has been put: a call of our own begins, unless a stack above has one open."""
        http = self.http
        call = http.enclosing()
        if call is None:
            call = http.begin(connection._method, *_target(connection, url))
            if call is not None:
                http.scope.leave(call)
                http.sent.tie(connection, call, True, 0)
        else:
            http.sent[id(connection)] = Track(call, False, 0)

    def inject(self, connection, call) -> None:
        """The headers are about to leave: the last moment to add ours."""
        http = self.http
        if call.kind != AWS and http.named(connection._tunnel_host or connection.host):
            there = {line.partition(b":")[0].strip().lower() for line in connection._buffer}
            for name, value in headers_for(call):
                if name.lower().encode("ascii") not in there:
                    connection.putheader(name, value)

    def send_failed(self, connection, tie, error) -> None:
        """Connecting or sending failed."""
        add(tie.call, SEND, self.clock() - tie.mark_ns)
        if tie.own:
            self.http.sent.pop(id(connection), None)
            self.http.fail(tie.call, error)

    def answered(self, tie, began, response) -> None:
        """Status and headers have come; the body follows."""
        now = self.clock()
        call = tie.call
        own = tie.own
        if not call.end_ns:
            phases = call.phases
            if phases is None:
                phases = call.phases = [0] * 7
            phases[WAIT] += now - began
            if not own:
                phases[SEND] += began - tie.mark_ns  # urllib3 sends the body after the headers
        if not call.http_status or call.kind != AWS:
            call.http_status = response.status
        if response.fp is None or response.length == 0 or response.status == 101:
            if own:
                self.http.scope.end(call)
        else:
            self.http.unread[id(response)] = Track(call, own, now)

    def answer_failed(self, connection, tie, began, error) -> None:
        """No response came."""
        add(tie.call, WAIT, self.clock() - began)
        if tie.own:
            if type(error).__name__ in ("ResponseNotReady", "CannotSendRequest"):
                self.http.sent[id(connection)] = tie  # a mistake in the order of calls, the request is still out
            else:
                self.http.fail(tie.call, error)

    def ended(self, response, tie) -> None:
        """A read has brought the end of the body. http.client says nothing when it came too early."""
        call = tie.call
        add(call, RECEIVE, self.clock() - tie.mark_ns)
        if tie.own:
            if response.length:
                call.error_type = "IncompleteRead"
                call.error_text = "%d more bytes expected" % response.length
                call.cause = CONNECTION
            self.http.scope.end(call)

    def body_failed(self, response, error) -> None:
        """A read has raised. A wrong argument is no end of the body."""
        tie = self.http.unread.get(id(response))
        if tie is not None and not (response.fp is not None and isinstance(error, (AttributeError, TypeError))):
            self._finish(response, tie, error)

    def closed(self, response, error) -> None:
        """The response is being closed: by the customer, or by urllib3 because of the error that is being handled."""
        tie = self.http.unread.get(id(response))
        if tie is not None:
            trace = error.__traceback__ if error is not None else None
            handler = trace.tb_frame.f_code.co_name if trace is not None else ""
            if handler == "_update_chunk_length":  # urllib3 closes first and makes its ProtocolError afterwards
                tie.call.error_type, tie.call.error_text = "ProtocolError", "no length where a chunk should begin"
                tie.call.cause = CONNECTION
            broken = handler == "_error_catcher" and not isinstance(error, GeneratorExit)
            self._finish(response, tie, error if broken else None)

    def _finish(self, response, tie, error) -> None:
        self.http.unread.pop(id(response), None)
        add(tie.call, RECEIVE, self.clock() - tie.mark_ns)
        if not tie.own:
            return
        if error is None:
            self.http.scope.end(tie.call)
        else:
            self.http.fail(tie.call, error)


def _target(connection, url):
    """(scheme, host, port) of a request: an absolute URL goes through a proxy, as does a tunnel."""
    secure = connection.default_port == 443
    if type(url) is str and url[:1] != "/" and "://" in url:
        scheme, _, rest = url.partition("://")
        host, _, port = rest.partition("/")[0].partition("?")[0].rpartition("@")[2].partition(":")
        return scheme, host, int(port) if port.isdigit() else None
    if connection._tunnel_host:
        return "https" if secure else "http", connection._tunnel_host, connection._tunnel_port
    return "https" if secure else "http", connection.host, connection.port
