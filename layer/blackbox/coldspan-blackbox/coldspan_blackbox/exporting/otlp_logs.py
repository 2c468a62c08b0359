"""Documents as OTLP log records: the line as it stands on stdout, tied to its trace."""

import json
from typing import Any

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from coldspan_blackbox.exporting import semconv
from coldspan_blackbox.exporting.record import Record

SCOPE = InstrumentationScope("coldspan")


def log_of(record: Record, resource: Resource) -> ReadableLogRecord:
    """Give the log record of a document."""
    document = record.document
    told: Any = document.get("_aws")
    stamp = told.get("Timestamp") if isinstance(told, dict) else None
    is_failed = document.get("outcome") in semconv.FAILED
    attributes = {"faas.invocation_id": str(document["request_id"])} if document.get("request_id") else {}
    return ReadableLogRecord(
        LogRecord(
            timestamp=int(stamp) * 1_000_000 if isinstance(stamp, int | float) else None,
            severity_number=SeverityNumber.ERROR if is_failed else SeverityNumber.INFO,
            severity_text="ERROR" if is_failed else "INFO",
            body=json.dumps(document, ensure_ascii=False, separators=(",", ":")),
            attributes=attributes,
        ),
        resource,
        SCOPE,
    )
