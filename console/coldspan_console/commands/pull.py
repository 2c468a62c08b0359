"""`coldspan pull`: records from an account, a stream or files into the local store."""

import re
import threading
import time
from typing import TYPE_CHECKING, Any

import click

from coldspan_console.output import DONE, WRONG_USE, ConsoleError, Output, json_option
from coldspan_console.store.filter import OUTCOMES
from coldspan_console.store.moments import moment_ms
from coldspan_console.store.options import store_option

if TYPE_CHECKING:
    from coldspan_console.pulling.puller import Wanted
    from coldspan_console.store import Store

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(kB|KB|MB|GB|TB)", re.IGNORECASE)
SIZES = {"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
EPILOG = """\b
Examples:
  coldspan pull --function orders --since 1h              what it recorded in the last hour
  coldspan pull --function orders --since 1d --errors-only --xray
  coldspan pull --function orders --since 7d --query 'Duration > 3000' --limit 100
  coldspan pull --function orders --since 7d --aggregate --by tool
  coldspan pull --function orders --follow                what comes from now on
  sam local invoke OrdersFunction 2>&1 | coldspan pull -
  coldspan pull log.txt export/                           files and folders, .gz too"""


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1)
@click.option("--function", help="The function's name, in an account.")
@click.option("--log-group", help="Its log group. [as configured, else /aws/lambda/FUNCTION]")
@click.option("--since", help="How far back: 1h, today, 2026-11-26T10:00.  [1h]")
@click.option("--until", help="Until when. [now]")
@click.option("--region")
@click.option("--profile")
@click.option("--errors-only", is_flag=True, help="Those that failed, or had a call that did.")
@click.option("--outcome", "outcomes", multiple=True, type=click.Choice(OUTCOMES), help="Those that ended so.")
@click.option("--query", help="A condition in the language of Logs Insights: 'Duration > 3000 and start = \"cold\"'.")
@click.option("--limit", type=click.IntRange(1, 10_000), help="So many at most, the newest.")
@click.option("--xray", is_flag=True, help="With what X-Ray has of their traces.")
@click.option("--logs", type=click.Choice(["failed", "all", "none"]), default="failed", show_default=True,
              help="Whose log lines to bring, too.")  # fmt: skip
@click.option("--max-scan", default="1GB", show_default=True, help="Stop before Logs Insights scans more; none.")
@click.option("--engine", type=click.Choice(["auto", "insights", "filter"]), default="auto", show_default=True,
              help="filter: read the log by FilterLogEvents, which costs nothing.")  # fmt: skip
@click.option("--aggregate", is_flag=True, help="Only count, where the data is; pull nothing.")
@click.option(
    "--by", default="outcome", show_default=True, help="outcome, start, version, trigger, error, tool, hour, minute."
)
@click.option("--follow", is_flag=True, help="Go on with what comes, until interrupted.")
@store_option
@json_option
def command(files: "tuple[str, ...]", output: Output, **options: Any) -> int:
    """Bring records into the local store: of a function in an account, or from FILES of log (- is stdin).

    What is there already is not added again. `coldspan list`, `show` and `report` then show it as what was run here.
    """
    from coldspan_console.store import Store

    if files:
        _refuse(options, "function", "log_group", "query", "aggregate", "follow", "xray")
        with Store.open(options["store_path"]) as store:
            return _streamed(files, store, output)
    if not options["function"] and not options["log_group"]:
        raise ConsoleError("pull from where?", todo="name --function, or files (- is stdin)", exit_code=WRONG_USE)
    from coldspan_console.pulling.account import Account

    account = Account(options["region"], options["profile"])
    wanted = _wanted(account, options)
    if options["aggregate"]:
        return _aggregated(account, wanted, options["by"], output)
    with Store.open(options["store_path"]) as store:
        store.warn = output.note
        if options["follow"]:
            return _followed(account, wanted, store, output)
        return _pulled(account, wanted, store, output)


def _streamed(files: "tuple[str, ...]", store: "Store", output: Output) -> int:
    from coldspan_console.pulling import picture
    from coldspan_console.pulling.streaming import stream

    with output.progress("reading lines") as advance:
        told = stream(files, store, advance).as_json()
    output.result(told, lambda console: picture.show_streamed(console, store, told))
    return DONE


def _pulled(account: Any, wanted: "Wanted", store: "Store", output: Output) -> int:
    from coldspan_console.pulling import picture
    from coldspan_console.pulling.puller import Puller

    with output.progress(f"pulling from {wanted.group}") as advance:
        told = Puller(account, store, wanted, output.note, advance).pull().as_json()
    output.result(told, lambda console: picture.show_pulled(console, store, told, wanted.group))
    if not told["request_ids"] and not output.as_json:
        output.note(
            "no record in that time: a longer --since? `coldspan doctor` finds out why a function does not record"
        )
    return DONE


def _followed(account: Any, wanted: "Wanted", store: "Store", output: Output) -> int:
    import json

    from coldspan_console.pulling.puller import Puller
    from coldspan_console.store.documents import request_of
    from coldspan_console.store.picture import notes, title
    from coldspan_console.tree import invocation_tree

    def came(record: "dict[str, Any]") -> None:
        if output.as_json:
            click.echo(json.dumps(record, ensure_ascii=False))
        else:
            document = next(iter(store.get(request_of(record))[-1:]), record)
            output.out.print(invocation_tree(document, title(document), notes(document)))

    output.note(f"following {wanted.group}; interrupt to end")
    puller = Puller(account, store, wanted, output.note)
    try:
        puller.follow(threading.Event(), came)
    except KeyboardInterrupt:
        count = puller.pulled.invocations
        output.note(f"{count} new invocation{'s' * (count != 1)}")
    return DONE


def _aggregated(account: Any, wanted: "Wanted", by: str, output: Output) -> int:
    from coldspan_console.pulling import picture, queries
    from coldspan_console.pulling.insights import Insights, RefusedError, size

    if by not in queries.GROUPS:
        raise ConsoleError(
            f"not by {by}", where="--by", todo=f"one of {', '.join(queries.GROUPS)}", exit_code=WRONG_USE
        )
    conditions = queries.wanted(wanted.outcomes, errors_only=wanted.errors_only, expression=wanted.expression)
    insights = Insights(account.client("logs"), wanted.group, wanted.most_bytes)
    query = queries.statistics(by, conditions)
    try:
        with output.progress(f"counting in {wanted.group}"):
            rows = [_numbers(row) for row in insights.rows(query, wanted.since_ms, wanted.until_ms)]
    except RefusedError as error:
        raise ConsoleError(
            f"Logs Insights is refused: {error}", where=wanted.group, todo="allow logs:StartQuery"
        ) from None
    names = queries.names_of(by)
    if by in queries.PERIODS:
        rows.sort(key=lambda row: str(row.get(names[0])))
    told = {"group": wanted.group, "by": by, "query": query, "rows": rows, "scanned_bytes": insights.scanned_bytes}
    output.result(told, lambda console: picture.show_statistics(console, rows, names))
    if not output.as_json:
        output.note(f"{size(insights.scanned_bytes)} scanned (about ${insights.dollars:.4f})")
    return DONE


def _numbers(row: "dict[str, str]") -> "dict[str, Any]":
    found: dict[str, Any] = {}
    for name, text in row.items():
        if name == "@ptr":
            continue
        try:
            found[name] = float(text) if name != "function_version" else text
        except ValueError:
            found[name] = text
    return found


def _wanted(account: Any, options: "dict[str, Any]") -> "Wanted":
    from coldspan_console.pulling.puller import Wanted

    now_ms = time.time_ns() // 1_000_000
    since = options["since"] or ("now" if options["follow"] else "1h")
    since_ms = moment_ms(since, now_ms)
    until_ms = moment_ms(options["until"], now_ms) if options["until"] else now_ms + 1
    if since_ms >= until_ms:
        raise ConsoleError("that time ends before it begins", where=f"--since {since}", exit_code=WRONG_USE)
    if options["follow"] and (options["until"] or options["query"]):
        raise ConsoleError("--follow goes with neither --until nor --query", exit_code=WRONG_USE)
    most = _bytes(options["max_scan"])
    group = options["log_group"] or account.log_group(options["function"])
    account.need_group(group)
    return Wanted(
        options["function"] or group.rpartition("/")[2], group, since_ms, until_ms, outcomes=options["outcomes"],
        errors_only=options["errors_only"], expression=options["query"] or "", limit=options["limit"],
        engine=options["engine"], logs=options["logs"], xray=options["xray"], most_bytes=most,
    )  # fmt: skip


def _bytes(text: str) -> "int | None":
    if text.strip().lower() == "none":
        return None
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise ConsoleError(
            f"no size is {text!r}", where="--max-scan", todo="write 500MB, 1GB or none", exit_code=WRONG_USE
        )
    return int(float(found[1]) * SIZES[found[2].upper()])


def _refuse(options: "dict[str, Any]", *names: str) -> None:
    if given := [f"--{name.replace('_', '-')}" for name in names if options[name]]:
        raise ConsoleError(f"{', '.join(given)} is for an account, not for files", exit_code=WRONG_USE)
