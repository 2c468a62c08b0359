"""OTLP over HTTP: invocations and calls as spans, metrics as metrics, documents as log records.

The encoding and the standard variables are the SDK's exporters'; see otlp_spans.py, otlp_metrics.py and otlp_http.py.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.sdk.resources import Resource

from coldspan_blackbox.exporting import semconv, sigv4
from coldspan_blackbox.exporting.authorities import authorities
from coldspan_blackbox.exporting.exporter import ConfigurationError, Result, Sent
from coldspan_blackbox.exporting.otlp_http import Answer, Transport
from coldspan_blackbox.exporting.record import Record

DEFAULT = "http://localhost:4318"
SIGNALS = ("traces", "metrics", "logs")
DATA_POINTS = 1_000  # a request. Source: CloudWatch user guide, "OTLP Endpoints", limits of the metrics endpoint
# OTLP specification, "Failures" (1.5): these and no others are to be sent again.
AGAIN = frozenset((429, 502, 503, 504))
_REFUSED_TOO_LARGE = 413
_SPLIT = frozenset(("too_large", "unencodable"))  # refusals after which the pipeline tries the halves of the batch


@dataclass(slots=True)
class _Signal:
    """One kind of telemetry: the SDK's exporter of it, and what that sends with."""

    name: str
    transport: Transport
    export: Callable[[Any], Any]


class OtlpExporter:
    """Sends each batch as one request a signal. A batch of which one signal has arrived is not sent twice for that.

    That holds for its halves, too, where another signal was too large: a delta that is sent twice counts twice.
    """

    name = "otlp"

    def __init__(self, environ: Mapping[str, str], secrets: Callable[[str], str]) -> None:
        # What the SDK logs is in our counts, and its log is the customer's.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self.resource = Resource(semconv.resource_attributes(environ))
        self._signals = [_signal(name, url, environ, secrets) for name, url in endpoints(environ, secrets).items()]
        self._metrics = _metrics(environ, self.resource)
        self._batch: Sequence[Record] = ()
        self._done: dict[str, Result] = {}
        self._unsent_metrics: list[Any] = []  # of this batch, where one request cannot hold them all
        # Signal -> by id: records of a batch that was split which it is done with, and why it refused them.
        self._settled: dict[str, dict[int, tuple[Record, str]]] = {}

    def export(self, records: Sequence[Record], timeout_s: float) -> Result:
        """Send a batch, all signals within the one timeout."""
        until_s = time.monotonic() + timeout_s
        if records is not self._batch:
            self._batch, self._done, self._unsent_metrics = records, {}, []
            if not any(id(record) in settled for settled in self._settled.values() for record in records):
                self._settled = {}
        for signal in self._signals:
            if signal.name not in self._done:
                result = self._send_unsettled(signal, records, until_s)
                if result.state is Sent.RETRY:
                    return result
                if result.reason in _SPLIT and len(records) > 1:
                    self._settle(records)
                    return result
                self._done[signal.name] = result
        self._batch = ()
        for settled in self._settled.values():
            for record in records:
                settled.pop(id(record), None)
        return _together(self._done, len(records))

    def _settle(self, records: Sequence[Record]) -> None:
        """Remember for each signal that is done what became of these."""
        for name, result in self._done.items():
            refusal = result.reason if result.state is Sent.REFUSED else ""
            settled = self._settled.setdefault(name, {})
            for record in records:
                settled.setdefault(id(record), (record, refusal))

    def _send_unsettled(self, signal: _Signal, records: Sequence[Record], until_s: float) -> Result:
        """Send what this signal does not have; the answer is one for all."""
        settled = self._settled.get(signal.name, {})
        todo = [record for record in records if id(record) not in settled] if settled else records
        refusals = [settled[id(record)][1] for record in records if id(record) in settled]
        refusal = next(filter(None, refusals), "")
        if not todo:
            return Result(Sent.REFUSED, refusal) if refusal else Result(Sent.SENT)
        result = self._send(signal, todo, until_s)
        if not refusal or result.state is not Sent.SENT:
            return result
        refused_count = result.refused_count + sum(map(bool, refusals))
        return Result(Sent.SENT, result.reason or f"{signal.name}_{refusal}", refused_count=refused_count)

    def _send(self, signal: _Signal, records: Sequence[Record], until_s: float) -> Result:
        signal.transport.until_s = until_s
        if signal.name == "metrics":
            return self._send_metrics(signal, records)
        items: list[Any] = []
        if signal.name == "traces":
            from coldspan_blackbox.exporting.otlp_spans import spans_of

            for record in records:
                if record.is_invocation:
                    items += spans_of(record.document, self.resource)
        else:
            from coldspan_blackbox.exporting.otlp_logs import log_of

            items = [log_of(record, self.resource) for record in records]
        return _sent(signal, items, len(items), len(records)) if items else Result(Sent.SENT)

    def _send_metrics(self, signal: _Signal, records: Sequence[Record]) -> Result:
        from coldspan_blackbox.exporting.otlp_metrics import metrics_data

        result = Result(Sent.SENT)
        waiting = self._unsent_metrics = self._unsent_metrics or self._metrics.of(records)
        most = DATA_POINTS
        while waiting:
            first, points = len(waiting) - 1, len(waiting[-1].data.data_points)
            while first and points + len(waiting[first - 1].data.data_points) <= most:
                first -= 1
                points += len(waiting[first].data.data_points)
            one = _sent(signal, metrics_data(waiting[first:], self.resource), points, len(records))
            if one.reason == "too_large" and len(waiting) - first > 1:
                most = points // 2
                continue
            if one.state is not Sent.SENT:
                return one
            result = one if one.refused_count else result
            del waiting[first:]
        self._metrics.taken()
        return result

    def close(self) -> None:
        """Let go of connections."""
        for signal in self._signals:
            signal.transport.close()


def create(environ: Mapping[str, str], secrets: Callable[[str], str]) -> OtlpExporter:
    """Make the exporter that the OTEL_ variables describe; `secrets` reads what a value refers to."""
    return OtlpExporter(environ, secrets)


def endpoints(environ: Mapping[str, str], secrets: Callable[[str], str] = str) -> dict[str, str]:
    """Signal -> URL. A signal is sent if it has an endpoint: its own or the general one; with none at all, the default.

    Log records only go to an endpoint of their own, as they say the same as the lines in CloudWatch.
    """
    general = secrets(environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", ""))
    own = {name: secrets(environ.get(f"OTEL_EXPORTER_OTLP_{name.upper()}_ENDPOINT", "")) for name in SIGNALS}
    if not general and not any(own.values()):
        general = DEFAULT
    found = {}
    for name in SIGNALS:
        url = own[name] or (f"{general.rstrip('/')}/v1/{name}" if general and name != "logs" else "")
        if environ.get(f"OTEL_{name.upper()}_EXPORTER", "otlp").strip().lower() == "none":
            continue
        if url:
            if not url.startswith(("http://", "https://")):
                variable = f"OTEL_EXPORTER_OTLP_{name.upper()}_ENDPOINT" if own[name] else "OTEL_EXPORTER_OTLP_ENDPOINT"
                raise ConfigurationError(f"{variable}: give a URL that begins with http:// or https://")
            found[name] = url
    if not found:
        raise ConfigurationError("OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER: none is left to be sent by otlp")
    return found


def _of(environ: Mapping[str, str], signal: str, name: str) -> str:
    """A variable as the specification has it: the signal's own, else the general one."""
    return environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}") or environ.get(f"OTEL_EXPORTER_OTLP_{name}") or ""


def _signal(name: str, url: str, environ: Mapping[str, str], secrets: Callable[[str], str]) -> _Signal:
    given = secrets(_of(environ, name, "HEADERS"))  # all of them may be kept elsewhere, or each value
    headers = {key.lower(): secrets(value) for key, value in semconv.listed(given)}
    own = sigv4.endpoint(url)
    sign = sigv4.SigV4(*own, environ) if own and "authorization" not in headers else None
    if own and own[0] == "logs":  # which takes nothing without them; the function's own log group is there
        headers.setdefault("x-aws-log-group", environ.get("AWS_LAMBDA_LOG_GROUP_NAME", ""))
        headers.setdefault("x-aws-log-stream", environ.get("AWS_LAMBDA_LOG_STREAM_NAME", ""))
    key, cert = _of(environ, name, "CLIENT_KEY"), _of(environ, name, "CLIENT_CERTIFICATE")
    transport = Transport(
        verify=_of(environ, name, "CERTIFICATE") or authorities(),
        cert=(cert, key) if cert and key else cert or None,
        sign=sign,
    )
    words = {"none": "NoCompression", "gzip": "Gzip", "deflate": "Deflate", "": "Gzip"}
    chosen = _of(environ, name, "COMPRESSION").strip().lower()
    if chosen not in words:
        raise ConfigurationError("OTEL_EXPORTER_OTLP_COMPRESSION: give gzip, deflate or none")
    protocol = _of(environ, name, "PROTOCOL").strip().lower()
    if protocol not in {"", "http/protobuf"}:
        raise ConfigurationError("OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is there; leave it out")
    from opentelemetry.exporter.otlp.proto.http import Compression

    named: dict[str, Any] = {
        "endpoint": url,
        "headers": headers,
        "timeout": _timeout_s(_of(environ, name, "TIMEOUT")),
        "compression": Compression[words[chosen]],
        "_transport": transport,
    }
    made: Any
    if name == "traces":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        made = OTLPSpanExporter(**named)
    elif name == "metrics":
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        made = OTLPMetricExporter(**named)
    else:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

        made = OTLPLogExporter(**named)
    return _Signal(name, transport, made.export)


def _timeout_s(text: str) -> float:
    """The variable in seconds: ms by the specification, seconds as the Python SDK reads small numbers of it."""
    try:
        number = float(text or 10)
    except ValueError as error:
        raise ConfigurationError("OTEL_EXPORTER_OTLP_TIMEOUT: give a number of milliseconds") from error
    return number / 1_000 if number >= 500 else max(number, 0.1)


def _metrics(environ: Mapping[str, str], resource: Resource) -> Any:
    from coldspan_blackbox.exporting.otlp_metrics import Metrics

    temporality = environ.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta").strip().lower()
    aggregation = environ.get("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "").strip().lower()
    return Metrics(
        resource,
        time.time_ns(),
        is_cumulative=temporality == "cumulative",
        is_exponential=aggregation == "base2_exponential_bucket_histogram",
    )


def _sent(signal: _Signal, data: Any, count: int, records: int) -> Result:
    """One request with `count` spans, data points or log records out of so many records."""
    signal.transport.answer = None
    signal.export(data)
    answer = signal.transport.answer
    if answer is None:  # it did not come to a request: the SDK could not encode this
        return Result(Sent.REFUSED, "unencodable")
    rejected = _rejected(signal.name, answer) if 200 <= answer.status < 300 else 0
    if rejected:  # told in the destination's units; ours are records
        return Result(Sent.SENT, "partial_success", refused_count=max(1, min(records, rejected * records // count)))
    return _result(answer)


def _rejected(signal: str, answer: Answer) -> int:
    """How much of it the destination did not take. Source: OTLP specification, "Partial Success"."""
    if not answer.body:
        return 0
    from google.protobuf.message import DecodeError

    kind: Any
    if signal == "traces":
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        kind, member = trace_service_pb2.ExportTraceServiceResponse, "rejected_spans"
    elif signal == "metrics":
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

        kind, member = metrics_service_pb2.ExportMetricsServiceResponse, "rejected_data_points"
    else:
        from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

        kind, member = logs_service_pb2.ExportLogsServiceResponse, "rejected_log_records"
    try:
        return max(0, int(getattr(kind.FromString(answer.body).partial_success, member)))
    except DecodeError:  # some servers answer "OK"
        return 0


def _result(answer: Answer) -> Result:
    """What an answer means. Source: OTLP specification, "OTLP/HTTP Response"."""
    if answer.error:
        return Result(Sent.RETRY, answer.error)
    if 200 <= answer.status < 300:
        return Result(Sent.SENT)
    if answer.status in AGAIN:
        return Result(Sent.RETRY, f"http_{answer.status}", _retry_after_s(answer.headers))
    if answer.status == _REFUSED_TOO_LARGE:
        return Result(Sent.REFUSED, "too_large")
    return Result(Sent.REFUSED, f"http_{answer.status}")


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The header in seconds. Source: RFC 9110, 10.2.3."""
    value = next((value.strip() for key, value in headers.items() if key.lower() == "retry-after"), "")
    if value.isdecimal():
        return float(value)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time_ns() / 1e9)
    except (TypeError, ValueError, OverflowError):
        return None


def _together(done: Mapping[str, Result], count: int) -> Result:
    """One answer for a batch whose signals went different ways: what one of them refused is refused in part."""
    refused = {name: result for name, result in done.items() if result.state is Sent.REFUSED}
    if len(refused) == len(done):
        return next(iter(refused.values()))
    for name, result in refused.items():
        return Result(Sent.SENT, f"{name}_{result.reason}", refused_count=count)
    return max(done.values(), key=lambda result: result.refused_count)
