"""`coldspan blame`: what a cold start's imports cost, and whether that is over a budget."""

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coldspan_console.commands import choosing
from coldspan_console.output import ANSWER_IS_NO, DONE, WRONG_USE, ConsoleError, Output, json_option

if TYPE_CHECKING:
    from coldspan_console.blame.budget import Budget
    from coldspan_console.blame.subject import Subject
    from coldspan_console.project import Declared

EPILOG = """\b
Examples:
  coldspan blame                                  the template's only function
  coldspan blame OrdersFunction -e order.json     ... with an event that it can answer
  coldspan blame --what-if boto3                  what importing boto3 lazily would save
  coldspan blame --budget 300ms                   exit code 1 when the init is longer
  coldspan blame --budget 800M --budget boto3=150ms
  coldspan blame --save main.json                 ... and on another branch:
  coldspan blame --against main.json --budget 1.2x
  coldspan blame --against main                   this code and that of a git ref, side by side"""


@click.command(epilog=EPILOG)
@click.argument("function", required=False)
@click.option("-e", "--event", "event", help="What the first invocation gets: a file, - or the name of one in events/.")
@click.option("--payload", help="The event as text.")
@click.option("--runs", type=click.IntRange(1, 100), default=5, show_default=True, help="Cold starts of each kind.")
@click.option("--budget", "budgets", multiple=True, help="300ms, 800M (instructions), 400modules, 1.2x, PACKAGE=150ms.")
@click.option("--against", help="A saved result, a folder or a git ref to compare with.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Keep the result as a baseline.")
@click.option(
    "--what-if", "packages", multiple=True, metavar="PACKAGE", help="Try it lazily; or bytecode. [the costliest three]"
)
@click.option("--no-what-if", is_flag=True, help="Try none.")
@click.option("--instructions", is_flag=True, help="Count them, too, by valgrind: the same on every machine load.")
@click.option("--diff", is_flag=True, help="Show the changes to the code that were measured.")
@click.option("-t", "--template", type=click.Path(path_type=Path), help="The template, or its folder. [here or above]")
@click.option("--handler", help="FILE.FUNCTION, over the template's.")
@choosing.variable_options
@click.option("--aws", help=choosing.AWS_HELP)
@click.option("--region", default="eu-west-1", help="[eu-west-1; with --aws account this shell's]")
@click.option("--python", help="The interpreter. [the project's .venv, or the runtime's version]")
@click.option("--install/--no-install", default=True, help="Install what requirements.txt names, into a cache. [yes]")
@json_option
def command(function: "str | None", output: Output, **options: Any) -> int:
    """Show what FUNCTION's cold start is made of, and what would make it shorter.

    FUNCTION is as in `coldspan run`. It is started several times on the local platform; what counts is the median.
    What a lazy import would save is measured, too: in a copy, the import is moved into the functions that use it, and
    that is run in turns with what is there.
    """
    from coldspan_console.blame import budget as budgeting
    from coldspan_console.blame import picture
    from coldspan_console.blame.coldstart import InitFailedError, not_started
    from coldspan_console.running.prepared import prepare

    budgets = [budgeting.parse(text) for text in options["budgets"]]
    _check(budgets, options)
    project, declared = choosing.chosen(function, options)
    root = project.root if project is not None else Path.cwd()
    with contextlib.ExitStack() as stack:
        wishes = _wishes(options, declared, choosing.aws_of(options, project, output, stack))
        prepared = stack.enter_context(prepare(declared, wishes, output))
        for note in prepared.notes:
            output.note(note)
        subject = _subject(prepared, _event(options, root, declared), "")
        try:
            found = _measure(stack, declared, subject, prepared, wishes, budgets, options, output)
        except InitFailedError as error:
            for line in error.log:
                output.note(line)
            raise not_started(error, f"{declared.logical_id}: {declared.handler}") from None
    found["budgets"] = [budgeting.judge(one, found, found["against"]) for one in budgets]
    is_over = any(one["over"] for one in found["budgets"])
    found["advice"] = budgeting.advice(found) if is_over else []
    if options["save"] is not None:
        _save(options["save"], found)
        output.note(f"saved: {options['save']}")

    def shown(console: Any) -> None:
        picture.show(console, found)
        if options["diff"]:
            for one in found["what_if"]:
                console.print(one["diff"], markup=False, highlight=False)

    output.result(found, shown)
    return ANSWER_IS_NO if is_over else DONE


def _check(budgets: "list[Budget]", options: "dict[str, Any]") -> None:
    from coldspan_console.blame.budget import RATIO

    if any(one.unit == RATIO for one in budgets) and not options["against"]:
        raise ConsoleError("1.2x of what?", where="--budget", todo="name a baseline by --against", exit_code=WRONG_USE)
    if options["no_what_if"] and options["packages"]:
        raise ConsoleError("--what-if and --no-what-if exclude each other", exit_code=WRONG_USE)


def _wishes(options: "dict[str, Any]", declared: "Declared", aws: "dict[str, Any]") -> Any:
    from coldspan_console.running.prepared import Wishes

    return Wishes(
        python=options["python"], install=options["install"], handler=options["handler"],
        environment=choosing.variables(options, declared), init_type="on-demand", **aws,
    )  # fmt: skip


def _event(options: "dict[str, Any]", root: Path, declared: "Declared") -> bytes:
    from coldspan_console.running import events

    words = (options["event"],) if options["event"] else ()
    return events.read(words, options["payload"], root, declared.logical_id)[0].body


def _subject(prepared: Any, event: bytes, label: str) -> "Subject":
    from coldspan_console.blame.subject import Subject

    function = dataclasses.replace(prepared.function, max_concurrency=None, init_type="on-demand")
    return Subject(function, event, max(prepared.timeout_ms, 30_000), label)


def _measure(
    stack: contextlib.ExitStack, declared: "Declared", subject: "Subject", prepared: Any, wishes: Any,
    budgets: "list[Budget]", options: "dict[str, Any]", output: Output,
) -> "dict[str, Any]":  # fmt: skip
    from coldspan_console.blame import baseline
    from coldspan_console.blame.budget import INSTRUCTIONS
    from coldspan_console.blame.measuring import Plan, measure
    from coldspan_console.running.prepared import prepare

    other, other_python, saved = None, "", None
    if (word := options["against"]) is not None:
        if Path(word).is_file():
            saved = baseline.saved(Path(word))
        else:
            before = stack.enter_context(baseline.version(declared, word))
            # the same interpreter: a .venv beside the template is not in the other version's folder
            same = dataclasses.replace(wishes, python=str(prepared.python.path))
            theirs = stack.enter_context(prepare(before, same, output))
            other, other_python = _subject(theirs, subject.event, word), theirs.python.runtime
    plan = Plan(
        subject, prepared.python.runtime, options["runs"],
        packages=() if options["no_what_if"] else tuple(map(_spoken, options["packages"])) or None,
        count=options["instructions"] or any(one.unit == INSTRUCTIONS for one in budgets)
        or bool(saved and saved["instructions"]),
        other=other, other_python=other_python, saved=saved,
    )  # fmt: skip
    with output.progress(
        f"starting {declared.logical_id} cold", plan.steps if plan.packages is not None else None
    ) as on:
        return measure(dataclasses.replace(plan, advance=on))


def _spoken(package: str) -> str:
    """A package's name; `bytecode` is no package's."""
    from coldspan_console.blame.whatif import BYTE_CODE

    return BYTE_CODE if package.replace(" ", "").replace("-", "").lower() == "bytecode" else package


def _save(path: Path, found: "dict[str, Any]") -> None:
    try:
        path.write_text(json.dumps(found) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConsoleError(f"the result cannot be kept: {error}", where=str(path)) from None
