"""Invocations that the platform says were killed, and of which nothing was written ahead: told by its word alone.

A kill may come before the recorder has seen the event, and a journal may be switched off, refused, or deleted by the
function.
"""

from posix import urandom

from coldspan.core.killed import TIMEOUT, meaning_of
from coldspan.core.record import Invocation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from coldspan_blackbox.platformfacts import Request

NS_PER_MS = 1_000_000
EVIDENCE = ("platform", "no_journal")


def invocation_of(request: "Request", now_ms: int) -> "Invocation":
    """The invocation as far as the platform knows it: when it ended, how long it had run, and what ended it."""
    facts = request.facts
    length_ns = int(facts.get("duration_ms", 0) * NS_PER_MS)
    ended_ns = (request.time_ms or now_ms) * NS_PER_MS
    made = Invocation("invocation", request.request_id, int.from_bytes(urandom(8), "big"), 1, ended_ns - length_ns)
    made.end_ns = made.start_ns + length_ns
    made.start = "cold" if "init_duration_ms" in facts else "warm"
    made.outcome = TIMEOUT if facts.get("status") == TIMEOUT else meaning_of(str(facts.get("error_type", "")))
    made.error_type = str(facts.get("error_type", ""))
    made.flush = "platform"
    return made


def facts_of(request: "Request") -> "dict[str, Any]":
    """What stands beside it in its record."""
    return {"evidence": list(EVIDENCE), "platform": dict(request.facts), "told_by": "black_box"}
