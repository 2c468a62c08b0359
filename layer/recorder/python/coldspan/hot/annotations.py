"""What the customer says of the running invocation: `annotate` and `metric`."""

from coldspan.core import limits
from coldspan.core.record import Call
from coldspan.hot import scope as hot_scope
from coldspan.hot.byhand import is_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan.core.record import Invocation
    from coldspan.hot.scope import Scope


def annotate(*pair: "Any", **annotations: "Any") -> None:
    """Say something of the running invocation: `annotate(order=7)`, or `annotate("order.id", 7)`.

    Values are str, number or bool; a name given again replaces its value. At most 50 an invocation.
    """
    scope = hot_scope.active
    if scope is not None:
        scope.buffer.shielded(_annotate)(scope, pair, annotations)


def metric(name: "Any" = None, value: "Any" = None, unit: "Any" = "None", *more: "Any") -> None:
    """Give a value of a metric of the customer's own, in a unit of CloudWatch's. At most 200 an invocation."""
    scope = hot_scope.active
    if scope is not None:
        scope.buffer.shielded(_metric)(scope, name, value, unit if not more else None)


def _annotate(scope: "Scope", pair: "tuple[Any, ...]", annotations: "dict[Any, Any]") -> None:
    owner = _owner(scope)
    if len(pair) == 2:
        annotations = {**annotations, pair[0]: pair[1]} if type(pair[0]) is str else {**annotations, "": None}
    elif pair:
        scope.buffer.drop("annotations_refused")
    if owner is None:
        scope.buffer.drop("annotations_refused", len(annotations))
        return
    kept = owner.annotations
    if kept is None:
        kept = owner.annotations = {}
    for key, value in annotations.items():
        if not is_plain(key, value) or (len(kept) >= limits.ANNOTATIONS_PER_INVOCATION and key not in kept):
            scope.buffer.drop("annotations_refused")
        else:
            kept[key] = value[: limits.RAW_TEXT_CHARS] if type(value) is str else value


def _metric(scope: "Scope", name: "Any", value: "Any", unit: "Any") -> None:
    owner = _owner(scope)
    kind = type(value)
    if kind is not int and kind is not float and kind is not bool:
        # A Decimal or a numpy number: what it is, not the object. A text is no number.
        value = None if issubclass(kind, str) or not hasattr(kind, "__float__") else float(value)
    if (
        owner is None
        or value is None
        or type(name) is not str
        or not 0 < len(name) <= limits.EMF_NAME_CHARS
        or type(unit) is not str
        or (owner.metrics is not None and len(owner.metrics) >= limits.METRICS_PER_INVOCATION)
    ):
        scope.buffer.drop("metrics_refused")
        return
    if owner.metrics is None:
        owner.metrics = []
    owner.metrics.append((name, value, unit))


def _owner(scope: "Scope") -> "Invocation | None":
    """The running invocation, or None."""
    node = scope.position()
    owner = node.owner if isinstance(node, Call) else node
    return owner if owner is not None and owner.kind == "invocation" else None
