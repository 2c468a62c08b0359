"""`coldspan local`: the Lambda API on this machine."""

import contextlib
import dataclasses
import json
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from coldspan_console.commands import choosing
from coldspan_console.output import DONE, ConsoleError, Output, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldspan_console.running.prepared import Prepared

EPILOG = """\b
Examples:
  coldspan local                                  all functions of the template, on port 3001
  coldspan local OrdersFunction --port 0          one of them, on a free port
  coldspan local --aws moto                       with moto's server, whose queues are polled
\b
Then, elsewhere:
  aws lambda invoke --endpoint-url http://127.0.0.1:3001 --function-name OrdersFunction out.json
  boto3.client("lambda", endpoint_url="http://127.0.0.1:3001").invoke(FunctionName="OrdersFunction")"""
COLOURS = ("cyan", "magenta", "green", "yellow", "blue")


@click.command(epilog=EPILOG)
@click.argument("functions", nargs=-1)
@click.option("-t", "--template", type=click.Path(path_type=Path), help="The template, or its folder. [here or above]")
@click.option("--port", type=click.IntRange(0, 65_535), default=3001, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--concurrency", type=click.IntRange(1, 1_000), default=10, show_default=True,
              help="Environments of a function, at most.")  # fmt: skip
@click.option("--idle", type=click.FloatRange(1, 86_400), default=300, show_default=True,
              help="Seconds after which an idle environment is ended.")  # fmt: skip
@click.option("--retry-delay", type=click.FloatRange(0, 600), default=1, show_default=True,
              help="Seconds before the first retry of an asynchronous invocation; twice that before the second. "
                   "The service waits 60.")  # fmt: skip
@choosing.variable_options
@click.option("--aws", help=choosing.AWS_HELP)
@click.option("--region", default="eu-west-1", help="[eu-west-1; with --aws account this shell's]")
@click.option("--python", help="The interpreter. [the project's .venv, or the runtime's version]")
@click.option("--layer/--no-layer", default=True, help="Add the recorder where the template does not. [yes]")
@click.option("--black-box", is_flag=True, help="Add the second layer, too.")
@click.option("--install/--no-install", default=True, help="Install what requirements.txt names, into a cache. [yes]")
@click.option("--store", type=click.Path(path_type=Path), help="The store's file. [.coldspan/store.db]")
@json_option
def command(functions: "tuple[str, ...]", output: Output, **options: Any) -> int:
    """Serve the template's FUNCTIONS (all, when none is named) by the Lambda API, until interrupted.

    Synchronous and asynchronous invocations, the latter with two retries and a folder of dead letters; queues are
    polled where --aws names an endpoint. What the functions record goes into the store, and is shown as it comes.
    """
    from coldspan_console.project import Project
    from coldspan_console.running.prepared import Wishes
    from coldspan_console.serving.served import Served
    from coldspan_console.store import Store

    project = Project.load(options["template"], parameters=options["parameters"], region=options["region"])
    if project.missing_parameters:
        output.note(f"parameters without a value: {', '.join(project.missing_parameters)} (-P NAME=VALUE)")
    chosen = [project.function(name) for name in functions] or project.runnable
    if not chosen:
        project.function()  # which says why there is none
    stopped = threading.Event()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_stopping(stopped))
        wishes = Wishes(
            python=options["python"], layer=options["layer"], black_box=options["black_box"],
            install=options["install"], **choosing.aws_of(options, project, output, stack),
        )  # fmt: skip
        address = wishes.aws_endpoint
        prepared = []
        for each in chosen:
            own = dataclasses.replace(wishes, environment=choosing.variables(options, each))
            prepared.append(stack.enter_context(_prepared(each, own, output)))
        place = options["store"] or (
            None if os.environ.get("COLDSPAN_STORE") else project.root / ".coldspan" / "store.db"
        )
        store = stack.enter_context(Store.open(place))
        letters = project.root / ".coldspan" / "dead-letters"
        served = stack.enter_context(Served(
            prepared, store, letters, _teller(output, [each.declared.name for each in prepared]),
            concurrency=options["concurrency"], retry_s=options["retry_delay"], host=options["host"],
            port=options["port"], idle_s=options["idle"],
        ))  # fmt: skip
        polled = served.poll(prepared, address, options["region"]) if address is not None else []
        value = {"event": "listening", "address": served.api.address, "functions": list(served.fleets), "polls": polled}
        output.result(value, lambda console: _introduce(console, value))
        stopped.wait()
        output.note("ending …")
        if left := served.close():
            output.note(f"{left} asynchronous events that had not ended are in {letters}")
    return DONE


@contextlib.contextmanager
def _prepared(declared: Any, wishes: Any, output: Output) -> "Iterator[Prepared]":
    from coldspan_console.running.prepared import prepare

    with prepare(declared, wishes, output) as made:
        for note in made.notes:
            output.note(f"{declared.logical_id}: {note}")
        yield made


@contextlib.contextmanager
def _stopping(stopped: threading.Event) -> "Iterator[None]":
    """The first SIGINT or SIGTERM ends in good order; while that lasts, further ones are not listened to."""

    def stop(_number: int, _frame: object) -> None:
        stopped.set()

    if threading.current_thread() is not threading.main_thread():
        raise ConsoleError("coldspan local runs in a main thread only")
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _introduce(console: Any, value: "dict[str, Any]") -> None:
    console.print(f"[bold]{value['address']}[/]  {', '.join(value['functions'])}", highlight=False)
    for each in value["polls"]:
        console.print(f"polling {each}", highlight=False)
    name = value["functions"][0]
    console.print(
        f"  aws lambda invoke --endpoint-url {value['address']} --function-name {name} out.json", highlight=False
    )
    console.print("Ctrl-C ends it", style="dim")


def _teller(output: Output, names: "list[str]") -> Any:
    """Show what happens as it happens: log lines with their function, a tree of each invocation."""
    from coldspan_console.tree import invocation_tree

    lock = threading.Lock()
    colour = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}

    def tell(kind: str, subject: Any, what: Any) -> None:
        with lock:
            if output.as_json:
                click.echo(json.dumps(_as_json(kind, subject, what), default=str))
            elif kind == "record":
                output.out.print(invocation_tree(what, subject))
            elif kind == "log" and what.kind != "platform":
                output.out.print(Text.assemble((f"{subject} │ ", colour.get(subject, "")), what.text))
            elif kind == "asynchronous" and what.status != "success":
                output.note(f"asynchronous {subject[:8]}: {what.status} {what.error_type}")
            elif kind == "source":
                output.note(str(subject))

    return tell


def _as_json(kind: str, subject: Any, what: Any) -> "dict[str, Any]":
    if kind == "record":
        return {"event": "record", "function": subject, "record": what}
    if kind == "log":
        return {
            "event": "log",
            "function": subject,
            "kind": what.kind,
            "text": what.text,
            "request_id": what.request_id,
        }
    if kind == "asynchronous":
        return {"event": "asynchronous", "request_id": subject, "status": what.status, "error_type": what.error_type}
    return {"event": kind, "text": subject}
