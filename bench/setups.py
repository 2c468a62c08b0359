"""The measured setups: what each instrument needs, attached the way its own documentation says."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Setup:
    """One instrument.

    `requirements`: file in requirements/ that its layer is made of (None: no packages).
    `functions`: folder in bench/functions with the code (the bare one where the code need not change).
    `layer`: folder in bench/layers laid over /opt. `wrapper`: AWS_LAMBDA_EXEC_WRAPPER. `handler`: where _HANDLER
    points, None for the function's own. `extension`: whether its extension's file is to be present in /opt/extensions.
    `slowed`: variables of its own while callgrind counts, which slows a process down about fiftyfold.
    """

    name: str
    title: str
    how: str
    requirements: str | None = None
    functions: str = "bare"
    layer: str | None = None
    wrapper: str | None = None
    handler: str | None = None
    extension: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    slowed: dict[str, str] = field(default_factory=dict)


SETUPS = {
    setup.name: setup
    for setup in (
        Setup("bare", "bare", "no layer"),
        Setup(
            "coldspan",
            "coldspan",
            "the layer alone; EMF to stdout, X-Ray by UDP",
            environment={"COLDSPAN_JOURNAL_DIR": "/var/tmp/coldspan"},  # noqa: S108  # /var is its own: no other process left a journal there
            slowed={"COLDSPAN_FLUSH_MS": "5000"},  # else the drain's time budget would end it before its work is done
        ),
        Setup(
            "powertools",
            "Powertools",
            "Tracer, Metrics and Logger as decorators",
            requirements="peers-powertools.txt",
            functions="powertools",
            environment={"POWERTOOLS_SERVICE_NAME": "orders", "POWERTOOLS_METRICS_NAMESPACE": "orders"},
        ),
        Setup(
            "xray",
            "X-Ray SDK",
            "patch_all() in the function's first lines",
            requirements="peers-xray.txt",
            functions="xray",
        ),
        Setup(
            "opentelemetry",
            "OpenTelemetry",
            "the community layer's packages and script; OTLP over HTTP to a local sink",
            requirements="peers-opentelemetry.txt",
            layer="opentelemetry",
            wrapper="/opt/otel-instrument",
            environment={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://{sink}"},
        ),
        Setup(
            "adot",
            "ADOT",
            "aws-opentelemetry-distro and its layer's script, requests enabled; spans by UDP",
            requirements="peers-adot.txt",
            layer="adot",
            wrapper="/opt/otel-instrument",
        ),
        Setup(
            "adot-lite",
            "ADOT lite mode",
            "the same with AWS_LAMBDA_LITE_MODE=true",
            requirements="peers-adot.txt",
            layer="adot",
            wrapper="/opt/otel-instrument",
            environment={"AWS_LAMBDA_LITE_MODE": "true"},
        ),
        Setup(
            "datadog",
            "Datadog",
            "handler redirect, extension present; traces to a local sink",
            requirements="peers-datadog.txt",
            handler="datadog_lambda.handler.handler",
            extension=True,
            environment={
                "DD_LAMBDA_HANDLER": "{handler}",
                "DD_TRACE_AGENT_URL": "http://{sink}",
                "DD_SITE": "datadoghq.com",
                "DD_SERVICE": "orders",
            },
        ),
    )
}

FUNCTIONS = ("plain", "calls")
