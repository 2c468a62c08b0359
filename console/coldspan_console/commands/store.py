"""`coldspan store`: what the local store holds, and how it is kept small."""

import time
from typing import TYPE_CHECKING

import click
from rich.text import Text

from coldspan_console.output import WRONG_USE, ConsoleError, Output, json_option
from coldspan_console.store import Store
from coldspan_console.store.listing import age
from coldspan_console.store.moments import moment_ms
from coldspan_console.store.options import store_option
from coldspan_console.tree import plain

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 10
EPILOG = """\b
Examples:
  coldspan store info                    where it is, how large, since when
  coldspan store prune --older 30d       keep a month
  coldspan store prune --keep 10000      keep the latest"""
INFO_EPILOG = """\b
Examples:
  coldspan store info
  coldspan store info --store other.db --json"""
PRUNE_EPILOG = """\b
Examples:
  coldspan store prune --older 30d       keep a month
  coldspan store prune --keep 10000      keep the latest"""


@click.group(epilog=EPILOG)
def command() -> None:
    """See what the local store holds, and keep it small."""


@command.command(epilog=INFO_EPILOG)
@store_option
@json_option
def info(output: Output, store_path: "str | None") -> None:
    """Say where the store is, how large it is, and what is in it."""
    with Store.open(store_path, write=False) as store:
        value = store.info()
    now_ms = time.time_ns() // 1_000_000

    def picture(console: "Console") -> None:
        console.print(Text(value["path"] + ("" if value["exists"] else " (not made yet)"), "bold"))
        megabytes = value["bytes"] / 1_000_000
        console.print(f"format {value['format']} · {megabytes:,.1f} MB")
        console.print(
            f"{value['invocations']:,} invocations · {value['calls']:,} calls · {value['documents']:,} documents"
        )
        if value["last_ms"] is not None:
            console.print(f"oldest {age(value['first_ms'], now_ms)} ago · latest {age(value['last_ms'], now_ms)} ago")
        for name, count in list(value["functions"].items())[:SHOWN]:
            console.print(Text(plain(f"  {name}  {count:,}")))
        if len(value["functions"]) > SHOWN:
            console.print(f"  and {len(value['functions']) - SHOWN} functions more")

    output.result(value, picture)


@command.command(epilog=PRUNE_EPILOG)
@click.option("--older", default="", metavar="TIME", help="Remove what ended longer ago: 30d, 2026-11-01.")
@click.option("--keep", type=click.IntRange(min=0), default=None, metavar="N", help="Keep the latest N invocations.")
@store_option
@json_option
def prune(output: Output, older: str, keep: "int | None", store_path: "str | None") -> None:
    """Remove old invocations, and give their room back."""
    if not older and keep is None:
        raise ConsoleError("say what is to go: --older or --keep", exit_code=WRONG_USE)
    since_ms = moment_ms(older) if older else None
    with Store.open(store_path, write=False) as store:
        there = store.exists
    removed = left = 0
    if there:
        with Store.open(store_path) as store, output.progress("removing"):
            removed = store.prune(keep, since_ms)
            left = store.count()
    value = {"removed": removed, "left": left}
    output.result(value, lambda console: console.print(f"{removed:,} invocations removed, {left:,} left"))
