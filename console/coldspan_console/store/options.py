"""The options by which commands say which invocations are meant."""

from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coldspan_console.payloads import payload_query
from coldspan_console.store.database import default_path
from coldspan_console.store.filter import OUTCOMES, STARTS, Filter
from coldspan_console.store.moments import length_ms, moment_ms
from coldspan_console.store.saved import get

if TYPE_CHECKING:
    from collections.abc import Callable

_OPTIONS = (
    click.option("--filter", "saved_name", default="", metavar="NAME", help="As saved by `coldspan filter save`, too."),
    click.option("-f", "--function", multiple=True, metavar="NAME", help="Of this function."),
    click.option("--outcome", multiple=True, type=click.Choice(OUTCOMES), metavar="OUTCOME",
                 help=f"That ended so: {', '.join(OUTCOMES)}."),
    click.option("--failed", is_flag=True, help="That failed, or had a call that did."),
    click.option("--start", multiple=True, type=click.Choice(STARTS), metavar="START",
                 help=f"That started so: {', '.join(STARTS)}."),
    click.option("--cold", is_flag=True, help="Cold starts, restored and provisioned ones included."),
    click.option("--tool", multiple=True, metavar="TOOL", help="With a call to this tool."),
    click.option("--operation", multiple=True, metavar="NAME", help="With a call of this operation."),
    click.option("--status", multiple=True, metavar="STATUS", help="With a call of this status."),
    click.option("--text", default="", metavar="TEXT", help="With this in an error or in the message of a call."),
    click.option("--slower", default="", metavar="LENGTH", help="That took at least so long: 300ms, 1.5s."),
    click.option("--since", default="", metavar="TIME", help="That ended since: 1h, today, 10:30, 2026-11-26T10:00."),
    click.option("--until", default="", metavar="TIME", help="That ended before."),
    click.option("--tenant", default=None, metavar="ID", help="Of this tenant: nothing else is looked at."),
    click.option("--request", "request_id", default="", metavar="PREFIX", help="Whose request id begins so."),
    click.option("--source", multiple=True, metavar="SOURCE", help="That came by run, local, pull or stdin."),
    click.option("--version", multiple=True, metavar="VERSION", help="Of this version of the function."),
    click.option("--payload", multiple=True, metavar="QUERY",
                 help="With this in a captured payload: order.id=17, total>=100, ~refused."),
)  # fmt: skip


def filter_options(function: "Callable[..., Any]") -> "Callable[..., Any]":
    """The options of a filter; the command gets a Filter as `wanted`."""

    @wraps(function)
    def with_filter(*args: Any, cold: bool, slower: str, saved_name: str, **given: Any) -> Any:
        for member in ("since", "until"):
            if given[member]:
                moment_ms(given[member])  # refused now, not in the middle
        for query in given["payload"]:
            payload_query(query)
        start = tuple(given.pop("start")) + (tuple(kind for kind in STARTS if kind != "warm") if cold else ())
        slower_ms = length_ms(slower, "--slower") if slower else None
        members = {name: given.pop(name) for name in _MEMBERS}
        wanted = Filter(start=start, slower_ms=slower_ms, **members)
        if saved_name:
            path = given.get("store_path")
            wanted = get(saved_name, Path(path) if path else default_path()).wanted.but(wanted)
        return function(*args, wanted=wanted, **given)

    for option in reversed(_OPTIONS):
        with_filter = option(with_filter)
    return with_filter


_MEMBERS = (
    "function", "outcome", "failed", "tool", "operation", "status", "text", "since", "until", "tenant", "request_id",
    "source", "version", "payload",
)  # fmt: skip

store_option = click.option(
    "--store", "store_path", type=click.Path(dir_okay=False), default=None, metavar="FILE",
    help="The store; by default $COLDSPAN_STORE, else .coldspan/store.db in the current folder.",
)  # fmt: skip
