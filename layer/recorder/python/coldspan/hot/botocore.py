"""botocore: one Call for each API call, with what its retries, its answer and its stream say."""

import sys

from coldspan.hot.aws_call import calls_of
from coldspan.hot.patch import drop_own_frame, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.hot.aws_stream import Streams
    from coldspan.hot.patch import Patches
    from coldspan.hot.scope import Scope


def install(module: "Any", scope: "Scope", patches: "Patches") -> None:
    """Hook botocore.client and what it has loaded: endpoint, parsers and streams."""
    steps = calls_of(scope)
    shielded, clock = scope.buffer.shielded, scope.clock
    begin, succeed, fail = shielded(steps.begin), shielded(steps.succeed), shielded(steps.fail)
    serialized, parsed, attempted = shielded(steps.serialized), shielded(steps.parsed), shielded(steps.attempted)

    def make_api_call(original: "Any") -> "Any":
        def _make_api_call(self: "Any", operation_name: str, api_params: "Any") -> "Any":
            begun = begin(self, operation_name, api_params)
            try:
                result = original(self, operation_name, api_params)
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
        def _convert_to_request_dict(self: "Any", *args: "Any", **kwargs: "Any") -> "Any":
            began = clock()
            try:
                request = original(self, *args, **kwargs)
            except BaseException as error:
                drop_own_frame(error)
                raise
            serialized(request, began, kwargs.get("set_user_agent_header") is False)
            return request

        return _convert_to_request_dict

    def make_parse(original: "Any") -> "Any":
        def parse(self: "Any", response: "Any", shape: "Any") -> "Any":
            began = clock()
            try:
                result = original(self, response, shape)
            except BaseException as error:
                drop_own_frame(error)
                raise
            parsed(began)
            return result

        return parse

    def make_needs_retry(original: "Any") -> "Any":
        def _needs_retry(
            self: "Any",
            attempts: int,
            operation_model: "Any",
            request_dict: "Any",
            response: "Any" = None,
            caught_exception: "Any" = None,
        ) -> "Any":
            attempted(attempts, response)
            try:
                return original(self, attempts, operation_model, request_dict, response, caught_exception)
            except BaseException as error:
                drop_own_frame(error)
                raise

        return _needs_retry

    replace(module.BaseClient, "_make_api_call", make_api_call, patches)
    replace(module.BaseClient, "_convert_to_request_dict", make_convert, patches)
    modules = sys.modules
    replace(modules["botocore.parsers"].ResponseParser, "parse", make_parse, patches)
    replace(modules["botocore.endpoint"].Endpoint, "_needs_retry", make_needs_retry, patches)
    bodies = [modules["botocore.response"].StreamingBody]
    checksum_body = getattr(modules.get("botocore.httpchecksum"), "StreamingChecksumBody", None)
    if checksum_body is not None:
        bodies.append(checksum_body)
    events = modules["botocore.eventstream"].EventStream

    def hook_streams(streams: "Streams") -> None:
        from coldspan.hot import aws_stream

        aws_stream.install(bodies, events, streams, patches)

    steps.hook_streams(hook_streams)
