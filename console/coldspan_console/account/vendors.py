"""Other vendors' ways into a Python function: handlers, exec wrappers and layers, as their documentation has them."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OURS = "/opt/coldspan"


@dataclass(frozen=True, slots=True)
class Vendor:
    """One product. `layers` is a regular expression for its layers' names; the switches say what its wrapper does."""

    name: str
    handlers: "tuple[str, ...]" = ()
    wrappers: "tuple[str, ...]" = ()
    layers: str = ""
    sets_pythonpath: bool = False
    replaces_runtime: bool = False


# Sources: the vendors' installation pages for Python on Lambda, and the wrapper scripts in their public layers.
VENDORS = (
    Vendor("Datadog", ("datadog_lambda.handler.handler",), ("/opt/datadog_wrapper",), r"Datadog-(Python|Extension).*"),
    Vendor(
        "OpenTelemetry", ("otel_wrapper.lambda_handler",), ("/opt/otel-instrument", "/opt/otel-handler"),
        r"(aws-otel-python|opentelemetry-python|AWSOpenTelemetryDistroPython).*", sets_pythonpath=True,
    ),
    Vendor("Lumigo", ("lumigo_tracer._handler", "/opt/python/lumigo_tracer._handler"), ("/opt/lumigo_wrapper",),
           r"lumigo-python-tracer.*"),
    Vendor("New Relic", ("newrelic_lambda_wrapper.handler",), ("/opt/newrelic-lambda-wrapper",), r"NewRelicPython.*"),
    Vendor("Sentry", ("sentry_sdk.integrations.init_serverless_sdk.sentry_lambda_handler",), (),
           r"SentryPythonServerlessSDK.*"),
    Vendor("Elastic", (), ("/opt/python/bin/elasticapm-lambda",), r"elastic-apm-(python|extension).*"),
    Vendor("Dynatrace", (), ("/opt/dynatrace",), r"Dynatrace_OneAgent_.*"),
    Vendor("Lambda Web Adapter", (), ("/opt/bootstrap",), r"LambdaAdapterLayer.*", replaces_runtime=True),
)  # fmt: skip


def by_handler(handler: str) -> "Vendor | None":
    """Whose handler it is that stands in the place of the function's own."""
    return next((vendor for vendor in VENDORS if handler in vendor.handlers), None)


def by_wrapper(path: str) -> "Vendor | None":
    """Whose exec wrapper it is; an unknown one is a Vendor called by its path. None for ours, and for none."""
    if not path or path == OURS:
        return None
    found = next((vendor for vendor in VENDORS if path in vendor.wrappers), None)
    return found or Vendor(path, wrappers=(path,))


def by_layers(arns: "Iterable[str]") -> "list[tuple[Vendor, str]]":
    """The vendors whose layers are among these ARNs, or names."""
    found = []
    for arn in arns:
        name = arn.split(":")[6] if arn.count(":") >= 6 else arn
        found += [(vendor, arn) for vendor in VENDORS if vendor.layers and re.fullmatch(vendor.layers, name)]
    return found


def skips_pth(environment: "Mapping[str, str]") -> bool:
    """Whether PYTHONPATH makes the runtime skip .pth files, and our exec wrapper is not there to stand in."""
    return "PYTHONPATH" in environment and OURS not in {
        environment.get("AWS_LAMBDA_EXEC_WRAPPER", ""),
        environment.get("COLDSPAN_NEXT_WRAPPER", ""),
    }
