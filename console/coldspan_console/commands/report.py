"""`coldspan report`: the store as a page."""

import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coldspan_console.output import ConsoleError, Output, json_option
from coldspan_console.store.options import filter_options, store_option

if TYPE_CHECKING:
    from rich.console import Console

    from coldspan_console.store import Filter

EPILOG = """\b
Examples:
  coldspan report                              coldspan-report.html, of all that is in the store
  coldspan report --since 1h --failed --open   what went wrong in the last hour, in the browser
  coldspan report --function OrdersFunction --out orders.html
  coldspan report --serve                      follows what `coldspan run --watch` does elsewhere"""
NAME = "coldspan-report.html"


@click.command(epilog=EPILOG)
@filter_options
@click.option("-o", "--out", type=click.Path(path_type=Path), default=None, help=f"The file. [{NAME}]")
@click.option("--limit", type=click.IntRange(1, 200_000), default=10_000, show_default=True, help="The newest so many.")
@click.option("--title", default="coldspan report", show_default=True)
@click.option("--open", "opened", is_flag=True, help="Show it in the browser.")
@click.option("--serve", is_flag=True, help="Serve it on this machine, and follow the store.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="With --serve. [a free one]")
@store_option
@json_option
def command(
    output: Output, wanted: "Filter", out: "Path | None", limit: int, title: str, opened: bool, serve: bool, port: int,
    store_path: "str | None",
) -> None:  # fmt: skip
    """Make the store a page: one file that needs no network, or a server that follows."""
    if serve:
        _serve(output, wanted, limit, title, port, store_path, opened=opened)
        return
    from coldspan_console.report.building import build
    from coldspan_console.report.page import render
    from coldspan_console.store import Store

    with output.progress("making the page"), Store.open(store_path, write=False, tenant=wanted.tenant) as store:
        if not store.count(wanted):
            known = store.count()
            todo = "run a function: coldspan run" if not known else "nothing passes these filters: coldspan list --help"
            raise ConsoleError("nothing to report", where=str(store.path), todo=todo)
        data = build(store, wanted, limit, title)
        page = render(data)
    file = out or Path(NAME)
    try:
        file.write_text(page, "utf-8")
    except OSError as error:
        raise ConsoleError(f"cannot be written: {error.strerror}", where=str(file)) from None
    shown = len(data["invocations"])
    value = {"file": str(file), "bytes": len(page.encode()), "invocations": shown, "left_out": data["left_out"]}

    def picture(console: "Console") -> None:
        more = f", {data['left_out']:,} older ones left out (--limit)" if data["left_out"] else ""
        console.print(
            f"{file}  {shown:,} invocation{'s' * (shown != 1)}{more}, {value['bytes'] / 1e6:.1f} MB", highlight=False
        )

    output.result(value, picture)
    if opened:
        webbrowser.open(file.resolve().as_uri())


def _serve(
    output: Output, wanted: "Filter", limit: int, title: str, port: int, store_path: "str | None", *, opened: bool
) -> None:
    from coldspan_console.report.serving import LiveReport

    report = LiveReport(store_path, wanted, limit, title, port)
    try:
        output.result({"address": report.address}, lambda console: console.print(report.address, highlight=False))
        output.note("following the store; Ctrl-C ends it")
        if opened:
            webbrowser.open(report.address)
        threading.Event().wait()
    finally:
        report.close()
