"""`coldspan filter`: filters with a name, and notifications when something new is so."""

import shlex
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from coldspan_console.output import ANSWER_IS_NO, WRONG_USE, ConsoleError, Output, json_option
from coldspan_console.store import Filter, Store, notifying, saved
from coldspan_console.store.options import filter_options, store_option
from coldspan_console.tree import plain

if TYPE_CHECKING:
    from rich.console import Console

    from coldspan_console.store.saved import SavedFilter

EPILOG = """\b
Examples:
  coldspan filter save killed --outcome timeout --notify-command 'notify-send "$COLDSPAN_SUMMARY"'
  coldspan filter save slow --slower 2s --notify-sns arn:aws:sns:eu-west-1:123456789012:slow
  coldspan filter test killed
  coldspan list --filter killed"""
SAVE_EPILOG = """\b
A command is run by /bin/sh. It gets the invocation as JSON on stdin, and COLDSPAN_SUMMARY, COLDSPAN_FILTER,
COLDSPAN_COUNT, COLDSPAN_REQUEST_ID, COLDSPAN_FUNCTION and COLDSPAN_OUTCOME as variables.

\b
Examples:
  coldspan filter save killed --outcome timeout --notify-command 'notify-send "$COLDSPAN_SUMMARY"'
  coldspan filter save slow --slower 2s --notify-sns arn:aws:sns:eu-west-1:123456789012:slow"""
LIST_EPILOG = """\b
Examples:
  coldspan filter list"""
REMOVE_EPILOG = """\b
Examples:
  coldspan filter remove killed"""
TEST_EPILOG = """\b
Examples:
  coldspan filter test killed"""


@click.group(epilog=EPILOG)
def command() -> None:
    """Save filters by name, and be told when something new is so."""


@command.command("save", epilog=SAVE_EPILOG)
@click.argument("name")
@filter_options
@click.option("--notify-command", default="", metavar="CMD", help="Run this for each new invocation that is so.")
@click.option("--notify-sns", default="", metavar="ARN", help="Publish each new one that is so to this topic.")
@store_option
@json_option
def save(
    output: Output, name: str, wanted: Filter, notify_command: str, notify_sns: str, store_path: "str | None"
) -> None:
    """Save a filter as NAME, for the store, with whom to notify."""
    if not wanted.to_json():
        raise ConsoleError("a filter that asks for nothing means everything: give it an option", exit_code=WRONG_USE)
    with Store.open(store_path, write=False) as store:
        made = saved.save(name, store.path, wanted, command=notify_command, topic=notify_sns)
        count = store.count(wanted)
    value = {**made.to_json(), "invocations": count}
    told = _told(made)

    def picture(console: "Console") -> None:
        console.print(Text(f"{name}: {_options(made.wanted)}; {count} invocations in the store are so"))
        console.print(Text(f"new ones: {told}" if told else f"use it: coldspan list --filter {name}", "dim"))

    output.result(value, picture)


@command.command("list", epilog=LIST_EPILOG)
@store_option
@json_option
def list_(output: Output, store_path: "str | None") -> None:
    """List the saved filters of the store."""
    with Store.open(store_path, write=False) as store:
        found = saved.saved_filters(store.path)
        counts = {each.name: store.count(each.wanted) for each in found}
    value = [{**each.to_json(), "invocations": counts[each.name]} for each in found]

    def picture(console: "Console") -> None:
        if not found:
            console.print("no filter is saved for this store: `coldspan filter save NAME ...`")
            return
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("name", "so many", "filter", "new ones"):
            table.add_column(title, justify="right" if title == "so many" else "left", overflow="fold")
        for each in found:
            table.add_row(
                each.name, str(counts[each.name]), Text(plain(_options(each.wanted))), Text(_told(each) or "-")
            )
        console.print(table)

    output.result(value, picture)


@command.command(epilog=REMOVE_EPILOG)
@click.argument("name")
@store_option
@json_option
def remove(output: Output, name: str, store_path: "str | None") -> None:
    """Remove the saved filter NAME."""
    with Store.open(store_path, write=False) as store:
        saved.remove(name, store.path)
    output.result({"removed": name}, lambda console: console.print(Text(f"{name} is removed")))


@command.command(epilog=TEST_EPILOG)
@click.argument("name")
@store_option
@json_option
def test(output: Output, name: str, store_path: "str | None") -> int:
    """Send the notification of NAME for the latest invocation that is so, or for an invented one."""
    with Store.open(store_path, write=False) as store:
        each = saved.get(name, store.path)
        if not (each.command or each.topic):
            raise ConsoleError(
                f"filter {name} notifies nobody", todo="save it again with --notify-command or --notify-sns"
            )
        notification = store.example(each)
    failures = notifying.deliver(notification)
    value: dict[str, Any] = {
        "filter": name,
        "sent": not failures,
        "summary": notification.summary,
        "failures": failures,
    }

    def picture(console: "Console") -> None:
        console.print(Text(f"{'not sent' if failures else 'sent'}: {notification.summary}"))
        for failure in failures:
            console.print(Text(failure, "red"))

    output.result(value, picture)
    return ANSWER_IS_NO if failures else 0


def _options(wanted: Filter) -> str:
    """The filter as options of `coldspan list`."""
    words = []
    for name, value in wanted.to_json().items():
        option = {"request_id": "request", "slower_ms": "slower"}.get(name, name)
        for each in value if isinstance(value, list) else [value]:
            words.append(f"--{option}")
            if each is not True:
                words.append(shlex.quote(f"{each:g}ms" if name == "slower_ms" else str(each)))
    return " ".join(words)


def _told(each: "SavedFilter") -> str:
    return plain(", ".join(part for part in (each.command and f"run {each.command}", each.topic) if part))
