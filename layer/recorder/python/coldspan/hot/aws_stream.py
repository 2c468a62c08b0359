"""A call whose answer is a stream ends when the stream does: read to its end, closed, broken, or dropped."""

from weakref import ref

from coldspan.core import limits
from coldspan.core.record import ERROR, RECEIVE
from coldspan.hot.patch import drop_own_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.core.record import Call
    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope


class Tie(ref):  # type: ignore[type-arg]  # subscripted it would be made at run time
    """A weak reference to a stream, with the call it ends."""

    __slots__ = ("call", "key")

    call: "Call"
    key: int


class Streams(dict):  # type: ignore[type-arg]  # as above
    """The streams being read, by id: nothing is written on the customer's object, and it is not kept alive."""

    __slots__ = ("gone", "kinds", "scope")

    def __init__(self, scope: "Scope") -> None:
        self.scope = scope
        self.kinds: "tuple[type, ...]" = ()  # the classes that are hooked
        self.gone = scope.buffer.shielded(self.dropped)

    def follow(self, stream: "Any", call: "Call") -> bool:
        """Let the call end with the stream. False when there is nothing to wait for: an empty body, a stub's."""
        if not isinstance(stream, self.kinds) or getattr(stream, "_content_length", None) == "0":
            return False
        tie = Tie(stream, self.gone)
        tie.call = call
        tie.key = id(stream)
        self[tie.key] = tie
        return True

    def dropped(self, tie: "Tie") -> None:
        """The customer let go of a stream."""
        known: "Any" = self.get(tie.key)
        if known is tie:
            del self[tie.key]
            self.scope.end(tie.call)

    def closed(self, tie: "Tie") -> None:
        """The stream has ended, at its end or before."""
        self.scope.end(tie.call)

    def failed(self, tie: "Tie", error: BaseException) -> None:
        """The stream broke."""
        from coldspan.hot.aws_call import describe  # that module stands on this one

        try:
            describe(tie.call, error, self.scope.settings.error_text)
        finally:
            self.scope.end(tie.call)

    def received(self, stream: "Any", tie: "Tie", began: int, ended: bool) -> None:
        """Part of the stream has been read; `ended` says that this was all."""
        call = tie.call
        phases = call.phases
        if phases is None:
            phases = call.phases = [0] * 7
        phases[RECEIVE] += self.scope.clock() - began
        if not ended and not hasattr(stream, "_checksum"):  # a checksum is verified by one more, empty read
            length = getattr(stream, "_content_length", None)
            ended = length is not None and getattr(stream, "_amount_read", 0) >= int(length)
        if ended:
            self.scope.end(call)
        else:
            self[tie.key] = tie

    def event(self, tie: "Tie", event: "Any") -> None:
        """An event went by: Lambda reports a function's failure in the last one."""
        complete = event.get("InvokeComplete")
        if complete and complete.get("ErrorCode"):
            call = tie.call
            call.cause = ERROR
            call.error_type = str(complete["ErrorCode"])[: limits.RAW_TEXT_CHARS]
            call.error_text = str(complete.get("ErrorDetails") or "")[: limits.RAW_TEXT_CHARS]


def is_end(args: "Any", kwargs: "Any", chunk: "Any") -> bool:
    """Whether `read(amt)` came to the end: it was asked for all, or asked for some and got none."""
    amount = args[0] if args else kwargs.get("amt")
    return amount is None or (not chunk and amount != 0)


def install(bodies: "Any", event_stream: "Any", streams: "Streams", patches: "Patches") -> None:
    """Hook botocore's StreamingBody, those of its subclasses that read by themselves, and EventStream."""
    shielded = streams.scope.buffer.shielded
    clock = streams.scope.clock
    received, closed = shielded(streams.received), shielded(streams.closed)
    failed, seen = shielded(streams.failed), shielded(streams.event)

    # A tie is taken out while its stream is at work, so that a method which calls another is seen once, from outside.
    def make_read(original: "Any") -> "Any":
        def read(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            tie = streams.pop(id(self), None)
            began = clock()
            try:
                chunk = original(self, *args, **kwargs)
            except BaseException as error:
                if tie is not None:
                    failed(tie, error)
                drop_own_frame(error)
                raise
            if tie is not None:
                received(self, tie, began, is_end(args, kwargs, chunk))
            return chunk

        return read

    def make_readinto(original: "Any") -> "Any":
        def readinto(self: "Any", b: "Any") -> "Any":
            tie = streams.pop(id(self), None)
            began = clock()
            try:
                count = original(self, b)
            except BaseException as error:
                if tie is not None:
                    failed(tie, error)
                drop_own_frame(error)
                raise
            if tie is not None:
                received(self, tie, began, count == 0 and len(b) > 0)
            return count

        return readinto

    def make_last(original: "Any") -> "Any":
        def last(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            tie = streams.pop(id(self), None)
            try:
                result = original(self, *args, **kwargs)
            except BaseException as error:
                if tie is not None:
                    failed(tie, error)
                drop_own_frame(error)
                raise
            if tie is not None:
                closed(tie)
            return result

        return last

    def make_iter(original: "Any") -> "Any":
        def __iter__(self: "Any") -> "Any":  # noqa: N807
            try:
                for event in original(self):
                    tie = streams.get(id(self))
                    if tie is not None:
                        seen(tie, event)
                    yield event
            except Exception as error:
                tie = streams.pop(id(self), None)
                if tie is not None:
                    failed(tie, error)
                drop_own_frame(error)
                raise
            tie = streams.pop(id(self), None)
            if tie is not None:
                closed(tie)

        return __iter__

    for owner in bodies:
        replace(owner, "read", make_read, patches)
        replace(owner, "readinto", make_readinto, patches)
        for name in ("readlines", "close", "__exit__"):
            replace(owner, name, make_last, patches)
    replace(event_stream, "__iter__", make_iter, patches)
    replace(event_stream, "close", make_last, patches)
    streams.kinds += (*bodies, event_stream)
