"""How records become JSON text: one pass of the C encoder, and a slow, forgiving pass for what it refuses."""

from json import JSONEncoder
from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]  # the first is not in the stubs

from coldspan.core.record import CallToolResult
from coldspan.core.recordtext import as_record, record_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from coldspan.core.record import Invocation

quote = encode_basestring_ascii

_DEPTH = 32  # our own nesting is below 12; deeper is a customer's structure or a cycle
_INT_BITS = 1_024  # the range of a double: larger integers are legal JSON that readers refuse
_EARLIEST_MS = 1_577_836_800_000  # 2020-01-01; before the product existed
_LATEST_MS = 4_102_444_800_000  # 2100-01-01
_HOUR_MS = 3_600_000
_DAY_MS = 86_400_000
_DAY_NS = _DAY_MS * 1_000_000
_TEXTUAL = ("decimal", "datetime", "uuid")  # whose text says all there is: a Decimal comes with every DynamoDB item
_type_name = type.__dict__["__name__"].__get__  # a metaclass of the customer's may answer to these itself
_type_module = type.__dict__["__module__"].__get__
# A half of a pair as the encoder writes it. Alone it is no character and a strict reader refuses the whole line.
_SURROGATES = tuple("\\ud" + digit for digit in "89abcdef")


def count(drops: "dict[str, int]", reason: str, more: int = 1) -> None:
    """Add to a dict of reason -> count."""
    drops[reason] = drops.get(reason, 0) + more


def _encoder() -> "Callable[[Any], str]":
    # JSONEncoder.encode makes a new C encoder at each call (4,000 instructions); this makes one. No check for cycles:
    # they end in RecursionError, which the slow pass answers.
    try:
        once = c_make_encoder(None, as_record, quote, None, ":", ",", False, False, False)
        "".join(once({"probe": [0.5, None]}, 0))
    except TypeError:  # another interpreter, or another signature
        return JSONEncoder(check_circular=False, allow_nan=False, separators=(",", ":"), default=as_record).encode
    return lambda value: "".join(once(value, 0))


_encode = _encoder()


def to_json(value: "Any", drops: "dict[str, int]") -> str:
    """Encode any value as ASCII JSON; never raises.

    What JSON cannot hold (NaN, objects, cycles, half surrogates, huge integers) is replaced by text and counted in
    `drops` as "values_unencodable".
    """
    try:
        text = _encode(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RecursionError is a RuntimeError
        return _encode(plain(value, drops))
    if "\\" in text and has_halves(text):
        return _encode(plain(value, drops))
    return text


def has_halves(text: str) -> bool:
    """Whether JSON text has surrogates in it: pairs are characters, a half alone is refused by strict readers."""
    return "\\ud" in text and any(mark in text for mark in _SURROGATES)


def call_text(result: "CallToolResult", drops: "dict[str, int]") -> str:
    """Give one call's record as JSON text; never raises. Half surrogates may be in it: has_halves finds them."""
    try:
        return record_text(result, drops, to_json)
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return to_json(result, drops)


def whole_call_text(result: "CallToolResult", drops: "dict[str, int]") -> str:
    """The same without half surrogates."""
    text = call_text(result, drops)
    return to_json(result, drops) if "\\" in text and has_halves(text) else text


def plain(value: "Any", drops: "dict[str, int]", depth: int = 0) -> "Any":
    """A copy that JSON can hold, made with the base types' own methods, so that no code of the customer's runs."""
    if value is None or value is True or value is False:
        return value
    kind = type(value)  # not isinstance: that asks an object for its __class__
    if issubclass(kind, str):
        return _whole(str.__str__(value), drops)
    if issubclass(kind, int):
        if int.bit_length(value) <= _INT_BITS:
            return int.__int__(value)
    elif issubclass(kind, float):
        if float.__sub__(value, value) == 0:  # neither NaN nor infinite
            return float.__float__(value)
    elif _type_module(kind) in _TEXTUAL:
        return str(value)
    elif depth < _DEPTH:
        if kind is CallToolResult:
            return plain(as_record(value), drops, depth)
        if issubclass(kind, dict):
            return {_key(key, drops): plain(item, drops, depth + 1) for key, item in dict.copy(value).items()}
        for base in (list, tuple, set, frozenset):
            if issubclass(kind, base):
                return [plain(item, drops, depth + 1) for item in list(base.__iter__(value))]
    count(drops, "values_unencodable")
    return "<" + _whole(_type_name(kind), drops) + ">"


def _key(key: "Any", drops: "dict[str, int]") -> str:
    word = plain(key, drops, _DEPTH)
    return word if type(word) is str else str(word)


def _whole(text: str, drops: "dict[str, int]") -> str:
    """The text with every half surrogate replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        count(drops, "values_unencodable")
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def elapsed_ns(invocation: "Invocation", drops: "dict[str, int]") -> int:
    """How long the invocation took, in ns; 0 (and counted) when its clock cannot be right."""
    elapsed = invocation.end_ns - invocation.start_ns if invocation.end_ns else 0
    if 0 <= elapsed <= _DAY_NS:
        return elapsed
    count(drops, "clock_replaced")
    return 0


def open_ms(invocation: "Invocation", results: "list[CallToolResult]", elapsed: int) -> float:
    """Milliseconds during which at least one call was open, within the invocation."""
    begin = invocation.start_ns
    end = begin + elapsed
    last, total = begin, 0
    for call in invocation.calls:  # one after the other: the common case
        if call.start_ns < last:
            break
        last = call.end_ns
        total += last - call.start_ns
    else:
        if last <= end and not invocation.open and len(invocation.calls) >= len(results):
            return total / 1e6
    spans: "list[tuple[float, float]]" = [(call.start_ns, call.end_ns) for call in invocation.calls]
    if len(spans) < len(results):  # told by the journal: only the records are there
        epoch_ms = invocation.epoch_ns / 1e6
        for result in results:
            first = begin + (result.timestamp - epoch_ms) * 1e6
            spans.append((first, first + result.duration_ms * 1e6))
    spans += [(call.start_ns, end) for call in list(invocation.open.values())]
    spans.sort()
    done: float = begin
    sum_ns = 0.0
    for opened, closed in spans:
        opened, closed = max(opened, done), min(closed, end)  # noqa: PLW2901  # cut to what is not yet counted
        if closed > opened:
            sum_ns += closed - opened
            done = closed
    return sum_ns / 1e6


def began_ns(invocation: "Invocation", elapsed: int, drops: "dict[str, int]") -> int:
    """The epoch ns at which the invocation began.

    A wall clock that cannot be right is replaced by the platform's deadline, else by the time in the trace's root, else
    by the nearest possible time: CloudWatch and X-Ray silently drop what is dated far off. Counted in `drops`. Where
    clock and deadline disagree and the trace agrees with the clock, the deadline is wrong: the emulator's Managed
    Instances have 115 days.
    """
    epoch_ms, deadline_ms = invocation.epoch_ns * 1e-6, invocation.deadline_ms
    if _EARLIEST_MS < deadline_ms < _LATEST_MS:
        if -_HOUR_MS < deadline_ms - epoch_ms < _DAY_MS:
            return invocation.epoch_ns
        if epoch_ms > _EARLIEST_MS and -_HOUR_MS < epoch_ms - _rooted_ms(invocation) < _DAY_MS:
            return invocation.epoch_ns
        epoch_ms = deadline_ms - elapsed // 1_000_000
    elif _EARLIEST_MS < epoch_ms < _LATEST_MS:
        return invocation.epoch_ns
    else:
        epoch_ms = sane_ms(_rooted_ms(invocation))
    count(drops, "clock_replaced")
    return epoch_ms * 1_000_000


def _rooted_ms(invocation: "Invocation") -> int:
    return int(invocation.trace.root[2:10], 16) * 1_000 if invocation.trace else 0


def sane_ms(epoch_ms: int) -> int:
    """The time itself when it can be right, else the nearest that can."""
    return min(max(epoch_ms, _EARLIEST_MS), _LATEST_MS)
