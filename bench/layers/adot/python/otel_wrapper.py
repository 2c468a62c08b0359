"""The handler that the ADOT layer's script redirects to; it wraps the customer's with the trace header as parent."""

import os
from importlib import import_module

from opentelemetry.context import Context
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
from opentelemetry.propagate import get_global_textmap

if os.environ.get("AWS_LAMBDA_LITE_MODE") == "true":
    from amazon.opentelemetry.distro.opentelemetry_lite_sdk import configure_lite_mode

    configure_lite_mode()


def trace_of(event: dict) -> Context:
    """The parent that X-Ray's header names, else what the event's own headers carry."""
    headers = event.get("headers") if isinstance(event, dict) else None
    carrier = dict(headers) if isinstance(headers, dict) else {}
    if "_X_AMZN_TRACE_ID" in os.environ:
        carrier["X-Amzn-Trace-Id"] = os.environ["_X_AMZN_TRACE_ID"]
    return get_global_textmap().extract(carrier)


AwsLambdaInstrumentor().instrument(event_context_extractor=trace_of)
module, name = os.environ["ORIG_HANDLER"].rsplit(".", 1)
lambda_handler = getattr(import_module(module.replace("/", ".")), name)
