"""Whether another instrument already sends a span for each call: then ours would be the second one."""

from sys import modules

# Of what the X-Ray SDK can patch, the libraries whose calls we record, too.
SHARED = frozenset(("aiobotocore", "botocore", "httplib", "httpx", "requests"))


def others_trace() -> bool:
    """Whether the X-Ray SDK has patched a library of ours, or an OpenTelemetry SDK or ddtrace is sending spans.

    Importing them is not enough: an API without an SDK, a provider that is disabled or sends nowhere, and a tracer that
    is turned off send nothing. Looked up at each call, because it may change while the environment starts.
    """
    patcher = modules.get("aws_xray_sdk.core.patcher")
    if patcher is not None and not SHARED.isdisjoint(getattr(patcher, "_PATCHED_MODULES", None) or ()):
        return True
    trace = modules.get("opentelemetry.trace")
    provider = getattr(trace, "_TRACER_PROVIDER", None)
    if provider is not None and not getattr(provider, "_disabled", False):
        # what is not the SDK's own provider has no such list, and is taken for one that sends
        processors = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", None)
        if processors or (processors is None and type(provider).__name__ != "NoOpTracerProvider"):
            return True
    tracer = getattr(modules.get("ddtrace.trace"), "tracer", None)
    return tracer is not None and getattr(tracer, "enabled", True)
