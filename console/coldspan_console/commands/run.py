"""`coldspan run`: a function on the local platform, and where its time went."""

import contextlib
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coldspan_console.commands import choosing
from coldspan_console.output import ANSWER_IS_NO, DONE, ConsoleError, Output, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldspan_console.project import Declared
    from coldspan_console.running.prepared import Wishes
    from coldspan_console.running.runs import Ran

EPILOG = """\b
Examples:
  coldspan run                                   the template's only function, with an empty event
  coldspan run OrdersFunction -e order.json      one function with one event
  coldspan run OrdersFunction -e events/orders   ... with each event of a folder
  coldspan run OrdersFunction -n 50 --concurrency 4
  coldspan run OrdersFunction -e order.json --watch
  coldspan run app.handler                       without a template: a handler of the current folder
  echo '{"id": 1}' | coldspan run -e - --json"""
INIT_TYPES = {
    "provisioned": "provisioned-concurrency",
    "snapstart": "snap-start",
    "managed": "lambda-managed-instances",
}
KEPT = "coldspan show {} · coldspan report"


@click.command(epilog=EPILOG)
@click.argument("function", required=False)
@click.option(
    "-e", "--event", "events", multiple=True, help="File, folder, - for stdin, or the name of one in events/."
)
@click.option("--payload", help="The event as text: '{\"id\": 1}'.")
@click.option("-n", "count", type=click.IntRange(1, 100_000), default=1, show_default=True, help="How often each.")
@click.option("--concurrency", type=click.IntRange(1, 200), default=1, show_default=True, help="How many at once.")
@click.option("--watch", is_flag=True, help="Run again when code, template or event changes.")
@click.option("-t", "--template", type=click.Path(path_type=Path), help="The template, or its folder. [here or above]")
@choosing.variable_options
@click.option("--handler", help="FILE.FUNCTION, over the template's.")
@click.option("--timeout", type=click.FloatRange(0.001, 900), help="Seconds, over the template's.")
@click.option("--memory", type=click.IntRange(128, 10_240), help="MB, over the template's.")
@click.option("--python", help="The interpreter. [the project's .venv, or the runtime's version]")
@click.option("--layer/--no-layer", default=True, help="Add the recorder where the template does not. [yes]")
@click.option("--black-box", is_flag=True, help="Add the second layer, too.")
@click.option("--install/--no-install", default=True, help="Install what requirements.txt names, into a cache. [yes]")
@click.option("--aws", help=choosing.AWS_HELP)
@click.option("--region", default="eu-west-1", help="[eu-west-1; with --aws account this shell's]")
@click.option("--tenant", help="The tenant id of the invocations.")
@click.option("--cold", is_flag=True, help="A new environment for each invocation.")
@click.option("--provisioned", is_flag=True, help="Start as provisioned concurrency does.")
@click.option("--snapstart", is_flag=True, help="Start from a snapshot, with the hooks before and after it.")
@click.option("--managed", type=click.IntRange(1, 64), help="As a Managed Instance with so many workers.")
@click.option("--store", type=click.Path(path_type=Path), help="The store's file. [.coldspan/store.db]")
@click.option("--fail-on", type=click.Choice(["never", "error"]), default="never", show_default=True,
              help="error: exit code 1 when an invocation failed.")  # fmt: skip
@json_option
def command(function: "str | None", output: Output, **options: Any) -> int:
    """Run FUNCTION locally, and show where its time went.

    FUNCTION is a function of the template (its logical id or name), a folder with a handler, or a handler such as
    app.handler. Without Docker and without an account: the real runtime client, with the layers where Lambda has them.
    """
    project, declared = choosing.chosen(function, options)
    wishes = _wishes(declared, options)
    if project is not None and project.missing_parameters:
        output.note(f"parameters without a value: {', '.join(project.missing_parameters)} (-P NAME=VALUE)")
    root = project.root if project is not None else Path.cwd()
    with contextlib.ExitStack() as stack:
        wishes = dataclasses.replace(wishes, **choosing.aws_of(options, project, output, stack))
        if options["watch"]:
            from coldspan_console.running.watching import watch

            places = [declared.code, *(layer.folder for layer in declared.layers if layer.folder is not None)]
            places += [project.path, project.root / "samconfig.toml"] if project is not None else []
            places += [Path(word) for word in (*options["events"], options["env_vars"]) if word and Path(word).exists()]
            again = function if project is None else declared.logical_id
            return watch(places, lambda: _once(again, wishes, root, options, output), output)
        return _once(function, wishes, root, options, output, declared)


def _once(
    name: "str | None", wishes: "Wishes", root: Path, options: "dict[str, Any]", output: Output,
    declared: "Declared | None" = None,
) -> int:  # fmt: skip
    from coldspan_console.layers import last_line
    from coldspan_console.platform.local import PlatformTimeoutError
    from coldspan_console.running import events as reading
    from coldspan_console.running import picture, reasons
    from coldspan_console.running.prepared import prepare
    from coldspan_console.running.runs import Runs, keep
    from coldspan_console.store import Store

    if declared is None:  # again: the template may have changed
        _, declared = choosing.chosen(name, options)
    names = (declared.logical_id, declared.name, declared.code.name)
    events = reading.read(options["events"], options["payload"], root, names)
    events = [event for event in events for _ in range(options["count"])]
    with prepare(declared, wishes, output) as prepared, Store.open(options["store"] or _store_of(root)) as store:
        store.warn = output.note
        for note in prepared.notes:
            output.note(note)
        told = {"tenant_id": options["tenant"]} if options["tenant"] else {}
        runs = Runs(prepared, most=options["concurrency"], cold=options["cold"], **told)
        try:
            with output.progress(f"running {declared.logical_id}", len(events)) as advance:
                ran = runs.invoke(events, min(options["concurrency"], len(events)), advance)
        except PlatformTimeoutError as error:
            what, _, printed = str(error).partition("\n")
            raise ConsoleError(what, where=declared.logical_id, todo=last_line(printed)) from None
        finally:
            runs.close()
        keep(store, runs, ran)
    figures = picture.summary(ran)

    def shown(console: Any) -> None:
        for each in ran if len(ran) <= picture.TREES else _worst(ran, picture.TREES):
            reason = reasons.of_no_record(prepared, each) if each.record is None else ""
            picture.show(console, each, f"{declared.logical_id} ← {each.event.name}", reason)
        if len(ran) > 1:
            picture.show_summary(console, figures)

    output.result(
        {"function": declared.logical_id, "invocations": [each.as_json() for each in ran], "summary": figures}, shown
    )
    failed = any(each.failed for each in ran)
    raised = any(each.outcome.status == "error" for each in ran)
    if advice := reasons.advice(prepared, ran) or (reading.advice(events, root) if raised else ""):
        output.note(advice)
    if not output.as_json:
        last = ran[-1].outcome.request_id
        output.note(f"kept: {KEPT.format(last[:8])}")
    return ANSWER_IS_NO if failed and options["fail_on"] == "error" else DONE


def _worst(ran: "list[Ran]", count: int) -> "Iterator[Ran]":
    """The first, then what failed, then the longest."""
    rest = sorted(ran[1:], key=lambda each: (each.failed, (each.record or {}).get("Duration", 0)), reverse=True)
    yield from [ran[0], *rest[: count - 1]]


def _wishes(declared: "Declared", options: "dict[str, Any]") -> "Wishes":
    from coldspan_console.running.prepared import Wishes

    asked = [init_type for name, init_type in INIT_TYPES.items() if options[name]]
    if len(asked) > 1:
        raise click.UsageError(f"only one of {', '.join('--' + name for name in INIT_TYPES)} at a time")
    return Wishes(
        python=options["python"], layer=options["layer"], black_box=options["black_box"], install=options["install"],
        environment=choosing.variables(options, declared), handler=options["handler"], memory_mb=options["memory"],
        timeout_s=options["timeout"],
        init_type=asked[0] if asked else None, max_concurrency=options["managed"],
    )  # fmt: skip


def _store_of(root: Path) -> "Path | None":
    return None if os.environ.get("COLDSPAN_STORE") else root / ".coldspan" / "store.db"
