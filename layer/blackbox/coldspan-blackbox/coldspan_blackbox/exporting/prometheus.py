"""Prometheus remote write 1.0: what has been counted in this environment so far, as counters and classic histograms."""

import base64
import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from coldspan_blackbox.exporting.bounded import Bounded, OutOfTimeError, reason_of
from coldspan_blackbox.exporting.exporter import ConfigurationError, Result, Sent
from coldspan_blackbox.exporting.posting import NoAnswerError, Poster
from coldspan_blackbox.exporting.record import Record
from coldspan_blackbox.exporting.totals import Staged, Totals, stale

try:
    from coldspan_blackbox.exporting.remotewrite import HEADERS, encode
except ImportError as error:  # the layer was built without the extra
    _MISSING: "ImportError | None" = error
else:
    _MISSING = None

BODY_BYTES = 500_000  # managed services take 1 MB at once
CLOSE_S = 0.5
SERIES_AT_ONCE = 2_000  # in one request of stale markers
_RETRIED = (408, 425, 429)


class PrometheusExporter:
    """A destination of the pipeline.

    The samples of a batch that got no answer, or that of a broken server, may have been stored: they are sent again
    unchanged, which is no second sample to Prometheus, and they stay in the sums. What was surely not stored (no
    connection, 429, a refusal) leaves no trace in them.
    """

    name = "prometheus"

    def __init__(self, url: str, headers: Mapping[str, str], clock_ms: Callable[[], int]) -> None:
        self._poster = Poster(url, {**HEADERS, **headers})
        self._clock_ms = clock_ms
        self._bounded = Bounded("coldspan-prometheus-io")
        self._totals: Totals | None = None
        self._staged: Staged | None = None  # of the batch that is tried again
        self._body = b""
        self._uncertain = False  # whether `_staged` may have been stored
        self._done: dict[int, Record] = {}  # records of the batch that is tried again which are settled, by id
        self._refused_count = 0
        self._reason = ""

    def export(self, records: Sequence[Record], timeout_s: float) -> Result:
        """See Exporter."""
        try:
            result: Result = self._bounded.run(
                lambda deadline_s: self._send(records, deadline_s), timeout_s, self._poster.close
            )
        except OutOfTimeError:
            return Result(Sent.RETRY, "timeout")
        return result

    def close(self) -> None:
        """End the series: a dead environment's gauges would stand for five minutes. Takes at most CLOSE_S."""
        with contextlib.suppress(OutOfTimeError):
            self._bounded.run(self._end, CLOSE_S, self._poster.close)
        self._poster.close()

    # -- on the thread that may be left behind -----------------------------------------------------------------------

    def _send(self, records: Sequence[Record], deadline_s: float) -> Result:
        todo = self._left(records)
        while todo:
            staged, body = self._next(todo)
            if staged is None:
                self._settle(todo[:1], "too_large")
                todo = todo[1:]
                continue
            result = self._push(staged, body, deadline_s)
            if result is not None:
                return result
            todo = todo[len(staged.records) :]
        refused_count, reason = self._refused_count, self._reason
        self._forget()
        if refused_count and refused_count == len(records):
            return Result(Sent.REFUSED, reason)
        return Result(Sent.SENT, reason, refused_count=refused_count)

    def _end(self, deadline_s: float) -> None:
        if self._totals is None:
            return
        if self._staged is not None and self._uncertain:
            self._totals.keep(self._staged)
        samples = stale(self._totals.series.values(), self._clock_ms())
        for first in range(0, len(samples), SERIES_AT_ONCE):
            try:
                answer = self._poster.post(encode(samples[first : first + SERIES_AT_ONCE]), deadline_s)
            except NoAnswerError:
                return
            if answer.status >= 300:
                return

    def _left(self, records: Sequence[Record]) -> list[Record]:
        """What of a batch is still to be sent; another batch than the last ends that one."""
        ids = {id(record) for record in records}
        if any(key not in ids for key in self._done) or (
            self._staged is not None and any(id(record) not in ids for record in self._staged.records)
        ):
            if self._staged is not None and self._uncertain:
                self._sums().keep(self._staged)
                self._done.update((id(record), record) for record in self._staged.records)
            done = {key: record for key, record in self._done.items() if key in ids}
            self._forget()
            self._done = done
        return [record for record in records if record.points and id(record) not in self._done]

    def _next(self, todo: Sequence[Record]) -> tuple[Staged | None, bytes]:
        """The next request: of as many records as fit; None when the first alone is too large."""
        if self._staged is not None and self._uncertain and self._staged.is_of(todo[: len(self._staged.records)]):
            return self._staged, self._body
        some = len(todo)
        while some:
            staged = self._sums().stage(todo[:some], self._clock_ms())
            body = encode(staged.samples)
            if len(body) <= BODY_BYTES:
                return staged, body
            some //= 2
        return None, b""

    def _push(self, staged: Staged, body: bytes, deadline_s: float) -> Result | None:
        """Send one request; None when it is settled."""
        if not staged.samples:
            self._settle(staged.records, staged.reason or "series_limit")
            return None
        again = staged is self._staged and self._uncertain  # what may have arrived once may always have
        try:
            answer = self._poster.post(body, deadline_s)
        except NoAnswerError as error:
            self._hold(staged, body, uncertain=error.sent or again)
            return Result(Sent.RETRY, reason_of(error.cause))
        status = answer.status
        if 200 <= status < 300:
            self._sums().keep(staged)
            self._settle(staged.records, "")
            if staged.refused_count:
                self._refused_count += staged.refused_count
                self._reason = staged.reason
        elif status >= 500 or status in _RETRIED:
            # 503 and 429 are said instead of storing; a 500 may come from what stands between
            self._hold(staged, body, uncertain=again or status not in {*_RETRIED, 503})
            return Result(Sent.RETRY, f"http_{status}", answer.retry_after_s)
        else:
            newest = encode((labels, samples[-1:]) for labels, samples in staged.samples) if again else body
            if newest != body:  # what is stored takes its newest sample again, and refuses the 0 before it
                self._hold(staged, newest, uncertain=True)
                return self._push(staged, newest, deadline_s)
            self._settle(staged.records, f"http_{status}")
        return None

    def _settle(self, records: Sequence[Record], refused: str) -> None:
        self._done.update((id(record), record) for record in records)
        self._staged, self._uncertain = None, False
        if refused:
            self._refused_count += len(records)
            self._reason = refused

    def _hold(self, staged: Staged, body: bytes, *, uncertain: bool) -> None:
        self._staged, self._body, self._uncertain = staged, body, uncertain

    def _forget(self) -> None:
        self._done = {}
        self._staged, self._body, self._uncertain = None, b"", False
        self._refused_count, self._reason = 0, ""

    def _sums(self) -> Totals:
        if self._totals is None:
            # Not before the first batch: a snapshot's copies would all have the same instance.
            self._totals = Totals({"job": "coldspan", "instance": os.urandom(8).hex()})
        return self._totals


def create(environ: Mapping[str, str], secrets: Callable[[str], str]) -> PrometheusExporter:
    """Read the variables. Errors: ConfigurationError."""
    if _MISSING is not None:
        raise ConfigurationError(
            f"COLDSPAN_EXPORT names prometheus, and the layer cannot load it ({_MISSING}): build the layer with the"
            " extra prometheus"
        )
    url = secrets(environ.get("COLDSPAN_PROMETHEUS_URL", "").strip())
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigurationError("COLDSPAN_PROMETHEUS_URL: give the remote write address, https://host/api/v1/write")
    if parts.username is not None:
        raise ConfigurationError(
            "COLDSPAN_PROMETHEUS_URL holds a user: give COLDSPAN_PROMETHEUS_USERNAME and COLDSPAN_PROMETHEUS_PASSWORD"
        )
    headers = _headers(secrets(environ.get("COLDSPAN_PROMETHEUS_HEADERS", "")), secrets)
    user = environ.get("COLDSPAN_PROMETHEUS_USERNAME", "")
    password = environ.get("COLDSPAN_PROMETHEUS_PASSWORD", "")
    token = environ.get("COLDSPAN_PROMETHEUS_TOKEN", "")
    if token and user:
        raise ConfigurationError("COLDSPAN_PROMETHEUS_TOKEN and COLDSPAN_PROMETHEUS_USERNAME are both set: give one")
    if token:
        headers["Authorization"] = "Bearer " + _header("COLDSPAN_PROMETHEUS_TOKEN", secrets(token).strip())
    elif user:
        pair = f"{secrets(user)}:{secrets(password)}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    return PrometheusExporter(url, headers, lambda: time.time_ns() // 1_000_000)


def _headers(text: str, secrets: Callable[[str], str]) -> dict[str, str]:
    """`name=value,name=value`, values percent-encoded or references: the form of OTEL_EXPORTER_OTLP_HEADERS."""
    headers = {}
    for pair in text.split(","):
        if pair.strip():
            name, separator, value = pair.partition("=")
            name = name.strip()
            if not separator or not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
                raise ConfigurationError("COLDSPAN_PROMETHEUS_HEADERS: give name=value,name=value")
            headers[name] = _header("COLDSPAN_PROMETHEUS_HEADERS", secrets(unquote(value.strip())))
    return headers


def _header(variable: str, value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ConfigurationError(f"{variable}: a value has characters that cannot stand in a header")
    return value
