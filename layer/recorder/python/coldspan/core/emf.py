"""Invocations and calls as CloudWatch embedded metric format: whole lines for stdout.

Source: CloudWatch user guide, "Specification: Embedded metric format"; limits in core/limits.py. What is constant
in a line (its `_aws` block, names, dimensions) is made once; per line only numbers and strings are written. What is
seldom needed (the user's metrics, a line that is too large) has its own module, loaded on first need.
"""

from time import gmtime, strftime

from coldspan.core import limits
from coldspan.core.text import (
    began_ns,
    call_text,
    count,
    elapsed_ns,
    has_halves,
    open_ms,
    quote,
    sane_ms,
    to_json,
    whole_call_text,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from coldspan.core.record import CallToolResult, Invocation

    Results = list[CallToolResult]

FAILED = frozenset(("error", "unserialisable", "too_large", "timeout", "crash", "out_of_memory", "init_error"))
CALL_FAILED = frozenset(("partial", "throttled", "timeout", "error"))

# Name -> unit and format, in the order in which the directive names them.
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
_SOMETIMES = ("InitDuration", "QueueTime", "ResponseBytes", "Dropped")
CALL_METRICS = {
    "CallDuration": ("Milliseconds",),
    "CallFailure": ("Count",),
    "CallRetry": ("Count",),
    "CallThrottle": ("Count",),
}
START = '{"_aws":{"Timestamp":'
_PROPERTIES = (
    "request_id", "trace_id", "span_id", "start", "outcome", "error_type", "error_message", "trigger", "tenant_id",
    "handler_ms", "cpu_ms", "calls_open", "flush", "batch_item_failures", "replay", "annotations", "dropped", "calls",
)  # fmt: skip
# Members of the root that mean something already: no metric of the user's and no fact may take their place.
RESERVED = frozenset(
    (*METRICS, *CALL_METRICS, *_PROPERTIES, "_aws", "function_name", "tool", "operation", "level", "timestamp", "part")
)
_TAKEN = RESERVED | {"init_ms", "init_calls", "init_epoch_ms", "slow"}  # facts that are told in other words
_MOST = 1e15  # a metric of ours is a length, a size or a count; larger is a broken clock
_KEPT = 64  # constant parts of each sort
_ID_CHARS = 128
_UNKNOWN = "unknown"
_CALLS, _CALLS_CLOSE = ',"calls":[', "]}\n"
_CLOSE, _CLOSED = "", "}\n"
_NO_TROUBLE = '],"CallFailure":0,"CallRetry":0,"CallThrottle":0'


def dimension(text: str) -> str:
    """A legal dimension value: printable ASCII, not blank, at most 1024 characters."""
    text = text[: limits.EMF_DIMENSION_VALUE_CHARS]
    if not (text.isascii() and text.isprintable()):
        text = "".join([c if " " <= c <= "~" else "?" for c in text])
    return text.strip() or _UNKNOWN


class EmfEncoder:
    """Makes the lines of one environment. `drops` maps a reason to a count: the caller takes it and clears it.

    `tools` pins which (tool, operation) pairs become dimensions ("tool" or "tool.operation"); `level`, when not empty,
    is the log level every line must carry to pass a filter above INFO.
    """

    __slots__ = (
        "_blocks", "_counts", "_function", "_kept", "_level", "_namespace", "_other", "_pairs", "_tools",
        "drops", "texts",
    )  # fmt: skip

    def __init__(self, namespace: str, function_name: str, tools: "Iterable[str]" = (), level: str = "") -> None:
        self.drops: "dict[str, int]" = {}
        self.texts: "list[str]" = []
        name = "".join([c for c in namespace if " " <= c <= "~"])[: limits.EMF_NAMESPACE_CHARS].lstrip(": ").rstrip()
        self._namespace = quote(name or "coldspan")
        self._function = quote(dimension(function_name))
        self._tools = frozenset(tools)
        self._level = level
        self._pairs: "dict[tuple[str, str], str]" = {}
        self._blocks: "dict[int, tuple[str, str]]" = {}
        self._counts: "dict[tuple[Any, ...], str]" = {}
        self._kept: "dict[tuple[Any, ...], str]" = {}
        self._other = self._pair_block("other", "other")

    def block(self, metrics: "dict[str, Any]", dimensions: "Iterable[tuple[str, str]]" = ()) -> str:
        """What follows the Timestamp up to the first metric's value: metrics is name -> (unit, ...)."""
        names = ",".join([f'{{"Name":{quote(name)},"Unit":"{metrics[name][0]}"}}' for name in metrics])
        keys = "".join([f',"{key}"' for key, _ in dimensions])
        values = "".join([f',"{key}":{quote(dimension(value))}' for key, value in dimensions])
        return (
            f',"CloudWatchMetrics":[{{"Namespace":{self._namespace},"Dimensions":[["function_name"{keys}]]'
            f',"Metrics":[{names}]}}]}},"function_name":{self._function}{values},'
        )

    def _pair_block(self, tool: str, operation: str) -> str:
        return self.block(CALL_METRICS, (("tool", tool), ("operation", operation))) + '"CallDuration":['

    def _pair(self, tool: str, operation: str, calls: int) -> str:
        """The block of a (tool, operation), or that of ("other", "other") when it may be no dimension."""
        block = self._pairs.get((tool, operation))
        if block is None:
            if self._tools and tool not in self._tools and tool + "." + operation not in self._tools:
                return self._other
            if len(self._pairs) >= limits.TOOLS_AS_DIMENSIONS:
                count(self.drops, "tools_other", calls)
                return self._other
            block = self._pairs[tool, operation] = self._pair_block(tool, operation)
        return block

    def _levelled(self, timestamp_ms: int) -> str:
        """The members that carry a line through a level filter, as text, or "". Source: Lambda's JSON log format."""
        if not self._level:
            return ""
        moment = strftime("%Y-%m-%dT%H:%M:%S", gmtime(timestamp_ms // 1000))
        return ',"level":%s,"timestamp":"%s.%03dZ"' % (quote(self._level), moment, timestamp_ms % 1000)

    def invocation_lines(
        self, invocation: "Invocation", results: "Results", facts: "dict[str, Any]", detail: bool = True
    ) -> "list[bytes]":
        """Encode a finished invocation and its calls.

        Takes:  results in the order of invocation.calls; facts: a dict of further properties (`init_ms`, `init`,
                `dropped`, `slow`, ...). detail: whether a warm, fast, successful invocation carries its calls.
        Gives:  whole lines, newline included: the invocation, one per (tool, operation), the user's metrics. `texts`
                holds the records of the calls as they were written, for whoever writes them again.
        Errors: none raised; what does not fit or cannot be encoded is counted in `drops`.
        """
        drops = self.drops
        elapsed = elapsed_ns(invocation, drops)
        timestamp_ms = (began_ns(invocation, elapsed, drops) + elapsed) // 1_000_000
        failures = retries = 0
        for result in results:
            retries += result.attempts - 1
            if result.status in CALL_FAILED:
                failures += 1
        start, outcome = invocation.start, invocation.outcome
        lost = _merged(invocation.dropped, facts.get("dropped"))
        told = detail or failures or start != "warm" or outcome in FAILED or facts.get("slow")
        texts = self.texts = [call_text(result, drops) for result in results] if told else []
        counts = (start, outcome, invocation.flush, invocation.trigger, failures, retries, len(results))
        request_id = quote(invocation.request_id[:_ID_CHARS])
        if "\\" in request_id:
            request_id = to_json(invocation.request_id[:_ID_CHARS], drops)
        common = f'"request_id":{request_id}{self._levelled(timestamp_ms)}'
        numbers = self._numbers(invocation, facts, elapsed, lost, open_ms(invocation, results, elapsed))
        line = (
            f"{START}{timestamp_ms}{numbers}"
            f"{self._counts.get(counts) or self._count(counts)}{common}{self._properties(invocation, lost)}"
            f"{self._facts(facts)}{_CALLS if told else _CLOSE}{','.join(texts)}{_CALLS_CLOSE if told else _CLOSED}"
        )
        if len(line) > limits.EMF_EVENT_BYTES or ("\\" in line and has_halves(line)):
            from coldspan.core.emfsplit import split  # seldom needed

            name = common
            if not invocation.request_id:  # of an init that failed: its parts find it by its span
                name = common.replace('""', '"init-%016x"' % invocation.span_id, 1)
            lines = split(line, '{"function_name":' + self._function + "," + name, drops)
        else:
            lines = [line.encode()]
        if results:
            self._tool_lines(lines, results, timestamp_ms, common)
        if invocation.metrics:
            self._user_lines(lines, invocation.metrics, timestamp_ms, common)
        return lines

    def _numbers(
        self,
        invocation: "Invocation",
        facts: "dict[str, Any]",
        elapsed: int,
        lost: "dict[str, int] | None",
        open_ms: float,
    ) -> str:
        """The directive and the metrics that differ each time, as text."""
        values = [elapsed / 1e6, open_ms, invocation.overhead_ns // 1000]
        shape = 0
        init_ms, queue_ms, size = facts.get("init_ms"), invocation.queue_ms, invocation.response_bytes
        if init_ms is not None and self._is_sane(init_ms):
            shape = 1
            values.append(init_ms)
        if queue_ms is not None and self._is_sane(queue_ms):
            shape += 2
            values.append(queue_ms)
        if size is not None and self._is_sane(size):
            shape += 4
            values.append(size)
        if lost:
            shape += 8
            values.append(sum(lost.values()))
        known = self._blocks.get(shape)
        if known is None:
            some = [name for bit, name in zip((1, 2, 4, 8), _SOMETIMES, strict=True) if shape & bit]
            names = ("Duration", "CallTime", "Overhead", *some)
            block = self.block({name: METRICS[name] for name in METRICS if name not in _SOMETIMES or name in some})
            template = "".join([f'"{name}":{METRICS[name][1]},' for name in names])
            known = self._blocks[shape] = block, template
        return known[0] + known[1] % tuple(values)

    def _is_sane(self, value: float) -> bool:
        if 0 <= value < _MOST:  # false for NaN
            return True
        count(self.drops, "metrics_refused")
        return False

    def _count(self, counts: "tuple[Any, ...]") -> str:
        """The metrics and facts that are mostly the same, as text."""
        start, outcome, flush, trigger, failures, retries, calls = counts
        text = '"ColdStart":%d,"Error":%d,"Timeout":%d,"Calls":%d,"CallFailures":%d,"CallRetries":%d,' % (
            start == "cold", outcome in FAILED, outcome == "timeout", calls, failures, retries,
        )  # fmt: skip
        text += f'"start":{quote(start)},"outcome":{quote(outcome)},"flush":{quote(flush)},'
        if trigger:
            text += f'"trigger":{to_json(trigger, self.drops)},'
        if len(self._counts) < _KEPT:
            self._counts[counts] = text
        return text

    def _properties(self, invocation: "Invocation", lost: "dict[str, int] | None") -> str:
        """What is told beside the metrics, as text."""
        drops = self.drops
        trace = invocation.trace
        if invocation.flush == "journal":  # it was killed before anybody measured more
            text = ',"span_id":"%016x","calls_open":%d' % (invocation.span_id, len(invocation.open))
        else:
            text = ',"span_id":"%016x","handler_ms":%.3f,"cpu_ms":%.3f,"calls_open":%d' % (
                invocation.span_id, invocation.handler_ns / 1e6, invocation.cpu_ns / 1e6, len(invocation.open),
            )  # fmt: skip
        if trace is not None:
            text += f',"trace_id":"{trace.trace_id}"'
        if invocation.error_type:
            text += ',"error_type":' + to_json(invocation.error_type, drops)
            if invocation.error_text:
                text += ',"error_message":' + to_json(masked(invocation.error_text), drops)
        if invocation.tenant_id:
            text += ',"tenant_id":' + to_json(invocation.tenant_id, drops)
        if invocation.annotations:
            text += ',"annotations":' + to_json(invocation.annotations, drops)
        if invocation.replay:
            text += ',"replay":true'
        if invocation.batch_failures is not None:
            text += ',"batch_item_failures":' + to_json(invocation.batch_failures, drops)
        if lost:
            text += ',"dropped":' + to_json(lost, drops)
        return text

    def _facts(self, facts: "dict[str, Any]") -> str:
        """The caller's own properties, as text: the same in most invocations."""
        try:
            key = tuple(facts.items())
            text = self._kept.get(key)
        except TypeError:  # a dict or a list among them
            key, text = None, None
        if text is None:
            text = "".join(
                [
                    f",{to_json(name, {})}:{to_json(value, self.drops)}"
                    for name, value in facts.items()
                    if name not in _TAKEN
                ]
            )
            if key is not None and len(self._kept) < _KEPT:
                self._kept[key] = text
        return text

    def _user_lines(
        self, lines: "list[bytes]", metrics: "list[tuple[str, Any, str]]", timestamp_ms: int, common: str
    ) -> None:
        from coldspan.core.usermetrics import user_lines  # most functions have none

        lines += user_lines(metrics, f"{START}{timestamp_ms}", self.block, common, self.drops)

    def _tool_lines(self, lines: "list[bytes]", results: "Results", timestamp_ms: int, common: str) -> None:
        blocks: "dict[str, Results]" = {}  # several pairs may share the block of what is no dimension
        for pair, group in _by_pair(results).items():
            block = self._pairs.get(pair) or self._pair(*pair, len(group))
            same = blocks.setdefault(block, group)
            if same is not group:
                same += group
        for block, group in blocks.items():
            start = f"{START}{timestamp_ms}{block}"
            for first in range(0, len(group), limits.EMF_VALUES_PER_METRIC):
                some = group[first : first + limits.EMF_VALUES_PER_METRIC] if len(group) > 1 else group
                lines.append(f"{start}{self._values(some)},{common}}}\n".encode())

    def _values(self, group: "Results") -> str:
        """The values of CALL_METRICS for at most 100 calls, as text."""
        durations, failures, retries, throttles = "", 0, 0, 0
        for result in group:
            duration = result.duration_ms
            if not 0 <= duration < _MOST:
                count(self.drops, "clock_replaced")
                duration = 0.0
            durations = f"{durations},{duration:.3f}" if durations else f"{duration:.3f}"
            retries += result.attempts - 1
            throttles += result.throttles
            if result.status in CALL_FAILED:
                failures += 1
        if failures or retries or throttles:
            return f'{durations}],"CallFailure":{failures:d},"CallRetry":{retries:d},"CallThrottle":{throttles:d}'
        return durations + _NO_TROUBLE

    def stray_lines(self, results: "Results", timestamp_ms: int) -> "list[bytes]":
        """Encode calls that ended outside a live invocation: metrics and records in the same lines."""
        stamp_ms = sane_ms(timestamp_ms)
        if stamp_ms != timestamp_ms:
            count(self.drops, "clock_replaced")
        levelled = self._levelled(stamp_ms)
        lines = []
        for pair, group in _by_pair(results).items():
            start = f"{START}{stamp_ms}{self._pair(*pair, len(group))}"
            step = limits.EMF_VALUES_PER_METRIC
            waiting = [group[first : first + step] for first in range(0, len(group), step)]
            while waiting:
                some = waiting.pop(0)
                opening = f'{start}{self._values(some)}{levelled},"calls":['
                line = opening + ",".join([whole_call_text(result, self.drops) for result in some]) + "]}\n"
                if len(line) > limits.EMF_EVENT_BYTES:
                    if len(some) > 1:
                        waiting[:0] = some[: len(some) // 2], some[len(some) // 2 :]
                        continue
                    from coldspan.core.emfsplit import trimmed  # seldom needed

                    room = limits.EMF_EVENT_BYTES - len(opening) - 3
                    line = opening + trimmed(whole_call_text(some[0], {}), room, self.drops) + "]}\n"
                lines.append(line.encode())
        return lines


def masked(text: str) -> str:
    """The text of an error as it may leave."""
    from coldspan.core.mask import mask_text  # most invocations end well and never need it

    return mask_text(text)


def _by_pair(results: "Results") -> "dict[tuple[str, str], Results]":
    groups: "dict[tuple[str, str], Results]" = {}
    for result in results:
        pair = result.tool, result.operation
        group = groups.get(pair)
        if group is None:
            groups[pair] = [result]
        else:
            group.append(result)
    return groups


def _merged(one: "dict[str, int] | None", other: "dict[str, int] | None") -> "dict[str, int] | None":
    if not other:
        return one
    merged = dict(one or ())
    for reason, more in other.items():
        count(merged, reason, more)
    return merged
