"""aiobotocore: the steps of botocore's hook around coroutines. What it does not override, botocore's hook covers."""

import sys

from coldspan.hot.aws_call import calls_of
from coldspan.hot.aws_stream import is_end
from coldspan.hot.patch import drop_own_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.hot.aws_stream import Streams
    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope


def install(module: "Any", scope: "Scope", patches: "Patches") -> None:
    """Hook aiobotocore.client and what it has loaded: endpoint, parsers and streams."""
    steps = calls_of(scope)
    shielded, clock = scope.buffer.shielded, scope.clock
    begin, succeed, fail = shielded(steps.begin), shielded(steps.succeed), shielded(steps.fail)
    serialized, parsed, attempted = shielded(steps.serialized), shielded(steps.parsed), shielded(steps.attempted)

    def make_api_call(original: "Any") -> "Any":
        async def _make_api_call(self: "Any", operation_name: str, api_params: "Any") -> "Any":
            begun = begin(self, operation_name, api_params)
            try:
                result = await original(self, operation_name, api_params)
            except BaseException as error:
                if begun is not None:
                    fail(begun, api_params, error)
                drop_own_frame(error)
                raise
            if begun is not None:
                succeed(begun, api_params, result)
            return result

        return _make_api_call

    def make_convert(original: "Any") -> "Any":
        async def _convert_to_request_dict(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            began = clock()
            try:
                request = await original(self, *args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise
            serialized(request, began, kwargs.get("set_user_agent_header") is False)
            return request

        return _convert_to_request_dict

    def make_parse(original: "Any") -> "Any":
        async def parse(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            began = clock()
            try:
                result = await original(self, *args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise
            parsed(began)
            return result

        return parse

    def make_needs_retry(original: "Any") -> "Any":
        async def _needs_retry(
            self: "Any",
            attempts: int,
            operation_model: "Any",
            request_dict: "Any",
            response: "Any" = None,
            *args: "Any",
            **kwargs: "Any",
        ) -> "Any":
            attempted(attempts, response)
            try:
                return await original(self, attempts, operation_model, request_dict, response, *args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise

        return _needs_retry

    replace(module.AioBaseClient, "_make_api_call", make_api_call, patches)
    replace(module.AioBaseClient, "_convert_to_request_dict", make_convert, patches)
    modules = sys.modules
    parser = getattr(modules.get("aiobotocore.parsers"), "AioResponseParser", None)
    if parser is not None:
        replace(parser, "parse", make_parse, patches)
    replace(modules["aiobotocore.endpoint"].AioEndpoint, "_needs_retry", make_needs_retry, patches)
    _install_streams(steps.streams, patches)


def _install_streams(streams: "Streams", patches: "Patches") -> None:
    """Hook the body and event stream classes; which there are depends on aiobotocore's version."""
    shielded, clock = streams.scope.buffer.shielded, streams.scope.clock
    received, closed = shielded(streams.received), shielded(streams.closed)
    failed, seen = shielded(streams.failed), shielded(streams.event)

    def make_read(original: "Any") -> "Any":
        async def read(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            tie = streams.pop(id(self), None)
            began = clock()
            try:
                chunk = await original(self, *args, **kwargs)
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
        async def readinto(self: "Any", b: "Any") -> "Any":
            tie = streams.pop(id(self), None)
            began = clock()
            try:
                count = await original(self, b)
            except BaseException as error:
                if tie is not None:
                    failed(tie, error)
                drop_own_frame(error)
                raise
            if tie is not None:
                received(self, tie, began, count == 0 and len(b) > 0)
            return count

        return readinto

    def make_close(original: "Any") -> "Any":
        def close(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            tie = streams.pop(id(self), None)
            if tie is not None:
                closed(tie)
            try:
                return original(self, *args, **kwargs)  # a coroutine with one of the two HTTP stacks
            except BaseException as error:
                drop_own_frame(error)
                raise

        return close

    def make_anext(original: "Any") -> "Any":
        async def __anext__(self: "Any") -> "Any":  # noqa: N807
            try:
                async for event in original(self):
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

        return __anext__

    bodies = [
        kind
        for home in ("aiobotocore.response", "aiobotocore.httpchecksum")
        for kind in tuple(vars(sys.modules[home]).values())
        if isinstance(kind, type) and kind.__module__ == home and kind.__name__.endswith(("Body", "Mixin"))
    ]
    for owner in bodies:
        replace(owner, "read", make_read, patches)
        replace(owner, "readinto", make_readinto, patches)
        replace(owner, "close", make_close, patches)
        replace(owner, "aclose", make_close, patches)
    events = sys.modules["aiobotocore.eventstream"].AioEventStream
    replace(events, "__anext__", make_anext, patches)
    streams.kinds += (*bodies, events)
