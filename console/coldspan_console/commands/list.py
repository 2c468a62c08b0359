"""`coldspan list`: invocations in the local store."""

from typing import TYPE_CHECKING

import click
from rich.text import Text

from coldspan_console.output import Output, json_option
from coldspan_console.store import Filter, Store, listing
from coldspan_console.store.filter import SORTS
from coldspan_console.store.options import filter_options, store_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

GROUPED = ("function", "outcome", "start", "version", "source", "tenant", "tool", "message")
EPILOG = """\b
Examples:
  coldspan list                                    the latest
  coldspan list --failed --since 1h                what went wrong in the last hour
  coldspan list --outcome timeout --sort slowest   what was killed, the longest first
  coldspan list --tool dynamodb --status throttled
  coldspan list --payload order.id=17              by what was sent and received (COLDSPAN_PAYLOADS=all)
  coldspan list --group function                   counts and percentiles
  coldspan list --group message --since today      what failed, and how often
"""


@click.command(epilog=EPILOG)
@filter_options
@click.option(
    "-n", "--limit", type=click.IntRange(min=0), default=20, show_default=True, help="At most so many; 0: all."
)
@click.option("--sort", type=click.Choice(list(SORTS)), default="newest", show_default=True, help="Which come first.")
@click.option("--group", type=click.Choice(GROUPED), default=None, help="Count them by this instead.")
@store_option
@json_option
def command(
    output: Output, wanted: Filter, limit: int, sort: str, group: "str | None", store_path: "str | None"
) -> None:
    """List invocations in the local store, by filters."""
    with Store.open(store_path, write=False, tenant=wanted.tenant) as store:
        totals = store.totals(wanted)
        if not totals["count"]:
            _say_empty(output, store, wanted)
            return
        most = limit or None
        if group is None:
            found = store.find(wanted, limit=most, sort=sort)
            value = {"invocations": found, "totals": totals}
            table = listing.invocations_table(found)
            shown = f"the {sort} {len(found)} of them; --limit shows more" if len(found) < totals["count"] else ""
        else:
            groups, table = _grouped(store, wanted, group)
            value = {"groups": groups[:most], "by": group, "totals": totals}
            shown = ""

    def picture(console: "Console") -> None:
        console.print(table)
        console.print()
        console.print(listing.totals_line(totals))
        if shown:
            console.print(Text(shown, "dim"))

    output.result(value, picture)


def _grouped(store: Store, wanted: Filter, group: str) -> "tuple[list[dict[str, object]], Table]":
    if group == "tool":
        groups = store.calls_by(wanted)
        return groups, listing.tools_table(groups)
    if group == "message":
        groups = store.errors(wanted)
        return groups, listing.errors_table(groups)
    groups = store.invocations_by(wanted, (group,))
    return groups, listing.groups_table(groups, group)


def _say_empty(output: Output, store: Store, wanted: Filter) -> None:
    """What to do where there is nothing."""
    if not store.count():
        what = f"nothing in {store.path} yet" if store.exists else f"no store at {store.path} yet"
        todo = "`coldspan run` a function, or `coldspan pull` one's records"
    else:
        what, todo = "nothing in the store is so", "ask for less: " + _asked(wanted)

    def picture(console: "Console") -> None:
        console.print(Text(f"{what}: {todo}"))

    output.result({"invocations": [], "totals": {"count": 0}, "todo": f"{what}: {todo}"}, picture)


def _asked(wanted: Filter) -> str:
    return ", ".join(f"{name} {value}" for name, value in wanted.to_json().items())
