"""A function with the OpenTelemetry SDK, its instrumentations and an exporter, set up as its layers do it."""

import os

from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.aws_lambda import AwsLambdaInstrumentor
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
from order import instrumented

provider = TracerProvider()
printer = ConsoleSpanExporter(formatter=lambda span: span.to_json(indent=None) + "\n")
provider.add_span_processor(SimpleSpanProcessor(printer))
if os.environ.get("EXPORT"):
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(os.environ["STUB_URL"] + "/v1/traces")))
trace.set_tracer_provider(provider)
propagate.set_global_textmap(AwsXRayPropagator())
BotocoreInstrumentor().instrument()
RequestsInstrumentor().instrument()
URLLib3Instrumentor().instrument()

import work


def theirs(handler):
    """Wrap the handler by its name, as the instrumentation does."""
    globals()["wrapped"] = handler
    os.environ["ORIG_HANDLER"] = f"{__name__}.wrapped"
    AwsLambdaInstrumentor().instrument()
    return globals()["wrapped"]


handler = instrumented(work.work, theirs)
