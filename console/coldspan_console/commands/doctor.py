"""`coldspan doctor`: why it does not record, and what would go wrong."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from coldspan_console.output import ANSWER_IS_NO, DONE, ConsoleError, Output, json_option

if TYPE_CHECKING:
    from rich.console import Console

    from coldspan_console.doctor.findings import Finding

EPILOG = """\b
Examples:
  coldspan doctor                              all functions of the template here
  coldspan doctor OrdersFunction --run         one of them, and run it to see whether a record comes
  coldspan doctor --log function.log           lines that CloudWatch would not take metrics from
  aws logs tail /aws/lambda/orders | coldspan doctor --log -
  coldspan doctor OrdersFunction --traffic 10  what its metrics cost a month at ten requests a second"""
LINE_BYTES = 3_000  # an invocation's line and those of two calls, as the samples print them
STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


@click.command(epilog=EPILOG)
@click.argument("function", required=False)
@click.option("--template", type=click.Path(path_type=Path), help="The template, or its folder. [here or above]")
@click.option("--log", help="A log with embedded-metric lines, or - for stdin.")
@click.option("--run", "tried", is_flag=True, help="Run it on the local platform, and see whether a record comes.")
@click.option("--traffic", type=click.FloatRange(0.000_001, 1_000_000), help="Invocations a second, for the cost.")
@click.option("--pairs", type=click.IntRange(0, 10_000), default=4, show_default=True, help="(tool, operation) pairs.")
@json_option
def command(
    function: "str | None", template: "Path | None", log: "str | None", tried: bool, traffic: "float | None",
    pairs: int, output: Output,
) -> int:  # fmt: skip
    """Find out why FUNCTION (all of the template, when none is named) does not record, and what would go wrong."""
    from coldspan_console.doctor import cost, emflint, findings

    found: list[Finding] = []
    if log is not None:
        found += emflint.lint(_lines(log), "stdin" if log == "-" else log)
    if log is None or function is not None or template is not None:
        from coldspan_console.project import Project

        project = Project.load(template)
        chosen = [project.function(function)] if function else list(project.functions.values())
        for declared in chosen:
            found += findings.examine(declared)
            if tried and not declared.problem:
                found += _tried(declared, output)
    value: dict[str, Any] = {"findings": [{name: getattr(each, name) for name in each.__slots__} for each in found]}
    if traffic is not None:
        value["cost_usd_a_month"] = cost.estimate(traffic, pairs, LINE_BYTES)

    def picture(console: "Console") -> None:
        for each in sorted(found, key=lambda one: list(STYLES).index(one.severity)):
            head = (f"{each.severity} {each.id}", STYLES[each.severity])
            console.print(Text.assemble(head, f"  {each.where}: {each.what}"))
            console.print(Text(f"    {each.todo}", "dim"))
        if not found:
            console.print(Text("nothing found", "green"))
        if "cost_usd_a_month" in value:
            _show_cost(console, value["cost_usd_a_month"], pairs)

    output.result(value, picture)
    return ANSWER_IS_NO if any(each.severity == findings.ERROR for each in found) else DONE


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
