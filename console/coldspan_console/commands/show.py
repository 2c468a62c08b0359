"""`coldspan show`: one invocation of the local store."""

import json
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from coldspan_console.output import ANSWER_IS_NO, WRONG_USE, ConsoleError, Output, json_option
from coldspan_console.store import Filter, Store, listing, picture
from coldspan_console.store.options import store_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

CANDIDATES = 10
# option -> what it asks for
CHOICES = {
    "last": (Filter(), "newest"),
    "slowest": (Filter(), "slowest"),
    "failed": (Filter(failed=True), "newest"),
}
EPILOG = """\b
Examples:
  coldspan show 8f14                 the invocation whose request id begins so
  coldspan show --last               the latest one
  coldspan show --failed             the latest that failed, or had a call that did
  coldspan show --slowest -f orders  the slowest of one function
  coldspan show --last --payloads    with what was sent and received
  coldspan show 8f14 --raw           the lines as they were printed
"""


@click.command(epilog=EPILOG)
@click.argument("request_id", required=False, default="")
@click.option("--last", "choice", flag_value="last", help="The latest invocation.")
@click.option("--failed", "choice", flag_value="failed", help="The latest that failed, or had a call that did.")
@click.option("--slowest", "choice", flag_value="slowest", help="The slowest one.")
@click.option("-f", "--function", multiple=True, metavar="NAME", help="Of this function.")
@click.option("--tenant", default=None, metavar="ID", help="Of this tenant: nothing else is looked at.")
@click.option("--payloads", is_flag=True, help="With the captured payloads, in one form.")
@click.option("--raw", is_flag=True, help="The lines as they were printed, nothing joined.")
@store_option
@json_option
def command(
    output: Output, request_id: str, choice: "str | None", function: "tuple[str, ...]", tenant: "str | None",
    payloads: bool, raw: bool, store_path: "str | None",
) -> None:  # fmt: skip
    """Show one invocation as a tree: REQUEST_ID, or how its id begins, or one of --last, --failed, --slowest."""
    if bool(request_id) == bool(choice):
        raise ConsoleError(
            "name one invocation: its request id, or one of --last, --failed, --slowest", exit_code=WRONG_USE,
            todo="`coldspan list` has the request ids",
        )  # fmt: skip
    with Store.open(store_path, write=False, tenant=tenant) as store:
        found = _chosen(store, request_id, choice, function)
        logs = store.log_lines(found)
        documents, lines = store.get(found), store.lines(found)
    if raw:
        output.result(lines, _raw(lines))
        return
    value: dict[str, Any] = {"request_id": found, "invocations": documents, "logs": logs}
    output.result(value, _tree(documents, logs, payloads=payloads))


def _chosen(store: Store, request_id: str, choice: "str | None", function: "tuple[str, ...]") -> str:
    """The request id that is meant. Errors: ConsoleError for none, and for several that begin so."""
    if choice is not None:
        wanted, sort = CHOICES[choice]
        found = store.find(Filter(function=function, failed=wanted.failed), limit=1, sort=sort)
        if not found:
            raise ConsoleError(
                f"no invocation to show by --{choice}", where=str(store.path), exit_code=ANSWER_IS_NO,
                todo="`coldspan run` a function first, or look at `coldspan list`",
            )  # fmt: skip
        return str(found[0]["request_id"])
    candidates = store.find(Filter(function=function, request_id=request_id), limit=CANDIDATES + 1)
    ids = list(dict.fromkeys(summary["request_id"] for summary in candidates))
    if request_id in ids or len(ids) == 1:
        return request_id if request_id in ids else ids[0]
    if not ids:
        raise ConsoleError(
            f"no request id begins with {request_id}", where=str(store.path), exit_code=ANSWER_IS_NO,
            todo="`coldspan list` has the request ids",
        )  # fmt: skip
    shown = "\n".join(
        f"  {summary['request_id']}  {summary['function']}  {summary['outcome']}" for summary in candidates[:CANDIDATES]
    )
    more = "\n  ..." if len(candidates) > CANDIDATES else ""
    raise ConsoleError(
        f"several request ids begin with {request_id}", where=str(store.path), exit_code=WRONG_USE,
        todo=f"give more of one of:\n{shown}{more}",
    )  # fmt: skip


def _tree(
    documents: "list[dict[str, Any]]", logs: "list[dict[str, Any]]", *, payloads: bool
) -> "Callable[[Console], None]":
    def picture_of(console: "Console") -> None:
        for number, document in enumerate(documents):
            last = number == len(documents) - 1
            picture.print_invocation(console, document, logs if last else (), payloads=payloads)
            console.print()
        console.print(Text(f"in the report: {listing.report_link(documents[-1])}", "dim"))

    return picture_of


def _raw(lines: "list[dict[str, Any]]") -> "Callable[[Console], None]":
    def picture_of(console: "Console") -> None:
        for line in lines:
            click.echo(json.dumps(line, ensure_ascii=not console.encoding.startswith("utf")))

    return picture_of
