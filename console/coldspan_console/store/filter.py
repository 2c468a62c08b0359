"""Which invocations are meant: one filter for every command, as SQL over the columns, and as JSON where it is saved."""

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from coldspan_console.output import WRONG_USE, ConsoleError
from coldspan_console.store.moments import moment_ms
from coldspan_console.store.rows import OF_CALLS, WITH_PAYLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

OUTCOMES = (
    "ok", "error", "pending", "unserialisable", "too_large", "timeout", "crash", "out_of_memory", "init_error",
    "unfinished",
)  # fmt: skip
FAILED_OUTCOMES = tuple(outcome for outcome in OUTCOMES if outcome not in ("ok", "pending"))
STARTS = ("cold", "warm", "restored", "provisioned")
_STATUSES = ("ok", "partial", "throttled", "timeout", "rejected", "error", "cancelled", "in_flight")
SORTS = {
    "newest": "time_ms DESC, id DESC",
    "oldest": "time_ms, id",
    "slowest": "duration_us DESC, id DESC",
    "failures": "failures DESC, time_ms DESC, id DESC",
    "init": "init_us DESC, id DESC",
}
# members that ask for one of several words, in the column of the same name
_WORDS = (
    "function", "outcome", "start", "source", "version", "account", "region", "trigger", "told_by", "error_type",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked for; an empty filter means all. Members that are tuples mean any of their texts.

    Of a call, `tool`, `operation` and `status` are met by one and the same call. `text` is looked for in error types,
    error messages and the messages of calls, in any case. `slower_ms` is at least; `since_ms` and `until_ms` are of the
    invocation's end, in epoch ms, the second exclusive. `payload` is asked of the captured payloads, see payloads.py.
    `since`, `until` are moments as a person writes them: they are looked at when the filter is used.
    """

    function: "tuple[str, ...]" = ()
    outcome: "tuple[str, ...]" = ()
    start: "tuple[str, ...]" = ()
    tool: "tuple[str, ...]" = ()
    operation: "tuple[str, ...]" = ()
    status: "tuple[str, ...]" = ()
    text: str = ""
    slower_ms: "float | None" = None
    since: str = ""
    until: str = ""
    since_ms: "int | None" = None
    until_ms: "int | None" = None
    tenant: "str | None" = None
    request_id: str = ""  # a prefix
    source: "tuple[str, ...]" = ()
    version: "tuple[str, ...]" = ()
    account: "tuple[str, ...]" = ()
    region: "tuple[str, ...]" = ()
    trigger: "tuple[str, ...]" = ()
    told_by: "tuple[str, ...]" = ()
    error_type: "tuple[str, ...]" = ()
    failed: bool = False  # by its outcome, or a call of it did
    payload: "tuple[str, ...]" = ()
    changed_after: "int | None" = None  # Store.changes() as it was: what is new, or has become more, since

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if "tuple" in str(each.type) and not isinstance(value, tuple):
                object.__setattr__(self, each.name, (value,) if isinstance(value, str) else tuple(value))
        _refuse_unknown("outcome", self.outcome, OUTCOMES)
        _refuse_unknown("start", self.start, STARTS)
        _refuse_unknown("status", self.status, (*_STATUSES, "untold"))

    def to_json(self) -> "dict[str, Any]":
        """The members that ask for something, as JSON can hold them."""
        asked = {
            each.name: getattr(self, each.name) for each in fields(self) if getattr(self, each.name) != each.default
        }
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}

    @classmethod
    def from_json(cls, value: "dict[str, Any]") -> "Self":
        """The filter of to_json(). Errors: ConsoleError for members that this version does not know."""
        unknown = set(value) - {each.name for each in fields(cls)}
        if unknown:
            raise ConsoleError(f"a filter has no {', '.join(sorted(unknown))}", todo="use a newer coldspan")
        return cls(**{name: tuple(each) if isinstance(each, list) else each for name, each in value.items()})

    def but(self, other: "Self") -> "Self":
        """This filter, with what the other one asks for in place of its own."""
        asked = other.to_json()
        return replace(self, **{name: getattr(other, name) for name in asked})

    def is_answered_by_calls(self) -> bool:
        """Whether nothing is asked but what the rows of calls have themselves."""
        times = ("since", "until", "since_ms", "until_ms")
        return not set(self.to_json()) - {*OF_CALLS, *times, "tool", "operation", "status"}

    def of_calls(self) -> bool:
        """Whether it asks for a call."""
        return bool(self.tool or self.operation or self.status)

    def time_where(self, table: str, now_ms: "int | None" = None) -> "tuple[list[str], list[Any]]":
        """The conditions on a table's `time_ms`, and their parameters."""
        since_ms = moment_ms(self.since, now_ms) if self.since else self.since_ms
        until_ms = moment_ms(self.until, now_ms) if self.until else self.until_ms
        terms = {f"{table}.time_ms >= ?": since_ms, f"{table}.time_ms < ?": until_ms}
        asked = {term: value for term, value in terms.items() if value is not None}
        return list(asked), list(asked.values())

    def where(self, now_ms: "int | None" = None) -> "tuple[str, list[Any]]":
        """A condition on the columns of `invocation`, and its parameters. `payload` is not in it."""
        terms: list[str] = []
        values: list[Any] = []

        def ask(term: str, *given: Any) -> None:
            terms.append(term)
            values.extend(given)

        of_words, texts = self.words_where("invocation", (*_WORDS, "tenant"))
        terms += of_words
        values += texts
        of_time, times = self.time_where("invocation", now_ms)
        terms += of_time
        values += times
        if self.slower_ms is not None:
            ask("invocation.duration_us >= ?", round(self.slower_ms * 1_000))
        if self.failed:
            ask(f"(invocation.failures > 0 OR invocation.outcome IN ({_words(FAILED_OUTCOMES)}))", *FAILED_OUTCOMES)
        if self.request_id:
            # a range, which an index answers; `LIKE` would need one of its own
            ask(
                "invocation.request IN (SELECT id FROM request WHERE request_id >= ? AND request_id < ?)",
                self.request_id, self.request_id + "\U0010ffff",
            )  # fmt: skip
        if self.changed_after is not None:
            ask("invocation.change > ?", self.changed_after)
        if self.payload:
            ask("invocation.flags & ?", WITH_PAYLOADS)
        if self.of_calls():
            condition, given = self.call_where()
            ask(f"invocation.id IN (SELECT call.invocation FROM call WHERE {condition})", *given)
        if self.text:
            pattern = "%" + self.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            ask(
                "invocation.id IN (SELECT id FROM invocation WHERE error IS NOT NULL AND error LIKE ? ESCAPE '\\'"
                " UNION SELECT invocation FROM call WHERE message IS NOT NULL AND message LIKE ? ESCAPE '\\')",
                pattern, pattern,
            )  # fmt: skip
        return " AND ".join(terms) or "1", values

    def words_where(self, table: str, members: "Iterable[str]") -> "tuple[list[str], list[Any]]":
        """The conditions of members that ask for one of several words, on the columns of their names."""
        given = {member: getattr(self, member) for member in members}
        asked = {member: (texts,) if isinstance(texts, str) else texts or () for member, texts in given.items()}
        terms = [f"{table}.{member} {_is_one_of(texts)}" for member, texts in asked.items() if texts]
        return terms, [text for texts in asked.values() for text in texts]

    def call_where(self) -> "tuple[str, list[Any]]":
        """A condition on the columns of `call`: only what is asked of a call."""
        terms, values = self.words_where("call", ("tool", "operation", "status"))
        return " AND ".join(terms) or "1", values


def _is_one_of(texts: "tuple[str, ...]") -> str:
    """With one word alone an index is read in its order, and the latest are at its end."""
    return "= (SELECT id FROM word WHERE text = ?)" if len(texts) == 1 else f"IN ({_words(texts)})"


def _words(texts: "tuple[str, ...]") -> str:
    return f"SELECT id FROM word WHERE text IN ({','.join('?' * len(texts))})"


def _refuse_unknown(what: str, given: "tuple[str, ...]", known: "tuple[str, ...]") -> None:
    for text in given:
        if text not in known:
            raise ConsoleError(f"no {what} is called {text!r}", todo=f"one of {', '.join(known)}", exit_code=WRONG_USE)
