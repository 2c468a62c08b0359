"""`coldspan doctor`: why it does not record, and what would go wrong."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from coldspan_console.commands.attach import account_options
from coldspan_console.output import ANSWER_IS_NO, DONE, WRONG_USE, ConsoleError, Output, json_option

if TYPE_CHECKING:
    from rich.console import Console

    from coldspan_console.doctor.findings import Finding

EPILOG = """\b
Examples:
  coldspan doctor                              all functions of the template here
  coldspan doctor OrdersFunction --run         one of them, and run it to see whether a record comes
  coldspan doctor orders --account             a deployed function: its role, its log group, its layers
  coldspan doctor --pattern 'orders-*' --contents --region eu-west-1
  coldspan doctor --log function.log           lines that CloudWatch would not take metrics from
  aws logs tail /aws/lambda/orders | coldspan doctor --log -
  coldspan doctor OrdersFunction --traffic 10  what its metrics cost a month at ten requests a second"""
LINE_BYTES = 3_000  # an invocation's line and those of two calls, as the samples print them
STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
OF_ACCOUNT = ("pattern", "tags", "profile", "region", "contents")  # each of them says --account, too


@click.command(epilog=EPILOG)
@account_options
@click.option("--account", is_flag=True, help="Look at deployed functions; the four options above say so, too.")
@click.option("--contents", is_flag=True, help="Fetch their packages and layers, too, and look into them.")
@click.option("-t", "--template", type=click.Path(path_type=Path), help="The template, or its folder. [here or above]")
@click.option("--log", help="A log with embedded-metric lines, or - for stdin.")
@click.option("--run", "tried", is_flag=True, help="Run it on the local platform, and see whether a record comes.")
@click.option("--traffic", type=click.FloatRange(0.000_001, 1_000_000), help="Invocations a second, for the cost.")
@click.option("--pairs", type=click.IntRange(0, 10_000), default=4, show_default=True, help="(tool, operation) pairs.")
@json_option
def command(functions: "tuple[str, ...]", output: Output, **options: Any) -> int:
    """Find out why a function does not record, and what would go wrong.

    FUNCTION is a function of the template (all of them, when none is named), a template, or a folder; with --account
    the name or ARN of a deployed one (without a name: every Python function of the account and region). Nothing is
    changed anywhere.
    """
    from coldspan_console.doctor import cost, emflint

    found: list[Finding] = []
    failed: list[tuple[str, ConsoleError]] = []
    log, deployed = options["log"], options["account"] or any(options[name] for name in OF_ACCOUNT)
    if log is not None:
        found += emflint.lint(_lines(log), "stdin" if log == "-" else log)
    if deployed:
        if options["tried"] or options["template"] is not None:
            raise ConsoleError("--run and --template are for what is here, not for an account", exit_code=WRONG_USE)
        failed = _of_account(functions, options, found, output)
    elif log is None or functions or options["template"] is not None:
        _of_template(functions, options, found, output)
    value: dict[str, Any] = {"findings": [{name: getattr(each, name) for name in each.__slots__} for each in found]}
    if deployed:
        value["failed"] = [{"function": name, "error": error.message, "todo": error.todo} for name, error in failed]
    if options["traffic"] is not None:
        value["cost_usd_a_month"] = cost.estimate(options["traffic"], options["pairs"], LINE_BYTES)

    def picture(console: "Console") -> None:
        _show(console, found, failed)
        if "cost_usd_a_month" in value:
            _show_cost(console, value["cost_usd_a_month"], options["pairs"])

    output.result(value, picture)
    if deployed and not options["contents"] and not output.as_json:
        output.note("packages and layers were not looked into; --contents fetches them")
    return ANSWER_IS_NO if failed or any(each.severity == "error" for each in found) else DONE


def _of_template(
    words: "tuple[str, ...]", options: "dict[str, Any]", found: "list[Finding]", output: Output
) -> None:  # fmt: skip
    from coldspan_console.doctor import examination, resources, subjects

    for declared, around in subjects.find(words, options["template"]):
        found += examination.examine(declared, resources.around(declared, around), declared.code)
        if options["tried"] and not declared.problem:
            found += _tried(declared, output)


def _of_account(
    words: "tuple[str, ...]", options: "dict[str, Any]", found: "list[Finding]", output: Output
) -> "list[tuple[str, ConsoleError]]":
    """The functions that could not be read, with why; the only one that is asked for is raised instead."""
    from coldspan_console.account import functions as reading
    from coldspan_console.account.session import Account
    from coldspan_console.doctor.deployed import Examiner

    account = Account(options["region"], options["profile"])
    wanted = reading.choose(account, words, options["pattern"], options["tags"], everything=True)
    failed: list[tuple[str, ConsoleError]] = []
    with tempfile.TemporaryDirectory(prefix="coldspan-doctor-") as folder:
        examiner = Examiner(account, Path(folder) if options["contents"] else None)
        with output.progress("examining functions", len(wanted)) as advance:
            for name in wanted:
                try:
                    function, told = examiner.read(name)
                    if words or function.runtime.startswith("python"):
                        found += [*told, *examiner.examine(function)]
                except ConsoleError as error:
                    if len(words) == len(wanted) == 1:
                        raise
                    failed.append((name, error))
                advance(1)
    return failed


def _show(console: "Console", found: "list[Finding]", failed: "list[tuple[str, ConsoleError]]") -> None:
    """What is found, the worst first; what several functions have in common is told once."""
    places: dict[tuple[str, str, str, str], list[str]] = {}
    for each in sorted(found, key=lambda one: list(STYLES).index(one.severity)):
        places.setdefault((each.severity, each.id, each.what, each.todo), []).append(each.where)
    for (severity, number, what, todo), where in places.items():
        console.print(Text.assemble((f"{severity} {number}", STYLES[severity]), f"  {', '.join(where)}: {what}"))
        console.print(Text(f"    {todo}", "dim"))
    for name, error in failed:
        console.print(Text.assemble(("not examined", STYLES["error"]), f"  {name}: {error.message}"))
        console.print(Text(f"    {error.todo}", "dim"))
    if not found and not failed:
        console.print(Text("nothing found", "green"))


def _show_cost(console: "Console", cost: "dict[str, float]", pairs: int) -> None:
    from coldspan_console.doctor.cost import CHECKED

    parts = ", ".join(f"{name} {cost[name]:,.2f}" for name in ("metrics", "logs", "traces"))
    console.print(
        f"a month: {cost['sum']:,.2f} USD ({parts}) for {cost['invocations']:,.0f} invocations", highlight=False
    )
    assumed = f"{pairs} (tool, operation) pairs; {LINE_BYTES / 1_000:g} kB of lines an invocation"
    console.print(f"  us-east-1 prices of {CHECKED} without the free tier; {assumed}", style="dim", highlight=False)


def _lines(word: str) -> "list[str]":
    try:
        text = sys.stdin.read() if word == "-" else Path(word).read_text("utf-8", "replace")
    except OSError as error:
        raise ConsoleError(f"cannot be read: {error.strerror}", where=word) from None
    return text.splitlines()


def _tried(declared: Any, output: Output) -> "list[Finding]":
    """Run it once with an empty event; whether a record comes."""
    from coldspan_console.doctor.findings import ERROR, Finding
    from coldspan_console.running.events import Event
    from coldspan_console.running.prepared import Wishes, prepare
    from coldspan_console.running.runs import Runs

    with prepare(declared, Wishes(), output) as prepared, output.progress(f"running {declared.logical_id}"):
        runs = Runs(prepared)
        try:
            (ran,) = runs.invoke([Event("{}", b"{}")], 1, lambda _: None)
        finally:
            runs.close()
    if ran.record is not None:
        return []
    why = f"{ran.outcome.status} {ran.outcome.error_type}".strip()
    todo = "see the findings above; then `coldspan run` shows its log"
    return [Finding("CS130", ERROR, f"run here, it left no record ({why})", declared.logical_id, todo)]
