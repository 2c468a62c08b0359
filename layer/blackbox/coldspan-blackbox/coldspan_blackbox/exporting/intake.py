"""What comes in from the extension's main process, made into records: the recorder's lines, and the extension's own."""

import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from coldspan_blackbox.exporting import semconv
from coldspan_blackbox.exporting.record import Record, parse, request_of

REMEMBERED = 256  # invocations whose further parts are kept although their share is not


class Sampler:
    """Decides which invocations leave as spans: a share of the traces, and all that failed, were slow or cold."""

    def __init__(self, share: float, slow_ms: float) -> None:
        self.share = share
        self.slow_ms = slow_ms
        self._kept: dict[str, None] = {}

    def __call__(self, record: Record) -> Record:
        """Give the record, without its spans if it is not in the share. Its metrics always leave."""
        if not record.is_invocation or self.share >= 1 or self._keeps(record.document):
            return record
        return replace(record, is_invocation=False)

    def _keeps(self, document: Mapping[str, Any]) -> bool:
        calls = [call for call in document.get("calls") or () if isinstance(call, dict)]
        request_id = request_of(document) or str((calls[0].get("request_id") if calls else "") or "")
        if request_id in self._kept:
            return True
        if self._is_telling(document, calls):
            self._kept[request_id] = None
            if len(self._kept) > REMEMBERED:
                del self._kept[next(iter(self._kept))]
            return True
        trace_id = document.get("trace_id") or (calls[0].get("trace_id") if calls else "") or request_id
        return zlib.crc32(str(trace_id).encode()) / 2**32 < self.share

    def _is_telling(self, document: Mapping[str, Any], calls: list[dict[str, Any]]) -> bool:
        if document.get("outcome") in semconv.FAILED or document.get("start") not in {None, "warm"}:
            return True
        duration = document.get("Duration")
        if isinstance(duration, int | float) and duration >= self.slow_ms:
            return True
        return any(call.get("status") not in {"ok", "rejected"} for call in calls)


def from_line(document: bytes, sampler: Sampler) -> Record:
    """Give the record of a line. ValueError: it is none."""
    return sampler(parse(document))
