"""Invocations and calls as CloudWatch embedded metric format: whole lines for stdout.

Source: CloudWatch user guide, "Specification: Embedded metric format"; limits in core/limits.py. The constant part of a
line (its `_aws` block, names, dimensions) is made once per shape; per line only numbers and strings are written.
"""

from time import gmtime, strftime

from coldspan.core import limits
from coldspan.core.text import as_record, began_ns, count, elapsed_ns, quote, sane_ms, to_json

FAILED = frozenset(("error", "unserialisable", "too_large", "timeout", "crash", "out_of_memory", "init_error"))
CALL_FAILED = frozenset(("partial", "throttled", "timeout", "error"))

# Name -> unit and format. The order is the order in the line.
METRICS = {
    "Duration": ("Milliseconds", "%.3f"),
    "InitDuration": ("Milliseconds", "%.3f"),
    "ColdStart": ("Count", "%d"),
    "Error": ("Count", "%d"),
    "Timeout": ("Count", "%d"),
    "Calls": ("Count", "%d"),
    "CallFailures": ("Count", "%d"),
    "CallRetries": ("Count", "%d"),
    "CallTime": ("Milliseconds", "%.3f"),
    "QueueTime": ("Milliseconds", "%.3f"),
    "ResponseBytes": ("Bytes", "%d"),
    "Overhead": ("Microseconds", "%d"),
    "Dropped": ("Count", "%d"),
}
CALL_METRICS = {
    "CallDuration": ("Milliseconds", "[%s]"),
    "CallFailure": ("Count", "%d"),
    "CallRetry": ("Count", "%d"),
    "CallThrottle": ("Count", "%d"),
}
# Members of the root that mean something already: no metric of the user's and no fact may take their place.
RESERVED = frozenset(METRICS) | frozenset(CALL_METRICS) | {"_aws", "function_name", "tool", "operation", "calls", "part"}
_HANDLED = frozenset(("dropped", "init_ms", "init_calls", "init_epoch_ms", "slow"))  # facts that are told in other words
_REQUEST_ID_CHARS = 128
_UNKNOWN = "unknown"
_TRIM_ORDER = ("payload", "attributes", "phases", "message")


def dimension(text):
    """A legal dimension value: printable ASCII, not blank, at most 1024 characters."""
    if not (text.isascii() and text.isprintable()):
        text = "".join([c if " " <= c <= "~" else "?" for c in text[: limits.EMF_DIMENSION_VALUE_CHARS]])
    return text[: limits.EMF_DIMENSION_VALUE_CHARS].strip() or _UNKNOWN


class EmfEncoder:
    """Makes the lines of one environment. `drops` maps a reason to a count: the caller takes it and clears it.

    `tools` pins which (tool, operation) pairs become dimensions ("tool" or "tool.operation"); `level`, when not empty,
    is the log level every line must carry to pass a filter above INFO.
    """

    __slots__ = ("_closing", "_function", "_level", "_namespace", "_other", "_pairs", "_shapes", "_tools", "_user", "drops")

    def __init__(self, namespace, function_name, tools=(), level="") -> None:
        self.drops = {}
        name = "".join([c for c in namespace if " " <= c <= "~"])[: limits.EMF_NAMESPACE_CHARS].strip().lstrip(":")
        self._namespace = quote(name or "coldspan")
        self._function = quote(dimension(function_name))
        self._tools = frozenset(tools)
        self._level = level
        self._pairs = {}
        self._shapes = {}
        self._other = self._pair_template("other", "other")
        self._user = None

    def head(self, metrics, dimensions=(), unit=0):
        """The constant start of a line, as a template for its Timestamp: metrics is name -> (unit, ...)."""
        names = ",".join(['{"Name":%s,"Unit":"%s"}' % (quote(name), metrics[name][unit]) for name in metrics])
        keys = "".join([',"%s"' % key for key, _ in dimensions])
        values = "".join([',"%s":%s' % (key, quote(dimension(value))) for key, value in dimensions])
        block = '"CloudWatchMetrics":[{"Namespace":%s,"Dimensions":[["function_name"%s]],"Metrics":[%s]}]},"function_name":%s%s' % (
            self._namespace, keys, names, self._function, values,
        )
        return '{"_aws":{"Timestamp":%d,' + block.replace("%", "%%")

    def _template(self, metrics, dimensions=()):
        members = "".join([',"%s":%s' % (name, metrics[name][1]) for name in metrics])
        return self.head(metrics, dimensions) + members + ","

    def _pair_template(self, tool, operation):
        return self._template(CALL_METRICS, (("tool", tool), ("operation", operation)))

    def _pair(self, tool, operation, calls):
        """The template of a (tool, operation), or that of ("other", "other") when it may be no dimension."""
        template = self._pairs.get((tool, operation))
        if template is None:
            if self._tools and tool not in self._tools and tool + "." + operation not in self._tools:
                return self._other
            if len(self._pairs) >= limits.TOOLS_AS_DIMENSIONS:
                count(self.drops, "tools_other", calls)
                return self._other
            template = self._pairs[tool, operation] = self._pair_template(tool, operation)
        return template

    def _common(self, timestamp_ms, request_id):
        common = {"request_id": request_id[:_REQUEST_ID_CHARS]} if request_id else {}
        if self._level:
            common["level"] = self._level
            moment = strftime("%Y-%m-%dT%H:%M:%S", gmtime(timestamp_ms // 1000))
            common["timestamp"] = "%s.%03dZ" % (moment, timestamp_ms % 1000)
        return common

    def invocation_lines(self, invocation, results, facts, detail=True):
        """Encode a finished invocation and its calls.

        Takes:  results in the order of invocation.calls; facts: a dict of further properties (`init_ms`, `init`,
                `dropped`, `slow`, `error_message`, ...). detail: whether a warm, fast, successful invocation carries its calls.
        Gives:  whole lines, newline included: the invocation, one per (tool, operation), the user's metrics.
        Errors: none raised; what does not fit or cannot be encoded is counted in `drops`.
        """
        drops = self.drops
        elapsed = elapsed_ns(invocation, drops)
        timestamp_ms = (began_ns(invocation, elapsed, drops) + elapsed) // 1_000_000
        outcome = invocation.outcome
        failures = retries = 0
        for result in results:
            retries += result.attempts - 1
            if result.status in CALL_FAILED:
                failures += 1
        lost = _merged(invocation.dropped, facts.get("dropped"))
        numbers = {"Duration": elapsed / 1e6}
        if "init_ms" in facts:
            numbers["InitDuration"] = facts["init_ms"]
        numbers["ColdStart"] = invocation.start == "cold"
        numbers["Error"] = failed = outcome in FAILED
        numbers["Timeout"] = outcome == "timeout"
        numbers["Calls"] = len(results)
        numbers["CallFailures"] = failures
        numbers["CallRetries"] = retries
        numbers["CallTime"] = _open_ms(invocation, results, elapsed)
        if invocation.queue_ms is not None:
            numbers["QueueTime"] = invocation.queue_ms
        if invocation.response_bytes is not None:
            numbers["ResponseBytes"] = invocation.response_bytes
        numbers["Overhead"] = invocation.overhead_ns // 1000
        if lost:
            numbers["Dropped"] = sum(lost.values())
        for name in [name for name, value in numbers.items() if not _is_plausible(value)]:
            del numbers[name]
            count(drops, "metrics_refused")

        shape = tuple(numbers)
        template = self._shapes.get(shape)
        if template is None:
            template = self._shapes[shape] = self._template({name: METRICS[name] for name in shape})
        common = self._common(timestamp_ms, invocation.request_id)
        properties = self._properties(invocation, facts, dict(common))
        if lost:
            properties["dropped"] = lost
        if detail or failed or failures or invocation.start != "warm" or facts.get("slow"):
            properties["calls"] = results
        start = template % (timestamp_ms, *numbers.values())
        lines = []
        self._write(lines, start, properties, common)
        if results:
            self._tool_lines(lines, results, timestamp_ms, common)
        if invocation.metrics:
            self._user_lines(lines, invocation.metrics, timestamp_ms, common)
        return lines

    def _user_lines(self, lines, metrics, timestamp_ms, common) -> None:
        if self._user is None:
            from coldspan.core.usermetrics import UserMetrics  # noqa: PLC0415  # most functions have none

            self._user = UserMetrics(self.head, RESERVED)
        self._user.write(lines, metrics, timestamp_ms, common, self.drops)

    def _properties(self, invocation, facts, properties):
        if invocation.trace is not None:
            properties["trace_id"] = invocation.trace.trace_id
        properties["span_id"] = "%016x" % invocation.span_id
        properties["start"] = invocation.start
        properties["outcome"] = invocation.outcome
        if invocation.error_type:
            properties["error_type"] = invocation.error_type
            if invocation.error_text:
                properties["error_message"] = masked(invocation.error_text)
        if invocation.trigger:
            properties["trigger"] = invocation.trigger
        if invocation.tenant_id:
            properties["tenant_id"] = invocation.tenant_id
        properties["handler_ms"] = invocation.handler_ns // 1000 / 1000
        properties["cpu_ms"] = invocation.cpu_ns // 1000 / 1000
        properties["calls_open"] = len(invocation.open)
        properties["flush"] = invocation.flush
        if invocation.batch_failures is not None:
            properties["batch_item_failures"] = invocation.batch_failures
        if invocation.replay:
            properties["replay"] = True
        if invocation.annotations:
            properties["annotations"] = invocation.annotations
        for name, value in facts.items():
            if name not in _HANDLED and name not in RESERVED:
                properties[name] = value
        return properties

    def _write(self, lines, start, properties, common) -> None:
        """Append the line, or several when it is larger than an event may be: calls first go on, then facts are cut."""
        line = start + to_json(properties, self.drops)[1:] + "\n"
        if len(line) <= limits.EMF_EVENT_BYTES:
            lines.append(line.encode())
            return
        results = properties.pop("calls", ())
        text = to_json(properties, self.drops)
        if len(start) + len(text) + 2 > limits.EMF_EVENT_BYTES:
            sizes = {name: len(to_json(value, {})) + len(quote(name)) for name, value in properties.items()}
            over = len(start) + len(text) + 2 - limits.EMF_EVENT_BYTES
            while over > 0:
                name = max(sizes, key=sizes.get)
                over -= sizes.pop(name)
                del properties[name]
                count(self.drops, "facts_trimmed")
            text = to_json(properties, {})
        going_on = '{"function_name":' + self._function + "," + to_json({**common, "part": 0}, {})[1:-2]
        room = limits.EMF_EVENT_BYTES - len(going_on) - 32  # what closes a line, and the digits of its part
        part, line = 1, start + text[1:-1]
        opened = False
        for result in results:
            call = self._call(result, room)
            if len(line) + len(call) + 16 > limits.EMF_EVENT_BYTES:
                lines.append((line + ("]}\n" if opened else "}\n")).encode())
                line, opened = going_on + str(part), False
                part += 1
            line += ("," if opened else ',"calls":[') + call
            opened = True
        lines.append((line + ("]}\n" if opened else "}\n")).encode())

    def _call(self, result, room):
        """One call as JSON of at most `room` characters."""
        text = to_json(result, self.drops)
        if len(text) <= room:
            return text
        count(self.drops, "calls_trimmed")
        return trimmed(result, room)

    def _tool_lines(self, lines, results, timestamp_ms, common) -> None:
        tail = to_json(common, self.drops)[1:] + "\n" if common else ""
        for (tool, operation), group in _by_pair(results).items():
            template = self._pair(tool, operation, len(group))
            if not tail:
                template = template[:-1]
            for first in range(0, len(group), limits.EMF_VALUES_PER_METRIC):
                numbers = self._numbers(group[first : first + limits.EMF_VALUES_PER_METRIC])
                lines.append((template % (timestamp_ms, *numbers) + (tail or "}\n")).encode())

    def _numbers(self, group):
        """The values of CALL_METRICS for at most 100 calls."""
        durations, failures, retries, throttles = [], 0, 0, 0
        for result in group:
            duration = result.duration_ms
            if not _is_plausible(duration):
                count(self.drops, "clock_replaced")
                duration = 0.0
            durations.append("%.3f" % duration)
            retries += result.attempts - 1
            throttles += result.throttles
            if result.status in CALL_FAILED:
                failures += 1
        return ",".join(durations), failures, retries, throttles

    def stray_lines(self, results, timestamp_ms):
        """Encode calls that ended outside a live invocation: per (tool, operation), metrics and records in the same line."""
        stamp_ms = sane_ms(timestamp_ms)
        if stamp_ms != timestamp_ms:
            count(self.drops, "clock_replaced")
        common = self._common(stamp_ms, "")
        lines = []
        for (tool, operation), group in _by_pair(results).items():
            template = self._pair(tool, operation, len(group))
            waiting = [
                group[first : first + limits.EMF_VALUES_PER_METRIC]
                for first in range(0, len(group), limits.EMF_VALUES_PER_METRIC)
            ]
            while waiting:
                some = waiting.pop(0)
                start = template % (stamp_ms, *self._numbers(some))
                line = start + to_json({**common, "calls": some}, self.drops)[1:] + "\n"
                if len(line) > limits.EMF_EVENT_BYTES:
                    if len(some) > 1:
                        waiting[:0] = some[: len(some) // 2], some[len(some) // 2 :]
                        continue
                    opening = start + to_json({**common, "calls": []}, {})[1:-2]
                    line = opening + self._call(some[0], limits.EMF_EVENT_BYTES - len(opening) - 8) + "]}\n"
                lines.append(line.encode())
        return lines


def trimmed(result, room):
    """The record of one call in at most `room` characters: the payload goes first, then attributes, phases, message."""
    record = as_record(result)
    record["trimmed"] = True
    for name in _TRIM_ORDER:
        record.pop(name, None)
        text = to_json(record, {})
        if len(text) <= room:
            return text
    return to_json({name: value[:64] if type(value) is str else value for name, value in record.items()}, {})


def masked(text):
    from coldspan.core.mask import mask_text  # noqa: PLC0415  # most invocations end well and never need it

    return mask_text(text)


def _by_pair(results):
    groups = {}
    for result in results:
        groups.setdefault((result.tool, result.operation), []).append(result)
    return groups


def _merged(one, other):
    if not other:
        return one
    merged = dict(one or ())
    for reason, more in other.items():
        count(merged, reason, more)
    return merged


def _is_plausible(value) -> bool:
    return 0 <= value < 1e15  # false for NaN; a metric of ours is a length, a size or a count


def _open_ms(invocation, results, elapsed):
    """Milliseconds during which at least one call was open, within the invocation."""
    begin, end = invocation.start_ns, invocation.start_ns + elapsed
    spans = [(call.start_ns, call.end_ns) for call in invocation.calls]
    if len(spans) < len(results):  # told by the journal: only the records are there
        epoch_ms = invocation.epoch_ns / 1e6
        spans = [
            (begin + (result.timestamp - epoch_ms) * 1e6, begin + (result.timestamp - epoch_ms + result.duration_ms) * 1e6)
            for result in results
        ]
    spans += [(call.start_ns, end) for call in list(invocation.open.values())]
    spans.sort()
    total = 0
    for first, last in spans:
        if first < begin:
            first = begin
        if last > end:
            last = end
        if last > first:
            total += last - first
            begin = last
    return total / 1e6
